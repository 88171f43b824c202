use proptest::prelude::*;

use super::{super::tests::*, *};
use crate::{
    plan::Plan,
    planner::{self, Surroundings},
    profile,
    source::SourceReport,
    stills::thumbnails,
};

/// As a player reads it: start and end in milliseconds, file, and x, y, width, height of the tile.
fn cues(text: &str) -> Vec<(i64, i64, String, [u32; 4])> {
    let ms = |clock: &str| {
        let (seconds, ms) = clock.split_once('.').unwrap();
        let seconds = seconds.split(':').fold(0, |sum, part| sum * 60 + part.parse::<i64>().unwrap());
        seconds * 1000 + ms.parse::<i64>().unwrap()
    };
    let mut blocks = text.split("\n\n");
    assert_eq!(blocks.next(), Some("WEBVTT"));
    let cue = |block: &str| {
        let (times, target) = block.trim_end().split_once('\n').unwrap();
        let (from, to) = times.split_once(" --> ").unwrap();
        let (file, place) = target.split_once("#xywh=").unwrap();
        let place: Vec<u32> = place.split(',').map(|number| number.parse().unwrap()).collect();
        (ms(from), ms(to), file.to_owned(), place.try_into().unwrap())
    };
    blocks.map(cue).collect()
}

fn made(report: &SourceReport, outputs: &[Output]) -> Plan {
    let profile = Profile { outputs: [&[Output::Hls], outputs].concat(), ..profile::h264() };
    let source_bytes = report.last_packet_end.unwrap() + 3000;
    planner::plan(report, &Surroundings { profile: &profile, layer: "l", source_bytes }).unwrap().plan
}

fn film(seconds: i64, gop: usize) -> SourceReport {
    report(track(&(0..seconds * 30).map(|n| n * 3000).collect::<Vec<_>>(), gop, false), None)
}

const ALL: [Output; 3] = [Output::Poster, Output::Sprite, Output::Preview];

#[test]
fn a_profile_without_pictures_has_no_task_for_them() {
    let plan = made(&film(60, 60), &[]);
    assert_eq!((plan.stills.is_none(), thumbnails(&plan), plan.beside_chunks().len()), (true, None, 0));
    assert_eq!(made(&film(60, 60), &[Output::Poster]).parts(), plan.parts() + 1);
}

#[test]
fn a_minute_has_a_tile_for_each_keyframe_and_two_hours_have_five_sheets() {
    let plan = made(&film(60, 60), &ALL);
    let stills = plan.stills.as_ref().unwrap();
    let sprite = stills.sprite.as_ref().unwrap();
    assert_eq!((stills.pictures.count(), sprite.columns, sprite.rows, sprite.sheets), (30, 10, 3, 1));
    assert_eq!((sprite.tile, stills.poster.as_ref().unwrap().size), (Size { width: 160, height: 90 }, Size { width: 1280, height: 720 }));
    assert_eq!(stills.poster.as_ref().unwrap().candidates, (3..20).collect::<Vec<u32>>());
    let names: Vec<String> = stills.files().into_iter().map(|file| file.name).collect();
    assert_eq!(names, ["poster.jpg", "sprite-0.jpg", "preview.webp"]);
    let long = made(&film(7_200, 60), &[Output::Sprite]);
    let stills = long.stills.as_ref().unwrap();
    assert_eq!((stills.pictures.count(), stills.sprite.as_ref().unwrap().sheets), (450, 5), "a keyframe every 16 s");
    let cues = cues(&thumbnails(&long).unwrap());
    assert_eq!(cues[449], (7_184_000, 7_200_000, "sprite-4.jpg".into(), [9 * 160, 4 * 90, 160, 90]));
}

#[test]
fn upright_films_have_upright_tiles_and_the_poster_of_8k_is_bounded() {
    let mut upright = film(10, 30);
    upright.video[0].rotation = 90;
    let stills = made(&upright, &ALL).stills.unwrap();
    assert_eq!(stills.sprite.unwrap().tile, Size { width: 90, height: 160 });
    assert_eq!(stills.preview.unwrap().size, Size { width: 180, height: 320 });
    assert_eq!(within(Size { width: 8192, height: 3428 }, POSTER), Size { width: 1920, height: 804 });
    assert_eq!(within(Size { width: 18, height: 4000 }, TILE), Size { width: 2, height: 160 }, "never nothing");
}

#[test]
fn only_the_bytes_of_the_keyframes_are_read_where_a_table_says_where_they_are() {
    let mut film = film(600, 300);
    let bytes = |plan: &Plan| plan.stills.as_ref().unwrap().ranges.iter().map(|range| range.len()).sum::<u64>();
    let sprite = made(&film, &[Output::Sprite]);
    let preview = made(&film, &[Output::Preview]);
    assert!(bytes(&sprite) * 10 < sprite.source_bytes * 2, "{} of {}", bytes(&sprite), sprite.source_bytes);
    assert!(bytes(&preview) * 10 < preview.source_bytes);
    assert!(bytes(&made(&film, &ALL)) <= bytes(&sprite) + bytes(&preview));
    film.container = "matroska,webm".into();
    let whole = made(&film, &[Output::Sprite]);
    assert_eq!(whole.stills.as_ref().unwrap().ranges, [ByteRange { start: 0, end: whole.source_bytes }]);
    assert!(bytes(&made(&film, &[Output::Preview])) * 5 < whole.source_bytes);
}

#[test]
fn a_film_that_hides_its_keyframe_shows_its_first_picture() {
    let mut film = film(4, 10_000);
    for packet in film.video[0].packets.iter_mut().take(20) {
        packet.shown = false;
    }
    let plan = made(&film, &ALL);
    let stills = plan.stills.as_ref().unwrap();
    assert_eq!((stills.alone, stills.pictures.count(), stills.pictures.first()), (true, 1, 0));
    assert_eq!(stills.window.times.first(), 0);
    assert_eq!(stills.poster.as_ref().unwrap().candidates, [0]);
    assert_eq!(cues(&thumbnails(&plan).unwrap()).len(), 1);
}

#[test]
fn one_picture_is_a_film_too() {
    let plan = made(&report(track(&[0], 1, false), None), &ALL);
    let stills = plan.stills.as_ref().unwrap();
    assert_eq!((stills.pictures.count(), stills.preview.as_ref().unwrap().frames), (1, 1));
    assert_eq!(cues(&thumbnails(&plan).unwrap()).len(), 1);
}

proptest! {
    /// Whatever the film: tiles are keyframes, bounded in number, each in its place, and cues cover all of it.
    #[test]
    fn thumbnails_cover_the_film(
        steps in prop::collection::vec(prop_oneof![5 => Just(3_000i64), 1 => 1i64..900_000], 1..600),
        gop in 1usize..200,
        late in 0i64..200_000,
        sound in proptest::option::of(0i64..100_000),
        hidden in 0usize..80,
    ) {
        let times: Vec<i64> = steps.iter().scan(late, |at, step| { *at += step; Some(*at) }).collect();
        let mut source = report(track(&times, gop, false), sound);
        let hidden = hidden.min(times.len() - 1);
        for packet in source.video[0].packets.iter_mut().take(hidden) {
            packet.shown = false;
        }
        let plan = made(&source, &ALL);
        let (stills, video) = (plan.stills.as_ref().unwrap(), plan.video.as_ref().unwrap());
        let sprite = stills.sprite.as_ref().unwrap();
        let tiles = stills.pictures.count();
        prop_assert!(i64::from(tiles) <= MAX_TILES);
        if !stills.alone {
            let keys: Vec<i64> = times.iter().enumerate().skip(hidden).filter(|(n, _)| n % gop == 0).map(|(_, t)| t - video.origin).collect();
            prop_assert!(stills.pictures.iter().all(|time| keys.contains(&time)));
        }
        let cues = cues(&thumbnails(&plan).unwrap());
        prop_assert_eq!(cues.len(), tiles as usize);
        prop_assert_eq!(cues[0].0, 0);
        let end = BASE.rescale(video.end, TimeBase::MILLIS);
        prop_assert!(cues.last().unwrap().1 >= end);
        prop_assert!(cues.windows(2).all(|pair| pair[0].1 == pair[1].0 && pair[0].0 < pair[0].1));
        let mut places: Vec<(String, [u32; 4])> = cues.into_iter().map(|(_, _, file, place)| (file, place)).collect();
        for (file, [x, y, width, height]) in &places {
            prop_assert!(stills.files().iter().any(|planned| planned.name == *file && planned.size == sprite.size()));
            prop_assert!(x + width <= sprite.size().width && y + height <= sprite.size().height);
        }
        places.dedup();
        prop_assert_eq!(places.len(), tiles as usize, "each has a place of its own");
        let poster = stills.poster.as_ref().unwrap();
        prop_assert!((1..=CANDIDATES).contains(&poster.candidates.len()) && poster.candidates.iter().all(|at| *at < tiles));
        prop_assert!(stills.preview.as_ref().unwrap().frames <= 30);
        prop_assert!(stills.ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
        prop_assert!(serde_json::to_string(&plan).unwrap().len() < 60_000, "every task reads the plan");
    }
}
