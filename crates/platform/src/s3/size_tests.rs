//! Many objects: opening a store does not grow slow with them.

use std::{fs, time::Instant};

use super::{
    checksum::{Algorithm, Sum},
    range::WriteConditions,
    *,
};

const OBJECTS: u64 = 100_000;
/// Objects in one change: each has an open file until the commit.
const BATCH: usize = 500;

fn add(change: &mut db::Change<'_>, blobs: &Arc<Blobs>, number: u64) -> Result<(), S3Error> {
    let mut blob = blobs.create()?;
    blob.write(b"x")?;
    let place = Place { bucket: "b".into(), key: format!("films/{number:06}.mp4") };
    let sum = Sum { algorithm: Algorithm::Crc32, value: "AAAAAA==".into(), whole: true };
    let attributes = Attributes { content_type: Some("video/mp4".into()), ..Attributes::default() };
    let new = NewObject { size: 1, etag: hex::encode([7; 16]), sum, parts: Vec::new(), upload: None, attributes };
    let object = store::put(change, &place, new, &WriteConditions::default(), ("Put", 0))?;
    store::own(change, object.owner, &[blob.extent()])?;
    change.keep(Some(blob));
    Ok(())
}

#[tokio::test]
#[ignore = "makes 100,000 files; the second is for a release build on a quiet machine"]
async fn a_hundred_thousand_objects_are_open_within_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let s3 = S3::open(dir.path()).unwrap();
    s3.ensure_bucket(&stack::Bucket { name: "b".into(), ..stack::Bucket::default() }).await.unwrap();
    for first in (0..OBJECTS).step_by(BATCH) {
        let blobs = s3.blobs.clone();
        s3.db.write(move |change| (first..first + BATCH as u64).try_for_each(|number| add(change, &blobs, number))).await.unwrap();
    }
    drop(s3);
    // One file that nothing refers to, as a crash leaves it.
    fs::write(dir.path().join("blobs/000000/00/00000000000000ff.part"), b"x").unwrap();
    let start = Instant::now();
    let s3 = S3::open(dir.path()).unwrap();
    let opened = start.elapsed();
    assert_eq!(s3.usage().await, Usage { objects: OBJECTS, bytes: OBJECTS, disk_bytes: OBJECTS, ..Usage::default() });
    let looked = start.elapsed();
    println!("opened in {opened:?}, usage after {looked:?}");
    assert!(looked.as_millis() < 1000, "opened in {opened:?}, usage after {looked:?}");
}
