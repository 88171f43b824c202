//! Every line of some groups, the newest first, one at a time: for questions that look at all of them.

use std::{
    collections::{HashMap, hash_map::Entry},
    ops::Range,
    sync::mpsc,
    thread,
};

use rusqlite::params;

use super::{
    error::LogsError,
    store::{Store, group_id, signed, text},
};

/// Most bytes of lines, about, and most lines that go from thread to thread at once, and how many such batches may wait.
const BATCH: usize = 256 << 10;
const LINES: usize = 4_096;
const AHEAD: usize = 2;

/// A line as a scan shows it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub id: i64,
    pub group: &'a str,
    pub stream: &'a str,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    pub ingested_ms: i64,
    pub message: &'a str,
}

impl Store {
    /// As [`scan`](Self::scan); another thread reads while this one looks.
    pub fn scan_ahead(&self, groups: &[String], times: (u64, u64), mut look: impl FnMut(&Seen<'_>) -> bool) -> Result<(), LogsError> {
        thread::scope(|scope| {
            let (sender, batches) = mpsc::sync_channel(AHEAD);
            let read = move || {
                let mut batch = Batch::default();
                let shown = self.scan(groups, times, |seen| {
                    batch.push(seen);
                    (batch.text.len() < BATCH && batch.lines.len() < LINES) || sender.send(std::mem::take(&mut batch)).is_ok()
                });
                // Whoever has seen enough takes no more.
                let _ = sender.send(batch);
                shown
            };
            let reader = thread::Builder::new().name("logs-scan".to_owned()).spawn_scoped(scope, read);
            let reader = reader.map_err(|error| LogsError::internal(format!("the thread that reads cannot be started: {error}")))?;
            for batch in &batches {
                if !batch.lines().all(|seen| look(&seen)) {
                    break;
                }
            }
            drop(batches);
            reader.join().unwrap_or_else(|_| Err(LogsError::internal("the thread that reads has ended".to_owned())))
        })
    }

    /// Shows every line of `groups` from `from_ms` up to and with `to_ms` to `look`, newest first, until it answers
    /// `false`. Groups that do not exist are an error.
    pub fn scan(&self, groups: &[String], (from_ms, to_ms): (u64, u64), mut look: impl FnMut(&Seen<'_>) -> bool) -> Result<(), LogsError> {
        let connection = self.lock();
        let ids: Vec<i64> = groups.iter().map(|name| group_id(&connection, name)).collect::<Result<_, _>>()?;
        // SQLite merges the groups' own orders: no line waits in memory.
        let each: Vec<String> = ids
            .iter()
            .map(|id| format!("SELECT id, group_id, stream_id, at_ms, ingested_ms, message FROM lines WHERE group_id = {id} AND at_ms BETWEEN ?1 AND ?2"))
            .collect();
        let mut names = HashMap::new();
        let mut statement = connection.prepare(&format!("{} ORDER BY at_ms DESC, id DESC", each.join(" UNION ALL ")))?;
        let mut rows = statement.query(params![signed(from_ms), signed(to_ms)])?;
        while let Some(row) = rows.next()? {
            let (group, stream): (i64, i64) = (row.get(1)?, row.get(2)?);
            if let Entry::Vacant(place) = names.entry(stream) {
                place.insert(connection.query_row("SELECT name FROM streams WHERE id = ?1", [stream], |row| row.get::<_, String>(0))?);
            }
            let message = text(row, 5)?;
            let name = ids.iter().position(|id| *id == group).and_then(|at| groups.get(at));
            let seen = Seen {
                id: row.get(0)?,
                group: name.map_or("", String::as_str),
                stream: names.get(&stream).map_or("", String::as_str),
                at_ms: row.get(3)?,
                ingested_ms: row.get(4)?,
                message,
            };
            if !look(&seen) {
                break;
            }
        }
        Ok(())
    }
}

/// Lines on their way from thread to thread: few allocations for many of them.
#[derive(Debug, Default)]
struct Batch {
    text: String,
    lines: Vec<Packed>,
}

/// A line of a batch; its texts are ranges of the batch's.
#[derive(Debug)]
struct Packed {
    id: i64,
    at_ms: i64,
    ingested_ms: i64,
    group: Range<usize>,
    stream: Range<usize>,
    message: Range<usize>,
}

impl Batch {
    fn push(&mut self, seen: &Seen<'_>) {
        let (group, stream) = self.lines.last().map(|last| (last.group.clone(), last.stream.clone())).unwrap_or_default();
        let line = Packed {
            id: seen.id,
            at_ms: seen.at_ms,
            ingested_ms: seen.ingested_ms,
            group: self.again(group, seen.group),
            stream: self.again(stream, seen.stream),
            message: self.again(0..0, seen.message),
        };
        self.lines.push(line);
    }

    /// Where the text stands: at `before`, if it is the same, or at the end.
    fn again(&mut self, before: Range<usize>, text: &str) -> Range<usize> {
        if self.text(&before) == text {
            return before;
        }
        let start = self.text.len();
        self.text.push_str(text);
        start..self.text.len()
    }

    fn text(&self, range: &Range<usize>) -> &str {
        self.text.get(range.clone()).unwrap_or_default()
    }

    fn lines(&self) -> impl Iterator<Item = Seen<'_>> {
        self.lines.iter().map(|line| Seen {
            id: line.id,
            group: self.text(&line.group),
            stream: self.text(&line.stream),
            at_ms: line.at_ms,
            ingested_ms: line.ingested_ms,
            message: self.text(&line.message),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::writer::Line;

    #[test]
    fn a_thread_that_reads_ahead_shows_the_same_lines() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(&directory.path().join("logs")).unwrap();
        let lines: Vec<Line> = (0..12_000u64)
            .map(|n| Line {
                group: if n % 7 < 3 { "a" } else { "b" }.to_owned(),
                stream: format!("s{}", n / 10 % 3),
                timestamp_ms: 1_000 + n / 2,
                message: format!("{n} {}", "ä".repeat(usize::try_from(n % 50).unwrap())),
            })
            .collect();
        assert!(lines.iter().map(|line| line.message.len()).sum::<usize>() > 2 * BATCH);
        store.append(&lines, 1).unwrap();
        let groups = ["a".to_owned(), "b".to_owned()];
        let owned = |seen: &Seen<'_>| (seen.id, seen.at_ms, seen.ingested_ms, [seen.group, seen.stream, seen.message].map(str::to_owned));
        let (mut alone, mut ahead) = (Vec::new(), Vec::new());
        store
            .scan(&groups, (1_005, 6_500), |seen| {
                alone.push(owned(seen));
                true
            })
            .unwrap();
        store
            .scan_ahead(&groups, (1_005, 6_500), |seen| {
                ahead.push(owned(seen));
                true
            })
            .unwrap();
        assert!(alone.len() > 10_000 && alone == ahead, "{} and {}", alone.len(), ahead.len());

        let mut seen = 0;
        store
            .scan_ahead(&groups, (0, 10_000), |_| {
                seen += 1;
                seen < 100
            })
            .unwrap();
        assert_eq!(seen, 100, "who has seen enough sees no more");
        assert!(store.scan_ahead(&["c".to_owned()], (0, 10_000), |_| true).is_err());
    }
}
