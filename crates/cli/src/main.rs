//! `fanreel`: the platform and the pipeline for people.
//!
//! 1. Answers go to standard output, progress and errors to standard error; with `--json` standard output holds one JSON
//!    document, or one JSON value a line where there is no end to wait for.
//! 2. Exit codes: 0 done, 1 the job (or the function) failed, 2 usage, 3 the system failed, 130 interrupted.
//! 3. What `transcode` keeps on disk lies in one hidden folder in its output folder and is gone when it ends.

mod adopt;
mod args;
mod attach;
mod bar;
mod compare;
mod dead_letters;
mod deployed;
mod desk;
mod doctor;
mod end;
mod film;
mod find;
mod fleet;
mod http;
mod invoke;
mod jobs;
mod logfile;
mod logs;
mod orders;
mod outputs;
mod pace;
mod plan;
mod profiles;
mod query;
mod remote;
mod reproduce;
mod running;
mod screen;
mod setup;
mod submit;
mod text;
mod transcode;
mod up;
mod upload;
mod work;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    args::{Cli, Command},
    end::End,
};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // clap prints help and version itself, and ends with 2 for what cannot be read.
        Err(error) => error.exit(),
    };
    let json = cli.global.json;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return end::report(&Err(anyhow::anyhow!("threads cannot be started: {error}")), json),
    };
    let result = runtime.block_on(dispatch(cli));
    // Nothing that is still blocked (a read of the terminal, say) keeps the program from ending.
    runtime.shutdown_background();
    end::report(&result, json)
}

async fn dispatch(cli: Cli) -> anyhow::Result<End> {
    let global = &cli.global;
    match cli.command {
        Command::Up(args) => up::run(&args, global).await,
        Command::Transcode(args) => transcode::run(&args, global).await,
        Command::Plan(args) => plan::run(&args, global).await,
        Command::Compare(args) => compare::run(&args, global).await,
        Command::Submit(args) => Box::pin(submit::run(&args, global)).await,
        Command::Jobs(args) => jobs::list(&args, global).await,
        Command::Status(args) => jobs::status(&args, global).await,
        Command::Events(args) => jobs::events(&args, global).await,
        Command::Retry(args) => orders::retry(&args, global).await,
        Command::Reproduce(args) => Box::pin(reproduce::run(&args, global)).await,
        Command::Cancel(args) => orders::cancel(&args, global).await,
        Command::DeadLetters => dead_letters::run(global).await,
        Command::Fleet => fleet::run(global).await,
        Command::Adopt(args) => Box::pin(adopt::run(&args, global)).await,
        Command::Attach(args) => attach::run(&args, global).await,
        Command::Logs(args) => logs::run(&args, global).await,
        Command::Profiles(args) => profiles::run(&args, global),
        Command::Query(args) => query::run(&args, global).await,
        Command::Invoke(args) => invoke::run(&args, global).await,
        Command::Doctor(args) => doctor::run(&args, global).await,
    }
}
