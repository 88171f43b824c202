//! Which messages a receive of a FIFO queue took, by its `ReceiveRequestAttemptId`.

use std::{collections::HashMap, sync::Arc};

use super::entry::Seq;

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
