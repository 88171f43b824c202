//! Whose message is next: the group with the fewest messages in flight, so that one busy group cannot starve the others.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::queue::Seq;

/// `MessageGroupId`. Messages without one share the group `None`.
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
}

impl Fair {
    /// A message became visible at `since`.
    pub(super) fn ready(&mut self, group: &GroupId, since: u64, seq: Seq) {
        self.change(group, |g| {
            g.ready.insert((since, seq));
        });
    }

    /// A ready message is gone without being received.
    pub(super) fn remove(&mut self, group: &GroupId, since: u64, seq: Seq) {
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
        let ((_, since, seq), group) = self.turns.first().cloned()?;
        self.remove(&group, since, seq);
        Some(seq)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Changes one group and keeps `turns` true to it. Groups with nothing left are forgotten.
    fn change(&mut self, id: &GroupId, edit: impl FnOnce(&mut Group)) {
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
