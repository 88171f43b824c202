//! S3: the `s3s` crate on the wire, a store of our own below it.
//!
//! Metadata lies in `SQLite`, bytes in files that no key can name, objects are lists of extents, so that completing a
//! multipart upload and copying move no bytes. A write is answered after its bytes, their names and the commit are
//! durable; a crash leaves at most files without a reference, which the next open removes.
//!
//! Deliberately absent: versions (every object is version `null`), ACLs, encryption, storage classes; policies of
//! buckets are kept and not enforced. What is asked for and not here answers `NotImplemented`. A copy keeps its source's `ETag`, where AWS
//! would compute the plain MD5 of a source that was made of parts.

mod access;
mod blobs;
mod bus;
mod checksum;
mod cors;
mod db;
mod error;
mod lifecycle;
mod listing;
mod notice;
mod post;
mod range;
mod schema;
mod service;
mod settings;
mod store;
mod stream;
mod sweep;
mod unranged;
mod uploads;
mod wire;
mod wire_attributes;
mod wire_lists;
mod wire_objects;
mod wire_rules;
mod wire_settings;
mod wire_tags;
mod wire_uploads;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod size_tests;

use std::{path::Path, sync::Arc};

use tokio::sync::Notify;

use self::{
    blobs::Blobs,
    db::Db,
    notice::Rule,
    settings::Kind,
    store::{Attributes, NewObject, Object, Place},
    stream::Received,
};
pub use self::{
    error::{Refusal, S3Error},
    notice::Notice,
    service::Service,
    sweep::Swept,
};
use crate::{iam::Iam, stack};

/// Bytes that one PUT or one part may have: AWS's 5 GiB.
const MAX_BODY: u64 = 5 * 1024 * 1024 * 1024;

/// One S3 store: a directory that no other process may use at the same time.
pub struct S3 {
    blobs: Arc<Blobs>,
    db: Arc<Db>,
    /// Somebody may have notices to send.
    due: Arc<Notify>,
    /// Lifecycle rules are not what they were.
    rules_changed: Notify,
}

/// How much a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub objects: u64,
    /// Bytes of all objects; copies count as often as they are there.
    pub bytes: u64,
    /// Multipart uploads that are neither complete nor aborted.
    pub uploads: u64,
    /// Bytes of their parts.
    pub upload_bytes: u64,
    /// Bytes of the files that hold all this, and of bodies on their way in; copies take none. The metadata come on top.
    pub disk_bytes: u64,
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
        Ok(Arc::new(Self { blobs, db, due, rules_changed: Notify::new() }))
    }

    /// Bounds the bytes of the files that hold objects, parts and bodies on their way in; what goes beyond is refused and
    /// loses nothing that is there. Without a bound the disk is the bound.
    pub fn set_quota(&self, bytes: Option<u64>) {
        self.blobs.set_quota(bytes);
    }

    /// Whom the event bus tells from now on; once. The error says what is wrong with a rule's pattern.
    pub fn set_bus(&self, rules: &[stack::EventRule]) -> Result<(), String> {
        self.db.set_bus(bus::Bus::new(rules)?);
        Ok(())
    }

    /// Makes the bucket if it is not there, and sets it up as the template says. Where its notifications are not what they
    /// were, their queues get the test event.
    pub async fn ensure_bucket(&self, bucket: &stack::Bucket) -> Result<(), S3Error> {
        let name = bucket.name.clone();
        let rules: Vec<Rule> = bucket.notifications.iter().map(Rule::from).collect();
        let lifecycle: Vec<lifecycle::Rule> = bucket.lifecycle.iter().enumerate().map(lifecycle::Rule::of_stack).collect();
        let cors: Vec<cors::Rule> = bucket.cors.iter().map(cors::Rule::from).collect();
        self.db
            .write(move |change| {
                store::create_bucket(change, &name, now_ms())?;
                if !settings::is(change.conn, &name, Kind::Notifications, &rules)? {
                    settings::set_rules(change, &name, &rules, now_ms())?;
                }
                settings::set_or_remove(change, &name, Kind::Lifecycle, &lifecycle)?;
                settings::set_or_remove(change, &name, Kind::Cors, &cors)
            })
            .await?;
        self.rules_changed.notify_one();
        Ok(())
    }

    /// The service that answers HTTP requests signed with this key.
    pub fn service(self: &Arc<Self>, access_key: &str, secret_key: &str) -> Service {
        self.service_within(access_key, secret_key, Arc::default())
    }

    /// As [`S3::service`], for callers who may not do everything.
    pub(crate) fn service_within(self: &Arc<Self>, access_key: &str, secret_key: &str, iam: Arc<Iam>) -> Service {
        Service::new(self.clone(), access_key, secret_key, iam)
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
        let found = self.db.read(store::usage).await.unwrap_or_default();
        Usage { disk_bytes: self.blobs.used(), ..found }
    }

    /// Puts what was received at a place. Returns its row and, if a rule will remove it, `x-amz-expiration`.
    async fn put(
        &self,
        place: Place,
        received: Received,
        sum: checksum::Sum,
        attributes: Attributes,
        conditions: range::WriteConditions,
        event: &'static str,
    ) -> Result<(Object, Option<String>), S3Error> {
        let etag = hex::encode(received.found.md5);
        self.db
            .write(move |change| {
                let new = NewObject { size: received.size, etag, sum, parts: Vec::new(), upload: None, attributes };
                let object = store::put(change, &place, new, &conditions, (event, now_ms()))?;
                store::own(change, object.owner, &received.extents())?;
                change.keep(received.blob);
                let expiration = lifecycle::expiration(change.conn, &place, &object)?;
                Ok((object, expiration))
            })
            .await
    }
}

/// Milliseconds since the epoch.
fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
