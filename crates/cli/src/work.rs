//! The hidden folder in which `transcode` keeps its platform: one run at a time, found again after an interruption, gone at
//! the end.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, bail};
use pipeline::id::JobId;
use serde::{Deserialize, Serialize};

use crate::{
    end::usage,
    film::{Film, Stamp},
};

/// Name of the folder. Not that of `up`, which may have its data in the same place.
pub const WORK: &str = ".fanreel-transcode";

/// What a run was asked for, and how far its uploads are. A run that was asked for the same goes on with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Order {
    version: String,
    profile: String,
    parameters: Vec<(String, String)>,
    files: Vec<Upload>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Upload {
    stamp: Stamp,
    key: String,
    /// Of its upload, once that is complete.
    job: Option<JobId>,
}

/// The folder, locked while this lives.
#[derive(Debug)]
pub struct Work {
    dir: PathBuf,
    order: Mutex<Order>,
    /// An earlier run with the same order was interrupted here.
    pub resumed: bool,
    made_out: bool,
    _lock: File,
}

/// Where the platform's data will be.
pub fn data_dir(out: &Path) -> PathBuf {
    out.join(WORK).join("data")
}

/// Refuses an output folder in which something else lies where the results go.
pub fn check_out(out: &Path, films: &[Film]) -> anyhow::Result<()> {
    if out.exists() && !out.is_dir() {
        return Err(usage(format!("-o {}: this is no folder", out.display())));
    }
    for film in films {
        let place = out.join(&film.folder);
        let ours = place.join("receipt.json").is_file() || is_empty(&place);
        if place.symlink_metadata().is_ok() && !ours {
            return Err(usage(format!(
                "{} is there already and is not a result of fanreel; move it away, or choose another folder with -o",
                place.display()
            )));
        }
    }
    Ok(())
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

impl Work {
    /// Makes or finds the folder. What an interrupted run with another order left is removed.
    pub fn open(out: &Path, profile: &str, parameters: &[(String, String)], films: &[Film]) -> anyhow::Result<Self> {
        let made_out = !out.exists();
        let dir = out.join(WORK);
        fs::create_dir_all(&dir).with_context(|| format!("{} cannot be made", dir.display()))?;
        let lock = lock(&dir)?;
        let uploads = films.iter().map(|film| Upload { stamp: film.stamp.clone(), key: film.key.clone(), job: None }).collect();
        let wanted = Order { version: env!("CARGO_PKG_VERSION").into(), profile: profile.into(), parameters: parameters.to_vec(), files: uploads };
        let found = fs::read(dir.join("order.json")).ok().and_then(|text| serde_json::from_slice::<Order>(&text).ok());
        let found = found.filter(|found| without_jobs(found) == wanted);
        let resumed = found.is_some();
        if !resumed {
            for old in ["data", "out", "old", "order.json"] {
                remove(&dir.join(old))?;
            }
        }
        let work = Self { dir, order: Mutex::new(found.unwrap_or(wanted)), resumed, made_out, _lock: lock };
        work.save()?;
        Ok(work)
    }

    /// The job of a film that an earlier run has uploaded.
    pub fn job_of(&self, film: &Film) -> Option<JobId> {
        let order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        order.files.iter().find(|upload| upload.key == film.key).and_then(|upload| upload.job.clone())
    }

    /// Remembers that a film is uploaded.
    pub fn uploaded(&self, film: &Film, job: &JobId) -> anyhow::Result<()> {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(upload) = order.files.iter_mut().find(|upload| upload.key == film.key) {
            upload.job = Some(job.clone());
        }
        drop(order);
        self.save()
    }

    fn save(&self) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(&*self.order.lock().unwrap_or_else(PoisonError::into_inner))?;
        let (staged, path) = (self.dir.join("order.new"), self.dir.join("order.json"));
        let write = || fs::write(&staged, text).and_then(|()| fs::rename(&staged, &path));
        write().with_context(|| format!("{} cannot be written", path.display()))
    }

    /// An empty folder to fetch a film's results into.
    pub fn staging(&self, film: &Film) -> anyhow::Result<PathBuf> {
        let dir = self.dir.join("out").join(&film.folder);
        remove(&dir)?;
        fs::create_dir_all(&dir).with_context(|| format!("{} cannot be made", dir.display()))?;
        Ok(dir)
    }

    /// Puts fetched results in their place, whole; an earlier result of the same film gives way.
    pub fn publish(&self, film: &Film, staged: &Path, out: &Path) -> anyhow::Result<PathBuf> {
        let place = out.join(&film.folder);
        let old = self.dir.join("old").join(&film.folder);
        let exchange = || -> std::io::Result<()> {
            if place.symlink_metadata().is_ok() {
                fs::create_dir_all(self.dir.join("old"))?;
                fs::rename(&place, &old)?;
            }
            fs::rename(staged, &place)
        };
        exchange().with_context(|| format!("the results cannot be put into {}", place.display()))?;
        remove(&old)?;
        Ok(place)
    }

    /// Removes everything; the output folder too if it was made here and holds nothing.
    pub fn discard(self, out: &Path) -> anyhow::Result<()> {
        remove(&self.dir)?;
        if self.made_out {
            // It fails where results are in it, and then it shall.
            let _ = fs::remove_dir(out);
        }
        Ok(())
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

fn without_jobs(order: &Order) -> Order {
    let files = order.files.iter().map(|upload| Upload { job: None, ..upload.clone() }).collect();
    Order { files, ..order.clone() }
}

fn lock(dir: &Path) -> anyhow::Result<File> {
    let path = dir.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("{} cannot be made", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("another `fanreel transcode` works in {}; wait for it, or choose another folder with -o", dir.display()),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("{} cannot be locked", path.display())),
    }
}

fn remove(path: &Path) -> anyhow::Result<()> {
    let removed = match path.symlink_metadata() {
        Err(_) => return Ok(()),
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    removed.with_context(|| format!("{} cannot be removed", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn films(dir: &Path, text: &str) -> Vec<Film> {
        let path = dir.join("film.mp4");
        fs::write(&path, text).unwrap();
        crate::film::read(&[path]).unwrap()
    }

    #[test]
    fn the_same_order_goes_on_and_another_starts_over() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let job: JobId = "0123456789abcdef01234567".parse().unwrap();
        let before = films(dir.path(), "one");
        let first = Work::open(&out, "h264", &[], &before).unwrap();
        assert!(!first.resumed && first.job_of(&before[0]).is_none());
        first.uploaded(&before[0], &job).unwrap();
        fs::create_dir_all(data_dir(&out)).unwrap();
        assert!(Work::open(&out, "h264", &[], &before).unwrap_err().to_string().contains("another `fanreel transcode`"));
        drop(first);

        let second = Work::open(&out, "h264", &[], &before).unwrap();
        assert_eq!((second.resumed, second.job_of(&before[0])), (true, Some(job)));
        drop(second);

        let changed = films(dir.path(), "longer");
        let third = Work::open(&out, "h264", &[], &changed).unwrap();
        assert!(!third.resumed && third.job_of(&changed[0]).is_none() && !data_dir(&out).exists());
        third.discard(&out).unwrap();
        assert!(out.exists(), "it was there before this run");
    }

    #[test]
    fn a_folder_made_for_nothing_is_gone_and_results_stay() {
        let dir = tempfile::tempdir().unwrap();
        let films = films(dir.path(), "one");
        let out = dir.path().join("out");
        Work::open(&out, "h264", &[], &films).unwrap().discard(&out).unwrap();
        assert!(!out.exists());

        for round in ["a", "b"] {
            check_out(&out, &films).unwrap();
            let work = Work::open(&out, "h264", &[], &films).unwrap();
            let staged = work.staging(&films[0]).unwrap();
            fs::write(staged.join("receipt.json"), round).unwrap();
            let place = work.publish(&films[0], &staged, &out).unwrap();
            assert_eq!(fs::read_to_string(place.join("receipt.json")).unwrap(), round);
            work.discard(&out).unwrap();
            assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
        }
    }

    #[test]
    fn somebody_elses_folder_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let films = films(dir.path(), "one");
        fs::create_dir(dir.path().join("film")).unwrap();
        check_out(dir.path(), &films).unwrap();
        fs::write(dir.path().join("film/thesis.txt"), "words").unwrap();
        assert!(check_out(dir.path(), &films).unwrap_err().to_string().contains("not a result of fanreel"));
        assert!(check_out(&films[0].path, &films).unwrap_err().to_string().contains("no folder"));
    }
}
