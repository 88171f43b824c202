//! The empty directory a process of the cell lives in, with its inputs under fixed names.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use pipeline::{Fault, Shortage};

/// Removed with all that is in it when dropped.
#[derive(Debug)]
pub struct CellDir(PathBuf);

impl CellDir {
    /// A new directory inside `parent`.
    pub fn new(parent: &Path) -> Result<Self, Fault> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!(".cell-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| io_fault("make the decoder's directory in", parent, &error))?;
        Ok(Self(path))
    }
    pub fn path(&self) -> &Path {
        &self.0
    }
    /// Where a file of this name lies.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
    /// Puts a file of ours under a fixed name, as a link.
    pub fn link(&self, file: &Path, name: &str) -> Result<(), Fault> {
        let real = file.canonicalize().map_err(|error| io_fault("find", file, &error))?;
        std::os::unix::fs::symlink(real, self.0.join(name)).map_err(|error| io_fault("link", file, &error))
    }
}

impl Drop for CellDir {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a decoder's directory was left behind");
        }
    }
}

/// What an error of our own disk means.
pub fn io_fault(what: &str, path: &Path, error: &std::io::Error) -> Fault {
    let text = format!("cannot {what} {}: {error}", path.display());
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::FileTooLarge | std::io::ErrorKind::QuotaExceeded => {
            Fault::escalate(Shortage::Disk, text)
        }
        _ => Fault::retry(text),
    }
}
