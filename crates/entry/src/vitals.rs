//! How this environment is: read from `/proc` (proc(5)) and from the file system of its temporary directory.

use std::{fs, path::Path};

use pipeline::fleet::Vitals;

/// Devices of a host that ffmpeg's hardware encoders use.
const HARDWARE: [(&str, &str); 2] = [("/dev/dri", "renderD"), ("/dev", "nvidia")];

/// `memory_mb`: what the function may have.
pub fn read(tmp: &Path, memory_mb: u64) -> Vitals {
    let family = family();
    let ticks: u64 = family.iter().map(|member| member.ticks).sum();
    let pages: u64 = family.iter().map(|member| member.pages).sum();
    let cpu_ms = ticks * 1000 / rustix::param::clock_ticks_per_second();
    let memory_bytes = pages * rustix::param::page_size() as u64;
    let (disk_bytes, disk_limit) = disk(tmp);
    Vitals { cpu_ms, memory_bytes, memory_limit: memory_mb << 20, disk_bytes, disk_limit, hardware: hardware() }
}

/// This process and the tools that it started.
fn family() -> Vec<Process> {
    let proc = Path::new("/proc");
    let Some(own) = stat(proc, "self") else { return Vec::new() };
    descendants(proc, own).unwrap_or_else(|| {
        let pids = fs::read_dir(proc).into_iter().flatten().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().into_string().ok().filter(|name| name.parse::<u32>().is_ok()));
        with_descendants(own, &pids.filter_map(|pid| stat(proc, &pid)).collect::<Vec<_>>())
    })
}

/// By the lists of children that a kernel with `CONFIG_PROC_CHILDREN` keeps for each thread: what else runs on this machine is not
/// looked at. `None`: it keeps none.
fn descendants(proc: &Path, own: Process) -> Option<Vec<Process>> {
    let mut members = vec![own];
    let mut at = 0;
    while let Some(parent) = members.get(at).map(|member| member.pid) {
        // Processes and threads may end meanwhile.
        for thread in fs::read_dir(proc.join(parent.to_string()).join("task")).into_iter().flatten().flatten() {
            let Ok(listed) = fs::read_to_string(thread.path().join("children")) else {
                if thread.path().exists() {
                    return None;
                }
                continue;
            };
            let children = listed.split_ascii_whitespace().filter_map(|pid| stat(proc, pid));
            let unknown: Vec<Process> = children.filter(|child| members.iter().all(|known| known.pid != child.pid)).collect();
            members.extend(unknown);
        }
        at += 1;
    }
    Some(members)
}

/// Told by the parents, not by the session: the leader of a session may be in a PID namespace outside, where its number is 0
/// (`pid_namespaces(7)`).
fn with_descendants(own: Process, all: &[Process]) -> Vec<Process> {
    let mut members = vec![own];
    let mut at = 0;
    while let Some(parent) = members.get(at).map(|member| member.pid) {
        let children = all.iter().filter(|other| other.parent == parent);
        let unknown: Vec<Process> = children.filter(|child| members.iter().all(|known| known.pid != child.pid)).copied().collect();
        members.extend(unknown);
        at += 1;
    }
    members
}

#[derive(Clone, Copy)]
struct Process {
    pid: u64,
    parent: u64,
    /// Of CPU, its waited-for children's included.
    ticks: u64,
    /// In memory.
    pages: u64,
}

/// `/proc/PID/stat`; its fields are numbered as in proc(5).
fn stat(proc: &Path, pid: &str) -> Option<Process> {
    let line = fs::read_to_string(proc.join(pid).join("stat")).ok()?;
    // The name, second, may itself hold spaces and parentheses.
    let (before, after) = (line.split_once(' ')?, line.rsplit_once(") ")?);
    let fields: Vec<u64> = after.1.split_ascii_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
    let ticks = field(14) + field(15) + field(16) + field(17);
    Some(Process { pid: before.0.parse().ok()?, parent: field(4), ticks, pages: field(24) })
}

fn disk(tmp: &Path) -> (u64, u64) {
    let Ok(disk) = rustix::fs::statvfs(tmp) else { return (0, 0) };
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    // Not the whole of it: what is set aside for others is neither used nor to be had.
    let used = bytes(disk.f_blocks.saturating_sub(disk.f_bfree));
    (used, used.saturating_add(bytes(disk.f_bavail)))
}

fn hardware() -> Vec<String> {
    let named = HARDWARE.iter().flat_map(|(folder, prefix)| {
        let names = fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(move |name| name.starts_with(prefix)).collect::<Vec<_>>()
    });
    let mut all: Vec<String> = named.collect();
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_its_disk_has_a_size() {
        let vitals = read(&std::env::temp_dir(), 256);
        assert!(vitals.memory_bytes > 0 && vitals.disk_limit >= vitals.disk_bytes && vitals.disk_limit > 0, "{vitals:?}");
        assert_eq!(vitals.memory_limit, 256 << 20);
    }

    #[test]
    fn lists_of_children_are_followed_from_thread_to_tool_as_far_as_the_kernel_keeps_them() {
        let proc = tempfile::tempdir().unwrap();
        // A function of two threads, a tool of each, and a tool's tool; 40 ended while the list was read.
        for (pid, parent, threads) in [(5, 1, [(5, "7 40"), (6, "8")]), (7, 5, [(7, ""), (70, "9 ")]), (8, 5, [(8, ""), (80, "")])] {
            write(proc.path(), pid, parent, &threads);
        }
        write(proc.path(), 9, 7, &[(9, "5")]);
        let own = stat(proc.path(), "5").unwrap();
        let found = |proc: &Path| Some(descendants(proc, own)?.iter().map(|member| member.pid).collect::<Vec<_>>());
        assert_eq!(found(proc.path()), Some(vec![5, 7, 8, 9]));
        fs::remove_file(proc.path().join("8/task/8/children")).unwrap();
        assert_eq!(found(proc.path()), None);
    }

    fn write(proc: &Path, pid: u64, parent: u64, threads: &[(u64, &str)]) {
        for (thread, children) in threads {
            let folder = proc.join(format!("{pid}/task/{thread}"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("children"), children).unwrap();
        }
        fs::write(proc.join(format!("{pid}/stat")), format!("{pid} (a) b) S {parent}{}", " 1".repeat(48))).unwrap();
    }

    #[test]
    fn tools_and_their_tools_are_counted_and_no_others() {
        let process = |pid, parent| Process { pid, parent, ticks: 0, pages: 0 };
        // A tree, beside it a stranger, and numbers read while they changed hands: a circle.
        let all = [(1, 0), (7, 5), (5, 1), (6, 5), (9, 7), (8, 1), (4, 9), (9, 4)].map(|(pid, parent)| process(pid, parent));
        let mut found: Vec<u64> = with_descendants(all[2], &all).iter().map(|member| member.pid).collect();
        found.sort_unstable();
        assert_eq!(found, [4, 5, 6, 7, 9]);
    }
}
