//! Several tracks of sound beside a picture.

use anyhow::{Result, ensure};
use tests::{clips, look, run::Fanreel};

use crate::{
    LONG,
    sound::{fetched, made, receipt, text},
};

/// A film in two languages with a commentary and a track that describes it: each is there for players with its language and role,
/// and in every MP4, with the sound that it had.
#[tokio::test(flavor = "multi_thread")]
async fn a_film_has_all_its_tracks_of_sound_with_language_and_role() -> Result<()> {
    /// Tone, language, what the file says of it, and as what DASH tells it.
    const TRACKS: [(f64, &str, &str, &str); 4] = [
        (500.0, "ger", "default", "main"),
        (900.0, "eng", "0", "alternate"),
        (1_300.0, "eng", "comment", "commentary"),
        (1_700.0, "eng", "visual_impaired", "description"),
    ];
    let dir = tempfile::tempdir()?;
    let tones = TRACKS.map(|(tone, ..)| format!("sine=frequency={tone}:sample_rate=48000:duration=5"));
    let mut inputs = vec!["-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25:duration=5"];
    inputs.extend(tones.iter().flat_map(|tone| ["-f", "lavfi", "-i", tone]));
    let told: Vec<[String; 4]> = (0..)
        .zip(TRACKS)
        .map(|(n, (_, language, role, _))| {
            [format!("-metadata:s:a:{n}"), format!("language={language}"), format!("-disposition:a:{n}"), role.to_owned()]
        })
        .collect();
    let maps = [
        "-map",
        "0",
        "-map",
        "1",
        "-map",
        "2",
        "-map",
        "3",
        "-map",
        "4",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "flac",
    ];
    let coding: Vec<&str> = maps.into_iter().chain(told.iter().flatten().map(String::as_str)).collect();
    let source = made(dir.path(), "languages.mkv", &inputs, &coding)?;
    let fanreel = Fanreel::start(&dir.path().join("data"), &[]).await?;
    fanreel.upload("uploads/languages.mkv", &source).await?;
    let job = fanreel.job_of("uploads/languages.mkv").await?;
    fanreel.wait(&job, &["COMPLETED"], LONG).await?;
    let master = text(&fanreel, &format!("streams/{job}/master.m3u8")).await?;
    let renditions: Vec<&str> = master.lines().filter(|line| line.starts_with("#EXT-X-MEDIA:TYPE=AUDIO")).collect();
    ensure!(renditions.len() == 4 && renditions[0].contains("LANGUAGE=\"de\"") && renditions[0].contains("DEFAULT=YES"), "{master}");
    ensure!(renditions[1..].iter().all(|line| line.contains("LANGUAGE=\"en\"") && line.contains("DEFAULT=NO")), "{master}");
    let describes = "CHARACTERISTICS=\"public.accessibility.describes-video\"";
    ensure!(renditions.iter().map(|line| line.contains(describes)).eq([false, false, false, true]), "{master}");
    let manifest = text(&fanreel, &format!("streams/{job}/manifest.mpd")).await?;
    for role in ["main", "alternate", "commentary", "description"] {
        let times = TRACKS.iter().filter(|(.., own)| *own == role).count();
        let of_sound = manifest
            .split("<AdaptationSet")
            .filter(|set| set.contains("contentType=\"audio\"") && set.contains(&format!("value=\"{role}\"")))
            .count();
        ensure!(of_sound == times, "{of_sound} sets of {role}: {manifest}");
    }
    let receipt = receipt(&fanreel, &job).await?;
    let mp4 = fetched(&fanreel, &receipt["renditions"][0]["mp4"]["key"], dir.path().join("film.mp4")).await?;
    for (n, (tone, ..)) in TRACKS.iter().enumerate() {
        let alone = dir.path().join(format!("track{n}.wav"));
        clips::ffmpeg(&["-i", &mp4.to_string_lossy(), "-map", &format!("0:a:{n}"), "-ac", "1", &alone.to_string_lossy()])?;
        let samples = look::channels(&alone, 1)?.remove(0);
        let levels: Vec<f64> = TRACKS.iter().map(|(tone, ..)| look::tone(&samples[48_000..96_000], *tone)).collect();
        let loudest = levels.iter().copied().fold(f64::MIN, f64::max);
        ensure!(
            (look::tone(&samples[48_000..96_000], *tone) - loudest).abs() < f64::EPSILON,
            "track {n} of the MP4 is not {tone} Hz: {levels:?}"
        );
    }
    fanreel.stop()
}
