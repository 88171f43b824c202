//! How many invocations a mapping may have at once: few at first, more while messages wait, fewer after errors. Pure.
//!
//! Source: AWS Lambda developer guide, "Scaling behavior" and "Error handling" of Amazon SQS event source mappings: it
//! begins with five and adds up to 300 a minute; when the function fails it uses less concurrency.

use std::time::Duration;

/// At first.
const FIRST: usize = 5;
/// However often the function fails: one bad message that takes long must not hold up the good ones.
const LEAST: usize = 2;
/// One more at most so often: 300 a minute.
pub const STEP: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaling {
    limit: usize,
    /// `MaximumConcurrency`, or what there is.
    most: usize,
    /// The last invocation to end failed.
    failing: bool,
}

impl Scaling {
    pub fn new(most: usize) -> Self {
        let most = most.max(1);
        Self { limit: FIRST.min(most), most, failing: false }
    }

    /// Invocations at once, now.
    pub fn limit(self) -> usize {
        self.limit
    }

    /// Whether [`Scaling::backlog`] would change anything.
    pub fn can_grow(self) -> bool {
        self.limit < self.most && !self.failing
    }

    /// Messages have waited for a [`STEP`] while the limit was in use.
    pub fn backlog(&mut self) {
        if self.can_grow() {
            self.limit += 1;
        }
    }

    /// No message waits.
    pub fn empty(&mut self) {
        self.limit = self.limit.min(FIRST);
    }

    /// An invocation has ended.
    pub fn ended(&mut self, failed: bool) {
        self.failing = failed;
        if failed {
            self.limit = (self.limit / 2).max(LEAST.min(self.most));
        } else if self.limit < FIRST.min(self.most) {
            self.limit += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_with_the_backlog_and_shrinks_without() {
        let mut scaling = Scaling::new(8);
        assert_eq!(scaling.limit(), 5);
        for _ in 0..10 {
            scaling.backlog();
        }
        assert_eq!(scaling.limit(), 8);
        scaling.empty();
        assert_eq!(scaling.limit(), 5);
        assert_eq!(Scaling::new(2).limit(), 2);
    }

    #[test]
    fn errors_halve_it_and_success_brings_it_back() {
        let mut scaling = Scaling::new(100);
        for _ in 0..11 {
            scaling.backlog();
        }
        scaling.ended(true);
        scaling.backlog();
        assert_eq!(scaling.limit(), 8, "no growth while it fails");
        for _ in 0..10 {
            scaling.ended(true);
        }
        assert_eq!(scaling.limit(), 2);
        for _ in 0..10 {
            scaling.ended(false);
        }
        assert_eq!(scaling.limit(), 5);
        scaling.backlog();
        assert_eq!(scaling.limit(), 6);
    }
}
