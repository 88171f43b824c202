//! What the template allows on AWS, resource by resource: kept to be shown (`rights.rs` has what each function may do).

use super::{document::Resource, yaml::Node};
use crate::stack::Policy;

/// Properties that hold policies: of functions, roles and groups, of policies themselves and of resources.
const PROPERTIES: [&str; 5] = ["Policies", "ManagedPolicyArns", "PolicyDocument", "Policy", "AssumeRolePolicyDocument"];

/// The policies of one resource; `properties` without functions in them.
pub(super) fn of(resource: &Resource<'_>, properties: Option<&Node>) -> Vec<Policy> {
    let held = PROPERTIES.iter().filter_map(|key| properties?.get(key));
    let documents = held.flat_map(|node| match node.json() {
        serde_json::Value::Array(documents) => documents,
        document => vec![document],
    });
    documents.map(|document| Policy { logical_id: resource.id.to_owned(), document }).collect()
}
