//! Event source mappings: from a queue into a function.
//!
//! A poller takes nothing out of its queue before an invocation may run at once: first it waits for a visible message,
//! then for a slot, and only then it receives. So no message's visibility runs down while it waits for a vCPU, and no
//! slot is held for an empty queue.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet, time::Instant};

use super::{
    InvokeError, Lambda,
    batch::{self, Batch, Verdict},
    dispatch::Invocation,
    line::MAX_RUNNING,
    mappings::Mapping,
    scaling::{STEP, Scaling},
    slots::Slot,
};
use crate::{
    sqs::{Received, Sqs},
    stack::name_of_arn,
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
    Disabled,
    Empty,
    Missed,
    /// Messages were there, and none fits the filters.
    Filtered,
    Failed(String),
}

/// A batch under way and what it needs.
struct Taken {
    messages: Vec<Received>,
    slot: Slot,
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Done,
    /// The function said that some of it failed.
    Partly,
    /// The function failed, or said nothing that makes sense.
    Failed,
    /// The platform could not run it.
    NotRun,
}

struct Poller<S> {
    lambda: Arc<Lambda>,
    source: Arc<S>,
    mapping: Arc<Mapping>,
    queue: String,
}

/// Batches of one mapping and what their ends say of it.
struct Batches {
    under_way: JoinSet<Ended>,
    scaling: Scaling,
    /// After the platform itself failed.
    pause: Duration,
}

impl Batches {
    fn heed(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        let ended = ended.unwrap_or(Ended::NotRun);
        self.pause = if ended == Ended::NotRun { longer(self.pause) } else { Duration::ZERO };
        self.scaling.ended(ended == Ended::Failed);
    }
}

/// Polls until the platform ends, and finishes what it began.
pub async fn poll<S: Source>(lambda: Arc<Lambda>, source: Arc<S>, mapping: Arc<Mapping>) {
    let most = mapping.settings.maximum_concurrency.map_or(MAX_RUNNING, |most| most as usize);
    let queue = name_of_arn(&mapping.settings.queue_arn).to_owned();
    let poller = Arc::new(Poller { lambda, source, mapping, queue });
    let mut batches = Batches { under_way: JoinSet::new(), scaling: Scaling::new(most), pause: Duration::ZERO };
    loop {
        while let Some(ended) = batches.under_way.try_join_next() {
            batches.heed(ended);
        }
        let enabled = *poller.mapping.enabled.borrow();
        if !enabled || batches.under_way.len() >= batches.scaling.limit() {
            if poller.rest(&mut batches, enabled).await {
                break;
            }
            continue;
        }
        let wait = match poller.take().await {
            Ok(taken) => {
                let poller = Arc::clone(&poller);
                batches.under_way.spawn(async move { poller.work(taken).await });
                batches.pause
            }
            Err(Idle::Stopping) => break,
            Err(Idle::Disabled) => continue,
            Err(Idle::Empty) => {
                batches.scaling.empty();
                batches.pause
            }
            Err(Idle::Filtered) => batches.pause,
            Err(Idle::Missed) => MISSED.max(batches.pause),
            Err(Idle::Failed(error)) => {
                batches.pause = longer(batches.pause);
                tracing::warn!(queue = poller.queue, error, pause_ms = batches.pause.as_millis(), "polling a queue failed");
                batches.pause
            }
        };
        if !wait.is_zero() && poller.stopped_within(wait).await {
            break;
        }
    }
    while batches.under_way.join_next().await.is_some() {}
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).clamp(FIRST_PAUSE, LAST_PAUSE)
}

async fn turns(switch: &mut watch::Receiver<bool>, wanted: bool) {
    if switch.wait_for(|is| *is == wanted).await.is_err() {
        // Nobody is left who could.
        std::future::pending::<()>().await;
    }
}

impl<S: Source> Poller<S> {
    /// Waits while no batch may be taken. `true` when the platform ends.
    async fn rest(&self, batches: &mut Batches, enabled: bool) -> bool {
        let mut stopping = self.lambda.stopping();
        let mut switch = self.mapping.enabled.subscribe();
        tokio::select! {
            biased;
            () = turns(&mut stopping, true) => return true,
            () = turns(&mut switch, !enabled) => {}
            Some(ended) = batches.under_way.join_next() => batches.heed(ended),
            () = tokio::time::sleep(STEP), if enabled && batches.scaling.can_grow() => {
                if self.source.visible(&self.queue, Duration::ZERO).await == Ok(true) {
                    batches.scaling.backlog();
                }
            }
        }
        false
    }

    /// One batch, with the right to run it.
    async fn take(&self) -> Result<Taken, Idle> {
        let mut stopping = self.lambda.stopping();
        let mut switch = self.mapping.enabled.subscribe();
        tokio::select! {
            biased;
            () = turns(&mut stopping, true) => return Err(Idle::Stopping),
            () = turns(&mut switch, false) => return Err(Idle::Disabled),
            visible = self.source.visible(&self.queue, LONG_POLL) => match visible {
                Ok(true) => {}
                Ok(false) => return Err(Idle::Empty),
                Err(error) => return Err(Idle::Failed(error)),
            },
        }
        let slot = self.slot().await?;
        // From here to the end nothing is dropped half-way: what is received is worked on.
        let mut messages = self.receive(self.batch_size()).await?;
        if messages.is_empty() {
            return Err(Idle::Filtered);
        }
        let slot = if self.mapping.settings.batch_window.is_zero() || self.is_full(&messages) {
            slot
        } else {
            drop(slot);
            self.gather(&mut messages).await;
            self.slot().await?
        };
        Ok(Taken { messages, slot })
    }

    fn batch_size(&self) -> usize {
        (self.mapping.settings.batch_size as usize).max(1)
    }

    fn is_full(&self, messages: &[Received]) -> bool {
        messages.len() >= self.batch_size() || batch::fills_an_event(messages)
    }

    /// Receives more until the batch is full or its window over.
    async fn gather(&self, messages: &mut Vec<Received>) {
        let end = Instant::now() + self.mapping.settings.batch_window;
        while !self.is_full(messages) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || *self.lambda.stopping().borrow() {
                return;
            }
            let visible = self.source.visible(&self.queue, left.min(Duration::from_secs(1))).await;
            match visible {
                Ok(true) => match self.receive(self.batch_size() - messages.len()).await {
                    Ok(more) => messages.extend(more),
                    Err(Idle::Missed) => tokio::time::sleep(MISSED).await,
                    Err(_) => return,
                },
                Ok(false) => {}
                Err(_) => return,
            }
        }
    }

    /// Receives what is there now and deletes what the function is not to see.
    async fn receive(&self, most: usize) -> Result<Vec<Received>, Idle> {
        let received = self.source.receive(&self.queue, most.min(RECEIVE)).await.map_err(Idle::Failed)?;
        if received.is_empty() {
            return Err(Idle::Missed);
        }
        let arn = &self.mapping.settings.queue_arn;
        let (wanted, others): (Vec<_>, Vec<_>) = received.into_iter().partition(|message| self.mapping.filters.keep(message, arn));
        self.delete(others.into_iter().map(|message| message.receipt_handle).collect()).await;
        Ok(wanted)
    }

    async fn slot(&self) -> Result<Slot, Idle> {
        self.lambda.slot(self.mapping.function, true).await.map_err(|error| match error {
            InvokeError::ShuttingDown => Idle::Stopping,
            other => Idle::Failed(other.to_string()),
        })
    }

    /// Invokes the function and deletes what it has done.
    async fn work(&self, taken: Taken) -> Ended {
        let Taken { messages, slot } = taken;
        let mut slot = Some(slot);
        let mut ended = Ended::Done;
        for batch in batch::batches(messages, &self.mapping.settings.queue_arn) {
            // What is too large for one event comes in several; in a queue with order none overtakes one that failed.
            if ended != Ended::Done && self.queue.strip_suffix(".fifo").is_some() {
                break;
            }
            let slot = match slot.take() {
                Some(slot) => slot,
                None => match self.lambda.slot(self.mapping.function, true).await {
                    Ok(slot) => slot,
                    Err(_) => break,
                },
            };
            let one = self.work_on(batch, slot).await;
            ended = if one == Ended::Done { ended } else { one };
        }
        ended
    }

    async fn work_on(&self, batch: Batch, slot: Slot) -> Ended {
        let Batch { event, messages } = batch;
        let invocation = Invocation { payload: event, ..Invocation::default() };
        let verdict = match self.lambda.invoke_in(slot, invocation).await {
            Ok(outcome) if outcome.function_error.is_some() => Verdict::None("the function failed"),
            Ok(outcome) if self.mapping.settings.report_batch_item_failures => batch::verdict(&outcome.payload, &messages),
            Ok(_) => Verdict::All,
            Err(InvokeError::ShuttingDown) => return Ended::Partly,
            Err(error) => {
                tracing::warn!(queue = self.queue, %error, "a batch could not be given to its function");
                return Ended::NotRun;
            }
        };
        self.delete(batch::done(&verdict, &messages)).await;
        match verdict {
            Verdict::All => Ended::Done,
            Verdict::AllBut(_) => Ended::Partly,
            Verdict::None(reason) => {
                tracing::debug!(queue = self.queue, messages = messages.len(), reason, "a batch failed");
                Ended::Failed
            }
        }
    }

    async fn delete(&self, receipt_handles: Vec<String>) {
        if !receipt_handles.is_empty()
            && let Err(error) = self.source.delete(&self.queue, &receipt_handles).await
        {
            tracing::warn!(queue = self.queue, error, "messages that are done could not be deleted; they come again");
        }
    }

    async fn stopped_within(&self, wait: Duration) -> bool {
        let mut stopping = self.lambda.stopping();
        tokio::time::timeout(wait, turns(&mut stopping, true)).await.is_ok()
    }
}
