//! Names of things in the template that tests look at.

/// Every task and dead-letter queue, by output name.
pub const QUEUES: [&str; 7] = [
    "IngestQueueUrl",
    "SplitQueueUrl",
    "TranscodeQueueUrl",
    "TranscodeLargeQueueUrl",
    "MergeQueueUrl",
    "EscalationQueueUrl",
    "DeadLetterQueueUrl",
];
