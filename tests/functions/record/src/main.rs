//! Writes down every object that it is told of: the platform's tests run it behind a bucket, with a queue between
//! them or without.
//!
//! A record of an S3 event becomes an item in `TABLE`: `pk` the key as the event has it, `size` its bytes, `times` how
//! often the function was told. Like any function of a user, it knows AWS and nothing of the platform.

use std::collections::BTreeMap;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::{Client, types::AttributeValue};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let settings: BTreeMap<String, String> = std::env::vars().collect();
    let table = settings.get("TABLE").ok_or("TABLE is not set")?;
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_config::defaults(BehaviorVersion::latest()).http_client(http).load().await;
    let client = &Client::new(&config);
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        for message in event.payload["Records"].as_array().into_iter().flatten() {
            if message["s3"].is_object() {
                write(client, table, &message["s3"]["object"]).await?;
                continue;
            }
            let body: Value = serde_json::from_str(message["body"].as_str().unwrap_or_default())?;
            for record in body["Records"].as_array().into_iter().flatten() {
                write(client, table, &record["s3"]["object"]).await?;
            }
        }
        Ok::<_, Error>(())
    }))
    .await
}

async fn write(client: &Client, table: &str, object: &Value) -> Result<(), Error> {
    let key = object["key"].as_str().ok_or("a record without a key")?;
    client
        .update_item()
        .table_name(table)
        .key("pk", AttributeValue::S(key.to_owned()))
        .update_expression("SET #size = :size ADD times :one")
        .expression_attribute_names("#size", "size")
        .expression_attribute_values(":size", AttributeValue::N(object["size"].to_string()))
        .expression_attribute_values(":one", AttributeValue::N("1".into()))
        .send()
        .await?;
    Ok(())
}
