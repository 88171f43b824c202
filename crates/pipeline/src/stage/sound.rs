//! Files of sound alone: what they are by their first bytes, and how much there is of them by their own word; where an Ogg file
//! ends. Pure.

use super::layout;
use crate::{
    fault::Fault,
    plan::ByteRange,
    source::{AudioTrack, SourceReport},
};

/// Bytes of an ID3 header (ID3v2.4.0, 3.1).
const ID3_HEADER: usize = 10;
/// Longest page of Ogg: 27 bytes, 255 lengths of at most 255 bytes (RFC 3533, 6).
pub const OGG_PAGE: u64 = 27 + 255 + 255 * 255;
/// Streams of pictures in Ogg by the beginning of their first packets.
const PICTURES: [&[u8]; 4] = [b"\x80theora", b"BBCD\0", b"OVP80", b"\x01video"];
/// Chunks that are looked at before the one that holds the samples of a WAV file.
const MAX_CHUNKS: usize = 64;

/// Whether a file that begins so holds sound and, but for a cover, no picture.
pub fn is_sound(head: &[u8]) -> bool {
    match head {
        [b'R', b'I', b'F', b'F' | b'X', ..] | [b'R', b'F', b'6', b'4', ..] => head.get(8..12) == Some(b"WAVE"),
        [b'F', b'O', b'R', b'M', ..] => matches!(head.get(8..12), Some(b"AIFF" | b"AIFC")),
        [b'I', b'D', b'3', ..] | [b'f', b'L', b'a', b'C', ..] | [0x0B, 0x77, ..] => true,
        [b'O', b'g', b'g', b'S', ..] => !PICTURES.iter().any(|mark| head.windows(mark.len()).any(|bytes| bytes == *mark)),
        _ => is_adts(head) || mpeg_frame(head).is_some(),
    }
}

/// ADTS (ISO/IEC 14496-3, 1.A.2.2): twelve bits set, layer 0, a rate that there is.
fn is_adts(head: &[u8]) -> bool {
    matches!(head, [0xFF, second, third, ..] if second & 0xF6 == 0xF0 && third >> 2 & 0xF < 13)
}

/// A frame of MPEG audio (ISO/IEC 11172-3, 2.4.1.3; 13818-3, 2.4.2.3).
struct MpegFrame {
    /// Of the "Xing" tag, from the frame's start.
    tag: usize,
}

fn mpeg_frame(head: &[u8]) -> Option<MpegFrame> {
    let [0xFF, second, third, fourth, ..] = *head else { return None };
    let (version, layer) = (second >> 3 & 3, second >> 1 & 3);
    // Layer I is nobody's upload, and the byte order mark of UTF-16 looks like it.
    let real = second & 0xE0 == 0xE0 && version != 1 && (layer == 1 || layer == 2) && third >> 4 != 0xF && third >> 2 & 3 != 3;
    let mono = fourth >> 6 == 3;
    // The tag stands behind the side information of layer III.
    let side = match (version == 3, mono) {
        (true, false) => 32,
        (true, true) | (false, false) => 17,
        (false, true) => 9,
    };
    real.then_some(MpegFrame { tag: 4 + side })
}

/// Bytes of the ID3 tag that a file begins with; 0 where it has none (ID3v2.4.0, 3.1: seven bits of each of four bytes).
fn tag_bytes(head: &[u8]) -> u64 {
    match head.get(..ID3_HEADER) {
        Some([b'I', b'D', b'3', _, _, flags, size @ ..]) => {
            let size = size.iter().fold(0u64, |sum, byte| sum << 7 | u64::from(byte & 0x7F));
            let footer = if flags & 0x10 == 0 { 0 } else { ID3_HEADER as u64 };
            ID3_HEADER as u64 + size + footer
        }
        _ => 0,
    }
}

/// How much a file of sound says that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Ends at this byte.
    Bytes(u64),
    /// Samples of each channel.
    Samples(u64),
    /// Packets.
    Packets(u64),
}

/// Where the head of a file lies that begins with a tag, as much of it as [`claim`] needs. `None`: it has none, or nothing behind it.
pub fn behind_tag(head: &[u8], size: u64) -> Option<ByteRange> {
    let start = tag_bytes(head);
    (start > 0 && start < size).then(|| ByteRange { start, end: size.min(start + layout::HEAD) })
}

/// What a file claims by its head, from which [`tag_bytes`] were taken; `start`: where it begins. `None`: it says nothing.
pub fn claim(head: &[u8], start: u64) -> Option<Claim> {
    match head {
        [b'R', b'I', b'F', b'F', ..] => riff_end(head, u32::from_le_bytes, *b"data").map(|end| Claim::Bytes(start + end)),
        [b'F', b'O', b'R', b'M', ..] => riff_end(head, u32::from_be_bytes, *b"SSND").map(|end| Claim::Bytes(start + end)),
        [b'f', b'L', b'a', b'C', ..] => {
            // STREAMINFO (RFC 9639, 8.2) comes first: 36 bits of samples, 0 where the writer did not know.
            let word = u64::from_be_bytes(*head.get(18..26)?.first_chunk()?);
            Some(word & 0xF_FFFF_FFFF).filter(|samples| *samples > 0).map(Claim::Samples)
        }
        _ => mpeg_packets(head).map(Claim::Packets),
    }
}

/// Where the chunk with the samples ends (RIFF and IFF: chunks of a name, a length and so many bytes).
fn riff_end(head: &[u8], number: fn([u8; 4]) -> u32, samples: [u8; 4]) -> Option<u64> {
    // Who writes into a pipe leaves a length open.
    let known = |length: u32| (length != 0 && length < u32::MAX - 0xFFFF).then(|| u64::from(length));
    let mut at = 12usize;
    for _ in 0..MAX_CHUNKS {
        let Some((name, length)) = head.get(at..at + 4).zip(head.get(at + 4..at + 8).and_then(|bytes| bytes.first_chunk())) else {
            // Behind what was read: then the whole file's own length, of which writers forget the last byte of padding.
            return known(number(*head.get(4..8)?.first_chunk()?)).map(|length| 8 + length - 1);
        };
        let length = number(*length);
        if name == samples {
            return known(length).map(|length| at as u64 + 8 + length);
        }
        at = at.checked_add(8 + usize::try_from(length).ok()? + usize::try_from(length & 1).ok()?)?;
    }
    None
}

/// Frames by the tag in the first one: `Xing` and `Info` of LAME and its kin, `VBRI` of Fraunhofer's encoder.
fn mpeg_packets(head: &[u8]) -> Option<u64> {
    let frame = mpeg_frame(head)?;
    let number = |at: usize| Some(u64::from(u32::from_be_bytes(*head.get(at..at + 4)?.first_chunk()?)));
    let at = frame.tag;
    let counted = match (head.get(at..at + 4), head.get(36..40)) {
        (Some(b"Xing" | b"Info"), _) if number(at + 4)? & 1 == 1 => number(at + 8),
        (_, Some(b"VBRI")) => number(36 + 14),
        _ => None,
    };
    counted.filter(|frames| *frames > 0)
}

/// Whether the last page of an Ogg file is whole: a stretch from the end of the file, at least [`OGG_PAGE`] of it if there
/// is as much (RFC 3533, 6).
pub fn last_page_is_whole(end: &[u8]) -> bool {
    let Some(at) = end.windows(4).rposition(|bytes| bytes == b"OggS") else { return false };
    let page = end.get(at..).unwrap_or_default();
    let Some(count) = page.get(26) else { return false };
    let Some(lengths) = page.get(27..27 + usize::from(*count)) else { return false };
    let body: usize = lengths.iter().map(|length| usize::from(*length)).sum();
    // The name of a page that has no more of it is half a page as well.
    page.get(27 + lengths.len() + body..).is_some_and(|behind| behind.is_empty() || !b"OggS".starts_with(behind))
}

/// Of a file whose end is not where it should be.
pub fn cut_off() -> Fault {
    Fault::reject("the file is truncated: it ends in the middle of a page; upload it again")
}

/// Refuses a file that holds less than it claims: what is missing was never uploaded.
pub fn is_whole(claim: Option<Claim>, size: u64, report: &SourceReport) -> Result<(), Fault> {
    let truncated = |what: String| Fault::reject(format!("the file is truncated: {what}; upload it again"));
    let Some(track) = report.audio.first() else { return Ok(()) };
    match claim {
        Some(Claim::Bytes(end)) if end > size => Err(truncated(format!("its samples should end at byte {end}, the file has {size}"))),
        // LAME does not count the frame that holds the tag, others do.
        Some(Claim::Packets(packets)) if track.packets + 1 < packets => {
            Err(truncated(format!("it should hold {packets} frames of sound, and holds {}", track.packets)))
        }
        Some(Claim::Samples(samples)) if samples_of(track) < samples => {
            Err(truncated(format!("it should hold {samples} samples of sound, and holds {}", samples_of(track))))
        }
        _ => Ok(()),
    }
}

/// Seconds that may be missing between two packets: times of some containers are rounded.
const HOLE: f64 = 0.1;

/// Refuses a file of sound of which a part in the middle cannot be read: such files have no gaps of their own.
pub fn is_one_piece(report: &SourceReport) -> Result<(), Fault> {
    let hole = |track: &AudioTrack| {
        let (at, length) = track.hole?;
        let (from, length) = (track.time_base.seconds(at - track.first_pts.unwrap_or(0)), track.time_base.seconds(length));
        (length > HOLE).then(|| format!("the sound is damaged: nothing of seconds {from:.2} to {:.2} can be read", from + length))
    };
    report.audio.iter().find_map(hole).map_or(Ok(()), |text| Err(Fault::reject(text)))
}

fn samples_of(track: &AudioTrack) -> u64 {
    let rate = crate::timebase::TimeBase::new(1, track.sample_rate).unwrap_or(track.time_base);
    u64::try_from(track.time_base.rescale(track.end_pts.unwrap_or(0), rate)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_wav_file_says_where_its_samples_end() {
        let file = |length: [u8; 4]| [&b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0"[..], &[1; 16], b"LIST\x03\0\0\0abc\0data", &length].concat();
        assert!(is_sound(&file([0; 4])));
        assert_eq!(claim(&file([0, 1, 0, 0]), 0), Some(Claim::Bytes(36 + 12 + 8 + 256)));
        assert_eq!(claim(&file([0xFF; 4]), 0), None, "written into a pipe");
        let broadcast = [&b"RIFF\x00\x10\0\0WAVEbext\x00\x08\0\0"[..], &[0; 64]].concat();
        assert_eq!(claim(&broadcast, 0), Some(Claim::Bytes(4096 + 7)), "its samples begin further behind");
        let aiff = [&b"FORM\0\0\0\x24AIFFSSND"[..], &[0, 0, 1, 0]].concat();
        assert_eq!((is_sound(&aiff), claim(&aiff, 0)), (true, Some(Claim::Bytes(12 + 8 + 256))));
    }

    #[test]
    fn an_mp3_says_how_many_frames_it_has_behind_its_cover() {
        let tag = [&b"ID3\x04\0\0"[..], &[0, 0, 2, 1], &[0; 257]].concat();
        assert_eq!(tag_bytes(&tag), tag.len() as u64);
        let mut frame = [&[0xFF, 0xFB, 0x90, 0x64][..], &[0; 32], b"Info", &[0, 0, 0, 0xF], &[0, 0, 1, 0xF4], &[0; 100]].concat();
        assert_eq!(claim(&frame, 267), Some(Claim::Packets(500)));
        frame[43] = 0;
        assert_eq!(claim(&frame, 267), None, "its tag does not say");
        let vbri = [&[0xFF, 0xFB, 0x90, 0x64][..], &[0; 32], b"VBRI", &[0; 10], &[0, 0, 0, 7]].concat();
        assert_eq!(claim(&vbri, 0), Some(Claim::Packets(7)));
    }

    #[test]
    fn ogg_is_sound_where_no_stream_of_pictures_begins_in_it() {
        assert!(is_sound(b"OggS\0\x02........OpusHead") && !is_sound(b"OggS\0\x02........\x80theora"));
        let page = |body: usize| [&b"OggS"[..], &[0; 22], &[1, 200], &vec![0; body]].concat();
        assert!(last_page_is_whole(&page(200)) && !last_page_is_whole(&page(199)) && !last_page_is_whole(b"OggS"));
        let followed = |behind: &[u8]| last_page_is_whole(&[&page(200), behind].concat());
        assert!(!followed(b"O") && !followed(b"Ogg") && followed(b"TAG"), "half a name");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0usize..6) {
            let heads: [&[u8]; 6] = [b"RIFF\0\0\0\0WAVE", b"FORM\0\0\0\0AIFF", b"fLaC", b"ID3", b"OggS", &[0xFF, 0xFB, 0x90, 0x64]];
            let file = [heads[kind], &bytes].concat();
            let _ = (is_sound(&file), tag_bytes(&file), claim(&file, 0), last_page_is_whole(&file), is_sound(&bytes));
        }
    }
}
