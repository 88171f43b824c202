//! What must hold in every world, at every write and at its end.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use pipeline::{
    Fault, Shortage,
    id::JobId,
    job::{Job, JobState},
    key,
    plan::Output,
    result::{TaskResult, TextRecord, TrackRecord},
    task::{Class, Task, TaskState},
};

use crate::state::State;

/// A task is about to be written.
pub fn task_moved(state: &mut State, old: &Task, new: &Task) {
    let worker = state.acting;
    let mut wrong = Vec::new();
    if new.fence < old.fence {
        wrong.push(format!("the fence fell from {} to {}", old.fence, new.fence));
    }
    match (&old.state, &new.state) {
        (TaskState::Done, now) if *now != TaskState::Done => wrong.push(format!("it was done and is {now:?}")),
        (TaskState::Done, _) if old.result != new.result => wrong.push("its result changed after it was done".into()),
        (TaskState::Leased(held), TaskState::Leased(taken))
            if taken.fence != held.fence && held.until_ms > state.now_ms + 2 * state.chaos.reach_ms() =>
        {
            wrong.push(format!("fence {} was taken over while its lease ran", held.fence));
        }
        (TaskState::Leased(held), TaskState::Done) => {
            *state.commits.entry((new.job.clone(), new.id)).or_default() += 1;
            let holder = state.fences.get(&(new.job.clone(), new.id, held.fence));
            if holder != Some(&worker) {
                wrong.push(format!("worker {worker} committed under fence {}, which is of {holder:?}", held.fence));
            }
        }
        (_, TaskState::Done) if old.state != TaskState::Done => {
            wrong.push(format!("it was committed without a lease from {:?}", old.state));
        }
        (_, TaskState::Blocked { fault }) if !state.may_block => wrong.push(format!("it was blocked by nothing but kills: {fault}")),
        (_, TaskState::Blocked { fault }) if !was_tried_enough(old, fault) => wrong.push(format!("a person was asked too early: {fault}")),
        _ => {}
    }
    if let TaskState::Leased(lease) = &new.state
        && new.fence > old.fence
        && state.fences.insert((new.job.clone(), new.id, lease.fence), worker).is_some()
    {
        wrong.push(format!("fence {} was given twice", lease.fence));
    }
    // A job that ended without a ladder has its objects deleted under its last workers.
    let ended = state.jobs.get(&new.job).is_some_and(|s| s.job.state.is_ended() && !s.job.state.is_published());
    for segment in segments(new).into_iter().filter(|_| !ended) {
        if !state.objects.contains_key(segment) {
            wrong.push(format!("{segment} was committed and is not stored"));
        }
    }
    for what in wrong {
        state.broken(format!("task {}: {what}", new.id));
    }
}

/// Whether design and decisions let a person be asked by now: the bounds stand here once more, so that one that is lost shows.
fn was_tried_enough(old: &Task, fault: &Fault) -> bool {
    match fault {
        Fault::Retry(_) => old.faults >= 3,
        Fault::Crash(_) => old.crashes >= 2,
        Fault::Escalate { reason: Shortage::Tool, detail } if detail.contains("times in a row") => old.deaths >= 9,
        Fault::Escalate { reason: Shortage::Tool, .. } | Fault::Reject(_) => true,
        Fault::Escalate { detail, .. } if detail.contains("JOB_TIMEOUT") => true,
        Fault::Escalate { .. } => old.class == Class::Large || !old.id.is_part(),
        Fault::Killed(_) | Fault::Early(_) => false,
    }
}

/// A job is about to be written.
pub fn job_moved(state: &mut State, old: &Job, new: &Job) {
    if old.state.is_ended() && old.state != new.state {
        state.broken(format!("the job was {} and is {}", old.state.name(), new.state.name()));
    }
    if new.state.is_published() && !old.state.is_published() {
        *state.publications.entry(new.id.clone()).or_default() += 1;
        visible(state, &key::master_playlist(&new.id));
        if new.plan.as_ref().is_some_and(|plan| plan.profile.outputs.contains(&Output::Dash)) {
            visible(state, &key::dash_manifest(&new.id));
        }
        let JobState::Merging { fence } = old.state else { return state.broken("the job was completed without a merge".into()) };
        let holder = state.fences.get(&(new.id.clone(), pipeline::id::TaskId::Merge, fence));
        if holder != Some(&state.acting) {
            let (worker, holder) = (state.acting, holder.copied());
            state.broken(format!("worker {worker} completed the job under fence {fence}, which is of {holder:?}"));
        }
        if state.taken {
            let streams = key::streams(&new.id);
            state.objects.retain(|key, _| !key.starts_with(&streams));
        }
    }
}

/// An object is about to be stored: what people may have seen never changes.
pub fn stored(state: &mut State, key: &str, bytes: &Bytes) {
    let kept = ["streams/", "encoded/", "jobs/"].iter().any(|prefix| key.starts_with(prefix));
    if kept && state.objects.get(key).is_some_and(|before| before != bytes) {
        state.broken(format!("{key} was stored again with other bytes"));
    }
}

/// After a deletion: what is visible is still whole.
pub fn after_delete(state: &mut State, keys: &[String]) {
    let jobs: BTreeSet<JobId> = keys.iter().filter_map(|k| k.split('/').nth(1)?.parse().ok()).collect();
    for job in jobs {
        let master = key::master_playlist(&job);
        let published = state.jobs.get(&job).is_some_and(|s| s.job.state.is_published());
        if published || state.objects.contains_key(&master) {
            visible(state, &master);
        }
        let manifest = key::dash_manifest(&job);
        if state.objects.contains_key(&manifest) {
            visible(state, &manifest);
        }
    }
}

/// Whether a master playlist or a manifest, and everything that it leads to, is there.
pub fn visible(state: &mut State, door: &str) {
    let named = match door.rsplit_once('/') {
        Some((folder, "manifest.mpd")) => named_by_manifest(&state.objects, &format!("{folder}/")),
        Some((folder, _)) => listed(&state.objects, &format!("{folder}/")),
        None => return,
    };
    let missing: Vec<String> = named.into_iter().filter(|key| !state.objects.contains_key(key)).collect();
    if !missing.is_empty() {
        state.broken(format!("{door} is visible and these are missing: {}", missing.join(" ")));
    }
}

/// Every key that the manifest below `folder` names, itself included.
pub fn named_by_manifest(objects: &BTreeMap<String, Bytes>, folder: &str) -> BTreeSet<String> {
    let manifest = format!("{folder}manifest.mpd");
    let text = objects.get(&manifest).map(|b| String::from_utf8_lossy(b).into_owned()).unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with("<SegmentURL ") || line.starts_with("<Initialization "));
    let urls = lines.filter_map(|line| line.split('"').nth(1));
    let whole = text.lines().filter_map(|line| line.strip_prefix("<BaseURL>")?.strip_suffix("</BaseURL>"));
    urls.chain(whole).map(|url| format!("{folder}{url}")).chain([manifest.clone()]).collect()
}

/// Every key that the master playlist below `folder` leads to, itself included.
pub fn listed(objects: &BTreeMap<String, Bytes>, folder: &str) -> BTreeSet<String> {
    let lines = |key: &str| -> Vec<String> {
        let text = objects.get(key).map(|b| String::from_utf8_lossy(b).into_owned()).unwrap_or_default();
        let quoted = text.lines().filter_map(|line| Some(line.split_once("URI=\"")?.1.split('"').next()?.to_owned()));
        let plain = text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned);
        quoted.chain(plain).collect()
    };
    let master = format!("{folder}master.m3u8");
    let mut keys = BTreeSet::from([master.clone()]);
    for media in lines(&master) {
        let (track, _) = media.split_once('/').unwrap_or(("", ""));
        keys.extend(lines(&format!("{folder}{media}")).iter().map(|uri| format!("{folder}{track}/{uri}")));
        keys.insert(format!("{folder}{media}"));
    }
    keys
}

/// Keys that a task's record names.
fn segments(task: &Task) -> Vec<&String> {
    let tracks: Vec<&TrackRecord> = match &task.result {
        Some(TaskResult::Chunk { renditions, .. }) => renditions.iter().collect(),
        Some(TaskResult::Audio { track, .. }) => vec![track],
        _ => Vec::new(),
    };
    let stills = match &task.result {
        Some(TaskResult::Stills { files, .. }) => files.as_slice(),
        _ => &[],
    };
    if let Some(TaskResult::Text { tracks, .. }) = &task.result {
        let made = tracks.iter().filter_map(|track| if let TextRecord::Made(file) = track { Some(&file.key) } else { None });
        return made.collect();
    }
    let keys = tracks.into_iter().flat_map(|t| t.segments.iter().map(|s| &s.key).chain(t.listing.iter().map(|l| &l.key)));
    keys.chain(stills.iter().map(|file| &file.key)).collect()
}

/// What a completed job shows the world, with everything left out that may differ between two runs: the job's name, the
/// fencing numbers in names, the cost, the source's bucket.
pub fn published(state: &State, job: &JobId) -> BTreeMap<String, String> {
    let name = state.jobs.get(job).map_or("", |s| s.job.source.key.as_str());
    let own = state.objects.iter().filter(|(key, _)| key.contains(job.as_str()));
    own.map(|(key, bytes)| {
        let mut text = String::from_utf8_lossy(bytes).replace(job.as_str(), "JOB").replace(name, "NAME");
        if key.ends_with("receipt.json")
            && let Ok(mut receipt) = serde_json::from_str::<serde_json::Value>(&text)
        {
            receipt["cost"].take();
            receipt["expense"].take();
            receipt["source"]["bucket"].take();
            receipt["source"]["version"].take();
            text = receipt.to_string();
        }
        (without_fences(&key.replace(job.as_str(), "JOB")), without_fences(&text))
    })
    .collect()
}

/// `seg_0001.7.m4s` becomes `seg_0001.m4s`, `seg_0000.7.vtt` `seg_0000.vtt`, `source/normalized.7.mkv` `source/normalized.mkv`.
fn without_fences(text: &str) -> String {
    ["seg_", "/source/"].iter().fold(text.to_owned(), |text, before| {
        let mut parts = text.split(before);
        let mut plain = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('.').unwrap_or((part, ""));
            plain.extend([before, name, rest.trim_start_matches(|c: char| c.is_ascii_digit())]);
        }
        plain
    })
}

/// Whether the pictures beside the film could not be made, and its profile goes on without.
fn left_out(state: &State, job: &JobId) -> bool {
    let mut of_job = state.tasks.values().filter(|stored| stored.task.job == *job);
    of_job.any(|stored| matches!(&stored.task.result, Some(TaskResult::Stills { lost: Some(_), .. })))
}

/// What is left over in a world that came to rest, one line each; nothing is as it must be.
pub fn leftovers(state: &State) -> Vec<String> {
    let mut left: Vec<String> = state.violations.clone();
    left.extend(state.uploads.values().map(|(key, _)| format!("an unfinished upload: {key}")));
    left.extend(state.open().iter().map(|item| format!("still in the index of open work: {item:?}")));
    for (name, queue) in &state.queues {
        left.extend(queue.messages.iter().map(|m| format!("still in {name}: {} {}", m.id, m.body)));
    }
    left.extend(
        state.commits.iter().filter(|(_, times)| **times != 1).map(|((_, task), times)| format!("{task} was committed {times} times")),
    );
    for stored in state.jobs.values() {
        let job = &stored.job;
        let published = state.publications.get(&job.id).copied().unwrap_or_default();
        if published != u32::from(job.state.is_published()) {
            left.push(format!("the job is {} and was published {published} times", job.state.name()));
        }
        let streams = key::streams(&job.id);
        let whole = job.state.is_published();
        let mut kept = if whole { listed(&state.objects, &streams) } else { BTreeSet::new() };
        if whole && let Some(plan) = &job.plan {
            kept.extend(plan.video.iter().flat_map(|video| &video.renditions).map(|r| key::mp4(&job.id, &r.name)));
            kept.extend(plan.audio.iter().filter(|_| plan.video.is_none()).map(|track| key::m4a(&job.id, &track.name)));
        }
        if whole
            && let Some(stills) = job.plan.as_ref().and_then(|plan| plan.stills.as_ref())
            && !left_out(state, &job.id)
        {
            let names = stills.files().into_iter().map(|file| file.name);
            let thumbnails = stills.sprite.iter().map(|_| pipeline::stills::THUMBNAILS.to_owned());
            kept.extend(names.chain(thumbnails).map(|name| key::published_still(&job.id, &name)));
        }
        if whole && job.plan.as_ref().is_some_and(|plan| plan.profile.outputs.contains(&Output::Dash)) {
            let named = named_by_manifest(&state.objects, &streams);
            let segments = |keys: &BTreeSet<String>| keys.iter().filter(|k| k.contains("/segments/")).count();
            if segments(&named) != segments(&listed(&state.objects, &streams)) {
                left.push("the manifest names other segments than the playlists".into());
            }
            kept.extend(named);
        }
        left.extend(kept.iter().filter(|k| !state.objects.contains_key(*k)).map(|k| format!("missing: {k}")));
        let tasks = state.tasks.values().filter(|s| s.task.job == job.id && whole);
        // They may stay beside the segments, and need not.
        kept.extend(
            tasks.flat_map(|s| segments(&s.task)).filter(|k| k.contains("/segments/list_") && state.objects.contains_key(*k)).cloned(),
        );
        let own = state.objects.keys().filter(|k| k.contains(job.id.as_str()) && !(whole && k.starts_with("jobs/")));
        left.extend(own.filter(|k| !kept.contains(*k)).map(|k| format!("an orphan: {k}")));
        if !stored.blocked.is_empty() {
            left.push(format!("the job shows as escalated: {:?}", stored.blocked));
        }
    }
    left
}
