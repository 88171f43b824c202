//! HTTP APIs and their routes.
//!
//! Source: SAM specification, `AWS::Serverless::HttpApi` and the `HttpApi` event; API Gateway developer guide, "Create
//! routes for HTTP APIs".

use std::{collections::BTreeMap, time::Duration};

use super::{
    error::Problems,
    links::At,
    props::Props,
    yaml::{Node, Value},
};
use crate::stack::{HttpApi, HttpCors, Route, http_api_id};

/// Logical id of the API that events without an `ApiId` share.
pub(super) const IMPLICIT: &str = "ServerlessHttpApi";
/// Takes what no other route does.
const DEFAULT: &str = "$default";
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];

/// `AWS::Serverless::HttpApi`
pub(super) fn api(logical_id: &str, mut props: Props<'_>, problems: &mut Problems) -> HttpApi {
    props.without_effect(&[
        "Name",
        "AccessLogSettings",
        "DefaultRouteSettings",
        "Description",
        "DisableExecuteApiEndpoint",
        "Domain",
        "FailOnWarnings",
        "PropagateTags",
        "RouteSettings",
        "Tags",
    ]);
    props.unsupported(&["Auth", "DefinitionBody", "DefinitionUri"], problems);
    let mut variables = BTreeMap::new();
    if let Some(mut map) = props.map("StageVariables", problems) {
        for entry in map.entries() {
            variables.extend(map.text(&entry.key, problems).map(|value| (entry.key.clone(), value.to_owned())));
        }
    }
    let api = HttpApi {
        logical_id: logical_id.to_owned(),
        routes: Vec::new(),
        cors: cors(&mut props, problems),
        stage: props.text("StageName", problems).unwrap_or(DEFAULT).to_owned(),
        stage_variables: variables,
    };
    props.finish(problems);
    api
}

/// The API that SAM makes for events without an `ApiId`; `globals` are those of HTTP APIs.
pub(super) fn implicit(globals: Option<&Node>, problems: &mut Problems) -> HttpApi {
    let props = Props::new("Globals", "HttpApi", globals.map_or(0, |node| node.line), globals, problems);
    api(IMPLICIT, props, problems)
}

/// `CorsConfiguration`: `true` lets every origin in.
fn cors(props: &mut Props<'_>, problems: &mut Problems) -> Option<HttpCors> {
    match props.node("CorsConfiguration").map(|node| &node.value) {
        Some(Value::Text(text)) if text.eq_ignore_ascii_case("true") => {
            return Some(HttpCors { origins: vec!["*".into()], ..HttpCors::default() });
        }
        Some(Value::Text(text)) if text.eq_ignore_ascii_case("false") => return None,
        _ => {}
    }
    let mut map = props.map("CorsConfiguration", problems)?;
    let mut list = |key| map.texts(key, problems).into_iter().map(|(text, _)| text.to_owned()).collect::<Vec<_>>();
    let (origins, methods, headers) = (list("AllowOrigins"), list("AllowMethods"), list("AllowHeaders"));
    let expose_headers = list("ExposeHeaders");
    let cors = HttpCors {
        origins,
        methods,
        headers,
        expose_headers,
        max_age_seconds: map.number("MaxAge", 0..=86_400, problems),
        allow_credentials: map.flag("AllowCredentials", problems).unwrap_or(false),
    };
    if cors.allow_credentials && cors.origins.iter().any(|origin| origin == "*") {
        map.fail(problems, map.line_of("AllowCredentials"), "AllowCredentials", "cannot go with the origin `*`; name the origins");
    }
    map.finish(problems);
    Some(cors)
}

/// An `HttpApi` event of `function`: the reference of its API, and the route. Without properties it takes everything.
pub(super) fn of_event(props: &mut Props<'_>, function: &str, problems: &mut Problems) -> Option<At<(String, Route)>> {
    props.without_effect(&["RouteSettings"]);
    auth(props, problems);
    props.only("PayloadFormatVersion", &["2.0"], problems);
    let place = props.place("Path");
    let api = props.text("ApiId", problems).map_or_else(|| http_api_id(IMPLICIT), str::to_owned);
    let timeout = props.number("TimeoutInMillis", 50..=30_000, problems).unwrap_or(30_000);
    let (path, method) = (props.text("Path", problems), props.text("Method", problems));
    let (path, method) = match (path, method) {
        (None, None) => (DEFAULT, None),
        (Some(path), Some(method)) => (path, one_of(method, props, problems)?),
        (_, given) => {
            let missing = if given.is_some() { "Path" } else { "Method" };
            props.fail(problems, props.line, missing, "is missing; give both Path and Method, or neither for every request");
            return None;
        }
    };
    if let Err(message) = check(path) {
        props.fail(problems, props.line_of("Path"), "Path", message);
    }
    let route = Route { method, path: path.to_owned(), function: function.to_owned(), timeout: Duration::from_millis(timeout.into()) };
    Some(((api, route), place))
}

/// Nobody is asked who they are: an authorizer would be left out in silence.
fn auth(props: &mut Props<'_>, problems: &mut Problems) {
    let Some(mut auth) = props.map("Auth", problems) else { return };
    auth.only("Authorizer", &["NONE"], problems);
    auth.finish(problems);
}

/// The method, upper case; none for any.
fn one_of(method: &str, props: &Props<'_>, problems: &mut Problems) -> Option<Option<String>> {
    let upper = method.to_ascii_uppercase();
    if matches!(upper.as_str(), "ANY" | "X-AMAZON-APIGATEWAY-ANY-METHOD") {
        return Some(None);
    }
    if !METHODS.contains(&upper.as_str()) {
        let message = format!("`{method}` is no method of an HTTP API; use ANY or one of {}", METHODS.join(", "));
        props.fail(problems, props.line_of("Method"), "Method", message);
        return None;
    }
    Some(Some(upper))
}

/// `/films/{id}/{rest+}`: variables are whole segments, and only the last may be greedy.
fn check(path: &str) -> Result<(), String> {
    if path == DEFAULT {
        return Ok(());
    }
    let Some(rest) = path.strip_prefix('/') else { return Err(format!("`{path}` must begin with `/`")) };
    let segments: Vec<&str> = rest.split('/').collect();
    for (at, segment) in segments.iter().enumerate() {
        let variable = segment.strip_prefix('{').and_then(|s| s.strip_suffix('}'));
        let name = variable.map(|name| name.strip_suffix('+').unwrap_or(name));
        let valid = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._:-".contains(c));
        match name {
            None if segment.contains(['{', '}']) => return Err(format!("`{segment}`: a variable is a whole segment, like {{id}}")),
            Some(name) if !valid(name) => return Err(format!("`{segment}`: name the variable with letters, digits, `.`, `_`, `-`")),
            Some(_) if segment.ends_with("+}") && at + 1 < segments.len() => {
                return Err(format!("`{segment}` takes the rest of the path, so it must be the last segment"));
            }
            _ => {}
        }
    }
    Ok(())
}
