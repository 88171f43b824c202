//! From an invocation to an environment: a place in line, a warm environment or a new one.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, PoisonError, atomic::Ordering},
};

use bytes::Bytes;
use tokio::sync::{mpsc::error::TrySendError, oneshot, watch};

use super::{
    InvokeError, Lambda, LambdaError, Outcome, Throttle,
    environment::{Environment, Event, Job},
    launch::Deployed,
    line::{LEAST_UNRESERVED, Refused, Share},
    report::VERSION,
    slots::Slot,
    store::NewEvent,
};
use crate::{logs::now_ms, metrics::Observation, stack};

/// Environments that may end before an invocation could begin; then the platform is at fault.
const MAX_TRIES: u8 = 3;

/// What is asked of a function.
#[derive(Clone, Debug, Default)]
pub(super) struct Invocation {
    pub(super) payload: Bytes,
    /// JSON for the function's context.
    pub(super) client_context: Option<String>,
    /// Where it has one already: every try of an asynchronous invocation has the same.
    pub(super) request_id: Option<String>,
}

impl Lambda {
    /// `may_wait`: wait for reserved concurrency, where a direct invocation is throttled.
    pub(super) async fn invoke_with(
        self: &Arc<Self>,
        function: &str,
        invocation: Invocation,
        may_wait: bool,
    ) -> Result<Outcome, InvokeError> {
        let index = self.find(function)?;
        let slot = self.slot(index, may_wait).await?;
        self.invoke_in(slot, invocation).await
    }

    /// Waits for the right to run `function` once.
    pub(super) async fn slot(&self, function: usize, may_wait: bool) -> Result<Slot, InvokeError> {
        let mut stopping = self.stopping();
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => Err(InvokeError::ShuttingDown),
            slot = self.slots.acquire(function, may_wait) => slot.map_err(|refused| match refused {
                Refused::Never if may_wait => InvokeError::NeverRuns,
                Refused::Never | Refused::Reserved => self.throttled(function, Throttle::Reserved),
                Refused::Account => self.throttled(function, Throttle::Account),
            }),
        }
    }

    fn throttled(&self, function: usize, why: Throttle) -> InvokeError {
        self.logs.metrics().observe("aws_lambda_throttles", &[("function_name", self.name_of(function))], Observation::Count(1.0));
        InvokeError::Throttled(why)
    }

    /// Runs an invocation for which there is a slot.
    pub(super) async fn invoke_in(self: &Arc<Self>, slot: Slot, invocation: Invocation) -> Result<Outcome, InvokeError> {
        let (reply, outcome) = oneshot::channel();
        let Invocation { payload, client_context, request_id } = invocation;
        let request_id = request_id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        self.dispatch(Box::new(Job { request_id, payload, client_context, reply, slot, tries: 0 }));
        outcome.await.unwrap_or(Err(InvokeError::ShuttingDown))
    }

    /// As [`Lambda::dispatch`], for a job whose environment ended before it could begin.
    pub(super) fn dispatch_again(self: &Arc<Self>, mut job: Box<Job>) {
        job.tries += 1;
        if job.tries < MAX_TRIES {
            self.dispatch(job);
            return;
        }
        let function = self.name_of(job.slot.function()).to_owned();
        let reason = format!("{MAX_TRIES} environments ended before it could begin");
        let _ = job.reply.send(Err(InvokeError::Platform { function, reason }));
    }

    /// Gives the job to the environment of its function that was used last, or starts one.
    fn dispatch(self: &Arc<Self>, mut job: Box<Job>) {
        let function = job.slot.function();
        while let Some(handle) = self.pool.take(function) {
            match handle.events.try_send(Event::Job(job)) {
                // It is about to end, or swamped: the next one.
                Err(TrySendError::Closed(Event::Job(back)) | TrySendError::Full(Event::Job(back))) => job = back,
                Ok(()) | Err(_) => return,
            }
        }
        if *self.stopping().borrow() {
            let _ = job.reply.send(Err(InvokeError::ShuttingDown));
            return;
        }
        if let Some(surplus) = self.pool.take_surplus() {
            let _ = surplus.events.try_send(Event::Stop);
        }
        if let Some(deployed) = self.functions.get(function) {
            self.go_on(Environment::run(Arc::clone(self), function, Arc::clone(deployed), job));
        }
    }

    /// Keeps events for functions, named by name or ARN, each to be run as an invocation of type `Event`; answers how many
    /// from the front there was room for. When it returns they are on disk.
    pub(crate) async fn accept(self: &Arc<Self>, events: Vec<(String, Bytes)>) -> Result<usize, InvokeError> {
        let mut kept = Vec::with_capacity(events.len());
        for (function, payload) in events {
            let function = self.name_of(self.find(&function)?).to_owned();
            kept.push(NewEvent { request_id: uuid::Uuid::new_v4().to_string(), function, payload });
        }
        let store = Arc::clone(&self.store);
        let done = tokio::task::spawn_blocking(move || store.keep_all(kept, now_ms())).await;
        let done = done.map_err(|error| error.to_string()).and_then(|done| done.map_err(|error| error.to_string()));
        done.map_err(|reason| InvokeError::Platform { function: "any function".into(), reason })
    }

    /// Whether there is a function of this name or ARN.
    pub(crate) fn has(&self, function: &str) -> bool {
        self.find(function).is_ok()
    }

    /// Runs a task that [`Lambda::shutdown`] waits for.
    pub(super) fn go_on(&self, task: impl Future<Output = ()> + Send + 'static) {
        let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner).clone();
        tokio::spawn(async move {
            task.await;
            drop(alive);
        });
    }

    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    pub(super) fn index_of(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Finds a function by its name or ARN.
    pub(super) fn find(&self, given: &str) -> Result<usize, InvokeError> {
        let name = function_name(given);
        self.index_of(name).ok_or_else(|| InvokeError::NotFound(name.to_owned()))
    }

    /// How events of the function are retried, and who is told of their end.
    pub(super) fn asynchronous(&self, function: usize) -> &stack::Asynchronous {
        static DEFAULT: LazyLock<stack::Asynchronous> = LazyLock::new(stack::Asynchronous::default);
        self.functions.get(function).map_or(&DEFAULT, |deployed| &deployed.function.asynchronous)
    }

    pub(super) fn name_of(&self, function: usize) -> &str {
        self.functions.get(function).map_or("", |deployed| deployed.function.name.as_str())
    }

    /// `MemorySize` in bytes.
    pub(super) fn memory_of(&self, function: usize) -> u64 {
        self.functions.get(function).map_or(u64::MAX, |deployed| u64::from(deployed.function.memory_mb) << 20)
    }

    pub(super) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// An environment's own directory.
    pub(super) fn tmp_dir(&self, environment: u64) -> PathBuf {
        self.config.data_dir.join("tmp").join(environment.to_string())
    }

    /// `EphemeralStorage` in bytes.
    pub(super) fn storage_of(&self, function: usize) -> u64 {
        self.functions.get(function).map_or(u64::MAX, |deployed| u64::from(deployed.function.ephemeral_mb) << 20)
    }
}

/// The name in `name`, `name:qualifier`, a partial or a whole ARN.
pub(super) fn function_name(given: &str) -> &str {
    match given.split_once("function:") {
        Some((_, rest)) => rest.split(':').next().unwrap_or(rest),
        None => given.split(':').next().unwrap_or(given),
    }
}

/// What is asked for after the name, where it is neither nothing nor the one version that there is.
pub(super) fn foreign_qualifier(given: &str) -> Option<&str> {
    let after = given.split_once("function:").map_or(given, |(_, rest)| rest);
    after.split_once(':').map(|(_, qualifier)| qualifier).filter(|qualifier| *qualifier != VERSION)
}

pub(super) fn deploy(functions: Vec<stack::Function>, dirs: &[PathBuf], opt_dirs: &Path) -> Result<Vec<Arc<Deployed>>, LambdaError> {
    functions.into_iter().map(|function| Deployed::find(function, dirs, opt_dirs).map(Arc::new)).collect()
}

/// What the line must know of the functions; an error where reservations leave too little to the others.
pub(super) fn shares(functions: &[Arc<Deployed>], account: u32) -> Result<Vec<Share>, LambdaError> {
    let share = |deployed: &Arc<Deployed>| {
        let function = &deployed.function;
        Share { memory_mb: function.memory_mb, reserved: function.reserved_concurrency }
    };
    let shares: Vec<Share> = functions.iter().map(share).collect();
    let reserved: u64 = shares.iter().filter_map(|share| share.reserved).map(u64::from).sum();
    if reserved > 0 && reserved + u64::from(LEAST_UNRESERVED) > u64::from(account) {
        return Err(LambdaError::Reserved { reserved, account, least: LEAST_UNRESERVED });
    }
    Ok(shares)
}

pub(super) fn index(functions: &[Arc<Deployed>]) -> Result<BTreeMap<String, usize>, LambdaError> {
    let mut by_name = BTreeMap::new();
    for (index, deployed) in functions.iter().enumerate() {
        let name = deployed.function.name.clone();
        if by_name.insert(name.clone(), index).is_some() {
            return Err(LambdaError::TwoOfOneName(name));
        }
    }
    Ok(by_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_go_by_many_names() {
        for name in ["f", "f:$LATEST", "000000000000:function:f", "arn:aws:lambda:us-east-1:000000000000:function:f:7"] {
            assert_eq!(function_name(name), "f");
        }
        assert_eq!(foreign_qualifier("f"), None);
        assert_eq!(foreign_qualifier("000000000000:function:f:$LATEST"), None);
        assert_eq!(foreign_qualifier("arn:aws:lambda:us-east-1:000000000000:function:f:7"), Some("7"));
        assert_eq!(foreign_qualifier("f:live"), Some("live"));
    }
}
