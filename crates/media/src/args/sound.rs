//! One audio track, whole, and how loud it is (media.md section 4).

use std::{fmt::Write as _, path::PathBuf};

use pipeline::plan::AudioPlan;

use super::{Command, INPUT, SAMPLE_RATE, ffmpeg_global, guarded, seconds, words};

/// Name of the audio output inside the cell.
pub const OUTPUT: &str = "audio.mp4";

/// Length of an audio segment of a film of up to two and a half hours, microseconds.
const SEGMENT_US: i64 = 6_000_000;
/// Longer films get longer ones: their records are one item of the ledger, which is bounded.
const MAX_SEGMENTS: i64 = 1_500;

/// Sound of more than eight hours is encoded by ffmpeg's quicker search, so that it is done within a function's 15 minutes: 1.6
/// times as quick with tones, 2.1 with noise (185 and 210 hours in one on a core of Zen 4), the same bytes, 0.07 dB further
/// from the source.
const LONG_US: i64 = 8 * 3_600 * 1_000_000;

/// The speakers of so many channels, in the words of ffmpeg.
fn layout(channels: u32) -> &'static str {
    match channels {
        1 => "mono",
        6 => "5.1",
        _ => "stereo",
    }
}

/// Samples of so many microseconds.
fn samples(micros: i64) -> i64 {
    (micros.max(0) * i64::from(SAMPLE_RATE) + 500_000) / 1_000_000
}

/// Everything up to the filters.
fn decoding(position: u32, codec: &str) -> Vec<String> {
    let mut args = ffmpeg_global();
    // How much could not be decoded is told at this level alone, at the end.
    args.extend(words("-loglevel verbose -threads 1 -max_error_rate 1"));
    if codec == "flac" {
        // Each of its frames has a checksum, and is decoded all the same if nobody looks.
        args.extend(words("-err_detect crccheck+explode"));
    }
    args.extend(guarded("file"));
    args.extend(words(&format!("-copyts -i {INPUT} -map 0:a:{position} -vn -sn -dn -af")));
    args
}

/// Rate and speakers of all that follows.
fn alike(audio: &AudioPlan) -> String {
    format!("aresample={SAMPLE_RATE}:out_chlayout={}", layout(audio.channels))
}

/// One track from T0 on, silence in gaps and before a late start; `more` filters behind.
///
/// Where a track changes its rate, its speakers or how they are mixed (broadcasts between film and advertisement), ffmpeg builds
/// the filters anew, and `first_pts` would fill with silence from T0 once more. What is decoded is made alike first, and goes
/// through a second decoder to the filters that keep the time: they are built once.
fn timed(audio: &AudioPlan, more: &str) -> Vec<String> {
    let mut args = decoding(audio.position, &audio.codec);
    args.push(alike(audio));
    args.extend(words("-c:a pcm_f32le -f null - -dec 0:0 -filter_complex"));
    let origin = seconds(audio.origin_us);
    args.push(format!("[dec:0]asetpts=PTS-({origin})/TB,aresample={SAMPLE_RATE}:async=1:min_hard_comp=0.01:first_pts=0{more}[timed]"));
    args.extend(words("-map [timed]"));
    args
}

/// One track. `gain`: hundredths of dB. The silence behind it is of a length of its own, so that sound that is missing
/// is missed; `fill`: up to the track's planned end, whatever is missing.
pub fn encode(ffmpeg: &PathBuf, audio: &AudioPlan, gain: i32, fill: bool) -> Command {
    let fragment = (audio.until_us() / MAX_SEGMENTS).max(SEGMENT_US);
    let mut filters = String::new();
    if gain != 0 {
        let sign = if gain < 0 { "-" } else { "" };
        let gain = gain.unsigned_abs();
        let _ = write!(filters, ",volume={sign}{}.{:02}dB:precision=float", gain / 100, gain % 100);
    }
    let silence = samples(audio.silence_us);
    if fill {
        let _ = write!(filters, ",apad=whole_len={}", samples(audio.until_us()));
    } else if silence > 0 {
        let _ = write!(filters, ",apad=pad_len={silence}");
    }
    let mut args = timed(audio, &filters);
    let search = if audio.until_us() > LONG_US { "-aac_coder fast " } else { "" };
    args.extend(words(&format!(
        "-c:a aac {search}-b:a {} -ar {SAMPLE_RATE} -threads 1 -map_metadata -1 -map_chapters -1 \
         -flags +bitexact -fflags +bitexact -movflags +delay_moov+default_base_moof+skip_trailer -use_editlist 1 \
         -frag_duration {fragment} -f mp4 {OUTPUT}",
        audio.bitrate
    )));
    Command::new(ffmpeg, args)
}

/// The meter of EBU R 128 over what [`encode`] would encode.
pub fn meter(ffmpeg: &PathBuf, audio: &AudioPlan) -> Command {
    metered(ffmpeg, timed(audio, &format!(",{METER}")))
}

/// The times of what is decoded, a line for each frame.
pub fn times(ffmpeg: &PathBuf, audio: &AudioPlan) -> Command {
    let mut args = decoding(audio.position, &audio.codec);
    args.push(format!("asetpts=PTS-({})/TB,{}", seconds(audio.origin_us), alike(audio)));
    args.extend(words("-c:a pcm_s16le -f framecrc pipe:1"));
    Command::new(ffmpeg, args)
}

/// The meter over what was made, [`OUTPUT`], which is linked as [`INPUT`].
pub fn meter_made(ffmpeg: &PathBuf) -> Command {
    let mut args = decoding(0, "");
    args.push(METER.to_owned());
    metered(ffmpeg, args)
}

/// It tells what it found in the log, at its end.
const METER: &str = "ebur128=peak=true:framelog=quiet";

fn metered(ffmpeg: &PathBuf, mut args: Vec<String>) -> Command {
    args.extend(words("-f null -"));
    Command::new(ffmpeg, args)
}
