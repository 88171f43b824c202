//! How loud sound is (EBU R 128, by ITU-R BS.1770), and the one gain that brings it to a level. Pure.
//!
//! The gain is the same from the first sample to the last: nothing pumps, and quiet stays quiet beside loud.

use serde::{Deserialize, Serialize};

/// Greatest true peak of what is made, hundredths of dBTP (EBU R 128, "Maximum True Peak Level": -1 dBTP).
const CEILING: i32 = -100;
/// Where the meter begins: what is no louder is silence (ITU-R BS.1770, the absolute gate), hundredths of LUFS.
const SILENCE: i32 = -7000;
/// Encoding changes loudness a little; where it is more than this, the sound is encoded once more. Hundredths of LU.
const CLOSE: i32 = 20;
/// What counts as the level of the profile, hundredths of LU.
const REACHED: i32 = 50;

/// What a meter says of a whole track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// Integrated loudness, hundredths of LUFS.
    pub loudness: i32,
    /// True peak, hundredths of dBTP; of silence as little as can be said.
    pub peak: i32,
}

/// How a track was brought to a level. Hundredths, because records are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loudness {
    pub source: Level,
    /// Hundredths of dB.
    pub gain: i32,
    /// Of the encoded track.
    pub made: Level,
}

/// LUFS or dB in hundredths, as they are counted here.
#[expect(clippy::cast_possible_truncation, reason = "saturates")]
pub fn hundredths(number: f64) -> i32 {
    (number * 100.0).round() as i32
}

/// The gain for a target, hundredths of dB. What would lift a peak above the ceiling is not done: a limiter would change
/// the sound.
pub fn gain(target: i32, source: Level) -> i32 {
    if source.loudness <= SILENCE {
        return 0;
    }
    (target - source.loudness).min(CEILING.saturating_sub(source.peak))
}

/// The gain for another try, where what was made is further from the target than encoding should bring it.
pub fn again(target: i32, source: Level, tried: i32, made: Level) -> Option<i32> {
    if source.loudness <= SILENCE || tried < target - source.loudness || (target - made.loudness).abs() <= CLOSE {
        return None;
    }
    let better = (tried + target - made.loudness).min(CEILING.saturating_sub(source.peak));
    (better != tried).then_some(better)
}

/// The same in the words of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoudnessReceipt {
    pub target_lufs: f64,
    pub source_lufs: f64,
    pub source_peak_dbtp: f64,
    pub gain_db: f64,
    pub lufs: f64,
    pub peak_dbtp: f64,
    /// Within half a unit of the target. Else the sound is silent, or its peaks allow no more.
    pub reached: bool,
}

impl Loudness {
    /// `target`: of the profile, LUFS.
    pub fn told(&self, target: f64) -> LoudnessReceipt {
        let whole = |number: i32| f64::from(number) / 100.0;
        LoudnessReceipt {
            target_lufs: target,
            source_lufs: whole(self.source.loudness),
            source_peak_dbtp: whole(self.source.peak),
            gain_db: whole(self.gain),
            lufs: whole(self.made.loudness),
            peak_dbtp: whole(self.made.peak),
            reached: (hundredths(target) - self.made.loudness).abs() <= REACHED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(loudness: i32, peak: i32) -> Level {
        Level { loudness, peak }
    }

    #[test]
    fn one_gain_for_the_whole_and_no_peak_above_the_ceiling() {
        assert_eq!(gain(-2300, level(-3000, -2000)), 700);
        assert_eq!(gain(-2300, level(-1000, 20)), -1300);
        assert_eq!(gain(-2300, level(-3000, -300)), 200, "its peaks allow 2 dB");
        assert_eq!(gain(-2300, level(-1900, 500)), -600, "a peak above full scale is brought below it");
        assert_eq!(gain(-2300, level(-7000, i32::MIN)), 0, "silence");
    }

    #[test]
    fn what_encoding_took_is_given_back_once() {
        let source = level(-3000, -2000);
        assert_eq!(again(-2300, source, 700, level(-2315, -1300)), None, "close enough");
        assert_eq!(again(-2300, source, 700, level(-2340, -1300)), Some(740));
        assert_eq!(again(-2300, level(-3000, -300), 200, level(-2800, -100)), None, "limited by its peaks");
        assert_eq!(again(-2300, level(-3000, -810), 700, level(-2340, -100)), Some(710), "as far as its peaks allow");
        assert_eq!(again(-2300, level(-7000, i32::MIN), 0, level(-7000, i32::MIN)), None);
    }

    #[test]
    fn a_receipt_says_whether_the_level_is_reached() {
        let told = |made| Loudness { source: level(-3000, -300), gain: 200, made: level(made, -90) }.told(-23.0);
        assert!(told(-2349).reached && !told(-2800).reached);
        assert_eq!((told(-2800).lufs, told(-2800).gain_db), (-28.0, 2.0));
    }
}
