//! P9: what was answered with success survives `kill -9` at any moment.
//!
//! `fanreel up` runs a template of its own and is killed again and again, at random moments, its start included, under
//! four writers for each service. After every start, and once all is over, everything acknowledged is looked for.
//! `FANREEL_KILLS` says how often (5), `FANREEL_SEED` repeats the moments of an earlier run.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "counts of what was done are this test's result")]

mod aside;
mod chaos;
mod invokes;
mod items;
mod messages;
mod objects;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use aws_sdk_s3::{config::retry::RetryConfig, error::SdkError};
use futures::future::join_all;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tests::run::{Fanreel, binary};

/// Of each service.
const WRITERS: usize = 4;
/// The writers work at most so long before the kill, in ms.
const LONGEST_LIFE: u64 = 2_000;
/// Starts are killed at most so long after they began, in ms.
const LONGEST_START: u64 = 200;
/// What is due after the last start is done within this time.
const PATIENCE: Duration = Duration::from_secs(240);

/// Clients of one life of the platform. They try once: after an error nobody knows what became of the operation.
#[derive(Clone)]
struct Clients {
    s3: aws_sdk_s3::Client,
    sqs: aws_sdk_sqs::Client,
    dynamodb: aws_sdk_dynamodb::Client,
    lambda: aws_sdk_lambda::Client,
}

impl Clients {
    fn of(platform: &Fanreel) -> Self {
        let config = platform.config.to_builder().retry_config(RetryConfig::disabled()).build();
        Self {
            s3: aws_sdk_s3::Client::from_conf(aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build()),
            sqs: aws_sdk_sqs::Client::new(&config),
            dynamodb: aws_sdk_dynamodb::Client::new(&config),
            lambda: aws_sdk_lambda::Client::new(&config),
        }
    }
}

/// Whether it was answered. An answer that refuses is not what a kill leaves behind.
fn answered<T, E: std::fmt::Debug, R: std::fmt::Debug>(result: Result<T, SdkError<E, R>>) -> Option<T> {
    match result {
        Ok(answer) => Some(answer),
        Err(error @ SdkError::ServiceError(_)) => panic!("refused: {error:?}"),
        Err(_) => None,
    }
}

#[expect(clippy::disallowed_methods, reason = "the two settings of this test")]
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn template() -> PathBuf {
    tests::root().join("tests/tests/crash/template.yaml")
}

/// A platform that dies while it starts.
fn die_early(data: &Path, after: Duration) {
    let mut child = Command::new(binary("fanreel").unwrap())
        .args(["--json", "up", "--port", "0", "--data-dir"])
        .arg(data)
        .arg("--template")
        .arg(template())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// All that was acknowledged.
#[derive(Default)]
struct Acknowledged {
    objects: objects::Record,
    messages: messages::Record,
    items: items::Record,
    invokes: invokes::Record,
}

impl Acknowledged {
    /// Writes until the platform is gone, which `life` after the first write it is.
    async fn write(&mut self, platform: Fanreel, round: u64, traces: &Path, life: Duration) {
        let (clients, writers) = (&Clients::of(&platform), 0..WRITERS);
        let urls = messages::urls(clients).await;
        let counters = items::counters(clients).await;
        let killer = tokio::spawn(async move {
            tokio::time::sleep(life).await;
            platform.kill().unwrap();
        });
        let (objects, messages, items, invokes) = tokio::join!(
            join_all(writers.clone().map(|writer| tokio::spawn(objects::write(clients.clone(), writer, round)))),
            join_all(writers.clone().map(|writer| tokio::spawn(messages::write(clients.clone(), urls.clone(), writer, round)))),
            join_all(writers.clone().map(|writer| tokio::spawn(items::write(clients.clone(), counters[writer], writer, round)))),
            join_all(writers.map(|writer| tokio::spawn(invokes::write(clients.clone(), traces.to_owned(), writer, round)))),
        );
        for record in objects {
            self.objects.merge(record.unwrap());
        }
        for record in messages {
            self.messages.merge(record.unwrap());
        }
        for record in items {
            self.items.merge(record.unwrap());
        }
        for record in invokes {
            self.invokes.merge(record.unwrap());
        }
        killer.await.unwrap();
    }

    /// What a new start must show at once.
    async fn check(&mut self, clients: &Clients) {
        self.objects.check(clients).await;
        self.messages.check(clients).await;
        self.items.check(clients).await;
    }

    /// What must be there once everything due is done.
    async fn check_all(&mut self, clients: &Clients) {
        self.objects.recheck();
        self.check(clients).await;
        self.invokes.check(Instant::now() + PATIENCE).await;
        self.messages.drain(clients).await;
        self.objects.check_notices(clients, &self.messages.noticed, Instant::now() + PATIENCE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_survives_kill_9() {
    let kills = setting("FANREEL_KILLS", 5);
    let seed = setting("FANREEL_SEED", rand::random::<u32>().into());
    eprintln!("{kills} kills, FANREEL_SEED={seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let home = tempfile::tempdir().unwrap();
    let (data, traces) = (home.path().join("data"), home.path().join("traces"));
    std::fs::create_dir(&traces).unwrap();
    let mut all = Acknowledged::default();
    for round in 1..=kills {
        let platform = Fanreel::start_template(&data, &template()).await.unwrap();
        let clients = Clients::of(&platform);
        if round == 1 {
            objects::prepare(&clients).await;
            messages::prepare(&clients).await;
        }
        all.check(&clients).await;
        let life = Duration::from_millis(dice.random_range(20..LONGEST_LIFE));
        all.write(platform, round, &traces, life).await;
        if dice.random_ratio(1, 4) {
            die_early(&data, Duration::from_millis(dice.random_range(0..LONGEST_START)));
        }
    }
    let platform = Fanreel::start_template(&data, &template()).await.unwrap();
    let clients = Clients::of(&platform);
    all.check_all(&clients).await;
    eprintln!("acknowledged and found: {}; {}; {}; {}", all.objects, all.messages, all.items, all.invokes);
    platform.stop().unwrap();
}
