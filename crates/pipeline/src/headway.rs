//! What attempts at a task have finished of it, so that the next one need not: pure functions of the plan and of committed
//! records, the same whoever finished them.

use serde::{Deserialize, Serialize};

use crate::{gop::StoredGop, plan::Normalized, quality::Quality, receipt::FileReceipt, result::TrackRecord};

/// Goes with the heartbeats and with whatever ends an attempt: a task that is done at once writes nothing for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headway {
    /// Of a chunk with a quality to reach: the CRF that does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
    /// Of a chunk that is encoded GOP by GOP: those that are stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gops: Vec<StoredGop>,
    /// Of a chunk: renditions whose segments are stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub renditions: Vec<TrackRecord>,
    /// Of the merge: files that are stored, each whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileReceipt>,
    /// Of the split: the remuxed source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<Copied>,
}

/// A copy of the source that is stored whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    pub copy: Normalized,
    /// Its times were made good.
    pub mended: bool,
    /// See [`Remuxed::lent`](crate::encoder::Remuxed::lent).
    #[serde(default)]
    pub lent: bool,
    /// Tracks that it lacks, as in [`SourceReport::other`](crate::source::SourceReport::other).
    #[serde(default)]
    pub left_out: Vec<String>,
    /// The source ends before the film does: why that is known, where it was seen while the copy was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_short: Option<String>,
}

impl Headway {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The GOP with this number.
    pub fn gop(&self, number: u32) -> Option<&StoredGop> {
        self.gops.iter().find(|gop| gop.number == number)
    }

    /// Things that are finished and were not in what was noted before.
    pub fn since(&self, before: &Self) -> usize {
        let one = |is_new: bool| usize::from(is_new);
        self.files.len().saturating_sub(before.files.len())
            + self.renditions.len().saturating_sub(before.renditions.len())
            // Those that had expired as well.
            + self.gops.iter().filter(|gop| !before.gops.contains(gop)).count()
            + one(self.copy != before.copy)
            + one(self.quality != before.quality)
    }

    /// The file under this key, if it is the one that would be made now: `head_sha256` is its index's, which says where
    /// each of its `bytes` comes from.
    pub fn file(&self, key: &str, bytes: u64, head_sha256: &str) -> Option<&FileReceipt> {
        self.files.iter().find(|file| file.key == key && file.bytes == bytes && file.head_sha256 == head_sha256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_index_is_another_file() {
        let file = FileReceipt { key: "k".into(), bytes: 5, sha256: None, head_sha256: "h".into(), copied_bytes: 0 };
        let headway = Headway { files: vec![file.clone()], ..Headway::default() };
        assert_eq!(headway.file("k", 5, "h"), Some(&file));
        for (key, bytes, head) in [("l", 5, "h"), ("k", 6, "h"), ("k", 5, "i")] {
            assert_eq!(headway.file(key, bytes, head), None);
        }
    }
}
