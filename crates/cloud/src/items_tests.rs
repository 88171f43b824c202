use super::*;
use pipeline::{
    cost::{Basis, Prices},
    event::EventKind,
    fleet::{MemberState, Vitals},
    id::SourceRef,
    job::JobState,
    key::ObjectKey,
    plan::{AudioPlan, ByteRange, Chunk, Colors, FrameTimes, Plan, Rendition, Role, VideoPlan},
    result::{Cost, SegmentRecord, TaskResult, TextFile, TextRecord, TrackRecord},
    samples::SampleTable,
    task::{Class, Lease, Work},
    timebase::TimeBase,
    usage::{Room, Usage},
};
use proptest::{option, prelude::*};

/// What a store holds after `record` was written over `before`, as `UpdateItem` does it.
fn written(before: Item, record: Record) -> Item {
    let mut item = before;
    for name in &record.remove {
        item.remove(name);
    }
    item.extend(record.into_item());
    item
}

fn words() -> impl Strategy<Value = String> {
    "\\PC{0,12}"
}
fn ms() -> impl Strategy<Value = u64> {
    0u64..4_000_000_000_000
}
fn base() -> impl Strategy<Value = TimeBase> {
    (1u32.., 1u32..).prop_map(|(num, den)| TimeBase::new(num, den).unwrap())
}
fn shortage() -> impl Strategy<Value = Shortage> {
    prop::sample::select(vec![Shortage::Memory, Shortage::Disk, Shortage::Time, Shortage::Tool])
}
fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        words().prop_map(Fault::Retry),
        words().prop_map(Fault::Reject),
        (shortage(), words()).prop_map(|(reason, detail)| Fault::Escalate { reason, detail }),
    ]
}

fn video() -> impl Strategy<Value = VideoPlan> {
    (words(), base(), any::<(i64, i64, i64)>(), any::<u64>(), 0.0f64..1e6).prop_map(
        |(codec, time_base, (origin, start, end), frames, frame_rate)| {
            let colors = Colors { primaries: codec.clone(), ..Colors::default() };
            let rendition = Rendition { name: "720p".into(), width: 1280, height: 720, maxrate: 1, bufsize: 2 };
            VideoPlan {
                index: 0,
                codec,
                time_base,
                origin,
                frames,
                start,
                end,
                frame_rate,
                deinterlace: false,
                colors,
                renditions: vec![rendition],
            }
        },
    )
}
fn plan() -> impl Strategy<Value = Plan> {
    let audio = (words(), base(), any::<(i64, i64, i64)>()).prop_map(|(language, time_base, (origin_us, start_us, end_us))| AudioPlan {
        codec: "opus".into(),
        name: "audio".into(),
        index: 1,
        position: 0,
        language,
        title: "Director's cut".into(),
        default: true,
        role: Role::Commentary,
        channels: 6,
        time_base,
        origin_us,
        start_us,
        end_us,
        silence_us: start_us,
        bitrate: 128_000,
        excerpt: None,
    });
    (option::of(video()), prop::collection::vec(audio, 0..3), any::<u64>(), prop::collection::vec(words(), 0..3)).prop_map(
        |(video, audio, source_bytes, left_out)| Plan {
            schema: 1,
            layer: "l".into(),
            profile: pipeline::profile::h264(),
            source_bytes,
            container: "mov".into(),
            video,
            audio,
            subtitles: vec![],
            text: Some(pipeline::excerpt::Excerpt { number: 3, bytes: 7, stretches: 2 }),
            stills: None,
            cut_short: None,
            normalized: None,
            chunks: 3,
            left_out,
        },
    )
}
fn job_state() -> impl Strategy<Value = JobState> {
    prop_oneof![
        prop::sample::select(vec![JobState::Received, JobState::Probed, JobState::Transcoding, JobState::Completed, JobState::Cancelled]),
        any::<u64>().prop_map(|fence| JobState::Merging { fence }),
        words().prop_map(|reason| JobState::Rejected { reason }),
    ]
}
fn basis() -> Basis {
    let used = Usage { cpu_ms: 7, ..Usage::of_time(Room { memory_mb: 768, scratch_mb: 10_240 }, 1_234) };
    let prices = Prices::built_in().unwrap();
    Basis { prices, architecture: "arm64".into(), source_pixels: 2_073_600, split: used, split_lost: Usage::default() }
}
fn job() -> impl Strategy<Value = Job> {
    (option::of("\\PC{1,9}"), job_state(), (ms(), ms()), option::of(words()), option::of(plan())).prop_map(
        |(version, state, (created_ms, updated_ms), facts, plan)| {
            let source = SourceRef::new("b", ObjectKey::new("uploads/ä b.mp4").unwrap(), version, "e", 7);
            let id = JobId::of(&source, "h264", 0);
            Job {
                id,
                source,
                profile: "h264".into(),
                generation: 0,
                sequencer: String::new(),
                state,
                created_ms,
                updated_ms,
                facts,
                basis: plan.as_ref().map(|_| Box::new(basis())),
                plan,
                tidied: false,
            }
        },
    )
}

fn chunk() -> impl Strategy<Value = Work> {
    let times = prop::collection::btree_set(any::<i32>().prop_map(i64::from), 1..50);
    (times, any::<i64>(), option::of(any::<i64>()), prop::collection::vec(any::<(u64, u64)>(), 0..4)).prop_map(
        |(times, from, to, ranges)| {
            let chunk = serde_json::json!({
                "number": 1, "first_segment": 1, "start_us": from, "end_us": to, "seek_us": to,
                "times": FrameTimes::new(&times.into_iter().collect::<Vec<_>>()), "keyframes": [0, 5], "segments": [0],
                "ranges": ranges.into_iter().map(ByteRange::from).collect::<Vec<_>>(),
            });
            Work::Chunk(serde_json::from_value::<Chunk>(chunk).unwrap())
        },
    )
}
fn level(number: u32) -> pipeline::loudness::Level {
    pipeline::loudness::Level { loudness: -i32::try_from(number / 2).unwrap_or(0), peak: i32::MIN }
}

fn result() -> impl Strategy<Value = TaskResult> {
    let segment = (any::<(i64, i64)>(), any::<u64>()).prop_map(|((start, duration), bytes)| SegmentRecord {
        key: "k".into(),
        bytes,
        sha256: "s".into(),
        start,
        duration,
        frames: 9,
        samples: SampleTable::default(),
    });
    let track = (option::of(words()), option::of(any::<u32>()), prop::collection::vec(segment, 0..4)).prop_map(|(init, rate, segments)| {
        TrackRecord {
            rendition: "720p".into(),
            codec: "avc1".into(),
            init_sha256: "i".into(),
            init,
            sample_rate: rate,
            channels: rate,
            loudness: rate.map(|rate| pipeline::loudness::Loudness {
                source: level(rate),
                gain: i32::try_from(rate / 2).unwrap_or(0),
                made: level(rate),
            }),
            segments,
            listing: None,
        }
    });
    let track = track.boxed();
    let text = prop_oneof![
        words().prop_map(|reason| TextRecord::LeftOut { reason }),
        (words(), any::<u32>(), any::<bool>()).prop_map(|(key, cues, damaged)| {
            TextRecord::Made(TextFile { key, bytes: 7, sha256: "s".into(), cues, dropped: 1, damaged })
        }),
    ];
    prop_oneof![
        Just(TaskResult::Split),
        Just(TaskResult::Merge),
        prop::collection::vec(track.clone(), 0..3).prop_map(|renditions| TaskResult::Chunk {
            cost: Cost::default(),
            lost: (renditions.len() == 1).then(|| "frame 3 is missing".into()),
            renditions,
            quality: None
        }),
        track.prop_map(|track| TaskResult::Audio { track, cost: Cost { read_bytes: 1, stored_bytes: 2, wall_ms: 3 }, lost: vec![(1, 2)] }),
        prop::collection::vec(text, 0..3).prop_map(|tracks| TaskResult::Text { tracks, cost: Cost::default() }),
    ]
}
fn task_state() -> impl Strategy<Value = TaskState> {
    let lease = (any::<u64>(), ms(), words(), any::<bool>()).prop_map(|(fence, until_ms, message, encoding)| {
        TaskState::Leased(Lease {
            fence,
            until_ms,
            message,
            environment: "e".into(),
            encoding,
            since_ms: until_ms / 2,
            room: Room { memory_mb: 1769, scratch_mb: 512 },
        })
    });
    prop_oneof![
        Just(TaskState::Open),
        Just(TaskState::Done),
        Just(TaskState::Ended),
        lease,
        fault().prop_map(|fault| TaskState::Blocked { fault })
    ]
}
fn task() -> impl Strategy<Value = Task> {
    let work =
        prop_oneof![Just(Work::Split), Just(Work::Text), Just(Work::Merge), any::<u32>().prop_map(|track| Work::Audio { track }), chunk()];
    (task_state(), work, option::of(result()), option::of(words()), (option::of(ms()), option::of(ms()), ms())).prop_map(
        |(state, work, result, last_fault, (begun_ms, resent_ms, updated_ms))| {
            let job: JobId = "0123456789abcdef01234567".parse().unwrap();
            let fresh = Task::new(&job, TaskId::Chunk(1), Class::Large, work, 1);
            let used = Usage::of_time(Room { memory_mb: 1769, scratch_mb: 10_240 }, updated_ms % 900_000);
            Task { state, result, last_fault, begun_ms, resent_ms, updated_ms, used, lost: used, ..fresh }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever was there before, a replaced job reads as it was written; what others added is still there.
    #[test]
    fn a_job_reads_as_it_was_written(before in job(), after in job()) {
        let mut item = written(Item::new(), Record::of_job(&before).unwrap());
        item.insert("blocked".into(), AttributeValue::Ss(vec!["merge".into(), "c00002".into()]));
        let stored = stored_job(written(item, Record::of_job(&after).unwrap())).unwrap();
        prop_assert_eq!(stored.job, after);
        prop_assert_eq!(stored.blocked, vec![TaskId::Chunk(2), TaskId::Merge]);
    }

    #[test]
    fn a_task_reads_as_it_was_written(before in task(), after in task()) {
        let item = written(written(Item::new(), Record::of_task(&before, 60).unwrap()), Record::of_task(&after, 60).unwrap());
        let place = open_item(&item);
        prop_assert_eq!(item.contains_key("shard"), matches!(after.state, TaskState::Open | TaskState::Leased(_)));
        prop_assert_eq!(stored_task(item).unwrap().task, after.clone());
        prop_assert_eq!(place.unwrap().task, Some(after.id));
    }

    /// No attribute of the ledger's own hides a field.
    #[test]
    fn the_ledgers_attributes_are_nobodys_fields(job in job(), task in task()) {
        let own = ["pk", "sk", "version", "token", "shard", "due", "expires", "blocked", "done"];
        let fields: Vec<Item> = vec![
            serde_dynamo::aws_sdk_dynamodb_1::to_item(&job).unwrap(),
            serde_dynamo::aws_sdk_dynamodb_1::to_item(&task).unwrap(),
        ];
        prop_assert!(fields.iter().all(|item| own.iter().all(|name| !item.contains_key(*name))));
    }
}

#[test]
fn ended_jobs_are_listed_by_month_and_open_ones_by_shard() {
    assert_eq!(ended_shard(1_775_001_599_999), "ended#2026-03");
    assert_eq!(ended_shard(1_775_001_600_000), "ended#2026-04");
    let job: JobId = "0123456789abcdef0123456f".parse().unwrap();
    assert_eq!(shard_of(&job), "open#6");
}

#[test]
fn a_chunk_of_too_many_frame_times_is_refused_in_words() {
    let job: JobId = "0123456789abcdef01234567".parse().unwrap();
    let times: Vec<i64> = (0..60_000i64).map(|n| n * n).collect();
    let chunk = serde_json::json!({"number": 0, "first_segment": 0, "start_us": 0, "end_us": null, "seek_us": null,
        "times": FrameTimes::new(&times), "keyframes": [0], "segments": [0], "ranges": []});
    let task = Task::new(&job, TaskId::Chunk(0), Class::Standard, Work::Chunk(serde_json::from_value(chunk).unwrap()), 0);
    let fault = Record::of_task(&task, 1).unwrap_err();
    assert!(fault.to_string().contains("task#c00000 would take"), "{fault}");
}

/// DynamoDB drops it then, two hours after the last word of who is gone and a day after that of another.
#[test]
fn a_row_of_the_fleet_says_until_when_it_is_kept() {
    let kept_s = |state: MemberState| {
        let member = Member {
            environment: "e".into(),
            function: "transcode".into(),
            node: "n".into(),
            incarnation: 1,
            sequence: 2,
            at_ms: 1_775_001_600_999,
            state,
            job: "0123456789abcdef01234567".parse().unwrap(),
            task: TaskId::Merge,
            vitals: Vitals::default(),
        };
        let item = Record::of_member(&member).unwrap().into_item();
        let expires = number(&item, "expires");
        assert_eq!(value::<Member>(item).unwrap(), member);
        expires - 1_775_001_600
    };
    let states = [MemberState::Gone, MemberState::Working, MemberState::Idle, MemberState::Error];
    assert_eq!(states.map(kept_s), [7_200, 86_400, 86_400, 86_400]);
}

#[test]
fn an_event_reads_as_it_was_written() {
    let event = EventRecord {
        at_ms: 5_000,
        kind: EventKind::TaskReceived,
        job: "0123456789abcdef01234567".parse().unwrap(),
        task: TaskId::Merge,
        attempt: 1,
        environment: "e".into(),
        request: "r".into(),
        sequence: 2,
        detail: String::new(),
    };
    let item = Record::of_event(&event, 10).unwrap().into_item();
    assert_eq!(item.get("expires"), Some(&n(15)));
    assert_eq!(value::<EventRecord>(item).unwrap(), event);
}
