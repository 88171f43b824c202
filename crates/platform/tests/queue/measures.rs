//! Figures, printed: how long a restart with a backlog takes, what the backlog costs in memory, and how many messages go
//! through. No bounds here: time belongs into `make bench`.

#![allow(clippy::print_stdout, reason = "figures are for people")]

use std::time::{Duration, Instant};

use platform::{sqs::Sqs, stack};

const MESSAGES: usize = 100_000;
/// Messages that one reader takes.
const READ: usize = 2_000;
const SENDERS: usize = 256;

/// Resident memory of this process, MB.
fn resident_mb() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4 / 1024
}

async fn fill(sqs: &std::sync::Arc<Sqs>, fifo: bool) {
    let mut work = tokio::task::JoinSet::new();
    for sender in 0..SENDERS {
        let sqs = std::sync::Arc::clone(sqs);
        work.spawn(async move {
            for n in (sender..MESSAGES).step_by(SENDERS) {
                let body = format!("{n:01000}");
                if fifo {
                    sqs.send_fifo("q.fifo", &format!("group {}", n % 1_000), Some(&n.to_string()), body).await.unwrap();
                } else {
                    sqs.send("q", body, None).await.unwrap();
                }
            }
        });
    }
    work.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints measurements"]
async fn measures() {
    for (name, fifo) in [("q", None), ("q.fifo", Some(stack::Fifo::default()))] {
        let dir = tempfile::tempdir().unwrap();
        let sqs = Sqs::open(dir.path()).unwrap();
        sqs.ensure_queue(&stack::Queue { fifo, ..super::queue(name) }).await.unwrap();
        let began = Instant::now();
        fill(&sqs, fifo.is_some()).await;
        println!("{name}: {MESSAGES} messages of 1 kB sent in {:?}", began.elapsed());
        drop(sqs);

        let before = resident_mb();
        let began = Instant::now();
        let sqs = Sqs::open(dir.path()).unwrap();
        println!("{name}: opened in {:?}, {} MB more", began.elapsed(), resident_mb() - before);
        assert_eq!(sqs.depth(name).await.unwrap().visible, MESSAGES as u64);
        let began = Instant::now();
        let mut seen = 0;
        while seen < READ {
            let got = sqs.receive(name, 10, Duration::ZERO, None).await.unwrap();
            seen += got.len();
            let handles: Vec<String> = got.into_iter().map(|message| message.receipt_handle).collect();
            sqs.delete(name, &handles).await.unwrap();
        }
        println!("{name}: {seen} messages received and deleted by tens, one reader, in {:?}", began.elapsed());
    }
}
