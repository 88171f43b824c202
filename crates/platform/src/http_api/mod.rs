//! HTTP APIs of a template (API Gateway v2) on ports of their own: requests become invocations in payload format 2.0.
//!
//! Each API has a port, so that its paths are those that it has on AWS, where each has a host.
//!
//! Invariants, cited by tests:
//! 1. A function sees what AWS would send it: payload format 2.0, field by field.
//! 2. Whatever a function answers or does, the client gets an answer within the route's time.
//! 3. Connections, heads, bodies and times are bounded.
//!
//! Deliberately absent: authorizers, payload format 1.0, integrations other than Lambda functions, custom domains, access
//! logs, throttling of routes.

mod answer;
mod cors;
mod event;
#[cfg(test)]
mod properties;
mod route;
#[cfg(test)]
mod tests;
mod urls;

use std::{future::Future, net::SocketAddr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header::ORIGIN, request::Parts};
use hyper::body::Incoming;
use tokio::net::TcpListener;

pub(crate) use self::urls::localise;
use self::{event::Asked, route::Router};
use crate::{
    lambda::Lambda,
    logs::now_ms,
    server::{self, NoBody},
    stack,
};

/// Largest body, bytes. Source: API Gateway developer guide, "Quotas for configuring and running an HTTP API", as the
/// next.
const MAX_BODY: usize = 10 << 20;
/// Largest request line and headers together, bytes.
const MAX_HEAD: usize = 10_240;
/// Largest event, bytes: what an invocation takes.
const MAX_EVENT: usize = 6 << 20;

/// The stage that is no part of paths.
const DEFAULT_STAGE: &str = "$default";

/// An API and what it is served with.
#[derive(Debug)]
struct Api {
    definition: stack::HttpApi,
    id: String,
    router: Router,
    /// Where it listens.
    port: u16,
}

/// Serves an API until `end` completes.
pub async fn serve(definition: stack::HttpApi, listener: TcpListener, lambda: Arc<Lambda>, end: impl Future<Output = ()>) {
    let port = listener.local_addr().map_or(0, |address| address.port());
    let api = Arc::new(Api::new(definition, port));
    let answer = move |request: Request<Incoming>, from: SocketAddr| {
        let (api, lambda) = (Arc::clone(&api), Arc::clone(&lambda));
        async move { api.answer(request, from, &lambda).await }
    };
    server::serve(listener, answer, end).await;
}

impl Api {
    fn new(mut definition: stack::HttpApi, port: u16) -> Self {
        if definition.stage.is_empty() {
            DEFAULT_STAGE.clone_into(&mut definition.stage);
        }
        let id = stack::http_api_id(&definition.logical_id);
        Self { router: Router::new(definition.routes.clone()), id, definition, port }
    }

    async fn answer(&self, request: Request<Incoming>, from: SocketAddr, lambda: &Arc<Lambda>) -> Response<Bytes> {
        let request_id = request_id();
        let (parts, body) = request.into_parts();
        let asked = parts.headers.get(ORIGIN).cloned();
        let cors = self.definition.cors.as_ref();
        let mut response = if let Some(response) = cors.and_then(|cors| cors::preflight(cors, &parts)) {
            server::discard(body).await;
            response
        } else {
            let mut response = self.invoke(&parts, body, from, &request_id, lambda).await;
            if let Some(cors) = cors {
                cors::apply(cors, asked.as_ref(), response.headers_mut());
            }
            response
        };
        if let Ok(id) = HeaderValue::from_str(&request_id) {
            response.headers_mut().insert("apigw-requestid", id);
        }
        response
    }

    async fn invoke(&self, parts: &Parts, body: Incoming, from: SocketAddr, request_id: &str, lambda: &Arc<Lambda>) -> Response<Bytes> {
        let matched = self.path(parts.uri.path()).and_then(|path| self.router.find(parts.method.as_str(), path));
        let refused = match &matched {
            _ if head_size(parts) > MAX_HEAD => Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            None => Some(StatusCode::NOT_FOUND),
            Some(_) => None,
        };
        let (None, Some(matched)) = (refused, matched) else {
            server::discard(body).await;
            return answer::error(refused.unwrap_or(StatusCode::NOT_FOUND));
        };
        let body = match server::whole(body, MAX_BODY).await {
            Ok(body) => body,
            Err(NoBody::TooLarge) => return answer::error(StatusCode::PAYLOAD_TOO_LARGE),
            Err(NoBody::Broken) => return answer::error(StatusCode::BAD_REQUEST),
        };
        let source = from.ip().to_canonical();
        let asked = Asked { parts, body: &body, matched: &matched, source, request_id, now_ms: now_ms() };
        let payload = event::event(self, &asked).to_string();
        if payload.len() > MAX_EVENT {
            return answer::error(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let invocation = lambda.invoke(&matched.route.function, payload.into());
        // As on AWS the function goes on, and what it answers is lost.
        match tokio::time::timeout(matched.route.timeout, invocation).await {
            Ok(result) => answer::of(result),
            Err(_) => answer::error(StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    /// The path without the stage; `None` if it is not of the stage.
    fn path<'a>(&self, path: &'a str) -> Option<&'a str> {
        let stage = self.definition.stage.as_str();
        if stage == DEFAULT_STAGE {
            return Some(path);
        }
        match path.strip_prefix('/')?.strip_prefix(stage)? {
            "" => Some("/"),
            rest => rest.starts_with('/').then_some(rest),
        }
    }
}

/// Bytes of the request line and the headers.
fn head_size(parts: &Parts) -> usize {
    let line = parts.method.as_str().len() + parts.uri.path_and_query().map_or(0, |text| text.as_str().len());
    parts.headers.iter().fold(line, |size, (name, value)| size + name.as_str().len() + value.len())
}

/// 16 characters, as AWS's are.
fn request_id() -> String {
    STANDARD.encode(uuid::Uuid::new_v4().as_bytes().get(..11).unwrap_or_default())
}
