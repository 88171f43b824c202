//! SQS batches as Lambda hands them over, and the answer to them. Pure.

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use pipeline::ports::Delivery;
use serde_json::{Value, json};

/// One message of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub delivery: Delivery,
    pub body: String,
}

/// The messages of an event. An event that is no batch is an error in words.
pub fn messages(event: Value) -> Result<Vec<Message>, String> {
    let event: SqsEvent = serde_json::from_value(event).map_err(|e| format!("the event is no SQS batch: {e}"))?;
    event.records.into_iter().map(message).collect()
}

fn message(record: SqsMessage) -> Result<Message, String> {
    let id = record.message_id.ok_or("a record has no messageId")?;
    let arn = record.event_source_arn.unwrap_or_default();
    let queue = queue_url(&arn).ok_or_else(|| format!("message {id} names no queue: `{arn}`"))?;
    let receives = record.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1);
    let receipt = record.receipt_handle.ok_or_else(|| format!("message {id} has no receiptHandle"))?;
    Ok(Message { delivery: Delivery { message: id, receipt, queue, receives }, body: record.body.unwrap_or_default() })
}

/// A queue's URL from its ARN. Elsewhere than on AWS the endpoint comes from the configuration, and only account and name
/// of this URL count.
fn queue_url(arn: &str) -> Option<String> {
    let mut parts = arn.splitn(6, ':');
    let (_, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
    let (region, account, name) = (parts.next()?, parts.next()?, parts.next()?);
    let domain = if partition == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
    (service == "sqs" && !name.is_empty()).then(|| format!("https://sqs.{region}.{domain}/{account}/{name}"))
}

/// The partial-batch answer: messages named here come back, the others are deleted.
pub fn answer(failed: &[String]) -> Value {
    let failures: Vec<Value> = failed.iter().map(|id| json!({ "itemIdentifier": id })).collect();
    json!({ "batchItemFailures": failures })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_read_with_its_queues_address() {
        let event = json!({"Records": [{
            "messageId": "m1", "receiptHandle": "r1", "body": "{}", "attributes": {"ApproximateReceiveCount": "3"},
            "messageAttributes": {}, "md5OfBody": "x", "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:stack-merge", "awsRegion": "eu-west-1"}]});
        let queue = "https://sqs.eu-west-1.amazonaws.com/123456789012/stack-merge".to_owned();
        let delivery = Delivery { message: "m1".into(), receipt: "r1".into(), queue, receives: 3 };
        assert_eq!(messages(event), Ok(vec![Message { delivery, body: "{}".into() }]));
    }

    #[test]
    fn what_is_no_batch_is_refused_in_words() {
        for (event, why) in [
            (json!({"detail": 1}), "no SQS batch"),
            (json!({"Records": [{"body": "x"}]}), "messageId"),
            (json!({"Records": [{"messageId": "m", "receiptHandle": "r", "eventSourceARN": "arn:aws:s3:::b"}]}), "names no queue"),
        ] {
            assert!(messages(event).unwrap_err().contains(why), "{why}");
        }
    }

    #[test]
    fn the_answer_names_what_failed() {
        assert_eq!(answer(&[]), json!({"batchItemFailures": []}));
        assert_eq!(answer(&["m1".into()]), json!({"batchItemFailures": [{"itemIdentifier": "m1"}]}));
    }
}
