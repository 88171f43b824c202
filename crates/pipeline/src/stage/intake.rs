//! What a job works on: the upload as it is, or a copy of it that was remuxed once. Every task gets its bytes here.

use std::path::{Path, PathBuf};

use super::{
    Context,
    attempt::Attempt,
    ebml,
    layout::{self, Shape, Walk},
    sound::{self, Claim},
    split,
};
use crate::{
    encoder::{Encoder, MAX_WHOLE, ProbeInput, Remux, Remuxed},
    event::EventKind,
    excerpt::Excerpt,
    fault::{Fault, Shortage},
    job::Job,
    key,
    plan::{ByteRange, Normalized, OnDamage, Plan},
    planner,
    ports::{Blobs, World},
    source::SourceReport,
};

/// What `split` plans on.
pub(super) struct Film {
    pub report: SourceReport,
    /// Bytes of the object that the report speaks of.
    pub bytes: u64,
    /// That object, if it is not the upload.
    pub normalized: Option<Normalized>,
    /// The upload ends before the film does: why that is known.
    pub cut_short: Option<String>,
}

/// How the index of a source is read.
enum Way {
    /// From its tables alone, which are in these ranges.
    Tables(Vec<ByteRange>),
    /// The whole of it goes through the probe once.
    Whole,
    /// So is sound alone, and it must be as long as it says.
    Sound(Option<Claim>),
    /// There is no index to plan on. `seek`: what there is of one is needed for the remux.
    Remux { seek: bool },
}

/// Reads as little of the source as its container allows; remuxes it where nothing can be planned on it as it is. An upload
/// that ends early is refused, or taken as far as it goes.
pub(super) async fn film<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>, damage: OnDamage) -> Result<Film, Fault> {
    let mut cut = CutShort { is_taken: damage == OnDamage::Partial, why: None };
    let way = way(cx, attempt, &mut cut).await?;
    let film = read(cx, attempt, way, &mut cut).await?;
    Ok(Film { cut_short: cut.why, ..film })
}

/// What is known of an end that was never uploaded.
struct CutShort {
    /// The profile takes a part for the whole.
    is_taken: bool,
    why: Option<String>,
}

impl CutShort {
    /// A refusal for the upload's end becomes knowledge of it, where a part is taken.
    fn forgive(&mut self, whole: Result<(), Fault>) -> Result<(), Fault> {
        match whole {
            Err(Fault::Reject(why)) if self.is_taken => {
                self.why = Some(why);
                Ok(())
            }
            whole => whole,
        }
    }
}

async fn read<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>, way: Way, cut: &mut CutShort) -> Result<Film, Fault> {
    let (source, blobs) = (&attempt.job.source, cx.world.blobs());
    let as_is = |report| Film { report, bytes: source.size, normalized: None, cut_short: None };
    match way {
        Way::Tables(ranges) => {
            let local = cx.scratch.join("source.bin");
            let read = blobs.fetch_source(source, &ranges, &local).await?;
            attempt.diary.note(cx.now(), EventKind::VideoFilePulled, format!("{read} of {} bytes for the index", source.size));
            let is_cut = cut.why.is_some();
            let input = if is_cut { ProbeInput::Cut(local.clone()) } else { ProbeInput::File(local.clone()) };
            let report = cx.world.encoder().probe(input, cx.scratch).await?;
            if is_cut || !planner::times_need_mending(&report) {
                return Ok(as_is(report));
            }
            fits_on_a_disk(source.size, BY_HAND)?;
            // The tables may stand behind what they speak of: ffmpeg must be able to go back and forth.
            blobs.fetch_source(source, &[ByteRange { start: 0, end: source.size }], &local).await?;
            remux(cx, attempt, ProbeInput::File(local), true).await
        }
        Way::Whole => {
            let stream = blobs.stream_source(source).await?;
            let report = cx.world.encoder().probe(ProbeInput::Stream(stream), cx.scratch).await?;
            if !planner::times_need_mending(&report) {
                return Ok(as_is(report));
            }
            remux(cx, attempt, ProbeInput::Stream(blobs.stream_source(source).await?), true).await
        }
        Way::Sound(claim) => {
            let stream = blobs.stream_source(source).await?;
            let report = cx.world.encoder().probe(ProbeInput::Stream(stream), cx.scratch).await?;
            if !planner::is_sound_alone(&report) && !report.video.is_empty() {
                return remux(cx, attempt, ProbeInput::Stream(blobs.stream_source(source).await?), false).await;
            }
            cut.forgive(sound::is_whole(claim, source.size, &report))?;
            sound::is_one_piece(&report)?;
            Ok(as_is(report))
        }
        Way::Remux { seek: false } => remux(cx, attempt, ProbeInput::Stream(blobs.stream_source(source).await?), false).await,
        Way::Remux { seek: true } => {
            fits_on_a_disk(source.size, BY_HAND)?;
            let local = cx.scratch.join("source.bin");
            blobs.fetch_source(source, &[ByteRange { start: 0, end: source.size }], &local).await?;
            remux(cx, attempt, ProbeInput::File(local), false).await
        }
    }
}

/// What a person does whose film must be remuxed and is too big for it here.
const BY_HAND: &str =
    "it must be remuxed before it can be cut: do that yourself (ffmpeg -fflags +genpts -i IN -c copy OUT.mkv) and upload that";

/// Refused at once: on no worker would the film have a place, however often it was tried.
pub(super) fn fits_on_a_disk(bytes: u64, why: &str) -> Result<(), Fault> {
    if bytes <= MAX_WHOLE {
        return Ok(());
    }
    let mib = |bytes: u64| bytes >> 20;
    Err(Fault::reject(format!("the file has {} MiB, a worker's disk takes {}, and {why}", mib(bytes), mib(MAX_WHOLE))))
}

async fn way<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>, cut: &mut CutShort) -> Result<Way, Fault> {
    let (source, blobs) = (&attempt.job.source, cx.world.blobs());
    let head = match source.size {
        0 => bytes::Bytes::new(),
        size => blobs.read_source(source, ByteRange { start: 0, end: layout::HEAD.min(size) }).await?,
    };
    let shape = layout::shape(&head)?;
    if matches!(shape, Shape::Ebml { .. }) {
        tracks_agree(cx, attempt, &head).await?;
        cut.forgive(ebml::whole(&head, source.size))?;
        if cut.why.is_some() {
            // Its index, if it ever had one, was at its end.
            return Ok(Way::Remux { seek: false });
        }
    }
    match shape {
        Shape::Ebml { indexed: true } => return Ok(Way::Whole),
        Shape::Ebml { indexed: false } | Shape::Stream => return Ok(Way::Remux { seek: false }),
        Shape::Sound => return Ok(Way::Sound(claim(cx, attempt, &head).await?)),
        Shape::Mxf => return Ok(Way::Remux { seek: true }),
        Shape::Boxes => {}
    }
    let mut walk = Walk::default();
    while let Some(at) = walk.next(source.size) {
        let from = usize::try_from(at).unwrap_or(usize::MAX);
        match head.get(from..from.saturating_add(16)) {
            Some(known) => walk.take(known, source.size)?,
            None => {
                walk.take(&blobs.read_source(source, ByteRange { start: at, end: source.size.min(at + 16) }).await?, source.size)?;
            }
        }
    }
    if walk.is_fragmented() {
        return Ok(Way::Remux { seek: false });
    }
    if walk.has_tables(source.size) {
        cut.forgive(walk.whole(source.size))?;
    } else {
        walk.whole(source.size)?;
    }
    Ok(Way::Tables(walk.ranges(source.size)))
}

/// Holds what a Matroska file says of its tracks against their codecs.
async fn tracks_agree<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>, head: &bytes::Bytes) -> Result<(), Fault> {
    let (source, index) = (&attempt.job.source, |at: u64| usize::try_from(at).unwrap_or(usize::MAX));
    let mut way = ebml::ToTracks::begin(head);
    while let Some(range) = way.next(source.size) {
        match head.get(index(range.start)..index(range.end)) {
            Some(known) => way.take(known)?,
            None => way.take(&cx.world.blobs().read_source(source, range).await?)?,
        }
    }
    Ok(())
}

/// What a file of sound says of its own length. `Reject`: its end says that it goes on.
async fn claim<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>, head: &bytes::Bytes) -> Result<Option<Claim>, Fault> {
    let (source, blobs) = (&attempt.job.source, cx.world.blobs());
    if head.starts_with(b"OggS") {
        let end = blobs.read_source(source, ByteRange { start: source.size.saturating_sub(sound::OGG_PAGE), end: source.size }).await?;
        return if sound::last_page_is_whole(&end) { Ok(None) } else { Err(sound::cut_off()) };
    }
    let start = sound::tag_bytes(head);
    if start == 0 || start >= source.size {
        return Ok(sound::claim(head, 0));
    }
    let behind = blobs.read_source(source, ByteRange { start, end: source.size.min(start + layout::HEAD) }).await?;
    Ok(sound::claim(&behind, start))
}

/// Remuxes the source into a seekable file, stores that, and reads its index. `mend`: its times are known to be bad.
async fn remux<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>, input: ProbeInput, mend: bool) -> Result<Film, Fault> {
    let (mut made, mut local) = pass(cx, attempt, input, mend, "normalized.mkv").await?;
    let mut report = cx.world.encoder().probe(ProbeInput::File(local.clone()), cx.scratch).await?;
    let mut left_out = made.left_out;
    if !mend && planner::times_need_mending(&report) {
        (made, local) = pass(cx, attempt, ProbeInput::File(local), true, "mended.mkv").await?;
        report = cx.world.encoder().probe(ProbeInput::File(local.clone()), cx.scratch).await?;
        left_out.append(&mut made.left_out);
    } else {
        made.left_out = Vec::new();
    }
    report.other.append(&mut left_out);
    let key = key::normalized(&attempt.job.id, &made.sha256);
    cx.world.blobs().store_file(&key, &local, "video/x-matroska").await?;
    let (bytes, sha256) = (made.bytes, made.sha256);
    Ok(Film { report, bytes, normalized: Some(Normalized { key, bytes, sha256 }), cut_short: None })
}

async fn pass<W: World>(
    cx: &Context<'_, W>,
    attempt: &Attempt<'_>,
    input: ProbeInput,
    mend: bool,
    name: &str,
) -> Result<(Remuxed, PathBuf), Fault> {
    let (source, out) = (&attempt.job.source, cx.scratch.join(name));
    let made = cx.world.encoder().remux(Remux { input, bytes: source.size, mend }, cx.scratch, &out).await?;
    let why = if mend { "for the times of its pictures" } else { "for an index" };
    attempt.diary.note(cx.now(), EventKind::VideoFilePulled, format!("{} bytes, remuxed {why}: {} bytes", source.size, made.bytes));
    Ok((made, out))
}

/// What a task reads first (`None`: the whole), and whether what cannot be made from that is tried once more with the whole:
/// not where that fits on no disk. After the tools broke down nothing but the whole is read, where it fits.
pub(super) fn ways(attempt: &Attempt<'_>, plan: &Plan, excerpt: Option<Excerpt>) -> (Option<Excerpt>, bool) {
    let fits = plan.source_bytes <= MAX_WHOLE;
    let first = excerpt.filter(|_| !(fits && attempt.task.needs_care()));
    (first, first.is_some() && fits)
}

/// A local file of the source's size, and what of it is there.
pub(super) struct Local {
    pub path: PathBuf,
    pub ranges: Vec<ByteRange>,
}

/// Fetches what the plan names as `excerpt`, or the whole, and adds to `read_bytes` what that took.
pub(super) async fn bring<W: World>(
    cx: &Context<'_, W>,
    attempt: &Attempt<'_>,
    plan: &Plan,
    excerpt: Option<Excerpt>,
    read_bytes: &mut u64,
) -> Result<Local, Fault> {
    let ranges = match excerpt {
        Some(excerpt) => split::extents(cx, &attempt.task.job, excerpt.number).await?.into_ranges(),
        None => vec![ByteRange { start: 0, end: plan.source_bytes }],
    };
    let path = cx.scratch.join("source.bin");
    let read = fetch(cx, &attempt.job, plan, &ranges, &path).await?;
    *read_bytes += read;
    attempt.diary.note(cx.now(), EventKind::VideoFilePulled, format!("{read} of {} bytes", plan.source_bytes));
    Ok(Local { path, ranges })
}

/// Writes `ranges` of what the plan speaks of into a sparse local file of its size. Answers the bytes read.
pub(super) async fn fetch<W: World>(cx: &Context<'_, W>, job: &Job, plan: &Plan, ranges: &[ByteRange], to: &Path) -> Result<u64, Fault> {
    let Some(copy) = &plan.normalized else { return cx.world.blobs().fetch_source(&job.source, ranges, to).await };
    cx.world.blobs().fetch_own(&copy.key, copy.bytes, ranges, to).await?.ok_or_else(|| {
        Fault::escalate(
            Shortage::Tool,
            format!(
                "the remuxed copy of the source ({}) is gone or is another: objects below work/ are kept for days only; \
                 submit the film again (fanreel submit --again)",
                copy.key
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_on_no_disk_is_refused_before_it_is_fetched() {
        assert_eq!(fits_on_a_disk(MAX_WHOLE, "so"), Ok(()));
        let refused = fits_on_a_disk(MAX_WHOLE + (1 << 20), "its sound is read from all of it");
        assert_eq!(refused, Err(Fault::reject("the file has 9501 MiB, a worker's disk takes 9500, and its sound is read from all of it")));
    }
}
