//! The same on a cloud that others wrote: S3, SQS, DynamoDB and Lambda are `MiniStack`'s, the functions ours.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use tests::{
    ministack::{self, MiniStack},
    processes::{self, Named, kill},
    run::until,
    stack::Stack,
    tool,
};

use super::{
    ALONE, FILMS_PER_KILL, KILLS_PER_FILM, LOOK, PATIENCE, PROFILE, Stage, impatient, is_done,
    killer::{AT_WORK, TOOLS, aim, below},
    peace, settled,
    twice::Twice,
    undisturbed, upload,
    verdict::Toll,
};
use crate::setting;

/// From its end to the end of its functions.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// What it calls every process of a function.
const FUNCTION: &str = "bootstrap";

/// What `sam deploy` takes: our functions, without the layer, which this cloud would not mount.
fn package(dir: &Path) -> Result<std::path::PathBuf> {
    let package = ministack::package(dir)?;
    let text = impatient()?;
    let (before, rest) = text.split_once("  FfmpegLayer:\n").context("the template has no layer any more")?;
    let (_, after) = rest.split_once("RetentionPolicy: Delete\n").context("the layer looks otherwise")?;
    let text = format!("{before}{after}").replace("      Layers: [!Ref FfmpegLayer]\n", "");
    // A number: it stumbles over bounds that are parameters.
    let bound = "MaximumConcurrency: !Ref TranscodeConcurrency";
    ensure!(text.contains(bound), "the template bounds its workers otherwise");
    let template = package.join("template.yaml");
    std::fs::write(&template, text.replace(bound, "MaximumConcurrency: 2"))?;
    Ok(template)
}

async fn deployed(ministack: &MiniStack, dir: &Path) -> Result<Stack> {
    let mut parameters: Vec<String> =
        ["TlsOnly=no", "Monitoring=no", "JobConcurrency=0", "LeaseSeconds=5", "RetrySeconds=2"].map(str::to_owned).into();
    parameters.push(format!("Profile={PROFILE}"));
    for (name, program) in [("FfmpegPath", "ffmpeg"), ("FfprobePath", "ffprobe")] {
        parameters.push(format!("{name}={}", tool(program).canonicalize()?.display()));
    }
    let parameters: Vec<&str> = parameters.iter().map(String::as_str).collect();
    let outputs = ministack.deploy(&package(dir)?, "chaos", &parameters)?;
    Ok(Stack::at(&ministack.endpoint, outputs).await)
}

struct Elsewhere {
    ministack: MiniStack,
    stack: Stack,
    dice: StdRng,
    toll: Toll,
    seen: BTreeSet<Named>,
}

impl Elsewhere {
    /// Sees a job through, with at most so many kills.
    async fn see_through(&mut self, job: &str, most: u32) -> Result<()> {
        let (end, mut kills, mut twice) = (Instant::now() + PATIENCE, 0, Twice::default());
        let mut next = peace(&mut self.dice);
        loop {
            self.seen.extend(processes::tree(self.ministack.pid()));
            if is_done(&self.stack, job, &mut twice, end).await? {
                return Ok(());
            }
            if kills < most && Instant::now() >= next && self.kill_function().await {
                kills += 1;
                next = peace(&mut self.dice);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whose task it is cannot be seen from outside: who has a tool running has one.
    async fn kill_function(&mut self) -> bool {
        let functions = below(self.ministack.pid(), &[FUNCTION]);
        let busy: Vec<u32> = functions.iter().copied().filter(|pid| !below(*pid, &TOOLS).is_empty()).collect();
        let wanted = if self.dice.random_ratio(AT_WORK.0, AT_WORK.1) { &busy } else { &functions };
        let Some(victim) = wanted.choose(&mut self.dice).copied() else { return false };
        let Some(process) = processes::named(victim) else { return false };
        tokio::time::sleep(aim(&mut self.dice)).await;
        let lost = below(victim, &TOOLS).into_iter().map(processes::cpu_of).sum();
        if !process.is_alive() || !kill(victim) {
            return false;
        }
        self.toll.add(1, lost);
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_may_be_killed_on_a_cloud_that_others_wrote() -> Result<()> {
    let _alone = ALONE.lock().await;
    let calm = undisturbed().await?;
    let kills = u32::try_from(setting("FANREEL_CHAOS_KILLS", 3))?;
    let seed = setting("FANREEL_SEED", rand::random::<u32>().into());
    eprintln!("MiniStack: {kills} kills, FANREEL_SEED={seed}");
    let stage = Stage::set()?;
    let ministack = MiniStack::start(stage.dir.path()).await?;
    let stack = deployed(&ministack, stage.dir.path()).await?;
    let dice = StdRng::seed_from_u64(seed);
    let mut run = Elsewhere { ministack, stack, dice, toll: Toll::default(), seen: BTreeSet::new() };
    let mut jobs = Vec::new();
    while run.toll.kills < kills {
        let key = format!("uploads/film-{}.mp4", jobs.len());
        let job = upload(&run.stack, &stage.film, &key).await?;
        jobs.push((key, job.clone()));
        let most = KILLS_PER_FILM.min(kills - run.toll.kills);
        let end = run.see_through(&job, most).await;
        end.with_context(|| format!("MiniStack said:\n{}", run.ministack.log()))?;
        ensure!(jobs.len() <= 3 + FILMS_PER_KILL * kills as usize, "films end before anything of them can be killed");
    }
    for (shown, (key, job)) in settled(&run.stack, &jobs).await?.iter().zip(&jobs) {
        calm.shown.is(shown).with_context(|| format!("{key}, job {job}"))?;
        run.toll.count(&run.stack.task_items(job).await?)?;
    }
    eprintln!("MiniStack: {} films, {}", jobs.len(), run.toll.said(calm.cpu * f64::from(u32::try_from(jobs.len())?)));
    let Elsewhere { ministack, seen, .. } = run;
    ministack.stop()?;
    // Functions take up to two seconds for their last words, and it does not wait for them.
    let alive = || seen.iter().filter(|process| process.is_alive()).collect::<Vec<_>>();
    let ended = until("all its processes to end", LAST_WORDS, || Ok(alive().is_empty().then_some(()))).await;
    ended.with_context(|| format!("of {} processes these are left: {:?}", seen.len(), alive()))
}
