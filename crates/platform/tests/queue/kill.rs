//! Invariant 1: what was answered with success survives `kill -9`.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use platform::{dynamodb::DynamoDb, sqs::Sqs, stack};
use serde_json::{Value, json};

/// Answers that the child gets before it is killed.
const BEFORE_THE_KILL: usize = 60;

fn table() -> stack::Table {
    let create_table = json!({
        "TableName": "items",
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
        "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
    });
    stack::Table { name: "items".into(), create_table, ttl_attribute: None }
}

/// Writes as fast as it can, in its working directory, and prints what was answered; for the test below.
#[tokio::test]
#[ignore = "run by the test below, as a process of its own that is killed"]
async fn child_that_is_killed() {
    let (sqs, dynamo) = (Sqs::open(Path::new("sqs")).unwrap(), DynamoDb::open(Path::new("dynamodb")).unwrap());
    sqs.ensure_queue(&super::queue("q")).await.unwrap();
    dynamo.ensure_table(&table()).await.unwrap();
    for _ in 0..100_000 {
        let id = sqs.send("q", "m".into(), None).await.unwrap();
        let put = json!({ "TableName": "items", "Item": { "id": { "S": id } } }).to_string();
        assert_eq!(dynamo.handle("PutItem", put.as_bytes()).await.status(), 200);
        let mut out = std::io::stdout().lock();
        writeln!(out, "answered {id}").unwrap();
        out.flush().unwrap();
    }
}

#[tokio::test]
async fn what_was_answered_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child_that_is_killed", "--ignored", "--nocapture"])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut answered = lines.filter_map(|line| Some(line.split_once("answered ")?.1.to_owned()));
    let mut ids: Vec<String> = answered.by_ref().take(BEFORE_THE_KILL).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    ids.extend(answered);
    assert!(ids.len() >= BEFORE_THE_KILL, "the child ended by itself");

    let sqs = Sqs::open(&dir.path().join("sqs")).unwrap();
    let dynamo = DynamoDb::open(&dir.path().join("dynamodb")).unwrap();
    let mut received = std::collections::HashSet::new();
    loop {
        let got = sqs.receive("q", 10, Duration::ZERO, None).await.unwrap();
        if got.is_empty() {
            break;
        }
        received.extend(got.into_iter().map(|m| m.message_id));
    }
    for id in &ids {
        assert!(received.contains(id), "message {id} was lost");
        let get = json!({ "TableName": "items", "Key": { "id": { "S": id } } }).to_string();
        let item: Value = serde_json::from_slice(dynamo.handle("GetItem", get.as_bytes()).await.body()).unwrap();
        assert_eq!(item.pointer("/Item/id/S"), Some(&json!(id)), "item {id} was lost");
    }
}
