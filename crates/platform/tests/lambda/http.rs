//! HTTP APIs: real requests over a socket, real functions behind them.

use std::net::SocketAddr;

use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use platform::{
    http_api,
    stack::{HttpApi, HttpCors, Route},
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use super::*;

/// An API on a port of its own.
struct Web {
    address: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    end: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Web {
    async fn of(rig: &Rig, api: HttpApi) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ended) = oneshot::channel::<()>();
        let ended = async {
            let _ = ended.await;
        };
        let serving = tokio::spawn(http_api::serve(api, listener, Arc::clone(&rig.lambda), ended));
        Self { address, client: Client::builder(TokioExecutor::new()).build_http(), end, serving }
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Response<Bytes> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.client.request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
    }

    /// Has the function do an event.
    async fn act(&self, event: Value) -> Response<Bytes> {
        self.send("POST", "/act", &[("content-type", "application/json")], event.to_string()).await
    }

    async fn end(self) {
        self.end.send(()).unwrap();
        // The client still holds its connections.
        self.serving.await.unwrap();
    }
}

fn api(routes: &[&str], function: &str) -> HttpApi {
    let route = |key: &&str| {
        let (method, path) = key.split_once(' ').unwrap_or(("ANY", key));
        let method = (method != "ANY").then(|| method.to_owned());
        Route { method, path: path.into(), function: function.into(), timeout: Duration::from_secs(30) }
    };
    HttpApi { logical_id: "Api".into(), routes: routes.iter().map(route).collect(), ..HttpApi::default() }
}

fn text(response: &Response<Bytes>) -> (u16, &str) {
    (response.status().as_u16(), std::str::from_utf8(response.body()).unwrap())
}

const INTERNAL: (u16, &str) = (500, r#"{"message":"Internal Server Error"}"#);
const UNAVAILABLE: (u16, &str) = (503, r#"{"message":"Service Unavailable"}"#);

#[tokio::test]
async fn a_function_gets_a_request_as_an_event_and_its_answer_is_the_response() {
    let rig = Rig::new(vec![function("hello")]);
    let web = Web::of(&rig, api(&["GET /films/{id}", "POST /act"], "hello")).await;
    let headers = [("cookie", "a=1; b=2"), ("x-one", "1"), ("x-one", "2"), ("user-agent", "test")];
    let answer = web.send("GET", "/films/a%20b?tag=x&tag=y", &headers, "").await;
    assert_eq!((answer.status(), &answer.headers()[header::CONTENT_TYPE]), (StatusCode::OK, &"application/json".parse().unwrap()));
    let mut event: Value = serde_json::from_slice(answer.body()).unwrap();
    let context = event["requestContext"].as_object_mut().unwrap();
    assert_eq!(context["requestId"], answer.headers()["apigw-requestid"].to_str().unwrap());
    let now = u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    assert!(now.abs_diff(context["timeEpoch"].as_u64().unwrap()) < 60_000);
    for changing in ["requestId", "time", "timeEpoch"] {
        context.remove(changing).unwrap();
    }
    event["headers"].as_object_mut().unwrap().remove("x-amzn-trace-id").unwrap();
    let (host, port) = (web.address.to_string(), web.address.port().to_string());
    let expected = json!({
        "version": "2.0",
        "routeKey": "GET /films/{id}",
        "rawPath": "/films/a b",
        "rawQueryString": "tag=x&tag=y",
        "cookies": ["a=1", "b=2"],
        "headers": {
            "content-length": "0", "host": host, "user-agent": "test", "x-one": "1,2",
            "x-forwarded-for": "127.0.0.1", "x-forwarded-port": port, "x-forwarded-proto": "http",
        },
        "queryStringParameters": { "tag": "x,y" },
        "pathParameters": { "id": "a b" },
        "requestContext": {
            "accountId": stack::ACCOUNT,
            "apiId": stack::http_api_id("Api"),
            "domainName": "127.0.0.1",
            "domainPrefix": "127",
            "http": { "method": "GET", "path": "/films/a b", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "test" },
            "routeKey": "GET /films/{id}",
            "stage": "$default",
        },
        "isBase64Encoded": false,
    });
    assert_eq!(event, expected);
    let structured = json!({ "statusCode": 418, "headers": { "x-tea": "yes" }, "cookies": ["c=3"], "body": "short" });
    let answer = web.act(json!({ "answer": structured })).await;
    assert_eq!(text(&answer), (418, "short"));
    assert_eq!((&answer.headers()["x-tea"], &answer.headers()["set-cookie"]), (&"yes".parse().unwrap(), &"c=3".parse().unwrap()));
    assert_eq!(text(&web.act(json!({ "answer": "plain" })).await), (200, "plain"));
    for (method, path) in [("GET", "/"), ("PUT", "/act"), ("GET", "/films/1/2")] {
        assert_eq!(text(&web.send(method, path, &[], "x").await), (404, r#"{"message":"Not Found"}"#));
    }
    web.end().await;
    rig.end().await;
}

#[tokio::test]
async fn a_function_that_fails_or_crashes_is_a_500() {
    let rig = Rig::new(vec![stack::Function { timeout: Duration::from_secs(1), ..function("hello") }]);
    let web = Web::of(&rig, api(&["$default"], "hello")).await;
    for event in [
        json!({ "fail": "no" }),
        json!({ "exit": 3 }),
        json!({ "abort": true }),
        json!({ "sleep": 60_000 }),
        json!({ "answer": { "statusCode": "?" } }),
    ] {
        assert_eq!(text(&web.act(event.clone()).await), INTERNAL, "{event}");
    }
    assert_eq!(text(&web.act(json!({ "answer": 1 })).await), (200, "1"), "the next request is well");
    web.end().await;
    let gone = Web::of(&rig, api(&["$default"], "nobody")).await;
    assert_eq!(text(&gone.act(json!({})).await), INTERNAL);
    gone.end().await;
    rig.end().await;
}

#[tokio::test]
async fn a_client_waits_no_longer_than_the_route_says_and_the_function_goes_on() {
    let rig = Rig::new(vec![stack::Function { reserved_concurrency: Some(1), ..function("hello") }]);
    let mut api = api(&["POST /act"], "hello");
    api.routes[0].timeout = Duration::from_millis(300);
    let web = Web::of(&rig, api).await;
    let (begun, go_on) = (rig.path("pid"), rig.path("go-on"));
    let slow = web.act(json!({ "pid": begun, "until": [go_on], "log": ["begun"] }));
    let second = async {
        pid_in(&begun).await;
        web.act(json!({})).await
    };
    let (slow, second) = tokio::join!(slow, second);
    assert_eq!((text(&slow), text(&second)), (UNAVAILABLE, UNAVAILABLE), "too slow; throttled by the reserved concurrency");
    fs::write(&go_on, "").unwrap();
    let end = Instant::now() + PATIENCE;
    while !rig.log().await.iter().any(|line| line.starts_with("REPORT")) {
        assert!(Instant::now() < end, "it did not go on: {:?}", rig.log().await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    web.end().await;
    rig.end().await;
}

#[tokio::test]
async fn what_is_too_large_is_refused_in_words() {
    let rig = Rig::new(vec![function("hello")]);
    let web = Web::of(&rig, api(&["POST /act"], "hello")).await;
    let too_large = (413, r#"{"message":"Request Entity Too Large"}"#);
    assert_eq!(text(&web.send("POST", "/act", &[], vec![0; (10 << 20) + 1]).await), too_large);
    // In base64 it is more than an invocation takes.
    assert_eq!(text(&web.send("POST", "/act", &[], vec![0; 5 << 20]).await), too_large);
    let refused = web.send("POST", "/act", &[("x-long", &"x".repeat(10_240))], "").await;
    assert_eq!(text(&refused), (431, r#"{"message":"Request Header Fields Too Large"}"#));
    let many: Vec<(String, String)> = (0..200).map(|n| (format!("x-{n}"), "1".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(web.send("POST", "/act", &many, "").await.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert_eq!(rig.lambda.environments(), [], "no function was asked");
    web.end().await;
    rig.end().await;
}

#[tokio::test]
async fn a_preflight_is_answered_without_the_function() {
    let rig = Rig::new(vec![function("hello")]);
    let mut api = api(&["POST /act"], "hello");
    api.stage = "dev".into();
    api.cors = Some(HttpCors { origins: vec!["https://a.example".into()], methods: vec!["POST".into()], ..HttpCors::default() });
    let web = Web::of(&rig, api).await;
    let asking = [("origin", "https://a.example"), ("access-control-request-method", "POST")];
    let answer = web.send("OPTIONS", "/dev/act", &asking, "").await;
    assert_eq!((answer.status(), &answer.headers()["access-control-allow-methods"]), (StatusCode::NO_CONTENT, &"POST".parse().unwrap()));
    assert_eq!(rig.lambda.environments(), [], "no function was asked");
    let structured = json!({ "statusCode": 200, "headers": { "access-control-allow-origin": "*" }, "body": "x" });
    let body = json!({ "answer": structured }).to_string();
    let headers = [("content-type", "application/json"), ("origin", "https://a.example")];
    let answer = web.send("POST", "/dev/act", &headers, body.clone()).await;
    assert_eq!((text(&answer), &answer.headers()["access-control-allow-origin"]), ((200, "x"), &"https://a.example".parse().unwrap()));
    let answer = web.send("POST", "/dev/act", &headers[..1], body).await;
    assert!(!answer.headers().contains_key("access-control-allow-origin"), "{answer:?}");
    assert_eq!(web.send("POST", "/act", &headers, "{}").await.status(), StatusCode::NOT_FOUND, "without the stage");
    web.end().await;
    rig.end().await;
}

#[tokio::test]
async fn an_axum_application_runs_as_it_is() {
    program("web");
    let rig = Rig::new(vec![stack::Function { binary: "web".into(), ..function("web") }]);
    let web = Web::of(&rig, api(&["$default"], "web")).await;
    let answer = web.send("GET", "/films/42?a=b+c&d=%C3%BC", &[("cookie", "x=1; y=2")], "").await;
    let expected = json!({ "id": "42", "query": { "a": "b c", "d": "ü" }, "cookie": "x=1; y=2" });
    assert_eq!((answer.status(), serde_json::from_slice::<Value>(answer.body()).unwrap()), (StatusCode::OK, expected));
    let bytes: Vec<u8> = (0..=255).collect();
    let answer = web.send("POST", "/reverse", &[("content-type", "application/octet-stream")], bytes.clone()).await;
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/octet-stream");
    assert_eq!(answer.body().as_ref(), bytes.into_iter().rev().collect::<Vec<u8>>());
    let answer = web.send("POST", "/login", &[], "").await;
    assert_eq!((answer.status(), &answer.headers()[header::LOCATION]), (StatusCode::SEE_OTHER, &"/".parse().unwrap()));
    let cookies: Vec<_> = answer.headers().get_all(header::SET_COOKIE).iter().collect();
    assert_eq!(cookies, ["a=1; Path=/", "b=2"]);
    assert_eq!(text(&web.send("DELETE", "/nowhere", &[], "").await), (404, "there is nothing at DELETE /nowhere"));
    web.end().await;
    rig.end().await;
}
