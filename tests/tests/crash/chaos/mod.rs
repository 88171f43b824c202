//! P4: kill anything, lose nothing. Real functions and real ffmpeg on the platform, killed at random moments, with every
//! event told twice; what people get is what an undisturbed run gave them, to the byte.
//!
//! And what is no kill: S3 that breaks off in the middle, tools that are slow, fail or have no room, a disk that is full.
//!
//! A short form is a part of `make test`; `make chaos` kills for longer. `FANREEL_CHAOS_KILLS` says how often in each mode,
//! `FANREEL_CHAOS_SECONDS` how long a film is, `FANREEL_SEED` repeats the moments of an earlier run.

mod elsewhere;
mod killer;
mod line;
mod shortage;
mod twice;
mod verdict;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use pipeline::{
    id::{JobId, SourceRef},
    key::ObjectKey,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tests::{
    clips,
    processes::{self, Named},
    run::Fanreel,
    stack::Stack,
};
use tokio::sync::{Mutex, OnceCell};

use self::{
    killer::Mode,
    twice::Twice,
    verdict::{Shown, Toll},
};
use crate::setting;

const PROFILE: &str = "h264-medium";
/// A film of the undisturbed run, or under its share of the kills, is done within this time.
const PATIENCE: Duration = Duration::from_secs(300);
/// Kills of one film at most; further ones go to the next.
const KILLS_PER_FILM: u32 = 6;
/// Films in which nobody lives long enough to be killed, for each kill.
const FILMS_PER_KILL: usize = 4;
/// Between two kills, ms.
const LONGEST_PEACE: u64 = 2_500;
/// How often the world is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// One after another: each mode is to have the machine, whose workers would else starve and lose their leases unkilled.
static ALONE: Mutex<()> = Mutex::const_new(());
static UNDISTURBED: OnceCell<Undisturbed> = OnceCell::const_new();

/// What nothing disturbed.
struct Undisturbed {
    shown: Shown,
    /// CPU-seconds of everything.
    cpu: f64,
}

/// A film, the template, and a folder for all of it.
struct Stage {
    dir: tempfile::TempDir,
    film: PathBuf,
    template: PathBuf,
}

impl Stage {
    fn set() -> Result<Self> {
        Self::with(&impatient()?)
    }

    fn with(template: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let seconds = setting("FANREEL_CHAOS_SECONDS", 12);
        let film = dir.path().join("film.mp4");
        let picture = format!("testsrc2=size=640x360:rate=30:duration={seconds}");
        let sound = format!("sine=frequency=440:beep_factor=3:sample_rate=48000:duration={seconds}");
        let inputs = ["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound];
        let codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "60", "-pix_fmt", "yuv420p", "-c:a", "aac", "-bitexact"];
        clips::ffmpeg(&[&inputs[..], &codecs, &[film.to_string_lossy().as_ref()]].concat())?;
        let template = written(dir.path(), template)?;
        Ok(Self { dir, film, template })
    }

    async fn platform(&self, data: &Path) -> Result<Fanreel> {
        let profile = format!("Profile={PROFILE}");
        Fanreel::start_template_with(data, &self.template, &["LeaseSeconds=5", "RetrySeconds=2", &profile]).await
    }
}

/// The application's template with shorter times: a message whose worker died before it took the lease comes back when its
/// queue's visibility is over, which is a quarter of an hour by default.
fn impatient() -> Result<String> {
    let mut text = std::fs::read_to_string(tests::root().join("template.yaml"))?;
    for (from, to) in [
        ("VisibilityTimeout: 930", "VisibilityTimeout: 40"),
        ("VisibilityTimeout: 60", "VisibilityTimeout: 40"),
        (" Timeout: 900", " Timeout: 35"),
    ] {
        ensure!(text.contains(from), "the template has no `{from}` any more");
        text = text.replace(from, to);
    }
    Ok(text)
}

/// A template as a file, with what it names beside it.
fn written(dir: &Path, text: &str) -> Result<PathBuf> {
    let template = dir.join("template.yaml");
    std::fs::write(&template, text)?;
    std::os::unix::fs::symlink(tests::root().join("layers").canonicalize()?, dir.join("layers"))?;
    Ok(template)
}

/// A job under way.
struct Run<'a> {
    stage: &'a Stage,
    data: PathBuf,
    fanreel: Fanreel,
    dice: StdRng,
    toll: Toll,
    /// Every process that was ever seen.
    seen: BTreeSet<Named>,
}

impl Run<'_> {
    /// Sees a job through, with at most so many kills; answers how many there were.
    async fn see_through(&mut self, job: &str, mode: Option<Mode>, most: u32) -> Result<u32> {
        let (end, mut kills, mut twice) = (Instant::now() + PATIENCE, 0, Twice::default());
        let mut next = peace(&mut self.dice);
        loop {
            self.seen.extend(processes::tree(self.fanreel.pid()));
            if is_done(&self.fanreel, job, &mut twice, end).await? {
                return Ok(kills);
            }
            if let Some(mode) = mode.filter(|_| kills < most && Instant::now() >= next)
                && self.strike(mode, job).await?
            {
                kills += 1;
                next = peace(&mut self.dice);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Stores the film, tells of it once more, and answers its job.
async fn upload(stack: &Stack, film: &Path, key: &str) -> Result<String> {
    stack.upload(key, film).await?;
    let head = stack.s3.head_object().bucket(stack.bucket()).key(key).send().await?;
    let size = head.content_length().and_then(|size| u64::try_from(size).ok()).context("no size")?;
    let etag = head.e_tag().context("no ETag")?;
    twice::tell(stack, key, etag, size).await?;
    let named = ObjectKey::new(key).map_err(anyhow::Error::msg)?;
    let source = SourceRef::new(stack.bucket(), named, head.version_id().map(str::to_owned), etag, size);
    Ok(JobId::of(&source, PROFILE, 0).to_string())
}

/// One look at a job, which also doubles the messages that are out by now.
async fn is_done(stack: &Stack, job: &str, twice: &mut Twice, end: Instant) -> Result<bool> {
    ensure!(Instant::now() < end, "job {job} was not done: {:?}", stack.task_items(job).await?);
    let (item, tasks) = (stack.job_item(job).await?, stack.task_items(job).await?);
    if let Some(item) = &item {
        ensure!(item.blocked.is_empty(), "{:?} wait for an operator after nothing but kills: {tasks:?}", item.blocked);
        if item.state == "completed" {
            return twice.is_of_all(&tasks).map(|()| true);
        }
        ensure!(!["rejected", "cancelled"].contains(&item.state.as_str()), "the job is {}: {tasks:?}", item.state);
    }
    let planned = item.is_some_and(|item| ["transcoding", "merging"].contains(&item.state.as_str()));
    twice.send(stack, job, planned, &tasks).await?;
    Ok(false)
}

/// Until then nobody is killed.
fn peace(dice: &mut StdRng) -> Instant {
    Instant::now() + Duration::from_millis(dice.random_range(0..LONGEST_PEACE))
}

/// Everything is quiet, and nothing is left that nobody names.
async fn settled(stack: &Stack, jobs: &[(String, String)]) -> Result<Vec<Shown>> {
    stack.drained(PATIENCE).await?;
    let mut all = Vec::new();
    for (key, job) in jobs {
        all.push(verdict::shown(stack, job, key).await?);
    }
    verdict::nothing_else(stack, jobs).await?;
    Ok(all)
}

async fn undisturbed() -> Result<&'static Undisturbed> {
    UNDISTURBED
        .get_or_try_init(|| async {
            let stage = Stage::set()?;
            let data = stage.dir.path().join("data");
            let fanreel = stage.platform(&data).await?;
            let before = processes::cpu_of_tree(fanreel.pid());
            let mut run =
                Run { stage: &stage, data, fanreel, dice: StdRng::seed_from_u64(0), toll: Toll::default(), seen: BTreeSet::new() };
            let key = "uploads/calm.mp4".to_owned();
            let job = upload(&run.fanreel, &stage.film, &key).await?;
            run.see_through(&job, None, 0).await?;
            let cpu = processes::cpu_of_tree(run.fanreel.pid()) - before;
            verdict::frame_exact(&run.fanreel, &job, &stage.film, stage.dir.path()).await?;
            let tasks = run.fanreel.task_items(&job).await?;
            ensure!(tasks.iter().all(|task| task.attempts == 1), "attempts without a kill: {tasks:?}");
            let shown = settled(&run.fanreel, &[(key, job)]).await?.remove(0);
            run.fanreel.stop()?;
            Ok(Undisturbed { shown, cpu })
        })
        .await
}

/// Kills in one mode until there were enough of them, film after film.
async fn suffer(mode: Mode) -> Result<()> {
    let _alone = ALONE.lock().await;
    let calm = undisturbed().await?;
    let kills = u32::try_from(setting("FANREEL_CHAOS_KILLS", 3))?;
    let seed = setting("FANREEL_SEED", rand::random::<u32>().into());
    eprintln!("{mode:?}: {kills} kills, FANREEL_SEED={seed}");
    let stage = Stage::set()?;
    let data = stage.dir.path().join("data");
    let fanreel = stage.platform(&data).await?;
    let dice = StdRng::seed_from_u64(seed);
    let mut run = Run { stage: &stage, data, fanreel, dice, toll: Toll::default(), seen: BTreeSet::new() };
    let mut jobs = Vec::new();
    while run.toll.kills < kills {
        let key = format!("uploads/film-{}.mp4", jobs.len());
        let job = upload(&run.fanreel, &stage.film, &key).await?;
        jobs.push((key, job.clone()));
        let most = KILLS_PER_FILM.min(kills - run.toll.kills);
        run.see_through(&job, Some(mode), most).await?;
        ensure!(jobs.len() <= 3 + FILMS_PER_KILL * kills as usize, "films end before anything of them can be killed");
    }
    for (shown, (key, job)) in settled(&run.fanreel, &jobs).await?.iter().zip(&jobs) {
        calm.shown.is(shown).with_context(|| format!("{key}, job {job}"))?;
        let tasks = run.fanreel.task_items(job).await?;
        run.toll.count(&tasks)?;
    }
    let films = u32::try_from(jobs.len())?;
    eprintln!("{mode:?}: {films} films, {}", run.toll.said(calm.cpu * f64::from(films)));
    run.seen.extend(processes::tree(run.fanreel.pid()));
    run.fanreel.stop()?;
    verdict::all_gone(&run.seen, &run.data)
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_may_be_killed() -> Result<()> {
    suffer(Mode::Functions).await
}

#[tokio::test(flavor = "multi_thread")]
async fn encoders_may_be_killed() -> Result<()> {
    suffer(Mode::Tools).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platform_may_be_killed() -> Result<()> {
    suffer(Mode::Platform).await
}
