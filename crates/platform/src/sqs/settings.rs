//! The attributes of a queue that its owner sets.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::error::{Kind, SqsError};
use crate::stack;

/// Attributes that the platform keeps and answers, and that change nothing here: access is by the platform's one key,
/// and the disk is the user's own.
const KEPT_ONLY: [&str; 4] = ["Policy", "KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds", "SqsManagedSseEnabled"];
/// Queues that a `RedriveAllowPolicy` names at most.
const MAX_ALLOWED: usize = 10;
/// Longest value of a kept attribute, in bytes. AWS's bound on a policy.
const MAX_KEPT: usize = 8 * 1024;
/// Largest message, attributes included, and largest sum of a batch.
pub(super) const MAX_MESSAGE: usize = 1024 * 1024;

/// Set attributes of one queue, each within AWS's range.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    visibility_s: u32,
    retention_s: u32,
    delay_s: u32,
    receive_wait_s: u32,
    max_message: u32,
    redrive: Option<stack::Redrive>,
    /// ARNs of the queues that may have this one as their dead-letter queue; none: all may.
    redrive_allow: Option<Vec<String>>,
    fifo: Option<stack::Fifo>,
    kept: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            visibility_s: 30,
            retention_s: 345_600,
            delay_s: 0,
            receive_wait_s: 0,
            max_message: 1_048_576,
            redrive: None,
            redrive_allow: None,
            fifo: None,
            kept: BTreeMap::from([("SqsManagedSseEnabled".to_owned(), "true".to_owned())]),
        }
    }
}

impl Settings {
    /// The settings of a new queue.
    pub(super) fn of_attributes(attributes: &BTreeMap<String, String>) -> Result<Self, SqsError> {
        let fifo = attributes.get("FifoQueue").is_some_and(|fifo| fifo == "true");
        Self { fifo: fifo.then(stack::Fifo::default), ..Self::default() }.with(attributes)
    }

    /// These settings with some attributes set anew, all or none.
    pub(super) fn with(&self, attributes: &BTreeMap<String, String>) -> Result<Self, SqsError> {
        let mut next = self.clone();
        for (name, value) in attributes {
            next.set(name, value)?;
        }
        next.check_encryption(attributes)?;
        if next.fifo.is_some_and(|fifo| fifo.throughput_by_group && !fifo.deduplicate_by_group) {
            return Err(bad_value("FifoThroughputLimit", "perMessageGroupId needs the DeduplicationScope messageGroup"));
        }
        Ok(next)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), SqsError> {
        match name {
            "VisibilityTimeout" => self.visibility_s = number(name, value, 0, 43_200)?,
            "MessageRetentionPeriod" => self.retention_s = number(name, value, 60, 1_209_600)?,
            "DelaySeconds" => self.delay_s = number(name, value, 0, 900)?,
            "ReceiveMessageWaitTimeSeconds" => self.receive_wait_s = number(name, value, 0, 20)?,
            "MaximumMessageSize" => self.max_message = number(name, value, 1_024, 1_048_576)?,
            "RedrivePolicy" => self.redrive = redrive(value)?,
            "RedriveAllowPolicy" => self.redrive_allow = redrive_allow(value)?,
            "FifoQueue" | "ContentBasedDeduplication" | "DeduplicationScope" | "FifoThroughputLimit" => self.set_fifo(name, value)?,
            _ if KEPT_ONLY.contains(&name) => self.keep(name, value)?,
            _ => return Err(unknown_attribute(name)),
        }
        Ok(())
    }

    /// A standard queue does not know these attributes, and none becomes the other type. Source: SQS API reference,
    /// `CreateQueue`.
    fn set_fifo(&mut self, name: &str, value: &str) -> Result<(), SqsError> {
        let Some(fifo) = &mut self.fifo else { return Err(unknown_attribute(name)) };
        match (name, value) {
            ("FifoQueue", "true") => {}
            ("FifoQueue", _) => return Err(bad_value(name, "Modifying queue type is not supported")),
            ("ContentBasedDeduplication", "true" | "false") => fifo.content_based_deduplication = value == "true",
            ("DeduplicationScope", "messageGroup" | "queue") => fifo.deduplicate_by_group = value == "messageGroup",
            ("FifoThroughputLimit", "perMessageGroupId" | "perQueue") => fifo.throughput_by_group = value == "perMessageGroupId",
            ("ContentBasedDeduplication", _) => return Err(bad_value(name, "must be true or false")),
            ("DeduplicationScope", _) => return Err(bad_value(name, "must be messageGroup or queue")),
            _ => return Err(bad_value(name, "must be perQueue or perMessageGroupId")),
        }
        Ok(())
    }

    fn keep(&mut self, name: &str, value: &str) -> Result<(), SqsError> {
        if value.len() > MAX_KEPT {
            return Err(bad_value(name, &format!("it is longer than {MAX_KEPT} bytes")));
        }
        match name {
            "Policy" if !value.is_empty() => {
                let is_object = serde_json::from_str(value).is_ok_and(|policy: Value| policy.is_object());
                is_object.then_some(()).ok_or_else(|| bad_value(name, "it is not a JSON document"))?;
            }
            "KmsDataKeyReusePeriodSeconds" => _ = number(name, value, 60, 86_400)?,
            "SqsManagedSseEnabled" if value != "true" && value != "false" => return Err(bad_value(name, "must be true or false")),
            _ => {}
        }
        self.kept.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// One kind of encryption at a time: a key turns SQS's own off, and the other way round.
    fn check_encryption(&mut self, asked: &BTreeMap<String, String>) -> Result<(), SqsError> {
        let key = asked.get("KmsMasterKeyId").is_some_and(|key| !key.is_empty());
        let managed = asked.get("SqsManagedSseEnabled").is_some_and(|managed| managed == "true");
        if key && managed {
            return Err(SqsError::new(
                Kind::InvalidAttributeName,
                "You can use one type of server-side encryption (SSE) at one time. You can either enable KMS SSE or SQS SSE.",
            ));
        }
        if key {
            self.kept.insert("SqsManagedSseEnabled".to_owned(), "false".to_owned());
        } else if managed {
            self.kept.remove("KmsMasterKeyId");
        }
        Ok(())
    }

    /// The set attributes as AWS writes them. `with` reads them back.
    pub(super) fn attributes(&self) -> BTreeMap<String, String> {
        let mut all = self.kept.clone();
        all.retain(|_, value| !value.is_empty());
        all.insert("VisibilityTimeout".into(), self.visibility_s.to_string());
        all.insert("MessageRetentionPeriod".into(), self.retention_s.to_string());
        all.insert("DelaySeconds".into(), self.delay_s.to_string());
        all.insert("ReceiveMessageWaitTimeSeconds".into(), self.receive_wait_s.to_string());
        all.insert("MaximumMessageSize".into(), self.max_message.to_string());
        if let Some(redrive) = &self.redrive {
            let policy = serde_json::json!({
                "deadLetterTargetArn": redrive.dead_letter_target_arn,
                "maxReceiveCount": redrive.max_receive_count,
            });
            all.insert("RedrivePolicy".into(), policy.to_string());
        }
        if let Some(allowed) = &self.redrive_allow {
            all.insert("RedriveAllowPolicy".into(), allow_policy(allowed));
        }
        if let Some(fifo) = self.fifo {
            let scope = if fifo.deduplicate_by_group { "messageGroup" } else { "queue" };
            let limit = if fifo.throughput_by_group { "perMessageGroupId" } else { "perQueue" };
            all.insert("FifoQueue".into(), "true".into());
            all.insert("ContentBasedDeduplication".into(), fifo.content_based_deduplication.to_string());
            all.insert("DeduplicationScope".into(), scope.into());
            all.insert("FifoThroughputLimit".into(), limit.into());
        }
        all
    }

    /// The access policy, if there is one.
    pub(super) fn policy(&self) -> Option<&str> {
        self.kept.get("Policy").map(String::as_str).filter(|policy| !policy.is_empty())
    }

    /// The attributes that a template's queue asks for.
    pub(super) fn of_stack(queue: &stack::Queue) -> Result<Self, SqsError> {
        let mut asked = BTreeMap::from([
            ("VisibilityTimeout".to_owned(), queue.visibility_timeout.as_secs().to_string()),
            ("MessageRetentionPeriod".to_owned(), queue.retention.as_secs().to_string()),
            ("DelaySeconds".to_owned(), queue.delay.as_secs().to_string()),
            ("ReceiveMessageWaitTimeSeconds".to_owned(), queue.receive_wait.as_secs().to_string()),
            ("MaximumMessageSize".to_owned(), queue.max_message.to_string()),
        ]);
        if let Some(redrive) = &queue.redrive {
            let policy = serde_json::json!({
                "deadLetterTargetArn": redrive.dead_letter_target_arn,
                "maxReceiveCount": redrive.max_receive_count,
            });
            asked.insert("RedrivePolicy".to_owned(), policy.to_string());
        }
        if let Some(allowed) = &queue.redrive_allow {
            asked.insert("RedriveAllowPolicy".to_owned(), allow_policy(allowed));
        }
        let base = Self { fifo: queue.fifo, ..Self::default() };
        base.with(&asked)
    }

    pub(super) fn visibility_ms(&self) -> u64 {
        u64::from(self.visibility_s) * 1000
    }

    pub(super) fn retention_ms(&self) -> u64 {
        u64::from(self.retention_s) * 1000
    }

    pub(super) fn delay_ms(&self) -> u64 {
        u64::from(self.delay_s) * 1000
    }

    pub(super) fn receive_wait_ms(&self) -> u64 {
        u64::from(self.receive_wait_s) * 1000
    }

    /// Bytes of body and attributes together.
    pub(super) fn max_message(&self) -> usize {
        self.max_message as usize
    }

    pub(super) fn redrive(&self) -> Option<&stack::Redrive> {
        self.redrive.as_ref()
    }

    /// Whether the queue of this ARN may have this one as its dead-letter queue.
    pub(super) fn allows_redrive_of(&self, source_arn: &str) -> bool {
        self.redrive_allow.as_ref().is_none_or(|allowed| allowed.iter().any(|arn| arn == source_arn))
    }

    /// None: a standard queue.
    pub(super) fn fifo(&self) -> Option<stack::Fifo> {
        self.fifo
    }
}

pub(super) fn unknown_attribute(name: &str) -> SqsError {
    let shown: String = name.chars().take(64).collect();
    SqsError::new(Kind::InvalidAttributeName, format!("Unknown Attribute {shown}."))
}

fn bad_value(name: &str, why: &str) -> SqsError {
    SqsError::new(Kind::InvalidAttributeValue, format!("Invalid value for the parameter {name}. Reason: {why}."))
}

fn number(name: &str, value: &str, low: u32, high: u32) -> Result<u32, SqsError> {
    let range = low..=high;
    value.parse().ok().filter(|n| range.contains(n)).ok_or_else(|| bad_value(name, &format!("must be a whole number from {low} to {high}")))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RedrivePolicy {
    dead_letter_target_arn: String,
    /// A number, or a number in a string, which AWS takes too.
    max_receive_count: Value,
}

/// An empty policy takes the redrive off.
fn redrive(value: &str) -> Result<Option<stack::Redrive>, SqsError> {
    if value.is_empty() {
        return Ok(None);
    }
    let policy: RedrivePolicy = serde_json::from_str(value).map_err(|e| {
        let why = format!("it must be JSON with deadLetterTargetArn and maxReceiveCount ({e})");
        bad_value("RedrivePolicy", &why)
    })?;
    let count = match &policy.max_receive_count {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if !policy.dead_letter_target_arn.starts_with("arn:") {
        return Err(bad_value("RedrivePolicy", "deadLetterTargetArn must be the ARN of a queue"));
    }
    Ok(Some(stack::Redrive {
        max_receive_count: number("RedrivePolicy.maxReceiveCount", &count, 1, 1_000)?,
        dead_letter_target_arn: policy.dead_letter_target_arn,
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RedriveAllowPolicy {
    redrive_permission: String,
    source_queue_arns: Option<Vec<String>>,
}

/// Source: SQS API reference, `SetQueueAttributes`, its `RedriveAllowPolicy`. An empty policy allows all.
fn redrive_allow(value: &str) -> Result<Option<Vec<String>>, SqsError> {
    if value.is_empty() {
        return Ok(None);
    }
    let bad = |why: &str| bad_value("RedriveAllowPolicy", why);
    let policy: RedriveAllowPolicy =
        serde_json::from_str(value).map_err(|e| bad(&format!("it must be JSON with redrivePermission ({e})")))?;
    match (policy.redrive_permission.as_str(), policy.source_queue_arns) {
        ("allowAll", None) => Ok(None),
        ("denyAll", None) => Ok(Some(vec![])),
        ("byQueue", Some(arns)) if (1..=MAX_ALLOWED).contains(&arns.len()) => Ok(Some(arns)),
        ("byQueue", _) => Err(bad(&format!("sourceQueueArns must name 1 to {MAX_ALLOWED} queues"))),
        ("allowAll" | "denyAll", Some(_)) => Err(bad("sourceQueueArns goes with the redrivePermission byQueue only")),
        _ => Err(bad("redrivePermission must be allowAll, denyAll or byQueue")),
    }
}

fn allow_policy(allowed: &[String]) -> String {
    if allowed.is_empty() {
        return serde_json::json!({ "redrivePermission": "denyAll" }).to_string();
    }
    serde_json::json!({ "redrivePermission": "byQueue", "sourceQueueArns": allowed }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> Result<Settings, SqsError> {
        Settings::default().with(&BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn attributes_read_back_as_they_were_written() {
        let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:d","maxReceiveCount":"7"}"#;
        let settings = set("RedrivePolicy", policy)
            .unwrap()
            .with(&BTreeMap::from([("VisibilityTimeout".to_owned(), "43200".to_owned()), ("Policy".to_owned(), "{}".to_owned())]));
        let settings = settings.unwrap();
        assert_eq!(settings.redrive().unwrap().max_receive_count, 7);
        assert_eq!(Settings::default().with(&settings.attributes()), Ok(settings));
    }

    #[test]
    fn what_aws_refuses_is_refused() {
        for (name, value) in [
            ("VisibilityTimeout", "43201"),
            ("DelaySeconds", "901"),
            ("MessageRetentionPeriod", "59"),
            ("ReceiveMessageWaitTimeSeconds", "-1"),
            ("MaximumMessageSize", "1048577"),
            ("RedrivePolicy", "7"),
            ("RedrivePolicy", r#"{"deadLetterTargetArn":"arn:x","maxReceiveCount":0}"#),
            ("RedriveAllowPolicy", r#"{"redrivePermission":"byQueue"}"#),
            ("RedriveAllowPolicy", r#"{"redrivePermission":"some"}"#),
            ("RedriveAllowPolicy", r#"{"redrivePermission":"denyAll","sourceQueueArns":["arn:x"]}"#),
            ("Policy", "yes"),
            ("KmsDataKeyReusePeriodSeconds", "59"),
            ("SqsManagedSseEnabled", "maybe"),
        ] {
            assert_eq!(set(name, value).unwrap_err().kind, Kind::InvalidAttributeValue, "{name}={value}");
        }
        assert_eq!(set("Colour", "red").unwrap_err().kind, Kind::InvalidAttributeName);
        for name in ["FifoQueue", "ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit"] {
            assert_eq!(set(name, "true").unwrap_err().kind, Kind::InvalidAttributeName, "a standard queue has no {name}");
        }
    }

    #[test]
    fn an_empty_redrive_policy_takes_it_off() {
        let on = set("RedrivePolicy", r#"{"deadLetterTargetArn":"arn:x","maxReceiveCount":1}"#).unwrap();
        let off = on.with(&BTreeMap::from([("RedrivePolicy".to_owned(), String::new())])).unwrap();
        assert_eq!(off.redrive(), None);
    }

    fn fifo(more: &[(&str, &str)]) -> Result<Settings, SqsError> {
        let all = [("FifoQueue", "true")].iter().chain(more);
        Settings::of_attributes(&all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_fifo_queue_stays_one_and_reads_back() {
        let settings = fifo(&[("ContentBasedDeduplication", "true"), ("DeduplicationScope", "messageGroup")]).unwrap();
        assert_eq!(Settings::of_attributes(&settings.attributes()), Ok(settings.clone()));
        let asked = |value: &str| BTreeMap::from([("FifoQueue".to_owned(), value.to_owned())]);
        assert_eq!(settings.with(&asked("true")), Ok(settings.clone()));
        assert_eq!(settings.with(&asked("false")).unwrap_err().kind, Kind::InvalidAttributeValue);
        let limit = [("FifoThroughputLimit", "perMessageGroupId")];
        assert_eq!(fifo(&limit).unwrap_err().kind, Kind::InvalidAttributeValue, "it needs the other scope");
        assert!(fifo(&[limit[0], ("DeduplicationScope", "messageGroup")]).is_ok());
    }

    #[test]
    fn one_kind_of_encryption_at_a_time() {
        let key = set("KmsMasterKeyId", "alias/key").unwrap();
        assert_eq!(key.attributes()["SqsManagedSseEnabled"], "false");
        assert_eq!(Settings::of_attributes(&key.attributes()), Ok(key.clone()));
        let managed = key.with(&BTreeMap::from([("SqsManagedSseEnabled".to_owned(), "true".to_owned())])).unwrap();
        assert!(!managed.attributes().contains_key("KmsMasterKeyId"));
        let both = [("KmsMasterKeyId", "k"), ("SqsManagedSseEnabled", "true")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(Settings::of_attributes(&both.into()).unwrap_err().kind, Kind::InvalidAttributeName);
    }

    #[test]
    fn a_dead_letter_queue_says_who_may_use_it() {
        assert!(Settings::default().allows_redrive_of("arn:a"));
        assert!(!set("RedriveAllowPolicy", r#"{"redrivePermission":"denyAll"}"#).unwrap().allows_redrive_of("arn:a"));
        let some = set("RedriveAllowPolicy", r#"{"redrivePermission":"byQueue","sourceQueueArns":["arn:a"]}"#).unwrap();
        assert!(some.allows_redrive_of("arn:a") && !some.allows_redrive_of("arn:b"));
        assert_eq!(Settings::of_attributes(&some.attributes()), Ok(some));
    }
}
