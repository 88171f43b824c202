//! Codec strings of RFC 6381 for playlists, from the configuration records of a track.

use std::fmt::Write as _;

use mp4_atom::{Av1c, Codec, Colr, Hvcc, Moov, VpcC};

/// `avc1.64001f`, `hvc1.1.6.L93.b0`, `av01.0.04M.08`, `vp09.00.30.08`, `mp4a.40.2`. `None`: a codec that we do not make.
pub fn codec_string(moov: &Moov) -> Option<String> {
    match moov.trak.first()?.mdia.minf.stbl.stsd.codecs.first()? {
        Codec::Avc1(entry) => {
            let avcc = &entry.avcc;
            let (profile, constraints) = (avcc.avc_profile_indication, avcc.profile_compatibility);
            Some(format!("avc1.{profile:02x}{constraints:02x}{:02x}", avcc.avc_level_indication))
        }
        Codec::Hvc1(entry) => Some(hevc("hvc1", &entry.hvcc)),
        Codec::Hev1(entry) => Some(hevc("hev1", &entry.hvcc)),
        Codec::Av01(entry) => Some(av1(&entry.av1c, entry.colr.as_ref())),
        Codec::Vp09(entry) => Some(vp9(&entry.vpcc)),
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

/// AV1 Codec ISO Media File Format Binding, section 5: the colours are left out where all are their defaults.
fn av1(config: &Av1c, colr: Option<&Colr>) -> String {
    let depth = match (config.high_bitdepth, config.twelve_bit) {
        (true, true) => 12,
        (true, false) => 10,
        (false, _) => 8,
    };
    let tier = if config.seq_tier_0 { 'H' } else { 'M' };
    let mut text = format!("av01.{}.{:02}{tier}.{depth:02}", config.seq_profile, config.seq_level_idx_0);
    let Some(Colr::Nclx { colour_primaries, transfer_characteristics, matrix_coefficients, full_range_flag }) = colr else { return text };
    let subsampling = [config.chroma_subsampling_x, config.chroma_subsampling_y].map(u8::from);
    // Where both directions are subsampled, the third digit is where the samples lie.
    let position = if subsampling == [1, 1] { config.chroma_sample_position } else { 0 };
    let colors = (*colour_primaries, *transfer_characteristics, *matrix_coefficients);
    if (colors, *full_range_flag, config.monochrome, subsampling, position) != ((1, 1, 1), false, false, [1, 1], 0) {
        let [x, y] = subsampling;
        let (mono, full) = (u8::from(config.monochrome), u8::from(*full_range_flag));
        let _ = write!(text, ".{mono}.{x}{y}{position}.{:02}.{:02}.{:02}.{full}", colors.0, colors.1, colors.2);
    }
    text
}

/// VP Codec ISO Media File Format Binding, "Codecs Parameter String": all or none of what follows the depth.
fn vp9(config: &VpcC) -> String {
    let VpcC { profile, level, bit_depth, chroma_subsampling, .. } = config;
    let mut text = format!("vp09.{profile:02}.{level:02}.{bit_depth:02}");
    let colors = (config.color_primaries, config.transfer_characteristics, config.matrix_coefficients);
    if (*chroma_subsampling, colors, config.video_full_range_flag) != (1, (1, 1, 1), false) {
        let full = u8::from(config.video_full_range_flag);
        let _ = write!(text, ".{chroma_subsampling:02}.{:02}.{:02}.{:02}.{full:02}", colors.0, colors.1, colors.2);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn av1_and_vp9_tell_their_colors_where_they_are_not_the_usual() {
        let hdr =
            Av1c { seq_level_idx_0: 8, high_bitdepth: true, chroma_subsampling_x: true, chroma_subsampling_y: true, ..Av1c::default() };
        let nclx = |primaries, transfer, matrix| Colr::new(primaries, transfer, matrix, false).unwrap();
        assert_eq!(av1(&hdr, Some(&nclx(9, 16, 9))), "av01.0.08M.10.0.110.09.16.09.0");
        assert_eq!(av1(&Av1c { high_bitdepth: false, ..hdr }, Some(&nclx(1, 1, 1))), "av01.0.08M.08");
        let sdr = VpcC {
            level: 31,
            bit_depth: 8,
            chroma_subsampling: 1,
            color_primaries: 1,
            transfer_characteristics: 1,
            matrix_coefficients: 1,
            ..VpcC::default()
        };
        assert_eq!(vp9(&sdr), "vp09.00.31.08");
        let kept = VpcC { profile: 2, bit_depth: 10, color_primaries: 9, transfer_characteristics: 16, matrix_coefficients: 9, ..sdr };
        assert_eq!(vp9(&kept), "vp09.02.31.10.01.09.16.09.00");
    }

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
