//! Which service a request is for.

use http::{Method, request::Parts};

use super::signature;

/// A service behind the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    DynamoDb,
    Sqs,
    /// SQS in its older protocol, which answers XML.
    SqsQuery,
    Logs,
    Lambda,
    S3,
    Sts,
}

impl Service {
    /// Name in a credential scope.
    pub(super) fn scope(self) -> &'static str {
        match self {
            Self::DynamoDb => "dynamodb",
            Self::Sqs | Self::SqsQuery => "sqs",
            Self::Logs => "logs",
            Self::Lambda => "lambda",
            Self::S3 => "s3",
            Self::Sts => "sts",
        }
    }

    fn of_scope(name: &str) -> Option<Self> {
        [Self::DynamoDb, Self::Sqs, Self::Logs, Self::Lambda, Self::S3, Self::Sts].into_iter().find(|s| s.scope() == name)
    }

    /// The service of an `X-Amz-Target`, and the operation.
    fn of_target(target: &str) -> Option<(Self, &str)> {
        let (service, operation) = target.split_once('.')?;
        let service = match service {
            "DynamoDB_20120810" | "DynamoDBStreams_20120810" => Self::DynamoDb,
            "AmazonSQS" => Self::Sqs,
            "Logs_20140328" => Self::Logs,
            _ => return None,
        };
        Some((service, operation))
    }
}

/// What the client of a request understands as an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Json,
    /// XML, for services of the query protocol.
    Query,
}

impl Protocol {
    fn of(parts: &Parts) -> Self {
        if !parts.headers.contains_key("x-amz-target") && is_query(parts) { Self::Query } else { Self::Json }
    }
}

/// What the platform runs, for those who ask for something else.
const SERVICES: &str = "s3, sqs, dynamodb, lambda, logs and sts:GetCallerIdentity";

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Health,
    Metrics,
    Stack,
    /// LocalStack's page of the same purpose, which tools made for it wait for.
    LocalStackHealth,
    /// A JSON service and the operation asked of it.
    Json(Service, String),
    /// SQS's query protocol.
    Query,
    Lambda,
    S3,
    Sts,
    /// Signed for a service that the platform does not run, or in a protocol that it does not speak.
    Nowhere(Protocol, String),
}

impl Route {
    /// Whose request it is, for its metric.
    pub(super) fn service(&self) -> &'static str {
        match self {
            Self::Json(service, _) => service.scope(),
            Self::Query => Service::SqsQuery.scope(),
            Self::Lambda => Service::Lambda.scope(),
            Self::S3 => Service::S3.scope(),
            Self::Sts => Service::Sts.scope(),
            Self::Health | Self::Metrics | Self::Stack | Self::LocalStackHealth => "pages",
            Self::Nowhere(..) => "none",
        }
    }
}

/// First the platform's own pages, then the signature's scope, then what an unsigned request looks like.
pub(super) fn route(parts: &Parts) -> Route {
    match parts.uri.path() {
        "/_fanreel/health" if parts.method == Method::GET => return Route::Health,
        "/_fanreel/metrics" if parts.method == Method::GET => return Route::Metrics,
        // Where Prometheus looks when it is told nothing else; to a bucket of that name, requests are signed.
        "/metrics" if parts.method == Method::GET && parts.uri.query().is_none() && signature::service(parts).is_none() => {
            return Route::Metrics;
        }
        "/_fanreel/stack" if parts.method == Method::GET => return Route::Stack,
        "/_localstack/health" if parts.method == Method::GET => return Route::LocalStackHealth,
        path if path.starts_with("/_fanreel/") => {
            return Route::Nowhere(
                Protocol::Json,
                format!("{} {path}: there is GET /_fanreel/health, /_fanreel/stack and /_fanreel/metrics", parts.method),
            );
        }
        _ => {}
    }
    let scope = signature::service(parts);
    let known = scope.as_deref().map(Service::of_scope);
    if known == Some(Some(Service::S3)) {
        return Route::S3;
    }
    let target = parts.headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    if let Some((service, operation)) = target.and_then(Service::of_target) {
        return Route::Json(service, operation.to_owned());
    }
    let nowhere = |message: String| Route::Nowhere(Protocol::of(parts), message);
    match (scope.as_deref(), known) {
        (_, Some(Some(Service::Sqs))) => Route::Query,
        (_, Some(Some(Service::Sts))) => Route::Sts,
        (None, _) if is_query(parts) => Route::Query,
        (_, Some(Some(Service::Lambda))) => Route::Lambda,
        (Some(name), Some(Some(_))) => {
            nowhere(format!("{name} speaks the JSON protocol here: the header X-Amz-Target is missing or wrong; use a current SDK"))
        }
        (Some(name), _) => nowhere(format!("the platform does not run the service `{name}`; it runs {SERVICES}")),
        (None, _) if target.is_some() => nowhere(format!("the platform does not run the service of this X-Amz-Target; it runs {SERVICES}")),
        (None, _) if parts.uri.path().starts_with("/2015-03-31/") => Route::Lambda,
        (None, _) => Route::S3,
    }
}

/// An unsigned request that only SQS's query protocol can mean: S3's forms are multipart.
fn is_query(parts: &Parts) -> bool {
    let form =
        parts.headers.get(http::header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    let action = parts.uri.query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("Action=")));
    (parts.method == Method::POST && form) || action
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn of(method: &str, path: &str, service: &str, target: &str) -> Route {
        let mut request = Request::builder().method(method).uri(path);
        if !service.is_empty() {
            let scope = format!("AWS4-HMAC-SHA256 Credential=test/20270115/r/{service}/aws4_request, SignedHeaders=host, Signature=x");
            request = request.header("authorization", scope);
        }
        if !target.is_empty() {
            request = request.header("x-amz-target", target);
        }
        route(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn every_kind_of_request_finds_its_service() {
        let json = |service, operation: &str| Route::Json(service, operation.to_owned());
        for (method, path, service, target, expected) in [
            ("GET", "/_fanreel/health", "", "", Route::Health),
            ("GET", "/_fanreel/stack", "", "", Route::Stack),
            ("GET", "/_localstack/health", "", "", Route::LocalStackHealth),
            ("GET", "/_fanreel/metrics", "", "", Route::Metrics),
            ("GET", "/metrics", "", "", Route::Metrics),
            ("GET", "/metrics", "s3", "", Route::S3),
            ("GET", "/metrics?list-type=2", "", "", Route::S3),
            ("PUT", "/metrics", "", "", Route::S3),
            ("POST", "/", "sts", "", Route::Sts),
            ("POST", "/", "dynamodb", "DynamoDB_20120810.PutItem", json(Service::DynamoDb, "PutItem")),
            ("POST", "/", "dynamodb", "DynamoDBStreams_20120810.ListStreams", json(Service::DynamoDb, "ListStreams")),
            ("POST", "/", "sqs", "AmazonSQS.SendMessage", json(Service::Sqs, "SendMessage")),
            ("POST", "/000000000000/q", "", "AmazonSQS.SendMessage", json(Service::Sqs, "SendMessage")),
            ("POST", "/", "sqs", "", Route::Query),
            ("GET", "/000000000000/q?Action=SendMessage", "sqs", "", Route::Query),
            ("GET", "/000000000000/q?Action=SendMessage", "", "", Route::Query),
            ("POST", "/", "logs", "Logs_20140328.PutLogEvents", json(Service::Logs, "PutLogEvents")),
            ("POST", "/2015-03-31/functions/f/invocations", "lambda", "", Route::Lambda),
            ("POST", "/2015-03-31/functions/f/invocations", "", "", Route::Lambda),
            ("GET", "/2015-03-31/key", "s3", "", Route::S3),
            ("PUT", "/bucket/key", "s3", "AmazonSQS.SendMessage", Route::S3),
            ("GET", "/bucket/key", "", "", Route::S3),
        ] {
            assert_eq!(of(method, path, service, target), expected, "{method} {path} {service} {target}");
        }
        for (method, path, service) in [("POST", "/", "logs"), ("POST", "/", "sns"), ("DELETE", "/_fanreel/stack", "")] {
            assert!(matches!(of(method, path, service, ""), Route::Nowhere(..)), "{service}");
        }
    }
}
