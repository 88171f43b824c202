use proptest::prelude::*;

use super::*;
use crate::{
    excerpt::Excerpt,
    film::tests::text_plan,
    plan::{Colors, Profile, SubtitlePlan},
    planner::{self, Planned, Surroundings},
    profile,
    source::{Packet, SourceReport, VideoTrack},
};

const SIZE: (u32, u32) = (1920, 1080);

/// A film of so many seconds at 30 pictures a second, a keyframe every two.
pub fn planned(seconds: i64, profile: &Profile) -> Planned {
    let packets = (0..seconds * 30)
        .map(|n| Packet {
            pts: Some(n * 512),
            dts: Some(n * 512),
            pos: Some(4096 + n.unsigned_abs() * 50_000),
            size: 50_000,
            key: n % 60 == 0,
            shown: true,
        })
        .collect::<Vec<_>>();
    let end = packets.len() as u64 * 50_000 + 4096;
    let track = VideoTrack {
        index: 0,
        codec: "h264".into(),
        time_base: TimeBase::new(1, 15_360).unwrap(),
        width: SIZE.0,
        height: SIZE.1,
        sample_aspect: (1, 1),
        rotation: 0,
        pix_fmt: "yuv420p".into(),
        field_order: "progressive".into(),
        colors: Colors::default(),
        dolby_vision: None,
        cover: false,
        frame_rate: 30.0,
        fields_apart: false,
        reorders: true,
        packets,
    };
    let report = SourceReport {
        container: "mov,mp4,m4a,3gp,3g2,mj2".into(),
        video: vec![track],
        audio: vec![],
        subtitles: vec![],
        other: vec![],
        first_packet_pos: Some(4096),
        last_packet_end: Some(end),
        way_to_text: Vec::new(),
    };
    planner::plan(&report, &Surroundings { profile, layer: "l", source_bytes: end }).unwrap()
}

fn cpu(planned: &Planned, slowness: f64) -> f64 {
    let model = Model::new(&planned.plan, u64::from(SIZE.0 * SIZE.1), slowness);
    planned.chunks.iter().map(|chunk| model.chunk(chunk)).sum()
}

#[test]
fn every_built_in_factor_is_there() {
    let factors = Factors::built_in();
    assert!(factors.calibration > 0.0 && factors.scale > 0.0 && factors.deinterlace > 0.0);
    for profile in profile::Profiles::built_in().iter() {
        let codec = serde_json::to_value(profile.codec).unwrap();
        let known = factors.encode[codec.as_str().unwrap()].get(&profile.preset);
        assert!(known.is_some_and(|cost| *cost > 0.0), "{}", profile.name);
    }
    let mut slower = factors.encode["h264"].values().copied().collect::<Vec<_>>();
    slower.sort_by(f64::total_cmp);
    assert!(factors.encode(VideoCodec::H264, "placebo") > *slower.last().unwrap(), "what was not measured is not for nothing");
}

#[test]
fn the_benchmarks_film_costs_about_what_it_was_measured_at() {
    // docs/benchmarks.md: 116.5 CPU-seconds of ffmpeg for 60 s of 1080p30 by `veryfast`.
    let film = planned(60, &profile::h264());
    let estimate = cpu(&film, 1.0);
    assert!((116.5 * 0.7..116.5 * 1.3).contains(&estimate), "{estimate}");
    assert!(cpu(&planned(60, &profile::by_name("h264-medium").unwrap()), 1.0) > 1.8 * estimate);
    assert!((cpu(&film, 2.0) / estimate - 2.0).abs() < 1e-9);
}

#[test]
fn cost_grows_with_the_film_and_not_faster() {
    let (short, long) = (cpu(&planned(60, &profile::h264()), 1.0), cpu(&planned(600, &profile::h264()), 1.0));
    assert!((long / short - 10.0).abs() < 0.2, "{}", long / short);
}

#[test]
fn a_bill_is_its_parts() {
    let film = planned(60, &profile::h264());
    let model = Model::new(&film.plan, u64::from(SIZE.0 * SIZE.1), 1.0);
    let memory = Memory { transcode_mb: 1769, transcode_disk_mb: 10_240, audio_mb: 1769, split_mb: 768, merge_mb: 768 };
    let prices = Prices::built_in().unwrap();
    let bill = Bill::of(&model, &film.chunks.iter().collect::<Vec<_>>(), &memory, &prices, 100);
    assert_eq!(bill.invocations, 10 + 3);
    assert!((bill.total_usd - bill.compute_usd - bill.requests_usd).abs() < 1e-12);
    // One vCPU: a second of CPU is a second of 1.73 GB, on a machine so much slower than ours.
    let encoding = cpu(&film, prices.lambda_slowness) * 1769.0 / 1024.0;
    assert!((encoding..encoding * 1.15).contains(&bill.gb_seconds), "{} of {encoding}", bill.gb_seconds);
    assert!(bill.compute_usd > bill.gb_seconds * prices.lambda_gb_second, "the disk is paid for as well");
    assert!(bill.wall_seconds < 3.0 * bill.longest_seconds, "as many environments as chunks");
    let alone = Bill::of(&model, &film.chunks.iter().collect::<Vec<_>>(), &memory, &prices, 1);
    assert!(alone.wall_seconds > 8.0 * bill.longest_seconds && (alone.gb_seconds - bill.gb_seconds).abs() < 1e-9);
}

#[test]
fn text_is_one_task_that_reads_the_whole_source_or_its_excerpt() {
    let mut film = planned(60, &profile::h264());
    let memory = Memory { transcode_mb: 1769, transcode_disk_mb: 10_240, audio_mb: 1769, split_mb: 768, merge_mb: 768 };
    let prices = Prices::built_in().unwrap();
    let bill = |film: &Planned| {
        let model = Model::new(&film.plan, u64::from(SIZE.0 * SIZE.1), 1.0);
        Bill::of(&model, &film.chunks.iter().collect::<Vec<_>>(), &memory, &prices, 100)
    };
    let without = bill(&film);
    let text = text_plan();
    film.plan.subtitles = vec![text.clone(), SubtitlePlan { name: "text-2".into(), index: 3, ..text }];
    let with = bill(&film);
    assert_eq!(with.invocations, without.invocations + 1);
    #[allow(clippy::cast_precision_loss, reason = "bytes of a short film")]
    let reading = film.plan.source_bytes as f64 / prices.lambda_bytes_per_second;
    let more = (with.gb_seconds - without.gb_seconds) / (1769.0 / 1024.0);
    assert!((reading..reading + 1.0).contains(&more), "{more} s of {reading} s");
    assert!(with.requests_usd > without.requests_usd);
    // Of an excerpt, its bytes and its pieces.
    film.plan.text = Some(Excerpt { number: 0, bytes: 7, stretches: 1_000 });
    let excerpt = bill(&film);
    assert!((excerpt.gb_seconds - without.gb_seconds) / (1769.0 / 1024.0) < 1.0);
    let gets = (excerpt.requests_usd - with.requests_usd) / prices.s3_get;
    let whole = f64::from(u32::try_from(film.plan.source_bytes.div_ceil(8 << 20)).unwrap());
    assert!((gets + whole - 1_001.0).abs() < 1e-3, "{gets}");
}

#[test]
fn prices_that_cannot_be_are_refused() {
    let good = include_str!("prices.json");
    assert!(Prices::parse(good).is_ok());
    for (from, to) in [("0.0000002", "-1"), ("1.2", "0"), ("\"s3_put\"", "\"s3_putt\""), ("75000000", "\"fast\"")] {
        assert!(good.contains(from) && Prices::parse(&good.replacen(from, to, 1)).is_err(), "{from} as {to}");
    }
}

#[test]
fn alike_tasks_stay_in_their_order_and_long_ones_go_first() {
    assert_eq!(longest_first(&[]), Vec::<usize>::new());
    assert_eq!(longest_first(&[6.0, 5.9, 6.1, 6.0, 2.0]), [0, 1, 2, 3, 4]);
    assert_eq!(longest_first(&[6.0, 6.0, 9.0, 6.0, 30.0]), [4, 2, 0, 1, 3]);
}

proptest! {
    /// A long task at the end of a film is not begun last: all are done when it is, or when the work is, give or take one
    /// usual task.
    #[test]
    fn no_worker_is_left_alone_with_a_long_task(usual in prop::collection::vec(5.0f64..6.0, 3..60), long in 15.0f64..60.0, workers in 1usize..9) {
        let costs: Vec<f64> = usual.iter().copied().chain([long]).collect();
        let order = longest_first(&costs);
        let mut seen = order.clone();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..costs.len()).collect::<Vec<_>>());
        let ours = makespan(order.iter().map(|at| costs[*at]), workers);
        #[allow(clippy::cast_precision_loss, reason = "a handful of workers")]
        let even = costs.iter().sum::<f64>() / workers as f64;
        prop_assert!(ours <= even.max(long) + 6.0, "{} of {} and {}", ours, even, long);
    }
}
