//! Every event twice: what S3 tells, and the message of every task, under a message id of its own.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
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

/// Tasks whose message was sent once more; of the merge, whether that was before the others were done.
#[derive(Default)]
pub struct Twice(BTreeSet<(String, bool)>);

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
            if !self.0.contains(&(task.id.clone(), is_early)) {
                let body = json!({"schema": pipeline::plan::SCHEMA, "job": job, "task": task.id, "generation": task.generation});
                send(stack, queue, body.to_string()).await?;
                self.0.insert((task.id.clone(), is_early));
            }
        }
        Ok(())
    }

    /// A queue took a copy of every task's message of a job that is done: else its bytes say nothing of copies.
    pub fn is_of_all(&self, tasks: &[Task]) -> Result<()> {
        let doubled: BTreeSet<&str> = self.0.iter().map(|(task, _)| task.as_str()).collect();
        let all: BTreeSet<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
        ensure!(["split", "c00000", "merge"].iter().all(|id| all.contains(id)), "these are no tasks of a film: {all:?}");
        ensure!(doubled == all, "messages of {doubled:?} were sent twice, of tasks {all:?}");
        Ok(())
    }
}
