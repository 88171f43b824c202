use proptest::prelude::*;

use super::*;
use crate::fields::tests as coding;

fn part(id: &[u8], body: &[u8]) -> Vec<u8> {
    let size = (body.len() as u64) | 1 << 56;
    [id, &size.to_be_bytes(), body].concat()
}

/// A block of a track, with this many bytes in it.
fn simple(track: u8, bytes: usize) -> Vec<u8> {
    part(&[0xA3], &[&[0x80 | track, 0, 0, 0][..], &vec![track; bytes]].concat())
}

fn group(track: u8, bytes: usize) -> Vec<u8> {
    let block = part(&[0xA1], &[&[0x80 | track, 0, 0, 0][..], &vec![track; bytes]].concat());
    // Its duration, on both sides of it.
    part(&[0xA0], &[&[0x9B, 0x81, 5][..], &block, &[0x9B, 0x81, 5]].concat())
}

fn cluster(blocks: &[Vec<u8>]) -> Vec<u8> {
    part(&[0x1F, 0x43, 0xB6, 0x75], &[&[0xE7, 0x81, 7][..], &blocks.concat()].concat())
}

fn track(number: u8, codec: &[u8]) -> Vec<u8> {
    part(&[0xAE], &[&[0xD7, 0x81, number, 0x86, 0x80 | u8::try_from(codec.len()).unwrap()][..], codec].concat())
}

fn file(children: &[Vec<u8>]) -> Vec<u8> {
    [part(&[0x1A, 0x45, 0xDF, 0xA3], &[]), part(&[0x18, 0x53, 0x80, 0x67], &children.concat())].concat()
}

/// Pictures are track 1, text is track 2, pictures of text are track 3.
fn film(clusters: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let tracks = [track(1, b"V_VP9"), track(2, b"S_TEXT/UTF8"), track(3, b"S_HDMV/PGS")].concat();
    let head = [part(&[0x16, 0x54, 0xAE, 0x6B], &tracks), part(&[0x19, 0x41, 0xA4, 0x69], &[5; 7_000])];
    let index = part(&[0x1C, 0x53, 0xBB, 0x6B], &[6; 300]);
    file(&head.into_iter().chain(clusters.iter().map(|blocks| cluster(blocks))).chain([index]).collect::<Vec<_>>())
}

fn usual() -> Vec<u8> {
    film(&[
        vec![simple(1, 9_000), group(2, 30), simple(1, 5_000), simple(3, 6_000)],
        vec![simple(1, 20_000), group(1, 9_000)],
        vec![simple(1, 9_000)],
        vec![group(1, 9_000), simple(2, 40)],
        vec![simple(1, 9_000), group(2, 50), group(2, 60), simple(1, 1)],
    ])
}

fn found(bytes: &[u8]) -> Found {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    walk(&path).unwrap()
}

fn walked(bytes: &[u8]) -> Vec<ByteRange> {
    found(bytes).way
}

/// What goes by in blocks of these lengths.
fn tapped(bytes: &[u8], cuts: &[usize]) -> Found {
    let (mut tap, mut rest) = (Tap::default(), bytes);
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (block, behind) = rest.split_at((*cut).min(rest.len()));
        tap.pass(block);
        rest = behind;
    }
    tap.end();
    tap.found()
}

/// A track of H.264 whose pictures are two fields each, in simple blocks and in groups, beside text.
fn fields_apart(encodings: &[u8]) -> Vec<u8> {
    let record = part(&[0x63, 0xA2], coding::RECORD);
    let entry = [&[0xD7, 0x81, 1, 0x86, 0x8F][..], b"V_MPEG4/ISO/AVC", &record, encodings].concat();
    let tracks = part(&[0x16, 0x54, 0xAE, 0x6B], &[part(&[0xAE], &entry), track(2, b"S_TEXT/UTF8")].concat());
    let packet = |number: usize, slice: &[u8]| {
        let units = [coding::unit(&[9, 0xF0], 0), coding::unit(&[6; 700], 0), coding::unit(slice, 0), vec![7; 1_500]];
        let block = [&[0x81, 0, 0, if number == 0 { 0x80 } else { 0 }][..], &units.concat()].concat();
        let block = part(if number < 4 { &[0xA3] } else { &[0xA1] }, &block);
        if number < 4 { block } else { part(&[0xA0], &[&[0x9B, 0x81, 5][..], &block].concat()) }
    };
    let mut blocks: Vec<_> = coding::FIELDS.iter().enumerate().map(|(number, slice)| packet(number, slice)).collect();
    blocks.insert(3, simple(2, 40));
    file(&[tracks, cluster(&blocks[..5]), cluster(&blocks[5..])])
}

/// The places of a track's packets, as a demuxer tells them: behind the head of each block.
fn packets(bytes: &[u8]) -> Vec<u64> {
    let heads = bytes.windows(4).enumerate().filter(|(_, head)| matches!(head, [0x81, 0, 0, 0 | 0x80]));
    heads.map(|(at, _)| at as u64).filter(|at| bytes[index(at + 4)..].starts_with(&[0, 0, 0, 2, 9])).collect()
}

#[test]
fn second_fields_are_found_where_a_demuxer_says_that_they_are() {
    let bytes = fields_apart(&[]);
    let packets = packets(&bytes);
    assert_eq!(packets.len(), 8);
    let seconds: Vec<u64> = packets.iter().skip(1).step_by(2).copied().collect();
    assert_eq!(found(&bytes).second_fields, seconds);
    assert!(!found(&bytes).way.is_empty());
    // What is packed once more is not looked into.
    assert_eq!(found(&fields_apart(&part(&[0x6D, 0x80], &[]))).second_fields, [0u64; 0]);
    // As far as the file goes.
    assert_eq!(found(&bytes[..index(packets[4])]).second_fields, seconds[..2]);
}

/// What is there of `bytes`, the rest zeros, after [`fill`]; and whether that says that it is well.
fn filled(bytes: &[u8], ranges: &[ByteRange]) -> (Vec<u8>, bool) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let mut sparse = vec![0; bytes.len()];
    for range in ranges {
        let range = index(range.start)..index(range.end);
        sparse[range.clone()].copy_from_slice(&bytes[range]);
    }
    std::fs::write(&path, sparse).unwrap();
    let well = fill(&path, ranges).unwrap();
    (std::fs::read(&path).unwrap(), well)
}

#[test]
fn the_way_holds_the_text_and_no_picture() {
    let bytes = usual();
    let way = walked(&bytes);
    let seen: Vec<u8> = way.iter().flat_map(|range| bytes[index(range.start)..index(range.end)].to_vec()).collect();
    assert!(seen.len() < 1_500 && bytes.len() > 80_000, "{} of {}", seen.len(), bytes.len());
    for length in [30, 50, 60] {
        assert!(seen.windows(length).any(|bytes| bytes == vec![2; length]), "{length}");
    }
    assert_eq!(seen.windows(4).filter(|bytes| *bytes == [0x1F, 0x43, 0xB6, 0x75]).count(), 3, "clusters with text");
    assert!(seen.windows(9).all(|bytes| bytes != [1; 9] && bytes != [3; 9] && bytes != [5; 9]));
}

#[test]
fn a_sparse_file_with_voids_is_walked_to_the_same_text() {
    let bytes = usual();
    let way = walked(&bytes);
    let (sparse, well) = filled(&bytes, &way);
    assert!(well && sparse != bytes);
    assert_eq!(walked(&sparse), way);
    let (again, well) = filled(&sparse, &way);
    assert!(well && again == sparse);
    // Gaps that were closed are elements of the file.
    let closed: Vec<ByteRange> = way.iter().take(1).chain(way.iter().skip(2).take(1)).copied().collect();
    let closed = [ByteRange { start: closed[0].start, end: closed[1].end }].into_iter().chain(way[3..].iter().copied()).collect::<Vec<_>>();
    assert!(filled(&bytes, &closed).1);
}

#[test]
fn what_is_missing_is_noticed() {
    let bytes = usual();
    let way = walked(&bytes);
    // The head of a cluster and the text in it are one piece or two: without the first of them the second stands alone.
    let without: Vec<ByteRange> = way[1..].to_vec();
    assert!(!filled(&bytes, &without).1);
    let moved: Vec<ByteRange> = way.iter().map(|range| ByteRange { start: range.start + 1, ..*range }).collect();
    assert!(!filled(&bytes, &moved).1);
}

#[test]
fn of_files_of_another_shape_no_way_is_known() {
    let bytes = usual();
    assert!(!walked(&bytes).is_empty());
    assert!(walked(&bytes[..bytes.len() - 10]).is_empty(), "cut short");
    assert!(walked(b"ID3 or something else").is_empty());
    let mut live = cluster(&[simple(2, 10)]);
    live[4..12].copy_from_slice(&[1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
    let tracks = part(&[0x16, 0x54, 0xAE, 0x6B], &track(2, b"S_TEXT/UTF8"));
    assert!(walked(&file(&[tracks.clone(), live])).is_empty(), "a cluster of unknown size");
    assert!(walked(&file(&[cluster(&[simple(2, 10)]), tracks])).is_empty(), "clusters before the tracks");
}

#[test]
fn a_void_is_as_long_as_it_says() {
    for length in [2, 3, 127, 128, 129, 130, 16_000, 40 << 30] {
        let head = void(length).unwrap();
        let found = element(&head).unwrap();
        assert_eq!((found.id, found.head + found.length.unwrap()), (VOID, length));
    }
    assert_eq!((void(0), void(1)), (None, None));
}

proptest! {
    /// Bytes that go by in blocks of any length are walked as those of a file.
    #[test]
    fn blocks_of_any_length_are_one_file(cuts in prop::collection::vec(1usize..3_000, 1..40)) {
        for bytes in [usual(), fields_apart(&[])] {
            prop_assert_eq!(tapped(&bytes, &cuts), found(&bytes));
        }
    }

    /// Whatever a file holds, the walk ends, and what it says can be filled.
    #[test]
    fn any_bytes_are_walked(at in 0usize..400, noise in prop::collection::vec(any::<u8>(), 0..40), cut in 0usize..2_000) {
        let tracks = part(&[0x16, 0x54, 0xAE, 0x6B], &[track(1, b"V_VP9"), track(2, b"S_TEXT/UTF8")].concat());
        let mut bytes = file(&[tracks, cluster(&[simple(1, 200), group(2, 30)]), cluster(&[simple(2, 4), group(1, 100)])]);
        let end = (at + noise.len()).min(bytes.len());
        let start = at.min(end);
        bytes.splice(start..end, noise);
        bytes.truncate(bytes.len() - cut.min(bytes.len() / 2));
        let Found { way, .. } = tapped(&bytes, &[usize::MAX]);
        prop_assert_eq!(walked(&bytes), way.clone());
        prop_assert!(way.windows(2).all(|pair| pair[0].end < pair[1].start));
        prop_assert!(way.iter().all(|range| !range.is_empty() && range.end <= bytes.len() as u64));
        let _ = filled(&bytes, &way);
    }
}
