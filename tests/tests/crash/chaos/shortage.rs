//! Tools that are slow, fail or have no room, and a disk that is full.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::error::ProvideErrorMetadata as _;
use serde_json::Value;
use tests::{clips, ledger::Task, run::Fanreel, stack::Stack, tool};

use super::{ALONE, LOOK, PATIENCE, PROFILE, impatient, verdict, written};

/// Chunks of 6 s, and which of them meets what.
const SLOW: &str = "c00001";
const BROKEN: &str = "c00002";
const NARROW: &str = "c00003";
/// In one piece it takes longer than any function has; a GOP of it takes half of that.
const DRAGGING: &str = "c00004";

fn film(dir: &Path) -> Result<PathBuf> {
    let film = dir.join("film.mp4");
    let picture = "testsrc2=size=320x180:rate=24:duration=30";
    let sound = "sine=frequency=440:beep_factor=3:sample_rate=48000:duration=30";
    let codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "48", "-pix_fmt", "yuv420p", "-c:a", "aac"];
    clips::ffmpeg(&[&["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound][..], &codecs, &[&film.to_string_lossy()]].concat())?;
    Ok(film)
}

/// An ffmpeg that for as long as `slow` and `narrow` are there sleeps over one chunk and may write 20 KB of another, breaks
/// down twice over a third, never ends over a fourth in one piece, and else is the layer's own. The encoder is told a chunk's number as `-fragment_index 3001`.
fn worn(dir: &Path) -> Result<PathBuf> {
    let at = dir.display();
    let script = format!(
        "case \" $* \" in\n\
         *' -fragment_index 1001 '*) [ -e '{at}/slow' ] && exec sleep 600 ;;\n\
         *' -fragment_index 2001 '*) for n in 1 2; do [ -e \"{at}/broke$n\" ] || {{ : > \"{at}/broke$n\"; exit 139; }}; done ;;\n\
         *' -fragment_index 3001 '*) [ -e '{at}/narrow' ] && ulimit -f 40 ;;\n\
         *' -force_key_frames '*' -fragment_index 4001 '*) exec sleep 600 ;;\n\
         *' -fragment_index 400'[123]' '*) sleep 5 ;;\n\
         esac"
    );
    clips::scripted_ffmpeg(dir, &script)
}

/// Tasks once they are as wanted.
async fn tasks(stack: &Stack, job: &str, wanted: impl Fn(&[Task]) -> bool) -> Result<BTreeMap<String, Task>> {
    let end = Instant::now() + PATIENCE;
    loop {
        let tasks = stack.task_items(job).await?;
        if wanted(&tasks) {
            return Ok(tasks.into_iter().map(|task| (task.id.clone(), task)).collect());
        }
        ensure!(Instant::now() < end, "{tasks:?}");
        tokio::time::sleep(LOOK).await;
    }
}

/// How often, where, and with which end.
fn tried(before: &BTreeMap<String, Task>) -> Result<()> {
    for (id, what) in [(SLOW, "out of time"), (NARROW, "out of disk")] {
        let task = &before[id];
        ensure!(task.class == "large" && task.attempts == 2, "once in each class: {task:?}");
        ensure!(task.last_fault.as_deref().is_some_and(|fault| fault.contains(what)), "{task:?}");
    }
    let task = &before[DRAGGING];
    // Once in one piece; its GOPs are too many for one attempt, and nobody is asked.
    ensure!(task.class == "large" && task.generation == 0 && (3..=4).contains(&task.attempts), "{task:?}");
    let others = before.values().filter(|task| task.id != "merge" && ![SLOW, NARROW, DRAGGING].contains(&task.id.as_str()));
    for task in others {
        ensure!(task.attempts == if task.id == BROKEN { 3 } else { 1 }, "twice as usual, and once with care: {task:?}");
    }
    Ok(())
}

/// What a person may read of it.
fn told(events: &[Value]) -> Result<()> {
    let tells = |kind: &str, what: &str| {
        let told = events.iter().filter(|event| event["kind"] == kind && event["detail"].as_str().is_some_and(|text| text.contains(what)));
        told.count()
    };
    ensure!(tells("ContainerErrorRetry", "more finished: the next attempt goes on from there") > 0, "nothing was kept of {DRAGGING}");
    for (kind, what) in [
        ("ResourceUtilizationThresholdReached", "goes to the large class: out of time"),
        ("ResourceUtilizationThresholdReached", "goes to the large class: out of disk"),
        ("ContainerErrorRetry", "retry 0"),
        ("ContainerErrorEscalation", "out of time"),
        ("ContainerErrorEscalation", "out of disk"),
    ] {
        let times = if kind == "ContainerErrorRetry" || what == "goes to the large class: out of time" { 2 } else { 1 };
        ensure!(tells(kind, what) == times, "{} of {times} {kind} with `{what}`", tells(kind, what));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_may_be_slow_fail_and_have_no_room() -> Result<()> {
    let _alone = ALONE.lock().await;
    let dir = tempfile::tempdir()?;
    let (film, ffmpeg) = (film(dir.path())?, worn(dir.path())?);
    let faults = ["slow", "narrow"].map(|name| dir.path().join(name));
    for fault in &faults {
        std::fs::write(fault, "")?;
    }
    // Ten seconds less are for the work.
    let template = written(dir.path(), &impatient()?.replace(" Timeout: 35", " Timeout: 20"))?;
    let parameters = ["LeaseSeconds=5", "RetrySeconds=2", &format!("Profile={PROFILE}"), &format!("FfmpegPath={}", ffmpeg.display())];
    let probe = format!("FfprobePath={}", tool("ffprobe").canonicalize()?.display());
    let parameters = [&parameters[..], &[&probe]].concat();
    let fanreel = Fanreel::start_template_with(&dir.path().join("data"), &template, &parameters).await?;
    fanreel.upload("uploads/film.mp4", &film).await?;
    let job = fanreel.job_of("uploads/film.mp4").await?;

    let is_over = |task: &Task| task.state == if [SLOW, NARROW].contains(&task.id.as_str()) { "blocked" } else { "done" };
    let before = tasks(&fanreel, &job, |tasks| tasks.len() > 5 && tasks.iter().all(|task| task.id == "merge" || is_over(task))).await?;
    tried(&before)?;
    told(&fanreel.events(&job)?)?;
    fanreel.drained(PATIENCE).await?;
    let bundles = fanreel.keys(&format!("work/{job}/repro/")).await?;
    ensure!([SLOW, NARROW].iter().all(|id| bundles.iter().any(|key| key.ends_with(&format!("{id}.0.json")))), "{bundles:?}");

    // The cause is gone.
    for fault in &faults {
        std::fs::remove_file(fault)?;
    }
    // One of them by its name; then it waits no more, and the other still does.
    let retried = fanreel.ask(&["retry", &job, "--task", SLOW])?;
    ensure!(retried["tasks"] == serde_json::json!([SLOW]), "{retried}");
    tasks(&fanreel, &job, |tasks| tasks.iter().any(|task| task.id == SLOW && task.state == "done")).await?;
    let refused = fanreel.ask(&["retry", &job, "--task", SLOW]);
    ensure!(refused.as_ref().is_err_and(|error| error.to_string().contains(SLOW)), "{refused:?}");
    ensure!(fanreel.ask(&["status", &job])?["state"] == "escalated", "the other waits for a person");
    let retried = fanreel.ask(&["retry", &job])?;
    ensure!(retried["tasks"] == serde_json::json!([NARROW]), "{retried}");
    fanreel.wait(&job, &["COMPLETED"], PATIENCE).await?;
    fanreel.drained(PATIENCE).await?;
    let after = fanreel.task_items(&job).await?;
    ensure!(after.iter().all(|task| task.state == "done"), "{after:?}");
    let again: Vec<&str> = after.iter().filter(|task| task.generation > 0).map(|task| task.id.as_str()).collect();
    ensure!(again == [SLOW, NARROW] && after.iter().all(|task| task.generation == 0 || task.attempts == 1), "{after:?}");
    verdict::frame_exact(&fanreel, &job, &film, dir.path()).await?;
    verdict::nothing_else(&fanreel, &[("uploads/film.mp4".to_owned(), job)]).await?;
    fanreel.stop()
}

/// Writes that nobody misses, until there is no room for a kilobyte: what is left of a larger piece would hold all that a
/// short film still wants.
async fn fill(stack: &Stack) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    for piece in [1 << 20, 64 << 10, 4 << 10, 1 << 10] {
        loop {
            let key = format!("filler/{}", keys.len());
            match stack.s3.put_object().bucket(stack.bucket()).key(&key).body(vec![0; piece].into()).send().await {
                Ok(_) => keys.push(key),
                Err(error) if error.code() == Some("InsufficientStorage") => break,
                Err(error) => return Err(error.into()),
            }
            ensure!(keys.len() < 200, "the bound is not kept");
        }
    }
    Ok(keys)
}

/// Nobody works on it any more, or its lease is over.
fn ran_out(task: &Task) -> bool {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
    task.state != "leased" || u128::from(task.until_ms) < now_ms
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_may_be_full() -> Result<()> {
    let _alone = ALONE.lock().await;
    let dir = tempfile::tempdir()?;
    let film = film(dir.path())?;
    let template = written(dir.path(), &impatient()?)?;
    let profile = format!("Profile={PROFILE}");
    let fanreel =
        Fanreel::start_as(&dir.path().join("data"), &template, &["LeaseSeconds=5", "RetrySeconds=2", &profile], &["--max-disk", "32MB"])
            .await?;
    fanreel.upload("uploads/film.mp4", &film).await?;
    let job = fanreel.job_of("uploads/film.mp4").await?;
    tasks(&fanreel, &job, |tasks| tasks.iter().any(|task| task.id.starts_with('c') && task.state != "open")).await?;
    let filler = fill(&fanreel).await?;
    // Full until every lease of now has run out: whoever had a task could not extend it.
    let held: Vec<String> = fanreel.task_items(&job).await?.into_iter().filter(|task| task.state == "leased").map(|task| task.id).collect();
    ensure!(!held.is_empty(), "nobody was at work when the disk was full");
    tasks(&fanreel, &job, |tasks| tasks.iter().all(|task| !held.contains(&task.id) || ran_out(task))).await?;
    let item = fanreel.job_item(&job).await?.context("the job is gone")?;
    ensure!(item.state != "completed" && item.state != "rejected", "{item:?} without room");
    for key in &filler {
        fanreel.s3.delete_object().bucket(fanreel.bucket()).key(key).send().await?;
    }
    let end = Instant::now() + PATIENCE;
    loop {
        let item = fanreel.job_item(&job).await?.context("the job is gone")?;
        if item.state == "completed" {
            break;
        }
        if !item.blocked.is_empty() {
            let blocked = fanreel.task_items(&job).await?.into_iter().filter(|task| task.state == "blocked");
            for task in blocked {
                ensure!(task.last_fault.as_deref().is_some_and(|fault| fault.contains("there is no room")), "{task:?}");
            }
            fanreel.ask(&["retry", &job])?;
        }
        ensure!(Instant::now() < end, "{:?}", fanreel.task_items(&job).await?);
        tokio::time::sleep(LOOK).await;
    }
    fanreel.drained(PATIENCE).await?;
    verdict::frame_exact(&fanreel, &job, &film, dir.path()).await?;
    verdict::nothing_else(&fanreel, &[("uploads/film.mp4".to_owned(), job)]).await?;
    fanreel.stop()
}

/// Where this machine mounts no file system for a test, the tool with a bound on its files stands for it.
#[tokio::test(flavor = "multi_thread")]
async fn functions_may_have_no_room_on_their_disk() -> Result<()> {
    let _alone = ALONE.lock().await;
    let dir = tempfile::tempdir()?;
    let film = film(dir.path())?;
    let (data, template) = (dir.path().join("data"), written(dir.path(), &impatient()?)?);
    let parameters = ["LeaseSeconds=5", "RetrySeconds=2", &format!("Profile={PROFILE}")];
    // It takes no folder that something lies in already, but for its own.
    Fanreel::start_template_with(&data, &template, &parameters).await?.stop()?;
    let Some(fanreel) = Fanreel::start_cramped(&data, &template, &parameters, "256k").await? else {
        eprintln!("no file system can be mounted here");
        return Ok(());
    };
    fanreel.upload("uploads/film.mp4", &film).await?;
    let job = fanreel.job_of("uploads/film.mp4").await?;
    // Not even the source's index has room.
    let before = tasks(&fanreel, &job, |tasks| tasks.iter().any(|task| task.state == "blocked")).await?;
    let fault = before["split"].last_fault.as_deref().unwrap_or_default();
    ensure!(fault.contains("out of disk: writing the source to") && before["split"].attempts == 1, "{before:?}");
    fanreel.drained(PATIENCE).await?;
    fanreel.stop()?;

    // On a larger disk.
    let fanreel = Fanreel::start_template_with(&data, &template, &parameters).await?;
    fanreel.ask(&["retry", &job])?;
    fanreel.wait(&job, &["COMPLETED"], PATIENCE).await?;
    fanreel.drained(PATIENCE).await?;
    verdict::frame_exact(&fanreel, &job, &film, dir.path()).await?;
    verdict::nothing_else(&fanreel, &[("uploads/film.mp4".to_owned(), job)]).await?;
    fanreel.stop()
}
