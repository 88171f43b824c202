//! The line between the functions and S3, which breaks off in the middle of bodies.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, OnceLock},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tests::{
    run::{Fanreel, until},
    stack::Stack,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{ALONE, LOOK, PATIENCE, PROFILE, Stage, impatient, is_done, settled, twice::Twice, undisturbed, upload};
use crate::setting;

/// One request is cut so often at most: clients try five times.
const CUTS: u32 = 3;
/// Where it is cut, bytes of the request or of the answer, heads included: these are shorter than the first.
const FIRST: f64 = 2_000.0;
const LAST: f64 = 50_000.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    Calm,
    /// Every second body breaks off, and is let through in the end.
    Rough,
    /// No segment ever arrives.
    Closed,
}

struct State {
    dice: StdRng,
    weather: Weather,
    /// By method and key.
    cuts: BTreeMap<String, u32>,
}

/// Listens, and hands on to S3 what it does not lose.
struct Line {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    to: OnceLock<String>,
    state: Mutex<State>,
}

/// The request that a connection is at.
#[derive(Default)]
struct Request {
    /// `PUT /bucket/key`
    name: String,
    /// It breaks off when so many bytes more have passed this way.
    cut: Option<(Way, usize)>,
    answered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ToS3,
    FromS3,
}

impl Request {
    /// How many of so many bytes pass.
    fn passing(&mut self, way: Way, bytes: usize) -> usize {
        match &mut self.cut {
            Some((cut, left)) if *cut == way => {
                let passing = bytes.min(*left);
                *left -= passing;
                passing
            }
            _ => bytes,
        }
    }
}

impl Shared {
    fn begun(&self, name: String) -> Request {
        let mut state = self.state.lock().unwrap();
        let way = if name.starts_with("GET ") { Some(Way::FromS3) } else { name.starts_with("PUT ").then_some(Way::ToS3) };
        let so_far = state.cuts.get(&name).copied().unwrap_or(0);
        let chance = state.dice.random_bool(0.5);
        let is_cut = match state.weather {
            Weather::Calm => false,
            Weather::Rough => chance && so_far < CUTS,
            Weather::Closed => name.contains("/segments/"),
        };
        let at = FIRST * (LAST / FIRST).powf(state.dice.random_range(0.0..1.0));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few kilobytes")]
        let cut = way.filter(|_| is_cut).map(|way| (way, if state.weather == Weather::Closed { FIRST } else { at } as usize));
        Request { name, cut, answered: false }
    }

    fn cut(&self, request: &Request) {
        *self.state.lock().unwrap().cuts.entry(request.name.clone()).or_default() += 1;
    }
}

impl Line {
    async fn new(seed: u64) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let state = State { dice: StdRng::seed_from_u64(seed), weather: Weather::Calm, cuts: BTreeMap::new() };
        let shared = Arc::new(Shared { to: OnceLock::new(), state: Mutex::new(state) });
        let line = Self { address: listener.local_addr()?, shared: Arc::clone(&shared) };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, Arc::clone(&shared)));
            }
        });
        Ok(line)
    }

    fn set(&self, weather: Weather) {
        self.shared.state.lock().unwrap().weather = weather;
    }

    /// Bodies that broke off, of one method.
    fn cuts(&self, method: &str) -> u32 {
        self.shared.state.lock().unwrap().cuts.iter().filter(|(name, _)| name.starts_with(method)).map(|(_, cuts)| cuts).sum()
    }
}

/// One connection, until either end or the weather is done with it.
async fn carry(mut client: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    let mut server = TcpStream::connect(shared.to.get().expect("it leads somewhere")).await?;
    let mut request = Request { answered: true, ..Request::default() };
    let (mut up, mut down) = (vec![0; 16 << 10], vec![0; 16 << 10]);
    loop {
        let (bytes, passing) = tokio::select! {
            read = client.read(&mut up) => {
                let bytes = &up[..read?];
                if let Some(name) = name_of(bytes).filter(|_| request.answered) {
                    request = shared.begun(name);
                }
                let passing = request.passing(Way::ToS3, bytes.len());
                server.write_all(&bytes[..passing]).await?;
                (bytes.len(), passing)
            }
            read = server.read(&mut down) => {
                let bytes = &down[..read?];
                request.answered = true;
                let passing = request.passing(Way::FromS3, bytes.len());
                client.write_all(&bytes[..passing]).await?;
                (bytes.len(), passing)
            }
        };
        if passing < bytes {
            shared.cut(&request);
            return Ok(());
        }
        // What the other end has still to say is of no use to one that is gone.
        if bytes == 0 {
            return Ok(());
        }
    }
}

/// `GET /bucket/key` of the head of a request.
fn name_of(bytes: &[u8]) -> Option<String> {
    let line = bytes.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let known = ["GET", "PUT", "POST", "HEAD", "DELETE"].contains(&method);
    known.then(|| format!("{method} {}", target.split('?').next().unwrap_or(target)))
}

async fn done(stack: &Stack, job: &str) -> Result<()> {
    let (end, mut twice) = (Instant::now() + PATIENCE, Twice::default());
    while !is_done(stack, job, &mut twice, end).await? {
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

async fn behind(line: &Line, stage: &Stage, data: &Path) -> Result<Fanreel> {
    let parameters = ["LeaseSeconds=5", "RetrySeconds=2", "MaxRetries=1", &format!("Profile={PROFILE}")];
    let fanreel = Fanreel::start_template_with(data, &stage.template, &parameters).await?;
    let to = fanreel.endpoint.trim_start_matches("http://").to_owned();
    line.shared.to.set(to).map_err(|_| anyhow::anyhow!("it leads somewhere already"))?;
    Ok(fanreel)
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_may_break_off_in_the_middle() -> Result<()> {
    let _alone = ALONE.lock().await;
    let calm = undisturbed().await?;
    let seed = setting("FANREEL_SEED", rand::random::<u32>().into());
    let line = Line::new(seed).await?;
    let (text, bucket) = (impatient()?, "        BUCKET: !Ref Bucket\n");
    ensure!(text.contains(bucket), "the template names the bucket otherwise");
    let text = text.replace(bucket, &format!("{bucket}        AWS_ENDPOINT_URL_S3: http://{}\n", line.address));
    let stage = Stage::with(&text)?;
    let fanreel = behind(&line, &stage, &stage.dir.path().join("data")).await?;
    let mut jobs = Vec::new();

    // What breaks off is taken up where it was, and no task hears of it.
    line.set(Weather::Rough);
    while line.cuts("GET ") == 0 || line.cuts("PUT ") < 3 {
        let key = format!("uploads/film-{}.mp4", jobs.len());
        let job = upload(&fanreel, &stage.film, &key).await?;
        jobs.push((key, job.clone()));
        done(&fanreel, &job).await?;
        let tasks = fanreel.task_items(&job).await?;
        ensure!(tasks.iter().all(|task| task.attempts == 1 && task.faults == 0), "{tasks:?}");
        ensure!(jobs.len() <= 5, "nothing of them was cut");
    }
    eprintln!("{} GETs and {} PUTs broke off, FANREEL_SEED={seed}", line.cuts("GET "), line.cuts("PUT "));

    // What does not come back is a person's, who is told what it is.
    line.set(Weather::Closed);
    let key = "uploads/closed.mp4".to_owned();
    let job = upload(&fanreel, &stage.film, &key).await?;
    jobs.push((key, job.clone()));
    let parts = |tasks: &[tests::ledger::Task]| tasks.iter().filter(|task| task.id.starts_with(['a', 'c'])).cloned().collect::<Vec<_>>();
    let end = Instant::now() + PATIENCE;
    let blocked = loop {
        let tasks = parts(&fanreel.task_items(&job).await?);
        if !tasks.is_empty() && tasks.iter().all(|task| task.state == "blocked") {
            break tasks;
        }
        ensure!(Instant::now() < end, "{tasks:?}");
        tokio::time::sleep(LOOK).await;
    };
    let told = |task: &tests::ledger::Task| task.last_fault.as_deref().is_some_and(|fault| fault.contains("storing s3://"));
    ensure!(blocked.iter().all(|task| task.attempts == 2 && told(task)), "{blocked:?}");
    ensure!(fanreel.keys(&format!("streams/{job}/")).await?.is_empty(), "something was shown");
    line.set(Weather::Calm);
    until("the job to wait for a person", PATIENCE, || Ok((fanreel.ask(&["status", &job])?["state"] == "escalated").then_some(()))).await?;
    let retried = fanreel.ask(&["retry", &job])?;
    ensure!(retried["tasks"].as_array().context("tasks")?.len() == blocked.len(), "{retried}");
    done(&fanreel, &job).await?;
    for (shown, (key, job)) in settled(&fanreel, &jobs).await?.iter().zip(&jobs) {
        calm.shown.is(shown).with_context(|| format!("{key}, job {job}"))?;
    }
    fanreel.stop()
}
