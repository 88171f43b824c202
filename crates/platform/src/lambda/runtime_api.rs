//! The wire of the Runtime API (2018-06-01) and the Extensions API (2020-01-01): one listener per environment, which
//! translates requests into [`Call`]s. What they mean is the environment's affair.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, oneshot},
    task::JoinSet,
};

use super::{
    environment::{Event, Job},
    report,
};

/// Most bytes of an answer. Source: AWS Lambda quotas, "Invocation payload".
pub const MAX_ANSWER: usize = 6_291_556;
/// Most bytes read of any request: an answer that is too large is read to its end, so that the function can hear why
/// it is refused.
const MAX_BODY: usize = 64 << 20;
/// Connections of one environment.
const MAX_CONNECTIONS: usize = 64;
/// Pause after an accept that failed (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub type Reply = oneshot::Sender<Response<Full<Bytes>>>;

/// What the processes of an environment ask for.
#[derive(Debug)]
pub enum Call {
    Next,
    Answer { request_id: String, payload: Bytes },
    Failure { request_id: String, payload: Bytes },
    InitFailure { payload: Bytes },
    Register { name: String, events: Vec<String> },
    NextEvent { extension: String },
    ExtensionFailure { kind: String },
}

/// Serves until dropped; its connections end with it.
pub async fn serve(listener: TcpListener, events: mpsc::Sender<Event>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = connection(stream, events.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "Runtime API: a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, events: mpsc::Sender<Event>) {
    // A delay here would be a delay of every invocation; without the option it is only slower.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let events = events.clone();
        async move { Ok::<_, Infallible>(respond(request, &events).await) }
    });
    // The process going away in mid-request is the environment's news, not this connection's.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(request: Request<Incoming>, events: &mpsc::Sender<Event>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return error(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", "The request is too large.");
    };
    let Some(call) = parse(&parts.method, parts.uri.path(), &parts.headers, body.to_bytes()) else {
        return error(StatusCode::NOT_FOUND, "NotFound", "There is no such operation in the Runtime API.");
    };
    let (reply, answer) = oneshot::channel();
    if events.send(Event::Asked(call, reply)).await.is_ok()
        && let Ok(answer) = answer.await
    {
        return answer;
    }
    error(StatusCode::INTERNAL_SERVER_ERROR, "ServiceException", "The environment has ended.")
}

fn parse(method: &Method, path: &str, headers: &HeaderMap, body: Bytes) -> Option<Call> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let extension = header("lambda-extension-identifier");
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match (method.as_str(), segments.as_slice()) {
        ("GET", ["2018-06-01", "runtime", "invocation", "next"]) => Some(Call::Next),
        ("POST", ["2018-06-01", "runtime", "invocation", id, "response"]) => {
            Some(Call::Answer { request_id: (*id).to_owned(), payload: body })
        }
        ("POST", ["2018-06-01", "runtime", "invocation", id, "error"]) => {
            Some(Call::Failure { request_id: (*id).to_owned(), payload: body })
        }
        ("POST", ["2018-06-01", "runtime", "init", "error"]) => Some(Call::InitFailure { payload: body }),
        ("POST", ["2020-01-01", "extension", "register"]) => {
            Some(Call::Register { name: header("lambda-extension-name"), events: events_of(&body) })
        }
        ("GET", ["2020-01-01", "extension", "event", "next"]) => Some(Call::NextEvent { extension }),
        ("POST", ["2020-01-01", "extension", "init" | "exit", "error"]) => {
            Some(Call::ExtensionFailure { kind: header("lambda-extension-function-error-type") })
        }
        _ => None,
    }
}

fn events_of(body: &[u8]) -> Vec<String> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let events = body.get("events").and_then(Value::as_array).into_iter().flatten();
    events.filter_map(|event| event.as_str().map(str::to_owned)).collect()
}

/// `202 Accepted`, as every report of a function is answered.
pub fn accepted() -> Response<Full<Bytes>> {
    json_response(StatusCode::ACCEPTED, &json!({ "status": "OK" }))
}

pub fn error(status: StatusCode, kind: &str, message: &str) -> Response<Full<Bytes>> {
    json_response(status, &json!({ "errorType": kind, "errorMessage": message }))
}

pub fn json_response(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The answer to `next`. Sources: AWS Lambda developer guide, "Runtime API"; `lambda_runtime` 1.5 needs the request id
/// and the deadline, in milliseconds since 1970.
pub fn invocation(job: &Job, deadline_ms: u64, arn: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(job.payload.clone()));
    let trace = uuid::Uuid::new_v4().simple().to_string();
    let (time, unique) = trace.split_at(8);
    let trace = format!("Root=1-{time}-{unique};Parent={};Sampled=0", unique.get(..16).unwrap_or_default());
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    };
    set("content-type", "application/json");
    set("lambda-runtime-aws-request-id", &job.request_id);
    set("lambda-runtime-deadline-ms", &deadline_ms.to_string());
    set("lambda-runtime-invoked-function-arn", arn);
    set("lambda-runtime-trace-id", &trace);
    if let Some(context) = &job.client_context {
        set("lambda-runtime-client-context", context);
    }
    response
}

/// What the caller and the function hear of an answer that is too large.
pub fn too_large() -> (Bytes, Response<Full<Bytes>>) {
    let message = format!("Response payload size exceeded maximum allowed payload size ({MAX_ANSWER} bytes).");
    let kind = "Function.ResponseSizeTooLarge";
    let payload = report::payload(kind, &message).into();
    (payload, error(StatusCode::PAYLOAD_TOO_LARGE, kind, &message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_path(method: &Method, path: &str) -> Option<Call> {
        parse(method, path, &HeaderMap::new(), Bytes::from_static(br#"{"events":["INVOKE",3,"SHUTDOWN"]}"#))
    }

    #[test]
    fn operations_are_told_apart() {
        assert!(matches!(parse_path(&Method::GET, "/2018-06-01/runtime/invocation/next"), Some(Call::Next)));
        let answer = parse_path(&Method::POST, "/2018-06-01/runtime/invocation/abc/response");
        assert!(matches!(answer, Some(Call::Answer { request_id, .. }) if request_id == "abc"));
        let register = parse_path(&Method::POST, "/2020-01-01/extension/register");
        assert!(matches!(register, Some(Call::Register { events, .. }) if events == ["INVOKE", "SHUTDOWN"]));
        assert!(parse_path(&Method::POST, "/2018-06-01/runtime/invocation/next").is_none());
        assert!(parse_path(&Method::GET, "/").is_none());
    }
}
