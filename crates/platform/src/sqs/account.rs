//! All queues as one pure state: names, redrive from one queue to another. No clock, no I/O, no message bodies.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::{
    error::{Kind, SqsError},
    fair::GroupId,
    queue::{Ask, Change, Depth, Entry, Limits, Queue, QueueRow, Receipt, Seq, Taken},
    settings::Settings,
};
use crate::stack;

/// AWS has no bound on queues; a list must have one here.
const MAX_QUEUES: usize = 10_000;

/// Every queue of the platform, and what is to be written down of their changes.
#[derive(Debug, Default)]
pub(super) struct Account {
    queues: BTreeMap<String, Queue>,
    next_seq: Seq,
    next_uid: u64,
    limits: Limits,
    changes: Vec<Change>,
}

/// A message to be sent, without its content.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    pub id: Uuid,
    pub group: GroupId,
    /// In place of the queue's own delay.
    pub delay_ms: Option<u64>,
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

    /// The account that these rows describe.
    pub(super) fn rebuild(now_ms: u64, queues: Vec<QueueRow>, messages: Vec<(u64, Seq, Entry)>, limits: Limits) -> Self {
        let mut account = Self { limits, ..Self::default() };
        let mut names = HashMap::new();
        for row in queues {
            account.next_uid = account.next_uid.max(row.uid + 1);
            names.insert(row.uid, row.name.clone());
            account.queues.insert(row.name.clone(), Queue::new(row, limits));
        }
        for (uid, seq, entry) in messages {
            account.next_seq = account.next_seq.max(seq + 1);
            if let Some(queue) = names.get(&uid).and_then(|name| account.queues.get_mut(name)) {
                queue.restore(now_ms, seq, entry);
            }
        }
        account
    }

    /// What is to be written down since the last call.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Makes a queue. One that exists with these attributes is left as it is; with others it is an error.
    pub(super) fn create(&mut self, now_ms: u64, name: &str, asked: &BTreeMap<String, String>) -> Result<(), SqsError> {
        check_name(name)?;
        let settings = Settings::default().with(asked)?;
        if let Some(queue) = self.queues.get(name) {
            if queue.settings.with(asked)? == queue.settings {
                return Ok(());
            }
            return Err(SqsError::new(
                Kind::QueueNameExists,
                "A queue already exists with the same name and a different value for attributes.",
            ));
        }
        self.check_redrive(asked, &settings)?;
        self.configure(now_ms, name, settings)
    }

    /// Makes a queue, or gives it these settings.
    pub(super) fn configure(&mut self, now_ms: u64, name: &str, settings: Settings) -> Result<(), SqsError> {
        check_name(name)?;
        if let Some(queue) = self.queues.get_mut(name) {
            if queue.settings == settings {
                return Ok(());
            }
            queue.settings = settings;
            queue.modified_ms = now_ms;
        } else {
            if self.queues.len() >= MAX_QUEUES {
                return Err(SqsError::new(Kind::OverLimit, format!("There are {MAX_QUEUES} queues already.")));
            }
            let row = QueueRow { uid: self.next_uid, name: name.to_owned(), settings, created_ms: now_ms, modified_ms: now_ms };
            self.next_uid += 1;
            self.queues.insert(name.to_owned(), Queue::new(row, self.limits));
        }
        self.note_queue(name);
        Ok(())
    }

    /// Sets some attributes of a queue.
    pub(super) fn set(&mut self, now_ms: u64, name: &str, asked: &BTreeMap<String, String>) -> Result<(), SqsError> {
        let settings = self.queue(name)?.settings.with(asked)?;
        self.check_redrive(asked, &settings)?;
        self.configure(now_ms, name, settings)
    }

    /// Deletes a queue with all in it.
    pub(super) fn drop_queue(&mut self, name: &str) -> Result<(), SqsError> {
        let mut queue = self.queues.remove(name).ok_or_else(SqsError::no_queue)?;
        queue.purge(&mut self.changes);
        self.changes.push(Change::QueueGone { uid: queue.uid });
        Ok(())
    }

    /// Forgets all messages of a queue.
    pub(super) fn purge(&mut self, name: &str) -> Result<(), SqsError> {
        self.queues.get_mut(name).ok_or_else(SqsError::no_queue)?.purge(&mut self.changes);
        Ok(())
    }

    /// Accepts a message; its number says where the content is to be kept.
    pub(super) fn send(&mut self, now_ms: u64, name: &str, envelope: Envelope) -> Result<Seq, SqsError> {
        let queue = self.queues.get_mut(name).ok_or_else(SqsError::no_queue)?;
        let delay_ms = envelope.delay_ms.unwrap_or(queue.settings.delay_ms());
        let entry = Entry::new(envelope.id, envelope.group, now_ms, delay_ms);
        queue.send(now_ms, self.next_seq, entry, &mut self.changes)?;
        self.next_seq += 1;
        Ok(self.next_seq - 1)
    }

    /// Receives messages, and moves those received too often to the dead-letter queue, if that exists.
    pub(super) fn receive(&mut self, now_ms: u64, name: &str, ask: Ask) -> Result<Vec<Delivery>, SqsError> {
        let grave = self.grave_of(name)?;
        let queue = self.queues.get_mut(name).ok_or_else(SqsError::no_queue)?;
        let uid = queue.uid;
        let most = grave.as_ref().map(|(_, most)| *most);
        let Taken { received, buried } = queue.receive(now_ms, ask, most, &mut self.changes);
        if let Some((grave, _)) = grave
            && let Some(grave) = self.queues.get_mut(&grave)
        {
            for (seq, entry) in buried {
                let entry = entry.buried(now_ms);
                self.changes.push(Change::Message { uid: grave.uid, seq, entry: entry.clone() });
                grave.restore(now_ms, seq, entry);
            }
        }
        let delivery =
            |(seq, entry): (Seq, Entry)| Delivery { receipt: Receipt { seq, id: entry.id, number: entry.receipt }, queue_uid: uid, entry };
        Ok(received.into_iter().map(delivery).collect())
    }

    /// Deletes a message, unless it was received again since.
    pub(super) fn delete(&mut self, now_ms: u64, name: &str, receipt: &Receipt) -> Result<bool, SqsError> {
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

    /// Names of the queues whose dead letters go to `name`, in order.
    pub(super) fn sources_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.queues.iter().filter_map(move |(source, queue)| {
            let target = &queue.settings.redrive()?.dead_letter_target_arn;
            (stack::name_of_arn(target) == name).then_some(source.as_str())
        })
    }

    /// Dead-letter queue of a queue, where it exists, and how many receives come before it.
    fn grave_of(&self, name: &str) -> Result<Option<(String, u32)>, SqsError> {
        let redrive = self.queue(name)?.settings.redrive();
        Ok(redrive.and_then(|redrive| {
            let grave = stack::name_of_arn(&redrive.dead_letter_target_arn);
            let other = grave != name && self.queues.contains_key(grave);
            other.then(|| (grave.to_owned(), redrive.max_receive_count))
        }))
    }

    fn check_redrive(&self, asked: &BTreeMap<String, String>, settings: &Settings) -> Result<(), SqsError> {
        let Some(redrive) = settings.redrive().filter(|_| asked.contains_key("RedrivePolicy")) else { return Ok(()) };
        if self.queues.contains_key(stack::name_of_arn(&redrive.dead_letter_target_arn)) {
            return Ok(());
        }
        let target = &redrive.dead_letter_target_arn;
        Err(SqsError::invalid(format!("Value {target} for parameter RedrivePolicy is invalid. Reason: Dead letter target does not exist.")))
    }

    fn note_queue(&mut self, name: &str) {
        if let Some(queue) = self.queues.get(name) {
            self.changes.push(Change::Queue(QueueRow {
                uid: queue.uid,
                name: name.to_owned(),
                settings: queue.settings.clone(),
                created_ms: queue.created_ms,
                modified_ms: queue.modified_ms,
            }));
        }
    }
}

fn check_name(name: &str) -> Result<(), SqsError> {
    if std::path::Path::new(name).extension().is_some_and(|end| end == "fifo") {
        return Err(super::settings::no_fifo());
    }
    let fits = (1..=80).contains(&name.len());
    if fits && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        return Ok(());
    }
    Err(SqsError::invalid(
        "Queue name is invalid: it can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length.",
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn account_with(name: &str) -> Account {
        let mut account = Account::default();
        account.configure(0, name, Settings::default()).unwrap();
        account
    }

    fn send(account: &mut Account, name: &str, group: Option<&str>) -> Uuid {
        let id = Uuid::new_v4();
        account.send(0, name, Envelope { id, group: group.map(Arc::from), delay_ms: None }).unwrap();
        id
    }

    #[test]
    fn a_quiet_group_is_not_starved_by_a_busy_one() {
        let mut account = account_with("q");
        for _ in 0..20 {
            send(&mut account, "q", Some("busy"));
        }
        let quiet = send(&mut account, "q", Some("quiet"));
        let ask = Ask { max: 2, visibility_ms: None };
        let first: Vec<Uuid> = account.receive(1, "q", ask).unwrap().iter().map(|d| d.entry.id).collect();
        assert!(first.contains(&quiet), "20 messages of another group were sent before it");
    }

    #[test]
    fn create_is_idempotent_with_the_same_attributes_only() {
        let mut account = account_with("q");
        let asked = |value: &str| BTreeMap::from([("VisibilityTimeout".to_owned(), value.to_owned())]);
        assert_eq!(account.create(5, "q", &BTreeMap::new()), Ok(()));
        assert_eq!(account.create(5, "q", &asked("30")), Ok(()));
        assert_eq!(account.create(5, "q", &asked("31")).unwrap_err().kind, Kind::QueueNameExists);
        assert_eq!(account.create(5, "q.fifo", &BTreeMap::new()).unwrap_err().kind, Kind::UnsupportedOperation);
        assert_eq!(account.create(5, "a b", &BTreeMap::new()).unwrap_err().kind, Kind::InvalidParameterValue);
    }

    #[test]
    fn visibility_ends_twelve_hours_after_the_receive_at_most() {
        let mut account = account_with("q");
        send(&mut account, "q", None);
        let got = account.receive(0, "q", Ask { max: 1, visibility_ms: Some(43_200_000) }).unwrap().remove(0);
        assert_eq!(account.change_visibility(1_000, "q", &got.receipt, 43_199_000), Ok(()));
        let refused = account.change_visibility(1_000, "q", &got.receipt, 43_200_000).unwrap_err();
        assert_eq!(refused.kind, Kind::InvalidParameterValue);
    }

    #[test]
    fn dead_letters_stay_where_no_dead_letter_queue_is() {
        let mut account = account_with("q");
        let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:x:0:nowhere","maxReceiveCount":1}"#;
        let asked = BTreeMap::from([("RedrivePolicy".to_owned(), policy.to_owned())]);
        account.configure(0, "q", Settings::default().with(&asked).unwrap()).unwrap();
        send(&mut account, "q", None);
        let ask = Ask { max: 1, visibility_ms: Some(0) };
        for now in 0..3 {
            assert_eq!(account.receive(now, "q", ask).unwrap().len(), 1);
        }
    }
}
