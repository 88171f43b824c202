//! Invocations of type `Event`: kept before they are accepted, run until they are done or given up, and told of.
//!
//! Sources: AWS Lambda developer guide, "How Lambda handles errors and retries with asynchronous invocation": after an
//! error of the function two more tries, one and two minutes later; while it is throttled or the system fails, tries
//! at distances from one second to five minutes until the event is too old. "Capturing records of Lambda asynchronous
//! invocations": with a reserved concurrency of zero, events go to where failures go, without a try.
//!
//! Each function has its own task, so that one that is slow or throttled holds up no other. A task takes an event only
//! when the function may run.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};

use super::{
    InvokeError, Lambda, Outcome,
    destination::{self, Ending, Told},
    dispatch::Invocation,
    slots::Slot,
    store::{Detached, Store},
};
use crate::{logs::now_ms, stack::Asynchronous};

/// Steps of one function at once: as many as may run, and some records on their way.
const MOST: usize = super::line::MAX_RUNNING + 16;
/// Longest wait after it could not be run, in ms.
const MAX_DELAY: u64 = 300_000;
/// Looks at the store at least so often.
const LOOK: Duration = Duration::from_secs(30);
/// Pause after the store failed.
const PAUSE: Duration = Duration::from_secs(1);

/// What becomes of an event after a try.
#[derive(Clone, Debug, PartialEq)]
enum Next {
    Ended(Ending),
    /// Again at this time: the function failed.
    Retry(u64),
    /// Again at this time: it could not be run.
    Delay(u64),
    /// As it is: the platform ends.
    Leave,
}

/// Runs the events of `function` until the platform ends.
pub async fn run(lambda: Arc<Lambda>, function: usize) {
    let news = lambda.store.news(lambda.name_of(function));
    let mut stopping = lambda.stopping();
    let gate = Arc::new(Semaphore::new(1));
    let mut steps = JoinSet::new();
    let mut busy: HashSet<i64> = HashSet::new();
    loop {
        while let Some(ended) = steps.try_join_next() {
            busy.remove(&ended.unwrap_or_default());
        }
        // One event at a time waits for the function to be free, so that it keeps its place in line.
        let place = tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => break,
            place = Arc::clone(&gate).acquire_owned() => place.ok(),
        };
        let wait = match head(&lambda, function, &busy).await {
            Ok(Some((id, Duration::ZERO))) if busy.len() < MOST => {
                busy.insert(id);
                let lambda = Arc::clone(&lambda);
                steps.spawn(async move {
                    step(&lambda, function, id, place).await;
                    id
                });
                continue;
            }
            Ok(head) => head.map_or(LOOK, |(_, wait)| if wait.is_zero() { LOOK } else { wait.min(LOOK) }),
            Err(error) => {
                tracing::error!(%error, "kept events cannot be read");
                PAUSE
            }
        };
        drop(place);
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => break,
            Some(ended) = steps.join_next() => {
                busy.remove(&ended.unwrap_or_default());
            }
            () = news.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
    while steps.join_next().await.is_some() {}
}

/// The event at the head of the function's line, and how long there is nothing to do for it.
async fn head(lambda: &Arc<Lambda>, function: usize, busy: &HashSet<i64>) -> Result<Option<(i64, Duration)>, String> {
    let name = lambda.name_of(function).to_owned();
    let most = busy.len() + 1;
    let next = with_store(lambda, move |store| store.next(&name, most)).await?;
    let now = now_ms();
    let head = next.into_iter().find(|(id, _)| !busy.contains(id));
    Ok(head.map(|(id, due)| (id, Duration::from_millis(due.saturating_sub(now)))))
}

/// One step of an event: a try, or the delivery of its record. `place` is given up once others may wait for the function.
async fn step(lambda: &Arc<Lambda>, function: usize, id: i64, place: Option<OwnedSemaphorePermit>) {
    let mut event = match with_store(lambda, move |store| store.event(id)).await {
        Ok(Some(event)) => event,
        Ok(None) => return,
        Err(error) => {
            tracing::error!(%error, id, "a kept event cannot be read");
            tokio::time::sleep(PAUSE).await;
            return;
        }
    };
    let settings = lambda.asynchronous(function).clone();
    if event.ending.is_some() {
        drop(place);
        deliver(lambda, event, &settings).await;
        return;
    }
    let left = Duration::from_millis(deadline_ms(&event, &settings).saturating_sub(now_ms()));
    let slot = tokio::time::timeout(left, lambda.slot(function, true)).await.unwrap_or(Err(InvokeError::TooOld));
    drop(place);
    let result = attempt(lambda, &event, slot).await;
    let now = now_ms();
    let due = match next(&event, &settings, lambda.config.retry_waits, &result, now) {
        Next::Leave => return,
        Next::Retry(at) => {
            event.tries += 1;
            at
        }
        Next::Delay(at) => {
            event.delays = event.delays.saturating_add(1);
            at
        }
        Next::Ended(ending) => {
            if ending.is_failure() {
                let Ending { condition, error_message: reason, .. } = &ending;
                tracing::warn!(function = event.function, request_id = event.request_id, reason, condition, "an event was given up");
            }
            if destination::targets(&settings, &ending).is_empty() {
                settle(lambda, move |store| store.forget(id)).await;
                return;
            }
            (event.ending, event.delays) = (Some(ending.to_json()), 0);
            now
        }
    };
    // An event that has ended is only told of from here on: a platform that is killed now does not run it once more.
    let put_off = event.clone();
    settle(lambda, move |store| store.put_off(&put_off, due)).await;
    if event.ending.is_some() {
        deliver(lambda, event, &settings).await;
    }
}

/// Tells of an event that has ended, and forgets it once everybody knows.
async fn deliver(lambda: &Arc<Lambda>, mut event: Detached, settings: &Asynchronous) {
    let ending = Ending::from_json(event.ending.as_deref().unwrap_or_default());
    let id = event.id;
    match destination::tell(lambda, &event, settings, &ending).await {
        Told::All => settle(lambda, move |store| store.forget(id)).await,
        Told::NotYet => {
            let due = now_ms() + delay(event.delays);
            event.delays = event.delays.saturating_add(1);
            settle(lambda, move |store| store.put_off(&event, due)).await;
        }
    }
}

fn deadline_ms(event: &Detached, settings: &Asynchronous) -> u64 {
    event.accepted_ms.saturating_add(u64::try_from(settings.max_age.as_millis()).unwrap_or(u64::MAX))
}

async fn attempt(lambda: &Arc<Lambda>, event: &Detached, slot: Result<Slot, InvokeError>) -> Result<Outcome, InvokeError> {
    let slot = slot?;
    let request_id = Some(event.request_id.clone());
    lambda.invoke_in(slot, Invocation { payload: event.payload.clone(), client_context: None, request_id }).await
}

/// Writes what has become of an event, however long it takes: what was not written would be run again.
async fn settle(lambda: &Arc<Lambda>, write: impl Fn(&Store) -> rusqlite::Result<()> + Send + Sync + 'static) {
    let write = Arc::new(write);
    loop {
        let once = Arc::clone(&write);
        let Err(error) = with_store(lambda, move |store| once(store)).await else { return };
        tracing::error!(%error, "what has become of an event could not be written; it is tried again");
        if *lambda.stopping().borrow() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn with_store<T: Send + 'static>(
    lambda: &Arc<Lambda>,
    ask: impl FnOnce(&Store) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, String> {
    let store = Arc::clone(&lambda.store);
    let answer = tokio::task::spawn_blocking(move || ask(&store)).await;
    answer.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// Wait in ms before something that failed `times` times without anybody's fault is tried again.
fn delay(times: u32) -> u64 {
    (1000_u64 << times.min(20)).min(MAX_DELAY)
}

fn next(event: &Detached, settings: &Asynchronous, retry_waits: [Duration; 2], result: &Result<Outcome, InvokeError>, now_ms: u64) -> Next {
    let deadline = deadline_ms(event, settings);
    let too_old = |at: u64| at >= deadline;
    match result {
        Ok(outcome) if outcome.function_error.is_none() => Next::Ended(Ending::success(outcome, event.tries + 1, now_ms)),
        Ok(outcome) => {
            let wait = retry_waits.get(event.tries as usize).map_or(0, |wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
            let at = now_ms.saturating_add(wait);
            if event.tries >= settings.retries {
                Next::Ended(Ending::failure(outcome, "RetriesExhausted", event.tries + 1, now_ms))
            } else if too_old(at) {
                Next::Ended(Ending::failure(outcome, "EventAgeExceeded", event.tries + 1, now_ms))
            } else {
                Next::Retry(at)
            }
        }
        Err(InvokeError::ShuttingDown) => Next::Leave,
        Err(error @ InvokeError::NeverRuns) => Next::Ended(Ending::unheard(error, "RetriesExhausted", event.tries, now_ms)),
        Err(error) => {
            let at = now_ms.saturating_add(delay(event.delays));
            if too_old(at) { Next::Ended(Ending::unheard(error, "EventAgeExceeded", event.tries, now_ms)) } else { Next::Delay(at) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITS: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(120)];

    fn kept(tries: u32, delays: u32) -> Detached {
        let (request_id, function) = ("r".to_owned(), "f".to_owned());
        Detached { id: 1, request_id, function, payload: "{}".into(), tries, delays, accepted_ms: 0, ending: None }
    }

    fn condition(next: Next) -> (String, u32) {
        match next {
            Next::Ended(ending) => (ending.condition, ending.invoke_count),
            other => panic!("{other:?}"),
        }
    }

    fn outcome(function_error: Option<&str>) -> Outcome {
        let function_error = function_error.map(str::to_owned);
        Outcome { payload: "{}".into(), function_error, log_tail: String::new(), request_id: "r".into() }
    }

    #[test]
    fn a_failing_function_is_tried_as_often_as_it_says() {
        let failed = Ok(outcome(Some("Unhandled")));
        let settings = Asynchronous::default();
        let after = |tries, settings: &Asynchronous| next(&kept(tries, 0), settings, WAITS, &failed, 5);
        assert_eq!(after(0, &settings), Next::Retry(60_005));
        assert_eq!(after(1, &settings), Next::Retry(120_005));
        assert_eq!(condition(after(2, &settings)), ("RetriesExhausted".into(), 3));
        let once = Asynchronous { retries: 0, ..settings };
        assert_eq!(condition(after(0, &once)), ("RetriesExhausted".into(), 1));
        let short = Asynchronous { max_age: Duration::from_secs(60), ..Asynchronous::default() };
        assert_eq!(condition(after(0, &short)), ("EventAgeExceeded".into(), 1));
        let done = next(&kept(2, 0), &short, WAITS, &Ok(outcome(None)), 5);
        assert_eq!(condition(done), ("Success".into(), 3));
    }

    #[test]
    fn what_cannot_be_run_waits_longer_and_longer_until_it_is_too_old() {
        let settings = Asynchronous::default();
        let after = |delays, error, now| next(&kept(0, delays), &settings, WAITS, &Err(error), now);
        let throttled = || InvokeError::Throttled(super::super::Throttle::Account);
        assert_eq!(after(0, throttled(), 5), Next::Delay(1005));
        assert_eq!(after(40, throttled(), 5), Next::Delay(300_005));
        let six_hours = 6 * 3_600_000;
        assert_eq!(condition(after(40, throttled(), six_hours - 1)), ("EventAgeExceeded".into(), 0));
        assert_eq!(condition(after(0, InvokeError::TooOld, six_hours)), ("EventAgeExceeded".into(), 0));
        assert_eq!(after(0, InvokeError::ShuttingDown, 5), Next::Leave);
        assert_eq!(condition(after(0, InvokeError::NeverRuns, 5)), ("RetriesExhausted".into(), 0));
    }
}
