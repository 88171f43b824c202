//! HLS playlists as text (RFC 8216). Pure.
//!
//! Every URI in them is one that this crate made: no name that came from outside ever becomes a playlist line.

use std::fmt::Write;

use crate::{language, plan::Role, timebase::TimeBase};

/// Characters of a track's title that are shown.
const MAX_NAME: usize = 200;

/// One video rendition in the master playlist.
#[derive(Clone, Debug, PartialEq)]
pub struct VariantEntry {
    pub uri: String,
    pub width: u32,
    pub height: u32,
    /// RFC 6381.
    pub codec: String,
    /// Frames per second; 0 leaves the attribute out.
    pub frame_rate: f64,
    /// `PQ` or `HLG`; `None` is SDR.
    pub video_range: Option<&'static str>,
    /// Bits per second of the densest segment.
    pub peak_bitrate: u64,
    pub average_bitrate: u64,
}

/// One audio track in the master playlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioEntry {
    /// The plan's name of the track: what is shown where it has no title.
    pub name: String,
    /// As the source has it: not trusted.
    pub title: String,
    pub default: bool,
    pub role: Role,
    /// As the source has it: not trusted; what is no language leaves the attribute out.
    pub language: String,
    pub uri: String,
    pub channels: u32,
    pub codec: String,
    pub peak_bitrate: u64,
    pub average_bitrate: u64,
}

/// One text track in the master playlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextEntry {
    /// The plan's name of the track: what is shown where it has neither title nor language.
    pub name: String,
    /// As the source has it: not trusted.
    pub title: String,
    pub role: Role,
    pub forced: bool,
    /// ISO 639; empty leaves the attribute out.
    pub language: String,
    pub uri: String,
}

/// One track in time: its segments as `(URI, ticks)`, one after another from `start`, which counts from T0.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    pub base: TimeBase,
    pub start: i64,
    pub segments: Vec<(String, i64)>,
}

impl Timeline {
    /// Where its last segment ends, seconds from T0.
    pub fn end(&self) -> f64 {
        self.base.seconds(self.segments.iter().fold(self.start, |at, (_, ticks)| at.saturating_add(*ticks)))
    }
    /// Length of the longest segment, seconds.
    pub fn longest(&self) -> f64 {
        self.segments.iter().map(|(_, ticks)| self.base.seconds(*ticks)).fold(0.0, f64::max)
    }
}

/// The target duration of every playlist of a presentation, seconds: they must all have the same (RFC 8216, 6.2.4).
pub fn target_duration(timelines: &[Timeline]) -> f64 {
    timelines.iter().map(Timeline::longest).fold(1.0, f64::max).ceil()
}

/// A media playlist. Time begins at T0 in every one of them: players that take a playlist's first segment for time 0
/// would otherwise play a film whose picture comes late out of step with its sound. The stretch before is told as a gap
/// whose resource, for players that do not know gaps, is the init segment: it holds no picture and is there. A gap at
/// the beginning stands before `EXT-X-MAP` and needs none: hls.js 1.7 would begin to load the init segment for it, give
/// that up, and then now and then (13 of 20) wait for it for ever.
pub fn media_playlist(init: &str, timeline: &Timeline, target: f64) -> String {
    let Timeline { base, start, segments } = timeline;
    let lead = base.seconds((*start).max(0));
    let version = if lead > 0.0 { 8 } else { 7 };
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{target:.0}\n#EXT-X-MEDIA-SEQUENCE:0\n\
         #EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n"
    );
    let gaps = (lead / target.max(1.0)).ceil();
    let mut told = 0.0;
    while told < gaps {
        let _ = writeln!(text, "#EXT-X-GAP\n#EXTINF:{:.6},\n{init}", lead / gaps);
        told += 1.0;
    }
    let _ = writeln!(text, "#EXT-X-MAP:URI=\"{init}\"");
    for (uri, ticks) in segments {
        let _ = writeln!(text, "#EXTINF:{:.6},\n{uri}", base.seconds(*ticks));
    }
    text.push_str("#EXT-X-ENDLIST\n");
    text
}

/// The playlist of a text track, one segment from T0 to the film's end. Its target duration is its own: subtitles of a
/// film that is complete may have another than picture and sound (RFC 8216, 6.2.4).
pub fn text_playlist(uri: &str, seconds: f64) -> String {
    let target = seconds.max(1.0).ceil();
    format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{target:.0}\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n\
         #EXTINF:{seconds:.6},\n{uri}\n#EXT-X-ENDLIST\n"
    )
}

/// The segments that a [`media_playlist`] names.
pub fn uris(media_playlist: &str) -> impl Iterator<Item = &str> {
    media_playlist.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The master playlist. All audio is one group, all text another; each variant's rates count its own bytes and the
/// sound's greatest. Without a picture the one variant is the sound itself: it leads to the track that is chosen where
/// nobody chooses.
pub fn master_playlist(variants: &[VariantEntry], audio: &[AudioEntry], text_tracks: &[TextEntry]) -> String {
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    sound_renditions(&mut text, audio);
    text_renditions(&mut text, text_tracks);
    let peak = audio.iter().map(|a| a.peak_bitrate).max().unwrap_or(0);
    let average = audio.iter().map(|a| a.average_bitrate).max().unwrap_or(0);
    if let (true, Some(chosen)) = (variants.is_empty(), audio.get(chosen(audio))) {
        let codecs = sound_codecs(audio).join(",");
        let _ = writeln!(
            text,
            "#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},CODECS=\"{codecs}\",AUDIO=\"audio\"\n{}",
            chosen.uri
        );
    }
    for variant in variants {
        let codecs: Vec<&str> = std::iter::once(variant.codec.as_str()).chain(sound_codecs(audio)).collect();
        let rate = if variant.frame_rate > 0.0 { format!(",FRAME-RATE={:.3}", variant.frame_rate) } else { String::new() };
        let range = variant.video_range.map(|range| format!(",VIDEO-RANGE={range}")).unwrap_or_default();
        let group = if audio.is_empty() { "" } else { ",AUDIO=\"audio\"" };
        let captions = if text_tracks.is_empty() { "" } else { ",SUBTITLES=\"text\"" };
        let _ = writeln!(
            text,
            "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},RESOLUTION={}x{},CODECS=\"{}\"{rate}{range}{group}{captions}\n{}",
            variant.peak_bitrate + peak,
            variant.average_bitrate + average,
            variant.width,
            variant.height,
            codecs.join(","),
            variant.uri
        );
    }
    text
}

/// Each once.
fn sound_codecs(audio: &[AudioEntry]) -> Vec<&str> {
    let mut codecs = Vec::new();
    for track in audio {
        if !codecs.contains(&track.codec.as_str()) {
            codecs.push(track.codec.as_str());
        }
    }
    codecs
}

/// Position of the default track.
fn chosen(audio: &[AudioEntry]) -> usize {
    audio.iter().position(|track| track.default).unwrap_or(0)
}

/// The members of the audio group: one is the default, names are unique (RFC 8216, 4.3.4.1.1). A player chooses by
/// itself only among tracks that differ in language or characteristics, the first of each; never a commentary.
fn sound_renditions(text: &mut String, audio: &[AudioEntry]) {
    let chosen = chosen(audio);
    let (mut names, mut kinds) = (Vec::new(), Vec::new());
    if let Some(track) = audio.get(chosen) {
        kinds.push((language::tag(&track.language), characteristics(track.role)));
    }
    for (number, track) in audio.iter().enumerate() {
        let name = unique(&shown_name(&track.title, &track.name), &mut names);
        let tag = language::tag(&track.language);
        let language = tag.as_ref().map(|tag| format!(",LANGUAGE=\"{tag}\"")).unwrap_or_default();
        let kind = (tag, characteristics(track.role));
        let of_its_own = track.role != Role::Commentary && !kinds.contains(&kind);
        if of_its_own {
            kinds.push(kind);
        }
        let default = if number == chosen { "YES" } else { "NO" };
        let auto = if number == chosen || of_its_own { "YES" } else { "NO" };
        let purpose = characteristics(track.role).map(|c| format!(",CHARACTERISTICS=\"{c}\"")).unwrap_or_default();
        let _ = writeln!(
            text,
            "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"{name}\"{language},DEFAULT={default},AUTOSELECT={auto}{purpose},CHANNELS=\"{}\",URI=\"{}\"",
            track.channels, track.uri
        );
    }
}

/// The members of the text group. None is shown unless a person asks for it or the player's own settings do: containers
/// call most tracks default without meaning that. `AUTOSELECT` as with sound; forced text is a kind of its own.
fn text_renditions(text: &mut String, tracks: &[TextEntry]) {
    let (mut names, mut kinds) = (Vec::new(), Vec::new());
    for track in tracks {
        let tag = language::tag(&track.language);
        let name = unique(&shown_name(&track.title, tag.as_ref().unwrap_or(&track.name)), &mut names);
        let language = tag.as_ref().map(|tag| format!(",LANGUAGE=\"{tag}\"")).unwrap_or_default();
        let deaf = track.role == Role::HearingImpaired;
        let kind = (tag, track.forced, deaf);
        let auto = track.role != Role::Commentary && !kinds.contains(&kind);
        kinds.extend(auto.then_some(kind));
        let yes = |is| if is { "YES" } else { "NO" };
        let purpose = if deaf {
            ",CHARACTERISTICS=\"public.accessibility.transcribes-spoken-dialog,public.accessibility.describes-music-and-sound\""
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"text\",NAME=\"{name}\"{language},DEFAULT=NO,AUTOSELECT={},FORCED={}{purpose},URI=\"{}\"",
            yes(auto),
            yes(track.forced),
            track.uri
        );
    }
}

/// The media characteristic of a role (HLS Authoring Specification, Accessibility).
fn characteristics(role: Role) -> Option<&'static str> {
    match role {
        Role::Description => Some("public.accessibility.describes-video"),
        Role::Main | Role::Dub | Role::Commentary | Role::HearingImpaired => None,
    }
}

/// A track's title as a quoted string takes it (RFC 8216, 4.2: no line ends, no quotes), else another name for it.
fn shown_name(title: &str, else_name: &str) -> String {
    let kept = title.chars().map(|c| if c == '"' { '\'' } else { c }).filter(|c| !c.is_control());
    let title = kept.take(MAX_NAME).collect::<String>();
    if title.trim().is_empty() { else_name.to_owned() } else { title.trim().to_owned() }
}

/// The name, numbered where another track has it already.
fn unique(name: &str, taken: &mut Vec<String>) -> String {
    let mut candidate = name.to_owned();
    let mut number = 2;
    while taken.contains(&candidate) {
        candidate = format!("{name} ({number})");
        number += 1;
    }
    taken.push(candidate.clone());
    candidate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_playlist() {
        let segments = vec![("segments/seg_0000.1.m4s".into(), 92_160), ("segments/seg_0001.4.m4s".into(), 46_080)];
        let timeline = Timeline { base: TimeBase::new(1, 15_360).unwrap(), start: 0, segments };
        insta::assert_snapshot!(media_playlist("init.mp4", &timeline, target_duration(std::slice::from_ref(&timeline))), @r#"
        #EXTM3U
        #EXT-X-VERSION:7
        #EXT-X-TARGETDURATION:6
        #EXT-X-MEDIA-SEQUENCE:0
        #EXT-X-PLAYLIST-TYPE:VOD
        #EXT-X-INDEPENDENT-SEGMENTS
        #EXT-X-MAP:URI="init.mp4"
        #EXTINF:6.000000,
        segments/seg_0000.1.m4s
        #EXTINF:3.000000,
        segments/seg_0001.4.m4s
        #EXT-X-ENDLIST
        "#);
    }

    #[test]
    fn pictures_that_come_late_stand_behind_a_gap_of_whole_pieces() {
        let picture = Timeline { base: TimeBase::new(1001, 30_000).unwrap(), start: 300, segments: vec![("a.m4s".into(), 150)] };
        let sound = Timeline { base: TimeBase::new(1, 48_000).unwrap(), start: 0, segments: vec![("b.m4s".into(), 288_768)] };
        let timelines = [picture, sound];
        insta::assert_snapshot!(media_playlist("init.mp4", &timelines[0], target_duration(&timelines)), @r#"
        #EXTM3U
        #EXT-X-VERSION:8
        #EXT-X-TARGETDURATION:7
        #EXT-X-MEDIA-SEQUENCE:0
        #EXT-X-PLAYLIST-TYPE:VOD
        #EXT-X-INDEPENDENT-SEGMENTS
        #EXT-X-GAP
        #EXTINF:5.005000,
        init.mp4
        #EXT-X-GAP
        #EXTINF:5.005000,
        init.mp4
        #EXT-X-MAP:URI="init.mp4"
        #EXTINF:5.005000,
        a.m4s
        #EXT-X-ENDLIST
        "#);
    }

    #[test]
    fn a_master_playlist_with_and_without_sound() {
        let variant = VariantEntry {
            uri: "720p/media.m3u8".into(),
            width: 1280,
            height: 720,
            codec: "avc1.64001f".into(),
            frame_rate: 29.97,
            video_range: None,
            peak_bitrate: 3_000_000,
            average_bitrate: 2_000_000,
        };
        let track = AudioEntry {
            name: "audio".into(),
            title: String::new(),
            default: false,
            role: Role::Main,
            language: "de\"\n#EXT".into(),
            uri: "audio/media.m3u8".into(),
            channels: 2,
            codec: "mp4a.40.2".into(),
            peak_bitrate: 130_000,
            average_bitrate: 128_000,
        };
        let kept = VariantEntry { video_range: Some("PQ"), codec: "hvc1.2.4.L93.b0".into(), ..variant.clone() };
        assert!(master_playlist(&[kept], &[], &[]).contains("CODECS=\"hvc1.2.4.L93.b0\",FRAME-RATE=29.970,VIDEO-RANGE=PQ\n"));
        let silent = master_playlist(std::slice::from_ref(&variant), &[], &[]);
        let loud = master_playlist(&[variant], &[track], &[]);
        insta::assert_snapshot!(format!("{silent}{loud}"), @r#"
        #EXTM3U
        #EXT-X-VERSION:7
        #EXT-X-INDEPENDENT-SEGMENTS
        #EXT-X-STREAM-INF:BANDWIDTH=3000000,AVERAGE-BANDWIDTH=2000000,RESOLUTION=1280x720,CODECS="avc1.64001f",FRAME-RATE=29.970
        720p/media.m3u8
        #EXTM3U
        #EXT-X-VERSION:7
        #EXT-X-INDEPENDENT-SEGMENTS
        #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="audio",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="audio/media.m3u8"
        #EXT-X-STREAM-INF:BANDWIDTH=3130000,AVERAGE-BANDWIDTH=2128000,RESOLUTION=1280x720,CODECS="avc1.64001f,mp4a.40.2",FRAME-RATE=29.970,AUDIO="audio"
        720p/media.m3u8
        "#);
    }

    #[test]
    fn tracks_of_sound_say_what_they_are_for() {
        let track = |title: &str, language: &str, default, role| AudioEntry {
            name: "audio".into(),
            title: title.into(),
            default,
            role,
            language: language.into(),
            uri: "a/media.m3u8".into(),
            channels: 2,
            codec: "mp4a.40.2".into(),
            peak_bitrate: 1,
            average_bitrate: 1,
        };
        let tracks = [
            track("Director's \"cut\"\n#EXT-X-ENDLIST", "eng", false, Role::Commentary),
            track("Stereo", "eng", true, Role::Main),
            track("Stereo", "eng", false, Role::Main),
            track("", "eng", false, Role::Description),
            track(" \u{7}", "deu", true, Role::Dub),
        ];
        insta::assert_snapshot!(master_playlist(&[], &tracks, &[]), @r#"
        #EXTM3U
        #EXT-X-VERSION:7
        #EXT-X-INDEPENDENT-SEGMENTS
        #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Director's 'cut'#EXT-X-ENDLIST",LANGUAGE="en",DEFAULT=NO,AUTOSELECT=NO,CHANNELS="2",URI="a/media.m3u8"
        #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Stereo",LANGUAGE="en",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="a/media.m3u8"
        #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Stereo (2)",LANGUAGE="en",DEFAULT=NO,AUTOSELECT=NO,CHANNELS="2",URI="a/media.m3u8"
        #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="audio",LANGUAGE="en",DEFAULT=NO,AUTOSELECT=YES,CHARACTERISTICS="public.accessibility.describes-video",CHANNELS="2",URI="a/media.m3u8"
        #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="audio (2)",LANGUAGE="de",DEFAULT=NO,AUTOSELECT=YES,CHANNELS="2",URI="a/media.m3u8"
        #EXT-X-STREAM-INF:BANDWIDTH=1,AVERAGE-BANDWIDTH=1,CODECS="mp4a.40.2",AUDIO="audio"
        a/media.m3u8
        "#);
    }

    #[test]
    fn tracks_of_text_stand_in_a_group_of_their_own() {
        let track = |name: &str, title: &str, language: &str, forced, role| TextEntry {
            name: name.into(),
            title: title.into(),
            role,
            forced,
            language: language.into(),
            uri: format!("{name}/media.m3u8"),
        };
        let tracks = [
            track("text", "", "eng", false, Role::Main),
            track("text-2", "Signs \"only\"", "eng", true, Role::Main),
            track("text-3", "", "eng", false, Role::HearingImpaired),
            track("text-4", "", "eng", false, Role::Main),
            track("text-5", "", "e\"\n", false, Role::Commentary),
        ];
        let variant = VariantEntry {
            uri: "360p/media.m3u8".into(),
            width: 640,
            height: 360,
            codec: "avc1.64001f".into(),
            frame_rate: 0.0,
            video_range: None,
            peak_bitrate: 2,
            average_bitrate: 1,
        };
        let (master, media) = (master_playlist(&[variant], &[], &tracks), text_playlist("segments/seg_0000.3.vtt", 61.25));
        insta::assert_snapshot!(format!("{master}{media}"), @r#"
        #EXTM3U
        #EXT-X-VERSION:7
        #EXT-X-INDEPENDENT-SEGMENTS
        #EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="text",NAME="en",LANGUAGE="en",DEFAULT=NO,AUTOSELECT=YES,FORCED=NO,URI="text/media.m3u8"
        #EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="text",NAME="Signs 'only'",LANGUAGE="en",DEFAULT=NO,AUTOSELECT=YES,FORCED=YES,URI="text-2/media.m3u8"
        #EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="text",NAME="en (2)",LANGUAGE="en",DEFAULT=NO,AUTOSELECT=YES,FORCED=NO,CHARACTERISTICS="public.accessibility.transcribes-spoken-dialog,public.accessibility.describes-music-and-sound",URI="text-3/media.m3u8"
        #EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="text",NAME="en (3)",LANGUAGE="en",DEFAULT=NO,AUTOSELECT=NO,FORCED=NO,URI="text-4/media.m3u8"
        #EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="text",NAME="text-5",DEFAULT=NO,AUTOSELECT=NO,FORCED=NO,URI="text-5/media.m3u8"
        #EXT-X-STREAM-INF:BANDWIDTH=2,AVERAGE-BANDWIDTH=1,RESOLUTION=640x360,CODECS="avc1.64001f",SUBTITLES="text"
        360p/media.m3u8
        #EXTM3U
        #EXT-X-VERSION:7
        #EXT-X-TARGETDURATION:62
        #EXT-X-MEDIA-SEQUENCE:0
        #EXT-X-PLAYLIST-TYPE:VOD
        #EXTINF:61.250000,
        segments/seg_0000.3.vtt
        #EXT-X-ENDLIST
        "#);
    }
}
