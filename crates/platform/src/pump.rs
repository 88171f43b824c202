//! Carries bucket notifications from the outbox of S3 to their queues and functions.
//!
//! A notice leaves the outbox only after its queue, or Lambda's store of events, has it on disk, so a kill in between
//! sends it again and never loses it: S3 promises at least once.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::join_all;

use crate::{
    lambda::Lambda,
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
pub(crate) async fn run(s3: Arc<S3>, sqs: Arc<Sqs>, lambda: Arc<Lambda>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match round(&s3, &sqs, &lambda).await {
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

/// Carries one batch; how many notices left the outbox. Those for functions that there is no room for wait in it, and do
/// not stand before those for queues.
async fn round(s3: &S3, sqs: &Sqs, lambda: &Arc<Lambda>) -> Result<usize, String> {
    let notices = s3.due_notices(BATCH).await.map_err(|error| error.to_string())?;
    let error = match carry(s3, sqs, lambda, &notices).await {
        Ok(sent) => return Ok(sent),
        Err(error) => error,
    };
    let others = s3.due_notices_for_queues(BATCH).await.map_err(|error| error.to_string())?;
    match carry(s3, sqs, lambda, &others).await {
        Ok(0) => Err(error),
        others => others,
    }
}

/// An error when not one of the notices could be carried.
async fn carry(s3: &S3, sqs: &Sqs, lambda: &Arc<Lambda>, notices: &[Notice]) -> Result<usize, String> {
    let (for_functions, for_queues): (Vec<_>, Vec<_>) = notices.iter().partition(|notice| is_function(&notice.target_arn));
    let sends = join_all(for_queues.into_iter().map(|notice| send(sqs, notice)));
    let (sends, accepted) = tokio::join!(sends, accept(lambda, for_functions));
    let (mut sent, mut failure) = (Vec::new(), None);
    for result in sends {
        match result {
            Ok(id) => sent.push(id),
            Err(error) => failure = Some(error),
        }
    }
    match accepted {
        Ok(ids) => sent.extend(ids),
        Err(error) => failure = Some(error),
    }
    if !sent.is_empty() {
        s3.notices_sent(&sent).await.map_err(|error| error.to_string())?;
    }
    match failure {
        Some(error) if sent.is_empty() => Err(error),
        _ => Ok(sent.len()),
    }
}

fn is_function(arn: &str) -> bool {
    arn.starts_with("arn:aws:lambda:")
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

/// Gives notices to their functions as asynchronous invocations; answers those that may leave the outbox. Where there
/// is no room for more events the others wait in it.
async fn accept(lambda: &Arc<Lambda>, notices: Vec<&Notice>) -> Result<Vec<i64>, String> {
    let (known, unknown): (Vec<_>, Vec<_>) = notices.into_iter().partition(|notice| lambda.has(&notice.target_arn));
    let mut gone: Vec<i64> = Vec::new();
    for Notice { id, target_arn, body } in unknown {
        tracing::error!(function = target_arn, notice = body, "a bucket notification was dropped: its function does not exist");
        gone.push(*id);
    }
    if known.is_empty() {
        return Ok(gone);
    }
    let events = known.iter().map(|notice| (notice.target_arn.clone(), Bytes::from(notice.body.clone()))).collect();
    match lambda.accept(events).await {
        Ok(0) if gone.is_empty() => Err("too many events wait for their functions already".into()),
        Ok(kept) => Ok(known.iter().take(kept).map(|notice| notice.id).chain(gone).collect()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        lambda::{INIT_TIMEOUT, LambdaConfig, RETRY_WAITS},
        logs::Logs,
        stack,
    };

    /// `sh` ends at once, so that the event is kept for its second try.
    fn function(name: &str) -> stack::Function {
        stack::Function {
            logical_id: name.into(),
            name: name.into(),
            code_dir: "/nonexistent".into(),
            binary: "sh".into(),
            memory_mb: 128,
            timeout: Duration::from_secs(3),
            ephemeral_mb: 512,
            environment: BTreeMap::new(),
            layers: vec![],
            reserved_concurrency: None,
            log_group: "/aws/lambda/f".into(),
            log_format: crate::stack::LogFormat::Text,
            asynchronous: stack::Asynchronous::default(),
        }
    }

    #[tokio::test]
    async fn a_notice_for_a_function_is_on_disk_before_it_leaves_the_outbox() {
        let dir = tempfile::tempdir().unwrap();
        let sqs = Sqs::open(&dir.path().join("sqs")).unwrap();
        let logs = Logs::open(&dir.path().join("logs")).unwrap();
        let config = LambdaConfig {
            data_dir: dir.path().join("lambda"),
            endpoint: "http://127.0.0.1:1".into(),
            access_key: "test".into(),
            secret_key: "test".into(),
            binary_dirs: vec!["/bin".into()],
            vcpus: 1.0,
            idle_timeout: Duration::from_secs(1),
            account_concurrency: 1000,
            init_timeout: INIT_TIMEOUT,
            retry_waits: RETRY_WAITS,
        };
        let lambda = Lambda::start(config, vec![function("f")], sqs, logs).unwrap();
        let notice = |id, function: &str| Notice { id, target_arn: stack::function_arn(function), body: format!("{{\"n\":{id}}}") };
        let notices = [notice(1, "f"), notice(2, "gone"), notice(3, "f")];
        let mut sent = accept(&lambda, notices.iter().collect()).await.unwrap();
        sent.sort_unstable();
        assert_eq!(sent, [1, 2, 3]);
        let database = rusqlite::Connection::open(dir.path().join("lambda/lambda.db")).unwrap();
        let mut events = database.prepare("SELECT CAST(payload AS TEXT) FROM events ORDER BY id").unwrap();
        let events: Vec<String> = events.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(events, ["{\"n\":1}", "{\"n\":3}"]);
        lambda.shutdown(Duration::ZERO).await;
    }
}
