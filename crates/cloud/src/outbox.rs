//! Messages over SQS.

use std::{collections::HashMap, time::Duration};

use aws_sdk_sqs::{
    Client,
    error::BuildError,
    types::{MessageAttributeValue, QueueAttributeName, SendMessageBatchRequestEntry},
};
use pipeline::{
    Fault, Shortage,
    id::TaskId,
    message::{EscalationMessage, Notification, TaskMessage},
    ports::{Delivery, Outbox},
    task::Class,
    trace,
};
use serde::Serialize;

use crate::{clock::pause, faults::classify, settings::Queues, webhook::Webhook};

/// `SendMessageBatch` takes no more.
const BATCH: usize = 10;
/// Rounds for what a batch left unsent.
const ROUNDS: u32 = 6;
/// Longest visibility timeout, seconds.
const MAX_VISIBILITY_S: u64 = 43_200;

/// The queues.
#[derive(Clone, Debug)]
pub struct SqsOutbox {
    client: Client,
    queues: Queues,
    webhook: Option<Webhook>,
}

impl SqsOutbox {
    pub fn new(client: Client, queues: Queues) -> Self {
        Self { client, queues, webhook: None }
    }

    /// The same, which tells people too.
    #[must_use]
    pub fn telling(self, webhook: Option<Webhook>) -> Self {
        Self { webhook, ..self }
    }

    /// Which queue serves a kind of task. An error names the variable that is missing.
    fn queue(&self, task: TaskId, class: Class) -> Result<&str, Fault> {
        let (url, variable) = match (task, class) {
            (TaskId::Split, _) => (&self.queues.split, "SPLIT_QUEUE_URL"),
            (TaskId::Merge, _) => (&self.queues.merge, "MERGE_QUEUE_URL"),
            (_, Class::Standard) => (&self.queues.transcode, "TRANSCODE_QUEUE_URL"),
            (_, Class::Large) => (&self.queues.transcode_large, "TRANSCODE_LARGE_QUEUE_URL"),
        };
        named(url.as_deref(), variable)
    }

    /// Puts a store's event into the ingest queue, as it is.
    pub async fn forward(&self, event: &str) -> Result<(), Fault> {
        let queue = named(self.queues.ingest.as_deref(), "INGEST_QUEUE_URL")?;
        let sent = self.client.send_message().queue_url(queue).message_body(event).send().await;
        sent.map(drop).map_err(|e| classify(&format!("sending to {queue}"), &e))
    }

    async fn send_batch(&self, queue: &str, mut entries: Vec<SendMessageBatchRequestEntry>) -> Result<(), Fault> {
        let what = format!("sending to {queue}");
        for round in 0..ROUNDS {
            let sent = self.client.send_message_batch().queue_url(queue).set_entries(Some(entries.clone())).send().await;
            let answer = sent.map_err(|e| classify(&what, &e))?;
            if let Some(refused) = answer.failed.iter().find(|failed| failed.sender_fault) {
                let message = refused.message().unwrap_or_default();
                return Err(Fault::escalate(Shortage::Tool, format!("{what}: {}: {message}", refused.code)));
            }
            entries.retain(|entry| answer.failed.iter().any(|failed| failed.id == entry.id));
            if entries.is_empty() {
                return Ok(());
            }
            pause(round).await;
        }
        Err(Fault::Retry(format!("{what}: {} messages were still refused after {ROUNDS} rounds", entries.len())))
    }
}

fn named<'a>(url: Option<&'a str>, variable: &str) -> Result<&'a str, Fault> {
    let missing =
        || Fault::escalate(Shortage::Tool, format!("this function has no {variable}: set it in its environment (template.yaml does)"));
    url.ok_or_else(missing)
}

fn body(message: &impl Serialize) -> Result<String, Fault> {
    serde_json::to_string(message).map_err(|e| unwritten(&e))
}

fn unwritten(error: &dyn std::error::Error) -> Fault {
    Fault::escalate(Shortage::Tool, format!("a message cannot be written: {error}"))
}

/// One of a batch. Its `traceparent` (W3C "Trace Context", as an attribute of the message) is for programs that are not ours
/// and follow the queue: a worker takes the sender from the body.
fn entry(at: usize, message: &TaskMessage) -> Result<SendMessageBatchRequestEntry, Fault> {
    let built = |error: BuildError| unwritten(&error);
    let request = SendMessageBatchRequestEntry::builder().id(at.to_string()).message_body(body(message)?);
    let Some(parent) = trace::parent(message) else { return request.build().map_err(built) };
    let parent = MessageAttributeValue::builder().data_type("String").string_value(parent).build().map_err(built)?;
    request.message_attributes(trace::PARENT, parent).build().map_err(built)
}

/// Whole seconds, rounded up: a message that comes back too early finds the lease still held.
fn visibility(delay: Duration) -> i32 {
    let seconds = delay.as_secs().saturating_add(u64::from(delay.subsec_nanos() > 0));
    i32::try_from(seconds.min(MAX_VISIBILITY_S)).unwrap_or(i32::MAX)
}

impl Outbox for SqsOutbox {
    async fn send_tasks(&self, class: Class, messages: &[TaskMessage]) -> Result<(), Fault> {
        let mut by_queue: HashMap<&str, Vec<&TaskMessage>> = HashMap::new();
        for message in messages {
            by_queue.entry(self.queue(message.task, class)?).or_default().push(message);
        }
        for (queue, messages) in by_queue {
            for batch in messages.chunks(BATCH) {
                let entries: Result<Vec<_>, _> = batch.iter().enumerate().map(|(at, message)| entry(at, message)).collect();
                self.send_batch(queue, entries?).await?;
            }
        }
        Ok(())
    }

    async fn escalate(&self, message: &EscalationMessage) -> Result<(), Fault> {
        let queue = named(self.queues.escalation.as_deref(), "ESCALATION_QUEUE_URL")?;
        let sent = self.client.send_message().queue_url(queue).message_body(body(message)?).send().await;
        sent.map(drop).map_err(|e| classify(&format!("sending to {queue}"), &e))
    }

    async fn hold(&self, delivery: &Delivery, delay: Duration) {
        let request = self.client.change_message_visibility().queue_url(&delivery.queue).receipt_handle(&delivery.receipt);
        if let Err(error) = request.visibility_timeout(visibility(delay)).send().await {
            let fault = classify("changing a message's visibility", &error);
            tracing::warn!(message_id = delivery.message, queue = delivery.queue, %fault, "the message keeps its visibility");
        }
    }

    async fn notify(&self, notification: &Notification) -> Result<(), Fault> {
        match &self.webhook {
            Some(webhook) => webhook.send(notification).await,
            None => Ok(()),
        }
    }

    async fn depth(&self, task: TaskId, class: Class) -> Result<u64, Fault> {
        let queue = self.queue(task, class)?;
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        let request = self.client.get_queue_attributes().queue_url(queue).set_attribute_names(Some(names.to_vec()));
        let answer = request.send().await.map_err(|e| classify(&format!("reading the depth of {queue}"), &e))?;
        let attributes = answer.attributes.unwrap_or_default();
        Ok(names.iter().filter_map(|name| attributes.get(name)).filter_map(|count| count.parse::<u64>().ok()).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_rounded_up_and_bounded() {
        assert_eq!(visibility(Duration::ZERO), 0);
        assert_eq!(visibility(Duration::from_millis(1)), 1);
        assert_eq!(visibility(Duration::from_millis(62_000)), 62);
        assert_eq!(visibility(Duration::MAX), 43_200);
    }
}
