//! Seeds a long film out of a short one that was made: `seed-film ENDPOINT BUCKET TABLE MERGE-QUEUE JOB CHUNKS`.
//!
//! The records of the short job's tasks are repeated with their times moved on, its segments are copied by the store to
//! the names that the long film's records need, and the message of the merge is sent: what stands then is what a job of
//! so many chunks leaves to its merge. Prints the id of the long film's job. For the benchmark and for tests of scale.
#![allow(clippy::print_stdout, reason = "the answer of a program")]

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use cloud::{Access, Clients, Cloud, Settings};
use futures::{StreamExt, TryStreamExt, stream};
use pipeline::{
    id::{JobId, TaskId},
    job::{Job, JobState, StoredJob},
    key::{self, ObjectKey},
    message::TaskMessage,
    plan::{Chunk, FrameTimes, Plan, VideoPlan},
    ports::{Blobs, Ledger, Outbox, all_tasks},
    result::{Listing, SegmentRecord, TaskResult, TrackRecord},
    task::{Class, Task, TaskState, Work},
};
use sha2::{Digest, Sha256};

/// Requests at a time.
const PARALLEL: usize = 16;
/// Of every seeded task.
const FENCE: u64 = 1;

/// A job whose merge was done.
struct Short {
    job: Job,
    plan: Plan,
    video: VideoPlan,
    /// By number.
    chunks: BTreeMap<u32, (Chunk, TaskResult)>,
    audio: BTreeMap<u32, TaskResult>,
}

impl Short {
    async fn read(ledger: &impl Ledger, id: &JobId) -> Result<Self> {
        let StoredJob { job, .. } = ledger.job(id).await?.with_context(|| format!("there is no job {id}"))?;
        let plan = job.plan.clone().context("the job has no plan")?;
        let video = plan.video.clone().context("the job has no picture")?;
        let (mut chunks, mut audio) = (BTreeMap::new(), BTreeMap::new());
        for stored in all_tasks(ledger, id).await? {
            let task = stored.task;
            match (task.id, task.work, task.result) {
                (TaskId::Chunk(number), Work::Chunk(chunk), Some(result)) => drop(chunks.insert(number, (chunk, result))),
                (TaskId::Audio(track), _, Some(result)) => drop(audio.insert(track, result)),
                _ => {}
            }
        }
        ensure!(chunks.len() == plan.chunks as usize && !chunks.is_empty(), "{} of {} chunks are done", chunks.len(), plan.chunks);
        Ok(Self { job, plan, video, chunks, audio })
    }
}

/// The film to be: its tasks, and the segments that must be there for them.
struct Long {
    job: Job,
    tasks: Vec<Task>,
    /// From, to.
    copies: Vec<(String, String)>,
    listings: Vec<(String, Vec<u8>)>,
}

impl Long {
    fn of(short: &Short, chunks: u32) -> Result<Self> {
        let rounds = chunks.div_ceil(short.plan.chunks);
        let mut source = short.job.source.clone();
        source.key = ObjectKey::new(format!("uploads/{chunks} chunks.mp4")).map_err(anyhow::Error::msg)?;
        let id = JobId::of(&source, &short.job.profile, short.job.generation);
        let mut long = Self {
            job: Job { id, source, state: JobState::Transcoding, tidied: false, ..short.job.clone() },
            tasks: Vec::new(),
            copies: Vec::new(),
            listings: Vec::new(),
        };
        let (mut frames, mut segment) = (0u64, 0u32);
        for number in 0..chunks {
            let (chunk, result) = &short.chunks[&(number % short.plan.chunks)];
            let moved = i64::from(number / short.plan.chunks) * (short.video.end - short.video.start);
            let times: Vec<i64> = chunk.times.iter().map(|ticks| ticks + moved).collect();
            frames += times.len() as u64;
            let chunk = Chunk { number, first_segment: segment, times: FrameTimes::new(&times).context("no frames")?, ..chunk.clone() };
            let result = long.chunk(result, &chunk, moved)?;
            segment += u32::try_from(chunk.segments.len())?;
            long.done(TaskId::Chunk(number), Work::Chunk(chunk), result);
        }
        for (track, result) in &short.audio {
            let result = long.audio(result, rounds)?;
            long.done(TaskId::Audio(*track), Work::Audio { track: *track }, result);
        }
        let end = short.video.start + (short.video.end - short.video.start) * i64::from(chunks) / i64::from(short.plan.chunks);
        let mut plan = Plan { chunks, video: Some(VideoPlan { frames, end, ..short.video.clone() }), ..short.plan.clone() };
        plan.audio.iter_mut().for_each(|track| track.end_us *= i64::from(rounds));
        long.job.plan = Some(plan);
        let merge = Task::new(&long.job.id, TaskId::Merge, Class::Standard, Work::Merge, long.job.updated_ms);
        long.tasks.push(merge);
        Ok(long)
    }

    fn done(&mut self, id: TaskId, work: Work, result: TaskResult) {
        let open = Task::new(&self.job.id, id, Class::Standard, work, self.job.updated_ms);
        self.tasks.push(Task { state: TaskState::Done, fence: FENCE, attempts: 1, result: Some(result), ..open });
    }

    fn chunk(&mut self, result: &TaskResult, chunk: &Chunk, moved: i64) -> Result<TaskResult> {
        let mut result = result.clone();
        let TaskResult::Chunk { renditions, .. } = &mut result else { anyhow::bail!("a chunk left no record of one") };
        for track in renditions {
            track.init = track.init.take().filter(|_| chunk.number == 0);
            for (number, segment) in (chunk.first_segment..).zip(&mut track.segments) {
                self.place(segment, key::segment(&self.job.id, &track.rendition, number, FENCE), moved);
            }
        }
        Ok(result)
    }

    /// The record is too large for the ledger, as that of any long sound.
    fn audio(&mut self, result: &TaskResult, rounds: u32) -> Result<TaskResult> {
        let TaskResult::Audio { track, cost, lost } = result.clone() else { anyhow::bail!("an audio task left no record of one") };
        let mut segments: Vec<SegmentRecord> = Vec::new();
        let mut end = 0;
        for (number, (round, segment)) in (0..rounds).flat_map(|round| track.segments.iter().map(move |s| (round, s))).enumerate() {
            let mut segment = segment.clone();
            if round > 0 {
                // What nobody hears at a film's beginning, the encoder's priming, is heard in the middle of one.
                let samples = segment.samples.unpack().map_err(anyhow::Error::msg)?;
                segment.duration = samples.durations.iter().copied().map(i64::from).sum();
            }
            let (key, moved) = (key::segment(&self.job.id, &track.rendition, u32::try_from(number)?, FENCE), end - segment.start);
            self.place(&mut segment, key, moved);
            end += segment.duration;
            segments.push(segment);
        }
        let text = serde_json::to_vec(&segments)?;
        let listing = Listing {
            key: key::listing(&self.job.id, &track.rendition, 0, FENCE),
            sha256: hex::encode(Sha256::digest(&text)),
            segments_bytes: segments.iter().map(|segment| segment.bytes).sum(),
        };
        self.listings.push((listing.key.clone(), text));
        Ok(TaskResult::Audio { track: TrackRecord { segments: Vec::new(), listing: Some(listing), ..track }, cost, lost })
    }

    fn place(&mut self, segment: &mut SegmentRecord, key: String, moved: i64) {
        segment.start += moved;
        self.copies.push((std::mem::replace(&mut segment.key, key.clone()), key));
    }

    async fn seed(&self, clients: &Clients, cloud: &Cloud, bucket: &str) -> Result<()> {
        let copy = |(from, to): &(String, String)| {
            let request = clients.s3.copy_object().bucket(bucket).copy_source(format!("{bucket}/{from}")).key(to);
            async move { request.send().await.map(drop).context("copying a segment") }
        };
        stream::iter(&self.copies).map(copy).buffer_unordered(PARALLEL).try_collect::<()>().await?;
        for (key, text) in &self.listings {
            cloud.blobs.store(key, text.clone().into(), "application/json").await?;
        }
        let written = stream::iter(&self.tasks).map(|task| cloud.ledger.create_task(task)).buffer_unordered(PARALLEL);
        written.try_for_each(|_| std::future::ready(Ok(()))).await?;
        ensure!(cloud.ledger.create_job(&self.job).await?, "the job {} was seeded before", self.job.id);
        Ok(cloud.outbox.send_tasks(Class::Standard, &[TaskMessage::new(&self.job.id, TaskId::Merge, 0)]).await?)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, bucket, table, queue, job, chunks] = arguments.as_slice() else {
        anyhow::bail!("seed-film ENDPOINT BUCKET TABLE MERGE-QUEUE JOB CHUNKS");
    };
    let settings = Settings::read(|name| match name {
        "BUCKET" => Some(bucket.clone()),
        "TABLE" => Some(table.clone()),
        "MERGE_QUEUE_URL" => Some(queue.clone()),
        _ => None,
    })?;
    let keys = Some(("test".into(), "test".into()));
    let clients = Clients::new(&Access { endpoint: Some(endpoint.clone()), region: Some("us-east-1".into()), keys }).await;
    let cloud = Cloud::over(&clients, &settings);
    let short = Short::read(&cloud.ledger, &job.parse().map_err(anyhow::Error::msg)?).await?;
    let long = Long::of(&short, chunks.parse()?)?;
    long.seed(&clients, &cloud, bucket).await?;
    println!("{}", long.job.id);
    Ok(())
}
