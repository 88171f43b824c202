//! Two encodes of one film, held against each other picture by picture: PSNR, SSIM and VMAF.

use std::{io::Read, path::Path, time::Duration};

use pipeline::{
    Fault, Shortage,
    encoder::{EncodeError, Encoder, ProbeInput, Progress},
    planner::{self, Frames},
    source::VideoTrack,
};
use serde::{Deserialize, Serialize};

use crate::{
    FfmpegEncoder,
    args::compare::{self as command, REPORT, Shape},
    cell::Limits,
    chunk,
    dir::{CellDir, io_fault},
};

/// Bytes of libvmaf's report that are read: four hours of 60 pictures a second.
const MAX_REPORT: u64 = 512 << 20;
/// Two decoders and VMAF over a whole film.
const WALL: Duration = Duration::from_hours(12);
const CPU_SECONDS: u64 = 40 * 3600;
/// How far apart the times of one picture may be in the two files, seconds: containers count in milliseconds, and in
/// 1/90000 s.
const TIME_SLACK: f64 = 0.0021;

/// One of the two.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Side {
    pub codec: String,
    /// As shown: after rotation.
    pub width: u32,
    pub height: u32,
    /// Of the picture's packets.
    pub bytes: u64,
    /// Of the picture, bits per second.
    pub bitrate: u64,
}

/// What one picture is worth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Score {
    /// From the first picture, seconds.
    pub seconds: f64,
    /// Of luma, dB; 60 and more is the same picture.
    pub psnr: f64,
    pub ssim: f64,
    pub vmaf: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    pub reference: Side,
    pub other: Side,
    /// What makes the scores say less than they seem to.
    pub notes: Vec<String>,
    pub pictures: Vec<Score>,
}

/// `Reject`: the two do not show the same pictures at the same times, or one of them cannot be read.
pub async fn compare(encoder: &FfmpegEncoder, reference: &Path, other: &Path, scratch: &Path) -> Result<Comparison, Fault> {
    let [first, second] = [look(encoder, reference, scratch).await?, look(encoder, other, scratch).await?];
    let times = same_times(&first, &second)?;
    let dir = CellDir::new(scratch)?;
    dir.link(reference, command::REFERENCE)?;
    dir.link(other, command::OTHER)?;
    let shape = Shape { reference: first.track.index, other: second.track.index, size: first.shown(), deep: first.is_deep() };
    let limits = Limits { wall: WALL, cpu_seconds: CPU_SECONDS, ..encoder.limits() };
    let run = command::measure(&encoder.tools().ffmpeg, shape);
    chunk::run_within(encoder, limits, run, &dir, &Progress::default(), "frame=").await.map_err(EncodeError::into_fault)?;
    let found = scores(&dir.join(REPORT))?;
    if found.len() != times.len() {
        return Err(Fault::reject(format!(
            "of {} pictures {} could be decoded in both files: one of them is damaged",
            times.len(),
            found.len()
        )));
    }
    let score = |(seconds, found): (f64, Metrics)| Score { seconds, psnr: found.psnr_y, ssim: found.float_ssim, vmaf: found.vmaf };
    Ok(Comparison {
        notes: notes(&first, &second),
        reference: first.side(),
        other: second.side(),
        pictures: times.into_iter().zip(found).map(score).collect(),
    })
}

/// A file as the probe has it.
struct Looked {
    track: VideoTrack,
    frames: Frames,
}

async fn look(encoder: &FfmpegEncoder, path: &Path, scratch: &Path) -> Result<Looked, Fault> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let told = |fault: Fault| match fault {
        Fault::Reject(text) => Fault::reject(format!("{name}: {text}")),
        fault => fault,
    };
    let report = encoder.probe(ProbeInput::File(path.to_owned()), scratch).await.map_err(|error| told(error.into_fault()))?;
    if !planner::times_are_usable(&report) {
        return Err(Fault::reject(format!(
            "{name}: its pictures have no times by which they could be held against others (a job makes some; AVI and bare streams have \
             none): compare the MP4 that a job made of it, or its pictures with times (ffmpeg -i IN -map 0:v:0 -c:v ffv1 OUT.mkv)"
        )));
    }
    let track = report.video.into_iter().find(|track| !track.cover && !track.packets.is_empty());
    let track = track.ok_or_else(|| Fault::reject(format!("{name}: there is no picture in it")))?;
    let frames = Frames::of(&track).map_err(told)?;
    Ok(Looked { track, frames })
}

impl Looked {
    fn shown(&self) -> (u32, u32) {
        let (width, height) = (self.track.width, self.track.height);
        if self.track.rotation.rem_euclid(180) == 90 { (height, width) } else { (width, height) }
    }
    fn is_deep(&self) -> bool {
        self.track.pix_fmt.contains("10") || self.track.pix_fmt.contains("12")
    }
    fn seconds(&self) -> f64 {
        self.track.time_base.seconds(self.frames.end() - self.frames.first())
    }
    fn side(&self) -> Side {
        let (width, height) = self.shown();
        let bytes = self.track.packets.iter().map(|packet| u64::from(packet.size)).sum();
        Side { codec: self.track.codec.clone(), width, height, bytes, bitrate: pipeline::receipt::bitrate(bytes, self.seconds()) }
    }
    fn times(&self) -> impl Iterator<Item = f64> {
        self.frames.pts().iter().map(|pts| self.track.time_base.seconds(pts - self.frames.first()))
    }
}

/// The times of the pictures from the first, if both files have the same.
fn same_times(first: &Looked, second: &Looked) -> Result<Vec<f64>, Fault> {
    let (one, two) = (first.frames.len(), second.frames.len());
    let apart = first.times().zip(second.times()).enumerate().find(|(_, (a, b))| (a - b).abs() > TIME_SLACK);
    let place = apart.map(|(number, (a, b))| format!("picture {number} is at {a:.3} s in the first and at {b:.3} s in the second"));
    if one != two {
        let place = place.map_or_else(|| "the shorter one is the beginning of the other".to_owned(), |place| format!("from {place} on"));
        return Err(Fault::reject(format!("the files have {one} and {two} pictures, so they cannot be held against each other: {place}")));
    }
    match place {
        Some(place) => Err(Fault::reject(format!("the files show their pictures at different times: {place}"))),
        None => Ok(first.times().collect()),
    }
}

/// A part of how colours are coded, and its name.
type Pair = (&'static str, String);

fn notes(first: &Looked, second: &Looked) -> Vec<String> {
    let mut notes = Vec::new();
    let coded = |looked: &Looked| {
        let colors = looked.track.colors.resolved(&looked.track.pix_fmt, looked.track.width, looked.track.height);
        [("transfer", colors.transfer), ("primaries", colors.primaries), ("matrix", colors.matrix)]
    };
    let differ = |((what, one), (_, two)): (Pair, Pair)| (one != two).then(|| format!("{what} {one} and {two}"));
    let differing: Vec<String> = coded(first).into_iter().zip(coded(second)).filter_map(differ).collect();
    if !differing.is_empty() {
        notes.push(format!("the colours are coded differently ({}): the scores count that as a difference", differing.join(", ")));
    }
    if first.shown() != second.shown() {
        let (width, height) = first.shown();
        notes.push(format!("the second was scaled to {width}×{height}, the size of the first"));
    }
    notes
}

/// libvmaf's report, as much of it as is needed.
#[derive(Deserialize)]
struct Report {
    frames: Vec<Frame>,
}
#[derive(Deserialize)]
struct Frame {
    metrics: Metrics,
}
#[derive(Clone, Copy, Deserialize)]
struct Metrics {
    psnr_y: f64,
    float_ssim: f64,
    vmaf: f64,
}

fn scores(path: &Path) -> Result<Vec<Metrics>, Fault> {
    let file = std::fs::File::open(path).map_err(|error| io_fault("open", path, &error))?;
    let report: Report = serde_json::from_reader(std::io::BufReader::new(file.take(MAX_REPORT)))
        .map_err(|error| Fault::escalate(Shortage::Tool, format!("libvmaf's report cannot be read: {error}")))?;
    Ok(report.frames.into_iter().map(|frame| frame.metrics).collect())
}
