//! Puts the services together and runs them until told to end.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinSet,
};

use crate::{
    config::Config,
    data_dir::{DataDir, DataDirError},
    dynamodb::DynamoDb,
    gateway::{self, Gateway, Keys},
    http_api,
    iam::Iam,
    lambda::{INIT_TIMEOUT, Lambda, LambdaConfig, LambdaError, RETRY_WAITS, check_filter},
    logs::Logs,
    pump,
    room::Room,
    s3::S3,
    sqs::Sqs,
    stack::{HttpApi, Stack, name_of_arn},
    template::{self, TemplateError},
};

/// Time that environments get to end before they are killed.
const END_TIME: Duration = Duration::from_secs(2);
/// A disk with fewer bytes free is full: no database can be opened on it.
const LEAST_FREE: u64 = 1 << 20;
/// How often items past their time to live are looked for.
const TTL_SWEEP: Duration = Duration::from_mins(1);

/// Why the platform could not run.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(
        "{0} can be reached from other machines, and the secret key is the default `test`, which everybody knows; set a secret key of your own or listen on 127.0.0.1"
    )]
    Exposed(SocketAddr),
    #[error("the template has {apis} HTTP APIs, and there are sockets for {sockets}; give one for each")]
    HttpSockets { apis: usize, sockets: usize },
    #[error("the listening socket cannot be used: {0}")]
    Listener(std::io::Error),
    #[error("{service} cannot start: {reason}")]
    Service { service: &'static str, reason: String },
    /// What a service kept cannot be read; it was left as it is.
    #[error("{service} cannot use what it keeps in {dir}: {reason}. {advice}", dir = dir.display())]
    Kept { service: &'static str, dir: PathBuf, reason: String, advice: &'static str },
}

fn service<E: std::fmt::Display>(service: &'static str) -> impl FnOnce(E) -> PlatformError {
    move |error| PlatformError::Service { service, reason: error.to_string() }
}

fn kept<E: std::fmt::Display>(service: &'static str, dir: &Path) -> impl FnOnce(E) -> PlatformError {
    move |error| {
        let full = rustix::fs::statvfs(dir).is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) < LEAST_FREE);
        let advice = if full {
            "Its disk is full: make room and start again; nothing is lost"
        } else {
            "Nothing there was changed: put a copy of the directory in its place, or start with another data directory"
        };
        PlatformError::Kept { service, dir: dir.to_owned(), reason: error.to_string(), advice }
    }
}

fn unready(dir: &Path) -> impl FnOnce(LambdaError) -> PlatformError {
    move |error| match error {
        LambdaError::Database(_) => kept("Lambda", dir)(error),
        other => service("Lambda")(other),
    }
}

/// The sockets that a platform serves on.
#[derive(Debug)]
pub struct Listeners {
    /// Of the AWS APIs.
    pub aws: TcpListener,
    /// Of the template's HTTP APIs, one each in the order of [`Stack::http_apis`]. What is more than that is closed.
    pub http_apis: Vec<TcpListener>,
}

impl From<TcpListener> for Listeners {
    fn from(aws: TcpListener) -> Self {
        Self { aws, http_apis: Vec::new() }
    }
}

/// Runs a template until `shutdown` completes. Binds nothing and catches no signals.
///
/// While environments are being ended the port still answers, since they write their last words through it.
pub async fn run(config: Config, listeners: impl Into<Listeners>, shutdown: impl Future<Output = ()>) -> Result<(), PlatformError> {
    let Listeners { aws: listener, http_apis } = listeners.into();
    let address = listener.local_addr().map_err(PlatformError::Listener)?;
    // Whoever reads this knows the default key; the name alone protects nothing.
    if !address.ip().is_loopback() && (config.secret_key == "test" || config.secret_key.is_empty()) {
        return Err(PlatformError::Exposed(address));
    }
    let endpoint = endpoint(address);
    let mut stack = template::resolve(&config.template, &config.parameters, &endpoint)?;
    for (logical_id, kind) in &stack.noted {
        tracing::info!(logical_id, kind, "this resource exists on AWS only");
    }
    let apis = served(&stack, http_apis)?;
    http_api::localise(&mut stack, apis.iter().map(|served| served.endpoint.as_str()));
    for mapping in &stack.mappings {
        let of = |error| format!("the event source mapping from {} to {}: FilterCriteria: {error}", mapping.queue_arn, mapping.function);
        mapping.filters.iter().try_for_each(check_filter).map_err(of).map_err(service("Lambda"))?;
    }
    let iam =
        if config.enforce_policies { Iam::of(&stack).map_err(service("a stack with its policies enforced"))? } else { Iam::default() };
    stack.mappings.iter().try_for_each(|mapping| iam.polls(mapping)).map_err(service("Lambda"))?;
    let data_dir = DataDir::open(&config.data_dir)?;
    let services = Services::open(&data_dir, &stack, iam).await?;
    let room = Room::new(data_dir.path(), config.disk, Arc::clone(&services.s3)).await;
    let (lambda, gateway) = services.with_lambda(&config, &stack, endpoint, &data_dir, &apis, &room)?;
    data_dir.note_contents()?;
    // Leftovers of a killed platform have been ended by now: what its pollers had received, nobody has.
    for mapping in &stack.mappings {
        services.sqs.orphaned(name_of_arn(&mapping.queue_arn)).await.map_err(service("SQS"))?;
    }

    let (end_serving, end) = oneshot::channel::<()>();
    let serving = tokio::spawn(gateway::serve(gateway, listener, async {
        let _ = end.await;
    }));
    let (end_apis, mut serving_apis) = serve_apis(apis, &lambda);
    let mut background = services.background(&lambda);
    background.spawn(room.watch());
    lambda.run_mappings(stack.mappings);
    lambda.run_schedules(stack.schedules);
    tracing::info!(%address, "the platform serves");

    shutdown.await;
    tracing::info!("the platform ends");
    drop(end_apis);
    lambda.shutdown(END_TIME).await;
    while serving_apis.join_next().await.is_some() {}
    drop(background);
    drop(end_serving);
    if let Err(error) = serving.await {
        tracing::error!(%error, "the gateway ended with an error");
    }
    services.logs.flush().await;
    Ok(())
}

/// What clients on this machine reach the listener at.
pub fn endpoint(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

/// An HTTP API, its socket and where clients on this machine reach it.
struct Served {
    api: HttpApi,
    listener: TcpListener,
    endpoint: String,
    /// The endpoint with the stage.
    url: String,
}

fn served(stack: &Stack, listeners: Vec<TcpListener>) -> Result<Vec<Served>, PlatformError> {
    let (apis, sockets) = (stack.http_apis.len(), listeners.len());
    if sockets < apis {
        return Err(PlatformError::HttpSockets { apis, sockets });
    }
    let serve = |(api, listener): (&HttpApi, TcpListener)| {
        let endpoint = endpoint(listener.local_addr().map_err(PlatformError::Listener)?);
        Ok(Served { api: api.clone(), listener, url: api.url(&endpoint), endpoint })
    };
    stack.http_apis.iter().zip(listeners).map(serve).collect()
}

/// Serves HTTP APIs until the sender is dropped.
fn serve_apis(apis: Vec<Served>, lambda: &Arc<Lambda>) -> (watch::Sender<()>, JoinSet<()>) {
    let end = watch::Sender::new(());
    let mut serving = JoinSet::new();
    for served in apis {
        tracing::info!(api = served.api.logical_id, url = served.url, "an HTTP API is served");
        let mut ended = end.subscribe();
        serving.spawn(http_api::serve(served.api, served.listener, Arc::clone(lambda), async move {
            let _ = ended.changed().await;
        }));
    }
    (end, serving)
}

/// The stores, opened and holding what the stack asks for.
struct Services {
    s3: Arc<S3>,
    sqs: Arc<Sqs>,
    dynamodb: Arc<DynamoDb>,
    logs: Arc<Logs>,
    iam: Arc<Iam>,
}

impl Services {
    async fn open(data_dir: &DataDir, stack: &Stack, iam: Iam) -> Result<Self, PlatformError> {
        let [s3, sqs, dynamodb, logs] = ["s3", "sqs", "dynamodb", "logs"].map(|name| data_dir.service(name));
        let (s3, sqs, dynamodb, logs) = (s3?, sqs?, dynamodb?, logs?);
        let services = Self {
            s3: S3::open(&s3).map_err(kept("S3", &s3))?,
            sqs: Sqs::open(&sqs).map_err(kept("SQS", &sqs))?,
            dynamodb: DynamoDb::open(&dynamodb).map_err(kept("DynamoDB", &dynamodb))?,
            logs: Logs::open(&logs).map_err(kept("Logs", &logs))?,
            iam: Arc::new(iam),
        };
        services.s3.set_bus(&stack.event_rules).map_err(service("S3"))?;
        services.sqs.ensure_queues(&stack.queues).await.map_err(service("SQS"))?;
        for bucket in &stack.buckets {
            services.s3.ensure_bucket(bucket).await.map_err(service("S3"))?;
        }
        for table in &stack.tables {
            services.dynamodb.ensure_table(table).await.map_err(service("DynamoDB"))?;
        }
        for group in &stack.log_groups {
            services.logs.ensure_group(group).await.map_err(service("Logs"))?;
        }
        Ok(services)
    }

    fn with_lambda(
        &self,
        config: &Config,
        stack: &Stack,
        endpoint: String,
        data_dir: &DataDir,
        apis: &[Served],
        room: &Arc<Room>,
    ) -> Result<(Arc<Lambda>, Arc<Gateway>), PlatformError> {
        let dir = data_dir.service("lambda")?;
        let lambda_config = LambdaConfig {
            data_dir: dir.clone(),
            endpoint: endpoint.clone(),
            access_key: config.access_key.clone(),
            secret_key: config.secret_key.clone(),
            binary_dirs: config.binary_dirs.clone(),
            vcpus: config.vcpus,
            idle_timeout: config.idle_timeout,
            account_concurrency: config.account_concurrency,
            init_timeout: INIT_TIMEOUT,
            retry_waits: RETRY_WAITS,
        };
        let (sqs, logs) = (Arc::clone(&self.sqs), Arc::clone(&self.logs));
        let lambda = Lambda::start(lambda_config, stack.functions.clone(), sqs, logs).map_err(unready(&dir))?;
        let gateway = Gateway {
            stack_page: gateway::stack_page(stack, &endpoint, apis.iter().map(|served| served.url.as_str()), config.enforce_policies),
            endpoint,
            keys: Keys { access_key: config.access_key.clone(), secret_key: config.secret_key.clone() },
            s3: self.s3.service_within(&config.access_key, &config.secret_key, Arc::clone(&self.iam)),
            iam: Arc::clone(&self.iam),
            sqs: Arc::clone(&self.sqs),
            dynamodb: Arc::clone(&self.dynamodb),
            logs: Arc::clone(&self.logs),
            lambda: Arc::clone(&lambda),
            room: Arc::clone(room),
            queues: stack.queues.iter().map(|queue| queue.name.clone()).collect(),
            functions: stack.functions.iter().map(|function| function.name.clone()).collect(),
            started: Instant::now(),
        };
        Ok((lambda, Arc::new(gateway)))
    }

    /// What runs beside the port; ends when dropped.
    fn background(&self, lambda: &Arc<Lambda>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        tasks.spawn(pump::run(Arc::clone(&self.s3), Arc::clone(&self.sqs), Arc::clone(lambda)));
        tasks.spawn(Arc::clone(&self.s3).run_lifecycle());
        tasks.spawn(sweep(Arc::clone(&self.dynamodb)));
        tasks
    }
}

/// Removes items past their time to live, once a minute.
async fn sweep(dynamodb: Arc<DynamoDb>) {
    let mut ticks = tokio::time::interval(TTL_SWEEP);
    loop {
        ticks.tick().await;
        match dynamodb.sweep_expired().await {
            Ok(0) => {}
            Ok(items) => tracing::debug!(items, "items past their time to live were removed"),
            Err(error) => tracing::warn!(%error, "items past their time to live could not be removed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_is_one_that_this_machine_reaches() {
        for (address, expected) in [
            ("127.0.0.1:4566", "http://127.0.0.1:4566"),
            ("0.0.0.0:1", "http://127.0.0.1:1"),
            ("[::]:2", "http://[::1]:2"),
            ("10.0.0.7:3", "http://10.0.0.7:3"),
        ] {
            assert_eq!(endpoint(address.parse().unwrap()), expected);
        }
    }
}
