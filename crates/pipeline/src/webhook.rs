//! Whether a request that claims to bring news of uploads is to be believed and can be read. Pure.

use sha2::{Digest as _, Sha256};

use crate::message::Upload;

/// SQS takes more; the platform's and other clouds' limits are around this. A store sends one record a request. Bytes.
const MAX_BODY: usize = 200 << 10;
/// Shorter ones can be guessed by trying.
const MIN_SECRET: usize = 16;

/// What both sides know. Kept as its hash, so that comparing takes as long whatever is compared.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// Error: it is missing or short.
    pub fn new(secret: Option<String>) -> Result<Self, String> {
        let long = secret.filter(|secret| secret.len() >= MIN_SECRET);
        let long = long.ok_or_else(|| format!("DOOR_SECRET must be set and have at least {MIN_SECRET} characters"))?;
        Ok(Self(Sha256::digest(long).into()))
    }

    fn is(&self, claimed: &str) -> bool {
        self.0 == <[u8; 32]>::from(Sha256::digest(claimed))
    }
}

/// Why a request is not passed on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the header Authorization must be: Bearer and the shared secret")]
    Stranger,
    #[error("{0} bytes; at most {MAX_BODY} are taken")]
    TooLarge(usize),
    #[error("{0}")]
    NoEvent(String),
}

impl Refusal {
    /// HTTP's.
    pub fn status(&self) -> u16 {
        match self {
            Self::Stranger => 401,
            Self::TooLarge(_) => 413,
            Self::NoEvent(_) => 400,
        }
    }
}

/// Looks at the secret first: a stranger learns nothing of what can be read.
pub fn admit(secret: &Secret, authorization: Option<&str>, body: &str) -> Result<(), Refusal> {
    let claimed = authorization.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if !secret.is(claimed.trim()) {
        return Err(Refusal::Stranger);
    }
    if body.len() > MAX_BODY {
        return Err(Refusal::TooLarge(body.len()));
    }
    // By a rule only EventBridge itself sends, and what a rule has chosen is not held to the watched prefix.
    match Upload::parse(body).map_err(Refusal::NoEvent)? {
        Upload::Records(records) if records.iter().any(|record| record.chosen) => {
            Err(Refusal::NoEvent("events of EventBridge do not come by this door".into()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "a-secret-of-yours";
    const EVENT: &str = r#"{"EventName":"s3:ObjectCreated:Put","Records":[{"eventName":"s3:ObjectCreated:Put",
        "s3":{"bucket":{"name":"b"},"object":{"key":"uploads%2Fa.mp4","size":5,"eTag":"e","sequencer":"0A"}}}]}"#;

    fn of(authorization: Option<&str>, body: &str) -> Result<(), u16> {
        let secret = Secret::new(Some(SECRET.into())).unwrap();
        admit(&secret, authorization, body).map_err(|refusal| refusal.status())
    }

    #[test]
    fn only_who_knows_the_secret_is_heard() {
        assert_eq!(of(Some("Bearer a-secret-of-yours"), EVENT), Ok(()));
        for wrong in
            [None, Some(""), Some("Bearer "), Some("Bearer a-secret-of-your"), Some("a-secret-of-yours"), Some("Basic a-secret-of-yours")]
        {
            assert_eq!(of(wrong, EVENT), Err(401), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_no_event_of_a_store_is_refused() {
        let rule = r#"{"detail-type":"Object Created","detail":{"bucket":{"name":"b"},"object":{"key":"any/key"}}}"#;
        for (body, status) in [("hello", 400), ("{}", 400), (rule, 400), (&" ".repeat(MAX_BODY + 1), 413)] {
            assert_eq!(of(Some("Bearer a-secret-of-yours"), body), Err(status));
        }
    }

    #[test]
    fn a_secret_that_can_be_guessed_is_none() {
        for secret in [None, Some(String::new()), Some("short".into())] {
            assert!(Secret::new(secret).unwrap_err().contains("DOOR_SECRET"));
        }
    }
}
