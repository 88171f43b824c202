//! One audio track, encoded once and whole.

use std::path::Path;

use mp4_atom::Moov;
use pipeline::{
    Fault, Shortage,
    encoder::{AudioWork, EncodeError, MadeAudio},
    samples::{SampleTable, Samples},
};

use crate::{
    FfmpegEncoder, args,
    boxes::{self, Fragment},
    chunk::{blocking, run},
    codec,
    cut::{self, Cut},
    dir::CellDir,
};

/// Samples of one AAC packet.
const PACKET: i64 = 1024;

/// Encodes, and holds the length against the plan.
pub async fn encode(encoder: &FfmpegEncoder, work: &AudioWork<'_>) -> Result<MadeAudio, EncodeError> {
    let dir = CellDir::new(work.out)?;
    dir.link(work.source, args::INPUT)?;
    let command = args::audio(&encoder.tools().ffmpeg, work.audio);
    run(encoder, command, &dir, work.progress, "out_time_us=").await?;
    let (out, name, end_us) = (work.out.to_owned(), work.audio.name.clone(), work.audio.end_us);
    blocking(move || collect(&dir, &out, &name, end_us)).await
}

fn collect(dir: &CellDir, out: &Path, name: &str, end_us: i64) -> Result<MadeAudio, EncodeError> {
    let file = dir.join(args::AUDIO_OUTPUT);
    let wrong = |text: String| EncodeError::Mismatch(format!("{name}: {text}"));
    let track = boxes::fragmented(&file).map_err(|text| wrong(format!("the decoder gave no sound ({text})")))?;
    let cuts = cuts(&track.fragments, priming(&track.moov));
    let length = cuts.last().map_or(0, |cut| cut.start.saturating_add(cut.duration));
    right_length(length, end_us).map_err(wrong)?;
    let codec = codec::codec_string(&track.moov)
        .ok_or_else(|| Fault::escalate(Shortage::Tool, "the encoder wrote a codec that has no name here"))?;
    let segments = cut::write(&file, &cuts, out, |number| format!("audio_{number:04}.m4s"))?;
    Ok(MadeAudio { init: track.init, codec, sample_rate: args::SAMPLE_RATE, channels: args::CHANNELS, segments })
}

/// Samples before T0 that the edit list tells players to drop.
fn priming(moov: &Moov) -> i64 {
    let list = moov.trak.first().and_then(|trak| trak.edts.as_ref()?.elst.as_ref());
    let first = list.and_then(|list| list.entries.iter().find_map(|entry| entry.media_time));
    first.and_then(|samples| i64::try_from(samples).ok()).unwrap_or(0)
}

/// Every fragment is a segment; the first is shorter by the priming.
fn cuts(fragments: &[Fragment], priming: i64) -> Vec<Cut> {
    let cut = |fragment: &Fragment| {
        let first = fragment.samples.first().map_or(0, |sample| sample.pts).saturating_sub(priming);
        let last = fragment.samples.last();
        let end = last.map_or(0, |sample| sample.pts.saturating_add(i64::from(sample.duration))).saturating_sub(priming);
        let start = first.max(0);
        let frames = u32::try_from(fragment.samples.len()).unwrap_or(u32::MAX);
        let durations = fragment.samples.iter().map(|sample| sample.duration).collect();
        let samples = Samples { durations, ..cut::table(std::slice::from_ref(fragment)) };
        Cut { range: fragment.range.clone(), start, duration: end.saturating_sub(start), frames, samples: SampleTable::pack(&samples) }
    };
    fragments.iter().map(cut).collect()
}

/// Longest packet of common sound codecs (WMA, HE-AAC), samples.
const LONGEST_PACKET: i64 = 2 * PACKET;

/// `length` in samples from T0. The last packet is filled up, and the source's own last packet may be cut or whole:
/// a packet less, or two more, are the same sound.
fn right_length(length: i64, end_us: i64) -> Result<(), String> {
    let wanted = end_us.saturating_mul(i64::from(args::SAMPLE_RATE)) / 1_000_000;
    if length < wanted - PACKET || length > wanted + 2 * LONGEST_PACKET {
        return Err(format!("the sound has {length} samples, the plan has {wanted}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_packet_at_the_end_passes_and_a_lost_second_does_not() {
        assert_eq!(right_length(48_000, 1_000_000), Ok(()));
        assert_eq!(right_length(48_000 - 1024, 1_000_000), Ok(()));
        assert!(right_length(48_000 - 1025, 1_000_000).is_err());
        assert!(right_length(96_000, 1_000_000).is_err());
    }
}
