//! The adapters against real services over real sockets.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the answer")]

#[path = "adapters/fleet.rs"]
mod fleet;
#[path = "adapters/resume.rs"]
mod resume;
mod stand;
#[path = "adapters/stream.rs"]
mod stream;
#[path = "adapters/throttled.rs"]
mod throttled;

use std::{os::unix::fs::MetadataExt, sync::Arc, time::Duration};

use bytes::Bytes;
use cloud::Sending;
use futures::{StreamExt, TryStreamExt, future::join_all};
use pipeline::{
    Fault,
    event::{EventKind, EventRecord},
    id::{JobId, SourceRef, TaskId},
    job::{Job, JobState},
    key::ObjectKey,
    message::TaskMessage,
    plan::ByteRange,
    ports::{Blobs, Clock, Delivery, DoneSet, Ledger, Look, Outbox, Piece, all_tasks},
    result::TaskResult,
    task::{Class, Found, Taker, Task, Work},
    trace::{SpanId, TraceId},
};
use sha2::{Digest, Sha256};
use stand::Stand;

fn job(n: u64) -> Job {
    let source = SourceRef::new("videos", ObjectKey::new("uploads/a.mp4").unwrap(), None, &format!("e{n}"), 1);
    Job {
        id: JobId::of(&source, "h264", 0),
        source,
        profile: "h264".into(),
        generation: 0,
        sequencer: "0A".into(),
        state: JobState::Received,
        created_ms: n,
        updated_ms: n,
        facts: Some("h264".into()),
        plan: None,
        basis: None,
        tidied: false,
    }
}

fn task(job: &Job, id: TaskId, now: u64) -> Task {
    Task::new(&job.id, id, Class::Standard, Work::Merge, now)
}

fn leased(task: &Task, message: &str, now: u64) -> Task {
    let taker = Taker {
        message: message.into(),
        environment: "e".into(),
        lease_ms: 60_000,
        timeout_ms: 86_400_000,
        room: pipeline::usage::Room::default(),
    };
    match task.take(task.generation, &taker, now) {
        Found::Free { task, .. } => task,
        other => panic!("{other:?}"),
    }
}

/// Bytes without a pattern that a shift would hide.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_eight_writers_of_one_version_one_wins() {
    let stand = Arc::new(Stand::new().await);
    let (job, one) = (job(1), task(&job(1), TaskId::Chunk(0), 1));
    let ledger = &stand.cloud.ledger;
    let created = join_all((0..8).map(|_| ledger.create_job(&job))).await;
    assert_eq!(created.into_iter().filter(|c| *c == Ok(true)).count(), 1);

    assert_eq!(ledger.create_task(&one).await, Ok(true));
    let mut held = one;
    for round in 0..4 {
        let found = ledger.task(&job.id, TaskId::Chunk(0)).await.unwrap().unwrap();
        assert_eq!(found.task, held);
        let bids: Vec<Task> = (0..8).map(|n| leased(&found.task, &format!("m{n}"), round * 100_000 + 1)).collect();
        let won = join_all(bids.iter().map(|bid| ledger.replace_task(bid, found.version))).await;
        let won: Vec<usize> = won.into_iter().enumerate().filter(|(_, w)| *w.as_ref().unwrap()).map(|(n, _)| n).collect();
        assert_eq!(won.len(), 1, "{won:?}");
        held = bids[won[0]].clone();
    }
    assert_eq!(ledger.replace_task(&held, 1).await, Ok(false), "an old version");
    assert_eq!(ledger.replace_task(&task(&job, TaskId::Chunk(9), 1), 1).await, Ok(false), "no such item");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_whose_answer_was_lost_is_told_that_it_won() {
    let stand = Stand::new().await;
    let job = job(2);
    let lossy = stand.through(&stand::loses_the_first_answer(&stand.endpoint).await).await;
    assert_eq!(lossy.ledger.create_job(&job).await, Ok(true));
    assert_eq!(stand.cloud.ledger.create_job(&job).await, Ok(false), "it was written");

    let lossy = stand.through(&stand::loses_the_first_answer(&stand.endpoint).await).await;
    let moved = Job { state: JobState::Cancelled, ..job.clone() };
    assert_eq!(lossy.ledger.replace_job(&moved, 1).await, Ok(true));
    let stored = stand.cloud.ledger.job(&job.id).await.unwrap().unwrap();
    assert_eq!((stored.job, stored.version), (moved, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn blocked_tasks_survive_a_replace_and_absent_fields_go() {
    let stand = Stand::new().await;
    let ledger = &stand.cloud.ledger;
    let job = job(3);
    assert!(matches!(ledger.set_blocked(&job.id, TaskId::Merge, true).await, Err(Fault::Escalate { .. })), "no job, no ghost of one");
    assert_eq!(ledger.job(&job.id).await, Ok(None));
    ledger.create_job(&job).await.unwrap();
    assert_eq!(ledger.job(&job.id).await.unwrap().unwrap().blocked, []);
    for id in [TaskId::Merge, TaskId::Chunk(7), TaskId::Chunk(7)] {
        ledger.set_blocked(&job.id, id, true).await.unwrap();
    }
    let next = Job { facts: None, updated_ms: 9, ..job.clone() };
    assert_eq!(ledger.replace_job(&next, 1).await, Ok(true), "blocking is no new version");
    let stored = ledger.job(&job.id).await.unwrap().unwrap();
    assert_eq!((stored.job, stored.blocked), (next, vec![TaskId::Chunk(7), TaskId::Merge]));
    for id in [TaskId::Merge, TaskId::Chunk(7)] {
        ledger.set_blocked(&job.id, id, false).await.unwrap();
    }
    assert_eq!(ledger.job(&job.id).await.unwrap().unwrap().blocked, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn done_twice_is_done_once() {
    let stand = Stand::new().await;
    let (ledger, id) = (&stand.cloud.ledger, job(4).id);
    let sizes = join_all([0u32, 3, 3, 511].map(|number| ledger.mark_done(&id, DoneSet::Block(0), number))).await;
    assert!(sizes.iter().all(|size| matches!(size, Ok(1..=3))), "{sizes:?}");
    assert_eq!(ledger.mark_done(&id, DoneSet::Block(0), 3).await, Ok(3));
    assert_eq!(ledger.mark_done(&id, DoneSet::Block(1), 3).await, Ok(1));
    assert_eq!(ledger.mark_done(&id, DoneSet::Parent, 0).await, Ok(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_holds_open_work_only_in_order_of_time() {
    let stand = Stand::new().await;
    let ledger = &stand.cloud.ledger;
    let jobs: Vec<Job> = (10..30).map(job).collect();
    for job in &jobs {
        assert_eq!(ledger.create_job(job).await, Ok(true));
    }
    let first = &jobs[0];
    for n in 0..3u32 {
        ledger.create_task(&task(first, TaskId::Chunk(n), 40 + u64::from(n))).await.unwrap();
    }
    let held = leased(&task(first, TaskId::Chunk(1), 41), "m", 50);
    ledger.replace_task(&held, 1).await.unwrap();
    let done = leased(&task(first, TaskId::Chunk(2), 42), "m", 50).finish(1, TaskResult::Split, 51).unwrap();
    ledger.replace_task(&done, 1).await.unwrap();
    let ended = Job { state: JobState::Completed, updated_ms: 1_775_001_600_000, tidied: true, ..jobs[5].clone() };
    ledger.replace_job(&ended, 1).await.unwrap();

    let ids = |jobs: &[Job]| jobs.iter().map(|job| job.id.clone()).collect::<Vec<_>>();
    let still_open = ids(&[&jobs[..5], &jobs[6..]].concat());
    assert_eq!(ledger.open_due(1_000_000).await.unwrap(), still_open, "each once, the longest due first");
    assert_eq!(ledger.open_due(12).await.unwrap(), ids(&jobs[..3]));

    let open = ledger.list_open(3).await.unwrap();
    assert_eq!(open.iter().map(|stored| stored.job.updated_ms).collect::<Vec<_>>(), [29, 28, 27]);
    assert_eq!(ledger.list_ended("2026-04", 9).await.unwrap().into_iter().map(|s| s.job).collect::<Vec<_>>(), [ended]);
    assert_eq!(ledger.list_ended("2026-03", 9).await.unwrap(), []);
    let mut all = all_tasks(ledger, &first.id).await.unwrap();
    all.sort_by_key(|stored| stored.task.id);
    assert_eq!(all.into_iter().map(|stored| stored.task).collect::<Vec<_>>(), [task(first, TaskId::Chunk(0), 40), held, done]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tasks_of_a_long_job_come_in_pages_each_once() {
    let stand = Stand::new().await;
    let (ledger, job) = (&stand.cloud.ledger, job(6));
    let tasks: Vec<Task> = (0..230).map(|n| task(&job, TaskId::Chunk(n), u64::from(n))).collect();
    for some in tasks.chunks(20) {
        join_all(some.iter().map(|task| ledger.create_task(task))).await.into_iter().for_each(|made| assert_eq!(made, Ok(true)));
    }
    ledger.create_job(&job).await.unwrap();
    ledger.mark_done(&job.id, DoneSet::Parent, 0).await.unwrap();
    let first = ledger.tasks(&job.id, None).await.unwrap();
    assert_eq!((first.tasks.len(), first.last), (100, Some(TaskId::Chunk(99))));
    let all = all_tasks(ledger, &job.id).await.unwrap();
    assert_eq!(all.into_iter().map(|stored| stored.task).collect::<Vec<_>>(), tasks);
    assert_eq!(ledger.tasks(&job.id, Some(TaskId::Chunk(229))).await.unwrap().tasks, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_one_item_however_often_it_is_written() {
    let stand = Stand::new().await;
    let job = job(5);
    let event = |n: u32| EventRecord {
        at_ms: 1_000 + u64::from(n / 2),
        kind: EventKind::VideoTranscoded,
        job: job.id.clone(),
        task: TaskId::Chunk(n % 11),
        attempt: 1,
        environment: "e".into(),
        request: "r".into(),
        sequence: n,
        detail: String::new(),
    };
    let events: Vec<EventRecord> = (0..60).map(event).collect();
    let twice = [events.clone(), events[..7].to_vec()].concat();
    stand.cloud.ledger.record(&twice).await.unwrap();
    stand.cloud.ledger.record(&events[50..]).await.unwrap();
    assert_eq!(stand.cloud.ledger.events(&job.id).await, Ok(events));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_source_is_rejected_and_never_mixed() {
    let stand = Stand::new().await;
    let blobs = &stand.cloud.blobs;
    assert_eq!(blobs.head_source(stand.bucket(), "uploads/none.mp4").await, Ok(None));
    let key = "uploads/a b&'ü.mp4";
    blobs.store(key, Bytes::from_static(b"first film"), "video/mp4").await.unwrap();
    let source = blobs.head_source(stand.bucket(), key).await.unwrap().unwrap();
    assert_eq!((source.size, source.etag.contains('"')), (10, false));
    assert_eq!(blobs.read_source(&source, ByteRange { start: 6, end: 99 }).await, Ok(Bytes::from_static(b"film")));
    assert_eq!(blobs.read_source(&source, ByteRange { start: 10, end: 99 }).await, Ok(Bytes::new()));
    blobs.store(key, Bytes::from_static(b"other film"), "video/mp4").await.unwrap();
    let whole = ByteRange { start: 0, end: 10 };
    let refused = blobs.read_source(&source, whole).await.unwrap_err();
    assert!(matches!(&refused, Fault::Reject(why) if why.contains("replaced or removed")), "{refused:?}");
    let streamed = blobs.stream_source(&source).await.unwrap().try_collect::<Vec<_>>().await;
    assert!(matches!(streamed, Err(Fault::Reject(_))));
    blobs.delete(&[key.into(), "uploads/never.mp4".into()]).await.unwrap();
    assert!(matches!(blobs.read_source(&source, whole).await, Err(Fault::Reject(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_fetched_sparsely_and_through_a_network_that_breaks_off() {
    let stand = Stand::new().await;
    let film = noise(24 << 20);
    stand.cloud.blobs.store("uploads/film.mp4", film.clone().into(), "video/mp4").await.unwrap();
    let source = stand.cloud.blobs.head_source(stand.bucket(), "uploads/film.mp4").await.unwrap().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("source");
    let ranges = [(0, 1_000), (5_000_000, 15_000_001), (film.len() as u64 - 7, u64::MAX)].map(ByteRange::from);
    let breaking = stand.through(&stand::breaks_off(&stand.endpoint, 1_500_000, 6).await).await;
    assert_eq!(breaking.blobs.fetch_source(&source, &ranges, &to).await, Ok(10_001_008));
    let got = std::fs::read(&to).unwrap();
    assert_eq!(got.len(), film.len());
    for range in ranges {
        let [start, end] = [range.start, range.end.min(source.size)].map(|at| usize::try_from(at).unwrap());
        let at = start..end;
        assert!(got[at.clone()] == film[at.clone()], "{at:?}");
    }
    assert!(std::fs::metadata(&to).unwrap().blocks() * 512 < 12 << 20, "what was not asked for takes no room");

    // The next chunk of the same source: its headers and its tail are here already.
    let next = [(0, 1_000), (20_000_000, 20_500_000), (film.len() as u64 - 7, u64::MAX)].map(ByteRange::from);
    let to = folder.path().join("next");
    assert_eq!(breaking.blobs.fetch_source(&source, &next, &to).await, Ok(500_000));
    let got = std::fs::read(&to).unwrap();
    assert!(got[..1_000] == film[..1_000] && got[20_000_000..20_500_000] == film[20_000_000..20_500_000]);
    assert!(got[film.len() - 7..] == film[film.len() - 7..] && got.len() == film.len());

    // What lies between two ranges that are near each other is read along, and not written.
    let near = [(2_000_000, 2_010_000), (2_500_000, 2_510_000), (4_000_000, 4_010_000)].map(ByteRange::from);
    let to = folder.path().join("near");
    assert_eq!(breaking.blobs.fetch_source(&source, &near, &to).await, Ok(520_000));
    let got = std::fs::read(&to).unwrap();
    for (start, end) in [(2_000_000, 2_010_000), (2_500_000, 2_510_000), (4_000_000, 4_010_000)] {
        assert!(got[start..end] == film[start..end]);
    }
    assert!(got[2_010_000..2_500_000].iter().all(|byte| *byte == 0));

    let whole = breaking.blobs.stream_source(&source).await.unwrap();
    let streamed = whole
        .try_fold(Vec::new(), |mut all, part| async move {
            all.extend_from_slice(&part);
            Ok(all)
        })
        .await
        .unwrap();
    assert!(streamed == film);
    let never = stand.through(&stand::breaks_off(&stand.endpoint, 1_000, u32::MAX).await).await;
    let fault = never.blobs.read_source(&source, (0, 8 << 20).into()).await.unwrap_err();
    assert!(matches!(&fault, Fault::Retry(why) if why.contains("cut off")), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_is_stored_in_parts_and_read_back_checked() {
    let stand = Stand::new().await;
    let blobs = &stand.cloud.blobs;
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let film = noise((17 << 20) + 3);
    let (size, hash) = (film.len() as u64, hex::encode(Sha256::digest(&film)));
    std::fs::write(&from, &film).unwrap();
    blobs.store_file("encoded/big.mp4", &from, "video/mp4").await.unwrap();
    let head = stand.clients.s3.head_object().bucket(stand.bucket()).key("encoded/big.mp4").send().await.unwrap();
    assert_eq!(head.content_type.as_deref(), Some("video/mp4"));
    assert!(head.e_tag.unwrap().contains("-3"), "three parts");
    std::fs::write(&to, b"init").unwrap();
    blobs.append_to("encoded/big.mp4", size, Some(&hash), &to).await.unwrap();
    assert!(std::fs::read(&to).unwrap() == [b"init".to_vec(), film].concat());
    let before = std::fs::metadata(&to).unwrap().len();
    for (key, bytes) in [("encoded/big.mp4", size - 1), ("encoded/none.mp4", 5)] {
        assert!(matches!(blobs.append_to(key, bytes, Some(&hash), &to).await, Err(Fault::Retry(_))));
        assert_eq!(std::fs::metadata(&to).unwrap().len(), before, "as it was");
    }
    let missing = blobs.store_file("encoded/x.mp4", &folder.path().join("none"), "video/mp4").await;
    assert!(missing.unwrap_err().to_string().contains("none"));
    let left = stand.clients.s3.list_multipart_uploads().bucket(stand.bucket()).send().await.unwrap();
    assert_eq!(left.uploads.unwrap_or_default().len(), 0, "no parts are left lying");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_on_behind_the_key_where_it_ended() {
    let stand = Stand::new().await;
    let blobs = &stand.cloud.blobs;
    let keys = ["uploads/1 a+b", "uploads/2", "uploads/3"];
    for key in ["config/x", "uploadx/4"].into_iter().chain(keys) {
        blobs.store(key, Bytes::from_static(b"film"), "video/mp4").await.unwrap();
    }
    let look = async |after: Option<&str>, limit| {
        let listed = blobs.stored(Look { bucket: None, prefix: "uploads/", after, limit }).await.unwrap();
        (listed.objects.iter().map(|stored| stored.source.key.to_string()).collect::<Vec<_>>(), listed.next)
    };
    let told = |keys: &[&str], next: Option<&str>| (keys.iter().map(ToString::to_string).collect::<Vec<_>>(), next.map(str::to_owned));
    assert_eq!(look(None, 2).await, told(&keys[..2], Some("uploads/2")));
    assert_eq!(look(Some("uploads/2"), 2).await, told(&keys[2..], None));
    assert_eq!(look(Some("uploads/1 a+b"), 9).await, told(&keys[1..], None));
    assert_eq!(look(None, 3).await, told(&keys, None));
    assert_eq!(look(Some("zebra"), 3).await, told(&[], None));
}

/// A stored object as a piece: these ranges of it.
async fn stored(stand: &Stand, key: &str, content: &Bytes, ranges: &[(u64, u64)]) -> (Piece, Vec<u8>) {
    stand.cloud.blobs.store(key, content.clone(), "video/iso.segment").await.unwrap();
    let cut = |range: &(u64, u64)| content[usize::try_from(range.0).unwrap()..usize::try_from(range.1).unwrap()].to_vec();
    let (bytes, sha256) = (content.len() as u64, hex::encode(Sha256::digest(content)));
    let ranges: Vec<_> = ranges.iter().map(|range| (pipeline::plan::ByteRange::from(*range), cut(range))).collect();
    let (ranges, parts): (Vec<_>, Vec<_>) = ranges.into_iter().unzip();
    (Piece::Stored { key: key.into(), bytes, sha256, ranges }, parts.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_are_joined_small_ones_read_and_large_ones_copied() {
    let stand = Stand::new().await;
    let blobs = &stand.cloud.blobs;
    let head = (Piece::Bytes(Bytes::from_static(b"head")), b"head".to_vec());
    let small = stored(&stand, "streams/x/a", &noise(5_000).into(), &[(100, 2_000), (2_100, 4_900)]).await;
    let copied = 12 << 20;
    let large = stored(&stand, "streams/x/b", &noise((20 << 20) + 7).into(), &[(7, (20 << 20) + 7)]).await;
    let last = stored(&stand, "streams/x/c", &noise(900).into(), &[(0, 900)]).await;
    for (name, pieces, least) in [("small", vec![&head, &small, &last], 0), ("large", vec![&head, &small, &large, &last], copied)] {
        let key = format!("encoded/{name}.mp4");
        let (pieces, parts): (Vec<Piece>, Vec<Vec<u8>>) = pieces.into_iter().cloned().unzip();
        let whole = parts.concat();
        let joined = blobs.join(&key, &pieces, "video/mp4").await.unwrap();
        assert_eq!(joined.bytes, whole.len() as u64);
        assert!(joined.copied >= least && (least > 0 || joined.copied == 0), "{joined:?}");
        assert_eq!(joined.sha256, (least == 0).then(|| hex::encode(Sha256::digest(&whole))));
        assert!(blobs.read(&key).await.unwrap().unwrap() == whole);
    }
    let Piece::Stored { key, bytes, ranges, .. } = small.0.clone() else { unreachable!() };
    let other = Piece::Stored { key, bytes, sha256: "00".into(), ranges };
    for pieces in [vec![other.clone()], vec![large.0.clone(), other]] {
        let refused = blobs.join("encoded/wrong.mp4", &pieces, "video/mp4").await;
        assert!(matches!(&refused, Err(Fault::Retry(why)) if why.contains("was committed")), "{refused:?}");
    }
    assert_eq!(blobs.read("encoded/wrong.mp4").await, Ok(None));
    let left = stand.clients.s3.list_multipart_uploads().bucket(stand.bucket()).send().await.unwrap();
    assert_eq!(left.uploads.unwrap_or_default().len(), 0, "no parts are left lying");
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_uploads_are_ended_below_a_prefix_only() {
    let stand = Stand::new().await;
    let begin = async |key: &str| {
        stand.clients.s3.create_multipart_upload().bucket(stand.bucket()).key(key).send().await.unwrap();
    };
    for key in ["encoded/a_1.mp4", "encoded/a_1.mp4", "encoded/a_2.mp4", "encoded/b_1.mp4"] {
        begin(key).await;
    }
    stand.cloud.blobs.end_uploads("encoded/a_").await.unwrap();
    stand.cloud.blobs.end_uploads("encoded/none").await.unwrap();
    let left = stand.clients.s3.list_multipart_uploads().bucket(stand.bucket()).send().await.unwrap().uploads.unwrap_or_default();
    assert_eq!(left.iter().filter_map(|upload| upload.key()).collect::<Vec<_>>(), ["encoded/b_1.mp4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn small_objects_are_stored_once_listed_and_deleted() {
    let stand = Stand::new().await;
    let blobs = &stand.cloud.blobs;
    assert_eq!(blobs.read("jobs/a.json").await, Ok(None));
    assert_eq!(blobs.store_new("jobs/a.json", Bytes::from_static(b"1"), "application/json").await, Ok(true));
    assert_eq!(blobs.store_new("jobs/a.json", Bytes::from_static(b"2"), "application/json").await, Ok(false));
    assert_eq!(blobs.read("jobs/a.json").await, Ok(Some(Bytes::from_static(b"1"))));
    blobs.store("jobs/empty", Bytes::new(), "text/plain").await.unwrap();
    assert_eq!(blobs.read("jobs/empty").await, Ok(Some(Bytes::new())));
    let keys: Vec<String> = (0..1_050).map(|n| format!("streams/x/{n:04}")).collect();
    let stores = futures::stream::iter(&keys).map(|key| blobs.store(key, Bytes::new(), "text/plain"));
    stores.buffer_unordered(16).try_collect::<Vec<()>>().await.unwrap();
    assert_eq!(blobs.list("streams/x/", 1_010).await.unwrap(), keys[..1_010]);
    assert_eq!(blobs.list("streams/x/", 9_999).await.unwrap(), keys);
    blobs.delete(&keys).await.unwrap();
    assert_eq!(blobs.list("streams/", 10).await.unwrap(), Vec::<String>::new());
    blobs.delete(&[]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_reach_the_queue_of_their_kind_and_wait_as_told() {
    let stand = Stand::new().await;
    let outbox = &stand.cloud.outbox;
    let id = job(6).id;
    let chunks = (0..23).map(TaskId::Chunk);
    let sender = SpanId::of_attempt(&id, TaskId::Audio(0), 1);
    let mut messages: Vec<TaskMessage> =
        chunks.chain([TaskId::Audio(0), TaskId::Split]).map(|task| TaskMessage::new(&id, task, 1)).collect();
    messages.push(TaskMessage::new(&id, TaskId::Merge, 1).sent_by(Some(sender)));
    outbox.send_tasks(Class::Standard, &messages).await.unwrap();
    outbox.send_tasks(Class::Large, &messages[..1]).await.unwrap();
    let depth = async |task, class| outbox.depth(task, class).await.unwrap();
    assert_eq!(depth(TaskId::Chunk(0), Class::Standard).await, 24);
    assert_eq!(depth(TaskId::Audio(0), Class::Large).await, 1);
    assert_eq!((depth(TaskId::Split, Class::Large).await, depth(TaskId::Merge, Class::Standard).await), (1, 1));

    let queue = stand.settings.queues.merge.clone().unwrap();
    let take = async || {
        let request = stand.clients.sqs.receive_message().queue_url(&queue).message_attribute_names("All");
        let got = request.visibility_timeout(600).wait_time_seconds(1).send().await.unwrap();
        got.messages.unwrap_or_default().pop()
    };
    let message = take().await.unwrap();
    let parent = message.message_attributes().and_then(|all| all.get("traceparent")).and_then(|one| one.string_value());
    assert_eq!(parent, Some(format!("00-{}-{sender}-01", TraceId::of(&id)).as_str()));
    assert_eq!(serde_json::from_str::<TaskMessage>(message.body().unwrap()).unwrap(), messages[25]);
    assert_eq!(depth(TaskId::Merge, Class::Standard).await, 1, "in flight counts");
    let (id, receipt) = (message.message_id.unwrap(), message.receipt_handle.unwrap());
    let delivery = Delivery { message: id, receipt, queue: queue.clone(), receives: 1 };
    outbox.hold(&delivery, Duration::from_secs(300)).await;
    assert!(take().await.is_none());
    outbox.hold(&delivery, Duration::ZERO).await;
    assert!(take().await.is_some());

    let none = cloud::SqsOutbox::new(stand.clients.sqs.clone(), cloud::Queues::default());
    let fault = none.send_tasks(Class::Large, &messages[..1]).await.unwrap_err();
    assert!(fault.to_string().contains("TRANSCODE_LARGE_QUEUE_URL"), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_not_there_is_a_fault_that_passes() {
    let stand = Stand::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let gone = stand.through(&endpoint).await;
    assert!(matches!(gone.ledger.job(&job(7).id).await, Err(Fault::Retry(_))));
    let wrong = cloud::DynamoLedger::new(stand.clients.dynamodb.clone(), "no-such-table", 1);
    assert!(matches!(wrong.job(&job(7).id).await, Err(Fault::Escalate { .. })));
    assert!(stand.cloud.clock.now_ms() > 1_700_000_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_profile_that_an_upload_names_is_its_metadata_in_one_piece_or_in_parts() {
    let stand = Stand::new().await;
    let blobs = &stand.cloud.blobs;
    let dir = tempfile::tempdir().unwrap();
    for (bytes, profile) in [(1_000usize, Some("hevc")), (17 << 20, Some("av1")), (1_000, None)] {
        let (file, key) = (dir.path().join("film"), format!("uploads/{bytes}-{profile:?}"));
        std::fs::write(&file, vec![7u8; bytes]).unwrap();
        blobs.upload(&key, &file, profile, &Sending::default()).await.unwrap();
        let source = blobs.head_source("videos", &key).await.unwrap().unwrap();
        assert_eq!((source.size, blobs.wish(&source).await.unwrap().as_deref()), (bytes as u64, profile));
        std::fs::write(&file, b"another").unwrap();
        blobs.upload(&key, &file, Some("vp9"), &Sending::default()).await.unwrap();
        assert!(matches!(blobs.wish(&source).await, Err(Fault::Reject(_))), "the wish of another film");
        blobs.delete(&[key]).await.unwrap();
        assert!(matches!(blobs.wish(&source).await, Err(Fault::Reject(_))), "the wish of no film");
    }
}
