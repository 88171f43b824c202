//! Time as the field counts it: integer ticks of a time base.

use serde::{Deserialize, Serialize};

/// Seconds per tick as a fraction. Never zero: [`TimeBase::new`] is the only door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(u32, u32)", into = "(u32, u32)")]
pub struct TimeBase {
    num: u32,
    den: u32,
}

impl TimeBase {
    pub const MILLIS: Self = Self { num: 1, den: 1000 };
    pub const MICROS: Self = Self { num: 1, den: 1_000_000 };

    /// `None` if either side is zero.
    pub const fn new(num: u32, den: u32) -> Option<Self> {
        if num == 0 || den == 0 { None } else { Some(Self { num, den }) }
    }
    pub const fn num(self) -> u32 {
        self.num
    }
    pub const fn den(self) -> u32 {
        self.den
    }
    /// Parses ffprobe's `1/15360`.
    pub fn parse(text: &str) -> Option<Self> {
        let (num, den) = text.split_once('/')?;
        Self::new(num.parse().ok()?, den.parse().ok()?)
    }
    /// Seconds of `ticks`. Exact below 2⁵³ ticks.
    #[expect(clippy::cast_precision_loss, reason = "2^53 ticks of a nanosecond are 104 days")]
    pub fn seconds(self, ticks: i64) -> f64 {
        ticks as f64 * f64::from(self.num) / f64::from(self.den)
    }
    /// Microseconds of `half_ticks`/2, rounded down: boundaries between two frames fall between two ticks.
    pub fn micros_of_half_ticks(self, half_ticks: i64) -> i64 {
        let micros = i128::from(half_ticks) * 500_000 * i128::from(self.num);
        i64::try_from(micros.div_euclid(i128::from(self.den))).unwrap_or(i64::MAX)
    }
    /// `ticks` of this base in ticks of `other`, rounded to nearest.
    pub fn rescale(self, ticks: i64, other: Self) -> i64 {
        let num = i128::from(ticks) * i128::from(self.num) * i128::from(other.den);
        let den = i128::from(self.den) * i128::from(other.num);
        i64::try_from((2 * num + den).div_euclid(2 * den)).unwrap_or(i64::MAX)
    }
}

impl TryFrom<(u32, u32)> for TimeBase {
    type Error = String;
    fn try_from((num, den): (u32, u32)) -> Result<Self, String> {
        Self::new(num, den).ok_or_else(|| format!("{num}/{den} is no time base"))
    }
}
impl From<TimeBase> for (u32, u32) {
    fn from(base: TimeBase) -> Self {
        (base.num, base.den)
    }
}
