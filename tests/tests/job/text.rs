//! Text subtitles through the whole job: in HLS and DASH, at their times, in the players.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    captions,
    clips::{self, Clip},
    players::{Case, Film},
    run::Fanreel,
};

use crate::{LONG, judge, players};

const ENGLISH: [(f64, f64, &str); 4] =
    [(0.5, 1.5, "one"), (2.0, 4.5, "two <i>lines</i>\nof text"), (4.0, 6.25, "overlaps"), (7.0, 9.0, "last")];

fn srt(cues: &[(f64, f64, &str)]) -> String {
    let clock = |at: f64| format!("00:00:{at:06.3}").replace('.', ",");
    let cues = cues.iter().enumerate().map(|(n, (from, to, text))| format!("{}\n{} --> {}\n{text}\n", n + 1, clock(*from), clock(*to)));
    cues.collect::<Vec<_>>().join("\n")
}

/// What is shown just before and behind the edges of every cue, from the first picture on: before it there is none to
/// seek to.
fn moments(cues: &[(f64, f64, &str)], first: f64) -> Vec<(f64, Vec<String>)> {
    let edges = cues.iter().flat_map(|(from, to, _)| [from - 0.06, from + 0.06, to - 0.06, to + 0.06]);
    let shown = |at: f64| cues.iter().filter(|(from, to, _)| *from <= at && at < *to).map(|(_, _, text)| (*text).to_owned()).collect();
    edges.filter(|at| *at > first).map(|at| (at, shown(at))).collect()
}

/// Sound from 2 s of the file's clock on, pictures from 3 s, two tracks of text and one that says nothing within the film.
fn late(dir: &Path) -> Result<PathBuf> {
    let path = dir.join("captions.mkv");
    let files = [("eng.srt", srt(&ENGLISH)), ("deu.srt", srt(&[(1.0, 60.0, "eins")])), ("none.srt", srt(&[(40.0, 50.0, "behind")]))];
    for (name, text) in &files {
        std::fs::write(dir.join(name), text)?;
    }
    let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let (picture, sound) = ("testsrc2=size=320x180:rate=25:duration=9", "sine=frequency=440:beep_factor=3:sample_rate=48000:duration=10");
    let (eng, deu, none, out) = (file("eng.srt"), file("deu.srt"), file("none.srt"), path.to_string_lossy().into_owned());
    let mut args = vec!["-itsoffset", "3", "-f", "lavfi", "-i", picture, "-itsoffset", "2", "-f", "lavfi", "-i", sound];
    for text in [&eng, &deu, &none] {
        args.extend(["-itsoffset", "2", "-i", text]);
    }
    args.extend("-map 0 -map 1 -map 2 -map 3 -map 4 -c:v libx264 -preset ultrafast -g 50 -pix_fmt yuv420p -c:a aac -c:s srt".split(' '));
    args.extend("-metadata:s:s:0 language=eng -metadata:s:s:1 language=deu -disposition:s:1 forced".split(' '));
    args.extend(["-metadata:s:s:0", "title=English \"CC\"", &out]);
    clips::ffmpeg(&args)?;
    Ok(path)
}

/// The same text in MP4, whole and in fragments: the second is remuxed by the job.
fn in_mp4(dir: &Path, from: &Path, name: &'static str, flags: &str) -> Result<(&'static str, PathBuf)> {
    let path = dir.join(name);
    let args = ["-i", &from.to_string_lossy(), "-map", "0:v", "-map", "0:a", "-map", "0:s:0", "-c", "copy", "-c:s:0", "mov_text"];
    clips::ffmpeg(&[&args[..], &["-movflags", flags, &path.to_string_lossy()]].concat())?;
    Ok((name, path))
}

fn is_text(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "vtt")
}

#[tokio::test(flavor = "multi_thread")]
async fn text_is_shown_at_its_time_by_every_player() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let film = late(dir.path())?;
    let (whole, pieces) =
        (in_mp4(dir.path(), &film, "whole.mp4", "+faststart")?, in_mp4(dir.path(), &film, "pieces.mp4", "+frag_keyframe+empty_moov")?);
    let sources = [("captions.mkv", film), whole, pieces];
    let fanreel = Fanreel::start(&dir.path().join("data"), &[]).await?;
    for (name, path) in &sources {
        fanreel.upload(&format!("uploads/{name}"), path).await?;
    }
    let (mut jobs, mut texts) = (Vec::new(), Vec::new());
    for (name, path) in &sources {
        let job = fanreel.job_of(&format!("uploads/{name}")).await?;
        fanreel.wait(&job, &["COMPLETED"], LONG).await?;
        println!("{name}: {}", judge(&fanreel, &Clip { name, path: path.clone() }, &job, dir.path()).await.context(*name)?);
        let playlist = String::from_utf8(fanreel.read(&format!("streams/{job}/text/media.m3u8")).await?)?;
        let segment = playlist.lines().find(|line| is_text(line)).context(playlist.clone())?;
        texts.push(String::from_utf8(fanreel.read(&format!("streams/{job}/text/{segment}")).await?)?);
        jobs.push(job);
    }
    ensure!(texts[0].contains("\n00:00:02.000 --> 00:00:04.500\ntwo <i>lines</i>\nof text\n"), "{}", texts[0]);
    ensure!(texts[1].matches(" --> ").count() >= 4 && texts[2].matches(" --> ").count() >= 4, "{} {}", texts[1], texts[2]);
    the_receipt(&fanreel, &jobs[0]).await?;
    let mut played = Film::of(&fanreel, &jobs[0], &sources[0].1).await?;
    fanreel.stop()?;
    played.captions = moments(&ENGLISH, played.frames[0]);
    println!("{}", players::all_play(&Case::each(&played, &players::ALL), dir.path()).await?);
    wrong_times_are_found(&played, dir.path()).await
}

async fn the_receipt(fanreel: &Fanreel, job: &str) -> Result<()> {
    let receipt: Value = serde_json::from_slice(&fanreel.read(&format!("jobs/{job}/manifests/receipt.json")).await?)?;
    let text: Vec<_> = receipt["text"].as_array().context("text")?.iter().map(|t| (&t["language"], &t["cues"], &t["forced"])).collect();
    ensure!(serde_json::to_value(text)? == serde_json::json!([["eng", 4, false], ["deu", 1, true]]), "{}", receipt["text"]);
    let left = receipt["left_out"].as_array().context("left_out")?;
    ensure!(left.len() == 1 && left[0] == "track 4: subtitles subrip: it holds no text that is shown within the film", "{left:?}");
    let master = String::from_utf8(fanreel.read(&format!("streams/{job}/master.m3u8")).await?)?;
    let english = "TYPE=SUBTITLES,GROUP-ID=\"text\",NAME=\"English 'CC'\",LANGUAGE=\"en\",DEFAULT=NO,AUTOSELECT=YES,FORCED=NO,";
    ensure!(master.contains(english) && master.contains("FORCED=YES") && master.contains(",SUBTITLES=\"text\"\n"), "{master}");
    Ok(())
}

/// A test of times that cannot fail proves nothing: the same film with its text a quarter of a second late.
async fn wrong_times_are_found(film: &Film, home: &Path) -> Result<()> {
    let mut late = film.clone();
    let path = late.files.keys().find(|path| path.starts_with("text/") && is_text(path)).context("no text")?.clone();
    let text = String::from_utf8(late.files[&path].to_vec())?.replace("00:00:07.000", "00:00:07.250");
    ensure!(late.files.insert(path, text.clone().into()).is_some_and(|before| before != text), "nothing was changed");
    // What is to fail waits for all of it, and what goes before may be slow on a busy machine.
    let case = |(player, door)| Case { film: &late, rendition: 0, player, door, patience: 20.0, alternating: false };
    let cases = [players::HLS, players::DASH].map(case);
    for (case, report) in cases.iter().zip(&tests::players::play(&cases, home).await?) {
        let Err(error) = case.verdict(report) else { anyhow::bail!("late text was not noticed in {}", case.player) };
        ensure!(format!("{error:#}").contains("at 7.06"), "{error:#}");
    }
    Ok(())
}

/// A disc, a broadcast and what people make of both: nothing shows their subtitles, and the receipt says so.
#[tokio::test(flavor = "multi_thread")]
async fn pictures_of_text_are_named_as_left_out() -> Result<()> {
    /// Name, codec by ffmpeg's names of encoder and track, and the language that the container can say.
    const FILMS: [(&str, &str, &str, &str); 4] = [
        ("blu-ray.mkv", "copy", "hdmv_pgs_subtitle", " (ger)"),
        ("dvd.mkv", "dvdsub", "dvd_subtitle", " (ger)"),
        ("disc.vob", "dvdsub", "dvd_subtitle", ""),
        ("broadcast.ts", "dvbsub", "dvb_subtitle", " (ger)"),
    ];
    let dir = tempfile::tempdir()?;
    let fanreel = Fanreel::start(&dir.path().join("data"), &[]).await?;
    let text = dir.path().join("text.sup");
    std::fs::write(&text, captions::pictures(&[(1, 2), (3, 4)]))?;
    for (name, encoder, _, _) in FILMS {
        let film = dir.path().join(name);
        let picture =
            ["-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25:duration=5", "-i", &text.to_string_lossy(), "-map", "0", "-map", "1"];
        let codecs = ["-c:v", "mpeg2video", "-g", "12", "-c:s", encoder, "-metadata:s:s", "language=ger", &film.to_string_lossy()];
        clips::ffmpeg(&[&picture[..], &codecs].concat())?;
        fanreel.upload(&format!("uploads/{name}"), &film).await?;
    }
    for (name, _, codec, language) in FILMS {
        let job = fanreel.job_of(&format!("uploads/{name}")).await?;
        fanreel.wait(&job, &["COMPLETED"], LONG).await?;
        let receipt: Value = serde_json::from_slice(&fanreel.read(&format!("jobs/{job}/manifests/receipt.json")).await?)?;
        let line = format!("track 1: subtitles {codec}{language}: pictures of text, which players of HLS and DASH do not show");
        ensure!(receipt["left_out"] == serde_json::json!([line]), "{name}: {}", receipt["left_out"]);
        println!("{name}: {line}");
    }
    fanreel.stop()
}
