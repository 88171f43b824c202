//! A chunk GOP by GOP: one process and one decode for each, and their fragments put together again.

use std::{
    fs::File,
    io::{Seek, SeekFrom},
    path::{Path, PathBuf},
};

use pipeline::{
    Fault, Shortage,
    encoder::{ChunkWork, EncodeError, MadeGop, MadeRendition},
    plan::{Chunk, Rendition, VideoPlan},
};

use crate::{
    FfmpegEncoder, args, boxes,
    chunk::{self, blocking, run},
    dir::{CellDir, io_fault},
};

/// Encodes the GOP with this number, and holds every rendition of it against the plan.
pub async fn encode(encoder: &FfmpegEncoder, work: &ChunkWork<'_>, number: u32) -> Result<Vec<MadeGop>, EncodeError> {
    let video = video_of(work)?;
    let gops = work.chunk.gops(video.origin, video.time_base);
    let none = || Fault::escalate(Shortage::Tool, format!("chunk {} has no GOP {number}", work.chunk.number));
    let (before, gop) = usize::try_from(number).ok().and_then(|at| Some((gops.get(..at)?, gops.get(at)?.clone()))).ok_or_else(none)?;
    let first_fragment = before.iter().map(|gop| gop.keyframes.len()).sum();
    let dir = CellDir::new(work.out)?;
    dir.link(work.source, args::INPUT)?;
    let command = args::gop(&encoder.tools().ffmpeg, work.plan, video, &gop, first_fragment).with_care(work.careful);
    run(encoder, command, &dir, work.progress, "frame=").await?;
    let (renditions, out, scale) = (video.renditions.clone(), work.out.to_owned(), i64::from(video.time_base.num()));
    blocking(move || keep(&dir, &out, &renditions, &gop, number, scale)).await
}

fn video_of<'a>(work: &ChunkWork<'a>) -> Result<&'a VideoPlan, Fault> {
    work.plan.video.as_ref().ok_or_else(|| Fault::escalate(Shortage::Tool, "a chunk of a plan without video"))
}

/// Moves what holds the GOP's frames out of the process's directory.
fn keep(dir: &CellDir, out: &Path, renditions: &[Rendition], gop: &Chunk, number: u32, scale: i64) -> Result<Vec<MadeGop>, EncodeError> {
    let keep = |(position, rendition): (usize, &Rendition)| {
        let file = dir.join(&args::chunk_output(position));
        chunk::read(&file, rendition, gop, scale)?;
        let path = out.join(format!("gop{number:04}_{position}.mp4"));
        std::fs::rename(&file, &path).map_err(|error| io_fault("keep", &path, &error))?;
        let bytes = std::fs::metadata(&path).map_err(|error| io_fault("read", &path, &error))?.len();
        Ok(MadeGop { rendition: rendition.name.clone(), path, bytes })
    };
    renditions.iter().enumerate().map(keep).collect()
}

/// Puts the GOPs of every rendition behind each other, and holds the whole against the plan.
pub async fn join(_: &FfmpegEncoder, work: &ChunkWork<'_>, gops: &[Vec<PathBuf>]) -> Result<Vec<MadeRendition>, EncodeError> {
    let video = video_of(work)?;
    let dir = CellDir::new(work.out)?;
    for position in 0..video.renditions.len() {
        let files: Vec<PathBuf> = gops.iter().filter_map(|files| files.get(position).cloned()).collect();
        let whole = dir.join(&args::chunk_output(position));
        blocking(move || append(&files, &whole).map_err(EncodeError::from)).await?;
    }
    chunk::held(dir, work, video).await
}

/// The first file, and of the others what lies behind the same header. They are gone then: the disk need not hold both.
fn append(files: &[PathBuf], whole: &Path) -> Result<(), Fault> {
    let mut target = File::create(whole).map_err(|error| io_fault("write", whole, &error))?;
    let mut head = None;
    for path in files {
        let broken = |text: String| Fault::retry(format!("a GOP is not what was stored ({}): {text}", path.display()));
        let init = boxes::fragmented(path).map_err(broken)?.init;
        let mut file = File::open(path).map_err(|error| io_fault("open", path, &error))?;
        match &head {
            None => head = Some(init),
            Some(head) if *head == init => {
                file.seek(SeekFrom::Start(init.len() as u64)).map_err(|error| io_fault("read", path, &error))?;
            }
            Some(_) => return Err(Fault::escalate(Shortage::Tool, "the GOPs of a chunk have other headers than its first")),
        }
        std::io::copy(&mut file, &mut target).map_err(|error| io_fault("write", whole, &error))?;
        std::fs::remove_file(path).map_err(|error| io_fault("delete", path, &error))?;
    }
    Ok(())
}
