//! A store that has no more room.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn without_room_nothing_is_lost_and_nothing_half_is_left() {
    let Setup { client, s3, dir, .. } = setup().await;
    s3.set_quota(Some(3 * MIB as u64));
    let first = noise(2 * MIB, 1);
    put(&client, "a", first.clone()).await;
    let write = |key: &str, body: Vec<u8>| client.put_object().bucket("films").key(key).body(body.into()).send();
    let full = write("b", noise(2 * MIB, 2)).await;
    assert!(format!("{full:?}").contains("of the 3145728 that they may take"), "{full:?}");
    assert_eq!((status(write("a", noise(2 * MIB, 3)).await), code(full)), (507, "InsufficientStorage".into()));
    let upload = client.create_multipart_upload().bucket("films").key("c").send().await.unwrap();
    let part = client.upload_part().bucket("films").key("c").upload_id(upload.upload_id().unwrap()).part_number(1);
    assert_eq!(status(part.body(noise(2 * MIB, 4).into()).send().await), 507);
    assert_eq!(status(client.head_object().bucket("films").key("b").send().await), 404);
    assert!(fetch(&client, "a").await == first);
    eventually(|| blobs_in(dir.path()).len() == 1).await;

    // What takes no bytes still works, and what is removed makes room.
    client.copy_object().bucket("films").key("copy").copy_source("films/a").send().await.unwrap();
    client.delete_object().bucket("films").key("a").send().await.unwrap();
    client.delete_object().bucket("films").key("copy").send().await.unwrap();
    eventually(|| blobs_in(dir.path()).is_empty()).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while s3.usage().await.disk_bytes > 0 {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", s3.usage().await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let again = noise(3 * MIB, 5);
    put(&client, "b", again.clone()).await;
    assert!(fetch(&client, "b").await == again);
}

/// The file size limit of a process stands in for a full disk: the writes of blobs fail in the middle, as they do there.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_the_system_refuses_leaves_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_limited(dir.path(), 1024);
    let client = client(server.address, "secret");
    put(&client, "small", noise(MIB / 2, 1)).await;
    let failed = client.put_object().bucket("films").key("big").body(noise(4 * MIB, 2).into()).send().await;
    assert!(matches!(status(failed), 500 | 507));
    assert_eq!(status(client.head_object().bucket("films").key("big").send().await), 404);
    assert!(fetch(&client, "small").await == noise(MIB / 2, 1));
    put(&client, "after", noise(MIB / 2, 3)).await;
    drop(server);
    let s3 = S3::open(&dir.path().join("store")).unwrap();
    assert_eq!((s3.usage().await.objects, s3.usage().await.disk_bytes), (2, MIB as u64));
    assert_eq!(blobs_in(&dir.path().join("store")).len(), 2);
}
