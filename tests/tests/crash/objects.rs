//! Objects: small ones, ones written over and over, and ones in parts; and who was told of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, Event, LambdaFunctionConfiguration, NotificationConfiguration};

use crate::{Clients, answered};

/// Tells a queue; the template has it.
const QUEUED: &str = "crash";
/// Tells a function.
const DIRECT: &str = "crash-direct";
/// A part, in bytes: S3's smallest.
const PART: usize = 5 << 20;

/// Bucket and key.
type Name = (&'static str, String);

#[derive(Default)]
pub struct Record {
    /// The newest acknowledged version of each.
    acknowledged: BTreeMap<Name, u64>,
    /// Objects that are written once and were found whole.
    seen: BTreeSet<Name>,
    in_parts: usize,
    writes: usize,
    unacknowledged: usize,
}

/// The second bucket, by API.
pub async fn prepare(clients: &Clients) {
    clients.s3.create_bucket().bucket(DIRECT).send().await.unwrap();
    let function = LambdaFunctionConfiguration::builder()
        .events(Event::from("s3:ObjectCreated:*"))
        .lambda_function_arn("arn:aws:lambda:us-east-1:000000000000:function:record")
        .build()
        .unwrap();
    let configuration = NotificationConfiguration::builder().lambda_function_configurations(function).build();
    clients.s3.put_bucket_notification_configuration().bucket(DIRECT).notification_configuration(configuration).send().await.unwrap();
}

fn in_parts(name: &Name) -> bool {
    name.1.starts_with("parts/")
}

/// Bytes that say whose they are: a version, then words that no other object or version has at this place.
fn body(name: &Name, version: u64) -> Vec<u8> {
    let mut hasher = DefaultHasher::new();
    (name, version).hash(&mut hasher);
    let seed = hasher.finish();
    let words = if in_parts(name) { PART as u64 / 8 + seed % 40_000 } else { seed % 8_000 };
    let mut bytes = version.to_le_bytes().to_vec();
    for word in 0..words {
        bytes.extend_from_slice(&(seed ^ word.wrapping_mul(0x9E37_79B9_7F4A_7C15)).to_le_bytes());
    }
    bytes
}

/// The version, where these are all bytes of it.
fn whole(name: &Name, bytes: &[u8]) -> Option<u64> {
    let version = u64::from_le_bytes(bytes.first_chunk().copied()?);
    (body(name, version) == bytes).then_some(version)
}

pub async fn write(clients: Clients, writer: usize, round: u64) -> Record {
    let mut record = Record::default();
    // A life may be short: each begins with another kind.
    for n in round.. {
        let bucket = if n.is_multiple_of(2) { QUEUED } else { DIRECT };
        let version = round * 1_000_000 + n;
        let key = match n % 6 {
            2 | 3 if writer == 0 => format!("parts/{round}/{writer}/{n}"),
            4 | 5 => format!("hot/{writer}"),
            _ => format!("once/{round}/{writer}/{n}"),
        };
        let name = (bucket, key);
        let done = if in_parts(&name) { put_parts(&clients, &name, version).await } else { put(&clients, &name, version).await };
        if done.is_none() {
            break;
        }
        record.in_parts += usize::from(in_parts(&name));
        record.writes += 1;
        record.acknowledged.insert(name, version);
    }
    record
}

async fn put(clients: &Clients, name: &Name, version: u64) -> Option<()> {
    let put = clients.s3.put_object().bucket(name.0).key(&name.1).body(body(name, version).into());
    answered(put.send().await).map(drop)
}

async fn put_parts(clients: &Clients, name: &Name, version: u64) -> Option<()> {
    let create = clients.s3.create_multipart_upload().bucket(name.0).key(&name.1);
    let id = answered(create.send().await)?.upload_id.unwrap();
    let mut parts = CompletedMultipartUpload::builder();
    for (number, bytes) in (1..).zip(body(name, version).chunks(PART)) {
        let upload = clients.s3.upload_part().bucket(name.0).key(&name.1).upload_id(&id).part_number(number);
        let part = answered(upload.body(bytes.to_vec().into()).send().await)?;
        parts = parts.parts(CompletedPart::builder().part_number(number).set_e_tag(part.e_tag).build());
    }
    let complete = clients.s3.complete_multipart_upload().bucket(name.0).key(&name.1).upload_id(id);
    answered(complete.multipart_upload(parts.build()).send().await).map(drop)
}

impl Record {
    pub fn merge(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.in_parts += other.in_parts;
        self.writes += other.writes;
    }

    /// The next check reads everything.
    pub fn recheck(&mut self) {
        self.seen.clear();
        self.unacknowledged = 0;
    }

    /// What is listed is whole, and everything acknowledged is listed, in that version or a later one.
    pub async fn check(&mut self, clients: &Clients) {
        let mut found = BTreeSet::new();
        for bucket in [QUEUED, DIRECT] {
            let mut pages = clients.s3.list_objects_v2().bucket(bucket).into_paginator().send();
            while let Some(page) = pages.next().await {
                for object in page.unwrap().contents() {
                    let name = (bucket, object.key().unwrap().to_owned());
                    if !self.seen.contains(&name) {
                        self.check_one(clients, &name, object.size().unwrap()).await;
                    }
                    found.insert(name);
                }
            }
        }
        for name in self.acknowledged.keys() {
            assert!(found.contains(name), "an acknowledged object is lost: {name:?}");
        }
    }

    async fn check_one(&mut self, clients: &Clients, name: &Name, listed: i64) {
        let object = clients.s3.get_object().bucket(name.0).key(&name.1).send().await.unwrap();
        let bytes = object.body.collect().await.unwrap().into_bytes();
        assert_eq!(i64::try_from(bytes.len()).unwrap(), listed, "{name:?} is not as long as listed");
        let version = whole(name, &bytes).unwrap_or_else(|| panic!("half an object: {name:?}, {} bytes", bytes.len()));
        match self.acknowledged.get(name) {
            Some(acknowledged) => assert!(version >= *acknowledged, "{name:?} is at {version}, acknowledged was {acknowledged}"),
            None => self.unacknowledged += 1,
        }
        if !name.1.starts_with("hot/") {
            self.seen.insert(name.clone());
        }
    }

    /// Queue and function were told of every acknowledged object, each at least once.
    pub async fn check_notices(&self, clients: &Clients, noticed: &BTreeSet<String>, end: Instant) {
        for (bucket, key) in self.acknowledged.keys() {
            assert!(*bucket != QUEUED || noticed.contains(key), "the notification of {key} is lost");
        }
        loop {
            let told = told(clients).await;
            let missing: Vec<_> = self.acknowledged.keys().filter(|(bucket, key)| *bucket == DIRECT && !told.contains(key)).collect();
            if missing.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "{} notifications never came to the function, such as {:?}", missing.len(), missing[0]);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Keys that the function wrote down.
async fn told(clients: &Clients) -> BTreeSet<String> {
    let mut pages = clients.dynamodb.scan().table_name("told").consistent_read(true).into_paginator().items().send();
    let mut keys = BTreeSet::new();
    while let Some(item) = pages.next().await {
        keys.extend(item.unwrap().get("pk").map(AttributeValue::as_s).and_then(Result::ok).cloned());
    }
    keys
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { writes, in_parts, unacknowledged, acknowledged, .. } = self;
        let direct = acknowledged.keys().filter(|(bucket, _)| *bucket == DIRECT).count();
        let queued = acknowledged.len() - direct;
        write!(
            f,
            "{writes} writes of {} objects ({in_parts} in parts; {unacknowledged} more whole without an answer), ",
            acknowledged.len()
        )?;
        write!(f, "told of to a queue {queued} and to a function {direct}")
    }
}
