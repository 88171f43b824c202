//! What a job works on: the upload as it is, or a copy of it that was remuxed once. Every task gets its bytes here.

use std::{
    path::{Path, PathBuf},
    sync::PoisonError,
};

use futures::channel::mpsc;

use super::{
    Context,
    attempt::Attempt,
    crash, ebml,
    ends::{self, Ends},
    layout::{self, Shape, Walk},
    sound::{self, Claim},
    split,
    watch::{Seen, watched},
};
use crate::{
    encoder::{Encoder, MAX_WHOLE, ProbeInput, Remux},
    event::EventKind,
    excerpt::Excerpt,
    fault::{Fault, Shortage},
    headway::Copied,
    id::SourceRef,
    key,
    plan::{ByteRange, Normalized, OnDamage, Plan},
    planner,
    ports::{Blobs, Look, World},
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
    /// Likewise, and whether it is whole is seen on the way.
    Fragments,
}

/// Reads as little of the source as its container allows; remuxes it where nothing can be planned on it as it is. An upload
/// that ends early is refused, or taken as far as it goes.
pub(super) async fn film<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>, damage: OnDamage) -> Result<Film, Fault> {
    let mut cut = CutShort { is_taken: damage == OnDamage::Partial, why: None };
    let way = way(cx, attempt, &mut cut).await?;
    let film = read(cx, attempt, way, &mut cut).await?;
    Ok(Film { cut_short: cut.why.or(film.cut_short), ..film })
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
    if let Some(made) = stored(cx, attempt).await? {
        return on_copy(cx, attempt, made).await;
    }
    let (source, blobs) = (&attempt.job.source, cx.world.blobs());
    let as_is = |report| Film { report, bytes: source.size, normalized: None, cut_short: None };
    match way {
        Way::Tables(ranges) => {
            let local = cx.scratch.join("source.bin");
            let read = blobs.fetch_source(source, &ranges, &local).await?;
            attempt.diary.note(cx.now(), EventKind::VideoFilePulled, format!("{read} of {} bytes for the index", source.size));
            let is_cut = cut.why.is_some();
            let input = if is_cut { ProbeInput::Cut(local.clone()) } else { ProbeInput::File(local.clone()) };
            let report = probed(cx, attempt, input).await?;
            let apart = planner::fields_are_apart(&report);
            if is_cut || !apart && !planner::times_need_mending(&report) {
                return Ok(as_is(report));
            }
            fits_on_a_disk(source.size, BY_HAND)?;
            // The tables may stand behind what they speak of: ffmpeg must be able to go back and forth.
            blobs.fetch_source(source, &[ByteRange { start: 0, end: source.size }], &local).await?;
            remux(cx, attempt, ProbeInput::File(local), !apart).await
        }
        Way::Whole => {
            let stream = blobs.stream_source(source).await?;
            let report = probed(cx, attempt, ProbeInput::Stream(stream)).await?;
            if !planner::times_need_mending(&report) {
                return Ok(as_is(report));
            }
            remux(cx, attempt, ProbeInput::Stream(blobs.stream_source(source).await?), true).await
        }
        Way::Sound(claim) => {
            let stream = blobs.stream_source(source).await?;
            let report = probed(cx, attempt, ProbeInput::Stream(stream)).await?;
            if !planner::is_sound_alone(&report) && !report.video.is_empty() {
                return remux(cx, attempt, ProbeInput::Stream(blobs.stream_source(source).await?), false).await;
            }
            cut.forgive(sound::is_whole(claim, source.size, &report))?;
            sound::is_one_piece(&report)?;
            Ok(as_is(report))
        }
        Way::Fragments => {
            let stream = blobs.stream_source(source).await?;
            let (stream, seen) = watched(stream, Ends::of_fragments(), source.size, cut.is_taken);
            let made = pass(cx, attempt, ProbeInput::Stream(stream), false, &seen).await?;
            on_copy(cx, attempt, made).await
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

async fn probed<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>, input: ProbeInput) -> Result<SourceReport, Fault> {
    crash::told(cx, attempt, cx.world.encoder().probe(input, cx.scratch).await).await
}

/// What a person does whose film must be remuxed and is too big for it here.
pub const BY_HAND: &str =
    "it must be remuxed before it can be cut: do that yourself (ffmpeg -fflags +genpts -i IN -c copy OUT.mkv) and upload that";

/// Refused at once: on no worker would the film have a place, however often it was tried.
pub fn fits_on_a_disk(bytes: u64, why: &str) -> Result<(), Fault> {
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
        Shape::Ebml { indexed: false } => return Ok(Way::Remux { seek: false }),
        Shape::Stream => {
            cut.forgive(ends(cx, attempt, &head).await?)?;
            return Ok(Way::Remux { seek: false });
        }
        Shape::Sound => return Ok(Way::Sound(claim(cx, attempt, &head).await?)),
        Shape::Mxf => {
            cut.forgive(ends::mxf(&head, source.size))?;
            return Ok(Way::Remux { seek: true });
        }
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
        return Ok(Way::Fragments);
    }
    if walk.has_tables(source.size) {
        cut.forgive(walk.whole(source.size))?;
    } else {
        walk.whole(source.size)?;
    }
    Ok(Way::Tables(walk.ranges(source.size)))
}

/// Whether a source without an index ends where it says, if it says. The inner `Reject`: it ends before.
async fn ends<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>, head: &bytes::Bytes) -> Result<Result<(), Fault>, Fault> {
    let (source, blobs) = (&attempt.job.source, cx.world.blobs());
    if head.starts_with(b"OggS") {
        return last_page(cx, attempt).await;
    }
    let Some(mut ends) = Ends::of(head) else { return Ok(Ok(())) };
    let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    while let Some(range) = ends.next(source.size) {
        let taken = match head.get(index(range.start)..index(range.end)) {
            Some(known) => ends.take(known, source.size),
            None => ends.take(&blobs.read_source(source, range).await?, source.size),
        };
        if taken.is_err() {
            return Ok(taken);
        }
    }
    Ok(Ok(()))
}

/// The same of an Ogg file.
async fn last_page<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>) -> Result<Result<(), Fault>, Fault> {
    let source = &attempt.job.source;
    let end = ByteRange { start: source.size.saturating_sub(sound::OGG_PAGE), end: source.size };
    let end = cx.world.blobs().read_source(source, end).await?;
    Ok(if sound::last_page_is_whole(&end) { Ok(()) } else { Err(sound::cut_off()) })
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
        return last_page(cx, attempt).await?.map(|()| None);
    }
    let Some(range) = sound::behind_tag(head, source.size) else { return Ok(sound::claim(head, 0)) };
    Ok(sound::claim(&blobs.read_source(source, range).await?, range.start))
}

/// Remuxes the source into a seekable copy, which is stored while it is made, and reads its index. `mend`: its times are known
/// to be bad.
async fn remux<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>, input: ProbeInput, mend: bool) -> Result<Film, Fault> {
    let made = pass(cx, attempt, input, mend, &Seen::default()).await?;
    on_copy(cx, attempt, made).await
}

/// A copy, and where all of it lies on this disk, if it does.
type Made = (Copied, Option<PathBuf>);

/// The copy that an earlier attempt stored, if it is still there.
async fn stored<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>) -> Result<Option<Made>, Fault> {
    let Some(copied) = attempt.headway().copy else { return Ok(None) };
    Ok(object(cx, &copied.copy).await?.map(|_| (copied, None)))
}

/// What a copy is read by.
async fn object<W: World>(cx: &Context<'_, W>, copy: &Normalized) -> Result<Option<SourceRef>, Fault> {
    let look = Look { bucket: None, prefix: &copy.key, after: None, limit: 1 };
    let found = cx.world.blobs().stored(look).await?.objects.into_iter().map(|stored| stored.source);
    Ok(found.into_iter().find(|source| source.key.as_str() == copy.key && source.size == copy.bytes))
}

/// The whole of a copy.
async fn all_of<W: World>(cx: &Context<'_, W>, (copied, local): &Made) -> Result<ProbeInput, Fault> {
    if let Some(path) = local {
        return Ok(ProbeInput::File(path.clone()));
    }
    let gone = || Fault::retry(format!("{} was stored a moment ago and is gone", copied.copy.key));
    let source = object(cx, &copied.copy).await?.ok_or_else(gone)?;
    Ok(ProbeInput::Stream(cx.world.blobs().stream_source(&source).await?))
}

/// What is planned on a copy. One with bad times is copied once more.
async fn on_copy<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>, mut made: Made) -> Result<Film, Fault> {
    let mut report = probed(cx, attempt, all_of(cx, &made).await?).await?;
    if !made.0.mended && planner::copy_needs_mending(&report, made.0.lent)? {
        let before = made.0.clone();
        made = pass(cx, attempt, all_of(cx, &made).await?, true, &Seen::default()).await?;
        let left_out = before.left_out.into_iter().chain(made.0.left_out);
        made.0.left_out = left_out.collect();
        made.0.cut_short = before.cut_short;
        let now = made.0.clone();
        attempt.finished(|headway| headway.copy = Some(now));
        // It is as large as the film, and nobody reads it any more.
        cx.world.blobs().delete(&[before.copy.key]).await?;
        report = probed(cx, attempt, all_of(cx, &made).await?).await?;
    }
    let Copied { copy, mut left_out, cut_short, .. } = made.0;
    report.other.append(&mut left_out);
    Ok(Film { report, bytes: copy.bytes, normalized: Some(copy), cut_short })
}

/// Blocks between the remux and the store.
const BLOCKS: usize = 2;
/// Of a worker's disk, what is not for a copy that is kept there.
const BESIDE: u64 = 740 << 20;

/// Makes a copy and stores it. `seen`: what is known of the input's end when it has gone by.
async fn pass<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>, input: ProbeInput, mend: bool, seen: &Seen) -> Result<Made, Fault> {
    let (job, blobs, bytes) = (&attempt.job, cx.world.blobs(), attempt.job.source.size);
    let out = cx.scratch.join(if mend { "mended.mkv" } else { "normalized.mkv" });
    let key = key::normalized(&job.id, attempt.fence, mend);
    // Of workers that died over it.
    blobs.end_uploads(&key::work(&job.id)).await?;
    let hold = (u64::from(cx.policy.scratch_mb) << 20).saturating_sub(BESIDE).min(MAX_WHOLE);
    let (sender, blocks) = mpsc::channel(BLOCKS);
    let work = Remux { input, bytes, mend, hold };
    let remuxed = cx.world.encoder().remux(work, cx.scratch, &out, sender);
    // Whichever fails, the other ends for it: the store by its own, so that no part of it is left.
    let (made, stored) = futures::join!(remuxed, blobs.store_stream(&key, blocks, bytes, "video/x-matroska"));
    let made = crash::told(cx, attempt, made).await;
    let (stored, made) = (stored?, made?);
    if stored != Some(made.bytes) {
        return Err(Fault::retry(format!("{} bytes were remuxed, and {stored:?} stored", made.bytes)));
    }
    let copied = Copied {
        copy: Normalized { key, bytes: made.bytes },
        mended: mend,
        lent: made.lent,
        left_out: made.left_out,
        cut_short: seen.why(),
    };
    let noted = copied.clone();
    attempt.finished(|headway| headway.copy = Some(noted));
    let why = if mend { "for the times of its pictures" } else { "for an index" };
    attempt.diary.note(cx.now(), EventKind::VideoFilePulled, format!("{bytes} bytes, remuxed {why}: {} bytes", made.bytes));
    Ok((copied, made.is_here.then_some(out)))
}

/// What a task reads first (`None`: the whole), and whether what cannot be made from that is tried once more with the whole:
/// not where that fits on no disk. After the tools broke down nothing but the whole is read, where it fits.
pub(super) fn ways(attempt: &Attempt<'_>, plan: &Plan, excerpt: Option<Excerpt>) -> (Option<Excerpt>, bool) {
    let fits = plan.source_bytes <= MAX_WHOLE;
    let first = excerpt.filter(|_| !(fits && attempt.task.needs_care()));
    (first, first.is_some() && fits)
}

/// A local file of the source's size, and what of it is there.
#[derive(Clone)]
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
    let read = fetch(cx, attempt, plan, &ranges, &path).await?;
    *read_bytes += read;
    attempt.diary.note(cx.now(), EventKind::VideoFilePulled, format!("{read} of {} bytes", plan.source_bytes));
    Ok(Local { path, ranges })
}

/// Writes `ranges` of what the plan speaks of into a sparse local file of its size. Answers the bytes read.
pub(super) async fn fetch<W: World>(
    cx: &Context<'_, W>,
    attempt: &Attempt<'_>,
    plan: &Plan,
    ranges: &[ByteRange],
    to: &Path,
) -> Result<u64, Fault> {
    let read = match &plan.normalized {
        None => cx.world.blobs().fetch_source(&attempt.job.source, ranges, to).await,
        Some(copy) => fetch_copy(cx, copy, ranges, to).await,
    };
    let local = Local { path: to.to_owned(), ranges: ranges.to_vec() };
    *attempt.local.lock().unwrap_or_else(PoisonError::into_inner) = read.is_ok().then_some(local);
    read
}

async fn fetch_copy<W: World>(cx: &Context<'_, W>, copy: &Normalized, ranges: &[ByteRange], to: &Path) -> Result<u64, Fault> {
    cx.world.blobs().fetch_own(&copy.key, copy.bytes, ranges, to).await?.ok_or_else(|| {
        Fault::escalate(
            Shortage::Tool,
            format!(
                "the remuxed copy of the source ({}) is gone or is another: objects below work/ are kept for 30 days; \
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
