//! A film as the parts of an upload: which bytes each has, what says whose the upload is, and what proves a stored part.

use std::{fs::File, os::unix::fs::FileExt, path::Path};

use aws_sdk_s3::types::Part;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use md5::Md5;
use pipeline::Fault;
use sha2::{Digest, Sha256};

use crate::{
    faults::{local, stopped},
    upload::part_bytes,
};

/// S3 takes 10,000 parts, and one is the label.
const MOST_PARTS: u64 = 9_999;

/// How a file of this size is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes.
    pub size: u64,
    pub part_bytes: u64,
}

impl Layout {
    /// `None`: the file would have too many parts.
    pub fn of(size: u64) -> Option<Self> {
        part_bytes(size, MOST_PARTS).map(|part_bytes| Self { size, part_bytes })
    }

    /// Parts of the film; they count from 1.
    pub fn count(self) -> i32 {
        i32::try_from(self.size.div_ceil(self.part_bytes)).unwrap_or(i32::MAX)
    }

    fn start(self, number: i32) -> u64 {
        u64::try_from(number - 1).unwrap_or(0) * self.part_bytes
    }

    /// Bytes of one part.
    pub fn length(self, number: i32) -> u64 {
        self.part_bytes.min(self.size.saturating_sub(self.start(number)))
    }

    /// The part behind those of the film, which its object is made without. What an upload was begun with cannot be read
    /// before it is completed, but its parts can be told: so this one says by which profile the film is to be encoded, and
    /// that `fanreel submit` began the upload.
    pub fn label(self, profile: Option<&str>) -> Stretch {
        let text = format!("fanreel submit\nprofile: {}\nparts of {} bytes\n", profile.unwrap_or_default(), self.part_bytes);
        Stretch::of(text.into())
    }

    pub fn label_number(self) -> i32 {
        self.count() + 1
    }

    /// Reads a part of the film.
    pub async fn read(self, from: &Path, number: i32) -> Result<Stretch, Fault> {
        let (path, start, length) = (from.to_owned(), self.start(number), self.length(number));
        let read = move || {
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
            let read = File::open(&path).and_then(|file| file.read_exact_at(&mut bytes, start));
            read.map(|()| Stretch::of(bytes.into())).map_err(|e| local("reading", &path, &e))
        };
        tokio::task::spawn_blocking(read).await.map_err(|e| stopped(&e))?
    }
}

/// Bytes of a part, in memory.
#[derive(Clone, Debug)]
pub struct Stretch {
    pub bytes: Bytes,
    /// As S3 writes it: base64.
    pub sha256: String,
}

impl Stretch {
    fn of(bytes: Bytes) -> Self {
        let sha256 = BASE64.encode(Sha256::digest(&bytes));
        Self { bytes, sha256 }
    }

    /// Whether a stored part is proven to be these bytes: by its SHA-256, or by an `ETag` that is their MD5, which it is
    /// neither under every encryption nor on every cloud (S3 API reference, "Object").
    pub fn is_part(&self, part: &Part) -> bool {
        if part.size() != i64::try_from(self.bytes.len()).ok() {
            return false;
        }
        match part.checksum_sha256() {
            Some(sha256) => sha256 == self.sha256,
            None => part.e_tag().is_some_and(|etag| etag.trim_matches('"') == hex::encode(Md5::digest(&self.bytes))),
        }
    }
}

/// The checksum of an object made of parts (S3 user guide, "Checking object integrity", composite checksums).
pub fn composite<'a>(sha256s: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let (mut all, mut count) = (Sha256::new(), 0);
    for sha256 in sha256s {
        all.update(BASE64.decode(sha256).ok()?);
        count += 1;
    }
    Some(format!("{}-{count}", BASE64.encode(all.finalize())))
}

/// The `ETag` of an object made of parts, where those of the parts are their MD5: hexadecimal, without quotes.
pub fn composite_etag<'a>(etags: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let (mut all, mut count) = (Md5::new(), 0);
    for etag in etags {
        all.update(hex::decode(etag.trim_matches('"')).ok()?);
        count += 1;
    }
    Some(format!("{}-{count}", hex::encode(all.finalize())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_are_the_film_and_leave_room_for_the_label(size in 16u64 << 20..600 << 30) {
            let layout = Layout::of(size).unwrap();
            prop_assert!(layout.label_number() <= 10_000);
            prop_assert_eq!(layout.start(layout.count()) + layout.length(layout.count()), size);
            prop_assert!(layout.length(layout.count()) > 0 && layout.length(1) == layout.part_bytes);
        }
    }

    #[test]
    fn a_part_is_proven_by_its_content_and_never_by_its_size() {
        let stretch = Stretch::of(Bytes::from_static(b"film"));
        let part = |size, sha256: Option<&str>, etag: &str| {
            Part::builder().size(size).set_checksum_sha256(sha256.map(str::to_owned)).e_tag(etag).build()
        };
        let md5 = "\"bde19f6ee4a9a3ef1ba3d0c5bbd3ff9b\"";
        let of_film = format!("\"{}\"", hex::encode(Md5::digest(b"film")));
        assert!(stretch.is_part(&part(4, Some(&stretch.sha256), md5)));
        assert!(stretch.is_part(&part(4, None, &of_film)));
        assert!(!stretch.is_part(&part(5, Some(&stretch.sha256), &of_film)), "another length");
        assert!(!stretch.is_part(&part(4, Some("AAAA"), &of_film)), "the checksum decides");
        assert!(!stretch.is_part(&part(4, None, md5)) && !stretch.is_part(&part(4, None, "\"x-1\"")));
    }

    #[test]
    fn a_label_tells_profiles_and_layouts_apart() {
        let layouts = [Layout::of(20 << 20), Layout::of(200 << 30)].map(Option::unwrap);
        let labels = layouts.map(|layout| [None, Some("hevc")].map(|profile| layout.label(profile).sha256));
        let all: std::collections::BTreeSet<&String> = labels.iter().flatten().collect();
        assert_eq!(all.len(), 4);
    }
}
