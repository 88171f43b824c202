//! The CRF that reaches a quality: samples of a chunk are encoded and measured inside its task.

use std::path::Path;

use pipeline::{
    Fault, Shortage,
    encoder::{ChunkWork, EncodeError, Progress},
    plan::{Metric, TargetQuality},
    quality::{self, Next, Point, Quality, Score},
};
use serde::Deserialize;

use crate::{
    FfmpegEncoder,
    args::{self, sample},
    chunk::{ours, run},
    dir::{CellDir, io_fault},
};

/// Bytes of a measurement's report that are read.
const MAX_REPORT: u64 = 1 << 20;

/// Makes the samples once, then encodes and measures until [`quality::next`] has its answer.
pub async fn choose(encoder: &FfmpegEncoder, work: &ChunkWork<'_>, target: &TargetQuality) -> Result<Quality, EncodeError> {
    let (plan, ffmpeg) = (work.plan, &encoder.tools().ffmpeg);
    let Some((video, rendition)) = plan.video.as_ref().and_then(|video| Some((video, video.renditions.first()?))) else {
        return Err(Fault::escalate(Shortage::Tool, "a chunk of a plan without video").into());
    };
    let dir = CellDir::new(work.out)?;
    dir.link(work.source, args::INPUT)?;
    let windows = quality::windows(work.chunk.times.count());
    let frames: u32 = windows.iter().map(ExactSizeIterator::len).map(|len| u32::try_from(len).unwrap_or(u32::MAX)).sum();
    let silent = Progress::default();
    let reference = sample::reference(ffmpeg, plan, video, work.chunk, rendition, &windows).with_care(work.careful);
    run(encoder, reference, &dir, &silent, "frame=").await?;
    if silent.get() != u64::from(frames) {
        return Err(EncodeError::Mismatch(format!("decoder gave {} of {frames} sample frames", silent.get())));
    }
    let mut curve = Vec::new();
    loop {
        match quality::next(target, plan.profile.crf, &curve) {
            Next::Done(crf) => return Ok(Quality { crf, curve }),
            Next::Probe(crf) => {
                let command = sample::encode(ffmpeg, plan, (video, rendition), &windows, (work.chunk.times.count(), crf));
                run(encoder, command.with_care(work.careful), &dir, &silent, "frame=").await.map_err(ours)?;
                let measure = sample::measure(ffmpeg, target.metric, rendition).with_care(work.careful);
                run(encoder, measure, &dir, &silent, "frame=").await.map_err(ours)?;
                let score = score(&dir.join(sample::SCORES), target.metric)?;
                curve.push(Point { crf, score });
            }
        }
    }
}

/// The mean over the frames.
fn score(path: &Path, metric: Metric) -> Result<Score, Fault> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| io_fault("open", path, &error))?;
    file.take(MAX_REPORT).read_to_string(&mut text).map_err(|error| io_fault("read", path, &error))?;
    let value = match metric {
        Metric::Vmaf => serde_json::from_str::<Report>(&text).ok().map(|report| report.pooled_metrics.vmaf.mean),
        Metric::Ssim => ssim(&text),
    };
    let value = value.ok_or_else(|| Fault::escalate(Shortage::Tool, "the measurement of a sample's quality gave no number"))?;
    Ok(Score::new(metric, value))
}

/// libvmaf's report, as much of it as is needed.
#[derive(Deserialize)]
struct Report {
    pooled_metrics: Pooled,
}
#[derive(Deserialize)]
struct Pooled {
    vmaf: Mean,
}
#[derive(Deserialize)]
struct Mean {
    mean: f64,
}

/// The mean of `n:1 Y:0.95 U:0.98 V:0.98 All:0.96 (14.9)`, a line a frame.
fn ssim(text: &str) -> Option<f64> {
    let all = |line: &str| line.split_ascii_whitespace().find_map(|word| word.strip_prefix("All:")?.parse::<f64>().ok());
    let values: Vec<f64> = text.lines().filter_map(all).collect();
    let count = u32::try_from(values.len()).ok().filter(|count| *count > 0)?;
    Some(values.iter().sum::<f64>() / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read_and_nonsense_is_no_number() {
        assert_eq!(ssim("n:1 Y:0.9 U:1.0 V:1.0 All:0.90 (1)\nn:2 Y:0.9 U:1 V:1 All:0.80 (1)\n").map(|v| (v * 100.0).round()), Some(85.0));
        assert_eq!(ssim(""), None);
        let report = r#"{"version":"3","frames":[],"pooled_metrics":{"integer_motion":{"mean":1.0},"vmaf":{"min":1.0,"mean":93.5}}}"#;
        assert!((serde_json::from_str::<Report>(report).unwrap().pooled_metrics.vmaf.mean - 93.5).abs() < 1e-9);
    }
}
