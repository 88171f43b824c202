//! Options of the video encoders: capped constant quality, one thread, closed groups, keyframes only where forced, and
//! one configuration record for all chunks of a rendition.

use std::fmt::Write as _;

use pipeline::plan::{Colors, Mastering, Profile, Rendition, VideoCodec, VideoPlan};

use super::{graph::pixel_format, words};

/// The fastest that SVT-AV1 takes, and what it is told where nobody knows: it would take the time base for the rate.
const MAX_AV1_RATE: f64 = 240.0;
const USUAL_RATE: f64 = 25.0;

/// x264 and x265 are told of this much of the decoder's buffer, and how full that is where a chunk begins. Chunks on both sides of a
/// join may each spend what the encoder takes the buffer for: were it all of it, a burst over a join would underflow at 1.07 times
/// the cap.
/// Decision 0018 has the figures.
const BUFFER_SHARE: (u64, u64) = (13, 20);
const BUFFER_START: f64 = 0.8;
/// Where joins follow one another in less than this, seconds from a chunk's first picture to its last, the buffer fills less
/// between them.
const SHORT: f64 = 3.9;
const BUFFER_START_OF_SHORT: f64 = 0.75;
/// x264's `ipratio`, by which every keyframe's step is finer than that of the pictures before it. The first has none before it, and
/// is coded as one of them where there are macroblock trees: half as large as it would be in the middle of a film. Told as the bits of a zone, it gets what the others
/// get (decision 0018).
const FIRST_KEYFRAME: f64 = 1.4;

/// Everything of an output but its keyframes and its container. `seconds`: from the chunk's first picture to its last.
pub fn options(profile: &Profile, video: &VideoPlan, rendition: &Rendition, crf: u32, seconds: f64) -> Vec<String> {
    let start = if seconds < SHORT { BUFFER_START_OF_SHORT } else { BUFFER_START };
    let encoded = video.colors.encoded(profile);
    let base = video.time_base;
    words(&format!(
        "-fps_mode passthrough -enc_time_base {}:{} {} -pix_fmt {} -g 100000 -keyint_min 1 -flags +cgop+bitexact -crf {crf}",
        base.num(),
        base.den(),
        match profile.codec {
            VideoCodec::H264 => h264(profile, video, rendition, start),
            VideoCodec::Hevc => hevc(profile, video, rendition, &encoded, start),
            VideoCodec::Av1 => av1(profile, video, rendition, &encoded),
            VideoCodec::Vp9 => vp9(profile, rendition),
        },
        pixel_format(&encoded),
    ))
}

fn h264(profile: &Profile, video: &VideoPlan, rendition: &Rendition, start: f64) -> String {
    let mut params = format!("vbv-init={start}:zones=0,0,b={FIRST_KEYFRAME}");
    if let Some(rate) = frame_rate(video.frame_rate) {
        // setpts makes ffmpeg forget the rate: x264 would take 25 for the level and the buffer model.
        let _ = write!(params, ":fps={rate}");
    }
    if profile.target.is_some() {
        // Else x264 writes the CRF into the picture parameter set, and chunks with different ones have different inits.
        params.push_str(":stitchable=1");
    }
    format!(
        "-c:v libx264 -preset {} -profile:v high -sc_threshold 0 -bf 2 {} -x264-params {params} -threads 1",
        profile.preset,
        rate_buffer(rendition)
    )
}

/// The buffer of which an encoder is told so many bits.
pub fn buffer_told_as(bits: u32) -> u32 {
    u32::try_from(u64::from(bits) * BUFFER_SHARE.1 / BUFFER_SHARE.0).unwrap_or(u32::MAX)
}

fn rate_buffer(rendition: &Rendition) -> String {
    let bufsize = u64::from(rendition.bufsize) * BUFFER_SHARE.0 / BUFFER_SHARE.1;
    format!("-maxrate {} -bufsize {bufsize}", rendition.maxrate)
}

/// Apple's players want `hvc1`: parameter sets in the sample entry only.
fn hevc(profile: &Profile, video: &VideoPlan, rendition: &Rendition, encoded: &Colors, start: f64) -> String {
    let mut params =
        format!("open-gop=0:scenecut=0:keyint=100000:min-keyint=1:pools=none:frame-threads=1:vbv-init={start}:info=0:log-level=error");
    if let Some(rate) = frame_rate(video.frame_rate) {
        let _ = write!(params, ":fps={rate}");
    }
    if encoded.is_pq() {
        params.push_str(":hdr10=1");
        if let Some(mastering) = &encoded.mastering {
            let (display, light) = hdr10(mastering, 50_000.0, 10_000.0, 0);
            let _ = write!(params, ":master-display={display}{}", light.map(|light| format!(":max-cll={light}")).unwrap_or_default());
        }
    }
    let kind = if encoded.is_hdr() { "main10" } else { "main" };
    format!(
        "-c:v libx265 -preset {} -profile:v {kind} -forced-idr 1 -tag:v hvc1 {} -x265-params {params}",
        profile.preset,
        rate_buffer(rendition)
    )
}

fn av1(profile: &Profile, video: &VideoPlan, rendition: &Rendition, encoded: &Colors) -> String {
    let rate = if video.frame_rate > 0.0 { video.frame_rate.clamp(1.0, MAX_AV1_RATE) } else { USUAL_RATE };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded above")]
    let thousandths = (rate * 1000.0).round() as u32;
    let mut params = format!("lp=1:scd=0:fps-num={thousandths}:fps-denom=1000");
    if let Some(mastering) = encoded.mastering.as_ref().filter(|_| encoded.is_pq()) {
        let (display, light) = hdr10(mastering, 1.0, 1.0, 5);
        let _ = write!(params, ":mastering-display={display}{}", light.map(|light| format!(":content-light={light}")).unwrap_or_default());
    }
    format!("-c:v libsvtav1 -preset {} -maxrate {} -svtav1-params {params}", profile.preset, rendition.maxrate)
}

/// Constrained quality: at most `-b:v`, and no better than the CRF.
fn vp9(profile: &Profile, rendition: &Rendition) -> String {
    format!(
        "-c:v libvpx-vp9 -deadline good -cpu-used {} -b:v {} -lag-in-frames 16 -auto-alt-ref 1 -row-mt 0 -threads 1",
        profile.preset, rendition.maxrate
    )
}

/// The two records of HDR10 as encoders want them: `point` and `light` are what one unit of theirs is worth.
fn hdr10(mastering: &Mastering, point: f64, light: f64, digits: usize) -> (String, Option<String>) {
    let of = |(x, y): (u32, u32), worth: f64, unit: f64| {
        let value = |number: u32| f64::from(number) / worth * unit;
        format!("({:.digits$},{:.digits$})", value(x), value(y))
    };
    let spot = |pair| of(pair, 50_000.0, point);
    let Mastering { green, blue, red, white, luminance, .. } = *mastering;
    let display = format!("G{}B{}R{}WP{}L{}", spot(green), spot(blue), spot(red), spot(white), of(luminance, 10_000.0, light));
    (display, mastering.light.map(|(most, mean)| format!("{most},{mean}")))
}

/// Nominal rate as a fraction in thousandths that NTSC's rates keep: 29.97 is 29970/1000, near enough for a level.
pub fn frame_rate(rate: f64) -> Option<String> {
    #[expect(clippy::cast_possible_truncation, reason = "between 1 and 1000 frames per second by the check")]
    let thousandths = (rate * 1000.0).round() as i64;
    (1_000..=1_000_000).contains(&thousandths).then(|| format!("{thousandths}/1000"))
}
