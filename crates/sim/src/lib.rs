//! A deterministic world for the pipeline's stages: all ports in memory, virtual time, one seed, and everything that goes
//! wrong in a cloud. Tests only.
//!
//! Invariants that are checked while a world runs (see [`check`]):
//! 1. A fencing number is given once; only its holder commits the task (P4).
//! 2. A committed task names objects that are stored; a done task never changes.
//! 3. What was published never changes, and everything that a visible playlist names is there (P3).
//!
//! Time is a number, chance is a seed and there are no threads: the same scenario runs the same way every time.

mod blobs;
mod chaos;
pub mod check;
mod encoder;
mod functions;
mod kernel;
mod ledger;
mod queue;
mod sabotage;
mod scenario;
mod scheduler;
pub mod source;
mod state;

pub use chaos::{Chaos, Harm, Moment, Rng};
pub use encoder::Act;
pub use sabotage::Sabotage;
pub use scenario::Scenario;
pub use scheduler::{Answer, Call, Outcome, answer, run};
pub use source::Kind;
pub use state::{START_MS, State};
