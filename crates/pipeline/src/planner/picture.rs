//! What kind of picture a track holds, beside its size.

use crate::{
    fault::Fault,
    plan::Profile,
    source::{SourceReport, VideoTrack},
};

/// Smallest side that ffmpeg's deinterlacer takes, pixels.
const MIN_INTERLACED: u32 = 4;
/// Codecs of broadcasts: what the first picture says is not true of all.
const BROADCAST: [&str; 4] = ["h264", "mpeg2video", "vc1", "wmv3"];
/// Codecs whose headers say nothing of fields although their pictures do.
const SILENT: [&str; 5] = ["mpeg4", "dvvideo", "mpeg2video", "vc1", "h264"];

/// Refuses pictures that nothing here can show right.
pub fn can_be_shown(track: &VideoTrack) -> Result<(), Fault> {
    let Some(dolby) = track.dolby_vision else { return Ok(()) };
    // Dolby Vision Profiles and Levels: profile 5 is a colour space of its own, and profile 10 is where its base is nothing.
    if dolby.profile == 5 || (dolby.profile == 10 && dolby.compatibility == 0) {
        return Err(Fault::reject(format!(
            "the video is Dolby Vision profile {}, whose colours only Dolby's own decoders know; send it with an HDR10, HLG or SDR base layer (profile 8.1, 8.4 or 7)",
            dolby.profile
        )));
    }
    Ok(())
}

/// Whether pictures go through the deinterlacer. Each picture's own flag then decides whether it is changed: a container
/// that calls progressive pictures interlaced does no harm. Costs are a tight seek in MP4 (2 % of a ladder), so that an
/// MP4 which calls itself progressive is believed.
pub fn is_interlaced(report: &SourceReport, track: &VideoTrack, profile: &Profile) -> bool {
    if !profile.deinterlace || track.width.min(track.height) < MIN_INTERLACED {
        return false;
    }
    let codec = track.codec.as_str();
    let tables = report.container.split(',').any(|name| name == "mov");
    match track.field_order.as_str() {
        // Fields of HEVC are pictures of their own: there is nothing woven to take apart.
        _ if codec == "hevc" => false,
        _ if track.says_fields() => true,
        "" => SILENT.contains(&codec),
        _ => !tables && BROADCAST.contains(&codec),
    }
}

/// What is told of fields that are shown as they are.
pub fn left_out(track: &VideoTrack, profile: &Profile) -> Option<String> {
    let is_asked = profile.deinterlace && track.codec == "hevc" && track.says_fields();
    is_asked.then(|| format!("track {}: deinterlacing, which there is none of for HEVC: its fields are shown as they are", track.index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{plan::Colors, profile, source::DolbyVision, timebase::TimeBase};

    fn track(codec: &str, field_order: &str) -> VideoTrack {
        VideoTrack {
            index: 0,
            codec: codec.into(),
            time_base: TimeBase::MILLIS,
            width: 720,
            height: 576,
            sample_aspect: (16, 15),
            rotation: 0,
            pix_fmt: "yuv420p".into(),
            field_order: field_order.into(),
            colors: Colors::default(),
            dolby_vision: None,
            cover: false,
            frame_rate: 25.0,
            fields_apart: false,
            reorders: true,
            packets: Vec::new(),
        }
    }

    #[test]
    fn fields_are_looked_for_where_a_codec_may_have_them() {
        let found = |container: &str, codec: &str, order: &str| {
            let report = SourceReport {
                container: container.into(),
                video: vec![],
                audio: vec![],
                subtitles: vec![],
                other: vec![],
                first_packet_pos: None,
                last_packet_end: None,
                way_to_text: Vec::new(),
            };
            is_interlaced(&report, &track(codec, order), &profile::h264())
        };
        assert!(found("mov,mp4,m4a,3gp,3g2,mj2", "h264", "tt"));
        assert!(found("mov,mp4,m4a,3gp,3g2,mj2", "prores", "tb"));
        assert!(found("avi", "dvvideo", ""));
        assert!(found("matroska,webm", "h264", "progressive"), "a recorded broadcast that begins with a film");
        assert!(!found("mov,mp4,m4a,3gp,3g2,mj2", "h264", "progressive"));
        assert!(!found("matroska,webm", "vp9", ""));
        assert!(!found("matroska,webm", "hevc", "tb"));
        let kept = Profile { deinterlace: false, ..profile::h264() };
        assert!(!is_interlaced(&crate::planner::tests::report(track("h264", "tt"), None), &track("h264", "tt"), &kept));
        let told = |codec, order, profile: &Profile| left_out(&track(codec, order), profile).is_some();
        assert!(told("hevc", "tb", &profile::h264()));
        assert!(!told("hevc", "progressive", &profile::h264()) && !told("h264", "tt", &profile::h264()) && !told("hevc", "tt", &kept));
    }

    #[test]
    fn dolby_vision_needs_a_base_layer() {
        let shown = |profile, compatibility| {
            can_be_shown(&VideoTrack { dolby_vision: Some(DolbyVision { profile, compatibility }), ..track("hevc", "") })
        };
        let fault = shown(5, 0).unwrap_err();
        assert!(fault.to_string().contains("Dolby Vision profile 5"), "{fault}");
        assert!(shown(10, 0).is_err());
        assert_eq!([shown(8, 1), shown(8, 4), shown(7, 6), shown(10, 1)], [Ok(()), Ok(()), Ok(()), Ok(())]);
    }
}
