//! Uploads by an HTML form, sent by curl as a browser sends it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::*;

/// The fields of a form whose policy has these conditions, signed with a secret key: version 4.
fn signed(secret: &str, conditions: &[Value], fields: &[(&str, &str)]) -> Vec<String> {
    let mut conditions = conditions.to_vec();
    conditions.extend([json!({"x-amz-credential": CREDENTIAL}), json!({"x-amz-algorithm": "AWS4-HMAC-SHA256"})]);
    let policy = json!({ "expiration": "2100-01-01T00:00:00Z", "conditions": conditions }).to_string();
    let policy = STANDARD.encode(policy);
    let day = std::time::UNIX_EPOCH + Duration::from_hours(24 * 20_000);
    let key = aws_sigv4::sign::v4::generate_signing_key(secret, day, "us-east-1", "s3");
    let signature = aws_sigv4::sign::v4::calculate_signature(key, policy.as_bytes());
    let fixed = [
        ("policy", policy.as_str()),
        ("x-amz-credential", CREDENTIAL),
        ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
        ("x-amz-signature", &signature),
    ];
    fixed.iter().chain(fields).map(|(name, value)| format!("{name}={value}")).collect()
}

/// Day 20,000 after the epoch.
const CREDENTIAL: &str = "test/20241004/us-east-1/s3/aws4_request";

/// What curl says of the answer to a form with a file of these bytes.
fn upload(address: SocketAddr, fields: &[String], file: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a b.mp4");
    std::fs::write(&path, file).unwrap();
    let file = format!("file=@{};type=video/mp4", path.display());
    let url = format!("http://{address}/films");
    let mut arguments = vec!["-i"];
    for field in fields {
        arguments.extend(["--form-string", field]);
    }
    arguments.extend(["-F", &file, &url]);
    curl(&arguments)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_stores_what_its_policy_allows() {
    let Setup { client, s3, address, dir } = setup().await;
    let body = noise(MIB + 3, 8);
    let range = json!(["content-length-range", 10, MIB + 3]);
    let conditions = [json!({"bucket": "films"}), json!(["starts-with", "$key", "user/"]), range];
    let more = |extra: &[Value]| [conditions.as_slice(), extra].concat();
    let key = ("key", "user/${filename}");

    let stored = upload(address, &signed("secret", &conditions, &[key]), &body);
    assert!(stored.starts_with("HTTP/1.1 100") || stored.starts_with("HTTP/1.1 204"), "{stored}");
    assert!(
        stored.contains("HTTP/1.1 204") && stored.contains("location: http://") && stored.contains("/films/user/a%20b.mp4"),
        "{stored}"
    );
    assert!(fetch(&client, "user/a b.mp4").await == body);
    let head = client.head_object().bucket("films").key("user/a b.mp4").send().await.unwrap();
    assert_eq!(head.content_type(), Some("video/mp4"));

    let created =
        more(&[json!({"success_action_status": "201"}), json!({"x-amz-meta-who": "me"}), json!(["eq", "$Content-Type", "text/plain"])]);
    let fields = [("key", "user/x"), ("success_action_status", "201"), ("x-amz-meta-who", "me"), ("Content-Type", "text/plain")];
    let stored = upload(address, &signed("secret", &created, &fields), &body[..10]);
    assert!(stored.contains("HTTP/1.1 201") && stored.contains("<Key>user/x</Key>"), "{stored}");
    let head = client.head_object().bucket("films").key("user/x").send().await.unwrap();
    assert_eq!((head.content_type(), head.metadata().unwrap()["who"].as_str()), (Some("text/plain"), "me"));

    let redirect = more(&[json!(["starts-with", "$success_action_redirect", ""])]);
    let fields = [("key", "user/y"), ("success_action_redirect", "http://there/done?a=1")];
    let stored = upload(address, &signed("secret", &redirect, &fields), &body[..10]);
    assert!(
        stored.contains("HTTP/1.1 303") && stored.contains("location: http://there/done?a=1&bucket=films&key=user%2Fy&etag=%22"),
        "{stored}"
    );

    let count = s3.usage().await.objects;
    let open = more(&[json!({"acl": "public-read"})]);
    let refused = [
        (signed("secret", &open, &[key, ("acl", "public-read")]), 10, "400", "<Code>AccessControlListNotSupported</Code>"),
        (
            signed("secret", &conditions, &[("key", "other/x")]),
            10,
            "403",
            "Policy Condition failed: [&quot;starts-with&quot;, &quot;$key&quot;, &quot;user/&quot;]",
        ),
        (signed("secret", &conditions, &[key, ("acl", "private")]), 10, "403", "Extra input fields: acl"),
        (signed("secret", &conditions, &[key]), MIB + 4, "400", "<Code>EntityTooLarge</Code>"),
        (signed("secret", &conditions, &[key]), 9, "400", "<Code>EntityTooSmall</Code>"),
        (signed("guess", &conditions, &[key]), 10, "403", "<Code>SignatureDoesNotMatch</Code>"),
        (signed("secret", &conditions, &[]), 10, "400", "must contain a field named"),
        (vec!["key=user/x".to_owned()], 10, "403", "<Code>AccessDenied</Code>"),
    ];
    for (fields, length, status, text) in refused {
        let answer = upload(address, &fields, &noise(length, 9));
        let text = [text.to_owned(), text.replace("&quot;", "\"")];
        assert!(answer.contains(&format!("HTTP/1.1 {status}")) && text.iter().any(|text| answer.contains(text)), "{text:?} in {answer}");
    }
    assert_eq!(s3.usage().await.objects, count);
    eventually(|| blobs_in(dir.path()).len() == 3).await;
}
