//! The samples of a stored segment: what the index of an MP4 is made of. Packed small, since it goes with the task's record.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::plan::ByteRange;

/// The samples of one segment in decoding order, as its boxes have them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Samples {
    /// Bytes of each.
    pub sizes: Vec<u32>,
    /// Place of each in display order, counted from the segment's first.
    pub order: Vec<u32>,
    /// Ticks of the track's time scale; empty for video, whose times are the plan's.
    pub durations: Vec<u32>,
    /// Indexes of those at which decoding can begin; empty: all.
    pub sync: Vec<u32>,
    /// Where they lie in the segment, in its order.
    pub fragments: Vec<Fragment>,
}

/// The media of one fragment (the content of its `mdat`): samples one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Bytes of the segment.
    pub media: ByteRange,
    pub samples: u32,
}

/// [`Samples`] as numbers of seven bits a byte (LEB128): differences of sizes, differences of order, runs of durations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SampleTable(Vec<u8>);

impl From<SampleTable> for String {
    fn from(table: SampleTable) -> Self {
        STANDARD.encode(table.0)
    }
}
impl TryFrom<String> for SampleTable {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        STANDARD.decode(text).map(Self).map_err(|error| format!("a table of samples is not base64: {error}"))
    }
}

/// Two differences of either sign as one number (zigzag).
fn folded(number: i64) -> u64 {
    (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned()
}
fn unfolded(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

impl SampleTable {
    pub fn pack(samples: &Samples) -> Self {
        let mut table = Self(Vec::with_capacity(samples.sizes.len() * 2 + 16));
        table.put(samples.sizes.len() as u64);
        let mut last = 0;
        for size in samples.sizes.iter().map(|size| i64::from(*size)) {
            table.put(folded(size - last));
            last = size;
        }
        let moved = (0i64..).zip(&samples.order).map(|(index, place)| i64::from(*place) - index);
        let in_order = moved.clone().all(|by| by == 0);
        table.put(u64::from(!in_order));
        if !in_order {
            moved.for_each(|by| table.put(folded(by)));
        }
        table.put_runs(&samples.durations);
        table.put(samples.sync.len() as u64);
        let mut last = 0;
        for index in samples.sync.iter().map(|index| u64::from(*index)) {
            table.put(index.saturating_sub(last));
            last = index;
        }
        table.put(samples.fragments.len() as u64);
        let mut end = 0;
        for Fragment { media, samples } in &samples.fragments {
            table.put(media.start.saturating_sub(end));
            table.put(media.len());
            table.put(u64::from(*samples));
            end = media.end;
        }
        table
    }

    fn put(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7F) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push((number & 0x7F) as u8);
    }

    fn put_runs(&mut self, values: &[u32]) {
        let runs: Vec<&[u32]> = values.chunk_by(|a, b| a == b).collect();
        self.put(runs.len() as u64);
        for run in runs {
            self.put(run.first().copied().map_or(0, u64::from));
            self.put(run.len() as u64);
        }
    }

    /// The samples again. The error is for the operator: a record of ours that contradicts itself.
    pub fn unpack(&self) -> Result<Samples, String> {
        let samples = Reader(&self.0).samples().ok_or("a table of samples is cut off or not written by this version")?;
        consistent(&samples)?;
        Ok(samples)
    }
}

/// Fragments hold the samples, no more and no less, and every place in display order is taken once.
fn consistent(samples: &Samples) -> Result<(), String> {
    let mut sizes = samples.sizes.iter().map(|size| u64::from(*size));
    for Fragment { media, samples } in &samples.fragments {
        let held: u64 = sizes.by_ref().take(*samples as usize).sum();
        if held != media.len() {
            return Err(format!("a fragment of {} bytes has samples of {held}", media.len()));
        }
    }
    if sizes.next().is_some() {
        return Err("samples lie outside of the fragments".into());
    }
    let mut taken = vec![false; samples.order.len()];
    for place in &samples.order {
        match taken.get_mut(*place as usize) {
            Some(free) if !*free => *free = true,
            _ => return Err(format!("two samples, or none, are at place {place}")),
        }
    }
    Ok(())
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
    /// Of things that take a byte each at least, so that no number makes us take memory that the table has not.
    fn count(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok().filter(|count| *count <= self.0.len())
    }
    fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn samples(mut self) -> Option<Samples> {
        let count = self.count()?;
        let mut samples = Samples::default();
        let mut size = 0i64;
        for _ in 0..count {
            size = size.checked_add(unfolded(self.number()?))?;
            samples.sizes.push(u32::try_from(size).ok()?);
        }
        let moved = self.number()? != 0;
        for index in 0..i64::try_from(count).ok()? {
            let by = if moved { unfolded(self.number()?) } else { 0 };
            samples.order.push(u32::try_from(index.checked_add(by)?).ok()?);
        }
        for _ in 0..self.count()? {
            let (duration, times) = (self.small()?, usize::try_from(self.number()?).ok()?);
            if times > count - samples.durations.len() {
                return None;
            }
            samples.durations.extend(std::iter::repeat_n(duration, times));
        }
        let mut at = 0u32;
        for _ in 0..self.count()? {
            at = at.checked_add(self.small()?)?;
            samples.sync.push(at);
        }
        let mut end = 0u64;
        for _ in 0..self.count()? {
            let start = end.checked_add(self.number()?)?;
            end = start.checked_add(self.number()?)?;
            samples.fragments.push(Fragment { media: ByteRange { start, end }, samples: self.small()? });
        }
        let whole = samples.durations.is_empty() || samples.durations.len() == count;
        let inside = samples.sync.iter().all(|index| (*index as usize) < count);
        (self.0.is_empty() && whole && inside).then_some(samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn samples() -> impl Strategy<Value = Samples> {
        let fragment = (prop::collection::vec(0u32..2_000_000, 1..30), 0u64..5_000);
        (prop::collection::vec(fragment, 0..5), any::<bool>(), any::<u64>()).prop_map(|(fragments, timed, seed)| {
            let mut samples = Samples::default();
            let mut end = 0;
            for (sizes, gap) in fragments {
                let start = end + gap;
                end = start + sizes.iter().map(|size| u64::from(*size)).sum::<u64>();
                let count = u32::try_from(sizes.len()).unwrap();
                let first = u32::try_from(samples.sizes.len()).unwrap();
                samples.sync.push(first);
                samples.order.extend((0..count).map(|n| first + (count - 1 - n)));
                samples.fragments.push(Fragment { media: ByteRange { start, end }, samples: count });
                samples.sizes.extend(sizes);
            }
            if timed {
                samples.durations = samples.sizes.iter().map(|size| size % 3 + u32::try_from(seed % 7).unwrap()).collect();
            }
            samples
        })
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_back(samples in samples()) {
            let table = SampleTable::pack(&samples);
            prop_assert_eq!(table.unpack().unwrap(), samples);
            let text = serde_json::to_string(&table).unwrap();
            prop_assert_eq!(serde_json::from_str::<SampleTable>(&text).unwrap(), table);
        }

        #[test]
        fn any_bytes_are_a_table_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = SampleTable(bytes).unpack();
        }
    }

    #[test]
    fn a_minute_of_sound_is_a_few_kilobytes_and_a_chunk_of_pictures_less_than_one() {
        let sound = Samples {
            sizes: (0..2_812u32).map(|n| 320 + n * 7919 % 60).collect(),
            order: (0..2_812).collect(),
            durations: vec![1024; 2_812],
            fragments: vec![Fragment { media: ByteRange { start: 0, end: 0 }, samples: 2_812 }],
            sync: Vec::new(),
        };
        assert!(String::from(SampleTable::pack(&sound)).len() < 5_000);
        let pictures = Samples { sizes: (0..180u32).map(|n| 900 + n * 7919 % 9_000).collect(), order: (0..180).collect(), ..sound };
        assert!(String::from(SampleTable::pack(&Samples { durations: Vec::new(), ..pictures })).len() < 600);
    }

    #[test]
    fn a_table_that_contradicts_itself_is_refused() {
        let fragment = Fragment { media: ByteRange { start: 8, end: 18 }, samples: 2 };
        let good = Samples { sizes: vec![4, 6], order: vec![0, 1], fragments: vec![fragment], ..Samples::default() };
        let refused = |samples: &Samples| SampleTable::pack(samples).unpack().unwrap_err();
        assert!(SampleTable::pack(&good).unpack().is_ok());
        assert!(refused(&Samples { sizes: vec![4, 7], ..good.clone() }).contains("samples of 11"));
        assert!(refused(&Samples { order: vec![1, 1], ..good.clone() }).contains("place 1"));
        assert!(refused(&Samples { fragments: Vec::new(), ..good }).contains("outside"));
        assert!(SampleTable::default().unpack().is_err());
    }
}
