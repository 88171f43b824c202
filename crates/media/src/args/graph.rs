//! The filter graph of a chunk: from the decoder's pictures to every rendition's.

use std::{fmt::Write as _, ops::Range};

use pipeline::{
    color::Conversion,
    plan::{Chunk, Colors, Hdr, Profile, Rendition, VideoPlan},
    stills::{PreviewPlan, Size},
    timebase::TimeBase,
};

use super::remux::by_number;

/// Light of a diffuse white in HDR, cd/m² (ITU-R BT.2408): what becomes 1.0 before the tone mapping.
const WHITE: f64 = 203.0;
/// Brightest light that the tone mapping still tells apart, cd/m²: what HDR10 is mastered for, and HLG's nominal peak.
const PEAK: f64 = 1_000.0;
/// What ffmpeg's encoders would write into every stream they make of a picture: true of the source's pictures only, and
/// on some of them only, so that chunks would differ.
const HDR_SIDE_DATA: [&str; 5] =
    ["MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL", "DYNAMIC_HDR_PLUS", "DOVI_RPU_BUFFER", "DOVI_METADATA"];

/// Deinterlaces, trims to the chunk's frames, counts from T0, converts colours once, and scales to every rendition. What
/// looks at neighbouring pictures stands before the trim, so that it sees them.
pub fn chunk(profile: &Profile, video: &VideoPlan, chunk: &Chunk) -> String {
    let mut text = format!("{},{}", window(video, chunk), colors(profile, video));
    text.push_str(&renditions(profile, video));
    text
}

/// Black pictures at the times of the chunk's frames, in the colours of the renditions.
pub fn blank(profile: &Profile, video: &VideoPlan, chunk: &Chunk) -> String {
    let (base, encoded) = (video.time_base, video.colors.encoded(profile));
    let size = video.renditions.first().map_or_else(String::new, |first| format!("size={}x{}:", first.width, first.height));
    // How long the last picture is: nobody else asks for the rate.
    let rate = super::video::frame_rate(video.frame_rate).unwrap_or_else(|| "25".to_owned());
    let times: Vec<i64> = chunk.times.iter().collect();
    format!(
        "color=c=black:{size}rate={rate},trim=end_frame={},settb={}/{},setpts='{}',format={},{},{}",
        times.len(),
        base.num(),
        base.den(),
        by_number(&times),
        pixel_format(&encoded),
        tags(&encoded),
        renditions(profile, video)
    )
}

/// What comes out of the chain before it, once for every rendition: `[v0]` and so on.
fn renditions(profile: &Profile, video: &VideoPlan) -> String {
    let mut text = String::new();
    let _ = write!(text, "split={}", video.renditions.len());
    for position in 0..video.renditions.len() {
        let _ = write!(text, "[s{position}]");
    }
    for (position, rendition) in video.renditions.iter().enumerate() {
        let _ = write!(text, ";[s{position}]{}[v{position}]", scale(profile, video, rendition));
    }
    text
}

/// Sample frames of a chunk in its largest rendition, `step` ticks of 1/90000 s apart: what encodes of it are held
/// against.
pub fn sample(profile: &Profile, video: &VideoPlan, chunk: &Chunk, rendition: &Rendition, windows: &[Range<u32>], step: u32) -> String {
    let select: Vec<String> = windows.iter().map(|w| format!("between(n,{},{})", w.start, w.end.saturating_sub(1))).collect();
    format!(
        "{},select='{}',{}{},settb=1/90000,setpts=N*{step}[v0]",
        window(video, chunk),
        select.join("+"),
        colors(profile, video),
        scale(profile, video, rendition)
    )
}

/// One picture of the source, decoded alone, at another size: in SDR, whatever the renditions are. It has no neighbours to
/// be deinterlaced by.
pub fn alone(profile: &Profile, video: &VideoPlan, size: Size, end: &str) -> String {
    let fields = if video.deinterlace { "estdif=mode=frame:deint=interlaced," } else { "" };
    format!("[0:v:0]{fields}{},{}{}", tags(&video.colors), sdr(profile, video), shrunk(size, end))
}

/// The pictures of a chunk at an even rate, each the one that is shown at its time, at another size and in SDR.
pub fn moving(profile: &Profile, video: &VideoPlan, chunk: &Chunk, preview: &PreviewPlan, end: &str) -> String {
    format!(
        "{},setpts=PTS-STARTPTS,fps=1000/{}:start_time=0:round=up:eof_action=pass,tpad=stop=-1:stop_mode=clone,trim=end_frame={},{}{}",
        window(video, chunk),
        preview.every_ms,
        preview.frames,
        sdr(profile, video),
        shrunk(preview.size, end)
    )
}

/// The first picture of a chunk, as one decoded alone.
pub fn first(profile: &Profile, video: &VideoPlan, chunk: &Chunk, size: Size, end: &str) -> String {
    format!("{},trim=end_frame=1,{}{}", window(video, chunk), sdr(profile, video), shrunk(size, end))
}

fn sdr(profile: &Profile, video: &VideoPlan) -> String {
    colors(&Profile { hdr: Hdr::ToSdr, ..profile.clone() }, video)
}

fn shrunk(size: Size, end: &str) -> String {
    format!("scale={}:{}{end}", size.width, size.height)
}

/// The chunk's frames at their times from T0, tagged with the plan's colours: pictures that say something else in the
/// middle of a film would start the graph anew.
fn window(video: &VideoPlan, chunk: &Chunk) -> String {
    let base = video.time_base;
    let mut text = format!("[0:{}]", video.index);
    if video.deinterlace {
        // The deinterlacer takes pictures of one size: of the first. It costs nothing where none has another.
        text.push_str("scale=iw:ih:interl=-1,bwdif=mode=send_frame:deint=interlaced,");
    }
    // The deinterlacer halves the time base.
    let _ = write!(text, "settb={}/{},trim=start_pts={}", base.num(), base.den(), tick_at_or_after(base, chunk.start_us));
    if let Some(end) = chunk.end_us {
        let _ = write!(text, ":end_pts={}", tick_at_or_after(base, end));
    }
    let _ = write!(text, ",setpts=PTS-({}),{}", video.origin, tags(&video.colors));
    text
}

/// What is done to the colours before the renditions part, with a comma at its end.
fn colors(profile: &Profile, video: &VideoPlan) -> String {
    let mut text = String::new();
    if video.colors.is_hdr() {
        for kind in HDR_SIDE_DATA {
            let _ = write!(text, "sidedata=mode=delete:type={kind},");
        }
    }
    // Linear light costs by the pixel: at the size of the largest rendition, not of the source.
    let size = video.renditions.first().map_or_else(String::new, |first| format!("scale={}:{},", first.width, first.height));
    match video.colors.conversion(profile) {
        Conversion::None => {}
        Conversion::ToneMap => {
            // The fast way takes HLG's system gamma by the channel and not by the luminance: 12 of 255 off.
            let exact = if video.colors.is_pq() { "" } else { ":agamma=false" };
            let _ = write!(
                text,
                "{size}zscale=p=bt709:t=linear:npl={WHITE}{exact},format=gbrpf32le,tonemap=mobius:param=0.3:desat=0:peak={:.3},\
                 zscale=t=bt709:m=bt709:r=tv,format=yuv420p,",
                PEAK / WHITE
            );
        }
        Conversion::Bt709 => {
            let _ = write!(text, "{size}zscale=p=bt709:t=bt709:m=bt709:r=tv,format=yuv420p,");
        }
    }
    text
}

/// One rendition: its size, square samples, limited range, and tags that say what its numbers are.
fn scale(profile: &Profile, video: &VideoPlan, rendition: &Rendition) -> String {
    let encoded = video.colors.encoded(profile);
    let mut text = format!("scale={}:{}:out_range=tv", rendition.width, rendition.height);
    if video.colors.matrix == "gbr" {
        let _ = write!(text, ":out_color_matrix={}", encoded.matrix);
    }
    let _ = write!(text, ",setsar=1,format={},{}", pixel_format(&encoded), tags(&encoded));
    text
}

/// Ten bits for high dynamic range, eight else.
pub fn pixel_format(encoded: &Colors) -> &'static str {
    if encoded.is_hdr() { "yuv420p10le" } else { "yuv420p" }
}

/// `setparams` with every part of it: what a filter before it left open would be guessed by the encoder.
fn tags(colors: &Colors) -> String {
    let said = |name: &str| if name.is_empty() { "unknown".to_owned() } else { name.to_owned() };
    let [range, primaries] = [&colors.range, &colors.primaries].map(|name| said(name));
    let [transfer, matrix] = [&colors.transfer, &colors.matrix].map(|name| said(name));
    format!("setparams=range={range}:color_primaries={primaries}:color_trc={transfer}:colorspace={matrix}")
}

/// The first tick at or after `micros`. A boundary lies between two frames and was rounded down to a microsecond:
/// rounding up to a tick finds the frame above it even where one tick is one frame.
pub fn tick_at_or_after(base: TimeBase, micros: i64) -> i64 {
    let num = i128::from(micros) * i128::from(base.den());
    let den = 1_000_000 * i128::from(base.num());
    i64::try_from(-(-num).div_euclid(den)).unwrap_or(i64::MAX)
}
