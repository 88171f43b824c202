//! The copy of a source that can be cut: sound, picture and text in one Matroska file with an index.

use std::path::Path;

use bytes::Bytes;
use futures::StreamExt;
use pipeline::{
    Fault, Shortage,
    encoder::{ByteStream, MAX_WHOLE, ProbeInput, Remux, Remuxed},
    source::SourceReport,
};

use crate::{
    FfmpegEncoder,
    args::{
        self,
        remux::{self as form, Times},
    },
    cell::{self, Input, Lines},
    chunk::blocking,
    dir::{CellDir, io_fault},
    order,
    probe::{self, pour},
    tools::file_sha256,
    verdict::verdict,
};

/// Bytes of a stream that its tracks are read from: more than ffmpeg itself looks at (5 MB).
const HEAD: u64 = 8 << 20;
/// Blocks between the download and the pipe.
const MAX_BLOCKS: usize = 4;

/// Remuxes a source to `out`.
pub async fn remux(encoder: &FfmpegEncoder, work: Remux, scratch: &Path, out: &Path) -> Result<Remuxed, Fault> {
    room(scratch, work.bytes)?;
    let dir = CellDir::new(scratch)?;
    let tracks = match work.input {
        ProbeInput::File(path) | ProbeInput::Cut(path) => {
            dir.link(&path, args::INPUT)?;
            let tracks = probe::tracks(encoder, &dir, None).await?;
            run(encoder, &dir, &tracks, None, &times(&tracks, work.mend)).await?;
            tracks
        }
        ProbeInput::Stream(mut stream) => {
            let head = beginning(&mut stream).await?;
            let tracks = probe::tracks(encoder, &dir, Some(head.clone())).await?;
            let whole: ByteStream = Box::pin(futures::stream::iter(head.into_iter().map(Ok)).chain(stream));
            let (sender, receiver) = tokio::sync::mpsc::channel(MAX_BLOCKS);
            let times = times(&tracks, work.mend);
            pour(whole, sender, None, run(encoder, &dir, &tracks, Some(receiver), &times)).await?;
            tracks
        }
    };
    let dir = if order::is_unknown(&tracks) && !work.mend { in_display_order(encoder, dir, scratch, &tracks).await? } else { dir };
    let (made, out) = (dir.join(form::OUTPUT), out.to_owned());
    let (bytes, sha256) = blocking(move || {
        let bytes = std::fs::metadata(&made).map_err(|error| io_fault("read", &made, &error))?.len();
        std::fs::rename(&made, &out).map_err(|error| io_fault("move", &out, &error))?;
        Ok::<_, Fault>((bytes, file_sha256(&out).map_err(|error| io_fault("read", &out, &error))?))
    })
    .await?;
    Ok(Remuxed { bytes, sha256, left_out: form::left_out(&tracks) })
}

fn times(tracks: &SourceReport, mend: bool) -> Times {
    match () {
        () if mend => Times::Mended,
        () if order::is_unknown(tracks) => Times::Decoding,
        () => Times::Kept,
    }
}

/// The copy in `dir`, whose pictures have times of decoding, with those at which they are shown. Answers its directory.
async fn in_display_order(encoder: &FfmpegEncoder, dir: CellDir, scratch: &Path, source: &SourceReport) -> Result<CellDir, Fault> {
    let copy = dir.join(form::OUTPUT);
    let bytes = std::fs::metadata(&copy).map_err(|error| io_fault("read", &copy, &error))?.len();
    room(scratch, bytes)?;
    let next = CellDir::new(scratch)?;
    next.link(&copy, args::INPUT)?;
    let Some(displayed) = order::displayed(encoder, &next, source).await? else { return Ok(dir) };
    let tracks = probe::tracks(encoder, &next, None).await?;
    run(encoder, &next, &tracks, None, &Times::Displayed(displayed)).await?;
    Ok(next)
}

/// Whether a copy of a source of this size has a place.
fn room(scratch: &Path, bytes: u64) -> Result<(), Fault> {
    let by_hand = "remux the film yourself (ffmpeg -fflags +genpts -i IN -c copy OUT.mkv) and upload that";
    if bytes > MAX_WHOLE {
        return Err(Fault::reject(format!(
            "the file must be remuxed before it can be cut, and its {} MiB are more than the {} MiB that fit on a worker's disk: {by_hand}",
            bytes >> 20,
            MAX_WHOLE >> 20
        )));
    }
    let Ok(disk) = rustix::fs::statvfs(scratch) else { return Ok(()) };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if bytes > free {
        let text = format!(
            "the file must be remuxed before it can be cut, and of its {} MiB only {} MiB fit on the disk below {}: \
             give the split function more EphemeralStorage, or {by_hand}",
            bytes >> 20,
            free >> 20,
            scratch.display()
        );
        return Err(Fault::escalate(Shortage::Disk, text));
    }
    Ok(())
}

/// The first blocks of a stream.
async fn beginning(stream: &mut ByteStream) -> Result<Vec<Bytes>, Fault> {
    let (mut head, mut bytes) = (Vec::new(), 0u64);
    while bytes < HEAD {
        let Some(block) = stream.next().await else { break };
        let block = block?;
        bytes += block.len() as u64;
        head.push(block);
    }
    Ok(head)
}

async fn run(encoder: &FfmpegEncoder, dir: &CellDir, tracks: &SourceReport, input: Option<Input>, times: &Times) -> Result<(), Fault> {
    let command = form::command(&encoder.tools().ffmpeg, tracks, input.is_some(), times);
    let limits = encoder.limits();
    let limits = cell::Limits { file_bytes: limits.file_bytes.min(MAX_WHOLE), ..limits };
    let outcome = cell::run(command, dir.path().to_owned(), limits, input, Quiet).await?;
    encoder.note(outcome.report);
    match outcome.stopped.or_else(|| verdict(outcome.ended, &outcome.stderr)) {
        None => Ok(()),
        Some(Fault::Escalate { reason: Shortage::Tool, .. }) if outcome.stderr.contains("matroska") => Err(unfit(tracks, &outcome.stderr)),
        Some(fault) => Err(fault),
    }
}

/// The packets are readable and Matroska cannot take them.
fn unfit(tracks: &SourceReport, log: &str) -> Fault {
    let codecs: Vec<&str> = tracks.video.iter().filter(|t| !t.cover).map(|t| t.codec.as_str()).collect();
    let why = if log.contains("unknown timestamp") { "its pictures have no times" } else { "no container with an index takes its packets" };
    let (container, codecs) = (&tracks.container, codecs.join(", "));
    Fault::reject(format!(
        "`{codecs}` in a `{container}` file cannot be cut: {why}; convert the film (ffmpeg -i IN OUT.mp4) and upload that"
    ))
}

/// Progress that nobody reads.
struct Quiet;
impl Lines for Quiet {
    fn line(&mut self, _: &[u8]) -> Result<(), Fault> {
        Ok(())
    }
}
