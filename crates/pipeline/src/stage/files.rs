//! The files that people download: an MP4 of every rendition, an M4A of every audio track, as the profile asks.

use super::{Context, attempt::Attempt, publish};
use crate::{
    assembly::{Assembly, AudioTrackMade, VideoTrackMade},
    fault::{Fault, Shortage},
    film::{self, Shown, Track},
    id::JobId,
    key,
    plan::{Output, Plan, VideoPlan},
    ports::{Blobs, World},
    receipt::FileReceipt,
};

/// What was made, in the order of the renditions and of the audio tracks; empty where the profile asks for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    pub mp4s: Vec<FileReceipt>,
    pub m4as: Vec<FileReceipt>,
}

/// Of sound without a picture, the file that a profile wants as MP4 is its M4A.
fn wants(plan: &Plan, output: Output) -> bool {
    let outputs = &plan.profile.outputs;
    outputs.contains(&output) || (output == Output::Audio && plan.video.is_none() && outputs.contains(&Output::Mp4))
}

/// Keys of all that a plan has.
pub(super) fn keys(job: &JobId, plan: &Plan) -> Vec<String> {
    let renditions = plan.video.iter().filter(|_| wants(plan, Output::Mp4)).flat_map(|video| &video.renditions);
    let m4as = plan.audio.iter().filter(|_| wants(plan, Output::Audio)).map(|track| key::m4a(job, &track.name));
    renditions.map(|rendition| key::mp4(job, &rendition.name)).chain(m4as).collect()
}

/// Makes, verifies and stores them, one after another: a file's index is in memory once. Those that an earlier attempt
/// stored are taken over.
pub(super) async fn files<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>, plan: &Plan, made: &Assembly) -> Result<Files, Fault> {
    let (mut files, job) = (Files::default(), &attempt.job);
    if keys(&job.id, plan).is_empty() {
        return Ok(files);
    }
    cx.world.blobs().end_uploads(&key::mp4s(&job.id)).await?;
    let sound = sound(plan, made)?;
    if let (Some(video), true) = (&plan.video, wants(plan, Output::Mp4)) {
        for rendition in &made.video {
            files.mp4s.push(mp4(cx, attempt, (video, made), rendition, &sound).await?);
        }
    }
    for (track, name) in sound.iter().zip(&made.audio).filter(|_| wants(plan, Output::Audio)) {
        files.m4as.push(join(cx, attempt, &key::m4a(&job.id, &name.name), &[track], None).await?);
    }
    Ok(files)
}

fn sound(plan: &Plan, made: &Assembly) -> Result<Vec<Track>, Fault> {
    let none_is_default = plan.audio.iter().all(|track| !track.default);
    let track = |(number, (planned, made)): (usize, (_, &AudioTrackMade))| {
        let planned: &crate::plan::AudioPlan = planned;
        let is_default = planned.default || (none_is_default && number == 0);
        Track::audio(planned, is_default, &publish::decode(&made.init)?, &made.segments).map_err(|text| wrong(&made.name, &text))
    };
    plan.audio.iter().zip(&made.audio).enumerate().map(track).collect()
}

async fn mp4<W: World>(
    cx: &Context<'_, W>,
    attempt: &Attempt<'_>,
    (plan, made): (&VideoPlan, &Assembly),
    rendition: &VideoTrackMade,
    sound: &[Track],
) -> Result<FileReceipt, Fault> {
    let name = &rendition.rendition.name;
    let init = publish::decode(&rendition.init)?;
    let picture = Track::video(plan, &init, &made.times, &rendition.segments).map_err(|text| wrong(name, &text))?;
    let tracks: Vec<&Track> = std::iter::once(&picture).chain(sound).collect();
    let num = i64::from(plan.time_base.num());
    let planned = Shown { frames: plan.frames, first: plan.start * num, last: made.last_frame * num };
    join(cx, attempt, &key::mp4(&attempt.job.id, name), &tracks, Some(planned)).await
}

/// Writes the index, holds what a player would show against the plan, and joins the media behind it.
async fn join<W: World>(
    cx: &Context<'_, W>,
    attempt: &Attempt<'_>,
    key: &str,
    tracks: &[&Track],
    planned: Option<Shown>,
) -> Result<FileReceipt, Fault> {
    let film = film::film(tracks).map_err(|text| wrong(key, &text))?;
    if film.video != planned {
        return Err(wrong(key, &format!("its index shows {:?}, planned is {planned:?}", film.video)));
    }
    if let Some(stored) = attempt.headway().file(key, film.bytes, &film.head_sha256)
        && cx.world.blobs().list(key, 1).await?.iter().any(|found| found == key)
    {
        tracing::info!(key, "an earlier attempt stored this file");
        return Ok(stored.clone());
    }
    let content_type = if planned.is_some() { "video/mp4" } else { "audio/mp4" };
    let joined = cx.world.blobs().join(key, &film.pieces, content_type).await?;
    if joined.bytes != film.bytes {
        return Err(wrong(key, &format!("it has {} bytes, its index speaks of {}", joined.bytes, film.bytes)));
    }
    let receipt = FileReceipt {
        key: key.to_owned(),
        bytes: joined.bytes,
        sha256: joined.sha256,
        head_sha256: film.head_sha256,
        copied_bytes: joined.copied,
    };
    attempt.finished(|headway| headway.files.push(receipt.clone()));
    Ok(receipt)
}

fn wrong(name: &str, text: &str) -> Fault {
    Fault::escalate(Shortage::Tool, format!("{name}: {text}"))
}
