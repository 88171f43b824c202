//! What gives Lambda work besides a caller that waits: queues, schedules, events; and the Invoke API.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Request, Response};
use platform::cron::Cron;
use platform::stack::{EventSourceMapping, Queue, Schedule, Timing, queue_arn};

use super::*;

pub const QUEUE: &str = "work";

pub fn mapping() -> EventSourceMapping {
    EventSourceMapping {
        function: "hello".into(),
        queue_arn: queue_arn(QUEUE),
        report_batch_item_failures: true,
        ..EventSourceMapping::default()
    }
}

impl Rig {
    pub async fn with_queue(functions: Vec<stack::Function>) -> Self {
        let rig = Self::new(functions);
        let queue = Queue { name: QUEUE.into(), visibility_timeout: Duration::from_secs(600), ..Queue::default() };
        rig.sqs.ensure_queue(&queue).await.unwrap();
        rig
    }

    pub async fn send(&self, event: Value) {
        self.sqs.send(QUEUE, event.to_string(), None).await.unwrap();
    }

    /// Visible and in flight.
    pub async fn depth(&self) -> (u64, u64) {
        let depth = self.sqs.depth(QUEUE).await.unwrap();
        (depth.visible, depth.in_flight)
    }

    pub async fn until_depth(&self, wanted: (u64, u64)) {
        let end = Instant::now() + PATIENCE;
        while self.depth().await != wanted {
            assert!(Instant::now() < end, "{:?} is not {wanted:?}", self.depth().await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the log has `wanted` lines that hold `text`.
    pub async fn until_logged(&self, text: &str, wanted: usize) {
        let end = Instant::now() + PATIENCE;
        while self.log().await.iter().filter(|line| line.contains(text)).count() < wanted {
            assert!(Instant::now() < end, "not {wanted} lines with {text}: {:?}", self.log().await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response<Bytes> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.lambda.handle(request.body(Bytes::copy_from_slice(body.as_bytes())).unwrap()).await
    }
}

#[tokio::test]
async fn a_batch_is_deleted_but_for_its_failures() {
    let rig = Rig::with_queue(vec![function("hello")]).await;
    for event in [json!({ "log": ["first"] }), json!({ "fail": "no" }), json!({ "log": ["last"] })] {
        rig.send(event).await;
    }
    rig.lambda.run_mappings(vec![mapping()]);
    rig.until_depth((0, 1)).await;
    rig.until_logged("first", 1).await;
    rig.until_logged("last", 1).await;
    rig.end().await;
}

#[tokio::test]
async fn a_batch_whose_function_fails_stays_and_is_left_alone() {
    let rig = Rig::with_queue(vec![function("hello")]).await;
    rig.send(json!({ "log": ["seen"], "exit": 1 })).await;
    rig.lambda.run_mappings(vec![mapping()]);
    rig.until_logged("Runtime.ExitError", 1).await;
    assert_eq!(rig.depth().await, (0, 1), "its visibility is as it was");
    rig.end().await;
}

#[tokio::test]
async fn without_reports_a_failing_answer_is_a_success() {
    let rig = Rig::with_queue(vec![function("hello")]).await;
    rig.send(json!({ "fail": "no" })).await;
    rig.lambda.run_mappings(vec![EventSourceMapping { report_batch_item_failures: false, ..mapping() }]);
    rig.until_depth((0, 0)).await;
    rig.end().await;
}

#[tokio::test]
async fn messages_stay_visible_while_nothing_can_run() {
    let rig = Rig::with_queue(vec![stack::Function { reserved_concurrency: Some(1), ..function("hello") }]).await;
    let pid = rig.path("pid");
    rig.lambda.run_mappings(vec![mapping()]);
    let busy = rig.invoke(json!({ "pid": pid, "sleep": 500 }));
    let queue = async {
        pid_in(&pid).await;
        rig.send(json!({ "log": ["worked"] })).await;
        let mut looks = 0;
        while rig.lambda.environments().iter().any(|environment| environment.busy) {
            // The look is a moment older than the environments' state, and the other way round.
            if rig.depth().await.1 > 0 {
                break;
            }
            looks += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        looks
    };
    let (_, looks) = tokio::join!(busy, queue);
    assert!(looks > 10, "the message was taken after {looks} looks, while nothing could run");
    rig.until_logged("worked", 1).await;
    rig.until_depth((0, 0)).await;
    rig.end().await;
}

#[tokio::test]
async fn maximum_concurrency_holds() {
    let rig = Rig::with_queue(vec![function("hello")]).await;
    for _ in 0..6 {
        rig.send(json!({ "sleep": 60 })).await;
    }
    let two = EventSourceMapping { batch_size: 1, maximum_concurrency: Some(2), ..mapping() };
    rig.lambda.run_mappings(vec![two]);
    rig.until_depth((0, 0)).await;
    assert_eq!(rig.lambda.environments().len(), 2, "two were enough, and one was not");
    rig.end().await;
}

#[tokio::test]
async fn a_window_gathers_a_batch() {
    let rig = Rig::with_queue(vec![function("hello")]).await;
    let windowed = EventSourceMapping { batch_size: 3, batch_window: PATIENCE, ..mapping() };
    rig.lambda.run_mappings(vec![windowed]);
    for _ in 0..3 {
        rig.send(json!({})).await;
    }
    rig.until_depth((0, 0)).await;
    let starts = rig.log().await.iter().filter(|line| line.starts_with("START ")).count();
    assert_eq!(starts, 1, "all three in one");
    rig.end().await;
}

#[tokio::test]
async fn a_schedule_runs_every_so_often_and_goes_on_after_a_restart() {
    let schedule = |name: &str, every, input| Schedule {
        name: name.into(),
        function: "hello".into(),
        timing: Timing::Every(Duration::from_millis(every)),
        input,
        enabled: true,
    };
    let rig = Rig::new(vec![function("hello")]);
    let tick = json!({ "log": ["tick"] });
    rig.lambda.run_schedules(vec![schedule("fast", 50, Some(tick.clone())), schedule("slow", 86_400_000, Some(tick))]);
    rig.until_logged("tick", 3).await;
    rig.end().await;
    // Its period has passed since it was last run, so it is due at once.
    let logs_before = rig.log().await.len();
    assert!(logs_before >= 9);
    let Rig { directory, lambda, logs, sqs } = rig;
    drop((lambda, logs, sqs));
    let (lambda, logs, sqs) = start(directory.path(), vec![function("hello")], PATIENCE);
    let rig = Rig { directory, lambda, logs, sqs };
    let second = json!({ "log": ["tock"] });
    rig.lambda.run_schedules(vec![schedule("fast", 86_400_000, Some(second.clone())), schedule("slow", 1, Some(second))]);
    rig.until_logged("tock", 1).await;
    rig.end().await;
}

#[tokio::test]
async fn a_cron_expression_runs_once_for_all_the_times_it_missed() {
    let leap_day = || vec![cron("leap-day", json!({ "log": ["leaped"] }))];
    let rig = Rig::new(vec![function("hello")]);
    // As a platform leaves it that was last up in 1970.
    let database = rusqlite::Connection::open(rig.path("lambda/lambda.db")).unwrap();
    database.execute("INSERT INTO schedules (name, last_ms) VALUES ('leap-day', 0), ('other', 0)", []).unwrap();
    drop(database);
    rig.lambda.run_schedules(leap_day());
    rig.until_logged("leaped", 1).await;
    rig.end().await;
    let Rig { directory, lambda, logs, sqs } = rig;
    drop((lambda, logs, sqs));
    let (lambda, logs, sqs) = start(directory.path(), vec![function("hello")], PATIENCE);
    let rig = Rig { directory, lambda, logs, sqs };
    rig.lambda.run_schedules([leap_day(), vec![cron("other", json!({ "log": ["after"] }))]].concat());
    rig.until_logged("after", 1).await;
    assert_eq!(rig.log().await.iter().filter(|line| line.contains("leaped")).count(), 1);
    rig.end().await;
}

fn cron(name: &str, input: Value) -> Schedule {
    let timing = Timing::Cron(Cron::parse("0 0 29 FEB ? *").unwrap());
    Schedule { name: name.into(), function: "hello".into(), timing, input: Some(input), enabled: true }
}

#[tokio::test]
async fn invoke_api() {
    let rig = Rig::new(vec![function("hello")]);
    let path = "/2015-03-31/functions/arn:aws:lambda:us-east-1:000000000000:function:hello/invocations";
    let answer = rig.call("POST", path, &[("x-amz-log-type", "Tail")], r#"{"answer":"ü"}"#).await;
    assert_eq!((answer.status().as_u16(), answer.body().as_ref()), (200, "\"ü\"".as_bytes()));
    assert_eq!(answer.headers()["x-amz-executed-version"], "$LATEST");
    let log = STANDARD.decode(&answer.headers()["x-amz-log-result"]).unwrap();
    assert!(String::from_utf8(log).unwrap().contains("REPORT RequestId: "));
    assert!(!answer.headers().contains_key("x-amz-function-error"));

    let failed = rig.call("POST", "/2015-03-31/functions/hello/invocations", &[], r#"{"fail":"x"}"#).await;
    assert_eq!((failed.status().as_u16(), &failed.headers()["x-amz-function-error"]), (200, &"Unhandled".parse().unwrap()));

    let status = async |name, headers: &[_], body| {
        let answer = rig.call("POST", &format!("/2015-03-31/functions/{name}/invocations"), headers, body).await;
        let kind = answer.headers().get("x-amzn-errortype").map(|kind| kind.to_str().unwrap().to_owned());
        (answer.status().as_u16(), kind)
    };
    assert_eq!(status("hello", &[("x-amz-invocation-type", "DryRun")], "{}").await, (204, None));
    assert_eq!(status("gone", &[], "{}").await, (404, Some("ResourceNotFoundException".into())));
    assert_eq!(status("hello:7", &[], "{}").await, (404, Some("ResourceNotFoundException".into())));
    assert_eq!(status("hello:$LATEST", &[], "{}").await, (200, None));
    let aliased = rig.call("POST", "/2015-03-31/functions/hello/invocations?Qualifier=live", &[], "{}").await;
    let message = "Function not found: arn:aws:lambda:us-east-1:000000000000:function:hello:live";
    assert_eq!(serde_json::from_slice::<Value>(aliased.body()).unwrap(), json!({ "Type": "User", "Message": message }));
    assert_eq!(status("hello", &[], "{").await, (400, Some("InvalidRequestContentException".into())));
    let big = format!("\"{}\"", "x".repeat(6_300_000));
    assert_eq!(status("hello", &[], &big).await, (413, Some("RequestTooLargeException".into())));

    let event = json!({ "log": ["kept"] }).to_string();
    assert_eq!(status("hello", &[("x-amz-invocation-type", "Event")], &event).await, (202, None));
    rig.until_logged("kept", 1).await;

    let list = rig.call("GET", "/2015-03-31/functions/", &[], "").await;
    let list: Value = serde_json::from_slice(list.body()).unwrap();
    assert_eq!(list["Functions"][0]["FunctionName"], "hello");
    let one = rig.call("GET", "/2015-03-31/functions/hello", &[], "").await;
    let one: Value = serde_json::from_slice(one.body()).unwrap();
    assert_eq!(one["Configuration"]["MemorySize"], 256);
    let account = rig.call("GET", "/2016-08-19/account-settings/", &[], "").await;
    let account: Value = serde_json::from_slice(account.body()).unwrap();
    assert_eq!(account["AccountLimit"], json!({ "ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 1000 }));
    let invoke = rig.call("GET", "/2019-09-25/functions/hello/event-invoke-config", &[], "").await;
    let invoke: Value = serde_json::from_slice(invoke.body()).unwrap();
    assert_eq!((&invoke["MaximumRetryAttempts"], &invoke["MaximumEventAgeInSeconds"]), (&json!(2), &json!(21_600)));
    rig.end().await;
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_an_error_and_the_environment_goes_on() {
    let rig = Rig::new(vec![function("hello")]);
    // Every byte of the event is a part of the answer twice.
    let half = "x".repeat(3_200_000);
    let outcome = rig.invoke(json!({ "answer": { "a": half, "b": half } })).await;
    assert_eq!(outcome.function_error.as_deref(), Some("Unhandled"));
    assert_eq!(payload(&outcome)["errorType"], "Function.ResponseSizeTooLarge");
    assert_eq!(payload(&rig.invoke(json!(1)).await), json!(1));
    rig.end().await;
}

/// Not a test: prints what the platform adds to an invocation. `cargo test -p platform --test lambda -- --ignored
/// --nocapture measures`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints measurements"]
async fn measures() {
    let rig = Rig::with_queue(vec![function("hello")]).await;
    let mut cold = Vec::new();
    for _ in 0..20 {
        let begin = Instant::now();
        let outcome = rig.invoke(json!({ "exit": 0 })).await;
        let init = outcome.log_tail.split("Init Duration: ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        cold.push((init.parse::<f64>().unwrap(), begin.elapsed()));
    }
    cold.sort_by(|one, other| one.0.total_cmp(&other.0));
    println!("cold start to /next: p50 {} ms, max {} ms", cold[10].0, cold[19].0);
    rig.invoke(json!(0)).await;
    let mut warm = Vec::new();
    for _ in 0..1000 {
        let begin = Instant::now();
        rig.invoke(json!(0)).await;
        warm.push(begin.elapsed());
    }
    warm.sort();
    println!("warm invoke: p50 {:?}, p99 {:?}", warm[500], warm[990]);
    rig.lambda.run_mappings(vec![mapping()]);
    let mut sent = Vec::new();
    for number in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let begin = Instant::now();
        let file = rig.path(&format!("started-{number}"));
        rig.send(json!({ "pid": file })).await;
        while !file.exists() {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        sent.push(begin.elapsed());
    }
    sent.sort();
    println!("send to handler: p50 {:?}, p90 {:?}", sent[25], sent[45]);
    rig.end().await;
}
