//! Where chunks, segments and keyframes begin.

use std::ops::Range;

use super::Frames;
use crate::{plan::Profile, source::VideoTrack, timebase::TimeBase};

/// Chunks that may each decode from one and the same keyframe: decoding is 8 % of a ladder, so more would cost more than
/// they spread.
const CHUNKS_PER_GOP: i64 = 6;

/// One chunk: its frames, and within it the frames at which keyframes and segments begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub frames: Range<usize>,
    pub keyframes: Vec<u32>,
    pub segments: Vec<u32>,
}

/// Cuts the shown frames into chunks of about so many segments.
pub fn chunks(frames: &Frames, track: &VideoTrack, profile: &Profile, segments: u32) -> Vec<Span> {
    let base = track.time_base;
    let keys = frames.keyframes(track);
    let target = ticks(base, profile.chunk_ms);
    let mut spans = Vec::new();
    let mut start = 0;
    while start < frames.len() {
        let end = next_cut(frames, &keys, start, target, segments);
        spans.push(span(frames, start..end, base, profile));
        start = end;
    }
    spans
}

/// Ticks of a length in milliseconds, at least 1.
fn ticks(base: TimeBase, ms: u32) -> i64 {
    TimeBase::MILLIS.rescale(i64::from(ms), base).max(1)
}

/// The first frame of the next chunk: near the target, at a keyframe of the source where one is close.
fn next_cut(frames: &Frames, keys: &[usize], start: usize, target: i64, segments: u32) -> usize {
    let pts = frames.pts();
    let from = pts[start];
    let length = target.saturating_mul(i64::from(segments)).max(gop_length(frames, keys, start) / CHUNKS_PER_GOP);
    let ideal = from.saturating_add(length);
    // A rest of less than a sixth of a chunk stays with this one.
    if frames.end() <= ideal.saturating_add(target / 6) {
        return frames.len();
    }
    let slack = target / 4;
    let close = |key: &&usize| **key > start && (pts[**key] - ideal).abs() <= slack;
    let near = keys.partition_point(|key| pts[*key] < ideal - slack);
    let best = keys[near..].iter().take_while(|key| pts[**key] <= ideal + slack).filter(close).min_by_key(|key| (pts[**key] - ideal).abs());
    best.copied().unwrap_or_else(|| pts.partition_point(|t| *t < ideal)).max(start + 1)
}

/// Ticks between the keyframes around a frame.
fn gop_length(frames: &Frames, keys: &[usize], frame: usize) -> i64 {
    let after = keys.partition_point(|key| *key <= frame);
    let begin = after.checked_sub(1).and_then(|i| keys.get(i)).map_or(frames.first(), |key| frames.pts()[*key]);
    let end = keys.get(after).map_or(frames.end(), |key| frames.pts()[*key]);
    end - begin
}

fn span(frames: &Frames, range: Range<usize>, base: TimeBase, profile: &Profile) -> Span {
    let pts = &frames.pts()[range.clone()];
    let every = |list: &mut dyn Iterator<Item = usize>, distance: i64| {
        let mut chosen: Vec<usize> = Vec::new();
        for frame in list {
            if chosen.last().is_none_or(|last| pts[frame] - pts[*last] >= distance) {
                chosen.push(frame);
            }
        }
        chosen
    };
    let keyframes = every(&mut (0..pts.len()), ticks(base, profile.gop_ms));
    let target = ticks(base, profile.chunk_ms);
    let end = frames.pts().get(range.end).copied().unwrap_or(frames.end());
    let long = end - pts[0] > target + target / 2;
    let segments = if long { every(&mut keyframes.iter().copied(), target) } else { vec![0] };
    let narrow = |list: Vec<usize>| list.into_iter().filter_map(|frame| u32::try_from(frame).ok()).collect();
    Span { keyframes: narrow(keyframes), segments: narrow(segments), frames: range }
}
