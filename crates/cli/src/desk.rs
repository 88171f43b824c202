//! Where orders to the pipeline are given from: its stages over a running stack, without an encoder.

use std::{path::Path, sync::Arc};

use cloud::{Counter, DynamoLedger, Queues, S3Blobs, SqsOutbox, SystemClock};
use pipeline::{
    encoder::NoEncoder,
    fleet::Vitals,
    ports::Parts,
    stage::{Context, Host, Policy, Request, never},
};

use crate::remote::Fanreel;

type World = Parts<DynamoLedger, S3Blobs, SqsOutbox, NoEncoder, SystemClock, Counter>;

/// The stages' ports over one stack.
pub struct Desk {
    world: World,
    pub policy: Policy,
    request: Request,
}

impl Desk {
    /// `command` is what the person typed; it stands in the logs as the environment `fanreel <command>`.
    pub fn of(fanreel: &Fanreel, command: &str) -> Self {
        let queues = Queues {
            ingest: fanreel.queue("IngestQueueUrl"),
            split: fanreel.queue("SplitQueueUrl"),
            transcode: fanreel.queue("TranscodeQueueUrl"),
            transcode_large: fanreel.queue("TranscodeLargeQueueUrl"),
            merge: fanreel.queue("MergeQueueUrl"),
            escalation: fanreel.queue("EscalationQueueUrl"),
        };
        let world = Parts {
            ledger: fanreel.ledger.clone(),
            blobs: fanreel.blobs.clone(),
            outbox: SqsOutbox::new(fanreel.clients.sqs.clone(), queues),
            encoder: NoEncoder,
            clock: SystemClock,
            meter: fanreel.clients.counter.clone(),
        };
        let host = Arc::new(Host::new("fanreel", "", 0, Vitals::default));
        let environment = format!("fanreel {command}");
        let request = Request { id: command.to_owned(), environment, deadline_ms: u64::MAX, shutdown: never(), host };
        Self { world, policy: Policy::default(), request }
    }

    pub fn context(&self) -> Context<'_, World> {
        Context { world: &self.world, policy: &self.policy, request: &self.request, scratch: Path::new("") }
    }
}
