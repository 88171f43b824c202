//! Pictures beside the film: single keyframes, their sheets, the poster, an animated preview.
//!
//! A keyframe is copied into a file of its own and decoded there, with nothing before and nothing behind it. In one stream
//! decoders of H.264 and HEVC take keyframes without the pictures between them for others in their order, and drop some
//! (measured: of 6 consecutive ones of an open GOP, 3 came).

use std::path::PathBuf;

use pipeline::{
    plan::{FrameTimes, Plan, Profile, VideoPlan},
    stills::{PREVIEW, PosterPlan, PreviewPlan, Size, SpritePlan, StillsPlan},
    timebase::TimeBase,
};

use super::{Command, INPUT, decoding, ffmpeg_global, graph, guarded, words};

/// JPEG is BT.601 in full range (JFIF 1.02), WebP's lossy pictures are BT.601 in limited range (RFC 6386, 9.2).
const JPEG: &str = ":out_range=pc:out_color_matrix=smpte170m,setsar=1,format=pix_fmts=yuv420p:color_ranges=pc";
const WEBP: &str = ":out_range=tv:out_color_matrix=smpte170m,setsar=1,format=pix_fmts=yuv420p:color_ranges=tv";
/// Tiles wait for their sheets in red, green and blue.
const BMP: &str = ",setsar=1,format=bgr24";
/// ffmpeg's scale of mjpeg, 2 (best) to 31.
const POSTER_QUALITY: u32 = 2;
const SHEET_QUALITY: u32 = 4;
/// libwebp's scale, 0 to 100.
const PREVIEW_QUALITY: u32 = 60;
/// Mean luma that is more than a black picture with a little in it, 16 to 235.
const DARK: u32 = 32;

/// Name of the file that holds one keyframe of the source, counted from 0.
pub fn piece(number: usize) -> String {
    format!("piece-{number}")
}
/// Name of a tile before it is in a sheet: of a picture, and of a place in the sprite.
pub fn tile(picture: usize) -> String {
    format!("tile-{picture}.bmp")
}
pub fn placed(place: usize) -> String {
    format!("placed-{place:04}.bmp")
}
/// Name of a tile among those that the poster is chosen from.
pub fn candidate(number: usize) -> String {
    format!("candidate-{number:04}.bmp")
}

/// Cuts the planned keyframes out of the source, each into a file. Nothing is decoded: what is not planned is dropped as
/// packets.
pub fn cut(ffmpeg: &PathBuf, plan: &Plan, video: &VideoPlan, pictures: &FrameTimes) -> Command {
    let named: Vec<String> = pictures.iter().map(|time| format!("eq(pts,{})", time.saturating_add(video.origin))).collect();
    let mut args = ffmpeg_global();
    args.extend(guarded("file"));
    if has_tables(plan) {
        // As the index was read: a parser takes a damaged keyframe for none.
        args.extend(words("-fflags +noparse"));
    }
    args.extend(["-copyts".to_owned(), format!("-bsf:{}", video.index)]);
    args.push(format!("noise=drop='if(key,not({}),{})'", named.join("+"), others(video, pictures)));
    args.extend(words(&format!(
        "-i {INPUT} -map 0:{} -c copy -map_metadata -1 -map_chapters -1 -avoid_negative_ts make_non_negative -f segment \
         -segment_time 0.000001 -segment_format {} piece-%d",
        video.index,
        holder(plan, video)
    )));
    Command::new(ffmpeg, args)
}

/// Whether to drop a packet that is no keyframe. The second field of one may be a packet of its own, without which a decoder
/// shows nothing of the first: it is shown before another picture could be.
fn others(video: &VideoPlan, pictures: &FrameTimes) -> String {
    if !video.deinterlace || video.codec != "h264" || video.frame_rate <= 0.0 {
        return "1".to_owned();
    }
    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    let near = TimeBase::MICROS.rescale((750_000.0 / video.frame_rate) as i64, video.time_base);
    let fields = pictures
        .iter()
        .map(|time| time.saturating_add(video.origin))
        .map(|time| format!("between(pts,{time},{})", time.saturating_add(near)));
    format!("not({})", fields.collect::<Vec<_>>().join("+"))
}

fn has_tables(plan: &Plan) -> bool {
    plan.container.split(',').any(|name| name == "mov")
}

/// The container that a keyframe is put into: `QuickTime` for what comes from there, some of which Matroska cannot hold.
fn holder(plan: &Plan, video: &VideoPlan) -> &'static str {
    let young = ["av1", "vp8", "vp9"].contains(&video.codec.as_str());
    if has_tables(plan) && !young { "mov" } else { "matroska" }
}

/// Where a single picture is decoded from.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// A keyframe's own file.
    Piece(usize),
    /// The first picture of the previewed stretch, where the film shows no keyframe.
    Window(&'a StillsPlan),
}

fn single(ffmpeg: &PathBuf, (profile, video): (&Profile, &VideoPlan), origin: Origin<'_>, size: Size, end: &str) -> Command {
    let (mut args, graph) = match origin {
        Origin::Piece(number) => {
            let mut args = ffmpeg_global();
            args.extend(words("-threads 1 -filter_complex_threads 1 -max_error_rate 1"));
            args.extend(guarded("file"));
            args.extend(["-i".to_owned(), piece(number)]);
            (args, graph::alone(profile, video, size, end))
        }
        Origin::Window(stills) => (decoding(&stills.window), graph::first(profile, video, &stills.window, size, end)),
    };
    args.extend(["-filter_complex".to_owned(), format!("{graph}[v]")]);
    args.extend(words("-map [v] -frames:v 1 -update 1"));
    Command::new(ffmpeg, args)
}

/// One picture as a tile.
pub fn tile_of(ffmpeg: &PathBuf, of: (&Profile, &VideoPlan), origin: Origin<'_>, picture: usize, size: Size) -> Command {
    let mut command = single(ffmpeg, of, origin, size, BMP);
    command.args.extend(words(&format!("-c:v bmp -f image2 {}", tile(picture))));
    command
}

/// One picture as the poster.
pub fn poster(ffmpeg: &PathBuf, of: (&Profile, &VideoPlan), origin: Origin<'_>, poster: &PosterPlan) -> Command {
    let mut command = single(ffmpeg, of, origin, poster.size, JPEG);
    command.args.extend(words(&format!("{} -f image2 {}", jpeg(POSTER_QUALITY), pipeline::stills::POSTER)));
    command
}

fn jpeg(quality: u32) -> String {
    format!("-c:v mjpeg -q:v {quality} -huffman optimal -threads 1 -flags +bitexact -fflags +bitexact")
}

/// Our own pictures of one size, in the order of their numbers.
fn own_pictures(pattern: &str) -> Vec<String> {
    words(&format!("-threads 1 -protocol_whitelist file -f image2 -framerate 1 -i {pattern}"))
}

/// Tells on standard output which of the candidates is most like all of them; `bright`: of those that are not dark.
pub fn choice(ffmpeg: &PathBuf, candidates: usize, bright: bool) -> Command {
    let mut args = words("-nostdin -hide_banner -loglevel warning -nostats");
    args.extend(own_pictures("candidate-%04d.bmp"));
    let pick = if bright {
        format!("signalstats,metadata=mode=select:key=lavfi.signalstats.YAVG:value={DARK}:function=greater,")
    } else {
        String::new()
    };
    args.extend(["-vf".to_owned(), format!("scale=out_range=tv,format=yuv420p,{pick}thumbnail=n={}:log=quiet", candidates.max(2))]);
    args.extend(words("-fps_mode passthrough -frames:v 1 -f framecrc -"));
    Command::new(ffmpeg, args)
}

/// All sheets of the sprite from its tiles.
pub fn sheets(ffmpeg: &PathBuf, sprite: &SpritePlan) -> Command {
    let mut args = ffmpeg_global();
    args.extend(own_pictures("placed-%04d.bmp"));
    args.extend(["-vf".to_owned(), format!("tile={}x{},scale=iw:ih{JPEG}", sprite.columns, sprite.rows)]);
    args.extend(words(&format!("-fps_mode passthrough {} -start_number 0 -f image2 sprite-%d.jpg", jpeg(SHEET_QUALITY))));
    Command::new(ffmpeg, args)
}

/// A stretch of the film as an animated picture that repeats.
pub fn preview(ffmpeg: &PathBuf, (profile, video): (&Profile, &VideoPlan), stills: &StillsPlan, preview: &PreviewPlan) -> Command {
    let mut args = decoding(&stills.window);
    args.extend(["-filter_complex".to_owned(), format!("{}[v]", graph::moving(profile, video, &stills.window, preview, WEBP))]);
    args.extend(words(&format!(
        "-map [v] -fps_mode passthrough -map_metadata -1 -c:v libwebp_anim -quality {PREVIEW_QUALITY} -compression_level 4 \
         -threads 1 -loop 0 -f webp {PREVIEW}"
    )));
    Command::new(ffmpeg, args)
}

/// Decodes a picture file that we made, and tells of each picture on standard output.
pub fn verify(ffmpeg: &PathBuf, name: &str) -> Command {
    let mut args = words(
        "-nostdin -hide_banner -loglevel error -nostats -xerror -err_detect explode -threads 1 -protocol_whitelist file \
         -format_whitelist image2,jpeg_pipe,webp_pipe,webp_anim",
    );
    args.extend(words(&format!("-i {name} -fps_mode passthrough -f framecrc -")));
    Command::new(ffmpeg, args)
}
