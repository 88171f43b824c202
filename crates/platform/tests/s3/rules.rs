//! Notifications, lifecycle rules, CORS and the other settings of buckets, by API and by template.

use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, BucketVersioningStatus, CorsConfiguration, CorsRule, Event, ExpirationStatus, FilterRule, FilterRuleName,
    LambdaFunctionConfiguration, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter, NotificationConfiguration,
    NotificationConfigurationFilter, QueueConfiguration, S3KeyFilter, Tag, Tagging, TopicConfiguration, VersioningConfiguration,
};
use platform::{
    s3::Swept,
    stack::{self, function_arn},
};

use super::*;

/// Milliseconds.
const DAY: i64 = 24 * 60 * 60 * 1000;

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

/// The bodies of all notices that are due, which leave the outbox.
async fn drained(s3: &S3) -> Vec<(String, Value)> {
    let notices = s3.due_notices(100).await.unwrap();
    s3.notices_sent(&notices.iter().map(|notice| notice.id).collect::<Vec<_>>()).await.unwrap();
    notices.into_iter().map(|notice| (notice.target_arn, serde_json::from_str(&notice.body).unwrap())).collect()
}

fn to_queue(queue: &str, event: Event, prefix: &str) -> QueueConfiguration {
    let rule = FilterRule::builder().name(FilterRuleName::Prefix).value(prefix).build();
    let filter = NotificationConfigurationFilter::builder().key(S3KeyFilter::builder().filter_rules(rule).build()).build();
    QueueConfiguration::builder().id(queue).queue_arn(queue_arn(queue)).events(event).filter(filter).build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn notifications_are_set_by_api() {
    let Setup { client, s3, dir: _dir, .. } = setup().await;
    let set = |configuration: NotificationConfiguration| {
        client.put_bucket_notification_configuration().bucket("films").notification_configuration(configuration).send()
    };
    let function = LambdaFunctionConfiguration::builder()
        .lambda_function_arn(function_arn("tag"))
        .events(Event::from("s3:ObjectTagging:*"))
        .build()
        .unwrap();
    let both = NotificationConfiguration::builder()
        .queue_configurations(to_queue("made", Event::S3ObjectCreated, "in/"))
        .queue_configurations(to_queue("gone", Event::S3ObjectRemoved, "in/"))
        .lambda_function_configurations(function)
        .build();
    set(both).await.unwrap();
    let tests = drained(&s3).await;
    assert_eq!(tests.iter().map(|(arn, _)| arn.clone()).collect::<Vec<_>>(), [queue_arn("gone"), queue_arn("made")]);
    assert!(tests.iter().all(|(_, body)| body["Event"] == "s3:TestEvent" && body["Bucket"] == "films"));

    let shown = client.get_bucket_notification_configuration().bucket("films").send().await.unwrap();
    assert_eq!(
        shown.queue_configurations(),
        [to_queue("made", Event::S3ObjectCreated, "in/"), to_queue("gone", Event::S3ObjectRemoved, "in/")]
    );
    assert_eq!(shown.lambda_function_configurations()[0].lambda_function_arn(), function_arn("tag"));
    assert!(shown.lambda_function_configurations()[0].id().is_some(), "an id was made");

    put(&client, "in/a", b"x".to_vec()).await;
    put(&client, "out/a", b"x".to_vec()).await;
    let tags = Tagging::builder().tag_set(Tag::builder().key("k").value("v").build().unwrap()).build().unwrap();
    client.put_object_tagging().bucket("films").key("in/a").tagging(tags).send().await.unwrap();
    client.delete_object().bucket("films").key("in/a").send().await.unwrap();
    let told = drained(&s3).await;
    let names: Vec<_> = told.iter().map(|(arn, body)| (arn.as_str(), body["Records"][0]["eventName"].as_str().unwrap())).collect();
    let (made, gone, tag) = (queue_arn("made"), queue_arn("gone"), function_arn("tag"));
    assert_eq!(names, [(made.as_str(), "ObjectCreated:Put"), (&tag, "ObjectTagging:Put"), (&gone, "ObjectRemoved:Delete")]);
    assert_eq!(told[0].1["Records"][0]["s3"]["configurationId"], "made");

    let overlapping = NotificationConfiguration::builder()
        .queue_configurations(to_queue("a", Event::S3ObjectCreated, "in/"))
        .queue_configurations(to_queue("b", Event::S3ObjectCreatedPut, "in/films/"))
        .build();
    assert_eq!(code(set(overlapping).await), "InvalidArgument");
    let topic = TopicConfiguration::builder().topic_arn("arn:aws:sns:us-east-1:000000000000:t").events(Event::S3ObjectCreated);
    let topic = NotificationConfiguration::builder().topic_configurations(topic.build().unwrap()).build();
    assert_eq!(code(set(topic).await), "NotImplemented");
    set(NotificationConfiguration::builder().build()).await.unwrap();
    assert!(client.get_bucket_notification_configuration().bucket("films").send().await.unwrap().queue_configurations().is_empty());
    put(&client, "in/b", Vec::new()).await;
    assert!(drained(&s3).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_says_the_same_sends_no_second_test_event() {
    let Setup { s3, dir: _dir, .. } = setup().await;
    let to = |queue: &str| BucketNotification {
        events: vec!["s3:ObjectCreated:*".into()],
        prefix: String::new(),
        suffix: String::new(),
        target_arn: queue_arn(queue),
    };
    for (queue, expected) in [("a", 1), ("a", 0), ("b", 1)] {
        s3.ensure_bucket(&bucket(&[to(queue)])).await.unwrap();
        assert_eq!(drained(&s3).await.len(), expected, "{queue}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lifecycle_rules_remove_and_tell() {
    let Setup { client, s3, dir, .. } = setup().await;
    let gone = BucketNotification {
        events: vec!["s3:LifecycleExpiration:*".into()],
        prefix: String::new(),
        suffix: String::new(),
        target_arn: queue_arn("gone"),
    };
    let rule = stack::LifecycleRule { prefix: "tmp/".into(), expire_days: Some(1), ..Default::default() };
    let uploads = stack::LifecycleRule { id: Some("stale parts".into()), abort_uploads_days: Some(2), ..Default::default() };
    s3.ensure_bucket(&Bucket { lifecycle: vec![rule, uploads], ..bucket(&[gone]) }).await.unwrap();
    drained(&s3).await;
    let stored = client.put_object().bucket("films").key("tmp/a").body(ByteStream::from_static(b"x")).send().await.unwrap();
    assert!(stored.expiration().unwrap().ends_with("00:00:00 GMT\", rule-id=\"rule%2D1\""), "{:?}", stored.expiration());
    put(&client, "kept", b"y".to_vec()).await;
    let read = |key: &str| client.head_object().bucket("films").key(key).send();
    assert_eq!(read("tmp/a").await.unwrap().expiration(), stored.expiration());
    assert_eq!(read("kept").await.unwrap().expiration(), None);
    let upload = client.create_multipart_upload().bucket("films").key("big").send().await.unwrap();
    assert_eq!(upload.abort_rule_id(), Some("stale parts"));
    let part = client.upload_part().bucket("films").key("big").upload_id(upload.upload_id().unwrap()).part_number(1);
    part.body(ByteStream::from_static(b"part")).send().await.unwrap();
    let usage = s3.usage().await;
    assert_eq!((usage.objects, usage.bytes, usage.uploads, usage.upload_bytes, usage.disk_bytes), (2, 2, 1, 4, 6));

    let now = now_ms();
    assert_eq!(s3.sweep(now).await.unwrap(), Swept::default());
    assert_eq!(s3.sweep(now + 2 * DAY).await.unwrap(), Swept { objects: 1, uploads: 0 });
    assert_eq!(s3.sweep(now + 3 * DAY).await.unwrap(), Swept { objects: 0, uploads: 1 });
    assert_eq!(status(read("tmp/a").await), 404);
    assert_eq!(status(read("kept").await), 200);
    let told = drained(&s3).await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].1["Records"][0]["eventName"], "LifecycleExpiration:Delete");
    assert_eq!(told[0].1["Records"][0]["s3"]["object"]["key"], "tmp/a");
    eventually(|| blobs_in(dir.path()).len() == 1).await;
    let usage = s3.usage().await;
    assert_eq!((usage.objects, usage.bytes, usage.uploads, usage.upload_bytes), (1, 1, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_carried_out_in_the_background() {
    let Setup { client, s3, dir: _dir, .. } = setup().await;
    put(&client, "a", b"x".to_vec()).await;
    let background = tokio::spawn(s3.clone().run_lifecycle());
    let rule = |date: i64| {
        let expiration = LifecycleExpiration::builder().date(aws_sdk_s3::primitives::DateTime::from_millis(date)).build();
        let filter = LifecycleRuleFilter::builder().prefix("").build();
        let rule = LifecycleRule::builder().id("r").filter(filter).expiration(expiration).status(ExpirationStatus::Enabled);
        BucketLifecycleConfiguration::builder().rules(rule.build().unwrap()).build().unwrap()
    };
    let set = |rules| client.put_bucket_lifecycle_configuration().bucket("films").lifecycle_configuration(rules).send();
    assert_eq!(code(set(rule(1)).await), "InvalidArgument", "not at midnight");
    set(rule(DAY)).await.unwrap();
    let shown = client.get_bucket_lifecycle_configuration().bucket("films").send().await.unwrap();
    assert_eq!(shown.rules(), rule(DAY).rules());
    // The rule's date has long been: the object goes with nobody asking.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while s3.usage().await.objects > 0 {
        assert!(tokio::time::Instant::now() < deadline, "nothing was removed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    client.delete_bucket_lifecycle().bucket("films").send().await.unwrap();
    assert_eq!(code(client.get_bucket_lifecycle_configuration().bucket("films").send().await), "NoSuchLifecycleConfiguration");
    background.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_of_other_origins_are_told_what_they_may() {
    let Setup { client, address, dir: _dir, .. } = setup().await;
    put(&client, "a", b"x".to_vec()).await;
    let signed = client.get_object().bucket("films").key("a").presigned(PresigningConfig::expires_in(Duration::from_mins(1)).unwrap());
    let signed = signed.await.unwrap().uri().to_owned();
    let url = format!("http://{address}/films/a");
    let preflight = |origin: &str, method: &str, headers: &str| {
        let origin = format!("Origin: {origin}");
        let method = format!("Access-Control-Request-Method: {method}");
        let headers = format!("Access-Control-Request-Headers: {headers}");
        curl(&["-i", "-X", "OPTIONS", "-H", &origin, "-H", &method, "-H", &headers, &url])
    };
    let refused = preflight("https://app.example", "PUT", "content-type");
    assert!(refused.starts_with("HTTP/1.1 403") && refused.contains("CORS is not enabled"), "{refused}");

    let rule = CorsRule::builder()
        .allowed_origins("https://*.example")
        .allowed_methods("PUT")
        .allowed_methods("GET")
        .allowed_headers("*")
        .expose_headers("ETag")
        .max_age_seconds(60)
        .build()
        .unwrap();
    let configuration = CorsConfiguration::builder().cors_rules(rule.clone()).build().unwrap();
    client.put_bucket_cors().bucket("films").cors_configuration(configuration).send().await.unwrap();
    assert_eq!(client.get_bucket_cors().bucket("films").send().await.unwrap().cors_rules(), [rule]);
    let allowed = preflight("https://app.example", "PUT", "Content-Type, X-Amz-Date");
    assert!(allowed.starts_with("HTTP/1.1 200"), "{allowed}");
    for line in [
        "access-control-allow-origin: https://app.example",
        "access-control-allow-methods: PUT, GET",
        "access-control-allow-headers: content-type, x-amz-date",
        "access-control-expose-headers: ETag",
        "access-control-max-age: 60",
    ] {
        assert!(allowed.contains(line), "{line} in {allowed}");
    }
    assert!(preflight("https://app.example", "DELETE", "x").starts_with("HTTP/1.1 403"));
    assert!(preflight("https://other", "PUT", "x").starts_with("HTTP/1.1 403"));
    assert!(curl(&["-i", "-X", "OPTIONS", &url]).starts_with("HTTP/1.1 400"));

    let got = curl(&["-i", "-H", "Origin: https://app.example", &signed]);
    assert!(got.contains("access-control-allow-origin: https://app.example") && got.ends_with("\r\n\r\nx"), "{got}");
    assert!(!curl(&["-i", "-H", "Origin: https://other", &signed]).contains("access-control"));
    assert!(!curl(&["-i", &signed]).contains("access-control"));
    client.delete_bucket_cors().bucket("films").send().await.unwrap();
    assert_eq!(code(client.get_bucket_cors().bucket("films").send().await), "NoSuchCORSConfiguration");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_answers_as_a_new_one_of_aws_does() {
    let Setup { client, dir: _dir, .. } = setup().await;
    macro_rules! ask {
        ($operation:ident) => {
            client.$operation().bucket("films").send().await
        };
    }
    assert_eq!(ask!(get_bucket_versioning).unwrap().status(), None);
    assert_eq!(ask!(get_bucket_acl).unwrap().grants().len(), 1);
    assert!(ask!(get_public_access_block).unwrap().public_access_block_configuration().unwrap().block_public_policy().unwrap());
    assert_eq!(code(ask!(get_bucket_policy)), "NoSuchBucketPolicy");
    assert_eq!(code(ask!(get_bucket_tagging)), "NoSuchTagSet");
    assert_eq!(code(ask!(get_bucket_website)), "NoSuchWebsiteConfiguration");
    assert_eq!(code(ask!(get_bucket_encryption)), "ServerSideEncryptionConfigurationNotFoundError");
    assert_eq!(code(ask!(get_object_lock_configuration)), "ObjectLockConfigurationNotFoundError");
    assert_eq!(code(ask!(get_bucket_replication)), "ReplicationConfigurationNotFoundError");
    assert!(ask!(get_bucket_logging).is_ok() && ask!(get_bucket_request_payment).is_ok());

    let tags = Tagging::builder().tag_set(Tag::builder().key("k").value("v").build().unwrap()).build().unwrap();
    client.put_bucket_tagging().bucket("films").tagging(tags.clone()).send().await.unwrap();
    assert_eq!(ask!(get_bucket_tagging).unwrap().tag_set(), tags.tag_set());
    client.put_bucket_policy().bucket("films").policy(r#"{"Version":"2012-10-17"}"#).send().await.unwrap();
    assert_eq!(ask!(get_bucket_policy).unwrap().policy(), Some(r#"{"Version":"2012-10-17"}"#));
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let versioning = client.put_bucket_versioning().bucket("films").versioning_configuration(enabled).send().await;
    assert!(format!("{versioning:?}").contains("one version of an object"));
    assert_eq!(code(versioning), "NotImplemented");

    put(&client, "a", Vec::new()).await;
    let versions = ask!(list_object_versions).unwrap();
    assert_eq!((versions.versions()[0].key(), versions.versions()[0].version_id()), (Some("a"), Some("null")));
    client.delete_object().bucket("films").key("a").version_id("null").send().await.unwrap();
    // All goes with the bucket.
    ask!(delete_bucket).unwrap();
    client.create_bucket().bucket("films").send().await.unwrap();
    assert_eq!(code(ask!(get_bucket_tagging)), "NoSuchTagSet");
}
