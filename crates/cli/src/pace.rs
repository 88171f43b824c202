//! How fast a job or an upload goes and when it will be through, from what was seen. Pure.
//!
//! The rate is that of a sliding window which grows with the job, so that one slow chunk does not swing it, and a job that
//! stands still soon shows it. Nothing is said before there is something to say it from.

use std::collections::VecDeque;

/// Least length of the window.
const LEAST_WINDOW_MS: u64 = 20_000;
/// Nothing is said before this much time with progress was seen.
const LEAST_SEEN_MS: u64 = 3_000;
/// So long nothing moves where a worker died, or looks for a quality.
const STILL_MS: u64 = 15_000;
/// Samples kept.
const MAX_SAMPLES: usize = 600;

/// What was seen of one job.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// `(milliseconds, frames or bytes done)`. The first is the last moment before the first frame: waiting for a worker is no pace.
    samples: VecDeque<(u64, u64)>,
    /// When the first sample was seen.
    began_ms: Option<u64>,
    /// What was done at the last look, and when that was seen first.
    last: Option<(u64, u64)>,
    now_ms: u64,
}

impl Pace {
    pub fn note(&mut self, now_ms: u64, done: u64) {
        // Still waiting for the first frame; or an attempt was lost and its frames with it, and what was seen before says
        // nothing of the time from here.
        let waits = self.samples.len() == 1 && self.samples.front().is_some_and(|(_, first)| *first == done);
        if waits || self.samples.back().is_some_and(|(_, last)| *last > done) {
            self.samples.clear();
            self.began_ms = None;
        }
        self.now_ms = now_ms;
        if self.last.is_none_or(|(_, last)| last != done) {
            self.last = Some((now_ms, done));
        }
        let began = *self.began_ms.get_or_insert(now_ms);
        self.samples.push_back((now_ms, done));
        let window = LEAST_WINDOW_MS.max(now_ms.saturating_sub(began) / 4);
        while self.samples.len() > MAX_SAMPLES || self.samples.get(1).is_some_and(|(at, _)| now_ms.saturating_sub(*at) >= window) {
            self.samples.pop_front();
        }
    }

    /// Frames or bytes a second; each frame counts once, in however many renditions it is encoded. `None`: too early to tell.
    #[expect(clippy::cast_precision_loss, reason = "for display")]
    pub fn rate(&self) -> Option<f64> {
        let ((from, first), (to, last)) = (self.samples.front()?, self.samples.back()?);
        let seen = to.saturating_sub(*from);
        (seen >= LEAST_SEEN_MS && last > first).then(|| (last - first) as f64 * 1000.0 / seen as f64)
    }

    /// Seconds since anything moved, if that is long.
    pub fn still_s(&self) -> Option<u64> {
        let still = self.now_ms.saturating_sub(self.last?.0);
        (still >= STILL_MS).then_some(still / 1000)
    }

    /// Seconds until `left` more are done. `None`: too early to tell, or nothing moves.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds for display")]
    pub fn eta_s(&self, left: u64) -> Option<u64> {
        self.rate().map(|rate| (left as f64 / rate).ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(samples: impl IntoIterator<Item = (u64, u64)>) -> Pace {
        let mut pace = Pace::default();
        for (at, frames) in samples {
            pace.note(at, frames);
        }
        pace
    }

    #[test]
    fn waiting_for_the_first_frame_is_no_pace() {
        let waited = pace((0..60).map(|s| (s * 1000, 0)));
        assert_eq!(waited.rate(), None);
        let mut begun = waited.clone();
        for s in 60..=64 {
            begun.note(s * 1000, (s - 59) * 30);
        }
        assert!((begun.rate().unwrap() - 30.0).abs() < 0.1, "{begun:?}");
        assert_eq!(begun.eta_s(300), Some(10));
    }

    #[test]
    fn frames_of_an_earlier_run_do_not_count() {
        let resumed = pace((0..=10).map(|s| (s * 1000, 9000 + s * 10)));
        assert!((resumed.rate().unwrap() - 10.0).abs() < 0.1);
    }

    #[test]
    fn too_early_says_nothing_and_a_standstill_ends_the_promise() {
        assert_eq!(pace([(0, 0), (1000, 500)]).eta_s(10), None);
        let moving = (0..10).map(|s| (s * 1000, s * 30));
        let still = (10..60).map(|s| (s * 1000, 270));
        assert_eq!(pace(moving.clone().chain(still)).eta_s(10), None);
        let soon = (10..24).map(|s| (s * 1000, 270));
        assert_eq!(pace(moving.clone().chain(soon)).still_s(), None);
        let later = (10..26).map(|s| (s * 1000, 270));
        assert_eq!(pace(moving.clone().chain(later)).still_s(), Some(16));
        let for_long = (10..100).map(|s| (s * 1000, 270));
        assert_eq!(pace(moving.chain(for_long)).still_s(), Some(90), "longer than what is kept");
        assert_eq!(pace([(0, 900), (1000, 40), (21_000, 40)]).still_s(), Some(20), "after a lost attempt");
    }

    #[test]
    fn jumps_of_the_heartbeat_do_not_swing_the_eta() {
        // Two workers report 60 frames every two seconds, together.
        let mut pace = Pace::default();
        let mut said = Vec::new();
        for tick in 0..240u64 {
            let (now, frames) = (tick * 500, tick / 4 * 120);
            pace.note(now, frames);
            if now > 20_000
                && let Some(eta) = pace.eta_s(7_200 - frames.min(7_200))
            {
                said.push((now / 1000 + eta).abs_diff(120));
            }
        }
        assert!(said.len() > 150 && said.iter().all(|off| *off <= 12), "{said:?}");
    }

    #[test]
    fn a_lost_attempt_begins_anew() {
        let mut fallen = pace([(0, 100), (1000, 200), (9000, 50)]);
        assert_eq!(fallen.rate(), None);
        for s in 10..=14 {
            fallen.note(s * 1000, 50 + (s - 9) * 20);
        }
        assert!((fallen.rate().unwrap() - 20.0).abs() < 0.1, "{fallen:?}");
    }
}
