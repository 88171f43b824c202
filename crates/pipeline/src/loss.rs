//! What of a damaged film is not saved, where the profile takes a part for the whole (`on_damage = "partial"`). Pure.
//!
//! The timeline stays whole: black pictures stand at the times of the frames that are lost, silence in the place of sound.

use serde::{Deserialize, Serialize};

use crate::{
    plan::{Chunk, Plan},
    timebase::TimeBase,
};

/// Stretches that are named in the sentence; the rest is counted.
const NAMED: usize = 4;

/// A stretch that is not saved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// `picture`: in every rendition; else the name of a track of sound.
    pub track: String,
    /// Seconds from T0.
    pub from: f64,
    /// `None`: to the end, which was never uploaded; nobody knows how far that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<f64>,
    /// Of the picture: how many of its frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<u32>,
    /// What stands in its place; empty: nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instead: String,
    pub reason: String,
}

/// The sum of it, which stands in the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// Frames of the source that no rendition has.
    pub frames: u64,
    /// One sentence.
    pub detail: String,
}

impl Loss {
    /// A chunk; `end`: where the next one begins, or the film ends, ticks of the video's time base from T0.
    pub fn of_chunk(plan: &Plan, chunk: &Chunk, end: i64, reason: &str) -> Self {
        let base = plan.video.as_ref().map_or(TimeBase::MILLIS, |video| video.time_base);
        Self {
            track: "picture".into(),
            from: milliseconds(base.seconds(chunk.times.first())),
            to: Some(milliseconds(base.seconds(end))),
            frames: Some(chunk.times.count()),
            instead: "black pictures".into(),
            reason: reason.to_owned(),
        }
    }
    /// A stretch of a track of sound, microseconds from T0.
    pub fn of_sound(track: &str, (from, to): (i64, i64)) -> Self {
        Self {
            track: track.to_owned(),
            from: milliseconds(TimeBase::MICROS.seconds(from)),
            to: Some(milliseconds(TimeBase::MICROS.seconds(to))),
            frames: None,
            instead: "silence".into(),
            reason: "it cannot be decoded".into(),
        }
    }
    /// What was never uploaded of each track.
    pub fn of_ends(plan: &Plan) -> Vec<Self> {
        let Some(cut) = &plan.cut_short else { return Vec::new() };
        let picture = plan.video.iter().map(|video| ("picture", video.time_base.seconds(cut.picture_until.unwrap_or(video.end))));
        let sound = plan.audio.iter().map(|track| (track.name.as_str(), TimeBase::MICROS.seconds(track.end_us)));
        let loss = |(track, from): (&str, f64)| Self {
            track: track.to_owned(),
            from: milliseconds(from),
            to: None,
            frames: None,
            instead: String::new(),
            reason: cut.reason.clone(),
        };
        picture.chain(sound).map(loss).collect()
    }
    /// `picture, seconds 4.00 to 6.00 (black pictures there)`
    pub fn line(&self) -> String {
        let track = &self.track;
        match self.to {
            Some(to) => format!("{track}, seconds {:.2} to {to:.2} ({} there)", self.from, self.instead),
            None => format!("{track}, from second {:.2} on (never uploaded)", self.from),
        }
    }
}

fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// `None`: the film is whole.
pub fn sum(plan: &Plan, lost: &[Loss]) -> Option<Losses> {
    if lost.is_empty() {
        return None;
    }
    let frames = lost.iter().filter_map(|loss| loss.frames).map(u64::from).sum();
    let saved = plan.video.as_ref().map_or_else(String::new, |video| {
        format!("{} of {} frames are in each rendition; ", video.frames.saturating_sub(frames), video.frames)
    });
    let mut stretches: Vec<String> = lost.iter().take(NAMED).map(Loss::line).collect();
    stretches.extend((lost.len() > NAMED).then(|| format!("and {} more, see the receipt", lost.len() - NAMED)));
    Some(Losses { frames, detail: format!("saved in part: {saved}not saved: {}", stretches.join("; ")) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        film::tests::audio_plan,
        job::tests::plan,
        plan::{AudioPlan, CutShort},
    };

    #[test]
    fn what_is_lost_is_told_in_one_sentence() {
        let mut plan = Plan { cut_short: Some(CutShort { reason: "the file is truncated".into(), picture_until: None }), ..*plan() };
        let mut lost = vec![Loss::of_sound("audio", (1_500_000, 1_540_000))];
        assert!(Loss::of_ends(&plan).is_empty());
        plan.audio.push(AudioPlan { end_us: 1_000_000, ..audio_plan() });
        lost.extend(Loss::of_ends(&plan));
        let told = sum(&plan, &lost).unwrap();
        assert_eq!(
            told.detail,
            "saved in part: not saved: audio, seconds 1.50 to 1.54 (silence there); audio, from second 1.00 on (never uploaded)"
        );
        lost.extend((0..4).map(|at| Loss::of_sound("audio-2", (at * 1_000_000, at * 1_000_000 + 500_000))));
        assert!(sum(&plan, &lost).unwrap().detail.ends_with("; and 2 more, see the receipt"));
        assert_eq!(sum(&plan, &[]), None);
    }
}
