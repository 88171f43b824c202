//! What a file of ours truly holds, read from its boxes (ISO/IEC 14496-12).

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    ops::Range,
    path::Path,
};

use bytes::Bytes;
use mp4_atom::{Atom, Decode, Moof, Moov, Traf};

/// Top-level boxes of one file.
const MAX_BOXES: usize = 1_000_000;
/// Bytes of a box that is read whole: a 12-hour film's `moov` is 40 MB.
const MAX_TABLE: u64 = 256 << 20;
/// `sample_is_non_sync_sample` of the sample flags (ISO/IEC 14496-12, 8.8.3.1).
const NON_SYNC: u32 = 0x0001_0000;

/// One frame or audio packet. Times in ticks of the track's time scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub dts: i64,
    pub pts: i64,
    pub duration: u32,
    /// Bytes.
    pub size: u32,
    /// Decoding can begin here.
    pub sync: bool,
}

/// A `moof` with its `mdat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Bytes in the file.
    pub range: Range<u64>,
    /// Of these the media: its samples one after another.
    pub media: Range<u64>,
    /// In decoding order, at least one.
    pub samples: Vec<Sample>,
}

/// A fragmented file with one track.
#[derive(Clone, Debug)]
pub struct Fragmented {
    /// ftyp + moov.
    pub init: Bytes,
    pub moov: Moov,
    pub fragments: Vec<Fragment>,
}

/// A box at the top of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Top {
    kind: [u8; 4],
    start: u64,
    end: u64,
}

/// Reads a fragmented file whole, but for its media. The error says what is wrong with it.
pub fn fragmented(path: &Path) -> Result<Fragmented, String> {
    let (mut file, tops) = open(path)?;
    let moov_top = find(&tops, *b"moov")?;
    let moov: Moov = decode(&mut file, moov_top)?;
    let init = Bytes::from(read(&mut file, 0..moov_top.end)?);
    let mut fragments = Vec::new();
    let media = tops.iter().filter(|top| top.start >= moov_top.end);
    let mut head: Option<(Top, u64, Vec<Sample>)> = None;
    for top in media {
        match &top.kind {
            b"moof" => {
                let begun: Moof = decode(&mut file, *top)?;
                head = Some((*top, first_byte(&begun, *top)?, samples(&begun, &moov)?));
            }
            b"mdat" => {
                let (begin, first, samples) = head.take().ok_or("an mdat without its moof")?;
                let bytes: u64 = samples.iter().map(|sample| u64::from(sample.size)).sum();
                if first < top.start + 8 || first.checked_add(bytes) != Some(top.end) {
                    return Err(format!("the samples of the moof at byte {} are not the content of its mdat", begin.start));
                }
                fragments.push(Fragment { range: begin.start..top.end, media: first..top.end, samples });
            }
            kind => return Err(format!("an unexpected {} box", String::from_utf8_lossy(kind))),
        }
    }
    if head.is_some() {
        return Err("the last moof has no mdat".to_owned());
    }
    Ok(Fragmented { init, moov, fragments })
}

/// Where the samples of one fragment begin in the file; each run of them must follow the one before.
fn first_byte(fragment: &Moof, top: Top) -> Result<u64, String> {
    let runs = fragment.traf.iter().flat_map(|traf| &traf.trun);
    let mut offsets = runs.map(|run| run.data_offset);
    let first = offsets.next().flatten().and_then(|offset| u64::try_from(offset).ok());
    match first {
        Some(offset) if offsets.all(|offset| offset.is_none()) => Ok(top.start.saturating_add(offset)),
        _ => Err(format!("the moof at byte {} does not say where its samples are, or has them in several places", top.start)),
    }
}

/// The samples of one fragment.
fn samples(fragment: &Moof, moov: &Moov) -> Result<Vec<Sample>, String> {
    let [traf] = fragment.traf.as_slice() else { return Err(format!("a moof of {} tracks", fragment.traf.len())) };
    let trex = moov.mvex.as_ref().and_then(|mvex| mvex.trex.iter().find(|trex| trex.track_id == traf.tfhd.track_id));
    let base = traf.tfdt.as_ref().ok_or("a moof without tfdt")?.base_media_decode_time;
    let mut dts = i64::try_from(base).map_err(|_| format!("a tfdt of {base}"))?;
    let default = |own: Option<u32>, track: Option<u32>| own.or(track).unwrap_or(0);
    let duration = default(traf.tfhd.default_sample_duration, trex.map(|trex| trex.default_sample_duration));
    let size = default(traf.tfhd.default_sample_size, trex.map(|trex| trex.default_sample_size));
    let flags = default(traf.tfhd.default_sample_flags, trex.map(|trex| trex.default_sample_flags));
    let mut samples = Vec::with_capacity(count(traf));
    for entry in traf.trun.iter().flat_map(|trun| trun.samples.iter()) {
        let duration = entry.duration.unwrap_or(duration);
        samples.push(Sample {
            dts,
            pts: dts.saturating_add(entry.cts.unwrap_or(0)),
            duration,
            size: entry.size.unwrap_or(size),
            sync: entry.flags.unwrap_or(flags) & NON_SYNC == 0,
        });
        dts = dts.saturating_add(i64::from(duration));
        if samples.len() > MAX_BOXES {
            return Err(format!("a moof of more than {MAX_BOXES} samples"));
        }
    }
    if samples.is_empty() { Err("a moof without samples".to_owned()) } else { Ok(samples) }
}

fn count(traf: &Traf) -> usize {
    traf.trun.iter().map(|trun| trun.samples.len()).sum::<usize>().min(MAX_BOXES)
}

fn open(path: &Path) -> Result<(File, Vec<Top>), String> {
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    let tops = top_level(&mut file)?;
    Ok((file, tops))
}

/// Walks over the boxes at the top of a file. A box that reaches past the end is an error.
fn top_level(file: &mut File) -> Result<Vec<Top>, String> {
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let mut tops = Vec::new();
    let mut start = 0u64;
    while start < length {
        let head = read(file, start..length.min(start + 16))?;
        let short = head.first_chunk::<8>().ok_or_else(|| format!("half a box at byte {start}"))?;
        let [a, b, c, d, kind @ ..] = *short;
        let size = match (u32::from_be_bytes([a, b, c, d]), head.last_chunk::<8>()) {
            (0, _) => length - start,
            (1, Some(long)) if head.len() == 16 => u64::from_be_bytes(*long),
            (size, _) => u64::from(size),
        };
        let end = start.checked_add(size).filter(|end| size >= 8 && *end <= length);
        let end = end.ok_or_else(|| format!("the {} box at byte {start} is cut off", String::from_utf8_lossy(&kind)))?;
        tops.push(Top { kind, start, end });
        if tops.len() > MAX_BOXES {
            return Err(format!("more than {MAX_BOXES} boxes"));
        }
        start = end;
    }
    Ok(tops)
}

fn find(tops: &[Top], kind: [u8; 4]) -> Result<Top, String> {
    tops.iter().find(|top| top.kind == kind).copied().ok_or_else(|| format!("no {} box", String::from_utf8_lossy(&kind)))
}

fn decode<T: Atom + Decode>(file: &mut File, top: Top) -> Result<T, String> {
    let bytes = read(file, top.start..top.end)?;
    T::decode(&mut bytes.as_slice()).map_err(|error| format!("the {} box at byte {}: {error}", T::KIND, top.start))
}

/// Bytes of a file, all of them or an error.
fn read(file: &mut File, range: Range<u64>) -> Result<Vec<u8>, String> {
    let length = range.end.saturating_sub(range.start);
    if length > MAX_TABLE {
        return Err(format!("a box of {length} bytes"));
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(|error| error.to_string())?];
    file.seek(SeekFrom::Start(range.start)).map_err(|error| error.to_string())?;
    file.read_exact(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}
