//! What a job costs on AWS Lambda.

use serde::{Deserialize, Serialize};

use super::Model;
use crate::{
    excerpt::Excerpt,
    plan::{ByteRange, Chunk, Output, Plan},
    usage::FREE_SCRATCH_MB,
};

/// Memory of one whole vCPU, MB (AWS Lambda developer guide, "Configure Lambda function memory").
const VCPU_MB: f64 = 1769.0;
/// Cores that one chunk's ffmpeg uses where it may: a decoder and its encoders beside each other (docs/benchmarks.md).
const CORES_USED: f64 = 1.4;
/// Seconds of an invocation before and after its work: the ledger, the queue, a cold start now and then.
const INVOCATION: f64 = 0.25;
/// Requests of one task by what the stages do: leases, heartbeats, events and the done-set; the queue's send, receive,
/// hold and delete.
const WRITES: f64 = 16.0;
const READS: f64 = 6.0;
const QUEUE: f64 = 6.0;
/// Bytes of one GET (crates/cloud) and of one part of an upload.
const GET_BYTES: u64 = 8 << 20;
/// Tasks beside chunks and sound: ingest, split and merge.
const CONTROL: f64 = 3.0;

/// Prices in US dollars, and what is assumed of Lambda: `prices.json`, or a file of the same shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// Date of the prices.
    pub as_of: String,
    pub region: String,
    pub source: String,
    /// On x86.
    pub lambda_gb_second: f64,
    pub lambda_gb_second_arm64: f64,
    /// For disk above 512 MB.
    pub lambda_storage_gb_second: f64,
    pub lambda_request: f64,
    pub s3_put: f64,
    pub s3_get: f64,
    pub sqs_request: f64,
    pub dynamodb_write: f64,
    pub dynamodb_read: f64,
    /// Of what was published, for a month: GB of 2^30 bytes, as S3 counts.
    pub storage_gb_month: f64,
    /// Between the functions and the bucket: nothing within one region.
    pub transfer_gb: f64,
    /// How much slower one vCPU is than the machine of `factors.json`: an assumption until a stack has been measured.
    pub lambda_slowness: f64,
    /// Of one environment from and to S3: an assumption too.
    pub lambda_bytes_per_second: f64,
}

impl Prices {
    /// As of the date in `prices.json`.
    pub fn built_in() -> Result<Self, String> {
        Self::parse(include_str!("prices.json"))
    }

    /// A file of prices; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let prices: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let all = [
            prices.lambda_gb_second,
            prices.lambda_gb_second_arm64,
            prices.lambda_storage_gb_second,
            prices.lambda_request,
            prices.s3_put,
            prices.s3_get,
            prices.sqs_request,
            prices.dynamodb_write,
            prices.dynamodb_read,
            prices.storage_gb_month,
            prices.transfer_gb,
        ];
        if all.iter().any(|price| !price.is_finite() || *price < 0.0) {
            return Err("a price is below zero".into());
        }
        if prices.lambda_slowness <= 0.0 || prices.lambda_bytes_per_second <= 0.0 {
            return Err("`lambda_slowness` and `lambda_bytes_per_second` are above zero".into());
        }
        Ok(prices)
    }

    pub(super) fn gb_second(&self, architecture: &str) -> f64 {
        if architecture == "arm64" { self.lambda_gb_second_arm64 } else { self.lambda_gb_second }
    }

    /// The same for functions of this architecture.
    pub(super) fn on(&self, architecture: &str) -> Self {
        Self { lambda_gb_second: self.gb_second(architecture), ..self.clone() }
    }
}

/// Dollars for so many bytes of films of which nothing else is known: 1080p at 30 pictures a second and 8 Mbit/s, in H.264
/// by the usual profile (2.26 CPU-seconds for a second of it, docs/benchmarks.md). Good for an order of magnitude.
pub fn rough_usd(bytes: u64, prices: &Prices) -> f64 {
    const BYTES_PER_SECOND: f64 = 1e6;
    const CPU_SECONDS: f64 = 2.26;
    float(bytes) / BYTES_PER_SECOND * CPU_SECONDS * prices.lambda_slowness * (VCPU_MB / 1024.0) * prices.lambda_gb_second
}

/// What a stack gives its functions, MB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Of the class that these chunks are in.
    pub transcode_mb: u32,
    pub transcode_disk_mb: u32,
    /// Sound and text are always in the standard class.
    pub audio_mb: u32,
    pub split_mb: u32,
    pub merge_mb: u32,
}

/// What a job costs on Lambda.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Bill {
    pub invocations: u64,
    /// Of all invocations together.
    pub gb_seconds: f64,
    /// Of the longest chunk's invocation.
    pub longest_seconds: f64,
    pub compute_usd: f64,
    /// Invocations, S3, SQS and DynamoDB requests.
    pub requests_usd: f64,
    pub total_usd: f64,
    /// Wall seconds with as many environments as there are chunks, up to `environments`.
    pub wall_seconds: f64,
}

impl Bill {
    /// Of the model's plan and its chunks. `environments`: chunks at once, at most.
    pub fn of(model: &Model<'_>, planned: &[&Chunk], memory: &Memory, prices: &Prices, environments: usize) -> Self {
        let model = model.at(prices.lambda_slowness);
        let plan = model.plan;
        let vcpus = (f64::from(memory.transcode_mb) / VCPU_MB).min(CORES_USED);
        let moved = |bytes: u64| float(bytes) / prices.lambda_bytes_per_second;
        let chunks: Vec<f64> = planned
            .iter()
            .map(|chunk| INVOCATION + model.chunk(chunk) / vcpus + moved(read(&chunk.ranges)) + moved(stored(plan, chunk)))
            .collect();
        let audio_vcpus = (f64::from(memory.audio_mb) / VCPU_MB).min(1.0);
        let audio: Vec<f64> =
            plan.audio.iter().map(|track| INVOCATION + model.audio(track) / audio_vcpus + moved(plan.reads_of(track))).collect();
        // All tracks in one task; taking text out of a file costs next to nothing beside fetching it.
        let text = (!plan.subtitles.is_empty()).then(|| INVOCATION + moved(plan.text_reads()));
        let audio: Vec<f64> = audio.into_iter().chain(text).collect();
        // In the chunks' class: their pictures are as large.
        let stills = plan.stills.iter().map(|stills| INVOCATION + model.stills(stills) / vcpus.min(1.0) + moved(read(&stills.ranges)));
        let chunks: Vec<f64> = chunks.into_iter().chain(stills).collect();
        let made: u64 = planned.iter().map(|chunk| stored(plan, chunk)).sum();
        let mp4 = plan.profile.outputs.contains(&Output::Mp4);
        let merge = INVOCATION + if mp4 { 2.0 * moved(made) } else { 0.0 };
        let split = 1.0 + float(u64::from(plan.chunks)) * 0.01;
        let gb = |mb: u32| f64::from(mb) / 1024.0;
        let encoding: f64 = chunks.iter().sum();
        let gb_seconds = encoding * gb(memory.transcode_mb)
            + audio.iter().sum::<f64>() * gb(memory.audio_mb)
            + split * gb(memory.split_mb)
            + merge * gb(memory.merge_mb);
        let disk = (encoding + audio.iter().sum::<f64>()) * gb(memory.transcode_disk_mb.saturating_sub(FREE_SCRATCH_MB));
        let compute_usd = gb_seconds * prices.lambda_gb_second + disk * prices.lambda_storage_gb_second;
        let (invocations, requests_usd) = requests(plan, planned, made, mp4, prices);
        let wall_seconds = split + super::makespan(chunks.iter().chain(&audio).copied(), environments) + merge;
        let longest_seconds = chunks.iter().copied().fold(0.0, f64::max);
        Self { invocations, gb_seconds, longest_seconds, compute_usd, requests_usd, total_usd: compute_usd + requests_usd, wall_seconds }
    }
}

/// Invocations, and the dollars of all that is paid by its number.
fn requests(plan: &Plan, chunks: &[&Chunk], made: u64, mp4: bool, prices: &Prices) -> (u64, f64) {
    let tasks = chunks.len() + plan.beside_chunks().len();
    let renditions = plan.video.as_ref().map_or(0, |v| v.renditions.len());
    let segments: usize = chunks.iter().map(|c| c.segments.len() * renditions).sum();
    let gets: u64 = chunks.iter().flat_map(|c| &c.ranges).map(|r| r.len().div_ceil(GET_BYTES)).sum();
    let fetched = |excerpt: Option<Excerpt>, bytes: u64| excerpt.map_or(0, |excerpt| excerpt.stretches) + bytes.div_ceil(GET_BYTES);
    let gets = gets + plan.audio.iter().map(|track| fetched(track.excerpt, plan.reads_of(track))).sum::<u64>();
    let gets = gets + fetched(plan.text, plan.text_reads());
    let gets = gets + plan.stills.iter().flat_map(|stills| &stills.ranges).map(|r| r.len().div_ceil(GET_BYTES)).sum::<u64>();
    let parts = if mp4 { made.div_ceil(GET_BYTES) } else { 0 };
    let tasks = count(tasks) + CONTROL;
    let invocations = tasks.round();
    let dollars = invocations * prices.lambda_request
        + tasks * (WRITES * prices.dynamodb_write + READS * prices.dynamodb_read + QUEUE * prices.sqs_request)
        + (count(segments) + float(parts) + count(plan.audio.len()) + count(plan.subtitles.len()) + 8.0) * prices.s3_put
        + (float(gets) + if mp4 { count(segments) } else { 0.0 }) * prices.s3_get;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of tasks")]
    let invocations = invocations as u64;
    (invocations, dollars)
}

/// Bytes of the source that a chunk reads.
fn read(ranges: &[ByteRange]) -> u64 {
    ranges.iter().map(|range| range.len()).sum()
}

/// Bytes that a chunk stores at most: its renditions at their caps.
fn stored(plan: &Plan, chunk: &Chunk) -> u64 {
    let Some(video) = &plan.video else { return 0 };
    let seconds = video.time_base.seconds(chunk.times.last() - chunk.times.first());
    let bits: f64 = video.renditions.iter().map(|r| f64::from(r.maxrate) * seconds).sum();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a chunk's bytes")]
    let bytes = (bits / 8.0) as u64;
    bytes
}

#[expect(clippy::cast_precision_loss, reason = "for a sum of dollars")]
fn float(number: u64) -> f64 {
    number as f64
}

fn count(number: usize) -> f64 {
    float(u64::try_from(number).unwrap_or(u64::MAX))
}
