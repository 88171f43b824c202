//! Which requests make the stores hold more: what is refused while the disk has no room. S3 counts the bytes of its
//! objects itself.

use bytes::Bytes;
use http::{Response, StatusCode, request::Parts};

use super::{answers, route::Service};

/// Whether a JSON or query request of a service stores something. Reads, deletes and settings go on.
pub(super) fn stores(service: Service, operation: &str, body: &[u8]) -> bool {
    let has = |word: &str| body.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()));
    match (service, operation) {
        (Service::DynamoDb, "PutItem" | "UpdateItem" | "CreateTable" | "UpdateTable")
        | (Service::Sqs | Service::SqsQuery, "SendMessage" | "SendMessageBatch" | "CreateQueue")
        | (Service::Logs, "PutLogEvents" | "CreateLogGroup" | "CreateLogStream") => true,
        (Service::DynamoDb, "BatchWriteItem") => has("\"PutRequest\""),
        (Service::DynamoDb, "TransactWriteItems") => has("\"Put\"") || has("\"Update\""),
        (Service::DynamoDb, "ExecuteStatement" | "BatchExecuteStatement" | "ExecuteTransaction") => has("insert") || has("update"),
        _ => false,
    }
}

/// Whether an invocation is kept before it is done.
pub(super) fn keeps(parts: &Parts) -> bool {
    let kind = parts.headers.get("x-amz-invocation-type").and_then(|kind| kind.to_str().ok());
    kind == Some("Event") || parts.uri.path().ends_with("/invoke-async")
}

/// The operation of a query request: in its form, or in its address.
pub(super) fn action<'a>(parts: &'a Parts, body: &'a [u8]) -> &'a str {
    let form = std::str::from_utf8(body).unwrap_or_default();
    let mut pairs = form.split('&').chain(parts.uri.query().unwrap_or_default().split('&'));
    pairs.find_map(|pair| pair.trim().strip_prefix("Action=")).unwrap_or_default()
}

/// The answer to one that is refused: no client tries it again by itself, as S3's clients do not either.
pub(super) fn refused(service: Service, reason: &str) -> Response<Bytes> {
    answers::error(service, StatusCode::INSUFFICIENT_STORAGE, "InsufficientStorage", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stores_is_told_from_what_frees() {
        for (service, operation, body, expected) in [
            (Service::DynamoDb, "PutItem", "{}", true),
            (Service::DynamoDb, "GetItem", "{}", false),
            (Service::DynamoDb, "DeleteItem", "{}", false),
            (Service::DynamoDb, "BatchWriteItem", r#"{"RequestItems":{"t":[{"PutRequest":{}}]}}"#, true),
            (Service::DynamoDb, "BatchWriteItem", r#"{"RequestItems":{"t":[{"DeleteRequest":{}}]}}"#, false),
            (Service::DynamoDb, "TransactWriteItems", r#"{"TransactItems":[{"Delete":{}}]}"#, false),
            (Service::DynamoDb, "TransactWriteItems", r#"{"TransactItems":[{"Update":{}}]}"#, true),
            (Service::DynamoDb, "ExecuteStatement", r#"{"Statement":"SELECT * FROM t"}"#, false),
            (Service::DynamoDb, "ExecuteStatement", r#"{"Statement":"Insert INTO t VALUE {}"}"#, true),
            (Service::Sqs, "SendMessageBatch", "", true),
            (Service::SqsQuery, "SendMessage", "", true),
            (Service::Sqs, "DeleteMessage", "", false),
            (Service::Logs, "PutLogEvents", "", true),
            (Service::Logs, "DeleteLogGroup", "", false),
        ] {
            assert_eq!(stores(service, operation, body.as_bytes()), expected, "{operation} {body}");
        }
    }
}
