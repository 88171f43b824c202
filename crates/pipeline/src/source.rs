//! What the probe says of a source. The packet index is what plans are made of.

use serde::{Deserialize, Serialize};

use crate::{
    plan::{ByteRange, Colors, Role},
    timebase::TimeBase,
};

/// What the probe found, with the packet index of the video track.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceReport {
    /// ffprobe's `format_name`: `mov,mp4,m4a,3gp,3g2,mj2` or `matroska,webm`.
    pub container: String,
    /// Every video track in the order of the file; cover pictures are marked.
    pub video: Vec<VideoTrack>,
    pub audio: Vec<AudioTrack>,
    #[serde(default)]
    pub subtitles: Vec<SubtitleTrack>,
    /// Tracks that are none of these, as `index:type:codec`.
    pub other: Vec<String>,
    /// Byte position of the first packet of any track.
    pub first_packet_pos: Option<u64>,
    /// Byte position of the end of the last packet of any track.
    pub last_packet_end: Option<u64>,
    /// Of Matroska: the elements that a demuxer must see to come to the text, in order; what lies between them may be Void.
    /// Empty where that is not known.
    #[serde(default)]
    pub way_to_text: Vec<ByteRange>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VideoTrack {
    /// Stream index of the probe: used everywhere.
    pub index: u32,
    /// ffmpeg's codec name: `h264`, `hevc`.
    pub codec: String,
    pub time_base: TimeBase,
    /// Size of the decoded picture before rotation, without what the container cuts off, in pixels.
    pub width: u32,
    pub height: u32,
    /// Sample aspect ratio, width to height of one pixel; 1:1 where the source says nothing.
    pub sample_aspect: (u32, u32),
    /// Degrees counter-clockwise of the display matrix, as ffprobe prints it: 0, 90, -90, 180.
    pub rotation: i32,
    /// Empty if unknown.
    pub pix_fmt: String,
    /// `progressive`, `tt`, `bb`, `tb`, `bt`; empty if unknown.
    pub field_order: String,
    pub colors: Colors,
    /// Where the track has a configuration record of Dolby Vision.
    #[serde(default)]
    pub dolby_vision: Option<DolbyVision>,
    /// `disposition` says attached picture or timed thumbnails.
    pub cover: bool,
    /// Nominal frames per second (`r_frame_rate` or `avg_frame_rate`), 0 if unknown; for display only.
    pub frame_rate: f64,
    /// Its packets are fields, and which two are a picture is not told: a copy of it tells.
    #[serde(default)]
    pub fields_apart: bool,
    /// Its codec codes pictures in another order than they are shown.
    #[serde(default)]
    pub reorders: bool,
    /// In the order of the file (decoding order).
    pub packets: Vec<Packet>,
}

impl VideoTrack {
    /// Whether the source calls its pictures interlaced.
    pub fn says_fields(&self) -> bool {
        matches!(self.field_order.as_str(), "tt" | "bb" | "tb" | "bt")
    }
}

/// The configuration record of Dolby Vision, as far as it says whether other decoders show the picture right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DolbyVision {
    pub profile: u32,
    /// What the base layer is to other decoders: 0 nothing, 1 HDR10, 2 SDR, 4 HLG, 6 HDR10 of a disc.
    pub compatibility: u32,
}

/// One packet of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet {
    /// Ticks of the track's time base.
    pub pts: Option<i64>,
    pub dts: Option<i64>,
    /// Byte position in the source.
    pub pos: Option<u64>,
    /// Bytes.
    pub size: u32,
    /// Flag `K`.
    pub key: bool,
    /// It is a picture of its own that is shown: an edit list may say that one is only decoded (flag `D`), and the second field
    /// of a picture is shown with the first.
    pub shown: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AudioTrack {
    pub index: u32,
    /// Position among the audio tracks: ffmpeg's `0:a:N`.
    pub position: u32,
    pub codec: String,
    pub time_base: TimeBase,
    pub channels: u32,
    pub sample_rate: u32,
    /// ISO 639 as in the source; empty if unknown.
    pub language: String,
    /// Empty if there is none.
    #[serde(default)]
    pub title: String,
    #[serde(default)]
    pub default: bool,
    #[serde(default)]
    pub role: Role,
    /// PTS of the first packet that is played, ticks of `time_base` (packets discarded by an edit list do not count; AAC
    /// priming does, as ffmpeg shows it: see media layer).
    pub first_pts: Option<i64>,
    /// PTS + duration of the last packet, ticks.
    pub end_pts: Option<i64>,
    pub packets: u64,
    /// The longest stretch between two packets that none covers: from when on, and how long. Ticks.
    #[serde(default)]
    pub hole: Option<(i64, i64)>,
    /// Where its packets lie in the file, in the order of its times; neighbours are one.
    #[serde(default)]
    pub extents: Vec<ByteRange>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubtitleTrack {
    pub index: u32,
    /// Position among the subtitle tracks: ffmpeg's `0:s:N`.
    pub position: u32,
    /// ffmpeg's codec name: `subrip`, `ass`, `mov_text`, `webvtt`; pictures: `hdmv_pgs_subtitle`, `dvd_subtitle`, `dvb_subtitle`.
    pub codec: String,
    /// ISO 639 as in the source; empty if unknown.
    pub language: String,
    /// Empty if there is none.
    pub title: String,
    pub default: bool,
    pub forced: bool,
    pub role: Role,
    pub packets: u64,
    /// As [`AudioTrack::extents`].
    #[serde(default)]
    pub extents: Vec<ByteRange>,
}
