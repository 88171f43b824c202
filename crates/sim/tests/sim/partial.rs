//! Damaged films under a profile that takes a part for the whole.

use std::collections::BTreeMap;

use pipeline::{id::TaskId, job::JobState};
use serde_json::{Value, json};
use sim::{Act, Kind, Outcome, Scenario, check, run};

use super::{deaths_in_world, is_rejected, shown};

const PROFILES: &str = "[saving]\non_damage = 'partial'\noutputs = ['hls', 'dash', 'mp4', 'poster']\n";

/// A chunk that gives other frames than planned whenever it is asked; a worker that dies leaves two answers of four.
fn saving(damaged: &[TaskId]) -> Scenario {
    let script = damaged.iter().flat_map(|task| (0..4).map(|_| (*task, Act::Mismatch))).collect();
    Scenario { script, profile: "saving", profiles: PROFILES, ..Scenario::default() }
}

fn receipt(shown: &BTreeMap<String, String>) -> Value {
    let text = shown.iter().find(|(key, _)| key.ends_with("receipt.json")).map_or("", |(_, text)| text.as_str());
    serde_json::from_str(text).unwrap_or_default()
}

/// The sentence that the one job ended with, its published objects, and whatever is not as it must be.
fn saved(outcome: &Outcome) -> (String, BTreeMap<String, String>) {
    assert_eq!(check::leftovers(&outcome.state), [""; 0]);
    let states: Vec<_> = outcome.state.jobs.values().map(|s| s.job.state.clone()).collect();
    let [JobState::Partial { losses }] = &states[..] else { panic!("{states:?}") };
    (losses.detail.clone(), shown(outcome).remove(0))
}

#[test]
fn a_chunk_that_is_lost_is_black_and_named_and_the_film_is_never_completed() {
    let scenario = saving(&[TaskId::Chunk(1)]);
    let (detail, wanted) = saved(&run(&scenario));
    assert_eq!(
        detail,
        "saved in part: 24 of 36 frames are in each rendition; not saved: picture, seconds 6.00 to 12.00 (black pictures there)"
    );
    let receipt = receipt(&wanted);
    assert_eq!(
        receipt["lost"],
        json!([{ "track": "picture", "from": 6.0, "to": 12.0, "frames": 12, "instead": "black pictures", "reason": "frame 3 is missing" }])
    );
    assert!(receipt["verified"][0].as_str().unwrap().starts_with("but for what is lost, every displayed frame"), "{receipt}");
    let black: Vec<bool> = (0..3)
        .map(|chunk| {
            let name = format!("480p/segments/seg_{chunk:04}.m4s");
            wanted.iter().find(|(key, _)| key.ends_with(&name)).unwrap().1.contains("black")
        })
        .collect();
    assert_eq!(black, [false, true, false]);
    deaths_in_world(&scenario, |outcome| assert_eq!(saved(outcome), (detail.clone(), wanted.clone())));
}

#[test]
fn a_film_of_which_nothing_can_be_decoded_is_rejected_and_nothing_of_it_stays() {
    let all = [TaskId::Chunk(0), TaskId::Chunk(1), TaskId::Chunk(2)];
    let scenario = Scenario { operator_ms: Some(60_000), ..saving(&all) };
    is_rejected(&run(&scenario), "nothing of the picture can be decoded");
    deaths_in_world(&scenario, |outcome| is_rejected(outcome, "nothing of the picture can be decoded"));
}

#[test]
fn sound_that_is_lost_is_silence_and_named() {
    let (detail, shown) = saved(&run(&saving(&[TaskId::Audio(0)])));
    assert!(detail.ends_with("36 of 36 frames are in each rendition; not saved: audio, seconds 1.00 to 1.50 (silence there)"), "{detail}");
    assert_eq!(receipt(&shown)["lost"][0]["track"], "audio");
}

#[test]
fn an_upload_that_broke_off_is_saved_as_far_as_it_goes_and_only_where_the_profile_says_so() {
    let strict = run(&Scenario { kind: Kind::Cut, operator_ms: Some(60_000), ..Scenario::default() });
    is_rejected(&strict, "the file is truncated");
    let scenario = Scenario { kind: Kind::Cut, ..saving(&[]) };
    let (detail, wanted) = saved(&run(&scenario));
    assert_eq!(
        detail,
        "saved in part: 30 of 30 frames are in each rendition; not saved: picture, from second 15.00 on (never uploaded); audio, from second 15.00 on (never uploaded)"
    );
    deaths_in_world(&scenario, |outcome| assert_eq!(saved(outcome), (detail.clone(), wanted.clone())));
}

/// A poster is no reason to wait for a person where a part is taken for the whole.
#[test]
fn pictures_beside_the_film_that_cannot_be_made_are_left_out() {
    let scenario = Scenario { script: vec![(TaskId::Stills, Act::Reject("none of 3 pictures could be decoded".into()))], ..saving(&[]) };
    let outcome = run(&scenario);
    assert_eq!(check::leftovers(&outcome.state), [""; 0]);
    let shown = shown(&outcome).remove(0);
    assert_eq!(receipt(&shown)["left_out"], json!(["pictures beside the film: none of 3 pictures could be decoded"]));
    assert!(!shown.keys().any(|key| key.contains("poster")), "{:?}", shown.keys());
}
