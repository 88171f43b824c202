//! What Lambda must remember: invocations of type `Event` that are not done, and when each schedule ran.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tokio::sync::Notify;

use super::commits::{Commits, Kept};

/// Invocations kept at once; more are throttled.
pub const MAX_KEPT: u64 = 100_000;
/// Most bytes of their payloads.
const MAX_KEPT_BYTES: u64 = 1 << 30;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS events (
        id INTEGER PRIMARY KEY AUTOINCREMENT, request_id TEXT NOT NULL, function TEXT NOT NULL,
        payload BLOB NOT NULL, tries INTEGER NOT NULL, delays INTEGER NOT NULL,
        accepted_ms INTEGER NOT NULL, due_ms INTEGER NOT NULL, ending TEXT);
    DROP INDEX IF EXISTS events_due;
    CREATE INDEX IF NOT EXISTS events_of_function ON events (function, due_ms, id);
    CREATE TABLE IF NOT EXISTS schedules (name TEXT PRIMARY KEY, last_ms INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS mappings (id TEXT PRIMARY KEY, enabled INTEGER NOT NULL, of_template INTEGER NOT NULL);";

/// An invocation that nobody waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detached {
    pub id: i64,
    pub request_id: String,
    pub function: String,
    pub payload: Bytes,
    /// Tries in which the function failed.
    pub tries: u32,
    /// Times that it could not be run at all, or its record not be delivered.
    pub delays: u32,
    pub accepted_ms: u64,
    /// How it ended, as JSON, once it did: from then on it is only told of.
    pub ending: Option<String>,
}

/// An event that is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    pub request_id: String,
    pub function: String,
    pub payload: Bytes,
}

/// Every write is on disk when it returns; writes of several threads share a commit. Calls block: use them off the
/// async threads.
#[derive(Debug)]
pub struct Store {
    commits: Commits,
    reads: Mutex<Connection>,
    /// Told when an event of the function was kept.
    news: Mutex<HashMap<String, Arc<Notify>>>,
}

impl Store {
    pub fn open(path: &Path) -> Result<Self, rusqlite::Error> {
        let connection = Connection::open(path)?;
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")?;
        let known: u32 = connection.query_row("SELECT count(*) FROM pragma_table_info('events')", [], |row| row.get(0))?;
        if known > 0 {
            let has_ending = "SELECT count(*) FROM pragma_table_info('events') WHERE name = 'ending'";
            if connection.query_row(has_ending, [], |row| row.get::<_, u32>(0))? == 0 {
                connection.execute_batch("ALTER TABLE events ADD COLUMN ending TEXT")?;
            }
        }
        connection.execute_batch(SCHEMA)?;
        let reads = Connection::open(path)?;
        reads.execute_batch("PRAGMA query_only = ON")?;
        Ok(Self { commits: Commits::start(connection)?, reads: Mutex::new(reads), news: Mutex::default() })
    }

    /// Keeps an invocation; `false` if there are too many already.
    pub fn keep(&self, request_id: &str, function: &str, payload: &[u8], now_ms: u64) -> rusqlite::Result<bool> {
        let (request_id, function) = (request_id.to_owned(), function.to_owned());
        let event = NewEvent { request_id, function, payload: Bytes::copy_from_slice(payload) };
        Ok(self.keep_all(vec![event], now_ms)? > 0)
    }

    /// Keeps events in one commit, as many from the front as there is room for; answers how many.
    pub fn keep_all(&self, events: Vec<NewEvent>, now_ms: u64) -> rusqlite::Result<usize> {
        let functions: Vec<String> = events.iter().map(|event| event.function.clone()).collect();
        let kept = self.commits.write(move |connection, kept| {
            let mut statement = connection.prepare_cached(
                "INSERT INTO events (request_id, function, payload, tries, delays, accepted_ms, due_ms)
                 VALUES (?1, ?2, ?3, 0, 0, ?4, ?4)",
            )?;
            for (number, event) in events.iter().enumerate() {
                let with = Kept { events: kept.events + 1, bytes: kept.bytes + event.payload.len() as u64 };
                if with.events > MAX_KEPT || with.bytes > MAX_KEPT_BYTES {
                    return Ok(number);
                }
                statement.execute(params![event.request_id, event.function, event.payload.as_ref(), signed(now_ms)])?;
                *kept = with;
            }
            Ok(events.len())
        })?;
        for function in functions.iter().take(kept) {
            self.news(function).notify_one();
        }
        Ok(kept)
    }

    /// Is told whenever an event of `function` was kept. For one waiter.
    pub fn news(&self, function: &str) -> Arc<Notify> {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(news.entry(function.to_owned()).or_default())
    }

    /// The events of `function` whose turn is next: ids and when they are due, in ms since 1970.
    pub fn next(&self, function: &str, most: usize) -> rusqlite::Result<Vec<(i64, u64)>> {
        let reads = self.reads();
        let mut statement = reads.prepare_cached("SELECT id, due_ms FROM events WHERE function = ?1 ORDER BY due_ms, id LIMIT ?2")?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![function, most], |row| Ok((row.get(0)?, unsigned(row.get(1)?))))?;
        rows.collect()
    }

    pub fn event(&self, id: i64) -> rusqlite::Result<Option<Detached>> {
        let reads = self.reads();
        let mut statement = reads
            .prepare_cached("SELECT id, request_id, function, payload, tries, delays, accepted_ms, ending FROM events WHERE id = ?1")?;
        statement.query_row([id], detached).optional()
    }

    /// Writes down what has become of an event: its tries, delays and ending, and when it is due again.
    pub fn put_off(&self, event: &Detached, due_ms: u64) -> rusqlite::Result<()> {
        let Detached { id, tries, delays, ref ending, .. } = *event;
        let ending = ending.clone();
        self.commits.write(move |connection, _| {
            let mut statement =
                connection.prepare_cached("UPDATE events SET tries = ?2, delays = ?3, ending = ?4, due_ms = ?5 WHERE id = ?1")?;
            statement.execute(params![id, tries, delays, ending, signed(due_ms)])?;
            Ok(())
        })
    }

    pub fn forget(&self, id: i64) -> rusqlite::Result<()> {
        self.commits.write(move |connection, kept| {
            let mut statement = connection.prepare_cached("DELETE FROM events WHERE id = ?1 RETURNING length(payload)")?;
            if let Some(bytes) = statement.query_row([id], |row| row.get::<_, i64>(0)).optional()? {
                *kept = Kept { events: kept.events.saturating_sub(1), bytes: kept.bytes.saturating_sub(unsigned(bytes)) };
            }
            Ok(())
        })
    }

    /// Forgets the events of all functions but these; answers how many there were.
    pub fn forget_others(&self, functions: Vec<String>) -> rusqlite::Result<usize> {
        self.commits.write(move |connection, kept| {
            let functions = serde_json::Value::from(functions).to_string();
            let sql = "DELETE FROM events WHERE function NOT IN (SELECT value FROM json_each(?1))";
            let forgotten = connection.execute(sql, [functions])?;
            *kept = Kept::count(connection)?;
            Ok(forgotten)
        })
    }

    /// When schedule `name` last ran; `now_ms`, which is then recorded, if it is new.
    pub fn last_run(&self, name: &str, now_ms: u64) -> rusqlite::Result<u64> {
        let sql = "SELECT last_ms FROM schedules WHERE name = ?1";
        let known: Option<i64> = self.reads().query_row(sql, [name], |row| row.get(0)).optional()?;
        if let Some(known) = known.and_then(|known| u64::try_from(known).ok()) {
            return Ok(known);
        }
        let name = name.to_owned();
        self.commits.write(move |connection, _| {
            let sql = "INSERT OR REPLACE INTO schedules (name, last_ms) VALUES (?1, ?2)";
            connection.execute(sql, params![name, signed(now_ms)])
        })?;
        Ok(now_ms)
    }

    pub fn record_run(&self, name: &str, now_ms: u64) -> rusqlite::Result<()> {
        let name = name.to_owned();
        self.commits.write(move |connection, _| {
            connection.execute("UPDATE schedules SET last_ms = ?2 WHERE name = ?1", params![name, signed(now_ms)])
        })?;
        Ok(())
    }

    /// Whether mapping `id` was last switched on or off by hand, if its template has said `of_template` since.
    pub fn switched(&self, id: &str, of_template: bool) -> rusqlite::Result<Option<bool>> {
        let sql = "SELECT enabled FROM mappings WHERE id = ?1 AND of_template = ?2";
        self.reads().query_row(sql, params![id, of_template], |row| row.get(0)).optional()
    }

    pub fn switch(&self, id: &str, enabled: bool, of_template: bool) -> rusqlite::Result<()> {
        let id = id.to_owned();
        self.commits.write(move |connection, _| {
            let sql = "INSERT OR REPLACE INTO mappings (id, enabled, of_template) VALUES (?1, ?2, ?3)";
            connection.execute(sql, params![id, enabled, of_template])
        })?;
        Ok(())
    }

    fn reads(&self) -> MutexGuard<'_, Connection> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner)
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
        accepted_ms: unsigned(row.get(6)?),
        ending: row.get(7)?,
    })
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
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
        let (id, due) = store.next("f", 10).unwrap().remove(0);
        assert_eq!(due, 100);
        let mut kept = store.event(id).unwrap().unwrap();
        assert_eq!((kept.request_id.as_str(), kept.payload.as_ref(), kept.accepted_ms), ("r", &b"{}"[..], 100));
        (kept.tries, kept.ending) = (1, Some("{}".into()));
        store.put_off(&kept, 200).unwrap();
        assert_eq!(store.next("f", 10).unwrap(), [(id, 200)]);
        assert_eq!(store.next("g", 10).unwrap(), []);
        assert_eq!(store.event(id).unwrap(), Some(kept));
        store.forget(id).unwrap();
        assert_eq!(store.next("f", 10).unwrap(), []);
        store.record_run("s", 150).unwrap();
        assert_eq!(store.last_run("s", 400).unwrap(), 150);
    }

    #[test]
    fn a_full_store_keeps_what_fits_and_has_room_again_when_events_go() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("lambda.db")).unwrap();
        let event = |function: &str| NewEvent { request_id: "r".into(), function: function.into(), payload: "{}".into() };
        let most = usize::try_from(MAX_KEPT).unwrap();
        assert_eq!(store.keep_all(vec![event("f"); most - 1], 1).unwrap(), most - 1);
        assert_eq!(store.keep_all(vec![event("g"); 3], 1).unwrap(), 1);
        assert!(!store.keep("r", "f", b"{}", 1).unwrap());
        store.forget(store.next("f", 1).unwrap()[0].0).unwrap();
        assert!(store.keep("r", "f", b"{}", 1).unwrap());
        assert_eq!(store.forget_others(vec!["g".into()]).unwrap(), most - 1);
        assert_eq!(store.keep_all(vec![event("f"); 3], 1).unwrap(), 3);
    }

    #[test]
    fn a_store_of_an_earlier_version_is_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lambda.db");
        let old = Connection::open(&path).unwrap();
        let schema = "CREATE TABLE events (
                 id INTEGER PRIMARY KEY AUTOINCREMENT, request_id TEXT NOT NULL, function TEXT NOT NULL,
                 payload BLOB NOT NULL, tries INTEGER NOT NULL, delays INTEGER NOT NULL,
                 accepted_ms INTEGER NOT NULL, due_ms INTEGER NOT NULL);
             CREATE INDEX events_due ON events (due_ms);
             INSERT INTO events VALUES (7, 'r', 'f', x'7b7d', 1, 0, 5, 6);";
        old.execute_batch(schema).unwrap();
        drop(old);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.next("f", 10).unwrap(), [(7, 6)]);
        assert_eq!(store.event(7).unwrap().unwrap().ending, None);
    }
}
