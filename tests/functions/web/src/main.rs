//! An axum application as a function: the platform's tests run it behind an HTTP API.
//!
//! Like anybody's, it knows `lambda_http` and nothing of the platform.

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{AppendHeaders, IntoResponse},
    routing::{get, post},
};
use lambda_http::Error;
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let app = Router::new().route("/films/{id}", get(film)).route("/reverse", post(reverse)).route("/login", post(login)).fallback(nothing);
    lambda_http::run(app).await
}

async fn film(Path(id): Path<String>, Query(query): Query<BTreeMap<String, String>>, headers: HeaderMap) -> impl IntoResponse {
    let cookie = headers.get(header::COOKIE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Json(json!({ "id": id, "query": query, "cookie": cookie }))
}

async fn reverse(body: Bytes) -> impl IntoResponse {
    let reversed: Vec<u8> = body.iter().rev().copied().collect();
    ([(header::CONTENT_TYPE, "application/octet-stream")], reversed)
}

async fn login() -> impl IntoResponse {
    (StatusCode::SEE_OTHER, AppendHeaders([(header::SET_COOKIE, "a=1; Path=/"), (header::SET_COOKIE, "b=2")]), [(header::LOCATION, "/")])
}

async fn nothing(method: Method, uri: Uri) -> impl IntoResponse {
    (StatusCode::NOT_FOUND, format!("there is nothing at {method} {}", uri.path()))
}
