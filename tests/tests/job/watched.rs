//! `monitoring/` in use: a real Prometheus reads a platform at work, answers what the dashboard asks and raises the alert that
//! a person is needed.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    clips, monitoring,
    prometheus::{Prometheus, promtool},
    python::good,
    run::{Fanreel, until},
};

const LONG: Duration = Duration::from_secs(300);

#[test]
fn alerts_are_raised_when_they_should_be_and_not_before() -> Result<()> {
    for args in [["check", "config", "prometheus.yml"], ["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]] {
        println!("{}", good(&promtool(&args)?, &format!("promtool {}", args.join(" ")))?);
    }
    Ok(())
}

/// What each panel shows must be there, once a film is done and a task has failed for good.
fn panels(prometheus: &Prometheus) -> Result<usize> {
    let expressions = monitoring::expressions()?;
    for expression in &expressions {
        let found = prometheus.query(&expression.replace("$__rate_interval", "5m"))?;
        // Nothing is throttled on a machine with room.
        ensure!(!found.is_empty() || expression.contains("aws_lambda_throttles_total"), "nothing answers `{expression}`");
    }
    Ok(expressions.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_reads_the_page_answers_the_dashboard_and_raises_an_alert() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let fault = dir.path().join("fault");
    let ffmpeg = clips::crashing_ffmpeg(dir.path(), &fault, 1001)?;
    let environment = [("FFMPEG", ffmpeg.as_path()), ("FANREEL_HTTP_PORT", Path::new("0"))];
    let fanreel = Fanreel::start_with(&dir.path().join("data"), &["MaxRetries=0"], &environment).await?;
    let prometheus = Prometheus::start(dir.path(), &fanreel.endpoint).await?;
    let film = clips::small(dir.path())?.path;
    fanreel.upload("uploads/film.mp4", &film).await?;
    let job = fanreel.job_of("uploads/film.mp4").await?;
    fanreel.wait(&job, &["COMPLETED"], LONG).await?;
    until("Prometheus to know of the job", LONG, || {
        Ok(prometheus.query("fanreel_jobs_total{state=\"completed\"} == 1")?.first().map(|_| ()))
    })
    .await?;
    ensure!(prometheus.query("ALERTS")?.is_empty(), "an alert of nothing: {:?}", prometheus.query("ALERTS")?);

    // The first of its kind: a counter that was not there before.
    std::fs::write(&fault, "")?;
    fanreel.upload("uploads/crash.mp4", &film).await?;
    until("the alert", LONG, || {
        let alerts = prometheus.query("ALERTS{alertstate=\"firing\"}")?;
        Ok(alerts.iter().any(|(labels, _)| labels["alertname"] == "OperatorNeeded").then_some(()))
    })
    .await?;

    // It rests hidden, and counts all the same; five minutes later it fires.
    let letters = fanreel.outputs.get("DeadLetterQueueUrl").context("queue")?;
    fanreel.sqs.send_message().queue_url(letters).message_body("no task of ours").send().await?;
    let pending = "ALERTS{alertname=\"DeadLetters\"} unless on (queue_name) aws_sqs_approximate_number_of_messages_visible > 0";
    let pending = format!("count_over_time(({pending})[5s:1s]) >= 4");
    until("the alert of a letter that is hidden", LONG, || Ok(prometheus.query(&pending)?.first().map(|_| ()))).await?;
    let panels = panels(&prometheus)?;
    let rules = prometheus.ask("rules", &[])?;
    let rules: Vec<&Value> =
        rules["groups"].as_array().context("groups")?.iter().filter_map(|group| group["rules"].as_array()).flatten().collect();
    ensure!(rules.len() >= 7, "{} rules", rules.len());
    for rule in &rules {
        ensure!(rule["health"] == "ok", "{rule}");
    }
    println!("{panels} queries of the dashboard answered, {} rules healthy", rules.len());
    prometheus.stop()?;
    fanreel.stop()
}
