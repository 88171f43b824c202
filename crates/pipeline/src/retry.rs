//! How long a task waits after a fault before it is tried again.

/// Bounds of retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// `MAX_RETRIES`
    pub max_retries: u32,
    /// `RETRY_SECONDS`: first ceiling of the backoff, doubled at each fault. The default waits 52 s in all on average,
    /// 105 at most: a store that throttles or is away for seconds is none of a person's business.
    pub base_ms: u64,
    pub cap_ms: u64,
}

/// The same where the world was not in the way: a tool died, which waiting does not help.
const DEATH_BASE_MS: u64 = 2_000;

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_retries: 3, base_ms: 15_000, cap_ms: 300_000 }
    }
}

impl RetryPolicy {
    /// The same for what died.
    pub(crate) fn after_death(self) -> Self {
        Self { base_ms: self.base_ms.min(DEATH_BASE_MS), ..self }
    }
    /// Full jitter: anywhere between zero and the ceiling. `random` is in 0..1.
    pub fn delay_ms(self, faults: u32, random: f64) -> u64 {
        let ceiling = self.base_ms.saturating_mul(1u64 << faults.saturating_sub(1).min(20)).min(self.cap_ms);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a few minutes in ms")]
        let delay = (ceiling as f64 * random.clamp(0.0, 1.0)) as u64;
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_anywhere_below_a_ceiling_that_doubles_up_to_its_cap() {
        let policy = RetryPolicy { max_retries: 3, base_ms: 1_000, cap_ms: 10_000 };
        assert_eq!(
            [1, 2, 3, 4, 5, 60, u32::MAX].map(|faults| policy.delay_ms(faults, 1.0)),
            [1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000]
        );
        assert_eq!([0.0, 0.25, 0.5].map(|random| policy.delay_ms(3, random)), [0, 1_000, 2_000]);
        assert_eq!((policy.delay_ms(1, -1.0), policy.delay_ms(1, 7.0), policy.delay_ms(0, 1.0)), (0, 1_000, 1_000));
    }
}
