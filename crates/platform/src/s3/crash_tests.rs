//! The store dies at every moment of random work: what is left, opened again, is the state before the step that was
//! under way or the state after it, whole; after it, once that was durable. In the first kind the process dies, in the
//! second the machine: what was not synced is lost, cut short or zeros.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use proptest::prelude::*;
use tempfile::TempDir;

use super::{
    blobs::Moment,
    model_tests::{KEYS, Model, Step, World, files, part_of, steps},
    uploads, *,
};

/// What would be left if all ended at one moment.
struct Left {
    dir: TempDir,
    moment: Moment,
    /// The step that was under way.
    step: usize,
    /// The machine went down, not the process alone.
    power_cut: bool,
}

/// Takes what would be left at each moment.
#[derive(Default)]
struct Watcher {
    step: AtomicUsize,
    left: Mutex<Vec<Left>>,
    /// Blobs whose bytes or names are not durable.
    unsynced: Mutex<HashSet<u64>>,
    /// Bytes of the database's log when it was last synced.
    log_synced: Mutex<u64>,
}

impl Watcher {
    fn look(&self, from: &Path, moment: Moment) {
        let step = self.step.load(Ordering::SeqCst);
        let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        match moment {
            Moment::Created(blob) => drop(unsynced.insert(blob)),
            Moment::Named(blob) => drop(unsynced.remove(&blob)),
            _ => {}
        }
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let killed = copied(from);
        let cut = copied(from);
        for blob in unsynced.iter() {
            spoil(&blob_path(cut.path(), *blob), left.len());
        }
        // A commit goes to the log, then the log is synced: at power cut in between, any of its end may be missing.
        let mut synced = self.log_synced.lock().unwrap_or_else(PoisonError::into_inner);
        let log = fs::metadata(from.join("s3.sqlite-wal")).map_or(0, |log| log.len());
        if moment == Moment::Committed && log > *synced {
            let torn = copied(from);
            let length = *synced + (log - *synced) * (left.len() as u64 % 7) / 7;
            truncate(&torn.path().join("s3.sqlite-wal"), length);
            // As at the moment before: not durable yet.
            left.push(Left { dir: torn, moment: Moment::Changed, step, power_cut: true });
        }
        if moment == Moment::Committed {
            *synced = log;
        }
        left.push(Left { dir: killed, moment, step, power_cut: false });
        left.push(Left { dir: cut, moment, step, power_cut: true });
    }
}

fn blob_path(dir: &Path, blob: u64) -> PathBuf {
    dir.join(format!("blobs/{:06x}/{:02x}/{blob:016x}", blob >> 16, (blob >> 8) & 0xff))
}

fn truncate(path: &Path, length: u64) {
    fs::OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(length)).unwrap();
}

/// Makes of a file one of the things that a power cut makes of what was not synced.
fn spoil(path: &Path, kind: usize) {
    let Ok(bytes) = fs::read(path) else { return };
    match kind % 3 {
        0 => fs::remove_file(path).unwrap(),
        1 => truncate(path, bytes.len() as u64 / 2),
        _ => fs::write(path, vec![0; bytes.len()]).unwrap(),
    }
}

/// A copy of the store's files. One that goes in the meantime was on its way out.
fn copied(from: &Path) -> TempDir {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let target = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &target);
            } else if !target.to_string_lossy().ends_with("-shm") {
                // The index of the log is memory of the dead.
                let _ = fs::copy(entry.path(), target);
            }
        }
    }
    let to = tempfile::tempdir().unwrap();
    copy(from, to.path());
    to
}

/// What a store holds, as a model says it: parts by their `ETag`s.
#[derive(Debug, PartialEq)]
struct State {
    objects: Vec<(&'static str, Vec<u8>)>,
    uploads: Vec<(String, Vec<(i32, String)>)>,
    notices: usize,
}

impl State {
    fn of_model(model: &Model) -> Self {
        let parts = |parts: &super::model_tests::Parts| parts.iter().map(|(number, bytes)| (*number, part_of(1, bytes).etag)).collect();
        let mut uploads: Vec<_> = model.uploads.iter().map(|(id, _, of)| (id.clone(), parts(of))).collect();
        uploads.sort();
        let objects = KEYS.iter().filter_map(|key| Some((*key, model.objects.get(key)?.clone()))).collect();
        Self { objects, uploads, notices: model.notices }
    }

    async fn of_store(world: &World) -> Self {
        let mut objects = Vec::new();
        for key in KEYS {
            objects.extend(world.read(key, None).await.map(|bytes| (key, bytes)));
        }
        let uploads = world.s3.db.read(|conn| {
            let mut found = Vec::new();
            for upload in uploads::list(conn, "b", "", (&[], ""), 100)? {
                let parts = uploads::parts(conn, &upload.id, 0, 100)?;
                found.push((upload.id, parts.into_iter().map(|part| (part.number, part.etag)).collect()));
            }
            found.sort();
            Ok(found)
        });
        let notices = world.s3.due_notices(1000).await.unwrap().len();
        Self { objects, uploads: uploads.await.unwrap(), notices }
    }
}

async fn check(left: Left, states: &[State]) {
    let Left { dir, moment, step, power_cut } = left;
    let s3 = S3::open(dir.path()).unwrap();
    let world = World { model: Model::default(), s3, dir, count: 0 };
    let found = State::of_store(&world).await;
    let what = format!("step {step}, {moment:?}, power cut: {power_cut}");
    // Most steps commit once; a removal may come behind the next step's beginning.
    let allowed = if moment == Moment::Committed { &states[step + 1..=step + 1] } else { &states[step..=step + 1] };
    assert!(allowed.contains(&found), "{what}: {found:?}");
    let referenced =
        world.s3.db.read(|conn| Ok(conn.query_row("SELECT count(DISTINCT blob) FROM extents", [], |row| row.get::<_, usize>(0))?));
    assert_eq!(files(&world.dir.path().join("blobs")), referenced.await.unwrap(), "{what}: files without use");
}

async fn run(steps: Vec<Step>) -> usize {
    let mut world = World::new().await;
    let watcher = Arc::new(Watcher::default());
    let (dir, watching) = (world.dir.path().to_owned(), watcher.clone());
    *watcher.log_synced.lock().unwrap() = fs::metadata(dir.join("s3.sqlite-wal")).map_or(0, |log| log.len());
    *world.s3.blobs.watch.lock().unwrap() = Some(Arc::new(move |moment| watching.look(&dir, moment)));
    let mut states = vec![State::of_model(&world.model)];
    for step in steps {
        world.step(step).await;
        states.push(State::of_model(&world.model));
        watcher.step.fetch_add(1, Ordering::SeqCst);
    }
    // What is behind the last step belongs to it.
    states.push(State::of_model(&world.model));
    *world.s3.blobs.watch.lock().unwrap() = None;
    let left = std::mem::take(&mut *watcher.left.lock().unwrap());
    let count = left.len();
    for left in left {
        check(left, &states).await;
    }
    count
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, max_shrink_iters: 30, ..ProptestConfig::default() })]

    #[test]
    fn at_every_moment_a_crash_leaves_the_state_before_or_after(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // The other test reopens the store; here the watcher stays with it.
        let stays = |step: &Step| !matches!(step, Step::Reopen | Step::Crash { .. } | Step::Read { .. });
        runtime.block_on(run(steps.into_iter().filter(stays).take(10).collect()));
    }
}

#[test]
fn a_few_steps_have_many_moments() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let steps = vec![
        Step::Put { key: 0, length: 2000 },
        Step::Begin { key: 1 },
        Step::Part { upload: 0, number: 1, length: 900 },
        Step::PartCopy { upload: 0, number: 2, from: 0, a: 5, b: 700 },
        Step::Complete { upload: 0 },
        Step::Put { key: 0, length: 10 },
        Step::Delete { key: 1 },
    ];
    assert!(runtime.block_on(run(steps)) >= 50);
}
