//! Notifications and lifecycle rules of buckets on the wire.
#![allow(clippy::wildcard_imports, reason = "dozens of shapes with S3's own names")]

use s3s::{S3Request, dto::*};
use uuid::Uuid;

use super::{
    Refusal, S3, S3Error, bus, lifecycle,
    notice::{self, Rule},
    now_ms,
    settings::{self, Kind},
    wire::{millis, timestamp},
};
use crate::stack::EVENT_BUS;

/// Rules of one bucket: AWS's limits.
const MAX_LIFECYCLE_RULES: usize = 1000;
const MAX_NOTIFICATIONS: usize = 100;
/// Characters of a rule's id.
const MAX_ID: usize = 255;

/// Events that a notification may name. Those of versions, archives and replication never happen here.
const EVENTS: [&str; 27] = [
    "s3:ObjectCreated:*",
    "s3:ObjectCreated:Put",
    "s3:ObjectCreated:Post",
    "s3:ObjectCreated:Copy",
    "s3:ObjectCreated:CompleteMultipartUpload",
    "s3:ObjectRemoved:*",
    "s3:ObjectRemoved:Delete",
    "s3:ObjectRemoved:DeleteMarkerCreated",
    "s3:ObjectTagging:*",
    "s3:ObjectTagging:Put",
    "s3:ObjectTagging:Delete",
    "s3:ObjectAcl:Put",
    "s3:ObjectRestore:*",
    "s3:ObjectRestore:Post",
    "s3:ObjectRestore:Completed",
    "s3:ObjectRestore:Delete",
    "s3:ReducedRedundancyLostObject",
    "s3:Replication:*",
    "s3:Replication:OperationFailedReplication",
    "s3:Replication:OperationNotTracked",
    "s3:Replication:OperationMissedThreshold",
    "s3:Replication:OperationReplicatedAfterThreshold",
    "s3:LifecycleExpiration:*",
    "s3:LifecycleExpiration:Delete",
    "s3:LifecycleExpiration:DeleteMarkerCreated",
    "s3:LifecycleTransition",
    "s3:IntelligentTiering",
];

/// `GetBucketNotificationConfiguration`
pub async fn get_notifications(
    s3: &S3,
    req: S3Request<GetBucketNotificationConfigurationInput>,
) -> Result<GetBucketNotificationConfigurationOutput, S3Error> {
    let rules: Option<Vec<Rule>> = s3.db.read(move |conn| settings::get(conn, &req.input.bucket, Kind::Notifications)).await?;
    let (mut queues, mut functions, mut bridge) = (Vec::new(), Vec::new(), None);
    for (index, rule) in rules.unwrap_or_default().into_iter().enumerate() {
        if rule.target_arn == EVENT_BUS {
            bridge = Some(EventBridgeConfiguration::default());
            continue;
        }
        let (id, filter) = (Some(rule.name(index)), shown_filter(&rule));
        let events = rule.events.into_iter().map(Event::from).collect();
        if notice::is_queue(&rule.target_arn) {
            queues.push(QueueConfiguration { events, filter, id, queue_arn: rule.target_arn });
        } else {
            functions.push(LambdaFunctionConfiguration { events, filter, id, lambda_function_arn: rule.target_arn });
        }
    }
    Ok(GetBucketNotificationConfigurationOutput {
        queue_configurations: Some(queues).filter(|queues| !queues.is_empty()),
        lambda_function_configurations: Some(functions).filter(|functions| !functions.is_empty()),
        event_bridge_configuration: bridge,
        ..Default::default()
    })
}

fn shown_filter(rule: &Rule) -> Option<NotificationConfigurationFilter> {
    let named = [(FilterRuleName::PREFIX, &rule.prefix), (FilterRuleName::SUFFIX, &rule.suffix)];
    let rules: Vec<FilterRule> = named
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| FilterRule { name: Some(FilterRuleName::from_static(name)), value: Some(value.clone()) })
        .collect();
    let key =
        Some(S3KeyFilter { filter_rules: Some(rules) }).filter(|key| key.filter_rules.as_ref().is_some_and(|rules| !rules.is_empty()));
    key.map(|key| NotificationConfigurationFilter { key: Some(key) })
}

/// `PutBucketNotificationConfiguration`: replaces all, and queues get a test event.
pub async fn put_notifications(
    s3: &S3,
    req: S3Request<PutBucketNotificationConfigurationInput>,
) -> Result<PutBucketNotificationConfigurationOutput, S3Error> {
    let PutBucketNotificationConfigurationInput { bucket, notification_configuration: of, .. } = req.input;
    if of.topic_configurations.is_some_and(|topics| !topics.is_empty()) {
        let why = "notifications go to queues, functions and the event bus here: there are no topics";
        return Err(Refusal::NotImplemented(why.into()).into());
    }
    let queues = of.queue_configurations.unwrap_or_default().into_iter();
    let functions = of.lambda_function_configurations.unwrap_or_default().into_iter();
    let mut rules: Vec<Rule> = queues
        .map(|of| notification(of.id, &of.events, of.filter, (of.queue_arn, "sqs")))
        .chain(functions.map(|of| notification(of.id, &of.events, of.filter, (of.lambda_function_arn, "lambda"))))
        .collect::<Result<_, _>>()?;
    check_notifications(&rules)?;
    rules.extend(of.event_bridge_configuration.map(|_| bus::rule()));
    s3.db.write(move |change| settings::set_rules(change, &bucket, &rules, now_ms())).await?;
    Ok(PutBucketNotificationConfigurationOutput::default())
}

fn notification(
    id: Option<String>,
    events: &EventList,
    filter: Option<NotificationConfigurationFilter>,
    (target_arn, service): (String, &str),
) -> Result<Rule, S3Error> {
    let invalid = |why: String| S3Error::from(Refusal::InvalidArgument(why));
    let events: Vec<String> = events.iter().map(|event| event.as_ref().to_owned()).collect();
    if events.is_empty() || events.iter().any(|event| !EVENTS.contains(&event.as_str())) {
        return Err(invalid(format!("The event is not supported for notifications: {}", events.join(", "))));
    }
    let arn: Vec<&str> = target_arn.split(':').collect();
    if arn.len() < 6 || arn[0] != "arn" || arn[2] != service {
        return Err(invalid(format!("The ARN is not well formed, or not one of {service}: {target_arn}")));
    }
    let (mut prefix, mut suffix) = (String::new(), String::new());
    for rule in filter.and_then(|filter| filter.key).and_then(|key| key.filter_rules).unwrap_or_default() {
        let name = rule.name.as_ref().map(FilterRuleName::as_str).unwrap_or_default().to_ascii_lowercase();
        let target = match name.as_str() {
            FilterRuleName::PREFIX => &mut prefix,
            FilterRuleName::SUFFIX => &mut suffix,
            _ => return Err(invalid("filter rule name must be either prefix or suffix".into())),
        };
        if !target.is_empty() {
            return Err(invalid(format!("Cannot specify more than one {name} rule in a filter.")));
        }
        *target = rule.value.unwrap_or_default();
    }
    Ok(Rule { id: id.or_else(|| Some(Uuid::new_v4().to_string())), events, prefix, suffix, target_arn })
}

/// One event of one key goes to one target, as on AWS.
fn check_notifications(rules: &[Rule]) -> Result<(), S3Error> {
    let invalid = |why: &str| Err(Refusal::InvalidArgument(why.into()).into());
    if rules.len() > MAX_NOTIFICATIONS {
        return invalid("a bucket has at most 100 notification configurations");
    }
    let related = |a: &str, b: &str| {
        let class = |event: &str| event.strip_suffix('*').map(ToOwned::to_owned);
        a == b || class(a).is_some_and(|class| b.starts_with(&class)) || class(b).is_some_and(|class| a.starts_with(&class))
    };
    for (index, rule) in rules.iter().enumerate() {
        for other in &rules[..index] {
            if rule.id == other.id {
                return invalid("Same ID used for multiple configurations. IDs must be unique");
            }
            let events = rule.events.iter().any(|a| other.events.iter().any(|b| related(a, b)));
            let prefixes = rule.prefix.starts_with(&other.prefix) || other.prefix.starts_with(&rule.prefix);
            let suffixes = rule.suffix.ends_with(&other.suffix) || other.suffix.ends_with(&rule.suffix);
            if events && prefixes && suffixes {
                return invalid(
                    "Configurations overlap. Configurations on the same bucket cannot share a common event type with overlapping filters.",
                );
            }
        }
    }
    Ok(())
}

/// `GetBucketLifecycleConfiguration`
pub async fn get_lifecycle(
    s3: &S3,
    req: S3Request<GetBucketLifecycleConfigurationInput>,
) -> Result<GetBucketLifecycleConfigurationOutput, S3Error> {
    let rules: Option<Vec<lifecycle::Rule>> = s3.db.read(move |conn| settings::get(conn, &req.input.bucket, Kind::Lifecycle)).await?;
    let rules = rules.ok_or(Refusal::NotSet("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist"))?;
    Ok(GetBucketLifecycleConfigurationOutput { rules: Some(rules.into_iter().map(shown_rule).collect()), ..Default::default() })
}

fn shown_rule(of: lifecycle::Rule) -> LifecycleRule {
    let days = |days: u32| i32::try_from(days).unwrap_or(i32::MAX);
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let mut tags: Vec<Tag> = of.tags.into_iter().map(|(key, value)| Tag { key: Some(key), value: Some(value) }).collect();
    let prefix = Some(of.prefix);
    let (larger, smaller) = (of.larger_than.map(bytes), of.smaller_than.map(bytes));
    let given = tags.len() + usize::from(larger.is_some()) + usize::from(smaller.is_some());
    let has_prefix = prefix.as_deref().is_some_and(|prefix| !prefix.is_empty());
    let mut filter = LifecycleRuleFilter::default();
    if given + usize::from(has_prefix) > 1 {
        filter.and = Some(LifecycleRuleAndOperator {
            object_size_greater_than: larger,
            object_size_less_than: smaller,
            prefix: prefix.clone().filter(|_| has_prefix),
            tags: Some(tags),
        });
    } else if given == 1 {
        (filter.object_size_greater_than, filter.object_size_less_than, filter.tag) = (larger, smaller, tags.pop());
    } else {
        filter.prefix.clone_from(&prefix);
    }
    let status = if of.enabled { ExpirationStatus::ENABLED } else { ExpirationStatus::DISABLED };
    let expires = of.expire_days.is_some() || of.expire_at_ms.is_some();
    LifecycleRule {
        abort_incomplete_multipart_upload: of
            .abort_uploads_days
            .map(|count| AbortIncompleteMultipartUpload { days_after_initiation: Some(days(count)) }),
        expiration: expires.then(|| LifecycleExpiration {
            date: of.expire_at_ms.map(timestamp),
            days: of.expire_days.map(days),
            expired_object_delete_marker: None,
        }),
        filter: Some(filter).filter(|_| !of.plain_prefix),
        id: Some(of.id),
        noncurrent_version_expiration: None,
        noncurrent_version_transitions: None,
        prefix: prefix.filter(|_| of.plain_prefix),
        status: ExpirationStatus::from_static(status),
        transitions: None,
    }
}

/// `PutBucketLifecycleConfiguration`: replaces all rules, which are carried out at once.
pub async fn put_lifecycle(
    s3: &S3,
    req: S3Request<PutBucketLifecycleConfigurationInput>,
) -> Result<PutBucketLifecycleConfigurationOutput, S3Error> {
    let PutBucketLifecycleConfigurationInput { bucket, lifecycle_configuration, .. } = req.input;
    let rules = lifecycle_configuration.map(|configuration| configuration.rules).unwrap_or_default();
    let rules: Vec<lifecycle::Rule> = rules.into_iter().map(rule).collect::<Result<_, _>>()?;
    if rules.is_empty() || rules.len() > MAX_LIFECYCLE_RULES {
        return Err(Refusal::MalformedXml("a lifecycle configuration has 1 to 1,000 rules".into()).into());
    }
    for (index, rule) in rules.iter().enumerate() {
        if rules[..index].iter().any(|other| other.id == rule.id) {
            let why = format!("Rule ID must be unique. Found same ID for more than one rule: {}", rule.id);
            return Err(Refusal::InvalidArgument(why).into());
        }
    }
    s3.db.write(move |change| settings::set(change, &bucket, Kind::Lifecycle, &rules)).await?;
    s3.rules_changed.notify_one();
    Ok(PutBucketLifecycleConfigurationOutput::default())
}

/// `DeleteBucketLifecycle`
pub async fn delete_lifecycle(s3: &S3, req: S3Request<DeleteBucketLifecycleInput>) -> Result<DeleteBucketLifecycleOutput, S3Error> {
    s3.db.write(move |change| settings::remove(change, &req.input.bucket, Kind::Lifecycle)).await?;
    Ok(DeleteBucketLifecycleOutput::default())
}

fn rule(of: LifecycleRule) -> Result<lifecycle::Rule, S3Error> {
    let invalid = |why: &str| S3Error::from(Refusal::InvalidArgument(why.into()));
    if of.transitions.is_some() || of.noncurrent_version_transitions.is_some() || of.noncurrent_version_expiration.is_some() {
        let why = "this store has one storage class and one version of an object: a lifecycle rule expires objects or aborts uploads";
        return Err(Refusal::NotImplemented(why.into()).into());
    }
    let expiration = of.expiration.unwrap_or_default();
    let days = |days: i32, what: &str| {
        u32::try_from(days).ok().filter(|days| *days > 0).ok_or_else(|| invalid(&format!("'{what}' must be a positive integer")))
    };
    let expire_days = expiration.days.map(|count| days(count, "Days' for Expiration action")).transpose()?;
    let abort = of.abort_incomplete_multipart_upload.and_then(|abort| abort.days_after_initiation);
    let abort_uploads_days = abort.map(|count| days(count, "DaysAfterInitiation")).transpose()?;
    let expire_at_ms = expiration.date.map(millis);
    if expire_at_ms.is_some_and(|at| at.rem_euclid(lifecycle::DAY) != 0) {
        return Err(invalid("'Date' must be at midnight GMT"));
    }
    if expire_at_ms.is_some() && expire_days.is_some() {
        return Err(Refusal::MalformedXml("a rule expires by Days or by Date, not by both".into()).into());
    }
    if expire_at_ms.is_none() && expire_days.is_none() && abort_uploads_days.is_none() {
        return Err(Refusal::InvalidRequest("At least one action needs to be specified in a rule".into()).into());
    }
    let plain_prefix = of.filter.is_none();
    let filter = of.filter.unwrap_or_default();
    let and = filter.and.unwrap_or_default();
    let tags = and.tags.unwrap_or_default().into_iter().chain(filter.tag);
    let tags: Vec<_> = tags.map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default())).collect();
    let bytes = |bytes: Option<i64>| bytes.and_then(|bytes| u64::try_from(bytes).ok());
    let larger_than = bytes(filter.object_size_greater_than.or(and.object_size_greater_than));
    let smaller_than = bytes(filter.object_size_less_than.or(and.object_size_less_than));
    if abort_uploads_days.is_some() && (!tags.is_empty() || larger_than.is_some() || smaller_than.is_some()) {
        let why = "AbortIncompleteMultipartUpload cannot be specified with tags or object sizes";
        return Err(Refusal::InvalidRequest(why.into()).into());
    }
    let id = of.id.filter(|id| !id.is_empty()).unwrap_or_else(|| Uuid::new_v4().to_string());
    if id.chars().count() > MAX_ID {
        return Err(invalid("ID length should not exceed allowed limit of 255"));
    }
    Ok(lifecycle::Rule {
        id,
        enabled: match of.status.as_str() {
            ExpirationStatus::ENABLED => true,
            ExpirationStatus::DISABLED => false,
            _ => return Err(Refusal::MalformedXml("Status is Enabled or Disabled".into()).into()),
        },
        prefix: filter.prefix.or(and.prefix).or(of.prefix).unwrap_or_default(),
        tags,
        larger_than,
        smaller_than,
        expire_days,
        expire_at_ms,
        abort_uploads_days,
        plain_prefix,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(queue: &str, event: &str, prefix: &str, suffix: &str) -> Rule {
        Rule { id: Some(queue.into()), events: vec![event.into()], prefix: prefix.into(), suffix: suffix.into(), target_arn: queue.into() }
    }

    #[test]
    fn one_event_of_one_key_goes_to_one_target() {
        let overlap = |a: Rule, b: Rule| check_notifications(&[a, b]).is_err();
        let all = "s3:ObjectCreated:*";
        assert!(overlap(to("a", all, "", ""), to("b", "s3:ObjectCreated:Put", "x/", "")));
        assert!(overlap(to("a", all, "x/", ".mp4"), to("b", all, "", "4")));
        assert!(!overlap(to("a", all, "x/", ""), to("b", all, "y/", "")));
        assert!(!overlap(to("a", all, "x/", ".mp4"), to("b", all, "x/", ".mkv")));
        assert!(!overlap(to("a", all, "", ""), to("b", "s3:ObjectRemoved:*", "", "")));
        assert!(overlap(to("a", all, "x/", ""), to("a", all, "y/", "")), "ids are unique");
    }
}
