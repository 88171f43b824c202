//! Event source mappings: from a queue into a function.
//!
//! A poller takes nothing out of its queue before an invocation may run at once: first it waits for a visible message,
//! then for a slot, and only then it receives. So no message's visibility runs down while it waits for a vCPU, and no
//! slot is held for an empty queue.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::Instant,
};

use super::{
    InvokeError, Lambda,
    batch::{self, Batch, Verdict},
    dispatch::Invocation,
    line::MAX_RUNNING,
    slots::Slot,
};
use crate::{
    sqs::{Received, Sqs},
    stack::{EventSourceMapping, name_of_arn},
};

/// Most messages of one receive.
const RECEIVE: usize = 10;
/// How long a poller waits for a message before it looks around.
const LONG_POLL: Duration = Duration::from_secs(20);
/// Pause after a message was seen but somebody else received it.
const MISSED: Duration = Duration::from_millis(5);
/// Pauses after the platform itself failed: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// What a poller needs of a queue service.
pub trait Source: Send + Sync + 'static {
    /// Waits at most `wait` for a message that could be received now, and takes nothing.
    fn visible(&self, queue: &str, wait: Duration) -> impl Future<Output = Result<bool, String>> + Send;
    /// Receives what is there now, at most `max`, under the queue's own visibility timeout.
    fn receive(&self, queue: &str, max: usize) -> impl Future<Output = Result<Vec<Received>, String>> + Send;
    fn delete(&self, queue: &str, receipt_handles: &[String]) -> impl Future<Output = Result<(), String>> + Send;
}

impl Source for Sqs {
    async fn visible(&self, queue: &str, wait: Duration) -> Result<bool, String> {
        self.wait_visible(queue, wait).await.map_err(|error| error.to_string())
    }

    async fn receive(&self, queue: &str, max: usize) -> Result<Vec<Received>, String> {
        Self::receive(self, queue, max, Duration::ZERO, None).await.map_err(|error| error.to_string())
    }

    async fn delete(&self, queue: &str, receipt_handles: &[String]) -> Result<(), String> {
        Self::delete(self, queue, receipt_handles).await.map_err(|error| error.to_string())
    }
}

/// Why nothing came of one turn.
enum Idle {
    Stopping,
    Empty,
    Missed,
    Failed(String),
}

/// A batch under way and what it needs.
struct Taken {
    messages: Vec<Received>,
    slot: Slot,
    permit: OwnedSemaphorePermit,
}

struct Poller<S> {
    lambda: Arc<Lambda>,
    source: Arc<S>,
    function: usize,
    mapping: EventSourceMapping,
    queue: String,
    /// `MaximumConcurrency`.
    permits: Arc<Semaphore>,
}

/// Polls until the platform ends, and finishes what it began.
pub async fn poll<S: Source>(lambda: Arc<Lambda>, source: Arc<S>, function: usize, mapping: EventSourceMapping) {
    let most = mapping.maximum_concurrency.map_or(MAX_RUNNING, |most| most as usize);
    let queue = name_of_arn(&mapping.queue_arn).to_owned();
    let permits = Arc::new(Semaphore::new(most.max(1)));
    let poller = Arc::new(Poller { lambda, source, function, mapping, queue, permits });
    let mut batches = JoinSet::new();
    let mut pause = Duration::ZERO;
    loop {
        let turn = poller.take().await;
        while let Some(result) = batches.try_join_next() {
            // `false`: the platform could not run it.
            pause = if result.unwrap_or(false) { Duration::ZERO } else { longer(pause) };
        }
        let wait = match turn {
            Ok(taken) => {
                let poller = Arc::clone(&poller);
                batches.spawn(async move { poller.work(taken).await });
                pause
            }
            Err(Idle::Stopping) => break,
            Err(Idle::Empty) => pause,
            Err(Idle::Missed) => MISSED.max(pause),
            Err(Idle::Failed(error)) => {
                pause = longer(pause);
                tracing::warn!(queue = poller.queue, error, pause_ms = pause.as_millis(), "polling a queue failed");
                pause
            }
        };
        if !wait.is_zero() && poller.stopped_within(wait).await {
            break;
        }
    }
    while batches.join_next().await.is_some() {}
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).clamp(FIRST_PAUSE, LAST_PAUSE)
}

impl<S: Source> Poller<S> {
    /// One batch, with the right to run it.
    async fn take(&self) -> Result<Taken, Idle> {
        let mut stopping = self.lambda.stopping();
        let ready = async {
            let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| Idle::Stopping)?;
            match self.source.visible(&self.queue, LONG_POLL).await {
                Ok(true) => Ok(permit),
                Ok(false) => Err(Idle::Empty),
                Err(error) => Err(Idle::Failed(error)),
            }
        };
        let permit = tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => return Err(Idle::Stopping),
            permit = ready => permit?,
        };
        let slot = self.slot().await?;
        // From here to the end nothing is dropped half-way: what is received is worked on.
        let mut messages = self.receive(self.batch_size()).await?;
        if messages.is_empty() {
            return Err(Idle::Missed);
        }
        let slot = if self.mapping.batch_window.is_zero() || messages.len() >= self.batch_size() {
            slot
        } else {
            drop(slot);
            self.gather(&mut messages).await;
            self.slot().await?
        };
        Ok(Taken { messages, slot, permit })
    }

    fn batch_size(&self) -> usize {
        (self.mapping.batch_size as usize).max(1)
    }

    /// Receives more until the batch is full or its window over.
    async fn gather(&self, messages: &mut Vec<Received>) {
        let end = Instant::now() + self.mapping.batch_window;
        while messages.len() < self.batch_size() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || *self.lambda.stopping().borrow() {
                return;
            }
            let visible = self.source.visible(&self.queue, left.min(Duration::from_secs(1))).await;
            match visible {
                Ok(true) => match self.receive(self.batch_size() - messages.len()).await {
                    Ok(more) => messages.extend(more),
                    Err(_) => return,
                },
                Ok(false) => {}
                Err(_) => return,
            }
        }
    }

    async fn receive(&self, most: usize) -> Result<Vec<Received>, Idle> {
        self.source.receive(&self.queue, most.min(RECEIVE)).await.map_err(Idle::Failed)
    }

    async fn slot(&self) -> Result<Slot, Idle> {
        self.lambda.slot(self.function, true).await.map_err(|error| match error {
            InvokeError::ShuttingDown => Idle::Stopping,
            other => Idle::Failed(other.to_string()),
        })
    }

    /// Invokes the function and deletes what it has done. `false` when the platform could not run it.
    async fn work(&self, taken: Taken) -> bool {
        let Taken { messages, slot, permit } = taken;
        let mut slot = Some(slot);
        let mut ran = true;
        for batch in batch::batches(messages, &self.mapping.queue_arn) {
            let slot = match slot.take() {
                Some(slot) => slot,
                None => match self.lambda.slot(self.function, true).await {
                    Ok(slot) => slot,
                    Err(_) => break,
                },
            };
            ran &= self.work_on(batch, slot).await;
        }
        drop(permit);
        ran
    }

    async fn work_on(&self, batch: Batch, slot: Slot) -> bool {
        let Batch { event, messages } = batch;
        let invocation = Invocation { payload: event, ..Invocation::default() };
        let verdict = match self.lambda.invoke_in(slot, invocation).await {
            Ok(outcome) if outcome.function_error.is_some() => Verdict::None("the function failed"),
            Ok(outcome) if self.mapping.report_batch_item_failures => batch::verdict(&outcome.payload, &messages),
            Ok(_) => Verdict::All,
            Err(InvokeError::ShuttingDown) => return true,
            Err(error) => {
                tracing::warn!(queue = self.queue, %error, "a batch could not be given to its function");
                return false;
            }
        };
        if let Verdict::None(reason) = &verdict {
            tracing::debug!(queue = self.queue, messages = messages.len(), reason, "a batch failed");
        }
        let done = batch::done(&verdict, &messages);
        if !done.is_empty()
            && let Err(error) = self.source.delete(&self.queue, &done).await
        {
            tracing::warn!(queue = self.queue, error, "messages that are done could not be deleted; they come again");
        }
        true
    }

    async fn stopped_within(&self, wait: Duration) -> bool {
        let mut stopping = self.lambda.stopping();
        tokio::time::timeout(wait, stopping.wait_for(|stopping| *stopping)).await.is_ok()
    }
}
