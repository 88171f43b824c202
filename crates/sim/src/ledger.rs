//! The ledger in memory: versions, conditions, consistent reads, the sparse index of open work.

use std::ops::Bound;

use pipeline::{
    Fault,
    event::EventRecord,
    fleet::{Member, MemberState},
    id::{JobId, TaskId},
    job::{Job, StoredJob},
    ports::{DoneSet, Ledger, TaskPage},
    task::{StoredTask, Task, TaskState},
};

use crate::{chaos::Harm, check, kernel::Port, state::State};

/// Tasks of one page: few, so that workers die between pages; more where there are thousands.
fn page(tasks: usize) -> usize {
    (tasks / 50).max(4)
}

/// One item of the sparse index of open work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenItem {
    pub job: JobId,
    /// `None`: the job itself.
    pub task: Option<TaskId>,
    /// Milliseconds since 1970.
    pub due_ms: u64,
}

impl State {
    /// What the sparse index holds: open jobs and tasks with their times.
    pub fn open(&self) -> Vec<OpenItem> {
        let jobs = self.jobs.values().filter(|s| s.job.is_open());
        let jobs = jobs.map(|s| OpenItem { job: s.job.id.clone(), task: None, due_ms: s.job.updated_ms });
        let tasks = self.tasks.values().filter_map(|s| {
            let due_ms = match &s.task.state {
                TaskState::Open => s.task.updated_ms,
                TaskState::Leased(lease) => lease.until_ms,
                TaskState::Done | TaskState::Ended | TaskState::Blocked { .. } => return None,
            };
            Some(OpenItem { job: s.task.job.clone(), task: Some(s.task.id), due_ms })
        });
        let mut open: Vec<OpenItem> = jobs.chain(tasks).collect();
        open.sort_by_key(|item| item.due_ms);
        open
    }

    /// Writes a task if nobody wrote it since.
    pub fn put_task(&mut self, task: &Task, version: u64) -> bool {
        let key = (task.job.clone(), task.id);
        let Some(old) = self.tasks.get(&key).cloned() else { return false };
        if old.version != version {
            return false;
        }
        self.wrote("task", 1);
        check::task_moved(self, &old.task, task);
        self.tell(|| format!("  {} is {:?}, fence {}", task.id, task.state, task.fence));
        self.tasks.insert(key, StoredTask { task: task.clone(), version: version + 1 });
        true
    }

    fn put_job(&mut self, job: &Job, version: u64) -> bool {
        let Some(old) = self.jobs.get(&job.id).cloned() else { return false };
        if old.version != version {
            return false;
        }
        self.wrote("job", 1);
        check::job_moved(self, &old.job, job);
        self.tell(|| format!("  job is {}", job.state.name()));
        self.jobs.insert(job.id.clone(), StoredJob { job: job.clone(), version: version + 1, ..old });
        true
    }

    pub fn block(&mut self, job: &JobId, task: TaskId, blocked: bool) {
        if let Some(stored) = self.jobs.get_mut(job) {
            stored.blocked.retain(|t| *t != task);
            if blocked {
                stored.blocked.push(task);
            }
        }
    }
}

impl Ledger for Port {
    async fn create_job(&self, job: &Job) -> Result<bool, Fault> {
        self.op("create_job", &job.id, |state| {
            let fresh = !state.jobs.contains_key(&job.id);
            if fresh {
                state.wrote("job", 1);
                state.jobs.insert(job.id.clone(), StoredJob { job: job.clone(), version: 1, blocked: Vec::new() });
            }
            Ok(fresh)
        })
        .await
    }

    async fn job(&self, job: &JobId) -> Result<Option<StoredJob>, Fault> {
        self.op("job", "", |state| Ok(state.jobs.get(job).cloned())).await
    }

    async fn replace_job(&self, job: &Job, version: u64) -> Result<bool, Fault> {
        self.op("replace_job", job.state.name(), |state| Ok(state.put_job(job, version))).await
    }

    async fn set_blocked(&self, job: &JobId, task: TaskId, blocked: bool) -> Result<(), Fault> {
        self.op("set_blocked", task, |state| {
            state.wrote("blocked", 1);
            state.block(job, task, blocked);
            Ok(())
        })
        .await
    }

    async fn create_task(&self, task: &Task) -> Result<bool, Fault> {
        self.op("create_task", task.id, |state| {
            let key = (task.job.clone(), task.id);
            let fresh = !state.tasks.contains_key(&key);
            if fresh {
                state.wrote("task", 1);
                state.tasks.insert(key, StoredTask { task: task.clone(), version: 1 });
            }
            Ok(fresh)
        })
        .await
    }

    async fn task(&self, job: &JobId, task: TaskId) -> Result<Option<StoredTask>, Fault> {
        self.op("task", task, |state| Ok(state.tasks.get(&(job.clone(), task)).cloned())).await
    }

    async fn replace_task(&self, task: &Task, version: u64) -> Result<bool, Fault> {
        self.op("replace_task", task.id, |state| Ok(state.put_task(task, version))).await
    }

    async fn tasks(&self, job: &JobId, after: Option<TaskId>) -> Result<TaskPage, Fault> {
        self.op("tasks", after.map_or_else(String::new, |after| format!("after {after}")), |state| {
            let first = after.map_or(Bound::Included((job.clone(), TaskId::Split)), |after| Bound::Excluded((job.clone(), after)));
            let most = page(state.tasks.len());
            let mut rest = state.tasks.range((first, Bound::Unbounded)).map(|(_, stored)| stored).take_while(|s| s.task.job == *job);
            let tasks: Vec<StoredTask> = rest.by_ref().take(most).cloned().collect();
            let last = rest.next().and(tasks.last()).map(|stored| stored.task.id);
            Ok(TaskPage { tasks, last })
        })
        .await
    }

    async fn mark_done(&self, job: &JobId, set: DoneSet, number: u32) -> Result<u32, Fault> {
        self.op("mark_done", format!("{set:?} {number}"), |state| {
            state.wrote("done", 1);
            let set = state.done.entry((job.clone(), format!("{set:?}"))).or_default();
            set.insert(number);
            Ok(u32::try_from(set.len()).unwrap_or(u32::MAX))
        })
        .await
    }

    async fn open_due(&self, before_ms: u64) -> Result<Vec<JobId>, Fault> {
        self.op("open_due", "", |state| {
            let mut jobs: Vec<JobId> = Vec::new();
            for item in state.open().into_iter().filter(|item| item.due_ms <= before_ms) {
                // The index does not know it yet.
                if !jobs.contains(&item.job) && !state.is_stale(Harm::Unindexed) {
                    jobs.push(item.job);
                }
            }
            if state.is_stale(Harm::Outdated) {
                // It still knows what ended or moved since.
                jobs.extend(state.jobs.keys().filter(|job| !jobs.contains(job)).cloned().collect::<Vec<_>>());
            }
            Ok(jobs)
        })
        .await
    }

    async fn tell(&self, member: &Member) -> Result<bool, Fault> {
        self.op("tell", &member.environment, |state| {
            if member.state == MemberState::Error {
                state.hindered.insert(member.task);
            }
            let age = |of: &Member| (of.incarnation, of.sequence);
            let is_news = state.fleet.member(&member.environment).is_none_or(|known| age(known) < age(member));
            Ok(is_news && state.fleet.hear(member.clone()))
        })
        .await
    }

    async fn fleet(&self) -> Result<Vec<Member>, Fault> {
        self.op("fleet", "", |state| {
            state.fleet.forget(state.now_ms);
            Ok(state.fleet.members().cloned().collect())
        })
        .await
    }

    async fn record(&self, events: &[EventRecord]) -> Result<(), Fault> {
        self.op("record", events.len(), |state| {
            state.wrote("event", events.len());
            state.events.extend(events.iter().map(|event| (event.sort_key(), event.clone())));
            Ok(())
        })
        .await
    }
}
