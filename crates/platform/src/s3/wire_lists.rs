//! Buckets and lists of objects on the wire.
#![allow(clippy::wildcard_imports, reason = "dozens of shapes with S3's own names")]

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::{S3Request, dto::*};

use super::{
    Refusal, S3, S3Error,
    listing::{self, Listed, Page, Query, behind},
    now_ms, store,
    wire::{length, page_size, timestamp},
};
use crate::stack::REGION;

/// Keys on one page: AWS's most.
const MAX_KEYS: i32 = 1000;

/// `encoding-type=url`; a space is `%20`, which every decoder understands.
const URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b'~');

/// Keys as a list shows them: URL-encoded if the client asked for it.
pub fn url_encoder(asked: bool) -> fn(&str) -> String {
    if asked { |key| utf8_percent_encode(key, URL).to_string() } else { str::to_owned }
}

/// The one account.
pub fn owner() -> Owner {
    Owner { display_name: Some("platform".into()), id: Some(crate::stack::ACCOUNT.into()) }
}

/// `CreateBucket`: one that is there already is fine, as in us-east-1.
pub async fn create_bucket(s3: &S3, req: S3Request<CreateBucketInput>) -> Result<CreateBucketOutput, S3Error> {
    let name = req.input.bucket.clone();
    s3.db.write(move |change| store::create_bucket(change, &name, now_ms())).await?;
    Ok(CreateBucketOutput { location: Some(format!("/{}", req.input.bucket)) })
}

/// `HeadBucket`
pub async fn head_bucket(s3: &S3, req: S3Request<HeadBucketInput>) -> Result<HeadBucketOutput, S3Error> {
    s3.db.read(move |conn| store::check_bucket(conn, &req.input.bucket)).await?;
    Ok(HeadBucketOutput { bucket_region: Some(REGION.into()), ..Default::default() })
}

/// `ListBuckets`
pub async fn list_buckets(s3: &S3, req: S3Request<ListBucketsInput>) -> Result<ListBucketsOutput, S3Error> {
    let input = req.input;
    let limit = usize::try_from(page_size(input.max_buckets, 10_000)?).unwrap_or_default();
    let prefix = input.prefix.clone().unwrap_or_default();
    let after = input.continuation_token.unwrap_or_default();
    let found = s3.db.read(store::buckets).await?;
    let mut found = found.into_iter().filter(|(name, _)| name.starts_with(&prefix) && *name > after).peekable();
    let mut buckets = Vec::new();
    while buckets.len() < limit
        && let Some((name, created_ms)) = found.next()
    {
        buckets.push(Bucket { name: Some(name), creation_date: Some(timestamp(created_ms)), bucket_region: Some(REGION.into()) });
    }
    let last = buckets.last().and_then(|bucket| bucket.name.clone());
    Ok(ListBucketsOutput { continuation_token: found.peek().and(last), buckets: Some(buckets), owner: Some(owner()), prefix: input.prefix })
}

/// `DeleteBucket`
pub async fn delete_bucket(s3: &S3, req: S3Request<DeleteBucketInput>) -> Result<DeleteBucketOutput, S3Error> {
    s3.db.write(move |change| store::delete_bucket(change, &req.input.bucket)).await?;
    Ok(DeleteBucketOutput {})
}

/// `GetBucketLocation`: us-east-1 is written as nothing.
pub async fn get_bucket_location(s3: &S3, req: S3Request<GetBucketLocationInput>) -> Result<GetBucketLocationOutput, S3Error> {
    s3.db.read(move |conn| store::check_bucket(conn, &req.input.bucket)).await?;
    Ok(GetBucketLocationOutput::default())
}

/// `ListObjectsV2`
pub async fn list_objects_v2(s3: &S3, req: S3Request<ListObjectsV2Input>) -> Result<ListObjectsV2Output, S3Error> {
    let input = req.input;
    let prefix = input.prefix.clone().unwrap_or_default();
    let delimiter = input.delimiter.clone().unwrap_or_default();
    let from = match (&input.continuation_token, &input.start_after) {
        (Some(token), _) => {
            URL_SAFE_NO_PAD.decode(token).map_err(|_| Refusal::InvalidArgument("the continuation token is not one of ours".into()))?
        }
        (None, Some(start)) if !start.is_empty() => behind(start, &prefix, &delimiter),
        _ => Vec::new(),
    };
    let max_keys = page_size(input.max_keys, MAX_KEYS)?;
    let page = page(s3, Query { bucket: input.bucket.clone(), prefix, delimiter, from, limit: limit(max_keys) }).await?;
    let encode = url_encoder(input.encoding_type.is_some());
    let shown_owner = input.fetch_owner.unwrap_or_default().then(owner);
    Ok(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(encode(&input.prefix.unwrap_or_default())),
        max_keys: Some(max_keys),
        key_count: i32::try_from(page.objects.len() + page.prefixes.len()).ok(),
        continuation_token: input.continuation_token,
        is_truncated: Some(page.next.is_some()),
        next_continuation_token: page.next.map(|next| URL_SAFE_NO_PAD.encode(next.from)),
        contents: Some(page.objects.into_iter().map(|object| listed(object, encode, shown_owner.clone())).collect()),
        common_prefixes: Some(page.prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(encode(prefix)) }).collect()),
        delimiter: input.delimiter.map(|delimiter| encode(&delimiter)),
        encoding_type: input.encoding_type,
        start_after: input.start_after.map(|start| encode(&start)),
        ..Default::default()
    })
}

/// `ListObjects`
pub async fn list_objects(s3: &S3, req: S3Request<ListObjectsInput>) -> Result<ListObjectsOutput, S3Error> {
    let input = req.input;
    let prefix = input.prefix.clone().unwrap_or_default();
    let delimiter = input.delimiter.clone().unwrap_or_default();
    let marker = input.marker.unwrap_or_default();
    let from = if marker.is_empty() { Vec::new() } else { behind(&marker, &prefix, &delimiter) };
    let max_keys = page_size(input.max_keys, MAX_KEYS)?;
    let page = page(s3, Query { bucket: input.bucket.clone(), prefix, delimiter, from, limit: limit(max_keys) }).await?;
    let encode = url_encoder(input.encoding_type.is_some());
    let next = page.next.as_ref().filter(|_| input.delimiter.is_some()).map(|next| encode(&next.last));
    Ok(ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(encode(&input.prefix.unwrap_or_default())),
        marker: Some(encode(&marker)),
        max_keys: Some(max_keys),
        is_truncated: Some(page.next.is_some()),
        next_marker: next,
        contents: Some(page.objects.into_iter().map(|object| listed(object, encode, Some(owner()))).collect()),
        common_prefixes: Some(page.prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(encode(prefix)) }).collect()),
        delimiter: input.delimiter.map(|delimiter| encode(&delimiter)),
        encoding_type: input.encoding_type,
        ..Default::default()
    })
}

/// `ListObjectVersions`: the one version of each object, named `null`.
pub async fn list_versions(s3: &S3, req: S3Request<ListObjectVersionsInput>) -> Result<ListObjectVersionsOutput, S3Error> {
    let input = req.input;
    let prefix = input.prefix.clone().unwrap_or_default();
    let delimiter = input.delimiter.clone().unwrap_or_default();
    let marker = input.key_marker.unwrap_or_default();
    let from = if marker.is_empty() { Vec::new() } else { behind(&marker, &prefix, &delimiter) };
    let max_keys = page_size(input.max_keys, MAX_KEYS)?;
    let page = page(s3, Query { bucket: input.bucket.clone(), prefix, delimiter, from, limit: limit(max_keys) }).await?;
    let encode = url_encoder(input.encoding_type.is_some());
    let next = page.next.as_ref().map(|next| encode(&next.last));
    let version = |object: Object| ObjectVersion {
        checksum_algorithm: object.checksum_algorithm,
        checksum_type: object.checksum_type,
        e_tag: object.e_tag,
        is_latest: Some(true),
        key: object.key,
        last_modified: object.last_modified,
        owner: object.owner,
        restore_status: None,
        size: object.size,
        storage_class: Some(ObjectVersionStorageClass::from_static(ObjectVersionStorageClass::STANDARD)),
        version_id: Some("null".into()),
    };
    Ok(ListObjectVersionsOutput {
        name: Some(input.bucket),
        prefix: Some(encode(&input.prefix.unwrap_or_default())),
        key_marker: Some(encode(&marker)),
        version_id_marker: input.version_id_marker,
        max_keys: Some(max_keys),
        is_truncated: Some(next.is_some()),
        next_version_id_marker: next.as_ref().map(|_| "null".into()),
        next_key_marker: next,
        versions: Some(page.objects.into_iter().map(|object| version(listed(object, encode, Some(owner())))).collect()),
        common_prefixes: Some(page.prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(encode(prefix)) }).collect()),
        delimiter: input.delimiter.map(|delimiter| encode(&delimiter)),
        encoding_type: input.encoding_type,
        ..Default::default()
    })
}

fn limit(max_keys: i32) -> usize {
    usize::try_from(max_keys).unwrap_or_default()
}

async fn page(s3: &S3, query: Query) -> Result<Page, S3Error> {
    s3.db.read(move |conn| listing::list(conn, &query)).await
}

fn listed(object: Listed, encode: fn(&str) -> String, owner: Option<Owner>) -> Object {
    let kind = if object.sum.whole { ChecksumType::FULL_OBJECT } else { ChecksumType::COMPOSITE };
    Object {
        key: Some(encode(&object.key)),
        size: Some(length(object.size)),
        e_tag: Some(ETag::Strong(object.etag)),
        last_modified: Some(timestamp(object.modified_ms)),
        checksum_algorithm: Some(vec![ChecksumAlgorithm::from_static(object.sum.algorithm.name())]),
        checksum_type: Some(ChecksumType::from_static(kind)),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        owner,
        ..Default::default()
    }
}
