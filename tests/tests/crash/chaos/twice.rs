//! Every event twice: what S3 tells, and the message of every task, under a message id of its own.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::json;
use tests::{ledger::Task, stack::Stack};

/// Tells of an upload as S3 did.
pub async fn tell(stack: &Stack, key: &str, etag: &str, size: u64) -> Result<()> {
    let event = json!({"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": stack.bucket()},
        "object": {"key": key, "size": size, "eTag": etag.trim_matches('"'), "sequencer": "00"}}}]});
    send(stack, "IngestQueueUrl", event.to_string()).await
}

async fn send(stack: &Stack, queue: &str, body: String) -> Result<()> {
    let url = stack.outputs.get(queue).with_context(|| queue.to_owned())?;
    stack.sqs.send_message().queue_url(url).message_body(body).send().await?;
    Ok(())
}

/// Tasks whose message was sent once more.
#[derive(Default)]
pub struct Twice(BTreeSet<String>);

impl Twice {
    /// `planned`: the plan stands, so that the messages of its parts may be out. Before, there is none to be doubled.
    pub async fn send(&mut self, stack: &Stack, job: &str, planned: bool, tasks: &[Task]) -> Result<()> {
        let parts_done = tasks.iter().all(|task| task.id == "merge" || task.state == "done");
        for task in tasks {
            let is_early = task.id == "merge" && !parts_done;
            let queue = match task.id.as_str() {
                "split" => "SplitQueueUrl",
                _ if !planned => continue,
                "merge" => "MergeQueueUrl",
                _ => "TranscodeQueueUrl",
            };
            // The merge's is sent by the last of the others: one more comes before that, and one after.
            if self.0.insert(format!("{} {is_early}", task.id)) {
                let body = json!({"schema": pipeline::plan::SCHEMA, "job": job, "task": task.id, "generation": task.generation});
                send(stack, queue, body.to_string()).await?;
            }
        }
        Ok(())
    }
}
