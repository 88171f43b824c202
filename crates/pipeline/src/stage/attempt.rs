//! One attempt at a task: what the message finds, the lease, the work, and how it is over.
//!
//! The ledger alone decides who works; a queue's visibility only decides when a message is looked at again.

use std::{
    sync::{Mutex, OnceLock, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use futures::future::{Either, select};
use tracing::Instrument;

use super::{
    Context, Diary, Ending, audio, chunk, fleet,
    heartbeat::heartbeat,
    intake::Local,
    merge,
    metered::{self, Metered},
    settle::{after_fault, settle, tail},
    split, stills, text,
    update::{has_another_layer, meet_another_layer},
};
use crate::{
    cost::Prices,
    encoder::Progress,
    event::EventKind,
    fault::{Fault, Shortage},
    fleet::MemberState,
    headway::Headway,
    job::Job,
    message::TaskMessage,
    plan::SCHEMA,
    ports::{Clock, Delivery, Ledger, Outbox, World},
    result::TaskResult,
    task::{AfterFault, Found, Lost, Taker, Task, TaskState, Work},
    trace::{SpanId, TraceId},
};

/// The work stops this long before Lambda would end it, to report in time.
const REPORT_MS: u64 = 10_000;
/// How long a message that only a newer worker can read is left alone: its 100 receives outlast the queue's four days, so
/// that it is never dead-lettered.
const NEWER_SCHEMA: Duration = Duration::from_secs(3600);
/// How long a message waits at least for a ledger that is away when it comes for the first time, doubled with each time up to the
/// most: its 100 receives last for fifteen hours of that, and the queue's own 15 minutes are too long for a short outage.
const AWAY: Duration = Duration::from_secs(5);
const AWAY_MOST: Duration = Duration::from_mins(10);
/// How a death is told of.
const VANISHED: &str = "the lease of the worker before ran out without an answer";

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
    /// What of the source is on this disk, where it is not the split's.
    pub local: Mutex<Option<Local>>,
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

    /// In the job's trace.
    pub fn span(&self) -> SpanId {
        SpanId::of_attempt(&self.task.job, self.task.id, self.fence)
    }

    /// Parts of the task that this attempt finished, of those that need not be done again.
    pub fn finished_parts(&self) -> usize {
        self.headway().since(&self.task.headway.clone().unwrap_or_default())
    }

    /// The task as it is to be written, and what of it need not be done again.
    pub fn with_headway(&self, task: Task) -> Task {
        task.having_finished(self.headway())
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
    let span = tracing::info_span!(
        "task",
        job = %message.job,
        task = %message.task,
        attempt = tracing::field::Empty,
        request = %cx.request.id,
        trace_id = %TraceId::of(&message.job)
    );
    // Boxed: nested by value over an SDK's own futures, stages are too deep for the compiler.
    Box::pin(async {
        match handle(cx, delivery, &message).await {
            Ok(ending) => ending,
            Err(fault) => {
                tracing::warn!(%fault, "the ledger or a queue could not be reached: the message comes back");
                cx.world.outbox().hold(delivery, away(delivery.receives, cx.world.clock().random())).await;
                Ending::Failed
            }
        }
    })
    .instrument(span)
    .await
}

/// Up to twice as long, by `chance`, so that not all come at once.
fn away(receives: u32, chance: f64) -> Duration {
    let doubled = AWAY.saturating_mul(1 << receives.saturating_sub(1).min(8));
    doubled.min(AWAY_MOST).mul_f64(1.0 + chance.clamp(0.0, 1.0))
}

async fn handle<W: World>(cx: &Context<'_, W>, delivery: &Delivery, message: &TaskMessage) -> Result<Ending, Fault> {
    if message.schema > SCHEMA {
        tracing::warn!(schema = message.schema, "a newer worker must read this message: returned");
        cx.world.outbox().hold(delivery, NEWER_SCHEMA).await;
        return Ok(Ending::Failed);
    }
    let metered = Metered::begin(cx, message.sender);
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
            Found::Free { task: next, .. } => Ok((next, (task.lease_given().cloned(), Taken::Leased))),
            Found::Spent { task: next, next: then } => Ok((next, (task.lease_given().cloned(), Taken::Spent(then)))),
            found => Err(Box::new(found)),
        })
        .await?;
    if let Ok((task, (Some(lease), _))) = &decided {
        metered::vanished(task, lease);
    }
    let found = match decided {
        Ok((task, (dead, Taken::Leased))) => {
            return Ok(Box::pin(work(cx, delivery, stored.job, task, dead.is_some(), metered)).await);
        }
        Ok((task, (dead, Taken::Spent(next)))) => return told(cx, delivery, &stored.job, &task, next, dead.is_some()).await,
        Err(found) => *found,
    };
    match found {
        Found::Blocked { task, next } if !stored.blocked.contains(&task.id) => told(cx, delivery, &stored.job, &task, next, false).await,
        Found::Raised { task } => told(cx, delivery, &stored.job, &task, AfterFault::Raised, false).await,
        Found::Done => tail(cx, &stored.job, message.task, message.generation, None).await.map(|()| Ending::Done),
        Found::Held { until_ms, same: true } => {
            let rest = until_ms.saturating_sub(cx.now());
            cx.world.outbox().hold(delivery, Duration::from_millis(rest)).await;
            Ok(Ending::Failed)
        }
        _ => Ok(Ending::Done),
    }
}

/// What follows a fault, outside of an attempt. `died`: the fault is a lease that ran out.
async fn told<W: World>(
    cx: &Context<'_, W>,
    delivery: &Delivery,
    job: &Job,
    task: &Task,
    next: AfterFault,
    died: bool,
) -> Result<Ending, Fault> {
    let diary = Diary::new(&task.job, task.id, task.attempts, cx.request);
    if died {
        diary.note(cx.now(), EventKind::ContainerFailureDetected, VANISHED);
    }
    let ending = after_fault(cx, delivery, job, task, next, &diary).await;
    diary.flush(cx.world.ledger()).await;
    ending
}

enum Taken {
    Leased,
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
        diary.note(cx.now(), EventKind::ContainerFailureDetected, VANISHED);
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
        local: Mutex::default(),
        diary,
    };
    let over = {
        let work = std::pin::pin!(within_deadline(cx, &attempt.task, run(cx, &attempt)));
        let heart = std::pin::pin!(heartbeat(cx, delivery, &attempt));
        match select(select(work, heart), cx.request.shutdown.clone()).await {
            Either::Left((Either::Left((result, _)), _)) => Over::Ended(Box::new(result)),
            Either::Left((Either::Right((Lost, _)), _)) => Over::Lost,
            // Before the tools are stopped, which takes its time as well: what they make is nobody's by then.
            Either::Right(((), _)) => Over::ShutDown(give_back(cx, delivery, &attempt).await),
        }
    };
    let is_shut_down = matches!(over, Over::ShutDown(_));
    let was_hindered = matches!(&over, Over::Ended(result) if matches!(**result, Err(Fault::Retry(_))));
    let ending = match over {
        Over::Ended(result) => settle(cx, delivery, &attempt, *result).await,
        Over::Lost => Ok(lost(&attempt)),
        Over::ShutDown(given) => given,
    };
    let word = if matches!(ending, Ok(Ending::Done)) { "acknowledged" } else { "the message comes back" };
    attempt.diary.note(cx.now(), EventKind::WorkloadProcessingFinished, word);
    if !is_shut_down {
        let comes_back = matches!(ending, Ok(Ending::Failed));
        let state = if (was_hindered && comes_back) || ending.is_err() { MemberState::Error } else { MemberState::Idle };
        fleet::tell(cx, &attempt, state).await;
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
    let given = release(cx, delivery, attempt, "shut down at work");
    let (given, (), ()) = futures::join!(given, attempt.diary.flush(cx.world.ledger()), fleet::leave(cx, attempt));
    given
}

/// `why`: in a few words.
pub(super) async fn release<W: World>(cx: &Context<'_, W>, delivery: &Delivery, attempt: &Attempt<'_>, why: &str) -> Result<Ending, Fault> {
    let used = attempt.metered.used(cx);
    let given = |task: &Task, now| task.release(attempt.fence, now).map(|task| (attempt.with_headway(task).having_used(used), ()));
    if cx.move_task(&attempt.task.job, attempt.task.id, given).await?.is_err() {
        return Ok(lost(attempt));
    }
    metered::told(attempt, &used, why);
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
pub(super) fn lost(attempt: &Attempt<'_>) -> Ending {
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
    task: &Task,
    work: impl Future<Output = Result<TaskResult, Fault>>,
) -> Result<TaskResult, Fault> {
    let left = cx.request.deadline_ms.saturating_sub(cx.now()).saturating_sub(REPORT_MS).max(1);
    let bell = std::pin::pin!(cx.world.clock().sleep(Duration::from_millis(left)));
    match select(std::pin::pin!(work), bell).await {
        Either::Left((result, _)) => result,
        Either::Right(((), _)) => {
            let advice = if task.by_gop { ", nor a GOP of it: submit the film with a faster preset or fewer renditions" } else { "" };
            Err(Fault::escalate(Shortage::Time, format!("the task did not finish in {} s{advice}", left / 1000)))
        }
    }
}

/// Whether nobody works on a task that waits for work.
pub(super) fn is_idle(task: &Task, now_ms: u64) -> bool {
    match &task.state {
        TaskState::Open => true,
        TaskState::Leased(lease) => lease.until_ms <= now_ms,
        TaskState::Done | TaskState::Blocked { .. } | TaskState::Ended => false,
    }
}
