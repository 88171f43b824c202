//! Built-in profiles.

use crate::plan::{Channels, Hdr, OnDamage, Profile, Rung, VideoCodec, usual_outputs};

/// Names of the profiles that [`by_name`] knows.
pub const NAMES: [&str; 2] = ["h264", "h264-medium"];

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

/// A profile by its name.
pub fn by_name(name: &str) -> Result<Profile, String> {
    match name {
        "h264" => Ok(h264()),
        "h264-medium" => Ok(Profile { name: name.into(), preset: "medium".into(), ..h264() }),
        _ => Err(format!("there is no profile `{name}`; there are {}", NAMES.join(" and "))),
    }
}
