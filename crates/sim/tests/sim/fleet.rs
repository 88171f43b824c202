//! Who is there, who is not, and what they use.

use std::collections::{BTreeMap, BTreeSet};

use pipeline::{
    event::{EventKind, EventRecord},
    fleet::{Member, MemberState},
    id::TaskId,
};
use sim::{Answer, Call, Chaos, Outcome, Scenario, State, answer, run};

use super::holds;

const MINUTE_MS: u64 = 60_000;

fn events(state: &State, kind: EventKind) -> Vec<&EventRecord> {
    state.events.values().filter(|event| event.kind == kind).collect()
}

/// From 90 percent on a person is told, once by each attempt and with what will become of it; nothing else follows.
#[test]
fn memory_that_is_nearly_used_up_is_told_of_once_in_an_attempt() {
    for (memory_percent, is_told) in [(0, false), (89, false), (90, true), (91, true), (100, true)] {
        let outcome = holds(&Scenario { memory_percent, ..Scenario::default() }, &format!("memory_percent: {memory_percent}"));
        let told = events(&outcome.state, EventKind::ResourceUtilizationThresholdReached);
        let tasks: Vec<TaskId> = outcome.state.tasks.values().map(|stored| stored.task.id).collect();
        let mut by: Vec<TaskId> = told.iter().map(|event| event.task).collect();
        by.sort_unstable();
        assert_eq!(by, if is_told { tasks.clone() } else { vec![] }, "at {memory_percent} %");
        let words = format!("memory at {memory_percent} %: nothing is done until it runs out, then the larger class");
        assert!(told.iter().all(|event| event.detail == words), "{told:?}");
        let beats = events(&outcome.state, EventKind::HeartbeatReceived).len();
        assert!(beats > tasks.len(), "{beats} heartbeats: no attempt had a second one that could tell it again");
    }
}

/// A thousand environments would each read a thousand rows before every segment.
#[test]
fn an_environment_reads_who_else_works_once_a_minute() {
    let outcome = holds(&Scenario { films: 6, ..Scenario::default() }, "films: 6");
    let times = |kind: EventKind| {
        let mut times: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
        for event in events(&outcome.state, kind) {
            times.entry(&*event.environment).or_default().insert(event.at_ms);
        }
        times
    };
    let (tasks, reads) = (times(EventKind::TaskReceived), times(EventKind::GossipTableMerged));
    assert!(tasks.keys().eq(reads.keys()), "each reads it for its first task: {tasks:?}, {reads:?}");
    for (environment, reads) in &reads {
        let soon = reads.iter().zip(reads.iter().skip(1)).filter(|(before, next)| *next - *before < MINUTE_MS).count();
        assert_eq!(soon, 0, "{environment} read it at {reads:?}");
    }
    let count = |times: &BTreeMap<&str, BTreeSet<u64>>| times.values().map(BTreeSet::len).sum::<usize>();
    assert!(count(&reads) < count(&tasks), "{} reads for {} tasks", count(&reads), count(&tasks));
}

/// A world at rest, in which somebody tells of themselves for the last time.
fn with_a_row(state: MemberState, at: impl Fn(u64) -> u64) -> State {
    let mut world = run(&Scenario::default()).state;
    world.fleet = std::iter::once(Member {
        environment: "e".into(),
        function: "transcode".into(),
        node: "n".into(),
        incarnation: 1,
        sequence: 7,
        at_ms: at(world.now_ms),
        state,
        job: world.jobs.keys().next().expect("a job").clone(),
        task: TaskId::Chunk(1),
        vitals: pipeline::fleet::Vitals::default(),
    })
    .collect();
    world.events.clear();
    world
}

/// How long after its beginning a sweep looks for whom nothing was heard of, ms.
fn looks_after_ms() -> u64 {
    let world = with_a_row(MemberState::Working, |now| now - 60 * MINUTE_MS);
    let begun_ms = world.now_ms;
    let swept = answer(world, Call::SWEEP).state;
    swept.fleet.member("e").expect("its row").at_ms - begun_ms
}

/// Who tells nothing for three leases of a minute while at work is gone, and for half an hour without work.
#[test]
fn the_sweep_finds_who_is_gone_to_the_millisecond() {
    let after_ms = looks_after_ms();
    for (state, patience_ms) in
        [(MemberState::Working, 3 * MINUTE_MS), (MemberState::Idle, 30 * MINUTE_MS), (MemberState::Error, 30 * MINUTE_MS)]
    {
        for (silent_ms, is_gone) in [(patience_ms, false), (patience_ms + 1, true)] {
            let Answer { state: world, .. } = answer(with_a_row(state, |now| now + after_ms - silent_ms), Call::SWEEP);
            let row = world.fleet.member("e").unwrap();
            assert_eq!(row.state == MemberState::Gone, is_gone, "{state:?}, silent for {silent_ms} ms");
            let told = events(&world, EventKind::ContainerScaledDown);
            let words = format!("e on n told nothing since {} s", silent_ms / 1000);
            assert!(told.iter().map(|event| &event.detail).eq(is_gone.then_some(&words)), "{told:?}");
            assert_eq!(events(&world, EventKind::WorkerNodeScaledDown).len(), usize::from(is_gone), "it was alone on its node");
            if is_gone {
                let again = answer(world, Call::SWEEP).state;
                assert_eq!(events(&again, EventKind::ContainerScaledDown).len(), 1, "it is found once");
            }
        }
    }
}

/// Between the sweep's look and its word.
#[test]
fn who_tells_something_in_that_moment_is_not_found_gone() {
    let after_ms = looks_after_ms();
    let world = with_a_row(MemberState::Working, |now| now - 60 * MINUTE_MS);
    let wakes_up = |state: &mut State| {
        let row = state.fleet.member("e").unwrap();
        let awake = Member { sequence: row.sequence + 1, at_ms: state.now_ms, ..row.clone() };
        assert!(state.fleet.hear(awake));
    };
    let swept = answer(world, Call { meanwhile: Some((after_ms + 2, &wakes_up)), ..Call::SWEEP }).state;
    assert_eq!(swept.fleet.member("e").unwrap().state, MemberState::Working);
    assert_eq!(events(&swept, EventKind::ContainerScaledDown), [] as [&EventRecord; 0]);
}

/// Whoever freezes for six minutes is found gone by a sweep, and its task is done by another. Then it wakes up.
#[test]
fn a_worker_may_freeze_at_any_operation_and_is_there_again_when_it_wakes_up() {
    let whole = run(&Scenario::default());
    let found_gone = |outcome: &Outcome| {
        let words = |event: &&EventRecord| event.detail.contains("told nothing since");
        events(&outcome.state, EventKind::ContainerScaledDown).into_iter().filter(words).count()
    };
    let mut gone = 0;
    for at in 1..=whole.state.ops {
        let chaos = Chaos { stall_at: Some((at, 6 * MINUTE_MS)), ..Chaos::default() };
        let outcome = holds(&Scenario { chaos, ..Scenario::default() }, &format!("stall_at: Some(({at}, 6 * 60_000))"));
        gone += found_gone(&outcome);
        for environment in &outcome.alive {
            // Those of functions without tasks have none.
            let Some(row) = outcome.state.fleet.member(environment) else { continue };
            assert_ne!(row.state, MemberState::Gone, "{environment} froze at operation {at}, woke up and still stands as gone");
        }
    }
    assert!(gone > 20, "{gone} workers only were found gone while they were frozen");
}
