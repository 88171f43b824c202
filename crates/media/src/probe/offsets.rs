//! Whether an MP4's tables speak of bytes that are there. ffprobe leaves out packets beyond the end without a word: the
//! film would only be shorter.
//!
//! Source: ISO 14496-12, 8.7.5 (chunk offsets, `stco` and `co64`), 8.4.3 (handler), 8.5.2 and 12.1.3 (sample entries of
//! pictures); ISO 14496-15, 5.4.2 (`avc1`, `avcC`).

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt, path::Path};

use pipeline::Fault;

use crate::{dir::io_fault, fields::Coding};

/// Boxes looked at; tidy files have a few hundred.
const MAX_BOXES: usize = 100_000;
/// Bytes of a table read at once.
const BLOCK: u64 = 64 << 10;

/// Bytes of a sample entry of pictures before the boxes in it.
const ENTRY: u64 = 78;
/// Bytes of a configuration record.
const MAX_RECORD: u64 = 64 << 10;

/// Of each track of H.264, seconds between two pictures that may be coded as fields, if it says so. Refuses a file in which
/// sound or pictures begin at or after the file's end, but where it is known that it was `cut`. What is malformed in another
/// way is left to the probe.
pub fn look(path: &Path, cut: bool) -> Result<Vec<Option<f64>>, Fault> {
    let file = File::open(path).map_err(|error| io_fault("open", path, &error))?;
    let looked = file.metadata().and_then(|data| {
        let size = data.len();
        let mut look = Look { file: &file, left: MAX_BOXES };
        let tracks = look.tracks(size)?;
        let mut steps = Vec::new();
        let mut last = None;
        for track in &tracks {
            last = last.max(look.last_of(track)?);
            steps.extend(look.steps(track)?);
        }
        Ok((last, size, steps))
    });
    let (last, size, steps) = looked.map_err(|error| io_fault("read", path, &error))?;
    match last.filter(|last| !cut && *last >= size) {
        Some(last) => Err(Fault::reject(format!(
            "The file is not complete, or its tables are damaged: they speak of pictures or sound at byte {last}, and it has {size}."
        ))),
        None => Ok(steps),
    }
}

/// The sample tables of a track of pictures or sound.
type Tables = Vec<Range<u64>>;

struct Look<'a> {
    file: &'a File,
    left: usize,
}

impl Look<'_> {
    fn tracks(&mut self, size: u64) -> io::Result<Vec<Tables>> {
        let mut tracks = Vec::new();
        for moov in self.inside(&(0..size), *b"moov")? {
            for trak in self.inside(&moov, *b"trak")? {
                for mdia in self.inside(&trak, *b"mdia")? {
                    if !self.is_played(&mdia)? {
                        continue;
                    }
                    let mut tables = Vec::new();
                    for minf in self.inside(&mdia, *b"minf")? {
                        tables.extend(self.inside(&minf, *b"stbl")?);
                    }
                    tracks.push(tables);
                }
            }
        }
        Ok(tracks)
    }

    fn is_played(&mut self, mdia: &Range<u64>) -> io::Result<bool> {
        let Some(hdlr) = self.inside(mdia, *b"hdlr")?.into_iter().next() else { return Ok(false) };
        let mut kind = [0; 4];
        if hdlr.start + 12 <= hdlr.end {
            self.file.read_exact_at(&mut kind, hdlr.start + 8)?;
        }
        Ok(matches!(&kind, b"vide" | b"soun"))
    }

    /// The greatest chunk offset of a track.
    fn last_of(&mut self, track: &Tables) -> io::Result<Option<u64>> {
        let mut last = None;
        for stbl in track {
            for (kind, width) in [(*b"stco", 4), (*b"co64", 8)] {
                for table in self.inside(stbl, kind)? {
                    last = last.max(self.greatest(&table, width)?);
                }
            }
        }
        Ok(last)
    }

    /// One of a track of H.264, none of another.
    fn steps(&mut self, track: &Tables) -> io::Result<Vec<Option<f64>>> {
        let mut steps = Vec::new();
        for stbl in track {
            for stsd in self.inside(stbl, *b"stsd")? {
                for kind in [*b"avc1", *b"avc3"] {
                    // Version, flags and count stand before the entries.
                    for entry in self.inside(&(stsd.start.saturating_add(8)..stsd.end), kind)? {
                        let boxes = entry.start.saturating_add(ENTRY)..entry.end;
                        let records = self.inside(&boxes, *b"avcC")?;
                        let Some(record) = records.first().filter(|record| record.end - record.start <= MAX_RECORD) else { continue };
                        let mut bytes = vec![0; usize::try_from(record.end - record.start).unwrap_or(0)];
                        self.file.read_exact_at(&mut bytes, record.start)?;
                        steps.push(Coding::of_record(&bytes).and_then(|coding| coding.step()));
                    }
                }
            }
        }
        // One for each track: of several kinds of sample the first.
        steps.truncate(1);
        Ok(steps)
    }

    /// The greatest of a table's entries: version, flags and count stand before them.
    fn greatest(&self, table: &Range<u64>, width: usize) -> io::Result<Option<u64>> {
        let mut count = [0; 4];
        if table.start + 8 > table.end {
            return Ok(None);
        }
        self.file.read_exact_at(&mut count, table.start + 4)?;
        let entries = u64::from(u32::from_be_bytes(count)).saturating_mul(width as u64);
        let end = table.end.min(table.start + 8 + entries);
        let (mut at, mut last) = (table.start + 8, None);
        while at + width as u64 <= end {
            let mut block = vec![0; usize::try_from((end - at).min(BLOCK)).unwrap_or(0)];
            self.file.read_exact_at(&mut block, at)?;
            let number = |entry: &[u8]| entry.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
            last = last.max(block.chunks_exact(width).map(number).max());
            at += block.len() as u64;
        }
        Ok(last)
    }

    /// The contents of the boxes of one kind among those that fill `range`.
    fn inside(&mut self, range: &Range<u64>, kind: [u8; 4]) -> io::Result<Vec<Range<u64>>> {
        let (mut at, mut found) = (range.start, Vec::new());
        while at + 8 <= range.end && self.left > 0 {
            self.left -= 1;
            let mut head = [0; 16];
            let known = usize::try_from((range.end - at).min(16)).unwrap_or(0);
            self.file.read_exact_at(head.get_mut(..known).unwrap_or_default(), at)?;
            let [a, b, c, d, k0, k1, k2, k3, long @ ..] = head;
            let (header, length) = match u32::from_be_bytes([a, b, c, d]) {
                0 => (8, range.end - at),
                1 => (16, u64::from_be_bytes(long)),
                short => (8, u64::from(short)),
            };
            let end = at.saturating_add(length);
            if length < header || end > range.end {
                break;
            }
            if [k0, k1, k2, k3] == kind {
                found.push(at + header..end);
            }
            at = end;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
        [&u32::try_from(body.len() + 8).unwrap().to_be_bytes()[..], &kind, body].concat()
    }

    /// A film of one track with these chunk offsets, and as many bytes as are left to `size`.
    fn film(handler: [u8; 4], table: &[u8], kind: [u8; 4], size: usize) -> Vec<u8> {
        let hdlr = part(*b"hdlr", &[&[0; 8][..], &handler, &[0; 12]].concat());
        let minf = part(*b"minf", &part(*b"stbl", &part(kind, table)));
        let moov = part(*b"moov", &part(*b"trak", &part(*b"mdia", &[hdlr, minf].concat())));
        let mut film = [part(*b"ftyp", b"isom\0\0\0\0"), moov].concat();
        film.resize(film.len().max(size), 0);
        film
    }

    fn stco(offsets: &[u32]) -> Vec<u8> {
        let count = u32::try_from(offsets.len()).unwrap();
        [0, count].iter().chain(offsets).flat_map(|number| number.to_be_bytes()).collect()
    }

    fn refused(film: &[u8]) -> bool {
        let stored = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(stored.path(), film).unwrap();
        look(stored.path(), false).is_err()
    }

    #[test]
    fn pictures_and_sound_beyond_the_end_are_refused() {
        assert!(!refused(&film(*b"vide", &stco(&[100, 4999, 300]), *b"stco", 5000)));
        assert!(refused(&film(*b"vide", &stco(&[100, 5000, 300]), *b"stco", 5000)));
        assert!(refused(&film(*b"soun", &stco(&[100, 5000]), *b"stco", 5000)));
        assert!(!refused(&film(*b"tmcd", &stco(&[100, 9000]), *b"stco", 5000)), "a time code that nobody plays");
        let long = [&[0, 0, 0, 0, 0, 0, 0, 1][..], &(1u64 << 40).to_be_bytes()].concat();
        assert!(refused(&film(*b"vide", &long, *b"co64", 5000)));
        // More entries than one block, the last beyond the end; and a count that claims more than is there.
        let mut many = vec![100; 40_000];
        many.push(9_000_000);
        assert!(refused(&film(*b"vide", &stco(&many), *b"stco", 5000)));
        let mut claimed = stco(&[100]);
        claimed[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(!refused(&film(*b"vide", &claimed, *b"stco", 5000)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_through(bytes in prop::collection::vec(any::<u8>(), 0..400), at in 0usize..200) {
            let mut film = film(*b"vide", &stco(&[1]), *b"stco", 300);
            let end = film.len().min(at + bytes.len());
            film.splice(at..end, bytes);
            refused(&film);
        }
    }
}
