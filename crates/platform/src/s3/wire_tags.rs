//! Tags of objects and buckets on the wire.
#![allow(clippy::wildcard_imports, reason = "shapes with S3's own names")]

use s3s::{S3Request, dto::*};

use super::{
    Refusal, S3, S3Error, now_ms,
    settings::{self, Kind},
    store::{self, Place},
    wire::check_version,
};

/// Tags of one object: AWS's limit.
const MAX_TAGS: usize = 10;
/// Tags of one bucket: AWS's limit.
const MAX_BUCKET_TAGS: usize = 50;
/// Characters of a tag's key and of its value: AWS's limits.
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 256;

/// `x-amz-tagging`: a query string.
pub fn header_tags(header: Option<&str>) -> Result<Vec<(String, String)>, S3Error> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_encoding::percent_decode_str(&text)
            .decode_utf8()
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| S3Error::from(Refusal::InvalidTag("x-amz-tagging is not UTF-8".into())))
    };
    let pairs = header.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let tags = pairs.map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(key)?, decode(value)?))
    });
    checked_tags(tags.collect::<Result<_, S3Error>>()?, MAX_TAGS)
}

fn checked_tags(tags: Vec<(String, String)>, most: usize) -> Result<Vec<(String, String)>, S3Error> {
    let refused = |why: String| Err(Refusal::InvalidTag(why).into());
    if tags.len() > most {
        return refused(format!("there are {} tags, at most {most} are allowed", tags.len()));
    }
    for (index, (key, value)) in tags.iter().enumerate() {
        if key.is_empty() || key.chars().count() > MAX_KEY || value.chars().count() > MAX_VALUE {
            return refused(format!("tag {key}: a key has 1 to {MAX_KEY} characters, a value at most {MAX_VALUE}"));
        }
        if tags.iter().take(index).any(|(before, _)| before == key) {
            return refused(format!("there are several tags with the key {key}"));
        }
    }
    Ok(tags)
}

fn pairs(tagging: Tagging) -> Vec<(String, String)> {
    tagging.tag_set.into_iter().map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default())).collect()
}

fn tag_set(tags: Vec<(String, String)>) -> TagSet {
    tags.into_iter().map(|(key, value)| Tag { key: Some(key), value: Some(value) }).collect()
}

/// `GetObjectTagging`
pub async fn get(s3: &S3, req: S3Request<GetObjectTaggingInput>) -> Result<GetObjectTaggingOutput, S3Error> {
    check_version(req.input.version_id.as_deref())?;
    let place = Place { bucket: req.input.bucket, key: req.input.key };
    let tags = s3.db.read(move |conn| Ok(store::get(conn, &place)?.attributes.tags)).await?;
    Ok(GetObjectTaggingOutput { tag_set: tag_set(tags), version_id: None })
}

/// `PutObjectTagging`
pub async fn put(s3: &S3, req: S3Request<PutObjectTaggingInput>) -> Result<PutObjectTaggingOutput, S3Error> {
    check_version(req.input.version_id.as_deref())?;
    let place = Place { bucket: req.input.bucket, key: req.input.key };
    let tags = checked_tags(pairs(req.input.tagging), MAX_TAGS)?;
    s3.db.write(move |change| store::set_tags(change, &place, tags, now_ms())).await?;
    Ok(PutObjectTaggingOutput::default())
}

/// `DeleteObjectTagging`
pub async fn delete(s3: &S3, req: S3Request<DeleteObjectTaggingInput>) -> Result<DeleteObjectTaggingOutput, S3Error> {
    check_version(req.input.version_id.as_deref())?;
    let place = Place { bucket: req.input.bucket, key: req.input.key };
    s3.db.write(move |change| store::set_tags(change, &place, Vec::new(), now_ms())).await?;
    Ok(DeleteObjectTaggingOutput::default())
}

/// `GetBucketTagging`
pub async fn get_bucket(s3: &S3, req: S3Request<GetBucketTaggingInput>) -> Result<GetBucketTaggingOutput, S3Error> {
    let tags = s3.db.read(move |conn| settings::get(conn, &req.input.bucket, Kind::Tags)).await?;
    let tags = tags.ok_or(Refusal::NotSet("NoSuchTagSet", "the bucket has no tags"))?;
    Ok(GetBucketTaggingOutput { tag_set: tag_set(tags) })
}

/// `PutBucketTagging`
pub async fn put_bucket(s3: &S3, req: S3Request<PutBucketTaggingInput>) -> Result<PutBucketTaggingOutput, S3Error> {
    let tags = checked_tags(pairs(req.input.tagging), MAX_BUCKET_TAGS)?;
    s3.db.write(move |change| settings::set(change, &req.input.bucket, Kind::Tags, &tags)).await?;
    Ok(PutBucketTaggingOutput::default())
}

/// `DeleteBucketTagging`
pub async fn delete_bucket(s3: &S3, req: S3Request<DeleteBucketTaggingInput>) -> Result<DeleteBucketTaggingOutput, S3Error> {
    s3.db.write(move |change| settings::remove(change, &req.input.bucket, Kind::Tags)).await?;
    Ok(DeleteBucketTaggingOutput::default())
}

/// Tags as a form's field `tagging` has them: the XML document of `PutObjectTagging`.
pub fn xml_tags(document: &str) -> Result<Vec<(String, String)>, S3Error> {
    let mut reader = s3s::xml::Deserializer::new(document.as_bytes());
    let tagging = <Tagging as s3s::xml::Deserialize>::deserialize(&mut reader)
        .map_err(|error| Refusal::MalformedXml(format!("the field tagging is no tagging document: {error}")))?;
    checked_tags(pairs(tagging), MAX_TAGS)
}
