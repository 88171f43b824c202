//! A job that a person gives up: its workers stop, and nothing of it stays.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use aws_sdk_dynamodb::types::AttributeValue;
use tests::run::{Fanreel, until};

use super::{LONG, film};

/// No worker of a job lives longer after its end.
const LAST_WORKER: Duration = Duration::from_secs(16 * 60);

/// Objects and parts of uploads as workers leave them that are killed in the middle.
async fn leave_as_the_dead_do(fanreel: &Fanreel, job: &str) -> Result<()> {
    for key in [format!("work/{job}/source/normalized.7.mkv"), format!("streams/{job}/180p/segments/seg_0099.7.m4s")] {
        fanreel.s3.put_object().bucket(fanreel.bucket()).key(key).body(vec![7; 100].into()).send().await?;
    }
    for key in [format!("work/{job}/source/normalized.8.mkv"), format!("streams/{job}/180p/init.mp4"), format!("encoded/{job}_180p.mp4")] {
        let upload = fanreel.s3.create_multipart_upload().bucket(fanreel.bucket()).key(&key).send().await?;
        let id = upload.upload_id().context("no upload id")?;
        let part = fanreel.s3.upload_part().bucket(fanreel.bucket()).key(key).upload_id(id).part_number(1);
        part.body(vec![7; 100].into()).send().await?;
    }
    ensure!(fanreel.unfinished().await?.len() >= 3, "{:?}", fanreel.unfinished().await?);
    Ok(())
}

/// The job ended so long ago.
async fn grow_old(fanreel: &Fanreel, job: &str, by: Duration) -> Result<()> {
    let then = (SystemTime::now() - by).duration_since(UNIX_EPOCH)?.as_millis().to_string();
    let table = fanreel.outputs.get("Table").context("no table")?;
    let update = fanreel.dynamodb.update_item().table_name(table).condition_expression("attribute_exists(pk)");
    let update = update.key("pk", AttributeValue::S(job.into())).key("sk", AttributeValue::S("job".into()));
    let update = update.update_expression("SET #due = :then, #updated = :then").expression_attribute_names("#due", "due");
    let update = update.expression_attribute_names("#updated", "updated_ms");
    update.expression_attribute_values(":then", AttributeValue::N(then)).send().await?;
    Ok(())
}

fn sweep(fanreel: &Fanreel) -> Result<()> {
    let swept = fanreel.ask(&["invoke", "sweep", "-e", &tests::root().join("events/schedule.json").to_string_lossy()])?;
    ensure!(swept["payload"]["jobs"].is_u64(), "{swept}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_stops_its_workers_and_leaves_only_the_upload() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let fanreel = Fanreel::start(&dir.path().join("data"), &["LeaseSeconds=5"]).await?;
    fanreel.upload("uploads/film.mp4", &film(dir.path(), 240)?).await?;
    let job = fanreel.job_of("uploads/film.mp4").await?;
    until("a chunk to be running", LONG, || {
        let status = fanreel.ask(&["status", &job])?;
        Ok((status["progress"]["frames_done"].as_u64() > Some(0)).then_some(()))
    })
    .await?;
    leave_as_the_dead_do(&fanreel, &job).await?;
    let cancelled = fanreel.ask(&["cancel", &job])?;
    ensure!(cancelled["known"] == false, "{cancelled}");
    ensure!(fanreel.ask(&["cancel", &job])?["known"] == true, "a second time changes nothing");
    let status = fanreel.ask(&["status", &job])?;
    ensure!(status["state"] == "cancelled" && status["status"] == "FAILED", "{status}");
    // Its messages die quietly, and no encoder of it runs on.
    fanreel.drained(LONG).await?;
    until("the encoders to stop", LONG, || Ok((!fanreel.processes().iter().any(|(_, name)| name == "ffmpeg")).then_some(()))).await?;
    let tasks = fanreel.task_items(&job).await?;
    ensure!(tasks.len() > 3 && tasks.iter().all(|task| ["done", "ended"].contains(&task.state.as_str())), "{tasks:?}");
    ensure!(tasks.iter().any(|task| task.state == "ended"), "it was done before it was cancelled: {tasks:?}");

    // Segments of workers that had not heard of it, and its plan, which a split that lives would write anew, wait for the sweep.
    let late = format!("streams/{job}/");
    let keys: Vec<String> = fanreel.keys("").await?.into_iter().filter(|key| !key.starts_with("config/")).collect();
    let (segments, others): (Vec<String>, Vec<String>) = keys.into_iter().partition(|key| key.starts_with(&late));
    ensure!(others == [format!("jobs/{job}/manifests/source.json"), "uploads/film.mp4".to_owned()], "{others:?}");
    ensure!(segments.iter().all(|key| key.contains("/segments/") && !key.contains("seg_0099")), "{segments:?}");
    ensure!(fanreel.unfinished().await?.is_empty(), "{:?}", fanreel.unfinished().await?);

    // Once no worker of it can live.
    grow_old(&fanreel, &job, LAST_WORKER).await?;
    sweep(&fanreel)?;
    let keys: Vec<String> = fanreel.keys("").await?.into_iter().filter(|key| !key.starts_with("config/")).collect();
    ensure!(keys == ["uploads/film.mp4"], "{keys:?}");
    let status = fanreel.ask(&["status", &job])?;
    ensure!(status["state"] == "cancelled", "what is known of it stays: {status}");
    fanreel.stop()
}
