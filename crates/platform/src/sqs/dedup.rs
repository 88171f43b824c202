//! What a FIFO queue was sent in the last five minutes, so that the same message is not accepted twice.

use std::collections::{HashMap, VecDeque};

use sha2::{Digest, Sha256};

use super::entry::{Change, DedupKey, Sent};

/// How long a deduplication id is remembered, counted from the first send with it. Source: SQS developer guide,
/// "Exactly-once processing".
pub(super) const WINDOW_MS: u64 = 300_000;

/// The digest that an id is remembered by. `group`: of queues that tell duplicates apart within a group only.
pub(super) fn key(id: &str, group: Option<&str>) -> DedupKey {
    let mut digest = Sha256::new();
    digest.update([u8::from(group.is_some())]);
    // Neither may hold a zero byte, so that no two pairs give the same text.
    digest.update(group.unwrap_or_default());
    digest.update([0]);
    digest.update(id);
    digest.finalize().into()
}

/// The deduplication id of a body: `ContentBasedDeduplication`.
pub(super) fn id_of_body(body: &str) -> String {
    hex::encode(Sha256::digest(body))
}

#[derive(Debug, Default)]
pub(super) struct Window {
    sent: HashMap<DedupKey, Sent>,
    /// By end, but for a clock that was set back.
    ends: VecDeque<(u64, DedupKey)>,
}

impl Window {
    /// The message that this one is a duplicate of.
    pub(super) fn find(&self, now_ms: u64, key: &DedupKey) -> Option<Sent> {
        self.sent.get(key).copied().filter(|sent| sent.until_ms > now_ms)
    }

    pub(super) fn remember(&mut self, key: DedupKey, sent: Sent) {
        self.sent.insert(key, sent);
        self.ends.push_back((sent.until_ms, key));
    }

    pub(super) fn len(&self) -> usize {
        self.sent.len()
    }

    /// Forgets what is over.
    pub(super) fn advance(&mut self, now_ms: u64, uid: u64, changes: &mut Vec<Change>) {
        while let Some(&(until_ms, key)) = self.ends.front()
            && until_ms <= now_ms
        {
            self.ends.pop_front();
            // It may have been sent again since, where the clock was set back.
            if self.sent.get(&key).is_some_and(|sent| sent.until_ms == until_ms) {
                self.sent.remove(&key);
                changes.push(Change::Forgotten { uid, key });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn scopes_are_told_apart() {
        assert_ne!(key("id", None), key("id", Some("")));
        assert_ne!(key("id", Some("a")), key("id", Some("b")));
        assert_eq!(key("id", Some("a")), key("id", Some("a")));
    }

    #[test]
    fn a_clock_set_back_forgets_nothing_early() {
        let (mut window, mut changes) = (Window::default(), Vec::new());
        let sent = |until_ms| Sent { seq: 1, id: Uuid::nil(), until_ms };
        window.remember([1; 32], sent(100));
        window.remember([2; 32], sent(50));
        window.advance(60, 0, &mut changes);
        assert_eq!((window.find(60, &[1; 32]), window.find(60, &[2; 32])), (Some(sent(100)), None));
        window.remember([2; 32], sent(200));
        window.advance(100, 0, &mut changes);
        assert_eq!(window.find(100, &[2; 32]), Some(sent(200)));
        assert_eq!(changes, [Change::Forgotten { uid: 0, key: [1; 32] }]);
    }
}
