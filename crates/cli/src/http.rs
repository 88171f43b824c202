//! The two pages of the platform that are plain HTTP.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

const TIME: Duration = Duration::from_secs(5);
/// Of an answer.
const MAX_BYTES: usize = 4 << 20;

/// Reads a page of JSON.
pub async fn get_json(url: &str) -> anyhow::Result<serde_json::Value> {
    match tokio::time::timeout(TIME, get(url)).await {
        Ok(answer) => serde_json::from_slice(&answer?).with_context(|| format!("{url} does not answer with JSON")),
        Err(_) => bail!("{url} did not answer in {} s", TIME.as_secs()),
    }
}

async fn get(url: &str) -> anyhow::Result<Bytes> {
    let client: Client<HttpConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let url_parsed = url.parse().with_context(|| format!("`{url}` is no URL"))?;
    let answer = client.get(url_parsed).await.with_context(|| format!("{url} cannot be reached"))?;
    let status = answer.status();
    if !status.is_success() {
        bail!("{url} answers {status}");
    }
    let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
    Ok(body.map_err(|error| anyhow::anyhow!("the answer of {url} cannot be read: {error}"))?.to_bytes())
}
