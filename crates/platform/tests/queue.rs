//! SQS and DynamoDB of the platform over real sockets, driven by AWS's own SDKs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "queue/access.rs"]
mod access;
#[path = "queue/fifo.rs"]
mod fifo;
#[path = "queue/kill.rs"]
mod kill;
#[path = "queue/measures.rs"]
mod measures;
#[path = "queue/moves.rs"]
mod moves;
#[path = "queue/query.rs"]
mod query;
#[path = "queue/server.rs"]
mod server;
#[path = "queue/tables.rs"]
mod tables;

use std::time::Duration;

use aws_sdk_sqs::{
    error::ProvideErrorMetadata,
    operation::send_message_batch::builders::SendMessageBatchFluentBuilder,
    primitives::Blob,
    types::{
        ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, MessageAttributeValue,
        MessageSystemAttributeName as System, QueueAttributeName as Attribute, SendMessageBatchRequestEntry,
    },
};
use platform::{sqs::Kind, stack};
use server::Server;

/// A template's queue with AWS's defaults.
fn queue(name: &str) -> stack::Queue {
    stack::Queue { name: name.into(), ..stack::Queue::default() }
}

fn text(value: &str) -> MessageAttributeValue {
    MessageAttributeValue::builder().data_type("String").string_value(value).build().unwrap()
}

#[tokio::test]
async fn a_message_goes_through_with_all_it_carries() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let sqs = server.sqs_client();
    let url = sqs.create_queue().queue_name("q").send().await.unwrap().queue_url.unwrap();
    assert_eq!(url, format!("{}/000000000000/q", server.endpoint));
    assert_eq!(sqs.get_queue_url().queue_name("q").send().await.unwrap().queue_url.unwrap(), url);

    let bytes = MessageAttributeValue::builder().data_type("Binary.x").binary_value(Blob::new([0, 255])).build().unwrap();
    let number = MessageAttributeValue::builder().data_type("Number").string_value("-1.5").build().unwrap();
    let trace = aws_sdk_sqs::types::MessageSystemAttributeValue::builder().data_type("String").string_value("Root=1");
    let sent = sqs
        .send_message()
        .queue_url(&url)
        .message_body("käse 🧀\n")
        .message_attributes("bytes", bytes)
        .message_attributes("app.number", number)
        .message_attributes("other", text("x"))
        .message_system_attributes(aws_sdk_sqs::types::MessageSystemAttributeNameForSends::AwsTraceHeader, trace.build().unwrap())
        .message_group_id("tenant")
        .send()
        .await
        .unwrap();
    // The SDK does not check digests. These are what moto 5.2 answers to the same messages.
    assert_eq!(sent.md5_of_message_body.as_deref(), Some("f876c117c869885a04dd2e46cc163d23"));
    assert_eq!(sent.md5_of_message_attributes.as_deref(), Some("5767416281d94405de38693a71bb4ca8"));

    let receive = sqs.receive_message().queue_url(&url).message_attribute_names("app.*").message_attribute_names("bytes");
    let got = receive.message_system_attribute_names(System::All).send().await.unwrap().messages.unwrap().remove(0);
    assert_eq!(got.body.as_deref(), Some("käse 🧀\n"));
    assert_eq!(got.message_id, sent.message_id);
    assert_eq!(got.md5_of_body, sent.md5_of_message_body);
    // Of the attributes that are in the answer.
    assert_eq!(got.md5_of_message_attributes.as_deref(), Some("1666d6e2c3111ed00d0c6cfc7a662865"));
    let own = got.message_attributes.unwrap();
    assert_eq!(own.len(), 2, "only what was asked for");
    assert_eq!(own["bytes"].binary_value.as_ref().unwrap().as_ref(), [0, 255]);
    assert_eq!(own["app.number"].string_value.as_deref(), Some("-1.5"));
    let system = got.attributes.unwrap();
    assert_eq!(system[&System::ApproximateReceiveCount], "1");
    assert_eq!(system[&System::AwsTraceHeader], "Root=1");
    assert_eq!(system[&System::MessageGroupId], "tenant");
    assert!(system.contains_key(&System::SentTimestamp) && system.contains_key(&System::SenderId));

    let empty = sqs.receive_message().queue_url(&url).send().await.unwrap();
    assert_eq!(empty.messages, None, "it is in flight");
    sqs.delete_message().queue_url(&url).receipt_handle(got.receipt_handle.unwrap()).send().await.unwrap();
    let depth = server.sqs.depth("q").await.unwrap();
    assert_eq!((depth.visible, depth.in_flight, depth.delayed), (0, 0, 0));
}

#[tokio::test]
async fn a_waiting_receive_is_woken_by_whatever_makes_a_message_visible() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.sqs.ensure_queue(&queue("q")).await.unwrap();
    let sqs = server.sqs_client();
    let url = format!("{}/000000000000/q", server.endpoint);
    let wait = || sqs.receive_message().queue_url(&url).wait_time_seconds(20).visibility_timeout(600).send();
    let began = std::time::Instant::now();

    // A send, and a delay that runs out.
    let (got, sent) = tokio::join!(wait(), server.sqs.send("q", "sent".into(), None));
    sent.unwrap();
    let got = got.unwrap().messages.unwrap().remove(0);
    assert_eq!(got.body.as_deref(), Some("sent"));
    server.sqs.send("q", "delayed".into(), Some(Duration::from_secs(1))).await.unwrap();
    assert_eq!(server.sqs.depth("q").await.unwrap().delayed, 1);
    assert_eq!(wait().await.unwrap().messages.unwrap()[0].body.as_deref(), Some("delayed"));

    // A visibility timeout that is cut short.
    let handle = got.receipt_handle.unwrap();
    let (again, changed) = tokio::join!(wait(), server.sqs.change_visibility("q", &handle, Duration::ZERO));
    changed.unwrap();
    let again = again.unwrap().messages.unwrap().remove(0);
    assert_eq!(again.body.as_deref(), Some("sent"));
    assert_ne!(again.receipt_handle, Some(handle.clone()));

    // The old handle deletes nothing; nor may it hold the message back.
    server.sqs.delete("q", std::slice::from_ref(&handle)).await.unwrap();
    assert_eq!(server.sqs.depth("q").await.unwrap().in_flight, 2);
    let late = server.sqs.change_visibility("q", &handle, Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(late.kind, Kind::InvalidParameterValue);

    // A wait that ends with nothing. All of this together is shorter than one wait that nobody woke.
    let none = sqs.receive_message().queue_url(&url).wait_time_seconds(1).send().await.unwrap();
    assert_eq!(none.messages, None);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_receive_that_nobody_reads_takes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.sqs.ensure_queue(&queue("q")).await.unwrap();
    for _ in 0..20 {
        // Dropped while it waits.
        let mut waiting = Box::pin(server.sqs.receive("q", 10, Duration::from_secs(20), None));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        drop(waiting);
    }
    let mut read = 0;
    for _ in 0..20 {
        server.sqs.send("q", "m".into(), None).await.unwrap();
        // Dropped when its answer is there, unread; where the queue was quicker than this thread, it is read.
        let mut dropped = Box::pin(server.sqs.receive("q", 10, Duration::ZERO, None));
        if let std::task::Poll::Ready(answer) = futures::poll!(dropped.as_mut()) {
            read += answer.unwrap().len();
            continue;
        }
        assert!(server.sqs.depth("q").await.unwrap().in_flight > 0);
        drop(dropped);
    }
    assert!(read < 20, "none was dropped");
    let mut seen = read;
    while seen < 20 {
        let got = server.sqs.receive("q", 10, Duration::from_secs(5), None).await.unwrap();
        assert!(!got.is_empty(), "{seen} of 20 messages came back");
        assert!(got.iter().all(|m| m.attributes["ApproximateReceiveCount"] == "1"), "lost receives are not counted");
        seen += got.len();
    }
}

#[tokio::test]
async fn what_fails_too_often_goes_to_the_dead_letter_queue_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let redrive = stack::Redrive { dead_letter_target_arn: stack::queue_arn("dead"), max_receive_count: 2 };
    // The source first: a template's order means nothing.
    server.sqs.ensure_queue(&stack::Queue { redrive: Some(redrive), ..queue("q") }).await.unwrap();
    server.sqs.ensure_queue(&queue("dead")).await.unwrap();
    let sqs = server.sqs_client();
    let (url, dead) = (format!("{}/000000000000/q", server.endpoint), format!("{}/000000000000/dead", server.endpoint));
    sqs.send_message().queue_url(&url).message_body("bad").message_attributes("a", text("v")).send().await.unwrap();

    let mut sent = None;
    for count in ["1", "2"] {
        let got = server.sqs.receive("q", 1, Duration::ZERO, Some(Duration::ZERO)).await.unwrap().remove(0);
        assert_eq!(got.attributes["ApproximateReceiveCount"], count);
        sent = Some((got.message_id, got.attributes["SentTimestamp"].clone(), got.receipt_handle));
    }
    let (id, timestamp, old_handle) = sent.unwrap();
    let buried = sqs
        .receive_message()
        .queue_url(&dead)
        .wait_time_seconds(20)
        .message_system_attribute_names(System::All)
        .message_attribute_names("All");
    let (buried, nothing) = tokio::join!(buried.send(), server.sqs.receive("q", 1, Duration::ZERO, None));
    assert_eq!(nothing.unwrap(), []);
    let buried = buried.unwrap().messages.unwrap().remove(0);
    assert_eq!((buried.message_id, buried.body), (Some(id), Some("bad".into())));
    assert_eq!(buried.message_attributes.unwrap()["a"], text("v"));
    assert_eq!(buried.attributes.unwrap()[&System::SentTimestamp], timestamp);

    server.sqs.delete("q", &[old_handle]).await.unwrap();
    assert_eq!(server.sqs.depth("dead").await.unwrap().in_flight, 1, "a handle of the source reaches no dead letter");
    let sources = sqs.list_dead_letter_source_queues().queue_url(&dead).send().await.unwrap();
    assert_eq!(sources.queue_urls, [url]);
}

#[tokio::test]
async fn batches_answer_for_each_entry() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.sqs.ensure_queue(&queue("q")).await.unwrap();
    let sqs = server.sqs_client();
    let url = format!("{}/000000000000/q", server.endpoint);
    let entry = |id: &str, body: &str| SendMessageBatchRequestEntry::builder().id(id).message_body(body).message_attributes("n", text(id));
    let bad = entry("bad", "\u{1}").build().unwrap();
    let late = entry("late", "late").delay_seconds(900).build().unwrap();
    let batch = sqs.send_message_batch().queue_url(&url).entries(bad).entries(late);
    let good = (0..8).map(|n| entry(&n.to_string(), "body").build().unwrap());
    let sent = good.fold(batch, SendMessageBatchFluentBuilder::entries).send().await.unwrap();
    assert_eq!(sent.successful.len(), 9);
    assert_eq!(sent.failed[0].code, "InvalidMessageContents");

    let receive = sqs.receive_message().queue_url(&url).max_number_of_messages(10).message_attribute_names("All");
    let got = receive.send().await.unwrap().messages.unwrap();
    assert_eq!(got.len(), 8);
    let handle = |n: usize| got[n].receipt_handle.clone().unwrap();
    let change = |id: &str, handle: String, seconds| {
        let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(id).receipt_handle(handle);
        entry.visibility_timeout(seconds).build().unwrap()
    };
    let changed = sqs
        .change_message_visibility_batch()
        .queue_url(&url)
        .entries(change("a", handle(0), 0))
        .entries(change("b", handle(1), 43_201))
        .entries(change("c", "nonsense".into(), 0))
        .send()
        .await
        .unwrap();
    assert_eq!(changed.successful[0].id, "a");
    let codes: Vec<&str> = changed.failed.iter().map(|failed| failed.code.as_str()).collect();
    assert_eq!(codes, ["InvalidParameterValue", "ReceiptHandleIsInvalid"]);

    let delete = (0..8).map(|n| DeleteMessageBatchRequestEntry::builder().id(n.to_string()).receipt_handle(handle(n)).build().unwrap());
    let deleted = sqs.delete_message_batch().queue_url(&url).set_entries(Some(delete.collect())).send().await.unwrap();
    assert_eq!((deleted.successful.len(), deleted.failed.len()), (8, 0));
    assert_eq!(server.sqs.depth("q").await.unwrap(), platform::sqs::Depth { visible: 0, in_flight: 0, delayed: 1 });
    sqs.purge_queue().queue_url(&url).send().await.unwrap();
    assert_eq!(server.sqs.depth("q").await.unwrap(), platform::sqs::Depth::default());
}

#[tokio::test]
async fn refusals_carry_aws_s_codes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.sqs.ensure_queue(&queue("q")).await.unwrap();
    let sqs = server.sqs_client();
    let url = format!("{}/000000000000/q", server.endpoint);
    let send = |body: String| sqs.send_message().queue_url(&url).message_body(body);

    let gone = sqs.get_queue_url().queue_name("none").send().await.unwrap_err().into_service_error();
    assert!(gone.is_queue_does_not_exist());
    assert_eq!(gone.meta().code(), Some("AWS.SimpleQueueService.NonExistentQueue"));
    let mebibyte = "x".repeat(1 << 20);
    send(mebibyte.clone()).send().await.unwrap();
    let long = send(mebibyte.clone()).message_attributes("a", text("b")).send().await.unwrap_err();
    assert_eq!(long.code(), Some("InvalidParameterValue"));
    let entry = |id: &str| SendMessageBatchRequestEntry::builder().id(id).message_body(&mebibyte[..600_000]).build().unwrap();
    let batch = sqs.send_message_batch().queue_url(&url).entries(entry("a")).entries(entry("b"));
    assert_eq!(batch.send().await.unwrap_err().code(), Some("AWS.SimpleQueueService.BatchRequestTooLong"));
    let twice = sqs.send_message_batch().queue_url(&url).entries(entry("a")).entries(entry("a"));
    assert_eq!(twice.send().await.unwrap_err().code(), Some("AWS.SimpleQueueService.BatchEntryIdsNotDistinct"));
    let many = sqs.receive_message().queue_url(&url).max_number_of_messages(11).send().await.unwrap_err();
    assert_eq!(many.code(), Some("InvalidParameterValue"));
    let handle = sqs.delete_message().queue_url(&url).receipt_handle("nonsense").send().await.unwrap_err();
    assert_eq!(handle.code(), Some("ReceiptHandleIsInvalid"));
    let unknown = server.sqs.handle("Dance", b"{}", &server.endpoint).await;
    assert_eq!(
        (unknown.status(), &unknown.headers()["x-amzn-query-error"]),
        (400.try_into().unwrap(), &"InvalidAction;Sender".parse().unwrap())
    );

    let got = server.sqs.receive("q", 1, Duration::ZERO, Some(Duration::ZERO)).await.unwrap().remove(0);
    let change = sqs.change_message_visibility().queue_url(&url).receipt_handle(got.receipt_handle).visibility_timeout(9);
    assert!(change.send().await.unwrap_err().into_service_error().is_message_not_inflight());
}

#[tokio::test]
async fn queues_are_listed_described_and_changed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let sqs = server.sqs_client();
    for name in ["a-1", "a-2", "a-3", "b"] {
        server.sqs.ensure_queue(&queue(name)).await.unwrap();
    }
    let first = sqs.list_queues().queue_name_prefix("a-").max_results(2).send().await.unwrap();
    assert_eq!(first.queue_urls().len(), 2);
    let rest = sqs.list_queues().queue_name_prefix("a-").max_results(2).next_token(first.next_token.unwrap());
    let rest = rest.send().await.unwrap();
    assert_eq!((rest.queue_urls().len(), rest.next_token), (1, None));

    let url = format!("{}/000000000000/b", server.endpoint);
    sqs.set_queue_attributes().queue_url(&url).attributes(Attribute::VisibilityTimeout, "7").send().await.unwrap();
    let all = sqs.get_queue_attributes().queue_url(&url).attribute_names(Attribute::All).send().await.unwrap();
    let all = all.attributes.unwrap();
    for (name, value) in [
        (Attribute::VisibilityTimeout, "7"),
        (Attribute::QueueArn, "arn:aws:sqs:us-east-1:000000000000:b"),
        (Attribute::ApproximateNumberOfMessages, "0"),
        (Attribute::ApproximateNumberOfMessagesNotVisible, "0"),
        (Attribute::ApproximateNumberOfMessagesDelayed, "0"),
        (Attribute::MessageRetentionPeriod, "345600"),
    ] {
        assert_eq!(all[&name], value, "{name}");
    }
    let nowhere = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:none","maxReceiveCount":3}"#;
    let set = sqs.set_queue_attributes().queue_url(&url).attributes(Attribute::RedrivePolicy, nowhere);
    assert_eq!(set.send().await.unwrap_err().code(), Some("InvalidParameterValue"));
    sqs.delete_queue().queue_url(&url).send().await.unwrap();
    assert_eq!(sqs.list_queues().send().await.unwrap().queue_urls().len(), 3);
}

/// Invariant 1, without the kill: the tables alone bring everything back.
#[tokio::test]
async fn everything_is_there_after_a_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.sqs.ensure_queue(&queue("q")).await.unwrap();
    for body in ["flying", "ready"] {
        server.sqs.send("q", body.into(), None).await.unwrap();
    }
    server.sqs.send("q", "delayed".into(), Some(Duration::from_secs(900))).await.unwrap();
    let got = server.sqs.receive("q", 1, Duration::ZERO, None).await.unwrap().remove(0);
    let before = server.sqs.depth("q").await.unwrap();
    server.stop().await;

    let server = Server::start(dir.path()).await;
    assert_eq!(server.sqs.depth("q").await.unwrap(), before);
    assert_eq!((before.visible, before.in_flight, before.delayed), (1, 1, 1));
    server.sqs.change_visibility("q", &got.receipt_handle, Duration::ZERO).await.unwrap();
    let again = server.sqs.receive("q", 10, Duration::ZERO, None).await.unwrap();
    let same = again.iter().find(|m| m.message_id == got.message_id).unwrap();
    assert_eq!((same.body.as_str(), same.attributes["ApproximateReceiveCount"].as_str()), ("flying", "2"));
    let first = "ApproximateFirstReceiveTimestamp";
    assert_eq!(same.attributes[first], got.attributes[first]);
    assert_eq!(again.len(), 2);
}

#[tokio::test]
async fn many_senders_and_receivers_lose_and_repeat_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.sqs.ensure_queue(&queue("q")).await.unwrap();
    let mut work = tokio::task::JoinSet::new();
    for sender in 0..8 {
        let sqs = server.sqs.clone();
        work.spawn(async move {
            for n in 0..25 {
                sqs.send("q", format!("{sender}/{n}"), None).await.unwrap();
            }
            vec![]
        });
    }
    for _ in 0..4 {
        let sqs = server.sqs.clone();
        work.spawn(async move {
            let mut bodies = vec![];
            loop {
                let got = sqs.receive("q", 10, Duration::from_secs(1), None).await.unwrap();
                if got.is_empty() {
                    return bodies;
                }
                let handles: Vec<String> = got.iter().map(|m| m.receipt_handle.clone()).collect();
                sqs.delete("q", &handles).await.unwrap();
                bodies.extend(got.into_iter().map(|m| m.body));
            }
        });
    }
    let mut all: Vec<String> = work.join_all().await.into_iter().flatten().collect();
    all.sort();
    let mut expected: Vec<String> = (0..8).flat_map(|s| (0..25).map(move |n| format!("{s}/{n}"))).collect();
    expected.sort();
    assert_eq!(all, expected);
}

#[tokio::test]
async fn a_message_that_a_dead_poller_had_received_waits_out_no_timeout() {
    let dir = tempfile::tempdir().unwrap();
    let queue =
        platform::stack::Queue { name: "mapped".into(), visibility_timeout: Duration::from_secs(900), ..platform::stack::Queue::default() };
    let sqs = platform::sqs::Sqs::open(dir.path()).unwrap();
    sqs.ensure_queue(&queue).await.unwrap();
    for body in ["untouched", "extended"] {
        sqs.send("mapped", body.into(), None).await.unwrap();
    }
    let mut received = sqs.receive("mapped", 10, Duration::ZERO, None).await.unwrap();
    received.sort_by_key(|message| message.body.clone());
    assert_eq!(received.len(), 2);
    sqs.change_visibility("mapped", &received[0].receipt_handle, Duration::from_secs(600)).await.unwrap();
    drop(sqs);
    let sqs = platform::sqs::Sqs::open(dir.path()).unwrap();
    sqs.ensure_queue(&queue).await.unwrap();
    assert!(sqs.receive("mapped", 10, Duration::ZERO, None).await.unwrap().is_empty(), "still in flight");
    sqs.orphaned("mapped").await.unwrap();
    let again = sqs.receive("mapped", 10, Duration::ZERO, None).await.unwrap();
    assert_eq!(again.iter().map(|m| m.body.as_str()).collect::<Vec<_>>(), ["untouched"], "what its function extended keeps its time");
    assert_eq!(again[0].attributes.get("ApproximateReceiveCount").map(String::as_str), Some("2"));
}
