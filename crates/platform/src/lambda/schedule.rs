//! Schedules: a function, every so often or at the times of a cron expression. Each run is an invocation of type
//! `Event`, as on AWS.
//!
//! Runs that were due while the platform was down are made up for by one run: `EventBridge` is never down, and promises
//! at least one run for each time, while nobody wants a night's worth of them in the morning.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{Lambda, report};
use crate::{
    logs::now_ms,
    stack::{ACCOUNT, REGION, Schedule, Timing},
};

/// Sleeps no longer than this in one go, so that a suspended machine does not shift a schedule.
const NAP: Duration = Duration::from_secs(60);
/// Pause after the store failed.
const PAUSE: Duration = Duration::from_secs(5);
/// A clock that was set back by less than this, in ms, does not make a cron expression repeat the runs of that time.
const REPEATED: u64 = 3_600_000;
/// A run that is later than this, in ms, bears the time that it runs at; others the time that they were due at.
const LATE: u64 = 60_000;

/// What a schedule does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Run, bear `time` and remember `last`.
    Run { time: u64, last: u64 },
    /// Wait until this time; `last` is to be remembered in place of what was, which a clock set wrong had left.
    Wait { until: u64, last: u64 },
    /// Its years are over.
    Over,
}

/// All times in ms since the epoch. `last`: the time of the last run, or that at which the schedule was first seen.
fn step(timing: &Timing, last: u64, now: u64) -> Step {
    let (last, due) = match timing {
        Timing::Every(every) => {
            let every = u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(1);
            let last = last.min(now);
            (last, Some(last.saturating_add(every)))
        }
        Timing::Cron(cron) => {
            let last = if last > now.saturating_add(REPEATED) { now } else { last };
            (last, cron.next_after(last))
        }
    };
    match due {
        None => Step::Over,
        Some(until) if until > now => Step::Wait { until, last },
        // In time, a rate goes on from when it was due: it does not drift by the moments that a run takes.
        Some(due) if now - due < LATE => Step::Run { time: due, last: due },
        Some(_) => Step::Run { time: now, last: now },
    }
}

pub async fn run(lambda: Arc<Lambda>, schedule: Schedule) {
    let mut stopping = lambda.stopping();
    loop {
        let wait = match turn(&lambda, &schedule).await {
            Ok(Some(wait)) => wait.min(NAP),
            Ok(None) => {
                tracing::info!(schedule = schedule.name, "the years of a schedule are over");
                return;
            }
            Err(error) => {
                tracing::error!(schedule = schedule.name, error, "a schedule could not run");
                PAUSE
            }
        };
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Runs the schedule if it is time, and answers how long it is until the next look.
async fn turn(lambda: &Arc<Lambda>, schedule: &Schedule) -> Result<Option<Duration>, String> {
    let (store, schedule) = (Arc::clone(&lambda.store), schedule.clone());
    let done = tokio::task::spawn_blocking(move || {
        let now = now_ms();
        let known = store.last_run(&schedule.name, now)?;
        match step(&schedule.timing, known, now) {
            Step::Over => Ok(None),
            Step::Wait { until, last } => {
                if last != known {
                    store.record_run(&schedule.name, last)?;
                }
                Ok(Some(Duration::from_millis(until - now)))
            }
            Step::Run { time, last } => {
                let id = uuid::Uuid::new_v4().to_string();
                let event = schedule.input.unwrap_or_else(|| event(&schedule.name, &id, time));
                if !store.keep(&id, &schedule.function, event.to_string().as_bytes(), now)? {
                    tracing::warn!(schedule = schedule.name, "a run was left out: too many events wait already");
                }
                // After the event was kept: a crash in between repeats a run and loses none.
                store.record_run(&schedule.name, last)?;
                Ok::<_, rusqlite::Error>(Some(Duration::ZERO))
            }
        }
    });
    done.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// Source: `EventBridge` user guide, "Scheduled events".
fn event(name: &str, id: &str, time: u64) -> Value {
    json!({
        "version": "0",
        "id": id,
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCOUNT,
        "time": report::rfc3339_seconds(time),
        "region": REGION,
        "resources": [format!("arn:aws:events:{REGION}:{ACCOUNT}:rule/{name}")],
        "detail": {},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cron::Cron;

    const MINUTE: u64 = 60_000;
    const HOUR: u64 = 60 * MINUTE;
    /// A full hour.
    const NOON: u64 = 1_795_867_200_000;

    fn hourly() -> Timing {
        Timing::Cron(Cron::parse("0 * * * ? *").unwrap())
    }

    fn rate() -> Timing {
        Timing::Every(Duration::from_millis(HOUR))
    }

    #[test]
    fn a_run_in_time_is_the_time_that_it_was_due_at() {
        for timing in [hourly(), rate()] {
            assert_eq!(step(&timing, NOON, NOON + 5), Step::Wait { until: NOON + HOUR, last: NOON });
            assert_eq!(step(&timing, NOON, NOON + HOUR + 5), Step::Run { time: NOON + HOUR, last: NOON + HOUR });
        }
    }

    #[test]
    fn runs_that_were_missed_are_one() {
        for timing in [hourly(), rate()] {
            let morning = NOON + 20 * HOUR + 5 * MINUTE;
            let Step::Run { time, last } = step(&timing, NOON, morning) else { panic!("it runs") };
            assert_eq!((time, last), (morning, morning));
            assert!(matches!(step(&timing, last, morning), Step::Wait { until, .. } if until > morning));
        }
    }

    #[test]
    fn a_clock_set_back_a_little_repeats_no_run() {
        let ran = NOON + HOUR;
        assert_eq!(step(&hourly(), ran, ran - 10 * MINUTE), Step::Wait { until: ran + HOUR, last: ran });
        assert_eq!(step(&rate(), ran, ran - 10 * MINUTE), Step::Wait { until: ran + 50 * MINUTE, last: ran - 10 * MINUTE });
    }

    #[test]
    fn a_clock_set_back_far_stops_no_schedule() {
        for timing in [hourly(), rate()] {
            let Step::Wait { until, last } = step(&timing, NOON + 9_000 * HOUR, NOON) else { panic!("it waits") };
            assert_eq!((until, last), (NOON + HOUR, NOON), "from what is remembered, it goes on by the clock as it is");
        }
    }

    #[test]
    fn it_ends_with_its_years() {
        let timing = Timing::Cron(Cron::parse("0 12 1 1 ? 2020").unwrap());
        assert_eq!(step(&timing, NOON, NOON + 1), Step::Over);
    }
}
