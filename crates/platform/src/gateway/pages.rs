//! The platform's own pages.

use std::{collections::BTreeMap, time::Instant};

use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};

use super::answers;
use crate::stack::{ACCOUNT, Function, HttpApi, REGION, Route, Stack, function_arn, http_api_id, queue_arn};

/// What runs behind the port.
const SERVICES: [&str; 5] = ["s3", "sqs", "dynamodb", "lambda", "logs"];

/// Answers while the platform serves. `status` is `full` while writes are refused for want of room.
pub(super) fn health(started: Instant, disk: &Value, dropped_log_lines: u64) -> Response<Bytes> {
    let full = disk.get("full").and_then(Value::as_bool).unwrap_or_default();
    answers::document(&json!({
        "status": if full { "full" } else { "ok" },
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": started.elapsed().as_secs(),
        "services": SERVICES,
        "disk": disk,
        "dropped_log_lines": dropped_log_lines,
    }))
}

/// The same in LocalStack's shape, for tools that wait for it.
pub(super) fn localstack_health() -> Response<Bytes> {
    let services: BTreeMap<&str, &str> = SERVICES.iter().map(|service| (*service, "running")).collect();
    answers::document(&json!({ "services": services, "edition": "fanreel", "version": env!("CARGO_PKG_VERSION") }))
}

/// What the stack holds, with the names that it resolved to. `http_urls`: of the HTTP APIs, in order.
pub(crate) fn stack_page<'a>(stack: &Stack, endpoint: &str, http_urls: impl Iterator<Item = &'a str>, enforced: bool) -> Value {
    let queues = stack.queues.iter().map(|queue| {
        let url = format!("{endpoint}/{ACCOUNT}/{}", queue.name);
        json!({ "name": queue.name, "url": url, "arn": queue_arn(&queue.name) })
    });
    let functions = stack.functions.iter().map(function);
    let apis = stack.http_apis.iter().zip(http_urls).map(http_api);
    let policies = stack.policies.iter().map(|policy| json!({ "logical_id": policy.logical_id, "document": policy.document }));
    let noted = stack.noted.iter().map(|(id, kind)| json!({ "logical_id": id, "type": kind }));
    json!({
        "endpoint": endpoint,
        "region": REGION,
        "account": ACCOUNT,
        "outputs": stack.outputs,
        "functions": functions.collect::<Vec<_>>(),
        "queues": queues.collect::<Vec<_>>(),
        "buckets": stack.buckets.iter().map(|bucket| &bucket.name).collect::<Vec<_>>(),
        "tables": stack.tables.iter().map(|table| &table.name).collect::<Vec<_>>(),
        "schedules": stack.schedules.iter().map(|schedule| &schedule.name).collect::<Vec<_>>(),
        "http_apis": apis.collect::<Vec<_>>(),
        "policies": policies.collect::<Vec<_>>(),
        "policies_enforced": enforced,
        "noted": noted.collect::<Vec<_>>(),
    })
}

fn function(function: &Function) -> Value {
    json!({
        "logical_id": function.logical_id,
        "name": function.name,
        "arn": function_arn(&function.name),
        "memory_mb": function.memory_mb,
        "timeout_s": function.timeout.as_secs(),
        "log_group": function.log_group,
    })
}

fn http_api((api, url): (&HttpApi, &str)) -> Value {
    let route =
        |route: &Route| json!({ "method": route.method.as_deref().unwrap_or("ANY"), "path": route.path, "function": route.function });
    json!({
        "logical_id": api.logical_id,
        "id": http_api_id(&api.logical_id),
        "url": url,
        "routes": api.routes.iter().map(route).collect::<Vec<_>>(),
    })
}
