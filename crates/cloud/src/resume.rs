//! Uploads of films by people: what an upload that broke off has stored is found and not sent again
//! (docs/decisions/0036-resumed-uploads.md).
//!
//! An upload that fails is left where it is, to be gone on with. Whatever happens to it meanwhile, the object is this file
//! to the byte: a completion names each part by the `ETag` and the checksum under which it was proven or sent, and S3
//! refuses it if another part stands in its place.

use std::{
    convert::Infallible,
    error::Error,
    os::unix::fs::MetadataExt,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use aws_sdk_s3::{
    error::ProvideErrorMetadata,
    operation::head_object::HeadObjectOutput,
    primitives::{ByteStream, DateTime, SdkBody},
    types::{ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart},
};
use aws_smithy_runtime_api::{client::result::SdkError, http::Response};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http_body::{Frame, SizeHint};
use pipeline::{Fault, key::PROFILE_WISH};

use crate::{
    faults::{classify, local, status},
    layout::{Layout, Stretch, composite, composite_etag},
    patience::{Trouble, patiently, slow},
    sending::{Flight, Sending},
    unfinished::{self, Unfinished},
    upload::{PARALLEL, SINGLE_BYTES, Target},
};

/// Begins after another sender was in the way.
const MAX_ROUNDS: u32 = 3;
/// A connection that takes no byte for so long, nor answers behind the last one, is given up. Linux keeps up to 4 MB to be
/// sent (tcp(7), `tcp_wmem`): three minutes at 23 kB/s.
const STILL: Duration = Duration::from_secs(180);
/// Bytes that a connection is given at a time, so that it can be seen how far a part is.
const FRAME: usize = 64 << 10;

/// A film on its way to the bucket.
pub struct Film<'a> {
    pub target: Target<'a>,
    pub from: &'a Path,
    pub sending: &'a Sending,
}

/// What tells that a file changed while it was read.
#[derive(PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: (i64, i64),
    inode: u64,
}

impl Film<'_> {
    /// Stores the whole film, from where an earlier run stopped.
    pub async fn store(&self) -> Result<(), Fault> {
        let bytes = self.stamp().await?.bytes;
        self.sending.begins(bytes);
        if bytes < SINGLE_BYTES {
            let what = format!("storing {}", self.target.name());
            let put = patiently(self.sending, async || {
                let request = self.target.put_object(self.from).await?.customize().config_override(slow());
                request.send().await.map(drop).map_err(|e| Trouble::Fault(classify(&what, &e)))
            });
            put.await.map_err(|trouble| self.told(trouble))?;
            self.sending.is_stored();
            return Ok(());
        }
        let too_large = || Fault::reject(format!("{} has {bytes} bytes: more than S3 takes in parts of 64 MiB", self.from.display()));
        let layout = Layout::of(bytes).ok_or_else(too_large)?;
        let mut round = self.round(layout).await;
        for _ in 1..MAX_ROUNDS {
            if !matches!(round, Err(Trouble::Moved(_))) || self.holds(layout).await? {
                break;
            }
            self.sending.begins(bytes);
            round = self.round(layout).await;
        }
        match round {
            Err(Trouble::Moved(_)) if self.holds(layout).await? => {}
            round => round.map_err(|trouble| self.told(trouble))?,
        }
        self.sending.is_stored();
        Ok(())
    }

    /// Whether the very file is stored already.
    pub async fn is_stored(&self) -> Result<bool, Fault> {
        let bytes = self.stamp().await?.bytes;
        self.sending.begins(bytes);
        let Some(layout) = Layout::of(bytes) else { return Ok(false) };
        let holds = self.holds(layout).await?;
        if holds {
            self.sending.is_stored();
        }
        Ok(holds)
    }

    fn told(&self, trouble: Trouble) -> Fault {
        match trouble {
            Trouble::Fault(fault) => fault,
            Trouble::Moved(why) => {
                Fault::Retry(format!("another upload to {} is on its way and was in the way of this one: {why}", self.target.name()))
            }
        }
    }

    async fn stamp(&self) -> Result<Stamp, Fault> {
        let found = tokio::fs::metadata(self.from).await.map_err(|e| local("reading", self.from, &e))?;
        Ok(Stamp { bytes: found.len(), modified: (found.mtime(), found.mtime_nsec()), inode: found.ino() })
    }

    async fn round(&self, layout: Layout) -> Result<(), Trouble> {
        let stamp = self.stamp().await?;
        let upload = match unfinished::find(self, layout).await? {
            Some(found) => found,
            None => Unfinished { id: self.begin(layout).await?, proven: [].into() },
        };
        let id = upload.id.clone();
        let sent = self.finish(layout, upload, &stamp).await;
        if sent.is_err() && self.sending.progress().unlisted.is_some() {
            // Nobody would find it again.
            self.target.abort(&id).await;
        }
        sent
    }

    async fn begin(&self, layout: Layout) -> Result<String, Trouble> {
        let (target, what) = (&self.target, format!("storing {}", self.target.name()));
        let begun = patiently(self.sending, async || {
            let request = target.client.create_multipart_upload().bucket(target.bucket).key(target.key).content_type(target.content_type);
            let request = request.set_metadata(target.metadata()).checksum_algorithm(ChecksumAlgorithm::Sha256);
            request.send().await.map_err(|e| trouble(&what, &e))
        });
        let begun = begun.await?;
        self.sending.kept_until(begun.abort_date.as_ref().and_then(millis));
        let id = begun.upload_id.ok_or_else(|| Fault::retry(format!("{what}: S3 gave no upload id")))?;
        self.part(&id, layout.label_number(), &layout.label(target.profile)).await?;
        Ok(id)
    }

    /// Sends what is missing and completes the upload.
    async fn finish(&self, layout: Layout, upload: Unfinished, stamp: &Stamp) -> Result<(), Trouble> {
        let Unfinished { id, proven } = upload;
        self.sending.goes_on(proven.keys().map(|number| layout.length(*number)).sum());
        let missing = (1..=layout.count()).filter(|number| !proven.contains_key(number));
        let sends = stream::iter(missing).map(|number| self.send(&id, layout, number)).buffer_unordered(PARALLEL);
        let sent: Vec<CompletedPart> = sends.try_collect().await?;
        if self.stamp().await? != *stamp {
            let why = format!("{} changed while it was uploaded; what is stored of it is kept", self.from.display());
            return Err(Fault::reject(why).into());
        }
        let mut parts: Vec<CompletedPart> = proven.into_values().chain(sent).collect();
        parts.sort_by_key(CompletedPart::part_number);
        self.complete(&id, &parts, layout.size).await
    }

    async fn send(&self, id: &str, layout: Layout, number: i32) -> Result<CompletedPart, Trouble> {
        let stretch = layout.read(self.from, number).await?;
        let part = self.part(id, number, &stretch).await?;
        self.sending.sent(layout.length(number));
        Ok(part)
    }

    async fn part(&self, id: &str, number: i32, stretch: &Stretch) -> Result<CompletedPart, Trouble> {
        let (target, what) = (&self.target, format!("storing part {number} of {}", self.target.name()));
        let flight = Arc::new(self.sending.flight(number));
        let sent = patiently(self.sending, async || {
            let request = target.client.upload_part().bucket(target.bucket).key(target.key).upload_id(id).part_number(number);
            let request = request.checksum_sha256(&stretch.sha256).body(counted(&stretch.bytes, &flight));
            let call = request.customize().config_override(slow()).send();
            tokio::select! {
                sent = call => sent.map_err(|e| trouble(&what, &e)),
                () = flight.stands_still(STILL) => Err(Fault::retry(format!("{what}: nothing moved for {} s", STILL.as_secs())).into()),
            }
        });
        let part = CompletedPart::builder().part_number(number).set_e_tag(sent.await?.e_tag);
        Ok(part.checksum_sha256(&stretch.sha256).build())
    }

    async fn complete(&self, id: &str, parts: &[CompletedPart], size: u64) -> Result<(), Trouble> {
        let (target, what) = (&self.target, format!("completing {}", self.target.name()));
        let completed = patiently(self.sending, async || {
            let named = CompletedMultipartUpload::builder().set_parts(Some(parts.to_vec())).build();
            let request = target.client.complete_multipart_upload().bucket(target.bucket).key(target.key).upload_id(id);
            request.multipart_upload(named).customize().config_override(slow()).send().await.map_err(|e| trouble(&what, &e))
        });
        match completed.await {
            // Of an upload that another completed a moment ago, some stores say so again, whatever parts are named.
            Ok(made) if made.checksum_sha256().is_some_and(|stored| sha256s(parts).and_then(composite).as_deref() != Some(stored)) => {
                Err(Trouble::Moved(format!("{what}: it was completed with other parts")))
            }
            Ok(_) => Ok(()),
            // The answer to a completion may have been lost, or could not be read: the object tells.
            Err(Trouble::Moved(why)) => match self.head(size).await? {
                Some(head) if is_made_of(&head, parts) => Ok(()),
                _ => Err(Trouble::Moved(why)),
            },
            Err(fault) => Err(fault),
        }
    }

    /// The object under the key, if it has this size and wishes for the same profile.
    async fn head(&self, size: u64) -> Result<Option<HeadObjectOutput>, Trouble> {
        let (target, what) = (&self.target, format!("asking for {}", self.target.name()));
        let asked = patiently(self.sending, async || {
            let request = target.client.head_object().bucket(target.bucket).key(target.key).checksum_mode(ChecksumMode::Enabled);
            match request.send().await {
                Ok(head) => Ok(Some(head)),
                Err(error) if status(&error) == Some(404) => Ok(None),
                Err(error) => Err(Trouble::Fault(classify(&what, &error))),
            }
        });
        let wish = |head: &HeadObjectOutput| head.metadata().and_then(|pairs| pairs.get(PROFILE_WISH)).cloned();
        let is_like_it =
            |head: &HeadObjectOutput| head.content_length() == i64::try_from(size).ok() && wish(head).as_deref() == target.profile;
        Ok(asked.await?.filter(is_like_it))
    }

    /// Whether the whole file is stored: another sender may have been faster. Reads all of it, where the object may be it.
    async fn holds(&self, layout: Layout) -> Result<bool, Fault> {
        let head = self.head(layout.size).await.map_err(|trouble| self.told(trouble))?;
        let Some(stored) = head.and_then(|head| head.checksum_sha256) else { return Ok(false) };
        if !stored.ends_with(&format!("-{}", layout.count())) {
            return Ok(false);
        }
        let mut sha256s = Vec::new();
        for number in 1..=layout.count() {
            sha256s.push(layout.read(self.from, number).await?.sha256);
            self.sending.compares(layout.length(number));
        }
        Ok(composite(sha256s.iter().map(String::as_str)) == Some(stored))
    }
}

fn sha256s(parts: &[CompletedPart]) -> Option<Vec<&str>> {
    parts.iter().map(CompletedPart::checksum_sha256).collect()
}

/// Whether an object is made of these parts.
fn is_made_of(head: &HeadObjectOutput, parts: &[CompletedPart]) -> bool {
    if let (Some(stored), Some(sha256s)) = (head.checksum_sha256(), sha256s(parts)) {
        return composite(sha256s).as_deref() == Some(stored);
    }
    let etags: Option<Vec<&str>> = parts.iter().map(CompletedPart::e_tag).collect();
    etags.and_then(composite_etag).is_some_and(|etag| head.e_tag().is_some_and(|stored| stored.trim_matches('"') == etag))
}

/// What an answer means for an upload that others may be at as well.
pub fn trouble<E>(what: &str, error: &SdkError<E, Response>) -> Trouble
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    let gone = status(error) == Some(404) && code != Some("NoSuchBucket");
    // Some clouds answer a completion with a document that the SDK cannot read.
    let unread = status(error) == Some(200) && code.is_none();
    let fault = classify(what, error);
    if gone || unread || code == Some("InvalidPart") {
        return Trouble::Moved(match fault {
            Fault::Escalate { detail, .. } => detail,
            fault => fault.to_string(),
        });
    }
    Trouble::Fault(fault)
}

/// Milliseconds since 1970.
pub fn millis(at: &DateTime) -> Option<u64> {
    at.to_millis().ok().and_then(|ms| u64::try_from(ms).ok())
}

/// A body that tells how much of it was taken.
fn counted(bytes: &Bytes, flight: &Arc<Flight>) -> ByteStream {
    let (bytes, flight) = (bytes.clone(), Arc::clone(flight));
    let body = move || {
        flight.restart();
        SdkBody::from_body_1_x(Counted { left: bytes.clone(), flight: Arc::clone(&flight) })
    };
    ByteStream::new(SdkBody::retryable(body))
}

struct Counted {
    left: Bytes,
    flight: Arc<Flight>,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let length = FRAME.min(self.left.len());
        let frame = self.left.split_to(length);
        self.flight.took(length);
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}
