//! The door of every function: an SQS batch, a schedule or an HTTP request in, an answer out; logs, deadline, scratch space and
//! shutdown in between.
//!
//! Invariants, cited by tests:
//! 1. A message is reported done only if its handler said so: a fault, a panic, a late or an unreadable one comes back.
//! 2. A function that cannot start says why, as Lambda's init error, and does not panic.
//! 3. Nothing of one invocation is left on the disk for the next, not even of one that was killed.
//! 4. Every line on stdout is one flat JSON object that carries the fields of its spans.

mod batch;
mod call;
mod collector;
mod extension;
mod http;
mod log;
mod otlp;
mod scratch;
mod serve;
mod traces;
mod vitals;

pub use batch::Message;
pub use call::{Call, Environment, Shutdown};
pub use http::{HttpAnswer, HttpRequest};
pub use pipeline::stage::{Ending, Request};
pub use serve::{FAREWELL, serve, serve_http, serve_schedule};

/// What ends a function: told to Lambda and to the log.
pub type Error = lambda_runtime::Error;

/// The variables of the process, for settings that are read through a closure.
pub fn env() -> impl Fn(&str) -> Option<String> + Copy {
    #[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
    |name: &str| std::env::var(name).ok()
}
