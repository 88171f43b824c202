//! What a player makes of an index: read from its boxes, not from what they were made of.

use mp4_atom::{Atom, Decode, Ftyp, Moov, StszSamples, Trak};

/// What a player shows of a video track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub frames: u64,
    /// First and last PTS after the edit list, ticks of the track's time scale.
    pub first: i64,
    pub last: i64,
}

/// Reads `ftyp` and `moov` at the front of a file.
pub fn shown(head: &[u8]) -> Result<Option<Shown>, String> {
    let mut rest = head;
    Ftyp::decode(&mut rest).map_err(|error| format!("the index begins with no ftyp box: {error}"))?;
    let moov = Moov::decode(&mut rest).map_err(|error| format!("the {} box cannot be read back: {error}", Moov::KIND))?;
    moov.trak.iter().find(|trak| trak.mdia.minf.vmhd.is_some()).map(|trak| of_track(&moov, trak)).transpose()
}

/// Applies the edit list to the tables: an optional empty edit (a late start, in the film's time scale), then one edit
/// into the media.
fn of_track(moov: &Moov, trak: &Trak) -> Result<Shown, String> {
    let stbl = &trak.mdia.minf.stbl;
    let frames = match &stbl.stsz.samples {
        StszSamples::Identical { count, .. } => u64::from(*count),
        StszSamples::Different { sizes } => sizes.len() as u64,
    };
    let durations = stbl.stts.entries.iter().flat_map(|entry| std::iter::repeat_n(entry.sample_delta, entry.sample_count as usize));
    let offsets = stbl.ctts.iter().flat_map(|ctts| &ctts.entries);
    let offsets = offsets.flat_map(|entry| std::iter::repeat_n(entry.sample_offset, entry.sample_count as usize));
    let (mut dts, mut timed) = (0i64, 0u64);
    let (mut first, mut last) = (i64::MAX, i64::MIN);
    for (duration, offset) in durations.zip(offsets.chain(std::iter::repeat(0))) {
        let pts = dts.saturating_add(offset);
        (first, last) = (first.min(pts), last.max(pts));
        dts = dts.saturating_add(i64::from(duration));
        timed += 1;
    }
    if first > last || timed != frames {
        return Err(format!("{frames} frames, of which {timed} have a time"));
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
