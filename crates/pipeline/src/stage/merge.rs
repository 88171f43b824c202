//! All tasks are done: verify the whole, publish it in order, complete the job.

use super::{Context, attempt::Attempt, files, listing, publish};
use crate::{
    assembly::{self, Gap},
    cost::Tally,
    event::EventKind,
    fault::{Fault, Shortage},
    job::JobEvent,
    loss::{self, Losses},
    ports::{World, each_task},
    receipt,
    result::TaskResult,
    task::Task,
};

/// The work of the merge task. Its lease's fencing number is the claim: a merge with an older one cannot complete the job.
pub(super) async fn merge<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>) -> Result<TaskResult, Fault> {
    let id = &attempt.job.id;
    let mut tasks: Vec<Task> = Vec::new();
    each_task(cx.world.ledger(), id, |stored| tasks.extend(Some(stored.task).filter(|task| task.id.is_part()))).await?;
    let plan = attempt.job.plan.as_ref().ok_or_else(|| Fault::Early("the job has no plan yet".into()))?;
    let mut listings = Vec::new();
    for task in &mut tasks {
        listings.extend(listing::unfold(cx, task).await?);
    }
    let mut made = assembly::assemble(plan, &tasks).map_err(|gap| match gap {
        Gap::NotDone(_) => Fault::Early(gap.to_string()),
        Gap::Wrong(what) => Fault::escalate(Shortage::Tool, what),
        Gap::Nothing(_) => Fault::reject(gap.to_string()),
    })?;
    made.listings = listings;
    let tally = attempt.job.basis.as_ref().map(|basis| Tally::of(plan, basis, &tasks));
    drop(tasks);
    claim(cx, attempt).await?;
    publish::inits(cx, id, &made).await?;
    let files = files::files(cx, attempt, plan, &made).await?;
    let count = files.mp4s.len() + files.m4as.len();
    attempt.diary.note(cx.now(), EventKind::VideoTranscoded, format!("{count} MP4s, verified"));
    let listed = publish::media_playlists(cx, id, plan, &made).await?;
    publish::stills(cx, id, plan, &made).await?;
    publish::receipt(cx, id, &receipt::receipt(&attempt.job, plan, &made, &files.mp4s, &files.m4as, tally.as_ref())).await?;
    publish::dash(cx, id, plan, &made).await?;
    publish::master(cx, id, plan, &made).await?;
    attempt.diary.note(cx.now(), EventKind::TranscodedVideoUploaded, format!("streams/{id}/master.m3u8"));
    publish::delete_unlisted(cx, id, &listed).await?;
    complete(cx, attempt, loss::sum(plan, &made.lost)).await?;
    Ok(TaskResult::Merge)
}

async fn claim<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>) -> Result<(), Fault> {
    match cx.move_job(&attempt.job.id, &JobEvent::MergeClaimed { fence: attempt.fence }).await? {
        Ok(_) => Ok(()),
        Err(contradiction) => Err(Fault::retry(contradiction.to_string())),
    }
}

async fn complete<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>, losses: Option<Losses>) -> Result<(), Fault> {
    match cx.move_job(&attempt.job.id, &JobEvent::Completed { fence: attempt.fence, losses }).await? {
        Ok(_) => Ok(()),
        Err(contradiction) => Err(Fault::retry(contradiction.to_string())),
    }
}
