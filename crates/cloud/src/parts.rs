//! Pieces of an object to be, divided into the parts of an upload. Pure.

use bytes::Bytes;
use pipeline::{plan::ByteRange, ports::Piece};

/// S3 takes parts of this size or more, but for the last (S3 user guide, "Amazon S3 multipart upload limits"; so the next
/// three).
pub const LEAST_PART: u64 = 5 << 20;
/// Of one copy; S3 takes 5 GiB.
const MOST_COPY: u64 = 1 << 30;
/// S3 takes 10,000: what rounding adds stays below.
const MAX_PARTS: u64 = 9_000;
/// Parts are put together in memory, so their size is bounded: larger files would need more parts than there may be.
const MOST_LEAST: u64 = 16 << 20;

/// One part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Read, and sent from memory.
    Gathered(Vec<Take<'a>>),
    /// Copied by S3.
    Copied { key: &'a str, range: ByteRange },
}

/// What is read for a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Take<'a> {
    Bytes(Bytes),
    /// An object, held against its hash, and the ranges of it that are wanted.
    Whole {
        key: &'a str,
        bytes: u64,
        sha256: &'a str,
        ranges: &'a [ByteRange],
    },
    /// The front of what is copied otherwise.
    Front {
        key: &'a str,
        range: ByteRange,
    },
}

impl Take<'_> {
    /// Bytes that it adds.
    pub fn len(&self) -> usize {
        let bytes = match self {
            Self::Bytes(bytes) => return bytes.len(),
            Self::Front { range, .. } => range.len(),
            Self::Whole { ranges, .. } => ranges.iter().map(|range| range.len()).sum(),
        };
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

/// The parts in order; `None` if the file is too large (144 GB).
pub fn divided(pieces: &[Piece]) -> Option<Vec<Part<'_>>> {
    let total: u64 = pieces.iter().map(Piece::len).sum();
    let least = total.div_ceil(MAX_PARTS).max(LEAST_PART);
    if least > MOST_LEAST {
        return None;
    }
    let mut divider = Divider { least, parts: Vec::new(), run: Vec::new(), run_bytes: 0 };
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        match piece {
            Piece::Stored { key, ranges, .. } if ranges.len() == 1 && piece.len() >= least => divider.large(piece, key, ranges[0]),
            piece => divider.small(piece),
        }
    }
    divider.flush();
    Some(divider.parts)
}

struct Divider<'a> {
    least: u64,
    parts: Vec<Part<'a>>,
    /// What is gathered for the next part.
    run: Vec<Take<'a>>,
    run_bytes: u64,
}

impl<'a> Divider<'a> {
    fn small(&mut self, piece: &'a Piece) {
        self.run.push(match piece {
            Piece::Bytes(bytes) => Take::Bytes(bytes.clone()),
            Piece::Stored { key, bytes, sha256, ranges } => Take::Whole { key, bytes: *bytes, sha256, ranges },
        });
        self.run_bytes += piece.len();
        if self.run_bytes >= self.least {
            self.flush();
        }
    }

    /// A part in front of a copy that would be too small takes from it what it lacks; where too little would be left to
    /// copy, it takes all.
    fn large(&mut self, piece: &'a Piece, key: &'a str, range: ByteRange) {
        let lacks = if self.run.is_empty() { 0 } else { self.least - self.run_bytes };
        if lacks > 0 && range.len() < lacks + self.least {
            return self.small(piece);
        }
        let start = range.start + lacks;
        if lacks > 0 {
            self.run.push(Take::Front { key, range: ByteRange { start: range.start, end: start } });
            self.flush();
        }
        let length = range.end - start;
        let count = length.div_ceil(MOST_COPY);
        let at = |number: u64| start + number * (length / count);
        for number in 0..count {
            let end = if number + 1 == count { range.end } else { at(number + 1) };
            self.parts.push(Part::Copied { key, range: ByteRange { start: at(number), end } });
        }
    }

    fn flush(&mut self) {
        if !self.run.is_empty() {
            self.parts.push(Part::Gathered(std::mem::take(&mut self.run)));
            self.run_bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stored(number: usize, size: u64, ranges: u64) -> Piece {
        let each = size / ranges;
        let range = |n: u64| ByteRange { start: 100 + n * (each + 50), end: 100 + n * (each + 50) + each };
        Piece::Stored { key: format!("k{number}"), bytes: size + 1_000, sha256: "s".into(), ranges: (0..ranges).map(range).collect() }
    }

    /// The bytes that a part takes, as `(key, range)`; our own bytes have no key.
    fn taken(part: &Part<'_>) -> Vec<(String, ByteRange)> {
        match part {
            Part::Copied { key, range } => vec![((*key).to_owned(), *range)],
            Part::Gathered(takes) => takes.iter().flat_map(taken_by).collect(),
        }
    }
    fn taken_by(take: &Take<'_>) -> Vec<(String, ByteRange)> {
        match take {
            Take::Bytes(bytes) => vec![(String::new(), ByteRange { start: 0, end: bytes.len() as u64 })],
            Take::Front { key, range } => vec![((*key).to_owned(), *range)],
            Take::Whole { key, ranges, .. } => ranges.iter().map(|range| ((*key).to_owned(), *range)).collect(),
        }
    }
    fn size(part: &Part<'_>) -> u64 {
        taken(part).iter().map(|(_, range)| range.len()).sum()
    }
    /// Touching ranges of one object as one.
    fn joined(ranges: impl Iterator<Item = (String, ByteRange)>) -> Vec<(String, ByteRange)> {
        let mut all: Vec<(String, ByteRange)> = Vec::new();
        for (key, range) in ranges.filter(|(_, range)| !range.is_empty()) {
            match all.last_mut() {
                Some((last, before)) if *last == key && before.end == range.start && !key.is_empty() => before.end = range.end,
                _ => all.push((key, range)),
            }
        }
        all
    }

    proptest! {
        #[test]
        fn parts_are_the_pieces_again_and_as_s3_takes_them(
            sizes in prop::collection::vec((0u64..14 << 20, 1u64..4), 1..40), head in 0usize..7 << 20, huge in 0u64..4 << 30
        ) {
            let mut pieces = vec![Piece::Bytes(vec![0; head].into())];
            pieces.extend(sizes.iter().enumerate().map(|(number, (size, ranges))| stored(number, *size, *ranges)));
            pieces.push(stored(99, huge, 1));
            let parts = divided(&pieces).unwrap();
            let (_, front) = parts.split_last().unwrap();
            prop_assert!(front.iter().all(|part| size(part) >= LEAST_PART));
            let most = |part: &Part<'_>| if matches!(part, Part::Copied { .. }) { MOST_COPY } else { 19 << 20 };
            prop_assert!(parts.iter().all(|part| size(part) <= most(part)));
            let wanted = Part::Gathered(pieces.iter().map(|piece| match piece {
                Piece::Bytes(bytes) => Take::Bytes(bytes.clone()),
                Piece::Stored { key, bytes, sha256, ranges } => Take::Whole { key, bytes: *bytes, sha256, ranges },
            }).collect());
            prop_assert_eq!(joined(parts.iter().flat_map(taken)), joined(taken(&wanted).into_iter()));
        }
    }

    #[test]
    fn large_segments_are_copied_and_what_stands_before_them_is_gathered() {
        let pieces = [Piece::Bytes(vec![0; 100].into()), stored(1, 6 << 20, 1), stored(2, 6 << 20, 1), stored(3, 900, 1)];
        let copied: Vec<bool> = divided(&pieces).unwrap().iter().map(|part| matches!(part, Part::Copied { .. })).collect();
        assert_eq!(copied, [false, true, false]);
        let pieces = [Piece::Bytes(vec![0; 100].into()), stored(1, 30 << 20, 1)];
        assert_eq!(divided(&pieces).unwrap().iter().map(size).collect::<Vec<_>>(), [5 << 20, (25 << 20) + 100]);
    }

    #[test]
    fn a_file_of_too_many_parts_is_refused_and_a_day_of_film_is_not() {
        let day: Vec<Piece> = (0..14_400).map(|number| stored(number, 8 << 20, 1)).collect();
        assert!(divided(&day).unwrap().len() <= 10_000);
        let more: Vec<Piece> = (0..20_000).map(|number| stored(number, 8 << 20, 1)).collect();
        assert!(divided(&more).is_none());
    }
}
