//! News for people, to an address of theirs: one signed POST.
//!
//! `x-fanreel-signature: t=<seconds since 1970>,v1=<hex>`, where the hex is HMAC-SHA256 (RFC 2104) by the shared secret of
//! `<t>.<body>`: whoever checks it refuses an old `t`, so that a message that was overheard is not played again.

use std::{sync::Arc, time::Duration};

use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime_api::client::{http::HttpConnector, orchestrator::HttpRequest};
use aws_smithy_types::body::SdkBody;
use hmac::{Hmac, Mac};
use pipeline::{Fault, Shortage, message::Notification, ports::Clock};
use sha2::Sha256;

use crate::clock::{SystemClock, pause};

/// Tries within one delivery; the message that brought the news comes back after them.
const TRIES: u32 = 3;
/// For one answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Where people are told.
#[derive(Clone)]
pub struct Webhook {
    url: String,
    secret: String,
    connector: Arc<Connector>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("at", &place(&self.url)).finish_non_exhaustive()
    }
}

impl Webhook {
    /// `https`, or `http` on this machine. The error says what to write instead.
    pub fn new(url: &str, secret: &str) -> Result<Self, String> {
        let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"]
            .iter()
            .any(|host| url.strip_prefix(host).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/'])));
        if !local && !url.starts_with("https://") {
            return Err(format!("WEBHOOK_URL is `{url}` and must begin with https://"));
        }
        if secret.is_empty() {
            return Err("WEBHOOK_SECRET is missing: without it nobody can tell who sends".into());
        }
        let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
        let connector = Arc::new(Connector::builder().tls_provider(provider).build());
        Ok(Self { url: url.to_owned(), secret: secret.to_owned(), connector })
    }

    /// Until somebody says that it has arrived. `Retry` if nobody does.
    pub async fn send(&self, notification: &Notification) -> Result<(), Fault> {
        let odd = |e: &dyn std::fmt::Display| Fault::escalate(Shortage::Tool, format!("a notification cannot be written: {e}"));
        let body = serde_json::to_string(notification).map_err(|e| odd(&e))?;
        let mut last = String::new();
        for round in 0..TRIES {
            if round > 0 {
                pause(round + 2).await;
            }
            let request = self.request(&body, SystemClock.now_ms() / 1000).map_err(|e| odd(&e))?;
            match tokio::time::timeout(ANSWER, self.connector.call(request)).await {
                Ok(Ok(answer)) if answer.status().is_success() => return Ok(()),
                Ok(Ok(answer)) => last = format!("it answered {}", answer.status().as_u16()),
                Ok(Err(error)) => last = format!("it cannot be reached: {error}"),
                Err(_) => last = format!("it did not answer within {} s", ANSWER.as_secs()),
            }
        }
        Err(Fault::Retry(format!("telling {}: {last}", place(&self.url))))
    }

    fn request(&self, body: &str, at_s: u64) -> Result<HttpRequest, String> {
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.set_method("POST").map_err(|e| e.to_string())?;
        request.set_uri(self.url.as_str()).map_err(|e| e.to_string())?;
        let headers = request.headers_mut();
        headers.try_insert("content-type", "application/json").map_err(|e| e.to_string())?;
        headers.try_insert("x-fanreel-signature", signature(&self.secret, body, at_s)?).map_err(|e| e.to_string())?;
        Ok(request)
    }
}

/// Scheme and host: what follows them may be as secret as a password.
fn place(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    format!("{scheme}://{}", host.rsplit('@').next().unwrap_or_default())
}

fn signature(secret: &str, body: &str, at_s: u64) -> Result<String, String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|e| e.to_string())?;
    mac.update(format!("{at_s}.{body}").as_bytes());
    Ok(format!("t={at_s},v1={}", hex::encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_in_an_address_is_not_told() {
        for url in ["https://user:word@hooks.example:8443/services/T0/SECRET?key=1", "https://hooks.example:8443?key=1"] {
            assert_eq!(place(url), "https://hooks.example:8443");
        }
    }

    /// By `printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key`.
    #[test]
    fn the_signature_is_what_others_compute() {
        let expected = "a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03";
        assert_eq!(signature("key", "{\"a\":1}", 1_700_000_000).unwrap(), format!("t=1700000000,v1={expected}"));
    }

    #[test]
    fn only_safe_addresses_are_taken() {
        for (url, secret, why) in [
            ("http://example.com/", "s", "https://"),
            ("http://127.0.0.1.example.com/", "s", "https://"),
            ("https://example.com/", "", "WEBHOOK_SECRET"),
        ] {
            assert!(Webhook::new(url, secret).unwrap_err().contains(why), "{url}");
        }
        assert!(Webhook::new("http://127.0.0.1:1/x", "s").is_ok() && Webhook::new("https://example.com/x", "s").is_ok());
        let shown = format!("{:?}", Webhook::new("https://example.com/", "hush").unwrap());
        assert!(!shown.contains("hush"), "{shown}");
    }
}
