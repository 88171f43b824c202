//! Uploads that nobody told of: an event of S3 that never came makes no job by itself, so the sweep looks.
//!
//! An old library is never transcoded by accident: only what was stored since the stack's first sweep by this profile and
//! in the last [`MAX_AGE_MS`] is taken. The rest is for `fanreel adopt`.

use futures::StreamExt;

use super::{Context, SourceBucket, ingest};
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

/// What a look for uploads without a job found.
#[derive(Debug, Default)]
pub struct Lost {
    pub uploads: Vec<SourceRef>,
    pub unseen: Unseen,
}

/// Uploads of which nobody could say whether they have a job, or make one: they stand in no other's way.
#[derive(Debug, Default)]
pub struct Unseen {
    pub count: u32,
    /// Which was the first, and why, for people.
    pub first: Option<String>,
}

impl Unseen {
    fn add(&mut self, upload: &SourceRef, fault: &Fault) {
        self.count += 1;
        self.first.get_or_insert_with(|| format!("{}: {fault}", upload.key));
    }
}

/// Makes jobs of uploads that have none. Answers how many, and how many could not be looked at.
pub(super) async fn take_lost<W: World>(cx: &Context<'_, W>) -> Result<(u32, u32), Fault> {
    let (mut taken, mut unseen) = take_lost_of(cx, None, UPLOADS).await?;
    if let Some(SourceBucket { name, prefix }) = &cx.policy.source {
        match take_lost_of(cx, Some(name), prefix).await {
            Ok((more, not_seen)) => (taken, unseen) = (taken + more, unseen + not_seen),
            // A bucket that is not ours keeps nobody else's films from being found.
            Err(fault) => {
                tracing::warn!(%fault, bucket = %name, "the source bucket could not be looked through; the next sweep tries again");
            }
        }
    }
    Ok((taken, unseen))
}

async fn take_lost_of<W: World>(cx: &Context<'_, W>, bucket: Option<&str>, prefix: &str) -> Result<(u32, u32), Fault> {
    let from = adopt_from(cx, bucket).await?.max(cx.now().saturating_sub(MAX_AGE_MS));
    let mut lost = without_job(cx, bucket, prefix, from).await?;
    let taken = take_all(cx, &mut lost).await;
    let Unseen { count, first } = lost.unseen;
    if let Some(first) = first {
        tracing::warn!(count, %first, "uploads could not be looked at and are left alone; the next sweep tries again");
    }
    Ok((taken, count))
}

/// Makes a job of each. Answers how many.
pub async fn take_all<W: World>(cx: &Context<'_, W>, lost: &mut Lost) -> u32 {
    let mut taken = 0;
    for upload in &lost.uploads {
        match take(cx, upload).await {
            Ok(is_new) => taken += u32::from(is_new),
            Err(fault) => lost.unseen.add(upload, &fault),
        }
    }
    taken
}

/// Uploads below a prefix of a bucket (none: the own), stored at `from_ms` or later, that no job was ever made of.
pub async fn without_job<W: World>(cx: &Context<'_, W>, bucket: Option<&str>, prefix: &str, from_ms: u64) -> Result<Lost, Fault> {
    let found = cx.world.blobs().stored(bucket, prefix, MAX_LISTED).await?;
    if found.len() >= usize::try_from(MAX_LISTED).unwrap_or(usize::MAX) {
        tracing::warn!(MAX_LISTED, prefix, "there are more objects than are looked at: those behind them are not seen");
    }
    let young: Vec<SourceRef> = found.into_iter().filter(|s| s.modified_ms >= from_ms && is_film(s)).map(|s| s.source).collect();
    // Collected first: a future that holds the lazy iterator cannot be sent between threads (rust-lang/rust#102211).
    let looks: Vec<_> = young.into_iter().map(|source| look(cx, source)).collect();
    let looks: Vec<(SourceRef, Result<bool, Fault>)> = futures::stream::iter(looks).buffered(AT_ONCE).collect().await;
    let mut lost = Lost::default();
    for (source, is_known) in looks {
        match is_known {
            Ok(true) => {}
            Ok(false) => lost.uploads.push(source),
            Err(fault) => lost.unseen.add(&source, &fault),
        }
    }
    Ok(lost)
}

async fn look<W: World>(cx: &Context<'_, W>, source: SourceRef) -> (SourceRef, Result<bool, Fault>) {
    let is_known = ingest::is_known(cx, &source).await;
    (source, is_known)
}

/// A folder's own object is none.
fn is_film(stored: &Stored) -> bool {
    stored.source.size > 0 || !stored.source.key.as_str().ends_with('/')
}

/// Makes a job of an upload, pinned as it is now. `false`: it is gone, or known after all.
async fn take<W: World>(cx: &Context<'_, W>, upload: &SourceRef) -> Result<bool, Fault> {
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
async fn adopt_from<W: World>(cx: &Context<'_, W>, bucket: Option<&str>) -> Result<u64, Fault> {
    let (blobs, key) = (cx.world.blobs(), key::adopt_from(&cx.policy.profile, bucket));
    if blobs.read(&key).await?.is_none() {
        let is_first = blobs.list(ADOPT_FROM, 1).await?.is_empty();
        let from = if is_first { cx.now().saturating_sub(BEFORE_FIRST_MS) } else { cx.now() };
        // A store tells whole seconds: what comes within this one is not older.
        let from = from / 1000 * 1000;
        blobs.store_new(&key, from.to_string().into(), "text/plain").await?;
    }
    let text = blobs.read(&key).await?.unwrap_or_default();
    let odd = || Fault::retry(format!("{key} holds no time in milliseconds since 1970: delete it, and the next sweep writes it anew"));
    std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok()).ok_or_else(odd)
}
