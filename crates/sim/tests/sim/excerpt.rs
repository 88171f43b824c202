//! Sound that is read without the picture.

use pipeline::{id::TaskId, result::TaskResult};
use sim::{Act, Chaos, Kind, Moment, Outcome, Scenario, check, run, source};

use super::shown;

fn great() -> Scenario {
    Scenario { kind: Kind::Great, ..Scenario::default() }
}

/// Bytes that the one job's sound was made from.
fn read(outcome: &Outcome) -> u64 {
    let mut results = outcome.state.tasks.values().filter_map(|stored| stored.task.result.as_ref());
    let sound = results.find_map(|result| if let TaskResult::Audio { cost, .. } = result { Some(cost.read_bytes) } else { None });
    sound.unwrap_or_default()
}

#[test]
fn the_sound_task_reads_its_excerpt_and_whoever_dies_the_sound_is_the_same() {
    let outcome = run(&great());
    assert_eq!(check::leftovers(&outcome.state), [""; 0]);
    let whole = source::great_bytes(source::CHUNKS).len() as u64;
    assert!((1..whole / 2).contains(&read(&outcome)), "{} of {whole}", read(&outcome));
    let wanted = shown(&outcome);
    for at in (1..=outcome.state.ops).step_by(5) {
        let chaos = Chaos { crash_at: Some((at, Moment::After)), ..Chaos::default() };
        let outcome = run(&Scenario { chaos, ..great() });
        assert_eq!(check::leftovers(&outcome.state), [""; 0], "a death at operation {at}");
        assert_eq!(shown(&outcome), wanted, "a death at operation {at}");
    }
}

#[test]
fn what_cannot_be_decoded_from_an_excerpt_is_tried_with_the_whole() {
    let calm = run(&great());
    let outcome = run(&Scenario { script: vec![(TaskId::Audio(0), Act::Mismatch)], ..great() });
    assert_eq!(check::leftovers(&outcome.state), [""; 0]);
    assert_eq!(shown(&outcome), shown(&calm));
    let whole = source::great_bytes(source::CHUNKS).len() as u64;
    assert_eq!(read(&outcome), read(&calm) + whole);
}
