//! Where the decoder of sound could not go on. ffmpeg decodes past damage and ends well; what is lost is silence then, as
//! long as the plan wants it.

use pipeline::{
    Fault,
    encoder::{AudioWork, EncodeError},
    plan::AudioPlan,
    timebase::TimeBase,
};

use crate::{
    FfmpegEncoder,
    args::{self, sound},
    cell::{self, Lines},
    dir::CellDir,
    verdict::verdict,
};

/// Microseconds by which a track may end before its plan and be whole: two packets of AAC, as everywhere.
const SHORT_US: i64 = 50_000;
/// Microseconds at both ends in which nothing is missed: captures begin and end in the middle of a packet.
const EDGE_US: i64 = 500_000;
/// What stands behind the number of errors in the last words of ffmpeg's log.
const ERRORS: &str = " decode errors";
/// Times that are kept of what is missing.
const MAX_HOLES: usize = 1_000;

/// Stretches of sound in the middle that could not be decoded, microseconds from T0. `log`: the last words of the run that
/// encoded it. Where a part is taken for the whole, also the end that is missing.
pub async fn stretches(encoder: &FfmpegEncoder, work: &AudioWork<'_>, log: &str) -> Result<Vec<(i64, i64)>, EncodeError> {
    let lost = errors(log);
    let fills = work.plan.takes_a_part();
    if lost == 0 && !fills {
        return Ok(Vec::new());
    }
    let dir = CellDir::new(work.out)?;
    dir.link(work.source, args::INPUT)?;
    let command = sound::times(&encoder.tools().ffmpeg, work.audio);
    let outcome = cell::run(command, dir.path().to_owned(), encoder.limits(), None, Times::default()).await?;
    encoder.note(outcome.report);
    if let Some(fault) = outcome.stopped.or_else(|| verdict(outcome.ended, &outcome.stderr)) {
        return Err(fault.into());
    }
    let Times { base, end, holes, longest } = outcome.sink;
    let end = end.zip(base).map(|(end, base)| base.rescale(end, TimeBase::MICROS));
    // As long as what could not be decoded, and no longer: a gap of the source's own is none.
    let most = longest.saturating_mul(2).saturating_mul(i64::try_from(lost).unwrap_or(i64::MAX));
    let mut found: Vec<_> = holes.into_iter().filter(|hole| hole.1 - hole.0 <= most && is_inside(*hole, work.audio)).collect();
    found.extend(end.map(|end| (end, work.audio.end_us)).filter(|(end, wanted)| fills && *end < wanted - SHORT_US));
    Ok(found)
}

/// Of the first of them, for a person.
pub fn told((from, to): (i64, i64), log: &str) -> String {
    let (from, to) = (TimeBase::MICROS.seconds(from), TimeBase::MICROS.seconds(to));
    format!("seconds {from:.2} to {to:.2} of it cannot be decoded ({} packets in all)", errors(log))
}

/// `Input stream #0:1 (audio): 431 packets read (68000 bytes); 428 frames decoded; 3 decode errors (438272 samples);`
fn errors(log: &str) -> u64 {
    let before = log.rfind(ERRORS).and_then(|at| log.get(..at));
    before.and_then(|text| text.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

fn is_inside((from, to): (i64, i64), audio: &AudioPlan) -> bool {
    from > audio.start_us + EDGE_US && to < audio.end_us - EDGE_US
}

/// Reads the times of what was decoded: `#tb 0: 1/44100`, then `0, dts, pts, duration, bytes, checksum`, in ticks.
#[derive(Debug, Default)]
struct Times {
    base: Option<TimeBase>,
    end: Option<i64>,
    /// Microseconds from T0.
    holes: Vec<(i64, i64)>,
    /// Of a frame, microseconds.
    longest: i64,
}

impl Lines for Times {
    fn line(&mut self, line: &[u8]) -> Result<(), Fault> {
        let line = String::from_utf8_lossy(line);
        if let Some(base) = line.strip_prefix("#tb 0: ") {
            self.base = TimeBase::parse(base.trim());
        }
        let mut fields = line.split(',').skip(2).map(|field| field.trim().parse::<i64>());
        let (Some(base), Some(Ok(at)), Some(Ok(length))) = (self.base, fields.next(), fields.next()) else { return Ok(()) };
        if let Some(end) = self.end
            && at.saturating_sub(end) > length / 2
            && self.holes.len() < MAX_HOLES
        {
            self.holes.push((base.rescale(end, TimeBase::MICROS), base.rescale(at, TimeBase::MICROS)));
        }
        self.longest = self.longest.max(base.rescale(length, TimeBase::MICROS));
        self.end = Some(at.saturating_add(length));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_by_the_last_words() {
        let log = "Input stream #0:1 (audio): 431 packets read (68000 bytes); 428 frames decoded; 3 decode errors (438272 samples); \n";
        assert_eq!((errors(log), errors(&log.replace(" 3 ", " 0 ")), errors("")), (3, 0, 0));
    }

    #[test]
    fn what_is_missing_between_two_frames_is_a_hole() {
        let mut times = Times::default();
        for line in ["frame=1", "#tb 0: 1/1000", "0, 0, 0, 20, 80, 0x1", "0, 20, 20, 20, 80, 0x1", "0, 80, 80, 20, 80, 0x1", "progress=end"]
        {
            times.line(line.as_bytes()).unwrap();
        }
        assert_eq!((times.holes, times.longest), (vec![(40_000, 80_000)], 20_000));
    }
}
