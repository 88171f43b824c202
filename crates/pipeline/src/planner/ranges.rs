//! Which bytes of the source a chunk needs, and where its decoder begins.

use std::ops::Range;

use super::Frames;
use crate::{
    plan::ByteRange,
    source::{Packet, SourceReport, VideoTrack},
    timebase::TimeBase,
};

/// Bytes left and right of what the index names.
pub const SLACK: u64 = 64 << 10;
/// Packets read past the end of a window: the decoder's delay and the demuxer's look-ahead.
const PACKETS_PAST: usize = 48;
/// ffmpeg's `-ss` seeks this much earlier where pictures are reordered (3/23 s), rounded up.
const FFMPEG_SEEKS_EARLIER_US: i64 = 130_435;
/// Longest cluster that common muxers write (5 s) and a second.
const CLUSTER_US: i64 = 6_000_000;
const HALF_SECOND_US: i64 = 500_000;
/// Packets after a keyframe that are looked at for pictures shown before it.
const LEADING_LOOK: usize = 32;

/// How a chunk's decoder gets to its first frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seek {
    /// Microseconds of the source's clock for ffmpeg's `-ss`; `None`: from the start of the file.
    pub seek_us: Option<i64>,
    /// First packet (by index) whose bytes are needed.
    pub from: usize,
}

/// The keyframes of a track, to be found by their times: a long film has as many as it has chunks, and more.
pub struct Keys {
    /// Packets by index, in the order of the file.
    packets: Vec<usize>,
    /// The least PTS of each keyframe and all behind it.
    shown: Vec<i64>,
    /// The least time of decoding of the same.
    decoded: Vec<i64>,
}

impl Keys {
    pub fn of(track: &VideoTrack) -> Self {
        let keys = || track.packets.iter().enumerate().filter(|(_, packet)| packet.key);
        Self {
            packets: keys().map(|(index, _)| index).collect(),
            shown: least_of_the_rest(keys().map(|(_, packet)| packet.pts)),
            decoded: least_of_the_rest(keys().map(|(_, packet)| decode_time(packet))),
        }
    }

    /// The number of the last keyframe of the file of which `is_before` holds: in damaged files others stand before it that are later.
    fn last(least: &[i64], is_before: impl Fn(i64) -> bool) -> Option<usize> {
        least.partition_point(|ticks| is_before(*ticks)).checked_sub(1)
    }
}

/// For each of some times the least of it and all behind it, so that they rise. What has no time is never reached.
fn least_of_the_rest(times: impl DoubleEndedIterator<Item = Option<i64>>) -> Vec<i64> {
    let mut least: Vec<i64> = times
        .rev()
        .scan(i64::MAX, |least, time| {
            *least = time.map_or(*least, |time| time.min(*least));
            Some(*least)
        })
        .collect();
    least.reverse();
    least
}

/// Where the decoder of a chunk whose first frame is `frame` begins. `before`: the frame before it is needed as well, to
/// deinterlace this one.
pub fn seek(report: &SourceReport, track: &VideoTrack, frames: &Frames, keys: &Keys, frame: usize, before: bool) -> Seek {
    const START: Seek = Seek { seek_us: None, from: 0 };
    let packets = &track.packets;
    let pts = frames.pts().get(frame).copied().unwrap_or_default();
    let at = |number: usize| keys.packets.get(number).and_then(|index| Some((*index, packets.get(*index)?)));
    // Before the second keyframe there is nothing to be passed over.
    let Some(number) = Keys::last(&keys.shown, |ticks| ticks <= pts).filter(|number| *number > 0 && frame > 0) else { return START };
    let Some((key, packet)) = at(number) else { return START };
    let Some(key_time) = decode_time(packet) else { return START };
    let key_us = micros(track.time_base, key_time);
    let tables = report.container.split(',').any(|name| name == "mov");
    let tight_us = key_us + FFMPEG_SEEKS_EARLIER_US + 1_000;
    // Where no picture is reordered ffmpeg seeks to the very time: the next keyframe must be behind it.
    let next_us = at(number + 1).and_then(|(_, next)| decode_time(next)).map(|ticks| micros(track.time_base, ticks));
    if tables && !before && packet.dts.is_some() && !has_leading(packets, key) && next_us.is_none_or(|next| next > tight_us) {
        return Seek { seek_us: Some(tight_us), from: key };
    }
    let lowest_us = micros(track.time_base, packet.pts.unwrap_or(key_time).min(key_time));
    let landing_us = key_us.min(lowest_us) - HALF_SECOND_US - FFMPEG_SEEKS_EARLIER_US - 1_000;
    let landing = Keys::last(&keys.decoded, |ticks| micros(track.time_base, ticks) <= landing_us);
    landing.and_then(at).map_or(START, |(from, _)| Seek { seek_us: Some(lowest_us - HALF_SECOND_US), from })
}

/// Whether pictures that follow a keyframe in the file are shown before it: an open GOP.
fn has_leading(packets: &[Packet], key: usize) -> bool {
    let key_pts = packets.get(key).and_then(|p| p.pts);
    packets.iter().skip(key + 1).take(LEADING_LOOK).any(|p| p.pts < key_pts)
}

/// A missing DTS counts as the PTS.
fn decode_time(packet: &Packet) -> Option<i64> {
    packet.dts.or(packet.pts)
}

fn micros(base: TimeBase, ticks: i64) -> i64 {
    base.rescale(ticks, TimeBase::MICROS)
}

/// The bytes of the source that a chunk needs: headers, its window, the tail. In order, not touching.
pub fn of(report: &SourceReport, track: &VideoTrack, frames: &Frames, span: &Range<usize>, seek: &Seek, size: u64) -> Vec<ByteRange> {
    let last = span.clone().map(|frame| frames.packet(frame)).max().unwrap_or_default();
    let until = (last + 1 + PACKETS_PAST).min(track.packets.len());
    let window = track.packets.get(entry(report, track, seek.from)..until).unwrap_or_default();
    let (Some(begin), Some(end)) = (window.iter().filter_map(|p| p.pos).min(), window.iter().filter_map(packet_end).max()) else {
        return whole(size);
    };
    let begin = if seek.seek_us.is_none() { 0 } else { begin.saturating_sub(SLACK) };
    let header_end = report.first_packet_pos.unwrap_or(size);
    let tail = report.last_packet_end.unwrap_or(0).saturating_sub(SLACK);
    join(vec![(0, header_end), (begin, end.saturating_add(SLACK)), (tail, size)], size, 0)
}

/// The bytes of single packets of a file whose tables say where they are, and ranges that are needed beside them. Other
/// files are read whole to come to a packet.
pub fn of_packets(
    report: &SourceReport,
    track: &VideoTrack,
    packets: impl ExactSizeIterator<Item = usize>,
    beside: &[ByteRange],
    size: u64,
) -> Vec<ByteRange> {
    let mut ranges: Vec<(u64, u64)> = beside.iter().map(|range| (*range).into()).collect();
    if packets.len() > 0 {
        let tables = report.container.split(',').any(|name| name == "mov");
        let (Some(header_end), Some(media_end), true) = (report.first_packet_pos, report.last_packet_end, tables) else {
            return whole(size);
        };
        ranges.extend([(0, header_end), (media_end.saturating_sub(SLACK), size)]);
        for packet in packets.filter_map(|index| track.packets.get(index)) {
            let (Some(begin), Some(end)) = (packet.pos, packet_end(packet)) else { return whole(size) };
            ranges.push((begin.saturating_sub(SLACK), end.saturating_add(SLACK)));
        }
    }
    join(ranges, size, 0)
}

/// The first packet whose bytes the demuxer reads. Matroska is entered at a cluster, which may begin before its keyframe.
fn entry(report: &SourceReport, track: &VideoTrack, from: usize) -> usize {
    if !report.container.split(',').any(|name| name == "matroska") {
        return from;
    }
    let time = |packet: &Packet| decode_time(packet).map(|ticks| micros(track.time_base, ticks));
    let limit = track.packets.get(from).and_then(time).unwrap_or(i64::MIN).saturating_sub(CLUSTER_US);
    let before = track.packets.get(..from).unwrap_or_default();
    before.iter().rposition(|packet| time(packet).is_some_and(|at| at <= limit)).unwrap_or(0)
}

/// Where nothing better is known: all of it.
fn whole(size: u64) -> Vec<ByteRange> {
    vec![ByteRange { start: 0, end: size }]
}

pub fn packet_end(packet: &Packet) -> Option<u64> {
    packet.pos.map(|pos| pos.saturating_add(u64::from(packet.size)))
}

/// Sorted, clipped to the source; joined where they overlap or no more than `gap` bytes lie between them.
pub fn join(mut ranges: Vec<(u64, u64)>, size: u64, gap: u64) -> Vec<ByteRange> {
    ranges.sort_unstable();
    let mut joined: Vec<ByteRange> = Vec::new();
    for (start, end) in ranges.into_iter().map(|(start, end)| (start.min(size), end.min(size))).filter(|(start, end)| start < end) {
        match joined.last_mut() {
            Some(last) if start <= last.end.saturating_add(gap) => last.end = last.end.max(end),
            _ => joined.push(ByteRange { start, end }),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// In whatever order they stand in the file, and whether they have times at all.
        #[test]
        fn the_last_keyframe_that_is_not_after_a_time_is_found(
            times in prop::collection::vec(prop::option::weighted(0.9, -20i64..20), 0..60),
            limit in -25i64..25,
        ) {
            let found = Keys::last(&least_of_the_rest(times.iter().copied()), |ticks| ticks <= limit);
            prop_assert_eq!(found, times.iter().rposition(|time| time.is_some_and(|ticks| ticks <= limit)));
        }
    }
}
