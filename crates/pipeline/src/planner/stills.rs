//! Which pictures stand beside the film, and which bytes they need.

use super::{Film, chunk, cuts::Span, ranges};
use crate::{
    fault::Fault,
    plan::{ByteRange, FrameTimes, Output, Profile, VideoPlan},
    stills::{PosterPlan, PreviewPlan, Size, SpritePlan, StillsPlan},
    timebase::TimeBase,
};

/// Tiles that a film gets about, as far as the next two allow it.
const TILES: i64 = 100;
/// Milliseconds from tile to tile.
const LEAST_MS: i64 = 1_000;
const USUAL_MS: i64 = 10_000;
/// Tiles at most: from 83 minutes on they stand further apart. The plan names each, and every task reads the plan.
const MAX_TILES: i64 = 500;
/// Tiles of a sheet, each way.
const SIDE: u32 = 10;
/// Long sides, pixels.
const TILE: u32 = 160;
const POSTER: u32 = 1_920;
const PREVIEW: u32 = 320;
/// Pictures that the poster is chosen from.
const CANDIDATES: usize = 40;
/// Length of the preview and of each of its pictures, milliseconds.
const PREVIEW_MS: i64 = 3_000;
const PREVIEW_STEP_MS: u32 = 100;

/// Plans what the profile asks for; `None`: nothing.
pub fn of(film: &Film<'_>, video: &VideoPlan, profile: &Profile) -> Result<Option<StillsPlan>, Fault> {
    let wants = |output| profile.outputs.contains(&output);
    let Some(largest) = video.renditions.first() else { return Ok(None) };
    if ![Output::Poster, Output::Sprite, Output::Preview].into_iter().any(wants) {
        return Ok(None);
    }
    let shown = Size { width: largest.width, height: largest.height };
    let keys = film.frames.keyframes(film.track);
    let window = chunk(film, &window(film, &keys), 0, 0)?;
    let alone = keys.is_empty();
    let chosen = if alone { vec![0] } else { chosen(film, &keys, wants(Output::Sprite)) };
    let times: Vec<i64> = chosen.iter().filter_map(|frame| Some(film.frames.pts().get(*frame)? - film.origin)).collect();
    let Some(pictures) = FrameTimes::new(&times) else { return Ok(None) };
    let single = !alone && (wants(Output::Poster) || wants(Output::Sprite));
    let moving = alone || wants(Output::Preview);
    let ranges = ranges_of(film, if single { &chosen } else { &[] }, if moving { &window.ranges } else { &[] });
    Ok(Some(StillsPlan {
        alone,
        poster: wants(Output::Poster).then(|| PosterPlan { size: within(shown, POSTER), candidates: candidates(&times, video) }),
        sprite: wants(Output::Sprite).then(|| sprite(within(shown, TILE), pictures.count())),
        preview: wants(Output::Preview).then(|| PreviewPlan {
            size: within(shown, PREVIEW),
            frames: preview_frames(film, window.times.count()),
            every_ms: PREVIEW_STEP_MS,
        }),
        pictures,
        window,
        ranges,
    }))
}

fn ms(film: &Film<'_>, ticks: i64) -> i64 {
    film.track.time_base.rescale(ticks, TimeBase::MILLIS)
}

/// Keyframes about as far from each other as tiles are to be; of the poster alone, as far as its candidates are.
fn chosen(film: &Film<'_>, keys: &[usize], tiles: bool) -> Vec<usize> {
    let pts = film.frames.pts();
    let length = ms(film, film.frames.end() - film.frames.first());
    let step_ms = if tiles {
        (length / TILES).clamp(LEAST_MS, USUAL_MS).max(length / MAX_TILES + 1)
    } else {
        length / i64::try_from(CANDIDATES).unwrap_or(1) + 1
    };
    let step = TimeBase::MILLIS.rescale(step_ms, film.track.time_base).max(1);
    let mut chosen: Vec<usize> = Vec::new();
    for key in keys {
        if chosen.last().is_none_or(|last| pts[*key] - pts[*last] >= step) {
            chosen.push(*key);
        }
    }
    chosen
}

/// Positions of the pictures between a tenth and two thirds of the film, where there are any: neither titles nor credits.
fn candidates(times: &[i64], video: &VideoPlan) -> Vec<u32> {
    let length = video.end - video.start;
    let middle = (video.start + length / 10)..(video.start + length / 3 * 2);
    let all: Vec<usize> = (0..times.len()).collect();
    let inside: Vec<usize> = all.iter().copied().filter(|at| middle.contains(&times[*at])).collect();
    let from = if inside.is_empty() { all } else { inside };
    let step = from.len().div_ceil(CANDIDATES).max(1);
    from.into_iter().step_by(step).filter_map(|at| u32::try_from(at).ok()).collect()
}

fn sprite(tile: Size, tiles: u32) -> SpritePlan {
    let columns = tiles.clamp(1, SIDE);
    let rows = tiles.div_ceil(columns).min(SIDE);
    SpritePlan { tile, columns, rows, sheets: tiles.div_ceil(columns * rows) }
}

/// Three seconds from a keyframe on, before a third of the film is over.
fn window(film: &Film<'_>, keys: &[usize]) -> Span {
    let (pts, base) = (film.frames.pts(), film.track.time_base);
    let length = TimeBase::MILLIS.rescale(PREVIEW_MS, base).max(1);
    let latest = (film.frames.first() + (film.frames.end() - film.frames.first()) / 3).min(film.frames.end() - length);
    let before = keys.partition_point(|key| pts[*key] <= latest);
    let start = before.checked_sub(1).and_then(|at| keys.get(at)).copied().unwrap_or(0);
    let from = pts.get(start).copied().unwrap_or_default();
    let end = pts.partition_point(|at| *at < from.saturating_add(length)).max(start + 1);
    Span { frames: start..end, keyframes: vec![0], segments: vec![0] }
}

/// Pictures of a preview that ends with the film if that is shorter. Not more than there are.
fn preview_frames(film: &Film<'_>, frames: u32) -> u32 {
    let length = ms(film, film.frames.end() - film.frames.first()).clamp(0, PREVIEW_MS);
    let steps = u32::try_from(length).unwrap_or(0) / PREVIEW_STEP_MS;
    if frames == 1 { 1 } else { steps.max(1) }
}

/// The largest even size of these proportions whose long side is at most so many pixels.
fn within(size: Size, long: u32) -> Size {
    let longest = size.width.max(size.height).max(1);
    let fit = |side: u32| {
        let scaled = (u64::from(side) * u64::from(long.min(longest)) + u64::from(longest)) / (2 * u64::from(longest)) * 2;
        u32::try_from(scaled).unwrap_or(long).max(2)
    };
    Size { width: fit(size.width), height: fit(size.height) }
}

/// The packets of single pictures, where a table says where they are; else the whole file is read for them.
fn ranges_of(film: &Film<'_>, pictures: &[usize], window: &[ByteRange]) -> Vec<ByteRange> {
    let packets = pictures.iter().map(|frame| film.frames.packet(*frame));
    ranges::of_packets(film.report, film.track, packets, window, film.source_bytes)
}

#[cfg(test)]
#[path = "stills_tests.rs"]
mod tests;
