//! Faults in a world that is otherwise in order, one at a time.

use std::collections::BTreeMap;

use pipeline::{id::TaskId, task::Class};
use sim::Act;

use super::{attempts, complaints, is_rejected, scripted};

#[test]
fn a_source_that_the_probe_rejects_is_rejected_once() {
    let outcome = scripted(vec![(TaskId::Split, Act::Reject("the file is a picture".into()))]);
    is_rejected(&outcome, "the file is a picture");
    assert_eq!(attempts(&outcome), BTreeMap::from([(TaskId::Split, 1)]));
}

#[test]
fn a_chunk_that_differs_twice_rejects_the_job_and_nothing_of_it_stays() {
    let chunk = TaskId::Chunk(1);
    let outcome = scripted(vec![(chunk, Act::Mismatch), (chunk, Act::Mismatch)]);
    is_rejected(&outcome, "the video is damaged in seconds");
    assert_eq!(attempts(&outcome).get(&chunk), Some(&1));
}

#[test]
fn a_chunk_that_differs_once_is_read_whole_and_completes() {
    let outcome = scripted(vec![(TaskId::Chunk(1), Act::Mismatch)]);
    assert_eq!(complaints(&outcome, 1), [""; 0]);
    assert!(attempts(&outcome).values().all(|n| *n == 1));
}

#[test]
fn a_shortage_of_memory_goes_to_the_large_class() {
    let outcome = scripted(vec![(TaskId::Chunk(1), Act::Memory)]);
    assert_eq!(complaints(&outcome, 1), [""; 0]);
    assert_eq!(outcome.invocations.get("transcode-large"), Some(&1));
    let classes: Vec<Class> = outcome.state.tasks.values().map(|s| s.task.class).collect();
    assert_eq!(classes.iter().filter(|c| **c == Class::Large).count(), 1);
}
