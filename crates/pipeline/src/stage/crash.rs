//! What is kept of a tool that broke down, so that a person can see it break down again.

use super::{Context, attempt::Attempt};
use crate::{
    encoder::{Crash, EncodeError},
    fault::Fault,
    key,
    ports::{Blobs, World},
};

/// What a tool that reads a source answered; what is known of its crash is kept.
pub(super) async fn told<W: World, T>(cx: &Context<'_, W>, attempt: &Attempt<'_>, answer: Result<T, EncodeError>) -> Result<T, Fault> {
    match answer {
        Ok(answer) => Ok(answer),
        Err(EncodeError::Crash(crash)) => Err(kept(cx, attempt, *crash).await),
        Err(other) => Err(other.into_fault()),
    }
}

/// Stores the command and its last words, and answers the fault. `escalation` puts them into the bundle if it comes to that.
pub(super) async fn kept<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>, crash: Crash) -> Fault {
    let key = key::crash(&attempt.task.job, attempt.task.id);
    let stored = match serde_json::to_vec_pretty(&crash) {
        Ok(text) => cx.world.blobs().store(&key, text.into(), "application/json").await,
        Err(error) => Err(Fault::retry(error.to_string())),
    };
    if let Err(fault) = stored {
        // The fault itself is what leads on; its words go into the ledger all the same.
        tracing::warn!(%fault, key, "what is known of a crash could not be kept");
    }
    crash.fault()
}
