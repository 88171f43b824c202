//! The ports to the world. Two implementations each live in this repository: production (`cloud`, `media`) and the
//! simulator.
//!
//! Every error is a [`Fault`] already: the adapter classified it, and has tried transient errors again in place.

use std::{future::Future, path::Path, time::Duration};

use bytes::Bytes;
use futures::channel::mpsc;

use crate::{
    encoder::{ByteStream, Encoder},
    event::EventRecord,
    fault::Fault,
    fleet::Member,
    id::{JobId, SourceRef, TaskId},
    job::{Job, StoredJob},
    message::{EscalationMessage, Notification, TaskMessage},
    plan::ByteRange,
    task::{Class, StoredTask, Task},
    usage::Requests,
};

/// Some of a job's tasks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskPage {
    pub tasks: Vec<StoredTask>,
    /// The next page begins behind this one; `None`: there is none.
    pub last: Option<TaskId>,
}

/// Which set of done tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoneSet {
    /// Tasks `512·n .. 512·(n+1)`.
    Block(u32),
    /// Complete blocks.
    Parent,
}

/// State: single-item conditional writes only.
pub trait Ledger: Sync {
    /// `false`: there is one already.
    fn create_job(&self, job: &Job) -> impl Future<Output = Result<bool, Fault>> + Send;
    /// A consistent read.
    fn job(&self, job: &JobId) -> impl Future<Output = Result<Option<StoredJob>, Fault>> + Send;
    /// Writes `job` if its version is still `version`. `false`: it is not.
    fn replace_job(&self, job: &Job, version: u64) -> impl Future<Output = Result<bool, Fault>> + Send;
    /// Adds to or removes from the job's set of blocked tasks.
    fn set_blocked(&self, job: &JobId, task: TaskId, blocked: bool) -> impl Future<Output = Result<(), Fault>> + Send;
    /// `false`: there is one already.
    fn create_task(&self, task: &Task) -> impl Future<Output = Result<bool, Fault>> + Send;
    fn task(&self, job: &JobId, task: TaskId) -> impl Future<Output = Result<Option<StoredTask>, Fault>> + Send;
    fn replace_task(&self, task: &Task, version: u64) -> impl Future<Output = Result<bool, Fault>> + Send;
    /// The tasks of a job behind `after`, in an order of the ledger's own, by consistent reads: as many as memory takes
    /// at once. [`each_task`] goes through all.
    fn tasks(&self, job: &JobId, after: Option<TaskId>) -> impl Future<Output = Result<TaskPage, Fault>> + Send;
    /// Adds a number to a set; answers the set's size. Adding twice is adding once.
    fn mark_done(&self, job: &JobId, set: DoneSet, number: u32) -> impl Future<Output = Result<u32, Fault>> + Send;
    /// Jobs that are open, or of which a task is, and whose time has come: each once, the longest due first.
    fn open_due(&self, before_ms: u64) -> impl Future<Output = Result<Vec<JobId>, Fault>> + Send;
    /// Writes a row of the fleet's table. `false`: the one that is there is as new or newer.
    fn tell(&self, member: &Member) -> impl Future<Output = Result<bool, Fault>> + Send;
    /// The fleet's table: who told anything of late.
    fn fleet(&self) -> impl Future<Output = Result<Vec<Member>, Fault>> + Send;
    /// Events, written once however often they are given.
    fn record(&self, events: &[EventRecord]) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// Pages of one job's tasks: more than the planner makes chunks.
const MAX_PAGES: u32 = 100_000;

/// Gives every task of a job to `take`, with one page of them in memory: what is kept is for `take` to choose.
pub async fn each_task<L: Ledger>(ledger: &L, job: &JobId, mut take: impl FnMut(StoredTask) + Send) -> Result<(), Fault> {
    let mut after = None;
    for _ in 0..MAX_PAGES {
        let page = ledger.tasks(job, after).await?;
        page.tasks.into_iter().for_each(&mut take);
        match page.last {
            Some(last) => after = Some(last),
            None => return Ok(()),
        }
    }
    Err(Fault::retry(format!("the tasks of job {job} make more than {MAX_PAGES} pages")))
}

/// Every task of a job at once: for people, who look at one job.
pub async fn all_tasks<L: Ledger>(ledger: &L, job: &JobId) -> Result<Vec<StoredTask>, Fault> {
    let mut all = Vec::new();
    each_task(ledger, job, |stored| all.push(stored)).await?;
    Ok(all)
}

/// A stretch of an object to be joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Bytes(Bytes),
    /// Ranges of a stored object, in their order. `bytes` and `sha256` are the whole object's: what is read of it is held
    /// against them.
    Stored {
        key: String,
        bytes: u64,
        sha256: String,
        ranges: Vec<ByteRange>,
    },
}

impl Piece {
    /// Bytes that it adds.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Stored { ranges, .. } => ranges.iter().map(|range| range.len()).sum(),
        }
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A stretch of an object that is stored while it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// Goes behind what came before.
    Next(Bytes),
    /// Takes the place of as many bytes at the very beginning, at most [`MAX_FRONT`]: the last block, without which nothing is
    /// stored.
    Front(Bytes),
}

/// Bytes of an object's beginning that may be known last.
pub const MAX_FRONT: u64 = 4 << 20;

/// An object of ours that was uploaded, as a list has it: without its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub source: SourceRef,
    /// Milliseconds since 1970.
    pub modified_ms: u64,
}

/// Which objects to list.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// None: our own.
    pub bucket: Option<&'a str>,
    pub prefix: &'a str,
    /// Those behind this key only.
    pub after: Option<&'a str>,
    /// So many at most.
    pub limit: u32,
}

/// A list of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    pub objects: Vec<Stored>,
    /// The last key that was seen, where there are more behind it.
    pub next: Option<String>,
}

/// What became of joined pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub bytes: u64,
    /// Bytes that the store copied by itself: nobody here has seen them.
    pub copied: u64,
    /// Of the whole, lower-case hex, where nothing was copied.
    pub sha256: Option<String>,
}

/// Objects. Reads of a source are pinned: `Reject` if it was replaced.
pub trait Blobs: Sync {
    /// The object's `ETag`, version and size now; `None` if there is none.
    fn head_source(&self, bucket: &str, key: &str) -> impl Future<Output = Result<Option<SourceRef>, Fault>> + Send;
    /// What the uploader wrote into the object's metadata under [`PROFILE_WISH`](crate::key::PROFILE_WISH): not trusted.
    /// `Reject`: the source was replaced or deleted.
    fn wish(&self, source: &SourceRef) -> impl Future<Output = Result<Option<String>, Fault>> + Send;
    /// At most `range.len()` bytes, shorter at the end of the object.
    fn read_source(&self, source: &SourceRef, range: ByteRange) -> impl Future<Output = Result<Bytes, Fault>> + Send;
    /// The whole source as it comes.
    fn stream_source(&self, source: &SourceRef) -> impl Future<Output = Result<ByteStream, Fault>> + Send;
    /// Writes `ranges` of the source into a sparse local file of the source's size. Answers the bytes read.
    fn fetch_source(&self, source: &SourceRef, ranges: &[ByteRange], to: &Path) -> impl Future<Output = Result<u64, Fault>> + Send;
    /// The same of one of our own objects, of `bytes` bytes. `None`: it is gone, or has another size.
    fn fetch_own(&self, key: &str, bytes: u64, ranges: &[ByteRange], to: &Path) -> impl Future<Output = Result<Option<u64>, Fault>> + Send;
    /// One of our own objects in one piece: manifests and playlists, never media.
    fn read(&self, key: &str) -> impl Future<Output = Result<Option<Bytes>, Fault>> + Send;
    /// Stores a small object.
    fn store(&self, key: &str, bytes: Bytes, content_type: &str) -> impl Future<Output = Result<(), Fault>> + Send;
    /// Stores a small object unless there is one. `false`: there is.
    fn store_new(&self, key: &str, bytes: Bytes, content_type: &str) -> impl Future<Output = Result<bool, Fault>> + Send;
    /// Stores a local file.
    fn store_file(&self, key: &str, from: &Path, content_type: &str) -> impl Future<Output = Result<(), Fault>> + Send;
    /// Stores parts of a local file, one behind the other, in memory: [`MAX_EXCERPT`](crate::encoder::MAX_EXCERPT) bytes at most.
    fn store_excerpt(&self, key: &str, from: &Path, ranges: &[ByteRange]) -> impl Future<Output = Result<(), Fault>> + Send;
    /// Stores an object while it is made, in bounded memory and without a local file; `about`: bytes it may have. It is there
    /// whole or not at all. Answers its bytes; `None`: the blocks ended without their last.
    fn store_stream(
        &self,
        key: &str,
        blocks: mpsc::Receiver<Block>,
        about: u64,
        content_type: &str,
    ) -> impl Future<Output = Result<Option<u64>, Fault>> + Send;
    /// Stores an object made of pieces, one after another, in bounded memory and without a local file. It is there whole or
    /// not at all. `Retry` if an object that is read is not what its hash says.
    fn join(&self, key: &str, pieces: &[Piece], content_type: &str) -> impl Future<Output = Result<Joined, Fault>> + Send;
    /// Gives up unfinished joins and uploads to keys with this prefix: of workers that died, or that are no longer to work.
    fn end_uploads(&self, prefix: &str) -> impl Future<Output = Result<(), Fault>> + Send;
    /// Objects with what a source is known by, in the order of their keys.
    fn stored(&self, look: Look<'_>) -> impl Future<Output = Result<Listed, Fault>> + Send;
    /// Keys below a prefix, at most `limit`.
    fn list(&self, prefix: &str, limit: u32) -> impl Future<Output = Result<Vec<String>, Fault>> + Send;
    fn delete(&self, keys: &[String]) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// A message that a function was given, as far as it must be spoken of again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub message: String,
    pub receipt: String,
    /// The queue it came from, by URL.
    pub queue: String,
    /// How often the queue has handed it out, kills and throttles included: it may say how long to wait, never what failed.
    pub receives: u32,
}

/// Messages.
pub trait Outbox: Sync {
    /// To the queue that the task's kind and class name.
    fn send_tasks(&self, class: Class, messages: &[TaskMessage]) -> impl Future<Output = Result<(), Fault>> + Send;
    fn escalate(&self, message: &EscalationMessage) -> impl Future<Output = Result<(), Fault>> + Send;
    /// Tells people, where the deployment says how; else does nothing. May tell twice: the id tells a repeat.
    fn notify(&self, notification: &Notification) -> impl Future<Output = Result<(), Fault>> + Send;
    /// Sets when the message is seen again. An error is logged by the adapter and changes nothing: only the ledger
    /// decides who works.
    fn hold(&self, delivery: &Delivery, delay: Duration) -> impl Future<Output = ()> + Send;
    /// Messages in the queue of this kind of task, visible or in flight.
    fn depth(&self, task: TaskId, class: Class) -> impl Future<Output = Result<u64, Fault>> + Send;
}

/// Time and chance, so that both can be simulated.
pub trait Clock: Sync {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> u64;
    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send;
    /// In 0..1.
    fn random(&self) -> f64;
}

/// What was asked of the services.
pub trait Meter: Sync {
    /// By this environment since it began.
    fn asked(&self) -> Requests;
}

/// All ports together.
pub trait World: Sync {
    type Ledger: Ledger;
    type Blobs: Blobs;
    type Outbox: Outbox;
    type Encoder: Encoder;
    type Clock: Clock;
    type Meter: Meter;
    fn ledger(&self) -> &Self::Ledger;
    fn blobs(&self) -> &Self::Blobs;
    fn outbox(&self) -> &Self::Outbox;
    fn encoder(&self) -> &Self::Encoder;
    fn clock(&self) -> &Self::Clock;
    fn meter(&self) -> &Self::Meter;
}

/// A world made of its parts.
pub struct Parts<L, B, O, E, C, M> {
    pub ledger: L,
    pub blobs: B,
    pub outbox: O,
    pub encoder: E,
    pub clock: C,
    pub meter: M,
}

impl<L: Ledger, B: Blobs, O: Outbox, E: Encoder, C: Clock, M: Meter> World for Parts<L, B, O, E, C, M> {
    type Ledger = L;
    type Blobs = B;
    type Outbox = O;
    type Encoder = E;
    type Clock = C;
    type Meter = M;
    fn ledger(&self) -> &L {
        &self.ledger
    }
    fn blobs(&self) -> &B {
        &self.blobs
    }
    fn outbox(&self) -> &O {
        &self.outbox
    }
    fn encoder(&self) -> &E {
        &self.encoder
    }
    fn clock(&self) -> &C {
        &self.clock
    }
    fn meter(&self) -> &M {
        &self.meter
    }
}
