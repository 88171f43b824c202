//! The queue machine against a plain model of it: a list of messages, searched from end to end each time.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use proptest::{collection::vec, prelude::*};
use uuid::Uuid;

use super::{
    account::{Account, Envelope},
    error::Kind,
    queue::{Ask, Change, Depth, Entry, Limits, QueueRow, Receipt, Seq},
};

const LIMITS: Limits = Limits { in_flight: 4, messages: 12 };
/// Each one's dead letters go to the next.
const NAMES: [&str; 3] = ["work", "dead", "last"];
const VISIBILITY: u64 = 30_000;
const RETENTION: u64 = 60_000;
const MAX_RECEIVES: u32 = 2;

#[derive(Clone, Debug)]
enum Op {
    Pass {
        ms: u64,
    },
    Send {
        queue: usize,
        group: Option<u8>,
        delay: u64,
    },
    Receive {
        queue: usize,
        max: usize,
        visibility: Option<u64>,
    },
    Delete {
        queue: usize,
        handle: prop::sample::Index,
    },
    Visibility {
        queue: usize,
        handle: prop::sample::Index,
        ms: u64,
    },
    Release {
        queue: usize,
        handle: prop::sample::Index,
    },
    Purge {
        queue: usize,
    },
    Reopen,
    /// Not after each step, so that time also passes unseen.
    Check,
}

fn op() -> impl Strategy<Value = Op> {
    let queue = prop_oneof![4 => Just(0_usize), 2 => Just(1), 1 => Just(2)];
    // Whole steps, so that things often fall due at the very same time.
    let steps = |most: u64| (0..=most).prop_map(|n| n * 5_000);
    let handle = any::<prop::sample::Index>;
    prop_oneof![
        4 => prop_oneof![Just(1), steps(8)].prop_map(|ms| Op::Pass { ms }),
        6 => (queue.clone(), prop::option::of(0..3_u8), prop_oneof![3 => Just(0), 1 => steps(4)])
            .prop_map(|(queue, group, delay)| Op::Send { queue, group, delay }),
        8 => (queue.clone(), 1..5_usize, prop::option::of(steps(8)))
            .prop_map(|(queue, max, visibility)| Op::Receive { queue, max, visibility }),
        3 => (queue.clone(), handle()).prop_map(|(queue, handle)| Op::Delete { queue, handle }),
        3 => (queue.clone(), handle(), prop_oneof![steps(8), steps(8_640)])
            .prop_map(|(queue, handle, ms)| Op::Visibility { queue, handle, ms }),
        1 => (queue.clone(), handle()).prop_map(|(queue, handle)| Op::Release { queue, handle }),
        1 => queue.prop_map(|queue| Op::Purge { queue }),
        1 => Just(Op::Reopen),
        2 => Just(Op::Check),
    ]
}

/// A message of the model.
#[derive(Clone, Debug)]
struct Message {
    id: Uuid,
    queue: usize,
    group: Option<u8>,
    sent: u64,
    visible: u64,
    received: Vec<u64>,
    received_here: u32,
    handles: u64,
    last: u64,
}

/// What a caller sees of a received message.
#[derive(Debug, PartialEq)]
struct Seen {
    id: Uuid,
    handle: u64,
    receives: usize,
    first: u64,
    sent: u64,
}

/// Messages in order of sending.
#[derive(Default)]
struct Model {
    now: u64,
    messages: Vec<Message>,
}

impl Model {
    fn expire(&mut self) {
        let now = self.now;
        self.messages.retain(|m| m.sent + RETENTION > now);
    }

    fn in_flight(&self, queue: usize) -> Vec<&Message> {
        let now = self.now;
        self.messages.iter().filter(|m| m.queue == queue && m.visible > now && m.received_here > 0).collect()
    }

    fn send(&mut self, queue: usize, id: Uuid, group: Option<u8>, delay: u64) -> bool {
        self.expire();
        if self.messages.iter().filter(|m| m.queue == queue).count() >= LIMITS.messages {
            return false;
        }
        let (sent, visible) = (self.now, self.now + delay);
        let (received, received_here, handles, last) = (vec![], 0, 0, 0);
        self.messages.push(Message { id, queue, group, sent, visible, received, received_here, handles, last });
        true
    }

    /// One message at a time: of those visible and not taken yet, the one of the group with the fewest in flight.
    fn receive(&mut self, queue: usize, max: usize, visibility: u64) -> Vec<Seen> {
        self.expire();
        let flying: Vec<(Uuid, Option<u8>)> = self.in_flight(queue).iter().map(|m| (m.id, m.group)).collect();
        let mut taken: Vec<(Uuid, Option<u8>)> = vec![];
        while taken.len() < max && flying.len() + taken.len() < LIMITS.in_flight {
            let now = self.now;
            let load = |group| flying.iter().chain(&taken).filter(|(_, g)| *g == group).count();
            let visible = self.messages.iter().enumerate().filter(|(_, m)| m.queue == queue && m.visible <= now);
            let free = visible.filter(|(_, m)| !taken.iter().any(|(id, _)| *id == m.id));
            let Some((at, _)) = free.min_by_key(|(at, m)| (load(m.group), m.visible, *at)) else { break };
            let message = &mut self.messages[at];
            if queue < 2 && message.received_here >= MAX_RECEIVES {
                message.queue += 1;
                message.visible = now;
                message.received_here = 0;
                continue;
            }
            message.received.push(now);
            message.received_here += 1;
            message.handles += 1;
            message.last = now;
            taken.push((message.id, message.group));
        }
        let mut seen = vec![];
        for (id, _) in taken {
            let now = self.now;
            let message = self.messages.iter_mut().find(|m| m.id == id).unwrap();
            message.visible = now + visibility;
            seen.push(Seen {
                id,
                handle: message.handles,
                receives: message.received.len(),
                first: message.received[0],
                sent: message.sent,
            });
        }
        seen
    }

    /// The message that this is the newest handle of.
    fn newest(&mut self, queue: usize, receipt: &Receipt) -> Option<&mut Message> {
        self.expire();
        self.messages.iter_mut().find(|m| m.queue == queue && m.id == receipt.id && m.handles == receipt.number)
    }

    fn delete(&mut self, queue: usize, receipt: &Receipt) -> bool {
        let found = self.newest(queue, receipt).is_some();
        if found {
            self.messages.retain(|m| m.id != receipt.id);
        }
        found
    }

    fn change_visibility(&mut self, queue: usize, receipt: &Receipt, ms: u64) -> Result<(), Kind> {
        let now = self.now;
        match self.newest(queue, receipt) {
            None => Err(Kind::InvalidParameterValue),
            Some(m) if m.visible <= now => Err(Kind::MessageNotInflight),
            Some(m) if now + ms - m.last > 43_200_000 => Err(Kind::InvalidParameterValue),
            Some(m) => {
                m.visible = now + ms;
                Ok(())
            }
        }
    }

    fn release(&mut self, queue: usize, receipt: &Receipt) {
        let now = self.now;
        if let Some(m) = self.newest(queue, receipt) {
            m.received.pop();
            m.received_here = m.received_here.saturating_sub(1);
            m.visible = m.visible.min(now);
        }
    }

    fn depth(&mut self, queue: usize) -> Depth {
        self.expire();
        let (all, flying) = (self.messages.iter().filter(|m| m.queue == queue), self.in_flight(queue).len());
        let visible = all.clone().filter(|m| m.visible <= self.now).count();
        let delayed = all.count() - visible - flying;
        Depth { visible: visible as u64, in_flight: flying as u64, delayed: delayed as u64 }
    }
}

/// The tables, as the changes make them.
#[derive(Default)]
struct Tables {
    queues: BTreeMap<u64, QueueRow>,
    messages: BTreeMap<Seq, (u64, Entry)>,
}

impl Tables {
    fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Message { uid, seq, entry } => drop(self.messages.insert(seq, (uid, entry))),
                Change::MessageGone { seq } => assert!(self.messages.remove(&seq).is_some(), "gone twice"),
                Change::Queue(row) => drop(self.queues.insert(row.uid, row)),
                Change::QueueGone { uid } => assert!(self.queues.remove(&uid).is_some(), "gone twice"),
            }
        }
    }

    fn rebuild(&self, now: u64) -> Account {
        let messages = self.messages.iter().map(|(seq, (uid, entry))| (*uid, *seq, entry.clone())).collect();
        Account::rebuild(now, self.queues.values().cloned().collect(), messages, LIMITS)
    }
}

/// The machine, its tables, and every handle it has given out.
struct Rig {
    account: Account,
    tables: Tables,
    handles: [Vec<Receipt>; 3],
    model: Model,
}

impl Rig {
    fn new() -> Self {
        let mut account = Account::bounded(LIMITS);
        let to = |name| format!(r#"{{"deadLetterTargetArn":"arn:aws:sqs:x:0:{name}","maxReceiveCount":{MAX_RECEIVES}}}"#);
        for (name, policy) in [("last", String::new()), ("dead", to("last")), ("work", to("dead"))] {
            let asked = [("VisibilityTimeout", "30"), ("MessageRetentionPeriod", "60"), ("RedrivePolicy", policy.as_str())];
            let asked = asked.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
            account.create(1_000, name, &asked).unwrap();
        }
        let mut rig =
            Self { account, tables: Tables::default(), handles: [vec![], vec![], vec![]], model: Model { now: 1_000, messages: vec![] } };
        rig.tables.apply(rig.account.take_changes());
        rig
    }

    fn handle(&self, queue: usize, index: prop::sample::Index) -> Option<Receipt> {
        let handles = &self.handles[queue];
        (!handles.is_empty()).then(|| handles[index.index(handles.len())].clone())
    }

    fn step(&mut self, op: &Op) {
        let now = self.model.now;
        match *op {
            Op::Pass { ms } => self.model.now += ms,
            Op::Send { queue, group, delay } => {
                let id = Uuid::new_v4();
                let name = group.map(|group| Arc::from(format!("group {group}")));
                let sent = self.account.send(now, NAMES[queue], Envelope { id, group: name, delay_ms: Some(delay) });
                assert_eq!(sent.is_ok(), self.model.send(queue, id, group, delay));
            }
            Op::Receive { queue, max, visibility } => self.receive(queue, max, visibility),
            Op::Delete { queue, handle } => {
                let Some(receipt) = self.handle(queue, handle) else { return };
                let deleted = self.account.delete(now, NAMES[queue], &receipt).unwrap();
                assert_eq!(deleted, self.model.delete(queue, &receipt));
            }
            Op::Visibility { queue, handle, ms } => {
                let Some(receipt) = self.handle(queue, handle) else { return };
                let changed = self.account.change_visibility(now, NAMES[queue], &receipt, ms);
                assert_eq!(changed.map_err(|e| e.kind), self.model.change_visibility(queue, &receipt, ms));
            }
            Op::Release { queue, handle } => {
                let Some(receipt) = self.handle(queue, handle) else { return };
                self.account.release(now, NAMES[queue], std::slice::from_ref(&receipt));
                self.model.release(queue, &receipt);
            }
            Op::Purge { queue } => {
                self.account.purge(NAMES[queue]).unwrap();
                self.model.messages.retain(|m| m.queue != queue);
            }
            Op::Reopen => {
                self.tables.apply(self.account.take_changes());
                self.account = self.tables.rebuild(now);
            }
            Op::Check => self.check(),
        }
    }

    fn receive(&mut self, queue: usize, max: usize, visibility: Option<u64>) {
        let ask = Ask { max, visibility_ms: visibility };
        let received = self.account.receive(self.model.now, NAMES[queue], ask).unwrap();
        let seen: Vec<Seen> = received
            .iter()
            .map(|d| Seen {
                id: d.entry.id,
                handle: d.receipt.number,
                receives: d.entry.receives as usize,
                first: d.entry.first_receive_ms.unwrap(),
                sent: d.entry.sent_ms,
            })
            .collect();
        assert_eq!(seen, self.model.receive(queue, max, visibility.unwrap_or(VISIBILITY)));
        self.handles[queue].extend(received.into_iter().map(|d| d.receipt));
    }

    fn check(&mut self) {
        for (queue, name) in NAMES.iter().enumerate() {
            let depth = self.account.depth(self.model.now, name).unwrap();
            assert_eq!(depth, self.model.depth(queue), "{name}");
        }
        self.tables.apply(self.account.take_changes());
        let kept: HashSet<Uuid> = self.tables.messages.values().map(|(_, entry)| entry.id).collect();
        assert_eq!(kept, self.model.messages.iter().map(|m| m.id).collect(), "the tables hold what there is");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Also that a machine rebuilt from its changes goes on as the first would have.
    #[test]
    fn behaves_as_the_model_does(ops in vec(op(), 1..80)) {
        let mut rig = Rig::new();
        for op in ops {
            rig.step(&op);
        }
        rig.check();
    }
}
