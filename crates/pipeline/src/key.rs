//! Object keys: what people upload, and where everything that a job makes is stored.
//!
//! One lifecycle rule and one policy go with each first component.

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use crate::id::{JobId, TaskId};

/// Longest key that S3 takes, bytes of UTF-8.
pub const MAX_KEY_BYTES: usize = 1024;

/// A decoded object key. Inner code cannot hold an undecoded one. Never a path, a shell word or a playlist line.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(String);

impl ObjectKey {
    /// A key as it is. Errors if empty or longer than S3 takes.
    pub fn new(key: impl Into<String>) -> Result<Self, String> {
        let key = key.into();
        if key.is_empty() {
            Err("an object key may not be empty".into())
        } else if key.len() > MAX_KEY_BYTES {
            Err(format!("an object key may have {MAX_KEY_BYTES} bytes, this one has {}", key.len()))
        } else {
            Ok(Self(key))
        }
    }
    /// A key as S3 events write it: form-encoded (`+` for a space, `%XX`). Clouds differ in what else they escape;
    /// decoding is the same for all.
    pub fn from_event(encoded: &str) -> Result<Self, String> {
        let spaced = encoded.replace('+', " ");
        let decoded = percent_decode_str(&spaced).decode_utf8().map_err(|_| format!("the key `{encoded}` is not UTF-8"))?;
        Self::new(decoded.into_owned())
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// What stands behind the last slash: a name to show, never to open.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}
impl TryFrom<String> for ObjectKey {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::new(text)
    }
}
impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> Self {
        key.0
    }
}
impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where people drop videos.
pub const UPLOADS: &str = "uploads/";

/// Metadata of an upload that names its profile (S3: `x-amz-meta-fanreel-profile`).
pub const PROFILE_WISH: &str = "fanreel-profile";

/// A person's own profiles: read by `split` beside the built-in ones.
pub const PROFILES: &str = "config/profiles.toml";

/// A person's own prices: read by `split` instead of the built-in ones.
pub const PRICES: &str = "config/prices.json";

/// Below it stands for each profile from when on uploads are taken by it without being told of.
pub const ADOPT_FROM: &str = "config/adopt-from/";
/// `config/adopt-from/<profile>`, of another bucket `config/adopt-from/<profile>/<bucket>`: milliseconds since 1970.
pub fn adopt_from(profile: &str, bucket: Option<&str>) -> String {
    bucket.map_or_else(|| format!("{ADOPT_FROM}{profile}"), |bucket| format!("{ADOPT_FROM}{profile}/{bucket}"))
}

/// `config/looked-through/own`, of another bucket `config/looked-through/bucket/<bucket>`: the key behind which the next sweep looks
/// for lost uploads, where one sweep cannot look at all.
pub fn looked_through(bucket: Option<&str>) -> String {
    bucket.map_or_else(|| "config/looked-through/own".to_owned(), |bucket| format!("config/looked-through/bucket/{bucket}"))
}

/// `jobs/<job>/manifests/`
pub fn manifests(job: &JobId) -> String {
    format!("jobs/{job}/manifests/")
}
/// `jobs/<job>/manifests/source.json`: probe and plan.
pub fn source_manifest(job: &JobId) -> String {
    format!("{}source.json", manifests(job))
}
/// `jobs/<job>/manifests/receipt.json`: what was made and how it was verified.
pub fn receipt(job: &JobId) -> String {
    format!("{}receipt.json", manifests(job))
}
/// Everything that is watched: `streams/<job>/`.
pub fn streams(job: &JobId) -> String {
    format!("streams/{job}/")
}
pub fn master_playlist(job: &JobId) -> String {
    format!("streams/{job}/master.m3u8")
}
pub fn dash_manifest(job: &JobId) -> String {
    format!("streams/{job}/manifest.mpd")
}
pub fn media_playlist(job: &JobId, rendition: &str) -> String {
    format!("streams/{job}/{rendition}/media.m3u8")
}
pub fn init(job: &JobId, rendition: &str) -> String {
    format!("streams/{job}/{rendition}/init.mp4")
}
/// A segment under its attempt's fencing number: a late worker's object is another object.
pub fn segment(job: &JobId, rendition: &str, number: u32, fence: u64) -> String {
    format!("streams/{job}/{rendition}/segments/seg_{number:04}.{fence}.m4s")
}
/// The one segment of a text track, under its attempt's fencing number.
pub fn text(job: &JobId, track: &str, fence: u64) -> String {
    format!("streams/{job}/{track}/segments/seg_0000.{fence}.vtt")
}
/// The segment's name as its media playlist, which lies beside `segments/`, names it.
pub fn segment_uri(key: &str) -> &str {
    key.find("/segments/").map_or(key, |at| &key[at + 1..])
}
/// The records of a task's segments, beside these, where the ledger cannot hold them. `first`: the first segment's number.
pub fn listing(job: &JobId, rendition: &str, first: u32, fence: u64) -> String {
    format!("streams/{job}/{rendition}/segments/list_{first:04}.{fence}.json")
}
/// A picture file as an attempt stores it, under its fencing number. `name`: `poster.jpg`.
pub fn still(job: &JobId, name: &str, fence: u64) -> String {
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, "bin"));
    format!("streams/{job}/stills/{stem}.{fence}.{ending}")
}
/// A picture file, or the text that says which tile is when, as people find it: beside the master playlist.
pub fn published_still(job: &JobId, name: &str) -> String {
    format!("streams/{job}/{name}")
}
/// Progressive MP4.
pub fn mp4(job: &JobId, rendition: &str) -> String {
    format!("encoded/{job}_{rendition}.mp4")
}
/// An audio track as a file of its own.
pub fn m4a(job: &JobId, track: &str) -> String {
    format!("encoded/{job}_{track}.m4a")
}
/// All progressive MP4s and M4As of a job begin with this.
pub fn mp4s(job: &JobId) -> String {
    format!("encoded/{job}_")
}
/// Temporaries of all jobs, expired by rule.
pub const WORK: &str = "work/";
/// A GOP of a chunk that is encoded GOP by GOP.
pub fn gop(job: &JobId, chunk: u32, number: u32, rendition: &str, fence: u64) -> String {
    format!("work/{job}/gops/{chunk:05}_{number:04}_{rendition}.{fence}.mp4")
}
/// `work/<job>/`
pub fn work(job: &JobId) -> String {
    format!("{WORK}{job}/")
}
/// The job whose temporary this is; `None`: it is none of ours.
pub fn worked_on(key: &str) -> Option<JobId> {
    key.strip_prefix(WORK)?.split_once('/')?.0.parse().ok()
}
/// The source remuxed once. Named by the attempt that makes it, of `fence`: no other ever writes there. `mended`: a copy of
/// that, or of the source, with better times.
pub fn normalized(job: &JobId, fence: u64, mended: bool) -> String {
    format!("work/{job}/source/{}.{fence}.mkv", if mended { "mended" } else { "normalized" })
}
/// Below it lies what an operator needs to repeat the failures of a job's tasks.
pub fn reproductions(job: &JobId) -> String {
    format!("work/{job}/repro/")
}
pub fn reproduction(job: &JobId, task: TaskId, generation: u32) -> String {
    format!("{}{task}.{generation}.json", reproductions(job))
}
/// Copies of dead letters, expired by rule.
pub const DEAD_LETTERS: &str = "dead-letters/";
/// `dead-letters/<message id>.json`
pub fn dead_letter(message: &str) -> String {
    format!("{DEAD_LETTERS}{message}.json")
}
/// What the worker that saw it knows of the last crash: the command and its last words. Read into [`reproduction`].
pub fn crash(job: &JobId, task: TaskId) -> String {
    format!("{}{task}.crash.json", reproductions(job))
}
/// What a tool that broke down had read of the source, and with which command.
pub fn excerpt(job: &JobId, task: TaskId) -> (String, String) {
    let stem = format!("{}{task}.crash.excerpt", reproductions(job));
    (format!("{stem}.bin"), format!("{stem}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn clouds_write_one_key_in_several_ways() {
        for encoded in ["in/my+file%2B1.mp4", "in%2Fmy+file%2B1.mp4", "in/my%20file%2B1.mp4", "in%2fmy%20file%2b1.mp4"] {
            assert_eq!(ObjectKey::from_event(encoded).unwrap().as_str(), "in/my file+1.mp4");
        }
    }

    proptest! {
        #[test]
        fn an_encoded_key_decodes_to_itself(key in "\\PC{1,200}") {
            let encoded: String = percent_encoding::utf8_percent_encode(&key, percent_encoding::NON_ALPHANUMERIC).to_string();
            let expected = ObjectKey::new(key).unwrap();
            prop_assert_eq!(&ObjectKey::from_event(&encoded).unwrap(), &expected);
            prop_assert_eq!(&ObjectKey::from_event(&encoded.replace("%20", "+")).unwrap(), &expected);
        }

        #[test]
        fn any_text_decodes_or_is_refused(text in ".{0,300}") {
            let _ = ObjectKey::from_event(&text);
        }
    }

    #[test]
    fn a_temporary_names_its_job_and_nothing_else_does() {
        let job: JobId = "0123456789abcdef01234567".parse().unwrap();
        assert_eq!(worked_on(&normalized(&job, 7, false)), Some(job.clone()));
        for key in
            [format!("work/{job}"), format!("streams/{job}/x"), "work/mine/x".into(), format!("mywork/{job}/x"), format!("work//{job}/x")]
        {
            assert_eq!(worked_on(&key), None, "{key}");
        }
    }

    #[test]
    fn a_segment_is_named_relative_to_its_playlist() {
        let job: JobId = "0123456789abcdef01234567".parse().unwrap();
        assert_eq!(segment_uri(&segment(&job, "720p", 3, 9)), "segments/seg_0003.9.m4s");
    }
}
