//! Message move tasks: dead letters on their way back to where they came from, or to another queue.
//!
//! A task is a row beside the messages and is kept with them: a restart goes on where the last commit was. Source: SQS
//! API reference, `StartMessageMoveTask`, `ListMessageMoveTasks`, `CancelMessageMoveTask`.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    account::Account,
    entry::{Change, Entry, Seq},
    error::{Kind, SqsError},
};
use crate::stack;

/// Tasks of one queue that are remembered.
const MAX_KEPT: usize = 10;
/// Tasks that run at once, in all queues.
const MAX_RUNNING: usize = 100;
/// Messages that one task moves in one commit.
const MAX_AT_ONCE: usize = 100;
/// What a task that fell behind its rate may catch up, microseconds.
const CATCH_UP_US: u64 = 1_000_000;
/// Longest run of a task: 36 h.
const MAX_RUN_MS: u64 = 129_600_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Status {
    Running,
    Completed,
    Cancelled,
    Failed,
}

/// One task, and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct MoveTask {
    /// Orders tasks by their start.
    pub number: Seq,
    pub id: String,
    /// The dead-letter queue.
    pub source_uid: u64,
    /// Name of a queue; none: each message's own source.
    pub destination: Option<String>,
    /// Messages per second at most.
    pub rate: Option<u32>,
    pub started_ms: u64,
    pub moved: u64,
    /// Messages that were there when it began, and that it moves at most.
    pub to_move: u64,
    pub status: Status,
    /// Why it failed: an error code.
    pub failure: Option<String>,
    /// When the next message may move, microseconds.
    #[serde(skip)]
    pub next_us: u64,
}

/// What is asked of a new task.
#[derive(Clone, Debug)]
pub(super) struct NewMove {
    pub id: String,
    /// Names of queues.
    pub source: String,
    pub destination: Option<String>,
    pub rate: Option<u32>,
}

impl MoveTask {
    fn end(&mut self, status: Status, failure: Option<&str>) {
        self.status = status;
        self.failure = failure.map(str::to_owned);
    }

    fn is_running(&self) -> bool {
        self.status == Status::Running
    }
}

/// The id of a message that was moved: it counts as a new one. Made of the old, so that the machine stays free of chance.
pub(super) fn moved_id(old: Uuid) -> Uuid {
    let digest: [u8; 32] = Sha256::digest(old.as_bytes()).into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

impl Account {
    /// Begins a task.
    pub(super) fn start_move(&mut self, now_ms: u64, asked: NewMove) -> Result<(), SqsError> {
        self.check_move(&asked)?;
        let depth = self.depth(now_ms, &asked.source)?;
        let task = MoveTask {
            number: self.number(),
            id: asked.id,
            source_uid: self.queue(&asked.source)?.uid,
            destination: asked.destination,
            rate: asked.rate,
            started_ms: now_ms,
            moved: 0,
            to_move: depth.visible,
            status: Status::Running,
            failure: None,
            next_us: now_ms * 1000,
        };
        self.changes.push(Change::Move(task.clone()));
        let tasks = self.moves.entry(task.source_uid).or_default();
        tasks.push_front(task);
        for old in tasks.drain(MAX_KEPT.min(tasks.len())..) {
            self.changes.push(Change::MoveGone { number: old.number });
        }
        Ok(())
    }

    fn check_move(&self, asked: &NewMove) -> Result<(), SqsError> {
        let source = self.queue(&asked.source).map_err(|_| no_resource("SourceArn"))?;
        if self.sources_of(&asked.source).next().is_none() {
            return Err(SqsError::invalid("Source queue must be configured as a Dead Letter Queue."));
        }
        if let Some(name) = &asked.destination {
            let destination = self.queue(name).map_err(|_| no_resource("DestinationArn"))?;
            if name == &asked.source {
                return Err(SqsError::invalid("Source queue arn and destination queue arn cannot be the same."));
            }
            if destination.is_fifo() != source.is_fifo() {
                return Err(SqsError::invalid("Source queue and destination queue must be of the same type: both FIFO or both standard."));
            }
        }
        let mut running = self.moves.values().flatten().filter(|task| task.is_running());
        if running.clone().any(|task| task.source_uid == source.uid) {
            return Err(SqsError::invalid(
                "There is already a task running. Only one active task is allowed for a source queue arn at a given time.",
            ));
        }
        if running.nth(MAX_RUNNING - 1).is_some() {
            return Err(SqsError::new(Kind::OverLimit, format!("{MAX_RUNNING} message move tasks are running already.")));
        }
        Ok(())
    }

    /// Ends a task; how many messages it had moved.
    pub(super) fn cancel_move(&mut self, source: &str, id: &str) -> Result<u64, SqsError> {
        let uid = self.queue(source).map_err(|_| no_resource("SourceArn"))?.uid;
        let tasks = self.moves.get_mut(&uid).into_iter().flatten();
        let Some(task) = tasks.into_iter().find(|task| task.id == id) else {
            return Err(SqsError::new(Kind::ResourceNotFound, "Task does not exist."));
        };
        if !task.is_running() {
            return Err(SqsError::invalid("Only active tasks can be cancelled."));
        }
        task.end(Status::Cancelled, None);
        self.changes.push(Change::Move(task.clone()));
        Ok(task.moved)
    }

    /// Tasks of a queue, newest first.
    pub(super) fn moves_of(&self, source: &str) -> Result<impl Iterator<Item = &MoveTask>, SqsError> {
        let uid = self.queue(source).map_err(|_| no_resource("SourceArn"))?.uid;
        Ok(self.moves.get(&uid).into_iter().flatten())
    }

    /// Takes a task back from the store.
    pub(super) fn restore_move(&mut self, task: MoveTask) {
        let tasks: &mut VecDeque<MoveTask> = self.moves.entry(task.source_uid).or_default();
        let at = tasks.iter().position(|other| other.number < task.number).unwrap_or(tasks.len());
        tasks.insert(at, task);
    }

    /// When a task has something to do.
    pub(super) fn next_move_ms(&self) -> Option<u64> {
        let running = self.moves.values().flatten().filter(|task| task.is_running());
        running.map(|task| task.next_us.div_ceil(1000)).min()
    }

    /// Moves what is due.
    pub(super) fn run_moves(&mut self, now_ms: u64) {
        let running = self.moves.iter().filter(|(_, tasks)| tasks.iter().any(MoveTask::is_running));
        let uids: Vec<u64> = running.map(|(uid, _)| *uid).collect();
        for uid in uids {
            let task = self.moves.get_mut(&uid).and_then(|tasks| tasks.iter_mut().find(|task| task.is_running()));
            let Some(mut task) = task.cloned() else { continue };
            if task.next_us > now_ms * 1000 {
                continue;
            }
            self.run_move(now_ms, &mut task);
            self.changes.push(Change::Move(task.clone()));
            if let Some(slot) = self.moves.get_mut(&uid).and_then(|tasks| tasks.iter_mut().find(|slot| slot.number == task.number)) {
                *slot = task;
            }
        }
    }

    fn run_move(&mut self, now_ms: u64, task: &mut MoveTask) {
        let micros = now_ms * 1000;
        let source = self.queues.iter().find(|(_, queue)| queue.uid == task.source_uid).map(|(name, _)| name.clone());
        let Some(source) = source else { return task.end(Status::Failed, Some("AWS.SimpleQueueService.NonExistentQueue")) };
        self.advance(now_ms, &source);
        if now_ms >= task.started_ms + MAX_RUN_MS {
            return task.end(Status::Failed, Some("TimeoutExceeded"));
        }
        task.next_us = task.next_us.max(micros.saturating_sub(CATCH_UP_US));
        for _ in 0..MAX_AT_ONCE {
            if task.next_us > micros {
                return;
            }
            if task.moved >= task.to_move {
                return task.end(Status::Completed, None);
            }
            match self.move_one(now_ms, &source, task.destination.as_deref()) {
                Ok(true) => task.moved += 1,
                Ok(false) => return task.end(Status::Completed, None),
                Err(failure) => return task.end(Status::Failed, Some(failure)),
            }
            task.next_us += task.rate.map_or(0, |rate| 1_000_000 / u64::from(rate.max(1)));
        }
    }

    /// `false` when no message is left that could be moved. The error is a code.
    fn move_one(&mut self, now_ms: u64, source: &str, destination: Option<&str>) -> Result<bool, &'static str> {
        let no_queue = "AWS.SimpleQueueService.NonExistentQueue";
        let Some((seq, entry)) = self.queues.get_mut(source).ok_or(no_queue)?.take() else { return Ok(false) };
        let moved = match destination.or(entry.source.as_deref()) {
            None => Err("CouldNotDetermineMessageSource"),
            Some(name) => self.put(now_ms, name, seq, &entry),
        };
        if moved.is_err()
            && let Some(queue) = self.queues.get_mut(source)
        {
            queue.restore(now_ms, seq, entry);
        }
        moved.map(|()| true)
    }

    /// Puts a message that was taken out of its queue into another, as a new one.
    fn put(&mut self, now_ms: u64, name: &str, seq: Seq, entry: &Entry) -> Result<(), &'static str> {
        let number = self.number();
        let queue = self.queues.get_mut(name).ok_or("AWS.SimpleQueueService.NonExistentQueue")?;
        if queue.is_fifo() != entry.dedup.is_some() {
            return Err("AWS.SimpleQueueService.UnsupportedOperation");
        }
        let delay_ms = queue.settings.delay_ms();
        let mut moved = Entry::new(moved_id(entry.id), entry.group.clone(), now_ms, delay_ms);
        moved.dedup.clone_from(&entry.dedup);
        queue.check_room().map_err(|_| "OverLimit")?;
        self.changes.push(Change::Renumbered { from: seq, to: number });
        queue.send(now_ms, number, moved, &mut self.changes).map_err(|_| "OverLimit")
    }
}

fn no_resource(parameter: &str) -> SqsError {
    let text = format!("The resource that you specified for the {parameter} parameter doesn't exist.");
    SqsError::new(Kind::ResourceNotFound, text)
}

/// The name of the queue in an ARN that names one of this account.
pub(super) fn queue_of_arn(parameter: &str, arn: &str) -> Result<String, SqsError> {
    let name = stack::name_of_arn(arn);
    if !arn.starts_with("arn:aws:sqs:") {
        let shown: String = arn.chars().take(128).collect();
        return Err(SqsError::invalid(format!(
            "Value {shown} for parameter {parameter} is invalid. Reason: It is not the ARN of a queue."
        )));
    }
    Ok(name.to_owned())
}
