//! Real time and real chance.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pipeline::ports::Clock;

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
    fn random(&self) -> f64 {
        rand::random()
    }
}

/// Backoff of retries in place: full jitter below 100 ms · 2ⁿ, at most 3 s.
pub(crate) async fn pause(tries: u32) {
    let ceiling = Duration::from_millis(100u64 << tries.min(5)).min(Duration::from_secs(3));
    tokio::time::sleep(ceiling.mul_f64(rand::random())).await;
}
