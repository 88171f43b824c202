//! Text from its own bytes of the source is the text from the whole of it.

use std::{fmt::Write as _, path::Path};

use pipeline::{
    encoder::{EncodeError, Encoder, TextWork},
    plan::{ByteRange, Plan},
    planner::Planned,
};

use crate::support::Lab;

/// Seconds of the film: two minutes lie between its first texts and its last.
const SECONDS: u32 = 150;

fn clock(second: u32) -> String {
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

fn srt(times: &[u32]) -> String {
    times.iter().enumerate().fold(String::new(), |mut text, (number, at)| {
        let _ = write!(text, "{0}\n{1},100 --> {1},800\nText {0} <i>of</i> {1}\n\n", number + 1, clock(*at));
        text
    })
}

fn ass(times: &[u32]) -> String {
    let head = "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\n\
        Format: Name, Fontname, Fontsize, PrimaryColour, Bold, Italic, Alignment, Encoding\nStyle: Default,Arial,20,&H00FFFFFF,0,0,2,1\n\n\
        [Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n";
    times.iter().fold(head.to_owned(), |mut text, at| {
        let _ = writeln!(text, "Dialogue: 0,{1}.10,{1}.80,Default,,0,0,0,,Drawn at {0}", at, &clock(*at)[1..]);
        text
    })
}

/// A picture of some 100 kB each second and a tone, and next to them three files of text: in two places two minutes apart,
/// once, and now and then.
fn parts(lab: &Lab) {
    let picture = format!("nullsrc=s=320x180:r=1:d={SECONDS},format=yuv420p,geq=random(1)*255:random(2)*255:random(3)*255");
    let tone = format!("sine=d={SECONDS}:r=16000");
    let coding = ["-c:v", "libx264", "-preset", "ultrafast", "-qp", "0", "-g", "3", "-c:a", "aac", "-b:a", "32k"];
    lab.ffmpeg(&[&["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &tone][..], &coding, &["plain.mkv"]].concat());
    let ends: Vec<u32> = (0..8).chain(SECONDS - 9..SECONDS - 1).collect();
    let sometimes: Vec<u32> = (1..SECONDS).step_by(23).collect();
    for (name, text) in [("ends.srt", srt(&ends)), ("once.srt", srt(&[77])), ("drawn.ass", ass(&sometimes))] {
        std::fs::write(lab.path(name), text).unwrap();
    }
    lab.ffmpeg(&["-i", "ends.srt", "ends.vtt"]);
    std::fs::write(lab.path("font.ttf"), vec![7; 3 << 20]).unwrap();
}

/// The parts in one file; the picture begins `late` seconds behind sound and text.
fn film(lab: &Lab, name: &str, late: &str, texts: &[&str], options: &[&str]) {
    let mut args = vec!["-itsoffset", late, "-i", "plain.mkv", "-i", "plain.mkv"];
    args.extend(texts.iter().flat_map(|text| ["-i", text]));
    args.extend(["-map", "0:v", "-map", "1:a"]);
    let maps: Vec<String> = (2..2 + texts.len()).map(|input| input.to_string()).collect();
    args.extend(maps.iter().flat_map(|map| ["-map", map]));
    lab.ffmpeg(&[&args[..], &["-c", "copy"], options, &[name]].concat());
}

/// The text of a track with its counts, or why there is none.
type Text = Result<(String, u32, u32, bool), String>;

async fn texts(lab: &Lab, plan: &Plan, source: &Path, ranges: &[ByteRange]) -> Vec<Text> {
    let mut made = Vec::new();
    for text in &plan.subtitles {
        let work = TextWork { plan, text, source, ranges, out: &lab.path(""), careful: false };
        made.push(match lab.encoder.convert_text(&work).await {
            Ok(made) => Ok((std::fs::read_to_string(&made.path).unwrap(), made.cues, made.dropped, made.damaged)),
            Err(EncodeError::Mismatch(reason)) => Err(reason),
            Err(other) => panic!("{other}"),
        });
    }
    made
}

/// Every track from the excerpt, which is a small part of the film, and from the whole of it. `cues` of each track.
async fn both(lab: &Lab, name: &str, cues: &[u32]) {
    let source = lab.path(name);
    let Planned { plan, excerpts, .. } = lab.plan(&source).await;
    let excerpt = plan.text.unwrap_or_else(|| panic!("{name}: the whole is read"));
    assert!(excerpt.bytes < plan.source_bytes / 3, "{name}: {excerpt:?} of {}", plan.source_bytes);
    let ranges = excerpts[excerpt.number as usize].ranges();
    let own = texts(lab, &plan, &lab.sparse(&source, ranges), ranges).await;
    let all = [ByteRange { start: 0, end: plan.source_bytes }];
    assert_eq!(own, texts(lab, &plan, &source, &all).await, "{name}");
    let told: Vec<u32> = own.iter().map(|text| text.as_ref().unwrap().1).collect();
    assert_eq!(told, cues, "{name}");
    assert!(own.iter().all(|text| text.as_ref().is_ok_and(|(.., damaged)| !damaged)), "{name}");
    std::fs::remove_file(source).unwrap();
}

#[tokio::test]
async fn text_from_its_own_bytes_is_the_same() {
    let lab = Lab::new();
    parts(&lab);
    let all = ["ends.srt", "once.srt", "drawn.ass"];
    film(&lab, "film.mkv", "0", &all, &["-attach", "font.ttf", "-metadata:s:t", "mimetype=font/ttf"]);
    both(&lab, "film.mkv", &[16, 1, 7]).await;
    film(&lab, "late.mkv", "4.5", &all, &[]);
    both(&lab, "late.mkv", &[16, 1, 7]).await;
    film(&lab, "small.mkv", "0", &all, &["-cluster_time_limit", "100"]);
    both(&lab, "small.mkv", &[16, 1, 7]).await;
    film(&lab, "great.mkv", "0", &all, &["-cluster_time_limit", "30000", "-cluster_size_limit", "100000000"]);
    both(&lab, "great.mkv", &[16, 1, 7]).await;
    film(&lab, "web.mkv", "0", &["ends.vtt"], &[]);
    both(&lab, "web.mkv", &[16]).await;
    let timed = ["-c:s", "mov_text"];
    film(&lab, "front.mp4", "4.5", &all[..2], &[&timed[..], &["-movflags", "+faststart"]].concat());
    both(&lab, "front.mp4", &[16, 1]).await;
    film(&lab, "film.mp4", "0", &all[..2], &timed);
    // The first seconds are hidden by an edit list.
    lab.ffmpeg(&["-ss", "1.3", "-i", "film.mp4", "-map", "0", "-c", "copy", "edited.mp4"]);
    both(&lab, "film.mp4", &[16, 1]).await;
    both(&lab, "edited.mp4", &[14, 1]).await;
}

/// What holds the two together above can fail: text of which bytes are missing is no text, or another.
#[tokio::test]
async fn text_without_its_bytes_is_not_the_same() {
    let lab = Lab::new();
    parts(&lab);
    film(&lab, "film.mkv", "0", &["ends.srt"], &[]);
    film(&lab, "film.mp4", "0", &["ends.srt"], &["-c:s", "mov_text"]);
    for name in ["film.mkv", "film.mp4"] {
        let source = lab.path(name);
        let Planned { plan, excerpts, .. } = lab.plan(&source).await;
        let ranges = excerpts[plan.text.unwrap().number as usize].ranges();
        let middle = ranges.len() / 2;
        let fewer = [&ranges[..middle], &ranges[middle + 1..]].concat();
        let own = texts(&lab, &plan, &lab.sparse(&source, &fewer), &fewer).await;
        assert!(own[0].as_ref().is_err() || own[0].as_ref().is_ok_and(|(_, cues, ..)| *cues < 16), "{name}: {own:?}");
    }
}
