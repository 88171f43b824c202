//! What can go wrong, and what S3 calls it.

use std::{io, path::PathBuf};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use s3s::{S3ErrorCode, dto};

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    /// The disk: full, broken, or somebody else's.
    #[error("the S3 store could not {doing} {path}: {source}", path = path.display())]
    Disk { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("the S3 store's database failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// The disk or the bytes that the store may take are used up; nothing of the change was kept.
    #[error("there is no room: {0}; delete objects or give the store more space")]
    Full(String),
    /// The data are those of a newer program; they were left alone.
    #[error(
        "the S3 metadata {path} have schema version {found} and this program knows {known}: use the program that wrote them or another data directory",
        path = path.display()
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    /// Nothing of the change was kept.
    #[error("the S3 store could not commit: {0}")]
    Commit(String),
    /// Something stored or computed is not what it must be: an error of ours.
    #[error("the S3 store holds an unreadable record: {0}")]
    Record(String),
    #[error("the S3 store has stopped")]
    Stopped,
    /// The request is at fault.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl S3Error {
    /// What a commit that failed is to each change in it.
    pub(super) fn commit(error: &rusqlite::Error) -> Self {
        if is_full(error) { Self::Full(error.to_string()) } else { Self::Commit(error.to_string()) }
    }

    /// Whether space is what is missing.
    fn is_full(&self) -> bool {
        match self {
            Self::Full(_) => true,
            Self::Disk { source, .. } => matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded),
            Self::Database(error) => is_full(error),
            _ => false,
        }
    }
}

fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

/// What S3 refuses, each with the code of its answer.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("there is no bucket {0}")]
    NoSuchBucket(String),
    #[error("bucket {0} is not empty: delete its objects first")]
    BucketNotEmpty(String),
    #[error("there is no object with this key")]
    NoSuchKey,
    #[error("there is no such version: this store keeps one version of an object, named null")]
    NoSuchVersion,
    #[error("there is no open multipart upload with this id and key")]
    NoSuchUpload,
    #[error("a precondition of the request does not hold")]
    PreconditionFailed,
    #[error("not modified")]
    NotModified { etag: String, modified_ms: i64 },
    #[error("part {0} was not uploaded, or not with this ETag and checksum")]
    InvalidPart(i32),
    #[error("the parts are not in ascending order of their numbers")]
    InvalidPartOrder,
    #[error("part numbers are 1 to 10,000 and within the object")]
    InvalidPartNumber,
    #[error("part {part} has {size} bytes: all parts but the last need 5 MiB")]
    EntityTooSmall { part: i32, size: u64 },
    #[error("the body is larger than {limit} bytes")]
    EntityTooLarge { limit: u64 },
    #[error("the object has {size} bytes: the range is outside")]
    InvalidRange { size: u64 },
    #[error("{0}")]
    BadDigest(String),
    #[error("Content-MD5 is not 16 bytes in Base64")]
    InvalidDigest,
    #[error("the body is not the one whose SHA-256 was signed")]
    PayloadMismatch,
    #[error("a chunk of the body does not have the signature it came with")]
    ChunkSignature,
    #[error("the body ended early: {0}")]
    IncompleteBody(String),
    #[error("user metadata has more than 2,048 bytes")]
    MetadataTooLarge,
    #[error("{0}")]
    InvalidTag(String),
    #[error("{0}")]
    InvalidArgument(String),
    #[error("{0}")]
    InvalidRequest(String),
    #[error("keys have at most 1,024 bytes")]
    KeyTooLong,
    /// A setting that the bucket does not have; the code of S3's answer and what is missing.
    #[error("{1}")]
    NotSet(&'static str, &'static str),
    /// Something that this store does not do.
    #[error("{0}")]
    NotImplemented(String),
    #[error("{0}")]
    MalformedXml(String),
    #[error("a policy is a JSON object of at most 20 KB")]
    MalformedPolicy,
    #[error("{0}")]
    AccessDenied(String),
    #[error("the bucket does not allow ACLs: access belongs to its owner, as on AWS by default")]
    AclNotSupported,
    #[error("the source changed while it was copied: try again")]
    SourceChanged,
}

impl Refusal {
    fn code(&self) -> S3ErrorCode {
        match self {
            Self::NoSuchBucket(_) => S3ErrorCode::NoSuchBucket,
            Self::BucketNotEmpty(_) => S3ErrorCode::BucketNotEmpty,
            Self::NoSuchKey => S3ErrorCode::NoSuchKey,
            Self::NoSuchVersion => S3ErrorCode::NoSuchVersion,
            Self::NoSuchUpload => S3ErrorCode::NoSuchUpload,
            Self::PreconditionFailed => S3ErrorCode::PreconditionFailed,
            Self::NotModified { .. } => S3ErrorCode::NotModified,
            Self::InvalidPart(_) => S3ErrorCode::InvalidPart,
            Self::InvalidPartOrder => S3ErrorCode::InvalidPartOrder,
            Self::InvalidPartNumber | Self::InvalidArgument(_) => S3ErrorCode::InvalidArgument,
            Self::EntityTooSmall { .. } => S3ErrorCode::EntityTooSmall,
            Self::EntityTooLarge { .. } => S3ErrorCode::EntityTooLarge,
            Self::InvalidRange { .. } => S3ErrorCode::InvalidRange,
            Self::BadDigest(_) => S3ErrorCode::BadDigest,
            Self::InvalidDigest => S3ErrorCode::InvalidDigest,
            Self::PayloadMismatch => S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()),
            Self::ChunkSignature => S3ErrorCode::SignatureDoesNotMatch,
            Self::IncompleteBody(_) => S3ErrorCode::IncompleteBody,
            Self::MetadataTooLarge => S3ErrorCode::MetadataTooLarge,
            Self::InvalidTag(_) => S3ErrorCode::InvalidTag,
            Self::InvalidRequest(_) => S3ErrorCode::InvalidRequest,
            Self::KeyTooLong => S3ErrorCode::KeyTooLongError,
            Self::NotSet(code, _) => S3ErrorCode::Custom((*code).into()),
            Self::NotImplemented(_) => S3ErrorCode::NotImplemented,
            Self::MalformedXml(_) => S3ErrorCode::MalformedXML,
            Self::MalformedPolicy => S3ErrorCode::MalformedPolicy,
            Self::AccessDenied(_) => S3ErrorCode::AccessDenied,
            Self::AclNotSupported => S3ErrorCode::AccessControlListNotSupported,
            Self::SourceChanged => S3ErrorCode::SlowDown,
        }
    }
}

impl From<Refusal> for s3s::S3Error {
    fn from(refusal: Refusal) -> Self {
        let mut error = Self::with_message(refusal.code(), refusal.to_string());
        match &refusal {
            Refusal::PayloadMismatch | Refusal::AclNotSupported | Refusal::MalformedPolicy => {
                error.set_status_code(StatusCode::BAD_REQUEST);
            }
            Refusal::NotSet(..) => error.set_status_code(StatusCode::NOT_FOUND),
            Refusal::NotModified { etag, modified_ms } => error.set_headers(validators(etag, *modified_ms)),
            Refusal::InvalidRange { size } => {
                let value = HeaderValue::from_str(&format!("bytes */{size}"));
                error.set_headers(value.into_iter().map(|value| (header::CONTENT_RANGE, value)).collect());
            }
            _ => {}
        }
        error
    }
}

impl From<S3Error> for s3s::S3Error {
    fn from(error: S3Error) -> Self {
        match error {
            S3Error::Refused(refusal) => refusal.into(),
            S3Error::Stopped => Self::with_message(S3ErrorCode::ServiceUnavailable, error.to_string()),
            full if full.is_full() => {
                tracing::error!(error = %full, "the S3 store has no room");
                // Not one of S3's codes, which has room for everybody. SDKs repeat a 500 or a 503 and report a 507 at once.
                let mut answer = Self::with_message(S3ErrorCode::Custom("InsufficientStorage".into()), full.to_string());
                answer.set_status_code(StatusCode::INSUFFICIENT_STORAGE);
                answer
            }
            other => {
                tracing::error!(error = %other, "the S3 store failed");
                Self::with_message(S3ErrorCode::InternalError, other.to_string())
            }
        }
    }
}

/// `ETag` and `Last-Modified`, which a 304 must carry.
fn validators(etag: &str, modified_ms: i64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&format!("\"{etag}\"")) {
        headers.insert(header::ETAG, value);
    }
    let mut date = Vec::new();
    let stamp: dto::Timestamp = super::wire::timestamp(modified_ms);
    if stamp.format(dto::TimestampFormat::HttpDate, &mut date).is_ok()
        && let Ok(value) = HeaderValue::from_bytes(&date)
    {
        headers.insert(header::LAST_MODIFIED, value);
    }
    headers
}
