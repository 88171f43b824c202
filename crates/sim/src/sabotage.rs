//! Ports with one promise broken each: proof that the tests can fail.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pipeline::{
    Fault,
    event::EventRecord,
    fleet::Member,
    id::{JobId, TaskId},
    job::{Job, StoredJob},
    message::{EscalationMessage, Notification, TaskMessage},
    ports::{Delivery, DoneSet, Ledger, Outbox, TaskPage},
    task::{Class, StoredTask, Task, TaskState},
};

/// Which promise is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Tasks are written whatever version they have.
    NoVersions,
    /// Jobs are written whatever version they have.
    NoJobVersions,
    /// A job that is there already is made anew, and a task likewise.
    JobsAnew,
    TasksAnew,
    /// Every worker takes itself for the holder of a task's lease.
    NoFences,
    /// The merge message of a job is sent once, never again.
    OneMergeMessage,
}

/// A port as one worker sees it, with or without a broken promise.
pub struct Saboteur<P> {
    pub inner: P,
    pub sabotage: Option<Sabotage>,
    /// The fencing number that this worker was given.
    fence: Mutex<Option<u64>>,
    merge_sent: MergeSent,
}

/// Jobs whose merge message was sent in this world.
pub type MergeSent = Arc<Mutex<BTreeSet<JobId>>>;

impl<P> Saboteur<P> {
    pub fn new(inner: P, sabotage: Option<Sabotage>, merge_sent: MergeSent) -> Self {
        Self { inner, sabotage, fence: Mutex::default(), merge_sent }
    }

    fn own_fence(&self) -> Option<u64> {
        *self.fence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Ledger> Ledger for Saboteur<P> {
    async fn create_job(&self, job: &Job) -> Result<bool, Fault> {
        let is_new = self.inner.create_job(job).await?;
        if is_new || self.sabotage != Some(Sabotage::JobsAnew) {
            return Ok(is_new);
        }
        match self.inner.job(&job.id).await? {
            Some(found) => self.inner.replace_job(job, found.version).await,
            None => Ok(is_new),
        }
    }
    async fn job(&self, job: &JobId) -> Result<Option<StoredJob>, Fault> {
        self.inner.job(job).await
    }
    async fn replace_job(&self, job: &Job, version: u64) -> Result<bool, Fault> {
        let version = match self.sabotage {
            Some(Sabotage::NoJobVersions) => self.inner.job(&job.id).await?.map_or(version, |stored| stored.version),
            _ => version,
        };
        self.inner.replace_job(job, version).await
    }
    async fn set_blocked(&self, job: &JobId, task: TaskId, blocked: bool) -> Result<(), Fault> {
        self.inner.set_blocked(job, task, blocked).await
    }
    async fn create_task(&self, task: &Task) -> Result<bool, Fault> {
        let is_new = self.inner.create_task(task).await?;
        if is_new || self.sabotage != Some(Sabotage::TasksAnew) {
            return Ok(is_new);
        }
        match self.inner.task(&task.job, task.id).await? {
            Some(found) => self.inner.replace_task(task, found.version).await,
            None => Ok(is_new),
        }
    }

    async fn task(&self, job: &JobId, task: TaskId) -> Result<Option<StoredTask>, Fault> {
        let mut found = self.inner.task(job, task).await?;
        if self.sabotage == Some(Sabotage::NoFences)
            && let (Some(own), Some(stored)) = (self.own_fence(), &mut found)
            && let TaskState::Leased(lease) = &mut stored.task.state
        {
            lease.fence = own;
        }
        Ok(found)
    }

    async fn replace_task(&self, task: &Task, version: u64) -> Result<bool, Fault> {
        let version = match self.sabotage {
            Some(Sabotage::NoVersions) => self.inner.task(&task.job, task.id).await?.map_or(version, |stored| stored.version),
            _ => version,
        };
        let written = self.inner.replace_task(task, version).await?;
        if written && let TaskState::Leased(lease) = &task.state {
            self.fence.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(lease.fence);
        }
        Ok(written)
    }

    async fn tasks(&self, job: &JobId, after: Option<TaskId>) -> Result<TaskPage, Fault> {
        self.inner.tasks(job, after).await
    }
    async fn mark_done(&self, job: &JobId, set: DoneSet, number: u32) -> Result<u32, Fault> {
        self.inner.mark_done(job, set, number).await
    }
    async fn open_due(&self, before_ms: u64) -> Result<Vec<JobId>, Fault> {
        self.inner.open_due(before_ms).await
    }
    async fn tell(&self, member: &Member) -> Result<bool, Fault> {
        self.inner.tell(member).await
    }
    async fn fleet(&self) -> Result<Vec<Member>, Fault> {
        self.inner.fleet().await
    }
    async fn record(&self, events: &[EventRecord]) -> Result<(), Fault> {
        self.inner.record(events).await
    }
}

impl<P: Outbox> Outbox for Saboteur<P> {
    async fn send_tasks(&self, class: Class, messages: &[TaskMessage]) -> Result<(), Fault> {
        let first = |job: &JobId| self.merge_sent.lock().unwrap_or_else(PoisonError::into_inner).insert(job.clone());
        let merge = messages.iter().find(|m| m.task == TaskId::Merge);
        if self.sabotage == Some(Sabotage::OneMergeMessage) && merge.is_some_and(|m| !first(&m.job)) {
            return Ok(());
        }
        self.inner.send_tasks(class, messages).await
    }
    async fn escalate(&self, message: &EscalationMessage) -> Result<(), Fault> {
        self.inner.escalate(message).await
    }
    async fn notify(&self, notification: &Notification) -> Result<(), Fault> {
        self.inner.notify(notification).await
    }
    async fn hold(&self, delivery: &Delivery, delay: Duration) {
        self.inner.hold(delivery, delay).await;
    }
    async fn depth(&self, task: TaskId, class: Class) -> Result<u64, Fault> {
        self.inner.depth(task, class).await
    }
}
