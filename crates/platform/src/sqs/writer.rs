//! The one thread that owns the queues: it runs requests against the pure state, commits their changes together, and
//! answers only after the commit. Requests that arrive during a commit share the next one.

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    Received,
    account::{Acceptance, Account, Delivery, Envelope},
    entry::{Limits, Receipt, Seq},
    error::{Kind, SqsError},
    handle,
    message::{Content, md5_of_body},
    queue::Ask,
    store::Store,
};

/// Requests that share one commit at most.
const MAX_BATCH: usize = 512;
/// Receives that may wait at once, over all queues.
const MAX_WAITING: usize = 10_000;

/// Runs in the writer thread; gives back what is to be done once the commit is through, or failed.
pub(super) type Job = Box<dyn FnOnce(&mut Engine, u64) -> Answer + Send>;
pub(super) type Answer = Box<dyn FnOnce(Result<(), SqsError>) + Send>;

pub(super) enum Command {
    /// The permit is given back when the job has run.
    Run(Job, Option<OwnedSemaphorePermit>),
    Stop,
}

/// The messages of one receive. Dropped without [`accept`](Self::accept), as when the caller is gone, they go back.
pub(super) struct Delivered {
    messages: Vec<Received>,
    queue: String,
    receipts: Vec<Receipt>,
    commands: Sender<Command>,
}

impl Delivered {
    /// The caller has them now: from here on the visibility timeout guards them.
    pub(super) fn accept(mut self) -> Vec<Received> {
        self.receipts.clear();
        std::mem::take(&mut self.messages)
    }
}

impl Drop for Delivered {
    fn drop(&mut self) {
        if self.receipts.is_empty() {
            return;
        }
        let (queue, receipts) = (std::mem::take(&mut self.queue), std::mem::take(&mut self.receipts));
        let release: Job = Box::new(move |engine, now_ms| {
            engine.account.release(now_ms, &queue, &receipts);
            Box::new(|_| ())
        });
        // A writer that has stopped needs no release: the visibility timeout gives the messages back.
        let _ = self.commands.send(Command::Run(release, None));
    }
}

pub(super) type ReceiveReply = oneshot::Sender<Result<Delivered, SqsError>>;

/// A receive that waits for a message.
struct Waiter {
    ask: Ask,
    until_ms: u64,
    reply: ReceiveReply,
}

/// Somebody who wants to know when a queue has a message to receive.
struct Watcher {
    queue: String,
    until_ms: u64,
    reply: oneshot::Sender<Result<bool, SqsError>>,
}

/// State and store, as the writer thread holds them.
pub(super) struct Engine {
    pub account: Account,
    store: Store,
    waiting: BTreeMap<String, VecDeque<Waiter>>,
    watching: Vec<Watcher>,
    /// For deliveries to come back by.
    commands: Sender<Command>,
    /// Why the running transaction cannot be committed.
    failed: Option<SqsError>,
}

impl Engine {
    pub(super) fn open(dir: &Path, commands: Sender<Command>) -> Result<Self, SqsError> {
        let store = Store::open(dir)?;
        let account = store.load(now_ms(), Limits::default())?;
        Ok(Self { account, store, waiting: BTreeMap::new(), watching: Vec::new(), commands, failed: None })
    }

    /// Runs until told to stop or nobody is left who could ask.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let mut batch = match self.next_wake() {
                None => commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(pause) => commands.recv_timeout(pause),
            }
            .map_or_else(|e| if e == RecvTimeoutError::Timeout { vec![] } else { vec![Command::Stop] }, |c| vec![c]);
            batch.extend(commands.try_iter().take(MAX_BATCH - 1));
            if !self.run_batch(batch) {
                return;
            }
        }
    }

    /// One group commit. `false` after a stop.
    fn run_batch(&mut self, batch: Vec<Command>) -> bool {
        let now_ms = now_ms();
        let mut answers: Vec<Answer> = Vec::with_capacity(batch.len());
        let mut go_on = true;
        for command in batch {
            match command {
                Command::Run(job, permit) => {
                    answers.push(job(self, now_ms));
                    self.flush();
                    drop(permit);
                }
                Command::Stop => go_on = false,
            }
        }
        self.account.run_moves(now_ms);
        self.flush();
        self.serve_waiting(now_ms, &mut answers);
        self.serve_watching(now_ms, &mut answers);
        let outcome = self.finish();
        for answer in answers {
            answer(outcome.clone());
        }
        go_on
    }

    /// Writes the changes so far into the transaction, so that contents and states are read back together.
    fn flush(&mut self) {
        let changes = self.account.take_changes();
        if self.failed.is_none() {
            self.failed = self.store.apply(&changes).err();
        }
    }

    /// Commits; where that fails, goes back to what the tables hold.
    fn finish(&mut self) -> Result<(), SqsError> {
        let outcome = match self.failed.take() {
            Some(error) => Err(error),
            None => self.store.commit(),
        };
        if let Err(error) = &outcome {
            tracing::error!(%error, "sqs: nothing of this commit was kept");
            self.store.rollback();
            self.store.given_out(self.account.next_seq());
            match self.store.load(now_ms(), Limits::default()) {
                Ok(account) => self.account = account,
                // The state in memory may hold what was not written: every request fails until a load succeeds.
                Err(error) => self.failed = Some(error),
            }
        }
        outcome
    }

    /// Accepts a message and its content.
    pub(super) fn send(&mut self, now_ms: u64, queue: &str, envelope: Envelope, content: &Content) -> Result<Acceptance, SqsError> {
        let most = self.account.queue(queue)?.settings.max_message();
        if content.size() > most {
            return Err(SqsError::invalid(format!(
                "One or more parameters are invalid. Reason: Message must be shorter than {most} bytes."
            )));
        }
        let accepted = self.account.send(now_ms, queue, envelope, &content.body)?;
        if let Acceptance::New(seq) = accepted
            && let Err(error) = self.store.put_content(seq, content)
        {
            self.failed.get_or_insert_with(|| error.clone());
            return Err(error);
        }
        Ok(accepted)
    }

    /// Answers a receive with what there is, or lets it wait for `wait_ms` (the queue's own wait if `None`).
    pub(super) fn receive(&mut self, now_ms: u64, queue: &str, ask: Ask, wait_ms: Option<u64>, reply: ReceiveReply) -> Answer {
        let wait_ms = match self.account.queue(queue) {
            Ok(found) => wait_ms.unwrap_or(found.settings.receive_wait_ms()),
            Err(error) => return refuse(reply, error),
        };
        // Whoever waited first is first.
        let others_wait = self.waiting.get(queue).is_some_and(|waiters| !waiters.is_empty());
        if !(others_wait && wait_ms > 0) {
            match self.account.receive(now_ms, queue, &ask) {
                Ok(found) if !found.is_empty() || wait_ms == 0 => return self.deliver(queue, found, reply),
                Ok(_) => {}
                Err(error) => return refuse(reply, error),
            }
        }
        if self.waiting.values().map(VecDeque::len).sum::<usize>() >= MAX_WAITING {
            let text = format!("{MAX_WAITING} receives are waiting already; ask again later.");
            return refuse(reply, SqsError::new(Kind::OverLimit, text));
        }
        self.waiting.entry(queue.to_owned()).or_default().push_back(Waiter { ask, until_ms: now_ms + wait_ms, reply });
        Box::new(|_| ())
    }

    /// The answer to a receive, to be given after the commit.
    fn deliver(&mut self, queue: &str, found: Vec<Delivery>, reply: ReceiveReply) -> Answer {
        if found.is_empty() && self.account.queue(queue).is_ok_and(|queue| queue.is_full() && !queue.is_fifo()) {
            return refuse(reply, SqsError::new(Kind::OverLimit, "Too many messages of this queue are in flight."));
        }
        self.flush();
        let messages: Result<Vec<Received>, SqsError> = found.iter().map(|delivery| self.received(delivery)).collect();
        let messages = match messages {
            Ok(messages) => messages,
            Err(error) => {
                self.failed.get_or_insert_with(|| error.clone());
                return refuse(reply, error);
            }
        };
        let receipts = found.into_iter().map(|delivery| delivery.receipt).collect();
        let (queue, commands) = (queue.to_owned(), self.commands.clone());
        Box::new(move |outcome| {
            let delivered = outcome.map(|()| Delivered { messages, queue, receipts, commands });
            // An error gives the delivery back, and its drop the messages.
            let _ = reply.send(delivered);
        })
    }

    fn received(&self, delivery: &Delivery) -> Result<Received, SqsError> {
        let content = self.store.content(delivery.receipt.seq)?;
        let entry = &delivery.entry;
        let mut attributes = BTreeMap::from([
            ("SenderId".to_owned(), crate::stack::ACCOUNT.to_owned()),
            ("SentTimestamp".to_owned(), entry.sent_ms.to_string()),
            ("ApproximateReceiveCount".to_owned(), entry.receives.to_string()),
        ]);
        let first = entry.first_receive_ms.map(|ms| ms.to_string());
        let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
        for (name, value) in [
            ("ApproximateFirstReceiveTimestamp", first),
            ("MessageGroupId", text(&entry.group)),
            ("MessageDeduplicationId", text(&entry.dedup)),
            ("SequenceNumber", entry.dedup.as_ref().map(|_| sequence_number(delivery.receipt.seq))),
            ("DeadLetterQueueSourceArn", entry.source.as_deref().map(crate::stack::queue_arn)),
            ("AWSTraceHeader", content.trace),
        ] {
            attributes.extend(value.map(|value| (name.to_owned(), value)));
        }
        Ok(Received {
            message_id: entry.id.to_string(),
            receipt_handle: handle::write(delivery.queue_uid, &delivery.receipt),
            md5_of_body: md5_of_body(&content.body),
            body: content.body,
            attributes,
            message_attributes: content.attributes,
        })
    }

    /// Gives waiting receives what has become visible, in the order they came, and ends those whose time is over.
    fn serve_waiting(&mut self, now_ms: u64, answers: &mut Vec<Answer>) {
        // A receive may move dead letters to a queue that was looked at already: again, until nothing moves. Every
        // round takes at least one message out of a queue, so it ends.
        let mut moved = true;
        while moved {
            moved = false;
            let names: Vec<String> = self.waiting.keys().cloned().collect();
            for name in names {
                moved |= self.serve_queue(now_ms, &name, answers);
                self.flush();
            }
        }
        self.waiting.retain(|_, waiters| !waiters.is_empty());
    }

    /// Has `reply` told when `queue` has a message that a receive would take, or that it has none by `until_ms`.
    pub(super) fn watch(&mut self, queue: String, until_ms: u64, reply: oneshot::Sender<Result<bool, SqsError>>) -> Answer {
        let refusal = if self.account.queue(&queue).is_err() {
            Some(SqsError::no_queue())
        } else if self.watching.len() >= MAX_WAITING {
            let text = format!("{MAX_WAITING} watch queues already; ask again later.");
            Some(SqsError::new(Kind::OverLimit, text))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return Box::new(move |_| drop(reply.send(Err(refusal))));
        }
        self.watching.push(Watcher { queue, until_ms, reply });
        Box::new(|_| ())
    }

    /// Tells the watchers of queues that have something left after all waiting receives had theirs.
    fn serve_watching(&mut self, now_ms: u64, answers: &mut Vec<Answer>) {
        for watcher in std::mem::take(&mut self.watching) {
            let ready = self.account.advance(now_ms, &watcher.queue);
            if ready || watcher.until_ms <= now_ms || self.account.queue(&watcher.queue).is_err() {
                answers.push(Box::new(move |outcome| drop(watcher.reply.send(outcome.map(|()| ready)))));
            } else if !watcher.reply.is_closed() {
                self.watching.push(watcher);
            }
        }
        self.flush();
    }

    /// Whether any message was taken out of the queue.
    fn serve_queue(&mut self, now_ms: u64, name: &str, answers: &mut Vec<Answer>) -> bool {
        let Some(mut waiters) = self.waiting.remove(name) else { return false };
        let exists = self.account.queue(name).is_ok();
        let mut moved = false;
        let mut still = VecDeque::with_capacity(waiters.len());
        while let Some(waiter) = waiters.pop_front() {
            if waiter.reply.is_closed() {
                continue;
            }
            if !exists {
                answers.push(refuse(waiter.reply, SqsError::no_queue()));
                continue;
            }
            let mut found = Vec::new();
            if self.account.advance(now_ms, name) {
                moved = true;
                found = self.account.receive(now_ms, name, &waiter.ask).unwrap_or_default();
            }
            if !found.is_empty() {
                answers.push(self.deliver(name, found, waiter.reply));
            } else if waiter.until_ms <= now_ms {
                answers.push(nothing(waiter.reply, self.commands.clone()));
            } else {
                still.push_back(waiter);
            }
        }
        self.waiting.insert(name.to_owned(), still);
        moved
    }

    /// How long nothing happens by itself: until a waiting receive ends, or a message becomes visible to one.
    fn next_wake(&self) -> Option<Duration> {
        let ends = self.waiting.values().flatten().map(|waiter| waiter.until_ms);
        let ends = ends.chain(self.watching.iter().map(|watcher| watcher.until_ms));
        let names = self.waiting.keys().chain(self.watching.iter().map(|watcher| &watcher.queue));
        let due = names.filter_map(|name| self.account.queue(name).ok()?.next_due_ms());
        let next = ends.chain(due).chain(self.account.next_move_ms()).min()?;
        Some(Duration::from_millis(next.saturating_sub(now_ms())))
    }
}

/// `SequenceNumber`: 20 digits, rising, not consecutive, as on AWS.
pub(super) fn sequence_number(seq: Seq) -> String {
    (18_000_000_000_000_000_000_u128 + (u128::from(seq) << 8)).to_string()
}

fn refuse(reply: ReceiveReply, error: SqsError) -> Answer {
    Box::new(move |outcome| {
        let _ = reply.send(Err(outcome.err().unwrap_or(error)));
    })
}

fn nothing(reply: ReceiveReply, commands: Sender<Command>) -> Answer {
    let empty = Delivered { messages: vec![], queue: String::new(), receipts: vec![], commands };
    Box::new(move |outcome| {
        let _ = reply.send(outcome.map(|()| empty));
    })
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::sqs::settings::Settings;

    /// Runs jobs in one commit.
    fn commit(engine: &mut Engine, sizes: &[usize]) -> Vec<Result<(), SqsError>> {
        let (answers, inbox) = mpsc::channel();
        let send = |size: usize| -> Command {
            let answers = answers.clone();
            let job = move |engine: &mut Engine, now_ms: u64| -> Answer {
                let content = Content { body: "x".repeat(size), ..Content::default() };
                let envelope = Envelope { id: uuid::Uuid::new_v4(), group: None, dedup: None, delay_ms: None };
                let sent = engine.send(now_ms, "q", envelope, &content);
                Box::new(move |outcome| answers.send(outcome.and(sent.map(|_| ()))).unwrap())
            };
            Command::Run(Box::new(job), None)
        };
        assert!(engine.run_batch(sizes.iter().map(|size| send(*size)).collect()));
        inbox.try_iter().collect()
    }

    #[test]
    fn a_commit_that_fails_keeps_and_answers_nothing_of_its_batch() {
        let dir = tempfile::tempdir().unwrap();
        let (commands, _inbox) = mpsc::channel();
        let mut engine = Engine::open(dir.path(), commands).unwrap();
        engine.account.configure(0, "q", Settings::default()).unwrap();
        assert_eq!(commit(&mut engine, &[1, 1]), [Ok(()), Ok(())]);

        engine.store.fill_disk(20);
        let refused = commit(&mut engine, &[1, 1_000_000, 1]);
        assert!(refused.iter().all(|answer| answer.as_ref().is_err_and(|e| e.kind == Kind::Internal)), "{refused:?}");
        assert_eq!(engine.account.depth(now_ms(), "q").unwrap().visible, 2);

        engine.store.fill_disk(0);
        assert_eq!(commit(&mut engine, &[1_000_000]), [Ok(())]);
        let kept = engine.store.load(now_ms(), Limits::default()).unwrap().depth(now_ms(), "q").unwrap();
        assert_eq!(kept.visible, 3, "what the tables hold is what was answered");
    }
}
