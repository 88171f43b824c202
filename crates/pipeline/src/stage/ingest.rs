//! A video was dropped: one job, however often and in whatever order the news comes (P5).

use tracing::Instrument;

use super::{Context, Ending};
use crate::{
    fault::Fault,
    id::{JobId, SourceRef, TaskId},
    job::{Job, JobEvent, JobState},
    key::UPLOADS,
    message::{TaskMessage, Upload, UploadRecord},
    ports::{Blobs, Ledger, Outbox, World},
    task::{Class, Task, Work},
};

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

/// Whether there ever was a job for a source, by the profile of uploads that name none.
pub(super) async fn is_known<W: World>(cx: &Context<'_, W>, source: &SourceRef) -> Result<bool, Fault> {
    Ok(cx.world.ledger().job(&JobId::of(source, &cx.policy.profile, 0)).await?.is_some())
}

async fn upload<W: World>(cx: &Context<'_, W>, record: UploadRecord) -> Result<(), Fault> {
    if !record.key.as_str().starts_with(UPLOADS) || (record.size == 0 && record.key.as_str().ends_with('/')) {
        tracing::info!(key = %record.key, "not an upload: left alone");
        return Ok(());
    }
    let sequencer = record.sequencer.clone();
    let source = if record.etag.is_empty() && record.version.is_none() {
        match cx.world.blobs().head_source(&record.bucket, record.key.as_str()).await? {
            Some(source) => source,
            None => return Ok(()),
        }
    } else {
        SourceRef::new(record.bucket, record.key, record.version, &record.etag, record.size)
    };
    take(cx, source, &sequencer, &cx.policy.profile, false).await.map(|_| ())
}

/// Makes a job for a source, or finds the one there is. `again`: a finished job starts over as the next generation.
pub async fn take<W: World>(cx: &Context<'_, W>, source: SourceRef, sequencer: &str, profile: &str, again: bool) -> Result<JobId, Fault> {
    for generation in 0..MAX_GENERATIONS {
        let id = JobId::of(&source, profile, generation);
        if let Some(stored) = cx.world.ledger().job(&id).await? {
            let over = stored.job.gives_way_to(sequencer, !stored.blocked.is_empty()) || (again && stored.job.state.is_ended());
            if over {
                if !stored.job.state.is_ended() {
                    // It waits for an operator who will not come: the new upload takes its place.
                    let _ = cx.move_job(&id, &JobEvent::Cancelled).await?;
                }
                continue;
            }
            begin(cx, &stored.job).await?;
            return Ok(id);
        }
        let now = cx.now();
        let job = Job {
            id: id.clone(),
            source: source.clone(),
            profile: profile.to_owned(),
            generation,
            sequencer: sequencer.to_owned(),
            state: JobState::Received,
            created_ms: now,
            updated_ms: now,
            facts: None,
            plan: None,
            tidied: false,
        };
        if cx.world.ledger().create_job(&job).await? {
            let bytes = job.source.size;
            tracing::info!(metrics = "uploads=Count,upload_bytes=Bytes", uploads = 1, upload_bytes = bytes, job = %id, bytes, "job received");
        }
        begin(cx, &job).await?;
        return Ok(id);
    }
    Err(Fault::reject(format!("this upload was started over {MAX_GENERATIONS} times")))
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
