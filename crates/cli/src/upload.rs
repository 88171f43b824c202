//! The upload of one film, as a person sees it.

use std::time::Duration;

use anyhow::anyhow;
use cloud::{Doing, Progress, Sending};
use pipeline::Fault;

use crate::{bar::Lane, film::Film, pace::Pace, remote::Fanreel, text};

/// Between two looks at the progress.
const LOOK: Duration = Duration::from_millis(300);

/// Stores a film where uploads go, and shows how far it is.
pub async fn film(fanreel: &Fanreel, film: &Film, profile: Option<&str>, (sending, lane): (&Sending, &mut Lane)) -> anyhow::Result<()> {
    let stored = shown(fanreel.blobs.upload(&film.key, &film.stamp.path, profile, sending), sending, lane).await;
    stored.map_err(|fault| {
        let why = match fault {
            Fault::Escalate { detail, .. } => detail,
            fault => fault.to_string(),
        };
        anyhow!("{why}; {}", kept(&sending.progress()))
    })
}

/// Shows the progress of a work while it goes on.
pub async fn shown<T>(work: impl Future<Output = T>, sending: &Sending, lane: &mut Lane) -> T {
    tokio::pin!(work);
    let mut looks = tokio::time::interval(LOOK);
    let mut told = false;
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = looks.tick() => {
                let progress = sending.progress();
                if progress.there > 0 && !told {
                    lane.note(&format!("{} of {} are there already", text::bytes(progress.there), text::bytes(progress.bytes)));
                    told = true;
                }
                lane.uploads(&progress);
            }
        }
    }
}

/// What becomes of an upload that ended half-way.
pub fn kept(progress: &Progress) -> String {
    if progress.doing == Doing::Stored {
        return "the whole film is stored and its job begins by itself: `fanreel jobs`".into();
    }
    if progress.stored() == 0 {
        return "nothing of this film was stored in this run".into();
    }
    let stored = format!("{} of {} are stored", text::bytes(progress.stored()), text::bytes(progress.bytes));
    if let Some(why) = &progress.unlisted {
        return format!("{stored}, but would not be found again: {why}");
    }
    let until = progress
        .kept_until_ms
        .map_or_else(String::new, |at| format!(" until {} UTC; then the bucket removes what is unfinished", text::date(at)));
    format!("{stored}; the same command goes on from there{until}")
}

/// `12.4 GB of 40.0 GB | 3.2 MB/s | ETA 2 h 24 min`, or what else it does.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate for display")]
pub fn words(progress: &Progress, pace: &Pace) -> String {
    let seen = progress.stored() + progress.on_the_way;
    let so_far = format!("{} of {}", text::bytes(seen), text::bytes(progress.bytes));
    match &progress.doing {
        Doing::Looking => "looks for what is stored of it already".into(),
        Doing::Comparing(bytes) => format!("{} compared with what is stored", text::bytes(*bytes)),
        Doing::Stored => "waits for its job".into(),
        Doing::Waiting(why) => format!("{so_far} | tries again: {why}"),
        Doing::Sending => {
            let mut parts = vec![so_far];
            parts.extend(pace.rate().map(|rate| format!("{}/s", text::bytes(rate as u64))));
            parts.extend(pace.eta_s(progress.bytes - seen.min(progress.bytes)).map(|eta| format!("ETA {}", text::seconds(eta))));
            parts.join(" | ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;

    #[test]
    fn an_upload_says_how_far_it_is_and_why_it_waits() {
        let mut progress = Progress { bytes: 40 * GB, there: 12 * GB, sent: GB, on_the_way: GB, ..Progress::default() };
        let mut pace = Pace::default();
        assert_eq!(words(&progress, &pace), "looks for what is stored of it already");
        progress.doing = Doing::Comparing(3 * GB);
        assert_eq!(words(&progress, &pace), "3.0 GB compared with what is stored");
        progress.doing = Doing::Sending;
        assert_eq!(words(&progress, &pace), "14.0 GB of 40.0 GB");
        pace.note(0, 12 * GB);
        pace.note(10_000, 12 * GB + 100_000_000);
        assert_eq!(words(&progress, &pace), "14.0 GB of 40.0 GB | 10.0 MB/s | ETA 43 min 20 s");
        progress.doing = Doing::Waiting("no route".into());
        assert_eq!(words(&progress, &pace), "14.0 GB of 40.0 GB | tries again: no route");
    }

    #[test]
    fn what_is_kept_is_promised_only_where_it_can_be_found() {
        let mut progress = Progress { bytes: 40 * GB, doing: Doing::Sending, on_the_way: GB, ..Progress::default() };
        assert_eq!(kept(&progress), "nothing of this film was stored in this run");
        progress.sent = 3 * GB;
        assert_eq!(kept(&progress), "3.0 GB of 40.0 GB are stored; the same command goes on from there");
        progress.kept_until_ms = Some(1_777_593_600_000);
        assert!(kept(&progress).ends_with("goes on from there until 2026-05-01 00:00:00 UTC; then the bucket removes what is unfinished"));
        progress.unlisted = Some("AccessDenied".into());
        assert_eq!(kept(&progress), "3.0 GB of 40.0 GB are stored, but would not be found again: AccessDenied");
    }
}
