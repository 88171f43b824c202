//! A runtime for SAM templates on one machine: S3, SQS, DynamoDB, Lambda and CloudWatch Logs on one port, with the
//! event chain between them. It knows nothing about what the functions do.
//!
//! Invariants, cited by tests:
//! 1. What was answered with success survives `kill -9`: objects, messages, items, notifications due.
//! 2. A message is deleted only after the function that was given it succeeded.
//! 3. No process outlives the platform, and no environment is killed while it is healthy and wanted.
//! 4. Every queue, wait, body and process count has a bound.

pub mod config;
pub mod cron;
mod data_dir;
pub mod dynamodb;
mod gateway;
pub mod http_api;
mod iam;
pub mod lambda;
pub mod logs;
mod metrics;
mod pump;
mod room;
mod run;
pub mod s3;
mod server;
pub mod sqs;
pub mod stack;
pub mod template;

pub use config::{Config, DiskBounds, TemplateSource};
pub use data_dir::DataDirError;
pub use run::{Listeners, PlatformError, endpoint, run};
