//! Objects in S3: sources, which name their bucket, and our own, which are all in one.

use std::path::Path;

use aws_sdk_s3::{
    Client,
    primitives::ByteStream as S3Body,
    types::{Delete, Object, ObjectIdentifier},
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, channel::mpsc};
use pipeline::{
    Fault, Shortage,
    encoder::{ByteStream, MAX_EXCERPT},
    id::SourceRef,
    key::{ObjectKey, PROFILE_WISH},
    plan::ByteRange,
    ports::{Blobs, Block, Joined, Listed, Look, Piece, Stored},
};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, BufWriter};

use crate::{
    faults::{classify, local, status},
    fetch::{self, Pinned},
    join,
    kept::Kept,
    resume::Film,
    sending::Sending,
    stream,
    upload::{self, Target},
};

/// Most that is read into memory at once.
const MAX_IN_MEMORY: u64 = 256 << 20;
/// `DeleteObjects` and `ListObjectsV2` take no more.
const BATCH: usize = 1_000;

/// The bucket and its neighbours.
#[derive(Clone, Debug)]
pub struct S3Blobs {
    client: Client,
    bucket: String,
    /// Of the source that was read last: the environment's next task is usually one of the same job.
    kept: Kept,
}

impl S3Blobs {
    /// `bucket` holds our own objects.
    pub fn new(client: Client, bucket: impl Into<String>) -> Self {
        Self { client, bucket: bucket.into(), kept: Kept::default() }
    }
    fn own(&self, key: &str) -> Pinned {
        Pinned::Own { bucket: self.bucket.clone(), key: key.to_owned() }
    }
    fn name(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }

    /// And the last key, where there are more.
    async fn objects(&self, Look { bucket, prefix, after, limit }: Look<'_>) -> Result<(Vec<Object>, Option<String>), Fault> {
        let bucket = bucket.unwrap_or(&self.bucket);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut objects = Vec::new();
        let mut next = None;
        while objects.len() < limit {
            let most = i32::try_from((limit - objects.len()).min(BATCH)).unwrap_or(i32::MAX);
            let request = self.client.list_objects_v2().bucket(bucket).prefix(prefix).max_keys(most);
            let request = request.set_start_after(after.filter(|_| next.is_none()).map(str::to_owned));
            let page = request.set_continuation_token(next).send().await;
            let page = page.map_err(|e| classify(&format!("listing s3://{bucket}/{prefix}"), &e))?;
            objects.extend(page.contents.unwrap_or_default());
            next = page.next_continuation_token;
            if next.is_none() {
                break;
            }
        }
        let is_all = next.is_none() && objects.len() <= limit;
        objects.truncate(limit);
        let last = objects.last().filter(|_| !is_all).and_then(|last| last.key.clone());
        Ok((objects, last))
    }

    /// Stores a film where uploads go, with the profile that it is to be encoded by, if not the stack's. Goes on with an
    /// upload of the same file that broke off, tries for minutes over a line that is away, and leaves there what is stored
    /// when it ends half-way.
    pub async fn upload(&self, key: &str, from: &Path, profile: Option<&str>, sending: &Sending) -> Result<(), Fault> {
        // Boxed: with a call of the SDK's in each step it is too large to be carried around.
        Box::pin(self.film(key, from, profile, sending).store()).await
    }

    /// Whether the very file is stored there, with the same wish for a profile. `false` also where that could only be told
    /// by reading the object: one that was stored in one piece, or by another program.
    pub async fn holds(&self, key: &str, from: &Path, profile: Option<&str>, sending: &Sending) -> Result<bool, Fault> {
        Box::pin(self.film(key, from, profile, sending).is_stored()).await
    }

    fn film<'a>(&'a self, key: &'a str, from: &'a Path, profile: Option<&'a str>, sending: &'a Sending) -> Film<'a> {
        let target = Target { client: &self.client, bucket: &self.bucket, key, content_type: "application/octet-stream", profile };
        Film { target, from, sending }
    }

    /// Appends an object to a local file, checking its size, and its sha256 if there is one, on the way: `Retry` if they
    /// differ.
    pub async fn append_to(&self, key: &str, bytes: u64, sha256: Option<&str>, to: &Path) -> Result<(), Fault> {
        let disk = |e: std::io::Error| local("writing", to, &e);
        let mut file = tokio::fs::File::options().create(true).append(false).write(true).truncate(false).open(to).await.map_err(disk)?;
        let before = file.seek(std::io::SeekFrom::End(0)).await.map_err(disk)?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        let poured = match self.pour(key, bytes, to, &mut file).await {
            Ok(found) if sha256.is_none_or(|sha256| found == sha256) => Ok(()),
            Ok(found) => Err(Fault::Retry(format!("{} has sha256 {found}; {} was committed", self.name(key), sha256.unwrap_or_default()))),
            Err(fault) => Err(fault),
        };
        if poured.is_err() {
            // The file is as it was, so that the caller may try again.
            file.get_ref().set_len(before).await.map_err(disk)?;
        }
        poured
    }

    /// Appends to an open file; answers the sha256 of what came.
    async fn pour(&self, key: &str, bytes: u64, to: &Path, file: &mut BufWriter<tokio::fs::File>) -> Result<String, Fault> {
        let mut hash = Sha256::new();
        let mut body = std::pin::pin!(fetch::bytes_of(&self.client, self.own(key), ByteRange { start: 0, end: bytes }));
        while let Some(part) = body.try_next().await? {
            hash.update(&part);
            file.write_all(&part).await.map_err(|e| local("writing", to, &e))?;
        }
        file.flush().await.map_err(|e| local("writing", to, &e))?;
        Ok(hex::encode(hash.finalize()))
    }
}

fn in_memory(range: ByteRange, name: &str) -> Result<(), Fault> {
    if range.len() <= MAX_IN_MEMORY {
        return Ok(());
    }
    let text = format!("{} bytes of {name} do not fit into memory; the bound is {MAX_IN_MEMORY}", range.len());
    Err(Fault::escalate(Shortage::Tool, text))
}

impl Blobs for S3Blobs {
    async fn head_source(&self, bucket: &str, key: &str) -> Result<Option<SourceRef>, Fault> {
        let name = format!("s3://{bucket}/{key}");
        let key = ObjectKey::new(key).map_err(Fault::Reject)?;
        match self.client.head_object().bucket(bucket).key(key.as_str()).send().await {
            Ok(head) => {
                let size = head.content_length.and_then(|length| u64::try_from(length).ok()).unwrap_or(0);
                let etag = head.e_tag.unwrap_or_default();
                Ok(Some(SourceRef::new(bucket, key, head.version_id, &etag, size)))
            }
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(classify(&format!("asking for {name}"), &error)),
        }
    }

    async fn wish(&self, source: &SourceRef) -> Result<Option<String>, Fault> {
        let from = Pinned::Source(source.clone());
        let request = self.client.head_object().bucket(&source.bucket).key(source.key.as_str());
        let request = match &source.version {
            Some(version) => request.version_id(version),
            None => request.if_match(format!("\"{}\"", source.etag)),
        };
        match request.send().await {
            Ok(head) => Ok(head.metadata.and_then(|mut pairs| pairs.remove(PROFILE_WISH))),
            // A version that a delete marker hides is still there; the marker itself answers 405.
            Err(error) if matches!(status(&error), Some(404 | 405 | 412)) => Err(fetch::replaced()),
            Err(error) => Err(classify(&format!("asking for {}", from.name()), &error)),
        }
    }

    async fn read_source(&self, source: &SourceRef, range: ByteRange) -> Result<Bytes, Fault> {
        let range = ByteRange { start: range.start, end: range.end.min(source.size) };
        let from = Pinned::Source(source.clone());
        in_memory(range, &from.name())?;
        fetch::collect(&self.client, from, range).await
    }

    async fn stream_source(&self, source: &SourceRef) -> Result<ByteStream, Fault> {
        let whole = ByteRange { start: 0, end: source.size };
        Ok(fetch::bytes_of(&self.client, Pinned::Source(source.clone()), whole).boxed())
    }

    async fn fetch_source(&self, source: &SourceRef, ranges: &[ByteRange], to: &Path) -> Result<u64, Fault> {
        fetch::into_sparse_file(&self.client, &self.kept, source, ranges, to).await
    }

    async fn fetch_own(&self, key: &str, bytes: u64, ranges: &[ByteRange], to: &Path) -> Result<Option<u64>, Fault> {
        // Held to the content that is there now, so that all ranges are of one; by its ETag, since roles may read no versions of it.
        let Some(found) = self.head_source(&self.bucket, key).await?.filter(|found| found.size == bytes) else { return Ok(None) };
        let found = SourceRef { version: None, ..found };
        match fetch::into_sparse_file(&self.client, &self.kept, &found, ranges, to).await {
            Ok(read) => Ok(Some(read)),
            // Not a source: it was replaced between the requests.
            Err(Fault::Reject(_)) => Err(Fault::Retry(format!("reading {}: it changed while it was read", self.name(key)))),
            Err(fault) => Err(fault),
        }
    }

    async fn read(&self, key: &str) -> Result<Option<Bytes>, Fault> {
        let name = self.name(key);
        let head = match self.client.head_object().bucket(&self.bucket).key(key).send().await {
            Ok(head) => head,
            Err(error) if status(&error) == Some(404) => return Ok(None),
            Err(error) => return Err(classify(&format!("reading {name}"), &error)),
        };
        let size = head.content_length.and_then(|length| u64::try_from(length).ok()).unwrap_or(0);
        let found = SourceRef::new(&self.bucket, ObjectKey::new(key).map_err(Fault::Reject)?, None, &head.e_tag.unwrap_or_default(), size);
        let whole = ByteRange { start: 0, end: size };
        in_memory(whole, &name)?;
        match fetch::collect(&self.client, Pinned::Source(found), whole).await {
            // Not a source: it was replaced between the two requests.
            Err(Fault::Reject(_)) => Err(Fault::Retry(format!("reading {name}: it changed while it was read"))),
            other => other.map(Some),
        }
    }

    async fn store(&self, key: &str, bytes: Bytes, content_type: &str) -> Result<(), Fault> {
        let request = self.client.put_object().bucket(&self.bucket).key(key).content_type(content_type).body(S3Body::from(bytes));
        request.send().await.map(drop).map_err(|e| classify(&format!("storing {}", self.name(key)), &e))
    }

    async fn store_new(&self, key: &str, bytes: Bytes, content_type: &str) -> Result<bool, Fault> {
        let request = self.client.put_object().bucket(&self.bucket).key(key).content_type(content_type).body(S3Body::from(bytes));
        match request.if_none_match("*").send().await {
            Ok(_) => Ok(true),
            // 409: another writer of the same key is at it right now, and wins.
            Err(error) if matches!(status(&error), Some(409 | 412)) => Ok(false),
            Err(error) => Err(classify(&format!("storing {}", self.name(key)), &error)),
        }
    }

    async fn store_file(&self, key: &str, from: &Path, content_type: &str) -> Result<(), Fault> {
        Target { client: &self.client, bucket: &self.bucket, key, content_type, profile: None }.store(from).await
    }

    async fn store_excerpt(&self, key: &str, from: &Path, ranges: &[ByteRange]) -> Result<(), Fault> {
        let bytes: u64 = ranges.iter().map(|range| range.len()).sum();
        if bytes > MAX_EXCERPT {
            return Err(Fault::escalate(Shortage::Tool, format!("{bytes} bytes of {} are too many to be kept", from.display())));
        }
        let unread = |error: std::io::Error| Fault::retry(format!("{} cannot be read: {error}", from.display()));
        let mut file = tokio::fs::File::open(from).await.map_err(unread)?;
        let mut parts = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
        for range in ranges {
            file.seek(std::io::SeekFrom::Start(range.start)).await.map_err(unread)?;
            (&mut file).take(range.len()).read_to_end(&mut parts).await.map_err(unread)?;
        }
        if parts.len() as u64 != bytes {
            return Err(Fault::retry(format!("{} has {} of {bytes} bytes that are to be kept", from.display(), parts.len())));
        }
        self.store(key, parts.into(), "application/octet-stream").await
    }

    async fn store_stream(&self, key: &str, blocks: mpsc::Receiver<Block>, about: u64, content_type: &str) -> Result<Option<u64>, Fault> {
        stream::store(&Target { client: &self.client, bucket: &self.bucket, key, content_type, profile: None }, blocks, about).await
    }

    async fn join(&self, key: &str, pieces: &[Piece], content_type: &str) -> Result<Joined, Fault> {
        join::join(&Target { client: &self.client, bucket: &self.bucket, key, content_type, profile: None }, pieces).await
    }

    async fn end_uploads(&self, prefix: &str) -> Result<(), Fault> {
        upload::end_all(&self.client, &self.bucket, prefix).await
    }

    async fn stored(&self, look: Look<'_>) -> Result<Listed, Fault> {
        let bucket = look.bucket.unwrap_or(&self.bucket);
        let (objects, next) = self.objects(look).await?;
        let stored = |object: Object| {
            // A key that is none of ours is nobody's upload.
            let key = ObjectKey::new(object.key?).ok()?;
            let size = object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
            let modified_ms = object.last_modified.and_then(|at| u64::try_from(at.to_millis().ok()?).ok()).unwrap_or(0);
            Some(Stored { source: SourceRef::new(bucket, key, None, &object.e_tag.unwrap_or_default(), size), modified_ms })
        };
        Ok(Listed { objects: objects.into_iter().filter_map(stored).collect(), next })
    }

    async fn list(&self, prefix: &str, limit: u32) -> Result<Vec<String>, Fault> {
        let (objects, _) = self.objects(Look { bucket: None, prefix, after: None, limit }).await?;
        Ok(objects.into_iter().filter_map(|object| object.key).collect())
    }

    async fn delete(&self, keys: &[String]) -> Result<(), Fault> {
        let odd = |e| Fault::escalate(Shortage::Tool, format!("a deletion cannot be written: {e}"));
        for batch in keys.chunks(BATCH) {
            let objects: Result<Vec<_>, _> = batch.iter().map(|key| ObjectIdentifier::builder().key(key).build()).collect();
            let delete = Delete::builder().set_objects(Some(objects.map_err(odd)?)).quiet(true).build().map_err(odd)?;
            let sent = self.client.delete_objects().bucket(&self.bucket).delete(delete).send().await;
            let answer = sent.map_err(|e| classify(&format!("deleting from s3://{}", self.bucket), &e))?;
            if let Some(refused) = answer.errors.unwrap_or_default().into_iter().find(|e| e.code() != Some("NoSuchKey")) {
                let (key, code) = (refused.key.unwrap_or_default(), refused.code.unwrap_or_default());
                return Err(Fault::Retry(format!("deleting {}: {code}: {}", self.name(&key), refused.message.unwrap_or_default())));
            }
        }
        Ok(())
    }
}
