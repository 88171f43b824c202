//! Objects that are stored while they are made.

use bytes::Bytes;
use futures::{SinkExt, channel::mpsc};
use pipeline::ports::{Blobs, Block};

use super::{Stand, noise};

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
