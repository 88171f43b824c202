//! Subtitles as pictures, as a Blu-ray has them: no encoder makes them of text, so they are written here. ffmpeg makes those of
//! DVDs and broadcasts of them.
//!
//! Source: US 2009/0185789 A1 (segments of a presentation graphics stream).

const WIDTH: u16 = 320;
const HEIGHT: u16 = 180;
/// Of the picture that is shown: its place and its size, which is twice `HALF` wide.
const BOX: [u16; 4] = [100, 150, 64, 16];
const HALF: u8 = 32;

/// A stream as a file (`.sup`) of pictures that are shown from and until these times, seconds.
pub fn pictures(shown: &[(u32, u32)]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (number, (from, until)) in (0..).zip(shown) {
        let [x, y, width, height] = BOX;
        // Each line: half of it in the first colour, half in the second.
        let lines = [0, 0x80 | HALF, 1, 0, 0x80 | HALF, 2, 0, 0].repeat(height.into());
        segment(&mut stream, *from, 0x16, &[composition(2 * number, 0x80, 1), vec![0, 0, 0, 0], words(&[x, y])].concat());
        segment(&mut stream, *from, 0x17, &window());
        // Two colours with their places: luma, both differences, opaque.
        segment(&mut stream, *from, 0x14, &[0, 0, 1, 235, 128, 128, 255, 2, 16, 128, 128, 255]);
        let length = u32::try_from(lines.len() + 4).unwrap_or(u32::MAX).to_be_bytes();
        segment(&mut stream, *from, 0x15, &[&[0, 0, 0, 0xC0][..], &length[1..], &words(&[width, height]), &lines].concat());
        segment(&mut stream, *from, 0x80, &[]);
        segment(&mut stream, *until, 0x16, &composition(2 * number + 1, 0, 0));
        segment(&mut stream, *until, 0x17, &window());
        segment(&mut stream, *until, 0x80, &[]);
    }
    stream
}

/// What is shown from now on: nothing, or one object of one window. `state`: whether all begins anew.
fn composition(number: u16, state: u8, objects: u8) -> Vec<u8> {
    [&words(&[WIDTH, HEIGHT])[..], &[0x10], &words(&[number]), &[state, 0, 0, objects]].concat()
}

fn window() -> Vec<u8> {
    [&[1, 0][..], &words(&BOX)].concat()
}

fn words(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn segment(stream: &mut Vec<u8>, seconds: u32, kind: u8, body: &[u8]) {
    stream.extend(b"PG");
    stream.extend((seconds * 90_000).to_be_bytes());
    stream.extend([0; 4]);
    stream.push(kind);
    stream.extend(u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes());
    stream.extend(body);
}
