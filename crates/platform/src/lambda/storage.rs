//! Measures the own directories of busy environments, once a second, and ends those that hold more than their
//! `EphemeralStorage`.
//!
//! It is a watch, not a wall: without root there is no quota for a directory. A function may for a moment write more
//! than it has, and then ends, where on AWS the write itself would fail. What a sparse file does not hold does not count.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Lambda, environment::Event};

const EVERY: Duration = Duration::from_secs(1);
/// Files and directories looked at in one environment; with more, those looked at are all that counts.
const MOST: usize = 200_000;
/// Bytes of a block as `stat` counts them.
const BLOCK: u64 = 512;

pub async fn watch(lambda: Arc<Lambda>) {
    let mut stopping = lambda.stopping();
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        for handle in lambda.pool.all() {
            if !handle.gauge.busy.load(Ordering::Relaxed) {
                continue;
            }
            let (tmp, most) = (lambda.tmp_dir(handle.id), lambda.storage_of(handle.function));
            let held = tokio::task::spawn_blocking(move || held(tmp)).await.unwrap_or_default();
            if held > most {
                let _ = handle.events.try_send(Event::OutOfStorage(held));
            }
        }
    }
}

/// Bytes on disk of all files under `directory`; what disappears meanwhile counts nothing.
fn held(directory: PathBuf) -> u64 {
    let (mut bytes, mut left, mut looked) = (0, vec![directory], 0);
    while let Some(directory) = left.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            looked += 1;
            if looked > MOST {
                return bytes;
            }
            let Ok(metadata) = entry.metadata() else { continue };
            bytes += on_disk(&metadata);
            if metadata.is_dir() {
                left.push(entry.path());
            }
        }
    }
    bytes
}

/// A file with several names counts once in all, if all its names are here.
fn on_disk(metadata: &fs::Metadata) -> u64 {
    metadata.blocks().saturating_mul(BLOCK) / metadata.nlink().max(1)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_is_on_disk_counts_and_holes_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let inner: &Path = &dir.path().join("a/b");
        fs::create_dir_all(inner).unwrap();
        fs::write(inner.join("full"), vec![1; 3 << 20]).unwrap();
        fs::hard_link(inner.join("full"), inner.join("again")).unwrap();
        fs::File::create(inner.join("sparse")).unwrap().set_len(1 << 40).unwrap();
        std::os::unix::fs::symlink("/", inner.join("root")).unwrap();
        let held = held(dir.path().to_owned());
        assert!((3 << 20..4 << 20).contains(&held), "{held}");
    }
}
