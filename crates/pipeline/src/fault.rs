//! Why a task stopped, as a value that answers "what next?".

use serde::{Deserialize, Serialize};

/// Why a task stopped. Classified once, in the adapter that saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Fault {
    /// The world was in the way: try again later, with backoff.
    #[error("{0}")]
    Retry(String),
    /// The source is at fault: never tried again. The text is one sentence that a person understands.
    #[error("{0}")]
    Reject(String),
    /// The same way cannot help: a larger class, then the operator.
    #[error("{reason}: {detail}")]
    Escalate { reason: Shortage, detail: String },
    /// A tool was killed, and not by us: a death, as of a worker. Nobody says whether memory ran out or somebody was in a
    /// hurry; two of an encoder count as memory.
    #[error("{0}")]
    Killed(String),
    /// Nothing is wrong: the message came before what it is about. Whoever completes that sends it again.
    #[error("{0}")]
    Early(String),
    /// The encoder broke down over this task: again, then once more with care, then the operator.
    #[error("the encoder failed: {0}")]
    Crash(String),
}

/// What ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shortage {
    Memory,
    Disk,
    Time,
    /// The program itself failed in a way that is neither the source's fault nor the world's.
    Tool,
}

impl std::fmt::Display for Shortage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Memory => "out of memory",
            Self::Disk => "out of disk",
            Self::Time => "out of time",
            Self::Tool => "the encoder failed",
        })
    }
}

impl Fault {
    pub fn retry(text: impl Into<String>) -> Self {
        Self::Retry(text.into())
    }
    pub fn reject(text: impl Into<String>) -> Self {
        Self::Reject(text.into())
    }
    pub fn escalate(reason: Shortage, detail: impl Into<String>) -> Self {
        Self::Escalate { reason, detail: detail.into() }
    }
}
