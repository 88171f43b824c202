//! Operations on queues.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, queue_name, queue_url, to_value};
use crate::{
    sqs::{
        Sqs,
        error::SqsError,
        queue::{Depth, Queue},
        settings::unknown_attribute,
    },
    stack,
};

/// Names that `GetQueueAttributes` takes though the queue may have no such attribute.
const OPTIONAL: [&str; 9] = [
    "Policy",
    "RedrivePolicy",
    "RedriveAllowPolicy",
    "KmsMasterKeyId",
    "KmsDataKeyReusePeriodSeconds",
    "FifoQueue",
    "ContentBasedDeduplication",
    "DeduplicationScope",
    "FifoThroughputLimit",
];
/// Most names in one answer of a list.
const MAX_LISTED: usize = 1_000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct QueueByUrl {
    pub queue_url: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct QueueByName {
    queue_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateQueue {
    queue_name: Option<String>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    /// Lower case in AWS's JSON, unlike the same field of `TagQueue`.
    #[serde(default, alias = "tags")]
    tags: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetAttributes {
    queue_url: Option<String>,
    #[serde(default)]
    attribute_names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SetAttributes {
    queue_url: Option<String>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListQueues {
    #[serde(default)]
    queue_name_prefix: String,
    #[serde(flatten)]
    page: Page,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListSources {
    queue_url: Option<String>,
    #[serde(flatten)]
    page: Page,
}

/// A token is the last name of the page before.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    max_results: Option<i64>,
    #[serde(default)]
    next_token: String,
}

impl Page {
    fn size(&self) -> Result<usize, SqsError> {
        match self.max_results {
            None => Ok(MAX_LISTED),
            Some(n) => usize::try_from(n)
                .ok()
                .filter(|n| (1..=MAX_LISTED).contains(n))
                .ok_or_else(|| SqsError::out_of_range(n, "MaxResults", (1, 1_000))),
        }
    }
}

impl Sqs {
    pub(super) async fn create_queue(&self, request: CreateQueue, endpoint: &str) -> Answer {
        let name = request.queue_name.ok_or_else(|| SqsError::missing("QueueName"))?;
        let url = queue_url(endpoint, &name);
        self.ask(1, move |engine, now_ms| engine.account.create(now_ms, &name, &request.attributes, request.tags)).await?;
        Ok(json!({ "QueueUrl": url }))
    }

    pub(super) async fn get_queue_url(&self, request: QueueByName, endpoint: &str) -> Answer {
        let name = request.queue_name.ok_or_else(|| SqsError::missing("QueueName"))?;
        let url = queue_url(endpoint, &name);
        self.ask(1, move |engine, _| engine.account.queue(&name).map(|_| ())).await?;
        Ok(json!({ "QueueUrl": url }))
    }

    pub(super) async fn delete_queue(&self, request: QueueByUrl) -> Answer {
        let name = queue_name(request.queue_url.as_ref())?.to_owned();
        self.ask(1, move |engine, _| engine.account.drop_queue(&name)).await?;
        Ok(Value::Null)
    }

    pub(super) async fn purge_queue(&self, request: QueueByUrl) -> Answer {
        let name = queue_name(request.queue_url.as_ref())?.to_owned();
        self.ask(1, move |engine, now_ms| engine.account.purge(now_ms, &name)).await?;
        Ok(Value::Null)
    }

    pub(super) async fn set_queue_attributes(&self, request: SetAttributes) -> Answer {
        let name = queue_name(request.queue_url.as_ref())?.to_owned();
        self.ask(1, move |engine, now_ms| engine.account.set(now_ms, &name, &request.attributes)).await?;
        Ok(Value::Null)
    }

    pub(super) async fn get_queue_attributes(&self, request: GetAttributes) -> Answer {
        let name = queue_name(request.queue_url.as_ref())?.to_owned();
        let mut attributes = self
            .ask(1, move |engine, now_ms| {
                let depth = engine.account.depth(now_ms, &name)?;
                Ok(attributes_of(&name, engine.account.queue(&name)?, depth))
            })
            .await?;
        let wanted: HashSet<&str> = request.attribute_names.iter().map(String::as_str).collect();
        if !wanted.contains("All") {
            for &name in &wanted {
                if !attributes.contains_key(name) && !OPTIONAL.contains(&name) {
                    return Err(unknown_attribute(name));
                }
            }
            attributes.retain(|name, _| wanted.contains(name.as_str()));
        }
        // Nothing asked for, nothing answered: AWS leaves the field out.
        if attributes.is_empty() { Ok(json!({})) } else { Ok(json!({ "Attributes": to_value(&attributes)? })) }
    }

    pub(super) async fn list_queues(&self, request: ListQueues, endpoint: &str) -> Answer {
        let size = request.page.size()?;
        let (prefix, after) = (request.queue_name_prefix, request.page.next_token);
        let names =
            self.ask(1, move |engine, _| Ok(engine.account.names(&prefix, &after).take(size + 1).map(str::to_owned).collect())).await?;
        Ok(page_of(names, size, endpoint, "QueueUrls", request.page.max_results.is_some()))
    }

    pub(super) async fn list_sources(&self, request: ListSources, endpoint: &str) -> Answer {
        let size = request.page.size()?;
        let name = queue_name(request.queue_url.as_ref())?.to_owned();
        let after = request.page.next_token;
        let names = self
            .ask(1, move |engine, _| {
                engine.account.queue(&name)?;
                let sources = engine.account.sources_of(&name).filter(|source| *source > after.as_str());
                Ok(sources.take(size + 1).map(str::to_owned).collect())
            })
            .await?;
        // Lower case here, unlike in ListQueues: it is AWS's own spelling.
        Ok(page_of(names, size, endpoint, "queueUrls", request.page.max_results.is_some()))
    }
}

/// The answer of a list; `names` holds one more than `size` if there is more. As on AWS, a token comes only to those who
/// asked for pages.
fn page_of(mut names: Vec<String>, size: usize, endpoint: &str, field: &str, paged: bool) -> Value {
    let more = names.len() > size;
    names.truncate(size);
    let urls: Vec<String> = names.iter().map(|name| queue_url(endpoint, name)).collect();
    let mut answer = serde_json::Map::from_iter([(field.to_owned(), json!(urls))]);
    if let (true, true, Some(last)) = (more, paged, names.pop()) {
        answer.insert("NextToken".to_owned(), json!(last));
    }
    Value::Object(answer)
}

fn attributes_of(name: &str, queue: &Queue, depth: Depth) -> BTreeMap<String, String> {
    let mut all = queue.settings.attributes();
    for (attribute, value) in [
        ("ApproximateNumberOfMessages", depth.visible.to_string()),
        ("ApproximateNumberOfMessagesNotVisible", depth.in_flight.to_string()),
        ("ApproximateNumberOfMessagesDelayed", depth.delayed.to_string()),
        ("CreatedTimestamp", (queue.created_ms / 1000).to_string()),
        ("LastModifiedTimestamp", (queue.modified_ms / 1000).to_string()),
        ("QueueArn", stack::queue_arn(name)),
    ] {
        all.insert(attribute.to_owned(), value);
    }
    all
}
