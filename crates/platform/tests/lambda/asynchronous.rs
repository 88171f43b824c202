//! Asynchronous invocations: how often they are tried, who is told of their end, and what a kill leaves of them.

use platform::stack::{Asynchronous, Queue, queue_arn};

use super::*;

const TOLD: &str = "told";

/// A function whose failures go to a queue, and the queue.
async fn rig(asynchronous: Asynchronous) -> Rig {
    let rig = Rig::new(vec![stack::Function { asynchronous, ..function("hello") }]);
    rig.sqs.ensure_queue(&Queue { name: TOLD.into(), ..Queue::default() }).await.unwrap();
    rig
}

impl Rig {
    async fn event(&self, event: &Value) {
        let headers = [("x-amz-invocation-type", "Event")];
        let answer = self.call("POST", "/2015-03-31/functions/hello/invocations", &headers, &event.to_string()).await;
        assert_eq!(answer.status(), 202);
    }

    /// The next record of the queue that is told.
    async fn told(&self) -> platform::sqs::Received {
        let mut received = self.sqs.receive(TOLD, 1, PATIENCE, None).await.unwrap();
        assert_eq!(received.len(), 1, "nobody was told");
        received.remove(0)
    }

    async fn starts(&self) -> usize {
        self.log().await.iter().filter(|line| line.starts_with("START ")).count()
    }

    /// Events that are kept.
    fn kept(&self) -> u32 {
        let database = rusqlite::Connection::open(self.path("lambda/lambda.db")).unwrap();
        database.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap()
    }
}

#[tokio::test]
async fn a_failing_event_is_tried_three_times_and_told_of_once() {
    let rig = rig(Asynchronous { on_failure: Some(queue_arn(TOLD)), ..Asynchronous::default() }).await;
    rig.event(&json!({ "fail": "no such film" })).await;
    let record: Value = serde_json::from_str(&rig.told().await.body).unwrap();
    let context = &record["requestContext"];
    assert_eq!((&context["condition"], &context["approximateInvokeCount"]), (&json!("RetriesExhausted"), &json!(3)));
    assert_eq!(record["requestPayload"], json!({ "fail": "no such film" }));
    assert_eq!(record["responseContext"], json!({ "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled" }));
    assert_eq!(record["responsePayload"]["errorMessage"], "no such film");
    until("the event is forgotten", || rig.kept() == 0).await;
    assert_eq!(rig.starts().await, 3);
    assert_eq!(rig.sqs.depth(TOLD).await.unwrap().visible, 0, "told twice");
    rig.end().await;
}

#[tokio::test]
async fn without_retries_a_crash_is_a_dead_letter_at_once() {
    let settings = Asynchronous { retries: 0, dead_letter: Some(queue_arn(TOLD)), ..Asynchronous::default() };
    let rig = rig(settings).await;
    let event = json!({ "exit": 3 });
    rig.event(&event).await;
    let letter = rig.told().await;
    assert_eq!(letter.body, event.to_string(), "the event itself");
    let value = |name: &str| letter.message_attributes[name].string_value.clone().unwrap();
    assert_eq!(value("ErrorCode"), "200");
    assert_eq!(value("ErrorMessage"), format!("RequestId: {} Error: Runtime exited with error: exit status 3", value("RequestID")));
    until("the event is forgotten", || rig.kept() == 0).await;
    assert_eq!(rig.starts().await, 1);
    rig.end().await;
}

#[tokio::test]
async fn success_is_told_to_a_function() {
    let settings = Asynchronous { on_success: Some(stack::function_arn("listener")), ..Asynchronous::default() };
    let rig = Rig::new(vec![stack::Function { asynchronous: settings, ..function("hello") }, function("listener")]);
    rig.event(&json!({ "answer": 1 })).await;
    let heard = async || {
        let body = json!({ "logGroupName": "/aws/lambda/listener" }).to_string();
        let answer = rig.logs.handle("FilterLogEvents", body.as_bytes()).await;
        String::from_utf8_lossy(answer.body()).contains("REPORT RequestId: ")
    };
    let end = Instant::now() + PATIENCE;
    while !heard().await {
        assert!(Instant::now() < end, "the listener never ran");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    until("both events are forgotten", || rig.kept() == 0).await;
    rig.end().await;
}

#[tokio::test]
async fn events_of_a_function_with_nothing_reserved_go_where_failures_go() {
    let asynchronous = Asynchronous { on_failure: Some(queue_arn(TOLD)), ..Asynchronous::default() };
    let rig = Rig::new(vec![stack::Function { asynchronous, reserved_concurrency: Some(0), ..function("hello") }]);
    rig.sqs.ensure_queue(&Queue { name: TOLD.into(), ..Queue::default() }).await.unwrap();
    rig.event(&json!({})).await;
    let record: Value = serde_json::from_str(&rig.told().await.body).unwrap();
    assert_eq!(record["requestContext"]["approximateInvokeCount"], 0);
    assert!(record.get("responseContext").is_none(), "{record}");
    assert_eq!(rig.lambda.environments(), []);
    let refused = rig.call("POST", "/2015-03-31/functions/hello/invocations", &[], "{}").await;
    let body: Value = serde_json::from_slice(refused.body()).unwrap();
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"1".parse().unwrap()));
    let reason = "ReservedFunctionConcurrentInvocationLimitExceeded";
    assert_eq!(body, json!({ "Type": "User", "message": "Rate Exceeded.", "Reason": reason }));
    rig.end().await;
}

#[tokio::test]
async fn one_function_that_cannot_run_holds_up_no_other() {
    let slow = stack::Function { reserved_concurrency: Some(1), ..function("slow") };
    let rig = Rig::new(vec![function("hello"), slow]);
    let pid = rig.path("pid");
    let path = "/2015-03-31/functions/slow/invocations";
    let headers = [("x-amz-invocation-type", "Event")];
    for _ in 0..100 {
        let event = json!({ "pid": pid, "sleep": 60_000 }).to_string();
        assert_eq!(rig.call("POST", path, &headers, &event).await.status(), 202);
    }
    pid_in(&pid).await;
    rig.event(&json!({ "log": ["passed"] })).await;
    rig.until_logged("passed", 1).await;
    until("one is forgotten, a hundred wait", || rig.kept() == 100).await;
    rig.end().await;
}

/// Not a test: the platform that `events_survive_a_kill` kills, in its directory.
#[tokio::test]
#[ignore = "run by events_survive_a_kill, which kills it"]
async fn platform_with_events() {
    let directory = std::env::current_dir().unwrap();
    let (lambda, logs, sqs) = start(&directory, vec![told_of()], PATIENCE);
    sqs.ensure_queue(&Queue { name: TOLD.into(), ..Queue::default() }).await.unwrap();
    let directory_of_nobody = tempfile::tempdir().unwrap();
    let rig = Rig { directory: directory_of_nobody, lambda, logs, sqs };
    for number in 0..5 {
        rig.event(&json!({ "pid": directory.join(format!("pid-{number}")), "sleep": 500, "answer": number })).await;
    }
    std::future::pending::<()>().await;
}

fn told_of() -> stack::Function {
    let asynchronous = Asynchronous { on_success: Some(queue_arn(TOLD)), ..Asynchronous::default() };
    stack::Function { asynchronous, ..function("hello") }
}

#[tokio::test]
async fn events_survive_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut platform = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "asynchronous::platform_with_events"])
        .current_dir(directory.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    pid_in(&directory.path().join("pid-4")).await;
    platform.kill().unwrap();
    platform.wait().unwrap();
    let (lambda, logs, sqs) = start(directory.path(), vec![told_of()], PATIENCE);
    let rig = Rig { directory, lambda, logs, sqs };
    let mut answers = std::collections::BTreeSet::new();
    while answers.len() < 5 {
        let record: Value = serde_json::from_str(&rig.told().await.body).unwrap();
        answers.insert(record["responsePayload"].as_u64().unwrap());
    }
    until("all are forgotten", || rig.kept() == 0).await;
    rig.end().await;
}
