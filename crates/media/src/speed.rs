//! How fast this machine encodes: a clip of our own making, always the same.

use std::path::Path;

use pipeline::{Fault, Shortage};

use crate::{
    FfmpegEncoder, args,
    cell::{self, Lines},
    dir::CellDir,
    verdict::verdict,
};

/// Others' work only ever adds to a run's CPU-seconds (caches, a core's other thread): the least of these counts.
const RUNS: usize = 3;

/// CPU-seconds of the clip. Takes a second or two.
pub async fn measure(encoder: &FfmpegEncoder, scratch: &Path) -> Result<f64, Fault> {
    let mut least = f64::INFINITY;
    for _ in 0..RUNS {
        let dir = CellDir::new(scratch)?;
        let command = args::calibration(&encoder.tools().ffmpeg);
        let outcome = cell::run(command, dir.path().to_owned(), encoder.limits(), None, Deaf).await?;
        encoder.note(outcome.report);
        if let Some(fault) = outcome.stopped.or_else(|| verdict(outcome.ended, &outcome.stderr)) {
            return Err(fault);
        }
        let missing = || Fault::escalate(Shortage::Tool, "ffmpeg did not say what a run took");
        least = least.min(seconds(&outcome.stderr).ok_or_else(missing)?);
    }
    Ok(least)
}

/// What is printed is not looked at.
struct Deaf;
impl Lines for Deaf {
    fn line(&mut self, _: &[u8]) -> Result<(), Fault> {
        Ok(())
    }
}

/// User and system time of `bench: utime=0.390s stime=0.031s rtime=0.300s`.
fn seconds(stderr: &str) -> Option<f64> {
    let line = stderr.lines().rev().find_map(|line| line.split_once("bench: utime=").map(|(_, rest)| rest))?;
    let (user, rest) = line.split_once("s stime=")?;
    let (system, _) = rest.split_once('s')?;
    let total = user.parse::<f64>().ok()? + system.parse::<f64>().ok()?;
    (total > 0.0 && total.is_finite()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ffmpeg_says_of_its_time_is_read() {
        let said = "frame= 45\nbench: utime=0.390s stime=0.030s rtime=0.300s\nbench: maxrss=79312KiB\n";
        assert_eq!(seconds(said).map(|s| (s * 1000.0).round()), Some(420.0));
        for odd in ["", "bench: utime=", "bench: utime=xs stime=1s", "bench: utime=0.0s stime=0.0s rtime=0.1s"] {
            assert_eq!(seconds(odd), None, "{odd}");
        }
    }
}
