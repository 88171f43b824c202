//! Operation names to dynoxide's typed calls, and its errors to AWS's shapes.
//!
//! The same table as dynoxide's own server, which is not built in: it would bring a second listener and its own check of
//! signatures.

use dynoxide::{Database, DynoxideError, Result};
use serde::{Serialize, de::DeserializeOwned};

/// AWS's bound on a request.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// One answer, before it is HTTP.
pub(super) struct Answer {
    pub status: u16,
    pub body: String,
}

/// Runs an operation on a request's body.
pub(super) fn run(db: &Database, operation: &str, body: &[u8]) -> Answer {
    let text = match std::str::from_utf8(body) {
        Ok(text) if body.len() <= MAX_BODY => text,
        Ok(_) => return refusal(&DynoxideError::ValidationException("The request is longer than 16 MB.".into())),
        Err(_) => return refusal(&DynoxideError::SerializationException(String::new())),
    };
    match call(db, operation, text) {
        Ok(body) => Answer { status: 200, body },
        Err(error) => refusal(&error),
    }
}

/// The answer that tells of an error.
pub(super) fn refusal(error: &DynoxideError) -> Answer {
    if error.status_code() >= 500 {
        tracing::error!(%error, "dynamodb: a request failed inside");
    }
    if let DynoxideError::SerializationException(operation) = error
        && let Some(operation) = operation.strip_prefix(UNKNOWN)
    {
        tracing::warn!(operation, "dynamodb: an operation that is not offered was asked for");
        let message = format!("{operation}: the platform's DynamoDB does not have this operation");
        let body = serde_json::json!({ "__type": "com.amazon.coral.service#UnknownOperationException", "message": message }).to_string();
        return Answer { status: 400, body };
    }
    Answer { status: error.status_code(), body: error.to_json() }
}

/// Marks the error of an unknown operation, which dynoxide has no variant for.
const UNKNOWN: &str = "unknown operation ";

/// Runs an operation: JSON in, JSON out.
pub(super) fn call(db: &Database, operation: &str, body: &str) -> Result<String> {
    let result = match operation {
        "CreateTable" => typed(body, |r| db.create_table(r)),
        "DeleteTable" => typed(body, |r| db.delete_table(r)),
        "DescribeTable" => typed(body, |r| db.describe_table(r)),
        "ListTables" => typed(body, |r| db.list_tables(r)),
        "UpdateTable" => typed(body, |r| db.update_table(r)),
        "PutItem" => typed(body, |r| db.put_item(r)),
        "GetItem" => typed(body, |r| db.get_item(r)),
        "DeleteItem" => typed(body, |r| db.delete_item(r)),
        "UpdateItem" => typed(body, |r| db.update_item(r)),
        "Query" => typed(body, |r| db.query(r)),
        "Scan" => typed(body, |r| db.scan(r)),
        "BatchGetItem" => typed(body, |r| db.batch_get_item(r)),
        "BatchWriteItem" => typed(body, |r| db.batch_write_item(r)),
        "TransactWriteItems" => typed(body, |r| db.transact_write_items(r)),
        "TransactGetItems" => typed(body, |r| db.transact_get_items(r)),
        "UpdateTimeToLive" => typed(body, |r| db.update_time_to_live(r)),
        "DescribeTimeToLive" => typed(body, |r| db.describe_time_to_live(r)),
        _ => rarer(db, operation, body),
    };
    result.map_err(|error| enveloped(operation, error))
}

fn rarer(db: &Database, operation: &str, body: &str) -> Result<String> {
    match operation {
        "ListStreams" => typed(body, |r| db.list_streams(r)),
        "DescribeStream" => typed(body, |r| db.describe_stream(r)),
        "GetShardIterator" => typed(body, |r| db.get_shard_iterator(r)),
        "GetRecords" => typed(body, |r| db.get_records(r)),
        "ExecuteStatement" => typed(body, |r| db.execute_statement(r)),
        "ExecuteTransaction" => typed(body, |r| db.execute_transaction(r)),
        "BatchExecuteStatement" => typed(body, |r| db.batch_execute_statement(r)),
        "TagResource" => typed(body, |r| db.tag_resource(r)),
        "UntagResource" => typed(body, |r| db.untag_resource(r)),
        "ListTagsOfResource" => typed(body, |r| db.list_tags_of_resource(r)),
        "SearchVectors" => typed(body, |r| db.search_vectors(r)),
        _ => {
            let shown: String = operation.chars().take(64).collect();
            Err(DynoxideError::SerializationException(format!("{UNKNOWN}{shown}")))
        }
    }
}

fn typed<Q: DeserializeOwned, A: Serialize>(body: &str, call: impl FnOnce(Q) -> Result<A>) -> Result<String> {
    let request = serde_json::from_str(body).map_err(|e| unreadable(&e.to_string()))?;
    let answer = call(request)?;
    serde_json::to_string(&answer).map_err(|e| DynoxideError::InternalServerError(e.to_string()))
}

type Class = fn(String) -> DynoxideError;

/// What dynoxide's readers put before a text, and the error that it stands for.
const CLASSES: [(&str, Class); 5] = [
    ("VALIDATION:", DynoxideError::ValidationException),
    ("VALIDATION_AS_READ:", DynoxideError::ValidationException),
    ("VALIDATION_REQUEST:", DynoxideError::EnvelopedValidation),
    ("SERIALIZATION:", DynoxideError::SerializationException),
    ("SERIALIZATION_AS_READ:", DynoxideError::SerializationException),
];

/// The error for a body that is not the operation's request. dynoxide's readers put the class of the error before its
/// text, and serde the position behind.
fn unreadable(message: &str) -> DynoxideError {
    let text = match message.rfind(" at line ") {
        Some(end) => &message[..end],
        None => message,
    };
    for (mark, class) in CLASSES {
        if let Some(text) = text.strip_prefix(mark) {
            return class(text.to_owned());
        }
    }
    // AWS: a field missing or null, or a word unknown, is a wrong value; the rest is the wrong type.
    let wrong_value = ["missing field", "unknown variant", "invalid type: null", "Supplied AttributeValue"];
    if wrong_value.iter().any(|part| text.contains(part)) {
        DynoxideError::ValidationException(text.to_owned())
    } else {
        DynoxideError::SerializationException(text.to_owned())
    }
}

/// AWS puts a preamble before some refusals of the three item writes, and nowhere else.
fn enveloped(operation: &str, error: DynoxideError) -> DynoxideError {
    match error {
        DynoxideError::EnvelopedValidation(text) if matches!(operation, "PutItem" | "UpdateItem" | "DeleteItem") => {
            DynoxideError::ValidationException(format!("1 validation error detected: {text}"))
        }
        DynoxideError::EnvelopedValidation(text) => DynoxideError::ValidationException(text),
        other => other,
    }
}
