//! Records of segments that are too large for an item of the ledger lie in an object beside the segments.

use sha2::{Digest, Sha256};

use super::{Context, attempt::Attempt};
use crate::{
    fault::{Fault, Shortage},
    key,
    ports::{Blobs, World},
    result::{Listing, SegmentRecord, TaskResult, TrackRecord},
    task::Task,
};

/// Bytes of JSON that one track's segments may take in the ledger. An item may have 400 KB, and a chunk's has the records
/// of up to eight renditions beside its plan.
const MAX_INLINE: usize = 24_000;

/// Moves the records of a track's segments into an object if they are large. It is stored before the task is committed,
/// under the attempt's fence as the segments are.
pub(super) async fn fold<W: World>(
    cx: &Context<'_, W>,
    attempt: &Attempt<'_>,
    first: u32,
    record: TrackRecord,
) -> Result<TrackRecord, Fault> {
    let text = serde_json::to_vec(&record.segments).map_err(|e| broken(&format!("records of segments cannot be written: {e}")))?;
    if text.len() <= MAX_INLINE {
        return Ok(record);
    }
    let key = key::listing(&attempt.task.job, &record.rendition, first, attempt.fence);
    let sha256 = hex::encode(Sha256::digest(&text));
    let listing = Listing { key, sha256, segments_bytes: record.segments_bytes() };
    cx.world.blobs().store(&listing.key, text.into(), "application/json").await?;
    Ok(TrackRecord { segments: Vec::new(), listing: Some(listing), ..record })
}

/// Puts the records back into a task that is done. Answers the keys of the objects that they came from.
pub(super) async fn unfold<W: World>(cx: &Context<'_, W>, task: &mut Task) -> Result<Vec<String>, Fault> {
    let tracks: Vec<&mut TrackRecord> = match &mut task.result {
        Some(TaskResult::Chunk { renditions, .. }) => renditions.iter_mut().collect(),
        Some(TaskResult::Audio { track, .. }) => vec![track],
        _ => Vec::new(),
    };
    let mut keys = Vec::new();
    for track in tracks {
        let Some(listing) = &track.listing else { continue };
        track.segments = read(cx, listing).await?;
        keys.push(listing.key.clone());
    }
    Ok(keys)
}

async fn read<W: World>(cx: &Context<'_, W>, listing: &Listing) -> Result<Vec<SegmentRecord>, Fault> {
    let missing = || Fault::retry(format!("{} is not there, although a task that is done names it", listing.key));
    let text = cx.world.blobs().read(&listing.key).await?.ok_or_else(missing)?;
    if hex::encode(Sha256::digest(&text)) != listing.sha256 {
        return Err(Fault::retry(format!("{} is not what was committed", listing.key)));
    }
    serde_json::from_slice(&text).map_err(|e| broken(&format!("{} is not what this version writes: {e}", listing.key)))
}

fn broken(text: &str) -> Fault {
    Fault::escalate(Shortage::Tool, text)
}
