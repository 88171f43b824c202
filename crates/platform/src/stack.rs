//! What a template resolves to: plain values, no YAML and no intrinsic functions left in them.
//!
//! Every service of the platform is set up from these values and from nothing else, so that the topology is written
//! once, in the template.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::cron::Cron;

/// Region every ARN of the platform names.
pub const REGION: &str = "us-east-1";
/// Account every ARN of the platform names (LocalStack's).
pub const ACCOUNT: &str = "000000000000";

/// The account's default event bus: among a bucket's notifications it stands for `EventBridgeConfiguration`.
pub const EVENT_BUS: &str = "arn:aws:events:us-east-1:000000000000:event-bus/default";

/// All that a template asks for, resolved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stack {
    pub buckets: Vec<Bucket>,
    pub queues: Vec<Queue>,
    pub tables: Vec<Table>,
    pub functions: Vec<Function>,
    pub mappings: Vec<EventSourceMapping>,
    pub schedules: Vec<Schedule>,
    pub event_rules: Vec<EventRule>,
    pub http_apis: Vec<HttpApi>,
    pub log_groups: Vec<LogGroup>,
    /// Outputs by name, resolved.
    pub outputs: BTreeMap<String, String>,
    /// Resources that exist on AWS only (alarms, dashboards, …): `(logical id, type)`.
    pub noted: Vec<(String, String)>,
    /// What functions, roles and queues are allowed on AWS: read and shown.
    pub policies: Vec<Policy>,
    /// What each function may do, by its name: enforced where [`Config`](crate::Config) says so.
    pub rights: BTreeMap<String, Rights>,
}

/// The role that a function works under.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rights {
    /// Name of the role.
    pub role: String,
    /// Documents, and names of managed or SAM policies with their parameters; intrinsic functions resolved.
    pub policies: Vec<Value>,
}

/// A policy of the template.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Logical id of the resource that it stands at.
    pub logical_id: String,
    /// The document, or the name of a managed or SAM policy with its parameters; intrinsic functions resolved.
    pub document: Value,
}

/// `AWS::S3::Bucket`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bucket {
    pub name: String,
    pub notifications: Vec<BucketNotification>,
    pub lifecycle: Vec<LifecycleRule>,
    pub cors: Vec<CorsRule>,
}

/// One `QueueConfigurations` or `LambdaConfigurations` entry of a bucket, or an `S3` event of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct BucketNotification {
    /// Event names as in the template: `s3:ObjectCreated:*`.
    pub events: Vec<String>,
    /// Empty: every key.
    pub prefix: String,
    pub suffix: String,
    /// ARN of a queue or of a function.
    pub target_arn: String,
}

/// One enabled rule of `LifecycleConfiguration`; what it asks for beyond this has no effect on one machine (storage
/// classes) or is refused. Source: S3 user guide, "Lifecycle configuration elements".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LifecycleRule {
    pub id: Option<String>,
    /// Empty: every key.
    pub prefix: String,
    /// All of these tags, `(key, value)`.
    pub tags: Vec<(String, String)>,
    /// Objects larger than this, bytes.
    pub larger_than: Option<u64>,
    /// Objects smaller than this, bytes.
    pub smaller_than: Option<u64>,
    /// Objects go this many days after they were made.
    pub expire_days: Option<u32>,
    /// Objects go from this time on, ms since the epoch (midnight UTC).
    pub expire_at_ms: Option<u64>,
    /// Multipart uploads that are not complete go this many days after they were begun.
    pub abort_uploads_days: Option<u32>,
}

/// One rule of `CorsConfiguration`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CorsRule {
    pub id: Option<String>,
    /// Each with at most one `*`.
    pub origins: Vec<String>,
    /// `GET`, `PUT`, `HEAD`, `POST`, `DELETE`.
    pub methods: Vec<String>,
    pub headers: Vec<String>,
    pub expose_headers: Vec<String>,
    pub max_age_seconds: Option<u32>,
}

/// `AWS::SQS::Queue`
#[derive(Clone, Debug, PartialEq)]
pub struct Queue {
    /// Ends in `.fifo` exactly where `fifo` is given.
    pub name: String,
    /// Default 30 s.
    pub visibility_timeout: Duration,
    /// Default 4 days.
    pub retention: Duration,
    /// Default 0 s.
    pub delay: Duration,
    /// `ReceiveMessageWaitTimeSeconds`, default 0 s.
    pub receive_wait: Duration,
    /// `MaximumMessageSize`, bytes; default 1 MiB.
    pub max_message: u32,
    pub redrive: Option<Redrive>,
    /// `RedriveAllowPolicy`: ARNs of the queues that may name this one as their dead-letter queue; none: all may, an
    /// empty list: none may.
    pub redrive_allow: Option<Vec<String>>,
    /// `FifoQueue`.
    pub fifo: Option<Fifo>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            name: String::new(),
            visibility_timeout: Duration::from_secs(30),
            retention: Duration::from_secs(4 * 24 * 3_600),
            delay: Duration::ZERO,
            receive_wait: Duration::ZERO,
            max_message: 1 << 20,
            redrive: None,
            redrive_allow: None,
            fifo: None,
        }
    }
}

/// What a FIFO queue has beyond a standard one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fifo {
    /// `ContentBasedDeduplication`
    pub content_based_deduplication: bool,
    /// `DeduplicationScope` is `messageGroup` rather than `queue`.
    pub deduplicate_by_group: bool,
    /// `FifoThroughputLimit` is `perMessageGroupId` rather than `perQueue`. Shown; there is no limit here.
    pub throughput_by_group: bool,
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

/// `AWS::Serverless::Function` or `AWS::Lambda::Function`
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
    /// The rest of `LoggingConfig`.
    pub log_format: LogFormat,
    /// `EventInvokeConfig` and `DeadLetterQueue`.
    pub asynchronous: Asynchronous,
}

/// What a function is told of how to write its lines. Source: AWS Lambda developer guide, "Configuring advanced logging
/// controls for Lambda functions".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Text,
    Json {
        /// `ApplicationLogLevel`.
        level: String,
    },
}

/// How a function's asynchronous invocations are retried and where their records go. Source: AWS Lambda developer guide,
/// "Configuring error handling settings for asynchronous invocations".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asynchronous {
    /// `MaximumRetryAttempts`, 0 to 2; default 2.
    pub retries: u32,
    /// `MaximumEventAgeInSeconds`, 60 s to 6 h; default 6 h.
    pub max_age: Duration,
    /// ARN of a queue or function that gets a record of each event that failed for good.
    pub on_failure: Option<String>,
    /// ARN of a queue or function that gets a record of each event that was done.
    pub on_success: Option<String>,
    /// `DeadLetterConfig.TargetArn`: the queue that gets the event itself when it failed for good.
    pub dead_letter: Option<String>,
}

impl Default for Asynchronous {
    fn default() -> Self {
        Self { retries: 2, max_age: Duration::from_secs(6 * 3_600), on_failure: None, on_success: None, dead_letter: None }
    }
}

/// An `SQS` event of a function, or `AWS::Lambda::EventSourceMapping`.
#[derive(Clone, Debug, PartialEq)]
pub struct EventSourceMapping {
    /// Function name.
    pub function: String,
    pub queue_arn: String,
    /// 1 to 10, or to 10,000 with a window of at least 1 s (not for FIFO queues); default 10.
    pub batch_size: u32,
    pub batch_window: Duration,
    /// `ScalingConfig.MaximumConcurrency`, at least 2.
    pub maximum_concurrency: Option<u32>,
    /// `FunctionResponseTypes` holds `ReportBatchItemFailures`.
    pub report_batch_item_failures: bool,
    /// `FilterCriteria`: a message that fits none of these patterns is deleted unseen; empty: every message fits.
    /// Source: AWS Lambda developer guide, "Filter rule syntax".
    pub filters: Vec<Value>,
    pub enabled: bool,
}

impl Default for EventSourceMapping {
    fn default() -> Self {
        Self {
            function: String::new(),
            queue_arn: String::new(),
            batch_size: 10,
            batch_window: Duration::ZERO,
            maximum_concurrency: None,
            report_batch_item_failures: false,
            filters: Vec::new(),
            enabled: true,
        }
    }
}

/// A `Schedule` event of a function, or a target of `AWS::Events::Rule`.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Name of the rule.
    pub name: String,
    /// Function name.
    pub function: String,
    pub timing: Timing,
    /// `Input`: constant JSON given to the function in place of the scheduled event.
    pub input: Option<Value>,
    pub enabled: bool,
}

/// `AWS::Events::Rule` with a pattern: what fits it of what buckets tell the event bus goes to its targets.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRule {
    pub name: String,
    /// `EventPattern`. Source: EventBridge user guide, "Event patterns".
    pub pattern: Value,
    /// ARNs of queues and functions.
    pub targets: Vec<String>,
    pub enabled: bool,
}

/// When a schedule calls its function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Timing {
    /// `rate(…)`
    Every(Duration),
    /// `cron(…)`, in UTC.
    Cron(Cron),
}

/// The HTTP API of a template: `AWS::Serverless::HttpApi`, or the one that `HttpApi` events without an `ApiId` share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpApi {
    pub logical_id: String,
    pub routes: Vec<Route>,
    pub cors: Option<HttpCors>,
    /// `StageName`, default `$default`, which is not part of paths.
    pub stage: String,
    /// `StageVariables`
    pub stage_variables: BTreeMap<String, String>,
}

impl HttpApi {
    /// Where its paths begin, from where it is served: the stage is a part of them unless it is the default one.
    pub fn url(&self, endpoint: &str) -> String {
        match self.stage.as_str() {
            "" | "$default" => format!("{endpoint}/"),
            stage => format!("{endpoint}/{stage}/"),
        }
    }
}

/// One route of an HTTP API, with payload format 2.0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Upper case; none: `ANY`.
    pub method: Option<String>,
    /// As in the template: `/films/{id}`, `/{proxy+}`; `$default` takes what no other route does.
    pub path: String,
    /// Function name.
    pub function: String,
    /// `TimeoutInMillis`, 50 ms to 30 s; default 30 s.
    pub timeout: Duration,
}

/// `CorsConfiguration` of an HTTP API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpCors {
    pub origins: Vec<String>,
    pub methods: Vec<String>,
    pub headers: Vec<String>,
    pub expose_headers: Vec<String>,
    pub max_age_seconds: Option<u32>,
    pub allow_credentials: bool,
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

/// `arn:aws:iam::<account>:role/<name>`
pub fn role_arn(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{name}")
}

/// `arn:aws:iam::<account>:policy/<name>`
pub fn policy_arn(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:policy/{name}")
}

/// The id of an HTTP API: what `Ref` of it is, and the first part of its host on AWS. 10 letters and digits, the same for
/// every run.
pub fn http_api_id(logical_id: &str) -> String {
    let hash = hex::encode(Sha256::digest(logical_id));
    hash.get(..10).unwrap_or(&hash).to_owned()
}

/// The name at the end of a queue's or a function's ARN.
pub fn name_of_arn(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or(arn)
}
