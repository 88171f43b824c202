//! Progress of one job or upload: a bar where a person looks, else a plain line every few seconds.

use std::time::{Duration, Instant};

use anyhow::bail;
use cloud::{Doing, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use pipeline::{
    id::JobId,
    view::{JobView, Status},
};

use crate::{find::now_ms, pace::Pace, remote::Fanreel, screen, text, upload};

/// Between plain lines.
const LINE_MS: u64 = 3_000;
/// The same of an upload, which may take days.
const UPLOAD_LINE_MS: u64 = 30_000;
/// Between two looks at a job, at least and at most.
const LOOK: Duration = Duration::from_millis(400);
const LOOK_SELDOM: Duration = Duration::from_secs(5);
/// How long a job may be unknown after its upload, and a platform silent, before that is an error.
const PATIENCE: Duration = Duration::from_secs(60);
/// Characters of a name beside a bar.
const NAME: usize = 28;

/// Where lanes are drawn.
pub struct Board {
    bars: Option<MultiProgress>,
}

impl Board {
    pub fn new() -> Self {
        Self { bars: screen::is_terminal().then(MultiProgress::new) }
    }

    /// A lane for each job, in order, their bars one below another.
    pub fn lanes(&self, names: &[String]) -> Vec<Lane> {
        let names: Vec<String> = names.iter().map(|name| shortened(&screen::clean(name))).collect();
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let is_alone = names.len() == 1;
        names.into_iter().map(|name| self.lane(name, width, is_alone)).collect()
    }

    fn lane(&self, name: String, width: usize, is_alone: bool) -> Lane {
        let bar = self.bars.as_ref().map(|bars| {
            let style = ProgressStyle::with_template("{prefix} {bar:24} {pos:>3} %  {wide_msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ ");
            let bar = bars.add(ProgressBar::new(100).with_style(style).with_prefix(format!("{name:width$}")));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Lane { name, bar, is_alone, pace: Pace::default(), said: String::new(), said_percent: None, said_ms: 0, line_ms: LINE_MS }
    }
}

/// The progress of one job, or of one upload, on the screen.
pub struct Lane {
    name: String,
    bar: Option<ProgressBar>,
    /// Then the answer follows at once, with the reason of a failure.
    is_alone: bool,
    pace: Pace,
    /// The last plain line and when it was written.
    said: String,
    said_percent: Option<u8>,
    said_ms: u64,
    line_ms: u64,
}

impl Lane {
    /// What goes on before there is a job, or after it.
    pub fn phase(&mut self, text: &str) {
        self.say(text, None, true);
    }

    /// A lane whose plain lines are those of an upload: a short one has none.
    pub fn of_upload(self) -> Self {
        Self { line_ms: UPLOAD_LINE_MS, said_ms: now_ms(), ..self }
    }

    pub fn uploads(&mut self, progress: &Progress) {
        let seen = progress.stored() + progress.on_the_way;
        if progress.doing == Doing::Sending {
            self.pace.note(now_ms(), seen);
        }
        let percent = (seen * 100).checked_div(progress.bytes).and_then(|percent| u8::try_from(percent).ok());
        self.say(&upload::words(progress, &self.pace), percent, false);
    }

    /// A line that stays.
    pub fn note(&self, text: &str) {
        let text = screen::clean(&format!("{}: {text}", self.name));
        match &self.bar {
            Some(bar) => bar.println(text),
            None => screen::note(&text),
        }
    }

    pub fn show(&mut self, view: &JobView) {
        if self.is_alone && self.bar.is_none() && view.status == Status::Failed {
            return;
        }
        let now = now_ms();
        self.pace.note(now, view.progress.frames_done);
        let words = words(view, &self.pace);
        let at_once = view.progress.frames_done == 0 || view.is_settled();
        let percent = (view.status != Status::Failed).then_some(view.progress.percent);
        self.say(&words, percent, at_once);
    }

    fn say(&mut self, words: &str, percent: Option<u8>, at_once: bool) {
        if let Some(bar) = &self.bar {
            if let Some(percent) = percent {
                bar.set_position(u64::from(percent));
            }
            bar.set_message(screen::clean(words));
            return;
        }
        let now = now_ms();
        let (is_news, has_moved) = (words != self.said, percent != self.said_percent);
        if (is_news && at_once) || ((is_news || has_moved) && now.saturating_sub(self.said_ms) >= self.line_ms) {
            let head = percent.map_or_else(String::new, |percent| format!("{percent} % | "));
            screen::note(&format!("{}: {head}{words}", self.name));
            words.clone_into(&mut self.said);
            (self.said_percent, self.said_ms) = (percent, now);
        }
    }

    /// Takes the bar away: the answer follows.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A name that leaves room for its bar.
fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME {
        return name.to_owned();
    }
    let mut text: String = name.chars().take(NAME - 1).collect();
    text.push('…');
    text
}

/// `412 of 1800 frames | 96 fps | 3.2× | ETA 14 s`, or what else it does.
pub fn words(view: &JobView, pace: &Pace) -> String {
    let progress = &view.progress;
    if progress.frames_done == 0 || progress.frames_done >= progress.frames || view.is_settled() {
        return view.detail.clone();
    }
    let mut parts = vec![format!("{} of {} frames", progress.frames_done, progress.frames)];
    if let Some(fps) = pace.rate() {
        parts.push(format!("{fps:.0} fps"));
        if view.frame_rate > 0.0 {
            parts.push(format!("{:.1}×", fps / view.frame_rate));
        }
    }
    parts.extend(view.notable.first().map(pipeline::view::TaskView::line));
    if let Some(still) = pace.still_s() {
        parts.push(format!("no new frame for {still} s: a worker that died is replaced within a minute"));
        return parts.join(" | ");
    }
    let left = progress.frames - progress.frames_done;
    let eta = pace.eta_s(left).map_or_else(|| "ETA …".into(), |eta| format!("ETA {}", text::seconds(eta)));
    parts.push(eta);
    parts.join(" | ")
}

/// Watches a job until it is settled. `seen` is given every look at it.
pub async fn follow(fanreel: &Fanreel, job: &JobId, mut seen: impl FnMut(&JobView)) -> anyhow::Result<JobView> {
    let mut good = Instant::now();
    loop {
        let began = Instant::now();
        match fanreel.view(job).await {
            Ok(Some(view)) => {
                seen(&view);
                if view.is_settled() {
                    return Ok(view);
                }
                good = Instant::now();
            }
            Ok(None) if good.elapsed() > PATIENCE => bail!("the ledger has no job {job}, {} s after its upload", PATIENCE.as_secs()),
            // A platform that is started again goes on with the job.
            Err(error) if good.elapsed() > PATIENCE => return Err(error.context(format!("job {job} cannot be looked at"))),
            Ok(None) | Err(_) => {}
        }
        // Looking must stay a small part of the work, even at a job with thousands of tasks.
        tokio::time::sleep((began.elapsed() * 10).clamp(LOOK, LOOK_SELDOM)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::view::Progress;

    fn view(frames_done: u64, detail: &str) -> JobView {
        JobView {
            job: "7f3a91c20123456789abcdef".parse().unwrap(),
            status: Status::Processing,
            state: "transcoding",
            detail: detail.into(),
            bucket: "videos".into(),
            key: "uploads/a.mp4".into(),
            bytes: 1,
            profile: "h264".into(),
            generation: 0,
            facts: None,
            frame_rate: 30.0,
            progress: Progress { frames_done, frames: 1800, renditions: 3, tasks_done: 0, tasks: 11, percent: 0 },
            notable: vec![],
            created_ms: 0,
            updated_ms: 0,
        }
    }

    #[test]
    fn words_promise_nothing_before_there_is_a_pace() {
        let mut pace = Pace::default();
        assert_eq!(words(&view(0, "reads the source"), &pace), "reads the source");
        pace.note(0, 0);
        pace.note(1_000, 40);
        assert_eq!(words(&view(40, ""), &pace), "40 of 1800 frames | ETA …");
        pace.note(5_000, 600);
        assert_eq!(words(&view(600, ""), &pace), "600 of 1800 frames | 120 fps | 4.0× | ETA 10 s");
        (6..21).for_each(|s| pace.note(s * 1_000, 600));
        let still = "600 of 1800 frames | 30 fps | 1.0× | no new frame for 15 s: a worker that died is replaced within a minute";
        assert_eq!(words(&view(600, ""), &pace), still);
        assert_eq!(words(&view(1800, "verifies the whole and publishes it"), &pace), "verifies the whole and publishes it");
    }

    #[test]
    fn a_long_name_leaves_room() {
        assert_eq!(shortened("film.mp4"), "film.mp4");
        assert_eq!(shortened(&"ä".repeat(99)).chars().count(), NAME);
    }
}
