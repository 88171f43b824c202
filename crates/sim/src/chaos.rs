//! What goes wrong, and when.

/// From being told to go to being gone, milliseconds: what Lambda gives where extensions are internal.
pub const GRACE_MS: u64 = 500;

/// `SplitMix64`: small, and the same on every machine and in every version.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }
    /// 64 evenly spread bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    /// In `0..bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.bits() % bound }
    }
    /// In 0..1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
    /// True once in `1/p` times.
    pub fn chance(&mut self, p: f64) -> bool {
        p > 0.0 && self.unit() < p
    }
}

/// When a worker dies, seen from an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing of it happens.
    Before,
    /// It takes effect; nobody sees the answer.
    After,
}

/// What went wrong in a world, counted where it takes effect: a fault that is only meant to happen shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    DiedBefore,
    DiedAfter,
    /// Refused without effect, and although it took effect.
    Throttled,
    Ambiguous,
    /// Took effect after whoever asked for it was gone.
    Late,
    Stalled,
    ShutDown,
    Slow,
    /// Messages: delivered again while in flight, acknowledged in vain, late, lost, before an older one.
    Doubled,
    Unacknowledged,
    Delayed,
    Lost,
    Disordered,
    /// Clocks: wrong from the start, wrong from now on.
    Skewed,
    Jumped,
    /// The index does not hold yet what is due, and still holds what is not; the depth is of another moment.
    Unindexed,
    Outdated,
    Miscounted,
}

impl Harm {
    pub const ALL: [Self; 18] = [
        Self::DiedBefore,
        Self::DiedAfter,
        Self::Throttled,
        Self::Ambiguous,
        Self::Late,
        Self::Stalled,
        Self::ShutDown,
        Self::Slow,
        Self::Doubled,
        Self::Unacknowledged,
        Self::Delayed,
        Self::Lost,
        Self::Disordered,
        Self::Skewed,
        Self::Jumped,
        Self::Unindexed,
        Self::Outdated,
        Self::Miscounted,
    ];

    /// Of a death.
    pub fn of_death(moment: Moment) -> Self {
        if moment == Moment::Before { Self::DiedBefore } else { Self::DiedAfter }
    }
}

/// How the world misbehaves. The default is a world in order. Rates are per operation or per delivery, 0..1.
#[derive(Clone, Debug, Default)]
pub struct Chaos {
    /// Kill the worker that makes the operation with this number (from 1).
    pub crash_at: Option<(u64, Moment)>,
    /// Answer `Retry` to the operation with this number: without effect, or although it took effect.
    pub refuse_at: Option<(u64, Moment)>,
    /// Kill a worker at an operation; at most `crashes` in all.
    pub crash: f64,
    pub crashes: u32,
    /// Answer `Retry` without effect.
    pub throttle: f64,
    /// Answer `Retry` although it took effect.
    pub ambiguous: f64,
    /// Freeze a worker for one to six minutes: it comes back when its lease has run out. At most `stalls` in all.
    pub stall: f64,
    pub stalls: u32,
    /// Freeze the worker that makes the operation with this number (from 1), for so many milliseconds.
    pub stall_at: Option<(u64, u64)>,
    /// Shut an environment down at an operation: it is told, and has [`GRACE_MS`] for its last words. At most `shutdowns` in
    /// all.
    pub shutdown: f64,
    pub shutdowns: u32,
    /// Shut the environment down that makes the operation with this number (from 1).
    pub shutdown_at: Option<u64>,
    /// Let an operation take seconds instead of milliseconds.
    pub slow: f64,
    /// Deliver a message again while it is in flight.
    pub duplicate: f64,
    /// Lose the acknowledgement of a message.
    pub lost_ack: f64,
    /// Let a sent message be invisible for up to a minute.
    pub delay: f64,
    /// Clocks of environments differ by up to this many milliseconds either way.
    pub skew_ms: u64,
    /// At an operation, set the clock of its environment to up to `jump_ms` before or after the truth.
    pub jump: f64,
    pub jump_ms: u64,
    /// Let the index of open work and the depth of queues be of another moment: what DynamoDB and SQS call eventual
    /// consistency and approximate numbers. Everything else is read consistently.
    pub stale: f64,
    /// Lose a message to a worker for ever.
    pub lose: f64,
    /// Lose the message to a worker with this number (from 1).
    pub lose_at: Option<u64>,
    /// Messages to this queue vanish until so many milliseconds from the start.
    pub lost: Option<(&'static str, u64)>,
    /// The object store refuses everything from then to then, milliseconds from the start.
    pub away: Option<(u64, u64)>,
    /// Everything that runs dies then, and nothing runs until then, milliseconds from the start; what is stored stays.
    pub off: Option<(u64, u64)>,
    /// Nobody reads this queue until so many milliseconds from the start.
    pub unread: Option<(&'static str, u64)>,
    /// From then on the world is in order, so that every run ends. Milliseconds from the start.
    pub until_ms: u64,
}

/// What becomes of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Go,
    Crash(Moment),
    Throttle,
    Ambiguous,
    /// The worker freezes before it; then it goes on.
    Stall {
        ms: u64,
    },
    /// It happens; the environment is told to go meanwhile.
    ShutDown,
}

impl Chaos {
    /// Whether chance plays a part at all.
    pub fn is_random(&self) -> bool {
        self.until_ms > 0
    }

    /// How far a clock may be from the truth, milliseconds.
    pub fn reach_ms(&self) -> u64 {
        self.skew_ms.max(if self.jump > 0.0 { self.jump_ms } else { 0 })
    }

    /// Whether the object store is there.
    pub fn is_away(&self, elapsed_ms: u64) -> bool {
        self.away.is_some_and(|(from, until)| (from..until).contains(&elapsed_ms))
    }

    /// From when on a queue is read, milliseconds from the start.
    pub fn read_from_ms(&self, queue: &str, elapsed_ms: u64) -> u64 {
        let off = self.off.filter(|_| self.is_off(elapsed_ms)).map_or(0, |(_, until)| until);
        self.unread.filter(|(name, _)| *name == queue).map_or(0, |(_, until)| until).max(off)
    }

    /// Whether nothing runs.
    pub fn is_off(&self, elapsed_ms: u64) -> bool {
        self.off.is_some_and(|(from, until)| (from..until).contains(&elapsed_ms))
    }

    /// Decides on operation `number`, `elapsed_ms` after the start.
    pub fn fate(&mut self, rng: &mut Rng, number: u64, elapsed_ms: u64) -> Fate {
        if let Some((_, ms)) = self.stall_at.filter(|(at, _)| *at == number) {
            return Fate::Stall { ms };
        }
        match (self.crash_at, self.refuse_at) {
            (Some((at, moment)), _) if at == number => return Fate::Crash(moment),
            (_, Some((at, Moment::Before))) if at == number => return Fate::Throttle,
            (_, Some((at, Moment::After))) if at == number => return Fate::Ambiguous,
            _ if self.shutdown_at == Some(number) => return Fate::ShutDown,
            _ if elapsed_ms >= self.until_ms => return Fate::Go,
            _ => {}
        }
        if self.crashes > 0 && rng.chance(self.crash) {
            self.crashes -= 1;
            return Fate::Crash(if rng.chance(0.5) { Moment::Before } else { Moment::After });
        }
        if rng.chance(self.throttle) {
            Fate::Throttle
        } else if rng.chance(self.ambiguous) {
            Fate::Ambiguous
        } else if self.stalls > 0 && rng.chance(self.stall) {
            self.stalls -= 1;
            Fate::Stall { ms: 60_000 + rng.below(300_000) }
        } else if self.shutdowns > 0 && rng.chance(self.shutdown) {
            self.shutdowns -= 1;
            Fate::ShutDown
        } else {
            Fate::Go
        }
    }
}
