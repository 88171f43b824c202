//! Which IAM actions on which resources a call needs: the one table of it, for enforcing and for `tests/permissions`.
//!
//! Source: Service Authorization Reference, "Actions, resources, and condition keys" of Amazon S3, DynamoDB, SQS, Lambda and
//! CloudWatch Logs; S3 API reference, "Permissions" of each operation.

use http::Method;
use serde_json::Value;

use super::Need;
use crate::stack::{ACCOUNT, REGION, function_arn, name_of_arn, queue_arn};

/// A call of a JSON service, by the service's name in a credential scope.
pub(crate) fn of_json(service: &str, operation: &str, body: &Value) -> Vec<Need> {
    match service {
        "dynamodb" => dynamodb(operation, body),
        "sqs" => vec![sqs(operation, body)],
        _ => vec![logs(operation, body)],
    }
}

fn need(action: impl Into<String>, resource: impl Into<String>) -> Need {
    Need { action: action.into(), resource: resource.into() }
}

fn text<'a>(body: &'a Value, name: &str) -> Option<&'a str> {
    body.get(name).and_then(Value::as_str)
}

/// A table by its name or ARN.
fn table_arn(name: &str) -> String {
    if name.starts_with("arn:") { name.to_owned() } else { format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}") }
}

fn dynamodb(operation: &str, body: &Value) -> Vec<Need> {
    match operation {
        "TransactWriteItems" | "TransactGetItems" => transaction(body),
        "ExecuteStatement" => vec![statement(text(body, "Statement").unwrap_or_default())],
        "BatchExecuteStatement" | "ExecuteTransaction" => {
            let list = body.get("Statements").or_else(|| body.get("TransactStatements")).and_then(Value::as_array);
            list.into_iter().flatten().map(|one| statement(text(one, "Statement").unwrap_or_default())).collect()
        }
        _ => {
            let action = format!("dynamodb:{operation}");
            if let Some(items) = body.get("RequestItems").and_then(Value::as_object) {
                return items.keys().map(|table| need(&action, table_arn(table))).collect();
            }
            let named = text(body, "TableName").or_else(|| text(body, "ResourceArn")).or_else(|| text(body, "StreamArn"));
            let index = text(body, "IndexName").map_or_else(String::new, |index| format!("/index/{index}"));
            vec![need(action, named.map_or_else(|| "*".to_owned(), |name| table_arn(name) + &index))]
        }
    }
}

/// Each action of a transaction needs what it needs alone.
fn transaction(body: &Value) -> Vec<Need> {
    let items = body.get("TransactItems").and_then(Value::as_array).into_iter().flatten();
    let actions = items.flat_map(|item| item.as_object().into_iter().flatten());
    let one = |(kind, action): (&String, &Value)| {
        let name = match kind.as_str() {
            "Get" => "GetItem",
            "Put" => "PutItem",
            "Update" => "UpdateItem",
            "Delete" => "DeleteItem",
            _ => "ConditionCheckItem",
        };
        need(format!("dynamodb:{name}"), table_arn(text(action, "TableName").unwrap_or("*")))
    };
    actions.map(one).collect()
}

/// A statement of `PartiQL`: by its first word, on the table named after `FROM`, `INTO` or `UPDATE`.
fn statement(text: &str) -> Need {
    let words: Vec<&str> = text.split_whitespace().collect();
    let is = |word: &str, wanted: &str| word.eq_ignore_ascii_case(wanted);
    let first = words.first().copied().unwrap_or_default();
    let kind = ["Insert", "Update", "Delete"].into_iter().find(|kind| is(first, kind)).unwrap_or("Select");
    let before = words.iter().position(|word| ["from", "into", "update"].iter().any(|wanted| is(word, wanted)));
    let named = before.and_then(|before| words.get(before + 1)).copied().unwrap_or("*");
    let mut parts = named.split('.').map(|part| part.trim_matches(['"', ';']));
    let table = table_arn(parts.next().unwrap_or("*"));
    let index = parts.next().map_or_else(String::new, |index| format!("/index/{index}"));
    need(format!("dynamodb:PartiQL{kind}"), table + &index)
}

/// A call of SQS in either of its protocols.
pub(crate) fn sqs(operation: &str, body: &Value) -> Need {
    let named = text(body, "QueueUrl").map(|url| url.trim_end_matches('/').rsplit('/').next().unwrap_or_default());
    let named = named.or_else(|| text(body, "QueueName")).or_else(|| text(body, "SourceArn").map(name_of_arn));
    need(format!("sqs:{}", operation.strip_suffix("Batch").unwrap_or(operation)), named.map_or_else(|| "*".to_owned(), queue_arn))
}

fn logs(operation: &str, body: &Value) -> Need {
    let group = text(body, "logGroupName").or_else(|| text(body, "logGroupIdentifier").map(name_of_arn));
    let stream = text(body, "logStreamName").unwrap_or_default();
    let arn = |group| format!("arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}:log-stream:{stream}");
    need(format!("logs:{operation}"), group.map_or_else(|| "*".to_owned(), arn))
}

/// A call of Lambda, by its address.
pub(crate) fn lambda(method: &Method, path: &str) -> Vec<Need> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let (action, function) = match (method, segments.as_slice()) {
        (_, [_, "functions", name, "invocations" | "invoke-async"]) => ("InvokeFunction", Some(*name)),
        (_, [_, "functions", name, "configuration"]) => ("GetFunctionConfiguration", Some(*name)),
        (_, [_, "functions", name, "concurrency"]) => ("GetFunctionConcurrency", Some(*name)),
        (_, [_, "functions", name, "event-invoke-config"]) => ("GetFunctionEventInvokeConfig", Some(*name)),
        (_, [_, "functions", name]) => ("GetFunction", Some(*name)),
        (_, [_, "functions"]) => ("ListFunctions", None),
        (_, [_, "account-settings"]) => ("GetAccountSettings", None),
        (&Method::GET, [_, "event-source-mappings"]) => ("ListEventSourceMappings", None),
        (&Method::GET, [_, "event-source-mappings", ..]) => ("GetEventSourceMapping", None),
        (&Method::POST, [_, "event-source-mappings", ..]) => ("CreateEventSourceMapping", None),
        (&Method::DELETE, [_, "event-source-mappings", ..]) => ("DeleteEventSourceMapping", None),
        (_, [_, "event-source-mappings", ..]) => ("UpdateEventSourceMapping", None),
        _ => return Vec::new(),
    };
    let arn = |name: &str| if name.starts_with("arn:") { name.to_owned() } else { function_arn(name) };
    vec![need(format!("lambda:{action}"), function.map_or_else(|| "*".to_owned(), arn))]
}

/// A call of S3, as far as it decides what is needed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct S3Call<'a> {
    /// S3's name of it: `UploadPartCopy`.
    pub(crate) operation: &'a str,
    /// Empty: of no bucket.
    pub(crate) bucket: &'a str,
    pub(crate) key: Option<&'a str>,
    /// `versionId` in the address.
    pub(crate) versioned: bool,
    /// `x-amz-copy-source`, decoded.
    pub(crate) copy_source: Option<&'a str>,
    /// `x-amz-tagging` or `x-amz-acl` is given with an object.
    pub(crate) tags: bool,
    pub(crate) acl: bool,
}

/// What a call of S3 needs; `DeleteObjects` needs it for each key (`DeleteObject`).
pub(crate) fn s3(call: &S3Call<'_>) -> Vec<Need> {
    let bucket = format!("arn:aws:s3:::{}", call.bucket);
    let resource = call.key.map_or_else(|| bucket.clone(), |key| format!("{bucket}/{key}"));
    let version = |action: &str| if call.versioned { format!("s3:{action}Version") } else { format!("s3:{action}") };
    let mut needs = match call.operation {
        "ListBuckets" => return vec![need("s3:ListAllMyBuckets", "*")],
        "GetObject" | "HeadObject" => vec![need(version("GetObject"), &resource)],
        "GetObjectAttributes" => vec![need(version("GetObject"), &resource), need(version("GetObjectAttributes"), &resource)],
        "DeleteObject" => vec![need(version("DeleteObject"), &resource)],
        "PutObject" | "CopyObject" | "CreateMultipartUpload" | "UploadPart" | "UploadPartCopy" | "CompleteMultipartUpload" => {
            vec![need("s3:PutObject", &resource)]
        }
        "ListParts" => vec![need("s3:ListMultipartUploadParts", &resource)],
        "ListMultipartUploads" => vec![need("s3:ListBucketMultipartUploads", &resource)],
        "HeadBucket" | "ListObjects" | "ListObjectsV2" => vec![need("s3:ListBucket", &resource)],
        "ListObjectVersions" => vec![need("s3:ListBucketVersions", &resource)],
        other => vec![need(format!("s3:{}", renamed(other)), &resource)],
    };
    if let Some(source) = call.copy_source {
        let (object, version) = source.split_once("?versionId=").map_or((source, ""), |(object, version)| (object, version));
        let action = if version.is_empty() { "s3:GetObject" } else { "s3:GetObjectVersion" };
        needs.push(need(action, format!("arn:aws:s3:::{}", object.trim_start_matches('/'))));
    }
    if call.tags {
        needs.push(need("s3:PutObjectTagging", &resource));
    }
    if call.acl {
        needs.push(need("s3:PutObjectAcl", &resource));
    }
    needs
}

/// Operations whose action has another name; taking a setting away is mostly the action of setting it.
fn renamed(operation: &str) -> &str {
    match operation {
        "GetBucketCors" => "GetBucketCORS",
        "PutBucketCors" | "DeleteBucketCors" => "PutBucketCORS",
        "GetBucketLifecycleConfiguration" => "GetLifecycleConfiguration",
        "PutBucketLifecycleConfiguration" | "DeleteBucketLifecycle" => "PutLifecycleConfiguration",
        "GetBucketNotificationConfiguration" => "GetBucketNotification",
        "PutBucketNotificationConfiguration" => "PutBucketNotification",
        "DeleteBucketTagging" => "PutBucketTagging",
        "GetPublicAccessBlock" => "GetBucketPublicAccessBlock",
        "PutPublicAccessBlock" | "DeletePublicAccessBlock" => "PutBucketPublicAccessBlock",
        "GetBucketEncryption" => "GetEncryptionConfiguration",
        "GetBucketAccelerateConfiguration" => "GetAccelerateConfiguration",
        "GetBucketReplication" => "GetReplicationConfiguration",
        "GetObjectLockConfiguration" => "GetBucketObjectLockConfiguration",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(needs: &[Need]) -> Vec<String> {
        needs.iter().map(|need| format!("{} {}", need.action, need.resource)).collect()
    }

    #[test]
    fn calls_of_s3() {
        let plain = S3Call { bucket: "b", key: Some("a/k"), ..S3Call::default() };
        let of_bucket = S3Call { bucket: "b", ..S3Call::default() };
        let copied = S3Call { copy_source: Some("/c/d?versionId=7"), ..plain };
        for (call, operation, expected) in [
            (plain, "HeadObject", vec!["s3:GetObject arn:aws:s3:::b/a/k"]),
            (S3Call { versioned: true, ..plain }, "GetObject", vec!["s3:GetObjectVersion arn:aws:s3:::b/a/k"]),
            (
                S3Call { tags: true, ..plain },
                "PutObject",
                vec!["s3:PutObject arn:aws:s3:::b/a/k", "s3:PutObjectTagging arn:aws:s3:::b/a/k"],
            ),
            (copied, "UploadPartCopy", vec!["s3:PutObject arn:aws:s3:::b/a/k", "s3:GetObjectVersion arn:aws:s3:::c/d"]),
            (plain, "CompleteMultipartUpload", vec!["s3:PutObject arn:aws:s3:::b/a/k"]),
            (plain, "AbortMultipartUpload", vec!["s3:AbortMultipartUpload arn:aws:s3:::b/a/k"]),
            (plain, "ListParts", vec!["s3:ListMultipartUploadParts arn:aws:s3:::b/a/k"]),
            (plain, "DeleteObjectTagging", vec!["s3:DeleteObjectTagging arn:aws:s3:::b/a/k"]),
            (of_bucket, "ListObjectsV2", vec!["s3:ListBucket arn:aws:s3:::b"]),
            (of_bucket, "ListMultipartUploads", vec!["s3:ListBucketMultipartUploads arn:aws:s3:::b"]),
            (of_bucket, "DeleteBucketCors", vec!["s3:PutBucketCORS arn:aws:s3:::b"]),
            (of_bucket, "CreateBucket", vec!["s3:CreateBucket arn:aws:s3:::b"]),
            (S3Call::default(), "ListBuckets", vec!["s3:ListAllMyBuckets *"]),
        ] {
            assert_eq!(shown(&s3(&S3Call { operation, ..call })), expected, "{operation}");
        }
    }

    #[test]
    fn calls_of_the_others() {
        let table = "arn:aws:dynamodb:us-east-1:000000000000:table/t";
        for (service, operation, body, expected) in [
            ("dynamodb", "Query", json!({ "TableName": "t", "IndexName": "open" }), vec![format!("dynamodb:Query {table}/index/open")]),
            ("dynamodb", "GetItem", json!({ "TableName": table }), vec![format!("dynamodb:GetItem {table}")]),
            ("dynamodb", "BatchWriteItem", json!({ "RequestItems": { "t": [] } }), vec![format!("dynamodb:BatchWriteItem {table}")]),
            ("dynamodb", "ListTables", json!({}), vec!["dynamodb:ListTables *".to_owned()]),
            (
                "dynamodb",
                "TransactWriteItems",
                json!({ "TransactItems": [{ "Put": { "TableName": "t" } }, { "ConditionCheck": { "TableName": "t" } }] }),
                vec![format!("dynamodb:PutItem {table}"), format!("dynamodb:ConditionCheckItem {table}")],
            ),
            (
                "dynamodb",
                "ExecuteStatement",
                json!({ "Statement": "select * from \"t\".\"open\" where a = 1" }),
                vec![format!("dynamodb:PartiQLSelect {table}/index/open")],
            ),
            (
                "dynamodb",
                "ExecuteStatement",
                json!({ "Statement": "INSERT INTO t VALUE {}" }),
                vec![format!("dynamodb:PartiQLInsert {table}")],
            ),
            (
                "sqs",
                "SendMessageBatch",
                json!({ "QueueUrl": "http://127.0.0.1:1/000000000000/q" }),
                vec!["sqs:SendMessage arn:aws:sqs:us-east-1:000000000000:q".to_owned()],
            ),
            ("sqs", "ListQueues", json!({}), vec!["sqs:ListQueues *".to_owned()]),
            (
                "logs",
                "PutLogEvents",
                json!({ "logGroupName": "g", "logStreamName": "s" }),
                vec!["logs:PutLogEvents arn:aws:logs:us-east-1:000000000000:log-group:g:log-stream:s".to_owned()],
            ),
        ] {
            assert_eq!(shown(&of_json(service, operation, &body)), expected, "{operation} {body}");
        }
        assert_eq!(
            shown(&lambda(&Method::POST, "/2015-03-31/functions/f/invocations")),
            ["lambda:InvokeFunction arn:aws:lambda:us-east-1:000000000000:function:f"]
        );
        assert_eq!(shown(&lambda(&Method::GET, "/2015-03-31/functions/")), ["lambda:ListFunctions *"]);
    }
}
