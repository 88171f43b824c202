//! A local file, looked at as `split` looks at an object.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use media::FfmpegEncoder;
use pipeline::{
    Fault,
    encoder::{Encoder, ProbeInput},
    source::SourceReport,
    stage::layout::{self, Shape, Walk},
};

/// What the probe says of it. `Reject`: a job would be refused for the same reason.
pub async fn look(encoder: &FfmpegEncoder, path: &Path, bytes: u64, scratch: &Path) -> Result<SourceReport, Fault> {
    shape(path, bytes)?;
    encoder.probe(ProbeInput::File(path.to_owned()), scratch).await
}

/// Refuses what is no film by its first bytes, and an MP4 whose parts do not add up.
fn shape(path: &Path, bytes: u64) -> Result<(), Fault> {
    let unread = |error: io::Error| Fault::retry(format!("{} cannot be read: {error}", path.display()));
    let file = File::open(path).map_err(unread)?;
    let head = read(&file, 0, layout::HEAD.min(bytes)).map_err(unread)?;
    if layout::shape(&head)? == Shape::Boxes {
        let mut walk = Walk::default();
        while let Some(at) = walk.next(bytes) {
            walk.take(&read(&file, at, 16.min(bytes - at)).map_err(unread)?, bytes)?;
        }
        walk.ranges(bytes)?;
    }
    Ok(())
}

fn read(file: &File, at: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut block = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut block, at)?;
    Ok(block)
}
