//! How many packets an MP4 claims to have. Of a table of a few bytes ffprobe and ffmpeg make an index with 36 bytes for each
//! packet, whether the packets are there or not: that is counted before they are let at it.
//!
//! Source: ISO 14496-12, 8.6.1.2 (`stts`), 8.7.3 (`stsz`, `stz2`), 8.7.4 (`stsc`), 8.7.5 (`stco`, `co64`), 8.8.8 (`trun`);
//! `QuickTime` File Format, "Sound sample description (version 1)".

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use futures::StreamExt;
use pipeline::{Fault, encoder::ByteStream};

use super::MAX_PACKETS;
use crate::dir::io_fault;

/// Boxes of a file that are looked at: 17 hours of pictures, each in a fragment of its own, with its sound.
const MAX_BOXES: usize = 20_000_000;
/// Runs of equal chunks of one track.
const MAX_RUNS: usize = 1_000_000;
/// Boxes in boxes that ffmpeg goes into.
const MAX_DEPTH: usize = 10;
/// Boxes that hold boxes, wherever ffmpeg finds them.
const HOLDERS: [[u8; 4]; 10] = [*b"moov", *b"trak", *b"mdia", *b"minf", *b"stbl", *b"moof", *b"traf", *b"mvex", *b"edts", *b"udta"];
/// Bytes of a box that its counts are in.
const COUNTS: u64 = 48;
/// Bytes of the runs of chunks read at once.
const BLOCK: u64 = 12 * 1024;
/// Samples of plain sound that ffmpeg takes for one packet.
const PLAIN: u64 = 1024;

/// Refuses a file that claims more packets than are accepted.
pub fn few_in(path: &Path) -> Result<(), Fault> {
    let read = |file: &File, start, length| {
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, start).map(|()| bytes)
    };
    let unread = |error: io::Error| io_fault("read", path, &error);
    let file = File::open(path).map_err(|error| io_fault("open", path, &error))?;
    let size = file.metadata().map_err(unread)?.len();
    let mut claims = Claims::of(size);
    for _ in 0..MAX_BOXES {
        let Some((start, length)) = claims.next().filter(|(start, length)| start.saturating_add(*length as u64) <= size) else {
            return Ok(());
        };
        claims.take(&read(&file, start, length).map_err(unread)?)?;
    }
    Err(Fault::reject(format!("The file has more than {MAX_BOXES} boxes outside its media, which is more than is accepted.")))
}

/// The same stream, which ends with a refusal where it claims more packets than are accepted.
pub fn few(stream: ByteStream) -> ByteStream {
    let mut passing = Passing { claims: Claims::of(u64::MAX), at: 0, pending: Vec::new() };
    Box::pin(stream.map(move |block| {
        let block = block?;
        passing.pass(&block)?;
        Ok(block)
    }))
}

/// What is looked at of a stream.
struct Passing {
    claims: Claims,
    /// Bytes that have gone by.
    at: u64,
    /// The last of them, of which more is needed.
    pending: Vec<u8>,
}

impl Passing {
    fn pass(&mut self, mut block: &[u8]) -> Result<(), Fault> {
        while let Some((start, length)) = self.claims.next() {
            let skipped = if self.pending.is_empty() { at_most(start.saturating_sub(self.at), block.len()) } else { 0 };
            let wanted = block.len().min(skipped.saturating_add(length - self.pending.len()));
            self.pending.extend_from_slice(block.get(skipped..wanted).unwrap_or_default());
            block = block.get(wanted..).unwrap_or_default();
            self.at += wanted as u64;
            if self.pending.len() < length {
                return Ok(());
            }
            self.claims.take(&std::mem::take(&mut self.pending))?;
        }
        Ok(())
    }
}

fn at_most(bytes: u64, most: usize) -> usize {
    usize::try_from(bytes).map_or(most, |bytes| bytes.min(most))
}

/// Walks through the boxes, those in boxes as well.
struct Claims {
    at: u64,
    need: Need,
    /// Where the boxes end that are around `at`, with their kinds; first the file.
    around: Vec<(u64, [u8; 4])>,
    track: Track,
    packets: u64,
}

/// What stands at the place that is read next.
#[derive(Clone, Copy)]
enum Need {
    Header,
    /// The length of a box of this kind.
    Length([u8; 4]),
    /// The contents of a box of this kind, with their end.
    Counts([u8; 4], u64),
    /// Runs of chunks, until there.
    Runs(u64),
}

/// What a track's tables say.
#[derive(Default)]
struct Track {
    /// By its handlers.
    is_sound: bool,
    is_picture: bool,
    samples: u64,
    chunks: u64,
    /// First chunk, and samples of each.
    runs: Vec<(u32, u32)>,
    /// Every sample lasts one tick.
    is_even: bool,
    /// Samples that ffmpeg takes for one packet, where a description of sound says so.
    together: u64,
}

impl Claims {
    /// Of a file of so many bytes.
    fn of(size: u64) -> Self {
        Self { at: 0, need: Need::Header, around: vec![(size, [0; 4])], track: Track::default(), packets: 0 }
    }

    /// Where the bytes begin that are needed next, and how many they are. `None`: at the end.
    fn next(&self) -> Option<(u64, usize)> {
        let length = match self.need {
            Need::Header if self.around.is_empty() => return None,
            Need::Header | Need::Length(_) => 8,
            Need::Counts(_, end) => (end - self.at).min(COUNTS),
            Need::Runs(end) => (end - self.at).min(BLOCK),
        };
        Some((self.at, usize::try_from(length).unwrap_or(0)))
    }

    /// Takes the bytes at [`next`](Self::next).
    fn take(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let (first, second) = (number(bytes, 0), number(bytes, 4));
        match self.need {
            Need::Header => {
                let kind = second.to_be_bytes();
                self.at += 8;
                match first {
                    1 if self.end().saturating_sub(self.at) >= 8 => self.need = Need::Length(kind),
                    0 | 1 => self.enter(kind, u64::MAX)?,
                    length => self.enter(kind, (self.at - 8).saturating_add(u64::from(length)))?,
                }
            }
            Need::Length(kind) => {
                let length = u64::from(first) << 32 | u64::from(second);
                self.at += 8;
                self.enter(kind, (self.at - 16).saturating_add(length))?;
            }
            Need::Counts(kind, end) => {
                self.counts(kind, bytes)?;
                (self.at, self.need) = (end, Need::Header);
            }
            Need::Runs(end) => {
                let runs = bytes.chunks_exact(12).map(|run| (number(run, 0), number(run, 4)));
                self.track.runs.extend(runs.take(MAX_RUNS + 1 - self.track.runs.len()));
                if self.track.runs.len() > MAX_RUNS {
                    return Err(Fault::reject(format!("A track of the file has more than {MAX_RUNS} runs of chunks (`stsc`).")));
                }
                self.at += bytes.len() as u64;
                if self.at >= end {
                    self.need = Need::Header;
                }
            }
        }
        self.leave()
    }

    /// Where the box ends that is around all that follows.
    fn end(&self) -> u64 {
        self.around.last().map_or(0, |(end, _)| *end)
    }

    /// Begins a box that ends there, or where the one around it does.
    fn enter(&mut self, kind: [u8; 4], end: u64) -> Result<(), Fault> {
        let end = end.min(self.end()).max(self.at);
        self.need = Need::Header;
        if HOLDERS.contains(&kind) && self.around.len() <= MAX_DEPTH {
            if kind == *b"trak" {
                self.end_track()?;
            }
            self.around.push((end, kind));
            return Ok(());
        }
        match &kind {
            b"stsc" if end - self.at > 8 => {
                // Behind version, flags and count.
                self.at += 8;
                self.need = Need::Runs(end);
            }
            b"hdlr" | b"stsd" | b"stts" | b"stsz" | b"stz2" | b"stco" | b"co64" | b"trun" if end > self.at => {
                self.need = Need::Counts(kind, end);
            }
            _ => self.at = end,
        }
        Ok(())
    }

    /// Ends the boxes in which no other has a place.
    fn leave(&mut self) -> Result<(), Fault> {
        while let (Need::Header, Some((end, kind))) = (self.need, self.around.last().copied())
            && self.at.saturating_add(8) > end
        {
            self.around.pop();
            self.at = end;
            if kind == *b"trak" {
                self.end_track()?;
            }
        }
        Ok(())
    }

    fn end_track(&mut self) -> Result<(), Fault> {
        let packets = std::mem::take(&mut self.track).packets();
        self.add(packets)
    }

    fn counts(&mut self, kind: [u8; 4], bytes: &[u8]) -> Result<(), Fault> {
        let track = &mut self.track;
        let count = u64::from(number(bytes, 4));
        match &kind {
            b"hdlr" => {
                track.is_sound |= bytes.get(8..12) == Some(b"soun");
                track.is_picture |= bytes.get(8..12) == Some(b"vide");
            }
            b"stts" => track.is_even = count == 1 && number(bytes, 12) == 1,
            b"stsz" | b"stz2" => track.samples = track.samples.max(u64::from(number(bytes, 8))),
            b"stco" | b"co64" => track.chunks = track.chunks.max(count),
            b"stsd" => {
                let code = bytes.get(12..16).unwrap_or_default();
                let told = if number(bytes, 24) >> 16 == 1 { u64::from(number(bytes, 44)) } else { 0 };
                track.together = if code == b"agsm" || code == b"ms\0\x31" { 160 } else { told };
            }
            b"trun" => return self.add(count),
            _ => {}
        }
        Ok(())
    }

    fn add(&mut self, packets: u64) -> Result<(), Fault> {
        self.packets = self.packets.saturating_add(packets);
        if self.packets <= MAX_PACKETS {
            return Ok(());
        }
        Err(Fault::reject(format!(
            "The file's tables claim {} pictures and pieces of sound or more, and {MAX_PACKETS} are accepted: the file is damaged, or \
             was made to do harm; if it is that long, cut it into parts and upload those.",
            self.packets
        )))
    }
}

impl Track {
    /// Of plain sound ffmpeg makes its own packets out of a chunk's samples: an hour of it has 172.8 million.
    fn packets(&self) -> u64 {
        if !self.is_sound || self.is_picture || !self.is_even {
            return self.samples;
        }
        let together = if self.together >= 160 { self.together } else { PLAIN };
        let ends = self.runs.iter().skip(1).map(|(first, _)| u64::from(*first)).chain([self.chunks.saturating_add(1)]);
        let of_run = |((first, samples), end): (&(u32, u32), u64)| {
            end.saturating_sub(u64::from(*first)).saturating_mul(u64::from(*samples).div_ceil(together))
        };
        self.runs.iter().zip(ends).map(of_run).fold(0, u64::saturating_add)
    }
}

/// Four bytes, big endian; 0 where they are not there.
fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_be_bytes)
}

#[cfg(test)]
mod tests;
