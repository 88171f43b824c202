//! The files that a person names: looked at before anything starts.

use std::{
    collections::BTreeSet,
    fs::File,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use pipeline::key::UPLOADS;
use serde::{Deserialize, Serialize};

use crate::{end::usage, work::WORK};

/// One video file and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Film {
    /// As it was named, for messages.
    pub path: PathBuf,
    pub stamp: Stamp,
    pub key: String,
    /// Name of its results' folder.
    pub folder: String,
}

/// What tells one content of a file from another without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub path: PathBuf,
    pub bytes: u64,
    /// Nanoseconds since 1970.
    pub modified_ns: u64,
}

impl Film {
    /// Its name for the screen.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }
}

/// Looks at every file; all that is wrong is told at once.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<Film>> {
    let mut films: Vec<Film> = Vec::new();
    let mut wrong = Vec::new();
    let (mut keys, mut folders) = (BTreeSet::new(), BTreeSet::new());
    for path in paths {
        match stamp(path) {
            Ok(stamp) if films.iter().any(|film| film.stamp.path == stamp.path) => {
                wrong.push(format!("{}: this file is named twice", path.display()));
            }
            Ok(stamp) => {
                let key = unique(&mut keys, |n| key(path, n));
                let folder = unique(&mut folders, |n| folder(path, n));
                films.push(Film { path: path.clone(), stamp, key, folder });
            }
            Err(error) => wrong.push(error),
        }
    }
    if wrong.is_empty() { Ok(films) } else { Err(usage(wrong.join("\n"))) }
}

fn stamp(path: &Path) -> Result<Stamp, String> {
    let said = |text: &str| format!("{}: {text}", path.display());
    let metadata = std::fs::metadata(path).map_err(|error| said(&in_words(&error)))?;
    if !metadata.is_file() {
        return Err(said("this is no file"));
    }
    File::open(path).map_err(|error| said(&in_words(&error)))?;
    let whole = path.canonicalize().map_err(|error| said(&in_words(&error)))?;
    let modified = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let modified_ns = modified.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    Ok(Stamp { path: whole, bytes: metadata.len(), modified_ns })
}

fn in_words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".into(),
        std::io::ErrorKind::PermissionDenied => "it may not be read".into(),
        _ => format!("it cannot be read: {error}"),
    }
}

/// The first of `make(1)`, `make(2)`, … that is not taken yet.
fn unique(taken: &mut BTreeSet<String>, make: impl Fn(usize) -> String) -> String {
    let free = (1..=taken.len() + 1).map(make).find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(free.clone());
    free
}

/// `uploads/film.mp4`; for a second file of that name `uploads/2/film.mp4`.
pub fn key(path: &Path, number: usize) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if number == 1 { format!("{UPLOADS}{name}") } else { format!("{UPLOADS}{number}/{name}") }
}

/// `film`, `film-2`. Never a folder that means another place.
fn folder(path: &Path, number: usize) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let stem = if stem.trim_matches('.').is_empty() || stem == WORK { "film".to_owned() } else { stem };
    if number == 1 { stem } else { format!("{stem}-{number}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn films_of_one_name_get_keys_and_folders_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let mut paths = Vec::new();
        for name in ["a/my film+1.mp4", "b/my film+1.mp4", "b/my film+1.mov", "c/..mp4"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "x").unwrap();
            paths.push(path);
        }
        let films = read(&paths).unwrap();
        let names: Vec<_> = films.iter().map(|film| (film.key.as_str(), film.folder.as_str())).collect();
        assert_eq!(
            names,
            [
                ("uploads/my film+1.mp4", "my film+1"),
                ("uploads/2/my film+1.mp4", "my film+1-2"),
                ("uploads/my film+1.mov", "my film+1-3"),
                ("uploads/..mp4", "film"),
            ]
        );
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let film = dir.path().join("film.mp4");
        std::fs::write(&film, "x").unwrap();
        let error = read(&[dir.path().join("none.mp4"), dir.path().into(), film.clone(), dir.path().join("./film.mp4")]).unwrap_err();
        let text = error.to_string();
        for part in ["none.mp4: there is no such file", "this is no file", "film.mp4: this file is named twice"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
