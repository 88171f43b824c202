//! Poster, sprite and preview of whole jobs, found where people look for them.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    clips::{self, Clip},
    corpus, look,
    run::Fanreel,
};

use super::{LONG, judge};

const PROFILES: &str = "[pictured]\nladder = [{ short_side = 180, maxrate = 300_000, bufsize = 400_000 }]\n\
                        outputs = ['hls', 'mp4', 'poster', 'sprite', 'preview']\n";

#[tokio::test(flavor = "multi_thread")]
async fn pictures_stand_beside_the_film_and_show_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let clip = clips::small(dir.path())?;
    let stream = dir.path().join("stream.ts");
    clips::ffmpeg(&["-i", &clip.path.to_string_lossy(), "-c", "copy", &stream.to_string_lossy()])?;
    let profiles = dir.path().join("profiles.toml");
    std::fs::write(&profiles, PROFILES)?;
    let fanreel = Fanreel::start(&dir.path().join("data"), &["Profile=pictured"]).await?;
    fanreel.upload("config/profiles.toml", &profiles).await?;
    // Whose keyframes are two packets each.
    let fields = corpus::recipes().into_iter().find(|recipe| recipe.name == "broadcast-fields.ts").context("fields")?;
    let fields = fields.make(&mut corpus::Studio::new(dir.path()))?;
    let films = [("uploads/small.mp4", clip.path.clone()), ("uploads/stream.ts", stream), ("uploads/fields.ts", fields)];
    for (key, path) in &films {
        fanreel.upload(key, path).await?;
    }
    for (key, path) in films {
        let job = fanreel.job_of(key).await?;
        fanreel.wait(&job, &["COMPLETED"], LONG).await?;
        if key == "uploads/small.mp4" {
            judge(&fanreel, &Clip { name: "small.mp4", path: path.clone() }, &job, dir.path()).await.context(key)?;
        }
        println!("{key:<20} {}", pictures(&fanreel, &job, &path, dir.path()).await.context(key)?);
    }
    fanreel.drained(std::time::Duration::from_secs(60)).await?;
    fanreel.stop()
}

/// What the receipt names is there, of the right kind and size; each tile is the picture of its time.
async fn pictures(fanreel: &Fanreel, job: &str, source: &Path, dir: &Path) -> Result<String> {
    let receipt: Value = serde_json::from_slice(&fanreel.read(&format!("jobs/{job}/manifests/receipt.json")).await?)?;
    let base = format!("streams/{job}/");
    let mut told = Vec::new();
    for (file, (name, kind)) in receipt["stills"]["files"].as_array().context("files")?.iter().zip([
        ("poster.jpg", "image/jpeg"),
        ("sprite-0.jpg", "image/jpeg"),
        ("preview.webp", "image/webp"),
    ]) {
        let key = file["key"].as_str().context("key")?;
        ensure!(key == format!("{base}{name}"), "{key}");
        let head = fanreel.s3.head_object().bucket(fanreel.bucket()).key(key).send().await?;
        ensure!(head.content_type() == Some(kind), "{name} is {:?}", head.content_type());
        let path = dir.join(name);
        std::fs::write(&path, fanreel.read(key).await?)?;
        ensure!(std::fs::metadata(&path)?.len() == file["bytes"].as_u64().context("bytes")?, "{name} has another size");
        told.push(format!("{name} {}×{} {} bytes", file["width"], file["height"], file["bytes"]));
    }
    ensure!(told.len() == 3 && receipt["stills"]["repeated"] == 0, "{}", receipt["stills"]);
    let preview = look::thumbnails(&dir.join("preview.webp"))?;
    ensure!(preview.len() == 30, "the preview has {} pictures", preview.len());
    let cues = tiles_are_pictures_of_their_time(fanreel, job, source, dir).await?;
    Ok(format!("{}; {cues} tiles", told.join(", ")))
}

async fn tiles_are_pictures_of_their_time(fanreel: &Fanreel, job: &str, source: &Path, dir: &Path) -> Result<u32> {
    let text = String::from_utf8(fanreel.read(&format!("streams/{job}/sprite.vtt")).await?)?;
    let (times, pictures) = (look::frame_times(source, "v:0")?, look::thumbnails(source)?);
    let sound = look::frame_times(source, "a:0")?;
    let origin = times[0].min(sound[0]);
    let lines: Vec<&str> = text.lines().collect();
    ensure!(lines.first() == Some(&"WEBVTT"), "{text}");
    let mut end = "00:00:00.000".to_owned();
    let mut cues = 0u32;
    for pair in lines.windows(2).filter(|pair| pair[0].contains(" --> ")) {
        let (from, to) = pair[0].split_once(" --> ").context("times")?;
        ensure!(from == end, "a gap before {from}: {text}");
        to.clone_into(&mut end);
        let (sheet, place) = pair[1].split_once("#xywh=").context("place")?;
        let [x, y, width, height] = place.split(',').collect::<Vec<_>>()[..] else { anyhow::bail!("{place}") };
        let tile = dir.join("tile.png");
        let crop = format!("crop={width}:{height}:{x}:{y}");
        clips::ffmpeg(&["-i", &dir.join(sheet).to_string_lossy(), "-vf", &crop, "-frames:v", "1", &tile.to_string_lossy()])?;
        let shown = look::thumbnails(&tile)?.into_iter().next().context("no picture")?;
        let best =
            (0..pictures.len()).min_by(|a, b| look::difference(&pictures[*a], &shown).total_cmp(&look::difference(&pictures[*b], &shown)));
        let at = times[best.context("no pictures")?] - origin;
        ensure!(cues == 0 || (at - seconds(from)?).abs() < 0.002, "the tile at {from} shows the picture at {at:.3}");
        cues += 1;
    }
    let film = times.last().context("no pictures")? - origin;
    // Each is of a second or two.
    ensure!(f64::from(cues) >= film / 2.0 && cues > 2 && seconds(&end)? >= film, "{cues} cues to {end} of {film:.3} s");
    Ok(cues)
}

fn seconds(clock: &str) -> Result<f64> {
    clock.split(':').try_fold(0.0, |sum, part| Ok(sum * 60.0 + part.parse::<f64>()?))
}
