//! One audio track, encoded once and whole.

use std::path::Path;

use mp4_atom::Moov;
use pipeline::{
    Fault, Shortage,
    encoder::{AudioWork, EncodeError, MadeAudio},
    plan::AudioPlan,
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
    let command = if work.careful { command.careful() } else { command };
    run(encoder, command, &dir, work.progress, "out_time_us=").await?;
    let (out, audio) = (work.out.to_owned(), work.audio.clone());
    blocking(move || collect(&dir, &out, &audio)).await
}

fn collect(dir: &CellDir, out: &Path, audio: &AudioPlan) -> Result<MadeAudio, EncodeError> {
    let file = dir.join(args::AUDIO_OUTPUT);
    let wrong = |text: String| EncodeError::Mismatch(format!("{}: {text}", audio.name));
    let track = boxes::fragmented(&file).map_err(|text| wrong(format!("the decoder gave no sound ({text})")))?;
    let cuts = cuts(&track.fragments, priming(&track.moov));
    let length = cuts.last().map_or(0, |cut| cut.start.saturating_add(cut.duration));
    right_length(length, audio).map_err(wrong)?;
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

/// `length` in samples from T0. The last packet is filled up, and the source's own last packet may be cut or whole:
/// a packet less, or two more, are the same sound. WMA's own packets are twice as long.
fn right_length(length: i64, audio: &AudioPlan) -> Result<(), String> {
    let wanted = audio.end_us.saturating_mul(i64::from(args::SAMPLE_RATE)) / 1_000_000;
    let more = if audio.codec.starts_with("wma") { 4 * PACKET } else { 2 * PACKET };
    if length < wanted - PACKET || length > wanted + more {
        return Err(format!("the sound has {length} samples, the plan has {wanted}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use pipeline::{plan::Role, timebase::TimeBase};

    use super::*;

    fn second(codec: &str) -> AudioPlan {
        AudioPlan {
            name: "audio".into(),
            codec: codec.into(),
            index: 1,
            position: 0,
            language: String::new(),
            title: String::new(),
            default: true,
            role: Role::Main,
            channels: 2,
            time_base: TimeBase::MILLIS,
            origin_us: 0,
            start_us: 0,
            end_us: 1_000_000,
            bitrate: 128_000,
        }
    }

    #[test]
    fn a_lost_packet_at_the_end_passes_and_a_lost_second_does_not() {
        let held = |length| right_length(length, &second("aac"));
        assert_eq!((held(48_000), held(48_000 - 1024), held(48_000 + 2048)), (Ok(()), Ok(()), Ok(())));
        assert!(held(48_000 - 1025).is_err() && held(48_000 + 2049).is_err() && held(96_000).is_err());
    }

    #[test]
    fn only_wma_may_end_two_of_its_own_packets_late() {
        let held = |length| right_length(length, &second("wmav2"));
        assert_eq!(held(48_000 + 4096), Ok(()));
        assert!(held(48_000 + 4097).is_err());
    }
}
