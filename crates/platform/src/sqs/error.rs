//! What can go wrong with a request, in SQS's own words.

/// A refusal of SQS: what kind it is, and a sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SqsError {
    pub kind: Kind,
    pub message: String,
}

/// The errors of the SQS API that the platform answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    QueueDoesNotExist,
    QueueNameExists,
    ReceiptHandleIsInvalid,
    MessageNotInflight,
    InvalidParameterValue,
    MissingParameter,
    InvalidMessageContents,
    InvalidAttributeName,
    InvalidAttributeValue,
    BatchRequestTooLong,
    TooManyEntriesInBatchRequest,
    EmptyBatchRequest,
    BatchEntryIdsNotDistinct,
    InvalidBatchEntryId,
    OverLimit,
    PurgeQueueInProgress,
    /// A queue or a task that a message move task is about.
    ResourceNotFound,
    /// A request of the query protocol that names no operation.
    MissingAction,
    /// The operation's name is none of SQS's that the platform offers.
    UnknownOperation,
    /// The body is not the JSON that the operation takes.
    Serialization,
    /// The platform's own fault: its database, or it is being shut down.
    Internal,
}

impl Kind {
    /// Shape in the `__type` of the JSON protocol, and the code of the older query protocol, which SDKs read from the
    /// header `x-amzn-query-error`.
    pub(super) fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::QueueDoesNotExist => ("com.amazonaws.sqs#QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"),
            Self::QueueNameExists => ("com.amazonaws.sqs#QueueNameExists", "QueueAlreadyExists"),
            Self::ReceiptHandleIsInvalid => ("com.amazonaws.sqs#ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid"),
            Self::MessageNotInflight => ("com.amazonaws.sqs#MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight"),
            Self::InvalidParameterValue => ("com.amazon.coral.service#InvalidParameterValueException", "InvalidParameterValue"),
            Self::MissingParameter => ("com.amazon.coral.service#MissingRequiredParameterException", "MissingParameter"),
            Self::InvalidMessageContents => ("com.amazonaws.sqs#InvalidMessageContents", "InvalidMessageContents"),
            Self::InvalidAttributeName => ("com.amazonaws.sqs#InvalidAttributeName", "InvalidAttributeName"),
            Self::InvalidAttributeValue => ("com.amazonaws.sqs#InvalidAttributeValue", "InvalidAttributeValue"),
            Self::BatchRequestTooLong => ("com.amazonaws.sqs#BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong"),
            Self::TooManyEntriesInBatchRequest => {
                ("com.amazonaws.sqs#TooManyEntriesInBatchRequest", "AWS.SimpleQueueService.TooManyEntriesInBatchRequest")
            }
            Self::EmptyBatchRequest => ("com.amazonaws.sqs#EmptyBatchRequest", "AWS.SimpleQueueService.EmptyBatchRequest"),
            Self::BatchEntryIdsNotDistinct => {
                ("com.amazonaws.sqs#BatchEntryIdsNotDistinct", "AWS.SimpleQueueService.BatchEntryIdsNotDistinct")
            }
            Self::InvalidBatchEntryId => ("com.amazonaws.sqs#InvalidBatchEntryId", "AWS.SimpleQueueService.InvalidBatchEntryId"),
            Self::OverLimit => ("com.amazonaws.sqs#OverLimit", "OverLimit"),
            Self::PurgeQueueInProgress => ("com.amazonaws.sqs#PurgeQueueInProgress", "AWS.SimpleQueueService.PurgeQueueInProgress"),
            Self::ResourceNotFound => ("com.amazonaws.sqs#ResourceNotFoundException", "ResourceNotFoundException"),
            Self::MissingAction => ("com.amazon.coral.service#MissingActionException", "MissingAction"),
            Self::UnknownOperation => ("com.amazon.coral.service#UnknownOperationException", "InvalidAction"),
            Self::Serialization => ("com.amazon.coral.service#SerializationException", "MalformedInput"),
            Self::Internal => ("com.amazon.coral.service#InternalFailure", "InternalFailure"),
        }
    }

    /// HTTP status of the answer. `query`: in the older protocol, which says 403 where the JSON protocol says 400.
    pub(super) fn status(self, query: bool) -> u16 {
        match self {
            Self::Internal => 500,
            Self::ResourceNotFound => 404,
            Self::OverLimit | Self::PurgeQueueInProgress if query => 403,
            _ => 400,
        }
    }

    /// Whether the fault is the platform's, not the sender's.
    pub(super) fn is_ours(self) -> bool {
        self == Self::Internal
    }
}

impl SqsError {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(super) fn no_queue() -> Self {
        // AWS's sentence; it names no queue, and SDK users match on it.
        Self::new(Kind::QueueDoesNotExist, "The specified queue does not exist.")
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidParameterValue, message)
    }

    /// AWS's sentence for a number outside its range.
    pub(super) fn out_of_range(value: i64, parameter: &str, range: (i64, i64)) -> Self {
        let (low, high) = range;
        Self::invalid(format!("Value {value} for parameter {parameter} is invalid. Reason: Must be between {low} and {high}, if provided."))
    }

    pub(super) fn missing(parameter: &str) -> Self {
        Self::new(Kind::MissingParameter, format!("The request must contain the parameter {parameter}."))
    }

    pub(super) fn bad_handle(handle: &str) -> Self {
        // A handle is the caller's text of any length: quote a bounded part of it.
        let shown: String = handle.chars().take(64).collect();
        Self::new(Kind::ReceiptHandleIsInvalid, format!("The input receipt handle \"{shown}\" is not a valid receipt handle."))
    }

    /// A FIFO queue deletes by the newest handle only, while that holds the message.
    pub(super) fn expired(handle: &str) -> Self {
        let shown: String = handle.chars().take(64).collect();
        Self::invalid(format!("Value {shown} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired."))
    }

    pub(super) fn internal(what: &str, cause: &dyn std::fmt::Display) -> Self {
        Self::new(Kind::Internal, format!("{what}: {cause}"))
    }
}
