//! One environment's processes: the leader, and whatever it started, which all live in the leader's session.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::process::ExitStatusExt as _,
    process::{Child, ExitStatus},
    sync::LazyLock,
};

use rustix::{
    fd::OwnedFd,
    process::{Pid, PidfdFlags, Signal},
};
use tokio::io::{Interest, unix::AsyncFd};

use super::spawner::pid_of;

/// Rounds in which a session is swept; each ends all that it finds, so a second one finds only what was forked in
/// between.
const SWEEPS: usize = 16;

/// A leader that is not yet reaped: until then neither its process id nor its session's can be anyone else's.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: Pid,
    exit: AsyncFd<OwnedFd>,
}

impl Process {
    /// Must be called inside a tokio runtime.
    pub fn new(mut child: Child) -> io::Result<Self> {
        let watched = pid_of(&child).ok_or_else(|| io::Error::other("process id out of range")).and_then(|pid| {
            let exit = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK)?;
            Ok((pid, watch(exit)?))
        });
        match watched {
            Ok((pid, exit)) => Ok(Self { child, pid, exit }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error)
            }
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the leader has ended, without reaping it. Cancel safe.
    pub async fn ended(&self) {
        // An error would mean that the descriptor cannot be watched: the leader is then taken as ended, and killed.
        let _ = self.exit.readable().await;
    }

    /// Stops the leader and its group, until [`thaw`](Self::thaw). What has left the group goes on.
    pub fn freeze(&self) {
        let _ = rustix::process::kill_process_group(self.pid, Signal::STOP);
    }

    pub fn thaw(&self) {
        let _ = rustix::process::kill_process_group(self.pid, Signal::CONT);
    }

    /// Asks the leader to end.
    pub fn terminate(&self) {
        let _ = rustix::process::kill_process(self.pid, Signal::TERM);
    }

    /// Ends the leader, its group and its session, and reaps the leader.
    pub async fn kill(mut self) -> io::Result<ExitStatus> {
        let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        self.ended().await;
        let session = self.child.id();
        tokio::task::spawn_blocking(move || end_session(session)).await.map_err(io::Error::other)?;
        // A leader that had ended by itself keeps its own status: the kill met a zombie.
        self.child.wait()
    }
}

#[allow(deprecated, reason = "its replacement is unsafe for the sake of types that change their descriptor; this one cannot")]
fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}

/// How Go's runtime, which AWS's own supervisor is written in, words an exit.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => "Runtime exited without providing a reason".to_owned(),
        (Some(code), _) => format!("Runtime exited with error: exit status {code}"),
        (None, Some(signal)) => format!("Runtime exited with error: signal: {}", signal_name(signal)),
        (None, None) => "Runtime exited with error".to_owned(),
    }
}

fn signal_name(signal: i32) -> String {
    match signal {
        4 => "illegal instruction".into(),
        6 => "aborted".into(),
        7 => "bus error".into(),
        8 => "floating point exception".into(),
        9 => "killed".into(),
        11 => "segmentation fault".into(),
        15 => "terminated".into(),
        other => other.to_string(),
    }
}

/// What `/proc/<pid>/stat` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub session: u32,
    /// Start, in clock ticks since boot: with the process id it names one process of this boot.
    pub started: u64,
    /// Resident memory in bytes.
    pub resident: u64,
    pub zombie: bool,
}

static PAGE: LazyLock<u64> = LazyLock::new(|| rustix::param::page_size() as u64);

/// `None` when there is no such process.
pub fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(line: &str) -> Option<Stat> {
    // The name, second, may itself hold spaces and parentheses. Fields are numbered as in proc(5).
    let (_, rest) = line.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    Some(Stat {
        session: field(6)?.parse().ok()?,
        started: field(22)?.parse().ok()?,
        resident: field(24)?.parse::<u64>().ok()?.saturating_mul(*PAGE),
        zombie: field(3)? == "Z",
    })
}

/// Most resident memory that a process ever had, in bytes; `None` when it has ended.
pub fn peak_resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

/// All processes of this machine that are visible, with what is known of them.
pub fn all() -> Vec<(u32, Stat)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, stat(pid)?))).collect()
}

/// Resident memory in bytes of every session.
pub fn resident_by_session() -> BTreeMap<u32, u64> {
    let mut resident = BTreeMap::new();
    for (_, stat) in all() {
        *resident.entry(stat.session).or_insert(0) += stat.resident;
    }
    resident
}

/// Kills whatever runs in session `session`, also what has left the leader's process group. The caller makes sure that
/// the session is its own: its leader is not reaped yet, or is the one recorded.
pub fn end_session(session: u32) {
    for _ in 0..SWEEPS {
        let left: Vec<u32> = all().into_iter().filter(|(_, stat)| stat.session == session && !stat.zombie).map(|(pid, _)| pid).collect();
        if left.is_empty() {
            return;
        }
        for pid in left {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
        std::thread::yield_now();
    }
    tracing::warn!(session, "processes of an environment did not end");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_an_odd_name() {
        let line = "42 (a) b (c) S 1 42 40 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 777 4096 3 18446744073709551615 1 1";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.session, stat.started, stat.resident), (40, 777, 3 * *PAGE));
        assert!(!stat.zombie);
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn own_process_is_found() {
        let own = stat(std::process::id()).unwrap();
        assert!(own.resident > 0 && all().iter().any(|(pid, _)| *pid == std::process::id()));
    }

    #[test]
    fn exits_are_worded_as_aws_does() {
        assert_eq!(describe(ExitStatus::from_raw(1 << 8)), "Runtime exited with error: exit status 1");
        assert_eq!(describe(ExitStatus::from_raw(9)), "Runtime exited with error: signal: killed");
        assert_eq!(describe(ExitStatus::from_raw(0)), "Runtime exited without providing a reason");
    }
}
