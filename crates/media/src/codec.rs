//! Codec strings of RFC 6381 for playlists, from the configuration records of a track.

use std::fmt::Write as _;

use mp4_atom::{Codec, Hvcc, Moov};

/// `avc1.64001f`, `hvc1.1.6.L93.b0`, `mp4a.40.2`. `None`: a codec that we do not make.
pub fn codec_string(moov: &Moov) -> Option<String> {
    match moov.trak.first()?.mdia.minf.stbl.stsd.codecs.first()? {
        Codec::Avc1(entry) => {
            let avcc = &entry.avcc;
            let (profile, constraints) = (avcc.avc_profile_indication, avcc.profile_compatibility);
            Some(format!("avc1.{profile:02x}{constraints:02x}{:02x}", avcc.avc_level_indication))
        }
        Codec::Hvc1(entry) => Some(hevc("hvc1", &entry.hvcc)),
        Codec::Hev1(entry) => Some(hevc("hev1", &entry.hvcc)),
        Codec::Mp4a(entry) => {
            let config = &entry.esds.es_desc.dec_config;
            let kind = config.dec_specific.as_ref().map_or(2, |specific| specific.profile);
            Some(format!("mp4a.{:x}.{kind}", config.object_type_indication))
        }
        _ => None,
    }
}

/// ISO/IEC 14496-15, annex E.3: profile, reversed compatibility flags, tier and level, constraint bytes without the
/// zeros at their end.
fn hevc(name: &str, hvcc: &Hvcc) -> String {
    let space = match hvcc.general_profile_space {
        1 => "A",
        2 => "B",
        3 => "C",
        _ => "",
    };
    let flags = u32::from_be_bytes(hvcc.general_profile_compatibility_flags).reverse_bits();
    let tier = if hvcc.general_tier_flag { 'H' } else { 'L' };
    let (profile, level) = (hvcc.general_profile_idc, hvcc.general_level_idc);
    let mut text = format!("{name}.{space}{profile}.{flags:x}.{tier}{level}");
    let constraints = &hvcc.general_constraint_indicator_flags;
    let used = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    for byte in constraints.iter().take(used) {
        let _ = write!(text, ".{byte:x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hevc_main_at_level_3_1_is_written_as_the_annex_says() {
        let hvcc = Hvcc {
            general_profile_idc: 1,
            general_profile_compatibility_flags: [0x60, 0, 0, 0],
            general_level_idc: 93,
            general_constraint_indicator_flags: [0xb0, 0, 0, 0, 0, 0],
            ..Hvcc::new()
        };
        assert_eq!(hevc("hvc1", &hvcc), "hvc1.1.6.L93.b0");
    }

    #[test]
    fn a_high_tier_and_a_profile_space_are_told() {
        let hvcc = Hvcc {
            general_profile_space: 1,
            general_profile_idc: 2,
            general_tier_flag: true,
            general_profile_compatibility_flags: [0x20, 0, 0, 0],
            general_level_idc: 150,
            ..Hvcc::new()
        };
        assert_eq!(hevc("hev1", &hvcc), "hev1.A2.4.H150");
    }
}
