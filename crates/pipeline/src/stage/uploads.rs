//! Uploads that nobody told of: an event of S3 that never came makes no job by itself, so the sweep looks.
//!
//! An old library is never transcoded by accident: only what was stored since the stack's first sweep by this profile and
//! in the last [`MAX_AGE_MS`] is taken. The rest is for `fanreel adopt`.

use futures::{StreamExt, TryStreamExt};

use super::{Context, ingest};
use crate::{
    fault::Fault,
    id::SourceRef,
    key::{self, ADOPT_FROM, UPLOADS},
    message::Uploaded,
    ports::{Blobs, Stored, World},
};

/// Older uploads wait for a person, ms.
const MAX_AGE_MS: u64 = 7 * 86_400_000;
/// The first sweep of a stack takes what came since its start: it runs some minutes after it.
const BEFORE_FIRST_MS: u64 = 15 * 60_000;
/// Objects looked at in one sweep.
const MAX_LISTED: u32 = 200_000;
/// Reads of the ledger at a time.
const AT_ONCE: usize = 8;

/// Makes jobs of uploads that have none. Answers how many.
pub(super) async fn take_lost<W: World>(cx: &Context<'_, W>) -> Result<u32, Fault> {
    let from = adopt_from(cx).await?.max(cx.now().saturating_sub(MAX_AGE_MS));
    let mut taken = 0;
    for upload in without_job(cx, UPLOADS, from).await? {
        taken += u32::from(take(cx, &upload).await?);
    }
    Ok(taken)
}

/// Uploads below a prefix, stored at `from_ms` or later, that no job was ever made of.
pub async fn without_job<W: World>(cx: &Context<'_, W>, prefix: &str, from_ms: u64) -> Result<Vec<SourceRef>, Fault> {
    let found = cx.world.blobs().stored(prefix, MAX_LISTED).await?;
    if found.len() >= usize::try_from(MAX_LISTED).unwrap_or(usize::MAX) {
        tracing::warn!(MAX_LISTED, prefix, "there are more objects than are looked at: those behind them are not seen");
    }
    let young: Vec<SourceRef> = found.into_iter().filter(|s| s.modified_ms >= from_ms && is_film(s)).map(|s| s.source).collect();
    // Collected first: a future that holds the lazy iterator cannot be sent between threads (rust-lang/rust#102211).
    let looks: Vec<_> = young.into_iter().map(|source| look(cx, source)).collect();
    let lost: Vec<Option<SourceRef>> = futures::stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
    Ok(lost.into_iter().flatten().collect())
}

async fn look<W: World>(cx: &Context<'_, W>, source: SourceRef) -> Result<Option<SourceRef>, Fault> {
    Ok(if ingest::is_known(cx, &source).await? { None } else { Some(source) })
}

/// A folder's own object is none.
fn is_film(stored: &Stored) -> bool {
    stored.source.size > 0 || !stored.source.key.as_str().ends_with('/')
}

/// Makes a job of an upload, pinned as it is now. `false`: it is gone, or known after all.
pub async fn take<W: World>(cx: &Context<'_, W>, upload: &SourceRef) -> Result<bool, Fault> {
    // A list does not name versions, and the event would have.
    let Some(now) = cx.world.blobs().head_source(&upload.bucket, upload.key.as_str()).await? else { return Ok(false) };
    if ingest::is_known(cx, &now).await? {
        return Ok(false);
    }
    let Some(profile) = ingest::profile_of(cx, &now).await? else { return Ok(false) };
    let id = ingest::take(cx, now, Uploaded::default(), &profile, false).await?;
    tracing::warn!(job = %id, key = %upload.key, "nobody told of this upload: the sweep took it");
    Ok(true)
}

/// From when on uploads are this stack's business, milliseconds since 1970: written down by its first sweep. By another
/// profile than before every film is another job, so that what was done by the one is not to be done again by the other.
async fn adopt_from<W: World>(cx: &Context<'_, W>) -> Result<u64, Fault> {
    let (blobs, key) = (cx.world.blobs(), key::adopt_from(&cx.policy.profile));
    if blobs.read(&key).await?.is_none() {
        let is_first = blobs.list(ADOPT_FROM, 1).await?.is_empty();
        let from = if is_first { cx.now().saturating_sub(BEFORE_FIRST_MS) } else { cx.now() };
        blobs.store_new(&key, from.to_string().into(), "text/plain").await?;
    }
    let text = blobs.read(&key).await?.unwrap_or_default();
    let odd = || Fault::retry(format!("{key} holds no time in milliseconds since 1970: delete it, and the next sweep writes it anew"));
    std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok()).ok_or_else(odd)
}
