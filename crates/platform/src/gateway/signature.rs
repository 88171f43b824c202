//! Checks AWS Signature Version 4 of a request, for the services that do not check their own.
//!
//! The canonical request is rebuilt from what arrived; the key derivation and the HMAC are `aws-sigv4`'s.
//! Any region is taken: a client's configured region says nothing about where this platform is.

use std::time::SystemTime;

use http::{HeaderMap, Uri, request::Parts};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};
use time::{OffsetDateTime, PrimitiveDateTime, format_description::BorrowedFormatItem, macros::format_description};

/// How far a client's clock may be off, seconds (AWS: 5 minutes).
const MAX_SKEW: i64 = 300;
/// Most headers in `SignedHeaders`.
const MAX_SIGNED: usize = 100;
const TARGET: &str = "x-amz-target";
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");
/// What `SigV4` encodes: all but the unreserved characters.
const STRICT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const PATH: &AsciiSet = &STRICT.remove(b'/');

/// The key pair that requests are signed with.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
}

/// Why a request is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No signature at all.
    Missing,
    /// A signature with a part missing or unreadable.
    Incomplete(String),
    /// Signed with a key that is not the platform's.
    UnknownKey,
    /// Too old, too new, for another service, or wrong.
    Invalid(String),
}

/// `Credential` of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope<'a> {
    access_key: &'a str,
    date: &'a str,
    region: &'a str,
    pub(super) service: &'a str,
}

impl<'a> Scope<'a> {
    /// `<key>/<date>/<region>/<service>/aws4_request`; the key may hold slashes.
    fn parse(credential: &'a str) -> Option<Self> {
        let mut parts = credential.rsplitn(5, '/');
        let (end, service, region, date) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let access_key = parts.next()?;
        (end == "aws4_request").then_some(Self { access_key, date, region, service })
    }
}

/// The three parts of an `Authorization` header.
struct Authorization<'a> {
    scope: Scope<'a>,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn read(headers: &'a HeaderMap) -> Result<Self, Refusal> {
        let Some(header) = headers.get(http::header::AUTHORIZATION) else { return Err(Refusal::Missing) };
        let incomplete = |part: &str| Refusal::Incomplete(format!("Authorization header requires '{part}' parameter."));
        let text = header.to_str().map_err(|_| Refusal::Incomplete("Authorization header is not text.".into()))?;
        let Some(fields) = text.strip_prefix(ALGORITHM).filter(|rest| rest.starts_with(' ')) else {
            return Err(Refusal::Incomplete(format!("Unsupported AWS 'algorithm'; sign with {ALGORITHM}.")));
        };
        let field = |name: &str| {
            let found = fields.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
            found.ok_or_else(|| incomplete(name))
        };
        let scope = Scope::parse(field("Credential")?).ok_or_else(|| incomplete("Credential"))?;
        let signed_headers: Vec<&str> = field("SignedHeaders")?.split(';').take(MAX_SIGNED).collect();
        if !signed_headers.contains(&"host") {
            return Err(Refusal::Invalid("'Host' must be a 'SignedHeader' in the AWS Authorization.".into()));
        }
        // It decides what is done, so it must be covered; AWS asks it of every x-amz- header.
        if headers.contains_key(TARGET) && !signed_headers.contains(&TARGET) {
            return Err(Refusal::Invalid(format!("'{TARGET}' must be a 'SignedHeader' in the AWS Authorization.")));
        }
        Ok(Self { scope, signed_headers, signature: field("Signature")? })
    }
}

/// The service that a request is signed for, by header or query; none where it is not signed.
pub(super) fn service(parts: &Parts) -> Option<String> {
    if let Some(header) = parts.headers.get(http::header::AUTHORIZATION) {
        let (_, rest) = header.to_str().ok()?.split_once("Credential=")?;
        let credential = rest.split([',', ' ']).next()?;
        return Scope::parse(credential).map(|scope| scope.service.to_owned());
    }
    let (_, value) = pairs(&parts.uri).into_iter().find(|(name, _)| name == "X-Amz-Credential")?;
    Scope::parse(&value).map(|scope| scope.service.to_owned())
}

/// A signature that fits all but the bytes that it was made of: checked before a body is read.
pub(super) struct Claim<'a> {
    parts: &'a Parts,
    authorization: Authorization<'a>,
    stamp: &'a str,
    time: OffsetDateTime,
}

impl<'a> Claim<'a> {
    /// `service` is the one that the request goes to.
    pub(super) fn read(parts: &'a Parts, service: &str, keys: &Keys, now: OffsetDateTime) -> Result<Self, Refusal> {
        let authorization = Authorization::read(&parts.headers)?;
        let scope = &authorization.scope;
        if scope.access_key != keys.access_key {
            return Err(Refusal::UnknownKey);
        }
        let invalid = |message: String| Err(Refusal::Invalid(message));
        if scope.service != service {
            return invalid(format!("Credential should be scoped to correct service: '{service}'."));
        }
        let (stamp, time) = stamp(&parts.headers)?;
        if !stamp.starts_with(scope.date) || scope.date.len() != 8 {
            return invalid("Date in Credential scope does not match YYYYMMDD from the request's date.".into());
        }
        let skew = (now - time).whole_seconds();
        if skew.abs() > MAX_SKEW {
            let word = if skew > 0 { "expired" } else { "not yet current" };
            let clock = "is more than 5 minutes from the clock here; set the client's clock.";
            return invalid(format!("Signature {word}: {stamp} {clock}"));
        }
        Ok(Self { parts, authorization, stamp, time })
    }

    /// Whether the signature is that of this body, with this key.
    pub(super) fn check(&self, body: &[u8], keys: &Keys) -> Result<(), Refusal> {
        let Scope { date, region, service, .. } = self.authorization.scope;
        let request = canonical_request(self.parts, body, &self.authorization.signed_headers)?;
        let hash = hex::encode(Sha256::digest(request));
        let to_sign = format!("{ALGORITHM}\n{}\n{date}/{region}/{service}/aws4_request\n{hash}", self.stamp);
        let time = SystemTime::from(self.time);
        let key = aws_sigv4::sign::v4::generate_signing_key(&keys.secret_key, time, region, service);
        let expected = aws_sigv4::sign::v4::calculate_signature(key, to_sign.as_bytes());
        if !equal(expected.as_bytes(), self.authorization.signature.as_bytes()) {
            let message = "The request signature we calculated does not match the signature you provided. \
                           Check your AWS Secret Access Key and signing method.";
            return Err(Refusal::Invalid(message.into()));
        }
        Ok(())
    }
}

/// The time of signing, as sent and as a time.
fn stamp(headers: &HeaderMap) -> Result<(&str, OffsetDateTime), Refusal> {
    let missing = || Refusal::Incomplete("Authorization header requires existence of an 'X-Amz-Date' header: 20060102T150405Z.".into());
    let stamp = headers.get("x-amz-date").and_then(|value| value.to_str().ok()).ok_or_else(missing)?;
    let time = PrimitiveDateTime::parse(stamp, DATE).map_err(|_| missing())?.assume_utc();
    Ok((stamp, time))
}

fn canonical_request(parts: &Parts, body: &[u8], signed_headers: &[&str]) -> Result<String, Refusal> {
    let path = match parts.uri.path() {
        "" => "/".to_owned(),
        // As sent, it is encoded once; these services sign it encoded twice.
        path => utf8_percent_encode(path, PATH).to_string(),
    };
    let mut query: Vec<String> = pairs(&parts.uri)
        .iter()
        .map(|(name, value)| format!("{}={}", utf8_percent_encode(name, STRICT), utf8_percent_encode(value, STRICT)))
        .collect();
    query.sort();
    let mut headers = String::new();
    for name in signed_headers {
        let value =
            header_value(parts, name).ok_or_else(|| Refusal::Invalid(format!("The signed header '{name}' is not in the request.")))?;
        headers.extend([name, ":", &value, "\n"]);
    }
    let (method, query, names) = (&parts.method, query.join("&"), signed_headers.join(";"));
    let payload = hex::encode(Sha256::digest(body));
    Ok(format!("{method}\n{path}\n{query}\n{headers}\n{names}\n{payload}"))
}

/// Values of a header joined by commas, runs of spaces as one.
fn header_value(parts: &Parts, name: &str) -> Option<String> {
    let mut values = Vec::new();
    for value in parts.headers.get_all(name) {
        let text = value.to_str().ok()?;
        values.push(text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "));
    }
    (!values.is_empty()).then(|| values.join(","))
}

/// The query's pairs, decoded.
fn pairs(uri: &Uri) -> Vec<(String, String)> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let query = uri.query().unwrap_or_default();
    let split = |pair: &str| pair.split_once('=').map_or((decode(pair), String::new()), |(n, v)| (decode(n), decode(v)));
    query.split('&').filter(|pair| !pair.is_empty()).map(split).collect()
}

/// Compares in a time that does not tell where the first difference is.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differences, (x, y)| differences | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_credential_types::Credentials;
    use aws_sigv4::{
        http_request::{SignableBody, SignableRequest, SigningSettings, sign},
        sign::v4::SigningParams,
    };
    use http::Request;

    use super::*;

    fn verify(parts: &Parts, body: &[u8], service: &str, keys: &Keys, now: OffsetDateTime) -> Result<(), Refusal> {
        Claim::read(parts, service, keys, now)?.check(body, keys)
    }

    const NOW: u64 = 1_800_000_000;
    const BODY: &[u8] = br#"{"TableName":"t"}"#;

    fn at(seconds: u64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).unwrap()).unwrap()
    }

    fn keys() -> Keys {
        Keys { access_key: "test".into(), secret_key: "secret".into() }
    }

    /// A request signed by the SDK's own signer.
    fn signed(uri: &str, service: &str, secret: &str) -> Parts {
        let identity = Credentials::new("test", secret, None, None, "test").into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region("eu-central-1")
            .name(service)
            .time(SystemTime::UNIX_EPOCH + Duration::from_secs(NOW))
            .settings(SigningSettings::default())
            .build()
            .unwrap();
        let headers = [("host", "127.0.0.1:4566"), ("x-amz-target", "X.Y"), ("x-odd", "  a   b ")];
        let signable = SignableRequest::new("POST", uri, headers.into_iter(), SignableBody::Bytes(BODY)).unwrap();
        let (instructions, _) = sign(signable, &params.into()).unwrap().into_parts();
        let mut request = Request::builder().method("POST").uri(uri);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut request = request.body(()).unwrap();
        instructions.apply_to_request_http1x(&mut request);
        request.into_parts().0
    }

    fn check(parts: &Parts, now: u64) -> Result<(), Refusal> {
        verify(parts, BODY, "dynamodb", &keys(), at(now))
    }

    #[test]
    fn what_the_sdk_signs_is_let_in() {
        for uri in ["http://127.0.0.1:4566/", "http://127.0.0.1:4566/2015-03-31/functions/a%3Ab/invocations?Qualifier=x%20y&a=1&a=0&empty="]
        {
            let parts = signed(uri, "dynamodb", "secret");
            assert_eq!(check(&parts, NOW), Ok(()), "{uri}");
            assert_eq!(check(&parts, NOW + 300), Ok(()));
            assert_eq!(service(&parts).as_deref(), Some("dynamodb"));
        }
    }

    #[test]
    fn what_differs_from_the_signed_is_refused() {
        let parts = || signed("http://127.0.0.1:4566/a?b=c", "dynamodb", "secret");
        let invalid = |result: Result<(), Refusal>, part: &str| match result {
            Err(Refusal::Invalid(message)) => assert!(message.contains(part), "{message}"),
            other => panic!("{other:?}"),
        };
        invalid(check(&signed("http://127.0.0.1:4566/a?b=c", "dynamodb", "other"), NOW), "does not match");
        invalid(verify(&parts(), b"{}", "dynamodb", &keys(), at(NOW)), "does not match");
        let mut changed = parts();
        changed.uri = "http://127.0.0.1:4566/a?b=d".parse().unwrap();
        invalid(check(&changed, NOW), "does not match");
        let mut changed = parts();
        changed.headers.insert("x-amz-target", "Z.Y".parse().unwrap());
        invalid(check(&changed, NOW), "does not match");
        let mut changed = parts();
        changed.headers.remove("x-odd");
        invalid(check(&changed, NOW), "'x-odd' is not in the request");
        invalid(check(&parts(), NOW + 301), "Signature expired");
        invalid(check(&parts(), NOW - 301), "not yet current");
        invalid(verify(&parts(), BODY, "sqs", &keys(), at(NOW)), "correct service: 'sqs'");
        let other = Keys { access_key: "other".into(), ..keys() };
        assert_eq!(verify(&parts(), BODY, "dynamodb", &other, at(NOW)), Err(Refusal::UnknownKey));
    }

    #[test]
    fn missing_and_broken_signatures_are_told_apart() {
        let with = |value: Option<&str>| {
            let mut parts = signed("http://h/", "dynamodb", "secret");
            parts.headers.remove("authorization");
            value.map(|value| parts.headers.insert("authorization", value.parse().unwrap()));
            check(&parts, NOW).unwrap_err()
        };
        assert_eq!(with(None), Refusal::Missing);
        for broken in [
            "Bearer x",
            "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host",
            "AWS4-HMAC-SHA256 SignedHeaders=host, Signature=x",
            "AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=x",
        ] {
            assert!(matches!(with(Some(broken)), Refusal::Incomplete(_)), "{broken}");
        }
        let unsigned_host = "AWS4-HMAC-SHA256 Credential=test/20270115/r/dynamodb/aws4_request, SignedHeaders=a, Signature=x";
        assert!(matches!(with(Some(unsigned_host)), Refusal::Invalid(_)));
    }

    #[test]
    fn the_service_of_a_presigned_request_is_in_its_query() {
        let uri = "http://h/b/k?X-Amz-Credential=test%2F20270115%2Fr%2Fs3%2Faws4_request&X-Amz-Signature=x";
        let parts = Request::builder().uri(uri).body(()).unwrap().into_parts().0;
        assert_eq!(service(&parts).as_deref(), Some("s3"));
    }
}
