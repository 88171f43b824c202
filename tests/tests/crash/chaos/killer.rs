//! Who is killed.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use tests::{
    ledger::Task,
    processes::{self, kill},
    run::descendants,
};

use super::Run;

/// What a run has against it.
#[derive(Clone, Copy, Debug)]
pub enum Mode {
    /// The processes of functions.
    Functions,
    /// ffmpeg and ffprobe.
    Tools,
    /// `fanreel up` itself, and all that is below it.
    Platform,
}

/// The kernel cuts a process's name after 15 bytes.
const FUNCTIONS: [&str; 4] = ["ingest", "split", "transcode-chunk", "merge"];
pub const TOOLS: [&str; 2] = ["ffmpeg", "ffprobe"];
/// Of four kills, so many are of somebody who has a task in hand.
pub const AT_WORK: (u32, u32) = (3, 4);
/// From the choice of a victim to its end at most, ms, each power of two as often: else encoders would always die young on a
/// slow machine, or never die at all on a quick one.
const LONGEST_AIM: f64 = 1_024.0;

impl Run<'_> {
    /// One kill, if there is anybody to kill.
    pub async fn strike(&mut self, mode: Mode, job: &str) -> Result<bool> {
        match mode {
            Mode::Functions => self.kill_function(job).await,
            Mode::Tools => Ok(self.kill_tool().await),
            Mode::Platform => self.kill_platform(job).await,
        }
    }

    async fn kill_function(&mut self, job: &str) -> Result<bool> {
        let named: Vec<u32> = below(self.fanreel.pid(), &FUNCTIONS);
        let at_work = if self.dice.random_ratio(AT_WORK.0, AT_WORK.1) { self.workers(job).await? } else { named.clone() };
        let Some(victim) = at_work.choose(&mut self.dice).copied().filter(|pid| named.contains(pid)) else { return Ok(false) };
        Ok(self.shoot(victim, tools_below).await)
    }

    async fn kill_tool(&mut self) -> bool {
        let tools = below(self.fanreel.pid(), &TOOLS);
        let Some(victim) = tools.choose(&mut self.dice).copied() else { return false };
        self.shoot(victim, processes::cpu_of).await
    }

    /// `false`: it had ended by itself.
    async fn shoot(&mut self, victim: u32, lost: impl Fn(u32) -> f64) -> bool {
        let Some(named) = processes::named(victim) else { return false };
        tokio::time::sleep(aim(&mut self.dice)).await;
        let lost = lost(victim);
        if !named.is_alive() || !kill(victim) {
            return false;
        }
        self.toll.add(1, lost);
        true
    }

    /// And starts it again. Workers that were running: those that had a task before, or are still written down as having one.
    async fn kill_platform(&mut self, job: &str) -> Result<bool> {
        if self.dice.random_ratio(AT_WORK.0, AT_WORK.1) && below(self.fanreel.pid(), &TOOLS).is_empty() {
            return Ok(false);
        }
        tokio::time::sleep(aim(&mut self.dice)).await;
        let mut held = leased(&self.fanreel.task_items(job).await?);
        let lost = tools_below(self.fanreel.pid());
        self.seen.extend(processes::tree(self.fanreel.pid()));
        self.fanreel.die()?;
        self.fanreel = self.stage.platform(&self.data).await?;
        held.extend(leased(&self.fanreel.task_items(job).await?));
        self.toll.add(u32::try_from(held.len())?, lost);
        Ok(true)
    }

    /// Processes that hold a lease, by the platform's own records of which process is which environment.
    async fn workers(&self, job: &str) -> Result<Vec<u32>> {
        let tasks = self.fanreel.task_items(job).await?;
        let holders: BTreeSet<&str> = tasks.iter().filter(|task| task.state == "leased").filter_map(|t| t.environment.as_deref()).collect();
        let mut workers = Vec::new();
        for entry in std::fs::read_dir(self.fanreel.data_dir.join("lambda/processes"))? {
            let entry = entry?;
            // A record may go between the two readings.
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
            workers.extend(pid.filter(|_| text.lines().any(|line| holders.contains(line))));
        }
        Ok(workers)
    }
}

/// From the choice of a victim to its end.
pub fn aim(dice: &mut StdRng) -> Duration {
    Duration::from_secs_f64(LONGEST_AIM.powf(dice.random_range(0.0..1.0)) / 1000.0)
}

/// Tasks that somebody holds.
fn leased(tasks: &[Task]) -> BTreeSet<String> {
    tasks.iter().filter(|task| task.state == "leased").map(|task| task.id.clone()).collect()
}

/// Processes below one that are called so.
pub fn below(root: u32, names: &[&str]) -> Vec<u32> {
    descendants(root).into_iter().filter(|(_, name)| names.contains(&name.as_str())).map(|(pid, _)| pid).collect()
}

/// CPU-seconds that the tools under a process have used: what is lost with it.
fn tools_below(root: u32) -> f64 {
    descendants(root).into_iter().filter(|(_, name)| TOOLS.contains(&name.as_str())).map(|(pid, _)| processes::cpu_of(pid)).sum()
}
