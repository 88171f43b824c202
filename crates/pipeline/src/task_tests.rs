use super::*;

fn task() -> Task {
    let job = "0123456789abcdef01234567".parse().unwrap();
    Task::new(&job, TaskId::Audio(0), Class::Standard, Work::Audio { track: 0 }, 0)
}
fn taker(message: &str) -> Taker {
    Taker {
        message: message.into(),
        environment: "e".into(),
        lease_ms: 60_000,
        timeout_ms: 3_600_000,
        room: Room { memory_mb: 1024, scratch_mb: 512 },
    }
}
fn take(task: &Task, message: &str, now: u64) -> Task {
    match task.take(0, &taker(message), now) {
        Found::Free { task, .. } => task,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_that_comes_too_early_leaves_no_trace() {
    let early = |task: &Task| task.fail(task.fence, Fault::Early("c00001 is not done".into()), RetryPolicy::default(), 0.5, 20).unwrap();
    let (first, next) = early(&take(&task(), "m", 10));
    assert_eq!((first.attempts, first.faults, first.begun_ms, &first.state), (0, 0, None, &TaskState::Open));
    assert_eq!(next, AfterFault::Awaited);
    let faulty = Task { attempts: 2, faults: 1, begun_ms: Some(1), ..task() };
    let (later, _) = early(&take(&faulty, "m", 10));
    assert_eq!((later.attempts, later.faults, later.begun_ms), (2, 1, Some(1)), "what came before stays");
    assert!(later.fence > faulty.fence, "a late worker is still told apart");
}

#[test]
fn headway_stays_until_the_task_is_done() {
    let headway = Some(Headway { files: vec![file()], ..Headway::default() });
    let held = Task { headway: headway.clone(), ..take(&task(), "m", 0) };
    let (failed, _) = held.fail(1, Fault::retry("x"), RetryPolicy::default(), 0.5, 1).unwrap();
    let (blocked, _) = held.fail(1, Fault::escalate(Shortage::Tool, "x"), RetryPolicy::default(), 0.5, 1).unwrap();
    for kept in [held.release(1, 1).unwrap(), take(&failed, "n", 2), blocked.reopened(2).unwrap()] {
        assert_eq!(kept.headway, headway);
    }
    assert_eq!(held.finish(1, TaskResult::Merge, 1).unwrap().headway, None);
}

#[test]
fn deaths_are_counted_from_the_last_headway_on() {
    let after = |files: usize| Headway { files: vec![file(); files], ..Headway::default() };
    let (mut now, mut at) = (task(), 0);
    // Twice as many lives as a task has without.
    for files in 1..=2 * MAX_DEATHS as usize {
        let held = take(&now, "m", at);
        now = held.beat(held.fence, Beat { lease_ms: 60_000, progress: 0, encoding: true }, at).unwrap().having_finished(after(files));
        assert_eq!((now.deaths, now.encode_deaths), (0, 0));
        at += 60_000;
    }
    let dead = take(&now, "m", at);
    assert_eq!((dead.deaths, dead.encode_deaths, dead.class), (1, 1, Class::Standard));
    // It notes what was finished before: none of it is its own.
    let again = dead.beat(dead.fence, Beat { lease_ms: 60_000, progress: 0, encoding: true }, at).unwrap();
    let again = again.having_finished(after(2 * MAX_DEATHS as usize));
    assert!(matches!(again.take(0, &taker("m"), at + 60_000), Found::Spent { next: AfterFault::Raised, .. }), "two over the same");
    let crashed = Task { crashes: 2, ..dead }.having_finished(after(1));
    assert_eq!((crashed.crashes, crashed.deaths), (2, 0), "what comes next is the try with care");
}

fn file() -> crate::receipt::FileReceipt {
    crate::receipt::FileReceipt { key: "k".into(), bytes: 1, sha256: None, head_sha256: "h".into(), copied_bytes: 0 }
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
        assert_eq!(after, AfterFault::Backoff { delay_ms: policy.base_ms << (n - 1) });
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
    let open = first.release(1, 3_601_000).unwrap();
    assert!(matches!(open.take(0, &taker("m"), 3_601_000), Found::Free { .. }));
    let open = first.release(1, 3_601_001).unwrap();
    let Found::Spent { task, next } = open.take(0, &taker("m"), 3_601_001) else { panic!("spent") };
    assert_eq!((next, task.reopened(3_700_000).unwrap().begun_ms), (AfterFault::Blocked, None));
}

/// A machine that was off for a week, or whose process was killed and started again the next day.
#[test]
fn time_in_which_nobody_worked_is_not_held_against_a_task() {
    let (week, lease_ms) = (7 * 86_400_000, 60_000);
    let held = take(&task(), "m", 1000);
    let again = take(&held, "m", 1000 + lease_ms + week);
    assert_eq!((again.attempts, again.deaths), (2, 1), "its worker died a week ago, once");
    let given_back = again.release(2, 1000 + 2 * lease_ms + week).unwrap();
    let third = take(&given_back, "m", 1000 + 2 * lease_ms + 2 * week);
    // Worked on for two minutes until here.
    let over = |worked_ms| third.release(3, third.updated_ms + worked_ms).unwrap();
    let limit = 3_600_000 - 2 * lease_ms;
    for (worked_ms, spent) in [(limit, false), (limit + 1, true)] {
        let open = over(worked_ms);
        let found = open.take(0, &taker("m"), open.updated_ms + week);
        assert_eq!(matches!(found, Found::Spent { .. }), spent, "{found:?}");
    }
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

#[test]
fn what_attempts_used_is_kept_and_what_died_is_known_at_most() {
    let used = Usage::of_time(Room { memory_mb: 1024, scratch_mb: 512 }, 700);
    let first = take(&task(), "m", 1_000);
    let (failed, _) = first.fail(1, Fault::retry("s3 said 503"), RetryPolicy::default(), 0.0, 1_700).unwrap();
    let failed = failed.having_used(used);
    // The second dies: alive at its last beat, it cannot have worked beyond its lease.
    let second = take(&failed, "m", 10_000);
    let beat = Beat { lease_ms: 60_000, progress: 0, encoding: false };
    let second = second.beat(2, beat, 30_000).unwrap();
    let third = take(&second, "m", 90_001);
    assert_eq!(third.lost, Usage::of_time(Room { memory_mb: 1024, scratch_mb: 512 }, 80_000));
    let done = third.finish(3, TaskResult::Split, 91_000).unwrap().having_used(used);
    assert_eq!((done.used, done.lost.attempts), (used.plus(used), 1));
    // An operator's retry does not make the tries before for nothing.
    let blocked = third.given_up(Fault::escalate(Shortage::Tool, "x"), 91_000);
    assert_eq!(blocked.reopened(92_000).map(|task| (task.used, task.lost)), Some((used, third.lost)));
}

fn slow_chunk(class: Class, keyframes: Vec<u32>) -> Task {
    let times = crate::times::FrameTimes::new(&[0, 1, 2, 3]).unwrap();
    let (start_us, end_us, seek_us, ranges) = (0, None, None, Vec::new());
    let chunk = Chunk { number: 0, first_segment: 0, start_us, end_us, seek_us, times, keyframes, segments: vec![0], ranges };
    take(&Task::new(&task().job, TaskId::Chunk(0), class, Work::Chunk(chunk), 0), "m", 0)
}

#[test]
fn a_chunk_that_is_out_of_time_goes_up_and_on_gop_by_gop_before_anyone_is_asked() {
    let late = |task: &Task| task.fail(task.fence, Fault::escalate(Shortage::Time, "late"), RetryPolicy::default(), 0.5, 1).unwrap();
    let (up, next) = late(&slow_chunk(Class::Standard, vec![0, 2]));
    assert_eq!((up.class, up.by_gop, next), (Class::Large, true, AfterFault::Raised));
    let (spent, next) = late(&take(&up, "n", 2));
    assert_eq!((spent.reopened(3).unwrap().by_gop, next), (true, AfterFault::Blocked));
    let (again, next) = late(&slow_chunk(Class::Large, vec![0, 2]));
    assert_eq!((again.by_gop, again.faults, &again.state, next), (true, 0, &TaskState::Open, AfterFault::Backoff { delay_ms: 0 }));
    let (one, next) = late(&slow_chunk(Class::Large, vec![0]));
    assert_eq!((one.by_gop, next), (false, AfterFault::Blocked), "there is nothing to take apart");
    let memory = Fault::escalate(Shortage::Memory, "full");
    let (fat, _) = slow_chunk(Class::Standard, vec![0, 2]).fail(1, memory, RetryPolicy::default(), 0.5, 1).unwrap();
    assert!(!fat.by_gop, "its time was not short");
}
