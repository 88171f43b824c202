//! A job's results in a browser: served from memory to headless Chromium, played by the field's players, and judged by
//! what the browser saw. The page and its script lie in `tests/players`.

use std::{
    collections::BTreeMap,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use axum::{
    Router,
    body::Bytes,
    extract::{Path as Part, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{look, run::Fanreel};

/// For all cases of one browser.
const LIMIT: Duration = Duration::from_secs(300);
/// Seconds for one step of a case that should pass.
pub const PATIENCE: f64 = 30.0;
/// Times are the same within this, seconds: Matroska rounds to a millisecond.
const TICK: f64 = 0.0015;
/// Frames that hls.js may leave out where pictures come late: it steps a little into the first range it finds.
const STEPPED_OVER: usize = 5;

/// What a job made, as players see it, and what its source says that they must show.
#[derive(Clone)]
pub struct Film {
    /// By path relative to `master.m3u8`; the MP4s beside it.
    pub files: BTreeMap<String, Bytes>,
    /// Name and size of each rendition.
    pub renditions: Vec<(String, u64, u64)>,
    /// Times of the source's frames from the film's beginning, seconds.
    pub frames: Vec<f64>,
    /// Ends of the sound, seconds; `None`: a silent film.
    pub sound: Option<f64>,
    /// Moments, seconds, and all that the first track of text shows then.
    pub captions: Vec<(f64, Vec<String>)>,
}

impl Film {
    /// Everything that the job `job` published of `source`.
    pub async fn of(fanreel: &Fanreel, job: &str, source: &Path) -> Result<Self> {
        let receipt: Value = serde_json::from_slice(&fanreel.read(&format!("jobs/{job}/manifests/receipt.json")).await?)?;
        let prefix = format!("streams/{job}/");
        let mut files = BTreeMap::new();
        for key in fanreel.keys(&prefix).await? {
            files.insert(key.trim_start_matches(&prefix).to_owned(), Bytes::from(fanreel.read(&key).await?));
        }
        let mut renditions = Vec::new();
        for rendition in receipt["renditions"].as_array().context("renditions")? {
            let name = rendition["name"].as_str().context("name")?.to_owned();
            let mp4 = fanreel.read(rendition["mp4"]["key"].as_str().context("key")?).await?;
            files.insert(format!("{name}.mp4"), mp4.into());
            renditions.push((name, rendition["width"].as_u64().context("width")?, rendition["height"].as_u64().context("height")?));
        }
        let times = look::frame_times(source, "v:0")?;
        let first = *times.first().context("no frames")?;
        let origin = look::frame_times(source, "a:0").ok().and_then(|sound| sound.first().copied()).map_or(first, |sound| sound.min(first));
        let mut film = Self { files, renditions, frames: times.iter().map(|time| time - origin).collect(), sound: None, captions: vec![] };
        film.sound = film.files.contains_key("audio/media.m3u8").then(|| film.starts("audio").map(|(_, end)| end)).transpose()?;
        Ok(film)
    }

    /// The same of a job of sound without a picture, from its own playlists and files.
    pub async fn of_sound(fanreel: &Fanreel, job: &str) -> Result<Self> {
        let prefix = format!("streams/{job}/");
        let mut files = BTreeMap::new();
        for key in fanreel.keys(&prefix).await? {
            files.insert(key.trim_start_matches(&prefix).to_owned(), Bytes::from(fanreel.read(&key).await?));
        }
        files.insert("audio.m4a".into(), fanreel.read(&format!("encoded/{job}_audio.m4a")).await?.into());
        let mut film = Self { files, renditions: Vec::new(), frames: Vec::new(), sound: None, captions: vec![] };
        film.sound = Some(film.starts("audio")?.1);
        Ok(film)
    }

    fn text(&self, path: &str) -> Result<&str> {
        Ok(std::str::from_utf8(self.files.get(path).with_context(|| format!("{path} is not there"))?)?)
    }

    /// When each segment of a track starts by its playlist, and when the last ends.
    fn starts(&self, track: &str) -> Result<(Vec<f64>, f64)> {
        let (mut at, mut gap, mut starts) = (0.0, false, Vec::new());
        for line in self.text(&format!("{track}/media.m3u8"))?.lines() {
            gap |= line == "#EXT-X-GAP";
            let Some(length) = line.strip_prefix("#EXTINF:") else { continue };
            if !std::mem::take(&mut gap) {
                starts.push(at);
            }
            at += length.trim_end_matches(',').parse::<f64>()?;
        }
        Ok((starts, at))
    }

    /// Index of the frame behind each join of a rendition.
    fn joins(&self, rendition: &str) -> Result<Vec<usize>> {
        let (starts, _) = self.starts(rendition)?;
        let nearest = |time: &f64| self.frames.iter().position(|frame| frame + TICK >= *time).context("a segment behind the last frame");
        starts.iter().skip(1).map(nearest).collect()
    }

    /// The key of the `number`th segment of a rendition.
    pub fn segment(&self, rendition: &str, number: usize) -> Result<String> {
        let part = format!("{rendition}/segments/seg_{number:04}.");
        self.files.keys().find(|path| path.starts_with(&part)).cloned().with_context(|| format!("no segment {number} of {rendition}"))
    }

    /// Writes everything below a folder.
    pub fn write(&self, folder: &Path) -> Result<()> {
        for (path, bytes) in &self.files {
            let to = folder.join(path);
            std::fs::create_dir_all(to.parent().context("no folder")?)?;
            std::fs::write(to, bytes)?;
        }
        Ok(())
    }
}

/// One rendition in one player.
#[derive(Clone)]
pub struct Case<'a> {
    pub film: &'a Film,
    pub rendition: usize,
    /// `hls.js`, `dash.js`, `shaka`, or `file` for the browser alone.
    pub player: &'static str,
    /// `master.m3u8`, `manifest.mpd`, or empty for the rendition's MP4.
    pub door: &'static str,
    /// Seconds for one step.
    pub patience: f64,
    /// Another rendition for every segment; hls.js only.
    pub alternating: bool,
}

impl<'a> Case<'a> {
    /// Every rendition of a film in each of these players.
    pub fn each(film: &'a Film, players: &[(&'static str, &'static str)]) -> Vec<Self> {
        let renditions = 0..film.renditions.len();
        let cases = renditions.flat_map(|rendition| players.iter().map(move |(player, door)| (rendition, *player, *door)));
        cases.map(|(rendition, player, door)| Self { film, rendition, player, door, patience: PATIENCE, alternating: false }).collect()
    }

    /// A film of sound alone in each of these players.
    pub fn of_sound(film: &'a Film, players: &[(&'static str, &'static str)]) -> Vec<Self> {
        let case = |(player, door): &(&'static str, &'static str)| Self {
            film,
            rendition: 0,
            player: *player,
            door: if door.is_empty() { "audio.m4a" } else { *door },
            patience: PATIENCE,
            alternating: false,
        };
        players.iter().map(case).collect()
    }

    fn json(&self, number: usize) -> Result<Value> {
        if self.film.renditions.is_empty() {
            return Ok(json!({
                "player": self.player, "film": format!("/film/{number}/{}", self.door), "patience": self.patience,
                "frames": [], "joins": [], "end": self.film.sound.context("neither picture nor sound")? - 0.1,
            }));
        }
        let (name, _, height) = &self.film.renditions[self.rendition];
        let door = if self.door.is_empty() { format!("{name}.mp4") } else { self.door.to_owned() };
        let height = if self.alternating { json!("each in turn") } else { json!(height) };
        Ok(json!({
            "player": self.player, "film": format!("/film/{number}/{door}"), "height": height, "patience": self.patience,
            "frames": self.film.frames, "joins": self.film.joins(name)?, "captions": self.film.captions,
        }))
    }

    /// What the browser saw, held against the source. The error says what a viewer would miss.
    pub fn verdict(&self, report: &Value) -> Result<String> {
        let Film { frames, renditions, sound, .. } = self.film;
        if renditions.is_empty() {
            return self.heard(report);
        }
        let (name, width, height) = &renditions[self.rendition];
        let told = || format!("{name} in {}: {}", self.player, without_times(report));
        ensure!(report["errors"].as_array().is_some_and(Vec::is_empty), "{}", told());
        if self.alternating {
            let loaded: Vec<u64> = serde_json::from_value(report["loaded"].clone())?;
            ensure!(loaded.len() >= 3 && loaded.windows(2).all(|pair| pair[0] != pair[1]), "the renditions did not alternate: {}", told());
        } else {
            ensure!(report["size"] == json!([width, height]), "another rendition was played: {}", told());
        }
        if self.player != "file" {
            whole(&report["tracks"], frames, *sound).with_context(told)?;
        }
        let through = &report["through"];
        let number = |value: &Value| value.as_u64().and_then(|count| usize::try_from(count).ok());
        let decoded = number(&through["decoded"]).with_context(told)?;
        let spared = if frames[0] > 0.0 { STEPPED_OVER } else { 0 };
        ensure!(decoded + spared >= frames.len(), "{decoded} of {} frames were decoded: {}", frames.len(), told());
        ensure!(through["corrupted"] == 0, "{}", told());
        ensure!(sound.is_none() || number(&through["sound"]).is_some_and(|bytes| bytes > 0), "no sound was decoded: {}", told());
        let times = |name: &str| -> Result<Vec<f64>> {
            Ok(through[name].as_array().with_context(told)?.iter().filter_map(Value::as_f64).collect())
        };
        let (before, seen) = (times("before")?, times("seen")?);
        ensure!(seen.len() >= 2, "nothing was shown: {}", told());
        // The one that stands when a film begins to play is shown once more.
        let rise = [&before, &seen].iter().all(|times| times.windows(2).all(|pair| pair[0] < pair[1]));
        ensure!(rise && before.last() <= seen.first(), "pictures went back in time: {before:?}, {seen:?}");
        let planned = |time: &f64| frames.iter().any(|frame| (frame - time).abs() < TICK);
        if let Some(odd) = before.iter().chain(&seen).find(|time| !planned(time)) {
            bail!("a picture was shown at {odd}, where the source has none: {}", told());
        }
        let joins = self.film.joins(name)?.len();
        let sought = number(&report["joins"]).unwrap_or(0);
        ensure!(joins > 0 && sought >= 3 * joins, "{sought} frames about {joins} joins: {}", told());
        let moments = self.film.captions.len();
        ensure!(self.player == "file" || moments == 0 || number(&report["captions"]) == Some(moments), "no captions: {}", told());
        let door = if self.door.is_empty() { "MP4" } else { self.door };
        let name = if self.alternating { "each" } else { name };
        Ok(format!("{name:<5} {:<8} {door:<13} {decoded} frames, {} shown, {sought} sought about {joins} joins", self.player, seen.len()))
    }
}

impl Case<'_> {
    /// The verdict over sound alone: all of it was in the buffer, in one stretch, and was played to its end.
    fn heard(&self, report: &Value) -> Result<String> {
        let (until, through) = (self.film.sound.context("no sound")?, &report["through"]);
        let told = || format!("sound in {}: {}", self.player, without_times(report));
        ensure!(report["errors"].as_array().is_some_and(Vec::is_empty), "{}", told());
        if self.player != "file" {
            let tracks = report["tracks"].as_array().with_context(told)?;
            ensure!(tracks.len() == 1, "{} tracks: {}", tracks.len(), told());
            let ranges: Vec<(f64, f64)> = serde_json::from_value(tracks[0]["ranges"].clone())?;
            let [(start, end)] = ranges[..] else { bail!("the sound is in pieces: {ranges:?}") };
            ensure!(start < 0.03 && (end - until).abs() < 0.05, "sound from {start} to {end}, not to {until}");
        }
        let duration = report["duration"].as_f64().with_context(told)?;
        ensure!((duration - until).abs() < 0.1, "{duration} s are told of {until}: {}", told());
        let bytes = through["sound"].as_u64().with_context(told)?;
        ensure!(bytes > 0 && through["decoded"] == 0, "{}", told());
        Ok(format!("sound {:<8} {:<13} {bytes} bytes decoded, {duration:.3} s", self.player, self.door))
    }
}

/// Each track is one stretch from its beginning to its end: a hole is a join that does not fit.
fn whole(tracks: &Value, frames: &[f64], sound: Option<f64>) -> Result<()> {
    let tracks = tracks.as_array().context("no tracks")?;
    ensure!(tracks.len() == 1 + usize::from(sound.is_some()), "{} tracks", tracks.len());
    let last = frames.len() - 1;
    let length = frames[last] - frames[last.saturating_sub(1)];
    for track in tracks {
        let kind = track["type"].as_str().unwrap_or_default();
        let ranges: Vec<(f64, f64)> = serde_json::from_value(track["ranges"].clone())?;
        let [(start, end)] = ranges[..] else { bail!("{kind} is in pieces: {ranges:?}") };
        let first = frames[0];
        match sound {
            // A player may forget the sound before the first picture; AAC comes in packets of 21 ms.
            Some(until) if kind.starts_with("audio") => {
                ensure!(start < first + 0.03, "{kind} begins at {start}, behind the first picture at {first}");
                ensure!((end - until).abs() < 0.05, "{kind} ends at {end}, not at {until}");
            }
            // How long the last picture of a changing rate lasts is the encoder's word.
            _ => {
                ensure!((start - first).abs() < 0.002, "{kind} begins at {start}, not at {first}");
                ensure!(
                    end > frames[last] + 0.001 && end < frames[last] + length + 0.01,
                    "{kind} ends at {end}, its last picture is at {}",
                    frames[last]
                );
            }
        }
    }
    Ok(())
}

fn without_times(report: &Value) -> Value {
    let mut report = report.clone();
    if let Some(through) = report["through"].as_object_mut() {
        through.remove("seen");
    }
    report
}

struct Site {
    cases: Value,
    films: Vec<BTreeMap<String, Bytes>>,
    reports: mpsc::Sender<(usize, Value)>,
}

/// Plays all cases in one browser, one after another, and answers their reports.
pub async fn play(cases: &[Case<'_>], home: &Path) -> Result<Vec<Value>> {
    let (reports, mut inbox) = mpsc::channel(cases.len().max(1));
    let list: Vec<Value> = cases.iter().enumerate().map(|(number, case)| case.json(number)).collect::<Result<_>>()?;
    let films = cases.iter().map(|case| case.film.files.clone()).collect();
    let site = Arc::new(Site { cases: list.into(), films, reports });
    let router = Router::new()
        .route("/cases", get(async |State(site): State<Arc<Site>>| axum::Json(site.cases.clone())))
        .route("/report/{number}", post(report))
        .fallback(file)
        .with_state(site);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}/page/index.html", listener.local_addr()?);
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let mut browser = Browser::open(&address, home)?;
    let mut answers: BTreeMap<usize, Value> = BTreeMap::new();
    let all = async {
        while answers.len() < cases.len() {
            tokio::select! {
                answer = inbox.recv() => answers.extend(answer),
                () = tokio::time::sleep(Duration::from_millis(200)) => browser.alive()?,
            }
        }
        anyhow::Ok(())
    };
    let outcome = tokio::time::timeout(LIMIT, all).await;
    server.abort();
    match outcome {
        Ok(done) => done.with_context(|| browser.last_words())?,
        Err(_) => bail!("{} of {} cases were reported in {} s: {}", answers.len(), cases.len(), LIMIT.as_secs(), browser.last_words()),
    }
    Ok(answers.into_values().collect())
}

async fn report(State(site): State<Arc<Site>>, Part(number): Part<usize>, body: Bytes) -> StatusCode {
    let report = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let _ = site.reports.send((number, report)).await;
    StatusCode::NO_CONTENT
}

/// The page, the players, and the films, whole or in part.
async fn file(State(site): State<Arc<Site>>, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path();
    let film = |rest: &str| {
        let (number, name) = rest.split_once('/')?;
        site.films.get(number.parse::<usize>().ok()?)?.get(name).cloned()
    };
    let plain = |name: &str| !name.contains('/') && !name.starts_with('.');
    let stored = |folder: PathBuf, name: &str| plain(name).then(|| std::fs::read(folder.join(name)).ok().map(Bytes::from)).flatten();
    let found = match path.split('/').nth(1) {
        Some("film") => film(path.trim_start_matches("/film/")),
        Some("page") => stored(crate::root().join("tests/players"), path.trim_start_matches("/page/")),
        Some("tools") => stored(tools(), path.trim_start_matches("/tools/")),
        _ => None,
    };
    let Some(bytes) = found else { return StatusCode::NOT_FOUND.into_response() };
    let kind = match path.rsplit('.').next() {
        Some("html") => "text/html",
        Some("js") => "text/javascript",
        Some("m3u8") => "application/vnd.apple.mpegurl",
        Some("mpd") => "application/dash+xml",
        Some("vtt") => "text/vtt",
        _ => "video/mp4",
    };
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok()).and_then(|text| part(text, bytes.len()));
    let head = [(header::CONTENT_TYPE, kind.to_owned()), (header::ACCEPT_RANGES, "bytes".to_owned())];
    match range {
        None => (head, bytes).into_response(),
        Some((from, to)) => {
            let told = format!("bytes {from}-{}/{}", to - 1, bytes.len());
            (StatusCode::PARTIAL_CONTENT, head, [(header::CONTENT_RANGE, told)], bytes.slice(from..to)).into_response()
        }
    }
}

/// `bytes=FROM-[TO]` of something that long (RFC 9110, 14.1.2).
fn part(text: &str, length: usize) -> Option<(usize, usize)> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    let from = from.parse::<usize>().ok()?;
    let to = if to.is_empty() { length } else { to.parse::<usize>().ok()?.saturating_add(1).min(length) };
    (from < to).then_some((from, to))
}

fn tools() -> PathBuf {
    crate::root().join(".tools/players")
}

/// A browser of our own, ended with what it started.
struct Browser {
    child: Child,
    log: PathBuf,
}

impl Browser {
    fn open(address: &str, home: &Path) -> Result<Self> {
        let tools = tools();
        ensure!(tools.join("installed").is_file(), "{} is not complete, the browser and the players: run `make tools`", tools.display());
        let profile = tempfile::tempdir_in(home)?.keep();
        let log = profile.join("log");
        let mut command = Command::new(tools.join("chromium"));
        command.args(["--headless", "--no-sandbox", "--no-zygote", "--disable-gpu", "--disable-quic", "--no-first-run"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]);
        command.args(["--autoplay-policy=no-user-gesture-required", "--enable-logging=stderr"]);
        command.arg(format!("--user-data-dir={}", profile.display())).arg(address);
        command.env("LD_LIBRARY_PATH", tools.join("lib").canonicalize().unwrap_or_default()).env("HOME", &profile);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&log)?).process_group(0);
        let child = command.spawn().context("the browser of .tools/players could not be started: run `make tools`")?;
        Ok(Self { child, log })
    }

    fn alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the browser ended with {status}"),
        }
    }

    /// What the page said on its console, or else the end of the log.
    fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let console: Vec<&str> = lines.iter().copied().filter(|line| line.contains("CONSOLE")).collect();
        let chosen = if console.is_empty() { &lines } else { &console };
        chosen[chosen.len().saturating_sub(10)..].join("\n")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
