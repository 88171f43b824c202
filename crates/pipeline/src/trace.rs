//! One trace per job, across queues. Pure: every id is made of what the ledger has, so that a retry, a message that was lost
//! and sent again, and the sweep join the trace that there is. Ids as W3C "Trace Context" has them.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    id::{JobId, TaskId},
    message::TaskMessage,
};

/// What a span is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpanId([u8; 8]);

/// The trace of a job: 32 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// The first bytes of a hash, never all zero: that is no id.
fn bytes<const N: usize>(text: &str) -> [u8; N] {
    let hash = Sha256::digest(text.as_bytes());
    let mut id: [u8; N] = std::array::from_fn(|at| hash.get(at).copied().unwrap_or(0));
    if id.iter().all(|byte| *byte == 0) {
        id = [1; N];
    }
    id
}

impl TraceId {
    pub fn of(job: &JobId) -> Self {
        Self(bytes(&format!("trace {job}")))
    }
}

impl SpanId {
    /// The job, from its first record to its end: the root.
    pub fn of_job(job: &JobId) -> Self {
        Self(bytes(&format!("span {job}")))
    }

    /// One attempt, by its fencing number.
    pub fn of_attempt(job: &JobId, task: TaskId, fence: u64) -> Self {
        Self(bytes(&format!("span {job} {task} {fence}")))
    }
}

/// Name of a message's attribute with the context of its sender.
pub const PARENT: &str = "traceparent";

/// Context of a message's sender, as W3C "Trace Context" writes it (version 0, sampled); `None`: no attempt sent it.
pub fn parent(message: &TaskMessage) -> Option<String> {
    message.sender.map(|sender| format!("00-{}-{sender}-01", TraceId::of(&message.job)))
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl From<SpanId> for String {
    fn from(id: SpanId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for SpanId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no span id: 16 hex digits");
        let id: [u8; 8] = ::hex::decode(&text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(wrong)?;
        Ok(Self(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_its_sender_as_other_programs_read_it() {
        let job: JobId = "0123456789abcdef01234567".parse().unwrap();
        let sender = SpanId::of_attempt(&job, TaskId::Split, 1);
        let message = TaskMessage::new(&job, TaskId::Chunk(3), 0);
        assert_eq!(parent(&message), None);
        let parts = parent(&message.sent_by(Some(sender))).unwrap();
        assert_eq!(parts.split('-').collect::<Vec<_>>(), ["00", &TraceId::of(&job).to_string(), &sender.to_string(), "01"]);
    }

    #[test]
    fn ids_are_of_what_they_name_and_of_nothing_else() {
        let [a, b]: [JobId; 2] = ["0123456789abcdef01234567", "1123456789abcdef01234567"].map(|id| id.parse().unwrap());
        assert_ne!(TraceId::of(&a), TraceId::of(&b));
        assert_eq!(TraceId::of(&a).to_string().len(), 32);
        let attempts = [(TaskId::Chunk(1), 1), (TaskId::Chunk(1), 2), (TaskId::Chunk(11), 1), (TaskId::Merge, 1)];
        let mut spans: Vec<SpanId> = attempts.iter().map(|(task, fence)| SpanId::of_attempt(&a, *task, *fence)).collect();
        spans.push(SpanId::of_job(&a));
        spans.push(SpanId::of_attempt(&b, TaskId::Merge, 1));
        spans.sort_unstable();
        spans.dedup();
        assert_eq!(spans.len(), 6);
        let text = serde_json::to_string(&spans[0]).unwrap();
        assert_eq!(serde_json::from_str::<SpanId>(&text).unwrap(), spans[0]);
        assert!(serde_json::from_str::<SpanId>("\"12\"").is_err() && serde_json::from_str::<SpanId>("\"xx34567890123456\"").is_err());
    }
}
