//! Text subtitles: ffmpeg decodes a track, what it prints is read line by line, made plain, and written as `WebVTT`.

mod cues;
mod plain;

use pipeline::{
    Fault, Shortage,
    encoder::{EncodeError, MadeText, TextWork},
};
use sha2::{Digest, Sha256};

use self::cues::Reader;
use crate::{
    FfmpegEncoder, args, cell,
    chunk::{blocking, failed},
    dir::{CellDir, io_fault},
    matroska,
    verdict::{Ended, verdict},
};

/// CPU of one conversion: the packets of the whole film are read, and only text is decoded.
const MAX_CPU_SECONDS: u64 = 900;
/// Address space of one conversion: decoders of 8K pictures are opened, and never used.
const MAX_MEMORY: u64 = 4 << 30;
/// How ffmpeg tells of text that it cannot decode, and goes on.
const LOST: &str = "Error decoding subtitles";

/// Converts a track. A mismatch says why there is nothing to show, in words that follow the track's name.
pub async fn convert(encoder: &FfmpegEncoder, work: &TextWork<'_>) -> Result<MadeText, EncodeError> {
    let dir = CellDir::new(work.out)?;
    dir.link(work.source, args::INPUT)?;
    passable(work).await?;
    let command = args::text(&encoder.tools().ffmpeg, work.text).with_care(work.careful);
    let limits = encoder.limits();
    let limits =
        cell::Limits { cpu_seconds: limits.cpu_seconds.min(MAX_CPU_SECONDS), memory_bytes: limits.memory_bytes.min(MAX_MEMORY), ..limits };
    let outcome = cell::run(command.clone(), dir.path().to_owned(), limits, None, Reader::default()).await?;
    encoder.note(outcome.report);
    match outcome.stopped.or_else(|| unreadable(outcome.ended, &outcome.stderr)) {
        None => {}
        Some(Fault::Reject(reason)) => return Err(EncodeError::Mismatch(reason)),
        Some(fault) => return Err(failed(encoder, command, outcome.stderr, fault).await),
    }
    let length_ms = u64::try_from(work.plan.length_us().div_euclid(1000)).unwrap_or(0);
    let drawn = matches!(work.text.codec.as_str(), "ass" | "ssa");
    let (damaged, reader) = (outcome.stderr.contains(LOST), outcome.sink);
    let path = work.out.join(format!("{}.vtt", work.text.name));
    blocking(move || {
        let track = reader.finish(length_ms, drawn);
        if track.cues.is_empty() {
            let unread = if damaged { ", or none that can be read" } else { "" };
            return Err(EncodeError::Mismatch(format!("it holds no text that is shown within the film{unread}")));
        }
        let text = cues::webvtt(&track.cues);
        std::fs::write(&path, &text).map_err(|error| io_fault("write", &path, &error))?;
        Ok(MadeText {
            bytes: text.len() as u64,
            sha256: hex::encode(Sha256::digest(&text)),
            cues: u32::try_from(track.cues.len()).unwrap_or(u32::MAX),
            dropped: track.dropped,
            path,
            damaged,
        })
    })
    .await
}

/// Of a Matroska file with holes, makes a Matroska file.
async fn passable(work: &TextWork<'_>) -> Result<(), EncodeError> {
    let is_whole = matches!(work.ranges, [all] if all.start == 0 && all.end >= work.plan.source_bytes);
    if is_whole || !work.plan.container.split(',').any(|name| name == "matroska") {
        return Ok(());
    }
    let (path, ranges) = (work.source.to_owned(), work.ranges.to_vec());
    let filled = blocking(move || matroska::fill(&path, &ranges).map_err(|error| io_fault("fill the holes of", &path, &error))).await?;
    if filled { Ok(()) } else { Err(EncodeError::Mismatch("what was read of the file does not lead to it".into())) }
}

/// As [`verdict`], but what ffmpeg refuses, or cannot do within limits of its own, is the track's fault: another try gives
/// the same. A kill from outside, a crash, and an option that this ffmpeg does not know stay the world's.
fn unreadable(ended: Ended, stderr: &str) -> Option<Fault> {
    let fault = verdict(ended, stderr)?;
    Some(match (&fault, ended) {
        (Fault::Reject(_), _) => Fault::reject("it cannot be read"),
        (Fault::Escalate { reason: Shortage::Memory | Shortage::Time, .. }, Ended::Exit(_) | Ended::Signal(libc::SIGXCPU)) => {
            Fault::reject("it takes more memory or time to be read than is accepted")
        }
        (Fault::Escalate { reason: Shortage::Tool, .. }, Ended::Exit(_)) if !stderr.to_ascii_lowercase().contains("option") => {
            Fault::reject("it cannot be read")
        }
        _ => fault,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ffmpeg_refuses_is_left_out_and_what_the_world_does_is_not() {
        let refused = |ended, stderr| matches!(unreadable(ended, stderr), Some(Fault::Reject(_)));
        assert!(refused(Ended::Exit(187), "Invalid data found when processing input"));
        assert!(refused(Ended::Exit(1), "Cannot allocate memory"));
        assert!(refused(Ended::Exit(234), "something new"));
        assert!(refused(Ended::Signal(libc::SIGXCPU), ""));
        assert_eq!(unreadable(Ended::Exit(0), LOST), None);
        assert!(matches!(unreadable(Ended::Signal(libc::SIGKILL), ""), Some(Fault::Killed(_))));
        for (ended, stderr) in
            [(Ended::OutOfMemory, ""), (Ended::Signal(libc::SIGSEGV), ""), (Ended::Wall, ""), (Ended::Exit(8), "Option not found")]
        {
            assert!(matches!(unreadable(ended, stderr), Some(Fault::Escalate { .. })), "{ended:?}");
        }
    }
}
