//! `events/`: each file by its function on the platform, by every program that calls functions; what the sam CLI makes of the
//! same shape; and the webhook by its address.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::primitives::ByteStream;
use pipeline::message::Upload;
use serde_json::{Value, json};
use tests::{
    python::{aws, cargo_lambda, good, sam},
    run::{Fanreel, get, until},
};

/// A bucket that the stack only reads, and whose functions may read: `SourceBucket`.
pub const STORE: &str = "films-of-mine";
pub const SECRET: &str = "a-secret-of-yours";
/// Keys that the samples tell of, as people write them.
const KEYS: [&str; 5] = ["in/my film+1.mp4", "uploads/a.mp4", "uploads/b.mp4", "uploads/film.mp4", "uploads/übung 1+2 & 映画.mp4"];
/// Of the object in the webhook's sample; without one the object is looked up.
const ETAG: &str = "d5c0ea7240c9e136ce5e74ced443588d";

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

/// Keys that the messages of an event of `ingest` tell of.
fn told(path: &Path) -> Result<Vec<String>> {
    let event: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let mut keys = Vec::new();
    for record in event["Records"].as_array().context("no Records")? {
        let body = record["body"].as_str().context("no body")?;
        if let Upload::Records(records) = Upload::parse(body).map_err(anyhow::Error::msg)? {
            keys.extend(records.into_iter().map(|record| record.key.as_str().to_owned()));
        }
    }
    Ok(keys)
}

/// Whether an answer is what a function gives that took its event.
fn is_taken(function: &str, payload: &Value) -> bool {
    match function {
        "webhook" => payload["statusCode"] == 200,
        "sweep" => payload["jobs"].is_u64(),
        _ => *payload == json!({ "batchItemFailures": [] }),
    }
}

/// Hands an event to its function by each program that people call functions with; answers what each got.
fn by_all_ways(fanreel: &Fanreel, function: &str, event: &Path, dir: &Path) -> Result<Vec<(&'static str, Value)>> {
    let ours = fanreel.ask(&["invoke", function, "-e", &event.to_string_lossy()])?;
    ensure!(ours["function_error"].is_null(), "{ours}");
    let (name, payload, out) = (format!("fanreel-{function}"), format!("fileb://{}", event.display()), dir.join("answer.json"));
    let to = out.to_string_lossy();
    let cli = aws(&fanreel.endpoint, dir, &["lambda", "invoke", "--function-name", &name, "--payload", &payload, &to])?;
    ensure!(cli["FunctionError"].is_null(), "{cli}");
    let arn = format!("arn:aws:lambda:us-east-1:000000000000:function:{name}");
    let mut remote = sam(dir, &["remote", "invoke", &arn, "--region", "us-east-1", "--event-file"])?;
    remote.arg(event).env("AWS_ENDPOINT_URL", &fanreel.endpoint);
    let remote = good(&remote.output()?, "sam remote invoke")?;
    Ok(vec![
        ("fanreel invoke", ours["payload"].clone()),
        ("cargo lambda invoke", cargo_lambda(&fanreel.endpoint, &name, event)?),
        ("aws lambda invoke", serde_json::from_slice(&std::fs::read(&out)?)?),
        ("sam remote invoke", serde_json::from_str(&remote).with_context(|| remote.clone())?),
    ])
}

/// An event as `sam local generate-event` makes it for `sam local invoke`.
fn generated(dir: &Path, args: &[&str]) -> Result<Value> {
    let mut command = sam(dir, &[&["local", "generate-event"], args].concat())?;
    Ok(serde_json::from_str(&good(&command.output()?, "sam local generate-event")?)?)
}

/// Status and body of a POST with a JSON body.
pub fn post(url: &str, authorization: &str, body: &str) -> Result<(u16, String)> {
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

/// What a store tells of `uploads/another film.mp4`, which it has: the sample, without the `ETag` of another film.
pub fn news() -> Result<String> {
    let sample: Value = serde_json::from_str(&std::fs::read_to_string(tests::root().join("events/minio-webhook.json"))?)?;
    let news = sample["body"].as_str().context("no body")?;
    let news = news.replace("my+film", "another+film").replace("\"name\":\"videos\"", &format!("\"name\":\"{STORE}\""));
    Ok(news.replace(ETAG, ""))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_event_is_taken_by_its_function() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let parameter = format!("DoorSecret={SECRET}");
    let environment = [("FANREEL_HTTP_PORT", Path::new("0")), ("FANREEL_ENFORCE_POLICIES", Path::new("true"))];
    let parameters = [parameter.as_str(), "SourceBucket=films-of-mine"];
    let fanreel = Fanreel::start_with(&dir.path().join("data"), &parameters, &environment).await?;
    let folder = tests::root().join("events");
    let files: BTreeSet<String> =
        std::fs::read_dir(&folder)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).filter(|name| is_json(name)).collect();
    let table = table()?;
    ensure!(files == table.keys().cloned().collect(), "events/README.md names {:?}, there are {files:?}", table.keys());
    for (file, function) in &table {
        for (way, payload) in by_all_ways(&fanreel, function, &folder.canonicalize()?.join(file), dir.path())? {
            ensure!(is_taken(function, &payload), "{file} by {way}: {payload}");
        }
    }
    let told = table.iter().filter(|(_, function)| *function == "ingest").map(|(file, _)| told(&folder.join(file)));
    let told: BTreeSet<String> = told.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    ensure!(told.iter().eq(KEYS.iter()), "{told:?}");

    // A store that tells nobody: what becomes of its film came by the webhook.
    fanreel.s3.create_bucket().bucket(STORE).send().await?;
    let film = ByteStream::from_static(b"no film, but an object");
    fanreel.s3.put_object().bucket(STORE).key("uploads/another film.mp4").body(film).send().await?;
    let stack: Value = serde_json::from_str(&get(&fanreel.endpoint, "/_fanreel/stack")?)?;
    let url = fanreel.outputs.get("DoorUrl").with_context(|| format!("no address: {stack}"))?.clone();
    let news = news()?;
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

    // S3's event in SQS's, as sam makes both; its object has another size and ETag than the sample says.
    let film = ByteStream::from_static(b"no film either");
    fanreel.s3.put_object().bucket(STORE).key("uploads/by sam+1.mp4").body(film).send().await?;
    let mut put = generated(dir.path(), &["s3", "put", "--bucket", STORE, "--key", "uploads/by sam+1.mp4"])?;
    put["Records"][0]["s3"]["object"]["eTag"] = json!("");
    let mut event = generated(dir.path(), &["sqs", "receive-message"])?;
    event["Records"][0]["body"] = json!(put.to_string());
    let path = dir.path().join("by-sam.json");
    std::fs::write(&path, event.to_string())?;
    for (way, payload) in by_all_ways(&fanreel, "ingest", &path, dir.path())? {
        ensure!(is_taken("ingest", &payload), "what sam generated by {way}: {payload}");
    }
    fanreel.job_of("uploads/by sam+1.mp4").await?;

    // News of it that is lost is made up for by the sweep; what was there before it first looked is not taken by accident.
    let put = async |key: &str| fanreel.s3.put_object().bucket(STORE).key(key).body(ByteStream::from_static(b"unheard of")).send().await;
    let sweep = || fanreel.ask(&["invoke", "sweep", "-e", &folder.join("schedule.json").to_string_lossy()]);
    put("in/before.mp4").await?;
    let mark = format!("config/adopt-from/h264/{STORE}");
    fanreel.s3.delete_object().bucket(fanreel.bucket()).key(&mark).send().await?;
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default();
    let stored = second();
    until("the next second", Duration::from_secs(5), || Ok((second() > stored).then_some(()))).await?;
    sweep()?;
    put("in/unheard.mp4").await?;
    sweep()?;
    fanreel.job_of("in/unheard.mp4").await?;
    ensure!(fanreel.jobs()?.iter().all(|(key, _)| key != "in/before.mp4"), "an old film was taken");
    let adopted = fanreel.ask(&["adopt", &format!("s3://{STORE}/in/"), "--yes"])?;
    ensure!(adopted["films"] == 1 && adopted["taken"] == 1, "{adopted}");
    fanreel.job_of("in/before.mp4").await?;

    // Attached, the store tells by itself, by the event bus.
    let attached = fanreel.ask(&["attach", STORE])?;
    ensure!(attached["attached"] == true && attached["kept"] == 0, "{attached}");
    let film = ByteStream::from_static(b"nor this");
    fanreel.s3.put_object().bucket(STORE).key("in/my film+2.mp4").body(film).send().await?;
    fanreel.job_of("in/my film+2.mp4").await?;
    fanreel.stop()
}
