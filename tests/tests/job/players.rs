//! HLS, DASH and MP4 in headless Chromium by hls.js, dash.js and shaka-player: every rendition, over every join.

use std::{collections::BTreeMap, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use tests::{
    clips,
    players::{self, Case, Film},
    run::Fanreel,
    tool,
};

use crate::LONG;

pub const HLS: (&str, &str) = ("hls.js", "master.m3u8");
pub const DASH: (&str, &str) = ("dash.js", "manifest.mpd");
pub const MP4: (&str, &str) = ("file", "");
pub const ALL: [(&str, &str); 5] = [HLS, DASH, ("shaka", "master.m3u8"), ("shaka", "manifest.mpd"), MP4];

/// Each film is two chunks or more: two renditions; a picture that comes late; a changing rate without sound.
fn films(dir: &Path) -> Result<Vec<(&'static str, std::path::PathBuf)>> {
    let sound = "sine=frequency=440:beep_factor=3:sample_rate=48000";
    let picture = |size: &str, rate: &str, seconds: u32| format!("testsrc2=size={size}:rate={rate}:duration={seconds}");
    let coding = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "3", "-g", "50", "-pix_fmt", "yuv420p", "-c:a", "aac"];
    let (two, late, vary) = (picture("640x480", "30", 15), picture("320x180", "24000/1001", 10), picture("320x180", "30", 10));
    let sources: [(&str, Vec<&str>); 3] = [
        ("two.mp4", vec!["-f", "lavfi", "-i", &two, "-f", "lavfi", "-t", "15", "-i", sound]),
        ("late.mkv", vec!["-f", "lavfi", "-itsoffset", "1.5", "-i", &late, "-f", "lavfi", "-t", "12", "-i", sound]),
        ("vary.mp4", vec!["-f", "lavfi", "-i", &vary, "-vf", "select='not(mod(n\\,3))+gt(mod(n\\,97)\\,60)'", "-fps_mode", "vfr"]),
    ];
    let make = |(name, inputs): (&'static str, Vec<&str>)| {
        let path = dir.join(name);
        clips::ffmpeg(&[&inputs[..], &coding, &[path.to_string_lossy().as_ref()]].concat())?;
        Ok((name, path))
    };
    sources.into_iter().map(make).collect()
}

/// Plays the cases; a line for each.
pub async fn all_play(cases: &[Case<'_>], home: &Path) -> Result<String> {
    let reports = players::play(cases, home).await?;
    let lines = cases.iter().zip(&reports).map(|(case, report)| case.verdict(report)).collect::<Result<Vec<_>>>()?;
    Ok(lines.join("\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_play_every_rendition_over_every_join() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let sources = films(dir.path())?;
    let fanreel = Fanreel::start(&dir.path().join("data"), &[]).await?;
    for (name, path) in &sources {
        fanreel.upload(&format!("uploads/{name}"), path).await?;
    }
    let mut made = Vec::new();
    for (name, path) in &sources {
        let job = fanreel.job_of(&format!("uploads/{name}")).await?;
        fanreel.wait(&job, &["COMPLETED"], LONG).await?;
        made.push(Film::of(&fanreel, &job, path).await.context(*name)?);
    }
    fanreel.stop()?;
    ensure!(
        made[0].renditions.len() == 2 && made[1].frames[0] > 1.0 && made[2].sound.is_none(),
        "the films are not what they were made for"
    );
    let mut cases: Vec<Case> = made.iter().flat_map(|film| Case::each(film, &ALL)).collect();
    cases.push(Case { alternating: true, ..cases[0].clone() });
    println!("{}", all_play(&cases, dir.path()).await?);
    for (film, (name, _)) in made.iter().zip(&sources) {
        demuxed(film, &dir.path().join("files").join(name)).with_context(|| format!("ffmpeg's DASH demuxer, {name}"))?;
    }
    println!("{}", broken(&made[0], dir.path()).await?);
    Ok(())
}

/// ffmpeg reads all frames of all renditions from the manifest, as far from each other as in the source. It shows them
/// late by as much as their decoding runs ahead, which changes with the rate: times are held where the rate is constant.
fn demuxed(film: &Film, folder: &Path) -> Result<()> {
    film.write(folder)?;
    let manifest = folder.canonicalize()?.join("manifest.mpd");
    let mut command = Command::new(tool("ffmpeg"));
    command.args(["-v", "error", "-copyts", "-i"]).arg(manifest).args(["-map", "0:v", "-c", "copy", "-f", "framecrc", "-"]);
    let output = command.output()?;
    ensure!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let (mut ticks, mut times): (BTreeMap<String, f64>, BTreeMap<String, Vec<f64>>) = (BTreeMap::new(), BTreeMap::new());
    for line in String::from_utf8(output.stdout)?.lines() {
        if let Some((stream, base)) = line.strip_prefix("#tb ").and_then(|rest| rest.split_once(": ")) {
            let (num, den) = base.split_once('/').context("time base")?;
            ticks.insert(stream.to_owned(), num.parse::<f64>()? / den.parse::<f64>()?);
        }
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        if let (Some(tick), Some(pts)) = (ticks.get(fields[0]), fields.get(2)) {
            times.entry(fields[0].to_owned()).or_default().push(pts.parse::<f64>()? * tick);
        }
    }
    ensure!(times.len() == film.renditions.len(), "{} of {} renditions", times.len(), film.renditions.len());
    for (stream, mut times) in times {
        times.sort_by(f64::total_cmp);
        ensure!(times.len() == film.frames.len(), "{} of {} frames in stream {stream}", times.len(), film.frames.len());
        let lengths = film.frames.windows(2).map(|pair| pair[1] - pair[0]);
        let constant = lengths.clone().fold(0.0, f64::max) - lengths.fold(f64::MAX, f64::min) < 0.002;
        let far = times.iter().zip(&film.frames).position(|(a, b)| ((a - times[0]) - (b - film.frames[0])).abs() > 0.0015);
        ensure!(far.is_none() || !constant, "frame {far:?} of stream {stream} is elsewhere");
    }
    Ok(())
}

/// Moves a segment by some ticks: the `tfdt` of each of its fragments (ISO 14496-12, 8.8.12; version 1).
fn moved(segment: &[u8], ticks: u64) -> Vec<u8> {
    let mut bytes = segment.to_vec();
    let places: Vec<usize> = bytes.windows(8).enumerate().filter(|(_, w)| **w == *b"tfdt\x01\0\0\0").map(|(at, _)| at + 8).collect();
    for at in places {
        let mut time = [0; 8];
        time.copy_from_slice(&bytes[at..at + 8]);
        bytes[at..at + 8].copy_from_slice(&(u64::from_be_bytes(time) + ticks).to_be_bytes());
    }
    bytes
}

/// What is wrong is found out: without this, a test that plays proves nothing.
async fn broken(film: &Film, home: &Path) -> Result<String> {
    let name = &film.renditions[0].0;
    let (first, second) = (film.segment(name, 0)?, film.segment(name, 1)?);
    let whole = film.files[&second].clone();
    let damages: [(&str, Option<Vec<u8>>); 4] = [
        ("a segment in another's place", Some(film.files[&first].to_vec())),
        ("half a segment", Some(whole[..whole.len() / 2].to_vec())),
        ("a frame too late", Some(moved(&whole, 512))),
        ("no segment", None),
    ];
    let mut copies = Vec::new();
    for (what, bytes) in damages {
        let mut copy = film.clone();
        ensure!(bytes.as_ref().is_none_or(|bytes| **bytes != *whole), "{what}: nothing was changed");
        match bytes {
            Some(bytes) => copy.files.insert(second.clone(), bytes.into()),
            None => copy.files.remove(&second),
        };
        copies.push((what, copy));
    }
    let case = |film, (player, door)| Case { film, rendition: 0, player, door, patience: 4.0, alternating: false };
    let cases: Vec<Case> = copies.iter().flat_map(|(_, film)| [HLS, DASH].map(|player| case(film, player))).collect();
    let reports = players::play(&cases, home).await?;
    let mut lines = Vec::new();
    let whats = copies.iter().flat_map(|(what, _)| [what, what]);
    for ((case, report), what) in cases.iter().zip(&reports).zip(whats) {
        let Err(error) = case.verdict(report) else { anyhow::bail!("{what} was not noticed in {}: {report}", case.player) };
        let text = format!("{error:#}");
        lines.push(format!("{what:<28} {:<8} {}", case.player, text.chars().take(110).collect::<String>()));
    }
    Ok(lines.join("\n"))
}
