//! What stands for `/opt`: a function's layers, put together as AWS unpacks them, each over the ones before.
//!
//! Without root nothing can be mounted at `/opt` itself; a function finds its layers by `OPT_DIR`, `PATH` and
//! `LD_LIBRARY_PATH`. Nothing is copied: one layer is its own directory, several are a tree of links to their files.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// Directories deep.
const MAX_DEPTH: usize = 64;

/// The directory of a function's layers; made anew at `path` if there are several. `None` without layers.
pub fn opt(layers: &[PathBuf], path: &Path) -> io::Result<Option<PathBuf>> {
    match layers {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        several => {
            match fs::remove_dir_all(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => fs::create_dir_all(path)?,
            }
            for layer in several {
                link(layer, path, 0)?;
            }
            Ok(Some(path.to_owned()))
        }
    }
}

fn link(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other(format!("{} has directories more than {MAX_DEPTH} deep", from.display())));
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        let there = fs::symlink_metadata(&place).ok().map(|there| there.is_dir());
        if entry.file_type()?.is_dir() {
            if there == Some(false) {
                fs::remove_file(&place)?;
            }
            if there != Some(true) {
                fs::create_dir(&place)?;
            }
            link(&entry.path(), &place, depth + 1)?;
        } else {
            match there {
                Some(true) => fs::remove_dir_all(&place)?,
                Some(false) => fs::remove_file(&place)?,
                None => {}
            }
            symlink(std::path::absolute(entry.path())?, &place)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_layers_lie_over_earlier_ones() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, path.display().to_string()).unwrap();
        };
        for path in ["a/bin/one", "a/bin/both", "a/lib/deep/x", "a/odd", "b/bin/both", "b/bin/two", "b/odd/file"] {
            write(path);
        }
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        assert_eq!(opt(&[], &dir.path().join("o")).unwrap(), None);
        assert_eq!(opt(std::slice::from_ref(&a), &dir.path().join("o")).unwrap(), Some(a.clone()));
        // Made anew at every start.
        for _ in 0..2 {
            let both = opt(&[a.clone(), b.clone()], &dir.path().join("o")).unwrap().unwrap();
            for (file, of) in [("bin/one", "a"), ("bin/both", "b"), ("bin/two", "b"), ("lib/deep/x", "a"), ("odd/file", "b")] {
                assert_eq!(fs::read_to_string(both.join(file)).unwrap(), dir.path().join(of).join(file).display().to_string());
            }
        }
        assert_eq!(fs::read_dir(a.join("bin")).unwrap().count(), 2, "the layers are as they were");
    }
}
