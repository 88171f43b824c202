//! How this environment is: read from `/proc` (proc(5)) and from the file system of its temporary directory.

use std::{fs, path::Path};

use pipeline::fleet::Vitals;

/// Devices of a host that ffmpeg's hardware encoders use.
const HARDWARE: [(&str, &str); 2] = [("/dev/dri", "renderD"), ("/dev", "nvidia")];

/// `memory_mb`: what the function may have.
pub fn read(tmp: &Path, memory_mb: u64) -> Vitals {
    let (cpu_ms, memory_bytes) = session();
    let (disk_bytes, disk_limit) = disk(tmp);
    Vitals { cpu_ms, memory_bytes, memory_limit: memory_mb << 20, disk_bytes, disk_limit, hardware: hardware() }
}

/// CPU milliseconds and resident bytes of this process and of all in its session, which its tools are.
fn session() -> (u64, u64) {
    let own = rustix::process::getsid(None).map_or(0, |session| u64::from(session.as_raw_nonzero().get().unsigned_abs()));
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let (mut ticks, mut pages) = (0, 0);
    for line in pids.filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok()) {
        // The name, second, may itself hold spaces and parentheses. Fields are numbered as in proc(5).
        let Some((_, rest)) = line.rsplit_once(") ") else { continue };
        let fields: Vec<u64> = rest.split_ascii_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
        if field(6) == own {
            ticks += field(14) + field(15) + field(16) + field(17);
            pages += field(24);
        }
    }
    (ticks * 1000 / rustix::param::clock_ticks_per_second(), pages * rustix::param::page_size() as u64)
}

fn disk(tmp: &Path) -> (u64, u64) {
    let Ok(disk) = rustix::fs::statvfs(tmp) else { return (0, 0) };
    let limit = disk.f_blocks.saturating_mul(disk.f_frsize);
    (limit.saturating_sub(disk.f_bavail.saturating_mul(disk.f_frsize)), limit)
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
}
