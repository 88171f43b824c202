//! Uploads by an HTML form: `POST` of `multipart/form-data` to a bucket.
//!
//! The fields come first, are checked against the signed policy, and only then are the file's bytes read, straight to
//! disk. Rules and words of refusals: S3 API reference, "Browser-Based Uploads Using POST (AWS Signature Version 4)" and
//! "POST Policy".

use std::time::SystemTime;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::StreamBody;
use hyper::body::Frame;
use multer::{Constraints, Field, Multipart, SizeLimit};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::{
    Body, S3Error as Answer, S3ErrorCode,
    crypto::{Checksum as _, Sha1},
    dto::{ETagCondition, ObjectCannedACL, PostResponse, StreamingBlob, Timestamp, TimestampFormat},
    post_policy::{PostPolicy, PostPolicyCondition},
    xml,
};
use time::{Date, OffsetDateTime, macros::format_description};

use super::{
    MAX_BODY, Refusal, S3, S3Error,
    access::Access,
    checksum::Claims,
    range::WriteConditions,
    service::Keys,
    store::{Attributes, Object, Place},
    stream::Received,
    wire::millis,
    wire_lists::url_encoder,
    wire_objects::check_acl,
    wire_objects::{Sent, checked_metadata, stored_encoding, take_body},
    wire_tags::xml_tags,
};

/// Bytes of one field but the file, and fields of a form: AWS allows 20 KB before the file in all.
const MAX_FIELD: u64 = 20 * 1024;
const MAX_FIELDS: usize = 100;
/// Bytes that the form has around the file.
const MAX_AROUND: u64 = 1024 * 1024;
/// Bytes of a key.
const MAX_KEY: usize = 1024;
/// Fields that a policy need not name.
const FREE: [&str; 6] = ["x-amz-signature", "signature", "awsaccesskeyid", "policy", "file", "bucket"];

/// Whether this is an upload by a form.
pub fn is_form(request: &Request<Body>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    request.method() == Method::POST && kind.trim_start().to_ascii_lowercase().starts_with("multipart/form-data")
}

/// The fields before the file; names in lower case.
#[derive(Debug, Default)]
struct Form(Vec<(String, String)>);

impl Form {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
    }

    fn owned(&self, name: &str) -> Option<String> {
        self.get(name).map(ToOwned::to_owned)
    }
}

/// Stores what a form uploads.
pub async fn take(s3: &S3, keys: &Keys, access: &Access, bucket: &str, request: Request<Body>) -> Result<Response<Body>, Answer> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(kind).map_err(|error| malformed(&error))?;
    let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let limits = SizeLimit::new().whole_stream(MAX_BODY + MAX_AROUND).per_field(MAX_FIELD).for_field("file", MAX_BODY);
    let mut parts = Multipart::with_constraints(request.into_body(), boundary, Constraints::new().size_limit(limits));
    let (form, file) = fields(&mut parts).await?;
    let policy = signed_policy(&form, keys)?;
    let now = OffsetDateTime::now_utc();
    let place = Place { bucket: bucket.to_owned(), key: key_of(&form, file.file_name().unwrap_or_default())? };
    check(&policy, &form, &place, now)?;
    access.put(form.get("x-amz-security-token"), &place)?;
    check_acl(form.get("acl").map(|acl| ObjectCannedACL::from(acl.to_owned())).as_ref(), [&None; 4])?;
    let attributes = attributes(&form, file.content_type().map(ToString::to_string))?;
    let conditions = WriteConditions { if_match: None, if_none_match: condition(&form, "if-none-match")? };
    let (received, sum) = receive(s3, file, &form, &policy).await?;
    let (object, expiration) = s3.put(place.clone(), received, sum, attributes, conditions, "Post").await?;
    let mut response = answer(&form, &host, &place, &object)?;
    if let Some(value) = expiration.and_then(|text| HeaderValue::from_str(&text).ok()) {
        response.headers_mut().insert("x-amz-expiration", value);
    }
    Ok(response)
}

/// Reads up to the file. What comes behind it is nobody's.
async fn fields(parts: &mut Multipart<'static>) -> Result<(Form, Field<'static>), Answer> {
    let mut form = Form::default();
    while let Some(field) = parts.next_field().await.map_err(|error| malformed(&error))? {
        let name = field.name().unwrap_or_default().to_ascii_lowercase();
        if name == "file" {
            return Ok((form, field));
        }
        if form.0.len() == MAX_FIELDS {
            let why = format!("Your POST request has more than {MAX_FIELDS} fields before its file");
            return Err(Answer::with_message(S3ErrorCode::MalformedPOSTRequest, why));
        }
        form.0.push((name, field.text().await.map_err(|error| malformed(&error))?));
    }
    Err(Refusal::InvalidArgument("POST requires exactly one file upload per request.".into()).into())
}

fn malformed(error: &multer::Error) -> Answer {
    let why = format!("The body of your POST request is not well-formed multipart/form-data: {error}");
    Answer::with_message(S3ErrorCode::MalformedPOSTRequest, why)
}

/// The policy, if it is signed with the key: version 4 or, as older tools do, version 2.
fn signed_policy(form: &Form, keys: &Keys) -> Result<PostPolicy, Answer> {
    let denied = |why: &str| Answer::from(Refusal::AccessDenied(why.into()));
    let text = form.get("policy").ok_or_else(|| denied("a form without a policy is anonymous, and nobody may upload anonymously"))?;
    let (access_key, expected, signature) = match (form.get("x-amz-credential"), form.get("awsaccesskeyid")) {
        (Some(credential), _) => {
            let scope: Vec<&str> = credential.split('/').collect();
            let [access_key, date, region, "s3", "aws4_request"] = scope[..] else {
                return Err(denied("X-Amz-Credential is written KEY/YYYYMMDD/REGION/s3/aws4_request"));
            };
            let day = Date::parse(date, format_description!("[year][month][day]")).map_err(|_| denied("X-Amz-Credential has no date"))?;
            let day = SystemTime::from(day.midnight().assume_utc());
            let key = aws_sigv4::sign::v4::generate_signing_key(&keys.secret_key, day, region, "s3");
            (access_key, aws_sigv4::sign::v4::calculate_signature(key, text.as_bytes()), form.get("x-amz-signature"))
        }
        (None, Some(access_key)) => {
            (access_key, BASE64.encode(hmac_sha1(keys.secret_key.as_bytes(), text.as_bytes())), form.get("signature"))
        }
        (None, None) => return Err(denied("the form has a policy and no X-Amz-Credential that it is signed with")),
    };
    if access_key != keys.access_key {
        return Err(Answer::with_message(
            S3ErrorCode::InvalidAccessKeyId,
            "the access key is not the one that the platform was started with",
        ));
    }
    if !same(expected.as_bytes(), signature.unwrap_or_default().as_bytes()) {
        let why = "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
        return Err(Answer::with_message(S3ErrorCode::SignatureDoesNotMatch, why));
    }
    PostPolicy::from_base64(text).map_err(|why| Answer::with_message(S3ErrorCode::InvalidPolicyDocument, format!("Invalid Policy: {why}")))
}

/// RFC 2104 over SHA-1.
fn hmac_sha1(key: &[u8], message: &[u8]) -> [u8; 20] {
    let mut block = [0_u8; 64];
    if key.len() > block.len() {
        block[..20].copy_from_slice(&Sha1::checksum(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let hash = |pad: u8, message: &[u8]| {
        let mut sha1 = Sha1::new();
        sha1.update(&block.map(|byte| byte ^ pad));
        sha1.update(message);
        sha1.finalize()
    };
    hash(0x5c, &hash(0x36, message))
}

/// Compares in a time that does not tell where the first difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differences, (x, y)| differences | (x ^ y)) == 0
}

fn key_of(form: &Form, file_name: &str) -> Result<String, S3Error> {
    let missing = || {
        Refusal::InvalidArgument(
            "Bucket POST must contain a field named 'key'. If it is specified, please check the order of the fields.".into(),
        )
    };
    let key = form.get("key").filter(|key| !key.is_empty()).ok_or_else(missing)?;
    // Some browsers send a whole path.
    let file_name = file_name.rsplit(['/', '\\']).next().unwrap_or_default();
    let key = key.replace("${filename}", file_name);
    if key.len() > MAX_KEY { Err(Refusal::KeyTooLong.into()) } else { Ok(key) }
}

/// Everything of the policy but the length of the file.
fn check(policy: &PostPolicy, form: &Form, place: &Place, now: OffsetDateTime) -> Result<(), S3Error> {
    let denied = |why: String| S3Error::from(Refusal::AccessDenied(format!("Invalid according to Policy: {why}")));
    if now >= OffsetDateTime::from(policy.expiration.clone()) {
        return Err(denied("Policy expired.".into()));
    }
    let value = |field: &str| match field {
        "bucket" => place.bucket.as_str(),
        "key" => place.key.as_str(),
        field => form.get(field).unwrap_or_default(),
    };
    let mut named = Vec::new();
    for condition in &policy.conditions {
        let (holds, operator, field, operand) = match condition {
            PostPolicyCondition::Eq { field, value: wanted } => (value(field) == wanted, "eq", field, wanted),
            PostPolicyCondition::StartsWith { field, prefix } => (value(field).starts_with(prefix.as_str()), "starts-with", field, prefix),
            PostPolicyCondition::ContentLengthRange { .. } => continue,
        };
        if !holds {
            return Err(denied(format!("Policy Condition failed: [\"{operator}\", \"${field}\", \"{operand}\"]")));
        }
        named.push(field.as_str());
    }
    let is_free = |name: &str| FREE.contains(&name) || name.starts_with("x-ignore-") || named.contains(&name);
    match form.0.iter().find(|(name, _)| !is_free(name)) {
        Some((name, _)) => Err(denied(format!("Extra input fields: {name}"))),
        None => Ok(()),
    }
}

/// Stores the file, within the length that the policy allows.
async fn receive(s3: &S3, file: Field<'static>, form: &Form, policy: &PostPolicy) -> Result<(Received, super::checksum::Sum), Answer> {
    let (least, most) = policy.content_length_range().unwrap_or((0, MAX_BODY));
    let sent = Sent {
        body: Some(StreamingBlob::new(Body::http_body_unsync(StreamBody::new(file.map(|bytes| bytes.map(Frame::data)))))),
        claims: Claims::new(["crc32", "crc32c", "crc64nvme", "sha1", "sha256"].map(|name| form.owned(&format!("x-amz-checksum-{name}")))),
        content_length: None,
        content_md5: form.owned("content-md5"),
        headers: HeaderMap::new(),
        trailers: None,
        limit: most.min(MAX_BODY),
    };
    let (received, sum) = take_body(s3, sent, None).await.map_err(|error| match error {
        S3Error::Refused(Refusal::EntityTooLarge { .. }) => {
            Answer::with_message(S3ErrorCode::EntityTooLarge, "Your proposed upload exceeds the maximum allowed size")
        }
        error => error.into(),
    })?;
    if received.size < least {
        return Err(Answer::with_message(S3ErrorCode::EntityTooSmall, "Your proposed upload is smaller than the minimum allowed size"));
    }
    Ok((received, sum))
}

fn attributes(form: &Form, file_type: Option<String>) -> Result<Attributes, S3Error> {
    let metadata = form.0.iter().filter_map(|(name, value)| Some((name.strip_prefix("x-amz-meta-")?.to_owned(), value.clone())));
    let expires = form.get("expires").and_then(|text| Timestamp::parse(TimestampFormat::HttpDate, text).ok());
    Ok(Attributes {
        // The file's own type counts only where the form says none.
        content_type: form.owned("content-type").or(file_type),
        content_disposition: form.owned("content-disposition"),
        content_encoding: stored_encoding(form.owned("content-encoding")),
        content_language: form.owned("content-language"),
        cache_control: form.owned("cache-control"),
        expires_ms: expires.map(millis),
        redirect: form.owned("x-amz-website-redirect-location"),
        metadata: checked_metadata(Some(metadata.collect()))?,
        tags: form.get("tagging").map(xml_tags).transpose()?.unwrap_or_default(),
    })
}

fn condition(form: &Form, name: &str) -> Result<Option<ETagCondition>, S3Error> {
    let parse = |text: &str| text.parse().map_err(|_| S3Error::from(Refusal::InvalidArgument(format!("{name} is no ETag"))));
    form.get(name).map(parse).transpose()
}

/// What the form asked to be answered with: a redirect, a document, or nothing.
fn answer(form: &Form, host: &str, place: &Place, object: &Object) -> Result<Response<Body>, Answer> {
    let location = format!("http://{host}/{}/{}", place.bucket, url_encoder(true)(&place.key));
    let etag = format!("\"{}\"", object.etag);
    let mut response = Response::new(Body::empty());
    let mut insert = |name: header::HeaderName, value: &str| {
        HeaderValue::from_str(value).map(|value| response.headers_mut().insert(name, value)).is_ok()
    };
    insert(header::ETAG, &etag);
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let redirect = form.get("success_action_redirect").or_else(|| form.get("redirect")).filter(|url| url.starts_with("http"));
    if let Some(url) = redirect {
        let join = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{join}bucket={}&key={}&etag={}", encode(&place.bucket), encode(&place.key), encode(&etag));
        if insert(header::LOCATION, &url) {
            *response.status_mut() = StatusCode::SEE_OTHER;
            return Ok(response);
        }
    }
    insert(header::LOCATION, &location);
    match form.get("success_action_status") {
        Some("200") => {}
        Some("201") => {
            insert(header::CONTENT_TYPE, "application/xml");
            *response.status_mut() = StatusCode::CREATED;
            let mut text = Vec::new();
            let mut writer = xml::Serializer::new(&mut text);
            let shape = PostResponse { location: &location, bucket: &place.bucket, key: &place.key, etag: &etag };
            writer.decl().and_then(|()| xml::Serialize::serialize(&shape, &mut writer)).map_err(Answer::internal_error)?;
            *response.body_mut() = Body::from(text);
        }
        _ => *response.status_mut() = StatusCode::NO_CONTENT,
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_of_rfc_2202() {
        assert_eq!(hex::encode(hmac_sha1(&[0x0b; 20], b"Hi There")), "b617318655057264e28bc0b6fb378c8ef146be00");
        let long = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(hex::encode(hmac_sha1(&[0xaa; 80], long)), "aa4ae5e15272d00e95705637ce8a3b55ed402112");
    }

    #[test]
    fn a_policy_is_checked_field_by_field() {
        let policy = r#"{ "expiration": "2030-01-01T00:00:00Z", "conditions": [
            {"bucket": "films"}, ["starts-with", "$key", "user/"], ["eq", "$Content-Type", "video/mp4"]] }"#;
        let policy = PostPolicy::from_json(policy).unwrap();
        let outcome = |key: &str, fields: &[(&str, &str)], at: i64| {
            let form = Form(fields.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect());
            let place = Place { bucket: "films".into(), key: key.into() };
            match check(&policy, &form, &place, OffsetDateTime::from_unix_timestamp(at).unwrap()) {
                Ok(()) => "ok".to_owned(),
                Err(error) => error.to_string().replace("Invalid according to Policy: ", ""),
            }
        };
        let video = ("content-type", "video/mp4");
        assert_eq!(outcome("user/a", &[video, ("x-ignore-me", "1"), ("policy", "…")], 0), "ok");
        assert_eq!(outcome("a", &[video], 0), r#"Policy Condition failed: ["starts-with", "$key", "user/"]"#);
        assert_eq!(outcome("user/a", &[], 0), r#"Policy Condition failed: ["eq", "$content-type", "video/mp4"]"#);
        assert_eq!(outcome("user/a", &[video, ("x-amz-meta-a", "1")], 0), "Extra input fields: x-amz-meta-a");
        assert_eq!(outcome("user/a", &[video], 1_900_000_000), "Policy expired.");
    }

    #[test]
    fn the_name_of_the_file_goes_into_the_key() {
        let key = |key: &str, file: &str| key_of(&Form(vec![("key".into(), key.into())]), file).unwrap();
        assert_eq!(key("user/${filename}", r"C:\films\a b.mp4"), "user/a b.mp4");
        assert_eq!(key("user/x", "a"), "user/x");
        assert!(key_of(&Form::default(), "a").is_err());
        assert!(key_of(&Form(vec![("key".into(), "k".repeat(1025))]), "a").is_err());
    }
}
