//! The way through a Matroska file, element by element: where its text lies, and a sparse file that holds little else, but is
//! a Matroska file.
//!
//! Source: RFC 8794, 6 (sizes) and 11.3.2 (Void); RFC 9559, 5.1.3 (clusters, blocks), 5.1.4 (tracks) and 10.1 (a block's
//! head).

mod pictures;
mod tap;

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use pipeline::{
    plan::ByteRange,
    stage::ebml::{CLUSTER, CODEC_ID, ELEMENT_HEAD, MAX_TRACKS, SEGMENT, TRACK_ENTRY, TRACKS, element, elements, number},
};

use self::pictures::{Packet, Pictures};
pub use tap::Tap;

use crate::fields;

const EBML: u64 = 0x1A45_DFA3;
const VOID: u64 = 0xEC;
const ATTACHMENTS: u64 = 0x1941_A469;
const SIMPLE_BLOCK: u64 = 0xA3;
const BLOCK_GROUP: u64 = 0xA0;
const BLOCK: u64 = 0xA1;
const TRACK_NUMBER: u64 = 0xD7;
/// Bytes of a block between the number of its track and its frame: a time, and at this place flags.
const BLOCK_HEAD: u64 = 3;
const FLAGS: usize = 2;
/// Of them: several frames in one block; and, of a simple one, a keyframe.
const LACING: u8 = 0x06;
const KEY: u8 = 0x80;
/// How the codecs of text begin.
const TEXT: [&[u8]; 4] = [b"S_TEXT/", b"S_SSA", b"S_ASS", b"D_WEBVTT/"];

/// Bytes of an element that are looked at: its head, and of a block the number of its track.
const LOOK: u64 = ELEMENT_HEAD + 8;
/// Elements of a cluster that say something of its blocks, as its time, are no longer than this.
const MAX_WORD: u64 = 64;
/// Such elements of one cluster that do not touch.
const MAX_WORDS: usize = 64;
/// Elements of a file: three for each packet that a probe takes, and some.
const MAX_ELEMENTS: u64 = 20_000_000;
/// Pieces of a way: more than an excerpt has ranges.
const MAX_WAY: usize = 1_000_000;

/// An element that the walk is inside of.
#[derive(Clone, Copy, Debug)]
struct Level {
    id: u64,
    /// From its head on.
    start: u64,
    end: u64,
}

/// What a walk comes by.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// See [`Walk::way`].
    pub way: Vec<ByteRange>,
    /// Where the packets begin that hold the second field of a picture, rising.
    pub second_fields: Vec<u64>,
}

/// Goes from one element's head to the next. It is told the bytes that it asks for.
#[derive(Debug, Default)]
pub struct Walk {
    at: u64,
    levels: Vec<Level>,
    /// Bytes of the element that it is at, where they are needed.
    all: Option<u64>,
    /// Numbers of the tracks of text; `None`: not told yet.
    text: Option<Vec<u64>>,
    way: Vec<ByteRange>,
    /// What is needed of the cluster that it is in, if there comes text.
    cluster: Vec<ByteRange>,
    elements: u64,
    ended: bool,
    lost: bool,
    /// `None`: pictures are not looked into.
    pictures: Option<Pictures>,
}

impl Walk {
    /// One that looks into pictures, too.
    pub fn looking() -> Self {
        Self { pictures: Some(Pictures::default()), ..Self::default() }
    }

    /// What it must see next, of a file of `size` bytes. `None`: it is at its end, or lost.
    pub fn next(&mut self, size: u64) -> Option<ByteRange> {
        while let Some(level) = self.levels.pop_if(|level| level.end <= self.at) {
            self.ended |= level.id == SEGMENT;
        }
        let end = match self.pictures.as_ref().and_then(Pictures::packet_ends) {
            Some(packet) => self.at.saturating_add(fields::LOOK).min(packet),
            None => self.at.saturating_add(self.all.unwrap_or(LOOK)),
        };
        let end = end.min(size);
        (!self.lost && !self.ended && self.at < end).then_some(ByteRange { start: self.at, end })
    }

    /// Takes the bytes of [`next`](Self::next).
    pub fn take(&mut self, bytes: &[u8]) {
        self.elements += 1;
        let went = self.step(bytes).is_some();
        self.lost |= !went || self.elements > MAX_ELEMENTS || self.way.len() > MAX_WAY;
    }

    /// `None`: this is not what it knows, or nothing for which an excerpt would be right.
    fn step(&mut self, bytes: &[u8]) -> Option<()> {
        if let Some(at) = self.pictures.as_mut().and_then(|pictures| pictures.look(self.at, bytes)) {
            self.at = at;
            return Some(());
        }
        let found = element(bytes)?;
        let body = self.at.checked_add(found.head)?;
        let inside = self.levels.last().copied();
        if inside.is_none() && found.id == SEGMENT {
            let end = found.length.map_or(Some(u64::MAX), |length| body.checked_add(length))?;
            add(&mut self.way, ByteRange { start: self.at, end: body });
            self.enter(found.id, body, end);
            return Some(());
        }
        let end = body.checked_add(found.length?).filter(|end| inside.is_none_or(|level| *end <= level.end))?;
        let own = ByteRange { start: self.at, end };
        match inside.map(|level| level.id) {
            None if self.at == 0 && found.id != EBML => return None,
            None => add(&mut self.way, own),
            Some(SEGMENT) => return self.in_segment(found.id, body, own, bytes),
            Some(CLUSTER) if found.id == BLOCK_GROUP => {
                self.enter(found.id, body, end);
                return Some(());
            }
            Some(CLUSTER) if found.id == SIMPLE_BLOCK => {
                let body = ByteRange { start: body, end };
                return self.block(bytes.get(index(found.head)..)?, body, own, true);
            }
            Some(BLOCK_GROUP) if found.id == BLOCK => {
                let group = self.levels.pop()?;
                let body = ByteRange { start: body, end };
                return self.block(bytes.get(index(found.head)..)?, body, ByteRange { start: group.start, end: group.end }, false);
            }
            Some(CLUSTER) if own.len() <= MAX_WORD => {
                add(&mut self.cluster, own);
                (self.cluster.len() <= MAX_WORDS).then_some(())?;
            }
            Some(_) => {}
        }
        self.at = end;
        Some(())
    }

    /// An element of the Segment, with its body.
    fn in_segment(&mut self, id: u64, body: u64, own: ByteRange, bytes: &[u8]) -> Option<()> {
        match id {
            CLUSTER => {
                self.text.as_ref()?;
                self.cluster = vec![ByteRange { end: body, ..own }];
                self.enter(id, body, own.end);
                return Some(());
            }
            TRACKS if (bytes.len() as u64) < own.len() => {
                // What was asked for already is not there.
                self.all = Some(own.len()).filter(|length| *length <= MAX_TRACKS && self.all.is_none());
                return self.all.map(|_| ());
            }
            TRACKS => {
                self.all = None;
                let tracks = bytes.get(index(body - own.start)..index(own.len()))?;
                self.text = Some(text_tracks(tracks));
                if let Some(pictures) = &mut self.pictures {
                    pictures.tracks(tracks);
                }
                add(&mut self.way, own);
            }
            VOID | ATTACHMENTS => {}
            _ => add(&mut self.way, own),
        }
        self.at = own.end;
        Some(())
    }

    fn enter(&mut self, id: u64, body: u64, end: u64) {
        self.levels.push(Level { id, start: self.at, end });
        self.at = body;
    }

    /// A block, whose body begins with these bytes, in the element that holds it. `is_simple`: it says whether it is a keyframe.
    fn block(&mut self, bytes: &[u8], body: ByteRange, own: ByteRange, is_simple: bool) -> Option<()> {
        let (track, length) = number(bytes, false)?;
        if self.text.as_ref()?.contains(&track) {
            self.cluster.drain(..).for_each(|range| add(&mut self.way, range));
            add(&mut self.way, own);
        }
        let flags = bytes.get(length + FLAGS);
        let pictures = self.pictures.as_mut().zip(flags).filter(|(_, flags)| *flags & LACING == 0);
        let looked = pictures.and_then(|(pictures, flags)| {
            let is_key = !is_simple || flags & KEY != 0;
            pictures.enter(track, Packet { body, frame: body.start + length as u64 + BLOCK_HEAD, after: own.end, units: 0 }, is_key)
        });
        self.at = looked.unwrap_or(own.end);
        Some(())
    }

    /// The elements that a demuxer must see, of a file of `size` bytes; none where the walk was lost or is not at the end.
    pub fn way(self, size: u64) -> Vec<ByteRange> {
        self.found(size).way
    }

    /// All of it; of second fields those as far as it went.
    pub fn found(self, size: u64) -> Found {
        let inside = self.pictures.as_ref().is_some_and(|pictures| pictures.packet_ends().is_some());
        let arrived = self.text.is_some() && !inside && (self.at == size || self.ended && self.at < size);
        let way = if arrived && !self.lost { self.way } else { Vec::new() };
        Found { way, second_fields: self.pictures.map(|pictures| pictures.second).unwrap_or_default() }
    }
}

fn add(ranges: &mut Vec<ByteRange>, range: ByteRange) {
    match ranges.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// What is said of each track, and its number. `tracks`: the body of the element.
fn entries(tracks: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let number = |entry| Some(field(entry, TRACK_NUMBER)?.iter().fold(0, |sum: u64, digit| sum << 8 | u64::from(*digit)));
    elements(tracks).filter(|(id, _)| *id == TRACK_ENTRY).filter_map(move |(_, entry)| Some((number(entry)?, entry)))
}

/// The body of an element inside another.
fn field(entry: &[u8], wanted: u64) -> Option<&[u8]> {
    elements(entry).find(|(id, _)| *id == wanted).map(|(_, body)| body)
}

/// Numbers of the tracks that are text.
fn text_tracks(tracks: &[u8]) -> Vec<u64> {
    let is_text = |entry| field(entry, CODEC_ID).is_some_and(|codec| TEXT.iter().any(|begin| codec.starts_with(begin)));
    entries(tracks).filter(|(_, entry)| is_text(entry)).map(|(number, _)| number).collect()
}

/// What a walk through a local file comes by.
pub fn walk(path: &Path) -> io::Result<Found> {
    let file = File::open(path)?;
    let (mut walk, size) = (Walk::looking(), file.metadata()?.len());
    while let Some(range) = walk.next(size) {
        walk.take(&read(&file, range)?);
    }
    Ok(walk.found(size))
}

fn read(file: &File, range: ByteRange) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; index(range.len())];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes)
}

/// Makes Void elements of what is missing in a file of which only `ranges` are there, each of which begins and ends with an
/// element: a demuxer passes over them without reading. `false`: it is no such file.
pub fn fill(path: &Path, ranges: &[ByteRange]) -> io::Result<bool> {
    let file = File::options().read(true).write(true).open(path)?;
    let (mut walk, size) = (Walk::default(), file.metadata()?.len());
    while let Some(wanted) = walk.next(size) {
        let next = ranges.get(ranges.partition_point(|range| range.end <= wanted.start));
        if next.is_some_and(|range| range.start <= wanted.start) {
            walk.take(&read(&file, wanted)?);
            continue;
        }
        let within = walk.levels.last().map_or(size, |level| level.end);
        let end = next.map_or(size, |range| range.start).min(within);
        let Some(head) = void(end.saturating_sub(wanted.start)) else { return Ok(false) };
        file.write_all_at(&head, wanted.start)?;
        walk.at = end;
    }
    Ok(!walk.way(size).is_empty())
}

/// The head of a Void element that is `length` bytes long with it. `None`: none is.
fn void(length: u64) -> Option<Vec<u8>> {
    /// An ID of one byte, a size of eight.
    const LONG: u64 = 9;
    match length {
        2..=128 => Some(vec![0xEC, 0x80 | u8::try_from(length - 2).ok()?]),
        129.. => (length - LONG < (1 << 56) - 1).then(|| {
            let size = (length - LONG) | 1 << 56;
            [&[0xEC][..], &size.to_be_bytes()].concat()
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
