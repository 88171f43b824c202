//! Carries lifecycle rules out: removes objects and uploads that have had their time, a few at a time.

use std::{sync::Arc, time::Duration};

use rusqlite::{Connection, params};

use super::{
    S3, S3Error,
    lifecycle::{self, Subject},
    now_ms,
    settings::{self, Kind},
    store::{self, Attributes, Object, Place, json_column, key_column},
    uploads,
};

/// Rows that one look reads: readers and writers come in between.
const LOOK: usize = 1000;
/// Objects and uploads that one change removes.
const BATCH: usize = 100;
/// The longest sleep: clocks are set, machines sleep.
const LONGEST_SLEEP: Duration = Duration::from_hours(1);
/// Wait after an error.
const PAUSE: Duration = Duration::from_mins(1);

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub objects: usize,
    pub uploads: usize,
}

/// Where the next look begins; none: this was the last.
type Next<C> = Option<C>;

/// The key and id of an upload.
type UploadName = (Vec<u8>, String);

/// The key, and the writing of it, of an object whose time has come.
type Due = (String, u64);

impl S3 {
    /// Removes what the rules of all buckets end at or before `now_ms`, and tells of it (`s3:LifecycleExpiration:Delete`).
    pub async fn sweep(&self, now_ms: i64) -> Result<Swept, S3Error> {
        let mut swept = Swept::default();
        for bucket in self.db.read(|conn| settings::buckets_with(conn, Kind::Lifecycle)).await? {
            swept.objects += self.sweep_objects(&bucket, now_ms).await?;
            swept.uploads += self.sweep_uploads(&bucket, now_ms).await?;
        }
        Ok(swept)
    }

    /// Sweeps at the start, after every midnight UTC, and when rules change. Runs until dropped.
    pub async fn run_lifecycle(self: Arc<Self>) {
        loop {
            let now = now_ms();
            let mut sleep = Duration::from_millis((lifecycle::next_midnight(now) - now).unsigned_abs());
            match self.sweep(now).await {
                Ok(swept) if swept == Swept::default() => {}
                Ok(swept) => tracing::info!(swept.objects, swept.uploads, "lifecycle rules removed objects and unfinished uploads"),
                Err(error) => {
                    tracing::warn!(%error, "lifecycle rules wait");
                    sleep = PAUSE;
                }
            }
            // A change of rules ends the sleep early; either way it is time for the next look.
            let _ = tokio::time::timeout(sleep.min(LONGEST_SLEEP), self.rules_changed.notified()).await;
        }
    }

    async fn sweep_objects(&self, bucket: &str, now_ms: i64) -> Result<usize, S3Error> {
        let mut from = Some(Vec::new());
        let mut removed = 0;
        while let Some(start) = from {
            let asked = bucket.to_owned();
            let (due, next) = self.db.read(move |conn| due_objects(conn, &asked, &start, now_ms)).await?;
            from = next;
            for batch in due.chunks(BATCH) {
                let (bucket, batch) = (bucket.to_owned(), batch.to_vec());
                removed += self.db.write(move |change| remove_objects(change, &bucket, batch, now_ms)).await?;
            }
        }
        Ok(removed)
    }

    async fn sweep_uploads(&self, bucket: &str, now_ms: i64) -> Result<usize, S3Error> {
        let mut from = Some((Vec::new(), String::new()));
        let mut removed = 0;
        while let Some((key, id)) = from {
            let asked = bucket.to_owned();
            let (due, next) = self.db.read(move |conn| due_uploads(conn, &asked, (&key, &id), now_ms)).await?;
            from = next;
            for id in due {
                // One after another: each may have ten thousand parts.
                removed += self.db.write(move |change| uploads::expire(change, &id)).await?;
            }
        }
        Ok(removed)
    }
}

/// Keys and owners of objects whose time has come, and where the next look begins.
fn due_objects(conn: &Connection, bucket: &str, from: &[u8], now_ms: i64) -> Result<(Vec<Due>, Next<Vec<u8>>), S3Error> {
    let rules = settings::lifecycle(conn, bucket)?;
    let mut statement = conn.prepare_cached(
        "SELECT key, owner, size, modified_ms, attributes FROM objects WHERE bucket = ?1 AND key >= ?2 ORDER BY key LIMIT ?3",
    )?;
    let limit = i64::try_from(LOOK).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![bucket, from, limit])?;
    let (mut due, mut seen, mut next) = (Vec::new(), 0, Vec::new());
    while let Some(row) = rows.next()? {
        let key = key_column(row, 0)?;
        let attributes: Attributes = json_column(row, 4)?;
        let subject = Subject { key: &key, size: row.get(2)?, modified_ms: row.get(3)?, tags: &attributes.tags };
        seen += 1;
        next = super::listing::past_key(&key);
        if lifecycle::first_end(&rules, &subject).is_some_and(|(_, end)| end <= now_ms) {
            due.push((key, row.get(1)?));
        }
    }
    Ok((due, (seen == LOOK).then_some(next)))
}

/// Removes those that are still what they were; how many.
fn remove_objects(change: &mut super::db::Change<'_>, bucket: &str, due: Vec<Due>, now_ms: i64) -> Result<usize, S3Error> {
    let rules = settings::lifecycle(change.conn, bucket)?;
    let mut removed = 0;
    for (key, owner) in due {
        let place = Place { bucket: bucket.into(), key };
        let object: Option<Object> = store::find(change.conn, &place)?;
        // Replaced, tagged or spared by new rules since the look: not now.
        let due = object.is_some_and(|object| {
            let end = lifecycle::first_end(&rules, &Subject::of(&place, &object));
            object.owner == owner && end.is_some_and(|(_, end)| end <= now_ms)
        });
        if due {
            store::remove(change, &place, owner, ("LifecycleExpiration:Delete", now_ms))?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Ids of uploads whose time has come, and behind which upload the next look begins.
fn due_uploads(conn: &Connection, bucket: &str, after: (&[u8], &str), now_ms: i64) -> Result<(Vec<String>, Next<UploadName>), S3Error> {
    let rules = settings::lifecycle(conn, bucket)?;
    let found = uploads::list(conn, bucket, "", after, LOOK)?;
    let next = found.last().filter(|_| found.len() == LOOK).map(|last| (last.place.key.as_bytes().to_vec(), last.id.clone()));
    let is_due = |upload: &uploads::Upload| {
        lifecycle::first_upload_end(&rules, &upload.place.key, upload.created_ms).is_some_and(|(_, end)| end <= now_ms)
    };
    Ok((found.into_iter().filter(is_due).map(|upload| upload.id).collect(), next))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            checksum::{Algorithm, Sum},
            range::WriteConditions,
            store::NewObject,
        },
        *,
    };

    #[tokio::test]
    async fn more_than_one_look_has_room_for() {
        let dir = tempfile::tempdir().unwrap();
        let s3 = S3::open(dir.path()).unwrap();
        let rule = crate::stack::LifecycleRule { prefix: "tmp/".into(), expire_days: Some(1), ..Default::default() };
        let bucket = crate::stack::Bucket { name: "b".into(), lifecycle: vec![rule], ..Default::default() };
        s3.ensure_bucket(&bucket).await.unwrap();
        let fill = |change: &mut super::super::db::Change<'_>| {
            for number in 0..2 * LOOK + 7 {
                let key = format!("{}/{number}", if number % 3 == 0 { "tmp" } else { "kept" });
                let sum = Sum { algorithm: Algorithm::Crc32, value: "AAAAAA==".into(), whole: true };
                let new = NewObject { size: 0, etag: "e".into(), sum, parts: Vec::new(), upload: None, attributes: Attributes::default() };
                store::put(change, &Place { bucket: "b".into(), key }, new, &WriteConditions::default(), ("Put", 0))?;
            }
            Ok(())
        };
        s3.db.write(fill).await.unwrap();
        let all = u64::try_from(2 * LOOK + 7).unwrap();
        assert_eq!(s3.sweep(lifecycle::DAY).await.unwrap().objects, 0);
        assert_eq!(s3.usage().await.objects, all);
        let due = usize::try_from(all.div_ceil(3)).unwrap();
        assert_eq!(s3.sweep(2 * lifecycle::DAY).await.unwrap().objects, due);
        assert_eq!(s3.usage().await.objects, all - all.div_ceil(3));
        assert_eq!(s3.sweep(9 * lifecycle::DAY).await.unwrap(), Swept::default());
    }
}
