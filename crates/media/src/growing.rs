//! A file that is passed on while ffmpeg writes it, so that it may be larger than the disk. ffmpeg writes it from front to end
//! and comes back to the beginning alone: for what it knows late (its size, how long it is, where its index lies).

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{SinkExt, StreamExt, channel::mpsc};
use pipeline::{
    Fault, Shortage,
    encoder::ByteStream,
    ports::{Block, MAX_FRONT},
    stage::ebml,
};
use rustix::fs::{FallocateFlags, fallocate};

use crate::{chunk::blocking, dir::io_fault};

/// Bytes that are passed on at once.
const BLOCK: u64 = 1 << 20;
/// Bytes that may wait on the disk: while there are more, ffmpeg is given nothing to read.
pub const BACKLOG: u64 = 128 << 20;
/// Bytes that are passed on before their place is given back.
const STEP: u64 = 32 << 20;
/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How far a file was passed on.
#[derive(Debug)]
pub struct Growing {
    path: PathBuf,
    /// Bytes that the whole may have to be kept.
    hold: u64,
    passed: AtomicU64,
    /// Up to here nothing lies on the disk any more, but for the front.
    freed: AtomicU64,
}

impl Growing {
    pub fn new(path: PathBuf, hold: u64) -> Arc<Self> {
        Arc::new(Self { path, hold, passed: AtomicU64::new(0), freed: AtomicU64::new(MAX_FRONT) })
    }

    /// It is small enough to be kept: all of it lies on the disk.
    pub fn is_whole(&self) -> bool {
        self.bytes() <= self.hold && self.freed.load(Relaxed) == MAX_FRONT
    }

    pub fn bytes(&self) -> u64 {
        self.passed.load(Relaxed)
    }

    /// A source that waits while much of what was made of it does.
    pub fn paced(self: &Arc<Self>, source: ByteStream) -> ByteStream {
        let own = Arc::clone(self);
        Box::pin(source.then(move |block| {
            let own = Arc::clone(&own);
            async move {
                while own.written().saturating_sub(own.bytes()) > BACKLOG {
                    tokio::time::sleep(LOOK).await;
                }
                block
            }
        }))
    }

    /// Passes on what `run` writes. Its front goes last, when `run` has ended well.
    pub async fn follow<E: From<Fault>>(&self, run: impl Future<Output = Result<(), E>>, mut blocks: mpsc::Sender<Block>) -> Result<(), E> {
        let ended = AtomicBool::new(false);
        let run = async {
            run.await?;
            ended.store(true, Relaxed);
            Ok::<(), E>(())
        };
        let pass_on = async { Ok(self.pass_on(&ended, &mut blocks).await?) };
        futures::try_join!(run, pass_on)?;
        let front = self.read(0, MAX_FRONT.min(self.bytes())).await?;
        if self.bytes() > MAX_FRONT && !ebml::holds_head(&front) {
            return Err(Fault::reject(format!(
                "what the file says of its tracks takes more than {} MiB, which is more than is accepted",
                MAX_FRONT >> 20
            ))
            .into());
        }
        Ok(send(&mut blocks, Block::Front(front)).await?)
    }

    async fn pass_on(&self, ended: &AtomicBool, blocks: &mut mpsc::Sender<Block>) -> Result<(), Fault> {
        loop {
            // Asked before it is looked: what was written at the very end is seen.
            let is_last = ended.load(Relaxed);
            loop {
                let (at, waiting) = (self.bytes(), self.written().saturating_sub(self.bytes()));
                if waiting == 0 || (waiting < BLOCK && !is_last) {
                    break;
                }
                let block = self.read(at, waiting.min(BLOCK)).await?;
                let passed = at + block.len() as u64;
                send(blocks, Block::Next(block)).await?;
                self.passed.store(passed, Relaxed);
                self.give_back().await?;
            }
            if is_last {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn written(&self) -> u64 {
        // It is not there before its first byte is.
        std::fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    async fn read(&self, at: u64, length: u64) -> Result<Bytes, Fault> {
        let path = self.path.clone();
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        blocking(move || {
            let read = |path: &Path| {
                let mut block = vec![0; length];
                File::open(path)?.read_exact_at(&mut block, at).map(|()| block.into())
            };
            read(&path).map_err(|error| io_fault("read", &path, &error))
        })
        .await
    }

    /// Frees the place of what was passed on, where the file is too large to be kept.
    async fn give_back(&self) -> Result<(), Fault> {
        let (from, to) = (self.freed.load(Relaxed), self.bytes() / STEP * STEP);
        if to <= from || self.written() <= self.hold {
            return Ok(());
        }
        let path = self.path.clone();
        blocking(move || {
            let punch = |path: &Path| {
                let file = File::options().write(true).open(path)?;
                let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                Ok(fallocate(&file, hole, from, to - from)?)
            };
            punch(&path).map_err(|error: std::io::Error| match error.kind() {
                std::io::ErrorKind::Unsupported => Fault::escalate(
                    Shortage::Disk,
                    format!("the file system of {} takes no holes, so that a film must fit on it: use ext4, XFS or tmpfs", path.display()),
                ),
                _ => io_fault("give back the place of", &path, &error),
            })
        })
        .await?;
        self.freed.store(to, Relaxed);
        Ok(())
    }
}

async fn send(blocks: &mut mpsc::Sender<Block>, block: Block) -> Result<(), Fault> {
    blocks.send(block).await.map_err(|_| Fault::retry("nobody takes the remuxed copy any more"))
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::fs::MetadataExt};

    use super::*;

    /// The head of a live file, and a Cluster that goes on.
    const HEAD: [u8; 17] = [0x1A, 0x45, 0xDF, 0xA3, 0x80, 0x18, 0x53, 0x80, 0x67, 0xFF, 0x1F, 0x43, 0xB6, 0x75, 0xFF, 0, 0];

    /// What came of a file, whose last block is its front, and the most that lay on the disk meanwhile.
    struct Seen {
        ended: Result<(), Fault>,
        come: Vec<u8>,
        has_front: bool,
        most_on_disk: u64,
        growing: Arc<Growing>,
    }

    /// A writer that makes `mib` of what it reads, and at its end goes back for the head.
    async fn pass(mib: usize, hold: u64, head: &[u8], then: Result<(), Fault>) -> Seen {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("copy");
        let growing = Growing::new(path.clone(), hold);
        let mut source = growing.paced(Box::pin(futures::stream::iter((0..mib).map(|n| Ok(mebibyte(n))))));
        let run = async {
            let mut file = File::create(&path).unwrap();
            while let Some(block) = source.next().await {
                file.write_all(&block?).unwrap();
            }
            file.write_all_at(head, 0).unwrap();
            then
        };
        let (sender, mut blocks) = mpsc::channel(0);
        let take = async {
            let (mut come, mut has_front, mut most_on_disk) = (Vec::new(), false, 0);
            while let Some(block) = blocks.next().await {
                match block {
                    Block::Next(bytes) => come.extend_from_slice(&bytes),
                    Block::Front(bytes) => {
                        come[..bytes.len()].copy_from_slice(&bytes);
                        has_front = true;
                    }
                }
                most_on_disk = std::fs::metadata(&path).unwrap().blocks().saturating_mul(512).max(most_on_disk);
            }
            (come, has_front, most_on_disk)
        };
        let (ended, (come, has_front, most_on_disk)) = futures::join!(growing.follow(run, sender), take);
        Seen { ended, come, has_front, most_on_disk, growing }
    }

    fn mebibyte(number: usize) -> Bytes {
        vec![u8::try_from(number % 251).unwrap(); 1 << 20].into()
    }

    fn whole(mib: usize) -> Vec<u8> {
        let mut whole = (0..mib).map(mebibyte).collect::<Vec<_>>().concat();
        whole[..HEAD.len()].copy_from_slice(&HEAD);
        whole
    }

    #[tokio::test]
    async fn a_file_larger_than_its_place_goes_through_whole() {
        let mib = 240;
        let seen = pass(mib, 0, &HEAD, Ok(())).await;
        assert_eq!((seen.ended, seen.has_front, seen.growing.is_whole()), (Ok(()), true, false));
        assert!(seen.come == whole(mib), "other bytes came than were written");
        let most = BACKLOG + STEP + MAX_FRONT + 2 * BLOCK;
        assert!(seen.most_on_disk <= most, "{} bytes lay on the disk, {most} are the most", seen.most_on_disk);
    }

    #[tokio::test]
    async fn a_small_one_stays() {
        for mib in [1, 5, 60] {
            let seen = pass(mib, (mib as u64) << 20, &HEAD, Ok(())).await;
            assert_eq!((seen.ended, seen.has_front, seen.growing.is_whole()), (Ok(()), true, true));
            assert!(seen.come == whole(mib) && seen.most_on_disk >= (mib as u64) << 20, "{mib}");
        }
        assert!(!pass(5, (5 << 20) - 1, &HEAD, Ok(())).await.growing.is_whole());
    }

    /// Nothing is stored of what has no front.
    #[tokio::test]
    async fn what_failed_has_no_front_and_what_has_too_long_a_head_neither() {
        let failed = pass(5, 0, &HEAD, Err(Fault::reject("no"))).await;
        assert_eq!((failed.ended, failed.has_front), (Err(Fault::reject("no")), false));
        let endless = pass(5, 0, &HEAD[..10], Ok(())).await;
        assert!(matches!(&endless.ended, Err(Fault::Reject(why)) if why.contains("4 MiB")), "{:?}", endless.ended);
        assert!(!endless.has_front);
        assert_eq!(pass(3, 0, &HEAD[..10], Ok(())).await.ended, Ok(()), "a file without any media is for the probe to judge");
    }
}
