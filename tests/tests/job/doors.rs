//! `events/`: each file by its function on the platform, and the webhook by its address.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::run::{Fanreel, get, until};

const SECRET: &str = "a-secret-of-yours";
/// Keys of the jobs that the samples make, as people write them.
const KEYS: [&str; 6] =
    ["in/my film+1.mp4", "uploads/a.mp4", "uploads/b.mp4", "uploads/film.mp4", "uploads/my film.mp4", "uploads/übung 1+2 & 映画.mp4"];

fn is_json(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "json")
}

/// Files and their functions, as the table in `events/README.md` has them.
fn table() -> Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(tests::root().join("events/README.md"))?;
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
        Some((cells.next()?, cells.next()?))
    };
    Ok(text.lines().filter_map(row).filter(|(file, _)| is_json(file)).collect())
}

/// Status and body of a POST with a JSON body.
fn post(url: &str, authorization: &str, body: &str) -> Result<(u16, String)> {
    let (host, path) = url.trim_start_matches("http://").split_once('/').context("no path")?;
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "POST /{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {authorization}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no body")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
    Ok((status, body.to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_event_is_taken_by_its_function() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let parameter = format!("DoorSecret={SECRET}");
    let any_port = [("FANREEL_HTTP_PORT", Path::new("0"))];
    let fanreel = Fanreel::start_with(&dir.path().join("data"), &[&parameter], &any_port).await?;
    let folder = tests::root().join("events");
    let files: BTreeSet<String> =
        std::fs::read_dir(&folder)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).filter(|name| is_json(name)).collect();
    let table = table()?;
    ensure!(files == table.keys().cloned().collect(), "events/README.md names {:?}, there are {files:?}", table.keys());
    for (file, function) in &table {
        let path = folder.join(file);
        let answer = fanreel.ask(&["invoke", function, "-e", &path.to_string_lossy()])?;
        let expected = match function.as_str() {
            "webhook" => answer["payload"]["statusCode"] == 200,
            "sweep" => answer["payload"]["jobs"].is_u64(),
            _ => answer["payload"] == json!({ "batchItemFailures": [] }),
        };
        ensure!(answer["function_error"].is_null() && expected, "{file}: {answer}");
    }
    let keys = || -> Result<Vec<String>> {
        let mut keys: Vec<String> = fanreel.jobs()?.into_iter().map(|(key, _)| key).collect();
        keys.sort();
        Ok(keys)
    };
    // The webhook's goes through the queue.
    until("the jobs of all samples", Duration::from_secs(60), || Ok((keys()?.len() >= KEYS.len()).then_some(()))).await?;
    ensure!(keys()? == KEYS, "{:?}", keys()?);

    let stack: Value = serde_json::from_str(&get(&fanreel.endpoint, "/_fanreel/stack")?)?;
    let url = fanreel.outputs.get("DoorUrl").with_context(|| format!("no address: {stack}"))?.clone();
    let sample: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("minio-webhook.json"))?)?;
    let news = sample["body"].as_str().context("no body")?.replace("my+film", "another+film");
    for (authorization, body, status) in [
        ("Bearer something else", news.as_str(), 401),
        (SECRET, &news, 401),
        ("Bearer a-secret-of-yours", "{}", 400),
        ("Bearer a-secret-of-yours", &news, 200),
    ] {
        let (answered, text) = post(&url, authorization, body)?;
        ensure!(answered == status, "{authorization}: {answered} {text}");
    }
    fanreel.job_of("uploads/another film.mp4").await?;
    ensure!(keys()?.len() == KEYS.len() + 1, "a refused request made a job: {:?}", keys()?);
    fanreel.stop()
}
