//! State in one DynamoDB table: single-item conditional writes only, so that it runs on every DynamoDB-compatible store.

use aws_sdk_dynamodb::{
    Client,
    operation::{put_item::PutItemError, update_item::UpdateItemError},
    types::{AttributeValue, PutRequest, ReturnValue, WriteRequest},
};
use futures::{StreamExt, TryStreamExt, stream};
use pipeline::{
    Fault, Shortage,
    event::EventRecord,
    fleet::Member,
    id::{JobId, TaskId},
    job::{Job, StoredJob},
    ports::{Clock, DoneSet, Ledger, TaskPage},
    task::{StoredTask, Task},
};

use crate::{
    clock::{SystemClock, pause},
    faults::classify,
    items::{self, Item, Record, SHARDS, TASK_PREFIX, n, s},
    update,
};

/// `BatchWriteItem` takes no more.
const BATCH: usize = 25;
/// Tasks of one page: half a megabyte of records, and several times that while they are decoded.
const TASKS_AT_ONCE: i32 = 100;
/// Rounds for what a batch left unwritten.
const ROUNDS: u32 = 8;

/// The ledger.
#[derive(Clone, Debug)]
pub struct DynamoLedger {
    pub(crate) client: Client,
    pub(crate) table: String,
    /// Seconds after their last change that everything but jobs is kept.
    ttl_s: u64,
}

impl DynamoLedger {
    pub fn new(client: Client, table: impl Into<String>, ttl_s: u64) -> Self {
        Self { client, table: table.into(), ttl_s }
    }

    fn expires(&self) -> AttributeValue {
        n(items::expires(SystemClock.now_ms(), self.ttl_s))
    }

    async fn get(&self, pk: &str, sk: &str) -> Result<Option<Item>, Fault> {
        let request = self.client.get_item().table_name(&self.table).key("pk", s(pk)).key("sk", s(sk)).consistent_read(true);
        let answer = request.send().await.map_err(|e| classify(&format!("reading {pk}/{sk} from the ledger"), &e))?;
        Ok(answer.item)
    }

    /// Jobs of one shard with the time of their longest due item. All of a job's items are in one shard: one long job does
    /// not hide others behind its many tasks.
    async fn due_in(&self, shard: String, before_ms: u64) -> Result<Vec<(u64, JobId)>, Fault> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("open")
            .key_condition_expression("#shard = :shard AND #due <= :before")
            .expression_attribute_names("#shard", "shard")
            .expression_attribute_names("#due", "due")
            .expression_attribute_values(":shard", s(shard))
            .expression_attribute_values(":before", n(before_ms));
        let mut jobs = std::collections::HashMap::new();
        let take = |page: Vec<Item>| {
            for item in page.iter().filter_map(items::open_item) {
                let due = jobs.entry(item.job).or_insert(item.due_ms);
                *due = item.due_ms.min(*due);
            }
        };
        self.each_page(query, "the index of open work", take).await?;
        Ok(jobs.into_iter().map(|(job, due)| (due, job)).collect())
    }

    /// Writes one batch; what DynamoDB leaves unwritten is sent again.
    async fn write_batch(&self, mut batch: Vec<WriteRequest>) -> Result<(), Fault> {
        for round in 0..ROUNDS {
            let sent = self.client.batch_write_item().request_items(&self.table, batch).send().await;
            let answer = sent.map_err(|e| classify("writing events to the ledger", &e))?;
            batch = answer.unprocessed_items.and_then(|mut left| left.remove(&self.table)).unwrap_or_default();
            if batch.is_empty() {
                return Ok(());
            }
            pause(round).await;
        }
        Err(Fault::Retry(format!("writing events to the ledger: {} were still refused after {ROUNDS} rounds", batch.len())))
    }
}

impl Ledger for DynamoLedger {
    async fn create_job(&self, job: &Job) -> Result<bool, Fault> {
        update::create(&self.client, &self.table, Record::of_job(job)?).await
    }

    async fn job(&self, job: &JobId) -> Result<Option<StoredJob>, Fault> {
        self.get(job.as_str(), items::JOB_SK).await?.map(items::stored_job).transpose()
    }

    async fn replace_job(&self, job: &Job, version: u64) -> Result<bool, Fault> {
        update::replace(&self.client, &self.table, Record::of_job(job)?, version).await
    }

    async fn set_blocked(&self, job: &JobId, task: TaskId, blocked: bool) -> Result<(), Fault> {
        let verb = if blocked { "ADD" } else { "DELETE" };
        let sent = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", s(job.as_str()))
            .key("sk", s(items::JOB_SK))
            .update_expression(format!("{verb} #blocked :task"))
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_names("#blocked", "blocked")
            .expression_attribute_values(":task", AttributeValue::Ss(vec![task.to_string()]))
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception) => {
                Err(Fault::escalate(Shortage::Tool, format!("job {job} is not in the ledger, so {task} cannot be marked in it")))
            }
            Err(error) => Err(classify(&format!("marking {task} in job {job}"), &error)),
        }
    }

    async fn create_task(&self, task: &Task) -> Result<bool, Fault> {
        update::create(&self.client, &self.table, Record::of_task(task, self.ttl_s)?).await
    }

    async fn task(&self, job: &JobId, task: TaskId) -> Result<Option<StoredTask>, Fault> {
        self.get(job.as_str(), &items::task_sk(task)).await?.map(items::stored_task).transpose()
    }

    async fn replace_task(&self, task: &Task, version: u64) -> Result<bool, Fault> {
        update::replace(&self.client, &self.table, Record::of_task(task, self.ttl_s)?, version).await
    }

    async fn tasks(&self, job: &JobId, after: Option<TaskId>) -> Result<TaskPage, Fault> {
        let key = |task| Item::from([("pk".to_owned(), s(job.as_str())), ("sk".to_owned(), s(items::task_sk(task)))]);
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .limit(TASKS_AT_ONCE)
            .set_exclusive_start_key(after.map(key))
            .key_condition_expression("pk = :job AND begins_with(sk, :task)")
            .expression_attribute_values(":job", s(job.as_str()))
            .expression_attribute_values(":task", s(TASK_PREFIX));
        let page = query.send().await.map_err(|e| classify(&format!("reading the tasks of job {job}"), &e))?;
        let more = page.last_evaluated_key.is_some_and(|key| !key.is_empty());
        let tasks: Vec<StoredTask> = page.items.unwrap_or_default().into_iter().map(items::stored_task).collect::<Result<_, _>>()?;
        let last = tasks.last().map(|stored| stored.task.id).filter(|_| more);
        Ok(TaskPage { tasks, last })
    }

    async fn mark_done(&self, job: &JobId, set: DoneSet, number: u32) -> Result<u32, Fault> {
        let sk = items::done_sk(set);
        let request = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", s(job.as_str()))
            .key("sk", s(&sk))
            .update_expression("SET #expires = :expires ADD #done :number")
            .expression_attribute_names("#expires", "expires")
            .expression_attribute_names("#done", "done")
            .expression_attribute_values(":expires", self.expires())
            .expression_attribute_values(":number", AttributeValue::Ns(vec![number.to_string()]))
            // Not UPDATED_NEW: some stores leave out of it what was in the set before.
            .return_values(ReturnValue::AllNew);
        let answer = request.send().await.map_err(|e| classify(&format!("adding {number} to {sk} of job {job}"), &e))?;
        let done = answer.attributes.as_ref().and_then(|new| new.get("done")).and_then(|v| v.as_ns().ok());
        match done {
            Some(numbers) => Ok(u32::try_from(numbers.len()).unwrap_or(u32::MAX)),
            None => Err(Fault::escalate(Shortage::Tool, format!("the ledger did not answer with the set {sk} of job {job}"))),
        }
    }

    async fn open_due(&self, before_ms: u64) -> Result<Vec<JobId>, Fault> {
        let shards = stream::iter(0..SHARDS).map(|shard| self.due_in(items::open_shard(shard), before_ms));
        let mut found = shards.buffered(4).try_collect::<Vec<_>>().await?.concat();
        found.sort_unstable();
        Ok(found.into_iter().map(|(_, job)| job).collect())
    }

    async fn tell(&self, member: &Member) -> Result<bool, Fault> {
        let sent = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(Record::of_member(member)?.into_item()))
            .condition_expression(
                "attribute_not_exists(pk) OR #incarnation < :incarnation OR (#incarnation = :incarnation AND #sequence < :sequence)",
            )
            .expression_attribute_names("#incarnation", "incarnation")
            .expression_attribute_names("#sequence", "sequence")
            .expression_attribute_values(":incarnation", n(member.incarnation))
            .expression_attribute_values(":sequence", n(member.sequence))
            .send()
            .await;
        match sent {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(PutItemError::is_conditional_check_failed_exception) => Ok(false),
            Err(error) => Err(classify("writing to the fleet's table", &error)),
        }
    }

    async fn fleet(&self) -> Result<Vec<Member>, Fault> {
        let partitions = stream::iter(0..items::FLEET_PARTITIONS).map(|partition| {
            let query = self.client.query().table_name(&self.table).key_condition_expression("pk = :pk");
            let query = query.expression_attribute_values(":pk", s(items::fleet_pk(partition)));
            // DynamoDB drops what expired within days, not at once (Using time to live).
            let query = query.filter_expression("#expires > :now").expression_attribute_names("#expires", "expires");
            let query = query.expression_attribute_values(":now", n(items::expires(SystemClock.now_ms(), 0)));
            async move { self.pages(query, "the fleet's table", None).await }
        });
        let found: Vec<Item> = partitions.buffered(usize::from(items::FLEET_PARTITIONS)).try_collect::<Vec<_>>().await?.concat();
        // A row of a newer version is left out: the table is for people.
        let read = |item| items::value(item).inspect_err(|fault| tracing::debug!(%fault, "a row of the fleet's table")).ok();
        Ok(found.into_iter().filter_map(read).collect())
    }

    async fn record(&self, events: &[EventRecord]) -> Result<(), Fault> {
        // One batch may not name an item twice.
        let mut unique = std::collections::BTreeMap::new();
        for event in events {
            unique.insert((event.job.clone(), event.partition(), event.sort_key()), event);
        }
        let mut requests = Vec::with_capacity(unique.len());
        for event in unique.into_values() {
            let item = Record::of_event(event, self.ttl_s)?.into_item();
            let put = PutRequest::builder().set_item(Some(item)).build();
            let put = put.map_err(|e| Fault::escalate(Shortage::Tool, format!("an event cannot be written: {e}")))?;
            requests.push(WriteRequest::builder().put_request(put).build());
        }
        for batch in requests.chunks(BATCH) {
            self.write_batch(batch.to_vec()).await?;
        }
        Ok(())
    }
}
