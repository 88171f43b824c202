//! Where orders to the pipeline are given from: its stages over a running stack, without an encoder.

use std::{path::Path, sync::Arc};

use cloud::{Counter, DynamoLedger, Queues, S3Blobs, SqsOutbox, SystemClock};
use futures::channel::mpsc;
use pipeline::{
    Fault, Shortage,
    encoder::{
        AudioWork, ChunkWork, EncodeError, Encoder, MadeAudio, MadeRendition, MadeStills, MadeText, ProbeInput, Remux, Remuxed, StillsWork,
        TextWork,
    },
    fleet::Vitals,
    plan::TargetQuality,
    ports::{Block, Parts},
    quality::Quality,
    source::SourceReport,
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

/// This program gives orders and encodes nothing.
pub struct NoEncoder;

fn nothing() -> Fault {
    Fault::escalate(Shortage::Tool, "the command line does not encode")
}

impl Encoder for NoEncoder {
    fn layer(&self) -> &'static str {
        ""
    }
    async fn probe(&self, _: ProbeInput, _: &Path) -> Result<SourceReport, Fault> {
        Err(nothing())
    }
    async fn remux(&self, _: Remux, _: &Path, _: &Path, _: mpsc::Sender<Block>) -> Result<Remuxed, Fault> {
        Err(nothing())
    }
    async fn encode_chunk(&self, _: &ChunkWork<'_>) -> Result<Vec<MadeRendition>, EncodeError> {
        Err(nothing().into())
    }
    async fn choose_crf(&self, _: &ChunkWork<'_>, _: &TargetQuality) -> Result<Quality, EncodeError> {
        Err(nothing().into())
    }
    async fn encode_audio(&self, _: &AudioWork<'_>) -> Result<MadeAudio, EncodeError> {
        Err(nothing().into())
    }
    async fn make_stills(&self, _: &StillsWork<'_>) -> Result<MadeStills, EncodeError> {
        Err(nothing().into())
    }
    async fn convert_text(&self, _: &TextWork<'_>) -> Result<MadeText, EncodeError> {
        Err(nothing().into())
    }
}
