//! Every line of some groups, the newest first, one at a time: for questions that look at all of them.

use std::collections::{HashMap, hash_map::Entry};

use rusqlite::params;

use super::{
    error::LogsError,
    store::{Store, group_id, signed},
};

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
            let message = row.get_ref(5)?.as_str().map_err(|error| LogsError::internal(error.to_string()))?;
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
