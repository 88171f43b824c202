//! `fanreel up` as people start it: what it refuses, what it says, and that it leaves alone what is not its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// Nothing of ours in it, and nothing to build.
const TEMPLATE: &str = "
Transform: AWS::Serverless-2016-10-31
Resources:
  Photos: { Type: AWS::S3::Bucket, Properties: { BucketName: photos } }
  Work: { Type: AWS::SQS::Queue, Properties: { QueueName: work } }
  Lines: { Type: AWS::Logs::LogGroup, Properties: { LogGroupName: lines } }
";

const FUNCTION: &str = "
  Resize:
    Type: AWS::Serverless::Function
    Properties: { Runtime: provided.al2023, Handler: bootstrap, CodeUri: resize/ }
";

/// A start in `dir`, with none of the caller's settings.
fn up(dir: &Path, args: &[&str]) -> Command {
    fs::write(dir.join("their.yaml"), TEMPLATE).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanreel"));
    command.args(["up", "--template", "their.yaml"]).args(args);
    command.current_dir(dir).env_clear().env("FANREEL_PORT", "0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// How a start ended that must not have succeeded.
fn refused(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// A platform that answers; killed when dropped.
struct Up {
    child: Child,
    /// What it printed when it was up.
    said: Value,
}

impl Up {
    fn start(dir: &Path, args: &[&str]) -> Self {
        Self::of(up(dir, args).arg("--json"))
    }

    fn of(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let said = serde_json::Deserializer::from_reader(child.stdout.as_mut().unwrap()).into_iter().next();
        let Some(Ok(said)) = said else { panic!("{:?}", child.wait_with_output()) };
        Self { child, said }
    }

    fn address(&self) -> &str {
        self.said["endpoint"].as_str().unwrap().strip_prefix("http://").unwrap()
    }

    fn page(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// Ends it as a service manager does; how long that took.
    fn end(mut self) -> Duration {
        let begun = Instant::now();
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        begun.elapsed()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every file below a directory with its bytes.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push((path.clone(), fs::read(&path).unwrap())) }
    }
    found.sort();
    found
}

#[test]
fn somebody_elses_template_needs_nothing_of_ours_and_ends_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let started = Up::start(dir.path(), &[]);
    assert_eq!(started.page("/_fanreel/stack")["buckets"], json!(["photos"]));
    let health = started.page("/_fanreel/health");
    assert_eq!((&health["status"], &health["version"]), (&json!("ok"), &json!(env!("CARGO_PKG_VERSION"))));
    assert_eq!(health["disk"]["min_free_bytes"], json!(1_000_000_000));
    assert!(health["disk"]["services"]["s3"].as_u64().unwrap() > 0, "{health}");
    assert!(health["disk"]["free_bytes"].as_u64().unwrap() > 0, "{health}");
    assert_eq!(started.page("/_localstack/health")["services"]["sqs"], "running");
    let took = started.end();
    assert!(took < Duration::from_secs(8), "{took:?}");

    let mut child = up(dir.path(), &[]).spawn().unwrap();
    let mut screen = String::new();
    let mut out = child.stdout.take().unwrap();
    while !screen.contains("ctrl-c ends it") {
        let mut block = [0; 4096];
        let length = out.read(&mut block).unwrap();
        assert!(length > 0, "{screen}");
        screen.push_str(&String::from_utf8_lossy(&block[..length]));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(screen.contains("queues      work") && screen.contains("s3 cp FILE s3://photos/"), "{screen}");
    assert!(!screen.contains("film"), "{screen}");
}

#[test]
fn one_platform_for_a_directory_and_one_for_a_port() {
    let dir = tempfile::tempdir().unwrap();
    let first = Up::start(dir.path(), &[]);
    let (code, said) = refused(&mut up(dir.path(), &[]));
    let pid = first.child.id();
    assert!(code == Some(3) && said.contains(&format!("is in use by another process (pid {pid})")), "{code:?} {said}");

    let port = first.address().rsplit(':').next().unwrap().to_owned();
    let (code, said) = refused(up(dir.path(), &["--data-dir", "other"]).args(["--port", &port]));
    assert!(code == Some(3) && said.contains("a fanreel platform listens there already"), "{code:?} {said}");
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port().to_string();
    std::thread::spawn(move || {
        // Not a platform: it hangs up on whoever asks.
        for stream in other.incoming() {
            drop(stream);
        }
    });
    let (code, said) = refused(up(dir.path(), &["--data-dir", "other"]).args(["--port", &port]));
    assert!(code == Some(3) && said.contains("another program listens there") && said.contains("--port"), "{code:?} {said}");
    assert!(!dir.path().join("other").exists(), "a start that failed left a directory");
}

#[test]
fn other_machines_are_let_in_only_with_a_secret_of_ones_own() {
    let dir = tempfile::tempdir().unwrap();
    for address in ["0.0.0.0", "::"] {
        for key in ["test", "me"] {
            let (code, said) = refused(up(dir.path(), &["--bind", address]).env("FANREEL_ACCESS_KEY", key));
            assert!(code == Some(2) && said.contains("FANREEL_SECRET_KEY"), "{code:?} {said}");
        }
    }
    assert!(!dir.path().join(".fanreel").exists());
    for address in ["0.0.0.0", "::1"] {
        let mut command = up(dir.path(), &["--json", "--bind", address]);
        let started = Up::of(command.env("FANREEL_ACCESS_KEY", "me").env("FANREEL_SECRET_KEY", "long and my own"));
        assert_eq!(started.page("/_fanreel/health")["status"], "ok");
        started.end();
    }
    let (code, said) = refused(up(dir.path(), &["--bind", "203.0.113.7"]).env("FANREEL_SECRET_KEY", "mine"));
    assert!(code == Some(3) && said.contains("203.0.113.7 is no address of this machine"), "{code:?} {said}");
}

#[test]
fn a_directory_that_is_not_ours_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text, reason) in [
        ("thesis.txt", "words", "is no data directory of the platform"),
        ("VERSION", "platform data, version 999\n", "made by a newer program"),
        ("VERSION", "1.2.3\n", "is no data directory of the platform"),
    ] {
        let data = dir.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::write(data.join(name), text).unwrap();
        let before = files(&data);
        let (code, said) = refused(&mut up(dir.path(), &["--data-dir", "data"]));
        assert!(code == Some(3) && said.contains(reason) && said.contains(data.to_str().unwrap()), "{code:?} {said}");
        assert_eq!(files(&data), before);
        fs::remove_dir_all(&data).unwrap();
    }
    fs::write(dir.path().join("file"), "").unwrap();
    for place in ["file/data", "file", "/proc/fanreel"] {
        let (code, said) = refused(&mut up(dir.path(), &["--data-dir", place]));
        assert!(code == Some(3) && said.contains(place) && said.contains("choose another directory"), "{place}: {code:?} {said}");
    }
}

#[test]
fn what_a_function_needs_is_missed_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = up(dir.path(), &[]);
    fs::write(dir.path().join("their.yaml"), format!("{TEMPLATE}{FUNCTION}")).unwrap();
    let (code, said) = refused(&mut command);
    assert!(code == Some(3) && said.contains("program `resize` of function Resize") && said.contains("--binaries"), "{code:?} {said}");
    assert!(!dir.path().join(".fanreel").exists());
}

#[test]
fn a_lost_database_is_missed_and_nothing_else_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    Up::start(dir.path(), &["--data-dir", "data"]).end();
    let lost = dir.path().join("data/sqs/sqs.sqlite3");
    let kept = fs::read(&lost).unwrap();
    fs::remove_file(&lost).unwrap();
    let before = files(&dir.path().join("data/s3"));
    let (code, said) = refused(&mut up(dir.path(), &["--data-dir", "data"]));
    assert!(code == Some(3) && said.contains("sqs.sqlite3 is missing or empty") && said.contains("put it back"), "{code:?} {said}");
    assert!(!lost.exists());
    assert_eq!(files(&dir.path().join("data/s3")), before);
    fs::write(&lost, kept).unwrap();
    Up::start(dir.path(), &["--data-dir", "data"]).end();
}

#[test]
fn a_disk_without_room_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let started = Up::start(dir.path(), &["--min-free", "1000000TB"]);
    let health = started.page("/_fanreel/health");
    assert_eq!((&health["status"], &health["disk"]["full"]), (&json!("full"), &json!(true)));
    started.end();
    let (code, said) = refused(&mut up(dir.path(), &["--max-disk", "much"]));
    assert!(code == Some(2) && said.contains("500MB, 20GB"), "{code:?} {said}");
}
