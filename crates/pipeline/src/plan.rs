//! The plan: immutable, made once by `split` from the packet index, obeyed by every worker.

use serde::{Deserialize, Serialize};

use crate::timebase::TimeBase;

/// Version of the plan's and the messages' shape. A message of a newer schema is returned, never dead-lettered.
pub const SCHEMA: u32 = 1;

/// What all tasks of a job share. Chunks stand apart (see [`Chunk`]): a worker needs only its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub schema: u32,
    /// sha256 of the ffmpeg layer that planned; a worker with another starts the next generation.
    pub layer: String,
    pub profile: Profile,
    /// Bytes of the source.
    pub source_bytes: u64,
    pub container: String,
    pub video: Option<VideoPlan>,
    pub audio: Vec<AudioPlan>,
    /// Number of chunks.
    pub chunks: u32,
    /// What was left out, for the receipt: one line each.
    pub left_out: Vec<String>,
}

/// How renditions are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    pub name: String,
    /// x264's preset.
    pub preset: String,
    pub crf: u32,
    /// Target length of a chunk and of a segment, milliseconds.
    pub chunk_ms: u32,
    /// Distance of keyframes, milliseconds.
    pub gop_ms: u32,
    /// Rungs by short side, tallest first.
    pub ladder: Vec<Rung>,
    /// Bits per second.
    pub audio_bitrate: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// Pixels of the short side.
    pub short_side: u32,
    /// Bits per second.
    pub maxrate: u32,
    /// Bits.
    pub bufsize: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VideoPlan {
    /// Stream index of the source.
    pub index: u32,
    pub codec: String,
    /// Of the source track; the outputs keep it.
    pub time_base: TimeBase,
    /// T0 in ticks of `time_base`, rounded: subtracted from every PTS (media.md "one origin").
    pub origin: i64,
    /// Shown frames of the whole source.
    pub frames: u64,
    /// First shown PTS and end of the last frame, ticks from T0. The last frame lasts as long as the one before it.
    pub start: i64,
    pub end: i64,
    /// Nominal frames per second, for display.
    pub frame_rate: f64,
    pub renditions: Vec<Rendition>,
}

/// One video rung of the ladder as it will be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rendition {
    /// `720p`
    pub name: String,
    /// Even pixels, after rotation, square samples.
    pub width: u32,
    pub height: u32,
    /// Bits per second.
    pub maxrate: u32,
    /// Bits.
    pub bufsize: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AudioPlan {
    /// `audio`, or `audio-2` … for further tracks.
    pub name: String,
    pub index: u32,
    /// ffmpeg's `0:a:N`.
    pub position: u32,
    pub language: String,
    pub time_base: TimeBase,
    /// T0 in microseconds of the source's clock: subtracted from every PTS.
    pub origin_us: i64,
    /// First and last instant of the track from T0, microseconds.
    pub start_us: i64,
    pub end_us: i64,
    /// Bits per second of the output.
    pub bitrate: u32,
}

/// A stretch of the source's timeline that one task encodes, in all renditions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    pub number: u32,
    /// Number of its first segment; it yields `segments.len()`.
    pub first_segment: u32,
    /// Boundary below its first frame and below the first frame of the next chunk, microseconds of the **source's** clock
    /// (not from T0): trim's `start` and `end`. The last chunk has no end.
    pub start_us: i64,
    pub end_us: Option<i64>,
    /// Where ffmpeg seeks to, microseconds of the source's clock; `None`: reads from the start.
    pub seek_us: Option<i64>,
    /// PTS of every frame from T0, ticks.
    pub times: FrameTimes,
    /// Frame indexes within the chunk that must be keyframes; the first is 0.
    pub keyframes: Vec<u32>,
    /// Frame indexes within the chunk at which a segment starts; the first is 0; each is a keyframe.
    pub segments: Vec<u32>,
    /// Bytes of the source that the decoder needs, in order, not touching.
    pub ranges: Vec<ByteRange>,
}

/// `start..end`, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub struct ByteRange {
    pub start: u64,
    pub end: u64,
}
impl From<(u64, u64)> for ByteRange {
    fn from((start, end): (u64, u64)) -> Self {
        Self { start, end }
    }
}
impl From<ByteRange> for (u64, u64) {
    fn from(range: ByteRange) -> Self {
        (range.start, range.end)
    }
}
impl ByteRange {
    pub fn len(self) -> u64 {
        self.end.saturating_sub(self.start)
    }
    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }
}

/// A list of strictly increasing times, stored as runs of equal differences: constant frame rate is one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameTimes {
    /// First PTS, ticks.
    first: i64,
    /// `(difference, how often)`.
    runs: Vec<(i64, u32)>,
}

impl FrameTimes {
    /// `None` for an empty list.
    pub fn new(times: &[i64]) -> Option<Self> {
        let first = *times.first()?;
        let mut runs: Vec<(i64, u32)> = Vec::new();
        for pair in times.windows(2) {
            let difference = pair[1] - pair[0];
            match runs.last_mut() {
                Some((last, count)) if *last == difference => *count += 1,
                _ => runs.push((difference, 1)),
            }
        }
        Some(Self { first, runs })
    }
    pub fn first(&self) -> i64 {
        self.first
    }
    /// Number of frames, at least 1.
    pub fn count(&self) -> u32 {
        self.runs.iter().fold(1u32, |sum, (_, count)| sum.saturating_add(*count))
    }
    /// All times, ticks.
    pub fn iter(&self) -> impl Iterator<Item = i64> + '_ {
        let differences = self.runs.iter().flat_map(|(difference, count)| std::iter::repeat_n(*difference, *count as usize));
        std::iter::once(self.first).chain(differences.scan(self.first, |at, difference| {
            *at = at.saturating_add(difference);
            Some(*at)
        }))
    }
    pub fn last(&self) -> i64 {
        self.runs.iter().fold(self.first, |at, (difference, count)| at.saturating_add(difference.saturating_mul(i64::from(*count))))
    }
}
