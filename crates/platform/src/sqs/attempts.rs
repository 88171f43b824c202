//! Which messages a receive of a FIFO queue took, by its `ReceiveRequestAttemptId`.

use std::{collections::HashMap, sync::Arc};

use super::{
    dedup::WINDOW_MS,
    entry::{Change, Entry, Seq},
    queue::{MAX_VISIBILITY_MS, Queue},
};

/// Receives that can be asked for again: each holds at least one message in flight, which bounds them.
#[derive(Debug, Default)]
pub(super) struct Attempts(HashMap<Arc<str>, Vec<Seq>>);

impl Attempts {
    /// A message was taken by this receive.
    pub(super) fn join(&mut self, attempt: &Arc<str>, seq: Seq) {
        self.0.entry(Arc::clone(attempt)).or_default().push(seq);
    }

    /// Its messages in the order they were given, at least one.
    pub(super) fn of(&self, attempt: &str) -> Option<&[Seq]> {
        self.0.get(attempt).map(Vec::as_slice)
    }

    /// Forgets a receive; its messages.
    pub(super) fn end(&mut self, attempt: &str) -> Vec<Seq> {
        self.0.remove(attempt).unwrap_or_default()
    }
}

impl Queue {
    /// The messages of a receive that is asked for again, with the same handles, held for `visibility_ms` from now; none
    /// if it is over or was touched since. Source: SQS API reference, `ReceiveMessage`, its `ReceiveRequestAttemptId`.
    pub(super) fn again(
        &mut self,
        now_ms: u64,
        attempt: &Arc<str>,
        visibility_ms: u64,
        changes: &mut Vec<Change>,
    ) -> Option<Vec<(Seq, Entry)>> {
        let seqs = self.attempts.of(attempt)?.to_vec();
        let is_fresh = |seq: &Seq| {
            let entry = self.entries.get(seq);
            entry.is_some_and(|entry| entry.visible_ms > now_ms && now_ms < entry.last_receive_ms + WINDOW_MS)
        };
        if !seqs.iter().all(is_fresh) {
            self.touch(seqs[0], changes);
            return None;
        }
        for &seq in &seqs {
            let limit_ms = |entry: &Entry| entry.last_receive_ms + MAX_VISIBILITY_MS;
            self.edit(now_ms, seq, changes, |entry| entry.visible_ms = (now_ms + visibility_ms).min(limit_ms(entry)));
        }
        if visibility_ms == 0 {
            self.touch(seqs[0], changes);
        }
        Some(seqs.into_iter().filter_map(|seq| Some((seq, self.entries.get(&seq)?.clone()))).collect())
    }

    /// A message is no longer as its receive left it: that receive cannot be repeated.
    pub(super) fn touch(&mut self, seq: Seq, changes: &mut Vec<Change>) {
        let Some(attempt) = self.entries.get_mut(&seq).and_then(|entry| entry.attempt.take()) else { return };
        for seq in self.attempts.end(&attempt) {
            if let Some(entry) = self.entries.get_mut(&seq) {
                entry.attempt = None;
                changes.push(Change::Message { uid: self.uid, seq, entry: entry.clone() });
            }
        }
    }
}
