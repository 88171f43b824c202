//! One attempt at a task: what the message finds, the lease, the heartbeat, the work, the fault, the tail.
//!
//! The ledger alone decides who works; a queue's visibility only decides when a message is looked at again.

use std::{
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::{Either, select};
use tracing::Instrument;

use super::{
    Context, Diary, Ending, audio, chunk, fleet, ingest, merge,
    metered::{self, Metered},
    refused, seconds, split, stills, text,
};
use crate::{
    cost::Prices,
    encoder::{Encoder, Progress},
    event::EventKind,
    fault::{Fault, Shortage},
    fleet::MemberState,
    headway::Headway,
    id::TaskId,
    job::{Job, JobEvent, JobState},
    message::{EscalationMessage, TaskMessage},
    plan::SCHEMA,
    ports::{Clock, Delivery, DoneSet, Ledger, Outbox, World},
    result::TaskResult,
    task::{AfterFault, Beat, Found, Lost, Taker, Task, TaskState, Work},
};

/// How often progress is written while it moves.
const PROGRESS_MS: u64 = 2_000;
/// The work stops this long before Lambda would end it, to report in time.
const REPORT_MS: u64 = 10_000;
/// How long a message that only a newer worker can read is left alone: its 100 receives outlast the queue's four days, so
/// that it is never dead-lettered.
const NEWER_SCHEMA: Duration = Duration::from_secs(3600);
/// How long the update of a stack may take in which functions of both layers work.
const UPDATE_MS: u64 = 300_000;
/// How long a message waits for its end at a time.
const UPDATE_STEP: Duration = Duration::from_secs(60);
/// Tasks in one block of the done set.
pub const BLOCK: u32 = 512;

/// What runs beside the work and is seen by both.
pub(super) struct Attempt<'a> {
    pub job: Job,
    pub task: Task,
    pub fence: u64,
    pub progress: Progress,
    /// The encoder is running.
    pub encoding: AtomicBool,
    /// That something is nearly used up was told already.
    pub warned: AtomicBool,
    pub metered: Metered,
    /// By which what it used is priced, where it has written them down itself: the split.
    pub prices: OnceLock<Prices>,
    headway: Mutex<Headway>,
    pub diary: Diary<'a>,
}

impl Attempt<'_> {
    /// What was finished of the task so far, by whatever attempt.
    pub fn headway(&self) -> Headway {
        self.headway.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Something more is.
    pub fn finished(&self, part: impl FnOnce(&mut Headway)) {
        part(&mut self.headway.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Files that this attempt finished.
    fn new_files(&self) -> usize {
        let before = self.task.headway.as_ref().map_or(0, |headway| headway.files.len());
        self.headway().files.len().saturating_sub(before)
    }

    /// The task as it is to be written, and what of it need not be done again.
    fn with_headway(&self, task: Task) -> Task {
        Task { headway: Some(self.headway()).filter(|headway| !headway.is_none()), ..task }
    }
}

/// Handles one message of a task queue.
pub async fn task<W: World>(cx: &Context<'_, W>, delivery: &Delivery, body: &str) -> Ending {
    let message: TaskMessage = match serde_json::from_str(body) {
        Ok(message) => message,
        Err(error) => {
            tracing::error!(%error, body, "this message is no task; after its receives are used up it goes to the dead letters");
            return Ending::Failed;
        }
    };
    let span =
        tracing::info_span!("task", job = %message.job, task = %message.task, attempt = tracing::field::Empty, request = %cx.request.id);
    // Boxed: nested by value over an SDK's own futures, stages are too deep for the compiler.
    Box::pin(async {
        match handle(cx, delivery, &message).await {
            Ok(ending) => ending,
            Err(fault) => {
                tracing::warn!(%fault, "the ledger or a queue could not be reached: the message comes back");
                Ending::Failed
            }
        }
    })
    .instrument(span)
    .await
}

async fn handle<W: World>(cx: &Context<'_, W>, delivery: &Delivery, message: &TaskMessage) -> Result<Ending, Fault> {
    if message.schema > SCHEMA {
        tracing::warn!(schema = message.schema, "a newer worker must read this message: returned");
        cx.world.outbox().hold(delivery, NEWER_SCHEMA).await;
        return Ok(Ending::Failed);
    }
    let metered = Metered::begin(cx);
    let Some(stored) = cx.world.ledger().job(&message.job).await? else {
        tracing::info!("the job is gone: its message dies");
        return Ok(Ending::Done);
    };
    if stored.job.state.is_ended() {
        return end_task(cx, message).await;
    }
    if has_another_layer(cx, &stored.job, message.task).await? {
        return meet_another_layer(cx, delivery, &stored.job).await;
    }
    let taker = Taker {
        message: delivery.message.clone(),
        environment: cx.request.environment.clone(),
        lease_ms: cx.policy.lease_ms,
        timeout_ms: cx.policy.job_timeout_ms,
        room: metered.room(cx),
    };
    let decided = cx
        .move_task(&message.job, message.task, |task, now| match task.take_as(message.class, message.generation, &taker, now) {
            Found::Free { task, died } => Ok((task, Taken::Leased { died })),
            Found::Spent { task, next } => Ok((task, Taken::Spent(next))),
            found => Err(Box::new(found)),
        })
        .await?;
    let found = match decided {
        Ok((task, Taken::Leased { died })) => return Ok(Box::pin(work(cx, delivery, stored.job, task, died, metered)).await),
        Ok((task, Taken::Spent(next))) => return told(cx, delivery, &stored.job, &task, next).await,
        Err(found) => *found,
    };
    match found {
        Found::Blocked { task, next } if !stored.blocked.contains(&task.id) => told(cx, delivery, &stored.job, &task, next).await,
        Found::Raised { task } => told(cx, delivery, &stored.job, &task, AfterFault::Raised).await,
        Found::Done => tail(cx, &stored.job, message.task, message.generation).await.map(|()| Ending::Done),
        Found::Held { until_ms, same: true } => {
            let rest = until_ms.saturating_sub(cx.now());
            cx.world.outbox().hold(delivery, Duration::from_millis(rest)).await;
            Ok(Ending::Failed)
        }
        _ => Ok(Ending::Done),
    }
}

/// Whether a task that waits for work was planned with other tools than this worker's. A merge needs none.
async fn has_another_layer<W: World>(cx: &Context<'_, W>, job: &Job, id: TaskId) -> Result<bool, Fault> {
    let Some(plan) = &job.plan else { return Ok(false) };
    if !id.is_part() || plan.layer == cx.world.encoder().layer() {
        return Ok(false);
    }
    Ok(cx.world.ledger().task(&job.id, id).await?.is_some_and(|stored| is_idle(&stored.task, cx.now())))
}

/// The layer was updated while the job was at work: its segments would not fit together. While an update is under way, old
/// workers and new ones would start a job over in turns: a young plan waits.
async fn meet_another_layer<W: World>(cx: &Context<'_, W>, delivery: &Delivery, job: &Job) -> Result<Ending, Fault> {
    if cx.now() < job.updated_ms.saturating_add(UPDATE_MS) {
        tracing::warn!("planned a moment ago with another ffmpeg layer than this worker's: the message waits");
        cx.world.outbox().hold(delivery, UPDATE_STEP).await;
        return Ok(Ending::Failed);
    }
    tracing::warn!("planned with another ffmpeg layer than this worker's: the job starts over");
    ingest::start_over(cx, job).await?;
    Ok(Ending::Done)
}

/// What follows a fault, outside of an attempt.
async fn told<W: World>(cx: &Context<'_, W>, delivery: &Delivery, job: &Job, task: &Task, next: AfterFault) -> Result<Ending, Fault> {
    let diary = Diary::new(&task.job, task.id, task.attempts, cx.request);
    let ending = after_fault(cx, delivery, job, task, next, &diary).await;
    diary.flush(cx.world.ledger()).await;
    ending
}

enum Taken {
    Leased { died: bool },
    Spent(AfterFault),
}

/// The job ended: its other tasks leave the index of open work, their messages die quietly.
async fn end_task<W: World>(cx: &Context<'_, W>, message: &TaskMessage) -> Result<Ending, Fault> {
    if cx.world.ledger().task(&message.job, message.task).await?.is_none() {
        // Its record expired, or the job ended before it had one.
        return Ok(Ending::Done);
    }
    let _ = cx.move_task(&message.job, message.task, |task, now| task.ended(now).map(|t| (t, ())).ok_or(())).await?;
    Ok(Ending::Done)
}

async fn work<W: World>(cx: &Context<'_, W>, delivery: &Delivery, job: Job, task: Task, died: bool, metered: Metered) -> Ending {
    tracing::Span::current().record("attempt", task.attempts);
    // Always after the lease was written: a message that outlives its lease finds it run out.
    cx.world.outbox().hold(delivery, Duration::from_millis(cx.policy.lease_ms)).await;
    let diary = Diary::new(&task.job, task.id, task.attempts, cx.request);
    if died {
        diary.note(cx.now(), EventKind::ContainerFailureDetected, "the lease of the worker before ran out without an answer");
    }
    diary.note(cx.now(), EventKind::TaskReceived, format!("attempt {} with fence {}", task.attempts, task.fence));
    diary.note(cx.now(), EventKind::TaskDetailsRetrieved, describe(&task.work));
    diary.note(cx.now(), EventKind::WorkloadProcessingStarted, cx.request.environment.clone());
    let (encoding, warned) = (AtomicBool::new(false), AtomicBool::new(false));
    let headway = Mutex::new(task.headway.clone().unwrap_or_default());
    let attempt = Attempt {
        job,
        fence: task.fence,
        task,
        progress: Progress::default(),
        encoding,
        warned,
        metered,
        prices: OnceLock::new(),
        headway,
        diary,
    };
    let over = {
        let work = std::pin::pin!(within_deadline(cx, run(cx, &attempt)));
        let heart = std::pin::pin!(heartbeat(cx, delivery, &attempt));
        match select(select(work, heart), cx.request.shutdown.clone()).await {
            Either::Left((Either::Left((result, _)), _)) => Over::Ended(Box::new(result)),
            Either::Left((Either::Right((Lost, _)), _)) => Over::Lost,
            // Before the tools are stopped, which takes its time as well: what they make is nobody's by then.
            Either::Right(((), _)) => Over::ShutDown(give_back(cx, delivery, &attempt).await),
        }
    };
    let is_shut_down = matches!(over, Over::ShutDown(_));
    let ending = match over {
        Over::Ended(result) => settle(cx, delivery, &attempt, *result).await,
        Over::Lost => Ok(lost(&attempt)),
        Over::ShutDown(given) => given,
    };
    let word = if matches!(ending, Ok(Ending::Done)) { "acknowledged" } else { "the message comes back" };
    attempt.diary.note(cx.now(), EventKind::WorkloadProcessingFinished, word);
    if !is_shut_down {
        fleet::tell(cx, &attempt, MemberState::Idle).await;
    }
    attempt.diary.flush(cx.world.ledger()).await;
    ending.unwrap_or_else(|fault| {
        tracing::warn!(%fault, "what became of the attempt could not be written: the message comes back");
        Ending::Failed
    })
}

/// Why an attempt is over. What the work had started has ended by then.
enum Over {
    Ended(Box<Result<TaskResult, Fault>>),
    Lost,
    /// And what became of giving the task back.
    ShutDown(Result<Ending, Fault>),
}

/// The environment goes: the next one may have the task at once, and nothing is counted against it.
async fn give_back<W: World>(cx: &Context<'_, W>, delivery: &Delivery, attempt: &Attempt<'_>) -> Result<Ending, Fault> {
    attempt.diary.note(cx.now(), EventKind::ContainerScaledDown, "shut down at work: the task is given back");
    // Side by side: there is little time.
    let (given, (), ()) = futures::join!(release(cx, delivery, attempt), attempt.diary.flush(cx.world.ledger()), fleet::leave(cx, attempt));
    given
}

async fn release<W: World>(cx: &Context<'_, W>, delivery: &Delivery, attempt: &Attempt<'_>) -> Result<Ending, Fault> {
    let used = attempt.metered.used(cx);
    let given = |task: &Task, now| task.release(attempt.fence, now).map(|task| (attempt.with_headway(task).having_used(used), ()));
    if cx.move_task(&attempt.task.job, attempt.task.id, given).await?.is_err() {
        return Ok(lost(attempt));
    }
    metered::told(attempt, &used);
    cx.world.outbox().hold(delivery, Duration::ZERO).await;
    Ok(Ending::Failed)
}

fn describe(work: &Work) -> String {
    match work {
        Work::Chunk(chunk) => format!("{} frames, {} keyframes", chunk.times.count(), chunk.keyframes.len()),
        Work::Audio { track } => format!("audio track {track}"),
        Work::Stills => "pictures beside the film".into(),
        Work::Text => "subtitles".into(),
        Work::Split => "probe and plan".into(),
        Work::Merge => "verify and publish".into(),
    }
}

/// The lease is another's: stop, leave the visibility alone, report failed.
fn lost(attempt: &Attempt<'_>) -> Ending {
    tracing::warn!(fence = attempt.fence, "the lease was lost: the work is stopped and what it made is nobody's");
    Ending::Failed
}

async fn run<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>) -> Result<TaskResult, Fault> {
    match &attempt.task.work {
        Work::Split => Box::pin(split::split(cx, attempt)).await,
        Work::Chunk(chunk) => Box::pin(chunk::chunk(cx, attempt, chunk)).await,
        Work::Audio { track } => Box::pin(audio::audio(cx, attempt, *track)).await,
        Work::Stills => Box::pin(stills::stills(cx, attempt)).await,
        Work::Text => Box::pin(text::text(cx, attempt)).await,
        Work::Merge => Box::pin(merge::merge(cx, attempt)).await,
    }
}

async fn within_deadline<W: World>(
    cx: &Context<'_, W>,
    work: impl Future<Output = Result<TaskResult, Fault>>,
) -> Result<TaskResult, Fault> {
    let left = cx.request.deadline_ms.saturating_sub(cx.now()).saturating_sub(REPORT_MS).max(1);
    let bell = std::pin::pin!(cx.world.clock().sleep(Duration::from_millis(left)));
    match select(std::pin::pin!(work), bell).await {
        Either::Left((result, _)) => result,
        Either::Right(((), _)) => Err(Fault::escalate(Shortage::Time, format!("the task did not finish in {} s", left / 1000))),
    }
}

/// Extends the lease first, then the message. Ends only when the lease is lost.
async fn heartbeat<W: World>(cx: &Context<'_, W>, delivery: &Delivery, attempt: &Attempt<'_>) -> Lost {
    let lease_ms = cx.policy.lease_ms;
    let step = Duration::from_millis(PROGRESS_MS.min(lease_ms / 3).max(1));
    let (mut said, mut beaten_ms, mut held_ms, mut told_ms) = ((0, false, attempt.headway()), cx.now(), cx.now(), cx.now());
    fleet::appear(cx, attempt).await;
    loop {
        // As it goes, so that a worker that vanishes has told what it did.
        attempt.diary.flush(cx.world.ledger()).await;
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
                    fleet::tell(cx, attempt, MemberState::Working).await;
                }
                // Counted by itself: progress extends the lease so often that a beat is never due.
                if cx.now().saturating_sub(held_ms) >= lease_ms / 3 {
                    held_ms = cx.now();
                    cx.world.outbox().hold(delivery, Duration::from_millis(lease_ms)).await;
                }
            }
            Ok(Err(lost)) => return lost,
            // Another may take the task from here on: what this worker makes would be refused.
            Err(_) if cx.now().saturating_sub(beaten_ms) >= lease_ms => return Lost,
            Err(fault) => tracing::warn!(%fault, "the heartbeat could not be written"),
        }
    }
}

/// Writes the end of an attempt down before it is acknowledged.
async fn settle<W: World>(
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
            metered::told(attempt, &used);
            tail(cx, &attempt.job, id, attempt.task.generation).await?;
            leave_nothing(cx, &cx.existing_job(job).await?.job).await?;
            Ok(Ending::Done)
        }
        // There are only so many files, and `JOB_TIMEOUT`.
        Err(Fault::Escalate { reason: Shortage::Time, .. }) if attempt.new_files() > 0 => {
            let what = format!("out of time behind {} files: the next attempt goes on from there", attempt.new_files());
            attempt.diary.note(cx.now(), EventKind::ContainerErrorRetry, what);
            release(cx, delivery, attempt).await
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
                let (task, next) = task.fail(fence, fault.clone(), policy, random, now)?;
                Ok::<_, Lost>((attempt.with_headway(task).having_used(used), next))
            };
            let written = cx.move_task(job, id, failed).await?;
            let Ok((task, next)) = written else { return Ok(lost(attempt)) };
            metered::told(attempt, &used);
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
async fn after_fault<W: World>(
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
            outbox.send_tasks(task.class, &[TaskMessage::of(task)]).await?;
            Ok(Ending::Done)
        }
        AfterFault::Blocked => {
            diary.note(cx.now(), EventKind::ContainerErrorEscalation, fault);
            block(cx, task).await?;
            Ok(Ending::Done)
        }
        AfterFault::Awaited => {
            tracing::info!("what it waits for is not done yet: its message comes again with the last of that");
            Ok(Ending::Done)
        }
        AfterFault::Rejected { reason } => {
            tracing::warn!(%reason, "the source is at fault: the job is rejected");
            match cx.move_job(&job.id, &JobEvent::Rejected { reason }).await? {
                Ok(_) => cleanup(cx, &job.id).await?,
                Err(contradiction) => tracing::warn!(%contradiction, "the job ended otherwise"),
            }
            let _ = cx.move_task(&task.job, task.id, |task, now| task.ended(now).map(|t| (t, ())).ok_or(())).await?;
            Ok(Ending::Done)
        }
    }
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

/// What follows a done task; run again whenever its message comes again.
async fn tail<W: World>(cx: &Context<'_, W>, job: &Job, id: TaskId, generation: u32) -> Result<(), Fault> {
    if generation > 0 {
        // It was blocked once; whoever blocked or resolved it may have left it in the set.
        cx.world.ledger().set_blocked(&job.id, id, false).await?;
    }
    match id {
        TaskId::Split => split::announce(cx, &job.id).await,
        TaskId::Merge => Ok(()),
        _ => {
            if is_last(cx, job, id).await? {
                let merge = cx.world.ledger().task(&job.id, TaskId::Merge).await?;
                let generation = merge.map_or(0, |stored| stored.task.generation);
                let message = TaskMessage::new(&job.id, TaskId::Merge, generation);
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

/// Whether nobody works on a task that waits for work.
pub(super) fn is_idle(task: &Task, now_ms: u64) -> bool {
    match &task.state {
        TaskState::Open => true,
        TaskState::Leased(lease) => lease.until_ms <= now_ms,
        TaskState::Done | TaskState::Blocked { .. } | TaskState::Ended => false,
    }
}
