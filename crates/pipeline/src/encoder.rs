//! The port to the media tools. Production: `media` (ffmpeg in its cell). Simulator: pictures made of numbers.

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use futures::{channel::mpsc, stream::BoxStream};
use serde::{Deserialize, Serialize};

use crate::{
    fault::{Fault, Shortage},
    loudness::Loudness,
    plan::{AudioPlan, ByteRange, Chunk, Plan, SubtitlePlan, TargetQuality},
    ports::Block,
    quality::Quality,
    samples::SampleTable,
    source::SourceReport,
    stills::StillsPlan,
};

/// The bytes of a source as they arrive.
pub type ByteStream = BoxStream<'static, Result<Bytes, Fault>>;

/// How the probe gets at a source.
pub enum ProbeInput {
    /// A local file, possibly sparse: headers, tables and the first media bytes are there.
    File(PathBuf),
    /// The same of a file whose end was never uploaded: what its tables have of packets beyond that is not reported.
    Cut(PathBuf),
    /// The whole source, once, through a pipe.
    Stream(ByteStream),
}

/// Bytes of the largest file that fits on a worker's disk beside all else, of which Lambda gives 10 GiB at most.
pub const MAX_WHOLE: u64 = 9_500 << 20;

/// A source to be remuxed once, sound, picture and text together.
pub struct Remux {
    pub input: ProbeInput,
    /// Bytes of the source: about as many are written.
    pub bytes: u64,
    /// Pictures without a time of their own get one: a millisecond after the picture before.
    pub mend: bool,
    /// Bytes of the largest copy that is left on the disk; of a larger one only what was not passed on yet lies there.
    pub hold: u64,
}

/// What remuxing made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remuxed {
    pub bytes: u64,
    /// The whole of it was left where it was to be.
    pub is_here: bool,
    /// Packets of the picture without a time have that of the one before: right for the second field of a picture alone.
    pub lent: bool,
    /// Tracks that could not be taken along, as in [`SourceReport::other`].
    pub left_out: Vec<String>,
}

/// How far an encoder is, in frames of the chunk (or of the audio, in microseconds). Shared with the heartbeat.
#[derive(Debug, Default)]
pub struct Progress {
    before: AtomicU64,
    done: AtomicU64,
}
impl Progress {
    /// What is done from now on comes behind so much.
    pub fn go_on_from(&self, before: u64) {
        self.done.store(0, Ordering::Relaxed);
        self.before.store(before, Ordering::Relaxed);
    }
    pub fn set(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
    }
    pub fn get(&self) -> u64 {
        self.before.load(Ordering::Relaxed).saturating_add(self.done.load(Ordering::Relaxed))
    }
}

/// One file that a task made: a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeSegment {
    pub path: PathBuf,
    pub bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
    /// First PTS in display order from T0, ticks of the track's time scale.
    pub start: i64,
    /// Ticks to the first PTS of what follows; for the last segment of a chunk: of its own last frame, as coded.
    pub duration: i64,
    /// Frames (video) or packets (audio).
    pub frames: u32,
    /// Where they lie in the file, and how they are decoded.
    pub samples: SampleTable,
}

/// What a chunk's encode yields for one rendition, already held against the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeRendition {
    pub name: String,
    /// ftyp + moov.
    pub init: Bytes,
    /// RFC 6381 codec string: `avc1.64001f`.
    pub codec: String,
    pub segments: Vec<MadeSegment>,
}

/// One GOP of a chunk in one rendition: a fragmented MP4, already held against the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeGop {
    pub rendition: String,
    pub path: PathBuf,
    pub bytes: u64,
}

/// What the audio task yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeAudio {
    pub init: Bytes,
    /// `mp4a.40.2`
    pub codec: String,
    /// Of the segments' ticks.
    pub sample_rate: u32,
    pub channels: u32,
    /// Where the profile has a level.
    pub loudness: Option<Loudness>,
    /// Stretches of silence where nothing could be decoded, microseconds from T0: where the profile takes a part for the whole.
    pub lost: Vec<(i64, i64)>,
    pub segments: Vec<MadeSegment>,
}

/// One picture file, as planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeStill {
    /// As in the plan's list of files.
    pub name: String,
    pub path: PathBuf,
    pub bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
}

/// What the stills task yields: every file of the plan, in its order, each decoded again and found whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeStills {
    pub files: Vec<MadeStill>,
    /// Pictures that could not be decoded alone: the one before stands for each.
    pub repeated: u32,
}

/// What a text track yields: a `WebVTT` file of the whole film, its times from T0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeText {
    pub path: PathBuf,
    pub bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
    /// Cues in it, and cues of the source that are not: outside of the film, of no length, or without text.
    pub cues: u32,
    pub dropped: u32,
    /// The decoder could not read all of the track.
    pub damaged: bool,
}

/// Everything an encode of a chunk needs. All paths are inside the task's scratch directory.
pub struct ChunkWork<'a> {
    pub plan: &'a Plan,
    pub chunk: &'a Chunk,
    /// The (sparse) local source.
    pub source: &'a Path,
    /// An empty directory for outputs.
    pub out: &'a Path,
    pub progress: &'a Progress,
    /// The tools broke down over it before: nothing that is only there for speed.
    pub careful: bool,
    /// Black pictures at the chunk's times instead of the source's, which is not read.
    pub blank: bool,
}

pub struct AudioWork<'a> {
    pub plan: &'a Plan,
    pub audio: &'a AudioPlan,
    pub source: &'a Path,
    pub out: &'a Path,
    pub progress: &'a Progress,
    /// As [`ChunkWork::careful`].
    pub careful: bool,
}

pub struct StillsWork<'a> {
    pub plan: &'a Plan,
    pub stills: &'a StillsPlan,
    /// The (sparse) local source.
    pub source: &'a Path,
    pub out: &'a Path,
    /// As [`ChunkWork::careful`].
    pub careful: bool,
}

pub struct TextWork<'a> {
    pub plan: &'a Plan,
    pub text: &'a SubtitlePlan,
    /// The local source. What of it is not in `ranges` may be written to.
    pub source: &'a Path,
    /// What of the source is there, in order.
    pub ranges: &'a [ByteRange],
    pub out: &'a Path,
    /// As [`ChunkWork::careful`].
    pub careful: bool,
}

/// Media tools. Dropping a returned future stops the tool and all it started.
pub trait Encoder: Sync {
    /// Names the tools and how they are told to encode: what two workers with the same name make fits together. The sha256 of the ffmpeg
    /// layer behind a number.
    fn layer(&self) -> &str;
    /// Reads headers and the packet index. Reject: not a readable media file.
    fn probe(&self, input: ProbeInput, scratch: &Path) -> impl Future<Output = Result<SourceReport, EncodeError>> + Send;
    /// Copies the packets of a source into a Matroska file with an index, which is passed on while it is written, and left
    /// at `out` if it is small enough. Reject: not a readable media file, or one that cannot be brought into this form.
    fn remux(
        &self,
        work: Remux,
        scratch: &Path,
        out: &Path,
        blocks: mpsc::Sender<Block>,
    ) -> impl Future<Output = Result<Remuxed, EncodeError>> + Send;
    /// Encodes a chunk into all renditions from one decode, and holds frames, PTS and keyframes against the plan.
    /// [`Mismatch`](EncodeError::Mismatch): the decoder gave other frames than planned.
    fn encode_chunk(&self, work: &ChunkWork<'_>) -> impl Future<Output = Result<Vec<MadeRendition>, EncodeError>> + Send;
    /// Encodes one GOP of a chunk, counted from 0, into all renditions, as [`encode_chunk`](Self::encode_chunk) does a whole one.
    fn encode_gop(&self, work: &ChunkWork<'_>, number: u32) -> impl Future<Output = Result<Vec<MadeGop>, EncodeError>> + Send;
    /// Makes a chunk of its GOPs, each with a file for each rendition in their order, and holds it against the plan as if it
    /// had been encoded in one piece. The files may be gone after that.
    fn join_gops(
        &self,
        work: &ChunkWork<'_>,
        gops: &[Vec<PathBuf>],
    ) -> impl Future<Output = Result<Vec<MadeRendition>, EncodeError>> + Send;
    /// Tries encodes of samples of a chunk in its largest rendition, and finds the CRF that reaches the target.
    fn choose_crf(&self, work: &ChunkWork<'_>, target: &TargetQuality) -> impl Future<Output = Result<Quality, EncodeError>> + Send;
    fn encode_audio(&self, work: &AudioWork<'_>) -> impl Future<Output = Result<MadeAudio, EncodeError>> + Send;
    /// Makes the plan's poster, sprite and preview. [`Mismatch`](EncodeError::Mismatch): the file gave other pictures than
    /// planned.
    fn make_stills(&self, work: &StillsWork<'_>) -> impl Future<Output = Result<MadeStills, EncodeError>> + Send;
    /// Makes `WebVTT` of a text track. [`Mismatch`](EncodeError::Mismatch): there is nothing in it that can be shown, and
    /// there will not be at another try.
    fn convert_text(&self, work: &TextWork<'_>) -> impl Future<Output = Result<MadeText, EncodeError>> + Send;
}

/// Why an encode gave nothing that may be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The output differs from the plan. The caller tries once with the whole source; then the source is at fault.
    #[error("{0}")]
    Mismatch(String),
    /// The tool broke down, or ran out of something.
    #[error("{}", .0.how)]
    Crash(Box<Crash>),
}

impl EncodeError {
    /// Where the inputs are our own, so that nothing is to be tried with more of the source.
    pub fn into_fault(self) -> Fault {
        match self {
            Self::Fault(fault) => fault,
            Self::Mismatch(text) => Fault::escalate(Shortage::Tool, text),
            Self::Crash(crash) => crash.fault(),
        }
    }
}

/// A tool that broke down, with all that is needed to see it break down again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    /// How it ended, and its last words, in one line.
    pub how: String,
    /// `ffmpeg`
    pub program: String,
    /// What it says of its version.
    pub version: String,
    /// Exactly as it was given them; the source is `input` in its directory.
    pub args: Vec<String>,
    /// Small files that it reads beside the source: name and contents.
    pub files: Vec<(String, String)>,
    /// The end of what it printed on standard error.
    pub stderr: String,
    /// What ran out; `None`: nothing that anybody knows of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortage: Option<Shortage>,
}

/// Bytes of a source that are kept with a crash: a chunk of a film of 50 Mbit/s has 40 MB.
pub const MAX_EXCERPT: u64 = 64 << 20;

/// A crash with all that the tool read of the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub crash: Crash,
    /// The object that holds these ranges of the source, one behind the other.
    pub object: String,
    pub ranges: Vec<ByteRange>,
    /// Bytes of the source.
    pub of: u64,
}

impl Crash {
    /// What it means for the task.
    pub fn fault(&self) -> Fault {
        match self.shortage {
            None => Fault::Crash(self.how.clone()),
            Some(reason) => Fault::escalate(reason, self.how.clone()),
        }
    }
}

/// For functions that handle no media: every call is a fault of the program.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoEncoder;

impl NoEncoder {
    fn fault<T>() -> Result<T, Fault> {
        Err(Fault::escalate(Shortage::Tool, "this function has no media tools"))
    }
}

impl Encoder for NoEncoder {
    fn layer(&self) -> &'static str {
        ""
    }
    async fn probe(&self, _: ProbeInput, _: &Path) -> Result<SourceReport, EncodeError> {
        Ok(Self::fault()?)
    }
    async fn remux(&self, _: Remux, _: &Path, _: &Path, _: mpsc::Sender<Block>) -> Result<Remuxed, EncodeError> {
        Ok(Self::fault()?)
    }
    async fn encode_chunk(&self, _: &ChunkWork<'_>) -> Result<Vec<MadeRendition>, EncodeError> {
        Ok(Self::fault()?)
    }
    async fn encode_gop(&self, _: &ChunkWork<'_>, _: u32) -> Result<Vec<MadeGop>, EncodeError> {
        Ok(Self::fault()?)
    }
    async fn join_gops(&self, _: &ChunkWork<'_>, _: &[Vec<PathBuf>]) -> Result<Vec<MadeRendition>, EncodeError> {
        Ok(Self::fault()?)
    }
    async fn choose_crf(&self, _: &ChunkWork<'_>, _: &TargetQuality) -> Result<Quality, EncodeError> {
        Ok(Self::fault()?)
    }
    async fn encode_audio(&self, _: &AudioWork<'_>) -> Result<MadeAudio, EncodeError> {
        Ok(Self::fault()?)
    }
    async fn make_stills(&self, _: &StillsWork<'_>) -> Result<MadeStills, EncodeError> {
        Ok(Self::fault()?)
    }
    async fn convert_text(&self, _: &TextWork<'_>) -> Result<MadeText, EncodeError> {
        Ok(Self::fault()?)
    }
}
