//! `receipt.json`: what was made and how it was verified. A pure function of the committed records: no clock, no attempt.

use serde::{Deserialize, Serialize};

use crate::{
    assembly::Assembly,
    cost::{Expense, Tally},
    job::Job,
    key,
    loss::Loss,
    loudness::LoudnessReceipt,
    plan::{Output, Plan},
    quality::Quality,
    result::{Cost, SegmentRecord},
    stills::{StillsPlan, THUMBNAILS},
    timebase::TimeBase,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    pub schema: u32,
    pub job: String,
    pub source: crate::id::SourceRef,
    /// What the probe said, in one line.
    pub facts: String,
    /// As the plan has it.
    pub layer: String,
    pub profile: crate::plan::Profile,
    /// Shown frames of the source: each rendition has as many. Black ones among them where some are lost.
    pub frames: u64,
    /// Length of the film from its first picture to the end of its last one; of the sound where there is no picture. Seconds.
    pub seconds: f64,
    /// `streams/<job>/master.m3u8`
    pub master: String,
    /// `streams/<job>/manifest.mpd`, where the profile has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dash: Option<String>,
    pub renditions: Vec<RenditionReceipt>,
    pub audio: Vec<AudioReceipt>,
    /// Where the profile asks for pictures beside the film.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stills: Option<StillsReceipt>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub text: Vec<TextReceipt>,
    /// Of a film that is saved in part: all that is not the source's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<Loss>,
    pub verified: Vec<String>,
    /// Tracks that no rendition carries, and what cannot be read of those that one does.
    pub left_out: Vec<String>,
    pub cost: Cost,
    /// What the job used, and what that costs at AWS's list prices; absent where an older version planned it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expense: Option<Expense>,
    /// The CRF of every chunk, where the profile has a target quality.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quality: Vec<ChunkQuality>,
}

/// How the CRF of a chunk was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChunkQuality {
    pub chunk: u32,
    pub crf: u32,
    /// `(CRF, score)` of every try, in its order; scores as the profile's metric counts.
    pub curve: Vec<(u32, f64)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RenditionReceipt {
    pub name: String,
    pub width: u32,
    pub height: u32,
    /// RFC 6381.
    pub codec: String,
    pub frames: u64,
    pub segments: u32,
    /// Bytes of init and segments.
    pub bytes: u64,
    /// Mean bits per second.
    pub bitrate: u64,
    pub playlist: String,
    /// Where the profile asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mp4: Option<FileReceipt>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AudioReceipt {
    pub name: String,
    pub language: String,
    pub codec: String,
    #[serde(default)]
    pub channels: u32,
    /// Silence behind the sound, to the end of the picture or of the longest track. Seconds.
    #[serde(default, skip_serializing_if = "is_none")]
    pub silence_seconds: f64,
    /// Where the profile has a level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loudness: Option<LoudnessReceipt>,
    pub segments: u32,
    pub bytes: u64,
    pub playlist: String,
    /// The track as a file, where the profile asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub m4a: Option<FileReceipt>,
}

/// Pictures beside the film.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StillsReceipt {
    /// Poster, sheets of the sprite in their order, preview.
    pub files: Vec<StillReceipt>,
    /// `streams/<job>/sprite.vtt`: which tile of the sprite is when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbnails: Option<String>,
    /// Tiles whose own picture could not be decoded: they show the one before.
    pub repeated: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StillReceipt {
    /// `streams/<job>/poster.jpg`
    pub key: String,
    pub bytes: u64,
    pub sha256: String,
    pub width: u32,
    pub height: u32,
}

/// Subtitles as `WebVTT`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextReceipt {
    pub name: String,
    pub language: String,
    pub forced: bool,
    pub cues: u32,
    /// Cues of the source that are not shown: outside of the film, of no length, or without text.
    pub dropped: u32,
    pub bytes: u64,
    /// Lower-case hex, of the file that the playlist and the manifest name.
    pub sha256: String,
    pub playlist: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileReceipt {
    pub key: String,
    pub bytes: u64,
    /// Of the whole; absent where the store copied media that nobody else read on the way. Then the index stands for it by
    /// `head_sha256`, what was read by the hashes that its segments were committed with, and what was copied by the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Of everything before the media: `ftyp`, `moov`, the header of `mdat`.
    pub head_sha256: String,
    /// Bytes of media that the store copied from the segments.
    pub copied_bytes: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_none(seconds: &f64) -> bool {
    *seconds <= 0.0
}

/// Mean bits per second over `seconds`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a bit rate for display")]
pub fn bitrate(bytes: u64, seconds: f64) -> u64 {
    if seconds > 0.0 { (bytes as f64 * 8.0 / seconds) as u64 } else { 0 }
}

/// Bits per second of the densest segment (RFC 8216, 4.3.4.2 BANDWIDTH); `scale`: ticks a second.
pub fn peak(segments: &[SegmentRecord], durations: &[i64], scale: f64) -> u64 {
    #[expect(clippy::cast_precision_loss, reason = "lengths of segments")]
    let rates = segments.iter().zip(durations).map(|(segment, ticks)| bitrate(segment.bytes, *ticks as f64 / scale));
    rates.max().unwrap_or(0)
}

/// The receipt of a job. `mp4s` in the order of the renditions, `m4as` of the audio tracks; empty where none were asked for.
pub fn receipt(job: &Job, plan: &Plan, made: &Assembly, mp4s: &[FileReceipt], m4as: &[FileReceipt], tally: Option<&Tally>) -> Receipt {
    let seconds = plan.seconds();
    Receipt {
        schema: plan.schema,
        job: job.id.to_string(),
        source: job.source.clone(),
        facts: job.facts.clone().unwrap_or_default(),
        layer: plan.layer.clone(),
        profile: plan.profile.clone(),
        frames: plan.video.as_ref().map_or(0, |v| v.frames),
        seconds,
        master: key::master_playlist(&job.id),
        dash: plan.profile.outputs.contains(&Output::Dash).then(|| key::dash_manifest(&job.id)),
        renditions: renditions(job, made, mp4s, seconds),
        audio: audio(job, plan, made, m4as),
        stills: plan.stills.as_ref().filter(|_| !made.stills.is_empty()).map(|planned| stills(job, planned, made)),
        text: text(job, made),
        verified: verified(plan, made),
        lost: made.lost.clone(),
        left_out: plan.left_out.iter().chain(&made.left_out).cloned().collect(),
        cost: made.cost,
        expense: tally.zip(job.basis.as_ref()).map(|(tally, basis)| tally.expense(basis, kept(made, mp4s, m4as))),
        quality: quality(plan, made),
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn renditions(job: &Job, made: &Assembly, mp4s: &[FileReceipt], seconds: f64) -> Vec<RenditionReceipt> {
    let told = made.video.iter().enumerate().map(|(number, track)| {
        let bytes = track.segments.iter().map(|s| s.bytes).sum();
        RenditionReceipt {
            name: track.rendition.name.clone(),
            width: track.rendition.width,
            height: track.rendition.height,
            codec: track.codec.clone(),
            frames: track.segments.iter().map(|s| u64::from(s.frames)).sum(),
            segments: count(track.segments.len()),
            bytes,
            bitrate: bitrate(bytes, seconds),
            playlist: key::media_playlist(&job.id, &track.rendition.name),
            mp4: mp4s.get(number).cloned(),
        }
    });
    told.collect()
}

fn audio(job: &Job, plan: &Plan, made: &Assembly, m4as: &[FileReceipt]) -> Vec<AudioReceipt> {
    let told = made.audio.iter().enumerate().map(|(number, track)| AudioReceipt {
        name: track.name.clone(),
        language: track.language.clone(),
        codec: track.codec.clone(),
        channels: track.channels,
        silence_seconds: plan.audio.get(number).map_or(0.0, |planned| TimeBase::MICROS.seconds(planned.silence_us)),
        loudness: track.loudness.zip(plan.profile.loudness).map(|(found, target)| found.told(target)),
        segments: count(track.segments.len()),
        bytes: track.segments.iter().map(|s| s.bytes).sum(),
        playlist: key::media_playlist(&job.id, &track.name),
        m4a: m4as.get(number).cloned(),
    });
    told.collect()
}

fn text(job: &Job, made: &Assembly) -> Vec<TextReceipt> {
    let told = made.text.iter().map(|(planned, file)| TextReceipt {
        name: planned.name.clone(),
        language: planned.language.clone(),
        forced: planned.forced,
        cues: file.cues,
        dropped: file.dropped,
        bytes: file.bytes,
        sha256: file.sha256.clone(),
        playlist: key::media_playlist(&job.id, &planned.name),
    });
    told.collect()
}

/// Bytes of everything that is published, but for playlists and manifests.
fn kept(made: &Assembly, mp4s: &[FileReceipt], m4as: &[FileReceipt]) -> u64 {
    let video = made.video.iter().flat_map(|track| &track.segments);
    let segments: u64 = video.chain(made.audio.iter().flat_map(|track| &track.segments)).map(|segment| segment.bytes).sum();
    let files: u64 = mp4s.iter().chain(m4as).map(|file| file.bytes).sum();
    let stills: u64 = made.stills.iter().map(|still| still.bytes).sum();
    segments + files + stills + made.text.iter().map(|(_, file)| file.bytes).sum::<u64>()
}

fn stills(job: &Job, planned: &StillsPlan, made: &Assembly) -> StillsReceipt {
    let files = made.stills.iter().zip(planned.files()).map(|(record, file)| StillReceipt {
        key: key::published_still(&job.id, &record.name),
        bytes: record.bytes,
        sha256: record.sha256.clone(),
        width: file.size.width,
        height: file.size.height,
    });
    StillsReceipt {
        files: files.collect(),
        thumbnails: planned.sprite.as_ref().map(|_| key::published_still(&job.id, THUMBNAILS)),
        repeated: made.repeated,
    }
}

fn quality(plan: &Plan, made: &Assembly) -> Vec<ChunkQuality> {
    let Some(target) = &plan.profile.target else { return Vec::new() };
    let told = |(chunk, found): &(u32, Quality)| ChunkQuality {
        chunk: *chunk,
        crf: found.crf,
        curve: found.curve.iter().map(|point| (point.crf, point.score.value(target.metric))).collect(),
    };
    made.quality.iter().map(told).collect()
}

fn verified(plan: &Plan, made: &Assembly) -> Vec<String> {
    let all = if plan.video.is_some() { &VERIFIED[..] } else { &HEARD[..] };
    let whole = made.lost.is_empty();
    let first = all.first().map(|line| if whole { (*line).to_owned() } else { format!("but for what is lost, {line}") });
    first.into_iter().chain(all.iter().skip(1).map(ToString::to_string)).collect()
}

/// What stands behind "verified": checked for every chunk by its worker, for the whole by the merge.
const VERIFIED: [&str; 6] = [
    "every displayed frame of the source is in every rendition once, in order",
    "every timestamp equals the plan to the tick",
    "keyframes are where the plan has them, the same in all renditions, one at each segment's start",
    "one configuration record for all segments of a rendition",
    "sound and picture count from one origin",
    "the index of every MP4, in front, shows all frames at the plan's first and last timestamp; its media is the verified segments'",
];
/// The same where there is sound and no picture.
const HEARD: [&str; 3] = [
    "every track is as long as its source, encoded once from its beginning to its end",
    "all tracks count from one origin",
    "the index of every M4A, in front, is as long as its track; its media is the verified segments'",
];
