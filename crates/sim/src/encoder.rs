//! Media tools whose pictures are lines of text, made from the plan and the bytes of the source: results can be checked.

use std::path::Path;

use pipeline::{
    Fault, Shortage,
    encoder::{
        AudioWork, ChunkWork, EncodeError, Encoder, MadeAudio, MadeRendition, MadeSegment, Mp4Report, Mp4Work, ProbeInput, Remux, Remuxed,
    },
    id::TaskId,
    plan::{Chunk, TargetQuality},
    quality::{self, Next, Point, Quality, Score},
    source::SourceReport,
};
use sha2::{Digest, Sha256};

use crate::{kernel::Port, state::State};

/// The layer of every worker.
pub const LAYER: &str = "5eed5eed5eed5eed";
/// Virtual time between two reports of progress.
const STEP_MS: u64 = 5_000;
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
    /// As a mismatch, while everything that expires is gone.
    Vanish,
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

impl Port {
    fn act(&self, task: TaskId) -> Result<(), EncodeError> {
        let act = self.lock().script.get_mut(&task).and_then(std::collections::VecDeque::pop_front);
        Err(match act {
            None => return Ok(()),
            Some(Act::Mismatch) => EncodeError::Mismatch("frame 3 is missing".into()),
            Some(Act::Reject(why)) => Fault::reject(why).into(),
            Some(Act::Memory) => Fault::escalate(Shortage::Memory, "the encoder was killed").into(),
            Some(Act::Vanish) => {
                self.lock().objects.retain(|key, _| !key.starts_with("work/"));
                EncodeError::Mismatch("frame 3 is missing".into())
            }
            Some(Act::Retry) => Fault::retry("the disk was busy").into(),
        })
    }

    async fn work(&self, steps: u64, progress: &pipeline::encoder::Progress, total: u64) {
        for step in 1..=steps {
            self.pause(STEP_MS).await;
            progress.set(total * step / steps);
        }
    }
}

fn write(state: &mut State, dir: &Path, name: &str, text: String, start: i64, duration: i64, frames: u32) -> MadeSegment {
    let path = dir.join(name);
    let made =
        MadeSegment { path: path.clone(), bytes: text.len() as u64, sha256: hex::encode(Sha256::digest(&text)), start, duration, frames };
    state.files.insert(path, text.into_bytes());
    made
}

fn init(name: &str) -> bytes::Bytes {
    format!("init {name}\n").into_bytes().into()
}

impl Encoder for Port {
    fn layer(&self) -> &'static str {
        LAYER
    }

    async fn probe(&self, input: ProbeInput, _scratch: &Path) -> Result<SourceReport, Fault> {
        self.act(TaskId::Split).map_err(|error| match error {
            EncodeError::Fault(fault) => fault,
            EncodeError::Mismatch(what) => Fault::reject(what),
        })?;
        let local = match input {
            ProbeInput::File(path) => Some(path),
            ProbeInput::Stream(_) => None,
        };
        self.op("probe", "", |state| {
            local.map(|path| state.file(&path)).transpose()?;
            Ok(state.report.clone())
        })
        .await
    }

    /// The tidy film that a stream holds behind [`crate::source::STREAM`].
    async fn remux(&self, work: Remux, _scratch: &Path, out: &Path) -> Result<Remuxed, Fault> {
        let bytes = match work.input {
            ProbeInput::File(path) => self.op("remux", "", |state| state.file(&path)).await?,
            ProbeInput::Stream(stream) => {
                let blocks: Vec<bytes::Bytes> = futures::TryStreamExt::try_collect(stream).await?;
                self.op("remux", "", |_| Ok(blocks.concat())).await?
            }
        };
        self.pause(STEP_MS).await;
        let film = bytes.strip_prefix(&crate::source::STREAM).ok_or_else(|| Fault::reject("this is no stream"))?.to_vec();
        let made =
            Remuxed { bytes: film.len() as u64, sha256: hex::encode(Sha256::digest(&film)), left_out: vec!["7:data:bin_data".into()] };
        self.lock().files.insert(out.to_owned(), film);
        Ok(made)
    }

    async fn encode_chunk(&self, work: &ChunkWork<'_>) -> Result<Vec<MadeRendition>, EncodeError> {
        let chunk = work.chunk;
        self.op("encode_chunk", chunk.number, |_| Ok(())).await?;
        self.work(14 + u64::from(chunk.number), work.progress, u64::from(chunk.times.count())).await;
        self.act(TaskId::Chunk(chunk.number))?;
        let renditions = work.plan.video.iter().flat_map(|video| &video.renditions);
        let mut state = self.lock();
        let source = state.file(work.source)?;
        let mut made = Vec::new();
        for rendition in renditions {
            let segments = (0..chunk.segments.len()).map(|number| {
                let (start, frames) = window(chunk, number);
                let mut text = segment_line(&rendition.name, chunk, number, &source);
                if work.plan.profile.target.is_some() {
                    text = text.replace('\n', &format!(" crf {}\n", work.plan.profile.crf));
                }
                write(&mut state, work.out, &format!("{}-{number}", rendition.name), text, start, 1, frames)
            });
            let segments = segments.collect();
            made.push(MadeRendition { name: rendition.name.clone(), init: init(&rendition.name), codec: "avc1.64001f".into(), segments });
        }
        Ok(made)
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
        self.act(TaskId::Audio(0))?;
        let mut state = self.lock();
        let digest = hex::encode(Sha256::digest(state.file(work.source)?));
        let segments = (0..3u32).map(|number| {
            let start = i64::from(number) * 288_000;
            let text = format!("audio {start} {}\n", &digest[..16]);
            write(&mut state, work.out, &format!("audio-{number}"), text, start, 288_000, 281)
        });
        let segments = segments.collect();
        Ok(MadeAudio { init: init(&work.audio.name), codec: "mp4a.40.2".into(), sample_rate: SAMPLE_RATE, channels: 2, segments })
    }

    async fn make_mp4(&self, work: &Mp4Work<'_>) -> Result<Mp4Report, Fault> {
        self.op("make_mp4", &work.rendition.name, |_| Ok(())).await?;
        self.pause(STEP_MS).await;
        let mut state = self.lock();
        let mut film = state.file(work.video)?;
        let text = String::from_utf8_lossy(&film).into_owned();
        let times: Vec<(i64, u64, i64)> = text.lines().skip(1).filter_map(segment_times).collect();
        for (path, _) in work.audio {
            film.extend(state.file(path)?);
        }
        let report = Mp4Report {
            bytes: film.len() as u64,
            sha256: hex::encode(Sha256::digest(&film)),
            video_frames: times.iter().map(|(_, frames, _)| frames).sum(),
            video_start: times.first().map_or(0, |(start, ..)| *start),
            video_last: times.last().map_or(0, |(.., last)| *last),
            faststart: true,
        };
        state.files.insert(work.out.to_owned(), film);
        Ok(report)
    }
}

/// First PTS, number of frames, last PTS.
fn segment_times(line: &str) -> Option<(i64, u64, i64)> {
    let mut words = line.split(' ').skip(1);
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}
