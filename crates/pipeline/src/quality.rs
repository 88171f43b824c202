//! The CRF of a chunk by its measured quality: which to try next, and what was found. Pure: the same measurements give
//! the same choice.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::plan::{Metric, TargetQuality};

/// Encodes that are tried for one chunk.
pub const MAX_PROBES: usize = 5;
/// Steps of the CRF that are taken at once where only one side of the target is known: a slope is true nearby only.
const MAX_STEPS: f64 = 8.0;
/// Frames of one sample window; a chunk gives two, at its quarters.
const WINDOW: u32 = 24;

/// A score in millionths of the best: VMAF 93.5 is 935,000, SSIM 0.98 is 980,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Score(u32);

impl Score {
    const BEST: f64 = 1_000_000.0;

    /// Of a metric's own number; what is no number is the worst.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    pub fn new(metric: Metric, value: f64) -> Self {
        let part = (value / metric.best()).clamp(0.0, 1.0) * Self::BEST;
        Self(part.round() as u32)
    }
    /// As the metric counts.
    pub fn value(self, metric: Metric) -> f64 {
        f64::from(self.0) / Self::BEST * metric.best()
    }
    fn above(self, other: Self) -> f64 {
        f64::from(self.0) - f64::from(other.0)
    }
}

impl Metric {
    fn best(self) -> f64 {
        match self {
            Self::Vmaf => 100.0,
            Self::Ssim => 1.0,
        }
    }
    /// How far above the target is near enough to stop, and what a step of the CRF costs before two points say it.
    /// Millionths: half a point of VMAF and two points a step; 0.001 of SSIM and 0.003 a step.
    fn slack_and_slope(self) -> (f64, f64) {
        match self {
            Self::Vmaf => (5_000.0, 20_000.0),
            Self::Ssim => (1_000.0, 3_000.0),
        }
    }
}

/// One try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, Score)", into = "(u32, Score)")]
pub struct Point {
    pub crf: u32,
    pub score: Score,
}
impl From<(u32, Score)> for Point {
    fn from((crf, score): (u32, Score)) -> Self {
        Self { crf, score }
    }
}
impl From<Point> for (u32, Score) {
    fn from(point: Point) -> Self {
        (point.crf, point.score)
    }
}

/// How the CRF of a chunk came about: part of its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quality {
    pub crf: u32,
    /// Every try, in its order.
    pub curve: Vec<Point>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Probe(u32),
    Done(u32),
}

/// The greatest CRF that reaches the target, by at most [`MAX_PROBES`] tries between the target's bounds, the first at
/// `first`. A target out of reach ends at the least CRF.
pub fn next(target: &TargetQuality, first: u32, curve: &[Point]) -> Next {
    let (min, max) = (target.min_crf, target.max_crf.max(target.min_crf));
    let wanted = Score::new(target.metric, target.score);
    let (slack, slope) = target.metric.slack_and_slope();
    let bad = curve.iter().filter(|p| p.score < wanted).min_by_key(|p| p.crf);
    let below = |p: &&Point| p.score >= wanted && bad.is_none_or(|bad| p.crf < bad.crf);
    let good = curve.iter().filter(below).max_by_key(|p| p.crf);
    let near = good.is_some_and(|good| good.score.above(wanted) <= slack);
    if curve.len() >= MAX_PROBES || near {
        return Next::Done(good.map_or(min, |good| good.crf));
    }
    match (good, bad) {
        (None, None) => Next::Probe(first.clamp(min, max)),
        (Some(good), None) if good.crf >= max => Next::Done(max),
        (Some(good), None) => {
            let step = steps(good.score.above(wanted) / slope_of(curve).unwrap_or(slope));
            Next::Probe(good.crf.saturating_add(step).min(max))
        }
        (None, Some(bad)) if bad.crf <= min => Next::Done(min),
        (None, Some(bad)) => {
            let step = steps((wanted.above(bad.score) / slope_of(curve).unwrap_or(slope)).round());
            Next::Probe(bad.crf.saturating_sub(step).max(min))
        }
        (Some(good), Some(bad)) if bad.crf - good.crf <= 1 => Next::Done(good.crf),
        (Some(good), Some(bad)) => {
            let part = good.score.above(wanted) / good.score.above(bad.score).max(1.0);
            // Quality falls faster and faster: a straight line alone comes too low each time, so half of the middle.
            let between = f64::from(bad.crf - good.crf) * f64::midpoint(part, 0.5);
            Next::Probe((good.crf + steps(between)).clamp(good.crf + 1, bad.crf - 1))
        }
    }
}

/// Whole steps, at least one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
fn steps(count: f64) -> u32 {
    count.clamp(1.0, MAX_STEPS) as u32
}

/// What a step of the CRF costs between the outermost tries: next to nothing where quality does not fall with it.
fn slope_of(curve: &[Point]) -> Option<f64> {
    let (low, high) = (curve.iter().min_by_key(|p| p.crf)?, curve.iter().max_by_key(|p| p.crf)?);
    let slope = low.score.above(high.score) / f64::from(high.crf.checked_sub(low.crf).filter(|steps| *steps > 0)?);
    Some(slope.max(1.0))
}

/// Frames of a chunk of `frames` that stand for all: whole if it is short.
pub fn windows(frames: u32) -> Vec<Range<u32>> {
    if frames <= 3 * WINDOW {
        return std::iter::once(0..frames).collect();
    }
    [frames / 4, frames / 4 * 3].into_iter().map(|middle| middle - WINDOW / 2..middle + WINDOW / 2).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vmaf(score: f64) -> TargetQuality {
        TargetQuality { metric: Metric::Vmaf, score, min_crf: 16, max_crf: 40 }
    }

    /// Tries until it is done on a curve; answers the choice and the tries.
    fn search(target: &TargetQuality, first: u32, curve: impl Fn(u32) -> f64) -> (u32, Vec<Point>) {
        let mut tried = Vec::new();
        loop {
            match next(target, first, &tried) {
                Next::Done(crf) => return (crf, tried),
                Next::Probe(crf) => tried.push(Point { crf, score: Score::new(target.metric, curve(crf)) }),
            }
            assert!(tried.len() <= MAX_PROBES);
        }
    }

    /// VMAF as it falls: slowly at first.
    fn falls(from: u32) -> impl Fn(u32) -> f64 {
        move |crf| 100.0 - 0.08 * f64::from(crf.saturating_sub(from)).powi(2)
    }

    #[test]
    fn the_greatest_crf_that_reaches_the_target_is_found() {
        for (from, best) in [(10, 19), (16, 25), (25, 34), (0, 16), (40, 40)] {
            let (crf, tried) = search(&vmaf(93.0), 23, falls(from));
            assert!(crf <= best && best - crf <= 1, "{from}: {crf} of {best} after {tried:?}");
        }
    }

    #[test]
    fn a_target_out_of_reach_ends_at_the_least() {
        let (crf, tried) = search(&vmaf(99.0), 30, |_| 50.0);
        assert_eq!(crf, 16);
        assert!(tried.len() <= MAX_PROBES);
    }

    #[test]
    fn samples_lie_within_the_chunk() {
        let ends = |frames| windows(frames).iter().map(|w| (w.start, w.end)).collect::<Vec<_>>();
        assert_eq!(ends(50), [(0, 50)]);
        assert_eq!(ends(180), [(33, 57), (123, 147)]);
        assert_eq!(ends(1), [(0, 1)]);
    }

    proptest! {
        /// Whatever is measured: few tries, none twice, all within bounds; the choice reached the target or is the least.
        #[test]
        fn any_curve_ends(scores in prop::collection::vec(0.0f64..100.0, 60), target in 0.0f64..100.0, first in 0u32..60) {
            let target = vmaf(target);
            let (crf, tried) = search(&target, first, |crf| scores[crf as usize]);
            let mut crfs: Vec<u32> = tried.iter().map(|p| p.crf).collect();
            prop_assert!(crfs.iter().all(|crf| (16..=40).contains(crf)));
            crfs.sort_unstable();
            crfs.dedup();
            prop_assert_eq!(crfs.len(), tried.len());
            let wanted = Score::new(Metric::Vmaf, target.score);
            prop_assert!(crf == 16 || tried.iter().any(|p| p.crf == crf && p.score >= wanted), "{} {:?}", crf, tried);
        }
    }
}
