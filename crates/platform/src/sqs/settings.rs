//! The attributes of a queue that its owner sets.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::error::{Kind, SqsError};
use crate::stack;

/// Attributes that the platform keeps and answers, and that change nothing here: access is by the platform's one key,
/// and the disk is the user's own.
const KEPT_ONLY: [&str; 5] = ["Policy", "RedriveAllowPolicy", "KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds", "SqsManagedSseEnabled"];
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
            kept: BTreeMap::from([("SqsManagedSseEnabled".to_owned(), "true".to_owned())]),
        }
    }
}

impl Settings {
    /// These settings with some attributes set anew, all or none.
    pub(super) fn with(&self, attributes: &BTreeMap<String, String>) -> Result<Self, SqsError> {
        let mut next = self.clone();
        for (name, value) in attributes {
            next.set(name, value)?;
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
            "FifoQueue" if value == "false" => {}
            "FifoQueue" | "ContentBasedDeduplication" | "DeduplicationScope" | "FifoThroughputLimit" => {
                return Err(no_fifo());
            }
            _ if KEPT_ONLY.contains(&name) => {
                if value.len() > MAX_KEPT {
                    return Err(bad_value(name, &format!("it is longer than {MAX_KEPT} bytes")));
                }
                self.kept.insert(name.to_owned(), value.to_owned());
            }
            _ => return Err(unknown_attribute(name)),
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
        all
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
        Self::default().with(&asked)
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
}

/// FIFO queues are a promise of order that this platform does not keep yet, so it does not make it.
pub(super) fn no_fifo() -> SqsError {
    SqsError::new(
        Kind::UnsupportedOperation,
        "FIFO queues are not offered by this platform yet: use a standard queue (a name without \".fifo\"); MessageGroupId works there for fair sharing.",
    )
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
        ] {
            assert_eq!(set(name, value).unwrap_err().kind, Kind::InvalidAttributeValue, "{name}={value}");
        }
        assert_eq!(set("Colour", "red").unwrap_err().kind, Kind::InvalidAttributeName);
        assert_eq!(set("FifoQueue", "true").unwrap_err().kind, Kind::UnsupportedOperation);
    }

    #[test]
    fn an_empty_redrive_policy_takes_it_off() {
        let on = set("RedrivePolicy", r#"{"deadLetterTargetArn":"arn:x","maxReceiveCount":1}"#).unwrap();
        let off = on.with(&BTreeMap::from([("RedrivePolicy".to_owned(), String::new())])).unwrap();
        assert_eq!(off.redrive(), None);
    }
}
