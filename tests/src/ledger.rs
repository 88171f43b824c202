//! The ledger as the table has it: read by AWS's client, without the pipeline's own eyes.

use std::{collections::HashMap, sync::PoisonError};

use anyhow::{Context, Result};
use aws_sdk_dynamodb::types::AttributeValue;

use crate::stack::Stack;

type Item = HashMap<String, AttributeValue>;

/// A task's item, as far as tests look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// `split`, `c00003`, `a00`, `merge`.
    pub id: String,
    /// `open`, `leased`, `done`, `blocked` or `ended`.
    pub state: String,
    pub class: String,
    pub generation: u64,
    pub attempts: u64,
    pub faults: u64,
    pub deaths: u64,
    pub last_fault: Option<String>,
    /// Who holds its lease, by log stream.
    pub environment: Option<String>,
    /// Until when they hold it, milliseconds since 1970; 0: nobody does.
    pub until_ms: u64,
}

/// A job's item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub state: String,
    /// Tasks that wait for an operator.
    pub blocked: Vec<String>,
}

/// What was read of a job's record when it was last written at `due`.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    due: u64,
    job: String,
    /// Of its source.
    key: String,
    is_ended: bool,
}

impl Stack {
    /// `None`: there is no such job yet.
    pub async fn job_item(&self, job: &str) -> Result<Option<Job>> {
        // Records are large, and this is asked again and again.
        let get = self.dynamodb.get_item().table_name(self.table()?).consistent_read(true).projection_expression("#state, blocked");
        let get = get.expression_attribute_names("#state", "state");
        let found = get.key("pk", AttributeValue::S(job.into())).key("sk", AttributeValue::S("job".into())).send().await?;
        found.item.map(|item| Ok(Job { state: name(&item, "state")?, blocked: names(&item, "blocked") })).transpose()
    }

    /// The job of a source's key that changed last.
    pub(crate) async fn latest_of(&self, key: &str) -> Result<Option<String>> {
        Ok(self.known_jobs().await?.into_iter().rev().find(|known| known.key == key).map(|known| known.job))
    }

    /// Jobs at whose records nothing will change any more, `(key of the source, job)`.
    pub async fn ended(&self) -> Result<Vec<(String, String)>> {
        let known = self.known_jobs().await?.into_iter().filter(|known| known.is_ended);
        Ok(known.map(|known| (known.key, known.job)).collect())
    }

    /// All jobs by the time of their last change. Records are large: each is read again only after a change.
    async fn known_jobs(&self) -> Result<Vec<Known>> {
        let mut pages = self.dynamodb.scan().table_name(self.table()?).index_name("open").into_paginator().items().send();
        let mut jobs = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item?;
            // Open tasks stand between the jobs.
            if text(&item, "sk")? == "job" {
                jobs.push((number(&item, "due"), text(&item, "pk")?));
            }
        }
        jobs.sort_unstable();
        let mut all = Vec::new();
        for (due, job) in jobs {
            let before = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&job).filter(|known| known.due == due).cloned();
            let known = match before {
                Some(known) => known,
                None => self.look(due, &job).await?,
            };
            self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(job, known.clone());
            all.push(known);
        }
        Ok(all)
    }

    async fn look(&self, due: u64, job: &str) -> Result<Known> {
        let get = self.dynamodb.get_item().table_name(self.table()?).consistent_read(true).projection_expression("#source, #state");
        let get = get.expression_attribute_names("#source", "source").expression_attribute_names("#state", "state");
        let found = get.key("pk", AttributeValue::S(job.into())).key("sk", AttributeValue::S("job".into())).send().await?;
        let item = found.item.with_context(|| format!("job {job} is gone"))?;
        let key = text(item.get("source").and_then(|source| source.as_m().ok()).context("a job without a source")?, "key")?;
        let is_ended = ["completed", "partial", "rejected", "cancelled"].contains(&name(&item, "state")?.as_str());
        Ok(Known { due, job: job.to_owned(), key, is_ended })
    }

    /// All tasks of a job, by id.
    pub async fn task_items(&self, job: &str) -> Result<Vec<Task>> {
        let query = self
            .dynamodb
            .query()
            .table_name(self.table()?)
            .consistent_read(true)
            .key_condition_expression("pk = :job AND begins_with(sk, :task)")
            .expression_attribute_values(":job", AttributeValue::S(job.into()))
            .expression_attribute_values(":task", AttributeValue::S("task#".into()));
        let mut pages = query.into_paginator().items().send();
        let mut tasks = Vec::new();
        while let Some(item) = pages.next().await {
            tasks.push(task(&item?)?);
        }
        Ok(tasks)
    }

    /// As if nothing had been written of a job and its tasks for so long. The index of open work is by time, too.
    pub async fn rests(&self, job: &str, for_ms: u64) -> Result<()> {
        let query = self.dynamodb.query().table_name(self.table()?).key_condition_expression("pk = :job");
        let mut items = query.expression_attribute_values(":job", AttributeValue::S(job.into())).into_paginator().items().send();
        while let Some(item) = items.next().await {
            let item = item?;
            let names = ["updated_ms", "due"].into_iter().filter(|name| item.contains_key(*name));
            self.set_back(&item, names, for_ms).await?;
        }
        Ok(())
    }

    /// As if no environment had told anything for so long. Answers of how many that is to be believed.
    pub async fn falls_silent(&self, for_ms: u64) -> Result<usize> {
        let scan = self.dynamodb.scan().table_name(self.table()?).filter_expression("begins_with(pk, :fleet) AND #state <> :gone");
        let scan =
            scan.expression_attribute_names("#state", "state").expression_attribute_values(":fleet", AttributeValue::S("fleet#".into()));
        let scan = scan.expression_attribute_values(":gone", AttributeValue::S("gone".into()));
        let (mut items, mut count) = (scan.into_paginator().items().send(), 0);
        while let Some(item) = items.next().await {
            self.set_back(&item?, ["at_ms"].into_iter(), for_ms).await?;
            count += 1;
        }
        Ok(count)
    }

    async fn set_back(&self, item: &Item, names: impl Iterator<Item = &str>, by_ms: u64) -> Result<()> {
        for name in names {
            let then = number(item, name).saturating_sub(by_ms).to_string();
            let update = self.dynamodb.update_item().table_name(self.table()?);
            let update = update.key("pk", AttributeValue::S(text(item, "pk")?)).key("sk", AttributeValue::S(text(item, "sk")?));
            let update = update.update_expression("SET #name = :then").expression_attribute_names("#name", name);
            update.expression_attribute_values(":then", AttributeValue::N(then)).send().await?;
        }
        Ok(())
    }

    fn table(&self) -> Result<&String> {
        self.outputs.get("Table").context("the stack tells no table")
    }
}

fn task(item: &Item) -> Result<Task> {
    let state = item.get("state").and_then(|state| state.as_m().ok()).context("a task without a state")?;
    Ok(Task {
        id: text(item, "id")?,
        state: text(state, "name")?,
        class: text(item, "class")?,
        generation: number(item, "generation"),
        attempts: number(item, "attempts"),
        faults: number(item, "faults"),
        deaths: number(item, "deaths"),
        last_fault: text(item, "last_fault").ok(),
        environment: text(state, "environment").ok(),
        until_ms: number(state, "until_ms"),
    })
}

fn name(item: &Item, of: &str) -> Result<String> {
    text(item.get(of).and_then(|value| value.as_m().ok()).with_context(|| of.to_owned())?, "name")
}
fn text(item: &Item, name: &str) -> Result<String> {
    Ok(item.get(name).and_then(|value| value.as_s().ok()).with_context(|| name.to_owned())?.clone())
}
fn number(item: &Item, name: &str) -> u64 {
    item.get(name).and_then(|value| value.as_n().ok()).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}
fn names(item: &Item, name: &str) -> Vec<String> {
    item.get(name).and_then(|value| value.as_ss().ok()).cloned().unwrap_or_default()
}
