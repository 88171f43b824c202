//! The operations that this store answers, handed on to the `wire_…` modules; `s3s` answers `NotImplemented` to others.
#![allow(clippy::wildcard_imports, reason = "dozens of shapes with S3's own names")]

use std::sync::Arc;

use async_trait::async_trait;
use s3s::{
    S3Request, S3Response, S3Result,
    auth::{S3Auth, SecretKey},
    dto::*,
    s3_error,
    service::{S3Service, S3ServiceBuilder},
};
use time::OffsetDateTime;

use super::{
    Refusal, S3, S3Error, access::Access, store::Place, unranged::Unranged, wire_attributes as attributes, wire_lists as lists,
    wire_objects as objects, wire_rules as rules, wire_settings as settings, wire_tags as tags, wire_uploads as uploads,
};

/// The service over `s3` with one access key.
pub fn service(s3: Arc<S3>, access_key: &str, secret_key: &str, access: &Access) -> S3Service {
    let mut builder = S3ServiceBuilder::new(Wire { s3: s3.clone() });
    builder.set_route(Unranged(S3ServiceBuilder::new(Wire { s3 }).build(), access.clone()));
    builder.set_access(access.clone());
    builder.set_auth(OneKey { access_key: access_key.into(), secret_key: secret_key.into() });
    builder.build()
}

/// The one access key that requests may be signed with.
struct OneKey {
    access_key: String,
    secret_key: SecretKey,
}

#[async_trait]
impl S3Auth for OneKey {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.access_key {
            return Ok(self.secret_key.clone());
        }
        Err(s3_error!(InvalidAccessKeyId, "the access key is not the one that the platform was started with"))
    }
}

struct Wire {
    s3: Arc<S3>,
}

macro_rules! operations {
    ($($name:ident($input:ident) -> $output:ident by $handler:path;)*) => {
        #[async_trait]
        impl s3s::S3 for Wire {
            $(async fn $name(&self, req: S3Request<$input>) -> S3Result<S3Response<$output>> {
                Ok(S3Response::new($handler(&self.s3, req).await?))
            })*
        }
    };
}

operations! {
    create_bucket(CreateBucketInput) -> CreateBucketOutput by lists::create_bucket;
    head_bucket(HeadBucketInput) -> HeadBucketOutput by lists::head_bucket;
    list_buckets(ListBucketsInput) -> ListBucketsOutput by lists::list_buckets;
    delete_bucket(DeleteBucketInput) -> DeleteBucketOutput by lists::delete_bucket;
    get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput by lists::get_bucket_location;
    list_objects(ListObjectsInput) -> ListObjectsOutput by lists::list_objects;
    list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output by lists::list_objects_v2;
    put_object(PutObjectInput) -> PutObjectOutput by objects::put;
    get_object(GetObjectInput) -> GetObjectOutput by objects::get;
    head_object(HeadObjectInput) -> HeadObjectOutput by objects::head;
    delete_object(DeleteObjectInput) -> DeleteObjectOutput by objects::delete;
    delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput by objects::delete_many;
    copy_object(CopyObjectInput) -> CopyObjectOutput by objects::copy;
    get_object_attributes(GetObjectAttributesInput) -> GetObjectAttributesOutput by attributes::get;
    list_object_versions(ListObjectVersionsInput) -> ListObjectVersionsOutput by lists::list_versions;
    get_object_acl(GetObjectAclInput) -> GetObjectAclOutput by settings::get_object_acl;
    put_object_acl(PutObjectAclInput) -> PutObjectAclOutput by settings::put_object_acl;
    get_object_lock_configuration(GetObjectLockConfigurationInput) -> GetObjectLockConfigurationOutput by settings::get_lock;
    get_bucket_notification_configuration(GetBucketNotificationConfigurationInput) -> GetBucketNotificationConfigurationOutput
        by rules::get_notifications;
    put_bucket_notification_configuration(PutBucketNotificationConfigurationInput) -> PutBucketNotificationConfigurationOutput
        by rules::put_notifications;
    get_bucket_lifecycle_configuration(GetBucketLifecycleConfigurationInput) -> GetBucketLifecycleConfigurationOutput
        by rules::get_lifecycle;
    put_bucket_lifecycle_configuration(PutBucketLifecycleConfigurationInput) -> PutBucketLifecycleConfigurationOutput
        by rules::put_lifecycle;
    delete_bucket_lifecycle(DeleteBucketLifecycleInput) -> DeleteBucketLifecycleOutput by rules::delete_lifecycle;
    get_bucket_cors(GetBucketCorsInput) -> GetBucketCorsOutput by settings::get_cors;
    put_bucket_cors(PutBucketCorsInput) -> PutBucketCorsOutput by settings::put_cors;
    delete_bucket_cors(DeleteBucketCorsInput) -> DeleteBucketCorsOutput by settings::delete_cors;
    get_bucket_tagging(GetBucketTaggingInput) -> GetBucketTaggingOutput by tags::get_bucket;
    put_bucket_tagging(PutBucketTaggingInput) -> PutBucketTaggingOutput by tags::put_bucket;
    delete_bucket_tagging(DeleteBucketTaggingInput) -> DeleteBucketTaggingOutput by tags::delete_bucket;
    get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput by settings::get_versioning;
    put_bucket_versioning(PutBucketVersioningInput) -> PutBucketVersioningOutput by settings::put_versioning;
    get_bucket_acl(GetBucketAclInput) -> GetBucketAclOutput by settings::get_acl;
    put_bucket_acl(PutBucketAclInput) -> PutBucketAclOutput by settings::put_acl;
    get_bucket_ownership_controls(GetBucketOwnershipControlsInput) -> GetBucketOwnershipControlsOutput by settings::get_ownership;
    put_bucket_ownership_controls(PutBucketOwnershipControlsInput) -> PutBucketOwnershipControlsOutput by settings::put_ownership;
    get_public_access_block(GetPublicAccessBlockInput) -> GetPublicAccessBlockOutput by settings::get_block;
    put_public_access_block(PutPublicAccessBlockInput) -> PutPublicAccessBlockOutput by settings::put_block;
    delete_public_access_block(DeletePublicAccessBlockInput) -> DeletePublicAccessBlockOutput by settings::delete_block;
    get_bucket_policy(GetBucketPolicyInput) -> GetBucketPolicyOutput by settings::get_policy;
    put_bucket_policy(PutBucketPolicyInput) -> PutBucketPolicyOutput by settings::put_policy;
    delete_bucket_policy(DeleteBucketPolicyInput) -> DeleteBucketPolicyOutput by settings::delete_policy;
    get_bucket_policy_status(GetBucketPolicyStatusInput) -> GetBucketPolicyStatusOutput by settings::get_policy_status;
    get_bucket_encryption(GetBucketEncryptionInput) -> GetBucketEncryptionOutput by settings::get_encryption;
    get_bucket_request_payment(GetBucketRequestPaymentInput) -> GetBucketRequestPaymentOutput by settings::get_payer;
    get_bucket_logging(GetBucketLoggingInput) -> GetBucketLoggingOutput by settings::get_logging;
    get_bucket_accelerate_configuration(GetBucketAccelerateConfigurationInput) -> GetBucketAccelerateConfigurationOutput
        by settings::get_acceleration;
    get_bucket_website(GetBucketWebsiteInput) -> GetBucketWebsiteOutput by settings::get_website;
    get_bucket_replication(GetBucketReplicationInput) -> GetBucketReplicationOutput by settings::get_replication;
    get_object_tagging(GetObjectTaggingInput) -> GetObjectTaggingOutput by tags::get;
    put_object_tagging(PutObjectTaggingInput) -> PutObjectTaggingOutput by tags::put;
    delete_object_tagging(DeleteObjectTaggingInput) -> DeleteObjectTaggingOutput by tags::delete;
    create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput by uploads::create;
    upload_part(UploadPartInput) -> UploadPartOutput by uploads::upload_part;
    upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput by uploads::upload_part_copy;
    complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput by uploads::complete;
    abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput by uploads::abort;
    list_parts(ListPartsInput) -> ListPartsOutput by uploads::list_parts;
    list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput by uploads::list_uploads;
}

/// A time of ours on the wire.
pub fn timestamp(ms: i64) -> Timestamp {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH).into()
}

/// A time on the wire as ours: milliseconds since the epoch.
pub fn millis(at: Timestamp) -> i64 {
    let nanos = OffsetDateTime::from(at).unix_timestamp_nanos();
    i64::try_from(nanos / 1_000_000).unwrap_or_default()
}

/// Lengths on the wire are signed.
pub fn length(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A count that `limit` bounds.
pub fn page_size(asked: Option<i32>, most: i32) -> Result<i32, S3Error> {
    match asked.unwrap_or(most) {
        count if count < 0 => Err(Refusal::InvalidArgument("the page size is negative".into()).into()),
        count => Ok(count.min(most)),
    }
}

/// There is one version of each object, named `null`.
pub fn check_version(version: Option<&str>) -> Result<(), S3Error> {
    match version {
        None | Some("null" | "") => Ok(()),
        Some(_) => Err(Refusal::NoSuchVersion.into()),
    }
}

/// Where a copy comes from.
pub fn source_place(source: &CopySource) -> Result<Place, S3Error> {
    let CopySource::Bucket { bucket, key, version_id } = source else {
        return Err(Refusal::InvalidArgument("copy sources are written bucket/key".into()).into());
    };
    check_version(version_id.as_deref())?;
    Ok(Place { bucket: bucket.to_string(), key: key.to_string() })
}
