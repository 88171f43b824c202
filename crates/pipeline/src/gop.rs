//! A chunk GOP by GOP: how it is encoded where a function's time is too short for it in one piece.

use serde::{Deserialize, Serialize};

use crate::{
    plan::{Chunk, FrameTimes},
    task::Work,
    timebase::TimeBase,
};

/// Pieces that a chunk is taken into at most: each has a place in the task's item, which holds 400 KB, with a key for each of
/// up to twelve renditions.
const MAX_GOPS: usize = 64;

/// A GOP of a chunk in all renditions, stored and held against the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredGop {
    /// Position among the chunk's GOPs.
    pub number: u32,
    /// In the order of the plan's renditions.
    pub files: Vec<StoredFile>,
}

/// A fragmented MP4 of it in one rendition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    pub key: String,
    pub bytes: u64,
}

impl Chunk {
    /// Its GOPs, each as a chunk of one segment whose window, times and frames are the GOP's; where they are more than
    /// [`MAX_GOPS`], as many as it takes stay together. Each has this chunk's number and is decoded from this chunk's bytes
    /// from their beginning. `origin`: T0 in ticks of `base`, the source track's.
    pub fn gops(&self, origin: i64, base: TimeBase) -> Vec<Self> {
        let times: Vec<i64> = self.times.iter().collect();
        // As the plan's own: a microsecond above the middle of two frames.
        let boundary = |frame: usize| {
            let (before, here) = (times.get(frame.checked_sub(1)?)?, times.get(frame)?);
            let twice = before.saturating_add(*here).saturating_add(origin.saturating_mul(2));
            Some(base.micros_of_half_ticks(twice) + 1)
        };
        let together = self.keyframes.len().div_ceil(MAX_GOPS).max(1);
        let gop = |(number, keyframes): (usize, &[u32])| {
            let first = *keyframes.first()?;
            let start = usize::try_from(first).ok()?;
            let next = self.keyframes.get((number + 1) * together);
            let end = next.map_or(Some(times.len()), |next| usize::try_from(*next).ok())?;
            Some(Self {
                start_us: boundary(start).unwrap_or(self.start_us),
                end_us: boundary(end).or(self.end_us),
                times: FrameTimes::new(times.get(start..end)?)?,
                keyframes: keyframes.iter().map(|index| index - first).collect(),
                segments: vec![0],
                ..self.clone()
            })
        };
        self.keyframes.chunks(together).enumerate().filter_map(gop).collect()
    }
}

impl Work {
    /// There is more than one GOP to encode one by one.
    pub fn has_gops(&self) -> bool {
        matches!(self, Self::Chunk(chunk) if chunk.keyframes.len() > 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_gops_of_a_chunk_are_its_frames_once_each(
            steps in prop::collection::vec(1i64..9_000, 1..200),
            picked in prop::collection::btree_set(1u32..200, 0..150),
            origin in -900_000i64..900_000,
        ) {
            let times: Vec<i64> = steps.iter().scan(0, |at, step| { *at += step; Some(*at) }).collect();
            let keyframes: Vec<u32> = std::iter::once(0).chain(picked.into_iter().filter(|index| (*index as usize) < times.len())).collect();
            let chunk = Chunk {
                number: 3, first_segment: 3, start_us: -5, end_us: Some(i64::MAX), seek_us: None,
                times: FrameTimes::new(&times).unwrap(), keyframes: keyframes.clone(), segments: vec![0], ranges: Vec::new(),
            };
            let base = TimeBase::new(1, 90_000).unwrap();
            let gops = chunk.gops(origin, base);
            prop_assert!(gops.len() <= MAX_GOPS && (keyframes.len() > MAX_GOPS || gops.len() == keyframes.len()));
            let mut before = 0;
            let found = gops.iter().flat_map(|gop| {
                let first = before;
                before += gop.times.count();
                gop.keyframes.iter().map(move |index| first + index).collect::<Vec<_>>()
            });
            prop_assert_eq!(found.collect::<Vec<u32>>(), keyframes);
            let all: Vec<i64> = gops.iter().flat_map(|gop| gop.times.iter().collect::<Vec<_>>()).collect();
            prop_assert_eq!(all, times);
            prop_assert_eq!((gops[0].start_us, gops.last().unwrap().end_us), (-5, Some(i64::MAX)));
            for pair in gops.windows(2) {
                prop_assert_eq!(pair[0].end_us, Some(pair[1].start_us));
                let micros = |ticks: i64| base.rescale(ticks + origin, TimeBase::MICROS);
                prop_assert!(micros(pair[0].times.last()) <= pair[1].start_us && pair[1].start_us <= micros(pair[1].times.first()) + 1);
            }
        }
    }
}
