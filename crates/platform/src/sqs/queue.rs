//! One queue as a pure state machine: no clock, no I/O, no message bodies.
//!
//! Time comes in as `now_ms` (milliseconds since 1970). What must be kept is written to a list of [`Change`]s; a queue
//! made again from the entries of those changes behaves as the first would.

use std::collections::{BTreeSet, HashMap};

use uuid::Uuid;

use super::{
    error::{Kind, SqsError},
    fair::{Fair, GroupId},
    settings::Settings,
};

/// Number of a message in the account, in order of sending.
pub(super) type Seq = u64;

/// Longest visibility timeout, counted from the receive: 12 h.
pub(super) const MAX_VISIBILITY_MS: u64 = 43_200_000;
/// Messages that one receive may move to the dead-letter queue; the rest waits for the next receive.
const MAX_BURIED: usize = 1_000;

/// Bounds of one queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// AWS: about 120,000 for a standard queue.
    pub in_flight: usize,
    /// AWS has none; here every message costs about 300 bytes of memory.
    pub messages: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { in_flight: 120_000, messages: 1_000_000 }
    }
}

/// A message without its content.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub id: Uuid,
    pub group: GroupId,
    pub sent_ms: u64,
    /// Visible from this time on. Later than now: in flight if it was received in this queue, else delayed.
    pub visible_ms: u64,
    /// Receives in all queues it has been in.
    pub receives: u32,
    /// Receives in this queue: what `maxReceiveCount` bounds.
    pub receives_here: u32,
    pub first_receive_ms: Option<u64>,
    /// Time of the newest receive, 0 before the first.
    pub last_receive_ms: u64,
    /// Number of the newest receipt, 0 before the first. It never falls, so that no handle comes twice.
    pub receipt: u64,
}

/// The inside of a receipt handle.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Receipt {
    pub seq: Seq,
    pub id: Uuid,
    pub number: u64,
}

/// What is to be kept, in the order it happened.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// The message is in queue `uid` and looks so.
    Message {
        uid: u64,
        seq: Seq,
        entry: Entry,
    },
    MessageGone {
        seq: Seq,
    },
    Queue(QueueRow),
    QueueGone {
        uid: u64,
    },
}

/// A queue without its messages.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct QueueRow {
    pub uid: u64,
    pub name: String,
    pub settings: Settings,
    pub created_ms: u64,
    pub modified_ms: u64,
}

/// What a receive asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub max: usize,
    /// In place of the queue's own.
    pub visibility_ms: Option<u64>,
}

/// Messages that a receive took out of sight.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub received: Vec<(Seq, Entry)>,
    /// Out of this queue, to be put into its dead-letter queue.
    pub buried: Vec<(Seq, Entry)>,
}

/// Counts of one queue at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    pub visible: u64,
    pub in_flight: u64,
    pub delayed: u64,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub uid: u64,
    pub settings: Settings,
    pub created_ms: u64,
    pub modified_ms: u64,
    limits: Limits,
    entries: HashMap<Seq, Entry>,
    fair: Fair,
    /// Messages in flight and delayed, by when they become visible.
    held: BTreeSet<(u64, Seq)>,
    by_age: BTreeSet<(u64, Seq)>,
    in_flight: usize,
}

impl Queue {
    pub(super) fn new(row: QueueRow, limits: Limits) -> Self {
        Self {
            uid: row.uid,
            settings: row.settings,
            created_ms: row.created_ms,
            modified_ms: row.modified_ms,
            limits,
            entries: HashMap::new(),
            fair: Fair::default(),
            held: BTreeSet::new(),
            by_age: BTreeSet::new(),
            in_flight: 0,
        }
    }

    /// Puts a message where its entry says it is: from the store, or from another queue.
    pub(super) fn restore(&mut self, now_ms: u64, seq: Seq, entry: Entry) {
        self.by_age.insert((entry.sent_ms, seq));
        self.entries.insert(seq, entry);
        self.place(now_ms, seq);
    }

    /// Accepts a new message; `delay_ms` in place of the queue's own delay.
    pub(super) fn send(&mut self, now_ms: u64, seq: Seq, entry: Entry, changes: &mut Vec<Change>) -> Result<(), SqsError> {
        self.advance(now_ms, changes);
        if self.entries.len() >= self.limits.messages {
            let bound = self.limits.messages;
            return Err(SqsError::new(Kind::OverLimit, format!("The queue holds {bound} messages and takes no more.")));
        }
        changes.push(Change::Message { uid: self.uid, seq, entry: entry.clone() });
        self.restore(now_ms, seq, entry);
        Ok(())
    }

    /// Takes up to `ask.max` messages into flight, and out of the queue those that were received `bury` times already.
    pub(super) fn receive(&mut self, now_ms: u64, ask: Ask, bury: Option<u32>, changes: &mut Vec<Change>) -> Taken {
        self.advance(now_ms, changes);
        let visibility_ms = ask.visibility_ms.unwrap_or(self.settings.visibility_ms());
        let Taken { mut received, mut buried } = Taken::default();
        while received.len() < ask.max && buried.len() < MAX_BURIED && self.in_flight < self.limits.in_flight {
            let Some(seq) = self.fair.next() else { break };
            let Some(entry) = self.entries.get_mut(&seq) else { continue };
            if bury.is_some_and(|most| entry.receives_here >= most) {
                if let Some(entry) = self.forget(seq) {
                    buried.push((seq, entry));
                }
                continue;
            }
            entry.received(now_ms, visibility_ms);
            self.in_flight += 1;
            self.fair.started(&entry.group);
            received.push((seq, entry.clone()));
        }
        // Only now, so that a visibility of 0 does not give the same message twice in one answer.
        for (seq, entry) in &received {
            self.in_flight -= 1;
            self.fair.ended(&entry.group);
            self.place(now_ms, *seq);
            changes.push(Change::Message { uid: self.uid, seq: *seq, entry: entry.clone() });
        }
        Taken { received, buried }
    }

    /// Whether a receive now could find nothing only because too much is in flight.
    pub(super) fn is_full(&self) -> bool {
        self.in_flight >= self.limits.in_flight
    }

    /// Deletes what the receipt names, unless it was received again since. Whether anything was deleted.
    pub(super) fn delete(&mut self, now_ms: u64, receipt: &Receipt, changes: &mut Vec<Change>) -> bool {
        self.advance(now_ms, changes);
        if self.current(receipt).is_none() {
            return false;
        }
        self.remove(receipt.seq, changes);
        true
    }

    /// Makes every message visible that was received and whose visibility nobody has changed since: for a queue whose only
    /// reader is known to be dead. The receive stays counted.
    pub(super) fn orphaned(&mut self, now_ms: u64, changes: &mut Vec<Change>) {
        self.advance(now_ms, changes);
        let untouched = self.settings.visibility_ms();
        let is_orphan = |(visible_ms, seq): &&(u64, Seq)| {
            let entry = self.entries.get(seq);
            entry.is_some_and(|entry| entry.last_receive_ms > 0 && *visible_ms == entry.last_receive_ms + untouched)
        };
        let orphans: Vec<Seq> = self.held.iter().filter(is_orphan).map(|(_, seq)| *seq).collect();
        for seq in orphans {
            self.edit(now_ms, seq, changes, |entry| entry.visible_ms = now_ms);
        }
    }

    /// Makes a message in flight visible `visibility_ms` from now.
    pub(super) fn change_visibility(
        &mut self,
        now_ms: u64,
        receipt: &Receipt,
        visibility_ms: u64,
        changes: &mut Vec<Change>,
    ) -> Result<(), SqsError> {
        self.advance(now_ms, changes);
        let visible_ms = now_ms + visibility_ms;
        let Some(entry) = self.current(receipt) else {
            return Err(SqsError::invalid(
                "Value for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for visibility timeout change.",
            ));
        };
        if !self.held.contains(&(entry.visible_ms, receipt.seq)) {
            return Err(SqsError::new(
                Kind::MessageNotInflight,
                "The message referred to is not in flight: its visibility timeout is over.",
            ));
        }
        if visible_ms > entry.last_receive_ms + MAX_VISIBILITY_MS {
            return Err(SqsError::invalid(
                "Value for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the message is beyond the limit [43200 seconds].",
            ));
        }
        self.edit(now_ms, receipt.seq, changes, |entry| entry.visible_ms = visible_ms);
        Ok(())
    }

    /// Undoes a receive that nobody got the answer of.
    pub(super) fn release(&mut self, now_ms: u64, receipt: &Receipt, changes: &mut Vec<Change>) {
        self.advance(now_ms, changes);
        if self.current(receipt).is_none() {
            return;
        }
        self.edit(now_ms, receipt.seq, changes, |entry| {
            entry.receives = entry.receives.saturating_sub(1);
            entry.receives_here = entry.receives_here.saturating_sub(1);
            entry.visible_ms = entry.visible_ms.min(now_ms);
            if entry.receives == 0 {
                entry.first_receive_ms = None;
            }
        });
    }

    /// Forgets every message.
    pub(super) fn purge(&mut self, changes: &mut Vec<Change>) {
        let all: Vec<Seq> = self.by_age.iter().map(|&(_, seq)| seq).collect();
        for seq in all {
            self.remove(seq, changes);
        }
    }

    pub(super) fn depth(&mut self, now_ms: u64, changes: &mut Vec<Change>) -> Depth {
        self.advance(now_ms, changes);
        Depth {
            visible: (self.entries.len() - self.held.len()) as u64,
            in_flight: self.in_flight as u64,
            delayed: (self.held.len() - self.in_flight) as u64,
        }
    }

    /// Lets time pass: what is due becomes visible, what is too old goes.
    pub(super) fn advance(&mut self, now_ms: u64, changes: &mut Vec<Change>) {
        while let Some(&(due, seq)) = self.held.first()
            && due <= now_ms
        {
            self.unplace(seq);
            self.place(now_ms, seq);
        }
        let retention_ms = self.settings.retention_ms();
        while let Some(&(sent_ms, seq)) = self.by_age.first()
            && sent_ms.saturating_add(retention_ms) <= now_ms
        {
            self.remove(seq, changes);
        }
    }

    /// Whether a receive at the time of the last [`advance`](Self::advance) would take a message out.
    pub(super) fn has_ready(&self) -> bool {
        !self.fair.is_empty() && !self.is_full()
    }

    /// When the next message becomes visible by itself.
    pub(super) fn next_due_ms(&self) -> Option<u64> {
        self.held.first().map(|&(due, _)| due)
    }

    /// The message, if this is its newest receipt.
    fn current(&self, receipt: &Receipt) -> Option<&Entry> {
        self.entries.get(&receipt.seq).filter(|entry| entry.id == receipt.id && entry.receipt == receipt.number)
    }

    fn edit(&mut self, now_ms: u64, seq: Seq, changes: &mut Vec<Change>, edit: impl FnOnce(&mut Entry)) {
        self.unplace(seq);
        if let Some(entry) = self.entries.get_mut(&seq) {
            edit(entry);
            changes.push(Change::Message { uid: self.uid, seq, entry: entry.clone() });
        }
        self.place(now_ms, seq);
    }

    fn remove(&mut self, seq: Seq, changes: &mut Vec<Change>) {
        self.unplace(seq);
        if self.forget(seq).is_some() {
            changes.push(Change::MessageGone { seq });
        }
    }

    /// Takes an unplaced message out of the books.
    fn forget(&mut self, seq: Seq) -> Option<Entry> {
        let entry = self.entries.remove(&seq)?;
        self.by_age.remove(&(entry.sent_ms, seq));
        Some(entry)
    }

    /// Enters a message as held or ready, by its entry.
    fn place(&mut self, now_ms: u64, seq: Seq) {
        let Some(entry) = self.entries.get(&seq) else { return };
        if entry.visible_ms <= now_ms {
            self.fair.ready(&entry.group, entry.visible_ms, seq);
        } else {
            self.held.insert((entry.visible_ms, seq));
            if entry.receives_here > 0 {
                self.in_flight += 1;
                self.fair.started(&entry.group);
            }
        }
    }

    /// The opposite of [`place`](Self::place).
    fn unplace(&mut self, seq: Seq) {
        let Some(entry) = self.entries.get(&seq) else { return };
        if !self.held.remove(&(entry.visible_ms, seq)) {
            self.fair.remove(&entry.group, entry.visible_ms, seq);
        } else if entry.receives_here > 0 {
            self.in_flight = self.in_flight.saturating_sub(1);
            self.fair.ended(&entry.group);
        }
    }
}

impl Entry {
    /// A message that nobody has received.
    pub(super) fn new(id: Uuid, group: GroupId, now_ms: u64, delay_ms: u64) -> Self {
        Self {
            id,
            group,
            sent_ms: now_ms,
            visible_ms: now_ms + delay_ms,
            receives: 0,
            receives_here: 0,
            first_receive_ms: None,
            last_receive_ms: 0,
            receipt: 0,
        }
    }

    fn received(&mut self, now_ms: u64, visibility_ms: u64) {
        self.receives = self.receives.saturating_add(1);
        self.receives_here = self.receives_here.saturating_add(1);
        self.first_receive_ms.get_or_insert(now_ms);
        self.last_receive_ms = now_ms;
        self.receipt += 1;
        self.visible_ms = now_ms + visibility_ms;
    }

    /// The message as it arrives in its dead-letter queue: visible at once; id and send time stay.
    pub(super) fn buried(self, now_ms: u64) -> Self {
        Self { visible_ms: now_ms, receives_here: 0, ..self }
    }
}
