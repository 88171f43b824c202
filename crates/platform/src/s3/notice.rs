//! Which writes a bucket tells of, and what it says: AWS's S3 event, version 2.1.
//!
//! Structure: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::FormatItem, macros::format_description};

use crate::stack::{BucketNotification, REGION};

/// What an AWS event says of the key: everything but these and `/` is `%XX`, a space is `+`.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b' ');

const TIME: &[FormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// A notification that is due: `body` is to be sent to the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Rises with time; given back to [`super::S3::notices_sent`].
    pub id: i64,
    pub target_arn: String,
    /// JSON of the S3 event.
    pub body: String,
}

/// One notification of a bucket, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    events: Vec<String>,
    prefix: String,
    suffix: String,
    pub target_arn: String,
}

impl From<&BucketNotification> for Rule {
    fn from(of: &BucketNotification) -> Self {
        Self { events: of.events.clone(), prefix: of.prefix.clone(), suffix: of.suffix.clone(), target_arn: of.target_arn.clone() }
    }
}

impl Rule {
    /// `event` without `s3:`, such as `ObjectCreated:Put`.
    pub fn wants(&self, event: &str, key: &str) -> bool {
        key.starts_with(&self.prefix)
            && key.ends_with(&self.suffix)
            && self.events.iter().any(|pattern| {
                let pattern = pattern.strip_prefix("s3:").unwrap_or(pattern);
                pattern.strip_suffix('*').map_or(pattern == event, |start| event.starts_with(start))
            })
    }
}

/// What happened to an object.
#[derive(Clone, Debug)]
pub struct Happening<'a> {
    /// Without `s3:`, such as `ObjectCreated:Put`.
    pub event: &'a str,
    pub bucket: &'a str,
    pub key: &'a str,
    /// Size in bytes and `ETag` without quotes; nothing for a removal.
    pub object: Option<(u64, &'a str)>,
    /// Rises with every write of the store.
    pub serial: u64,
    pub now_ms: i64,
}

/// The event's JSON. `configuration` names the bucket's notification that asked for it.
pub fn body(of: &Happening<'_>, configuration: &str) -> String {
    let mut object = json!({ "key": form_encode(of.key), "sequencer": format!("{:016X}", of.serial) });
    if let (Some(fields), Some((size, etag))) = (object.as_object_mut(), of.object) {
        fields.insert("size".into(), size.into());
        fields.insert("eTag".into(), etag.into());
    }
    let record = json!({
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": REGION,
        "eventTime": time_text(of.now_ms),
        "eventName": of.event,
        "userIdentity": { "principalId": "AIDAPLATFORM" },
        "requestParameters": { "sourceIPAddress": "127.0.0.1" },
        "responseElements": { "x-amz-request-id": format!("{:016X}", of.serial), "x-amz-id-2": "platform" },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": configuration,
            "bucket": {
                "name": of.bucket,
                "ownerIdentity": { "principalId": "AIDAPLATFORM" },
                "arn": format!("arn:aws:s3:::{}", of.bucket),
            },
            "object": object,
        },
    });
    json!({ "Records": Value::Array(vec![record]) }).to_string()
}

fn form_encode(key: &str) -> String {
    percent_encode(key.as_bytes(), FORM).to_string().replace(' ', "+")
}

fn time_text(ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .ok()
        .and_then(|at| at.format(TIME).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00.000Z".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(events: &[&str], prefix: &str, suffix: &str) -> Rule {
        Rule {
            events: events.iter().map(ToString::to_string).collect(),
            prefix: prefix.into(),
            suffix: suffix.into(),
            target_arn: "arn".into(),
        }
    }

    #[test]
    fn rules_match_event_prefix_and_suffix() {
        let uploads = rule(&["s3:ObjectCreated:*"], "uploads/", ".mp4");
        assert!(uploads.wants("ObjectCreated:Put", "uploads/a.mp4"));
        assert!(uploads.wants("ObjectCreated:CompleteMultipartUpload", "uploads/a.mp4"));
        assert!(!uploads.wants("ObjectRemoved:Delete", "uploads/a.mp4"));
        assert!(!uploads.wants("ObjectCreated:Put", "a.mp4"));
        assert!(!uploads.wants("ObjectCreated:Put", "uploads/a.mkv"));
        assert!(rule(&["s3:ObjectCreated:Copy"], "", "").wants("ObjectCreated:Copy", "x"));
        assert!(!rule(&["s3:ObjectCreated:Copy"], "", "").wants("ObjectCreated:Put", "x"));
    }

    #[test]
    fn keys_are_form_encoded_as_on_aws() {
        assert_eq!(form_encode("in/my film+1.mp4"), "in/my+film%2B1.mp4");
        assert_eq!(form_encode("ä&=?/~'(1)*.mp4"), "%C3%A4%26%3D%3F/%7E%27%281%29*.mp4");
    }

    #[test]
    fn the_event_has_aws_shape() {
        let happening = Happening {
            event: "ObjectCreated:Put",
            bucket: "films",
            key: "a b",
            object: Some((7, "abc")),
            serial: 255,
            now_ms: 1_700_000_000_123,
        };
        let event: Value = serde_json::from_str(&body(&happening, "notification-1")).unwrap();
        assert_eq!(
            event,
            json!({ "Records": [{
                "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "us-east-1",
                "eventTime": "2023-11-14T22:13:20.123Z", "eventName": "ObjectCreated:Put",
                "userIdentity": { "principalId": "AIDAPLATFORM" },
                "requestParameters": { "sourceIPAddress": "127.0.0.1" },
                "responseElements": { "x-amz-request-id": "00000000000000FF", "x-amz-id-2": "platform" },
                "s3": {
                    "s3SchemaVersion": "1.0", "configurationId": "notification-1",
                    "bucket": {
                        "name": "films", "ownerIdentity": { "principalId": "AIDAPLATFORM" }, "arn": "arn:aws:s3:::films"
                    },
                    "object": { "key": "a+b", "size": 7, "eTag": "abc", "sequencer": "00000000000000FF" },
                },
            }] })
        );
    }
}
