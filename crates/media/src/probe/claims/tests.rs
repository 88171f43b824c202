use futures::executor::block_on;
use proptest::prelude::*;

use super::*;

fn part(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len() + 8).unwrap().to_be_bytes()[..], &kind, body].concat()
}

fn numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// Tables of one track, in this order.
fn track(handler: [u8; 4], tables: &[([u8; 4], &[u32])]) -> Vec<u8> {
    let hdlr = part(*b"hdlr", &[&[0; 8][..], &handler, &[0; 12]].concat());
    let tables: Vec<u8> = tables.iter().flat_map(|(kind, table)| part(*kind, &numbers(table))).collect();
    part(*b"trak", &part(*b"mdia", &[hdlr, part(*b"minf", &part(*b"stbl", &tables))].concat()))
}

/// A film of these tracks, with media before them.
fn film(tracks: &[Vec<u8>]) -> Vec<u8> {
    [part(*b"ftyp", b"isom\0\0\0\0"), part(*b"mdat", &[7; 5000]), part(*b"moov", &tracks.concat())].concat()
}

/// A fragment with a run of so many samples of one size.
fn fragment(samples: u32) -> Vec<u8> {
    let run = [part(*b"tfhd", &[0; 8]), part(*b"trun", &numbers(&[0, samples]))].concat();
    [part(*b"moof", &[part(*b"mfhd", &[0; 8]), part(*b"traf", &run)].concat()), part(*b"mdat", &[7; 100])].concat()
}

/// Whether the film is refused: as a file, and as a stream in blocks of so many bytes.
fn refused(film: &[u8], block: usize) -> bool {
    let stored = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(stored.path(), film).unwrap();
    let blocks: Vec<_> = film.chunks(block).map(|block| Ok(bytes::Bytes::copy_from_slice(block))).collect();
    let streamed: Vec<_> = block_on(few(Box::pin(futures::stream::iter(blocks))).collect());
    let is_refused = few_in(stored.path()).is_err();
    assert_eq!(is_refused, streamed.iter().any(Result::is_err), "blocks of {block}");
    is_refused
}

const MILLION: u32 = 1_000_000;

#[test]
fn a_few_bytes_that_claim_millions_are_refused() {
    let sized = |samples: u32| track(*b"vide", &[(*b"stsz", &[0, 1, samples])]);
    for block in [1, 7, 64 << 10] {
        assert!(!refused(&film(&[sized(4 * MILLION)]), block));
        assert!(refused(&film(&[sized(89 * MILLION)]), block));
        assert!(refused(&film(&[sized(3 * MILLION), sized(3 * MILLION)]), block), "together");
        assert!(refused(&film(&[track(*b"vide", &[(*b"stz2", &[0, 4, 20 * MILLION])])]), block));
        assert!(
            !refused(&film(&[track(*b"vide", &[(*b"stts", &[0, 1, 100 * MILLION, 40]), (*b"stsz", &[0, 0, 30])])]), block),
            "no samples"
        );
        assert!(refused(&[film(&[]), fragment(3 * MILLION), fragment(3 * MILLION)].concat(), block));
        assert!(!refused(&[film(&[]), fragment(3 * MILLION), fragment(MILLION)].concat(), block));
    }
}

#[test]
fn hours_of_plain_sound_are_few_packets() {
    let sound = |per_chunk: u32, chunks: u32, description: &[u32]| {
        track(
            *b"soun",
            &[
                (*b"stsd", description),
                (*b"stts", &[0, 1, 1000 * MILLION, 1]),
                (*b"stsc", &[0, 2, 1, 48_000, 1, 2, per_chunk, 1]),
                (*b"stsz", &[0, 4, 1000 * MILLION]),
                (*b"stco", &[0, chunks]),
            ],
        )
    };
    let plain: &[u32] = &[0, 1, 36, u32::from_be_bytes(*b"sowt"), 0, 1, 0];
    assert!(!refused(&film(&[sound(48_000, 20_000, plain)]), 1000));
    assert!(refused(&film(&[sound(u32::MAX, 3, plain)]), 1000));
    let mut packed = [&plain[..6], &[1 << 16, 0, 0, 0, 0, 160]].concat();
    packed[2] = 52;
    assert!(!refused(&film(&[sound(160, 20_000, &packed)]), 1000));
    assert!(refused(&film(&[sound(48_000, 20_000, &packed)]), 1000));
    // A tick for each sample makes no plain sound of a picture.
    assert!(refused(&film(&[track(*b"vide", &[(*b"stts", &[0, 1, 9, 1]), (*b"stsz", &[0, 1, 9 * MILLION])])]), 1000));
}

#[test]
fn what_ffmpeg_reads_in_malformed_boxes_is_counted() {
    let table = part(*b"stsz", &numbers(&[0, 1, 89 * MILLION]));
    let claim = |tail: &[u8]| film(&[part(*b"trak", &[&table, tail].concat())]);
    assert!(refused(&claim(&[]), 3), "not where it belongs");
    assert!(refused(&claim(&[0, 0, 0, 1, 1, 1, 1, 1]), 3), "a box in which the length of another is missing");
    assert!(refused(&claim(&part(*b"trak", &[])), 3), "a track in a track");
    let mut long = film(&[part(*b"trak", &table)]);
    let trak = long.windows(4).position(|kind| kind == b"trak").unwrap() - 4;
    long[trak..trak + 4].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(refused(&long, 3), "a box that ends behind the one around it");
}

proptest! {
    #[test]
    fn any_bytes_are_walked_through(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..400, block in 1usize..100) {
        let mut film = [film(&[track(*b"soun", &[(*b"stsc", &[0, 1, 1, 9, 1]), (*b"stco", &[0, 4])])]), fragment(9)].concat();
        film.drain(30..5000);
        let end = film.len().min(at + bytes.len());
        film.splice(at.min(end)..end, bytes);
        refused(&film, block);
    }
}
