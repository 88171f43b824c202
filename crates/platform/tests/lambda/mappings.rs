//! Event source mappings: which messages come, how many at once, and the switch.

use super::{
    sources::{QUEUE, mapping},
    *,
};
use platform::stack::{EventSourceMapping, Fifo, Queue, queue_arn};

/// No other line of a log holds these.
const GROUPS: [&str; 3] = ["group-one", "group-two", "group-three"];

impl Rig {
    async fn mapping_api(&self, method: &str, id: &str, body: &Value) -> (u16, Value) {
        let path = format!("/2015-03-31/event-source-mappings/{id}");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.call(method, &path, &[], &body).await;
        (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap())
    }

    /// Lines of the log that begin a batch.
    async fn batches(&self) -> usize {
        self.log().await.iter().filter(|line| line.starts_with("START ")).count()
    }
}

#[tokio::test]
async fn messages_that_do_not_fit_the_filters_are_deleted_unseen() {
    let rig = Rig::with_queue(vec![function("hello")]).await;
    for number in 0..30 {
        rig.send(json!({ "kind": number % 3, "log": [format!("kind {}", number % 3)] })).await;
    }
    rig.sqs.send(QUEUE, "no JSON".into(), None).await.unwrap();
    let filters = vec![json!({ "body": { "kind": [1] } }), json!({ "body": { "kind": [{ "numeric": [">", 1] }] } })];
    rig.lambda.run_mappings(vec![EventSourceMapping { filters, ..mapping() }]);
    rig.until_depth((0, 0)).await;
    rig.until_logged("kind", 20).await;
    let log = rig.log().await;
    assert!(!log.iter().any(|line| line.contains("kind 0")), "{log:?}");
    rig.end().await;
}

#[tokio::test]
async fn concurrency_begins_with_five_and_grows_with_the_backlog() {
    let rig = Rig::with_queue(vec![function("hello")]).await;
    // Each waits for all nine to have begun, which five alone never would.
    let all: Vec<PathBuf> = (0..9).map(|number| rig.path(&format!("begun-{number}"))).collect();
    for path in &all {
        rig.send(json!({ "pid": path, "until": all })).await;
    }
    let one = EventSourceMapping { batch_size: 1, ..mapping() };
    rig.lambda.run_mappings(vec![one]);
    until("five have begun", || all.iter().filter(|path| path.exists()).count() >= 5).await;
    rig.until_depth((0, 0)).await;
    assert_eq!(rig.lambda.environments().len(), 9);
    rig.end().await;
}

#[tokio::test]
async fn a_failing_message_does_not_hold_up_the_others() {
    let rig = Rig::with_queue(vec![function("hello")]).await;
    for number in 0..40 {
        rig.send(if number % 4 == 0 { json!({ "exit": 1 }) } else { json!({ "log": ["good"] }) }).await;
    }
    rig.lambda.run_mappings(vec![EventSourceMapping { batch_size: 1, ..mapping() }]);
    rig.until_logged("good", 30).await;
    rig.until_depth((0, 10)).await;
    rig.end().await;
}

#[tokio::test]
async fn a_window_gathers_more_than_one_receive_gives() {
    let rig = Rig::with_queue(vec![function("hello")]).await;
    for _ in 0..250 {
        rig.send(json!({})).await;
    }
    let windowed = EventSourceMapping { batch_size: 250, batch_window: PATIENCE, ..mapping() };
    rig.lambda.run_mappings(vec![windowed]);
    rig.until_depth((0, 0)).await;
    assert_eq!(rig.batches().await, 1, "all in one");
    rig.end().await;
}

#[tokio::test]
async fn a_queue_with_order_keeps_it_group_by_group() {
    let rig = Rig::new(vec![function("hello")]);
    let (name, visibility_timeout) = ("work.fifo", Duration::from_secs(600));
    let queue = Queue { name: name.into(), visibility_timeout, fifo: Some(Fifo::default()), ..Queue::default() };
    rig.sqs.ensure_queue(&queue).await.unwrap();
    for number in 0..24 {
        let group = GROUPS[number % 3];
        // Longer than the milliseconds that log lines are told apart by.
        let event = json!({ "log": [format!("{group} {number:02}")], "sleep": 5 }).to_string();
        let request = json!({
            "QueueUrl": format!("http://127.0.0.1:1/000000000000/{name}"), "MessageBody": event,
            "MessageGroupId": group, "MessageDeduplicationId": number.to_string(),
        });
        let answer = rig.sqs.handle("SendMessage", request.to_string().as_bytes(), "http://127.0.0.1:1").await;
        assert_eq!(answer.status(), 200, "{answer:?}");
    }
    rig.lambda.run_mappings(vec![EventSourceMapping { queue_arn: queue_arn(name), batch_size: 2, ..mapping() }]);
    for group in GROUPS {
        rig.until_logged(group, 8).await;
    }
    let log = rig.log().await;
    for group in GROUPS {
        let lines: Vec<&String> = log.iter().filter(|line| line.starts_with(group)).collect();
        assert!(lines.is_sorted() && lines.len() == 8, "{lines:?}");
    }
    rig.end().await;
}

#[tokio::test]
async fn a_mapping_is_switched_off_and_on_and_stays_as_it_was_left() {
    let rig = Rig::with_queue(vec![function("hello")]).await;
    rig.lambda.run_mappings(vec![mapping()]);
    let (status, list) = rig.mapping_api("GET", "?FunctionName=hello", &Value::Null).await;
    let one = &list["EventSourceMappings"][0];
    assert_eq!((status, &one["State"], &one["BatchSize"]), (200, &json!("Enabled"), &json!(10)));
    let id = one["UUID"].as_str().unwrap().to_owned();
    assert_eq!(rig.mapping_api("GET", "?FunctionName=other", &Value::Null).await.1, json!({ "EventSourceMappings": [] }));
    assert_eq!(rig.mapping_api("GET", "no-such-id", &Value::Null).await.0, 404);
    assert_eq!(rig.mapping_api("PUT", &id, &json!({ "BatchSize": 1 })).await.0, 400);

    let (status, off) = rig.mapping_api("PUT", &id, &json!({ "Enabled": false })).await;
    assert_eq!((status, &off["State"]), (202, &json!("Disabled")));
    rig.send(json!({ "log": ["worked"] })).await;
    rig.invoke(json!({})).await;
    assert_eq!(rig.depth().await, (1, 0), "nobody takes it");
    rig.end().await;

    let Rig { directory, lambda, logs, sqs } = rig;
    drop((lambda, logs, sqs));
    let (lambda, logs, sqs) = start(directory.path(), vec![function("hello")], PATIENCE);
    let rig = Rig { directory, lambda, logs, sqs };
    rig.lambda.run_mappings(vec![mapping()]);
    assert_eq!(rig.mapping_api("GET", &id, &Value::Null).await.1["State"], "Disabled");
    rig.invoke(json!({})).await;
    assert_eq!(rig.depth().await, (1, 0), "nobody takes it");
    assert_eq!(rig.mapping_api("PUT", &id, &json!({ "Enabled": true })).await.0, 202);
    rig.until_depth((0, 0)).await;
    rig.until_logged("worked", 1).await;
    rig.end().await;
}
