//! Batches of messages: the event that a function is given, and what its answer means. Pure.

use std::collections::HashSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::{sqs::Received, stack::REGION};

/// Most bytes of one event. Source: AWS Lambda quotas, "Invocation payload".
const MAX_EVENT: usize = 6_291_556;
/// `{"Records":[]}`
const FRAME: usize = 14;

/// An event and the messages in it.
#[derive(Debug)]
pub struct Batch {
    pub event: Bytes,
    pub messages: Vec<Received>,
}

/// Which messages of a batch are done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    All,
    /// All but these, by message id.
    AllBut(HashSet<String>),
    /// The answer makes no sense: none is.
    None(&'static str),
}

/// Whether these messages, at the least, fill an event.
pub fn fills_an_event(messages: &[Received]) -> bool {
    messages.iter().map(|message| message.body.len()).sum::<usize>() >= MAX_EVENT
}

/// Puts messages into as few events as may be, in order.
pub fn batches(messages: Vec<Received>, queue_arn: &str) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let (mut records, mut members, mut size) = (Vec::new(), Vec::new(), FRAME);
    for message in messages {
        let record = record(&message, queue_arn).to_string();
        if size + record.len() + 1 > MAX_EVENT && !members.is_empty() {
            batches.push(batch(&records, std::mem::take(&mut members)));
            records.clear();
            size = FRAME;
        }
        size += record.len() + 1;
        records.push(record);
        members.push(message);
    }
    if !members.is_empty() {
        batches.push(batch(&records, members));
    }
    batches
}

fn batch(records: &[String], messages: Vec<Received>) -> Batch {
    Batch { event: format!("{{\"Records\":[{}]}}", records.join(",")).into(), messages }
}

/// Source: AWS Lambda developer guide, "Example Amazon SQS message event".
pub fn record(message: &Received, queue_arn: &str) -> Value {
    let attributes: Map<String, Value> = message
        .message_attributes
        .iter()
        .map(|(name, attribute)| {
            let mut value = json!({ "stringListValues": [], "binaryListValues": [], "dataType": attribute.data_type });
            if let Some(string) = &attribute.string_value {
                value["stringValue"] = json!(string);
            }
            if let Some(binary) = &attribute.binary_value {
                value["binaryValue"] = json!(STANDARD.encode(binary));
            }
            (name.clone(), value)
        })
        .collect();
    json!({
        "messageId": message.message_id,
        "receiptHandle": message.receipt_handle,
        "body": message.body,
        "attributes": message.attributes,
        "messageAttributes": attributes,
        "md5OfBody": message.md5_of_body,
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": REGION,
    })
}

/// Reads a partial batch response. Source: AWS Lambda developer guide, "Implementing partial batch responses", success
/// and failure conditions: an empty or null list, or an empty or null response, is success; a response that is not
/// JSON, an identifier that is empty, null, misnamed or not of this batch fails all of it.
pub fn verdict(answer: &[u8], messages: &[Received]) -> Verdict {
    let answer = if answer.is_empty() {
        Value::Null
    } else {
        match serde_json::from_slice(answer) {
            Ok(answer) => answer,
            Err(_) => return Verdict::None("the answer is not JSON"),
        }
    };
    let failures = match answer.get("batchItemFailures") {
        // AWS ignores an answer that is not about failures.
        None | Some(Value::Null) => return Verdict::All,
        Some(Value::Array(failures)) => failures,
        Some(_) => return Verdict::None("batchItemFailures is not a list"),
    };
    let mut failed = HashSet::new();
    for failure in failures {
        let Some(id) = failure.get("itemIdentifier").and_then(Value::as_str).filter(|id| !id.is_empty()) else {
            return Verdict::None("an entry of batchItemFailures has no itemIdentifier");
        };
        if !messages.iter().any(|message| message.message_id == id) {
            return Verdict::None("an itemIdentifier is not of this batch");
        }
        failed.insert(id.to_owned());
    }
    if failed.is_empty() { Verdict::All } else { Verdict::AllBut(failed) }
}

/// Receipt handles of the messages that are done.
pub fn done(verdict: &Verdict, messages: &[Received]) -> Vec<String> {
    let is_done = |message: &&Received| match verdict {
        Verdict::All => true,
        Verdict::AllBut(failed) => !failed.contains(&message.message_id),
        Verdict::None(_) => false,
    };
    messages.iter().filter(is_done).map(|message| message.receipt_handle.clone()).collect()
}

#[cfg(test)]
pub mod tests {
    use std::collections::BTreeMap;

    use crate::sqs::MessageAttribute;

    use super::*;

    pub fn message(id: &str, body: &str) -> Received {
        let attribute = MessageAttribute { data_type: "Binary".into(), string_value: None, binary_value: Some(vec![1, 2]) };
        Received {
            message_id: id.into(),
            receipt_handle: format!("handle of {id}"),
            body: body.into(),
            md5_of_body: "md5".into(),
            attributes: BTreeMap::from([("ApproximateReceiveCount".into(), "1".into())]),
            message_attributes: BTreeMap::from([("a".into(), attribute)]),
        }
    }

    #[test]
    fn answers_mean_what_aws_says() {
        let messages = [message("1", ""), message("2", "")];
        let verdict = |answer: &str| verdict(answer.as_bytes(), &messages);
        for all in ["", "null", "{}", r#"{"batchItemFailures":[]}"#, r#"{"batchItemFailures":null}"#, r#""OK""#] {
            assert_eq!(verdict(all), Verdict::All, "{all}");
        }
        for none in [
            "{",
            r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#,
            r#"{"batchItemFailures":[{"messageId":"1"}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":"1"},{"itemIdentifier":"3"}]}"#,
            r#"{"batchItemFailures":"1"}"#,
        ] {
            assert!(matches!(verdict(none), Verdict::None(_)), "{none}");
            assert_eq!(done(&verdict(none), &messages), Vec::<String>::new());
        }
        let part = verdict(r#"{"batchItemFailures":[{"itemIdentifier":"1"}]}"#);
        assert_eq!(done(&part, &messages), ["handle of 2"]);
    }

    #[test]
    fn event_is_shaped_as_on_aws() {
        let arn = "arn:aws:sqs:us-east-1:000000000000:q";
        let batches = batches(vec![message("1", "{\"a\":1}")], arn);
        let event: Value = serde_json::from_slice(&batches[0].event).unwrap();
        assert_eq!(
            event,
            json!({ "Records": [{
                "messageId": "1", "receiptHandle": "handle of 1", "body": "{\"a\":1}", "md5OfBody": "md5",
                "attributes": { "ApproximateReceiveCount": "1" },
                "messageAttributes": { "a": {
                    "binaryValue": "AQI=", "dataType": "Binary", "stringListValues": [], "binaryListValues": [],
                } },
                "eventSource": "aws:sqs", "eventSourceARN": arn, "awsRegion": "us-east-1",
            }] })
        );
    }

    #[test]
    fn big_messages_are_spread_over_events() {
        let body = "\"".repeat(1 << 20);
        let messages: Vec<_> = (0..10).map(|id| message(&id.to_string(), &body)).collect();
        let batches = batches(messages, "arn");
        assert!(batches.iter().all(|batch| batch.event.len() <= MAX_EVENT));
        assert_eq!(batches.iter().map(|batch| batch.messages.len()).collect::<Vec<_>>(), [2; 5]);
    }
}
