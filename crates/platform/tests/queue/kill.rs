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

const GROUPS: [&str; 2] = ["even", "odd"];

fn line() -> stack::Queue {
    stack::Queue { name: "line.fifo".into(), fifo: Some(stack::Fifo::default()), ..stack::Queue::default() }
}

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
    sqs.ensure_queues(&[super::queue("q"), line()]).await.unwrap();
    dynamo.ensure_table(&table()).await.unwrap();
    for n in 0..100_000 {
        let id = sqs.send("q", "m".into(), None).await.unwrap();
        let (group, n) = (GROUPS[n % 2], n.to_string());
        let in_line = sqs.send_fifo("line.fifo", group, Some(&n), n.clone()).await.unwrap();
        let put = json!({ "TableName": "items", "Item": { "id": { "S": id } } }).to_string();
        assert_eq!(dynamo.handle("PutItem", put.as_bytes()).await.status(), 200);
        let mut out = std::io::stdout().lock();
        writeln!(out, "answered {id} {n} {in_line}").unwrap();
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
    let mut lines: Vec<String> = answered.by_ref().take(BEFORE_THE_KILL).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    lines.extend(answered);
    assert!(lines.len() >= BEFORE_THE_KILL, "the child ended by itself");

    let sqs = Sqs::open(&dir.path().join("sqs")).unwrap();
    let dynamo = DynamoDb::open(&dir.path().join("dynamodb")).unwrap();
    let lines: Vec<[&str; 3]> = lines.iter().map(|line| line.split(' ').collect::<Vec<_>>().try_into().unwrap()).collect();
    lines_are_whole(&sqs, &lines).await;
    let ids = lines.iter().map(|[id, ..]| *id);
    let mut received = std::collections::HashSet::new();
    loop {
        let got = sqs.receive("q", 10, Duration::ZERO, None).await.unwrap();
        if got.is_empty() {
            break;
        }
        received.extend(got.into_iter().map(|m| m.message_id));
    }
    for id in ids {
        assert!(received.contains(id), "message {id} was lost");
        let get = json!({ "TableName": "items", "Key": { "id": { "S": id } } }).to_string();
        let item: Value = serde_json::from_slice(dynamo.handle("GetItem", get.as_bytes()).await.body()).unwrap();
        assert_eq!(item.pointer("/Item/id/S"), Some(&json!(id)), "item {id} was lost");
    }
}

/// A FIFO queue gives every answered message once and in order, and knows the newest when it is sent again.
async fn lines_are_whole(sqs: &Sqs, lines: &[[&str; 3]]) {
    for [_, n, id] in &lines[lines.len() - 2..] {
        let group = GROUPS[n.parse::<usize>().unwrap() % 2];
        assert_eq!(sqs.send_fifo("line.fifo", group, Some(n), "again".into()).await.unwrap(), *id);
    }
    let mut received: Vec<(String, String)> = vec![];
    loop {
        let got = sqs.receive("line.fifo", 10, Duration::ZERO, None).await.unwrap();
        if got.is_empty() {
            break;
        }
        let handles: Vec<String> = got.iter().map(|message| message.receipt_handle.clone()).collect();
        received.extend(got.into_iter().map(|message| (message.body, message.message_id)));
        sqs.delete("line.fifo", &handles).await.unwrap();
    }
    for group in 0..2 {
        let of_group: Vec<usize> = received.iter().map(|(n, _)| n.parse().unwrap()).filter(|n| n % 2 == group).collect();
        let expected: Vec<usize> = (0..of_group.len()).map(|at| at * 2 + group).collect();
        assert_eq!(of_group, expected, "group {group}: each once, in order");
    }
    for [_, n, id] in lines {
        assert!(received.contains(&((*n).to_owned(), (*id).to_owned())), "message {n} of a line was lost");
    }
}
