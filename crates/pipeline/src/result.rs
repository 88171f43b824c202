//! What a task leaves behind once it is done: the committed record. Only names that stand here are ever published.

use serde::{Deserialize, Serialize};

use crate::{encoder::MadeSegment, loudness::Loudness, quality::Quality, samples::SampleTable};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum TaskResult {
    Split,
    Chunk {
        renditions: Vec<TrackRecord>,
        cost: Cost,
        /// Why its pictures are black: the source's cannot be decoded, and the profile takes a part for the whole.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lost: Option<String>,
        /// Of a profile with a target quality.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quality: Option<Quality>,
    },
    Audio {
        track: TrackRecord,
        cost: Cost,
        /// Stretches of silence where nothing could be decoded, microseconds from T0; likewise.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lost: Vec<(i64, i64)>,
    },
    Stills {
        files: Vec<StillRecord>,
        /// Pictures that could not be decoded alone: the one before stands for each.
        repeated: u32,
        cost: Cost,
        /// Why there are none: nothing of them can be decoded, and the profile takes a part for the whole.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lost: Option<String>,
    },
    Text {
        /// In the order of the plan.
        tracks: Vec<TextRecord>,
        cost: Cost,
    },
    Merge,
}

impl TaskResult {
    /// Of tasks that handle no media: nothing.
    pub fn cost(&self) -> Cost {
        match self {
            Self::Chunk { cost, .. } | Self::Audio { cost, .. } | Self::Stills { cost, .. } | Self::Text { cost, .. } => *cost,
            Self::Split | Self::Merge => Cost::default(),
        }
    }
}

/// One stored picture file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StillRecord {
    /// As it is published.
    pub name: String,
    /// Where the attempt stored it.
    pub key: String,
    pub bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
}

/// What became of one text track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "kebab-case")]
pub enum TextRecord {
    /// A `WebVTT` file of the whole film.
    Made(TextFile),
    /// Nothing of it can be shown: a film does not fail for a subtitle.
    LeftOut {
        /// For the receipt: `it holds no text`.
        reason: String,
    },
}

/// One stored `WebVTT` file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextFile {
    pub key: String,
    pub bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
    /// Cues in it.
    pub cues: u32,
    /// Cues of the source that are not in it: outside of the film, of no length, or without text.
    pub dropped: u32,
    /// The decoder could not read all of the track.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub damaged: bool,
}

/// The segments of one rendition that one task made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackRecord {
    pub rendition: String,
    /// RFC 6381.
    pub codec: String,
    /// sha256 of the init segment: one for all chunks of a rendition.
    pub init_sha256: String,
    /// The init segment itself, base64: in the first chunk's record and in the audio's only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// Audio only: samples a second, the time scale of the segments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_rate: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<u32>,
    /// Audio only: how it was brought to the profile's level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loudness: Option<Loudness>,
    pub segments: Vec<SegmentRecord>,
    /// Where the records of the segments are, if they are too large for the ledger: `segments` is empty then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<Listing>,
}

impl TrackRecord {
    /// Bytes of all segments.
    pub fn segments_bytes(&self) -> u64 {
        let listed = self.listing.as_ref().map_or(0, |listing| listing.segments_bytes);
        self.segments.iter().map(|segment| segment.bytes).sum::<u64>() + listed
    }
}

/// An object beside the segments that holds their records, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    pub key: String,
    /// Lower-case hex.
    pub sha256: String,
    /// Bytes of the segments, for sums that need not read them.
    pub segments_bytes: u64,
}

/// One stored segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRecord {
    pub key: String,
    pub bytes: u64,
    pub sha256: String,
    /// First PTS from T0, ticks.
    pub start: i64,
    /// Ticks, as coded.
    pub duration: i64,
    pub frames: u32,
    /// What the index of an MP4 says of them.
    #[serde(default)]
    pub samples: SampleTable,
}

impl SegmentRecord {
    pub fn new(key: String, made: &MadeSegment) -> Self {
        Self {
            key,
            bytes: made.bytes,
            sha256: made.sha256.clone(),
            start: made.start,
            duration: made.duration,
            frames: made.frames,
            samples: made.samples.clone(),
        }
    }
}

/// What the task used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Bytes read from the source.
    pub read_bytes: u64,
    /// Bytes stored.
    pub stored_bytes: u64,
    /// Wall milliseconds of the attempt that was committed.
    pub wall_ms: u64,
}
