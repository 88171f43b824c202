//! Which subtitle tracks become `WebVTT`.

use crate::{
    plan::SubtitlePlan,
    source::{SourceReport, SubtitleTrack},
};

/// Text tracks that are kept: a film of a big studio has about forty.
const MAX_TEXT: usize = 48;
/// Codecs that are pictures of text, by ffmpeg's names: of Blu-rays, DVDs, broadcasts and `DivX` files.
const PICTURES: [&str; 4] = ["hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle", "xsub"];
/// Codecs that are text.
const TEXT: [&str; 7] = ["subrip", "srt", "ass", "ssa", "mov_text", "webvtt", "text"];

fn is_text(track: &SubtitleTrack) -> bool {
    track.packets > 0 && TEXT.contains(&track.codec.as_str())
}

/// The tracks, in the order of the file. `origin_us`: T0 in microseconds of the source's clock.
pub fn planned(report: &SourceReport, origin_us: i64) -> Vec<SubtitlePlan> {
    let tracks = report.subtitles.iter().filter(|t| is_text(t)).take(MAX_TEXT);
    let plan = |(number, track): (usize, &SubtitleTrack)| SubtitlePlan {
        name: if number == 0 { "text".into() } else { format!("text-{}", number + 1) },
        index: track.index,
        codec: track.codec.clone(),
        language: track.language.clone(),
        title: track.title.clone(),
        forced: track.forced,
        role: track.role,
        origin_us,
    };
    tracks.enumerate().map(plan).collect()
}

/// Lines for the receipt: subtitles that nothing is made of.
pub fn left_out(report: &SourceReport) -> impl Iterator<Item = String> {
    let kept: Vec<u32> = report.subtitles.iter().filter(|t| is_text(t)).take(MAX_TEXT).map(|t| t.index).collect();
    report.subtitles.iter().filter(move |t| !kept.contains(&t.index)).map(line)
}

/// One of them.
pub fn line(track: &SubtitleTrack) -> String {
    let language = if track.language.is_empty() { String::new() } else { format!(" ({})", track.language) };
    let why = if PICTURES.contains(&track.codec.as_str()) { ": pictures of text, which players of HLS and DASH do not show" } else { "" };
    format!("track {}: subtitles {}{language}{why}", track.index, track.codec)
}
