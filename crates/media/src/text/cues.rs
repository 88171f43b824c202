//! The cues of a track: read from what ffmpeg's `WebVTT` muxer prints, written as a `WebVTT` file (W3C `WebVTT`, 4.1).
//!
//! What is read is the source's own text: a text that looks like a cue makes a cue, in its own track and nowhere else.

use std::fmt::Write as _;

use pipeline::Fault;

use super::plain::{is_drawing, plain};
use crate::{args::TEXT_LEAD_MS, cell::Lines};

/// Cues of one track: a film of twelve hours in which every second has two.
const MAX_CUES: usize = 100_000;
/// Bytes of text of one track.
const MAX_BYTES: usize = 16 << 20;

/// A text and when it is shown, milliseconds from T0. `end_ms` is the greater.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cue {
    pub start_ms: u64,
    pub end_ms: u64,
    /// Plain text with `<b>`, `<i>` and `<u>`: as it stands in the file.
    pub text: String,
}

/// A track as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// In the order of their beginnings.
    pub cues: Vec<Cue>,
    /// Cues outside of the film, of no length, or without text.
    pub dropped: u32,
}

/// What a cue is before it is held against the film.
#[derive(Debug)]
struct Raw {
    start_ms: i64,
    end_ms: i64,
    text: String,
}

/// Takes ffmpeg's output line by line.
#[derive(Debug, Default)]
pub struct Reader {
    cues: Vec<Raw>,
    bytes: usize,
    /// The line before was empty: only then can a cue begin.
    between: bool,
}

impl Lines for Reader {
    fn line(&mut self, line: &[u8]) -> Result<(), Fault> {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches('\r');
        if line.trim().is_empty() {
            self.between = true;
            return Ok(());
        }
        let times = if self.between { times(line) } else { None };
        self.between = false;
        if let Some((start_ms, end_ms)) = times {
            if self.cues.len() >= MAX_CUES {
                return Err(Fault::reject(format!("it has more than {MAX_CUES} texts")));
            }
            self.cues.push(Raw { start_ms, end_ms, text: String::new() });
        } else if let Some(cue) = self.cues.last_mut() {
            self.bytes += line.len();
            if self.bytes > MAX_BYTES {
                return Err(Fault::reject(format!("it has more than {} MiB of text", MAX_BYTES >> 20)));
            }
            if !cue.text.is_empty() {
                cue.text.push('\n');
            }
            cue.text.push_str(line);
        }
        Ok(())
    }
}

impl Reader {
    /// The cues as a film of `length_ms` shows them. `drawn`: text may be drawings (Advanced `SubStation` Alpha).
    pub fn finish(self, length_ms: u64, drawn: bool) -> Track {
        let all = self.cues.len();
        let mut cues: Vec<Cue> = self.cues.into_iter().filter_map(|raw| shown(&raw, length_ms, drawn)).collect();
        cues.sort_by_key(|cue| (cue.start_ms, cue.end_ms));
        let dropped = u32::try_from(all - cues.len()).unwrap_or(u32::MAX);
        Track { cues, dropped }
    }
}

/// A cue as far as it lies within the film.
fn shown(raw: &Raw, length_ms: u64, drawn: bool) -> Option<Cue> {
    let within = |ms: i64| u64::try_from(ms).unwrap_or(0).min(length_ms);
    let (start_ms, end_ms) = (within(raw.start_ms), within(raw.end_ms));
    let text = plain(&raw.text);
    (start_ms < end_ms && !text.is_empty() && !(drawn && is_drawing(&text))).then_some(Cue { start_ms, end_ms, text })
}

/// `00:01.000 --> 01:00:02.500`, from T0.
fn times(line: &str) -> Option<(i64, i64)> {
    let (start, rest) = line.split_once(" --> ")?;
    let end = rest.split(' ').next()?;
    Some((time(start)?.checked_sub(TEXT_LEAD_MS)?, time(end)?.checked_sub(TEXT_LEAD_MS)?))
}

/// `[HOURS:]MM:SS.mmm`, milliseconds.
fn time(text: &str) -> Option<i64> {
    let (clock, millis) = text.split_once('.')?;
    let number = |digits: &str| -> Option<i64> {
        let good = !digits.is_empty() && digits.len() <= 9 && digits.bytes().all(|b| b.is_ascii_digit());
        good.then(|| digits.parse().ok()).flatten()
    };
    let mut parts = clock.rsplit(':');
    let (seconds, minutes) = (number(parts.next()?)?, number(parts.next()?)?);
    let hours = parts.next().map_or(Some(0), number)?;
    let whole = millis.len() == 3 && parts.next().is_none();
    whole.then_some(((hours * 60 + minutes) * 60 + seconds) * 1000 + number(millis)?)
}

/// The file. Its clock is that of the segments, which counts from T0 (RFC 8216, 3.5); DASH players pass over that line.
pub fn webvtt(cues: &[Cue]) -> String {
    let mut text = String::from("WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:0\n");
    for cue in cues {
        let _ = write!(text, "\n{} --> {}\n{}\n", clock(cue.start_ms), clock(cue.end_ms), cue.text);
    }
    text
}

fn clock(ms: u64) -> String {
    let (seconds, minutes) = (ms / 1000, ms / 60_000);
    format!("{:02}:{:02}:{:02}.{:03}", minutes / 60, minutes % 60, seconds % 60, ms % 1000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Reader, Fault> {
        let mut reader = Reader::default();
        text.split('\n').try_for_each(|line| reader.line(line.as_bytes()))?;
        Ok(reader)
    }

    /// A cue as ffmpeg prints it.
    fn printed(start_ms: i64, end_ms: i64, text: &str) -> String {
        let at = |ms: i64| clock(u64::try_from(ms + TEXT_LEAD_MS).unwrap());
        format!("{} --> {}\n{text}\n\n", at(start_ms), at(end_ms))
    }

    #[test]
    fn cues_are_held_against_the_film_and_put_in_order() {
        let text = [
            printed(9_000, 86_400_000, "a day\nof two lines"),
            printed(-5_000, 1_500, "begun before the film"),
            printed(-5_000, -1, "before the film"),
            printed(3_000, 3_000, "no time"),
            printed(4_000, 2_000, "backwards"),
            printed(5_000, 6_000, "  "),
            printed(10_000, 11_000, "behind the film"),
            printed(2_000, 4_000, "overlap"),
        ];
        let track = read(&format!("WEBVTT\n\n{}", text.concat())).unwrap().finish(10_000, false);
        assert_eq!(track.dropped, 5);
        insta::assert_snapshot!(webvtt(&track.cues), @r"
        WEBVTT
        X-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:0

        00:00:00.000 --> 00:00:01.500
        begun before the film

        00:00:02.000 --> 00:00:04.000
        overlap

        00:00:09.000 --> 00:00:10.000
        a day
        of two lines
        ");
    }

    #[test]
    fn times_are_ffmpegs_and_nothing_else() {
        assert_eq!(time("59:59.999"), Some(3_599_999));
        assert_eq!(time("1000:00:00.001"), Some(3_600_000_001));
        for bad in ["", "1.000", "-1:00.000", "00:00.0000", "00:00,000", "1:2:3:4.000", "99999999999999999999:00:00.000", "é:0.000"] {
            assert_eq!(time(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_text_of_a_million_cues_is_given_up_at_the_bound() {
        let one = printed(1_000, 2_000, "x");
        let Err(Fault::Reject(reason)) = read(&format!("WEBVTT\n\n{}", one.repeat(MAX_CUES + 1))) else { panic!("taken") };
        assert_eq!(reason, "it has more than 100000 texts");
        let Err(Fault::Reject(reason)) = read(&format!("\n{}", printed(0, 1, &"x".repeat(MAX_BYTES + 1)))) else { panic!("taken") };
        assert_eq!(reason, "it has more than 16 MiB of text");
        assert_eq!(read(&format!("WEBVTT\n\n{}", one.repeat(MAX_CUES))).unwrap().finish(5_000, false).cues.len(), MAX_CUES);
    }

    proptest! {
        /// Whatever a track says, the file has as many cues as were kept, within the film, and no line of its own.
        #[test]
        fn any_text_gives_a_file_of_whole_cues(
            cues in prop::collection::vec((-9_000i64..90_000, -9_000i64..90_000, "\\PC{0,40}|[<>&\\-ibu/\n\\\\hN ]{0,40}"), 0..20),
            noise in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let mut reader = read(&format!("WEBVTT\n\n{}", cues.iter().map(|(a, b, text)| printed(*a, *b, text)).collect::<String>())).unwrap();
            reader.line(&noise).unwrap();
            let track = reader.finish(60_000, true);
            let file = webvtt(&track.cues);
            let times: Vec<&str> = file.lines().filter(|line| line.contains("-->")).collect();
            prop_assert_eq!(times.len(), track.cues.len());
            for (cue, line) in track.cues.iter().zip(times) {
                prop_assert_eq!(line, format!("{} --> {}", clock(cue.start_ms), clock(cue.end_ms)));
                prop_assert!(cue.start_ms < cue.end_ms && cue.end_ms <= 60_000);
                prop_assert!(cue.text.lines().all(|line| !line.trim().is_empty()));
            }
        }
    }
}
