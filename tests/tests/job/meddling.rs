//! What a test does behind the functions' backs: mappings switched off, messages lost, records made old, and what dead workers
//! leave.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::primitives::ByteStream;
use tests::{ledger::Task, run::Fanreel};

const LONG: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(100);

/// Whether functions are given what their queues hold.
pub async fn switch(fanreel: &Fanreel, functions: &[&str], on: bool) -> Result<()> {
    let lambda = aws_sdk_lambda::Client::new(&fanreel.config);
    for function in functions {
        let found = lambda.list_event_source_mappings().function_name(format!("fanreel-{function}")).send().await?;
        ensure!(!found.event_source_mappings().is_empty(), "{function} has no mapping");
        for mapping in found.event_source_mappings() {
            lambda.update_event_source_mapping().uuid(mapping.uuid().context("uuid")?).enabled(on).send().await?;
        }
    }
    Ok(())
}

/// Waits until a queue, by output, holds so many messages.
pub async fn holds(fanreel: &Fanreel, queue: &str, messages: u64) -> Result<()> {
    let end = Instant::now() + LONG;
    loop {
        let depth = fanreel.depth(queue).await?;
        if depth == messages {
            return Ok(());
        }
        ensure!(Instant::now() < end, "{queue} holds {depth} messages, not {messages}");
        tokio::time::sleep(LOOK).await;
    }
}

/// Loses them all, once there are so many.
pub async fn lose(fanreel: &Fanreel, queue: &str, messages: u64) -> Result<()> {
    holds(fanreel, queue, messages).await?;
    let url = fanreel.outputs.get(queue).with_context(|| queue.to_owned())?;
    fanreel.sqs.purge_queue().queue_url(url).send().await?;
    Ok(())
}

/// A job's tasks, once they are so.
pub async fn tasks(fanreel: &Fanreel, job: &str, what: &str, are_so: impl Fn(&[Task]) -> bool) -> Result<Vec<Task>> {
    let end = Instant::now() + LONG;
    loop {
        let tasks = fanreel.task_items(job).await?;
        if are_so(&tasks) {
            return Ok(tasks);
        }
        ensure!(Instant::now() < end, "waited {} s for tasks of {job} {what}: {tasks:?}", LONG.as_secs());
        tokio::time::sleep(LOOK).await;
    }
}

/// Where a job keeps what it makes.
fn places(job: &str) -> [String; 3] {
    [format!("streams/{job}/"), format!("encoded/{job}_"), format!("work/{job}/")]
}

/// Leaves an object and an unfinished upload in each place, as workers that died.
pub async fn litter(fanreel: &Fanreel, job: &str) -> Result<()> {
    for place in places(job) {
        let (bucket, key) = (fanreel.bucket(), format!("{place}stray"));
        fanreel.s3.put_object().bucket(bucket).key(&key).body(ByteStream::from_static(b"of nobody")).send().await?;
        fanreel.s3.create_multipart_upload().bucket(bucket).key(&key).send().await?;
    }
    Ok(())
}

/// Nothing of it is left.
pub async fn is_tidy(fanreel: &Fanreel, job: &str) -> Result<()> {
    for place in places(job) {
        let left = fanreel.keys(&format!("{place}stray")).await?;
        let begun = fanreel.s3.list_multipart_uploads().bucket(fanreel.bucket()).prefix(&place).send().await?;
        ensure!(left.is_empty() && begun.uploads().is_empty(), "left at {place}: {left:?}, {:?}", begun.uploads());
    }
    Ok(())
}
