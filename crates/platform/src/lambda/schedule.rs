//! Schedules: a function, every so often. Each run is an invocation of type `Event`, as on AWS.

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

pub async fn run(lambda: Arc<Lambda>, schedule: Schedule) {
    let mut stopping = lambda.stopping();
    let every = match &schedule.timing {
        Timing::Every(every) => u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(1),
        Timing::Cron(cron) => {
            tracing::error!(schedule = schedule.name, cron = cron.expression(), "cron expressions are not run yet");
            return;
        }
    };
    loop {
        let wait = match turn(&lambda, &schedule, every).await {
            Ok(wait) => wait.min(NAP),
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

/// Runs the schedule if it is time, and answers how long it is until then. Runs that were missed are one.
async fn turn(lambda: &Arc<Lambda>, schedule: &Schedule, every: u64) -> Result<Duration, String> {
    let store = Arc::clone(&lambda.store);
    let (name, function, input) = (schedule.name.clone(), schedule.function.clone(), schedule.input.clone());
    let done = tokio::task::spawn_blocking(move || {
        let now = now_ms();
        let due = store.last_run(&name, now)?.saturating_add(every);
        if due > now {
            return Ok(due - now);
        }
        let id = uuid::Uuid::new_v4().to_string();
        let event = input.unwrap_or_else(|| event(&name, &id, now));
        if !store.keep(&id, &function, event.to_string().as_bytes(), now)? {
            tracing::warn!(schedule = name, "a run was left out: too many events wait already");
        }
        // After the event was kept: a crash in between repeats a run and loses none.
        store.record_run(&name, now)?;
        Ok::<_, rusqlite::Error>(every)
    });
    let wait = done.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    Ok(Duration::from_millis(wait))
}

/// Source: `EventBridge` user guide, "Scheduled events".
fn event(name: &str, id: &str, now_ms: u64) -> Value {
    json!({
        "version": "0",
        "id": id,
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCOUNT,
        "time": report::rfc3339_seconds(now_ms),
        "region": REGION,
        "resources": [format!("arn:aws:events:{REGION}:{ACCOUNT}:rule/{name}")],
        "detail": {},
    })
}
