//! Items of the ledger: how a job, a task and an event look in the table. Pure.
//!
//! ```text
//! pk            sk            what
//! <job>         job           Job, version, blocked (string set); shard and due
//! <job>         task#<task>   Task, version; shard and due while it is open; expires
//! <job>         done#<block>  done (number set); expires
//! <job>         done#parent   done (number set); expires
//! <job>#e<0-7>  <sort key>    EventRecord; expires
//! fleet#<0-7>   <environment> Member; expires
//! ```
//! `shard` and `due` are the keys of the sparse index `open`: `open#<0-7>` by job for open work, `ended#<yyyy-mm>` for ended
//! jobs. Attributes are native, so the console reads them.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use pipeline::{
    Fault, Shortage,
    event::EventRecord,
    fleet::Member,
    id::{JobId, TaskId},
    job::{Job, StoredJob},
    ports::DoneSet,
    task::{StoredTask, Task, TaskState},
};
use serde::Serialize;
use time::OffsetDateTime;

pub type Item = HashMap<String, AttributeValue>;

/// One entry of the sparse index of open work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenItem {
    pub job: JobId,
    /// `None`: the job itself.
    pub task: Option<TaskId>,
    /// Milliseconds since 1970.
    pub due_ms: u64,
}

/// DynamoDB takes 400 KB; our estimate is rough.
const MAX_ITEM_BYTES: usize = 350_000;
/// Partitions of the fleet's table.
pub const FLEET_PARTITIONS: u8 = 8;
/// Shards of open work.
pub const SHARDS: u8 = 8;
pub const JOB_SK: &str = "job";
pub const TASK_PREFIX: &str = "task#";

pub fn task_sk(task: TaskId) -> String {
    format!("{TASK_PREFIX}{task}")
}
pub fn done_sk(set: DoneSet) -> String {
    match set {
        DoneSet::Block(block) => format!("done#{block:05}"),
        DoneSet::Parent => "done#parent".into(),
    }
}
pub fn event_pk(job: &JobId, partition: u8) -> String {
    format!("{job}#e{partition}")
}
pub fn fleet_pk(partition: u8) -> String {
    format!("fleet#{partition}")
}
pub fn open_shard(shard: u8) -> String {
    format!("open#{shard}")
}
/// Of a job's id, which is a hash.
fn shard_of(job: &JobId) -> String {
    let digit = job.as_str().bytes().last().unwrap_or(b'0');
    open_shard(digit % SHARDS)
}
/// `ended#2026-04`, UTC.
fn ended_shard(at_ms: u64) -> String {
    let at = i64::try_from(at_ms / 1000).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    let at = at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    ended_month(&format!("{:04}-{:02}", at.year(), u8::from(at.month())))
}
pub fn ended_month(month: &str) -> String {
    format!("ended#{month}")
}

pub fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}
pub fn n(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// An item as one writer sees it: what it sets and what must be gone. Attributes it does not know stay as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub pk: String,
    pub sk: String,
    pub set: BTreeMap<String, AttributeValue>,
    pub remove: Vec<String>,
}

impl Record {
    fn of(value: &impl Serialize, pk: String, sk: String) -> Result<Self, Fault> {
        let fields: Item = serde_dynamo::aws_sdk_dynamodb_1::to_item(value).map_err(|error| odd(&pk, &sk, &error))?;
        let mut record = Self { pk, sk, set: BTreeMap::new(), remove: Vec::new() };
        for (name, value) in fields {
            // An absent option must take its attribute away again: the item may have had one.
            if value.is_null() { record.remove.push(name) } else { drop(record.set.insert(name, value)) }
        }
        record.remove.sort_unstable();
        Ok(record)
    }

    pub fn of_job(job: &Job) -> Result<Self, Fault> {
        let record = Self::of(job, job.id.to_string(), JOB_SK.into())?;
        let shard = if job.is_open() { shard_of(&job.id) } else { ended_shard(job.updated_ms) };
        record.indexed(Some((shard, job.updated_ms))).checked()
    }

    /// `ttl_s` after its last change the item of a task that is over may be dropped; what waits, waits as long as it takes.
    pub fn of_task(task: &Task, ttl_s: u64) -> Result<Self, Fault> {
        let due = match &task.state {
            TaskState::Open => Some(task.updated_ms),
            TaskState::Leased(lease) => Some(lease.until_ms),
            // Blocked tasks wait for a person, not for a time; the job's `blocked` names them.
            TaskState::Done | TaskState::Ended | TaskState::Blocked { .. } => None,
        };
        let mut record = Self::of(task, task.job.to_string(), task_sk(task.id))?;
        if matches!(task.state, TaskState::Done | TaskState::Ended) {
            record.set.insert("expires".into(), n(expires(task.updated_ms, ttl_s)));
        } else {
            record.remove.push("expires".into());
            record.remove.sort_unstable();
        }
        record.indexed(due.map(|due| (shard_of(&task.job), due))).checked()
    }

    pub fn of_event(event: &EventRecord, ttl_s: u64) -> Result<Self, Fault> {
        let mut record = Self::of(event, event_pk(&event.job, event.partition()), event.sort_key())?;
        record.set.insert("expires".into(), n(expires(event.at_ms, ttl_s)));
        record.checked()
    }

    pub fn of_member(member: &Member) -> Result<Self, Fault> {
        let sum: u32 = member.environment.bytes().map(u32::from).sum();
        let partition = u8::try_from(sum % u32::from(FLEET_PARTITIONS)).unwrap_or(0);
        let mut record = Self::of(member, fleet_pk(partition), member.environment.clone())?;
        record.set.insert("expires".into(), n(expires(member.kept_until_ms(), 0)));
        record.checked()
    }

    fn indexed(mut self, place: Option<(String, u64)>) -> Self {
        match place {
            Some((shard, due)) => {
                self.set.insert("shard".into(), s(shard));
                self.set.insert("due".into(), n(due));
            }
            None => self.remove.extend(["shard".into(), "due".into()]),
        }
        self
    }

    fn checked(self) -> Result<Self, Fault> {
        let bytes: usize = self.set.iter().map(|(name, value)| name.len() + size(value)).sum();
        if bytes <= MAX_ITEM_BYTES {
            return Ok(self);
        }
        let text = format!("the ledger's item {}/{} would take {bytes} bytes; the bound is {MAX_ITEM_BYTES}", self.pk, self.sk);
        Err(Fault::escalate(Shortage::Tool, text))
    }

    /// The whole item, for a first write.
    pub fn into_item(self) -> Item {
        let keys = [("pk".to_owned(), s(self.pk)), ("sk".to_owned(), s(self.sk))];
        self.set.into_iter().chain(keys).collect()
    }
}

/// Seconds since 1970.
pub fn expires(at_ms: u64, ttl_s: u64) -> u64 {
    (at_ms / 1000).saturating_add(ttl_s)
}

/// Bytes as DynamoDB counts them, roughly and rather too many.
fn size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len() / 2 + 2,
        AttributeValue::L(list) => 3 + list.iter().map(|v| 1 + size(v)).sum::<usize>(),
        AttributeValue::M(map) => 3 + map.iter().map(|(k, v)| 1 + k.len() + size(v)).sum::<usize>(),
        AttributeValue::Ss(set) | AttributeValue::Ns(set) => set.iter().map(|v| v.len() + 1).sum(),
        AttributeValue::B(blob) => blob.as_ref().len(),
        AttributeValue::Bs(set) => set.iter().map(|b| b.as_ref().len()).sum(),
        _ => 1,
    }
}

fn odd(pk: &str, sk: &str, error: &serde_dynamo::Error) -> Fault {
    Fault::escalate(Shortage::Tool, format!("the ledger's item {pk}/{sk} is not what this version writes: {error}"))
}

fn text<'a>(item: &'a Item, name: &str) -> &'a str {
    item.get(name).and_then(|v| v.as_s().ok()).map_or("", String::as_str)
}
fn number(item: &Item, name: &str) -> u64 {
    item.get(name).and_then(|v| v.as_n().ok()).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Reads an item into its value.
pub fn value<T: serde::de::DeserializeOwned>(item: Item) -> Result<T, Fault> {
    let (pk, sk) = (text(&item, "pk").to_owned(), text(&item, "sk").to_owned());
    serde_dynamo::aws_sdk_dynamodb_1::from_item(item).map_err(|error| odd(&pk, &sk, &error))
}

pub fn stored_job(item: Item) -> Result<StoredJob, Fault> {
    let version = number(&item, "version");
    let names = item.get("blocked").and_then(|v| v.as_ss().ok()).map(Vec::as_slice).unwrap_or_default();
    // A name that this version cannot read still blocks nothing that it could do.
    let mut blocked: Vec<TaskId> = names.iter().filter_map(|name| name.parse().ok()).collect();
    blocked.sort_unstable();
    Ok(StoredJob { job: value(item)?, version, blocked })
}

pub fn stored_task(item: Item) -> Result<StoredTask, Fault> {
    let version = number(&item, "version");
    Ok(StoredTask { task: value(item)?, version })
}

/// An entry of the index; `None` for what this version does not know.
pub fn open_item(item: &Item) -> Option<OpenItem> {
    let task = match text(item, "sk") {
        JOB_SK => None,
        sk => Some(sk.strip_prefix(TASK_PREFIX)?.parse().ok()?),
    };
    Some(OpenItem { job: text(item, "pk").parse().ok()?, task, due_ms: number(item, "due") })
}

#[cfg(test)]
#[path = "items_tests.rs"]
mod tests;
