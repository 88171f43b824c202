//! AWS Lambda on one machine: functions as real `bootstrap` processes behind the Runtime API.
//!
//! Invariants, cited by tests:
//! 1. No process outlives its environment, nor the platform: own session, parent-death signal, records of what runs.
//! 2. A message is deleted only after the function that was given it succeeded; on an error its visibility is left alone.
//! 3. Messages are received only when an invocation may run at once.
//! 4. An invocation of type `Event` that was answered with 202 is kept until it was done, or given up as its function
//!    says, and until those who are to be told know.
//! 5. Environments, waiting invocations, connections, bodies and retries are bounded.
//!
//! Deliberately absent: versions and aliases, provisioned concurrency, response streaming, the Telemetry API.

mod api;
mod batch;
mod commits;
mod destination;
mod detached;
mod dispatch;
mod ending;
mod environment;
mod error;
mod extensions;
mod filter;
mod launch;
mod layers;
mod leftovers;
mod line;
mod mapping;
mod mappings;
mod memory;
mod output;
mod pool;
mod process;
mod report;
mod runtime_api;
mod scaling;
mod schedule;
mod slots;
mod spawner;
mod storage;
mod store;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use self::{
    dispatch::{Invocation, deploy, index, shares},
    environment::Event,
    launch::Deployed,
    leftovers::Records,
    mappings::Mapping,
    pool::Pool,
    slots::Slots,
    spawner::Spawner,
    store::Store,
};
pub use self::{
    environment::GRACE,
    error::{InvokeError, LambdaError, Throttle},
    filter::{EventPattern, check_filter},
};
use crate::{logs::Logs, sqs::Sqs, stack};

/// Between two calls to end.
const AGAIN: Duration = Duration::from_millis(20);
/// How long the end of all processes may take once they were told or killed.
const END: Duration = Duration::from_secs(10);

/// Settings of Lambda.
#[derive(Clone, Debug)]
pub struct LambdaConfig {
    /// Own directory, made if missing.
    pub data_dir: PathBuf,
    /// The platform's own address, which functions get as `AWS_ENDPOINT_URL`: `http://127.0.0.1:4566`.
    pub endpoint: String,
    pub access_key: String,
    pub secret_key: String,
    /// Searched for a function's binary, in order, before `<CodeUri>/bootstrap`.
    pub binary_dirs: Vec<PathBuf>,
    /// vCPUs that running invocations may take together.
    pub vcpus: f64,
    /// How long an idle environment is kept.
    pub idle_timeout: Duration,
    /// Invocations that may run or wait at once; 1,000 on AWS.
    pub account_concurrency: u32,
    /// How long initialisation may take before it is tried once more as a part of the invocation; [`INIT_TIMEOUT`] on AWS.
    pub init_timeout: Duration,
    /// Before the second and third try of an asynchronous invocation; [`RETRY_WAITS`] on AWS.
    pub retry_waits: [Duration; 2],
}

/// Source: AWS Lambda developer guide, "How Lambda handles errors and retries with asynchronous invocation".
pub const RETRY_WAITS: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(120)];

/// Source: AWS Lambda developer guide, "Lambda runtime environment lifecycle", "Init phase".
pub const INIT_TIMEOUT: Duration = Duration::from_secs(10);

/// How an invocation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The function's answer, or the description of its error.
    pub payload: Bytes,
    /// `Unhandled` when the function failed.
    pub function_error: Option<String>,
    /// The last 4 KB that were logged.
    pub log_tail: String,
    pub request_id: String,
}

/// One environment, for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentInfo {
    pub function: String,
    pub log_stream: String,
    pub pid: u32,
    /// It has an invocation.
    pub busy: bool,
    /// Most resident memory seen so far, in bytes.
    pub peak_memory: u64,
}

/// The service.
#[derive(Debug)]
pub struct Lambda {
    pub(crate) config: LambdaConfig,
    functions: Vec<Arc<Deployed>>,
    by_name: BTreeMap<String, usize>,
    mappings: Mutex<Vec<Arc<Mapping>>>,
    slots: Arc<Slots>,
    pool: Pool,
    spawner: Spawner,
    records: Records,
    logs: Arc<Logs>,
    sqs: Arc<Sqs>,
    store: Arc<Store>,
    next_id: AtomicU64,
    stopping: watch::Sender<bool>,
    /// A clone is held by every task of its own; `None` once it is shutting down.
    alive: Mutex<Option<mpsc::Sender<()>>>,
    gone: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

impl Lambda {
    /// Finds every function's program, ends what an earlier platform left running, and starts what runs by itself.
    /// Must be called inside a tokio runtime.
    pub fn start(config: LambdaConfig, functions: Vec<stack::Function>, sqs: Arc<Sqs>, logs: Arc<Logs>) -> Result<Arc<Self>, LambdaError> {
        let io = |source| LambdaError::Io { path: config.data_dir.clone(), source };
        std::fs::create_dir_all(&config.data_dir).map_err(io)?;
        // Functions have another working directory.
        let data_dir = std::path::absolute(&config.data_dir).map_err(io)?;
        let records = Records::open(data_dir.join("processes")).map_err(io)?;
        let ended = records.end_all().map_err(io)?;
        if ended > 0 {
            tracing::warn!(ended, "processes that an earlier platform had left were ended");
        }
        // Nobody uses what is in it any more.
        let _ = std::fs::remove_dir_all(data_dir.join("tmp"));
        let store = Arc::new(Store::open(&data_dir.join("lambda.db"))?);
        let spawner = Spawner::start().map_err(io)?;
        let functions = deploy(functions, &config.binary_dirs, &data_dir.join("opt"))?;
        let by_name = index(&functions)?;
        let forgotten = store.forget_others(by_name.keys().cloned().collect())?;
        if forgotten > 0 {
            tracing::warn!(forgotten, "events of functions that are no longer in the template were dropped");
        }
        let shares = shares(&functions, config.account_concurrency)?;
        let (alive, gone) = mpsc::channel(1);
        let lambda = Arc::new(Self {
            slots: Slots::new(config.vcpus, config.account_concurrency, shares),
            config: LambdaConfig { data_dir, ..config },
            by_name,
            mappings: Mutex::default(),
            functions,
            pool: Pool::default(),
            spawner,
            records,
            logs,
            sqs,
            store,
            next_id: AtomicU64::new(0),
            stopping: watch::Sender::new(false),
            alive: Mutex::new(Some(alive)),
            gone: tokio::sync::Mutex::new(gone),
        });
        lambda.go_on(memory::watch(Arc::clone(&lambda)));
        lambda.go_on(storage::watch(Arc::clone(&lambda)));
        for function in 0..lambda.functions.len() {
            lambda.go_on(detached::run(Arc::clone(&lambda), function));
        }
        Ok(lambda)
    }

    /// Starts the pollers of event source mappings. One of a function that does not exist, or with a filter that is none,
    /// is an error of the template: it is logged and left out.
    pub fn run_mappings(self: &Arc<Self>, mappings: Vec<stack::EventSourceMapping>) {
        for settings in mappings {
            match self.map(settings) {
                Ok(mapping) => self.go_on(mapping::poll(Arc::clone(self), Arc::clone(&self.sqs), mapping)),
                Err(error) => tracing::error!(error, "an event source mapping was left out"),
            }
        }
    }

    /// Starts schedules; one of a function that does not exist is logged and left out.
    pub fn run_schedules(self: &Arc<Self>, schedules: Vec<stack::Schedule>) {
        for schedule in schedules.into_iter().filter(|schedule| schedule.enabled) {
            if self.index_of(&schedule.function).is_some() {
                self.go_on(schedule::run(Arc::clone(self), schedule));
            } else {
                tracing::error!(
                    schedule = schedule.name,
                    function = schedule.function,
                    "a schedule names a function that the template does not have"
                );
            }
        }
    }

    /// Runs a function, named by name or ARN, and waits for its outcome. It runs to its end even if the caller goes.
    pub async fn invoke(self: &Arc<Self>, function: &str, payload: Bytes) -> Result<Outcome, InvokeError> {
        self.invoke_with(function, Invocation { payload, ..Invocation::default() }, false).await
    }

    /// All environments, oldest first.
    pub fn environments(&self) -> Vec<EnvironmentInfo> {
        let info = |handle: pool::Handle| EnvironmentInfo {
            function: self.name_of(handle.function).to_owned(),
            log_stream: handle.stream.to_string(),
            pid: handle.pid,
            busy: handle.gauge.busy.load(Ordering::Relaxed),
            peak_memory: handle.gauge.peak_memory.load(Ordering::Relaxed),
        };
        self.pool.all().into_iter().map(info).collect()
    }

    /// Stops pollers and schedules, gives running invocations until `grace` is over, and ends every environment. No
    /// process is left when it returns.
    pub async fn shutdown(&self, grace: Duration) {
        self.stopping.send_replace(true);
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).take();
        let quiet = async {
            while self.pool.any_busy() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = tokio::time::timeout(grace, quiet).await;
        let ended = async {
            let mut gone = self.gone.lock().await;
            loop {
                // Again and again: one that was just being started is not in the pool at first.
                for handle in self.pool.all() {
                    let _ = handle.events.try_send(Event::Stop);
                }
                // Closed when every task is through, also with what its invocations were for: messages deleted,
                // records written, directories removed.
                if tokio::time::timeout(AGAIN, gone.recv()).await.is_ok() {
                    break;
                }
            }
        };
        if tokio::time::timeout(END, ended).await.is_err() {
            tracing::warn!(left = self.pool.all().len(), "environments did not end in time");
        }
    }
}
