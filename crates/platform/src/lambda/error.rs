//! What can go wrong, by what the caller does next.

use std::path::PathBuf;

use crate::stack;

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
    #[error(
        "the reserved concurrency of all functions together, {reserved}, leaves less than {least} of the account's {account}; AWS refuses that: reserve less, or give the account more"
    )]
    Reserved { reserved: u64, account: u32, least: u32 },
    #[error("cannot use {} for Lambda's data: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("Lambda's database cannot be used: {0}")]
    Database(#[from] rusqlite::Error),
}

/// Why an invocation had no outcome. A function's own error is an outcome ([`super::Outcome::function_error`]).
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// Its name, with the qualifier if one was given.
    #[error("Function not found: {}", stack::function_arn(.0))]
    NotFound(String),
    #[error("Rate Exceeded.")]
    Throttled(Throttle),
    #[error("Request must be smaller than {limit} bytes for the InvokeFunction operation")]
    TooLarge { limit: usize },
    #[error("Could not parse request body into json: {0}")]
    NotJson(String),
    #[error("The resource you requested does not exist.")]
    NoMapping,
    /// Of the control API.
    #[error("{0}")]
    Invalid(String),
    /// Its reserved concurrency is zero: it waits for nothing.
    #[error("Rate Exceeded. The function's reserved concurrency is 0.")]
    NeverRuns,
    /// It could not be run before its greatest age.
    #[error("The event was not run before it was too old.")]
    TooOld,
    #[error("Lambda is shutting down")]
    ShuttingDown,
    /// The platform could not run the function at all.
    #[error("cannot run {function}: {reason}")]
    Platform { function: String, reason: String },
}

/// Which limit an invocation met. Source: AWS Lambda API reference, `TooManyRequestsException`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttle {
    /// The function's reserved concurrency.
    Reserved,
    /// The account's concurrency, less what is reserved.
    Account,
    /// Too many events wait already.
    Events,
}

impl Throttle {
    /// `Reason` of the exception.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Reserved => "ReservedFunctionConcurrentInvocationLimitExceeded",
            Self::Account => "ConcurrentInvocationLimitExceeded",
            Self::Events => "FunctionInvocationRateLimitExceeded",
        }
    }
}
