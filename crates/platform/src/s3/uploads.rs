//! Multipart uploads: parts are owners of extents, completing one moves them to the object.

use rusqlite::{Connection, params};

use super::{
    Refusal, S3Error,
    blobs::Extent,
    checksum::{Claims, Sum, SumRule, multipart_etag},
    db::Change,
    range::WriteConditions,
    store::{self, Attributes, NewObject, Object, Piece, Place, json_column, key_column, to_json},
};

/// S3's limits: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>.
pub const MAX_PART_NUMBER: i32 = 10_000;
/// Bytes; the last part may be smaller.
pub const MIN_PART_SIZE: u64 = 5 * 1024 * 1024;

/// A multipart upload that is neither completed nor aborted.
#[derive(Clone, Debug, PartialEq)]
pub struct Upload {
    pub id: String,
    pub place: Place,
    pub created_ms: i64,
    pub sum_rule: SumRule,
    pub attributes: Attributes,
}

/// A part that was uploaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// 1 to 10,000.
    pub number: i32,
    pub owner: u64,
    /// Bytes.
    pub size: u64,
    /// Hexadecimal MD5.
    pub etag: String,
    pub modified_ms: i64,
    pub sum: Sum,
}

/// A part as the client that completes the upload names it.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub number: i32,
    pub etag: Option<String>,
    pub sums: Claims,
}

/// The rest of a client's request to complete.
#[derive(Clone, Debug, Default)]
pub struct Completion {
    pub parts: Vec<Wanted>,
    pub sums: Claims,
    pub size: Option<u64>,
    /// Bytes that each part but the last must have: [`MIN_PART_SIZE`].
    pub smallest_part: u64,
    pub conditions: WriteConditions,
}

/// Begins an upload.
pub fn create(change: &Change<'_>, upload: &Upload) -> Result<(), S3Error> {
    store::check_bucket(change.conn, &upload.place.bucket)?;
    change.conn.execute(
        "INSERT INTO uploads (id, bucket, key, created_ms, sum_rule, attributes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            upload.id,
            upload.place.bucket,
            upload.place.key.as_bytes(),
            upload.created_ms,
            to_json(&upload.sum_rule)?,
            to_json(&upload.attributes)?,
        ],
    )?;
    Ok(())
}

/// The upload with this id, which must be one to this place.
pub fn get(conn: &Connection, id: &str, place: &Place) -> Result<Upload, S3Error> {
    let mut statement =
        conn.prepare_cached("SELECT created_ms, sum_rule, attributes FROM uploads WHERE id = ?1 AND bucket = ?2 AND key = ?3")?;
    let mut rows = statement.query(params![id, place.bucket, place.key.as_bytes()])?;
    let Some(row) = rows.next()? else {
        store::check_bucket(conn, &place.bucket)?;
        return Err(Refusal::NoSuchUpload.into());
    };
    Ok(Upload {
        id: id.into(),
        place: place.clone(),
        created_ms: row.get(0)?,
        sum_rule: json_column(row, 1)?,
        attributes: json_column(row, 2)?,
    })
}

/// Writes a part, over an earlier one with its number. Its `owner` is given here.
pub fn put_part(change: &mut Change<'_>, id: &str, place: &Place, part: &Part, extents: &[Extent]) -> Result<(), S3Error> {
    get(change.conn, id, place)?;
    let before: Option<u64> = {
        let mut statement = change.conn.prepare_cached("SELECT owner FROM parts WHERE upload = ?1 AND number = ?2")?;
        let mut rows = statement.query(params![id, part.number])?;
        rows.next()?.map(|row| row.get(0)).transpose()?
    };
    if let Some(before) = before {
        store::disown(change, before)?;
    }
    let owner = change.next_serial()?;
    store::own(change, owner, extents)?;
    let mut statement = change.conn.prepare_cached(
        "INSERT INTO parts (upload, number, owner, size, etag, modified_ms, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (upload, number) DO UPDATE SET owner = ?3, size = ?4, etag = ?5, modified_ms = ?6, sum = ?7",
    )?;
    let sum = to_json(&part.sum)?;
    statement.execute(params![id, part.number, owner, part.size, part.etag, part.modified_ms, sum])?;
    Ok(())
}

/// Up to `limit` parts whose numbers are above `after`, by number.
pub fn parts(conn: &Connection, id: &str, after: i32, limit: usize) -> Result<Vec<Part>, S3Error> {
    let mut statement = conn.prepare_cached(
        "SELECT number, owner, size, etag, modified_ms, sum FROM parts
         WHERE upload = ?1 AND number > ?2 ORDER BY number LIMIT ?3",
    )?;
    let mut rows = statement.query(params![id, after, i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Part {
            number: row.get(0)?,
            owner: row.get(1)?,
            size: row.get(2)?,
            etag: row.get(3)?,
            modified_ms: row.get(4)?,
            sum: json_column(row, 5)?,
        });
    }
    Ok(found)
}

/// Every open upload of a bucket whose key begins with `prefix` and that follows `after` (key, id), by key and id.
pub fn list(conn: &Connection, bucket: &str, prefix: &str, after: (&[u8], &str), limit: usize) -> Result<Vec<Upload>, S3Error> {
    store::check_bucket(conn, bucket)?;
    let mut statement = conn.prepare_cached(
        "SELECT id, key, created_ms, sum_rule, attributes FROM uploads
         WHERE bucket = ?1 AND key >= ?2 AND (key, id) > (?3, ?4) ORDER BY key, id LIMIT ?5",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![bucket, prefix.as_bytes(), after.0, after.1, limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let key = key_column(row, 1)?;
        if !key.starts_with(prefix) {
            break;
        }
        found.push(Upload {
            id: row.get(0)?,
            place: Place { bucket: bucket.into(), key },
            created_ms: row.get(2)?,
            sum_rule: json_column(row, 3)?,
            attributes: json_column(row, 4)?,
        });
    }
    Ok(found)
}

/// Gives an upload up.
pub fn abort(change: &mut Change<'_>, id: &str, place: &Place) -> Result<(), S3Error> {
    get(change.conn, id, place)?;
    remove(change, id)
}

/// Removes an upload with what its parts own.
pub fn remove(change: &mut Change<'_>, id: &str) -> Result<(), S3Error> {
    for part in parts(change.conn, id, 0, usize::MAX)? {
        store::disown(change, part.owner)?;
    }
    change.conn.prepare_cached("DELETE FROM parts WHERE upload = ?1")?.execute(params![id])?;
    change.conn.prepare_cached("DELETE FROM uploads WHERE id = ?1")?.execute(params![id])?;
    Ok(())
}

/// Removes an upload that has had its time; how many went, for it may be complete or aborted by now.
pub fn expire(change: &mut Change<'_>, id: &str) -> Result<usize, S3Error> {
    let there = change.conn.prepare_cached("SELECT 1 FROM uploads WHERE id = ?1")?.exists(params![id])?;
    if there {
        remove(change, id)?;
    }
    Ok(usize::from(there))
}

/// Makes the object out of the wanted parts. A client that asks again for what it completed gets the same answer.
pub fn complete(change: &mut Change<'_>, id: &str, place: &Place, completion: &Completion, now_ms: i64) -> Result<Object, S3Error> {
    let upload = match get(change.conn, id, place) {
        Err(S3Error::Refused(Refusal::NoSuchUpload)) => return completed_before(change.conn, id, place, completion),
        found => found?,
    };
    let chosen = choose(&parts(change.conn, id, 0, usize::MAX)?, completion, upload.sum_rule)?;
    let size = chosen.iter().map(|part| part.size).sum();
    if completion.size.is_some_and(|claimed| claimed != size) {
        let why = format!("the parts have {size} bytes together, not what x-amz-mp-object-size says");
        return Err(Refusal::InvalidRequest(why).into());
    }
    let sum = upload.sum_rule.of_parts(chosen.iter().map(|part| (&part.sum, part.size)))?;
    if let Some(claimed) = completion.sums.of(sum.algorithm)
        && claimed != sum.value
    {
        return Err(Refusal::BadDigest(format!("the parts' checksum is {}, you sent {claimed}", sum.value)).into());
    }
    let new = NewObject {
        size,
        etag: multipart_etag(chosen.iter().map(|part| part.etag.as_str()))?,
        sum,
        parts: chosen.iter().map(|part| Piece { size: part.size, sum: Some(part.sum.value.clone()) }).collect(),
        upload: Some(id.into()),
        attributes: upload.attributes,
    };
    let object = store::put(change, place, new, &completion.conditions, ("CompleteMultipartUpload", now_ms))?;
    hand_over(change, &chosen, object.owner)?;
    remove(change, id)?;
    Ok(object)
}

/// The same answer only for the same parts: another client's may have been in their places.
fn completed_before(conn: &Connection, id: &str, place: &Place, completion: &Completion) -> Result<Object, S3Error> {
    let etags: Option<Vec<&str>> = completion.parts.iter().map(|want| want.etag.as_deref()).collect();
    let named = etags.map(multipart_etag).transpose();
    let is_it = |object: &Object| named.as_ref().is_ok_and(|etag| etag.as_ref().is_none_or(|etag| *etag == object.etag));
    match store::get(conn, place) {
        Ok(object) if object.upload.as_deref() == Some(id) && is_it(&object) => Ok(object),
        _ => Err(Refusal::NoSuchUpload.into()),
    }
}

/// The parts that the client wants, checked against S3's rules.
fn choose(stored: &[Part], completion: &Completion, rule: SumRule) -> Result<Vec<Part>, S3Error> {
    let wanted = &completion.parts;
    if wanted.is_empty() {
        return Err(Refusal::InvalidRequest("name at least one part to complete the upload".into()).into());
    }
    if wanted.windows(2).any(|pair| pair[0].number >= pair[1].number) {
        return Err(Refusal::InvalidPartOrder.into());
    }
    let mut chosen = Vec::with_capacity(wanted.len());
    for (index, want) in wanted.iter().enumerate() {
        // S3 user guide, "Checking object integrity for data uploads": the sum of a composite is made of what the client names.
        if !rule.whole && want.sums.of(rule.algorithm).is_none() {
            let (name, number) = (rule.algorithm.name().to_lowercase(), want.number);
            let why = format!(
                "The upload was created using a {name} checksum. The complete request must include the checksum for each part. It was \
                 missing for part {number} in the request."
            );
            return Err(Refusal::InvalidRequest(why).into());
        }
        let part = stored
            .binary_search_by_key(&want.number, |part| part.number)
            .ok()
            .and_then(|at| stored.get(at))
            .filter(|part| want.etag.as_ref().is_none_or(|etag| *etag == part.etag))
            .filter(|part| want.sums.of(part.sum.algorithm).is_none_or(|sum| sum == part.sum.value))
            .ok_or(Refusal::InvalidPart(want.number))?;
        if part.size < completion.smallest_part && index + 1 < wanted.len() {
            return Err(Refusal::EntityTooSmall { part: want.number, size: part.size }.into());
        }
        chosen.push(part.clone());
    }
    Ok(chosen)
}

/// Moves what the parts own to the object, one part after another.
fn hand_over(change: &Change<'_>, parts: &[Part], owner: u64) -> Result<(), S3Error> {
    let mut statement = change.conn.prepare_cached("UPDATE extents SET owner = ?1, start = start + ?2 WHERE owner = ?3")?;
    let mut start = 0;
    for part in parts {
        statement.execute(params![owner, start, part.owner])?;
        start += part.size;
    }
    Ok(())
}
