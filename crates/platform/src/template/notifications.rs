//! What a bucket tells of its objects: its own configuration, and `S3` events of functions.

use super::{
    error::Problems,
    links::{At, Place},
    props::Props,
};
use crate::stack::{BucketNotification, EVENT_BUS};

/// Event names that the platform's S3 sends.
const EVENTS: [&str; 11] = [
    "s3:ObjectCreated:*",
    "s3:ObjectCreated:Put",
    "s3:ObjectCreated:Post",
    "s3:ObjectCreated:Copy",
    "s3:ObjectCreated:CompleteMultipartUpload",
    "s3:ObjectRemoved:*",
    "s3:ObjectRemoved:Delete",
    "s3:ObjectRemoved:DeleteMarkerCreated",
    "s3:LifecycleExpiration:*",
    "s3:LifecycleExpiration:Delete",
    "s3:LifecycleExpiration:DeleteMarkerCreated",
];

/// `NotificationConfiguration`
pub(super) fn of_bucket(props: &mut Props<'_>, problems: &mut Problems) -> Vec<BucketNotification> {
    let Some(mut configuration) = props.map("NotificationConfiguration", problems) else { return Vec::new() };
    configuration.unsupported(&["TopicConfigurations"], problems);
    let mut bus = None;
    if let Some(mut bridge) = configuration.map("EventBridgeConfiguration", problems) {
        let enabled = bridge.flag("EventBridgeEnabled", problems) != Some(false);
        bridge.finish(problems);
        bus = enabled.then(|| BucketNotification {
            events: vec!["s3:*".into()],
            prefix: String::new(),
            suffix: String::new(),
            target_arn: EVENT_BUS.into(),
        });
    }
    let mut all: Vec<(BucketNotification, usize)> = Vec::new();
    for (list, target) in [("QueueConfigurations", "Queue"), ("LambdaConfigurations", "Function")] {
        for mut entry in configuration.maps(list, problems) {
            entry.required("Event", problems);
            let event = entry.only("Event", &EVENTS, problems);
            let target = entry.required(target, problems);
            let (prefix, suffix) = filter(&mut entry, problems);
            if let (Some(event), Some(target)) = (event, target) {
                let notification = BucketNotification { events: vec![event.into()], prefix, suffix, target_arn: target.into() };
                if let Some((_, line)) = all.iter().find(|(other, _)| ambiguous(other, &notification)) {
                    let message = format!("overlaps with the configuration on line {line}, which S3 refuses; make prefix or suffix differ");
                    entry.fail(problems, entry.line, "Filter", message);
                }
                all.push((notification, entry.line));
            }
            entry.finish(problems);
        }
    }
    configuration.finish(problems);
    all.into_iter().map(|(notification, _)| notification).chain(bus).collect()
}

/// The properties of a function's `S3` event: the bucket's name, and a notification for each of its events, as SAM makes them.
pub(super) fn of_event(props: &mut Props<'_>, function_arn: &str, problems: &mut Problems) -> Vec<At<(String, BucketNotification)>> {
    let place = props.place("Bucket");
    let bucket = props.required("Bucket", problems).map(str::to_owned);
    if !props.has("Events") {
        props.fail(problems, props.line, "Events", "is missing; name one or several, like s3:ObjectCreated:*");
    }
    let events = props.text_or_texts("Events", problems);
    for (event, line) in events.iter().filter(|(event, _)| !EVENTS.contains(event)) {
        let message = format!("`{event}` is not supported by the platform; use {}", EVENTS.join(" or "));
        props.fail(problems, *line, "Events", message);
    }
    let (prefix, suffix) = filter(props, problems);
    let Some(bucket) = bucket else { return Vec::new() };
    let made = events.into_iter().map(|(event, line)| {
        let notification = BucketNotification {
            events: vec![event.to_owned()],
            prefix: prefix.clone(),
            suffix: suffix.clone(),
            target_arn: function_arn.to_owned(),
        };
        ((bucket.clone(), notification), Place { line, ..place.clone() })
    });
    made.collect()
}

/// Prefix and suffix of `Filter.S3Key.Rules`.
fn filter(entry: &mut Props<'_>, problems: &mut Problems) -> (String, String) {
    let (mut prefix, mut suffix) = (String::new(), String::new());
    let Some(mut filter) = entry.map("Filter", problems) else { return (prefix, suffix) };
    if let Some(mut key) = filter.map("S3Key", problems) {
        for mut rule in key.maps("Rules", problems) {
            let value = rule.required("Value", problems).unwrap_or_default().to_owned();
            match rule.required("Name", problems).map(str::to_ascii_lowercase).as_deref() {
                Some("prefix") => prefix = value,
                Some("suffix") => suffix = value,
                Some(other) => rule.fail(problems, rule.line, "Name", format!("`{other}` must be prefix or suffix")),
                None => {}
            }
            rule.finish(problems);
        }
        key.finish(problems);
    }
    filter.finish(problems);
    (prefix, suffix)
}

/// S3's rule: two configurations may not both match one key and one event.
pub(super) fn ambiguous(a: &BucketNotification, b: &BucketNotification) -> bool {
    // The bus is told of everything, whoever else is.
    if a.target_arn == EVENT_BUS || b.target_arn == EVENT_BUS {
        return false;
    }
    let either = |a: &str, b: &str| a.starts_with(b) || b.starts_with(a);
    let stem = |event: &str| event.trim_end_matches('*').to_owned();
    let events = a.events.iter().any(|x| b.events.iter().any(|y| either(&stem(x), &stem(y))));
    let suffixes = a.suffix.ends_with(&b.suffix) || b.suffix.ends_with(&a.suffix);
    events && suffixes && either(&a.prefix, &b.prefix)
}
