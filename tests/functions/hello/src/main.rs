//! A function that does what its event says: the platform's tests run it as a real environment.
//!
//! An event is an object with any of these keys, done in this order:
//! `log` (lines to print), `pid` (path to write the process id to), `child` (path to write the id of a sleeping
//! grandchild to), `pid_again` (paths: the first that is not there gets the process id), `until` (paths to wait for),
//! `write` (MB to add to a file in `TMPDIR`), `allocate` (MB to hold), `sleep` (ms), `exit` (status), `abort`, `panic`
//! (message), `fail` (message), `files` (answers the names in `TMPDIR`), `environment` (answers the process's own
//! environment), `answer` (the answer; without it the event itself).
//! A batch of `SQS` records is done record by record, each body being such an event; a failing record is a batch item
//! failure. A request of an HTTP API is done by its body, if that is such an event. `SIGTERM_FILE` in its environment names a file that it creates when it is asked to end; `INIT` is an event
//! that it does before it asks for work.

use std::{
    collections::BTreeMap,
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let settings: BTreeMap<String, String> = std::env::vars().collect();
    if let Some(event) = settings.get("INIT") {
        act(&serde_json::from_str(event)?).await?;
    }
    if let Some(path) = settings.get("SIGTERM_FILE").cloned() {
        lambda_runtime::spawn_graceful_shutdown_handler(async move || {
            if let Err(error) = std::fs::write(&path, "SIGTERM") {
                say(&format!("cannot write {path}: {error}"));
            }
        })
        .await;
    }
    lambda_runtime::run(service_fn(handle)).await
}

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    if let Some(Ok(event)) = event.payload.get("body").and_then(Value::as_str).map(serde_json::from_str) {
        return act(&event).await;
    }
    let Some(records) = event.payload.get("Records").and_then(Value::as_array) else {
        return act(&event.payload).await;
    };
    let mut failures = Vec::new();
    for record in records {
        let body = record["body"].as_str().unwrap_or_default();
        let event = serde_json::from_str(body).unwrap_or(Value::Null);
        if act(&event).await.is_err() {
            failures.push(json!({ "itemIdentifier": record["messageId"] }));
        }
    }
    Ok(json!({ "batchItemFailures": failures }))
}

async fn act(event: &Value) -> Result<Value, Error> {
    for line in event["log"].as_array().into_iter().flatten() {
        say(line.as_str().unwrap_or_default());
    }
    if let Some(path) = event["pid"].as_str() {
        std::fs::write(path, std::process::id().to_string())?;
    }
    if let Some(path) = event["child"].as_str() {
        let child = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn()?;
        std::fs::write(path, child.id().to_string())?;
    }
    if let Some(paths) = event["pid_again"].as_array() {
        let mut paths = paths.iter().filter_map(Value::as_str);
        if let Some(path) = paths.find(|path| !std::path::Path::new(path).exists()) {
            std::fs::write(path, std::process::id().to_string())?;
        }
    }
    for path in event["until"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        while !std::path::Path::new(path).exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    if let Some(megabytes) = event["write"].as_u64() {
        let mut file = std::fs::File::options().create(true).append(true).open(std::env::temp_dir().join("written"))?;
        for _ in 0..megabytes {
            file.write_all(&vec![1; 1 << 20])?;
        }
    }
    let held = vec![1_u8; usize::try_from(event["allocate"].as_u64().unwrap_or(0))? << 20];
    if let Some(milliseconds) = event["sleep"].as_u64() {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
    drop(held);
    if let Some(status) = event["exit"].as_i64() {
        std::process::exit(i32::try_from(status)?);
    }
    if event["abort"].as_bool() == Some(true) {
        std::process::abort();
    }
    if let Some(message) = event["panic"].as_str() {
        panic!("{message}");
    }
    if let Some(message) = event["fail"].as_str() {
        return Err(message.into());
    }
    if event["files"].as_bool() == Some(true) {
        let names = std::fs::read_dir(std::env::temp_dir())?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        return Ok(json!(names.collect::<std::io::Result<Vec<_>>>()?));
    }
    if event["environment"].as_bool() == Some(true) {
        return Ok(json!(std::env::vars().collect::<BTreeMap<_, _>>()));
    }
    Ok(event.get("answer").unwrap_or(event).clone())
}

fn say(line: &str) {
    // A reader that has gone is no reason to fail.
    let _ = writeln!(std::io::stdout(), "{line}");
}
