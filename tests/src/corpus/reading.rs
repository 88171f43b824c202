//! What a player sees and hears in a file: every picture's number and time, and when chirps begin.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::film::BITS;
use crate::{clips::ffmpeg, look};

/// Size that pictures are looked at in: every bit of a number is eight pixels wide and at least six high.
const WIDTH: usize = 8 * BITS as usize;
const HEIGHT: usize = 60;
/// Rows of the strip of numbers, whole and without its blurred edge.
const STRIP: usize = HEIGHT / 5;
const SURE_ROWS: std::ops::Range<usize> = 3..9;
/// Side of the squares that a look is made of.
const SQUARE: usize = 5;

/// Samples of the longest film.
const LONGEST: usize = 60 * 48_000;

/// One picture.
pub struct Picture {
    pub number: u32,
    /// Seconds on the file's clock.
    pub time: f64,
    /// Squares below the strip, mean luma.
    pub look: Vec<u8>,
}

/// A sound track on the clock of its file.
pub struct Sound {
    /// Seconds.
    pub start: f64,
    pub end: f64,
    /// Begins of chirps, seconds.
    pub chirps: Vec<f64>,
}

pub struct Reading {
    pub pictures: Vec<Picture>,
    /// Seconds.
    pub tick: f64,
    pub sound: Option<Sound>,
}

/// How to look at a file.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// The picture, as ffmpeg names tracks.
    pub track: &'static str,
    /// Filters that undo what was done to the picture, with a comma at the end.
    pub undo: &'static str,
    /// Its pictures are woven of two fields; the first field's counts.
    pub woven: bool,
    pub sound: bool,
}

impl Reading {
    /// Decodes all of a file in one go, by the clock that it has.
    pub fn of(file: &Path, view: View, scratch: &Path) -> Result<Self> {
        let path = |name: &str| scratch.join(name).to_string_lossy().into_owned();
        let [raw, times, samples, places] = ["pictures.raw", "pictures.txt", "sound.raw", "sound.txt"].map(path);
        let input = file.to_string_lossy();
        let fields = if view.woven { "yadif=mode=send_frame," } else { "" };
        let graph = format!("[{}]{fields}{}scale={WIDTH}:{HEIGHT}:flags=area,format=gray,split[raw][times]", view.track, view.undo);
        let mut args = vec!["-copyts", "-i", &input, "-filter_complex", &graph, "-map", "[raw]", "-fps_mode", "passthrough"];
        args.extend(["-f", "rawvideo", &raw, "-map", "[times]", "-fps_mode", "passthrough", "-enc_time_base", "demux"]);
        args.extend(["-f", "framecrc", &times]);
        if view.sound {
            let pcm = ["-map", "0:a:0", "-ac", "1", "-ar", "48000", "-c:a", "pcm_f32le"];
            args.extend(pcm.into_iter().chain(["-f", "f32le", &samples]).chain(pcm).chain(["-f", "framecrc", &places]));
        }
        ffmpeg(&args)?;
        let (tick, listed) = listed(&times)?;
        let bytes = std::fs::read(&raw)?;
        let frames = bytes.chunks_exact(WIDTH * HEIGHT);
        ensure!(frames.len() == listed.len(), "{} pictures and {} times", frames.len(), listed.len());
        let picture =
            |(frame, (pts, _)): (&[u8], &(i64, i64))| Picture { number: number(frame), time: seconds(*pts, tick), look: squares(frame) };
        let pictures = frames.zip(&listed).map(picture).collect();
        Ok(Self { pictures, tick, sound: view.sound.then(|| sound(&samples, &places)).transpose()? })
    }

    /// The first picture or the first sound.
    pub fn origin(&self) -> f64 {
        let sound = self.sound.as_ref().map_or(f64::MAX, |sound| sound.start);
        self.pictures.first().map_or(f64::MAX, |picture| picture.time).min(sound)
    }
}

#[expect(clippy::cast_precision_loss, reason = "times of a short clip")]
fn seconds(ticks: i64, tick: f64) -> f64 {
    ticks as f64 * tick
}

/// Seconds per tick, and time and size of every line of ffmpeg's `framecrc`.
fn listed(file: &str) -> Result<(f64, Vec<(i64, i64)>)> {
    let text = std::fs::read_to_string(file)?;
    let base = text.lines().find_map(|line| line.strip_prefix("#tb 0: ")).context("no time base")?;
    let (num, den) = base.split_once('/').context("time base")?;
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let mut fields = line.split(',').map(str::trim).skip(2);
        let mut next = || fields.next().and_then(|field| field.parse().ok()).with_context(|| line.to_owned());
        let pts = next()?;
        let _duration = next()?;
        Ok((pts, next()?))
    });
    Ok((num.parse::<f64>()? / den.parse::<f64>()?, lines.collect::<Result<_>>()?))
}

/// The samples, each packet at its own time, silence between them.
fn sound(samples: &str, places: &str) -> Result<Sound> {
    let (tick, places) = listed(places)?;
    let bytes = std::fs::read(samples)?;
    let first = places.first().context("no sound")?.0;
    let (mut track, mut from) = (Vec::<f32>::new(), 0);
    for (pts, size) in places {
        let (at, size) = (usize::try_from((pts - first).max(0))?, usize::try_from(size)?);
        let packet = bytes.get(from..from + size).context("fewer samples than listed")?;
        from += size;
        // Behind a jump of the clock: another time altogether.
        if at > LONGEST {
            continue;
        }
        track.resize(track.len().max(at + size / 4), 0.0);
        let values = packet.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        track[at..].iter_mut().zip(values).for_each(|(place, value)| *place = value);
    }
    let start = seconds(first, tick);
    Ok(Sound { start, end: start + seconds(i64::try_from(track.len())?, tick), chirps: look::chirps(start, &track) })
}

/// What the strip says.
fn number(frame: &[u8]) -> u32 {
    let bit = |bit: usize| {
        let inside = SURE_ROWS.flat_map(|row| (2..6).map(move |column| row * WIDTH + 8 * bit + column));
        let sum: u32 = inside.map(|at| u32::from(frame[at])).sum();
        u32::from(sum > 24 * 126) << bit
    };
    (0..BITS as usize).map(bit).sum()
}

fn squares(frame: &[u8]) -> Vec<u8> {
    let rows = (STRIP + 3..=HEIGHT - SQUARE).step_by(SQUARE);
    let corners = rows.flat_map(|row| (0..=WIDTH - SQUARE).step_by(SQUARE).map(move |column| row * WIDTH + column));
    let mean = |corner: usize| {
        let sum: usize = (0..SQUARE * SQUARE).map(|at| usize::from(frame[corner + at / SQUARE * WIDTH + at % SQUARE])).sum();
        u8::try_from(sum / (SQUARE * SQUARE)).unwrap_or(u8::MAX)
    };
    corners.map(mean).collect()
}
