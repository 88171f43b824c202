//! What got stuck: messages lost between write and send, workers that died with their message.

use std::collections::BTreeSet;

use super::{Context, attempt, ingest, split};
use crate::{
    fault::Fault,
    id::{JobId, TaskId},
    job::{JobState, StoredJob},
    message::TaskMessage,
    ports::{Ledger, Outbox, World},
    task::{Class, Task, TaskState},
};

/// A task's message is re-sent at most once per doubling interval from here.
const FIRST_INTERVAL_MS: u64 = 15 * 60_000;
/// Open items looked at in one sweep, of each shard.
const LIMIT: u32 = 500;

/// What one sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub jobs: u32,
    pub resent: u32,
}

/// Looks at every open job that has not moved for the first interval.
pub async fn sweep<W: World>(cx: &Context<'_, W>) -> Result<Swept, Fault> {
    let before = cx.now().saturating_sub(FIRST_INTERVAL_MS);
    let open = cx.world.ledger().open_due(before, LIMIT).await?;
    let jobs: BTreeSet<JobId> = open.into_iter().map(|item| item.job).collect();
    let mut swept = Swept::default();
    for job in jobs {
        swept.jobs += 1;
        // Boxed: over an SDK's own futures it is too deep for the compiler.
        match Box::pin(one(cx, &job)).await {
            Ok(resent) => swept.resent += resent,
            Err(fault) => tracing::warn!(%job, %fault, "this job could not be swept; the next sweep tries again"),
        }
    }
    tracing::info!(jobs = swept.jobs, resent = swept.resent, "swept");
    Ok(swept)
}

async fn one<W: World>(cx: &Context<'_, W>, id: &JobId) -> Result<u32, Fault> {
    let Some(StoredJob { job, .. }) = cx.world.ledger().job(id).await? else { return Ok(0) };
    let tasks: Vec<Task> = cx.world.ledger().tasks(id).await?.into_iter().map(|stored| stored.task).collect();
    if job.state.is_ended() {
        for task in &tasks {
            let _ = cx.move_task(id, task.id, |task, now| task.ended(now).map(|t| (t, ())).ok_or(())).await?;
        }
        return Ok(0);
    }
    match job.state {
        JobState::Received if tasks.is_empty() => ingest::begin(cx, &job).await.map(|()| 1),
        JobState::Planned => split::announce(cx, id).await.map(|()| 1),
        _ => resend(cx, id, &tasks).await,
    }
}

/// Sends the messages of tasks that nobody works on and whose queue holds fewer messages than there are such tasks.
async fn resend<W: World>(cx: &Context<'_, W>, id: &JobId, tasks: &[Task]) -> Result<u32, Fault> {
    let now = cx.now();
    let parts_done = tasks.iter().filter(|t| matches!(t.id, TaskId::Chunk(_) | TaskId::Audio(_))).all(Task::is_done);
    let waits = |task: &&Task| match task.id {
        TaskId::Merge => parts_done && attempt::is_idle(task, now),
        _ => attempt::is_idle(task, now),
    };
    let mut resent = 0;
    for class in [Class::Standard, Class::Large] {
        let idle: Vec<&Task> = tasks.iter().filter(|t| t.class == class).filter(waits).collect();
        let Some(first) = idle.first() else { continue };
        if cx.world.outbox().depth(first.id, class).await? >= idle.len() as u64 {
            continue;
        }
        for task in idle.into_iter().filter(|task| due(task, now)) {
            let marked = cx.move_task(id, task.id, |task, now| Ok::<_, ()>((Task { resent_ms: Some(now), ..task.clone() }, ()))).await?;
            if let Ok((task, ())) = marked
                && !matches!(task.state, TaskState::Done)
            {
                cx.world.outbox().send_tasks(class, &[TaskMessage::new(id, task.id, task.generation)]).await?;
                resent += 1;
            }
        }
    }
    Ok(resent)
}

/// Whether the doubling interval since the last sending is over.
fn due(task: &Task, now_ms: u64) -> bool {
    let last = task.resent_ms.unwrap_or(0).max(task.updated_ms);
    let interval = match task.resent_ms {
        None => FIRST_INTERVAL_MS,
        Some(resent) => resent.saturating_sub(task.created_ms).max(FIRST_INTERVAL_MS),
    };
    now_ms.saturating_sub(last) >= interval
}
