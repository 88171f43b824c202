//! What follows an attempt: its record, what its fault leads to, and the tail of a done task.

use std::time::Duration;

use super::{
    Context, Diary, Ending,
    attempt::{Attempt, lost, release},
    metered, operator, refused, seconds, split,
};
use crate::{
    event::EventKind,
    fault::{Fault, Shortage},
    id::TaskId,
    job::{Job, JobEvent, JobState},
    message::{EscalationMessage, TaskMessage},
    plan::SCHEMA,
    ports::{Clock, Delivery, DoneSet, Ledger, Outbox, World, each_task},
    result::TaskResult,
    task::{AfterFault, Lost, Task, Work},
    trace::SpanId,
};

/// Tasks in one block of the done set.
const BLOCK: u32 = 512;

/// Writes the end of an attempt down before it is acknowledged.
pub(super) async fn settle<W: World>(
    cx: &Context<'_, W>,
    delivery: &Delivery,
    attempt: &Attempt<'_>,
    result: Result<TaskResult, Fault>,
) -> Result<Ending, Fault> {
    let (job, id, fence) = (&attempt.task.job, attempt.task.id, attempt.fence);
    let used = attempt.metered.used(cx);
    match result {
        Ok(result) => {
            let finish = |task: &Task, now| task.finish(fence, result.clone(), now).map(|t| (t.having_used(used), ()));
            let written = match cx.move_task(job, id, finish).await {
                // The ledger will never take this record: no other try may end in the same way unseen.
                Err(fault @ Fault::Escalate { .. }) => return Box::pin(settle(cx, delivery, attempt, Err(fault))).await,
                written => written?,
            };
            if written.is_err() {
                return Ok(lost(attempt));
            }
            measured(&attempt.task, &result, cx.now());
            metered::told(attempt, &used, "");
            tail(cx, &attempt.job, id, attempt.task.generation, Some(attempt.span())).await?;
            leave_nothing(cx, &cx.existing_job(job).await?.job).await?;
            Ok(Ending::Done)
        }
        // There are only so many parts, and `JOB_TIMEOUT`.
        Err(Fault::Escalate { reason: Shortage::Time, .. }) if attempt.finished_parts() > 0 => {
            let what = format!("out of time with {} more finished: the next attempt goes on from there", attempt.finished_parts());
            attempt.diary.note(cx.now(), EventKind::ContainerErrorRetry, what.as_str());
            release(cx, delivery, attempt, &what).await
        }
        Err(fault) => {
            let current = cx.existing_job(job).await?.job;
            if current.state.is_ended() {
                // It has no use for the fault, which may be nothing but its end.
                tracing::info!(%fault, "the job ended while its task was at work");
                leave_nothing(cx, &current).await?;
                let _ = cx.move_task(job, id, |task, now| task.ended(now).map(|t| (t, ())).ok_or(())).await?;
                return Ok(Ending::Done);
            }
            let random = cx.world.clock().random();
            let policy = cx.policy.retry;
            let failed = |task: &Task, now| {
                // Its headway first: a death after it is the first in a row.
                let (task, next) = attempt.with_headway(task.clone()).fail(fence, fault.clone(), policy, random, now)?;
                Ok::<_, Lost>((task.having_used(used), next))
            };
            let written = cx.move_task(job, id, failed).await?;
            let Ok((task, next)) = written else { return Ok(lost(attempt)) };
            // That it came early is nobody's failure.
            let why = if matches!(fault, Fault::Early(_)) { String::new() } else { fault.to_string() };
            metered::told(attempt, &used, &why);
            after_fault(cx, delivery, &attempt.job, &task, next, &attempt.diary).await
        }
    }
}

/// A done task, for the metrics: how long it waited for its first worker, how long this attempt was at work.
fn measured(task: &Task, result: &TaskResult, now_ms: u64) {
    let cost = result.cost();
    let stage = task.work.stage();
    let begun_ms = task.begun_ms.unwrap_or(now_ms);
    let queue_seconds = seconds(begun_ms.saturating_sub(task.created_ms));
    // As it was leased: later writes are not in it.
    let task_seconds = seconds(now_ms.saturating_sub(task.updated_ms));
    let frames = if matches!(task.work, Work::Chunk(_)) { task.work.total() } else { 0 };
    let (read_bytes, stored_bytes) = (cost.read_bytes, cost.stored_bytes);
    tracing::info!(
        metrics = "tasks=Count,queue_seconds=Seconds,task_seconds=Seconds,frames=Count,read_bytes=Bytes,stored_bytes=Bytes",
        dimensions = "stage",
        tasks = 1,
        stage,
        queue_seconds,
        task_seconds,
        frames,
        read_bytes,
        stored_bytes,
        "task done"
    );
}

/// Every fault ends in something that leads on.
pub(super) async fn after_fault<W: World>(
    cx: &Context<'_, W>,
    delivery: &Delivery,
    job: &Job,
    task: &Task,
    next: AfterFault,
    diary: &Diary<'_>,
) -> Result<Ending, Fault> {
    let fault = task.last_fault.as_deref().unwrap_or("unknown");
    let outbox = cx.world.outbox();
    match next {
        AfterFault::Backoff { delay_ms } => {
            diary.note(cx.now(), EventKind::ContainerErrorRetry, format!("retry {} in {delay_ms} ms: {fault}", task.faults));
            outbox.hold(delivery, Duration::from_millis(delay_ms)).await;
            Ok(Ending::Failed)
        }
        AfterFault::Raised => {
            diary.note(cx.now(), EventKind::ResourceUtilizationThresholdReached, format!("goes to the large class: {fault}"));
            let sender = SpanId::of_attempt(&task.job, task.id, task.fence);
            outbox.send_tasks(task.class, &[TaskMessage::of(task).sent_by(Some(sender))]).await?;
            Ok(Ending::Done)
        }
        AfterFault::Blocked => {
            diary.note(cx.now(), EventKind::ContainerErrorEscalation, fault);
            block(cx, task).await?;
            Ok(Ending::Done)
        }
        // The last of it may have been done, and its message have found this attempt's lease, since the attempt looked.
        AfterFault::Awaited if all_parts_done(cx, job).await? => {
            outbox.hold(delivery, Duration::ZERO).await;
            Ok(Ending::Failed)
        }
        AfterFault::Awaited => {
            tracing::info!("what it waits for is not done yet: its message comes again with the last of that");
            Ok(Ending::Done)
        }
        AfterFault::Rejected { reason } => {
            tracing::warn!(%reason, "the source is at fault: the job is rejected");
            match cx.move_job(&job.id, &JobEvent::Rejected { reason }).await? {
                Ok(_) => {
                    cleanup(cx, &job.id).await?;
                    // Whoever is at work on another part of it stops with the next heartbeat.
                    operator::end_tasks(cx, &job.id).await?;
                }
                Err(contradiction) => tracing::warn!(%contradiction, "the job ended otherwise"),
            }
            let _ = cx.move_task(&task.job, task.id, |task, now| task.ended(now).map(|t| (t, ())).ok_or(())).await?;
            Ok(Ending::Done)
        }
    }
}

async fn all_parts_done<W: World>(cx: &Context<'_, W>, job: &Job) -> Result<bool, Fault> {
    let Some(plan) = &job.plan else { return Ok(false) };
    let mut done = 0;
    each_task(cx.world.ledger(), &job.id, |stored| done += u32::from(stored.task.is_done() && plan.place(stored.task.id).is_some()))
        .await?;
    Ok(done >= plan.parts())
}

/// The operator is told and the job shows as escalated: in this order, so that a task in the set is one that was told of.
pub(super) async fn block<W: World>(cx: &Context<'_, W>, task: &Task) -> Result<(), Fault> {
    let message = EscalationMessage { schema: SCHEMA, job: task.job.clone(), task: task.id, generation: task.generation };
    cx.world.outbox().escalate(&message).await?;
    cx.world.ledger().set_blocked(&task.job, task.id, true).await
}

/// A job that was rejected while a worker of it was at work: what the worker stored may have come after the clean-up.
async fn leave_nothing<W: World>(cx: &Context<'_, W>, job: &Job) -> Result<(), Fault> {
    if matches!(job.state, JobState::Rejected { .. }) { cleanup(cx, &job.id).await } else { Ok(()) }
}

/// A rejected job keeps nothing that nobody may see.
async fn cleanup<W: World>(cx: &Context<'_, W>, job: &crate::id::JobId) -> Result<(), Fault> {
    super::publish::delete_unlisted(cx, job, &std::collections::BTreeSet::new()).await
}

/// What follows a done task; run again whenever its message comes again. `sender`: the attempt that did it, where this is it.
pub(super) async fn tail<W: World>(
    cx: &Context<'_, W>,
    job: &Job,
    id: TaskId,
    generation: u32,
    sender: Option<SpanId>,
) -> Result<(), Fault> {
    if generation > 0 {
        // It was blocked once; whoever blocked or resolved it may have left it in the set.
        cx.world.ledger().set_blocked(&job.id, id, false).await?;
    }
    match id {
        TaskId::Split => split::announce(cx, &job.id, sender).await,
        TaskId::Merge => Ok(()),
        _ => {
            if is_last(cx, job, id).await? {
                let merge = cx.world.ledger().task(&job.id, TaskId::Merge).await?;
                let generation = merge.map_or(0, |stored| stored.task.generation);
                let message = TaskMessage::new(&job.id, TaskId::Merge, generation).sent_by(sender);
                cx.world.outbox().send_tasks(crate::task::Class::Standard, &[message]).await?;
            }
            Ok(())
        }
    }
}

/// Adds the task to the sets of done tasks; whether all are in. A hint: the merge reads every task again.
async fn is_last<W: World>(cx: &Context<'_, W>, job: &Job, id: TaskId) -> Result<bool, Fault> {
    let plan = job.plan.as_ref().ok_or_else(|| refused(&crate::job::Contradiction { state: job.state.name(), event: "a done task" }))?;
    let total = plan.parts();
    let Some(number) = plan.place(id) else { return Ok(false) };
    let ledger = cx.world.ledger();
    let (block, blocks) = (number / BLOCK, total.div_ceil(BLOCK));
    let in_block = BLOCK.min(total - block * BLOCK);
    if ledger.mark_done(&job.id, DoneSet::Block(block), number).await? < in_block {
        return Ok(false);
    }
    Ok(ledger.mark_done(&job.id, DoneSet::Parent, block).await? >= blocks)
}
