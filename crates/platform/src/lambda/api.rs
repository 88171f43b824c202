//! The Invoke API, and the thin part of the control API that lists what there is.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::{
    InvokeError, Lambda, Outcome, Throttle,
    dispatch::{Invocation, foreign_qualifier, function_name},
    launch::Deployed,
    report::VERSION,
};
use crate::{logs::now_ms, stack};

/// Most bytes of an event that somebody waits for. Source: AWS Lambda quotas, "Invocation payload".
const MAX_REQUEST: usize = 6 << 20;
/// Most bytes of an event that nobody waits for (256 KB until October 2025). Source: AWS Lambda quotas.
const MAX_EVENT: usize = 1 << 20;

/// When a throttled caller may try again, in seconds.
const RETRY_AFTER_S: &str = "1";

impl Lambda {
    /// Answers requests under `/2015-03-31/`; the caller has checked the signature.
    pub async fn handle(self: &Arc<Self>, request: Request<Bytes>) -> Response<Bytes> {
        let (parts, body) = request.into_parts();
        let path = percent_decode_str(parts.uri.path()).decode_utf8_lossy().into_owned();
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let answer = match (&parts.method, segments.as_slice()) {
            (&Method::POST, ["2015-03-31", "functions", name, "invocations"]) => {
                let name = qualified(name, parts.uri.query());
                self.invocation(&name, &parts.headers, body).await
            }
            (&Method::GET, ["2016-08-19", "account-settings"]) => Ok(respond(StatusCode::OK, &self.account())),
            (&Method::GET, ["2019-09-30", "functions", name, "concurrency"]) => self.deployed(name).map(|deployed| {
                let reserved = deployed.function.reserved_concurrency;
                respond(StatusCode::OK, &reserved.map_or(json!({}), |reserved| json!({ "ReservedConcurrentExecutions": reserved })))
            }),
            (&Method::GET, ["2019-09-25", "functions", name, "event-invoke-config"]) => {
                self.deployed(name).map(|deployed| respond(StatusCode::OK, &event_invoke_config(deployed)))
            }
            (&Method::GET, ["2015-03-31", "functions"]) => {
                let all: Vec<Value> = self.functions.iter().map(|deployed| configuration(deployed)).collect();
                Ok(respond(StatusCode::OK, &json!({ "Functions": all })))
            }
            (&Method::GET, ["2015-03-31", "functions", name]) => self.deployed(name).map(|deployed| {
                let location = deployed.bootstrap.display().to_string();
                let code = json!({ "RepositoryType": "local", "Location": location });
                respond(StatusCode::OK, &json!({ "Configuration": configuration(deployed), "Code": code }))
            }),
            (&Method::GET, ["2015-03-31", "functions", name, "configuration"]) => {
                self.deployed(name).map(|deployed| respond(StatusCode::OK, &configuration(deployed)))
            }
            (method, ["2015-03-31", "event-source-mappings", rest @ ..]) => self.mapping_call(method, rest, parts.uri.query(), &body).await,
            _ => {
                let message = format!("{} {path} is not an operation that this Lambda has", parts.method);
                return refuse(StatusCode::NOT_FOUND, "UnknownOperationException", &message);
            }
        };
        answer.unwrap_or_else(|error| failure(&error))
    }

    /// `GetAccountSettings`
    fn account(&self) -> Value {
        let reserved: u32 = self.functions.iter().filter_map(|deployed| deployed.function.reserved_concurrency).sum();
        let all = self.config.account_concurrency;
        json!({
            "AccountLimit": { "ConcurrentExecutions": all, "UnreservedConcurrentExecutions": all.saturating_sub(reserved) },
            "AccountUsage": { "FunctionCount": self.functions.len() },
        })
    }

    fn deployed(&self, name: &str) -> Result<&Arc<Deployed>, InvokeError> {
        if let Some(qualifier) = foreign_qualifier(name) {
            return Err(InvokeError::NotFound(format!("{}:{qualifier}", function_name(name))));
        }
        self.functions.get(self.find(name)?).ok_or_else(|| InvokeError::NotFound(name.to_owned()))
    }

    async fn invocation(self: &Arc<Self>, name: &str, headers: &HeaderMap, body: Bytes) -> Result<Response<Bytes>, InvokeError> {
        self.deployed(name)?;
        let name = function_name(name);
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = header("x-amz-invocation-type");
        let limit = if kind == "Event" { MAX_EVENT } else { MAX_REQUEST };
        if body.len() > limit {
            return Err(InvokeError::TooLarge { limit });
        }
        // Without a payload a function is given an empty object.
        let payload = if body.is_empty() { Bytes::from_static(b"{}") } else { body };
        if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&payload) {
            return Err(InvokeError::NotJson(error.to_string()));
        }
        match kind {
            "DryRun" => Ok(empty(StatusCode::NO_CONTENT)),
            "Event" => self.detach(name, payload).await,
            _ => {
                let context = STANDARD.decode(header("x-amz-client-context")).ok();
                let context = context.and_then(|context| String::from_utf8(context).ok());
                let client_context = context.filter(|context| !context.is_empty());
                let invocation = Invocation { payload, client_context, request_id: None };
                let outcome = self.invoke_with(name, invocation, false).await?;
                Ok(answered(outcome, header("x-amz-log-type") == "Tail"))
            }
        }
    }

    /// Keeps the event, then accepts it.
    async fn detach(&self, name: &str, payload: Bytes) -> Result<Response<Bytes>, InvokeError> {
        let request_id = uuid::Uuid::new_v4().to_string();
        let (store, function, id) = (Arc::clone(&self.store), name.to_owned(), request_id.clone());
        let kept = tokio::task::spawn_blocking(move || store.keep(&id, &function, &payload, now_ms())).await;
        let kept = kept.map_err(|error| error.to_string()).and_then(|kept| kept.map_err(|error| error.to_string()));
        match kept {
            Ok(true) => {
                let mut response = empty(StatusCode::ACCEPTED);
                set(response.headers_mut(), "x-amzn-requestid", &request_id);
                Ok(response)
            }
            Ok(false) => Err(InvokeError::Throttled(Throttle::Events)),
            Err(reason) => Err(InvokeError::Platform { function: name.to_owned(), reason }),
        }
    }
}

fn answered(outcome: Outcome, with_log: bool) -> Response<Bytes> {
    let Outcome { payload, function_error, log_tail, request_id } = outcome;
    let mut response = Response::new(payload);
    let headers = response.headers_mut();
    set(headers, "content-type", "application/json");
    set(headers, "x-amzn-requestid", &request_id);
    set(headers, "x-amz-executed-version", VERSION);
    if let Some(error) = function_error {
        set(headers, "x-amz-function-error", &error);
    }
    if with_log {
        set(headers, "x-amz-log-result", &STANDARD.encode(log_tail));
    }
    response
}

/// The name with the qualifier that the query asks for.
fn qualified(name: &str, query: Option<&str>) -> String {
    let qualifier = query.into_iter().flat_map(|query| query.split('&')).find_map(|pair| pair.strip_prefix("Qualifier="));
    qualifier.map_or_else(|| name.to_owned(), |of| format!("{name}:{}", percent_decode_str(of).decode_utf8_lossy()))
}

/// `GetFunctionEventInvokeConfig`
fn event_invoke_config(deployed: &Deployed) -> Value {
    let function = &deployed.function;
    let settings = &function.asynchronous;
    let to = |arn: &Option<String>| arn.as_ref().map_or(json!({}), |arn| json!({ "Destination": arn }));
    json!({
        "FunctionArn": format!("{}:{VERSION}", stack::function_arn(&function.name)),
        "MaximumRetryAttempts": settings.retries,
        "MaximumEventAgeInSeconds": settings.max_age.as_secs(),
        "DestinationConfig": { "OnSuccess": to(&settings.on_success), "OnFailure": to(&settings.on_failure) },
    })
}

/// Source: AWS Lambda API reference, `FunctionConfiguration`.
fn configuration(deployed: &Deployed) -> Value {
    let function = &deployed.function;
    let mut described = json!({
        "FunctionName": function.name,
        "FunctionArn": stack::function_arn(&function.name),
        "Runtime": "provided.al2023",
        "Handler": "bootstrap",
        "PackageType": "Zip",
        "Architectures": [std::env::consts::ARCH.replace("aarch64", "arm64")],
        "MemorySize": function.memory_mb,
        "Timeout": function.timeout.as_secs(),
        "EphemeralStorage": { "Size": function.ephemeral_mb },
        "Environment": { "Variables": function.environment },
        "LoggingConfig": { "LogFormat": "Text", "LogGroup": function.log_group },
        "Version": VERSION,
        "State": "Active",
        "LastUpdateStatus": "Successful",
    });
    if let stack::LogFormat::Json { level } = &function.log_format {
        described["LoggingConfig"]["LogFormat"] = json!("JSON");
        described["LoggingConfig"]["ApplicationLogLevel"] = json!(level);
    }
    if let Some(arn) = &function.asynchronous.dead_letter {
        described["DeadLetterConfig"] = json!({ "TargetArn": arn });
    }
    described
}

/// Status and exception of a failed invocation.
pub(super) fn wording(error: &InvokeError) -> (StatusCode, &'static str) {
    match error {
        InvokeError::NotFound(_) | InvokeError::NoMapping => (StatusCode::NOT_FOUND, "ResourceNotFoundException"),
        InvokeError::Invalid(_) => (StatusCode::BAD_REQUEST, "InvalidParameterValueException"),
        InvokeError::Throttled(_) | InvokeError::NeverRuns | InvokeError::TooOld => {
            (StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException")
        }
        InvokeError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLargeException"),
        InvokeError::NotJson(_) => (StatusCode::BAD_REQUEST, "InvalidRequestContentException"),
        InvokeError::ShuttingDown | InvokeError::Platform { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "ServiceException"),
    }
}

fn failure(error: &InvokeError) -> Response<Bytes> {
    let (status, kind) = wording(error);
    let fault = if status.is_server_error() { "Service" } else { "User" };
    let mut body = json!({ "Type": fault, "Message": error.to_string() });
    if let InvokeError::Throttled(throttle) = error {
        // This exception alone spells its message in lower case.
        body = json!({ "Type": fault, "message": error.to_string(), "Reason": throttle.reason() });
    }
    let mut response = respond(status, &body);
    set(response.headers_mut(), "x-amzn-errortype", kind);
    if status == StatusCode::TOO_MANY_REQUESTS {
        set(response.headers_mut(), "retry-after", RETRY_AFTER_S);
    }
    response
}

fn refuse(status: StatusCode, kind: &str, message: &str) -> Response<Bytes> {
    let mut response = respond(status, &json!({ "Type": "User", "Message": message }));
    set(response.headers_mut(), "x-amzn-errortype", kind);
    response
}

pub(super) fn respond(status: StatusCode, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    set(response.headers_mut(), "content-type", "application/json");
    response
}

fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
