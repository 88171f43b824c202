//! News for the operator: blocked tasks, and messages that no function could read.

use super::{Context, Ending, attempt, settle};
use crate::{
    encoder::{Crash, Kept},
    fault::{Fault, Shortage},
    id::{JobId, TaskId},
    job::StoredJob,
    key,
    message::{DeadLetter, EscalationMessage, Notification, TaskMessage},
    ports::{Blobs, Delivery, Ledger, Outbox, World},
    task::{Task, TaskState},
};

/// What stood in the queue.
enum News {
    Blocked(EscalationMessage),
    /// A dead letter: news about a message, not about the task.
    Dead(TaskMessage),
}

/// Handles one message of the escalation queue or of the dead letters.
pub async fn escalation<W: World>(cx: &Context<'_, W>, delivery: &Delivery, body: &str) -> Ending {
    let dead = delivery.queue.contains("dead-letter");
    let news = if dead { serde_json::from_str(body).map(News::Dead) } else { serde_json::from_str(body).map(News::Blocked) };
    let handled = match news {
        Ok(News::Blocked(message)) => Box::pin(report(cx, &message.job, message.task)).await,
        Ok(News::Dead(message)) => Box::pin(dead_letter(cx, delivery, body, &message)).await,
        Err(error) => {
            tracing::error!(%error, body, "a message that nothing can read: it stays among the dead letters");
            if let Err(fault) = keep(cx, delivery, body, format!("nothing can read it: {error}")).await {
                tracing::warn!(%fault, "no copy of it could be kept");
            }
            return Ending::Failed;
        }
    };
    match handled {
        Ok(()) => Ending::Done,
        Err(fault) => {
            tracing::warn!(%fault, "the escalation comes back");
            Ending::Failed
        }
    }
}

/// If the task is done, leased or ended the letter changes nothing; a task that nobody works on is blocked.
async fn dead_letter<W: World>(cx: &Context<'_, W>, delivery: &Delivery, body: &str, message: &TaskMessage) -> Result<(), Fault> {
    let Some(StoredJob { job, blocked, .. }) = cx.world.ledger().job(&message.job).await? else { return Ok(()) };
    if job.state.is_ended() {
        return Ok(());
    }
    let fault = Fault::escalate(Shortage::Tool, "its message was received too often without an answer");
    let give_up = |task: &Task, now| match &task.state {
        _ if task.generation > message.generation => Err(None),
        // Blocked by an earlier handling of this letter, or by a worker that died before it told anyone.
        TaskState::Blocked { .. } => Err(Some(Box::new(task.clone()))),
        _ if attempt::is_idle(task, now) => Ok((task.given_up(fault.clone(), now), ())),
        _ => Err(None),
    };
    match cx.move_task(&message.job, message.task, give_up).await? {
        Ok((task, ())) => {
            let verdict = format!("task {} of job {} waits for an operator because of it", task.id, task.job);
            keep(cx, delivery, body, verdict).await?;
            settle::block(cx, &task).await?;
        }
        // Told of again, each return of this letter would bring one letter more.
        Err(Some(task)) if blocked.contains(&task.id) => {}
        Err(Some(task)) => settle::block(cx, &task).await?,
        Err(None) => return Ok(()),
    }
    report(cx, &message.job, message.task).await
}

/// A copy for `fanreel dead-letters`: a message in flight cannot be looked at.
async fn keep<W: World>(cx: &Context<'_, W>, delivery: &Delivery, body: &str, verdict: String) -> Result<(), Fault> {
    let letter = DeadLetter { seen_ms: cx.now(), message: delivery.message.clone(), verdict, body: body.to_owned() };
    let text = serde_json::to_vec_pretty(&letter).map_err(|e| Fault::retry(format!("a dead letter cannot be written: {e}")))?;
    cx.world.blobs().store(&key::dead_letter(&delivery.message), text.into(), "application/json").await
}

/// Leaves the operator what is needed to see and repeat the failure, and tells people.
async fn report<W: World>(cx: &Context<'_, W>, job: &JobId, id: TaskId) -> Result<(), Fault> {
    let Some(stored) = cx.world.ledger().task(job, id).await? else { return Ok(()) };
    let TaskState::Blocked { fault } = &stored.task.state else { return Ok(()) };
    let Some(StoredJob { job: owner, .. }) = cx.world.ledger().job(job).await? else { return Ok(()) };
    let key = key::reproduction(job, id, stored.task.generation);
    let crash = cx.world.blobs().read(&key::crash(job, id)).await?;
    let excerpt = cx.world.blobs().read(&key::excerpt(job, id).1).await?;
    let bundle = bundle(&owner, &stored.task, fault, (crash.as_deref(), excerpt.as_deref()))?;
    cx.world.blobs().store(&key, bundle.into(), "application/json").await?;
    tracing::error!(job = %job, task = %id, %fault, reproduction = %key, "an operator is needed: fanreel status shows the job");
    let notification = Notification {
        id: format!("{job}/{id}/{}", stored.task.generation),
        kind: "task-blocked".into(),
        job: job.clone(),
        task: id,
        bucket: owner.source.bucket.clone(),
        key: owner.source.key.to_string(),
        fault: fault.to_string(),
        reproduction: key,
        retry: format!("fanreel retry {job} --task {id}"),
    };
    cx.world.outbox().notify(&notification).await?;
    Ok(())
}

/// `kept`: what a worker kept of the last crash, if a tool broke down at all. It stands under another name where that is not
/// what the task waits for. `excerpt`: the same of one whose film was kept with it.
fn bundle(job: &crate::job::Job, task: &Task, fault: &Fault, (kept, excerpt): (Option<&[u8]>, Option<&[u8]>)) -> Result<Vec<u8>, Fault> {
    let kept: Option<Crash> = kept.and_then(|text| serde_json::from_slice(text).ok());
    let excerpt: Option<Kept> = excerpt.and_then(|text| serde_json::from_slice(text).ok());
    let (crash, earlier): (Option<Crash>, Option<Crash>) = match kept {
        Some(kept) if kept.fault() == *fault => (Some(kept), None),
        kept => (None, kept),
    };
    // A split that has a copy reads nothing else any more.
    let of_split = task.headway.as_ref().filter(|_| crash.is_some()).and_then(|headway| headway.copy.as_ref()).map(|copied| &copied.copy);
    let copy = job.plan.as_ref().and_then(|plan| plan.normalized.as_ref()).or(of_split);
    let film = copy.map_or(job.source.key.as_str(), |copy| copy.key.as_str());
    let value = serde_json::json!({
        "job": job.id, "source": job.source, "plan": job.plan, "task": task, "crash": crash, "earlier_crash": earlier, "excerpt": excerpt,
        "versions": { "fanreel": env!("CARGO_PKG_VERSION"), "layer": job.plan.as_ref().map(|plan| &plan.layer) },
        "repeat": format!(
            "fanreel reproduce {} --task {} -o DIR; by hand: fetch the task's byte ranges of {film} (all of it where the command does \
             not seek) into a sparse file of its size called `input`, write the crash's files beside it, and give the crash's program \
             its arguments there (and `input` as standard input where they say pipe:0)",
            job.id, task.id
        ),
    });
    serde_json::to_vec_pretty(&value).map_err(|e| Fault::retry(format!("the reproduction could not be written: {e}")))
}
