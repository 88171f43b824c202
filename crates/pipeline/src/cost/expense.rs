//! What a job used, and what that costs at AWS's list prices, from the records of its tasks. Pure.
//!
//! The same on one machine, where nobody sends a bill, as on AWS: seconds and requests are measured where the task ran, and
//! the prices are those that the job was planned with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Bill, Memory, Model, Prices};
use crate::{
    plan::{Chunk, Plan},
    task::{Task, Work},
    usage::{Requests, Usage},
};

/// Requests of Lambda's poller for every attempt: it receives the message and deletes it.
const POLLER: u64 = 2;
/// As S3 counts storage and transfer.
const GB: f64 = 1_073_741_824.0;

/// What the receipt cannot hold, and why.
const LEFT_OUT: [&str; 4] = [
    "the merge that writes this (fanreel status adds it) and the ingest of the upload",
    "what an invocation does behind its task's record, messages that found nothing to do, cold starts",
    "what all jobs share: polling of empty queues, the sweep, logs and metrics, the ledger's storage",
    "what viewers download",
];

/// What a job's cost is told by: written down with its plan, and as little changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Basis {
    pub prices: Prices,
    /// `x86_64` or `arm64`: of the function that made the plan.
    pub architecture: String,
    /// Pixels of a picture of the source; 0: it has none.
    pub source_pixels: u64,
    /// What the split used until the plan was written, and what its dead attempts used at most.
    pub split: Usage,
    pub split_lost: Usage,
}

/// As AWS names the architecture of this program.
pub fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }
}

/// Dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Charge {
    /// Of memory and of ephemeral storage.
    pub compute_usd: f64,
    /// Of invocations, S3, SQS and DynamoDB.
    pub requests_usd: f64,
    pub transfer_usd: f64,
    pub total_usd: f64,
}

impl Charge {
    pub fn of(used: &Usage, prices: &Prices, architecture: &str) -> Self {
        let compute_usd = used.gb_seconds() * prices.gb_second(architecture) + used.scratch_gb_seconds() * prices.lambda_storage_gb_second;
        let asked = &used.requests;
        let attempts = f64::from(used.attempts);
        let sqs = asked.sqs.saturating_add(POLLER * u64::from(used.attempts));
        let requests_usd = attempts * prices.lambda_request
            + float(asked.s3_put) * prices.s3_put
            + float(asked.s3_get) * prices.s3_get
            + float(sqs) * prices.sqs_request
            + float(asked.ledger_write_units) * prices.dynamodb_write
            + float(asked.ledger_read_halves) / 2.0 * prices.dynamodb_read;
        let transfer_usd = float(asked.from_s3_bytes.saturating_add(asked.to_s3_bytes)) / GB * prices.transfer_gb;
        Self { compute_usd, requests_usd, transfer_usd, total_usd: compute_usd + requests_usd + transfer_usd }
    }

    fn rounded(self) -> Self {
        Self {
            compute_usd: rounded(self.compute_usd),
            requests_usd: rounded(self.requests_usd),
            transfer_usd: rounded(self.transfer_usd),
            total_usd: rounded(self.total_usd),
        }
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1e9).round() / 1e9
}

/// One stage's part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageExpense {
    pub stage: String,
    pub attempts: u32,
    pub seconds: f64,
    pub cpu_seconds: f64,
    pub gb_seconds: f64,
    pub total_usd: f64,
}

/// Attempts that died without a word. Each may have worked until its lease ran out and no longer: it is never in a sum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LostExpense {
    pub attempts: u32,
    pub seconds_at_most: f64,
    pub gb_seconds_at_most: f64,
    pub usd_at_most: f64,
}

/// What `fanreel plan` says of the same plan in functions as large as those that did it, merge and ingest included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub gb_seconds: f64,
    pub total_usd: f64,
}

/// All of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expense {
    pub gb_seconds: f64,
    pub cpu_seconds: f64,
    #[serde(flatten)]
    pub charge: Charge,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    /// Tasks in their stages' order. Attempts that failed and told so are in it.
    pub stages: Vec<StageExpense>,
    /// Of all stages together.
    pub attempts: u32,
    pub requests: Requests,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<LostExpense>,
    /// Of what was published, and what keeping it costs a month.
    pub storage_bytes: u64,
    pub storage_usd_month: f64,
    pub architecture: String,
    pub prices: Prices,
    pub left_out: Vec<String>,
}

/// Usage of done tasks by stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    stages: BTreeMap<&'static str, Usage>,
    lost: Usage,
    estimate: Option<Estimate>,
}

/// In the order in which a job goes through them.
const STAGES: [&str; 6] = ["split", "chunk", "audio", "stills", "text", "merge"];

impl Tally {
    /// Of a job whose tasks are done. `basis`: as its plan was written.
    pub fn of(plan: &Plan, basis: &Basis, tasks: &[Task]) -> Self {
        let mut tally = Self { lost: basis.split_lost, ..Self::default() };
        tally.stages.insert("split", basis.split);
        for task in tasks.iter().filter(|task| task.is_done()) {
            tally.add(task);
        }
        tally.estimate = tally.estimated(plan, basis, tasks);
        tally
    }

    fn add(&mut self, task: &Task) {
        let stage = self.stages.entry(task.work.stage()).or_default();
        *stage = stage.plus(task.used);
        self.lost = self.lost.plus(task.lost);
    }

    fn memory(&self, stage: &str) -> u32 {
        self.stages.get(stage).map_or(0, |used| used.room().memory_mb)
    }

    /// `None` where functions did not say how large they were.
    fn estimated(&self, plan: &Plan, basis: &Basis, tasks: &[Task]) -> Option<Estimate> {
        let mut chunks: Vec<&Chunk> =
            tasks.iter().filter_map(|t| if let Work::Chunk(chunk) = &t.work { Some(chunk) } else { None }).collect();
        chunks.sort_by_key(|chunk| chunk.number);
        let largest = ["chunk", "stills", "audio"].into_iter().find(|stage| self.memory(stage) > 0)?;
        let memory = Memory {
            transcode_mb: self.memory(largest),
            transcode_disk_mb: self.stages.get(largest)?.room().scratch_mb,
            audio_mb: if self.memory("audio") > 0 { self.memory("audio") } else { self.memory(largest) },
            split_mb: self.memory("split"),
            // It is not over when this is written: as large as the split, as the template has them.
            merge_mb: self.memory("split"),
        };
        let model = Model::new(plan, basis.source_pixels, 1.0);
        let bill = Bill::of(&model, &chunks, &memory, &basis.prices.on(&basis.architecture), chunks.len().max(1));
        Some(Estimate { gb_seconds: rounded(bill.gb_seconds), total_usd: rounded(bill.total_usd) })
    }

    /// What it comes to, with nine digits behind the point: what is finer says nothing, and JSON may not give it back.
    /// `storage_bytes`: of what was published.
    pub fn expense(&self, basis: &Basis, storage_bytes: u64) -> Expense {
        let charge = |used: &Usage| Charge::of(used, &basis.prices, &basis.architecture).rounded();
        let all: Usage = self.stages.values().copied().sum();
        let stage = |name: &str| {
            let used = self.stages.get(name)?;
            Some(StageExpense {
                stage: name.to_owned(),
                attempts: used.attempts,
                seconds: used.seconds(),
                cpu_seconds: used.cpu_seconds(),
                gb_seconds: rounded(used.gb_seconds()),
                total_usd: charge(used).total_usd,
            })
        };
        Expense {
            gb_seconds: rounded(all.gb_seconds()),
            cpu_seconds: all.cpu_seconds(),
            charge: charge(&all),
            estimate: self.estimate.clone(),
            stages: STAGES.into_iter().filter_map(stage).collect(),
            attempts: all.attempts,
            requests: all.requests,
            lost: lost(&self.lost, basis),
            storage_bytes,
            storage_usd_month: rounded(float(storage_bytes) / GB * basis.prices.storage_gb_month),
            architecture: basis.architecture.clone(),
            prices: basis.prices.clone(),
            left_out: LEFT_OUT.map(str::to_owned).to_vec(),
        }
    }
}

fn lost(used: &Usage, basis: &Basis) -> Option<LostExpense> {
    (used.attempts > 0).then(|| LostExpense {
        attempts: used.attempts,
        seconds_at_most: used.seconds(),
        gb_seconds_at_most: rounded(used.gb_seconds()),
        usd_at_most: Charge::of(used, &basis.prices, &basis.architecture).rounded().total_usd,
    })
}

impl Expense {
    /// The same with one task more: the merge, once its own record is there.
    #[must_use]
    pub fn with(mut self, task: &Task) -> Self {
        let charge = Charge::of(&task.used, &self.prices, &self.architecture);
        self.stages.push(StageExpense {
            stage: task.work.stage().to_owned(),
            attempts: task.used.attempts,
            seconds: task.used.seconds(),
            cpu_seconds: task.used.cpu_seconds(),
            gb_seconds: task.used.gb_seconds(),
            total_usd: charge.total_usd,
        });
        self.gb_seconds += task.used.gb_seconds();
        self.cpu_seconds += task.used.cpu_seconds();
        self.attempts = self.attempts.saturating_add(task.used.attempts);
        self.requests = self.requests.plus(task.used.requests);
        self.charge = Charge {
            compute_usd: self.charge.compute_usd + charge.compute_usd,
            requests_usd: self.charge.requests_usd + charge.requests_usd,
            transfer_usd: self.charge.transfer_usd + charge.transfer_usd,
            total_usd: self.charge.total_usd + charge.total_usd,
        };
        self
    }
}

#[expect(clippy::cast_precision_loss, reason = "for a sum of dollars")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests;
