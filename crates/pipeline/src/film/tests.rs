use mp4_atom::{Avc1, Avcc, Decode, Encode, Mdhd, Mdia, Minf, Moov, Mvhd, Smhd, Stbl, Stco, Stsd, Trak, Vmhd};

use super::*;
use crate::{
    plan::{AudioPlan, ByteRange, FrameTimes, Role, SubtitlePlan, VideoPlan},
    result::SegmentRecord,
    samples::{Fragment, SampleTable, Samples},
    timebase::TimeBase,
};

/// `ftyp` is not needed to read an init segment.
fn init(scale: u32, is_video: bool) -> Vec<u8> {
    let stbl = Stbl {
        stsd: Stsd {
            codecs: vec![Avc1 { avcc: Avcc { configuration_version: 1, length_size: 4, ..Avcc::default() }, ..Avc1::default() }.into()],
        },
        stco: Some(Stco::default()),
        ..Stbl::default()
    };
    let (vmhd, smhd) = (is_video.then(Vmhd::default), (!is_video).then(Smhd::default));
    let mdhd = Mdhd { timescale: scale, language: "und".into(), ..Mdhd::default() };
    let trak = Trak { mdia: Mdia { mdhd, minf: Minf { vmhd, smhd, stbl, ..Minf::default() }, ..Mdia::default() }, ..Trak::default() };
    let mut bytes = Vec::new();
    Moov { mvhd: Mvhd { timescale: scale, ..Mvhd::default() }, trak: vec![trak], ..Moov::default() }.encode(&mut bytes).unwrap();
    bytes
}

/// A segment of frames of `each` bytes in two fragments with a gap of 50 between them, the second frame shown last.
fn record(number: u32, start: i64, each: u32, frames: u32) -> SegmentRecord {
    let half = u64::from(each * (frames / 2));
    let fragment = |start: u64| Fragment { media: ByteRange { start, end: start + half }, samples: frames / 2 };
    let mut order: Vec<u32> = (0..frames).collect();
    let moved = order.remove(frames as usize - 1);
    order.insert(1, moved);
    let fragments = vec![fragment(100), fragment(150 + half)];
    let samples = Samples { sizes: vec![each; frames as usize], order, sync: vec![0], fragments, durations: Vec::new() };
    SegmentRecord {
        key: format!("v{number}"),
        bytes: 200 + 2 * half,
        sha256: String::new(),
        start,
        duration: 0,
        frames,
        samples: SampleTable::pack(&samples),
    }
}

/// Six seconds of sound in packets of `each` bytes.
fn sound(number: u32, each: u32) -> SegmentRecord {
    let media = ByteRange { start: 60, end: 60 + u64::from(each) * 281 };
    let fragments = vec![Fragment { media, samples: 281 }];
    let samples = Samples { sizes: vec![each; 281], order: (0..281).collect(), durations: vec![1024; 281], sync: Vec::new(), fragments };
    let start = i64::from(number) * 281 * 1024;
    let (bytes, samples) = (media.end, SampleTable::pack(&samples));
    SegmentRecord { key: format!("a{number}"), bytes, sha256: String::new(), start, duration: 281 * 1024, frames: 281, samples }
}

fn picture(segments: u32, each: u32, start: i64) -> Track {
    let at = |number: u32| start + i64::from(number) * 6_000;
    let records: Vec<SegmentRecord> = (0..segments).map(|number| record(number, at(number), each, 12)).collect();
    let times: Vec<FrameTimes> =
        (0..segments).map(|n| FrameTimes::new(&(0..12).map(|frame| at(n) + frame * 500).collect::<Vec<_>>()).unwrap()).collect();
    let plan = VideoPlan { frames: u64::from(segments) * 12, start, end: at(segments), ..video_plan() };
    Track::video(&plan, &init(1000, true), &times, &records).unwrap()
}

pub fn audio_plan() -> AudioPlan {
    AudioPlan {
        codec: "aac".into(),
        name: "audio".into(),
        index: 1,
        position: 0,
        language: "x -y".into(),
        title: String::new(),
        default: false,
        role: Role::Commentary,
        channels: 2,
        time_base: TimeBase::MILLIS,
        origin_us: 0,
        start_us: 0,
        end_us: 0,
        silence_us: 0,
        bitrate: 128_000,
        excerpt: None,
    }
}

pub fn text_plan() -> SubtitlePlan {
    SubtitlePlan {
        name: "text".into(),
        index: 2,
        codec: "subrip".into(),
        language: String::new(),
        title: String::new(),
        forced: false,
        role: Role::Main,
        origin_us: 0,
    }
}

fn a_sound(segments: u32, title: &str) -> Track {
    let plan = AudioPlan { title: title.into(), ..audio_plan() };
    let records: Vec<SegmentRecord> = (0..segments).map(|number| sound(number, 340)).collect();
    Track::audio(&plan, true, &init(48_000, false), &records).unwrap()
}

fn moov(film: &Film) -> Moov {
    let Piece::Bytes(head) = &film.pieces[0] else { panic!("the index is first") };
    let mut rest = &head[usize::try_from(u32::from_be_bytes(head[..4].try_into().unwrap())).unwrap()..];
    Moov::decode(&mut rest).unwrap()
}

/// Where every sample of a track lies in the file: offset and bytes, by the index alone.
fn places(trak: &Trak) -> Vec<(u64, u64)> {
    let stbl = &trak.mdia.minf.stbl;
    let offsets: Vec<u64> = match (&stbl.stco, &stbl.co64) {
        (Some(short), None) => short.entries.iter().map(|offset| u64::from(*offset)).collect(),
        (None, Some(long)) => long.entries.clone(),
        other => panic!("{other:?}"),
    };
    let mp4_atom::StszSamples::Different { sizes } = &stbl.stsz.samples else { panic!("sizes") };
    let (mut sizes, mut places) = (sizes.iter(), Vec::new());
    for (chunk, offset) in (1u32..).zip(offsets) {
        let entry = stbl.stsc.entries.iter().rev().find(|entry| entry.first_chunk <= chunk).unwrap();
        let mut at = offset;
        for size in sizes.by_ref().take(entry.samples_per_chunk as usize) {
            places.push((at, u64::from(*size)));
            at += u64::from(*size);
        }
    }
    assert!(sizes.next().is_none(), "every sample lies in a chunk");
    places
}

/// The object and the byte in it that lie at a byte of the file.
fn at(film: &Film, mut offset: u64) -> (String, u64) {
    for piece in &film.pieces {
        let ranges = match piece {
            Piece::Bytes(bytes) => vec![("head".to_owned(), ByteRange { start: 0, end: bytes.len() as u64 })],
            Piece::Stored { key, ranges, .. } => ranges.iter().map(|range| (key.clone(), *range)).collect(),
        };
        for (key, range) in ranges {
            if offset < range.len() {
                return (key, range.start + offset);
            }
            offset -= range.len();
        }
    }
    panic!("behind the end")
}

#[test]
fn every_sample_is_where_the_index_says_small_or_copied() {
    for each in [1_000, 500_000] {
        let (video, audio) = (picture(3, each, 0), a_sound(3, ""));
        let film = film(&[&video, &audio]).unwrap();
        let moov = moov(&film);
        let mut expected = Vec::new();
        for number in 0..3 {
            let half = 6 * u64::from(each);
            let starts = (0..6).map(|n| 100 + n * u64::from(each)).chain((0..6).map(|n| 150 + half + n * u64::from(each)));
            expected.extend(starts.map(|start| ((format!("v{number}"), start), u64::from(each))));
        }
        let found: Vec<_> = places(&moov.trak[0]).into_iter().map(|(offset, size)| (at(&film, offset), size)).collect();
        assert_eq!(found, expected);
        let found: Vec<_> = places(&moov.trak[1]).into_iter().map(|(offset, size)| (at(&film, offset), size)).collect();
        let expected = (0..3).flat_map(|number| (0..281u64).map(move |n| ((format!("a{number}"), 60 + n * 340), 340)));
        assert_eq!(found, expected.collect::<Vec<_>>());
        let end: u64 = film.pieces.iter().map(Piece::len).sum();
        assert_eq!(end, film.bytes);
    }
}

fn keys(film: &Film) -> Vec<&str> {
    let key = |piece| match piece {
        &Piece::Bytes(_) => "",
        Piece::Stored { key, .. } => key.as_str(),
    };
    film.pieces.iter().map(key).collect()
}

#[test]
fn small_segments_are_interleaved_and_copied_ones_follow_the_sound_of_their_time() {
    let sound = a_sound(3, "");
    assert_eq!(keys(&film(&[&picture(3, 1_000, 0), &sound]).unwrap()), ["", "a0", "v0", "a1", "v1", "a2", "v2"]);
    assert_eq!(keys(&film(&[&picture(3, 500_000, 0), &sound]).unwrap()), ["", "a0", "a1", "a2", "v0", "v1", "v2"]);
    // 55 segments of sound are a part of five megabytes.
    let long = film(&[&picture(120, 500_000, 0), &a_sound(120, "")]).unwrap();
    let keys = keys(&long);
    let first = keys.iter().position(|key| *key == "v0").unwrap();
    let second = keys.iter().skip(first).position(|key| key.starts_with('a')).unwrap();
    assert_eq!((first, second), (56, 54), "{keys:?}");
    let gathered: u64 = long.pieces.iter().filter(|piece| piece.len() < COPIED_BYTES).map(Piece::len).sum();
    assert!(gathered * 50 < long.bytes, "{gathered} of {} bytes are small", long.bytes);
}

#[test]
fn a_player_shows_what_the_plan_says_also_after_a_late_start() {
    for start in [0, 1_500] {
        let film = film(&[&picture(3, 1_000, start), &a_sound(3, "")]).unwrap();
        let last = start + 3 * 6_000 - 500;
        assert_eq!(film.video, Some(Shown { frames: 36, first: start, last }));
        let moov = moov(&film);
        assert_eq!(moov.mvhd.timescale, 48_000, "whole ticks of both tracks");
        assert_eq!(moov.trak[0].mdia.mdhd.duration, 18_000);
        assert_eq!(moov.trak[0].mdia.minf.stbl.stss.as_ref().unwrap().entries, [1, 13, 25]);
        assert!(moov.trak[0].mdia.minf.stbl.ctts.as_ref().unwrap().entries.iter().all(|entry| entry.sample_offset >= 0));
    }
    assert_eq!(film(&[&a_sound(1, "")]).unwrap().video, None);
}

#[test]
fn titles_and_languages_of_a_source_cannot_break_the_index() {
    let film = film(&[&picture(1, 10, 0), &a_sound(1, "Kommentar\0\u{1F3AC}")]).unwrap();
    let moov = moov(&film);
    assert_eq!(moov.trak[1].mdia.hdlr.name, "Kommentar\u{1F3AC}");
    assert_eq!(moov.trak[1].mdia.mdhd.language, "und");
    assert_eq!(moov.trak[1].udta.as_ref().unwrap().kind[0].value, "commentary");
}

#[test]
fn sound_that_is_not_as_long_as_its_segments_is_refused() {
    let mut record = sound(0, 340);
    record.duration += 1;
    let told = Track::audio(&audio_plan(), true, &init(48_000, false), &[record]).unwrap_err();
    assert_eq!(told, "the tables hold 287744 samples of sound, the segments end at 287745");
}

#[test]
fn an_index_of_more_than_four_gigabytes_counts_in_eight_bytes() {
    let film = film(&[&picture(800, 500_000, 0)]).unwrap();
    assert!(film.bytes > u64::from(u32::MAX));
    let moov = moov(&film);
    let places = places(&moov.trak[0]);
    assert_eq!(places.len(), 9_600);
    assert_eq!(at(&film, places[9_599].0).0, "v799");
}

#[test]
fn a_record_of_another_segment_is_refused() {
    let mut record = record(0, 0, 100, 12);
    let times = [FrameTimes::new(&(0..12).map(|n| n * 500).collect::<Vec<_>>()).unwrap()];
    let plan = VideoPlan { end: 6_000, ..video_plan() };
    let track = |record: &SegmentRecord| Track::video(&plan, &init(1000, true), &times, std::slice::from_ref(record));
    assert!(track(&record).is_ok());
    assert!(Track::video(&plan, &init(90_000, true), &times, std::slice::from_ref(&record)).unwrap_err().contains("90000 ticks"));
    assert!(Track::video(&plan, b"no box", &times, std::slice::from_ref(&record)).unwrap_err().contains("no moov"));
    record.bytes = 700;
    assert!(track(&record).unwrap_err().contains("not of this segment"));
}

fn video_plan() -> VideoPlan {
    VideoPlan {
        index: 0,
        codec: "h264".into(),
        time_base: TimeBase::MILLIS,
        origin: 0,
        frames: 12,
        start: 0,
        end: 0,
        frame_rate: 2.0,
        deinterlace: false,
        colors: crate::plan::Colors::default(),
        renditions: Vec::new(),
    }
}
