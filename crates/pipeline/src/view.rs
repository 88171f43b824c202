//! A job as people and their scripts see it: four words for clients, a sentence of detail, progress in frames. Pure.
//!
//! The texts and field names are an interface: the CLI prints them, `--json` hands them on, snapshots hold them.

use serde::Serialize;

use crate::{
    Fault,
    id::{JobId, TaskId},
    job::{JobState, StoredJob},
    plan::Plan,
    task::{Class, Task, TaskState, Work},
};

/// Tasks named in one line; the rest is counted.
const NAMED_IN_LINE: usize = 6;
/// Characters of a job's id in a line.
const SHORT: usize = 8;

/// What clients are told of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Nobody has begun.
    Queued,
    Processing,
    Completed,
    /// Ended with what could be saved of a damaged film.
    Partial,
    /// Ended without a ladder, or nothing goes on until an operator acts.
    Failed,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Queued => "QUEUED",
            Self::Processing => "PROCESSING",
            Self::Completed => "COMPLETED",
            Self::Partial => "PARTIAL",
            Self::Failed => "FAILED",
        })
    }
}

/// How far a job is. A frame counts once, when it is encoded in all renditions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Progress {
    pub frames_done: u64,
    /// Shown frames of the source; 0 until they are counted.
    pub frames: u64,
    /// Renditions that each frame is encoded in; tracks of sound where there is no picture.
    pub renditions: u32,
    /// Chunks and audio tracks done, and all of them.
    pub tasks_done: u32,
    pub tasks: u32,
    /// Whole percent of the frames, or of the sound where there is no picture, rounded down; 100 only for a completed job; frames that are lost are never done.
    pub percent: u8,
}

/// A task that needs a word: it was tried more than once, or it waits for an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskView {
    pub task: TaskId,
    /// `open`, `running`, `done`, `blocked` or `ended`.
    pub state: &'static str,
    /// Tries begun.
    pub attempt: u32,
    pub class: Class,
    /// The last fault in words.
    pub fault: Option<String>,
}

/// A job with its tasks, as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobView {
    pub job: JobId,
    pub status: Status,
    /// `received`, `probed`, `planned`, `transcoding`, `merging`, `completed`, `partial`, `rejected`, `cancelled` or `escalated`.
    pub state: &'static str,
    /// One sentence: what it does now, or why it ended.
    pub detail: String,
    pub bucket: String,
    pub key: String,
    /// Bytes of the source.
    pub bytes: u64,
    pub profile: String,
    pub generation: u32,
    /// What the probe said of the source.
    pub facts: Option<String>,
    /// Nominal frames per second of the source; 0 if unknown.
    pub frame_rate: f64,
    pub progress: Progress,
    /// Tasks with something to tell, in order.
    pub notable: Vec<TaskView>,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    pub updated_ms: u64,
}

impl JobView {
    /// `tasks` may be empty: those of a job that ended long ago are gone.
    pub fn of(stored: &StoredJob, tasks: &[Task]) -> Self {
        let job = &stored.job;
        let escalated = !stored.blocked.is_empty() && !job.state.is_ended();
        let status = status(stored, tasks);
        let progress = progress(stored, tasks);
        let mut notable: Vec<TaskView> = tasks.iter().filter(|task| is_notable(task)).map(task_view).collect();
        notable.sort_by_key(|task| task.task);
        Self {
            job: job.id.clone(),
            status,
            state: if escalated { "escalated" } else { job.state.name() },
            detail: detail(stored, tasks, status, &progress),
            bucket: job.source.bucket.clone(),
            key: job.source.key.to_string(),
            bytes: job.source.size,
            profile: job.profile.clone(),
            generation: job.generation,
            facts: job.facts.clone(),
            frame_rate: job.plan.as_ref().and_then(|plan| plan.video.as_ref()).map_or(0.0, |video| video.frame_rate),
            progress,
            notable,
            created_ms: job.created_ms,
            updated_ms: tasks.iter().map(|task| task.updated_ms).fold(job.updated_ms, u64::max),
        }
    }

    /// Nothing changes any more unless a person acts.
    pub fn is_settled(&self) -> bool {
        matches!(self.status, Status::Completed | Status::Partial | Status::Failed)
    }

    /// The first characters of the id: enough to name it to a command.
    pub fn short(&self) -> &str {
        short(&self.job)
    }

    /// `7f3a91c2… transcoding 3/5 | c00002 attempt 2 | c00004 blocked: out of memory`
    pub fn line(&self) -> String {
        let mut head = format!("{}… {}", self.short(), self.state);
        if self.progress.tasks > 0 && !matches!(self.state, "completed" | "partial" | "rejected" | "cancelled") {
            head = format!("{head} {}/{}", self.progress.tasks_done, self.progress.tasks);
        }
        if matches!(self.state, "rejected" | "partial") {
            head = format!("{head}: {}", self.detail);
        }
        let mut parts = vec![head];
        parts.extend(self.notable.iter().take(NAMED_IN_LINE).map(TaskView::line));
        let more = self.notable.len().saturating_sub(NAMED_IN_LINE);
        if more > 0 {
            parts.push(format!("and {more} more"));
        }
        parts.join(" | ")
    }
}

/// The first characters of a job's id.
pub fn short(job: &JobId) -> &str {
    job.as_str().get(..SHORT).unwrap_or(job.as_str())
}

impl TaskView {
    /// `c00002 attempt 2`, `c00004 blocked: out of memory`
    pub fn line(&self) -> String {
        let large = if self.class == Class::Large { " (large)" } else { "" };
        match (self.state, &self.fault) {
            ("blocked", Some(fault)) => format!("{} blocked: {fault}", self.task),
            _ => format!("{} attempt {}{large}", self.task, self.attempt),
        }
    }
}

fn is_notable(task: &Task) -> bool {
    match task.state {
        TaskState::Blocked { .. } => true,
        TaskState::Done | TaskState::Ended => false,
        TaskState::Open | TaskState::Leased(_) => task.attempts > 1 || task.last_fault.is_some(),
    }
}

fn task_view(task: &Task) -> TaskView {
    let fault = match &task.state {
        TaskState::Blocked { fault } => Some(in_brief(fault)),
        _ => task.last_fault.clone(),
    };
    TaskView { task: task.id, state: state_name(&task.state), attempt: task.attempts, class: task.class, fault }
}

fn state_name(state: &TaskState) -> &'static str {
    match state {
        TaskState::Open => "open",
        TaskState::Leased(_) => "running",
        TaskState::Done => "done",
        TaskState::Blocked { .. } => "blocked",
        TaskState::Ended => "ended",
    }
}

/// A shortage is named by what ran out; what the tool printed is for the events.
fn in_brief(fault: &Fault) -> String {
    match fault {
        Fault::Escalate { reason: crate::Shortage::Tool, detail } => detail.clone(),
        Fault::Escalate { reason, .. } => reason.to_string(),
        Fault::Retry(text) | Fault::Early(text) | Fault::Reject(text) | Fault::Killed(text) | Fault::Crash(text) => text.clone(),
    }
}

/// Whether anything but the merge, which waits for all others, can still go on.
fn goes_on(tasks: &[Task]) -> bool {
    let alive = |task: &Task| matches!(task.state, TaskState::Open | TaskState::Leased(_));
    tasks.iter().any(|task| alive(task) && (task.id != TaskId::Merge || matches!(task.state, TaskState::Leased(_))))
}

fn status(stored: &StoredJob, tasks: &[Task]) -> Status {
    match stored.job.state {
        JobState::Completed => Status::Completed,
        JobState::Partial { .. } => Status::Partial,
        JobState::Rejected { .. } | JobState::Cancelled => Status::Failed,
        _ if !stored.blocked.is_empty() && !goes_on(tasks) => Status::Failed,
        JobState::Received if tasks.iter().all(|task| task.begun_ms.is_none()) => Status::Queued,
        _ => Status::Processing,
    }
}

fn progress(stored: &StoredJob, tasks: &[Task]) -> Progress {
    let Some(plan) = &stored.job.plan else { return Progress::default() };
    let completed = stored.job.state == JobState::Completed;
    let work: Vec<&Task> = tasks.iter().filter(|task| task.id.is_part()).collect();
    let (done, all) = match &plan.video {
        Some(video) => (work.iter().filter(|task| matches!(task.work, Work::Chunk(_))).map(|task| done_of(task)).sum(), video.frames),
        None => heard(plan, &work),
    };
    let done = match &stored.job.state {
        JobState::Completed => all,
        JobState::Partial { losses } if plan.video.is_some() => all.saturating_sub(losses.frames),
        _ => u64::min(done, all),
    };
    let frames = plan.video.as_ref().map_or(0, |video| video.frames);
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let ceiling = if completed { 100 } else { 99 };
    let percent = if completed { 100 } else { done.saturating_mul(100).checked_div(all).unwrap_or(0) };
    Progress {
        frames_done: done.min(frames),
        frames,
        renditions: count(plan.video.as_ref().map_or(plan.audio.len(), |video| video.renditions.len())),
        tasks_done: count(work.iter().filter(|task| task.is_done()).count()),
        tasks: count(work.len()),
        percent: u8::try_from(percent.min(ceiling)).unwrap_or(0),
    }
}

/// Microseconds of all tracks that are encoded, and of all: a film without a picture goes by its sound.
fn heard(plan: &Plan, work: &[&Task]) -> (u64, u64) {
    let length = |track: u32| {
        let planned = usize::try_from(track).ok().and_then(|track| plan.audio.get(track));
        planned.and_then(|planned| u64::try_from(planned.end_us).ok()).unwrap_or(0)
    };
    let done = work.iter().filter_map(|task| match (&task.work, &task.state) {
        (Work::Audio { track }, TaskState::Done) => Some(length(*track)),
        (Work::Audio { track }, TaskState::Leased(_)) => Some(task.progress.min(length(*track))),
        _ => None,
    });
    (done.sum(), (0..).zip(&plan.audio).map(|(track, _)| length(track)).sum())
}

fn done_of(task: &Task) -> u64 {
    match task.state {
        TaskState::Done => task.work.total(),
        TaskState::Leased(_) => task.progress.min(task.work.total()),
        TaskState::Open | TaskState::Blocked { .. } | TaskState::Ended => 0,
    }
}

fn detail(stored: &StoredJob, tasks: &[Task], status: Status, progress: &Progress) -> String {
    let blocked = || match tasks.iter().find(|task| matches!(task.state, TaskState::Blocked { .. })).map(task_view) {
        Some(view) => view.line(),
        None => stored.blocked.first().map_or_else(String::new, |task| format!("{task} blocked")),
    };
    match &stored.job.state {
        JobState::Completed => match progress.renditions {
            1 if progress.frames == 0 => "verified: the sound, whole".into(),
            count if progress.frames == 0 => format!("verified: {count} tracks of sound, each whole"),
            1 => format!("verified: {} frames in one rendition", progress.frames),
            count => format!("verified: {} frames in each of {count} renditions", progress.frames),
        },
        JobState::Partial { losses } => losses.detail.clone(),
        JobState::Rejected { reason } => reason.clone(),
        JobState::Cancelled => "cancelled".into(),
        _ if status == Status::Failed => format!("an operator is needed: {}", blocked()),
        _ if !stored.blocked.is_empty() => format!("the other tasks go on, but an operator is needed: {}", blocked()),
        JobState::Received if status == Status::Queued => "waits for its first worker".into(),
        JobState::Received => "reads the source".into(),
        JobState::Probed => "plans the chunks".into(),
        JobState::Planned | JobState::Transcoding if progress.tasks > 0 && progress.tasks_done == progress.tasks => {
            "everything is encoded; waits for the merge".into()
        }
        JobState::Planned | JobState::Transcoding if progress.frames == 0 => {
            format!("encodes the sound: {} of {} tasks done", progress.tasks_done, progress.tasks)
        }
        JobState::Planned | JobState::Transcoding => {
            format!(
                "encodes: {} of {} frames, {} of {} tasks done",
                progress.frames_done, progress.frames, progress.tasks_done, progress.tasks
            )
        }
        JobState::Merging { .. } => "verifies the whole and publishes it".into(),
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
