//! `fanreel transcode`: files in, ladders out, on a platform that lives as long as the command.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context;
use pipeline::{
    id::JobId,
    ports::Blobs,
    receipt::Receipt,
    view::{JobView, Status},
};
use platform::Listeners;
use serde::Serialize;
use tokio::net::TcpListener;

use crate::{
    args::{Global, TranscodeArgs},
    bar::{self, Board, Lane},
    end::{End, usage},
    film::{self, Film},
    logfile::LogFile,
    orders, outputs,
    profiles::Choice,
    remote::{Fanreel, Keys, Remote},
    running::{Running, interrupted},
    screen, setup, text, up, work,
    work::Work,
};

/// What became of one file.
#[derive(Debug, Serialize)]
struct Outcome {
    file: PathBuf,
    /// Where the results are, if there are any.
    output: Option<PathBuf>,
    #[serde(flatten)]
    view: JobView,
    /// From the start of its upload to the last fetched byte.
    seconds: f64,
    receipt: Option<Receipt>,
}

pub async fn run(args: &TranscodeArgs, global: &Global) -> anyhow::Result<End> {
    if global.endpoint.is_some() || global.stack.is_some() {
        return Err(usage("`transcode` runs a private platform; to use another one take `fanreel submit`"));
    }
    let choice = Choice::read(args.platform.profiles.as_deref())?;
    choice.profiles.get(&args.profile).map_err(usage)?;
    let films = film::read(&args.files)?;
    work::check_out(&args.out, &films)?;
    let setup = setup::prepare(&args.platform, &work::data_dir(&args.out), &[("Profile", &args.profile)])?;
    let work = Work::open(&args.out, &args.profile, &args.platform.parameters, &films)?;
    if work.resumed {
        screen::note("an earlier run of the same command was interrupted: going on with it");
    }
    let log = LogFile::default();
    log.install(false);
    let aws = TcpListener::bind(("127.0.0.1", 0)).await.context("no port of 127.0.0.1 can be listened on")?;
    let listeners = Listeners { aws, http_apis: up::listen_for_apis(std::net::Ipv4Addr::LOCALHOST.into(), 0, setup.http_apis).await? };
    let end = interrupted();
    tokio::pin!(end);
    let mut running = tokio::select! {
        started = Running::start(setup.config.clone(), listeners, &log) => started?,
        () = &mut end => return Ok(interruption(&work)),
    };
    let board = Board::new();
    let endpoint = running.endpoint.clone();
    let outcomes = tokio::select! {
        outcomes = all(&endpoint, args, (&choice, &films), &work, &board) => Some(outcomes),
        error = running.ended() => Some(Err(error)),
        () = &mut end => None,
    };
    let (log_path, stopped) = (running.log.clone(), running.stop().await);
    let Some(outcomes) = outcomes else { return Ok(interruption(&work)) };
    let hint = || {
        format!(
            "what was done is kept in {}; the same command goes on with it. The platform's log: {}",
            work.dir().display(),
            log_path.display()
        )
    };
    let outcomes = outcomes.with_context(hint)?;
    let waits = outcomes.iter().any(|outcome| outcome.view.state == "escalated");
    if waits {
        tell(&outcomes, global.json);
        screen::note(&hint());
        return Ok(End::Broken);
    }
    if args.keep {
        screen::note(&format!("kept: the platform's data in {}", work.dir().display()));
    } else {
        work.discard(&args.out)?;
    }
    stopped?;
    tell(&outcomes, global.json);
    Ok(all_told(&outcomes))
}

/// The worst of all films.
fn all_told(outcomes: &[Outcome]) -> End {
    let any = |status| outcomes.iter().any(|outcome| outcome.view.status == status);
    match () {
        () if outcomes.iter().all(|outcome| outcome.view.status == Status::Completed) => End::Done,
        () if any(Status::Partial) && !any(Status::Failed) => End::Partial,
        () => End::Failed,
    }
}

fn interruption(work: &Work) -> End {
    screen::note(&format!("interrupted; what was done is kept in {}; the same command goes on with it", work.dir().display()));
    End::Interrupted
}

/// All films side by side. An error of one does not stop the others; the first is told when all have ended.
async fn all(
    endpoint: &str,
    args: &TranscodeArgs,
    (choice, films): (&Choice, &[Film]),
    work: &Work,
    board: &Board,
) -> anyhow::Result<Vec<Outcome>> {
    let fanreel = Remote::at(endpoint, Keys::default()).await?.fanreel().await?;
    choice.store(&fanreel).await?;
    let names: Vec<String> = films.iter().map(Film::name).collect();
    let lanes = board.lanes(&names);
    let each = films.iter().zip(lanes).map(|(film, mut lane)| {
        let fanreel = &fanreel;
        async move {
            let outcome = one(fanreel, args, film, work, &mut lane).await;
            lane.clear();
            outcome.with_context(|| film.path.display().to_string())
        }
    });
    futures::future::join_all(each).await.into_iter().collect()
}

async fn one(fanreel: &Fanreel, args: &TranscodeArgs, film: &Film, work: &Work, lane: &mut Lane) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    let job = if let Some(job) = work.job_of(film) {
        orders::retry_what_waits(fanreel, &job).await?;
        job
    } else {
        lane.phase("uploads");
        let job = upload(fanreel, film, &args.profile).await?;
        work.uploaded(film, &job)?;
        job
    };
    let view = bar::follow(fanreel, &job, |view| lane.show(view)).await?;
    let (mut output, mut receipt) = (None, None);
    if matches!(view.status, Status::Completed | Status::Partial) {
        lane.phase("fetches the results");
        let staged = work.staging(film)?;
        receipt = Some(outputs::fetch(fanreel, &job, &staged).await?);
        output = Some(work.publish(film, &staged, &args.out)?);
    }
    Ok(Outcome { file: film.path.clone(), output, view, seconds: began.elapsed().as_secs_f64(), receipt })
}

/// Stores a film where uploads go; its event starts the job, whose id follows from what was stored.
async fn upload(fanreel: &Fanreel, film: &Film, profile: &str) -> anyhow::Result<JobId> {
    fanreel.blobs.store_file(&film.key, &film.stamp.path, "application/octet-stream").await?;
    let source = fanreel.blobs.head_source(&fanreel.bucket, &film.key).await?;
    let source = source.with_context(|| format!("s3://{}/{} was stored and is gone", fanreel.bucket, film.key))?;
    Ok(JobId::of(&source, profile, 0))
}

fn tell(outcomes: &[Outcome], json: bool) {
    if json {
        screen::json(&serde_json::json!({ "files": outcomes }));
        return;
    }
    for (number, outcome) in outcomes.iter().enumerate() {
        if number > 0 {
            screen::out("");
        }
        match (&outcome.receipt, &outcome.output) {
            (Some(receipt), Some(folder)) => screen::out(&success(outcome, receipt, folder)),
            _ => screen::note(&format!("{}: {}: {}", outcome.file.display(), outcome.view.status, outcome.view.detail)),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds for display")]
fn success(outcome: &Outcome, receipt: &Receipt, folder: &Path) -> String {
    let took = outcome.seconds.max(0.001);
    let mut lines = vec![format!(
        "{}: {} in {}: {} at {:.1}× its speed, {}",
        outcome.file.display(),
        if receipt.lost.is_empty() { "done" } else { "PARTIAL" },
        text::seconds(took.round() as u64),
        format!("{} of {}", text::seconds(receipt.seconds.round() as u64), if receipt.frames == 0 { "sound" } else { "film" }),
        receipt.seconds / took,
        if receipt.frames == 0 { "every track whole".to_owned() } else { format!("{} frames, each in every rendition", receipt.frames) }
    )];
    lines.extend(outputs::lost(receipt));
    lines.extend([String::new(), outputs::table(receipt), String::new()]);
    lines.extend(receipt.left_out.iter().map(|left| format!("left out: {left}")));
    lines.extend(outputs::places(folder, receipt));
    lines.join("\n")
}
