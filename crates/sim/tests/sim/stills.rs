//! A job that makes pictures beside its film.

use std::collections::BTreeMap;

use pipeline::{
    id::TaskId,
    job::JobState,
    task::{Class, TaskState},
};
use serde_json::Value;
use sim::{Act, Outcome, Scenario, check, run};

use super::{complaints, ends_the_same, shown};

const PROFILES: &str = "[pictured]\noutputs = ['hls', 'dash', 'mp4', 'poster', 'sprite', 'preview']\n";

fn pictured() -> Scenario {
    Scenario { profile: "pictured", profiles: PROFILES, ..Scenario::default() }
}

fn receipt(shown: &BTreeMap<String, String>) -> Value {
    let text = shown.iter().find(|(key, _)| key.ends_with("receipt.json")).map(|(_, text)| text.as_str());
    serde_json::from_str(text.unwrap_or_default()).expect("a completed job has a receipt")
}

/// What is wrong with a world that should have ended as `wanted`.
fn wrong(outcome: &Outcome, wanted: &BTreeMap<String, String>) -> Vec<String> {
    let mut found = check::leftovers(&outcome.state);
    found.extend(shown(outcome).iter().filter(|shown| *shown != wanted).map(|shown| format!("{shown:?} is not {wanted:?}")));
    found
}

#[test]
fn pictures_are_published_beside_the_playlists_and_named_in_the_receipt() {
    let outcome = run(&pictured());
    assert_eq!(check::leftovers(&outcome.state), [""; 0]);
    let shown = shown(&outcome).remove(0);
    let beside: Vec<&str> = shown.keys().filter_map(|key| key.strip_prefix("streams/JOB/")).filter(|name| !name.contains('/')).collect();
    assert_eq!(beside, ["manifest.mpd", "master.m3u8", "poster.jpg", "preview.webp", "sprite-0.jpg", "sprite.vtt"]);
    let receipt = receipt(&shown);
    let named: Vec<&str> = receipt["stills"]["files"].as_array().unwrap().iter().map(|file| file["key"].as_str().unwrap()).collect();
    assert_eq!(named, ["streams/JOB/poster.jpg", "streams/JOB/sprite-0.jpg", "streams/JOB/preview.webp"]);
    assert_eq!((&receipt["stills"]["thumbnails"], &receipt["stills"]["repeated"]), (&"streams/JOB/sprite.vtt".into(), &0.into()));
    let tasks: Vec<TaskId> = outcome.state.tasks.values().map(|stored| stored.task.id).collect();
    assert!(tasks.contains(&TaskId::Stills), "{tasks:?}");
    // The film itself is the same with and without them.
    let plain = run(&Scenario::default());
    assert_eq!(complaints(&plain, 1), [""; 0]);
    let plain = super::reference();
    let films = |shown: &BTreeMap<String, String>| {
        shown.iter().filter(|(key, _)| key.contains("p/")).map(|(k, v)| (k.clone(), v.clone())).collect::<Vec<_>>()
    };
    assert_eq!(films(&shown), films(plain));
}

#[test]
fn a_worker_may_die_at_any_operation_of_a_job_with_pictures() {
    let wanted = shown(&run(&pictured())).remove(0);
    ends_the_same(&pictured(), &wanted);
}

/// Whether a source is at fault, its chunks decide.
#[test]
fn no_film_is_thrown_away_for_its_poster() {
    let refused = vec![(TaskId::Stills, Act::Reject("this decoder shows no keyframe".into()))];
    let waiting = run(&Scenario { script: refused.clone(), operator_ms: Some(u64::MAX / 4), ..pictured() });
    let states: BTreeMap<TaskId, TaskState> = waiting.state.tasks.values().map(|s| (s.task.id, s.task.state.clone())).collect();
    assert!(
        matches!(&states[&TaskId::Stills], TaskState::Blocked { fault } if fault.to_string().contains("shows no keyframe")),
        "{states:?}"
    );
    assert!(waiting.state.jobs.values().all(|s| s.job.state == JobState::Transcoding && s.blocked == [TaskId::Stills]));
    let resolved = run(&Scenario { script: refused, operator_ms: Some(60_000), ..pictured() });
    assert_eq!(wrong(&resolved, &shown(&run(&pictured())).remove(0)), [""; 0]);
}

#[test]
fn a_tile_that_shows_the_picture_before_is_told_of() {
    let script = vec![(TaskId::Stills, Act::Mismatch)];
    let outcome = run(&Scenario { script, ..pictured() });
    assert_eq!(check::leftovers(&outcome.state), [""; 0]);
    assert_eq!(receipt(&shown(&outcome).remove(0))["stills"]["repeated"], 1);
}

#[test]
fn pictures_that_need_more_memory_go_up_a_class() {
    let outcome = run(&Scenario { script: vec![(TaskId::Stills, Act::Memory)], operator_ms: Some(60_000), ..pictured() });
    assert_eq!(wrong(&outcome, &shown(&run(&pictured())).remove(0)), [""; 0]);
    let large: Vec<TaskId> = outcome.state.tasks.values().filter(|s| s.task.class == Class::Large).map(|s| s.task.id).collect();
    assert_eq!((large, outcome.invocations.get("transcode-large")), (vec![TaskId::Stills], Some(&1)));
}
