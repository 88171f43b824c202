//! Media: ffprobe and ffmpeg as the pipeline's [`Encoder`]. Arguments are values, processes live in a cell, and what
//! comes out is judged by its boxes, never by an exit code.
//!
//! 1. A source is untrusted: it is read only inside the cell (`cell.rs`), under fixed names.
//! 2. An output is used only when its frames, times and keyframes are the plan's, exactly (promises P1 and P3).
//! 3. Deliberately absent: any fallback to other tools, hardware encoders, and threads inside one decoder or encoder
//!    (two single-threaded processes side by side cost less than one with two threads: media.md section 3).

mod args;
mod audio;
mod boxes;
mod cell;
mod chunk;
mod codec;
mod compare;
mod cut;
mod damage;
mod dir;
mod fields;
mod gop;
mod growing;
mod matroska;
mod order;
mod probe;
mod quality;
mod remux;
mod seccomp;
mod speed;
mod stills;
mod text;
mod tools;
mod verdict;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use futures::channel::mpsc;
use pipeline::{
    Fault, Shortage,
    encoder::{
        AudioWork, ChunkWork, EncodeError, Encoder, MadeAudio, MadeGop, MadeRendition, MadeStills, MadeText, ProbeInput, Remux, Remuxed,
        StillsWork, TextWork,
    },
    plan::{Chunk, Plan, TargetQuality},
    ports::Block,
    quality::Quality,
    source::SourceReport,
};
use tokio::sync::OnceCell;

pub use cell::{CellReport, Limits};
pub use compare::{Comparison, Score, Side};
pub use tools::{Capabilities, Tools, ToolsError};

/// Raised with each change of the encoders' options that shows in an init segment: chunks of both kinds do not fit together, so a job that
/// meets the other kind starts over, as with another ffmpeg. 2: `btrt` tells another buffer (decision 0018).
const OPTIONS: u32 = 2;

/// Small files that a command reads: name and contents.
pub type Files = Vec<(String, String)>;

/// Arguments of the ffmpeg that encodes a chunk of a plan in one piece, its source `input` in the working directory, and the files
/// that it reads beside it. `crf`: `None` takes the profile's. For a person: workers that die leave no word of theirs.
pub fn chunk_command(plan: &Plan, chunk: &Chunk, crf: Option<u32>) -> Option<(Vec<String>, Files)> {
    let command = args::chunk(&PathBuf::from("ffmpeg"), plan, plan.video.as_ref()?, chunk, crf.unwrap_or(plan.profile.crf));
    Some((command.args, command.files))
}

/// ffmpeg in its cell.
#[derive(Debug)]
pub struct FfmpegEncoder {
    tools: Tools,
    /// See [`Encoder::layer`].
    layer: String,
    limits: Limits,
    report: Mutex<Option<CellReport>>,
    /// Codecs that ffmpeg decodes, asked for once.
    decodable: OnceCell<BTreeSet<String>>,
}

impl FfmpegEncoder {
    /// Hides this process from its children (see [`CellReport::parent_hidden`]): process-wide, for good.
    pub fn new(tools: Tools, limits: Limits) -> Self {
        cell::hide_parent();
        let layer = format!("{OPTIONS}-{}", tools.layer_sha256);
        Self { tools, layer, limits, report: Mutex::new(None), decodable: OnceCell::new() }
    }
    /// What of the cell held for the latest process; `None` before the first.
    pub fn cell_report(&self) -> Option<CellReport> {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// ffmpeg's names of the codecs that it decodes.
    async fn decodable(&self) -> Result<&BTreeSet<String>, Fault> {
        let told = |error| match error {
            ToolsError::Passing(fault) => fault,
            other => Fault::escalate(Shortage::Tool, other.to_string()),
        };
        let ask = || async { self.tools.decodable().await.map_err(told) };
        self.decodable.get_or_try_init(ask).await
    }
    /// CPU-seconds of one and the same short encode of our own: how fast this machine is. Takes a second or two.
    pub async fn measure_speed(&self, scratch: &Path) -> Result<f64, Fault> {
        speed::measure(self, scratch).await
    }
    /// Holds the pictures of `other` against those of `reference`. `Reject`: they do not show the same pictures.
    pub async fn compare(&self, reference: &Path, other: &Path, scratch: &Path) -> Result<Comparison, Fault> {
        compare::compare(self, reference, other, scratch).await
    }
    async fn version(&self, program: &'static str) -> String {
        self.tools.version(program).await
    }
    fn tools(&self) -> &Tools {
        &self.tools
    }
    fn limits(&self) -> Limits {
        self.limits
    }
    fn note(&self, report: CellReport) {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
    }
}

impl Encoder for FfmpegEncoder {
    fn layer(&self) -> &str {
        &self.layer
    }
    async fn probe(&self, input: ProbeInput, scratch: &Path) -> Result<SourceReport, EncodeError> {
        probe::probe(self, input, scratch).await
    }
    async fn remux(&self, work: Remux, scratch: &Path, out: &Path, blocks: mpsc::Sender<Block>) -> Result<Remuxed, EncodeError> {
        remux::remux(self, work, scratch, out, blocks).await
    }
    async fn encode_chunk(&self, work: &ChunkWork<'_>) -> Result<Vec<MadeRendition>, EncodeError> {
        chunk::encode(self, work).await
    }
    async fn encode_gop(&self, work: &ChunkWork<'_>, number: u32) -> Result<Vec<MadeGop>, EncodeError> {
        gop::encode(self, work, number).await
    }
    async fn join_gops(&self, work: &ChunkWork<'_>, gops: &[Vec<PathBuf>]) -> Result<Vec<MadeRendition>, EncodeError> {
        gop::join(self, work, gops).await
    }
    async fn choose_crf(&self, work: &ChunkWork<'_>, target: &TargetQuality) -> Result<Quality, EncodeError> {
        quality::choose(self, work, target).await
    }
    async fn encode_audio(&self, work: &AudioWork<'_>) -> Result<MadeAudio, EncodeError> {
        audio::encode(self, work).await
    }
    async fn make_stills(&self, work: &StillsWork<'_>) -> Result<MadeStills, EncodeError> {
        stills::make(self, work).await
    }
    async fn convert_text(&self, work: &TextWork<'_>) -> Result<MadeText, EncodeError> {
        text::convert(self, work).await
    }
}
