//! One queue as a pure state machine: no clock, no I/O, no message bodies.
//!
//! Time comes in as `now_ms` (milliseconds since 1970). What must be kept is written to a list of [`Change`]s; a queue
//! made again from the entries of those changes behaves as the first would.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    attempts::Attempts,
    dedup::Window,
    entry::{Change, Entry, Limits, QueueRow, Receipt, Seq},
    error::{Kind, SqsError},
    fair::GroupId,
    order::{Order, State},
    settings::Settings,
};

/// Longest visibility timeout, counted from the receive: 12 h.
pub(super) const MAX_VISIBILITY_MS: u64 = 43_200_000;
/// Messages that one receive may move to the dead-letter queue; the rest waits for the next receive.
const MAX_BURIED: usize = 1_000;

/// What a receive asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Ask {
    pub max: usize,
    /// In place of the queue's own.
    pub visibility_ms: Option<u64>,
    /// `ReceiveRequestAttemptId`
    pub attempt: Option<Arc<str>>,
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

/// What became of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deletion {
    Done,
    /// There is no such message any more, or a standard queue gave it out again since.
    Stale,
    /// A FIFO queue's message is visible again, or was given out again since.
    Expired,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub uid: u64,
    pub settings: Settings,
    pub tags: BTreeMap<String, String>,
    pub created_ms: u64,
    pub modified_ms: u64,
    pub purged_ms: u64,
    pub window: Window,
    limits: Limits,
    pub(super) entries: HashMap<Seq, Entry>,
    order: Order,
    pub(super) attempts: Attempts,
    /// Messages in flight and delayed, by when they become visible.
    held: BTreeSet<(u64, Seq)>,
    by_age: BTreeSet<(u64, Seq)>,
    in_flight: usize,
}

impl Queue {
    pub(super) fn new(row: QueueRow, limits: Limits) -> Self {
        Self {
            uid: row.uid,
            order: Order::new(row.settings.fifo().is_some()),
            settings: row.settings,
            tags: row.tags,
            created_ms: row.created_ms,
            modified_ms: row.modified_ms,
            purged_ms: row.purged_ms,
            window: Window::default(),
            limits,
            entries: HashMap::new(),
            attempts: Attempts::default(),
            held: BTreeSet::new(),
            by_age: BTreeSet::new(),
            in_flight: 0,
        }
    }

    /// Puts a message where its entry says it is: from the store, or from another queue.
    pub(super) fn restore(&mut self, now_ms: u64, seq: Seq, mut entry: Entry) {
        self.by_age.insert((entry.sent_ms, seq));
        entry.attempt = entry.attempt.filter(|_| entry.visible_ms > now_ms);
        if let Some(attempt) = &entry.attempt {
            self.attempts.join(attempt, seq);
        }
        self.entries.insert(seq, entry);
        self.place(now_ms, seq);
    }

    /// The queue without its messages.
    pub(super) fn row(&self, name: &str) -> QueueRow {
        QueueRow {
            uid: self.uid,
            name: name.to_owned(),
            settings: self.settings.clone(),
            tags: self.tags.clone(),
            created_ms: self.created_ms,
            modified_ms: self.modified_ms,
            purged_ms: self.purged_ms,
        }
    }

    pub(super) fn is_fifo(&self) -> bool {
        matches!(self.order, Order::Fifo(_))
    }

    /// Gives the queue other settings. A FIFO queue's delay goes for the messages that it holds already. Source: SQS
    /// developer guide, "Amazon SQS delay queues".
    pub(super) fn configure(&mut self, now_ms: u64, settings: Settings, changes: &mut Vec<Change>) {
        let before = std::mem::replace(&mut self.settings, settings).delay_ms();
        let delay_ms = self.settings.delay_ms();
        if !self.is_fifo() || before == delay_ms {
            return;
        }
        let unseen = self.entries.iter().filter(|(_, entry)| entry.receives_here == 0 && entry.source.is_none());
        let mut unseen: Vec<Seq> = unseen.map(|(seq, _)| *seq).collect();
        unseen.sort_unstable();
        for seq in unseen {
            self.edit(now_ms, seq, changes, |entry| entry.visible_ms = entry.sent_ms + delay_ms);
        }
    }

    /// Whether there is room for one more message.
    pub(super) fn check_room(&self) -> Result<(), SqsError> {
        let bound = self.limits.messages;
        if self.entries.len() >= bound {
            return Err(SqsError::new(Kind::OverLimit, format!("The queue holds {bound} messages and takes no more.")));
        }
        let bound = self.limits.remembered;
        if self.window.len() >= bound {
            let text = format!("The queue was sent {bound} messages in the last five minutes and takes no more for now.");
            return Err(SqsError::new(Kind::OverLimit, text));
        }
        Ok(())
    }

    /// Accepts a new message.
    pub(super) fn send(&mut self, now_ms: u64, seq: Seq, entry: Entry, changes: &mut Vec<Change>) -> Result<(), SqsError> {
        self.advance(now_ms, changes);
        self.check_room()?;
        changes.push(Change::Message { uid: self.uid, seq, entry: entry.clone() });
        self.restore(now_ms, seq, entry);
        Ok(())
    }

    /// Takes up to `ask.max` messages into flight, and out of the queue those that were received `bury` times already.
    pub(super) fn receive(&mut self, now_ms: u64, ask: &Ask, bury: Option<u32>, changes: &mut Vec<Change>) -> Taken {
        self.advance(now_ms, changes);
        let visibility_ms = ask.visibility_ms.unwrap_or(self.settings.visibility_ms());
        let attempt = ask.attempt.as_ref().filter(|_| self.is_fifo());
        if let Some(received) = attempt.and_then(|attempt| self.again(now_ms, attempt, visibility_ms, changes)) {
            return Taken { received, buried: vec![] };
        }
        let Taken { mut received, mut buried } = Taken::default();
        let mut last: Option<GroupId> = None;
        while received.len() < ask.max && buried.len() < MAX_BURIED && !self.is_full() {
            let Some(seq) = self.order.next(last.as_ref()) else { break };
            let Some(entry) = self.entries.get_mut(&seq) else { continue };
            last = Some(entry.group.clone());
            if bury.is_some_and(|most| entry.receives_here >= most) {
                if let Some(entry) = self.forget(seq) {
                    buried.push((seq, entry));
                }
                continue;
            }
            entry.received(now_ms, visibility_ms);
            entry.attempt = attempt.cloned().filter(|_| visibility_ms > 0);
            self.in_flight += 1;
            self.order.took(&entry.group);
            received.push((seq, entry.clone()));
        }
        // Only now, so that a visibility of 0 does not give the same message twice in one answer.
        for (seq, entry) in &received {
            self.in_flight -= 1;
            self.order.untook(&entry.group);
            self.place(now_ms, *seq);
            if let Some(attempt) = &entry.attempt {
                self.attempts.join(attempt, *seq);
            }
            changes.push(Change::Message { uid: self.uid, seq: *seq, entry: entry.clone() });
        }
        Taken { received, buried }
    }

    /// Takes the ready message whose turn it is out of the queue.
    pub(super) fn take(&mut self) -> Option<(Seq, Entry)> {
        let seq = self.order.next(None)?;
        Some((seq, self.forget(seq)?))
    }

    /// Whether as much is in flight as may be.
    pub(super) fn is_full(&self) -> bool {
        self.in_flight >= if self.is_fifo() { self.limits.fifo_in_flight } else { self.limits.in_flight }
    }

    /// Deletes what the receipt names, unless it was received again since or, in a FIFO queue, may be.
    pub(super) fn delete(&mut self, now_ms: u64, receipt: &Receipt, changes: &mut Vec<Change>) -> Deletion {
        self.advance(now_ms, changes);
        let Some(entry) = self.entries.get(&receipt.seq).filter(|entry| entry.id == receipt.id) else { return Deletion::Stale };
        let newest = entry.receipt == receipt.number;
        if self.is_fifo() && !(newest && self.held.contains(&(entry.visible_ms, receipt.seq))) {
            return Deletion::Expired;
        }
        if !newest {
            return Deletion::Stale;
        }
        self.touch(receipt.seq, changes);
        self.remove(receipt.seq, changes);
        Deletion::Done
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
            self.touch(seq, changes);
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
        self.touch(receipt.seq, changes);
        self.edit(now_ms, receipt.seq, changes, |entry| entry.visible_ms = visible_ms);
        Ok(())
    }

    /// Undoes a receive that nobody got the answer of.
    pub(super) fn release(&mut self, now_ms: u64, receipt: &Receipt, changes: &mut Vec<Change>) {
        self.advance(now_ms, changes);
        if self.current(receipt).is_none() {
            return;
        }
        self.touch(receipt.seq, changes);
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
            self.touch(seq, changes);
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
            self.touch(seq, changes);
            self.unplace(seq);
            self.place(now_ms, seq);
        }
        self.window.advance(now_ms, self.uid, changes);
        let retention_ms = self.settings.retention_ms();
        while let Some(&(sent_ms, seq)) = self.by_age.first()
            && sent_ms.saturating_add(retention_ms) <= now_ms
        {
            self.touch(seq, changes);
            self.remove(seq, changes);
        }
    }

    /// Whether a receive at the time of the last [`advance`](Self::advance) would take a message out.
    pub(super) fn has_ready(&self) -> bool {
        !self.order.is_empty() && !self.is_full()
    }

    /// When the oldest message was sent.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.by_age.first().map(|&(sent_ms, _)| sent_ms)
    }

    /// When the next message becomes visible by itself.
    pub(super) fn next_due_ms(&self) -> Option<u64> {
        self.held.first().map(|&(due, _)| due)
    }

    /// The message, if this is its newest receipt.
    fn current(&self, receipt: &Receipt) -> Option<&Entry> {
        self.entries.get(&receipt.seq).filter(|entry| entry.id == receipt.id && entry.receipt == receipt.number)
    }

    pub(super) fn edit(&mut self, now_ms: u64, seq: Seq, changes: &mut Vec<Change>, edit: impl FnOnce(&mut Entry)) {
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
        let state = match entry.receives_here {
            _ if entry.visible_ms <= now_ms => State::Ready,
            0 => State::Delayed,
            _ => State::InFlight,
        };
        if state != State::Ready {
            self.held.insert((entry.visible_ms, seq));
        }
        self.in_flight += usize::from(state == State::InFlight);
        self.order.enter(state, entry, seq);
    }

    /// The opposite of [`place`](Self::place).
    fn unplace(&mut self, seq: Seq) {
        let Some(entry) = self.entries.get(&seq) else { return };
        let state = match entry.receives_here {
            _ if !self.held.remove(&(entry.visible_ms, seq)) => State::Ready,
            0 => State::Delayed,
            _ => State::InFlight,
        };
        self.in_flight -= usize::from(state == State::InFlight);
        self.order.leave(state, entry, seq);
    }
}
