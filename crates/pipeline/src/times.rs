//! Times of frames, as short as a constant rate allows.

use serde::{Deserialize, Serialize};

/// A list of strictly increasing times, stored as runs of equal differences: constant frame rate is one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameTimes {
    /// First PTS, ticks.
    first: i64,
    /// `(difference, how often)`.
    runs: Vec<(i64, u32)>,
}

impl FrameTimes {
    /// `None` for an empty list.
    pub fn new(times: &[i64]) -> Option<Self> {
        let first = *times.first()?;
        let mut runs: Vec<(i64, u32)> = Vec::new();
        for pair in times.windows(2) {
            let difference = pair[1] - pair[0];
            match runs.last_mut() {
                Some((last, count)) if *last == difference => *count += 1,
                _ => runs.push((difference, 1)),
            }
        }
        Some(Self { first, runs })
    }
    pub fn first(&self) -> i64 {
        self.first
    }
    /// Number of frames, at least 1.
    pub fn count(&self) -> u32 {
        self.runs.iter().fold(1u32, |sum, (_, count)| sum.saturating_add(*count))
    }
    /// All times, ticks.
    pub fn iter(&self) -> impl Iterator<Item = i64> + '_ {
        let differences = self.runs.iter().flat_map(|(difference, count)| std::iter::repeat_n(*difference, *count as usize));
        std::iter::once(self.first).chain(differences.scan(self.first, |at, difference| {
            *at = at.saturating_add(difference);
            Some(*at)
        }))
    }
    pub fn last(&self) -> i64 {
        self.runs.iter().fold(self.first, |at, (difference, count)| at.saturating_add(difference.saturating_mul(i64::from(*count))))
    }
}
