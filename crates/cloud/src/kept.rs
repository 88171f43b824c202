//! What the tasks of one source read alike, kept by a warm environment: a two-hour film's headers are 6 MB, and every one
//! of its 1,200 chunks needs them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use pipeline::{id::SourceRef, plan::ByteRange};

/// Longest head, and longest tail, that is kept, bytes: the tables of five hours.
pub const MAX_PART: u64 = 16 << 20;

/// The head and the tail of the source that was read last. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Kept(Arc<Mutex<Option<Held>>>);

#[derive(Debug)]
struct Held {
    /// Pinned: another content under the same key is another source.
    source: SourceRef,
    /// By where they begin: at most one that begins the source and one that ends it.
    parts: BTreeMap<u64, Bytes>,
}

impl Kept {
    /// What of `ranges` is here, as `(position, bytes)`, and what is not. Ranges are in order, not touching, and within the
    /// source.
    pub fn divide(&self, source: &SourceRef, ranges: &[ByteRange]) -> (Vec<(u64, Bytes)>, Vec<ByteRange>) {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = held.as_ref().filter(|held| held.source == *source) else { return (Vec::new(), ranges.to_vec()) };
        let (mut here, mut missing) = (Vec::new(), Vec::new());
        for range in ranges {
            let mut at = range.start;
            for (start, bytes) in &held.parts {
                let (from, to) = (at.max(*start), range.end.min(start + bytes.len() as u64));
                if from >= to {
                    continue;
                }
                if at < from {
                    missing.push(ByteRange { start: at, end: from });
                }
                here.push((from, bytes.slice(index(from - start)..index(to - start))));
                at = to;
            }
            if at < range.end {
                missing.push(ByteRange { start: at, end: range.end });
            }
        }
        (here, missing)
    }

    /// Which of the ranges of a source are worth keeping: the one that begins it and the one that ends it, if they are
    /// short enough and not here already.
    pub fn wanted(&self, source: &SourceRef, ranges: &[ByteRange]) -> Vec<ByteRange> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = held.as_ref().filter(|held| held.source == *source);
        let has = |end: bool| ours.is_some_and(|held| held.parts.iter().any(|(start, part)| ends(*start, part, source) == end));
        let first = ranges.first().filter(|range| range.start == 0 && range.end < source.size && !has(false));
        let last = ranges.last().filter(|range| range.end >= source.size && !has(true));
        first.into_iter().chain(last).copied().filter(|range| range.len() <= MAX_PART).collect()
    }

    /// Keeps a part that [`wanted`](Self::wanted) named. Another source's are let go.
    pub fn keep(&self, source: &SourceRef, start: u64, bytes: Bytes) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_none_or(|held| held.source != *source) {
            *held = Some(Held { source: source.clone(), parts: BTreeMap::new() });
        }
        if let Some(held) = held.as_mut() {
            let end = ends(start, &bytes, source);
            // One of each kind, whatever two tasks of one environment give at once.
            held.parts.retain(|at, part| ends(*at, part, source) != end);
            held.parts.insert(start, bytes);
        }
    }
}

fn ends(start: u64, part: &Bytes, source: &SourceRef) -> bool {
    start + part.len() as u64 >= source.size
}

/// Within a part, which fits into memory.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::key::ObjectKey;
    use proptest::prelude::*;

    fn source(etag: &str, size: u64) -> SourceRef {
        SourceRef::new("b", ObjectKey::new("uploads/a.mp4").unwrap(), None, etag, size)
    }

    fn content(range: ByteRange) -> Bytes {
        (range.start..range.end).map(|at| u8::try_from(at % 251).unwrap()).collect()
    }

    #[test]
    fn another_content_shares_nothing_and_what_is_too_long_is_not_kept() {
        let (kept, film) = (Kept::default(), source("one", 100 << 20));
        let ranges = [(0, 1000), (5000, 6000), ((100 << 20) - 10, 100 << 20)].map(ByteRange::from);
        assert_eq!(kept.wanted(&film, &ranges), [ranges[0], ranges[2]]);
        kept.keep(&film, 0, content(ranges[0]));
        assert_eq!(kept.wanted(&film, &ranges), [ranges[2]]);
        kept.keep(&film, ranges[2].start, content(ranges[2]));
        assert_eq!(kept.divide(&film, &ranges).1, [ranges[1]]);
        assert_eq!(kept.divide(&source("two", 100 << 20), &ranges).1, ranges);
        let long = [(0, MAX_PART + 1), (50 << 20, 100 << 20)].map(ByteRange::from);
        assert_eq!(Kept::default().wanted(&film, &long), []);
        kept.keep(&source("two", 100 << 20), 0, content(ranges[0]));
        assert_eq!(kept.divide(&film, &ranges).1, ranges, "the source before is let go");
    }

    proptest! {
        /// What is here and what is not are together what was asked for, each byte once and the right one.
        #[test]
        fn nothing_is_lost_or_twice(size in 1u64..400, head in 0u64..100, tail in 0u64..100, cuts in prop::collection::btree_set(0u64..400, 0..8)) {
            let (kept, film) = (Kept::default(), source("one", size));
            kept.keep(&film, 0, content(ByteRange { start: 0, end: head.min(size) }));
            let at = size.saturating_sub(tail);
            kept.keep(&film, at, content(ByteRange { start: at, end: size }));
            let cuts: Vec<u64> = cuts.into_iter().filter(|cut| *cut <= size).collect();
            let ranges: Vec<ByteRange> = cuts.chunks_exact(2).map(|pair| ByteRange { start: pair[0], end: pair[1] }).collect();
            let (here, missing) = kept.divide(&film, &ranges);
            let mut seen: Vec<u64> = missing.iter().flat_map(|range| range.start..range.end).collect();
            for (start, bytes) in here {
                let range = ByteRange { start, end: start + bytes.len() as u64 };
                prop_assert_eq!(&bytes, &content(range));
                seen.extend(range.start..range.end);
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, ranges.iter().flat_map(|range| range.start..range.end).collect::<Vec<_>>());
        }
    }
}
