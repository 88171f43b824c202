//! Pictures beside the film: the right ones, at the right time, of every kind of source.

use std::path::{Path, PathBuf};

use pipeline::{
    encoder::{EncodeError, Encoder, MadeStills, StillsWork},
    plan::{Hdr, Output, Plan, VideoCodec},
    stills::{PosterPlan, Size, StillsPlan, thumbnails},
};

use crate::support::Lab;

const RATE: u32 = 25;
/// Bars across a picture that write its number in Gray code: neighbours differ in one bar.
const BITS: u32 = 8;

/// A graph that numbers pictures of 320 × 180.
fn numbered() -> String {
    let bar = |bit: u32| {
        let (low, high) = (1 << bit, 2 << bit);
        format!("drawbox=x={}:y=0:w=40:h=180:color=white:t=fill:enable='mod(floor((n+{low})/{high}),2)'", bit * 40)
    };
    let bars: Vec<String> = (0..BITS).map(bar).collect();
    format!("color=black:size=320x180:rate={RATE},{}", bars.join(","))
}

/// The number that a region of grey pixels shows; `None`: a bar is neither black nor white.
fn number(gray: &[u8], stride: usize, (x, y): (usize, usize), (width, height): (usize, usize)) -> Option<u32> {
    let code = (0..BITS as usize).try_fold(0u32, |code, bit| {
        let at = (y + height / 2) * stride + x + (2 * bit + 1) * width / (2 * BITS as usize);
        match gray[at] {
            0..80 => Some(code),
            176.. => Some(code | (1 << bit)),
            _ => None,
        }
    })?;
    Some((1..BITS).fold(code, |number, shift| number ^ (code >> shift)))
}

fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.profile.outputs = vec![Output::Hls, Output::Poster, Output::Sprite, Output::Preview];
    lab
}

/// A numbered film of so many seconds, made by `codec`.
fn film(lab: &Lab, name: &str, seconds: u32, codec: &[&str]) -> PathBuf {
    let (graph, seconds) = (numbered(), seconds.to_string());
    lab.ffmpeg(&[&["-f", "lavfi", "-i", &graph, "-t", &seconds, "-pix_fmt", "yuv420p"], codec, &[name]].concat());
    lab.path(name)
}

struct Stills {
    plan: Plan,
    made: MadeStills,
}

impl Stills {
    fn planned(&self) -> &StillsPlan {
        self.plan.stills.as_ref().unwrap()
    }
    fn path(&self, name: &str) -> &Path {
        &self.made.files.iter().find(|file| file.name == name).unwrap().path
    }
}

/// Everything of a film, from the planned bytes only.
async fn make(lab: &Lab, film: &Path) -> Stills {
    let plan = lab.plan(film).await.plan;
    let source = lab.sparse(film, &plan.stills.as_ref().unwrap().ranges);
    let made = stills(lab, &plan, &source).await.unwrap();
    let names: Vec<&str> = made.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, plan.stills.as_ref().unwrap().files().iter().map(|file| file.name.as_str()).collect::<Vec<_>>());
    for file in &made.files {
        assert_eq!(std::fs::metadata(&file.path).unwrap().len(), file.bytes);
    }
    Stills { plan, made }
}

async fn stills(lab: &Lab, plan: &Plan, source: &Path) -> Result<MadeStills, EncodeError> {
    let out = lab.path("stills");
    std::fs::create_dir_all(&out).unwrap();
    let made =
        lab.encoder.make_stills(&StillsWork { plan, stills: plan.stills.as_ref().unwrap(), source, out: &out, careful: false }).await;
    let left = std::fs::read_dir(&out).unwrap().filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(left.count(), 0, "no cell is left behind");
    made
}

/// Numbers that the tiles show, in the order of the thumbnails' cues.
fn tiles(lab: &Lab, stills: &Stills) -> Vec<Option<u32>> {
    let sprite = stills.planned().sprite.as_ref().unwrap();
    let Size { width, height } = sprite.tile;
    let (stride, tile) = (sprite.size().width as usize, (width as usize, height as usize));
    let sheets: Vec<Vec<u8>> =
        (0..sprite.sheets).map(|sheet| lab.raw(stills.path(&pipeline::stills::sheet(sheet)), "scale=out_range=pc", "gray")).collect();
    let text = thumbnails(&stills.plan).unwrap();
    let places = text.lines().filter_map(|line| line.strip_prefix("sprite-")?.split_once(".jpg#xywh="));
    places
        .map(|(sheet, place)| {
            let place: Vec<usize> = place.split(',').map(|number| number.parse().unwrap()).collect();
            number(&sheets[sheet.parse::<usize>().unwrap()], stride, (place[0], place[1]), tile)
        })
        .collect()
}

/// Numbers of the planned pictures: by their times from the film's first frame.
fn planned(stills: &Stills) -> Vec<Option<u32>> {
    let video = stills.plan.video.as_ref().unwrap();
    let number = |time: i64| (video.time_base.seconds(time - video.start) * f64::from(RATE)).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "pictures of a short clip")]
    let numbers = stills.planned().pictures.iter().map(|time| Some(number(time) as u32)).collect();
    numbers
}

fn shown(lab: &Lab, path: &Path, size: Size) -> Vec<Option<u32>> {
    let (width, height) = (size.width as usize, size.height as usize);
    let raw = lab.raw(path, "scale=out_range=pc", "gray");
    assert_eq!(raw.len() % (width * height), 0);
    raw.chunks(width * height).map(|picture| number(picture, width, (0, 0), (width, height))).collect()
}

fn poster(lab: &Lab, stills: &Stills) -> Option<u32> {
    let PosterPlan { size, .. } = stills.planned().poster.as_ref().unwrap();
    let [number] = shown(lab, stills.path("poster.jpg"), *size)[..] else { panic!("one picture") };
    number
}

#[tokio::test]
async fn every_tile_shows_the_picture_of_its_time() {
    let open = "keyint=50:min-keyint=50:open-gop=1:bframes=3:scenecut=0:log-level=error";
    let kinds: [(&str, &[&str]); 7] = [
        ("closed.mp4", &["-c:v", "libx264", "-g", "25", "-flags", "+cgop"]),
        ("open.mp4", &["-c:v", "libx264", "-x264-params", open]),
        ("open.mkv", &["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", open]),
        ("vp9.webm", &["-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime", "-b:v", "4M", "-g", "40"]),
        ("av1.mp4", &["-c:v", "libsvtav1", "-preset", "12", "-crf", "20", "-g", "30"]),
        ("every.mov", &["-c:v", "prores_ks", "-profile:v", "0"]),
        ("other.mov", &["-c:v", "qtrle", "-pix_fmt", "rgb24", "-g", "25"]),
    ];
    for (name, codec) in kinds {
        let lab = lab();
        let stills = make(&lab, &film(&lab, name, 8, codec)).await;
        let planned = planned(&stills);
        assert!(planned.len() >= 4 && planned[0] == Some(0), "{name}: {planned:?}");
        assert_eq!((tiles(&lab, &stills), stills.made.repeated), (planned.clone(), 0), "{name}");
        let chosen = poster(&lab, &stills);
        assert!(chosen.is_some_and(|number| number > 0) && planned.contains(&chosen), "{name}: the poster is {chosen:?} of {planned:?}");
        let preview = stills.planned().preview.as_ref().unwrap();
        let moving: Vec<Option<u32>> = shown(&lab, stills.path("preview.webp"), preview.size);
        let from = moving[0].unwrap_or_default();
        // Ten a second of 25: every second or third.
        let expected: Vec<Option<u32>> = (0..30).map(|n| Some(from + n * 5 / 2)).collect();
        assert_eq!(moving, expected, "{name}");
        assert!(from > 0 && from <= 67, "{name}: the preview begins with {from}");
    }
}

/// The test above can fail: pictures of another place are seen as such.
#[tokio::test]
async fn a_sprite_of_other_pictures_is_found_out() {
    let lab = lab();
    let path = film(&lab, "in.mkv", 8, &["-c:v", "libx264", "-g", "25"]);
    let mut stills = make(&lab, &path).await;
    let mut plan = stills.plan.clone();
    let planned_stills = plan.stills.as_mut().unwrap();
    let later: Vec<i64> = planned_stills.pictures.iter().map(|time| (time + 1000).min(7000)).collect();
    planned_stills.pictures = pipeline::plan::FrameTimes::new(&later[..7]).unwrap();
    stills.made = self::stills(&lab, &plan, &path).await.unwrap();
    assert_ne!(tiles(&lab, &stills)[..7], planned(&stills)[..7]);
}

#[tokio::test]
async fn a_place_without_a_keyframe_is_a_mismatch_and_a_damaged_keyframe_is_replaced() {
    let lab = lab();
    let path = film(&lab, "in.mp4", 8, &["-c:v", "libx264", "-g", "25", "-flags", "+cgop"]);
    let plan = lab.plan(&path).await.plan;
    let mut other = plan.clone();
    other.stills.as_mut().unwrap().pictures = pipeline::plan::FrameTimes::new(&[0, 13]).unwrap();
    let told = stills(&lab, &other, &path).await.unwrap_err();
    assert!(matches!(&told, EncodeError::Mismatch(text) if text.contains("1 of 2 keyframes")), "{told:?}");
    // Zeros in place of the fourth keyframe.
    let report = lab.probe(&path).await;
    let keys: Vec<_> = report.video[0].packets.iter().filter(|packet| packet.key).collect();
    let mut bytes = std::fs::read(&path).unwrap();
    let at = usize::try_from(keys[3].pos.unwrap()).unwrap();
    bytes[at..at + keys[3].size as usize].fill(0);
    std::fs::write(&path, bytes).unwrap();
    let made = stills(&lab, &plan, &path).await.unwrap();
    let stills = Stills { plan, made };
    let mut expected = planned(&stills);
    expected[3] = expected[2];
    assert_eq!((tiles(&lab, &stills), stills.made.repeated), (expected, 1));
}

#[tokio::test]
async fn a_poster_is_not_black_where_the_film_is_not() {
    let lab = lab();
    let fade = format!("{},fade=in:st=4:d=0.1", numbered());
    lab.ffmpeg(&["-f", "lavfi", "-i", &fade, "-t", "9", "-pix_fmt", "yuv420p", "-c:v", "libx264", "-g", "25", "late.mp4"]);
    let stills = make(&lab, &lab.path("late.mp4")).await;
    assert_eq!(poster(&lab, &stills), Some(125), "the only bright one");
    lab.ffmpeg(&["-f", "lavfi", "-i", "color=black:size=320x180:rate=25", "-t", "4", "-c:v", "libx264", "-g", "25", "black.mp4"]);
    let stills = make(&lab, &lab.path("black.mp4")).await;
    assert_eq!(poster(&lab, &stills), Some(0), "a black film has a black poster");
    assert_eq!(lab.raw(stills.path("preview.webp"), "null", "gray").len(), 320 * 180, "a picture that stands is one picture");
}

#[tokio::test]
async fn short_films_and_films_that_hide_their_keyframe_have_their_pictures_too() {
    let lab = lab();
    let one = film(&lab, "one.mp4", 1, &["-c:v", "libx264", "-frames:v", "1"]);
    let stills = make(&lab, &one).await;
    assert_eq!((tiles(&lab, &stills), poster(&lab, &stills)), (vec![Some(0)], Some(0)));
    film(&lab, "whole.mp4", 4, &["-c:v", "libx264", "-g", "1000", "-keyint_min", "1000"]);
    lab.ffmpeg(&["-ss", "1.2", "-i", "whole.mp4", "-c", "copy", "cut.mp4"]);
    let stills = make(&lab, &lab.path("cut.mp4")).await;
    assert!(stills.planned().alone);
    assert_eq!((tiles(&lab, &stills), poster(&lab, &stills)), (vec![Some(30)], Some(30)));
    let preview = stills.planned().preview.as_ref().unwrap();
    assert_eq!(shown(&lab, stills.path("preview.webp"), preview.size)[0], Some(30));
}

/// Mean difference of two pictures in red, green and blue, of 255.
fn difference(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let sum: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    #[expect(clippy::cast_precision_loss, reason = "a small picture")]
    let mean = sum as f64 / a.len() as f64;
    mean
}

/// The poster as rendition's pictures are shown: the best of all differences.
async fn as_rendered(lab: &Lab, film: &Path) -> (f64, Stills) {
    let stills = make(lab, film).await;
    let size = stills.planned().poster.as_ref().unwrap().size;
    let poster = lab.raw(stills.path("poster.jpg"), "null", "rgb24");
    let (_, joined) = lab.pictures(film).await;
    let pictures = lab.raw(&joined, "null", "rgb24");
    let best = pictures.chunks((size.width * size.height * 3) as usize).map(|picture| difference(&poster, picture)).fold(255.0, f64::min);
    (best, stills)
}

#[tokio::test]
async fn pictures_are_turned_cut_and_mapped_as_renditions_are() {
    let moving = "testsrc2=size=320x180:rate=25";
    let mut upright = lab();
    upright.ffmpeg(&["-f", "lavfi", "-i", moving, "-t", "4", "-pix_fmt", "yuv420p", "-c:v", "libx264", "-g", "25", "flat.mp4"]);
    upright.ffmpeg(&["-display_rotation", "90", "-i", "flat.mp4", "-c", "copy", "turned.mp4"]);
    upright.profile.crf = 4;
    let (off, stills) = as_rendered(&upright, &upright.path("turned.mp4")).await;
    assert_eq!(stills.planned().poster.as_ref().unwrap().size, Size { width: 180, height: 320 });
    assert!(off < 6.0, "turned: {off}");
    upright.cut("flat.mp4", "cut.mp4", (320, 120));
    let (off, stills) = as_rendered(&upright, &upright.path("cut.mp4")).await;
    assert_eq!(stills.planned().poster.as_ref().unwrap().size, Size { width: 240, height: 90 });
    assert!(off < 6.0, "cut: {off}");
    // A high dynamic range that the renditions keep: pictures beside the film are for browsers.
    let mut bright = lab();
    let hdr = "testsrc2=size=320x180:rate=25,format=gbrpf32le,zscale=pin=bt709:tin=bt709:min=gbr:rin=pc:p=bt2020:t=smpte2084:m=bt2020nc:r=tv:npl=100,format=yuv420p10le";
    let tags = ["-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc", "-color_range", "tv"];
    let x265 = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "keyint=25:crf=6:log-level=error"];
    bright.ffmpeg(&[&["-f", "lavfi", "-i", hdr, "-t", "3"], &x265[..], &tags, &["hdr.mp4"]].concat());
    bright.profile.crf = 4;
    let (off, _) = as_rendered(&bright, &bright.path("hdr.mp4")).await;
    assert!(off < 6.0, "mapped: {off}");
    let mapped = std::fs::read(bright.path("stills/poster.jpg")).unwrap();
    (bright.profile.hdr, bright.profile.codec) = (Hdr::Keep, VideoCodec::Hevc);
    let kept = make(&bright, &bright.path("hdr.mp4")).await;
    assert_eq!(std::fs::read(kept.path("poster.jpg")).unwrap(), mapped, "the same, whatever the renditions are");
}

/// How much lines differ from both their neighbours: combs.
fn combs(rgb: &[u8], width: usize) -> u64 {
    let lines: Vec<&[u8]> = rgb.chunks(width * 3).collect();
    let second = |w: &[&[u8]]| -> u64 {
        let each = w[0].iter().zip(w[1]).zip(w[2]).map(|((a, b), c)| (i32::from(*a) - 2 * i32::from(*b) + i32::from(*c)).unsigned_abs());
        each.map(u64::from).sum()
    };
    lines.windows(3).map(second).sum()
}

#[tokio::test]
async fn fields_are_not_woven_in_a_poster() {
    let lab = lab();
    let scrolled = "testsrc2=s=320x180:r=50,scroll=horizontal=0.02:vertical=0.01";
    let fields = ["-vf", "interlace=scan=tff:lowpass=0,setfield=tff", "-flags", "+ildct+ilme", "-g", "25"];
    lab.ffmpeg(&[&["-f", "lavfi", "-i", scrolled, "-t", "4", "-pix_fmt", "yuv420p", "-c:v", "libx264"], &fields[..], &["in.mp4"]].concat());
    let stills = make(&lab, &lab.path("in.mp4")).await;
    assert!(stills.plan.video.as_ref().unwrap().deinterlace);
    let poster = combs(&lab.raw(stills.path("poster.jpg"), "null", "rgb24"), 320);
    let woven = lab.raw(&lab.path("in.mp4"), "select='eq(mod(n,25),0)'", "rgb24");
    let woven = woven.chunks(320 * 180 * 3).map(|picture| combs(picture, 320)).min().unwrap();
    assert!(poster * 2 < woven, "{poster} and {woven}");
}
