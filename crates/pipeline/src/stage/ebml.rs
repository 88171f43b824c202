//! Where a Matroska file should end by its own head, and whether that says of its tracks what they are (RFC 8794, sections 4 to
//! 6; RFC 9559, 5.1). Pure.

use crate::{fault::Fault, plan::ByteRange};

/// ID of the element that holds all the others but the head.
pub const SEGMENT: u64 = 0x1853_8067;
/// Elements that may stand before the Segment: the head, Void, CRC-32.
const MAX_BEFORE: usize = 8;

/// Elements of the Segment that may stand before its tracks.
const MAX_CHILDREN: usize = 16;
/// Bytes of an element's head: an ID of four, a size of eight.
pub const ELEMENT_HEAD: u64 = 12;
/// Bytes of the tracks' element that are looked at.
pub const MAX_TRACKS: u64 = 1 << 20;
pub const TRACKS: u64 = 0x1654_AE6B;
pub const CLUSTER: u64 = 0x1F43_B675;
pub const TRACK_ENTRY: u64 = 0xAE;
const TRACK_TYPE: u64 = 0x83;
pub const CODEC_ID: u64 = 0x86;
/// How codecs of a kind of track begin, and the number of that kind (RFC 9559, 5.1.4.1.3 and 5.1.4.1.21).
const KINDS: [(&[u8], u8, &str); 3] = [(b"V_", 1, "picture"), (b"A_", 2, "sound"), (b"S_", 17, "text")];

/// The head of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    pub id: u64,
    /// Bytes of the head.
    pub head: u64,
    /// Bytes of the body behind it; `None`: not known, it goes on.
    pub length: Option<u64>,
}

/// `None`: these bytes begin none.
pub fn element(bytes: &[u8]) -> Option<Element> {
    let (id, id_length) = number(bytes, true)?;
    let (length, length_length) = number(bytes.get(id_length..)?, false)?;
    let unknown = length == (1u64 << (7 * length_length)) - 1;
    let head = u64::try_from(id_length + length_length).ok()?;
    Some(Element { id, head, length: (!unknown).then_some(length) })
}

/// Elements that stand one behind the other, with their bodies.
pub fn elements(mut bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    std::iter::from_fn(move || {
        let found = element(bytes)?;
        let body = bytes.get(usize::try_from(found.head).ok()?..)?;
        let length = found.length.map_or(body.len(), |length| usize::try_from(length).unwrap_or(usize::MAX).min(body.len()));
        let (body, rest) = body.split_at(length);
        bytes = rest;
        Some((found.id, body))
    })
}

/// Refuses tracks whose kind is not that of their codec. The demuxer leaves such a track out without a word, and a film would
/// pass for its sound, or for a silent one. `tracks`: the body of the element.
fn tracks_agree(tracks: &[u8]) -> Result<(), Fault> {
    for (number, (_, entry)) in (1..).zip(elements(tracks).filter(|(id, _)| *id == TRACK_ENTRY)) {
        let of = |wanted| elements(entry).find(|(id, _)| *id == wanted).map(|(_, body)| body);
        let (Some(codec), Some(kind)) = (of(CODEC_ID), of(TRACK_TYPE).and_then(<[u8]>::last)) else { continue };
        let known = KINDS.iter().find(|(begin, _, _)| codec.starts_with(begin));
        if let Some((_, _, name)) = known.filter(|(_, number, _)| number != kind) {
            return Err(Fault::reject(format!(
                "the header is damaged: track {number} is {name} by its codec ({}), and something else by its type ({kind}); \
                 upload the file again, or repair it (mkvmerge -o OUT.mkv IN.mkv shows what it finds)",
                String::from_utf8_lossy(codec).escape_debug().take(40).collect::<String>()
            )));
        }
    }
    Ok(())
}

/// The way to what a file says of its tracks, element by element.
#[derive(Debug)]
pub struct ToTracks {
    wanted: Option<ByteRange>,
    /// `wanted` is the body of the tracks' element.
    arrived: bool,
    seen: usize,
}

impl ToTracks {
    /// From the first bytes of the file.
    pub fn begin(head: &[u8]) -> Self {
        let wanted = segment(head).map(|(start, _)| head_at(start));
        Self { wanted, arrived: false, seen: 0 }
    }

    /// The bytes that are looked at next, of a file of `size`. `None`: all that there is to see was seen.
    pub fn next(&self, size: u64) -> Option<ByteRange> {
        let range = self.wanted?;
        Some(ByteRange { end: range.end.min(size), ..range }).filter(|range| range.start < range.end)
    }

    /// Takes the bytes of [`next`](Self::next). `Reject`: a track's kind is not that of its codec.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let Some(at) = self.wanted.take().map(|range| range.start) else { return Ok(()) };
        if self.arrived {
            return tracks_agree(bytes);
        }
        self.seen += 1;
        let Some(found) = element(bytes).filter(|_| self.seen <= MAX_CHILDREN) else { return Ok(()) };
        let (body, length) = (at.saturating_add(found.head), found.length.unwrap_or(u64::MAX));
        self.arrived = found.id == TRACKS;
        self.wanted = match found.id {
            TRACKS => Some(ByteRange { start: body, end: body.saturating_add(length.min(MAX_TRACKS)) }),
            CLUSTER => None,
            _ => Some(head_at(body.saturating_add(length))),
        };
        Ok(())
    }
}

/// Whether the first Cluster begins within these first bytes of a file: all that stands before the media is among them.
pub fn holds_head(bytes: &[u8]) -> bool {
    let clusters = || {
        let mut at = segment(bytes)?.0;
        for _ in 0..MAX_CHILDREN {
            let found = element(bytes.get(usize::try_from(at).ok()?..)?)?;
            if found.id == CLUSTER {
                return Some(());
            }
            at = at.checked_add(found.head)?.checked_add(found.length?)?;
        }
        None
    };
    clusters().is_some()
}

fn head_at(start: u64) -> ByteRange {
    ByteRange { start, end: start.saturating_add(ELEMENT_HEAD) }
}

/// Refuses a file that ends before its Segment does: what is missing was never uploaded. A recording that was cut off
/// in the act has a Segment of unknown size, and is as long as it is.
pub fn whole(head: &[u8], size: u64) -> Result<(), Fault> {
    match segment_end(head) {
        Some(end) if end > size => Err(Fault::reject(format!(
            "the file is truncated: its `Segment` part should end at byte {end}, the file has {size}; upload it again"
        ))),
        _ => Ok(()),
    }
}

/// `None` where the head does not say.
fn segment_end(head: &[u8]) -> Option<u64> {
    segment(head).and_then(|(body, length)| Some(body.saturating_add(length?)))
}

/// Where the Segment's body begins, and its length where that is known.
fn segment(head: &[u8]) -> Option<(u64, Option<u64>)> {
    let mut at = 0u64;
    for _ in 0..MAX_BEFORE {
        let rest = head.get(usize::try_from(at).ok()?..)?;
        let found = element(rest)?;
        let body = at.checked_add(found.head)?;
        if found.id == SEGMENT {
            return Some((body, found.length));
        }
        at = body.checked_add(found.length?)?;
    }
    None
}

/// A number of variable length and its bytes. The marker that tells the length is part of an ID, not of a size.
pub fn number(bytes: &[u8], marker: bool) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = usize::try_from(first.leading_zeros()).ok()? + 1;
    let value = bytes.get(..length).filter(|_| length <= 8)?.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    Some((if marker { value } else { value & !(1u64 << (7 * length)) }, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: [u8; 7] = [0x1A, 0x45, 0xDF, 0xA3, 0x82, 0, 0];

    fn file(size: &[u8]) -> Vec<u8> {
        [&HEAD[..], &[0x18, 0x53, 0x80, 0x67], size].concat()
    }

    #[test]
    fn a_segment_that_ends_past_the_file_is_a_truncated_upload() {
        let long = file(&[0x01, 0, 0, 0, 0, 1, 0x7E, 0xCD]);
        assert_eq!(segment_end(&long), Some(19 + 0x17ECD));
        assert_eq!(whole(&long, 19 + 0x17ECD), Ok(()));
        let fault = whole(&long, 5000).unwrap_err().to_string();
        assert!(fault.contains("should end at byte 98016, the file has 5000"), "{fault}");
        assert_eq!(segment_end(&file(&[0x82])), Some(14));
    }

    #[test]
    fn a_live_recording_does_not_say() {
        assert_eq!(segment_end(&file(&[0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF])), None);
        assert_eq!(segment_end(&file(&[0xFF])), None);
    }

    fn track(kind: u8, codec: &[u8]) -> Vec<u8> {
        let length = |bytes: &[u8]| 0x80 | u8::try_from(bytes.len()).unwrap();
        let body = [&[0xD7, 0x81, 1, 0x83, 0x81, kind, 0x86, length(codec)][..], codec].concat();
        [&[0xAE, length(&body)][..], &body].concat()
    }

    /// Behind an Info element that is longer than what was read first.
    #[test]
    fn the_way_leads_over_what_stands_before_the_tracks() {
        let tracks = track(3, b"V_VP9");
        let behind = [&[0x16, 0x54, 0xAE, 0x6B, 0x80 | u8::try_from(tracks.len()).unwrap()][..], &tracks].concat();
        let info = [&[0x15, 0x49, 0xA9, 0x66, 0x60, 0x00][..], &[0; 0x2000]].concat();
        let whole = [file(&[0xFF]), info, behind].concat();
        let size = whole.len() as u64;
        let mut way = ToTracks::begin(&whole[..64]);
        let mut ended = Ok(());
        while let Some(range) = way.next(size) {
            let index = |at: u64| usize::try_from(at).unwrap();
            ended = way.take(&whole[index(range.start)..index(range.end)]);
        }
        assert!(ended.unwrap_err().to_string().contains("track 1 is picture"));
    }

    #[test]
    fn a_track_is_what_its_codec_is() {
        let film = [track(1, b"V_MPEG4/ISO/AVC"), track(2, b"A_AAC"), track(17, b"S_TEXT/UTF8"), track(33, b"D_WEBVTT")].concat();
        assert_eq!(tracks_agree(&film), Ok(()));
        let told = tracks_agree(&[track(2, b"A_AAC"), track(3, b"V_VP9")].concat()).unwrap_err().to_string();
        assert!(told.contains("track 2 is picture by its codec (V_VP9), and something else by its type (3)"), "{told}");
        assert!(tracks_agree(&track(1, b"A_OPUS")).is_err(), "a film would be silent");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = tracks_agree(&bytes);
            let mut way = ToTracks::begin(&[&file(&[0xFF])[..], &bytes].concat());
            let mut steps = 0;
            while let Some(range) = way.next(1 << 20) {
                let _ = way.take(&bytes[..bytes.len().min(usize::try_from(range.len()).unwrap())]);
                steps += 1;
            }
            prop_assert!(steps <= MAX_CHILDREN + 2);
            let _ = segment_end(&bytes);
            let _ = segment_end(&[&HEAD[..], &bytes].concat());
        }
    }
}
