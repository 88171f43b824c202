//! What must be so after all the killing.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Result, ensure};
use serde_json::Value;
use tests::{ledger::Task, look, processes::Named, stack::Stack};

/// Everything that one job shows the world: names and contents, without what may differ between two runs, which is the
/// job's, the upload's and the bucket's name, the fencing numbers in names, and what the work cost.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown(BTreeMap<String, Vec<u8>>);

/// What kills have cost.
#[derive(Default)]
pub struct Toll {
    pub kills: u32,
    /// Workers that were running when they or what they needed was killed.
    workers: u32,
    /// CPU-seconds of ffmpeg and ffprobe that came to nothing.
    lost: f64,
    tasks: u64,
    /// Attempts beyond the first of each task.
    redone: u64,
}

impl Toll {
    pub fn add(&mut self, workers: u32, lost: f64) {
        self.kills += 1;
        self.workers += workers;
        self.lost += lost;
    }

    /// The tasks of a job that is done.
    pub fn count(&mut self, tasks: &[Task]) -> Result<()> {
        ensure!(tasks.iter().all(|task| task.state == "done" && task.generation == 0), "{tasks:?}");
        self.tasks += tasks.len() as u64;
        self.redone += tasks.iter().map(|task| task.attempts - 1).sum::<u64>();
        ensure!(
            self.redone <= u64::from(self.workers),
            "{} tasks were begun again, and only {} workers were killed: {tasks:?}",
            self.redone,
            self.workers
        );
        Ok(())
    }

    /// `cpu`: what everything takes without a kill, seconds.
    pub fn said(&self, cpu: f64) -> String {
        format!(
            "{} kills of {} workers; {} of {} tasks begun again; {:.1} CPU-seconds lost of {cpu:.1} that the work takes",
            self.kills, self.workers, self.redone, self.tasks, self.lost
        )
    }
}

/// Keys of a job's results begin with these.
fn prefixes(job: &str) -> [String; 4] {
    [format!("streams/{job}/"), format!("encoded/{job}_"), format!("jobs/{job}/"), format!("work/{job}/")]
}

pub async fn shown(stack: &Stack, job: &str, key: &str) -> Result<Shown> {
    let (mut all, bucket) = (BTreeMap::new(), format!("\"{}\"", stack.bucket()));
    for prefix in prefixes(job) {
        for name in stack.keys(&prefix).await? {
            let bytes = stack.read(&name).await?;
            let is_text = [".m3u8", ".mpd", ".json", ".vtt"].iter().any(|end| name.ends_with(end));
            let bytes =
                if is_text { plain(&String::from_utf8(bytes)?.replace(&bucket, "\"BUCKET\""), job, key).into_bytes() } else { bytes };
            let of = plain(&name, job, key);
            ensure!(all.insert(of.clone(), bytes).is_none(), "more than one attempt's object is left of {of}: {name}");
        }
    }
    Ok(Shown(all))
}

fn plain(text: &str, job: &str, key: &str) -> String {
    let text = without_fences(&text.replace(job, "JOB").replace(key, "KEY").replace(key.rsplit('/').next().unwrap_or(key), "NAME"));
    match serde_json::from_str::<Value>(&text) {
        Ok(mut document) if document.get("cost").is_some() => {
            document["cost"].take();
            document["expense"].take();
            document.to_string()
        }
        _ => text,
    }
}

/// `seg_0001.7.m4s` becomes `seg_0001.m4s`.
fn without_fences(text: &str) -> String {
    let mut parts = text.split("seg_");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (number, rest) = part.split_once('.').unwrap_or((part, ""));
        let rest = rest.split_once(".m4s").map_or(rest, |(_, after)| after);
        plain.extend(["seg_", number, ".m4s", rest]);
    }
    plain
}

impl Shown {
    /// The other shows the same, to the byte.
    pub fn is(&self, other: &Self) -> Result<()> {
        let names: BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        for name in names {
            match (self.0.get(name), other.0.get(name)) {
                (Some(calm), Some(here)) if calm == here => {}
                (Some(calm), Some(here)) if name.ends_with("json") || name.ends_with("m3u8") => {
                    anyhow::bail!("{name}:\n{}\nundisturbed:\n{}", String::from_utf8_lossy(here), String::from_utf8_lossy(calm))
                }
                (Some(calm), Some(here)) => anyhow::bail!("{name} has other bytes ({}) than undisturbed ({})", here.len(), calm.len()),
                (None, _) => anyhow::bail!("{name} is there, and is not in an undisturbed run"),
                (_, None) => anyhow::bail!("{name} is missing"),
            }
        }
        Ok(())
    }
}

/// No object but uploads, what these jobs show and the sweep's own note, and no upload half-way.
pub async fn nothing_else(stack: &Stack, jobs: &[(String, String)]) -> Result<()> {
    let own: Vec<String> = jobs.iter().flat_map(|(_, job)| prefixes(job)).collect();
    let known: Vec<&str> = own.iter().map(String::as_str).chain(["uploads/", "config/adopt-from/"]).collect();
    let strange = |key: &&String| !known.iter().any(|prefix| key.starts_with(prefix));
    let keys = stack.keys("").await?;
    ensure!(!keys.iter().any(|key| key.starts_with("work/")), "temporaries are left: {keys:?}");
    ensure!(!keys.iter().any(|key| strange(&key)), "{:?}", keys.iter().find(strange));
    let unfinished = stack.unfinished().await?;
    ensure!(unfinished.is_empty(), "unfinished uploads: {unfinished:?}");
    Ok(())
}

/// No process that was ever seen is left, nor a record or a file of one.
pub fn all_gone(seen: &BTreeSet<Named>, data: &Path) -> Result<()> {
    let alive: Vec<&Named> = seen.iter().filter(|process| process.is_alive()).collect();
    ensure!(alive.is_empty(), "of {} processes these are left: {alive:?}", seen.len());
    for folder in ["lambda/processes", "lambda/tmp"] {
        let left: Vec<_> = std::fs::read_dir(data.join(folder))?.flatten().map(|entry| entry.path()).collect();
        ensure!(left.is_empty(), "{left:?}");
    }
    Ok(())
}

/// Every picture of the source once, in order and at its time, in every rendition.
pub async fn frame_exact(stack: &Stack, job: &str, film: &Path, dir: &Path) -> Result<()> {
    let (times, pictures) = (look::frame_times(film, "v:0")?, look::thumbnails(film)?);
    let origin = look::frame_times(film, "a:0")?.first().copied().unwrap_or(times[0]).min(times[0]);
    let tick = look::tick(film)?;
    let keys = stack.keys(&format!("encoded/{job}_")).await?;
    ensure!(!keys.is_empty(), "no MP4");
    for key in keys.iter().filter(|key| key.ends_with("mp4")) {
        let mp4 = dir.join("judged.mp4");
        std::fs::write(&mp4, stack.read(key).await?)?;
        let made = look::frame_times(&mp4, "v:0")?;
        ensure!(made.len() == times.len(), "{key}: {} frames, the source shows {}", made.len(), times.len());
        let off = made.iter().zip(&times).map(|(made, source)| (made - (source - origin)).abs()).fold(0.0, f64::max);
        ensure!(off <= tick * 1.01 + 1e-6, "{key}: a frame is {off} s from its time");
        look::same_pictures(&pictures, &look::thumbnails(&mp4)?)?;
    }
    Ok(())
}
