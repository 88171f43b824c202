//! Asynchronous invocations of a function that leaves a file.

use std::{
    fmt,
    path::PathBuf,
    time::{Duration, Instant},
};

use aws_sdk_lambda::types::InvocationType;
use serde_json::json;

use crate::{Clients, answered};

#[derive(Default)]
pub struct Record {
    acknowledged: Vec<PathBuf>,
}

pub async fn write(clients: Clients, traces: PathBuf, writer: usize, round: u64) -> Record {
    let mut record = Record::default();
    for n in 0_u64.. {
        let trace = traces.join(format!("{round}-{writer}-{n}"));
        let invoke = clients.lambda.invoke().function_name("hello").invocation_type(InvocationType::Event);
        if answered(invoke.payload(json!({ "pid": trace }).to_string().into_bytes().into()).send().await).is_none() {
            break;
        }
        record.acknowledged.push(trace);
    }
    record
}

impl Record {
    pub fn merge(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
    }

    /// Waits until every one has run.
    pub async fn check(&self, end: Instant) {
        for trace in &self.acknowledged {
            while !trace.exists() {
                assert!(Instant::now() < end, "an accepted invocation never ran: {}", trace.display());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} asynchronous invocations", self.acknowledged.len())
    }
}
