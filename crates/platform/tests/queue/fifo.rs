//! FIFO queues through the SDK: order, deduplication, dead letters, and what AWS refuses.

use std::time::Duration;

use aws_sdk_sqs::{
    Client,
    error::ProvideErrorMetadata,
    operation::send_message::{SendMessageOutput, builders::SendMessageFluentBuilder},
    types::{Message, MessageSystemAttributeName as System, QueueAttributeName as Attribute, SendMessageBatchRequestEntry},
};
use platform::{sqs::Depth, stack};

use crate::server::Server;

fn fifo(name: &str, content_based_deduplication: bool) -> stack::Queue {
    let fifo = stack::Fifo { content_based_deduplication, ..stack::Fifo::default() };
    stack::Queue { name: name.into(), fifo: Some(fifo), ..stack::Queue::default() }
}

fn send(sqs: &Client, url: &str, group: &str, body: &str) -> SendMessageFluentBuilder {
    sqs.send_message().queue_url(url).message_group_id(group).message_body(body)
}

async fn sent(sqs: &Client, url: &str, group: &str, body: &str) -> SendMessageOutput {
    send(sqs, url, group, body).send().await.unwrap()
}

async fn receive(sqs: &Client, url: &str, most: i32) -> Vec<Message> {
    let receive = sqs.receive_message().queue_url(url).max_number_of_messages(most).message_system_attribute_names(System::All);
    receive.send().await.unwrap().messages.unwrap_or_default()
}

fn bodies(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.body.as_deref().unwrap()).collect()
}

async fn delete(sqs: &Client, url: &str, message: &Message) {
    sqs.delete_message().queue_url(url).receipt_handle(message.receipt_handle.as_deref().unwrap()).send().await.unwrap();
}

#[tokio::test]
async fn a_group_keeps_its_order_and_stands_still_while_one_of_it_is_in_flight() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let sqs = server.sqs_client();
    let create = sqs.create_queue().queue_name("q.fifo").attributes(Attribute::FifoQueue, "true");
    let url = create.attributes(Attribute::ContentBasedDeduplication, "true").send().await.unwrap().queue_url.unwrap();
    let mut numbers = vec![];
    for (group, body) in [("a", "a1"), ("b", "b1"), ("a", "a2"), ("a", "a3"), ("b", "b2")] {
        numbers.push(sent(&sqs, &url, group, body).await.sequence_number.unwrap());
    }
    assert!(numbers.is_sorted() && numbers.iter().all(|number| number.len() == 20), "{numbers:?}");

    let first = receive(&sqs, &url, 2).await;
    assert_eq!(bodies(&first), ["a1", "a2"], "as many of one group as there is room for");
    let system = first[0].attributes.as_ref().unwrap();
    assert_eq!((system[&System::SequenceNumber].as_str(), system[&System::MessageGroupId].as_str()), (numbers[0].as_str(), "a"));
    // The digest of "a1", by sha256sum.
    let digest = "f55ff16f66f43360266b95db6f8fec01d76031054306ae4a4b380598f6cfd114";
    assert_eq!(system[&System::MessageDeduplicationId], digest);
    assert_eq!(bodies(&receive(&sqs, &url, 10).await), ["b1", "b2"], "group a stands still");

    delete(&sqs, &url, &first[0]).await;
    assert!(receive(&sqs, &url, 10).await.is_empty(), "a2 is still in flight");
    let back = sqs.change_message_visibility().queue_url(&url).receipt_handle(first[1].receipt_handle.as_deref().unwrap());
    back.visibility_timeout(0).send().await.unwrap();
    assert_eq!(bodies(&receive(&sqs, &url, 10).await), ["a2", "a3"]);

    // The handle of a message that is visible again deletes nothing here, and says so.
    let late = sqs.delete_message().queue_url(&url).receipt_handle(first[1].receipt_handle.as_deref().unwrap()).send().await;
    let late = late.unwrap_err();
    assert_eq!(late.code(), Some("InvalidParameterValue"));
    assert!(late.message().unwrap().contains("The receipt handle has expired"), "{late:?}");
    // That of a message that is gone is no error.
    delete(&sqs, &url, &first[0]).await;
}

#[tokio::test]
async fn a_message_sent_twice_is_one_also_after_it_is_gone_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let by_group = stack::Fifo { deduplicate_by_group: true, ..stack::Fifo::default() };
    server.sqs.ensure_queues(&[fifo("q.fifo", false), stack::Queue { fifo: Some(by_group), ..fifo("g.fifo", false) }]).await.unwrap();
    let url = format!("{}/000000000000/q.fifo", server.endpoint);
    let sqs = server.sqs_client();
    let first = send(&sqs, &url, "a", "one").message_deduplication_id("id").send().await.unwrap();
    let again = send(&sqs, &url, "b", "two").message_deduplication_id("id").send().await.unwrap();
    assert_eq!((&again.message_id, &again.sequence_number), (&first.message_id, &first.sequence_number));
    assert_ne!(again.md5_of_message_body, first.md5_of_message_body, "the digest is that of what was sent");
    let got = receive(&sqs, &url, 10).await;
    assert_eq!(bodies(&got), ["one"]);
    delete(&sqs, &url, &got[0]).await;
    for (group, id) in [("a", "id"), ("b", "id"), ("b", "id")] {
        server.sqs.send_fifo("g.fifo", group, Some(id), "m".into()).await.unwrap();
    }
    assert_eq!(server.sqs.depth("g.fifo").await.unwrap().visible, 2, "one in each group");
    server.stop().await;

    let server = Server::start(dir.path()).await;
    let id = server.sqs.send_fifo("q.fifo", "a", Some("id"), "three".into()).await.unwrap();
    assert_eq!(Some(id), first.message_id);
    assert_eq!(server.sqs.depth("q.fifo").await.unwrap(), Depth::default());
    let url = format!("{}/000000000000/q.fifo", server.endpoint);
    let next = send(&server.sqs_client(), &url, "a", "four").message_deduplication_id("other").send().await.unwrap();
    assert!(next.sequence_number > first.sequence_number, "numbers rise over a restart, though no message was left");
}

#[tokio::test]
async fn a_receive_is_repeated_by_its_attempt_id_until_something_happens_to_its_messages() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.sqs.ensure_queue(&fifo("q.fifo", true)).await.unwrap();
    let url = format!("{}/000000000000/q.fifo", server.endpoint);
    let sqs = server.sqs_client();
    for body in ["1", "2", "3"] {
        sent(&sqs, &url, "g", body).await;
    }
    let attempt = || async {
        let receive = sqs.receive_message().queue_url(&url).max_number_of_messages(2).receive_request_attempt_id("x");
        receive.send().await.unwrap().messages.unwrap_or_default()
    };
    let first = attempt().await;
    assert_eq!(bodies(&first), ["1", "2"]);
    assert_eq!(attempt().await, first, "handles included");
    delete(&sqs, &url, &first[0]).await;
    assert!(attempt().await.is_empty(), "it is a new receive now, and the group stands still");
}

#[tokio::test]
async fn dead_letters_of_a_fifo_queue_keep_their_order_and_name_their_source() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let redrive = stack::Redrive { dead_letter_target_arn: stack::queue_arn("dead.fifo"), max_receive_count: 1 };
    let queues = [stack::Queue { redrive: Some(redrive), ..fifo("q.fifo", true) }, fifo("dead.fifo", false)];
    server.sqs.ensure_queues(&queues).await.unwrap();
    let (url, dead) = (format!("{}/000000000000/q.fifo", server.endpoint), format!("{}/000000000000/dead.fifo", server.endpoint));
    let sqs = server.sqs_client();
    for body in ["1", "2", "3"] {
        sent(&sqs, &url, "g", body).await;
    }
    let failed = server.sqs.receive("q.fifo", 2, Duration::ZERO, Some(Duration::ZERO)).await.unwrap();
    assert_eq!(failed.len(), 2);
    assert_eq!(bodies(&receive(&sqs, &url, 10).await), ["3"], "what comes after dead letters is not held up");
    let dead_letters = receive(&sqs, &dead, 10).await;
    assert_eq!(bodies(&dead_letters), ["1", "2"]);
    let system = dead_letters[0].attributes.as_ref().unwrap();
    assert_eq!(system[&System::DeadLetterQueueSourceArn], stack::queue_arn("q.fifo"));
    assert_eq!(Some(&system[&System::MessageDeduplicationId]), dead_letters[0].message_id.as_ref(), "two messages of one id fit");
    assert_eq!(dead_letters[0].message_id.as_deref(), Some(failed[0].message_id.as_str()));
}

#[tokio::test]
async fn what_does_not_fit_the_type_of_a_queue_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.sqs.ensure_queues(&[fifo("q.fifo", false), fifo("content.fifo", true), super::queue("q")]).await.unwrap();
    let sqs = server.sqs_client();
    let url = |name: &str| format!("{}/000000000000/{name}", server.endpoint);
    let (first_in, content, standard) = (url("q.fifo"), url("content.fifo"), url("q"));

    let no_group = sqs.send_message().queue_url(&content).message_body("m").send().await.unwrap_err();
    assert_eq!(no_group.code(), Some("MissingParameter"));
    let no_id = send(&sqs, &first_in, "g", "m").send().await.unwrap_err();
    assert_eq!(no_id.code(), Some("InvalidParameterValue"));
    let delayed = send(&sqs, &content, "g", "m").delay_seconds(2).send().await.unwrap_err();
    assert!(delayed.message().unwrap().starts_with("Value 2 for parameter DelaySeconds is invalid."), "{delayed:?}");
    send(&sqs, &content, "g", "m").delay_seconds(0).send().await.unwrap();
    let id = send(&sqs, &standard, "g", "m").message_deduplication_id("x").send().await.unwrap_err();
    assert_eq!(id.code(), Some("InvalidParameterValue"));

    let entry = |id: &str| SendMessageBatchRequestEntry::builder().id(id).message_body(id);
    let batch = sqs.send_message_batch().queue_url(&content).entries(entry("a").message_group_id("g").build().unwrap());
    let batch = batch.entries(entry("b").build().unwrap()).send().await.unwrap_err();
    assert_eq!(batch.code(), Some("InvalidParameterValue"), "one without a group refuses the batch");
    assert_eq!(server.sqs.depth("content.fifo").await.unwrap().visible, 1);

    let create = |name: &str, attribute: Option<&str>| {
        let create = sqs.create_queue().queue_name(name);
        attribute.iter().fold(create, |create, value| create.attributes(Attribute::FifoQueue, *value)).send()
    };
    for (name, attribute, code) in [
        ("new.fifo", None, "InvalidParameterValue"),
        ("new", Some("true"), "InvalidParameterValue"),
        ("new", Some("false"), "InvalidAttributeName"),
        (".fifo", Some("true"), "InvalidParameterValue"),
    ] {
        assert_eq!(create(name, attribute).await.unwrap_err().code(), Some(code), "{name} {attribute:?}");
    }
    let set = |url: &str, name: Attribute, value: &str| sqs.set_queue_attributes().queue_url(url).attributes(name, value).send();
    let changed = set(&first_in, Attribute::FifoQueue, "false").await.unwrap_err();
    assert_eq!(changed.code(), Some("InvalidAttributeValue"));
    let policy = |arn: String| format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":3}}"#);
    for (url, grave) in [(&first_in, "q"), (&standard, "q.fifo")] {
        let mixed = set(url, Attribute::RedrivePolicy, &policy(stack::queue_arn(grave))).await.unwrap_err();
        assert_eq!(mixed.code(), Some("InvalidParameterValue"));
    }
    let redrive = stack::Redrive { dead_letter_target_arn: stack::queue_arn("q"), max_receive_count: 1 };
    let mixed = server.sqs.ensure_queues(&[stack::Queue { redrive: Some(redrive), ..fifo("mixed.fifo", true) }]).await;
    assert!(mixed.unwrap_err().message.contains("same type"), "a template's queues, too");

    set(&first_in, Attribute::ContentBasedDeduplication, "true").await.unwrap();
    let all = sqs.get_queue_attributes().queue_url(&first_in).attribute_names(Attribute::All).send().await.unwrap().attributes.unwrap();
    for (name, value) in [
        (Attribute::FifoQueue, "true"),
        (Attribute::ContentBasedDeduplication, "true"),
        (Attribute::DeduplicationScope, "queue"),
        (Attribute::FifoThroughputLimit, "perQueue"),
    ] {
        assert_eq!(all[&name], value, "{name}");
    }
}
