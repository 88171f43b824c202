//! Known colours in, the same colours out, whatever they are coded as.

use super::patches::{Rgb, SDR, film, measured, planes, same, yuv};
use crate::support::Lab;

/// Levels of 255 that 8-bit limited range and a nearly lossless encoder may be off.
const NEAR: f64 = 3.0;
const X264: [&str; 5] = ["libx264", "-preset", "veryfast", "-qp", "1"];
const X265: [&str; 4] = ["libx265", "-x265-params", "lossless=1:log-level=error", "-tag:v"];

struct Case {
    name: &'static str,
    pix_fmt: &'static str,
    /// Horizontal and vertical subsampling.
    sub: (usize, usize),
    bits: u32,
    matrix: &'static str,
    full: bool,
    tags: &'static str,
    /// Primaries and matrix of the output.
    out: (&'static str, &'static str),
}

const CASES: [Case; 9] = [
    Case {
        name: "HD tags on a small picture",
        pix_fmt: "yuv420p",
        sub: (2, 2),
        bits: 8,
        matrix: "bt709",
        full: false,
        tags: "range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709",
        out: ("bt709", "bt709"),
    },
    Case {
        name: "625 lines keep their matrix",
        pix_fmt: "yuv420p",
        sub: (2, 2),
        bits: 8,
        matrix: "bt470bg",
        full: false,
        tags: "range=tv:color_primaries=bt470bg:color_trc=smpte170m:colorspace=bt470bg",
        out: ("bt470bg", "bt470bg"),
    },
    Case {
        name: "a small picture that says nothing is BT.601",
        pix_fmt: "yuv420p",
        sub: (2, 2),
        bits: 8,
        matrix: "smpte170m",
        full: false,
        tags: "range=unknown:color_primaries=unknown:color_trc=unknown:colorspace=unknown",
        out: ("smpte170m", "smpte170m"),
    },
    Case {
        name: "full range",
        pix_fmt: "yuv420p",
        sub: (2, 2),
        bits: 8,
        matrix: "bt709",
        full: true,
        tags: "range=pc:color_primaries=bt709:color_trc=bt709:colorspace=bt709",
        out: ("bt709", "bt709"),
    },
    Case {
        name: "4:2:2 in ten bits",
        pix_fmt: "yuv422p10le",
        sub: (2, 1),
        bits: 10,
        matrix: "bt709",
        full: false,
        tags: "range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709",
        out: ("bt709", "bt709"),
    },
    Case {
        name: "4:4:4",
        pix_fmt: "yuv444p",
        sub: (1, 1),
        bits: 8,
        matrix: "smpte170m",
        full: false,
        tags: "range=tv:color_primaries=smpte170m:color_trc=smpte170m:colorspace=smpte170m",
        out: ("smpte170m", "smpte170m"),
    },
    Case {
        name: "4:2:0 in ten bits and full range",
        pix_fmt: "yuv420p10le",
        sub: (2, 2),
        bits: 10,
        matrix: "bt709",
        full: true,
        tags: "range=pc:color_primaries=bt709:color_trc=bt709:colorspace=bt709",
        out: ("bt709", "bt709"),
    },
    Case {
        name: "grey alone",
        pix_fmt: "gray",
        sub: (1, 1),
        bits: 8,
        matrix: "bt709",
        full: false,
        tags: "range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709",
        out: ("bt709", "bt709"),
    },
    Case {
        name: "grey alone in full range",
        pix_fmt: "gray",
        sub: (1, 1),
        bits: 8,
        matrix: "bt709",
        full: true,
        tags: "range=pc:color_primaries=bt709:color_trc=bt709:colorspace=bt709",
        out: ("bt709", "bt709"),
    },
];

#[tokio::test]
async fn sdr_keeps_its_colors_in_every_pixel_format() {
    for case in CASES {
        let lab = Lab::exact(360);
        let gray = case.pix_fmt == "gray";
        let colors: Vec<Rgb> = SDR.iter().map(|c| if gray { [c[0]; 3] } else { *c }).collect();
        let codes: Vec<[u16; 3]> = colors.iter().map(|color| yuv(*color, case.matrix, case.full, case.bits)).collect();
        let raw = planes(&codes, case.sub, case.bits, gray);
        let tags = format!("setparams={}", case.tags);
        let film = film(&lab, &raw, colors.len(), case.pix_fmt, &tags, &[&X264[..], &["-pix_fmt", case.pix_fmt, "in.mp4"]].concat());
        let (plan, out) = lab.pictures(&film).await;
        let report = lab.probe(&out).await;
        let made = &report.video[0].colors;
        assert_eq!((made.primaries.as_str(), made.matrix.as_str()), case.out, "{}", case.name);
        assert!(!made.transfer.is_empty(), "{}", case.name);
        assert_eq!(*made, plan.video.as_ref().unwrap().colors.encoded(&plan.profile), "{}", case.name);
        same(case.name, &colors, &measured(&lab, &out, colors.len()).await, NEAR);
    }
}

#[tokio::test]
async fn red_green_and_blue() {
    let lab = Lab::exact(360);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a code value")]
    let codes: Vec<[u16; 3]> = SDR.iter().map(|[r, g, b]| [g, b, r].map(|v| (v * 255.0).round() as u16)).collect();
    let raw = planes(&codes, (1, 1), 8, false);
    let film = film(&lab, &raw, SDR.len(), "gbrp", "null", &["libx264rgb", "-qp", "0", "-pix_fmt", "rgb24", "in.mp4"]);
    let (_, out) = lab.pictures(&film).await;
    same("RGB", &SDR, &measured(&lab, &out, SDR.len()).await, NEAR);
}

/// Light of each channel in cd/m²: greys from black to the brightest, a diffuse white among them, and saturated colours.
const LIGHT: [Rgb; 8] = [
    [0.0, 0.0, 0.0],
    [10.0, 10.0, 10.0],
    [100.0, 100.0, 100.0],
    [203.0, 203.0, 203.0],
    [600.0, 600.0, 600.0],
    [1000.0, 1000.0, 1000.0],
    [120.0, 60.0, 40.0],
    [40.0, 90.0, 160.0],
];

/// SMPTE ST 2084, equation 5.2.
fn pq(light: f64) -> f64 {
    let (m1, m2) = (2610.0 / 16384.0, 2523.0 / 32.0);
    let (c1, c2, c3) = (3424.0 / 4096.0, 2413.0 / 128.0, 2392.0 / 128.0);
    let y = (light / 10_000.0f64).powf(m1);
    ((c1 + c2 * y) / (1.0 + c3 * y)).powf(m2)
}

/// ITU-R BT.2100: light of a 1000 cd/m² screen back through the OOTF and the OETF.
fn hlg(light: Rgb) -> Rgb {
    let display = light.map(|channel| channel / 1000.0);
    let luminance = 0.2627 * display[0] + 0.6780 * display[1] + 0.0593 * display[2];
    let (a, b, c) = (0.178_832_77, 0.284_668_92, 0.559_910_73);
    display.map(|channel| {
        let scene = if luminance > 0.0 { channel / luminance.powf(0.2 / 1.2) } else { 0.0 };
        if scene <= 1.0 / 12.0 { (3.0 * scene).sqrt() } else { a * (12.0 * scene - b).ln() + c }
    })
}

/// What SDR shows of it: BT.2020 to BT.709 in light, Mobius above 0.3 with 203 cd/m² as 1, BT.1886's gamma.
fn tone_mapped(light: Rgb) -> Rgb {
    let [r, g, b] = light.map(|channel| channel / 203.0);
    let linear = [
        1.660_491 * r - 0.587_641 * g - 0.072_850 * b,
        -0.124_550 * r + 1.132_900 * g - 0.008_349 * b,
        -0.018_151 * r - 0.100_579 * g + 1.118_730 * b,
    ];
    let brightest = linear.into_iter().fold(1e-6, f64::max);
    linear.map(|channel| (channel * mobius(brightest) / brightest).clamp(0.0, 1.0).powf(1.0 / 2.4))
}

fn mobius(light: f64) -> f64 {
    let (knee, peak) = (0.3f64, 1000.0 / 203.0);
    let a = -knee * knee * (peak - 1.0) / (knee * knee - 2.0 * knee + peak);
    let b = (knee * knee - 2.0 * knee * peak + peak) / (peak - 1.0);
    if light <= knee { light } else { (b * b + 2.0 * b * knee + knee * knee) / (b - a) * (light + a) / (light + b) }
}

#[tokio::test]
async fn hdr10_and_hlg_become_bt709() {
    let lab = Lab::exact(360);
    let expected: Vec<Rgb> = LIGHT.iter().map(|light| tone_mapped(*light)).collect();
    assert!((0.8..0.9).contains(&expected[3][0]), "a diffuse white is bright and not the brightest: {:?}", expected[3]);
    for transfer in ["smpte2084", "arib-std-b67"] {
        let signal = |light: &Rgb| if transfer == "smpte2084" { light.map(pq) } else { hlg(*light) };
        let codes: Vec<[u16; 3]> = LIGHT.iter().map(|light| yuv(signal(light), "bt2020nc", false, 10)).collect();
        let tags = format!("setparams=range=tv:color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc");
        let raw = planes(&codes, (2, 2), 10, false);
        let film = film(&lab, &raw, LIGHT.len(), "yuv420p10le", &tags, &[&X265[..], &["hvc1", "in.mp4"]].concat());
        let (plan, out) = lab.pictures(&film).await;
        assert_eq!(plan.video.as_ref().unwrap().colors.transfer, transfer);
        let report = lab.probe(&out).await;
        assert_eq!(report.video[0].colors, pipeline::plan::Colors::bt709());
        same(transfer, &expected, &measured(&lab, &out, LIGHT.len()).await, 4.0);
    }
}

#[tokio::test]
async fn wide_gamut_without_hdr_becomes_bt709() {
    let lab = Lab::exact(360);
    // Colours of BT.709 in BT.2020's numbers, through light: BT.1886 on both sides.
    let wide = |color: &Rgb| {
        let [r, g, b] = color.map(|channel| channel.powf(2.4));
        [
            0.627_404 * r + 0.329_283 * g + 0.043_313 * b,
            0.069_097 * r + 0.919_540 * g + 0.011_362 * b,
            0.016_391 * r + 0.088_013 * g + 0.895_595 * b,
        ]
        .map(|light| light.powf(1.0 / 2.4))
    };
    let codes: Vec<[u16; 3]> = SDR.iter().map(|color| yuv(wide(color), "bt2020nc", false, 10)).collect();
    let raw = planes(&codes, (2, 2), 10, false);
    let tags = "setparams=range=tv:color_primaries=bt2020:color_trc=bt2020-10:colorspace=bt2020nc";
    let film = film(&lab, &raw, SDR.len(), "yuv420p10le", tags, &[&X265[..], &["hvc1", "in.mp4"]].concat());
    let (_, out) = lab.pictures(&film).await;
    assert_eq!(lab.probe(&out).await.video[0].colors, pipeline::plan::Colors::bt709());
    same("BT.2020", &SDR, &measured(&lab, &out, SDR.len()).await, 4.0);
}
