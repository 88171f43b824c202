//! Room on the disk: what the platform takes, what is left, and when writes are refused so that the disk never fills up.
//!
//! Looked at once a second. Writes that come while there is no room are refused with an error that says so; what is
//! stored already stays readable, and deletes go on. The file systems' own end, a full disk, is survived as well: each store
//! then fails the write that met it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{data_dir::DATABASES, s3::S3};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Files of one service that are counted, beside blobs.
const MAX_FILES: usize = 10_000;

/// How much of the disk the platform may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskBounds {
    /// Bytes that stay free on the data directory's disk.
    pub min_free: u64,
    /// Bytes that the data directory may hold; none: as many as leave `min_free`.
    pub max_data: Option<u64>,
}

impl Default for DiskBounds {
    fn default() -> Self {
        Self { min_free: 1 << 30, max_data: None }
    }
}

/// What a look found, bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    services: BTreeMap<&'static str, u64>,
    free: u64,
}

impl Found {
    fn used(&self) -> u64 {
        self.services.values().sum()
    }

    /// Bytes that may still be written.
    fn left(&self, bounds: DiskBounds) -> u64 {
        let free = self.free.saturating_sub(bounds.min_free);
        bounds.max_data.map_or(free, |most| free.min(most.saturating_sub(self.used())))
    }
}

/// The watch over the data directory's disk.
pub(crate) struct Room {
    data_dir: PathBuf,
    bounds: DiskBounds,
    s3: Arc<S3>,
    found: Mutex<Found>,
}

impl Room {
    /// Looks once.
    pub(crate) async fn new(data_dir: &Path, bounds: DiskBounds, s3: Arc<S3>) -> Arc<Self> {
        let room = Arc::new(Self { data_dir: data_dir.to_owned(), bounds, s3, found: Mutex::default() });
        room.look().await;
        room
    }

    /// Looks again and again. Runs until dropped.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let before = self.left();
            self.look().await;
            match (before, self.left()) {
                (1.., 0) => tracing::error!(reason = self.refusal(), "writes are refused from now on"),
                (0, 1..) => tracing::info!("there is room again; writes are taken"),
                _ => {}
            }
        }
    }

    async fn look(&self) {
        let blobs = self.s3.usage().await.disk_bytes;
        let (data_dir, before) = (self.data_dir.clone(), self.now());
        let found = tokio::task::spawn_blocking(move || count(&data_dir, blobs, before.free)).await.unwrap_or_default();
        // Bodies on their way in are bounded between looks as well.
        self.s3.set_quota(Some(blobs.saturating_add(found.left(self.bounds))));
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    fn now(&self) -> Found {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn left(&self) -> u64 {
        self.now().left(self.bounds)
    }

    /// Why nothing can be written now, and what to do; none: there is room.
    pub(crate) fn refusal(&self) -> Option<String> {
        let found = self.now();
        if found.left(self.bounds) > 0 {
            return None;
        }
        let (dir, used, free) = (self.data_dir.display(), found.used(), found.free);
        Some(match self.bounds.max_data {
            Some(most) if used >= most => {
                format!("there is no room: {dir} holds {used} bytes of the {most} that it may; delete something, or raise the bound")
            }
            _ => {
                let least = self.bounds.min_free;
                format!("there is no room: the disk of {dir} has {free} bytes free, and {least} stay free; delete something")
            }
        })
    }

    /// For the health page, bytes.
    pub(crate) fn page(&self) -> Value {
        let found = self.now();
        json!({
            "data_dir": self.data_dir,
            "used_bytes": found.used(),
            "services": found.services,
            "free_bytes": found.free,
            "min_free_bytes": self.bounds.min_free,
            "max_bytes": self.bounds.max_data,
            "full": found.left(self.bounds) == 0,
        })
    }
}

/// What the services' directories hold. `blobs` are the bytes of S3's, which may be millions of files. A disk that cannot
/// be looked at is as free as it was before.
fn count(data_dir: &Path, blobs: u64, free_before: u64) -> Found {
    let free = match rustix::fs::statvfs(data_dir) {
        Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
        Err(error) => {
            tracing::warn!(%error, "the disk of the data directory cannot be looked at");
            free_before
        }
    };
    let services = DATABASES.iter().map(|(service, _)| {
        let files = bytes_of(&data_dir.join(service));
        (*service, if *service == "s3" { files + blobs } else { files })
    });
    Found { services: services.collect(), free }
}

/// Bytes of the files below a directory, but for S3's blobs.
fn bytes_of(dir: &Path) -> u64 {
    let mut dirs = vec![dir.to_owned()];
    let (mut bytes, mut files) = (0, 0);
    while let Some(dir) = dirs.pop() {
        // What is gone by now takes no room.
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            files += 1;
            let Ok(found) = entry.metadata() else { continue };
            if files > MAX_FILES {
                return bytes;
            }
            if found.is_file() {
                bytes += found.len();
            } else if found.is_dir() && entry.file_name() != "blobs" {
                dirs.push(entry.path());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_ends_where_the_bounds_say() {
        let dir = tempfile::tempdir().unwrap();
        let s3 = S3::open(&dir.path().join("s3")).unwrap();
        fs::create_dir(dir.path().join("sqs")).unwrap();
        fs::write(dir.path().join("sqs/sqs.sqlite3"), vec![0; 5000]).unwrap();
        let room =
            async |min_free: u64, max_data: Option<u64>| Room::new(dir.path(), DiskBounds { min_free, max_data }, Arc::clone(&s3)).await;
        let roomy = room(0, None).await;
        assert_eq!(roomy.refusal(), None);
        assert_eq!((&roomy.page()["services"]["sqs"], &roomy.page()["full"]), (&json!(5000), &json!(false)));
        let disk = room(u64::MAX, None).await.refusal().unwrap();
        assert!(disk.contains("stay free") && disk.contains(&dir.path().display().to_string()), "{disk}");
        let used = roomy.now().used();
        assert_eq!(room(0, Some(used + 1)).await.refusal(), None);
        let data = room(0, Some(used)).await.refusal().unwrap();
        assert!(data.contains(&format!("holds {used} bytes of the {used}")), "{data}");
    }

    proptest::proptest! {
        #[test]
        fn what_is_left_keeps_both_bounds(used in 0..u64::MAX / 2, free in 0..u64::MAX / 2, min_free in 0..u64::MAX, most in proptest::option::of(0..u64::MAX)) {
            let found = Found { services: BTreeMap::from([("s3", used)]), free };
            let left = found.left(DiskBounds { min_free, max_data: most });
            proptest::prop_assert!(left == 0 || free - left >= min_free);
            proptest::prop_assert!(left == 0 || most.is_none_or(|most| used + left <= most));
        }
    }
}
