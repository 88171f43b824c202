//! The S3 service as its clients see it: AWS's SDK over a real socket, a real process that is killed.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
    error::{ProvideErrorMetadata, SdkError},
    presigning::PresigningConfig,
    primitives::ByteStream,
    types::{
        ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart, Delete, EncodingType, MetadataDirective, ObjectCannedAcl,
        ObjectIdentifier,
    },
};
use aws_smithy_http_client::Builder;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use platform::{
    s3::{S3, Usage},
    stack::{Bucket, BucketNotification, queue_arn},
};
use serde_json::Value;
use tokio::{net::TcpListener, sync::mpsc::UnboundedSender};

#[path = "s3/forms.rs"]
mod forms;
#[path = "s3/keys.rs"]
mod keys;
#[path = "s3/objects.rs"]
mod objects;
#[path = "s3/room.rs"]
mod room;
#[path = "s3/rules.rs"]
mod rules;
#[path = "s3/unfinished.rs"]
mod unfinished;

const MIB: usize = 1024 * 1024;

/// Serves a store on a port of its own until the runtime ends.
async fn serve(s3: &Arc<S3>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = s3.service("test", "secret");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let service = service.clone();
            tokio::spawn(async move {
                let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

fn client(address: SocketAddr, secret: &str) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", secret, None, None, "test"))
        .endpoint_url(format!("http://{address}"))
        .http_client(Builder::new().build_http())
        .retry_config(RetryConfig::disabled())
        .force_path_style(true)
        .build();
    Client::from_conf(config)
}

struct Setup {
    s3: Arc<S3>,
    client: Client,
    address: SocketAddr,
    dir: tempfile::TempDir,
}

async fn setup() -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let s3 = S3::open(dir.path()).unwrap();
    s3.ensure_bucket(&bucket(&[])).await.unwrap();
    let address = serve(&s3).await;
    Setup { client: client(address, "secret"), s3, address, dir }
}

fn bucket(notifications: &[BucketNotification]) -> Bucket {
    Bucket { name: "films".into(), notifications: notifications.to_vec(), ..Bucket::default() }
}

/// Bytes that differ from place to place and from seed to seed.
fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(step).take(length).collect()
}

async fn put(client: &Client, key: &str, body: Vec<u8>) {
    client.put_object().bucket("films").key(key).body(body.into()).send().await.unwrap();
}

/// Reads an object; the SDK checks its checksum.
async fn fetch(client: &Client, key: &str) -> Vec<u8> {
    let request = client.get_object().bucket("films").key(key).checksum_mode(ChecksumMode::Enabled);
    request.send().await.unwrap().body.collect().await.unwrap().to_vec()
}

fn code<E: ProvideErrorMetadata, R>(outcome: Result<R, SdkError<E>>) -> String {
    match outcome {
        Ok(_) => "ok".into(),
        Err(error) => error.code().unwrap_or("no code").to_owned(),
    }
}

fn status<E, R>(outcome: Result<R, SdkError<E>>) -> u16 {
    match outcome {
        Ok(_) => 200,
        Err(error) => error.raw_response().map_or(0, |response| response.status().as_u16()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_comes_back_as_it_was_put() {
    let Setup { client, s3, dir: _dir, .. } = setup().await;
    let body = noise(3 * MIB + 17, 1);
    let request = client
        .put_object()
        .bucket("films")
        .key("uploads/a.mp4")
        .content_type("video/mp4")
        .cache_control("no-store")
        .content_disposition("attachment; filename=\"a.mp4\"")
        .content_encoding("identity")
        .metadata("origin", "camera 1")
        .tagging("kind=raw&who=me%20too")
        .checksum_algorithm(ChecksumAlgorithm::Crc32C);
    let stored = request.body(body.clone().into()).send().await.unwrap();
    assert!(stored.checksum_crc32_c().is_some());

    let request = client.get_object().bucket("films").key("uploads/a.mp4").checksum_mode(ChecksumMode::Enabled);
    let got = request.send().await.unwrap();
    assert_eq!(got.e_tag(), stored.e_tag());
    assert_eq!(got.checksum_crc32_c(), stored.checksum_crc32_c());
    assert_eq!(got.content_type(), Some("video/mp4"));
    assert_eq!(got.cache_control(), Some("no-store"));
    assert_eq!(got.content_disposition(), Some("attachment; filename=\"a.mp4\""));
    assert_eq!(got.content_encoding(), Some("identity"));
    assert_eq!(got.metadata().unwrap()["origin"], "camera 1");
    assert_eq!(got.tag_count(), Some(2));
    assert!(got.body.collect().await.unwrap().to_vec() == body);
    let bytes = body.len() as u64;
    assert_eq!(s3.usage().await, Usage { objects: 1, bytes, disk_bytes: bytes, ..Usage::default() });

    let tags = client.get_object_tagging().bucket("films").key("uploads/a.mp4").send().await.unwrap();
    assert_eq!(tags.tag_set()[1].value(), "me too");
    put(&client, "empty", Vec::new()).await;
    assert_eq!(fetch(&client, "empty").await, Vec::<u8>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_and_preconditions() {
    let Setup { client, dir: _dir, .. } = setup().await;
    let body = noise(MIB, 2);
    put(&client, "a", body.clone()).await;
    let get = || client.get_object().bucket("films").key("a");
    let spans = [("bytes=0-0", 0..1), ("bytes=600000-700000", 600_000..700_001), ("bytes=-5", MIB - 5..MIB)];
    for (text, span) in spans {
        let got = get().range(text).send().await.unwrap();
        assert!(got.content_range().unwrap().ends_with("/1048576"));
        assert!(got.body.collect().await.unwrap().to_vec() == body[span]);
    }
    assert_eq!(status(get().range("bytes=1048576-").send().await), 416);

    let head = client.head_object().bucket("films").key("a").version_id("null").send().await.unwrap();
    let (etag, modified) = (head.e_tag().unwrap(), *head.last_modified().unwrap());
    assert_eq!(status(get().if_match(etag).send().await), 200);
    assert_eq!(status(get().if_match("\"other\"").send().await), 412);
    assert_eq!(status(get().if_none_match(etag).send().await), 304);
    assert_eq!(status(get().if_modified_since(modified).send().await), 304);
    assert_eq!(status(get().version_id("other").send().await), 404);
    assert_eq!(status(client.head_object().bucket("films").key("missing").send().await), 404);
    assert_eq!(code(client.get_object().bucket("films").key("missing").send().await), "NoSuchKey");
    assert_eq!(code(client.get_object().bucket("nowhere").key("a").send().await), "NoSuchBucket");

    let write = |key: &str| client.put_object().bucket("films").key(key).body(ByteStream::from_static(b"1"));
    assert_eq!(code(write("once").if_none_match("*").send().await), "ok");
    assert_eq!(code(write("once").if_none_match("*").send().await), "PreconditionFailed");
    assert_eq!(code(write("once").if_none_match("\"0123\"").send().await), "NotImplemented");
    assert_eq!(code(write("open").acl(ObjectCannedAcl::PublicRead).send().await), "AccessControlListNotSupported");
    assert_eq!(code(write("open").grant_read("uri=everyone").send().await), "AccessControlListNotSupported");
    assert_eq!(code(write("closed").acl(ObjectCannedAcl::BucketOwnerFullControl).send().await), "ok");
    assert_eq!(code(write("a").if_match("\"other\"").send().await), "PreconditionFailed");
    assert_eq!(code(write("a").if_match(etag).send().await), "ok");
    assert_eq!(code(write("missing").if_match(etag).send().await), "NoSuchKey");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_digests_and_signatures_store_nothing() {
    let Setup { client, address, dir, .. } = setup().await;
    let request = || client.put_object().bucket("films").key("a").body(ByteStream::from_static(b"x"));
    assert_eq!(code(request().checksum_crc32("AAAAAA==").send().await), "BadDigest");
    assert_eq!(code(request().content_md5("AAAAAAAAAAAAAAAAAAAAAA==").send().await), "BadDigest");
    let stranger = self::client(address, "guess");
    let outcome = stranger.put_object().bucket("films").key("a").body(ByteStream::from_static(b"x")).send().await;
    assert_eq!(code(outcome), "SignatureDoesNotMatch");
    assert_eq!(status(client.head_object().bucket("films").key("a").send().await), 404);
    eventually(|| blobs_in(dir.path()).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn multipart_upload_with_copied_parts() {
    let Setup { client, dir, .. } = setup().await;
    let source = noise(6 * MIB, 3);
    put(&client, "source", source.clone()).await;
    let upload = client.create_multipart_upload().bucket("films").key("big").content_type("video/mp4");
    let upload = upload.send().await.unwrap();
    let id = upload.upload_id().unwrap().to_owned();
    let first = noise(5 * MIB, 4);
    let part = |number, body: Vec<u8>| {
        let request = client.upload_part().bucket("films").key("big").upload_id(&id).part_number(number);
        request.body(body.into()).send()
    };
    let one = part(1, first.clone()).await.unwrap();
    let copy = client.upload_part_copy().bucket("films").key("big").upload_id(&id).part_number(2);
    let two = copy.copy_source("films/source").copy_source_range("bytes=1-5242880").send().await.unwrap();
    let three = part(3, b"end".to_vec()).await.unwrap();
    let two = two.copy_part_result().unwrap().e_tag().unwrap();
    let (one, three) = (one.e_tag().unwrap(), three.e_tag().unwrap());

    let listed = client.list_parts().bucket("films").key("big").upload_id(&id).max_parts(2).send().await.unwrap();
    let shape = (listed.parts().len(), listed.is_truncated(), listed.next_part_number_marker());
    assert_eq!(shape, (2, Some(true), Some("2")));
    let uploads = client.list_multipart_uploads().bucket("films").prefix("b").send().await.unwrap();
    assert_eq!(uploads.uploads()[0].upload_id(), Some(id.as_str()));

    let complete = |parts: &[(i32, &str)]| {
        let named = parts.iter().map(|(number, etag)| CompletedPart::builder().part_number(*number).e_tag(*etag).build());
        let wanted = CompletedMultipartUpload::builder().set_parts(Some(named.collect())).build();
        client.complete_multipart_upload().bucket("films").key("big").upload_id(&id).multipart_upload(wanted).send()
    };
    assert_eq!(code(complete(&[(2, two), (1, one)]).await), "InvalidPartOrder");
    assert_eq!(code(complete(&[(1, two)]).await), "InvalidPart");
    assert_eq!(code(complete(&[(1, one), (4, three)]).await), "InvalidPart");
    let blobs = blobs_in(dir.path());
    let done = complete(&[(1, one), (2, two), (3, three)]).await.unwrap();
    assert!(done.e_tag().unwrap().ends_with("-3\""));
    assert_eq!(blobs_in(dir.path()), blobs, "completing writes no bytes");
    // Asked again, as after a lost answer.
    assert_eq!(complete(&[(1, one), (2, two), (3, three)]).await.unwrap().e_tag(), done.e_tag());
    assert_eq!(code(complete(&[(1, one), (2, two)]).await), "NoSuchUpload");

    let whole = [first.as_slice(), &source[1..=5 * MIB], b"end"].concat();
    assert!(fetch(&client, "big").await == whole);
    let middle = client.get_object().bucket("films").key("big").range("bytes=5242870-10485762").send().await.unwrap();
    assert!(middle.body.collect().await.unwrap().to_vec() == whole[5_242_870..=10_485_762]);
    let second = client.get_object().bucket("films").key("big").part_number(2).send().await.unwrap();
    assert_eq!((second.parts_count(), second.content_length()), (Some(3), Some(5 * 1024 * 1024)));
    assert!(second.body.collect().await.unwrap().to_vec() == source[1..=5 * MIB]);

    // The sources go, what was copied from them stays.
    client.delete_object().bucket("films").key("source").send().await.unwrap();
    let copy = client.copy_object().bucket("films").key("copy").copy_source("films/big").send().await.unwrap();
    assert_eq!(copy.copy_object_result().unwrap().e_tag(), done.e_tag());
    client.delete_object().bucket("films").key("big").send().await.unwrap();
    assert!(fetch(&client, "copy").await == whole);
    client.delete_object().bucket("films").key("copy").send().await.unwrap();
    eventually(|| blobs_in(dir.path()).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn small_parts_are_refused_and_aborted_uploads_leave_nothing() {
    let Setup { client, dir, .. } = setup().await;
    let upload = client.create_multipart_upload().bucket("films").key("k").send().await.unwrap();
    let id = upload.upload_id().unwrap();
    let mut parts = Vec::new();
    for number in 1..=2 {
        let request = client.upload_part().bucket("films").key("k").upload_id(id).part_number(number);
        let part = request.body(ByteStream::from_static(b"small")).send().await.unwrap();
        parts.push(CompletedPart::builder().part_number(number).e_tag(part.e_tag().unwrap()).build());
    }
    let wanted = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let complete = client.complete_multipart_upload().bucket("films").key("k").upload_id(id);
    assert_eq!(code(complete.multipart_upload(wanted).send().await), "EntityTooSmall");
    client.abort_multipart_upload().bucket("films").key("k").upload_id(id).send().await.unwrap();
    assert_eq!(code(client.list_parts().bucket("films").key("k").upload_id(id).send().await), "NoSuchUpload");
    eventually(|| blobs_in(dir.path()).is_empty()).await;
}

/// Keys that a path, a form or a shell would stumble over.
fn odd_keys() -> Vec<String> {
    let odd = "a|a/b|a/|../../etc/passwd|x/../y|./z|with space|1+1=2|a&b|q?x=1#y|'\"`$(id)|-rf|ä/日本/🎬|%2F|//double|<tag>";
    odd.split('|').map(ToOwned::to_owned).chain(["k".repeat(1024)]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_works() {
    let Setup { client, dir: _dir, .. } = setup().await;
    let mut keys = odd_keys();
    for key in &keys {
        put(&client, key, key.as_bytes().to_vec()).await;
    }
    for key in &keys {
        assert_eq!(fetch(&client, key).await, key.as_bytes(), "{key}");
    }
    keys.sort();
    let listed = client.list_objects_v2().bucket("films").send().await.unwrap();
    assert_eq!(listed.contents().iter().map(|object| object.key().unwrap()).collect::<Vec<_>>(), keys);
    let encoded = client.list_objects_v2().bucket("films").prefix("1+").encoding_type(EncodingType::Url);
    assert_eq!(encoded.send().await.unwrap().contents()[0].key(), Some("1%2B1%3D2"));
    let long = client.put_object().bucket("films").key("k".repeat(1025)).body(ByteStream::from_static(b""));
    assert_eq!(code(long.send().await), "KeyTooLongError");

    let named = keys.iter().map(|key| ObjectIdentifier::builder().key(key).build().unwrap()).collect();
    let wanted = Delete::builder().set_objects(Some(named)).build().unwrap();
    let gone = client.delete_objects().bucket("films").delete(wanted).send().await.unwrap();
    assert_eq!((gone.deleted().len(), gone.errors().len()), (keys.len(), 0));
    assert!(client.list_objects_v2().bucket("films").send().await.unwrap().contents().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_page_through_folders() {
    let Setup { client, dir: _dir, .. } = setup().await;
    for key in ["a/1", "a/2", "b", "c/1", "c/2/3", "d"] {
        put(&client, key, Vec::new()).await;
    }
    let mut seen = Vec::new();
    let mut token = None;
    loop {
        let request = client.list_objects_v2().bucket("films").delimiter("/").max_keys(1);
        let page = request.set_continuation_token(token).send().await.unwrap();
        seen.extend(page.contents().iter().map(|object| object.key().unwrap().to_owned()));
        seen.extend(page.common_prefixes().iter().map(|prefix| prefix.prefix().unwrap().to_owned()));
        token = page.next_continuation_token().map(ToOwned::to_owned);
        if token.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["a/", "b", "c/", "d"]);
    let page = client.list_objects().bucket("films").delimiter("/").marker("a/").max_keys(2).send().await.unwrap();
    assert_eq!((page.contents()[0].key(), page.next_marker()), (Some("b"), Some("c/")));
    let page = client.list_objects_v2().bucket("films").prefix("c/").start_after("c/1").send().await.unwrap();
    assert_eq!(page.contents()[0].key(), Some("c/2/3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_and_copies() {
    let Setup { client, dir: _dir, .. } = setup().await;
    client.create_bucket().bucket("second").send().await.unwrap();
    client.head_bucket().bucket("second").send().await.unwrap();
    let buckets = client.list_buckets().send().await.unwrap();
    assert_eq!(buckets.buckets().iter().map(|bucket| bucket.name().unwrap()).collect::<Vec<_>>(), ["films", "second"]);
    let source = client.put_object().bucket("films").key("a +b").content_type("video/mp4").metadata("k", "v");
    source.body(ByteStream::from_static(b"x")).send().await.unwrap();
    let copy = || client.copy_object().bucket("second").key("c").copy_source("films/a%20%2Bb");
    copy().send().await.unwrap();
    let kept = client.head_object().bucket("second").key("c").send().await.unwrap();
    assert_eq!((kept.content_type(), kept.metadata().unwrap()["k"].as_str()), (Some("video/mp4"), "v"));
    copy().metadata_directive(MetadataDirective::Replace).content_type("text/plain").send().await.unwrap();
    let replaced = client.head_object().bucket("second").key("c").send().await.unwrap();
    assert_eq!((replaced.content_type(), replaced.metadata().unwrap().len()), (Some("text/plain"), 0));
    assert_eq!(code(client.delete_bucket().bucket("second").send().await), "BucketNotEmpty");
    client.delete_object().bucket("second").key("c").send().await.unwrap();
    client.delete_bucket().bucket("second").send().await.unwrap();
    assert_eq!(status(client.head_bucket().bucket("second").send().await), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn presigned_urls_work_without_a_key() {
    let Setup { client, dir: _dir, .. } = setup().await;
    let for_a_minute = || PresigningConfig::expires_in(Duration::from_mins(1)).unwrap();
    let upload = client.put_object().bucket("films").key("p q").presigned(for_a_minute()).await.unwrap();
    assert_eq!(curl(&["-X", "PUT", "--data-binary", "hello", upload.uri()]), "");
    let download = client.get_object().bucket("films").key("p q").presigned(for_a_minute()).await.unwrap();
    assert_eq!(curl(&[download.uri()]), "hello");
    let forged = download.uri().replace("p%20q", "other");
    assert!(curl(&[&forged]).contains("SignatureDoesNotMatch"));
    let endless = ["-X", "PUT", "-H", "Transfer-Encoding: chunked", "--data-binary", "hello", upload.uri()];
    assert!(curl(&endless).contains("<Code>NotImplemented</Code>"), "S3 wants a length");
}

fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl").arg("-sS").args(arguments).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_leave_notices_until_they_are_sent() {
    let Setup { client, s3, dir, .. } = setup().await;
    let notification = BucketNotification {
        events: vec!["s3:ObjectCreated:*".into(), "s3:ObjectRemoved:Delete".into()],
        prefix: "uploads/".into(),
        suffix: ".mp4".into(),
        target_arn: queue_arn("ingest"),
    };
    s3.ensure_bucket(&bucket(&[notification])).await.unwrap();
    s3.notice_waits().await;
    let tests = s3.due_notices(10).await.unwrap();
    assert_eq!(tests.len(), 1, "the new queue gets one test event");
    assert_eq!(serde_json::from_str::<Value>(&tests[0].body).unwrap()["Event"], "s3:TestEvent");
    s3.notices_sent(&[tests[0].id]).await.unwrap();
    put(&client, "uploads/my film+1.mp4", b"film".to_vec()).await;
    put(&client, "other/a.mp4", Vec::new()).await;
    let copy = client.copy_object().bucket("films").key("uploads/b.mp4").copy_source("films/other/a.mp4");
    copy.send().await.unwrap();
    client.delete_object().bucket("films").key("uploads/b.mp4").send().await.unwrap();
    s3.notice_waits().await;
    let notices = s3.due_notices(10).await.unwrap();
    let event = |body: &str| serde_json::from_str::<Value>(body).unwrap()["Records"][0].clone();
    let records: Vec<Value> = notices.iter().map(|notice| event(&notice.body)).collect();
    let names: Vec<_> = records.iter().map(|record| record["eventName"].as_str().unwrap()).collect();
    assert_eq!(names, ["ObjectCreated:Put", "ObjectCreated:Copy", "ObjectRemoved:Delete"]);
    assert_eq!(records[0]["s3"]["object"]["key"], "uploads/my+film%2B1.mp4");
    assert_eq!(records[0]["s3"]["object"]["size"], 4);
    let sequencers: Vec<_> = records.iter().map(|record| record["s3"]["object"]["sequencer"].as_str().unwrap()).collect();
    assert!(sequencers.is_sorted_by(|a, b| a < b));
    assert!(notices.iter().all(|notice| notice.target_arn == queue_arn("ingest")));

    s3.notices_sent(&[notices[0].id, notices[2].id]).await.unwrap();
    assert_eq!(s3.due_notices(10).await.unwrap(), notices[1..2]);
    // The rest is there when the store is opened again. The server still holds the first one, which is idle.
    let again = S3::open(dir.path()).unwrap();
    again.notice_waits().await;
    assert_eq!(again.due_notices(10).await.unwrap(), notices[1..2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_gets_all_of_an_object_that_is_replaced_meanwhile() {
    let Setup { client, dir, .. } = setup().await;
    let before = noise(24 * MIB, 5);
    put(&client, "a", before.clone()).await;
    let reading = client.get_object().bucket("films").key("a").send().await.unwrap();
    put(&client, "a", b"after".to_vec()).await;
    assert!(reading.body.collect().await.unwrap().to_vec() == before);
    assert_eq!(fetch(&client, "a").await, b"after");
    eventually(|| blobs_in(dir.path()).len() == 1).await;
}

/// Names of the blob files.
fn blobs_in(dir: &Path) -> Vec<String> {
    let mut dirs = vec![dir.join("blobs")];
    let mut names = Vec::new();
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
            } else {
                names.push(entry.file_name().into_string().unwrap());
            }
        }
    }
    names.sort();
    names
}

async fn eventually(holds: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "did not come to hold in 10 s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A server in a process of its own: this very test binary, told to run [`server_process`]. Killed when dropped.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(dir: &Path) -> Self {
        Self::run(dir, Command::new(std::env::current_exe().unwrap()))
    }

    /// One whose files may have this many KiB at most.
    fn start_limited(dir: &Path, kib: u32) -> Self {
        let mut shell = Command::new("sh");
        // Without the trap the process would die of the signal that comes before the error.
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", kib * 2);
        shell.args(["-c", &script, "sh"]).arg(std::env::current_exe().unwrap());
        Self::run(dir, shell)
    }

    fn run(dir: &Path, mut command: Command) -> Self {
        let mut process = command
            .args(["--exact", "server_process", "--ignored", "--nocapture"])
            .current_dir(dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.find_map(|line| line.split_once("listening on ")?.1.parse().ok()).unwrap();
        Self { process, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Not a test: the server of [`acknowledged_objects_survive_kill_9`], over the store in the current directory.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by another test, as a process to kill"]
async fn server_process() {
    let s3 = S3::open(Path::new("store")).unwrap();
    s3.ensure_bucket(&bucket(&[])).await.unwrap();
    println!("\nlistening on {}", serve(&s3).await);
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_objects_survive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3_u32 {
        let server = Server::start(dir.path());
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        for writer in 0..4 {
            tokio::spawn(write_until_killed(server.address, round * 1_000_000 + writer * 100_000, tell.clone()));
        }
        drop(tell);
        let mut acknowledged = Vec::new();
        while let Some(seed) = told.recv().await {
            acknowledged.push(seed);
            if acknowledged.len() == 25 + 10 * round as usize {
                break;
            }
        }
        drop(server);
        while let Some(seed) = told.recv().await {
            acknowledged.push(seed);
        }

        let s3 = S3::open(&dir.path().join("store")).unwrap();
        let client = client(serve(&s3).await, "secret");
        let listed = client.list_objects_v2().bucket("films").send().await.unwrap();
        let seeds: Vec<u32> = listed.contents().iter().map(|object| object.key().unwrap().parse().unwrap()).collect();
        for seed in acknowledged {
            assert!(seeds.contains(&seed), "{seed} was acknowledged");
        }
        // Whatever is visible is whole, and no file lies about unused.
        for seed in &seeds {
            assert!(fetch(&client, &seed.to_string()).await == noise(length_of(*seed), *seed));
        }
        assert_eq!(blobs_in(&dir.path().join("store")).len(), seeds.len());
    }
}

fn length_of(seed: u32) -> usize {
    1 + (seed as usize * 7919) % 100_000
}

async fn write_until_killed(address: SocketAddr, first: u32, tell: UnboundedSender<u32>) {
    let client = client(address, "secret");
    for seed in first.. {
        let body = noise(length_of(seed), seed).into();
        let outcome = client.put_object().bucket("films").key(seed.to_string()).body(body).send().await;
        if outcome.is_err() || tell.send(seed).is_err() {
            return;
        }
    }
}
