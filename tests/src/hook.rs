//! Somebody's webhook: takes signed news, after it failed once.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::Sha256;

pub const SECRET: &str = "a secret of theirs";

type Calls = Arc<Mutex<Vec<(String, String)>>>;

pub struct Hook {
    pub url: String,
    calls: Calls,
}

impl Hook {
    /// Listens on a free port of this machine.
    pub async fn start() -> Result<Self> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let calls = Calls::default();
        let routes = Router::new().route("/hook", post(take)).with_state(Arc::clone(&calls));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(Self { url, calls })
    }

    /// What came, once all signatures were found to be right. The first call was refused.
    pub fn news(&self) -> Result<Vec<Value>> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (signature, body) in &calls {
            let (time, code) = signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).context("no signature")?;
            let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())?;
            mac.update(format!("{time}.{body}").as_bytes());
            ensure!(hex::encode(mac.finalize().into_bytes()) == code, "a wrong signature: {signature} of {body}");
        }
        calls.iter().skip(1).map(|(_, body)| Ok(serde_json::from_str(body)?)).collect()
    }
}

async fn take(State(calls): State<Calls>, headers: HeaderMap, body: String) -> StatusCode {
    let signature = headers.get("x-fanreel-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
    calls.push((signature.to_owned(), body));
    if calls.len() == 1 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NO_CONTENT }
}
