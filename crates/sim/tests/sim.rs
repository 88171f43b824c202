//! The stages against everything that goes wrong in a cloud. A failing run prints how to replay it.

#[path = "sim/each.rs"]
mod each;
#[path = "sim/excerpt.rs"]
mod excerpt;
#[path = "sim/faults.rs"]
mod faults;
#[path = "sim/fleet.rs"]
mod fleet;
#[path = "sim/long.rs"]
mod long;
#[path = "sim/message.rs"]
mod message;
#[path = "sim/operator.rs"]
mod operator;
#[path = "sim/outage.rs"]
mod outage;
#[path = "sim/partial.rs"]
mod partial;
#[path = "sim/resume.rs"]
mod resume;
#[path = "sim/sabotage.rs"]
mod sabotage;
#[path = "sim/stills.rs"]
mod stills;
#[path = "sim/sweep.rs"]
mod sweep;
#[path = "sim/update.rs"]
mod update;
#[path = "sim/wild.rs"]
mod wild;

use std::{collections::BTreeMap, sync::OnceLock};

use pipeline::{id::TaskId, job::JobState, task::Class};
use sim::{Act, Chaos, Kind, Moment, Outcome, Scenario, check, run, source};

/// Random worlds of each kind.
const SEEDS: u64 = 1_200;
/// Write here what a failure printed and run `cargo test -p sim --test sim replay -- --ignored --nocapture`.
fn replayed() -> Scenario {
    rough(0)
}

/// What the world is shown by a job that nothing disturbed.
fn reference() -> &'static BTreeMap<String, String> {
    static SHOWN: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    SHOWN.get_or_init(|| {
        let outcome = run(&Scenario::default());
        assert_eq!(check::leftovers(&outcome.state), [""; 0]);
        shown(&outcome).remove(0)
    })
}

fn shown(outcome: &Outcome) -> Vec<BTreeMap<String, String>> {
    outcome.state.jobs.keys().map(|job| check::published(&outcome.state, job)).collect()
}

/// Everything that is not as it must be after all jobs should have been completed.
fn complaints(outcome: &Outcome, films: usize) -> Vec<String> {
    let mut found = check::leftovers(&outcome.state);
    if outcome.state.jobs.len() != films {
        found.push(format!("{} jobs for {films} films", outcome.state.jobs.len()));
    }
    for stored in outcome.state.jobs.values().filter(|s| s.job.state != JobState::Completed) {
        found.push(format!("the job is {:?}", stored.job.state));
    }
    let dead = outcome.state.queues.iter().filter(|(name, queue)| name.ends_with("-dead-letter") && queue.sent > 0);
    found.extend(dead.map(|(name, queue)| format!("{} messages went to {name}", queue.sent)));
    if found.is_empty() {
        let other = shown(outcome).iter().flat_map(difference).collect::<Vec<_>>();
        found.extend(other);
    }
    found
}

fn difference(shown: &BTreeMap<String, String>) -> Vec<String> {
    let keys = reference().keys().chain(shown.keys());
    let other = keys.filter(|key| reference().get(*key) != shown.get(*key));
    other.map(|key| format!("{key} is not as in the undisturbed run: {:?} and {:?}", shown.get(key), reference().get(key))).collect()
}

/// A job whose world ends as `wanted` whoever dies, before or after any operation, and in random worlds.
fn ends_the_same(scenario: &Scenario, wanted: &BTreeMap<String, String>) {
    let (kind, text, profile, profiles) = (scenario.kind, scenario.text, scenario.profile, scenario.profiles);
    for at in 1..=run(scenario).state.ops {
        for moment in [Moment::Before, Moment::After] {
            let chaos = Chaos { crash_at: Some((at, moment)), ..Chaos::default() };
            let outcome = run(&Scenario { chaos, ..scenario.clone() });
            assert_eq!(check::leftovers(&outcome.state), [""; 0], "a death at operation {at} ({moment:?})");
            assert_eq!(shown(&outcome).remove(0), *wanted, "a death at operation {at} ({moment:?})");
        }
    }
    for seed in 0..SEEDS / 4 {
        let outcome = run(&Scenario { kind, text, profile, profiles, films: 1, ..rough(seed) });
        assert_eq!(check::leftovers(&outcome.state), [""; 0], "seed {seed}");
        assert_eq!(shown(&outcome).remove(0), *wanted, "seed {seed}");
    }
}

/// The same world with a death before and after each of its operations.
fn deaths_in_world(scenario: &Scenario, holds: impl Fn(&Outcome)) {
    for at in 1..=run(scenario).state.ops {
        for moment in [Moment::Before, Moment::After] {
            let chaos = Chaos { crash_at: Some((at, moment)), ..Chaos::default() };
            holds(&run(&Scenario { chaos, ..scenario.clone() }));
        }
    }
}

/// Runs, and if something is wrong runs again with a trace to show it.
fn holds(scenario: &Scenario, how_to_replay: &str) -> Outcome {
    let films = scenario.films.max(1);
    let outcome = run(scenario);
    let wrong = complaints(&outcome, films);
    if !wrong.is_empty() {
        let traced = run(&Scenario { trace: true, ..scenario.clone() });
        let lines = traced.state.trace.unwrap_or_default();
        let tail = lines[lines.len().saturating_sub(150)..].join("\n");
        panic!("{tail}\n\n{}\n\nreplay: {how_to_replay}\n{scenario:?}", wrong.join("\n"));
    }
    outcome
}

#[test]
fn an_undisturbed_job_receives_every_message_once() {
    let outcome = run(&Scenario::default());
    assert_eq!(complaints(&outcome, 1), [""; 0]);
    for (name, queue) in &outcome.state.queues {
        assert_eq!(queue.received, queue.sent, "{name}");
    }
    let expected = [("ingest", 1), ("split", 1), ("transcode", u64::from(source::CHUNKS) + 1), ("merge", 1)];
    for (function, times) in expected {
        assert_eq!(outcome.invocations.get(function), Some(&times), "{function}");
    }
    assert!(outcome.state.tasks.values().all(|s| s.task.attempts == 1 && s.task.is_done()));
}

#[test]
fn a_worker_may_die_at_any_operation() {
    let operations = run(&Scenario::default()).state.ops;
    assert!(operations > 100, "the count of {operations} is not that of a whole job");
    for at in 1..=operations {
        for moment in [Moment::Before, Moment::After] {
            let chaos = Chaos { crash_at: Some((at, moment)), ..Chaos::default() };
            let outcome = holds(&Scenario { chaos, ..Scenario::default() }, &replay_death(&[], at, moment));
            let again: u32 = outcome.state.tasks.values().map(|s| s.task.attempts.saturating_sub(1)).sum();
            assert!(again <= 1, "{again} attempts were repeated after one death at operation {at} ({moment:?})");
        }
    }
}

/// The CRFs that chunks chose for themselves are committed with them and stand in the receipt, whoever dies meanwhile.
#[test]
fn a_target_quality_gives_every_chunk_its_own_crf() {
    let scenario = Scenario { profile: "h264-vmaf", ..Scenario::default() };
    let undisturbed = run(&scenario);
    let wanted = shown(&undisturbed).remove(0);
    let receipt = wanted.iter().find(|(key, _)| key.ends_with("receipt.json")).unwrap().1;
    let receipt: serde_json::Value = serde_json::from_str(receipt).unwrap();
    let found: Vec<u64> = receipt["quality"].as_array().unwrap().iter().map(|chunk| chunk["crf"].as_u64().unwrap()).collect();
    assert_eq!(found, [21, 20, 19], "VMAF 93 where a step costs a third of a point and each chunk is one harder");
    for at in 1..=undisturbed.state.ops {
        let chaos = Chaos { crash_at: Some((at, Moment::Before)), ..Chaos::default() };
        let outcome = run(&Scenario { chaos, ..scenario.clone() });
        assert_eq!(check::leftovers(&outcome.state), [""; 0], "a death at operation {at}");
        assert_eq!(shown(&outcome).remove(0), wanted, "a death at operation {at}");
    }
}

/// The source is remuxed once, and every task works on the copy, whoever dies meanwhile; in the end the copy is gone.
#[test]
fn a_stream_is_remuxed_and_the_job_ends_the_same_whoever_dies() {
    let scenario = Scenario { kind: Kind::Stream, ..Scenario::default() };
    let undisturbed = run(&scenario);
    let wanted = shown(&undisturbed).remove(0);
    let plain = |(key, _): &(&String, &String)| !key.contains("/manifests/");
    assert_eq!(wanted.iter().filter(plain).collect::<Vec<_>>(), reference().iter().filter(plain).collect::<Vec<_>>());
    let receipt = wanted.iter().find(|(key, _)| key.ends_with("receipt.json")).unwrap().1;
    assert!(receipt.contains("7:data:bin_data"), "{receipt}");
    ends_the_same(&scenario, &wanted);
    let kept = Scenario { disk_mb: 1024, ..scenario };
    let read = |outcome: &Outcome| outcome.state.named.iter().filter(|name| **name == "stream_source").count();
    assert_eq!((read(&undisturbed), read(&run(&kept))), (2, 1), "a copy that is kept on the disk is not read from the store");
    ends_the_same(&kept, &wanted);
}

/// The profile that an upload names is its job's, whoever dies meanwhile and however often the event comes.
#[test]
fn an_upload_may_name_its_profile() {
    let named = Scenario { wish: "h264-vmaf", deliveries: 3, ..Scenario::default() };
    let (undisturbed, stacks) = (run(&named), run(&Scenario { profile: "h264-vmaf", ..Scenario::default() }));
    let wanted = shown(&stacks).remove(0);
    assert_eq!(check::leftovers(&undisturbed.state), [""; 0]);
    assert_eq!(shown(&undisturbed), std::slice::from_ref(&wanted), "one job, as if the stack had this profile");
    for at in 1..=run(&Scenario { deliveries: 1, ..named.clone() }).state.ops {
        let chaos = Chaos { crash_at: Some((at, Moment::Before)), ..Chaos::default() };
        let outcome = run(&Scenario { chaos, deliveries: 1, ..named.clone() });
        assert_eq!(check::leftovers(&outcome.state), [""; 0], "a death at operation {at}");
        assert_eq!(shown(&outcome), std::slice::from_ref(&wanted), "a death at operation {at}");
    }
}

#[test]
fn an_upload_that_names_no_profile_of_ours_is_rejected_with_their_names() {
    let outcome = run(&Scenario { wish: "h265", operator_ms: Some(60_000), ..Scenario::default() });
    is_rejected(&outcome, "there is no profile `h265`; there are h264");
    assert_eq!(attempts(&outcome), BTreeMap::from([(TaskId::Split, 1)]));
}

/// Text that can be read is shown, text that cannot is named, whoever dies meanwhile.
#[test]
fn subtitles_are_made_once_and_the_job_ends_the_same_whoever_dies() {
    let scenario = Scenario { text: true, ..Scenario::default() };
    let undisturbed = run(&scenario);
    assert_eq!(check::leftovers(&undisturbed.state), [""; 0]);
    let wanted = shown(&undisturbed).remove(0);
    let of = |end: &str| wanted.iter().find(|(key, _)| key.ends_with(end)).map(|(_, text)| text.clone()).unwrap();
    let master = of("master.m3u8");
    assert!(master.contains("text/media.m3u8") && master.contains("text-3/media.m3u8") && !master.contains("text-2"), "{master}");
    assert!(of("manifest.mpd").contains("<BaseURL>text-3/segments/seg_0000.vtt</BaseURL>"));
    assert!(of("receipt.json").contains("track 3: subtitles subrip: it holds no text"));
    ends_the_same(&scenario, &wanted);
}

#[test]
fn a_world_that_stands_in_the_way_of_subtitles_is_for_the_operator() {
    let script = (0..4).map(|_| (TaskId::Text, Act::Retry)).collect();
    let outcome = run(&Scenario { text: true, script, operator_ms: Some(60_000), ..Scenario::default() });
    assert_eq!(check::leftovers(&outcome.state), [""; 0]);
    assert!(outcome.state.jobs.values().all(|s| s.job.state == JobState::Completed));
    let again: Vec<_> = outcome.state.tasks.values().filter(|s| s.task.generation > 0).map(|s| s.task.id).collect();
    assert_eq!(again, [TaskId::Text]);
}

/// A job of sound alone has a task for each track and no chunk; its files are M4As.
#[test]
fn sound_without_a_picture_is_a_job_whoever_dies() {
    let scenario = Scenario { kind: Kind::Sound, ..Scenario::default() };
    let undisturbed = run(&scenario);
    assert_eq!(check::leftovers(&undisturbed.state), [""; 0]);
    let wanted = shown(&undisturbed).remove(0);
    assert_eq!(wanted.keys().filter(|key| key.contains(".m4a")).count(), 2, "{:?}", wanted.keys());
    let master = wanted.iter().find(|(key, _)| key.ends_with("master.m3u8")).unwrap().1;
    assert!(master.contains("CODECS=\"mp4a.40.2\",AUDIO=\"audio\"\naudio/media.m3u8\n"), "{master}");
    ends_the_same(&scenario, &wanted);
}

/// Whatever the part is, its third try is one with care, and no person is asked.
#[test]
fn a_part_that_crashes_its_tool_is_made_with_care() {
    let profiles = "[all]\noutputs = ['hls', 'mp4', 'poster']\n";
    for part in [TaskId::Chunk(1), TaskId::Audio(0), TaskId::Text, TaskId::Stills] {
        let script = vec![(part, Act::Delicate)];
        let outcome = run(&Scenario { script, text: true, profile: "all", profiles, ..Scenario::default() });
        assert_eq!(check::leftovers(&outcome.state), [""; 0], "{part}");
        assert!(outcome.state.jobs.values().all(|stored| stored.job.state == JobState::Completed), "{part}");
        let again: Vec<_> = attempts(&outcome).into_iter().filter(|(_, tries)| *tries > 1).collect();
        assert_eq!(again, [(part, 3)]);
    }
}

#[test]
fn a_remuxed_copy_that_is_gone_is_told_to_the_operator() {
    let outcome = run(&Scenario {
        kind: Kind::Stream,
        script: vec![(TaskId::Chunk(1), Act::Vanish)],
        operator_ms: Some(u64::MAX / 4),
        ..Scenario::default()
    });
    let faults: Vec<String> = outcome.state.tasks.values().filter_map(|s| s.task.last_fault.clone()).collect();
    assert!(!faults.is_empty() && faults.iter().all(|fault| fault.contains("submit the film again")), "{faults:?}");
}

fn replay_death(script: &[(TaskId, Act)], at: u64, moment: Moment) -> String {
    let operator = if script.is_empty() { "None" } else { "Some(30 * 60_000)" };
    format!(
        "Scenario {{ chaos: Chaos {{ crash_at: Some(({at}, Moment::{moment:?})), ..Chaos::default() }}, \
         script: vec!{script:?}, operator_ms: {operator}, ..Scenario::default() }}"
    )
}

/// Runs a script once for every operation in it, with a death before and after each, and holds each end against `wrong`.
fn deaths_in(script: &[(TaskId, Act)], wrong: impl Fn(&Outcome) -> Vec<String>) {
    let whole = Scenario { script: script.to_vec(), operator_ms: Some(30 * 60_000), ..Scenario::default() };
    let operations = run(&whole).state.ops;
    for at in 1..=operations {
        for moment in [Moment::Before, Moment::After] {
            let chaos = Chaos { crash_at: Some((at, moment)), ..Chaos::default() };
            let scenario = Scenario { chaos, ..whole.clone() };
            let found = wrong(&run(&scenario));
            if !found.is_empty() {
                let trace = run(&Scenario { trace: true, ..scenario }).state.trace.unwrap_or_default();
                panic!("{}\n\n{}\n\nreplay: {}", trace.join("\n"), found.join("\n"), replay_death(script, at, moment));
            }
        }
    }
}

#[test]
fn a_worker_may_die_while_its_task_goes_up_a_class() {
    deaths_in(&[(TaskId::Chunk(1), Act::Memory)], |outcome| {
        let mut found = complaints(outcome, 1);
        let standard = outcome.state.tasks.values().filter(|s| s.task.class == Class::Standard).count();
        if standard < outcome.state.tasks.len() && !outcome.invocations.contains_key("transcode-large") {
            found.push("a task of the large class was done by a standard worker".into());
        }
        found
    });
}

#[test]
fn a_worker_may_die_while_it_rejects_the_source() {
    let chunk = TaskId::Chunk(1);
    let repeats = (0..4).map(|_| (chunk, Act::Mismatch)).collect::<Vec<_>>();
    deaths_in(&repeats, |outcome| {
        let mut found = check::leftovers(&outcome.state);
        let rejected = outcome.state.jobs.values().all(|s| matches!(s.job.state, JobState::Rejected { .. }));
        found.extend((!rejected).then(|| "the job is not rejected".to_owned()));
        found
    });
}

#[test]
fn a_worker_may_die_while_it_gives_its_task_to_the_operator() {
    let script: Vec<_> = (0..4).map(|_| (TaskId::Chunk(1), Act::Retry)).collect();
    deaths_in(&script, |outcome| {
        let mut found = complaints(outcome, 1);
        let told = outcome.state.queues.get("escalation").is_some_and(|queue| queue.sent > 0);
        let blocked = outcome.state.tasks.values().any(|s| s.task.generation > 0);
        found.extend((blocked && !told).then(|| "the operator was never told".to_owned()));
        found
    });
}

/// A world without faults of its own: only deaths, stalls, and queues at their worst.
fn rough(seed: u64) -> Scenario {
    let chaos = Chaos {
        crash: 0.01,
        crashes: 6,
        stall: 0.01,
        // Together with the deaths fewer than the ten that end in the operator's hands.
        stalls: 3,
        slow: 0.05,
        duplicate: 0.1,
        lost_ack: 0.1,
        delay: 0.3,
        skew_ms: 400,
        until_ms: 40 * 60_000,
        ..Chaos::default()
    };
    let films = if seed.is_multiple_of(4) { 2 } else { 1 };
    Scenario { seed, chaos, films, deliveries: 3, ..Scenario::default() }
}

/// The same with ports that refuse now and then; an operator resolves what was refused too often.
fn throttled(seed: u64) -> Scenario {
    let calm = rough(seed);
    let chaos = Chaos { throttle: 0.02, ambiguous: 0.01, ..calm.chaos };
    Scenario { chaos, operator_ms: Some(7 * 60_000), ..calm }
}

#[test]
fn deaths_stalls_copies_and_delays_change_nothing() {
    let mut repeated = 0;
    for seed in 0..SEEDS {
        let outcome = holds(&rough(seed), &format!("rough({seed})"));
        repeated += outcome.state.tasks.values().filter(|s| s.task.attempts > 1).count();
    }
    assert!(repeated > 100, "only {repeated} tasks were tried again: the world is not rough");
}

#[test]
fn throttled_ports_change_nothing() {
    let mut blocked = 0;
    for seed in 0..SEEDS / 3 {
        let outcome = holds(&throttled(seed), &format!("throttled({seed})"));
        blocked += outcome.state.tasks.values().filter(|s| s.task.generation > 0).count();
    }
    assert!(blocked > 0, "no task was ever given to the operator");
}

#[test]
fn a_rejection_in_a_rough_world_leaves_nothing() {
    let mut after_work = 0;
    for seed in 0..SEEDS / 3 {
        let script = (0..20).map(|_| (TaskId::Chunk(1), Act::Mismatch)).collect();
        let outcome = run(&Scenario { script, films: 1, operator_ms: Some(7 * 60_000), ..rough(seed) });
        let mut found = check::leftovers(&outcome.state);
        let rejected = outcome.state.jobs.values().all(|s| matches!(s.job.state, JobState::Rejected { .. }));
        found.extend((!rejected).then(|| "the job is not rejected".to_owned()));
        let replay = format!("rough({seed}) with films: 1 and the script and operator of this test");
        assert_eq!(found, [""; 0], "replay: {replay}");
        after_work += usize::from(outcome.state.tasks.values().any(|s| s.task.is_done() && matches!(s.task.id, TaskId::Chunk(_))));
    }
    assert!(after_work > 10, "in {after_work} worlds only there was something to delete");
}

const HOUR_MS: u64 = 3_600_000;

#[test]
fn lost_messages_are_sent_again_at_doubling_intervals() {
    for queue in ["split", "transcode", "merge"] {
        let chaos = Chaos { lost: Some((queue, 3 * HOUR_MS)), ..Chaos::default() };
        let outcome = holds(&Scenario { chaos, ..Scenario::default() }, queue);
        let tasks = if queue == "transcode" { u64::from(source::CHUNKS) + 1 } else { 1 };
        let sent = outcome.state.queues.get(queue).map_or(0, |q| q.sent);
        // At once, and 15, 45, 105 and 225 minutes after.
        assert!((4 * tasks..=5 * tasks).contains(&sent), "{sent} messages for {tasks} tasks went to {queue}");
    }
}

#[test]
fn messages_that_nobody_reads_are_hardly_ever_sent_again() {
    for queue in ["split", "transcode", "merge"] {
        let chaos = Chaos { unread: Some((queue, 20 * HOUR_MS)), ..Chaos::default() };
        let outcome = holds(&Scenario { chaos, ..Scenario::default() }, queue);
        let tasks = if queue == "transcode" { u64::from(source::CHUNKS) + 1 } else { 1 };
        let sent = outcome.state.queues.get(queue).map_or(0, |q| q.sent);
        // At once, and 1, 3, 7 and 15 hours after.
        assert_eq!(sent, 5 * tasks, "{queue}");
    }
}

fn scripted(script: Vec<(TaskId, Act)>) -> Outcome {
    run(&Scenario { script, operator_ms: Some(60_000), ..Scenario::default() })
}

fn attempts(outcome: &Outcome) -> BTreeMap<TaskId, u32> {
    outcome.state.tasks.values().map(|s| (s.task.id, s.task.attempts)).collect()
}

fn is_rejected(outcome: &Outcome, because: &str) {
    assert_eq!(check::leftovers(&outcome.state), [""; 0]);
    let states: Vec<_> = outcome.state.jobs.values().map(|s| s.job.state.clone()).collect();
    assert!(matches!(&states[..], [JobState::Rejected { reason }] if reason.contains(because)), "{states:?}");
    // But for what the sweep has written down for itself, and a person's own profiles.
    assert!(outcome.state.objects.keys().all(|key| key.starts_with("config/")), "{:?}", outcome.state.objects.keys());
}

#[test]
#[ignore = "prints one run: see replayed()"]
fn replay() {
    let scenario = replayed();
    let outcome = run(&Scenario { trace: true, ..scenario.clone() });
    for line in outcome.state.trace.iter().flatten() {
        println!("{line}");
    }
    println!("{}", complaints(&outcome, scenario.films.max(1)).join("\n"));
}
