//! Calls that go on over a line that is away for a while: beyond the SDK's own tries, for people who wait.

use std::time::Duration;

use aws_sdk_s3::config::{Builder, StalledStreamProtectionConfig, timeout::TimeoutConfig};
use pipeline::Fault;
use rand::Rng;

use crate::sending::Sending;

/// How long nothing at all may get through before a person is asked: a router that starts again, a train in a tunnel.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// Between two tries; the wait doubles.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// Of one call, while others get through. Each has five tries of the SDK's in it.
const MAX_TRIES: u32 = 20;

/// From the first byte of one try to its answer: 8 MiB over a line of 2.3 kB/s.
const ANSWER: Duration = Duration::from_secs(3600);

/// For calls with a film's bytes in them, which take as long as the line needs, and for a completion, which S3 may be at for
/// minutes. Nor does the SDK look for bodies that stand still: over a slow line the system's buffers take megabytes at
/// once and then nothing for minutes, so the caller looks, with more patience.
pub fn slow() -> Builder {
    let times = TimeoutConfig::builder().read_timeout(ANSWER).disable_operation_attempt_timeout().build();
    Builder::new().timeout_config(times).stalled_stream_protection(StalledStreamProtectionConfig::disabled())
}

/// Why a step of an upload ended.
#[derive(Debug)]
pub enum Trouble {
    /// The upload is not as it was: completed or ended by another, or one of its parts was replaced.
    Moved(String),
    Fault(Fault),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Calls until there is an answer, for as long as anything of this upload gets through.
pub async fn patiently<T>(sending: &Sending, mut call: impl AsyncFnMut() -> Result<T, Trouble>) -> Result<T, Trouble> {
    let mut wait = FIRST_WAIT;
    for _ in 1..MAX_TRIES {
        match call().await {
            Err(Trouble::Fault(Fault::Retry(why))) => {
                if sending.got_lost(&why) > PATIENCE {
                    return Err(Fault::Retry(why).into());
                }
                // The parts of one upload need not all come back in the same moment.
                tokio::time::sleep(wait.mul_f64(rand::rng().random_range(0.5..1.0))).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            answer => {
                sending.got_through();
                return answer;
            }
        }
    }
    call().await
}
