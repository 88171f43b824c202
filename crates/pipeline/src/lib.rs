//! What happens to a video: states, transitions, plan, messages, keys, faults and stages. No I/O, no AWS, no processes.
//!
//! Invariants, cited by tests and by the promises of the design:
//! 1. A transition is a pure function of the stored state and an event; a repeat is an answer, not an error.
//! 2. A plan is immutable.
//! 3. A stage may be stopped before any of its operations and run again with the same end.

pub mod assembly;
pub mod color;
pub mod cost;
pub mod encoder;
pub mod event;
pub mod excerpt;
pub mod fault;
pub mod film;
pub mod fleet;
pub mod gop;
pub mod headway;
pub mod id;
pub mod job;
pub mod key;
pub mod language;
pub mod loss;
pub mod loudness;
pub mod message;
pub mod mpd;
pub mod plan;
pub mod planner;
pub mod playlist;
pub mod ports;
pub mod profile;
pub mod quality;
pub mod receipt;
pub mod result;
pub mod retry;
pub mod samples;
pub mod source;
pub mod stage;
pub mod stills;
pub mod task;
pub mod timebase;
mod times;
pub mod trace;
pub mod usage;
pub mod view;
pub mod webhook;

pub use fault::{Fault, Shortage};
