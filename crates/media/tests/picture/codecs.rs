//! Every codec, the whole way: frame by frame, keyframes where planned, one init, and HDR kept.

use pipeline::plan::{Colors, Hdr, Profile, VideoCodec};

use super::patches::{film, planes, yuv};
use crate::support::Lab;

/// Begin of the codec string in SDR and in HDR.
const CODECS: [(VideoCodec, &str, &str, &str); 3] = [
    (VideoCodec::Hevc, "ultrafast", "hvc1.1.6.L", "hvc1.2.4.L"),
    (VideoCodec::Av1, "12", "av01.0.00M.08.0.110.06.06.06.0", "av01.0.00M.10.0.110.09.16.09.0"),
    (VideoCodec::Vp9, "8", "vp09.00.", "vp09.02."),
];

fn lab(codec: VideoCodec, preset: &str) -> Lab {
    let mut lab = Lab::new();
    lab.profile = Profile { codec, preset: preset.into(), crf: 30, hdr: Hdr::Keep, ..lab.profile };
    lab
}

/// A film with hard cuts, which no encoder may make keyframes of.
fn with_cuts(lab: &Lab) -> std::path::PathBuf {
    lab.film("in.mp4", &["-c:v", "libx264", "-g", "48", "-vf", "negate=enable='between(mod(t,1.3),0.6,1.3)'"])
}

#[tokio::test]
async fn every_codec_is_exact_over_joins() {
    for (codec, preset, sdr, _) in CODECS {
        let lab = lab(codec, preset);
        let film = with_cuts(&lab);
        let made = lab.make(&film).await;
        assert!(made.codec.starts_with(sdr), "{}", made.codec);
        let out = lab.probe(&made.mp4).await;
        assert_eq!(out.video[0].colors.matrix, "smpte170m");
        crate::in_sync(&lab, &made, &film);
    }
}

/// Their encoders are told otherwise how full the rate buffer is at their start.
#[tokio::test]
async fn long_and_short_chunks_have_one_init() {
    for codec in [VideoCodec::H264, VideoCodec::Hevc] {
        let mut lab = Lab::new();
        lab.profile = Profile { codec, preset: "ultrafast".into(), chunk_ms: 5_000, ..lab.profile };
        let film = with_cuts(&lab);
        let frames: Vec<usize> = lab.plan(&film).await.chunks.iter().map(|chunk| chunk.times.iter().count()).collect();
        assert!(matches!(frames[..], [100..168, 1..90]), "of 24 a second: {frames:?}");
        lab.pictures_and_codec(&film).await;
    }
}

#[tokio::test]
async fn gop_by_gop_in_every_codec() {
    for (codec, preset, ..) in CODECS {
        let mut lab = lab(codec, preset);
        lab.by_gop = true;
        let film = with_cuts(&lab);
        lab.make(&film).await;
    }
}

/// What broke an encoder twice is encoded without its fast ways: the same pictures behind the same init.
#[tokio::test]
async fn with_care_in_every_codec() {
    for (codec, preset) in CODECS.map(|(codec, preset, ..)| (codec, preset)).into_iter().chain([(VideoCodec::H264, "ultrafast")]) {
        let mut lab = lab(codec, preset);
        lab.careful = true;
        let film = with_cuts(&lab);
        lab.make(&film).await;
    }
}

#[tokio::test]
async fn variable_frame_rate_with_a_gap_in_every_codec() {
    for (codec, preset, ..) in CODECS {
        let lab = lab(codec, preset);
        let select = "select='not(eq(mod(n\\,7)\\,3))*not(eq(mod(n\\,11)\\,5))*not(between(t\\,2.2\\,3.4))'";
        let film = lab.film("in.mp4", &["-c:v", "libx264", "-g", "30", "-vf", select, "-fps_mode", "passthrough"]);
        lab.make(&film).await;
    }
}

#[tokio::test]
async fn hdr10_is_kept_in_ten_bits_with_its_tags() {
    let codes: Vec<[u16; 3]> = (1..8u16).map(|n| yuv([f64::from(n) / 10.0; 3], "bt2020nc", false, 10)).collect();
    for (codec, preset, _, hdr) in CODECS {
        let mut lab = lab(codec, preset);
        lab.profile.chunk_ms = 500;
        let raw = planes(&codes, (2, 2), 10, false);
        let tags = "setparams=range=tv:color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc";
        let mastering = "lossless=1:log-level=error:hdr10=1:max-cll=1000,400:\
            master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)";
        film(&lab, &raw, codes.len(), "yuv420p10le", tags, &["libx265", "-x265-params", mastering, "-tag:v", "hvc1", "sei.mp4"]);
        // Through an encoder that hands the records to the muxer.
        lab.ffmpeg(&["-i", "sei.mp4", "-c:v", "libx265", "-x265-params", "lossless=1:log-level=error", "-tag:v", "hvc1", "in.mp4"]);
        let (plan, out, string) = lab.pictures_and_codec(&lab.path("in.mp4")).await;
        let source = &plan.video.as_ref().unwrap().colors;
        assert_eq!(source.mastering.map(|m| (m.luminance, m.light)), Some(((10_000_000, 50), Some((1000, 400)))), "{codec:?}");
        assert!(plan.chunks >= 2);
        let report = lab.probe(&out).await;
        let made = &report.video[0];
        // The container's tags are all that the probe's build can read of AV1.
        assert!(codec == VideoCodec::Av1 || made.pix_fmt == "yuv420p10le", "{codec:?}: {}", made.pix_fmt);
        assert_eq!(Colors { mastering: None, ..made.colors.clone() }, Colors { mastering: None, ..source.clone() }, "{codec:?}");
        assert!(string.starts_with(hdr), "{string}");
        if codec != VideoCodec::Vp9 {
            // What its decoder finds in the stream, as the muxer of another encode tells it. VP9 has no place for it.
            lab.ffmpeg(&["-i", "pictures.mp4", "-c:v", "libx265", "-x265-params", "log-level=error", "-tag:v", "hvc1", "again.mp4"]);
            let found = lab.probe(&lab.path("again.mp4")).await.video[0].colors.mastering;
            assert_eq!(found.map(|m| (m.luminance.0, m.light)), Some((10_000_000, Some((1000, 400)))), "{codec:?}");
        }
        let (is, was) = (lab.raw(&out, "null", "gray10le"), lab.raw(&lab.path("in.mp4"), "null", "gray10le"));
        assert_eq!(is.len(), was.len(), "{codec:?}");
        let pairs =
            is.chunks_exact(2).zip(was.chunks_exact(2)).map(|(a, b)| (u16::from_le_bytes([a[0], a[1]]), u16::from_le_bytes([b[0], b[1]])));
        let off = pairs.map(|(a, b)| u64::from(a.abs_diff(b))).sum::<u64>() / (is.len() as u64 / 2);
        assert!(off <= 4, "{codec:?}: {off} of 1023");
    }
}
