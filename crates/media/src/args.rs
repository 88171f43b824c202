//! Every run of ffmpeg and ffprobe as a value. File names are fixed ones inside the cell; nothing of a source's name,
//! tags or contents ever becomes an argument, but numbers of the plan.

pub mod compare;
mod graph;
pub mod remux;
pub mod sample;
pub mod sound;
pub mod stills;
mod video;

use std::path::PathBuf;

use pipeline::{
    plan::{Chunk, Plan, SubtitlePlan, VideoPlan},
    timebase::TimeBase,
};

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub program: PathBuf,
    pub args: Vec<String>,
    /// Small files the program reads, made in the cell before it starts: `(name, contents)`.
    pub files: Vec<(String, String)>,
}

impl Command {
    /// A program with these arguments and no files.
    pub fn new(program: impl Into<PathBuf>, args: Vec<String>) -> Self {
        Self { program: program.into(), args, files: Vec::new() }
    }

    /// With care, the same without what is only there for speed: the plain C of every codec and filter. It takes several
    /// times as long.
    #[must_use]
    pub fn with_care(mut self, care: bool) -> Self {
        if !care {
            return self;
        }
        self.args.splice(0..0, words("-cpuflags 0"));
        for at in 1..self.args.len() {
            let plain = match self.args[at - 1].as_str() {
                "-x264-params" | "-x265-params" => ":asm=0",
                "-svtav1-params" => ":asm=c",
                _ => continue,
            };
            self.args[at].push_str(plain);
        }
        self
    }
}

/// Name of the source inside the cell.
pub const INPUT: &str = "input";
/// Samples per second of every audio output.
pub const SAMPLE_RATE: u32 = 48_000;
/// Largest picture that is decoded, pixels: 8192 × 8192.
pub const MAX_PIXELS: u64 = 67_108_864;
/// Forced keyframes beyond this many are given in a file: one argument may hold 128 KiB (Linux `MAX_ARG_STRLEN`).
const MAX_INLINE_KEYFRAMES: usize = 1_000;

/// Demuxers that untrusted media may reach. Playlists, manifests and concat scripts are not among them: they open
/// other files even where the protocol whitelist says `file` (media.md section 5).
const FORMATS: &str = "mov,matroska,webm,mpegts,mpeg,avi,flv,asf,ogg,mxf,gxf,dv,wav,aiff,mp3,aac,flac,ac3,eac3";

fn words(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// Options of an untrusted input, to stand before its `-i`.
fn guarded(protocols: &str) -> Vec<String> {
    words(&format!("-protocol_whitelist {protocols} -format_whitelist {FORMATS} -max_pixels {MAX_PIXELS}"))
}

fn ffmpeg_global() -> Vec<String> {
    words("-nostdin -hide_banner -loglevel warning -nostats -progress pipe:1 -stats_period 0.5 -y")
}

/// Microseconds as ffmpeg reads seconds: `12.345678`.
pub fn seconds(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// What one run of ffprobe lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Tracks and packets of what comes through standard input.
    Piped,
    /// The container and the tracks of what comes through standard input, from its beginning.
    PipedTracks,
    /// The container and the tracks of a file.
    Tracks,
    /// The packets of a file. `tables`: as its tables have them. ffprobe's parsers would look into the packets, and
    /// where a sparse file holds zeros they take a table's keyframe for none.
    Packets { tables: bool },
}

const PACKETS: &str = "packet=codec_type,stream_index,pts,dts,duration,size,pos,flags:packet_side_data=skip_samples,discard_padding";
const TRACKS: &str = "stream=index,codec_type,codec_name,width,height,has_b_frames,time_base,sample_aspect_ratio,pix_fmt,field_order,\
    color_range,color_space,color_transfer,color_primaries,r_frame_rate,avg_frame_rate,channels,sample_rate:stream_tags=language,title:\
    stream_disposition=default,dub,comment,forced,hearing_impaired,visual_impaired,captions,descriptions,attached_pic,timed_thumbnails:\
    stream_side_data=rotation,crop_top,crop_bottom,crop_left,crop_right,dv_profile,dv_bl_signal_compatibility_id,\
    green_x,green_y,blue_x,blue_y,red_x,red_y,white_point_x,white_point_y,max_luminance,min_luminance,max_content,max_average:format=format_name";

/// One run that lists what is in a source.
pub fn probe(ffprobe: &PathBuf, listing: Listing) -> Command {
    let piped = matches!(listing, Listing::Piped | Listing::PipedTracks);
    let mut args = words("-hide_banner -v error");
    args.extend(guarded(if piped { "file,pipe" } else { "file" }));
    if listing == (Listing::Packets { tables: true }) {
        args.extend(words("-fflags +noparse"));
    }
    let (show, entries) = match listing {
        Listing::Piped => ("-show_packets -show_streams -show_format", format!("{PACKETS}:{TRACKS}")),
        Listing::Tracks | Listing::PipedTracks => ("-show_streams -show_format", TRACKS.to_owned()),
        Listing::Packets { .. } => ("-show_packets", PACKETS.to_owned()),
    };
    args.extend(words(show));
    args.extend(["-show_entries".to_owned(), entries]);
    args.extend(words("-of compact -i"));
    args.push(if piped { "pipe:0".to_owned() } else { INPUT.to_owned() });
    Command::new(ffprobe, args)
}

/// Lists the packets of a file's first video track as they lie, and its pictures as a decoder shows them, each by its PTS, and
/// how many it waits for.
/// What pictures look like does not matter.
pub fn shown(ffprobe: &PathBuf) -> Command {
    let mut args = words("-hide_banner -v error");
    args.extend(guarded("file"));
    args.extend(words("-skip_loop_filter all -skip_idct all -threads 1 -select_streams v:0 -show_packets -show_frames -show_streams"));
    args.extend(words(&format!("-show_entries packet=pts:frame=pts:frame_side_data=:stream=has_b_frames -of compact -i {INPUT}")));
    Command::new(ffprobe, args)
}

/// An encode of ffmpeg's own test picture, which tells its CPU time at the end. `bench/factors.py` runs the same.
pub fn calibration(ffmpeg: &PathBuf) -> Command {
    let args = words(
        "-nostdin -hide_banner -loglevel info -nostats -benchmark -threads 1 -filter_threads 1 -f lavfi \
         -i testsrc2=size=1280x720:rate=30:duration=1.5 -c:v libx264 -preset veryfast -threads 1 -f null -",
    );
    Command::new(ffmpeg, args)
}

/// Name of the file that holds rendition `position` inside the cell.
pub fn chunk_output(position: usize) -> String {
    format!("v{position}.mp4")
}

/// One chunk, all renditions, one decode (media.md section 3), at one constant quality.
pub fn chunk(ffmpeg: &PathBuf, plan: &Plan, video: &VideoPlan, chunk: &Chunk, crf: u32) -> Command {
    let mut command = Command::new(ffmpeg, decoding(chunk));
    command.args.extend(["-filter_complex".to_owned(), graph::chunk(&plan.profile, video, chunk)]);
    encoding(command, plan, video, chunk, crf, 0)
}

/// One GOP of a chunk as [`chunk`] encodes the whole. `gop` is it as a chunk; `first_fragment`: how many are before it.
pub fn gop(ffmpeg: &PathBuf, plan: &Plan, video: &VideoPlan, gop: &Chunk, first_fragment: usize) -> Command {
    let mut command = Command::new(ffmpeg, decoding(gop));
    command.args.extend(["-filter_complex".to_owned(), graph::chunk(&plan.profile, video, gop)]);
    encoding(command, plan, video, gop, plan.profile.crf, first_fragment)
}

/// Name of a file with a filter graph inside the cell.
const GRAPH: &str = "graph";

/// A chunk of black pictures, encoded as [`chunk`] encodes the source's.
pub fn blank(ffmpeg: &PathBuf, plan: &Plan, video: &VideoPlan, chunk: &Chunk) -> Command {
    let mut args = ffmpeg_global();
    args.extend(words(&format!("-filter_complex_threads 1 -/filter_complex {GRAPH}")));
    let mut command = Command::new(ffmpeg, args);
    command.files.push((GRAPH.to_owned(), graph::blank(&plan.profile, video, chunk)));
    encoding(command, plan, video, chunk, plan.profile.crf, 0)
}

/// Every rendition from its output of the graph, `[v0]` and so on. `first_fragment`: GOPs of the chunk before it.
fn encoding(mut command: Command, plan: &Plan, video: &VideoPlan, chunk: &Chunk, crf: u32, first_fragment: usize) -> Command {
    let args = &mut command.args;
    let keyframes = keyframe_times(video.time_base, chunk);
    let many = chunk.keyframes.len() > MAX_INLINE_KEYFRAMES;
    let mut times = chunk.times.iter();
    let ticks = times.next().zip(times.last()).map_or(0, |(first, last)| last.saturating_sub(first));
    let seconds = video.time_base.seconds(ticks);
    for (position, rendition) in video.renditions.iter().enumerate() {
        args.extend(["-map".to_owned(), format!("[v{position}]")]);
        args.extend(video::options(&plan.profile, video, rendition, crf, seconds));
        if many {
            args.extend(words("-/force_key_frames keyframes"));
        } else if !keyframes.is_empty() {
            args.extend(["-force_key_frames".to_owned(), keyframes.clone()]);
        }
        args.extend(container(video.time_base, chunk.number, first_fragment));
        args.push(chunk_output(position));
    }
    if many {
        command.files.push(("keyframes".to_owned(), keyframes));
    }
    command
}

/// Everything up to the pictures of the chunk's decoder.
fn decoding(chunk: &Chunk) -> Vec<String> {
    let mut args = ffmpeg_global();
    args.extend(words("-threads 1 -filter_complex_threads 1 -max_error_rate 1"));
    args.extend(guarded("file"));
    // Pictures that change their size would start the graph anew, and what a filter still holds of the old one is lost.
    args.extend(words("-reinit_filter 0 -copyts -seek_timestamp 1 -noaccurate_seek"));
    if let Some(seek) = chunk.seek_us {
        args.extend(["-ss".to_owned(), seconds(seek)]);
    }
    args.extend(["-i".to_owned(), INPUT.to_owned()]);
    args
}

/// Where keyframes are forced, seconds from T0: midway between a keyframe and the frame before it, so that no rounding
/// moves one. ffmpeg compares the list with a frame's own PTS. The first frame is a keyframe by itself.
fn keyframe_times(base: TimeBase, chunk: &Chunk) -> String {
    let times: Vec<i64> = chunk.times.iter().collect();
    let mut text = String::new();
    for index in chunk.keyframes.iter().map(|index| *index as usize) {
        let (Some(before), Some(at)) = (index.checked_sub(1).and_then(|i| times.get(i)), times.get(index)) else {
            continue;
        };
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&seconds(base.micros_of_half_ticks(before.saturating_add(*at))));
    }
    text
}

/// CMAF fragments at every keyframe, with the source's times.
fn container(base: TimeBase, number: u32, first_fragment: usize) -> Vec<String> {
    words(&format!(
        "-map_metadata -1 -map_chapters -1 -fflags +bitexact -video_track_timescale {} -avoid_negative_ts disabled \
         -fragment_index {} \
         -movflags +frag_keyframe+empty_moov+default_base_moof+negative_cts_offsets+frag_discont+skip_trailer -f mp4",
        base.den(),
        u64::from(number) * 1000 + first_fragment as u64 + 1,
    ))
}

/// Added to every time of a text track, so that none is below zero, which `WebVTT` cannot say: 1,000 hours.
pub const TEXT_LEAD_MS: i64 = 3_600_000_000;

/// One text track as `WebVTT` on standard output; the times count from T0 and [`TEXT_LEAD_MS`]. Bytes that are no UTF-8 are
/// handed on as they are: the decoder would leave such a cue out.
pub fn text(ffmpeg: &PathBuf, text: &SubtitlePlan) -> Command {
    let mut args = words("-nostdin -hide_banner -loglevel warning -nostats -threads 1 -max_error_rate 1");
    args.extend(guarded("file"));
    let lead = seconds((TEXT_LEAD_MS * 1000).saturating_sub(text.origin_us));
    args.extend(words(&format!("-copyts -sub_charenc_mode ignore -itsoffset {lead} -i {INPUT} -map 0:{} -c:s webvtt", text.index)));
    args.extend(words("-map_metadata -1 -map_chapters -1 -f webvtt pipe:1"));
    Command::new(ffmpeg, args)
}

#[cfg(test)]
mod tests;
