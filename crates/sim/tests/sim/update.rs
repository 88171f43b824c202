//! The media tools are updated while a job is at work: segments of both would not fit together.

use pipeline::{id::TaskId, job::JobState};
use sim::{Act, Chaos, Moment, Outcome, Scenario, check, run};

use super::{reference, shown};

/// What is wrong with a world in which the film has either been done before the update, or been started over, once.
fn wrong(outcome: &Outcome) -> Vec<String> {
    let mut found = check::leftovers(&outcome.state);
    let mut jobs: Vec<_> = outcome.state.jobs.values().map(|stored| &stored.job).collect();
    jobs.sort_by_key(|job| job.generation);
    let states: Vec<&JobState> = jobs.iter().map(|job| &job.state).collect();
    if !matches!(states[..], [JobState::Completed] | [JobState::Cancelled, JobState::Completed]) {
        found.push(format!("the generations of the film are {states:?}"));
    }
    let film = |key: &String| !key.contains("/manifests/");
    let wanted: Vec<_> = reference().iter().filter(|(key, _)| film(key)).collect();
    for made in shown(outcome).iter().filter(|made| !made.is_empty()) {
        let made: Vec<_> = made.iter().filter(|(key, _)| film(key)).collect();
        if !made.is_empty() && made != wanted {
            found.push(format!("{made:?} is not {wanted:?}"));
        }
    }
    found
}

#[test]
fn a_job_whose_tools_are_updated_starts_over_once_and_nobody_is_called() {
    // A task that is tried again meets what there is by then.
    let usual = || Scenario { script: vec![(TaskId::Chunk(1), Act::Retry), (TaskId::Chunk(1), Act::Retry)], ..Scenario::default() };
    let whole = run(&usual()).took_ms;
    let mut started_over = None;
    for after in (0..whole.min(20 * 60_000)).step_by(499) {
        let scenario = Scenario { update_ms: Some(after), ..usual() };
        let outcome = run(&scenario);
        assert_eq!(wrong(&outcome), [""; 0], "updated after {after} ms");
        if outcome.state.jobs.len() > 1 {
            started_over = Some((scenario, outcome.state.ops));
        } else if started_over.is_some() {
            break;
        }
    }
    let (scenario, ops) = started_over.expect("an update in the middle of a job");
    for at in 1..=ops {
        let chaos = Chaos { crash_at: Some((at, Moment::Before)), ..Chaos::default() };
        assert_eq!(wrong(&run(&Scenario { chaos, ..scenario.clone() })), [""; 0], "a death at operation {at}");
    }
}
