//! All text subtitles of a film, as `WebVTT`: a track that holds nothing readable is left out and named, and the film goes
//! on without it.

use std::sync::atomic::Ordering;

use super::{Context, attempt::Attempt, chunk, crash, intake};
use crate::{
    encoder::{EncodeError, Encoder, MadeText, TextWork},
    event::EventKind,
    excerpt::Excerpt,
    fault::Fault,
    key,
    plan::{Plan, SubtitlePlan},
    ports::{Blobs, World},
    result::{Cost, TaskResult, TextFile, TextRecord},
};

/// The work of the text task: its excerpt, or the whole source, is read once for all tracks. What then cannot be read is
/// tried once more with the whole source.
pub(super) async fn text<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>) -> Result<TaskResult, Fault> {
    let began = cx.now();
    let plan = chunk::plan_of(cx, attempt)?;
    let mut read_bytes = 0;
    let (first, again) = intake::ways(attempt, plan, plan.text);
    let mut made = from(cx, attempt, plan, first, &mut read_bytes).await?;
    if again && made.iter().any(|track| track.as_ref().map_or(true, |made| made.damaged)) {
        tracing::warn!("not all of the text could be read from its own bytes: once more with the whole source");
        made = from(cx, attempt, plan, None, &mut read_bytes).await?;
    }
    let mut tracks = Vec::new();
    for (text, made) in plan.subtitles.iter().zip(made) {
        tracks.push(match made {
            Ok(made) => {
                let key = key::text(&attempt.task.job, &text.name, attempt.fence);
                cx.world.blobs().store_file(&key, &made.path, "text/vtt").await?;
                let (bytes, cues, dropped, damaged) = (made.bytes, made.cues, made.dropped, made.damaged);
                TextRecord::Made(TextFile { key, bytes, sha256: made.sha256, cues, dropped, damaged })
            }
            Err(reason) => TextRecord::LeftOut { reason },
        });
    }
    attempt.diary.note(cx.now(), EventKind::VideoTranscoded, told(&plan.subtitles, &tracks));
    let stored_bytes = tracks.iter().map(|track| if let TextRecord::Made(file) = track { file.bytes } else { 0 }).sum();
    attempt.diary.note(cx.now(), EventKind::TranscodedVideoUploaded, format!("{stored_bytes} bytes"));
    let cost = Cost { read_bytes, stored_bytes, wall_ms: cx.now().saturating_sub(began) };
    Ok(TaskResult::Text { tracks, cost })
}

/// Every track, or why there is nothing of it.
async fn from<W: World>(
    cx: &Context<'_, W>,
    attempt: &Attempt<'_>,
    plan: &Plan,
    excerpt: Option<Excerpt>,
    read_bytes: &mut u64,
) -> Result<Vec<Result<MadeText, String>>, Fault> {
    let local = intake::bring(cx, attempt, plan, excerpt, read_bytes).await?;
    let mut tracks = Vec::new();
    for text in &plan.subtitles {
        attempt.encoding.store(true, Ordering::Relaxed);
        let (source, ranges) = (local.path.as_path(), local.ranges.as_slice());
        let work = TextWork { plan, text, source, ranges, out: cx.scratch, careful: attempt.task.needs_care() };
        let made = cx.world.encoder().convert_text(&work).await;
        attempt.encoding.store(false, Ordering::Relaxed);
        tracks.push(match made {
            Ok(made) => Ok(made),
            Err(EncodeError::Mismatch(reason)) => Err(reason),
            Err(EncodeError::Crash(crash)) => return Err(crash::kept(cx, attempt, *crash).await),
            Err(EncodeError::Fault(fault)) => return Err(fault),
        });
    }
    Ok(tracks)
}

fn told(planned: &[SubtitlePlan], tracks: &[TextRecord]) -> String {
    let told = planned.iter().zip(tracks).map(|(text, track)| match track {
        TextRecord::Made(file) => format!("{}: {} cues", text.name, file.cues),
        TextRecord::LeftOut { reason } => format!("{}: {reason}", text.name),
    });
    told.collect::<Vec<_>>().join(", ")
}
