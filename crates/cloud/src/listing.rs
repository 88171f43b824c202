//! Reads of the ledger that people ask for, and paging.

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use futures::{StreamExt, TryStreamExt, stream};
use pipeline::{Fault, Shortage, event::EventRecord, id::JobId, job::StoredJob, ports::Ledger};

use crate::{
    DynamoLedger,
    faults::classify,
    items::{self, Item, SHARDS, n, s},
};

/// Pages of one query, 1 MB each.
const MAX_PAGES: u32 = 1_000;
/// Reads at a time.
const PARALLEL: usize = 8;

fn too_many(what: &str) -> Fault {
    Fault::escalate(Shortage::Tool, format!("reading {what}: there are more than {MAX_PAGES} pages"))
}

impl DynamoLedger {
    /// All items of a query, or the first `limit`.
    pub(crate) async fn pages(&self, query: QueryFluentBuilder, what: &str, limit: Option<u32>) -> Result<Vec<Item>, Fault> {
        let most = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let mut found: Vec<Item> = Vec::new();
        let mut next = None;
        for _ in 0..MAX_PAGES {
            let left = limit.map(|_| i32::try_from(most - found.len()).unwrap_or(i32::MAX));
            if left == Some(0) {
                return Ok(found);
            }
            let page = query.clone().set_limit(left).set_exclusive_start_key(next).send().await;
            let page = page.map_err(|e| classify(&format!("reading {what}"), &e))?;
            found.extend(page.items.unwrap_or_default());
            next = page.last_evaluated_key.filter(|key| !key.is_empty());
            if next.is_none() {
                return Ok(found);
            }
        }
        Err(too_many(what))
    }

    /// Gives every page of a query to `take`.
    pub(crate) async fn each_page(
        &self,
        query: QueryFluentBuilder,
        what: &str,
        mut take: impl FnMut(Vec<Item>) + Send,
    ) -> Result<(), Fault> {
        let mut next = None;
        for _ in 0..MAX_PAGES {
            let page = query.clone().set_exclusive_start_key(next).send().await;
            let page = page.map_err(|e| classify(&format!("reading {what}"), &e))?;
            take(page.items.unwrap_or_default());
            next = page.last_evaluated_key.filter(|key| !key.is_empty());
            if next.is_none() {
                return Ok(());
            }
        }
        Err(too_many(what))
    }

    async fn newest_jobs(&self, shard: String, from_tasks: bool, limit: u32) -> Result<Vec<(u64, JobId)>, Fault> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("open")
            .scan_index_forward(false)
            .key_condition_expression("#shard = :shard AND #due >= :zero")
            .expression_attribute_names("#shard", "shard")
            .expression_attribute_names("#due", "due")
            .expression_attribute_values(":shard", s(shard))
            .expression_attribute_values(":zero", n(0));
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut jobs = Vec::new();
        let mut take = |page: &[Item]| {
            let of_jobs = page.iter().filter_map(items::open_item).filter(|item| item.task.is_none());
            jobs.extend(of_jobs.map(|item| (item.due_ms, item.job)));
        };
        // Among open work jobs stand between their tasks, of which there may be a million: page by page.
        if from_tasks {
            self.each_page(query, "the list of jobs", |page| take(&page)).await?;
        } else {
            take(&self.pages(query, "the list of jobs", Some(limit)).await?);
        }
        jobs.truncate(most);
        Ok(jobs)
    }

    async fn jobs(&self, mut ids: Vec<(u64, JobId)>, limit: u32) -> Result<Vec<StoredJob>, Fault> {
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let reads = stream::iter(ids).map(|(_, id)| async move { self.job(&id).await }).buffered(PARALLEL);
        Ok(reads.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }

    /// Open jobs, the latest change first. The index lags behind by moments.
    pub async fn list_open(&self, limit: u32) -> Result<Vec<StoredJob>, Fault> {
        let shards = stream::iter(0..SHARDS).map(|shard| self.newest_jobs(items::open_shard(shard), true, limit));
        self.jobs(shards.buffered(PARALLEL).try_collect::<Vec<_>>().await?.concat(), limit).await
    }

    /// Jobs that ended in a month (`2026-04`, UTC), the latest first.
    pub async fn list_ended(&self, month: &str, limit: u32) -> Result<Vec<StoredJob>, Fault> {
        self.jobs(self.newest_jobs(items::ended_month(month), false, limit).await?, limit).await
    }

    /// All events of a job in order of time.
    pub async fn events(&self, job: &JobId) -> Result<Vec<EventRecord>, Fault> {
        let partitions = stream::iter(0..EventRecord::PARTITIONS).map(|partition| {
            let query = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression("pk = :pk")
                .expression_attribute_values(":pk", s(items::event_pk(job, partition)));
            async move { self.pages(query, &format!("the events of job {job}"), None).await }
        });
        let found: Vec<Item> = partitions.buffered(PARALLEL).try_collect::<Vec<_>>().await?.concat();
        let mut events: Vec<EventRecord> = found.into_iter().map(items::value).collect::<Result<_, Fault>>()?;
        events.sort_by_cached_key(EventRecord::sort_key);
        Ok(events)
    }
}
