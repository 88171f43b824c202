//! Text subtitles of every codec, and bad ones: what is shown and when, or why nothing is.

use std::path::Path;

use pipeline::{
    encoder::{EncodeError, Encoder, TextWork},
    plan::ByteRange,
};

use crate::support::Lab;

const SRT: &str = "1\n00:00:00,500 --> 00:00:01,750\nHello <i>world</i> & co\n\n2\n00:00:02,000 --> 00:00:03,250\nTwo\nlines\n";
const ASS: &str = "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\n\
    Format: Name, Fontname, Fontsize, PrimaryColour, Bold, Italic, Alignment, Encoding\nStyle: Default,Arial,20,&H00FFFFFF,0,0,2,1\n\n\
    [Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n\
    Dialogue: 0,0:00:00.50,0:00:01.75,Default,,0,0,0,,{\\fad(1,2)\\c&HFF&}Hello {\\i1}world{\\i0} & co\n\
    Dialogue: 0,0:00:01.00,0:00:03.00,Default,,0,0,0,,{\\p1}m 0 0 l 10 10{\\p0}\n\
    Dialogue: 0,0:00:02.00,0:00:03.25,Default,,0,0,0,,Two\\Nlines\n";
/// What all of them show.
const SHOWN: &str = "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:0\n\n00:00:00.500 --> 00:00:01.750\n\
    Hello <i>world</i> &amp; co\n\n00:00:02.000 --> 00:00:03.250\nTwo\nlines\n";

/// Every text track of a film as a file, with how many cues were dropped and whether some could not be read; or why there
/// is none.
async fn texts(lab: &Lab, film: &Path) -> Vec<Result<(String, u32, bool), String>> {
    let plan = lab.plan(film).await.plan;
    let all = [ByteRange { start: 0, end: plan.source_bytes }];
    let mut made = Vec::new();
    for text in &plan.subtitles {
        let work = TextWork { plan: &plan, text, source: film, ranges: &all, out: &lab.path(""), careful: false };
        made.push(match lab.encoder.convert_text(&work).await {
            Ok(made) => {
                let bytes = std::fs::read(&made.path).unwrap();
                assert_eq!(bytes.len() as u64, made.bytes);
                Ok((String::from_utf8(bytes).unwrap(), made.dropped, made.damaged))
            }
            Err(EncodeError::Mismatch(reason)) => Err(reason),
            Err(other) => panic!("{other}"),
        });
    }
    made
}

/// A film of 7 s and these files as its subtitles, which all begin `late` seconds into the file's own clock.
fn film(lab: &Lab, name: &str, late: &str, texts: &[(&str, &[u8])], codec: &str) -> std::path::PathBuf {
    lab.film("plain.mkv", &["-c:v", "libx264", "-g", "48"]);
    let mut args = vec!["-itsoffset", late, "-i", "plain.mkv"];
    for (name, text) in texts {
        std::fs::write(lab.path(name), text).unwrap();
        args.extend(["-itsoffset", late, "-sub_charenc_mode", "ignore", "-i", name]);
    }
    let maps: Vec<String> = (0..=texts.len()).map(|input| input.to_string()).collect();
    args.extend(maps.iter().flat_map(|map| ["-map", map]));
    args.extend(["-c:v", "copy", "-c:a", "copy", "-c:s", codec, name]);
    lab.ffmpeg(&args);
    lab.path(name)
}

#[tokio::test]
async fn every_codec_of_text_shows_the_same_from_the_films_origin() {
    let vtt = "WEBVTT\n\n00:00.500 --> 00:01.750\nHello <i>world</i> &amp; co\n\n00:02.000 --> 00:03.250\nTwo\nlines\n";
    let lab = Lab::new();
    let texts_of = [("a.srt", SRT.as_bytes()), ("b.ass", ASS.as_bytes()), ("c.vtt", vtt.as_bytes())];
    for late in ["0", "2.5"] {
        let matroska = film(&lab, "in.mkv", late, &texts_of, "copy");
        let made = texts(&lab, &matroska).await;
        let expected = [0, 1, 0].map(|dropped| Ok((SHOWN.to_owned(), dropped, false)));
        assert_eq!(made, expected, "{late}: the drawing is dropped");
    }
    let timed = film(&lab, "in.mp4", "0", &texts_of[..1], "mov_text");
    assert_eq!(texts(&lab, &timed).await, [Ok((SHOWN.to_owned(), 0, false))]);
}

#[tokio::test]
async fn bad_text_is_shown_as_far_as_it_can_be_and_never_more() {
    let latin = b"1\n00:00:01,000 --> 00:00:02,000\nlatin caf\xe9\n\n2\n00:00:03,000 --> 27:00:00,000\na day\n";
    let nothing = b"1\n00:00:01,000 --> 00:00:01,000\nno time\n\n2\n00:00:30,000 --> 00:00:40,000\nbehind the film\n";
    let forged = b"1\n00:00:01,000 --> 00:00:02,000\n1 < 2\nNOTE x --> y\n";
    let lab = Lab::new();
    let film = film(&lab, "in.mkv", "0", &[("a.srt", latin), ("b.srt", nothing), ("c.srt", forged)], "copy");
    let made = texts(&lab, &film).await;
    let (text, dropped, damaged) = made[0].clone().unwrap();
    assert!(text.contains("latin caf\u{fffd}\n") && text.contains("00:00:03.000 --> 00:00:07.0"), "{text}");
    assert_eq!((dropped, damaged), (0, false));
    assert_eq!(made[1], Err("it holds no text that is shown within the film".to_owned()));
    let (text, ..) = made[2].clone().unwrap();
    assert!(text.ends_with("00:00:01.000 --> 00:00:02.000\n1 &lt; 2\nNOTE x --&gt; y\n"), "{text}");
}

#[tokio::test]
async fn a_track_of_too_many_cues_is_left_out() {
    let cue = |n: usize| format!("{n}\n00:00:01,000 --> 00:00:02,000\nx{n}\n\n");
    let many: String = (1..=100_001).map(cue).collect();
    let lab = Lab::new();
    let film = film(&lab, "in.mkv", "0", &[("a.srt", many.as_bytes()), ("b.srt", SRT.as_bytes())], "copy");
    let made = texts(&lab, &film).await;
    assert_eq!(made, [Err("it has more than 100000 texts".to_owned()), Ok((SHOWN.to_owned(), 0, false))]);
}
