//! What a bucket is set to beyond its name: one row of JSON for each kind.

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    S3Error, cors,
    db::Change,
    lifecycle,
    notice::{self, Rule},
    store::{check_bucket, json_column, to_json},
};

/// What a setting is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Notifications,
    Lifecycle,
    Cors,
    Tags,
    Policy,
    PublicAccessBlock,
}

impl Kind {
    fn column(self) -> &'static str {
        match self {
            Self::Notifications => "notifications",
            Self::Lifecycle => "lifecycle",
            Self::Cors => "cors",
            Self::Tags => "tags",
            Self::Policy => "policy",
            Self::PublicAccessBlock => "public-access-block",
        }
    }
}

/// The setting, if the bucket has it; a bucket that is not there has none.
pub fn find<T: DeserializeOwned>(conn: &Connection, bucket: &str, kind: Kind) -> Result<Option<T>, S3Error> {
    let mut statement = conn.prepare_cached("SELECT value FROM settings WHERE bucket = ?1 AND kind = ?2")?;
    let mut rows = statement.query(params![bucket, kind.column()])?;
    rows.next()?.map(|row| json_column(row, 0)).transpose()
}

/// The setting of a bucket that must be there.
pub fn get<T: DeserializeOwned>(conn: &Connection, bucket: &str, kind: Kind) -> Result<Option<T>, S3Error> {
    check_bucket(conn, bucket)?;
    find(conn, bucket, kind)
}

/// Replaces the setting.
pub fn set(change: &Change<'_>, bucket: &str, kind: Kind, value: &impl Serialize) -> Result<(), S3Error> {
    check_bucket(change.conn, bucket)?;
    let mut statement = change.conn.prepare_cached("INSERT OR REPLACE INTO settings (bucket, kind, value) VALUES (?1, ?2, ?3)")?;
    statement.execute(params![bucket, kind.column(), to_json(value)?])?;
    Ok(())
}

/// Removes the setting; one that is not there is removed already.
pub fn remove(change: &Change<'_>, bucket: &str, kind: Kind) -> Result<(), S3Error> {
    check_bucket(change.conn, bucket)?;
    change.conn.execute("DELETE FROM settings WHERE bucket = ?1 AND kind = ?2", params![bucket, kind.column()])?;
    Ok(())
}

/// Replaces a list; an empty one is as good as none.
pub fn set_or_remove<T: Serialize>(change: &Change<'_>, bucket: &str, kind: Kind, list: &[T]) -> Result<(), S3Error> {
    if list.is_empty() { remove(change, bucket, kind) } else { set(change, bucket, kind, &list) }
}

/// Removes all settings of a bucket that goes.
pub fn remove_all(change: &Change<'_>, bucket: &str) -> Result<(), S3Error> {
    change.conn.execute("DELETE FROM settings WHERE bucket = ?1", params![bucket])?;
    Ok(())
}

/// The bucket's notifications.
pub fn rules(conn: &Connection, bucket: &str) -> Result<Vec<Rule>, S3Error> {
    Ok(find(conn, bucket, Kind::Notifications)?.unwrap_or_default())
}

/// Replaces the bucket's notifications and writes the test event that AWS sends to every queue of them.
pub fn set_rules(change: &mut Change<'_>, bucket: &str, rules: &[Rule], now_ms: i64) -> Result<(), S3Error> {
    set(change, bucket, Kind::Notifications, &rules)?;
    let mut queues: Vec<&str> = rules.iter().map(|rule| rule.target_arn.as_str()).filter(|arn| notice::is_queue(arn)).collect();
    queues.sort_unstable();
    queues.dedup();
    for queue in queues {
        let serial = change.next_serial()?;
        notice::write(change, queue, &notice::test_body(bucket, serial, now_ms))?;
    }
    Ok(())
}

/// The bucket's lifecycle rules.
pub fn lifecycle(conn: &Connection, bucket: &str) -> Result<Vec<lifecycle::Rule>, S3Error> {
    Ok(find(conn, bucket, Kind::Lifecycle)?.unwrap_or_default())
}

/// The bucket's CORS rules; nothing if it is not set up for CORS.
pub fn cors(conn: &Connection, bucket: &str) -> Result<Option<Vec<cors::Rule>>, S3Error> {
    get(conn, bucket, Kind::Cors)
}

/// Buckets that have this setting, by name.
pub fn buckets_with(conn: &Connection, kind: Kind) -> Result<Vec<String>, S3Error> {
    let mut statement = conn.prepare_cached("SELECT bucket FROM settings WHERE kind = ?1 ORDER BY bucket")?;
    let rows = statement.query_map(params![kind.column()], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whether the setting is this one already.
pub fn is(conn: &Connection, bucket: &str, kind: Kind, value: &impl Serialize) -> Result<bool, S3Error> {
    let mut statement = conn.prepare_cached("SELECT value FROM settings WHERE bucket = ?1 AND kind = ?2")?;
    let stored: Option<String> = statement.query_row(params![bucket, kind.column()], |row| row.get(0)).optional()?;
    Ok(stored.is_some_and(|stored| to_json(value).is_ok_and(|value| value == stored)))
}
