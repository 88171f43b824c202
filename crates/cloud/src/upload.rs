//! Stores of local files: one request for small ones, parts for large ones.

use std::{collections::HashMap, path::Path};

use aws_sdk_s3::{
    Client,
    error::ProvideErrorMetadata,
    operation::{complete_multipart_upload::CompleteMultipartUploadError, put_object::builders::PutObjectFluentBuilder},
    primitives::{ByteStream, Length},
    types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart},
};
use aws_smithy_runtime_api::{client::result::SdkError, http::Response};
use futures::{StreamExt, TryStreamExt, stream};
use pipeline::{Fault, Shortage, key::PROFILE_WISH};

use crate::{
    connect::large_call,
    faults::{classify, gone, local, status},
};

/// Files below this are one PUT.
pub const SINGLE_BYTES: u64 = 16 << 20;
const LEAST_PART: u64 = 8 << 20;
const MOST_PART: u64 = 64 << 20;
/// S3 takes 10,000 parts.
const MAX_PARTS: u64 = 10_000;
/// Parts on their way at a time.
pub const PARALLEL: usize = 3;

/// Where a file goes.
pub struct Target<'a> {
    pub client: &'a Client,
    pub bucket: &'a str,
    pub key: &'a str,
    pub content_type: &'a str,
    /// Of an upload that names its profile: becomes its metadata.
    pub profile: Option<&'a str>,
}

impl Target<'_> {
    pub fn name(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.key)
    }
    pub fn metadata(&self) -> Option<HashMap<String, String>> {
        self.profile.map(|profile| HashMap::from([(PROFILE_WISH.to_owned(), profile.to_owned())]))
    }

    /// Stores a whole file.
    pub async fn store(&self, from: &Path) -> Result<(), Fault> {
        let size = tokio::fs::metadata(from).await.map_err(|e| local("reading", from, &e))?.len();
        if size < SINGLE_BYTES { self.put(from).await } else { self.in_parts(from, size).await }
    }

    async fn put(&self, from: &Path) -> Result<(), Fault> {
        let sent = self.put_object(from).await?.customize().config_override(large_call()).send().await;
        sent.map(drop).map_err(|e| classify(&format!("storing {}", self.name()), &e))
    }

    /// The request that stores a file in one piece.
    pub async fn put_object(&self, from: &Path) -> Result<PutObjectFluentBuilder, Fault> {
        let body = ByteStream::from_path(from).await.map_err(|e| unreadable(from, &e))?;
        let request = self.client.put_object().bucket(self.bucket).key(self.key).content_type(self.content_type);
        Ok(request.set_metadata(self.metadata()).body(body))
    }

    async fn in_parts(&self, from: &Path, size: u64) -> Result<(), Fault> {
        let part_bytes = part_bytes(size, MAX_PARTS).ok_or_else(|| {
            Fault::escalate(Shortage::Tool, format!("{} has {size} bytes: more than {MAX_PARTS} parts of 64 MiB", from.display()))
        })?;
        self.in_upload(async |upload| Ok((self.send_parts(from, size, part_bytes, upload).await?, size, ()))).await
    }

    /// Stores small bytes.
    pub async fn put_bytes(&self, bytes: bytes::Bytes) -> Result<(), Fault> {
        let request = self.client.put_object().bucket(self.bucket).key(self.key).content_type(self.content_type);
        let sent = request.body(bytes.into()).customize().config_override(large_call()).send().await;
        sent.map(drop).map_err(|e| classify(&format!("storing {}", self.name()), &e))
    }

    /// Begins an upload, has its parts sent, and completes it; gives it up at a fault, and when it is dropped half-way. `send`
    /// answers the bytes of all parts beside them.
    pub async fn in_upload<T>(&self, send: impl AsyncFnOnce(&str) -> Result<(Vec<CompletedPart>, u64, T), Fault>) -> Result<T, Fault> {
        let request = self.client.create_multipart_upload().bucket(self.bucket).key(self.key).content_type(self.content_type);
        // Named here and at each part: S3 refuses parts whose checksums are of another kind than the upload's.
        let begun = request
            .set_metadata(self.metadata())
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .send()
            .await
            .map_err(|e| classify(&format!("storing {}", self.name()), &e))?;
        let upload = begun.upload_id.ok_or_else(|| Fault::retry(format!("storing {}: S3 gave no upload id", self.name())))?;
        let mut abort = Abort::new(self, &upload);
        let stored = match send(&upload).await {
            Ok((parts, size, answer)) => self.complete(&upload, parts, size).await.map(|()| answer),
            Err(fault) => Err(fault),
        };
        if stored.is_err() {
            abort.now().await;
        }
        abort.armed = false;
        stored
    }

    /// Gives an upload up; parts that stay nevertheless are the bucket's lifecycle rule's.
    pub async fn abort(&self, upload: &str) {
        Abort::new(self, upload).now().await;
    }

    async fn send_parts(&self, from: &Path, size: u64, part_bytes: u64, upload: &str) -> Result<Vec<CompletedPart>, Fault> {
        let count = size.div_ceil(part_bytes);
        let send = |at: u64| async move {
            let start = at * part_bytes;
            let length = part_bytes.min(size - start);
            let number = i32::try_from(at + 1).unwrap_or(i32::MAX);
            let body = ByteStream::read_from().path(from).offset(start).length(Length::Exact(length)).build().await;
            self.send_part(body.map_err(|e| unreadable(from, &e))?, upload, number).await
        };
        stream::iter(0..count).map(send).buffered(PARALLEL).try_collect().await
    }

    /// Sends one part.
    pub async fn send_part(&self, body: ByteStream, upload: &str, number: i32) -> Result<CompletedPart, Fault> {
        let request = self.client.upload_part().bucket(self.bucket).key(self.key).upload_id(upload).part_number(number);
        let request = request.checksum_algorithm(ChecksumAlgorithm::Crc32).body(body);
        let sent = request.customize().config_override(large_call()).send().await;
        let sent = sent.map_err(|e| gone(status(&e), classify(&format!("storing part {number} of {}", self.name()), &e)))?;
        let part = CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag);
        // The checksum that the SDK sent with the part: S3 wants it again if it keeps checksums.
        Ok(part.set_checksum_crc32(sent.checksum_crc32).build())
    }

    async fn complete(&self, upload: &str, parts: Vec<CompletedPart>, size: u64) -> Result<(), Fault> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = self.client.complete_multipart_upload().bucket(self.bucket).key(self.key).upload_id(upload);
        match request.multipart_upload(parts).customize().config_override(large_call()).send().await {
            Ok(_) => Ok(()),
            Err(error) => self.completed_before(&error, size).await,
        }
    }

    /// When the answer to a completion was lost, the SDK's next try finds no such upload; and some clouds answer 200 with a
    /// document that the SDK cannot read. The object tells.
    async fn completed_before(&self, error: &SdkError<CompleteMultipartUploadError, Response>, size: u64) -> Result<(), Fault> {
        let unread = status(error) == Some(200) && error.as_service_error().is_some_and(|e| e.code().is_none());
        if unread || status(error) == Some(404) {
            let head = self.client.head_object().bucket(self.bucket).key(self.key).send().await;
            let stored = head.ok().and_then(|head| head.content_length);
            if stored.and_then(|length| u64::try_from(length).ok()) == Some(size) {
                return Ok(());
            }
        }
        Err(gone(status(error), classify(&format!("completing {}", self.name()), error)))
    }
}

fn unreadable(path: &Path, error: &dyn std::error::Error) -> Fault {
    Fault::Retry(format!("reading {}: {error}", path.display()))
}

/// Bytes of a part; `None` if the file has too many.
pub fn part_bytes(size: u64, most_parts: u64) -> Option<u64> {
    let bytes = size.div_ceil(most_parts).max(LEAST_PART);
    (bytes <= MOST_PART).then_some(bytes)
}

/// Pages of unfinished uploads, 1,000 each.
const MAX_PAGES: u32 = 10;

/// Gives up every unfinished upload to keys with this prefix.
pub async fn end_all(client: &Client, bucket: &str, prefix: &str) -> Result<(), Fault> {
    let what = format!("ending uploads to s3://{bucket}/{prefix}");
    for _ in 0..MAX_PAGES {
        let page = client.list_multipart_uploads().bucket(bucket).prefix(prefix).send().await;
        let found = page.map_err(|e| classify(&what, &e))?.uploads.unwrap_or_default();
        if found.is_empty() {
            return Ok(());
        }
        for upload in found {
            let (key, id) = (upload.key.unwrap_or_default(), upload.upload_id.unwrap_or_default());
            tracing::info!(key, "an unfinished upload is given up");
            match client.abort_multipart_upload().bucket(bucket).key(key).upload_id(id).send().await {
                Ok(_) => {}
                // Another was faster, or it was completed.
                Err(error) if status(&error) == Some(404) => {}
                Err(error) => return Err(classify(&what, &error)),
            }
        }
    }
    Err(Fault::Retry(format!("{what}: there are ever more of them")))
}

/// Ends an upload that is not completed: at a fault, and when its future is dropped half-way.
struct Abort {
    client: Client,
    bucket: String,
    key: String,
    upload: String,
    armed: bool,
}

impl Abort {
    fn new(target: &Target<'_>, upload: &str) -> Self {
        let (client, bucket, key) = (target.client.clone(), target.bucket.to_owned(), target.key.to_owned());
        Self { client, bucket, key, upload: upload.to_owned(), armed: true }
    }

    async fn now(&self) {
        let request = self.client.abort_multipart_upload().bucket(&self.bucket).key(&self.key).upload_id(&self.upload);
        if let Err(error) = request.send().await {
            let fault = classify("ending an upload", &error);
            tracing::warn!(bucket = self.bucket, key = self.key, %fault, "the parts stay until the bucket's lifecycle rule ends them");
        }
    }
}

impl Drop for Abort {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.armed {
            let Self { client, bucket, key, upload, .. } = &*self;
            let again = Self { client: client.clone(), bucket: bucket.clone(), key: key.clone(), upload: upload.clone(), armed: false };
            runtime.spawn(async move { again.now().await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_are_few_enough_and_within_bounds(size in SINGLE_BYTES..MOST_PART * MAX_PARTS) {
            let bytes = part_bytes(size, MAX_PARTS).unwrap();
            prop_assert!((LEAST_PART..=MOST_PART).contains(&bytes));
            prop_assert!(size.div_ceil(bytes) <= MAX_PARTS);
        }
    }

    #[test]
    fn a_file_of_too_many_parts_is_refused() {
        assert_eq!(part_bytes(MOST_PART * MAX_PARTS + 1, MAX_PARTS), None);
    }
}
