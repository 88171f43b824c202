//! Groups, streams and lines in `SQLite`.

use std::{collections::HashMap, path::Path, sync::Mutex, sync::MutexGuard, sync::PoisonError};

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{error::LogsError, pattern::Filter, writer::Line};

/// Most bytes of lines in one group; beyond it the oldest go.
pub const MAX_GROUP_BYTES: i64 = 256 << 20;
/// What AWS counts for every line beside its text.
const OVERHEAD: usize = 26;
/// Lines looked at for one answer; a filter that matches little is answered in pages.
const MAX_SCAN: usize = 100_000;
/// Most bytes of one answer.
const MAX_ANSWER: usize = 1 << 20;
pub(super) const DAY_MS: u64 = 86_400_000;

/// Where in a group's or a stream's order a page begins or ends: by time, and by arrival within one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub timestamp_ms: u64,
    pub id: i64,
}

/// A group, for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    pub created_ms: u64,
    pub retention_days: Option<u32>,
    pub bytes: u64,
}

/// A stream, for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    pub name: String,
    pub created_ms: u64,
    pub first_ms: Option<u64>,
    pub last_ms: Option<u64>,
    pub ingested_ms: Option<u64>,
}

/// A line as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub place: Place,
    pub stream: String,
    pub message: String,
    pub ingested_ms: u64,
}

/// Which lines of a group.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub group: String,
    /// These streams only, if any are named.
    pub streams: Vec<String>,
    /// Streams whose names begin so.
    pub prefix: String,
    /// From this time on.
    pub from_ms: u64,
    /// Up to and with this time.
    pub to_ms: Option<u64>,
    pub filter: Filter,
    pub limit: usize,
}

/// A page of lines, oldest first, and where the next one begins, if there may be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub entries: Vec<Entry>,
    pub next: Option<Place>,
}

#[derive(Debug)]
pub struct Store {
    connection: Mutex<Connection>,
    /// Ids of streams written to, by group and stream.
    known: HashMap<(String, String), (i64, i64)>,
}

impl Store {
    pub fn open(path: &Path) -> Result<Self, LogsError> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(std::time::Duration::from_secs(10))?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;
             CREATE TABLE IF NOT EXISTS groups (
                 id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, created_ms INTEGER NOT NULL,
                 retention_days INTEGER, bytes INTEGER NOT NULL DEFAULT 0);
             CREATE TABLE IF NOT EXISTS streams (
                 id INTEGER PRIMARY KEY, group_id INTEGER NOT NULL REFERENCES groups ON DELETE CASCADE,
                 name TEXT NOT NULL, created_ms INTEGER NOT NULL,
                 first_ms INTEGER, last_ms INTEGER, ingested_ms INTEGER, UNIQUE (group_id, name));
             CREATE TABLE IF NOT EXISTS lines (
                 id INTEGER PRIMARY KEY AUTOINCREMENT, group_id INTEGER NOT NULL,
                 stream_id INTEGER NOT NULL REFERENCES streams ON DELETE CASCADE,
                 at_ms INTEGER NOT NULL, ingested_ms INTEGER NOT NULL, message TEXT NOT NULL);
             CREATE INDEX IF NOT EXISTS lines_of_group ON lines (group_id, at_ms, id);
             CREATE INDEX IF NOT EXISTS lines_of_stream ON lines (stream_id, at_ms, id);",
        )?;
        Ok(Self { connection: Mutex::new(connection), known: HashMap::new() })
    }

    pub fn create_group(&mut self, name: &str, now_ms: u64) -> Result<(), LogsError> {
        let made = self.lock().execute("INSERT OR IGNORE INTO groups (name, created_ms) VALUES (?1, ?2)", params![name, signed(now_ms)])?;
        if made == 0 { Err(LogsError::exists("log group")) } else { Ok(()) }
    }

    pub fn ensure_group(&mut self, name: &str, retention_days: Option<u32>, now_ms: u64) -> Result<(), LogsError> {
        self.lock().execute(
            "INSERT INTO groups (name, created_ms, retention_days) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO UPDATE SET retention_days = excluded.retention_days",
            params![name, signed(now_ms), retention_days],
        )?;
        Ok(())
    }

    pub fn set_retention(&mut self, name: &str, days: Option<u32>) -> Result<(), LogsError> {
        let known = self.lock().execute("UPDATE groups SET retention_days = ?2 WHERE name = ?1", params![name, days])?;
        if known == 0 { Err(LogsError::not_found("log group")) } else { Ok(()) }
    }

    pub fn delete_group(&mut self, name: &str) -> Result<(), LogsError> {
        self.known.retain(|(group, _), _| group != name);
        let known = self.lock().execute("DELETE FROM groups WHERE name = ?1", [name])?;
        if known == 0 { Err(LogsError::not_found("log group")) } else { Ok(()) }
    }

    pub fn create_stream(&mut self, group: &str, name: &str, now_ms: u64) -> Result<(), LogsError> {
        let connection = self.lock();
        let group = group_id(&connection, group)?;
        let made = connection.execute(
            "INSERT OR IGNORE INTO streams (group_id, name, created_ms) VALUES (?1, ?2, ?3)",
            params![group, name, signed(now_ms)],
        )?;
        if made == 0 { Err(LogsError::exists("log stream")) } else { Ok(()) }
    }

    pub fn delete_stream(&mut self, group: &str, name: &str) -> Result<(), LogsError> {
        self.known.remove(&(group.to_owned(), name.to_owned()));
        let connection = self.lock();
        let group = group_id(&connection, group)?;
        let stream = stream_id(&connection, group, name)?;
        let bytes: i64 = connection.query_row(
            "SELECT coalesce(sum(octet_length(message) + ?2), 0) FROM lines WHERE stream_id = ?1",
            params![stream, limit(OVERHEAD)],
            |row| row.get(0),
        )?;
        connection.execute("UPDATE groups SET bytes = max(bytes - ?2, 0) WHERE id = ?1", params![group, bytes])?;
        connection.execute("DELETE FROM streams WHERE id = ?1", [stream])?;
        Ok(())
    }

    /// Whether the stream exists.
    pub fn has_stream(&self, group: &str, name: &str) -> Result<bool, LogsError> {
        let connection = self.lock();
        let group = group_id(&connection, group)?;
        let found =
            connection.query_row("SELECT 1 FROM streams WHERE group_id = ?1 AND name = ?2", params![group, name], |_| Ok(())).optional()?;
        Ok(found.is_some())
    }

    /// Adds lines in one commit; groups and streams are made as needed.
    pub fn append(&mut self, lines: &[Line], now_ms: u64) -> Result<(), LogsError> {
        let Self { connection, known } = self;
        let connection = connection.get_mut().unwrap_or_else(PoisonError::into_inner);
        let appended = append(connection, known, lines, now_ms);
        if appended.is_err() {
            // What was made in a commit that failed does not exist.
            known.clear();
        }
        appended
    }

    /// Groups whose names begin with `prefix` and hold `pattern`, after `after`, in the order of their names.
    pub fn groups(&self, prefix: &str, pattern: &str, after: &str, most: usize) -> Result<Vec<Group>, LogsError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT name, created_ms, retention_days, bytes FROM groups
             WHERE substr(name, 1, length(?1)) = ?1 AND instr(name, ?2) > 0 AND name > ?3 ORDER BY name LIMIT ?4",
        )?;
        let rows = statement.query_map(params![prefix, pattern, after, limit(most)], |row| {
            Ok(Group { name: row.get(0)?, created_ms: unsigned(row.get(1)?), retention_days: row.get(2)?, bytes: unsigned(row.get(3)?) })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Streams of a group whose names begin with `prefix`, by name or, if `latest`, by the time of their last line.
    pub fn streams(&self, group: &str, prefix: &str, latest: bool) -> Result<Vec<Stream>, LogsError> {
        let connection = self.lock();
        let group = group_id(&connection, group)?;
        let mut statement = connection.prepare_cached(
            "SELECT name, created_ms, first_ms, last_ms, ingested_ms FROM streams
             WHERE group_id = ?1 AND substr(name, 1, length(?2)) = ?2
             ORDER BY CASE WHEN ?3 THEN coalesce(last_ms, 0) ELSE 0 END, name",
        )?;
        let rows = statement.query_map(params![group, prefix, latest], stream)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Lines after `after`, oldest first.
    pub fn forward(&self, wanted: &Wanted, after: Option<Place>) -> Result<Page, LogsError> {
        self.page(wanted, after, false)
    }

    /// The last lines before `before`, oldest first. The page's `next` is where the page before it ends.
    pub fn backward(&self, wanted: &Wanted, before: Option<Place>) -> Result<Page, LogsError> {
        let mut page = self.page(wanted, before, true)?;
        page.entries.reverse();
        Ok(page)
    }

    fn page(&self, wanted: &Wanted, edge: Option<Place>, backward: bool) -> Result<Page, LogsError> {
        let connection = self.lock();
        let group = group_id(&connection, &wanted.group)?;
        // One stream alone is read by its own index.
        let stream = match wanted.streams.as_slice() {
            [one] => Some(stream_id(&connection, group, one)?),
            _ => None,
        };
        let (scope, scope_id) = stream.map_or(("group_id", group), |stream| ("stream_id", stream));
        let (beyond, order) = if backward { ("<", "DESC") } else { (">", "ASC") };
        let start = if backward { Place { timestamp_ms: u64::MAX, id: i64::MAX } } else { Place { timestamp_ms: 0, id: 0 } };
        let edge = edge.unwrap_or(start);
        let mut statement = connection.prepare_cached(&format!(
            "SELECT lines.id, at_ms, streams.name, message, lines.ingested_ms FROM lines
             JOIN streams ON streams.id = stream_id
             WHERE lines.{scope} = ?1 AND (at_ms, lines.id) {beyond} (?2, ?3) AND at_ms >= ?4 AND at_ms <= ?5
             ORDER BY at_ms {order}, lines.id {order} LIMIT {MAX_SCAN}"
        ))?;
        let to = signed(wanted.to_ms.unwrap_or(u64::MAX));
        let mut rows = statement.query(params![scope_id, signed(edge.timestamp_ms), edge.id, signed(wanted.from_ms), to])?;
        collect(&mut rows, wanted)
    }

    /// An error if there is no such group.
    pub fn has_group(&self, name: &str) -> Result<(), LogsError> {
        group_id(&self.lock(), name).map(drop)
    }

    /// Removes what is older than its group's retention, and the oldest of what is more than a group may hold.
    pub fn sweep(&mut self, now_ms: u64) -> Result<(), LogsError> {
        self.sweep_to(now_ms, MAX_GROUP_BYTES)
    }

    pub(super) fn sweep_to(&mut self, now_ms: u64, most_bytes: i64) -> Result<(), LogsError> {
        self.known.clear();
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        let groups: Vec<(i64, Option<u32>)> = transaction
            .prepare("SELECT id, retention_days FROM groups")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        for (group, days) in groups {
            if let Some(days) = days {
                let oldest = now_ms.saturating_sub(u64::from(days) * DAY_MS);
                transaction.execute("DELETE FROM lines WHERE group_id = ?1 AND at_ms < ?2", params![group, signed(oldest)])?;
            }
            // The newest that fit stay: the running sum is taken from the newest on.
            transaction.execute(
                "DELETE FROM lines WHERE group_id = ?1 AND (SELECT bytes FROM groups WHERE id = ?1) > ?2 AND id IN (
                     SELECT id FROM (SELECT id, sum(octet_length(message) + ?3) OVER (ORDER BY at_ms DESC, id DESC) AS total
                                     FROM lines WHERE group_id = ?1) WHERE total > ?2)",
                params![group, most_bytes, limit(OVERHEAD)],
            )?;
            transaction.execute(
                "UPDATE groups SET bytes =
                     (SELECT coalesce(sum(octet_length(message) + ?2), 0) FROM lines WHERE group_id = ?1) WHERE id = ?1",
                params![group, limit(OVERHEAD)],
            )?;
            // A stream whose lines are all gone has nothing to say.
            transaction.execute(
                "DELETE FROM streams WHERE group_id = ?1 AND last_ms IS NOT NULL
                     AND NOT EXISTS (SELECT 1 FROM lines WHERE stream_id = streams.id)",
                [group],
            )?;
        }
        Ok(transaction.commit()?)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn append(
    connection: &mut Connection,
    known: &mut HashMap<(String, String), (i64, i64)>,
    lines: &[Line],
    now_ms: u64,
) -> Result<(), LogsError> {
    let transaction = connection.transaction()?;
    let mut bytes: HashMap<i64, i64> = HashMap::new();
    // First and last time of each stream: written once a batch, not once a line.
    let mut times: HashMap<i64, (i64, i64)> = HashMap::new();
    let mut insert =
        transaction.prepare_cached("INSERT INTO lines (group_id, stream_id, at_ms, ingested_ms, message) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for line in lines {
        let key = (line.group.clone(), line.stream.clone());
        let (group, stream) = match known.get(&key) {
            Some(ids) => *ids,
            None => *known.entry(key).or_insert(ids(&transaction, line, now_ms)?),
        };
        let at = signed(line.timestamp_ms);
        insert.execute(params![group, stream, at, signed(now_ms), line.message])?;
        let (first, last) = times.entry(stream).or_insert((at, at));
        (*first, *last) = ((*first).min(at), (*last).max(at));
        *bytes.entry(group).or_insert(0) += limit(line.message.len() + OVERHEAD);
    }
    drop(insert);
    for (stream, (first, last)) in times {
        transaction.execute(
            "UPDATE streams SET first_ms = min(coalesce(first_ms, ?2), ?2), last_ms = max(coalesce(last_ms, ?3), ?3),
                 ingested_ms = ?4 WHERE id = ?1",
            params![stream, first, last, signed(now_ms)],
        )?;
    }
    for (group, bytes) in bytes {
        transaction.execute("UPDATE groups SET bytes = bytes + ?2 WHERE id = ?1", params![group, bytes])?;
    }
    Ok(transaction.commit()?)
}

fn ids(connection: &Connection, line: &Line, now_ms: u64) -> Result<(i64, i64), LogsError> {
    let now = signed(now_ms);
    connection.execute("INSERT OR IGNORE INTO groups (name, created_ms) VALUES (?1, ?2)", params![line.group, now])?;
    let group = group_id(connection, &line.group)?;
    connection
        .execute("INSERT OR IGNORE INTO streams (group_id, name, created_ms) VALUES (?1, ?2, ?3)", params![group, line.stream, now])?;
    Ok((group, stream_id(connection, group, &line.stream)?))
}

pub(super) fn group_id(connection: &Connection, name: &str) -> Result<i64, LogsError> {
    let found = connection.query_row("SELECT id FROM groups WHERE name = ?1", [name], |row| row.get(0)).optional()?;
    found.ok_or_else(|| LogsError::not_found("log group"))
}

fn stream_id(connection: &Connection, group: i64, name: &str) -> Result<i64, LogsError> {
    let found = connection
        .query_row("SELECT id FROM streams WHERE group_id = ?1 AND name = ?2", params![group, name], |row| row.get(0))
        .optional()?;
    found.ok_or_else(|| LogsError::not_found("log stream"))
}

fn collect(rows: &mut rusqlite::Rows, wanted: &Wanted) -> Result<Page, LogsError> {
    let mut page = Page { entries: Vec::new(), next: None };
    let (mut scanned, mut bytes, mut last) = (0, 0, None);
    while let Some(row) = rows.next()? {
        let (stream, message) = (text(row, 2)?, text(row, 3)?);
        let size = message.len() + OVERHEAD;
        if page.entries.len() >= wanted.limit || (bytes + size > MAX_ANSWER && !page.entries.is_empty()) {
            page.next = last;
            return Ok(page);
        }
        scanned += 1;
        let place = Place { id: row.get(0)?, timestamp_ms: unsigned(row.get(1)?) };
        last = Some(place);
        let of_stream = wanted.streams.is_empty() || wanted.streams.iter().any(|name| name == stream);
        if of_stream && stream.starts_with(&wanted.prefix) && wanted.filter.matches(message) {
            bytes += size;
            let (stream, message) = (stream.to_owned(), message.to_owned());
            page.entries.push(Entry { place, stream, message, ingested_ms: unsigned(row.get(4)?) });
        }
    }
    page.next = last.filter(|_| scanned >= MAX_SCAN);
    Ok(page)
}

/// A text, without a copy.
pub(super) fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a str, LogsError> {
    row.get_ref(column)?.as_str().map_err(|error| LogsError::internal(error.to_string()))
}

fn stream(row: &Row) -> rusqlite::Result<Stream> {
    let time = |column| row.get::<_, Option<i64>>(column).map(|time| time.map(unsigned));
    Ok(Stream { name: row.get(0)?, created_ms: unsigned(row.get(1)?), first_ms: time(2)?, last_ms: time(3)?, ingested_ms: time(4)? })
}

pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn limit(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
