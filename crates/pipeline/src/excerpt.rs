//! What a task reads of a source that it does not read whole: many short stretches, as the packets of a track lie.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::plan::ByteRange;

/// Bytes between two ranges that are read along with them: on Lambda a request takes the time of about as many, and costs
/// their price (docs/decisions/0034-sound-by-ranges.md).
pub const BRIDGE: u64 = 1 << 20;

/// An excerpt of the source, as the plan names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excerpt {
    /// Place of its ranges in the list that split keeps beside the plan: they may be 100,000, and the plan is one item of
    /// the ledger.
    pub number: u32,
    /// Bytes that come from the store: its ranges, and what is read along.
    pub bytes: u64,
    /// Pieces that it comes in.
    pub stretches: u64,
}

/// Ranges in order, not touching. As text: `gap+length` of each, bytes, with spaces between them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Extents(Vec<ByteRange>);

impl Extents {
    /// `None`: they are not in order, or touch.
    pub fn new(ranges: Vec<ByteRange>) -> Option<Self> {
        let tidy = ranges.iter().all(|range| !range.is_empty()) && ranges.windows(2).all(|pair| pair[0].end < pair[1].start);
        tidy.then_some(Self(ranges))
    }
    pub fn ranges(&self) -> &[ByteRange] {
        &self.0
    }
    pub fn into_ranges(self) -> Vec<ByteRange> {
        self.0
    }
}

impl From<Extents> for String {
    fn from(extents: Extents) -> Self {
        let (mut text, mut at) = (Self::new(), 0);
        for range in extents.0 {
            let space = if text.is_empty() { "" } else { " " };
            let _ = write!(text, "{space}{}+{}", range.start - at, range.len());
            at = range.end;
        }
        text
    }
}

impl TryFrom<String> for Extents {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let mut at = 0u64;
        let mut range = |word: &str| {
            let (gap, length) = word.split_once('+')?;
            let start = at.checked_add(gap.parse().ok()?)?;
            at = start.checked_add(length.parse().ok()?)?;
            Some(ByteRange { start, end: at })
        };
        let ranges = text.split_ascii_whitespace().map(&mut range).collect::<Option<_>>();
        ranges.and_then(Self::new).ok_or_else(|| "this is no list of byte ranges".to_owned())
    }
}

/// What is read from a store for `ranges`, in order: those that are less than [`BRIDGE`] apart are one.
pub fn bridged(ranges: &[ByteRange]) -> Vec<ByteRange> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut bridged: Vec<ByteRange> = Vec::new();
    for range in sorted.into_iter().filter(|range| !range.is_empty()) {
        match bridged.last_mut() {
            Some(last) if range.start < last.end.saturating_add(BRIDGE) => last.end = last.end.max(range.end),
            _ => bridged.push(range),
        }
    }
    bridged
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn extents_come_back_and_bridges_cover_them(steps in prop::collection::vec((1u64..5 << 20, 1u64..1 << 20), 0..40)) {
            let mut at = 0;
            let ranges: Vec<ByteRange> = steps.into_iter().map(|(gap, length)| {
                let start = at + gap;
                at = start + length;
                ByteRange { start, end: at }
            }).collect();
            let extents = Extents::new(ranges.clone()).unwrap();
            let text = serde_json::to_string(&extents).unwrap();
            prop_assert_eq!(serde_json::from_str::<Extents>(&text).unwrap(), extents);
            let bridged = bridged(&ranges);
            prop_assert!(ranges.iter().all(|range| bridged.iter().any(|wide| wide.start <= range.start && range.end <= wide.end)));
            prop_assert!(bridged.windows(2).all(|pair| pair[0].end + BRIDGE <= pair[1].start));
            let ends = |at: &dyn Fn(&ByteRange) -> bool| ranges.iter().any(at);
            prop_assert!(bridged.iter().all(|wide| ends(&|range| range.start == wide.start) && ends(&|range| range.end == wide.end)));
        }

        #[test]
        fn any_text_is_extents_or_refused(text in "[0-9+ ]{0,60}") {
            if let Ok(extents) = Extents::try_from(text) {
                prop_assert!(Extents::new(extents.ranges().to_vec()).is_some());
            }
        }
    }
}
