//! The bounds of what a sweep takes and of what it deletes, each just within and just beyond.

use bytes::Bytes;
use pipeline::{
    job::JobState,
    key,
    task::{Task, TaskState},
};
use sim::{Act, Call, START_MS, Scenario, State, answer, run, source};

const DAY_MS: u64 = 86_400_000;
const MINUTE_MS: u64 = 60_000;
/// Longer than what a sweep does before it looks.
const BEFORE_MS: u64 = 1_000;

/// A world at rest with one upload more, of which nobody told, as it is so long after the upload.
fn with_an_upload(age_ms: u64, adopt_from_ms: u64) -> State {
    let mut world = run(&Scenario::default()).state;
    world.drop_film("videos", "uploads/untold.mp4", 0, &source::bytes(source::CHUNKS));
    world.objects.insert(key::adopt_from("h264", None), adopt_from_ms.to_string().into());
    world.now_ms = START_MS + age_ms;
    world
}

/// Jobs that a sweep makes of it.
fn taken(age_ms: u64, adopt_from_ms: u64) -> usize {
    let before = run(&Scenario::default()).state.jobs.len();
    let swept = answer(with_an_upload(age_ms, adopt_from_ms), Call::SWEEP).state;
    assert_eq!(swept.violations, [""; 0]);
    swept.jobs.len() - before
}

/// An old library is never transcoded by accident.
#[test]
fn an_upload_that_nobody_told_of_is_taken_for_seven_days_and_not_from_before_the_stack() {
    assert_eq!((taken(DAY_MS, 0), taken(7 * DAY_MS - BEFORE_MS, 0)), (1, 1));
    assert_eq!((taken(7 * DAY_MS + 1, 0), taken(30 * DAY_MS, 0)), (0, 0), "it waits for a person");
    assert_eq!((taken(DAY_MS, START_MS), taken(DAY_MS, START_MS + 1)), (1, 0), "by the time from which the stack takes uploads");
}

/// A job that ended without a ladder some time ago, with what a worker stored for it that came late.
fn with_an_end(state: JobState, ago_ms: u64) -> (State, String) {
    let mut world = run(&Scenario::default()).state;
    let now = world.now_ms;
    let stored = world.jobs.values_mut().next().expect("a job");
    (stored.job.state, stored.job.tidied, stored.job.updated_ms) = (state, false, now - ago_ms);
    let late = format!("{}480p/segments/seg_0001.9.m4s", key::streams(&stored.job.id));
    world.objects.insert(late.clone(), Bytes::from_static(b"late"));
    (world, late)
}

/// No worker that began before a job's end lives longer than a quarter of an hour; clocks may differ by a minute.
#[test]
fn what_a_late_worker_left_is_deleted_sixteen_minutes_after_the_end() {
    for state in [JobState::Cancelled, JobState::Rejected { reason: "it is damaged".into() }] {
        for (ago_ms, is_left) in [(16 * MINUTE_MS - BEFORE_MS, true), (16 * MINUTE_MS, false)] {
            let (world, late) = with_an_end(state.clone(), ago_ms);
            let swept = answer(world, Call::SWEEP).state;
            assert_eq!(swept.objects.contains_key(&late), is_left, "{state:?} {ago_ms} ms ago");
            let all = swept.objects.keys().filter(|key| !key.starts_with("config/")).count();
            assert!(is_left || all == 0, "{state:?}: {:?}", swept.objects.keys());
            assert_eq!(swept.jobs.values().all(|stored| stored.job.tidied), !is_left);
        }
    }
}

/// A world that waits for nothing but a message of its chunk, which was lost so long ago.
fn with_a_lost_message(ago_ms: u64) -> State {
    let script = vec![(pipeline::id::TaskId::Chunk(1), Act::Retry); 4];
    let mut world = run(&Scenario { script, operator_ms: Some(u64::MAX / 4), ..Scenario::default() }).state;
    world.now_ms += DAY_MS;
    let at = world.now_ms - ago_ms;
    let stored = world.jobs.values_mut().next().expect("a job");
    (stored.blocked, stored.job.updated_ms) = (Vec::new(), at);
    for stored in world.tasks.values_mut().filter(|stored| matches!(stored.task.state, TaskState::Blocked { .. })) {
        stored.task = Task { state: TaskState::Open, updated_ms: at, resent_ms: None, resends: 0, ..stored.task.clone() };
    }
    world
}

#[test]
fn a_lost_message_is_sent_again_a_quarter_of_an_hour_later() {
    for (ago_ms, sent) in [(15 * MINUTE_MS - BEFORE_MS, 0), (15 * MINUTE_MS, 1)] {
        let world = with_a_lost_message(ago_ms);
        let before = world.queues["transcode"].sent;
        let swept = answer(world, Call::SWEEP).state;
        assert_eq!(swept.queues["transcode"].sent - before, sent, "lost {ago_ms} ms ago");
    }
}
