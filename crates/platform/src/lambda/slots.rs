//! The line (see [`super::line`]) as something to wait for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::line::{Line, Refused, Share, Ticket};

/// Shared line of all functions.
#[derive(Debug)]
pub struct Slots {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    line: Line,
    turns: HashMap<Ticket, oneshot::Sender<Slot>>,
}

/// The right to run one invocation; given back when dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    function: usize,
}

/// Leaves the line if the one who waits gives up.
struct Place<'a> {
    slots: &'a Arc<Slots>,
    ticket: Ticket,
}

impl Slots {
    pub fn new(vcpus: f64, account: u32, shares: Vec<Share>) -> Arc<Self> {
        let state = State { line: Line::new(vcpus, account, shares), turns: HashMap::new() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Waits for the right to run `function` once. `may_wait`: wait for reserved concurrency as well.
    pub async fn acquire(self: &Arc<Self>, function: usize, may_wait: bool) -> Result<Slot, Refused> {
        let (sender, turn) = oneshot::channel();
        let ticket = {
            let mut state = self.lock();
            let ticket = state.line.join(function, may_wait)?;
            state.turns.insert(ticket, sender);
            ticket
        };
        let place = Place { slots: self, ticket };
        self.serve();
        // The sender lives in `turns` until it is used, and only `Place` removes it otherwise.
        let slot = turn.await.map_err(|_| Refused::Account);
        drop(place);
        slot
    }

    /// Hands out slots to all whose turn it is.
    fn serve(self: &Arc<Self>) {
        let turns: Vec<_> = {
            let mut state = self.lock();
            let granted = state.line.grant();
            granted.into_iter().filter_map(|(ticket, function)| Some((state.turns.remove(&ticket)?, function))).collect()
        };
        // Sent without the lock: a receiver that has gone drops its slot here, which takes the lock again.
        for (turn, function) in turns {
            let _ = turn.send(Slot { slots: Arc::clone(self), function });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Index of the function that it is for.
    pub fn function(&self) -> usize {
        self.function
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.lock().line.release(self.function);
        self.slots.serve();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        {
            let mut state = self.slots.lock();
            state.line.leave(self.ticket);
            state.turns.remove(&self.ticket);
        }
        // It may have been the one that the others waited behind.
        self.slots.serve();
    }
}
