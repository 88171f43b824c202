//! Which track is the picture, and which of its packets are shown.

use super::{MAX_FRAMES, picture, sound, text};
use crate::{
    fault::Fault,
    source::{Packet, SourceReport, VideoTrack},
};

/// Codecs that decode pictures in another order than they show them; all others' times must rise from packet to packet.
const REORDERING: [&str; 15] =
    ["h264", "hevc", "vvc", "mpeg1video", "mpeg2video", "mpeg4", "vc1", "wmv3", "rv30", "rv40", "cavs", "avs2", "avs3", "dirac", "evc"];

/// The first video track that is not a cover picture, if it is one that can be done.
pub fn choose(report: &SourceReport) -> Result<&VideoTrack, Fault> {
    let track = report.video.iter().find(|t| !t.cover && !t.packets.is_empty()).ok_or_else(|| {
        Fault::reject(if report.video.iter().any(|t| !t.cover) {
            "the video track holds no picture: the recording or the upload was not finished"
        } else {
            "the file holds neither pictures nor sound"
        })
    })?;
    if track.width == 0 || track.height == 0 {
        return Err(Fault::reject("the video track has no picture size: its header is damaged or was not uploaded"));
    }
    picture::can_be_shown(track)?;
    Ok(track)
}

/// Whether the pictures can be planned on: each has a time of its own, rising where the codec knows no other order. A
/// track that cannot be taken anyway is not judged.
pub fn times_are_usable(report: &SourceReport) -> bool {
    let Ok(track) = choose(report) else { return true };
    let from = track.packets.iter().position(|p| p.key).unwrap_or(track.packets.len());
    let shown = track.packets.iter().skip(from).filter(|p| p.shown);
    let Some(mut times) = shown.map(|p| p.pts).collect::<Option<Vec<i64>>>() else { return false };
    if REORDERING.contains(&track.codec.as_str()) {
        times.sort_unstable();
    }
    times.windows(2).all(|pair| pair[0] < pair[1])
}

/// Whether bad times can be made good by the order of the packets: it is the order of the pictures. Where a codec
/// reorders, only the absence of any earlier time says so.
pub fn times_can_be_mended(report: &SourceReport) -> bool {
    let Ok(track) = choose(report) else { return false };
    let times: Vec<i64> = track.packets.iter().filter_map(|p| p.pts).collect();
    let rising = || times.len() == track.packets.len() && times.is_sorted();
    !REORDERING.contains(&track.codec.as_str()) || rising()
}

/// Whether the packets of a source are fields, of which a copy tells which two are a picture.
pub fn fields_are_apart(report: &SourceReport) -> bool {
    choose(report).is_ok_and(|track| track.fields_apart)
}

/// Whether a copy of a source is to be copied once more for its times. `lent`: packets without a time have that of the one before,
/// which is refused where one of them is a picture by itself.
pub fn copy_needs_mending(report: &SourceReport, lent: bool) -> Result<bool, Fault> {
    if lent && !times_are_usable(report) {
        return Err(without_times());
    }
    Ok(times_need_mending(report))
}

fn without_times() -> Fault {
    Fault::reject(
        "pictures of the video track have no times, and none can be made for them: convert the film (ffmpeg -i IN OUT.mp4) and upload that",
    )
}

/// Whether a source is to be remuxed for its times. Times that are bad and stay so are for the plan to refuse by name.
pub fn times_need_mending(report: &SourceReport) -> bool {
    !times_are_usable(report) && times_can_be_mended(report)
}

/// Lines for the receipt: tracks that no rendition carries.
pub fn left_out(report: &SourceReport, chosen: &VideoTrack) -> Vec<String> {
    let video = report.video.iter().filter(|t| t.index != chosen.index);
    let video = video.map(|t| format!("track {}: {} {}", t.index, if t.cover { "cover picture" } else { "video" }, t.codec));
    video.chain(not_carried(report, text::left_out(report))).collect()
}

/// The same of tracks that are no pictures; `text`: of those of subtitles.
pub fn not_carried(report: &SourceReport, text: impl Iterator<Item = String>) -> Vec<String> {
    sound::left_out(report).chain(text).chain(report.other.iter().map(|other| format!("track {other}"))).collect()
}

/// The shown frames of a track in display order, each with where its packet lies in the file.
#[derive(Clone, Debug)]
pub struct Frames {
    /// Strictly increasing, ticks of the track.
    pts: Vec<i64>,
    /// For each frame: index of its packet in the track's list.
    packets: Vec<usize>,
    /// End of the last frame, ticks.
    end: i64,
}

impl Frames {
    /// Shown packets from the first keyframe on, by PTS.
    pub fn of(track: &VideoTrack) -> Result<Self, Fault> {
        let first_key = track.packets.iter().position(|p| p.key).ok_or_else(|| Fault::reject("the video track holds no keyframe"))?;
        let key_pts = track.packets[first_key].pts.ok_or_else(without_times)?;
        let leads = |packet: &Packet| packet.shown && packet.pts.is_some_and(|pts| pts < key_pts);
        if track.codec == "vvc" && track.packets.iter().skip(first_key).any(leads) {
            // Whether they can be decoded stands in their headers only: VVC's common encoder begins every film with such.
            return Err(Fault::reject(
                "the film begins with pictures (VVC) that lead its first keyframe, and which of them are shown is not known \
                 before they are decoded: convert the film (ffmpeg -i IN OUT.mp4) and upload that",
            ));
        }
        let mut shown = Vec::new();
        for (index, packet) in track.packets.iter().enumerate().skip(first_key).filter(|(_, p)| p.shown) {
            let pts = packet.pts.ok_or_else(without_times)?;
            // Leading pictures of the first keyframe have nothing to be decoded from: decoders differ on them.
            if pts >= key_pts {
                shown.push((pts, index));
            }
        }
        shown.sort_unstable();
        if shown.is_empty() {
            return Err(Fault::reject("no picture of the video track is ever shown"));
        }
        if shown.len() > MAX_FRAMES {
            return Err(Fault::reject(format!("the video has {} pictures; {MAX_FRAMES} are the most that is taken", shown.len())));
        }
        if shown.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(Fault::reject(
                "two pictures of the video track have the same time, and their order is not known: convert the film (ffmpeg -i IN OUT.mp4) and upload that",
            ));
        }
        let (pts, packets): (Vec<_>, Vec<_>) = shown.into_iter().unzip();
        let last = pts.last().copied().unwrap_or_default();
        let step = pts.len().checked_sub(2).and_then(|i| pts.get(i)).map_or(1, |before| last - before);
        Ok(Self { end: last + step, pts, packets })
    }
    pub fn pts(&self) -> &[i64] {
        &self.pts
    }
    /// Index of the packet of a frame in the track's list.
    pub fn packet(&self, frame: usize) -> usize {
        self.packets.get(frame).copied().unwrap_or_default()
    }
    pub fn len(&self) -> usize {
        self.pts.len()
    }
    pub fn is_empty(&self) -> bool {
        self.pts.is_empty()
    }
    pub fn first(&self) -> i64 {
        self.pts.first().copied().unwrap_or_default()
    }
    pub fn end(&self) -> i64 {
        self.end
    }
    /// Where the first picture is missing of a track that was cut off, ticks: what is missing is shown no earlier than it
    /// is decoded. Behind that, as long as pictures come at the same rate, none is missing either.
    pub fn whole_until(&self, track: &VideoTrack) -> i64 {
        let decoded = track.packets.iter().filter_map(|p| p.dts.or(p.pts)).max().unwrap_or_default();
        let mut whole = self.pts.partition_point(|pts| *pts <= decoded).max(1);
        let step = |at: usize| Some(self.pts.get(at)? - self.pts.get(at.checked_sub(1)?)?);
        // Of a single picture nobody knows how long it is shown.
        let Some(usual) = step(whole - 1) else { return self.first() + 1 };
        while step(whole).is_some_and(|step| step <= usual) {
            whole += 1;
        }
        self.pts.get(whole - 1).map_or(self.end, |last| last + usual)
    }
    /// Frames at which the source has a keyframe, in display order.
    pub fn keyframes(&self, track: &VideoTrack) -> Vec<usize> {
        (0..self.len()).filter(|frame| track.packets.get(self.packet(*frame)).is_some_and(|p| p.key)).collect()
    }
}
