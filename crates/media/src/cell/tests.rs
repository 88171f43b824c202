//! Real processes in real cells.

use std::{net::TcpListener, time::SystemTime};

use super::*;
use crate::dir::CellDir;

/// Keeps what is printed.
#[derive(Debug, Default)]
struct Text(String);
impl Lines for Text {
    fn line(&mut self, line: &[u8]) -> Result<(), Fault> {
        self.0.push_str(&String::from_utf8_lossy(line));
        self.0.push('\n');
        Ok(())
    }
}

/// Takes no line.
#[derive(Debug)]
struct Refuse;
impl Lines for Refuse {
    fn line(&mut self, _line: &[u8]) -> Result<(), Fault> {
        Err(Fault::reject("enough"))
    }
}

fn shell(script: &str) -> Command {
    Command::new("/bin/sh", vec!["-c".to_owned(), script.to_owned()])
}

fn cell() -> (tempfile::TempDir, CellDir) {
    let parent = tempfile::tempdir().unwrap();
    let dir = CellDir::new(parent.path()).unwrap();
    (parent, dir)
}

async fn run_with(limits: Limits, command: Command) -> Outcome<Text> {
    let (_parent, dir) = cell();
    run(command, dir.path().to_owned(), limits, None, Text::default()).await.unwrap()
}

async fn run_shell(script: &str) -> Outcome<Text> {
    run_with(Limits::default(), shell(script)).await
}

#[tokio::test]
async fn a_cell_has_no_environment_no_files_and_no_privileges_to_gain() {
    // A shell sets PWD and some of its own (dash: OLDPWD, bash: SHLVL and _) in any environment.
    let outcome = run_shell("cat /proc/self/environ | tr '\\0' '\\n'; ls -A; grep -E 'NoNewPrivs|CapEff' /proc/self/status").await;
    let own = |line: &&str| !["PWD=", "OLDPWD=", "SHLVL=", "_="].iter().any(|name| line.starts_with(name));
    let lines: Vec<&str> = outcome.sink.0.lines().filter(own).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].ends_with("0000000000000000"), "{lines:?}");
    assert!(lines[1].ends_with('1'), "{lines:?}");
}

#[tokio::test]
async fn a_cell_cannot_read_the_environment_of_its_parent() {
    assert!(hide_parent());
    let outcome = run_shell(&format!("cat /proc/{}/environ", std::process::id())).await;
    assert_eq!(outcome.sink.0, "");
    assert!(outcome.stderr.contains("ermission denied"), "{}", outcome.stderr);
    assert!(outcome.report.parent_hidden && outcome.report.dies_first);
}

#[tokio::test]
async fn a_cell_cannot_open_a_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let python = "import socket,sys\ntry:\n  socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n  print('connected')\nexcept OSError as e:\n  print(e.errno)";
    let command = Command::new(
        "/usr/bin/env",
        ["-S", "PATH=/usr/local/bin:/usr/bin:/bin", "python3", "-c", python, &port.to_string()].map(str::to_owned).to_vec(),
    );
    let outcome = run_with(Limits::default(), command).await;
    assert!(outcome.report.network_blocked, "this kernel refuses seccomp filters");
    assert_eq!(outcome.sink.0.trim(), libc::EPERM.to_string(), "{}", outcome.stderr);
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_cell_cannot_kill_its_parent() {
    let outcome = run_shell(&format!("kill -0 {}", std::process::id())).await;
    assert!(matches!(outcome.ended, Ended::Exit(code) if code != 0), "{outcome:?}");
}

#[tokio::test]
async fn limits_of_cpu_files_and_wall_end_a_process() {
    let limits = Limits { cpu_seconds: 1, file_bytes: 4096, ..Limits::default() };
    let spinning = run_with(limits, shell("while :; do :; done")).await;
    assert_eq!(spinning.ended, Ended::Signal(libc::SIGXCPU));
    let filling = run_with(limits, shell("exec cat /dev/zero > file")).await;
    assert_eq!(filling.ended, Ended::Signal(libc::SIGXFSZ));
    let short = Limits { wall: Duration::from_millis(50), ..limits };
    assert_eq!(run_with(short, shell("exec sleep 600")).await.ended, Ended::Wall);
}

#[tokio::test]
async fn memory_is_limited() {
    let limits = Limits { memory_bytes: 64 << 20, ..Limits::default() };
    let outcome = run_with(limits, shell("ulimit -v; ulimit -c")).await;
    assert_eq!(outcome.sink.0, "65536\n0\n");
}

/// Whether a process of this number is there; a dead one that nobody reaped counts.
fn is_there(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

#[tokio::test]
async fn dropping_the_future_kills_and_reaps() {
    let (_parent, dir) = cell();
    let pid_file = dir.join("pid");
    let work =
        run(shell("echo $$ > pid.new; mv pid.new pid; exec sleep 600"), dir.path().to_owned(), Limits::default(), None, Text::default());
    let started = async {
        let deadline = SystemTime::now() + Duration::from_secs(20);
        while !pid_file.exists() {
            assert!(SystemTime::now() < deadline, "the process did not start");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        outcome = work => panic!("ended by itself: {outcome:?}"),
        () = started => {}
    }
    // Dropped above: by now it is gone.
    let pid = std::fs::read_to_string(pid_file).unwrap();
    assert!(!is_there(pid.trim()), "process {pid} outlived its future");
}

#[tokio::test]
async fn an_endless_line_and_a_refused_line_end_a_process() {
    let outcome = run_shell("cat /dev/zero").await;
    assert!(matches!(outcome.stopped, Some(Fault::Reject(_))), "{:?}", outcome.stopped);

    let (_parent, dir) = cell();
    let outcome = run(shell("echo one; exec sleep 600"), dir.path().to_owned(), Limits::default(), None, Refuse).await.unwrap();
    assert_eq!(outcome.stopped, Some(Fault::reject("enough")));
}

#[tokio::test]
async fn of_a_long_log_the_end_is_kept() {
    let outcome = run_shell("i=0; while [ $i -lt 5000 ]; do echo \"line $i\" >&2; i=$((i+1)); done; exit 3").await;
    assert_eq!(outcome.ended, Ended::Exit(3));
    assert!(outcome.stderr.len() <= MAX_STDERR && outcome.stderr.ends_with("line 4999\n"));
}

#[tokio::test]
async fn a_program_that_is_not_there_is_the_operators_to_solve() {
    let (_parent, dir) = cell();
    let command = Command::new("/nonexistent/ffmpeg", Vec::new());
    let fault = run(command, dir.path().to_owned(), Limits::default(), None, Text::default()).await.unwrap_err();
    assert!(matches!(fault, Fault::Escalate { reason: Shortage::Tool, .. }), "{fault}");
}

#[test]
fn a_process_outlives_the_thread_that_asked_for_it() {
    // The parent-death signal follows the thread that forked: were it the asker's own, a worker of a runtime, its end
    // would kill the process.
    let (_parent, dir) = cell();
    let path = dir.path().to_owned();
    let script = "touch began; while [ ! -e go ]; do sleep 0.01; done; echo went";
    let asker = thread::spawn(move || {
        let mut future = Box::pin(run(shell(script), path.clone(), Limits::default(), None, Text::default()));
        assert!(futures::executor::block_on(async { futures::poll!(&mut future) }).is_pending());
        let deadline = SystemTime::now() + Duration::from_secs(20);
        while !path.join("began").exists() {
            assert!(SystemTime::now() < deadline, "the process did not start");
            thread::sleep(Duration::from_millis(5));
        }
        future
    });
    let future = asker.join().unwrap();
    std::fs::write(dir.join("go"), "").unwrap();
    let outcome = futures::executor::block_on(future).unwrap();
    assert_eq!((outcome.ended, outcome.sink.0.as_str()), (Ended::Exit(0), "went\n"));
}
