//! The thread that writes: many lines, one commit.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{now_ms, store::Store};

/// Lines of one commit.
const BATCH: usize = 4096;
/// Lines wait so long for more, so that an invocation of three lines is not a commit of its own beside the function that
/// it runs. Who reads waits for it as well.
const LINGER: Duration = Duration::from_millis(5);
/// Between two sweeps for what is too old or too much.
const SWEEP: Duration = Duration::from_secs(600);
/// Lines after which a sweep is due earlier.
const SWEEP_LINES: usize = 100_000;

/// One line of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub group: String,
    pub stream: String,
    pub timestamp_ms: u64,
    pub message: String,
}

/// Something to be done with the store.
pub type Run = Box<dyn FnOnce(&mut Store) + Send>;

pub enum Command {
    Put(Line),
    Run(Run),
}

/// Writes until nobody is left who could ask for it.
pub fn run(mut store: Store, mut inbox: mpsc::Receiver<Command>) {
    let mut swept: Option<Instant> = None;
    let mut since_sweep = 0;
    let mut commands = Vec::with_capacity(BATCH);
    while inbox.blocking_recv_many(&mut commands, BATCH) > 0 {
        if commands.len() < BATCH && commands.iter().all(|command| matches!(command, Command::Put(_))) {
            std::thread::sleep(LINGER);
            while commands.len() < BATCH
                && let Ok(command) = inbox.try_recv()
            {
                commands.push(command);
            }
        }
        let mut lines = Vec::with_capacity(commands.len());
        for command in commands.drain(..) {
            match command {
                Command::Put(line) => lines.push(line),
                Command::Run(run) => {
                    since_sweep += write(&mut store, &mut lines);
                    run(&mut store);
                }
            }
        }
        since_sweep += write(&mut store, &mut lines);
        if since_sweep >= SWEEP_LINES || swept.is_none_or(|swept| swept.elapsed() >= SWEEP) {
            if let Err(error) = store.sweep(now_ms()) {
                tracing::error!(%error, "old log lines could not be removed");
            }
            swept = Some(Instant::now());
            since_sweep = 0;
        }
    }
}

fn write(store: &mut Store, lines: &mut Vec<Line>) -> usize {
    let count = lines.len();
    if count > 0
        && let Err(error) = store.append(lines, now_ms())
    {
        tracing::error!(%error, lines = count, "log lines could not be written and are lost");
    }
    lines.clear();
    count
}
