//! The bytes of objects: files named by a number of ours, so that no key can influence a path.
//!
//! A blob is written once, made durable, then referred to by extents in the metadata. A file without a reference is
//! rubbish: of a crash (removed at the next open), of an upload that failed, or of an object that is gone.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::S3Error;

/// A stretch of a blob that holds a stretch of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    pub blob: u64,
    /// Where in the blob, in bytes.
    pub offset: u64,
    pub length: u64,
}

/// A moment at which a process may die. Tests look at what it would leave behind.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Created(u64),
    Written(u64),
    Synced(u64),
    /// The blob's name is durable as well.
    Named(u64),
    /// A group of changes is made and not yet committed.
    Changed,
    /// It is committed, and nobody was told.
    Committed,
    Removed(u64),
}

#[cfg(test)]
pub type Watch = Arc<dyn Fn(Moment) + Send + Sync>;

/// The directory of blobs.
pub struct Blobs {
    root: PathBuf,
    next: AtomicU64,
    /// Bytes of all files, those that are being written too.
    used: AtomicU64,
    /// Most of them that there may be.
    quota: AtomicU64,
    pins: Mutex<Pins>,
    /// Held while a directory is made, so that nobody relies on one whose name is not durable yet.
    making: Mutex<()>,
    #[cfg(test)]
    pub watch: Mutex<Option<Watch>>,
}

#[derive(Default)]
struct Pins {
    /// Readers at work, by blob.
    held: HashMap<u64, usize>,
    /// Blobs that go when their last reader is done.
    doomed: HashSet<u64>,
}

impl Blobs {
    /// Makes the directory if need be. [`Blobs::recover`] must follow before the first blob is made.
    pub fn open(root: PathBuf) -> Result<Arc<Self>, S3Error> {
        make_dir(&root)?;
        Ok(Arc::new(Self {
            root,
            next: AtomicU64::new(1),
            used: AtomicU64::new(0),
            quota: AtomicU64::new(u64::MAX),
            pins: Mutex::default(),
            making: Mutex::default(),
            #[cfg(test)]
            watch: Mutex::default(),
        }))
    }

    #[cfg(test)]
    pub fn at(&self, moment: Moment) {
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(watch) = watch {
            watch(moment);
        }
    }

    /// `<n / 65536>/<n / 256 % 256>/<n>`, hexadecimal: at most 256 files in a directory, a new one every 256 blobs.
    fn path(&self, blob: u64) -> PathBuf {
        self.root.join(format!("{:06x}/{:02x}/{blob:016x}", blob >> 16, (blob >> 8) & 0xff))
    }

    /// Removes every file that is not among the `referenced`, and numbers new blobs above all that were found.
    pub fn recover(&self, referenced: &HashSet<u64>) -> Result<(), S3Error> {
        let (mut highest, mut used) = (0, 0);
        let mut removed = 0_usize;
        for (path, bytes) in files_under(&self.root)? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let blob = u64::from_str_radix(name, 16).ok().filter(|blob| referenced.contains(blob) && self.path(*blob) == path);
            if let Some(blob) = blob {
                highest = highest.max(blob);
                used += bytes;
            } else {
                fs::remove_file(&path).map_err(|source| disk("remove the leftover", &path, source))?;
                removed += 1;
            }
        }
        if removed > 0 {
            tracing::info!(removed, "removed leftovers of uploads that never finished");
        }
        self.next.store(highest + 1, Ordering::Relaxed);
        self.used.store(used, Ordering::Relaxed);
        Ok(())
    }

    /// Bytes of all files.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Bounds the bytes of all files.
    pub fn set_quota(&self, bytes: Option<u64>) {
        self.quota.store(bytes.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Counts bytes that are about to be written, if there is room for them.
    fn reserve(&self, bytes: u64) -> Result<(), S3Error> {
        let quota = self.quota.load(Ordering::Relaxed);
        let add = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= quota);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => Ok(()),
            Err(used) => Err(S3Error::Full(format!("objects take {used} bytes of the {quota} that they may take"))),
        }
    }

    /// A new empty blob. Blocking.
    pub fn create(self: &Arc<Self>) -> Result<Fresh, S3Error> {
        let blob = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.path(blob);
        let dir = path.parent().unwrap_or(&self.root);
        {
            let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
            make_dir(dir)?;
        }
        let file = File::create_new(&path).map_err(|source| disk("create", &path, source))?;
        #[cfg(test)]
        self.at(Moment::Created(blob));
        Ok(Fresh { blobs: self.clone(), blob, file, length: 0, kept: false })
    }

    /// Opens a blob for reading. Blocking.
    pub fn read(&self, blob: u64) -> Result<File, S3Error> {
        let path = self.path(blob);
        File::open(&path).map_err(|source| disk("open", &path, source))
    }

    /// The error that `source` is for a blob.
    pub fn trouble(&self, doing: &'static str, blob: u64, source: io::Error) -> S3Error {
        disk(doing, &self.path(blob), source)
    }

    /// Keeps the blobs of these extents on disk until the pin is dropped.
    pub fn pin(self: &Arc<Self>, extents: &[Extent]) -> Pin {
        let mut blobs: Vec<u64> = extents.iter().map(|extent| extent.blob).collect();
        blobs.sort_unstable();
        blobs.dedup();
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        for &blob in &blobs {
            *pins.held.entry(blob).or_default() += 1;
        }
        Pin { store: self.clone(), blobs }
    }

    /// Returns those of `blobs` that nobody reads; the others go when their last reader is done.
    pub fn doom(&self, blobs: Vec<u64>) -> Vec<u64> {
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        let (held, free) = blobs.into_iter().partition(|blob| pins.held.contains_key(blob));
        pins.doomed.extend::<Vec<u64>>(held);
        free
    }

    /// Removes files. A failure leaves rubbish for the next open and is logged. Blocking.
    pub fn remove(&self, blobs: &[u64]) {
        for &blob in blobs {
            let path = self.path(blob);
            let bytes = fs::metadata(&path).map_or(0, |found| found.len());
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(%error, blob, "could not remove a blob; the next start will");
            } else {
                self.used.fetch_sub(bytes, Ordering::Relaxed);
                #[cfg(test)]
                self.at(Moment::Removed(blob));
            }
        }
    }

    /// As [`Blobs::remove`], off the calling thread where it is one of tokio's: the last bytes of a big file take a while to go.
    fn remove_soon(self: &Arc<Self>, blobs: Vec<u64>) {
        if blobs.is_empty() {
            return;
        }
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                let store = self.clone();
                runtime.spawn_blocking(move || store.remove(&blobs));
            }
            Err(_) => self.remove(&blobs),
        }
    }
}

/// A reader's hold on blobs.
pub struct Pin {
    store: Arc<Blobs>,
    blobs: Vec<u64>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut gone = Vec::new();
        {
            let mut pins = self.store.pins.lock().unwrap_or_else(PoisonError::into_inner);
            for blob in &self.blobs {
                let Some(readers) = pins.held.get_mut(blob) else { continue };
                *readers -= 1;
                if *readers == 0 {
                    pins.held.remove(blob);
                    if pins.doomed.remove(blob) {
                        gone.push(*blob);
                    }
                }
            }
        }
        self.store.remove_soon(gone);
    }
}

/// A blob that is being written; its file goes with it unless [`Fresh::keep`] was called.
pub struct Fresh {
    blobs: Arc<Blobs>,
    blob: u64,
    file: File,
    length: u64,
    kept: bool,
}

impl Fresh {
    /// Appends. Blocking.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), S3Error> {
        self.blobs.reserve(bytes.len() as u64)?;
        if let Err(source) = self.file.write_all(bytes) {
            // Some of them may have been written: the file tells, when it goes.
            let found = self.file.metadata().map_or(self.length, |found| found.len());
            self.blobs.used.fetch_sub((self.length + bytes.len() as u64).saturating_sub(found), Ordering::Relaxed);
            return Err(disk("write", &self.blobs.path(self.blob), source));
        }
        self.length += bytes.len() as u64;
        #[cfg(test)]
        self.blobs.at(Moment::Written(self.blob));
        Ok(())
    }

    /// Makes the bytes and the name durable. Blocking.
    pub fn sync(&self) -> Result<(), S3Error> {
        let path = self.blobs.path(self.blob);
        self.file.sync_all().map_err(|source| disk("sync", &path, source))?;
        #[cfg(test)]
        self.blobs.at(Moment::Synced(self.blob));
        sync_dir(path.parent().unwrap_or(&self.blobs.root))?;
        #[cfg(test)]
        self.blobs.at(Moment::Named(self.blob));
        Ok(())
    }

    /// All of it.
    pub fn extent(&self) -> Extent {
        Extent { blob: self.blob, offset: 0, length: self.length }
    }

    /// The metadata refers to it now.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if !self.kept {
            self.blobs.remove_soon(vec![self.blob]);
        }
    }
}

/// Makes `dir` with its parents and syncs every directory that got a new entry. Blocking.
pub fn make_dir(dir: &Path) -> Result<(), S3Error> {
    if dir.is_dir() {
        return Ok(());
    }
    let Some(parent) = dir.parent() else { return Ok(()) };
    if !parent.as_os_str().is_empty() {
        make_dir(parent)?;
    }
    match fs::create_dir(dir) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            return Err(disk("make the directory", dir, source));
        }
        _ => {}
    }
    if parent.as_os_str().is_empty() { Ok(()) } else { sync_dir(parent) }
}

fn sync_dir(dir: &Path) -> Result<(), S3Error> {
    File::open(dir).and_then(|handle| handle.sync_all()).map_err(|source| disk("sync the directory", dir, source))
}

/// Every file below `root` with its length in bytes.
fn files_under(root: &Path) -> Result<Vec<(PathBuf, u64)>, S3Error> {
    let mut dirs = vec![root.to_path_buf()];
    let mut files = Vec::new();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).map_err(|source| disk("list", &dir, source))? {
            let entry = entry.map_err(|source| disk("list", &dir, source))?;
            let look = |source| disk("look at", &entry.path(), source);
            if entry.file_type().map_err(look)?.is_dir() {
                dirs.push(entry.path());
            } else {
                files.push((entry.path(), entry.metadata().map_err(look)?.len()));
            }
        }
    }
    Ok(files)
}

pub fn disk(doing: &'static str, path: &Path, source: io::Error) -> S3Error {
    S3Error::Disk { doing, path: path.into(), source }
}
