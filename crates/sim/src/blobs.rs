//! Objects and local files in memory.

use std::path::Path;

use bytes::Bytes;
use futures::{StreamExt, channel::mpsc};
use pipeline::{
    Fault, Shortage,
    encoder::ByteStream,
    id::SourceRef,
    key::ObjectKey,
    plan::ByteRange,
    ports::{Blobs, Block, Joined, Listed, Look, Piece, Stored},
};
use sha2::{Digest, Sha256};

use crate::{
    check,
    kernel::Port,
    state::{OWN, START_MS, State},
};

/// Pieces that go with one operation of an upload.
const PIECES_OF_A_PART: usize = 3;

fn gone() -> Fault {
    Fault::retry("another worker gave this upload up")
}

impl State {
    fn source(&self, source: &SourceRef) -> Result<Bytes, Fault> {
        let found = self.sources.get(&(source.bucket.clone(), source.key.as_str().to_owned()));
        if self.locked.contains(source.key.as_str()) {
            return Err(Fault::escalate(Shortage::Tool, "403 Forbidden"));
        }
        match found {
            Some((now, bytes)) if now.etag == source.etag => Ok(bytes.clone()),
            None => self.objects.get(source.key.as_str()).cloned().ok_or_else(|| Fault::retry("the object is gone")),
            _ => Err(Fault::reject("the source was replaced or deleted while it was worked on")),
        }
    }

    pub fn file(&self, path: &Path) -> Result<Vec<u8>, Fault> {
        self.files.get(path).cloned().ok_or_else(|| Fault::retry(format!("there is no file {}", path.display())))
    }

    fn begin_upload(&mut self, key: &str) -> u64 {
        let upload = self.number();
        self.uploads.insert(upload, (key.to_owned(), Vec::new()));
        upload
    }

    /// Adds a piece to an unfinished upload.
    fn upload(&mut self, upload: u64, piece: &Piece) -> Result<(), Fault> {
        let added = match piece {
            Piece::Bytes(bytes) => bytes.to_vec(),
            Piece::Stored { key, bytes, sha256, ranges } => {
                let object = self.objects.get(key).ok_or_else(|| Fault::retry(format!("{key} is not there")))?;
                if object.len() as u64 != *bytes || hex::encode(Sha256::digest(object)) != *sha256 {
                    return Err(Fault::retry(format!("{key} is not what was stored")));
                }
                ranges.iter().flat_map(|range| cut(object, *range)).collect()
            }
        };
        self.uploads.get_mut(&upload).ok_or_else(gone)?.1.extend(added);
        Ok(())
    }

    fn put_object(&mut self, key: &str, bytes: Bytes) {
        check::stored(self, key, &bytes);
        self.objects.insert(key.to_owned(), bytes);
        self.stored_ms.insert(key.to_owned(), self.now_ms);
        if key.ends_with("/master.m3u8") || key.ends_with("/manifest.mpd") {
            check::visible(self, key);
        }
    }
}

fn cut(bytes: &Bytes, range: ByteRange) -> Bytes {
    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(at(range.start)..at(range.end).max(at(range.start)))
}

/// A file that holds only these ranges, and how many bytes they are.
fn sparse(bytes: &Bytes, ranges: &[ByteRange]) -> (Vec<u8>, u64) {
    let mut local = vec![0; bytes.len()];
    for range in ranges {
        let part = cut(bytes, *range);
        let from = usize::try_from(range.start).unwrap_or(usize::MAX);
        if let Some(place) = local.get_mut(from..from.saturating_add(part.len())) {
            place.copy_from_slice(&part);
        }
    }
    // What lies between ranges that are near each other is read along.
    let read = pipeline::excerpt::bridged(ranges).into_iter().map(|range| cut(bytes, range).len() as u64).sum();
    (local, read)
}

impl Port {
    async fn take_blocks(&self, upload: u64, key: &str, blocks: &mut mpsc::Receiver<Block>) -> Result<Option<u64>, Fault> {
        while let Some(block) = blocks.next().await {
            let front = match block {
                Block::Next(bytes) => {
                    self.op("upload_part", key, |state| state.upload(upload, &Piece::Bytes(bytes))).await?;
                    continue;
                }
                Block::Front(front) => front,
            };
            let takes_ms = self.lock().join_ms;
            self.pause(takes_ms).await;
            return self
                .op("complete_upload", key, |state| {
                    let (key, mut bytes) = state.uploads.remove(&upload).ok_or_else(gone)?;
                    bytes.splice(..front.len(), front);
                    let length = bytes.len() as u64;
                    state.put_object(&key, bytes.into());
                    Ok(Some(length))
                })
                .await;
        }
        Ok(None)
    }
}

impl Blobs for Port {
    async fn head_source(&self, bucket: &str, key: &str) -> Result<Option<SourceRef>, Fault> {
        self.op("head_source", key, |state| Ok(state.sources.get(&(bucket.to_owned(), key.to_owned())).map(|(source, _)| source.clone())))
            .await
    }

    async fn wish(&self, source: &SourceRef) -> Result<Option<String>, Fault> {
        self.op("wish", source.key.as_str(), |state| state.source(source).map(|_| state.wish.clone())).await
    }

    async fn read_source(&self, source: &SourceRef, range: ByteRange) -> Result<Bytes, Fault> {
        self.op("read_source", range.start, |state| Ok(cut(&state.source(source)?, range))).await
    }

    async fn stream_source(&self, source: &SourceRef) -> Result<ByteStream, Fault> {
        let bytes = self.op("stream_source", "", |state| state.source(source)).await?;
        Ok(Box::pin(futures::stream::iter([Ok(bytes)])))
    }

    async fn fetch_source(&self, source: &SourceRef, ranges: &[ByteRange], to: &Path) -> Result<u64, Fault> {
        self.op("fetch_source", ranges.len(), |state| {
            let bytes = state.source(source)?;
            let (local, read) = sparse(&bytes, ranges);
            state.files.insert(to.to_owned(), local);
            Ok(read)
        })
        .await
    }

    async fn fetch_own(&self, key: &str, bytes: u64, ranges: &[ByteRange], to: &Path) -> Result<Option<u64>, Fault> {
        self.op("fetch_own", key, |state| {
            let Some(object) = state.objects.get(key).filter(|object| object.len() as u64 == bytes) else { return Ok(None) };
            let (local, read) = sparse(object, ranges);
            state.files.insert(to.to_owned(), local);
            Ok(Some(read))
        })
        .await
    }

    async fn read(&self, key: &str) -> Result<Option<Bytes>, Fault> {
        self.op("read", key, |state| Ok(state.objects.get(key).cloned())).await
    }

    async fn store(&self, key: &str, bytes: Bytes, _content_type: &str) -> Result<(), Fault> {
        self.op("store", key, |state| {
            state.put_object(key, bytes);
            Ok(())
        })
        .await
    }

    async fn store_new(&self, key: &str, bytes: Bytes, _content_type: &str) -> Result<bool, Fault> {
        self.op("store_new", key, |state| {
            let fresh = !state.objects.contains_key(key);
            if fresh {
                state.put_object(key, bytes);
            }
            Ok(fresh)
        })
        .await
    }

    async fn store_file(&self, key: &str, from: &Path, _content_type: &str) -> Result<(), Fault> {
        self.op("store_file", key, |state| {
            let bytes = state.file(from)?;
            state.put_object(key, bytes.into());
            Ok(())
        })
        .await
    }

    async fn store_excerpt(&self, key: &str, from: &Path, ranges: &[ByteRange]) -> Result<(), Fault> {
        self.op("store_excerpt", key, |state| {
            let file = Bytes::from(state.file(from)?);
            let parts: Vec<u8> = ranges.iter().flat_map(|range| cut(&file, *range).to_vec()).collect();
            state.put_object(key, parts.into());
            Ok(())
        })
        .await
    }

    async fn store_stream(&self, key: &str, mut blocks: mpsc::Receiver<Block>, _about: u64, _: &str) -> Result<Option<u64>, Fault> {
        let upload = self.op("begin_upload", key, |state| Ok(state.begin_upload(key))).await?;
        let stored = self.take_blocks(upload, key, &mut blocks).await;
        if !matches!(stored, Ok(Some(_))) {
            self.op("abort_upload", key, |state| Ok(state.uploads.remove(&upload))).await?;
        }
        stored
    }

    async fn join(&self, key: &str, pieces: &[Piece], _content_type: &str) -> Result<Joined, Fault> {
        let upload = self.op("begin_upload", key, |state| Ok(state.begin_upload(key))).await?;
        for part in pieces.chunks(PIECES_OF_A_PART) {
            let sent = self.op("upload_part", key, |state| part.iter().try_for_each(|piece| state.upload(upload, piece))).await;
            if let Err(fault) = sent {
                self.op("abort_upload", key, |state| Ok(state.uploads.remove(&upload))).await?;
                return Err(fault);
            }
        }
        let takes_ms = self.lock().join_ms;
        self.pause(takes_ms).await;
        self.op("complete_upload", key, |state| {
            let (key, bytes) = state.uploads.remove(&upload).ok_or_else(gone)?;
            let joined = Joined { bytes: bytes.len() as u64, copied: 0, sha256: Some(hex::encode(Sha256::digest(&bytes))) };
            state.put_object(&key, bytes.into());
            Ok(joined)
        })
        .await
    }

    async fn end_uploads(&self, prefix: &str) -> Result<(), Fault> {
        self.op("end_uploads", prefix, |state| {
            state.uploads.retain(|_, (key, _)| !key.starts_with(prefix));
            Ok(())
        })
        .await
    }

    async fn stored(&self, Look { bucket, prefix, after, limit }: Look<'_>) -> Result<Listed, Fault> {
        let bucket = bucket.unwrap_or(OWN);
        self.op("stored", prefix, |state| {
            let below = state.sources.iter().filter(|((of, key), _)| of == bucket && key.starts_with(prefix));
            // A list names no versions.
            let listed = |source: &SourceRef| SourceRef { version: None, ..source.clone() };
            let uploads =
                below.map(|(_, (source, _))| Stored { source: listed(source), modified_ms: state.dropped_ms(source.key.as_str()) });
            let own = state.objects.iter().filter(|(key, _)| bucket == OWN && key.starts_with(prefix)).filter_map(|(key, bytes)| {
                let source = SourceRef::new(OWN, ObjectKey::new(key.clone()).ok()?, None, "etag", bytes.len() as u64);
                Some(Stored { source, modified_ms: state.stored_ms.get(key).copied().unwrap_or(START_MS) })
            });
            let mut objects: Vec<Stored> = uploads.chain(own).filter(|s| after.is_none_or(|after| s.source.key.as_str() > after)).collect();
            objects.sort_unstable_by(|a, b| a.source.key.as_str().cmp(b.source.key.as_str()));
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let is_all = objects.len() <= limit;
            objects.truncate(limit);
            let next = objects.last().filter(|_| !is_all).map(|last| last.source.key.to_string());
            Ok(Listed { objects, next })
        })
        .await
    }

    async fn list(&self, prefix: &str, limit: u32) -> Result<Vec<String>, Fault> {
        self.op("list", prefix, |state| {
            let keys = state.objects.keys().filter(|key| key.starts_with(prefix));
            Ok(keys.take(usize::try_from(limit).unwrap_or(usize::MAX)).cloned().collect())
        })
        .await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), Fault> {
        self.op("delete", keys.join(" "), |state| {
            for key in keys {
                state.objects.remove(key);
            }
            check::after_delete(state, keys);
            Ok(())
        })
        .await
    }
}
