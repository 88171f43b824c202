//! Events of a serverless function: what calls it.

use super::{error::Problems, http, links::Links, mappings, notifications, props::Props, schedules, yaml::Node};
use crate::stack::function_arn;

/// Reads `Events` into the links. A `HttpApi` event needs no properties.
pub(super) fn read(props: &mut Props<'_>, function: &str, stack_name: &str, links: &mut Links, problems: &mut Problems) {
    let Some(mut events) = props.map("Events", problems) else { return };
    for entry in events.entries() {
        let Some(mut event) = events.map(&entry.key, problems) else { continue };
        let kind = event.required("Type", problems).unwrap_or_default();
        let given = event.map("Properties", problems);
        let known = ["SQS", "Schedule", "S3", "HttpApi"].contains(&kind);
        if !known && !kind.is_empty() {
            let message = format!("events of type `{kind}` are not supported by the platform; it runs SQS, S3, Schedule and HttpApi");
            event.fail(problems, event.line_of("Type"), "Type", message);
        }
        let mut properties = match given {
            Some(properties) => properties,
            None if kind == "HttpApi" => Props::new(props.resource, "Properties.Events", entry.line, None, problems),
            None => {
                if known {
                    event.fail(problems, entry.line, "Properties", "is missing; add it");
                }
                event.finish(problems);
                continue;
            }
        };
        match kind {
            "SQS" => links.mappings.extend(mappings::of_event(&mut properties, function, problems)),
            "S3" => links.notifications.extend(notifications::of_event(&mut properties, &function_arn(function), problems)),
            "HttpApi" => links.routes.extend(http::of_event(&mut properties, function, problems)),
            "Schedule" => {
                let name = format!("{stack_name}-{}{}", props.resource, entry.key);
                links.schedules.extend(schedules::of_event(&mut properties, function, name, problems));
            }
            _ => {}
        }
        if known {
            properties.finish(problems);
        }
        event.finish(problems);
    }
}

/// Whether one of a function's `HttpApi` events leaves it to SAM to make the API.
pub(super) fn want_an_api(properties: &Node) -> bool {
    let events = properties.get("Events").and_then(Node::as_map).unwrap_or_default();
    let is_http = |event: &Node| event.get("Type").and_then(Node::as_text) == Some("HttpApi");
    let names_one = |event: &Node| event.get("Properties").is_some_and(|properties| properties.get("ApiId").is_some());
    events.iter().any(|event| is_http(&event.value) && !names_one(&event.value))
}
