//! The tables of the metadata, and how data of an earlier version becomes data of this one.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::S3Error;

/// Version of [`TABLES`], kept in `PRAGMA user_version`. Files from before there were versions have 0.
pub const VERSION: i64 = 1;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS serial (id INTEGER PRIMARY KEY CHECK (id = 0), value INTEGER NOT NULL);
INSERT OR IGNORE INTO serial (id, value) VALUES (0, 0);
CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, created_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settings (
    bucket TEXT NOT NULL, kind TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (bucket, kind)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL, key BLOB NOT NULL, owner INTEGER NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
    modified_ms INTEGER NOT NULL, sum TEXT NOT NULL, parts TEXT NOT NULL, upload TEXT, attributes TEXT NOT NULL,
    PRIMARY KEY (bucket, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS extents (
    owner INTEGER NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL, blob INTEGER NOT NULL,
    blob_offset INTEGER NOT NULL, PRIMARY KEY (owner, start)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS extents_by_blob ON extents (blob);
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, bucket TEXT NOT NULL, key BLOB NOT NULL, created_ms INTEGER NOT NULL,
    sum_rule TEXT NOT NULL, attributes TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS uploads_by_key ON uploads (bucket, key, id);
CREATE TABLE IF NOT EXISTS parts (
    upload TEXT NOT NULL, number INTEGER NOT NULL, owner INTEGER NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
    modified_ms INTEGER NOT NULL, sum TEXT NOT NULL, PRIMARY KEY (upload, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notices (
    id INTEGER PRIMARY KEY AUTOINCREMENT, target_arn TEXT NOT NULL, body TEXT NOT NULL);
";

/// How much there is, kept by triggers: counting 100,000 rows for every look would take longer than the look.
const TOTALS: &str = "
CREATE TABLE totals (id INTEGER PRIMARY KEY CHECK (id = 0), objects INTEGER NOT NULL, bytes INTEGER NOT NULL,
    uploads INTEGER NOT NULL, upload_bytes INTEGER NOT NULL);
INSERT INTO totals SELECT 0, (SELECT count(*) FROM objects), (SELECT coalesce(sum(size), 0) FROM objects),
    (SELECT count(*) FROM uploads), (SELECT coalesce(sum(size), 0) FROM parts);
CREATE TRIGGER object_made AFTER INSERT ON objects BEGIN
    UPDATE totals SET objects = objects + 1, bytes = bytes + new.size; END;
CREATE TRIGGER object_gone AFTER DELETE ON objects BEGIN
    UPDATE totals SET objects = objects - 1, bytes = bytes - old.size; END;
CREATE TRIGGER object_replaced AFTER UPDATE OF size ON objects BEGIN
    UPDATE totals SET bytes = bytes + new.size - old.size; END;
CREATE TRIGGER upload_made AFTER INSERT ON uploads BEGIN UPDATE totals SET uploads = uploads + 1; END;
CREATE TRIGGER upload_gone AFTER DELETE ON uploads BEGIN UPDATE totals SET uploads = uploads - 1; END;
CREATE TRIGGER part_made AFTER INSERT ON parts BEGIN UPDATE totals SET upload_bytes = upload_bytes + new.size; END;
CREATE TRIGGER part_gone AFTER DELETE ON parts BEGIN UPDATE totals SET upload_bytes = upload_bytes - old.size; END;
CREATE TRIGGER part_replaced AFTER UPDATE OF size ON parts BEGIN
    UPDATE totals SET upload_bytes = upload_bytes + new.size - old.size; END;
";

/// Makes the tables, or brings those of an earlier version up to date; all of it or nothing. Data of a newer program is
/// refused untouched.
pub fn prepare(conn: &mut Connection, path: &Path) -> Result<(), S3Error> {
    let found: i64 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > VERSION {
        return Err(S3Error::Newer { path: path.into(), found, known: VERSION });
    }
    conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")?;
    if found == VERSION {
        return Ok(());
    }
    let change = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let unversioned = has_column(&change, "buckets", "notifications")?;
    if has_column(&change, "notices", "queue_arn")? {
        change.execute_batch("ALTER TABLE notices RENAME COLUMN queue_arn TO target_arn;")?;
    }
    change.execute_batch(TABLES)?;
    if unversioned {
        // A quote inside a JSON string is written \", so this meets names of fields only.
        change.execute_batch(
            r#"INSERT INTO settings (bucket, kind, value)
                   SELECT name, 'notifications', replace(notifications, '"queue_arn":', '"target_arn":') FROM buckets;
               ALTER TABLE buckets DROP COLUMN notifications;"#,
        )?;
    }
    change.execute_batch(TOTALS)?;
    change.pragma_update(None, "user_version", VERSION)?;
    change.commit()?;
    Ok(())
}

fn has_column(conn: &Connection, table: &str, column: &str) -> Result<bool, S3Error> {
    let query = "SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2";
    Ok(conn.query_row(query, params![table, column], |_| Ok(())).optional()?.is_some())
}

#[cfg(test)]
mod tests {
    use super::{
        super::{S3, settings, store},
        *,
    };

    /// What the first program wrote: notifications in the bucket's row, the target called `queue_arn`, no version.
    const FIRST: &str = r#"
        CREATE TABLE serial (id INTEGER PRIMARY KEY CHECK (id = 0), value INTEGER NOT NULL);
        INSERT INTO serial VALUES (0, 7);
        CREATE TABLE buckets (
            name TEXT PRIMARY KEY, created_ms INTEGER NOT NULL, notifications TEXT NOT NULL) WITHOUT ROWID;
        INSERT INTO buckets VALUES ('films', 5,
            '[{"events":["s3:ObjectCreated:*"],"prefix":"\"queue_arn\":","suffix":"","queue_arn":"arn:aws:sqs:r:a:q"}]');
        CREATE TABLE objects (
            bucket TEXT NOT NULL, key BLOB NOT NULL, owner INTEGER NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
            modified_ms INTEGER NOT NULL, sum TEXT NOT NULL, parts TEXT NOT NULL, upload TEXT, attributes TEXT NOT NULL,
            PRIMARY KEY (bucket, key)) WITHOUT ROWID;
        INSERT INTO objects VALUES ('films', x'61', 7, 12, 'e', 5,
            '{"algorithm":"Crc32","value":"AAAAAA==","whole":true}', '[5,7]', NULL, '{}');
        CREATE TABLE notices (id INTEGER PRIMARY KEY AUTOINCREMENT, queue_arn TEXT NOT NULL, body TEXT NOT NULL);
        INSERT INTO notices VALUES (3, 'arn:aws:sqs:r:a:q', '{}');
    "#;

    #[tokio::test]
    async fn data_of_the_first_program_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s3.sqlite");
        Connection::open(&path).unwrap().execute_batch(FIRST).unwrap();
        for _ in 0..2 {
            let s3 = S3::open(dir.path()).unwrap();
            let notices = s3.due_notices(9).await.unwrap();
            assert_eq!((notices[0].id, notices[0].target_arn.as_str()), (3, "arn:aws:sqs:r:a:q"));
            let place = store::Place { bucket: "films".into(), key: "a".into() };
            let read = move |conn: &Connection| Ok((store::get(conn, &place)?, settings::rules(conn, "films")?));
            let (object, rules) = s3.db.read(read).await.unwrap();
            assert_eq!(object.parts.iter().map(|part| part.size).collect::<Vec<_>>(), [5, 7]);
            assert_eq!((rules[0].prefix.as_str(), rules[0].target_arn.as_str()), ("\"queue_arn\":", "arn:aws:sqs:r:a:q"));
            let usage = s3.usage().await;
            assert_eq!((usage.objects, usage.bytes), (1, 12));
        }
    }

    #[test]
    fn data_of_a_newer_program_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s3.sqlite");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE later (x); PRAGMA user_version = 2;").unwrap();
        let before = std::fs::read(&path).unwrap();
        let error = S3::open(dir.path()).err().unwrap().to_string();
        assert!(error.contains("schema version 2") && error.contains("knows 1"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}
