//! What got stuck: messages lost between write and send, workers that died with their message.

use std::collections::BTreeSet;

use super::{Context, attempt, fleet, ingest, operator, publish, split, uploads};
use crate::{
    fault::Fault,
    id::{JobId, TaskId},
    job::{Job, JobEvent, JobState, StoredJob},
    message::TaskMessage,
    ports::{Ledger, Outbox, World},
    task::{Class, Task},
};

/// A task's message is re-sent at most once per doubling interval from here.
const FIRST_INTERVAL_MS: u64 = 15 * 60_000;
/// The interval doubles this often: 16 hours at most.
const MAX_DOUBLINGS: u32 = 6;
/// No worker that began before a job's end lives longer: Lambda's longest timeout and a minute for clocks.
const LAST_WORKER_MS: u64 = 16 * 60_000;
/// Open items looked at in one sweep, of each shard.
const LIMIT: u32 = 500;

/// What one sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub jobs: u32,
    pub resent: u32,
    /// Uploads that nobody had told of.
    pub taken: u32,
    /// Environments that were gone without a word.
    pub buried: u32,
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
    match uploads::take_lost(cx).await {
        Ok(taken) => swept.taken = taken,
        Err(fault) => tracing::warn!(%fault, "uploads without a job could not be looked for; the next sweep tries again"),
    }
    match fleet::bury(cx).await {
        Ok(buried) => swept.buried = buried,
        Err(fault) => tracing::warn!(%fault, "the fleet could not be looked over; the next sweep tries again"),
    }
    tracing::info!(jobs = swept.jobs, resent = swept.resent, taken = swept.taken, buried = swept.buried, "swept");
    Ok(swept)
}

async fn one<W: World>(cx: &Context<'_, W>, id: &JobId) -> Result<u32, Fault> {
    let Some(StoredJob { job, .. }) = cx.world.ledger().job(id).await? else { return Ok(0) };
    if job.state.is_ended() {
        operator::end_tasks(cx, id).await?;
        return tidy(cx, &job).await.map(|()| 0);
    }
    let tasks: Vec<Task> = cx.world.ledger().tasks(id).await?.into_iter().map(|stored| stored.task).collect();
    match job.state {
        JobState::Received if tasks.is_empty() => ingest::begin(cx, &job).await.map(|()| 1),
        JobState::Planned => split::announce(cx, id).await.map(|()| 1),
        // Chunks may be written down already, but there is no plan that their workers could obey.
        JobState::Received | JobState::Probed => {
            let split: Vec<Task> = tasks.into_iter().filter(|task| task.id == TaskId::Split).collect();
            resend(cx, id, &split).await
        }
        _ => resend(cx, id, &tasks).await,
    }
}

/// Deletes what workers left that came late, or died with objects that no record names, once none of them can live.
async fn tidy<W: World>(cx: &Context<'_, W>, job: &Job) -> Result<(), Fault> {
    if job.tidied || cx.now() < job.updated_ms.saturating_add(LAST_WORKER_MS) {
        return Ok(());
    }
    let listed = match (&job.state, &job.plan) {
        (JobState::Completed, Some(plan)) => publish::published(cx, &job.id, plan).await?,
        _ => BTreeSet::new(),
    };
    publish::delete_unlisted(cx, &job.id, &listed).await?;
    let _ = cx.move_job(&job.id, &JobEvent::Tidied).await?;
    Ok(())
}

/// Sends the messages of tasks that nobody works on and whose queue holds fewer messages than there are such tasks.
async fn resend<W: World>(cx: &Context<'_, W>, id: &JobId, tasks: &[Task]) -> Result<u32, Fault> {
    let now = cx.now();
    let parts_done = tasks.iter().filter(|t| t.id.is_part()).all(Task::is_done);
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
            let mark = |task: &Task, now| {
                let waits = attempt::is_idle(task, now) && due(task, now);
                waits.then(|| (Task { resent_ms: Some(now), resends: task.resends + 1, ..task.clone() }, ())).ok_or(())
            };
            if let Ok((task, ())) = cx.move_task(id, task.id, mark).await? {
                cx.world.outbox().send_tasks(class, &[TaskMessage::of(&task)]).await?;
                resent += 1;
            }
        }
    }
    Ok(resent)
}

/// Whether the interval since the last sending is over; it doubles with each one that no worker answered.
fn due(task: &Task, now_ms: u64) -> bool {
    let last = task.resent_ms.unwrap_or(0).max(task.updated_ms);
    now_ms.saturating_sub(last) >= FIRST_INTERVAL_MS << task.resends.min(MAX_DOUBLINGS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Found, Taker, Work};

    #[test]
    fn a_message_is_sent_again_after_15_then_30_then_60_minutes_however_old_its_task_is() {
        let job = "0123456789abcdef01234567".parse().unwrap();
        let minutes = |n: u64| n * 60_000;
        let mut task = Task::new(&job, TaskId::Merge, Class::Standard, Work::Merge, 0);
        task.updated_ms = minutes(600);
        let mut sent = Vec::new();
        for now in 600..720 {
            if due(&task, minutes(now)) {
                sent.push(now - 600);
                task = Task { resent_ms: Some(minutes(now)), resends: task.resends + 1, ..task };
            }
        }
        assert_eq!(sent, [15, 45, 105]);
        let taker = Taker { message: "m".into(), environment: "e".into(), lease_ms: 60_000, timeout_ms: 86_400_000 };
        let Found::Free { task, .. } = task.take(0, &taker, minutes(720)) else { panic!("free") };
        assert_eq!((task.resends, task.resent_ms), (0, None), "a message that came is not lost");
    }
}
