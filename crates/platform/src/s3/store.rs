//! What the store knows of buckets and objects: rows, no bytes, no clock.
//!
//! Every function here runs inside one change or one read of the database ([`super::db`]).

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Refusal, S3Error, Usage,
    blobs::Extent,
    checksum::Sum,
    db::Change,
    notice::{self, Happening, Notice},
    range::{DeleteConditions, Span, WriteConditions},
    settings,
};

/// What a client said of an object besides its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attributes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// Milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<String>,
    /// `x-amz-meta-…`, without that prefix.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<(String, String)>,
}

/// An object's row.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Names its extents, and this writing of it.
    pub owner: u64,
    /// Bytes.
    pub size: u64,
    /// Without quotes.
    pub etag: String,
    pub modified_ms: i64,
    pub sum: Sum,
    /// Its parts, in order; empty unless it came by a multipart upload.
    pub parts: Vec<Piece>,
    /// The multipart upload it came by.
    pub upload: Option<String>,
    pub attributes: Attributes,
}

/// Where an object is: bucket and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub bucket: String,
    pub key: String,
}

/// What goes into an object's row; [`put`] adds the rest.
#[derive(Clone, Debug)]
pub struct NewObject {
    pub size: u64,
    pub etag: String,
    pub sum: Sum,
    pub parts: Vec<Piece>,
    pub upload: Option<String>,
    pub attributes: Attributes,
}

/// What is remembered of a part once its upload is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredPiece", into = "StoredPiece")]
pub struct Piece {
    /// Bytes.
    pub size: u64,
    /// Its checksum in Base64, by the object's algorithm; none where an earlier version did not write it down.
    pub sum: Option<String>,
}

/// A [`Piece`] in its row: `5` or `[5,"sum"]`.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoredPiece {
    Size(u64),
    Summed(u64, String),
}

impl From<StoredPiece> for Piece {
    fn from(of: StoredPiece) -> Self {
        match of {
            StoredPiece::Size(size) => Self { size, sum: None },
            StoredPiece::Summed(size, sum) => Self { size, sum: Some(sum) },
        }
    }
}

impl From<Piece> for StoredPiece {
    fn from(of: Piece) -> Self {
        match of.sum {
            None => Self::Size(of.size),
            Some(sum) => Self::Summed(of.size, sum),
        }
    }
}

/// Makes the bucket if it is not there.
pub fn create_bucket(change: &Change<'_>, name: &str, now_ms: i64) -> Result<(), S3Error> {
    change.conn.execute("INSERT OR IGNORE INTO buckets (name, created_ms) VALUES (?1, ?2)", params![name, now_ms])?;
    Ok(())
}

/// Refuses if there is no such bucket.
pub fn check_bucket(conn: &Connection, name: &str) -> Result<(), S3Error> {
    let mut statement = conn.prepare_cached("SELECT 1 FROM buckets WHERE name = ?1")?;
    let found = statement.query_row(params![name], |_| Ok(())).optional()?;
    found.ok_or_else(|| Refusal::NoSuchBucket(name.into()).into())
}

/// Names and times of making, in milliseconds, by name.
pub fn buckets(conn: &Connection) -> Result<Vec<(String, i64)>, S3Error> {
    let mut statement = conn.prepare_cached("SELECT name, created_ms FROM buckets ORDER BY name")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Removes an empty bucket and the uploads that were never completed in it.
pub fn delete_bucket(change: &mut Change<'_>, name: &str) -> Result<(), S3Error> {
    check_bucket(change.conn, name)?;
    let mut statement = change.conn.prepare_cached("SELECT 1 FROM objects WHERE bucket = ?1 LIMIT 1")?;
    if statement.query_row(params![name], |_| Ok(())).optional()?.is_some() {
        return Err(Refusal::BucketNotEmpty(name.into()).into());
    }
    let uploads: Vec<String> = {
        let mut statement = change.conn.prepare_cached("SELECT id FROM uploads WHERE bucket = ?1")?;
        statement.query_map(params![name], |row| row.get(0))?.collect::<Result<_, _>>()?
    };
    for upload in uploads {
        super::uploads::remove(change, &upload)?;
    }
    settings::remove_all(change, name)?;
    change.conn.execute("DELETE FROM buckets WHERE name = ?1", params![name])?;
    Ok(())
}

/// The object at a place.
pub fn get(conn: &Connection, place: &Place) -> Result<Object, S3Error> {
    if let Some(object) = find(conn, place)? {
        return Ok(object);
    }
    check_bucket(conn, &place.bucket)?;
    Err(Refusal::NoSuchKey.into())
}

/// The object at a place, if there is one.
pub fn find(conn: &Connection, place: &Place) -> Result<Option<Object>, S3Error> {
    let mut statement = conn.prepare_cached(
        "SELECT owner, size, etag, modified_ms, sum, parts, upload, attributes FROM objects WHERE bucket = ?1 AND key = ?2",
    )?;
    let mut rows = statement.query(params![place.bucket, place.key.as_bytes()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Object {
        owner: row.get(0)?,
        size: row.get(1)?,
        etag: row.get(2)?,
        modified_ms: row.get(3)?,
        sum: json_column(row, 4)?,
        parts: json_column(row, 5)?,
        upload: row.get(6)?,
        attributes: json_column(row, 7)?,
    }))
}

/// The extents that hold `span` of what `owner` owns, in order.
pub fn extents(conn: &Connection, owner: u64, span: Span) -> Result<Vec<Extent>, S3Error> {
    let mut statement = conn.prepare_cached(
        "SELECT start, blob, blob_offset, length FROM extents
         WHERE owner = ?1 AND start < ?3
           AND start >= (SELECT coalesce(max(start), 0) FROM extents WHERE owner = ?1 AND start <= ?2)
         ORDER BY start",
    )?;
    let rows = statement.query_map(params![owner, span.start, span.end], |row| {
        Ok((row.get::<_, u64>(0)?, Extent { blob: row.get(1)?, offset: row.get(2)?, length: row.get(3)? }))
    })?;
    let mut found = Vec::new();
    for row in rows {
        let (start, extent) = row?;
        found.extend(span.cut(start, &extent));
    }
    Ok(found)
}

/// Writes `extents` one after another as what `owner` owns.
pub fn own(change: &Change<'_>, owner: u64, extents: &[Extent]) -> Result<(), S3Error> {
    let mut statement =
        change.conn.prepare_cached("INSERT INTO extents (owner, start, length, blob, blob_offset) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    let mut start = 0;
    for extent in extents.iter().filter(|extent| extent.length > 0) {
        statement.execute(params![owner, start, extent.length, extent.blob, extent.offset])?;
        start += extent.length;
    }
    Ok(())
}

/// Takes everything from `owner`; blobs that nothing else refers to go after the commit.
pub fn disown(change: &mut Change<'_>, owner: u64) -> Result<(), S3Error> {
    {
        let mut statement = change.conn.prepare_cached("SELECT DISTINCT blob FROM extents WHERE owner = ?1")?;
        for blob in statement.query_map(params![owner], |row| row.get::<_, u64>(0))? {
            change.freed.push(blob?);
        }
    }
    change.conn.prepare_cached("DELETE FROM extents WHERE owner = ?1")?.execute(params![owner])?;
    Ok(())
}

/// Puts an object at a place, over what is there, and writes the notices that are due. `event` is `Put`, `Post`, `Copy`
/// or `CompleteMultipartUpload`. Returns its row; the extents of `owner`, a fresh serial, are the caller's to write.
pub fn put(
    change: &mut Change<'_>,
    place: &Place,
    new: NewObject,
    conditions: &WriteConditions,
    (event, now_ms): (&str, i64),
) -> Result<Object, S3Error> {
    check_bucket(change.conn, &place.bucket)?;
    let before = find(change.conn, place)?;
    conditions.check(before.as_ref().map(|object| object.etag.as_str()))?;
    if let Some(before) = before {
        disown(change, before.owner)?;
    }
    let owner = change.next_serial()?;
    let NewObject { size, etag, sum, parts, upload, attributes } = new;
    let object = Object { owner, size, etag, modified_ms: now_ms, sum, parts, upload, attributes };
    let mut statement = change.conn.prepare_cached(
        "INSERT INTO objects (bucket, key, owner, size, etag, modified_ms, sum, parts, upload, attributes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (bucket, key) DO UPDATE SET owner = ?3, size = ?4, etag = ?5, modified_ms = ?6, sum = ?7, parts = ?8,
             upload = ?9, attributes = ?10",
    )?;
    statement.execute(params![
        place.bucket,
        place.key.as_bytes(),
        owner,
        object.size,
        object.etag,
        now_ms,
        to_json(&object.sum)?,
        to_json(&object.parts)?,
        object.upload,
        to_json(&object.attributes)?,
    ])?;
    let happening = Happening {
        event: &format!("ObjectCreated:{event}"),
        bucket: &place.bucket,
        key: &place.key,
        object: Some((object.size, &object.etag)),
        serial: owner,
        now_ms,
    };
    notice::tell(change, &happening)?;
    Ok(object)
}

/// Removes an object. One that is not there is removed already, but its bucket must be.
pub fn delete(change: &mut Change<'_>, place: &Place, conditions: &DeleteConditions, now_ms: i64) -> Result<(), S3Error> {
    check_bucket(change.conn, &place.bucket)?;
    let before = find(change.conn, place)?;
    conditions.check(before.as_ref())?;
    let Some(before) = before else { return Ok(()) };
    remove(change, place, before.owner, ("ObjectRemoved:Delete", now_ms))
}

/// Removes an object that is there, and writes the notices of `event` that are due.
pub fn remove(change: &mut Change<'_>, place: &Place, owner: u64, (event, now_ms): (&str, i64)) -> Result<(), S3Error> {
    disown(change, owner)?;
    let mut statement = change.conn.prepare_cached("DELETE FROM objects WHERE bucket = ?1 AND key = ?2")?;
    statement.execute(params![place.bucket, place.key.as_bytes()])?;
    let serial = change.next_serial()?;
    let happening = Happening { event, bucket: &place.bucket, key: &place.key, object: None, serial, now_ms };
    notice::tell(change, &happening)
}

/// Replaces an object's tags.
pub fn set_tags(change: &mut Change<'_>, place: &Place, tags: Vec<(String, String)>, now_ms: i64) -> Result<(), S3Error> {
    let Object { etag, size, mut attributes, .. } = get(change.conn, place)?;
    let event = if tags.is_empty() { "ObjectTagging:Delete" } else { "ObjectTagging:Put" };
    attributes.tags = tags;
    let mut statement = change.conn.prepare_cached("UPDATE objects SET attributes = ?3 WHERE bucket = ?1 AND key = ?2")?;
    statement.execute(params![place.bucket, place.key.as_bytes(), to_json(&attributes)?])?;
    let serial = change.next_serial()?;
    let object = Some((size, etag.as_str()));
    notice::tell(change, &Happening { event, bucket: &place.bucket, key: &place.key, object, serial, now_ms })
}

/// Notices that are due, oldest first.
pub fn notices(conn: &Connection, limit: usize, for_functions: bool) -> Result<Vec<Notice>, S3Error> {
    let mut statement = conn.prepare_cached(
        "SELECT id, target_arn, body FROM notices WHERE ?2 OR target_arn NOT LIKE 'arn:aws:lambda:%' ORDER BY id LIMIT ?1",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement
        .query_map(params![limit, for_functions], |row| Ok(Notice { id: row.get(0)?, target_arn: row.get(1)?, body: row.get(2)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Removes notices that were sent.
pub fn remove_notices(change: &Change<'_>, ids: &[i64]) -> Result<(), S3Error> {
    let mut statement = change.conn.prepare_cached("DELETE FROM notices WHERE id = ?1")?;
    for id in ids {
        statement.execute(params![id])?;
    }
    Ok(())
}

/// How much there is, but for the bytes on disk.
pub fn usage(conn: &Connection) -> Result<Usage, S3Error> {
    let mut statement = conn.prepare_cached("SELECT objects, bytes, uploads, upload_bytes FROM totals")?;
    let read = |row: &Row<'_>| {
        Ok(Usage { objects: row.get(0)?, bytes: row.get(1)?, uploads: row.get(2)?, upload_bytes: row.get(3)?, disk_bytes: 0 })
    };
    Ok(statement.query_row([], read)?)
}

pub fn to_json(value: &impl Serialize) -> Result<String, S3Error> {
    serde_json::to_string(value).map_err(|error| S3Error::Record(error.to_string()))
}

pub fn json_column<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T, S3Error> {
    let text = row.get_ref(column)?.as_str().map_err(|error| S3Error::Record(error.to_string()))?;
    serde_json::from_str(text).map_err(|error| S3Error::Record(error.to_string()))
}

/// A key as it comes out of its column.
pub fn key_column(row: &Row<'_>, column: usize) -> Result<String, S3Error> {
    String::from_utf8(row.get(column)?).map_err(|error| S3Error::Record(error.to_string()))
}
