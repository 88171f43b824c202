//! Listing keys: in the order of their bytes, with a prefix, a delimiter and pages.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use super::{
    S3Error,
    checksum::Sum,
    store::{self, json_column, key_column},
};

/// What a listing asks for.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pub bucket: String,
    pub prefix: String,
    /// Empty: none.
    pub delimiter: String,
    /// The first key that may be listed, inclusive; bytes, for it need not be a key.
    pub from: Vec<u8>,
    /// Keys and common prefixes together.
    pub limit: usize,
}

/// An object as it is listed.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// Without quotes.
    pub etag: String,
    pub modified_ms: i64,
    pub sum: Sum,
}

/// One page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    pub objects: Vec<Listed>,
    pub prefixes: BTreeSet<String>,
    /// The last key or common prefix on this page, and where the next page begins; nothing if this is the last.
    pub next: Option<Next>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Next {
    pub last: String,
    pub from: Vec<u8>,
}

/// Where a listing that shall begin behind `marker` begins. A marker that is a common prefix skips all that it stands for.
pub fn behind(marker: &str, prefix: &str, delimiter: &str) -> Vec<u8> {
    match common_prefix(marker, prefix, delimiter) {
        Some(common) if common == marker => past_prefix(marker),
        _ => past_key(marker),
    }
}

/// The smallest bytes above `key`.
pub fn past_key(key: &str) -> Vec<u8> {
    let mut bytes = key.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// The smallest bytes above everything that begins with `prefix`. UTF-8 has no byte 0xff, so there always is one.
fn past_prefix(prefix: &str) -> Vec<u8> {
    let mut bytes = prefix.as_bytes().to_vec();
    if let Some(last) = bytes.last_mut() {
        *last += 1;
    }
    bytes
}

/// `key` up to and with the first delimiter behind the prefix.
fn common_prefix<'a>(key: &'a str, prefix: &str, delimiter: &str) -> Option<&'a str> {
    if delimiter.is_empty() {
        return None;
    }
    let rest = key.strip_prefix(prefix)?;
    let at = rest.find(delimiter)?;
    key.get(..prefix.len() + at + delimiter.len())
}

/// One page of a bucket. Steps over what a common prefix stands for without reading it.
pub fn list(conn: &Connection, query: &Query) -> Result<Page, S3Error> {
    store::check_bucket(conn, &query.bucket)?;
    let mut page = Page::default();
    let mut from = query.from.clone().max(query.prefix.as_bytes().to_vec());
    let mut last = None;
    let mut statement =
        conn.prepare_cached("SELECT key, size, etag, modified_ms, sum FROM objects WHERE bucket = ?1 AND key >= ?2 ORDER BY key")?;
    'seek: loop {
        let mut rows = statement.query(params![query.bucket, from])?;
        while let Some(row) = rows.next()? {
            let key = key_column(row, 0)?;
            if !key.starts_with(&query.prefix) {
                return Ok(page);
            }
            if page.objects.len() + page.prefixes.len() >= query.limit {
                page.next = last.map(|last| Next { last, from });
                return Ok(page);
            }
            if let Some(common) = common_prefix(&key, &query.prefix, &query.delimiter) {
                from = past_prefix(common);
                last = Some(common.to_owned());
                page.prefixes.insert(common.to_owned());
                continue 'seek;
            }
            from = past_key(&key);
            last = Some(key.clone());
            page.objects.push(Listed { key, size: row.get(1)?, etag: row.get(2)?, modified_ms: row.get(3)?, sum: json_column(row, 4)? });
        }
        return Ok(page);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers() {
        assert_eq!(behind("a/", "", "/"), b"a0");
        assert_eq!(behind("a/b", "", "/"), b"a/b\0");
        assert_eq!(behind("a/", "a/", "/"), b"a/\0");
        assert_eq!(common_prefix("x/a--b--c", "x/", "--"), Some("x/a--"));
        assert_eq!(common_prefix("x", "x/", "--"), None);
    }
}
