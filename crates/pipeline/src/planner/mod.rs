//! Makes the plan from the packet index. Pure: the same source gives the same plan.
//!
//! The list of shown frames *is* the plan: every worker is held against it, frame by frame (P1).

mod cuts;
mod excerpts;
mod ladder;
mod picture;
mod ranges;
mod sound;
mod stills;
mod text;
mod track;

use crate::{
    cost::Model,
    excerpt::Extents,
    fault::Fault,
    plan::{Chunk, FrameTimes, Plan, Profile, SCHEMA, VideoPlan},
    source::{SourceReport, VideoTrack},
    timebase::TimeBase,
};

pub use sound::is_all as is_sound_alone;
pub use track::{Frames, copy_needs_mending, fields_are_apart, times_are_usable, times_can_be_mended, times_need_mending};

/// Longest film, shown frames: an hour at 240 fps and a day at 24 fps are below it.
pub const MAX_FRAMES: usize = 2_500_000;
/// Longest film, seconds.
const MAX_SECONDS: f64 = 86_400.0;
/// Audio tracks that are kept.
const MAX_AUDIO: usize = 8;

/// What `split` knows beside the probe's report.
#[derive(Clone, Debug)]
pub struct Surroundings<'a> {
    pub profile: &'a Profile,
    pub layer: &'a str,
    /// Bytes.
    pub source_bytes: u64,
}

/// The plan and its chunks in order.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Planned {
    pub plan: Plan,
    pub chunks: Vec<Chunk>,
    /// What the plan's excerpts read, by their numbers.
    #[serde(default)]
    pub excerpts: Vec<Extents>,
}

/// How much one task takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FanOut {
    /// A chunk is one segment long: as many workers as there are may help.
    #[default]
    Latency,
    /// Chunks of several segments, so that what every task costs beside its pictures is spread over more of them.
    Cost,
}

impl FanOut {
    /// Of the setting `FAN_OUT`.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "latency" => Ok(Self::Latency),
            "cost" => Ok(Self::Cost),
            _ => Err(format!("`{text}` is neither `latency` nor `cost`")),
        }
    }
}

/// CPU-seconds, on the machine of the cost model, that a chunk may take where cost counts: a worker four times slower is
/// far from its 15 minutes, and what dies with a worker is little.
const COST_CHUNK: f64 = 60.0;
/// Segments that one chunk has at most.
const MAX_SEGMENTS: u32 = 16;

/// Plans a source for the least latency. `Reject` names what stands in the way, for a person.
pub fn plan(report: &SourceReport, around: &Surroundings<'_>) -> Result<Planned, Fault> {
    plan_for(report, around, FanOut::Latency)
}

/// Plans a source. `Reject` names what stands in the way, for a person.
pub fn plan_for(report: &SourceReport, around: &Surroundings<'_>, fan_out: FanOut) -> Result<Planned, Fault> {
    if sound::is_all(report) {
        return sound::plan(report, around);
    }
    let track = track::choose(report)?;
    let frames = Frames::of(track)?;
    let origin = origin(track, &frames, report);
    length_is_sane(report, track.time_base, &frames, origin)?;
    let deinterlace = picture::is_interlaced(report, track, around.profile);
    let video = VideoPlan {
        index: track.index,
        codec: track.codec.clone(),
        time_base: track.time_base,
        origin,
        frames: frames.len() as u64,
        start: frames.first() - origin,
        end: frames.end() - origin,
        frame_rate: track.frame_rate,
        deinterlace,
        colors: track.colors.resolved(&track.pix_fmt, track.width, track.height),
        renditions: ladder::renditions(track, around.profile),
    };
    let micros = |ticks: i64| video.time_base.rescale(ticks, TimeBase::MICROS);
    // Rounded to the picture's ticks, it serves sound and text as well: one origin, not two roundings.
    let origin_us = micros(video.origin);
    let mut plan = Plan {
        schema: SCHEMA,
        layer: around.layer.to_owned(),
        profile: around.profile.clone(),
        source_bytes: around.source_bytes,
        container: report.container.clone(),
        audio: sound::tracks(report, origin_us, micros(video.end), around.profile),
        video: Some(video),
        subtitles: text::planned(report, origin_us),
        text: None,
        stills: None,
        cut_short: None,
        normalized: None,
        chunks: 0,
        left_out: picture::left_out(track, around.profile).into_iter().chain(track::left_out(report, track)).collect(),
    };
    let spans = cuts::chunks(&frames, track, around.profile, segments_of_a_chunk(&plan, track, fan_out));
    let keys = &ranges::Keys::of(track);
    let film = Film { report, track, frames: &frames, keys, origin, deinterlace, source_bytes: around.source_bytes };
    let chunks = spans
        .iter()
        .enumerate()
        .scan(0u32, |segments, (number, span)| {
            let first_segment = *segments;
            *segments += u32::try_from(span.segments.len()).unwrap_or(u32::MAX);
            Some((number, span, first_segment))
        })
        .map(|(number, span, first_segment)| chunk(&film, span, u32::try_from(number).map_err(|_| too_long())?, first_segment))
        .collect::<Result<Vec<_>, Fault>>()?;
    if let Some(video) = &plan.video {
        plan.stills = stills::of(&film, video, around.profile)?.map(Box::new);
    }
    plan.chunks = u32::try_from(chunks.len()).map_err(|_| too_long())?;
    let excerpts = excerpts::of(report, &mut plan);
    Ok(Planned { plan, chunks, excerpts })
}

/// Until when no picture of a film is missing whose end was never uploaded, ticks from T0.
pub fn whole_until(report: &SourceReport, plan: &Plan) -> Option<i64> {
    let video = plan.video.as_ref()?;
    let track = report.video.iter().find(|track| track.index == video.index)?;
    Some(Frames::of(track).ok()?.whole_until(track) - video.origin)
}

/// The picture's track with what its chunks are cut by.
struct Film<'a> {
    report: &'a SourceReport,
    track: &'a VideoTrack,
    frames: &'a Frames,
    keys: &'a ranges::Keys,
    /// T0, ticks of the track.
    origin: i64,
    deinterlace: bool,
    source_bytes: u64,
}

fn chunk(film: &Film<'_>, span: &cuts::Span, number: u32, first_segment: u32) -> Result<Chunk, Fault> {
    let Film { report, track, frames, .. } = *film;
    let times: Vec<i64> = frames.pts()[span.frames.clone()].iter().map(|pts| pts - film.origin).collect();
    let seek = ranges::seek(report, track, frames, film.keys, span.frames.start, film.deinterlace);
    Ok(Chunk {
        number,
        first_segment,
        start_us: boundary(frames, track.time_base, span.frames.start),
        end_us: (span.frames.end < frames.len()).then(|| boundary(frames, track.time_base, span.frames.end)),
        seek_us: seek.seek_us,
        times: FrameTimes::new(&times).ok_or_else(too_long)?,
        keyframes: span.keyframes.clone(),
        segments: span.segments.clone(),
        ranges: ranges::of(report, track, frames, &span.frames, &seek, film.source_bytes),
    })
}

/// Segments that one chunk is to have: as many as cost allows, and the same in all chunks as near as can be.
fn segments_of_a_chunk(plan: &Plan, track: &VideoTrack, fan_out: FanOut) -> u32 {
    let Some(video) = plan.video.as_ref().filter(|_| fan_out == FanOut::Cost) else { return 1 };
    let pixels = u64::from(track.width) * u64::from(track.height);
    let seconds = f64::from(plan.profile.chunk_ms) / 1000.0;
    let segment = Model::new(plan, pixels, 1.0).seconds(seconds);
    let most = (1..=MAX_SEGMENTS).rev().find(|count| f64::from(*count) * segment <= COST_CHUNK).unwrap_or(1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a film has at most a day")]
    let all = (video.time_base.seconds(video.end - video.start) / seconds).round().max(1.0) as u32;
    all.div_ceil(all.div_ceil(most))
}

/// Refuses timelines that no film has: a gap of days would be encoded as days of silence.
fn length_is_sane(report: &SourceReport, base: TimeBase, frames: &Frames, origin: i64) -> Result<(), Fault> {
    let sound = report.audio.iter().filter_map(|a| Some(a.time_base.seconds(a.end_pts?))).fold(f64::MIN, f64::max);
    sane_seconds(base.seconds(frames.end()).max(sound) - base.seconds(origin))
}

fn sane_seconds(seconds: f64) -> Result<(), Fault> {
    if seconds <= MAX_SECONDS {
        return Ok(());
    }
    Err(Fault::reject(format!(
        "the film claims to be {:.0} hours long; {:.0} are the most that is taken",
        seconds / 3600.0,
        MAX_SECONDS / 3600.0
    )))
}

fn too_long() -> Fault {
    Fault::reject("the video is too long to be planned")
}

/// T0 in ticks of the video's time base: the earlier of the first shown picture and the first sound.
fn origin(track: &VideoTrack, frames: &Frames, report: &SourceReport) -> i64 {
    let sound = sound::carried(report).filter_map(|a| Some(a.time_base.rescale(a.first_pts?, track.time_base))).min();
    sound.map_or(frames.first(), |sound| sound.min(frames.first()))
}

/// Between a frame and the one before it, microseconds of the source's clock. A microsecond above the middle, so that
/// ffmpeg's rounding of half a tick never falls below it; just under the first frame at the start.
fn boundary(frames: &Frames, base: TimeBase, frame: usize) -> i64 {
    let pts = frames.pts();
    let here = pts.get(frame).copied().unwrap_or_default();
    let Some(before) = frame.checked_sub(1).and_then(|i| pts.get(i)).copied() else {
        // Rounded down: at most a microsecond below the first frame, and never above it.
        return base.micros_of_half_ticks(here.saturating_mul(2));
    };
    base.micros_of_half_ticks(before.saturating_add(here)) + 1
}

/// One line about a source for people.
pub fn facts(report: &SourceReport, plan: &Plan) -> String {
    let picture = plan.video.as_ref().and_then(|video| {
        let track = report.video.iter().find(|t| t.index == video.index)?;
        let seconds = video.time_base.seconds(video.end - video.start);
        Some(format!("{} {}×{} {:.2} fps, {seconds:.1} s", track.codec, track.width, track.height, track.frame_rate))
    });
    let sound = report.audio.first().map_or_else(|| "no sound".into(), |a| format!("{} {} ch", a.codec, a.channels));
    picture.map_or_else(|| format!("no picture, {sound}, {:.1} s", plan.seconds()), |picture| format!("{picture}, {sound}"))
}

#[cfg(test)]
mod tests;
