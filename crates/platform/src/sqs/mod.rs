//! SQS: standard queues, durable, on one machine.
//!
//! `queue` and `account` are the behaviour, pure; `store` keeps it; `writer` is the one thread that runs both with group
//! commit and wakes waiting receives; `wire` speaks AWS's JSON protocol. Not here: FIFO queues, message
//! move tasks, tags, permissions, the query protocol.
//!
//! An answer with success means that the change is on disk.

mod account;
mod error;
mod fair;
mod handle;
mod message;
mod queue;
#[cfg(test)]
mod queue_tests;
mod settings;
mod store;
mod wire;
mod writer;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        mpsc::{self, Sender},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::{Semaphore, oneshot};
use uuid::Uuid;

use self::{
    account::Envelope,
    message::Content,
    queue::Ask,
    settings::Settings,
    writer::{Answer, Command, Engine, Job},
};
use crate::stack;

pub use self::{
    error::{Kind, SqsError},
    message::MessageAttribute,
    queue::Depth,
};

/// Requests waiting for the writer, in KiB of content (a request without content counts as one).
const MAX_PENDING_KIB: usize = 64 * 1024;

/// All queues of the platform. Dropping it ends its writer thread.
#[derive(Debug)]
pub struct Sqs {
    commands: Sender<Command>,
    pending: Arc<Semaphore>,
    writer: Option<JoinHandle<()>>,
}

/// A message as a receive gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub message_id: String,
    /// New at each receive.
    pub receipt_handle: String,
    pub body: String,
    pub md5_of_body: String,
    /// System attributes: `SentTimestamp`, `ApproximateReceiveCount`, …
    pub attributes: BTreeMap<String, String>,
    pub message_attributes: BTreeMap<String, MessageAttribute>,
}

/// A message to be sent.
#[derive(Clone, Debug, Default)]
struct Outgoing {
    content: Content,
    group: Option<String>,
    delay_s: Option<i64>,
}

/// What a receive asks for, not yet held against the ranges of the API.
#[derive(Clone, Copy, Debug, Default)]
struct Receive {
    max: i64,
    /// The queue's own wait if `None`.
    wait_ms: Option<i64>,
    visibility_s: Option<i64>,
}

impl Sqs {
    /// Opens the queues kept in `dir`, which is made if need be. One process at a time.
    pub fn open(dir: &Path) -> Result<Arc<Self>, SqsError> {
        let (commands, inbox) = mpsc::channel();
        let engine = Engine::open(dir, commands.clone())?;
        let writer = std::thread::Builder::new()
            .name("sqs-writer".into())
            .spawn(move || engine.run(&inbox))
            .map_err(|e| SqsError::internal("Cannot start the thread of the queues", &e))?;
        Ok(Arc::new(Self { commands, pending: Arc::new(Semaphore::new(MAX_PENDING_KIB)), writer: Some(writer) }))
    }

    /// Creates a template's queue, or gives an existing one the template's attributes. Its dead-letter queue may be
    /// created later: until then nothing is moved there.
    pub async fn ensure_queue(&self, queue: &stack::Queue) -> Result<(), SqsError> {
        let settings = Settings::of_stack(queue).map_err(|e| SqsError { message: format!("Queue {}: {}", queue.name, e.message), ..e })?;
        let name = queue.name.clone();
        self.ask(1, move |engine, now_ms| engine.account.configure(now_ms, &name, settings)).await
    }

    /// Sends one message; `delay` (whole seconds, at most 900) in place of the queue's own. The answer is its id.
    pub async fn send(&self, queue: &str, body: String, delay: Option<Duration>) -> Result<String, SqsError> {
        let content = Content { body, ..Content::default() };
        let delay_s = delay.map(|delay| i64::try_from(delay.as_secs()).unwrap_or(i64::MAX));
        self.send_one(queue, Outgoing { content, delay_s, group: None }).await
    }

    /// As [`Sqs::send`], without a delay and with message attributes.
    pub async fn send_with_attributes(
        &self,
        queue: &str,
        body: String,
        attributes: BTreeMap<String, MessageAttribute>,
    ) -> Result<String, SqsError> {
        let content = Content { body, attributes, ..Content::default() };
        self.send_one(queue, Outgoing { content, ..Outgoing::default() }).await
    }

    async fn send_one(&self, queue: &str, outgoing: Outgoing) -> Result<String, SqsError> {
        let sent = self.send_many(queue, vec![outgoing]).await?;
        let first = sent.into_iter().next().unwrap_or_else(|| Err(SqsError::missing("MessageBody")))?;
        Ok(first.to_string())
    }

    /// Receives up to `max` (1 to 10) messages, waiting up to `wait` (at most 20 s) for the first. `visibility` (whole
    /// seconds, at most 43,200) in place of the queue's own.
    ///
    /// Dropped before it answers, it takes nothing out of the queue.
    pub async fn receive(&self, queue: &str, max: usize, wait: Duration, visibility: Option<Duration>) -> Result<Vec<Received>, SqsError> {
        let ask = Receive {
            max: i64::try_from(max).unwrap_or(i64::MAX),
            wait_ms: Some(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)),
            visibility_s: visibility.map(|visibility| i64::try_from(visibility.as_secs()).unwrap_or(i64::MAX)),
        };
        self.receive_many(queue, ask).await
    }

    /// Deletes messages, in one commit. A message that was received again since its handle was given stays, without an
    /// error. The first handle that is none of this queue's is the error; the others' messages are deleted all the same.
    pub async fn delete(&self, queue: &str, receipt_handles: &[String]) -> Result<(), SqsError> {
        let results = self.delete_many(queue, receipt_handles.to_vec()).await?;
        results.into_iter().collect()
    }

    /// Makes a message in flight visible `visibility` (whole seconds, at most 43,200) from now.
    pub async fn change_visibility(&self, queue: &str, receipt_handle: &str, visibility: Duration) -> Result<(), SqsError> {
        let seconds = i64::try_from(visibility.as_secs()).unwrap_or(i64::MAX);
        let results = self.change_many(queue, vec![(receipt_handle.to_owned(), seconds)]).await?;
        results.into_iter().collect()
    }

    /// Makes messages visible that a reader received that is known to be dead, and whose visibility was not changed since:
    /// the pollers and environments of a platform that was killed.
    pub async fn orphaned(&self, queue: &str) -> Result<(), SqsError> {
        let name = queue.to_owned();
        self.ask(1, move |engine, now_ms| engine.account.orphaned(now_ms, &name)).await
    }

    /// Waits at most `wait` until the queue has a message that a receive would take, and takes nothing. `false` when
    /// there was none.
    pub async fn wait_visible(&self, queue: &str, wait: Duration) -> Result<bool, SqsError> {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let name = queue.to_owned();
        let (reply, answer) = oneshot::channel();
        let job = move |engine: &mut Engine, now_ms: u64| engine.watch(name, now_ms.saturating_add(wait_ms), reply);
        self.submit(1, Box::new(job)).await?;
        answer.await.map_err(|_| closed())?
    }

    /// How many messages are visible, in flight and delayed. Exact.
    pub async fn depth(&self, queue: &str) -> Result<Depth, SqsError> {
        let name = queue.to_owned();
        self.ask(1, move |engine, now_ms| engine.account.depth(now_ms, &name)).await
    }

    /// Sends messages in one commit; one result each.
    async fn send_many(&self, queue: &str, all: Vec<Outgoing>) -> Result<Vec<Result<Uuid, SqsError>>, SqsError> {
        let size: usize = all.iter().map(|outgoing| outgoing.content.size()).sum();
        let name = queue.to_owned();
        self.ask(size, move |engine, now_ms| {
            engine.account.queue(&name)?;
            let mut send = |outgoing: Outgoing| {
                outgoing.content.check()?;
                let delay_s = in_range(outgoing.delay_s, "DelaySeconds", 0, 900)?;
                let id = Uuid::new_v4();
                let group = outgoing.group.map(Arc::from);
                let envelope = Envelope { id, group, delay_ms: delay_s.map(|s| s * 1000) };
                engine.send(now_ms, &name, envelope, &outgoing.content)?;
                Ok(id)
            };
            Ok(all.into_iter().map(&mut send).collect())
        })
        .await
    }

    async fn receive_many(&self, queue: &str, asked: Receive) -> Result<Vec<Received>, SqsError> {
        if !(1..=10).contains(&asked.max) {
            return Err(SqsError::out_of_range(asked.max, "MaxNumberOfMessages", (1, 10)));
        }
        if let Some(ms) = asked.wait_ms.filter(|ms| !(0..=20_000).contains(ms)) {
            return Err(SqsError::out_of_range(ms / 1000, "WaitTimeSeconds", (0, 20)));
        }
        let visibility_s = in_range(asked.visibility_s, "VisibilityTimeout", 0, 43_200)?;
        let max = usize::try_from(asked.max).unwrap_or(1);
        let ask = Ask { max, visibility_ms: visibility_s.map(|s| s * 1000) };
        let wait_ms = asked.wait_ms.and_then(|ms| u64::try_from(ms).ok());
        let name = queue.to_owned();
        let (reply, answer) = oneshot::channel();
        let job = move |engine: &mut Engine, now_ms: u64| engine.receive(now_ms, &name, ask, wait_ms, reply);
        self.submit(1, Box::new(job)).await?;
        let delivered = answer.await.map_err(|_| closed())??;
        Ok(delivered.accept())
    }

    /// Deletes messages in one commit; one result each.
    async fn delete_many(&self, queue: &str, handles: Vec<String>) -> Result<Vec<Result<(), SqsError>>, SqsError> {
        let name = queue.to_owned();
        self.ask(1, move |engine, now_ms| {
            let uid = engine.account.queue(&name)?.uid;
            let mut delete = |handle: String| {
                let receipt = handle::read(uid, &handle)?;
                engine.account.delete(now_ms, &name, &receipt).map(|_| ())
            };
            Ok(handles.into_iter().map(&mut delete).collect())
        })
        .await
    }

    /// Changes visibilities (seconds) in one commit; one result each.
    async fn change_many(&self, queue: &str, changes: Vec<(String, i64)>) -> Result<Vec<Result<(), SqsError>>, SqsError> {
        let name = queue.to_owned();
        self.ask(1, move |engine, now_ms| {
            let uid = engine.account.queue(&name)?.uid;
            let mut change = |(handle, seconds): (String, i64)| {
                let seconds = in_range(Some(seconds), "VisibilityTimeout", 0, 43_200)?.unwrap_or(0);
                let receipt = handle::read(uid, &handle)?;
                engine.account.change_visibility(now_ms, &name, &receipt, seconds * 1000)
            };
            Ok(changes.into_iter().map(&mut change).collect())
        })
        .await
    }

    /// Runs `work` in the writer thread and answers after its commit. `size`: bytes of content it brings.
    async fn ask<T: Send + 'static>(
        &self,
        size: usize,
        work: impl FnOnce(&mut Engine, u64) -> Result<T, SqsError> + Send + 'static,
    ) -> Result<T, SqsError> {
        let (reply, answer) = oneshot::channel();
        let job = move |engine: &mut Engine, now_ms: u64| -> Answer {
            let result = work(engine, now_ms);
            Box::new(move |outcome| {
                let _ = reply.send(outcome.and(result));
            })
        };
        self.submit(size, Box::new(job)).await?;
        answer.await.map_err(|_| closed())?
    }

    async fn submit(&self, size: usize, job: Job) -> Result<(), SqsError> {
        let kib = u32::try_from((size / 1024 + 1).min(MAX_PENDING_KIB)).unwrap_or(1);
        let permit = Arc::clone(&self.pending).acquire_many_owned(kib).await.map_err(|_| closed())?;
        self.commands.send(Command::Run(job, Some(permit))).map_err(|_| closed())
    }
}

impl Drop for Sqs {
    fn drop(&mut self) {
        // What was asked before is still done; a writer that is gone already has nothing left to stop.
        let _ = self.commands.send(Command::Stop);
        if let Some(Err(_)) = self.writer.take().map(JoinHandle::join) {
            tracing::error!("sqs: the writer thread panicked");
        }
    }
}

fn closed() -> SqsError {
    SqsError::new(Kind::Internal, "The queues are being shut down.")
}

fn in_range(value: Option<i64>, parameter: &str, low: i64, high: i64) -> Result<Option<u64>, SqsError> {
    match value {
        Some(value) if !(low..=high).contains(&value) => Err(SqsError::out_of_range(value, parameter, (low, high))),
        value => Ok(value.and_then(|value| u64::try_from(value).ok())),
    }
}
