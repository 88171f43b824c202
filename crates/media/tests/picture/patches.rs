//! Flat patches of known colours, and what their numbers mean: computed here, from the standards, not by ffmpeg.

use std::path::{Path, PathBuf};

use crate::support::Lab;

/// Side of a patch, pixels.
pub const SIDE: usize = 32;
/// Pictures of a film of patches.
const FRAMES: usize = 30;

pub type Rgb = [f64; 3];

/// Black, greys, white, the primaries and two colours like skin and sky, 0 to 1.
pub const SDR: [Rgb; 8] = [
    [0.0, 0.0, 0.0],
    [0.25, 0.25, 0.25],
    [0.75, 0.75, 0.75],
    [1.0, 1.0, 1.0],
    [0.9, 0.1, 0.1],
    [0.1, 0.8, 0.1],
    [0.15, 0.15, 0.9],
    [0.8, 0.6, 0.45],
];

/// Weights of red and blue in the luma of a matrix (ITU-T H.273, table 4).
fn weights(matrix: &str) -> (f64, f64) {
    match matrix {
        "bt709" => (0.2126, 0.0722),
        "smpte170m" | "bt470bg" => (0.299, 0.114),
        "bt2020nc" => (0.2627, 0.0593),
        other => panic!("no weights of {other}"),
    }
}

/// Y, Cb, Cr of a colour as `bits`-bit numbers.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a code value")]
pub fn yuv(color: Rgb, matrix: &str, full: bool, bits: u32) -> [u16; 3] {
    let (kr, kb) = weights(matrix);
    let [r, g, b] = color;
    let y = kr * r + (1.0 - kr - kb) * g + kb * b;
    let (cb, cr) = ((b - y) / (2.0 * (1.0 - kb)), (r - y) / (2.0 * (1.0 - kr)));
    let unit = f64::from(1u32 << (bits - 8));
    let [offset, luma, chroma] = if full { [0.0, 256.0 - 1.0 / unit, 256.0 - 1.0 / unit] } else { [16.0, 219.0, 224.0] };
    [(offset + luma * y) * unit, (128.0 + chroma * cb) * unit, (128.0 + chroma * cr) * unit].map(|code| code.round() as u16)
}

/// The colour of 8-bit numbers in limited range.
pub fn rgb(code: [f64; 3], matrix: &str) -> Rgb {
    let (kr, kb) = weights(matrix);
    let [y, cb, cr] = [(code[0] - 16.0) / 219.0, (code[1] - 128.0) / 224.0, (code[2] - 128.0) / 224.0];
    let (r, b) = (y + 2.0 * (1.0 - kr) * cr, y + 2.0 * (1.0 - kb) * cb);
    [r, (y - kr * r - kb * b) / (1.0 - kr - kb), b]
}

/// Planes of patches side by side, each `[width, height]` of a plane divided by `sub`; two bytes a number above 8 bits.
pub fn planes(codes: &[[u16; 3]], sub: (usize, usize), bits: u32, gray: bool) -> Vec<u8> {
    let mut picture = Vec::new();
    for plane in 0..if gray { 1 } else { 3 } {
        let (width, height) = if plane == 0 { (SIDE, SIDE) } else { (SIDE / sub.0, SIDE / sub.1) };
        for _ in 0..height {
            for code in codes {
                let bytes = code[plane].to_le_bytes();
                (0..width).for_each(|_| picture.extend(&bytes[..if bits > 8 { 2 } else { 1 }]));
            }
        }
    }
    picture.repeat(FRAMES)
}

/// A film of raw pictures: `pix_fmt` of the file, `tags` for `setparams`, `codec` and what follows it.
pub fn film(lab: &Lab, raw: &[u8], patches: usize, pix_fmt: &str, tags: &str, codec: &[&str]) -> PathBuf {
    std::fs::write(lab.path("patches.raw"), raw).unwrap();
    let size = format!("{}x{SIDE}", SIDE * patches);
    let mut args = vec!["-f", "rawvideo", "-pix_fmt", pix_fmt, "-s", &size, "-r", "24", "-i", "patches.raw", "-vf", tags, "-c:v"];
    args.extend(codec);
    lab.ffmpeg(&args);
    lab.path(codec.last().unwrap())
}

/// The patches of the first picture, as the output's own tags say.
pub async fn measured(lab: &Lab, out: &Path, patches: usize) -> Vec<Rgb> {
    let report = lab.probe(out).await;
    let track = &report.video[0];
    assert_eq!((track.pix_fmt.as_str(), track.colors.range.as_str()), ("yuv420p", "tv"));
    let raw = lab.raw(out, "null", "yuv420p");
    let (width, height) = (track.width as usize, track.height as usize);
    let plane = |offset: usize, width: usize, height: usize, patch: usize| {
        let (wide, at) = (width / patches, offset + height / 2 * width);
        let middle = &raw[at + patch * wide + wide / 3..at + (patch + 1) * wide - wide / 3];
        #[expect(clippy::cast_precision_loss, reason = "a handful of pixels")]
        let mean = middle.iter().map(|byte| f64::from(*byte)).sum::<f64>() / middle.len() as f64;
        mean
    };
    let (luma, chroma) = (width * height, width / 2 * (height / 2));
    let code = |patch: usize| {
        [plane(0, width, height, patch), plane(luma, width / 2, height / 2, patch), plane(luma + chroma, width / 2, height / 2, patch)]
    };
    (0..patches).map(|patch| rgb(code(patch), &track.colors.matrix)).collect()
}

/// Every channel within `tolerance` of 255.
pub fn same(name: &str, expected: &[Rgb], measured: &[Rgb], tolerance: f64) {
    assert_eq!(expected.len(), measured.len());
    for (wanted, is) in expected.iter().zip(measured) {
        let off = wanted.iter().zip(is).map(|(a, b)| (a - b).abs() * 255.0).fold(0.0, f64::max);
        assert!(off <= tolerance, "{name}: {wanted:?} became {is:?}");
    }
}
