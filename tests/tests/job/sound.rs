//! Jobs judged by ear: sound without a picture, and what a profile asks of sound.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::primitives::ByteStream;
use serde_json::Value;
use tests::{
    clips, look,
    players::{self, Case, Film},
    run::Fanreel,
};

use crate::{LONG, players::all_play};

const RATE: f64 = 48_000.0;
/// Chirps at 1, 3, 5 … seconds: each is known to the sample by its shape.
const CHIRPS: &str = "aevalsrc='if(lt(mod(t+1,2),0.08),0.7*sin(2*PI*(400+9000*mod(t+1,2))*mod(t+1,2)),0)'";

/// Kinds of files: name, samples a second, how they are coded.
const KINDS: [(&str, &str, &[&str]); 12] = [
    ("a.mp3", "44100", &["-c:a", "libmp3lame", "-b:a", "128k"]),
    ("a.wav", "44100", &["-c:a", "pcm_s24le"]),
    ("a.aiff", "48000", &[]),
    ("a.flac", "96000", &["-c:a", "flac"]),
    ("a.ogg", "44100", &["-c:a", "libvorbis"]),
    ("a.opus", "48000", &["-c:a", "libopus"]),
    ("a.m4a", "44100", &["-c:a", "aac", "-b:a", "128k"]),
    ("a.aac", "48000", &["-c:a", "aac", "-b:a", "128k"]),
    ("a.ac3", "48000", &["-c:a", "ac3"]),
    ("a.eac3", "48000", &["-c:a", "eac3"]),
    ("a.mka", "44100", &["-c:a", "flac"]),
    ("a.ts", "48000", &["-c:a", "aac", "-b:a", "128k"]),
];

pub fn made(dir: &Path, name: &str, inputs: &[&str], coding: &[&str]) -> Result<PathBuf> {
    let path = dir.join(name);
    clips::ffmpeg(&[inputs, coding, &[path.to_string_lossy().as_ref()]].concat())?;
    Ok(path)
}

/// Sound whose rate or speakers change, as where an advertisement is put in: of each half how it is coded.
const CHANGING: [(&str, [&[&str]; 2]); 3] = [
    ("changing.ac3", [&["-ac", "2", "-c:a", "ac3", "-b:a", "192k"], &["-ac", "6", "-c:a", "ac3", "-b:a", "448k"]]),
    ("changing.mp3", [&["-ac", "2", "-ar", "44100", "-c:a", "libmp3lame"], &["-ac", "1", "-ar", "48000", "-c:a", "libmp3lame"]]),
    ("changing.aac", [&["-ac", "1", "-c:a", "aac"], &["-ac", "2", "-c:a", "aac"]]),
];

fn changing(dir: &Path, (name, halves): &(&'static str, [&[&str]; 2])) -> Result<(&'static str, PathBuf)> {
    let sound = format!("{CHIRPS}:s=48000:d=4");
    let (path, mut whole) = (dir.join(name), Vec::new());
    for coding in halves {
        let tidy = ["-write_xing", "0", "-id3v2_version", "0"];
        let coding = [*coding, if name.ends_with("mp3") { &tidy } else { &[] }].concat();
        whole.extend(std::fs::read(made(dir, name, &["-f", "lavfi", "-i", &sound], &coding)?)?);
    }
    std::fs::write(&path, whole)?;
    Ok((name, path))
}

/// A file of each kind; the MP3 has a cover.
fn kinds(dir: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
    let cover =
        made(dir, "cover.png", &["-f", "lavfi", "-i", "testsrc2=size=300x300"], &["-frames:v", "1"])?.to_string_lossy().into_owned();
    let make = |(name, rate, coding): &(&'static str, &str, &[&str])| {
        let sound = format!("{CHIRPS}:s={rate}:d=9");
        let picture = ["-i", &cover, "-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic"];
        let inputs = [&["-f", "lavfi", "-i", &sound][..], if *name == "a.mp3" { &picture } else { &[] }].concat();
        Ok((*name, made(dir, name, &inputs, coding)?))
    };
    KINDS.iter().map(make).chain(CHANGING.iter().map(|kind| changing(dir, kind))).collect()
}

pub async fn receipt(fanreel: &Fanreel, job: &str) -> Result<Value> {
    Ok(serde_json::from_slice(&fanreel.read(&format!("jobs/{job}/manifests/receipt.json")).await?)?)
}

pub async fn fetched(fanreel: &Fanreel, key: &Value, to: PathBuf) -> Result<PathBuf> {
    std::fs::write(&to, fanreel.read(key.as_str().context("no key")?).await?)?;
    Ok(to)
}

pub async fn text(fanreel: &Fanreel, key: &str) -> Result<String> {
    Ok(String::from_utf8(fanreel.read(key).await?)?)
}

#[expect(clippy::cast_precision_loss, reason = "sample counts of a short clip")]
fn seconds(samples: &[f32]) -> f64 {
    samples.len() as f64 / RATE
}

/// Every chirp of the source is in the file at its place from the beginning, and the file is as long.
fn same_sound(source: &Path, file: &Path) -> Result<String> {
    let ((start, sound), (made_start, made_sound)) = (look::sound(source)?, look::sound(file)?);
    let (chirps, made_chirps) = (look::chirps(start, &sound), look::chirps(made_start, &made_sound));
    ensure!(chirps.len() >= 4 && chirps.len() == made_chirps.len(), "{} and {} chirps", chirps.len(), made_chirps.len());
    let off = chirps.iter().zip(&made_chirps).map(|(chirp, made)| (made - (chirp - start)) * RATE);
    let worst = off.fold(0.0, |worst: f64, off| if off.abs() > worst.abs() { off } else { worst });
    ensure!(worst.abs() <= 2.0, "a chirp is {worst:.0} samples off");
    let longer = (made_start + seconds(&made_sound) - seconds(&sound)) * RATE;
    ensure!((-1024.0..=1024.0).contains(&longer), "the file is {longer:.0} samples longer");
    Ok(format!("{} chirps within {worst:.0} samples, {longer:+.0} samples at the end", chirps.len()))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_sound_alone_is_a_whole_job() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let sources = kinds(dir.path())?;
    let fanreel = Fanreel::start(&dir.path().join("data"), &[]).await?;
    for (name, source) in &sources {
        fanreel.upload(&format!("uploads/{name}"), source).await?;
    }
    let mut film = None;
    for (name, source) in &sources {
        let job = fanreel.job_of(&format!("uploads/{name}")).await?;
        let status = fanreel.wait(&job, &["COMPLETED"], LONG).await?;
        ensure!(status["detail"] == "verified: the sound, whole" && status["progress"]["percent"] == 100, "{status}");
        let receipt = receipt(&fanreel, &job).await?;
        ensure!(receipt["frames"] == 0 && receipt["renditions"].as_array().is_some_and(Vec::is_empty), "{receipt}");
        let m4a = fetched(&fanreel, &receipt["audio"][0]["m4a"]["key"], dir.path().join(format!("{name}.m4a"))).await?;
        let verdict = same_sound(source, &m4a).context(*name)?;
        let joined = dir.path().join("joined.mp4");
        let segments = fanreel.joined(&job, "audio", &joined).await?;
        same_sound(source, &joined).with_context(|| format!("{name}: segments"))?;
        let told = receipt["seconds"].as_f64().context("seconds")?;
        ensure!((told - look::duration(&m4a)?).abs() < 0.06, "{name}: {told} s, the file tells {}", look::duration(&m4a)?);
        ensure!(look::streams(&m4a)? == ["audio"], "{name}: {:?}", look::streams(&m4a)?);
        let master = text(&fanreel, &format!("streams/{job}/master.m3u8")).await?;
        ensure!(master.contains(",CODECS=\"mp4a.40.2\",AUDIO=\"audio\"\naudio/media.m3u8"), "{master}");
        println!("{name:<12} {verdict}, {} segments, {told:.3} s", segments.len());
        if *name == "a.mp3" {
            ensure!(receipt["left_out"].to_string().contains("cover picture png"), "{}", receipt["left_out"]);
            film = Some(Film::of_sound(&fanreel, &job).await?);
        }
    }
    fanreel.stop()?;
    let film = film.context("no MP3")?;
    println!("{}", all_play(&Case::of_sound(&film, &crate::players::ALL), dir.path()).await?);
    broken(&film, dir.path()).await
}

/// Pictures of 1.8 MB, two a second: more than is read along between two pieces of sound.
const GREAT: &str = "nullsrc=s=720x540:r=2,format=yuv444p,geq=random(1)*255:random(2)*255:random(3)*255";

/// The tasks of sound and text fetch what is theirs, and not the pictures between.
#[tokio::test(flavor = "multi_thread")]
async fn sound_and_text_are_fetched_without_the_picture() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (sound, srt) = (format!("{CHIRPS}:s=48000:d=9"), dir.path().join("text.srt").to_string_lossy().into_owned());
    std::fs::write(&srt, "1\n00:00:00,500 --> 00:00:02,000\none\n\n2\n00:00:06,100 --> 00:00:08,000\ntwo\n")?;
    let inputs = ["-f", "lavfi", "-i", GREAT, "-f", "lavfi", "-i", &sound, "-i", &srt, "-t", "9", "-map", "0", "-map", "1", "-map", "2"];
    let coding = ["-c:v", "libx264", "-preset", "ultrafast", "-qp", "0", "-g", "2", "-c:a", "aac", "-b:a", "128k", "-c:s", "mov_text"];
    let fanreel = Fanreel::start(&dir.path().join("data"), &[]).await?;
    let films = [made(dir.path(), "great.mp4", &inputs, &coding)?, dir.path().join("great.mkv")];
    let [mp4, mkv] = films.each_ref().map(|path| path.to_string_lossy().into_owned());
    clips::ffmpeg(&["-i", &mp4, "-map", "0", "-c:v", "copy", "-c:a", "flac", "-c:s", "srt", &mkv])?;
    for film in &films {
        let key = format!("uploads/{}", film.file_name().context("name")?.to_string_lossy());
        fanreel.upload(&key, film).await?;
        let job = fanreel.job_of(&key).await?;
        fanreel.wait(&job, &["COMPLETED"], LONG).await?;
        let (events, size) = (fanreel.events(&job)?, std::fs::metadata(film)?.len());
        for task in ["a00", "text"] {
            let pulled = events.iter().find(|event| event["kind"] == "VideoFilePulled" && event["task"] == task);
            let told = pulled.and_then(|event| event["detail"].as_str()).with_context(|| format!("{events:#?}"))?;
            let read: u64 = told.split(' ').next().context("bytes")?.parse()?;
            ensure!(read < size / 4, "{key}, {task}: {told}");
            println!("{key}, {task}: {told}");
        }
        let joined = dir.path().join("joined.mp4");
        fanreel.joined(&job, "audio", &joined).await?;
        println!("{key}: {}", same_sound(film, &joined)?);
        let playlist = text(&fanreel, &format!("streams/{job}/text/media.m3u8")).await?;
        let file = playlist.lines().find(|line| !line.is_empty() && !line.starts_with('#')).context("no text")?;
        let shown = text(&fanreel, &format!("streams/{job}/text/{file}")).await?;
        let cues = "\n00:00:00.500 --> 00:00:02.000\none\n\n00:00:06.100 --> 00:00:08.000\ntwo\n";
        ensure!(shown.ends_with(cues), "{key}: {shown}");
    }
    fanreel.stop()
}

/// A player that misses a segment is found out.
async fn broken(film: &Film, home: &Path) -> Result<()> {
    let mut copy = film.clone();
    copy.files.remove(&film.segment("audio", 1)?);
    let mut cases = Case::of_sound(&copy, &[crate::players::HLS, crate::players::DASH]);
    for case in &mut cases {
        case.patience = 4.0;
    }
    for (case, report) in cases.iter().zip(players::play(&cases, home).await?) {
        ensure!(case.verdict(&report).is_err(), "{}: a missing segment was not noticed", case.player);
    }
    Ok(())
}

/// Half of a file is not the whole of it, wherever the file says how long it is.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_sound_is_refused_by_name() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let sources = kinds(dir.path())?;
    let fanreel = Fanreel::start(&dir.path().join("data"), &[]).await?;
    let cut = ["a.mp3", "a.wav", "a.aiff", "a.flac", "a.ogg", "a.opus", "a.m4a", "a.mka"];
    let halves = || sources.iter().filter(|(name, _)| cut.contains(name));
    for (name, source) in halves() {
        let bytes = std::fs::read(source)?;
        let half = dir.path().join("half");
        std::fs::write(&half, &bytes[..bytes.len() / 2])?;
        fanreel.upload(&format!("uploads/{name}"), &half).await?;
    }
    for (name, _) in halves() {
        let job = fanreel.job_of(&format!("uploads/{name}")).await?;
        let status = fanreel.wait(&job, &["FAILED"], LONG).await?;
        let detail = status["detail"].as_str().unwrap_or_default();
        ensure!(["is truncated", "no index", "not complete"].iter().any(|words| detail.contains(words)), "{name}: {detail}");
        println!("{name:<7} {detail}");
    }
    fanreel.stop()
}

/// Languages are told in the words of RFC 5646 to players, and in those of ISO 639-2 in files; one track is the default.
#[tokio::test(flavor = "multi_thread")]
async fn tracks_of_sound_alone_say_their_languages() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let sound = format!("{CHIRPS}:s=48000:d=5");
    let two = ["-f", "lavfi", "-i", &sound, "-f", "lavfi", "-i", "sine=duration=4", "-map", "0", "-map", "1"];
    let told =
        ["-metadata:s:a:0", "language=ger", "-metadata:s:a:1", "language=eng", "-disposition:a:0", "0", "-disposition:a:1", "default"];
    let source = made(dir.path(), "two.mka", &two, &[&told[..], &["-c:a", "flac"]].concat())?;
    let fanreel = Fanreel::start(&dir.path().join("data"), &[]).await?;
    fanreel.upload("uploads/two.mka", &source).await?;
    let job = fanreel.job_of("uploads/two.mka").await?;
    let status = fanreel.wait(&job, &["COMPLETED"], LONG).await?;
    ensure!(status["detail"] == "verified: 2 tracks of sound, each whole", "{status}");
    let master = text(&fanreel, &format!("streams/{job}/master.m3u8")).await?;
    ensure!(master.contains("LANGUAGE=\"de\",DEFAULT=NO,AUTOSELECT=YES") && master.contains("LANGUAGE=\"en\",DEFAULT=YES"), "{master}");
    ensure!(master.ends_with("AUDIO=\"audio\"\naudio-2/media.m3u8\n"), "{master}");
    let manifest = text(&fanreel, &format!("streams/{job}/manifest.mpd")).await?;
    ensure!(manifest.contains(" lang=\"de\"") && manifest.contains(" lang=\"en\""), "{manifest}");
    let receipt = receipt(&fanreel, &job).await?;
    for (track, language) in [(0, "deu"), (1, "eng")] {
        let m4a = fetched(&fanreel, &receipt["audio"][track]["m4a"]["key"], dir.path().join("one.m4a")).await?;
        ensure!(look::language(&m4a)? == language, "{}", look::language(&m4a)?);
    }
    fanreel.stop()
}

/// A profile of one's own, and what it is for.
const PROFILES: &str = "
[ebu]
loudness = -23
outputs = ['hls', 'audio']
[surround]
channels = 'keep'
outputs = ['hls', 'dash', 'mp4', 'audio']
ladder = [{ short_side = 90, maxrate = 200_000, bufsize = 300_000 }]
";

/// A platform whose uploads are made by one of [`PROFILES`].
async fn started(dir: &Path, profile: &str) -> Result<Fanreel> {
    let fanreel = Fanreel::start(&dir.join(profile), &[&format!("Profile={profile}")]).await?;
    let file = dir.join("profiles.toml");
    std::fs::write(&file, PROFILES)?;
    fanreel.upload("config/profiles.toml", &file).await?;
    Ok(fanreel)
}

/// Quiet, loud, so peaky that its peaks allow less, silent: each with chirps, so that its place is known as well.
const LEVELS: [(&str, &str); 4] = [
    ("quiet.flac", "anoisesrc=c=pink:a=0.1:d=15:r=48000:seed=3,tremolo=f=0.3:d=0.8"),
    ("loud.flac", "anoisesrc=c=pink:a=0.9:d=15:r=44100:seed=4,volume=6dB"),
    ("peaky.flac", "aevalsrc='if(lt(mod(t,2),0.002),0.9,0.004)*sin(2*PI*700*t)':s=48000:d=15"),
    ("silent.flac", "anullsrc=r=48000:cl=stereo,atrim=duration=15"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_brings_sound_to_its_level_by_one_gain() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let fanreel = started(dir.path(), "ebu").await?;
    let film = dir.path().join("film.mp4").to_string_lossy().into_owned();
    let picture = ["-f", "lavfi", "-i", "testsrc2=size=160x90:rate=10:duration=15", "-f", "lavfi", "-i", LEVELS[0].1];
    clips::ffmpeg(&[&picture[..], &["-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", &film]].concat())?;
    let mut sources = vec![("film.mp4", PathBuf::from(film))];
    for (name, sound) in LEVELS {
        sources.push((name, made(dir.path(), name, &["-f", "lavfi", "-i", sound], &[])?));
    }
    for (name, source) in &sources {
        fanreel.upload(&format!("uploads/{name}"), source).await?;
    }
    for (name, source) in &sources {
        let job = fanreel.job_of(&format!("uploads/{name}")).await?;
        fanreel.wait(&job, &["COMPLETED"], LONG).await?;
        let receipt = receipt(&fanreel, &job).await?;
        let told = &receipt["audio"][0]["loudness"];
        let m4a = fetched(&fanreel, &receipt["audio"][0]["m4a"]["key"], dir.path().join("made.m4a")).await?;
        let (level, peak) = look::loudness(&m4a)?;
        let number = |what: &str| told[what].as_f64().with_context(|| format!("{name}: {what}"));
        ensure!((number("lufs")? - level).abs() < 0.11, "{name}: {level} LUFS are measured, told is {told}");
        ensure!(told["reached"] == ((level + 23.0).abs() <= 0.5), "{name}: {level} LUFS, {told}");
        match *name {
            "peaky.flac" => ensure!(told["reached"] == false && (-2.0..=0.0).contains(&peak) && number("gain_db")? > 0.0, "{told}"),
            "silent.flac" => ensure!(told["reached"] == false && number("gain_db")?.abs() < 1e-9, "{told}"),
            _ => ensure!(told["reached"] == true, "{name}: {told}"),
        }
        // One gain: the same at the beginning, in the middle and at the end.
        if *name != "silent.flac" {
            let (before, after) = (look::sound(source)?.1, look::sound(&m4a)?.1);
            ensure!(after.len().abs_diff(before.len()) <= 1024, "{name}: {} samples became {}", before.len(), after.len());
            for second in [1, 6, 11] {
                let part = |sound: &[f32]| look::decibels(&sound[second * 48_000..(second + 3) * 48_000]);
                let gain = part(&after) - part(&before);
                ensure!((gain - number("gain_db")?).abs() < 0.7, "{name}: {gain:.2} dB at {second} s, {told}");
            }
        }
        println!("{name:<11} {level:>6.1} LUFS, peak {peak:>6.1} dBTP, gain {:>6.2} dB, reached {}", number("gain_db")?, told["reached"]);
    }
    fanreel.stop()
}

/// Tones that stand for speakers, Hz: front left and right, centre, low frequencies, back left and right.
const TONES: [f64; 6] = [300.0, 400.0, 500.0, 60.0, 700.0, 800.0];

/// Each speaker's tone is in its channel, and in no other.
fn every_speaker(file: &Path) -> Result<()> {
    let channels = look::channels(file, 6)?;
    for (speaker, samples) in channels.iter().enumerate() {
        for (other, tone) in TONES.iter().enumerate() {
            let level = look::tone(&samples[48_000..96_000], *tone);
            let wanted = if other == speaker { -14.0..-9.0 } else { -200.0..-40.0 };
            ensure!(wanted.contains(&level), "speaker {speaker} has {tone} Hz at {level:.1} dB");
        }
    }
    Ok(())
}

/// Tones of the two speakers that 7.1 has at the sides.
const SIDES: [f64; 2] = [900.0, 1000.0];

/// Which of all tones are in each channel: louder than a thirtieth of its loudest.
fn tones_of(file: &Path, channels: usize) -> Result<Vec<Vec<f64>>> {
    let tones: Vec<f64> = TONES.into_iter().chain(SIDES).collect();
    let heard = |samples: Vec<f32>| {
        let levels: Vec<f64> = tones.iter().map(|tone| look::tone(&samples[48_000..96_000], *tone)).collect();
        let loudest = levels.iter().copied().fold(-60.0, f64::max);
        tones.iter().zip(levels).filter(|(_, level)| *level > loudest - 30.0).map(|(tone, _)| *tone).collect()
    };
    Ok(look::channels(file, channels)?.into_iter().map(heard).collect())
}

/// 7.1 has no place in an AAC that every player takes: its sides go to the back of 5.1, and each side to its own of two.
async fn seven_channels_are_mixed_down(fanreel: &Fanreel, dir: &Path, source: &Path) -> Result<()> {
    let six = fanreel.job_of("uploads/seven.flac").await?;
    let body = ByteStream::from_path(source).await?;
    fanreel.s3.put_object().bucket(fanreel.bucket()).key("uploads/two.flac").metadata("fanreel-profile", "ebu").body(body).send().await?;
    let two = fanreel.job_of("uploads/two.flac").await?;
    let [left, right] = [[300.0, 500.0, 700.0, 900.0], [400.0, 500.0, 800.0, 1000.0]];
    let wanted = [
        (six, vec![vec![300.0], vec![400.0], vec![500.0], vec![60.0], vec![700.0, 900.0], vec![800.0, 1000.0]]),
        (two, vec![left.to_vec(), right.to_vec()]),
    ];
    for (job, wanted) in wanted {
        fanreel.wait(&job, &["COMPLETED"], LONG).await?;
        let receipt = receipt(fanreel, &job).await?;
        let made = fetched(fanreel, &receipt["audio"][0]["m4a"]["key"], dir.join("seven.m4a")).await?;
        let heard = tones_of(&made, wanted.len())?;
        ensure!(receipt["audio"][0]["channels"] == wanted.len() && heard == wanted, "7.1 became {heard:?}, and not {wanted:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn surround_is_kept_where_the_profile_says_so() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let tones: Vec<String> = TONES.iter().map(|tone| format!("0.3*sin(2*PI*{tone}*t)")).collect();
    let sound = format!("aevalsrc='{}':c=5.1:s=48000:d=7", tones.join("|"));
    // Two speakers more, at the sides.
    let sides = SIDES.map(|tone| format!("0.3*sin(2*PI*{tone}*t)"));
    let all = format!("aevalsrc='{}':c=7.1:s=48000:d=7", tones.iter().chain(&sides).cloned().collect::<Vec<_>>().join("|"));
    let inputs = ["-f", "lavfi", "-i", "testsrc2=size=160x90:rate=10:duration=7", "-f", "lavfi", "-i", &sound];
    let picture = ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast"];
    let sources = [
        ("film.mkv", made(dir.path(), "film.mkv", &inputs, &[&picture[..], &["-c:a", "ac3", "-b:a", "640k"]].concat())?),
        ("film.mp4", made(dir.path(), "film.mp4", &inputs, &[&picture[..], &["-c:a", "aac", "-b:a", "400k"]].concat())?),
        ("a.opus", made(dir.path(), "a.opus", &inputs[4..], &["-c:a", "libopus", "-b:a", "400k"])?),
        ("a.wav", made(dir.path(), "a.wav", &inputs[4..], &[])?),
        ("mono.wav", made(dir.path(), "mono.wav", &["-f", "lavfi", "-i", "sine=duration=3"], &[])?),
    ];
    let seven = made(dir.path(), "seven.flac", &["-f", "lavfi", "-i", &all], &[])?;
    let fanreel = started(dir.path(), "surround").await?;
    fanreel.upload("uploads/seven.flac", &seven).await?;
    for (name, source) in &sources {
        fanreel.upload(&format!("uploads/{name}"), source).await?;
    }
    for (name, _) in &sources {
        let job = fanreel.job_of(&format!("uploads/{name}")).await?;
        fanreel.wait(&job, &["COMPLETED"], LONG).await?;
        let receipt = receipt(&fanreel, &job).await?;
        let wanted = if *name == "mono.wav" { 1 } else { 6 };
        ensure!(receipt["audio"][0]["channels"] == wanted, "{name}: {}", receipt["audio"][0]);
        let master = text(&fanreel, &format!("streams/{job}/master.m3u8")).await?;
        ensure!(master.contains(&format!("CHANNELS=\"{wanted}\"")), "{master}");
        let manifest = text(&fanreel, &format!("streams/{job}/manifest.mpd")).await?;
        ensure!(manifest.contains(&format!("ChannelConfiguration\" value=\"{wanted}\"")), "{manifest}");
        if wanted == 1 {
            continue;
        }
        let m4a = fetched(&fanreel, &receipt["audio"][0]["m4a"]["key"], dir.path().join("made.m4a")).await?;
        every_speaker(&m4a).context(*name)?;
        let joined = dir.path().join("joined.mp4");
        fanreel.joined(&job, "audio", &joined).await?;
        every_speaker(&joined).with_context(|| format!("{name}: segments"))?;
        if let Some(mp4) = receipt["renditions"][0]["mp4"]["key"].as_str() {
            every_speaker(&fetched(&fanreel, &mp4.into(), dir.path().join("made.mp4")).await?).with_context(|| format!("{name}: MP4"))?;
        }
        println!("{name:<9} six tones in six speakers");
    }
    seven_channels_are_mixed_down(&fanreel, dir.path(), &seven).await?;
    fanreel.stop()
}

/// A player that takes the shortest track for the whole would not show the rest of a picture.
#[tokio::test(flavor = "multi_thread")]
async fn sound_that_ends_long_before_the_picture_is_followed_by_silence() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let sound = format!("{CHIRPS}:s=48000:d=4");
    let inputs = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=20", "-f", "lavfi", "-i", &sound];
    let coding = ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-c:a", "aac"];
    let source = made(dir.path(), "short.mp4", &inputs, &coding)?;
    let fanreel = Fanreel::start(&dir.path().join("data"), &[]).await?;
    fanreel.upload("uploads/short.mp4", &source).await?;
    let job = fanreel.job_of("uploads/short.mp4").await?;
    fanreel.wait(&job, &["COMPLETED"], LONG).await?;
    let receipt = receipt(&fanreel, &job).await?;
    let silence = receipt["audio"][0]["silence_seconds"].as_f64().context("silence")?;
    ensure!((silence - 16.0).abs() < 0.03, "{silence} s of silence are told");
    let joined = dir.path().join("joined.mp4");
    fanreel.joined(&job, "audio", &joined).await?;
    let (start, made_sound) = look::sound(&joined)?;
    ensure!((start + seconds(&made_sound) - 20.0).abs() <= 1024.0 / RATE, "the sound is {} s long", seconds(&made_sound));
    let chirps = look::chirps(start, &made_sound);
    ensure!(chirps.len() == 2 && chirps.iter().zip([1.0, 3.0]).all(|(at, wanted)| (at - wanted).abs() < 0.001), "{chirps:?}");
    ensure!(made_sound[5 * 48_000..].iter().all(|sample| sample.abs() < 0.001), "what stands behind the sound is no silence");
    let film = Film::of(&fanreel, &job, &source).await?;
    fanreel.stop()?;
    println!("{}", all_play(&Case::each(&film, &crate::players::ALL), dir.path()).await?);
    Ok(())
}

/// ffmpeg decodes past damage and ends well; silence would stand where something was.
#[tokio::test(flavor = "multi_thread")]
async fn sound_that_is_damaged_in_the_middle_is_refused_by_its_place() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let fanreel = Fanreel::start(&dir.path().join("data"), &[]).await?;
    let kinds = [
        ("a.flac", "-c:a flac"),
        ("a.mp3", "-c:a libmp3lame"),
        ("a.m4a", "-c:a aac"),
        ("a.opus", "-c:a libopus"),
        ("a.ogg", "-c:a libvorbis"),
    ];
    for (name, coding) in kinds {
        let noise = ["-f", "lavfi", "-i", "anoisesrc=c=pink:a=0.3:d=10:r=48000:seed=7"];
        let source = made(dir.path(), name, &noise, &coding.split(' ').collect::<Vec<_>>())?;
        let mut bytes = std::fs::read(&source)?;
        // Some bytes in each of twenty places around the middle.
        let (middle, step) = (bytes.len() / 2, bytes.len() / 400);
        for place in 0..20 {
            bytes[middle + place * step..][..4].copy_from_slice(&[0x5A, 0xA5, 0x00, 0xFF]);
        }
        let damaged = dir.path().join("damaged");
        std::fs::write(&damaged, bytes)?;
        fanreel.upload(&format!("uploads/{name}"), &damaged).await?;
    }
    for (name, _) in kinds {
        let job = fanreel.job_of(&format!("uploads/{name}")).await?;
        let status = fanreel.wait(&job, &["FAILED"], LONG).await?;
        let detail = status["detail"].as_str().unwrap_or_default();
        println!("{name:<7} {detail}");
        let (_, told) = detail.split_once("seconds ").with_context(|| format!("{name}: {detail}"))?;
        let from: f64 = told.split(' ').next().unwrap_or_default().parse().with_context(|| format!("{name}: {detail}"))?;
        ensure!(detail.contains("damaged") && (3.5..6.5).contains(&from), "{name}: {detail}");
    }
    fanreel.stop()
}
