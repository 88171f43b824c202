//! Processes of this machine, read from `/proc`: who came of whom, what they used, whether they are still the same.

use std::{collections::BTreeSet, fs};

use rustix::process::{Pid, Signal};

/// One process of this boot: its id and the clock tick of its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    pub pid: u32,
    started: u64,
}

/// What `/proc/<pid>/stat` says (proc(5)).
struct Stat {
    named: Named,
    zombie: bool,
    /// Clock ticks of CPU, without and with children that were waited for.
    own: u64,
    all: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, second, may itself hold spaces and parentheses.
    let fields: Vec<&str> = line.rsplit_once(") ")?.1.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let own = number(14)? + number(15)?;
    Some(Stat {
        named: Named { pid, started: number(22)? },
        zombie: fields.first() == Some(&"Z"),
        own,
        all: own + number(16)? + number(17)?,
    })
}

fn seconds(ticks: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "CPU time of a test")]
    let seconds = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    seconds
}

/// CPU-seconds that a process and all that is below it have used, children that were waited for included.
pub fn cpu_of_tree(root: u32) -> f64 {
    let below = crate::run::descendants(root).into_iter().map(|(pid, _)| pid);
    seconds(std::iter::once(root).chain(below).filter_map(stat).map(|stat| stat.all).sum())
}

/// CPU-seconds of a process alone.
pub fn cpu_of(pid: u32) -> f64 {
    seconds(stat(pid).map_or(0, |stat| stat.own))
}

/// A process and all that is below it.
pub fn tree(root: u32) -> BTreeSet<Named> {
    let below = crate::run::descendants(root).into_iter().map(|(pid, _)| pid);
    std::iter::once(root).chain(below).filter_map(stat).map(|stat| stat.named).collect()
}

/// `None`: there is no such process.
pub fn named(pid: u32) -> Option<Named> {
    stat(pid).map(|stat| stat.named)
}

impl Named {
    /// Still there, and not only waiting to be reaped.
    pub fn is_alive(self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.named == self && !stat.zombie)
    }
}

/// `kill -9`. `false`: it had ended by itself.
pub fn kill(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::kill_process(pid, Signal::KILL).is_ok())
}
