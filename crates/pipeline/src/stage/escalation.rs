//! News for the operator: blocked tasks, and messages that no function could read.

use super::{Context, Ending, attempt};
use crate::{
    fault::{Fault, Shortage},
    id::{JobId, TaskId},
    job::StoredJob,
    key,
    message::{EscalationMessage, TaskMessage},
    ports::{Blobs, Delivery, Ledger, World},
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
        Ok(News::Dead(message)) => Box::pin(dead_letter(cx, &message)).await,
        Err(error) => {
            tracing::error!(%error, body, "a message that nothing can read: it stays among the dead letters");
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
async fn dead_letter<W: World>(cx: &Context<'_, W>, message: &TaskMessage) -> Result<(), Fault> {
    let Some(StoredJob { job, .. }) = cx.world.ledger().job(&message.job).await? else { return Ok(()) };
    if job.state.is_ended() {
        return Ok(());
    }
    let fault = Fault::escalate(Shortage::Tool, "its message was received too often without an answer");
    let give_up = |task: &Task, now| match &task.state {
        _ if task.generation > message.generation => Err(None),
        // Blocked by an earlier handling of this letter, or by a worker that died before it told anyone.
        TaskState::Blocked { .. } => Err(Some(task.clone())),
        _ if attempt::is_idle(task, now) => Ok((task.given_up(fault.clone(), now), ())),
        _ => Err(None),
    };
    match cx.move_task(&message.job, message.task, give_up).await? {
        Ok((task, ())) | Err(Some(task)) => {
            attempt::block(cx, &task).await?;
            report(cx, &message.job, message.task).await
        }
        Err(None) => Ok(()),
    }
}

/// Leaves the operator what is needed to see and repeat the failure, and says so in the log.
async fn report<W: World>(cx: &Context<'_, W>, job: &JobId, id: TaskId) -> Result<(), Fault> {
    let Some(stored) = cx.world.ledger().task(job, id).await? else { return Ok(()) };
    let TaskState::Blocked { fault } = &stored.task.state else { return Ok(()) };
    let Some(StoredJob { job: owner, .. }) = cx.world.ledger().job(job).await? else { return Ok(()) };
    let key = key::reproduction(job, id, stored.task.generation);
    let bundle = bundle(&owner, &stored.task)?;
    cx.world.blobs().store(&key, bundle.into(), "application/json").await?;
    tracing::error!(job = %job, task = %id, %fault, reproduction = %key, "an operator is needed: fanreel status shows the job");
    Ok(())
}

fn bundle(job: &crate::job::Job, task: &Task) -> Result<Vec<u8>, Fault> {
    let value = serde_json::json!({
        "job": job.id, "source": job.source, "plan": job.plan, "task": task,
        "repeat": "fetch the task's byte ranges of the source into a sparse file and run the plan's command on it",
    });
    serde_json::to_vec_pretty(&value).map_err(|e| Fault::retry(format!("the reproduction could not be written: {e}")))
}
