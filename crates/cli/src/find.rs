//! Jobs of a stack, the latest first.

use std::time::{SystemTime, UNIX_EPOCH};

use pipeline::job::StoredJob;

use crate::{remote::Fanreel, text};

/// Jobs that are looked through for the beginning of an id, open and of each month.
pub const SEARCHED: u32 = 300;
/// Months that are looked through for ended jobs.
const MONTHS: usize = 3;

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Open jobs and those that ended lately, the latest change first, at most `limit`.
pub async fn recent(fanreel: &Fanreel, limit: u32) -> anyhow::Result<Vec<StoredJob>> {
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut found = fanreel.ledger.list_open(limit).await?;
    for month in text::months(now_ms(), MONTHS) {
        // Open jobs stand in no month, so the list of them says nothing about how many ended.
        if found.iter().filter(|stored| stored.job.state.is_ended()).count() >= most {
            break;
        }
        found.extend(fanreel.ledger.list_ended(&month, limit).await?);
    }
    // The index lags behind by moments: a job may be in both lists.
    found.sort_by(|a, b| (&a.job.id, b.job.updated_ms).cmp(&(&b.job.id, a.job.updated_ms)));
    found.dedup_by(|a, b| a.job.id == b.job.id);
    found.sort_by_key(|stored| std::cmp::Reverse(stored.job.updated_ms));
    found.truncate(most);
    Ok(found)
}
