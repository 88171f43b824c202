//! A chunk that a function's time is too short for in one piece: GOP by GOP, each stored as soon as it is verified, so that
//! the next attempt goes on behind it.

use std::path::PathBuf;

use futures::{StreamExt, TryStreamExt};

use super::{Context, attempt::Attempt};
use crate::{
    encoder::{ChunkWork, EncodeError, Encoder, MadeGop, MadeRendition},
    fault::Fault,
    gop::{StoredFile, StoredGop},
    key,
    plan::ByteRange,
    ports::{Blobs, World},
};

/// Files of one GOP that are stored or fetched at once.
const AT_ONCE: usize = 4;

/// All renditions of the chunk.
pub(super) async fn encode<W: World>(
    cx: &Context<'_, W>,
    attempt: &Attempt<'_>,
    work: &ChunkWork<'_>,
) -> Result<Vec<MadeRendition>, EncodeError> {
    let planned = work.plan.video.iter().flat_map(|video| work.chunk.gops(video.origin, video.time_base));
    let (mut gops, mut frames) = (Vec::new(), 0);
    for (number, gop) in (0u32..).zip(planned) {
        attempt.progress.go_on_from(frames);
        frames += u64::from(gop.times.count());
        let files = match fetched(cx, attempt, number).await? {
            Some(files) => files,
            None => made(cx, attempt, work, number).await?,
        };
        gops.push(files);
    }
    cx.world.encoder().join_gops(work, &gops).await
}

/// What an earlier attempt stored. `None`: nothing, or it has expired since.
async fn fetched<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>, number: u32) -> Result<Option<Vec<PathBuf>>, Fault> {
    let headway = attempt.headway();
    let Some(stored) = headway.gop(number) else { return Ok(None) };
    let fetch = |(position, file): (usize, &StoredFile)| {
        let (to, file) = (cx.scratch.join(format!("stored{number}_{position}.mp4")), file.clone());
        async move {
            let whole = [ByteRange { start: 0, end: file.bytes }];
            Ok::<_, Fault>(cx.world.blobs().fetch_own(&file.key, file.bytes, &whole, &to).await?.map(|_| to))
        }
    };
    // Collected first: a future that holds the lazy iterator cannot be sent between threads (rust-lang/rust#102211).
    let fetches: Vec<_> = stored.files.iter().enumerate().map(fetch).collect();
    let files: Vec<Option<PathBuf>> = futures::stream::iter(fetches).buffered(AT_ONCE).try_collect().await?;
    Ok(files.into_iter().collect())
}

/// Encoded now, stored and noted.
async fn made<W: World>(
    cx: &Context<'_, W>,
    attempt: &Attempt<'_>,
    work: &ChunkWork<'_>,
    number: u32,
) -> Result<Vec<PathBuf>, EncodeError> {
    let made = cx.world.encoder().encode_gop(work, number).await?;
    let chunk = work.chunk.number;
    let store = |gop: &MadeGop| {
        let (key, gop) = (key::gop(&attempt.task.job, chunk, number, &gop.rendition, attempt.fence), gop.clone());
        async move {
            cx.world.blobs().store_file(&key, &gop.path, "video/mp4").await?;
            Ok::<_, Fault>(StoredFile { key, bytes: gop.bytes })
        }
    };
    // As above.
    let stores: Vec<_> = made.iter().map(store).collect();
    let files = futures::stream::iter(stores).buffered(AT_ONCE).try_collect().await?;
    attempt.finished(|headway| {
        headway.gops.retain(|gop| gop.number != number);
        headway.gops.push(StoredGop { number, files });
    });
    Ok(made.into_iter().map(|gop| gop.path).collect())
}
