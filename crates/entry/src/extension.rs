//! The few calls of Lambda's Extensions and Runtime APIs that `lambda_runtime` leaves out.
//!
//! Lambda sends SIGTERM only to environments that have an extension, so this registers one that listens to nothing.
//! `lambda_runtime`'s own helper panics on clouds without an Extensions API; this one goes on.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, body::Incoming};
use hyper_util::{client::legacy, rt::TokioExecutor};

use crate::Error;

/// A name that no other extension of the function has.
const NAME: &str = "shutdown-notice";
const IDENTIFIER: &str = "lambda-extension-identifier";
/// For everything but the call that waits for the end.
const ANSWER: Duration = Duration::from_secs(3);

/// Lambda's APIs within the environment: `AWS_LAMBDA_RUNTIME_API`.
pub struct Api {
    address: String,
    client: legacy::Client<legacy::connect::HttpConnector, Full<Bytes>>,
}

impl Api {
    pub fn new(address: String) -> Self {
        Self { address, client: legacy::Client::builder(TokioExecutor::new()).build_http() }
    }

    async fn call(&self, method: Method, path: &str, header: (&str, &str), body: String) -> Result<Response<Incoming>, Error> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header(header.0, header.1)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))?;
        Ok(self.client.request(request).await?)
    }

    /// Registers the extension and keeps it waiting, as the API demands. Where it is refused: one warning.
    pub async fn ask_for_sigterm(self) {
        match tokio::time::timeout(ANSWER, self.register()).await.unwrap_or_else(|_| Err("no answer".into())) {
            Ok(id) => drop(tokio::spawn(self.wait(id))),
            Err(error) => {
                tracing::warn!(%error, "this cloud has no Extensions API: the function will be killed without notice");
            }
        }
    }

    async fn register(&self) -> Result<String, Error> {
        let path = "/2020-01-01/extension/register";
        let answer = self.call(Method::POST, path, ("lambda-extension-name", NAME), r#"{"events":[]}"#.into()).await?;
        if !answer.status().is_success() {
            return Err(format!("the extension was refused with {}", answer.status()).into());
        }
        let id = answer.headers().get(IDENTIFIER).ok_or("the extension was given no identifier")?;
        Ok(id.to_str()?.to_owned())
    }

    async fn wait(self, id: String) {
        let waited = self.call(Method::GET, "/2020-01-01/extension/event/next", (IDENTIFIER, &id), String::new()).await;
        let status = waited.map(|answer| answer.status());
        tracing::debug!(?status, "the extension's wait has ended");
    }

    /// Says why the function cannot start.
    pub async fn init_error(&self, error: &Error) {
        let body = serde_json::json!({"errorType": "Init.Failed", "errorMessage": error.to_string(), "stackTrace": []});
        let call = self.call(
            Method::POST,
            "/2018-06-01/runtime/init/error",
            ("lambda-runtime-function-error-type", "Init.Failed"),
            body.to_string(),
        );
        let told = tokio::time::timeout(ANSWER, async { call.await?.into_body().collect().await.map_err(Error::from) }).await;
        if !matches!(told, Ok(Ok(_))) {
            tracing::warn!("Lambda did not take the init error");
        }
    }
}
