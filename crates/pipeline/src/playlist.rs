//! HLS playlists as text (RFC 8216). Pure.
//!
//! Every URI in them is one that this crate made: no name that came from outside ever becomes a playlist line.

use std::fmt::Write;

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
    pub name: String,
    /// ISO 639; empty leaves the attribute out.
    pub language: String,
    pub uri: String,
    pub channels: u32,
    pub codec: String,
    pub peak_bitrate: u64,
    pub average_bitrate: u64,
}

/// A media playlist: `init` and `(URI, ticks)` of each segment, at `timescale` ticks a second.
pub fn media_playlist(init: &str, segments: &[(String, i64)], timescale: u32) -> String {
    let scale = f64::from(timescale.max(1));
    #[expect(clippy::cast_precision_loss, reason = "lengths of segments")]
    let seconds = |ticks: i64| ticks as f64 / scale;
    let longest = segments.iter().map(|(_, ticks)| seconds(*ticks)).fold(1.0, f64::max);
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{:.0}\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n\
         #EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-MAP:URI=\"{init}\"\n",
        longest.ceil()
    );
    for (uri, ticks) in segments {
        let _ = writeln!(text, "#EXTINF:{:.6},\n{uri}", seconds(*ticks));
    }
    text.push_str("#EXT-X-ENDLIST\n");
    text
}

/// The segments that a [`media_playlist`] names.
pub fn uris(media_playlist: &str) -> impl Iterator<Item = &str> {
    media_playlist.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The master playlist. All audio is one group; each variant's rates count its own bytes and the group's greatest.
pub fn master_playlist(variants: &[VariantEntry], audio: &[AudioEntry]) -> String {
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    for (number, track) in audio.iter().enumerate() {
        let default = if number == 0 { "YES" } else { "NO" };
        let language = if is_tag(&track.language) { format!(",LANGUAGE=\"{}\"", track.language) } else { String::new() };
        let _ = writeln!(
            text,
            "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"{}\"{language},DEFAULT={default},AUTOSELECT=YES,CHANNELS=\"{}\",URI=\"{}\"",
            track.name, track.channels, track.uri
        );
    }
    let peak = audio.iter().map(|a| a.peak_bitrate).max().unwrap_or(0);
    let average = audio.iter().map(|a| a.average_bitrate).max().unwrap_or(0);
    for variant in variants {
        let codecs: Vec<&str> = std::iter::once(variant.codec.as_str()).chain(audio.first().map(|a| a.codec.as_str())).collect();
        let rate = if variant.frame_rate > 0.0 { format!(",FRAME-RATE={:.3}", variant.frame_rate) } else { String::new() };
        let range = variant.video_range.map(|range| format!(",VIDEO-RANGE={range}")).unwrap_or_default();
        let group = if audio.is_empty() { "" } else { ",AUDIO=\"audio\"" };
        let _ = writeln!(
            text,
            "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},RESOLUTION={}x{},CODECS=\"{}\"{rate}{range}{group}\n{}",
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

/// A language tag that may stand in a quoted string: the source's own text is not trusted with quotes or line ends.
fn is_tag(language: &str) -> bool {
    !language.is_empty() && language.len() <= 35 && language.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_playlist() {
        let segments = [("segments/seg_0000.1.m4s".into(), 92_160), ("segments/seg_0001.4.m4s".into(), 46_080)];
        insta::assert_snapshot!(media_playlist("init.mp4", &segments, 15_360), @r#"
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
            language: "de\"\n#EXT".into(),
            uri: "audio/media.m3u8".into(),
            channels: 2,
            codec: "mp4a.40.2".into(),
            peak_bitrate: 130_000,
            average_bitrate: 128_000,
        };
        let kept = VariantEntry { video_range: Some("PQ"), codec: "hvc1.2.4.L93.b0".into(), ..variant.clone() };
        assert!(master_playlist(&[kept], &[]).contains("CODECS=\"hvc1.2.4.L93.b0\",FRAME-RATE=29.970,VIDEO-RANGE=PQ\n"));
        let silent = master_playlist(std::slice::from_ref(&variant), &[]);
        let loud = master_playlist(&[variant], &[track]);
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
}
