//! Each JSON document that a bucket tells of becomes an item of a table.
//!
//! Settings: `TABLE`, the table's name. Its items: `key` the object's key; `document` the object's text; `told` the
//! message that told of it, whole; `times` how often that was. A message that cannot be done is a batch item failure:
//! its queue gives it again, and in the end to the dead-letter queue.

use std::collections::BTreeMap;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::types::AttributeValue::{N, S};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

/// Larger documents are refused: an item holds 400 KB.
const MAX_BYTES: u64 = 256 << 10;

struct Catalogue {
    s3: aws_sdk_s3::Client,
    dynamodb: aws_sdk_dynamodb::Client,
    table: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let settings: BTreeMap<String, String> = std::env::vars().collect();
    let table = settings.get("TABLE").cloned().ok_or("TABLE is not set: name the table in the function's environment")?;
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_config::defaults(BehaviorVersion::latest()).http_client(http).load().await;
    // Bucket names as host names do not resolve at an endpoint of one's own.
    let s3 = aws_sdk_s3::Client::from_conf(aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build());
    let catalogue = &Catalogue { s3, dynamodb: aws_sdk_dynamodb::Client::new(&config), table };
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| Ok::<_, Error>(catalogue.batch(&event.payload).await))).await
}

impl Catalogue {
    /// The answer names the messages that failed and no others.
    async fn batch(&self, event: &Value) -> Value {
        let mut failures = Vec::new();
        for message in event["Records"].as_array().into_iter().flatten() {
            if let Err(error) = self.message(message).await {
                eprintln!("message {}: {error}", message["messageId"]);
                failures.push(json!({ "itemIdentifier": message["messageId"] }));
            }
        }
        json!({ "batchItemFailures": failures })
    }

    async fn message(&self, message: &Value) -> Result<(), Error> {
        let told: Value = serde_json::from_str(message["body"].as_str().unwrap_or_default())?;
        // S3 sends it once, when the notification is set up.
        if told["Event"] == "s3:TestEvent" {
            return Ok(());
        }
        for record in told["Records"].as_array().ok_or("not an event of S3")? {
            let (bucket, key) = object(record)?;
            let document = self.read(bucket, &key).await?;
            self.write(&key, document, message).await?;
        }
        Ok(())
    }

    async fn read(&self, bucket: &str, key: &str) -> Result<String, Error> {
        let object = self.s3.get_object().bucket(bucket).key(key).send().await?;
        let bytes = object.content_length().unwrap_or_default();
        if u64::try_from(bytes)? > MAX_BYTES {
            return Err(format!("{key} has {bytes} bytes; documents have at most {MAX_BYTES}").into());
        }
        let text = String::from_utf8(object.body.collect().await?.to_vec())?;
        serde_json::from_str::<Value>(&text).map_err(|error| format!("{key} is not a JSON document: {error}"))?;
        Ok(text)
    }

    /// The same message twice is one item.
    async fn write(&self, key: &str, document: String, message: &Value) -> Result<(), Error> {
        self.dynamodb
            .update_item()
            .table_name(&self.table)
            .key("key", S(key.to_owned()))
            .update_expression("SET document = :document, told = :told ADD times :one")
            .expression_attribute_values(":document", S(document))
            .expression_attribute_values(":told", S(message.to_string()))
            .expression_attribute_values(":one", N("1".into()))
            .send()
            .await?;
        Ok(())
    }
}

/// Bucket and key of a record. Keys come form-encoded. Source: S3 user guide, "Event message structure".
fn object(record: &Value) -> Result<(&str, String), Error> {
    let bucket = record["s3"]["bucket"]["name"].as_str().ok_or("a record without a bucket")?;
    let key = record["s3"]["object"]["key"].as_str().ok_or("a record without a key")?.replace('+', " ");
    Ok((bucket, percent_encoding::percent_decode_str(&key).decode_utf8()?.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_form_decoded() {
        let record = json!({ "s3": { "bucket": { "name": "b" }, "object": { "key": "in/my+file%2B1+%C3%A9.json" } } });
        assert_eq!(object(&record).unwrap(), ("b", "in/my file+1 é.json".to_owned()));
    }
}
