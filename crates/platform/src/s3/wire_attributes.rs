//! `GetObjectAttributes` on the wire.
#![allow(clippy::wildcard_imports, reason = "dozens of shapes with S3's own names")]

use s3s::{S3Request, dto::*};

use super::{
    Refusal, S3, S3Error,
    checksum::Sum,
    store::{self, Object, Piece, Place},
    wire::{check_version, length, page_size, timestamp},
};

/// `GetObjectAttributes`: what was asked for, and nothing else.
pub async fn get(s3: &S3, req: S3Request<GetObjectAttributesInput>) -> Result<GetObjectAttributesOutput, S3Error> {
    let input = req.input;
    check_version(input.version_id.as_deref())?;
    let wanted: Vec<String> =
        input.object_attributes.iter().flat_map(|names| names.as_str().split(',')).map(|name| name.trim().to_owned()).collect();
    let known = [
        ObjectAttributes::CHECKSUM,
        ObjectAttributes::ETAG,
        ObjectAttributes::OBJECT_PARTS,
        ObjectAttributes::OBJECT_SIZE,
        ObjectAttributes::STORAGE_CLASS,
    ];
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(Refusal::InvalidArgument(format!("Invalid attribute name specified: {unknown}")).into());
    }
    let wants = |name: &str| wanted.iter().any(|wanted| wanted == name);
    let place = Place { bucket: input.bucket, key: input.key };
    let object = s3.db.read(move |conn| store::get(conn, &place)).await?;
    let parts = (wants(ObjectAttributes::OBJECT_PARTS) && !object.parts.is_empty())
        .then(|| parts(&object, input.part_number_marker.unwrap_or_default(), page_size(input.max_parts, 1000)?))
        .transpose()?;
    Ok(GetObjectAttributesOutput {
        checksum: wants(ObjectAttributes::CHECKSUM).then(|| object.sum.to_dto()),
        e_tag: wants(ObjectAttributes::ETAG).then(|| ETag::Strong(object.etag.clone())),
        last_modified: Some(timestamp(object.modified_ms)),
        object_parts: parts,
        object_size: wants(ObjectAttributes::OBJECT_SIZE).then(|| length(object.size)),
        storage_class: wants(ObjectAttributes::STORAGE_CLASS).then(|| StorageClass::from_static(StorageClass::STANDARD)),
        ..Default::default()
    })
}

/// One page of an object's parts. As on AWS each is listed only where the object's checksum is made of theirs.
fn parts(object: &Object, after: i32, limit: i32) -> Result<GetObjectAttributesParts, S3Error> {
    let number = |count: usize| i32::try_from(count).map_err(|error| S3Error::Record(error.to_string()));
    let total = number(object.parts.len())?;
    let last = total.min(after.max(0).saturating_add(limit));
    let listed = (1..).zip(&object.parts).filter(|(number, _)| *number > after && *number <= last);
    let listed: Vec<ObjectPart> = listed.map(|(number, part)| shown(number, part, &object.sum)).collect();
    Ok(GetObjectAttributesParts {
        is_truncated: Some(last < total),
        max_parts: Some(limit),
        next_part_number_marker: Some(last),
        part_number_marker: Some(after),
        parts: Some(listed).filter(|_| !object.sum.whole),
        total_parts_count: Some(total),
    })
}

fn shown(number: i32, part: &Piece, whole: &Sum) -> ObjectPart {
    let sum = part.sum.clone().map(|value| Sum { value, ..whole.clone() }.to_dto()).unwrap_or_default();
    ObjectPart {
        part_number: Some(number),
        size: Some(length(part.size)),
        checksum_crc32: sum.checksum_crc32,
        checksum_crc32c: sum.checksum_crc32c,
        checksum_crc64nvme: sum.checksum_crc64nvme,
        checksum_sha1: sum.checksum_sha1,
        checksum_sha256: sum.checksum_sha256,
    }
}
