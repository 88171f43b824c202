//! CloudWatch Logs on one machine: groups and streams of lines, kept in `SQLite`.
//!
//! Lines are written by one thread in batches and are not forced to disk: a crash may lose the last of them, never the
//! order within a stream. Bounded by retention, by a size cap per group, and by a queue whose overflow is counted.
//!
//! Deliberately absent: metric and subscription filters.

mod api;
mod error;
mod insights;
mod pattern;
mod queries;
mod query_api;
mod scan;
mod sign;
mod store;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::{mpsc, oneshot};

pub use self::error::LogsError;
use self::{
    store::Store,
    writer::{Command, Line},
};
use crate::{metrics::Metrics, stack};

/// Lines that wait to be written; more are dropped and counted.
const QUEUE: usize = 65_536;

/// The service.
#[derive(Debug)]
pub struct Logs {
    commands: mpsc::Sender<Command>,
    /// For reads, beside the writer's own.
    reader: Arc<Store>,
    dropped: AtomicU64,
    metrics: Arc<Metrics>,
    queries: queries::Queries,
    database: PathBuf,
}

impl Logs {
    /// Opens the logs in `dir`, which is made if missing, and starts their writing thread. The thread ends when this is
    /// dropped.
    pub fn open(dir: &Path) -> Result<Arc<Self>, LogsError> {
        std::fs::create_dir_all(dir).map_err(|error| LogsError::internal(format!("{}: {error}", dir.display())))?;
        let path = dir.join("logs.db");
        let writing = Store::open(&path)?;
        let reader = Arc::new(Store::open(&path)?);
        let (commands, inbox) = mpsc::channel(QUEUE);
        std::thread::Builder::new()
            .name("logs".into())
            .spawn(move || writer::run(writing, inbox))
            .map_err(|error| LogsError::internal(format!("the thread of the logs cannot be started: {error}")))?;
        Ok(Arc::new(Self {
            commands,
            reader,
            dropped: AtomicU64::new(0),
            metrics: Arc::default(),
            queries: queries::Queries::default(),
            database: path,
        }))
    }

    /// Makes the group of a template if it is missing, and gives it the template's retention.
    pub async fn ensure_group(&self, group: &stack::LogGroup) -> Result<(), LogsError> {
        let group = group.clone();
        self.write(move |store| store.ensure_group(&group.name, group.retention_days, now_ms())).await
    }

    /// Adds a line; group and stream are made if missing. Never blocks: when too many wait already, the line is
    /// dropped and counted.
    pub fn put(&self, group: &str, stream: &str, timestamp_ms: u64, message: String) {
        self.metrics.read_line(&message);
        let line = Line { group: group.to_owned(), stream: stream.to_owned(), timestamp_ms, message };
        if self.commands.try_send(Command::Put(line)).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            // The first of each power of two: a flood is said without being one.
            if dropped.is_power_of_two() {
                tracing::warn!(dropped, group, "log lines were dropped: they came faster than they can be written");
            }
        }
    }

    /// What lines told, beside what services count themselves.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Lines dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all that was put before can be read.
    pub async fn flush(&self) {
        // A writer that has gone has nothing left to write.
        let _ = self.write(|_| Ok(())).await;
    }

    /// Runs `change` on the writer's thread, after all that was put before.
    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Store) -> Result<T, LogsError> + Send + 'static,
    ) -> Result<T, LogsError> {
        let (reply, answer) = oneshot::channel();
        let run = Box::new(move |store: &mut Store| drop(reply.send(change(store))));
        let gone = || LogsError::internal("the thread of the logs has ended".to_owned());
        self.commands.send(Command::Run(run)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Runs `look` on what can be read, after all that was put before.
    async fn read<T: Send + 'static>(&self, look: impl FnOnce(&Store) -> Result<T, LogsError> + Send + 'static) -> Result<T, LogsError> {
        self.flush().await;
        let reader = Arc::clone(&self.reader);
        let looked = tokio::task::spawn_blocking(move || look(&reader));
        looked.await.map_err(|error| LogsError::internal(error.to_string()))?
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
