//! Jobs that a person must look at: what blocks them, what `retry` does again, what `cancel` leaves.

#[path = "operator/cancel.rs"]
mod cancel;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use pipeline::plan::SCHEMA;
use serde_json::Value;
use tests::{
    clips,
    hook::{self, Hook},
    run::{Fanreel, until},
};

const LONG: Duration = Duration::from_secs(240);
/// The chunk that the encoder cannot do: the encoder is told its number as `-fragment_index 3001`.
const CHUNK: &str = "c00003";

fn film(dir: &Path, seconds: u32) -> Result<PathBuf> {
    let film = dir.join("film.mp4");
    let picture = format!("testsrc2=size=320x180:rate=24:duration={seconds}");
    clips::ffmpeg(&["-f", "lavfi", "-i", &picture, "-pix_fmt", "yuv420p", "-g", "48", &film.to_string_lossy()])?;
    Ok(film)
}

/// How often each task was begun.
fn begun(fanreel: &Fanreel, job: &str) -> Result<BTreeMap<String, usize>> {
    let mut begun = BTreeMap::new();
    for event in fanreel.events(job)?.iter().filter(|event| event["kind"] == "TaskReceived") {
        *begun.entry(event["task"].as_str().context("task")?.to_owned()).or_default() += 1;
    }
    Ok(begun)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_crashes_the_encoder_waits_for_a_person_and_only_it_is_done_again() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let hook = Hook::start().await?;
    let told = [format!("WebhookUrl={}", hook.url), format!("WebhookSecret={}", hook::SECRET)];
    let (fanreel, fault, job) = with_a_crash(dir.path(), 36, 3001, &[&told[0], &told[1]]).await?;

    // Escalated, while every other task is done.
    let waiting = until("all but chunk 3 to be done", LONG, || {
        let status = fanreel.ask(&["status", &job])?;
        let progress = &status["progress"];
        let rest = progress["tasks"].as_u64().unwrap_or(0);
        Ok((status["state"] == "escalated" && rest > 1 && progress["tasks_done"].as_u64() == Some(rest - 1)).then_some(status))
    })
    .await?;
    ensure!(waiting["status"] == "FAILED" && waiting["detail"].as_str().is_some_and(|d| d.contains(CHUNK)), "{waiting}");
    let bundle = until_bundle(&fanreel, &job).await?;
    ensure!(bundle["task"]["id"] == CHUNK && bundle["source"]["key"] == "uploads/film.mp4", "{bundle}");
    repeats(&fanreel, &job, &bundle, &dir.path().join("again"))?;
    let news = until("somebody to be told", LONG, || Ok(Some(hook.news()?).filter(|news| !news.is_empty()))).await?;
    ensure!(news.len() == 1 && news[0]["job"] == job.as_str() && news[0]["task"] == CHUNK && news[0]["kind"] == "task-blocked", "{news:?}");
    ensure!(news[0]["fault"].as_str().is_some_and(|fault| fault.contains("it went wrong")), "{news:?}");
    // Tried twice as usual, and once with care.
    let calls = std::fs::read_to_string(&fault)?;
    let care: Vec<bool> = calls.lines().map(|call| call.starts_with("-cpuflags 0 ") && !call.contains(" -ss ")).collect();
    ensure!(care == [false, false, true], "{calls}");
    let before = begun(&fanreel, &job)?;
    ensure!(before.iter().all(|(task, n)| *n == if task == CHUNK { 3 } else { 1 }), "{before:?}");

    std::fs::remove_file(&fault)?;
    let retried = fanreel.ask(&["retry", &job])?;
    ensure!(retried["tasks"] == serde_json::json!([CHUNK]), "{retried}");
    fanreel.wait(&job, &["COMPLETED"], LONG).await?;
    let again: BTreeMap<String, usize> = begun(&fanreel, &job)?
        .into_iter()
        .map(|(task, n)| (task.clone(), n - before.get(&task).unwrap_or(&0)))
        .filter(|(_, n)| *n > 0)
        .collect();
    let expected = BTreeMap::from([(CHUNK.to_owned(), 1), ("merge".to_owned(), 1)]);
    ensure!(again == expected, "begun after the retry: {again:?}");

    let error = fanreel.ask(&["retry", &job]).unwrap_err().to_string();
    ensure!(error.contains("is completed") && error.contains("submit --again"), "{error}");
    fanreel.drained(LONG).await?;
    a_late_dead_letter_changes_nothing(&fanreel, &hook, &job).await?;
    fanreel.stop()
}

/// A platform whose encoder breaks down over one chunk of this many seconds of film for as long as the file `fault` is there.
async fn with_a_crash(dir: &Path, seconds: u32, fragment: u32, parameters: &[&str]) -> Result<(Fanreel, PathBuf, String)> {
    let fault = dir.join("fault");
    std::fs::write(&fault, "")?;
    let ffmpeg = clips::crashing_ffmpeg(dir, &fault, fragment)?;
    let fanreel = Fanreel::start_with(&dir.join("data"), &[&["LeaseSeconds=5"], parameters].concat(), &[("FFMPEG", &ffmpeg)]).await?;
    fanreel.upload("uploads/film.mp4", &film(dir, seconds)?).await?;
    let job = fanreel.job_of("uploads/film.mp4").await?;
    Ok((fanreel, fault, job))
}

/// It is news about a message, of a time that is over.
async fn a_late_dead_letter_changes_nothing(fanreel: &Fanreel, hook: &Hook, job: &str) -> Result<()> {
    let letter = serde_json::json!({ "schema": 1, "job": job, "task": CHUNK, "generation": 0 }).to_string();
    let queue = fanreel.outputs.get("DeadLetterQueueUrl").context("no queue")?;
    fanreel.sqs.send_message().queue_url(queue).message_body(letter).send().await?;
    fanreel.drained(LONG).await?;
    ensure!(fanreel.ask(&["status", job])?["state"] == "completed" && hook.news()?.len() == 1, "{:?}", hook.news()?);
    ensure!(
        fanreel.keys("dead-letters/").await?.is_empty() && fanreel.keys(&format!("work/{job}/")).await?.is_empty(),
        "something is kept of it"
    );
    Ok(())
}

/// What is fetched is enough to do again what failed: here, without the fault, it gives the chunk.
fn repeats(fanreel: &Fanreel, job: &str, bundle: &Value, folder: &Path) -> Result<()> {
    let crash = &bundle["crash"];
    ensure!(crash["stderr"].as_str().is_some_and(|said| said.contains("it went wrong")), "{crash}");
    ensure!(crash["version"].as_str().is_some_and(|said| said.starts_with("ffmpeg version")), "{crash}");
    ensure!(bundle["versions"]["layer"] == bundle["plan"]["layer"] && bundle["versions"]["fanreel"].is_string(), "{bundle}");
    ensure!(bundle["task"]["work"]["ranges"].as_array().is_some_and(|ranges| !ranges.is_empty()), "{}", bundle["task"]);
    let out = folder.to_str().context("folder")?;
    let told = fanreel.ask(&["reproduce", job, "--out", out])?;
    ensure!(told["task"] == CHUNK && told["bytes"] == bundle["source"]["size"], "with care it reads the whole source: {told}");
    let again = fanreel.ask(&["reproduce", job, "--out", out]);
    ensure!(again.as_ref().is_err_and(|error| error.to_string().contains("name a new folder")), "{again:?}");
    let output = std::process::Command::new(folder.join("run.sh")).env("FFMPEG", tests::tool("ffmpeg")).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made = std::fs::metadata(folder.join("v0.mp4"))?.len();
    ensure!(made > 1_000, "{made} bytes");
    Ok(())
}

/// People delete what did not work.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_encoder_read_is_kept_when_the_film_is_gone() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (fanreel, _, job) = with_a_crash(dir.path(), 4, 1, &[]).await?;
    let bundle = until_bundle(&fanreel, &job).await?;
    ensure!(bundle["excerpt"]["crash"] == bundle["crash"] && bundle["excerpt"]["of"] == bundle["source"]["size"], "{bundle}");
    fanreel.s3.delete_object().bucket(fanreel.bucket()).key("uploads/film.mp4").send().await?;

    let folder = dir.path().join("again");
    let told = fanreel.ask(&["reproduce", &job, "--task", "c00000", "--out", folder.to_str().context("folder")?])?;
    ensure!(told["bytes"] == bundle["source"]["size"] && std::fs::metadata(folder.join("input"))?.len() > 1_000, "{told}");
    let output = std::process::Command::new(folder.join("run.sh")).env("FFMPEG", tests::tool("ffmpeg")).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ensure!(std::fs::metadata(folder.join("v0.mp4"))?.len() > 1_000, "nothing was made");
    fanreel.stop()
}

/// A film whose packets come through a pipe, so that what is fetched goes there too.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_over_which_the_probe_breaks_down_waits_for_a_person_with_its_command() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let fault = dir.path().join("fault");
    std::fs::write(&fault, "")?;
    let ffprobe = clips::crashing_ffprobe(dir.path(), &fault)?;
    let fanreel = Fanreel::start_with(&dir.path().join("data"), &["LeaseSeconds=5"], &[("FFPROBE", &ffprobe)]).await?;
    let source = dir.path().join("film.mkv");
    clips::ffmpeg(&["-i", &film(dir.path(), 4)?.to_string_lossy(), "-c", "copy", &source.to_string_lossy()])?;
    fanreel.upload("uploads/film.mkv", &source).await?;
    let job = fanreel.job_of("uploads/film.mkv").await?;
    let bundle = until_bundle(&fanreel, &job).await?;
    let crash = &bundle["crash"];
    ensure!(crash["program"] == "ffprobe" && crash["stderr"].as_str().is_some_and(|said| said.contains("it went wrong")), "{bundle}");
    let tried = std::fs::read_to_string(&fault)?.lines().count();
    ensure!(tried == 3, "twice more, as an encoder: tried {tried} times");

    let folder = dir.path().join("again");
    let told = fanreel.ask(&["reproduce", &job, "--out", folder.to_str().context("folder")?])?;
    ensure!(told["task"] == "split" && told["bytes"] == bundle["source"]["size"], "{told}");
    let output = std::process::Command::new(folder.join("run.sh")).env("FFPROBE", tests::tool("ffprobe")).output()?;
    let listed = String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.starts_with("packet|")).count();
    ensure!(output.status.success() && listed == 96, "{listed} packets: {}", String::from_utf8_lossy(&output.stderr));

    std::fs::remove_file(&fault)?;
    fanreel.ask(&["retry", &job])?;
    fanreel.wait(&job, &["COMPLETED"], LONG).await?;
    fanreel.stop()
}

async fn until_bundle(fanreel: &Fanreel, job: &str) -> Result<Value> {
    let prefix = format!("work/{job}/repro/");
    let end = Instant::now() + LONG;
    loop {
        // Beside it lies what the worker kept of the crash.
        if let Some(key) = fanreel.keys(&prefix).await?.iter().find(|key| !key.contains(".crash.")) {
            return Ok(serde_json::from_slice(&fanreel.read(key).await?)?);
        }
        ensure!(Instant::now() < end, "nothing came below {prefix}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_profile_waits_for_a_person_and_one_of_ones_own_is_used() -> Result<()> {
    const OWN: &str = "[tiny]\nchunk_ms = 1000\ngop_ms = 500\nladder = [{ short_side = 120, maxrate = 300_000, bufsize = 300_000 }]\n";
    let dir = tempfile::tempdir()?;
    let film = film(dir.path(), 4)?;
    let fanreel = Fanreel::start(&dir.path().join("data"), &["LeaseSeconds=5", "Profile=tiny"]).await?;
    fanreel.upload("uploads/film.mp4", &film).await?;
    let job = fanreel.job_of("uploads/film.mp4").await?;
    let status = until("the job to wait for an operator", LONG, || {
        let status = fanreel.ask(&["status", &job])?;
        Ok((status["state"] == "escalated").then_some(status))
    })
    .await?;
    let detail = status["detail"].as_str().unwrap_or_default();
    ensure!(detail.contains("no profile `tiny`") && detail.contains("config/profiles.toml"), "{status}");
    fanreel.stop()?;

    // Started again with a file of one's own.
    let own = dir.path().join("profiles.toml");
    std::fs::write(&own, OWN)?;
    let parameters = ["LeaseSeconds=5", "Profile=tiny"];
    let fanreel = Fanreel::start_with(&dir.path().join("data"), &parameters, &[("FANREEL_PROFILES", &own)]).await?;
    fanreel.ask(&["retry", &job])?;
    fanreel.wait(&job, &["COMPLETED"], LONG).await?;
    let receipt: Value = serde_json::from_slice(&fanreel.read(&format!("jobs/{job}/manifests/receipt.json")).await?)?;
    ensure!(receipt["profile"]["name"] == "tiny" && receipt["renditions"][0]["segments"] == 4, "{receipt}");
    ensure!(receipt["renditions"].as_array().map(Vec::len) == Some(1) && receipt["renditions"][0]["height"] == 120, "{receipt}");
    fanreel.drained(LONG).await?;
    fanreel.stop()
}

/// The platform with a bucket that tells only of `.mp4`: other uploads are as those whose event was lost.
fn forgetful(dir: &Path) -> Result<PathBuf> {
    let text = std::fs::read_to_string(tests::root().join("template.yaml"))?;
    let rule = "                  - Name: prefix\n                    Value: uploads/\n";
    ensure!(text.contains(rule), "the template's notification looks otherwise");
    let text = text.replace(rule, &format!("{rule}                  - Name: suffix\n                    Value: .mp4\n"));
    let template = dir.join("template.yaml");
    std::fs::write(&template, text)?;
    std::os::unix::fs::symlink(tests::root().join("layers").canonicalize()?, dir.join("layers"))?;
    Ok(template)
}

/// Keys that have jobs, one for each job.
fn keys_of_jobs(fanreel: &Fanreel) -> Result<Vec<String>> {
    let mut keys: Vec<String> = fanreel.jobs()?.into_iter().map(|(key, _)| key).collect();
    keys.sort_unstable();
    Ok(keys)
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_nobody_told_of_are_jobs_after_one_sweep_and_old_ones_only_by_a_persons_word() -> Result<()> {
    const UPLOADS: usize = 20;
    let dir = tempfile::tempdir()?;
    let film = dir.path().join("film.mp4");
    clips::ffmpeg(&["-f", "lavfi", "-i", "testsrc2=size=64x64:rate=5:duration=1", "-pix_fmt", "yuv420p", &film.to_string_lossy()])?;
    let fanreel = Fanreel::start_template(&dir.path().join("data"), &forgetful(dir.path())?).await?;
    let sweep = || fanreel.ask(&["invoke", "sweep", "-e", &tests::root().join("events/schedule.json").to_string_lossy()]);
    // One in ten is not told of.
    let mut keys: Vec<String> = (0..UPLOADS).map(|n| format!("uploads/{n:02}.{}", if n % 10 == 3 { "mov" } else { "mp4" })).collect();
    for key in &keys {
        fanreel.upload(key, &film).await?;
    }
    let told: Vec<String> = keys.iter().filter(|key| key.ends_with("mp4")).cloned().collect();
    until("a job for each upload that was told of", LONG, || Ok((keys_of_jobs(&fanreel)? == told).then_some(()))).await?;

    // Older than the stack, as it has it written down: nobody's business.
    let from = "config/adopt-from/h264";
    let later = (std::time::SystemTime::now() + LONG).duration_since(std::time::UNIX_EPOCH)?.as_millis().to_string();
    fanreel.s3.put_object().bucket(fanreel.bucket()).key(from).body(later.into_bytes().into()).send().await?;
    let swept = sweep()?;
    ensure!(swept["payload"]["taken"] == 0 && keys_of_jobs(&fanreel)? == told, "{swept}");
    let shown = fanreel.ask(&["adopt", "uploads/"])?;
    ensure!(shown["films"] == 2 && shown["taken"] == 0 && shown["usd"].as_f64() > Some(0.0), "{shown}");
    ensure!(keys_of_jobs(&fanreel)? == told, "adopt without --yes only tells");

    // Of this stack's time: jobs after one sweep, and the same after another.
    fanreel.s3.delete_object().bucket(fanreel.bucket()).key(from).send().await?;
    let swept = sweep()?;
    ensure!(swept["payload"]["taken"] == 2 && keys_of_jobs(&fanreel)? == keys, "{swept}");
    let swept = sweep()?;
    ensure!(swept["payload"]["taken"] == 0 && keys_of_jobs(&fanreel)? == keys, "{swept}");

    fanreel.upload("uploads/old/20.mov", &film).await?;
    let adopted = fanreel.ask(&["adopt", "uploads/old/", "--yes"])?;
    ensure!(adopted["films"] == 1 && adopted["taken"] == 1, "{adopted}");
    keys.push("uploads/old/20.mov".to_owned());
    ensure!(keys_of_jobs(&fanreel)? == keys, "{:?}", keys_of_jobs(&fanreel)?);
    for (_, job) in fanreel.jobs()?.into_iter().filter(|(key, _)| key.ends_with("mov")) {
        fanreel.wait(job["job"].as_str().context("job")?, &["COMPLETED"], LONG).await?;
    }
    fanreel.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_nothing_can_read_is_shown_among_the_dead_letters() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let fanreel = Fanreel::start(&dir.path().join("data"), &[]).await?;
    ensure!(fanreel.ask(&["dead-letters"])? == serde_json::json!([]));
    let queue = fanreel.outputs.get("DeadLetterQueueUrl").context("queue")?;
    let sent = fanreel.sqs.send_message().queue_url(queue).message_body("no task of ours").send().await?;
    let letters = until("the letter to be shown", LONG, || {
        let letters = fanreel.ask(&["dead-letters"])?;
        Ok(letters.as_array().is_some_and(|all| !all.is_empty()).then_some(letters))
    })
    .await?;
    ensure!(letters[0]["message"] == sent.message_id().unwrap_or_default() && letters[0]["body"] == "no task of ours", "{letters}");
    ensure!(letters[0]["verdict"].as_str().is_some_and(|verdict| verdict.contains("nothing can read it")), "{letters}");
    ensure!(fanreel.depth("DeadLetterQueueUrl").await? == 1, "it stays where it is");

    // And one of a newer version, as after a rollback, is left to its workers.
    let newer = serde_json::json!({ "schema": SCHEMA + 1, "job": "0123456789abcdef01234567", "task": "split", "generation": 0 });
    let queue = fanreel.outputs.get("SplitQueueUrl").context("queue")?;
    fanreel.sqs.send_message().queue_url(queue).message_body(newer.to_string()).send().await?;
    until("a worker to give it back", LONG, || {
        let said = fanreel.ask(&["query", "filter @message like /a newer worker must read this message/", "--in", "split"])?;
        Ok(said.as_array().is_some_and(|lines| !lines.is_empty()).then_some(()))
    })
    .await?;
    ensure!(fanreel.depth("SplitQueueUrl").await? == 1, "it comes back");
    fanreel.stop()
}

/// Of them, those that every task tells which reads a film and makes something of it.
const OF_WORK: usize = 7;
/// What a job tells that was shut down in the middle.
const KINDS: [&str; 13] = [
    "TaskReceived",
    "TaskDetailsRetrieved",
    "VideoFilePulled",
    "VideoTranscoded",
    "TranscodedVideoUploaded",
    "WorkloadProcessingStarted",
    "WorkloadProcessingFinished",
    "ContainerScaledUp",
    "ContainerScaledDown",
    "WorkerNodeScaledUp",
    "WorkerNodeScaledDown",
    "HeartbeatReceived",
    "GossipTableMerged",
];

/// Waits until the encoder of one task was called, and all others are done.
async fn until_alone(fanreel: &Fanreel, job: &str, fault: &Path) -> Result<()> {
    until("the encoder to be called", LONG, || Ok((!std::fs::read_to_string(fault)?.is_empty()).then_some(()))).await?;
    let others = || {
        let progress = &fanreel.ask(&["status", job])?["progress"];
        let (all, done) = (progress["tasks"].as_u64().unwrap_or(0), progress["tasks_done"].as_u64());
        Ok((all > 1 && done == Some(all - 1)).then_some(()))
    };
    until("the others to be done", LONG, others).await
}

/// The lease is long: were it not given back, the next worker would have to wait for its end and count a death.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_shut_down_gives_its_task_back() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let fault = dir.path().join("fault");
    std::fs::write(&fault, "")?;
    let ffmpeg = clips::idle_ffmpeg(dir.path(), &fault, 1)?;
    let data = dir.path().join("data");
    let start = async || Fanreel::start_with(&data, &["LeaseSeconds=120"], &[("FFMPEG", &ffmpeg)]).await;
    let fanreel = start().await?;
    fanreel.upload("uploads/film.mp4", &clips::small(dir.path())?.path).await?;
    let job = fanreel.job_of("uploads/film.mp4").await?;
    until_alone(&fanreel, &job, &fault).await?;
    fanreel.stop()?;

    std::fs::remove_file(&fault)?;
    let fanreel = start().await?;
    fanreel.wait(&job, &["COMPLETED"], LONG).await?;
    fanreel.drained(LONG).await?;
    let tasks = fanreel.task_items(&job).await?;
    ensure!(tasks.iter().all(|task| task.deaths == 0 && task.faults == 0), "{tasks:?}");
    let again: Vec<&String> = tasks.iter().filter(|task| task.attempts > 1).map(|task| &task.id).collect();
    ensure!(again == ["c00000"], "begun again {again:?}");
    // A busy machine may end an environment before it has said that it was the last one: the sweep says it then.
    fanreel.ask(&["invoke", "sweep", "-e", &tests::root().join("events/schedule.json").to_string_lossy()])?;
    let events = fanreel.events(&job)?;
    for kind in KINDS {
        ensure!(events.iter().any(|event| event["kind"] == kind), "nothing tells of {kind}");
    }
    for task in ["split", "c00000", "a00", "merge"] {
        let kinds = KINDS.iter().take(OF_WORK).filter(|kind| task != "split" || !kind.contains("Transcoded"));
        for kind in kinds.filter(|kind| task != "merge" || !kind.contains("Video") || kind.ends_with("Uploaded")) {
            ensure!(events.iter().any(|event| event["kind"] == **kind && event["task"] == task), "nothing tells of {kind} of {task}");
        }
    }
    let fleet = fanreel.ask(&["fleet"])?;
    let states: Vec<&str> = fleet.as_array().context("no list")?.iter().filter_map(|member| member["state"].as_str()).collect();
    ensure!(states.contains(&"gone") && states.contains(&"idle"), "{fleet}");
    ensure!(fleet.as_array().is_some_and(|all| all.iter().all(|m| m["vitals"]["memory_bytes"].as_u64() > Some(0))), "{fleet}");
    fanreel.stop()
}

/// Of a chunk that took too long nobody has a command: it is made of the plan, as its worker had it.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_took_too_long_can_be_done_again_by_hand() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let fault = dir.path().join("fault");
    std::fs::write(&fault, "")?;
    let ffmpeg = clips::idle_ffmpeg(dir.path(), &fault, 1)?;
    let data = dir.path().join("data");
    let fanreel = Fanreel::start_with(&data, &["LeaseSeconds=120"], &[("FFMPEG", &ffmpeg)]).await?;
    fanreel.upload("uploads/film.mp4", &clips::small(dir.path())?.path).await?;
    let job = fanreel.job_of("uploads/film.mp4").await?;
    until_alone(&fanreel, &job, &fault).await?;
    let called = Instant::now();
    until("it to be at work for longer than it may", LONG, || Ok((called.elapsed() > Duration::from_secs(2)).then_some(()))).await?;
    fanreel.stop()?;

    let fanreel = Fanreel::start_with(&data, &["LeaseSeconds=120", "JobTimeout=1"], &[("FFMPEG", &ffmpeg)]).await?;
    let bundle = until_bundle(&fanreel, &job).await?;
    ensure!(bundle["task"]["id"] == "c00000" && bundle["crash"].is_null() && bundle["earlier_crash"].is_null(), "{bundle}");
    let folder = dir.path().join("again");
    let told = fanreel.ask(&["reproduce", &job, "--task", "c00000", "--out", folder.to_str().context("folder")?])?;
    ensure!(told["how"].as_str().is_some_and(|how| !how.is_empty()) && told["bytes"].as_u64() > Some(0), "{told}");
    let said = std::fs::read_to_string(&fault)?;
    let script = std::fs::read_to_string(folder.join("run.sh"))?;
    let lost: Vec<&str> = said.lines().next().context("no call")?.split(' ').filter(|word| !script.contains(word)).collect();
    ensure!(lost.is_empty(), "{lost:?} of what the worker gave is not in {script}");
    let output = std::process::Command::new(folder.join("run.sh")).env("FFMPEG", tests::tool("ffmpeg")).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ensure!(std::fs::metadata(folder.join("v0.mp4"))?.len() > 1_000, "nothing was made");
    fanreel.stop()
}

/// The whole way on a platform of its own: the cause goes, the same command is given again, what was done is not done again.
#[test]
fn a_command_whose_film_waits_for_a_person_keeps_what_was_done() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let fault = dir.path().join("fault");
    std::fs::write(&fault, "")?;
    let (ffmpeg, source) = (clips::crashing_ffmpeg(dir.path(), &fault, 1)?, film(dir.path(), 4)?);
    let out = dir.path().join("out");
    let transcode = || -> Result<(Option<i32>, String)> {
        let mut command = std::process::Command::new(tests::run::binary("fanreel")?);
        command.arg("transcode").arg(&source).arg("-o").arg(&out).env("FFMPEG", &ffmpeg);
        command.env("FANREEL_LAYER", tests::root().join("layers/ffmpeg/build/opt"));
        let output = command.output()?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let (code, said) = transcode()?;
    ensure!(code == Some(3) && said.contains("an operator is needed: c00000 blocked"), "{code:?}: {said}");
    ensure!(said.contains("the same command goes on with it"), "{said}");
    let tried = std::fs::read_to_string(&fault)?.lines().count();
    ensure!(tried == 3, "tried {tried} times");

    let (code, said) = transcode()?;
    ensure!(code == Some(3) && std::fs::read_to_string(&fault)?.lines().count() == 2 * tried, "the cause is still there: {code:?}: {said}");

    std::fs::remove_file(&fault)?;
    let (code, said) = transcode()?;
    ensure!(code == Some(0) && said.contains("going on with it"), "{code:?}: {said}");
    let made: Vec<PathBuf> = std::fs::read_dir(&out)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    ensure!(made.len() == 1 && made[0].join("master.m3u8").is_file(), "{made:?}");
    Ok(())
}
