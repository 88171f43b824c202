//! One track of a film: everything but where its media lies.

use mp4_atom::{Atom, Codec, CttsEntry, Moov, SttsEntry, Trak};

use super::layout::COPIED_BYTES;
use crate::{
    plan::{AudioPlan, ByteRange, FrameTimes, Role, VideoPlan},
    result::SegmentRecord,
    samples::{Fragment, Samples},
    timebase::TimeBase,
};

/// A stored segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Microseconds from T0.
    pub begin_us: i64,
    pub key: String,
    /// Of the whole object.
    pub bytes: u64,
    pub sha256: String,
    pub fragments: Vec<Fragment>,
}

impl Stored {
    /// From its first byte of media to its last.
    pub fn span(&self) -> ByteRange {
        let start = self.fragments.first().map_or(0, |fragment| fragment.media.start);
        ByteRange { start, end: self.fragments.last().map_or(start, |fragment| fragment.media.end) }
    }
    pub fn is_copied(&self) -> bool {
        self.span().len() >= COPIED_BYTES
    }
    pub fn media_bytes(&self) -> u64 {
        self.fragments.iter().map(|fragment| fragment.media.len()).sum()
    }
}

/// The samples of a whole track, and how it is shown. Times in ticks of `scale`.
#[derive(Clone, Debug)]
pub struct Track {
    pub(super) is_video: bool,
    /// Its headers as the encoder wrote them.
    pub(super) trak: Trak,
    /// The sample descriptions (`stsd`), byte by byte as the encoder wrote them: codec, configuration, colours.
    pub(super) stsd: Vec<u8>,
    pub(super) is_avc: bool,
    pub(super) scale: u32,
    /// From T0 to the first sample shown.
    pub(super) late: u64,
    /// Where in the media showing begins.
    pub(super) from: u64,
    /// Length of the media.
    pub(super) length: u64,
    pub(super) durations: Vec<SttsEntry>,
    /// From decoding to showing, never below 0.
    pub(super) offsets: Vec<CttsEntry>,
    pub(super) sizes: Vec<u32>,
    /// Numbers from 1; `None`: all are.
    pub(super) sync: Option<Vec<u32>>,
    pub(super) segments: Vec<Stored>,
    pub(super) language: String,
    /// For people.
    pub(super) title: String,
    pub(super) role: Role,
    /// Chosen where a person chooses none.
    pub(super) default: bool,
}

impl Track {
    /// A rendition. `times`: of each segment's frames, from T0. A sample is decoded at the time of the frame that is
    /// shown in its turn, so that decoding times rise by themselves over joins, also at a variable frame rate.
    pub fn video(plan: &VideoPlan, init: &[u8], times: &[FrameTimes], segments: &[SegmentRecord]) -> Result<Self, String> {
        let mut track = Self::of(init, true)?;
        if track.scale != plan.time_base.den() {
            return Err(format!("the init segment counts {} ticks a second, the plan {}", track.scale, plan.time_base.den()));
        }
        if times.len() != segments.len() || times.first().is_none_or(|first| first.first() != plan.start) {
            return Err(format!("{} segments, {} are planned", segments.len(), times.len()));
        }
        let num = i64::from(plan.time_base.num());
        track.late = u64::try_from(plan.start.saturating_mul(num)).map_err(|_| "the picture begins before the film")?;
        for (number, (record, shown)) in segments.iter().zip(times).enumerate() {
            let samples = unpack(record)?;
            let next = times.get(number + 1).map_or(plan.end.max(shown.last().saturating_add(1)), FrameTimes::first);
            let shown: Vec<i64> = shown.iter().chain([next]).map(|ticks| ticks.saturating_mul(num)).collect();
            if shown.len() != samples.sizes.len() + 1 {
                return Err(format!("{} has {} samples, {} are planned", record.key, samples.sizes.len(), shown.len() - 1));
            }
            for ((decoded, place), pair) in shown.iter().zip(&samples.order).zip(shown.windows(2)) {
                let at = shown.get(*place as usize).ok_or_else(|| format!("{}: no frame {place}", record.key))?;
                track.push_offset(at - decoded);
                track.push_duration(u32::try_from(pair[1] - pair[0]).map_err(|_| format!("{}: a frame of that length", record.key))?);
            }
            track.push(record, samples, plan.time_base.rescale(record.start, TimeBase::MICROS));
        }
        track.shift();
        Ok(track)
    }

    /// A track of sound. The encoder's edit list says how many samples of priming nobody hears.
    pub fn audio(plan: &AudioPlan, is_default: bool, init: &[u8], segments: &[SegmentRecord]) -> Result<Self, String> {
        let mut track = Self::of(init, false)?;
        let base = TimeBase::new(1, track.scale).ok_or("the init segment has no time scale")?;
        for record in segments {
            let samples = unpack(record)?;
            if samples.durations.len() != samples.sizes.len() {
                return Err(format!("the table of {} has no durations", record.key));
            }
            samples.durations.iter().for_each(|duration| track.push_duration(*duration));
            track.push(record, samples, base.rescale(record.start, TimeBase::MICROS));
        }
        let heard = segments.last().map_or(0, |record| record.start.saturating_add(record.duration));
        if i64::try_from(track.shown()) != Ok(heard) {
            return Err(format!("the tables hold {} samples of sound, the segments end at {heard}", track.shown()));
        }
        (track.language, track.title, track.role) = (plan.language.clone(), plan.title.clone(), plan.role);
        track.default = is_default;
        Ok(track)
    }

    /// Takes the headers of an init segment.
    fn of(init: &[u8], is_video: bool) -> Result<Self, String> {
        let wrong = |what: &str| format!("an init segment {what}");
        let body = find(init, *b"moov").ok_or_else(|| wrong("has no moov box"))?;
        let moov = Moov::decode_body(&mut &*body).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
        let stsd = [*b"trak", *b"mdia", *b"minf", *b"stbl"].iter().try_fold(body, |inside, kind| find(inside, *kind));
        let stsd = stsd.and_then(|stbl| find_whole(stbl, *b"stsd")).ok_or_else(|| wrong("has no stsd box"))?.to_vec();
        let [trak] = moov.trak.as_slice() else { return Err(wrong(&format!("has {} tracks", moov.trak.len()))) };
        let scale = trak.mdia.mdhd.timescale;
        let edits = trak.edts.iter().filter_map(|edts| edts.elst.as_ref()).flat_map(|list| &list.entries);
        let (mut late, mut from) = (0u64, 0);
        for edit in edits {
            match edit.media_time {
                None => late = late.saturating_add(edit.segment_duration),
                Some(time) => from = time,
            }
        }
        let late = u128::from(late) * u128::from(scale) / u128::from(moov.mvhd.timescale.max(1));
        Ok(Self {
            is_video,
            trak: trak.clone(),
            stsd,
            is_avc: matches!(trak.mdia.minf.stbl.stsd.codecs.first(), Some(Codec::Avc1(_))),
            scale,
            late: u64::try_from(late).map_err(|error| error.to_string())?,
            from,
            length: 0,
            durations: Vec::new(),
            offsets: Vec::new(),
            sizes: Vec::new(),
            sync: None,
            segments: Vec::new(),
            language: String::new(),
            title: String::new(),
            role: Role::Main,
            default: true,
        })
    }

    fn push(&mut self, record: &SegmentRecord, samples: Samples, begin_us: i64) {
        let before = u32::try_from(self.sizes.len()).unwrap_or(u32::MAX);
        if !samples.sync.is_empty() {
            let numbers = samples.sync.iter().map(|index| before.saturating_add(index + 1));
            self.sync.get_or_insert_default().extend(numbers);
        }
        self.sizes.extend(samples.sizes);
        let (key, bytes, sha256) = (record.key.clone(), record.bytes, record.sha256.clone());
        self.segments.push(Stored { begin_us, key, bytes, sha256, fragments: samples.fragments });
    }

    fn push_duration(&mut self, duration: u32) {
        self.length = self.length.saturating_add(u64::from(duration));
        match self.durations.last_mut() {
            Some(last) if last.sample_delta == duration => last.sample_count += 1,
            _ => self.durations.push(SttsEntry { sample_count: 1, sample_delta: duration }),
        }
    }

    fn push_offset(&mut self, offset: i64) {
        match self.offsets.last_mut() {
            Some(last) if last.sample_offset == offset => last.sample_count += 1,
            _ => self.offsets.push(CttsEntry { sample_count: 1, sample_offset: offset }),
        }
    }

    /// Frames that are shown before their turn in decoding would have offsets below 0, which old players cannot read: all
    /// are raised, and the edit list takes it back.
    fn shift(&mut self) {
        let least = self.offsets.iter().map(|entry| entry.sample_offset).min().unwrap_or(0).min(0);
        self.offsets.iter_mut().for_each(|entry| entry.sample_offset -= least);
        self.from = least.unsigned_abs();
        if self.offsets.iter().all(|entry| entry.sample_offset == 0) {
            self.offsets.clear();
        }
    }

    /// Ticks of the media that are shown.
    pub(super) fn shown(&self) -> u64 {
        // Of a picture all: what the list skips are ticks that no frame has.
        if self.is_video { self.length } else { self.length.saturating_sub(self.from) }
    }
}

fn unpack(record: &SegmentRecord) -> Result<Samples, String> {
    let samples = record.samples.unpack().map_err(|text| format!("{}: {text}", record.key))?;
    let end = samples.fragments.last().map_or(0, |fragment| fragment.media.end);
    if end > record.bytes || samples.sizes.len() != record.frames as usize {
        return Err(format!("the table of {} is not of this segment", record.key));
    }
    Ok(samples)
}

/// The content of the first box of a kind.
fn find(bytes: &[u8], kind: [u8; 4]) -> Option<&[u8]> {
    find_whole(bytes, kind)?.get(8..)
}

/// The first box of a kind (ISO/IEC 14496-12, 4.2; those of init segments are short).
fn find_whole(mut bytes: &[u8], kind: [u8; 4]) -> Option<&[u8]> {
    loop {
        let size = usize::try_from(u32::from_be_bytes(*bytes.first_chunk::<4>()?)).ok().filter(|size| *size >= 8)?;
        let (found, rest) = bytes.split_at_checked(size)?;
        if found.get(4..8) == Some(&kind[..]) {
            return Some(found);
        }
        bytes = rest;
    }
}
