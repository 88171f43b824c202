//! A job's results on the local disk, and their table.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt, stream};
use pipeline::{
    id::JobId,
    key,
    ports::Blobs,
    receipt::{FileReceipt, Receipt},
};
use tokio::{fs, io::AsyncWriteExt};

use crate::{remote::Fanreel, screen, text};

/// Objects on their way at a time.
const PARALLEL: usize = 4;

/// The receipt of a completed job.
pub async fn receipt(fanreel: &Fanreel, job: &JobId) -> anyhow::Result<Option<Receipt>> {
    let Some(bytes) = fanreel.blobs.read(&key::receipt(job)).await? else { return Ok(None) };
    Ok(Some(serde_json::from_slice(&bytes).with_context(|| format!("the receipt of job {job} cannot be read"))?))
}

/// Fetches everything that was published: playlists and what they name, MP4s, the receipt.
pub async fn fetch(fanreel: &Fanreel, job: &JobId, to: &Path) -> anyhow::Result<Receipt> {
    let Some(receipt) = receipt(fanreel, job).await? else { bail!("job {job} is completed and has no receipt") };
    let mut wanted = Vec::new();
    let tracks = receipt.renditions.iter().map(|r| (&r.name, &r.playlist)).chain(receipt.audio.iter().map(|a| (&a.name, &a.playlist)));
    let tracks = tracks.chain(receipt.text.iter().map(|t| (&t.name, &t.playlist)));
    for (name, playlist) in tracks {
        plain(name)?;
        let text = small(fanreel, playlist, &to.join(name).join("media.m3u8")).await?;
        let base = playlist.strip_suffix("media.m3u8").unwrap_or(playlist);
        // A gap may name the init segment a second time.
        for uri in BTreeSet::from_iter(uris(&text)) {
            uri.split('/').try_for_each(plain)?;
            wanted.push((format!("{base}{uri}"), to.join(name).join(uri)));
        }
    }
    let fetched = stream::iter(&wanted).map(|(key, path)| object(fanreel, key, path)).buffer_unordered(PARALLEL);
    fetched.try_for_each(|()| std::future::ready(Ok(()))).await?;
    for rendition in &receipt.renditions {
        file(fanreel, rendition.mp4.as_ref(), &to.join(format!("{}.mp4", rendition.name))).await?;
    }
    // It names the segments that the playlists name.
    if let Some(manifest) = &receipt.dash {
        small(fanreel, manifest, &to.join("manifest.mpd")).await?;
    }
    for track in &receipt.audio {
        file(fanreel, track.m4a.as_ref(), &to.join(format!("{}.m4a", track.name))).await?;
    }
    if let Some(stills) = &receipt.stills {
        for file in &stills.files {
            let name = last(&file.key)?;
            fanreel.blobs.append_to(&file.key, file.bytes, Some(&file.sha256), &to.join(name)).await?;
        }
        if let Some(thumbnails) = &stills.thumbnails {
            small(fanreel, thumbnails, &to.join(last(thumbnails)?)).await?;
        }
    }
    small(fanreel, &receipt.master, &to.join("master.m3u8")).await?;
    fs::write(to.join("receipt.json"), serde_json::to_vec_pretty(&receipt)?).await?;
    Ok(receipt)
}

/// A file, held against the receipt's size and, if it has one, sha256 on the way.
async fn file(fanreel: &Fanreel, made: Option<&FileReceipt>, path: &Path) -> anyhow::Result<()> {
    let Some(made) = made else { return Ok(()) };
    Ok(fanreel.blobs.append_to(&made.key, made.bytes, made.sha256.as_deref(), path).await?)
}

/// The name of a published object.
fn last(key: &str) -> anyhow::Result<&str> {
    let name = key.rsplit('/').next().unwrap_or(key);
    plain(name).map(|()| name)
}

/// Our own names, and yet: nothing that comes from a store becomes a path unlooked at.
fn plain(name: &str) -> anyhow::Result<()> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(good) {
        bail!("a result is named `{name}`, which is no name that fanreel gives");
    }
    Ok(())
}

/// What a media playlist names: its init segment and its segments.
fn uris(playlist: &str) -> Vec<&str> {
    let map = |line: &str| line.strip_prefix("#EXT-X-MAP:URI=\"").and_then(|rest| rest.split('"').next()).map(str::len);
    let uri = |line: &'_ str| match map(line) {
        Some(length) => Some(("#EXT-X-MAP:URI=\"".len(), length)),
        None if line.is_empty() || line.starts_with('#') => None,
        None => Some((0, line.len())),
    };
    playlist.lines().filter_map(|line| uri(line).and_then(|(from, length)| line.get(from..from + length))).collect()
}

/// Fetches a text and stores it.
async fn small(fanreel: &Fanreel, key: &str, to: &Path) -> anyhow::Result<String> {
    let Some(bytes) = fanreel.blobs.read(key).await? else { bail!("s3://{}/{key} is gone", fanreel.bucket) };
    write(to, &bytes).await?;
    String::from_utf8(bytes.to_vec()).with_context(|| format!("{key} is no text"))
}

async fn write(to: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut file = create(to).await?;
    file.write_all(bytes).await.and(file.flush().await).with_context(|| format!("{} cannot be written", to.display()))
}

async fn create(to: &Path) -> anyhow::Result<fs::File> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).await.with_context(|| format!("{} cannot be made", parent.display()))?;
    }
    fs::File::create(to).await.with_context(|| format!("{} cannot be made", to.display()))
}

async fn object(fanreel: &Fanreel, key: &str, to: &Path) -> anyhow::Result<()> {
    let name = || format!("s3://{}/{key} cannot be fetched", fanreel.bucket);
    let answer = fanreel.clients.s3.get_object().bucket(&fanreel.bucket).key(key).send().await;
    let mut answer = answer.map_err(|error| anyhow::Error::new(error.into_service_error())).with_context(name)?;
    let mut file = create(to).await?;
    let mut written = 0u64;
    while let Some(part) = answer.body.try_next().await.with_context(name)? {
        file.write_all(&part).await.with_context(|| format!("{} cannot be written", to.display()))?;
        written += part.len() as u64;
    }
    file.flush().await.with_context(|| format!("{} cannot be written", to.display()))?;
    match answer.content_length.and_then(|length| u64::try_from(length).ok()) {
        Some(length) if length != written => bail!("{}: {written} of {length} bytes came", name()),
        _ => Ok(()),
    }
}

/// What of a damaged film is not saved, a line each.
pub fn lost(receipt: &Receipt) -> Vec<String> {
    receipt.lost.iter().map(|loss| format!("lost     {}: {}", loss.line(), loss.reason)).collect()
}

/// What was made, a line for each rendition and each track of sound and text.
pub fn table(receipt: &Receipt) -> String {
    let header = ["rendition", "size", "codec", "frames", "segments", "bitrate", "stream", "MP4"];
    let none = String::new;
    let video = receipt.renditions.iter().map(|r| {
        vec![
            r.name.clone(),
            format!("{}×{}", r.width, r.height),
            r.codec.clone(),
            r.frames.to_string(),
            r.segments.to_string(),
            text::bitrate(r.bitrate),
            text::bytes(r.bytes),
            r.mp4.as_ref().map_or_else(none, |mp4| text::bytes(mp4.bytes)),
        ]
    });
    let audio = receipt.audio.iter().map(|a| {
        let rate = text::bitrate(pipeline::receipt::bitrate(a.bytes, receipt.seconds));
        let name = if a.language.is_empty() { a.name.clone() } else { format!("{} ({})", a.name, a.language) };
        vec![
            name,
            none(),
            a.codec.clone(),
            none(),
            a.segments.to_string(),
            rate,
            text::bytes(a.bytes),
            a.m4a.as_ref().map_or_else(none, |m4a| text::bytes(m4a.bytes)),
        ]
    });
    let text = receipt.text.iter().map(|t| {
        let name = if t.language.is_empty() { t.name.clone() } else { format!("{} ({})", t.name, t.language) };
        vec![name, format!("{} cues", t.cues), "WebVTT".into(), none(), "1".into(), none(), text::bytes(t.bytes), none()]
    });
    screen::table(&header, &[3, 4, 5, 6, 7], video.chain(audio).chain(text).collect())
}

/// Where a person looks first, a line each.
pub fn places(folder: &Path, receipt: &Receipt) -> Vec<String> {
    let mp4s = receipt.renditions.iter().filter(|r| r.mp4.is_some()).map(|r| format!("{}.mp4", r.name));
    let files: Vec<String> = mp4s.chain(receipt.audio.iter().filter(|a| a.m4a.is_some()).map(|a| format!("{}.m4a", a.name))).collect();
    let files = (!files.is_empty()).then(|| format!("files: {}", folder.join(files.join(", ")).display()));
    let watch = [format!("watch: {}{}", folder.join("master.m3u8").display(), if receipt.dash.is_some() { ", manifest.mpd" } else { "" })];
    let pictures = pictures(receipt);
    let stills = (!pictures.is_empty()).then(|| format!("stills: {}", folder.join(pictures).display()));
    let proof = format!("proof: {}", folder.join("receipt.json").display());
    watch.into_iter().chain(files).chain(stills).chain([proof]).collect()
}

/// Names of the pictures beside the film, those that lead to others instead of these; empty where there are none.
pub fn pictures(receipt: &Receipt) -> String {
    let Some(stills) = &receipt.stills else { return String::new() };
    let names = stills.files.iter().map(|file| &file.key).chain(&stills.thumbnails).filter_map(|key| last(key).ok());
    names.filter(|name| !name.starts_with("sprite-")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_playlist_names_its_init_and_its_segments() {
        let segments = vec![("segments/seg_0000.1.m4s".into(), 6000), ("segments/seg_0001.4.m4s".into(), 3000)];
        let timeline = pipeline::playlist::Timeline { base: pipeline::timebase::TimeBase::MILLIS, start: 0, segments };
        let playlist = pipeline::playlist::media_playlist("init.mp4", &timeline, 6.0);
        assert_eq!(uris(&playlist), ["init.mp4", "segments/seg_0000.1.m4s", "segments/seg_0001.4.m4s"]);
    }

    #[test]
    fn only_names_of_our_own_become_paths() {
        for good in ["720p", "audio-2", "seg_0000.12.m4s", "init.mp4"] {
            plain(good).unwrap();
        }
        for bad in ["", "..", ".hidden", "a/b", "a b", "ä", "c:\\d"] {
            assert!(plain(bad).is_err(), "{bad}");
        }
    }
}
