//! The corpus: small sources of every kind that people upload, made at test time from films that number their pictures.

mod codecs;
mod containers;
pub mod film;
mod paff;
mod pictures;
pub mod reading;
mod telecine;
mod times;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::clips::ffmpeg;

pub use self::{
    film::{Film, Studio, USUAL},
    reading::{Picture, Reading, Sound, View},
};

/// How a job of a source ends.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// COMPLETED with every picture, each at its time, sound in sync.
    Exact,
    /// FAILED, with these words in its reason: it cannot be made right, and says what to do.
    Refused(&'static str),
}

/// How the upload comes about.
pub enum How {
    /// ffmpeg's arguments between the film and the upload.
    Args(&'static str),
    /// From the film's path to the upload's.
    Steps(fn(&Studio, &str, &str) -> Result<()>),
}

/// One row of the table.
pub struct Recipe {
    /// Name of the upload.
    pub name: &'static str,
    pub codec: &'static str,
    /// Words for what it is an example of, among [`CLASSES`].
    pub classes: &'static [&'static str],
    pub how: How,
    pub film: Film,
    /// Numbers of the pictures that a job shows, with their times in the film.
    pub shown: Vec<(u32, f64)>,
    /// How to look at the upload; what is made of it has one picture and one sound.
    pub view: View,
    /// Whether ffmpeg's own reading of the upload has the right times of its pictures. Else the film's count.
    pub readable: bool,
    /// Seconds by which everything may come later: packets of sound that decoders make nothing of count for T0.
    pub lead: f64,
    /// Seconds by which the picture comes later to the sound than in the film.
    pub late: f64,
    /// Seconds that a time of the upload may be off the film's, by what its container can say.
    pub grain: f64,
    /// Width to height of its pictures as they are shown, where that is not what the film's pixels are.
    pub shape: Option<(u32, u32)>,
    /// Whether a rendition looks like the upload: high dynamic range does not.
    pub alike: bool,
    pub end: End,
}

/// Every class that the corpus must have, from issue 4.
pub const CLASSES: [&str; 62] = [
    "MP4",
    "MOV",
    "fragmented MP4",
    "3GP",
    "3G2",
    "Matroska",
    "live Matroska",
    "WebM",
    "Ogg",
    "MPEG-TS",
    "M2TS",
    "MPEG-PS",
    "VOB",
    "AVI",
    "FLV",
    "ASF",
    "MXF",
    "GXF",
    "DV",
    "H.264",
    "HEVC",
    "AV1",
    "VP8",
    "VP9",
    "MPEG-1",
    "MPEG-2",
    "MPEG-4",
    "ProRes",
    "MJPEG",
    "Theora",
    "open GOP",
    "edit list",
    "VFR",
    "gap",
    "delayed track",
    "start time",
    "PTS wrap",
    "TS discontinuity",
    "AVI without PTS",
    "one keyframe",
    "one frame",
    "1 fps",
    "240 fps",
    "several video tracks",
    "cover picture",
    "lying header",
    "mid-GOP",
    "rotation",
    "sample aspect",
    "odd size",
    "interlaced",
    "fields apart",
    "soft telecine",
    "HDR10",
    "HLG",
    "10-bit",
    "4:2:2",
    "4:4:4",
    "full range",
    "Dolby Vision",
    "8K",
    "7.1",
];

impl Recipe {
    /// A source of the usual film, exact.
    fn new(name: &'static str, codec: &'static str, classes: &'static [&'static str], args: &'static str) -> Self {
        Self {
            name,
            codec,
            classes,
            how: How::Args(args),
            film: USUAL,
            shown: USUAL.all(),
            view: View { track: "0:v:0", undo: "", woven: false, sound: true },
            readable: true,
            lead: 0.0,
            late: 0.0,
            grain: 0.000_02,
            shape: None,
            alike: true,
            end: End::Exact,
        }
    }

    /// The same by several commands.
    fn steps(
        name: &'static str,
        codec: &'static str,
        classes: &'static [&'static str],
        steps: fn(&Studio, &str, &str) -> Result<()>,
    ) -> Self {
        Self { how: How::Steps(steps), ..Self::new(name, codec, classes, "") }
    }

    fn of(self, film: Film) -> Self {
        Self { film, shown: film.all(), ..self }
    }

    /// Its times are in milliseconds.
    fn coarse(self) -> Self {
        Self { grain: 0.000_51, ..self }
    }

    /// Its sound begins with packets that decoders make nothing of.
    fn slow_to_sound(self) -> Self {
        Self { lead: 0.09, ..self }
    }

    /// Its writer left a picture's place empty behind the first.
    fn with_a_gap(self) -> Self {
        let gap = self.film.time(1);
        let shown = self.shown.iter().map(|(number, time)| (*number, if *number == 0 { *time } else { time + gap })).collect();
        Self { shown, ..self }
    }

    fn shaped(self, width: u32, height: u32) -> Self {
        Self { shape: Some((width, height)), ..self }
    }

    fn silent(self) -> Self {
        Self { view: View { sound: false, ..self.view }, ..self }
    }

    fn refused(self, words: &'static str) -> Self {
        Self { end: End::Refused(words), ..self }
    }

    /// Container as people call it: what the name ends with.
    pub fn container(&self) -> &'static str {
        self.name.rsplit_once('.').map_or("", |(_, container)| container)
    }

    /// Makes the upload.
    pub fn make(&self, studio: &mut Studio) -> Result<PathBuf> {
        let (film, path) = (studio.film(self.film)?, studio.dir.join(self.name));
        let out = path.to_string_lossy().into_owned();
        match self.how {
            How::Args(args) => {
                let args: Vec<&str> = args.split_whitespace().collect();
                ffmpeg(&[&["-i", &film], &args[..], &[&out]].concat())
            }
            How::Steps(steps) => steps(studio, &film, &out),
        }
        .with_context(|| self.name)?;
        Ok(path)
    }

    /// What the upload shows by itself, if that can be had.
    pub fn read(&self, path: &Path, scratch: &Path) -> Result<Reading> {
        Reading::of(path, self.view, scratch)
    }
}

/// The whole corpus.
pub fn recipes() -> Vec<Recipe> {
    let parts = [containers::recipes(), codecs::recipes(), times::recipes(), pictures::recipes()];
    parts.into_iter().flatten().collect()
}
