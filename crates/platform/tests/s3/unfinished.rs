//! What a client is told of uploads that nobody completed, so that it can go on with one.

use std::time::SystemTime;

use super::*;

/// Waits until the clock shows another millisecond.
async fn next_millisecond() {
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    let begun = now();
    while now() == begun {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_to_one_key_are_listed_by_their_beginning_page_by_page() {
    let Setup { client, dir: _dir, .. } = setup().await;
    let mut begun = Vec::new();
    for key in ["film", "film", "film", "film.2", "film", "other", "film"] {
        let upload = client.create_multipart_upload().bucket("films").key(key).send().await.unwrap();
        begun.push((key.to_owned(), upload.upload_id.unwrap()));
        next_millisecond().await;
    }
    // By key, and among those of one key by time: a stable sort.
    begun.retain(|(key, _)| key != "other");
    begun.sort_by(|(one, _), (other, _)| one.cmp(other));
    let (mut listed, mut key, mut id) = (Vec::new(), None, None);
    loop {
        let page = client.list_multipart_uploads().bucket("films").prefix("film").max_uploads(2);
        let page = page.set_key_marker(key).set_upload_id_marker(id).send().await.unwrap();
        listed.extend(page.uploads().iter().map(|upload| (upload.key().unwrap().to_owned(), upload.upload_id().unwrap().to_owned())));
        (key, id) = (page.next_key_marker, page.next_upload_id_marker);
        assert_eq!(page.is_truncated, Some(key.is_some()));
        if key.is_none() {
            break;
        }
    }
    assert_eq!(listed, begun);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_listed_with_the_checksum_that_their_upload_keeps_and_need_not_all_be_used() {
    let Setup { client, dir, .. } = setup().await;
    let create = client.create_multipart_upload().bucket("films").key("film").checksum_algorithm(ChecksumAlgorithm::Sha256);
    let id = create.send().await.unwrap().upload_id.unwrap();
    for (number, body) in [(1, vec![7; 5 * MIB]), (2, b"end".to_vec()), (3, b"a label".to_vec())] {
        let part = client.upload_part().bucket("films").key("film").upload_id(&id).part_number(number);
        part.checksum_algorithm(ChecksumAlgorithm::Sha256).body(body.into()).send().await.unwrap();
    }
    let list = |after: i32| client.list_parts().bucket("films").key("film").upload_id(&id).part_number_marker(after.to_string());
    let listed = list(0).max_parts(2).send().await.unwrap();
    assert_eq!(listed.parts().iter().map(aws_sdk_s3::types::Part::size).collect::<Vec<_>>(), [Some(5 << 20), Some(3)]);
    // `printf end | openssl dgst -sha256 -binary | base64`
    assert_eq!(listed.parts()[1].checksum_sha256(), Some("Nh5I0DCPIOMtul+1Yyi68Y1y7wzLQ7hPXCYtKmofxsg="));
    let behind = list(2).max_parts(1).send().await.unwrap();
    assert_eq!(behind.parts().iter().map(|part| (part.part_number(), part.size())).collect::<Vec<_>>(), [(Some(3), Some(7))]);

    let named = listed.parts().iter().map(|part| {
        let named = CompletedPart::builder().set_part_number(part.part_number()).set_e_tag(part.e_tag.clone());
        named.set_checksum_sha256(part.checksum_sha256.clone()).build()
    });
    let wanted = CompletedMultipartUpload::builder().set_parts(Some(named.collect())).build();
    let complete = client.complete_multipart_upload().bucket("films").key("film").upload_id(&id).multipart_upload(wanted);
    assert!(complete.send().await.unwrap().checksum_sha256.unwrap().ends_with("-2"));
    assert!(fetch(&client, "film").await == [vec![7; 5 * MIB], b"end".to_vec()].concat());
    // The part that was not named is gone with the upload.
    client.delete_object().bucket("films").key("film").send().await.unwrap();
    eventually(|| blobs_in(dir.path()).is_empty()).await;
}
