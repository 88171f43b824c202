//! A request as a function gets it: payload format 2.0.
//!
//! Source: API Gateway developer guide, "Create AWS Lambda proxy integrations for HTTP APIs", and `aws_lambda_events`'
//! recorded events. Not in the guide, but measured on AWS by others: `rawPath` is decoded, fields that would be empty are
//! left out, and only `text/*` and a few `application/` types come as text.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap,
    header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE, USER_AGENT},
    request::Parts,
};
use serde_json::{Value, json};
use time::{OffsetDateTime, macros::format_description};

use super::{
    Api,
    route::{Match, decoded},
};
use crate::stack::ACCOUNT;

/// A request that found its route.
pub(super) struct Asked<'a> {
    pub(super) parts: &'a Parts,
    pub(super) body: &'a Bytes,
    pub(super) matched: &'a Match<'a>,
    /// Address of the client.
    pub(super) source: std::net::IpAddr,
    pub(super) request_id: &'a str,
    /// ms since the epoch.
    pub(super) now_ms: u64,
}

/// Headers that are between two ends of one connection, not of the request.
const OF_CONNECTION: [HeaderName; 4] = [CONNECTION, TE, TRANSFER_ENCODING, UPGRADE];
/// Media types, besides `text/*`, whose bodies come as text.
const TEXTS: [&str; 3] = ["application/json", "application/xml", "application/javascript"];

pub(super) fn event(api: &Api, asked: &Asked<'_>) -> Value {
    let path = decoded(asked.parts.uri.path());
    let query = asked.parts.uri.query().unwrap_or_default();
    let mut event = json!({
        "version": "2.0",
        "routeKey": asked.matched.key,
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers(api, asked),
        "requestContext": context(api, asked, &path),
        "isBase64Encoded": false,
    });
    let mut put = |name: &str, value: Value| event[name] = value;
    let cookies = cookies(&asked.parts.headers);
    if !cookies.is_empty() {
        put("cookies", json!(cookies));
    }
    let query = parameters(query);
    if !query.is_empty() {
        put("queryStringParameters", json!(query));
    }
    if !asked.matched.parameters.is_empty() {
        put("pathParameters", json!(asked.matched.parameters));
    }
    if !api.definition.stage_variables.is_empty() {
        put("stageVariables", json!(api.definition.stage_variables));
    }
    if !asked.body.is_empty() {
        let text = is_text(&asked.parts.headers).then(|| std::str::from_utf8(asked.body).ok()).flatten();
        put("isBase64Encoded", json!(text.is_none()));
        put("body", json!(text.map_or_else(|| STANDARD.encode(asked.body), str::to_owned)));
    }
    event
}

fn context(api: &Api, asked: &Asked<'_>, path: &str) -> Value {
    let headers = &asked.parts.headers;
    let host = text(headers, &HOST);
    // Without the port: AWS's has none.
    let domain = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host.as_str(), |(name, _)| name);
    json!({
        "accountId": ACCOUNT,
        "apiId": api.id,
        "domainName": domain,
        "domainPrefix": domain.split('.').next().unwrap_or_default(),
        "http": {
            "method": asked.parts.method.as_str(),
            "path": path,
            "protocol": format!("{:?}", asked.parts.version),
            "sourceIp": asked.source.to_string(),
            "userAgent": text(headers, &USER_AGENT),
        },
        "requestId": asked.request_id,
        "routeKey": asked.matched.key,
        "stage": api.definition.stage,
        "time": common_log_time(asked.now_ms),
        "timeEpoch": asked.now_ms,
    })
}

/// Names in lower case, values of one name joined by commas, and what AWS's front adds.
fn headers(api: &Api, asked: &Asked<'_>) -> BTreeMap<String, String> {
    let given = &asked.parts.headers;
    let wanted = given.keys().filter(|name| **name != COOKIE && !OF_CONNECTION.contains(name));
    let mut headers: BTreeMap<String, String> = wanted.map(|name| (name.as_str().to_owned(), text(given, name))).collect();
    headers.insert(CONTENT_LENGTH.as_str().into(), asked.body.len().to_string());
    let from = asked.source.to_string();
    let forwarded = headers.remove("x-forwarded-for").map_or(from.clone(), |before| format!("{before}, {from}"));
    headers.insert("x-forwarded-for".into(), forwarded);
    headers.insert("x-forwarded-port".into(), api.port.to_string());
    headers.insert("x-forwarded-proto".into(), "http".into());
    headers.entry("x-amzn-trace-id".into()).or_insert_with(|| trace_id(asked.now_ms));
    headers
}

/// All values of a header, joined by commas.
fn text(headers: &HeaderMap, name: &HeaderName) -> String {
    let values: Vec<_> = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    values.join(",")
}

fn cookies(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(COOKIE).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    lines.flat_map(|line| line.split(';').map(|cookie| cookie.trim().to_owned()).collect::<Vec<_>>()).filter(|c| !c.is_empty()).collect()
}

/// Decoded as forms are; values of one name joined by commas.
fn parameters(query: &str) -> BTreeMap<String, String> {
    let mut parameters: BTreeMap<String, String> = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let [name, value] = [name, value].map(|text| decoded(&text.replace('+', " ")));
        parameters
            .entry(name)
            .and_modify(|values| {
                values.push(',');
                values.push_str(&value);
            })
            .or_insert(value);
    }
    parameters
}

/// Whether the body's media type is one that comes as text; a character set other than UTF-8 does not.
fn is_text(headers: &HeaderMap) -> bool {
    let Some(given) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let lower = given.to_ascii_lowercase();
    let mut parts = lower.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    let charset = parts.find_map(|part| part.strip_prefix("charset=")).map(|charset| charset.trim_matches('"'));
    (kind.starts_with("text/") || TEXTS.contains(&kind)) && charset.is_none_or(|charset| charset == "utf-8")
}

/// `Root=1-<8 hex digits of the time>-<24 random ones>`. Source: X-Ray developer guide, "Tracing header".
fn trace_id(now_ms: u64) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("Root=1-{:08x}-{}", now_ms / 1_000, random.get(..24).unwrap_or(&random))
}

/// `21/Apr/2020:15:08:21 +0000`
fn common_log_time(now_ms: u64) -> String {
    let seconds = i64::try_from(now_ms / 1_000).unwrap_or_default();
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let format = format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");
    time.format(&format).unwrap_or_default()
}
