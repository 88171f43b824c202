//! The main job through real functions and real ffmpeg on the platform, judged frame by frame.

#[path = "job/benched.rs"]
mod benched;
#[path = "job/built.rs"]
mod built;
#[path = "job/corpus.rs"]
mod corpus;
#[path = "job/damage.rs"]
mod damage;
#[path = "job/deployed.rs"]
mod deployed;
#[path = "job/doors.rs"]
mod doors;
#[path = "job/expense.rs"]
mod expense;
#[path = "job/grouped.rs"]
mod grouped;
#[path = "job/killed.rs"]
mod killed;
#[path = "job/languages.rs"]
mod languages;
#[path = "job/meddling.rs"]
mod meddling;
#[path = "job/metrics.rs"]
mod metrics;
#[path = "job/partial.rs"]
mod partial;
#[path = "job/permissions.rs"]
mod permissions;
#[path = "job/players.rs"]
mod players;
#[path = "job/profiles.rs"]
mod profiles;
#[path = "job/queries.rs"]
mod queries;
#[path = "job/seeded.rs"]
mod seeded;
#[path = "job/sound.rs"]
mod sound;
#[path = "job/stills.rs"]
mod stills;
#[path = "job/text.rs"]
mod text;
#[path = "job/traces.rs"]
mod traces;
#[path = "job/uploads.rs"]
mod uploads;
#[path = "job/watched.rs"]
mod watched;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    clips::{self, Clip},
    look, monitoring,
    players::{Case, Film},
    python::{good, python},
    run::{self, Fanreel},
};

const LONG: Duration = Duration::from_secs(600);

/// Every rendition against the source: frames, times, pictures, keyframes (bar 2).
pub async fn judge(fanreel: &Fanreel, clip: &Clip, job: &str, dir: &Path) -> Result<String> {
    let receipt: Value = serde_json::from_slice(&fanreel.read(&format!("jobs/{job}/manifests/receipt.json")).await?)?;
    let source_times = look::frame_times(&clip.path, "v:0")?;
    let source_pictures = look::thumbnails(&clip.path)?;
    let first_sound = look::frame_times(&clip.path, "a:0").ok().and_then(|t| t.first().copied());
    let origin = first_sound.map_or(source_times[0], |sound| sound.min(source_times[0]));
    let tick = look::tick(&clip.path)?;
    let mut keyframes: Option<Vec<i64>> = None;
    let renditions = receipt["renditions"].as_array().context("renditions")?;
    ensure!(!renditions.is_empty(), "no renditions");
    for rendition in renditions {
        let name = rendition["name"].as_str().context("name")?;
        let mp4 = dir.join(format!("{}.{name}.mp4", clip.name));
        std::fs::write(&mp4, fanreel.read(rendition["mp4"]["key"].as_str().context("key")?).await?)?;
        let times = look::picture_times(&mp4, rendition["codec"].as_str().context("codec")?)?;
        ensure!(times.len() == source_times.len(), "{name}: {} frames, the source shows {}", times.len(), source_times.len());
        for (index, (made, source)) in times.iter().zip(&source_times).enumerate() {
            let off = (made - (source - origin)).abs();
            ensure!(off <= tick * 1.01 + 1e-6, "{name}: frame {index} is at {made}, the source's at {}", source - origin);
        }
        look::same_pictures(&source_pictures, &look::thumbnails(&mp4)?).with_context(|| name.to_owned())?;

        let joined = dir.join(format!("{}.{name}.cmaf.mp4", clip.name));
        let segments = fanreel.joined(job, name, &joined).await?;
        let (all, keys) = look::packet_times(&joined)?;
        ensure!(all.len() == source_times.len(), "{name}: {} frames in HLS", all.len());
        ensure!(
            keys.first() == all.first() && keys.len() >= segments.len(),
            "{name}: {} keyframes for {} segments",
            keys.len(),
            segments.len()
        );
        let relative: Vec<i64> = keys.iter().map(|k| k - all[0]).collect();
        match &keyframes {
            None => keyframes = Some(relative),
            Some(others) => ensure!(*others == relative, "{name}: keyframes are elsewhere than in the first rendition"),
        }
        starts_with_keyframes(fanreel, job, name, &segments, dir).await?;
    }
    Ok(format!("{} frames × {} renditions", source_times.len(), renditions.len()))
}

/// Each segment alone, behind the init, begins with a keyframe.
async fn starts_with_keyframes(fanreel: &Fanreel, job: &str, rendition: &str, segments: &[String], dir: &Path) -> Result<()> {
    let init = fanreel.read(&format!("streams/{job}/{rendition}/init.mp4")).await?;
    for segment in segments {
        let file = dir.join("one-segment.mp4");
        std::fs::write(&file, [init.clone(), fanreel.read(segment).await?].concat())?;
        let (all, keys) = look::packet_times(&file)?;
        ensure!(all.first() == keys.first(), "{segment} does not begin with a keyframe");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_displayed_frame_of_every_kind_of_source() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let corpus = clips::corpus(dir.path())?;
    let fanreel = Fanreel::start(&dir.path().join("data"), &[]).await?;
    for clip in &corpus {
        fanreel.upload(&format!("uploads/{}", clip.name), &clip.path).await?;
    }
    let mut done = Vec::new();
    for clip in &corpus {
        let job = fanreel.job_of(&format!("uploads/{}", clip.name)).await?;
        fanreel.wait(&job, &["COMPLETED"], LONG).await?;
        let verdict = judge(&fanreel, clip, &job, dir.path()).await.with_context(|| clip.name)?;
        println!("{:<24} {verdict}", clip.name);
        done.push(metrics::Done { job, bytes: std::fs::metadata(&clip.path)?.len() });
    }
    fanreel.drained(Duration::from_secs(60)).await?;
    let page = run::get(&fanreel.endpoint, "/metrics")?;
    monitoring::holds(&page, &["aws_lambda_throttles_total"])?;
    metrics::are_right(&fanreel, &page, &done).await?;
    fanreel.stop()
}

/// Whether a try, a CRF and its VMAF, is the chosen one, and as good as `h264-vmaf` wants it or the best that it allows.
fn reaches(tried: &Value, chosen: &Value) -> bool {
    tried[0] == *chosen && (tried[1].as_f64().is_some_and(|score| score >= 93.0) || tried[0] == 17)
}

/// HEVC, AV1, VP9 and a target quality, each by its built-in profile.
#[tokio::test(flavor = "multi_thread")]
async fn every_codec_is_a_whole_job() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let clip = clips::small(dir.path())?;
    for (profile, codec) in [("hevc", "hvc1.1.6.L"), ("av1", "av01.0."), ("vp9", "vp09.00."), ("h264-vmaf", "avc1.6400")] {
        let fanreel = Fanreel::start(&dir.path().join(profile), &[&format!("Profile={profile}")]).await?;
        let key = format!("uploads/{profile}.mp4");
        fanreel.upload(&key, &clip.path).await?;
        let job = fanreel.job_of(&key).await?;
        fanreel.wait(&job, &["COMPLETED"], LONG).await?;
        let verdict = judge(&fanreel, &clip, &job, dir.path()).await.context(profile)?;
        let master = String::from_utf8(fanreel.read(&format!("streams/{job}/master.m3u8")).await?)?;
        ensure!(master.contains(&format!("CODECS=\"{codec}")), "{master}");
        let receipt: Value = serde_json::from_slice(&fanreel.read(&format!("jobs/{job}/manifests/receipt.json")).await?)?;
        let found = receipt["quality"].as_array().map_or(0, Vec::len);
        ensure!(found == if profile == "h264-vmaf" { 2 } else { 0 }, "{}", receipt["quality"]);
        for chunk in receipt["quality"].as_array().into_iter().flatten() {
            ensure!(chunk["curve"].as_array().is_some_and(|curve| curve.iter().any(|tried| reaches(tried, &chunk["crf"]))), "{chunk}");
        }
        println!("{profile:<10} {verdict} {}", receipt["quality"]);
        // What Chromium decodes beside H.264.
        if ["av1", "vp9"].contains(&profile) {
            let film = Film::of(&fanreel, &job, &clip.path).await?;
            let cases = Case::each(&film, &[players::HLS, players::DASH, players::MP4]);
            println!("{}", players::all_play(&cases, dir.path()).await.context(profile)?);
        }
        fanreel.stop()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_and_picture_count_from_one_origin() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let fanreel = Fanreel::start(&dir.path().join("data"), &[]).await?;
    let mut made = Vec::new();
    for offsets in &clips::OFFSETS {
        let clip = clips::flash_and_beep(dir.path(), offsets)?;
        fanreel.upload(&format!("uploads/{}", clip.name), &clip.path).await?;
        made.push(clip);
    }
    for clip in &made {
        let job = fanreel.job_of(&format!("uploads/{}", clip.name)).await?;
        fanreel.wait(&job, &["COMPLETED"], LONG).await?;
        judge(&fanreel, clip, &job, dir.path()).await.with_context(|| clip.name)?;
        let receipt: Value = serde_json::from_slice(&fanreel.read(&format!("jobs/{job}/manifests/receipt.json")).await?)?;
        let mp4 = dir.path().join(format!("out-{}", clip.name));
        std::fs::write(&mp4, fanreel.read(receipt["renditions"][0]["mp4"]["key"].as_str().context("key")?).await?)?;
        println!("{:<24} {}", clip.name, in_sync(&clip.path, &mp4)?);
    }
    fanreel.stop()
}

/// Flash and chirp stand to each other as in the source, at every place; the sound is as long.
fn in_sync(source: &Path, made: &Path) -> Result<String> {
    let ((start, sound), (made_start, made_sound)) = (look::sound(source)?, look::sound(made)?);
    let (chirps, made_chirps) = (look::chirps(start, &sound), look::chirps(made_start, &made_sound));
    let (flashes, made_flashes) = (look::flashes(source)?, look::flashes(made)?);
    ensure!(flashes.len() >= 6 && flashes.len() == made_flashes.len(), "{} and {} flashes", flashes.len(), made_flashes.len());
    ensure!(chirps.len() >= 6 && chirps.len() == made_chirps.len(), "{} and {} chirps", chirps.len(), made_chirps.len());
    let mut worst: f64 = 0.0;
    for (index, (chirp, made_chirp)) in chirps.iter().zip(&made_chirps).enumerate().take(flashes.len()) {
        let error = (made_chirp - made_flashes[index]) - (chirp - flashes[index]);
        ensure!(error.abs() <= 0.001, "sound is {:.2} ms off at {chirp:.2} s", error * 1000.0);
        worst = worst.max(error.abs());
    }
    #[expect(clippy::cast_precision_loss, reason = "sample counts of a short clip")]
    let (end, made_end) = (start + sound.len() as f64 / 48_000.0, made_start + made_sound.len() as f64 / 48_000.0);
    let times = look::frame_times(source, "v:0")?;
    let origin = times[0].min(start);
    let last_picture = 2.0 * times[times.len() - 1] - times[times.len() - 2];
    let samples = ((made_end - (end.max(last_picture) - origin)) * 48_000.0).abs();
    ensure!(samples <= 1024.0, "the sound ends {samples:.0} samples from where the source's does, or its picture");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sample counts of a short clip")]
    let behind = made_sound.iter().skip(((end - origin - made_start) * 48_000.0) as usize + 1024);
    ensure!(behind.clone().all(|sample| sample.abs() < 0.001), "what stands behind the sound is no silence");
    Ok(format!("worst sync error {:.3} ms over {} places, length within {samples:.0} samples", worst * 1000.0, chirps.len()))
}

#[tokio::test(flavor = "multi_thread")]
async fn three_deliveries_of_an_event_with_odd_keys_are_one_job_each() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let clip = dir.path().join("short.mp4");
    let out = clip.to_string_lossy();
    clips::ffmpeg(&["-f", "lavfi", "-i", "testsrc2=size=160x120:rate=10:duration=1", "-pix_fmt", "yuv420p", &out])?;
    let keys = [
        "a b.mp4",
        "a+b.mp4",
        "a&b=c?.mp4",
        "it's \"quoted\".mp4",
        "übung 映画 🎬.mp4",
        "-rf.mp4",
        "../up.mp4",
        "100%.mp4",
        "%2B.mp4",
        "a/b.mp4",
    ];
    let fanreel = Fanreel::start(&dir.path().join("data"), &[]).await?;
    let queue = fanreel.outputs.get("IngestQueueUrl").context("queue")?.clone();
    let mut events = Vec::new();
    for key in keys {
        let key = format!("uploads/{key}");
        fanreel.upload(&key, &clip).await?;
        let head = fanreel.s3.head_object().bucket(fanreel.bucket()).key(&key).send().await?;
        let size = head.content_length().unwrap_or(0);
        // As clouds write it: everything escaped but the slash, once with `+` for a space and once with `%20`.
        for space in ["+", "%20"] {
            let encoded: String = key
                .bytes()
                .map(|b| match b {
                    b' ' => space.to_owned(),
                    b if b.is_ascii_alphanumeric() || b == b'/' => char::from(b).to_string(),
                    b => format!("%{b:02X}"),
                })
                .collect();
            events.push(serde_json::json!({"Records": [{"eventName": "ObjectCreated:Put", "s3": {
                "bucket": {"name": fanreel.bucket()},
                "object": {"key": encoded, "size": size, "eTag": head.e_tag().unwrap_or("").trim_matches('"'), "sequencer": "01"}}}]}));
        }
    }
    events.reverse();
    for event in &events {
        fanreel.sqs.send_message().queue_url(&queue).message_body(event.to_string()).send().await?;
    }
    for key in keys {
        let job = fanreel.job_of(&format!("uploads/{key}")).await?;
        fanreel.wait(&job, &["COMPLETED"], LONG).await?;
    }
    fanreel.drained(Duration::from_secs(60)).await?;
    let mut jobs: Vec<String> = fanreel.jobs()?.into_iter().map(|(key, _)| key).collect();
    jobs.sort();
    let mut expected: Vec<String> = keys.iter().map(|key| format!("uploads/{key}")).collect();
    expected.sort();
    ensure!(jobs == expected, "{jobs:?}");
    ensure!(fanreel.keys("encoded/").await?.len() == keys.len(), "one MP4 each");
    fanreel.stop()
}

fn count(events: &[Value], kind: &str) -> usize {
    events.iter().filter(|e| e["kind"] == kind).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_that_aws_s3_cp_uploads_becomes_a_ladder() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let film = dir.path().join("film.mp4");
    clips::ffmpeg(&["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=24:duration=7", "-pix_fmt", "yuv420p", &film.to_string_lossy()])?;
    let fanreel = Fanreel::start(&dir.path().join("data"), &[]).await?;
    let to = format!("s3://{}/uploads/by aws + cli.mp4", fanreel.bucket());
    let mut command = python("python", dir.path())?;
    command.args(["-m", "awscli", "--endpoint-url", &fanreel.endpoint, "s3", "cp", "--no-progress"]).arg(&film).arg(to);
    good(&tokio::process::Command::from(command).output().await?, "aws s3 cp")?;
    let job = fanreel.job_of("uploads/by aws + cli.mp4").await?;
    fanreel.wait(&job, &["COMPLETED"], LONG).await?;
    fanreel.stop()
}

/// `FANREEL_CLIPS=folder cargo test -p tests --test job -- --ignored --nocapture clips_of_your_own`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "judges the clips in the folder that FANREEL_CLIPS names"]
async fn clips_of_your_own() -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "the one setting of this test")]
    let folder = std::env::var("FANREEL_CLIPS").context("set FANREEL_CLIPS to a folder of videos")?;
    let dir = tempfile::tempdir()?;
    let fanreel = Fanreel::start(&dir.path().join("data"), &[]).await?;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let clip = Clip { name: "own.mp4", path: path.clone() };
        let name = path.file_name().context("no name")?.to_string_lossy().into_owned();
        fanreel.upload(&format!("uploads/{name}"), &path).await?;
        let job = fanreel.job_of(&format!("uploads/{name}")).await?;
        fanreel.wait(&job, &["COMPLETED"], LONG).await?;
        match judge(&fanreel, &clip, &job, dir.path()).await {
            Ok(verdict) => println!("{name:<28} {verdict}"),
            Err(error) => println!("{name:<28} {error:#}"),
        }
    }
    fanreel.stop()
}

/// The application whose split keeps no copy of a film on its disk, as of one that is larger than that.
fn cramped(dir: &Path) -> Result<PathBuf> {
    let text = std::fs::read_to_string(tests::root().join("template.yaml"))?;
    let (before, split) = text.split_once("  SplitFunction:").context("no SplitFunction")?;
    let told = "SCRATCH_MB: \"10240\"";
    ensure!(split.contains(told), "the template tells of the disk otherwise");
    let template = dir.join("template.yaml");
    std::fs::write(&template, format!("{before}  SplitFunction:{}", split.replacen(told, "SCRATCH_MB: \"512\"", 1)))?;
    std::os::unix::fs::symlink(tests::root().join("layers").canonicalize()?, dir.join("layers"))?;
    Ok(template)
}

/// Sources without an index or without times: remuxed once by split and stored meanwhile, the transport stream in parts; cut
/// and encoded as any other; the copy is gone at the end.
#[tokio::test(flavor = "multi_thread")]
async fn streams_become_whole_ladders() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let fanreel = Fanreel::start_template(&dir.path().join("data"), &cramped(dir.path())?).await?;
    let large = "noise=alls=40:allf=t,scale=320x180";
    let cases: [(&str, &[&str]); 3] = [
        ("film.ts", &["-vf", large, "-c:v", "libx264", "-preset", "ultrafast", "-qp", "1", "-bf", "2", "-g", "50", "-c:a", "aac"]),
        ("film.avi", &["-c:v", "mpeg4", "-bf", "2", "-c:a", "libmp3lame"]),
        ("film.mpg", &["-c:v", "mpeg2video", "-bf", "2", "-c:a", "mp2"]),
    ];
    for (name, codecs) in cases {
        let path = dir.path().join(name);
        let out = path.to_string_lossy();
        let inputs =
            ["-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25:duration=13", "-f", "lavfi", "-i", "sine=sample_rate=48000:duration=13"];
        clips::ffmpeg(&[&inputs[..], &["-pix_fmt", "yuv420p"], codecs, &[out.as_ref()]].concat())?;
        fanreel.upload(&format!("uploads/{name}"), &path).await?;
    }
    for (name, _) in cases {
        let job = fanreel.job_of(&format!("uploads/{name}")).await?;
        fanreel.wait(&job, &["COMPLETED"], LONG).await?;
        let receipt: Value = serde_json::from_slice(&fanreel.read(&format!("jobs/{job}/manifests/receipt.json")).await?)?;
        ensure!(receipt["frames"] == 325, "{name}: {}", receipt["frames"]);
        let plan: Value = serde_json::from_slice(&fanreel.read(&format!("jobs/{job}/manifests/source.json")).await?)?;
        let copy = plan["plan"]["normalized"]["bytes"].as_u64().context("not remuxed")?;
        ensure!(name != "film.ts" || copy > 16 << 20, "{name}: {copy} bytes are no two parts");
        let mp4 = dir.path().join(format!("{name}.mp4"));
        std::fs::write(&mp4, fanreel.read(receipt["renditions"][0]["mp4"]["key"].as_str().context("key")?).await?)?;
        look::same_pictures(&look::thumbnails(&dir.path().join(name))?, &look::thumbnails(&mp4)?).with_context(|| name.to_owned())?;
        ensure!(fanreel.keys(&format!("work/{job}/")).await?.is_empty(), "{name}: the copy is left");
        println!("{name:<10} 325 frames, {} segments, a copy of {copy} bytes", receipt["renditions"][0]["segments"]);
    }
    fanreel.stop()
}
