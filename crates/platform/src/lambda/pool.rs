//! All environments of the platform, and which of them are idle.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::mpsc;

use super::environment::Event;

/// Environments that may exist at once, idle ones included.
pub const MAX_ENVIRONMENTS: usize = super::line::MAX_RUNNING;

/// The others' view of one environment.
#[derive(Clone, Debug)]
pub struct Handle {
    pub id: u64,
    /// Index of its function.
    pub function: usize,
    pub stream: Arc<str>,
    pub pid: u32,
    pub events: mpsc::Sender<Event>,
    pub gauge: Arc<Gauge>,
}

/// What an environment and the memory watch tell each other.
#[derive(Debug, Default)]
pub struct Gauge {
    /// It has an invocation.
    pub busy: AtomicBool,
    /// Most resident memory seen, in bytes.
    pub peak_memory: AtomicU64,
}

#[derive(Debug, Default)]
pub struct Pool {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    all: BTreeMap<u64, Handle>,
    /// Most recently used last.
    idle: Vec<Handle>,
}

impl Pool {
    pub fn add(&self, handle: Handle) {
        self.lock().all.insert(handle.id, handle);
    }

    /// Removes an environment that has ended.
    pub fn remove(&self, id: u64) {
        let mut state = self.lock();
        state.all.remove(&id);
        state.idle.retain(|handle| handle.id != id);
    }

    /// Marks an environment as idle.
    pub fn put(&self, handle: Handle) {
        self.lock().idle.push(handle);
    }

    /// Takes the most recently used idle environment of `function`.
    pub fn take(&self, function: usize) -> Option<Handle> {
        let mut state = self.lock();
        let place = state.idle.iter().rposition(|handle| handle.function == function)?;
        Some(state.idle.remove(place))
    }

    /// Takes this one, if it is still idle.
    pub fn take_back(&self, id: u64) -> bool {
        let mut state = self.lock();
        let before = state.idle.len();
        state.idle.retain(|handle| handle.id != id);
        state.idle.len() < before
    }

    /// Takes the longest idle one of all, if there are so many that another needs its place.
    pub fn take_surplus(&self) -> Option<Handle> {
        let mut state = self.lock();
        (state.all.len() >= MAX_ENVIRONMENTS && !state.idle.is_empty()).then(|| state.idle.remove(0))
    }

    pub fn all(&self) -> Vec<Handle> {
        self.lock().all.values().cloned().collect()
    }

    pub fn any_busy(&self) -> bool {
        self.lock().all.values().any(|handle| handle.gauge.busy.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
