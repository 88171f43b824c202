//! Damaged films under a profile that takes a part for the whole: what is shown is the source's, at its own time, and what
//! is not is black or silent and named, to the frame.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tests::{
    clips, look,
    players::{Case, Film},
    run::{Fanreel, binary},
    tool,
};

use super::players::{ALL, all_play};
use crate::LONG;

const PROFILE: &str = "[saving]\nlike = 'h264'\non_damage = 'partial'\nchunk_ms = 2000\ngop_ms = 1000\n\
    outputs = ['hls', 'dash', 'mp4', 'poster', 'sprite', 'preview']\n\
    ladder = [{ short_side = 120, maxrate = 500_000, bufsize = 700_000 }]\n";

/// Ten seconds, 100 frames, five chunks, a sound that never stops: with its index in front, at its end, in Matroska, and in
/// AVI, FLV and fragments, which are remuxed.
struct Good {
    front: PathBuf,
    back: PathBuf,
    mkv: Vec<u8>,
    remuxed: Vec<(&'static str, Vec<u8>)>,
    /// With as many pictures as MXF may have: six seconds.
    mxf: PathBuf,
}

fn good(dir: &Path) -> Result<Good> {
    let [back, front, mkv, mxf] = ["back.mp4", "front.mp4", "good.mkv", "good.mxf"].map(|name| dir.join(name));
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let (picture, sound) = ("testsrc2=size=160x120:rate=10:duration=10", "sine=frequency=440:duration=10");
    let codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "10", "-pix_fmt", "yuv420p", "-c:a", "aac"];
    clips::ffmpeg(&[&["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound], &codecs[..], &[&text(&back)]].concat())?;
    clips::ffmpeg(&["-i", &text(&back), "-c", "copy", "-movflags", "+faststart", &text(&front)])?;
    clips::ffmpeg(&["-i", &text(&back), "-c", "copy", &text(&mkv)])?;
    // Pictures that are decoded early, and MP3, would leave a gap behind the first picture.
    let early = |codec| format!("-c:v {codec} -q:v 2 -g 10 -bf 0 -c:a pcm_s16le -ar 44100");
    let fragments =
        "-c:v libx264 -preset ultrafast -bf 0 -g 10 -pix_fmt yuv420p -c:a flac -movflags frag_keyframe+empty_moov+default_base_moof"
            .to_owned();
    let mut remuxed = Vec::new();
    for (name, how) in [("cut-55.avi", early("mpeg4")), ("cut-55.flv", early("flv")), ("cut-55.frag.mp4", fragments)] {
        let made = dir.join(name);
        clips::ffmpeg(&[&["-i", &text(&back)][..], &how.split(' ').collect::<Vec<_>>(), &[&text(&made)]].concat())?;
        remuxed.push((name, std::fs::read(made)?));
    }
    let (picture, sound) = ("testsrc2=size=160x120:rate=25:duration=6", "sine=frequency=440:sample_rate=48000:duration=6");
    let codecs = ["-c:v", "mpeg2video", "-q:v", "2", "-g", "12", "-bf", "2", "-c:a", "pcm_s16le"];
    clips::ffmpeg(&[&["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound], &codecs[..], &[&text(&mxf)]].concat())?;
    Ok(Good { mkv: std::fs::read(mkv)?, remuxed, front, back, mxf })
}

/// Bytes of the packets of a track whose times are within these seconds.
fn packets(file: &Path, track: &str, seconds: std::ops::Range<f64>) -> Result<Vec<std::ops::Range<usize>>> {
    let file = file.to_string_lossy();
    let args = ["-v", "error", "-select_streams", track, "-show_entries", "packet=pts_time,size,pos", "-of", "csv=p=0", &file];
    let output = Command::new(tool("ffprobe")).args(args).output()?;
    let mut found = Vec::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let mut fields = line.trim_end_matches(',').split(',');
        let mut next = || fields.next().with_context(|| line.to_owned());
        let (time, size, pos): (f64, usize, usize) = (next()?.parse()?, next()?.parse()?, next()?.parse()?);
        found.extend(seconds.contains(&time).then_some(pos..pos + size));
    }
    ensure!(!found.is_empty(), "no packets of {track} in {seconds:?}");
    Ok(found)
}

/// What becomes of a source, by how it was made.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Partial,
    Failed,
    /// The decoder may see it, or not.
    Either,
}

/// Uploads that broke off at several points, bits that changed, and noise in the middle of one track alone.
fn damaged(good: &Good) -> Result<Vec<(String, Vec<u8>, Fate)>> {
    let (front, back) = (std::fs::read(&good.front)?, std::fs::read(&good.back)?);
    let mut all = Vec::new();
    let part = |bytes: &[u8], percent: usize| bytes[..bytes.len() * percent / 100].to_vec();
    for percent in [35, 55, 95] {
        all.push((format!("cut-{percent}.mp4"), part(&front, percent), Fate::Partial));
        all.push((format!("cut-{percent}.mkv"), part(&good.mkv, percent), Fate::Partial));
    }
    all.extend(good.remuxed.iter().map(|(name, bytes)| ((*name).to_owned(), part(bytes, 55), Fate::Partial)));
    all.push(("cut-55.mxf".to_owned(), part(&std::fs::read(&good.mxf)?, 55), Fate::Partial));
    all.push(("no-index.mp4".to_owned(), part(&back, 55), Fate::Failed));
    let place = |kind: &[u8]| back.windows(4).position(|window| window == kind).context("a box");
    let (begin, end) = (place(b"mdat")? + 4, place(b"moov")? - 4);
    for seed in 0..3u64 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut bytes = back.clone();
        for _ in 0..=seed * 3 {
            bytes[random.random_range(begin..end)] ^= 1 << random.random_range(0..8);
        }
        all.push((format!("flip-{seed}.mp4"), bytes, Fate::Either));
    }
    for (name, track, seconds) in [("noise.mp4", "v:0", 4.2..5.8), ("first.mp4", "v:0", 0.1..1.5), ("crackle.mp4", "a:0", 3.0..4.0)] {
        let mut bytes = back.clone();
        for range in packets(&good.back, track, seconds)? {
            bytes[range].iter_mut().skip(5).step_by(3).for_each(|byte| *byte ^= 0x55);
        }
        all.push((name.to_owned(), bytes, Fate::Partial));
    }
    let mut bytes = back;
    for range in packets(&good.back, "v:0", 0.0..10.0)? {
        bytes[range].fill(0xA5);
    }
    all.push(("nothing.mp4".to_owned(), bytes, Fate::Failed));
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_decoded_is_saved_and_what_is_lost_is_named() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let profiles = dir.path().join("profiles.toml");
    std::fs::write(&profiles, PROFILE)?;
    let good = good(dir.path())?;
    let sources = damaged(&good)?;
    let environment = [("FANREEL_PROFILES", profiles.as_path())];
    let fanreel = Fanreel::start_with(&dir.path().join("data"), &["Profile=saving"], &environment).await?;
    for (name, bytes, _) in &sources {
        std::fs::write(dir.path().join(name), bytes)?;
        fanreel.upload(&format!("uploads/{name}"), &dir.path().join(name)).await?;
    }
    let judge_of = |film| -> Result<Judge<'_>> {
        Ok(Judge { fanreel: &fanreel, dir: dir.path(), times: look::frame_times(film, "v:0")?, own: look::thumbnails(film)? })
    };
    let (usual, of_mxf) = (judge_of(&good.front)?, judge_of(&good.mxf)?);
    let (mut wrong, mut film, mut failed) = (Vec::new(), None, Vec::new());
    for (name, _, fate) in &sources {
        let job = fanreel.job_of(&format!("uploads/{name}")).await?;
        let status = fanreel.wait(&job, &["COMPLETED", "PARTIAL", "FAILED"], LONG).await?;
        let end = status["status"].as_str().unwrap_or_default();
        println!("{name:<16} {end:<10} {}", status["detail"].as_str().unwrap_or_default());
        let judge = if name == "cut-55.mxf" { &of_mxf } else { &usual };
        let fits = match fate {
            Fate::Partial => end == "PARTIAL",
            Fate::Failed => end == "FAILED",
            Fate::Either => true,
        };
        if !fits {
            wrong.push(format!("{name} ended {end}, not {fate:?}"));
        } else if end == "FAILED" {
            failed.push((name, job));
            continue;
        } else if let Err(error) = judge.held(&job, end, &status).await {
            wrong.push(format!("{name}: {error:#}"));
        }
        if name == "noise.mp4" {
            film = Some(Film::of(&fanreel, &job, &good.back).await?);
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    fanreel.drained(std::time::Duration::from_secs(60)).await?;
    // What is stored goes after the word is given.
    for (name, job) in failed {
        for prefix in ["streams", "encoded"] {
            ensure!(fanreel.keys(&format!("{prefix}/{job}")).await?.is_empty(), "{name} failed and keeps something");
        }
    }
    fanreel.stop()?;
    // Over the stretch that is lost as over any other.
    let film = film.context("no film with a hole")?;
    println!("{}", all_play(&Case::each(&film, &ALL), dir.path()).await?);
    alone(dir.path(), &profiles)
}

/// The command for one film says the same, by its exit code as well.
fn alone(dir: &Path, profiles: &Path) -> Result<()> {
    let out = dir.join("out");
    let mut command = Command::new(binary("fanreel")?);
    command.arg("transcode").arg(dir.join("noise.mp4")).arg("-o").arg(&out);
    command.args(["--profile", "saving"]).arg("--profiles").arg(profiles);
    let output = command.output()?;
    let (text, error) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr).into_owned());
    ensure!(output.status.code() == Some(4), "{}: {text}{error}", output.status);
    ensure!(text.contains(": PARTIAL in ") && text.contains("lost     picture, seconds 4.00 to 6.00 (black pictures there): "), "{text}");
    ensure!(std::fs::read_dir(out.join("noise"))?.count() > 0, "nothing of what was saved was fetched");
    Ok(())
}

struct Judge<'a> {
    fanreel: &'a Fanreel,
    dir: &'a Path,
    /// Of the undamaged film.
    times: Vec<f64>,
    own: Vec<Vec<u8>>,
}

/// A stretch that the receipt names, seconds.
struct Lost {
    track: String,
    from: f64,
    to: f64,
}

impl Judge<'_> {
    /// A job that ended so is what it says.
    async fn held(&self, job: &str, end: &str, status: &Value) -> Result<()> {
        let receipt: Value = serde_json::from_slice(&self.fanreel.read(&format!("jobs/{job}/manifests/receipt.json")).await?)?;
        let lost = lost(&receipt)?;
        ensure!(lost.is_empty() == (end == "COMPLETED"), "{end}, and the receipt names {}", receipt["lost"]);
        ensure!(
            end == "COMPLETED" || (status["progress"]["percent"] != 100 && status["state"] == "partial") || self.all(&lost),
            "{status}"
        );
        let [rendition] = receipt["renditions"].as_array().context("renditions")?.as_slice() else { bail!("one rendition is made") };
        let mp4 = self.dir.join("judged.mp4");
        std::fs::write(&mp4, self.fanreel.read(rendition["mp4"]["key"].as_str().context("key")?).await?)?;
        self.pictures(&mp4, &receipt, &lost)?;
        for stretch in lost.iter().filter(|stretch| stretch.track == "audio" && stretch.to.is_finite()) {
            let (from, to) = (stretch.from + 0.05, stretch.to - 0.05);
            ensure!(loudest(&mp4, from, to)? < -60.0, "there is sound in seconds {from} to {to}");
            ensure!(loudest(&mp4, to + 0.2, to + 0.7)? > -40.0, "there is none behind them");
        }
        Ok(())
    }

    /// Nothing of the picture is lost.
    fn all(&self, lost: &[Lost]) -> bool {
        !self.times.is_empty() && lost.iter().all(|stretch| stretch.track != "picture" || stretch.to.is_infinite())
    }

    /// Every frame is at its own time, and the good film's, but for those that are named: they are black.
    fn pictures(&self, mp4: &Path, receipt: &Value, lost: &[Lost]) -> Result<()> {
        let (times, pictures) = (look::frame_times(mp4, "v:0")?, look::thumbnails(mp4)?);
        ensure!(
            receipt["frames"] == times.len() && times.len() == pictures.len(),
            "{} frames, {} are told",
            times.len(),
            receipt["frames"]
        );
        let ends = lost.iter().find(|stretch| stretch.track == "picture" && stretch.to.is_infinite());
        ensure!(ends.is_some() || times.len() == self.times.len(), "{} frames, and the end is not lost", times.len());
        let until = ends.map_or(f64::INFINITY, |end| end.from - 0.05);
        let before = |times: &[f64]| times.iter().filter(|time| **time - times[0] < until).count();
        ensure!(before(&times) == before(&self.times), "frames are missing before the end that is told: {until}");
        ensure!(ends.is_none() || times.len() - before(&times) <= 2, "{} frames behind it", times.len() - before(&times));
        let mut black = 0;
        for (time, picture) in times.iter().zip(&pictures) {
            let own = self.times.iter().position(|own| (time - (own - self.times[0])).abs() < 0.002);
            let own = own.with_context(|| format!("no frame of the film is at {time}"))?;
            // Half a frame of room: stretches are rounded to milliseconds.
            let is_lost = lost.iter().any(|s| s.track == "picture" && s.to.is_finite() && s.from - 0.05 <= *time && *time < s.to - 0.05);
            black += usize::from(is_lost);
            let off = if is_lost {
                f64::from(*picture.iter().max().context("an empty picture")?)
            } else {
                look::difference(&self.own[own], picture)
            };
            ensure!(off < if is_lost { 20.0 } else { 12.0 }, "frame {own}, lost: {is_lost}, is off by {off:.1}");
        }
        let told: u64 = receipt["lost"].as_array().into_iter().flatten().filter_map(|loss| loss["frames"].as_u64()).sum();
        ensure!(told == black as u64, "{black} frames are black, {told} are told");
        Ok(())
    }
}

fn lost(receipt: &Value) -> Result<Vec<Lost>> {
    let list = receipt["lost"].as_array().cloned().unwrap_or_default();
    let stretch = |loss: &Value| {
        let reason = loss["reason"].as_str().unwrap_or_default();
        ensure!(!reason.is_empty(), "a stretch without a reason: {loss}");
        let (track, from) = (loss["track"].as_str().context("track")?.to_owned(), loss["from"].as_f64().context("from")?);
        Ok(Lost { track, from, to: loss["to"].as_f64().unwrap_or(f64::INFINITY) })
    };
    list.iter().map(stretch).collect()
}

/// dB of the loudest sample in a stretch of the sound.
fn loudest(file: &Path, from: f64, to: f64) -> Result<f64> {
    let (file, filter) = (file.to_string_lossy(), format!("atrim={from}:{to},volumedetect"));
    let output =
        Command::new(tool("ffmpeg")).args(["-nostdin", "-i", &file, "-map", "0:a:0", "-af", &filter, "-f", "null", "-"]).output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let (_, rest) = text.split_once("max_volume: ").with_context(|| text.clone())?;
    Ok(rest.split(' ').next().unwrap_or_default().parse()?)
}
