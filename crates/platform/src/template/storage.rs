//! Queues, buckets and log groups.

use std::time::Duration;

use super::{error::Problems, props::Props};
use crate::stack::{Bucket, BucketNotification, LogGroup, Queue, Redrive};

/// `AWS::SQS::Queue`
pub(super) fn queue(name: String, mut props: Props<'_>, problems: &mut Problems) -> Queue {
    props.without_effect(&[
        "QueueName",
        "KmsMasterKeyId",
        "KmsDataKeyReusePeriodSeconds",
        "SqsManagedSseEnabled",
        "RedriveAllowPolicy",
        "MaximumMessageSize",
        "Tags",
    ]);
    if props.flag("FifoQueue", problems) == Some(true) {
        let line = props.line_of("FifoQueue");
        props.fail(problems, line, "FifoQueue", "FIFO queues are not supported by the platform yet; use a standard queue");
    }
    props.unsupported(&["ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit"], problems);
    let redrive = redrive(&mut props, problems);
    let seconds = Duration::from_secs;
    let queue = Queue {
        name,
        visibility_timeout: props.seconds("VisibilityTimeout", 0..=43_200, problems).unwrap_or(seconds(30)),
        retention: props.seconds("MessageRetentionPeriod", 60..=1_209_600, problems).unwrap_or(seconds(4 * 24 * 3_600)),
        delay: props.seconds("DelaySeconds", 0..=900, problems).unwrap_or_default(),
        receive_wait: props.seconds("ReceiveMessageWaitTimeSeconds", 0..=20, problems).unwrap_or_default(),
        max_message: 1 << 20,
        redrive,
        redrive_allow: None,
        fifo: None,
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
        "LifecycleConfiguration",
        "LoggingConfiguration",
        "MetricsConfigurations",
        "OwnershipControls",
        "PublicAccessBlockConfiguration",
        "Tags",
    ]);
    props.unsupported(
        &["CorsConfiguration", "ObjectLockConfiguration", "ObjectLockEnabled", "ReplicationConfiguration", "WebsiteConfiguration"],
        problems,
    );
    if let Some(mut versioning) = props.map("VersioningConfiguration", problems) {
        versioning.only("Status", &["Suspended"], problems);
        versioning.finish(problems);
    }
    let mut notifications = Vec::new();
    if let Some(mut configuration) = props.map("NotificationConfiguration", problems) {
        let others = ["LambdaConfigurations", "TopicConfigurations", "EventBridgeConfiguration"];
        configuration.unsupported(&others, problems);
        for entry in configuration.maps("QueueConfigurations", problems) {
            notify(entry, &mut notifications, problems);
        }
        configuration.finish(problems);
    }
    props.finish(problems);
    Bucket { name, notifications: notifications.into_iter().map(|(notification, _)| notification).collect(), ..Bucket::default() }
}

/// Event names that the platform's S3 sends.
const EVENTS: [&str; 8] = [
    "s3:ObjectCreated:*",
    "s3:ObjectCreated:Put",
    "s3:ObjectCreated:Post",
    "s3:ObjectCreated:Copy",
    "s3:ObjectCreated:CompleteMultipartUpload",
    "s3:ObjectRemoved:*",
    "s3:ObjectRemoved:Delete",
    "s3:ObjectRemoved:DeleteMarkerCreated",
];

fn notify(mut entry: Props<'_>, all: &mut Vec<(BucketNotification, usize)>, problems: &mut Problems) {
    entry.required("Event", problems);
    let event = entry.only("Event", &EVENTS, problems);
    let queue = entry.required("Queue", problems);
    let (mut prefix, mut suffix) = (String::new(), String::new());
    if let Some(mut filter) = entry.map("Filter", problems) {
        if let Some(mut key) = filter.map("S3Key", problems) {
            for mut rule in key.maps("Rules", problems) {
                let value = rule.required("Value", problems).unwrap_or_default().to_owned();
                match rule.required("Name", problems).map(str::to_ascii_lowercase).as_deref() {
                    Some("prefix") => prefix = value,
                    Some("suffix") => suffix = value,
                    Some(other) => {
                        rule.fail(problems, rule.line, "Name", format!("`{other}` must be prefix or suffix"));
                    }
                    None => {}
                }
                rule.finish(problems);
            }
            key.finish(problems);
        }
        filter.finish(problems);
    }
    if let (Some(event), Some(queue)) = (event, queue) {
        let notification = BucketNotification { events: vec![event.into()], prefix, suffix, target_arn: queue.into() };
        if let Some((_, line)) = all.iter().find(|(other, _)| ambiguous(other, &notification)) {
            let message = format!("overlaps with the configuration on line {line}, which S3 refuses; make prefix or suffix differ");
            entry.fail(problems, entry.line, "Filter", message);
        }
        all.push((notification, entry.line));
    }
    entry.finish(problems);
}

/// S3's rule: two configurations may not both match one key and one event.
fn ambiguous(a: &BucketNotification, b: &BucketNotification) -> bool {
    let either = |a: &str, b: &str| a.starts_with(b) || b.starts_with(a);
    let stem = |event: &str| event.trim_end_matches('*').to_owned();
    let events = a.events.iter().any(|x| b.events.iter().any(|y| either(&stem(x), &stem(y))));
    let suffixes = a.suffix.ends_with(&b.suffix) || b.suffix.ends_with(&a.suffix);
    events && suffixes && either(&a.prefix, &b.prefix)
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
