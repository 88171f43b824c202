//! A walk through a file that goes by once.

use super::{Found, Walk, index};

/// Sees all bytes of a file in order.
#[derive(Debug)]
pub struct Tap {
    walk: Walk,
    /// Bytes that went by.
    passed: u64,
    /// The last of them, where the walk wants more behind them.
    kept: Vec<u8>,
    whole: bool,
}

impl Default for Tap {
    fn default() -> Self {
        Self { walk: Walk::looking(), passed: 0, kept: Vec::new(), whole: false }
    }
}

impl Tap {
    pub fn pass(&mut self, block: &[u8]) {
        let from = self.passed - self.kept.len() as u64;
        self.passed += block.len() as u64;
        let mut kept = std::mem::take(&mut self.kept);
        let bytes = if kept.is_empty() {
            block
        } else {
            kept.extend_from_slice(block);
            &kept
        };
        let rest = self.go(from, bytes, u64::MAX);
        self.kept = bytes.get(rest..).unwrap_or_default().to_vec();
    }

    /// Nothing comes any more: that was the whole file.
    pub fn end(&mut self) {
        let (from, kept) = (self.passed - self.kept.len() as u64, std::mem::take(&mut self.kept));
        self.go(from, &kept, self.passed);
        self.whole = true;
    }

    /// As far as `bytes` reach, which begin at `from`. Answers from where on they are wanted again.
    fn go(&mut self, from: u64, bytes: &[u8], size: u64) -> usize {
        let end = from + bytes.len() as u64;
        while let Some(wanted) = self.walk.next(size).filter(|wanted| wanted.start < end) {
            let start = index(wanted.start.saturating_sub(from));
            let Some(seen) = bytes.get(start..index(wanted.end - from)) else { return start };
            self.walk.take(seen);
        }
        bytes.len()
    }

    /// See [`Walk::found`].
    pub fn found(self) -> Found {
        let arrived = self.whole || self.walk.ended;
        let found = self.walk.found(self.passed);
        if arrived { found } else { Found { way: Vec::new(), ..found } }
    }
}
