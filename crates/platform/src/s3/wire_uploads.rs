//! Multipart uploads on the wire.
#![allow(clippy::wildcard_imports, reason = "dozens of shapes with S3's own names")]

use s3s::{S3Request, dto::*};
use uuid::Uuid;

use super::{
    MAX_BODY, Refusal, S3, S3Error,
    checksum::{Claims, SumRule},
    lifecycle,
    listing::behind,
    now_ms,
    range::{ReadConditions, Span, WriteConditions},
    settings,
    store::{self, Attributes, Place},
    stream,
    uploads::{self, Completion, MAX_PART_NUMBER, MIN_PART_SIZE, Part as StoredPart, Upload, Wanted},
    wire::{length, millis, page_size, source_place, timestamp},
    wire_lists::{owner, url_encoder},
    wire_objects::{Sent, check_acl, check_copied, checked_metadata, stored_encoding, take_body},
    wire_tags::header_tags,
};

/// How often a copy begins again because its source was replaced under it.
const COPY_TRIES: u32 = 3;

/// `CreateMultipartUpload`
pub async fn create(s3: &S3, req: S3Request<CreateMultipartUploadInput>) -> Result<CreateMultipartUploadOutput, S3Error> {
    let input = req.input;
    check_acl(input.acl.as_ref(), [&input.grant_full_control, &input.grant_read, &input.grant_read_acp, &input.grant_write_acp])?;
    let sum_rule = SumRule::new(
        input.checksum_algorithm.as_ref().map(ChecksumAlgorithm::as_str),
        input.checksum_type.as_ref().map(ChecksumType::as_str),
    )?;
    let created_ms = now_ms();
    let upload = Upload {
        // Uploads to one key are listed by their beginning (S3 API reference, "ListMultipartUploads"), and pages go on behind an id.
        id: format!("{created_ms:012x}{}", Uuid::new_v4().simple()),
        place: Place { bucket: input.bucket.clone(), key: input.key.clone() },
        created_ms,
        sum_rule,
        attributes: Attributes {
            content_type: input.content_type,
            content_disposition: input.content_disposition,
            content_encoding: stored_encoding(input.content_encoding),
            content_language: input.content_language,
            cache_control: input.cache_control,
            expires_ms: input.expires.map(millis),
            redirect: input.website_redirect_location,
            metadata: checked_metadata(input.metadata)?,
            tags: header_tags(input.tagging.as_deref())?,
        },
    };
    let upload_id = upload.id.clone();
    let create = move |change: &mut super::db::Change<'_>| {
        uploads::create(change, &upload)?;
        upload_end(change.conn, &upload)
    };
    let (abort_date, abort_rule_id) = s3.db.write(create).await?.unzip();
    Ok(CreateMultipartUploadOutput {
        abort_date,
        abort_rule_id,
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(upload_id),
        checksum_algorithm: Some(ChecksumAlgorithm::from_static(sum_rule.algorithm.name())),
        checksum_type: Some(sum_type(sum_rule)),
        ..Default::default()
    })
}

/// When a rule of the bucket will abort the upload, and which.
fn upload_end(conn: &rusqlite::Connection, upload: &Upload) -> Result<Option<(Timestamp, String)>, S3Error> {
    let rules = settings::lifecycle(conn, &upload.place.bucket)?;
    let first = lifecycle::first_upload_end(&rules, &upload.place.key, upload.created_ms);
    Ok(first.map(|(rule, end)| (timestamp(end), rule.id.clone())))
}

fn sum_type(rule: SumRule) -> ChecksumType {
    ChecksumType::from_static(if rule.whole { ChecksumType::FULL_OBJECT } else { ChecksumType::COMPOSITE })
}

fn check_number(number: i32) -> Result<(), S3Error> {
    if (1..=MAX_PART_NUMBER).contains(&number) { Ok(()) } else { Err(Refusal::InvalidPartNumber.into()) }
}

/// `UploadPart`
pub async fn upload_part(s3: &S3, req: S3Request<UploadPartInput>) -> Result<UploadPartOutput, S3Error> {
    let S3Request { input, headers, trailing_headers, .. } = req;
    let (id, number) = (input.upload_id, input.part_number);
    check_number(number)?;
    let place = Place { bucket: input.bucket, key: input.key };
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
    let (asked_id, asked) = (id.clone(), place.clone());
    let rule = s3.db.read(move |conn| Ok(uploads::get(conn, &asked_id, &asked)?.sum_rule)).await?;
    let (received, sum) = take_body(s3, sent, Some(rule.algorithm)).await?;
    let etag = hex::encode(received.found.md5);
    let fields = sum.to_dto();
    let part = StoredPart { number, owner: 0, size: received.size, etag: etag.clone(), modified_ms: now_ms(), sum };
    s3.db
        .write(move |change| {
            uploads::put_part(change, &id, &place, &part, &received.extents())?;
            change.keep(received.blob);
            Ok(())
        })
        .await?;
    Ok(UploadPartOutput {
        e_tag: Some(ETag::Strong(etag)),
        checksum_crc32: fields.checksum_crc32,
        checksum_crc32c: fields.checksum_crc32c,
        checksum_crc64nvme: fields.checksum_crc64nvme,
        checksum_sha1: fields.checksum_sha1,
        checksum_sha256: fields.checksum_sha256,
        ..Default::default()
    })
}

/// `UploadPartCopy`: the bytes are read for their MD5 where it is not known, never written.
pub async fn upload_part_copy(s3: &S3, req: S3Request<UploadPartCopyInput>) -> Result<UploadPartCopyOutput, S3Error> {
    let input = req.input;
    check_number(input.part_number)?;
    let copy = PartCopy {
        id: input.upload_id,
        place: Place { bucket: input.bucket, key: input.key },
        number: input.part_number,
        from: source_place(&input.copy_source)?,
        range: input.copy_source_range.as_deref().map(parse_range).transpose()?,
        conditions: ReadConditions {
            if_match: input.copy_source_if_match,
            if_none_match: input.copy_source_if_none_match,
            if_modified_since: input.copy_source_if_modified_since.map(millis),
            if_unmodified_since: input.copy_source_if_unmodified_since.map(millis),
        },
    };
    for _ in 0..COPY_TRIES {
        match copy_part(s3, &copy).await {
            Err(S3Error::Refused(Refusal::SourceChanged)) => {}
            outcome => return outcome,
        }
    }
    Err(Refusal::SourceChanged.into())
}

fn parse_range(text: &str) -> Result<Range, S3Error> {
    Range::parse(text).map_err(|_| Refusal::InvalidArgument("x-amz-copy-source-range is bytes=first-last".into()).into())
}

#[derive(Clone)]
struct PartCopy {
    id: String,
    place: Place,
    number: i32,
    from: Place,
    range: Option<Range>,
    conditions: ReadConditions,
}

async fn copy_part(s3: &S3, copy: &PartCopy) -> Result<UploadPartCopyOutput, S3Error> {
    let (asked, blobs) = (copy.clone(), s3.blobs.clone());
    let (source, span, rule, extents, pin) = s3
        .db
        .read(move |conn| {
            let rule = uploads::get(conn, &asked.id, &asked.place)?.sum_rule;
            let source = store::get(conn, &asked.from)?;
            asked.conditions.check_source(&source.etag, source.modified_ms)?;
            let span = asked.range.map_or(Ok(Span::whole(source.size)), |range| Span::of(range, source.size))?;
            check_copied(span.len())?;
            let extents = store::extents(conn, source.owner, span)?;
            let pin = blobs.pin(&extents);
            Ok((source, span, rule, extents, pin))
        })
        .await?;
    let known = span == Span::whole(source.size) && source.parts.is_empty() && source.sum.algorithm == rule.algorithm;
    let (etag, sum) = if known {
        (source.etag.clone(), source.sum.clone())
    } else {
        let found = stream::digest(&s3.blobs, extents.clone(), pin, &[rule.algorithm]).await?;
        (hex::encode(found.md5), found.sum(rule.algorithm)?)
    };
    let part = StoredPart { number: copy.number, owner: 0, size: span.len(), etag, modified_ms: now_ms(), sum };
    let (asked, stored) = (copy.clone(), part.clone());
    s3.db
        .write(move |change| {
            // Extents may only be taken from an object that is still there.
            match store::get(change.conn, &asked.from) {
                Ok(now) if now.owner == source.owner => {}
                Ok(_) | Err(S3Error::Refused(_)) => return Err(Refusal::SourceChanged.into()),
                Err(error) => return Err(error),
            }
            uploads::put_part(change, &asked.id, &asked.place, &stored, &extents)
        })
        .await?;
    let fields = part.sum.to_dto();
    let result = CopyPartResult {
        e_tag: Some(ETag::Strong(part.etag)),
        last_modified: Some(timestamp(part.modified_ms)),
        checksum_crc32: fields.checksum_crc32,
        checksum_crc32c: fields.checksum_crc32c,
        checksum_crc64nvme: fields.checksum_crc64nvme,
        checksum_sha1: fields.checksum_sha1,
        checksum_sha256: fields.checksum_sha256,
    };
    Ok(UploadPartCopyOutput { copy_part_result: Some(result), ..Default::default() })
}

/// `CompleteMultipartUpload`
pub async fn complete(s3: &S3, req: S3Request<CompleteMultipartUploadInput>) -> Result<CompleteMultipartUploadOutput, S3Error> {
    let input = req.input;
    let (bucket, key, id) = (input.bucket, input.key, input.upload_id);
    let named = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
    let completion = Completion {
        parts: named.into_iter().map(wanted).collect::<Result<_, _>>()?,
        sums: Claims::new([
            input.checksum_crc32,
            input.checksum_crc32c,
            input.checksum_crc64nvme,
            input.checksum_sha1,
            input.checksum_sha256,
        ]),
        size: input.mpu_object_size.and_then(|size| u64::try_from(size).ok()),
        smallest_part: MIN_PART_SIZE,
        conditions: WriteConditions { if_match: input.if_match, if_none_match: input.if_none_match },
    };
    let place = Place { bucket: bucket.clone(), key: key.clone() };
    let complete = move |change: &mut super::db::Change<'_>| {
        let object = uploads::complete(change, &id, &place, &completion, now_ms())?;
        let expiration = lifecycle::expiration(change.conn, &place, &object)?;
        Ok((object, expiration))
    };
    let (object, expiration) = s3.db.write(complete).await?;
    let sum = object.sum.to_dto();
    Ok(CompleteMultipartUploadOutput {
        expiration,
        location: Some(format!("/{bucket}/{}", url_encoder(true)(&key))),
        bucket: Some(bucket),
        key: Some(key),
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

fn wanted(part: CompletedPart) -> Result<Wanted, S3Error> {
    let number = part.part_number.unwrap_or_default();
    check_number(number)?;
    let sums = Claims::new([part.checksum_crc32, part.checksum_crc32c, part.checksum_crc64nvme, part.checksum_sha1, part.checksum_sha256]);
    Ok(Wanted { number, etag: part.e_tag.map(ETag::into_value), sums })
}

/// `AbortMultipartUpload`
pub async fn abort(s3: &S3, req: S3Request<AbortMultipartUploadInput>) -> Result<AbortMultipartUploadOutput, S3Error> {
    let AbortMultipartUploadInput { bucket, key, upload_id, .. } = req.input;
    s3.db.write(move |change| uploads::abort(change, &upload_id, &Place { bucket, key })).await?;
    Ok(AbortMultipartUploadOutput::default())
}

/// `ListParts`
pub async fn list_parts(s3: &S3, req: S3Request<ListPartsInput>) -> Result<ListPartsOutput, S3Error> {
    let input = req.input;
    let max_parts = page_size(input.max_parts, 1000)?;
    let limit = usize::try_from(max_parts).unwrap_or_default();
    let after = input.part_number_marker.unwrap_or_default();
    let place = Place { bucket: input.bucket.clone(), key: input.key.clone() };
    let id = input.upload_id.clone();
    let (upload, end, mut parts) = s3
        .db
        .read(move |conn| {
            let upload = uploads::get(conn, &id, &place)?;
            let end = upload_end(conn, &upload)?;
            Ok((upload, end, uploads::parts(conn, &id, after, limit + 1)?))
        })
        .await?;
    let (abort_date, abort_rule_id) = end.unzip();
    let more = parts.len() > limit;
    parts.truncate(limit);
    Ok(ListPartsOutput {
        abort_date,
        abort_rule_id,
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        checksum_algorithm: Some(ChecksumAlgorithm::from_static(upload.sum_rule.algorithm.name())),
        checksum_type: Some(sum_type(upload.sum_rule)),
        is_truncated: Some(more),
        max_parts: Some(max_parts),
        part_number_marker: Some(after),
        next_part_number_marker: parts.last().map(|part| part.number),
        owner: Some(owner()),
        parts: Some(parts.into_iter().map(listed_part).collect()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        ..Default::default()
    })
}

fn listed_part(part: StoredPart) -> Part {
    let sum = part.sum.to_dto();
    Part {
        part_number: Some(part.number),
        size: Some(length(part.size)),
        e_tag: Some(ETag::Strong(part.etag)),
        last_modified: Some(timestamp(part.modified_ms)),
        checksum_crc32: sum.checksum_crc32,
        checksum_crc32c: sum.checksum_crc32c,
        checksum_crc64nvme: sum.checksum_crc64nvme,
        checksum_sha1: sum.checksum_sha1,
        checksum_sha256: sum.checksum_sha256,
    }
}

/// `ListMultipartUploads`, without delimiter: nobody sees folders of uploads.
pub async fn list_uploads(s3: &S3, req: S3Request<ListMultipartUploadsInput>) -> Result<ListMultipartUploadsOutput, S3Error> {
    let input = req.input;
    let max_uploads = page_size(input.max_uploads, 1000)?;
    let limit = usize::try_from(max_uploads).unwrap_or_default();
    let (bucket, prefix) = (input.bucket.clone(), input.prefix.clone().unwrap_or_default());
    let key_marker = input.key_marker.clone().unwrap_or_default();
    let id_marker = input.upload_id_marker.clone().unwrap_or_default();
    let mut found = s3
        .db
        .read(move |conn| {
            // A key marker alone skips that key; one with an upload's id skips the uploads up to that one.
            let after = match (key_marker.as_str(), id_marker.as_str()) {
                ("", _) => Vec::new(),
                (key, "") => behind(key, "", ""),
                (key, _) => key.as_bytes().to_vec(),
            };
            uploads::list(conn, &bucket, &prefix, (&after, &id_marker), limit + 1)
        })
        .await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let encode = url_encoder(input.encoding_type.is_some());
    let last = found.last().filter(|_| more);
    Ok(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        prefix: input.prefix.map(|prefix| encode(&prefix)),
        key_marker: input.key_marker.map(|marker| encode(&marker)),
        upload_id_marker: input.upload_id_marker,
        next_key_marker: last.map(|upload| encode(&upload.place.key)),
        next_upload_id_marker: last.map(|upload| upload.id.clone()),
        max_uploads: Some(max_uploads),
        is_truncated: Some(more),
        encoding_type: input.encoding_type,
        uploads: Some(found.into_iter().map(|upload| listed_upload(upload, encode)).collect()),
        ..Default::default()
    })
}

fn listed_upload(upload: Upload, encode: fn(&str) -> String) -> MultipartUpload {
    MultipartUpload {
        key: Some(encode(&upload.place.key)),
        upload_id: Some(upload.id),
        initiated: Some(timestamp(upload.created_ms)),
        owner: Some(owner()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        checksum_algorithm: Some(ChecksumAlgorithm::from_static(upload.sum_rule.algorithm.name())),
        checksum_type: Some(sum_type(upload.sum_rule)),
        ..Default::default()
    }
}
