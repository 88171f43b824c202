//! Objects that are stored while they are made.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{SinkExt, channel::mpsc};
use pipeline::{
    Fault,
    plan::ByteRange,
    ports::{Blobs, Block, Piece},
};
use sha2::{Digest, Sha256};

use super::{Stand, noise};
use crate::stand::gate::{Fate, Gate};

/// Of a part, as long as a film has no more than some gigabytes.
const PART: usize = 8 << 20;

/// Gives `blocks` to the store and answers what it says.
async fn store(stand: &Stand, key: &str, blocks: Vec<Block>, about: u64) -> Option<u64> {
    let (mut sender, receiver) = mpsc::channel(0);
    let send = async {
        for block in blocks {
            sender.send(block).await.unwrap();
        }
        drop(sender);
    };
    futures::join!(stand.cloud.blobs.store_stream(key, receiver, about, "video/x-matroska"), send).0.unwrap()
}

fn blocks(whole: &[u8], each: usize, front: Option<&'static [u8]>) -> Vec<Block> {
    let body = whole.chunks(each).map(|bytes| Block::Next(Bytes::copy_from_slice(bytes)));
    body.chain(front.map(|bytes| Block::Front(Bytes::from_static(bytes)))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_stored_while_it_is_made_and_its_beginning_last() {
    const FRONT: &[u8] = b"what is known in the end";
    let stand = Stand::new().await;
    for (size, each) in
        [(24, 24), (100, 7), (PART - 1, 999_983), (PART, 1 << 20), (PART + 1, 1 << 20), (2 * PART, 3 << 20), (3 * PART + 77, 20 << 20)]
    {
        let (mut whole, key) = (noise(size), format!("work/x/source/{size}.mkv"));
        let stored = store(&stand, &key, blocks(&whole, each, Some(FRONT)), size as u64 / 2).await;
        assert_eq!(stored, Some(size as u64));
        whole[..FRONT.len()].copy_from_slice(FRONT);
        assert!(stand.cloud.blobs.read(&key).await.unwrap().unwrap() == whole, "{size} bytes in blocks of {each}");
    }
}

/// Neither an object nor parts are left of what has no last block, nor of what nobody waits for any more.
#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_off_is_not_stored() {
    let stand = Stand::new().await;
    for size in [0, 100, PART + 100, 3 * PART] {
        assert_eq!(store(&stand, "work/x/source/half.mkv", blocks(&noise(size), 1 << 20, None), 1 << 30).await, None, "{size}");
        assert_eq!(stand.cloud.blobs.read("work/x/source/half.mkv").await, Ok(None), "{size}");
    }
    let uploads =
        async || stand.clients.s3.list_multipart_uploads().bucket(stand.bucket()).send().await.unwrap().uploads.unwrap_or_default();
    assert_eq!(uploads().await.len(), 0, "no parts are left lying");
    let (mut sender, receiver) = mpsc::channel(0);
    let stored = stand.cloud.blobs.store_stream("work/x/source/dropped.mkv", receiver, 1 << 30, "video/x-matroska");
    let send = async {
        for block in blocks(&noise(3 * PART), 1 << 20, None) {
            sender.send(block).await.unwrap();
        }
    };
    tokio::select! {
        stored = stored => panic!("it ended with {stored:?}"),
        () = send => {}
    }
    stand.cloud.blobs.end_uploads("work/x/").await.unwrap();
    assert_eq!(uploads().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_copies_and_completions_of_workers_may_take_longer_than_a_small_call() {
    // More than a small call has (15 s).
    const LATE: Duration = Duration::from_secs(17);
    let stand = Stand::new().await;
    let dir = tempfile::tempdir().unwrap();
    let (file, content) = (dir.path().join("film.mp4"), noise(2 * PART + 1));
    std::fs::write(&file, &content).unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let gate = Gate::new(&stand.endpoint, move |line, part| {
        let ends = line.starts_with("POST ") && line.contains("uploadId=");
        if ends || part.is_some() {
            seen.lock().unwrap().push(line.to_owned());
        }
        let is_late = if line.contains("ends-late") { ends } else { part == Some(1) };
        if is_late { Fate::Late(LATE) } else { Fate::Pass }
    })
    .await;
    let slow = stand.through(&gate.endpoint).await.blobs;
    let (bytes, sha256) = (content.len() as u64, hex::encode(Sha256::digest(&content)));
    let whole = [Piece::Stored { key: "work/film".into(), bytes, sha256, ranges: vec![ByteRange { start: 0, end: bytes }] }];
    stand.cloud.blobs.store_file("work/film", &file, "video/mp4").await.unwrap();
    let (part, end, copy) = futures::join!(
        slow.store_file("work/part-late", &file, "video/mp4"),
        slow.store_file("work/ends-late", &file, "video/mp4"),
        slow.join("work/copy", &whole, "video/mp4")
    );
    part.unwrap();
    end.unwrap();
    copy.unwrap();
    for key in ["work/part-late", "work/ends-late", "work/copy"] {
        assert!(stand.cloud.blobs.read(key).await.unwrap().unwrap() == content, "{key}");
    }
    let mut lines = asked.lock().unwrap().clone();
    let all = lines.len();
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), all, "something was asked for twice: {lines:#?}");
}

/// Whoever ends a job gives up what its workers had begun to upload: no fault of theirs, and none that a person can mend.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_another_gave_up_may_be_tried_again() {
    let stand = Stand::new().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("film.mp4");
    std::fs::write(&file, noise(2 * PART + 1)).unwrap();
    let given_up = Arc::new(AtomicBool::new(false));
    let (blobs, seen) = (stand.cloud.blobs.clone(), Arc::clone(&given_up));
    let mut is_first = true;
    // The second part is cut off until the upload is gone; the SDK sends it again.
    let gate = Gate::new(&stand.endpoint, move |_, part| {
        if part != Some(2) || seen.load(Ordering::SeqCst) {
            return Fate::Pass;
        }
        if std::mem::take(&mut is_first) {
            let (blobs, seen) = (blobs.clone(), Arc::clone(&seen));
            tokio::spawn(async move {
                blobs.end_uploads("work/").await.unwrap();
                seen.store(true, Ordering::SeqCst);
            });
        }
        Fate::Cut
    })
    .await;
    let stored = stand.through(&gate.endpoint).await.blobs.store_file("work/film", &file, "video/mp4").await;
    assert!(given_up.load(Ordering::SeqCst));
    assert!(matches!(&stored, Err(Fault::Retry(why)) if why.contains("NoSuchUpload")), "{stored:?}");
    let open = stand.clients.s3.list_multipart_uploads().bucket(stand.bucket()).send().await.unwrap().uploads.unwrap_or_default();
    assert_eq!(open.len(), 0);
}
