//! Pictures beside the film: poster, sprite, preview. No film is thrown away for them.

use std::sync::atomic::Ordering;

use super::{Context, attempt::Attempt, chunk, crash, intake};
use crate::{
    encoder::{EncodeError, Encoder, MadeStills, StillsWork},
    event::EventKind,
    fault::{Fault, Shortage},
    key,
    plan::{ByteRange, Plan},
    ports::{Blobs, World},
    result::{Cost, StillRecord, TaskResult},
    stills::{self, StillsPlan},
};

/// The work of the stills task.
pub(super) async fn stills<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>) -> Result<TaskResult, Fault> {
    let began = cx.now();
    let plan = chunk::plan_of(cx, attempt)?;
    let planned = plan.stills.as_deref().ok_or_else(|| Fault::escalate(Shortage::Tool, "the plan has no pictures beside the film"))?;
    let mut cost = Cost::default();
    let whole = [ByteRange { start: 0, end: plan.source_bytes }];
    let mut made = make(cx, attempt, (plan, planned), &planned.ranges, &mut cost).await?;
    let complete = matches!(&made, Ok(made) if made.repeated == 0);
    if !complete && matches!(made, Ok(_) | Err(EncodeError::Mismatch(_))) && planned.ranges != whole {
        tracing::warn!(?made, "the bytes of the planned pictures gave others: once more with the whole source");
        let again = make(cx, attempt, (plan, planned), &whole, &mut cost).await?;
        if again.is_ok() || made.is_err() {
            made = again;
        }
    }
    let (made, lost) = match made {
        Err(EncodeError::Mismatch(reason) | EncodeError::Fault(Fault::Reject(reason))) if plan.takes_a_part() => {
            (MadeStills { files: Vec::new(), repeated: 0 }, Some(reason))
        }
        Err(EncodeError::Crash(crash)) => return Err(crash::kept(cx, attempt, *crash).await),
        made => (made.map_err(kept)?, None),
    };
    let told = lost.as_ref().map_or_else(|| format!("{} picture files, verified", made.files.len()), |why| format!("no pictures: {why}"));
    attempt.diary.note(cx.now(), EventKind::VideoTranscoded, told);
    let mut files = Vec::new();
    for file in made.files {
        let key = key::still(&attempt.task.job, &file.name, attempt.fence);
        cx.world.blobs().store_file(&key, &file.path, stills::media_type(&file.name)).await?;
        files.push(StillRecord { name: file.name, key, bytes: file.bytes, sha256: file.sha256 });
    }
    cost.stored_bytes = files.iter().map(|file| file.bytes).sum();
    cost.wall_ms = cx.now().saturating_sub(began);
    attempt.diary.note(cx.now(), EventKind::TranscodedVideoUploaded, format!("{} bytes", cost.stored_bytes));
    Ok(TaskResult::Stills { files, repeated: made.repeated, cost, lost })
}

/// The outer error is that of the bytes, the inner one that of the pictures.
async fn make<W: World>(
    cx: &Context<'_, W>,
    attempt: &Attempt<'_>,
    (plan, stills): (&Plan, &StillsPlan),
    ranges: &[ByteRange],
    cost: &mut Cost,
) -> Result<Result<MadeStills, EncodeError>, Fault> {
    let source = cx.scratch.join("source.bin");
    let read = intake::fetch(cx, attempt, plan, ranges, &source).await?;
    cost.read_bytes += read;
    attempt.diary.note(cx.now(), EventKind::VideoFilePulled, format!("{read} of {} bytes", plan.source_bytes));
    let work = StillsWork { plan, stills, source: &source, out: cx.scratch, careful: attempt.task.needs_care() };
    attempt.encoding.store(true, Ordering::Relaxed);
    let made = cx.world.encoder().make_stills(&work).await;
    attempt.encoding.store(false, Ordering::Relaxed);
    Ok(made)
}

/// Whether the source is at fault, its chunks decide: a person looks at what only a poster lacks.
fn kept(error: EncodeError) -> Fault {
    match error {
        EncodeError::Fault(Fault::Reject(text)) | EncodeError::Mismatch(text) => {
            Fault::escalate(Shortage::Tool, format!("no pictures could be made beside the film: {text}"))
        }
        other => other.into_fault(),
    }
}
