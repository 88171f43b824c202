//! What functions ask of AWS's services on good and on bad days, held to the template's policies while they ask and against
//! them afterwards (`tests/permissions`); and what the saved queries answer on the logs of these days.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::primitives::ByteStream;
use tests::{
    clips,
    python::{good, python},
    run::{Fanreel, get, until},
};

use super::doors::{SECRET, STORE, news, post};

const LONG: Duration = Duration::from_secs(300);

/// The same film in a stream, which is remuxed first.
fn stream(dir: &Path, film: &Path) -> Result<PathBuf> {
    let path = dir.join("film.ts");
    clips::ffmpeg(&["-i", &film.to_string_lossy(), "-c", "copy", &path.to_string_lossy()])?;
    Ok(path)
}

/// Several MB of pictures between two lines of text: the text is read by ranges, which the job's documents name.
fn far_between(dir: &Path) -> Result<PathBuf> {
    let (text, path) = (dir.join("film.srt"), dir.join("captions.mp4"));
    std::fs::write(&text, "1\n00:00:00,500 --> 00:00:01,000\nfirst\n\n2\n00:00:05,000 --> 00:00:05,500\nlast\n")?;
    let picture = "testsrc2=size=640x360:rate=24:duration=6,noise=alls=60:allf=t,format=yuv420p";
    let (text, out) = (text.to_string_lossy(), path.to_string_lossy());
    let mut args = vec!["-f", "lavfi", "-i", picture, "-i", &text, "-map", "0", "-map", "1", "-c:s", "mov_text", "-c:v", "libx264"];
    args.extend(["-preset", "ultrafast", "-b:v", "16M", "-g", "48", "-movflags", "+faststart", &out]);
    clips::ffmpeg(&args)?;
    Ok(path)
}

/// The first job of a key that waits for a person.
async fn escalated(fanreel: &Fanreel, key: &str) -> Result<String> {
    let job = fanreel.job_of(key).await?;
    until(&format!("{key} to wait for a person"), LONG, || Ok((fanreel.ask(&["status", &job])?["state"] == "escalated").then_some(())))
        .await?;
    Ok(job)
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_ask_for_what_the_template_allows_and_it_allows_no_more() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let root = tests::root().canonicalize()?;
    let fault = dir.path().join("fault");
    let ffmpeg = clips::crashing_ffmpeg(dir.path(), &fault, 1001)?;
    let log = Path::new("info,platform::iam=debug");
    let environment = [
        ("FFMPEG", ffmpeg.as_path()),
        ("FANREEL_LOG", log),
        ("FANREEL_ENFORCE_POLICIES", Path::new("true")),
        ("FANREEL_HTTP_PORT", Path::new("0")),
    ];
    let (door, source) = (format!("DoorSecret={SECRET}"), format!("SourceBucket={STORE}"));
    let parameters = ["MaxRetries=1", "LeaseSeconds=10", &door, &source, "Tracing=yes"];
    let fanreel = Fanreel::start_with(&dir.path().join("data"), &parameters, &environment).await?;
    let film = clips::small(dir.path())?.path;

    // Good days: a film, a stream, and what is no film.
    fanreel.upload("uploads/film.mp4", &film).await?;
    fanreel.upload("uploads/film.ts", &stream(dir.path(), &film)?).await?;
    std::fs::write(dir.path().join("letter"), "dear sir or madam")?;
    fanreel.upload("uploads/letter.mp4", &dir.path().join("letter")).await?;
    fanreel.upload("uploads/captions.mp4", &far_between(dir.path())?).await?;
    for key in ["uploads/film.mp4", "uploads/film.ts", "uploads/captions.mp4"] {
        let job = fanreel.job_of(key).await?;
        fanreel.wait(&job, &["COMPLETED"], LONG).await.with_context(|| key.to_owned())?;
    }
    let captions = fanreel.job_of("uploads/captions.mp4").await?;
    let source: serde_json::Value = serde_json::from_slice(&fanreel.read(&format!("jobs/{captions}/manifests/source.json")).await?)?;
    ensure!(source["plan"]["text"].is_object(), "its text is not read by ranges");
    let letter = fanreel.job_of("uploads/letter.mp4").await?;
    fanreel.wait(&letter, &["FAILED"], LONG).await?;

    // Bad ones: a chunk that crashes is tried again and then given to a person, who has it done or gives the job up.
    std::fs::write(&fault, "")?;
    fanreel.upload("uploads/crash.mp4", &film).await?;
    fanreel.upload("uploads/given-up.mp4", &film).await?;
    let (crash, given_up) = (escalated(&fanreel, "uploads/crash.mp4").await?, escalated(&fanreel, "uploads/given-up.mp4").await?);
    fanreel.ask(&["cancel", &given_up])?;
    std::fs::remove_file(&fault)?;
    fanreel.ask(&["retry", &crash])?;
    fanreel.wait(&crash, &["COMPLETED"], LONG).await?;
    fanreel.drained(LONG).await?;
    let first = fanreel.job_of("uploads/film.mp4").await?;
    super::queries::answer_right(&fanreel, &first, &[&crash, &given_up])?;

    // A bucket of somebody else's, which tells by webhook.
    fanreel.s3.create_bucket().bucket(STORE).send().await?;
    let body = ByteStream::from_path(&film).await?;
    fanreel.s3.put_object().bucket(STORE).key("uploads/another film.mp4").body(body).send().await?;
    let (status, said) = post(fanreel.outputs.get("DoorUrl").context("no door")?, &format!("Bearer {SECRET}"), &news()?)?;
    ensure!(status == 200, "{status} {said}");
    let job = fanreel.job_of("uploads/another film.mp4").await?;
    fanreel.wait(&job, &["COMPLETED"], LONG).await?;
    // And whose next film nobody tells of: found by the sweep, which has looked there before.
    let event = root.join("events/schedule.json");
    let sweep = || fanreel.ask(&["invoke", "sweep", "-e", &event.to_string_lossy()]);
    let swept = sweep()?;
    ensure!(swept["payload"]["taken"] == 0, "{swept}");
    let body = ByteStream::from_path(&film).await?;
    fanreel.s3.put_object().bucket(STORE).key("untold.mp4").body(body).send().await?;
    let swept = sweep()?;
    ensure!(swept["payload"]["taken"] == 1, "{swept}");
    let job = fanreel.job_of("untold.mp4").await?;
    fanreel.wait(&job, &["COMPLETED"], LONG).await?;
    fanreel.drained(LONG).await?;

    let page = dir.path().join("stack.json");
    std::fs::write(&page, get(&fanreel.endpoint, "/_fanreel/stack")?)?;
    let log = fanreel.data_dir.join("platform.log");
    fanreel.stop()?;
    let mut command = python("python", dir.path())?;
    command.arg(root.join("tests/permissions")).arg(log).arg(page).arg(root.join("template.yaml"));
    println!("{}", good(&command.output()?, "holding calls against policies")?);
    Ok(())
}

/// fanreel's template without the right to write a job's documents: the merge says what it lacks, and a person is asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_missing_is_named_to_the_operator() -> Result<()> {
    const RIGHT: &str = "{ Effect: Allow, Action: [\"s3:PutObject\"], Resource: [!Sub \"${Bucket.Arn}/jobs/*\"] }";
    let dir = tempfile::tempdir()?;
    let root = tests::root().canonicalize()?;
    let text = std::fs::read_to_string(root.join("template.yaml"))?;
    let without = text.replace(&format!("              - {RIGHT}\n"), "");
    ensure!(text.len() - without.len() == RIGHT.len() + 17, "the template does not have the right once");
    let template = dir.path().join("template.yaml");
    std::fs::write(&template, without.replace("ContentUri: ", &format!("ContentUri: {}/", root.display())))?;
    let fanreel = Fanreel::start_as(&dir.path().join("data"), &template, &[], &["--enforce-policies"]).await?;
    fanreel.upload("uploads/film.mp4", &clips::small(dir.path())?.path).await?;
    let job = escalated(&fanreel, "uploads/film.mp4").await?;
    let status = fanreel.ask(&["status", &job])?.to_string();
    let denied = format!("s3:PutObject on resource: arn:aws:s3:::{}/jobs/{job}/manifests/receipt.json", fanreel.bucket());
    ensure!(status.contains("AccessDenied") && status.contains(&denied), "{status}");
    fanreel.stop()
}
