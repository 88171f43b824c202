//! The tables of the queues: `SQLite` in WAL mode, synced at every commit.
//!
//! State and content of a message are two rows, so that a receive rewrites a short row and never the body.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::{
    account::{Account, Kept},
    entry::{Change, DedupKey, Entry, Limits, QueueRow, Sent, Seq},
    error::SqsError,
    message::Content,
    moves::MoveTask,
    settings::Settings,
};

/// Layout of the tables; a file with a later one is refused.
const VERSION: i64 = 2;
/// Numbers that one run of the program may give to messages. The next run begins behind them, so that no number comes
/// twice though its message is long gone.
const NUMBERS_OF_A_RUN: u64 = 1 << 32;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS queues (
        uid INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, attributes TEXT NOT NULL,
        created_ms INTEGER NOT NULL, modified_ms INTEGER NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS messages (
        seq INTEGER PRIMARY KEY, queue INTEGER NOT NULL, id BLOB NOT NULL, message_group TEXT,
        sent_ms INTEGER NOT NULL, visible_ms INTEGER NOT NULL, receives INTEGER NOT NULL,
        receives_here INTEGER NOT NULL, first_receive_ms INTEGER, last_receive_ms INTEGER NOT NULL,
        receipt INTEGER NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS contents (
        seq INTEGER PRIMARY KEY, body TEXT NOT NULL, attributes TEXT, trace TEXT) STRICT;
";

/// What version 2 has beyond version 1.
const FIFO: &str = "
    ALTER TABLE queues ADD COLUMN tags TEXT;
    ALTER TABLE queues ADD COLUMN purged_ms INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE messages ADD COLUMN dedup TEXT;
    ALTER TABLE messages ADD COLUMN source TEXT;
    ALTER TABLE messages ADD COLUMN attempt TEXT;
    CREATE TABLE remembered (
        queue INTEGER NOT NULL, key BLOB NOT NULL, seq INTEGER NOT NULL, id BLOB NOT NULL, until_ms INTEGER NOT NULL,
        PRIMARY KEY (queue, key)) STRICT, WITHOUT ROWID;
    CREATE TABLE moves (number INTEGER PRIMARY KEY, source INTEGER NOT NULL, task TEXT NOT NULL) STRICT;
    CREATE TABLE numbers (first INTEGER NOT NULL) STRICT;
    INSERT INTO numbers VALUES (0);
";

#[derive(Debug)]
pub(super) struct Store {
    db: Connection,
    /// A transaction is open.
    begun: bool,
    /// No message gets a lower number.
    first_seq: Seq,
}

impl Store {
    pub(super) fn open(dir: &Path) -> Result<Self, SqsError> {
        std::fs::create_dir_all(dir).map_err(|e| failed(&format!("Cannot make the directory {}", dir.display()), &e))?;
        let file = dir.join("sqs.sqlite3");
        let open = || -> rusqlite::Result<Connection> {
            let db = Connection::open(&file)?;
            db.busy_timeout(Duration::from_secs(5))?;
            // One process at a time: a second one would not see the state that the first holds in memory.
            db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
            db.pragma_update(None, "journal_mode", "WAL")?;
            db.pragma_update(None, "synchronous", "FULL")?;
            db.pragma_update(None, "journal_size_limit", 64 << 20)?;
            Ok(db)
        };
        let db = open().map_err(|e| failed(&format!("Cannot open the queues in {}", file.display()), &e))?;
        let mut store = Self { db, begun: false, first_seq: 0 };
        store.prepare(&file).map_err(|e| failed(&format!("Cannot read the queues in {}", file.display()), &e))?;
        Ok(store)
    }

    fn prepare(&mut self, file: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let mode: String = self.db.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        if mode != "wal" {
            return Err(format!("the disk of {} does not allow a write-ahead log", file.display()).into());
        }
        let version: i64 = self.db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version > VERSION {
            return Err("it was written by a newer version of this program; use that one".into());
        }
        // Immediate, so that the lock against a second process is held from here on.
        let fifo = if version < 2 { FIFO } else { "" };
        self.db.execute_batch(&format!("BEGIN IMMEDIATE; {TABLES} {fifo} PRAGMA user_version = {VERSION}; COMMIT;"))?;
        let newest = "SELECT max(first, (SELECT ifnull(max(seq), 0) + 1 FROM messages)) FROM numbers";
        self.first_seq = self.db.query_row(newest, [], |row| row.get(0))?;
        self.db.execute("UPDATE numbers SET first = ?1", [self.first_seq + NUMBERS_OF_A_RUN])?;
        self.db.set_prepared_statement_cache_capacity(32);
        Ok(())
    }

    /// The state that the tables hold.
    pub(super) fn load(&self, now_ms: u64, limits: Limits) -> Result<Account, SqsError> {
        let load = || -> Result<Account, Box<dyn std::error::Error>> {
            let kept = Kept {
                queues: self.queues()?,
                messages: self.messages()?,
                remembered: self.remembered()?,
                moves: self.moves()?,
                first_seq: self.first_seq,
            };
            Ok(Account::rebuild(now_ms, kept, limits))
        };
        load().map_err(|e| failed("Cannot read the queues", &e))
    }

    /// After this many numbers were given out in this run, a state loaded again goes on behind them.
    pub(super) fn given_out(&mut self, next_seq: Seq) {
        self.first_seq = self.first_seq.max(next_seq);
    }

    fn queues(&self) -> Result<Vec<QueueRow>, Box<dyn std::error::Error>> {
        let mut statement = self.db.prepare("SELECT uid, name, attributes, tags, created_ms, modified_ms, purged_ms FROM queues")?;
        let mut rows = statement.query([])?;
        let mut queues = Vec::new();
        while let Some(row) = rows.next()? {
            let attributes: BTreeMap<String, String> = serde_json::from_str(&row.get::<_, String>(2)?)?;
            let tags: Option<String> = row.get(3)?;
            queues.push(QueueRow {
                uid: row.get(0)?,
                name: row.get(1)?,
                settings: Settings::of_attributes(&attributes)?,
                tags: tags.map_or(Ok(BTreeMap::new()), |tags| serde_json::from_str(&tags))?,
                created_ms: row.get(4)?,
                modified_ms: row.get(5)?,
                purged_ms: row.get(6)?,
            });
        }
        Ok(queues)
    }

    fn messages(&self) -> rusqlite::Result<Vec<(u64, Seq, Entry)>> {
        let mut statement = self.db.prepare(
            "SELECT queue, seq, id, message_group, sent_ms, visible_ms, receives, receives_here, first_receive_ms,
                    last_receive_ms, receipt, dedup, source, attempt FROM messages ORDER BY seq",
        )?;
        let rows = statement.query_map([], |row| {
            let text = |column| -> rusqlite::Result<Option<Arc<str>>> { Ok(row.get_ref(column)?.as_str_or_null()?.map(Arc::from)) };
            let entry = Entry {
                id: Uuid::from_bytes(row.get(2)?),
                group: text(3)?,
                sent_ms: row.get(4)?,
                visible_ms: row.get(5)?,
                receives: row.get(6)?,
                receives_here: row.get(7)?,
                first_receive_ms: row.get(8)?,
                last_receive_ms: row.get(9)?,
                receipt: row.get(10)?,
                dedup: text(11)?,
                source: text(12)?,
                attempt: text(13)?,
            };
            Ok((row.get(0)?, row.get(1)?, entry))
        })?;
        rows.collect()
    }

    fn remembered(&self) -> rusqlite::Result<Vec<(u64, DedupKey, Sent)>> {
        let mut statement = self.db.prepare("SELECT queue, key, seq, id, until_ms FROM remembered ORDER BY until_ms, seq")?;
        let rows = statement.query_map([], |row| {
            let sent = Sent { seq: row.get(2)?, id: Uuid::from_bytes(row.get(3)?), until_ms: row.get(4)? };
            Ok((row.get(0)?, row.get(1)?, sent))
        })?;
        rows.collect()
    }

    fn moves(&self) -> Result<Vec<MoveTask>, Box<dyn std::error::Error>> {
        let mut statement = self.db.prepare("SELECT task FROM moves ORDER BY number")?;
        let mut rows = statement.query([])?;
        let mut moves = Vec::new();
        while let Some(row) = rows.next()? {
            moves.push(serde_json::from_str(&row.get::<_, String>(0)?)?);
        }
        Ok(moves)
    }

    /// Writes changes into the open transaction, which begins with the first.
    pub(super) fn apply(&mut self, changes: &[Change]) -> Result<(), SqsError> {
        changes.iter().try_for_each(|change| self.write(change)).map_err(|e| failed("Cannot write to the queues", &e))
    }

    fn write(&mut self, change: &Change) -> rusqlite::Result<()> {
        self.begin()?;
        match change {
            Change::Message { uid, seq, entry } => self.write_message(*uid, *seq, entry),
            Change::Renumbered { from, to } => {
                self.run("UPDATE contents SET seq = ?2 WHERE seq = ?1", params![from, to])?;
                self.run("UPDATE messages SET seq = ?2 WHERE seq = ?1", params![from, to])
            }
            Change::MessageGone { seq } => {
                self.run("DELETE FROM contents WHERE seq = ?1", [seq])?;
                self.run("DELETE FROM messages WHERE seq = ?1", [seq])
            }
            Change::Queue(row) => {
                let attributes = serde_json::to_string(&row.settings.attributes()).unwrap_or_default();
                let tags = serde_json::to_string(&row.tags).unwrap_or_default();
                self.run(
                    "INSERT INTO queues (uid, name, attributes, created_ms, modified_ms, tags, purged_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                     ON CONFLICT (uid) DO UPDATE SET attributes = ?3, modified_ms = ?5, tags = ?6, purged_ms = ?7",
                    params![row.uid, row.name, attributes, row.created_ms, row.modified_ms, tags, row.purged_ms],
                )
            }
            Change::QueueGone { uid } => {
                self.run("DELETE FROM remembered WHERE queue = ?1", [uid])?;
                self.run("DELETE FROM moves WHERE source = ?1", [uid])?;
                self.run("DELETE FROM queues WHERE uid = ?1", [uid])
            }
            Change::Remembered { uid, key, sent } => self.run(
                "INSERT OR REPLACE INTO remembered VALUES (?1, ?2, ?3, ?4, ?5)",
                params![uid, key, sent.seq, sent.id.as_bytes(), sent.until_ms],
            ),
            Change::Forgotten { uid, key } => self.run("DELETE FROM remembered WHERE queue = ?1 AND key = ?2", params![uid, key]),
            Change::Move(task) => {
                let text = serde_json::to_string(task).unwrap_or_default();
                self.run("INSERT OR REPLACE INTO moves VALUES (?1, ?2, ?3)", params![task.number, task.source_uid, text])
            }
            Change::MoveGone { number } => self.run("DELETE FROM moves WHERE number = ?1", [number]),
        }
    }

    fn write_message(&mut self, uid: u64, seq: Seq, entry: &Entry) -> rusqlite::Result<()> {
        self.run(
            "INSERT INTO messages (seq, queue, id, message_group, sent_ms, visible_ms, receives, receives_here,
                                   first_receive_ms, last_receive_ms, receipt, dedup, source, attempt)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
             ON CONFLICT (seq) DO UPDATE SET queue = ?2, id = ?3, sent_ms = ?5, visible_ms = ?6, receives = ?7,
             receives_here = ?8, first_receive_ms = ?9, last_receive_ms = ?10, receipt = ?11, dedup = ?12, source = ?13,
             attempt = ?14",
            params![
                seq,
                uid,
                entry.id.as_bytes(),
                entry.group.as_deref(),
                entry.sent_ms,
                entry.visible_ms,
                entry.receives,
                entry.receives_here,
                entry.first_receive_ms,
                entry.last_receive_ms,
                entry.receipt,
                entry.dedup.as_deref(),
                entry.source.as_deref(),
                entry.attempt.as_deref(),
            ],
        )
    }

    fn run(&mut self, statement: &str, values: impl rusqlite::Params) -> rusqlite::Result<()> {
        self.db.prepare_cached(statement)?.execute(values).map(|_| ())
    }

    /// Writes the content of a new message into the open transaction.
    pub(super) fn put_content(&mut self, seq: Seq, content: &Content) -> Result<(), SqsError> {
        let mut put = || -> Result<(), Box<dyn std::error::Error>> {
            self.begin()?;
            let attributes = if content.attributes.is_empty() { None } else { Some(serde_json::to_string(&content.attributes)?) };
            let mut statement = self.db.prepare_cached("INSERT INTO contents VALUES (?1, ?2, ?3, ?4)")?;
            statement.execute(params![seq, content.body, attributes, content.trace])?;
            Ok(())
        };
        put().map_err(|e| failed("Cannot write a message", &e))
    }

    pub(super) fn content(&self, seq: Seq) -> Result<Content, SqsError> {
        let get = || -> Result<Content, Box<dyn std::error::Error>> {
            let mut statement = self.db.prepare_cached("SELECT body, attributes, trace FROM contents WHERE seq = ?1")?;
            let row = statement.query_row([seq], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
            let (body, attributes, trace): (String, Option<String>, Option<String>) =
                row.ok_or_else(|| format!("message {seq} has no content"))?;
            let attributes = attributes.map_or(Ok(BTreeMap::new()), |text| serde_json::from_str(&text))?;
            Ok(Content { body, attributes, trace })
        };
        get().map_err(|e| failed("Cannot read a message", &e))
    }

    /// Bounds the file, as a full disk would; 0 lifts the bound.
    #[cfg(test)]
    pub(super) fn fill_disk(&self, pages: i64) {
        let pages = if pages == 0 { i64::from(u32::MAX) } else { pages };
        self.db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
    }

    fn begin(&mut self) -> rusqlite::Result<()> {
        if !self.begun {
            self.db.execute_batch("BEGIN IMMEDIATE")?;
            self.begun = true;
        }
        Ok(())
    }

    /// Makes everything since the last commit durable.
    pub(super) fn commit(&mut self) -> Result<(), SqsError> {
        if self.begun {
            self.db.execute_batch("COMMIT").map_err(|e| failed("Cannot commit to the queues", &e))?;
            self.begun = false;
        }
        Ok(())
    }

    /// Drops everything since the last commit.
    pub(super) fn rollback(&mut self) {
        // SQLite may have rolled back by itself (a full disk): then this is an error without effect.
        if std::mem::take(&mut self.begun)
            && let Err(error) = self.db.execute_batch("ROLLBACK")
        {
            tracing::debug!(%error, "sqs: the transaction was rolled back already");
        }
    }
}

fn failed(what: &str, cause: &dyn std::fmt::Display) -> SqsError {
    SqsError::internal(what, cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqs::{moves::NewMove, queue::Ask};

    fn count(store: &Store, table: &str) -> i64 {
        store.db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn what_is_over_leaves_no_row() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let mut account = store.load(0, Limits::default()).unwrap();
        let asked = [("FifoQueue", "true"), ("ContentBasedDeduplication", "true")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        account.create(0, "dead.fifo", &asked.clone().into(), BTreeMap::new()).unwrap();
        let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:x:0:dead.fifo","maxReceiveCount":1}"#;
        let source = asked.into_iter().chain([("RedrivePolicy".to_owned(), policy.to_owned())]).collect();
        account.create(0, "q.fifo", &source, BTreeMap::new()).unwrap();
        let envelope = crate::sqs::account::Envelope { id: Uuid::new_v4(), group: Some(Arc::from("g")), dedup: None, delay_ms: None };
        account.send(0, "q.fifo", envelope, "body").unwrap();
        for number in 0..12 {
            let (id, source) = (number.to_string(), "dead.fifo".to_owned());
            account.start_move(0, NewMove { id, source, destination: None, rate: None }).unwrap();
            account.run_moves(0);
        }
        store.apply(&account.take_changes()).unwrap();
        assert_eq!(["messages", "remembered", "moves", "queues"].map(|table| count(&store, table)), [1, 1, 10, 2]);
        account.receive(300_000, "q.fifo", &Ask { max: 1, ..Ask::default() }).unwrap();
        store.apply(&account.take_changes()).unwrap();
        assert_eq!(count(&store, "remembered"), 0, "five minutes are over");
        account.drop_queue("q.fifo").unwrap();
        account.drop_queue("dead.fifo").unwrap();
        store.apply(&account.take_changes()).unwrap();
        assert_eq!(["messages", "contents", "moves", "queues"].map(|table| count(&store, table)), [0; 4]);
    }

    /// As the first version of the tables wrote it.
    #[test]
    fn what_the_first_version_stored_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let old = Connection::open(dir.path().join("sqs.sqlite3")).unwrap();
        old.execute_batch(TABLES).unwrap();
        old.execute_batch("PRAGMA user_version = 1; INSERT INTO queues VALUES (3, 'q', '{\"VisibilityTimeout\":\"7\"}', 1, 2)").unwrap();
        let id = Uuid::new_v4();
        let message = "INSERT INTO messages VALUES (41, 3, ?1, 'g', 5, 5, 0, 0, NULL, 0, 0)";
        old.execute(message, [id.as_bytes()]).unwrap();
        old.execute("INSERT INTO contents VALUES (41, 'body', NULL, NULL)", []).unwrap();
        drop(old);

        let store = Store::open(dir.path()).unwrap();
        let mut account = store.load(10, Limits::default()).unwrap();
        let got = account.receive(10, "q", &Ask { max: 10, ..Ask::default() }).unwrap();
        assert_eq!((got.len(), got[0].entry.id, got[0].entry.visible_ms), (1, id, 7_010));
        assert_eq!(store.content(41).unwrap().body, "body");
        assert!(account.next_seq() > 41);
        drop(store);
        let again = Store::open(dir.path()).unwrap().load(10, Limits::default()).unwrap();
        assert!(again.next_seq() >= NUMBERS_OF_A_RUN, "each run has numbers of its own");
    }
}
