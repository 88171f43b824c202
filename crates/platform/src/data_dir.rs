//! The data directory: one process on it at a time, and only one that understands what is in it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// First line of the marker file, with the version after it.
const MARKER: &str = "platform data, version ";
/// Version of what this program writes.
const VERSION: u32 = 1;
const MARKER_FILE: &str = "VERSION";
const LOCK_FILE: &str = "lock";
/// What is being written, before it gets its name.
const NEW_FILE: &str = "lock.new";
/// How long a lock that somebody holds is asked for again, and between two tries.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// Names the databases that a platform has kept here, one a line: a later start expects them.
const CONTENTS_FILE: &str = "CONTENTS";
/// Longest list of databases read, bytes.
const MAX_CONTENTS: u64 = 64 << 10;
/// Entries of a service's directory that are looked through for remains of a lost database.
const MAX_LOOK: usize = 10_000;

/// A service's directory in the data directory, and the database in it.
pub(crate) const DATABASES: [(&str, &str); 5] =
    [("s3", "s3.sqlite"), ("sqs", "sqs.sqlite3"), ("dynamodb", "dynamodb.sqlite3"), ("logs", "logs.db"), ("lambda", "lambda.db")];
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
    #[error(
        "{file} is missing or empty, and the data directory had it before: put it back, or, to begin again without what it held, remove {remains}",
        file = file.display(),
        remains = remains.display()
    )]
    Lost { file: PathBuf, remains: PathBuf },
    #[error("the data directory {} cannot be used: {source}; {}", path.display(), advice(source))]
    Io { path: PathBuf, source: io::Error },
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "give this user the right to write there, or choose another directory",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on its disk, or choose a directory on another",
        io::ErrorKind::ReadOnlyFilesystem => "its file system is read-only; choose a directory elsewhere",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => "a file is in the way; choose another directory",
        _ => "choose another directory",
    }
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
        match patient_lock(&lock) {
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
            replace(path, MARKER_FILE, &format!("{MARKER}{VERSION}\n")).map_err(at)?;
        }
        let data_dir = Self { _lock: lock, path: path.clone() };
        data_dir.complete()?;
        Ok(data_dir)
    }

    /// Whether all databases that were here before still are: a service would make a lost one anew, empty, and clear up
    /// what only the lost one referred to.
    fn complete(&self) -> Result<(), DataDirError> {
        let contents_file = self.path.join(CONTENTS_FILE);
        let listed = match File::open(&contents_file) {
            Ok(file) => {
                let mut text = String::new();
                file.take(MAX_CONTENTS).read_to_string(&mut text).map_err(|source| self.io(source))?;
                text
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(self.io(error)),
        };
        for (service, database) in DATABASES {
            let (dir, file) = (self.path.join(service), self.path.join(service).join(database));
            if fs::metadata(&file).is_ok_and(|found| found.len() > 0) {
                continue;
            }
            if listed.lines().any(|line| line == format!("{service}/{database}")) {
                return Err(DataDirError::Lost { file, remains: contents_file });
            }
            if has_files(&dir, database).map_err(|source| self.io(source))? {
                return Err(DataDirError::Lost { file, remains: dir });
            }
        }
        Ok(())
    }

    /// Notes that every service has made its database: from now on one that is missing is an error.
    pub fn note_contents(&self) -> Result<(), DataDirError> {
        let lines: Vec<String> = DATABASES.iter().map(|(service, database)| format!("{service}/{database}")).collect();
        let text = lines.join("\n") + "\n";
        let there = fs::read(self.path.join(CONTENTS_FILE)).is_ok_and(|found| found == text.as_bytes());
        if there { Ok(()) } else { replace(&self.path, CONTENTS_FILE, &text).map_err(|source| self.io(source)) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn io(&self, source: io::Error) -> DataDirError {
        DataDirError::Io { path: self.path.clone(), source }
    }

    /// A service's own directory in it, made if need be.
    pub fn service(&self, name: &str) -> Result<PathBuf, DataDirError> {
        let path = self.path.join(name);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|source| DataDirError::Io { path: path.clone(), source })?;
        Ok(path)
    }
}

/// Takes the lock. A child that is just being started still holds what its parent has let go, until it runs its program.
fn patient_lock(lock: &File) -> Result<(), TryLockError> {
    let begun = Instant::now();
    loop {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_PATIENCE => std::thread::sleep(LOCK_PAUSE),
            taken => return taken,
        }
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
                let name = entry.map_err(at)?.file_name();
                // A start that was killed leaves the lock, and a marker that is not in its place yet.
                if name != LOCK_FILE && name != NEW_FILE && name != "lock.marker" {
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

/// Whether a directory that may not exist has files below it, beside a database and its journals.
fn has_files(dir: &Path, database: &str) -> io::Result<bool> {
    let mut dirs = vec![dir.to_owned()];
    let mut seen = 0;
    while let Some(dir) = dirs.pop() {
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            seen += 1;
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
            } else if seen > MAX_LOOK || !entry.file_name().to_string_lossy().starts_with(database) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Writes a file of the directory whole or not at all.
fn replace(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    let new = dir.join(NEW_FILE);
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, dir.join(name))?;
    File::open(dir)?.sync_all()
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
    fn a_database_that_was_there_is_missed() {
        let dir = tempfile::tempdir().unwrap();
        let fill = || {
            let data_dir = DataDir::open(dir.path()).unwrap();
            for (service, database) in DATABASES {
                let file = data_dir.service(service).unwrap().join(database);
                fs::write(&file, "rows").unwrap();
            }
            data_dir
        };
        fill().note_contents().unwrap();
        for (service, database) in DATABASES {
            let damaged = dir.path().join(service).join(database);
            for break_it in [|file: &Path| fs::remove_file(file), |file: &Path| fs::write(file, "")] {
                break_it(&damaged).unwrap();
                let error = DataDir::open(dir.path()).unwrap_err().to_string();
                assert!(error.contains(database) && error.contains(CONTENTS_FILE), "{error}");
                fs::write(&damaged, "rows").unwrap();
                DataDir::open(dir.path()).unwrap();
            }
        }
        // The way out that the error names.
        fs::remove_file(dir.path().join("sqs/sqs.sqlite3")).unwrap();
        fs::remove_file(dir.path().join(CONTENTS_FILE)).unwrap();
        DataDir::open(dir.path()).unwrap();
    }

    #[test]
    fn remains_of_a_lost_database_are_not_taken_for_a_new_beginning() {
        let dir = tempfile::tempdir().unwrap();
        drop(DataDir::open(dir.path()).unwrap());
        // As after a kill during the first start: no file beside the database.
        fs::create_dir_all(dir.path().join("s3/blobs")).unwrap();
        fs::write(dir.path().join("s3/s3.sqlite"), "").unwrap();
        fs::write(dir.path().join("s3/s3.sqlite-journal"), "").unwrap();
        drop(DataDir::open(dir.path()).unwrap());
        fs::create_dir_all(dir.path().join("s3/blobs/000000/00")).unwrap();
        fs::write(dir.path().join("s3/blobs/000000/00/0000000000000001"), "bytes").unwrap();
        let error = DataDir::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("s3.sqlite is missing or empty"), "{error}");
        assert!(dir.path().join("s3/blobs/000000/00/0000000000000001").exists());
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
