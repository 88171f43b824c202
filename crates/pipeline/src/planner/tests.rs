use proptest::prelude::*;

use super::*;
use crate::{
    id::TaskId,
    plan::{Colors, Role, VideoCodec},
    profile,
    source::{AudioTrack, Packet, SubtitleTrack},
};

pub(super) const BASE: TimeBase = match TimeBase::new(1, 90_000) {
    Some(base) => base,
    None => panic!("a constant"),
};

/// A track with a keyframe every `gop` frames at the given times; `open`: two pictures before each keyframe are coded after it.
pub(super) fn track(times: &[i64], gop: usize, open: bool) -> VideoTrack {
    let mut order: Vec<usize> = (0..times.len()).collect();
    if open {
        for key in (gop..times.len()).step_by(gop).filter(|key| *key >= 2) {
            order.swap(key, key - 2);
            order.swap(key - 1, key);
        }
    }
    let packets = order
        .iter()
        .enumerate()
        .map(|(at, frame)| Packet {
            pts: Some(times[*frame]),
            dts: Some(times[at] - 6000),
            pos: Some(1000 + at as u64 * 5000),
            size: 4000,
            key: frame % gop == 0,
            shown: true,
        })
        .collect();
    VideoTrack {
        index: 0,
        codec: "h264".into(),
        time_base: BASE,
        width: 1280,
        height: 720,
        sample_aspect: (1, 1),
        rotation: 0,
        pix_fmt: "yuv420p".into(),
        field_order: "progressive".into(),
        colors: Colors { transfer: "bt709".into(), ..Colors::default() },
        dolby_vision: None,
        cover: false,
        frame_rate: 30.0,
        fields_apart: false,
        reorders: true,
        packets,
    }
}

pub(super) fn report(video: VideoTrack, audio_first: Option<i64>) -> SourceReport {
    let packets = video.packets.len() as u64;
    let audio = audio_first.map(|first| AudioTrack {
        index: 1,
        position: 0,
        codec: "aac".into(),
        time_base: TimeBase::new(1, 48_000).unwrap(),
        channels: 2,
        sample_rate: 48_000,
        language: "eng".into(),
        title: String::new(),
        default: true,
        role: Role::Main,
        first_pts: Some(first),
        end_pts: Some(first + 480_000),
        packets: 10,
        hole: None,
        extents: Vec::new(),
    });
    SourceReport {
        container: "mov,mp4,m4a,3gp,3g2,mj2".into(),
        video: vec![video],
        audio: audio.into_iter().collect(),
        subtitles: vec![],
        other: vec![],
        first_packet_pos: Some(1000),
        last_packet_end: Some(1000 + packets * 5000),
        way_to_text: Vec::new(),
    }
}

pub(super) fn planned(report: &SourceReport) -> Planned {
    let size = report.last_packet_end.unwrap() + 3000;
    plan(report, &Surroundings { profile: &profile::h264(), layer: "l", source_bytes: size }).unwrap()
}

pub(super) fn steady(frames: i64) -> Vec<i64> {
    (0..frames).map(|n| n * 3000).collect()
}

#[test]
fn a_tidy_minute_is_ten_chunks_of_six_seconds() {
    let made = planned(&report(track(&steady(1800), 60, false), None));
    assert_eq!(made.chunks.len(), 10);
    assert!(made.chunks.iter().all(|c| c.times.count() == 180 && c.keyframes == [0, 60, 120] && c.segments == [0]));
    assert_eq!(made.chunks[3].first_segment, 3);
    assert_eq!(made.chunks[0].seek_us, None);
    assert_eq!(made.chunks[9].end_us, None);
    assert_eq!(made.chunks[1].start_us, 5_983_334, "a microsecond above the middle of 5.96667 and 6.0");
    assert_eq!(made.chunks[0].end_us, Some(made.chunks[1].start_us));
}

#[test]
fn sound_that_begins_first_is_the_origin_of_both() {
    let late: Vec<i64> = steady(300).iter().map(|t| t + 90_000).collect();
    let made = planned(&report(track(&late, 60, false), Some(24_000)));
    let video = made.plan.video.unwrap();
    assert_eq!((video.origin, video.start), (45_000, 45_000));
    assert_eq!((made.plan.audio[0].origin_us, made.plan.audio[0].start_us), (500_000, 0));
}

#[test]
fn one_keyframe_for_minutes_gives_few_chunks_with_several_segments() {
    let made = planned(&report(track(&steady(30 * 120), 100_000, false), None));
    assert_eq!(made.chunks.len(), 6);
    for chunk in &made.chunks {
        assert_eq!(chunk.segments.len(), 4, "20 s in segments of 6 s");
        assert!(chunk.segments.iter().all(|s| chunk.keyframes.contains(s)));
        assert_eq!(chunk.seek_us, None, "everything decodes from the only keyframe");
        assert_eq!(chunk.ranges[0].start, 0);
    }
}

#[test]
fn a_closed_gop_is_sought_tightly_and_an_open_one_from_the_gop_before() {
    let tight = planned(&report(track(&steady(600), 60, false), None));
    assert_eq!(tight.chunks[1].seek_us, Some(6_000_000 - 66_667 + 130_435 + 1000));
    let open = planned(&report(track(&steady(600), 60, true), None));
    assert!(open.chunks[1].seek_us.unwrap() < 5_500_000);
    assert!(open.chunks[1].ranges.iter().map(|r| r.len()).sum::<u64>() > tight.chunks[1].ranges.iter().map(|r| r.len()).sum::<u64>());
}

#[test]
fn keyframes_next_to_each_other_are_not_sought_past() {
    let every = planned(&report(track(&steady(600), 1, false), None));
    let chunk = &every.chunks[1];
    assert!(chunk.seek_us.unwrap() + 130_435 + 1_000 < chunk.start_us, "{chunk:?}");
    let near = planned(&report(track(&steady(600), 5, false), None));
    assert_eq!(near.chunks[1].seek_us, Some(6_000_000 - 66_667 + 130_435 + 1000), "the next is a sixth of a second away");
}

#[test]
fn a_deinterlacer_is_given_the_picture_before_its_first() {
    let fields = VideoTrack { field_order: "tt".into(), ..track(&steady(600), 60, false) };
    let (woven, plain) = (planned(&report(fields, None)), planned(&report(track(&steady(600), 60, false), None)));
    assert_eq!((woven.plan.video.unwrap().deinterlace, plain.plan.video.unwrap().deinterlace), (true, false));
    assert!(woven.chunks[1].seek_us.unwrap() < 5_500_000, "the GOP before");
    assert!(woven.chunks[1].ranges[1].start < plain.chunks[1].ranges[1].start);
}

#[test]
fn pictures_that_are_never_shown_are_not_in_the_plan() {
    let mut cut = track(&steady(300), 60, false);
    for packet in &mut cut.packets[..20] {
        packet.shown = false;
    }
    let made = planned(&report(cut, None));
    let video = made.plan.video.unwrap();
    assert_eq!((video.frames, video.origin), (280, 60_000));
}

#[test]
fn small_and_odd_pictures_get_even_rungs_and_none_above_them() {
    let sized = |width, height, sample_aspect, rotation| {
        let track = VideoTrack { width, height, sample_aspect, rotation, ..track(&steady(30), 30, false) };
        let video = planned(&report(track, None)).plan.video.unwrap();
        video.renditions.iter().map(|r| format!("{} {}x{}", r.name, r.width, r.height)).collect::<Vec<_>>().join(", ")
    };
    insta::assert_snapshot!([
        sized(1920, 1080, (1, 1), 0),
        sized(1280, 720, (1, 1), 0),
        sized(1920, 1080, (1, 1), -90),
        sized(720, 576, (64, 45), 0),
        sized(1440, 1080, (4, 3), 0),
        sized(321, 241, (1, 1), 0),
        sized(854, 480, (1, 1), 0),
        sized(2, 2, (1, 1), 0),
        sized(8192, 400, (4, 1), 90),
    ].join("\n"), @r"
    1080p 1920x1080, 720p 1280x720, 480p 854x480, 360p 640x360
    720p 1280x720, 480p 854x480, 360p 640x360
    1080p 1080x1920, 720p 720x1280, 480p 480x854, 360p 360x640
    480p 854x480, 360p 640x360
    1080p 1920x1080, 720p 1280x720, 480p 854x480, 360p 640x360
    242p 322x242
    480p 854x480, 360p 640x360
    2p 2x2
    100p 100x8192
    ");
    let track = VideoTrack { width: 18, height: 10, ..track(&steady(30), 30, false) };
    let hevc = Profile { codec: VideoCodec::Hevc, ..profile::h264() };
    let made = plan(&report(track, None), &Surroundings { profile: &hevc, layer: "l", source_bytes: 1 }).unwrap();
    let rendition = &made.plan.video.unwrap().renditions[0];
    assert_eq!((rendition.width, rendition.height), (28, 16), "x265 takes nothing smaller");
}

#[test]
fn what_is_not_taken_yet_is_named() {
    let reason = |change: fn(&mut SourceReport)| {
        let mut source = report(track(&steady(30), 30, false), Some(0));
        change(&mut source);
        let around = Surroundings { profile: &profile::h264(), layer: "l", source_bytes: 1 };
        plan(&source, &around).unwrap_err().to_string()
    };
    insta::assert_snapshot!([
        reason(|s| s.video[0].packets.clear()),
        reason(|s| { s.video.clear(); s.audio.clear(); }),
        reason(|s| { s.video.clear(); s.audio[0].first_pts = None; }),
        reason(|s| { s.video.clear(); s.audio[0].end_pts = Some(0); }),
        reason(|s| { s.video.clear(); s.audio[0].end_pts = Some(48_000 * 90_000); }),
        reason(|s| s.video[0].packets[3].pts = None),
        reason(|s| s.video[0].packets[3].pts = s.video[0].packets[4].pts),
        reason(|s| s.video[0].packets.iter_mut().for_each(|p| p.key = false)),
    ].join("\n"), @r"
    the video track holds no picture: the recording or the upload was not finished
    the file holds neither pictures nor sound
    the sound has no times, or none of it is to be heard: convert it (ffmpeg -i IN OUT.m4a) and upload that
    the file holds a sound track, and nothing in it
    the film claims to be 25 hours long; 24 are the most that is taken
    pictures of the video track have no times, and none can be made for them: convert the film (ffmpeg -i IN OUT.mp4) and upload that
    two pictures of the video track have the same time, and their order is not known: convert the film (ffmpeg -i IN OUT.mp4) and upload that
    the video track holds no keyframe
    ");
}

#[test]
fn sound_without_a_picture_counts_from_its_own_beginning() {
    let mut source = report(track(&steady(30), 30, false), Some(1105));
    source.video[0].cover = true;
    let second = AudioTrack { index: 2, position: 1, first_pts: Some(48_000), end_pts: Some(96_000), ..source.audio[0].clone() };
    source.audio.push(second);
    let made = planned(&source);
    assert_eq!((made.plan.video, made.plan.chunks, made.chunks.len()), (None, 0, 0));
    let times: Vec<_> = made.plan.audio.iter().map(|track| (track.origin_us, track.start_us, track.end_us)).collect();
    assert_eq!(times, [(23_021, 0, 10_000_000), (23_021, 976_979, 1_976_979)]);
    assert_eq!(made.plan.left_out, ["track 0: cover picture h264"]);
    assert_eq!(facts(&source, &planned(&source).plan), "no picture, aac 2 ch, 10.0 s");
}

#[test]
fn a_track_of_sound_is_carried_or_left_out_by_name() {
    let mut source = report(track(&steady(30), 30, false), Some(1000));
    let sound = source.audio[0].clone();
    let nth = |n: u32| AudioTrack { index: n + 1, position: n, ..sound.clone() };
    source.audio = (0..11).map(nth).collect();
    source.audio[0].packets = 0;
    source.audio[2].first_pts = None;
    source.audio[3] = AudioTrack { first_pts: Some(-90_000_000), end_pts: None, ..nth(3) };
    let plan = planned(&source).plan;
    let carried: Vec<(u32, &str)> = plan.audio.iter().map(|track| (track.index, track.name.as_str())).collect();
    let names = ["audio", "audio-2", "audio-3", "audio-4", "audio-5", "audio-6", "audio-7", "audio-8"];
    assert_eq!(carried, [2, 5, 6, 7, 8, 9, 10, 11].into_iter().zip(names).collect::<Vec<_>>());
    assert_eq!(plan.left_out, ["track 1: audio aac", "track 3: audio aac", "track 4: audio aac"]);
    assert_eq!(plan.video.unwrap().start, 0, "what nobody hears is no beginning");
    source.audio.push(nth(11));
    assert_eq!(planned(&source).plan.left_out.last().unwrap(), "track 12: audio aac", "the ninth");
}

#[test]
fn bad_times_are_mended_only_where_the_order_of_packets_is_that_of_pictures() {
    let judged = |codec: &str, times: [i64; 5]| {
        let mut source = report(track(&[0, 1, 2, 3, 4], 5, false), None);
        source.video[0].codec = codec.into();
        let packet = source.video[0].packets[0];
        source.video[0].packets =
            times.into_iter().map(|pts| crate::source::Packet { pts: Some(pts), dts: None, key: pts == 0, ..packet }).collect();
        (times_are_usable(&source), times_can_be_mended(&source))
    };
    assert_eq!(judged("h264", [0, 3, 1, 2, 4]), (true, false));
    assert_eq!(judged("h264", [0, 3, 1, 1, 4]), (false, false), "an order of its own, and nobody knows which");
    assert_eq!(judged("h264", [0, 1, 1, 2, 3]), (false, true));
    assert_eq!(judged("vp9", [0, 3, 1, 2, 4]), (false, true));
    assert_eq!(judged("mjpeg", [0, 1, 2, 3, 4]), (true, true));
}

proptest! {
    /// Any increasing times: the chunks are a partition of the frames, keyframes and segments lie right, ranges are tidy.
    #[test]
    fn chunks_are_a_partition(steps in prop::collection::vec(prop_oneof![5 => Just(3000i64), 2 => 1i64..20_000, 1 => 90_000i64..2_000_000], 1..700),
                              start in -100_000i64..1_000_000, gop in 1usize..400, open: bool) {
        let mut at = start;
        let times: Vec<i64> = steps.iter().map(|step| { at += step; at }).collect();
        let source = report(track(&times, gop, open), None);
        let made = planned(&source);
        let video = made.plan.video.as_ref().unwrap();
        let all: Vec<i64> = made.chunks.iter().flat_map(|c| c.times.iter().collect::<Vec<_>>()).collect();
        let frames = Frames::of(&source.video[0]).unwrap();
        prop_assert_eq!(&all, &frames.pts().iter().map(|t| t - video.origin).collect::<Vec<_>>());
        prop_assert_eq!(all.len() as u64, video.frames);
        let mut segments = 0;
        for (number, chunk) in made.chunks.iter().enumerate() {
            prop_assert_eq!(chunk.number as usize, number);
            prop_assert_eq!(chunk.first_segment, segments);
            segments += u32::try_from(chunk.segments.len()).unwrap();
            prop_assert_eq!((chunk.keyframes[0], chunk.segments[0]), (0, 0));
            prop_assert!(chunk.segments.iter().all(|s| chunk.keyframes.contains(s)));
            prop_assert!(chunk.keyframes.iter().all(|k| *k < chunk.times.count()));
            prop_assert!(chunk.ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
            prop_assert!(chunk.ranges.iter().all(|r| !r.is_empty() && r.end <= made.plan.source_bytes));
            let us = |t: i64| BASE.rescale(t + video.origin, TimeBase::MICROS);
            prop_assert!(us(chunk.times.first()) + 12 >= chunk.start_us);
            prop_assert!(chunk.end_us.is_none_or(|end| us(chunk.times.last()) <= end));
        }
    }

    #[test]
    fn frame_times_go_there_and_back(steps in prop::collection::vec(1i64..5000, 0..300), first in -1000i64..1000) {
        let mut at = first;
        let mut times = vec![first];
        times.extend(steps.iter().map(|step| { at += step; at }));
        let packed = FrameTimes::new(&times).unwrap();
        prop_assert_eq!(packed.count() as usize, times.len());
        prop_assert_eq!(packed.last(), at);
        prop_assert_eq!(packed.iter().collect::<Vec<_>>(), times);
    }
}

#[test]
fn a_fine_time_scale_keeps_its_first_frame() {
    // 10 MHz: a microsecond is ten ticks, and the first PTS is not a whole one.
    let base = TimeBase::new(1, 10_000_000).unwrap();
    let times: Vec<i64> = (0..90).map(|n| 667_337 + n * 333_667).collect();
    let fine = VideoTrack { time_base: base, ..track(&times, 30, false) };
    let made = planned(&report(fine, None));
    let first_us = 667_337 / 10;
    assert!(made.chunks[0].start_us <= first_us, "{} is above the first frame", made.chunks[0].start_us);
}

#[test]
fn a_film_of_eleven_days_is_refused() {
    let mut source = report(track(&steady(300), 60, false), Some(0));
    source.audio[0].end_pts = Some(1_000_000 * 48_000);
    let around = Surroundings { profile: &profile::h264(), layer: "l", source_bytes: 1 };
    let refusal = plan(&source, &around).unwrap_err().to_string();
    assert_eq!(refusal, "the film claims to be 278 hours long; 24 are the most that is taken");
}

#[test]
fn a_matroska_chunk_reads_from_the_cluster_before_its_keyframe() {
    let boxes = report(track(&steady(1800), 60, false), None);
    let matroska = SourceReport { container: "matroska,webm".into(), ..boxes.clone() };
    let begin = |source: &SourceReport| planned(source).chunks[5].ranges[1].start;
    let seconds_of_packets = 8 * 30 * 5000;
    assert!(begin(&matroska) <= begin(&boxes) - 6 * 30 * 5000 && begin(&matroska) >= begin(&boxes) - seconds_of_packets - 5000 * 60);
}

#[test]
fn where_cost_counts_chunks_are_several_segments_long() {
    let film = report(track(&steady(5400), 60, false), None);
    let around = Surroundings { profile: &profile::h264(), layer: "l", source_bytes: 40_000_000 };
    let (latency, cost) = (plan_for(&film, &around, FanOut::Latency).unwrap(), plan_for(&film, &around, FanOut::Cost).unwrap());
    let segments = |planned: &Planned| planned.chunks.iter().map(|c| c.segments.len()).collect::<Vec<_>>();
    assert_eq!(segments(&latency), [1; 30]);
    let few = segments(&cost);
    assert!(few.len() < 8 && few.iter().all(|count| *count <= MAX_SEGMENTS as usize), "{few:?}");
    assert_eq!(few.iter().sum::<usize>(), 30, "the same segments, in fewer tasks");
    let starts = |planned: &Planned| {
        let of = |c: &Chunk| c.segments.iter().map(|s| c.times.iter().nth(*s as usize).unwrap()).collect::<Vec<_>>();
        planned.chunks.iter().flat_map(of).collect::<Vec<_>>()
    };
    assert_eq!(starts(&latency), starts(&cost));
}

/// I P B B, I P B B: what is decoded early and shown late arrives before what is shown between.
#[test]
fn an_upload_that_broke_off_is_whole_up_to_the_first_picture_that_is_missing() {
    let mut video = track(&steady(8), 30, false);
    let (first, step) = (video.packets[0].pts.unwrap(), video.packets[1].pts.unwrap() - video.packets[0].pts.unwrap());
    for (at, place) in [0, 3, 1, 2, 4, 7, 5, 6].into_iter().enumerate() {
        let packet = &mut video.packets[at];
        (packet.pts, packet.dts) = (Some(first + place * step), Some(first + (i64::try_from(at).unwrap() - 1) * step));
    }
    let until = |packets: usize| {
        let mut cut = video.clone();
        cut.packets.truncate(packets);
        (Frames::of(&cut).unwrap().whole_until(&cut) - first) / step
    };
    assert_eq!(until(1), 0, "nobody knows how long a single picture is shown");
    assert_eq!([2, 3, 4, 5, 6, 7, 8].map(until), [0, 2, 4, 5, 5, 6, 8]);
}

#[test]
fn tracks_of_text_are_planned_and_pictures_of_text_are_named_as_left_out() {
    let text = |index, codec: &str, packets| SubtitleTrack {
        index,
        position: 0,
        codec: codec.into(),
        language: "deu".into(),
        title: String::new(),
        default: false,
        forced: false,
        role: Role::Main,
        packets,
        extents: Vec::new(),
    };
    let tracks = vec![text(2, "subrip", 3), text(3, "hdmv_pgs_subtitle", 3), text(4, "ass", 0), text(5, "mov_text", 1)];
    let film = SourceReport { subtitles: tracks, ..report(track(&steady(30), 30, false), Some(0)) };
    let plan = planned(&film).plan;
    assert_eq!(
        plan.left_out,
        [
            "track 3: subtitles hdmv_pgs_subtitle (deu): pictures of text, which players of HLS and DASH do not show",
            "track 4: subtitles ass (deu)"
        ]
    );
    let kept: Vec<_> = plan.subtitles.iter().map(|t| (t.name.as_str(), t.index, t.language.as_str())).collect();
    assert_eq!(kept, [("text", 2, "deu"), ("text-2", 5, "deu")]);
    assert_eq!((plan.parts(), plan.place(TaskId::Text)), (plan.chunks + 2, Some(plan.chunks + 1)), "one task for all of them");
}
