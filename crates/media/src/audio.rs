//! One audio track, encoded once and whole.

use std::path::{Path, PathBuf};

use mp4_atom::{Codec, Moov};
use pipeline::{
    Fault, Shortage,
    encoder::{AudioWork, EncodeError, MadeAudio, Progress},
    loudness::{self, Level, Loudness, hundredths},
    plan::AudioPlan,
    samples::{SampleTable, Samples},
};

use crate::{
    FfmpegEncoder,
    args::{self, sound},
    boxes::{self, Fragment},
    chunk::{blocking, run},
    codec,
    cut::{self, Cut},
    damage,
    dir::{CellDir, io_fault},
};

/// Of a peak that is no sound at all, dB: below the last bit of 24.
const NOTHING: f64 = -144.0;
/// Samples of one AAC packet.
const PACKET: i64 = 1024;

/// Encodes, brings it to the profile's level, and holds the length against the plan.
pub async fn encode(encoder: &FfmpegEncoder, work: &AudioWork<'_>) -> Result<MadeAudio, EncodeError> {
    let (lost, loudness) = match work.plan.profile.loudness {
        None => (once(encoder, work, 0).await?, None),
        Some(target) => to_level(encoder, work, hundredths(target)).await.map(|(lost, loudness)| (lost, Some(loudness)))?,
    };
    let (out, audio) = (work.out.to_owned(), work.audio.clone());
    let made = blocking(move || collect(&out, &audio, loudness)).await?;
    Ok(MadeAudio { lost, ..made })
}

/// Where the whole track is encoded to.
fn encoded(out: &Path) -> PathBuf {
    out.join(sound::OUTPUT)
}

/// Answers what of it could not be decoded: silence, where the profile takes a part for the whole.
async fn once(encoder: &FfmpegEncoder, work: &AudioWork<'_>, gain: i32) -> Result<Vec<(i64, i64)>, EncodeError> {
    let fills = work.plan.takes_a_part();
    let dir = CellDir::new(work.out)?;
    dir.link(work.source, args::INPUT)?;
    let command = sound::encode(&encoder.tools().ffmpeg, work.audio, gain, fills);
    let log = run(encoder, command.with_care(work.careful), &dir, work.progress, "out_time_us=").await?;
    let lost = damage::stretches(encoder, work, &log).await?;
    if let Some(first) = lost.first().filter(|_| !fills) {
        return Err(EncodeError::Mismatch(damage::told(*first, &log)));
    }
    let (from, to) = (dir.join(sound::OUTPUT), encoded(work.out));
    blocking(move || std::fs::rename(&from, &to).map_err(|error| EncodeError::from(io_fault("move", &to, &error)))).await?;
    Ok(lost)
}

/// Measures, encodes with the gain that this asks for, and measures what was made; once more where encoding took from it.
async fn to_level(encoder: &FfmpegEncoder, work: &AudioWork<'_>, target: i32) -> Result<(Vec<(i64, i64)>, Loudness), EncodeError> {
    let ffmpeg = &encoder.tools().ffmpeg;
    let made = encoded(work.out);
    let source = metered(encoder, work, work.source, sound::meter(ffmpeg, work.audio)).await?;
    let gain = loudness::gain(target, source);
    let lost = once(encoder, work, gain).await?;
    let first = metered(encoder, work, &made, sound::meter_made(ffmpeg)).await?;
    let Some(better) = loudness::again(target, source, gain, first) else { return Ok((lost, Loudness { source, gain, made: first })) };
    once(encoder, work, better).await?;
    Ok((lost, Loudness { source, gain: better, made: metered(encoder, work, &made, sound::meter_made(ffmpeg)).await? }))
}

async fn metered(encoder: &FfmpegEncoder, work: &AudioWork<'_>, file: &Path, command: args::Command) -> Result<Level, EncodeError> {
    let dir = CellDir::new(work.out)?;
    dir.link(file, args::INPUT)?;
    let log = run(encoder, command.with_care(work.careful), &dir, &Progress::default(), "out_time_us=").await?;
    let level = level(&log).ok_or_else(|| Fault::escalate(Shortage::Tool, "the meter of loudness ended well and said nothing"));
    Ok(level?)
}

/// What the meter says at its end: `I: -23.0 LUFS` and `Peak: -1.5 dBFS`.
fn level(log: &str) -> Option<Level> {
    let summary = log.get(log.rfind("Summary:")?..)?;
    let number = |name: &str| {
        let text = summary.lines().find_map(|line| line.trim().strip_prefix(name))?.split_ascii_whitespace().next()?;
        text.parse::<f64>().ok().map(|number| hundredths(number.max(NOTHING)))
    };
    Some(Level { loudness: number("I:")?, peak: number("Peak:")? })
}

fn collect(out: &Path, audio: &AudioPlan, loudness: Option<Loudness>) -> Result<MadeAudio, EncodeError> {
    let file = encoded(out);
    let wrong = |text: String| EncodeError::Mismatch(format!("{}: {text}", audio.name));
    let track = boxes::fragmented(&file).map_err(|text| wrong(format!("the decoder gave no sound ({text})")))?;
    let cuts = cuts(&track.fragments, priming(&track.moov));
    let length = cuts.last().map_or(0, |cut| cut.start.saturating_add(cut.duration));
    right_length(length, audio).map_err(wrong)?;
    let tool = |what: &str| Fault::escalate(Shortage::Tool, format!("the encoder wrote {what}"));
    if channels(&track.moov) != Some(audio.channels) {
        return Err(tool("other channels than it was asked for").into());
    }
    let codec = codec::codec_string(&track.moov).ok_or_else(|| tool("a codec that has no name here"))?;
    let segments = cut::write(&file, &cuts, out, |number| format!("audio_{number:04}.m4s"))?;
    std::fs::remove_file(&file).map_err(|error| io_fault("remove", &file, &error))?;
    Ok(MadeAudio {
        init: track.init,
        codec,
        sample_rate: args::SAMPLE_RATE,
        channels: audio.channels,
        loudness,
        lost: Vec::new(),
        segments,
    })
}

fn channels(moov: &Moov) -> Option<u32> {
    match moov.trak.first()?.mdia.minf.stbl.stsd.codecs.first()? {
        Codec::Mp4a(entry) => Some(u32::from(entry.audio.channel_count)),
        _ => None,
    }
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
    let wanted = audio.until_us().saturating_mul(i64::from(args::SAMPLE_RATE)) / 1_000_000;
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
            silence_us: 0,
            bitrate: 128_000,
            excerpt: None,
        }
    }

    #[test]
    fn a_lost_packet_at_the_end_passes_and_a_lost_second_does_not() {
        let held = |length| right_length(length, &second("aac"));
        assert_eq!((held(48_000), held(48_000 - 1024), held(48_000 + 2048)), (Ok(()), Ok(()), Ok(())));
        assert!(held(48_000 - 1025).is_err() && held(48_000 + 2049).is_err() && held(96_000).is_err());
    }

    #[test]
    fn silence_behind_the_sound_counts_and_does_not_hide_what_is_missing() {
        let held = |length| right_length(length, &AudioPlan { silence_us: 2_000_000, ..second("aac") });
        assert!(held(3 * 48_000).is_ok() && held(48_000).is_err() && held(2 * 48_000 + 24_000).is_err());
    }

    #[test]
    fn the_meter_is_read_from_its_last_words() {
        let log = "[Parsed_ebur128_2 @ 0x1] Summary:\n\n  Integrated loudness:\n    I:         -36.3 LUFS\n    Threshold: -47.2 LUFS\n\n  \
                   Loudness range:\n    LRA:         1.0 LU\n    Threshold: -57.1 LUFS\n\n  True peak:\n    Peak:      -23.7 dBFS\n[out#0] video:0KiB";
        assert_eq!(level(log), Some(Level { loudness: -3630, peak: -2370 }));
        let silent = log.replace("-36.3", "-70.0").replace("-23.7", "-inf");
        assert_eq!(level(&silent), Some(Level { loudness: -7000, peak: -14_400 }));
        assert_eq!(level("Summary:\n  I: x\n"), None);
        assert_eq!(level(""), None);
    }

    #[test]
    fn only_wma_may_end_two_of_its_own_packets_late() {
        let held = |length| right_length(length, &second("wmav2"));
        assert_eq!(held(48_000 + 4096), Ok(()));
        assert!(held(48_000 + 4097).is_err());
    }
}
