//! Checksums as AWS's SDKs send them: CRC32, CRC32C, CRC64NVME, SHA1, SHA256, and MD5 for `ETag` and `Content-MD5`.
//!
//! Rules: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>. Every object and every
//! part has exactly one checksum; a client that names none gets CRC64NVME, as on AWS.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use http::HeaderMap;
use s3s::{
    checksum::ChecksumHasher,
    crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256},
    dto,
};
use serde::{Deserialize, Serialize};

use super::{Refusal, S3Error};

/// One of the algorithms that S3 knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// The name in `x-amz-checksum-algorithm`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    pub fn from_name(name: &str) -> Result<Self, S3Error> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| Refusal::InvalidRequest(format!("checksum algorithm {name} is unknown")).into())
    }

    fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// Its CRC, where the sum of a whole follows from the sums of its parts.
    fn crc(self) -> Option<crc_fast::CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(crc_fast::CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(crc_fast::CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(crc_fast::CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }
}

/// How the checksum of a multipart object is made from those of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SumRule {
    pub algorithm: Algorithm,
    /// `FULL_OBJECT`; else `COMPOSITE`.
    pub whole: bool,
}

impl SumRule {
    /// What `CreateMultipartUpload` asked for, with AWS's defaults and refusals.
    pub fn new(algorithm: Option<&str>, kind: Option<&str>) -> Result<Self, S3Error> {
        let algorithm = algorithm.map(Algorithm::from_name).transpose()?;
        let whole = match kind {
            None => matches!(algorithm, None | Some(Algorithm::Crc64Nvme)),
            Some("FULL_OBJECT") => true,
            Some("COMPOSITE") => false,
            Some(other) => return Err(Refusal::InvalidRequest(format!("checksum type {other} is unknown")).into()),
        };
        let algorithm = algorithm.unwrap_or(Algorithm::Crc64Nvme);
        if whole == algorithm.crc().is_some() || (!whole && matches!(algorithm, Algorithm::Crc32 | Algorithm::Crc32c)) {
            return Ok(Self { algorithm, whole });
        }
        let (name, kind) = (algorithm.name(), if whole { "FULL_OBJECT" } else { "COMPOSITE" });
        Err(Refusal::InvalidRequest(format!("checksum type {kind} does not go with {name}")).into())
    }

    /// The checksum of an object from its parts' checksums and lengths in bytes, in order.
    pub fn of_parts<'a>(self, parts: impl IntoIterator<Item = (&'a Sum, u64)>) -> Result<Sum, S3Error> {
        let mut all = Vec::new();
        let mut count = 0_usize;
        let mut crc: Option<u64> = None;
        for (sum, length) in parts {
            let raw = sum.raw()?;
            count += 1;
            if self.whole {
                let next = raw.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
                crc = Some(match (crc, self.algorithm.crc()) {
                    (Some(before), Some(crc)) => crc_fast::checksum_combine(crc, before, next, length),
                    _ => next,
                });
            } else {
                all.extend_from_slice(&raw);
            }
        }
        let value = if self.whole {
            let bytes = crc.unwrap_or_default().to_be_bytes();
            let width = if self.algorithm == Algorithm::Crc64Nvme { 8 } else { 4 };
            BASE64.encode(&bytes[8 - width..])
        } else {
            let mut digests = Digests::new(&[self.algorithm]);
            digests.update(&all);
            format!("{}-{count}", digests.finish().sum_of(self.algorithm)?)
        };
        Ok(Sum { algorithm: self.algorithm, value, whole: self.whole })
    }
}

/// The checksum of an object or a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    pub algorithm: Algorithm,
    /// Base64, with `-<parts>` behind it for a composite one.
    pub value: String,
    /// `FULL_OBJECT`; else `COMPOSITE`.
    pub whole: bool,
}

impl Sum {
    fn raw(&self) -> Result<Vec<u8>, S3Error> {
        BASE64.decode(&self.value).map_err(|_| S3Error::Record("a part's checksum is not Base64".into()))
    }

    /// As the five optional fields of S3's answers.
    pub fn to_dto(&self) -> dto::Checksum {
        let mut fields = dto::Checksum::default();
        let value = Some(self.value.clone());
        match self.algorithm {
            Algorithm::Crc32 => fields.checksum_crc32 = value,
            Algorithm::Crc32c => fields.checksum_crc32c = value,
            Algorithm::Crc64Nvme => fields.checksum_crc64nvme = value,
            Algorithm::Sha1 => fields.checksum_sha1 = value,
            Algorithm::Sha256 => fields.checksum_sha256 = value,
        }
        fields.checksum_type = Some(dto::ChecksumType::from_static(if self.whole { "FULL_OBJECT" } else { "COMPOSITE" }));
        fields
    }
}

/// Checksums that a client says its bytes have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims(Vec<(Algorithm, String)>);

impl Claims {
    /// From the five fields in [`Algorithm::ALL`]'s order.
    pub fn new(fields: [Option<String>; 5]) -> Self {
        Self(Algorithm::ALL.into_iter().zip(fields).filter_map(|(algorithm, value)| Some((algorithm, value?))).collect())
    }

    /// Adds what came behind the body.
    pub fn add_trailers(&mut self, trailers: &HeaderMap) {
        for algorithm in Algorithm::ALL {
            if let Some(value) = trailers.get(algorithm.header()).and_then(|value| value.to_str().ok()) {
                self.0.push((algorithm, value.trim().to_owned()));
            }
        }
    }

    pub fn algorithms(&self) -> Vec<Algorithm> {
        self.0.iter().map(|(algorithm, _)| *algorithm).collect()
    }

    pub fn of(&self, algorithm: Algorithm) -> Option<&str> {
        self.0.iter().find(|(of, _)| *of == algorithm).map(|(_, value)| value.as_str())
    }

    /// Refuses bytes that are not what the client says.
    pub fn verify(&self, found: &Found) -> Result<(), S3Error> {
        for (algorithm, claimed) in &self.0 {
            let value = found.sum_of(*algorithm)?;
            if value != *claimed {
                let name = algorithm.name();
                return Err(Refusal::BadDigest(format!("the {name} you sent is {claimed}, the bytes have {value}")).into());
            }
        }
        Ok(())
    }
}

/// The algorithm that `x-amz-trailer` promises, if it promises a checksum.
pub fn promised(headers: &HeaderMap) -> Option<Algorithm> {
    let trailer = headers.get("x-amz-trailer")?.to_str().ok()?;
    Algorithm::ALL.into_iter().find(|algorithm| trailer.split(',').any(|name| name.trim() == algorithm.header()))
}

/// Running digests over a body: MD5 always, and the algorithms asked for.
pub struct Digests {
    md5: Md5,
    sums: ChecksumHasher,
}

impl Digests {
    pub fn new(algorithms: &[Algorithm]) -> Self {
        let wants = |algorithm| algorithms.contains(&algorithm);
        let sums = ChecksumHasher {
            crc32: wants(Algorithm::Crc32).then(Crc32::new),
            crc32c: wants(Algorithm::Crc32c).then(Crc32c::new),
            sha1: wants(Algorithm::Sha1).then(Sha1::new),
            sha256: wants(Algorithm::Sha256).then(Sha256::new),
            crc64nvme: wants(Algorithm::Crc64Nvme).then(Crc64Nvme::new),
        };
        Self { md5: Md5::new(), sums }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.sums.update(bytes);
    }

    pub fn finish(self) -> Found {
        Found { md5: self.md5.finalize(), sums: self.sums.finalize() }
    }
}

/// The digests of a body.
pub struct Found {
    pub md5: [u8; 16],
    sums: dto::Checksum,
}

impl Found {
    /// Base64 of the sum by this algorithm, which must have been asked for.
    pub fn sum_of(&self, algorithm: Algorithm) -> Result<String, S3Error> {
        let value = match algorithm {
            Algorithm::Crc32 => &self.sums.checksum_crc32,
            Algorithm::Crc32c => &self.sums.checksum_crc32c,
            Algorithm::Crc64Nvme => &self.sums.checksum_crc64nvme,
            Algorithm::Sha1 => &self.sums.checksum_sha1,
            Algorithm::Sha256 => &self.sums.checksum_sha256,
        };
        value.clone().ok_or_else(|| S3Error::Record(format!("no {} was computed", algorithm.name())))
    }

    /// As what is stored of a body that is not made of parts.
    pub fn sum(&self, algorithm: Algorithm) -> Result<Sum, S3Error> {
        Ok(Sum { algorithm, value: self.sum_of(algorithm)?, whole: true })
    }

    /// Refuses bytes whose MD5 is not the one in `Content-MD5`.
    pub fn verify_md5(&self, content_md5: Option<&str>) -> Result<(), S3Error> {
        let Some(claimed) = content_md5 else { return Ok(()) };
        let raw = BASE64.decode(claimed).ok().filter(|raw| raw.len() == 16).ok_or(Refusal::InvalidDigest)?;
        if raw != self.md5 {
            return Err(Refusal::BadDigest("the Content-MD5 you sent is not that of the bytes".into()).into());
        }
        Ok(())
    }
}

/// The `ETag` of a multipart object: MD5 of its parts' MD5s, `-`, the number of parts.
pub fn multipart_etag<'a>(part_etags: impl IntoIterator<Item = &'a str>) -> Result<String, S3Error> {
    let mut md5 = Md5::new();
    let mut count = 0_usize;
    for etag in part_etags {
        let raw = hex::decode(etag).map_err(|_| S3Error::Record("a part's ETag is not hexadecimal".into()))?;
        md5.update(&raw);
        count += 1;
    }
    Ok(format!("{}-{count}", hex::encode(md5.finalize())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(bytes: &[u8]) -> Found {
        let mut digests = Digests::new(&Algorithm::ALL);
        digests.update(bytes);
        digests.finish()
    }

    #[test]
    fn known_values() {
        let sums = found(b"123456789");
        assert_eq!(hex::encode(sums.md5), "25f9e794323b453885f5181f1b624d0b");
        let hexadecimal = |algorithm| hex::encode(BASE64.decode(sums.sum_of(algorithm).unwrap()).unwrap());
        assert_eq!(hexadecimal(Algorithm::Crc32), "cbf43926");
        assert_eq!(hexadecimal(Algorithm::Crc32c), "e3069283");
        assert_eq!(hexadecimal(Algorithm::Crc64Nvme), "ae8b14860a799888");
        assert_eq!(hexadecimal(Algorithm::Sha1), "f7c3bc1d808e04732adf679965ccc34ca7ae3441");
    }

    #[test]
    fn multipart_etag_is_md5_of_md5s() {
        let part = hex::encode(found(b"a").md5);
        // printf '\x0c\xc1\x75…\x61' twice, through md5sum
        let both = hex::decode(part.repeat(2)).unwrap();
        let expected = format!("{}-2", hex::encode(found(&both).md5));
        assert_eq!(multipart_etag([part.as_str(), part.as_str()]).unwrap(), expected);
        assert!(multipart_etag(["nonsense"]).is_err());
    }

    #[test]
    fn rules_follow_aws() {
        let rule = |algorithm, kind| SumRule::new(algorithm, kind).map(|rule| (rule.algorithm, rule.whole));
        assert_eq!(rule(None, None).unwrap(), (Algorithm::Crc64Nvme, true));
        assert_eq!(rule(Some("CRC32"), None).unwrap(), (Algorithm::Crc32, false));
        assert_eq!(rule(Some("CRC32"), Some("FULL_OBJECT")).unwrap(), (Algorithm::Crc32, true));
        assert_eq!(rule(Some("SHA256"), None).unwrap(), (Algorithm::Sha256, false));
        assert!(rule(Some("SHA256"), Some("FULL_OBJECT")).is_err());
        assert!(rule(Some("CRC64NVME"), Some("COMPOSITE")).is_err());
        assert!(rule(Some("ADLER"), None).is_err());
    }

    #[test]
    fn a_wrong_claim_is_refused() {
        let claims = Claims::new([Some("AAAAAA==".into()), None, None, None, None]);
        assert!(claims.verify(&found(b"x")).is_err());
        assert!(found(b"x").verify_md5(Some("short")).is_err());
        assert!(found(b"x").verify_md5(Some(&BASE64.encode(found(b"x").md5))).is_ok());
    }

    proptest! {
        #[test]
        fn whole_sums_of_parts_are_sums_of_the_whole(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..6)) {
            let whole = found(&parts.concat());
            for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
                let sums: Vec<_> = parts.iter().map(|part| (found(part).sum(algorithm).unwrap(), part.len() as u64)).collect();
                let sum = SumRule { algorithm, whole: true }.of_parts(sums.iter().map(|(sum, length)| (sum, *length))).unwrap();
                prop_assert_eq!(sum.value, whole.sum_of(algorithm).unwrap());
            }
        }
    }
}
