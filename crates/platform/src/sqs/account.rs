//! All queues as one pure state: names, redrive from one queue to another. No clock, no I/O, no message bodies.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use uuid::Uuid;

use super::{
    dedup,
    entry::{Change, DedupKey, Entry, Limits, QueueRow, Receipt, Sent, Seq},
    error::{Kind, SqsError},
    fair::GroupId,
    moves::MoveTask,
    queue::{Ask, Deletion, Depth, Queue, Taken},
    settings::Settings,
};

/// AWS has no bound on queues; a list must have one here.
const MAX_QUEUES: usize = 10_000;
/// Time between two purges of a queue. Source: SQS API reference, `PurgeQueue`.
const PURGE_PAUSE_MS: u64 = 60_000;

/// Every queue of the platform, and what is to be written down of their changes.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) queues: BTreeMap<String, Queue>,
    /// By the uid of the queue that they empty, newest first.
    pub(super) moves: BTreeMap<u64, VecDeque<MoveTask>>,
    next_seq: Seq,
    next_uid: u64,
    limits: Limits,
    pub(super) changes: Vec<Change>,
}

/// What the tables hold, messages in order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub queues: Vec<QueueRow>,
    pub messages: Vec<(u64, Seq, Entry)>,
    /// In order of their ends.
    pub remembered: Vec<(u64, DedupKey, Sent)>,
    pub moves: Vec<MoveTask>,
    /// No message gets a lower number.
    pub first_seq: Seq,
}

/// A message to be sent, without its content.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    pub id: Uuid,
    pub group: GroupId,
    /// `MessageDeduplicationId`, or of the content where the queue takes that.
    pub dedup: Option<Arc<str>>,
    /// In place of the queue's own delay.
    pub delay_ms: Option<u64>,
}

/// Whether a message was accepted anew or is known already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acceptance {
    /// Its content is to be kept under this number.
    New(Seq),
    /// A FIFO queue was sent the same message a moment ago, which has this id.
    Duplicate { seq: Seq, id: Uuid },
}

/// A message received, without its content.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Delivery {
    pub receipt: Receipt,
    pub queue_uid: u64,
    pub entry: Entry,
}

impl Account {
    /// An account with bounds of its own.
    #[cfg(test)]
    pub(super) fn bounded(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The account that the tables describe.
    pub(super) fn rebuild(now_ms: u64, kept: Kept, limits: Limits) -> Self {
        let mut account = Self { limits, next_seq: kept.first_seq, ..Self::default() };
        for row in kept.queues {
            account.next_uid = account.next_uid.max(row.uid + 1);
            account.queues.insert(row.name.clone(), Queue::new(row, limits));
        }
        let mut of_uid: HashMap<u64, &mut Queue> = account.queues.iter_mut().map(|(_, queue)| (queue.uid, queue)).collect();
        for (uid, seq, entry) in kept.messages {
            account.next_seq = account.next_seq.max(seq + 1);
            if let Some(queue) = of_uid.get_mut(&uid) {
                queue.restore(now_ms, seq, entry);
            }
        }
        for (uid, key, sent) in kept.remembered {
            account.next_seq = account.next_seq.max(sent.seq + 1);
            if let Some(queue) = of_uid.get_mut(&uid) {
                queue.window.remember(key, sent);
            }
        }
        for task in kept.moves {
            account.next_seq = account.next_seq.max(task.number + 1);
            account.restore_move(task);
        }
        account
    }

    /// The next number.
    pub(super) fn number(&mut self) -> Seq {
        self.next_seq += 1;
        self.next_seq - 1
    }

    /// The number that the next message gets.
    pub(super) fn next_seq(&self) -> Seq {
        self.next_seq
    }

    /// What is to be written down since the last call.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Makes a queue. One that exists with these attributes is left as it is; with others it is an error.
    pub(super) fn create(
        &mut self,
        now_ms: u64,
        name: &str,
        asked: &BTreeMap<String, String>,
        tags: BTreeMap<String, String>,
    ) -> Result<(), SqsError> {
        check_name(name, asked.get("FifoQueue").is_some_and(|fifo| fifo == "true"))?;
        let settings = Settings::of_attributes(asked)?;
        if let Some(queue) = self.queues.get(name) {
            let wanted = queue.settings.with(asked)?.attributes();
            let kept = queue.settings.attributes();
            let differs = asked.keys().find(|attribute| wanted.get(*attribute) != kept.get(*attribute));
            let text = "A queue already exists with the same name and a different value for attribute";
            return differs.map_or(Ok(()), |attribute| Err(SqsError::new(Kind::QueueNameExists, format!("{text} {attribute}"))));
        }
        self.check_redrive(name, asked, &settings)?;
        super::tags::check(&tags)?;
        self.configure(now_ms, name, settings)?;
        if let Some(queue) = self.queues.get_mut(name).filter(|_| !tags.is_empty()) {
            queue.tags = tags;
            self.note_queue(name);
        }
        Ok(())
    }

    /// Makes a queue, or gives it these settings.
    pub(super) fn configure(&mut self, now_ms: u64, name: &str, settings: Settings) -> Result<(), SqsError> {
        check_name(name, settings.fifo().is_some())?;
        if let Some(queue) = self.queues.get_mut(name) {
            if queue.settings == settings {
                return Ok(());
            }
            queue.configure(now_ms, settings, &mut self.changes);
            queue.modified_ms = now_ms;
        } else {
            if self.queues.len() >= MAX_QUEUES {
                return Err(SqsError::new(Kind::OverLimit, format!("There are {MAX_QUEUES} queues already.")));
            }
            let (name, tags, uid) = (name.to_owned(), BTreeMap::new(), self.next_uid);
            let row = QueueRow { uid, name: name.clone(), settings, tags, created_ms: now_ms, modified_ms: now_ms, purged_ms: 0 };
            self.next_uid += 1;
            self.queues.insert(name, Queue::new(row, self.limits));
        }
        self.note_queue(name);
        Ok(())
    }

    /// Sets some attributes of a queue.
    pub(super) fn set(&mut self, now_ms: u64, name: &str, asked: &BTreeMap<String, String>) -> Result<(), SqsError> {
        let settings = self.queue(name)?.settings.with(asked)?;
        self.check_redrive(name, asked, &settings)?;
        self.configure(now_ms, name, settings)
    }

    /// Changes a queue's tags.
    pub(super) fn tag(&mut self, name: &str, edit: impl FnOnce(&mut BTreeMap<String, String>)) -> Result<(), SqsError> {
        let queue = self.queues.get_mut(name).ok_or_else(SqsError::no_queue)?;
        let mut tags = queue.tags.clone();
        edit(&mut tags);
        super::tags::check(&tags)?;
        queue.tags = tags;
        self.note_queue(name);
        Ok(())
    }

    /// Deletes a queue with all in it.
    pub(super) fn drop_queue(&mut self, name: &str) -> Result<(), SqsError> {
        let mut queue = self.queues.remove(name).ok_or_else(SqsError::no_queue)?;
        queue.purge(&mut self.changes);
        self.moves.remove(&queue.uid);
        self.changes.push(Change::QueueGone { uid: queue.uid });
        Ok(())
    }

    /// Forgets all messages of a queue, once in a minute.
    pub(super) fn purge(&mut self, now_ms: u64, name: &str) -> Result<(), SqsError> {
        let queue = self.queues.get_mut(name).ok_or_else(SqsError::no_queue)?;
        if queue.purged_ms > 0 && now_ms < queue.purged_ms + PURGE_PAUSE_MS {
            let text = format!("Only one PurgeQueue operation on {name} is allowed every 60 seconds.");
            return Err(SqsError::new(Kind::PurgeQueueInProgress, text));
        }
        queue.purge(&mut self.changes);
        queue.purged_ms = now_ms;
        self.note_queue(name);
        Ok(())
    }

    /// Whether the queue's kind takes such a message: a FIFO queue needs a group and a deduplication id.
    pub(super) fn check_kind(&self, name: &str, has_group: bool, dedup: Option<&str>) -> Result<(), SqsError> {
        let Some(fifo) = self.queue(name)?.settings.fifo() else {
            return match dedup {
                Some(dedup) => Err(not_for_this_type(dedup, "MessageDeduplicationId")),
                None => Ok(()),
            };
        };
        if !has_group {
            return Err(SqsError::missing("MessageGroupId"));
        }
        if dedup.is_none() && !fifo.content_based_deduplication {
            return Err(SqsError::invalid(
                "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly",
            ));
        }
        Ok(())
    }

    /// Accepts a message. `body` is read only where it names the message.
    pub(super) fn send(&mut self, now_ms: u64, name: &str, envelope: Envelope, body: &str) -> Result<Acceptance, SqsError> {
        self.check_kind(name, envelope.group.is_some(), envelope.dedup.as_deref())?;
        let seq = self.next_seq;
        let queue = self.queues.get_mut(name).ok_or_else(SqsError::no_queue)?;
        let Some(fifo) = queue.settings.fifo() else {
            let delay_ms = envelope.delay_ms.unwrap_or(queue.settings.delay_ms());
            queue.send(now_ms, seq, Entry::new(envelope.id, envelope.group, now_ms, delay_ms), &mut self.changes)?;
            return Ok(Acceptance::New(self.number()));
        };
        // AWS takes a delay of 0, which some clients always send.
        if let Some(delay_ms) = envelope.delay_ms.filter(|delay_ms| *delay_ms > 0) {
            return Err(not_for_this_type(&(delay_ms / 1000).to_string(), "DelaySeconds"));
        }
        let dedup = envelope.dedup.unwrap_or_else(|| Arc::from(dedup::id_of_body(body)));
        let key = dedup::key(&dedup, envelope.group.as_deref().filter(|_| fifo.deduplicate_by_group));
        queue.advance(now_ms, &mut self.changes);
        if let Some(sent) = queue.window.find(now_ms, &key) {
            return Ok(Acceptance::Duplicate { seq: sent.seq, id: sent.id });
        }
        let mut entry = Entry::new(envelope.id, envelope.group, now_ms, queue.settings.delay_ms());
        entry.dedup = Some(dedup);
        queue.send(now_ms, seq, entry, &mut self.changes)?;
        let sent = Sent { seq, id: envelope.id, until_ms: now_ms + dedup::WINDOW_MS };
        queue.window.remember(key, sent);
        self.changes.push(Change::Remembered { uid: queue.uid, key, sent });
        Ok(Acceptance::New(self.number()))
    }

    /// Receives messages, and moves those received too often to the dead-letter queue, if that exists.
    pub(super) fn receive(&mut self, now_ms: u64, name: &str, ask: &Ask) -> Result<Vec<Delivery>, SqsError> {
        let grave = self.grave_of(name)?;
        let queue = self.queues.get_mut(name).ok_or_else(SqsError::no_queue)?;
        let uid = queue.uid;
        let most = grave.as_ref().map(|(_, most)| *most);
        let Taken { received, buried } = queue.receive(now_ms, ask, most, &mut self.changes);
        if let Some((grave, _)) = grave {
            self.bury(now_ms, name, &grave, buried);
        }
        let delivery =
            |(seq, entry): (Seq, Entry)| Delivery { receipt: Receipt { seq, id: entry.id, number: entry.receipt }, queue_uid: uid, entry };
        Ok(received.into_iter().map(delivery).collect())
    }

    /// Deletes a message, if its receipt still holds.
    pub(super) fn delete(&mut self, now_ms: u64, name: &str, receipt: &Receipt) -> Result<Deletion, SqsError> {
        let queue = self.queues.get_mut(name).ok_or_else(SqsError::no_queue)?;
        Ok(queue.delete(now_ms, receipt, &mut self.changes))
    }

    /// Makes a message in flight visible `visibility_ms` from now.
    pub(super) fn change_visibility(&mut self, now_ms: u64, name: &str, receipt: &Receipt, visibility_ms: u64) -> Result<(), SqsError> {
        let queue = self.queues.get_mut(name).ok_or_else(SqsError::no_queue)?;
        queue.change_visibility(now_ms, receipt, visibility_ms, &mut self.changes)
    }

    /// See [`Queue::orphaned`].
    pub(super) fn orphaned(&mut self, now_ms: u64, name: &str) -> Result<(), SqsError> {
        let queue = self.queues.get_mut(name).ok_or_else(SqsError::no_queue)?;
        queue.orphaned(now_ms, &mut self.changes);
        Ok(())
    }

    /// Undoes receives that nobody got the answer of.
    pub(super) fn release(&mut self, now_ms: u64, name: &str, receipts: &[Receipt]) {
        if let Some(queue) = self.queues.get_mut(name) {
            for receipt in receipts {
                queue.release(now_ms, receipt, &mut self.changes);
            }
        }
    }

    pub(super) fn depth(&mut self, now_ms: u64, name: &str) -> Result<Depth, SqsError> {
        let queue = self.queues.get_mut(name).ok_or_else(SqsError::no_queue)?;
        Ok(queue.depth(now_ms, &mut self.changes))
    }

    /// When the oldest message of a queue was sent.
    pub(super) fn oldest_ms(&mut self, now_ms: u64, name: &str) -> Result<Option<u64>, SqsError> {
        self.advance(now_ms, name);
        Ok(self.queue(name)?.oldest_ms())
    }

    /// Lets time pass for one queue. Whether a receive would take a message out of it.
    pub(super) fn advance(&mut self, now_ms: u64, name: &str) -> bool {
        self.queues.get_mut(name).is_some_and(|queue| {
            queue.advance(now_ms, &mut self.changes);
            queue.has_ready()
        })
    }

    pub(super) fn queue(&self, name: &str) -> Result<&Queue, SqsError> {
        self.queues.get(name).ok_or_else(SqsError::no_queue)
    }

    /// Names in order, after `after`.
    pub(super) fn names<'a>(&'a self, prefix: &'a str, after: &'a str) -> impl Iterator<Item = &'a str> {
        self.queues.keys().map(String::as_str).filter(move |name| name.starts_with(prefix) && *name > after)
    }

    fn note_queue(&mut self, name: &str) {
        self.changes.extend(self.queues.get(name).map(|queue| Change::Queue(queue.row(name))));
    }
}

fn not_for_this_type(value: &str, parameter: &str) -> SqsError {
    let text = "The request include parameter that is not valid for this queue type.";
    SqsError::invalid(format!("Value {value} for parameter {parameter} is invalid. Reason: {text}"))
}

/// Source: SQS API reference, `CreateQueue`, its `QueueName`.
fn check_name(name: &str, fifo: bool) -> Result<(), SqsError> {
    let stem = if fifo { name.strip_suffix(".fifo") } else { Some(name) };
    let fits = (1..=80).contains(&name.len());
    if fits && stem.is_some_and(|stem| !stem.is_empty() && stem.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')) {
        return Ok(());
    }
    Err(SqsError::invalid(if fifo {
        "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with .fifo suffix and be 1 to 80 in length."
    } else {
        "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length. A FIFO queue, whose name ends with .fifo, needs the attribute FifoQueue."
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account_with(name: &str) -> Account {
        let mut account = Account::default();
        account.configure(0, name, Settings::default()).unwrap();
        account
    }

    fn send(account: &mut Account, name: &str, group: Option<&str>) -> Uuid {
        let id = Uuid::new_v4();
        let envelope = Envelope { id, group: group.map(Arc::from), dedup: None, delay_ms: None };
        account.send(0, name, envelope, "").unwrap();
        id
    }

    #[test]
    fn a_quiet_group_is_not_starved_by_a_busy_one() {
        let mut account = account_with("q");
        for _ in 0..20 {
            send(&mut account, "q", Some("busy"));
        }
        let quiet = send(&mut account, "q", Some("quiet"));
        let ask = Ask { max: 2, ..Ask::default() };
        let first: Vec<Uuid> = account.receive(1, "q", &ask).unwrap().iter().map(|d| d.entry.id).collect();
        assert!(first.contains(&quiet), "20 messages of another group were sent before it");
    }

    #[test]
    fn create_is_idempotent_with_the_same_attributes_only() {
        let mut account = account_with("q");
        let asked = |value: &str| BTreeMap::from([("VisibilityTimeout".to_owned(), value.to_owned())]);
        assert_eq!(account.create(5, "q", &BTreeMap::new(), BTreeMap::new()), Ok(()));
        assert_eq!(account.create(5, "q", &asked("30"), BTreeMap::new()), Ok(()));
        assert_eq!(account.create(5, "q", &asked("31"), BTreeMap::new()).unwrap_err().kind, Kind::QueueNameExists);
        assert_eq!(account.create(5, "q.fifo", &BTreeMap::new(), BTreeMap::new()).unwrap_err().kind, Kind::InvalidParameterValue);
        assert_eq!(account.create(5, "a b", &BTreeMap::new(), BTreeMap::new()).unwrap_err().kind, Kind::InvalidParameterValue);
    }

    #[test]
    fn visibility_ends_twelve_hours_after_the_receive_at_most() {
        let mut account = account_with("q");
        send(&mut account, "q", None);
        let got = account.receive(0, "q", &Ask { max: 1, visibility_ms: Some(43_200_000), attempt: None }).unwrap().remove(0);
        assert_eq!(account.change_visibility(1_000, "q", &got.receipt, 43_199_000), Ok(()));
        let refused = account.change_visibility(1_000, "q", &got.receipt, 43_200_000).unwrap_err();
        assert_eq!(refused.kind, Kind::InvalidParameterValue);
    }

    #[test]
    fn dead_letters_stay_where_no_dead_letter_queue_is() {
        let mut account = account_with("q");
        let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:x:0:nowhere","maxReceiveCount":1}"#;
        let asked = BTreeMap::from([("RedrivePolicy".to_owned(), policy.to_owned())]);
        account.configure(0, "q", Settings::of_attributes(&asked).unwrap()).unwrap();
        send(&mut account, "q", None);
        let ask = Ask { max: 1, visibility_ms: Some(0), attempt: None };
        for now in 0..3 {
            assert_eq!(account.receive(now, "q", &ask).unwrap().len(), 1);
        }
    }

    #[test]
    fn a_dead_letter_of_a_fifo_queue_comes_after_what_was_there_before_it() {
        let mut account = Account::default();
        let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:x:0:dead.fifo","maxReceiveCount":1}"#;
        let asked = [("FifoQueue", "true"), ("ContentBasedDeduplication", "true"), ("RedrivePolicy", policy)];
        let asked = asked.map(|(name, value)| (name.to_owned(), value.to_owned()));
        account.create(0, "dead.fifo", &asked[..2].iter().cloned().collect(), BTreeMap::new()).unwrap();
        account.create(0, "q.fifo", &asked.into(), BTreeMap::new()).unwrap();
        let send = |account: &mut Account, name: &str, body: &str| {
            let id = Uuid::new_v4();
            account.send(0, name, Envelope { id, group: Some(Arc::from("g")), dedup: None, delay_ms: None }, body).unwrap();
            id
        };
        let older = send(&mut account, "q.fifo", "older");
        let there = send(&mut account, "dead.fifo", "there");
        let ask = Ask { max: 10, visibility_ms: Some(0), attempt: None };
        assert_eq!(account.receive(1, "q.fifo", &ask).unwrap().len(), 1);
        assert_eq!(account.receive(2, "q.fifo", &ask).unwrap().len(), 0);
        let dead: Vec<Uuid> = account.receive(3, "dead.fifo", &ask).unwrap().iter().map(|d| d.entry.id).collect();
        assert_eq!(dead, [there, older]);
    }
}
