//! `fanreel jobs`, `status` and `events`.

use std::io::IsTerminal;

use futures::{StreamExt, TryStreamExt, stream};
use pipeline::{
    cost::Expense,
    id::{JobId, TaskId},
    ports::Ledger,
    receipt::Receipt,
    view::{JobView, Status},
};

use crate::{
    args::{EventsArgs, Global, JobsArgs, StatusArgs},
    bar::{self, Board},
    end::End,
    find::{self, now_ms},
    outputs,
    remote::Fanreel,
    screen, text,
};

/// Jobs whose tasks are read at a time.
const PARALLEL: usize = 4;

pub async fn list(args: &JobsArgs, global: &Global) -> anyhow::Result<End> {
    let fanreel = Fanreel::find(global).await?;
    let found = find::recent(&fanreel, args.limit).await?;
    let views = stream::iter(&found)
        .map(|stored| async { if stored.job.state.is_ended() { Ok(JobView::of(stored, &[])) } else { fanreel.view_of(stored).await } });
    let views: Vec<JobView> = views.buffered(PARALLEL).try_collect().await?;
    if global.json {
        screen::json(&serde_json::json!({ "jobs": views }));
    } else if views.is_empty() {
        let there = global.there();
        screen::note(&format!("no jobs yet; begin one: fanreel submit FILE{there}, or put a film under s3://{}/uploads/", fanreel.bucket));
    } else {
        screen::out(&table(&views, now_ms()));
    }
    Ok(End::Done)
}

fn table(views: &[JobView], now_ms: u64) -> String {
    let rows = views.iter().map(|view| {
        let age = now_ms.saturating_sub(view.updated_ms) / 1000;
        let percent = format!("{} %", view.progress.percent);
        let name = view.key.strip_prefix(pipeline::key::UPLOADS).unwrap_or(&view.key).to_owned();
        vec![view.short().to_owned(), view.status.to_string(), percent, format!("{} ago", text::seconds(age)), name, view.detail.clone()]
    });
    screen::table(&["job", "status", "done", "changed", "film", "detail"], &[2, 3], rows.collect())
}

pub async fn status(args: &StatusArgs, global: &Global) -> anyhow::Result<End> {
    let fanreel = Fanreel::find(global).await?;
    let job = fanreel.job(&args.job).await?;
    let view = if args.follow {
        let mut last = None;
        let mut lane = if global.json { None } else { Board::new().lanes(&[pipeline::view::short(&job).to_owned()]).pop() };
        let view = bar::follow(&fanreel, &job, |view| match &mut lane {
            Some(lane) => lane.show(view),
            // One line for each change; the last one is the answer below.
            None if last.as_ref() != Some(view) && !view.is_settled() => {
                screen::json(view);
                last = Some(view.clone());
            }
            None => {}
        });
        let view = view.await?;
        if let Some(lane) = &lane {
            lane.clear();
        }
        view
    } else {
        let view = fanreel.view(&job).await?;
        view.ok_or_else(|| anyhow::anyhow!("job {job} is gone"))?
    };
    let receipt = if matches!(view.status, Status::Completed | Status::Partial) { outputs::receipt(&fanreel, &job).await? } else { None };
    let expense = match receipt.as_ref().and_then(|receipt| receipt.expense.clone()) {
        Some(expense) => Some(with_merge(&fanreel, &job, expense).await?),
        None => None,
    };
    if global.json {
        screen::json(&Told { view: &view, expense });
    } else {
        screen::out(&describe(&view, receipt.as_ref(), expense.as_ref(), (&fanreel.bucket, &global.there())));
    }
    Ok(End::of(view.status))
}

/// What `status --json` says: a job, and what it cost once that is known.
#[derive(serde::Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    view: &'a JobView,
    #[serde(skip_serializing_if = "Option::is_none")]
    expense: Option<Expense>,
}

/// The merge's own part stands in its record, for as long as the ledger keeps it.
async fn with_merge(fanreel: &Fanreel, job: &JobId, expense: Expense) -> anyhow::Result<Expense> {
    let merge = fanreel.ledger.task(job, TaskId::Merge).await?;
    Ok(merge.map_or_else(|| expense.clone(), |stored| expense.clone().with(&stored.task)))
}

/// Two lines or three, the figure that people look for first in front.
fn expense_lines(expense: &Expense) -> Vec<String> {
    let planned = expense.estimate.as_ref().map_or_else(String::new, |estimate| format!(" (planned: {})", text::usd(estimate.total_usd)));
    let charge = &expense.charge;
    let mut lines = vec![
        format!(
            "cost     {}{planned} at AWS's list prices of {}, {}",
            text::usd(charge.total_usd),
            expense.prices.as_of,
            expense.prices.region
        ),
        format!(
            "         {:.1} GB-seconds {}, requests {}; {:.1} CPU-seconds in {} attempts",
            expense.gb_seconds,
            text::usd(charge.compute_usd),
            text::usd(charge.requests_usd + charge.transfer_usd),
            expense.cpu_seconds,
            expense.attempts
        ),
    ];
    if let Some(lost) = &expense.lost {
        let (attempts, usd, seconds) = (lost.attempts, text::usd(lost.usd_at_most), lost.seconds_at_most);
        lines.push(format!("         and {attempts} that died: {usd} more at most, for {seconds:.0} s"));
    }
    lines.push(format!("storage  {}, {} a month", text::bytes(expense.storage_bytes), text::usd(expense.storage_usd_month)));
    lines
}

fn describe(view: &JobView, receipt: Option<&Receipt>, expense: Option<&Expense>, (bucket, there): (&str, &str)) -> String {
    let mut lines = vec![
        format!("{}  {}", view.status, view.line()),
        String::new(),
        format!("job      {}{}", view.job, if view.generation > 0 { format!(" (run {})", view.generation + 1) } else { String::new() }),
        format!("source   s3://{}/{} ({})", view.bucket, view.key, text::bytes(view.bytes)),
    ];
    lines.extend(view.facts.iter().map(|facts| format!("         {facts}")));
    lines.push(format!("profile  {}", view.profile));
    lines.push(format!("began    {} UTC", text::date(view.created_ms)));
    lines.push(format!("changed  {} UTC", text::date(view.updated_ms)));
    lines.push(format!("now      {}", view.detail));
    for task in &view.notable {
        let fault = task.fault.as_deref().map_or_else(String::new, |fault| format!(": {fault}"));
        lines.push(format!("task     {} {}, attempt {}{fault}", task.task, task.state, task.attempt));
    }
    if view.state == "escalated" {
        lines.push(String::new());
        lines.push(format!("look     fanreel reproduce {} -o DIR{there} (what failed and how, to be run again by you)", view.short()));
        lines.push(format!("then     fanreel retry {0}{there}, or give it up: fanreel cancel {0}{there}", view.short()));
    }
    if let Some(receipt) = receipt {
        lines.extend(outputs::lost(receipt));
        lines.push(String::new());
        lines.push(outputs::table(receipt));
        lines.push(String::new());
        lines.push(format!("watch    s3://{bucket}/{}", receipt.master));
        if receipt.renditions.iter().any(|rendition| rendition.mp4.is_some()) {
            lines.push(format!("files    s3://{bucket}/encoded/{}_*.mp4", view.job));
        }
        let pictures = outputs::pictures(receipt);
        if !pictures.is_empty() {
            lines.push(format!("stills   s3://{bucket}/{}{{{pictures}}}", pipeline::key::streams(&view.job)));
        }
        if receipt.audio.iter().any(|track| track.m4a.is_some()) {
            lines.push(format!("sound    s3://{bucket}/encoded/{}_*.m4a", view.job));
        }
        lines.push(format!("proof    s3://{bucket}/{}", pipeline::key::receipt(&view.job)));
        lines.extend(expense.iter().flat_map(|expense| expense_lines(expense)));
    }
    lines.join("\n")
}

pub async fn events(args: &EventsArgs, global: &Global) -> anyhow::Result<End> {
    let fanreel = Fanreel::find(global).await?;
    let job = fanreel.job(&args.job).await?;
    let events = fanreel.ledger.events(&job).await?;
    if events.is_empty() && std::io::stderr().is_terminal() {
        screen::note("no events yet, or they are older than the ledger keeps them");
    }
    for event in &events {
        if global.json {
            screen::json(event);
        } else {
            let task = event.task.to_string();
            let kind = format!("{:?}", event.kind);
            screen::out(format!("{} {task:<6} #{} {kind:<28} {}", text::clock(event.at_ms), event.attempt, event.detail).trim_end());
        }
    }
    Ok(End::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::{
        id::TaskId,
        task::Class,
        view::{Progress, TaskView},
    };

    fn view() -> JobView {
        JobView {
            job: "7f3a91c20123456789abcdef".parse().unwrap(),
            status: Status::Processing,
            state: "transcoding",
            detail: "encodes: 60 of 480 frames, 1 of 5 tasks done".into(),
            bucket: "videos".into(),
            key: "uploads/my \u{1b}[2Jfilm.mp4".into(),
            bytes: 1_234_567,
            profile: "h264".into(),
            generation: 1,
            facts: Some("h264 1920×1080 29.97 fps, 24.0 s, aac 2 ch".into()),
            frame_rate: 30.0,
            progress: Progress { frames_done: 60, frames: 480, renditions: 2, tasks_done: 1, tasks: 5, percent: 12 },
            notable: vec![TaskView {
                task: TaskId::Chunk(2),
                state: "running",
                attempt: 2,
                class: Class::Standard,
                fault: Some("s3 said 503".into()),
            }],
            created_ms: 1_777_550_624_120,
            updated_ms: 1_777_550_631_000,
        }
    }

    #[test]
    fn jobs_in_a_table() {
        insta::assert_snapshot!(table(&[view()], 1_777_550_731_000));
    }

    #[test]
    fn a_job_that_needs_a_person_says_what_to_type() {
        let blocked = JobView { state: "escalated", status: Status::Failed, ..view() };
        insta::assert_snapshot!(screen::clean(&describe(&blocked, None, None, ("videos", ""))));
    }

    #[test]
    fn a_job_in_full() {
        insta::assert_snapshot!(screen::clean(&describe(&view(), None, None, ("videos", ""))));
    }

    #[test]
    fn what_a_job_cost_in_three_lines() {
        use pipeline::cost::{Charge, Estimate, LostExpense, Prices};
        let charge = Charge { compute_usd: 0.010_12, requests_usd: 0.000_51, transfer_usd: 0.0, total_usd: 0.010_63 };
        let expense = Expense {
            gb_seconds: 607.3,
            cpu_seconds: 318.06,
            charge,
            estimate: Some(Estimate { gb_seconds: 588.0, total_usd: 0.009_97 }),
            stages: Vec::new(),
            attempts: 9,
            requests: pipeline::usage::Requests::default(),
            lost: Some(LostExpense { attempts: 1, seconds_at_most: 62.4, gb_seconds_at_most: 107.8, usd_at_most: 0.001_83 }),
            storage_bytes: 81_234_567,
            storage_usd_month: 0.001_74,
            architecture: "x86_64".into(),
            prices: Prices { as_of: "2025-07-21".into(), ..Prices::built_in().unwrap() },
            left_out: Vec::new(),
        };
        insta::assert_snapshot!(expense_lines(&expense).join("\n"));
    }
}
