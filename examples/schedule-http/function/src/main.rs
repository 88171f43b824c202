//! Counts the ticks of a schedule and shows them over HTTP: one program for two functions.
//!
//! Settings: `TABLE`, the table's name. An event of a schedule adds one to the item `ticks`; a request is answered.

use std::collections::BTreeMap;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::{
    Client,
    types::AttributeValue::{N, S},
};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let settings: BTreeMap<String, String> = std::env::vars().collect();
    let table = settings.get("TABLE").ok_or("TABLE is not set: name the table in the function's environment")?;
    let http = aws_smithy_http_client::Builder::new().build_http();
    let client = &Client::new(&aws_config::defaults(BehaviorVersion::latest()).http_client(http).load().await);
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        if event.payload["source"] == "aws.events" {
            return tick(client, table, &event.payload).await;
        }
        answer(client, table, &event.payload).await
    }))
    .await
}

async fn tick(client: &Client, table: &str, event: &Value) -> Result<Value, Error> {
    let time = event["time"].as_str().ok_or("an event of a schedule without a time")?;
    client
        .update_item()
        .table_name(table)
        .key("id", S("ticks".into()))
        .update_expression("SET latest = :time ADD times :one")
        .expression_attribute_values(":time", S(time.into()))
        .expression_attribute_values(":one", N("1".into()))
        .send()
        .await?;
    Ok(Value::Null)
}

/// Payload format 2.0. Source: API Gateway developer guide, "Create AWS Lambda proxy integrations for HTTP APIs".
async fn answer(client: &Client, table: &str, request: &Value) -> Result<Value, Error> {
    match request["routeKey"].as_str() {
        Some("GET /hello/{name}") => Ok(json!({ "hello": request["pathParameters"]["name"] })),
        Some("GET /ticks") => {
            let item = client.get_item().table_name(table).key("id", S("ticks".into())).consistent_read(true).send().await?.item;
            let item = item.unwrap_or_default();
            let times = item.get("times").and_then(|times| times.as_n().ok()).map_or("0", String::as_str);
            let latest = item.get("latest").and_then(|latest| latest.as_s().ok());
            Ok(json!({ "times": times.parse::<u64>()?, "latest": latest }))
        }
        other => Ok(json!({ "statusCode": 404, "body": format!("there is nothing at {other:?}") })),
    }
}
