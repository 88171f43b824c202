//! The stages: each is one async function that reads like the story, over ports. A stage may be stopped before any of
//! its operations and run again with the same end.

mod attempt;
pub mod audio;
pub mod chunk;
mod crash;
pub mod ebml;
pub mod ends;
pub mod escalation;
mod files;
mod fleet;
mod gops;
mod heartbeat;
pub mod ingest;
mod intake;
pub mod layout;
mod listing;
pub mod merge;
mod metered;
#[cfg(test)]
mod model_tests;
pub mod operator;
mod publish;
mod settle;
pub mod sound;
pub mod split;
mod stills;
mod strays;
pub mod sweep;
mod text;
mod update;
pub mod uploads;
mod watch;

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

pub use attempt::task;
pub use fleet::{Host, farewell};
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
pub use intake::{BY_HAND, fits_on_a_disk};

use crate::{
    event::{EventKind, EventRecord},
    fault::{Fault, Shortage},
    id::{JobId, TaskId},
    job::{Contradiction, Job, JobEvent, JobState, Step, StoredJob},
    planner::FanOut,
    ports::{Clock, Ledger, World},
    retry::RetryPolicy,
    task::{StoredTask, Task},
    trace::{SpanId, TraceId},
};

/// What the function answers about one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The queue may forget it.
    Done,
    /// The queue gives it again when its visibility runs out.
    Failed,
}

/// Bounds and choices of a deployment.
#[derive(Clone, Debug)]
pub struct Policy {
    pub retry: RetryPolicy,
    /// How long a lease lasts without a heartbeat.
    pub lease_ms: u64,
    /// Of work on a task, over all its leases, before it goes to the operator.
    pub job_timeout_ms: u64,
    /// Bytes; greater uploads are rejected.
    pub max_upload: u64,
    /// Profile of uploads that name none.
    pub profile: String,
    /// What one task takes.
    pub fan_out: FanOut,
    /// Ephemeral storage of the function, MB: it is paid for.
    pub scratch_mb: u32,
    /// A bucket of people's own whose films are taken, too.
    pub source: Option<SourceBucket>,
    /// Objects of each bucket that one sweep looks at; the next one goes on behind them.
    pub most_listed: u32,
}

/// A bucket that is only read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceBucket {
    pub name: String,
    /// Keys that are taken begin so.
    pub prefix: String,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::default(),
            lease_ms: 60_000,
            job_timeout_ms: 6 * 3_600_000,
            max_upload: 50 << 30,
            profile: "h264".into(),
            fan_out: FanOut::default(),
            scratch_mb: crate::usage::FREE_SCRATCH_MB,
            source: None,
            most_listed: 200_000,
        }
    }
}

/// Completes when the environment is being shut down: who hears it has 500 ms or more, as the host likes.
pub type Notice = Shared<BoxFuture<'static, ()>>;

/// Of whatever tells of it.
pub fn notice(told: impl Future<Output = ()> + Send + 'static) -> Notice {
    told.boxed().shared()
}

/// For whoever is never shut down.
pub fn never() -> Notice {
    notice(futures::future::pending())
}

/// One invocation.
#[derive(Clone, Debug)]
pub struct Request {
    /// Lambda's request id.
    pub id: String,
    /// The running copy of the function.
    pub environment: String,
    /// When Lambda ends it, milliseconds since 1970.
    pub deadline_ms: u64,
    pub shutdown: Notice,
    /// What of the environment outlives this request.
    pub host: Arc<Host>,
}

/// What a stage works with.
pub struct Context<'a, W: World> {
    pub world: &'a W,
    pub policy: &'a Policy,
    pub request: &'a Request,
    /// An empty directory of this invocation.
    pub scratch: &'a Path,
}

impl<W: World> Context<'_, W> {
    fn now(&self) -> u64 {
        self.world.clock().now_ms()
    }

    /// Reads, decides and writes a job until no other writer comes between. The step, or the job's refusal.
    async fn move_job(&self, id: &JobId, event: &JobEvent) -> Result<Result<(Job, bool), Contradiction>, Fault> {
        for _ in 0..WRITE_TRIES {
            let StoredJob { job, version, .. } = self.existing_job(id).await?;
            match job.on(event.clone(), self.now()) {
                Err(contradiction) => return Ok(Err(contradiction)),
                Ok(Step::Already) => return Ok(Ok((job, false))),
                Ok(Step::Moved(next)) => {
                    if self.world.ledger().replace_job(&next, version).await? {
                        told(&job, &next);
                        return Ok(Ok((next, true)));
                    }
                }
            }
        }
        Err(contended("job"))
    }

    async fn existing_job(&self, id: &JobId) -> Result<StoredJob, Fault> {
        self.world.ledger().job(id).await?.ok_or_else(|| Fault::retry(format!("job {id} is not in the ledger")))
    }

    /// Reads, decides and writes a task until no other writer comes between. `decide` answers the new task and a word on
    /// it, or the reason not to write.
    async fn move_task<T, N>(
        &self,
        job: &JobId,
        id: TaskId,
        mut decide: impl FnMut(&Task, u64) -> Result<(Task, T), N>,
    ) -> Result<Result<(Task, T), N>, Fault> {
        for _ in 0..WRITE_TRIES {
            let found = self.world.ledger().task(job, id).await?;
            let StoredTask { task, version } = found.ok_or_else(|| Fault::retry(format!("task {id} of job {job} is not in the ledger")))?;
            match decide(&task, self.now()) {
                Err(no) => return Ok(Err(no)),
                Ok((next, word)) => {
                    if self.world.ledger().replace_task(&next, version).await? {
                        return Ok(Ok((next, word)));
                    }
                }
            }
        }
        Err(contended("task"))
    }
}

/// A job's new state; at its end with what metrics make of it.
fn told(before: &Job, job: &Job) {
    let (id, state) = (&job.id, job.state.name());
    if before.state.is_ended() || !job.state.is_ended() {
        tracing::info!(job = %id, state, "job moved");
        return;
    }
    let job_seconds = seconds(job.updated_ms.saturating_sub(job.created_ms));
    let failed = if let JobState::Rejected { reason } = &job.state { reason.as_str() } else { "" };
    tracing::info!(
        metrics = "jobs=Count,job_seconds=Seconds",
        dimensions = "state",
        jobs = 1,
        job_seconds,
        job = %id,
        state,
        span = "job",
        trace_id = %TraceId::of(id),
        span_id = %SpanId::of_job(id),
        start_ms = job.created_ms,
        end_ms = job.updated_ms,
        failed,
        "job moved"
    );
}

#[expect(clippy::cast_precision_loss, reason = "spans of time")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// Conditional writes that lose to another writer are tried again this often.
const WRITE_TRIES: u32 = 8;

fn contended(what: &str) -> Fault {
    Fault::retry(format!("the {what} was written by others {WRITE_TRIES} times in a row"))
}

/// News that cannot be is a fault of the program or of time: the operator looks.
fn refused(contradiction: &Contradiction) -> Fault {
    Fault::escalate(Shortage::Tool, contradiction.to_string())
}

/// Writes down what happens in one attempt: a log line each at once, items in the ledger when flushed.
struct Diary<'a> {
    job: JobId,
    task: TaskId,
    attempt: u32,
    request: &'a Request,
    sequence: AtomicU32,
    waiting: Mutex<Vec<EventRecord>>,
}

impl<'a> Diary<'a> {
    fn new(job: &JobId, task: TaskId, attempt: u32, request: &'a Request) -> Self {
        Self { job: job.clone(), task, attempt, request, sequence: AtomicU32::new(0), waiting: Mutex::default() }
    }

    fn note(&self, now_ms: u64, kind: EventKind, detail: impl Into<String>) {
        let detail = detail.into();
        tracing::info!(metrics = "events=Count", dimensions = "event", events = 1, event = ?kind, detail = %detail, "event");
        let record = EventRecord {
            at_ms: now_ms,
            kind,
            job: self.job.clone(),
            task: self.task,
            attempt: self.attempt,
            environment: self.request.environment.clone(),
            request: self.request.id.clone(),
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed),
            detail,
        };
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(record);
    }

    /// Events are for people: a ledger that refuses them does not stop the work. May be dropped half-way: what was not
    /// written yet waits for the next time, and what was is the same item again.
    async fn flush<L: Ledger>(&self, ledger: &L) {
        let records = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if records.is_empty() {
            return;
        }
        if let Err(fault) = ledger.record(&records).await {
            tracing::warn!(%fault, lost = records.len(), "events were not written to the ledger");
        }
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).drain(..records.len());
    }
}
