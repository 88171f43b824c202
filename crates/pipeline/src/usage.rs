//! What attempts use: time, memory, and requests to the services. Pure.

use serde::{Deserialize, Serialize};

/// Requests by the classes that AWS prices ("Amazon S3 pricing", "Amazon SQS pricing", "Amazon DynamoDB pricing"). Every
/// try counts, those that were sent again and those that were refused too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Requests {
    /// PUT, COPY, POST and LIST.
    pub s3_put: u64,
    /// GET, HEAD and all others.
    pub s3_get: u64,
    /// DELETE and CANCEL: for nothing.
    pub s3_free: u64,
    pub sqs: u64,
    /// Write request units, those of the index included.
    pub ledger_write_units: u64,
    /// Halves of a read request unit: an eventually consistent read takes one.
    pub ledger_read_halves: u64,
    /// Bytes of bodies, from S3 and to it.
    pub from_s3_bytes: u64,
    pub to_s3_bytes: u64,
}

impl Requests {
    /// Pairs of both sides' counts.
    fn zip(self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            s3_put: with(self.s3_put, other.s3_put),
            s3_get: with(self.s3_get, other.s3_get),
            s3_free: with(self.s3_free, other.s3_free),
            sqs: with(self.sqs, other.sqs),
            ledger_write_units: with(self.ledger_write_units, other.ledger_write_units),
            ledger_read_halves: with(self.ledger_read_halves, other.ledger_read_halves),
            from_s3_bytes: with(self.from_s3_bytes, other.from_s3_bytes),
            to_s3_bytes: with(self.to_s3_bytes, other.to_s3_bytes),
        }
    }

    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.zip(other, u64::saturating_add)
    }

    /// Since `before`, of the same environment.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        self.zip(before, u64::saturating_sub)
    }
}

/// What a function is given, which is paid for by the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Room {
    pub memory_mb: u32,
    /// Ephemeral storage.
    pub scratch_mb: u32,
}

/// What some attempts used together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    pub attempts: u32,
    pub wall_ms: u64,
    /// Of the function and the tools that it started.
    pub cpu_ms: u64,
    /// Memory that was given, times the time: MB · ms.
    pub memory_mb_ms: u64,
    /// Ephemeral storage that was given, beyond what costs nothing, times the time: MB · ms.
    pub scratch_mb_ms: u64,
    pub requests: Requests,
}

/// Ephemeral storage that a function has for nothing, MB ("AWS Lambda Pricing").
pub const FREE_SCRATCH_MB: u32 = 512;

impl Usage {
    /// One attempt that was given `room` for so long; nothing else is known of it.
    pub fn of_time(room: Room, wall_ms: u64) -> Self {
        let times = |mb: u32| u64::from(mb).saturating_mul(wall_ms);
        let scratch_mb_ms = times(room.scratch_mb.saturating_sub(FREE_SCRATCH_MB));
        Self { attempts: 1, wall_ms, memory_mb_ms: times(room.memory_mb), scratch_mb_ms, ..Self::default() }
    }

    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            attempts: self.attempts.saturating_add(other.attempts),
            wall_ms: self.wall_ms.saturating_add(other.wall_ms),
            cpu_ms: self.cpu_ms.saturating_add(other.cpu_ms),
            memory_mb_ms: self.memory_mb_ms.saturating_add(other.memory_mb_ms),
            scratch_mb_ms: self.scratch_mb_ms.saturating_add(other.scratch_mb_ms),
            requests: self.requests.plus(other.requests),
        }
    }

    /// Memory as it is paid for: GB of 1024 MB, times seconds.
    pub fn gb_seconds(&self) -> f64 {
        gb_seconds(self.memory_mb_ms)
    }

    /// The same of ephemeral storage.
    pub fn scratch_gb_seconds(&self) -> f64 {
        gb_seconds(self.scratch_mb_ms)
    }

    pub fn seconds(&self) -> f64 {
        seconds(self.wall_ms)
    }

    pub fn cpu_seconds(&self) -> f64 {
        seconds(self.cpu_ms)
    }

    /// What the attempts were given, over their time; zero where that is not known.
    pub fn room(&self) -> Room {
        let mean = |mb_ms: u64| u32::try_from(mb_ms.checked_div(self.wall_ms).unwrap_or(0)).unwrap_or(u32::MAX);
        let scratch = mean(self.scratch_mb_ms);
        Room { memory_mb: mean(self.memory_mb_ms), scratch_mb: if scratch > 0 { scratch.saturating_add(FREE_SCRATCH_MB) } else { 0 } }
    }
}

impl std::iter::Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Self::plus)
    }
}

#[expect(clippy::cast_precision_loss, reason = "for a sum of dollars")]
fn gb_seconds(mb_ms: u64) -> f64 {
    mb_ms as f64 / 1024.0 / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "spans of time")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usage() -> impl Strategy<Value = Usage> {
        let few = || 0u64..1 << 40;
        let requests = (few(), few(), few(), few(), few(), few()).prop_map(|(s3_put, s3_get, sqs, ledger_write_units, halves, bytes)| {
            Requests { s3_put, s3_get, sqs, ledger_write_units, ledger_read_halves: halves, from_s3_bytes: bytes, ..Requests::default() }
        });
        let room = (128u32..10_241, 512u32..10_241).prop_map(|(memory_mb, scratch_mb)| Room { memory_mb, scratch_mb });
        (room, 0u64..900_001, few(), requests).prop_map(|(room, ms, cpu_ms, requests)| Usage {
            cpu_ms,
            requests,
            ..Usage::of_time(room, ms)
        })
    }

    proptest! {
        /// In whatever order and groups attempts are added, the sum is the same; counts since a moment and those before it
        /// are all.
        #[test]
        fn sums_do_not_depend_on_their_order(all in prop::collection::vec(usage(), 0..6), at in 0usize..6) {
            let sum: Usage = all.iter().copied().sum();
            let (some, others) = all.split_at(at.min(all.len()));
            let other_way = others.iter().rev().copied().sum::<Usage>().plus(some.iter().copied().sum());
            prop_assert_eq!(sum, other_way);
            let before: Usage = some.iter().copied().sum();
            prop_assert_eq!(before.requests.plus(sum.requests.since(before.requests)), sum.requests);
        }

        /// What an attempt was given can be read back from what it used.
        #[test]
        fn the_room_is_read_back(memory_mb in 128u32..10_241, scratch_mb in 513u32..10_241, ms in 1u64..900_001) {
            let room = Room { memory_mb, scratch_mb };
            prop_assert_eq!(Usage::of_time(room, ms).room(), room);
        }
    }
}
