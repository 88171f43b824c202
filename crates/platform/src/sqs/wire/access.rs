//! Operations on what a queue says of itself: tags, and the policy of who may use it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, queue_name, queues::QueueByUrl};
use crate::{
    sqs::{Sqs, error::SqsError},
    stack,
};

/// Statements of one policy, and actions and accounts of one statement. Source: SQS API reference, `AddPermission`.
const MAX_STATEMENTS: usize = 20;
const MAX_ACTIONS: usize = 7;
/// What a permission can be for. Source: the same.
const ACTIONS: [&str; 9] = [
    "*",
    "ChangeMessageVisibility",
    "DeleteMessage",
    "GetQueueAttributes",
    "GetQueueUrl",
    "ListDeadLetterSourceQueues",
    "PurgeQueue",
    "ReceiveMessage",
    "SendMessage",
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TagQueue {
    queue_url: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UntagQueue {
    queue_url: Option<String>,
    #[serde(default)]
    tag_keys: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AddPermission {
    queue_url: Option<String>,
    label: Option<String>,
    #[serde(default, rename = "AWSAccountIds")]
    accounts: Vec<String>,
    #[serde(default)]
    actions: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RemovePermission {
    queue_url: Option<String>,
    label: Option<String>,
}

impl AddPermission {
    /// The statement that this asks for.
    fn statement(&self, label: &str, arn: &str) -> Result<Value, SqsError> {
        let fits = (1..=80).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !fits {
            return Err(SqsError::invalid(
                "Value for parameter Label is invalid. Reason: Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length.",
            ));
        }
        if self.accounts.is_empty() {
            return Err(SqsError::missing("AWSAccountIds"));
        }
        if self.actions.is_empty() {
            return Err(SqsError::missing("Actions"));
        }
        if self.actions.len() > MAX_ACTIONS {
            let count = self.actions.len();
            return Err(SqsError::new(
                crate::sqs::Kind::OverLimit,
                format!("{count} Actions were found, maximum allowed is {MAX_ACTIONS}."),
            ));
        }
        if let Some(account) = self.accounts.iter().find(|id| id.len() != 12 || !id.bytes().all(|b| b.is_ascii_digit())) {
            let shown: String = account.chars().take(64).collect();
            return Err(SqsError::invalid(format!("Value [{shown}] for parameter PrincipalId is invalid. Reason: Unable to verify.")));
        }
        if let Some(action) = self.actions.iter().find(|action| !ACTIONS.contains(&action.as_str())) {
            let shown: String = action.chars().take(64).collect();
            let known = ACTIONS.join(", ");
            return Err(SqsError::invalid(format!(
                "Value SQS:{shown} for parameter ActionName is invalid. Reason: It must be one of {known}."
            )));
        }
        let principals = self.accounts.iter().map(|account| format!("arn:aws:iam::{account}:root"));
        let actions = self.actions.iter().map(|action| format!("SQS:{action}"));
        Ok(json!({
            "Sid": label, "Effect": "Allow", "Principal": { "AWS": one_or_many(principals) },
            "Action": one_or_many(actions), "Resource": arn,
        }))
    }
}

fn one_or_many(all: impl Iterator<Item = String>) -> Value {
    let mut all: Vec<Value> = all.map(Value::from).collect();
    if all.len() == 1 { all.remove(0) } else { Value::Array(all) }
}

/// A queue's policy with its statements as a list.
fn policy_of(policy: Option<&str>, arn: &str) -> Value {
    let empty = || json!({ "Version": "2008-10-17", "Id": format!("{arn}/SQSDefaultPolicy"), "Statement": [] });
    let mut policy: Value = policy.and_then(|policy| serde_json::from_str(policy).ok()).unwrap_or_else(empty);
    if !policy["Statement"].is_array() {
        let only = policy["Statement"].take();
        policy["Statement"] = if only.is_null() { json!([]) } else { json!([only]) };
    }
    policy
}

fn has_label(statement: &Value, label: &str) -> bool {
    statement["Sid"] == *label
}

impl Sqs {
    pub(super) async fn tag_queue(&self, request: TagQueue) -> Answer {
        let name = queue_name(request.queue_url.as_ref())?.to_owned();
        self.ask(1, move |engine, _| engine.account.tag(&name, |tags| tags.extend(request.tags))).await?;
        Ok(Value::Null)
    }

    pub(super) async fn untag_queue(&self, request: UntagQueue) -> Answer {
        let name = queue_name(request.queue_url.as_ref())?.to_owned();
        self.ask(1, move |engine, _| engine.account.tag(&name, |tags| tags.retain(|key, _| !request.tag_keys.contains(key)))).await?;
        Ok(Value::Null)
    }

    pub(super) async fn list_queue_tags(&self, request: QueueByUrl) -> Answer {
        let name = queue_name(request.queue_url.as_ref())?.to_owned();
        let tags = self.ask(1, move |engine, _| Ok(engine.account.queue(&name)?.tags.clone())).await?;
        Ok(if tags.is_empty() { json!({}) } else { json!({ "Tags": tags }) })
    }

    pub(super) async fn add_permission(&self, request: AddPermission) -> Answer {
        let name = queue_name(request.queue_url.as_ref())?.to_owned();
        let label = request.label.clone().ok_or_else(|| SqsError::missing("Label"))?;
        let statement = request.statement(&label, &stack::queue_arn(&name))?;
        self.edit_policy(name, move |statements| {
            if statements.iter().any(|other| has_label(other, &label)) {
                return Err(SqsError::invalid(format!("Value {label} for parameter Label is invalid. Reason: Already exists.")));
            }
            if statements.len() >= MAX_STATEMENTS {
                let text = format!("The policy of the queue has {MAX_STATEMENTS} statements already.");
                return Err(SqsError::new(crate::sqs::Kind::OverLimit, text));
            }
            statements.push(statement);
            Ok(())
        })
        .await
    }

    pub(super) async fn remove_permission(&self, request: RemovePermission) -> Answer {
        let name = queue_name(request.queue_url.as_ref())?.to_owned();
        let label = request.label.ok_or_else(|| SqsError::missing("Label"))?;
        self.edit_policy(name, move |statements| {
            let before = statements.len();
            statements.retain(|statement| !has_label(statement, &label));
            if statements.len() == before {
                let shown: String = label.chars().take(80).collect();
                return Err(SqsError::invalid(format!("Value {shown} for parameter Label is invalid. Reason: can't find label.")));
            }
            Ok(())
        })
        .await
    }

    async fn edit_policy(&self, name: String, edit: impl FnOnce(&mut Vec<Value>) -> Result<(), SqsError> + Send + 'static) -> Answer {
        self.ask(1, move |engine, now_ms| {
            let mut policy = policy_of(engine.account.queue(&name)?.settings.policy(), &stack::queue_arn(&name));
            let mut left = 0;
            if let Some(statements) = policy["Statement"].as_array_mut() {
                edit(statements)?;
                left = statements.len();
            }
            // A policy that allows nothing more is no policy.
            let text = if left == 0 { String::new() } else { policy.to_string() };
            engine.account.set(now_ms, &name, &BTreeMap::from([("Policy".to_owned(), text)]))
        })
        .await?;
        Ok(Value::Null)
    }
}
