//! Which bytes of the source sound and text are decoded from, where that is not the whole of it.

use super::ranges::{SLACK, join, packet_end};
use crate::{
    encoder::MAX_WHOLE,
    excerpt::{Excerpt, Extents, bridged},
    plan::{ByteRange, Plan, SubtitlePlan},
    source::{AudioTrack, SourceReport, SubtitleTrack},
};

/// Bytes of a block of the worker's disk: less than one is no hole in a file.
const BLOCK: u64 = 4 << 10;
/// Bytes at the beginning that are always there: ffmpeg looks at the first packets of all tracks.
const HEAD: u64 = 2 << 20;
/// Ranges of one excerpt: sound beside every picture of two and a half hours at 60 a second, or of seven at 24.
const MAX_RANGES: usize = 600_000;

/// Names in the plan what each task of sound and the one of the text reads, and answers the ranges that are named.
pub fn of(report: &SourceReport, plan: &mut Plan) -> Vec<Extents> {
    let (mut named, size) = (Vec::new(), plan.source_bytes);
    for planned in &mut plan.audio {
        let track = report.audio.iter().find(|track| track.index == planned.index);
        planned.excerpt = name(&mut named, track.and_then(|track| excerpt(sound(report, track, size)?, size)));
    }
    plan.text = name(&mut named, text(report, &plan.subtitles, size).and_then(|needed| excerpt(needed, size)));
    named
}

fn name(named: &mut Vec<Extents>, excerpt: Option<(Extents, Vec<ByteRange>)>) -> Option<Excerpt> {
    let (extents, read) = excerpt?;
    // All tracks of sound of a Matroska file have the same.
    let place = named.iter().position(|known| *known == extents).unwrap_or_else(|| {
        named.push(extents);
        named.len() - 1
    });
    let (bytes, stretches) = (read.iter().map(|range| range.len()).sum(), read.len() as u64);
    u32::try_from(place).ok().map(|number| Excerpt { number, bytes, stretches })
}

/// What is decoded from, and what is read for it. `None`: the whole, which is simpler, and as good where little is spared.
fn excerpt(needed: Vec<(u64, u64)>, size: u64) -> Option<(Extents, Vec<ByteRange>)> {
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

fn is(report: &SourceReport, kind: &str) -> bool {
    report.container.split(',').any(|name| name == kind)
}

/// What a track of sound needs. `None`: the whole.
fn sound(report: &SourceReport, track: &AudioTrack, size: u64) -> Option<Vec<(u64, u64)>> {
    match () {
        () if is(report, "mov") => own_packets(report, &[&track.extents], size),
        () if is(report, "matroska") => all_but_pictures(report, size),
        () => None,
    }
}

/// What the tracks of text need together. `None`: the whole, or there are none.
fn text(report: &SourceReport, planned: &[SubtitlePlan], size: u64) -> Option<Vec<(u64, u64)>> {
    let is_planned = |track: &&SubtitleTrack| planned.iter().any(|text| text.index == track.index);
    let tracks: Vec<&[ByteRange]> = report.subtitles.iter().filter(is_planned).map(|track| track.extents.as_slice()).collect();
    match () {
        () if is(report, "mov") => own_packets(report, &tracks, size),
        () if is(report, "matroska") => elements(report, &tracks),
        () => None,
    }
}

/// The demuxer of MP4 goes by its tables from one packet of a track to the next.
fn own_packets(report: &SourceReport, tracks: &[&[ByteRange]], size: u64) -> Option<Vec<(u64, u64)>> {
    let (first, end) = report.first_packet_pos.zip(report.last_packet_end)?;
    let tables = [(0, first.saturating_add(HEAD)), (end.saturating_sub(SLACK), size)];
    all_lie_somewhere(tracks).then(|| tables.into_iter().chain(tracks.iter().copied().flatten().map(|range| (*range).into())).collect())
}

fn all_lie_somewhere(tracks: &[&[ByteRange]]) -> bool {
    !tracks.is_empty() && tracks.iter().all(|extents| !extents.is_empty())
}

/// The demuxer of Matroska goes from element to element: those of the text, and the way to them. Every packet that the probe
/// saw must begin in one.
fn elements(report: &SourceReport, tracks: &[&[ByteRange]]) -> Option<Vec<(u64, u64)>> {
    let way = &report.way_to_text;
    let is_inside = |at: u64| way.get(way.partition_point(|element| element.end <= at)).is_some_and(|element| element.start <= at);
    let all = all_lie_somewhere(tracks) && tracks.iter().copied().flatten().all(|packet| is_inside(packet.start));
    all.then(|| way.iter().map(|element| (*element).into()).collect())
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
        let (extents, read) = excerpt(sound(&report, &report.audio[0], size)?, size)?;
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
        let (extents, _) = excerpt(sound(&report, &report.audio[0], size).unwrap(), size).unwrap();
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
        let mut plan = Plan { source_bytes: size, ..planned(&report).plan };
        assert_eq!(of(&report, &mut plan).len(), 1);
        assert_eq!(plan.audio[0].excerpt, plan.audio[1].excerpt);
        assert_eq!(plan.audio[0].excerpt.unwrap().number, 0);
    }

    /// [`film`] with two tracks of text, both in every `each`th piece of sound, and its plan.
    fn captioned(container: &str, count: i64, picture: u32, each: usize) -> (SourceReport, Plan) {
        let (mut report, size) = film(container, count, picture);
        let at = |start: u64, offset: u64| ByteRange { start: start + offset, end: start + offset + 60 };
        let texts: Vec<u64> = report.audio[0].extents.iter().skip(each / 2).step_by(each).map(|sound| sound.start).collect();
        let track = |index: u32, offset: u64| SubtitleTrack {
            index,
            position: index - 2,
            codec: if container == "mov,mp4" { "mov_text" } else { "subrip" }.into(),
            language: String::new(),
            title: String::new(),
            default: false,
            forced: false,
            role: crate::plan::Role::Main,
            packets: texts.len() as u64,
            extents: texts.iter().map(|start| at(*start, offset)).collect(),
        };
        report.subtitles = vec![track(2, 100), track(3, 200)];
        // Head of the file; of each text the head of its cluster, which begins half way from the one before, and the two
        // elements; index.
        let ahead = u64::from(picture) * each as u64 / 2;
        let way = texts.iter().flat_map(|start| [(start - ahead, start - ahead + 20), (start + 95, start + 270)]);
        report.way_to_text = [(0, 4_000)].into_iter().chain(way).chain([(size - 900, size)]).map(Into::into).collect();
        let plan = Plan { source_bytes: size, ..planned(&report).plan };
        (report, plan)
    }

    #[test]
    fn all_tracks_of_text_are_one_excerpt() {
        for (container, most) in [("mov,mp4", 4 << 20), ("matroska,webm", 200_000)] {
            let (report, mut plan) = captioned(container, 300, 3_000_000, 10);
            let named = of(&report, &mut plan);
            let text = plan.text.unwrap();
            assert!(text.bytes < most && (30..=62).contains(&text.stretches), "{container}: {text:?}");
            let ranges = named[text.number as usize].ranges();
            let packets = report.subtitles.iter().flat_map(|track| &track.extents);
            for packet in packets {
                assert!(ranges.iter().any(|range| range.start <= packet.start && packet.end <= range.end), "{container}: {packet:?}");
            }
        }
    }

    #[test]
    fn text_of_which_nobody_knows_where_it_lies_is_read_from_the_whole() {
        let planned = |change: &dyn Fn(&mut SourceReport)| {
            let (mut report, mut plan) = captioned("matroska,webm", 300, 3_000_000, 10);
            change(&mut report);
            of(&report, &mut plan);
            plan.text
        };
        assert!(planned(&|_| {}).is_some());
        assert_eq!(planned(&|report| report.way_to_text.clear()), None);
        assert_eq!(planned(&|report| report.way_to_text.retain(|element| element.start < 1 << 28)), None, "a packet that no element holds");
        assert_eq!(planned(&|report| report.subtitles[1].extents.clear()), None);
        assert_eq!(planned(&|report| report.container = "mpegts".into()), None);
    }

    /// Three hours at 40 Mbit/s, 5,400 texts in two languages.
    #[test]
    fn text_of_a_long_film_is_a_list_of_kilobytes() {
        for container in ["mov,mp4", "matroska,webm"] {
            let (report, mut plan) = captioned(container, 54_000, 990_000, 10);
            let named = of(&report, &mut plan);
            let text = plan.text.unwrap();
            let ranges = &named[text.number as usize];
            let kept = serde_json::to_string(ranges).unwrap().len();
            assert!(plan.source_bytes > 5 * MAX_WHOLE && ranges.ranges().len() <= 20_000 && kept < 300_000);
            assert!(text.bytes < plan.source_bytes / 100, "{text:?}");
        }
    }
}
