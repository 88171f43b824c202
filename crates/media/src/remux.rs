//! The copy of a source that can be cut: sound, picture and text in one Matroska file with an index.

use std::path::Path;

use bytes::Bytes;
use futures::{StreamExt, channel::mpsc};
use pipeline::{
    Fault, Shortage,
    encoder::{ByteStream, EncodeError, MAX_WHOLE, ProbeInput, Remux, Remuxed},
    ports::Block,
    source::SourceReport,
};

use crate::{
    FfmpegEncoder,
    args::{
        self,
        remux::{self as form, Times},
    },
    cell::{self, Input, Lines},
    chunk::failed,
    dir::{CellDir, io_fault},
    growing::{BACKLOG, Growing},
    order,
    probe::{self, pour},
    verdict::verdict,
};

/// Bytes of a stream that its tracks are read from: more than ffmpeg itself looks at (5 MB).
const HEAD: u64 = 8 << 20;
/// Bytes of the disk that a copy leaves to others, and by which it may be larger than twice its source.
const BESIDE: u64 = 2 * BACKLOG;
/// Blocks between the download and the pipe.
const MAX_BLOCKS: usize = 4;

/// Remuxes a source into `blocks`, and to `out` if it is small enough to be kept.
pub async fn remux(
    encoder: &FfmpegEncoder,
    work: Remux,
    scratch: &Path,
    out: &Path,
    blocks: mpsc::Sender<Block>,
) -> Result<Remuxed, EncodeError> {
    let mut form = Form { dirs: (CellDir::new(scratch)?, None), times: if work.mend { Times::Mended } else { Times::Kept } };
    let (mut tracks, mut source) = open(encoder, &form.dirs.0, work.input).await?;
    if !work.mend && form::has_times_of_frames(&tracks) {
        form.times = Times::Lent;
    }
    let left_out = form::left_out(&tracks);
    if order::is_unknown(&tracks) && !work.mend {
        room(scratch, work.bytes)?;
        (form, tracks) = in_display_order(encoder, form.dirs.0, scratch, (&tracks, source.take())).await?;
    }
    let growing = Growing::new(form.dirs.0.join(form::OUTPUT), place(scratch, work.hold, work.bytes));
    let source = source.map(|stream| growing.paced(stream));
    let most = work.bytes.saturating_mul(2).saturating_add(BESIDE);
    growing.follow(run(encoder, &form.dirs.0, (&tracks, source), &form.times, most), blocks).await?;
    let (bytes, is_here) = (growing.bytes(), growing.is_whole());
    if is_here {
        let made = form.dirs.0.join(form::OUTPUT);
        std::fs::rename(&made, out).map_err(|error| io_fault("move", out, &error))?;
    }
    Ok(Remuxed { bytes, is_here, lent: form.times == Times::Lent, left_out })
}

/// How the copy is made.
struct Form {
    /// Where it is made, and where what it is made from lies, if that is a copy too.
    dirs: (CellDir, Option<CellDir>),
    times: Times,
}

/// The tracks of a source, and the whole of it if it is a stream.
async fn open(encoder: &FfmpegEncoder, dir: &CellDir, input: ProbeInput) -> Result<(SourceReport, Option<ByteStream>), EncodeError> {
    match input {
        ProbeInput::File(path) | ProbeInput::Cut(path) => {
            dir.link(&path, args::INPUT)?;
            probe::few_in(&path).await?;
            Ok((probe::tracks(encoder, dir, None).await?, None))
        }
        ProbeInput::Stream(stream) => {
            let mut stream = probe::few(stream);
            let head = beginning(&mut stream).await?;
            let tracks = probe::tracks(encoder, dir, Some(head.clone())).await?;
            Ok((tracks, Some(Box::pin(futures::stream::iter(head.into_iter().map(Ok)).chain(stream)))))
        }
    }
}

/// A first copy, whose pictures have times of decoding, is decoded for those at which they are shown. Answers how the second
/// is made, and the tracks of what it is made from.
async fn in_display_order(
    encoder: &FfmpegEncoder,
    dir: CellDir,
    scratch: &Path,
    (source, stream): (&SourceReport, Option<ByteStream>),
) -> Result<(Form, SourceReport), EncodeError> {
    run(encoder, &dir, (source, stream), &Times::Decoding, MAX_WHOLE).await?;
    let copy = dir.join(form::OUTPUT);
    let bytes = std::fs::metadata(&copy).map_err(|error| io_fault("read", &copy, &error))?.len();
    room(scratch, bytes)?;
    let next = CellDir::new(scratch)?;
    next.link(&copy, args::INPUT)?;
    let times = order::displayed(encoder, &next, source).await?.map_or(Times::Kept, Times::Displayed);
    let tracks = probe::tracks(encoder, &next, None).await?;
    Ok((Form { dirs: (next, Some(dir)), times }, tracks))
}

/// Bytes of the largest copy that is kept: `hold`, or what the disk has, whichever is less; none of a source that is larger,
/// as its copy will be.
fn place(scratch: &Path, hold: u64, bytes: u64) -> u64 {
    let free = rustix::fs::statvfs(scratch).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    let most = hold.min(free.saturating_sub(BESIDE));
    if bytes <= most { most } else { 0 }
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

/// `most`: bytes that are written.
async fn run(
    encoder: &FfmpegEncoder,
    dir: &CellDir,
    (tracks, source): (&SourceReport, Option<ByteStream>),
    times: &Times,
    most: u64,
) -> Result<(), EncodeError> {
    let command = form::command(&encoder.tools().ffmpeg, tracks, source.is_some(), times);
    let limits = cell::Limits { file_bytes: most, ..encoder.limits() };
    let begin = |input: Option<Input>| cell::run(command.clone(), dir.path().to_owned(), limits, input, Quiet);
    let outcome = match source {
        None => begin(None).await?,
        Some(stream) => {
            let (sender, receiver) = tokio::sync::mpsc::channel(MAX_BLOCKS);
            pour(stream, sender, None, begin(Some(receiver))).await?
        }
    };
    encoder.note(outcome.report);
    if let Some(fault) = outcome.stopped {
        return Err(fault.into());
    }
    match verdict(outcome.ended, &outcome.stderr) {
        None if outcome.torn => Err(Fault::reject(
            "the file is damaged: stretches of it do not fit the checksums that it has of them, and what was in them is lost; upload it again",
        )
        .into()),
        None => Ok(()),
        Some(Fault::Escalate { reason: Shortage::Tool, .. }) if outcome.stderr.contains("matroska") => {
            Err(unfit(tracks, &outcome.stderr).into())
        }
        Some(fault) => Err(failed(encoder, command, outcome.stderr, fault).await),
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
