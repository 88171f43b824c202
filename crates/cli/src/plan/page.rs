//! A plan as people read it in ten seconds.

use pipeline::{
    plan::{Plan, VideoCodec},
    stills::{PREVIEW, StillsPlan},
};

use super::Report;
use crate::{screen, text};

pub fn text(report: &Report<'_>) -> String {
    let plan = report.plan;
    let mut lines = vec![format!("{}: {}, {}", report.file, report.facts, text::bytes(report.bytes)), String::new()];
    lines.push(renditions(plan));
    lines.push(String::new());
    lines.push(table(report));
    lines.extend(plan.left_out.iter().map(|left| format!("left out: {left}")));
    lines.push(String::new());
    lines.push("Estimates: a film that is harder or easier to encode than most takes half as much again, or half as much.".into());
    lines.join("\n")
}

fn renditions(plan: &Plan) -> String {
    let codec = match plan.profile.codec {
        VideoCodec::H264 => "H.264",
        VideoCodec::Hevc => "HEVC",
        VideoCodec::Av1 => "AV1",
        VideoCodec::Vp9 => "VP9",
    };
    let video = plan.video.iter().flat_map(|video| &video.renditions).map(|r| {
        let how = format!("{codec}, preset {}, CRF {}", plan.profile.preset, plan.profile.crf);
        vec![r.name.clone(), format!("{}×{}", r.width, r.height), text::bitrate(u64::from(r.maxrate)), how]
    });
    let audio = plan.audio.iter().map(|a| {
        let language = if a.language.is_empty() { "language unknown" } else { &a.language };
        vec![a.name.clone(), format!("{} ch", a.channels), text::bitrate(u64::from(a.bitrate)), format!("AAC, {language}")]
    });
    let stills = plan.stills.as_deref().into_iter().flat_map(StillsPlan::files).map(|file| {
        let how = if file.name == PREVIEW { "WebP, a few seconds" } else { "JPEG" };
        vec![file.name, format!("{}×{}", file.size.width, file.size.height), String::new(), how.into()]
    });
    let text = plan.subtitles.iter().map(|t| {
        let language = if t.language.is_empty() { "language unknown" } else { &t.language };
        vec![t.name.clone(), String::new(), String::new(), format!("WebVTT of {}, {language}", t.codec)]
    });
    screen::table(&["rendition", "size", "at most", "how"], &[], video.chain(audio).chain(text).chain(stills).collect())
}

fn table(report: &Report<'_>) -> String {
    let mut rows = vec![
        vec!["chunks".to_owned(), chunks(report)],
        vec!["reads".into(), format!("{}, {}", text::bytes(report.read_bytes), times(report.read_bytes, report.bytes))],
        vec![
            "here".into(),
            format!(
                "about {}, {} CPU-seconds on {} cores",
                text::seconds(whole(report.here.wall_seconds)),
                number(report.here.cpu_seconds),
                report.here.cores
            ),
        ],
    ];
    if let Some(bill) = &report.lambda {
        rows.push(vec![
            "on Lambda".into(),
            format!(
                "about {}, {}: {} GB-s {}, requests {} ({} invocations)",
                text::seconds(whole(bill.wall_seconds)),
                text::usd(bill.total_usd),
                number(bill.gb_seconds),
                text::usd(bill.compute_usd),
                text::usd(bill.requests_usd),
                bill.invocations
            ),
        ]);
        rows.push(vec!["prices".into(), format!("{}, {}; storage and traffic not counted", report.prices.region, report.prices.as_of)]);
    }
    screen::table(&["estimate", ""], &[], rows)
}

fn chunks(report: &Report<'_>) -> String {
    let seconds = || report.chunks.iter().map(|chunk| chunk.seconds);
    let (shortest, longest) = (seconds().fold(f64::INFINITY, f64::min), seconds().fold(0.0, f64::max));
    match report.chunks.len() {
        0 => "none".into(),
        1 => format!("1 of {longest:.1} s"),
        count if longest - shortest < 0.05 => format!("{count} of {longest:.1} s"),
        count => format!("{count} of {shortest:.1} to {longest:.1} s"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "for display")]
fn times(read: u64, of: u64) -> String {
    format!("{:.2} times the file", read as f64 / (of.max(1)) as f64)
}

fn number(value: f64) -> String {
    if value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a job")]
fn whole(seconds: f64) -> u64 {
    seconds.max(0.0).ceil() as u64
}
