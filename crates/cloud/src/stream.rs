//! Stores of objects while they are made: in parts, the first of which waits until its beginning is known.

use aws_sdk_s3::types::CompletedPart;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, channel::mpsc, stream::FuturesOrdered};
use pipeline::{Fault, Shortage, ports::Block};

use crate::upload::{PARALLEL, Target, part_bytes};

/// Parts of what is said to come; S3 takes 10,000, so that a quarter more may come.
const PARTS: u64 = 8_000;
const MAX_PARTS: i32 = 10_000;

/// Stores what comes; `None`: it ended without its last block, and nothing is stored. `about`: bytes that it may be.
pub async fn store(target: &Target<'_>, blocks: mpsc::Receiver<Block>, about: u64) -> Result<Option<u64>, Fault> {
    let part_bytes = part_bytes(about, PARTS).ok_or_else(|| too_large(target))?;
    let mut parts = Parts { blocks, part_bytes: usize::try_from(part_bytes).unwrap_or(usize::MAX), left: BytesMut::new(), front: None };
    let Some(first) = parts.next().await else { return Ok(None) };
    if let (Some(front), true) = (&parts.front, parts.left.is_empty()) {
        let bytes = first.len() as u64;
        return target.put_bytes(with_front(first, front, target)?).await.map(|()| Some(bytes));
    }
    let mut broke_off = false;
    match target.in_upload(async |upload| send(target, parts, first, upload, &mut broke_off).await).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(_) if broke_off => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn too_large(target: &Target<'_>) -> Fault {
    Fault::escalate(Shortage::Tool, format!("{} would be more than S3 takes in {MAX_PARTS} parts", target.name()))
}

/// What comes, cut into parts.
struct Parts {
    blocks: mpsc::Receiver<Block>,
    part_bytes: usize,
    /// Bytes that begin the next part.
    left: BytesMut,
    /// The last block, if it came.
    front: Option<Bytes>,
}

impl Parts {
    /// The next part, of the same length as all but the last; `None`: there is none, or the last block is missing.
    async fn next(&mut self) -> Option<Bytes> {
        while self.left.len() < self.part_bytes && self.front.is_none() {
            match self.blocks.next().await? {
                Block::Next(bytes) => self.left.extend_from_slice(&bytes),
                Block::Front(bytes) => self.front = Some(bytes),
            }
        }
        let length = self.part_bytes.min(self.left.len());
        (length > 0).then(|| self.left.split_to(length).freeze())
    }
}

/// Sends all parts but the first as they come, and that behind them.
async fn send(
    target: &Target<'_>,
    mut parts: Parts,
    first: Bytes,
    upload: &str,
    broke_off: &mut bool,
) -> Result<(Vec<CompletedPart>, u64, u64), Fault> {
    let (mut sends, mut done, mut bytes) = (FuturesOrdered::new(), Vec::new(), first.len() as u64);
    let mut numbers = 2..=MAX_PARTS;
    while let Some(part) = parts.next().await {
        bytes += part.len() as u64;
        sends.push_back(target.send_part(part.into(), upload, numbers.next().ok_or_else(|| too_large(target))?));
        if sends.len() >= PARALLEL {
            done.extend(sends.try_next().await?);
        }
    }
    let Some(front) = &parts.front else {
        *broke_off = true;
        return Err(Fault::retry(format!("what was to be stored as {} broke off", target.name())));
    };
    let first = target.send_part(with_front(first, front, target)?.into(), upload, 1).await?;
    done.extend(sends.try_collect::<Vec<_>>().await?);
    done.insert(0, first);
    Ok((done, bytes, bytes))
}

/// The first part with its beginning as it is in the end.
fn with_front(first: Bytes, front: &Bytes, target: &Target<'_>) -> Result<Bytes, Fault> {
    let mut whole = BytesMut::from(first);
    let beginning = whole.get_mut(..front.len());
    let longer = || Fault::escalate(Shortage::Tool, format!("the beginning of {} is longer than its first part", target.name()));
    beginning.ok_or_else(longer)?.copy_from_slice(front);
    Ok(whole.freeze())
}
