//! Operations on messages.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Answer, queue_name, to_value};
use crate::sqs::{
    Accepted, Outgoing, Receive, Received, Sqs,
    error::{Kind, SqsError},
    message::{Content, MessageAttribute, md5_of_attributes, md5_of_body},
    settings::MAX_MESSAGE,
};

const MAX_BATCH: usize = 10;

/// A message to send: the request itself, or an entry of a batch.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ToSend {
    message_body: Option<String>,
    delay_seconds: Option<i64>,
    #[serde(default)]
    message_attributes: BTreeMap<String, MessageAttribute>,
    #[serde(default)]
    message_system_attributes: BTreeMap<String, MessageAttribute>,
    message_group_id: Option<String>,
    message_deduplication_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SendMessage {
    queue_url: Option<String>,
    #[serde(flatten)]
    message: ToSend,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Batch<T> {
    queue_url: Option<String>,
    #[serde(default = "Vec::new")]
    entries: Vec<BatchEntry<T>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BatchEntry<T> {
    #[serde(default)]
    id: String,
    #[serde(flatten)]
    value: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ByHandle {
    receipt_handle: Option<String>,
    visibility_timeout: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OneByHandle {
    queue_url: Option<String>,
    #[serde(flatten)]
    value: ByHandle,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ReceiveMessage {
    queue_url: Option<String>,
    max_number_of_messages: Option<i64>,
    wait_time_seconds: Option<i64>,
    visibility_timeout: Option<i64>,
    receive_request_attempt_id: Option<String>,
    #[serde(default)]
    attribute_names: Vec<String>,
    #[serde(default)]
    message_system_attribute_names: Vec<String>,
    #[serde(default)]
    message_attribute_names: Vec<String>,
}

/// The id of a batch's entry, and the fields of its answer.
type BatchResult = (String, Result<Map<String, Value>, SqsError>);

/// What the answer to a sent message says beside its id.
struct Digests {
    body: String,
    attributes: Option<String>,
    system: Option<String>,
}

impl ToSend {
    fn digests(&self) -> Digests {
        Digests {
            body: md5_of_body(self.message_body.as_deref().unwrap_or_default()),
            attributes: md5_of_attributes(&self.message_attributes),
            system: md5_of_attributes(&self.message_system_attributes),
        }
    }

    fn outgoing(mut self) -> Result<Outgoing, SqsError> {
        check_id("MessageGroupId", self.message_group_id.as_deref())?;
        check_id("MessageDeduplicationId", self.message_deduplication_id.as_deref())?;
        let trace = self.message_system_attributes.remove("AWSTraceHeader");
        if let Some(other) = self.message_system_attributes.keys().next() {
            let shown: String = other.chars().take(64).collect();
            return Err(SqsError::invalid(format!("Message system attribute name '{shown}' is invalid.")));
        }
        let trace = match trace.map(|attribute| (attribute.data_type, attribute.string_value)) {
            None => None,
            Some((kind, Some(text))) if kind == "String" => Some(text),
            Some(_) => return Err(SqsError::invalid("The system attribute AWSTraceHeader must be a String.")),
        };
        let body = self.message_body.ok_or_else(|| SqsError::missing("MessageBody"))?;
        let content = Content { body, attributes: self.message_attributes, trace };
        let (group, dedup) = (self.message_group_id, self.message_deduplication_id);
        Ok(Outgoing { content, group, dedup, delay_s: self.delay_seconds })
    }
}

impl Digests {
    fn write(self, accepted: Accepted, into: &mut Map<String, Value>) {
        into.insert("MessageId".into(), json!(accepted.id.to_string()));
        into.insert("MD5OfMessageBody".into(), json!(self.body));
        for (name, digest) in [
            ("MD5OfMessageAttributes", self.attributes),
            ("MD5OfMessageSystemAttributes", self.system),
            ("SequenceNumber", accepted.sequence_number),
        ] {
            into.extend(digest.map(|digest| (name.to_owned(), json!(digest))));
        }
    }
}

impl Sqs {
    pub(super) async fn send_message(&self, request: SendMessage) -> Answer {
        let name = queue_name(request.queue_url.as_ref())?;
        let digests = request.message.digests();
        let sent = self.send_many(name, vec![request.message.outgoing()?]).await?;
        let mut answer = Map::new();
        digests.write(only(sent)?, &mut answer);
        Ok(Value::Object(answer))
    }

    pub(super) async fn send_message_batch(&self, request: Batch<ToSend>) -> Answer {
        let name = queue_name(request.queue_url.as_ref())?;
        check_batch(&request.entries)?;
        let (mut ids, mut digests, mut outgoing) = (Vec::new(), Vec::new(), Vec::new());
        let mut results: Vec<BatchResult> = Vec::new();
        let mut size = 0;
        for entry in request.entries {
            let digest = entry.value.digests();
            match entry.value.outgoing() {
                Ok(message) => {
                    size += message.content.size();
                    ids.push(entry.id);
                    digests.push(digest);
                    outgoing.push(message);
                }
                Err(error) => results.push((entry.id, Err(error))),
            }
        }
        if size > MAX_MESSAGE {
            let text = format!("Batch requests cannot be longer than {MAX_MESSAGE} bytes. You have sent {size} bytes.");
            return Err(SqsError::new(Kind::BatchRequestTooLong, text));
        }
        // AWS's code for a batch, unlike that for a single message.
        let in_batch = |error: SqsError| if error.kind == Kind::MissingParameter { SqsError::invalid(error.message) } else { error };
        let sent = self.send_many(name, outgoing).await.map_err(in_batch)?;
        for ((id, digest), sent) in ids.into_iter().zip(digests).zip(sent) {
            let answer = sent.map(|accepted| {
                let mut fields = Map::new();
                digest.write(accepted, &mut fields);
                fields
            });
            results.push((id, answer));
        }
        Ok(batch_answer(results))
    }

    pub(super) async fn receive_message(&self, request: ReceiveMessage) -> Answer {
        let name = queue_name(request.queue_url.as_ref())?;
        let ask = Receive {
            max: request.max_number_of_messages.unwrap_or(1),
            wait_ms: request.wait_time_seconds.map(|seconds| seconds.saturating_mul(1000)),
            visibility_s: request.visibility_timeout,
            attempt: request.receive_request_attempt_id.clone(),
        };
        check_id("ReceiveRequestAttemptId", ask.attempt.as_deref())?;
        let received = self.receive_many(name, ask).await?;
        if received.is_empty() {
            return Ok(json!({}));
        }
        let messages: Result<Vec<Value>, SqsError> = received.into_iter().map(|m| write_message(m, &request)).collect();
        Ok(json!({ "Messages": messages? }))
    }

    pub(super) async fn delete_message(&self, request: OneByHandle) -> Answer {
        let name = queue_name(request.queue_url.as_ref())?;
        let handle = request.value.receipt_handle.ok_or_else(|| SqsError::missing("ReceiptHandle"))?;
        only(self.delete_many(name, vec![handle]).await?)?;
        Ok(Value::Null)
    }

    pub(super) async fn delete_message_batch(&self, request: Batch<ByHandle>) -> Answer {
        let name = queue_name(request.queue_url.as_ref())?;
        check_batch(&request.entries)?;
        let (ids, values): (Vec<String>, Vec<ByHandle>) = request.entries.into_iter().map(|e| (e.id, e.value)).unzip();
        let handles = values.into_iter().map(|value| value.receipt_handle.unwrap_or_default()).collect();
        let done = self.delete_many(name, handles).await?;
        Ok(batch_answer(ids.into_iter().zip(done.into_iter().map(|done| done.map(|()| Map::new())))))
    }

    pub(super) async fn change_message_visibility(&self, request: OneByHandle) -> Answer {
        let name = queue_name(request.queue_url.as_ref())?;
        let handle = request.value.receipt_handle.ok_or_else(|| SqsError::missing("ReceiptHandle"))?;
        let seconds = request.value.visibility_timeout.ok_or_else(|| SqsError::missing("VisibilityTimeout"))?;
        only(self.change_many(name, vec![(handle, seconds)]).await?)?;
        Ok(Value::Null)
    }

    pub(super) async fn change_message_visibility_batch(&self, request: Batch<ByHandle>) -> Answer {
        let name = queue_name(request.queue_url.as_ref())?;
        check_batch(&request.entries)?;
        let (ids, values): (Vec<String>, Vec<ByHandle>) = request.entries.into_iter().map(|e| (e.id, e.value)).unzip();
        let changes = values.into_iter().map(|value| {
            // Optional in a batch, and 30 s there if left out is not promised by AWS: it is refused as missing is.
            (value.receipt_handle.unwrap_or_default(), value.visibility_timeout.unwrap_or(-1))
        });
        let done = self.change_many(name, changes.collect()).await?;
        Ok(batch_answer(ids.into_iter().zip(done.into_iter().map(|done| done.map(|()| Map::new())))))
    }
}

/// The one result of a batch of one.
fn only<T>(results: Vec<Result<T, SqsError>>) -> Result<T, SqsError> {
    results.into_iter().next().unwrap_or_else(|| Err(SqsError::internal("No answer to the request", &"empty batch")))
}

fn check_batch<T>(entries: &[BatchEntry<T>]) -> Result<(), SqsError> {
    if entries.is_empty() {
        return Err(SqsError::new(Kind::EmptyBatchRequest, "There should be at least one entry in the request."));
    }
    if entries.len() > MAX_BATCH {
        let text = format!("Maximum number of entries per request are {MAX_BATCH}. You have sent {}.", entries.len());
        return Err(SqsError::new(Kind::TooManyEntriesInBatchRequest, text));
    }
    let mut seen = HashSet::new();
    for entry in entries {
        let fits = (1..=80).contains(&entry.id.len());
        if !fits || !entry.id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            let text =
                "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.";
            return Err(SqsError::new(Kind::InvalidBatchEntryId, text));
        }
        if !seen.insert(entry.id.as_str()) {
            return Err(SqsError::new(Kind::BatchEntryIdsNotDistinct, format!("Id {} repeated.", entry.id)));
        }
    }
    Ok(())
}

fn batch_answer(results: impl IntoIterator<Item = BatchResult>) -> Value {
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for (id, result) in results {
        match result {
            Ok(mut fields) => {
                fields.insert("Id".into(), json!(id));
                successful.push(Value::Object(fields));
            }
            Err(error) => {
                let code = error.kind.names().1;
                let sender = !error.kind.is_ours();
                failed.push(json!({ "Id": id, "Code": code, "Message": error.message, "SenderFault": sender }));
            }
        }
    }
    json!({ "Successful": successful, "Failed": failed })
}

fn write_message(message: Received, request: &ReceiveMessage) -> Answer {
    let mut answer = Map::from_iter([
        ("MessageId".to_owned(), json!(message.message_id)),
        ("ReceiptHandle".to_owned(), json!(message.receipt_handle)),
        ("MD5OfBody".to_owned(), json!(message.md5_of_body)),
        ("Body".to_owned(), json!(message.body)),
    ]);
    let asked = |name: &str| {
        let mut names = request.attribute_names.iter().chain(&request.message_system_attribute_names);
        names.any(|asked| asked == name || asked == "All")
    };
    let mut system = message.attributes;
    system.retain(|name, _| asked(name));
    if !system.is_empty() {
        answer.insert("Attributes".into(), to_value(&system)?);
    }
    let mut own = message.message_attributes;
    own.retain(|name, _| request.message_attribute_names.iter().any(|pattern| matches(pattern, name)));
    if let Some(digest) = md5_of_attributes(&own) {
        answer.insert("MD5OfMessageAttributes".into(), json!(digest));
        answer.insert("MessageAttributes".into(), to_value(&own)?);
    }
    Ok(Value::Object(answer))
}

/// `All`, `.*`, a name, or the beginning of names: `prefix.*`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern {
        "All" | ".*" => true,
        _ => pattern == name || pattern.strip_suffix(".*").is_some_and(|prefix| name.starts_with(prefix)),
    }
}

/// Source: SQS API reference, `SendMessage`, its `MessageGroupId` and `MessageDeduplicationId`.
fn check_id(parameter: &str, id: Option<&str>) -> Result<(), SqsError> {
    match id {
        Some(id) if !(1..=128).contains(&id.len()) || !id.bytes().all(|b| b.is_ascii_graphic()) => Err(SqsError::invalid(format!(
            "Value for parameter {parameter} is invalid. Reason: {parameter} can only include alphanumeric and punctuation characters. 1 to 128 in length."
        ))),
        _ => Ok(()),
    }
}
