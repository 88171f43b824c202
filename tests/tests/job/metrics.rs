//! What the page of metrics says, and the lines in the Embedded Metric Format behind it, of jobs of which all is known: by their
//! uploads, their records in the ledger, and their receipts.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{
    house::QUEUES,
    monitoring::{counts, samples},
    run::Fanreel,
};

/// A job that went well, and the bytes of its upload.
pub struct Done {
    pub job: String,
    pub bytes: u64,
}

fn number(count: u64) -> Result<f64> {
    Ok(f64::from(u32::try_from(count)?))
}

/// A label and its value, as the page writes them.
fn labelled(name: &str, counts: &BTreeMap<&str, u64>) -> Result<Vec<(String, f64)>> {
    counts.iter().map(|(value, count)| Ok((format!("{name}=\"{value}\""), number(*count)?))).collect()
}

/// All that is told of these jobs, which are all that there are.
pub async fn are_right(fanreel: &Fanreel, page: &str, jobs: &[Done]) -> Result<()> {
    let uploaded: u64 = jobs.iter().map(|done| done.bytes).sum();
    let completed = [("state=\"completed\"".to_owned(), number(u64::try_from(jobs.len())?)?)];
    let of_none = |count: f64| [(String::new(), count)];
    counts(page, "fanreel_uploads_total", &of_none(completed[0].1))?;
    counts(page, "fanreel_upload_bytes_total", &of_none(number(uploaded)?))?;
    counts(page, "fanreel_jobs_total", &completed)?;
    counts(page, "fanreel_job_seconds_count", &completed)?;

    let (mut done, mut frames, mut stored) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let (mut attempts, mut faults, mut deaths) = (0, 0, 0);
    for Done { job, .. } in jobs {
        for task in fanreel.task_items(job).await? {
            let stage = match task.id.as_bytes() {
                [b'c', ..] => "chunk",
                [b'a', ..] => "audio",
                b"split" => "split",
                b"merge" => "merge",
                _ => anyhow::bail!("a job of this profile has no task {}", task.id),
            };
            *done.entry(stage).or_default() += 1;
            (attempts, faults, deaths) = (attempts + task.attempts, faults + task.faults, deaths + task.deaths);
        }
        let receipt: Value = serde_json::from_slice(&fanreel.read(&format!("jobs/{job}/manifests/receipt.json")).await?)?;
        *frames.entry("chunk").or_default() += receipt["frames"].as_u64().context("frames")?;
        for (stage, tracks) in [("chunk", "renditions"), ("audio", "audio")] {
            let bytes = receipt[tracks].as_array().into_iter().flatten().filter_map(|track| track["bytes"].as_u64());
            *stored.entry(stage).or_default() += bytes.sum::<u64>();
        }
    }
    ensure!(frames["chunk"] > 0 && stored.values().all(|bytes| *bytes > 0), "{frames:?}, {stored:?}");
    for metric in ["fanreel_tasks_total", "fanreel_queue_seconds_count", "fanreel_task_seconds_count"] {
        counts(page, metric, &labelled("stage", &done)?)?;
    }
    for stage in done.keys() {
        frames.entry(*stage).or_default();
        stored.entry(*stage).or_default();
    }
    counts(page, "fanreel_frames_total", &labelled("stage", &frames)?)?;
    counts(page, "fanreel_stored_bytes_total", &labelled("stage", &stored)?)?;
    for (event, count) in [("TaskReceived", attempts), ("ContainerErrorRetry", faults), ("ContainerFailureDetected", deaths)] {
        // A counter is there from its first event on.
        let label = format!("event=\"{event}\"");
        let told: Vec<_> = samples(page, "fanreel_events_total").into_iter().filter(|(labels, _)| *labels == label).collect();
        let wanted: Vec<_> = (count > 0).then(|| Ok((label, number(count)?))).into_iter().collect::<Result<_>>()?;
        ensure!(told == wanted, "{event} is told as {told:?}, and there were {count}");
    }
    at_rest(fanreel, page)?;
    lines(fanreel, jobs.len(), uploaded)
}

/// Nothing waits in any queue, no function failed, and nothing was left out.
fn at_rest(fanreel: &Fanreel, page: &str) -> Result<()> {
    let name = |output: &str| fanreel.outputs.get(output).and_then(|url| url.rsplit('/').next()).context("a queue without a name");
    let empty: BTreeMap<&str, u64> = QUEUES.into_iter().map(|queue| Ok((name(queue)?, 0))).collect::<Result<_>>()?;
    let messages = ["visible", "not_visible", "delayed"].map(|state| format!("aws_sqs_approximate_number_of_messages_{state}"));
    for metric in messages.iter().map(String::as_str).chain(["aws_sqs_approximate_age_of_oldest_message_seconds"]) {
        counts(page, metric, &labelled("queue_name", &empty)?)?;
    }
    let errors = samples(page, "aws_lambda_errors_total");
    ensure!(errors.len() >= 4 && errors.iter().all(|(_, count)| *count < 1.0), "{errors:?}");
    for metric in ["platform_log_lines_dropped", "platform_observations_left_out"] {
        counts(page, metric, &[(String::new(), 0.0)])?;
    }
    Ok(())
}

/// The lines of uploads, as CloudWatch reads them.
fn lines(fanreel: &Fanreel, films: usize, uploaded: u64) -> Result<()> {
    let pattern = "{ $._aws.CloudWatchMetrics[0].Namespace = \"fanreel\" && $.uploads = 1 }";
    let shown = fanreel.say(&["logs", "ingest", "--since", "1d", "--filter", pattern])?;
    let mut bytes = Vec::new();
    for line in shown.lines() {
        let line: Value = serde_json::from_str(line)?;
        let told: Value = serde_json::from_str(line["message"].as_str().context("message")?)?;
        let metrics = json!([{ "Name": "uploads", "Unit": "Count" }, { "Name": "upload_bytes", "Unit": "Bytes" }]);
        let directive = json!([{ "Namespace": "fanreel", "Dimensions": [[]], "Metrics": metrics }]);
        ensure!(told["_aws"]["CloudWatchMetrics"] == directive, "{told}");
        bytes.push(told["upload_bytes"].as_u64().with_context(|| told.to_string())?);
    }
    ensure!(bytes.len() == films && bytes.iter().sum::<u64>() == uploaded, "{bytes:?}: not {uploaded} bytes of {films} films");
    Ok(())
}
