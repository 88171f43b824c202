//! The 17 events of the catalogue: each is one item in the ledger and one line in the log.

use serde::{Deserialize, Serialize};

use crate::id::{JobId, TaskId};

/// What happened. The names are the interface: log queries and people read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventKind {
    TaskReceived,
    TaskDetailsRetrieved,
    VideoFilePulled,
    VideoTranscoded,
    TranscodedVideoUploaded,
    WorkloadProcessingStarted,
    WorkloadProcessingFinished,
    ContainerErrorRetry,
    ContainerErrorEscalation,
    ContainerFailureDetected,
    ContainerScaledUp,
    ContainerScaledDown,
    WorkerNodeScaledUp,
    WorkerNodeScaledDown,
    HeartbeatReceived,
    GossipTableMerged,
    ResourceUtilizationThresholdReached,
}

/// One event of one job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    pub kind: EventKind,
    pub job: JobId,
    pub task: TaskId,
    pub attempt: u32,
    pub environment: String,
    /// Lambda's request id: with `sequence`, it makes a repeated write the same item.
    pub request: String,
    pub sequence: u32,
    pub detail: String,
}

impl EventRecord {
    /// Which of the job's event partitions holds it: 0 to 7.
    pub fn partition(&self) -> u8 {
        let sum: u32 = self.task.to_string().bytes().map(u32::from).sum();
        u8::try_from(sum % u32::from(Self::PARTITIONS)).unwrap_or(0)
    }
    pub const PARTITIONS: u8 = 8;
    /// Sort key: in order of time, unique.
    pub fn sort_key(&self) -> String {
        format!("{:013}#{}#{:04}", self.at_ms, self.request, self.sequence)
    }
}
