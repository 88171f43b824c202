//! Colours: what a picture's numbers mean where its source does not say, and what they mean once it was encoded.

use crate::plan::{Colors, Hdr, Profile, VideoCodec};

/// Names of ITU-T H.273 as ffmpeg writes them, those that are taken at their word. Nothing else becomes an argument.
const PRIMARIES: [&str; 9] = ["bt709", "bt470m", "bt470bg", "smpte170m", "smpte240m", "film", "bt2020", "smpte431", "smpte432"];
const TRANSFERS: [&str; 15] = [
    "bt709",
    "bt470m",
    "bt470bg",
    "smpte170m",
    "smpte240m",
    "linear",
    "log100",
    "log316",
    "iec61966-2-4",
    "bt1361e",
    "iec61966-2-1",
    "bt2020-10",
    "bt2020-12",
    "smpte2084",
    "arib-std-b67",
];
const MATRICES: [&str; 8] = ["bt709", "fcc", "bt470bg", "smpte170m", "smpte240m", "ycgco", "bt2020nc", "bt2020c"];
/// Matrices that players of SDR know: pictures keep theirs.
const PLAYED: [&str; 5] = ["bt709", "fcc", "bt470bg", "smpte170m", "smpte240m"];
/// Pixel formats that are red, green and blue, by how ffmpeg's names for them begin.
const RGB: [&str; 10] = ["rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "x2rgb", "x2bgr", "pal8"];

/// What must be done to a picture's colours before it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// Nothing but the range: its own numbers under its own tags.
    None,
    /// High dynamic range becomes BT.709.
    ToneMap,
    /// Colours that SDR players do not know become BT.709.
    Bt709,
}

impl Colors {
    /// ITU-R BT.709, limited range.
    pub fn bt709() -> Self {
        Self { primaries: "bt709".into(), transfer: "bt709".into(), matrix: "bt709".into(), range: "tv".into(), mastering: None }
    }

    /// What a source says, completed by what is usual where it says nothing: BT.601 for SD (by the lines, 525 or 625),
    /// BT.709 above; what it says of one of the three speaks for the other two.
    #[must_use]
    pub fn resolved(&self, pix_fmt: &str, width: u32, height: u32) -> Self {
        let known = |name: &str, names: &[&str]| names.contains(&name).then(|| name.to_owned());
        let rgb = RGB.iter().any(|begin| pix_fmt.starts_with(begin));
        let (primaries, transfer) = (known(&self.primaries, &PRIMARIES), known(&self.transfer, &TRANSFERS));
        let matrix = if rgb { Some("gbr".to_owned()) } else { known(&self.matrix, &MATRICES) };
        let system = system(primaries.as_deref(), transfer.as_deref(), matrix.as_deref(), (width, height));
        let full = rgb || self.range == "pc" || (pix_fmt.starts_with("yuvj") && self.range.is_empty());
        Self {
            primaries: primaries.unwrap_or_else(|| system.0.to_owned()),
            transfer: transfer.unwrap_or_else(|| system.1.to_owned()),
            matrix: matrix.unwrap_or_else(|| system.2.to_owned()),
            range: if full { "pc" } else { "tv" }.to_owned(),
            mastering: self.mastering,
        }
    }

    /// PQ (SMPTE ST 2084) or HLG (ARIB STD-B67).
    pub fn is_hdr(&self) -> bool {
        self.is_pq() || self.transfer == "arib-std-b67"
    }
    /// SMPTE ST 2084.
    pub fn is_pq(&self) -> bool {
        self.transfer == "smpte2084"
    }

    /// `VIDEO-RANGE` of HLS (RFC 8216bis, 4.4.6.2), where it is not SDR.
    pub fn video_range(&self) -> Option<&'static str> {
        match self.transfer.as_str() {
            "smpte2084" => Some("PQ"),
            "arib-std-b67" => Some("HLG"),
            _ => None,
        }
    }

    /// What a profile does to pictures of these (resolved) colours.
    pub fn conversion(&self, profile: &Profile) -> Conversion {
        if self.is_hdr() {
            // H.264 in ten bits is played by next to nothing.
            let kept = profile.hdr == Hdr::Keep && profile.codec != VideoCodec::H264;
            if kept { Conversion::None } else { Conversion::ToneMap }
        } else if self.matrix == "gbr" || (self.primaries != "bt2020" && PLAYED.contains(&self.matrix.as_str())) {
            Conversion::None
        } else {
            Conversion::Bt709
        }
    }

    /// What the encoded pictures are, by the profile. The range is always limited.
    #[must_use]
    pub fn encoded(&self, profile: &Profile) -> Self {
        match self.conversion(profile) {
            Conversion::ToneMap | Conversion::Bt709 => Self::bt709(),
            Conversion::None if self.matrix == "gbr" => Self { matrix: "bt709".into(), range: "tv".into(), ..self.clone() },
            Conversion::None => Self { range: "tv".into(), ..self.clone() },
        }
    }
}

/// Primaries, transfer and matrix of the system that what is known belongs to.
fn system(
    primaries: Option<&str>,
    transfer: Option<&str>,
    matrix: Option<&str>,
    (width, height): (u32, u32),
) -> (&'static str, &'static str, &'static str) {
    let hdr = matches!(transfer, Some("smpte2084" | "arib-std-b67"));
    if hdr || matches!(primaries, Some("bt2020")) || matches!(matrix, Some("bt2020nc" | "bt2020c")) {
        return ("bt2020", "bt2020-10", "bt2020nc");
    }
    let said = |names: &[&str]| [primaries, transfer, matrix].iter().flatten().any(|name| names.contains(name));
    let sd = width.max(height) < 1280 && width.min(height) <= 576;
    match () {
        () if said(&["smpte240m"]) => ("smpte240m", "smpte240m", "smpte240m"),
        () if matches!(primaries.or(matrix), Some("bt470bg")) => ("bt470bg", "smpte170m", "bt470bg"),
        () if matches!(matrix.or(primaries), Some("smpte170m")) => ("smpte170m", "smpte170m", "smpte170m"),
        () if matches!(matrix, Some("gbr")) || matches!(matrix.or(primaries), Some("bt709")) => ("bt709", "bt709", "bt709"),
        // 625 lines are 576 of picture, or half of them.
        () if sd && matches!(width.min(height), 576 | 288 | 544) => ("bt470bg", "smpte170m", "bt470bg"),
        () if sd => ("smpte170m", "smpte170m", "smpte170m"),
        () => ("bt709", "bt709", "bt709"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile;

    fn said(primaries: &str, transfer: &str, matrix: &str, range: &str) -> Colors {
        Colors { primaries: primaries.into(), transfer: transfer.into(), matrix: matrix.into(), range: range.into(), mastering: None }
    }
    fn tell(colors: &Colors) -> String {
        format!("{} {} {} {}", colors.primaries, colors.transfer, colors.matrix, colors.range)
    }

    #[test]
    fn what_a_source_does_not_say_is_usual_for_its_size() {
        let nothing = Colors::default();
        let at = |width, height| tell(&nothing.resolved("yuv420p", width, height));
        assert_eq!(at(720, 480), "smpte170m smpte170m smpte170m tv");
        assert_eq!(at(720, 576), "bt470bg smpte170m bt470bg tv");
        assert_eq!(at(480, 854), "smpte170m smpte170m smpte170m tv", "upright");
        assert_eq!(at(1280, 534), "bt709 bt709 bt709 tv", "a wide film");
        assert_eq!(at(1920, 1080), "bt709 bt709 bt709 tv");
    }

    #[test]
    fn what_it_says_of_one_speaks_for_the_others() {
        let at = |primaries, transfer, matrix| tell(&said(primaries, transfer, matrix, "").resolved("yuv420p", 640, 360));
        assert_eq!(at("", "", "bt709"), "bt709 bt709 bt709 tv");
        assert_eq!(at("bt709", "", ""), "bt709 bt709 bt709 tv");
        assert_eq!(at("", "smpte2084", ""), "bt2020 smpte2084 bt2020nc tv");
        assert_eq!(at("", "bt709", ""), "smpte170m bt709 smpte170m tv", "the same curve in both systems");
        assert_eq!(at("reserved", "x -y", "unknown"), "smpte170m smpte170m smpte170m tv", "no name that is not known");
    }

    #[test]
    fn red_green_and_blue_have_no_matrix_and_full_range() {
        assert_eq!(tell(&Colors::default().resolved("bgr24", 640, 360)), "bt709 bt709 gbr pc");
        assert_eq!(tell(&Colors::default().resolved("pal8", 640, 360)), "bt709 bt709 gbr pc");
        assert_eq!(tell(&said("", "", "gbr", "pc").resolved("yuv444p", 640, 360)), "smpte170m smpte170m smpte170m pc", "it lies");
        assert_eq!(Colors::default().resolved("yuvj420p", 640, 360).range, "pc");
    }

    #[test]
    fn high_dynamic_range_is_kept_only_where_a_profile_and_its_codec_can() {
        let (sdr, pq) = (said("bt470bg", "smpte170m", "bt470bg", "pc"), said("bt2020", "smpte2084", "bt2020nc", "tv"));
        let wide = said("bt2020", "bt2020-10", "bt2020nc", "tv");
        let keep = |codec| Profile { hdr: Hdr::Keep, codec, ..profile::h264() };
        assert_eq!(tell(&pq.encoded(&profile::h264())), "bt709 bt709 bt709 tv");
        assert_eq!(pq.conversion(&keep(VideoCodec::H264)), Conversion::ToneMap);
        assert_eq!(pq.encoded(&keep(VideoCodec::Hevc)), pq);
        assert_eq!(wide.conversion(&keep(VideoCodec::Hevc)), Conversion::Bt709);
        assert_eq!(tell(&sdr.encoded(&profile::h264())), "bt470bg smpte170m bt470bg tv");
    }
}
