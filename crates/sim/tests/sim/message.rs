//! What a message finds decides its end: each case alone, for the message that brought the lease and for a copy of it. And
//! what a dead letter finds.

use pipeline::{
    Fault,
    id::{JobId, TaskId},
    job::JobState,
    message::TaskMessage,
    plan::SCHEMA,
    task::{Class, Lease, Task, TaskState},
    usage::Room,
};
use sim::{Answer, Call, Moment, Scenario, State, answer, run};

const CHUNK: TaskId = TaskId::Chunk(1);
/// Which message brought the lease, and another of the same task.
const OWN: &str = "own";
const COPY: &str = "copy";
/// The lease of whoever is at work, milliseconds from now.
const LEFT_MS: u64 = 40_000;
const LEASE_MS: u64 = 60_000;
const HOUR_MS: u64 = 3_600_000;

/// What becomes of a message.
#[derive(Clone, Copy, Debug)]
enum End {
    Acknowledged,
    /// It is seen again after so many milliseconds, and a few more for the calls until then.
    Back(u64),
}
use End::{Acknowledged, Back};

/// What becomes of the task.
#[derive(Clone, Copy, Debug)]
enum Then {
    Untouched,
    Done { deaths: u32 },
    Ended,
    Blocked,
    Raised,
}

struct Case {
    finds: &'static str,
    job: JobState,
    /// The chunk's task at that time; all others are done.
    task: fn(Task, u64) -> Task,
    /// A person was told of it.
    told: bool,
    /// Of the message.
    generation: u32,
    /// Ends of the message that brought the lease, and of a copy.
    ends: [End; 2],
    then: Then,
    /// Queues that get a message.
    sent: &'static [&'static str],
}

/// A task that is done, and whose last part it was.
fn usual() -> Case {
    Case {
        finds: "its task done",
        job: JobState::Transcoding,
        task: |task, _| task,
        told: false,
        generation: 0,
        ends: [Acknowledged; 2],
        then: Then::Untouched,
        sent: &[],
    }
}

fn open(task: Task) -> Task {
    Task { state: TaskState::Open, result: None, ..task }
}

/// Held by the own message, since 20 seconds ago.
fn leased(task: Task, until_ms: u64, encoding: bool) -> Task {
    let (message, environment) = (OWN.to_owned(), "e".to_owned());
    let lease = Lease { fence: task.fence, until_ms, message, environment, encoding, since_ms: until_ms - LEASE_MS, room: Room::default() };
    Task { state: TaskState::Leased(lease), ..open(task) }
}

fn blocked(task: Task, fault: Fault) -> Task {
    Task { state: TaskState::Blocked { fault }, last_fault: Some("x".into()), ..open(task) }
}

fn older(task: Task) -> Task {
    Task { generation: 1, ..task }
}

/// Everything that a message may find.
fn cases() -> Vec<Case> {
    vec![
        Case { sent: &["merge"], ..usual() },
        Case { finds: "its task ended", task: |task, _| Task { state: TaskState::Ended, ..open(task) }, ..usual() },
        Case { finds: "its job cancelled", job: JobState::Cancelled, task: |task, _| open(task), then: Then::Ended, ..usual() },
        Case {
            finds: "its job cancelled, and a worker that does not know it yet",
            job: JobState::Cancelled,
            task: |task, now| leased(task, now + LEFT_MS, true),
            then: Then::Ended,
            ..usual()
        },
        Case { finds: "its job completed", job: JobState::Completed, ..usual() },
        Case { finds: "an open task of a later generation", task: |task, _| older(open(task)), ..usual() },
        Case { finds: "a held task of a later generation", task: |task, now| older(leased(task, now + LEFT_MS, true)), ..usual() },
        Case { finds: "a blocked task of a later generation", task: |task, _| older(blocked(task, Fault::retry("x"))), ..usual() },
        Case {
            finds: "somebody at work",
            task: |task, now| leased(task, now + LEFT_MS, true),
            ends: [Back(LEFT_MS), Acknowledged],
            ..usual()
        },
        Case { finds: "an open task", task: |task, _| open(task), then: Then::Done { deaths: 0 }, sent: &["merge"], ..usual() },
        Case {
            finds: "a lease that ran out",
            task: |task, now| leased(task, now, false),
            then: Then::Done { deaths: 1 },
            sent: &["merge"],
            ..usual()
        },
        Case {
            finds: "the second encoder that vanished",
            task: |task, now| leased(Task { deaths: 1, encode_deaths: 1, ..task }, now, true),
            then: Then::Raised,
            sent: &["transcode-large"],
            ..usual()
        },
        Case {
            finds: "the tenth worker that vanished",
            task: |task, now| leased(Task { deaths: 9, ..task }, now, false),
            then: Then::Blocked,
            sent: &["escalation"],
            ..usual()
        },
        Case {
            finds: "a task that was worked on for too long",
            task: |task, now| leased(Task { begun_ms: Some(now - 7 * HOUR_MS), ..task }, now, false),
            then: Then::Blocked,
            sent: &["escalation"],
            ..usual()
        },
        Case {
            finds: "a task of the large class",
            task: |task, _| Task { class: Class::Large, ..open(task) },
            sent: &["transcode-large"],
            ..usual()
        },
        Case { finds: "a task that waits for a person", task: |task, _| blocked(task, Fault::retry("x")), told: true, ..usual() },
        Case {
            finds: "a task that waits for a person whom nobody told",
            task: |task, _| blocked(task, Fault::retry("x")),
            sent: &["escalation"],
            ..usual()
        },
        Case { finds: "a task whose source is at fault", task: |task, _| blocked(task, Fault::reject("x")), then: Then::Ended, ..usual() },
    ]
}

/// A world that came to rest, and what it is about.
fn world() -> (State, JobId) {
    let mut state = run(&Scenario::default()).state;
    state.may_block = true;
    let job = state.jobs.keys().next().expect("a job").clone();
    (state, job)
}

fn chunk(state: &State, job: &JobId) -> Task {
    state.tasks[&(job.clone(), CHUNK)].task.clone()
}

fn text(message: &TaskMessage) -> String {
    serde_json::to_string(message).expect("a message is JSON")
}

/// Messages that were sent to each queue so far.
fn sent(state: &State) -> Vec<(String, u64)> {
    state.queues.iter().map(|(name, queue)| (name.clone(), queue.sent)).collect()
}

/// The state that a case begins in; answers the job and its task.
fn set(state: &mut State, job: &JobId, case: &Case) -> Task {
    let now = state.now_ms;
    let stored = state.jobs.get_mut(job).expect("a job");
    stored.job.state = case.job.clone();
    stored.blocked = if case.told { vec![CHUNK] } else { Vec::new() };
    let task = &mut state.tasks.get_mut(&(job.clone(), CHUNK)).expect("the chunk").task;
    *task = (case.task)(task.clone(), now);
    task.clone()
}

fn ends_as(end: End, answer: &Answer) -> bool {
    match (end, answer.back_ms) {
        (Acknowledged, None) => true,
        // Never before that: it would find the lease still held.
        (Back(ms), Some(back_ms)) => (ms..ms + 100).contains(&back_ms),
        _ => false,
    }
}

fn became(then: Then, before: &Task, after: &Task) -> bool {
    match then {
        Then::Untouched => after == before,
        Then::Done { deaths } => {
            let more = (after.attempts - before.attempts, after.fence - before.fence, after.deaths - before.deaths);
            after.is_done() && more == (1, 1, deaths)
        }
        Then::Ended => after.state == TaskState::Ended && after.fence == before.fence,
        Then::Blocked => matches!(after.state, TaskState::Blocked { .. }) && after.fence == before.fence,
        Then::Raised => (after.class, &after.state) == (Class::Large, &TaskState::Open) && after.fence == before.fence,
    }
}

#[test]
fn what_a_message_finds_decides_its_end() {
    for case in cases() {
        for (id, end) in [OWN, COPY].into_iter().zip(case.ends) {
            let (mut state, job) = world();
            let before = set(&mut state, &job, &case);
            let so_far = sent(&state);
            let message = text(&TaskMessage::new(&job, CHUNK, case.generation));
            let answer = answer(state, Call::message("transcode", id, &message));
            let (state, finds) = (&answer.state, format!("the message {id} finds {}", case.finds));
            assert!(ends_as(end, &answer), "{finds}: {:?}, and not {end:?}", answer.back_ms);
            let after = chunk(state, &job);
            assert!(became(case.then, &before, &after), "{finds}: {:?}, {before:?} became {after:?}", case.then);
            let more: Vec<String> = sent(state).into_iter().filter(|now| !so_far.contains(now)).map(|(queue, _)| queue).collect();
            assert_eq!(more, case.sent, "{finds}");
            assert_eq!(state.violations, [""; 0], "{finds}");
            let escalated = case.told || case.sent == ["escalation"];
            assert_eq!(state.jobs[&job].blocked.contains(&CHUNK), escalated, "{finds}");
            let rejected = matches!(state.jobs[&job].job.state, JobState::Rejected { .. });
            assert_eq!(rejected, case.finds.contains("at fault"), "{finds}");
        }
    }
}

#[test]
fn a_message_that_finds_nothing_dies_and_one_that_nobody_here_can_read_stays() {
    let ended = |change: &dyn Fn(&mut State, &JobId), body: &dyn Fn(TaskMessage) -> String| {
        let (mut state, job) = world();
        state.jobs.get_mut(&job).unwrap().job.state = JobState::Transcoding;
        change(&mut state, &job);
        let message = body(TaskMessage::new(&job, CHUNK, 0));
        let answer = answer(state, Call::message("transcode", OWN, &message));
        assert_eq!(answer.state.violations, [""; 0]);
        (answer.back_ms, answer.asked)
    };
    let plain = |message: TaskMessage| text(&message);
    let no_job = ended(&|state, job| drop(state.jobs.remove(job)), &plain);
    assert_eq!(no_job, (None, vec!["job"]));
    let forgotten = |state: &mut State, job: &JobId| {
        state.jobs.get_mut(job).unwrap().job.state = JobState::Cancelled;
        state.tasks.retain(|(_, id), _| *id != CHUNK);
    };
    assert_eq!(ended(&forgotten, &plain), (None, vec!["job", "task"]), "the record of a job that ended long ago");

    let nothing = |_: &mut State, _: &JobId| {};
    let (back_ms, asked) = ended(&nothing, &|message| text(&TaskMessage { schema: SCHEMA + 1, ..message }));
    assert!(back_ms.is_some_and(|ms| (HOUR_MS..HOUR_MS + 100).contains(&ms)) && asked == ["hold"], "{back_ms:?}, {asked:?}");
    let unreadable = ended(&nothing, &|_| "no task of ours".into());
    assert_eq!(unreadable, (Some(930_000), vec![]), "as long as its queue has it, until it is a dead letter");

    // It cannot be told what it finds: soon again, by chance.
    let away = |state: &mut State, _: &JobId| state.chaos.refuse_at = Some((state.ops + 1, Moment::Before));
    let (back_ms, asked) = ended(&away, &plain);
    assert!(back_ms.is_some_and(|ms| (5_000..10_100).contains(&ms)) && asked == ["job", "hold"], "{back_ms:?}, {asked:?}");
    let lost = |state: &mut State, _: &JobId| state.tasks.retain(|(_, id), _| *id != CHUNK);
    assert!(ended(&lost, &plain).0.is_some_and(|ms| (5_000..10_100).contains(&ms)), "a job that goes on has a record of it");
}

/// Whoever has the lease now may be at work: nothing is written, and when the message is seen again is not touched.
#[test]
fn a_worker_whose_lease_was_lost_stops_and_leaves_its_message_alone() {
    let (mut state, job) = world();
    state.jobs.get_mut(&job).unwrap().job.state = JobState::Transcoding;
    let task = &mut state.tasks.get_mut(&(job.clone(), CHUNK)).unwrap().task;
    *task = open(task.clone());
    let (before, begun_ms) = (task.clone(), state.now_ms);
    let taken = |task: &Task| {
        let TaskState::Leased(lease) = &task.state else { panic!("nobody has it: {:?}", task.state) };
        let lease = Lease { fence: lease.fence + 1, message: COPY.into(), environment: "another".into(), ..lease.clone() };
        Task { fence: lease.fence, state: TaskState::Leased(lease), ..task.clone() }
    };
    let meanwhile = |state: &mut State| {
        let stored = state.tasks.get_mut(&(job.clone(), CHUNK)).unwrap();
        (stored.task, stored.version) = (taken(&stored.task), stored.version + 1);
    };
    let message = text(&TaskMessage::new(&job, CHUNK, 0));
    let call = Call { meanwhile: Some((3_000, &meanwhile)), ..Call::message("transcode", OWN, &message) };
    let answer = answer(state, call);
    let after = chunk(&answer.state, &job);
    assert!(after.fence == before.fence + 2 && matches!(&after.state, TaskState::Leased(lease) if lease.environment == "another"));
    assert_eq!((after.attempts, after.faults), (before.attempts + 1, 0), "it is no fault of the task");
    let took_ms = answer.state.now_ms - begun_ms;
    assert!(took_ms < LEASE_MS / 3, "{took_ms} ms: its encoder, with a minute to go, is stopped at the next heartbeat");
    assert!(!answer.asked.contains(&"store_file"), "{:?}", answer.asked);
    // Hidden for a lease when it was taken, and never again.
    assert_eq!(answer.asked.iter().filter(|name| **name == "hold").count(), 1, "{:?}", answer.asked);
    assert!(answer.back_ms.is_some_and(|ms| (LEASE_MS..LEASE_MS + 100).contains(&ms)), "{:?}", answer.back_ms);
}

/// What becomes of a letter's task, queues that get a message, and how many people are told.
struct Letter {
    finds: &'static str,
    job: JobState,
    task: fn(Task, u64) -> Task,
    told: bool,
    then: Then,
    sent: &'static [&'static str],
    news: usize,
}

fn ignored(finds: &'static str, task: fn(Task, u64) -> Task) -> Letter {
    Letter { finds, job: JobState::Transcoding, task, told: false, then: Then::Untouched, sent: &[], news: 0 }
}

fn news(finds: &'static str, task: fn(Task, u64) -> Task) -> Letter {
    Letter { then: Then::Blocked, sent: &["escalation"], news: 1, ..ignored(finds, task) }
}

fn letters() -> Vec<Letter> {
    vec![
        ignored("its task done", |task, _| task),
        ignored("its task ended", |task, _| Task { state: TaskState::Ended, ..open(task) }),
        ignored("somebody at work", |task, now| leased(task, now + LEFT_MS, true)),
        ignored("an open task of a later generation", |task, _| older(open(task))),
        ignored("a dead worker of a later generation", |task, now| older(leased(task, now, false))),
        ignored("a later generation that waits for a person", |task, _| older(blocked(task, Fault::retry("x")))),
        Letter { job: JobState::Cancelled, ..ignored("its job cancelled, and an open task", |task, _| open(task)) },
        Letter { job: JobState::Cancelled, ..ignored("its job cancelled, and a dead worker", |task, now| leased(task, now, false)) },
        Letter { job: JobState::Completed, ..ignored("its job completed", |task, _| open(task)) },
        news("an open task", |task, _| open(task)),
        news("a dead worker", |task, now| leased(task, now, false)),
        Letter {
            then: Then::Untouched,
            ..news("a task that waits for a person whom nobody told", |task, _| blocked(task, Fault::retry("x")))
        },
        // Whoever told the others may have died before it told people; a message more would come back as one letter more.
        Letter {
            told: true,
            then: Then::Untouched,
            sent: &[],
            ..news("a task that waits for a person", |task, _| blocked(task, Fault::retry("x")))
        },
    ]
}

#[test]
fn a_dead_letter_is_news_about_a_message() {
    for letter in letters() {
        let Letter { finds, job: of_job, task, told, then, sent: expected, news } = letter;
        let (mut state, job) = world();
        let before = set(&mut state, &job, &Case { job: of_job, task, told, ..usual() });
        let so_far = sent(&state);
        let message = text(&TaskMessage::new(&job, CHUNK, 0));
        let answer = answer(state, Call::message("transcode-dead-letter", OWN, &message));
        let state = &answer.state;
        assert_eq!(answer.back_ms, None, "a letter that finds {finds} is acknowledged");
        let after = chunk(state, &job);
        assert!(became(then, &before, &after), "a letter finds {finds}: {before:?} became {after:?}");
        let more: Vec<String> = sent(state).into_iter().filter(|now| !so_far.contains(now)).map(|(queue, _)| queue).collect();
        assert_eq!(
            (&more[..], state.told.len()),
            (&expected.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()[..], news),
            "{finds}"
        );
        assert_eq!(state.jobs[&job].blocked, if news > 0 { vec![CHUNK] } else { vec![] }, "{finds}");
        let kept = state.objects.keys().filter(|key| key.starts_with("dead-letters/")).count();
        assert_eq!(kept, usize::from(matches!(then, Then::Blocked)), "a copy is kept of what a person waits for: {finds}");
        assert_eq!(state.violations, [""; 0], "{finds}");
    }
}

#[test]
fn a_letter_that_nothing_can_read_stays_and_is_shown() {
    let (state, _) = world();
    let answer = answer(state, Call::message("transcode-dead-letter", OWN, "no task of ours"));
    assert_eq!(answer.back_ms, Some(90_000), "as long as its queue has it");
    assert_eq!(answer.asked, ["store"]);
    assert!(answer.state.objects.contains_key(&format!("dead-letters/{OWN}.json")), "{:?}", answer.state.objects.keys());
}
