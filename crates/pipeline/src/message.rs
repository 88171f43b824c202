//! What the queues carry. Small: everything else is in the ledger.

use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    id::{JobId, TaskId},
    key::ObjectKey,
    plan::SCHEMA,
    task::{Class, Task},
    trace::SpanId,
};

/// Work for split, transcode-chunk or merge: the name of a task. What to do is in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskMessage {
    /// A greater one than [`SCHEMA`] is returned to the queue, never dead-lettered: a newer worker reads it.
    pub schema: u32,
    pub job: JobId,
    pub task: TaskId,
    /// Of the task: a retry by an operator raises it; messages of an older one die quietly.
    pub generation: u32,
    /// Which size of function was asked. A task that went up a class since is sent on.
    #[serde(default)]
    pub class: Class,
    /// The attempt that sent it, for the job's trace. In the body, where it survives every queue; an S3 event cannot carry one.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "known")]
    pub sender: Option<SpanId>,
}

/// No task fails for a sender that cannot be read.
fn known<'de, D: Deserializer<'de>>(message: D) -> Result<Option<SpanId>, D::Error> {
    let text = Option::<String>::deserialize(message)?;
    Ok(text.and_then(|text| SpanId::try_from(text).ok()))
}

impl TaskMessage {
    /// For a function of the standard class.
    pub fn new(job: &JobId, task: TaskId, generation: u32) -> Self {
        Self { schema: SCHEMA, job: job.clone(), task, generation, class: Class::Standard, sender: None }
    }
    #[must_use]
    pub fn sent_by(self, sender: Option<SpanId>) -> Self {
        Self { sender, ..self }
    }
    /// As the task is now.
    pub fn of(task: &Task) -> Self {
        Self { class: task.class, ..Self::new(&task.job, task.id, task.generation) }
    }
}

/// News for the operator: a task is blocked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EscalationMessage {
    pub schema: u32,
    pub job: JobId,
    pub task: TaskId,
    pub generation: u32,
}

/// What people are told of a task that waits for them: the body of a webhook. The names are an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// The same for a repeat: `<job>/<task>/<generation>`.
    pub id: String,
    /// `task-blocked`
    pub kind: String,
    pub job: JobId,
    pub task: TaskId,
    pub bucket: String,
    /// Of the source.
    pub key: String,
    /// Why, in words.
    pub fault: String,
    /// Key of the bundle that repeats it.
    pub reproduction: String,
    /// What to type once it is resolved.
    pub retry: String,
}

/// A message that nothing can read, or that was received too often: kept where people find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Milliseconds since 1970: when it was looked at last.
    pub seen_ms: u64,
    /// Message id.
    pub message: String,
    /// What became of it, in words.
    pub verdict: String,
    pub body: String,
}

/// What the ingest queue may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upload {
    /// S3 sends it once when notifications are set up; ignored.
    TestEvent,
    /// One or more records; each is handled.
    Records(Vec<UploadRecord>),
}

/// Where an upload stands among others of its key. The default: no event told of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uploaded<'a> {
    /// As of [`UploadRecord`].
    pub sequencer: &'a str,
    /// As of [`UploadRecord`].
    pub at_ms: u64,
}

/// One created object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadRecord {
    pub bucket: String,
    pub key: ObjectKey,
    pub version: Option<String>,
    pub etag: String,
    /// Bytes.
    pub size: u64,
    /// Hex; greater is later for one key. Compared as text after padding, as AWS's S3 guide on event ordering says.
    pub sequencer: String,
    /// When it was stored, milliseconds since 1970; 0: the event does not say.
    pub at_ms: u64,
    /// It came by an `EventBridge` rule, which has chosen bucket and keys already: a bucket of people's own.
    pub chosen: bool,
}

impl Upload {
    /// Reads an S3 event (AWS: "Event message structure"), or one that came by `EventBridge`. Records of other events than
    /// creation are left out; a record that cannot be read is an error: the message is looked at by a person, not lost.
    pub fn parse(body: &str) -> Result<Self, String> {
        let event: Body = serde_json::from_str(body).map_err(|e| format!("not an S3 event: {e}"))?;
        if event.event.as_deref() == Some("s3:TestEvent") {
            return Ok(Self::TestEvent);
        }
        if let (Some(kind), Some(detail)) = (&event.detail_type, event.detail) {
            let created = (kind == "Object Created").then(|| detail.record(event.time.as_deref())).transpose()?;
            return Ok(Self::Records(created.into_iter().collect()));
        }
        let records = event.records.ok_or("not an S3 event: it has no Records")?;
        let created = |r: &Record| r.event_name.trim_start_matches("s3:").starts_with("ObjectCreated:");
        let read = |r: Record| {
            Ok(UploadRecord {
                key: ObjectKey::from_event(&r.s3.object.key)?,
                bucket: r.s3.bucket.name,
                version: r.s3.object.version_id,
                etag: r.s3.object.e_tag.trim_matches('"').to_owned(),
                size: r.s3.object.size,
                sequencer: r.s3.object.sequencer,
                at_ms: milliseconds(r.event_time.as_deref()),
                chosen: false,
            })
        };
        records.into_iter().filter(created).map(read).collect::<Result<_, String>>().map(Self::Records)
    }
}

/// A message's body, whichever of these events it is.
#[derive(Deserialize)]
struct Body {
    #[serde(rename = "Event")]
    event: Option<String>,
    #[serde(rename = "Records")]
    records: Option<Vec<Record>>,
    #[serde(rename = "detail-type")]
    detail_type: Option<String>,
    detail: Option<Detail>,
    time: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    event_name: String,
    event_time: Option<String>,
    s3: S3,
}

#[derive(Deserialize)]
struct S3 {
    bucket: Bucket,
    object: Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    key: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    e_tag: String,
    version_id: Option<String>,
    #[serde(default)]
    sequencer: String,
}

/// What S3 tells `EventBridge`: the key is as it is, not encoded. Source: S3 user guide, "EventBridge event message structure".
#[derive(Deserialize)]
struct Detail {
    bucket: Bucket,
    object: DetailObject,
}

#[derive(Deserialize)]
struct DetailObject {
    key: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    etag: String,
    #[serde(rename = "version-id")]
    version: Option<String>,
    #[serde(default)]
    sequencer: String,
}

impl Detail {
    fn record(self, time: Option<&str>) -> Result<UploadRecord, String> {
        let DetailObject { key, size, etag, version, sequencer } = self.object;
        let etag = etag.trim_matches('"').to_owned();
        let (key, bucket, at_ms) = (ObjectKey::new(key)?, self.bucket.name, milliseconds(time));
        Ok(UploadRecord { key, bucket, version, etag, size, sequencer, at_ms, chosen: true })
    }
}

/// Of an RFC 3339 time; 0 where there is none or it is none.
fn milliseconds(time: Option<&str>) -> u64 {
    use time::{OffsetDateTime, format_description::well_known::Rfc3339};
    let time = time.and_then(|time| OffsetDateTime::parse(time, &Rfc3339).ok());
    time.and_then(|time| u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()).unwrap_or(0)
}

/// Whether `new` is later than `old` for one key: the shorter is padded with zeros on the right and then compared as text.
pub fn is_later(new: &str, old: &str) -> bool {
    let length = new.len().max(old.len());
    format!("{new:0<length$}") > format!("{old:0<length$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_carried_and_one_that_cannot_be_read_is_none() {
        let job: JobId = "0123456789abcdef01234567".parse().unwrap();
        let sender = SpanId::of_attempt(&job, TaskId::Split, 1);
        let plain = TaskMessage::new(&job, TaskId::Merge, 0);
        let text = serde_json::to_string(&plain).unwrap();
        assert!(!text.contains("sender"), "{text}");
        let sent = serde_json::to_string(&plain.clone().sent_by(Some(sender))).unwrap();
        assert_eq!(serde_json::from_str::<TaskMessage>(&sent).unwrap().sender, Some(sender));
        let foreign = sent.replace(&sender.to_string(), "00-?");
        assert_eq!([text, foreign].map(|text| serde_json::from_str::<TaskMessage>(&text).unwrap()), [plain.clone(), plain]);
    }

    #[test]
    fn several_records_and_only_creations() {
        let body = r#"{"Records":[
          {"eventName":"ObjectCreated:Put","eventTime":"1970-01-01T00:00:01.500Z","s3":{"bucket":{"name":"b"},"object":{"key":"uploads/a+b%2B.mp4","size":5,"eTag":"\"e\"","sequencer":"0A"}}},
          {"eventName":"ObjectRemoved:Delete","s3":{"bucket":{"name":"b"},"object":{"key":"uploads/c"}}},
          {"eventName":"s3:ObjectCreated:CompleteMultipartUpload","s3":{"bucket":{"name":"b"},"object":{"key":"uploads%2Fd","versionId":"7"}}}]}"#;
        let Upload::Records(records) = Upload::parse(body).unwrap() else { panic!("records") };
        assert_eq!(records.iter().map(|r| r.key.as_str()).collect::<Vec<_>>(), ["uploads/a b+.mp4", "uploads/d"]);
        assert_eq!(records[0].etag, "e");
        assert_eq!(records.iter().map(|r| r.at_ms).collect::<Vec<_>>(), [1500, 0]);
    }

    #[test]
    fn the_test_event_is_known_and_garbage_is_an_error() {
        assert_eq!(Upload::parse(r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}"#), Ok(Upload::TestEvent));
        assert!(Upload::parse("{}").is_err());
        assert!(Upload::parse("hello").is_err());
    }

    #[test]
    fn a_key_that_came_by_a_rule_is_not_decoded() {
        let event = |kind: &str| {
            format!(
                r#"{{"version":"0","detail-type":"{kind}","source":"aws.s3","detail":{{"version":"0","bucket":{{"name":"b"}},
                "object":{{"key":"in/a+b%2B.mp4","size":5,"etag":"e","version-id":"7","sequencer":"0A"}},"reason":"PutObject"}}}}"#
            )
        };
        let Upload::Records(records) = Upload::parse(&event("Object Created")).unwrap() else { panic!("records") };
        assert_eq!((records[0].key.as_str(), records[0].version.as_deref(), records[0].chosen), ("in/a+b%2B.mp4", Some("7"), true));
        assert_eq!(Upload::parse(&event("Object Deleted")), Ok(Upload::Records(Vec::new())));
    }

    #[test]
    fn sequencers_are_padded_before_they_are_compared() {
        assert!(is_later("00B", "00A9"));
        assert!(!is_later("00A9", "00B"));
        assert!(!is_later("00A", "00A0"));
    }
}
