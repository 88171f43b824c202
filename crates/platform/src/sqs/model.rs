//! A plain model of all queues: one list of messages, searched from end to end each time. Slow, and plainly right.

use uuid::Uuid;

use super::{
    entry::{Limits, Receipt},
    error::Kind,
    moves::moved_id,
    queue::{Deletion, Depth},
};

pub(super) const LIMITS: Limits = Limits { in_flight: 4, fifo_in_flight: 3, messages: 12, remembered: 1_000 };
/// Where each one's dead letters go: the first three are standard queues.
pub(super) const GRAVES: [Option<usize>; 5] = [Some(1), Some(2), None, Some(4), None];
pub(super) const NAMES: [&str; 5] = ["work", "dead", "last", "line.fifo", "dead.fifo"];
pub(super) const VISIBILITY: u64 = 30_000;
/// Of standard and of FIFO queues: the latter longer than the deduplication window.
pub(super) const RETENTION: [u64; 2] = [60_000, 400_000];
pub(super) const MAX_RECEIVES: u32 = 2;
const WINDOW: u64 = 300_000;

pub(super) fn is_fifo(queue: usize) -> bool {
    queue >= 3
}

/// A message of the model.
#[derive(Clone, Debug)]
struct Message {
    id: Uuid,
    queue: usize,
    group: Option<u8>,
    source: Option<usize>,
    sent: u64,
    visible: u64,
    received: Vec<u64>,
    received_here: u32,
    handles: u64,
    last: u64,
}

/// What a caller sees of a received message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seen {
    pub id: Uuid,
    pub handle: u64,
    pub receives: usize,
    pub first: u64,
    pub sent: u64,
}

/// A receive that may be asked for again.
#[derive(Clone, Debug)]
struct Attempt {
    queue: usize,
    name: u8,
    made: u64,
    messages: Vec<(Uuid, u64)>,
}

/// A message that a FIFO queue accepted.
#[derive(Clone, Debug)]
struct Sent {
    queue: usize,
    group: Option<u8>,
    dedup: String,
    id: Uuid,
    at: u64,
}

/// Messages in the order in which they came to their queues.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub now: u64,
    messages: Vec<Message>,
    sent: Vec<Sent>,
    attempts: Vec<Attempt>,
    /// Of the queue `line.fifo`.
    pub delay: u64,
}

impl Model {
    pub(super) fn new(now: u64) -> Self {
        Self { now, messages: vec![], sent: vec![], attempts: vec![], delay: 0 }
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = Uuid> {
        self.messages.iter().map(|m| m.id)
    }

    fn expire(&mut self) {
        let now = self.now;
        self.messages.retain(|m| m.sent + RETENTION[usize::from(is_fifo(m.queue))] > now);
    }

    fn is_flying(&self, m: &Message) -> bool {
        m.visible > self.now && m.received_here > 0
    }

    fn is_delayed(&self, m: &Message) -> bool {
        m.visible > self.now && m.received_here == 0
    }

    fn queue(&self, queue: usize) -> impl Iterator<Item = &Message> + Clone {
        self.messages.iter().filter(move |m| m.queue == queue)
    }

    /// The id of the message that stands for this one from now on.
    pub(super) fn send(&mut self, queue: usize, id: Uuid, group: Option<u8>, dedup: &str, delay: u64) -> Result<Uuid, Kind> {
        self.expire();
        if is_fifo(queue) {
            // `dead.fifo` tells duplicates apart within a group only.
            let same = |s: &&Sent| s.queue == queue && s.dedup == dedup && (queue == 3 || s.group == group);
            if let Some(first) = self.sent.iter().filter(same).find(|s| s.at + WINDOW > self.now) {
                return Ok(first.id);
            }
        }
        if self.queue(queue).count() >= LIMITS.messages {
            return Err(Kind::OverLimit);
        }
        if is_fifo(queue) {
            self.sent.push(Sent { queue, group, dedup: dedup.to_owned(), id, at: self.now });
        }
        self.arrive(queue, id, group, delay);
        Ok(id)
    }

    fn arrive(&mut self, queue: usize, id: Uuid, group: Option<u8>, delay: u64) {
        let (sent, visible) = (self.now, self.now + delay);
        let (received, received_here, handles, last, source) = (vec![], 0, 0, 0, None);
        self.messages.push(Message { id, queue, group, source, sent, visible, received, received_here, handles, last });
    }

    /// Where in the list the next message is, `taken` being on their way already, the last of them of the group `last`.
    fn next(&self, queue: usize, taken: &[Uuid], last: Option<u8>) -> Option<usize> {
        let all = || self.messages.iter().enumerate().filter(|(_, m)| m.queue == queue);
        let free = all().filter(|(_, m)| m.visible <= self.now && !taken.contains(&m.id));
        if !is_fifo(queue) {
            // The group with the fewest in flight; each message without a group is one of its own.
            let load = |group: Option<u8>| {
                let of_group = all().filter(|(_, m)| m.group == group && (self.is_flying(m) || taken.contains(&m.id)));
                if group.is_some() { of_group.count() } else { 0 }
            };
            return Some(free.min_by_key(|(at, m)| (load(m.group), m.visible, *at))?.0);
        }
        let stands = |at: usize, group: Option<u8>| {
            let mut of_group = all().filter(|(_, m)| m.group == group);
            of_group.any(|(other, m)| self.is_flying(m) || (self.is_delayed(m) && other < at))
        };
        let open = free.filter(|(at, m)| !stands(*at, m.group));
        // As many of one group as there are, then the oldest.
        Some(open.min_by_key(|(at, m)| (m.group != last, *at))?.0)
    }

    pub(super) fn receive(&mut self, queue: usize, max: usize, visibility: u64, attempt: Option<u8>) -> Vec<Seen> {
        self.expire();
        let attempt = attempt.filter(|_| is_fifo(queue));
        if let Some(again) = attempt.and_then(|attempt| self.again(queue, attempt, visibility)) {
            return again;
        }
        let limit = if is_fifo(queue) { LIMITS.fifo_in_flight } else { LIMITS.in_flight };
        let flying = self.queue(queue).filter(|m| self.is_flying(m)).count();
        let (mut taken, mut last) = (vec![], None);
        while taken.len() < max && flying + taken.len() < limit {
            let Some(at) = self.next(queue, &taken, last) else { break };
            last = self.messages[at].group;
            if let Some(grave) = GRAVES[queue].filter(|_| self.messages[at].received_here >= MAX_RECEIVES) {
                self.bury(at, grave);
                continue;
            }
            let now = self.now;
            let message = &mut self.messages[at];
            message.received.push(now);
            message.received_here += 1;
            message.handles += 1;
            message.last = now;
            taken.push(message.id);
        }
        for id in &taken {
            let visible = self.now + visibility;
            self.messages.iter_mut().find(|m| m.id == *id).unwrap().visible = visible;
        }
        if let Some(name) = attempt.filter(|_| !taken.is_empty() && visibility > 0) {
            let messages = self.messages.iter().filter(|m| taken.contains(&m.id)).map(|m| (m.id, m.handles)).collect();
            self.attempts.push(Attempt { queue, name, made: self.now, messages });
        }
        taken.into_iter().map(|id| self.seen(id)).collect()
    }

    fn seen(&self, id: Uuid) -> Seen {
        let m = self.messages.iter().find(|m| m.id == id).unwrap();
        Seen { id, handle: m.handles, receives: m.received.len(), first: m.received[0], sent: m.sent }
    }

    /// A receive once more, if nothing has happened to its messages.
    fn again(&mut self, queue: usize, name: u8, visibility: u64) -> Option<Vec<Seen>> {
        let at = self.attempts.iter().position(|a| a.queue == queue && a.name == name)?;
        let attempt = self.attempts.remove(at);
        let now = self.now;
        let as_left = |m: &&Message| attempt.messages.contains(&(m.id, m.handles)) && m.visible > now;
        if now >= attempt.made + WINDOW || self.queue(queue).filter(as_left).count() < attempt.messages.len() {
            return None;
        }
        for m in self.messages.iter_mut().filter(|m| attempt.messages.iter().any(|(id, _)| *id == m.id)) {
            m.visible = (now + visibility).min(m.last + 43_200_000);
        }
        let seen = attempt.messages.iter().map(|(id, _)| self.seen(*id)).collect();
        if visibility > 0 {
            self.attempts.push(attempt);
        }
        Some(seen)
    }

    fn bury(&mut self, at: usize, grave: usize) {
        let now = self.now;
        let message = &mut self.messages[at];
        message.source = Some(message.queue);
        message.queue = grave;
        message.visible = now;
        message.received_here = 0;
        if is_fifo(grave) {
            let mut message = self.messages.remove(at);
            message.sent = now;
            self.messages.push(message);
        }
    }

    /// The message that this is the newest handle of.
    fn newest(&mut self, queue: usize, receipt: &Receipt) -> Option<&mut Message> {
        self.messages.iter_mut().find(|m| m.queue == queue && m.id == receipt.id && m.handles == receipt.number)
    }

    fn touch(&mut self, id: Uuid) {
        self.attempts.retain(|a| !a.messages.iter().any(|(other, _)| *other == id));
    }

    pub(super) fn delete(&mut self, queue: usize, receipt: &Receipt) -> Deletion {
        self.expire();
        let now = self.now;
        let Some(m) = self.queue(queue).find(|m| m.id == receipt.id) else { return Deletion::Stale };
        if is_fifo(queue) && (m.handles != receipt.number || m.visible <= now) {
            return Deletion::Expired;
        }
        if m.handles != receipt.number {
            return Deletion::Stale;
        }
        self.touch(receipt.id);
        self.messages.retain(|m| m.id != receipt.id);
        Deletion::Done
    }

    pub(super) fn change_visibility(&mut self, queue: usize, receipt: &Receipt, ms: u64) -> Result<(), Kind> {
        self.expire();
        let now = self.now;
        match self.newest(queue, receipt) {
            None => Err(Kind::InvalidParameterValue),
            Some(m) if m.visible <= now => Err(Kind::MessageNotInflight),
            Some(m) if now + ms - m.last > 43_200_000 => Err(Kind::InvalidParameterValue),
            Some(m) => {
                m.visible = now + ms;
                self.touch(receipt.id);
                Ok(())
            }
        }
    }

    pub(super) fn release(&mut self, queue: usize, receipt: &Receipt) {
        self.expire();
        let now = self.now;
        if let Some(m) = self.newest(queue, receipt) {
            m.received.pop();
            m.received_here = m.received_here.saturating_sub(1);
            m.visible = m.visible.min(now);
            self.touch(receipt.id);
        }
    }

    pub(super) fn purge(&mut self, queue: usize) {
        self.messages.retain(|m| m.queue != queue);
    }

    /// A FIFO queue's delay goes for the messages that are there, too.
    pub(super) fn set_delay(&mut self, delay: u64) {
        if delay == self.delay {
            return;
        }
        self.delay = delay;
        for m in self.messages.iter_mut().filter(|m| m.queue == 3 && m.received_here == 0 && m.source.is_none()) {
            m.visible = m.sent + delay;
        }
    }

    /// Moves what is visible; how many, and whether it came to its end.
    pub(super) fn run_move(&mut self, source: usize, destination: Option<usize>) -> (u64, bool) {
        self.expire();
        let visible = self.queue(source).filter(|m| m.visible <= self.now).count() as u64;
        let mut moved = 0;
        while moved < visible {
            let Some(at) = self.next(source, &[], None) else { break };
            let Some(to) = destination.or(self.messages[at].source) else { return (moved, false) };
            if self.queue(to).count() >= LIMITS.messages {
                return (moved, false);
            }
            let message = self.messages.remove(at);
            self.arrive(to, moved_id(message.id), message.group, if to == 3 { self.delay } else { 0 });
            moved += 1;
        }
        (moved, true)
    }

    pub(super) fn depth(&mut self, queue: usize) -> Depth {
        self.expire();
        let flying = self.queue(queue).filter(|m| self.is_flying(m)).count();
        let delayed = self.queue(queue).filter(|m| self.is_delayed(m)).count();
        let visible = self.queue(queue).count() - flying - delayed;
        Depth { visible: visible as u64, in_flight: flying as u64, delayed: delayed as u64 }
    }
}
