//! A source that is watched as it goes by: whether it ends where its own parts say.

use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;

use super::ends::Ends;
use crate::{encoder::ByteStream, fault::Fault};

/// What was seen of an end that was never uploaded.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen(Arc<Mutex<Option<String>>>);

impl Seen {
    pub fn why(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The same stream, of `size` bytes. Where it ends before the film does, it breaks off with `Reject`; where a part is taken for
/// the whole (`is_taken`), it goes on, and that is seen.
pub(super) fn watched(stream: ByteStream, ends: Ends, size: u64, is_taken: bool) -> (ByteStream, Seen) {
    let seen = Seen::default();
    let mut watch = Watch { ends, size, passed: 0, kept: Vec::new() };
    let to = seen.clone();
    let stream = stream.map(move |block| {
        let block = block?;
        match watch.pass(&block) {
            Err(Fault::Reject(why)) if is_taken => *to.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(why),
            end => end?,
        }
        Ok(block)
    });
    (Box::pin(stream), seen)
}

struct Watch {
    ends: Ends,
    size: u64,
    /// Bytes that went by.
    passed: u64,
    /// Those of a head that is not yet whole.
    kept: Vec<u8>,
}

impl Watch {
    fn pass(&mut self, block: &[u8]) -> Result<(), Fault> {
        let from = self.passed;
        self.passed += block.len() as u64;
        let index = |at: u64| usize::try_from(at.saturating_sub(from)).unwrap_or(usize::MAX);
        while let Some(wanted) = self.ends.next(self.size).filter(|wanted| wanted.start < self.passed) {
            let start = index(wanted.start + self.kept.len() as u64);
            self.kept.extend_from_slice(block.get(start..index(wanted.end.min(self.passed))).unwrap_or_default());
            if (self.kept.len() as u64) < wanted.len() {
                break;
            }
            let head = std::mem::take(&mut self.kept);
            self.ends.take(&head, self.size)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::{TryStreamExt, stream};

    use super::*;

    fn boxed(kind: &[u8], body: usize) -> Vec<u8> {
        [&u32::try_from(8 + body).unwrap().to_be_bytes()[..], kind, &vec![9; body]].concat()
    }

    /// What comes through of a film in blocks of so many bytes, and what is seen.
    fn through(film: &[u8], block: usize, is_taken: bool) -> (Result<usize, Fault>, Option<String>) {
        let blocks: Vec<Result<Bytes, Fault>> = film.chunks(block).map(|bytes| Ok(Bytes::copy_from_slice(bytes))).collect();
        let (stream, seen) = watched(Box::pin(stream::iter(blocks)), Ends::of_fragments(), film.len() as u64, is_taken);
        let all: Result<Vec<Bytes>, Fault> = futures::executor::block_on(stream.try_collect());
        (all.map(|blocks| blocks.iter().map(Bytes::len).sum()), seen.why())
    }

    #[test]
    fn half_a_stream_breaks_off_or_is_seen_however_it_is_cut_into_blocks() {
        let fragment = [boxed(b"moof", 50), boxed(b"mdat", 300)].concat();
        let film = [boxed(b"ftyp", 20), boxed(b"moov", 90), fragment.repeat(3)].concat();
        for block in [1, 3, 8, 23, 24, 25, 100, 10_000] {
            assert_eq!(through(&film, block, false), (Ok(film.len()), None), "{block}");
            let half = &film[..film.len() - 100];
            let (through_it, seen) = through(half, block, true);
            assert_eq!(through_it, Ok(half.len()));
            assert!(seen.is_some_and(|why| why.contains("its `mdat` part should end at byte")), "{block}");
            let (through_it, seen) = through(half, block, false);
            assert!(matches!(through_it, Err(Fault::Reject(_))) && seen.is_none(), "{block}: {through_it:?}");
        }
    }
}
