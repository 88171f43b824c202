//! Where the media of each segment lies in the file.

use super::track::{Stored, Track};
use crate::{plan::ByteRange, ports::Piece};

/// S3 joins objects without reading them only in parts of this size or more (S3 user guide, "Amazon S3 multipart upload
/// limits"): segments with as much media are copied, smaller ones are gathered.
pub const COPIED_BYTES: u64 = 5 << 20;

/// A stretch of samples of one track without a gap: a *chunk* in the words of ISO/IEC 14496-12.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// From the first byte of media.
    pub offset: u64,
    pub samples: u32,
}

/// The media in its order.
pub struct Layout {
    pub pieces: Vec<Piece>,
    /// By track, in the order of its samples.
    pub chunks: Vec<Vec<Run>>,
    pub bytes: u64,
}

/// Track and number of a segment.
type Place = (usize, usize);

pub fn lay_out(tracks: &[&Track]) -> Layout {
    let mut runs: Vec<Vec<Vec<Run>>> = tracks.iter().map(|track| vec![Vec::new(); track.segments.len()]).collect();
    let (mut pieces, mut bytes) = (Vec::new(), 0);
    for (track, number) in order(tracks) {
        let Some(stored) = tracks.get(track).and_then(|track| track.segments.get(number)) else { continue };
        let (ranges, own) = if stored.is_copied() { as_it_lies(stored) } else { media_only(stored) };
        let placed = own.into_iter().map(|run| Run { offset: bytes + run.offset, ..run }).collect();
        if let Some(place) = runs.get_mut(track).and_then(|runs| runs.get_mut(number)) {
            *place = placed;
        }
        bytes += ranges.iter().map(|range| range.len()).sum::<u64>();
        pieces.push(Piece::Stored { key: stored.key.clone(), bytes: stored.bytes, sha256: stored.sha256.clone(), ranges });
    }
    Layout { pieces, chunks: runs.into_iter().map(|runs| runs.concat()).collect(), bytes }
}

/// From the first byte of media to the last: the headers of fragments between them stay, as bytes that no index names.
fn as_it_lies(stored: &Stored) -> (Vec<ByteRange>, Vec<Run>) {
    let span = stored.span();
    let run = |fragment: &crate::samples::Fragment| Run { offset: fragment.media.start - span.start, samples: fragment.samples };
    (vec![span], stored.fragments.iter().map(run).collect())
}

fn media_only(stored: &Stored) -> (Vec<ByteRange>, Vec<Run>) {
    let samples = stored.fragments.iter().map(|fragment| fragment.samples).sum();
    (stored.fragments.iter().map(|fragment| fragment.media).collect(), vec![Run { offset: 0, samples }])
}

/// All segments by the time at which they begin, sound before picture. Where some are copied, those that are gathered
/// cannot stand between them, since a part in the middle may not be small: they are put together until they make a part,
/// and it stands before the copied ones of the same time. So a player that reads from the front has always what it
/// needs, at the price of a few megabytes (minutes of sound) that it holds ahead.
fn order(tracks: &[&Track]) -> Vec<Place> {
    let mut all: Vec<(i64, bool, Place)> = Vec::new();
    for (at, track) in tracks.iter().enumerate() {
        all.extend(track.segments.iter().enumerate().map(|(number, stored)| (stored.begin_us, track.is_video, (at, number))));
    }
    all.sort_unstable();
    let (mut ordered, mut copied) = (Vec::with_capacity(all.len()), Vec::new());
    let mut gathered = 0;
    for (_, _, (at, number)) in all {
        let Some(stored) = tracks.get(at).and_then(|track| track.segments.get(number)) else { continue };
        if stored.is_copied() {
            copied.push((at, number));
            continue;
        }
        ordered.push((at, number));
        gathered += stored.media_bytes();
        if gathered >= COPIED_BYTES {
            ordered.append(&mut copied);
            gathered = 0;
        }
    }
    ordered.append(&mut copied);
    ordered
}
