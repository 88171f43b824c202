//! Functions called by the clock: `Schedule` events and `AWS::Events::Rule`.

use std::time::Duration;

use serde_json::Value;

use super::{error::Problems, links::At, props::Props};
use crate::{
    cron::Cron,
    stack::{Schedule, Timing},
};

/// A `Schedule` event of `function`.
pub(super) fn of_event(props: &mut Props<'_>, function: &str, default_name: String, problems: &mut Problems) -> Option<At<Schedule>> {
    props.without_effect(&["Description", "RoleArn"]);
    props.unsupported(&["DeadLetterConfig", "RetryPolicy"], problems);
    let place = props.place("Schedule");
    let name = props.text("Name", problems).map_or(default_name, str::to_owned);
    let enabled = enabled(props, problems);
    let input = input(props, problems);
    let timing = timing(props, "Schedule", problems)?;
    Some((Schedule { name, function: function.to_owned(), timing, input, enabled }, place))
}

/// `AWS::Events::Rule` without a pattern: a schedule for each of its targets, which must be functions.
pub(super) fn rule(name: &str, mut props: Props<'_>, problems: &mut Problems) -> Vec<At<Schedule>> {
    props.without_effect(&["Name", "Description", "RoleArn", "Tags"]);
    if let Some(other) = props.text("EventBusName", problems).filter(|bus| *bus != "default") {
        let message = format!("`{other}`: rules with a schedule are of the default bus; remove it");
        props.fail(problems, props.line_of("EventBusName"), "EventBusName", message);
    }
    let enabled = enabled(&mut props, problems);
    let timing = timing(&mut props, "ScheduleExpression", problems);
    let targets = props.maps("Targets", problems);
    let several = targets.len() > 1;
    let mut schedules = Vec::new();
    for mut target in targets {
        target.without_effect(&["RoleArn"]);
        target.unsupported(&["InputPath", "InputTransformer", "DeadLetterConfig", "RetryPolicy"], problems);
        let place = target.place("Arn");
        let id = target.required("Id", problems).unwrap_or_default();
        let arn = target.required("Arn", problems);
        let input = input(&mut target, problems);
        target.finish(problems);
        if let (Some(arn), Some(timing)) = (arn, &timing) {
            // Each target remembers its own runs.
            let name = if several { format!("{name}/{id}") } else { name.to_owned() };
            schedules.push((Schedule { name, function: super::function_name(arn), timing: timing.clone(), input, enabled }, place));
        }
    }
    props.finish(problems);
    schedules
}

fn enabled(props: &mut Props<'_>, problems: &mut Problems) -> bool {
    let state = props.only("State", &["ENABLED", "DISABLED"], problems);
    props.flag("Enabled", problems).unwrap_or(state != Some("DISABLED"))
}

fn input(props: &mut Props<'_>, problems: &mut Problems) -> Option<Value> {
    let text = props.text("Input", problems)?;
    let read = serde_json::from_str(text);
    if let Err(error) = &read {
        props.fail(problems, props.line_of("Input"), "Input", format!("must be JSON: {error}"));
    }
    read.ok()
}

fn timing(props: &mut Props<'_>, key: &'static str, problems: &mut Problems) -> Option<Timing> {
    match parse(props.required(key, problems)?) {
        Ok(timing) => Some(timing),
        Err(message) => {
            props.fail(problems, props.line_of(key), key, message);
            None
        }
    }
}

/// `rate(5 minutes)`, singular for one, plural otherwise, as `EventBridge` has it; or `cron(…)`.
fn parse(text: &str) -> Result<Timing, String> {
    let wrong = || format!("`{text}` must be like rate(1 minute), rate(5 minutes), rate(2 hours), rate(1 day) or cron(0 12 * * ? *)");
    let inside = |word: &str| text.strip_prefix(word)?.strip_prefix('(')?.strip_suffix(')');
    if let Some(expression) = inside("cron") {
        return Cron::parse(expression).map(Timing::Cron);
    }
    let (count, unit) = inside("rate").ok_or_else(wrong)?.trim().split_once(' ').ok_or_else(wrong)?;
    let count: u32 = count.parse().ok().filter(|count| *count > 0).ok_or_else(wrong)?;
    let seconds = match (unit.trim(), count) {
        ("minute", 1) | ("minutes", 2..) => 60,
        ("hour", 1) | ("hours", 2..) => 3_600,
        ("day", 1) | ("days", 2..) => 86_400,
        _ => return Err(wrong()),
    };
    Ok(Timing::Every(Duration::from_secs(u64::from(count) * seconds)))
}
