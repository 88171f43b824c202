//! A model of a task and of a job, walked whole: from every state some event leads on, and no state lasts for ever.

use std::collections::BTreeMap;

use super::{Policy, attempt, sweep};
use crate::{
    fault::{Fault, Shortage},
    id::{JobId, SourceRef, TaskId},
    job::{Job, JobEvent, JobState, Step},
    key::ObjectKey,
    result::{Cost, TaskResult, TrackRecord},
    task::{AfterFault, Beat, Class, Found, Taker, Task, TaskState, Work},
    usage::Room,
};

const MINUTE: u64 = 60_000;
/// The longest distance between two sendings of a message, and one more sweep.
const LONGEST_WAIT: u64 = 16 * 60 * MINUTE + 20 * MINUTE;

fn id() -> JobId {
    "0123456789abcdef01234567".parse().unwrap()
}

fn taker(message: &str) -> Taker {
    let policy = Policy::default();
    Taker {
        message: message.into(),
        environment: "e".into(),
        lease_ms: policy.lease_ms,
        timeout_ms: policy.job_timeout_ms,
        room: Room::default(),
    }
}

fn done() -> TaskResult {
    let track = TrackRecord {
        rendition: "audio".into(),
        codec: String::new(),
        init_sha256: String::new(),
        init: None,
        sample_rate: None,
        channels: None,
        segments: Vec::new(),
        listing: None,
        loudness: None,
    };
    TaskResult::Audio { track, cost: Cost::default(), lost: Vec::new() }
}

/// What tells states apart: all that decides, without clocks and fences. Retries by a person begin the same again.
fn key(task: &Task) -> String {
    let state = match &task.state {
        TaskState::Leased(lease) => format!("leased, encoding {}", lease.encoding),
        TaskState::Blocked { fault: Fault::Reject(_) } => "blocked by its source".into(),
        TaskState::Blocked { .. } => "blocked".into(),
        other => format!("{other:?}"),
    };
    let counts = (task.faults, task.deaths, task.encode_deaths, task.crashes, task.begun_ms.is_some());
    format!("{state}, {:?}, {counts:?}", task.class)
}

/// The task as a message finds it at `now`, if that moves it.
fn taken(task: &Task, now: u64) -> Option<Task> {
    match task.take_as(Class::Large, task.generation, &taker("m"), now) {
        Found::Free { task, .. } | Found::Spent { task, .. } => Some(task),
        _ => None,
    }
}

/// The task as a message finds it whose worker lived until `JOB_TIMEOUT` and died.
fn worked_too_long(task: &Task) -> Option<Task> {
    let (begun, TaskState::Leased(lease)) = (task.begun_ms?, &task.state) else { return None };
    let over = begun + task.rested_ms + Policy::default().job_timeout_ms;
    let beat = Beat { lease_ms: MINUTE, progress: 0, encoding: lease.encoding };
    taken(&task.beat(lease.fence, beat, over).ok()?, over + MINUTE)
}

/// Every state that one event leads to.
fn successors(task: &Task) -> Vec<(&'static str, Task)> {
    let now = task.updated_ms + 1;
    let mut next: Vec<(&'static str, Task)> = Vec::new();
    next.extend(taken(task, now).map(|t| ("its message comes", t)));
    next.extend(taken(task, now + Policy::default().job_timeout_ms + MINUTE).map(|t| ("its message comes much too late", t)));
    next.extend(worked_too_long(task).map(|t| ("it was worked on for too long", t)));
    if let TaskState::Leased(lease) = &task.state {
        let fence = lease.fence;
        next.extend(taken(task, lease.until_ms + 1).map(|t| ("its worker died", t)));
        for encoding in [false, true] {
            let beat = Beat { lease_ms: MINUTE, progress: 1, encoding };
            next.extend(task.beat(fence, beat, now).ok().map(|t| ("its worker lives", t)));
        }
        next.extend(task.finish(fence, done(), now).ok().map(|t| ("it is done", t)));
        next.extend(task.release(fence, now).ok().map(|t| ("it is given back", t)));
        let shortages = [Shortage::Memory, Shortage::Disk, Shortage::Time, Shortage::Tool];
        let others = [Fault::retry("x"), Fault::Early("x".into()), Fault::reject("x"), Fault::Killed("x".into()), Fault::Crash("x".into())];
        let faults = shortages.into_iter().map(|reason| Fault::escalate(reason, "x")).chain(others);
        for fault in faults {
            next.extend(task.fail(fence, fault, Policy::default().retry, 0.5, now).ok().map(|(t, _)| ("it failed", t)));
        }
    }
    next.extend(task.reopened(now).map(|t| ("a person resolved it", t)));
    next.extend(task.ended(now).map(|t| ("its job ended", t)));
    next
}

/// A task of every state that can be, with the keys of those that follow.
fn all_states() -> BTreeMap<String, (Task, Vec<String>)> {
    let first = Task::new(&id(), TaskId::Audio(0), Class::Standard, Work::Audio { track: 0 }, 1_000_000);
    let (mut found, mut left) = (BTreeMap::new(), vec![first]);
    while let Some(task) = left.pop() {
        if found.contains_key(&key(&task)) {
            continue;
        }
        let next = successors(&task);
        found.insert(key(&task), (task, next.iter().map(|(_, task)| key(task)).collect::<Vec<_>>()));
        left.extend(next.into_iter().map(|(_, task)| task));
    }
    found
}

/// The first minute from the task's last change on at which it is so.
fn found(task: &Task, within_ms: u64, is_so: impl Fn(u64) -> bool) -> Option<u64> {
    (task.updated_ms..=task.updated_ms + within_ms).step_by(usize::try_from(MINUTE).unwrap()).find(|at| is_so(*at))
}

fn is_over(task: &Task) -> bool {
    matches!(task.state, TaskState::Done | TaskState::Ended)
}

#[test]
fn from_every_state_of_a_task_some_event_leads_on_and_its_end_can_be_reached() {
    let states = all_states();
    assert!(states.len() > 100, "only {} states were found", states.len());
    let mut ends: Vec<&String> = states.iter().filter(|(_, (task, _))| is_over(task)).map(|(key, _)| key).collect();
    for (key, (task, next)) in &states {
        assert!(is_over(task) || next.iter().any(|other| other != key), "nothing leads on from: {key}");
    }
    // Backwards from the ends.
    loop {
        let reach = |(key, (_, next)): (&_, &(Task, Vec<String>))| !ends.contains(key) && next.iter().any(|other| ends.contains(&other));
        let more: Vec<&String> = states.iter().filter(|(key, state)| reach((key, state))).map(|(key, _)| key).collect();
        if more.is_empty() {
            break;
        }
        ends.extend(more);
    }
    let stuck: Vec<&String> = states.keys().filter(|key| !ends.contains(key)).collect();
    assert!(stuck.is_empty(), "no way leads from these to an end: {stuck:#?}");
}

/// Without any message and any person: the sweep finds the task at a time that is bounded, and the message that it sends
/// moves it; a blocked one is told of again.
#[test]
fn every_state_of_a_task_has_a_deadline() {
    for (key, (task, _)) in all_states() {
        match &task.state {
            TaskState::Open | TaskState::Leased(_) => {
                let wakes = |covered, at| attempt::is_idle(&task, at) && sweep::due(&task, covered, at);
                let at = found(&task, LONGEST_WAIT, |at| wakes(false, at)).unwrap_or_else(|| panic!("no sweep ever finds: {key}"));
                let late = found(&task, 4 * LONGEST_WAIT, |at| wakes(true, at));
                assert!(late.is_some(), "others' messages in its queue keep it from being found for ever: {key}");
                let moved = taken(&task, at).unwrap_or_else(|| panic!("the message of the sweep does not move: {key}"));
                assert_ne!(moved, task, "{key}");
                let given_up = worked_too_long(&task).is_some_and(|task| matches!(task.state, TaskState::Blocked { .. }));
                let given_up_later = worked_too_long(&moved).is_some_and(|task| matches!(task.state, TaskState::Blocked { .. }));
                let leads_on = given_up || given_up_later || !matches!(moved.state, TaskState::Leased(_));
                assert!(leads_on && (given_up || !matches!(task.state, TaskState::Leased(_))), "JOB_TIMEOUT does not end: {key}");
            }
            TaskState::Blocked { fault } => {
                let told = task.take(task.generation, &taker("m"), task.updated_ms + 1);
                let rejects = matches!(fault, Fault::Reject(_));
                let fits = |next: &AfterFault| matches!(next, AfterFault::Rejected { .. }) == rejects;
                assert!(matches!(&told, Found::Blocked { next, .. } if fits(next)), "{key}: {told:?}");
                let wakes = |at| sweep::is_untold(&task, &[]) && sweep::due(&task, true, at);
                assert!(found(&task, 4 * LONGEST_WAIT, wakes).is_some(), "nobody is told of it, and no sweep finds: {key}");
                assert!(!sweep::is_untold(&task, &[task.id]), "{key}");
            }
            TaskState::Done | TaskState::Ended => assert!(taken(&task, task.updated_ms + LONGEST_WAIT).is_none(), "{key}"),
        }
    }
}

/// However its workers fail, a task that nobody finishes is with the operator after a bounded number of attempts.
#[test]
fn a_task_that_always_fails_is_with_the_operator_after_a_bounded_number_of_attempts() {
    let worst = |ways: &[usize]| {
        let mut task = Task::new(&id(), TaskId::Audio(0), Class::Standard, Work::Audio { track: 0 }, 0);
        for step in 0..200 {
            let TaskState::Leased(lease) = &task.state else {
                match taken(&task, task.updated_ms + 1) {
                    Some(next) => task = next,
                    None => return task.attempts,
                }
                continue;
            };
            let (fence, until, now) = (lease.fence, lease.until_ms, task.updated_ms + 1);
            let fails = |fault| task.fail(fence, fault, Policy::default().retry, 0.0, now).unwrap().0;
            let dies = |encoding| {
                taken(&task.beat(fence, Beat { lease_ms: MINUTE, progress: 0, encoding }, now).unwrap(), until + 2 * MINUTE).unwrap()
            };
            task = match ways[step % ways.len()] {
                0 => fails(Fault::retry("x")),
                1 => fails(Fault::escalate(Shortage::Memory, "x")),
                2 => fails(Fault::Crash("x".into())),
                3 => fails(Fault::Killed("x".into())),
                4 => dies(false),
                _ => dies(true),
            };
        }
        panic!("200 steps and no end: {ways:?}, {task:?}");
    };
    // Every order of three of the six ways.
    let most = (0..216).map(|n| worst(&[n % 6, n / 6 % 6, n / 36])).max();
    assert!(matches!(most, Some(4..=40)), "{most:?} attempts");
}

#[test]
fn from_every_state_of_a_job_some_event_leads_on_and_the_sweep_sees_it_until_it_is_tidied() {
    let source = SourceRef::new("b", ObjectKey::new("k").unwrap(), None, "e", 1);
    let job = |state| Job {
        id: id(),
        source: source.clone(),
        profile: "h264".into(),
        generation: 0,
        sequencer: String::new(),
        state,
        created_ms: 0,
        updated_ms: 0,
        facts: None,
        plan: None,
        basis: None,
        tidied: false,
    };
    let rejected = JobState::Rejected { reason: "r".into() };
    let states = [
        JobState::Received,
        JobState::Probed,
        JobState::Planned,
        JobState::Transcoding,
        JobState::Merging { fence: 3 },
        JobState::Completed,
        crate::job::tests::partial(),
        rejected,
        JobState::Cancelled,
    ];
    for state in states {
        let job = job(state.clone());
        // What the work itself leads to; a merge that died is claimed by the next one.
        let work = match &state {
            JobState::Received => JobEvent::Probed { facts: String::new() },
            JobState::Probed => JobEvent::Planned { plan: crate::job::tests::plan(), basis: None },
            JobState::Planned => JobEvent::Started,
            JobState::Transcoding => JobEvent::MergeClaimed { fence: 1 },
            JobState::Merging { fence } => JobEvent::MergeClaimed { fence: fence + 1 },
            JobState::Completed | JobState::Partial { .. } | JobState::Rejected { .. } | JobState::Cancelled => JobEvent::Tidied,
        };
        let next = job.on(work, 5);
        assert!(matches!(&next, Ok(Step::Moved(next)) if *next != job), "{state:?}: {next:?}");
        assert!(job.is_open(), "the sweep does not see {state:?}");
        if !state.is_ended() {
            for end in [JobEvent::Cancelled, JobEvent::Rejected { reason: "x".into() }] {
                assert!(matches!(job.on(end, 5), Ok(Step::Moved(next)) if next.state.is_ended()), "{state:?}");
            }
        }
    }
}
