//! Pictures beside the film: a poster, small pictures of the whole of it with the `WebVTT` file that says which is when,
//! and a few seconds of it as an animated picture. Pure.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::{
    plan::{ByteRange, Chunk, FrameTimes, Plan},
    timebase::TimeBase,
};

/// Pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

/// What is made of them. Single pictures are keyframes of the source: each is decoded alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StillsPlan {
    /// PTS from T0 of the pictures that are looked at, ticks: the tiles of the sprite, or what the poster is chosen from.
    pub pictures: FrameTimes,
    /// The film shows none of its keyframes (an edit list hides them): its one picture is the first of `window`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alone: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poster: Option<PosterPlan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sprite: Option<SpritePlan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<PreviewPlan>,
    /// The stretch of the film that is previewed, as a chunk.
    pub window: Chunk,
    /// Bytes of the source that all of it needs, in order, not touching.
    pub ranges: Vec<ByteRange>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PosterPlan {
    pub size: Size,
    /// Positions in `pictures` of those that it is chosen from, rising.
    pub candidates: Vec<u32>,
}

/// Tiles, row by row, in as many sheets as they need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpritePlan {
    pub tile: Size,
    /// Of a sheet, in tiles; all sheets are of one size.
    pub columns: u32,
    pub rows: u32,
    pub sheets: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewPlan {
    pub size: Size,
    /// Pictures at most: those that look like the one before are told as its length.
    pub frames: u32,
    /// Milliseconds that each is shown.
    pub every_ms: u32,
}

impl SpritePlan {
    fn per_sheet(&self) -> u32 {
        self.columns.saturating_mul(self.rows).max(1)
    }
    /// Of one sheet.
    pub fn size(&self) -> Size {
        Size { width: self.tile.width * self.columns, height: self.tile.height * self.rows }
    }
}

/// A file that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StillFile {
    /// `poster.jpg`, `sprite-0.jpg` …, `preview.webp`.
    pub name: String,
    pub size: Size,
}

/// Name of the poster.
pub const POSTER: &str = "poster.jpg";
/// Name of the animated picture.
pub const PREVIEW: &str = "preview.webp";
/// Name of the file that says which tile is when.
pub const THUMBNAILS: &str = "sprite.vtt";

/// Name of a sheet of the sprite, counted from 0.
pub fn sheet(number: u32) -> String {
    format!("sprite-{number}.jpg")
}

/// IANA's media type of a file by its name.
pub fn media_type(name: &str) -> &'static str {
    if name == PREVIEW { "image/webp" } else { "image/jpeg" }
}

impl StillsPlan {
    /// Every picture file, in the order in which they are recorded.
    pub fn files(&self) -> Vec<StillFile> {
        let poster = self.poster.iter().map(|poster| StillFile { name: POSTER.into(), size: poster.size });
        let sheets = self.sprite.iter().flat_map(|sprite| (0..sprite.sheets).map(|n| StillFile { name: sheet(n), size: sprite.size() }));
        let preview = self.preview.iter().map(|preview| StillFile { name: PREVIEW.into(), size: preview.size });
        poster.chain(sheets).chain(preview).collect()
    }
}

/// Thumbnails as players read them: a `WebVTT` cue for each tile, from its picture to the next one's, that names the tile
/// by a spatial Media Fragment (W3C Media Fragments URI 1.0, 4.2.2). The cues cover the film from T0 to the end of its
/// picture and sound. `None`: the plan has no sprite.
pub fn thumbnails(plan: &Plan) -> Option<String> {
    let (stills, video) = (plan.stills.as_ref()?, plan.video.as_ref()?);
    let sprite = stills.sprite.as_ref()?;
    let ms = |ticks: i64| video.time_base.rescale(ticks, TimeBase::MILLIS);
    let sound = plan.audio.iter().map(|track| TimeBase::MICROS.rescale(track.end_us, TimeBase::MILLIS));
    let end = sound.fold(ms(video.end), i64::max);
    let starts: Vec<i64> = std::iter::once(0).chain(stills.pictures.iter().skip(1).map(ms)).collect();
    let ends = starts.iter().skip(1).copied().chain([end]);
    let mut text = String::from("WEBVTT\n");
    for (number, (start, end)) in (0u32..).zip(starts.iter().zip(ends)) {
        let (file, place) = (number / sprite.per_sheet(), number % sprite.per_sheet());
        let Size { width, height } = sprite.tile;
        let (x, y) = (place % sprite.columns.max(1) * width, place / sprite.columns.max(1) * height);
        let (from, to) = (clock(*start), clock(end.max(start + 1)));
        let _ = write!(text, "\n{from} --> {to}\n{}#xywh={x},{y},{width},{height}\n", sheet(file));
    }
    Some(text)
}

/// `01:02:03.004` (W3C `WebVTT`, "timestamp").
fn clock(ms: i64) -> String {
    let ms = ms.max(0);
    format!("{:02}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000)
}
