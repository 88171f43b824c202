//! Policies that templates name and do not write out: SAM's own and some of AWS's, as far as they speak of the services
//! that there are here.
//!
//! Source: AWS SAM developer guide, "SAM policy template list"; AWS managed policy reference guide.

use serde_json::{Value, json};

use crate::stack::{ACCOUNT, REGION};

const BUCKET: &[&str] = &["arn:aws:s3:::{}", "arn:aws:s3:::{}/*"];
const TABLE: &[&str] = &["arn:aws:dynamodb:{region}:{account}:table/{}", "arn:aws:dynamodb:{region}:{account}:table/{}/index/*"];
const QUEUE: &[&str] = &["arn:aws:sqs:{region}:{account}:{}"];
const FUNCTION: &[&str] = &["arn:aws:lambda:{region}:{account}:function:{}*"];

/// SAM's: name, parameter, resources with `{}` for it, actions.
const TEMPLATES: [(&str, &str, &[&str], &[&str]); 9] = [
    (
        "S3ReadPolicy",
        "BucketName",
        BUCKET,
        &["s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation", "s3:GetObjectVersion", "s3:GetLifecycleConfiguration"],
    ),
    ("S3WritePolicy", "BucketName", BUCKET, &["s3:PutObject", "s3:PutObjectAcl", "s3:PutLifecycleConfiguration"]),
    (
        "S3CrudPolicy",
        "BucketName",
        BUCKET,
        &[
            "s3:GetObject",
            "s3:ListBucket",
            "s3:GetBucketLocation",
            "s3:GetObjectVersion",
            "s3:PutObject",
            "s3:PutObjectAcl",
            "s3:GetLifecycleConfiguration",
            "s3:PutLifecycleConfiguration",
            "s3:DeleteObject",
        ],
    ),
    (
        "DynamoDBReadPolicy",
        "TableName",
        TABLE,
        &["dynamodb:GetItem", "dynamodb:Scan", "dynamodb:Query", "dynamodb:BatchGetItem", "dynamodb:DescribeTable"],
    ),
    ("DynamoDBWritePolicy", "TableName", TABLE, &["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:BatchWriteItem"]),
    (
        "DynamoDBCrudPolicy",
        "TableName",
        TABLE,
        &[
            "dynamodb:GetItem",
            "dynamodb:DeleteItem",
            "dynamodb:PutItem",
            "dynamodb:Scan",
            "dynamodb:Query",
            "dynamodb:UpdateItem",
            "dynamodb:BatchWriteItem",
            "dynamodb:BatchGetItem",
            "dynamodb:DescribeTable",
            "dynamodb:ConditionCheckItem",
        ],
    ),
    (
        "SQSPollerPolicy",
        "QueueName",
        QUEUE,
        &["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"],
    ),
    ("SQSSendMessagePolicy", "QueueName", QUEUE, &["sqs:SendMessage"]),
    ("LambdaInvokePolicy", "FunctionName", FUNCTION, &["lambda:InvokeFunction"]),
];

/// AWS's, all on `*`: the end of the ARN, actions.
const MANAGED: [(&str, &[&str]); 10] = [
    ("AWSLambdaBasicExecutionRole", &["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]),
    (
        "AWSLambdaSQSQueueExecutionRole",
        &[
            "sqs:ReceiveMessage",
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
            "logs:CreateLogGroup",
            "logs:CreateLogStream",
            "logs:PutLogEvents",
        ],
    ),
    ("AWSXRayDaemonWriteAccess", &["xray:PutTraceSegments", "xray:PutTelemetryRecords"]),
    ("AWSXrayWriteOnlyAccess", &["xray:PutTraceSegments", "xray:PutTelemetryRecords"]),
    ("AmazonS3FullAccess", &["s3:*"]),
    ("AmazonS3ReadOnlyAccess", &["s3:Get*", "s3:List*", "s3:Describe*"]),
    ("AmazonDynamoDBFullAccess", &["dynamodb:*"]),
    ("AmazonSQSFullAccess", &["sqs:*"]),
    ("AWSLambda_FullAccess", &["lambda:*", "logs:*"]),
    ("AdministratorAccess", &["*"]),
];

/// A policy of a template written out: a document as it is, a name with or without parameters looked up.
pub(super) fn document(policy: &Value) -> Result<Value, String> {
    if policy.get("Statement").is_some() {
        return Ok(policy.clone());
    }
    if let Some(name) = policy.as_str() {
        let short = name.rsplit('/').next().unwrap_or(name);
        let known = MANAGED.iter().find(|(known, _)| *known == short);
        let (_, actions) = known.ok_or_else(|| unknown(name))?;
        return Ok(statement(actions, &["*".to_owned()]));
    }
    let named = policy.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.iter().next());
    let (name, parameters) = named.ok_or_else(|| format!("{policy} is no policy"))?;
    let known = TEMPLATES.iter().find(|(known, ..)| known == name);
    let (_, parameter, resources, actions) = known.ok_or_else(|| unknown(name))?;
    let value = parameters.get(parameter).and_then(Value::as_str).ok_or_else(|| format!("{name} lacks its {parameter}"))?;
    let resource = |pattern: &&str| pattern.replace("{region}", REGION).replace("{account}", ACCOUNT).replace("{}", value);
    Ok(statement(actions, &resources.iter().map(resource).collect::<Vec<_>>()))
}

fn unknown(name: &str) -> String {
    format!(
        "`{name}` is not known to the platform, so it cannot be enforced; write it out as a policy document, or start without enforcing policies"
    )
}

fn statement(actions: &[&str], resources: &[String]) -> Value {
    json!({ "Statement": [{ "Effect": "Allow", "Action": actions, "Resource": resources }] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_out() {
        let crud = document(&json!({ "DynamoDBReadPolicy": { "TableName": "films" } })).unwrap();
        assert_eq!(
            crud["Statement"][0]["Resource"],
            json!(["arn:aws:dynamodb:us-east-1:000000000000:table/films", "arn:aws:dynamodb:us-east-1:000000000000:table/films/index/*"])
        );
        let managed = document(&json!("arn:aws:iam::aws:policy/service-role/AWSLambdaSQSQueueExecutionRole")).unwrap();
        assert_eq!(managed["Statement"][0]["Action"][0], json!("sqs:ReceiveMessage"));
        assert_eq!(document(&json!("AmazonSQSFullAccess")).unwrap()["Statement"][0]["Action"], json!(["sqs:*"]));
        let whole = json!({ "Version": "2012-10-17", "Statement": [] });
        assert_eq!(document(&whole).unwrap(), whole);
    }
}
