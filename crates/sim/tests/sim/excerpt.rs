//! Sound and text that are read without the picture.

use pipeline::{id::TaskId, result::TaskResult};
use sim::{Act, Chaos, Kind, Moment, Outcome, Scenario, check, run, source};

use super::shown;

fn great() -> Scenario {
    Scenario { kind: Kind::Great, text: true, ..Scenario::default() }
}

/// Bytes that the one job's sound and its text were made from.
fn read(outcome: &Outcome) -> (u64, u64) {
    let (mut sound, mut text) = (0, 0);
    for result in outcome.state.tasks.values().filter_map(|stored| stored.task.result.as_ref()) {
        match result {
            TaskResult::Audio { cost, .. } => sound += cost.read_bytes,
            TaskResult::Text { cost, .. } => text += cost.read_bytes,
            _ => {}
        }
    }
    (sound, text)
}

#[test]
fn each_task_reads_its_excerpt_and_whoever_dies_what_is_made_is_the_same() {
    let outcome = run(&great());
    assert_eq!(check::leftovers(&outcome.state), [""; 0]);
    let whole = source::great_bytes(source::CHUNKS).len() as u64;
    let (sound, text) = read(&outcome);
    assert!((1..whole / 2).contains(&sound) && (1..whole).contains(&text), "{sound} and {text} of {whole}");
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
    let outcome = run(&Scenario { script: vec![(TaskId::Audio(0), Act::Mismatch), (TaskId::Text, Act::Mismatch)], ..great() });
    assert_eq!(check::leftovers(&outcome.state), [""; 0]);
    assert_eq!(shown(&outcome), shown(&calm));
    let whole = source::great_bytes(source::CHUNKS).len() as u64;
    let (sound, text) = read(&calm);
    assert_eq!(read(&outcome), (sound + whole, text + whole));
}
