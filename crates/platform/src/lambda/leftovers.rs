//! Records of running environments, so that what a killed platform left behind is ended at the next start.
//!
//! The parent-death signal ends the environments themselves; what they had started may live on. A record is one small
//! file per environment, named by process id: boot, start time, name.

use std::{fs, io, path::PathBuf};

use super::process::{self, Stat};

/// Directory of records.
#[derive(Clone, Debug)]
pub struct Records {
    directory: PathBuf,
    boot: String,
}

/// One recorded environment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    pid: u32,
    boot: String,
    started: u64,
    /// The environment's log stream: its name in its processes' own environment.
    stream: String,
}

impl Records {
    pub fn open(directory: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        Ok(Self { directory, boot })
    }

    /// Notes that `pid` runs.
    pub fn add(&self, pid: u32, stream: &str) -> io::Result<()> {
        let Some(stat) = process::stat(pid) else { return Ok(()) };
        fs::write(self.directory.join(pid.to_string()), format!("{}\n{}\n{stream}\n", self.boot, stat.started))
    }

    /// Notes that `pid` and all that it started have ended.
    pub fn remove(&self, pid: u32) {
        let _ = fs::remove_file(self.directory.join(pid.to_string()));
    }

    /// Ends what an earlier platform left and forgets it. Answers how many processes were ended.
    pub fn end_all(&self) -> io::Result<usize> {
        let mut ended = 0;
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let record = name.to_str().and_then(|name| name.parse().ok()).and_then(|pid| {
                let text = fs::read_to_string(entry.path()).ok()?;
                parse(pid, &text)
            });
            if let Some(record) = record.filter(|record| record.boot == self.boot) {
                ended += end(&record);
            }
            fs::remove_file(entry.path())?;
        }
        Ok(ended)
    }
}

fn parse(pid: u32, text: &str) -> Option<Record> {
    let mut lines = text.lines();
    let boot = lines.next()?.to_owned();
    let started = lines.next()?.parse().ok()?;
    Some(Record { pid, boot, started, stream: lines.next()?.to_owned() })
}

fn end(record: &Record) -> usize {
    let members = process::all().into_iter().filter(|(_, stat)| stat.session == record.pid && !stat.zombie);
    let ours: Vec<(u32, Stat)> = match process::stat(record.pid) {
        // The leader itself: all of its session is its.
        Some(leader) if leader.started == record.started => members.collect(),
        // The process id is somebody else's now, so the session's is as well.
        Some(_) => return 0,
        // The leader has ended. Orphans of its session are known by their environment.
        None => members.filter(|(pid, _)| is_of(*pid, &record.stream)).collect(),
    };
    for (pid, _) in &ours {
        kill(*pid);
    }
    ours.len()
}

fn is_of(pid: u32, stream: &str) -> bool {
    let wanted = format!("AWS_LAMBDA_LOG_STREAM_NAME={stream}");
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
}

fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::CommandExt as _,
        process::{Child, Command},
    };

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("600").process_group(0).spawn().unwrap()
    }

    #[test]
    fn a_reused_process_id_is_never_killed() {
        let directory = tempfile::tempdir().unwrap();
        let records = Records::open(directory.path().join("processes")).unwrap();
        let mut stranger = sleeper();
        let started = process::stat(stranger.id()).unwrap().started + 1;
        let record = format!("{}\n{started}\nstream\n", records.boot);
        fs::write(records.directory.join(stranger.id().to_string()), record).unwrap();
        assert_eq!(records.end_all().unwrap(), 0);
        assert!(stranger.try_wait().unwrap().is_none(), "still running");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }

    #[test]
    fn a_record_of_another_boot_or_without_sense_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let records = Records::open(directory.path().to_owned()).unwrap();
        let own = std::process::id();
        let started = process::stat(own).unwrap().started;
        fs::write(directory.path().join(own.to_string()), format!("another boot\n{started}\ns\n")).unwrap();
        fs::write(directory.path().join("1"), "").unwrap();
        assert_eq!(records.end_all().unwrap(), 0);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
