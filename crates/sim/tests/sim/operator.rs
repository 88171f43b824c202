//! What waits for a person, and what a person gives up.

use std::collections::BTreeMap;

use pipeline::{id::TaskId, job::JobState, task::TaskState};
use sim::{Act, Outcome, START_MS, Scenario, check, run};

use super::{SEEDS, attempts, complaints, scripted, throttled};

#[test]
fn a_task_out_of_retries_waits_for_the_operator_while_the_others_go_on() {
    let chunk = TaskId::Chunk(1);
    let script: Vec<_> = (0..4).map(|_| (chunk, Act::Retry)).collect();
    let alone = run(&Scenario { script: script.clone(), operator_ms: Some(u64::MAX / 4), ..Scenario::default() });
    let tasks: BTreeMap<_, _> = alone.state.tasks.values().map(|s| (s.task.id, s.task.state.clone())).collect();
    assert!(matches!(tasks[&chunk], TaskState::Blocked { .. }));
    assert!(
        tasks.iter().filter(|(id, _)| !matches!(id, TaskId::Chunk(1) | TaskId::Merge)).all(|(_, s)| *s == TaskState::Done),
        "{tasks:?}"
    );
    assert_eq!(alone.state.jobs.values().map(|s| s.blocked.clone()).collect::<Vec<_>>(), [[chunk]]);
    assert!(alone.state.objects.keys().any(|key| key.ends_with("/repro/c00001.0.json")));
    assert!(alone.state.told.iter().any(|id| id.ends_with("/c00001/0")), "people are told: {:?}", alone.state.told);

    let resolved = scripted(script);
    assert_eq!(complaints(&resolved, 1), [""; 0]);
    assert!(attempts(&resolved).values().all(|n| *n == 1), "only the blocked task ran again, in a generation of its own");
    let generations: BTreeMap<_, _> = resolved.state.tasks.values().map(|s| (s.task.id, s.task.generation)).collect();
    assert_eq!(generations.iter().filter(|(_, g)| **g > 0).collect::<Vec<_>>(), [(&chunk, &1)]);
}

/// What is wrong in a world whose jobs were given up: they are cancelled or were faster, and nothing of them is left.
fn after_cancel(outcome: &Outcome) -> Vec<String> {
    let mut found = check::leftovers(&outcome.state);
    let over = |state: &JobState| matches!(state, JobState::Cancelled | JobState::Completed);
    found.extend(outcome.state.jobs.values().filter(|s| !over(&s.job.state)).map(|s| format!("the job is {:?}", s.job.state)));
    found
}

#[test]
fn a_job_may_be_given_up_at_any_moment_and_leaves_nothing() {
    let whole = run(&Scenario::default()).took_ms;
    let mut cancelled = 0;
    for after in (0..whole.min(20 * 60_000)).step_by(7) {
        let scenario = Scenario { cancel_ms: Some(after), ..Scenario::default() };
        let outcome = run(&scenario);
        assert_eq!(after_cancel(&outcome), [""; 0], "replay: {scenario:?}");
        cancelled += usize::from(outcome.state.jobs.values().any(|s| s.job.state == JobState::Cancelled));
        if outcome.state.jobs.values().all(|s| s.job.state == JobState::Completed) && cancelled > 0 {
            break;
        }
    }
    assert!(cancelled > 20, "only {cancelled} jobs were given up in time");
}

/// The news of a blocked task that nobody takes for a day becomes a dead letter, comes back as one, and is one message all along.
#[test]
fn news_that_nobody_takes_does_not_multiply() {
    const HOUR: u64 = 3_600_000;
    let script = vec![(TaskId::Chunk(1), Act::Memory); 2];
    let outcome = run(&Scenario { script, deaf_ms: 24 * HOUR, operator_ms: Some(30 * HOUR), ..Scenario::default() });
    let sent = |queue: &str| outcome.state.queues.get(queue).map(|queue| queue.sent);
    assert_eq!((sent("escalation"), sent("escalation-dead-letter")), (Some(1), Some(1)));
    assert_eq!((check::leftovers(&outcome.state), outcome.state.told.len()), (vec![], 1));
}

#[test]
fn a_job_given_up_in_a_rough_world_leaves_nothing() {
    let mut cancelled = 0;
    for seed in 0..SEEDS / 3 {
        let scenario = Scenario { cancel_ms: Some(200 + seed * 97 % 60_000), ..throttled(seed) };
        let outcome = run(&scenario);
        assert_eq!(after_cancel(&outcome), [""; 0], "replay: {scenario:?}");
        cancelled += usize::from(outcome.state.jobs.values().any(|s| s.job.state == JobState::Cancelled));
    }
    assert!(cancelled > 50, "only {cancelled} jobs were given up in time");
}

/// A dead letter is news about a message: only a task that nobody works on, and nobody did, is given to a person for it.
#[test]
fn a_dead_letter_about_a_task_that_goes_on_changes_nothing() {
    let (chunk, whole) = (TaskId::Chunk(1), run(&Scenario::default()));
    let ended = whole.state.jobs.values().next().unwrap().job.updated_ms - START_MS;
    let (mut ignored, mut given_up) = (0, 0);
    // Done at once; waiting for its second try for a while; with a person for a minute.
    for script in [0, 1, 4].map(|times| vec![(chunk, Act::Retry); times]) {
        for after in (0..ended + 120_000).step_by(397) {
            let scenario =
                Scenario { letter: Some((chunk, after)), script: script.clone(), operator_ms: Some(60_000), ..Scenario::default() };
            let outcome = run(&scenario);
            assert_eq!(check::leftovers(&outcome.state), [""; 0], "a letter after {after} ms: {script:?}");
            assert!(outcome.state.jobs.values().all(|s| s.job.state == JobState::Completed), "a letter after {after} ms");
            let task = outcome.state.tasks.values().map(|s| &s.task).find(|task| task.id == chunk).unwrap();
            let asked = usize::try_from(task.generation).unwrap();
            assert_eq!(outcome.state.told.len(), asked, "a letter after {after} ms");
            match (script.len(), asked) {
                (0 | 1, 0) | (4, 1) => ignored += 1,
                (1, 1) => given_up += 1,
                _ => panic!("a letter after {after} ms asked {asked} times"),
            }
        }
    }
    assert!(ignored > 100 && given_up > 0, "{ignored} letters were ignored, {given_up} were not");
}

/// What a person is shown of a breakdown is of the one that the task waits for, or says that it is of another.
#[test]
fn a_bundle_shows_the_failure_that_it_is_about() {
    let chunk = TaskId::Chunk(1);
    let bundle = |acts: Vec<Act>| -> serde_json::Value {
        let script = acts.into_iter().map(|act| (chunk, act)).collect();
        let outcome = run(&Scenario { script, operator_ms: Some(u64::MAX / 4), ..Scenario::default() });
        let found = outcome.state.objects.iter().find(|(key, _)| key.ends_with("/repro/c00001.0.json"));
        serde_json::from_slice(found.unwrap().1).unwrap()
    };
    let crashed = bundle(vec![Act::Crash; 3]);
    assert_eq!((crashed["crash"]["how"].as_str(), crashed["earlier_crash"].is_null()), (Some("signal 11"), true));
    let short = bundle(vec![Act::Memory; 2]);
    assert_eq!((short["crash"]["how"].as_str(), short["crash"]["shortage"].as_str()), (Some("the encoder was killed"), Some("memory")));
    let refused = bundle([vec![Act::Crash], vec![Act::Retry; 4]].concat());
    assert_eq!((refused["crash"].is_null(), refused["earlier_crash"]["how"].as_str()), (true, Some("signal 11")));
}

/// Who publishes elsewhere and takes the files along at once leaves a job that is looked at no more, and not at each sweep for ever.
#[test]
fn a_ladder_that_is_taken_elsewhere_at_once_is_tidied_all_the_same() {
    let outcome = run(&Scenario { taken: true, ..Scenario::default() });
    assert!(outcome.state.jobs.values().all(|s| s.job.state == JobState::Completed && s.job.tidied));
    assert!(!outcome.state.objects.keys().any(|key| key.starts_with("work/") || key.starts_with("streams/")));
}
