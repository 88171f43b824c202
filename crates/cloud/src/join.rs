//! Objects made of stretches of others, without a local file: large stretches are copied by S3, small ones read.

use aws_sdk_s3::types::CompletedPart;
use bytes::{Bytes, BytesMut};
use futures::{TryStreamExt, stream::FuturesOrdered};
use pipeline::{
    Fault, Shortage,
    plan::ByteRange,
    ports::{Joined, Piece},
};
use sha2::{Digest, Sha256};

use crate::{
    connect::large_call,
    faults::{classify, gone, status},
    fetch::{self, Pinned},
    parts::{self, LEAST_PART, Part, Take},
    upload::Target,
};

/// Parts on their way at a time of which the bytes are in memory.
const PARTS_AT_ONCE: usize = 3;
/// Parts on their way at a time, those included that S3 copies by itself. A film may have tens of thousands of them, and a
/// function has 15 minutes.
const ALL_AT_ONCE: usize = 16;
/// Objects read at a time for one part.
const READS_AT_ONCE: usize = 3;

/// A part that was sent, and its bytes if they were ours.
type Sent = (CompletedPart, Option<Bytes>);

/// Stores the pieces one after another as one object.
pub async fn join(target: &Target<'_>, pieces: &[Piece]) -> Result<Joined, Fault> {
    let bytes = pieces.iter().map(Piece::len).sum();
    if bytes < LEAST_PART {
        let takes = pieces.iter().map(|piece| match piece {
            Piece::Bytes(bytes) => Take::Bytes(bytes.clone()),
            Piece::Stored { key, bytes, sha256, ranges } => Take::Whole { key, bytes: *bytes, sha256, ranges },
        });
        let whole = gather(target, &takes.collect::<Vec<_>>()).await?;
        let sha256 = Some(hex::encode(Sha256::digest(&whole)));
        target.put_bytes(whole).await?;
        return Ok(Joined { bytes, copied: 0, sha256 });
    }
    let too_large = || Fault::escalate(Shortage::Tool, format!("{} would have {bytes} bytes: more than S3 takes in parts", target.name()));
    let parts = parts::divided(pieces).ok_or_else(too_large)?;
    let send = async |upload: &str| {
        let (parts, joined) = send(target, &parts, upload).await?;
        Ok((parts, bytes, joined))
    };
    target.in_upload(send).await
}

/// Sends all parts of an upload, and hashes the whole if all of it passes by.
async fn send(target: &Target<'_>, parts: &[Part<'_>], upload: &str) -> Result<(Vec<CompletedPart>, Joined), Fault> {
    // Not a stream of futures made before: a film has thousands of parts, and each such future many kilobytes.
    let (mut sends, mut left, mut in_memory) = (FuturesOrdered::new(), (1..).zip(parts).peekable(), 0);
    let copied = parts.iter().map(|part| if let Part::Copied { range, .. } = part { range.len() } else { 0 }).sum();
    let (mut done, mut hash, mut bytes) = (Vec::with_capacity(parts.len()), Sha256::new(), copied);
    loop {
        while sends.len() < ALL_AT_ONCE
            && let Some((number, part)) = left.next_if(|(_, part)| in_memory < PARTS_AT_ONCE || matches!(part, Part::Copied { .. }))
        {
            in_memory += usize::from(matches!(part, Part::Gathered(_)));
            sends.push_back(send_part(target, part, upload, number));
        }
        let Some((part, own)) = sends.try_next().await? else { break };
        in_memory -= usize::from(own.is_some());
        done.push(part);
        if let Some(own) = own {
            bytes += own.len() as u64;
            if copied == 0 {
                hash.update(&own);
            }
        }
    }
    let sha256 = (copied == 0).then(|| hex::encode(hash.finalize()));
    Ok((done, Joined { bytes, copied, sha256 }))
}

async fn send_part(target: &Target<'_>, part: &Part<'_>, upload: &str, number: i32) -> Result<Sent, Fault> {
    match part {
        Part::Gathered(takes) => {
            let bytes = gather(target, takes).await?;
            Ok((target.send_part(bytes.clone().into(), upload, number).await?, Some(bytes)))
        }
        Part::Copied { key, range } => {
            let what = format!("copying bytes of {key} into {}", target.name());
            let request = target.client.upload_part_copy().bucket(target.bucket).key(target.key).upload_id(upload).part_number(number);
            // Our own keys have no character that would have to be escaped here.
            let request = request.copy_source(format!("{}/{key}", target.bucket));
            let request = request.copy_source_range(format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
            let sent = request.customize().config_override(large_call()).send().await;
            let sent = sent.map_err(|e| gone(status(&e), classify(&what, &e)))?;
            let copy = sent.copy_part_result.ok_or_else(|| Fault::retry(format!("{what}: S3 did not say what it copied")))?;
            let part = CompletedPart::builder().part_number(number).set_e_tag(copy.e_tag).set_checksum_crc32(copy.checksum_crc32);
            Ok((part.build(), None))
        }
    }
}

async fn gather(target: &Target<'_>, takes: &[Take<'_>]) -> Result<Bytes, Fault> {
    if let [Take::Bytes(bytes)] = takes {
        return Ok(bytes.clone());
    }
    let (mut reads, mut left) = (FuturesOrdered::new(), takes.iter());
    let mut all = BytesMut::with_capacity(takes.iter().map(Take::len).sum());
    loop {
        reads.extend(left.by_ref().take(READS_AT_ONCE - reads.len()).map(|take| read(target, take)));
        let Some(pieces) = reads.try_next().await? else { break };
        for piece in &pieces {
            all.extend_from_slice(piece);
        }
    }
    Ok(all.freeze())
}

async fn read(target: &Target<'_>, take: &Take<'_>) -> Result<Vec<Bytes>, Fault> {
    let from = |key: &str| Pinned::Own { bucket: target.bucket.to_owned(), key: key.to_owned() };
    match take {
        Take::Bytes(bytes) => Ok(vec![bytes.clone()]),
        Take::Front { key, range } => Ok(vec![fetch::collect(target.client, from(key), *range).await?]),
        Take::Whole { key, bytes, sha256, ranges } => {
            let whole = fetch::collect(target.client, from(key), ByteRange { start: 0, end: *bytes }).await?;
            let found = hex::encode(Sha256::digest(&whole));
            if found != *sha256 {
                return Err(Fault::Retry(format!("s3://{}/{key} has sha256 {found}; {sha256} was committed", target.bucket)));
            }
            let cut = |range: &ByteRange| {
                let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
                (start <= end && end <= whole.len()).then(|| whole.slice(start..end))
            };
            let outside = || Fault::escalate(Shortage::Tool, format!("{key} has {bytes} bytes, and more are to be taken of it"));
            ranges.iter().map(cut).collect::<Option<_>>().ok_or_else(outside)
        }
    }
}
