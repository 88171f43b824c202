//! What is kept of a tool that broke down, so that a person can see it break down again.

use std::sync::PoisonError;

use serde::Serialize;

use super::{Context, attempt::Attempt};
use crate::{
    encoder::{Crash, EncodeError, Kept, MAX_EXCERPT},
    fault::Fault,
    key,
    plan::ByteRange,
    ports::{Blobs, World},
};

/// Ranges that a bundle holds: a chunk has a few, the sound of a long film a hundred thousand.
const MAX_RANGES: usize = 4_096;

/// What a tool that reads a source answered; what is known of its crash is kept.
pub(super) async fn told<W: World, T>(cx: &Context<'_, W>, attempt: &Attempt<'_>, answer: Result<T, EncodeError>) -> Result<T, Fault> {
    match answer {
        Ok(answer) => Ok(answer),
        Err(EncodeError::Crash(crash)) => Err(kept(cx, attempt, *crash).await),
        Err(other) => Err(other.into_fault()),
    }
}

/// Stores the command, its last words and what it had read, and answers the fault. `escalation` puts them into the bundle if
/// it comes to that.
pub(super) async fn kept<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>, crash: Crash) -> Fault {
    let stored = match store(cx, &key::crash(&attempt.task.job, attempt.task.id), &crash).await {
        Ok(()) => excerpt(cx, attempt, &crash).await,
        failed => failed,
    };
    if let Err(fault) = stored {
        // The fault itself is what leads on; its words go into the ledger all the same.
        tracing::warn!(%fault, "not all that is known of a crash could be kept");
    }
    crash.fault()
}

/// Keeps what the tool had read, where that is not too much: then what an earlier one had read stays.
async fn excerpt<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>, crash: &Crash) -> Result<(), Fault> {
    let Some(local) = attempt.local.lock().unwrap_or_else(PoisonError::into_inner).clone() else { return Ok(()) };
    let of = attempt.job.plan.as_ref().map_or(0, |plan| plan.source_bytes);
    let ranges = local.ranges;
    if !is_kept(&ranges) {
        return Ok(());
    }
    let (object, words) = key::excerpt(&attempt.task.job, attempt.task.id);
    cx.world.blobs().store_excerpt(&object, &local.path, &ranges).await?;
    store(cx, &words, &Kept { crash: crash.clone(), object, ranges, of }).await
}

fn is_kept(ranges: &[ByteRange]) -> bool {
    ranges.len() <= MAX_RANGES && ranges.iter().map(|range| range.len()).sum::<u64>() <= MAX_EXCERPT
}

async fn store<W: World>(cx: &Context<'_, W>, key: &str, what: &impl Serialize) -> Result<(), Fault> {
    let text = serde_json::to_vec_pretty(what).map_err(|error| Fault::retry(error.to_string()))?;
    cx.world.blobs().store(key, text.into(), "application/json").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_a_bundle_and_a_worker_can_hold() {
        let ranges = |count: u64, bytes: u64| -> Vec<ByteRange> {
            (0..count).map(|number| ByteRange { start: number * 2 * bytes, end: (number * 2 + 1) * bytes }).collect()
        };
        assert!(is_kept(&ranges(1, MAX_EXCERPT)) && is_kept(&ranges(4_096, 16 << 10)));
        assert!(!is_kept(&ranges(1, MAX_EXCERPT + 1)) && !is_kept(&ranges(2, MAX_EXCERPT / 2 + 1)));
        assert!(!is_kept(&ranges(4_097, 1)), "the sound of a long film");
    }
}
