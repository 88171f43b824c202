//! Objects in detail: checksums, conditions, attributes, what an answer is told to say.

use aws_sdk_s3::types::ObjectAttributes;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn every_checksum_comes_back_and_a_wrong_one_stores_nothing() {
    let Setup { client, dir: _dir, .. } = setup().await;
    let body = noise(MIB + 1, 11);
    for algorithm in [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32C,
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256,
    ] {
        let key = algorithm.as_str();
        let put = client.put_object().bucket("films").key(key).checksum_algorithm(algorithm.clone());
        let stored = put.body(body.clone().into()).send().await.unwrap();
        let got = client.get_object().bucket("films").key(key).checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
        assert_eq!(got.checksum_sha256(), stored.checksum_sha256(), "{key}");
        assert_eq!(got.checksum_crc64_nvme(), stored.checksum_crc64_nvme(), "{key}");
        assert!(got.body.collect().await.unwrap().to_vec() == body, "{key}");
    }
    let wrong = client.put_object().bucket("films").key("wrong").checksum_sha256("AAAA").body(body.into()).send().await;
    assert_eq!(status(wrong), 400);
    assert_eq!(status(client.head_object().bucket("films").key("wrong").send().await), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_tell_the_parts() {
    let Setup { client, dir: _dir, .. } = setup().await;
    let create = client.create_multipart_upload().bucket("films").key("a").checksum_algorithm(ChecksumAlgorithm::Sha256);
    let upload = create.send().await.unwrap();
    let id = upload.upload_id().unwrap();
    let mut parts = Vec::new();
    for (number, length) in [(1, 5 * MIB), (2, 7)] {
        let part = client.upload_part().bucket("films").key("a").upload_id(id).part_number(number);
        let part = part.checksum_algorithm(ChecksumAlgorithm::Sha256).body(noise(length, 12).into()).send().await.unwrap();
        let named = CompletedPart::builder().part_number(number).e_tag(part.e_tag().unwrap());
        parts.push(named.set_checksum_sha256(part.checksum_sha256().map(ToOwned::to_owned)).build());
    }
    // A composite is made of the sums that the client names.
    let bare = parts.iter().map(|part| CompletedPart::builder().set_part_number(part.part_number()).set_e_tag(part.e_tag.clone()).build());
    let bare = CompletedMultipartUpload::builder().set_parts(Some(bare.collect())).build();
    let refused = client.complete_multipart_upload().bucket("films").key("a").upload_id(id).multipart_upload(bare).send().await;
    let refused = refused.unwrap_err().into_service_error();
    assert!(refused.meta().message().is_some_and(|why| why.ends_with("It was missing for part 1 in the request.")), "{refused:?}");
    let sums: Vec<_> = parts.iter().map(|part| part.checksum_sha256().map(ToOwned::to_owned)).collect();
    let wanted = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let done = client.complete_multipart_upload().bucket("films").key("a").upload_id(id).multipart_upload(wanted);
    let done = done.send().await.unwrap();
    assert!(done.checksum_sha256().unwrap().ends_with("-2"));

    let all = [
        ObjectAttributes::Checksum,
        ObjectAttributes::Etag,
        ObjectAttributes::ObjectParts,
        ObjectAttributes::ObjectSize,
        ObjectAttributes::StorageClass,
    ];
    let ask = |wanted: &[ObjectAttributes]| {
        client.get_object_attributes().bucket("films").key("a").set_object_attributes(Some(wanted.to_vec())).send()
    };
    let told = ask(&all).await.unwrap();
    assert_eq!(told.object_size(), Some(5 * 1024 * 1024 + 7));
    assert_eq!(told.checksum().unwrap().checksum_sha256(), done.checksum_sha256());
    let listed = told.object_parts().unwrap();
    assert_eq!((listed.total_parts_count(), listed.is_truncated()), (Some(2), Some(false)));
    assert_eq!(listed.parts().iter().map(|part| part.checksum_sha256().map(ToOwned::to_owned)).collect::<Vec<_>>(), sums);
    assert_eq!(listed.parts()[1].size(), Some(7));
    let size = ask(&[ObjectAttributes::ObjectSize]).await.unwrap();
    assert!(size.checksum().is_none() && size.e_tag().is_none() && size.object_parts().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_and_removals_have_conditions_too() {
    let Setup { client, dir: _dir, .. } = setup().await;
    put(&client, "a", b"a".to_vec()).await;
    put(&client, "b", b"b".to_vec()).await;
    let etag = client.head_object().bucket("films").key("b").send().await.unwrap().e_tag().unwrap().to_owned();
    let copy = |to: &str| client.copy_object().bucket("films").key(to).copy_source("films/a");
    assert_eq!(code(copy("b").if_none_match("*").send().await), "PreconditionFailed");
    assert_eq!(code(copy("c").if_none_match("*").send().await), "ok");
    assert_eq!(code(copy("b").if_match("\"other\"").send().await), "PreconditionFailed");
    assert_eq!(code(copy("b").copy_source_if_match("\"other\"").send().await), "PreconditionFailed");
    let delete = || client.delete_object().bucket("films").key("b");
    assert_eq!(code(delete().if_match("\"other\"").send().await), "PreconditionFailed");
    assert_eq!(code(copy("b").if_match(&etag).send().await), "ok");
    assert_eq!(code(delete().if_match(&etag).send().await), "PreconditionFailed", "it is a's copy now");
    assert_eq!(fetch(&client, "b").await, b"a");
    assert_eq!(code(delete().if_match("*").send().await), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_what_the_request_asks_it_to() {
    let Setup { client, dir: _dir, .. } = setup().await;
    put(&client, "a", b"x".to_vec()).await;
    let get = client.get_object().bucket("films").key("a").response_content_type("text/plain").response_cache_control("no-cache");
    let got = get.response_content_disposition("attachment").send().await.unwrap();
    assert_eq!(
        (got.content_type(), got.cache_control(), got.content_disposition()),
        (Some("text/plain"), Some("no-cache"), Some("attachment"))
    );

    let past = std::time::SystemTime::now() - Duration::from_mins(10);
    let config = PresigningConfig::builder().start_time(past).expires_in(Duration::from_mins(1)).build().unwrap();
    let url = client.get_object().bucket("films").key("a").presigned(config).await.unwrap();
    let late = curl(&["-i", url.uri()]);
    assert!(late.starts_with("HTTP/1.1 403") && late.contains("AccessDenied"), "{late}");
    assert!(late.contains("x-amz-request-id"), "{late}");
}
