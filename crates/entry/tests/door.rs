//! A real function process behind the door, and a Runtime API that it talks to over a socket.
//!
//! The process is this test program again, told to run only [`function`].
#![allow(clippy::unwrap_used, reason = "in a test a panic is the answer")]

use std::{
    process::{ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use entry::{Call, Ending, Message};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::{Mutex as AsyncMutex, mpsc},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// What the function under test does with a message is in the message.
async fn handle(message: &Message, call: &Call) -> Ending {
    let left = std::fs::read_dir(&call.scratch).unwrap().count();
    std::fs::write(call.scratch.join("film"), b"x").unwrap();
    let span = tracing::info_span!("task", job = "j1", task = "c00001", attempt = tracing::field::Empty);
    span.record("attempt", 7u32);
    tracing::info!(parent: &span, left, bytes = 1.5, flag = true, body = message.body, "handled");
    if message.body.starts_with("traced") {
        let (trace_id, span_id) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        tracing::info!(span = "chunk", trace_id, span_id, start_ms = 1u64, end_ms = 2u64, job = "j1", failed = "", "attempt over");
    }
    match message.body.as_str() {
        "done" | "traced" => Ending::Done,
        "panic" => panic!("as told"),
        "hang" => std::future::pending().await,
        "until shutdown" | "traced until shutdown" => {
            call.shutdown.begun().await;
            tracing::info!("gave the task back");
            Ending::Failed
        }
        "long last words" => {
            call.shutdown.begun().await;
            // Longer than Lambda would give: whoever hosts decides.
            tokio::time::sleep(Duration::from_millis(700)).await;
            tracing::info!("gave the task back late");
            Ending::Failed
        }
        _ => Ending::Failed,
    }
}

#[test]
#[ignore = "the function process that the other tests start"]
fn function() {
    let Some(mode) = entry::env()("DOOR_MODE") else { return };
    let served = async {
        if mode == "schedule" {
            return entry::serve_schedule("door", async |_| {
                Ok(async |call: &Call| Err(format!("no luck for {}", call.request.environment).into()))
            })
            .await;
        }
        let setup = async |environment: &entry::Environment| {
            let bucket = environment.var("BUCKET").ok_or("the settings are incomplete: BUCKET is missing")?;
            tracing::info!(bucket, environment = environment.id, "ready");
            Ok(async |message: &Message, call: &Call| handle(message, call).await)
        };
        entry::serve("door", setup).await
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Err(error) = runtime.block_on(served) {
        eprintln!("{error}");
        std::process::exit(7);
    }
}

/// Invocations out, answers in.
struct Lambda {
    invocations: AsyncMutex<mpsc::UnboundedReceiver<(String, Value, u64)>>,
    answers: mpsc::UnboundedSender<(String, Value)>,
    extensions: bool,
    register: Mutex<Vec<HeaderMap>>,
}

async fn next(State(lambda): State<Arc<Lambda>>) -> Response {
    let Some((id, event, deadline)) = lambda.invocations.lock().await.recv().await else { return std::future::pending().await };
    let headers = [("lambda-runtime-aws-request-id", id), ("lambda-runtime-deadline-ms", deadline.to_string())];
    (headers, event.to_string()).into_response()
}
async fn answer(State(lambda): State<Arc<Lambda>>, Path((id, kind)): Path<(String, String)>, body: Bytes) -> StatusCode {
    lambda.answers.send((format!("{id} {kind}"), serde_json::from_slice(&body).unwrap())).unwrap();
    StatusCode::ACCEPTED
}
async fn init_error(State(lambda): State<Arc<Lambda>>, body: Bytes) -> StatusCode {
    lambda.answers.send(("init error".into(), serde_json::from_slice(&body).unwrap())).unwrap();
    StatusCode::ACCEPTED
}
async fn register(State(lambda): State<Arc<Lambda>>, headers: HeaderMap) -> Response {
    lambda.register.lock().unwrap().push(headers);
    if lambda.extensions { ([("Lambda-Extension-Identifier", "x1")], "{}").into_response() } else { StatusCode::NOT_FOUND.into_response() }
}

struct Stand {
    lambda: Arc<Lambda>,
    invoke: mpsc::UnboundedSender<(String, Value, u64)>,
    answers: mpsc::UnboundedReceiver<(String, Value)>,
    child: Child,
    lines: mpsc::UnboundedReceiver<Value>,
    tmp: tempfile::TempDir,
}

impl Stand {
    async fn start(mode: &str, variables: &[(&str, &str)], extensions: bool) -> Self {
        let (invoke, invocations) = mpsc::unbounded_channel();
        let (sender, answers) = mpsc::unbounded_channel();
        let lambda =
            Arc::new(Lambda { invocations: AsyncMutex::new(invocations), answers: sender, extensions, register: Mutex::default() });
        let routes = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{kind}", post(answer))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .route("/2020-01-01/extension/register", post(register))
            .route("/2020-01-01/extension/event/next", get(std::future::pending::<()>))
            .with_state(Arc::clone(&lambda));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let tmp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tmp.path().join("entry-9-killed/film")).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["function", "--exact", "--ignored", "--nocapture", "--quiet"])
            .env_clear()
            .env("DOOR_MODE", mode)
            .env("TMPDIR", tmp.path())
            .env("AWS_LAMBDA_RUNTIME_API", address)
            .env("AWS_LAMBDA_FUNCTION_NAME", "door")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "stream-1")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (line, lines) = mpsc::unbounded_channel();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        tokio::spawn(async move {
            while let Ok(Some(text)) = stdout.next_line().await {
                // The test harness of the child prints too.
                if let Ok(Value::Object(object)) = serde_json::from_str(&text) {
                    let _ = line.send(Value::Object(object));
                }
            }
        });
        Self { lambda, invoke, answers, child, lines, tmp }
    }

    fn batch(&self, id: &str, bodies: &[&str], seconds: u64) {
        let record = |(n, body): (usize, &&str)| {
            json!({"messageId": format!("m{n}"), "receiptHandle": "r", "body": body, "attributes": {}, "messageAttributes": {},
                   "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:q"})
        };
        let records: Vec<Value> = bodies.iter().enumerate().map(record).collect();
        self.invoke.send((id.into(), json!({ "Records": records }), now_ms() + seconds * 1000)).unwrap();
    }
    async fn answered(&mut self) -> (String, Value) {
        tokio::time::timeout(PATIENCE, self.answers.recv()).await.expect("an answer in time").unwrap()
    }
    /// The next line that says `message`.
    async fn line(&mut self, message: &str) -> Value {
        let found = async {
            loop {
                let line = self.lines.recv().await.expect("the function still speaks");
                if line["message"] == message {
                    return line;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("a line `{message}`"))
    }
    async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("an end in time").unwrap()
    }
    fn terminate(&self) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::TERM).unwrap();
    }
    fn left_over(&self) -> usize {
        std::fs::read_dir(self.tmp.path()).unwrap().filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_dir()).count()
    }
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}
fn failed(ids: &[&str]) -> Value {
    json!({"batchItemFailures": ids.iter().map(|id| json!({"itemIdentifier": id})).collect::<Vec<_>>()})
}

#[tokio::test]
async fn a_batch_is_answered_message_by_message_and_logged_flat() {
    let mut stand = Stand::start("batch", &[("BUCKET", "b")], true).await;
    assert_eq!(stand.line("ready").await["environment"], "stream-1");
    assert_eq!(stand.lambda.register.lock().unwrap()[0]["lambda-extension-name"], "shutdown-notice");
    stand.batch("i1", &["done", "other", "done"], 60);
    assert_eq!(stand.answered().await, ("i1 response".into(), failed(&["m1"])));
    for body in ["done", "other", "done"] {
        let line = stand.line("handled").await;
        let expected =
            json!({"level": "INFO", "job": "j1", "task": "c00001", "attempt": 7, "bytes": 1.5, "flag": true, "left": 0, "body": body});
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&line[name], value, "{name} of {line}");
        }
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z') && line.as_object().unwrap().values().all(|v| !v.is_object()), "{line}");
    }
    stand.batch("i2", &[], 60);
    assert_eq!(stand.answered().await, ("i2 response".into(), failed(&[])));
    stand.terminate();
    assert!(stand.ended().await.success());
    assert_eq!(stand.left_over(), 0, "neither this environment's scratch space nor that of the killed one before");
}

#[tokio::test]
async fn a_panic_a_foreign_event_and_a_late_handler_come_back_and_the_next_call_works() {
    let mut stand = Stand::start("batch", &[("BUCKET", "b")], false).await;
    let warning = stand.line("this cloud has no Extensions API: the function will be killed without notice").await;
    assert!(warning["error"].as_str().unwrap().contains("404"), "{warning}");
    stand.batch("i1", &["panic"], 60);
    assert_eq!(stand.answered().await.0, "i1 error");
    assert!(stand.line("the function panicked").await["panic"].as_str().unwrap().contains("as told"));
    stand.invoke.send(("i2".into(), json!({"source": "aws.events"}), now_ms() + 60_000)).unwrap();
    let (kind, error) = stand.answered().await;
    assert!(kind == "i2 error" && error["errorMessage"].as_str().unwrap().contains("no SQS batch"), "{error}");
    stand.batch("i3", &["hang", "done"], 4);
    assert_eq!(stand.answered().await, ("i3 response".into(), failed(&["m0", "m1"])));
    stand.batch("i4", &["done"], 60);
    assert_eq!(stand.answered().await, ("i4 response".into(), failed(&[])));
}

#[tokio::test]
async fn a_function_that_is_shut_down_gives_its_task_back() {
    let mut stand = Stand::start("batch", &[("BUCKET", "b")], true).await;
    stand.batch("i1", &["until shutdown"], 60);
    stand.line("handled").await;
    stand.terminate();
    stand.line("gave the task back").await;
    assert_eq!(stand.answered().await, ("i1 response".into(), failed(&["m0"])));
    assert!(stand.ended().await.success());

    let mut stand = Stand::start("batch", &[("BUCKET", "b")], true).await;
    stand.batch("i1", &["long last words"], 60);
    stand.line("handled").await;
    stand.terminate();
    stand.line("gave the task back late").await;
    assert!(stand.ended().await.success());

    let mut stand = Stand::start("batch", &[("BUCKET", "b")], true).await;
    stand.batch("i1", &["hang"], 60);
    stand.line("handled").await;
    stand.terminate();
    assert!(stand.ended().await.success(), "a deaf handler is not waited for");
    assert_eq!(stand.left_over(), 0);
}

/// A collector's address, the bodies that it is told, and how many connections it has had. `speaks`: it answers them.
async fn collector(speaks: bool) -> (String, mpsc::UnboundedReceiver<Value>, Arc<AtomicUsize>) {
    let (told, spans) = mpsc::unbounded_channel();
    let take = post(async move |body: Bytes| {
        told.send(serde_json::from_slice(&body).unwrap()).unwrap();
        "{}"
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, calls) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&calls);
    tokio::spawn(async move {
        if speaks {
            return axum::serve(listener, Router::new().route("/v1/traces", take)).await.unwrap();
        }
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            kept.push(stream);
        }
    });
    (format!("http://{address}"), spans, calls)
}

#[tokio::test]
async fn a_collector_hears_of_a_span_before_the_answer_and_of_the_last_one_at_the_end() {
    let (endpoint, mut told, _) = collector(true).await;
    let mut stand =
        Stand::start("batch", &[("BUCKET", "b"), ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), ("LOG_LEVEL", "error")], true).await;
    stand.batch("i1", &["traced", "traced"], 60);
    assert_eq!(stand.answered().await, ("i1 response".into(), failed(&[])));
    let body = told.try_recv().unwrap();
    let spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    assert_eq!((spans.len(), &spans[0]["spanId"]), (2, &json!("b7ad6b7169203331")), "whatever the log's level is: {body}");

    let mut stand = Stand::start("batch", &[("BUCKET", "b"), ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)], true).await;
    stand.batch("i2", &["traced until shutdown"], 60);
    stand.line("handled").await;
    stand.terminate();
    assert_eq!(stand.answered().await, ("i2 response".into(), failed(&["m0"])));
    assert!(stand.ended().await.success());
    assert_eq!(told.try_recv().unwrap()["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_collector_that_says_nothing_changes_no_answer_and_no_end() {
    let (endpoint, _, calls) = collector(false).await;
    let mut stand = Stand::start("batch", &[("BUCKET", "b"), ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)], true).await;
    stand.batch("i1", &["traced"], 60);
    assert_eq!(stand.answered().await, ("i1 response".into(), failed(&[])));
    let line = stand.line("the collector of traces did not take them; it is left alone for 60 s").await;
    assert_eq!((&line["lost"], &line["level"]), (&json!(1), &json!("WARN")), "{line}");
    stand.batch("i2", &["traced"], 60);
    assert_eq!(stand.answered().await, ("i2 response".into(), failed(&[])));
    stand.terminate();
    assert!(stand.ended().await.success());
    let line = stand.line("spans were lost: the environment ended before the collector of traces took them").await;
    assert_eq!((&line["lost"], calls.load(Ordering::SeqCst)), (&json!(1), 1), "it was asked once");

    // The end comes while the collector is waited for: the answer is not.
    let mut stand = Stand::start("batch", &[("BUCKET", "b"), ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)], true).await;
    stand.batch("i1", &["traced until shutdown"], 60);
    stand.line("handled").await;
    stand.terminate();
    assert_eq!(stand.answered().await, ("i1 response".into(), failed(&["m0"])));
    assert!(stand.ended().await.success());

    let mut stand = Stand::start("batch", &[("BUCKET", "b"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")], true).await;
    assert!(stand.line("there are no traces").await["wrong"].as_str().unwrap().contains("http://"), "said, and no reason to stop");
    stand.batch("i1", &["traced"], 60);
    assert_eq!(stand.answered().await, ("i1 response".into(), failed(&[])));
}

#[tokio::test]
async fn a_function_that_cannot_start_says_why() {
    let mut stand = Stand::start("batch", &[], true).await;
    let (kind, error) = stand.answered().await;
    assert_eq!(kind, "init error");
    assert!(error["errorMessage"].as_str().unwrap().contains("BUCKET is missing"), "{error}");
    assert_eq!(stand.ended().await.code(), Some(7));
    let mut outside = Stand::start("batch", &[("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1"), ("BUCKET", "b")], true).await;
    assert_eq!(outside.ended().await.code(), Some(7), "an error, not a panic");
}

#[tokio::test]
async fn a_schedules_error_is_the_invocations() {
    let mut stand = Stand::start("schedule", &[("LOG_LEVEL", "warn")], true).await;
    stand.invoke.send(("i1".into(), json!({"detail-type": "Scheduled Event"}), now_ms() + 60_000)).unwrap();
    let (kind, error) = stand.answered().await;
    assert_eq!((kind.as_str(), &error["errorMessage"]), ("i1 error", &json!("no luck for stream-1")));
}
