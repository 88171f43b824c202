//! Every event twice: what S3 tells, and the message of every task, under a message id of its own.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::json;
use tests::{ledger::Task, run::Fanreel};

/// Tells of an upload as S3 did.
pub async fn tell(fanreel: &Fanreel, key: &str, etag: &str, size: u64) -> Result<()> {
    let event = json!({"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": fanreel.bucket()},
        "object": {"key": key, "size": size, "eTag": etag.trim_matches('"'), "sequencer": "00"}}}]});
    send(fanreel, "IngestQueueUrl", event.to_string()).await
}

async fn send(fanreel: &Fanreel, queue: &str, body: String) -> Result<()> {
    let url = fanreel.outputs.get(queue).with_context(|| queue.to_owned())?;
    fanreel.sqs.send_message().queue_url(url).message_body(body).send().await?;
    Ok(())
}

/// Tasks whose message was sent once more.
#[derive(Default)]
pub struct Twice(BTreeSet<String>);

impl Twice {
    /// `planned`: the plan stands, so that the messages of its parts may be out. Before, there is none to be doubled.
    pub async fn send(&mut self, fanreel: &Fanreel, job: &str, planned: bool, tasks: &[Task]) -> Result<()> {
        let parts_done = tasks.iter().all(|task| task.id == "merge" || task.state == "done");
        for task in tasks {
            let queue = match task.id.as_str() {
                "split" => "SplitQueueUrl",
                // Its message is sent by the last of the others.
                "merge" if !parts_done => continue,
                _ if !planned => continue,
                "merge" => "MergeQueueUrl",
                _ => "TranscodeQueueUrl",
            };
            if self.0.insert(task.id.clone()) {
                let body = json!({"schema": pipeline::plan::SCHEMA, "job": job, "task": task.id, "generation": task.generation});
                send(fanreel, queue, body.to_string()).await?;
            }
        }
        Ok(())
    }
}
