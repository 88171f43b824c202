//! The queue machine against the model, step by step, with restarts and crashes in between.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use proptest::{collection::vec, prelude::*};
use uuid::Uuid;

use super::{
    account::{Acceptance, Account, Envelope, Kept},
    entry::{Change, DedupKey, Entry, QueueRow, Receipt, Sent, Seq},
    model::{GRAVES, LIMITS, MAX_RECEIVES, Model, NAMES, RETENTION, Seen, VISIBILITY, is_fifo},
    moves::{MoveTask, NewMove, Status},
    queue::Ask,
    store::Store,
};

#[derive(Clone, Debug)]
enum Op {
    Pass {
        ms: u64,
    },
    Send {
        queue: usize,
        group: Option<u8>,
        body: u8,
        by_id: bool,
        delay: u64,
    },
    Receive {
        queue: usize,
        max: usize,
        visibility: Option<u64>,
        attempt: Option<u8>,
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
    Delay {
        s: u64,
    },
    Move {
        source: usize,
        to_source: bool,
    },
    Reopen,
    /// Loses what was not committed.
    Crash,
    /// Commits. Not after each step, so that time also passes unseen.
    Check,
}

fn op() -> impl Strategy<Value = Op> {
    let queue = prop_oneof![4 => Just(0_usize), 2 => Just(1), 1 => Just(2), 5 => Just(3), 2 => Just(4)];
    // Whole steps, so that things often fall due at the very same time.
    let steps = |most: u64| (0..=most).prop_map(|n| n * 5_000);
    let handle = any::<prop::sample::Index>;
    prop_oneof![
        4 => prop_oneof![6 => Just(1), 6 => steps(8), 1 => Just(290_000)].prop_map(|ms| Op::Pass { ms }),
        6 => (queue.clone(), prop::option::of(0..3_u8), 0..6_u8, any::<bool>(), prop_oneof![3 => Just(0), 1 => steps(4)])
            .prop_map(|(queue, group, body, by_id, delay)| Op::Send { queue, group, body, by_id, delay }),
        8 => (queue.clone(), 1..5_usize, prop::option::of(steps(8)), prop::option::of(0..2_u8))
            .prop_map(|(queue, max, visibility, attempt)| Op::Receive { queue, max, visibility, attempt }),
        3 => (queue.clone(), handle()).prop_map(|(queue, handle)| Op::Delete { queue, handle }),
        3 => (queue.clone(), handle(), prop_oneof![steps(8), steps(8_640)])
            .prop_map(|(queue, handle, ms)| Op::Visibility { queue, handle, ms }),
        1 => (queue.clone(), handle()).prop_map(|(queue, handle)| Op::Release { queue, handle }),
        1 => queue.prop_map(|queue| Op::Purge { queue }),
        1 => (0..3_u64).prop_map(|n| Op::Delay { s: n * 10 }),
        1 => (prop_oneof![Just(1_usize), Just(2), Just(4)], any::<bool>())
            .prop_map(|(source, to_source)| Op::Move { source, to_source }),
        1 => Just(Op::Reopen),
        1 => Just(Op::Crash),
        2 => Just(Op::Check),
    ]
}

/// Where the changes go.
enum Tables {
    Memory(Box<Memory>),
    Disk { dir: tempfile::TempDir, store: Option<Store> },
}

#[derive(Default)]
struct Memory {
    queues: BTreeMap<u64, QueueRow>,
    messages: BTreeMap<Seq, (u64, Entry)>,
    remembered: BTreeMap<(u64, DedupKey), Sent>,
    moves: BTreeMap<Seq, MoveTask>,
}

impl Memory {
    fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Message { uid, seq, entry } => drop(self.messages.insert(seq, (uid, entry))),
                Change::Renumbered { from, to } => {
                    let message = self.messages.remove(&from).unwrap();
                    assert!(self.messages.insert(to, message).is_none(), "a number came twice");
                }
                Change::MessageGone { seq } => assert!(self.messages.remove(&seq).is_some(), "gone twice"),
                Change::Queue(row) => drop(self.queues.insert(row.uid, row)),
                Change::QueueGone { uid } => assert!(self.queues.remove(&uid).is_some(), "gone twice"),
                Change::Remembered { uid, key, sent } => drop(self.remembered.insert((uid, key), sent)),
                Change::Forgotten { uid, key } => assert!(self.remembered.remove(&(uid, key)).is_some(), "forgotten twice"),
                Change::Move(task) => drop(self.moves.insert(task.number, task)),
                Change::MoveGone { number } => assert!(self.moves.remove(&number).is_some(), "gone twice"),
            }
        }
    }

    fn kept(&self, first_seq: Seq) -> Kept {
        let mut remembered: Vec<_> = self.remembered.iter().map(|((uid, key), sent)| (*uid, *key, *sent)).collect();
        remembered.sort_by_key(|(_, _, sent)| sent.until_ms);
        Kept {
            queues: self.queues.values().cloned().collect(),
            messages: self.messages.iter().map(|(seq, (uid, entry))| (*uid, *seq, entry.clone())).collect(),
            remembered,
            moves: self.moves.values().cloned().collect(),
            first_seq,
        }
    }
}

/// The machine, its tables, and every handle it has given out.
struct Rig {
    account: Account,
    tables: Tables,
    handles: [Vec<Receipt>; 5],
    model: Model,
    /// Handles and model at the last commit.
    committed: ([Vec<Receipt>; 5], Model),
    tasks: u32,
}

impl Rig {
    fn new(mut tables: Tables) -> Self {
        let now = 1_000;
        let mut account = match &mut tables {
            Tables::Memory(_) => Account::bounded(LIMITS),
            Tables::Disk { dir, store } => store.insert(Store::open(dir.path()).unwrap()).load(now, LIMITS).unwrap(),
        };
        for (queue, name) in NAMES.iter().enumerate().rev() {
            let to =
                |grave: usize| format!(r#"{{"deadLetterTargetArn":"arn:aws:sqs:x:0:{}","maxReceiveCount":{MAX_RECEIVES}}}"#, NAMES[grave]);
            let retention = (RETENTION[usize::from(is_fifo(queue))] / 1000).to_string();
            let mut asked = vec![("VisibilityTimeout", "30".to_owned()), ("MessageRetentionPeriod", retention)];
            asked.extend(GRAVES[queue].map(|grave| ("RedrivePolicy", to(grave))));
            if is_fifo(queue) {
                let scope = if queue == 4 { "messageGroup" } else { "queue" };
                asked.extend(
                    [("FifoQueue", "true"), ("ContentBasedDeduplication", "true"), ("DeduplicationScope", scope)]
                        .map(|(k, v)| (k, v.to_owned())),
                );
            }
            let asked = asked.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
            account.create(now, name, &asked, BTreeMap::new()).unwrap();
        }
        let handles = || [vec![], vec![], vec![], vec![], vec![]];
        let model = Model::new(now);
        let mut rig = Self { account, tables, handles: handles(), committed: (handles(), model.clone()), model, tasks: 0 };
        rig.commit();
        rig
    }

    fn commit(&mut self) {
        let changes = self.account.take_changes();
        match &mut self.tables {
            Tables::Memory(memory) => memory.apply(changes),
            Tables::Disk { store, .. } => {
                let store = store.as_mut().unwrap();
                store.apply(&changes).unwrap();
                store.commit().unwrap();
            }
        }
        self.committed = (self.handles.clone(), self.model.clone());
    }

    fn reopen(&mut self) {
        let now = self.model.now;
        self.account = match &mut self.tables {
            Tables::Memory(memory) => Account::rebuild(now, memory.kept(self.account.next_seq()), LIMITS),
            Tables::Disk { dir, store } => {
                *store = None;
                store.insert(Store::open(dir.path()).unwrap()).load(now, LIMITS).unwrap()
            }
        };
    }

    fn crash(&mut self) {
        let changes = self.account.take_changes();
        if let Tables::Disk { store: Some(store), .. } = &mut self.tables {
            store.apply(&changes).unwrap();
        }
        let now = self.model.now;
        self.reopen();
        (self.handles, self.model) = self.committed.clone();
        self.model.now = now;
    }

    fn handle(&self, queue: usize, index: prop::sample::Index) -> Option<Receipt> {
        let handles = &self.handles[queue];
        (!handles.is_empty()).then(|| handles[index.index(handles.len())].clone())
    }

    fn step(&mut self, op: &Op) {
        let now = self.model.now;
        match *op {
            Op::Pass { ms } => self.model.now += ms,
            Op::Send { queue, group, body, by_id, delay } => self.send(queue, group, body, by_id, delay),
            Op::Receive { queue, max, visibility, attempt } => self.receive(queue, max, visibility, attempt),
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
                if self.account.purge(now, NAMES[queue]).is_ok() {
                    self.model.purge(queue);
                }
            }
            Op::Delay { s } => {
                self.account.set(now, NAMES[3], &BTreeMap::from([("DelaySeconds".to_owned(), s.to_string())])).unwrap();
                self.model.set_delay(s * 1000);
            }
            Op::Move { source, to_source } => self.run_move(source, to_source),
            Op::Reopen => {
                self.commit();
                self.reopen();
            }
            Op::Crash => self.crash(),
            Op::Check => self.check(),
        }
    }

    fn send(&mut self, queue: usize, group: Option<u8>, body: u8, by_id: bool, delay: u64) {
        let (id, fifo) = (Uuid::new_v4(), is_fifo(queue));
        let group = group.or(fifo.then_some(0));
        let name = group.map(|group| Arc::from(format!("group {group}")));
        let (body, by_id) = (format!("body {body}"), (fifo && by_id).then(|| format!("id {body}")));
        let envelope = Envelope { id, group: name, dedup: by_id.as_deref().map(Arc::from), delay_ms: (!fifo).then_some(delay) };
        let sent = self.account.send(self.model.now, NAMES[queue], envelope, &body);
        let sent = sent.map_err(|e| e.kind).map(|accepted| match accepted {
            Acceptance::New(_) => id,
            Acceptance::Duplicate { id, .. } => id,
        });
        let delay = match queue {
            3 => self.model.delay,
            4 => 0,
            _ => delay,
        };
        assert_eq!(sent, self.model.send(queue, id, group, &by_id.unwrap_or(body), delay));
    }

    fn receive(&mut self, queue: usize, max: usize, visibility: Option<u64>, attempt: Option<u8>) {
        let ask = Ask { max, visibility_ms: visibility, attempt: attempt.map(|attempt| Arc::from(format!("attempt {attempt}"))) };
        let received = self.account.receive(self.model.now, NAMES[queue], &ask).unwrap();
        let seen = received.iter().map(|d| Seen {
            id: d.entry.id,
            handle: d.receipt.number,
            receives: d.entry.receives as usize,
            first: d.entry.first_receive_ms.unwrap(),
            sent: d.entry.sent_ms,
        });
        let (mut seen, mut expected) =
            (seen.collect::<Vec<_>>(), self.model.receive(queue, max, visibility.unwrap_or(VISIBILITY), attempt));
        if attempt.is_some() {
            // A receive that is repeated keeps the order of each group, and no other.
            seen.sort();
            expected.sort();
        }
        assert_eq!(seen, expected);
        self.handles[queue].extend(received.into_iter().map(|d| d.receipt));
    }

    fn run_move(&mut self, source: usize, to_source: bool) {
        let now = self.model.now;
        self.tasks += 1;
        let destination = (!to_source).then_some(if source == 4 { 3 } else { 0 });
        let asked = NewMove {
            id: self.tasks.to_string(),
            source: NAMES[source].to_owned(),
            destination: destination.map(|queue| NAMES[queue].to_owned()),
            rate: None,
        };
        self.account.start_move(now, asked).unwrap();
        self.account.run_moves(now);
        let task = self.account.moves_of(NAMES[source]).unwrap().next().unwrap();
        let (moved, done) = self.model.run_move(source, destination);
        assert_eq!((task.moved, task.status), (moved, if done { Status::Completed } else { Status::Failed }));
    }

    fn check(&mut self) {
        for (queue, name) in NAMES.iter().enumerate() {
            let depth = self.account.depth(self.model.now, name).unwrap();
            assert_eq!(depth, self.model.depth(queue), "{name}");
        }
        self.commit();
        if let Tables::Memory(memory) = &self.tables {
            let kept: HashSet<Uuid> = memory.messages.values().map(|(_, entry)| entry.id).collect();
            assert_eq!(kept, self.model.ids().collect(), "the tables hold what there is");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Also that a machine rebuilt from its changes goes on as the first would have.
    #[test]
    fn behaves_as_the_model_does(ops in vec(op(), 1..80)) {
        let mut rig = Rig::new(Tables::Memory(Box::default()));
        for op in ops {
            rig.step(&op);
        }
        rig.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn behaves_as_the_model_does_with_real_tables(ops in vec(op(), 1..80)) {
        let mut rig = Rig::new(Tables::Disk { dir: tempfile::tempdir().unwrap(), store: None });
        for op in ops {
            rig.step(&op);
        }
        rig.check();
    }
}
