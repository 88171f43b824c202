//! Names of jobs and tasks.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::key::ObjectKey;

/// 24 lower-case hex digits, made from what identifies the source, the profile and the generation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(String);

impl JobId {
    /// The same upload gives the same id, whichever way its event was written and however often it comes (P5).
    pub fn of(source: &SourceRef, profile: &str, generation: u32) -> Self {
        let pin = match &source.version {
            Some(version) => format!("v:{version}"),
            None => format!("e:{}:{}", source.etag, source.size),
        };
        let mut hash = Sha256::new();
        for part in [source.bucket.as_str(), source.key.as_str(), &pin, profile, &generation.to_string()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let mut id = hex::encode(hash.finalize());
        id.truncate(24);
        Self(id)
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for JobId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text.len() == 24 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            Ok(Self(text))
        } else {
            Err(format!("`{text}` is no job id: 24 hex digits"))
        }
    }
}
impl FromStr for JobId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::try_from(text.to_owned())
    }
}
impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0
    }
}
impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One uploaded object, pinned: every read carries the version or the `ETag`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRef {
    pub bucket: String,
    pub key: ObjectKey,
    /// Absent where the bucket has no versions; empty and `null` count as absent.
    pub version: Option<String>,
    /// Without quotes.
    pub etag: String,
    /// Bytes.
    pub size: u64,
}

impl SourceRef {
    pub fn new(bucket: impl Into<String>, key: ObjectKey, version: Option<String>, etag: &str, size: u64) -> Self {
        Self {
            bucket: bucket.into(),
            key,
            version: version.filter(|v| !v.is_empty() && v != "null"),
            etag: etag.trim_matches('"').to_owned(),
            size,
        }
    }
}

/// A unit that a function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TaskId {
    Split,
    Chunk(u32),
    /// By position in the plan's audio list.
    Audio(u32),
    /// The pictures beside the film.
    Stills,
    /// All text subtitles.
    Text,
    Merge,
}

impl TaskId {
    /// Whether it makes a part of the result: the merge waits for all of those.
    pub fn is_part(self) -> bool {
        !matches!(self, Self::Split | Self::Merge)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Split => f.write_str("split"),
            Self::Chunk(number) => write!(f, "c{number:05}"),
            Self::Audio(number) => write!(f, "a{number:02}"),
            Self::Stills => f.write_str("stills"),
            Self::Text => f.write_str("text"),
            Self::Merge => f.write_str("merge"),
        }
    }
}
impl FromStr for TaskId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| digits.parse().map_err(|_| format!("`{text}` is no task"));
        match text {
            "split" => Ok(Self::Split),
            "stills" => Ok(Self::Stills),
            "text" => Ok(Self::Text),
            "merge" => Ok(Self::Merge),
            _ => match text.split_at_checked(1) {
                Some(("c", digits)) => Ok(Self::Chunk(number(digits)?)),
                Some(("a", digits)) => Ok(Self::Audio(number(digits)?)),
                _ => Err(format!("`{text}` is no task: split, c00000, a00, text, stills or merge")),
            },
        }
    }
}
impl TryFrom<String> for TaskId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(version: Option<&str>, etag: &str) -> SourceRef {
        SourceRef::new("videos", ObjectKey::new("uploads/a b.mp4").unwrap(), version.map(Into::into), etag, 7)
    }

    #[test]
    fn absent_empty_and_null_versions_are_one_job() {
        let ids: Vec<_> = [None, Some(""), Some("null")].map(|v| JobId::of(&source(v, "\"e\""), "h264", 0)).into();
        assert_eq!(ids[0], ids[1]);
        assert_eq!(ids[0], ids[2]);
        assert_eq!(ids[0], JobId::of(&source(None, "e"), "h264", 0));
    }

    #[test]
    fn version_profile_generation_and_etag_make_another_job() {
        let one = JobId::of(&source(None, "e"), "h264", 0);
        assert_ne!(one, JobId::of(&source(None, "f"), "h264", 0));
        assert_ne!(one, JobId::of(&source(Some("v1"), "e"), "h264", 0));
        assert_ne!(one, JobId::of(&source(None, "e"), "hevc", 0));
        assert_ne!(one, JobId::of(&source(None, "e"), "h264", 1));
    }

    #[test]
    fn task_names_go_there_and_back() {
        for task in [TaskId::Split, TaskId::Chunk(0), TaskId::Chunk(123_456), TaskId::Audio(1), TaskId::Text, TaskId::Stills, TaskId::Merge]
        {
            assert_eq!(task.to_string().parse::<TaskId>(), Ok(task));
        }
        assert!("x1".parse::<TaskId>().is_err());
        assert!("".parse::<TaskId>().is_err());
        assert!("é".parse::<TaskId>().is_err());
    }
}
