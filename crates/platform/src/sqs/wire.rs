//! AWS's JSON protocol: one operation in, one HTTP answer out.

mod messages;
mod queues;

use bytes::Bytes;
use http::Response;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Sqs,
    error::{Kind, SqsError},
};
use crate::stack;

type Answer = Result<Value, SqsError>;

impl Sqs {
    /// Runs one operation of the JSON protocol (`x-amz-target: AmazonSQS.<operation>`). Queue URLs are
    /// `<endpoint>/000000000000/<name>`. Errors are answers too.
    pub async fn handle(&self, operation: &str, body: &[u8], endpoint: &str) -> Response<Bytes> {
        match self.dispatch(operation, body, endpoint).await {
            Ok(value) => respond(200, &value, None),
            Err(error) => {
                let level = if error.kind.is_ours() { "fault" } else { "refused" };
                tracing::debug!(operation, error = %error, level, "sqs: request not done");
                refusal(&error)
            }
        }
    }

    async fn dispatch(&self, operation: &str, body: &[u8], endpoint: &str) -> Answer {
        match operation {
            "SendMessage" => self.send_message(parse(body)?).await,
            "SendMessageBatch" => self.send_message_batch(parse(body)?).await,
            "ReceiveMessage" => self.receive_message(parse(body)?).await,
            "DeleteMessage" => self.delete_message(parse(body)?).await,
            "DeleteMessageBatch" => self.delete_message_batch(parse(body)?).await,
            "ChangeMessageVisibility" => self.change_message_visibility(parse(body)?).await,
            "ChangeMessageVisibilityBatch" => self.change_message_visibility_batch(parse(body)?).await,
            "GetQueueUrl" => self.get_queue_url(parse(body)?, endpoint).await,
            "GetQueueAttributes" => self.get_queue_attributes(parse(body)?).await,
            "SetQueueAttributes" => self.set_queue_attributes(parse(body)?).await,
            "ListQueues" => self.list_queues(parse(body)?, endpoint).await,
            "ListDeadLetterSourceQueues" => self.list_sources(parse(body)?, endpoint).await,
            "CreateQueue" => self.create_queue(parse(body)?, endpoint).await,
            "DeleteQueue" => self.delete_queue(parse(body)?).await,
            "PurgeQueue" => self.purge_queue(parse(body)?).await,
            _ => {
                let shown: String = operation.chars().take(64).collect();
                let text = format!("The action {shown} is not one that this platform offers for SQS.");
                Err(SqsError::new(Kind::UnknownOperation, text))
            }
        }
    }
}

/// An empty body stands for an empty object, as SDKs send it for operations without input.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, SqsError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|e| SqsError::new(Kind::Serialization, format!("The request is not valid: {e}")))
}

fn to_value(value: &impl Serialize) -> Answer {
    serde_json::to_value(value).map_err(|e| SqsError::internal("Cannot write the answer", &e))
}

fn respond(status: u16, value: &Value, query_error: Option<String>) -> Response<Bytes> {
    // AWS answers operations without output with no body at all.
    let body = if value.is_null() { Bytes::new() } else { Bytes::from(value.to_string()) };
    let mut response = Response::builder()
        .status(status)
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amzn-requestid", Uuid::new_v4().to_string());
    if let Some(error) = query_error {
        response = response.header("x-amzn-query-error", error);
    }
    response.body(body).unwrap_or_default()
}

fn refusal(error: &SqsError) -> Response<Bytes> {
    let (shape, query_code) = error.kind.names();
    let (status, whose) = if error.kind.is_ours() { (500, "Receiver") } else { (400, "Sender") };
    let body = json!({ "__type": shape, "message": error.message });
    respond(status, &body, Some(format!("{query_code};{whose}")))
}

fn queue_url(endpoint: &str, name: &str) -> String {
    format!("{}/{}/{name}", endpoint.trim_end_matches('/'), stack::ACCOUNT)
}

/// The queue's name: the end of its URL. The host is whatever name the caller reached the platform by.
fn queue_name(url: Option<&String>) -> Result<&str, SqsError> {
    let url = url.ok_or_else(|| SqsError::missing("QueueUrl"))?;
    Ok(url.trim_end_matches('/').rsplit('/').next().unwrap_or_default())
}
