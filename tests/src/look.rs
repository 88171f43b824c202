//! Reads videos with the layer's ffprobe and ffmpeg, whole and in order: the judge of the pipeline's work.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};

fn output(program: &str, args: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new(crate::tool(program)).args(["-v", "error"]).args(args).output()?;
    ensure!(output.status.success(), "{program} {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

fn lines(program: &str, args: &[&str]) -> Result<Vec<String>> {
    Ok(String::from_utf8(output(program, args)?)?.lines().map(|l| l.trim_end_matches(',').to_owned()).filter(|l| !l.is_empty()).collect())
}

/// Times of all frames of a track as a decoder shows them, seconds.
pub fn frame_times(file: &Path, track: &str) -> Result<Vec<f64>> {
    let file = file.to_string_lossy();
    let args = ["-select_streams", track, "-show_frames", "-show_entries", "frame=pts_time", "-of", "csv=p=0", &file];
    lines("ffprobe", &args)?
        .iter()
        .map(|l| l.split(',').next().unwrap_or("").parse().with_context(|| format!("frame time `{l}`")))
        .collect()
}

/// Pixel format, range, matrix, transfer and primaries of a file's picture, as ffprobe names them.
pub fn colors(file: &Path) -> Result<String> {
    let fields = "stream=pix_fmt,color_range,color_space,color_transfer,color_primaries";
    let file = file.to_string_lossy();
    Ok(lines("ffprobe", &["-select_streams", "v:0", "-show_entries", fields, "-of", "csv=p=0", &file])?.join(" "))
}

/// Times of all pictures of a file of ours, seconds: of its packets where the layer's ffprobe has no decoder (AV1).
pub fn picture_times(file: &Path, codec: &str) -> Result<Vec<f64>> {
    if !codec.starts_with("av01") {
        return frame_times(file, "v:0");
    }
    let file = file.to_string_lossy();
    let args = ["-select_streams", "v:0", "-show_entries", "packet=pts_time", "-of", "csv=p=0", &file];
    let mut times =
        lines("ffprobe", &args)?.iter().map(|l| l.parse().with_context(|| format!("packet time `{l}`"))).collect::<Result<Vec<f64>>>()?;
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// Presentation times of a track's packets in display order, ticks; and of its keyframes.
pub fn packet_times(file: &Path) -> Result<(Vec<i64>, Vec<i64>)> {
    let file = file.to_string_lossy();
    let args = ["-select_streams", "v:0", "-show_entries", "packet=pts,flags", "-of", "csv=p=0", &file];
    let (mut all, mut keys) = (Vec::new(), Vec::new());
    for line in lines("ffprobe", &args)? {
        let (pts, flags) = line.split_once(',').context("packet line")?;
        let pts = pts.parse()?;
        all.push(pts);
        if flags.starts_with('K') {
            keys.push(pts);
        }
    }
    all.sort_unstable();
    keys.sort_unstable();
    Ok((all, keys))
}

/// One packet of a picture.
pub struct Packet {
    /// Ticks.
    pub pts: i64,
    pub key: bool,
    /// Byte of the file.
    pub pos: u64,
}

/// The picture's packets in the order of the file.
pub fn packets(file: &Path) -> Result<Vec<Packet>> {
    let file = file.to_string_lossy();
    let args = ["-select_streams", "v:0", "-show_entries", "packet=pts,pos,flags", "-of", "csv=p=0", &file];
    let packet = |line: &String| {
        let mut fields = line.split(',');
        let mut next = || fields.next().with_context(|| line.clone());
        Ok(Packet { pts: next()?.parse()?, pos: next()?.parse()?, key: next()?.starts_with('K') })
    };
    lines("ffprobe", &args)?.iter().map(packet).collect()
}

/// Seconds per tick of the video track.
pub fn tick(file: &Path) -> Result<f64> {
    let file = file.to_string_lossy();
    let text = lines("ffprobe", &["-select_streams", "v:0", "-show_entries", "stream=time_base", "-of", "csv=p=0", &file])?;
    let (num, den) = text.first().context("no time base")?.split_once('/').context("time base")?;
    Ok(num.parse::<f64>()? / den.parse::<f64>()?)
}

const SIDE: (usize, usize) = (32, 18);

/// Every shown frame as 32×18 luma.
pub fn thumbnails(file: &Path) -> Result<Vec<Vec<u8>>> {
    let file = file.to_string_lossy();
    // In two steps: one step down from different sizes samples different places, and sizes are what is compared here.
    let filter = format!("scale=320:180:flags=area,scale={}:{}:flags=area,format=gray", SIDE.0, SIDE.1);
    let args = ["-copyts", "-i", &file, "-map", "0:v:0", "-fps_mode", "passthrough", "-vf", &filter, "-f", "rawvideo", "-"];
    Ok(output("ffmpeg", &args)?.chunks_exact(SIDE.0 * SIDE.1).map(<[u8]>::to_vec).collect())
}

/// Mean absolute difference of two thumbnails.
pub fn difference(a: &[u8], b: &[u8]) -> f64 {
    let sum: u32 = a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
    f64::from(sum) / f64::from(u32::try_from(a.len().max(1)).unwrap_or(u32::MAX))
}

/// Each frame of `made` shows the frame of `source` at its index, and no neighbour better.
pub fn same_pictures(source: &[Vec<u8>], made: &[Vec<u8>]) -> Result<()> {
    ensure!(source.len() == made.len(), "{} frames, the source shows {}", made.len(), source.len());
    for (index, frame) in made.iter().enumerate() {
        let own = difference(&source[index], frame);
        ensure!(own < 8.0, "frame {index} differs from the source's by {own:.1}");
        for near in [index.wrapping_sub(1), index + 1] {
            let Some(other) = source.get(near) else { continue };
            // Neighbours that are alike prove nothing.
            if difference(other, &source[index]) > 2.0 && difference(other, frame) < own {
                bail!("frame {index} looks like the source's frame {near}");
            }
        }
    }
    Ok(())
}

/// The sound as mono samples at 48 kHz, and the time of the first, seconds.
pub fn sound(file: &Path) -> Result<(f64, Vec<f32>)> {
    let start = *frame_times(file, "a:0")?.first().context("no sound")?;
    let file = file.to_string_lossy();
    let bytes = output("ffmpeg", &["-i", &file, "-map", "0:a:0", "-ac", "1", "-ar", "48000", "-f", "f32le", "-"])?;
    Ok((start, bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()))
}

/// Times at which chirps begin, seconds: where the signal correlates best with a chirp, one per burst.
pub fn chirps(start: f64, samples: &[f32]) -> Vec<f64> {
    const RATE: f64 = 48_000.0;
    const COARSE: usize = 6;
    #[expect(clippy::cast_possible_truncation, reason = "samples between -1 and 1")]
    let model: Vec<f32> =
        (0..3840).map(|n| f64::from(n) / RATE).map(|t| (2.0 * std::f64::consts::PI * (400.0 + 9000.0 * t) * t).sin() as f32).collect();
    let loud = |at: usize| samples.get(at..at + 48).is_some_and(|w| w.iter().map(|s| s * s).sum::<f32>() > 0.5);
    let mut found = Vec::new();
    let mut at = 0;
    while at + model.len() < samples.len() {
        if !loud(at) {
            at += 48;
            continue;
        }
        let from = at.saturating_sub(480);
        let score = |lag: usize| samples[lag..].iter().zip(&model).map(|(s, m)| f64::from(s * m)).sum::<f64>();
        let best_of = |lags: std::ops::Range<usize>, step: usize| {
            let lags = lags.step_by(step).filter(|lag| lag + model.len() <= samples.len());
            lags.map(|lag| (score(lag), lag)).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, lag)| lag)
        };
        // A period of the chirp has 26 samples at least, and only its own place fits all of them: no step misses that.
        let near = best_of(from..from + 960, COARSE).unwrap_or(at);
        let best = best_of(near.saturating_sub(COARSE)..near + COARSE, 1);
        #[expect(clippy::cast_precision_loss, reason = "sample counts of a short clip")]
        found.push(start + best.unwrap_or(at) as f64 / RATE);
        at += 48_000;
    }
    found
}

/// Times of white frames, seconds.
pub fn flashes(file: &Path) -> Result<Vec<f64>> {
    let times = frame_times(file, "v:0")?;
    let bright = thumbnails(file)?;
    ensure!(times.len() == bright.len(), "{} times and {} pictures", times.len(), bright.len());
    Ok(times.iter().zip(&bright).filter(|(_, p)| p.iter().map(|b| u32::from(*b)).sum::<u32>() > 32 * 18 * 128).map(|(t, _)| *t).collect())
}

/// A value of the first stream of sound, or of the container, as ffprobe prints it.
fn entry(file: &Path, what: &str) -> Result<String> {
    let file = file.to_string_lossy();
    let found = lines("ffprobe", &["-select_streams", "a:0", "-show_entries", what, "-of", "csv=p=0", &file])?;
    found.into_iter().next().with_context(|| format!("{what} is not told"))
}

/// Length that a file tells, seconds.
pub fn duration(file: &Path) -> Result<f64> {
    Ok(entry(file, "format=duration")?.parse()?)
}

/// The language of a file's sound.
pub fn language(file: &Path) -> Result<String> {
    entry(file, "stream_tags=language")
}

/// Kinds of a file's streams.
pub fn streams(file: &Path) -> Result<Vec<String>> {
    lines("ffprobe", &["-show_entries", "stream=codec_type", "-of", "csv=p=0", &file.to_string_lossy()])
}

/// What the meter of EBU R 128 says: integrated loudness, LUFS, and true peak, dBTP.
pub fn loudness(file: &Path) -> Result<(f64, f64)> {
    let mut command = Command::new(crate::tool("ffmpeg"));
    command.args(["-hide_banner", "-nostats", "-nostdin", "-i"]).arg(file);
    let output = command.args(["-map", "0:a:0", "-af", "ebur128=peak=true", "-f", "null", "-"]).output()?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let summary = log.rsplit("Summary:").next().unwrap_or_default();
    let number = |name: &str| -> Result<f64> {
        let line = summary.lines().find_map(|line| line.trim().strip_prefix(name)).with_context(|| format!("no {name} in {summary}"))?;
        Ok(line.split_ascii_whitespace().next().context("no number")?.parse()?)
    };
    Ok((number("I:")?, number("Peak:")?))
}

/// The sound at 48 kHz, a list of samples for each channel.
pub fn channels(file: &Path, count: usize) -> Result<Vec<Vec<f32>>> {
    let name = file.to_string_lossy();
    let told = entry(file, "stream=channels")?;
    ensure!(told == count.to_string(), "{told} channels");
    let bytes = output("ffmpeg", &["-i", &name, "-map", "0:a:0", "-ar", "48000", "-f", "f32le", "-"])?;
    let all: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    Ok((0..count).map(|channel| all.iter().skip(channel).step_by(count).copied().collect()).collect())
}

/// Mean level, dB of full scale.
#[expect(clippy::cast_precision_loss, reason = "sample counts of a short clip")]
pub fn decibels(samples: &[f32]) -> f64 {
    let sum: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    10.0 * (sum / samples.len() as f64).max(1e-20).log10()
}

/// Level of a tone, dB of full scale: its part of the Fourier transform.
#[expect(clippy::cast_precision_loss, reason = "sample counts of a short clip")]
pub fn tone(samples: &[f32], hertz: f64) -> f64 {
    let turn = 2.0 * std::f64::consts::PI * hertz / 48_000.0;
    let (re, im) = samples.iter().enumerate().fold((0.0, 0.0), |(re, im), (at, sample)| {
        let (sin, cos) = (turn * at as f64).sin_cos();
        (re + f64::from(*sample) * cos, im + f64::from(*sample) * sin)
    });
    20.0 * (2.0 * re.hypot(im) / samples.len() as f64).max(1e-10).log10()
}
