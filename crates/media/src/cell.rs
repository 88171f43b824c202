//! The decoder's cell (media.md section 5): a process that reads untrusted media with no network, no credentials, no
//! environment, an empty directory, and limits on time, memory and files.
//!
//! 1. Every process is started, watched and reaped by a thread of its own. The parent-death signal follows the
//!    *thread* that forked: a tokio worker that ends would kill healthy decoders.
//! 2. Dropping the future of [`run`] kills the process and waits until it is gone (milliseconds).
//! 3. What a process may print is bounded: a line by [`MAX_LINE`], its log by [`MAX_STDERR`].

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ExitStatus, Stdio},
    sync::{Once, OnceLock, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bytes::Bytes;
use pipeline::{Fault, Shortage};
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getpid, getppid, getrlimit, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit, waitid,
};
use seccompiler::BpfProgram;
use tokio::sync::oneshot;

use crate::{args::Command, seccomp, verdict::Ended};

/// Longest line of standard output, bytes.
const MAX_LINE: usize = 64 * 1024;
/// Kept of standard error: its last bytes.
pub const MAX_STDERR: usize = 8 * 1024;
/// Open files a decoder may have.
const MAX_FILES: u64 = 256;
/// Capabilities of Linux are numbered from 0; there are 41, and room for more.
const MAX_CAPABILITY: u32 = 63;

/// What a process may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From start to end.
    pub wall: Duration,
    /// Of all its threads together.
    pub cpu_seconds: u64,
    /// Of address space.
    pub memory_bytes: u64,
    /// Of each file it writes.
    pub file_bytes: u64,
}

impl Default for Limits {
    /// Lambda's longest run; more memory than an 8K source needs (media.md section 3: 2.5 GB).
    fn default() -> Self {
        Self { wall: Duration::from_mins(15), cpu_seconds: 5_400, memory_bytes: 8 << 30, file_bytes: 64 << 30 }
    }
}

/// What of the cell holds on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CellReport {
    /// The kernel took the filter: no sockets, no looking into other processes.
    pub network_blocked: bool,
    /// This process cannot be looked into by the decoder.
    pub parent_hidden: bool,
    /// The decoder dies before this process where memory runs out.
    pub dies_first: bool,
}

/// What a process reads from standard input, block by block. Its end is the end of the file.
pub type Input = tokio::sync::mpsc::Receiver<Bytes>;

/// Takes standard output, line by line.
pub trait Lines: Send + 'static {
    /// An error ends the process; it is what the run answers.
    fn line(&mut self, line: &[u8]) -> Result<(), Fault>;
}

/// How ffmpeg tells of a frame that it decoded from damaged data (a warning), and how the decoders of FFV1, Motion JPEG and `DNxHD`
/// do that hold damage against no frame. `ac tex damaged` is not among them: `ProRes` says so of good films. Nor is DV: what a tape
/// has lost is concealed, and was when it was recorded.
const CORRUPT: &[&[u8]] = &[b"corrupt decoded frame", b"slice CRC mismatch", b"error y=", b"lines with errors"];
/// How it tells of pages of Ogg that it leaves out because their checksum does not fit: an error that does not end it.
const TORN: &[&[u8]] = &[b"CRC mismatch!"];
/// More than the longest of these words.
const LONGEST_WORDS: usize = 32;

/// A process that ended.
#[derive(Debug)]
pub struct Outcome<S> {
    pub ended: Ended,
    /// Its last words, at most [`MAX_STDERR`] bytes.
    pub stderr: String,
    /// It said anywhere that a decoded frame is corrupt: ffmpeg conceals damage, goes on, and ends with 0.
    pub corrupt: bool,
    /// It said so of a stretch of the file that it left out.
    pub torn: bool,
    pub sink: S,
    /// Why `sink` wanted it ended.
    pub stopped: Option<Fault>,
    pub report: CellReport,
}

enum Event {
    Exited,
    Cancel,
    Stop(Fault),
}

/// Makes this process unreadable for its children, once. Process-wide: without `CAP_SYS_PTRACE`, other processes of
/// the same user can no longer read its memory or environment, and its entries in `/proc` belong to root.
pub fn hide_parent() -> bool {
    static ONCE: OnceLock<bool> = OnceLock::new();
    *ONCE.get_or_init(|| set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok())
}

/// Runs `command` in `dir`, an empty directory but for its fixed inputs.
pub async fn run<S: Lines>(command: Command, dir: PathBuf, limits: Limits, input: Option<Input>, sink: S) -> Result<Outcome<S>, Fault> {
    let (events, inbox) = mpsc::channel();
    let (answer, outcome) = oneshot::channel();
    let sender = events.clone();
    let thread = thread::Builder::new()
        .name("cell".to_owned())
        .spawn(move || {
            // The receiver is gone when the caller was dropped: nobody wants the answer.
            let _ = answer.send(live(&command, &dir, limits, input, sink, (sender, inbox)));
        })
        .map_err(|error| Fault::retry(format!("no thread could be started for a decoder: {error}")))?;
    let _guard = Guard { events, thread: Some(thread) };
    outcome.await.map_err(|_| Fault::retry("the thread that watches a decoder ended early"))?
}

/// Ends the process of a dropped future, and waits for the thread that reaps it.
struct Guard {
    events: mpsc::Sender<Event>,
    thread: Option<JoinHandle<()>>,
}
impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.events.send(Event::Cancel);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Events = (mpsc::Sender<Event>, mpsc::Receiver<Event>);

/// The life of one process, from fork to reaping, on a thread of its own.
fn live<S: Lines>(
    command: &Command,
    dir: &Path,
    limits: Limits,
    input: Option<Input>,
    mut sink: S,
    (events, inbox): Events,
) -> Result<Outcome<S>, Fault> {
    for (name, contents) in &command.files {
        std::fs::write(dir.join(name), contents).map_err(|error| Fault::retry(format!("cannot write {name}: {error}")))?;
    }
    let kills_before = memory_kills();
    let (mut child, report) = spawn(command, dir, limits, input.is_some())?;
    if let (Some(stdin), Some(input)) = (child.stdin.take(), input) {
        // Ends by itself: when the sender is gone, or the pipe is broken.
        thread::spawn(move || feed(stdin, input));
    }
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let pid = Pid::from_child(&child);
    let deadline = Instant::now() + limits.wall;
    let (ended, tail) = thread::scope(|scope| {
        let (to_stop, to_exit, sink) = (events.clone(), events, &mut sink);
        scope.spawn(move || {
            if let Some(Err(fault)) = stdout.map(|pipe| read_lines(pipe, sink)) {
                let _ = to_stop.send(Event::Stop(fault));
            }
        });
        let tail = scope.spawn(|| stderr.map(read_tail).unwrap_or_default());
        scope.spawn(move || {
            // Leaves the dead for `watch` to reap: until then its number is nobody else's.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(WaitId::Pid(pid), options), Err(Errno::INTR)) {}
            let _ = to_exit.send(Event::Exited);
        });
        let ended = watch(&mut child, &inbox, deadline);
        (ended, tail.join().unwrap_or_default())
    });
    let (ended, stopped) = ended?;
    // A line that was refused at the very end arrives after the exit.
    let late = inbox.try_iter().find_map(|event| if let Event::Stop(fault) = event { Some(fault) } else { None });
    let Words { tail: stderr, corrupt, torn } = tail;
    let by_kernel = ended == Ended::Signal(libc::SIGKILL) && memory_kills() > kills_before;
    let ended = if by_kernel { Ended::OutOfMemory } else { ended };
    Ok(Outcome { ended, stderr, corrupt, torn, sink, stopped: stopped.or(late), report })
}

/// Waits for the process to end, or ends it. The one place that reaps it.
fn watch(child: &mut Child, inbox: &mpsc::Receiver<Event>, deadline: Instant) -> Result<(Ended, Option<Fault>), Fault> {
    let event = inbox.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    let (late, stopped) = match event {
        Ok(Event::Exited) => (false, None),
        Ok(Event::Stop(fault)) => (false, Some(fault)),
        Ok(Event::Cancel) => (false, Some(Fault::retry("the work was cancelled"))),
        Err(_) => (true, None),
    };
    if late || stopped.is_some() {
        // Fails only where it has ended by itself.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| Fault::retry(format!("a decoder could not be waited for: {error}")))?;
    Ok((if late { Ended::Wall } else { ended(status) }, stopped))
}

/// How many processes the kernel has ended for memory since it started (proc(5), `/proc/vmstat`), whosever they were.
fn memory_kills() -> u64 {
    let text = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
}

fn ended(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Exit(code),
        (None, Some(signal)) => Ended::Signal(signal),
        (None, None) => Ended::Exit(-1),
    }
}

fn spawn(command: &Command, dir: &Path, limits: Limits, pipe: bool) -> Result<(Child, CellReport), Fault> {
    let mut process = std::process::Command::new(&command.program);
    process.args(&command.args).env_clear().current_dir(dir);
    process.stdin(if pipe { Stdio::piped() } else { Stdio::null() }).stdout(Stdio::piped()).stderr(Stdio::piped());
    confine(&mut process, limits);
    let child = process.spawn().map_err(|error| {
        let text = format!("{} could not be started: {error}", command.program.display());
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::PermissionDenied => Fault::escalate(Shortage::Tool, text),
            // No memory or no process number for a fork, or a program that is just being written.
            _ => Fault::retry(text),
        }
    })?;
    let report = CellReport {
        network_blocked: is_filtered(child.id()),
        parent_hidden: hide_parent(),
        // By us, not by the child: a fork of an undumpable process may not write its own entry. After exec it is
        // dumpable again, and no longer ours to fear.
        dies_first: std::fs::write(format!("/proc/{}/oom_score_adj", child.id()), "1000").is_ok(),
    };
    Ok((child, report))
}

/// Whether the kernel says of a process that a filter holds it.
fn is_filtered(pid: u32) -> bool {
    static WARNED: Once = Once::new();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let filtered = status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"));
    if !filtered {
        WARNED.call_once(|| tracing::warn!("the kernel refuses seccomp filters: decoders run without one"));
    }
    filtered
}

/// Adds what happens between fork and exec. Everything is made ready before the fork.
fn confine(process: &mut std::process::Command, limits: Limits) {
    let filter = filter();
    let parent = getpid();
    let limits = [
        // At the soft limit SIGXCPU, whose meaning is known; five seconds later SIGKILL.
        (Resource::Cpu, limits.cpu_seconds, limits.cpu_seconds.saturating_add(5)),
        (Resource::As, limits.memory_bytes, limits.memory_bytes),
        (Resource::Fsize, limits.file_bytes, limits.file_bytes),
        (Resource::Nofile, MAX_FILES, MAX_FILES),
        (Resource::Core, 0, 0),
    ]
    .map(|(resource, soft, hard)| {
        let allowed = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        (resource, Rlimit { current: Some(soft.min(allowed)), maximum: Some(hard.min(allowed)) })
    });
    let before_exec = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() != Some(parent) {
            // The parent died before the signal was asked for.
            return Err(Errno::CHILD.into());
        }
        for (resource, limit) in &limits {
            setrlimit(*resource, *limit)?;
        }
        // A root without capabilities after exec: it cannot look into its parent. Others have none to give up.
        for capability in 0..=MAX_CAPABILITY {
            drop_capability(capability);
        }
        if let Some(filter) = filter {
            // A kernel that refuses is reported by `is_filtered`.
            let _ = seccompiler::apply_filter(filter);
        }
        Ok(())
    };
    // SAFETY: runs in the forked child of a process with threads, so only async-signal-safe things may be done. It
    // makes plain system calls on values that were made before the fork and are only read; it allocates nothing
    // (errors are numbers), takes no locks and does not unwind.
    #[allow(unsafe_code, reason = "limits, death signal and filter must be set between fork and exec")]
    unsafe {
        process.pre_exec(before_exec);
    }
}

/// Takes a capability out of what exec may give. Errors are expected: not root, or no such capability.
fn drop_capability(number: u32) {
    let capability = rustix::thread::CapabilitySet::from_bits_retain(1 << number);
    let _ = rustix::thread::remove_capability_from_bounding_set(capability);
}

/// Compiled once per process.
fn filter() -> Option<&'static BpfProgram> {
    static FILTER: OnceLock<Option<BpfProgram>> = OnceLock::new();
    FILTER.get_or_init(seccomp::filter).as_ref()
}

fn feed(mut stdin: ChildStdin, mut input: Input) {
    while let Some(bytes) = input.blocking_recv() {
        if stdin.write_all(&bytes).is_err() {
            // The process has read what it wanted.
            return;
        }
    }
}

/// Hands out lines without their end. The error is the sink's, or that of an endless line.
fn read_lines<S: Lines>(mut pipe: impl Read, sink: &mut S) -> Result<(), Fault> {
    let mut block = vec![0u8; 32 * 1024];
    let mut pending: Vec<u8> = Vec::new();
    loop {
        let count = match pipe.read(&mut block) {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        let mut rest = block.get(..count).unwrap_or_default();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            pending.extend_from_slice(line);
            sink.line(&pending)?;
            pending.clear();
            rest = after.get(1..).unwrap_or_default();
        }
        pending.extend_from_slice(rest);
        if pending.len() > MAX_LINE {
            return Err(Fault::reject(format!("The file makes the probe print a line of over {MAX_LINE} bytes.")));
        }
    }
    if pending.is_empty() { Ok(()) } else { sink.line(&pending) }
}

/// What a process printed on standard error.
#[derive(Default)]
struct Words {
    /// The last [`MAX_STDERR`] bytes as text.
    tail: String,
    corrupt: bool,
    torn: bool,
}

fn read_tail(mut pipe: impl Read) -> Words {
    let mut block = vec![0u8; 4 * 1024];
    let (mut tail, mut words) = (Vec::new(), Words::default());
    while let Ok(count @ 1..) = pipe.read(&mut block) {
        // Looked for where the new bytes join the old: nothing is lost between blocks, or when the tail is cut.
        let from = tail.len().saturating_sub(LONGEST_WORDS);
        tail.extend_from_slice(block.get(..count).unwrap_or_default());
        let fresh = tail.get(from..).unwrap_or_default();
        let says = |any: &[&[u8]]| any.iter().any(|words| fresh.windows(words.len()).any(|said| said == *words));
        words.corrupt |= says(CORRUPT);
        words.torn |= says(TORN);
        let excess = tail.len().saturating_sub(MAX_STDERR);
        tail.drain(..excess);
    }
    Words { tail: String::from_utf8_lossy(&tail).into_owned(), ..words }
}

#[cfg(test)]
mod tests;
