//! Films whose pictures say which they are, and whose sound says when.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Result;

use crate::clips::ffmpeg;

/// Bits of a picture's number: bars across its top fifth, the lowest bit at the left, white for one.
pub const BITS: u32 = 10;

/// A film: `frames` pictures at `rate`, numbered from 0, and a chirp at half of every second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Film {
    pub width: u32,
    pub height: u32,
    /// Pictures a second as a fraction.
    pub rate: (u32, u32),
    /// At most 2 to the power of [`BITS`].
    pub frames: u32,
}

/// Three seconds.
pub const USUAL: Film = Film { width: 160, height: 120, rate: (25, 1), frames: 75 };

impl Film {
    /// When a picture is shown, seconds.
    pub fn time(&self, number: u32) -> f64 {
        f64::from(number) * f64::from(self.rate.1) / f64::from(self.rate.0)
    }

    /// Every picture with its time.
    pub fn all(&self) -> Vec<(u32, f64)> {
        (0..self.frames).map(|number| (number, self.time(number))).collect()
    }
}

/// Where sources are made. Films are made once, without loss.
pub struct Studio {
    pub dir: PathBuf,
    films: BTreeMap<Film, PathBuf>,
}

impl Studio {
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), films: BTreeMap::new() }
    }

    /// A file of the studio.
    pub fn file(&self, name: &str) -> String {
        self.dir.join(name).to_string_lossy().into_owned()
    }

    /// The lossless film: FFV1 and PCM.
    pub fn film(&mut self, film: Film) -> Result<String> {
        if let Some(made) = self.films.get(&film) {
            return Ok(made.to_string_lossy().into_owned());
        }
        let path = self.dir.join(format!("film-{}.nut", self.films.len()));
        let Film { width, height, rate: (num, den), frames } = film;
        let (strip, seconds) = (height.div_ceil(5), film.time(frames));
        let picture = format!(
            "testsrc2=size={width}x{height}:rate={num}/{den},format=yuv444p[back];\
             nullsrc=size={BITS}x2:rate={num}/{den},geq=lum='16+219*mod(floor(N/pow(2,X)),2)':cb=128:cr=128,format=yuv444p,\
             scale={width}:{strip}:flags=neighbor[strip];[back][strip]overlay=0:0:format=yuv444"
        );
        let sound = format!(
            "aevalsrc='if(lt(mod(t+0.5,1),0.08),0.7*sin(2*PI*(400+9000*mod(t+0.5,1))*mod(t+0.5,1)),0)':s=48000:d={seconds},\
             aformat=channel_layouts=stereo"
        );
        let (count, out) = (frames.to_string(), path.to_string_lossy().into_owned());
        let inputs = ["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound];
        ffmpeg(&[&inputs[..], &["-frames:v", &count, "-c:v", "ffv1", "-c:a", "pcm_s16le", "-f", "nut", &out]].concat())?;
        self.films.insert(film, path);
        Ok(out)
    }
}
