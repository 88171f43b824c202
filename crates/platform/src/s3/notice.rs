//! Which writes a bucket tells of, and what it says: AWS's S3 event, version 2.1.
//!
//! Structure: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use rusqlite::params;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::FormatItem, macros::format_description};

use super::{S3Error, bus, db::Change, settings};
use crate::stack::{BucketNotification, EVENT_BUS, REGION};

/// What an AWS event says of the key: everything but these and `/` is `%XX`, a space is `+`.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b' ');

/// The one user.
const PRINCIPAL: &str = "AIDAPLATFORM";

const TIME: &[FormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// A notification that is due: `body` is to be sent to the queue, or to be the event of the function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Rises with time; given back to [`super::S3::notices_sent`].
    pub id: i64,
    /// ARN of a queue or of a function.
    pub target_arn: String,
    /// JSON of the S3 event, or of `s3:TestEvent`.
    pub body: String,
}

/// One notification of a bucket, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// None where the template gave it: there it goes by its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// With `s3:`, as they were given.
    pub events: Vec<String>,
    pub prefix: String,
    pub suffix: String,
    pub target_arn: String,
}

impl From<&BucketNotification> for Rule {
    fn from(of: &BucketNotification) -> Self {
        Self {
            id: None,
            events: of.events.clone(),
            prefix: of.prefix.clone(),
            suffix: of.suffix.clone(),
            target_arn: of.target_arn.clone(),
        }
    }
}

impl Rule {
    /// Its id, or one made of its place, counted from 0.
    pub fn name(&self, index: usize) -> String {
        self.id.clone().unwrap_or_else(|| format!("notification-{}", index + 1))
    }

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

/// Whether notices to this ARN go to a queue.
pub fn is_queue(arn: &str) -> bool {
    arn.split(':').nth(2) == Some("sqs")
}

/// Writes the notices that a happening makes due.
pub fn tell(change: &mut Change<'_>, happening: &Happening<'_>) -> Result<(), S3Error> {
    let rules = settings::rules(change.conn, happening.bucket)?;
    for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.wants(happening.event, happening.key)) {
        if rule.target_arn == EVENT_BUS {
            bus::tell(change, happening)?;
            continue;
        }
        write(change, &rule.target_arn, &body(happening, &rule.name(index)))?;
    }
    Ok(())
}

/// Writes one notice.
pub fn write(change: &mut Change<'_>, target_arn: &str, body: &str) -> Result<(), S3Error> {
    let mut statement = change.conn.prepare_cached("INSERT INTO notices (target_arn, body) VALUES (?1, ?2)")?;
    statement.execute(params![target_arn, body])?;
    change.noticed = true;
    Ok(())
}

/// What a queue gets when notifications to it are set up.
pub fn test_body(bucket: &str, serial: u64, now_ms: i64) -> String {
    json!({
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": time_text(now_ms),
        "Bucket": bucket,
        "RequestId": format!("{serial:016X}"),
        "HostId": "platform",
    })
    .to_string()
}

/// The event's JSON. `configuration` names the bucket's notification that asked for it.
pub fn body(of: &Happening<'_>, configuration: &str) -> String {
    let mut object = json!({ "key": form_encode(of.key), "sequencer": format!("{:016X}", of.serial) });
    if let (Some(fields), Some((size, etag))) = (object.as_object_mut(), of.object) {
        fields.insert("size".into(), size.into());
        fields.insert("eTag".into(), etag.into());
    }
    // What S3 does by itself it does in its own name; these events and those of tags have a later version.
    let by_rule = of.event.starts_with("Lifecycle");
    let version = if by_rule || of.event.starts_with("ObjectTagging") { "2.3" } else { "2.1" };
    let (principal, address) = if by_rule { ("s3.amazonaws.com", "s3.amazonaws.com") } else { (PRINCIPAL, "127.0.0.1") };
    let record = json!({
        "eventVersion": version,
        "eventSource": "aws:s3",
        "awsRegion": REGION,
        "eventTime": time_text(of.now_ms),
        "eventName": of.event,
        "userIdentity": { "principalId": principal },
        "requestParameters": { "sourceIPAddress": address },
        "responseElements": { "x-amz-request-id": format!("{:016X}", of.serial), "x-amz-id-2": "platform" },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": configuration,
            "bucket": {
                "name": of.bucket,
                "ownerIdentity": { "principalId": PRINCIPAL },
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

pub fn time_text(ms: i64) -> String {
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
            id: None,
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
    fn what_a_rule_of_the_bucket_removes_is_told_in_the_name_of_s3() {
        let happening = Happening { event: "LifecycleExpiration:Delete", bucket: "films", key: "a", object: None, serial: 1, now_ms: 0 };
        let event: Value = serde_json::from_str(&body(&happening, "n")).unwrap();
        let record = &event["Records"][0];
        assert_eq!(record["eventVersion"], "2.3");
        assert_eq!(record["userIdentity"]["principalId"], "s3.amazonaws.com");
        assert_eq!(record["requestParameters"]["sourceIPAddress"], "s3.amazonaws.com");
        assert_eq!(record["s3"]["object"], json!({ "key": "a", "sequencer": "0000000000000001" }));
    }

    #[test]
    fn the_test_event_has_aws_shape() {
        let event: Value = serde_json::from_str(&test_body("films", 255, 1_700_000_000_123)).unwrap();
        assert_eq!(
            event,
            json!({
                "Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2023-11-14T22:13:20.123Z", "Bucket": "films",
                "RequestId": "00000000000000FF", "HostId": "platform",
            })
        );
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
