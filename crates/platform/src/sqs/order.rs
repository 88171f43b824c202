//! In which order a queue gives its messages: by fair shares, or by lines if it is a FIFO queue.

use super::{
    entry::{Entry, Seq},
    fair::{Fair, GroupId},
    lines::Lines,
};

/// Where a message of a queue stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Ready,
    Delayed,
    InFlight,
}

#[derive(Debug)]
pub(super) enum Order {
    Fair(Fair),
    Fifo(Lines),
}

impl Order {
    pub(super) fn new(fifo: bool) -> Self {
        if fifo { Self::Fifo(Lines::default()) } else { Self::Fair(Fair::default()) }
    }

    pub(super) fn enter(&mut self, state: State, entry: &Entry, seq: Seq) {
        match (self, state) {
            (Self::Fair(fair), State::Ready) => fair.ready(&entry.group, entry.visible_ms, seq),
            (Self::Fair(fair), State::InFlight) => fair.started(&entry.group),
            (Self::Fair(_), State::Delayed) => {}
            (Self::Fifo(lines), State::Ready) => lines.ready(&entry.group, seq),
            (Self::Fifo(lines), State::InFlight) => lines.started(&entry.group),
            (Self::Fifo(lines), State::Delayed) => lines.delayed(&entry.group, seq),
        }
    }

    /// The opposite of [`enter`](Self::enter).
    pub(super) fn leave(&mut self, state: State, entry: &Entry, seq: Seq) {
        match (self, state) {
            (Self::Fair(fair), State::Ready) => fair.remove(&entry.group, entry.visible_ms, seq),
            (Self::Fair(fair), State::InFlight) => fair.ended(&entry.group),
            (Self::Fair(_), State::Delayed) => {}
            (Self::Fifo(lines), State::Ready) => lines.remove(&entry.group, seq),
            (Self::Fifo(lines), State::InFlight) => lines.ended(&entry.group),
            (Self::Fifo(lines), State::Delayed) => lines.undelayed(&entry.group, seq),
        }
    }

    /// Takes the ready message whose turn it is. `last`: the group of the message that the same receive took before.
    pub(super) fn next(&mut self, last: Option<&GroupId>) -> Option<Seq> {
        match self {
            Self::Fair(fair) => fair.next(),
            Self::Fifo(lines) => lines.next(last),
        }
    }

    /// A receive that goes on has taken a message of this group. The group's share grows; a line does not stand still
    /// before the receive is done.
    pub(super) fn took(&mut self, group: &GroupId) {
        if let Self::Fair(fair) = self {
            fair.started(group);
        }
    }

    /// The opposite of [`took`](Self::took).
    pub(super) fn untook(&mut self, group: &GroupId) {
        if let Self::Fair(fair) = self {
            fair.ended(group);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Fair(fair) => fair.is_empty(),
            Self::Fifo(lines) => lines.is_empty(),
        }
    }
}
