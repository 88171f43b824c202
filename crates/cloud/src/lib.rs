//! The pipeline's ports over AWS: S3, SQS and DynamoDB through the AWS SDK.
//!
//! There is no local branch: `AWS_ENDPOINT_URL` is the only difference between a laptop and a region.
//!
//! Invariants, cited by tests:
//! 1. Single-item conditional writes only; of several writers of one version exactly one is told `true`, and a writer whose
//!    answer was lost on the way and that was sent again by the SDK is still told `true`.
//! 2. What other writers add to an item (`blocked`) survives a replace.
//! 3. Every read of a source is pinned: by version, or else by `ETag`.
//! 4. Transient errors are tried again in place, with a bound, before they become a [`Fault`](pipeline::Fault).
//! 5. A person's upload that breaks off is gone on with by the next run, and its object is the file to the byte.

pub mod blobs;
pub mod clock;
pub mod connect;
pub mod counter;
mod faults;
mod fetch;
mod items;
mod join;
mod kept;
mod layout;
pub mod ledger;
mod listing;
pub mod outbox;
mod parts;
mod patience;
mod resume;
mod sending;
pub mod settings;
mod unfinished;
mod update;
mod upload;
mod webhook;

pub use blobs::S3Blobs;
pub use clock::SystemClock;
pub use connect::{Access, Clients, Cloud};
pub use counter::Counter;
pub use ledger::DynamoLedger;
pub use outbox::SqsOutbox;
pub use sending::{Doing, Progress, Sending};
pub use settings::{Queues, Settings, SettingsError};
