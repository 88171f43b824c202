//! Several tracks of sound beside a picture.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use tests::{clips, look, run::Fanreel};

use crate::{
    LONG,
    sound::{fetched, made, receipt, text},
};

/// Tone, language, what the file says of it, and as what DASH tells it.
const TRACKS: [(f64, &str, &str, &str); 4] = [
    (500.0, "ger", "default", "main"),
    (900.0, "eng", "0", "alternate"),
    (1_300.0, "eng", "comment", "commentary"),
    (1_700.0, "eng", "visual_impaired", "description"),
];

fn film(dir: &Path) -> Result<PathBuf> {
    let inputs = TRACKS.map(|(tone, ..)| format!("-f lavfi -i sine=frequency={tone}:sample_rate=48000:duration=5")).join(" ");
    let inputs = format!("-f lavfi -i testsrc2=size=160x90:rate=25:duration=5 {inputs}");
    let told = |(n, (_, language, role, _)): (usize, &(f64, &str, &str, &str))| {
        format!("-map {} -metadata:s:a:{n} language={language} -disposition:a:{n} {role}", n + 1)
    };
    let told: Vec<String> = TRACKS.iter().enumerate().map(told).collect();
    let coding = format!("-map 0 {} -c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a flac", told.join(" "));
    made(dir, "languages.mkv", &inputs.split(' ').collect::<Vec<_>>(), &coding.split(' ').collect::<Vec<_>>())
}

/// A film in two languages with a commentary and a track that describes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_film_has_all_its_tracks_of_sound_with_language_and_role() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let fanreel = Fanreel::start(&dir.path().join("data"), &[]).await?;
    fanreel.upload("uploads/languages.mkv", &film(dir.path())?).await?;
    let job = fanreel.job_of("uploads/languages.mkv").await?;
    fanreel.wait(&job, &["COMPLETED"], LONG).await?;
    told_to_players(&fanreel, &job).await?;
    in_the_mp4(&fanreel, &job, dir.path()).await?;
    fanreel.stop()
}

async fn told_to_players(fanreel: &Fanreel, job: &str) -> Result<()> {
    let master = text(fanreel, &format!("streams/{job}/master.m3u8")).await?;
    let renditions: Vec<&str> = master.lines().filter(|line| line.starts_with("#EXT-X-MEDIA:TYPE=AUDIO")).collect();
    ensure!(renditions.len() == 4 && renditions[0].contains("LANGUAGE=\"de\"") && renditions[0].contains("DEFAULT=YES"), "{master}");
    ensure!(renditions[1..].iter().all(|line| line.contains("LANGUAGE=\"en\"") && line.contains("DEFAULT=NO")), "{master}");
    let describes = "CHARACTERISTICS=\"public.accessibility.describes-video\"";
    ensure!(renditions.iter().map(|line| line.contains(describes)).eq([false, false, false, true]), "{master}");
    let manifest = text(fanreel, &format!("streams/{job}/manifest.mpd")).await?;
    for (_, _, _, role) in TRACKS {
        let is_it = |set: &&str| set.contains("contentType=\"audio\"") && set.contains(&format!("value=\"{role}\""));
        let sets = manifest.split("<AdaptationSet").filter(is_it).count();
        ensure!(sets == 1, "{sets} sets of {role}: {manifest}");
    }
    Ok(())
}

/// Each track has the sound that it had.
async fn in_the_mp4(fanreel: &Fanreel, job: &str, dir: &Path) -> Result<()> {
    let receipt = receipt(fanreel, job).await?;
    let mp4 = fetched(fanreel, &receipt["renditions"][0]["mp4"]["key"], dir.join("film.mp4")).await?;
    for (n, (tone, ..)) in TRACKS.iter().enumerate() {
        let alone = dir.join(format!("track{n}.wav"));
        clips::ffmpeg(&["-i", &mp4.to_string_lossy(), "-map", &format!("0:a:{n}"), "-ac", "1", &alone.to_string_lossy()])?;
        let samples = look::channels(&alone, 1)?.remove(0);
        let level = |tone: f64| look::tone(&samples[48_000..96_000], tone);
        let others = TRACKS.iter().map(|(other, ..)| *other).filter(|other| (other - tone).abs() > 1.0);
        let loudest = others.map(level).fold(f64::MIN, f64::max);
        ensure!(level(*tone) > loudest + 30.0, "track {n} of the MP4 is not {tone} Hz: {} and {loudest} dB", level(*tone));
    }
    Ok(())
}
