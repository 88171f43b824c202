//! What a client gets: a function's answer in payload format 2.0, or an error of the API itself.
//!
//! Source: API Gateway developer guide, "Create AWS Lambda proxy integrations for HTTP APIs", "Lambda function response
//! for format 2.0". Not in the guide, but measured on AWS by others: a JSON string loses its quotes, what is no JSON goes
//! out as it is, an answer with a status and no content type is plain text, one whose status is no whole number is an error.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE, TRANSFER_ENCODING},
};
use serde_json::{Map, Value, json};

use crate::lambda::{InvokeError, Outcome};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain;charset=UTF-8");

/// An error of the API, in the words of AWS: `{"message":"Not Found"}`.
pub(super) fn error(status: StatusCode) -> Response<Bytes> {
    let message = match status {
        // Its older name.
        StatusCode::PAYLOAD_TOO_LARGE => "Request Entity Too Large",
        other => other.canonical_reason().unwrap_or_default(),
    };
    with(status, JSON, Bytes::from(json!({ "message": message }).to_string()))
}

/// The answer to an invocation.
pub(super) fn of(result: Result<Outcome, InvokeError>) -> Response<Bytes> {
    match result {
        Ok(outcome) if outcome.function_error.is_some() => error(StatusCode::INTERNAL_SERVER_ERROR),
        Ok(outcome) => of_payload(outcome.payload),
        Err(InvokeError::TooLarge { .. }) => error(StatusCode::PAYLOAD_TOO_LARGE),
        Err(InvokeError::Throttled(_) | InvokeError::NeverRuns | InvokeError::ShuttingDown) => error(StatusCode::SERVICE_UNAVAILABLE),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

fn of_payload(payload: Bytes) -> Response<Bytes> {
    match serde_json::from_slice(&payload) {
        Ok(Value::Object(answer)) if answer.contains_key("statusCode") => {
            structured(&answer).unwrap_or_else(|| error(StatusCode::INTERNAL_SERVER_ERROR))
        }
        Ok(Value::String(text)) => with(StatusCode::OK, JSON, text.into()),
        _ => with(StatusCode::OK, JSON, payload),
    }
}

/// An answer that names its status; `None` if it is not what the format allows.
fn structured(answer: &Map<String, Value>) -> Option<Response<Bytes>> {
    let status = match answer.get("statusCode")? {
        Value::Number(number) => u16::try_from(number.as_u64()?).ok()?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    // What is below is no final answer, and no client would wait for the one to come.
    let status = StatusCode::from_u16(status).ok().filter(|status| (200..600).contains(&status.as_u16()))?;
    let encoded = matches!(answer.get("isBase64Encoded"), Some(Value::Bool(true)));
    let body = match answer.get("body") {
        None | Some(Value::Null) => Bytes::new(),
        Some(Value::String(body)) if encoded => STANDARD.decode(body).ok()?.into(),
        Some(Value::String(body)) => Bytes::copy_from_slice(body.as_bytes()),
        Some(_) => return None,
    };
    let mut response = with(status, PLAIN, body);
    match answer.get("headers") {
        None | Some(Value::Null) => {}
        Some(Value::Object(given)) => add_headers(response.headers_mut(), given)?,
        Some(_) => return None,
    }
    for cookie in answer.get("cookies").and_then(Value::as_array).into_iter().flatten() {
        response.headers_mut().append(SET_COOKIE, cookie.as_str()?.parse().ok()?);
    }
    Some(response)
}

fn add_headers(headers: &mut HeaderMap, given: &Map<String, Value>) -> Option<()> {
    for (name, value) in given {
        let name: HeaderName = name.parse().ok()?;
        let value = match value {
            Value::Null => continue,
            Value::String(text) => HeaderValue::from_bytes(text.as_bytes()).ok()?,
            Value::Number(_) | Value::Bool(_) => value.to_string().parse().ok()?,
            Value::Array(_) | Value::Object(_) => return None,
        };
        // The connection's are the server's.
        if ![CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(&name) {
            headers.insert(name, value);
        }
    }
    Some(())
}

fn with(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
