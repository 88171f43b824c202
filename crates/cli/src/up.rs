//! `fanreel up`: the platform, until ctrl-c.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
};

use anyhow::{Context, anyhow};
use platform::{DiskBounds, Listeners};
use tokio::net::TcpListener;

use crate::{
    args::{DEFAULT_PORT, Global, UpArgs},
    end::{End, usage},
    http,
    logfile::LogFile,
    profiles::Choice,
    remote::{Keys, Remote, StackPage},
    running::{Running, interrupted},
    screen, setup, text,
};

pub async fn run(args: &UpArgs, global: &Global) -> anyhow::Result<End> {
    if global.endpoint.is_some() || global.stack.is_some() {
        return Err(usage("`up` runs a platform here: it takes --port, and neither --endpoint nor --stack"));
    }
    if !args.bind.is_loopback() && global.secret_key == "test" {
        return Err(usage(format!(
            "--bind {}: other machines reach this address, and the secret key is the default, which everybody knows; \
             set FANREEL_ACCESS_KEY and FANREEL_SECRET_KEY, or listen on 127.0.0.1",
            args.bind
        )));
    }
    let choice = Choice::read(args.platform.profiles.as_deref())?;
    let mut setup = setup::prepare(&args.platform, &args.data_dir, &[])?;
    let config = &mut setup.config;
    (config.access_key, config.secret_key) = (global.access_key.clone(), global.secret_key.clone());
    config.enforce_policies = args.enforce_policies;
    config.disk = DiskBounds { min_free: args.min_free, max_data: args.max_disk };
    let aws = listen((args.bind, global.port).into(), "--port or FANREEL_PORT").await?;
    let listeners = Listeners { aws, http_apis: listen_for_apis(args.bind, args.http_port, setup.http_apis).await? };
    let log = LogFile::default();
    log.install(true);
    let data_dir = setup.config.data_dir.clone();
    // A signal that comes while it starts ends it as well.
    let end = interrupted();
    tokio::pin!(end);
    let mut running = tokio::select! {
        started = Running::start(setup.config.clone(), listeners, &log) => started?,
        () = &mut end => return Ok(End::Done),
    };
    let remote = Remote::at(&running.endpoint, Keys::of(global)).await?;
    let page = remote.page.clone();
    if args.platform.profiles.is_some() {
        choice.store(&remote.fanreel().await?).await?;
    }
    let health = http::get_json(&format!("{}/_fanreel/health", running.endpoint)).await?;
    if global.json {
        screen::json(&serde_json::json!({
            "endpoint": running.endpoint, "data_dir": data_dir, "log": running.log, "outputs": page.outputs, "http_apis": page.http_apis,
            "disk": health["disk"], "noted": page.noted,
        }));
    } else {
        let disk = text::disk(&health["disk"]);
        let own = args.platform.template.is_none();
        let access_key = &global.access_key;
        screen::out(&Screen { endpoint: &running.endpoint, data_dir: &data_dir, disk, access_key, own, page: &page }.text());
    }
    tokio::select! {
        error = running.ended() => return Err(error),
        () = &mut end => {}
    }
    screen::note("ending; what was accepted is kept, and the next `fanreel up` goes on with it");
    running.stop().await?;
    Ok(End::Done)
}

/// A socket for each HTTP API, on ports that follow one another.
pub async fn listen_for_apis(ip: IpAddr, first: u16, count: usize) -> anyhow::Result<Vec<TcpListener>> {
    let mut listeners = Vec::with_capacity(count);
    for offset in 0..count {
        let port = if first == 0 { Some(0) } else { u16::try_from(offset).ok().and_then(|offset| first.checked_add(offset)) };
        let Some(port) = port else {
            return Err(usage(format!("--http-port {first}: the template has {count} HTTP APIs, and there are no ports after 65535")));
        };
        listeners.push(listen((ip, port).into(), "--http-port or FANREEL_HTTP_PORT").await?);
    }
    Ok(listeners)
}

/// `setting`: where another port can be chosen.
async fn listen(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    let (ip, port) = (address.ip(), address.port());
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let asked = SocketAddr::new(if ip.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { ip }, port);
            let ours = http::get_json(&format!("http://{asked}/_fanreel/health")).await.is_ok();
            let who = if ours { "a fanreel platform listens there already" } else { "another program listens there" };
            Err(anyhow!("port {port} of {ip} is taken: {who}; stop it, or choose a port with {setting}"))
        }
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
            Err(anyhow!("{ip} is no address of this machine; choose one with --bind or FANREEL_BIND"))
        }
        Err(error) => Err(error).with_context(|| format!("port {port} of {ip} cannot be listened on; choose one with {setting}")),
    }
}

/// All that is needed to begin.
struct Screen<'a> {
    endpoint: &'a str,
    data_dir: &'a Path,
    /// How much of the disk is used, in words.
    disk: String,
    access_key: &'a str,
    /// fanreel's own template runs.
    own: bool,
    page: &'a StackPage,
}

impl Screen<'_> {
    fn text(&self) -> String {
        let mut lines = vec![format!("fanreel is up at {}", self.endpoint), String::new()];
        if self.own {
            lines.extend(self.page.outputs.get("Bucket").map(|bucket| format!("  bucket      s3://{bucket}")));
        } else {
            lines.extend(self.resources());
        }
        lines.push(format!("  data        {}", self.data_dir.display()));
        lines.push(format!("  disk        {}", self.disk));
        // A secret of one's own is not for the screen.
        let secret = if self.access_key == "test" { "test" } else { "…" };
        lines.push(format!("  keys        AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={secret} AWS_REGION=us-east-1", self.access_key));
        lines.extend(self.page.http_apis.iter().map(|api| format!("  http        {}  {}", api.url, api.logical_id)));
        lines.push(String::new());
        lines.extend(if self.own { self.own_commands() } else { self.commands() });
        if let Some(noted) = noted(self.page) {
            lines.push(String::new());
            lines.push(format!("  on AWS only:   {noted}"));
        }
        lines.push(String::new());
        lines.push("ctrl-c ends it and loses nothing.".into());
        lines.join("\n")
    }

    /// What somebody's template made.
    fn resources(&self) -> Vec<String> {
        let page = self.page;
        let functions: Vec<&str> = page.functions.iter().map(|function| function.name.as_str()).collect();
        let queues: Vec<&str> = page.queues.iter().map(|queue| queue.name.as_str()).collect();
        let names = |names: &[String]| names.join(", ");
        let policies = match (page.policies.len(), page.policies_enforced) {
            (0, _) => String::new(),
            (count, true) => format!("{count}, enforced"),
            (count, false) => format!("{count} read, not enforced (--enforce-policies)"),
        };
        let kinds = [
            ("functions", functions.join(", ")),
            ("buckets", names(&page.buckets)),
            ("queues", queues.join(", ")),
            ("tables", names(&page.tables)),
            ("schedules", names(&page.schedules)),
            ("policies", policies),
        ];
        kinds.iter().filter(|(_, text)| !text.is_empty()).map(|(kind, text)| format!("  {kind:<12}{text}")).collect()
    }

    /// What `fanreel` needs to be told to find this platform.
    fn port(&self) -> String {
        let port = self.endpoint.rsplit(':').next().filter(|port| *port != DEFAULT_PORT.to_string());
        port.map_or_else(String::new, |port| format!(" --port {port}"))
    }

    fn own_commands(&self) -> Vec<String> {
        let (endpoint, port) = (self.endpoint, self.port());
        let bucket = self.page.outputs.get("Bucket").map_or("BUCKET", String::as_str);
        vec![
            format!("  drop a film:   fanreel submit film.mp4{port}"),
            format!("            or:  aws --endpoint-url {endpoint} s3 cp film.mp4 s3://{bucket}/uploads/"),
            format!("  watch:         fanreel jobs{port} · fanreel status JOB --follow{port} · fanreel logs --follow{port}"),
        ]
    }

    fn commands(&self) -> Vec<String> {
        let (page, endpoint, port) = (self.page, self.endpoint, self.port());
        let aws = format!("aws --endpoint-url {endpoint}");
        let mut lines = Vec::new();
        if let Some(function) = page.functions.first() {
            lines.push(format!("  call:          fanreel invoke {} --event event.json{port}", function.name));
        }
        if let Some(bucket) = page.buckets.first() {
            lines.push(format!("  put an object: {aws} s3 cp FILE s3://{bucket}/"));
        }
        if let Some(queue) = page.queues.first() {
            lines.push(format!("  send:          {aws} sqs send-message --queue-url {} --message-body '{{}}'", queue.url));
        }
        if let Some(api) = page.http_apis.first() {
            lines.push(format!("  request:       curl -i {}", api.url));
        }
        lines.push(format!("  watch:         fanreel logs --follow{port} · {endpoint}/_fanreel/health"));
        lines
    }
}

/// `3 × AWS::CloudWatch::Alarm, 1 × AWS::SNS::Topic`
fn noted(page: &StackPage) -> Option<String> {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for noted in &page.noted {
        *counts.entry(&noted.kind).or_default() += 1;
    }
    let parts: Vec<String> = counts.iter().map(|(kind, count)| format!("{count} × {kind}")).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::{HttpApiPage, Noted, QueuePage};

    #[test]
    fn the_first_screen_is_enough() {
        let noted = |kind: &str| Noted { logical_id: "x".into(), kind: kind.into() };
        let page = StackPage {
            outputs: BTreeMap::from([("Bucket".into(), "videos".into())]),
            noted: vec![noted("AWS::CloudWatch::Alarm"), noted("AWS::SNS::Topic"), noted("AWS::CloudWatch::Alarm")],
            ..StackPage::default()
        };
        insta::assert_snapshot!(screen(true, &page));
    }

    fn screen(own: bool, page: &StackPage) -> String {
        let data_dir = Path::new("/home/a/.fanreel/data");
        let disk = text::disk(&serde_json::json!({
            "used_bytes": 12_500_000, "services": { "s3": 11_000_000, "sqs": 4096 }, "free_bytes": 40_000_000_000_u64,
            "min_free_bytes": 1_000_000_000,
        }));
        Screen { endpoint: "http://127.0.0.1:4566", data_dir, disk, access_key: "test", own, page }.text()
    }

    #[test]
    fn somebody_elses_template_is_shown_as_what_it_is() {
        let page = StackPage {
            functions: vec![crate::remote::FunctionPage { name: "resize".into(), ..Default::default() }],
            buckets: vec!["photos".into()],
            queues: vec![QueuePage { name: "work".into(), url: "http://127.0.0.1:4566/000000000000/work".into() }],
            tables: vec!["seen".into()],
            policies: vec![serde_json::json!({ "logical_id": "Resize" }), serde_json::json!({ "logical_id": "Role" })],
            ..StackPage::default()
        };
        insta::assert_snapshot!(screen(false, &page));
    }

    #[test]
    fn the_first_screen_says_where_http_apis_are() {
        let api = |logical_id: &str, url: &str| HttpApiPage { logical_id: logical_id.into(), url: url.into() };
        let http_apis = vec![api("Films", "http://127.0.0.1:4567/"), api("Admin", "http://127.0.0.1:4568/dev/")];
        let page = StackPage { http_apis, ..StackPage::default() };
        let screen = screen(false, &page);
        for line in ["  http        http://127.0.0.1:4567/  Films", "  http        http://127.0.0.1:4568/dev/  Admin"] {
            assert!(screen.lines().any(|given| given == line), "{screen}");
        }
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named_with_its_flag() {
        let any = listen_for_apis(Ipv4Addr::LOCALHOST.into(), 0, 2).await.unwrap();
        let taken = any[0].local_addr().unwrap().port();
        let error = listen_for_apis(Ipv4Addr::LOCALHOST.into(), taken, 1).await.unwrap_err().to_string();
        assert!(error.contains(&format!("port {taken} of 127.0.0.1 is taken")) && error.contains("--http-port"), "{error}");
        let error = listen_for_apis(Ipv4Addr::LOCALHOST.into(), u16::MAX, 2).await.unwrap_err().to_string();
        assert!(error.contains("no ports after 65535") || error.contains("port 65535 of 127.0.0.1 is taken"), "{error}");
    }
}
