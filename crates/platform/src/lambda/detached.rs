//! Invocations of type `Event`: kept before they are accepted, tried three times.
//!
//! Source: AWS Lambda developer guide, "Asynchronous invocation": after an error of the function two more tries, one
//! and two minutes later; while it cannot be run at all, tries at growing distances for six hours.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::task::JoinSet;

use super::{InvokeError, Lambda, Outcome, dispatch::Invocation, store::Detached};
use crate::logs::now_ms;

/// Tried at once.
const AT_ONCE: usize = 64;
/// Waits before the second and third try, in ms.
const RETRIES: [u64; 2] = [60_000, 120_000];
/// Longest wait after it could not be run, in ms.
const MAX_DELAY: u64 = 300_000;
/// Kept no longer than this, in ms.
const MAX_AGE: u64 = 6 * 3_600_000;
/// Looks at the store at least so often.
const LOOK: Duration = Duration::from_secs(30);

/// What becomes of an invocation after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Done,
    /// Dropped, because of this.
    Dropped(&'static str),
    /// Again at this time: the function failed.
    Retry(u64),
    /// Again at this time: it could not be run.
    Delay(u64),
    /// As it is: the platform ends.
    Leave,
}

pub async fn run(lambda: Arc<Lambda>) {
    let mut stopping = lambda.stopping();
    let mut tries = JoinSet::new();
    let mut running = HashSet::new();
    loop {
        while let Some(ended) = tries.try_join_next() {
            running.remove(&ended.unwrap_or_default());
        }
        let wait = match look(&lambda, AT_ONCE + running.len()).await {
            Ok((due, wait)) => {
                for kept in due {
                    if running.len() < AT_ONCE && running.insert(kept.id) {
                        tries.spawn(attempt(Arc::clone(&lambda), kept));
                    }
                }
                wait
            }
            Err(error) => {
                tracing::error!(%error, "kept invocations cannot be read");
                LOOK
            }
        };
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => break,
            () = lambda.store.news.notified() => {}
            Some(ended) = tries.join_next() => {
                running.remove(&ended.unwrap_or_default());
            }
            () = tokio::time::sleep(wait) => {}
        }
    }
    while tries.join_next().await.is_some() {}
}

/// What is due, and how long until something else is.
async fn look(lambda: &Arc<Lambda>, most: usize) -> Result<(Vec<Detached>, Duration), String> {
    let store = Arc::clone(&lambda.store);
    let looked = tokio::task::spawn_blocking(move || {
        let now = now_ms();
        let due = store.due(now, most)?;
        let wait = store.next_due(now)?.map_or(LOOK, |next| Duration::from_millis(next.saturating_sub(now)));
        Ok::<_, rusqlite::Error>((due, wait.min(LOOK)))
    });
    looked.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

async fn attempt(lambda: Arc<Lambda>, mut kept: Detached) -> i64 {
    let id = kept.id;
    let invocation = Invocation { payload: kept.payload.clone(), client_context: None, request_id: Some(kept.request_id.clone()) };
    let result = lambda.invoke_with(&kept.function, invocation, true).await;
    let next = next(&kept, &result, now_ms());
    if let Next::Dropped(reason) = next {
        tracing::warn!(function = kept.function, request_id = kept.request_id, reason, "an event was dropped");
    }
    let store = Arc::clone(&lambda.store);
    let written = tokio::task::spawn_blocking(move || match next {
        Next::Done | Next::Dropped(_) => store.forget(kept.id),
        Next::Retry(due) => {
            kept.tries += 1;
            store.put_off(&kept, due)
        }
        Next::Delay(due) => {
            kept.delays = kept.delays.saturating_add(1);
            store.put_off(&kept, due)
        }
        Next::Leave => Ok(()),
    });
    if let Ok(Err(error)) = written.await {
        tracing::error!(%error, "the end of an event could not be recorded; it will be tried again");
        // The row is still due: without a pause it would be tried without end.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    id
}

fn next(kept: &Detached, result: &Result<Outcome, InvokeError>, now_ms: u64) -> Next {
    let too_old = now_ms.saturating_sub(kept.accepted_ms) >= MAX_AGE;
    match result {
        Ok(outcome) if outcome.function_error.is_none() => Next::Done,
        Ok(_) => match RETRIES.get(kept.tries as usize) {
            Some(wait) => Next::Retry(now_ms + wait),
            None => Next::Dropped("the function failed three times"),
        },
        Err(InvokeError::ShuttingDown) => Next::Leave,
        Err(InvokeError::NotFound(_)) => Next::Dropped("the function does not exist"),
        Err(_) if too_old => Next::Dropped("it could not be run for six hours"),
        Err(_) => Next::Delay(now_ms + (1000_u64 << kept.delays.min(20)).min(MAX_DELAY)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(tries: u32, delays: u32) -> Detached {
        let (request_id, function) = ("r".to_owned(), "f".to_owned());
        Detached { id: 1, request_id, function, payload: "{}".into(), tries, delays, accepted_ms: 0 }
    }

    #[test]
    fn a_failing_function_is_tried_three_times() {
        let outcome =
            Outcome { payload: "".into(), function_error: Some("Unhandled".into()), log_tail: String::new(), request_id: "r".into() };
        let failed = Ok(outcome.clone());
        assert_eq!(next(&kept(0, 0), &failed, 5), Next::Retry(60_005));
        assert_eq!(next(&kept(1, 0), &failed, 5), Next::Retry(120_005));
        assert!(matches!(next(&kept(2, 0), &failed, 5), Next::Dropped(_)));
        assert_eq!(next(&kept(2, 0), &Ok(Outcome { function_error: None, ..outcome }), 5), Next::Done);
    }

    #[test]
    fn what_cannot_be_run_waits_longer_and_longer_for_six_hours() {
        let throttled = Err(InvokeError::Throttled("busy"));
        assert_eq!(next(&kept(0, 0), &throttled, 5), Next::Delay(1005));
        assert_eq!(next(&kept(0, 40), &throttled, 5), Next::Delay(300_005));
        assert!(matches!(next(&kept(0, 40), &throttled, MAX_AGE), Next::Dropped(_)));
        assert_eq!(next(&kept(0, 0), &Err(InvokeError::ShuttingDown), 5), Next::Leave);
    }
}
