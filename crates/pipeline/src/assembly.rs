//! The committed records of all tasks, put together and held against the plan: what may be published. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    id::TaskId,
    loss::Loss,
    loudness::Loudness,
    plan::{Chunk, FrameTimes, Plan, Rendition, SubtitlePlan},
    quality::Quality,
    result::{Cost, SegmentRecord, StillRecord, TaskResult, TextFile, TextRecord, TrackRecord},
    stills::StillsPlan,
    task::{Task, Work},
};

/// All that a job made, verified as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Assembly {
    pub video: Vec<VideoTrackMade>,
    pub audio: Vec<AudioTrackMade>,
    /// Text tracks of which there is something to show.
    pub text: Vec<(SubtitlePlan, TextFile)>,
    /// Lines for the receipt: what of the plan's text is not there.
    pub left_out: Vec<String>,
    /// What is not saved of a damaged film: the picture first, its chunks in order.
    pub lost: Vec<Loss>,
    /// Of the frames of each segment of video, from T0: the same in all renditions.
    pub times: Vec<FrameTimes>,
    /// Keys of the objects that records of segments were read from.
    pub listings: Vec<String>,
    /// PTS of the film's last frame from T0, ticks of the video's time base.
    pub last_frame: i64,
    /// Sum over the committed attempts.
    pub cost: Cost,
    /// Number of a chunk and how its CRF was found, where the profile has a target quality.
    pub quality: Vec<(u32, Quality)>,
    /// Picture files beside the film, as planned; empty where there are none.
    pub stills: Vec<StillRecord>,
    /// Pictures among them that show the one before.
    pub repeated: u32,
}

/// One rendition from its first to its last segment.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoTrackMade {
    pub rendition: Rendition,
    pub codec: String,
    /// Base64.
    pub init: String,
    pub init_sha256: String,
    pub segments: Vec<SegmentRecord>,
    /// Ticks from each segment's start to the next one's, the last to the end of the film.
    pub durations: Vec<i64>,
}

/// One audio track.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioTrackMade {
    pub name: String,
    pub language: String,
    pub codec: String,
    pub init: String,
    pub init_sha256: String,
    pub sample_rate: u32,
    pub channels: u32,
    pub loudness: Option<Loudness>,
    pub segments: Vec<SegmentRecord>,
}

/// Why the job cannot be published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Gap {
    /// The hint came too early.
    #[error("task {0} is not done")]
    NotDone(String),
    /// The records contradict the plan or each other: never published.
    #[error("{0}")]
    Wrong(String),
    /// No chunk of the film could be decoded, and why not its first.
    #[error("nothing of the picture can be decoded; at its begin: {0}")]
    Nothing(String),
}

/// Puts the tasks' records together. Every task of the plan must be there, done, and as planned (P3).
pub fn assemble(plan: &Plan, tasks: &[Task]) -> Result<Assembly, Gap> {
    let done: BTreeMap<TaskId, &Task> = tasks.iter().filter(|task| task.is_done()).map(|task| (task.id, task)).collect();
    let find = |id: TaskId| done.get(&id).copied().ok_or_else(|| Gap::NotDone(id.to_string()));
    let mut cost = Cost::default();
    let (mut chunks, mut quality, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..plan.chunks {
        let task = find(TaskId::Chunk(number))?;
        match (&task.work, &task.result) {
            (Work::Chunk(chunk), Some(TaskResult::Chunk { renditions, cost: used, lost, quality: found })) => {
                add(&mut cost, *used);
                quality.extend(found.iter().map(|found| (number, found.clone())));
                reasons.push(lost.as_deref());
                chunks.push((chunk, renditions));
            }
            _ => return Err(Gap::Wrong(format!("task {} left no record of a chunk", task.id))),
        }
    }
    let mut lost = pictures_lost(plan, &chunks, &reasons)?;
    let mut audio = Vec::new();
    for (number, planned) in (0u32..).zip(&plan.audio) {
        let task = find(TaskId::Audio(number))?;
        let Some(TaskResult::Audio { track, cost: used, lost: silent }) = &task.result else {
            return Err(Gap::Wrong(format!("task {} left no record of audio", task.id)));
        };
        add(&mut cost, *used);
        lost.extend(silent.iter().map(|stretch| Loss::of_sound(&planned.name, *stretch)));
        audio.push(audio_track(&planned.name, &planned.language, track)?);
    }
    lost.extend(Loss::of_ends(plan));
    let (stills, repeated, without) = match &plan.stills {
        Some(planned) => pictures(planned, find(TaskId::Stills)?, &mut cost)?,
        None => (Vec::new(), 0, None),
    };
    let (text, mut left_out) =
        if plan.subtitles.is_empty() { (Vec::new(), Vec::new()) } else { text_tracks(plan, find(TaskId::Text)?, &mut cost)? };
    left_out.extend(without);
    let renditions = plan.video.iter().flat_map(|video| &video.renditions);
    let video = renditions.map(|rendition| video_track(plan, rendition, &chunks)).collect::<Result<_, _>>()?;
    let times = chunks.iter().flat_map(|(chunk, _)| windows(chunk)).map(|(times, _)| times).collect();
    let last_frame = chunks.last().map_or(0, |(chunk, _)| chunk.times.last());
    Ok(Assembly { video, audio, text, left_out, lost, times, listings: Vec::new(), last_frame, cost, quality, stills, repeated })
}

/// The chunks whose pictures are black; `reasons`: of each chunk, why.
fn pictures_lost(plan: &Plan, chunks: &[ChunkRecords<'_>], reasons: &[Option<&str>]) -> Result<Vec<Loss>, Gap> {
    if let Some(Some(first)) = reasons.first()
        && reasons.iter().all(Option::is_some)
    {
        return Err(Gap::Nothing((*first).to_owned()));
    }
    let film_ends = plan.video.as_ref().map(|video| video.end);
    let ends = chunks.iter().skip(1).map(|(next, _)| next.times.first()).chain(film_ends);
    let all = chunks.iter().zip(ends).zip(reasons);
    Ok(all.filter_map(|(((chunk, _), end), reason)| Some(Loss::of_chunk(plan, chunk, end, (*reason)?))).collect())
}

fn add(sum: &mut Cost, used: Cost) {
    sum.read_bytes += used.read_bytes;
    sum.stored_bytes += used.stored_bytes;
    sum.wall_ms += used.wall_ms;
}

fn audio_track(name: &str, language: &str, track: &TrackRecord) -> Result<AudioTrackMade, Gap> {
    let wrong = |what: &str| Gap::Wrong(format!("{name}: {what}"));
    if track.segments.is_empty() {
        return Err(wrong("no segments"));
    }
    Ok(AudioTrackMade {
        name: name.to_owned(),
        language: language.to_owned(),
        codec: track.codec.clone(),
        init: track.init.clone().ok_or_else(|| wrong("no init segment"))?,
        init_sha256: track.init_sha256.clone(),
        sample_rate: track.sample_rate.filter(|rate| *rate > 0).ok_or_else(|| wrong("no sample rate"))?,
        channels: track.channels.unwrap_or(2),
        loudness: track.loudness,
        segments: track.segments.clone(),
    })
}

/// Picture files, how many of their pictures show the one before, and a line for the receipt where there are none.
fn pictures(planned: &StillsPlan, task: &Task, cost: &mut Cost) -> Result<(Vec<StillRecord>, u32, Option<String>), Gap> {
    let Some(TaskResult::Stills { files, repeated, cost: used, lost }) = &task.result else {
        return Err(Gap::Wrong(format!("task {} left no record of pictures", task.id)));
    };
    add(cost, *used);
    if let Some(reason) = lost {
        return Ok((Vec::new(), 0, Some(format!("pictures beside the film: {reason}"))));
    }
    if !files.iter().map(|file| &file.name).eq(planned.files().iter().map(|file| &file.name)) {
        return Err(Gap::Wrong("other picture files were made than planned".into()));
    }
    Ok((files.clone(), *repeated, None))
}

type TextTracks = (Vec<(SubtitlePlan, TextFile)>, Vec<String>);

fn text_tracks(plan: &Plan, task: &Task, cost: &mut Cost) -> Result<TextTracks, Gap> {
    let Some(TaskResult::Text { tracks, cost: used }) = &task.result else {
        return Err(Gap::Wrong(format!("task {} left no record of text", task.id)));
    };
    if tracks.len() != plan.subtitles.len() {
        return Err(Gap::Wrong(format!("there are {} text tracks, {} are planned", tracks.len(), plan.subtitles.len())));
    }
    add(cost, *used);
    let (mut made, mut left_out) = (Vec::new(), Vec::new());
    for (planned, track) in plan.subtitles.iter().zip(tracks) {
        let name = format!("track {}: subtitles {}", planned.index, planned.codec);
        match track {
            TextRecord::Made(file) => {
                left_out.extend(file.damaged.then(|| format!("{name}: a part of it, which cannot be read")));
                made.push((planned.clone(), file.clone()));
            }
            TextRecord::LeftOut { reason } => left_out.push(format!("{name}: {reason}")),
        }
    }
    Ok((made, left_out))
}

type ChunkRecords<'a> = (&'a Chunk, &'a Vec<TrackRecord>);

fn video_track(plan: &Plan, rendition: &Rendition, chunks: &[ChunkRecords<'_>]) -> Result<VideoTrackMade, Gap> {
    let wrong = |what: String| Gap::Wrong(format!("{}: {what}", rendition.name));
    let video = plan.video.as_ref().ok_or_else(|| wrong("the plan has no picture".into()))?;
    let mut segments: Vec<SegmentRecord> = Vec::new();
    let mut first: Option<&TrackRecord> = None;
    for (chunk, records) in chunks {
        let record = records.iter().find(|r| r.rendition == rendition.name);
        let record = record.ok_or_else(|| wrong(format!("chunk {} did not make it", chunk.number)))?;
        let head = *first.get_or_insert(record);
        if record.init_sha256 != head.init_sha256 || record.codec != head.codec {
            return Err(wrong(format!("chunk {} has another configuration record than the first", chunk.number)));
        }
        if record.segments.len() != chunk.segments.len() {
            return Err(wrong(format!(
                "chunk {} has {} segments, {} are planned",
                chunk.number,
                record.segments.len(),
                chunk.segments.len()
            )));
        }
        for (segment, (times, keyframes)) in record.segments.iter().zip(windows(chunk)) {
            as_planned(segment, &times, &keyframes).map_err(|text| wrong(format!("segment {} {text}", segment.key)))?;
        }
        segments.extend(record.segments.iter().cloned());
    }
    let head = first.ok_or_else(|| wrong("no chunks".into()))?;
    let frames: u64 = segments.iter().map(|s| u64::from(s.frames)).sum();
    if frames != video.frames {
        return Err(wrong(format!("{frames} frames, {} are planned", video.frames)));
    }
    let ends = segments.iter().skip(1).map(|s| s.start).chain([video.end]);
    let durations: Vec<i64> = segments.iter().zip(ends).map(|(segment, end)| end - segment.start).collect();
    if durations.iter().any(|d| *d <= 0) {
        return Err(wrong("segments are not in order".into()));
    }
    Ok(VideoTrackMade {
        rendition: rendition.clone(),
        codec: head.codec.clone(),
        init: head.init.clone().ok_or_else(|| wrong("the first chunk left no init segment".into()))?,
        init_sha256: head.init_sha256.clone(),
        segments,
        durations,
    })
}

/// Times of the frames of each segment of a chunk, and which of them are keyframes, counted from the segment's first.
fn windows(chunk: &Chunk) -> impl Iterator<Item = (FrameTimes, Vec<u32>)> {
    let all: Vec<i64> = chunk.times.iter().collect();
    let ends = chunk.segments.iter().skip(1).copied().chain([chunk.times.count()]);
    let bounds: Vec<(u32, u32)> = chunk.segments.iter().copied().zip(ends).collect();
    bounds.into_iter().filter_map(move |(from, to)| {
        let times = FrameTimes::new(all.get(from as usize..to as usize)?)?;
        let inside = chunk.keyframes.iter().filter(|index| (from..to).contains(index));
        Some((times, inside.map(|index| index - from).collect()))
    })
}

/// Holds a segment's record and its table against the plan.
fn as_planned(segment: &SegmentRecord, times: &FrameTimes, keyframes: &[u32]) -> Result<(), String> {
    if segment.start != times.first() || segment.frames != times.count() {
        return Err("is not as planned".into());
    }
    let samples = segment.samples.unpack()?;
    if samples.order.len() != segment.frames as usize {
        return Err(format!("has a table of {} frames, {} are planned", samples.order.len(), segment.frames));
    }
    let all = (0..segment.frames).collect();
    let sync = if samples.sync.is_empty() { all } else { samples.sync };
    let mut shown: Vec<u32> = sync.iter().filter_map(|index| samples.order.get(*index as usize).copied()).collect();
    shown.sort_unstable();
    if shown != keyframes {
        return Err(format!("has keyframes {shown:?}, planned are {keyframes:?}"));
    }
    Ok(())
}
