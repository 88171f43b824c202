//! What Lambda must remember: invocations of type `Event` that are not done, and when each schedule ran.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tokio::sync::Notify;

/// Invocations kept at once; more are throttled.
pub const MAX_KEPT: i64 = 10_000;

/// An invocation that nobody waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detached {
    pub id: i64,
    pub request_id: String,
    pub function: String,
    pub payload: Bytes,
    /// Tries in which the function failed.
    pub tries: u32,
    /// Times that it could not be run at all.
    pub delays: u32,
    pub accepted_ms: u64,
}

/// Every write is on disk when it returns. Calls block: use them off the async threads.
#[derive(Debug)]
pub struct Store {
    connection: Mutex<Connection>,
    /// Told when an invocation was kept.
    pub news: Notify,
}

impl Store {
    pub fn open(path: &Path) -> Result<Self, rusqlite::Error> {
        let connection = Connection::open(path)?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE IF NOT EXISTS events (
                 id INTEGER PRIMARY KEY AUTOINCREMENT, request_id TEXT NOT NULL, function TEXT NOT NULL,
                 payload BLOB NOT NULL, tries INTEGER NOT NULL, delays INTEGER NOT NULL,
                 accepted_ms INTEGER NOT NULL, due_ms INTEGER NOT NULL);
             CREATE INDEX IF NOT EXISTS events_due ON events (due_ms);
             CREATE TABLE IF NOT EXISTS schedules (name TEXT PRIMARY KEY, last_ms INTEGER NOT NULL);",
        )?;
        Ok(Self { connection: Mutex::new(connection), news: Notify::new() })
    }

    /// Keeps an invocation; `false` if there are too many already.
    pub fn keep(&self, request_id: &str, function: &str, payload: &[u8], now_ms: u64) -> rusqlite::Result<bool> {
        let kept = self.lock().execute(
            "INSERT INTO events (request_id, function, payload, tries, delays, accepted_ms, due_ms)
             SELECT ?1, ?2, ?3, 0, 0, ?4, ?4 WHERE (SELECT count(*) FROM events) < ?5",
            params![request_id, function, payload, signed(now_ms), MAX_KEPT],
        )?;
        self.news.notify_one();
        Ok(kept > 0)
    }

    /// Invocations whose time has come, oldest first.
    pub fn due(&self, now_ms: u64, most: usize) -> rusqlite::Result<Vec<Detached>> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT id, request_id, function, payload, tries, delays, accepted_ms FROM events
             WHERE due_ms <= ?1 ORDER BY due_ms, id LIMIT ?2",
        )?;
        let rows = statement.query_map(params![signed(now_ms), i64::try_from(most).unwrap_or(i64::MAX)], detached)?;
        rows.collect()
    }

    /// When the next invocation after `now_ms` is due.
    pub fn next_due(&self, now_ms: u64) -> rusqlite::Result<Option<u64>> {
        let due: Option<i64> =
            self.lock().query_row("SELECT min(due_ms) FROM events WHERE due_ms > ?1", [signed(now_ms)], |row| row.get(0))?;
        Ok(due.and_then(|due| u64::try_from(due).ok()))
    }

    /// Puts an invocation off.
    pub fn put_off(&self, kept: &Detached, due_ms: u64) -> rusqlite::Result<()> {
        self.lock().execute(
            "UPDATE events SET tries = ?2, delays = ?3, due_ms = ?4 WHERE id = ?1",
            params![kept.id, kept.tries, kept.delays, signed(due_ms)],
        )?;
        Ok(())
    }

    pub fn forget(&self, id: i64) -> rusqlite::Result<()> {
        self.lock().execute("DELETE FROM events WHERE id = ?1", [id])?;
        Ok(())
    }

    /// When schedule `name` last ran; `now_ms`, which is then recorded, if it is new.
    pub fn last_run(&self, name: &str, now_ms: u64) -> rusqlite::Result<u64> {
        let connection = self.lock();
        let known: Option<i64> =
            connection.query_row("SELECT last_ms FROM schedules WHERE name = ?1", [name], |row| row.get(0)).optional()?;
        if let Some(known) = known.and_then(|known| u64::try_from(known).ok()) {
            return Ok(known);
        }
        connection.execute("INSERT INTO schedules (name, last_ms) VALUES (?1, ?2)", params![name, signed(now_ms)])?;
        Ok(now_ms)
    }

    pub fn record_run(&self, name: &str, now_ms: u64) -> rusqlite::Result<()> {
        self.lock().execute("UPDATE schedules SET last_ms = ?2 WHERE name = ?1", params![name, signed(now_ms)])?;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn detached(row: &Row) -> rusqlite::Result<Detached> {
    Ok(Detached {
        id: row.get(0)?,
        request_id: row.get(1)?,
        function: row.get(2)?,
        payload: row.get::<_, Vec<u8>>(3)?.into(),
        tries: row.get(4)?,
        delays: row.get(5)?,
        accepted_ms: u64::try_from(row.get::<_, i64>(6)?).unwrap_or(0),
    })
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_invocations_and_runs_survive() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lambda.db");
        let store = Store::open(&path).unwrap();
        assert!(store.keep("r", "f", b"{}", 100).unwrap());
        assert_eq!(store.last_run("s", 100).unwrap(), 100);
        drop(store);
        let store = Store::open(&path).unwrap();
        let mut kept = store.due(100, 10).unwrap().remove(0);
        assert_eq!((kept.request_id.as_str(), kept.payload.as_ref(), kept.accepted_ms), ("r", &b"{}"[..], 100));
        kept.tries = 1;
        store.put_off(&kept, 200).unwrap();
        assert_eq!(store.due(199, 10).unwrap(), []);
        assert_eq!(store.next_due(100).unwrap(), Some(200));
        assert_eq!(store.due(200, 10).unwrap(), [kept.clone()]);
        store.forget(kept.id).unwrap();
        assert_eq!(store.due(200, 10).unwrap(), []);
        store.record_run("s", 150).unwrap();
        assert_eq!(store.last_run("s", 400).unwrap(), 150);
    }
}
