//! Built-in profiles.

use crate::plan::{Channels, Hdr, Metric, OnDamage, Profile, Rung, TargetQuality, VideoCodec, usual_outputs};

/// Names of the profiles that [`by_name`] knows.
pub const NAMES: [&str; 6] = ["h264", "h264-medium", "h264-vmaf", "hevc", "av1", "vp9"];

/// H.264 with x264's `veryfast`, four rungs (the reference ladder).
pub fn h264() -> Profile {
    let rung = |short_side, maxrate_k: u32, bufsize_k: u32| Rung { short_side, maxrate: maxrate_k * 1000, bufsize: bufsize_k * 1000 };
    Profile {
        name: "h264".into(),
        codec: VideoCodec::H264,
        preset: "veryfast".into(),
        crf: 23,
        target: None,
        chunk_ms: 6000,
        gop_ms: 2000,
        ladder: vec![rung(1080, 5350, 7500), rung(720, 2996, 4200), rung(480, 1498, 2100), rung(360, 856, 1200)],
        hdr: Hdr::ToSdr,
        deinterlace: true,
        audio_bitrate: 128_000,
        channels: Channels::Stereo,
        loudness: None,
        outputs: usual_outputs(),
        on_damage: OnDamage::Fail,
    }
}

/// H.264 at VMAF 93, each chunk by a CRF of its own.
pub fn h264_vmaf() -> Profile {
    let target = TargetQuality { metric: Metric::Vmaf, score: 93.0, min_crf: 17, max_crf: 35 };
    Profile { name: "h264-vmaf".into(), target: Some(target), ..h264() }
}

/// HEVC with x265's `veryfast`: seven tenths of the rates of H.264.
pub fn hevc() -> Profile {
    Profile { name: "hevc".into(), codec: VideoCodec::Hevc, crf: 26, ladder: percent(70), ..h264() }
}

/// AV1 with SVT-AV1's preset 8: six tenths of the rates of H.264.
pub fn av1() -> Profile {
    Profile { name: "av1".into(), codec: VideoCodec::Av1, preset: "8".into(), crf: 35, ladder: percent(60), ..h264() }
}

/// VP9 with libvpx's speed 5: three quarters of the rates of H.264.
pub fn vp9() -> Profile {
    Profile { name: "vp9".into(), codec: VideoCodec::Vp9, preset: "5".into(), crf: 33, ladder: percent(75), ..h264() }
}

/// The reference ladder at a part of its rates.
fn percent(part: u32) -> Vec<Rung> {
    let scaled = |rate: u32| rate / 100 * part;
    h264().ladder.into_iter().map(|rung| Rung { maxrate: scaled(rung.maxrate), bufsize: scaled(rung.bufsize), ..rung }).collect()
}

/// A profile by its name.
pub fn by_name(name: &str) -> Result<Profile, String> {
    match name {
        "h264" => Ok(h264()),
        "h264-medium" => Ok(Profile { name: name.into(), preset: "medium".into(), ..h264() }),
        "h264-vmaf" => Ok(h264_vmaf()),
        "hevc" => Ok(hevc()),
        "av1" => Ok(av1()),
        "vp9" => Ok(vp9()),
        _ => Err(format!("there is no profile `{name}`; there are {}", NAMES.join(", "))),
    }
}
