//! All text subtitles of a film, as `WebVTT`: a track that holds nothing readable is left out and named, and the film goes
//! on without it.

use std::sync::atomic::Ordering;

use super::{Context, attempt::Attempt, chunk, crash, intake};
use crate::{
    encoder::{EncodeError, Encoder, TextWork},
    event::EventKind,
    fault::Fault,
    key,
    plan::{ByteRange, SubtitlePlan},
    ports::{Blobs, World},
    result::{Cost, TaskResult, TextFile, TextRecord},
};

/// The work of the text task. Text lies all over the file, as sound does: the whole source is read, once for all tracks.
pub(super) async fn text<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>) -> Result<TaskResult, Fault> {
    let began = cx.now();
    let plan = chunk::plan_of(cx, attempt)?;
    let source = cx.scratch.join("source.bin");
    let whole = [ByteRange { start: 0, end: plan.source_bytes }];
    let read_bytes = intake::fetch(cx, &attempt.job, plan, &whole, &source).await?;
    attempt.diary.note(cx.now(), EventKind::VideoFilePulled, format!("{read_bytes} bytes"));
    let mut tracks = Vec::new();
    for text in &plan.subtitles {
        attempt.encoding.store(true, Ordering::Relaxed);
        let work = TextWork { plan, text, source: &source, out: cx.scratch, careful: attempt.task.needs_care() };
        let made = cx.world.encoder().convert_text(&work).await;
        attempt.encoding.store(false, Ordering::Relaxed);
        tracks.push(match made {
            Ok(made) => {
                let key = key::text(&attempt.task.job, &text.name, attempt.fence);
                cx.world.blobs().store_file(&key, &made.path, "text/vtt").await?;
                let (bytes, cues, dropped, damaged) = (made.bytes, made.cues, made.dropped, made.damaged);
                TextRecord::Made(TextFile { key, bytes, sha256: made.sha256, cues, dropped, damaged })
            }
            Err(EncodeError::Mismatch(reason)) => TextRecord::LeftOut { reason },
            Err(EncodeError::Crash(crash)) => return Err(crash::kept(cx, attempt, *crash).await),
            Err(EncodeError::Fault(fault)) => return Err(fault),
        });
    }
    attempt.diary.note(cx.now(), EventKind::VideoTranscoded, told(&plan.subtitles, &tracks));
    let stored_bytes = tracks.iter().map(|track| if let TextRecord::Made(file) = track { file.bytes } else { 0 }).sum();
    attempt.diary.note(cx.now(), EventKind::TranscodedVideoUploaded, format!("{stored_bytes} bytes"));
    let cost = Cost { read_bytes, stored_bytes, wall_ms: cx.now().saturating_sub(began) };
    Ok(TaskResult::Text { tracks, cost })
}

fn told(planned: &[SubtitlePlan], tracks: &[TextRecord]) -> String {
    let told = planned.iter().zip(tracks).map(|(text, track)| match track {
        TextRecord::Made(file) => format!("{}: {} cues", text.name, file.cues),
        TextRecord::LeftOut { reason } => format!("{}: {reason}", text.name),
    });
    told.collect::<Vec<_>>().join(", ")
}
