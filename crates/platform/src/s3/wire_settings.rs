//! Settings of buckets on the wire, but for tags.
//!
//! What only says who may do what is answered as of a new bucket of the one account: ACLs are off, nothing is public.
//! Policies and the public access block are kept and shown, and have no effect: there is one user, who may do all.
#![allow(clippy::wildcard_imports, reason = "dozens of shapes with S3's own names")]

use s3s::{S3Request, dto::*};
use serde::{Deserialize, Serialize};

use super::{
    Refusal, S3, S3Error, cors,
    settings::{self, Kind},
    store::{self, Place},
    wire_lists::owner,
};

/// Rules of one bucket: AWS's limit.
const MAX_CORS_RULES: usize = 100;
/// Bytes of a policy: AWS's limit.
const MAX_POLICY: usize = 20 * 1024;

/// `GetBucketCors`
pub async fn get_cors(s3: &S3, req: S3Request<GetBucketCorsInput>) -> Result<GetBucketCorsOutput, S3Error> {
    let rules = s3.db.read(move |conn| settings::cors(conn, &req.input.bucket)).await?;
    let rules = rules.ok_or(Refusal::NotSet("NoSuchCORSConfiguration", "The CORS configuration does not exist"))?;
    let some = |list: Vec<String>| Some(list).filter(|list| !list.is_empty());
    let shown = rules.into_iter().map(|rule| CORSRule {
        allowed_headers: some(rule.headers),
        allowed_methods: rule.methods,
        allowed_origins: rule.origins,
        expose_headers: some(rule.expose_headers),
        id: rule.id,
        max_age_seconds: rule.max_age_seconds.and_then(|seconds| i32::try_from(seconds).ok()),
    });
    Ok(GetBucketCorsOutput { cors_rules: Some(shown.collect()) })
}

/// `PutBucketCors`
pub async fn put_cors(s3: &S3, req: S3Request<PutBucketCorsInput>) -> Result<PutBucketCorsOutput, S3Error> {
    let PutBucketCorsInput { bucket, cors_configuration, .. } = req.input;
    let rules: Vec<cors::Rule> = cors_configuration.cors_rules.into_iter().map(cors_rule).collect::<Result<_, _>>()?;
    if rules.is_empty() || rules.len() > MAX_CORS_RULES {
        return Err(Refusal::MalformedXml(format!("a CORS configuration has 1 to {MAX_CORS_RULES} rules")).into());
    }
    s3.db.write(move |change| settings::set(change, &bucket, Kind::Cors, &rules)).await?;
    Ok(PutBucketCorsOutput::default())
}

fn cors_rule(of: CORSRule) -> Result<cors::Rule, S3Error> {
    let invalid = |why: String| Err(Refusal::InvalidRequest(why).into());
    if let Some(method) = of.allowed_methods.iter().find(|method| !["GET", "PUT", "HEAD", "POST", "DELETE"].contains(&method.as_str())) {
        return invalid(format!("Found unsupported HTTP method in CORS config. Unsupported method is {method}"));
    }
    let headers = of.allowed_headers.unwrap_or_default();
    for (what, patterns) in [("AllowedOrigin", &of.allowed_origins), ("AllowedHeader", &headers)] {
        if let Some(pattern) = patterns.iter().find(|pattern| pattern.matches('*').count() > 1) {
            return invalid(format!("{what} \"{pattern}\" can not have more than one wildcard."));
        }
    }
    if of.allowed_methods.is_empty() || of.allowed_origins.is_empty() {
        return Err(Refusal::MalformedXml("a CORS rule has at least one AllowedMethod and one AllowedOrigin".into()).into());
    }
    Ok(cors::Rule {
        id: of.id,
        origins: of.allowed_origins,
        methods: of.allowed_methods,
        headers,
        expose_headers: of.expose_headers.unwrap_or_default(),
        max_age_seconds: of.max_age_seconds.and_then(|seconds| u32::try_from(seconds).ok()),
    })
}

/// `DeleteBucketCors`
pub async fn delete_cors(s3: &S3, req: S3Request<DeleteBucketCorsInput>) -> Result<DeleteBucketCorsOutput, S3Error> {
    s3.db.write(move |change| settings::remove(change, &req.input.bucket, Kind::Cors)).await?;
    Ok(DeleteBucketCorsOutput::default())
}

/// `GetBucketVersioning`: never switched on.
pub async fn get_versioning(s3: &S3, req: S3Request<GetBucketVersioningInput>) -> Result<GetBucketVersioningOutput, S3Error> {
    s3.db.read(move |conn| store::check_bucket(conn, &req.input.bucket)).await?;
    Ok(GetBucketVersioningOutput::default())
}

/// `PutBucketVersioning`
pub async fn put_versioning(s3: &S3, req: S3Request<PutBucketVersioningInput>) -> Result<PutBucketVersioningOutput, S3Error> {
    s3.db.read(move |conn| store::check_bucket(conn, &req.input.bucket)).await?;
    let why = "this store keeps one version of an object: versioning cannot be switched on or suspended";
    Err(Refusal::NotImplemented(why.into()).into())
}

fn owners_grants() -> Grants {
    let Owner { display_name, id } = owner();
    let grantee = Grantee { display_name, email_address: None, id, type_: Type::from_static(Type::CANONICAL_USER), uri: None };
    vec![Grant { grantee: Some(grantee), permission: Some(Permission::from_static(Permission::FULL_CONTROL)) }]
}

/// `GetBucketAcl`
pub async fn get_acl(s3: &S3, req: S3Request<GetBucketAclInput>) -> Result<GetBucketAclOutput, S3Error> {
    s3.db.read(move |conn| store::check_bucket(conn, &req.input.bucket)).await?;
    Ok(GetBucketAclOutput { grants: Some(owners_grants()), owner: Some(owner()) })
}

/// `PutBucketAcl`: what changes nothing is fine.
pub async fn put_acl(s3: &S3, req: S3Request<PutBucketAclInput>) -> Result<PutBucketAclOutput, S3Error> {
    let input = req.input;
    s3.db.read(move |conn| store::check_bucket(conn, &input.bucket)).await?;
    match input.acl.as_ref().map(BucketCannedACL::as_str) {
        Some(BucketCannedACL::PRIVATE) => Ok(PutBucketAclOutput::default()),
        _ => Err(Refusal::AclNotSupported.into()),
    }
}

/// `GetObjectAcl`
pub async fn get_object_acl(s3: &S3, req: S3Request<GetObjectAclInput>) -> Result<GetObjectAclOutput, S3Error> {
    let place = Place { bucket: req.input.bucket, key: req.input.key };
    s3.db.read(move |conn| store::get(conn, &place)).await?;
    Ok(GetObjectAclOutput { grants: Some(owners_grants()), owner: Some(owner()), ..Default::default() })
}

/// `PutObjectAcl`: what changes nothing is fine.
pub async fn put_object_acl(s3: &S3, req: S3Request<PutObjectAclInput>) -> Result<PutObjectAclOutput, S3Error> {
    let input = req.input;
    let place = Place { bucket: input.bucket, key: input.key };
    s3.db.read(move |conn| store::get(conn, &place)).await?;
    match input.acl.as_ref().map(ObjectCannedACL::as_str) {
        Some(ObjectCannedACL::PRIVATE | ObjectCannedACL::BUCKET_OWNER_FULL_CONTROL) => Ok(PutObjectAclOutput::default()),
        _ => Err(Refusal::AclNotSupported.into()),
    }
}

/// `GetBucketOwnershipControls`: ACLs are off.
pub async fn get_ownership(s3: &S3, req: S3Request<GetBucketOwnershipControlsInput>) -> Result<GetBucketOwnershipControlsOutput, S3Error> {
    s3.db.read(move |conn| store::check_bucket(conn, &req.input.bucket)).await?;
    let object_ownership = ObjectOwnership::from_static(ObjectOwnership::BUCKET_OWNER_ENFORCED);
    let controls = OwnershipControls { rules: vec![OwnershipControlsRule { object_ownership }] };
    Ok(GetBucketOwnershipControlsOutput { ownership_controls: Some(controls) })
}

/// `PutBucketOwnershipControls`: what changes nothing is fine.
pub async fn put_ownership(s3: &S3, req: S3Request<PutBucketOwnershipControlsInput>) -> Result<PutBucketOwnershipControlsOutput, S3Error> {
    let PutBucketOwnershipControlsInput { bucket, ownership_controls, .. } = req.input;
    s3.db.read(move |conn| store::check_bucket(conn, &bucket)).await?;
    let enforced = |rule: &OwnershipControlsRule| rule.object_ownership.as_str() == ObjectOwnership::BUCKET_OWNER_ENFORCED;
    if ownership_controls.rules.iter().all(enforced) {
        return Ok(PutBucketOwnershipControlsOutput::default());
    }
    let why = "ACLs are off in this store: the one object ownership is BucketOwnerEnforced";
    Err(Refusal::NotImplemented(why.into()).into())
}

/// The public access block as it is stored; AWS's default for new buckets blocks all.
#[derive(Serialize, Deserialize)]
struct Block([bool; 4]);

/// `GetPublicAccessBlock`
pub async fn get_block(s3: &S3, req: S3Request<GetPublicAccessBlockInput>) -> Result<GetPublicAccessBlockOutput, S3Error> {
    let found: Option<Option<Block>> = s3.db.read(move |conn| settings::get(conn, &req.input.bucket, Kind::PublicAccessBlock)).await?;
    let missing = Refusal::NotSet("NoSuchPublicAccessBlockConfiguration", "The public access block configuration was not found");
    let Block([acls, ignore, policy, restrict]) = found.unwrap_or(Some(Block([true; 4]))).ok_or(missing)?;
    let shown = PublicAccessBlockConfiguration {
        block_public_acls: Some(acls),
        ignore_public_acls: Some(ignore),
        block_public_policy: Some(policy),
        restrict_public_buckets: Some(restrict),
    };
    Ok(GetPublicAccessBlockOutput { public_access_block_configuration: Some(shown) })
}

/// `PutPublicAccessBlock`
pub async fn put_block(s3: &S3, req: S3Request<PutPublicAccessBlockInput>) -> Result<PutPublicAccessBlockOutput, S3Error> {
    let of = req.input.public_access_block_configuration;
    let asked = [of.block_public_acls, of.ignore_public_acls, of.block_public_policy, of.restrict_public_buckets];
    let block = Some(Block(asked.map(Option::unwrap_or_default)));
    s3.db.write(move |change| settings::set(change, &req.input.bucket, Kind::PublicAccessBlock, &block)).await?;
    Ok(PutPublicAccessBlockOutput::default())
}

/// `DeletePublicAccessBlock`
pub async fn delete_block(s3: &S3, req: S3Request<DeletePublicAccessBlockInput>) -> Result<DeletePublicAccessBlockOutput, S3Error> {
    s3.db.write(move |change| settings::set(change, &req.input.bucket, Kind::PublicAccessBlock, &None::<Block>)).await?;
    Ok(DeletePublicAccessBlockOutput::default())
}

/// `GetBucketPolicy`
pub async fn get_policy(s3: &S3, req: S3Request<GetBucketPolicyInput>) -> Result<GetBucketPolicyOutput, S3Error> {
    let policy: Option<String> = s3.db.read(move |conn| settings::get(conn, &req.input.bucket, Kind::Policy)).await?;
    let policy = policy.ok_or(Refusal::NotSet("NoSuchBucketPolicy", "The bucket policy does not exist"))?;
    Ok(GetBucketPolicyOutput { policy: Some(policy) })
}

/// `PutBucketPolicy`: kept and shown, not enforced.
pub async fn put_policy(s3: &S3, req: S3Request<PutBucketPolicyInput>) -> Result<PutBucketPolicyOutput, S3Error> {
    let PutBucketPolicyInput { bucket, policy, .. } = req.input;
    let is_object = serde_json::from_str::<serde_json::Value>(&policy).is_ok_and(|value| value.is_object());
    if !is_object || policy.len() > MAX_POLICY {
        return Err(Refusal::MalformedPolicy.into());
    }
    s3.db.write(move |change| settings::set(change, &bucket, Kind::Policy, &policy)).await?;
    Ok(PutBucketPolicyOutput::default())
}

/// `DeleteBucketPolicy`
pub async fn delete_policy(s3: &S3, req: S3Request<DeleteBucketPolicyInput>) -> Result<DeleteBucketPolicyOutput, S3Error> {
    s3.db.write(move |change| settings::remove(change, &req.input.bucket, Kind::Policy)).await?;
    Ok(DeleteBucketPolicyOutput::default())
}

/// `GetBucketPolicyStatus`: nothing is public.
pub async fn get_policy_status(s3: &S3, req: S3Request<GetBucketPolicyStatusInput>) -> Result<GetBucketPolicyStatusOutput, S3Error> {
    s3.db.read(move |conn| store::check_bucket(conn, &req.input.bucket)).await?;
    Ok(GetBucketPolicyStatusOutput { policy_status: Some(PolicyStatus { is_public: Some(false) }) })
}

/// `GetBucketEncryption`: nothing is encrypted, and this says so.
pub async fn get_encryption(s3: &S3, req: S3Request<GetBucketEncryptionInput>) -> Result<GetBucketEncryptionOutput, S3Error> {
    s3.db.read(move |conn| store::check_bucket(conn, &req.input.bucket)).await?;
    let why = "The server side encryption configuration was not found: this store does not encrypt";
    Err(Refusal::NotSet("ServerSideEncryptionConfigurationNotFoundError", why).into())
}

/// `GetBucketRequestPayment`
pub async fn get_payer(s3: &S3, req: S3Request<GetBucketRequestPaymentInput>) -> Result<GetBucketRequestPaymentOutput, S3Error> {
    s3.db.read(move |conn| store::check_bucket(conn, &req.input.bucket)).await?;
    Ok(GetBucketRequestPaymentOutput { payer: Some(Payer::from_static(Payer::BUCKET_OWNER)) })
}

/// `GetBucketLogging`: off.
pub async fn get_logging(s3: &S3, req: S3Request<GetBucketLoggingInput>) -> Result<GetBucketLoggingOutput, S3Error> {
    s3.db.read(move |conn| store::check_bucket(conn, &req.input.bucket)).await?;
    Ok(GetBucketLoggingOutput::default())
}

/// `GetBucketAccelerateConfiguration`: off.
pub async fn get_acceleration(
    s3: &S3,
    req: S3Request<GetBucketAccelerateConfigurationInput>,
) -> Result<GetBucketAccelerateConfigurationOutput, S3Error> {
    s3.db.read(move |conn| store::check_bucket(conn, &req.input.bucket)).await?;
    Ok(GetBucketAccelerateConfigurationOutput::default())
}

/// `GetBucketWebsite`
pub async fn get_website(s3: &S3, req: S3Request<GetBucketWebsiteInput>) -> Result<GetBucketWebsiteOutput, S3Error> {
    s3.db.read(move |conn| store::check_bucket(conn, &req.input.bucket)).await?;
    Err(Refusal::NotSet("NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration").into())
}

/// `GetBucketReplication`
pub async fn get_replication(s3: &S3, req: S3Request<GetBucketReplicationInput>) -> Result<GetBucketReplicationOutput, S3Error> {
    s3.db.read(move |conn| store::check_bucket(conn, &req.input.bucket)).await?;
    Err(Refusal::NotSet("ReplicationConfigurationNotFoundError", "The replication configuration was not found").into())
}

/// `GetObjectLockConfiguration`
pub async fn get_lock(s3: &S3, req: S3Request<GetObjectLockConfigurationInput>) -> Result<GetObjectLockConfigurationOutput, S3Error> {
    s3.db.read(move |conn| store::check_bucket(conn, &req.input.bucket)).await?;
    Err(Refusal::NotSet("ObjectLockConfigurationNotFoundError", "Object Lock configuration does not exist for this bucket").into())
}
