//! Media tools whose pictures are lines of text, made from the plan and the bytes of the source: results can be checked.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

use futures::{SinkExt, channel::mpsc};
use mp4_atom::{Audio, Avc1, Avcc, Codec, Encode, Esds, Hdlr, Mdhd, Mdia, Minf, Moov, Mp4a, Mvhd, Smhd, Stbl, Stco, Stsd, Trak, Vmhd};
use pipeline::{
    Fault, Shortage,
    encoder::{
        AudioWork, ChunkWork, Crash, EncodeError, Encoder, MadeAudio, MadeGop, MadeRendition, MadeSegment, MadeStill, MadeStills, MadeText,
        ProbeInput, Remux, Remuxed, StillsWork, TextWork,
    },
    id::TaskId,
    plan::{ByteRange, Chunk, TargetQuality},
    ports::Block,
    quality::{self, Next, Point, Quality, Score},
    samples::{Fragment, SampleTable, Samples},
    source::SourceReport,
};
use sha2::{Digest, Sha256};

use crate::{kernel::Port, source, state::State};

/// The layer of every worker, and after an update.
pub const LAYER: &str = "5eed5eed5eed5eed";
pub const LAYER_AFTER: &str = "face5eed5eed5eed";
/// Virtual time between two reports of progress.
const STEP_MS: u64 = 5_000;
/// Length of a segment of sound.
const SEGMENT_US: i64 = 6_000_000;
/// Bytes of a remuxed copy that are known last, and stretches of the rest.
const LATE_BYTES: usize = 16;
const STRETCHES: usize = 4;
/// Samples a second of the sound.
const SAMPLE_RATE: u32 = 48_000;

/// What a media tool does at one call instead of its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// The source is at fault.
    Reject(String),
    Mismatch,
    Memory,
    Retry,
    /// The encoder is killed from outside.
    Killed,
    /// The encoder breaks down.
    Crash,
    /// It breaks down at every call until it is told to take care.
    Delicate,
    /// As a mismatch, while everything that expires is gone.
    Vanish,
    /// A chunk takes longer than any function has at every call, and a GOP of it so long.
    Slow {
        gop_ms: u64,
    },
}

/// The bytes of one segment of a chunk: a line with all that went into it.
pub fn segment_line(rendition: &str, chunk: &Chunk, number: usize, source: &[u8]) -> String {
    let (start, frames) = window(chunk, number);
    let mut hash = Sha256::new();
    for range in &chunk.ranges {
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(source.len());
        hash.update(&source[at(range.start)..at(range.end)]);
    }
    let digest = hex::encode(hash.finalize());
    let last = chunk
        .segments
        .get(number + 1)
        .map_or(chunk.times.last(), |next| chunk.times.iter().nth((*next as usize).saturating_sub(1)).unwrap_or_default());
    format!("{rendition} {start} {frames} {last} {}\n", &digest[..16])
}

/// First PTS and number of frames of a chunk's segment.
fn window(chunk: &Chunk, number: usize) -> (i64, u32) {
    let from = chunk.segments.get(number).copied().unwrap_or_default();
    let to = chunk.segments.get(number + 1).copied().unwrap_or(chunk.times.count());
    (chunk.times.iter().nth(from as usize).unwrap_or_default(), to - from)
}

/// Keyframes of a chunk's segment, counted from its first frame.
fn keyframes(chunk: &Chunk, number: usize, frames: u32) -> Vec<u32> {
    let from = chunk.segments.get(number).copied().unwrap_or_default();
    let inside = chunk.keyframes.iter().filter_map(|index| index.checked_sub(from)).filter(|index| *index < frames);
    inside.collect()
}

fn broken(how: &str, shortage: Option<Shortage>) -> EncodeError {
    let (program, version, stderr) = ("ffmpeg".into(), "sim".into(), String::new());
    EncodeError::Crash(Box::new(Crash { how: how.into(), program, version, args: Vec::new(), files: Vec::new(), stderr, shortage }))
}

impl Port {
    fn act(&self, task: TaskId, careful: bool) -> Result<(), EncodeError> {
        let act = self.lock().script.get_mut(&task).and_then(|acts| match acts.front() {
            Some(Act::Delicate) if careful => {
                acts.pop_front();
                None
            }
            Some(act @ (Act::Delicate | Act::Slow { .. })) => Some(act.clone()),
            _ => acts.pop_front(),
        });
        Err(match act {
            None | Some(Act::Slow { .. }) => return Ok(()),
            Some(Act::Mismatch) => EncodeError::Mismatch("frame 3 is missing".into()),
            Some(Act::Reject(why)) => Fault::reject(why).into(),
            Some(Act::Killed) => Fault::Killed("the encoder was killed by signal 9".into()).into(),
            Some(Act::Crash | Act::Delicate) => broken("signal 11", None),
            Some(Act::Memory) => broken("the encoder was killed", Some(Shortage::Memory)),
            Some(Act::Vanish) => {
                self.lock().objects.retain(|key, _| !key.starts_with("work/"));
                EncodeError::Mismatch("frame 3 is missing".into())
            }
            Some(Act::Retry) => Fault::retry("the disk was busy").into(),
        })
    }

    /// The segments of a chunk.
    fn segments(&self, work: &ChunkWork<'_>) -> Result<Vec<MadeRendition>, EncodeError> {
        let chunk = work.chunk;
        let renditions = work.plan.video.iter().flat_map(|video| &video.renditions);
        let mut state = self.lock();
        let source = if work.blank { Vec::new() } else { state.file(work.source)? };
        let mut made = Vec::new();
        for rendition in renditions {
            let segments = (0..chunk.segments.len()).map(|number| {
                let (start, frames) = window(chunk, number);
                let mut text = segment_line(&rendition.name, chunk, number, &source);
                if work.blank {
                    text = text.replace('\n', " black\n");
                }
                if work.plan.profile.target.is_some() {
                    text = text.replace('\n', &format!(" crf {}\n", work.plan.profile.crf));
                }
                let sync = keyframes(chunk, number, frames);
                let name = format!("{}-{number}", rendition.name);
                write(&mut state, work.out, Draft { name, text, start, duration: 1, frames, sync, is_sound: false })
            });
            let segments = segments.collect();
            *state.encoded.entry((chunk.number, rendition.name.clone())).or_default() += 1;
            made.push(MadeRendition { name: rendition.name.clone(), init: init(false)?, codec: "avc1.64001f".into(), segments });
        }
        Ok(made)
    }

    /// Virtual time that a chunk takes by script beyond its usual one, GOP by GOP or whole.
    async fn take_long(&self, task: TaskId, by_gop: bool) {
        let act = self.lock().script.get(&task).and_then(VecDeque::front).cloned();
        if let Some(Act::Slow { gop_ms }) = act {
            self.pause(if by_gop { gop_ms } else { u64::from(u32::MAX) }).await;
        }
    }

    async fn work(&self, steps: u64, progress: &pipeline::encoder::Progress, total: u64) {
        for step in 1..=steps {
            self.pause(STEP_MS).await;
            progress.set(total * step / steps);
        }
    }
}

fn gops(work: &ChunkWork<'_>) -> Vec<Chunk> {
    work.plan.video.as_ref().map(|video| work.chunk.gops(video.origin, video.time_base)).unwrap_or_default()
}

fn gop_line(work: &ChunkWork<'_>, rendition: &str, number: u32) -> String {
    let gop = gops(work).get(number as usize).map(|gop| (gop.times.first(), gop.times.count(), gop.start_us, gop.end_us));
    format!("{rendition} gop {number} of {} {gop:?} crf {}\n", work.chunk.number, work.plan.profile.crf)
}

/// A segment as it is to be written.
struct Draft {
    name: String,
    text: String,
    start: i64,
    duration: i64,
    frames: u32,
    /// Indexes of keyframes; empty: all are.
    sync: Vec<u32>,
    is_sound: bool,
}

fn write(state: &mut State, dir: &Path, draft: Draft) -> MadeSegment {
    let Draft { name, text, start, duration, frames, sync, is_sound } = draft;
    let path = dir.join(name);
    let bytes = text.len() as u64;
    let made = MadeSegment {
        path: path.clone(),
        bytes,
        sha256: hex::encode(Sha256::digest(&text)),
        start,
        duration,
        frames,
        samples: SampleTable::pack(&samples(bytes, frames, sync, is_sound.then_some(duration))),
    };
    state.files.insert(path, text.into_bytes());
    made
}

/// The text of a segment as samples: those of a picture lie behind a header of eight bytes, and the last takes what is left.
/// `heard`: of sound, how long it is; its last packet takes what is left of that as well.
fn samples(bytes: u64, frames: u32, sync: Vec<u32>, heard: Option<i64>) -> Samples {
    let header = if heard.is_some() { 0 } else { 8 };
    let media = ByteRange { start: header, end: bytes };
    let each = u32::try_from(media.len()).unwrap_or(u32::MAX) / frames.max(1);
    let last = u32::try_from(media.len()).unwrap_or(u32::MAX) - each * frames.saturating_sub(1);
    let sizes = (1..=frames).map(|n| if n == frames { last } else { each }).collect();
    let left = |heard: i64| u32::try_from(heard).unwrap_or(u32::MAX) - 1024 * frames.saturating_sub(1);
    let durations = heard.map_or(Vec::new(), |heard| (1..=frames).map(|n| if n == frames { left(heard) } else { 1024 }).collect());
    Samples { sizes, order: (0..frames).collect(), durations, sync, fragments: vec![Fragment { media, samples: frames }] }
}

/// `ftyp` and `moov` of a track, as an encoder writes them: no samples, but what they are.
fn init(is_sound: bool) -> Result<bytes::Bytes, EncodeError> {
    let scale = if is_sound { SAMPLE_RATE } else { 1000 };
    let sound = || {
        let audio = Audio { data_reference_index: 1, channel_count: 2, sample_size: 16, sample_rate: 48_000.into() };
        Mp4a { audio, esds: Esds::default(), btrt: None, taic: None }
    };
    let codec: Codec = if is_sound {
        sound().into()
    } else {
        Avc1 { avcc: Avcc { configuration_version: 1, length_size: 4, ..Avcc::default() }, ..Avc1::default() }.into()
    };
    let stbl = Stbl { stsd: Stsd { codecs: vec![codec] }, stco: Some(Stco::default()), ..Stbl::default() };
    let (vmhd, smhd) = (Some(Vmhd::default()).filter(|_| !is_sound), Some(Smhd::default()).filter(|_| is_sound));
    let mdhd = Mdhd { timescale: scale, language: "und".into(), ..Mdhd::default() };
    let mdia = Mdia { mdhd, hdlr: Hdlr::default(), minf: Minf { vmhd, smhd, stbl, ..Minf::default() } };
    let mut bytes = Vec::new();
    let moov = Moov { mvhd: Mvhd { timescale: scale, ..Mvhd::default() }, trak: vec![Trak { mdia, ..Trak::default() }], ..Moov::default() };
    let written = moov.encode(&mut bytes).map(|()| bytes.into());
    written.map_err(|error| Fault::escalate(Shortage::Tool, error.to_string()).into())
}

/// The bytes of a local file that a track of sound or text is decoded from: all of them, where the report does not say.
fn own(report: &SourceReport, index: u32, source: &[u8]) -> Vec<u8> {
    let sound = report.audio.iter().filter(|track| track.index == index).flat_map(|track| &track.extents);
    let text = report.subtitles.iter().filter(|track| track.index == index).flat_map(|track| &track.extents);
    let extents = sound.chain(text);
    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(source.len());
    let own: Vec<u8> = extents.flat_map(|range| &source[at(range.start)..at(range.end)]).copied().collect();
    if own.is_empty() { source.to_vec() } else { own }
}

impl Encoder for Port {
    fn layer(&self) -> &'static str {
        let state = self.lock();
        if state.update_ms.is_some_and(|after| state.elapsed_ms() >= after) { LAYER_AFTER } else { LAYER }
    }

    async fn probe(&self, input: ProbeInput, _scratch: &Path) -> Result<SourceReport, EncodeError> {
        self.act(TaskId::Split, false).map_err(|error| match error {
            EncodeError::Mismatch(what) => Fault::reject(what).into(),
            other => other,
        })?;
        let (local, cut) = match input {
            ProbeInput::File(path) => (Some(path), false),
            ProbeInput::Cut(path) => (Some(path), true),
            ProbeInput::Stream(_) => (None, false),
        };
        let takes_ms = if local.is_none() { self.lock().probe_ms } else { 0 };
        self.pause(takes_ms).await;
        let report = self.op("probe", "", |state| {
            let bytes = local.map(|path| state.file(&path)).transpose()?.map_or(0, |bytes| bytes.len() as u64);
            Ok(if cut { source::within(state.report.clone(), bytes) } else { state.report.clone() })
        });
        Ok(report.await?)
    }

    /// The tidy film that a stream holds behind [`crate::source::STREAM`].
    async fn remux(&self, work: Remux, _scratch: &Path, out: &Path, mut blocks: mpsc::Sender<Block>) -> Result<Remuxed, EncodeError> {
        let bytes = match work.input {
            ProbeInput::File(path) | ProbeInput::Cut(path) => self.op("remux", "", |state| state.file(&path)).await?,
            ProbeInput::Stream(stream) => {
                let blocks: Vec<bytes::Bytes> = futures::TryStreamExt::try_collect(stream).await?;
                self.op("remux", "", |_| Ok(blocks.concat())).await?
            }
        };
        self.pause(STEP_MS).await;
        let film = bytes.strip_prefix(&crate::source::STREAM).ok_or_else(|| Fault::reject("this is no stream"))?.to_vec();
        let bytes = film.len() as u64;
        let (front, rest) = film.split_at(film.len().min(LATE_BYTES));
        // What is known last stands there as nothing.
        let early = std::iter::once(vec![0; front.len()]).chain(rest.chunks(rest.len().div_ceil(STRETCHES).max(1)).map(<[u8]>::to_vec));
        let untaken = |_| Fault::retry("nobody takes the copy");
        for block in early {
            blocks.send(Block::Next(block.into())).await.map_err(untaken)?;
        }
        blocks.send(Block::Front(front.to_vec().into())).await.map_err(untaken)?;
        let is_here = bytes <= work.hold;
        if is_here {
            self.lock().files.insert(out.to_owned(), film);
        }
        Ok(Remuxed { bytes, is_here, lent: false, left_out: vec!["7:data:bin_data".into()] })
    }

    async fn encode_chunk(&self, work: &ChunkWork<'_>) -> Result<Vec<MadeRendition>, EncodeError> {
        let chunk = work.chunk;
        self.op("encode_chunk", chunk.number, |_| Ok(())).await?;
        self.take_long(TaskId::Chunk(chunk.number), false).await;
        // Those of one film do not end together.
        self.work(14 + u64::from(chunk.number % 3), work.progress, u64::from(chunk.times.count())).await;
        if !work.blank {
            self.act(TaskId::Chunk(chunk.number), work.careful)?;
        }
        self.segments(work)
    }

    /// Each file is a line with all that went into it.
    async fn encode_gop(&self, work: &ChunkWork<'_>, number: u32) -> Result<Vec<MadeGop>, EncodeError> {
        let chunk = work.chunk;
        self.op("encode_gop", format!("{}.{number}", chunk.number), |state| {
            state.expire();
            Ok(())
        })
        .await?;
        self.take_long(TaskId::Chunk(chunk.number), true).await;
        let frames = gops(work).get(number as usize).map_or(0, |gop| gop.times.count());
        self.work(2, work.progress, u64::from(frames)).await;
        self.act(TaskId::Chunk(chunk.number), work.careful)?;
        let mut state = self.lock();
        let renditions = work.plan.video.iter().flat_map(|video| &video.renditions);
        let made = renditions.map(|rendition| {
            let (text, path) = (gop_line(work, &rendition.name, number), work.out.join(format!("{}-gop{number}", rendition.name)));
            let bytes = text.len() as u64;
            state.files.insert(path.clone(), text.into_bytes());
            MadeGop { rendition: rendition.name.clone(), path, bytes }
        });
        Ok(made.collect())
    }

    /// A chunk only if every GOP of every rendition is there and at its place.
    async fn join_gops(&self, work: &ChunkWork<'_>, files: &[Vec<PathBuf>]) -> Result<Vec<MadeRendition>, EncodeError> {
        self.op("join_gops", work.chunk.number, |_| Ok(())).await?;
        for (position, rendition) in work.plan.video.iter().flat_map(|video| &video.renditions).enumerate() {
            let mut found = String::new();
            for path in files.iter().filter_map(|files| files.get(position)) {
                found += &String::from_utf8_lossy(&self.lock().file(path)?);
            }
            let wanted: String = (0u32..).zip(gops(work)).map(|(number, _)| gop_line(work, &rendition.name, number)).collect();
            if found != wanted {
                return Err(EncodeError::Mismatch(format!("the GOPs are {found} and should be {wanted}")));
            }
        }
        self.segments(work)
    }

    async fn choose_crf(&self, work: &ChunkWork<'_>, target: &TargetQuality) -> Result<Quality, EncodeError> {
        let chunk = work.chunk;
        self.op("choose_crf", chunk.number, |_| Ok(())).await?;
        let mut curve = Vec::new();
        loop {
            match quality::next(target, work.plan.profile.crf, &curve) {
                Next::Done(crf) => return Ok(Quality { crf, curve }),
                Next::Probe(crf) => {
                    self.pause(STEP_MS).await;
                    // Later chunks are harder.
                    let score = Score::new(target.metric, 100.0 - f64::from(crf + chunk.number) / 3.0);
                    curve.push(Point { crf, score });
                }
            }
        }
    }

    async fn encode_audio(&self, work: &AudioWork<'_>) -> Result<MadeAudio, EncodeError> {
        self.op("encode_audio", work.audio.index, |_| Ok(())).await?;
        self.work(6, work.progress, 1).await;
        let lost = match self.act(TaskId::Audio(work.audio.position), work.careful) {
            // What cannot be decoded is silence, where the profile takes a part for the whole.
            Err(EncodeError::Mismatch(_)) if work.plan.takes_a_part() => vec![(1_000_000, 1_500_000)],
            acted => acted.map(|()| Vec::new())?,
        };
        let mut state = self.lock();
        let source = state.file(work.source)?;
        let digest = hex::encode(Sha256::digest(own(&state.report, work.audio.index, &source)));
        let count = u32::try_from((work.audio.end_us + SEGMENT_US - 1) / SEGMENT_US).unwrap_or(1);
        let segments = (0..count).map(|number| {
            let start = i64::from(number) * 288_000;
            let text = format!("{} {start} {}\n", work.audio.name, &digest[..16]);
            let draft =
                Draft { name: format!("audio-{number}"), text, start, duration: 288_000, frames: 281, sync: Vec::new(), is_sound: true };
            write(&mut state, work.out, draft)
        });
        let segments = segments.collect();
        Ok(MadeAudio {
            init: init(true)?,
            codec: "mp4a.40.2".into(),
            sample_rate: SAMPLE_RATE,
            channels: work.audio.channels,
            loudness: None,
            lost,
            segments,
        })
    }

    /// Each file is a line with all that went into it: its place in the plan, and the bytes of the source that were there.
    async fn make_stills(&self, work: &StillsWork<'_>) -> Result<MadeStills, EncodeError> {
        self.op("make_stills", "", |_| Ok(())).await?;
        self.pause(STEP_MS).await;
        let lost = match self.act(TaskId::Stills, work.careful) {
            // What a decoder cannot show alone is no other picture: the task makes do with the one before.
            Err(EncodeError::Mismatch(_)) => 1,
            acted => acted.map(|()| 0)?,
        };
        let mut state = self.lock();
        let source = state.file(work.source)?;
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(source.len());
        let mut hash = Sha256::new();
        for range in &work.stills.ranges {
            hash.update(&source[at(range.start)..at(range.end)]);
        }
        let digest = hex::encode(hash.finalize());
        let mut files = Vec::new();
        for file in work.stills.files() {
            let text = format!("{} {}x{} {} lost {lost}\n", file.name, file.size.width, file.size.height, &digest[..16]);
            let path = work.out.join(&file.name);
            let (bytes, sha256) = (text.len() as u64, hex::encode(Sha256::digest(&text)));
            state.files.insert(path.clone(), text.into_bytes());
            files.push(MadeStill { name: file.name, path, bytes, sha256 });
        }
        Ok(MadeStills { files, repeated: lost })
    }

    /// A line with what went into it; a track in Klingon holds nothing that can be read.
    async fn convert_text(&self, work: &TextWork<'_>) -> Result<MadeText, EncodeError> {
        self.op("convert_text", work.text.index, |_| Ok(())).await?;
        self.pause(STEP_MS).await;
        self.act(TaskId::Text, work.careful)?;
        if work.text.language == "tlh" {
            return Err(EncodeError::Mismatch("it holds no text".into()));
        }
        let mut state = self.lock();
        let source = state.file(work.source)?;
        let digest = hex::encode(Sha256::digest(own(&state.report, work.text.index, &source)));
        let text = format!("WEBVTT {} {}\n", work.text.language, &digest[..16]);
        let (path, bytes, sha256) = (work.out.join(&work.text.name), text.len() as u64, hex::encode(Sha256::digest(&text)));
        state.files.insert(path.clone(), text.into_bytes());
        Ok(MadeText { path, bytes, sha256, cues: 3, dropped: 1, damaged: false })
    }
}
