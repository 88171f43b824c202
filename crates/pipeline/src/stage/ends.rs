//! Where a file that is remuxed should end by what its own parts say: AVI, ASF, FLV, MXF and fragmented MP4. Pure.
//!
//! A part is held to its length only where that was told and the part is a known one: recorders that were killed leave lengths
//! open, some are followed by bytes of nobody, and a file may always be longer than it says.

use super::layout::top_box;
use crate::{fault::Fault, plan::ByteRange};

/// Bytes of the longest head of a part: GUID and length in ASF.
const PART_HEAD: u64 = 24;
/// Parts of an AVI or ASF that are looked at. Programs begin another `RIFF` at every gigabyte or two.
const MAX_PARTS: usize = 2_000;
/// Bytes by which writers of AVI count a file as longer than it is: the head of `RIFF`, and a last byte of padding.
const MISCOUNTED: u64 = 8;

/// GUIDs as they lie in a file (ASF 01.20.03, 10.1 and 10.2), and what the objects are called.
const ASF_HEADER: [u8; 16] = *b"\x30\x26\xB2\x75\x8E\x66\xCF\x11\xA6\xD9\x00\xAA\x00\x62\xCE\x6C";
const ASF_DATA: [u8; 16] = *b"\x36\x26\xB2\x75\x8E\x66\xCF\x11\xA6\xD9\x00\xAA\x00\x62\xCE\x6C";
const ASF_FILE_PROPERTIES: [u8; 16] = *b"\xA1\xDC\xAB\x8C\x47\xA9\xCF\x11\x8E\xE4\x00\xC0\x0C\x20\x53\x65";
const ASF_INDEXES: [[u8; 16]; 4] = [
    *b"\x90\x08\x00\x33\xB1\xE5\xCF\x11\x89\xF4\x00\xA0\xC9\x03\x49\xCB",
    *b"\xD3\x29\xE2\xD6\xDA\x35\xD1\x11\x90\x34\x00\xA0\xC9\x03\x49\xBE",
    *b"\xF8\x03\xB1\xFE\xAD\x12\x64\x4C\x84\x0F\x2A\x1D\x2F\x7A\xD4\x8C",
    *b"\xD0\x3F\xB7\x3C\x4A\x0C\x03\x48\x95\x3D\xED\xF7\xB6\x22\x8F\x0C",
];
/// From an object's begin to the flags of File Properties (3.2), and the one of a file that is still written.
const ASF_FLAGS: usize = 88;
const ASF_BROADCAST: u8 = 1;
/// Bytes of a Data Object without packets (5.1): its writer never came back to say more.
const ASF_EMPTY_DATA: u64 = 50;

/// Bytes behind each tag of an FLV, which tell its length, and of the head of a tag.
const FLV_BACK: u64 = 4;
const FLV_TAG: u64 = 11;

/// Of an MXF's first partition pack (SMPTE ST 377-1, 7.1): bytes of its key, and from its value's begin to `FooterPartition`.
const MXF_KEY: usize = 16;
const MXF_FOOTER: usize = 24;

/// Boxes at the top of an MP4 (ISO 14496-12, 4.2 and annex on segments). What has another name may be anything.
const BOXES: [&[u8; 4]; 17] = [
    b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"imda", b"mfra", b"sidx", b"ssix", b"emsg", b"prft", b"free", b"skip", b"wide", b"uuid",
    b"meta", b"pdin",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `RIFF` chunks one behind the other, looked into (`OpenDML` 1.02: `AVI ` and then `AVIX`).
    Avi,
    Asf,
    /// FLV that says how many bytes it has: its last tag is looked at.
    Flv {
        told: u64,
    },
    /// ISO BMFF in fragments.
    Boxes,
}

/// Goes from part to part of a file.
#[derive(Clone, Debug)]
pub struct Ends {
    kind: Kind,
    at: u64,
    parts: usize,
    /// Nothing behind this can be held to anything.
    over: bool,
}

impl Ends {
    /// Of an AVI, ASF or FLV by its first bytes. `None`: the file is none of them, or an FLV that does not say how long it is.
    pub fn of(head: &[u8]) -> Option<Self> {
        let kind = match head {
            [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' ', ..] => Kind::Avi,
            _ if head.starts_with(&ASF_HEADER) => Kind::Asf,
            _ if head.starts_with(b"FLV") => Kind::Flv { told: flv_length(head)? },
            _ => return None,
        };
        Some(Self { kind, at: 0, parts: 0, over: kind == Kind::Asf && is_broadcast(head) })
    }

    /// Of an MP4 whose packets are in fragments. They may be very many: its heads are read as they go by.
    pub fn of_fragments() -> Self {
        Self { kind: Kind::Boxes, at: 0, parts: 0, over: false }
    }

    /// Bytes that are looked at next; `None`: the file is as long as it says, as far as it says.
    pub fn next(&self, size: u64) -> Option<ByteRange> {
        if let Kind::Flv { told } = self.kind {
            let is_over = self.over || told <= size;
            let start = if self.parts == 0 { size.saturating_sub(FLV_BACK) } else { self.at };
            return (!is_over).then(|| ByteRange { start, end: size.min(start.saturating_add(PART_HEAD)) });
        }
        let is_over = self.over || self.at >= size || (self.kind != Kind::Boxes && self.parts >= MAX_PARTS);
        (!is_over).then(|| ByteRange { start: self.at, end: size.min(self.at.saturating_add(PART_HEAD)) })
    }

    /// Takes the bytes of [`next`](Self::next). `Reject`: the file, of `size` bytes, ends before this part does.
    pub fn take(&mut self, head: &[u8], size: u64) -> Result<(), Fault> {
        self.parts += 1;
        let next = match self.kind {
            Kind::Avi => chunk(head, self.at, size),
            Kind::Asf => object(head, self.at, size),
            Kind::Flv { told } => tag(head, (self.parts > 1).then_some(self.at), told, size),
            Kind::Boxes => fragment(head, self.at, size),
        };
        // A part always has a head, so that the way always goes on.
        match next {
            Ok(Some(next)) => self.at = next,
            _ => self.over = true,
        }
        next.map(|_| ())
    }
}

fn truncated(name: &[u8], end: u64, size: u64) -> Fault {
    let name = String::from_utf8_lossy(name);
    let name = name.trim_end();
    Fault::reject(format!("the file is truncated: its `{name}` part should end at byte {end}, the file has {size}; upload it again"))
}

/// Where the chunk behind the one at `at` begins; `None` where nobody can say.
fn chunk(head: &[u8], at: u64, size: u64) -> Result<Option<u64>, Fault> {
    let Some((name, length)) = head.get(..4).zip(head.get(4..8).and_then(|bytes| bytes.first_chunk())) else { return Ok(None) };
    let length = u32::from_le_bytes(*length);
    // Who writes into a pipe, or is killed, leaves a length open.
    let is_told = length != 0 && length < u32::MAX - 0xFFFF;
    let end = at.saturating_add(8 + u64::from(length));
    match name {
        b"RIFF" | b"LIST" if !is_told => Ok(None),
        b"RIFF" if end > size.saturating_add(MISCOUNTED) => Err(truncated(name, end, size)),
        b"RIFF" => Ok(Some(at.saturating_add(12))),
        b"LIST" if end > size => Err(truncated(head.get(8..12).unwrap_or(name), end, size)),
        b"idx1" | b"JUNK" if end > size => Err(truncated(name, end, size)),
        b"LIST" | b"idx1" | b"JUNK" => Ok(Some(end + u64::from(length & 1))),
        _ => Ok((end <= size && name.iter().all(u8::is_ascii_graphic)).then_some(end + u64::from(length & 1))),
    }
}

/// The same of an object of ASF.
fn object(head: &[u8], at: u64, size: u64) -> Result<Option<u64>, Fault> {
    let Some((guid, length)) = head.get(..16).zip(head.get(16..24).and_then(|bytes| bytes.first_chunk())) else { return Ok(None) };
    let length = u64::from_le_bytes(*length);
    let end = at.saturating_add(length);
    let name = match guid {
        _ if guid == ASF_HEADER => "header",
        _ if guid == ASF_DATA && length <= ASF_EMPTY_DATA => return Ok(None),
        _ if guid == ASF_DATA => "data",
        _ if ASF_INDEXES.iter().any(|index| guid == index) => "index",
        _ => return Ok(None),
    };
    if end > size {
        return Err(truncated(name.as_bytes(), end, size));
    }
    Ok((length >= PART_HEAD).then_some(end))
}

/// Whether an ASF says that it was still written when its head was: then its lengths mean nothing (3.2).
fn is_broadcast(head: &[u8]) -> bool {
    let properties = head.windows(16).position(|guid| guid == ASF_FILE_PROPERTIES);
    properties.and_then(|at| head.get(at + ASF_FLAGS)).is_some_and(|flags| flags & ASF_BROADCAST != 0)
}

/// Whether an MXF reaches as far as its head says: behind all that is shown stands a partition of its own, the footer, whose place
/// the first partition tells once the file is closed. Who still records leaves it at zero.
pub fn mxf(head: &[u8], size: u64) -> Result<(), Fault> {
    match mxf_footer(head) {
        Some(footer) if footer != 0 && footer.saturating_add(MXF_KEY as u64) > size => Err(Fault::reject(format!(
            "the file is truncated: its last part (the footer) should begin at byte {footer}, the file has {size}; upload it again"
        ))),
        _ => Ok(()),
    }
}

fn mxf_footer(head: &[u8]) -> Option<u64> {
    // The length of the value is in BER (ISO/IEC 8825-1, 8.1.3): one byte, or one that tells how many follow.
    let length = *head.get(MXF_KEY)?;
    let value = MXF_KEY + 1 + if length < 0x80 { 0 } else { usize::from(length & 0x7F) };
    head.get(value + MXF_FOOTER..)?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// How many bytes an FLV says that it has, where it does: `filesize` of `onMetaData` (Adobe Flash Video File Format
/// Specification 10.1, E.5), which OBS writes as `fileSize`, a number of AMF 0. Who is killed while recording leaves it at zero.
fn flv_length(head: &[u8]) -> Option<u64> {
    let key = |bytes: &[u8]| bytes.eq_ignore_ascii_case(b"\0\x08filesize\0");
    let at = head.windows(11).rposition(key)? + 11;
    let told = f64::from_be_bytes(*head.get(at..)?.first_chunk()?);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number of 2 to the 53rd at most")]
    ((1.0..9e15).contains(&told) && told.fract() == 0.0).then_some(told as u64)
}

/// The same of an FLV's last tag: at first of the length behind it (E.3), then of what begins at `at`, a head before the place that
/// this length names. What was saved of a stream may lack what its server's head counts, so that only an end within a tag is one
/// that should not be.
fn tag(head: &[u8], at: Option<u64>, told: u64, size: u64) -> Result<Option<u64>, Fault> {
    let cut = || {
        Fault::reject(format!(
            "the file is truncated: it says that it has {told} bytes, and ends in the middle of a tag at byte {size}; upload it again"
        ))
    };
    let number = |bytes: &[u8]| bytes.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    let Some(at) = at else {
        let length = head.get(..4).map_or(0, number);
        if length == 0 {
            // Some writers never tell it.
            return Ok(None);
        }
        let counted = size.checked_sub(FLV_BACK + length).ok_or_else(cut)?;
        return Ok(Some(counted.saturating_sub(FLV_TAG)));
    };
    let left = size.saturating_sub(FLV_BACK + at);
    let is_tag = |from: u64| {
        let head = usize::try_from(from).ok().and_then(|from| head.get(from..from + 4));
        head.is_some_and(|head| [8, 9, 18].contains(&(head[0] & 0x1F)) && from + FLV_TAG + number(&head[1..]) == left)
    };
    // By the book the whole tag is counted; others leave out its first byte, or its head.
    if [FLV_TAG, FLV_TAG - 1, 0].into_iter().any(is_tag) { Ok(None) } else { Err(cut()) }
}

/// The same of a box.
fn fragment(head: &[u8], at: u64, size: u64) -> Result<Option<u64>, Fault> {
    // Some writers pad the end with zeros, others with what is no box.
    let is_known = |kind: &[u8]| BOXES.iter().any(|known| kind == *known);
    if head.iter().take(8).all(|byte| *byte == 0) || head.get(4..8).is_some_and(|kind| !is_known(kind)) {
        return Ok(None);
    }
    let found = top_box(head, at, size)?;
    if found.end > size {
        return Err(truncated(&found.kind, found.end, size));
    }
    if found.kind == *b"moof" && found.end.saturating_add(8) > size {
        return Err(Fault::reject(format!(
            "the file is truncated: it ends at byte {size}, behind a head of pictures and sound (`moof`) and before them; upload it again"
        )));
    }
    Ok(Some(found.end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The whole way through a file that is here.
    fn whole(mut ends: Ends, file: &[u8]) -> Result<(), Fault> {
        let size = file.len() as u64;
        while let Some(range) = ends.next(size) {
            ends.take(&file[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()], size)?;
        }
        Ok(())
    }

    fn by_head(file: &[u8]) -> Result<(), Fault> {
        whole(Ends::of(file).unwrap(), file)
    }

    fn chunk(name: &[u8], body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap().to_le_bytes();
        [name, &length[..], body, &[0][..body.len() % 2]].concat()
    }

    fn list(name: &[u8], kind: &[u8], body: &[u8]) -> Vec<u8> {
        chunk(name, &[kind, body].concat())
    }

    fn packets(count: usize) -> Vec<u8> {
        (0..count).flat_map(|number| chunk(b"00dc", &vec![7; 100 + number])).collect()
    }

    fn avi() -> Vec<u8> {
        let index = chunk(b"idx1", &[0; 160]);
        let first = [list(b"LIST", b"hdrl", &[1; 60]), chunk(b"JUNK", &[0; 21]), list(b"LIST", b"movi", &packets(10)), index].concat();
        let second = list(b"LIST", b"movi", &packets(4));
        [list(b"RIFF", b"AVI ", &first), list(b"RIFF", b"AVIX", &second)].concat()
    }

    fn find(file: &[u8], what: &[u8]) -> usize {
        file.windows(what.len()).position(|bytes| bytes == what).unwrap()
    }

    #[test]
    fn half_an_avi_is_none_wherever_it_is_cut() {
        let file = avi();
        assert_eq!(by_head(&file), Ok(()));
        let second = find(&file, b"AVIX") - 8;
        for end in (12..file.len()).filter(|end| !(second..second + 8).contains(end)) {
            let cut = by_head(&file[..end]);
            assert!(matches!(&cut, Err(Fault::Reject(why)) if why.contains("truncated")), "{end}: {cut:?}");
        }
        let between = find(&file, b"idx1") - 118;
        assert_eq!(&file[between..between + 4], b"00dc", "between two packets");
        insta::assert_snapshot!(
            by_head(&file[..between]).unwrap_err(),
            @"the file is truncated: its `RIFF` part should end at byte 1424, the file has 1138; upload it again"
        );
        insta::assert_snapshot!(
            by_head(&file[..file.len() - 1]).unwrap_err(),
            @"the file is truncated: its `movi` part should end at byte 1888, the file has 1887; upload it again"
        );
    }

    #[test]
    fn an_avi_of_a_recorder_that_told_no_length_goes_on() {
        let film = avi();
        for open in [[0; 4], [0xFF; 4], [0, 0, 0xFF, 0xFF]] {
            for place in [4, find(&film, b"movi") - 4] {
                let mut recorded = film.clone();
                recorded[place..place + 4].copy_from_slice(&open);
                assert_eq!(by_head(&recorded), Ok(()), "{open:?} at {place}");
                let riff = place == 4;
                assert_eq!(by_head(&recorded[..700]).is_ok(), riff, "only where the whole is told: {open:?} at {place}");
            }
        }
        let mut counted = film[..find(&film, b"AVIX") - 8].to_vec();
        let length = u32::try_from(counted.len()).unwrap().to_le_bytes();
        counted[4..8].copy_from_slice(&length);
        assert_eq!(by_head(&counted), Ok(()), "its own head is counted");
        for behind in [&[0; 100][..], b"TAG of somebody", &[0xC3; 50], b"RI"] {
            assert_eq!(by_head(&[&film, behind].concat()), Ok(()), "what stands behind is nobody's: {behind:?}");
        }
        let mut odd = film.clone();
        let movi = find(&odd, b"movi") - 4;
        odd[movi..movi + 4].copy_from_slice(&500u32.to_le_bytes());
        assert_eq!(by_head(&odd), Ok(()), "a list that ends within a packet");
    }

    fn object(guid: &[u8], body: &[u8]) -> Vec<u8> {
        [guid, &(24 + body.len() as u64).to_le_bytes(), body].concat()
    }

    fn asf(broadcast: u8) -> Vec<u8> {
        let mut properties = [0; 80];
        properties[ASF_FLAGS - 24] = 2 | broadcast;
        let header = [&[1, 0, 0, 0, 1, 2][..], &object(&ASF_FILE_PROPERTIES, &properties)].concat();
        [object(&ASF_HEADER, &header), object(&ASF_DATA, &[5; 26 + 640]), object(&ASF_INDEXES[0], &[1; 80])].concat()
    }

    #[test]
    fn half_an_asf_is_none_but_one_that_was_never_closed_goes_on() {
        let file = asf(0);
        let (data, index) = (find(&file, &ASF_DATA), find(&file, &ASF_INDEXES[0]));
        assert_eq!(by_head(&file), Ok(()));
        for end in (16..file.len()).filter(|end| !(data..data + 24).contains(end) && !(index..index + 24).contains(end) && *end >= 24) {
            let cut = by_head(&file[..end]);
            assert!(matches!(&cut, Err(Fault::Reject(why)) if why.contains("truncated")), "{end}: {cut:?}");
        }
        assert_eq!(by_head(&file[..index]), Ok(()), "every packet is there");
        insta::assert_snapshot!(
            by_head(&file[..data + 50 + 320]).unwrap_err(),
            @"the file is truncated: its `data` part should end at byte 824, the file has 504; upload it again"
        );
        assert_eq!(by_head(&asf(ASF_BROADCAST)[..500]), Ok(()), "live");
        let mut killed = file.clone();
        for open in [0, ASF_EMPTY_DATA] {
            killed[data + 16..data + 24].copy_from_slice(&open.to_le_bytes());
            assert_eq!(by_head(&killed[..600]), Ok(()));
        }
        assert_eq!(by_head(&[&file[..], &[0xC3; 99]].concat()), Ok(()));
    }

    /// `told`: bytes that its head says, by `key`.
    fn flv(key: &[u8], told: f64) -> Vec<u8> {
        let tag = |kind: u8, body: &[u8]| {
            let length = u32::try_from(body.len()).unwrap();
            [&[kind], &length.to_be_bytes()[1..], &[0; 7], body, &(11 + length).to_be_bytes()].concat()
        };
        let script = [b"\x02\0\x0AonMetaData\x08\0\0\0\x01\0\x08", key, b"\0", &told.to_be_bytes(), b"\0\0\x09"].concat();
        let media = (0..20).flat_map(|number| tag(9, &vec![7; 300 + number]));
        [&b"FLV\x01\x05\0\0\0\x09\0\0\0\0"[..], &tag(18, &script)].concat().into_iter().chain(media).collect()
    }

    #[test]
    fn an_flv_that_is_shorter_than_it_says_and_ends_within_a_tag_is_cut() {
        let length = f64::from(u32::try_from(flv(b"filesize", 0.0).len()).unwrap());
        for key in [b"filesize", b"fileSize"] {
            let file = flv(key, length);
            assert_eq!(by_head(&file), Ok(()));
            let head = file.len() - (0..20).map(|number| 15 + 300 + number).sum::<usize>();
            let edges: Vec<usize> = (0..20).map(|before| head + before * 315 + before * before.saturating_sub(1) / 2).collect();
            for end in head + 1..file.len() {
                // Four zeros are what a writer leaves that tells no lengths.
                let is_taken = edges.contains(&end) || file[end - 4..end] == [0; 4];
                assert_eq!(by_head(&file[..end]).is_ok(), is_taken, "{end}");
            }
            insta::allow_duplicates!(insta::assert_snapshot!(
                by_head(&file[..3000]).unwrap_err(),
                @"the file is truncated: it says that it has 6558 bytes, and ends in the middle of a tag at byte 3000; upload it again"
            ));
            assert_eq!(by_head(&[&file[..], b"a note of somebody"].concat()), Ok(()));
            // Saved of a longer one, by writers that count a tag otherwise, or not at all.
            let (saved, last) = (flv(key, length + 99.0), 330u32);
            for counted in [last, last - 1, last - 11, 0] {
                let saved = [&saved[..saved.len() - 4], &counted.to_be_bytes()].concat();
                assert_eq!(by_head(&saved), Ok(()), "{counted}");
            }
            assert!(by_head(&[&saved[..saved.len() - 4], &(last - 2).to_be_bytes()].concat()).is_err());
        }
        for told in [0.0, -1.0, 1.5, f64::NAN, f64::INFINITY, 1e300] {
            assert!(Ends::of(&flv(b"filesize", told)[..3000]).is_none(), "{told}: a recorder was killed, or writes nonsense");
        }
        assert!(Ends::of(b"FLV\x01\x05\0\0\0\x09").is_none());
    }

    #[test]
    fn an_mxf_that_ends_before_its_footer_is_cut() {
        let pack = |length: &[u8], footer: u64| -> Vec<u8> { [&[6; 16], length, &[0; 24], &footer.to_be_bytes(), &[1; 400]].concat() };
        for length in [&[0x60][..], &[0x81, 0x80], &[0x83, 0, 0, 0x88], &[0x88, 0, 0, 0, 0, 0, 0, 0, 0x88]] {
            let film = pack(length, 5_000);
            assert_eq!((mxf(&film, 5_016), mxf(&film, 9_999)), (Ok(()), Ok(())));
            assert!(mxf(&film, 5_015).is_err() && mxf(&film, 40).is_err());
            assert_eq!(mxf(&pack(length, 0), 900), Ok(()), "it is still written");
        }
        insta::assert_snapshot!(
            mxf(&pack(&[0x60], 5_000), 2_500).unwrap_err(),
            @"the file is truncated: its last part (the footer) should begin at byte 5000, the file has 2500; upload it again"
        );
        for short in 0..44 {
            assert_eq!(mxf(&pack(&[0x83, 0, 0, 0x88], 5_000)[..short], 100), Ok(()), "{short}");
        }
    }

    fn boxed(kind: &[u8], body: usize) -> Vec<u8> {
        [&u32::try_from(8 + body).unwrap().to_be_bytes()[..], kind, &vec![9; body]].concat()
    }

    fn fragments() -> Vec<u8> {
        let one = |number: usize| [boxed(b"moof", 40), boxed(b"mdat", 300 + number)].concat();
        [boxed(b"ftyp", 20), boxed(b"moov", 200), (0..30).flat_map(one).collect(), boxed(b"mfra", 60)].concat()
    }

    #[test]
    fn half_a_fragmented_mp4_ends_within_a_box() {
        let (file, boxes) = (fragments(), Ends::of_fragments);
        assert_eq!(whole(boxes(), &file), Ok(()));
        let edges: Vec<usize> = file.windows(4).enumerate().filter(|(_, kind)| *kind == b"moof").map(|(at, _)| at - 4).collect();
        for end in edges[0] + 1..file.len() {
            // The next box begins with zeros.
            let is_edge = edges.iter().chain(&[file.len() - 68]).any(|edge| (*edge..edge + 4).contains(&end));
            assert_eq!(whole(boxes(), &file[..end]).is_ok(), is_edge, "{end}");
        }
        insta::assert_snapshot!(
            whole(boxes(), &file[..edges[1] + 48]).unwrap_err(),
            @"the file is truncated: it ends at byte 640, behind a head of pictures and sound (`moof`) and before them; upload it again"
        );
        let live = [&file[..edges[3]], &boxed(b"moof", 40), &[0, 0, 0, 0], b"mdat", &[1; 99]].concat();
        assert_eq!(whole(boxes(), &live), Ok(()), "its last box has no length");
        for behind in [&[0; 100][..], &[0; 3], &[0xC3; 50], b"a note of somebody"] {
            assert_eq!(whole(boxes(), &[&file, behind].concat()), Ok(()), "{behind:?}");
        }
    }

    #[test]
    fn other_containers_do_not_say() {
        for head in [&b"FLV\x01"[..], b"OggS", &[0x47; 188], b"RIFF\0\0\0\0WAVE", b""] {
            assert!(Ends::of(head).is_none());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_the_way(bytes in prop::collection::vec(any::<u8>(), 0..2000), kind in 0usize..4, at in 0usize..3000) {
            let mut file = [avi(), asf(0), fragments(), flv(b"filesize", 9e9)][kind].clone();
            let at = at.min(file.len());
            file.splice(at.., bytes);
            let _ = mxf(&file, 100);
            let boxes = Some(Ends::of_fragments()).filter(|_| kind == 2);
            if let Some(ends) = boxes.or_else(|| Ends::of(&file)) {
                let _ = whole(ends, &file);
            }
        }
    }
}
