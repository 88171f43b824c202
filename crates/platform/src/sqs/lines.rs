//! Whose message is next in a FIFO queue: each group is a line, and a line stands still while a message of it is in flight.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{entry::Seq, fair::GroupId};

/// The messages of one group.
#[derive(Debug, Default)]
struct Line {
    ready: BTreeSet<Seq>,
    delayed: BTreeSet<Seq>,
    in_flight: usize,
}

impl Line {
    /// The message that may be received now: the oldest, unless it is delayed or another is in flight.
    fn head(&self) -> Option<Seq> {
        let first = *self.ready.first()?;
        let waits = self.in_flight > 0 || self.delayed.first().is_some_and(|delayed| *delayed < first);
        (!waits).then_some(first)
    }

    fn is_empty(&self) -> bool {
        self.in_flight == 0 && self.ready.is_empty() && self.delayed.is_empty()
    }
}

/// The messages of a FIFO queue by group.
#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: HashMap<GroupId, Line>,
    /// The groups that a message can be received of, by that message.
    open: BTreeMap<Seq, GroupId>,
}

impl Lines {
    pub(super) fn ready(&mut self, group: &GroupId, seq: Seq) {
        self.change(group, |line| _ = line.ready.insert(seq));
    }

    /// A ready message is gone without being received.
    pub(super) fn remove(&mut self, group: &GroupId, seq: Seq) {
        self.change(group, |line| _ = line.ready.remove(&seq));
    }

    pub(super) fn delayed(&mut self, group: &GroupId, seq: Seq) {
        self.change(group, |line| _ = line.delayed.insert(seq));
    }

    pub(super) fn undelayed(&mut self, group: &GroupId, seq: Seq) {
        self.change(group, |line| _ = line.delayed.remove(&seq));
    }

    /// A message of this group went into flight.
    pub(super) fn started(&mut self, group: &GroupId) {
        self.change(group, |line| line.in_flight += 1);
    }

    /// A message of this group is no longer in flight.
    pub(super) fn ended(&mut self, group: &GroupId) {
        self.change(group, |line| line.in_flight = line.in_flight.saturating_sub(1));
    }

    /// Takes the next message: of the group `last`, if that has one, since a receive gives as many of one group as it
    /// can; else of the group whose turn it is.
    pub(super) fn next(&mut self, last: Option<&GroupId>) -> Option<Seq> {
        let more = last.and_then(|group| Some((self.lines.get(group)?.head()?, group.clone())));
        let (seq, group) = more.or_else(|| self.open.first_key_value().map(|(seq, group)| (*seq, group.clone())))?;
        self.remove(&group, seq);
        Some(seq)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Changes one line and keeps `open` true to it. Lines with nobody left are forgotten.
    fn change(&mut self, group: &GroupId, edit: impl FnOnce(&mut Line)) {
        let line = self.lines.entry(group.clone()).or_default();
        let before = line.head();
        edit(line);
        let after = line.head();
        if line.is_empty() {
            self.lines.remove(group);
        }
        if before != after {
            if let Some(seq) = before {
                self.open.remove(&seq);
            }
            if let Some(seq) = after {
                self.open.insert(seq, group.clone());
            }
        }
    }
}
