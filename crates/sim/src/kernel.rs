//! Virtual time and the one door through which every operation of a port goes.

use std::{
    fmt::Display,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll},
};

use pipeline::{
    Fault,
    ports::{Clock, Meter},
    usage::Requests,
};

use crate::{
    chaos::{Fate, Harm, Moment},
    state::State,
};

/// One running copy of a function.
pub type WorkerId = u64;

/// All ports, as one worker sees them.
#[derive(Clone)]
pub struct Port {
    pub state: Arc<Mutex<State>>,
    pub worker: WorkerId,
    /// How far the worker's clock is from the truth, milliseconds.
    pub skew_ms: Arc<AtomicI64>,
}

impl Port {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One operation: counted, delayed, and done, refused or cut short as its fate is.
    pub async fn op<T, F>(&self, name: &'static str, about: impl Display + Send, effect: F) -> Result<T, Fault>
    where
        T: Send,
        F: FnOnce(&mut State) -> Result<T, Fault> + Send,
    {
        let (fate, wait_ms) = self.begin(name, &about);
        if fate == Fate::Crash(Moment::Before) {
            std::future::pending::<()>().await;
        }
        let mut flight = Flight { port: self, effect: Some(effect) };
        self.pause(wait_ms).await;
        let Some(effect) = flight.effect.take() else { return Err(Fault::retry("an operation happens once")) };
        let refused = || Err(Fault::retry(format!("{name}: slow down, please")));
        if fate == Fate::Throttle {
            self.lock().harmed(Harm::Throttled);
            return refused();
        }
        let done = {
            let mut state = self.lock();
            state.acting = self.worker;
            effect(&mut state)
        };
        match fate {
            Fate::Crash(moment) => {
                self.lock().killed.push((self.worker, moment));
                std::future::pending().await
            }
            Fate::Ambiguous => {
                self.lock().harmed(Harm::Ambiguous);
                refused()
            }
            _ => done,
        }
    }

    fn begin(&self, name: &'static str, about: &impl Display) -> (Fate, u64) {
        let mut state = self.lock();
        if let Some(jumped) = state.jump() {
            state.tell(|| format!("w{}'s clock is {jumped} ms from the truth", self.worker));
            self.skew_ms.store(jumped, Ordering::Relaxed);
            state.harmed(Harm::Jumped);
        }
        let request = class(name);
        let away = request.s3_get + request.s3_put + request.s3_free > 0 && state.chaos.is_away(state.elapsed_ms());
        let fate = match state.fate() {
            Fate::Go if away => Fate::Throttle,
            fate => fate,
        };
        let asked = state.asked.entry(self.worker).or_default();
        *asked = asked.plus(request);
        state.named.push(name);
        state.tell(|| format!("w{} {name} {about}{}", self.worker, if fate == Fate::Go { String::new() } else { format!(" -> {fate:?}") }));
        match fate {
            Fate::Crash(Moment::Before) => state.killed.push((self.worker, Moment::Before)),
            Fate::Stall { ms } => state.stalled.push((self.worker, ms)),
            Fate::ShutDown => state.leaving.push(self.worker),
            _ => {}
        }
        (fate, state.latency_ms())
    }

    /// Waits in virtual time.
    pub fn pause(&self, ms: u64) -> Pause<'_> {
        let until_ms = self.lock().now_ms.saturating_add(ms);
        Pause { port: self, until_ms, ticket: None }
    }
}

/// An operation under way. A caller that goes away does not call it back: it may still happen.
struct Flight<'a, R, F: FnOnce(&mut State) -> R> {
    port: &'a Port,
    effect: Option<F>,
}

impl<R, F: FnOnce(&mut State) -> R> Drop for Flight<'_, R, F> {
    fn drop(&mut self) {
        let Some(effect) = self.effect.take() else { return };
        let mut state = self.port.lock();
        if state.chaos.is_random() && state.rng.chance(0.5) {
            state.acting = self.port.worker;
            drop(effect(&mut state));
            state.harmed(Harm::Late);
        }
    }
}

/// Until a time.
pub struct Pause<'a> {
    port: &'a Port,
    until_ms: u64,
    ticket: Option<u64>,
}

impl Future for Pause<'_> {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.port.lock();
        if state.now_ms >= self.until_ms {
            return Poll::Ready(());
        }
        let ticket = self.ticket.unwrap_or_else(|| state.number());
        state.timers.insert((self.until_ms, ticket), cx.waker().clone());
        drop(state);
        self.ticket = Some(ticket);
        Poll::Pending
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.port.lock().timers.remove(&(self.until_ms, ticket));
        }
    }
}

/// What an operation costs, one request each.
fn class(name: &str) -> Requests {
    let none = Requests::default();
    match name {
        "head_source" | "wish" | "read_source" | "stream_source" | "fetch_source" | "fetch_own" | "read" => Requests { s3_get: 1, ..none },
        "delete" | "abort_upload" => Requests { s3_free: 1, ..none },
        "store" | "store_new" | "store_file" | "begin_upload" | "upload_part" | "complete_upload" | "end_uploads" | "stored" | "list" => {
            Requests { s3_put: 1, ..none }
        }
        "send_tasks" | "escalate" | "hold" | "depth" => Requests { sqs: 1, ..none },
        "job" | "task" | "tasks" | "open_due" | "fleet" => Requests { ledger_read_halves: 2, ..none },
        "create_job" | "replace_job" | "set_blocked" | "create_task" | "replace_task" | "mark_done" | "tell" | "record" => {
            Requests { ledger_write_units: 1, ..none }
        }
        _ => none,
    }
}

impl Meter for Port {
    fn asked(&self) -> Requests {
        self.lock().asked.get(&self.worker).copied().unwrap_or_default()
    }
}

impl Clock for Port {
    fn now_ms(&self) -> u64 {
        self.lock().now_ms.saturating_add_signed(self.skew_ms.load(Ordering::Relaxed))
    }
    async fn sleep(&self, time: std::time::Duration) {
        self.pause(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)).await;
    }
    fn random(&self) -> f64 {
        self.lock().rng.unit()
    }
}
