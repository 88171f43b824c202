//! Objects on the wire: put, get, head, delete, copy, tags.
#![allow(clippy::wildcard_imports, reason = "dozens of shapes with S3's own names")]

use http::HeaderMap;
use s3s::{S3Request, TrailingHeaders, dto::*};

use super::{
    MAX_BODY, Refusal, S3, S3Error,
    access::Kept,
    blobs::{Extent, Pin},
    checksum::{self, Algorithm, Claims, Sum},
    lifecycle, now_ms,
    range::{DeleteConditions, ReadConditions, Span, WriteConditions},
    store::{self, Attributes, NewObject, Object, Place},
    stream::{self, Outgoing, Received},
    wire::{check_version, length, millis, source_place, timestamp},
    wire_tags::header_tags,
};

/// Bytes of user metadata, keys and values: AWS's limit.
const MAX_METADATA: usize = 2048;
/// Keys in one `DeleteObjects`.
const MAX_DELETES: usize = 1000;

/// A body on its way in, with what was said of it.
pub struct Sent {
    pub body: Option<StreamingBlob>,
    pub claims: Claims,
    pub content_length: Option<i64>,
    pub content_md5: Option<String>,
    pub headers: HeaderMap,
    pub trailers: Option<TrailingHeaders>,
    /// Most bytes that it may have.
    pub limit: u64,
}

/// Stores a body and checks it against everything that was said of it. `algorithm` is the one whose sum is kept; by
/// default the client's.
pub async fn take_body(s3: &S3, sent: Sent, algorithm: Option<Algorithm>) -> Result<(Received, Sum), S3Error> {
    let Sent { body, mut claims, content_length, content_md5, headers, trailers, limit } = sent;
    if content_length.is_none() && headers.contains_key("transfer-encoding") && !headers.contains_key("x-amz-decoded-content-length") {
        let why = "a body whose length nobody tells (Transfer-Encoding: chunked): send Content-Length";
        return Err(Refusal::NotImplemented(why.into()).into());
    }
    let promised = checksum::promised(&headers);
    let mut algorithms = claims.algorithms();
    algorithms.extend(promised);
    let kept = algorithm.or(algorithms.first().copied()).unwrap_or(Algorithm::Crc64Nvme);
    algorithms.push(kept);
    let received = stream::receive(&s3.blobs, body, &algorithms, limit).await?;
    if content_length.is_some_and(|claimed| claimed != length(received.size)) {
        return Err(Refusal::IncompleteBody(format!("{} bytes came", received.size)).into());
    }
    if let Some(trailers) = trailers.and_then(|trailers| trailers.take()) {
        claims.add_trailers(&trailers);
    }
    if let Some(promised) = promised
        && claims.of(promised).is_none()
    {
        return Err(Refusal::InvalidRequest("the checksum that x-amz-trailer promises did not come".into()).into());
    }
    claims.verify(&received.found)?;
    received.found.verify_md5(content_md5.as_deref())?;
    let sum = received.found.sum(kept)?;
    Ok((received, sum))
}

/// `PutObject`
pub async fn put(s3: &S3, req: S3Request<PutObjectInput>) -> Result<PutObjectOutput, S3Error> {
    let S3Request { input, headers, trailing_headers, .. } = req;
    check_acl(input.acl.as_ref(), [&input.grant_full_control, &input.grant_read, &input.grant_read_acp, &input.grant_write_acp])?;
    let place = Place { bucket: input.bucket, key: input.key };
    let conditions = WriteConditions { if_match: input.if_match, if_none_match: input.if_none_match };
    let attributes = Attributes {
        content_type: input.content_type,
        content_disposition: input.content_disposition,
        content_encoding: stored_encoding(input.content_encoding),
        content_language: input.content_language,
        cache_control: input.cache_control,
        expires_ms: input.expires.map(millis),
        redirect: input.website_redirect_location,
        metadata: checked_metadata(input.metadata)?,
        tags: header_tags(input.tagging.as_deref())?,
    };
    let algorithm = input.checksum_algorithm.map(|name| Algorithm::from_name(name.as_str())).transpose()?;
    let sent = Sent {
        body: input.body,
        claims: Claims::new([
            input.checksum_crc32,
            input.checksum_crc32c,
            input.checksum_crc64nvme,
            input.checksum_sha1,
            input.checksum_sha256,
        ]),
        content_length: input.content_length,
        content_md5: input.content_md5,
        headers,
        trailers: trailing_headers,
        limit: MAX_BODY,
    };
    let (received, sum) = take_body(s3, sent, algorithm).await?;
    let (object, expiration) = s3.put(place, received, sum, attributes, conditions, "Put").await?;
    let sum = object.sum.to_dto();
    Ok(PutObjectOutput {
        expiration,
        e_tag: Some(ETag::Strong(object.etag)),
        checksum_crc32: sum.checksum_crc32,
        checksum_crc32c: sum.checksum_crc32c,
        checksum_crc64nvme: sum.checksum_crc64nvme,
        checksum_sha1: sum.checksum_sha1,
        checksum_sha256: sum.checksum_sha256,
        checksum_type: sum.checksum_type,
        ..Default::default()
    })
}

/// `aws-chunked` is how the body travelled, not what the object is.
pub fn stored_encoding(encoding: Option<String>) -> Option<String> {
    let codings: Vec<String> =
        encoding?.split(',').map(|coding| coding.trim().to_owned()).filter(|coding| coding != "aws-chunked").collect();
    Some(codings.join(",")).filter(|codings| !codings.is_empty())
}

pub fn checked_metadata(metadata: Option<Metadata>) -> Result<std::collections::BTreeMap<String, String>, S3Error> {
    let metadata = metadata.unwrap_or_default();
    if metadata.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > MAX_METADATA {
        return Err(Refusal::MetadataTooLarge.into());
    }
    Ok(metadata.into_iter().collect())
}

/// What a read is about to answer with.
struct Looked {
    object: Object,
    /// The stretch that was asked for; nothing for the whole object.
    span: Option<Span>,
    extents: Vec<Extent>,
    pin: Pin,
    /// `x-amz-expiration`
    expiration: Option<String>,
}

/// What both reads ask for.
struct Look {
    place: Place,
    version: Option<String>,
    conditions: ReadConditions,
    range: Option<Range>,
    part: Option<i32>,
}

async fn look(s3: &S3, look: Look) -> Result<Looked, S3Error> {
    let Look { place, version, conditions, range, part } = look;
    check_version(version.as_deref())?;
    if range.is_some() && part.is_some() {
        return Err(Refusal::InvalidRequest("ask for a range or for a part, not for both".into()).into());
    }
    let blobs = s3.blobs.clone();
    s3.db
        .read(move |conn| {
            let object = store::get(conn, &place)?;
            conditions.check(&object.etag, object.modified_ms)?;
            let span = match (range, part) {
                (Some(range), _) => Some(Span::of(range, object.size)?),
                (None, Some(part)) => Some(Span::of_part(part, &object.parts, object.size)?),
                (None, None) => None,
            };
            let extents = store::extents(conn, object.owner, span.unwrap_or(Span::whole(object.size)))?;
            let pin = blobs.pin(&extents);
            let expiration = lifecycle::expiration(conn, &place, &object)?;
            Ok(Looked { object, span, extents, pin, expiration })
        })
        .await
}

/// The checksum that an answer may carry: that of the whole object, if the whole was asked for.
fn shown_sum(object: &Object, span: Option<Span>, mode: Option<&ChecksumMode>) -> Checksum {
    match (span, mode) {
        (None, Some(mode)) if mode.as_str().eq_ignore_ascii_case(ChecksumMode::ENABLED) => object.sum.to_dto(),
        _ => Checksum::default(),
    }
}

fn parts_count(object: &Object, part: Option<i32>) -> Option<i32> {
    part.and_then(|_| i32::try_from(object.parts.len()).ok()).filter(|count| *count > 0)
}

/// `GetObject`
pub async fn get(s3: &S3, req: S3Request<GetObjectInput>) -> Result<GetObjectOutput, S3Error> {
    let input = req.input;
    let asked = Look {
        place: Place { bucket: input.bucket, key: input.key },
        version: input.version_id,
        conditions: ReadConditions {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since.map(millis),
            if_unmodified_since: input.if_unmodified_since.map(millis),
        },
        range: input.range,
        part: input.part_number,
    };
    let Looked { object, span, extents, pin, expiration } = look(s3, asked).await?;
    let sum = shown_sum(&object, span, input.checksum_mode.as_ref());
    let body = Outgoing::open(&s3.blobs, extents, pin).await?;
    Ok(GetObjectOutput {
        accept_ranges: Some("bytes".into()),
        expiration,
        body: Some(StreamingBlob::new(body)),
        content_length: Some(length(span.map_or(object.size, Span::len))),
        content_range: span.and_then(|span| span.content_range(object.size)),
        parts_count: parts_count(&object, input.part_number),
        last_modified: Some(timestamp(object.modified_ms)),
        tag_count: i32::try_from(object.attributes.tags.len()).ok().filter(|count| *count > 0),
        checksum_crc32: sum.checksum_crc32,
        checksum_crc32c: sum.checksum_crc32c,
        checksum_crc64nvme: sum.checksum_crc64nvme,
        checksum_sha1: sum.checksum_sha1,
        checksum_sha256: sum.checksum_sha256,
        checksum_type: sum.checksum_type,
        cache_control: object.attributes.cache_control,
        content_disposition: object.attributes.content_disposition,
        content_encoding: object.attributes.content_encoding,
        content_language: object.attributes.content_language,
        content_type: Some(object.attributes.content_type.unwrap_or_else(|| "binary/octet-stream".into())),
        e_tag: Some(ETag::Strong(object.etag)),
        expires: object.attributes.expires_ms.map(timestamp),
        metadata: Some(object.attributes.metadata.into_iter().collect()),
        website_redirect_location: object.attributes.redirect,
        ..Default::default()
    })
}

/// `HeadObject`
pub async fn head(s3: &S3, req: S3Request<HeadObjectInput>) -> Result<HeadObjectOutput, S3Error> {
    let input = req.input;
    let asked = Look {
        place: Place { bucket: input.bucket, key: input.key },
        version: input.version_id,
        conditions: ReadConditions {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since.map(millis),
            if_unmodified_since: input.if_unmodified_since.map(millis),
        },
        range: input.range,
        part: input.part_number,
    };
    let Looked { object, span, expiration, .. } = look(s3, asked).await?;
    let sum = shown_sum(&object, span, input.checksum_mode.as_ref());
    Ok(HeadObjectOutput {
        accept_ranges: Some("bytes".into()),
        expiration,
        content_length: Some(length(span.map_or(object.size, Span::len))),
        content_range: span.and_then(|span| span.content_range(object.size)),
        parts_count: parts_count(&object, input.part_number),
        last_modified: Some(timestamp(object.modified_ms)),
        checksum_crc32: sum.checksum_crc32,
        checksum_crc32c: sum.checksum_crc32c,
        checksum_crc64nvme: sum.checksum_crc64nvme,
        checksum_sha1: sum.checksum_sha1,
        checksum_sha256: sum.checksum_sha256,
        checksum_type: sum.checksum_type,
        cache_control: object.attributes.cache_control,
        content_disposition: object.attributes.content_disposition,
        content_encoding: object.attributes.content_encoding,
        content_language: object.attributes.content_language,
        content_type: Some(object.attributes.content_type.unwrap_or_else(|| "binary/octet-stream".into())),
        e_tag: Some(ETag::Strong(object.etag)),
        expires: object.attributes.expires_ms.map(timestamp),
        metadata: Some(object.attributes.metadata.into_iter().collect()),
        website_redirect_location: object.attributes.redirect,
        ..Default::default()
    })
}

/// `DeleteObject`
pub async fn delete(s3: &S3, req: S3Request<DeleteObjectInput>) -> Result<DeleteObjectOutput, S3Error> {
    let input = req.input;
    check_version(input.version_id.as_deref())?;
    let place = Place { bucket: input.bucket, key: input.key };
    let conditions = DeleteConditions {
        if_match: input.if_match,
        if_modified_at: input.if_match_last_modified_time.map(millis),
        if_size: input.if_match_size,
    };
    s3.db.write(move |change| store::delete(change, &place, &conditions, now_ms())).await?;
    Ok(DeleteObjectOutput::default())
}

/// `DeleteObjects`: all in one change; a key that is refused is told, the others go.
pub async fn delete_many(s3: &S3, req: S3Request<DeleteObjectsInput>) -> Result<DeleteObjectsOutput, S3Error> {
    let kept = req.extensions.get::<Kept>().cloned().unwrap_or_default();
    let DeleteObjectsInput { bucket, delete, .. } = req.input;
    if delete.objects.len() > MAX_DELETES {
        return Err(Refusal::InvalidRequest("delete at most 1,000 keys at once".into()).into());
    }
    let quiet = delete.quiet.unwrap_or_default();
    let outcomes = s3
        .db
        .write(move |change| {
            store::check_bucket(change.conn, &bucket)?;
            let mut outcomes = Vec::with_capacity(delete.objects.len());
            for named in delete.objects {
                let place = Place { bucket: bucket.clone(), key: named.key };
                let if_match = named.e_tag.map(ETagCondition::ETag);
                let conditions = DeleteConditions { if_match, if_modified_at: named.last_modified_time.map(millis), if_size: named.size };
                let outcome =
                    check_version(named.version_id.as_deref()).and_then(|()| store::delete(change, &place, &conditions, now_ms()));
                match outcome {
                    Ok(()) => outcomes.push((place.key, None)),
                    Err(S3Error::Refused(refusal)) => outcomes.push((place.key, Some(refusal))),
                    Err(error) => return Err(error),
                }
            }
            Ok(outcomes)
        })
        .await?;
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    let kept = kept.0.into_iter().map(|(key, denied)| (key, Some(Refusal::AccessDenied(denied))));
    for (key, refusal) in outcomes.into_iter().chain(kept) {
        match refusal {
            None if quiet => {}
            None => deleted.push(DeletedObject { key: Some(key), ..Default::default() }),
            Some(refusal) => {
                let error = s3s::S3Error::from(refusal);
                errors.push(Error {
                    key: Some(key),
                    code: Some(error.code().as_str().to_owned()),
                    message: error.message().map(ToOwned::to_owned),
                    version_id: None,
                });
            }
        }
    }
    Ok(DeleteObjectsOutput { deleted: Some(deleted), errors: Some(errors), ..Default::default() })
}

/// ACLs are off, as in every bucket that is made today: whatever names one is refused, but for what says nothing new. Source:
/// S3 user guide, "Controlling ownership of objects and disabling ACLs for your bucket".
pub fn check_acl(acl: Option<&ObjectCannedACL>, grants: [&Option<String>; 4]) -> Result<(), S3Error> {
    match acl.map(ObjectCannedACL::as_str) {
        None | Some(ObjectCannedACL::BUCKET_OWNER_FULL_CONTROL) if grants.iter().all(|grant| grant.is_none()) => Ok(()),
        _ => Err(Refusal::AclNotSupported.into()),
    }
}

/// Bytes that one request copies. Source: S3 API reference, `CopyObject`.
pub fn check_copied(bytes: u64) -> Result<(), S3Error> {
    if bytes <= MAX_BODY {
        return Ok(());
    }
    let why = format!("The specified copy source is larger than the maximum allowable size for a copy source: {MAX_BODY}");
    Err(Refusal::InvalidRequest(why).into())
}

/// `CopyObject`: extents are written once more, bytes are not.
pub async fn copy(s3: &S3, req: S3Request<CopyObjectInput>) -> Result<CopyObjectOutput, S3Error> {
    let S3Request { input, headers, .. } = req;
    check_acl(input.acl.as_ref(), [&input.grant_full_control, &input.grant_read, &input.grant_read_acp, &input.grant_write_acp])?;
    let target = WriteConditions { if_match: condition(&headers, "if-match")?, if_none_match: condition(&headers, "if-none-match")? };
    let from = source_place(&input.copy_source)?;
    let place = Place { bucket: input.bucket, key: input.key };
    let conditions = ReadConditions {
        if_match: input.copy_source_if_match,
        if_none_match: input.copy_source_if_none_match,
        if_modified_since: input.copy_source_if_modified_since.map(millis),
        if_unmodified_since: input.copy_source_if_unmodified_since.map(millis),
    };
    let replace_attributes = input.metadata_directive.is_some_and(|it| it.as_str() == MetadataDirective::REPLACE);
    let replace_tags = input.tagging_directive.is_some_and(|it| it.as_str() == TaggingDirective::REPLACE);
    if from == place && !replace_attributes && !replace_tags {
        let why = "a copy of an object onto itself must change its metadata or tags";
        return Err(Refusal::InvalidRequest(why.into()).into());
    }
    let mut fresh = Attributes {
        content_type: input.content_type,
        content_disposition: input.content_disposition,
        content_encoding: stored_encoding(input.content_encoding),
        content_language: input.content_language,
        cache_control: input.cache_control,
        expires_ms: input.expires.map(millis),
        redirect: input.website_redirect_location,
        metadata: checked_metadata(input.metadata)?,
        tags: header_tags(input.tagging.as_deref())?,
    };
    let change = move |change: &mut super::db::Change<'_>| {
        let source = store::get(change.conn, &from)?;
        conditions.check_source(&source.etag, source.modified_ms)?;
        check_copied(source.size)?;
        let extents = store::extents(change.conn, source.owner, Span::whole(source.size))?;
        let tags = if replace_tags { std::mem::take(&mut fresh.tags) } else { source.attributes.tags.clone() };
        let attributes = Attributes { tags, ..if replace_attributes { fresh } else { source.attributes } };
        let Object { size, etag, sum, parts, .. } = source;
        let new = NewObject { size, etag, sum, parts, upload: None, attributes };
        let object = store::put(change, &place, new, &target, ("Copy", now_ms()))?;
        store::own(change, object.owner, &extents)?;
        let expiration = lifecycle::expiration(change.conn, &place, &object)?;
        Ok((object, expiration))
    };
    let (object, expiration) = s3.db.write(change).await?;
    let sum = object.sum.to_dto();
    let result = CopyObjectResult {
        e_tag: Some(ETag::Strong(object.etag)),
        last_modified: Some(timestamp(object.modified_ms)),
        checksum_crc32: sum.checksum_crc32,
        checksum_crc32c: sum.checksum_crc32c,
        checksum_crc64nvme: sum.checksum_crc64nvme,
        checksum_sha1: sum.checksum_sha1,
        checksum_sha256: sum.checksum_sha256,
        checksum_type: sum.checksum_type,
    };
    Ok(CopyObjectOutput { copy_object_result: Some(result), expiration, ..Default::default() })
}

/// A condition on the target of a copy, which `s3s` does not know of.
fn condition(headers: &HeaderMap, name: &str) -> Result<Option<ETagCondition>, S3Error> {
    let parse = |value: &http::HeaderValue| {
        ETagCondition::parse_http_header(value.as_bytes()).map_err(|_| Refusal::InvalidArgument(format!("{name} is no ETag")).into())
    };
    headers.get(name).map(parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_copies_five_gibibytes_at_most() {
        assert!(check_copied(5 << 30).is_ok());
        assert!(matches!(check_copied((5 << 30) + 1), Err(S3Error::Refused(Refusal::InvalidRequest(_)))));
    }
}
