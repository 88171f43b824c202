//! One trace for one job, as a collector sees it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{clips, run::Fanreel};

const LONG: Duration = Duration::from_secs(300);

type Spans = Arc<Mutex<Vec<Value>>>;

/// A collector that keeps what it is told; it lives as long as the test's process.
fn collector() -> Result<(String, Spans)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let spans = Spans::default();
    let kept = Arc::clone(&spans);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let kept = Arc::clone(&kept);
            std::thread::spawn(move || while take(&stream, &kept).is_ok() {});
        }
    });
    Ok((endpoint, spans))
}

/// One request of a connection that is kept.
fn take(mut stream: &TcpStream, kept: &Spans) -> Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line)?;
    ensure!(line.starts_with("POST /v1/traces "), "no traces: {line}");
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        match line.trim_end().to_ascii_lowercase().split_once(": ") {
            Some(("content-length", number)) => length = number.parse()?,
            Some(("content-type", kind)) => ensure!(kind == "application/json", "{kind}"),
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let document: Value = serde_json::from_slice(&body)?;
    for resource in document["resourceSpans"].as_array().context("resourceSpans")? {
        let service = &resource["resource"]["attributes"][0]["value"]["stringValue"];
        for span in resource["scopeSpans"][0]["spans"].as_array().context("spans")? {
            let mut span = span.clone();
            span["service"] = service.clone();
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(span);
        }
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")?;
    Ok(())
}

fn attribute<'a>(span: &'a Value, name: &str) -> &'a str {
    let all = span["attributes"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().find(|pair| pair["key"] == name).and_then(|pair| pair["value"]["stringValue"].as_str()).unwrap_or_default()
}

fn taken(told: &Spans) -> Vec<Value> {
    told.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn by_id(spans: &[Value]) -> BTreeMap<&str, &Value> {
    spans.iter().filter_map(|span| Some((span["spanId"].as_str()?, span))).collect()
}

/// The root of the one tree that the spans are: each hangs from another and begins no earlier than it.
fn root_of_one_tree<'a>(spans: &'a [Value], job: &str) -> Result<&'a Value> {
    let traces: BTreeSet<&str> = spans.iter().filter_map(|span| span["traceId"].as_str()).collect();
    ensure!(traces.len() == 1 && traces.iter().all(|id| id.len() == 32), "one trace: {traces:?}");
    let by_id = by_id(spans);
    ensure!(by_id.len() == spans.len(), "each span once: {spans:#?}");
    let (roots, others): (Vec<_>, Vec<_>) = spans.iter().partition(|span| span["name"] == "job");
    let [root] = roots[..] else { anyhow::bail!("one root: {roots:?}") };
    ensure!(root.get("parentSpanId").is_none(), "{root}");
    let nanos = |span: &Value, field: &str| span[field].as_str().and_then(|text| text.parse::<u64>().ok()).context("a time");
    for span in others {
        let parent = span["parentSpanId"].as_str().and_then(|id| by_id.get(id)).with_context(|| format!("no parent: {span}"))?;
        ensure!(nanos(span, "startTimeUnixNano")? >= nanos(parent, "startTimeUnixNano")?, "{span} before {parent}");
        ensure!(nanos(span, "endTimeUnixNano")? >= nanos(span, "startTimeUnixNano")?, "{span}");
        ensure!(attribute(span, "fanreel.job") == job, "{span}");
    }
    Ok(root)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_sees_one_trace_of_one_job() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (endpoint, told) = collector()?;
    let fault = dir.path().join("fault");
    let ffmpeg = clips::crashing_ffmpeg(dir.path(), &fault, 1001)?;
    let parameter = format!("TracesEndpoint={endpoint}");
    let fanreel = Fanreel::start_with(&dir.path().join("data"), &[&parameter, "MaxRetries=2"], &[("FFMPEG", ffmpeg.as_path())]).await?;
    std::fs::write(&fault, "")?;
    fanreel.upload("uploads/film.mp4", &clips::small(dir.path())?.path).await?;
    let job = fanreel.job_of("uploads/film.mp4").await?;
    let retried = || Ok(fanreel.events(&job)?.iter().any(|event| event["kind"] == "ContainerErrorRetry").then_some(()));
    tests::run::until("a retry", LONG, retried).await?;
    std::fs::remove_file(&fault)?;
    fanreel.wait(&job, &["COMPLETED"], LONG).await?;
    fanreel.drained(LONG).await?;
    fanreel.stop()?;

    let spans = taken(&told);
    let root = root_of_one_tree(&spans, &job)?;
    let by_id = by_id(&spans);
    let named = |name: &str| spans.iter().filter(|span| span["name"] == name).collect::<Vec<_>>();
    for (name, least) in [("split", 1), ("chunk", 3), ("audio", 1), ("merge", 1)] {
        ensure!(named(name).len() >= least, "{name}: {spans:#?}");
    }
    // Chunks were sent by the split, the merge by the last part; the try that crashed is one of the chunk's.
    let split = named("split")[0]["spanId"].as_str();
    ensure!(named("chunk").iter().chain(&named("audio")).all(|span| span["parentSpanId"].as_str() == split), "{spans:#?}");
    ensure!(named("split")[0]["parentSpanId"] == root["spanId"]);
    let sender = named("merge")[0]["parentSpanId"].as_str().and_then(|id| by_id.get(id)).context("the merge's sender")?;
    ensure!(["chunk", "audio"].contains(&sender["name"].as_str().unwrap_or_default()), "{sender}");
    let failed: Vec<&Value> = spans.iter().filter(|span| span["status"]["code"] == 2).collect();
    ensure!(
        !failed.is_empty() && failed.iter().all(|span| span["name"] == "chunk" && attribute(span, "fanreel.task") == "c00001"),
        "{failed:#?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_killed_has_its_span() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (endpoint, told) = collector()?;
    let fault = dir.path().join("fault");
    std::fs::write(&fault, "")?;
    let ffmpeg = clips::idle_ffmpeg(dir.path(), &fault, 1)?;
    let parameters = [&format!("TracesEndpoint={endpoint}"), "LeaseSeconds=5"];
    let fanreel = Fanreel::start_with(&dir.path().join("data"), &parameters, &[("FFMPEG", ffmpeg.as_path())]).await?;
    fanreel.upload("uploads/film.mp4", &clips::small(dir.path())?.path).await?;
    let job = fanreel.job_of("uploads/film.mp4").await?;
    let begun = || Ok((!std::fs::read_to_string(&fault)?.is_empty()).then_some(()));
    tests::run::until("the encoder", LONG, begun).await?;
    // Nothing else is at work, so that one worker dies and not two.
    let alone =
        || Ok((fanreel.events(&job)?.iter().filter(|event| event["kind"] == "WorkloadProcessingFinished").count() >= 3).then_some(()));
    tests::run::until("the others", LONG, alone).await?;
    std::fs::remove_file(&fault)?;
    let workers: Vec<u32> = fanreel.processes().into_iter().filter(|(_, name)| name == "transcode-chunk").map(|(pid, _)| pid).collect();
    ensure!(workers.iter().filter(|pid| tests::processes::kill(**pid)).count() > 0, "{workers:?}");
    fanreel.wait(&job, &["COMPLETED"], LONG).await?;
    fanreel.drained(LONG).await?;
    fanreel.stop()?;

    let spans = taken(&told);
    let root = root_of_one_tree(&spans, &job)?;
    let of_chunk: Vec<&Value> = spans.iter().filter(|span| attribute(span, "fanreel.task") == "c00000").collect();
    let (dead, alive): (Vec<&Value>, Vec<&Value>) = of_chunk.iter().partition(|span| span["status"]["code"] == 2);
    let ([dead], [_]) = (&dead[..], &alive[..]) else { anyhow::bail!("one that died, one that did it: {of_chunk:#?}") };
    ensure!(dead["status"]["message"].as_str().is_some_and(|why| why.contains("vanished")), "{dead}");
    ensure!(dead["parentSpanId"] == root["spanId"], "who sent its message died with it: {dead}");
    Ok(())
}
