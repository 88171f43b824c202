//! Temporaries of jobs that the ledger does not know, as after its table was emptied: nobody else will ever delete them.

use std::collections::BTreeMap;

use super::Context;
use crate::{
    fault::Fault,
    id::JobId,
    key,
    ports::{Blobs, Clock, Ledger, World},
};

/// Younger objects are left alone, ms.
const AGE_MS: u64 = 86_400_000;
/// Objects looked at in one sweep, and jobs asked for.
const MAX_LISTED: u32 = 10_000;
const MAX_JOBS: usize = 50;

/// Deletes objects below `work/<job>/` that are older than a day and of no job. Answers how many.
pub(super) async fn clear<W: World>(cx: &Context<'_, W>) -> Result<u32, Fault> {
    let before = cx.now().saturating_sub(AGE_MS);
    let mut old: BTreeMap<JobId, Vec<String>> = BTreeMap::new();
    for stored in cx.world.blobs().stored(None, key::WORK, MAX_LISTED).await?.into_iter().filter(|stored| stored.modified_ms < before) {
        let key = stored.source.key.as_str();
        if let Some(job) = key::worked_on(key) {
            old.entry(job).or_default().push(key.to_owned());
        }
    }
    // Jobs that wait for a person keep theirs: where there are many of them, each sweep asks for others.
    let mut old: Vec<(JobId, Vec<String>)> = old.into_iter().collect();
    let first = super::sweep::beginning(old.len(), cx.world.clock().random());
    old.rotate_left(first);
    let mut deleted = 0;
    for (job, keys) in old.into_iter().take(MAX_JOBS) {
        if cx.world.ledger().job(&job).await?.is_some() {
            continue;
        }
        tracing::warn!(%job, count = keys.len(), "the ledger knows no such job: its temporaries are deleted");
        cx.world.blobs().delete(&keys).await?;
        deleted += u32::try_from(keys.len()).unwrap_or(u32::MAX);
    }
    Ok(deleted)
}
