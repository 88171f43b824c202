//! Everything there is in one world.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    task::Waker,
};

use bytes::Bytes;
use pipeline::{
    event::EventRecord,
    fleet::Table,
    id::{JobId, SourceRef, TaskId},
    job::StoredJob,
    key::ObjectKey,
    source::SourceReport,
    task::StoredTask,
    usage::Requests,
};

use crate::{
    chaos::{Chaos, Fate, Harm, Moment, Rng},
    encoder::Act,
    kernel::WorkerId,
    queue::Queue,
};

/// When every world begins, milliseconds since 1970.
pub const START_MS: u64 = 1_700_000_000_000;
/// The stack's own bucket.
pub const OWN: &str = "videos";
/// A bucket of somebody's, from which films are only read.
pub const LIBRARY: &str = "library";
/// Age of what lay in the library long before the stack, milliseconds.
const OLD_MS: u64 = 365 * 86_400_000;

/// One world.
#[derive(Debug)]
pub struct State {
    pub now_ms: u64,
    pub timers: BTreeMap<(u64, u64), Waker>,
    pub rng: Rng,
    pub chaos: Chaos,
    /// Operations of all ports so far.
    pub ops: u64,
    /// What each worker asked of the services.
    pub asked: BTreeMap<WorkerId, Requests>,
    /// What each of them was, in order.
    pub named: Vec<&'static str>,
    sequence: u64,
    /// Whose operation is just taking effect.
    pub acting: WorkerId,
    /// What went wrong so far.
    pub harm: BTreeMap<Harm, u64>,
    /// Workers to be dropped, and when; workers to be frozen, and for how long.
    pub killed: Vec<(WorkerId, Moment)>,
    pub stalled: Vec<(WorkerId, u64)>,
    /// Workers whose environments are to be told to go.
    pub leaving: Vec<WorkerId>,
    /// One line per operation, if wanted.
    pub trace: Option<Vec<String>>,
    /// Broken invariants, in words.
    pub violations: Vec<String>,
    /// Tasks may wait for an operator in this scenario; without faults they may not.
    pub may_block: bool,

    pub jobs: BTreeMap<JobId, StoredJob>,
    pub tasks: BTreeMap<(JobId, TaskId), StoredTask>,
    pub done: BTreeMap<(JobId, String), BTreeSet<u32>>,
    /// By their sort keys.
    pub events: BTreeMap<String, EventRecord>,
    /// Items written to the ledger so far, by what was written.
    pub writes: BTreeMap<&'static str, u64>,
    /// How often each task was committed, and each job completed.
    pub commits: BTreeMap<(JobId, TaskId), u32>,
    pub publications: BTreeMap<JobId, u32>,
    /// How often the pictures of each chunk were made in each rendition.
    pub encoded: BTreeMap<(u32, String), u32>,
    /// Who holds or held a fencing number.
    pub fences: BTreeMap<(JobId, TaskId, u64), WorkerId>,

    pub sources: BTreeMap<(String, String), (SourceRef, Bytes)>,
    /// Keys of uploads that answer no question, as one under another's key does: nobody is told of them.
    pub locked: BTreeSet<String>,
    /// Keys of films that lay in the library long before the stack: nobody asked for them.
    pub old: BTreeSet<String>,
    /// The profile that every upload names.
    pub wish: Option<String>,
    pub report: SourceReport,
    pub objects: BTreeMap<String, Bytes>,
    /// When each was stored last.
    pub stored_ms: BTreeMap<String, u64>,
    /// Unfinished uploads: key and what of it came.
    pub uploads: BTreeMap<u64, (String, Vec<u8>)>,
    /// Local files of all workers: scratch folders are told apart by their paths.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    pub queues: BTreeMap<String, Queue>,
    /// Virtual time that a join takes.
    pub join_ms: u64,
    /// Virtual time that the probe of a stream takes.
    pub probe_ms: u64,
    /// With each chunk's message goes one for the merge.
    pub early_merge: bool,
    pub early_merge_ms: u64,
    pub letter: Option<(TaskId, u64)>,
    /// Messages sent to workers so far.
    pub to_workers: u64,
    pub fleet: Table,
    /// Tasks after which an environment said that the world was in its way.
    pub hindered: BTreeSet<TaskId>,
    /// Ids of the notifications that people got.
    pub told: BTreeSet<String>,
    /// What the media tools do at their next calls, by task.
    pub script: BTreeMap<TaskId, VecDeque<Act>>,
    /// From so many milliseconds after the start on, they are others.
    pub update_ms: Option<u64>,
    /// Until so many milliseconds after the start people cannot be told of anything.
    pub deaf_ms: u64,
    pub expire_ms: u64,
    /// See [`Scenario::taken`](crate::scenario::Scenario::taken).
    pub taken: bool,
}

impl State {
    pub fn new(seed: u64, chaos: Chaos) -> Self {
        Self {
            now_ms: START_MS,
            timers: BTreeMap::new(),
            rng: Rng::new(seed),
            chaos,
            ops: 0,
            named: Vec::new(),
            sequence: 0,
            acting: 0,
            harm: BTreeMap::new(),
            killed: Vec::new(),
            stalled: Vec::new(),
            leaving: Vec::new(),
            trace: None,
            asked: BTreeMap::new(),
            violations: Vec::new(),
            may_block: false,
            jobs: BTreeMap::new(),
            tasks: BTreeMap::new(),
            done: BTreeMap::new(),
            events: BTreeMap::new(),
            writes: BTreeMap::new(),
            commits: BTreeMap::new(),
            publications: BTreeMap::new(),
            encoded: BTreeMap::new(),
            fences: BTreeMap::new(),
            sources: BTreeMap::new(),
            locked: BTreeSet::new(),
            old: BTreeSet::new(),
            wish: None,
            report: crate::source::report(crate::source::CHUNKS),
            objects: BTreeMap::new(),
            stored_ms: BTreeMap::new(),
            uploads: BTreeMap::new(),
            files: BTreeMap::new(),
            queues: crate::queue::queues(),
            join_ms: 5_000,
            probe_ms: 0,
            early_merge: false,
            early_merge_ms: 0,
            letter: None,
            to_workers: 0,
            fleet: Table::default(),
            hindered: BTreeSet::new(),
            told: BTreeSet::new(),
            script: BTreeMap::new(),
            update_ms: None,
            deaf_ms: 0,
            expire_ms: 0,
            taken: false,
        }
    }

    /// Drops a film and tells of it so often: a bucket of ours by itself, the library, which keeps versions, by the event bus.
    pub fn drop_film(&mut self, bucket: &str, key: &str, deliveries: usize, bytes: &Bytes) {
        let (key, etag, size) = (key.to_owned(), "etag", bytes.len());
        let Ok(name) = ObjectKey::new(key.clone()) else { return };
        let version = (bucket != OWN).then_some("the first");
        let pinned = SourceRef::new(bucket, name, version.map(str::to_owned), etag, size as u64);
        let event = if bucket == OWN {
            serde_json::json!({"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": bucket},
                "object": {"key": key.replace(' ', "+"), "size": size, "eTag": etag, "sequencer": "0A"}}}]})
        } else {
            serde_json::json!({"version": "0", "source": "aws.s3", "detail-type": "Object Created", "detail": {
                "bucket": {"name": bucket}, "object": {"key": key, "size": size, "etag": etag, "version-id": version, "sequencer": "0A"}}})
        };
        self.sources.insert((bucket.into(), key), (pinned, bytes.clone()));
        for _ in 0..deliveries {
            self.send("ingest", event.to_string());
        }
    }

    /// A number that was not given before.
    pub fn number(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// When an upload was stored.
    pub fn dropped_ms(&self, key: &str) -> u64 {
        if self.old.contains(key) { START_MS - OLD_MS } else { START_MS }
    }

    /// What expires is gone, once, if it is time.
    pub fn expire(&mut self) {
        if self.expire_ms > 0 && self.elapsed_ms() > self.expire_ms {
            self.objects.retain(|key, _| !key.starts_with("work/"));
            self.expire_ms = 0;
        }
    }

    /// Milliseconds since the start.
    pub fn elapsed_ms(&self) -> u64 {
        self.now_ms.saturating_sub(START_MS)
    }

    /// Whether chance may still do harm.
    pub fn is_rough(&self) -> bool {
        self.elapsed_ms() < self.chaos.until_ms
    }

    pub fn fate(&mut self) -> Fate {
        self.ops += 1;
        let (number, elapsed) = (self.ops, self.elapsed_ms());
        self.chaos.fate(&mut self.rng, number, elapsed)
    }

    /// Where a clock stands from now on, if it jumps.
    pub fn jump(&mut self) -> Option<i64> {
        if !self.is_rough() || !self.rng.chance(self.chaos.jump) {
            return None;
        }
        let reach = self.chaos.jump_ms;
        i64::try_from(self.rng.below(2 * reach + 1)).ok()?.checked_sub_unsigned(reach)
    }

    /// Whether what is read now is of another moment, and does this harm.
    pub fn is_stale(&mut self, harm: Harm) -> bool {
        let is_stale = self.is_rough() && self.rng.chance(self.chaos.stale);
        if is_stale {
            self.harmed(harm);
        }
        is_stale
    }

    /// Something has gone wrong.
    pub fn harmed(&mut self, harm: Harm) {
        *self.harm.entry(harm).or_default() += 1;
    }

    /// Counts items written to the ledger.
    pub fn wrote(&mut self, what: &'static str, items: usize) {
        *self.writes.entry(what).or_default() += items as u64;
    }

    pub fn latency_ms(&mut self) -> u64 {
        if !self.chaos.is_random() {
            return 5;
        }
        let slow = self.is_rough() && self.rng.chance(self.chaos.slow);
        if slow {
            self.harmed(Harm::Slow);
        }
        self.rng.below(if slow { 4_000 } else { 30 })
    }

    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let at = self.now_ms.saturating_sub(START_MS);
            trace.push(format!("{:>6}.{:03} #{} {}", at / 1000, at % 1000, self.ops, line()));
        }
    }

    pub fn broken(&mut self, what: String) {
        self.tell(|| format!("BROKEN {what}"));
        self.violations.push(what);
    }
}
