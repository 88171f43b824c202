//! Which renditions a source gets.

use crate::{
    plan::{Profile, Rendition, VideoCodec},
    source::VideoTrack,
};

/// Longest side that is made, pixels: what encoders and players take.
const MAX_SIDE: u32 = 8_192;
/// Shortest side that x265 takes, pixels.
const MIN_HEVC_SIDE: u32 = 16;

/// The profile's rungs that are not above the source; a source below the lowest gets one rendition of its own size.
/// Pictures are shown as the source shows them: rotated, with square samples, even sizes, never upscaled.
pub fn renditions(track: &VideoTrack, profile: &Profile) -> Vec<Rendition> {
    let (width, height) = shown_size(track);
    let short = width.min(height);
    let at = |short_side: u32, maxrate, bufsize| {
        let long = even(f64::from(short_side) * f64::from(width.max(height)) / f64::from(short)).min(MAX_SIDE);
        let (w, h) = if width >= height { (long, short_side) } else { (short_side, long) };
        Rendition { name: format!("{short_side}p"), width: w, height: h, maxrate, bufsize }
    };
    let kept: Vec<Rendition> =
        profile.ladder.iter().filter(|rung| rung.short_side <= short).map(|rung| at(rung.short_side, rung.maxrate, rung.bufsize)).collect();
    match profile.ladder.last() {
        Some(lowest) if kept.is_empty() => {
            let least = if profile.codec == VideoCodec::Hevc { MIN_HEVC_SIDE } else { 2 };
            vec![at(short.max(least), lowest.maxrate, lowest.bufsize)]
        }
        _ => kept,
    }
}

/// The displayed picture in square, even pixels.
fn shown_size(track: &VideoTrack) -> (u32, u32) {
    let (num, den) = track.sample_aspect;
    let (num, den) = if num == 0 || den == 0 { (1, 1) } else { (num, den) };
    // A sample wider than high stretches the width, one higher than wide the height: no rung loses detail.
    let (width, height) = if num >= den {
        (f64::from(track.width) * f64::from(num) / f64::from(den), f64::from(track.height))
    } else {
        (f64::from(track.width), f64::from(track.height) * f64::from(den) / f64::from(num))
    };
    let shrink = (f64::from(MAX_SIDE) / width.max(height)).min(1.0);
    let (width, height) = (even(width * shrink), even(height * shrink));
    if track.rotation.rem_euclid(180) == 90 { (height, width) } else { (width, height) }
}

/// The nearest even number, at least 2.
fn even(pixels: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by the clamp")]
    let half = (pixels / 2.0).round().clamp(1.0, 1_000_000.0) as u32;
    half * 2
}
