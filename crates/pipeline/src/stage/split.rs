//! Probe the source, plan it, write the tasks down, send them.

use serde::{Deserialize, Serialize};

use super::{Context, attempt::Attempt, intake, refused};
use crate::{
    cost::{self, Basis, Model, Prices},
    encoder::Encoder,
    excerpt::Extents,
    fault::{Fault, Shortage},
    id::{JobId, TaskId},
    job::{JobEvent, JobState},
    key,
    message::TaskMessage,
    plan::{Chunk, CutShort, Plan, Profile},
    planner::{self, Planned, Surroundings},
    ports::{Blobs, Ledger, Outbox, World, each_task},
    profile,
    result::TaskResult,
    source::SourceReport,
    task::{Class, Task, TaskState, Work},
    trace::SpanId,
};

/// Pixels of a picture above which a chunk needs the large class: 1080p and a margin.
const STANDARD_PIXELS: u64 = 2_600_000;
/// Tasks written at once.
const WRITERS: usize = 8;

/// The work of the split task.
pub(super) async fn split<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>) -> Result<TaskResult, Fault> {
    let job = &attempt.job;
    let is_first = attempt.task.attempts == 1 && attempt.task.generation == 0;
    let kept = match if is_first { None } else { kept(cx, &job.id).await? } {
        Some(kept) => kept,
        None => keep(cx, &job.id, planned(cx, attempt).await?).await?,
    };
    tracing::info!(facts = kept.facts, chunks = kept.chunks.len(), "planned");
    step(cx, &job.id, JobEvent::Probed { facts: kept.facts.clone() }).await?;
    create_tasks(cx, &job.id, &kept).await?;
    let basis = Box::new(basis(cx, attempt, kept.source_pixels).await?);
    step(cx, &job.id, JobEvent::Planned { plan: Box::new(kept.plan), basis: Some(basis) }).await?;
    Ok(TaskResult::Split)
}

/// All that comes of reading the source: it is kept, so that a source is not read, nor remuxed, once more for it.
#[derive(Serialize, Deserialize)]
struct Kept {
    plan: Plan,
    chunks: Vec<Chunk>,
    #[serde(default)]
    excerpts: Vec<Extents>,
    /// See [`Job::facts`](crate::job::Job::facts).
    #[serde(default)]
    facts: String,
    /// Of the chunks.
    #[serde(default)]
    class: Class,
    /// See [`Basis::source_pixels`].
    #[serde(default)]
    source_pixels: u64,
}

async fn planned<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>) -> Result<Kept, Fault> {
    let profile = profile_of(cx, &attempt.job.profile).await?;
    let intake::Film { report, bytes, normalized, cut_short } = intake::film(cx, attempt, profile.on_damage).await?;
    let around = Surroundings { profile: &profile, layer: cx.world.encoder().layer(), source_bytes: bytes };
    let mut planned = planner::plan_for(&report, &around, cx.policy.fan_out)?;
    planned.plan.normalized = normalized;
    planned.plan.cut_short = cut_short.map(|reason| CutShort { reason, picture_until: planner::whole_until(&report, &planned.plan) });
    has_room(&planned.plan)?;
    let (facts, class) = (planner::facts(&report, &planned.plan), class_of(&report, &planned));
    let source_pixels = source_pixels(&report, &planned);
    Ok(Kept { plan: planned.plan, chunks: planned.chunks, excerpts: planned.excerpts, facts, class, source_pixels })
}

/// `Reject`: a part of the film is read from a whole copy of it, for which no worker has room.
pub fn has_room(plan: &Plan) -> Result<(), Fault> {
    read_whole(plan).map_or(Ok(()), |why| intake::fits_on_a_disk(plan.source_bytes, why))
}

/// What of a film is read from a whole copy of it, and what to do about it.
fn read_whole(plan: &Plan) -> Option<&'static str> {
    if plan.audio.iter().any(|track| track.excerpt.is_none()) {
        return Some(
            "its sound can be read from all of it only: write it as an MP4 in one piece (ffmpeg -i IN -map 0 -c copy OUT.mp4) and \
             upload that, or cut it into parts",
        );
    }
    (!plan.subtitles.is_empty() && plan.text.is_none()).then_some(
        "its subtitles can be read from all of it only: write it anew (ffmpeg -i IN -map 0 -c copy OUT.mkv) or without them \
         (ffmpeg -i IN -map 0 -sn -c copy OUT) and upload that, or cut it into parts",
    )
}

/// What the job's cost will be told by. People's own prices stand where their profiles do; that they cannot be read costs no
/// film.
async fn basis<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>, source_pixels: u64) -> Result<Basis, Fault> {
    let own = cx.world.blobs().read(key::PRICES).await?;
    let own = own.map(|text| Prices::parse(&String::from_utf8_lossy(&text))).transpose().unwrap_or_else(|error| {
        tracing::warn!(%error, "{} is no file of prices: the built-in ones are used", key::PRICES);
        None
    });
    let unreadable = |error| Fault::escalate(Shortage::Tool, format!("the built-in prices cannot be read: {error}"));
    let prices = own.map_or_else(Prices::built_in, Ok).map_err(unreadable)?;
    // Nobody else writes it.
    let _ = attempt.prices.set(prices.clone());
    let architecture = cost::architecture().to_owned();
    let split = attempt.task.used.plus(attempt.metered.used(cx));
    Ok(Basis { prices, architecture, source_pixels, split, split_lost: attempt.task.lost })
}

/// Of the person's own file where there is one, else a built-in one. If the stack's own is missing, or the file unreadable,
/// the operator must put it there: the source is not at fault. An upload that names one there is not has only itself to
/// blame.
async fn profile_of<W: World>(cx: &Context<'_, W>, name: &str) -> Result<Profile, Fault> {
    let unreadable =
        |what: String| Fault::escalate(Shortage::Tool, format!("{what}; put the profile into {} and retry the job", key::PROFILES));
    let missing = |what: String| {
        if name == cx.policy.profile {
            return unreadable(what);
        }
        Fault::reject(format!("{what}; upload the film again with one of these as its metadata `{}`", key::PROFILE_WISH))
    };
    let own = cx.world.blobs().read(key::PROFILES).await?;
    let Some(own) = own else { return profile::by_name(name).map_err(missing) };
    let profiles = profile::Profiles::with(&String::from_utf8_lossy(&own));
    profiles.map_err(|problems| unreadable(format!("{}: {problems}", key::PROFILES)))?.get(name).map_err(missing)
}

async fn step<W: World>(cx: &Context<'_, W>, job: &JobId, event: JobEvent) -> Result<(), Fault> {
    cx.move_job(job, &event).await?.map(|_| ()).map_err(|contradiction| refused(&contradiction))
}

/// The plan is written once and never changes: a split that died after this one wrote it finds it.
async fn keep<W: World>(cx: &Context<'_, W>, job: &JobId, planned: Kept) -> Result<Kept, Fault> {
    let key = key::source_manifest(job);
    let text = serde_json::to_vec_pretty(&planned).map_err(|e| Fault::retry(format!("the plan could not be written: {e}")))?;
    if cx.world.blobs().store_new(&key, text.into(), "application/json").await? {
        return Ok(planned);
    }
    kept(cx, job).await?.ok_or_else(|| Fault::retry("the plan was there and is gone"))
}

/// What an earlier split kept.
async fn kept<W: World>(cx: &Context<'_, W>, job: &JobId) -> Result<Option<Kept>, Fault> {
    let Some(kept) = cx.world.blobs().read(&key::source_manifest(job)).await? else { return Ok(None) };
    let kept = serde_json::from_slice(&kept).map_err(|e| Fault::retry(format!("the plan of an earlier split cannot be read: {e}")))?;
    Ok(Some(kept))
}

/// The ranges of an excerpt of the plan.
pub(super) async fn extents<W: World>(cx: &Context<'_, W>, job: &JobId, number: u32) -> Result<Extents, Fault> {
    /// Of [`Kept`], the rest of which a worker needs not.
    #[derive(Deserialize)]
    struct Named {
        #[serde(default)]
        excerpts: Vec<Extents>,
    }
    let key = key::source_manifest(job);
    let missing = || {
        Fault::escalate(
            Shortage::Tool,
            format!("{key} does not name what this task reads of the film: submit the film again (fanreel submit --again)"),
        )
    };
    let text = cx.world.blobs().read(&key).await?.ok_or_else(missing)?;
    let named: Named = serde_json::from_slice(&text).map_err(|e| Fault::retry(format!("{key} cannot be read: {e}")))?;
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    named.excerpts.into_iter().nth(number).ok_or_else(missing)
}

async fn create_tasks<W: World>(cx: &Context<'_, W>, job: &JobId, kept: &Kept) -> Result<(), Fault> {
    let class = kept.class;
    let now = cx.now();
    let chunks = kept.chunks.iter().map(|chunk| Task::new(job, TaskId::Chunk(chunk.number), class, Work::Chunk(chunk.clone()), now));
    let size = |id| if id == TaskId::Stills { class } else { Class::Standard };
    let beside = kept.plan.beside_chunks().into_iter().map(|(id, work)| Task::new(job, id, size(id), work, now));
    let merge = Task::new(job, TaskId::Merge, Class::Standard, Work::Merge, now);
    let tasks: Vec<Task> = chunks.chain(beside).chain([merge]).collect();
    for some in tasks.chunks(WRITERS) {
        futures::future::try_join_all(some.iter().map(|task| cx.world.ledger().create_task(task))).await?;
    }
    Ok(())
}

/// Of a picture of the track that is encoded; 0 where there is none.
fn source_pixels(report: &SourceReport, planned: &Planned) -> u64 {
    let index = planned.plan.video.as_ref().map(|v| v.index);
    report.video.iter().find(|t| Some(t.index) == index).map_or(0, |t| u64::from(t.width) * u64::from(t.height))
}

/// The class that a plan's chunks are in.
pub fn class_of(report: &SourceReport, planned: &Planned) -> Class {
    if source_pixels(report, planned) > STANDARD_PIXELS { Class::Large } else { Class::Standard }
}

/// In which order tasks are sent: what is beside the chunks first, each is one long task beside many short ones; then chunks in the order of the
/// film, but for those that cost much more than the others. The merge is not sent.
fn in_order<'a>(plan: Option<&Plan>, tasks: Vec<&'a Task>) -> Vec<&'a Task> {
    let (mut chunks, mut beside): (Vec<&Task>, Vec<&Task>) =
        tasks.into_iter().filter(|t| t.id.is_part()).partition(|t| matches!(t.id, TaskId::Chunk(_)));
    beside.sort_by_key(|task| task.id);
    chunks.sort_by_key(|task| task.id);
    let model = plan.map(Model::relative);
    let cost = |task: &&Task| match (&model, &task.work) {
        (Some(model), Work::Chunk(chunk)) => model.chunk(chunk),
        _ => 0.0,
    };
    let costs: Vec<f64> = chunks.iter().map(cost).collect();
    beside.extend(cost::longest_first(&costs).into_iter().filter_map(|at| chunks.get(at).copied()));
    beside
}

/// Sends every task that waits for its first worker, then says so. The tail of split: repeated whenever its message is.
pub(super) async fn announce<W: World>(cx: &Context<'_, W>, job: &JobId, sender: Option<SpanId>) -> Result<(), Fault> {
    let stored = cx.existing_job(job).await?;
    if stored.job.state != JobState::Planned {
        return Ok(());
    }
    let mut tasks = Vec::new();
    each_task(cx.world.ledger(), job, |stored| tasks.extend(Some(stored.task).filter(|task| task.state == TaskState::Open))).await?;
    let open = in_order(stored.job.plan.as_ref(), tasks.iter().collect());
    for class in [Class::Standard, Class::Large] {
        let messages: Vec<_> = open.iter().filter(|t| t.class == class).map(|t| TaskMessage::of(t).sent_by(sender)).collect();
        if !messages.is_empty() {
            cx.world.outbox().send_tasks(class, &messages).await?;
        }
    }
    match cx.move_job(job, &JobEvent::Started).await? {
        Ok(_) => Ok(()),
        Err(contradiction) => {
            tracing::info!(%contradiction, "the job moved on meanwhile");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cost::tests::planned,
        excerpt::Excerpt,
        film::tests::{audio_plan, text_plan},
        job::tests::{job, plan},
        plan::AudioPlan,
    };

    #[test]
    fn a_chunk_that_takes_long_is_sent_before_the_others_and_behind_what_is_beside_them() {
        let Planned { plan, mut chunks, .. } = planned(40, &profile::h264());
        let twice = planned(12, &Profile { chunk_ms: 12_000, ..profile::h264() }).chunks.remove(0);
        chunks[3] = Chunk { number: 3, ..twice };
        let job = job().id;
        let task = |id, work| Task::new(&job, id, Class::Standard, work, 0);
        let mut tasks = vec![task(TaskId::Merge, Work::Merge), task(TaskId::Text, Work::Text)];
        tasks.extend(chunks.into_iter().rev().map(|chunk| task(TaskId::Chunk(chunk.number), Work::Chunk(chunk))));
        tasks.push(task(TaskId::Audio(0), Work::Audio { track: 0 }));
        let sent: Vec<String> = in_order(Some(&plan), tasks.iter().collect()).into_iter().map(|task| task.id.to_string()).collect();
        let of = |ids: &[TaskId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        let chunks = [3, 0, 1, 2, 4, 5, 6].map(TaskId::Chunk);
        let mut beside = [TaskId::Text, TaskId::Audio(0)];
        beside.sort_unstable();
        assert_eq!(sent, [of(&beside), of(&chunks)].concat());
    }

    #[test]
    fn only_what_is_read_from_a_whole_copy_must_fit_on_a_disk() {
        let mut plan = *plan();
        plan.audio = vec![AudioPlan { excerpt: Some(Excerpt { number: 0, bytes: 7, stretches: 1 }), ..audio_plan() }];
        assert_eq!(read_whole(&plan), None);
        plan.subtitles.push(text_plan());
        assert!(read_whole(&plan).unwrap().contains("without them"));
        plan.text = Some(Excerpt { number: 1, bytes: 7, stretches: 1 });
        assert_eq!(read_whole(&plan), None);
        plan.audio.push(audio_plan());
        assert!(read_whole(&plan).unwrap().contains("OUT.mp4"));
        plan.source_bytes = crate::encoder::MAX_WHOLE;
        assert_eq!(has_room(&plan), Ok(()));
        plan.source_bytes += 1;
        assert!(matches!(has_room(&plan), Err(Fault::Reject(why)) if why.contains("its sound can be read from all of it only")));
    }
}
