//! Queues, buckets and log groups.

use std::time::Duration;

use super::{error::Problems, lifecycle, notifications, props::Props};
use crate::stack::{Bucket, CorsRule, Fifo, LogGroup, Queue, Redrive};

/// `AWS::SQS::Queue`
pub(super) fn queue(name: String, mut props: Props<'_>, problems: &mut Problems) -> Queue {
    props.without_effect(&["QueueName", "KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds", "SqsManagedSseEnabled", "Tags"]);
    let redrive = redrive(&mut props, problems);
    let seconds = Duration::from_secs;
    let queue = Queue {
        name,
        visibility_timeout: props.seconds("VisibilityTimeout", 0..=43_200, problems).unwrap_or(seconds(30)),
        retention: props.seconds("MessageRetentionPeriod", 60..=1_209_600, problems).unwrap_or(seconds(4 * 24 * 3_600)),
        delay: props.seconds("DelaySeconds", 0..=900, problems).unwrap_or_default(),
        receive_wait: props.seconds("ReceiveMessageWaitTimeSeconds", 0..=20, problems).unwrap_or_default(),
        max_message: props.number("MaximumMessageSize", 1_024..=1_048_576, problems).unwrap_or(1 << 20),
        redrive,
        redrive_allow: redrive_allow(&mut props, problems),
        fifo: fifo(&mut props, problems),
    };
    props.finish(problems);
    queue
}

fn redrive(props: &mut Props<'_>, problems: &mut Problems) -> Option<Redrive> {
    let mut policy = props.map("RedrivePolicy", problems)?;
    let target = policy.required("deadLetterTargetArn", problems).map(str::to_owned);
    policy.required("maxReceiveCount", problems);
    let count = policy.number("maxReceiveCount", 1..=1_000, problems);
    policy.finish(problems);
    Some(Redrive { dead_letter_target_arn: target?, max_receive_count: count? })
}

/// Who may name the queue as its dead-letter queue; none: everybody.
fn redrive_allow(props: &mut Props<'_>, problems: &mut Problems) -> Option<Vec<String>> {
    let mut policy = props.map("RedriveAllowPolicy", problems)?;
    let permission = policy.text("redrivePermission", problems).unwrap_or("allowAll");
    let sources: Vec<String> = policy.texts("sourceQueueArns", problems).into_iter().map(|(arn, _)| arn.to_owned()).collect();
    policy.only("redrivePermission", &["allowAll", "denyAll", "byQueue"], problems);
    if (permission == "byQueue") == sources.is_empty() {
        let message = "goes with redrivePermission: byQueue, which needs 1 to 10 of them";
        policy.fail(problems, policy.line_of("sourceQueueArns"), "sourceQueueArns", message);
    }
    policy.finish(problems);
    match permission {
        "allowAll" => None,
        _ => Some(sources),
    }
}

fn fifo(props: &mut Props<'_>, problems: &mut Problems) -> Option<Fifo> {
    let is_fifo = props.flag("FifoQueue", problems).unwrap_or(false);
    let only_fifo = ["ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit"];
    for key in only_fifo.into_iter().filter(|key| !is_fifo && props.has(key)) {
        props.fail(problems, props.line_of(key), key, "is for FIFO queues; set FifoQueue: true, or remove it");
    }
    let fifo = Fifo {
        content_based_deduplication: props.flag("ContentBasedDeduplication", problems).unwrap_or(false),
        deduplicate_by_group: props.only("DeduplicationScope", &["queue", "messageGroup"], problems) == Some("messageGroup"),
        throughput_by_group: props.only("FifoThroughputLimit", &["perQueue", "perMessageGroupId"], problems) == Some("perMessageGroupId"),
    };
    if fifo.throughput_by_group && !fifo.deduplicate_by_group {
        let message = "perMessageGroupId needs DeduplicationScope: messageGroup";
        props.fail(problems, props.line_of("FifoThroughputLimit"), "FifoThroughputLimit", message);
    }
    is_fifo.then_some(fifo)
}

/// `AWS::S3::Bucket`
pub(super) fn bucket(name: String, mut props: Props<'_>, problems: &mut Problems) -> Bucket {
    props.without_effect(&[
        "BucketName",
        "AccelerateConfiguration",
        "AccessControl",
        "AnalyticsConfigurations",
        "BucketEncryption",
        "IntelligentTieringConfigurations",
        "InventoryConfigurations",
        "LoggingConfiguration",
        "MetricsConfigurations",
        "OwnershipControls",
        "PublicAccessBlockConfiguration",
        "Tags",
    ]);
    props.unsupported(&["ObjectLockConfiguration", "ObjectLockEnabled", "ReplicationConfiguration", "WebsiteConfiguration"], problems);
    if let Some(mut versioning) = props.map("VersioningConfiguration", problems) {
        versioning.only("Status", &["Suspended"], problems);
        versioning.finish(problems);
    }
    let notifications = notifications::of_bucket(&mut props, problems);
    let lifecycle = lifecycle::rules(&mut props, problems);
    let cors = cors(&mut props, problems);
    props.finish(problems);
    Bucket { name, notifications, lifecycle, cors }
}

/// Rules of one `CorsConfiguration`. Source: S3 user guide, "Elements of a CORS configuration".
const MAX_CORS: usize = 100;

fn cors(props: &mut Props<'_>, problems: &mut Problems) -> Vec<CorsRule> {
    let Some(mut configuration) = props.map("CorsConfiguration", problems) else { return Vec::new() };
    let mut rules = Vec::new();
    for mut rule in configuration.maps("CorsRules", problems) {
        for key in ["AllowedOrigins", "AllowedMethods"].into_iter().filter(|key| !rule.has(key)) {
            rule.fail(problems, rule.line, key, "is missing; set it");
        }
        let methods = rule.texts("AllowedMethods", problems);
        for (method, line) in methods.iter().filter(|(method, _)| !["GET", "PUT", "HEAD", "POST", "DELETE"].contains(method)) {
            rule.fail(problems, *line, "AllowedMethods", format!("`{method}` must be GET, PUT, HEAD, POST or DELETE"));
        }
        let mut texts = |key| rule.texts(key, problems).into_iter().map(|(text, _)| text.to_owned()).collect::<Vec<_>>();
        let (origins, headers, expose_headers) = (texts("AllowedOrigins"), texts("AllowedHeaders"), texts("ExposedHeaders"));
        for origin in origins.iter().chain(&headers).filter(|text| text.matches('*').count() > 1) {
            rule.fail(problems, rule.line, "AllowedOrigins", format!("`{origin}` may hold one `*` at most"));
        }
        rules.push(CorsRule {
            id: rule.text("Id", problems).map(str::to_owned),
            origins,
            methods: methods.into_iter().map(|(method, _)| method.to_owned()).collect(),
            headers,
            expose_headers,
            max_age_seconds: rule.number("MaxAge", 0..=u32::MAX, problems),
        });
        rule.finish(problems);
    }
    if rules.len() > MAX_CORS {
        configuration.fail(problems, configuration.line, "CorsRules", format!("{} rules; S3 takes {MAX_CORS}", rules.len()));
    }
    configuration.finish(problems);
    rules
}

/// Retention times that CloudWatch Logs takes, days.
const RETENTION: [u32; 23] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1_096, 1_827, 2_192, 2_557, 2_922, 3_288, 3_653, 3_654];

/// `AWS::Logs::LogGroup`
pub(super) fn log_group(name: String, mut props: Props<'_>, problems: &mut Problems) -> LogGroup {
    props.without_effect(&[
        "LogGroupName",
        "KmsKeyId",
        "LogGroupClass",
        "DataProtectionPolicy",
        "DeletionProtectionEnabled",
        "FieldIndexPolicies",
        "ResourcePolicyDocument",
        "Tags",
    ]);
    let days = props.number("RetentionInDays", 1..=3_654, problems);
    if let Some(days) = days.filter(|days| !RETENTION.contains(days)) {
        let line = props.line_of("RetentionInDays");
        let message = format!("{days} days is no retention that CloudWatch Logs takes; use 1, 3, 5, 7, 14, 30, 60, 90, …");
        props.fail(problems, line, "RetentionInDays", message);
    }
    props.finish(problems);
    LogGroup { name, retention_days: days }
}
