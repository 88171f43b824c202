//! One chunk into all renditions: one process, one decode.

use std::path::Path;

use pipeline::{
    Fault, Shortage,
    encoder::{ChunkWork, Crash, EncodeError, MadeRendition, Progress},
    plan::{Chunk, Rendition, VideoPlan},
};

use crate::{
    FfmpegEncoder, args, boxes,
    cell::{self, Lines},
    codec, cut,
    dir::CellDir,
    verdict::verdict,
};

/// Encodes, and holds every rendition against the plan.
pub async fn encode(encoder: &FfmpegEncoder, work: &ChunkWork<'_>) -> Result<Vec<MadeRendition>, EncodeError> {
    let Some(video) = &work.plan.video else {
        return Err(Fault::escalate(Shortage::Tool, "a chunk of a plan without video").into());
    };
    let dir = CellDir::new(work.out)?;
    let ffmpeg = &encoder.tools().ffmpeg;
    let command = if work.blank {
        args::blank(ffmpeg, work.plan, video, work.chunk)
    } else {
        dir.link(work.source, args::INPUT)?;
        args::chunk(ffmpeg, work.plan, video, work.chunk, work.plan.profile.crf)
    };
    let command = command.with_care(work.careful);
    run(encoder, command, &dir, work.progress, "frame=").await?;
    held(dir, work, video).await
}

/// The outputs in `dir`, held against the plan and cut into segments.
pub async fn held(dir: CellDir, work: &ChunkWork<'_>, video: &VideoPlan) -> Result<Vec<MadeRendition>, EncodeError> {
    let (renditions, chunk) = (video.renditions.clone(), work.chunk.clone());
    let (out, scale) = (work.out.to_owned(), i64::from(video.time_base.num()));
    blocking(move || collect(&dir, &out, &renditions, &chunk, scale)).await
}

/// An output that holds the chunk's frames, and where its segments are.
pub struct Held {
    pub track: boxes::Fragmented,
    pub cuts: Vec<cut::Cut>,
}

/// Reads an output, which must hold the chunk's frames. `scale` as in [`cut::held`].
pub fn read(file: &Path, rendition: &Rendition, chunk: &Chunk, scale: i64) -> Result<Held, EncodeError> {
    let wrong = |text: String| EncodeError::Mismatch(format!("{}, chunk {}: {text}", rendition.name, chunk.number));
    // ffmpeg writes no header for a track of which it saw no frame.
    let track = boxes::fragmented(file).map_err(|text| wrong(format!("decoder gave 0 of {} frames ({text})", chunk.times.count())))?;
    let cuts = cut::held(chunk, scale, &track.fragments).map_err(wrong)?;
    Ok(Held { track, cuts })
}

/// Work on files, off the runtime's threads.
pub async fn blocking<T: Send + 'static, E: From<Fault> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Fault::retry(format!("reading the encoder's output broke off: {error}")).into()),
    }
}

/// The inputs are our own files: a complaint about them is not the source's fault.
pub fn ours(error: EncodeError) -> EncodeError {
    match error {
        EncodeError::Mismatch(text) => Fault::escalate(Shortage::Tool, text).into(),
        other => other,
    }
}

/// Runs ffmpeg with its progress, and answers its last words. What reads as a bad source is told as a mismatch: a sparse file may be at fault.
pub async fn run(
    encoder: &FfmpegEncoder,
    command: args::Command,
    dir: &CellDir,
    progress: &Progress,
    key: &'static str,
) -> Result<String, EncodeError> {
    run_within(encoder, encoder.limits(), command, dir, progress, key).await
}

/// The same within other limits.
pub async fn run_within(
    encoder: &FfmpegEncoder,
    limits: cell::Limits,
    command: args::Command,
    dir: &CellDir,
    progress: &Progress,
    key: &'static str,
) -> Result<String, EncodeError> {
    // The reader of the lines outlives this borrow of the caller's progress: it counts by itself and is read here.
    let counter = std::sync::Arc::new(Progress::default());
    let lines = Watch { key, counter: counter.clone() };
    let mut run = std::pin::pin!(cell::run(command.clone(), dir.path().to_owned(), limits, None, lines));
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(500));
    let outcome = loop {
        tokio::select! {
            outcome = &mut run => break outcome?,
            _ = tick.tick() => progress.set(counter.get()),
        }
    };
    progress.set(counter.get());
    encoder.note(outcome.report);
    if let Some(fault) = outcome.stopped {
        return Err(fault.into());
    }
    match verdict(outcome.ended, &outcome.stderr) {
        None if outcome.corrupt => Err(EncodeError::Mismatch("the decoder says that frames are corrupt".into())),
        None => Ok(outcome.stderr),
        Some(Fault::Reject(text)) => Err(EncodeError::Mismatch(format!("the decoder refused it: {text}"))),
        Some(fault) => Err(failed(encoder, command, outcome.stderr, fault).await),
    }
}

/// What broke down or ran out of something leaves its command; any other fault is told as it is.
pub async fn failed(encoder: &FfmpegEncoder, command: args::Command, stderr: String, fault: Fault) -> EncodeError {
    let Fault::Escalate { reason, detail: how } = fault else { return fault.into() };
    let program = if command.program == encoder.tools().ffprobe { "ffprobe" } else { "ffmpeg" };
    let (version, shortage) = (encoder.version(program).await, ran_out(reason));
    EncodeError::Crash(Box::new(Crash {
        how,
        program: program.to_owned(),
        version,
        args: command.args,
        files: command.files,
        stderr,
        shortage,
    }))
}

/// As a crash says it.
fn ran_out(reason: Shortage) -> Option<Shortage> {
    Some(reason).filter(|reason| *reason != Shortage::Tool)
}

/// Reads `-progress`: `key=number` lines.
struct Watch {
    key: &'static str,
    counter: std::sync::Arc<Progress>,
}
impl Lines for Watch {
    fn line(&mut self, line: &[u8]) -> Result<(), Fault> {
        let text = std::str::from_utf8(line).unwrap_or_default();
        if let Some(count) = text.strip_prefix(self.key).and_then(|value| value.trim().parse().ok()) {
            self.counter.set(count);
        }
        Ok(())
    }
}

fn collect(dir: &CellDir, out: &Path, renditions: &[Rendition], chunk: &Chunk, scale: i64) -> Result<Vec<MadeRendition>, EncodeError> {
    let make = |(position, rendition): (usize, &Rendition)| {
        let file = dir.join(&args::chunk_output(position));
        let Held { track, cuts } = read(&file, rendition, chunk, scale)?;
        let codec = codec::codec_string(&track.moov)
            .ok_or_else(|| Fault::escalate(Shortage::Tool, "the encoder wrote a codec that has no name here"))?;
        let segments = cut::write(&file, &cuts, out, |number| format!("v{position}_{number:04}.m4s"))?;
        Ok(MadeRendition { name: rendition.name.clone(), init: track.init, codec, segments })
    };
    renditions.iter().enumerate().map(make).collect()
}
