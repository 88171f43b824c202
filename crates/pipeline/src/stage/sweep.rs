//! What got stuck: messages lost between write and send, workers that died with their message.

use std::collections::BTreeSet;

use super::{Context, attempt, fleet, ingest, operator, publish, split, strays, uploads};
use crate::{
    fault::Fault,
    id::{JobId, TaskId},
    job::{Job, JobEvent, JobState, StoredJob},
    message::TaskMessage,
    ports::{Clock, Ledger, Outbox, World, each_task},
    task::{Class, Task, TaskState},
};

/// A task's message is re-sent at most once per doubling interval from here.
const FIRST_INTERVAL_MS: u64 = 15 * 60_000;
/// The interval doubles this often: 16 hours at most.
const MAX_DOUBLINGS: u32 = 6;
/// Where a queue holds as many messages as there are tasks that wait for one, nothing seems to be lost. They may be others'
/// messages, or such as nothing can read: once the job moves no more, it only makes the intervals this many times as long.
const DOUBT: u64 = 4;
/// Messages of a job's queue that are sent again at most in one sweep where nothing seems to be lost.
const IN_DOUBT: usize = 50;
/// No worker that began before a job's end lives longer: Lambda's longest timeout and a minute for clocks.
const LAST_WORKER_MS: u64 = 16 * 60_000;
/// A sweep sends nothing again and clears nothing this long before Lambda would end it: the next one goes on.
pub(super) const REPORT_MS: u64 = 20_000;
/// Nor any job this long before: what it looks for besides is not to wait behind them for ever.
const OTHERS_MS: u64 = 60_000;

/// What one sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub jobs: u32,
    pub resent: u32,
    /// Uploads that nobody had told of.
    pub taken: u32,
    /// Uploads that could not be looked at.
    pub unseen: u32,
    /// Environments that were gone without a word.
    pub buried: u32,
    /// Objects of jobs that nobody knows.
    pub cleared: u32,
}

/// Looks at every open job that has not moved for the first interval.
pub async fn sweep<W: World>(cx: &Context<'_, W>) -> Result<Swept, Fault> {
    let before = cx.now().saturating_sub(FIRST_INTERVAL_MS);
    let mut jobs = cx.world.ledger().open_due(before).await?;
    // Jobs may wait for a person for weeks: where there are more than one sweep can look at, each begins elsewhere.
    let first = beginning(jobs.len(), cx.world.clock().random());
    jobs.rotate_left(first);
    let mut swept = Swept::default();
    for job in jobs {
        if is_late(cx, OTHERS_MS) {
            tracing::warn!(looked_at = swept.jobs, "there was no time for more jobs; the next sweep begins with others");
            break;
        }
        swept.jobs += 1;
        // Boxed: over an SDK's own futures it is too deep for the compiler.
        match Box::pin(one(cx, &job)).await {
            Ok(resent) => swept.resent += resent,
            Err(fault) => tracing::warn!(%job, %fault, "this job could not be swept; the next sweep tries again"),
        }
    }
    (swept.taken, swept.unseen) = uploads::take_lost(cx).await;
    match fleet::bury(cx).await {
        Ok(buried) => swept.buried = buried,
        Err(fault) => tracing::warn!(%fault, "the fleet could not be looked over; the next sweep tries again"),
    }
    match strays::clear(cx).await {
        Ok(cleared) => swept.cleared = cleared,
        Err(fault) => tracing::warn!(%fault, "what unknown jobs left could not be looked for; the next sweep tries again"),
    }
    let Swept { jobs, resent, taken, unseen, buried, cleared } = swept;
    tracing::info!(jobs, resent, taken, unseen, buried, cleared, "swept");
    Ok(swept)
}

/// Whether less than so much is left of the sweep's time.
pub(super) fn is_late<W: World>(cx: &Context<'_, W>, left_ms: u64) -> bool {
    cx.now().saturating_add(left_ms) >= cx.request.deadline_ms
}

/// Where to begin among so many; `random` in 0..1.
pub(super) fn beginning(count: usize, random: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place among jobs")]
    let place = (count as f64 * random.clamp(0.0, 1.0)) as usize;
    place.min(count.saturating_sub(1))
}

/// What a sweep must know of a job's tasks.
struct Waiting {
    /// There is a task at all.
    any: bool,
    parts_done: bool,
    /// When any of them was written last by who works on it, milliseconds since 1970.
    moved_ms: u64,
    /// Tasks that nobody works on.
    idle: Vec<Task>,
}

impl Waiting {
    /// `blocked`: tasks of which the operator was told.
    async fn of<W: World>(cx: &Context<'_, W>, id: &JobId, blocked: &[TaskId]) -> Result<Self, Fault> {
        let now = cx.now();
        let mut waiting = Self { any: false, parts_done: true, moved_ms: 0, idle: Vec::new() };
        let take = |stored: crate::task::StoredTask| {
            waiting.any = true;
            waiting.moved_ms = waiting.moved_ms.max(stored.task.updated_ms);
            waiting.parts_done &= stored.task.is_done() || !stored.task.id.is_part();
            let waits = attempt::is_idle(&stored.task, now) || is_untold(&stored.task, blocked);
            waiting.idle.extend(waits.then_some(stored.task));
        };
        each_task(cx.world.ledger(), id, take).await?;
        if !waiting.parts_done {
            waiting.idle.retain(|task| task.id != TaskId::Merge);
        }
        Ok(waiting)
    }
}

async fn one<W: World>(cx: &Context<'_, W>, id: &JobId) -> Result<u32, Fault> {
    let Some(StoredJob { job, blocked, .. }) = cx.world.ledger().job(id).await? else { return Ok(0) };
    if job.state.is_ended() {
        operator::end_tasks(cx, id).await?;
        return tidy(cx, &job).await.map(|()| 0);
    }
    if job.state == JobState::Planned {
        return split::announce(cx, id, None).await.map(|()| 1);
    }
    let mut waiting = Waiting::of(cx, id, &blocked).await?;
    match job.state {
        JobState::Received if !waiting.any => ingest::begin(cx, &job).await.map(|()| 1),
        // Chunks may be written down already, but there is no plan that their workers could obey.
        JobState::Received | JobState::Probed => {
            waiting.idle.retain(|task| task.id == TaskId::Split);
            resend(cx, id, &waiting, &blocked).await
        }
        _ => resend(cx, id, &waiting, &blocked).await,
    }
}

/// Deletes what workers left that came late, or died with objects that no record names, once none of them can live.
async fn tidy<W: World>(cx: &Context<'_, W>, job: &Job) -> Result<(), Fault> {
    if job.tidied || cx.now() < job.updated_ms.saturating_add(LAST_WORKER_MS) {
        return Ok(());
    }
    let listed = match (&job.state, &job.plan) {
        (state, Some(plan)) if state.is_published() => publish::published(cx, &job.id, plan).await?,
        _ => BTreeSet::new(),
    };
    publish::delete_unlisted(cx, &job.id, &listed).await?;
    if !job.state.is_published() {
        // Not before: a split that is still at work would write its plan anew.
        publish::delete_manifests(cx, &job.id).await?;
    }
    let _ = cx.move_job(&job.id, &JobEvent::Tidied).await?;
    Ok(())
}

/// Whether whoever gave the task to the operator died before it told anyone: who takes its message does that.
pub(super) fn is_untold(task: &Task, blocked: &[TaskId]) -> bool {
    matches!(task.state, TaskState::Blocked { .. }) && !blocked.contains(&task.id)
}

/// Sends the messages of tasks that nobody works on: soon, where their queue holds fewer messages than there are such tasks.
async fn resend<W: World>(cx: &Context<'_, W>, id: &JobId, waiting: &Waiting, blocked: &[TaskId]) -> Result<u32, Fault> {
    let now = cx.now();
    let rests = now.saturating_sub(waiting.moved_ms) >= FIRST_INTERVAL_MS;
    let mut resent = 0;
    for class in [Class::Standard, Class::Large] {
        let idle: Vec<&Task> = waiting.idle.iter().filter(|t| t.class == class).collect();
        let Some(first) = idle.first() else { continue };
        let covered = cx.world.outbox().depth(first.id, class).await? >= idle.len() as u64;
        if covered && !rests {
            continue;
        }
        let most = if covered { IN_DOUBT } else { usize::MAX };
        for task in idle.into_iter().filter(|task| due(task, covered, now)).take(most) {
            if is_late(cx, REPORT_MS) {
                break;
            }
            let mark = |task: &Task, now| {
                let waits = (attempt::is_idle(task, now) || is_untold(task, blocked)) && due(task, covered, now);
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

/// Whether the interval since the last sending is over; it doubles with each one that no worker answered. `covered`: its queue
/// holds so many messages that its own may be among them.
pub(super) fn due(task: &Task, covered: bool, now_ms: u64) -> bool {
    let last = task.resent_ms.unwrap_or(0).max(task.updated_ms);
    let interval = FIRST_INTERVAL_MS << task.resends.min(MAX_DOUBLINGS);
    now_ms.saturating_sub(last) >= if covered { interval * DOUBT } else { interval }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Found, Taker, Work};

    #[test]
    fn a_sweep_may_begin_at_every_job() {
        let places: BTreeSet<usize> = (0..100).map(|n| beginning(5, f64::from(n) / 100.0)).collect();
        assert_eq!(places, (0..5).collect());
        assert_eq!((beginning(0, 0.9), beginning(5, 1.0)), (0, 4));
    }

    #[test]
    fn a_message_is_sent_again_after_15_then_30_then_60_minutes_however_old_its_task_is() {
        let job = "0123456789abcdef01234567".parse().unwrap();
        let minutes = |n: u64| n * 60_000;
        let mut task = Task::new(&job, TaskId::Merge, Class::Standard, Work::Merge, 0);
        task.updated_ms = minutes(600);
        let mut sent = Vec::new();
        for now in 600..720 {
            if due(&task, false, minutes(now)) {
                sent.push(now - 600);
                task = Task { resent_ms: Some(minutes(now)), resends: task.resends + 1, ..task };
            }
        }
        assert_eq!(sent, [15, 45, 105]);
        assert!(!due(&task, true, minutes(705 + 4 * 120 - 1)) && due(&task, true, minutes(705 + 4 * 120)), "never is not an interval");
        let taker = Taker {
            message: "m".into(),
            environment: "e".into(),
            lease_ms: 60_000,
            timeout_ms: 86_400_000,
            room: crate::usage::Room::default(),
        };
        let Found::Free { task, .. } = task.take(0, &taker, minutes(720)) else { panic!("free") };
        assert_eq!((task.resends, task.resent_ms), (0, None), "a message that came is not lost");
    }
}
