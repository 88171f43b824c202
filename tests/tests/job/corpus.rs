//! Sources of every kind (issue 4): each becomes a ladder picture by picture, time by time and in sync, or is refused with
//! a sentence. The table in the output has a row for each.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_s3::primitives::ByteStream;
use serde_json::Value;
use tests::{
    corpus::{self, CLASSES, End, Picture, Reading, Recipe, Sound, Studio, View},
    look,
    run::Fanreel,
};

use super::LONG;

/// Short chunks, so that a source of three seconds has three; two rungs, so that keyframes can be compared.
const PROFILE: &str = "[corpus]\npreset = \"ultrafast\"\ncrf = 20\nchunk_ms = 1000\ngop_ms = 500\nladder = [\n\
    { short_side = 96, maxrate = 2_000_000, bufsize = 2_000_000 },\n{ short_side = 64, maxrate = 2_000_000, bufsize = 2_000_000 },\n]\n";
/// Sources that the corpus must have.
const AT_LEAST: usize = 60;
/// Seconds that sound may be off the picture, against the upload. A remux rounds both to milliseconds.
const IN_SYNC: f64 = 0.001_05;
const MILLISECOND: f64 = 0.001;
/// Seconds that a codec may delay the sound of a source, with nobody told: what a reading of the source may have.
const CODEC_DELAY: f64 = 0.06;
/// Largest mean difference of the pictures of a source and of its rendition.
const ALIKE: f64 = 12.0;

#[tokio::test(flavor = "multi_thread")]
async fn every_class_of_source_is_exact_or_refused_by_name() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let fanreel = Fanreel::start(&dir.path().join("data"), &["Profile=corpus"]).await?;
    let profile = ByteStream::from_static(PROFILE.as_bytes());
    fanreel.s3.put_object().bucket(fanreel.bucket()).key("config/profiles.toml").body(profile).send().await?;
    let began = Instant::now();
    let mut studio = Studio::new(dir.path());
    let mut sources = Vec::new();
    let wanted = only();
    for recipe in corpus::recipes().into_iter().filter(|recipe| wanted.is_empty() || wanted.contains(&recipe.name.to_owned())) {
        let path = recipe.make(&mut studio)?;
        is_what_it_says(&recipe, &path)?;
        fanreel.upload(&key(&recipe), &path).await?;
        sources.push((recipe, path));
    }
    let mut table = vec![format!("{} sources made and uploaded in {:.0} s", sources.len(), began.elapsed().as_secs_f64())];
    let head = ["pictures", "time ms", "lead ms", "sync ms"].map(|name| format!("{name:>8}")).join(" ");
    table.push(format!("{:<24} {:<8} {:<10}  {head} {:>6}  verdict", "source", "in", "codec", "chunks"));
    let judge = Judge { fanreel: &fanreel, dir: dir.path() };
    let (mut wrong, mut classes, count) = (Vec::new(), BTreeMap::<&str, usize>::new(), sources.len());
    while !sources.is_empty() {
        for job in judge.ended(&sources).await? {
            let at = sources.iter().position(|(recipe, _)| job["key"] == key(recipe).as_str()).context("another source")?;
            let (recipe, path) = sources.swap_remove(at);
            recipe.classes.iter().for_each(|class| *classes.entry(class).or_default() += 1);
            match judge.row(&recipe, &path, &job).await {
                Ok(row) => table.push(row),
                Err(error) => {
                    table.push(format!("{:<24} {:<8} {:<10} WRONG: {error:#}", recipe.name, recipe.container(), recipe.codec));
                    wrong.push(format!("{}: {error:#}", recipe.name));
                }
            }
        }
    }
    table.push(format!("{count} sources of {} classes in {:.0} s", classes.len(), began.elapsed().as_secs_f64()));
    tests::show(&table.join("\n"));
    ensure!(wrong.is_empty(), "{} wrong ends:\n{}", wrong.len(), wrong.join("\n"));
    if wanted.is_empty() {
        ensure!(count >= AT_LEAST, "{count} sources");
        let missing: Vec<&&str> = CLASSES.iter().filter(|class| !classes.contains_key(**class)).collect();
        ensure!(missing.is_empty(), "no source of {missing:?}");
    }
    fanreel.drained(Duration::from_secs(60)).await?;
    ensure!(fanreel.keys("work/").await?.is_empty(), "temporaries are left");
    fanreel.stop()
}

/// ffmpeg drops tags that its filters do not know of, and would have made SDR.
fn is_what_it_says(recipe: &Recipe, path: &Path) -> Result<()> {
    for (class, transfer) in [("HDR10", "smpte2084"), ("HLG", "arib-std-b67"), ("Dolby Vision", "arib-std-b67")] {
        if recipe.classes.contains(&class) {
            let told = look::colors(path)?;
            ensure!(told.contains(transfer), "{} is no {class}: {told}", recipe.name);
        }
    }
    Ok(())
}

/// Names of the only sources to look at, for a person: `FANREEL_CORPUS=film.ts,wrap.ts`.
fn only() -> Vec<String> {
    #[expect(clippy::disallowed_methods, reason = "the one setting of this test")]
    let names = std::env::var("FANREEL_CORPUS").unwrap_or_default();
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn key(recipe: &Recipe) -> String {
    format!("uploads/{}", recipe.name)
}

struct Judge<'a> {
    fanreel: &'a Fanreel,
    dir: &'a Path,
}

/// What a row tells of a source that became a ladder.
#[derive(Default)]
struct Found {
    /// Seconds, the worst of all renditions.
    time: f64,
    /// By how much everything comes later than in the source, which counts from its first sound.
    lead: f64,
    sync: Option<f64>,
}

impl Judge<'_> {
    /// Jobs of these sources that ended, as `fanreel status` tells of them; at least one.
    async fn ended(&self, sources: &[(Recipe, PathBuf)]) -> Result<Vec<Value>> {
        let (end, mut looked) = (Instant::now() + LONG, Instant::now());
        loop {
            let mut ended = self.fanreel.ended().await?;
            ended.retain(|(key, _)| sources.iter().any(|(recipe, _)| self::key(recipe) == *key));
            if !ended.is_empty() {
                return ended.iter().map(|(_, job)| self.fanreel.ask(&["status", job])).collect();
            }
            // What waits for a person does not end.
            if looked.elapsed() > Duration::from_secs(10) {
                looked = Instant::now();
                let waits = |(key, job): &(String, Value)| job["status"] == "FAILED" && sources.iter().any(|(r, _)| self::key(r) == *key);
                let stuck: Vec<Value> = self.fanreel.jobs()?.into_iter().filter(waits).map(|(_, job)| job).collect();
                if !stuck.is_empty() {
                    return Ok(stuck);
                }
            }
            ensure!(Instant::now() < end, "no job of {} ended for {} s", sources.len(), LONG.as_secs());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// What became of a source, or what is wrong with that.
    async fn row(&self, recipe: &Recipe, path: &Path, status: &Value) -> Result<String> {
        let job = status["job"].as_str().context("job")?;
        let (state, reason) = (status["state"].as_str().unwrap_or_default(), status["detail"].as_str().unwrap_or_default());
        let head = format!("{:<24} {:<8} {:<10}", recipe.name, recipe.container(), recipe.codec);
        match (recipe.end, state) {
            (End::Refused(words), "rejected") => {
                ensure!(reason.contains(words) && reason.contains(' '), "another reason: {reason}");
                Ok(format!("{head} {:>9} {:>8} {:>8} {:>8} {:>6}  refused: {reason}", "-", "-", "-", "-", "-"))
            }
            (End::Exact, "completed") => {
                let receipt: Value = serde_json::from_slice(&self.fanreel.read(&format!("jobs/{job}/manifests/receipt.json")).await?)?;
                let chunks = receipt["renditions"][0]["segments"].as_u64().context("segments")?;
                let found = self.exact(recipe, path, job, &receipt).await?;
                let seconds = recipe.shown.last().context("nothing")?.1 - recipe.shown[0].1;
                ensure!(chunks >= 2 || seconds < 1.2, "{chunks} chunks of {seconds:.1} s: no join was tested");
                let count = format!("{}/{}", recipe.shown.len(), receipt["frames"]);
                let sync = found.sync.map_or("-".to_owned(), |sync| format!("{:.3}", sync * 1000.0));
                Ok(format!("{head} {count:>9} {:>8.3} {:>8.3} {sync:>8} {chunks:>6}  exact", found.time * 1000.0, found.lead * 1000.0))
            }
            (end, state) => bail!("{end:?} was expected, it is {state}: {reason}"),
        }
    }

    async fn exact(&self, recipe: &Recipe, path: &Path, job: &str, receipt: &Value) -> Result<Found> {
        let source = recipe.read(path, self.dir).context("the upload cannot be read")?;
        let reference = Reference::of(recipe, &source, self.remuxed(job).await?)?;
        let renditions = receipt["renditions"].as_array().context("renditions")?;
        ensure!(!renditions.is_empty(), "no renditions");
        let (mut found, mut keyframes) = (Found::default(), None);
        for rendition in renditions {
            let name = rendition["name"].as_str().context("name")?;
            if let Some((wide, high)) = recipe.shape {
                let [width, height] = ["width", "height"].map(|side| rendition[side].as_u64().unwrap_or_default());
                let stretched = height * u64::from(wide) / u64::from(high);
                ensure!(height > 0 && width.abs_diff(stretched) <= 2, "{name} is {width}×{height}, and not {wide}:{high}");
            }
            let mp4 = self.dir.join("judged.mp4");
            std::fs::write(&mp4, self.fanreel.read(rendition["mp4"]["key"].as_str().context("key")?).await?)?;
            let view = View { track: "0:v:0", woven: false, ..recipe.view };
            let made = Reading::of(&mp4, view, self.dir).with_context(|| name.to_owned())?;
            let now = reference.held(recipe, &made).with_context(|| name.to_owned())?;
            found.time = found.time.max(now.time);
            found.lead = now.lead;
            found.sync = now.sync.map(|sync| sync.max(found.sync.unwrap_or_default()));
            let keys = self.keyframes(job, name, recipe.shown.len()).await.with_context(|| name.to_owned())?;
            ensure!(keyframes.get_or_insert_with(|| keys.clone()) == &keys, "{name}: keyframes are elsewhere than in the first rendition");
        }
        Ok(found)
    }

    /// Whether the plan speaks of a copy of the source.
    async fn remuxed(&self, job: &str) -> Result<bool> {
        let plan: Value = serde_json::from_slice(&self.fanreel.read(&format!("jobs/{job}/manifests/source.json")).await?)?;
        Ok(!plan["plan"]["normalized"].is_null())
    }

    /// Times of a rendition's keyframes in HLS, from its first picture on; each segment begins with one.
    async fn keyframes(&self, job: &str, rendition: &str, pictures: usize) -> Result<Vec<i64>> {
        let joined = self.dir.join("joined.mp4");
        let segments = self.fanreel.joined(job, rendition, &joined).await?;
        let init = self.fanreel.read(&format!("streams/{job}/{rendition}/init.mp4")).await?.len();
        let mut starts = vec![u64::try_from(init)?];
        for segment in &segments {
            let bytes = self.fanreel.s3.head_object().bucket(self.fanreel.bucket()).key(segment).send().await?.content_length();
            starts.push(starts.last().copied().unwrap_or_default() + u64::try_from(bytes.context("size")?)?);
        }
        let packets = look::packets(&joined)?;
        ensure!(packets.len() == pictures, "{} pictures in HLS", packets.len());
        for (start, segment) in starts.iter().zip(&segments) {
            let first = packets.iter().find(|packet| packet.pos > *start).context("an empty segment")?;
            ensure!(first.key, "{segment} does not begin with a keyframe");
        }
        let first = packets.iter().map(|packet| packet.pts).min().unwrap_or_default();
        Ok(packets.iter().filter(|packet| packet.key).map(|packet| packet.pts - first).collect())
    }
}

/// What must be seen and heard.
struct Reference<'a> {
    /// Numbers and times, from the first picture on.
    pictures: Vec<(u32, f64)>,
    looks: Vec<&'a [u8]>,
    /// When the first picture comes, from T0 on.
    first: f64,
    chirps: usize,
    /// How late the sound is, seconds.
    delay: Option<f64>,
    /// Seconds that a picture may be off.
    tolerance: f64,
}

impl<'a> Reference<'a> {
    /// The upload as ffmpeg reads it whole and in order, held against what the recipe put into it.
    fn of(recipe: &Recipe, source: &'a Reading, remuxed: bool) -> Result<Self> {
        let (first, last) = (recipe.shown[0].0, recipe.shown.last().context("nothing is shown")?.0);
        let seen: Vec<_> = source.pictures.iter().filter(|picture| (first..=last).contains(&picture.number)).collect();
        let numbers = numbers(recipe, seen.iter().copied());
        ensure!(numbers.iter().eq(recipe.shown.iter().map(|(number, _)| number)), "the upload shows {numbers:?}");
        let film = recipe.shown.iter().map(|(number, time)| (*number, time - recipe.shown[0].1));
        let start = seen[0].time;
        for ((number, put), picture) in film.clone().zip(&seen).filter(|_| recipe.readable) {
            let off = (picture.time - start - put).abs();
            ensure!(off <= 2.0 * recipe.grain, "the upload has picture {number} {:.3} ms off", off * 1000.0);
        }
        let read = seen.iter().map(|picture| (picture.number, picture.time - start));
        let delay = source.sound.as_ref().map(|sound| late(recipe, start, sound)).transpose().context("the upload")?;
        let delay = delay.map(|delays| delays[0]);
        ensure!(delay.is_none_or(|delay| delay.abs() <= CODEC_DELAY), "the sound of the upload is {delay:?} s late by its reading");
        Ok(Self {
            pictures: if recipe.readable { read.collect() } else { film.collect() },
            looks: seen.iter().map(|picture| picture.look.as_slice()).collect(),
            first: start - source.origin(),
            // Behind a jump of the clock there are more than a reading has.
            chirps: match &source.sound {
                Some(sound) if recipe.readable => sound.chirps.len(),
                Some(_) => (0..recipe.film.frames).filter(|second| f64::from(*second) + 0.6 < recipe.film.time(recipe.film.frames)).count(),
                None => 0,
            },
            delay,
            tolerance: if remuxed { MILLISECOND } else { source.tick.min(MILLISECOND) } * 1.01 + 2e-6,
        })
    }

    /// Holds what was made against it.
    fn held(&self, recipe: &Recipe, made: &Reading) -> Result<Found> {
        let numbers = numbers(recipe, made.pictures.iter());
        let wanted = self.pictures.iter().map(|(number, _)| number);
        ensure!(numbers.iter().eq(wanted), "it shows {} of {} pictures: {numbers:?}", numbers.len(), self.pictures.len());
        let start = made.pictures[0].time;
        let mut found = Found::default();
        for (picture, (number, wanted)) in made.pictures.iter().zip(&self.pictures) {
            let off = (picture.time - start - wanted).abs();
            ensure!(off <= self.tolerance, "picture {number} is {:.3} ms off", off * 1000.0);
            found.time = found.time.max(off);
        }
        found.lead = start - self.first;
        let lead = self.tolerance.max(recipe.lead);
        ensure!(found.lead.abs() <= lead, "everything is {:.3} ms late", found.lead * 1000.0);
        for (picture, look) in made.pictures.iter().zip(&self.looks).filter(|_| recipe.alike) {
            let other = look::difference(&picture.look, look);
            ensure!(other < ALIKE, "picture {} differs from the source's by {other:.1}", picture.number);
        }
        let (Some(sound), Some(delay)) = (&made.sound, self.delay) else { return Ok(found) };
        ensure!(sound.chirps.len() == self.chirps, "{} chirps, the source has {}", sound.chirps.len(), self.chirps);
        for (chirp, made) in sound.chirps.iter().zip(late(recipe, start, sound)?) {
            let off = (made - delay).abs();
            ensure!(off <= IN_SYNC, "the sound is {:.2} ms off at {chirp:.2} s", (made - delay) * 1000.0);
            found.sync = Some(found.sync.unwrap_or_default().max(off));
        }
        Ok(found)
    }
}

/// What pictures say that they are. In one of two fields, lines of the second may show through: both count as the first.
fn numbers<'a>(recipe: &Recipe, pictures: impl Iterator<Item = &'a Picture>) -> Vec<u32> {
    pictures.map(|picture| if recipe.view.woven { picture.number & !1 } else { picture.number }).collect()
}

/// How much later than in the film every chirp comes, seconds, counted from the first picture.
fn late(recipe: &Recipe, first_picture: f64, sound: &Sound) -> Result<Vec<f64>> {
    let film = sound.chirps.iter().map(|chirp| chirp - first_picture + recipe.shown[0].1 + recipe.late);
    let late: Vec<f64> = film.map(|film| film - (film - 0.5).round() - 0.5).collect();
    ensure!(!late.is_empty(), "no chirp");
    Ok(late)
}
