//! SQS: standard and FIFO queues, durable, on one machine.
//!
//! `queue` and `account` are the behaviour, pure, with `fair` and `lines` for the order of standard and FIFO queues, `dedup`
//! and `attempts` for what a FIFO queue must not do twice, and `moves` for message move tasks; `store` keeps it; `writer` is
//! the one thread that runs both with group commit and wakes waiting receives; `wire` speaks AWS's two protocols. Not
//! here: access by policy (kept and shown only), encryption, the pause after a queue was deleted, quotas of requests.
//!
//! An answer with success means that the change is on disk.

mod account;
mod attempts;
mod dedup;
mod entry;
mod error;
mod fair;
mod handle;
mod lines;
mod message;
#[cfg(test)]
mod model;
mod moves;
mod order;
mod queue;
#[cfg(test)]
mod queue_tests;
mod redrive;
mod settings;
mod store;
mod tags;
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
    account::{Acceptance, Envelope},
    message::Content,
    queue::{Ask, Deletion},
    settings::Settings,
    writer::{Answer, Command, Engine, Job},
};
use crate::stack;

pub(crate) use self::wire::{query, query_refusal};
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
    dedup: Option<String>,
    delay_s: Option<i64>,
}

/// What the sender of a message hears.
#[derive(Clone, Debug)]
struct Accepted {
    id: Uuid,
    /// Of a message in a FIFO queue.
    sequence_number: Option<String>,
}

/// What a receive asks for, not yet held against the ranges of the API.
#[derive(Clone, Debug, Default)]
struct Receive {
    max: i64,
    /// The queue's own wait if `None`.
    wait_ms: Option<i64>,
    visibility_s: Option<i64>,
    attempt: Option<String>,
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

    /// Creates a template's queue, or gives an existing one the template's attributes. See
    /// [`ensure_queues`](Self::ensure_queues).
    pub async fn ensure_queue(&self, queue: &stack::Queue) -> Result<(), SqsError> {
        self.ensure_queues(std::slice::from_ref(queue)).await
    }

    /// Creates a template's queues in any order, or gives existing ones the template's attributes. A dead-letter queue may
    /// be created later: until then nothing is moved there. One that is there and of the other type, or that does not
    /// allow its source, is an error.
    pub async fn ensure_queues(&self, queues: &[stack::Queue]) -> Result<(), SqsError> {
        let settings_of = |queue: &stack::Queue| {
            let settings = Settings::of_stack(queue).map_err(|e| of_queue(&queue.name, &e))?;
            Ok((queue.name.clone(), settings))
        };
        let queues: Vec<(String, Settings)> = queues.iter().map(settings_of).collect::<Result<_, SqsError>>()?;
        self.ask(1, move |engine, now_ms| {
            for (name, settings) in &queues {
                engine.account.configure(now_ms, name, settings.clone()).map_err(|e| of_queue(name, &e))?;
            }
            engine.account.check_redrives(queues.iter().map(|(name, _)| name.as_str()))
        })
        .await
    }

    /// Sends one message; `delay` (whole seconds, at most 900) in place of the queue's own. The answer is its id.
    pub async fn send(&self, queue: &str, body: String, delay: Option<Duration>) -> Result<String, SqsError> {
        let delay_s = delay.map(|delay| i64::try_from(delay.as_secs()).unwrap_or(i64::MAX));
        self.send_one(queue, Outgoing { content: Content { body, ..Content::default() }, delay_s, ..Outgoing::default() }).await
    }

    /// Sends one message to a FIFO queue; without `deduplication_id` the queue must take the content for it. The answer is
    /// its id, or that of the message that it repeats.
    pub async fn send_fifo(&self, queue: &str, group: &str, deduplication_id: Option<&str>, body: String) -> Result<String, SqsError> {
        let (group, dedup) = (Some(group.to_owned()), deduplication_id.map(str::to_owned));
        self.send_one(queue, Outgoing { content: Content { body, ..Content::default() }, group, dedup, delay_s: None }).await
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
        Ok(first.id.to_string())
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
            attempt: None,
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

    /// How long the oldest message has been in the queue: `ApproximateAgeOfOldestMessage`. None of an empty queue.
    pub async fn age_of_oldest(&self, queue: &str) -> Result<Option<Duration>, SqsError> {
        let name = queue.to_owned();
        let age = |now_ms: u64| move |sent_ms: u64| Duration::from_millis(now_ms.saturating_sub(sent_ms));
        self.ask(1, move |engine, now_ms| Ok(engine.account.oldest_ms(now_ms, &name)?.map(age(now_ms)))).await
    }

    /// Sends messages in one commit; one result each. A message that does not fit the queue's type refuses all.
    async fn send_many(&self, queue: &str, all: Vec<Outgoing>) -> Result<Vec<Result<Accepted, SqsError>>, SqsError> {
        let size: usize = all.iter().map(|outgoing| outgoing.content.size()).sum();
        let name = queue.to_owned();
        self.ask(size, move |engine, now_ms| {
            engine.account.queue(&name)?;
            for outgoing in &all {
                engine.account.check_kind(&name, outgoing.group.is_some(), outgoing.dedup.as_deref())?;
            }
            Ok(all.iter().map(|outgoing| outgoing.send(engine, now_ms, &name)).collect())
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
        let attempt = asked.attempt.map(Arc::from);
        let ask = Ask { max, visibility_ms: visibility_s.map(|s| s * 1000), attempt };
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
                match engine.account.delete(now_ms, &name, &receipt)? {
                    Deletion::Expired => Err(SqsError::expired(&handle)),
                    Deletion::Done | Deletion::Stale => Ok(()),
                }
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

impl Outgoing {
    fn envelope(&self, id: Uuid) -> Result<Envelope, SqsError> {
        let delay_s = in_range(self.delay_s, "DelaySeconds", 0, 900)?;
        let text = |text: &Option<String>| text.as_deref().map(Arc::from);
        Ok(Envelope { id, group: text(&self.group), dedup: text(&self.dedup), delay_ms: delay_s.map(|s| s * 1000) })
    }

    fn send(&self, engine: &mut Engine, now_ms: u64, queue: &str) -> Result<Accepted, SqsError> {
        self.content.check()?;
        let id = Uuid::new_v4();
        let accepted = engine.send(now_ms, queue, self.envelope(id)?, &self.content)?;
        let (seq, id) = match accepted {
            Acceptance::New(seq) => (seq, id),
            Acceptance::Duplicate { seq, id } => (seq, id),
        };
        let fifo = engine.account.queue(queue)?.is_fifo();
        Ok(Accepted { id, sequence_number: fifo.then(|| writer::sequence_number(seq)) })
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

fn of_queue(name: &str, error: &SqsError) -> SqsError {
    SqsError::new(error.kind, format!("Queue {name}: {error}"))
}

fn in_range(value: Option<i64>, parameter: &str, low: i64, high: i64) -> Result<Option<u64>, SqsError> {
    match value {
        Some(value) if !(low..=high).contains(&value) => Err(SqsError::out_of_range(value, parameter, (low, high))),
        value => Ok(value.and_then(|value| u64::try_from(value).ok())),
    }
}
