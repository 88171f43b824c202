//! Scratch space: an empty directory for each invocation, and nothing left of those before it.
//!
//! Several environments may share a temporary directory, so each holds a lock on its own folder; a folder that nobody
//! holds is a dead one's.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

const PREFIX: &str = "entry-";
const GATE: &str = "entry.lock";

/// The folder of this environment.
#[derive(Debug)]
pub struct Scratch {
    folder: PathBuf,
    /// Locked as long as this lives; the kernel lets go of it when the process is killed.
    _held: File,
}

impl Scratch {
    /// Makes this environment's folder in `tmp` and removes those of dead ones.
    pub fn open(tmp: &Path) -> io::Result<Self> {
        fs::create_dir_all(tmp)?;
        // One at a time, so that no folder is seen between its making and its locking.
        let gate = File::options().create(true).write(true).truncate(false).open(tmp.join(GATE))?;
        gate.lock()?;
        remove_dead(tmp)?;
        let folder = tmp.join(format!("{PREFIX}{}-{:08x}", std::process::id(), rand::random::<u32>()));
        fs::create_dir(&folder)?;
        let held = File::open(&folder)?;
        held.lock()?;
        Ok(Self { folder, _held: held })
    }

    /// An empty directory for one invocation, gone when the answer is dropped.
    pub fn fresh(&self) -> io::Result<Room> {
        let path = self.folder.join(format!("{:08x}", rand::random::<u32>()));
        fs::create_dir(&path)?;
        Ok(Room { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // If it stays, the next environment finds it unlocked.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn remove_dead(tmp: &Path) -> io::Result<()> {
    for entry in fs::read_dir(tmp)? {
        let entry = entry?;
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX) && entry.file_type()?.is_dir();
        if !ours {
            continue;
        }
        let Ok(folder) = File::open(entry.path()) else { continue };
        match folder.try_lock() {
            Ok(()) => {
                tracing::warn!(folder = %entry.path().display(), "removing what a killed environment left");
                fs::remove_dir_all(entry.path())?;
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(())
}

/// The directory of one invocation.
#[derive(Debug)]
pub struct Room {
    path: PathBuf,
}

impl Room {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(folder = %self.path.display(), %error, "scratch space could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_empty_and_leave_nothing_and_only_the_dead_are_removed() {
        let tmp = tempfile::tempdir().unwrap();
        fs::create_dir_all(tmp.path().join("entry-1-dead/deep")).unwrap();
        fs::create_dir(tmp.path().join("somebody-elses")).unwrap();
        let one = Scratch::open(tmp.path()).unwrap();
        let room = one.fresh().unwrap();
        fs::write(room.path().join("film"), b"x").unwrap();
        let two = Scratch::open(tmp.path()).unwrap();
        assert!(room.path().join("film").exists(), "a living one's");
        assert!(!tmp.path().join("entry-1-dead").exists());
        let path = room.path().to_owned();
        drop(room);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(one.fresh().unwrap().path()).unwrap().count(), 0);
        drop((one, two));
        let mut left: Vec<_> = fs::read_dir(tmp.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["entry.lock", "somebody-elses"]);
    }
}
