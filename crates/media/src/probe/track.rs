//! What ffprobe says of one track, as the pipeline reads it.

use pipeline::{
    Fault,
    plan::{Colors, Mastering, Role},
    source::{AudioTrack, DolbyVision, Packet, SubtitleTrack, VideoTrack},
    timebase::TimeBase,
};

use super::{TrackIndex, fields::Fields};
use crate::args;

/// Characters of a track's title that are kept.
const MAX_TITLE: usize = 100;

pub fn video_track(index: u32, codec: String, time_base: TimeBase, fields: Fields<'_>, packets: TrackIndex) -> Result<VideoTrack, Fault> {
    let (width, height) = (fields.number::<u32>("width").unwrap_or(0), fields.number::<u32>("height").unwrap_or(0));
    if u64::from(width) * u64::from(height) > args::MAX_PIXELS {
        return Err(Fault::reject(format!("The file claims pictures of {width} × {height} pixels, which is more than is accepted.")));
    }
    // ffmpeg cuts this off before its filters: `clap` of ISO 14496-12, 12.1.4, and PixelCrop of Matroska.
    let cut = |sides: [&str; 2]| sides.iter().filter_map(|side| fields.suffixed::<u32>(side)).fold(0, u32::saturating_add);
    let shown = |size: u32, sides| size.checked_sub(cut(sides)).filter(|left| *left > 0).unwrap_or(size);
    let text = |key: &str| fields.get(key).filter(|value| *value != "unknown" && *value != "N/A").unwrap_or_default().to_owned();
    let set = |key: &str| fields.get(key) == Some("1");
    Ok(VideoTrack {
        index,
        codec,
        time_base,
        width: shown(width, [":crop_left", ":crop_right"]),
        height: shown(height, [":crop_top", ":crop_bottom"]),
        sample_aspect: aspect(fields.get("sample_aspect_ratio").unwrap_or_default()),
        rotation: fields.suffixed::<i32>(":rotation").unwrap_or(0),
        pix_fmt: text("pix_fmt"),
        field_order: text("field_order"),
        colors: Colors {
            primaries: text("color_primaries"),
            transfer: text("color_transfer"),
            matrix: text("color_space"),
            range: text("color_range"),
            mastering: mastering(fields),
        },
        dolby_vision: fields
            .suffixed(":dv_profile")
            .map(|profile| DolbyVision { profile, compatibility: fields.suffixed(":dv_bl_signal_compatibility_id").unwrap_or(0) }),
        cover: set("disposition:attached_pic") || set("disposition:timed_thumbnails"),
        frame_rate: frame_rate(fields),
        fields_apart: false,
        reorders: fields.number::<u32>("has_b_frames").is_some_and(|pictures| pictures > 0),
        packets: packets.packets,
    })
}

/// The packets of a track that begin at one of these places, which rise, hold the second field of the picture before.
pub fn paired(track: &mut VideoTrack, second_fields: &[u64]) {
    let is_second = |packet: &Packet| packet.pos.is_some_and(|pos| second_fields.binary_search(&pos).is_ok());
    let mut any = false;
    for packet in track.packets.iter_mut().filter(|packet| is_second(packet)) {
        // No decoder begins in the middle of a picture.
        (packet.shown, packet.key) = (false, false);
        any = true;
    }
    if !any {
        return;
    }
    // What the container says may count fields.
    let times = || track.packets.iter().filter(|packet| packet.shown).filter_map(|packet| packet.pts);
    let (pictures, first, last) = (times().count(), times().min(), times().max());
    let seconds = first.zip(last).map_or(0.0, |(first, last)| track.time_base.seconds(last.saturating_sub(first)));
    if pictures > 1 && seconds > 0.0 {
        #[expect(clippy::cast_precision_loss, reason = "for display")]
        let steps = (pictures - 1) as f64;
        track.frame_rate = steps / seconds;
    }
}

/// Of so many packets of an MP4 one or more is shorter than a picture where they are fields: a slip of the clock, or a film that
/// was joined, has fewer.
const SHORT: usize = 20;

/// Whether packets of a track are fields, of whose pictures two are `step` seconds apart.
pub fn are_fields(track: &VideoTrack, step: f64) -> bool {
    let times: Vec<i64> = track.packets.iter().filter_map(|packet| packet.dts).collect();
    let steps = || times.windows(2).map(|pair| track.time_base.seconds(pair[1].saturating_sub(pair[0])));
    let short = steps().filter(|seconds| *seconds < 0.75 * step).count();
    short > 0 && short * SHORT >= times.len()
}

/// Both records of HDR10, if the first is whole.
fn mastering(fields: Fields<'_>) -> Option<Mastering> {
    let scaled = |key: &str, unit: f64| {
        let (num, den) = fields.suffixed::<String>(key)?.split_once('/').map(|(num, den)| (num.parse::<u32>(), den.parse::<u32>()))?;
        let value = f64::from(num.ok()?) / f64::from(den.ok().filter(|den| *den > 0)?) * unit;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative; saturates")]
        let value = value.round() as u32;
        Some(value)
    };
    let point = |x: &str, y: &str| Some((scaled(x, 50_000.0)?, scaled(y, 50_000.0)?));
    Some(Mastering {
        green: point(":green_x", ":green_y")?,
        blue: point(":blue_x", ":blue_y")?,
        red: point(":red_x", ":red_y")?,
        white: point(":white_point_x", ":white_point_y")?,
        luminance: (scaled(":max_luminance", 10_000.0)?, scaled(":min_luminance", 10_000.0)?),
        light: fields.suffixed(":max_content").zip(fields.suffixed(":max_average")),
    })
}

pub fn audio_track((index, position): (u32, u32), codec: String, base: TimeBase, fields: Fields<'_>, packets: &TrackIndex) -> AudioTrack {
    let sample_rate = fields.number::<u32>("sample_rate").unwrap_or(0);
    let ticks = |samples: u64| {
        let samples = i64::try_from(samples).unwrap_or(i64::MAX);
        TimeBase::new(1, sample_rate).map_or(0, |rate| rate.rescale(samples, base))
    };
    // Demuxers say of a last packet of Opus and Vorbis how long it is heard, and then again what of it is not.
    let told_twice = matches!(codec.as_str(), "opus" | "vorbis");
    // The first packet of Vorbis is one half of an overlap: nothing of it is heard (Vorbis I, 4.3.8).
    let is_vorbis = codec == "vorbis";
    AudioTrack {
        index,
        position,
        codec,
        time_base: base,
        channels: fields.number("channels").unwrap_or(0),
        sample_rate,
        language: language(fields),
        title: title(fields),
        default: fields.get("disposition:default") == Some("1"),
        role: role(fields),
        first_pts: packets.second.filter(|_| is_vorbis).or(packets.first.map(|(pts, skip)| pts.saturating_add(ticks(skip)))),
        end_pts: packets.end.map(|(end, discard)| end.saturating_sub(if told_twice { 0 } else { ticks(discard) })),
        packets: packets.count,
        hole: packets.hole,
        extents: packets.extents.clone(),
    }
}

pub fn subtitle_track((index, position): (u32, u32), codec: String, fields: Fields<'_>, packets: TrackIndex) -> SubtitleTrack {
    let set = |key: &str| fields.get(key) == Some("1");
    SubtitleTrack {
        index,
        position,
        codec,
        language: language(fields),
        title: title(fields),
        default: set("disposition:default"),
        forced: set("disposition:forced"),
        role: role(fields),
        packets: packets.count,
        extents: packets.extents,
    }
}

fn language(fields: Fields<'_>) -> String {
    fields.get("tag:language").filter(|text| *text != "und").unwrap_or_default().to_owned()
}

/// At most [`MAX_TITLE`] characters of it.
fn title(fields: Fields<'_>) -> String {
    let text = fields.get("tag:title").unwrap_or_default().replace('\\', "");
    text.chars().filter(|c| !c.is_control()).take(MAX_TITLE).collect()
}

fn role(fields: Fields<'_>) -> Role {
    let set = |key: &str| fields.get(key) == Some("1");
    match () {
        () if set("disposition:comment") => Role::Commentary,
        () if set("disposition:visual_impaired") || set("disposition:descriptions") => Role::Description,
        () if set("disposition:hearing_impaired") || set("disposition:captions") => Role::HearingImpaired,
        () if set("disposition:dub") => Role::Dub,
        () => Role::Main,
    }
}

/// `4:3` in smallest numbers as ffprobe prints it; square where the source says nothing.
fn aspect(text: &str) -> (u32, u32) {
    let parsed = text.split_once(':').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    parsed.filter(|(width, height)| *width != 0 && *height != 0).unwrap_or((1, 1))
}

/// The nominal rate where it is near the average (an average of an edited film is a bit off), else the average.
fn frame_rate(fields: Fields<'_>) -> f64 {
    let rate = |key: &str| {
        let (num, den) = fields.get(key)?.split_once('/')?;
        let (num, den) = (num.parse::<u32>().ok()?, den.parse::<u32>().ok()?);
        (num != 0 && den != 0).then(|| f64::from(num) / f64::from(den))
    };
    match (rate("r_frame_rate"), rate("avg_frame_rate")) {
        (Some(nominal), Some(average)) if (nominal / average - 1.0).abs() > 0.05 => average,
        (Some(nominal), _) => nominal,
        (None, average) => average.unwrap_or(0.0),
    }
}
