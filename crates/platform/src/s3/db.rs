//! The metadata's `SQLite` file: one writing thread with group commit, a few reading connections.
//!
//! An answer leaves the writing thread only after the commit that holds it, with `synchronous = FULL`.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
    thread::JoinHandle,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{
    S3Error,
    blobs::{Blobs, Fresh},
    bus::Bus,
    schema,
};

/// Jobs that may wait for the writing thread before callers wait for a place.
const QUEUE: usize = 256;
/// Jobs that one commit makes durable at most.
const GROUP: usize = 64;
/// Reads at the same time.
const READERS: usize = 4;

/// One change of the metadata: a savepoint of the transaction that the writing thread has open.
pub struct Change<'a> {
    pub conn: &'a Connection,
    /// Blobs that lost a reference; files without any are removed after the commit.
    pub freed: Vec<u64>,
    /// Blobs that got their first reference: they stay if the commit succeeds.
    kept: Vec<Fresh>,
    /// A notice was written: whoever sends notices is woken after the commit.
    pub noticed: bool,
    /// Whom the event bus tells.
    pub bus: Arc<Bus>,
}

impl Change<'_> {
    /// Keeps the file of a blob that this change refers to, once the change is durable; it goes if that fails.
    pub fn keep(&mut self, blob: Option<Fresh>) {
        self.kept.extend(blob);
    }

    /// The next number of the store's one counter: it names owners of extents and orders events.
    pub fn next_serial(&self) -> Result<u64, S3Error> {
        let mut statement = self.conn.prepare_cached("UPDATE serial SET value = value + 1 RETURNING value")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }
}

type Answer = Box<dyn FnOnce(Result<(), &rusqlite::Error>) + Send>;
type Job = Box<dyn FnOnce(&mut Connection, &mut After) -> Answer + Send>;

/// What is left to do once a group of jobs is committed.
#[derive(Default)]
struct After {
    freed: Vec<u64>,
    kept: Vec<Fresh>,
    noticed: bool,
}

/// The database and its threads. Dropping it ends the writing thread after the jobs that it has.
pub struct Db {
    path: PathBuf,
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    idle: Mutex<Vec<Connection>>,
    readers: Semaphore,
    /// Held for reading while a reader looks extents up and pins their blobs; held for writing to decide which blobs go.
    gate: Arc<RwLock<()>>,
    bus: OnceLock<Arc<Bus>>,
}

impl Db {
    /// Opens or makes the file and removes blob files that nothing refers to.
    pub fn open(path: &Path, blobs: &Arc<Blobs>, wake: Arc<tokio::sync::Notify>) -> Result<Self, S3Error> {
        let mut conn = Connection::open(path)?;
        schema::prepare(&mut conn, path)?;
        conn.set_prepared_statement_cache_capacity(64);
        blobs.recover(&referenced(&conn)?)?;
        let gate = Arc::new(RwLock::new(()));
        let (jobs, inbox) = mpsc::channel(QUEUE);
        let thread = Writer { conn, inbox, blobs: blobs.clone(), gate: gate.clone(), wake };
        let writer = std::thread::Builder::new().name("s3-writer".into()).spawn(move || thread.run()).map_err(|source| S3Error::Disk {
            doing: "start the writing thread of",
            path: path.into(),
            source,
        })?;
        Ok(Self {
            path: path.into(),
            jobs: Some(jobs),
            writer: Some(writer),
            idle: Mutex::new(Vec::new()),
            readers: Semaphore::new(READERS),
            gate,
            bus: OnceLock::new(),
        })
    }

    /// The first call counts.
    pub fn set_bus(&self, bus: Bus) {
        self.bus.get_or_init(|| Arc::new(bus));
    }

    /// Runs `change` alone; all of it or, if it fails, nothing is kept. Returns after it is durable.
    pub async fn write<T, F>(&self, change: F) -> Result<T, S3Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Change<'_>) -> Result<T, S3Error> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let bus = self.bus.get().cloned().unwrap_or_default();
        let job: Job = Box::new(move |conn, after| {
            let outcome = run_change(conn, after, bus, change);
            Box::new(move |committed| {
                let outcome = outcome.and_then(|value| committed.map(|()| value).map_err(S3Error::commit));
                // The caller may have gone (its client hung up): the change stands all the same.
                let _ = tell.send(outcome);
            })
        });
        let jobs = self.jobs.as_ref().ok_or(S3Error::Stopped)?;
        jobs.send(job).await.map_err(|_| S3Error::Stopped)?;
        told.await.map_err(|_| S3Error::Stopped)?
    }

    /// Runs `query` on one consistent state. Blobs that it pins stay until their pin is dropped.
    pub async fn read<T, F>(self: &Arc<Self>, query: F) -> Result<T, S3Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, S3Error> + Send + 'static,
    {
        let _place = self.readers.acquire().await.map_err(|_| S3Error::Stopped)?;
        let db = self.clone();
        let run = move || {
            let mut conn = db.reader()?;
            let outcome = {
                let _gate = db.gate.read().unwrap_or_else(PoisonError::into_inner);
                let state = conn.transaction()?;
                query(&state)
            };
            db.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
            outcome
        };
        tokio::task::spawn_blocking(run).await.map_err(|_| S3Error::Stopped)?
    }

    fn reader(&self) -> Result<Connection, S3Error> {
        if let Some(conn) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(conn);
        }
        // Not read-only: the last connection to close folds the log back into the file.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&self.path, flags)?;
        conn.execute_batch("PRAGMA query_only = ON;")?;
        conn.set_prepared_statement_cache_capacity(32);
        Ok(conn)
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            // An error means that the thread panicked; its callers have been told by their closed channels.
            let _ = writer.join();
        }
    }
}

fn run_change<T>(
    conn: &mut Connection,
    after: &mut After,
    bus: Arc<Bus>,
    change: impl FnOnce(&mut Change<'_>) -> Result<T, S3Error>,
) -> Result<T, S3Error> {
    let savepoint = conn.savepoint()?;
    let mut state = Change { conn: &savepoint, freed: Vec::new(), kept: Vec::new(), noticed: false, bus };
    let value = change(&mut state)?;
    let Change { freed, kept, noticed, .. } = state;
    savepoint.commit()?;
    after.freed.extend(freed);
    after.kept.extend(kept);
    after.noticed |= noticed;
    Ok(value)
}

struct Writer {
    conn: Connection,
    inbox: mpsc::Receiver<Job>,
    blobs: Arc<Blobs>,
    gate: Arc<RwLock<()>>,
    wake: Arc<tokio::sync::Notify>,
}

impl Writer {
    fn run(mut self) {
        while let Some(first) = self.inbox.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP
                && let Ok(job) = self.inbox.try_recv()
            {
                group.push(job);
            }
            self.commit(group);
        }
    }

    fn commit(&mut self, group: Vec<Job>) {
        let mut after = After::default();
        let mut answers: Vec<Answer> = Vec::with_capacity(group.len());
        let mut committed = self.conn.execute_batch("BEGIN IMMEDIATE");
        if committed.is_ok() {
            for job in group {
                // A full disk can make SQLite roll all back at once. What came after would stand on its own, so it is
                // not done: its callers are told that nothing came of it.
                if self.conn.is_autocommit() {
                    break;
                }
                answers.push(job(&mut self.conn, &mut after));
            }
            #[cfg(test)]
            self.blobs.at(super::blobs::Moment::Changed);
            committed = self.conn.execute_batch("COMMIT");
        }
        if let Err(error) = &committed {
            tracing::error!(%error, "the S3 store could not commit");
            if !self.conn.is_autocommit() {
                // Nothing else can be done about a rollback that fails; the next BEGIN will say so.
                let _ = self.conn.execute_batch("ROLLBACK");
            }
            for answer in answers {
                answer(Err(error));
            }
            return;
        }
        #[cfg(test)]
        self.blobs.at(super::blobs::Moment::Committed);
        after.kept.into_iter().for_each(Fresh::keep);
        for answer in answers {
            answer(Ok(()));
        }
        if after.noticed {
            self.wake.notify_one();
        }
        self.release(after.freed);
    }

    /// Removes the files of those blobs that nothing refers to any more.
    fn release(&self, mut freed: Vec<u64>) {
        freed.sort_unstable();
        freed.dedup();
        freed.retain(|&blob| match is_referenced(&self.conn, blob) {
            Ok(referenced) => !referenced,
            Err(error) => {
                tracing::warn!(%error, blob, "left a blob for the sweep at the next start");
                false
            }
        });
        if freed.is_empty() {
            return;
        }
        let unpinned = {
            let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
            self.blobs.doom(freed)
        };
        self.blobs.remove(&unpinned);
    }
}

/// Every blob that has a reference.
fn referenced(conn: &Connection) -> Result<HashSet<u64>, S3Error> {
    let mut statement = conn.prepare("SELECT blob FROM extents")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn is_referenced(conn: &Connection, blob: u64) -> Result<bool, S3Error> {
    let mut statement = conn.prepare_cached("SELECT 1 FROM extents WHERE blob = ?1 LIMIT 1")?;
    Ok(statement.query_row(params![blob], |_| Ok(())).optional()?.is_some())
}
