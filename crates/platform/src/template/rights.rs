//! What each function may do: the policies of its role, wherever in the template they stand.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Named, kinds::Kind, names::implicit_role_name, yaml::Node};
use crate::stack::{Rights, name_of_arn, policy_arn, role_arn};

/// What SAM gives every function whose role it makes, and those behind a queue. Source: SAM specification,
/// `AWS::Serverless::Function`, generated resources.
const BASIC: &str = "AWSLambdaBasicExecutionRole";
const BEHIND_A_QUEUE: &str = "AWSLambdaSQSQueueExecutionRole";

/// By function name.
pub(super) fn all(named: &[Named<'_>]) -> BTreeMap<String, Rights> {
    let functions = named.iter().filter(|one| matches!(one.resource.kind, Kind::Function | Kind::PlainFunction));
    functions.map(|function| (function.name.clone(), of_function(function, named))).collect()
}

fn property<'a>(of: &'a Named<'_>, name: &str) -> Option<&'a Node> {
    of.properties.as_ref()?.get(name)
}

/// The items of a list, or the one that stands in its place.
fn items(of: &Named<'_>, name: &str) -> Vec<Value> {
    match property(of, name).map(Node::json) {
        Some(Value::Array(items)) => items,
        Some(Value::Null) | None => Vec::new(),
        Some(one) => vec![one],
    }
}

fn of_function(function: &Named<'_>, named: &[Named<'_>]) -> Rights {
    let Some(arn) = property(function, "Role").and_then(Node::as_text) else { return of_sam(function) };
    match named.iter().find(|one| one.resource.type_name == "AWS::IAM::Role" && role_arn(&one.name) == arn) {
        Some(role) => Rights { role: role.name.clone(), policies: of_role(role, named) },
        // A role of elsewhere: known by name alone.
        None => Rights { role: name_of_arn(arn).trim_start_matches("role/").to_owned(), policies: vec![arn.into()] },
    }
}

/// The role that SAM makes.
fn of_sam(function: &Named<'_>) -> Rights {
    let mut policies = items(function, "Policies");
    policies.push(BASIC.into());
    let events = property(function, "Events").and_then(Node::as_map).unwrap_or_default();
    if events.iter().any(|event| event.value.get("Type").and_then(Node::as_text) == Some("SQS")) {
        policies.push(BEHIND_A_QUEUE.into());
    }
    policies.extend(boundary(function));
    Rights { role: implicit_role_name(&function.name), policies }
}

/// Inline policies, managed ones, and those that name the role themselves.
fn of_role(role: &Named<'_>, named: &[Named<'_>]) -> Vec<Value> {
    let inline = items(role, "Policies").into_iter().map(|policy| policy.get("PolicyDocument").cloned().unwrap_or(policy));
    let managed = items(role, "ManagedPolicyArns").into_iter().map(|arn| {
        let is_it = |one: &&Named<'_>| one.resource.type_name == "AWS::IAM::ManagedPolicy" && arn == policy_arn(&one.name);
        named.iter().find(is_it).and_then(|policy| property(policy, "PolicyDocument")).map_or(arn.clone(), Node::json)
    });
    let attached = named.iter().filter(|one| match one.resource.type_name {
        "AWS::IAM::Policy" | "AWS::IAM::ManagedPolicy" => items(one, "Roles").iter().any(|name| *name == role.name),
        "AWS::IAM::RolePolicy" => property(one, "RoleName").and_then(Node::as_text) == Some(&role.name),
        _ => false,
    });
    let attached = attached.filter_map(|policy| property(policy, "PolicyDocument")).map(Node::json);
    inline.chain(managed).chain(attached).chain(boundary(role)).collect()
}

/// A bound on what all other policies allow: nothing that the platform judges, so it stands there by its name.
fn boundary(of: &Named<'_>) -> Option<Value> {
    property(of, "PermissionsBoundary").map(|boundary| json!({ "PermissionsBoundary": boundary.json() }))
}
