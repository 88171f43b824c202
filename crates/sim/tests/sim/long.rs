//! Long films: what grows with them and what must not.

use std::collections::BTreeMap;

use pipeline::{job::JobState, result::TaskResult};
use sim::{Chaos, Moment, Outcome, Scenario, check, run};

fn completed(outcome: &Outcome) {
    assert_eq!(check::leftovers(&outcome.state), [""; 0]);
    assert!(outcome.state.jobs.values().all(|stored| stored.job.state == JobState::Completed));
}

fn writes(chunks: u32) -> BTreeMap<&'static str, u32> {
    let outcome = run(&Scenario { chunks, ..Scenario::default() });
    completed(&outcome);
    assert_eq!(outcome.state.tasks.len(), chunks as usize + 3, "chunks, sound, split and merge");
    outcome.state.writes.into_iter().map(|(kind, count)| (kind, u32::try_from(count).unwrap_or(u32::MAX))).collect()
}

/// Every kind of item grows by as many writes from chunk to chunk, whether there are a hundred or ten thousand (P10).
#[test]
fn the_ledger_is_written_as_often_for_each_chunk_of_a_short_and_of_a_long_film() {
    let lengths = [100, 1_000, 10_000];
    let counted = lengths.map(writes);
    let per_chunk = |kind: &str, pair: [usize; 2]| {
        let [less, more] = pair.map(|at| counted[at].get(kind).copied().unwrap_or_default());
        f64::from(more - less) / f64::from(lengths[pair[1]] - lengths[pair[0]])
    };
    for kind in ["job", "task", "done", "event", "blocked"] {
        let (short, long) = (per_chunk(kind, [0, 1]), per_chunk(kind, [1, 2]));
        println!("{kind}: {short:.3} and {long:.3} writes a chunk");
        // Environments that ended are found by the sweep half an hour later, in the longest film alone: three events for each.
        let most = if kind == "event" { 0.05 } else { 0.01 };
        assert!((short - long).abs() < most, "{kind}: {short} writes a chunk in a film of 1,000 chunks, {long} in one of 10,000");
    }
    assert!(per_chunk("task", [1, 2]) > 2.0 && per_chunk("done", [1, 2]) >= 1.0, "the writes were not counted");
    assert!(per_chunk("job", [1, 2]) < f64::EPSILON, "the job's item is not written for chunks");
}

/// The records of the sound are too large for an item of the ledger here: they lie in an object of their own.
#[test]
fn a_worker_may_die_in_a_job_whose_sound_is_listed_in_an_object() {
    let whole = Scenario { chunks: 60, ..Scenario::default() };
    let undisturbed = run(&whole);
    completed(&undisturbed);
    let sound = undisturbed.state.tasks.values().find_map(|stored| match &stored.task.result {
        Some(TaskResult::Audio { track, .. }) => Some(track),
        _ => None,
    });
    assert!(sound.is_some_and(|track| track.listing.is_some() && track.segments.is_empty()), "{sound:?}");
    let wanted = super::shown(&undisturbed).remove(0);
    assert_eq!(wanted.keys().filter(|key| key.contains("/audio/segments/seg_")).count(), 60);
    // The first operations plan the film, the last ones merge it; those between are of one chunk after another.
    let ops = undisturbed.state.ops;
    for at in (1..ops).filter(|at| at % 41 == 0 || ops - at < 60) {
        let chaos = Chaos { crash_at: Some((at, Moment::After)), ..Chaos::default() };
        let outcome = run(&Scenario { chaos, ..whole.clone() });
        assert_eq!(check::leftovers(&outcome.state), [""; 0], "a death at operation {at}");
        assert_eq!(super::shown(&outcome).remove(0), wanted, "a death at operation {at}");
    }
}
