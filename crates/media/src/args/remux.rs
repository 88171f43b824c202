//! The remux of a source that cannot be cut as it is.

use std::{fmt::Write as _, path::PathBuf};

use pipeline::source::{AudioTrack, SourceReport, SubtitleTrack, VideoTrack};

use super::{Command, INPUT, ffmpeg_global, guarded, words};

/// Name of the remuxed file inside the cell.
pub const OUTPUT: &str = "normalized.mkv";

/// Sound that Matroska holds as it is (measured); any other is brought along as FLAC, which loses nothing.
const SOUND_AS_IS: [&str; 29] = [
    "aac",
    "ac3",
    "eac3",
    "mp1",
    "mp2",
    "mp3",
    "opus",
    "vorbis",
    "flac",
    "alac",
    "dts",
    "truehd",
    "mlp",
    "wavpack",
    "tta",
    "wmav1",
    "wmav2",
    "pcm_s16le",
    "pcm_s24le",
    "pcm_s32le",
    "pcm_s16be",
    "pcm_s24be",
    "pcm_s32be",
    "pcm_u8",
    "pcm_f32le",
    "pcm_f64le",
    "pcm_alaw",
    "pcm_mulaw",
    "adpcm_ms",
];
/// Text and pictures of text that Matroska holds as they are; `mov_text` becomes `SubRip`.
const TEXT_AS_IS: [&str; 8] = ["subrip", "srt", "ass", "ssa", "webvtt", "dvb_subtitle", "hdmv_pgs_subtitle", "dvd_subtitle"];
const TIMED_TEXT: &str = "mov_text";

/// A picture whose time is not above the one before gets a millisecond more than that: Matroska counts in milliseconds.
const MEND: &str = r"setts=ts='if(eq(N,0),PTS,max(PTS,PREV_OUTPTS+ceil(0.001/TB)))'";

/// A packet's time in the order of decoding, else a millisecond more than the one before.
const DECODING: &str = r"setts=ts='if(eq(N,0),if(eq(DTS,NOPTS),0,DTS),max(DTS,PREV_OUTDTS+ceil(0.001/TB)))'";

/// In a stream with one time for both fields of a picture, the second has that of the first.
const LENT: &str = "setts=pts='if(eq(PTS,NOPTS),PREV_OUTPTS,PTS)':dts='if(eq(PTS,NOPTS)*gt(N,0),PREV_OUTDTS,DTS)'";

/// `DivX` and `XviD` put a B-picture into the packet of the one before it, for AVI has no other place for it, and a packet that shows
/// nothing into the place that it leaves.
const UNPACK: &str = "mpeg4_unpack_bframes";

/// Whether packets of a track may hold two pictures.
pub fn is_packed(tracks: &SourceReport, track: &VideoTrack) -> bool {
    track.codec == "mpeg4" && tracks.container.split(',').any(|name| name == "avi")
}

/// Whether a source may have one time for two packets of pictures: transport and program streams have it for a frame (ISO
/// 13818-1, 2.7.5), and the fields of H.264 are packets.
pub fn has_times_of_frames(tracks: &SourceReport) -> bool {
    let is_stream = tracks.container.split(',').any(|name| matches!(name, "mpegts" | "mpeg"));
    let picture = tracks.video.iter().find(|track| !track.cover);
    is_stream && picture.is_some_and(|track| track.codec == "h264" && track.says_fields())
}

/// Lines for what is not taken along, as in [`SourceReport::other`].
pub fn left_out(tracks: &SourceReport) -> Vec<String> {
    let covers = tracks.video.iter().filter(|t| t.cover).map(|t| format!("{}: cover picture {}", t.index, t.codec));
    let text = tracks.subtitles.iter().filter(|t| !is_taken(t)).map(|t| format!("{}:subtitle:{}", t.index, t.codec));
    tracks.other.iter().cloned().chain(covers).chain(text).collect()
}

fn is_taken(track: &SubtitleTrack) -> bool {
    TEXT_AS_IS.contains(&track.codec.as_str()) || track.codec == TIMED_TEXT
}

fn is_held(track: &AudioTrack) -> bool {
    SOUND_AS_IS.contains(&track.codec.as_str())
}

/// Where the times of a copy's pictures come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Times {
    /// From the source, completed by ffmpeg.
    Kept,
    /// From the source, each at least a millisecond after the one before.
    Mended,
    /// From the source, completed by ffmpeg; a packet of pictures that has none then has that of the one before.
    Lent,
    /// From the order of the packets, whatever the source says of when they are shown.
    Decoding,
    /// What [`Displayed`] says of the first video track, whose times are as above.
    Displayed(Displayed),
}

/// When the pictures of a copy that has them in the order of decoding are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Displayed {
    /// Milliseconds, by packet.
    pub times: Vec<i64>,
    /// Milliseconds by which a packet is decoded before the time that it has.
    pub early: i64,
}

/// Name of the file of times inside the cell.
const TIMES: &str = "times";

impl Displayed {
    /// The bitstream filter that says so.
    pub(super) fn filter(&self) -> String {
        format!("setts=pts='{}':dts='PTS-{}'", by_number(&self.times), self.early)
    }
}

/// An expression for the times of packets or frames by their numbers, `N`. It is a tree: a table of a film is too long to be
/// gone through for each.
pub(super) fn by_number(times: &[i64]) -> String {
    let mut text = String::new();
    tree(times, 0, &mut text);
    text
}

fn tree(times: &[i64], from: usize, text: &mut String) {
    let (left, right) = times.split_at(times.len() / 2);
    if left.is_empty() {
        let _ = write!(text, "{}", right.first().copied().unwrap_or_default());
        return;
    }
    let _ = write!(text, "if(lt(N,{}),", from + left.len());
    tree(left, from, text);
    text.push(',');
    tree(right, from + left.len(), text);
    text.push(')');
}

/// Copies the packets of all tracks of use. `piped`: the source comes through standard input.
pub fn command(ffmpeg: &PathBuf, tracks: &SourceReport, piped: bool, times: &Times) -> Command {
    let mut args = ffmpeg_global();
    args.extend(guarded(if piped { "file,pipe" } else { "file" }));
    // What an MP4 that was cut off holds of its last packet is none: it would cost the chunk that it is in.
    let halves = if tracks.container.split(',').any(|name| name == "mov") { "+discardcorrupt" } else { "" };
    args.extend(["-fflags".to_owned(), format!("+genpts{halves}"), "-i".to_owned()]);
    args.push(if piped { "pipe:0" } else { INPUT }.to_owned());
    let text: Vec<_> = tracks.subtitles.iter().filter(|t| is_taken(t)).collect();
    let video: Vec<_> = tracks.video.iter().filter(|t| !t.cover).collect();
    for index in video.iter().map(|t| t.index).chain(tracks.audio.iter().map(|t| t.index)).chain(text.iter().map(|t| t.index)) {
        args.extend(["-map".to_owned(), format!("0:{index}")]);
    }
    args.extend(words("-c copy"));
    for (position, _) in tracks.audio.iter().enumerate().filter(|(_, track)| !is_held(track)) {
        args.extend(words(&format!("-c:a:{position} flac")));
    }
    for (position, _) in text.iter().enumerate().filter(|(_, track)| track.codec == TIMED_TEXT) {
        args.extend(words(&format!("-c:s:{position} subrip")));
    }
    let times_of_all = match times {
        Times::Kept | Times::Displayed(_) => None,
        Times::Lent => Some(LENT),
        Times::Mended => Some(MEND),
        Times::Decoding => Some(DECODING),
    };
    for (position, track) in video.into_iter().enumerate() {
        let filters: Vec<&str> = is_packed(tracks, track).then_some(UNPACK).into_iter().chain(times_of_all).collect();
        if !filters.is_empty() {
            args.extend([format!("-bsf:v:{position}"), filters.join(",")]);
        }
    }
    let mut files = Vec::new();
    if let Times::Displayed(displayed) = times {
        args.extend(words(&format!("-/bsf:v:0 {TIMES}")));
        files.push((TIMES.to_owned(), displayed.filter()));
    }
    // Bit-exact: the same source gives the same file, whichever worker remuxes it.
    args.extend(words(&format!("-map_chapters -1 -max_muxing_queue_size 8192 -fflags +bitexact -flags +bitexact -f matroska {OUTPUT}")));
    Command { files, ..Command::new(ffmpeg, args) }
}
