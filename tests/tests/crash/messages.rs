//! Messages, one by one and in batches, to a standard queue and to a FIFO queue.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, QueueAttributeName, SendMessageBatchRequestEntry};
use serde_json::Value;

use crate::{Clients, WRITERS, answered};

const BATCH: u64 = 10;

/// Addresses of the queues in this life of the platform.
#[derive(Clone)]
pub struct Urls {
    sent: String,
    noticed: String,
    line: String,
}

#[derive(Default)]
pub struct Record {
    /// Bodies.
    sent: BTreeSet<String>,
    line: BTreeSet<String>,
    /// Keys of objects that the bucket's queue was told of.
    pub noticed: BTreeSet<String>,
    duplicates: usize,
}

/// The FIFO queue, by API.
pub async fn prepare(clients: &Clients) {
    clients.sqs.create_queue().queue_name("line.fifo").attributes(QueueAttributeName::FifoQueue, "true").send().await.unwrap();
}

pub async fn urls(clients: &Clients) -> Urls {
    let url = async |name: &str| clients.sqs.get_queue_url().queue_name(name).send().await.unwrap().queue_url.unwrap();
    Urls { sent: url("sent").await, noticed: url("noticed").await, line: url("line.fifo").await }
}

/// Two writers to each queue, one of them in batches; a writer is a group. Bodies of a group rise.
pub async fn write(clients: Clients, urls: Urls, writer: usize, round: u64) -> Record {
    let mut record = Record::default();
    let in_line = writer >= WRITERS / 2;
    let url = if in_line { &urls.line } else { &urls.sent };
    let size = if writer.is_multiple_of(2) { 1 } else { BATCH };
    for n in 0_u64.. {
        let bodies: Vec<String> = (0..size).map(|i| format!("{writer}/{round:06}/{:08}", n * BATCH + i)).collect();
        let Some(acknowledged) = send(&clients, url, in_line.then_some(writer), bodies).await else { break };
        let queue = if in_line { &mut record.line } else { &mut record.sent };
        queue.extend(acknowledged);
    }
    record
}

async fn send(clients: &Clients, url: &str, group: Option<usize>, bodies: Vec<String>) -> Option<Vec<String>> {
    let group = group.map(|group| group.to_string());
    if let [body] = bodies.as_slice() {
        let send = clients.sqs.send_message().queue_url(url).message_body(body).set_message_group_id(group.clone());
        answered(send.set_message_deduplication_id(group.map(|_| body.clone())).send().await)?;
        return Some(bodies);
    }
    let entries = bodies.iter().enumerate().map(|(id, body)| {
        SendMessageBatchRequestEntry::builder()
            .id(id.to_string())
            .message_body(body)
            .set_message_group_id(group.clone())
            .set_message_deduplication_id(group.as_ref().map(|_| body.clone()))
            .build()
            .unwrap()
    });
    let answer = answered(clients.sqs.send_message_batch().queue_url(url).set_entries(Some(entries.collect())).send().await)?;
    Some(answer.successful().iter().map(|entry| bodies[entry.id().parse::<usize>().unwrap()].clone()).collect())
}

impl Record {
    pub fn merge(&mut self, other: Self) {
        self.sent.extend(other.sent);
        self.line.extend(other.line);
    }

    /// The queues hold at least what was acknowledged: nothing has been received yet.
    pub async fn check(&self, clients: &Clients) {
        let Urls { sent, line, .. } = urls(clients).await;
        for (url, least) in [(sent, self.sent.len()), (line, self.line.len())] {
            let depth = depth(clients, &url).await;
            assert!(depth >= least, "{url} holds {depth} messages, acknowledged were {least}");
        }
    }

    /// Receives everything and looks for what was acknowledged.
    pub async fn drain(&mut self, clients: &Clients) {
        let Urls { sent, noticed, line } = urls(clients).await;
        let bodies = drain(clients, &sent).await;
        let received: BTreeSet<_> = bodies.iter().cloned().collect();
        self.duplicates = bodies.len() - received.len();
        let lost: Vec<_> = self.sent.difference(&received).collect();
        assert!(lost.is_empty(), "{} acknowledged messages are lost, such as {}", lost.len(), lost[0]);

        let bodies = drain(clients, &line).await;
        let mut last: BTreeMap<&str, &str> = BTreeMap::new();
        for body in &bodies {
            let before = last.insert(body.split('/').next().unwrap(), body);
            assert!(before.is_none_or(|before| before < body.as_str()), "{body} came after {before:?} of its group");
        }
        let received: BTreeSet<_> = bodies.iter().cloned().collect();
        let lost: Vec<_> = self.line.difference(&received).collect();
        assert!(lost.is_empty(), "{} acknowledged messages of the FIFO queue are lost, such as {}", lost.len(), lost[0]);

        for body in drain(clients, &noticed).await {
            let event: Value = serde_json::from_str(&body).unwrap();
            let records = event["Records"].as_array().into_iter().flatten();
            self.noticed.extend(records.map(|record| record["s3"]["object"]["key"].as_str().unwrap().to_owned()));
        }
    }
}

/// Messages in any state.
async fn depth(clients: &Clients, url: &str) -> usize {
    let answer = clients.sqs.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All).send().await.unwrap();
    let of = |name| answer.attributes().unwrap().get(&name).unwrap().parse::<usize>().unwrap();
    of(QueueAttributeName::ApproximateNumberOfMessages)
        + of(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
        + of(QueueAttributeName::ApproximateNumberOfMessagesDelayed)
}

/// Bodies of all messages, in the order of their arrival here.
async fn drain(clients: &Clients, url: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    while depth(clients, url).await > 0 {
        let answer = clients.sqs.receive_message().queue_url(url).max_number_of_messages(10).wait_time_seconds(1).send().await.unwrap();
        let messages = answer.messages();
        if messages.is_empty() {
            continue;
        }
        let entries = messages.iter().enumerate().map(|(id, message)| {
            let entry = DeleteMessageBatchRequestEntry::builder().id(id.to_string());
            entry.receipt_handle(message.receipt_handle().unwrap()).build().unwrap()
        });
        let deleted = clients.sqs.delete_message_batch().queue_url(url).set_entries(Some(entries.collect())).send().await.unwrap();
        assert_eq!(deleted.successful().len(), messages.len(), "{deleted:?}");
        bodies.extend(messages.iter().map(|message| message.body().unwrap().to_owned()));
    }
    bodies
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} messages ({} came twice), {} in FIFO groups in order", self.sent.len(), self.duplicates, self.line.len())
    }
}
