//! Who may do what here: each operation is held against the caller's role (`iam`).

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderMap, Method, Request, Uri};
use percent_encoding::percent_decode_str;
use s3s::{
    Body, S3Error as Answer, S3ErrorCode, S3Request, S3Result,
    access::{S3Access, S3AccessContext},
    dto::DeleteObjectsInput,
    path::S3Path,
    s3_error,
};

use super::store::Place;
use crate::{
    iam::{
        self, Denied, Iam,
        needs::{self, S3Call},
    },
    stack::REGION,
};

/// Judges calls. Cheap to clone.
#[derive(Clone)]
pub struct Access {
    iam: Arc<Iam>,
}

/// Keys of a `DeleteObjects` that its caller may not delete, each with the sentence that says so.
#[derive(Clone, Debug, Default)]
pub struct Kept(pub Vec<(String, String)>);

impl Access {
    pub fn new(iam: Arc<Iam>) -> Self {
        Self { iam }
    }

    /// A read whose range was no range.
    pub fn read(&self, request: &S3Request<Body>) -> S3Result<()> {
        signed(request.credentials.is_some())?;
        let path = percent_decode_str(request.uri.path()).decode_utf8_lossy().into_owned();
        let (bucket, key) = parts(&path);
        let operation = if key.is_some() { "GetObject" } else { "ListObjects" };
        self.admit(&request.headers, &request.uri, &S3Call { operation, bucket, key, ..S3Call::default() })
    }

    /// An upload by a form, with the session token that it was signed with.
    pub fn put(&self, caller: Option<&str>, place: &Place) -> S3Result<()> {
        let call = S3Call { operation: "PutObject", bucket: &place.bucket, key: Some(&place.key), ..S3Call::default() };
        self.iam.admit(caller, || needs::s3(&call), &[]).map_err(refused)
    }

    /// For a read of an object: what its caller is told in place of "not found" if it may not list the bucket. Source: S3
    /// API reference, `GetObject`, permissions.
    pub fn blind(&self, request: &Request<Body>) -> Option<Answer> {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD) && !query_has(request.uri(), "uploadId");
        let path = percent_decode_str(request.uri().path()).decode_utf8_lossy().into_owned();
        let (bucket, key) = parts(&path);
        key.filter(|_| reads)?;
        let caller = iam::caller(request.headers(), request.uri());
        let list = needs::s3(&S3Call { operation: "ListObjectsV2", bucket, ..S3Call::default() });
        list.iter().find_map(|need| self.iam.check(caller.as_deref(), need, &[]).err()).map(refused)
    }

    fn admit(&self, headers: &HeaderMap, uri: &Uri, call: &S3Call<'_>) -> S3Result<()> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let copied = header("x-amz-copy-source").map(|source| percent_decode_str(source).decode_utf8_lossy().into_owned());
        let puts = matches!(call.operation, "PutObject" | "CopyObject" | "CreateMultipartUpload");
        let call = S3Call {
            versioned: query_has(uri, "versionId"),
            copy_source: copied.as_deref(),
            tags: puts && header("x-amz-tagging").is_some(),
            acl: puts && header("x-amz-acl").is_some(),
            ..*call
        };
        let prefix = query_value(uri, "prefix");
        let mut context = vec![("aws:requestedregion", REGION)];
        context.extend(prefix.as_deref().map(|prefix| ("s3:prefix", prefix)));
        self.iam.admit(iam::caller(headers, uri).as_deref(), || needs::s3(&call), &context).map_err(refused)
    }
}

#[async_trait]
impl S3Access for Access {
    async fn check(&self, call: &mut S3AccessContext<'_>) -> S3Result<()> {
        signed(call.credentials().is_some())?;
        let (bucket, key) = match call.s3_path() {
            S3Path::Root => ("", None),
            S3Path::Bucket { bucket } => (&**bucket, None),
            S3Path::Object { bucket, key } => (&**bucket, Some(&**key)),
        };
        let operation = call.s3_op().name();
        // Key by key, once they are read.
        if operation == "DeleteObjects" {
            return Ok(());
        }
        self.admit(call.headers(), call.uri(), &S3Call { operation, bucket, key, ..S3Call::default() })
    }

    async fn delete_objects(&self, request: &mut S3Request<DeleteObjectsInput>) -> S3Result<()> {
        let caller = iam::caller(&request.headers, &request.uri);
        let mut kept = Kept::default();
        let DeleteObjectsInput { bucket, delete, .. } = &mut request.input;
        delete.objects.retain(|named| {
            let versioned = named.version_id.is_some();
            let call = S3Call { operation: "DeleteObject", bucket, key: Some(&named.key), versioned, ..S3Call::default() };
            match self.iam.admit(caller.as_deref(), || needs::s3(&call), &[]) {
                Ok(()) => true,
                Err(Denied(sentence)) => {
                    kept.0.push((named.key.clone(), sentence));
                    false
                }
            }
        });
        request.extensions.insert(kept);
        Ok(())
    }
}

fn signed(is: bool) -> S3Result<()> {
    if is { Ok(()) } else { Err(s3_error!(AccessDenied, "Signature is required")) }
}

fn refused(Denied(sentence): Denied) -> Answer {
    Answer::with_message(S3ErrorCode::AccessDenied, sentence)
}

/// Bucket and key of a decoded path.
fn parts(path: &str) -> (&str, Option<&str>) {
    let path = path.trim_start_matches('/');
    path.split_once('/').map_or((path, None), |(bucket, key)| (bucket, Some(key).filter(|key| !key.is_empty())))
}

fn pairs(uri: &Uri) -> impl Iterator<Item = (&str, &str)> {
    uri.query().unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn query_has(uri: &Uri, name: &str) -> bool {
    pairs(uri).any(|(of, _)| of == name)
}

fn query_value(uri: &Uri, name: &str) -> Option<String> {
    let (_, value) = pairs(uri).find(|(of, _)| *of == name)?;
    Some(percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned())
}
