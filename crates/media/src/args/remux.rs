//! The remux of a source that cannot be cut as it is.

use std::path::PathBuf;

use pipeline::source::{AudioTrack, SourceReport, SubtitleTrack};

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

/// Copies the packets of all tracks of use. `piped`: the source comes through standard input.
pub fn command(ffmpeg: &PathBuf, tracks: &SourceReport, piped: bool, mend: bool) -> Command {
    let mut args = ffmpeg_global();
    args.extend(guarded(if piped { "file,pipe" } else { "file" }));
    args.extend(words("-fflags +genpts -i"));
    args.push(if piped { "pipe:0" } else { INPUT }.to_owned());
    let text: Vec<_> = tracks.subtitles.iter().filter(|t| is_taken(t)).collect();
    let video = tracks.video.iter().filter(|t| !t.cover).map(|t| t.index);
    for index in video.chain(tracks.audio.iter().map(|t| t.index)).chain(text.iter().map(|t| t.index)) {
        args.extend(["-map".to_owned(), format!("0:{index}")]);
    }
    args.extend(words("-c copy"));
    for (position, _) in tracks.audio.iter().enumerate().filter(|(_, track)| !is_held(track)) {
        args.extend(words(&format!("-c:a:{position} flac")));
    }
    for (position, _) in text.iter().enumerate().filter(|(_, track)| track.codec == TIMED_TEXT) {
        args.extend(words(&format!("-c:s:{position} subrip")));
    }
    if mend {
        args.extend(["-bsf:v".to_owned(), MEND.to_owned()]);
    }
    // Bit-exact: the same source gives the same file, whichever worker remuxes it.
    args.extend(words(&format!("-map_chapters -1 -max_muxing_queue_size 8192 -fflags +bitexact -flags +bitexact -f matroska {OUTPUT}")));
    Command::new(ffmpeg, args)
}
