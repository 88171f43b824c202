//! Holds a chunk's output against the plan, and cuts files into segments at whole fragments.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use pipeline::{
    Fault,
    encoder::MadeSegment,
    plan::{ByteRange, Chunk},
    samples::{self, SampleTable, Samples},
};
use sha2::{Digest, Sha256};

use crate::{
    boxes::{Fragment, Sample},
    dir::io_fault,
};

/// A segment to be: whole fragments of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Bytes in the file.
    pub range: Range<u64>,
    /// First PTS from T0, ticks of the plan.
    pub start: i64,
    /// Ticks of the plan.
    pub duration: i64,
    pub frames: u32,
    pub samples: SampleTable,
}

/// Whether `fragments` are the chunk's frames, exactly: as many, at their times, keyframes where planned and nowhere
/// else, and a fragment's start at every segment's start. `scale`: ticks of the output per tick of the plan.
/// The error says what differs.
pub fn held(chunk: &Chunk, scale: i64, fragments: &[Fragment]) -> Result<Vec<Cut>, String> {
    let planned: Vec<i64> = chunk.times.iter().collect();
    let fragments = &scaled(fragments, scale)?;
    let decoded: Vec<Sample> = fragments.iter().flat_map(|fragment| fragment.samples.iter().copied()).collect();
    let mut shown = decoded.clone();
    shown.sort_by_key(|sample| sample.pts);
    same_times(&planned, &shown)?;
    let keyframes: Vec<usize> = positions(&shown, |sample| sample.sync);
    let wanted: Vec<usize> = chunk.keyframes.iter().map(|index| *index as usize).collect();
    if keyframes != wanted {
        return Err(format!("keyframes differ from the plan: {}", first_difference(&wanted, &keyframes)));
    }
    let starts = fragment_starts(fragments, &planned)?;
    let mut cuts = Vec::with_capacity(chunk.segments.len());
    let bounds: Vec<usize> = chunk.segments.iter().map(|index| *index as usize).collect();
    for (number, first) in bounds.iter().enumerate() {
        let next = bounds.get(number + 1).copied();
        cuts.push(cut(fragments, &starts, &planned, *first..next.unwrap_or(planned.len()))?);
    }
    let total: u64 = cuts.iter().map(|cut| u64::from(cut.frames)).sum();
    if total != planned.len() as u64 {
        return Err(format!("the segments hold {total} of {} frames", planned.len()));
    }
    // The plan does not say how long the last frame lasts; the encoder coded the source's own answer.
    if let (Some(last), Some(sample), Some(time)) = (cuts.last_mut(), decoded.last(), planned.last()) {
        last.duration = time.saturating_add(i64::from(sample.duration)).saturating_sub(last.start);
    }
    Ok(cuts)
}

/// The fragments in ticks of the plan.
fn scaled(fragments: &[Fragment], scale: i64) -> Result<Vec<Fragment>, String> {
    let scale = scale.max(1);
    let mut fragments = fragments.to_vec();
    for sample in fragments.iter_mut().flat_map(|fragment| &mut fragment.samples) {
        if sample.pts % scale != 0 {
            return Err(format!("a frame at {} lies between two ticks of the plan", sample.pts));
        }
        sample.pts /= scale;
        sample.duration /= u32::try_from(scale).unwrap_or(u32::MAX);
    }
    Ok(fragments)
}

fn same_times(planned: &[i64], shown: &[Sample]) -> Result<(), String> {
    let difference = planned.iter().zip(shown).position(|(time, sample)| *time != sample.pts);
    if difference.is_none() && planned.len() == shown.len() {
        return Ok(());
    }
    let at = difference.unwrap_or(planned.len().min(shown.len()));
    let tell = |time: Option<i64>| time.map_or("none".to_owned(), |time| time.to_string());
    Err(format!(
        "decoder gave {} of {} frames; first difference at frame {at}: planned time {}, got {}",
        shown.len(),
        planned.len(),
        tell(planned.get(at).copied()),
        tell(shown.get(at).map(|sample| sample.pts)),
    ))
}

fn positions(shown: &[Sample], wanted: impl Fn(&Sample) -> bool) -> Vec<usize> {
    shown.iter().enumerate().filter(|(_, sample)| wanted(sample)).map(|(index, _)| index).collect()
}

fn first_difference(wanted: &[usize], got: &[usize]) -> String {
    let at = wanted.iter().zip(got).position(|(a, b)| a != b).unwrap_or(wanted.len().min(got.len()));
    let tell = |list: &[usize]| list.get(at).map_or("none".to_owned(), |index| format!("frame {index}"));
    format!("keyframe {at} should be {}, is {}", tell(wanted), tell(got))
}

/// Index of the first shown frame of every fragment. A fragment must begin with it and hold nothing before it.
fn fragment_starts(fragments: &[Fragment], planned: &[i64]) -> Result<Vec<usize>, String> {
    let mut starts = Vec::with_capacity(fragments.len());
    let mut next = 0;
    for (number, fragment) in fragments.iter().enumerate() {
        let first = fragment.samples.iter().map(|sample| sample.pts).min();
        let opens = fragment.samples.first().is_some_and(|sample| sample.sync && Some(sample.pts) == first);
        if !opens || first != planned.get(next).copied() {
            return Err(format!("fragment {number} does not begin with the keyframe at frame {next}"));
        }
        starts.push(next);
        next += fragment.samples.len();
    }
    Ok(starts)
}

fn cut(fragments: &[Fragment], starts: &[usize], planned: &[i64], frames: Range<usize>) -> Result<Cut, String> {
    let missing = || format!("no fragment begins at frame {}, where a segment should", frames.start);
    let from = starts.binary_search(&frames.start).map_err(|_| missing())?;
    let to = starts.binary_search(&frames.end).unwrap_or(starts.len());
    let inside = fragments.get(from..to).unwrap_or_default();
    let (Some(first), Some(last), Some(start)) = (inside.first(), inside.last(), planned.get(frames.start)) else {
        return Err(missing());
    };
    let end = planned.get(frames.end).or(planned.last()).copied().unwrap_or(*start);
    let count: usize = inside.iter().map(|fragment| fragment.samples.len()).sum();
    Ok(Cut {
        range: first.range.start..last.range.end,
        start: *start,
        duration: end.saturating_sub(*start),
        frames: u32::try_from(count).unwrap_or(u32::MAX),
        samples: SampleTable::pack(&table(inside)),
    })
}

/// The samples of a segment's fragments, but for their durations.
pub fn table(fragments: &[Fragment]) -> Samples {
    let start = fragments.first().map_or(0, |fragment| fragment.range.start);
    let all: Vec<&Sample> = fragments.iter().flat_map(|fragment| &fragment.samples).collect();
    let mut shown: Vec<(i64, usize)> = all.iter().enumerate().map(|(index, sample)| (sample.pts, index)).collect();
    shown.sort_unstable();
    let mut order = vec![0; all.len()];
    for ((_, index), place) in shown.into_iter().zip(0..) {
        if let Some(own) = order.get_mut(index) {
            *own = place;
        }
    }
    let sync = (0..).zip(&all).filter(|(_, sample)| sample.sync).map(|(index, _)| index).collect::<Vec<u32>>();
    let own = |fragment: &Fragment| samples::Fragment {
        media: ByteRange { start: fragment.media.start - start, end: fragment.media.end - start },
        samples: u32::try_from(fragment.samples.len()).unwrap_or(u32::MAX),
    };
    Samples {
        sizes: all.iter().map(|sample| sample.size).collect(),
        order,
        durations: Vec::new(),
        sync: if sync.len() == all.len() { Vec::new() } else { sync },
        fragments: fragments.iter().map(own).collect(),
    }
}

/// Writes every cut of `file` to a file of its own in `out`, hashed on the way: `name(0)`, `name(1)`, ….
pub fn write(file: &Path, cuts: &[Cut], out: &Path, name: impl Fn(usize) -> String) -> Result<Vec<MadeSegment>, Fault> {
    let mut source = File::open(file).map_err(|error| io_fault("open", file, &error))?;
    cuts.iter()
        .enumerate()
        .map(|(number, cut)| {
            let path = out.join(name(number));
            let (bytes, sha256) = copy(&mut source, &cut.range, &path).map_err(|error| io_fault("write", &path, &error))?;
            let Cut { start, duration, frames, samples, .. } = cut.clone();
            Ok(MadeSegment { path, bytes, sha256, start, duration, frames, samples })
        })
        .collect()
}

fn copy(source: &mut File, range: &Range<u64>, path: &PathBuf) -> std::io::Result<(u64, String)> {
    source.seek(SeekFrom::Start(range.start))?;
    let mut limited = source.take(range.end.saturating_sub(range.start));
    let mut target = File::create(path)?;
    let mut hash = Sha256::new();
    let mut block = vec![0u8; 256 * 1024];
    let mut total = 0u64;
    loop {
        let count = limited.read(&mut block)?;
        if count == 0 {
            return Ok((total, hex::encode(hash.finalize())));
        }
        let bytes = block.get(..count).unwrap_or_default();
        hash.update(bytes);
        target.write_all(bytes)?;
        total += count as u64;
    }
}

#[cfg(test)]
mod tests;
