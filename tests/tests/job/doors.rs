//! `events/`: each file by its function on the platform, by every program that calls functions, on objects and jobs that there
//! are not and on such that there are; what the sam CLI makes of the same shape; and the webhook by its address.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::primitives::ByteStream;
use pipeline::key::ObjectKey;
use serde_json::{Value, json};
use tests::{
    clips,
    ledger::Task,
    python::{aws, cargo_lambda, good, sam},
    run::{Fanreel, get, until},
};

use super::meddling::{holds, switch, tasks};

const LONG: Duration = Duration::from_secs(300);
/// A bucket that the stack only reads, and whose functions may read: `SourceBucket`.
pub const STORE: &str = "films-of-mine";
pub const SECRET: &str = "a-secret-of-yours";
/// Keys that samples tell of, as people write them: a job each, once.
const TOLD: [(&str, &[&str]); 6] = [
    ("minio-webhook.json", &["uploads/my film.mp4"]),
    ("s3-eventbridge.json", &["in/my film+1.mp4"]),
    ("s3-odd-key.json", &["uploads/übung 1+2 & 映画.mp4"]),
    ("s3-put.json", &["uploads/film.mp4"]),
    ("s3-several.json", &["uploads/a.mp4", "uploads/b.mp4"]),
    ("s3-test.json", &[]),
];
/// And those of tasks, and of the clock.
const OTHERS: [&str; 7] =
    ["dead-letter.json", "escalation.json", "merge.json", "schedule.json", "split.json", "transcode-audio.json", "transcode-chunk.json"];
/// The two keys at which there is a film.
const FILM: &str = "uploads/film.mp4";
const SECOND: &str = "uploads/übung 1+2 & 映画.mp4";
/// Of a film of four seconds the chunk that samples tell of is the last.
const PROFILE: &str = "[tiny]\nchunk_ms = 1000\ngop_ms = 500\noutputs = ['hls']\n\
    ladder = [{ short_side = 120, maxrate = 300_000, bufsize = 300_000 }]\n";
/// The job, and the chunk, that samples of tasks tell of.
const JOB: &str = "0123456789abcdef01234567";
const CHUNK: &str = "c00003";
/// Of the object in the webhook's sample; without one the object is looked up.
const ETAG: &str = "d5c0ea7240c9e136ce5e74ced443588d";

fn is_json(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "json")
}

/// Files and their functions, as the table in `events/README.md` has them.
fn table() -> Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(tests::root().join("events/README.md"))?;
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
        Some((cells.next()?, cells.next()?))
    };
    Ok(text.lines().filter_map(row).filter(|(file, _)| is_json(file)).collect())
}

/// Whether an answer is what a function gives that took its event.
fn is_taken(function: &str, payload: &Value) -> bool {
    match function {
        "webhook" => payload["statusCode"] == 200,
        "sweep" => payload["jobs"].is_u64(),
        _ => *payload == json!({ "batchItemFailures": [] }),
    }
}

/// Hands an event to its function by each program that people call functions with; answers what each got.
fn by_all_ways(fanreel: &Fanreel, function: &str, event: &Path, dir: &Path) -> Result<Vec<(&'static str, Value)>> {
    let ours = fanreel.ask(&["invoke", function, "-e", &event.to_string_lossy()])?;
    ensure!(ours["function_error"].is_null(), "{ours}");
    let (name, payload, out) = (format!("fanreel-{function}"), format!("fileb://{}", event.display()), dir.join("answer.json"));
    let to = out.to_string_lossy();
    let cli = aws(&fanreel.endpoint, dir, &["lambda", "invoke", "--function-name", &name, "--payload", &payload, &to])?;
    ensure!(cli["FunctionError"].is_null(), "{cli}");
    let arn = format!("arn:aws:lambda:us-east-1:000000000000:function:{name}");
    let mut remote = sam(dir, &["remote", "invoke", &arn, "--region", "us-east-1", "--event-file"])?;
    remote.arg(event).env("AWS_ENDPOINT_URL", &fanreel.endpoint);
    let remote = good(&remote.output()?, "sam remote invoke")?;
    Ok(vec![
        ("fanreel invoke", ours["payload"].clone()),
        ("cargo lambda invoke", cargo_lambda(&fanreel.endpoint, &name, event)?),
        ("aws lambda invoke", serde_json::from_slice(&std::fs::read(&out)?)?),
        ("sam remote invoke", serde_json::from_str(&remote).with_context(|| remote.clone())?),
    ])
}

/// An event as `sam local generate-event` makes it for `sam local invoke`.
fn generated(dir: &Path, args: &[&str]) -> Result<Value> {
    let mut command = sam(dir, &[&["local", "generate-event"], args].concat())?;
    Ok(serde_json::from_str(&good(&command.output()?, "sam local generate-event")?)?)
}

/// Status and body of a POST with a JSON body.
pub fn post(url: &str, authorization: &str, body: &str) -> Result<(u16, String)> {
    let (host, path) = url.trim_start_matches("http://").split_once('/').context("no path")?;
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "POST /{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {authorization}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no body")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
    Ok((status, body.to_owned()))
}

/// What a store tells of `uploads/another film.mp4`, which it has: the sample, without the `ETag` of another film.
pub fn news() -> Result<String> {
    let sample: Value = serde_json::from_str(&std::fs::read_to_string(tests::root().join("events/minio-webhook.json"))?)?;
    let news = sample["body"].as_str().context("no body")?;
    let news = news.replace("my+film", "another+film").replace("\"name\":\"videos\"", &format!("\"name\":\"{STORE}\""));
    Ok(news.replace(ETAG, ""))
}

/// Objects of [`STORE`], by key: `ETag` and size.
type Objects = BTreeMap<String, (String, u64)>;

/// The body of a message that tells of objects, of those that there are in place of others. It names no versions: the store has
/// none.
fn of_objects(body: &str, objects: &Objects) -> Result<String> {
    let mut body: Value = serde_json::from_str(body)?;
    let by_rule = body["detail"].is_object();
    let told: Vec<&mut Value> = if by_rule {
        vec![&mut body["detail"]]
    } else {
        body.get_mut("Records").and_then(Value::as_array_mut).into_iter().flatten().map(|record| &mut record["s3"]).collect()
    };
    for told in told {
        let key = told["object"]["key"].as_str().context("no key")?;
        // A rule's key is not encoded.
        let key = if by_rule { key.to_owned() } else { ObjectKey::from_event(key).map_err(anyhow::Error::msg)?.to_string() };
        let Some((tag, size)) = objects.get(&key) else { continue };
        told["bucket"]["name"] = json!(STORE);
        let object = told["object"].as_object_mut().context("no object")?;
        object.insert(if by_rule { "etag" } else { "eTag" }.to_owned(), json!(tag));
        object.insert("size".to_owned(), json!(size));
        object.remove("version-id");
    }
    Ok(body.to_string())
}

/// A sample's event of a task, of another job.
fn of_job(file: &str, event: &Value, job: &str) -> Result<Value> {
    let text = event.to_string();
    ensure!(text.contains(JOB), "{file} is of another job");
    Ok(serde_json::from_str(&text.replace(JOB, job))?)
}

/// The samples on a platform.
struct Samples<'a> {
    fanreel: &'a Fanreel,
    folder: PathBuf,
    dir: &'a Path,
    table: BTreeMap<String, String>,
}

impl Samples<'_> {
    /// The sample with other words, in a file.
    fn rewritten(&self, file: &str, change: impl FnOnce(Value) -> Result<Value>) -> Result<PathBuf> {
        let event = change(serde_json::from_str(&std::fs::read_to_string(self.folder.join(file))?)?)?;
        let path = self.dir.join(file);
        std::fs::write(&path, event.to_string())?;
        Ok(path)
    }

    /// The same, given to its function by every program.
    fn by_all_ways(&self, file: &str, change: impl FnOnce(Value) -> Result<Value>) -> Result<()> {
        let function = self.table.get(file).with_context(|| file.to_owned())?;
        for (way, payload) in by_all_ways(self.fanreel, function, &self.rewritten(file, change)?, self.dir)? {
            ensure!(is_taken(function, &payload), "{file} by {way}: {payload}");
        }
        Ok(())
    }

    /// As they are: of objects and jobs that there are not.
    async fn of_nothing(&self) -> Result<()> {
        for (file, function) in &self.table {
            let answer = self.fanreel.ask(&["invoke", function, "-e", &self.folder.join(file).to_string_lossy()])?;
            ensure!(answer["function_error"].is_null() && is_taken(function, &answer["payload"]), "{file}: {answer}");
        }
        self.fanreel.drained(LONG).await?;
        ensure!(self.fanreel.jobs()?.is_empty(), "jobs of nothing: {:?}", self.fanreel.jobs()?);
        Ok(())
    }

    /// Of objects that there are: each is one job, by whichever and however many ways it is told of.
    async fn of_uploads(&self) -> Result<()> {
        let film = self.dir.join("film.mp4");
        let inputs = ["-f", "lavfi", "-i", "testsrc2=size=160x120:rate=8:duration=4", "-f", "lavfi", "-i", "sine=duration=4"];
        clips::ffmpeg(&[&inputs[..], &["-pix_fmt", "yuv420p", "-g", "8", "-c:a", "aac", &film.to_string_lossy()]].concat())?;
        let (mut objects, mut jobs) = (Objects::new(), Vec::new());
        for (file, keys) in TOLD {
            for key in keys {
                let body = if [FILM, SECOND].contains(key) { std::fs::read(&film)? } else { key.as_bytes().to_vec() };
                let size = u64::try_from(body.len())?;
                let put = self.fanreel.s3.put_object().bucket(STORE).key(*key).body(ByteStream::from(body)).send().await?;
                let etag = put.e_tag().context("no ETag")?.trim_matches('"').to_owned();
                objects.insert((*key).to_owned(), (etag, size));
            }
            let tell = |body: &mut Value| -> Result<()> {
                *body = json!(of_objects(body.as_str().context("no body")?, &objects)?);
                Ok(())
            };
            self.by_all_ways(file, |mut event| {
                match event.get_mut("Records").and_then(Value::as_array_mut) {
                    Some(messages) => messages.iter_mut().try_for_each(|message| tell(&mut message["body"]))?,
                    None => tell(&mut event["body"])?,
                }
                Ok(event)
            })?;
            for key in keys {
                self.fanreel.job_of(key).await?;
            }
            holds(self.fanreel, "IngestQueueUrl", 0).await?;
            jobs.extend(keys.iter().map(|key| (*key).to_owned()));
            jobs.sort_unstable();
            let mut found: Vec<String> = self.fanreel.jobs()?.into_iter().map(|(key, _)| key).collect();
            found.sort_unstable();
            ensure!(found == jobs, "{file} told of {keys:?}, and jobs are of {found:?}");
        }
        Ok(())
    }

    fn of_task(&self, file: &str, job: &str) -> Result<()> {
        self.by_all_ways(file, |event| of_job(file, &event, job))
    }

    /// Each does the work of its task and of no other, once.
    async fn of_tasks(&self) -> Result<()> {
        let job = self.fanreel.job_of(FILM).await?;
        let mut is = vec![("split", "open", 0)];
        self.are(&job, &is).await?;
        self.of_task("split.json", &job)?;
        let parts = ["a00", "c00000", "c00001", "c00002", CHUNK, "merge"];
        is = parts.iter().map(|task| (*task, "open", 0)).chain([("split", "done", 1)]).collect();
        self.are(&job, &is).await?;
        for (file, task) in [("transcode-chunk.json", CHUNK), ("transcode-audio.json", "a00")] {
            self.of_task(file, &job)?;
            is.iter_mut().filter(|(name, ..)| *name == task).for_each(|it| *it = (task, "done", 1));
            self.are(&job, &is).await?;
        }
        self.of_a_persons(&self.fanreel.job_of(SECOND).await?).await?;
        switch(self.fanreel, &["transcode"], true).await?;
        let all_done = |tasks: &[Task]| tasks.iter().all(|task| task.state == "done" || task.id == "merge");
        tasks(self.fanreel, &job, "to be done", all_done).await?;
        self.of_task("merge.json", &job)?;
        for (_, state, attempts) in &mut is {
            (*state, *attempts) = ("done", 1);
        }
        self.are(&job, &is).await?;
        ensure!(self.state(&job).await? == "completed", "{}", self.state(&job).await?);
        Ok(())
    }

    /// A dead letter of a task that nobody works on has it wait for a person; the news of that leaves what the person needs.
    async fn of_a_persons(&self, job: &str) -> Result<()> {
        let split = self.rewritten("split.json", |event| of_job("split.json", &event, job))?;
        self.fanreel.ask(&["invoke", "split", "-e", &split.to_string_lossy()])?;
        self.of_task("dead-letter.json", job)?;
        let blocked = self.fanreel.job_item(job).await?.context("no job")?.blocked;
        ensure!(blocked == [CHUNK], "{blocked:?}");
        let letters = self.fanreel.ask(&["dead-letters"])?;
        let told = |letter: &Value| letter["body"].as_str().is_some_and(|body| body.contains(job));
        ensure!(letters.as_array().is_some_and(|all| all.len() == 1 && all.iter().all(told)), "{letters}");
        let bundle = format!("work/{job}/repro/{CHUNK}.0.json");
        self.fanreel.read(&bundle).await?;
        self.fanreel.s3.delete_object().bucket(self.fanreel.bucket()).key(&bundle).send().await?;
        self.of_task("escalation.json", job)?;
        self.fanreel.read(&bundle).await?;
        self.fanreel.ask(&["cancel", job])?;
        Ok(())
    }

    /// The job's tasks are in these states after so many attempts.
    async fn are(&self, job: &str, wanted: &[(&str, &str, u64)]) -> Result<()> {
        let tasks = self.fanreel.task_items(job).await?;
        let found: Vec<_> = tasks.iter().map(|task| (task.id.as_str(), task.state.as_str(), task.attempts)).collect();
        ensure!(found == wanted, "{found:?}, and not {wanted:?}");
        Ok(())
    }

    async fn state(&self, job: &str) -> Result<String> {
        Ok(self.fanreel.job_item(job).await?.context("no job")?.state)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_event_is_taken_by_its_function_and_does_what_it_says() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (door, profiles) = (format!("DoorSecret={SECRET}"), dir.path().join("profiles.toml"));
    std::fs::write(&profiles, PROFILE)?;
    let environment =
        [("FANREEL_HTTP_PORT", Path::new("0")), ("FANREEL_ENFORCE_POLICIES", Path::new("true")), ("FANREEL_PROFILES", profiles.as_path())];
    let source = format!("SourceBucket={STORE}");
    let fanreel = Fanreel::start_with(&dir.path().join("data"), &[&door, &source, "Profile=tiny"], &environment).await?;
    let folder = tests::root().join("events").canonicalize()?;
    let files: BTreeSet<String> =
        std::fs::read_dir(&folder)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).filter(|name| is_json(name)).collect();
    let table = table()?;
    ensure!(files == table.keys().cloned().collect(), "events/README.md names {:?}, there are {files:?}", table.keys());
    let known: BTreeSet<&str> = TOLD.iter().map(|(file, _)| *file).chain(OTHERS).collect();
    ensure!(files.iter().eq(&known), "{files:?}, and this test knows what {known:?} do");
    // A store that tells nobody: what becomes of its films was told by the samples. Nobody works on them but who is invoked.
    fanreel.s3.create_bucket().bucket(STORE).send().await?;
    switch(&fanreel, &["split", "transcode", "merge", "escalation"], false).await?;
    let samples = Samples { fanreel: &fanreel, folder, dir: dir.path(), table };
    samples.of_nothing().await?;
    samples.of_uploads().await?;
    samples.of_tasks().await?;
    samples.by_all_ways("schedule.json", Ok)?;

    by_address(&fanreel).await?;
    by_sam(&fanreel, dir.path()).await?;
    by_nobody(&fanreel, &samples.folder).await?;

    // Attached, the store tells by itself, by the event bus.
    let attached = fanreel.ask(&["attach", STORE])?;
    ensure!(attached["attached"] == true && attached["kept"] == 0, "{attached}");
    let film = ByteStream::from_static(b"nor this");
    fanreel.s3.put_object().bucket(STORE).key("in/my film+2.mp4").body(film).send().await?;
    fanreel.job_of("in/my film+2.mp4").await?;

    // Where news cannot be passed on, its store is to send it again.
    let queue = fanreel.outputs.get("IngestQueueUrl").context("queue")?;
    fanreel.sqs.delete_queue().queue_url(queue).send().await?;
    let (status, said) = post(fanreel.outputs.get("DoorUrl").context("no door")?, &format!("Bearer {SECRET}"), &news()?)?;
    ensure!(status == 503 && said.contains("send it again"), "{status} {said}");
    fanreel.stop()
}

/// The webhook's news, by its address.
async fn by_address(fanreel: &Fanreel) -> Result<()> {
    let film = ByteStream::from_static(b"no film, but an object");
    fanreel.s3.put_object().bucket(STORE).key("uploads/another film.mp4").body(film).send().await?;
    let stack: Value = serde_json::from_str(&get(&fanreel.endpoint, "/_fanreel/stack")?)?;
    let url = fanreel.outputs.get("DoorUrl").with_context(|| format!("no address: {stack}"))?.clone();
    let news = news()?;
    for (authorization, body, status) in [
        ("Bearer something else", news.as_str(), 401),
        (SECRET, &news, 401),
        ("Bearer a-secret-of-yours", "{}", 400),
        ("Bearer a-secret-of-yours", &news, 200),
    ] {
        let (answered, text) = post(&url, authorization, body)?;
        ensure!(answered == status, "{authorization}: {answered} {text}");
    }
    fanreel.job_of("uploads/another film.mp4").await?;
    Ok(())
}

/// S3's event in SQS's, as sam makes both; its object has another size and `ETag` than the sample says.
async fn by_sam(fanreel: &Fanreel, dir: &Path) -> Result<()> {
    let film = ByteStream::from_static(b"no film either");
    fanreel.s3.put_object().bucket(STORE).key("uploads/by sam+1.mp4").body(film).send().await?;
    let mut put = generated(dir, &["s3", "put", "--bucket", STORE, "--key", "uploads/by sam+1.mp4"])?;
    put["Records"][0]["s3"]["object"]["eTag"] = json!("");
    let mut event = generated(dir, &["sqs", "receive-message"])?;
    event["Records"][0]["body"] = json!(put.to_string());
    let path = dir.join("by-sam.json");
    std::fs::write(&path, event.to_string())?;
    for (way, payload) in by_all_ways(fanreel, "ingest", &path, dir)? {
        ensure!(is_taken("ingest", &payload), "what sam generated by {way}: {payload}");
    }
    fanreel.job_of("uploads/by sam+1.mp4").await?;
    Ok(())
}

/// News that is lost is made up for by the sweep; what was there before it first looked is not taken by accident.
async fn by_nobody(fanreel: &Fanreel, folder: &Path) -> Result<()> {
    let put = async |key: &str| fanreel.s3.put_object().bucket(STORE).key(key).body(ByteStream::from_static(b"unheard of")).send().await;
    let sweep = || fanreel.ask(&["invoke", "sweep", "-e", &folder.join("schedule.json").to_string_lossy()]);
    put("in/before.mp4").await?;
    let mark = format!("config/adopt-from/tiny/{STORE}");
    fanreel.s3.delete_object().bucket(fanreel.bucket()).key(&mark).send().await?;
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default();
    let stored = second();
    until("the next second", Duration::from_secs(5), || Ok((second() > stored).then_some(()))).await?;
    sweep()?;
    put("in/unheard.mp4").await?;
    sweep()?;
    fanreel.job_of("in/unheard.mp4").await?;
    ensure!(fanreel.jobs()?.iter().all(|(key, _)| key != "in/before.mp4"), "an old film was taken");
    let adopted = fanreel.ask(&["adopt", &format!("s3://{STORE}/in/"), "--yes"])?;
    ensure!(adopted["films"] == 1 && adopted["taken"] == 1, "{adopted}");
    fanreel.job_of("in/before.mp4").await?;
    Ok(())
}
