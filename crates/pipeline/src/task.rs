//! A task's state machine: who may work on it, until when, and what a message that arrives finds. Pure.

use serde::{Deserialize, Serialize};

use crate::{
    fault::{Fault, Shortage},
    id::{JobId, TaskId},
    plan::Chunk,
    result::TaskResult,
};

/// Deaths (leases that ran out) before a task is given to the operator.
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
    Merge,
}

impl Work {
    /// The stage that does it, as people and metrics call it.
    pub fn stage(&self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Chunk(_) => "chunk",
            Self::Audio { .. } => "audio",
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
    /// Leases that ran out in this generation, and those of them while the encoder ran.
    pub deaths: u32,
    pub encode_deaths: u32,
    /// How often the encoder broke down over it in this generation.
    #[serde(default)]
    pub crashes: u32,
    /// The last fault in words, for people.
    pub last_fault: Option<String>,
    /// Units of [`Work::total`] done by the running attempt.
    pub progress: u64,
    pub created_ms: u64,
    pub updated_ms: u64,
    /// First lease of this generation: `JOB_TIMEOUT` counts from it.
    pub begun_ms: Option<u64>,
    /// When its message was last sent by the sweep, and how often since a worker last took it.
    pub resent_ms: Option<u64>,
    #[serde(default)]
    pub resends: u32,
    pub result: Option<TaskResult>,
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
}

/// Who asks for a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taker {
    pub message: String,
    pub environment: String,
    pub lease_ms: u64,
    /// `JOB_TIMEOUT`: from the task's first lease to the operator.
    pub timeout_ms: u64,
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
    /// The source is at fault: the job is rejected.
    Rejected { reason: String },
}

/// The lease was lost: whatever the worker has is nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lease was lost")]
pub struct Lost;

/// Bounds of retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// `MAX_RETRIES`
    pub max_retries: u32,
    /// First ceiling of the backoff; doubled at each fault.
    pub base_ms: u64,
    pub cap_ms: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_retries: 3, base_ms: 2_000, cap_ms: 300_000 }
    }
}

impl RetryPolicy {
    /// Full jitter: anywhere between zero and the ceiling. `random` is in 0..1.
    pub fn delay_ms(self, faults: u32, random: f64) -> u64 {
        let ceiling = self.base_ms.saturating_mul(1u64 << faults.saturating_sub(1).min(20)).min(self.cap_ms);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a few minutes in ms")]
        let delay = (ceiling as f64 * random.clamp(0.0, 1.0)) as u64;
        delay
    }
}

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
            last_fault: None,
            progress: 0,
            created_ms: now_ms,
            updated_ms: now_ms,
            begun_ms: None,
            resent_ms: None,
            resends: 0,
            result: None,
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
                let fault = Fault::escalate(Shortage::Time, format!("it was not done {limit} s after its first attempt (JOB_TIMEOUT)"));
                Found::Spent { task: self.clone().blocked(fault, now_ms), next: AfterFault::Blocked }
            }
            TaskState::Leased(lease) => self.after_death(lease.encoding, taker, now_ms),
            TaskState::Open => Found::Free { task: self.leased(taker, now_ms), died: false },
        }
    }

    fn is_overdue(&self, timeout_ms: u64, now_ms: u64) -> bool {
        self.begun_ms.is_some_and(|begun| now_ms.saturating_sub(begun) > timeout_ms)
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
        Ok(Self { state: TaskState::Done, result: Some(result), progress, updated_ms: now_ms, ..self.clone() })
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
            Fault::Escalate { reason: Shortage::Memory | Shortage::Disk | Shortage::Time, .. }
                if self.class == Class::Standard && self.id.is_part() =>
            {
                (base.raised(now_ms), AfterFault::Raised)
            }
            Fault::Killed(how) => match self.died(self.id.is_part(), &how, now_ms) {
                (dead, None) => {
                    let delay_ms = policy.delay_ms(dead.deaths.min(2), random);
                    (Self { state: TaskState::Open, progress: 0, updated_ms: now_ms, ..dead }, AfterFault::Backoff { delay_ms })
                }
                (task, Some(next)) => (task, next),
            },
            Fault::Crash(_) if self.crashes < CRASHES => {
                let crashes = self.crashes + 1;
                let delay_ms = policy.delay_ms(crashes, random);
                (Self { crashes, state: TaskState::Open, ..base }, AfterFault::Backoff { delay_ms })
            }
            Fault::Reject(reason) => (base.blocked(Fault::Reject(reason.clone()), now_ms), AfterFault::Rejected { reason }),
            fault => (base.blocked(fault, now_ms), AfterFault::Blocked),
        })
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
            _ => Some(Self { state: TaskState::Ended, updated_ms: now_ms, ..self.clone() }),
        }
    }

    /// An operator resolved what blocked it: a new generation with clean counts. `None` if it is not blocked.
    pub fn reopened(&self, now_ms: u64) -> Option<Self> {
        let TaskState::Blocked { .. } = self.state else { return None };
        let fresh = Self::new(&self.job, self.id, self.class, self.work.clone(), self.created_ms);
        Some(Self { generation: self.generation + 1, fence: self.fence, last_fault: self.last_fault.clone(), updated_ms: now_ms, ..fresh })
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
mod tests {
    use super::*;

    fn task() -> Task {
        let job = "0123456789abcdef01234567".parse().unwrap();
        Task::new(&job, TaskId::Audio(0), Class::Standard, Work::Audio { track: 0 }, 0)
    }
    fn taker(message: &str) -> Taker {
        Taker { message: message.into(), environment: "e".into(), lease_ms: 60_000, timeout_ms: 3_600_000 }
    }
    fn take(task: &Task, message: &str, now: u64) -> Task {
        match task.take(0, &taker(message), now) {
            Found::Free { task, .. } => task,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_copy_and_the_same_message_find_a_held_lease_differently() {
        let held = take(&task(), "m1", 1000);
        assert_eq!(held.take(0, &taker("m1"), 2000), Found::Held { until_ms: 61_000, same: true });
        assert_eq!(held.take(0, &taker("m2"), 2000), Found::Held { until_ms: 61_000, same: false });
    }

    #[test]
    fn a_lease_that_ran_out_is_taken_with_a_higher_fence_and_the_late_worker_is_refused() {
        let first = take(&task(), "m1", 0);
        let second = take(&first, "m1", 60_000);
        assert_eq!((second.fence, second.deaths, second.faults), (2, 1, 0));
        assert_eq!(second.finish(1, TaskResult::Split, 60_001), Err(Lost));
        assert_eq!(second.beat(1, Beat { lease_ms: 1, progress: 0, encoding: false }, 60_001), Err(Lost));
        assert!(second.finish(2, TaskResult::Split, 60_001).unwrap().is_done());
    }

    #[test]
    fn a_late_beat_keeps_a_lease_that_nobody_took() {
        let first = take(&task(), "m1", 0);
        assert!(first.beat(1, Beat { lease_ms: 60_000, progress: 3, encoding: true }, 70_000).is_ok());
    }

    #[test]
    fn retries_are_counted_and_then_blocked() {
        let policy = RetryPolicy::default();
        let mut now = task();
        for n in 1..=policy.max_retries {
            let held = take(&now, "m", 0);
            let (next, after) = held.fail(held.fence, Fault::retry("s3 said 503"), policy, 1.0, 0).unwrap();
            assert_eq!(after, AfterFault::Backoff { delay_ms: 2_000 << (n - 1) });
            now = next;
        }
        let held = take(&now, "m", 0);
        let (blocked, after) = held.fail(held.fence, Fault::retry("s3 said 503"), policy, 1.0, 0).unwrap();
        assert_eq!(after, AfterFault::Blocked);
        assert_eq!(blocked.take(0, &taker("m"), 0), Found::Blocked { task: blocked.clone(), next: AfterFault::Blocked });
        let again = blocked.reopened(9).unwrap();
        assert_eq!((again.generation, again.faults, again.fence), (1, 0, blocked.fence));
        assert_eq!(again.take(0, &taker("m"), 9), Found::Ended, "an old message dies quietly");
    }

    #[test]
    fn kills_while_encoding_go_up_a_class_and_kills_alone_do_not_block_before_ten() {
        let mut now = task();
        let mut deaths = 0;
        let mut at = 0;
        loop {
            match now.take(0, &taker("m"), at) {
                Found::Free { task, died } => {
                    deaths += u32::from(died);
                    now = task;
                }
                Found::Spent { task, next } => {
                    assert_eq!(next, AfterFault::Blocked);
                    assert_eq!((deaths, task.class), (MAX_DEATHS - 1, Class::Standard));
                    break;
                }
                other => panic!("{other:?}"),
            }
            at += 60_000;
        }
        let first = take(&task(), "m", 0).beat(1, Beat { lease_ms: 1, progress: 0, encoding: true }, 0).unwrap();
        let second = take(&first, "m", 10).beat(2, Beat { lease_ms: 1, progress: 0, encoding: true }, 10).unwrap();
        let Found::Spent { task, next } = second.take(0, &taker("m"), 20) else { panic!("spent") };
        assert_eq!((task.class, next), (Class::Large, AfterFault::Raised));
    }

    #[test]
    fn a_killed_encoder_is_a_death_of_its_task_and_two_go_up_a_class() {
        let policy = RetryPolicy::default();
        let chunk = Task { id: TaskId::Chunk(3), ..task() };
        let killed = |task: &Task, class| {
            let Found::Free { task: held, .. } = task.take_as(class, 0, &taker("m"), 0) else { panic!("free") };
            held.fail(held.fence, Fault::Killed("it was killed".into()), policy, 1.0, 7).unwrap()
        };
        let (first, after) = killed(&chunk, Class::Standard);
        assert_eq!((first.deaths, first.faults, after), (1, 0, AfterFault::Backoff { delay_ms: 2_000 }));
        let (mut now, after) = killed(&first, Class::Standard);
        assert_eq!((now.class, now.deaths, after), (Class::Large, 0, AfterFault::Raised));
        for deaths in 1..MAX_DEATHS {
            let (next, after) = killed(&now, Class::Large);
            assert!(matches!(after, AfterFault::Backoff { delay_ms: ..=4_000 }) && next.deaths == deaths, "{after:?}");
            now = next;
        }
        assert_eq!(killed(&now, Class::Large).1, AfterFault::Blocked);
    }

    #[test]
    fn a_crash_is_tried_again_then_with_care_then_blocked() {
        let policy = RetryPolicy::default();
        let mut now = task();
        for crash in 1..=3 {
            let held = take(&now, "m", 0);
            assert_eq!(held.needs_care(), crash == 3);
            let (next, after) = held.fail(held.fence, Fault::Crash("signal 11".into()), policy, 1.0, 0).unwrap();
            assert_eq!(matches!(after, AfterFault::Backoff { .. }), crash < 3, "{after:?}");
            now = next;
        }
        assert!(matches!(&now.state, TaskState::Blocked { fault: Fault::Crash(how) } if how == "signal 11"));
        assert!(!now.reopened(9).unwrap().needs_care(), "a new generation begins anew");
    }

    #[test]
    fn a_task_that_is_not_done_in_time_goes_to_the_operator() {
        let first = take(&task(), "m", 1000);
        let open = first.release(1, 2000).unwrap();
        assert!(matches!(open.take(0, &taker("m"), 3_601_000), Found::Free { .. }));
        let Found::Spent { task, next } = open.take(0, &taker("m"), 3_601_001) else { panic!("spent") };
        assert_eq!((next, task.reopened(3_700_000).unwrap().begun_ms), (AfterFault::Blocked, None));
    }

    #[test]
    fn a_shortage_raises_once_and_then_blocks() {
        let held = take(&task(), "m", 0);
        let fault = Fault::escalate(Shortage::Memory, "killed");
        let (raised, after) = held.fail(1, fault.clone(), RetryPolicy::default(), 0.5, 0).unwrap();
        assert_eq!((raised.class, after), (Class::Large, AfterFault::Raised));
        let found = raised.take_as(Class::Standard, 0, &taker("m"), 0);
        assert_eq!(found, Found::Raised { task: raised.clone() }, "no standard worker takes it");
        let Found::Free { task: held, .. } = raised.take_as(Class::Large, 0, &taker("m"), 0) else { panic!("free") };
        assert_eq!(held.fail(2, fault, RetryPolicy::default(), 0.5, 0).unwrap().1, AfterFault::Blocked);
    }
}
