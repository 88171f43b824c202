//! What a job cost: its receipt against what the platform wrote down of the same calls.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    clips,
    run::{self, Fanreel, binary},
};

const LONG: Duration = Duration::from_secs(300);
/// Stands in front of a call in the platform's log.
const MARK: &str = "platform::iam: ";

/// Calls of a service by these functions.
fn calls(log: &Path, service: &str, functions: &[&str]) -> Result<u64> {
    let text = std::fs::read_to_string(log)?;
    let lines = text.lines().filter_map(|line| line.split_once(MARK)).map(|(_, call)| serde_json::from_str::<Value>(call));
    let calls = lines.collect::<Result<Vec<Value>, _>>()?;
    let by = |call: &&Value| {
        let caller = call["caller"].as_str().unwrap_or_default();
        let action = call["needs"][0][0].as_str().unwrap_or_default();
        action.split_once(':').is_some_and(|(of, _)| of == service) && functions.iter().any(|function| caller.ends_with(function))
    };
    Ok(u64::try_from(calls.iter().filter(by).count())?)
}

/// The plan's figures for the same film, by the same prices.
fn planned(film: &Path, prices: &Path, cache: &Path) -> Result<Value> {
    let mut command = std::process::Command::new(binary("fanreel")?);
    command.args(["plan", "--json", "--prices"]).arg(prices).arg(film).env("XDG_CACHE_HOME", cache);
    let output = command.env("FANREEL_LAYER", tests::root().join("layers/ffmpeg/build/opt")).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn number(value: &Value, name: &str) -> Result<f64> {
    value[name].as_f64().with_context(|| format!("no number {name} in {value}"))
}

fn near(found: f64, wanted: f64) -> bool {
    (found - wanted).abs() <= 1e-8 + wanted.abs() * 1e-6
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_says_what_the_job_cost() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let fault = dir.path().join("fault");
    let ffmpeg = clips::crashing_ffmpeg(dir.path(), &fault, 1001)?;
    let environment = [("FFMPEG", ffmpeg.as_path()), ("FANREEL_LOG", Path::new("info,platform::iam=debug"))];
    let began = std::time::Instant::now();
    let fanreel = Fanreel::start_with(&dir.path().join("data"), &["MaxRetries=2"], &environment).await?;
    let film = clips::small(dir.path())?.path;
    // People's own prices, ten times as dear for memory.
    let prices = std::fs::read_to_string(tests::root().join("crates/pipeline/src/cost/prices.json"))?;
    let own = dir.path().join("prices.json");
    std::fs::write(&own, prices.replace("0.0000166667", "0.000166667").replace("\"as_of\": \"2", "\"as_of\": \"of my own, 2"))?;
    fanreel.upload("config/prices.json", &own).await?;

    // A chunk crashes once, which is paid for as well.
    std::fs::write(&fault, "")?;
    fanreel.upload("uploads/film.mp4", &film).await?;
    let job = fanreel.job_of("uploads/film.mp4").await?;
    let retried = || Ok(fanreel.events(&job)?.iter().any(|event| event["kind"] == "ContainerErrorRetry").then_some(()));
    run::until("a retry", LONG, retried).await?;
    std::fs::remove_file(&fault)?;
    fanreel.wait(&job, &["COMPLETED"], LONG).await?;
    fanreel.drained(LONG).await?;
    let elapsed = began.elapsed().as_secs_f64();

    let receipt: Value = serde_json::from_slice(&fanreel.read(&format!("jobs/{job}/manifests/receipt.json")).await?)?;
    let expense = &receipt["expense"];
    let stages = expense["stages"].as_array().context("stages")?;
    let names: Vec<&str> = stages.iter().filter_map(|stage| stage["stage"].as_str()).collect();
    ensure!(names == ["split", "chunk", "audio"], "{names:?}");
    // As large as the template has them, and no longer than it all took, two at a time and four at most.
    for (stage, mb) in stages.iter().zip([768.0, 1769.0, 1769.0]) {
        let (seconds, gb_seconds) = (number(stage, "seconds")?, number(stage, "gb_seconds")?);
        ensure!(seconds > 0.0 && seconds < 4.0 * elapsed && near(gb_seconds, seconds * mb / 1024.0), "{stage}");
    }
    ensure!(number(&stages[1], "cpu_seconds")? > 0.1 && number(expense, "cpu_seconds")? < 8.0 * elapsed, "{expense}");
    let attempts = expense["attempts"].as_u64().context("attempts")?;
    ensure!(attempts >= 5, "two chunks, sound, split and a crash: {attempts}");
    ensure!(expense["lost"].is_null(), "nobody died: {expense}");

    // Every request to S3 of these functions stands in the receipt: none of them asks it for anything behind its record.
    let log = fanreel.data_dir.join("platform.log");
    let asked = &expense["requests"];
    let asked_of = |names: &[&str]| names.iter().filter_map(|name| asked[name].as_u64()).sum::<u64>();
    let s3 = asked_of(&["s3_put", "s3_get", "s3_free"]);
    let known = calls(&log, "s3", &["-split", "-transcode"])?;
    ensure!(s3 == known, "{known}: {asked}");
    // Of the others those of the last moments do not.
    let sqs = calls(&log, "sqs", &["-split", "-transcode"])?;
    ensure!((attempts..=sqs).contains(&asked_of(&["sqs"])), "{sqs}: {asked}");
    let ledger = calls(&log, "dynamodb", &["-split", "-transcode"])?;
    let units = asked_of(&["ledger_write_units", "ledger_read_halves"]);
    ensure!(units > ledger / 2, "{ledger} calls of the ledger took {units} units");
    ensure!(asked_of(&["from_s3_bytes"]) >= std::fs::metadata(&film)?.len(), "{asked}");
    let segments: u64 =
        ["renditions", "audio"].iter().filter_map(|kind| receipt[kind].as_array()).flatten().filter_map(|r| r["bytes"].as_u64()).sum();
    ensure!(asked_of(&["to_s3_bytes"]) > segments * 9 / 10, "{segments} bytes of segments: {asked}");
    ensure!(expense["storage_bytes"].as_u64() > Some(segments), "{expense}");

    println!("{expense:#}\n{ledger} calls of the ledger, {sqs} of queues");

    // By their own prices, and beside what the plan said.
    ensure!(expense["prices"]["as_of"].as_str().is_some_and(|date| date.starts_with("of my own")), "{expense}");
    ensure!(number(expense, "compute_usd")? > 0.000_166 * number(expense, "gb_seconds")?, "{expense}");
    let plan = planned(&film, &own, dir.path())?;
    let estimate = &expense["estimate"];
    ensure!(near(number(estimate, "total_usd")?, number(&plan["lambda"], "total_usd")?), "{estimate}, planned {}", plan["lambda"]);

    // `status` has the merge as well, and says it to people.
    let status = fanreel.ask(&["status", &job])?;
    let whole = status["expense"]["stages"].as_array().context("stages of status")?;
    let merge = whole.last().filter(|stage| stage["stage"] == "merge").context("no merge")?;
    let sum = number(expense, "total_usd")? + number(merge, "total_usd")?;
    ensure!(number(merge, "total_usd")? > 0.0 && near(number(&status["expense"], "total_usd")?, sum), "{status}");

    // The metric counts all of it, the merge too.
    let page = run::get(&fanreel.endpoint, "/metrics")?;
    let told: f64 =
        page.lines().filter_map(|line| line.strip_prefix("fanreel_cost_usd_total{")?.rsplit(' ').next()?.parse::<f64>().ok()).sum();
    // And of the split the moment between its plan and its record.
    ensure!((sum - 1e-8..sum + 0.000_05).contains(&told), "the metric has {told}, status {sum}");
    let times = fanreel.events(&job)?.iter().filter(|event| event["kind"] == "ContainerErrorRetry").count();
    let retried = format!("fanreel_events_total{{event=\"ContainerErrorRetry\"}} {times}.0\n");
    ensure!(times > 0 && page.contains(&retried), "{times} times something was tried again:\n{page}");
    fanreel.stop()
}
