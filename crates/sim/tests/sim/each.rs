//! Every operation and every message of a job, each gone wrong once.

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

/// Two uploads that the store refuses to tell anything of come before it in the list.
#[test]
fn an_upload_that_nobody_told_of_is_taken_beside_some_that_cannot_be_looked_at() {
    let chaos = Chaos { lose_at: Some(1), ..Chaos::default() };
    let outcome = holds(&Scenario { chaos, locked: 2, ..Scenario::default() }, "lose_at: Some(1), locked: 2");
    assert_eq!(outcome.state.sources.len(), 3);
}
