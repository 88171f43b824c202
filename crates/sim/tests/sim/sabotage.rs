//! Proof that the tests can fail: each promise of a port, broken, is found out.

use sim::{Outcome, Sabotage, Scenario, check, run};

use super::{complaints, rough, throttled};

/// Seeds in which a broken promise must show at least once.
const SABOTAGED: u64 = 300;

/// The first seed in which a broken promise shows.
fn shows(sabotage: Sabotage, world: fn(u64) -> Scenario, wrong: fn(&Outcome, usize) -> Vec<String>) -> Option<u64> {
    (0..SABOTAGED).find(|seed| {
        let scenario = Scenario { sabotage: Some(sabotage), ..world(*seed) };
        !wrong(&run(&scenario), scenario.films).is_empty()
    })
}

/// A world in which a person gives the job up while it is written by others: the same worlds without sabotage end as they must.
fn given_up(seed: u64) -> Scenario {
    Scenario { cancel_ms: Some(200 + seed * 97 % 60_000), ..throttled(seed) }
}

fn left(outcome: &Outcome, _: usize) -> Vec<String> {
    check::leftovers(&outcome.state)
}

#[test]
fn a_ledger_without_versions_is_found_out() {
    assert!(shows(Sabotage::NoVersions, rough, complaints).is_some());
}

#[test]
fn a_ledger_without_versions_of_jobs_is_found_out() {
    assert!(shows(Sabotage::NoJobVersions, given_up, left).is_some());
}

#[test]
fn a_ledger_that_makes_jobs_and_tasks_anew_is_found_out() {
    assert!(shows(Sabotage::JobsAnew, rough, complaints).is_some());
    assert!(shows(Sabotage::TasksAnew, rough, complaints).is_some());
}

#[test]
fn a_ledger_without_fences_is_found_out() {
    assert!(shows(Sabotage::NoFences, rough, complaints).is_some());
}

#[test]
fn a_merge_message_that_is_not_sent_again_is_found_out() {
    assert!(shows(Sabotage::OneMergeMessage, rough, complaints).is_some());
}
