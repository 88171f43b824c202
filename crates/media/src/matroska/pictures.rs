//! A walk's look into the pictures of H.264, for those that are coded as two fields.

use pipeline::{plan::ByteRange, stage::ebml::CODEC_ID};

use super::{entries, field};
use crate::fields::{Coding, Unit};

const CODEC_PRIVATE: u64 = 0x63A2;
/// A track whose packets are packed once more, or begin with bytes that are left out (RFC 9559, 5.1.4.1.31).
const CONTENT_ENCODINGS: u64 = 0x6D80;
/// H.264 whose units have their lengths before them.
const AVC: &[u8] = b"V_MPEG4/ISO/AVC";
/// Units of a packet before its first slice that are passed over at most.
const MAX_UNITS: u32 = 64;

#[derive(Debug, Default)]
pub struct Pictures {
    /// Of the tracks of H.264, by number.
    codings: Vec<(u64, Coding)>,
    /// What is looked into, and its track's place among them.
    packet: Option<(usize, Packet)>,
    /// Where the packets begin that hold the second field of a picture.
    pub second: Vec<u64>,
}

/// One packet of a block.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// Of the block: where ffprobe says that the packet is.
    pub body: ByteRange,
    /// Where its frame begins.
    pub frame: u64,
    /// Where the walk goes on behind it.
    pub after: u64,
    /// Units passed.
    pub units: u32,
}

impl Pictures {
    /// `tracks`: the body of the element.
    pub fn tracks(&mut self, tracks: &[u8]) {
        let plain = entries(tracks).filter(|(_, entry)| field(entry, CONTENT_ENCODINGS).is_none());
        let avc = plain.filter(|(_, entry)| field(entry, CODEC_ID).is_some_and(|codec| codec.starts_with(AVC)));
        self.codings = avc.filter_map(|(number, entry)| Some((number, Coding::of_record(field(entry, CODEC_PRIVATE)?)?))).collect();
    }

    /// Goes into a packet of a track, if that may say something. Answers where it begins.
    pub fn enter(&mut self, track: u64, packet: Packet, is_key: bool) -> Option<u64> {
        let place = self.codings.iter().position(|(number, coding)| *number == track && (is_key || coding.has_fields()))?;
        let inside = packet.frame < packet.body.end;
        self.packet = inside.then_some((place, packet));
        inside.then_some(packet.frame)
    }

    /// The end of the packet that it is in.
    pub fn packet_ends(&self) -> Option<u64> {
        self.packet.map(|(_, packet)| packet.body.end)
    }

    /// Looks at the unit of a packet that begins at `at` with these bytes. Answers where the next look is; `None`: it is in none.
    pub fn look(&mut self, at: u64, bytes: &[u8]) -> Option<u64> {
        let (place, packet) = self.packet.take()?;
        let (_, coding) = self.codings.get_mut(place)?;
        match coding.unit(bytes) {
            Some(Unit::Before(length)) if packet.units < MAX_UNITS && at.saturating_add(length) < packet.body.end => {
                self.packet = Some((place, Packet { units: packet.units + 1, ..packet }));
                return Some(at + length);
            }
            Some(Unit::Slice { is_second: true }) => self.second.push(packet.body.start),
            Some(Unit::Slice { is_second: false }) => {}
            Some(Unit::Before(_)) | None => coding.lost(),
        }
        Some(packet.after)
    }
}
