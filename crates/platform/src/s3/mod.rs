//! S3: the `s3s` crate on the wire, a store of our own below it.
//!
//! Metadata lies in `SQLite`, bytes in files that no key can name, objects are lists of extents, so that completing a
//! multipart upload and copying move no bytes. A write is answered after its bytes, their names and the commit are
//! durable; a crash leaves at most files without a reference, which the next open removes.
//!
//! Deliberately absent: versions (every object is version `null`), ACLs, policies, encryption, lifecycle rules. What is
//! asked for and not here answers `NotImplemented`. A copy keeps its source's `ETag`, where AWS would compute the plain
//! MD5 of a source that was made of parts.

mod blobs;
mod checksum;
mod db;
mod error;
mod listing;
mod notice;
mod range;
mod store;
mod stream;
mod uploads;
mod wire;
mod wire_lists;
mod wire_objects;
mod wire_tags;
mod wire_uploads;

#[cfg(test)]
mod model_tests;

use std::{path::Path, sync::Arc};

use tokio::sync::Notify;

use self::{
    blobs::Blobs,
    db::Db,
    notice::Rule,
    store::{Attributes, NewObject, Object, Place},
    stream::Received,
};
pub use self::{
    error::{Refusal, S3Error},
    notice::Notice,
};
use crate::stack;

/// Bytes that one PUT or one part may have: AWS's 5 GiB.
const MAX_BODY: u64 = 5 * 1024 * 1024 * 1024;

/// One S3 store: a directory that no other process may use at the same time.
pub struct S3 {
    blobs: Arc<Blobs>,
    db: Arc<Db>,
    /// Somebody may have notices to send.
    due: Arc<Notify>,
}

/// How much a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub objects: u64,
    /// Bytes of all objects; copies count as often as they are there.
    pub bytes: u64,
}

impl S3 {
    /// Opens or makes the store in `dir` and clears up after a crash. Blocking, short.
    pub fn open(dir: &Path) -> Result<Arc<Self>, S3Error> {
        blobs::make_dir(dir)?;
        let blobs = Blobs::open(dir.join("blobs"))?;
        let due = Arc::new(Notify::new());
        // Some may be left from before.
        due.notify_one();
        let db = Arc::new(Db::open(&dir.join("s3.sqlite"), &blobs, due.clone())?);
        Ok(Arc::new(Self { blobs, db, due }))
    }

    /// Makes the bucket if it is not there, and replaces its notifications.
    pub async fn ensure_bucket(&self, bucket: &stack::Bucket) -> Result<(), S3Error> {
        let name = bucket.name.clone();
        let rules: Vec<Rule> = bucket.notifications.iter().map(Rule::from).collect();
        self.db
            .write(move |change| {
                store::create_bucket(change, &name, now_ms())?;
                store::set_rules(change, &name, &rules)
            })
            .await
    }

    /// The service that answers HTTP requests signed with this key.
    pub fn service(self: &Arc<Self>, access_key: &str, secret_key: &str) -> s3s::service::S3Service {
        wire::service(self.clone(), access_key, secret_key)
    }

    /// Notices that are due, oldest first. Each comes again until [`S3::notices_sent`] names it.
    pub async fn due_notices(&self, limit: usize) -> Result<Vec<Notice>, S3Error> {
        self.db.read(move |conn| store::notices(conn, limit, true)).await
    }

    /// As [`S3::due_notices`], without those for functions.
    pub async fn due_notices_for_queues(&self, limit: usize) -> Result<Vec<Notice>, S3Error> {
        self.db.read(move |conn| store::notices(conn, limit, false)).await
    }

    /// Removes notices that are safe at their queue.
    pub async fn notices_sent(&self, ids: &[i64]) -> Result<(), S3Error> {
        let ids = ids.to_vec();
        self.db.write(move |change| store::remove_notices(change, &ids)).await
    }

    /// Resolves when a notice may be due; at once after the store was opened. For one waiter.
    pub async fn notice_waits(&self) {
        self.due.notified().await;
    }

    /// How much is stored; zeros if the database cannot say.
    pub async fn usage(&self) -> Usage {
        let (objects, bytes) = self.db.read(store::usage).await.unwrap_or_default();
        Usage { objects, bytes }
    }

    /// Puts what was received at a place.
    async fn put(
        &self,
        place: Place,
        received: Received,
        sum: checksum::Sum,
        attributes: Attributes,
        conditions: range::WriteConditions,
    ) -> Result<Object, S3Error> {
        let etag = hex::encode(received.found.md5);
        self.db
            .write(move |change| {
                let new = NewObject { size: received.size, etag, sum, parts: Vec::new(), upload: None, attributes };
                let object = store::put(change, &place, new, &conditions, ("Put", now_ms()))?;
                store::own(change, object.owner, &received.extents())?;
                if let Some(blob) = received.blob {
                    blob.keep();
                }
                Ok(object)
            })
            .await
    }
}

/// Milliseconds since the epoch.
fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
