//! Uploads that nobody told of: an event of S3 that never came makes no job by itself, so the sweep looks.
//!
//! An old library is never transcoded by accident: only what was stored since the stack's first sweep by this profile and
//! in the last [`MAX_AGE_MS`] is taken. The rest is for `fanreel adopt`.

use futures::future::join_all;

use super::{Context, SourceBucket, ingest, sweep};
use crate::{
    fault::Fault,
    id::SourceRef,
    key::{self, ADOPT_FROM, UPLOADS},
    message::Uploaded,
    ports::{Blobs, Clock, Listed, Look, Stored, World},
};

/// Older uploads wait for a person, ms.
const MAX_AGE_MS: u64 = 7 * 86_400_000;
/// The first sweep of a stack takes what came since its start: it runs some minutes after it.
const BEFORE_FIRST_MS: u64 = 15 * 60_000;
/// Objects that are listed at a time: so many of them, and what is asked about them, are held in memory.
pub const STEP: u32 = 5_000;
/// Reads of the ledger at a time.
const AT_ONCE: usize = 8;
/// What a sweep leaves for what it does besides, ms.
const LEAVE_MS: u64 = 35_000;

/// What a look for uploads without a job found.
#[derive(Debug, Default)]
pub struct Lost {
    pub uploads: Vec<SourceRef>,
    pub unseen: Unseen,
    /// The key behind which there may be more.
    pub next: Option<String>,
}

impl Lost {
    /// Asks about a few objects, all at once.
    async fn look<W: World>(&mut self, cx: &Context<'_, W>, some: &[Stored], from_ms: u64) {
        let young = some.iter().filter(|stored| stored.modified_ms >= from_ms && is_film(stored));
        for (source, found) in join_all(young.map(|stored| look(cx, &stored.source))).await {
            match found {
                Ok(None) => {}
                Ok(Some(upload)) => self.uploads.push(upload),
                Err(fault) => self.unseen.add(source, &fault),
            }
        }
    }

    /// With what was found behind it.
    pub fn add(&mut self, more: Self) {
        self.uploads.extend(more.uploads);
        self.unseen.join(more.unseen);
        self.next = more.next;
    }
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

    fn join(&mut self, more: Self) {
        self.count += more.count;
        self.first = self.first.take().or(more.first);
    }
}

/// Makes jobs of uploads that have none. Answers how many, and how many could not be looked at.
pub(super) async fn take_lost<W: World>(cx: &Context<'_, W>) -> (u32, u32) {
    let (mut taken, mut not_seen) = (0, 0);
    let others = cx.policy.source.as_ref().map(|SourceBucket { name, prefix }| (Some(name.as_str()), prefix.as_str()));
    let mut buckets: Vec<_> = [Some((None, UPLOADS)), others].into_iter().flatten().collect();
    // One that takes all of a sweep's time keeps the other waiting for that sweep, and not for ever.
    if buckets.len() > 1 {
        let first = sweep::beginning(buckets.len(), cx.world.clock().random());
        buckets.rotate_left(first);
    }
    for (bucket, prefix) in buckets {
        let mut unseen = Unseen::default();
        let looked = take_lost_of(cx, bucket, prefix, &mut taken, &mut unseen).await;
        let bucket = bucket.unwrap_or("the stack's own");
        // What is wrong with one bucket keeps nobody else's films from being found.
        if let Err(fault) = looked {
            tracing::warn!(%fault, bucket, "uploads without a job could not be looked for; the next sweep tries again");
        }
        not_seen += unseen.count;
        if let Unseen { count, first: Some(first) } = unseen {
            tracing::warn!(count, %first, bucket, "uploads could not be looked at and are left alone; the next sweep tries again");
        }
    }
    (taken, not_seen)
}

async fn take_lost_of<W: World>(
    cx: &Context<'_, W>,
    bucket: Option<&str>,
    prefix: &str,
    taken: &mut u32,
    unseen: &mut Unseen,
) -> Result<(), Fault> {
    let from = adopt_from(cx, bucket).await?.max(cx.now().saturating_sub(MAX_AGE_MS));
    let mark = key::looked_through(bucket);
    let mut behind = marked(cx, &mark).await;
    let mut left = cx.policy.most_listed;
    while left > 0 && !is_over(cx) {
        let limit = left.min(STEP);
        left -= limit;
        let Listed { objects, next } = cx.world.blobs().stored(Look { bucket, prefix, after: behind.as_deref(), limit }).await?;
        let mut reached = behind.clone();
        // Taken as they are found, so that a sweep whose time is over has not looked in vain.
        for some in objects.chunks(AT_ONCE) {
            if is_over(cx) {
                break;
            }
            let mut lost = Lost::default();
            lost.look(cx, some, from).await;
            *taken += take_all(cx, &mut lost).await;
            unseen.join(lost.unseen);
            reached = some.last().map(|stored| stored.source.key.to_string());
        }
        let is_all = objects.last().is_none_or(|last| Some(last.source.key.as_str()) == reached.as_deref());
        let next = if is_all { next } else { reached };
        if next != behind
            && let Err(fault) = cx.world.blobs().store(&mark, next.clone().unwrap_or_default().into(), "text/plain").await
        {
            tracing::warn!(%fault, mark, "where the next sweep is to go on could not be noted");
        }
        if next.is_none() {
            break;
        }
        behind = next;
    }
    Ok(())
}

/// Where the last look ended; nothing: at the end, or nobody knows.
async fn marked<W: World>(cx: &Context<'_, W>, mark: &str) -> Option<String> {
    let read = cx.world.blobs().read(mark).await;
    let text = read.unwrap_or_else(|fault| {
        tracing::warn!(%fault, mark, "where the last sweep ended cannot be read: this one begins at the front");
        None
    });
    text.and_then(|text| String::from_utf8(text.into()).ok()).filter(|key| !key.is_empty())
}

fn is_over<W: World>(cx: &Context<'_, W>) -> bool {
    sweep::is_late(cx, LEAVE_MS)
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

/// Uploads below a prefix of a bucket (none: the own) that no job was ever made of, among [`STEP`] objects behind a key.
pub async fn without_job<W: World>(cx: &Context<'_, W>, bucket: Option<&str>, prefix: &str, after: Option<&str>) -> Result<Lost, Fault> {
    let Listed { objects, next } = cx.world.blobs().stored(Look { bucket, prefix, after, limit: STEP }).await?;
    let mut lost = Lost { next, ..Lost::default() };
    for some in objects.chunks(AT_ONCE) {
        lost.look(cx, some, 0).await;
    }
    Ok(lost)
}

/// The upload as it is now, if no job was made of it.
async fn look<'a, W: World>(cx: &Context<'_, W>, listed: &'a SourceRef) -> (&'a SourceRef, Result<Option<SourceRef>, Fault>) {
    let found = async {
        if ingest::has_job(cx, listed).await? {
            return Ok(None);
        }
        // A list does not name versions, by which an event's job is known.
        let Some(now) = cx.world.blobs().head_source(&listed.bucket, listed.key.as_str()).await? else { return Ok(None) };
        Ok(if ingest::is_known(cx, &now).await? { None } else { Some(now) })
    };
    (listed, found.await)
}

/// A folder's own object is none.
fn is_film(stored: &Stored) -> bool {
    stored.source.size > 0 || !stored.source.key.as_str().ends_with('/')
}

/// Makes a job of an upload, pinned as it is now. `false`: it is gone, or known after all.
async fn take<W: World>(cx: &Context<'_, W>, upload: &SourceRef) -> Result<bool, Fault> {
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
