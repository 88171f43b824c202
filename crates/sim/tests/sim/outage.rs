//! A store that is away for a while.

use pipeline::id::TaskId;
use sim::{Chaos, Moment, Outcome, Scenario, run};

const JOBS: u64 = 60;

/// Jobs of which a task was given to a person when the store was away for so many milliseconds, at any time of the job.
fn asked_for_help(away_ms: u64) -> usize {
    let mut asked = 0;
    for seed in 0..JOBS {
        let from = 500 + seed * 331;
        let chaos = Chaos { away: Some((from, from + away_ms)), ..Chaos::default() };
        let scenario = Scenario { seed, chaos, operator_ms: Some(5 * 60_000), ..Scenario::default() };
        let outcome = super::holds(&scenario, &format!("away({seed}, {away_ms})"));
        asked += usize::from(outcome.state.tasks.values().any(|stored| stored.task.generation > 0));
    }
    asked
}

#[test]
fn a_store_that_is_away_for_seconds_asks_hardly_anybody_and_costs_nothing() {
    let (soon, late) = (asked_for_help(30_000), asked_for_help(600_000));
    assert!(soon <= 6, "{soon} of {JOBS} jobs asked a person for what goes by itself");
    assert!(late > 20, "{late} of {JOBS} jobs asked a person for what does not go by itself");
}

#[test]
fn an_environment_that_cannot_reach_the_store_says_so_and_gives_its_task_back() {
    let away =
        |away| super::holds(&Scenario { chaos: Chaos { away, ..Chaos::default() }, ..Scenario::default() }, &format!("away: {away:?}"));
    assert_eq!(away(None).state.hindered.len(), 0);
    let outcome = away(Some((500, 60_500)));
    let again: Vec<TaskId> = outcome.state.tasks.values().filter(|s| s.task.attempts > 1).map(|s| s.task.id).collect();
    assert!(!again.is_empty() && again.iter().all(|id| outcome.state.hindered.contains(id)), "{again:?}, {:?}", outcome.state.hindered);
}

/// A machine whose power goes at any moment of a job, for two days: longer than `JOB_TIMEOUT`, and than every lease.
#[test]
fn days_without_power_ask_nobody_and_cost_one_attempt_per_worker() {
    const DAYS: u64 = 2 * 86_400_000;
    let undisturbed = run(&Scenario::default());
    let whole = undisturbed.state.jobs.values().next().unwrap().job.updated_ms - sim::START_MS;
    let mut again = 0;
    for from in (0..whole).step_by(usize::try_from(whole / 200).unwrap().max(1)) {
        let chaos = Chaos { off: Some((from, from + DAYS)), ..Chaos::default() };
        let outcome = super::holds(&Scenario { chaos, ..Scenario::default() }, &format!("off: Some(({from}, {from} + two days))"));
        assert!(outcome.state.tasks.values().all(|s| s.task.attempts <= 2), "off after {from} ms");
        again += outcome.state.tasks.values().filter(|s| s.task.attempts > 1).count();
    }
    assert!(again > 100, "{again} attempts only were cut short: the power was not away");
}

/// Whichever question it was that the ledger did not answer, before a task has its lease or later.
#[test]
fn a_ledger_that_is_away_for_a_moment_costs_minutes_and_not_a_queues_own_time() {
    let ended = |outcome: &Outcome| outcome.state.jobs.values().next().unwrap().job.updated_ms;
    let undisturbed = run(&Scenario::default());
    let asked = undisturbed.state.named.iter().zip(1..).filter(|(name, _)| ["job", "task"].contains(name));
    for (name, at) in asked.map(|(name, at)| (*name, at)).collect::<Vec<(&str, u64)>>() {
        let chaos = Chaos { refuse_at: Some((at, Moment::Before)), ..Chaos::default() };
        let outcome = super::holds(&Scenario { chaos, ..Scenario::default() }, &format!("refuse_at: Some(({at}, Moment::Before))"));
        let more = ended(&outcome) - ended(&undisturbed);
        assert!(more < 3 * 60_000, "{more} ms for one refusal of operation {at}, {name}");
    }
}
