//! Encodes of samples of a chunk, and what they are worth.

use std::{ops::Range, path::PathBuf};

use pipeline::{
    plan::{Chunk, Metric, Plan, Rendition, VideoPlan},
    timebase::TimeBase,
};

use super::{Command, decoding, ffmpeg_global, graph, video, words};

/// Names inside the cell.
const REFERENCE: &str = "reference.mp4";
const PROBE: &str = "probe.mp4";
/// Where a measurement writes what it found.
pub const SCORES: &str = "scores";

/// Ticks of [`base`] a second.
const TICKS: f64 = 90_000.0;
/// Shortest side that VMAF is asked about, pixels: its coarsest scale is an eighth of the picture.
const MIN_VMAF_SIDE: u32 = 128;

/// The samples' time base.
fn base() -> TimeBase {
    TimeBase::new(1, 90_000).unwrap_or(TimeBase::MICROS)
}

/// Ticks between two sample frames: an even rate, whatever the source's.
fn step(video: &VideoPlan) -> u32 {
    let rate = if (1.0..=1000.0).contains(&video.frame_rate) { video.frame_rate } else { 25.0 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 90 and 90,000")]
    let step = (TICKS / rate).round() as u32;
    step
}

/// The sample frames without loss.
pub fn reference(
    ffmpeg: &PathBuf,
    plan: &Plan,
    video: &VideoPlan,
    chunk: &Chunk,
    rendition: &Rendition,
    windows: &[Range<u32>],
) -> Command {
    let mut args = decoding(chunk);
    args.extend(["-filter_complex".to_owned(), graph::sample(&plan.profile, video, chunk, rendition, windows, step(video))]);
    args.extend(words("-map [v0] -fps_mode passthrough -enc_time_base 1:90000 -c:v libx264 -preset ultrafast -qp 0 -threads 1"));
    args.extend(words(&format!("-video_track_timescale 90000 -f mp4 {REFERENCE}")));
    Command::new(ffmpeg, args)
}

/// The samples as a chunk of `frames` would be encoded, each window from a keyframe on. The buffer is as much shorter as
/// they are: what it holds at first would carry them through scenes that the cap spoils.
pub fn encode(
    ffmpeg: &PathBuf,
    plan: &Plan,
    (video, rendition): (&VideoPlan, &Rendition),
    windows: &[Range<u32>],
    (frames, crf): (u32, u32),
) -> Command {
    let sampled: u32 = windows.iter().map(|window| window.end - window.start).sum();
    let part = u64::from(rendition.bufsize) * u64::from(sampled) / u64::from(frames.max(1));
    let bufsize = u32::try_from(part).unwrap_or(u32::MAX).max(video::buffer_told_as(rendition.maxrate / 4));
    let rendition = &Rendition { bufsize, ..rendition.clone() };
    let step = step(video);
    let even = VideoPlan { time_base: base(), frame_rate: TICKS / f64::from(step), ..video.clone() };
    let mut args = ffmpeg_global();
    args.extend(words(&format!("-threads 1 -protocol_whitelist file -f mp4 -i {REFERENCE} -map 0:v:0")));
    args.extend(video::options(&plan.profile, &even, rendition, crf, f64::from(frames.saturating_sub(1)) / even.frame_rate));
    if let [first, _] = windows {
        // Half a frame before the second window.
        let ticks = i64::from(first.end - first.start) * i64::from(step);
        args.extend(["-force_key_frames".to_owned(), super::seconds(base().micros_of_half_ticks(2 * ticks - i64::from(step)))]);
    }
    args.extend(words(&format!("-fflags +bitexact -video_track_timescale 90000 -f mp4 {PROBE}")));
    Command::new(ffmpeg, args)
}

/// Holds the encode against the reference, frame by frame in their order.
pub fn measure(ffmpeg: &PathBuf, metric: Metric, rendition: &Rendition) -> Command {
    let side = rendition.width.min(rendition.height).max(1);
    let times = MIN_VMAF_SIDE.div_ceil(side);
    let (grow, filter) = match metric {
        Metric::Vmaf if times > 1 => {
            (format!(",scale=iw*{times}:ih*{times}:flags=neighbor"), format!("libvmaf=log_fmt=json:log_path={SCORES}:n_threads=1"))
        }
        Metric::Vmaf => (String::new(), format!("libvmaf=log_fmt=json:log_path={SCORES}:n_threads=1")),
        Metric::Ssim => (String::new(), format!("ssim=stats_file={SCORES}")),
    };
    let mut args = ffmpeg_global();
    args.extend(words("-threads 1 -filter_complex_threads 1"));
    args.extend(words(&format!("-protocol_whitelist file -f mp4 -i {PROBE} -threads 1 -protocol_whitelist file -f mp4 -i {REFERENCE}")));
    let even = format!("settb=1/25,setpts=N{grow}");
    args.extend(["-filter_complex".to_owned(), format!("[0:v]{even}[a];[1:v]{even}[b];[a][b]{filter}")]);
    args.extend(words("-f null -"));
    Command::new(ffmpeg, args)
}
