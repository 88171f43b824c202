//! Where the platform's own log goes: a bounded file in its data directory, and what is worrying to standard error as well.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use tracing_subscriber::{EnvFilter, Layer, filter::LevelFilter, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt};

/// A file that reaches this is set aside as `.1`; so there are at most two of them.
const MAX_FILE: u64 = 16 << 20;
/// Kept in memory until there is a file: its last bytes.
const MAX_EARLY: usize = 256 << 10;
/// What is logged where nothing else is asked for. The SDK's and the connections' own chatter is left out.
const DEFAULT_FILTER: &str = "info,aws=warn,hyper=warn,s3s=warn,h2=warn,rustls=warn";

/// The log. Until [`open`](Self::open) it keeps its end in memory: the data directory must be the platform's first.
#[derive(Clone, Default)]
pub struct LogFile(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    early: Vec<u8>,
    file: Option<(File, u64)>,
    path: std::path::PathBuf,
}

impl LogFile {
    /// Begins to write to `path`, with all that came before.
    pub fn open(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        path.clone_into(&mut state.path);
        state.reopen()?;
        let early = std::mem::take(&mut state.early);
        state.write(&early)
    }

    /// Logs of this process go here, and warnings to standard error too if `loud`. Once per process; later calls change nothing.
    pub fn install(&self, loud: bool) {
        let filter = EnvFilter::try_from_env("FANREEL_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
        let file = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(self.clone()).with_filter(filter);
        let level = if loud { LevelFilter::WARN } else { LevelFilter::OFF };
        let screen = tracing_subscriber::fmt::layer().with_ansi(false).without_time().with_writer(io::stderr).with_filter(level);
        let _ = tracing_subscriber::registry().with(file).with(screen).try_init();
    }
}

impl State {
    fn reopen(&mut self) -> io::Result<()> {
        let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        let length = file.metadata()?.len();
        self.file = Some((file, length));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.as_ref().is_some_and(|(_, length)| *length >= MAX_FILE) {
            std::fs::rename(&self.path, self.path.with_extension("log.1"))?;
            self.reopen()?;
        }
        let Some((file, length)) = &mut self.file else {
            self.early.extend_from_slice(bytes);
            let surplus = self.early.len().saturating_sub(MAX_EARLY);
            self.early.drain(..surplus);
            return Ok(());
        };
        *length += bytes.len() as u64;
        file.write_all(bytes)
    }
}

/// One event.
pub struct Line(Arc<Mutex<State>>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = Line;
    fn make_writer(&'a self) -> Line {
        Line(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_early_is_in_the_file_and_a_full_file_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("platform.log");
        let log = LogFile::default();
        log.make_writer().write_all(b"early\n").unwrap();
        log.open(&path).unwrap();
        log.make_writer().write_all(b"late\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "early\nlate\n");

        File::options().write(true).open(&path).unwrap().set_len(MAX_FILE).unwrap();
        log.open(&path).unwrap();
        log.make_writer().write_all(b"next\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "next\n");
        assert_eq!(std::fs::metadata(dir.path().join("platform.log.1")).unwrap().len(), MAX_FILE);
    }
}
