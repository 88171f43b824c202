use proptest::prelude::*;

use super::*;
use crate::{
    cost::tests::planned,
    id::{JobId, TaskId},
    profile,
    task::{Class, TaskState},
    usage::Room,
};

const SPLIT: Room = Room { memory_mb: 768, scratch_mb: 10_240 };
const WORKER: Room = Room { memory_mb: 1769, scratch_mb: 10_240 };

fn id() -> JobId {
    "0123456789abcdef01234567".parse().unwrap()
}

/// Numbers that can be multiplied by hand.
fn round() -> Prices {
    Prices {
        lambda_gb_second: 0.000_01,
        lambda_gb_second_arm64: 0.000_008,
        lambda_storage_gb_second: 0.000_000_1,
        lambda_request: 0.000_000_2,
        s3_put: 0.000_005,
        s3_get: 0.000_000_4,
        sqs_request: 0.000_000_4,
        dynamodb_write: 0.000_000_6,
        dynamodb_read: 0.000_000_1,
        storage_gb_month: 0.02,
        transfer_gb: 0.01,
        ..Prices::built_in().unwrap()
    }
}

fn basis(split: Usage, split_lost: Usage) -> Basis {
    Basis { prices: round(), architecture: "x86_64".into(), source_pixels: 1920 * 1080, split, split_lost }
}

fn done(id: TaskId, work: Work, used: Usage, lost: Usage) -> Task {
    let job = self::id();
    Task { state: TaskState::Done, used, lost, ..Task::new(&job, id, Class::Standard, work, 1) }
}

fn near(found: f64, wanted: f64) -> bool {
    // Some roundings to the ninth digit.
    (found - wanted).abs() <= 4e-9 + wanted.abs() * 1e-9
}

/// Of a film of two chunks; each chunk's attempt used this much.
fn of(used: &[Usage], lost: Usage) -> (Plan, Vec<Task>) {
    let film = planned(12, &profile::h264());
    assert_eq!(film.chunks.len(), used.len());
    let task = |(chunk, used): (&Chunk, &Usage)| done(TaskId::Chunk(chunk.number), Work::Chunk(chunk.clone()), *used, lost);
    let tasks = film.chunks.iter().zip(used).map(task).collect();
    (film.plan, tasks)
}

#[test]
fn worked_by_hand() {
    const HALF_A_GB: u64 = 512 << 20;
    let asked = Requests {
        s3_put: 4,
        s3_get: 1,
        sqs: 2,
        ledger_write_units: 16,
        ledger_read_halves: 12,
        from_s3_bytes: HALF_A_GB,
        ..Requests::default()
    };
    let chunk = Usage { cpu_ms: 9_000, requests: asked, ..Usage::of_time(WORKER, 10_000) };
    let (plan, mut tasks) = of(&[chunk, chunk], Usage::default());
    // One of them died before: its lease lasted a minute.
    tasks[0].lost = Usage::of_time(WORKER, 60_000);
    let basis = basis(Usage { cpu_ms: 500, ..Usage::of_time(SPLIT, 2_000) }, Usage::default());
    let told = Tally::of(&plan, &basis, &tasks).expense(&basis, 3 << 30);

    // 768 MB for 2 s, and twice 1769 MB for 10 s: 1.5 + 2 · 17.275390625.
    assert!(near(told.gb_seconds, 36.050_781_25), "{told:?}");
    assert!(near(told.cpu_seconds, 18.5));
    assert_eq!(told.attempts, 3);
    // 360.5078125 µ$, and 9.5 GB of disk for 22 s: 20.9 µ$.
    assert!(near(told.charge.compute_usd, 0.000_381_407_812_5), "{told:?}");
    // 3 invocations 0.6 µ$, 8 PUT 40, 2 GET 0.8, 4 + 2 · 3 SQS 4, 32 written 19.2, 12 read 1.2.
    assert!(near(told.charge.requests_usd, 0.000_065_8), "{told:?}");
    assert!(near(told.charge.transfer_usd, 0.01));
    assert!(near(told.charge.total_usd, 0.010_447_207_812_5));
    assert!(near(told.storage_usd_month, 0.06));
    // Not in the sum: 1036.5234375 µ$ of memory, 57 of disk, 0.2 of the invocation, 0.8 of the queue.
    let lost = told.lost.as_ref().unwrap();
    assert_eq!(lost.attempts, 1);
    assert!(near(lost.usd_at_most, 0.001_094_523_437_5), "{lost:?}");
    assert_eq!(told.stages.iter().map(|stage| (stage.stage.as_str(), stage.attempts)).collect::<Vec<_>>(), [("split", 1), ("chunk", 2)]);
}

#[test]
fn the_estimate_is_the_plans() {
    let (plan, tasks) = of(&[Usage::of_time(WORKER, 10_000); 2], Usage::default());
    let basis = basis(Usage::of_time(SPLIT, 2_000), Usage::default());
    let told = Tally::of(&plan, &basis, &tasks).expense(&basis, 0);
    let film = planned(12, &profile::h264());
    let memory = Memory { transcode_mb: 1769, transcode_disk_mb: 10_240, audio_mb: 1769, split_mb: 768, merge_mb: 768 };
    let model = Model::new(&film.plan, 1920 * 1080, 3.0);
    let bill = Bill::of(&model, &film.chunks.iter().collect::<Vec<_>>(), &memory, &round(), 100);
    let estimate = told.estimate.unwrap();
    assert!(near(estimate.total_usd, bill.total_usd) && near(estimate.gb_seconds, bill.gb_seconds), "{estimate:?} {bill:?}");

    let unknown = of(&[Usage::default(); 2], Usage::default());
    assert_eq!(Tally::of(&unknown.0, &basis, &unknown.1).expense(&basis, 0).estimate, None, "functions that do not say how large they are");
}

#[test]
fn arm_has_its_own_price() {
    let used = Usage::of_time(WORKER, 10_000);
    let (x86, arm) = (Charge::of(&used, &round(), "x86_64"), Charge::of(&used, &round(), "arm64"));
    assert!(near(x86.compute_usd - arm.compute_usd, used.gb_seconds() * 0.000_002));
    assert!(near(x86.requests_usd, arm.requests_usd));
}

fn usage() -> impl Strategy<Value = Usage> {
    (0u64..900_000, 0u64..10_000, 0u64..100, 0u64..100, 0u64..1 << 34).prop_map(|(ms, cpu_ms, puts, writes, bytes)| {
        let requests =
            Requests { s3_put: puts, s3_get: writes, sqs: puts, ledger_write_units: writes, to_s3_bytes: bytes, ..Requests::default() };
        Usage { cpu_ms, requests, ..Usage::of_time(WORKER, ms) }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The whole is the sum of its stages, in whatever order the records are read, and the merge comes on top; a failed
    /// attempt more is never cheaper.
    #[test]
    fn a_whole_is_the_sum_of_its_parts(a in usage(), b in usage(), split in usage(), merge in usage()) {
        let (plan, mut tasks) = of(&[a, b], Usage::default());
        let basis = basis(split, Usage::default());
        let told = Tally::of(&plan, &basis, &tasks).expense(&basis, 0);
        let parts: f64 = told.stages.iter().map(|stage| stage.total_usd).sum();
        prop_assert!(near(parts, told.charge.total_usd));
        tasks.reverse();
        let again = Tally::of(&plan, &basis, &tasks).expense(&basis, 0);
        prop_assert_eq!(serde_json::to_string(&again).unwrap(), serde_json::to_string(&told).unwrap());

        let merged = told.clone().with(&done(TaskId::Merge, Work::Merge, merge, Usage::default()));
        let alone = Charge::of(&merge, &basis.prices, "x86_64");
        prop_assert!(near(merged.charge.total_usd, told.charge.total_usd + alone.total_usd));
        prop_assert_eq!(merged.stages.len(), 3);

        tasks[0].used = tasks[0].used.plus(merge);
        let failed = Tally::of(&plan, &basis, &tasks).expense(&basis, 0);
        prop_assert!(near(failed.charge.total_usd, told.charge.total_usd + alone.total_usd));
    }

    /// What stands in the receipt is read back as it was written.
    #[test]
    fn an_expense_reads_as_it_was_written(a in usage(), b in usage(), lost in usage()) {
        let (plan, tasks) = of(&[a, b], lost);
        let basis = basis(a, lost);
        let told = Tally::of(&plan, &basis, &tasks).expense(&basis, 77);
        let text = serde_json::to_string(&told).unwrap();
        prop_assert_eq!(serde_json::from_str::<Expense>(&text).unwrap(), told);
    }
}
