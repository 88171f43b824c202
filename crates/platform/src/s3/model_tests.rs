//! The store against a plain model: random operations, with the store closed, or killed in the middle, in between.

use std::{collections::BTreeMap, fs, path::Path};

use futures::TryStreamExt;
use proptest::prelude::*;
use s3s::dto::StreamingBlob;
use tempfile::TempDir;

use super::{
    checksum::{Algorithm, SumRule},
    listing::{self, Query},
    range::{DeleteConditions, Span, WriteConditions},
    store,
    stream::{self, Outgoing},
    uploads::{self, Completion, Part, Upload, Wanted},
    *,
};

#[derive(Clone, Debug)]
pub enum Step {
    Put {
        key: usize,
        length: usize,
    },
    /// A body that ends in an error.
    FailedPut {
        length: usize,
    },
    Copy {
        from: usize,
        to: usize,
    },
    Delete {
        key: usize,
    },
    Read {
        key: usize,
        a: u64,
        b: u64,
    },
    Begin {
        key: usize,
    },
    Part {
        upload: usize,
        number: i32,
        length: usize,
    },
    PartCopy {
        upload: usize,
        number: i32,
        from: usize,
        a: u64,
        b: u64,
    },
    Complete {
        upload: usize,
    },
    Abort {
        upload: usize,
    },
    Reopen,
    /// The process dies with a body on disk that no row refers to yet.
    Crash {
        length: usize,
    },
}

pub const KEYS: [&str; 6] = ["a", "a/b", "../a", "a b", "ä", "z/y/x"];

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (key, upload, length, number) = (0..KEYS.len(), 0_usize..3, 0_usize..5000, 1_i32..5);
    let step = prop_oneof![
        6 => (key.clone(), length.clone()).prop_map(|(key, length)| Step::Put { key, length }),
        1 => length.clone().prop_map(|length| Step::FailedPut { length }),
        3 => (key.clone(), key.clone()).prop_map(|(from, to)| Step::Copy { from, to }),
        3 => key.clone().prop_map(|key| Step::Delete { key }),
        4 => (key.clone(), 0_u64..6000, 0_u64..6000).prop_map(|(key, a, b)| Step::Read { key, a, b }),
        3 => key.clone().prop_map(|key| Step::Begin { key }),
        6 => (upload.clone(), number.clone(), length.clone())
            .prop_map(|(upload, number, length)| Step::Part { upload, number, length }),
        3 => (upload.clone(), number, key, 0_u64..6000, 0_u64..6000)
            .prop_map(|(upload, number, from, a, b)| Step::PartCopy { upload, number, from, a, b }),
        3 => upload.clone().prop_map(|upload| Step::Complete { upload }),
        1 => upload.prop_map(|upload| Step::Abort { upload }),
        1 => Just(Step::Reopen),
        1 => length.prop_map(|length| Step::Crash { length }),
    ];
    prop::collection::vec(step, 1..60)
}

pub type Parts = BTreeMap<i32, Vec<u8>>;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    pub objects: BTreeMap<&'static str, Vec<u8>>,
    /// Id, key, parts by number.
    pub uploads: Vec<(String, &'static str, Parts)>,
    /// Notices of objects that were made or removed.
    pub notices: usize,
}

pub struct World {
    pub model: Model,
    pub s3: Arc<S3>,
    pub dir: TempDir,
    /// So that no two bodies are alike.
    pub count: u8,
}

fn place(key: &str) -> Place {
    Place { bucket: "b".into(), key: key.into() }
}

fn open(dir: &Path) -> Arc<S3> {
    S3::open(dir).unwrap()
}

impl World {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let s3 = open(dir.path());
        let all = stack::BucketNotification {
            events: vec!["s3:ObjectCreated:*".into(), "s3:ObjectRemoved:*".into()],
            prefix: String::new(),
            suffix: String::new(),
            target_arn: stack::queue_arn("q"),
        };
        s3.ensure_bucket(&stack::Bucket { name: "b".into(), notifications: vec![all], ..stack::Bucket::default() }).await.unwrap();
        let test = s3.due_notices(1).await.unwrap();
        s3.notices_sent(&[test[0].id]).await.unwrap();
        Self { model: Model::default(), s3, dir, count: 0 }
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        self.count = self.count.wrapping_add(1);
        (0..length).map(|at| u8::try_from(at % 251).unwrap() ^ self.count).collect()
    }

    async fn receive(&self, bytes: &[u8], end: Option<std::io::Error>) -> Result<Received, S3Error> {
        let chunks: Vec<_> = bytes.chunks(700).map(|chunk| Ok(bytes::Bytes::copy_from_slice(chunk))).collect();
        let body = StreamingBlob::wrap(futures::stream::iter(chunks.into_iter().chain(end.map(Err))));
        stream::receive(&self.s3.blobs, Some(body), &[Algorithm::Crc64Nvme], MAX_BODY).await
    }

    pub async fn read(&self, key: &str, span: Option<Span>) -> Option<Vec<u8>> {
        let (place, blobs) = (place(key), self.s3.blobs.clone());
        let found = self.s3.db.read(move |conn| {
            let object = store::get(conn, &place)?;
            let extents = store::extents(conn, object.owner, span.unwrap_or(Span::whole(object.size)))?;
            let pin = blobs.pin(&extents);
            Ok((extents, pin))
        });
        let (extents, pin) = match found.await {
            Err(S3Error::Refused(Refusal::NoSuchKey)) => return None,
            found => found.unwrap(),
        };
        let chunks: Vec<_> = Outgoing::open(&self.s3.blobs, extents, pin).await.unwrap().try_collect().await.unwrap();
        Some(chunks.concat())
    }

    async fn put_part(&self, id: &str, key: &str, (number, bytes): (i32, &[u8])) {
        let received = self.receive(bytes, None).await.unwrap();
        let part = part_of(number, bytes);
        let (id, place) = (id.to_owned(), place(key));
        let change = move |change: &mut db::Change<'_>| {
            uploads::put_part(change, &id, &place, &part, &received.extents())?;
            change.keep(received.blob);
            Ok(())
        };
        self.s3.db.write(change).await.unwrap();
    }

    pub async fn step(&mut self, step: Step) {
        match step {
            Step::Put { key, length } => self.put(KEYS[key], length).await,
            Step::FailedPut { length } => {
                let bytes = self.bytes(length);
                let end = std::io::Error::other("the client hung up");
                assert!(self.receive(&bytes, Some(end)).await.is_err());
            }
            Step::Copy { from, to } => self.copy(KEYS[from], KEYS[to]).await,
            Step::Delete { key } => {
                let gone = place(KEYS[key]);
                let change = move |change: &mut db::Change<'_>| store::delete(change, &gone, &DeleteConditions::default(), 1);
                self.s3.db.write(change).await.unwrap();
                self.model.notices += usize::from(self.model.objects.remove(KEYS[key]).is_some());
            }
            Step::Read { key, a, b } => self.check_range(KEYS[key], a, b).await,
            Step::Begin { key } => self.begin(KEYS[key]).await,
            Step::Part { upload, number, length } => {
                let bytes = self.bytes(length);
                let Some((id, key, parts)) = self.model.uploads.get_mut(upload) else { return };
                parts.insert(number, bytes.clone());
                let (id, key) = (id.clone(), *key);
                self.put_part(&id, key, (number, &bytes)).await;
            }
            Step::PartCopy { upload, number, from, a, b } => self.copy_part(upload, number, (KEYS[from], a, b)).await,
            Step::Complete { upload } => self.complete(upload).await,
            Step::Abort { upload } => self.abort(upload).await,
            Step::Reopen => {
                let path = self.dir.path().to_owned();
                self.close();
                self.s3 = open(&path);
            }
            Step::Crash { length } => self.crash(length).await,
        }
    }

    /// Puts a store of no importance in the place of the present one.
    fn close(&mut self) {
        self.s3 = open(tempfile::tempdir().unwrap().path());
    }

    async fn put(&mut self, key: &'static str, length: usize) {
        let bytes = self.bytes(length);
        let received = self.receive(&bytes, None).await.unwrap();
        let sum = received.found.sum(Algorithm::Crc64Nvme).unwrap();
        let (attributes, conditions) = (Attributes::default(), WriteConditions::default());
        let (object, _) = self.s3.put(place(key), received, sum, attributes, conditions, "Put").await.unwrap();
        assert_eq!(object.etag, part_of(1, &bytes).etag);
        self.model.notices += 1;
        self.model.objects.insert(key, bytes);
    }

    async fn copy(&mut self, from: &'static str, to: &'static str) {
        let (source, target) = (place(from), place(to));
        let copied = self.s3.db.write(move |change| {
            let Object { owner, size, etag, sum, parts, attributes, .. } = store::get(change.conn, &source)?;
            let extents = store::extents(change.conn, owner, Span::whole(size))?;
            let new = NewObject { size, etag, sum, parts, upload: None, attributes };
            let object = store::put(change, &target, new, &WriteConditions::default(), ("Copy", 1))?;
            store::own(change, object.owner, &extents)
        });
        let outcome = copied.await;
        let bytes = self.model.objects.get(from).cloned();
        assert_eq!(outcome.is_ok(), bytes.is_some());
        self.model.notices += usize::from(outcome.is_ok());
        self.model.objects.extend(bytes.map(|bytes| (to, bytes)));
    }

    async fn check_range(&self, key: &str, a: u64, b: u64) {
        let model = self.model.objects.get(key);
        let size = model.map_or(0, |bytes| bytes.len() as u64);
        let span = Span { start: a.min(b).min(size), end: a.max(b).min(size) };
        let expected = model.map(|bytes| cut(bytes, span));
        assert_eq!(self.read(key, Some(span)).await, expected);
    }

    async fn begin(&mut self, key: &'static str) {
        if self.model.uploads.len() == 3 {
            return;
        }
        let id = uuid::Uuid::new_v4().to_string();
        let upload = Upload {
            id: id.clone(),
            place: place(key),
            created_ms: 0,
            sum_rule: SumRule { algorithm: Algorithm::Crc64Nvme, whole: true },
            attributes: Attributes::default(),
        };
        self.s3.db.write(move |change| uploads::create(change, &upload)).await.unwrap();
        self.model.uploads.push((id, key, BTreeMap::new()));
    }

    async fn copy_part(&mut self, upload: usize, number: i32, (from, a, b): (&'static str, u64, u64)) {
        let Some((id, key, parts)) = self.model.uploads.get_mut(upload) else { return };
        let Some(bytes) = self.model.objects.get(from) else { return };
        let size = bytes.len() as u64;
        let span = Span { start: a.min(b).min(size), end: a.max(b).min(size) };
        let bytes = cut(bytes, span);
        let (id, place, source, part) = (id.clone(), place(key), place(from), part_of(number, &bytes));
        parts.insert(number, bytes);
        let change = move |change: &mut db::Change<'_>| {
            let source = store::get(change.conn, &source)?;
            let extents = store::extents(change.conn, source.owner, span)?;
            uploads::put_part(change, &id, &place, &part, &extents)
        };
        self.s3.db.write(change).await.unwrap();
    }

    async fn complete(&mut self, upload: usize) {
        let Some((id, key, parts)) = self.model.uploads.get(upload) else { return };
        let (id, key) = (id.clone(), *key);
        let wanted = parts.keys().map(|number| Wanted { number: *number, ..Wanted::default() }).collect();
        let bytes: Vec<u8> = parts.values().flatten().copied().collect();
        let completion = Completion { parts: wanted, ..Completion::default() };
        let empty = parts.is_empty();
        let outcome = self.s3.db.write(move |change| uploads::complete(change, &id, &place(key), &completion, 1)).await;
        assert_eq!(outcome.is_err(), empty, "nothing can be made of no parts");
        if let Ok(object) = outcome {
            assert_eq!(object.sum.value, part_of(1, &bytes).sum.value);
            self.model.objects.insert(key, bytes);
            self.model.uploads.remove(upload);
            self.model.notices += 1;
        }
    }

    async fn abort(&mut self, upload: usize) {
        if upload < self.model.uploads.len() {
            let (id, key, _) = self.model.uploads.remove(upload);
            self.s3.db.write(move |change| uploads::abort(change, &id, &place(key))).await.unwrap();
        }
    }

    /// What a killed process leaves: its files as they are, the log not folded in, bodies without rows, strange files.
    async fn crash(&mut self, length: usize) {
        let bytes = self.bytes(length);
        let unfinished = self.receive(&bytes, None).await.unwrap();
        let left = tempfile::tempdir().unwrap();
        copy_tree(self.dir.path(), left.path());
        fs::write(left.path().join("blobs/stray"), b"x").unwrap();
        drop(unfinished);
        self.close();
        self.dir = left;
        self.s3 = open(self.dir.path());
    }

    async fn check(&mut self) {
        for key in KEYS {
            assert_eq!(self.read(key, None).await.as_ref(), self.model.objects.get(key), "{key}");
        }
        let query = Query { bucket: "b".into(), limit: 100, ..Query::default() };
        let page = self.s3.db.read(move |conn| listing::list(conn, &query)).await.unwrap();
        let listed: Vec<_> = page.objects.iter().map(|object| (object.key.as_str(), object.size)).collect();
        let expected: Vec<_> = self.model.objects.iter().map(|(key, bytes)| (*key, bytes.len() as u64)).collect();
        assert_eq!(listed, expected);
        assert_eq!(self.s3.due_notices(1000).await.unwrap().len(), self.model.notices);
        let usage = self.s3.usage().await;
        let sizes = |lengths: &mut dyn Iterator<Item = usize>| lengths.sum::<usize>() as u64;
        assert_eq!(usage.bytes, sizes(&mut self.model.objects.values().map(Vec::len)));
        let parts = self.model.uploads.iter().flat_map(|(_, _, parts)| parts.values());
        assert_eq!(usage.upload_bytes, sizes(&mut parts.map(Vec::len)));
        assert_eq!((usage.objects, usage.uploads), (self.model.objects.len() as u64, self.model.uploads.len() as u64));

        // Opened anew, the files are exactly those that something refers to.
        let path = self.dir.path().to_owned();
        self.close();
        self.s3 = open(&path);
        let referenced =
            self.s3.db.read(|conn| Ok(conn.query_row("SELECT count(DISTINCT blob) FROM extents", [], |row| row.get::<_, usize>(0))?));
        assert_eq!(files(&path.join("blobs")), referenced.await.unwrap());
    }
}

pub fn part_of(number: i32, bytes: &[u8]) -> Part {
    let mut digests = checksum::Digests::new(&[Algorithm::Crc64Nvme]);
    digests.update(bytes);
    let found = digests.finish();
    let sum = found.sum(Algorithm::Crc64Nvme).unwrap();
    Part { number, owner: 0, size: bytes.len() as u64, etag: hex::encode(found.md5), modified_ms: 0, sum }
}

fn cut(bytes: &[u8], span: Span) -> Vec<u8> {
    bytes[usize::try_from(span.start).unwrap()..usize::try_from(span.end).unwrap()].to_vec()
}

pub fn files(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_a_map_does(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in steps {
                world.step(step).await;
            }
            world.check().await;
        });
    }
}

/// Pages of any size, put together, are what a sorted list says.
fn expected_list(keys: &[String], prefix: &str, delimiter: &str) -> Vec<String> {
    let mut entries: Vec<String> = keys
        .iter()
        .filter(|key| key.starts_with(prefix))
        .map(|key| {
            let rest = &key[prefix.len()..];
            match rest.find(delimiter) {
                Some(at) if !delimiter.is_empty() => key[..prefix.len() + at + delimiter.len()].to_owned(),
                _ => key.clone(),
            }
        })
        .collect();
    entries.sort();
    entries.dedup();
    entries
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn pages_put_together_are_the_list(
        keys in prop::collection::btree_set("[ab/ä]{1,5}", 0..25),
        prefix in "[ab/]{0,2}",
        delimiter in prop_oneof![Just(""), Just("/"), Just("a"), Just("//")],
        limit in 1_usize..5,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (expected, found) = runtime.block_on(async {
            let world = World::new().await;
            let keys: Vec<String> = keys.into_iter().collect();
            let expected = expected_list(&keys, &prefix, delimiter);
            let write = move |change: &mut db::Change<'_>| {
                for key in &keys {
                    let Part { size, etag, sum, .. } = part_of(1, b"");
                    let new = NewObject { size, etag, sum, parts: Vec::new(), upload: None, attributes: Attributes::default() };
                    store::put(change, &place(key), new, &WriteConditions::default(), ("Put", 1))?;
                }
                Ok(())
            };
            world.s3.db.write(write).await.unwrap();
            let mut found = Vec::new();
            let mut from = Vec::new();
            loop {
                let query = Query { bucket: "b".into(), prefix: prefix.clone(), delimiter: delimiter.into(), from, limit };
                let page = world.s3.db.read(move |conn| listing::list(conn, &query)).await.unwrap();
                let mut entries: Vec<String> = page.objects.into_iter().map(|object| object.key).chain(page.prefixes).collect();
                assert!(entries.len() <= limit);
                entries.sort();
                found.extend(entries);
                match page.next {
                    // The same place by its name, as ListObjects' marker gives it.
                    Some(next) => {
                        assert_eq!(listing::behind(&next.last, &prefix, delimiter), next.from);
                        from = next.from;
                    }
                    None => break,
                }
            }
            (expected, found)
        });
        prop_assert_eq!(found, expected);
    }
}
