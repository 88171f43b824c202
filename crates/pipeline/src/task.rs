//! A task's state machine: who may work on it, until when, and what a message that arrives finds. Pure.

use serde::{Deserialize, Serialize};

use crate::{
    fault::{Fault, Shortage},
    headway::Headway,
    id::{JobId, TaskId},
    plan::Chunk,
    result::TaskResult,
    retry::RetryPolicy,
    usage::{Room, Usage},
};

/// Deaths (leases that ran out) without headway before a task is given to the operator.
pub const MAX_DEATHS: u32 = 10;
/// Deaths while the encoder ran that count as out of memory.
pub const ENCODE_DEATHS: u32 = 2;
/// Crashes of the encoder after which the task is tried with care, once.
pub const CRASHES: u32 = 2;

/// How big a function does the task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    #[default]
    Standard,
    Large,
}

/// What is to be done: immutable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Work {
    Split,
    Chunk(Chunk),
    /// Position in the plan's audio list.
    Audio {
        track: u32,
    },
    /// What the plan has under `stills`.
    Stills,
    /// Every text track of the plan.
    Text,
    Merge,
}

impl Work {
    /// The stage that does it, as people and metrics call it.
    pub fn stage(&self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Chunk(_) => "chunk",
            Self::Audio { .. } => "audio",
            Self::Stills => "stills",
            Self::Text => "text",
            Self::Merge => "merge",
        }
    }

    /// What progress is counted against: frames of a chunk; other tasks are done or not.
    pub fn total(&self) -> u64 {
        match self {
            Self::Chunk(chunk) => u64::from(chunk.times.count()),
            _ => 1,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub job: JobId,
    pub id: TaskId,
    /// Raised by an operator's retry.
    pub generation: u32,
    pub class: Class,
    pub state: TaskState,
    /// The last fencing number given; never falls, not even over generations.
    pub fence: u64,
    /// Tries begun in this generation.
    pub attempts: u32,
    /// Faults answered with `Retry` in this generation.
    pub faults: u32,
    /// Leases that ran out in this generation since it last made headway, and those of them while the encoder ran.
    pub deaths: u32,
    pub encode_deaths: u32,
    /// How often the encoder broke down over it in this generation.
    #[serde(default)]
    pub crashes: u32,
    /// A function's time was too short for it in one piece: it is encoded GOP by GOP, each kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_gop: bool,
    /// The last fault in words, for people.
    pub last_fault: Option<String>,
    /// Units of [`Work::total`] done by the running attempt.
    pub progress: u64,
    pub created_ms: u64,
    pub updated_ms: u64,
    /// First lease of this generation: `JOB_TIMEOUT` counts from it, less the time in which nobody worked on the task, as
    /// while the platform was off or its queue was full.
    pub begun_ms: Option<u64>,
    #[serde(default)]
    pub rested_ms: u64,
    /// When its message was last sent by the sweep, and how often since a worker last took it.
    pub resent_ms: Option<u64>,
    #[serde(default)]
    pub resends: u32,
    pub result: Option<TaskResult>,
    /// By all attempts of all generations that told their end: each wrote it with that end.
    #[serde(default)]
    pub used: Usage,
    /// By those that died, at most: from the beginning of each lease to its end.
    #[serde(default)]
    pub lost: Usage,
    /// What earlier attempts finished of it.
    #[serde(default)]
    pub headway: Option<Headway>,
    pub work: Work,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum TaskState {
    Open,
    Leased(Lease),
    Done,
    /// Waits for an operator.
    Blocked {
        fault: Fault,
    },
    /// Its job ended before it was done: nobody will do it.
    Ended,
}

/// The right to work on a task until a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub fence: u64,
    /// Milliseconds since 1970.
    pub until_ms: u64,
    /// Id of the message that brought it: its copies are told apart by it.
    pub message: String,
    pub environment: String,
    /// The encoder is running: a death now may be its memory.
    pub encoding: bool,
    /// When it was given, milliseconds since 1970, and what its holder has.
    #[serde(default)]
    pub since_ms: u64,
    #[serde(default)]
    pub room: Room,
}

/// Who asks for a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taker {
    pub message: String,
    pub environment: String,
    pub lease_ms: u64,
    /// `JOB_TIMEOUT`: of work on the task, from its first lease to the operator.
    pub timeout_ms: u64,
    pub room: Room,
}

/// What a message finds decides its end.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// The lease is given; the task as it must be written. `died`: a lease had run out.
    Free { task: Task, died: bool },
    /// Done already: re-run the tail, acknowledge.
    Done,
    /// Ended or of an older generation: acknowledge.
    Ended,
    /// Waits for an operator, or ended its job. Whoever wrote that may have died before it told anyone: tell, acknowledge.
    Blocked { task: Task, next: AfterFault },
    /// It went up a class since its message was sent. Whoever wrote that may have died before it sent the message on: send
    /// it, acknowledge.
    Raised { task: Task },
    /// Another works on it. `same`: under this very message, which must wait; a copy is acknowledged.
    Held { until_ms: u64, same: bool },
    /// Too many deaths: the task as it must be written, and what to do next.
    Spent { task: Task, next: AfterFault },
}

/// What a fault leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfterFault {
    /// The message comes back after this many milliseconds.
    Backoff { delay_ms: u64 },
    /// The task went up a class: send its message to the larger queue and acknowledge this one.
    Raised,
    /// Tell the operator and acknowledge.
    Blocked,
    /// Nothing: whatever the task waits for sends its message again. Acknowledge this one.
    Awaited,
    /// The source is at fault: the job is rejected.
    Rejected { reason: String },
}

/// The lease was lost: whatever the worker has is nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lease was lost")]
pub struct Lost;

impl Task {
    /// A task nobody has begun.
    pub fn new(job: &JobId, id: TaskId, class: Class, work: Work, now_ms: u64) -> Self {
        Self {
            job: job.clone(),
            id,
            generation: 0,
            class,
            state: TaskState::Open,
            fence: 0,
            attempts: 0,
            faults: 0,
            deaths: 0,
            encode_deaths: 0,
            crashes: 0,
            by_gop: false,
            last_fault: None,
            progress: 0,
            created_ms: now_ms,
            updated_ms: now_ms,
            begun_ms: None,
            rested_ms: 0,
            resent_ms: None,
            resends: 0,
            result: None,
            used: Usage::default(),
            lost: Usage::default(),
            headway: None,
            work,
        }
    }

    pub fn is_done(&self) -> bool {
        self.state == TaskState::Done
    }

    /// As [`take`](Self::take), for a message that asked a function of `class`: none does a task of a larger one.
    pub fn take_as(&self, class: Class, generation: u32, taker: &Taker, now_ms: u64) -> Found {
        match self.take(generation, taker, now_ms) {
            Found::Free { .. } | Found::Spent { .. } if class < self.class => Found::Raised { task: self.clone() },
            found => found,
        }
    }

    /// A message of `generation` arrived and `taker` wants to work.
    pub fn take(&self, generation: u32, taker: &Taker, now_ms: u64) -> Found {
        self.rested(now_ms).take_rested(generation, taker, now_ms)
    }

    fn take_rested(&self, generation: u32, taker: &Taker, now_ms: u64) -> Found {
        match &self.state {
            _ if generation < self.generation => Found::Ended,
            TaskState::Done => Found::Done,
            TaskState::Ended => Found::Ended,
            TaskState::Blocked { fault: Fault::Reject(reason) } => {
                Found::Blocked { task: self.clone(), next: AfterFault::Rejected { reason: reason.clone() } }
            }
            TaskState::Blocked { .. } => Found::Blocked { task: self.clone(), next: AfterFault::Blocked },
            TaskState::Leased(lease) if lease.until_ms > now_ms => {
                Found::Held { until_ms: lease.until_ms, same: lease.message == taker.message }
            }
            TaskState::Leased(_) | TaskState::Open if self.is_overdue(taker.timeout_ms, now_ms) => {
                let limit = taker.timeout_ms / 1000;
                let fault = Fault::escalate(Shortage::Time, format!("it was worked on for {limit} s and is not done (JOB_TIMEOUT)"));
                Found::Spent { task: self.less_lease(now_ms).blocked(fault, now_ms), next: AfterFault::Blocked }
            }
            TaskState::Leased(lease) => self.less_lease(now_ms).after_death(lease.encoding, taker, now_ms),
            TaskState::Open => Found::Free { task: self.leased(taker, now_ms), died: false },
        }
    }

    fn is_overdue(&self, timeout_ms: u64, now_ms: u64) -> bool {
        self.begun_ms.is_some_and(|begun| now_ms.saturating_sub(begun).saturating_sub(self.rested_ms) > timeout_ms)
    }

    /// The same, knowing that nobody works on it since its last attempt ended, or since that one's lease did.
    fn rested(&self, now_ms: u64) -> Self {
        let since_ms = match &self.state {
            TaskState::Open if self.begun_ms.is_some() => self.updated_ms,
            TaskState::Leased(lease) => lease.until_ms,
            _ => now_ms,
        };
        Self { rested_ms: self.rested_ms.saturating_add(now_ms.saturating_sub(since_ms)), ..self.clone() }
    }

    /// The lease that somebody has, or had until it ran out.
    pub fn lease_given(&self) -> Option<&Lease> {
        if let TaskState::Leased(lease) = &self.state { Some(lease) } else { None }
    }

    /// The same, with the time of its lease, up to its end or to now, among what was lost.
    fn less_lease(&self, now_ms: u64) -> Self {
        let TaskState::Leased(Lease { since_ms, until_ms, room, .. }) = self.state else { return self.clone() };
        // A lease of an older version does not say when it began.
        let wall_ms = if since_ms == 0 { 0 } else { until_ms.min(now_ms).saturating_sub(since_ms) };
        Self { lost: self.lost.plus(Usage::of_time(room, wall_ms)), ..self.clone() }
    }

    /// The same after an attempt that used so much.
    #[must_use]
    pub fn having_used(self, used: Usage) -> Self {
        Self { used: self.used.plus(used), ..self }
    }

    /// The same with all that was finished of it so far. What moves on does not die of one thing again and again, so deaths are
    /// counted anew; crashes, which say what to try next, are not. `JOB_TIMEOUT` bounds both.
    #[must_use]
    pub fn having_finished(self, headway: Headway) -> Self {
        let headway = Some(headway).filter(|headway| !headway.is_none());
        if headway == self.headway { self } else { Self { headway, deaths: 0, encode_deaths: 0, ..self } }
    }

    fn after_death(&self, encoding: bool, taker: &Taker, now_ms: u64) -> Found {
        match self.died(encoding, "the worker vanished: its lease ran out", now_ms) {
            (dead, None) => Found::Free { task: dead.leased(taker, now_ms), died: true },
            (task, Some(next)) => Found::Spent { task, next },
        }
    }

    /// One death more, and where it leads when they have become too many.
    fn died(&self, encoding: bool, how: &str, now_ms: u64) -> (Self, Option<AfterFault>) {
        let dead = Self {
            deaths: self.deaths + 1,
            encode_deaths: self.encode_deaths + u32::from(encoding),
            last_fault: Some(how.to_owned()),
            ..self.clone()
        };
        if dead.encode_deaths >= ENCODE_DEATHS && dead.class == Class::Standard {
            return (dead.raised(now_ms), Some(AfterFault::Raised));
        }
        if dead.deaths >= MAX_DEATHS {
            let fault = Fault::escalate(Shortage::Tool, format!("{} times in a row: {how}", dead.deaths));
            return (dead.blocked(fault, now_ms), Some(AfterFault::Blocked));
        }
        (dead, None)
    }

    /// The encoder broke down over it often enough: what is tried now is tried with care.
    pub fn needs_care(&self) -> bool {
        self.crashes >= CRASHES
    }

    fn leased(&self, taker: &Taker, now_ms: u64) -> Self {
        let lease = Lease {
            fence: self.fence + 1,
            until_ms: now_ms + taker.lease_ms,
            message: taker.message.clone(),
            environment: taker.environment.clone(),
            encoding: false,
            since_ms: now_ms,
            room: taker.room,
        };
        Self {
            fence: lease.fence,
            attempts: self.attempts + 1,
            progress: 0,
            begun_ms: self.begun_ms.or(Some(now_ms)),
            resent_ms: None,
            resends: 0,
            updated_ms: now_ms,
            state: TaskState::Leased(lease),
            ..self.clone()
        }
    }

    fn raised(self, now_ms: u64) -> Self {
        Self { class: Class::Large, state: TaskState::Open, faults: 0, deaths: 0, encode_deaths: 0, updated_ms: now_ms, ..self }
    }

    fn blocked(self, fault: Fault, now_ms: u64) -> Self {
        Self { last_fault: Some(fault.to_string()), state: TaskState::Blocked { fault }, updated_ms: now_ms, ..self }
    }

    /// Given to the operator from outside: nobody holds it.
    #[must_use]
    pub fn given_up(&self, fault: Fault, now_ms: u64) -> Self {
        self.clone().blocked(fault, now_ms)
    }

    fn lease(&self, fence: u64) -> Result<&Lease, Lost> {
        match &self.state {
            TaskState::Leased(lease) if lease.fence == fence => Ok(lease),
            _ => Err(Lost),
        }
    }

    /// The worker lives: its lease is extended. A lease that ran out but that nobody took is still its own.
    pub fn beat(&self, fence: u64, beat: Beat, now_ms: u64) -> Result<Self, Lost> {
        let lease = Lease { until_ms: now_ms + beat.lease_ms, encoding: beat.encoding, ..self.lease(fence)?.clone() };
        Ok(Self { state: TaskState::Leased(lease), progress: beat.progress, updated_ms: now_ms, ..self.clone() })
    }

    /// The work is stored and verified. `Lost` if another may have done it by now.
    pub fn finish(&self, fence: u64, result: TaskResult, now_ms: u64) -> Result<Self, Lost> {
        self.lease(fence)?;
        let progress = self.work.total();
        Ok(Self { state: TaskState::Done, result: Some(result), headway: None, progress, updated_ms: now_ms, ..self.clone() })
    }

    /// The attempt failed. `random` in 0..1 is the backoff's jitter.
    pub fn fail(&self, fence: u64, fault: Fault, policy: RetryPolicy, random: f64, now_ms: u64) -> Result<(Self, AfterFault), Lost> {
        self.lease(fence)?;
        let base = Self { last_fault: Some(fault.to_string()), updated_ms: now_ms, progress: 0, ..self.clone() };
        Ok(match fault {
            Fault::Retry(_) if self.faults < policy.max_retries => {
                let faults = self.faults + 1;
                let delay_ms = policy.delay_ms(faults, random);
                (Self { faults, state: TaskState::Open, ..base }, AfterFault::Backoff { delay_ms })
            }
            Fault::Escalate { reason: reason @ (Shortage::Memory | Shortage::Disk | Shortage::Time), .. }
                if self.class == Class::Standard && self.id.is_part() =>
            {
                let by_gop = self.by_gop || (reason == Shortage::Time && self.work.has_gops());
                (Self { by_gop, ..base.raised(now_ms) }, AfterFault::Raised)
            }
            Fault::Escalate { reason: Shortage::Time, .. } if !self.by_gop && self.work.has_gops() => {
                (Self { by_gop: true, state: TaskState::Open, ..base }, AfterFault::Backoff { delay_ms: 0 })
            }
            Fault::Killed(how) => match self.died(self.id.is_part(), &how, now_ms) {
                (dead, None) => {
                    let delay_ms = policy.after_death().delay_ms(dead.deaths.min(2), random);
                    (Self { state: TaskState::Open, progress: 0, updated_ms: now_ms, ..dead }, AfterFault::Backoff { delay_ms })
                }
                (task, Some(next)) => (task, next),
            },
            Fault::Crash(_) if self.crashes < CRASHES => {
                let crashes = self.crashes + 1;
                let delay_ms = policy.after_death().delay_ms(crashes, random);
                (Self { crashes, state: TaskState::Open, ..base }, AfterFault::Backoff { delay_ms })
            }
            Fault::Reject(reason) => (base.blocked(Fault::Reject(reason.clone()), now_ms), AfterFault::Rejected { reason }),
            Fault::Early(_) => (self.untouched(now_ms), AfterFault::Awaited),
            fault => (base.blocked(fault, now_ms), AfterFault::Blocked),
        })
    }

    /// As if the attempt had not begun: neither counts nor clocks know of it.
    fn untouched(&self, now_ms: u64) -> Self {
        let attempts = self.attempts.saturating_sub(1);
        let begun_ms = self.begun_ms.filter(|_| attempts > 0);
        let rested_ms = if attempts > 0 { self.rested_ms } else { 0 };
        Self { state: TaskState::Open, attempts, begun_ms, rested_ms, progress: 0, updated_ms: now_ms, ..self.clone() }
    }

    /// The environment is being shut down: the task is given back, and nothing is counted against it.
    pub fn release(&self, fence: u64, now_ms: u64) -> Result<Self, Lost> {
        self.lease(fence)?;
        Ok(Self { state: TaskState::Open, progress: 0, updated_ms: now_ms, ..self.clone() })
    }

    /// The job ended without this task. `None` if there is nothing to change.
    pub fn ended(&self, now_ms: u64) -> Option<Self> {
        match self.state {
            TaskState::Done | TaskState::Ended => None,
            _ => Some(Self { state: TaskState::Ended, updated_ms: now_ms, ..self.less_lease(now_ms) }),
        }
    }

    /// An operator resolved what blocked it: a new generation with clean counts. `None` if it is not blocked.
    pub fn reopened(&self, now_ms: u64) -> Option<Self> {
        let TaskState::Blocked { .. } = self.state else { return None };
        let fresh = Self::new(&self.job, self.id, self.class, self.work.clone(), self.created_ms);
        Some(Self {
            generation: self.generation + 1,
            fence: self.fence,
            last_fault: self.last_fault.clone(),
            headway: self.headway.clone(),
            by_gop: self.by_gop,
            used: self.used,
            lost: self.lost,
            updated_ms: now_ms,
            ..fresh
        })
    }
}

/// What a heartbeat says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    pub lease_ms: u64,
    pub progress: u64,
    pub encoding: bool,
}

/// A task with its version for the next conditional write.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTask {
    pub task: Task,
    pub version: u64,
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
