//! Queues that feed functions: `SQS` events and `AWS::Lambda::EventSourceMapping`.

use std::time::Duration;

use serde_json::Value;

use super::{error::Problems, links::At, props::Props};
use crate::{lambda::check_filter, stack::EventSourceMapping};

/// Patterns in one `FilterCriteria`, of an account that asked for more than five. Source: AWS Lambda quotas.
const MAX_FILTERS: usize = 10;
/// Characters of a pattern. Source: AWS Lambda API reference, `Filter`.
const MAX_PATTERN: usize = 4_096;

/// An `SQS` event of `function`.
pub(super) fn of_event(props: &mut Props<'_>, function: &str, problems: &mut Problems) -> Option<At<EventSourceMapping>> {
    read(props, "Queue", function.to_owned(), problems)
}

/// `AWS::Lambda::EventSourceMapping`
pub(super) fn plain(mut props: Props<'_>, problems: &mut Problems) -> Option<At<EventSourceMapping>> {
    let function = props.required("FunctionName", problems).map(super::function_name);
    let mapping = function.and_then(|function| read(&mut props, "EventSourceArn", function, problems));
    props.finish(problems);
    mapping
}

fn read(props: &mut Props<'_>, source: &'static str, function: String, problems: &mut Problems) -> Option<At<EventSourceMapping>> {
    props.without_effect(&["KmsKeyArn", "LoggingConfig", "MetricsConfig", "ProvisionedPollerConfig", "Tags"]);
    if props.has("ProvisionedPollerConfig") && props.has("ScalingConfig") {
        let line = props.line_of("ProvisionedPollerConfig");
        props.fail(problems, line, "ProvisionedPollerConfig", "cannot be given beside ScalingConfig; remove one of them");
    }
    let place = props.place(source);
    let queue = props.required(source, problems);
    let window = props.seconds("MaximumBatchingWindowInSeconds", 0..=300, problems).unwrap_or_default();
    let batch_size = props.number("BatchSize", 1..=10_000, problems).unwrap_or(10);
    if batch_size > 10 && window < Duration::from_secs(1) {
        let message = format!("{batch_size} needs MaximumBatchingWindowInSeconds of at least 1; set it, or a batch of at most 10");
        props.fail(problems, props.line_of("BatchSize"), "BatchSize", message);
    }
    let mut maximum_concurrency = None;
    if let Some(mut scaling) = props.map("ScalingConfig", problems) {
        maximum_concurrency = scaling.number("MaximumConcurrency", 2..=1_000, problems);
        scaling.finish(problems);
    }
    let mut report = false;
    for (kind, line) in props.texts("FunctionResponseTypes", problems) {
        report |= kind == "ReportBatchItemFailures";
        if kind != "ReportBatchItemFailures" {
            let message = format!("`{kind}` is not known; use ReportBatchItemFailures");
            props.fail(problems, line, "FunctionResponseTypes", message);
        }
    }
    let mapping = EventSourceMapping {
        enabled: props.flag("Enabled", problems).unwrap_or(true),
        function,
        queue_arn: queue?.to_owned(),
        batch_size,
        batch_window: window,
        maximum_concurrency,
        report_batch_item_failures: report,
        filters: filters(props, problems),
    };
    Some((mapping, place))
}

/// `FilterCriteria`: each pattern is JSON in a text.
fn filters(props: &mut Props<'_>, problems: &mut Problems) -> Vec<Value> {
    let Some(mut criteria) = props.map("FilterCriteria", problems) else { return Vec::new() };
    let mut patterns = Vec::new();
    let entries = criteria.maps("Filters", problems);
    if entries.len() > MAX_FILTERS {
        let message = format!("{} filters; Lambda takes {MAX_FILTERS}", entries.len());
        criteria.fail(problems, criteria.line_of("Filters"), "Filters", message);
    }
    for mut entry in entries {
        if let Some(text) = entry.required("Pattern", problems) {
            let count = text.chars().count();
            let read = if count > MAX_PATTERN {
                Err(format!("{count} characters; Lambda takes {MAX_PATTERN}"))
            } else {
                serde_json::from_str::<Value>(text).map_err(|error| format!("must be JSON: {error}"))
            };
            match read.and_then(|pattern| check_filter(&pattern).map(|()| pattern)) {
                Ok(pattern) => patterns.push(pattern),
                Err(message) => entry.fail(problems, entry.line_of("Pattern"), "Pattern", message),
            }
        }
        entry.finish(problems);
    }
    criteria.finish(problems);
    patterns
}
