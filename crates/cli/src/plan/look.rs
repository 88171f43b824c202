//! A local file, looked at as `split` looks at an object.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use futures::{StreamExt, channel::mpsc};
use media::FfmpegEncoder;
use pipeline::{
    Fault, Shortage,
    encoder::{EncodeError, Encoder, ProbeInput, Remux},
    planner,
    source::SourceReport,
    stage::{
        self,
        ebml::{self, ToTracks},
        ends::{self, Ends},
        layout::{self, Shape, Walk},
        sound::{self, Claim},
    },
};

/// What the probe says of the file that a job would plan on, and that file's bytes: of a copy where a job would remux the
/// source. `Reject`: a job would be refused for the same reason.
pub async fn look(encoder: &FfmpegEncoder, path: &Path, bytes: u64, scratch: &Path) -> Result<(SourceReport, u64), Fault> {
    let probed = async || encoder.probe(ProbeInput::File(path.to_owned()), scratch).await.map_err(EncodeError::into_fault);
    match way(path, bytes)? {
        Way::Index => {
            let report = probed().await?;
            let apart = planner::fields_are_apart(&report);
            if !apart && !planner::times_need_mending(&report) {
                return Ok((report, bytes));
            }
            if report.container.split(',').any(|name| name == "mov") {
                stage::fits_on_a_disk(bytes, stage::BY_HAND)?;
            }
            if !apart {
                return remux(encoder, path, (bytes, true), scratch, "mended.mkv").await.map(Copied::planned_on);
            }
        }
        Way::Sound(claim) => {
            let report = probed().await?;
            if planner::is_sound_alone(&report) || report.video.is_empty() {
                sound::is_whole(claim, bytes, &report)?;
                sound::is_one_piece(&report)?;
                return Ok((report, bytes));
            }
        }
        Way::Remux => {}
    }
    let first = remux(encoder, path, (bytes, false), scratch, "normalized.mkv").await?;
    if !planner::copy_needs_mending(&first.report, first.lent)? {
        return Ok(first.planned_on());
    }
    let mut mended = remux(encoder, &scratch.join("normalized.mkv"), (bytes, true), scratch, "mended.mkv").await?;
    mended.left_out.splice(0..0, first.left_out);
    Ok(mended.planned_on())
}

/// A remuxed copy.
struct Copied {
    report: SourceReport,
    bytes: u64,
    lent: bool,
    /// Tracks that it lacks.
    left_out: Vec<String>,
}

impl Copied {
    fn planned_on(mut self) -> (SourceReport, u64) {
        self.report.other.append(&mut self.left_out);
        (self.report, self.bytes)
    }
}

async fn remux(encoder: &FfmpegEncoder, path: &Path, (bytes, mend): (u64, bool), scratch: &Path, name: &str) -> Result<Copied, Fault> {
    let out = scratch.join(name);
    let (sender, blocks) = mpsc::channel(0);
    let work = Remux { input: ProbeInput::File(path.to_owned()), bytes, mend, hold: u64::MAX };
    let stored_nowhere = blocks.for_each(|_| async {});
    let (made, ()) = futures::join!(encoder.remux(work, scratch, &out, sender), stored_nowhere);
    let made = made.map_err(EncodeError::into_fault)?;
    if !made.is_here {
        let text = format!(
            "a job would remux the file, and a copy of {} MiB has no room below {}: free some, or set TMPDIR to another disk",
            made.bytes >> 20,
            scratch.display()
        );
        return Err(Fault::escalate(Shortage::Disk, text));
    }
    let report = encoder.probe(ProbeInput::File(out), scratch).await.map_err(EncodeError::into_fault)?;
    Ok(Copied { report, bytes: made.bytes, lent: made.lent, left_out: made.left_out })
}

/// How a job would read the file.
enum Way {
    /// It plans on the file itself.
    Index,
    /// So it does of sound alone, which must be as long as it says.
    Sound(Option<Claim>),
    /// It plans on a copy.
    Remux,
}

/// Refuses what is no film by its first bytes, and what ends before it says so.
fn way(path: &Path, bytes: u64) -> Result<Way, Fault> {
    let unread = |error: io::Error| Fault::retry(format!("{} cannot be read: {error}", path.display()));
    let file = File::open(path).map_err(unread)?;
    let head = read(&file, 0, layout::HEAD.min(bytes)).map_err(unread)?;
    let last_page = || {
        let end = read(&file, bytes.saturating_sub(sound::OGG_PAGE), bytes.min(sound::OGG_PAGE)).map_err(unread)?;
        if sound::last_page_is_whole(&end) { Ok(()) } else { Err(sound::cut_off()) }
    };
    let is_ogg = head.starts_with(b"OggS");
    match layout::shape(&head)? {
        Shape::Ebml { indexed } => {
            let mut way = ToTracks::begin(&head);
            while let Some(range) = way.next(bytes) {
                way.take(&read(&file, range.start, range.len()).map_err(unread)?)?;
            }
            ebml::whole(&head, bytes)?;
            return Ok(if indexed { Way::Index } else { Way::Remux });
        }
        Shape::Stream if is_ogg => return last_page().map(|()| Way::Remux),
        Shape::Stream => return is_whole(&file, Ends::of(&head), bytes).map_err(unread)?.map(|()| Way::Remux),
        Shape::Mxf => {
            ends::mxf(&head, bytes)?;
            return stage::fits_on_a_disk(bytes, stage::BY_HAND).map(|()| Way::Remux);
        }
        Shape::Sound if is_ogg => return last_page().map(|()| Way::Sound(None)),
        Shape::Sound => {
            let Some(range) = sound::behind_tag(&head, bytes) else { return Ok(Way::Sound(sound::claim(&head, 0))) };
            let behind = read(&file, range.start, range.len()).map_err(unread)?;
            return Ok(Way::Sound(sound::claim(&behind, range.start)));
        }
        Shape::Boxes => {}
    }
    let mut walk = Walk::default();
    while let Some(at) = walk.next(bytes) {
        walk.take(&read(&file, at, 16.min(bytes - at)).map_err(unread)?, bytes)?;
    }
    if walk.is_fragmented() {
        return is_whole(&file, Some(Ends::of_fragments()), bytes).map_err(unread)?.map(|()| Way::Remux);
    }
    walk.whole(bytes)?;
    Ok(Way::Index)
}

/// The inner fault: the file ends before its parts do.
fn is_whole(file: &File, ends: Option<Ends>, bytes: u64) -> io::Result<Result<(), Fault>> {
    let Some(mut ends) = ends else { return Ok(Ok(())) };
    while let Some(range) = ends.next(bytes) {
        let taken = ends.take(&read(file, range.start, range.len())?, bytes);
        if taken.is_err() {
            return Ok(taken);
        }
    }
    Ok(Ok(()))
}

fn read(file: &File, at: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut block = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut block, at)?;
    Ok(block)
}
