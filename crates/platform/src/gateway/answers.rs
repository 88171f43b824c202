//! Answers of the gateway itself, in the shape that the SDK of the service asked for understands.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};

use super::{
    route::{Protocol, Service},
    signature::Refusal,
};

/// A JSON document.
pub(super) fn document(value: &Value) -> Response<Bytes> {
    build(StatusCode::OK, "application/json", None, value)
}

/// Why a request was not let in.
pub(super) fn refusal(service: Service, refusal: &Refusal) -> Response<Bytes> {
    let (kind, message) = match refusal {
        Refusal::Missing => ("MissingAuthenticationTokenException", "Request is missing Authentication Token"),
        Refusal::Incomplete(message) => ("IncompleteSignatureException", message.as_str()),
        Refusal::UnknownKey => ("UnrecognizedClientException", "The security token included in the request is invalid."),
        Refusal::Invalid(message) => ("InvalidSignatureException", message.as_str()),
    };
    error(service, refused(service), kind, message)
}

/// What the caller's role does not allow. `SQS` alone has an older name for it.
pub(super) fn denied(service: Service, sentence: &str) -> Response<Bytes> {
    let kind = "AccessDeniedException";
    let mut answer = error(service, refused(service), kind, sentence);
    if service == Service::Sqs {
        answer.headers_mut().insert("x-amzn-query-error", HeaderValue::from_static("AccessDenied;Sender"));
    }
    answer
}

/// The status of a refusal for want of a right.
fn refused(service: Service) -> StatusCode {
    match service {
        Service::DynamoDb | Service::Logs => StatusCode::BAD_REQUEST,
        Service::Sqs | Service::SqsQuery | Service::Lambda | Service::S3 | Service::Sts => StatusCode::FORBIDDEN,
    }
}

/// An error of a service: `__type` for the JSON protocols, a header for Lambda.
pub(super) fn error(service: Service, status: StatusCode, kind: &str, message: &str) -> Response<Bytes> {
    match service {
        Service::Lambda => {
            let body = json!({ "Type": "User", "message": message, "Message": message });
            build(status, "application/json", Some(kind), &body)
        }
        Service::SqsQuery => crate::sqs::query_refusal(status.as_u16(), kind.strip_suffix("Exception").unwrap_or(kind), message),
        Service::Sts => fault(status, kind.strip_suffix("Exception").unwrap_or(kind), message),
        Service::DynamoDb | Service::Sqs | Service::S3 => coral(status, "application/x-amz-json-1.0", kind, message),
        Service::Logs => coral(status, "application/x-amz-json-1.1", kind, message),
    }
}

/// A request that belongs to no service.
pub(super) fn nowhere(protocol: Protocol, message: &str) -> Response<Bytes> {
    match protocol {
        Protocol::Json => coral(StatusCode::NOT_FOUND, "application/x-amz-json-1.0", "UnknownOperationException", message),
        Protocol::Query => fault(StatusCode::NOT_FOUND, "InvalidAction", message),
    }
}

/// An answer of the query protocol.
pub(super) fn xml(status: StatusCode, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    response
}

/// An error of the query protocol.
pub(super) fn fault(status: StatusCode, kind: &str, message: &str) -> Response<Bytes> {
    let message = message.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let (who, id) = (if status.is_server_error() { "Receiver" } else { "Sender" }, uuid::Uuid::new_v4());
    let error = format!("<Error><Type>{who}</Type><Code>{kind}</Code><Message>{message}</Message></Error>");
    xml(status, format!("<ErrorResponse>{error}<RequestId>{id}</RequestId></ErrorResponse>"))
}

fn coral(status: StatusCode, content_type: &'static str, kind: &str, message: &str) -> Response<Bytes> {
    let body = json!({ "__type": format!("com.amazon.coral.service#{kind}"), "message": message, "Message": message });
    build(status, content_type, Some(kind), &body)
}

fn build(status: StatusCode, content_type: &'static str, kind: Option<&str>, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(kind) = kind.and_then(|kind| kind.parse().ok()) {
        headers.insert("x-amzn-errortype", kind);
    }
    if let Ok(id) = uuid::Uuid::new_v4().to_string().parse() {
        headers.insert("x-amzn-requestid", id);
    }
    response
}
