//! One audio track, encoded once for the whole film (P2).

use std::sync::atomic::Ordering;

use base64::Engine;
use sha2::{Digest, Sha256};

use super::{Context, attempt::Attempt, chunk, crash, intake, listing};
use crate::{
    encoder::{AudioWork, EncodeError, Encoder, MadeAudio},
    event::EventKind,
    excerpt::Excerpt,
    fault::{Fault, Shortage},
    plan::{AudioPlan, Plan},
    ports::World,
    result::{Cost, TaskResult, TrackRecord},
};

/// The work of an audio task.
pub(super) async fn audio<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>, track: u32) -> Result<TaskResult, Fault> {
    let began = cx.now();
    let plan = chunk::plan_of(cx, attempt)?;
    let planned = usize::try_from(track).ok().and_then(|track| plan.audio.get(track));
    let planned = planned.ok_or_else(|| Fault::escalate(Shortage::Tool, format!("the plan has no audio track {track}")))?;
    let mut read_bytes = 0;
    let made = match encode(cx, attempt, (plan, planned), &mut read_bytes).await {
        Err(EncodeError::Crash(crash)) => return Err(crash::kept(cx, attempt, *crash).await),
        made => made,
    };
    let made = made.map_err(|error| match error {
        EncodeError::Mismatch(difference) => Fault::reject(format!("the sound of track {} is damaged: {difference}", planned.index)),
        other => other.into_fault(),
    })?;
    attempt.diary.note(cx.now(), EventKind::VideoTranscoded, format!("audio in {} segments, verified", made.segments.len()));
    let segments = chunk::store_segments(cx, attempt, &planned.name, 0, &made.segments).await?;
    let stored_bytes = segments.iter().map(|s| s.bytes).sum();
    attempt.diary.note(cx.now(), EventKind::TranscodedVideoUploaded, format!("{stored_bytes} bytes"));
    let lost = made.lost;
    let record = TrackRecord {
        rendition: planned.name.clone(),
        codec: made.codec,
        init_sha256: hex::encode(Sha256::digest(&made.init)),
        init: Some(base64::engine::general_purpose::STANDARD.encode(&made.init)),
        sample_rate: Some(made.sample_rate),
        channels: Some(made.channels),
        loudness: made.loudness,
        segments,
        listing: None,
    };
    let record = listing::fold(cx, attempt, 0, record).await?;
    let cost = Cost { read_bytes, stored_bytes, wall_ms: cx.now().saturating_sub(began) };
    Ok(TaskResult::Audio { track: record, cost, lost })
}

/// From the track's excerpt where the plan has one; what then cannot be decoded is tried once more with the whole source.
async fn encode<W: World>(
    cx: &Context<'_, W>,
    attempt: &Attempt<'_>,
    (plan, planned): (&Plan, &AudioPlan),
    read_bytes: &mut u64,
) -> Result<MadeAudio, EncodeError> {
    let (first, again) = intake::ways(attempt, plan, planned.excerpt);
    let made = from(cx, attempt, (plan, planned), first, read_bytes).await;
    let is_whole = match &made {
        Ok(made) => made.lost.is_empty(),
        Err(error) => !matches!(error, EncodeError::Mismatch(_)),
    };
    if is_whole || !again {
        return made;
    }
    tracing::warn!(track = planned.index, "not all of the sound could be decoded from its own bytes: once more with the whole source");
    from(cx, attempt, (plan, planned), None, read_bytes).await
}

async fn from<W: World>(
    cx: &Context<'_, W>,
    attempt: &Attempt<'_>,
    (plan, audio): (&Plan, &AudioPlan),
    excerpt: Option<Excerpt>,
    read_bytes: &mut u64,
) -> Result<MadeAudio, EncodeError> {
    let local = intake::bring(cx, attempt, plan, excerpt, read_bytes).await?;
    let careful = attempt.task.needs_care();
    let work = AudioWork { plan, audio, source: &local.path, out: cx.scratch, progress: &attempt.progress, careful };
    attempt.encoding.store(true, Ordering::Relaxed);
    let made = cx.world.encoder().encode_audio(&work).await;
    attempt.encoding.store(false, Ordering::Relaxed);
    made
}
