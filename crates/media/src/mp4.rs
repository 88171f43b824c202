//! The progressive MP4: joined segments and the audio, put into one file without touching a picture.

use std::path::Path;

use mp4_atom::{Moov, StszSamples, Trak};
use pipeline::{
    Fault, Shortage,
    encoder::{EncodeError, Mp4Report, Mp4Work, Progress},
};

use crate::{
    FfmpegEncoder, args, boxes,
    chunk::{blocking, run},
    dir::{CellDir, io_fault},
    tools::file_sha256,
};

/// Makes the file, and reads from its tables what it holds.
pub async fn make(encoder: &FfmpegEncoder, work: &Mp4Work<'_>) -> Result<Mp4Report, Fault> {
    let parent = work.out.parent().unwrap_or(Path::new("."));
    let dir = CellDir::new(parent)?;
    dir.link(work.video, args::INPUT)?;
    for (position, (path, _)) in work.audio.iter().enumerate() {
        dir.link(path, &format!("a{position}.mp4"))?;
    }
    let languages: Vec<&str> = work.audio.iter().map(|(_, language)| language.as_str()).collect();
    let start = work.time_base.micros_of_half_ticks(work.start.saturating_mul(2));
    let command = args::mp4(&encoder.tools().ffmpeg, work.time_base, start, &languages);
    run(encoder, command, &dir, &Progress::default(), "frame=").await.map_err(ours)?;
    let (joined, out, name) = (work.video.to_owned(), work.out.to_owned(), work.rendition.name.clone());
    let num = i64::from(work.time_base.num());
    blocking(move || {
        let made = dir.join(args::MP4_OUTPUT);
        let report = report(&made, num)?.map_err(|text| broken(&format!("the {name} MP4 is not as made: {text}")))?;
        std::fs::rename(&made, &out).map_err(|error| io_fault("move the MP4 to", &out, &error))?;
        // Used once, and as large as what was made of it.
        let _ = std::fs::remove_file(&joined);
        Ok(report)
    })
    .await
}

/// The inputs are our own files: a complaint about them is not the source's fault.
pub fn ours(error: EncodeError) -> Fault {
    match error {
        EncodeError::Fault(fault) => fault,
        EncodeError::Mismatch(text) => broken(&text),
    }
}

fn broken(text: &str) -> Fault {
    Fault::escalate(Shortage::Tool, text)
}

fn report(path: &Path, num: i64) -> Result<Result<Mp4Report, String>, Fault> {
    let sha256 = file_sha256(path).map_err(|error| io_fault("read", path, &error))?;
    Ok(boxes::progressive(path).and_then(|file| {
        let trak = video(&file.moov)?;
        let shown = shown(&file.moov, trak)?;
        Ok(Mp4Report {
            bytes: file.size,
            sha256,
            video_frames: shown.frames,
            video_start: shown.first / num,
            video_last: shown.last / num,
            faststart: file.faststart,
        })
    }))
}

fn video(moov: &Moov) -> Result<&Trak, String> {
    moov.trak.iter().find(|trak| trak.mdia.minf.vmhd.is_some()).ok_or_else(|| "it has no video track".to_owned())
}

/// What a player shows of a track.
struct Shown {
    frames: u64,
    /// PTS after the edit list, ticks of the track's time scale.
    first: i64,
    last: i64,
}

/// Applies the edit list to the tables: an optional empty edit (a late start, in the film's time scale), then one edit
/// into the media.
fn shown(moov: &Moov, trak: &Trak) -> Result<Shown, String> {
    let stbl = &trak.mdia.minf.stbl;
    let frames = match &stbl.stsz.samples {
        StszSamples::Identical { count, .. } => u64::from(*count),
        StszSamples::Different { sizes } => sizes.len() as u64,
    };
    let durations = stbl.stts.entries.iter().flat_map(|entry| std::iter::repeat_n(entry.sample_delta, entry.sample_count as usize));
    let offsets = stbl.ctts.iter().flat_map(|ctts| &ctts.entries);
    let offsets = offsets.flat_map(|entry| std::iter::repeat_n(entry.sample_offset, entry.sample_count as usize));
    let mut dts = 0i64;
    let (mut first, mut last) = (i64::MAX, i64::MIN);
    for (duration, offset) in durations.zip(offsets.chain(std::iter::repeat(0))).take(usize::try_from(frames).unwrap_or(0)) {
        let pts = dts.saturating_add(offset);
        (first, last) = (first.min(pts), last.max(pts));
        dts = dts.saturating_add(i64::from(duration));
    }
    if first > last {
        return Err("it has no frames".to_owned());
    }
    let shift = edit(moov, trak)?;
    Ok(Shown { frames, first: first.saturating_add(shift), last: last.saturating_add(shift) })
}

/// Ticks of the track's time scale that the edit list adds to every PTS.
fn edit(moov: &Moov, trak: &Trak) -> Result<i64, String> {
    let Some(list) = trak.edts.as_ref().and_then(|edts| edts.elst.as_ref()) else { return Ok(0) };
    let (mut empty, mut media) = (0u64, None);
    for entry in &list.entries {
        match (entry.media_time, media) {
            (None, None) => empty = empty.saturating_add(entry.segment_duration),
            (Some(time), None) => media = Some(time),
            _ => return Err("its edit list cuts into the film".to_owned()),
        }
    }
    let film = i128::from(moov.mvhd.timescale.max(1));
    let ticks = (i128::from(empty) * i128::from(trak.mdia.mdhd.timescale) * 2 + film).div_euclid(2 * film);
    i64::try_from(ticks - i128::from(media.unwrap_or(0))).map_err(|error| error.to_string())
}
