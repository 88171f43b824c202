//! One chunk: fetch its bytes, encode all renditions from one decode, store the segments under this attempt's fence.

use std::{borrow::Cow, sync::atomic::Ordering};

use base64::Engine;
use futures::{StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};

use super::{Context, attempt::Attempt, crash, gops, intake, listing};
use crate::{
    encoder::{ChunkWork, EncodeError, Encoder, MadeRendition, MadeSegment},
    event::EventKind,
    fault::{Fault, Shortage},
    key,
    plan::{ByteRange, Chunk, Plan, Profile},
    ports::{Blobs, World},
    quality::Quality,
    result::{Cost, SegmentRecord, TaskResult, TrackRecord},
};

/// Segments of a track stored at once.
const UPLOADS_AT_ONCE: usize = 4;
/// Renditions whose segments are stored at once: a chunk of usual length has one segment in each.
const RENDITIONS_AT_ONCE: usize = 4;

/// The work of a chunk task.
pub(super) async fn chunk<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>, chunk: &Chunk) -> Result<TaskResult, Fault> {
    let began = cx.now();
    let plan = plan_of(cx, attempt)?;
    let mut cost = Cost::default();
    let mut stored = attempt.headway().renditions;
    let made = match left(plan, &stored, attempt) {
        Some(left) => pictures(cx, attempt, plan, &left, chunk, &mut cost).await?,
        None => Made { renditions: Vec::new(), lost: None, quality: attempt.headway().quality },
    };
    if made.lost.is_some() {
        // An attempt that got pictures is not mixed with one that did not.
        stored.clear();
    }
    let missing = made.renditions.iter().filter(|rendition| !stored.iter().any(|track| track.rendition == rendition.name));
    // Collected first: a future that holds the lazy iterator cannot be sent between threads (rust-lang/rust#102211).
    let uploads: Vec<_> = missing.map(|rendition| store(cx, attempt, chunk, rendition, made.lost.is_none())).collect();
    let new: Vec<TrackRecord> = futures::stream::iter(uploads).buffered(RENDITIONS_AT_ONCE).try_collect().await?;
    stored.extend(new);
    let planned = plan.video.iter().flat_map(|video| &video.renditions);
    let renditions: Vec<TrackRecord> =
        planned.filter_map(|rendition| stored.iter().find(|track| track.rendition == rendition.name)).cloned().collect();
    cost.stored_bytes = renditions.iter().map(TrackRecord::segments_bytes).sum();
    cost.wall_ms = cx.now().saturating_sub(began);
    attempt.diary.note(cx.now(), EventKind::TranscodedVideoUploaded, format!("{} bytes", cost.stored_bytes));
    Ok(TaskResult::Chunk { renditions, cost, lost: made.lost, quality: made.quality })
}

/// What an attempt made of a chunk.
struct Made {
    renditions: Vec<MadeRendition>,
    /// Why they are black.
    lost: Option<String>,
    quality: Option<Quality>,
}

/// The plan for what no earlier attempt stored; `None`: they stored everything. Who goes GOP by GOP has the other renditions of every
/// GOP at hand.
fn left<'a>(plan: &'a Plan, stored: &[TrackRecord], attempt: &Attempt<'_>) -> Option<Cow<'a, Plan>> {
    let names: Vec<&str> = stored.iter().map(|track| track.rendition.as_str()).collect();
    let Some(video) = plan.video.as_ref().filter(|_| !names.is_empty()) else { return Some(Cow::Borrowed(plan)) };
    tracing::info!(stored = names.len(), of = video.renditions.len(), "earlier attempts stored renditions of this chunk");
    if video.renditions.iter().all(|rendition| names.contains(&rendition.name.as_str())) {
        None
    } else if attempt.task.by_gop {
        Some(Cow::Borrowed(plan))
    } else {
        Some(Cow::Owned(Plan { video: Some(video.without(&plan.profile, &names)), ..plan.clone() }))
    }
}

/// The chunk's pictures in the renditions that are `left` of the plan's; black ones in all of them.
async fn pictures<W: World>(
    cx: &Context<'_, W>,
    attempt: &Attempt<'_>,
    plan: &Plan,
    left: &Plan,
    chunk: &Chunk,
    cost: &mut Cost,
) -> Result<Made, Fault> {
    let mut made = decoded(cx, attempt, left, chunk, cost).await;
    let mut lost = None;
    if plan.takes_a_part() {
        made = match made {
            Err(EncodeError::Mismatch(difference)) => {
                tracing::warn!(%difference, "the chunk cannot be decoded: black pictures stand for it");
                lost = Some(difference);
                blank(cx, attempt, plan, chunk).await
            }
            made => made,
        };
    }
    let (renditions, quality) = match made {
        Ok(made) => made,
        Err(EncodeError::Crash(crash)) => return Err(crash::kept(cx, attempt, *crash).await),
        Err(EncodeError::Mismatch(difference)) if lost.is_none() => return Err(damaged(plan, chunk, &difference)),
        Err(other) => return Err(other.into_fault()),
    };
    attempt.diary.note(
        cx.now(),
        EventKind::VideoTranscoded,
        match &lost {
            None => format!("{} renditions of {} frames, verified", renditions.len(), chunk.times.count()),
            Some(reason) => {
                format!("{} renditions of {} black frames for those that are lost: {reason}", renditions.len(), chunk.times.count())
            }
        },
    );
    Ok(Made { renditions, lost, quality })
}

/// From the chunk's bytes; what then differs from the plan once more from the whole source, and with care from there at once.
async fn decoded<W: World>(
    cx: &Context<'_, W>,
    attempt: &Attempt<'_>,
    plan: &Plan,
    chunk: &Chunk,
    cost: &mut Cost,
) -> Result<(Vec<MadeRendition>, Option<Quality>), EncodeError> {
    let whole = [ByteRange { start: 0, end: plan.source_bytes }];
    // From the start as well: the file's own way to the place may be what is wrong.
    let from_start = Chunk { seek_us: None, ..chunk.clone() };
    if attempt.task.needs_care() {
        tracing::warn!(crashes = attempt.task.crashes, "the encoder broke down over this chunk before: once more with care");
        return encode(cx, attempt, plan, &from_start, &whole, cost).await;
    }
    match encode(cx, attempt, plan, chunk, &chunk.ranges, cost).await {
        Err(EncodeError::Mismatch(first)) => {
            tracing::warn!(difference = %first, "the chunk's bytes gave other frames than planned: once more with the whole source");
            encode(cx, attempt, plan, &from_start, &whole, cost).await
        }
        other => other,
    }
}

/// The source's fault, for a person.
fn damaged(plan: &Plan, chunk: &Chunk, difference: &str) -> Fault {
    let (from, to) = (seconds(plan, chunk.times.first()), seconds(plan, chunk.times.last()));
    // Times that were made for the copy may be what is wrong (H.264 in AVI), and the person can do something about it.
    let (what, advice) = match plan.normalized {
        None => ("the video is damaged", ""),
        Some(_) => (
            "the video is damaged, or its container says too little of the times of its pictures,",
            "; convert the film (ffmpeg -i IN OUT.mp4) and upload that",
        ),
    };
    Fault::reject(format!("{what} in seconds {from:.1} to {to:.1}: {difference}{advice}"))
}

fn seconds(plan: &Plan, ticks: i64) -> f64 {
    plan.video.as_ref().map_or(0.0, |video| video.time_base.seconds(ticks))
}

/// The job's plan, if this worker may obey it: it names the tools it was made with.
pub(super) fn plan_of<'a, W: World>(cx: &Context<'_, W>, attempt: &'a Attempt<'_>) -> Result<&'a Plan, Fault> {
    let missing = || Fault::escalate(Shortage::Tool, "the job has no plan although it has tasks");
    let plan = attempt.job.plan.as_ref().ok_or_else(missing)?;
    let layer = cx.world.encoder().layer();
    if plan.layer != layer {
        return Err(Fault::escalate(
            Shortage::Tool,
            format!(
                "the job was planned with the ffmpeg layer {} and this worker has {}: submit it again (fanreel submit --again)",
                short(&plan.layer),
                short(layer)
            ),
        ));
    }
    Ok(plan)
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

async fn encode<W: World>(
    cx: &Context<'_, W>,
    attempt: &Attempt<'_>,
    plan: &Plan,
    chunk: &Chunk,
    ranges: &[ByteRange],
    cost: &mut Cost,
) -> Result<(Vec<MadeRendition>, Option<Quality>), EncodeError> {
    let source = cx.scratch.join("source.bin");
    let read = intake::fetch(cx, attempt, plan, ranges, &source).await?;
    cost.read_bytes += read;
    attempt.diary.note(cx.now(), EventKind::VideoFilePulled, format!("{read} of {} bytes", plan.source_bytes));
    let careful = attempt.task.needs_care();
    let work = ChunkWork { plan, chunk, source: &source, out: cx.scratch, progress: &attempt.progress, careful, blank: false };
    attempt.encoding.store(true, Ordering::Relaxed);
    let made = by_target(cx, attempt, &work).await;
    attempt.encoding.store(false, Ordering::Relaxed);
    made
}

/// Black pictures at the times of the chunk's. What does not fit the plan then is no fault of the source's.
async fn blank<W: World>(
    cx: &Context<'_, W>,
    attempt: &Attempt<'_>,
    plan: &Plan,
    chunk: &Chunk,
) -> Result<(Vec<MadeRendition>, Option<Quality>), EncodeError> {
    let (source, careful) = (cx.scratch.join("source.bin"), attempt.task.needs_care());
    let work = ChunkWork { plan, chunk, source: &source, out: cx.scratch, progress: &attempt.progress, careful, blank: true };
    attempt.encoding.store(true, Ordering::Relaxed);
    let made = cx.world.encoder().encode_chunk(&work).await;
    attempt.encoding.store(false, Ordering::Relaxed);
    Ok((made?, None))
}

/// The chunk at the profile's CRF, or at its own where the profile has a quality to reach: that is most of the work, and is
/// taken over from an earlier attempt.
async fn by_target<W: World>(
    cx: &Context<'_, W>,
    attempt: &Attempt<'_>,
    work: &ChunkWork<'_>,
) -> Result<(Vec<MadeRendition>, Option<Quality>), EncodeError> {
    let Some(target) = &work.plan.profile.target else {
        return Ok((in_time(cx, attempt, work).await?, None));
    };
    let quality = match attempt.headway().quality {
        Some(quality) => quality,
        None => cx.world.encoder().choose_crf(work, target).await?,
    };
    attempt.finished(|headway| headway.quality = Some(quality.clone()));
    let profile = Profile { crf: quality.crf, ..work.plan.profile.clone() };
    let plan = Plan { profile, ..work.plan.clone() };
    let made = in_time(cx, attempt, &ChunkWork { plan: &plan, ..*work }).await?;
    Ok((made, Some(quality)))
}

/// In one piece, or GOP by GOP where a function's time was too short for that.
async fn in_time<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>, work: &ChunkWork<'_>) -> Result<Vec<MadeRendition>, EncodeError> {
    if attempt.task.by_gop { gops::encode(cx, attempt, work).await } else { cx.world.encoder().encode_chunk(work).await }
}

/// `noted`: the next attempt need not make it again.
async fn store<W: World>(
    cx: &Context<'_, W>,
    attempt: &Attempt<'_>,
    chunk: &Chunk,
    made: &MadeRendition,
    noted: bool,
) -> Result<TrackRecord, Fault> {
    let segments = store_segments(cx, attempt, &made.name, chunk.first_segment, &made.segments).await?;
    let record = TrackRecord {
        rendition: made.name.clone(),
        codec: made.codec.clone(),
        init_sha256: hex::encode(Sha256::digest(&made.init)),
        init: (chunk.number == 0).then(|| base64::engine::general_purpose::STANDARD.encode(&made.init)),
        sample_rate: None,
        channels: None,
        loudness: None,
        segments,
        listing: None,
    };
    let record = listing::fold(cx, attempt, chunk.first_segment, record).await?;
    if noted {
        attempt.finished(|headway| headway.renditions.push(record.clone()));
    }
    Ok(record)
}

/// Stores segments under the attempt's fencing number, in order of their numbers.
pub(super) async fn store_segments<W: World>(
    cx: &Context<'_, W>,
    attempt: &Attempt<'_>,
    rendition: &str,
    first: u32,
    made: &[MadeSegment],
) -> Result<Vec<SegmentRecord>, Fault> {
    let job = &attempt.task.job;
    let store = |number: u32, segment| async move {
        let segment: &MadeSegment = segment;
        let key = key::segment(job, rendition, number, attempt.fence);
        cx.world.blobs().store_file(&key, &segment.path, "video/iso.segment").await?;
        Ok(SegmentRecord::new(key, segment))
    };
    // Collected first: a future that holds the lazy iterator cannot be sent between threads (rust-lang/rust#102211).
    let stores: Vec<_> = (first..).zip(made).map(|(number, segment)| store(number, segment)).collect();
    futures::stream::iter(stores).buffered(UPLOADS_AT_ONCE).try_collect().await
}
