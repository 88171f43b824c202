use super::*;
use crate::loss::Losses;
use crate::{
    Shortage,
    id::SourceRef,
    job::Job,
    key::ObjectKey,
    plan::{Chunk, Colors, FrameTimes, Plan, Rendition, VideoPlan},
    task::Lease,
    timebase::TimeBase,
};

const FRAMES: u32 = 120;

fn stored(state: JobState) -> StoredJob {
    let source = SourceRef::new("videos", ObjectKey::new("uploads/my film+1.mp4").unwrap(), None, "e", 1234);
    let rendition = |name: &str| Rendition { name: name.into(), width: 1280, height: 720, maxrate: 1, bufsize: 1 };
    let video = VideoPlan {
        index: 0,
        codec: "h264".into(),
        time_base: TimeBase::MILLIS,
        origin: 0,
        frames: u64::from(FRAMES) * 4,
        start: 0,
        end: 16_000,
        frame_rate: 30.0,
        deinterlace: false,
        colors: Colors::default(),
        renditions: vec![rendition("720p"), rendition("480p")],
    };
    let plan = Plan {
        schema: 1,
        layer: "l".into(),
        profile: crate::profile::h264(),
        source_bytes: 1234,
        container: "mov".into(),
        video: Some(video),
        audio: vec![],
        subtitles: vec![],
        text: None,
        stills: None,
        cut_short: None,
        normalized: None,
        chunks: 4,
        left_out: vec![],
    };
    let planned = !matches!(state, JobState::Received | JobState::Probed | JobState::Rejected { .. });
    let job = Job {
        id: "7f3a91c20123456789abcdef".parse().unwrap(),
        source,
        profile: "h264".into(),
        generation: 0,
        sequencer: String::new(),
        state,
        created_ms: 1,
        updated_ms: 2,
        facts: None,
        plan: planned.then_some(plan),
        basis: None,
        tidied: false,
    };
    StoredJob { job, version: 1, blocked: vec![] }
}

fn chunk(number: u32) -> Task {
    let times: Vec<i64> = (0..i64::from(FRAMES)).collect();
    let chunk = Chunk {
        number,
        first_segment: number,
        start_us: 0,
        end_us: None,
        seek_us: None,
        times: FrameTimes::new(&times).unwrap(),
        keyframes: vec![0],
        segments: vec![0],
        ranges: vec![],
    };
    let job = stored(JobState::Received).job.id;
    Task::new(&job, TaskId::Chunk(number), Class::Standard, Work::Chunk(chunk), 1)
}

fn other(id: TaskId, work: Work) -> Task {
    Task::new(&stored(JobState::Received).job.id, id, Class::Standard, work, 1)
}

fn leased(task: Task, progress: u64, attempts: u32) -> Task {
    let lease = Lease {
        fence: 1,
        until_ms: 9,
        message: "m".into(),
        environment: "e".into(),
        encoding: true,
        since_ms: 0,
        room: crate::usage::Room::default(),
    };
    Task { state: TaskState::Leased(lease), progress, attempts, begun_ms: Some(1), ..task }
}

fn done(task: Task) -> Task {
    Task { state: TaskState::Done, attempts: 1, begun_ms: Some(1), ..task }
}

fn blocked(task: Task, fault: Fault) -> Task {
    Task { last_fault: Some(fault.to_string()), state: TaskState::Blocked { fault }, attempts: 2, begun_ms: Some(1), ..task }
}

fn at_work() -> Vec<Task> {
    let memory = Fault::escalate(Shortage::Memory, "killed by signal 9");
    vec![
        other(TaskId::Merge, Work::Merge),
        done(other(TaskId::Audio(0), Work::Audio { track: 0 })),
        done(other(TaskId::Split, Work::Split)),
        done(chunk(0)),
        done(chunk(1)),
        leased(chunk(2), 60, 2),
        blocked(chunk(3), memory),
    ]
}

#[test]
fn a_line_names_what_needs_a_word() {
    let mut job = stored(JobState::Transcoding);
    job.blocked.push(TaskId::Chunk(3));
    let view = JobView::of(&job, &at_work());
    assert_eq!(view.line(), "7f3a91c2… escalated 3/5 | c00002 attempt 2 | c00003 blocked: out of memory");
    assert_eq!((view.status, view.is_settled()), (Status::Processing, false));
    assert_eq!(view.progress, Progress { frames_done: 300, frames: 480, renditions: 2, tasks_done: 3, tasks: 5, percent: 62 });
    assert_eq!(view.detail, "the other tasks go on, but an operator is needed: c00003 blocked: out of memory");
}

#[test]
fn a_blocked_job_fails_once_nothing_else_goes_on() {
    let mut job = stored(JobState::Transcoding);
    job.blocked.push(TaskId::Chunk(3));
    let mut tasks = at_work();
    tasks[5] = done(chunk(2));
    let view = JobView::of(&job, &tasks);
    assert_eq!((view.status, view.state), (Status::Failed, "escalated"));
    assert_eq!(view.detail, "an operator is needed: c00003 blocked: out of memory");
    assert!(view.is_settled());
}

#[test]
fn a_blocked_split_fails_the_job() {
    let mut job = stored(JobState::Received);
    job.blocked.push(TaskId::Split);
    let tasks = [blocked(other(TaskId::Split, Work::Split), Fault::retry("s3 said 503"))];
    let view = JobView::of(&job, &tasks);
    assert_eq!((view.status, view.detail.as_str()), (Status::Failed, "an operator is needed: split blocked: s3 said 503"));
}

#[test]
fn every_state_has_its_words() {
    let split = |state: TaskState| Task { state, ..other(TaskId::Split, Work::Split) };
    let finished: Vec<Task> = (0..4).map(|n| done(chunk(n))).chain([other(TaskId::Merge, Work::Merge)]).collect();
    let cases = [
        (JobState::Received, vec![]),
        (JobState::Received, vec![split(TaskState::Open)]),
        (JobState::Received, vec![leased(split(TaskState::Open), 0, 1)]),
        (JobState::Probed, vec![leased(split(TaskState::Open), 0, 1)]),
        (JobState::Planned, vec![chunk(0), chunk(1), chunk(2), chunk(3)]),
        (JobState::Transcoding, vec![leased(chunk(0), 500, 1), chunk(1), chunk(2), chunk(3)]),
        (JobState::Transcoding, finished.clone()),
        (JobState::Merging { fence: 1 }, finished),
        (JobState::Completed, vec![]),
        (JobState::Partial { losses: Losses { frames: 120, detail: "saved in part: …".into() } }, vec![]),
        (JobState::Rejected { reason: "the file is empty: the upload was not finished".into() }, vec![]),
        (JobState::Cancelled, vec![]),
    ];
    let text: Vec<String> = cases
        .into_iter()
        .map(|(state, tasks)| {
            let view = JobView::of(&stored(state), &tasks);
            format!("{:<10} {:>3} % | {} | {}", view.status, view.progress.percent, view.line(), view.detail)
        })
        .collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn many_notable_tasks_are_counted_and_an_open_attempt_counts_no_frames() {
    let tasks: Vec<Task> = (0..9).map(|n| Task { attempts: 2, progress: 50, ..chunk(n) }).collect();
    let view = JobView::of(&stored(JobState::Transcoding), &tasks);
    assert!(view.line().ends_with("| c00005 attempt 2 | and 3 more"), "{}", view.line());
    assert_eq!(view.progress.frames_done, 0);
}

#[test]
fn scripts_read_stable_names() {
    let view = JobView::of(&stored(JobState::Transcoding), &[leased(chunk(0), 60, 2)]);
    insta::assert_json_snapshot!(view);
}
