//! Poster, sprite and preview: every file is decoded again before it is handed on.

use pipeline::{
    Fault, Shortage,
    encoder::{EncodeError, MadeStill, MadeStills, Progress, StillsWork},
    plan::{Profile, VideoPlan},
    stills::{PREVIEW, Size, StillFile, StillsPlan},
};

use crate::{
    FfmpegEncoder,
    args::{
        self,
        stills::{self as form, Origin},
    },
    cell::{self, Lines},
    chunk::{blocking, run},
    dir::{CellDir, io_fault},
    tools::file_sha256,
    verdict::verdict,
};

/// Lines of a listing of pictures; a preview has a few dozen.
const MAX_LINES: usize = 1_000;

/// What one run of the task shares.
struct Making<'a> {
    encoder: &'a FfmpegEncoder,
    work: &'a StillsWork<'a>,
    stills: &'a StillsPlan,
    of: (&'a Profile, &'a VideoPlan),
    dir: CellDir,
}

/// Makes every file of the plan, and holds each against it.
pub async fn make(encoder: &FfmpegEncoder, work: &StillsWork<'_>) -> Result<MadeStills, EncodeError> {
    let video = work.plan.video.as_ref().ok_or_else(|| Fault::escalate(Shortage::Tool, "pictures of a plan without video"))?;
    let dir = CellDir::new(work.out)?;
    dir.link(work.source, args::INPUT)?;
    let making = Making { encoder, work, stills: work.stills, of: (&work.plan.profile, video), dir };
    let repeated = if work.stills.poster.is_some() || work.stills.sprite.is_some() { making.single().await? } else { 0 };
    if let Some(preview) = &work.stills.preview {
        making.run(form::preview(making.ffmpeg(), making.of, work.stills, preview)).await?;
    }
    let mut files = Vec::new();
    for file in work.stills.files() {
        making.verify(&file).await?;
        files.push(making.hand_on(file).await?);
    }
    Ok(MadeStills { files, repeated })
}

impl Making<'_> {
    fn ffmpeg(&self) -> &std::path::PathBuf {
        &self.encoder.tools().ffmpeg
    }

    async fn run(&self, command: args::Command) -> Result<(), EncodeError> {
        let command = command.with_care(self.work.careful);
        run(self.encoder, command, &self.dir, &Progress::default(), "frame=").await.map(drop)
    }

    /// Poster and sprite. Answers how many pictures could not be decoded.
    async fn single(&self) -> Result<u32, EncodeError> {
        let count = self.stills.pictures.count() as usize;
        if !self.stills.alone {
            self.run(form::cut(self.ffmpeg(), self.work.plan, self.of.1, &self.stills.pictures)).await?;
            let pieces = (0..=count).filter(|number| self.dir.join(&form::piece(*number)).exists()).count();
            if pieces != count {
                return Err(EncodeError::Mismatch(format!("{pieces} of {count} keyframes are where the index has them")));
            }
        }
        let shown = self.tiles(count).await?;
        if let Some(poster) = &self.stills.poster {
            let chosen = self.choose(&shown, &poster.candidates).await?;
            self.run(form::poster(self.ffmpeg(), self.of, self.origin(chosen), poster)).await?;
        }
        if let Some(sprite) = &self.stills.sprite {
            for (place, picture) in shown.iter().enumerate() {
                self.link(&form::tile(*picture), &form::placed(place))?;
            }
            self.run(form::sheets(self.ffmpeg(), sprite)).await?;
        }
        let repeated = shown.iter().enumerate().filter(|(place, picture)| place != *picture).count();
        Ok(u32::try_from(repeated).unwrap_or(u32::MAX))
    }

    fn origin(&self, picture: usize) -> Origin<'_> {
        if self.stills.alone { Origin::Window(self.stills) } else { Origin::Piece(picture) }
    }

    /// Decodes every picture once, small. Answers for each which one stands in its place: itself, or the one before.
    async fn tiles(&self, count: usize) -> Result<Vec<usize>, EncodeError> {
        let size = self.stills.sprite.as_ref().map(|sprite| sprite.tile);
        let size = size.or(self.stills.poster.as_ref().map(|poster| small(poster.size))).unwrap_or(Size { width: 2, height: 2 });
        let mut there = Vec::with_capacity(count);
        for picture in 0..count {
            let made = self.run(form::tile_of(self.ffmpeg(), self.of, self.origin(picture), picture, size)).await;
            match made {
                Ok(()) => there.push(self.dir.join(&form::tile(picture)).exists()),
                Err(EncodeError::Fault(fault)) => return Err(fault.into()),
                Err(EncodeError::Crash(crash)) if crash.shortage.is_some() => return Err(EncodeError::Crash(crash)),
                Err(error) => {
                    tracing::warn!(picture, %error, "a keyframe could not be decoded alone");
                    there.push(false);
                }
            }
        }
        let Some(first) = there.iter().position(|there| *there) else {
            return Err(EncodeError::Mismatch(format!("none of {count} pictures could be decoded")));
        };
        let stand_in = |last: &mut usize, (picture, there): (usize, &bool)| {
            *last = if *there { picture } else { *last };
            Some(*last)
        };
        Ok(there.iter().enumerate().scan(first, stand_in).collect())
    }

    /// The picture that the poster shows: the one most like all candidates that are not dark, or like all.
    async fn choose(&self, shown: &[usize], candidates: &[u32]) -> Result<usize, EncodeError> {
        let own = |at: &u32| shown.get(*at as usize).copied().filter(|picture| *picture == *at as usize);
        let mut decoded: Vec<usize> = candidates.iter().filter_map(own).collect();
        if decoded.is_empty() {
            decoded.extend(shown.first());
        }
        for (number, picture) in decoded.iter().enumerate() {
            self.link(&form::tile(*picture), &form::candidate(number))?;
        }
        for bright in [true, false] {
            let told = self.listing(form::choice(self.ffmpeg(), decoded.len(), bright)).await?;
            if let Some(chosen) = told.pictures.first().and_then(|at| decoded.get(*at)) {
                return Ok(*chosen);
            }
        }
        Err(Fault::escalate(Shortage::Tool, "no picture was chosen for the poster").into())
    }

    fn link(&self, from: &str, to: &str) -> Result<(), Fault> {
        let (from, to) = (self.dir.join(from), self.dir.join(to));
        std::fs::hard_link(&from, &to).map_err(|error| io_fault("link", &from, &error))
    }

    /// Runs a command on files of our own that tells of pictures.
    async fn listing(&self, command: args::Command) -> Result<Listing, Fault> {
        let outcome = cell::run(command, self.dir.path().to_owned(), self.encoder.limits(), None, Listing::default()).await?;
        self.encoder.note(outcome.report);
        match outcome.stopped.or_else(|| verdict(outcome.ended, &outcome.stderr)) {
            None => Ok(outcome.sink),
            Some(Fault::Reject(text)) => Err(Fault::escalate(Shortage::Tool, text)),
            Some(fault) => Err(fault),
        }
    }

    /// A file decodes without a complaint, to as many pictures of the size as planned.
    async fn verify(&self, file: &StillFile) -> Result<(), EncodeError> {
        if !self.dir.join(&file.name).exists() {
            return Err(EncodeError::Mismatch(format!("no {} was made", file.name)));
        }
        let listing = self.listing(form::verify(self.ffmpeg(), &file.name)).await?;
        let most = match &self.stills.preview {
            Some(preview) if file.name == PREVIEW => preview.frames as usize,
            _ => 1,
        };
        let pictures = listing.pictures.len();
        if listing.size != Some(file.size) || !(1..=most).contains(&pictures) {
            let (size, planned) = (listing.size, file.size);
            let text = format!("{} has {pictures} pictures of {size:?}, planned are {most} of {planned:?}", file.name);
            return Err(Fault::escalate(Shortage::Tool, text).into());
        }
        Ok(())
    }

    /// Moves a file out of the cell's directory.
    async fn hand_on(&self, file: StillFile) -> Result<MadeStill, EncodeError> {
        let (made, path) = (self.dir.join(&file.name), self.work.out.join(&file.name));
        blocking(move || {
            std::fs::rename(&made, &path).map_err(|error| io_fault("move", &path, &error))?;
            let bytes = std::fs::metadata(&path).map_err(|error| io_fault("read", &path, &error))?.len();
            let sha256 = file_sha256(&path).map_err(|error| io_fault("read", &path, &error))?;
            Ok(MadeStill { name: file.name, path, bytes, sha256 })
        })
        .await
    }
}

/// An eighth of a picture: enough to choose by.
fn small(size: Size) -> Size {
    Size { width: (size.width / 8).max(2), height: (size.height / 8).max(2) }
}

/// What ffmpeg's `framecrc` tells: the size of the pictures, and the time of each in ticks.
#[derive(Default)]
struct Listing {
    size: Option<Size>,
    pictures: Vec<usize>,
}

impl Lines for Listing {
    fn line(&mut self, line: &[u8]) -> Result<(), Fault> {
        let text = String::from_utf8_lossy(line);
        if let Some(size) = text.strip_prefix("#dimensions 0: ").and_then(|size| size.trim().split_once('x')) {
            self.size = size.0.parse().ok().zip(size.1.parse().ok()).map(|(width, height)| Size { width, height });
        } else if !text.starts_with('#') {
            let time = text.split(',').nth(2).and_then(|time| time.trim().parse::<usize>().ok());
            self.pictures.extend(time);
        }
        if self.pictures.len() > MAX_LINES {
            return Err(Fault::escalate(Shortage::Tool, "a picture file decodes without end"));
        }
        Ok(())
    }
}
