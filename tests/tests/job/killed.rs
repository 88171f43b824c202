//! A worker or the whole platform is killed in the middle of a job.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tests::{
    clips::{self, Clip},
    ledger::Task,
    processes::tree,
    run::{self, Fanreel, until},
};

use super::{LONG, count, judge};

/// A clip whose encoding takes long enough to be killed in the middle.
fn long_clip(dir: &Path) -> Result<Clip> {
    let path = dir.join("long.mp4");
    let video = "testsrc2=size=640x360:rate=30:duration=48";
    let sound = "sine=frequency=440:duration=48";
    let out = path.to_string_lossy();
    clips::ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        video,
        "-f",
        "lavfi",
        "-i",
        sound,
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
        &out,
    ])?;
    Ok(Clip { name: "long.mp4", path })
}

/// Waits until some chunk is done and others are not.
async fn in_the_middle(fanreel: &Fanreel, job: &str) -> Result<()> {
    until("the middle of the job", LONG, || {
        let done = count(&fanreel.events(job)?, "TranscodedVideoUploaded");
        let status = fanreel.ask(&["status", job])?;
        ensure!(status["status"] != "COMPLETED", "the job was over before it could be killed");
        Ok((done >= 1).then_some(()))
    })
    .await
}

async fn nothing_is_left(fanreel: &Fanreel, job: &str) -> Result<()> {
    fanreel.drained(Duration::from_secs(90)).await?;
    ensure!(fanreel.keys(&format!("work/{job}/")).await?.is_empty(), "temporaries are left");
    let mut named = vec![format!("streams/{job}/master.m3u8"), format!("streams/{job}/manifest.mpd")];
    let receipt: Value = serde_json::from_slice(&fanreel.read(&format!("jobs/{job}/manifests/receipt.json")).await?)?;
    let tracks = receipt["renditions"].as_array().into_iter().chain(receipt["audio"].as_array()).flatten();
    for track in tracks {
        let name = track["name"].as_str().context("name")?;
        let text = String::from_utf8(fanreel.read(&format!("streams/{job}/{name}/media.m3u8")).await?)?;
        named.extend(text.lines().filter(|l| !l.starts_with('#')).map(|l| format!("streams/{job}/{name}/{l}")));
        named.extend(["media.m3u8", "init.mp4"].map(|file| format!("streams/{job}/{name}/{file}")));
    }
    named.sort();
    named.dedup();
    let found = fanreel.keys(&format!("streams/{job}/")).await?;
    ensure!(found == named, "objects that nobody names: {:?}", found.iter().filter(|k| !named.contains(k)).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platform_is_killed_in_the_middle_and_the_job_completes() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let clip = long_clip(dir.path())?;
    let data = dir.path().join("data");
    let parameters = ["LeaseSeconds=5"];
    let fanreel = Fanreel::start(&data, &parameters).await?;
    fanreel.upload("uploads/long.mp4", &clip.path).await?;
    let job = fanreel.job_of("uploads/long.mp4").await?;
    in_the_middle(&fanreel, &job).await?;
    at_work(&fanreel, &job).await?;
    let processes = tree(fanreel.pid());
    ensure!(processes.len() > 1, "nothing ran");
    fanreel.kill()?;
    until("the platform's processes to end", Duration::from_secs(10), || {
        Ok(processes.iter().all(|process| !process.is_alive()).then_some(()))
    })
    .await?;
    let fanreel = Fanreel::start(&data, &parameters).await?;
    fanreel.wait(&job, &["COMPLETED"], LONG).await?;
    let deaths: u64 = fanreel.task_items(&job).await?.iter().map(|task| task.deaths).sum();
    ensure!(deaths > 0 && count(&fanreel.events(&job)?, "ContainerFailureDetected") as u64 == deaths, "{deaths} deaths");
    println!("killed platform: {}", judge(&fanreel, &clip, &job, dir.path()).await?);
    nothing_is_left(&fanreel, &job).await?;
    fanreel.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_killed_and_its_task_is_done_by_another() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let clip = long_clip(dir.path())?;
    let fanreel = Fanreel::start(&dir.path().join("data"), &["LeaseSeconds=5"]).await?;
    fanreel.upload("uploads/long.mp4", &clip.path).await?;
    let job = fanreel.job_of("uploads/long.mp4").await?;
    in_the_middle(&fanreel, &job).await?;
    let task = kill_a_worker_of(&fanreel, &job).await?;
    fanreel.wait(&job, &["COMPLETED"], LONG).await?;
    let tasks = fanreel.task_items(&job).await?;
    ensure!(tasks.iter().any(|of_it| of_it.id == task && of_it.deaths > 0), "{task} lost its worker: {tasks:?}");
    println!("killed worker: {}", judge(&fanreel, &clip, &job, dir.path()).await?);
    nothing_is_left(&fanreel, &job).await?;
    let processes = tree(fanreel.pid());
    fanreel.stop()?;
    ensure!(processes.iter().all(|process| !process.is_alive()), "processes outlive the platform");
    Ok(())
}

/// `kill -9` of a worker that holds a lease and encodes: one that is killed sooner leaves its message to the queue's
/// visibility, a quarter of an hour. The task that it had.
async fn kill_a_worker_of(fanreel: &Fanreel, job: &str) -> Result<String> {
    let end = Instant::now() + LONG;
    while Instant::now() < end {
        let (task, pid) = at_work(fanreel, job).await?;
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid)?).context("pid")?;
        // It is held while the ledger is asked once more: it may just have told the end of its task.
        rustix::process::kill_process(pid, Signal::STOP)?;
        let still =
            fanreel.task_items(job).await?.iter().any(|now| {
                now.id == task.id && now.state == "leased" && now.environment == task.environment && now.attempts == task.attempts
            });
        rustix::process::kill_process(pid, if still { Signal::KILL } else { Signal::CONT })?;
        if still {
            return Ok(task.id);
        }
    }
    anyhow::bail!("no worker stayed at its task")
}

/// A task with a lease whose worker runs an encoder, and the worker.
async fn at_work(fanreel: &Fanreel, job: &str) -> Result<(Task, u32)> {
    let end = Instant::now() + LONG;
    while Instant::now() < end {
        for task in fanreel.task_items(job).await?.into_iter().filter(|task| task.state == "leased") {
            let pid = process_of(fanreel, task.environment.as_deref().unwrap_or_default())?;
            if let Some(pid) = pid.filter(|pid| !run::descendants(*pid).is_empty()) {
                return Ok((task, pid));
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("no worker was at a task")
}

/// The process of an environment, as the platform notes it: processes of functions hide their own environment.
fn process_of(fanreel: &Fanreel, stream: &str) -> Result<Option<u32>> {
    for entry in std::fs::read_dir(fanreel.data_dir.join("lambda/processes"))? {
        let entry = entry?;
        // One that ends just now is gone.
        let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
        if text.lines().nth(2) == Some(stream) {
            return Ok(entry.file_name().to_str().and_then(|pid| pid.parse().ok()));
        }
    }
    Ok(None)
}
