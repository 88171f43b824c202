//! Temporaries of jobs that the ledger does not know, as after its table was emptied: nobody else will ever delete them.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Context,
    sweep::{REPORT_MS, is_late},
};
use crate::{
    fault::Fault,
    id::JobId,
    key,
    ports::{Blobs, Clock, Ledger, Look, World},
};

/// Younger objects are left alone, ms.
const AGE_MS: u64 = 86_400_000;
/// Objects looked at in one sweep, twice as many where there are more, and jobs asked for.
const MAX_LISTED: u32 = 10_000;
const MAX_JOBS: usize = 50;

/// Deletes objects below `work/<job>/` that are older than a day and of no job. Answers how many.
pub(super) async fn clear<W: World>(cx: &Context<'_, W>) -> Result<u32, Fault> {
    let before = cx.now().saturating_sub(AGE_MS);
    let look = Look { bucket: None, prefix: key::WORK, after: None, limit: MAX_LISTED };
    let mut found = cx.world.blobs().stored(look).await?;
    if found.next.is_some() && !is_late(cx, REPORT_MS) {
        // Jobs' ids are hashes: elsewhere with each sweep, all of them are seen in time.
        let after = place(cx.world.clock().random());
        found.objects.extend(cx.world.blobs().stored(Look { after: Some(&after), ..look }).await?.objects);
    }
    let mut old: BTreeMap<JobId, BTreeSet<String>> = BTreeMap::new();
    for stored in found.objects.into_iter().filter(|stored| stored.modified_ms < before) {
        let key = stored.source.key.as_str();
        if let Some(job) = key::worked_on(key) {
            old.entry(job).or_default().insert(key.to_owned());
        }
    }
    // Jobs that wait for a person keep theirs: where there are many of them, each sweep asks for others.
    let mut old: Vec<(JobId, BTreeSet<String>)> = old.into_iter().collect();
    let first = super::sweep::beginning(old.len(), cx.world.clock().random());
    old.rotate_left(first);
    let mut deleted = 0;
    for (job, keys) in old.into_iter().take(MAX_JOBS) {
        if is_late(cx, REPORT_MS) {
            break;
        }
        if cx.world.ledger().job(&job).await?.is_some() {
            continue;
        }
        tracing::warn!(%job, count = keys.len(), "the ledger knows no such job: its temporaries are deleted");
        let keys: Vec<String> = keys.into_iter().collect();
        cx.world.blobs().delete(&keys).await?;
        deleted += u32::try_from(keys.len()).unwrap_or(u32::MAX);
    }
    Ok(deleted)
}

/// A key before those of about as many jobs as `random`, in 0..1, is far from 1.
fn place(random: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place among 32-bit numbers")]
    let place = (random.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32;
    format!("{}{place:08x}", key::WORK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_may_be_before_and_behind_every_job() {
        assert_eq!([place(0.0), place(0.5), place(1.0)], ["work/00000000", "work/7fffffff", "work/ffffffff"]);
    }
}
