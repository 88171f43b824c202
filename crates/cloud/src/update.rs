//! The only two ways an item is written on a condition.
//!
//! Each write carries a random token. When the answer to a write is lost, the SDK sends it again, and the second try finds
//! the first one's item: the token in it says that this writer has won.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    operation::{put_item::PutItemError, update_item::UpdateItemError},
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use pipeline::Fault;

use crate::{
    faults::classify,
    items::{Item, Record, n, s},
};

const TOKEN: &str = "token";
const VERSION: &str = "version";

fn token() -> String {
    format!("{:016x}", rand::random::<u64>())
}
fn is_ours(found: Option<&Item>, token: &str) -> bool {
    found.and_then(|item| item.get(TOKEN)).and_then(|v| v.as_s().ok()).is_some_and(|t| t == token)
}

/// Writes a new item with version 1. `false`: there is one already.
pub async fn create(client: &Client, table: &str, record: Record) -> Result<bool, Fault> {
    let what = format!("creating {}/{} in the ledger", record.pk, record.sk);
    let token = token();
    let mut item = record.into_item();
    item.insert(VERSION.into(), n(1));
    item.insert(TOKEN.into(), s(&token));
    let sent = client
        .put_item()
        .table_name(table)
        .set_item(Some(item))
        .condition_expression("attribute_not_exists(pk)")
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .send()
        .await;
    match sent {
        Ok(_) => Ok(true),
        Err(error) => match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed)) => Ok(is_ours(failed.item(), &token)),
            _ => Err(classify(&what, &error)),
        },
    }
}

/// Replaces what `record` knows of an item if its version is still `version`. `false`: it is not.
pub async fn replace(client: &Client, table: &str, record: Record, version: u64) -> Result<bool, Fault> {
    let what = format!("writing {}/{} to the ledger", record.pk, record.sk);
    let token = token();
    let update = Update::of(&record, version, &token);
    let sent = client
        .update_item()
        .table_name(table)
        .key("pk", s(record.pk))
        .key("sk", s(record.sk))
        .update_expression(update.expression)
        .condition_expression("#version = :held")
        .set_expression_attribute_names(Some(update.names))
        .set_expression_attribute_values(Some(update.values))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .send()
        .await;
    match sent {
        Ok(_) => Ok(true),
        Err(error) => match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => Ok(is_ours(failed.item(), &token)),
            _ => Err(classify(&what, &error)),
        },
    }
}

/// Every name goes through a placeholder: DynamoDB reserves words such as `state` and `source`.
struct Update {
    expression: String,
    names: HashMap<String, String>,
    values: Item,
}

impl Update {
    fn of(record: &Record, version: u64, token: &str) -> Self {
        let mut names = HashMap::from([("#version".to_owned(), VERSION.to_owned()), ("#token".to_owned(), TOKEN.to_owned())]);
        let mut values: Item = [(":held", n(version)), (":next", n(version.saturating_add(1))), (":token", s(token))]
            .map(|(name, value): (&str, AttributeValue)| (name.to_owned(), value))
            .into();
        let mut set = vec!["#version = :next".to_owned(), "#token = :token".to_owned()];
        for (at, (name, value)) in record.set.iter().enumerate() {
            names.insert(format!("#s{at}"), name.clone());
            values.insert(format!(":s{at}"), value.clone());
            set.push(format!("#s{at} = :s{at}"));
        }
        let mut remove = Vec::new();
        for (at, name) in record.remove.iter().enumerate() {
            names.insert(format!("#r{at}"), name.clone());
            remove.push(format!("#r{at}"));
        }
        let removal = if remove.is_empty() { String::new() } else { format!(" REMOVE {}", remove.join(", ")) };
        let expression = format!("SET {}{removal}", set.join(", "));
        Self { expression, names, values }
    }
}
