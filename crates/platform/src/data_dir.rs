//! The data directory: one process on it at a time, and only one that understands what is in it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// First line of the marker file, with the version after it.
const MARKER: &str = "platform data, version ";
/// Version of what this program writes.
const VERSION: u32 = 1;
const MARKER_FILE: &str = "VERSION";
const LOCK_FILE: &str = "lock";
/// Longest marker read, bytes.
const MAX_MARKER: u64 = 256;

/// Why a data directory cannot be used. In no case was anything in it changed.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("the data directory {} is in use by another process{}; stop that one or choose another directory", path.display(), pid.map_or(String::new(), |pid| format!(" (pid {pid})")))]
    InUse { path: PathBuf, pid: Option<u32> },
    #[error("{} has files in it and is no data directory of the platform; choose an empty or a new one", .0.display())]
    Foreign(PathBuf),
    #[error("the data directory {} has version {found}, made by a newer program (this one knows {VERSION}); use that program or another directory", path.display())]
    Newer { path: PathBuf, found: u32 },
    #[error("the data directory {} cannot be used: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// A data directory that is ours while this lives.
#[derive(Debug)]
pub struct DataDir {
    /// Held, never read: the lock ends with it.
    _lock: File,
    path: PathBuf,
}

impl DataDir {
    /// Makes the directory if need be and locks it.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let at = |source| DataDirError::Io { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at)?;
        let path = &fs::canonicalize(path).map_err(at)?;
        check(path)?;
        let mut lock = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path.join(LOCK_FILE)).map_err(at)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let read = lock.take(MAX_MARKER).read_to_string(&mut text);
                let pid = read.ok().and_then(|_| text.trim().parse().ok());
                return Err(DataDirError::InUse { path: path.clone(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(at(error)),
        }
        // Another process may have come between the first look and the lock.
        check(path)?;
        lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(at)?;
        if !path.join(MARKER_FILE).exists() {
            mark(path).map_err(at)?;
        }
        Ok(Self { _lock: lock, path: path.clone() })
    }

    /// A service's own directory in it, made if need be.
    pub fn service(&self, name: &str) -> Result<PathBuf, DataDirError> {
        let path = self.path.join(name);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|source| DataDirError::Io { path: path.clone(), source })?;
        Ok(path)
    }
}

/// Whether the directory is empty or one of ours.
fn check(path: &Path) -> Result<(), DataDirError> {
    let at = |source| DataDirError::Io { path: path.to_owned(), source };
    let marker = match File::open(path.join(MARKER_FILE)) {
        Ok(file) => {
            let mut text = String::new();
            let read = file.take(MAX_MARKER).read_to_string(&mut text);
            // Anything but text is somebody else's file.
            if read.is_ok() { text } else { String::new() }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            for entry in fs::read_dir(path).map_err(at)? {
                if entry.map_err(at)?.file_name() != LOCK_FILE {
                    return Err(DataDirError::Foreign(path.to_owned()));
                }
            }
            return Ok(());
        }
        Err(error) => return Err(at(error)),
    };
    match marker.trim_end().strip_prefix(MARKER).and_then(|version| version.parse::<u32>().ok()) {
        Some(found) if found > VERSION => Err(DataDirError::Newer { path: path.to_owned(), found }),
        Some(_) => Ok(()),
        None => Err(DataDirError::Foreign(path.to_owned())),
    }
}

/// Writes the marker whole or not at all.
fn mark(path: &Path) -> io::Result<()> {
    let new = path.join(LOCK_FILE).with_extension("marker");
    let mut file = File::create(&new)?;
    writeln!(file, "{MARKER}{VERSION}")?;
    file.sync_all()?;
    fs::rename(&new, path.join(MARKER_FILE))?;
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_owner_at_a_time_and_again_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        assert!(first.service("s3").unwrap().ends_with("a/b/s3"));
        let error = DataDir::open(&path).unwrap_err();
        let pid = std::process::id();
        assert!(matches!(error, DataDirError::InUse { pid: Some(found), .. } if found == pid), "{error}");
        assert!(error.to_string().contains(&format!("(pid {pid})")), "{error}");
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn foreign_and_newer_directories_are_left_alone() {
        let listing = |path: &Path| {
            let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        for (file, text, part) in [
            ("thesis.txt", "words", "is no data directory"),
            (MARKER_FILE, "1.2.3\n", "is no data directory"),
            (MARKER_FILE, "platform data, version 2\n", "made by a newer program"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(file), text).unwrap();
            let error = DataDir::open(dir.path()).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
            assert_eq!(listing(dir.path()), [file]);
            assert_eq!(fs::read_to_string(dir.path().join(file)).unwrap(), text);
        }
    }
}
