//! Keys and ranges of any kind, through the SDK and a real socket.

use aws_sdk_s3::types::CompletedPart;
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use super::*;

/// Any text of 1 to 1,024 bytes, with many of the characters that paths, forms, queries and XML stumble over.
fn key() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        4 => prop::sample::select("/.. +&%?#=;:<>\"'\\|~*!()[]{}$@,^`".chars().collect::<Vec<_>>()),
        2 => prop::char::range('\u{1}', '\u{1f}'),
        3 => prop::char::range('a', 'e'),
        2 => any::<char>(),
    ];
    let whole = prop_oneof![
        9 => prop::collection::vec(character, 1..20).prop_map(|characters| characters.into_iter().collect::<String>()),
        1 => Just("ä".repeat(512)),
    ];
    let whole = whole.prop_filter("NUL ends a path in too many clients", |key| !key.contains('\0') && key.len() <= 1024);
    whole.prop_filter("the SDK itself takes a key of nothing but white space for none", |key| !key.trim().is_empty())
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_keys_are_each_names_its_object(keys in prop::collection::btree_set(key(), 1..12)) {
        block_on(async {
            let Setup { client, dir: _dir, .. } = setup().await;
            for key in &keys {
                put(&client, key, key.as_bytes().to_vec()).await;
            }
            let mut listed = Vec::new();
            let mut token = None;
            loop {
                let page = client.list_objects_v2().bucket("films").encoding_type(EncodingType::Url).max_keys(5);
                let page = page.set_continuation_token(token).send().await.unwrap();
                listed.extend(page.contents().iter().map(|object| decoded(object.key().unwrap())));
                token = page.next_continuation_token().map(ToOwned::to_owned);
                if token.is_none() {
                    break;
                }
            }
            // Rust orders strings by their bytes, as S3 does.
            assert_eq!(listed, keys.iter().cloned().collect::<Vec<_>>());
            for key in &keys {
                assert_eq!(fetch(&client, key).await, key.as_bytes(), "{key:?}");
                client.delete_object().bucket("films").key(key).send().await.unwrap();
                assert_eq!(status(client.head_object().bucket("films").key(key).send().await), 404, "{key:?}");
            }
        });
    }
}

fn decoded(key: &str) -> String {
    percent_encoding::percent_decode_str(key).decode_utf8().unwrap().into_owned()
}

#[derive(Clone, Debug)]
enum Asked {
    Inside(u64, u64),
    From(u64),
    Last(u64),
}

fn asked() -> impl Strategy<Value = Asked> {
    let at = prop_oneof![0_u64..30, 0_u64..11_000_000, Just(u64::MAX / 2)];
    prop_oneof![
        (at.clone(), at.clone()).prop_map(|(a, b)| Asked::Inside(a.min(b), a.max(b))),
        at.clone().prop_map(Asked::From),
        at.prop_map(Asked::Last),
    ]
}

impl Asked {
    fn header(&self) -> String {
        match self {
            Self::Inside(first, last) => format!("bytes={first}-{last}"),
            Self::From(first) => format!("bytes={first}-"),
            Self::Last(length) => format!("bytes=-{length}"),
        }
    }

    /// RFC 9110, section 14.1.2.
    fn of<'a>(&self, whole: &'a [u8]) -> Option<&'a [u8]> {
        let at = |position: u64| usize::try_from(position).unwrap_or(usize::MAX).min(whole.len());
        match *self {
            Self::Inside(first, _) | Self::From(first) if at(first) == whole.len() => None,
            Self::Inside(first, last) => Some(&whole[at(first)..at(last + 1)]),
            Self::From(first) => Some(&whole[at(first)..]),
            Self::Last(0) => None,
            Self::Last(length) => Some(&whole[whole.len() - at(length)..]),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_range_is_the_slice_it_names() {
    let Setup { client, address, dir: _dir, .. } = setup().await;
    // Of two parts, so that ranges cross from one file into another.
    let whole = noise(5 * MIB + 1000, 7);
    let upload = client.create_multipart_upload().bucket("films").key("a").send().await.unwrap();
    let id = upload.upload_id().unwrap();
    let mut parts = Vec::new();
    for (number, bytes) in [(1, &whole[..5 * MIB]), (2, &whole[5 * MIB..])] {
        let part = client.upload_part().bucket("films").key("a").upload_id(id).part_number(number).body(bytes.to_vec().into());
        parts.push(CompletedPart::builder().part_number(number).e_tag(part.send().await.unwrap().e_tag().unwrap()).build());
    }
    let wanted = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    client.complete_multipart_upload().bucket("films").key("a").upload_id(id).multipart_upload(wanted).send().await.unwrap();

    let mut runner = TestRunner::new(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() });
    let mut cases: Vec<Asked> = (0..60).map(|_| asked().new_tree(&mut runner).unwrap().current()).collect();
    let end = whole.len() as u64;
    cases.extend([
        Asked::Inside(5 * MIB as u64 - 1, 5 * MIB as u64),
        Asked::From(end - 1),
        Asked::From(end),
        Asked::Last(1),
        Asked::Last(end + 1),
    ]);
    for case in cases {
        let got = client.get_object().bucket("films").key("a").range(case.header()).send().await;
        match case.of(&whole) {
            None => assert_eq!(status(got), 416, "{case:?}"),
            Some(slice) => {
                let got = got.unwrap();
                let first = slice.as_ptr() as usize - whole.as_ptr() as usize;
                let range = format!("bytes {first}-{}/{}", first + slice.len() - 1, whole.len());
                assert_eq!(got.content_range(), Some(range.as_str()), "{case:?}");
                assert!(got.body.collect().await.unwrap().to_vec() == slice, "{case:?}");
            }
        }
    }
    // What is no single range of bytes is as good as none: RFC 9110, section 14.2.
    let signed = client.get_object().bucket("films").key("a").presigned(PresigningConfig::expires_in(Duration::from_mins(1)).unwrap());
    let signed = signed.await.unwrap().uri().to_owned();
    for range in ["bytes=0-1,3-4", "bytes=5-2", "lines=1-2", "bytes=x-"] {
        let got = curl(&["-o", "/dev/null", "-w", "%{http_code} %{size_download}", "-H", &format!("Range: {range}"), &signed]);
        assert_eq!(got, format!("200 {}", whole.len()), "{range}");
        let got = client.get_object().bucket("films").key("a").range(range).send().await.unwrap();
        assert_eq!(got.content_length(), i64::try_from(whole.len()).ok(), "{range}, signed");
    }
    assert_eq!(address.ip().to_string(), "127.0.0.1");
}
