//! Templates that know nothing about video, with plain functions, on the real `fanreel up`.

mod chain;
mod clients;
mod clock;

use std::thread;

use anyhow::{Context, Error, Result, anyhow};

type Test = fn() -> Result<()>;

fn alone(test: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(test)
}

/// They wait for minutes and compute next to nothing: side by side, beside the kills, which take place one after another. By
/// its name this comes first.
#[test]
fn plain_templates_do_what_aws_documents_and_its_clients_ask_for() -> Result<()> {
    let tests: [(&str, Test); 4] = [
        ("the platform's chain", || alone(chain::the_platform_does_with_the_chain_what_aws_documents())),
        ("another cloud's chain", || alone(chain::ministack_does_with_the_chain_what_the_platform_does_or_is_known_to_differ())),
        ("the clients", || alone(clients::the_unmodified_clients_of_aws_work())),
        ("the clock", || alone(clock::a_schedule_counts_and_an_http_api_shows_it())),
    ];
    let running = tests.map(|(name, test)| (name, thread::spawn(test)));
    let ended = running.map(|(name, test)| test.join().map_err(|_| anyhow!("it panicked")).flatten().with_context(|| name.to_owned()));
    let wrong: Vec<Error> = ended.into_iter().filter_map(Result::err).collect();
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(anyhow!("{}", wrong.iter().map(|error| format!("{error:?}")).collect::<Vec<_>>().join("\n")))
    }
}
