//! The DASH manifest as text (ISO/IEC 23009-1), over the same segments as the playlists. Pure.
//!
//! Segments carry a fencing number in their names, so no template names them: each is listed, with its exact time in
//! the track's own time scale. Every URL is one that this crate made; what came from a source is escaped.

use std::fmt::Write as _;

use crate::{
    assembly::{Assembly, AudioTrackMade, VideoTrackMade},
    key, language,
    plan::{AudioPlan, Plan, Role, SubtitlePlan, VideoPlan},
    receipt::{bitrate, peak},
    result::{SegmentRecord, TextFile},
    timebase::TimeBase,
};

/// Characters of a track's title that are shown.
const MAX_LABEL: usize = 200;

/// One segment: its URL relative to the manifest, start from T0 and duration, ticks.
type Timed = (String, i64, i64);

/// `manifest.mpd`: one period, a set of all renditions, and a set for every track of sound and text.
pub fn manifest(plan: &Plan, made: &Assembly) -> String {
    let (mut sets, mut ends) = (String::new(), Vec::new());
    let mut longest = 1.0f64;
    let mut note = |base: TimeBase, segments: &[Timed]| {
        ends.extend(segments.last().map(|(_, start, duration)| base.seconds(start.saturating_add(*duration))));
        longest = segments.iter().map(|(_, _, duration)| base.seconds(*duration)).fold(longest, f64::max);
    };
    if let Some(video) = &plan.video {
        pictures(&mut sets, plan, video, &made.video, &mut note);
    }
    let no_default = !plan.audio.iter().any(|track| track.default);
    for (number, (track, planned)) in made.audio.iter().zip(&plan.audio).enumerate() {
        sound(&mut sets, number + 1, track, planned, planned.default || (no_default && number == 0), &mut note);
    }
    let end = ends.into_iter().fold(0.0, f64::max);
    for (number, (planned, file)) in made.text.iter().enumerate() {
        captions(&mut sets, made.audio.len() + number + 1, planned, file, end);
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" profiles=\"urn:mpeg:dash:profile:isoff-main:2011\" type=\"static\" \
         mediaPresentationDuration=\"PT{end:.6}S\" minBufferTime=\"PT{longest:.3}S\">\n\
         <Period id=\"0\" start=\"PT0S\">\n{sets}</Period>\n</MPD>\n"
    )
}

fn pictures(sets: &mut String, plan: &Plan, video: &VideoPlan, made: &[VideoTrackMade], note: &mut impl FnMut(TimeBase, &[Timed])) {
    let base = video.time_base;
    sets.push_str("<AdaptationSet id=\"0\" contentType=\"video\" mimeType=\"video/mp4\" segmentAlignment=\"true\" startWithSAP=\"1\">\n");
    // Players that do not know HDR show the pictures all the same: what they must not do is nothing.
    let transfer = match video.colors.encoded(&plan.profile).video_range() {
        Some("PQ") => Some(16),
        Some(_) => Some(18),
        None => None,
    };
    if let Some(transfer) = transfer {
        for (what, value) in [("ColourPrimaries", 9), ("TransferCharacteristics", transfer), ("MatrixCoefficients", 9)] {
            let _ = writeln!(sets, "<SupplementalProperty schemeIdUri=\"urn:mpeg:mpegB:cicp:{what}\" value=\"{value}\"/>");
        }
    }
    sets.push_str("<Role schemeIdUri=\"urn:mpeg:dash:role:2011\" value=\"main\"/>\n");
    for track in made {
        let rendition = &track.rendition;
        let starts = track.segments.iter().zip(&track.durations).map(|(segment, duration)| (segment, *duration));
        let segments = timed(&rendition.name, starts);
        note(base, &segments);
        let rate = frame_rate(video.frame_rate).map(|rate| format!(" frameRate=\"{rate}\"")).unwrap_or_default();
        let _ = writeln!(
            sets,
            "<Representation id=\"{}\" codecs=\"{}\" width=\"{}\" height=\"{}\" sar=\"1:1\"{rate} bandwidth=\"{}\">",
            escaped(&rendition.name),
            escaped(&track.codec),
            rendition.width,
            rendition.height,
            peak(&track.segments, &track.durations, 1.0 / base.seconds(1)),
        );
        list(sets, &rendition.name, base, &segments);
        sets.push_str("</Representation>\n");
    }
    sets.push_str("</AdaptationSet>\n");
}

fn sound(
    sets: &mut String,
    id: usize,
    track: &AudioTrackMade,
    planned: &AudioPlan,
    chosen: bool,
    note: &mut impl FnMut(TimeBase, &[Timed]),
) {
    let base = TimeBase::new(1, track.sample_rate).unwrap_or(TimeBase::MICROS);
    let segments = timed(&track.name, track.segments.iter().map(|segment| (segment, segment.duration)));
    note(base, &segments);
    let language = language::tag(&track.language).map(|tag| format!(" lang=\"{tag}\"")).unwrap_or_default();
    let _ = writeln!(
        sets,
        "<AdaptationSet id=\"{id}\" contentType=\"audio\" mimeType=\"audio/mp4\"{language} segmentAlignment=\"true\" startWithSAP=\"1\">"
    );
    let durations: Vec<i64> = segments.iter().map(|(_, _, duration)| *duration).collect();
    if !planned.title.is_empty() {
        let _ = writeln!(sets, "<Label>{}</Label>", escaped(&planned.title.chars().take(MAX_LABEL).collect::<String>()));
    }
    sets.push_str(&purpose(planned.role, chosen));
    let _ = writeln!(
        sets,
        "<Representation id=\"{}\" codecs=\"{}\" audioSamplingRate=\"{}\" bandwidth=\"{}\">\n\
         <AudioChannelConfiguration schemeIdUri=\"urn:mpeg:mpegB:cicp:ChannelConfiguration\" value=\"{}\"/>",
        escaped(&track.name),
        escaped(&track.codec),
        track.sample_rate,
        peak(&track.segments, &durations, f64::from(track.sample_rate)),
        channel_configuration(track.channels),
    );
    list(sets, &track.name, base, &segments);
    sets.push_str("</Representation>\n</AdaptationSet>\n");
}

/// A `WebVTT` file of the whole film (ISO/IEC 23009-1, 5.3.9.2: a representation that is one resource).
fn captions(sets: &mut String, id: usize, planned: &SubtitlePlan, file: &TextFile, seconds: f64) {
    let language = language::tag(&planned.language).map(|tag| format!(" lang=\"{tag}\"")).unwrap_or_default();
    let _ = writeln!(sets, "<AdaptationSet id=\"{id}\" contentType=\"text\" mimeType=\"text/vtt\"{language}>");
    if !planned.title.is_empty() {
        let _ = writeln!(sets, "<Label>{}</Label>", escaped(&planned.title.chars().take(MAX_LABEL).collect::<String>()));
    }
    let role = match planned.role {
        _ if planned.forced => "forced-subtitle",
        Role::HearingImpaired => "caption",
        Role::Commentary => "commentary",
        Role::Main | Role::Dub | Role::Description => "subtitle",
    };
    let (url, bandwidth) = (format!("{}/{}", planned.name, key::segment_uri(&file.key)), bitrate(file.bytes, seconds).max(1));
    let _ = writeln!(
        sets,
        "<Role schemeIdUri=\"urn:mpeg:dash:role:2011\" value=\"{role}\"/>\n\
         <Representation id=\"{}\" bandwidth=\"{bandwidth}\">\n<BaseURL>{}</BaseURL>\n</Representation>\n</AdaptationSet>",
        escaped(&planned.name),
        escaped(&url),
    );
}

fn timed<'a>(name: &str, segments: impl Iterator<Item = (&'a SegmentRecord, i64)>) -> Vec<Timed> {
    segments.map(|(segment, duration)| (format!("{name}/{}", key::segment_uri(&segment.key)), segment.start.max(0), duration)).collect()
}

/// Every segment of a representation, each with a duration of its own; a time that does not follow from the one before
/// is written (ISO/IEC 23009-1, 5.3.9.6). No run of equal durations becomes one element: dash.js 5.2 counts elements
/// where it looks for a segment's URL, and would play others.
fn list(text: &mut String, name: &str, base: TimeBase, segments: &[Timed]) {
    let ticks = |ticks: i64| ticks.saturating_mul(i64::from(base.num()));
    let _ = writeln!(
        text,
        "<SegmentList timescale=\"{}\">\n<Initialization sourceURL=\"{}/init.mp4\"/>\n<SegmentTimeline>",
        base.den(),
        escaped(name)
    );
    let mut expected = None;
    for (_, start, duration) in segments {
        let time = if expected == Some(*start) { String::new() } else { format!(" t=\"{}\"", ticks(*start)) };
        let _ = writeln!(text, "<S{time} d=\"{}\"/>", ticks(*duration));
        expected = Some(start.saturating_add(*duration));
    }
    text.push_str("</SegmentTimeline>\n");
    for (url, _, _) in segments {
        let _ = writeln!(text, "<SegmentURL media=\"{}\"/>", escaped(url));
    }
    text.push_str("</SegmentList>\n");
}

/// What a track is for (ISO/IEC 23009-1, 5.8.5.5). Descriptions and speech made clear are said in DVB's words as well,
/// the ones that players look for (ETSI TS 103 285, 6.1.2).
fn purpose(role: Role, chosen: bool) -> String {
    let (value, accessibility) = match role {
        Role::Main if chosen => ("main", None),
        Role::Main => ("alternate", None),
        Role::Dub => ("dub", None),
        Role::Commentary => ("commentary", None),
        Role::Description => ("description", Some(1)),
        Role::HearingImpaired => ("enhanced-audio-intelligibility", Some(2)),
    };
    let mut text = String::new();
    if let Some(code) = accessibility {
        let _ = writeln!(text, "<Accessibility schemeIdUri=\"urn:tva:metadata:cs:AudioPurposeCS:2007\" value=\"{code}\"/>");
    }
    let _ = writeln!(text, "<Role schemeIdUri=\"urn:mpeg:dash:role:2011\" value=\"{value}\"/>");
    text
}

/// ISO/IEC 23091-3: the number of channels up to 5.1; 6.1 and 7.1 with speakers behind are 11 and 12.
fn channel_configuration(channels: u32) -> u32 {
    match channels {
        7 => 11,
        8 => 12,
        other => other,
    }
}

/// A rate as DASH writes it: a whole number, or a fraction. NTSC's rates are told by their numbers.
fn frame_rate(rate: f64) -> Option<String> {
    if !(0.01..=1000.0).contains(&rate) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000000 by the check")]
    let rounded = |value: f64| value.round() as u32;
    let (whole, ntsc) = (rounded(rate), rounded(rate * 1.001));
    if (rate - f64::from(whole)).abs() < 0.0005 {
        return Some(whole.to_string());
    }
    if (rate * 1.001 - f64::from(ntsc)).abs() < 0.001 {
        return Some(format!("{}/1001", ntsc * 1000));
    }
    Some(format!("{}/1000", rounded(rate * 1000.0)))
}

/// Text as XML 1.0 takes it, in an attribute or between tags: characters that it has no way to write are left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' => out.push(' '),
            '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => {}
            other => out.push(other),
        }
    }
    out
}

/// The URLs that a [`manifest`] names.
pub fn urls(manifest: &str) -> impl Iterator<Item = &str> {
    [("sourceURL=\"", '"'), ("media=\"", '"'), ("<BaseURL>", '<')].into_iter().flat_map(|(before, behind)| {
        manifest.lines().filter_map(move |line| line.split_once(before).and_then(|(_, rest)| Some(rest.split_once(behind)?.0)))
    })
}

#[cfg(test)]
mod tests;
