//! What becomes of the sound, beside the picture or without one.

use super::{MAX_AUDIO, Planned, Surroundings, sane_seconds};
use crate::{
    fault::Fault,
    plan::{AudioPlan, Channels, Plan, Profile, SCHEMA},
    source::{AudioTrack, SourceReport},
    timebase::TimeBase,
};

/// The tracks that are encoded: of which something is heard, and it is known when.
pub fn carried(report: &SourceReport) -> impl Iterator<Item = &AudioTrack> {
    let is_heard = |track: &&AudioTrack| track.packets > 0 && track.first_pts.is_some() && track.end_pts.is_some();
    report.audio.iter().filter(is_heard).take(MAX_AUDIO)
}

/// Lines for the receipt: sound that no rendition carries.
pub fn left_out(report: &SourceReport) -> impl Iterator<Item = String> {
    let carried: Vec<u32> = carried(report).map(|track| track.index).collect();
    let others = report.audio.iter().filter(move |track| !carried.contains(&track.index));
    others.map(|track| format!("track {}: audio {}", track.index, track.codec))
}

/// What becomes of those that are [`carried`]. `origin_us`: T0 in microseconds of the source's clock; `end_us`: where the picture ends,
/// from T0. What is shorter than that, or than the longest of them, gets silence behind it.
pub fn tracks(report: &SourceReport, origin_us: i64, end_us: i64, profile: &Profile) -> Vec<AudioPlan> {
    let mut tracks: Vec<AudioPlan> = carried(report)
        .enumerate()
        .filter_map(|(number, track)| {
            let channels = channels(profile.channels, track.channels);
            Some(AudioPlan {
                codec: track.codec.clone(),
                name: if number == 0 { "audio".into() } else { format!("audio-{}", number + 1) },
                index: track.index,
                position: track.position,
                language: track.language.clone(),
                title: track.title.clone(),
                default: track.default,
                role: track.role,
                channels,
                time_base: track.time_base,
                origin_us,
                start_us: micros(track, track.first_pts?) - origin_us,
                end_us: micros(track, track.end_pts?) - origin_us,
                silence_us: 0,
                bitrate: profile.audio_bitrate / 2 * channels,
                excerpt: None,
            })
        })
        .collect();
    let end_us = tracks.iter().map(|track| track.end_us).fold(end_us, i64::max);
    for track in &mut tracks {
        track.silence_us = end_us - track.end_us;
    }
    tracks
}

/// Of the output.
fn channels(profile: Channels, source: u32) -> u32 {
    match (profile, source) {
        (Channels::Keep, 1) => 1,
        (Channels::Keep, 3..) => 6,
        _ => 2,
    }
}

fn micros(track: &AudioTrack, ticks: i64) -> i64 {
    track.time_base.rescale(ticks, TimeBase::MICROS)
}

/// Whether the source has sound and no picture but covers. A film whose pictures are missing is none of these: its sound
/// alone would pass for the whole.
pub fn is_all(report: &SourceReport) -> bool {
    report.video.iter().all(|track| track.cover) && report.audio.iter().any(|track| track.packets > 0)
}

/// The plan of a source without a picture: no chunks, a task for every track.
pub fn plan(report: &SourceReport, around: &Surroundings<'_>) -> Result<Planned, Fault> {
    // T0 is where the first of the tracks is heard first.
    let first = carried(report).filter_map(|track| Some(micros(track, track.first_pts?))).min();
    let origin_us = first.ok_or_else(|| {
        Fault::reject("the sound has no times, or none of it is to be heard: convert it (ffmpeg -i IN OUT.m4a) and upload that")
    })?;
    let audio = tracks(report, origin_us, 0, around.profile);
    let end_us = audio.iter().map(AudioPlan::until_us).max().unwrap_or(0);
    if end_us <= 0 {
        return Err(Fault::reject("the file holds a sound track, and nothing in it"));
    }
    sane_seconds(TimeBase::MICROS.seconds(end_us))?;
    let mut left_out = super::track::not_carried(report, report.subtitles.iter().map(super::text::line));
    let video = report.video.iter().map(|t| format!("track {}: cover picture {}", t.index, t.codec));
    left_out.splice(0..0, video);
    let plan = Plan {
        schema: SCHEMA,
        layer: around.layer.to_owned(),
        profile: around.profile.clone(),
        source_bytes: around.source_bytes,
        container: report.container.clone(),
        video: None,
        audio,
        subtitles: vec![],
        text: None,
        stills: None,
        cut_short: None,
        normalized: None,
        chunks: 0,
        left_out,
    };
    Ok(Planned { plan, chunks: vec![], excerpts: vec![] })
}
