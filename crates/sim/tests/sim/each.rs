//! Every operation and every message of a job, each gone wrong once.

use pipeline::job::JobState;
use sim::{Chaos, Moment, Scenario, run};

use super::holds;

#[test]
fn every_operation_may_be_refused_once() {
    let operations = run(&Scenario::default()).state.ops;
    for at in 1..=operations {
        for moment in [Moment::Before, Moment::After] {
            let chaos = Chaos { refuse_at: Some((at, moment)), ..Chaos::default() };
            let replay = format!("Scenario {{ chaos: Chaos {{ refuse_at: Some(({at}, Moment::{moment:?})), .. }}, .. }}");
            holds(&Scenario { chaos, ..Scenario::default() }, &replay);
        }
    }
}

/// Whose lease it is has half a second to give it back: nothing is counted against the task, and nobody waits for the lease.
#[test]
fn an_environment_may_be_shut_down_at_every_operation() {
    let whole = run(&Scenario::default());
    let mut given_back = 0;
    for at in 1..=whole.state.ops {
        let chaos = Chaos { shutdown_at: Some(at), ..Chaos::default() };
        let outcome = holds(&Scenario { chaos, ..Scenario::default() }, &format!("shutdown_at: Some({at})"));
        let again: Vec<_> = outcome.state.tasks.values().map(|s| &s.task).filter(|task| task.attempts > 1).collect();
        assert!(again.len() <= 1, "shut down at operation {at}: {again:?}");
        if let [task] = again[..]
            && task.deaths == 0
        {
            assert_eq!((task.attempts, task.faults), (2, 0), "shut down at operation {at}");
            assert!(outcome.took_ms < whole.took_ms + 30_000, "{} ms when shut down at operation {at}", outcome.took_ms);
            given_back += 1;
        }
    }
    assert!(given_back > 50, "{given_back} tasks only were given back");
}

#[test]
fn every_message_may_be_lost_once_and_is_sent_again() {
    let whole = run(&Scenario::default());
    let messages = whole.state.to_workers;
    assert_eq!(messages, 7, "the upload, split, three chunks, the sound and the merge");
    for at in 1..=messages {
        let chaos = Chaos { lose_at: Some(at), ..Chaos::default() };
        let outcome = holds(&Scenario { chaos, ..Scenario::default() }, &format!("lose_at: Some({at})"));
        assert!(outcome.took_ms > whole.took_ms + 4 * 60_000, "message {at} was not lost");
        assert!(outcome.state.tasks.values().all(|s| s.task.attempts == 1), "what was done is not done again");
    }
}

#[test]
fn every_message_may_come_twice_and_late_and_in_any_order() {
    for seed in 0..40 {
        let chaos = Chaos { duplicate: 1.0, delay: 1.0, lost_ack: 0.5, until_ms: 40 * 60_000, ..Chaos::default() };
        holds(&Scenario { seed, chaos, films: 2, deliveries: 2, ..Scenario::default() }, &format!("seed: {seed}, duplicate: 1.0, …"));
    }
}

/// Of a bucket that is somebody's own, the event bus tells. What it does not tell of, the sweep finds; what lay there before
/// the stack is nobody's business.
#[test]
fn a_film_in_somebodys_bucket_becomes_a_job_whoever_dies_and_the_old_ones_do_not() {
    let library = Scenario { library: Some(2), ..Scenario::default() };
    let lost = |at| Chaos { lose_at: Some(at), ..Chaos::default() };
    let (told, untold) = (run(&library), run(&Scenario { chaos: lost(1), ..library.clone() }));
    assert!(untold.took_ms > told.took_ms + 4 * 60_000, "the event was not lost");
    for (ops, lose_at) in [(told.state.ops, None), (untold.state.ops, Some(1))] {
        for at in 0..=ops {
            // At 0 nobody dies.
            let chaos = Chaos { crash_at: Some((at, Moment::Before)), lose_at, ..Chaos::default() };
            let outcome = holds(&Scenario { chaos, ..library.clone() }, &format!("library: Some(2), crash_at: {at}, lose_at: {lose_at:?}"));
            let whose: Vec<&str> = outcome.state.jobs.values().map(|s| s.job.source.bucket.as_str()).collect();
            assert_eq!(whose, ["library"]);
        }
    }
}

/// Where a bucket has more objects than one sweep looks at, the next one goes on behind them, and in the end from the beginning.
#[test]
fn a_film_behind_more_objects_than_a_sweep_looks_at_is_found_whoever_dies() {
    let chaos = |crash_at| Chaos { lose_at: Some(1), crash_at, ..Chaos::default() };
    let library = Scenario { library: Some(5), most_listed: 2, chaos: chaos(None), ..Scenario::default() };
    let by_one = run(&Scenario { most_listed: 0, ..library.clone() });
    let whole = run(&library);
    assert!(whole.took_ms > by_one.took_ms + 9 * 60_000, "the first two sweeps have not seen it: {} {}", whole.took_ms, by_one.took_ms);
    for at in 0..=whole.state.ops {
        let crash_at = Some((at, Moment::Before));
        let scenario = Scenario { chaos: chaos(crash_at), ..library.clone() };
        let outcome = holds(&scenario, &format!("library: Some(5), most_listed: 2, lose_at: Some(1), crash_at: {at}"));
        assert_eq!(outcome.state.jobs.len(), 1);
    }
}

/// A sweep whose time is over notes how far it came, and has taken what it found.
#[test]
fn a_film_behind_more_uploads_than_a_sweep_has_time_for_is_found() {
    // Every call takes up to four seconds, and eight uploads are asked about at a time.
    let chaos = Chaos { lose_at: Some(1), slow: 1.0, until_ms: 24 * 3_600_000, ..Chaos::default() };
    let scenario = |locked| Scenario { chaos: chaos.clone(), locked, ..Scenario::default() };
    let (few, many) = (run(&scenario(2)), run(&scenario(900)));
    for outcome in [&few, &many] {
        assert!(outcome.state.jobs.values().map(|s| &s.job.state).eq([&JobState::Completed]));
    }
    assert!(many.took_ms > few.took_ms + 2 * 5 * 60_000, "one sweep has not seen them all: {} {}", few.took_ms, many.took_ms);
}

/// Two uploads that the store refuses to tell anything of come before it in the list.
#[test]
fn an_upload_that_nobody_told_of_is_taken_beside_some_that_cannot_be_looked_at() {
    let chaos = Chaos { lose_at: Some(1), ..Chaos::default() };
    let outcome = holds(&Scenario { chaos, locked: 2, ..Scenario::default() }, "lose_at: Some(1), locked: 2");
    assert_eq!(outcome.state.sources.len(), 3);
}
