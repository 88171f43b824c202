//! What a plan will cost, before anything runs; and what a job did cost (`expense.rs`). Pure.
//!
//! CPU-seconds are pixels × frames × a factor of codec and preset, and the decoding. The factors were measured once with
//! one film (`factors.json`, made by `bench/factors.py`); another machine is so many times slower or faster. A film is
//! easier or harder than that one, by a third and more: figures are for choosing and budgeting, never for billing.

mod expense;
mod lambda;
mod schedule;

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;

use crate::{
    plan::{AudioPlan, Chunk, Plan, Rendition, VideoCodec, VideoPlan},
    quality,
    stills::StillsPlan,
    timebase::TimeBase,
};

pub use expense::{Basis, Charge, Estimate, Expense, LostExpense, StageExpense, Tally, architecture};
pub use lambda::{Bill, Memory, Prices, rough_usd};
pub use schedule::{longest_first, makespan};

/// CPU-seconds that a chunk costs beside its pictures: a process starts, every encoder makes ready.
const CHUNK_START: f64 = 0.15;
/// CPU-seconds for a second of sound, decoded and encoded as AAC (docs/benchmarks.md: 0.96 for 60 s).
const SOUND: f64 = 0.016;
/// The same with a meter before and one after (docs/decisions/0024): times as much.
const METERS: f64 = 1.6;
/// What the platform, the functions and the merge take on top of the encoders on one machine (docs/benchmarks.md: 4.96 of
/// 116.5).
pub const AROUND: f64 = 0.043;
/// Encodes that a target quality takes for a chunk, usually.
const PROBES: f64 = 3.0;
/// CPU-seconds of VMAF for a million pixels.
const VMAF: f64 = 0.03;
/// CPU-seconds of one process that decodes, scales and writes one picture, beside the decoding.
const STILL_START: f64 = 0.03;
/// A preset or codec that was not measured costs this many times the slowest that was.
const UNKNOWN: f64 = 2.0;

/// CPU-seconds for a million pixels, by what is done with them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Factors {
    /// By the profile's codec, then by its preset.
    encode: BTreeMap<String, BTreeMap<String, f64>>,
    /// By ffmpeg's name of the source's codec.
    decode: BTreeMap<String, f64>,
    /// For every pixel that a scaler reads.
    scale: f64,
    deinterlace: f64,
    /// CPU-seconds that the clip of `media`'s calibration took on the machine of the measurement.
    pub calibration: f64,
}

impl Factors {
    /// As measured.
    pub fn built_in() -> &'static Self {
        static FACTORS: LazyLock<Factors> = LazyLock::new(|| serde_json::from_str(include_str!("factors.json")).unwrap_or_default());
        &FACTORS
    }

    /// How much slower than the machine of the measurement one is that took `seconds` for the calibration's clip.
    pub fn slowness(&self, seconds: f64) -> f64 {
        let slowness = seconds / self.calibration;
        if slowness.is_finite() && slowness > 0.0 { slowness } else { 1.0 }
    }

    fn encode(&self, codec: VideoCodec, preset: &str) -> f64 {
        let name = match codec {
            VideoCodec::H264 => "h264",
            VideoCodec::Hevc => "hevc",
            VideoCodec::Av1 => "av1",
            VideoCodec::Vp9 => "vp9",
        };
        self.encode.get(name).map_or(0.0, |presets| known(presets, preset))
    }
}

fn known(factors: &BTreeMap<String, f64>, name: &str) -> f64 {
    factors.get(name).copied().unwrap_or_else(|| UNKNOWN * factors.values().copied().fold(0.0, f64::max))
}

/// What the parts of one plan cost on one machine.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    plan: &'a Plan,
    factors: &'a Factors,
    /// Pixels of a picture of the source.
    source_pixels: u64,
    /// Relative to the machine of the measurement.
    slowness: f64,
}

impl<'a> Model<'a> {
    pub fn new(plan: &'a Plan, source_pixels: u64, slowness: f64) -> Self {
        Self { plan, factors: Factors::built_in(), source_pixels, slowness }
    }

    /// Where only the order of costs counts: of a source as large as its largest rendition.
    pub fn relative(plan: &'a Plan) -> Self {
        let pixels = |r: &Rendition| u64::from(r.width) * u64::from(r.height);
        let largest = plan.video.iter().flat_map(|v| &v.renditions).map(pixels).max().unwrap_or(0);
        Self::new(plan, largest, 1.0)
    }

    /// The same on a machine of another speed.
    #[must_use]
    pub fn at(self, slowness: f64) -> Self {
        Self { slowness, ..self }
    }

    /// CPU-seconds of one chunk: everything its task does with pictures.
    pub fn chunk(&self, chunk: &Chunk) -> f64 {
        let Some(video) = &self.plan.video else { return 0.0 };
        let frames = f64::from(chunk.times.count());
        let decoded = frames + lead(video, chunk);
        let source = millions(self.source_pixels);
        let mut pictures = decoded * source * known(&self.factors.decode, &video.codec);
        if video.deinterlace {
            pictures += decoded * source * self.factors.deinterlace;
        }
        pictures += frames * self.picture(video);
        (CHUNK_START + pictures + self.probes(video, chunk)) * self.slowness
    }

    /// CPU-seconds of so many seconds of film, at its nominal rate.
    pub fn seconds(&self, seconds: f64) -> f64 {
        let Some(video) = &self.plan.video else { return 0.0 };
        let source = millions(self.source_pixels);
        let decode = source * known(&self.factors.decode, &video.codec);
        let fields = if video.deinterlace { source * self.factors.deinterlace } else { 0.0 };
        seconds * video.frame_rate.max(1.0) * (decode + fields + self.picture(video)) * self.slowness
    }

    /// CPU-seconds of one picture in all renditions, decoded already.
    fn picture(&self, video: &VideoPlan) -> f64 {
        let encode = self.factors.encode(self.plan.profile.codec, &self.plan.profile.preset);
        let each = |r: &Rendition| {
            let pixels = u64::from(r.width) * u64::from(r.height);
            let scaled = if pixels == self.source_pixels { 0.0 } else { millions(self.source_pixels) * self.factors.scale };
            millions(pixels) * encode + scaled
        };
        video.renditions.iter().map(each).sum()
    }

    /// CPU-seconds in which a chunk looks for its CRF.
    fn probes(&self, video: &VideoPlan, chunk: &Chunk) -> f64 {
        let (Some(_), Some(largest)) = (&self.plan.profile.target, video.renditions.first()) else { return 0.0 };
        let samples: f64 = quality::windows(chunk.times.count()).iter().map(|w| f64::from(w.end - w.start)).sum();
        let pixels = millions(u64::from(largest.width) * u64::from(largest.height));
        samples * pixels * PROBES * (self.factors.encode(self.plan.profile.codec, &self.plan.profile.preset) + VMAF)
    }

    /// CPU-seconds of one audio track.
    pub fn audio(&self, audio: &AudioPlan) -> f64 {
        let length = TimeBase::MICROS.seconds((audio.end_us - audio.start_us.min(0)).max(0));
        let meters = if self.plan.profile.loudness.is_some() { METERS } else { 1.0 };
        length * SOUND * meters * f64::from(audio.channels.max(1)) / 2.0 * self.slowness
    }

    /// CPU-seconds of the pictures beside the film: single ones, and the decoding of what is previewed.
    pub fn stills(&self, stills: &StillsPlan) -> f64 {
        let Some(video) = &self.plan.video else { return 0.0 };
        let picture = millions(self.source_pixels) * (known(&self.factors.decode, &video.codec) + self.factors.scale);
        let single = if stills.poster.is_some() || stills.sprite.is_some() { f64::from(stills.pictures.count()) } else { 0.0 };
        let moving = if stills.preview.is_some() { f64::from(stills.window.times.count()) + lead(video, &stills.window) } else { 0.0 };
        (single * (STILL_START + picture) + moving * picture) * self.slowness
    }
}

/// Pictures that a chunk's decoder reads before the first one that it wants.
fn lead(video: &VideoPlan, chunk: &Chunk) -> f64 {
    let before = match chunk.seek_us {
        Some(seek) => TimeBase::MICROS.seconds(chunk.start_us - seek),
        None => video.time_base.seconds(chunk.times.first() - video.start),
    };
    (before * video.frame_rate).max(0.0)
}

#[expect(clippy::cast_precision_loss, reason = "pixels of a picture")]
fn millions(pixels: u64) -> f64 {
    pixels as f64 / 1e6
}

#[cfg(test)]
pub(crate) mod tests;
