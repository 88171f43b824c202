//! Cross-origin requests: the API answers what browsers ask first, and says in every answer who may read it.
//!
//! Source: API Gateway developer guide, "Configure CORS for HTTP APIs in API Gateway"; Fetch Standard, "CORS protocol".

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderName, ORIGIN, VARY,
    },
    request::Parts,
};

use crate::stack::HttpCors;

/// The answer to a preflight request, which no function sees; `None` for any other request. An origin that is not allowed
/// gets no header, and its browser refuses.
pub(super) fn preflight(cors: &HttpCors, parts: &Parts) -> Option<Response<Bytes>> {
    let asks = parts.method == Method::OPTIONS && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let origin = parts.headers.get(ORIGIN).filter(|_| asks)?;
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    if allow(cors, origin, headers) {
        put(headers, ACCESS_CONTROL_ALLOW_METHODS, &cors.methods.join(","));
        put(headers, ACCESS_CONTROL_ALLOW_HEADERS, &cors.headers.join(","));
        put(headers, ACCESS_CONTROL_MAX_AGE, &cors.max_age_seconds.map_or_else(String::new, |age| age.to_string()));
    }
    Some(response)
}

/// Replaces what the function said about other origins by what is configured.
pub(super) fn apply(cors: &HttpCors, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
    let own: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with("access-control-")).cloned().collect();
    for name in own {
        headers.remove(name);
    }
    if origin.is_some_and(|origin| allow(cors, origin, headers)) {
        put(headers, ACCESS_CONTROL_EXPOSE_HEADERS, &cors.expose_headers.join(","));
    }
}

/// Says that the origin may read the answer, if it may.
fn allow(cors: &HttpCors, origin: &HeaderValue, headers: &mut HeaderMap) -> bool {
    let Ok(text) = origin.to_str() else { return false };
    let any = cors.origins.iter().any(|allowed| allowed == "*");
    // `https://*` and `http://*` are the only patterns.
    let fits = |allowed: &String| allowed.strip_suffix("://*").map_or(allowed == text, |scheme| text.starts_with(&format!("{scheme}://")));
    if any {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    } else if cors.origins.iter().any(fits) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.append(VARY, HeaderValue::from_static("Origin"));
    } else {
        return false;
    }
    if cors.allow_credentials {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    true
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Some(value) = value.parse().ok().filter(|_| !value.is_empty()) {
        headers.insert(name, value);
    }
}
