//! `fanreel up`: the platform, until ctrl-c.

use std::{collections::BTreeMap, io::ErrorKind, path::Path};

use anyhow::{Context, anyhow};
use platform::Listeners;
use tokio::net::TcpListener;

use crate::{
    args::{DEFAULT_PORT, Global, UpArgs},
    end::{End, usage},
    http,
    logfile::LogFile,
    remote::{Remote, StackPage},
    running::{Running, interrupted},
    screen, setup,
};

pub async fn run(args: &UpArgs, global: &Global) -> anyhow::Result<End> {
    if global.endpoint.is_some() || global.stack.is_some() {
        return Err(usage("`up` runs a platform here: it takes --port, and neither --endpoint nor --stack"));
    }
    let setup = setup::prepare(&args.platform, &args.data_dir, &[])?;
    let aws = listen(global.port, "--port or FANREEL_PORT").await?;
    let listeners = Listeners { aws, http_apis: listen_for_apis(args.http_port, setup.http_apis).await? };
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
    let page = Remote::at(&running.endpoint).await?.page;
    if global.json {
        screen::json(&serde_json::json!({
            "endpoint": running.endpoint, "data_dir": data_dir, "log": running.log, "outputs": page.outputs, "http_apis": page.http_apis, "noted": page.noted,
        }));
    } else {
        screen::out(&first_screen(&running.endpoint, &data_dir, &page));
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
pub async fn listen_for_apis(first: u16, count: usize) -> anyhow::Result<Vec<TcpListener>> {
    let mut listeners = Vec::with_capacity(count);
    for offset in 0..count {
        let port = if first == 0 { Some(0) } else { u16::try_from(offset).ok().and_then(|offset| first.checked_add(offset)) };
        let Some(port) = port else {
            return Err(usage(format!("--http-port {first}: the template has {count} HTTP APIs, and there are no ports after 65535")));
        };
        listeners.push(listen(port, "--http-port or FANREEL_HTTP_PORT").await?);
    }
    Ok(listeners)
}

/// `setting`: where another port can be chosen.
async fn listen(port: u16, setting: &str) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(("127.0.0.1", port)).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let ours = http::get_json(&format!("http://127.0.0.1:{port}/_fanreel/health")).await.is_ok();
            let who = if ours { "a fanreel platform listens there already" } else { "another program listens there" };
            Err(anyhow!("port {port} of 127.0.0.1 is taken: {who}; stop it, or choose a port with {setting}"))
        }
        Err(error) => Err(error).with_context(|| format!("port {port} of 127.0.0.1 cannot be listened on; choose one with {setting}")),
    }
}

/// All that is needed to begin.
fn first_screen(endpoint: &str, data_dir: &Path, page: &StackPage) -> String {
    let mut lines = vec![format!("fanreel is up at {endpoint}"), String::new()];
    if let Some(bucket) = page.outputs.get("Bucket").or(page.buckets.first()) {
        lines.push(format!("  bucket      s3://{bucket}"));
        lines.push(format!("  data        {}", data_dir.display()));
        lines.push("  keys        AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1".into());
        lines.push(String::new());
        let port = endpoint.rsplit(':').next().filter(|port| *port != DEFAULT_PORT.to_string());
        let port = port.map_or_else(String::new, |port| format!(" --port {port}"));
        lines.push(format!("  drop a film:   fanreel submit film.mp4{port}"));
        lines.push(format!("            or:  aws --endpoint-url {endpoint} s3 cp film.mp4 s3://{bucket}/uploads/"));
        lines.push(format!("  watch:         fanreel jobs{port} · fanreel status JOB --follow{port} · fanreel logs --follow{port}"));
    } else {
        lines.push(format!("  data        {}", data_dir.display()));
        lines.push(format!("  functions   {}", page.functions.iter().map(|f| f.name.as_str()).collect::<Vec<_>>().join(", ")));
    }
    for (at, api) in page.http_apis.iter().enumerate() {
        if at == 0 {
            lines.push(String::new());
        }
        lines.push(format!("  http        {}  {}", api.url, api.logical_id));
    }
    if let Some(noted) = noted(page) {
        lines.push(String::new());
        lines.push(format!("  on AWS only:   {noted}"));
    }
    lines.push(String::new());
    lines.push("ctrl-c ends it and loses nothing.".into());
    lines.join("\n")
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
    use crate::remote::{HttpApiPage, Noted};

    #[test]
    fn the_first_screen_is_enough() {
        let noted = |kind: &str| Noted { logical_id: "x".into(), kind: kind.into() };
        let page = StackPage {
            outputs: BTreeMap::from([("Bucket".into(), "videos".into())]),
            noted: vec![noted("AWS::CloudWatch::Alarm"), noted("AWS::SNS::Topic"), noted("AWS::CloudWatch::Alarm")],
            ..StackPage::default()
        };
        insta::assert_snapshot!(first_screen("http://127.0.0.1:4566", Path::new("/home/a/.fanreel/data"), &page));
    }
    #[test]
    fn the_first_screen_says_where_http_apis_are() {
        let api = |logical_id: &str, url: &str| HttpApiPage { logical_id: logical_id.into(), url: url.into() };
        let http_apis = vec![api("Films", "http://127.0.0.1:4567/"), api("Admin", "http://127.0.0.1:4568/dev/")];
        let page = StackPage { http_apis, ..StackPage::default() };
        let screen = first_screen("http://127.0.0.1:4566", Path::new("/data"), &page);
        for line in ["  http        http://127.0.0.1:4567/  Films", "  http        http://127.0.0.1:4568/dev/  Admin"] {
            assert!(screen.lines().any(|given| given == line), "{screen}");
        }
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named_with_its_flag() {
        let any = listen_for_apis(0, 2).await.unwrap();
        let taken = any[0].local_addr().unwrap().port();
        let error = listen_for_apis(taken, 1).await.unwrap_err().to_string();
        assert!(error.contains(&format!("port {taken} of 127.0.0.1 is taken")) && error.contains("--http-port"), "{error}");
        let error = listen_for_apis(u16::MAX, 2).await.unwrap_err().to_string();
        assert!(error.contains("no ports after 65535") || error.contains("port 65535 of 127.0.0.1 is taken"), "{error}");
    }
}
