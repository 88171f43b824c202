//! What a person does to a job that got stuck: have its blocked tasks tried again, or give it up.
//!
//! Both may be stopped before any of their operations and given again with the same end.

use std::collections::BTreeSet;

use futures::future::try_join_all;

use super::{Context, attempt, publish};
use crate::{
    fault::Fault,
    id::{JobId, TaskId},
    job::{Job, JobEvent, JobState, StoredJob},
    message::TaskMessage,
    ports::{Ledger, Outbox, World, each_task},
    task::{StoredTask, Task, TaskState},
};

/// Tasks that are ended at a time.
const AT_ONCE: usize = 16;

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Unable {
    /// It makes no sense for this job: a sentence for a person, with what to do instead.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Has every blocked task of a job, or only one, tried again: each in a new generation with clean counts. What is done
/// stays done. Answers the tasks.
pub async fn retry<W: World>(cx: &Context<'_, W>, id: &JobId, only: Option<TaskId>) -> Result<Vec<TaskId>, Unable> {
    let StoredJob { job, blocked, .. } = existing(cx, id).await?;
    if let Some(reason) = over(&job) {
        return Err(Unable::Refused(reason));
    }
    let waits = |task: &Task| waits_for_a_person(task) || was_reopened(task) || blocked.contains(&task.id);
    let (mut chosen, mut parts): (Vec<TaskId>, u32) = (Vec::new(), 0);
    let take = |stored: StoredTask| {
        parts += u32::from(stored.task.id.is_part());
        chosen.extend(Some(stored.task.id).filter(|_| waits(&stored.task)));
    };
    each_task(cx.world.ledger(), id, take).await?;
    if job.plan.as_ref().is_some_and(|plan| job.state != JobState::Planned && parts < plan.parts()) {
        return Err(Unable::Refused(format!(
            "job {id} has waited for so long that the records of what was done have expired: `fanreel submit --again` starts it over"
        )));
    }
    chosen.retain(|task| only.is_none_or(|only| only == *task));
    if chosen.is_empty() {
        return Err(Unable::Refused(match only {
            Some(task) => format!("task {task} of job {id} does not wait for an operator; `fanreel status {id}` shows which do"),
            None => format!("no task of job {id} waits for an operator; it goes on by itself"),
        }));
    }
    for task in &chosen {
        reopen(cx, id, *task).await?;
    }
    Ok(chosen)
}

/// Ends a job: its messages die quietly, its workers stop at their next heartbeat, what it made is deleted, now or, once
/// its merge was begun, by the sweep. The source stays. `false`: it was cancelled before.
pub async fn cancel<W: World>(cx: &Context<'_, W>, id: &JobId) -> Result<bool, Unable> {
    existing(cx, id).await?;
    let (job, moved) = cx
        .move_job(id, &JobEvent::Cancelled)
        .await?
        .map_err(|contradiction| Unable::Refused(format!("job {id} is {} already: there is nothing to cancel", contradiction.state)))?;
    end_tasks(cx, &job.id).await?;
    // A merge that was begun may be publishing: what it makes visible stays whole until no worker of it can live, and goes
    // with the sweep.
    let merge = cx.world.ledger().task(id, TaskId::Merge).await?;
    if merge.is_none_or(|stored| stored.task.fence == 0) {
        publish::delete_unlisted(cx, id, &BTreeSet::new()).await?;
    }
    Ok(moved)
}

async fn existing<W: World>(cx: &Context<'_, W>, id: &JobId) -> Result<StoredJob, Unable> {
    let found = cx.world.ledger().job(id).await?;
    found.ok_or_else(|| Unable::Refused(format!("there is no job {id}; `fanreel jobs` lists what there is")))
}

/// Why nothing of this job can be tried again.
fn over(job: &Job) -> Option<String> {
    let id = &job.id;
    let again = "`fanreel submit --again` starts it over";
    match &job.state {
        JobState::Completed => Some(format!("job {id} is completed: there is nothing to retry; {again}")),
        JobState::Partial { .. } => Some(format!("job {id} saved what can be decoded of its source: there is nothing to retry; {again}")),
        JobState::Cancelled => Some(format!("job {id} was cancelled; {again}")),
        JobState::Rejected { reason } => Some(format!("job {id} was rejected, since its source is at fault ({reason}); {again}")),
        _ => None,
    }
}

fn waits_for_a_person(task: &Task) -> bool {
    // One that was blocked by its source only waits for its job to be rejected.
    matches!(&task.state, TaskState::Blocked { fault } if !matches!(fault, Fault::Reject(_)))
}

/// An operator who reopened it may have died before its message was sent.
fn was_reopened(task: &Task) -> bool {
    task.generation > 0 && task.attempts == 0 && task.state == TaskState::Open
}

async fn reopen<W: World>(cx: &Context<'_, W>, job: &JobId, id: TaskId) -> Result<(), Fault> {
    let reopened = cx.move_task(job, id, |task, now| task.reopened(now).map(|next| (next, ())).ok_or_else(|| Box::new(task.clone())));
    let task = match reopened.await? {
        Ok((task, ())) => task,
        Err(task) => *task,
    };
    // Before its message is sent: a worker that blocks it at once puts it back.
    cx.world.ledger().set_blocked(job, id, false).await?;
    if attempt::is_idle(&task, cx.now()) {
        tracing::info!(%job, task = %id, generation = task.generation, "an operator has it tried again");
        cx.world.outbox().send_tasks(task.class, &[TaskMessage::of(&task)]).await?;
    }
    Ok(())
}

/// The tasks of an ended job leave the index of open work, and nothing of it waits for an operator.
pub(super) async fn end_tasks<W: World>(cx: &Context<'_, W>, id: &JobId) -> Result<(), Fault> {
    let (mut leased, mut unfinished) = (Vec::new(), Vec::new());
    let take = |stored: StoredTask| {
        let works = matches!(stored.task.state, TaskState::Leased(_));
        let ended = stored.task.ended(0).map(|task| task.id);
        if works { leased.extend(ended) } else { unfinished.extend(ended) }
    };
    each_task(cx.world.ledger(), id, take).await?;
    // Workers first: they stop when they see it.
    unfinished.splice(..0, leased);
    for some in unfinished.chunks(AT_ONCE) {
        let ends = some.iter().map(|task| cx.move_task(id, *task, |task, now| task.ended(now).map(|t| (t, ())).ok_or(())));
        try_join_all(ends).await?;
    }
    let blocked = cx.world.ledger().job(id).await?.map(|stored| stored.blocked).unwrap_or_default();
    for task in blocked {
        cx.world.ledger().set_blocked(id, task, false).await?;
    }
    Ok(())
}
