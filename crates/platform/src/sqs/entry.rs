//! A message without its content, and what is to be written down when something happens to it.

use std::{collections::BTreeMap, sync::Arc};

use uuid::Uuid;

use super::{fair::GroupId, moves::MoveTask, settings::Settings};

/// Number of a message in the account, in order of arrival in its queue. It never comes twice.
pub(super) type Seq = u64;

/// Bounds of one queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// AWS: about 120,000 for a standard queue.
    pub in_flight: usize,
    /// AWS: 20,000 for a FIFO queue.
    pub fifo_in_flight: usize,
    /// AWS has none; here every message costs about 400 bytes of memory.
    pub messages: usize,
    /// Deduplication ids remembered at once, about 150 bytes of memory each. AWS has no bound.
    pub remembered: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { in_flight: 120_000, fifo_in_flight: 20_000, messages: 1_000_000, remembered: 1_000_000 }
    }
}

/// A message without its content.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub id: Uuid,
    pub group: GroupId,
    /// What a FIFO queue knows it by; every message of one has it.
    pub dedup: Option<Arc<str>>,
    /// Queue that it was moved from to this dead-letter queue.
    pub source: Option<Arc<str>>,
    /// `ReceiveRequestAttemptId` of its newest receive, while that can be repeated.
    pub attempt: Option<Arc<str>>,
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

impl Entry {
    /// A message that nobody has received.
    pub(super) fn new(id: Uuid, group: GroupId, now_ms: u64, delay_ms: u64) -> Self {
        Self {
            id,
            group,
            dedup: None,
            source: None,
            attempt: None,
            sent_ms: now_ms,
            visible_ms: now_ms + delay_ms,
            receives: 0,
            receives_here: 0,
            first_receive_ms: None,
            last_receive_ms: 0,
            receipt: 0,
        }
    }

    pub(super) fn received(&mut self, now_ms: u64, visibility_ms: u64) {
        self.receives = self.receives.saturating_add(1);
        self.receives_here = self.receives_here.saturating_add(1);
        self.first_receive_ms.get_or_insert(now_ms);
        self.last_receive_ms = now_ms;
        self.receipt += 1;
        self.visible_ms = now_ms + visibility_ms;
    }

    /// The message as it arrives in its dead-letter queue: visible at once, with its id. In a standard queue its age goes
    /// on; in a FIFO queue it begins again, and its id takes the place of its deduplication id. Source: SQS developer
    /// guide, "Setting-up dead-letter queue retention" and "Learn how to configure a dead-letter queue redrive".
    pub(super) fn buried(self, now_ms: u64, source: &str) -> Self {
        let fifo = self.dedup.is_some();
        Self {
            visible_ms: now_ms,
            receives_here: 0,
            attempt: None,
            source: Some(Arc::from(source)),
            sent_ms: if fifo { now_ms } else { self.sent_ms },
            dedup: fifo.then(|| Arc::from(self.id.to_string())),
            ..self
        }
    }
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
    /// A message, content included, goes by another number from here on.
    Renumbered {
        from: Seq,
        to: Seq,
    },
    MessageGone {
        seq: Seq,
    },
    Queue(QueueRow),
    QueueGone {
        uid: u64,
    },
    /// Queue `uid` remembers that it has this message.
    Remembered {
        uid: u64,
        key: DedupKey,
        sent: Sent,
    },
    Forgotten {
        uid: u64,
        key: DedupKey,
    },
    Move(MoveTask),
    MoveGone {
        number: Seq,
    },
}

/// Digest of a deduplication id and its scope.
pub(super) type DedupKey = [u8; 32];

/// A message that was accepted, as a queue remembers it against duplicates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sent {
    pub seq: Seq,
    pub id: Uuid,
    pub until_ms: u64,
}

/// A queue without its messages.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct QueueRow {
    pub uid: u64,
    pub name: String,
    pub settings: Settings,
    pub tags: BTreeMap<String, String>,
    pub created_ms: u64,
    pub modified_ms: u64,
    /// Time of the newest purge, 0 before the first.
    pub purged_ms: u64,
}
