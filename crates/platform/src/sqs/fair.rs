//! Whose message is next: the group with the fewest messages in flight, so that one busy group cannot starve the others.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::entry::Seq;

/// `MessageGroupId`. Each message without one is a group of its own. Source: SQS developer guide, "How Amazon SQS fair
/// queues work".
pub(super) type GroupId = Option<Arc<str>>;

/// Orders a group among the groups: messages in flight, then its oldest ready message (visible since, sequence).
type Turn = (usize, u64, Seq);

#[derive(Debug, Default)]
struct Group {
    ready: BTreeSet<(u64, Seq)>,
    in_flight: usize,
}

impl Group {
    fn turn(&self) -> Option<Turn> {
        self.ready.first().map(|&(since, seq)| (self.in_flight, since, seq))
    }
}

/// The ready messages of a queue by group.
#[derive(Debug, Default)]
pub(super) struct Fair {
    groups: HashMap<GroupId, Group>,
    turns: BTreeSet<(Turn, GroupId)>,
    /// Ready messages without a group: none of theirs is ever in flight before them.
    alone: BTreeSet<(u64, Seq)>,
}

impl Fair {
    /// A message became visible at `since`.
    pub(super) fn ready(&mut self, group: &GroupId, since: u64, seq: Seq) {
        if group.is_none() {
            self.alone.insert((since, seq));
            return;
        }
        self.change(group, |g| {
            g.ready.insert((since, seq));
        });
    }

    /// A ready message is gone without being received.
    pub(super) fn remove(&mut self, group: &GroupId, since: u64, seq: Seq) {
        if group.is_none() {
            self.alone.remove(&(since, seq));
            return;
        }
        self.change(group, |g| {
            g.ready.remove(&(since, seq));
        });
    }

    /// A message of this group went into flight.
    pub(super) fn started(&mut self, group: &GroupId) {
        self.change(group, |g| g.in_flight += 1);
    }

    /// A message of this group is no longer in flight.
    pub(super) fn ended(&mut self, group: &GroupId) {
        self.change(group, |g| g.in_flight = g.in_flight.saturating_sub(1));
    }

    /// Takes the message whose turn it is.
    pub(super) fn next(&mut self) -> Option<Seq> {
        let alone = self.alone.first().map(|&(since, seq)| (0, since, seq));
        let grouped = self.turns.first().filter(|(turn, _)| alone.is_none_or(|alone| *turn < alone));
        let ((_, since, seq), group) = match grouped {
            Some((turn, group)) => (*turn, group.clone()),
            None => (alone?, None),
        };
        self.remove(&group, since, seq);
        Some(seq)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty() && self.alone.is_empty()
    }

    /// Changes one group and keeps `turns` true to it. Groups with nothing left are forgotten.
    fn change(&mut self, id: &GroupId, edit: impl FnOnce(&mut Group)) {
        if id.is_none() {
            return;
        }
        let group = self.groups.entry(id.clone()).or_default();
        let before = group.turn();
        edit(group);
        let after = group.turn();
        if group.in_flight == 0 && group.ready.is_empty() {
            self.groups.remove(id);
        }
        if before != after {
            if let Some(turn) = before {
                self.turns.remove(&(turn, id.clone()));
            }
            if let Some(turn) = after {
                self.turns.insert((turn, id.clone()));
            }
        }
    }
}
