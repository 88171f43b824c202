//! What a template resolves to: plain values, no YAML and no intrinsic functions left in them.
//!
//! Every service of the platform is set up from these values and from nothing else, so that the topology is written
//! once, in the template.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde_json::Value;

/// Region every ARN of the platform names.
pub const REGION: &str = "us-east-1";
/// Account every ARN of the platform names (LocalStack's).
pub const ACCOUNT: &str = "000000000000";

/// All that a template asks for, resolved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stack {
    pub buckets: Vec<Bucket>,
    pub queues: Vec<Queue>,
    pub tables: Vec<Table>,
    pub functions: Vec<Function>,
    pub mappings: Vec<EventSourceMapping>,
    pub schedules: Vec<Schedule>,
    pub log_groups: Vec<LogGroup>,
    /// Outputs by name, resolved.
    pub outputs: BTreeMap<String, String>,
    /// Resources that exist on AWS only (alarms, dashboards, …): `(logical id, type)`.
    pub noted: Vec<(String, String)>,
}

/// `AWS::S3::Bucket`
#[derive(Clone, Debug, PartialEq)]
pub struct Bucket {
    pub name: String,
    pub notifications: Vec<BucketNotification>,
}

/// One `QueueConfigurations` entry of a bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct BucketNotification {
    /// Event names as in the template: `s3:ObjectCreated:*`.
    pub events: Vec<String>,
    /// Empty: every key.
    pub prefix: String,
    pub suffix: String,
    pub queue_arn: String,
}

/// `AWS::SQS::Queue`
#[derive(Clone, Debug, PartialEq)]
pub struct Queue {
    pub name: String,
    /// Default 30 s.
    pub visibility_timeout: Duration,
    /// Default 4 days.
    pub retention: Duration,
    /// Default 0 s.
    pub delay: Duration,
    /// `ReceiveMessageWaitTimeSeconds`, default 0 s.
    pub receive_wait: Duration,
    pub redrive: Option<Redrive>,
}

/// `RedrivePolicy`
#[derive(Clone, Debug, PartialEq)]
pub struct Redrive {
    pub dead_letter_target_arn: String,
    pub max_receive_count: u32,
}

/// `AWS::DynamoDB::Table`
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub name: String,
    /// The body of the `CreateTable` request that makes it (AWS's JSON 1.0 shape).
    pub create_table: Value,
    /// `TimeToLiveSpecification.AttributeName`, where enabled.
    pub ttl_attribute: Option<String>,
}

/// `AWS::Serverless::Function`
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    pub logical_id: String,
    pub name: String,
    /// Directory of the code, absolute: `CodeUri` against the template's directory.
    pub code_dir: PathBuf,
    /// `Metadata.BuildProperties.Binary` or else the last component of `CodeUri`: the cargo binary that is its bootstrap.
    pub binary: String,
    pub memory_mb: u32,
    pub timeout: Duration,
    /// `EphemeralStorage.Size` in MB, default 512.
    pub ephemeral_mb: u32,
    pub environment: BTreeMap<String, String>,
    /// Content directories of its layers, absolute, in order.
    pub layers: Vec<PathBuf>,
    pub reserved_concurrency: Option<u32>,
    /// `LoggingConfig.LogGroup`, default `/aws/lambda/<name>`.
    pub log_group: String,
}

/// An `SQS` event of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct EventSourceMapping {
    /// Function name.
    pub function: String,
    pub queue_arn: String,
    /// 1 to 10 (without a window), default 10.
    pub batch_size: u32,
    pub batch_window: Duration,
    /// `ScalingConfig.MaximumConcurrency`, at least 2.
    pub maximum_concurrency: Option<u32>,
    /// `FunctionResponseTypes` holds `ReportBatchItemFailures`.
    pub report_batch_item_failures: bool,
    pub enabled: bool,
}

/// A `Schedule` event of a function, `rate(…)` only so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Name of the rule.
    pub name: String,
    /// Function name.
    pub function: String,
    pub every: Duration,
    /// `Input`: constant JSON given to the function in place of the scheduled event.
    pub input: Option<Value>,
    pub enabled: bool,
}

/// `AWS::Logs::LogGroup`
#[derive(Clone, Debug, PartialEq)]
pub struct LogGroup {
    pub name: String,
    pub retention_days: Option<u32>,
}

/// `arn:aws:sqs:<region>:<account>:<name>`
pub fn queue_arn(name: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
}

/// `arn:aws:lambda:<region>:<account>:function:<name>`
pub fn function_arn(name: &str) -> String {
    format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}")
}

/// The name at the end of a queue's or a function's ARN.
pub fn name_of_arn(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or(arn)
}
