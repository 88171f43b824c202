//! Events of a function: queues it is fed from and schedules that call it.

use std::{collections::BTreeMap, time::Duration};

use super::{error::Problems, props::Props};
use crate::stack::{EventSourceMapping, Function, Queue, Schedule, Stack, Timing};

/// Reads `Events` into the stack.
pub(super) fn read(props: &mut Props<'_>, function: &str, stack_name: &str, stack: &mut Stack, problems: &mut Problems) {
    let Some(mut events) = props.map("Events", problems) else { return };
    for entry in events.entries() {
        let Some(mut event) = events.map(&entry.key, problems) else { continue };
        let kind = event.required("Type", problems).unwrap_or_default();
        let properties = event.map("Properties", problems);
        match (kind, properties) {
            ("SQS", Some(mut properties)) => {
                stack.mappings.extend(queue_event(&mut properties, function, problems));
                properties.finish(problems);
            }
            ("Schedule", Some(mut properties)) => {
                let name = format!("{stack_name}-{}{}", props.resource, entry.key);
                stack.schedules.extend(schedule(&mut properties, function, name, problems));
                properties.finish(problems);
            }
            ("SQS" | "Schedule", None) => event.fail(problems, entry.line, "Properties", "is missing; add it"),
            ("", _) => {}
            _ => {
                let message = format!("events of type `{kind}` are not supported by the platform yet; it runs SQS and Schedule");
                event.fail(problems, event.line_of("Type"), "Type", message);
            }
        }
        event.finish(problems);
    }
}

fn queue_event(props: &mut Props<'_>, function: &str, problems: &mut Problems) -> Option<EventSourceMapping> {
    props.without_effect(&["KmsKeyArn", "LoggingConfig", "MetricsConfig", "ProvisionedPollerConfig", "Tags"]);
    props.unsupported(&["FilterCriteria"], problems);
    if props.has("ProvisionedPollerConfig") && props.has("ScalingConfig") {
        let line = props.line_of("ProvisionedPollerConfig");
        props.fail(problems, line, "ProvisionedPollerConfig", "cannot be given beside ScalingConfig; remove one of them");
    }
    let queue = props.required("Queue", problems);
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
    Some(EventSourceMapping {
        enabled: props.flag("Enabled", problems).unwrap_or(true),
        function: function.to_owned(),
        queue_arn: queue?.to_owned(),
        batch_size,
        batch_window: window,
        maximum_concurrency,
        report_batch_item_failures: report,
        filters: Vec::new(),
    })
}

fn schedule(props: &mut Props<'_>, function: &str, default_name: String, problems: &mut Problems) -> Option<Schedule> {
    props.without_effect(&["Description", "RoleArn"]);
    props.unsupported(&["DeadLetterConfig", "RetryPolicy"], problems);
    let name = props.text("Name", problems).map_or(default_name, str::to_owned);
    let state = props.only("State", &["ENABLED", "DISABLED"], problems);
    let enabled = props.flag("Enabled", problems).unwrap_or(state != Some("DISABLED"));
    let mut input = None;
    if let Some(text) = props.text("Input", problems) {
        match serde_json::from_str(text) {
            Ok(value) => input = Some(value),
            Err(error) => {
                let message = format!("must be JSON: {error}");
                props.fail(problems, props.line_of("Input"), "Input", message);
            }
        }
    }
    match rate(props.required("Schedule", problems)?) {
        Ok(every) => Some(Schedule { name, function: function.to_owned(), timing: Timing::Every(every), input, enabled }),
        Err(message) => {
            props.fail(problems, props.line_of("Schedule"), "Schedule", message);
            None
        }
    }
}

/// `rate(5 minutes)`; singular for one, plural otherwise, as `EventBridge` has it.
fn rate(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` must be like rate(1 minute), rate(5 minutes), rate(2 hours) or rate(1 day)");
    if text.starts_with("cron(") {
        return Err(format!("`{text}`: cron expressions are not supported by the platform yet; use rate(…)"));
    }
    let inner = text.strip_prefix("rate(").and_then(|rest| rest.strip_suffix(')')).ok_or_else(wrong)?;
    let (count, unit) = inner.trim().split_once(' ').ok_or_else(wrong)?;
    let count: u32 = count.parse().ok().filter(|count| *count > 0).ok_or_else(wrong)?;
    let seconds = match (unit.trim(), count) {
        ("minute", 1) | ("minutes", 2..) => 60,
        ("hour", 1) | ("hours", 2..) => 3_600,
        ("day", 1) | ("days", 2..) => 86_400,
        _ => return Err(wrong()),
    };
    Ok(Duration::from_secs(u64::from(count) * seconds))
}

/// Lines that problems between resources are reported on.
pub(super) type Lines = BTreeMap<String, (String, usize)>;

/// What holds between resources: queues exist, and a mapping's queue hides a message for as long as the function may run.
pub(super) fn check(stack: &Stack, lines: &Lines, problems: &mut Problems) {
    let queues: BTreeMap<String, &Queue> = stack.queues.iter().map(|queue| (crate::stack::queue_arn(&queue.name), queue)).collect();
    let functions: BTreeMap<&str, &Function> = stack.functions.iter().map(|f| (f.name.as_str(), f)).collect();
    let mut report = |name: &str, property: &str, message: String| {
        let (id, line) = lines.get(name).cloned().unwrap_or_default();
        problems.add(line, &id, property, message);
    };
    let missing = |arn: &str| format!("`{arn}` is no queue of this template; name one with Fn::GetAtt Queue.Arn");
    for mapping in &stack.mappings {
        let Some(queue) = queues.get(&mapping.queue_arn) else {
            report(&format!("function {}", mapping.function), "Properties.Events", missing(&mapping.queue_arn));
            continue;
        };
        let timeout = functions.get(mapping.function.as_str()).map_or(Duration::ZERO, |function| function.timeout);
        if queue.visibility_timeout < timeout {
            let message = format!(
                "{} s is below the timeout of {} ({} s), which it feeds; Lambda refuses that: raise it to at least the timeout",
                queue.visibility_timeout.as_secs(),
                mapping.function,
                timeout.as_secs()
            );
            report(&format!("queue {}", queue.name), "Properties.VisibilityTimeout", message);
        }
    }
    for bucket in &stack.buckets {
        for notification in bucket.notifications.iter().filter(|n| !queues.contains_key(&n.target_arn)) {
            let place = format!("bucket {}", bucket.name);
            report(&place, "Properties.NotificationConfiguration", missing(&notification.target_arn));
        }
    }
    for queue in &stack.queues {
        if let Some(redrive) = queue.redrive.as_ref().filter(|r| !queues.contains_key(&r.dead_letter_target_arn)) {
            report(&format!("queue {}", queue.name), "Properties.RedrivePolicy", missing(&redrive.dead_letter_target_arn));
        }
    }
}
