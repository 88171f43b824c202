//! Group commit: the one thread that writes Lambda's database. What several callers ask for at once is one transaction,
//! so that a disk that takes milliseconds to sync does not make them wait in line.

use std::{
    sync::mpsc::{self, Receiver, SyncSender},
    thread::JoinHandle,
};

use rusqlite::{Connection, ErrorCode, ffi};

/// Writes that wait for the thread.
const WAITING: usize = 1024;
/// Writes of one transaction.
const TOGETHER: usize = 256;

/// What the events table holds: counting its rows for every new one would take longer than writing it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    pub events: u64,
    /// Of payloads.
    pub bytes: u64,
}

impl Kept {
    pub fn count(connection: &Connection) -> rusqlite::Result<Self> {
        connection.query_row("SELECT count(*), coalesce(sum(length(payload)), 0) FROM events", [], |row| {
            let unsigned = |value: i64| u64::try_from(value).unwrap_or(0);
            Ok(Self { events: unsigned(row.get(0)?), bytes: unsigned(row.get(1)?) })
        })
    }
}

/// Answers one caller, who hears of the commit's failure if there was one.
type Answer = Box<dyn FnOnce(Result<(), rusqlite::Error>) + Send>;
/// Is given the open transaction, or why there is none.
type Write = Box<dyn FnOnce(Result<(&Connection, &mut Kept), rusqlite::Error>) -> Answer + Send>;

/// Handle of the thread, which ends with it.
#[derive(Debug)]
pub struct Commits {
    writes: Option<SyncSender<Write>>,
    thread: Option<JoinHandle<()>>,
}

impl Commits {
    pub fn start(connection: Connection) -> rusqlite::Result<Self> {
        let kept = Kept::count(&connection)?;
        let (writes, inbox) = mpsc::sync_channel(WAITING);
        let thread = std::thread::Builder::new().name("lambda-store".into()).spawn(move || run(&connection, kept, &inbox));
        let thread = thread.map_err(|error| failure(ffi::Error::new(ffi::SQLITE_NOMEM), &error))?;
        Ok(Self { writes: Some(writes), thread: Some(thread) })
    }

    /// Runs `write` in a transaction and returns once that is on disk. One that fails leaves nothing behind.
    pub fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Connection, &mut Kept) -> rusqlite::Result<T> + Send + 'static,
    ) -> rusqlite::Result<T> {
        let (reply, answer) = mpsc::sync_channel(1);
        let work: Write = Box::new(move |transaction| {
            let result = transaction.and_then(|(connection, kept)| {
                let before = *kept;
                in_savepoint(connection, || write(connection, kept)).inspect_err(|_| *kept = before)
            });
            Box::new(move |committed| {
                let _ = reply.send(committed.and(result));
            })
        });
        let sent = self.writes.as_ref().is_some_and(|writes| writes.send(work).is_ok());
        let gone = || failure(ffi::Error::new(ffi::SQLITE_MISUSE), &"the thread that writes Lambda's database has ended");
        if sent { answer.recv().unwrap_or_else(|_| Err(gone())) } else { Err(gone()) }
    }
}

impl Drop for Commits {
    fn drop(&mut self) {
        self.writes.take();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread that writes Lambda's database panicked");
        }
    }
}

fn run(connection: &Connection, mut kept: Kept, inbox: &Receiver<Write>) {
    while let Ok(first) = inbox.recv() {
        let before = kept;
        let mut answers: Vec<Answer> = Vec::new();
        let mut committed = connection.execute_batch("BEGIN IMMEDIATE");
        for write in std::iter::once(first).chain(inbox.try_iter().take(TOGETHER - 1)) {
            answers.push(write(committed.as_ref().map(|()| (connection, &mut kept)).map_err(again)));
        }
        if committed.is_ok() {
            committed = connection.execute_batch("COMMIT");
        }
        if let Err(error) = &committed {
            tracing::error!(%error, "Lambda's database could not be written");
            let _ = connection.execute_batch("ROLLBACK");
            kept = before;
        }
        for answer in answers {
            answer(committed.as_ref().map_err(again).copied());
        }
    }
}

fn in_savepoint<T>(connection: &Connection, write: impl FnOnce() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    connection.execute_batch("SAVEPOINT one")?;
    let result = write();
    let end = if result.is_ok() { "RELEASE one" } else { "ROLLBACK TO one; RELEASE one" };
    // Where the whole transaction is gone, so is the savepoint: the commit then fails for all.
    connection.execute_batch(end).and(result)
}

/// The same error once more, for another caller.
fn again(error: &rusqlite::Error) -> rusqlite::Error {
    let known = error.sqlite_error().copied();
    failure(known.unwrap_or(ffi::Error { code: ErrorCode::Unknown, extended_code: ffi::SQLITE_ERROR }), error)
}

fn failure(error: ffi::Error, words: &dyn std::fmt::Display) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(error, Some(words.to_string()))
}
