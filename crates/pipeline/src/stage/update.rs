//! A task that meets other media tools than its job was planned with.

use std::time::Duration;

use super::{Context, Ending, attempt::is_idle, ingest};
use crate::{
    encoder::Encoder,
    fault::Fault,
    id::TaskId,
    job::Job,
    ports::{Delivery, Ledger, Outbox, World},
};

/// How long the update of a stack may take in which functions of both layers work.
const UPDATE_MS: u64 = 300_000;
/// How long a message waits for its end at a time.
const UPDATE_STEP: Duration = Duration::from_secs(60);

/// Whether a task that waits for work was planned with other tools than this worker's. A merge needs none.
pub(super) async fn has_another_layer<W: World>(cx: &Context<'_, W>, job: &Job, id: TaskId) -> Result<bool, Fault> {
    let Some(plan) = &job.plan else { return Ok(false) };
    if !id.is_part() || plan.layer == cx.world.encoder().layer() {
        return Ok(false);
    }
    Ok(cx.world.ledger().task(&job.id, id).await?.is_some_and(|stored| is_idle(&stored.task, cx.now())))
}

/// The layer was updated while the job was at work: its segments would not fit together. While an update is under way, old
/// workers and new ones would start a job over in turns: a young plan waits.
pub(super) async fn meet_another_layer<W: World>(cx: &Context<'_, W>, delivery: &Delivery, job: &Job) -> Result<Ending, Fault> {
    if cx.now() < job.updated_ms.saturating_add(UPDATE_MS) {
        tracing::warn!("planned a moment ago with another ffmpeg layer than this worker's: the message waits");
        cx.world.outbox().hold(delivery, UPDATE_STEP).await;
        return Ok(Ending::Failed);
    }
    tracing::warn!("planned with another ffmpeg layer than this worker's: the job starts over");
    ingest::start_over(cx, job).await?;
    Ok(Ending::Done)
}
