//! Tags of objects on the wire.
#![allow(clippy::wildcard_imports, reason = "shapes with S3's own names")]

use s3s::{S3Request, dto::*};

use super::{
    Refusal, S3, S3Error,
    store::{self, Place},
    wire::check_version,
};

/// Tags of one object: AWS's limit.
const MAX_TAGS: usize = 10;

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
    checked_tags(tags.collect::<Result<_, S3Error>>()?)
}

fn checked_tags(tags: Vec<(String, String)>) -> Result<Vec<(String, String)>, S3Error> {
    let mut keys: Vec<&String> = tags.iter().map(|(key, _)| key).collect();
    keys.sort_unstable();
    keys.dedup();
    if tags.len() > MAX_TAGS || keys.len() < tags.len() || keys.iter().any(|key| key.is_empty() || key.len() > 512) {
        return Err(Refusal::InvalidTag("at most 10 tags, each with a key of its own".into()).into());
    }
    Ok(tags)
}

/// `GetObjectTagging`
pub async fn get(s3: &S3, req: S3Request<GetObjectTaggingInput>) -> Result<GetObjectTaggingOutput, S3Error> {
    check_version(req.input.version_id.as_deref())?;
    let place = Place { bucket: req.input.bucket, key: req.input.key };
    let tags = s3.db.read(move |conn| Ok(store::get(conn, &place)?.attributes.tags)).await?;
    let tag_set = tags.into_iter().map(|(key, value)| Tag { key: Some(key), value: Some(value) }).collect();
    Ok(GetObjectTaggingOutput { tag_set, version_id: None })
}

/// `PutObjectTagging`
pub async fn put(s3: &S3, req: S3Request<PutObjectTaggingInput>) -> Result<PutObjectTaggingOutput, S3Error> {
    check_version(req.input.version_id.as_deref())?;
    let place = Place { bucket: req.input.bucket, key: req.input.key };
    let named = req.input.tagging.tag_set.into_iter();
    let tags = checked_tags(named.map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default())).collect())?;
    s3.db.write(move |change| store::set_tags(change, &place, tags)).await?;
    Ok(PutObjectTaggingOutput::default())
}

/// `DeleteObjectTagging`
pub async fn delete(s3: &S3, req: S3Request<DeleteObjectTaggingInput>) -> Result<DeleteObjectTaggingOutput, S3Error> {
    check_version(req.input.version_id.as_deref())?;
    let place = Place { bucket: req.input.bucket, key: req.input.key };
    s3.db.write(move |change| store::set_tags(change, &place, Vec::new())).await?;
    Ok(DeleteObjectTaggingOutput::default())
}
