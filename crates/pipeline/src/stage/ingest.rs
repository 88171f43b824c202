//! A video was dropped: one job, however often and in whatever order the news comes (P5).

use tracing::Instrument;

use super::{Context, Ending};
use crate::{
    fault::{Fault, Shortage},
    id::{JobId, SourceRef, TaskId},
    job::{Job, JobEvent, JobState},
    key::UPLOADS,
    message::{TaskMessage, Upload, UploadRecord, Uploaded},
    ports::{Blobs, Ledger, Outbox, World},
    task::{Class, Task, Work},
};

/// Characters of a profile's name that are looked at.
const MAX_WISH: usize = 64;
/// Generations of one upload that are looked through.
const MAX_GENERATIONS: u32 = 100;

/// Handles one message of the ingest queue: every record of it.
pub async fn ingest<W: World>(cx: &Context<'_, W>, body: &str) -> Ending {
    let records = match Upload::parse(body) {
        Ok(Upload::TestEvent) => return Ending::Done,
        Ok(Upload::Records(records)) => records,
        Err(error) => {
            tracing::error!(%error, body, "this message is no upload; after its receives are used up it goes to the dead letters");
            return Ending::Failed;
        }
    };
    let mut ending = Ending::Done;
    for record in records {
        let span = tracing::info_span!("upload", key = %record.key, request = %cx.request.id);
        // Boxed: over an SDK's own futures it is too deep for the compiler.
        if let Err(fault) = Box::pin(upload(cx, record).instrument(span)).await {
            tracing::warn!(%fault, "an upload could not be taken: the message comes back");
            ending = Ending::Failed;
        }
    }
    ending
}

/// Whether there is no job to be made of a source: there ever was one by the stack's profile or by that which it names
/// itself, or it is gone.
pub(super) async fn is_known<W: World>(cx: &Context<'_, W>, source: &SourceRef) -> Result<bool, Fault> {
    if has_job(cx, source).await? {
        return Ok(true);
    }
    match profile_of(cx, source).await? {
        None => Ok(true),
        Some(profile) if profile == cx.policy.profile => Ok(false),
        Some(profile) => Ok(cx.world.ledger().job(&JobId::of(source, &profile, 0)).await?.is_some()),
    }
}

/// Whether there is a job of an upload by the stack's own profile.
pub(super) async fn has_job<W: World>(cx: &Context<'_, W>, source: &SourceRef) -> Result<bool, Fault> {
    Ok(cx.world.ledger().job(&JobId::of(source, &cx.policy.profile, 0)).await?.is_some())
}

/// The profile of an upload; `None`: it was replaced or deleted since, and the news of what is there now brings its own job.
pub(super) async fn profile_of<W: World>(cx: &Context<'_, W>, source: &SourceRef) -> Result<Option<String>, Fault> {
    match cx.world.blobs().wish(source).await {
        Ok(wish) => Ok(Some(wished(wish.as_deref(), &cx.policy.profile))),
        Err(Fault::Reject(_)) => Ok(None),
        Err(fault) => Err(fault),
    }
}

async fn upload<W: World>(cx: &Context<'_, W>, record: UploadRecord) -> Result<(), Fault> {
    let watched = record.chosen || record.key.as_str().starts_with(UPLOADS);
    if !watched || (record.size == 0 && record.key.as_str().ends_with('/')) {
        tracing::info!(key = %record.key, "not an upload: left alone");
        return Ok(());
    }
    let (sequencer, at_ms) = (record.sequencer.clone(), record.at_ms);
    let source = if record.etag.is_empty() && record.version.is_none() {
        match cx.world.blobs().head_source(&record.bucket, record.key.as_str()).await? {
            Some(source) => source,
            None => return Ok(()),
        }
    } else {
        SourceRef::new(record.bucket, record.key, record.version, &record.etag, record.size)
    };
    let Some(profile) = profile_of(cx, &source).await? else {
        tracing::info!(
            bucket = source.bucket,
            key = %source.key,
            "replaced or deleted since, or in another store than the one that functions read from: left alone"
        );
        return Ok(());
    };
    take(cx, source, Uploaded { sequencer: &sequencer, at_ms }, &profile, false).await.map(|_| ())
}

/// The profile of an upload: the one its metadata names, else the stack's. A name that cannot be one stays a name, cut and
/// made plain, so that its job can say that there is no such profile.
pub fn wished(wish: Option<&str>, usual: &str) -> String {
    let Some(wish) = wish.map(str::trim).filter(|wish| !wish.is_empty()) else { return usual.to_owned() };
    wish.chars().take(MAX_WISH).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// Makes a job for a source, or finds the one there is. `again`: one that ended or waits for an operator starts over as the
/// next generation.
pub async fn take<W: World>(
    cx: &Context<'_, W>,
    source: SourceRef,
    upload: Uploaded<'_>,
    profile: &str,
    again: bool,
) -> Result<JobId, Fault> {
    for generation in 0..MAX_GENERATIONS {
        let id = JobId::of(&source, profile, generation);
        if let Some(stored) = cx.world.ledger().job(&id).await? {
            let blocked = !stored.blocked.is_empty();
            let over = stored.job.gives_way_to(upload, blocked) || (again && (blocked || stored.job.state.is_ended()));
            if over {
                if !stored.job.state.is_ended() {
                    // It waits for an operator who will not come: the next one takes its place.
                    let _ = cx.move_job(&id, &JobEvent::Cancelled).await?;
                }
                continue;
            }
            begin(cx, &stored.job).await?;
            return Ok(id);
        }
        let now = cx.now();
        create(cx, Job::received(id.clone(), source, profile, generation, upload.sequencer, now)).await?;
        return Ok(id);
    }
    Err(Fault::reject(format!("this upload was started over {MAX_GENERATIONS} times")))
}

async fn create<W: World>(cx: &Context<'_, W>, job: Job) -> Result<(), Fault> {
    if cx.world.ledger().create_job(&job).await? {
        let (id, bytes) = (&job.id, job.source.size);
        tracing::info!(metrics = "uploads=Count,upload_bytes=Bytes", uploads = 1, upload_bytes = bytes, job = %id, bytes, "job received");
    }
    begin(cx, &job).await
}

/// The next generation of a job takes its place, once, whoever asks for it and however often.
pub(super) async fn start_over<W: World>(cx: &Context<'_, W>, job: &Job) -> Result<(), Fault> {
    let generation = job.generation + 1;
    if generation >= MAX_GENERATIONS {
        return Err(Fault::escalate(Shortage::Tool, format!("this upload was started over {MAX_GENERATIONS} times")));
    }
    let id = JobId::of(&job.source, &job.profile, generation);
    // Before the old one ends: nobody would look at that again.
    if cx.world.ledger().job(&id).await?.is_none() {
        create(cx, Job::received(id.clone(), job.source.clone(), &job.profile, generation, &job.sequencer, cx.now())).await?;
    }
    let _ = cx.move_job(&job.id, &JobEvent::Cancelled).await?;
    tracing::warn!(next = %id, "started over as its next generation");
    Ok(())
}

/// Sends the first task. Repeated until the job has moved on: the first sender may have died before it sent.
pub(super) async fn begin<W: World>(cx: &Context<'_, W>, job: &Job) -> Result<(), Fault> {
    if job.state != JobState::Received {
        return Ok(());
    }
    if let Some(reason) = too_big(job.source.size, cx.policy.max_upload) {
        let _ = cx.move_job(&job.id, &JobEvent::Rejected { reason }).await?;
        return Ok(());
    }
    cx.world.ledger().create_task(&Task::new(&job.id, TaskId::Split, Class::Standard, Work::Split, cx.now())).await?;
    let generation = cx.world.ledger().task(&job.id, TaskId::Split).await?.map_or(0, |stored| stored.task.generation);
    cx.world.outbox().send_tasks(Class::Standard, &[TaskMessage::new(&job.id, TaskId::Split, generation)]).await
}

fn too_big(size: u64, limit: u64) -> Option<String> {
    (size > limit).then(|| format!("the file has {size} bytes; MAX_UPLOAD_SIZE takes {limit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_names_its_profile_or_has_the_stacks() {
        assert_eq!(wished(None, "h264"), "h264");
        assert_eq!(wished(Some(" \t"), "h264"), "h264");
        assert_eq!(wished(Some(" hevc "), "h264"), "hevc");
        assert_eq!(wished(Some("a\nb\u{1f600} c"), "h264"), "a?b??c");
        assert_eq!(wished(Some(&"x".repeat(5000)), "h264").len(), MAX_WISH);
    }
}
