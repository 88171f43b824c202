//! Errors of CloudWatch Logs, by the names that AWS gives them.

/// An error, as its client is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LogsError {
    /// AWS's name: `ResourceNotFoundException`.
    pub kind: &'static str,
    pub message: String,
}

impl LogsError {
    pub(super) fn not_found(what: &str) -> Self {
        Self { kind: "ResourceNotFoundException", message: format!("The specified {what} does not exist.") }
    }

    pub(super) fn exists(what: &str) -> Self {
        Self { kind: "ResourceAlreadyExistsException", message: format!("The specified {what} already exists.") }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self { kind: "InvalidParameterException", message: message.into() }
    }

    pub(super) fn internal(message: String) -> Self {
        Self { kind: "ServiceUnavailableException", message }
    }
}

impl From<rusqlite::Error> for LogsError {
    fn from(error: rusqlite::Error) -> Self {
        Self::internal(format!("the logs' database failed: {error}"))
    }
}
