use std::{collections::BTreeMap, time::Duration};

use http::{HeaderMap, Method, header};
use serde_json::{Value, json};

use super::*;
use crate::lambda::Outcome;

pub(super) fn route(key: &str) -> stack::Route {
    let (method, path) = key.split_once(' ').unwrap_or(("ANY", key));
    stack::Route {
        method: (method != "ANY").then(|| method.to_owned()),
        path: path.into(),
        function: key.into(),
        timeout: Duration::from_secs(30),
    }
}

fn router(keys: &[&str]) -> Router {
    Router::new(keys.iter().map(|key| route(key)).collect())
}

/// The worked example of the guide, and what goes beyond it.
#[test]
fn the_route_that_fits_best_is_taken() {
    let router = router(&[
        "$default",
        "ANY /{proxy+}",
        "GET /pets/{proxy+}",
        "GET /pets/dog/{id}",
        "GET /pets/dog/1",
        "ANY /pets/dog/1",
        "GET /pets/dog/{proxy+}",
        "ANY /",
        "GET /a/{b}/c",
        "GET /a/b/{c}",
        "ANY /m/x",
        "GET /m/{id}",
    ]);
    for (method, path, key, parameters) in [
        ("GET", "/pets/dog/1", "GET /pets/dog/1", json!({})),
        ("POST", "/pets/dog/1", "ANY /pets/dog/1", json!({})),
        ("GET", "/pets/dog/2", "GET /pets/dog/{id}", json!({ "id": "2" })),
        ("GET", "/pets/dog/2/3", "GET /pets/dog/{proxy+}", json!({ "proxy": "2/3" })),
        ("GET", "/pets/cat/1", "GET /pets/{proxy+}", json!({ "proxy": "cat/1" })),
        ("POST", "/test/5", "ANY /{proxy+}", json!({ "proxy": "test/5" })),
        ("HEAD", "/pets", "ANY /{proxy+}", json!({ "proxy": "pets" })),
        ("GET", "/pets/", "ANY /{proxy+}", json!({ "proxy": "pets/" })),
        ("GET", "/", "ANY /", json!({})),
        ("GET", "/a/b/c", "GET /a/b/{c}", json!({ "c": "c" })),
        ("GET", "/m/x", "GET /m/{id}", json!({ "id": "x" })),
        ("PUT", "/m/x", "ANY /m/x", json!({})),
        ("GET", "/pets/d%20og%2F/%C3%BC", "GET /pets/{proxy+}", json!({ "proxy": "d og//ü" })),
        ("GET", "/%70ets/dog/%31", "GET /pets/dog/1", json!({})),
        ("GET", "//", "$default", json!({})),
    ] {
        let found = router.find(method, path).unwrap();
        assert_eq!((found.key, json!(found.parameters)), (key, parameters), "{method} {path}");
    }
}

#[test]
fn without_a_default_there_may_be_none() {
    let router = router(&["GET /films/{id}", "ANY /{proxy+}"]);
    assert_eq!(router.find("GET", "/"), None);
    assert_eq!(router.find("OPTIONS", "*"), None);
    let only = self::router(&["GET /films/{id}"]);
    for (method, path) in [("POST", "/films/1"), ("GET", "/films/"), ("GET", "/films/1/"), ("GET", "/films"), ("GET", "/Films/1")] {
        assert_eq!(only.find(method, path), None, "{method} {path}");
    }
}

fn api(stage: &str) -> Api {
    let definition = stack::HttpApi {
        logical_id: "Api".into(),
        stage: stage.into(),
        stage_variables: BTreeMap::from([("color".into(), "blue".into())]),
        routes: vec![route("POST /films/{id}"), route("$default")],
        cors: None,
    };
    Api::new(definition, 4567)
}

fn event_of(api: &Api, request: Request<&'static [u8]>) -> Value {
    let (parts, body) = request.into_parts();
    let path = api.path(parts.uri.path()).unwrap();
    let matched = api.router.find(parts.method.as_str(), path).unwrap();
    let asked = Asked {
        parts: &parts,
        body: &Bytes::from_static(body),
        matched: &matched,
        source: [10, 0, 0, 7].into(),
        request_id: "LV7fzho-PHcEJPw=",
        now_ms: 1_587_481_701_067,
    };
    event::event(api, &asked)
}

#[test]
fn an_event_has_every_field() {
    let request = Request::post("/dev/films/a%20b?tag=x%2Cy&tag=+z&empty&=q")
        .header("Host", "api.example.com:4567")
        .header("User-Agent", "curl/8")
        .header("X-One", "1")
        .header("X-One", "2")
        .header("Cookie", "a=1; b=2")
        .header("Cookie", "c=3")
        .header("Connection", "keep-alive")
        .header("X-Forwarded-For", "1.2.3.4")
        .header("X-Amzn-Trace-Id", "Root=1-5e9f0c65-1de4d666d4dd26aced652b6c")
        .header("Content-Type", "application/json; charset=UTF-8")
        .body(br#"{"x":1}"#.as_slice())
        .unwrap();
    let expected = json!({
        "version": "2.0",
        "routeKey": "POST /films/{id}",
        "rawPath": "/dev/films/a b",
        "rawQueryString": "tag=x%2Cy&tag=+z&empty&=q",
        "cookies": ["a=1", "b=2", "c=3"],
        "headers": {
            "content-length": "7",
            "content-type": "application/json; charset=UTF-8",
            "host": "api.example.com:4567",
            "user-agent": "curl/8",
            "x-amzn-trace-id": "Root=1-5e9f0c65-1de4d666d4dd26aced652b6c",
            "x-forwarded-for": "1.2.3.4, 10.0.0.7",
            "x-forwarded-port": "4567",
            "x-forwarded-proto": "http",
            "x-one": "1,2",
        },
        "queryStringParameters": { "": "q", "empty": "", "tag": "x,y, z" },
        "pathParameters": { "id": "a b" },
        "stageVariables": { "color": "blue" },
        "requestContext": {
            "accountId": "000000000000",
            "apiId": stack::http_api_id("Api"),
            "domainName": "api.example.com",
            "domainPrefix": "api",
            "http": {
                "method": "POST",
                "path": "/dev/films/a b",
                "protocol": "HTTP/1.1",
                "sourceIp": "10.0.0.7",
                "userAgent": "curl/8",
            },
            "requestId": "LV7fzho-PHcEJPw=",
            "routeKey": "POST /films/{id}",
            "stage": "dev",
            "time": "21/Apr/2020:15:08:21 +0000",
            "timeEpoch": 1_587_481_701_067_u64,
        },
        "body": "{\"x\":1}",
        "isBase64Encoded": false,
    });
    assert_eq!(event_of(&api("dev"), request), expected);
}

#[test]
fn what_would_be_empty_is_left_out() {
    let mut api = api("");
    api.definition.stage_variables.clear();
    let event = event_of(&api, Request::get("/").body([].as_slice()).unwrap());
    for absent in ["cookies", "queryStringParameters", "pathParameters", "stageVariables", "body"] {
        assert!(event.get(absent).is_none(), "{absent}: {event}");
    }
    assert_eq!((&event["rawQueryString"], &event["routeKey"]), (&json!(""), &json!("$default")));
    assert_eq!(event["requestContext"]["stage"], "$default");
    let trace = event["headers"]["x-amzn-trace-id"].as_str().unwrap();
    assert!(trace.starts_with("Root=1-5e9f0c65-") && trace.len() == 40, "{trace}");
}

#[test]
fn only_text_comes_as_text() {
    for (content_type, body, text) in [
        (Some("text/plain"), "ü".as_bytes(), true),
        (Some("TEXT/HTML; Charset=\"utf-8\""), b"x", true),
        (Some("application/json"), b"{}", true),
        (Some("application/xml"), b"<x/>", true),
        (Some("application/javascript"), b"1", true),
        (Some("text/plain"), b"\xff", false),
        (Some("text/plain; charset=iso-8859-1"), b"x", false),
        (Some("application/x-www-form-urlencoded"), b"a=b", false),
        (Some("application/octet-stream"), b"x", false),
        (None, b"x", false),
    ] {
        let mut request = Request::put("/");
        if let Some(content_type) = content_type {
            request = request.header("Content-Type", content_type);
        }
        let event = event_of(&api("$default"), request.body(body).unwrap());
        assert_eq!(event["isBase64Encoded"], !text, "{content_type:?}");
        let expected = if text { String::from_utf8(body.to_vec()).unwrap() } else { STANDARD.encode(body) };
        assert_eq!(event["body"], expected, "{content_type:?}");
    }
}

#[test]
fn a_stage_is_a_whole_component_of_the_path() {
    let api = api("dev");
    assert_eq!(["/dev", "/dev/", "/dev/a/b"].map(|path| api.path(path)), [Some("/"), Some("/"), Some("/a/b")]);
    assert_eq!(["/", "/device", "/a/dev", "dev", "*"].map(|path| api.path(path)), [None; 5]);
}

fn answered(payload: &str) -> (u16, Option<String>, String, HeaderMap) {
    let outcome = Outcome {
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        function_error: None,
        log_tail: String::new(),
        request_id: "r".into(),
    };
    let response = answer::of(Ok(outcome));
    let content_type = response.headers().get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap().to_owned());
    let body = String::from_utf8_lossy(response.body()).into_owned();
    (response.status().as_u16(), content_type, body, response.headers().clone())
}

#[test]
fn an_answer_without_a_status_is_the_body() {
    for (payload, body) in [
        (r#"{"name": "x", "age": 3}"#, r#"{"name": "x", "age": 3}"#),
        ("[1, 2]", "[1, 2]"),
        ("42", "42"),
        ("null", "null"),
        (r#""Special \"quoted\" text""#, "Special \"quoted\" text"),
        ("{\"name\": ", "{\"name\": "),
        ("", ""),
    ] {
        let (status, content_type, given, _) = answered(payload);
        assert_eq!((status, content_type.as_deref(), given.as_str()), (200, Some("application/json"), body), "{payload}");
    }
}

#[test]
fn an_answer_with_a_status_says_the_rest_too() {
    let payload = json!({
        "statusCode": 201,
        "headers": { "Content-Type": "image/png", "X-Number": 7, "X-None": null, "Content-Length": "9999", "Connection": "close" },
        "multiValueHeaders": { "x-many": ["1", "2"] },
        "cookies": ["a=1; Path=/", "b=2"],
        "body": STANDARD.encode("png"),
        "isBase64Encoded": true,
    });
    let (status, content_type, body, headers) = answered(&payload.to_string());
    assert_eq!((status, content_type.as_deref(), body.as_str()), (201, Some("image/png"), "png"));
    assert_eq!(headers.get_all(header::SET_COOKIE).iter().collect::<Vec<_>>(), ["a=1; Path=/", "b=2"]);
    assert_eq!(headers["x-number"], "7");
    for absent in ["x-none", "x-many", "content-length", "connection"] {
        assert!(!headers.contains_key(absent), "{absent}");
    }
    let (status, content_type, body, _) = answered(r#"{"statusCode":"404"}"#);
    assert_eq!((status, content_type.as_deref(), body.as_str()), (404, Some("text/plain;charset=UTF-8"), ""));
}

#[test]
fn what_is_malformed_is_the_functions_error() {
    for payload in [
        r#"{"statusCode":200.5,"body":"x"}"#,
        r#"{"statusCode":"ok"}"#,
        r#"{"statusCode":null}"#,
        r#"{"statusCode":99}"#,
        r#"{"statusCode":101}"#,
        r#"{"statusCode":600}"#,
        r#"{"statusCode":200,"body":{}}"#,
        r#"{"statusCode":200,"body":"%","isBase64Encoded":true}"#,
        r#"{"statusCode":200,"headers":{"a b":"c"}}"#,
        r#"{"statusCode":200,"headers":{"a":"b\nc"}}"#,
        r#"{"statusCode":200,"headers":{"a":["b"]}}"#,
        r#"{"statusCode":200,"headers":"a"}"#,
        r#"{"statusCode":200,"cookies":[1]}"#,
    ] {
        let (status, content_type, body, _) = answered(payload);
        assert_eq!((status, content_type.as_deref()), (500, Some("application/json")), "{payload}");
        assert_eq!(body, r#"{"message":"Internal Server Error"}"#);
    }
}

fn cors(origins: &[&str], allow_credentials: bool) -> stack::HttpCors {
    stack::HttpCors {
        origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
        methods: vec!["GET".into(), "POST".into()],
        headers: vec!["authorization".into()],
        expose_headers: vec!["x-count".into()],
        max_age_seconds: Some(300),
        allow_credentials,
    }
}

fn preflight(cors: &stack::HttpCors, method: Method, headers: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
    let mut request = Request::builder().method(method).uri("/x");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = cors::preflight(cors, &request.body(()).unwrap().into_parts().0)?;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    Some(listed(response.headers()))
}

fn listed(headers: &HeaderMap) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

#[test]
fn a_preflight_is_answered_by_the_api() {
    let asking = [("Origin", "https://a.example"), ("Access-Control-Request-Method", "POST")];
    let exact = cors(&["https://a.example", "http://*"], true);
    let given = preflight(&exact, Method::OPTIONS, &asking).unwrap();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        given,
        [
            pair("access-control-allow-origin", "https://a.example"),
            pair("vary", "Origin"),
            pair("access-control-allow-credentials", "true"),
            pair("access-control-allow-methods", "GET,POST"),
            pair("access-control-allow-headers", "authorization"),
            pair("access-control-max-age", "300"),
        ]
    );
    assert_eq!(preflight(&cors(&["*"], false), Method::OPTIONS, &asking).unwrap()[0].1, "*");
    for (origin, allowed) in [("http://b", true), ("https://b", false), ("https://a.example.evil", false), ("null", false)] {
        let given = preflight(&exact, Method::OPTIONS, &[("Origin", origin), asking[1]]).unwrap();
        assert_eq!(!given.is_empty(), allowed, "{origin}");
    }
    // What is no preflight goes to a route.
    assert_eq!(preflight(&exact, Method::OPTIONS, &asking[..1]), None);
    assert_eq!(preflight(&exact, Method::GET, &asking), None);
}

#[test]
fn what_a_function_says_of_origins_is_ignored_where_cors_is_configured() {
    let mut headers = HeaderMap::new();
    headers.insert("access-control-allow-origin", HeaderValue::from_static("https://evil"));
    headers.insert("access-control-allow-methods", HeaderValue::from_static("*"));
    headers.insert("x-count", HeaderValue::from_static("3"));
    let cors = cors(&["*"], false);
    let mut asked = headers.clone();
    cors::apply(&cors, Some(&HeaderValue::from_static("https://a")), &mut asked);
    let get = |name: &str| asked.get(name).map(|value| value.to_str().unwrap());
    assert_eq!((get("access-control-allow-origin"), get("access-control-expose-headers")), (Some("*"), Some("x-count")));
    assert_eq!((get("access-control-allow-methods"), get("x-count")), (None, Some("3")));
    cors::apply(&cors, None, &mut headers);
    assert_eq!(listed(&headers), [("x-count".to_owned(), "3".to_owned())]);
}
