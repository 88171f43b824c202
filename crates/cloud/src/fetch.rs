//! Reads of large objects: pinned, resumed after a cut-off, with bounded memory.

use std::{fs::File, os::unix::fs::FileExt, path::Path, sync::Arc};

use aws_sdk_s3::{Client, error::SdkError, operation::get_object::GetObjectError, primitives::ByteStream as S3Body};
use aws_smithy_runtime_api::http::Response;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use pipeline::{Fault, excerpt::bridged, id::SourceRef, plan::ByteRange};

use crate::{
    clock::pause,
    faults::{classify, local, status, stopped},
    kept::Kept,
};

/// A part of a range: one GET.
const PART_BYTES: u64 = 8 << 20;
/// GETs at a time.
const PARALLEL: usize = 4;
/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 1 << 20;
/// Cut-offs in a row, without [`PROGRESS_BYTES`] between them, before the read is given up.
const MAX_CUTS: u32 = 5;
const PROGRESS_BYTES: u64 = 1 << 20;

/// What is read: an object and what holds it to one content.
#[derive(Clone, Debug)]
pub enum Pinned {
    Source(SourceRef),
    /// Ours: its content is checked by its hash.
    Own {
        bucket: String,
        key: String,
    },
}

impl Pinned {
    pub fn name(&self) -> String {
        match self {
            Self::Source(source) => format!("s3://{}/{}", source.bucket, source.key),
            Self::Own { bucket, key } => format!("s3://{bucket}/{key}"),
        }
    }

    async fn get(&self, client: &Client, range: ByteRange) -> Result<S3Body, Fault> {
        let bytes = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
        let request = client.get_object().range(bytes);
        let request = match self {
            Self::Own { bucket, key } => request.bucket(bucket).key(key),
            Self::Source(source) => {
                let request = request.bucket(&source.bucket).key(source.key.as_str());
                match &source.version {
                    Some(version) => request.version_id(version),
                    None => request.if_match(format!("\"{}\"", source.etag)),
                }
            }
        };
        request.send().await.map(|answer| answer.body).map_err(|e| self.fault(&e))
    }

    fn fault(&self, error: &SdkError<GetObjectError, Response>) -> Fault {
        let what = format!("reading {}", self.name());
        match (self, status(error)) {
            (Self::Source(_), Some(404 | 412)) => replaced(),
            // Committed and listed: it may come back (a bucket that is being restored), so it is tried again.
            (Self::Own { .. }, Some(404)) => Fault::Retry(format!("{what}: there is no such object")),
            _ => classify(&what, error),
        }
    }
}

pub fn replaced() -> Fault {
    Fault::reject("the source was replaced or removed while it was being worked on")
}

struct Reader {
    client: Client,
    from: Pinned,
    at: u64,
    end: u64,
    body: Option<S3Body>,
    cuts: u32,
    /// Where the last cut-off was.
    cut_at: u64,
}

impl Reader {
    /// The next bytes; resumes where a body broke off.
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        while self.at < self.end {
            let mut body = match self.body.take() {
                Some(body) => body,
                None => self.from.get(&self.client, ByteRange { start: self.at, end: self.end }).await?,
            };
            match body.next().await {
                Some(Ok(bytes)) => {
                    let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
                    // A server that ignores the range's end is not believed.
                    let bytes = if bytes.len() > left { bytes.slice(..left) } else { bytes };
                    self.at += bytes.len() as u64;
                    self.body = Some(body);
                    return Ok(Some(bytes));
                }
                Some(Err(error)) => self.cut(&error.to_string()).await?,
                None => self.cut("the body ended early").await?,
            }
        }
        Ok(None)
    }

    async fn cut(&mut self, why: &str) -> Result<(), Fault> {
        let progress = self.at - self.cut_at;
        self.cuts = if progress >= PROGRESS_BYTES { 1 } else { self.cuts + 1 };
        self.cut_at = self.at;
        let (name, at) = (self.from.name(), self.at);
        if self.cuts > MAX_CUTS {
            return Err(Fault::Retry(format!("reading {name}: cut off at byte {at} for the {}th time: {why}", self.cuts)));
        }
        tracing::debug!(object = name, at, why, "a read was cut off; going on from there");
        pause(self.cuts).await;
        Ok(())
    }
}

/// The bytes of `range` as they come, exactly `range.len()` of them.
pub fn bytes_of(client: &Client, from: Pinned, range: ByteRange) -> impl Stream<Item = Result<Bytes, Fault>> + Send + 'static {
    let ByteRange { start, end } = range;
    let reader = Reader { client: client.clone(), from, at: start, end, body: None, cuts: 0, cut_at: start };
    stream::try_unfold(reader, |mut reader| async move { Ok(reader.next().await?.map(|bytes| (bytes, reader))) })
}

/// `range` in memory: the caller bounds it.
pub async fn collect(client: &Client, from: Pinned, range: ByteRange) -> Result<Bytes, Fault> {
    let mut all = BytesMut::with_capacity(usize::try_from(range.len().min(PART_BYTES)).unwrap_or(0));
    let mut parts = std::pin::pin!(bytes_of(client, from, range));
    while let Some(bytes) = parts.try_next().await? {
        all.extend_from_slice(&bytes);
    }
    Ok(all.freeze())
}

/// Ranges within the source, cut into parts of one GET.
fn parts(ranges: &[ByteRange], size: u64) -> Vec<ByteRange> {
    let mut parts = Vec::new();
    for range in ranges {
        let end = range.end.min(size);
        let mut at = range.start;
        while at < end {
            let next = end.min(at + PART_BYTES);
            parts.push(ByteRange { start: at, end: next });
            at = next;
        }
    }
    parts
}

/// Writes `ranges` of a source into a sparse file of its size: what is kept from there, the rest from the store.
/// What lies between ranges that are near each other is read along and not written. Answers the bytes that were read from
/// the store.
pub async fn into_sparse_file(client: &Client, kept: &Kept, source: &SourceRef, ranges: &[ByteRange], to: &Path) -> Result<u64, Fault> {
    let file = Arc::new(open(to, source.size).await?);
    let within = |range: &ByteRange| ByteRange { start: range.start, end: range.end.min(source.size) };
    let ranges: Vec<ByteRange> = ranges.iter().map(within).filter(|range| !range.is_empty()).collect();
    let (here, missing) = kept.divide(source, &ranges);
    write_all(&file, here, to).await?;
    let missing: Arc<[ByteRange]> = missing.into();
    let fetch = |part: ByteRange| {
        let (from, file, wanted) = (Pinned::Source(source.clone()), Arc::clone(&file), Arc::clone(&missing));
        async move { write_part(client, from, part, wanted, file, to).await }
    };
    let sizes: Vec<u64> = stream::iter(parts(&bridged(&missing), source.size)).map(fetch).buffer_unordered(PARALLEL).try_collect().await?;
    for part in kept.wanted(source, &ranges) {
        kept.keep(source, part.start, read_back(&file, part, to).await?);
    }
    Ok(sizes.iter().sum())
}

async fn write_all(file: &Arc<File>, pieces: Vec<(u64, Bytes)>, path: &Path) -> Result<(), Fault> {
    let file = Arc::clone(file);
    let written = tokio::task::spawn_blocking(move || pieces.iter().try_for_each(|(at, bytes)| file.write_all_at(bytes, *at))).await;
    written.map_err(|e| stopped(&e))?.map_err(|e| local("writing the source to", path, &e))
}

/// A part that was just written: the caller bounds it.
async fn read_back(file: &Arc<File>, part: ByteRange, path: &Path) -> Result<Bytes, Fault> {
    let file = Arc::clone(file);
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = vec![0; usize::try_from(part.len()).unwrap_or(0)];
        file.read_exact_at(&mut bytes, part.start).map(|()| Bytes::from(bytes))
    });
    read.await.map_err(|e| stopped(&e))?.map_err(|e| local("reading the source back from", path, &e))
}

async fn open(path: &Path, size: u64) -> Result<File, Fault> {
    let to = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&to)?;
        if file.metadata()?.len() < size {
            file.set_len(size)?;
        }
        Ok(file)
    });
    opened.await.map_err(|e| stopped(&e))?.map_err(|e| local("making the sparse file", path, &e))
}

/// What of `bytes`, which begin at `at`, lies in `wanted`: ranges in order, not touching.
fn within(wanted: &[ByteRange], at: u64, bytes: &Bytes) -> Vec<(u64, Bytes)> {
    let end = at + bytes.len() as u64;
    let index = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    let first = wanted.partition_point(|range| range.end <= at);
    let inside = wanted.iter().skip(first).take_while(|range| range.start < end);
    inside.map(|range| (range.start.max(at), bytes.slice(index(range.start.saturating_sub(at))..index(range.end.min(end) - at)))).collect()
}

async fn write_part(
    client: &Client,
    from: Pinned,
    part: ByteRange,
    wanted: Arc<[ByteRange]>,
    file: Arc<File>,
    path: &Path,
) -> Result<u64, Fault> {
    let mut at = part.start;
    let mut gathered = BytesMut::new();
    let mut body = std::pin::pin!(bytes_of(client, from, part));
    loop {
        let next = body.try_next().await?;
        let ended = next.is_none();
        gathered.extend_from_slice(&next.unwrap_or_default());
        if gathered.len() >= WRITE_BYTES || (ended && !gathered.is_empty()) {
            let (bytes, offset) = (gathered.split().freeze(), at);
            at += bytes.len() as u64;
            write_all(&file, within(&wanted, offset, &bytes), path).await?;
        }
        if ended {
            return Ok(at - part.start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Of a block of bytes exactly what is wanted is written, at its place.
        #[test]
        fn what_is_wanted_of_a_block_is_written(
            steps in prop::collection::vec((1u64..50, 1u64..50), 0..20), at in 0u64..500, length in 1usize..600
        ) {
            let mut end = 0;
            let wanted: Vec<ByteRange> = steps.into_iter().map(|(gap, length)| {
                let start = end + gap;
                end = start + length;
                ByteRange { start, end }
            }).collect();
            let bytes: Bytes = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let mut written = vec![None; 3_000];
            for (from, piece) in within(&wanted, at, &bytes) {
                for (n, byte) in piece.iter().enumerate() {
                    written[usize::try_from(from).unwrap() + n] = Some(*byte);
                }
            }
            for (n, byte) in written.into_iter().enumerate() {
                let place = n as u64;
                let is_wanted = wanted.iter().any(|range| range.start <= place && place < range.end);
                let index = usize::try_from(place.wrapping_sub(at)).ok().filter(|_| place >= at && is_wanted);
                prop_assert_eq!(byte, index.and_then(|index| bytes.get(index).copied()));
            }
        }

        /// Parts are the ranges again: in order, within the source, none too large, no byte twice or missing.
        #[test]
        fn parts_cover_the_ranges(starts in prop::collection::vec((0u64..64 << 20, 0u64..40 << 20), 0..6), size in 0u64..100 << 20) {
            let mut at = 0;
            let ranges: Vec<ByteRange> = starts.into_iter().map(|(gap, length)| {
                let start = at + gap;
                at = start + length;
                ByteRange { start, end: at }
            }).collect();
            let parts = parts(&ranges, size);
            prop_assert!(parts.iter().all(|p| !p.is_empty() && p.len() <= PART_BYTES && p.end <= size));
            let wanted: u64 = ranges.iter().map(|r| ByteRange { start: r.start, end: r.end.min(size) }.len()).sum();
            prop_assert_eq!(parts.iter().map(|p| p.len()).sum::<u64>(), wanted);
            prop_assert!(parts.windows(2).all(|w| w[0].end <= w[1].start));
            prop_assert!(parts.iter().all(|p| ranges.iter().any(|r| r.start <= p.start && p.end <= r.end)));
        }
    }
}
