//! Black pictures in the place of a chunk that cannot be decoded.

use pipeline::{
    encoder::{ChunkWork, Encoder, Progress},
    plan::{Hdr, Profile, VideoCodec},
    planner::Planned,
};

use super::patches::{film, planes, yuv};
use crate::support::Lab;

/// Encodes chunk 0 of a film and chunk 1 in black: one init fits both, and all pictures of the second are black.
async fn fits(lab: &Lab, name: &str, (luma, chroma, pix_fmt): (u16, u16, &str)) {
    let Planned { plan, chunks, .. } = lab.plan(&lab.path(name)).await;
    assert!(chunks.len() >= 2, "{} chunks", chunks.len());
    let (film, nothing, progress) = (lab.path(name), lab.path("not there"), Progress::default());
    let mut made = Vec::new();
    for (number, blank) in [(0, false), (1, true)] {
        let (source, out) = (if blank { &nothing } else { &film }, lab.fresh(&format!("{name}-{number}")));
        let work = ChunkWork { plan: &plan, chunk: &chunks[number], source, out: &out, progress: &progress, careful: false, blank };
        made.push(lab.encoder.encode_chunk(&work).await.unwrap());
    }
    let (real, black) = (&made[0], &made[1]);
    for (made, real) in black.iter().zip(real) {
        assert_eq!((&made.name, &made.init, &made.codec), (&real.name, &real.init, &real.codec), "{name}");
        let segments = made.segments.iter().flat_map(|segment| std::fs::read(&segment.path).unwrap());
        let joined = lab.path("black.mp4");
        std::fs::write(&joined, made.init.iter().copied().chain(segments).collect::<Vec<u8>>()).unwrap();
        let raw = lab.raw(&joined, "null", pix_fmt);
        let samples: Vec<u16> = if pix_fmt.ends_with("le") {
            raw.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
        } else {
            raw.iter().map(|byte| u16::from(*byte)).collect()
        };
        let near = |sample: &u16, wanted: u16| sample.abs_diff(wanted) <= 2;
        assert!(!samples.is_empty() && samples.iter().all(|sample| near(sample, luma) || near(sample, chroma)), "{name}: not black");
        let share = samples.iter().filter(|sample| near(sample, luma)).count() * 3;
        assert_eq!(share, samples.len() * 2, "{name}: two thirds of the samples are luma");
    }
    for number in 0..2 {
        std::fs::remove_dir_all(lab.path(&format!("{name}-{number}"))).unwrap();
    }
}

/// The chunks around them come from the source: what players configure a decoder with must be the same, bit for bit.
#[tokio::test]
async fn black_pictures_fit_between_those_of_the_source_in_every_codec() {
    let encoders = [(VideoCodec::H264, "veryfast"), (VideoCodec::Hevc, "ultrafast"), (VideoCodec::Av1, "12"), (VideoCodec::Vp9, "8")];
    for (codec, preset) in encoders {
        let mut lab = Lab::new();
        lab.profile = Profile { codec, preset: preset.into(), crf: 30, ..lab.profile };
        // A changing rate, with a gap within the chunk.
        let select = "select='not(eq(mod(n\\,7)\\,3))*not(between(t\\,2.4\\,3.0))'";
        lab.film("vary.mp4", &["-c:v", "libx264", "-g", "30", "-vf", select, "-fps_mode", "passthrough"]);
        fits(&lab, "vary.mp4", (16, 128, "yuv420p")).await;
        // Colours that are converted before they are encoded.
        let grays: Vec<[u16; 3]> = (1..20u16).map(|n| yuv([f64::from(n) / 20.0; 3], "bt2020nc", false, 10)).collect();
        let tags = "setparams=range=tv:color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc";
        let raw = planes(&grays, (2, 2), 10, false);
        lab.profile.chunk_ms = 500;
        film(&lab, &raw, grays.len(), "yuv420p10le", tags, &["libx265", "-x265-params", "log-level=error", "-tag:v", "hvc1", "hdr.mp4"]);
        fits(&lab, "hdr.mp4", (16, 128, "yuv420p")).await;
        if codec != VideoCodec::H264 {
            lab.profile.hdr = Hdr::Keep;
            fits(&lab, "hdr.mp4", (64, 512, "yuv420p10le")).await;
        }
    }
}
