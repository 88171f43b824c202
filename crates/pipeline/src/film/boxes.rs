//! The boxes in front of the media (ISO/IEC 14496-12): `ftyp`, `moov`, and the header of `mdat`.

use mp4_atom::{
    Co64, Ctts, Dinf, Dref, Edts, Elst, ElstEntry, Encode, Ftyp, Hdlr, Kind, Mdhd, Mvhd, Smhd, Stco, Stsc, StscEntry, Stss, Stsz,
    StszSamples, Stts, Tkhd, Udta, Url, Vmhd,
};

use super::{layout::Run, track::Track};
use crate::{language, plan::Role};

type Written = Result<(), String>;

/// Everything before the media, which begins at byte `base` and has `media` bytes. `long`: offsets of eight bytes.
pub fn head(tracks: &[&Track], chunks: &[Vec<Run>], base: u64, media: u64, long: bool) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    put(&mut out, &brands(tracks))?;
    let film = film_scale(tracks);
    nest(&mut out, *b"moov", |out| {
        let longest = tracks.iter().map(|track| film_ticks(track, film, track.late) + film_ticks(track, film, track.shown())).max();
        let next_track_id = u32::try_from(tracks.len() + 1).unwrap_or(u32::MAX);
        let (rate, volume) = (1.into(), 1.into());
        put(out, &Mvhd { timescale: film, duration: longest.unwrap_or(0), rate, volume, next_track_id, ..Mvhd::default() })?;
        for ((track, id), runs) in tracks.iter().zip(1..).zip(chunks) {
            nest(out, *b"trak", |out| trak(out, track, (id, film), runs, (base, long)))?;
        }
        Ok(())
    })?;
    match u32::try_from(media + 8) {
        Ok(size) if !long => out.extend([&size.to_be_bytes()[..], b"mdat"].concat()),
        _ => out.extend([&1u32.to_be_bytes()[..], b"mdat", &(media + 16).to_be_bytes()].concat()),
    }
    Ok(out)
}

fn brands(tracks: &[&Track]) -> Ftyp {
    let has_video = tracks.iter().any(|track| track.is_video);
    let mut compatible_brands = vec![b"isom".into(), b"iso2".into()];
    if tracks.iter().any(|track| track.is_avc) {
        compatible_brands.push(b"avc1".into());
    }
    compatible_brands.push(b"mp41".into());
    let major_brand = if has_video { b"isom".into() } else { b"M4A ".into() };
    Ftyp { major_brand, minor_version: 512, compatible_brands }
}

/// A time scale in which every track's ticks are whole, so that edit lists are exact; where there is none of 32 bits,
/// the first track's.
fn film_scale(tracks: &[&Track]) -> u32 {
    let first = tracks.first().map_or(1000, |track| track.scale.max(1));
    let common = tracks.iter().try_fold(first, |sum, track| {
        let other = track.scale.max(1);
        (sum / gcd(sum, other)).checked_mul(other)
    });
    common.unwrap_or(first)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Ticks of the track in ticks of the film, rounded to the nearest.
fn film_ticks(track: &Track, film: u32, ticks: u64) -> u64 {
    let scale = u128::from(track.scale.max(1));
    u64::try_from((u128::from(ticks) * u128::from(film) * 2 + scale) / (2 * scale)).unwrap_or(u64::MAX)
}

fn trak(out: &mut Vec<u8>, track: &Track, (id, film): (u32, u32), runs: &[Run], place: (u64, bool)) -> Written {
    let (late, shown) = (film_ticks(track, film, track.late), film_ticks(track, film, track.shown()));
    let tkhd = Tkhd {
        creation_time: 0,
        modification_time: 0,
        track_id: id,
        duration: late + shown,
        enabled: track.default,
        in_movie: true,
        // Tracks of one group are a choice.
        alternate_group: u16::from(!track.is_video),
        ..track.trak.tkhd.clone()
    };
    put(out, &tkhd)?;
    let edit = |segment_duration, media_time| ElstEntry { segment_duration, media_time, media_rate: 1.into() };
    let empty = (late > 0).then(|| edit(late, None));
    let entries = empty.into_iter().chain([edit(shown, Some(track.from))]).collect();
    put(out, &Edts { elst: Some(Elst { entries }) })?;
    nest(out, *b"mdia", |out| {
        let language = language::three_letters(&track.language);
        put(out, &Mdhd { timescale: track.scale, duration: track.length, language, ..Mdhd::default() })?;
        put(out, &handler(track))?;
        nest(out, *b"minf", |out| {
            if track.is_video {
                put(out, &Vmhd::default())?;
            } else {
                put(out, &Smhd::default())?;
            }
            put(out, &Dinf { dref: Dref { entries: vec![Url::default().into()] } })?;
            nest(out, *b"stbl", |out| stbl(out, track, runs, place))
        })
    })?;
    match role(track.role) {
        Some(value) => {
            let kind = Kind { scheme_uri: "urn:mpeg:dash:role:2011".into(), value: value.into() };
            put(out, &Udta { kind: vec![kind], ..Udta::default() })
        }
        None => Ok(()),
    }
}

/// The title of a track is the name of its handler, which players show.
fn handler(track: &Track) -> Hdlr {
    let (handler, usual) = if track.is_video { (b"vide", "VideoHandler") } else { (b"soun", "SoundHandler") };
    // A zero would end the name.
    let name = track.title.replace('\0', "");
    Hdlr { handler: handler.into(), name: if name.is_empty() { usual.into() } else { name } }
}

/// ISO/IEC 23009-1, 5.8.5.5 "DASH role scheme".
fn role(role: Role) -> Option<&'static str> {
    match role {
        Role::Main => None,
        Role::Dub => Some("dub"),
        Role::Commentary => Some("commentary"),
        Role::Description => Some("description"),
        Role::HearingImpaired => Some("enhanced-audio-intelligibility"),
    }
}

fn stbl(out: &mut Vec<u8>, track: &Track, runs: &[Run], (base, long): (u64, bool)) -> Written {
    out.extend_from_slice(&track.stsd);
    put(out, &Stts { entries: track.durations.clone() })?;
    if !track.offsets.is_empty() {
        put(out, &Ctts { entries: track.offsets.clone() })?;
    }
    if let Some(sync) = &track.sync {
        put(out, &Stss { entries: sync.clone() })?;
    }
    let mut entries: Vec<StscEntry> = Vec::new();
    for (run, first_chunk) in runs.iter().zip(1..) {
        if entries.last().is_none_or(|last| last.samples_per_chunk != run.samples) {
            entries.push(StscEntry { first_chunk, samples_per_chunk: run.samples, sample_description_index: 1 });
        }
    }
    put(out, &Stsc { entries })?;
    put(out, &Stsz { samples: StszSamples::Different { sizes: track.sizes.clone() } })?;
    let offsets = runs.iter().map(|run| base + run.offset);
    if long {
        put(out, &Co64 { entries: offsets.collect() })
    } else {
        let entries = offsets.map(u32::try_from).collect::<Result<_, _>>();
        put(out, &Stco { entries: entries.map_err(|_| "media lies behind the fourth gigabyte")? })
    }
}

fn put(out: &mut Vec<u8>, part: &impl Encode) -> Written {
    part.encode(out).map_err(|error| format!("the index cannot be written: {error}"))
}

/// A box around what `body` writes.
fn nest(out: &mut Vec<u8>, kind: [u8; 4], body: impl FnOnce(&mut Vec<u8>) -> Written) -> Written {
    let start = out.len();
    out.extend([0, 0, 0, 0]);
    out.extend(kind);
    body(out)?;
    let size = u32::try_from(out.len() - start).map_err(|_| "an index of more than four gigabytes")?;
    out.get_mut(start..start + 4).ok_or("the index is gone")?.copy_from_slice(&size.to_be_bytes());
    Ok(())
}
