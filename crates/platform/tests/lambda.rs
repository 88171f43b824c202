//! Lambda with real processes: the function is `tests/functions/hello`, on AWS's own runtime crate.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "lambda/asynchronous.rs"]
mod asynchronous;
#[path = "lambda/http.rs"]
mod http_api;
#[path = "lambda/leftovers.rs"]
mod leftovers;
#[path = "lambda/mappings.rs"]
mod mappings;
#[path = "lambda/sources.rs"]
mod sources;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use platform::{
    lambda::{InvokeError, Lambda, LambdaConfig, Outcome},
    logs::Logs,
    sqs::Sqs,
    stack,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longest wait for a condition.
const PATIENCE: Duration = Duration::from_secs(20);

/// A Lambda of its own for one test.
struct Rig {
    directory: TempDir,
    lambda: Arc<Lambda>,
    logs: Arc<Logs>,
    sqs: Arc<Sqs>,
}

impl Rig {
    fn new(functions: Vec<stack::Function>) -> Self {
        Self::with(functions, Duration::from_secs(60))
    }

    fn with(functions: Vec<stack::Function>, idle_timeout: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (lambda, logs, sqs) = start(directory.path(), functions, idle_timeout);
        Self { directory, lambda, logs, sqs }
    }

    async fn invoke(&self, event: Value) -> Outcome {
        self.lambda.invoke("hello", event.to_string().into()).await.unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// All lines of the function's log, oldest first.
    async fn log(&self) -> Vec<String> {
        let body = json!({ "logGroupName": "/aws/lambda/hello" }).to_string();
        let answer = self.logs.handle("FilterLogEvents", body.as_bytes()).await;
        let answer: Value = serde_json::from_slice(answer.body()).unwrap();
        let events = answer["events"].as_array().cloned().unwrap_or_default();
        events.iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect()
    }

    async fn end(&self) {
        let pids: Vec<u32> = self.lambda.environments().iter().map(|environment| environment.pid).collect();
        self.lambda.shutdown(Duration::ZERO).await;
        assert_eq!(self.lambda.environments(), []);
        assert!(pids.iter().all(|pid| !runs(*pid)), "a process is left");
        assert_eq!(fs::read_dir(self.path("lambda/tmp")).map_or(0, Iterator::count), 0, "a directory is left");
        assert_eq!(fs::read_dir(self.path("lambda/processes")).unwrap().count(), 0, "a record is left");
    }
}

fn start(directory: &Path, functions: Vec<stack::Function>, idle_timeout: Duration) -> (Arc<Lambda>, Arc<Logs>, Arc<Sqs>) {
    let logs = Logs::open(&directory.join("logs")).unwrap();
    let sqs = Sqs::open(&directory.join("sqs")).unwrap();
    let config = LambdaConfig {
        data_dir: directory.join("lambda"),
        endpoint: "http://127.0.0.1:1".into(),
        access_key: "test".into(),
        secret_key: "test".into(),
        binary_dirs: vec![hello().parent().unwrap().to_owned()],
        vcpus: 2.0,
        idle_timeout,
        account_concurrency: 1000,
        init_timeout: Duration::from_secs(3),
        retry_waits: [Duration::from_millis(20), Duration::from_millis(40)],
    };
    (Lambda::start(config, functions, Arc::clone(&sqs), Arc::clone(&logs)).unwrap(), logs, sqs)
}

fn function(name: &str) -> stack::Function {
    stack::Function {
        logical_id: name.into(),
        name: name.into(),
        code_dir: "/nonexistent".into(),
        binary: "hello".into(),
        memory_mb: 256,
        timeout: Duration::from_secs(20),
        ephemeral_mb: 512,
        environment: BTreeMap::new(),
        layers: vec![],
        reserved_concurrency: None,
        log_group: format!("/aws/lambda/{name}"),
        log_format: platform::stack::LogFormat::Text,
        asynchronous: stack::Asynchronous::default(),
    }
}

/// The function's program, built if it is not there or older than its source.
fn hello() -> &'static Path {
    static HELLO: OnceLock<PathBuf> = OnceLock::new();
    HELLO.get_or_init(|| program("hello"))
}

fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // target/<profile>/deps/lambda-…
    let profile = test.parent().unwrap().parent().unwrap();
    let program = profile.join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/functions/{name}/src/main.rs"));
    let written = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    if written(&program).is_ok_and(|program| program >= written(&source).unwrap()) {
        return program;
    }
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", name, "--target-dir"]).arg(profile.parent().unwrap());
    if profile.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
    program
}

fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn pid_in(path: &Path) -> u32 {
    let read = || fs::read_to_string(path).ok().and_then(|text| text.parse::<u32>().ok());
    until("a process id is written", || read().is_some()).await;
    read().unwrap()
}

fn payload(outcome: &Outcome) -> Value {
    serde_json::from_slice(&outcome.payload).unwrap()
}

#[tokio::test]
async fn cold_then_warm() {
    let rig = Rig::new(vec![function("hello")]);
    let cold = rig.invoke(json!({ "answer": 1, "log": ["one", "two"] })).await;
    assert_eq!((payload(&cold), &cold.function_error), (json!(1), &None));
    assert!(cold.log_tail.contains("Init Duration: ") && cold.log_tail.contains("two\nEND RequestId: "), "{cold:?}");
    let pids = |rig: &Rig| rig.lambda.environments().iter().map(|environment| environment.pid).collect::<Vec<_>>();
    let before = pids(&rig);
    for number in 0..20 {
        let warm = rig.invoke(json!({ "answer": number })).await;
        assert_eq!(payload(&warm), json!(number));
        assert!(!warm.log_tail.contains("Init Duration"), "{warm:?}");
    }
    assert_eq!(pids(&rig), before, "one environment did it all");
    let log = rig.log().await;
    let start = format!("START RequestId: {} Version: $LATEST", cold.request_id);
    assert_eq!(log[..4], [start, "one".into(), "two".into(), format!("END RequestId: {}", cold.request_id)]);
    assert!(log[4].starts_with("REPORT RequestId: ") && log[4].contains("Memory Size: 256 MB"), "{}", log[4]);
    rig.end().await;
}

#[tokio::test]
async fn environment_is_what_aws_gives() {
    let mut hello = function("hello");
    hello.environment.insert("OWN".into(), "x".into());
    let rig = Rig::new(vec![hello]);
    let environment = payload(&rig.invoke(json!({ "environment": true })).await);
    let names: Vec<&str> = environment.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "AWS_ACCESS_KEY_ID",
            "AWS_DEFAULT_REGION",
            "AWS_ENDPOINT_URL",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
            "AWS_LAMBDA_FUNCTION_NAME",
            "AWS_LAMBDA_FUNCTION_VERSION",
            "AWS_LAMBDA_INITIALIZATION_TYPE",
            "AWS_LAMBDA_LOG_GROUP_NAME",
            "AWS_LAMBDA_LOG_STREAM_NAME",
            "AWS_LAMBDA_RUNTIME_API",
            "AWS_REGION",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "LAMBDA_TASK_ROOT",
            "LANG",
            "OWN",
            "PATH",
            "TMPDIR",
            "TZ",
            "_HANDLER",
            // Set by the runtime crate itself.
            "_X_AMZN_TRACE_ID",
        ]
    );
    assert!(Path::new(environment["TMPDIR"].as_str().unwrap()).is_dir());
    rig.end().await;
}

#[tokio::test]
async fn errors_and_panics_are_the_functions_and_keep_the_environment() {
    let rig = Rig::new(vec![function("hello")]);
    let failed = rig.invoke(json!({ "fail": "no such film" })).await;
    assert_eq!(failed.function_error.as_deref(), Some("Unhandled"));
    assert_eq!(payload(&failed)["errorMessage"], "no such film");
    let panicked = rig.invoke(json!({ "panic": "oh" })).await;
    assert_eq!(panicked.function_error.as_deref(), Some("Unhandled"));
    assert!(panicked.payload.windows(2).any(|two| two == b"oh"), "{panicked:?}");
    assert_eq!(rig.invoke(json!(3)).await.function_error, None);
    assert_eq!(rig.lambda.environments().len(), 1);
    rig.end().await;
}

#[tokio::test]
async fn exit_abort_and_kill_are_exit_errors_and_the_next_is_served() {
    let rig = Rig::new(vec![function("hello")]);
    let exit = rig.invoke(json!({ "exit": 3, "log": ["last words"] })).await;
    let message = format!("RequestId: {} Error: Runtime exited with error: exit status 3", exit.request_id);
    assert_eq!(payload(&exit), json!({ "errorType": "Runtime.ExitError", "errorMessage": message }));
    assert!(exit.log_tail.contains("last words\n") && exit.log_tail.contains("Runtime.ExitError"), "{exit:?}");
    assert_eq!(exit.function_error.as_deref(), Some("Unhandled"));
    let abort = payload(&rig.invoke(json!({ "abort": true })).await);
    assert!(abort["errorMessage"].as_str().unwrap().ends_with("signal: aborted"), "{abort}");

    let pid = rig.path("pid");
    let event = json!({ "pid": pid, "sleep": 60_000 });
    let killer = async {
        let pid = pid_in(&pid).await;
        Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    };
    let (outcome, ()) = tokio::join!(rig.invoke(event), killer);
    assert!(payload(&outcome)["errorMessage"].as_str().unwrap().ends_with("signal: killed"), "{outcome:?}");
    assert_eq!(payload(&rig.invoke(json!(4)).await), json!(4));
    rig.end().await;
}

#[tokio::test]
async fn a_timeout_ends_the_whole_session() {
    let rig = Rig::new(vec![stack::Function { timeout: Duration::from_secs(1), ..function("hello") }]);
    let child = rig.path("child");
    let outcome = rig.invoke(json!({ "child": child, "sleep": 60_000 })).await;
    let message = format!("RequestId: {} Error: Task timed out after 1.00 seconds", outcome.request_id);
    assert_eq!(payload(&outcome), json!({ "errorType": "Sandbox.Timedout", "errorMessage": message }));
    let line = format!("Z {} Task timed out after 1.00 seconds\n", outcome.request_id);
    assert!(outcome.log_tail.contains(&line) && outcome.log_tail.contains("Status: timeout"), "{}", outcome.log_tail);
    let child = pid_in(&child).await;
    until("the grandchild ends", || !runs(child)).await;
    assert_eq!(payload(&rig.invoke(json!(1)).await), json!(1));
    rig.end().await;
}

#[tokio::test]
async fn too_much_memory_ends_an_environment() {
    let rig = Rig::new(vec![stack::Function { memory_mb: 128, ..function("hello") }]);
    let outcome = rig.invoke(json!({ "allocate": 200, "sleep": 15_000 })).await;
    assert_eq!(payload(&outcome)["errorType"], "Runtime.OutOfMemory");
    assert!(outcome.log_tail.contains("Memory Size: 128 MB\tMax Memory Used: 128 MB"), "{}", outcome.log_tail);
    rig.end().await;
}

#[tokio::test]
async fn initialisation_that_fails_twice_is_the_invocations_error() {
    let mut broken = function("hello");
    broken.environment.insert("INIT".into(), json!({ "log": ["no settings"], "exit": 7 }).to_string());
    let rig = Rig::new(vec![broken]);
    let outcome = rig.invoke(json!({})).await;
    assert_eq!(payload(&outcome)["errorType"], "Runtime.ExitError");
    assert!(outcome.log_tail.contains("exit status 7"), "{}", outcome.log_tail);
    let log = rig.log().await;
    let reports: Vec<_> = log.iter().filter_map(|line| line.strip_prefix("INIT_REPORT ")?.split_once(" ms\t")).collect();
    let phase = |phase| format!("Phase: {phase}\tStatus: error\tError Type: Runtime.ExitError");
    assert_eq!(reports.iter().map(|(_, phase)| *phase).collect::<Vec<_>>(), [phase("init"), phase("invoke")], "{log:?}");
    assert_eq!(log.iter().filter(|line| *line == "no settings").count(), 2);
    rig.end().await;
}

#[tokio::test]
async fn initialisation_that_takes_too_long_has_the_functions_own_time_once_more() {
    let mut slow = stack::Function { timeout: Duration::from_secs(60), ..function("hello") };
    let marker = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| marker.path().join(name));
    // Waits for the file of the second try, which only the second try finds the first one's file to write.
    let init = json!({ "pid_again": [first, second], "until": [second] });
    slow.environment.insert("INIT".into(), init.to_string());
    let rig = Rig::new(vec![slow]);
    let outcome = rig.invoke(json!({ "answer": 1 })).await;
    assert_eq!((payload(&outcome), outcome.function_error), (json!(1), None));
    let log = rig.log().await;
    assert!(log.iter().any(|line| line.ends_with("Phase: init\tStatus: timeout")), "{log:?}");
    assert!(!outcome.log_tail.contains("Init Duration"), "its time is the invocation's: {}", outcome.log_tail);
    rig.end().await;
}

#[tokio::test]
async fn too_much_in_its_directory_ends_an_environment() {
    let rig = Rig::new(vec![stack::Function { ephemeral_mb: 16, ..function("hello") }]);
    rig.invoke(json!({ "write": 8 })).await;
    let files = payload(&rig.invoke(json!({ "files": true })).await);
    assert_eq!(files, json!(["written"]), "what it wrote is there while it is warm");
    let outcome = rig.invoke(json!({ "write": 12, "sleep": 15_000 })).await;
    let message = format!("RequestId: {} Error: No space left on device: TMPDIR holds 20 MB", outcome.request_id);
    assert!(payload(&outcome)["errorMessage"].as_str().unwrap().starts_with(&message), "{outcome:?}");
    assert_eq!(payload(&rig.invoke(json!({ "files": true })).await), json!([]), "the next environment begins anew");
    rig.end().await;
}

#[tokio::test]
async fn an_idle_environment_is_told_and_ends() {
    let directory = tempfile::tempdir().unwrap();
    let told = directory.path().join("told");
    let mut hello = function("hello");
    hello.environment.insert("SIGTERM_FILE".into(), told.display().to_string());
    let rig = Rig::with(vec![hello], Duration::from_millis(100));
    rig.invoke(json!({})).await;
    let pid = rig.lambda.environments()[0].pid;
    until("the environment ends", || rig.lambda.environments().is_empty()).await;
    assert_eq!(fs::read_to_string(&told).unwrap(), "SIGTERM");
    assert!(!runs(pid));
    rig.end().await;
}

/// As the kernel has it: `T` is stopped.
fn is_frozen(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

#[tokio::test]
async fn an_idle_environment_is_frozen_with_its_children_until_its_next_invocation() {
    let rig = Rig::new(vec![function("hello")]);
    let child = rig.path("child");
    rig.invoke(json!({ "child": child })).await;
    let (leader, child) = (rig.lambda.environments()[0].pid, pid_in(&child).await);
    for answer in 0..20 {
        until("the environment is frozen", || is_frozen(leader) && is_frozen(child)).await;
        assert_eq!(payload(&rig.invoke(json!({ "answer": answer })).await), json!(answer));
        assert_eq!(rig.lambda.environments()[0].pid, leader, "the same environment");
    }
    rig.end().await;
}

#[tokio::test]
async fn shutdown_tells_extensions_and_lets_work_finish_within_its_grace() {
    let directory = tempfile::tempdir().unwrap();
    let told = directory.path().join("told");
    let mut hello = function("hello");
    hello.environment.insert("SIGTERM_FILE".into(), told.display().to_string());
    let rig = Rig::new(vec![hello]);
    let pid = rig.path("pid");
    let shutdown = async {
        pid_in(&pid).await;
        rig.lambda.shutdown(PATIENCE).await;
    };
    let (outcome, ()) = tokio::join!(rig.invoke(json!({ "pid": pid, "sleep": 200, "answer": 9 })), shutdown);
    assert_eq!(payload(&outcome), json!(9));
    assert_eq!(fs::read_to_string(&told).unwrap(), "SIGTERM");
    assert!(!runs(pid_in(&pid).await));
    let refused = rig.lambda.invoke("hello", Bytes::from_static(b"{}")).await;
    assert!(matches!(refused, Err(InvokeError::ShuttingDown)), "{refused:?}");
    rig.end().await;
}

#[tokio::test]
async fn shutdown_ends_work_when_its_grace_is_over() {
    let rig = Rig::new(vec![function("hello")]);
    let (pid, child) = (rig.path("pid"), rig.path("child"));
    let shutdown = async {
        let pids = [pid_in(&pid).await, pid_in(&child).await];
        rig.lambda.shutdown(Duration::from_millis(10)).await;
        pids
    };
    let event = json!({ "pid": pid, "child": child, "sleep": 60_000 }).to_string();
    let (outcome, pids) = tokio::join!(rig.lambda.invoke("hello", event.into()), shutdown);
    assert!(matches!(outcome, Err(InvokeError::ShuttingDown)), "{outcome:?}");
    for pid in pids {
        until("the process ends", || !runs(pid)).await;
    }
    rig.end().await;
}

#[tokio::test]
async fn reserved_concurrency_throttles_a_direct_invocation() {
    let rig = Rig::new(vec![stack::Function { reserved_concurrency: Some(1), ..function("hello") }]);
    let pid = rig.path("pid");
    let second = async {
        pid_in(&pid).await;
        rig.lambda.invoke("hello", Bytes::from_static(b"{}")).await
    };
    let (first, second) = tokio::join!(rig.invoke(json!({ "pid": pid, "sleep": 300 })), second);
    assert_eq!(first.function_error, None);
    assert!(matches!(second, Err(InvokeError::Throttled(_))), "{second:?}");
    assert_eq!(payload(&rig.invoke(json!(1)).await), json!(1));
    rig.end().await;
}
