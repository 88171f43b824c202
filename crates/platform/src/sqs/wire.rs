//! AWS's two protocols: one operation in, one HTTP answer out. The older query protocol is read into the JSON protocol's
//! requests and its answers are written from that one's, so that there is one meaning of each operation.

mod access;
mod messages;
mod moves;
mod query;
mod queues;
mod xml;

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
        let answer = async { self.dispatch(operation, read(body)?, endpoint).await };
        match answer.await {
            Ok(value) => respond(200, &value, None),
            Err(error) => {
                log(operation, &error);
                refusal(&error)
            }
        }
    }

    /// Runs one operation of the query protocol: parameters in the query of `path_and_query` and in a form-encoded body,
    /// the queue by its parameter or by the path. The answer is XML, errors too.
    pub async fn handle_query(&self, path_and_query: &str, body: &[u8], endpoint: &str) -> Response<Bytes> {
        let request = match query::read(path_and_query, body, endpoint) {
            Ok(request) => request,
            Err(error) => return xml::refusal(&error),
        };
        match self.dispatch(&request.action, request.fields, endpoint).await {
            Ok(value) => xml::answer(&request.action, &value),
            Err(error) => {
                log(&request.action, &error);
                xml::refusal(&error)
            }
        }
    }

    async fn dispatch(&self, operation: &str, fields: Value, endpoint: &str) -> Answer {
        match operation {
            "SendMessage" => self.send_message(parse(fields)?).await,
            "SendMessageBatch" => self.send_message_batch(parse(fields)?).await,
            "ReceiveMessage" => self.receive_message(parse(fields)?).await,
            "DeleteMessage" => self.delete_message(parse(fields)?).await,
            "DeleteMessageBatch" => self.delete_message_batch(parse(fields)?).await,
            "ChangeMessageVisibility" => self.change_message_visibility(parse(fields)?).await,
            "ChangeMessageVisibilityBatch" => self.change_message_visibility_batch(parse(fields)?).await,
            "GetQueueUrl" => self.get_queue_url(parse(fields)?, endpoint).await,
            "GetQueueAttributes" => self.get_queue_attributes(parse(fields)?).await,
            "SetQueueAttributes" => self.set_queue_attributes(parse(fields)?).await,
            "ListQueues" => self.list_queues(parse(fields)?, endpoint).await,
            "ListDeadLetterSourceQueues" => self.list_sources(parse(fields)?, endpoint).await,
            "CreateQueue" => self.create_queue(parse(fields)?, endpoint).await,
            "DeleteQueue" => self.delete_queue(parse(fields)?).await,
            "PurgeQueue" => self.purge_queue(parse(fields)?).await,
            "TagQueue" => self.tag_queue(parse(fields)?).await,
            "UntagQueue" => self.untag_queue(parse(fields)?).await,
            "ListQueueTags" => self.list_queue_tags(parse(fields)?).await,
            "AddPermission" => self.add_permission(parse(fields)?).await,
            "RemovePermission" => self.remove_permission(parse(fields)?).await,
            "StartMessageMoveTask" => self.start_message_move_task(parse(fields)?).await,
            "ListMessageMoveTasks" => self.list_message_move_tasks(parse(fields)?).await,
            "CancelMessageMoveTask" => self.cancel_message_move_task(parse(fields)?).await,
            _ => {
                let shown: String = operation.chars().take(64).collect();
                let text = format!("The action {shown} is not valid for this endpoint.");
                Err(SqsError::new(Kind::UnknownOperation, text))
            }
        }
    }
}

fn log(operation: &str, error: &SqsError) {
    let level = if error.kind.is_ours() { "fault" } else { "refused" };
    tracing::debug!(operation, %error, level, "sqs: request not done");
}

/// Operation and fields of a request of the query protocol; none of one that cannot be read.
pub(crate) fn query(path_and_query: &str, body: &[u8], endpoint: &str) -> Option<(String, Value)> {
    query::read(path_and_query, body, endpoint).ok().map(|request| (request.action, request.fields))
}

/// A refusal by the gateway, as a client of the query protocol reads it.
pub(crate) fn query_refusal(status: u16, code: &str, message: &str) -> Response<Bytes> {
    xml::error(status, code, status < 500, message)
}

/// An empty body stands for an empty object, as SDKs send it for operations without input.
fn read(body: &[u8]) -> Answer {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|e| not_valid(&e))
}

fn parse<T: DeserializeOwned>(fields: Value) -> Result<T, SqsError> {
    serde_json::from_value(fields).map_err(|e| not_valid(&e))
}

fn not_valid(error: &serde_json::Error) -> SqsError {
    SqsError::new(Kind::Serialization, format!("The request is not valid: {error}"))
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
    let whose = if error.kind.is_ours() { "Receiver" } else { "Sender" };
    let status = error.kind.status(false);
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
