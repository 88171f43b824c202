//! What can go wrong, by what the caller does next.

use std::path::PathBuf;

/// Why Lambda could not start, or refused a mapping.
#[derive(Debug, thiserror::Error)]
pub enum LambdaError {
    #[error(
        "function {function}: no executable found at {}; build it (`cargo build --bin {binary}`, or `sam build`) or give the directory that holds it",
        looked.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" or ")
    )]
    NoBootstrap { function: String, binary: String, looked: Vec<PathBuf> },
    #[error("two functions have the name {0}; names must differ")]
    TwoOfOneName(String),
    #[error("cannot use {} for Lambda's data: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("Lambda's database cannot be used: {0}")]
    Database(#[from] rusqlite::Error),
}

/// Why an invocation had no outcome. A function's own error is an outcome ([`super::Outcome::function_error`]).
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    #[error("function {0} does not exist")]
    NotFound(String),
    #[error("too many concurrent invocations ({0}); try again later")]
    Throttled(&'static str),
    #[error("the payload has {size} bytes, more than the {limit} that an invocation takes")]
    TooLarge { size: usize, limit: usize },
    #[error("the payload is not JSON: {0}")]
    NotJson(String),
    #[error("Lambda is shutting down")]
    ShuttingDown,
    /// The platform could not run the function at all.
    #[error("cannot run {function}: {reason}")]
    Platform { function: String, reason: String },
}
