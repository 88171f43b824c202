//! `fanreel retry` and `fanreel cancel`: what a person does to a job that got stuck.

use pipeline::{
    id::JobId,
    stage::operator::{self, Unable},
};

use crate::{
    args::{CancelArgs, Global, RetryArgs},
    desk::Desk,
    end::{End, usage},
    remote::Fanreel,
    screen,
};

pub async fn retry(args: &RetryArgs, global: &Global) -> anyhow::Result<End> {
    let fanreel = Fanreel::find(global).await?;
    let job = fanreel.job(&args.job).await?;
    let tasks = operator::retry(&Desk::of(&fanreel, "retry").context(), &job, args.task).await.map_err(refused)?;
    if global.json {
        screen::json(&serde_json::json!({ "job": job, "tasks": tasks }));
        return Ok(End::Done);
    }
    let names: Vec<String> = tasks.iter().map(ToString::to_string).collect();
    screen::out(&format!("{job}  tried again: {}", names.join(" ")));
    screen::note(&format!("what was done stays done; watch it: fanreel status {} --follow{}", pipeline::view::short(&job), global.there()));
    Ok(End::Done)
}

/// A job that is gone on with: whoever gives the order has seen what was wrong.
pub async fn retry_what_waits(fanreel: &Fanreel, job: &JobId) -> anyhow::Result<()> {
    match operator::retry(&Desk::of(fanreel, "retry").context(), job, None).await {
        // Nothing waits, or the job is over: that is told at its end.
        Ok(_) | Err(Unable::Refused(_)) => Ok(()),
        Err(Unable::Fault(fault)) => Err(fault.into()),
    }
}

pub async fn cancel(args: &CancelArgs, global: &Global) -> anyhow::Result<End> {
    let fanreel = Fanreel::find(global).await?;
    let job = fanreel.job(&args.job).await?;
    let first = operator::cancel(&Desk::of(&fanreel, "cancel").context(), &job).await.map_err(refused)?;
    if global.json {
        screen::json(&serde_json::json!({ "job": job, "known": !first }));
        return Ok(End::Done);
    }
    screen::out(&format!("{job}  cancelled{}", if first { "" } else { " already" }));
    screen::note("its workers stop within seconds and what it made is deleted; the upload stays");
    Ok(End::Done)
}

/// An order that makes no sense is an error of usage.
fn refused(unable: Unable) -> anyhow::Error {
    match unable {
        Unable::Refused(reason) => usage(reason),
        Unable::Fault(fault) => fault.into(),
    }
}
