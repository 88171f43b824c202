//! What the application asks of DynamoDB, through the SDK.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_sdk_dynamodb::{
    Client,
    error::ProvideErrorMetadata,
    types::{AttributeValue as V, ReturnValue},
};
use platform::{dynamodb::DynamoError, stack};
use serde_json::json;

use crate::server::Server;

fn table() -> stack::Table {
    stack::Table {
        name: "ledger".into(),
        create_table: json!({
            "TableName": "ledger",
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [
                { "AttributeName": "pk", "AttributeType": "S" },
                { "AttributeName": "sk", "AttributeType": "S" },
                { "AttributeName": "shard", "AttributeType": "S" },
                { "AttributeName": "due", "AttributeType": "N" },
            ],
            "KeySchema": [
                { "AttributeName": "pk", "KeyType": "HASH" },
                { "AttributeName": "sk", "KeyType": "RANGE" },
            ],
            "GlobalSecondaryIndexes": [{
                "IndexName": "open",
                "KeySchema": [
                    { "AttributeName": "shard", "KeyType": "HASH" },
                    { "AttributeName": "due", "KeyType": "RANGE" },
                ],
                "Projection": { "ProjectionType": "ALL" },
            }],
        }),
        ttl_attribute: Some("expires".into()),
    }
}

fn s(text: &str) -> V {
    V::S(text.into())
}

fn n(number: u64) -> V {
    V::N(number.to_string())
}

fn key(sk: &str) -> HashMap<String, V> {
    HashMap::from([("pk".into(), s("job")), ("sk".into(), s(sk))])
}

async fn put(client: &Client, sk: &str, more: &[(&str, V)]) {
    let mut item = key(sk);
    item.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    client.put_item().table_name("ledger").set_item(Some(item)).send().await.unwrap();
}

async fn get(client: &Client, sk: &str) -> Option<HashMap<String, V>> {
    let get = client.get_item().table_name("ledger").set_key(Some(key(sk))).consistent_read(true);
    get.send().await.unwrap().item
}

fn sorted(set: &V) -> Vec<String> {
    let (V::Ss(members) | V::Ns(members)) = set else { panic!("{set:?} is no set") };
    let mut members = members.clone();
    members.sort();
    members
}

#[tokio::test]
async fn sets_grow_and_shrink_by_conditional_updates() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.dynamo.ensure_table(&table()).await.unwrap();
    let client = server.dynamo_client();
    let update = |expression: &str| {
        let update = client.update_item().table_name("ledger").set_key(Some(key("set"))).update_expression(expression);
        update.return_values(ReturnValue::UpdatedNew)
    };
    for (add, expected) in [("3", vec!["3"]), ("11", vec!["11", "3"]), ("3", vec!["11", "3"])] {
        let add = update("ADD done :n").expression_attribute_values(":n", V::Ns(vec![add.into()]));
        let new = add.send().await.unwrap().attributes.unwrap();
        assert_eq!(new.len(), 1, "UPDATED_NEW answers what was updated only");
        assert_eq!(sorted(&new["done"]), expected);
    }
    let add = update("ADD blocked :b SET fence = :f").expression_attribute_values(":b", V::Ss(vec!["a".into(), "b".into()]));
    add.expression_attribute_values(":f", n(1)).send().await.unwrap();
    let remove = update("DELETE blocked :b SET fence = fence + :one")
        .condition_expression("fence = :f AND contains(blocked, :a)")
        .expression_attribute_values(":b", V::Ss(vec!["b".into(), "never there".into()]))
        .expression_attribute_values(":a", s("a"))
        .expression_attribute_values(":one", n(1))
        .expression_attribute_values(":f", n(1));
    let new = remove.clone().send().await.unwrap().attributes.unwrap();
    assert_eq!((sorted(&new["blocked"]), &new["fence"]), (vec!["a".to_owned()], &n(2)));
    let again = remove.send().await.unwrap_err().into_service_error();
    assert!(again.is_conditional_check_failed_exception());

    let last = update("DELETE blocked :b").expression_attribute_values(":b", V::Ss(vec!["a".into()]));
    last.send().await.unwrap();
    assert!(!get(&client, "set").await.unwrap().contains_key("blocked"), "an empty set is no attribute");
}

#[tokio::test]
async fn only_the_first_of_two_creations_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.dynamo.ensure_table(&table()).await.unwrap();
    let client = server.dynamo_client();
    let create = |who: &str| {
        let mut item = key("job");
        item.insert("who".into(), s(who));
        let put = client.put_item().table_name("ledger").set_item(Some(item));
        put.condition_expression("attribute_not_exists(pk)").send()
    };
    let (one, two) = tokio::join!(create("one"), create("two"));
    let lost = one.as_ref().err().or(two.as_ref().err()).unwrap();
    assert_eq!(lost.code(), Some("ConditionalCheckFailedException"));
    assert_ne!(one.is_ok(), two.is_ok());
    let who = if one.is_ok() { "one" } else { "two" };
    assert_eq!(get(&client, "job").await.unwrap()["who"], s(who));
}

#[tokio::test]
async fn the_sparse_index_holds_open_work_only() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.dynamo.ensure_table(&table()).await.unwrap();
    let client = server.dynamo_client();
    for number in 0..7 {
        put(&client, &format!("task{number}"), &[("shard", s("0")), ("due", n(100 + number))]).await;
    }
    put(&client, "closed", &[("due", n(1))]).await;
    let close = client.update_item().table_name("ledger").set_key(Some(key("task3")));
    close.update_expression("REMOVE #s, due").expression_attribute_names("#s", "shard").send().await.unwrap();

    let open = |most: u64| {
        let query = client.query().table_name("ledger").index_name("open").limit(2);
        // `shard` is one of DynamoDB's reserved words.
        let query = query.key_condition_expression("#s = :s AND due <= :d").expression_attribute_names("#s", "shard");
        query.expression_attribute_values(":s", s("0")).expression_attribute_values(":d", n(most))
    };
    let pages: Vec<_> = open(104).into_paginator().items().send().collect::<Result<_, _>>().await.unwrap();
    let keys: Vec<&V> = pages.iter().map(|item| &item["sk"]).collect();
    assert_eq!(keys, [&s("task0"), &s("task1"), &s("task2"), &s("task4")]);
    let first = open(104).send().await.unwrap();
    assert_eq!((first.items().len(), first.last_evaluated_key.is_some()), (2, true));

    let all = client.query().table_name("ledger").key_condition_expression("pk = :p AND begins_with(sk, :t)");
    let all = all.expression_attribute_values(":p", s("job")).expression_attribute_values(":t", s("task"));
    let back = all.consistent_read(true).scan_index_forward(false).send().await.unwrap();
    assert_eq!((back.count(), &back.items()[0]["sk"]), (7, &s("task6")));
}

#[tokio::test]
async fn expired_items_are_swept_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.dynamo.ensure_table(&table()).await.unwrap();
    let client = server.dynamo_client();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for number in 0..30 {
        let over = now.as_secs() - 60;
        put(&client, &format!("old{number}"), &[("expires", n(over)), ("shard", s("0")), ("due", n(1))]).await;
    }
    put(&client, "new", &[("expires", n(now.as_secs() + 600))]).await;
    put(&client, "for ever", &[]).await;
    assert_eq!(server.dynamo.sweep_expired().await.unwrap(), 30);
    assert_eq!(server.dynamo.sweep_expired().await.unwrap(), 0);
    let left = client.scan().table_name("ledger").send().await.unwrap();
    assert_eq!(left.count(), 2);
    let described = client.describe_time_to_live().table_name("ledger").send().await.unwrap();
    assert_eq!(described.time_to_live_description.unwrap().attribute_name.as_deref(), Some("expires"));
}

#[tokio::test]
async fn tables_are_there_after_a_reopen_and_never_changed_behind_one_s_back() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.dynamo.ensure_table(&table()).await.unwrap();
    put(&server.dynamo_client(), "kept", &[("bytes", V::B(vec![0, 255].into()))]).await;
    server.stop().await;

    let server = Server::start(dir.path()).await;
    server.dynamo.ensure_table(&table()).await.unwrap();
    let client = server.dynamo_client();
    assert_eq!(get(&client, "kept").await.unwrap()["bytes"], V::B(vec![0, 255].into()));

    let no_ttl = stack::Table { ttl_attribute: None, ..table() };
    server.dynamo.ensure_table(&no_ttl).await.unwrap();
    let mut other = table();
    other.create_table["KeySchema"][1]["AttributeName"] = json!("due");
    let differs = server.dynamo.ensure_table(&other).await.unwrap_err();
    assert!(matches!(differs, DynamoError::Differs { what: "key", .. }), "{differs}");
}

#[tokio::test]
async fn refusals_of_tables_carry_aws_s_shapes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.dynamo_client();
    let gone = client.describe_table().table_name("none").send().await.unwrap_err().into_service_error();
    assert!(gone.is_resource_not_found_exception());
    for (operation, body, shape) in [
        ("Dance", &b"{}"[..], "UnknownOperationException"),
        ("GetItem", b"not json", "SerializationException"),
        ("GetItem", b"\xff", "SerializationException"),
        ("GetItem", b"{}", "ValidationException"),
        ("GetItem", br#"{"TableName":7}"#, "SerializationException"),
    ] {
        let answer = server.dynamo.handle(operation, body).await;
        assert_eq!(answer.status(), 400, "{operation}");
        let value: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
        assert!(value["__type"].as_str().unwrap().ends_with(shape), "{operation}: {value}");
        assert_eq!(answer.headers()["x-amz-crc32"], crc32fast::hash(answer.body()).to_string());
    }
}
