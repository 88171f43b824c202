//! `fanreel submit`: gives a film to the running platform. An upload that broke off is gone on with by the same command.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use cloud::Sending;
use pipeline::{
    id::{JobId, SourceRef},
    job::{JobState, StoredJob},
    message::Uploaded,
    ports::{Blobs, Ledger},
    stage::ingest,
};
use serde::Serialize;

use crate::{
    args::{Global, SubmitArgs},
    bar::{Board, Lane},
    desk::Desk,
    end::{End, usage},
    film,
    find::now_ms,
    profiles,
    remote::Fanreel,
    running::interrupted,
    screen, upload,
};

/// From an upload to its job.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(200);
/// Runs of one upload that are looked through.
const MAX_GENERATIONS: u32 = 100;

#[derive(Debug, Serialize)]
struct Submitted {
    source: String,
    job: JobId,
    /// There was a job for this very content before.
    known: bool,
}

pub async fn run(args: &SubmitArgs, global: &Global) -> anyhow::Result<End> {
    let (objects, paths): (Vec<_>, Vec<_>) = args.sources.iter().cloned().partition(|source| object_of(source).is_some());
    let films = film::read(&paths)?;
    let fanreel = Fanreel::find(global).await?;
    let profile = args.profile.as_deref();
    if let Some(profile) = profile {
        profiles::of(&fanreel).await?.get(profile).map_err(usage)?;
    }
    let mut submitted = Vec::new();
    for (bucket, key) in objects.iter().filter_map(|object| object_of(object)) {
        submitted.push(object(&fanreel, (bucket, key), profile, args.again).await?);
    }
    let end = interrupted();
    tokio::pin!(end);
    for film in &films {
        screen::note(&format!("{}: uploads to s3://{}/{}", film.path.display(), fanreel.bucket, film.key));
        let (sending, mut lane) = (Sending::default(), lane(film));
        let one = tokio::select! {
            one = uploaded(&fanreel, film, (profile, args.again), (&sending, &mut lane)) => one,
            () = &mut end => {
                lane.clear();
                screen::note(&format!("{}: interrupted; {}", film.path.display(), upload::kept(&sending.progress())));
                tell(&submitted, global.json);
                return Ok(End::Interrupted);
            }
        };
        lane.clear();
        submitted.push(one?);
    }
    tell(&submitted, global.json);
    if !global.json {
        let job = if let [one] = &submitted[..] { pipeline::view::short(&one.job).to_owned() } else { "JOB".to_owned() };
        screen::note(&format!("watch it: fanreel status {job} --follow{}", global.there()));
    }
    Ok(End::Done)
}

fn lane(film: &film::Film) -> Lane {
    let mut lanes = Board::new().lanes(&[film.name()]);
    lanes.remove(0).of_upload()
}

fn tell(submitted: &[Submitted], json: bool) {
    if json {
        screen::json(&serde_json::json!({ "jobs": submitted }));
        return;
    }
    for one in submitted {
        let known = if one.known { "  (known already; --again starts over what has ended or waits for an operator)" } else { "" };
        screen::out(&format!("{}  {}{known}", one.job, one.source));
    }
}

/// Bucket and key of `s3://BUCKET/KEY`.
fn object_of(source: &Path) -> Option<(&str, &str)> {
    source.to_str()?.strip_prefix("s3://")?.split_once('/')
}

async fn object(fanreel: &Fanreel, (bucket, key): (&str, &str), profile: Option<&str>, again: bool) -> anyhow::Result<Submitted> {
    let name = format!("s3://{bucket}/{key}");
    let Some(source) = fanreel.blobs.head_source(bucket, key).await? else { return Err(usage(format!("{name}: there is no such object"))) };
    let before = newest(fanreel, &source, profile).await?;
    let job = take(fanreel, source, profile, before.as_ref(), again).await?;
    let known = before.is_some_and(|before| before.job.id == job);
    Ok(Submitted { source: name, job, known })
}

async fn uploaded(
    fanreel: &Fanreel,
    film: &film::Film,
    (profile, again): (Option<&str>, bool),
    (sending, lane): (&Sending, &mut Lane),
) -> anyhow::Result<Submitted> {
    let name = format!("s3://{}/{}", fanreel.bucket, film.key);
    spare_the_running(fanreel, film).await?;
    let began_ms = now_ms();
    let (source, found) = if let Some(found) = worked_on(fanreel, film, profile, (sending, &mut *lane)).await? {
        found
    } else {
        upload::film(fanreel, film, profile, (sending, lane)).await?;
        let source = fanreel.blobs.head_source(&fanreel.bucket, &film.key).await?;
        let source = source.with_context(|| format!("{name} was stored and is gone"))?;
        let found = begun(fanreel, &source, profile, began_ms).await?;
        (source, found)
    };
    let known = found.job.created_ms < began_ms;
    if again && known {
        let job = take(fanreel, source, profile, Some(&found), true).await?;
        return Ok(Submitted { source: name, known: job == found.job.id, job });
    }
    Ok(Submitted { source: name, job: found.job.id, known })
}

/// The very file, if it is stored and has a job that did not fail: there is nothing to send, as after a ctrl-c behind the
/// last byte.
async fn worked_on(
    fanreel: &Fanreel,
    film: &film::Film,
    profile: Option<&str>,
    (sending, lane): (&Sending, &mut Lane),
) -> anyhow::Result<Option<(SourceRef, StoredJob)>> {
    let there = fanreel.blobs.head_source(&fanreel.bucket, &film.key).await?;
    let Some(source) = there.filter(|there| there.size == film.stamp.bytes) else { return Ok(None) };
    let Some(found) = newest(fanreel, &source, profile).await?.filter(|found| !failed(found)) else { return Ok(None) };
    let holds = upload::shown(fanreel.blobs.holds(&film.key, &film.stamp.path, profile, sending), sending, lane);
    Ok(holds.await?.then_some((source, found)))
}

/// An upload over such a job starts the next one.
fn failed(found: &StoredJob) -> bool {
    matches!(found.job.state, JobState::Rejected { .. } | JobState::Cancelled) || !found.blocked.is_empty()
}

/// Another film under the name of one that is being worked on would end that job: its source would be gone.
async fn spare_the_running(fanreel: &Fanreel, film: &film::Film) -> anyhow::Result<()> {
    let Some(there) = fanreel.blobs.head_source(&fanreel.bucket, &film.key).await? else { return Ok(()) };
    match newest(fanreel, &there, None).await? {
        Some(busy) if there.size != film.stamp.bytes && !busy.job.state.is_ended() => Err(usage(format!(
            "{}: job {} still works on another film of this name; wait for it, or rename this one",
            film.path.display(),
            busy.job.id
        ))),
        _ => Ok(()),
    }
}

/// Waits for the job that the upload's event begins, or finds the one there is.
async fn begun(fanreel: &Fanreel, source: &SourceRef, profile: Option<&str>, began_ms: u64) -> anyhow::Result<StoredJob> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = newest(fanreel, source, profile).await?
            && (found.job.created_ms >= began_ms || !failed(&found))
        {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!(
                "s3://{}/{} is stored, but no job began in {} s; look at `fanreel logs ingest`",
                source.bucket,
                source.key,
                PATIENCE.as_secs()
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The latest job for this very content, with this profile or with whichever.
async fn newest(fanreel: &Fanreel, source: &SourceRef, only: Option<&str>) -> anyhow::Result<Option<StoredJob>> {
    let mut newest: Option<StoredJob> = None;
    let profiles = profiles::of(fanreel).await?;
    for profile in profiles.names().filter(|name| only.is_none_or(|only| only == *name)) {
        for generation in 0..MAX_GENERATIONS {
            let Some(found) = fanreel.ledger.job(&JobId::of(source, profile, generation)).await? else { break };
            if newest.as_ref().is_none_or(|so_far| found.job.created_ms >= so_far.job.created_ms) {
                newest = Some(found);
            }
        }
    }
    Ok(newest)
}

/// Does what `ingest` does with an event.
async fn take(
    fanreel: &Fanreel,
    source: SourceRef,
    profile: Option<&str>,
    before: Option<&StoredJob>,
    again: bool,
) -> anyhow::Result<JobId> {
    let desk = Desk::of(fanreel, "submit");
    let chosen = profile.map(str::to_owned).or_else(|| before.map(|before| before.job.profile.clone()));
    let profile = if let Some(profile) = chosen {
        profile
    } else {
        let usual = fanreel.queue("Profile").unwrap_or_else(|| desk.policy.profile.clone());
        ingest::wished(fanreel.blobs.wish(&source).await?.as_deref(), &usual)
    };
    Ok(Box::pin(ingest::take(&desk.context(), source, Uploaded::default(), &profile, again)).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_told_from_files() {
        assert_eq!(object_of(Path::new("s3://videos/uploads/a b.mp4")), Some(("videos", "uploads/a b.mp4")));
        assert_eq!(object_of(Path::new("s3://videos")), None);
        assert_eq!(object_of(Path::new("film.mp4")), None);
    }
}
