//! What was stored and verified is not done again, a message that comes too early changes nothing, and what nobody knows goes.

use pipeline::{id::TaskId, job::JobState, task::Class};
use sim::{Act, Chaos, Kind, Moment, Outcome, START_MS, Scenario, check, run};

/// Operations of this name.
fn count(outcome: &Outcome, name: &str) -> usize {
    outcome.state.named.iter().filter(|op| **op == name).count()
}

/// How often `what` was done beyond the undisturbed run, with a death before each operation called `at`.
fn repeats(whole: &Scenario, what: &str, at: &str) -> Vec<usize> {
    let undisturbed = run(whole);
    let wanted = super::shown(&undisturbed).remove(0);
    let places = undisturbed.state.named.iter().zip(1..).filter(|(name, _)| **name == at).map(|(_, number)| number);
    let repeats = places.map(|number| {
        let chaos = Chaos { crash_at: Some((number, Moment::Before)), ..Chaos::default() };
        let outcome = run(&Scenario { chaos, ..whole.clone() });
        assert_eq!(check::leftovers(&outcome.state), [""; 0], "a death before operation {number}, {at}");
        assert_eq!(super::shown(&outcome).remove(0), wanted, "a death before operation {number}, {at}");
        count(&outcome, what) - count(&undisturbed, what)
    });
    repeats.collect()
}

#[test]
fn the_crf_that_a_chunk_found_is_not_looked_for_again() {
    let whole = Scenario { profile: "h264-vmaf", ..Scenario::default() };
    let chunks = whole_count(&whole, "choose_crf");
    // All chunks are encoded by then, and a heartbeat has told what was found.
    let after = repeats(&whole, "choose_crf", "store_file");
    assert!(after.len() >= chunks && after.iter().all(|more| *more == 0), "{after:?}");
    let before = repeats(&whole, "choose_crf", "choose_crf");
    assert_eq!(before, vec![1; chunks], "who dies while it looks for it has found nothing");
}

fn whole_count(whole: &Scenario, what: &str) -> usize {
    count(&run(whole), what)
}

#[test]
fn files_that_a_merge_stored_are_not_joined_again() {
    let whole = Scenario::default();
    let files = whole_count(&whole, "complete_upload");
    assert!(files > 1, "one file alone proves nothing");
    // Each file takes longer than a heartbeat: who dies over the last one repeats that one.
    assert_eq!(repeats(&whole, "complete_upload", "complete_upload"), vec![1; files]);
    // And who dies right behind it.
    assert_eq!(repeats(&whole, "begin_upload", "store").into_iter().max(), Some(1));
}

/// The store breaks off while a chunk's segments are on their way to it.
#[test]
fn renditions_that_are_stored_are_not_encoded_again() {
    for whole in [Scenario::default(), Scenario { profile: "h264-vmaf", ..Scenario::default() }] {
        let undisturbed = run(&whole);
        let wanted = super::shown(&undisturbed).remove(0);
        let encodes = |outcome: &Outcome| outcome.state.encoded.values().sum::<u32>() as usize;
        assert_eq!(encodes(&undisturbed), undisturbed.state.encoded.len(), "each once");
        let renditions = undisturbed.state.encoded.keys().filter(|(chunk, _)| *chunk == 0).count();
        let mut again = Vec::new();
        for at in places(&whole, "store_file") {
            let chaos = Chaos { refuse_at: Some((at, Moment::Before)), ..Chaos::default() };
            let outcome = run(&Scenario { chaos, ..whole.clone() });
            assert_eq!((check::leftovers(&outcome.state), super::shown(&outcome).remove(0)), (vec![], wanted.clone()), "operation {at}");
            again.push(encodes(&outcome) - encodes(&undisturbed));
        }
        assert!(again.contains(&1), "only the last one was missing: {again:?}");
        assert!(renditions > 1 && again.iter().all(|more| *more <= renditions), "{again:?}");
    }
}

/// Who is told to go has the time to say what it stored.
#[test]
fn a_chunk_whose_worker_is_told_to_go_behind_its_last_segment_needs_no_encoder() {
    let whole = Scenario::default();
    let undisturbed = run(&whole);
    let mut taken_over = 0;
    let after = |at: &u64| places(&whole, "store_file").iter().any(|store| (*store..store + 8).contains(at));
    for at in (1..=undisturbed.state.ops).filter(after) {
        let outcome = run(&Scenario { chaos: Chaos { shutdown_at: Some(at), ..Chaos::default() }, ..whole.clone() });
        assert_eq!((check::leftovers(&outcome.state), super::shown(&outcome)), (vec![], super::shown(&undisturbed)), "operation {at}");
        let again = outcome.state.tasks.values().any(|stored| matches!(stored.task.id, TaskId::Chunk(_)) && stored.task.attempts > 1);
        taken_over += usize::from(again && outcome.state.encoded == undisturbed.state.encoded);
    }
    assert!(taken_over > 0, "no second attempt found everything stored");
}

/// One file takes ten of a function's fifteen minutes.
#[test]
fn a_merge_that_runs_out_of_time_goes_on_behind_its_last_file_and_nobody_is_asked() {
    let whole = Scenario { join_ms: 600_000, ..Scenario::default() };
    let outcome = run(&whole);
    assert_eq!(super::complaints(&outcome, 1), [""; 0]);
    let merge = outcome.state.tasks.values().find(|stored| stored.task.id == TaskId::Merge).unwrap();
    let files = u32::try_from(whole_count(&Scenario::default(), "complete_upload")).unwrap();
    assert_eq!((merge.task.attempts, merge.task.faults, merge.task.generation), (files, 0, 0));
    for at in 1..=outcome.state.ops {
        let chaos = Chaos { crash_at: Some((at, Moment::Before)), ..Chaos::default() };
        super::holds(&Scenario { chaos, ..whole.clone() }, &format!("join_ms: 600_000, a death before {at}"));
    }
}

/// Nothing is finished in a function's time: that is a person's.
#[test]
fn a_merge_that_finishes_nothing_in_its_time_waits_for_a_person() {
    let outcome = run(&Scenario { join_ms: 1_000_000, operator_ms: Some(u64::MAX / 4), ..Scenario::default() });
    let merge = outcome.state.tasks.values().find(|stored| stored.task.id == TaskId::Merge).unwrap();
    assert!(merge.task.last_fault.as_deref().is_some_and(|fault| fault.contains("out of time")), "{:?}", merge.task.last_fault);
}

/// One GOP takes more than half of a function's time, and the chunk has three.
#[test]
fn a_chunk_that_is_too_slow_is_encoded_gop_by_gop_and_nobody_is_asked() {
    let whole = Scenario { script: vec![(TaskId::Chunk(1), Act::Slow { gop_ms: 500_000 })], ..Scenario::default() };
    let outcome = run(&whole);
    assert_eq!(super::complaints(&outcome, 1), [""; 0]);
    let slow = outcome.state.tasks.values().find(|stored| stored.task.id == TaskId::Chunk(1)).unwrap();
    assert_eq!((slow.task.attempts, slow.task.faults, slow.task.generation, slow.task.class), (4, 0, 0, Class::Large));
    // Two of them were begun in vain.
    assert_eq!((count(&outcome, "encode_gop"), count(&outcome, "join_gops")), (5, 1));
    for at in 1..=outcome.state.ops {
        let chaos = Chaos { crash_at: Some((at, Moment::Before)), ..Chaos::default() };
        let outcome = super::holds(&Scenario { chaos, ..whole.clone() }, &format!("a slow chunk, a death before {at}"));
        // Who dies between storing and telling loses the GOP and what is begun behind it.
        assert!(count(&outcome, "encode_gop") <= 7, "a death before {at} cost more than a GOP");
    }
}

/// The attempt that ran out of time while it encoded in one piece had found its CRF by then: that is headway as well.
#[test]
fn a_slow_chunk_with_a_quality_to_reach_looks_for_its_crf_once() {
    let calm = Scenario { profile: "h264-vmaf", ..Scenario::default() };
    let outcome = run(&Scenario { script: vec![(TaskId::Chunk(1), Act::Slow { gop_ms: 500_000 })], ..calm.clone() });
    assert_eq!(check::leftovers(&outcome.state), [""; 0]);
    assert_eq!(super::shown(&outcome), super::shown(&run(&calm)));
    let slow = outcome.state.tasks.values().find(|stored| stored.task.id == TaskId::Chunk(1)).unwrap();
    // One more in one piece than without a quality to reach.
    assert_eq!((slow.task.attempts, slow.task.faults, slow.task.generation, slow.task.class), (5, 0, 0, Class::Large));
    assert_eq!(count(&outcome, "choose_crf"), 3, "one for each chunk");
}

/// Not even one GOP of it fits into a function's time: that is a person's, who is told what helps.
#[test]
fn a_gop_that_is_too_slow_waits_for_a_person() {
    let script = vec![(TaskId::Chunk(1), Act::Slow { gop_ms: 1_000_000 })];
    let outcome = run(&Scenario { script, operator_ms: Some(u64::MAX / 4), ..Scenario::default() });
    let slow = outcome.state.tasks.values().find(|stored| stored.task.id == TaskId::Chunk(1)).unwrap();
    assert_eq!(slow.task.attempts, 2);
    assert!(slow.task.last_fault.as_deref().is_some_and(|fault| fault.contains("a faster preset")), "{:?}", slow.task.last_fault);
}

/// What was stored of it expired while it waited.
#[test]
fn a_stored_gop_that_is_gone_is_encoded_again() {
    let script = vec![(TaskId::Chunk(1), Act::Slow { gop_ms: 500_000 })];
    let outcome = run(&Scenario { script, expire_ms: 2_000_000, ..Scenario::default() });
    assert_eq!(super::complaints(&outcome, 1), [""; 0]);
    let slow = outcome.state.tasks.values().find(|stored| stored.task.id == TaskId::Chunk(1)).unwrap();
    assert_eq!((slow.task.attempts, slow.task.generation), (6, 0), "two GOPs are made twice");
}

#[test]
fn a_source_is_read_and_remuxed_once_however_its_split_ends_after_that() {
    let whole = Scenario { kind: Kind::Stream, ..Scenario::default() };
    // The copy is read as well, since it is not kept on the disk.
    for (what, times) in [("probe", 1), ("remux", 1), ("stream_source", 2)] {
        assert_eq!(repeats(&whole, what, "create_task").into_iter().max(), Some(0), "{what}");
        let before = repeats(&whole, what, "store_new");
        assert_eq!(before.first(), Some(&times), "{what}: nothing is kept before that");
    }
}

/// Copying takes nine of a function's fifteen minutes, and reading the copy as many.
#[test]
fn a_split_that_runs_out_of_time_behind_its_copy_goes_on_from_there_and_nobody_is_asked() {
    let whole = Scenario { kind: Kind::Stream, join_ms: 540_000, probe_ms: 540_000, ..Scenario::default() };
    let outcome = run(&whole);
    assert_eq!(check::leftovers(&outcome.state), [""; 0]);
    let split = outcome.state.tasks.values().find(|stored| stored.task.id == TaskId::Split).unwrap();
    assert_eq!((split.task.attempts, split.task.faults, split.task.generation), (2, 0, 0));
    assert_eq!((count(&outcome, "remux"), count(&outcome, "probe")), (1, 1), "the first probe was not finished");
    let wanted = super::shown(&outcome).remove(0);
    let before = outcome.state.named.iter().position(|name| *name == "create_task").unwrap() as u64;
    for at in 1..=before {
        let chaos = Chaos { crash_at: Some((at, Moment::Before)), ..Chaos::default() };
        let outcome = run(&Scenario { chaos, ..whole.clone() });
        assert_eq!(check::leftovers(&outcome.state), [""; 0], "a death before operation {at}");
        assert_eq!(super::shown(&outcome).remove(0), wanted, "a death before operation {at}");
        assert!(count(&outcome, "remux") <= 2, "a death before operation {at}");
    }
}

/// A heartbeat has told of it by then.
#[test]
fn a_copy_that_is_stored_is_not_made_again() {
    let whole = Scenario { kind: Kind::Stream, probe_ms: 60_000, ..Scenario::default() };
    for at in places(&whole, "probe") {
        let chaos = Chaos { crash_at: Some((at, Moment::Before)), ..Chaos::default() };
        let outcome = run(&Scenario { chaos, ..whole.clone() });
        assert_eq!((count(&outcome, "remux"), check::leftovers(&outcome.state)), (1, vec![]), "a death before operation {at}");
    }
}

/// Numbers of the operations called `name`.
fn places(whole: &Scenario, name: &str) -> Vec<u64> {
    run(whole).state.named.iter().zip(1..).filter(|(op, _)| **op == name).map(|(_, number)| number).collect()
}

#[test]
fn a_merge_message_that_comes_too_early_is_no_fault() {
    let undisturbed = super::reference();
    let outcome = run(&Scenario { early_merge: true, ..Scenario::default() });
    assert_eq!(super::complaints(&outcome, 1), [""; 0]);
    assert_eq!(super::shown(&outcome).remove(0), *undisturbed);
    let merge = outcome.state.tasks.values().find(|stored| stored.task.id == TaskId::Merge).unwrap();
    assert!(outcome.invocations["merge"] > 3, "none came early");
    assert_eq!((merge.task.faults, merge.task.attempts), (0, 1));
    for seed in 0..super::SEEDS / 4 {
        super::holds(&Scenario { early_merge: true, ..super::rough(seed) }, &format!("early_merge: true, ..rough({seed})"));
    }
}

/// The last part's own message finds the lease of one that came too early, and dies as its copy.
#[test]
fn a_merge_message_is_not_lost_behind_one_that_came_too_early() {
    // The first chunk is the last to be done, and the ledger gives its record long before the others'.
    let whole = Scenario { chunks: 24, script: vec![(TaskId::Chunk(0), Act::Retry)], ..Scenario::default() };
    let undisturbed = run(&whole);
    let merge = undisturbed.state.tasks.values().find(|stored| stored.task.id == TaskId::Merge).unwrap();
    let begun = merge.task.begun_ms.unwrap() - START_MS;
    let mut swallowed = 0;
    for early_merge_ms in (begun - 150..begun).step_by(3) {
        let outcome = run(&Scenario { early_merge: true, early_merge_ms, ..whole.clone() });
        assert_eq!(check::leftovers(&outcome.state), [""; 0], "at {early_merge_ms}");
        let later = ended_ms(&outcome).saturating_sub(ended_ms(&undisturbed));
        assert!(later < 10_000, "at {early_merge_ms} of {begun} ms: {later} ms later");
        swallowed += usize::from(outcome.state.queues["merge"].received > outcome.state.queues["merge"].sent);
    }
    assert!(swallowed > 0, "no message came back: the moment was missed");
}

/// When the only job ended, milliseconds after the start.
fn ended_ms(outcome: &Outcome) -> u64 {
    outcome.state.jobs.values().next().map_or(0, |stored| stored.job.updated_ms) - START_MS
}

#[test]
fn temporaries_of_jobs_that_nobody_knows_go_after_a_day_and_nothing_else_does() {
    let unknown = "0123456789abcdef01234567";
    let stray = [format!("work/{unknown}/source/normalized.mkv"), format!("work/{unknown}/repro/c00001.0.json")];
    let others = [
        "work/mine.txt".into(),
        "work/my folder/a".into(),
        format!("streams/{unknown}/x"),
        format!("uploads/work/{unknown}/x"),
        format!("workers/{unknown}/x"),
    ];
    let strays: Vec<String> = stray.iter().chain(&others).cloned().collect();
    let left = |hours: u64| {
        let script = (0..4).map(|_| (TaskId::Chunk(1), Act::Retry)).collect();
        let outcome = run(&Scenario { strays: strays.clone(), script, operator_ms: Some(hours * 3_600_000), ..Scenario::default() });
        assert!(outcome.state.jobs.values().all(|stored| stored.job.state == JobState::Completed));
        strays.iter().filter(|key| outcome.state.objects.contains_key(*key)).cloned().collect::<Vec<_>>()
    };
    assert_eq!(left(12), strays, "a day is not over");
    assert_eq!(left(26), others);
}
