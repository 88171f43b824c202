//! Carries bucket notifications from the outbox of S3 to their queues.
//!
//! A notice leaves the outbox only after its queue has it on disk, so a kill in between sends it again and never loses
//! it: S3 promises at least once.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;

use crate::{
    s3::{Notice, S3},
    sqs::{Kind, Sqs},
    stack::name_of_arn,
};

/// Notices carried together: sent at once, they share the queue's commits.
const BATCH: usize = 100;
/// Wait after an error, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Runs until dropped.
pub(crate) async fn run(s3: Arc<S3>, sqs: Arc<Sqs>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match round(&s3, &sqs).await {
            Ok(0) => s3.notice_waits().await,
            Ok(_) => pause = FIRST_PAUSE,
            Err(error) => {
                tracing::warn!(error, pause_ms = pause.as_millis(), "bucket notifications wait");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Carries one batch; how many notices left the outbox.
async fn round(s3: &S3, sqs: &Sqs) -> Result<usize, String> {
    let notices = s3.due_notices(BATCH).await.map_err(|error| error.to_string())?;
    let sends = notices.iter().map(|notice| send(sqs, notice));
    let (mut sent, mut failure) = (Vec::new(), None);
    for result in join_all(sends).await {
        match result {
            Ok(id) => sent.push(id),
            Err(error) => failure = Some(error),
        }
    }
    if !sent.is_empty() {
        s3.notices_sent(&sent).await.map_err(|error| error.to_string())?;
    }
    match failure {
        Some(error) if sent.is_empty() => Err(error),
        _ => Ok(sent.len()),
    }
}

async fn send(sqs: &Sqs, notice: &Notice) -> Result<i64, String> {
    let queue = name_of_arn(&notice.target_arn);
    match sqs.send(queue, notice.body.clone(), None).await {
        Ok(_) => Ok(notice.id),
        // As on AWS, what nobody can take is gone; kept, it would stand before all others for ever.
        Err(error) if error.kind == Kind::QueueDoesNotExist => {
            tracing::error!(queue, notice = notice.body, "a bucket notification was dropped: its queue does not exist");
            Ok(notice.id)
        }
        Err(error) => Err(format!("{queue}: {error}")),
    }
}
