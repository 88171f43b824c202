//! Writing what people see, in an order that never shows something unverified.

use std::collections::BTreeSet;

use base64::Engine;

use super::{Context, files};
use crate::{
    assembly::Assembly,
    fault::{Fault, Shortage},
    id::JobId,
    key, mpd,
    plan::{ByteRange, Output, Plan, SubtitlePlan},
    playlist::{self, AudioEntry, TextEntry, Timeline, VariantEntry},
    ports::{Blobs, Piece, World},
    receipt::{Receipt, bitrate, peak},
    result::{StillRecord, TextFile},
    stills::{self, StillsPlan},
    timebase::TimeBase,
};

const PLAYLIST: &str = "application/vnd.apple.mpegurl";
/// ISO/IEC 23009-1, annex C.
const MANIFEST: &str = "application/dash+xml";
/// W3C `WebVTT`, "text/vtt".
const THUMBNAILS: &str = "text/vtt";
/// Objects below one job's streams: films of a day have 60,000 segments.
const MAX_OBJECTS: u32 = 200_000;
/// Manifests of one job: more than there are kinds of them.
const MAX_MANIFESTS: u32 = 100;

pub(super) fn decode(init: &str) -> Result<bytes::Bytes, Fault> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(init);
    bytes.map(Into::into).map_err(|e| Fault::escalate(Shortage::Tool, format!("an init segment's record is unreadable: {e}")))
}

/// Stores the init segment of every track.
pub(super) async fn inits<W: World>(cx: &Context<'_, W>, job: &JobId, made: &Assembly) -> Result<(), Fault> {
    let video = made.video.iter().map(|t| (t.rendition.name.as_str(), &t.init));
    let audio = made.audio.iter().map(|t| (t.name.as_str(), &t.init));
    for (name, init) in video.chain(audio) {
        cx.world.blobs().store(&key::init(job, name), decode(init)?, "video/mp4").await?;
    }
    Ok(())
}

/// What a player opens first.
fn entries(job: &JobId, plan: &Plan) -> BTreeSet<String> {
    let dash = plan.profile.outputs.contains(&Output::Dash).then(|| key::dash_manifest(job));
    dash.into_iter().chain([key::master_playlist(job)]).collect()
}

/// Stores the media playlist of every track. Answers every key that playlists name, and their own.
pub(super) async fn media_playlists<W: World>(
    cx: &Context<'_, W>,
    job: &JobId,
    plan: &Plan,
    made: &Assembly,
) -> Result<BTreeSet<String>, Fault> {
    let base = plan.video.as_ref().map_or(TimeBase::MILLIS, |v| v.time_base);
    let video = made.video.iter().map(|t| (t.rendition.name.as_str(), base, &t.segments, t.durations.clone()));
    let audio = made.audio.iter().map(|t| {
        let base = TimeBase::new(1, t.sample_rate).unwrap_or(TimeBase::MILLIS);
        (t.name.as_str(), base, &t.segments, t.segments.iter().map(|s| s.duration).collect())
    });
    let (mut names, mut timelines) = (Vec::new(), Vec::new());
    let mut listed = entries(job, plan);
    for (name, base, segments, durations) in video.chain(audio) {
        let start = segments.first().map_or(0, |s| s.start);
        let segments_named = segments.iter().map(|s| key::segment_uri(&s.key).to_owned()).zip(durations).collect();
        names.push(name);
        timelines.push(Timeline { base, start, segments: segments_named });
        listed.extend([key::media_playlist(job, name), key::init(job, name)]);
        listed.extend(segments.iter().map(|s| s.key.clone()));
    }
    let target = playlist::target_duration(&timelines);
    for (name, timeline) in names.iter().zip(&timelines) {
        let text = playlist::media_playlist("init.mp4", timeline, target);
        cx.world.blobs().store(&key::media_playlist(job, name), text.into(), PLAYLIST).await?;
    }
    let end = timelines.iter().map(Timeline::end).fold(0.0, f64::max);
    for (planned, file) in &made.text {
        let key = key::media_playlist(job, &planned.name);
        cx.world.blobs().store(&key, playlist::text_playlist(key::segment_uri(&file.key), end).into(), PLAYLIST).await?;
        listed.extend([key, file.key.clone()]);
    }
    listed.extend(files::keys(job, plan));
    listed.extend(pictures(job, plan));
    listed.extend(made.listings.iter().cloned());
    // What the published pictures were copied from: a merge that is repeated copies them again. The sweep tidies it up.
    listed.extend(made.stills.iter().map(|still| still.key.clone()));
    Ok(listed)
}

/// Keys of the pictures beside the film.
fn pictures(job: &JobId, plan: &Plan) -> Vec<String> {
    let pictures = plan.stills.as_deref().into_iter().flat_map(StillsPlan::files).map(|file| key::published_still(job, &file.name));
    let thumbnails = stills::thumbnails(plan).map(|_| key::published_still(job, stills::THUMBNAILS));
    pictures.chain(thumbnails).collect()
}

/// Copies the pictures beside the film to where people find them, and says which tile of the sprite is when.
pub(super) async fn stills<W: World>(cx: &Context<'_, W>, job: &JobId, plan: &Plan, made: &Assembly) -> Result<(), Fault> {
    for StillRecord { name, key, bytes, sha256 } in &made.stills {
        let ranges = vec![ByteRange { start: 0, end: *bytes }];
        let piece = Piece::Stored { key: key.clone(), bytes: *bytes, sha256: sha256.clone(), ranges };
        cx.world.blobs().join(&key::published_still(job, name), &[piece], stills::media_type(name)).await?;
    }
    if let Some(text) = stills::thumbnails(plan).filter(|_| !made.stills.is_empty()) {
        cx.world.blobs().store(&key::published_still(job, stills::THUMBNAILS), text.into(), THUMBNAILS).await?;
    }
    Ok(())
}

/// What [`media_playlists`] answered, read back from what is published: the tasks' records may have expired by now. Where a
/// playlist is not there, whatever is.
pub(super) async fn published<W: World>(cx: &Context<'_, W>, job: &JobId, plan: &Plan) -> Result<BTreeSet<String>, Fault> {
    if let Some(listed) = named(cx, job, plan).await? {
        return Ok(listed);
    }
    // Its owner took it elsewhere already, and will not bring it back.
    tracing::warn!(%job, "a playlist that was published is gone: what late workers left beside it stays");
    let mut listed = BTreeSet::from_iter(cx.world.blobs().list(&key::streams(job), MAX_OBJECTS).await?);
    listed.extend(files::keys(job, plan));
    Ok(listed)
}

async fn named<W: World>(cx: &Context<'_, W>, job: &JobId, plan: &Plan) -> Result<Option<BTreeSet<String>>, Fault> {
    let renditions = plan.video.iter().flat_map(|v| &v.renditions).map(|r| &r.name);
    let mut listed = entries(job, plan);
    listed.extend(files::keys(job, plan));
    listed.extend(pictures(job, plan));
    for name in renditions.chain(plan.audio.iter().map(|a| &a.name)) {
        let playlist = key::media_playlist(job, name);
        let Some(text) = read_published(cx, &playlist).await? else { return Ok(None) };
        listed.extend(playlist::uris(&text).map(|uri| format!("{}{name}/{uri}", key::streams(job))));
        listed.insert(key::init(job, name));
        listed.insert(playlist);
    }
    let Some(text) = published_text(cx, job, plan).await? else { return Ok(None) };
    listed.extend(text);
    Ok(Some(listed))
}

/// Keys of the text tracks that the master playlist names: others hold nothing to show.
async fn published_text<W: World>(cx: &Context<'_, W>, job: &JobId, plan: &Plan) -> Result<Option<BTreeSet<String>>, Fault> {
    let mut listed = BTreeSet::new();
    if plan.subtitles.is_empty() {
        return Ok(Some(listed));
    }
    let Some(master) = read_published(cx, &key::master_playlist(job)).await? else { return Ok(None) };
    for name in plan.subtitles.iter().map(|t| &t.name).filter(|name| master.contains(&format!("URI=\"{name}/media.m3u8\""))) {
        let playlist = key::media_playlist(job, name);
        let Some(text) = read_published(cx, &playlist).await? else { return Ok(None) };
        listed.extend(playlist::uris(&text).map(|uri| format!("{}{name}/{uri}", key::streams(job))));
        listed.insert(playlist);
    }
    Ok(Some(listed))
}

async fn read_published<W: World>(cx: &Context<'_, W>, key: &str) -> Result<Option<String>, Fault> {
    Ok(cx.world.blobs().read(key).await?.map(|text| String::from_utf8_lossy(&text).into_owned()))
}

/// Stores the receipt.
pub(super) async fn receipt<W: World>(cx: &Context<'_, W>, job: &JobId, receipt: &Receipt) -> Result<(), Fault> {
    let text = serde_json::to_vec_pretty(receipt).map_err(|e| Fault::retry(format!("the receipt could not be written: {e}")))?;
    cx.world.blobs().store(&key::receipt(job), text.into(), "application/json").await
}

/// Stores the DASH manifest, where the profile has it.
pub(super) async fn dash<W: World>(cx: &Context<'_, W>, job: &JobId, plan: &Plan, made: &Assembly) -> Result<(), Fault> {
    if plan.profile.outputs.contains(&Output::Dash) {
        cx.world.blobs().store(&key::dash_manifest(job), mpd::manifest(plan, made).into(), MANIFEST).await?;
    }
    Ok(())
}

/// Stores the master playlist: from here on the job can be watched.
pub(super) async fn master<W: World>(cx: &Context<'_, W>, job: &JobId, plan: &Plan, made: &Assembly) -> Result<(), Fault> {
    let video = plan.video.as_ref();
    let base = video.map_or(TimeBase::MILLIS, |v| v.time_base);
    let seconds = plan.seconds();
    let audio: Vec<AudioEntry> = made
        .audio
        .iter()
        .zip(&plan.audio)
        .map(|(t, planned)| AudioEntry {
            name: t.name.clone(),
            title: planned.title.clone(),
            default: planned.default,
            role: planned.role,
            language: t.language.clone(),
            uri: format!("{}/media.m3u8", t.name),
            channels: t.channels,
            codec: t.codec.clone(),
            peak_bitrate: peak(&t.segments, &t.segments.iter().map(|s| s.duration).collect::<Vec<_>>(), f64::from(t.sample_rate)),
            average_bitrate: bitrate(t.segments.iter().map(|s| s.bytes).sum(), seconds),
        })
        .collect();
    let variants: Vec<VariantEntry> = made
        .video
        .iter()
        .map(|t| VariantEntry {
            uri: format!("{}/media.m3u8", t.rendition.name),
            width: t.rendition.width,
            height: t.rendition.height,
            codec: t.codec.clone(),
            frame_rate: video.map_or(0.0, |v| v.frame_rate),
            video_range: video.and_then(|v| v.colors.encoded(&plan.profile).video_range()),
            peak_bitrate: peak(&t.segments, &t.durations, 1.0 / base.seconds(1)),
            average_bitrate: bitrate(t.segments.iter().map(|s| s.bytes).sum(), seconds),
        })
        .collect();
    let entry = |(planned, _): &(SubtitlePlan, TextFile)| TextEntry {
        name: planned.name.clone(),
        title: planned.title.clone(),
        role: planned.role,
        forced: planned.forced,
        language: planned.language.clone(),
        uri: format!("{}/media.m3u8", planned.name),
    };
    let text = playlist::master_playlist(&variants, &audio, &made.text.iter().map(entry).collect::<Vec<_>>());
    cx.world.blobs().store(&key::master_playlist(job), text.into(), PLAYLIST).await
}

/// Deletes what the job made and is not listed: objects and unfinished uploads of workers that died or came late.
pub(super) async fn delete_unlisted<W: World>(cx: &Context<'_, W>, job: &JobId, listed: &BTreeSet<String>) -> Result<(), Fault> {
    let own = [key::streams(job), key::mp4s(job), key::work(job)];
    for prefix in &own {
        cx.world.blobs().end_uploads(prefix).await?;
    }
    for prefix in own {
        let found = cx.world.blobs().list(&prefix, MAX_OBJECTS).await?;
        let orphans: Vec<String> = found.into_iter().filter(|k| !listed.contains(k)).collect();
        if !orphans.is_empty() {
            tracing::info!(count = orphans.len(), "objects that no playlist names are deleted");
            // What is visible is whole: what players open goes before what it leads to.
            let doors = [key::master_playlist(job), key::dash_manifest(job)];
            let (doors, others): (Vec<String>, Vec<String>) = orphans.into_iter().partition(|k| doors.contains(k));
            for keys in [doors, others].into_iter().filter(|keys| !keys.is_empty()) {
                cx.world.blobs().delete(&keys).await?;
            }
        }
    }
    Ok(())
}

/// Deletes what is known of a job that shows nothing: its probe and plan, and a receipt of what was not published.
pub(super) async fn delete_manifests<W: World>(cx: &Context<'_, W>, job: &JobId) -> Result<(), Fault> {
    let found = cx.world.blobs().list(&key::manifests(job), MAX_MANIFESTS).await?;
    if found.is_empty() { Ok(()) } else { cx.world.blobs().delete(&found).await }
}
