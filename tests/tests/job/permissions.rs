//! What functions ask of AWS's services on good and on bad days, held to the template's policies while they ask and against
//! them afterwards (`tests/permissions`); and what the saved queries answer on the logs of these days.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::primitives::ByteStream;
use pipeline::plan::SCHEMA;
use serde_json::{Value, json};
use tests::{
    clips, monitoring,
    python::{good, python},
    run::{Fanreel, get, until},
};

use super::{
    doors::{SECRET, STORE, news, post},
    meddling::{holds, is_tidy, litter, lose, switch, tasks},
};

const LONG: Duration = Duration::from_secs(300);
const HOUR_MS: u64 = 3_600_000;

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

/// One frame of a film so large that its chunk is for the large class, with a second of sound.
fn large(dir: &Path) -> Result<PathBuf> {
    let path = dir.join("large.mp4");
    let inputs = ["-f", "lavfi", "-i", "testsrc2=size=2560x1440:rate=1:duration=1", "-f", "lavfi", "-i", "sine=duration=1"];
    let codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac"];
    clips::ffmpeg(&[&inputs[..], &codecs, &[path.to_string_lossy().as_ref()]].concat())?;
    Ok(path)
}

/// A film of two seconds whose tables are good and whose pictures are not, and a good one in a stream.
fn small_ones(dir: &Path) -> Result<(PathBuf, PathBuf)> {
    let (noisy, stream) = (dir.join("noisy.mp4"), dir.join("again.ts"));
    let (picture, out) = ("testsrc2=size=160x120:rate=10:duration=2", noisy.to_string_lossy());
    clips::ffmpeg(&["-f", "lavfi", "-i", picture, "-pix_fmt", "yuv420p", "-movflags", "+faststart", &out])?;
    clips::ffmpeg(&["-i", &out, "-c", "copy", &stream.to_string_lossy()])?;
    let mut film = std::fs::read(&noisy)?;
    let media = film.windows(4).position(|kind| kind == b"mdat").context("no mdat")? + 4;
    let bad = media + (film.len() - media) / 4;
    film[bad..].fill(0xA5);
    std::fs::write(&noisy, film)?;
    Ok((noisy, stream))
}

/// What is wrong with the tools, for as long as these files are there.
struct Faults {
    /// ffmpeg crashes on every film's second chunk.
    chunk: PathBuf,
    /// ffprobe crashes when it lists packets.
    index: PathBuf,
    /// ffmpeg runs out of memory on a second chunk, once after something was written there.
    memory: PathBuf,
}

impl Faults {
    fn of(dir: &Path) -> Self {
        let [chunk, index, memory] = ["chunk", "index", "memory"].map(|name| dir.join(name));
        Self { chunk, index, memory }
    }

    /// ffmpeg and ffprobe.
    fn tools(&self, dir: &Path) -> Result<[PathBuf; 2]> {
        let (chunk, memory) = (self.chunk.display(), self.memory.display());
        let ends = format!(
            "[ -e '{chunk}' ] && {{ echo 'it went wrong' >&2; exit 139; }}\n\
             [ -s '{memory}' ] && {{ : > '{memory}'; echo 'malloc of size 88 failed' >&2; exit 1; }}"
        );
        let ffmpeg = clips::scripted_ffmpeg(dir, &format!("case \" $* \" in *' -fragment_index 1001 '*)\n{ends}\n;; esac"))?;
        Ok([ffmpeg, clips::crashing_ffprobe(dir, &self.index)?])
    }
}

/// A platform that writes every call down, and the days that functions have there.
struct Days<'a> {
    fanreel: Fanreel,
    dir: &'a Path,
    faults: Faults,
    film: PathBuf,
}

impl<'a> Days<'a> {
    async fn begin(dir: &'a Path) -> Result<Self> {
        let faults = Faults::of(dir);
        let [ffmpeg, ffprobe] = faults.tools(dir)?;
        let environment = [
            ("FFMPEG", ffmpeg.as_path()),
            ("FFPROBE", ffprobe.as_path()),
            ("FANREEL_LOG", Path::new("info,platform::iam=debug")),
            ("FANREEL_ENFORCE_POLICIES", Path::new("true")),
            ("FANREEL_HTTP_PORT", Path::new("0")),
        ];
        let (door, source) = (format!("DoorSecret={SECRET}"), format!("SourceBucket={STORE}"));
        let parameters = ["MaxRetries=1", "LeaseSeconds=10", &door, &source, "Tracing=yes"];
        let fanreel = Fanreel::start_with(&dir.join("data"), &parameters, &environment).await?;
        Ok(Self { fanreel, dir, faults, film: clips::small(dir)?.path })
    }

    async fn completed(&self, key: &str) -> Result<String> {
        let job = self.fanreel.job_of(key).await?;
        self.fanreel.wait(&job, &["COMPLETED"], LONG).await.with_context(|| key.to_owned())?;
        Ok(job)
    }

    fn sweep(&self) -> Result<Value> {
        let event = tests::root().join("events/schedule.json");
        Ok(self.fanreel.ask(&["invoke", "sweep", "-e", &event.to_string_lossy()])?["payload"].take())
    }

    /// A film, a stream, what is no film, and what is one no more. Whoever ends a job takes away what others left of it.
    async fn good(&self) -> Result<()> {
        let fanreel = &self.fanreel;
        std::fs::write(self.dir.join("letter"), "dear sir or madam")?;
        switch(fanreel, &["split"], false).await?;
        fanreel.upload("uploads/film.mp4", &self.film).await?;
        fanreel.upload("uploads/film.ts", &stream(self.dir, &self.film)?).await?;
        fanreel.upload("uploads/letter.mp4", &self.dir.join("letter")).await?;
        fanreel.upload("uploads/noisy.mp4", &small_ones(self.dir)?.0).await?;
        fanreel.upload("uploads/captions.mp4", &far_between(self.dir)?).await?;
        for key in ["uploads/film.mp4", "uploads/letter.mp4", "uploads/noisy.mp4"] {
            litter(fanreel, &fanreel.job_of(key).await?).await?;
        }
        switch(fanreel, &["split"], true).await?;
        for key in ["uploads/film.mp4", "uploads/film.ts", "uploads/captions.mp4"] {
            self.completed(key).await?;
        }
        let captions = fanreel.job_of("uploads/captions.mp4").await?;
        let source: Value = serde_json::from_slice(&fanreel.read(&format!("jobs/{captions}/manifests/source.json")).await?)?;
        ensure!(source["plan"]["text"].is_object(), "its text is not read by ranges");
        for key in ["uploads/letter.mp4", "uploads/noisy.mp4"] {
            fanreel.wait(&fanreel.job_of(key).await?, &["FAILED"], LONG).await?;
        }
        fanreel.drained(LONG).await?;
        for key in ["uploads/film.mp4", "uploads/letter.mp4", "uploads/noisy.mp4"] {
            is_tidy(fanreel, &fanreel.job_of(key).await?).await.with_context(|| key.to_owned())?;
        }
        Ok(())
    }

    /// A chunk that crashes is tried again and then given to a person, who has it done, uploads the film anew, or gives it up.
    async fn bad(&self) -> Result<()> {
        let (fanreel, fault) = (&self.fanreel, &self.faults.chunk);
        std::fs::write(fault, "")?;
        fanreel.upload("uploads/crash.mp4", &self.film).await?;
        fanreel.upload("uploads/given-up.mp4", &self.film).await?;
        let (crash, given_up) = (escalated(fanreel, "uploads/crash.mp4").await?, escalated(fanreel, "uploads/given-up.mp4").await?);
        std::fs::remove_file(fault)?;
        fanreel.ask(&["retry", &crash])?;
        fanreel.wait(&crash, &["COMPLETED"], LONG).await?;
        fanreel.drained(LONG).await?;
        let first = fanreel.job_of("uploads/film.mp4").await?;
        super::queries::answer_right(fanreel, &first, &[&crash, &given_up])?;

        switch(fanreel, &["split"], false).await?;
        fanreel.upload("uploads/given-up.mp4", &self.film).await?;
        holds(fanreel, "SplitQueueUrl", 1).await?;
        let anew = fanreel.job_of("uploads/given-up.mp4").await?;
        let gone = fanreel.job_item(&given_up).await?.context("no job")?;
        ensure!(anew != given_up && gone.state == "cancelled", "{gone:?}");
        fanreel.ask(&["cancel", &anew])?;
        switch(fanreel, &["split"], true).await?;
        fanreel.drained(LONG).await
    }

    /// A bucket of somebody else's, which tells by webhook; and one more film there, of which nobody tells.
    async fn of_others(&self) -> Result<()> {
        let fanreel = &self.fanreel;
        let put = async |key: &str| -> Result<()> {
            let body = ByteStream::from_path(&self.film).await?;
            fanreel.s3.put_object().bucket(STORE).key(key).body(body).send().await?;
            Ok(())
        };
        fanreel.s3.create_bucket().bucket(STORE).send().await?;
        put("uploads/another film.mp4").await?;
        // It runs out of memory, and has more in the large class.
        std::fs::write(&self.faults.memory, "once")?;
        let (status, said) = post(fanreel.outputs.get("DoorUrl").context("no door")?, &format!("Bearer {SECRET}"), &news()?)?;
        ensure!(status == 200, "{status} {said}");
        let job = self.completed("uploads/another film.mp4").await?;
        let classes = fanreel.task_items(&job).await?.into_iter().map(|task| (task.id, task.class));
        let large: Vec<String> = classes.filter(|(_, class)| class == "large").map(|(id, _)| id).collect();
        ensure!(large == ["c00001"], "in the large class: {large:?}");

        // Found by the sweep, which has looked there before.
        let swept = self.sweep()?;
        ensure!(swept["taken"] == 0, "{swept}");
        put("untold.mp4").await?;
        let swept = self.sweep()?;
        ensure!(swept["taken"] == 1, "{swept}");
        self.completed("untold.mp4").await?;
        fanreel.drained(LONG).await
    }

    /// The index of a stream crashes the probe, behind the copy of it, from which the next attempt goes on.
    async fn of_a_copy(&self) -> Result<()> {
        std::fs::write(&self.faults.index, "")?;
        self.fanreel.upload("uploads/again.ts", &self.dir.join("again.ts")).await?;
        let job = escalated(&self.fanreel, "uploads/again.ts").await?;
        std::fs::remove_file(&self.faults.index)?;
        self.fanreel.ask(&["retry", &job])?;
        self.completed("uploads/again.ts").await.map(drop)
    }

    /// Every message of a job is lost, and sent again by the next sweep.
    async fn of_lost_messages(&self) -> Result<()> {
        let fanreel = &self.fanreel;
        let stages = ["split", "transcode", "transcode-large", "merge"];
        switch(fanreel, &stages, false).await?;
        fanreel.upload("uploads/large.mp4", &large(self.dir)?).await?;
        let job = fanreel.job_of("uploads/large.mp4").await?;
        lose(fanreel, "SplitQueueUrl", 1).await?;
        self.sends_again(&job, &[("SplitQueueUrl", 1)]).await?;

        switch(fanreel, &["split"], true).await?;
        let planned = tasks(fanreel, &job, "to be planned", |tasks| tasks.iter().any(|task| task.id == "split" && task.state == "done"));
        let open: Vec<_> = planned.await?.into_iter().filter(|task| task.state == "open" && task.id != "merge").collect();
        let large = u64::try_from(open.iter().filter(|task| task.class == "large").count())?;
        let standard = u64::try_from(open.len())? - large;
        ensure!(large > 0 && standard > 0, "{open:?}");
        lose(fanreel, "TranscodeQueueUrl", standard).await?;
        holds(fanreel, "TranscodeLargeQueueUrl", large).await?;
        self.dies(&job, "c00000").await?;
        lose(fanreel, "TranscodeLargeQueueUrl", large + 1).await?;
        self.sends_again(&job, &[("TranscodeQueueUrl", standard), ("TranscodeLargeQueueUrl", large)]).await?;

        switch(fanreel, &["transcode", "transcode-large"], true).await?;
        lose(fanreel, "MergeQueueUrl", 1).await?;
        self.sends_again(&job, &[("MergeQueueUrl", 1)]).await?;
        self.lacks_a_segment(&job).await?;
        self.completed("uploads/large.mp4").await.map(drop)
    }

    /// Once the job has rested.
    async fn sends_again(&self, job: &str, messages: &[(&str, u64)]) -> Result<()> {
        self.fanreel.rests(job, HOUR_MS).await?;
        let swept = self.sweep()?;
        let resent: u64 = messages.iter().map(|(_, count)| count).sum();
        ensure!(swept["resent"] == resent, "{swept}, and {messages:?} were lost");
        for (queue, count) in messages {
            holds(&self.fanreel, queue, *count).await?;
        }
        Ok(())
    }

    /// A dead letter of a task that nobody works on: a person has it tried again.
    async fn dies(&self, job: &str, task: &str) -> Result<()> {
        let letter = json!({ "schema": SCHEMA, "job": job, "task": task, "generation": 0 });
        let queue = self.fanreel.outputs.get("DeadLetterQueueUrl").context("queue")?;
        self.fanreel.sqs.send_message().queue_url(queue).message_body(letter.to_string()).send().await?;
        escalated(&self.fanreel, "uploads/large.mp4").await?;
        self.fanreel.ask(&["retry", job])?;
        Ok(())
    }

    /// A merge without one of its segments waits for a person, who brings it back.
    async fn lacks_a_segment(&self, job: &str) -> Result<()> {
        let (s3, bucket) = (&self.fanreel.s3, self.fanreel.bucket());
        let keys = self.fanreel.keys(&format!("streams/{job}/")).await?;
        let key = keys.iter().find(|key| key.contains("/segments/seg_0000.")).context("no segment")?;
        let segment = self.fanreel.read(key).await?;
        s3.delete_object().bucket(bucket).key(key).send().await?;
        switch(&self.fanreel, &["merge"], true).await?;
        escalated(&self.fanreel, "uploads/large.mp4").await?;
        let blocked = self.fanreel.job_item(job).await?.context("no job")?.blocked;
        ensure!(blocked == ["merge"], "{blocked:?}");
        s3.put_object().bucket(bucket).key(key).body(segment.into()).send().await?;
        self.fanreel.ask(&["retry", job])?;
        Ok(())
    }

    /// What a sweep finds long after: strays of jobs that ended, an upload that it had not come to, environments that are gone.
    async fn long_after(&self) -> Result<()> {
        let fanreel = &self.fanreel;
        let (film, noisy) = (fanreel.job_of("uploads/film.mp4").await?, fanreel.job_of("uploads/noisy.mp4").await?);
        litter(fanreel, &film).await?;
        let streams = fanreel.keys(&format!("streams/{film}/")).await?.len() - 1;
        ensure!(!fanreel.keys(&format!("jobs/{noisy}/")).await?.is_empty(), "a job that failed has no plan any more");
        for job in [&film, &noisy] {
            fanreel.rests(job, HOUR_MS).await?;
        }
        // Nobody wakes up for the upload meanwhile.
        switch(fanreel, &["ingest", "split"], false).await?;
        fanreel.upload("uploads/untold.mp4", &self.dir.join("letter")).await?;
        lose(fanreel, "IngestQueueUrl", 1).await?;
        let mark = "config/looked-through/own";
        fanreel.s3.put_object().bucket(fanreel.bucket()).key(mark).body(ByteStream::from_static(b"uploads/noisy.mp4")).send().await?;
        let silent = fanreel.falls_silent(HOUR_MS).await?;

        let swept = self.sweep()?;
        ensure!(silent > 0 && swept["buried"] == silent && swept["taken"] == 1 && swept["resent"] == 0, "{silent} are silent: {swept}");
        is_tidy(fanreel, &film).await?;
        ensure!(fanreel.keys(&format!("streams/{film}/")).await?.len() == streams, "more than strays is gone");
        ensure!(fanreel.keys(&format!("jobs/{noisy}/")).await?.is_empty(), "the plan of a job that failed stays");
        ensure!(fanreel.read(mark).await?.is_empty(), "it looked to the end, and begins at the front again");
        switch(fanreel, &["ingest", "split"], true).await?;
        fanreel.wait(&fanreel.job_of("uploads/untold.mp4").await?, &["FAILED"], LONG).await?;
        fanreel.drained(LONG).await
    }

    /// The page counts each job once, by how it ended.
    fn counted(&self) -> Result<()> {
        let page = get(&self.fanreel.endpoint, "/metrics")?;
        let ended = [("completed", 8.0), ("rejected", 3.0), ("cancelled", 1.0)];
        monitoring::counts(&page, "fanreel_jobs_total", &ended.map(|(state, count)| (format!("state=\"{state}\""), count)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_ask_for_what_the_template_allows_and_it_allows_no_more() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let root = tests::root().canonicalize()?;
    let days = Days::begin(dir.path()).await?;
    days.good().await?;
    days.bad().await?;
    days.of_others().await?;
    days.of_a_copy().await?;
    days.of_lost_messages().await?;
    days.long_after().await?;
    days.counted()?;

    let page = dir.path().join("stack.json");
    std::fs::write(&page, get(&days.fanreel.endpoint, "/_fanreel/stack")?)?;
    let log = days.fanreel.data_dir.join("platform.log");
    days.fanreel.stop()?;
    let mut command = python("python", dir.path())?;
    command.arg(root.join("tests/permissions")).arg(page).arg(root.join("template.yaml")).arg(log);
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
