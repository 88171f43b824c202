//! Bodies in and out of blobs, in batches of a fixed size: memory does not grow with the object, and no blocking
//! thread waits for a slow client.

use std::{
    collections::VecDeque,
    fs::File,
    io::{Read, Seek, SeekFrom},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use s3s::{
    StdError,
    dto::StreamingBlob,
    stream::{ByteStream, RemainingLength},
};
use tokio::task::{JoinHandle, spawn_blocking};

use super::{
    Refusal, S3Error,
    blobs::{self, Blobs, Extent, Fresh},
    checksum::{Algorithm, Digests, Found},
};

/// Bytes that are gathered before they are written, and read at once.
const BATCH: usize = 512 * 1024;

/// A body that is on disk, durable, and not yet referred to.
pub struct Received {
    /// Nothing for an empty body.
    pub blob: Option<Fresh>,
    /// Bytes.
    pub size: u64,
    pub found: Found,
}

impl Received {
    pub fn extents(&self) -> Vec<Extent> {
        self.blob.iter().map(Fresh::extent).collect()
    }
}

/// Where a body goes while it comes in.
struct Intake {
    blobs: Arc<Blobs>,
    blob: Option<Fresh>,
    digests: Digests,
}

impl Intake {
    fn take(&mut self, batch: &[Bytes]) -> Result<(), S3Error> {
        let blob = match &mut self.blob {
            Some(blob) => blob,
            none => none.insert(self.blobs.create()?),
        };
        for bytes in batch {
            self.digests.update(bytes);
            blob.write(bytes)?;
        }
        Ok(())
    }
}

/// Writes a body to a new blob, at most `limit` bytes, with the digests that are wanted.
///
/// While one batch is written and hashed the next is gathered.
pub async fn receive(blobs: &Arc<Blobs>, body: Option<StreamingBlob>, algorithms: &[Algorithm], limit: u64) -> Result<Received, S3Error> {
    let intake = Intake { blobs: blobs.clone(), blob: None, digests: Digests::new(algorithms) };
    let mut writing: JoinHandle<Result<Intake, S3Error>> = spawn_blocking(move || Ok(intake));
    let mut size = 0_u64;
    let mut body = body;
    let mut ended = body.is_none();
    while !ended {
        let mut batch = Vec::new();
        let mut gathered = 0;
        while let (Some(stream), true) = (&mut body, gathered < BATCH) {
            match stream.next().await {
                None => body = None,
                Some(Ok(bytes)) => {
                    gathered += bytes.len();
                    batch.push(bytes);
                }
                Some(Err(error)) => return Err(broken_body(&error)),
            }
        }
        ended = body.is_none();
        size += gathered as u64;
        if size > limit {
            return Err(Refusal::EntityTooLarge { limit }.into());
        }
        if gathered > 0 {
            let mut intake = joined(writing.await)??;
            writing = spawn_blocking(move || intake.take(&batch).map(|()| intake));
        }
    }
    let intake = joined(writing.await)??;
    let finish = move || {
        if let Some(blob) = &intake.blob {
            blob.sync()?;
        }
        Ok(Received { blob: intake.blob, size, found: intake.digests.finish() })
    };
    joined(spawn_blocking(finish).await)?
}

/// What a body that cannot be read to its end says about the client. The types behind it are private to `s3s`; their
/// names are all there is to tell a wrong signature from a lost connection.
fn broken_body(error: &StdError) -> S3Error {
    let text = error.to_string();
    if text.contains("Sha256Mismatch") {
        Refusal::PayloadMismatch.into()
    } else if text.contains("SignatureMismatch") {
        Refusal::ChunkSignature.into()
    } else {
        Refusal::IncompleteBody(text).into()
    }
}

pub fn joined<T>(outcome: Result<T, tokio::task::JoinError>) -> Result<T, S3Error> {
    outcome.map_err(|_| S3Error::Stopped)
}

/// Reads extents one after another. Blocking.
struct Reader {
    blobs: Arc<Blobs>,
    extents: VecDeque<Extent>,
    /// The file of the first extent, at the place where it goes on.
    open: Option<File>,
    _pin: blobs::Pin,
}

impl Reader {
    /// The next bytes, at most a batch, none at the end.
    fn next(&mut self) -> Result<Bytes, S3Error> {
        let Some(extent) = self.extents.front_mut() else { return Ok(Bytes::new()) };
        let file = match &mut self.open {
            Some(file) => file,
            none => {
                let mut file = self.blobs.read(extent.blob)?;
                file.seek(SeekFrom::Start(extent.offset)).map_err(|source| self.blobs.trouble("seek in", extent.blob, source))?;
                none.insert(file)
            }
        };
        let wanted = extent.length.min(BATCH as u64);
        let mut bytes = BytesMut::zeroed(usize::try_from(wanted).unwrap_or(BATCH));
        file.read_exact(&mut bytes).map_err(|source| self.blobs.trouble("read", extent.blob, source))?;
        extent.length -= wanted;
        if extent.length == 0 {
            self.extents.pop_front();
            self.open = None;
        }
        Ok(bytes.freeze())
    }
}

/// The bytes of extents as a stream that reads one batch ahead.
pub struct Outgoing {
    left: u64,
    /// The first batch, which is there before the answer begins: a small object leaves in one packet with its headers,
    /// and a file that cannot be read is an error, not a broken body.
    first: Option<Bytes>,
    reading: Option<JoinHandle<Result<(Reader, Bytes), S3Error>>>,
}

impl Outgoing {
    /// The pin holds the blobs until the stream ends or is dropped.
    pub async fn open(blobs: &Arc<Blobs>, extents: Vec<Extent>, pin: blobs::Pin) -> Result<Self, S3Error> {
        let left = extents.iter().map(|extent| extent.length).sum();
        let reader = Reader { blobs: blobs.clone(), extents: extents.into(), open: None, _pin: pin };
        let mut stream = Self { left, first: None, reading: None };
        if left > 0 {
            stream.read_on(reader);
            if let Some(reading) = stream.reading.take() {
                let (reader, bytes) = joined(reading.await)??;
                stream.left -= bytes.len() as u64;
                stream.first = Some(bytes);
                if stream.left > 0 {
                    stream.read_on(reader);
                }
            }
        }
        Ok(stream)
    }

    fn read_on(&mut self, mut reader: Reader) {
        self.reading = Some(spawn_blocking(move || reader.next().map(|bytes| (reader, bytes))));
    }
}

impl Stream for Outgoing {
    type Item = Result<Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let outcome = joined(ready!(Pin::new(reading).poll(cx))).flatten();
        self.reading = None;
        match outcome {
            Ok((reader, bytes)) => {
                self.left = self.left.saturating_sub(bytes.len() as u64);
                if self.left > 0 {
                    self.read_on(reader);
                }
                Poll::Ready(Some(Ok(bytes)))
            }
            Err(error) => {
                tracing::error!(%error, "an object's bytes could not be read");
                Poll::Ready(Some(Err(Box::new(error))))
            }
        }
    }
}

impl ByteStream for Outgoing {
    fn remaining_length(&self) -> RemainingLength {
        let left = self.left + self.first.as_ref().map_or(0, |bytes| bytes.len() as u64);
        usize::try_from(left).map_or_else(|_| RemainingLength::unknown(), RemainingLength::new_exact)
    }
}

/// Reads extents for their digests.
pub async fn digest(blobs: &Arc<Blobs>, extents: Vec<Extent>, pin: blobs::Pin, algorithms: &[Algorithm]) -> Result<Found, S3Error> {
    let mut reader = Reader { blobs: blobs.clone(), extents: extents.into(), open: None, _pin: pin };
    let mut digests = Digests::new(algorithms);
    let read = move || {
        loop {
            let bytes = reader.next()?;
            if bytes.is_empty() {
                return Ok(digests.finish());
            }
            digests.update(&bytes);
        }
    };
    joined(spawn_blocking(read).await)?
}
