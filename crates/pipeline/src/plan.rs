//! The plan: immutable, made once by `split` from the packet index, obeyed by every worker.

use serde::{Deserialize, Serialize};

pub use crate::times::FrameTimes;
use crate::{color::Conversion, excerpt::Excerpt, id::TaskId, stills::StillsPlan, task::Work, timebase::TimeBase};

/// Version of the plan's and the messages' shape. A message of a newer schema is returned, never dead-lettered.
pub const SCHEMA: u32 = 1;

/// What all tasks of a job share. Chunks stand apart (see [`Chunk`]): a worker needs only its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub schema: u32,
    /// What the planner's [`Encoder::layer`](crate::encoder::Encoder::layer) was; a worker with another starts the next generation.
    pub layer: String,
    pub profile: Profile,
    /// Bytes of the source.
    pub source_bytes: u64,
    pub container: String,
    /// `None`: an audio-only job.
    pub video: Option<VideoPlan>,
    pub audio: Vec<AudioPlan>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subtitles: Vec<SubtitlePlan>,
    /// What of the source the task of the subtitles reads; `None`: the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Excerpt>,
    /// Pictures beside the film, where the profile asks for some and there is a picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stills: Option<Box<StillsPlan>>,
    /// The upload ends before the film does, and why that is known; only where the profile takes a part for the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_short: Option<CutShort>,
    /// Set where the source was remuxed once, for its timestamps or its missing index: everything in the plan (indexes,
    /// times, byte ranges, `source_bytes`, `container`) speaks of this object instead of the upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalized: Option<Normalized>,
    /// Number of chunks.
    pub chunks: u32,
    /// What was left out, for the receipt: one line each.
    pub left_out: Vec<String>,
}

impl Plan {
    /// A damaged film is saved as far as it can be.
    pub fn takes_a_part(&self) -> bool {
        self.profile.on_damage == OnDamage::Partial
    }
    /// Length of the film from its first picture to the end of its last one; of the sound where there is no picture. Seconds.
    pub fn seconds(&self) -> f64 {
        let sound = || self.audio.iter().map(AudioPlan::until_us).max().unwrap_or(0).max(0);
        self.video.as_ref().map_or_else(|| TimeBase::MICROS.seconds(sound()), |v| v.time_base.seconds(v.end - v.start))
    }
    /// The tasks beside the chunks that make a part of the result, in the order of the done set.
    pub fn beside_chunks(&self) -> Vec<(TaskId, Work)> {
        let tracks = 0..u32::try_from(self.audio.len()).unwrap_or(u32::MAX);
        let audio = tracks.map(|track| (TaskId::Audio(track), Work::Audio { track }));
        let stills = self.stills.iter().map(|_| (TaskId::Stills, Work::Stills));
        let text = (!self.subtitles.is_empty()).then_some((TaskId::Text, Work::Text));
        audio.chain(text).chain(stills).collect()
    }
    /// From T0 to where picture and sound have ended, microseconds.
    pub fn length_us(&self) -> i64 {
        let picture = self.video.as_ref().map_or(0, |video| video.time_base.rescale(video.end, TimeBase::MICROS));
        self.audio.iter().map(|track| track.end_us).fold(picture, i64::max)
    }
    /// Bytes that the task of a track of sound reads.
    pub fn reads_of(&self, track: &AudioPlan) -> u64 {
        track.excerpt.map_or(self.source_bytes, |excerpt| excerpt.bytes)
    }
    /// Bytes that the task of the subtitles reads.
    pub fn text_reads(&self) -> u64 {
        let all = if self.subtitles.is_empty() { 0 } else { self.source_bytes };
        self.text.map_or(all, |excerpt| excerpt.bytes)
    }
    /// How many tasks the merge waits for.
    pub fn parts(&self) -> u32 {
        self.chunks.saturating_add(u32::try_from(self.beside_chunks().len()).unwrap_or(u32::MAX))
    }
    /// A part's number in the done set: chunks first. `None` for what is no part of this plan.
    pub fn place(&self, id: TaskId) -> Option<u32> {
        if let TaskId::Chunk(number) = id {
            return (number < self.chunks).then_some(number);
        }
        let beside = self.beside_chunks().iter().position(|(part, _)| *part == id)?;
        self.chunks.checked_add(u32::try_from(beside).ok()?)
    }
}

/// How renditions are made: one entry of `profiles.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    pub name: String,
    #[serde(default)]
    pub codec: VideoCodec,
    /// The encoder's preset: x264's and x265's by name, SVT-AV1's `0` to `13`, libvpx's `-cpu-used`.
    pub preset: String,
    pub crf: u32,
    /// A quality that every chunk must reach by a CRF of its own, instead of `crf` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetQuality>,
    /// Target length of a chunk and of a segment, milliseconds.
    pub chunk_ms: u32,
    /// Distance of keyframes, milliseconds.
    pub gop_ms: u32,
    /// Rungs by short side, tallest first.
    pub ladder: Vec<Rung>,
    #[serde(default)]
    pub hdr: Hdr,
    /// Interlaced sources become progressive, a picture for each frame.
    #[serde(default = "yes")]
    pub deinterlace: bool,
    /// Bits per second of a stereo track; a track with more channels gets half of it for each.
    pub audio_bitrate: u32,
    #[serde(default)]
    pub channels: Channels,
    /// Loudness that the sound is brought to (EBU R 128), LUFS; absent: left as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loudness: Option<f64>,
    #[serde(default = "usual_outputs")]
    pub outputs: Vec<Output>,
    #[serde(default)]
    pub on_damage: OnDamage,
}

fn yes() -> bool {
    true
}

/// HLS, DASH over the same segments, and MP4.
pub fn usual_outputs() -> Vec<Output> {
    vec![Output::Hls, Output::Dash, Output::Mp4]
}

/// Codec of the renditions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VideoCodec {
    #[default]
    H264,
    Hevc,
    Av1,
    Vp9,
}

/// What becomes of high dynamic range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hdr {
    /// Tone-mapped to BT.709.
    #[default]
    ToSdr,
    /// Kept in ten bits: HEVC, AV1 and VP9 only.
    Keep,
}

/// Channels of the sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channels {
    /// Mixed down to two.
    #[default]
    Stereo,
    /// As the source has them, up to 5.1: mono, stereo, and all between as 5.1 with silent speakers. AAC of more has no
    /// order of speakers that all players agree on.
    Keep,
}

/// What a job makes beside its CMAF segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Output {
    /// `master.m3u8` and media playlists.
    Hls,
    /// `manifest.mpd` over the same segments.
    Dash,
    /// A progressive MP4 of every rendition; of sound without a picture, what [`Self::Audio`] makes.
    Mp4,
    /// An M4A file of every audio track.
    Audio,
    /// One picture of the film.
    Poster,
    /// Small pictures of the whole film in one, and the `WebVTT` file that says which is when.
    Sprite,
    /// A few seconds of the film as an animated picture.
    Preview,
}

/// A quality to reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetQuality {
    pub metric: Metric,
    /// VMAF 0 to 100, SSIM 0 to 1.
    pub score: f64,
    /// Bounds of the CRF.
    pub min_crf: u32,
    pub max_crf: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    Vmaf,
    Ssim,
}

/// What becomes of a source of which a part cannot be decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDamage {
    /// The job fails and says where the damage is.
    #[default]
    Fail,
    /// What can be decoded is saved, and the job ends as PARTIAL with exactly what is missing.
    Partial,
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
    /// The pictures are interlaced and become progressive.
    #[serde(default)]
    pub deinterlace: bool,
    /// Colours of the decoded pictures, as the source says or as is usual for its size.
    #[serde(default)]
    pub colors: Colors,
    pub renditions: Vec<Rendition>,
}

impl VideoPlan {
    /// The same without those of these names. The first one stays where colours are converted, which is done at its size: the others
    /// would look different without it.
    #[must_use]
    pub fn without(&self, profile: &Profile, names: &[&str]) -> Self {
        let first_stays = self.colors.conversion(profile) != Conversion::None;
        let mut kept = self.renditions.clone();
        let mut position = 0;
        kept.retain(|rendition| {
            position += 1;
            (first_stays && position == 1) || !names.contains(&rendition.name.as_str())
        });
        Self { renditions: kept, ..self.clone() }
    }
}

/// An upload that broke off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutShort {
    /// Why that is known.
    pub reason: String,
    /// Until when no picture is missing, ticks of the video's time base from T0: some that are shown later may have arrived
    /// before the end, since they are decoded earlier.
    pub picture_until: Option<i64>,
}

/// The source remuxed once, sound and picture together (`work/<job>/source/`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Normalized {
    pub key: String,
    pub bytes: u64,
}

/// How numbers become colours (ITU-T H.273), by ffmpeg's names; empty where nobody says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Colors {
    /// `bt709`, `bt2020`, `smpte170m`, …
    pub primaries: String,
    /// `bt709`, `smpte2084` (PQ), `arib-std-b67` (HLG), …
    pub transfer: String,
    /// `bt709`, `bt2020nc`, …
    pub matrix: String,
    /// `tv` or `pc`.
    pub range: String,
    /// Of HDR10, where the container says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mastering: Option<Mastering>,
}

/// The screen that HDR10 was made on (SMPTE ST 2086), and how bright it gets (CTA-861.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mastering {
    /// x and y of green, blue, red and white, in 1/50000.
    pub green: (u32, u32),
    pub blue: (u32, u32),
    pub red: (u32, u32),
    pub white: (u32, u32),
    /// Most and least light of the screen, 1/10000 cd/m².
    pub luminance: (u32, u32),
    /// Most light of a pixel and of the mean of a picture, cd/m².
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub light: Option<(u32, u32)>,
}

/// A text subtitle track, as `WebVTT` in the ladder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubtitlePlan {
    /// `text`, or `text-2` … for further tracks.
    pub name: String,
    pub index: u32,
    /// Of the source, by ffmpeg's name.
    #[serde(default)]
    pub codec: String,
    /// ISO 639 as in the source; empty if unknown.
    pub language: String,
    pub title: String,
    /// Only what must be read to follow the film, such as foreign signs.
    pub forced: bool,
    #[serde(default)]
    pub role: Role,
    /// T0 in microseconds of the source's clock: subtracted from every time.
    pub origin_us: i64,
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
    /// Of the source, by ffmpeg's name.
    #[serde(default)]
    pub codec: String,
    /// `audio`, or `audio-2` … for further tracks.
    pub name: String,
    pub index: u32,
    /// ffmpeg's `0:a:N`.
    pub position: u32,
    pub language: String,
    #[serde(default)]
    pub title: String,
    /// Chosen where a person chooses none.
    #[serde(default)]
    pub default: bool,
    /// What it is for beside the main sound.
    #[serde(default)]
    pub role: Role,
    /// Of the output.
    #[serde(default = "two")]
    pub channels: u32,
    pub time_base: TimeBase,
    /// T0 in microseconds of the source's clock: subtracted from every PTS.
    pub origin_us: i64,
    /// First and last instant of the track from T0, microseconds.
    pub start_us: i64,
    pub end_us: i64,
    /// Silence behind the sound, so that it ends no earlier than the film: players that take the shortest track for the
    /// whole would not show the rest. Microseconds.
    #[serde(default)]
    pub silence_us: i64,
    /// Bits per second of the output.
    pub bitrate: u32,
    /// What of the source its task reads; `None`: the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<Excerpt>,
}

impl AudioPlan {
    /// Where the output ends, microseconds from T0.
    pub fn until_us(&self) -> i64 {
        self.end_us.saturating_add(self.silence_us)
    }
}

fn two() -> u32 {
    2
}

/// What an audio or subtitle track is for (the container's disposition).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    #[default]
    Main,
    Dub,
    Commentary,
    /// Describes pictures to those who cannot see them.
    Description,
    /// For the hard of hearing.
    HearingImpaired,
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
