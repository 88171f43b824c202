//! What a profile may say.

use crate::plan::{Channels, Hdr, OnDamage, Output, Profile, Rung, VideoCodec};

/// Presets of x264 and x265 (their documentation, "preset"), the fastest first.
pub const PRESETS: [&str; 10] = ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"];
/// Rungs of a ladder.
const MAX_RUNGS: usize = 12;
/// Pixels of a short side.
const SHORT_SIDES: std::ops::RangeInclusive<u32> = 16..=4320;
/// Milliseconds of a chunk, and of the distance of keyframes.
const CHUNKS: std::ops::RangeInclusive<u32> = 500..=60_000;
const GOPS: std::ops::RangeInclusive<u32> = 100..=20_000;

/// A profile that says nothing: what the first of a file without any other starts from. It breaks the rules until it is filled.
pub fn blank() -> Profile {
    Profile {
        name: String::new(),
        codec: VideoCodec::H264,
        preset: String::new(),
        crf: 0,
        target: None,
        chunk_ms: 0,
        gop_ms: 0,
        ladder: Vec::new(),
        hdr: Hdr::ToSdr,
        deinterlace: true,
        audio_bitrate: 0,
        channels: Channels::Stereo,
        loudness: None,
        outputs: Vec::new(),
        on_damage: OnDamage::Fail,
    }
}

/// Least CRF of a codec's encoder, its best. At 0 x264 leaves its profile `high` for lossless coding, and SVT-AV1 under ffmpeg takes a
/// default of its own.
pub fn min_crf(codec: VideoCodec) -> u32 {
    match codec {
        VideoCodec::H264 | VideoCodec::Av1 => 1,
        VideoCodec::Hevc | VideoCodec::Vp9 => 0,
    }
}

/// Greatest CRF of a codec's encoder.
pub fn max_crf(codec: VideoCodec) -> u32 {
    match codec {
        VideoCodec::H264 | VideoCodec::Hevc => 51,
        VideoCodec::Av1 | VideoCodec::Vp9 => 63,
    }
}

/// `None`: the codec's encoder has it. Else the presets there are.
fn presets(codec: VideoCodec, preset: &str) -> Option<String> {
    let most = match codec {
        VideoCodec::H264 | VideoCodec::Hevc => {
            return (!PRESETS.contains(&preset)).then(|| format!("one of {}", PRESETS.join(", ")));
        }
        VideoCodec::Av1 => 13,
        VideoCodec::Vp9 => 8,
    };
    let fits = preset.parse::<u32>().is_ok_and(|number| number <= most && number.to_string() == preset);
    (!fits).then(|| format!("\"0\" (slow) to \"{most}\" (fast)"))
}

/// Every field that is wrong: its name, what is wrong, and what to write.
pub fn wrong(profile: &Profile) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    let mut say = |field, text: String| wrong.push((field, text));
    let codec = format!("{:?}", profile.codec).to_lowercase();
    if let Some(known) = presets(profile.codec, &profile.preset) {
        say("preset", format!("`{}` is no preset of {codec}: write {known}", profile.preset));
    }
    let (best, most) = (min_crf(profile.codec), max_crf(profile.codec));
    if !(best..=most).contains(&profile.crf) {
        say("crf", format!("{} is out of range: {codec} takes {best} (best) to {most}", profile.crf));
    }
    if let Some(target) = profile.target {
        let (least, greatest) = if target.metric == crate::plan::Metric::Vmaf { (1.0, 100.0) } else { (0.01, 1.0) };
        if !(least..=greatest).contains(&target.score) {
            let score = if target.score.is_nan() {
                "the score is missing".to_owned()
            } else {
                format!("the score {} is out of range", target.score)
            };
            say("target", format!("{score}: write {least} to {greatest}"));
        }
        if target.min_crf > target.max_crf || target.min_crf < best || target.max_crf > most {
            say("target", format!("min_crf {} and max_crf {} must rise and stay within {best} to {most}", target.min_crf, target.max_crf));
        }
    }
    if profile.hdr == Hdr::Keep && profile.codec == VideoCodec::H264 {
        say(
            "hdr",
            "H.264 is written in eight bits, which cannot keep HDR: write \"to-sdr\", or codec = \"hevc\", \"av1\" or \"vp9\"".into(),
        );
    }
    if !CHUNKS.contains(&profile.chunk_ms) {
        say("chunk_ms", format!("{} is out of range: {} to {} milliseconds", profile.chunk_ms, CHUNKS.start(), CHUNKS.end()));
    }
    if !GOPS.contains(&profile.gop_ms) {
        say("gop_ms", format!("{} is out of range: {} to {} milliseconds", profile.gop_ms, GOPS.start(), GOPS.end()));
    } else if !profile.chunk_ms.is_multiple_of(profile.gop_ms) {
        let nearest = (profile.chunk_ms / profile.gop_ms).max(1) * profile.gop_ms;
        let text = format!("{} is no multiple of gop_ms = {}: write for example {nearest}", profile.chunk_ms, profile.gop_ms);
        say("chunk_ms", text);
    }
    if !(16_000..=1_024_000).contains(&profile.audio_bitrate) {
        say("audio_bitrate", format!("{} is out of range: 16_000 to 1_024_000 bits a second", profile.audio_bitrate));
    }
    if profile.loudness.is_some_and(|lufs| !(-40.0..=-5.0).contains(&lufs)) {
        say("loudness", "it is out of range: -40.0 to -5.0 LUFS; broadcasting in Europe takes -23.0".into());
    }
    if profile.outputs.is_empty() {
        say("outputs", "nothing would be made: write for example [\"hls\", \"mp4\"]".into());
    } else if !profile.outputs.contains(&Output::Hls) {
        say("outputs", "the playlists of HLS are always made: write \"hls\" as well".into());
    }
    if let Some(text) = ladder(&profile.ladder) {
        say("ladder", text);
    }
    wrong
}

fn ladder(rungs: &[Rung]) -> Option<String> {
    if rungs.is_empty() || rungs.len() > MAX_RUNGS {
        return Some(format!("it has {} rungs: write 1 to {MAX_RUNGS}", rungs.len()));
    }
    for rung in rungs {
        let Rung { short_side, maxrate, bufsize } = rung;
        if !SHORT_SIDES.contains(short_side) || short_side % 2 != 0 {
            let (least, most) = (SHORT_SIDES.start(), SHORT_SIDES.end());
            return Some(format!("the short side {short_side} must be an even number of {least} to {most} pixels"));
        }
        if *maxrate < 10_000 || *bufsize < 10_000 {
            return Some(format!("the rung {short_side} needs a maxrate and a bufsize of 10_000 bits or more"));
        }
        if u64::from(*bufsize) > 2 * u64::from(*maxrate) {
            return Some(format!(
                "the rung {short_side} has a bufsize of {bufsize}, more than twice its maxrate: joins would exceed the cap; write at most {}",
                2 * u64::from(*maxrate)
            ));
        }
    }
    let falls = rungs.windows(2).all(|pair| matches!(pair, [a, b] if a.short_side > b.short_side));
    (!falls).then(|| "rungs must fall: the tallest first, each short side once".into())
}
