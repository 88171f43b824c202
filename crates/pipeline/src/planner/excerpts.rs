//! Which bytes of the source the sound is decoded from, where that is not the whole of it.

use super::ranges::{SLACK, join, packet_end};
use crate::{
    encoder::MAX_WHOLE,
    excerpt::{Excerpt, Extents, bridged},
    plan::{AudioPlan, ByteRange},
    source::{AudioTrack, SourceReport},
};

/// Bytes of a block of the worker's disk: less than one is no hole in a file.
const BLOCK: u64 = 4 << 10;
/// Bytes at the beginning that are always there: ffmpeg looks at the first packets of all tracks.
const HEAD: u64 = 2 << 20;
/// Ranges of one excerpt: sound beside every picture of two and a half hours at 60 a second, or of seven at 24.
const MAX_RANGES: usize = 600_000;

/// Names in every track's plan what its task reads, and answers the ranges that are named.
pub fn of(report: &SourceReport, tracks: &mut [AudioPlan], size: u64) -> Vec<Extents> {
    let mut named: Vec<Extents> = Vec::new();
    for planned in tracks {
        let track = report.audio.iter().find(|track| track.index == planned.index);
        let Some((extents, read)) = track.and_then(|track| excerpt(report, track, size)) else { continue };
        // Of Matroska all tracks have the same.
        let place = named.iter().position(|known| *known == extents).unwrap_or_else(|| {
            named.push(extents);
            named.len() - 1
        });
        planned.excerpt = u32::try_from(place).ok().map(|number| Excerpt {
            number,
            bytes: read.iter().map(|range| range.len()).sum(),
            stretches: read.len() as u64,
        });
    }
    named
}

/// What a track is decoded from, and what is read for it. `None`: the whole, which is simpler, and as good where
/// little is spared; or nothing else will do.
fn excerpt(report: &SourceReport, track: &AudioTrack, size: u64) -> Option<(Extents, Vec<ByteRange>)> {
    let needed = needed(report, track, size)?;
    let ranges = join(needed, size, BLOCK);
    let mut gaps: Vec<u64> = ranges.windows(2).map(|pair| pair[1].start - pair[0].end).collect();
    gaps.sort_unstable_by(|a, b| b.cmp(a));
    // Of the gaps the greatest stay.
    let ranges = match gaps.get(MAX_RANGES - 1) {
        Some(gap) => join(ranges.into_iter().map(Into::into).collect(), size, *gap),
        None => ranges,
    };
    let read = bridged(&ranges);
    let is_worth_it = read.iter().map(|range| range.len()).sum::<u64>() <= size / 5 * 4 || size > MAX_WHOLE;
    let fits = on_disk(&ranges) <= MAX_WHOLE;
    Extents::new(ranges).filter(|_| is_worth_it && fits).map(|extents| (extents, read))
}

/// Bytes that the ranges take of a disk.
fn on_disk(ranges: &[ByteRange]) -> u64 {
    ranges.iter().map(|range| (range.end.div_ceil(BLOCK) - range.start / BLOCK) * BLOCK).sum()
}

fn needed(report: &SourceReport, track: &AudioTrack, size: u64) -> Option<Vec<(u64, u64)>> {
    let is = |kind| report.container.split(',').any(|name| name == kind);
    match () {
        () if is("mov") => own_packets(report, track, size),
        () if is("matroska") => all_but_pictures(report, size),
        () => None,
    }
}

/// The demuxer of MP4 goes by its tables from one packet of the track to the next.
fn own_packets(report: &SourceReport, track: &AudioTrack, size: u64) -> Option<Vec<(u64, u64)>> {
    let (first, end) = report.first_packet_pos.zip(report.last_packet_end).filter(|_| !track.extents.is_empty())?;
    let tables = [(0, first.saturating_add(HEAD)), (end.saturating_sub(SLACK), size)];
    Some(tables.into_iter().chain(track.extents.iter().map(|range| (*range).into())).collect())
}

/// The demuxer of Matroska goes from block to block and must see the head of each, and all that stands between them: only
/// the inside of the pictures is left out.
fn all_but_pictures(report: &SourceReport, size: u64) -> Option<Vec<(u64, u64)>> {
    let packets = || report.video.iter().flat_map(|track| &track.packets);
    let sound = report.audio.iter().flat_map(|track| &track.extents).map(|range| range.start);
    let mut begins: Vec<u64> = packets().filter_map(|packet| packet.pos).chain(sound).collect();
    begins.sort_unstable();
    let mut holes: Vec<(u64, u64)> = packets()
        .filter_map(|packet| {
            let begin = packet.pos?;
            // A packet that is kept compressed is longer than what lies in the file.
            let next = begins.get(begins.partition_point(|other| *other <= begin)).copied().unwrap_or(begin);
            Some(((begin + BLOCK).max(HEAD), packet_end(packet)?.min(next).saturating_sub(BLOCK)))
        })
        .filter(|(from, to)| from < to)
        .collect();
    holes.sort_unstable();
    let ends = holes.iter().map(|hole| hole.0).chain([size]);
    let starts = std::iter::once(0).chain(holes.iter().map(|hole| hole.1));
    (!holes.is_empty()).then(|| starts.zip(ends).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::tests::{planned, report, steady, track};

    const SOUND: u64 = 2_000;

    /// A film of `count` pictures of `each` bytes, after each of them a piece of sound.
    fn film(container: &str, count: i64, each: u32) -> (SourceReport, u64) {
        let mut made = report(track(&steady(count), 30, false), Some(0));
        made.container = container.into();
        let mut at = 5_000;
        for (size, packet) in (each..each + 10).cycle().zip(&mut made.video[0].packets) {
            (packet.pos, packet.size) = (Some(at), size);
            at += u64::from(size) + SOUND;
            made.audio[0].extents.push(ByteRange { start: at - SOUND, end: at });
        }
        (made.first_packet_pos, made.last_packet_end) = (Some(5_000), Some(at));
        (made, at + 3_000)
    }

    fn excerpt_of(container: &str, count: i64, each: u32) -> Option<(Vec<ByteRange>, u64, u64)> {
        let (report, size) = film(container, count, each);
        let (extents, read) = excerpt(&report, &report.audio[0], size)?;
        Some((extents.ranges().to_vec(), read.iter().map(|range| range.len()).sum(), size))
    }

    #[test]
    fn sound_between_great_pictures_is_read_alone() {
        let (ranges, bytes, size) = excerpt_of("mov,mp4", 300, 3_000_000).unwrap();
        assert_eq!((ranges[0].start, ranges.last().unwrap().end), (0, size));
        assert!(bytes < size / 100, "{bytes} of {size}");
        let (report, _) = film("mov,mp4", 300, 3_000_000);
        assert!(report.audio[0].extents.iter().all(|own| ranges.iter().any(|r| r.start <= own.start && own.end <= r.end)));
    }

    #[test]
    fn the_whole_is_read_where_little_is_spared_and_it_fits() {
        assert_eq!(excerpt_of("mov,mp4", 300, 500_000), None);
        assert_eq!(excerpt_of("matroska,webm", 300, 500_000), None);
        assert_eq!(excerpt_of("mpegts", 300, 3_000_000), None);
    }

    #[test]
    fn of_what_fits_on_no_disk_only_what_is_needed_is_kept() {
        for container in ["mov,mp4", "matroska,webm"] {
            let (ranges, bytes, size) = excerpt_of(container, 30_000, 500_000).unwrap();
            assert!(size > MAX_WHOLE && bytes > size / 10 * 9);
            assert!(on_disk(&ranges) < 1 << 30, "{} on disk", on_disk(&ranges));
        }
        // Nearly all of it is sound.
        assert_eq!(excerpt_of("mov,mp4", 600_000, 5_000), None);
    }

    #[test]
    fn holes_of_matroska_lie_inside_of_pictures() {
        let (report, size) = film("matroska,webm", 50, 2_000_000);
        let (extents, _) = excerpt(&report, &report.audio[0], size).unwrap();
        let holes: Vec<(u64, u64)> = extents.ranges().windows(2).map(|pair| (pair[0].end, pair[1].start)).collect();
        assert_eq!(holes.len(), 49);
        let is_inside = |hole: &(u64, u64)| {
            let mut packets = report.video[0].packets.iter();
            packets.any(|p| p.pos.unwrap() + BLOCK <= hole.0 && hole.1 + BLOCK <= packet_end(p).unwrap())
        };
        assert!(holes.iter().all(is_inside));
    }

    #[test]
    fn ranges_are_bounded_in_number() {
        let (ranges, _, _) = excerpt_of("mov,mp4", 610_000, 20_000).unwrap();
        assert!((500_000..=MAX_RANGES).contains(&ranges.len()), "{}", ranges.len());
    }

    #[test]
    fn tracks_of_one_excerpt_name_it_alike() {
        let (mut report, size) = film("matroska,webm", 50, 2_000_000);
        report.audio.push(AudioTrack { index: 2, position: 1, extents: Vec::new(), ..report.audio[0].clone() });
        let mut tracks = planned(&report).plan.audio;
        assert_eq!(of(&report, &mut tracks, size).len(), 1);
        assert_eq!(tracks[0].excerpt, tracks[1].excerpt);
        assert_eq!(tracks[0].excerpt.unwrap().number, 0);
    }
}
