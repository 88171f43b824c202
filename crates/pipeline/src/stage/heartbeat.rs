//! The sign of life of an attempt, beside its work.

use std::{future::Future, pin::pin, sync::atomic::Ordering, time::Duration};

use futures::future::select;

use super::{Context, attempt::Attempt, fleet};
use crate::{
    fleet::MemberState,
    ports::{Clock, Delivery, Outbox, World},
    task::{Beat, Lost, Task},
};

/// How often progress is written while it moves.
const PROGRESS_MS: u64 = 2_000;

/// Extends the lease first, then the message. Ends only when the lease is lost.
pub(super) async fn heartbeat<W: World>(cx: &Context<'_, W>, delivery: &Delivery, attempt: &Attempt<'_>) -> Lost {
    let lease_ms = cx.policy.lease_ms;
    let step = Duration::from_millis(PROGRESS_MS.min(lease_ms / 3).max(1));
    let (mut said, mut beaten_ms, mut held_ms, mut told_ms) = ((0, false, attempt.headway()), cx.now(), cx.now(), cx.now());
    beside(cx, fleet::appear(cx, attempt)).await;
    loop {
        // As it goes, so that a worker that vanishes has told what it did.
        beside(cx, attempt.diary.flush(cx.world.ledger())).await;
        cx.world.clock().sleep(step).await;
        let news = (attempt.progress.get(), attempt.encoding.load(Ordering::Relaxed), attempt.headway());
        let due = cx.now().saturating_sub(beaten_ms) >= lease_ms / 3;
        if news == said && !due {
            continue;
        }
        let beat = Beat { lease_ms, progress: news.0, encoding: news.1 };
        let beaten = |task: &Task, now| task.beat(attempt.fence, beat, now).map(|task| (attempt.with_headway(task), ()));
        match cx.move_task(&attempt.task.job, attempt.task.id, beaten).await {
            Ok(Ok(_)) => {
                (said, beaten_ms) = (news, cx.now());
                if cx.now().saturating_sub(told_ms) >= lease_ms / 3 {
                    told_ms = cx.now();
                    beside(cx, fleet::tell(cx, attempt, MemberState::Working)).await;
                }
                // Counted by itself: progress extends the lease so often that a beat is never due.
                if cx.now().saturating_sub(held_ms) >= lease_ms / 3 {
                    held_ms = cx.now();
                    beside(cx, cx.world.outbox().hold(delivery, Duration::from_millis(lease_ms))).await;
                }
            }
            Ok(Err(lost)) => return lost,
            // Another may take the task from here on: what this worker makes would be refused.
            Err(_) if cx.now().saturating_sub(beaten_ms) >= lease_ms => return Lost,
            Err(fault) => tracing::warn!(%fault, "the heartbeat could not be written"),
        }
    }
}

/// Only the ledger decides who works: a call of another store that gets no answer, and that the SDK repeats for more than a
/// minute, must not cost the lease. Three of them and two beats fit into one.
async fn beside<W: World>(cx: &Context<'_, W>, call: impl Future<Output = ()>) {
    let bound = cx.world.clock().sleep(Duration::from_millis(cx.policy.lease_ms / 6));
    select(pin!(call), pin!(bound)).await;
}
