//! `AWS::Events::Rule` with a pattern: what a bucket tells the event bus, handed on to queues and functions.

use serde_json::{Map, Value, json};

use super::{error::Problems, links::At, props::Props};
use crate::{
    lambda::EventPattern,
    stack::{EventRule, name_of_arn},
};

/// Fields of an event of S3 whose values are numbers.
const NUMBERS: [&str; 2] = ["numeric", "size"];

pub(super) fn rule(name: &str, mut props: Props<'_>, problems: &mut Problems) -> Option<At<EventRule>> {
    props.without_effect(&["Name", "Description", "RoleArn", "Tags"]);
    props.unsupported(&["ScheduleExpression"], problems);
    props.only("EventBusName", &["default"], problems);
    let enabled = props.only("State", &["ENABLED", "DISABLED"], problems) != Some("DISABLED");
    let (place, line) = (props.place("EventPattern"), props.line_of("EventPattern"));
    let pattern = props.node("EventPattern").map(|node| typed("", &node.json()));
    let mut targets = Vec::new();
    for mut target in props.maps("Targets", problems) {
        // What one machine hands on does not get lost on its way.
        target.without_effect(&["Id", "RoleArn", "DeadLetterConfig", "RetryPolicy"]);
        target.unsupported(&["Input", "InputPath", "InputTransformer", "SqsParameters"], problems);
        targets.extend(target.required("Arn", problems).map(str::to_owned));
        target.finish(problems);
    }
    let pattern = pattern?;
    let from_s3 = pattern.get("source").and_then(Value::as_array).is_some_and(|sources| sources.contains(&json!("aws.s3")));
    if !from_s3 {
        let message = "must have `source: [aws.s3]`: on the platform's event bus buckets alone tell something";
        props.fail(problems, line, "EventPattern", message);
    } else if let Err(error) = EventPattern::read(&pattern) {
        props.fail(problems, line, "EventPattern", error);
    }
    props.finish(problems);
    Some((EventRule { name: name_of_arn(name).to_owned(), pattern, targets, enabled }, place))
}

/// Scalars are texts; where an operator takes a number or a truth, the text is that.
fn typed(name: &str, value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, value)| (name.clone(), typed(name, value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(|item| typed(name, item)).collect(),
        Value::String(text) if name == "exists" || NUMBERS.contains(&name) => match serde_json::from_str(text) {
            Ok(scalar @ (Value::Number(_) | Value::Bool(_))) => scalar,
            _ => value.clone(),
        },
        other => other.clone(),
    }
}
