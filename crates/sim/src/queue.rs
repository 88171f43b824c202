//! Queues as SQS has them: visibility, receive counts, at least once, in no order, dead letters.

use std::{collections::BTreeMap, time::Duration};

use pipeline::{
    Fault,
    id::TaskId,
    message::{EscalationMessage, Notification, TaskMessage},
    ports::{Delivery, Outbox},
    task::Class,
};

use crate::{
    chaos::Harm,
    kernel::Port,
    state::{START_MS, State},
};

/// As the template has it: dead letters are for messages that no function could read.
pub const MAX_RECEIVES: u32 = 100;
/// What the dead letters of a queue are named.
pub const DEAD: &str = "-dead-letter";

/// The queues with the timeouts of their functions, seconds.
pub const FUNCTIONS: [(&str, u64); 6] =
    [("ingest", 60), ("split", 900), ("transcode", 900), ("transcode-large", 900), ("merge", 900), ("escalation", 60)];

/// Queues whose messages are lost: the sweep sends those of tasks again, and finds uploads that nobody told of.
const WORKERS: [&str; 5] = ["ingest", "split", "transcode", "transcode-large", "merge"];

#[derive(Clone, Debug)]
pub struct Message {
    pub id: String,
    pub body: String,
    pub visible_ms: u64,
    pub receives: u32,
    /// The last receipt; older ones hold and delete nothing.
    pub receipt: String,
}

#[derive(Clone, Debug, Default)]
pub struct Queue {
    pub timeout_ms: u64,
    pub messages: Vec<Message>,
    /// Every receive of every message so far.
    pub received: u64,
    pub sent: u64,
}

/// All queues, empty.
pub fn queues() -> BTreeMap<String, Queue> {
    let live = FUNCTIONS.iter().map(|(name, seconds)| ((*name).to_owned(), *seconds));
    let dead = FUNCTIONS.iter().map(|(name, _)| (format!("{name}{DEAD}"), 60));
    live.chain(dead).map(|(name, seconds)| (name, Queue { timeout_ms: seconds * 1000, ..Queue::default() })).collect()
}

/// Which queue serves a kind of task.
pub fn of_task(task: TaskId, class: Class) -> &'static str {
    match (task, class) {
        (TaskId::Split, _) => "split",
        (TaskId::Merge, _) => "merge",
        (_, Class::Standard) => "transcode",
        (_, Class::Large) => "transcode-large",
    }
}

impl State {
    pub fn send(&mut self, queue: &str, body: String) {
        let delayed = self.is_rough() && self.rng.chance(self.chaos.delay);
        let delay = if delayed { self.rng.below(60_000) } else { 0 };
        if delay > 0 {
            self.harmed(Harm::Delayed);
        }
        let number = self.number();
        let message = Message { id: format!("m{number}"), body, visible_ms: self.now_ms + delay, receives: 0, receipt: String::new() };
        self.tell(|| format!("  {queue} <- {} {}", message.id, message.body));
        let mut lost = self.chaos.lost.is_some_and(|(name, until)| name == queue && self.elapsed_ms() < until);
        if WORKERS.contains(&queue) {
            self.to_workers += 1;
            lost |= self.chaos.lose_at == Some(self.to_workers) || (self.is_rough() && self.rng.chance(self.chaos.lose));
        }
        if lost {
            self.tell(|| format!("  {} is lost", message.id));
            self.harmed(Harm::Lost);
        }
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.sent += 1;
            if !lost {
                queue.messages.push(message);
            }
        }
    }

    /// Takes one visible message, any of them.
    pub fn receive(&mut self, name: &str) -> Option<(Delivery, String)> {
        let now = self.now_ms;
        let rough = self.is_rough();
        if self.elapsed_ms() < self.chaos.read_from_ms(name, self.elapsed_ms()) {
            return None;
        }
        let queue = self.queues.get(name)?;
        let visible: Vec<usize> = (0..queue.messages.len()).filter(|i| queue.messages[*i].visible_ms <= now).collect();
        let chosen = *visible.get(usize::try_from(self.rng.below(visible.len() as u64)).ok()?)?;
        let twice = rough && self.rng.chance(self.chaos.duplicate);
        let again_ms = self.rng.below(3_000);
        if twice {
            self.harmed(Harm::Doubled);
        }
        if visible.first() != Some(&chosen) {
            self.harmed(Harm::Disordered);
        }
        let receipt = format!("r{}", self.number());
        let queue = self.queues.get_mut(name)?;
        queue.received += 1;
        let hidden = queue.timeout_ms + 30_000;
        let message = queue.messages.get_mut(chosen)?;
        message.receives += 1;
        message.visible_ms = now + if twice { again_ms } else { hidden };
        message.receipt.clone_from(&receipt);
        let (id, body, receives) = (message.id.clone(), message.body.clone(), message.receives);
        if message.receives > MAX_RECEIVES && !name.ends_with(DEAD) {
            let dead = queue.messages.remove(chosen);
            self.tell(|| format!("  {name}: {id} is a dead letter"));
            self.send(&format!("{name}{DEAD}"), dead.body);
            return None;
        }
        Some((Delivery { message: id, receipt, queue: name.to_owned(), receives }, body))
    }

    /// The function answered that the message is done.
    pub fn acknowledge(&mut self, delivery: &Delivery) {
        if self.is_rough() && self.rng.chance(self.chaos.lost_ack) {
            self.harmed(Harm::Unacknowledged);
            return self.tell(|| format!("  acknowledgement of {} is lost", delivery.message));
        }
        if let Some(queue) = self.queues.get_mut(&delivery.queue) {
            queue.messages.retain(|m| m.receipt != delivery.receipt);
        }
    }
}

impl Outbox for Port {
    async fn send_tasks(&self, class: Class, messages: &[TaskMessage]) -> Result<(), Fault> {
        let about = messages.first().map_or_else(String::new, |m| format!("{} and {} more", m.task, messages.len() - 1));
        self.op("send_tasks", about, |state| {
            for message in messages {
                let body = serde_json::to_string(message).map_err(|e| Fault::retry(e.to_string()))?;
                state.send(of_task(message.task, class), body.clone());
                if let Some((_, after_ms)) = state.letter.take_if(|(task, _)| *task == message.task) {
                    let dead = format!("{}{DEAD}", of_task(message.task, class));
                    state.send(&dead, body);
                    if let Some(letter) = state.queues.get_mut(&dead).and_then(|queue| queue.messages.last_mut()) {
                        letter.visible_ms = letter.visible_ms.max(START_MS + after_ms);
                    }
                }
                if state.early_merge && matches!(message.task, TaskId::Chunk(_)) {
                    let merge = TaskMessage::new(&message.job, TaskId::Merge, 0);
                    state.send("merge", serde_json::to_string(&merge).map_err(|e| Fault::retry(e.to_string()))?);
                    let until = START_MS + state.early_merge_ms;
                    if let Some(message) = state.queues.get_mut("merge").and_then(|queue| queue.messages.last_mut()) {
                        message.visible_ms = message.visible_ms.max(until);
                    }
                }
            }
            Ok(())
        })
        .await
    }

    async fn escalate(&self, message: &EscalationMessage) -> Result<(), Fault> {
        self.op("escalate", message.task, |state| {
            let body = serde_json::to_string(message).map_err(|e| Fault::retry(e.to_string()))?;
            state.send("escalation", body);
            Ok(())
        })
        .await
    }

    async fn notify(&self, notification: &Notification) -> Result<(), Fault> {
        self.op("notify", &notification.id, |state| {
            if state.elapsed_ms() < state.deaf_ms {
                return Err(Fault::retry("nobody answers"));
            }
            state.told.insert(notification.id.clone());
            Ok(())
        })
        .await
    }
    async fn hold(&self, delivery: &Delivery, delay: Duration) {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let held = self.op("hold", delay_ms, |state| {
            let until = state.now_ms.saturating_add(delay_ms);
            let queue = state.queues.get_mut(&delivery.queue);
            if let Some(message) = queue.and_then(|q| q.messages.iter_mut().find(|m| m.receipt == delivery.receipt)) {
                message.visible_ms = until;
            }
            Ok(())
        });
        // An error is logged by the adapter and changes nothing.
        drop(held.await);
    }

    async fn depth(&self, task: TaskId, class: Class) -> Result<u64, Fault> {
        let queue = of_task(task, class);
        self.op("depth", queue, |state| {
            let depth = state.queues.get(queue).map_or(0, |q| q.messages.len() as u64);
            Ok(if state.is_stale(Harm::Miscounted) { state.rng.below(2 * depth + 2) } else { depth })
        })
        .await
    }
}
