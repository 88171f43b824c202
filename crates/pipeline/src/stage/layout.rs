//! What a file is by its first bytes, and where an MP4's tables lie. Pure.

use super::sound;
use crate::{fault::Fault, plan::ByteRange};

/// Bytes that are looked at first.
pub const HEAD: u64 = 4096;

/// Containers by their first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// ISO BMFF and `QuickTime`: tables say where every packet is.
    Boxes,
    /// Matroska and `WebM`: must be read whole. `indexed`: its head names an index (Cues), so that it can be entered anywhere.
    Ebml { indexed: bool },
    /// Sound and no picture: nothing of it is cut, so that it needs no index.
    Sound,
    /// Without an index that leads to a picture, or without the times of its pictures: remuxed once.
    Stream,
    /// As a stream, but its index stands at its end, and only with that are the times of its pictures right (SMPTE ST 377-1,
    /// 11): remuxed from a file, not through a pipe.
    Mxf,
}

/// `SeekID` with the ID of Cues (RFC 9559, 5.1.1): the file has an index, and says where.
const SEEK_TO_CUES: [u8; 7] = [0x53, 0xAB, 0x84, 0x1C, 0x53, 0xBB, 0x6B];
/// Partition packs of MXF begin with this (SMPTE ST 377-1, 7.1).
const MXF: [u8; 11] = [0x06, 0x0E, 0x2B, 0x34, 0x02, 0x05, 0x01, 0x01, 0x0D, 0x01, 0x02];
/// Packets of transport streams: plain, with the time code of Blu-ray and AVCHD, with check bytes.
const TS_PACKETS: [usize; 3] = [188, 192, 204];
/// First byte of each of them (ISO 13818-1, 2.4.3.3).
const TS_SYNC: u8 = 0x47;

/// What the first bytes of a file say. `Reject` names what it looks like instead.
pub fn shape(head: &[u8]) -> Result<Shape, Fault> {
    if head.is_empty() {
        return Err(Fault::reject("the file is empty: the upload was not finished"));
    }
    if head.starts_with(&[0x1A, 0x45, 0xDF, 0xA3]) {
        return Ok(Shape::Ebml { indexed: head.windows(SEEK_TO_CUES.len()).any(|bytes| bytes == SEEK_TO_CUES) });
    }
    let kind = head.get(4..8).unwrap_or_default();
    if [&b"ftyp"[..], b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"].contains(&kind) {
        return Ok(Shape::Boxes);
    }
    // A capture may begin anywhere in a packet, as well with what a frame of sound begins with.
    if sound::is_sound(head) && !(head.starts_with(&[0xFF]) && (is_transport_stream(head) || has_pack(head))) {
        return Ok(Shape::Sound);
    }
    if is_stream(head) {
        return Ok(Shape::Stream);
    }
    if head.starts_with(&MXF) {
        return Ok(Shape::Mxf);
    }
    Err(Fault::reject(format!(
        "this is neither a video nor sound that can be taken: {}; MP4, MOV, MKV, WebM, AVI, FLV, WMV, Ogg, MXF, GXF, DV, MPEG streams, MP3, AAC, AC-3, FLAC, WAV and AIFF are taken",
        looks_like(head)
    )))
}

fn is_stream(head: &[u8]) -> bool {
    match head {
        // A program stream's pack (ISO 13818-1, 2.5.3.3); FLV; Ogg.
        [0, 0, 1, 0xBA, ..] | [b'F', b'L', b'V', 1, ..] | [b'O', b'g', b'g', b'S', ..]
        // DV: the header of a first DIF sequence (IEC 61834-2, 11.2), of 525 or 625 lines.
        | [0x1F, 7, 0, 0x3F | 0xBF, ..]
        // ASF: the GUID of the header object. GXF: a packet leader (SMPTE 360M) with the type of a map packet.
        | [0x30, 0x26, 0xB2, 0x75, ..] | [0, 0, 0, 0, 1, 0xBC, ..]
        | [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' ', ..] => true,
        _ => is_transport_stream(head) || has_pack(head),
    }
}

/// Whether sync bytes stand at equal distances. A capture may begin anywhere in a packet.
fn is_transport_stream(head: &[u8]) -> bool {
    TS_PACKETS.iter().any(|size| {
        let synced = |from: usize| {
            let mut syncs = head.iter().skip(from).step_by(*size).take(5);
            syncs.len() >= 2 && syncs.all(|byte| *byte == TS_SYNC)
        };
        (0..(*size).min(head.len())).any(synced)
    })
}

/// Marker bits of a pack's header behind its start code: masks, and what is there under them (ISO 13818-1, 2.5.3.3).
const PACK: [(u8, u8); 10] = [(0xC4, 0x44), (0, 0), (4, 4), (0, 0), (4, 4), (1, 1), (0, 0), (0, 0), (3, 3), (0, 0)];
/// Those of MPEG-1 (ISO 11172-1, 2.4.3.2).
const OLD_PACK: [(u8, u8); 8] = [(0xF1, 0x21), (0, 0), (1, 1), (0, 0), (1, 1), (0x80, 0x80), (0, 0), (1, 1)];

/// Whether a pack of a program stream, which another start code follows, begins anywhere. A capture may begin in the middle of one.
fn has_pack(head: &[u8]) -> bool {
    let marked = |bytes: &[u8], marks: &[(u8, u8)]| {
        bytes.len() >= marks.len() && bytes.iter().zip(marks).all(|(byte, (mask, bits))| byte & mask == *bits)
    };
    let is_pack = |at: usize| {
        let Some(fields) = head.get(at..).and_then(|bytes| bytes.strip_prefix(&[0, 0, 1, 0xBA])) else { return false };
        // The last byte has the length of the stuffing.
        let stuffing = fields.get(PACK.len() - 1).map_or(0, |byte| usize::from(byte & 7));
        let ends = |length: usize| fields.get(length..).is_some_and(|next| next.starts_with(&[0, 0, 1]));
        marked(fields, &PACK) && ends(PACK.len() + stuffing) || marked(fields, &OLD_PACK) && ends(OLD_PACK.len())
    };
    (0..head.len()).any(is_pack)
}

fn looks_like(head: &[u8]) -> &'static str {
    let text = head.iter().take(512).all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace() || *b >= 0x80);
    match head {
        [0x89, b'P', b'N', b'G', ..]
        | [0xFF, 0xD8, 0xFF, ..]
        | [b'G', b'I', b'F', b'8', ..]
        | [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "it is a picture",
        [b'#', b'E', b'X', b'T', b'M', b'3', b'U', ..] => "it is a playlist, which names other files and holds no video",
        [b'P', b'K', 3, 4, ..] => "it is a ZIP archive",
        [0, 0, 1, ..] | [0, 0, 0, 1, ..] => {
            "it is a bare video stream without a container, which has no times: give it those by converting it, with as many \
             pictures a second as it has (ffmpeg -framerate 25 -i IN OUT.mp4; a mere copy would show its pictures in the order of \
             decoding), and upload that"
        }
        [b'.', b'R', b'M', b'F', ..] => "it is a RealMedia file",
        _ if text => "it is a text file",
        _ => "its first bytes belong to no known container",
    }
}

/// One top-level box (ISO 14496-12, 4.2): its kind and where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopBox {
    pub kind: [u8; 4],
    pub start: u64,
    /// Bytes of the header.
    pub header: u64,
    pub end: u64,
}

/// Reads the header of the box at `start` from up to 16 bytes of it, in a file of `size` bytes.
pub fn top_box(bytes: &[u8], start: u64, size: u64) -> Result<TopBox, Fault> {
    let truncated = || Fault::reject(format!("the file ends in the middle of a header at byte {start}: the upload was not finished"));
    let field = |from: usize, to: usize| bytes.get(from..to).ok_or_else(truncated);
    let be = |bytes: &[u8]| bytes.iter().fold(0u64, |sum, b| sum << 8 | u64::from(*b));
    let kind: [u8; 4] = field(4, 8)?.try_into().map_err(|_| truncated())?;
    if !kind.iter().all(|b| b.is_ascii_graphic() || *b == b' ' || *b == 0xA9) {
        return Err(Fault::reject(format!("the file is damaged: there is no box at byte {start}")));
    }
    let (header, length) = match be(field(0, 4)?) {
        0 => (8, size.saturating_sub(start)),
        1 => (16, be(field(8, 16)?)),
        length => (8, length),
    };
    if length < header {
        return Err(Fault::reject(format!("the file is damaged: the box at byte {start} has a length of {length}")));
    }
    Ok(TopBox { kind, start, header, end: start.saturating_add(length) })
}

/// Walks an MP4's boxes: what was read so far, and what is needed next.
#[derive(Clone, Debug, Default)]
pub struct Walk {
    boxes: Vec<TopBox>,
    at: u64,
    fragmented: bool,
}

/// Boxes at the top of a tidy file are few; fragmented files have thousands.
const MAX_BOXES: usize = 64;
/// Media bytes that the probe sees to learn pixel format and the like.
const FIRST_MEDIA: u64 = 2 << 20;

impl Walk {
    /// Where the next header lies; `None` at the end of the file, or where the first fragment tells enough.
    pub fn next(&self, size: u64) -> Option<u64> {
        (self.at < size && !self.fragmented).then_some(self.at)
    }
    /// The packets are in fragments all over the file (`moof`), and no table at one place says where.
    pub fn is_fragmented(&self) -> bool {
        self.fragmented
    }

    /// Takes the up to 16 bytes at [`next`](Self::next).
    pub fn take(&mut self, bytes: &[u8], size: u64) -> Result<(), Fault> {
        if self.at > 0 && bytes.iter().take(8).all(|b| *b == 0) {
            // Some writers pad the end with zeros.
            self.at = size;
            return Ok(());
        }
        let found = top_box(bytes, self.at, size)?;
        if found.kind == *b"moof" {
            self.fragmented = true;
            return Ok(());
        }
        if self.boxes.len() >= MAX_BOXES {
            return Err(Fault::reject(format!("the file has more than {MAX_BOXES} boxes at its top: it is no tidy MP4")));
        }
        self.at = found.end;
        self.boxes.push(found);
        Ok(())
    }

    /// Its tables are all there, whatever else is.
    pub fn has_tables(&self, size: u64) -> bool {
        self.boxes.iter().any(|b| b.kind == *b"moov" && b.end <= size)
    }

    /// Refuses a file that ends before its boxes do, or has no tables.
    pub fn whole(&self, size: u64) -> Result<(), Fault> {
        if let Some(cut) = self.boxes.iter().find(|b| b.end > size) {
            let kind = String::from_utf8_lossy(&cut.kind).into_owned();
            return Err(Fault::reject(format!(
                "the file is truncated: its `{kind}` part should end at byte {}, the file has {size}; upload it again",
                cut.end
            )));
        }
        if !self.boxes.iter().any(|b| b.kind == *b"moov") {
            return Err(Fault::reject("the file has no index (no `moov` box): the recording or the upload was not finished"));
        }
        Ok(())
    }

    /// The bytes that the probe needs: everything but the media, and the first of that.
    pub fn ranges(&self, size: u64) -> Vec<ByteRange> {
        let needed = self.boxes.iter().map(|b| match &b.kind {
            b"mdat" => ByteRange { start: b.start, end: b.end.min(b.start + FIRST_MEDIA).min(size) },
            _ => ByteRange { start: b.start, end: b.end.min(size) },
        });
        needed.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(length: u32, kind: [u8; 4]) -> Vec<u8> {
        [&length.to_be_bytes()[..], &kind, &[0; 8]].concat()
    }

    #[test]
    fn tables_at_the_end_are_found_and_media_is_left_out() {
        let mut walk = Walk::default();
        for bytes in [header(32, *b"ftyp"), header(9 << 20, *b"mdat"), header(5000, *b"moov")] {
            walk.take(&bytes, (9 << 20) + 5032).unwrap();
        }
        assert_eq!(walk.next((9 << 20) + 5032), None);
        let ranges: Vec<(u64, u64)> = walk.ranges((9 << 20) + 5032).into_iter().map(Into::into).collect();
        assert_eq!(ranges, [(0, 32), (32, 32 + (2 << 20)), ((9 << 20) + 32, (9 << 20) + 5032)]);
    }

    #[test]
    fn every_refusal_is_a_sentence() {
        let walked = |boxes: &[Vec<u8>], size| {
            let mut walk = Walk::default();
            boxes.iter().try_for_each(|b| walk.take(b, size)).and_then(|()| walk.whole(size)).unwrap_err().to_string()
        };
        insta::assert_snapshot!([
            shape(b"").unwrap_err().to_string(),
            shape(b"hello, world").unwrap_err().to_string(),
            shape(b"#EXTM3U\n").unwrap_err().to_string(),
            shape(&[7, 1, 2, 200, 255, 3, 9, 0]).unwrap_err().to_string(),
            shape(b"RIFF\0\0\0\0WEBP").unwrap_err().to_string(),
            shape(&[0, 0, 0, 1, 0x67, 0x64]).unwrap_err().to_string(),
            walked(&[header(32, *b"ftyp"), header(9000, *b"mdat")], 500),
            walked(&[header(32, *b"ftyp")], 32),
            walked(&[header(3, *b"ftyp")], 500),
        ].join("\n"), @r"
        the file is empty: the upload was not finished
        this is neither a video nor sound that can be taken: it is a text file; MP4, MOV, MKV, WebM, AVI, FLV, WMV, Ogg, MXF, GXF, DV, MPEG streams, MP3, AAC, AC-3, FLAC, WAV and AIFF are taken
        this is neither a video nor sound that can be taken: it is a playlist, which names other files and holds no video; MP4, MOV, MKV, WebM, AVI, FLV, WMV, Ogg, MXF, GXF, DV, MPEG streams, MP3, AAC, AC-3, FLAC, WAV and AIFF are taken
        this is neither a video nor sound that can be taken: its first bytes belong to no known container; MP4, MOV, MKV, WebM, AVI, FLV, WMV, Ogg, MXF, GXF, DV, MPEG streams, MP3, AAC, AC-3, FLAC, WAV and AIFF are taken
        this is neither a video nor sound that can be taken: it is a picture; MP4, MOV, MKV, WebM, AVI, FLV, WMV, Ogg, MXF, GXF, DV, MPEG streams, MP3, AAC, AC-3, FLAC, WAV and AIFF are taken
        this is neither a video nor sound that can be taken: it is a bare video stream without a container, which has no times: give it those by converting it, with as many pictures a second as it has (ffmpeg -framerate 25 -i IN OUT.mp4; a mere copy would show its pictures in the order of decoding), and upload that; MP4, MOV, MKV, WebM, AVI, FLV, WMV, Ogg, MXF, GXF, DV, MPEG streams, MP3, AAC, AC-3, FLAC, WAV and AIFF are taken
        the file is truncated: its `mdat` part should end at byte 9032, the file has 500; upload it again
        the file has no index (no `moov` box): the recording or the upload was not finished
        the file is damaged: the box at byte 0 has a length of 3
        ");
    }

    #[test]
    fn containers_are_told_by_their_first_bytes() {
        let mut packets = vec![0u8; 4096];
        packets.iter_mut().skip(100).step_by(188).for_each(|byte| *byte = 0x47);
        let mut blu_ray = vec![0u8; 4096];
        blu_ray.iter_mut().skip(4).step_by(192).for_each(|byte| *byte = 0x47);
        // As a writer of discs and ffmpeg's of MPEG-1 begin a pack.
        let pack = [0, 0, 1, 0xBA, 0x44, 0, 4, 0, 4, 1, 1, 0x89, 0xC3, 0xF8, 0, 0, 1, 0xBB];
        let old_pack = [0, 0, 1, 0xBA, 0x21, 0, 1, 0, 1, 0x80, 0x1B, 0x91, 0, 0, 1, 0xE0];
        let from_the_middle = [&[0xFF, 0xFB, 0x90, 0x64, 7][..], &pack].concat();
        let streams: [&[u8]; 10] = [
            &from_the_middle,
            &[&[7; 700][..], &old_pack].concat(),
            &packets,
            &blu_ray,
            &[0, 0, 1, 0xBA, 0x44],
            b"FLV\x01",
            b"OggS \x80theora",
            b"RIFF\0\0\0\0AVI LIST",
            &[0, 0, 0, 0, 1, 0xBC],
            &[0x1F, 7, 0, 0xBF, 0xF8],
        ];
        for head in streams {
            assert_eq!(shape(head).unwrap(), Shape::Stream, "{head:?}");
        }
        // A start code alone, or none behind it, is no pack.
        for head in [&[&[7][..], &pack[..14]].concat(), &[&[7][..], &pack[..13], &[0xF9, 0, 0, 1]].concat()] {
            assert!(shape(head).is_err(), "{head:?}");
        }
        for head in [&b"ID3\x04"[..], b"RIFF\0\0\0\0WAVEfmt ", b"OggS\0\x02 \x01vorbis", &[0xFF, 0xFB, 0x90, 0x64]] {
            assert_eq!(shape(head).unwrap(), Shape::Sound, "{head:?}");
        }
        assert_eq!(shape(&MXF).unwrap(), Shape::Mxf);
        let matroska = |rest: &[u8]| shape(&[&[0x1A, 0x45, 0xDF, 0xA3][..], rest].concat()).unwrap();
        assert_eq!(matroska(&SEEK_TO_CUES), Shape::Ebml { indexed: true });
        assert_eq!(matroska(b"live"), Shape::Ebml { indexed: false });
    }

    #[test]
    fn a_fragment_ends_the_walk_and_says_so() {
        let mut walk = Walk::default();
        walk.take(&header(32, *b"ftyp"), 500).unwrap();
        assert!(!walk.is_fragmented());
        walk.take(&header(64, *b"moof"), 500).unwrap();
        assert_eq!((walk.is_fragmented(), walk.next(500)), (true, None));
    }

    proptest! {
        #[test]
        fn any_bytes_end_the_walk(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let size = bytes.len() as u64;
            let mut walk = Walk::default();
            let mut steps = 0;
            while let Some(at) = walk.next(size) {
                steps += 1;
                prop_assert!(steps <= MAX_BOXES + 1);
                let from = usize::try_from(at).unwrap();
                if walk.take(&bytes[from..bytes.len().min(from + 16)], size).is_err() {
                    break;
                }
            }
            let _ = walk.whole(size);
            prop_assert!(walk.ranges(size).iter().all(|range| range.end <= size));
            let _ = shape(&bytes);
        }
    }
}
