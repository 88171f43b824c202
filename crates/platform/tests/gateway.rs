//! The whole platform on a port of its own: AWS's SDKs outside, a real function inside.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

#[path = "gateway/direct.rs"]
mod direct;
#[path = "gateway/http.rs"]
mod http_apis;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_s3::{
    config::{Credentials, SharedCredentialsProvider},
    error::ProvideErrorMetadata,
    primitives::ByteStream,
};
use platform::{Config, PlatformError, TemplateSource};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

#[path = "gateway/bus.rs"]
mod bus;
#[path = "gateway/damage.rs"]
mod damage;
#[path = "gateway/metrics.rs"]
mod metrics;
#[path = "gateway/others.rs"]
mod others;
#[path = "gateway/policies.rs"]
mod policies;

const TEMPLATE: &str = "
Transform: AWS::Serverless-2016-10-31
Resources:
  Files:
    Type: AWS::S3::Bucket
    Properties:
      BucketName: files
      NotificationConfiguration:
        QueueConfigurations:
          - { Event: 's3:ObjectCreated:*', Queue: !GetAtt Work.Arn, Filter: { S3Key: { Rules: [{ Name: prefix, Value: in/ }] } } }
  Work: { Type: AWS::SQS::Queue, Properties: { QueueName: work } }
  Spare: { Type: AWS::SQS::Queue, Properties: { QueueName: spare } }
  Seen:
    Type: AWS::DynamoDB::Table
    Properties:
      TableName: seen
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{ AttributeName: pk, AttributeType: S }]
      KeySchema: [{ AttributeName: pk, KeyType: HASH }]
  Record:
    Type: AWS::Serverless::Function
    Metadata: { BuildProperties: { Binary: record } }
    Properties:
      FunctionName: record
      Runtime: provided.al2023
      Handler: bootstrap
      CodeUri: .
      Timeout: 20
      Environment: { Variables: { TABLE: !Ref Seen } }
      Events:
        Files: { Type: SQS, Properties: { Queue: !GetAtt Work.Arn } }
  Alerts: { Type: AWS::SNS::Topic }
Outputs:
  WorkUrl: { Value: !Ref Work }
";

/// Directory of the function's binary: built if it is not there or older than its source. `make test` has built it with the
/// whole workspace; alone it would take other features of its dependencies, and build them again.
fn binaries() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built("record")).clone()
}

fn built(function: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let dir = test.parent().and_then(Path::parent).unwrap().to_owned();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/functions/{function}/src/main.rs"));
    let written = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified());
    if written(&dir.join(function)).is_ok_and(|program| program >= written(&source).unwrap()) {
        return dir;
    }
    let status = Command::new(env!("CARGO")).args(["build", "--quiet", "--package", function]).status().unwrap();
    assert!(status.success(), "the function could not be built");
    dir
}

fn config(dir: &Path) -> Config {
    let template = TemplateSource::Text { text: TEMPLATE.into(), base_dir: dir.to_owned() };
    let mut config = Config::new(dir.join("data"), template);
    config.binary_dirs = vec![binaries()];
    config
}

/// A running platform.
struct Platform {
    address: SocketAddr,
    end: oneshot::Sender<()>,
    running: JoinHandle<Result<(), PlatformError>>,
}

impl Platform {
    async fn start(dir: &Path) -> Self {
        Self::of(config(dir)).await
    }

    async fn of(config: Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ended) = oneshot::channel();
        let running = tokio::spawn(platform::run(config, listener, async {
            let _ = ended.await;
        }));
        Self { address, end, running }
    }

    async fn stop(self) {
        self.end.send(()).unwrap();
        self.running.await.unwrap().unwrap();
    }

    fn clients(&self, access_key: &str, secret_key: &str) -> SdkConfig {
        let credentials = Credentials::new(access_key, secret_key, None, None, "test");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(format!("http://{}", self.address))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .retry_config(RetryConfig::disabled())
            .build()
    }

    fn s3(&self) -> aws_sdk_s3::Client {
        s3(&self.clients("test", "test"))
    }

    async fn put(&self, key: &str, body: &'static str) {
        let body = ByteStream::from_static(body.as_bytes());
        self.s3().put_object().bucket("files").key(key).body(body).send().await.unwrap();
    }

    async fn get(&self, key: &str) -> String {
        let object = self.s3().get_object().bucket("files").key(key).send().await.unwrap();
        String::from_utf8(object.body.collect().await.unwrap().to_vec()).unwrap()
    }

    /// The item that the function wrote, waited for.
    async fn item(&self, key: &str) -> (String, String) {
        let table = aws_sdk_dynamodb::Client::new(&self.clients("test", "test"));
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let pk = AttributeValue::S(key.into());
            let item = table.get_item().table_name("seen").key("pk", pk).consistent_read(true).send().await.unwrap().item;
            if let Some(item) = item {
                return (item["size"].as_n().unwrap().clone(), item["times"].as_n().unwrap().clone());
            }
            assert!(Instant::now() < deadline, "nobody wrote {key} down");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Status and body of a request in plain words.
    async fn raw(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

fn s3(config: &SdkConfig) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::config::Builder::from(config).force_path_style(true).build();
    aws_sdk_s3::Client::from_conf(config)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_reaches_the_function_and_everything_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let platform = Platform::start(dir.path()).await;
    platform.put("out/ignored", "not for the function").await;
    platform.put("in/a b+c.txt", "hello").await;
    assert_eq!(platform.item("in/a+b%2Bc.txt").await, ("5".into(), "1".into()));
    let sqs = aws_sdk_sqs::Client::new(&platform.clients("test", "test"));
    let spare = sqs.get_queue_url().queue_name("spare").send().await.unwrap().queue_url.unwrap();
    assert_eq!(spare, format!("http://{}/000000000000/spare", platform.address));
    sqs.send_message().queue_url(spare).message_body("kept").send().await.unwrap();
    platform.stop().await;

    let platform = Platform::start(dir.path()).await;
    assert_eq!(platform.get("in/a b+c.txt").await, "hello");
    assert_eq!(platform.item("in/a+b%2Bc.txt").await, ("5".into(), "1".into()));
    let sqs = aws_sdk_sqs::Client::new(&platform.clients("test", "test"));
    let spare = sqs.get_queue_url().queue_name("spare").send().await.unwrap().queue_url.unwrap();
    let messages = sqs.receive_message().queue_url(spare).send().await.unwrap().messages.unwrap();
    assert_eq!(messages[0].body.as_deref(), Some("kept"));
    platform.put("in/second", "two").await;
    assert_eq!(platform.item("in/second").await, ("3".into(), "1".into()));
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_requests_signed_with_the_key_are_let_in() {
    let dir = tempfile::tempdir().unwrap();
    let platform = Platform::start(dir.path()).await;
    let refused = async |access_key: &str, secret_key: &str| {
        let config = platform.clients(access_key, secret_key);
        let dynamodb = aws_sdk_dynamodb::Client::new(&config).list_tables().send().await.unwrap_err();
        let sqs = aws_sdk_sqs::Client::new(&config).list_queues().send().await.unwrap_err();
        let logs = aws_sdk_cloudwatchlogs::Client::new(&config).describe_log_groups().send().await.unwrap_err();
        let lambda = aws_sdk_lambda::Client::new(&config).invoke().function_name("record").send().await.unwrap_err();
        let codes = [dynamodb.code(), sqs.code(), logs.code(), lambda.code()];
        let codes = codes.map(|code| code.unwrap_or_default().trim_start_matches("com.amazon.coral.service#").to_owned());
        let s3 = s3(&config).list_buckets().send().await.unwrap_err();
        (codes, s3.code().unwrap_or_default().to_owned())
    };
    let (codes, s3) = refused("test", "wrong").await;
    assert_eq!((codes, s3.as_str()), (["InvalidSignatureException"; 4].map(String::from), "SignatureDoesNotMatch"));
    let (codes, s3) = refused("nobody", "test").await;
    assert_eq!((codes, s3.as_str()), (["UnrecognizedClientException"; 4].map(String::from), "InvalidAccessKeyId"));

    let unsigned =
        "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Amz-Target: DynamoDB_20120810.ListTables\r\nContent-Length: 2\r\n\r\n{}";
    let (status, body) = platform.raw(unsigned).await;
    assert_eq!((status, body.contains("#MissingAuthenticationTokenException")), (400, true), "{body}");
    let payload = "x".repeat(17 << 20);
    let config = platform.clients("test", "test");
    let queue = format!("http://{}/000000000000/spare", platform.address);
    let send = aws_sdk_sqs::Client::new(&config).send_message().queue_url(queue).message_body(payload);
    let error = send.send().await.unwrap_err();
    assert_eq!(error.raw_response().map(|response| response.status().as_u16()), Some(413), "{error:?}");
    let (status, _) = platform.raw("GET /files/in/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert_eq!(status, 403);
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_own_pages_tell_what_runs() {
    let dir = tempfile::tempdir().unwrap();
    let platform = Platform::start(dir.path()).await;
    let page = async |path: &str| {
        let (status, body) = platform.raw(&format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")).await;
        (status, serde_json::from_str::<Value>(&body).unwrap())
    };
    let (status, health) = page("/_fanreel/health").await;
    assert_eq!((status, health["status"].as_str()), (200, Some("ok")));
    let (status, stack) = page("/_fanreel/stack").await;
    assert_eq!(status, 200);
    let url = format!("http://{}/000000000000/work", platform.address);
    assert_eq!(stack["outputs"]["WorkUrl"], url);
    assert_eq!(stack["functions"][0]["name"], "record");
    assert_eq!(stack["noted"][0]["type"], "AWS::SNS::Topic");
    let (status, error) = page("/_fanreel/nothing").await;
    assert_eq!(status, 404, "{error}");
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_platform_a_foreign_directory_and_an_open_port_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = Platform::start(dir.path()).await;
    // Once it answers, it holds the directory.
    first.put("out/x", "x").await;
    let listen = async |address: &str| TcpListener::bind(address).await.unwrap();
    let error = platform::run(config(dir.path()), listen("127.0.0.1:0").await, async {}).await.unwrap_err();
    let pid = std::process::id();
    assert!(error.to_string().contains(&format!("is in use by another process (pid {pid})")), "{error}");
    first.stop().await;

    let error = platform::run(config(dir.path()), listen("0.0.0.0:0").await, async {}).await.unwrap_err();
    assert!(matches!(error, PlatformError::Exposed(_)), "{error}");
    let mut named = config(dir.path());
    named.access_key = "me".into();
    let error = platform::run(named, listen("[::]:0").await, async {}).await.unwrap_err();
    assert!(matches!(error, PlatformError::Exposed(_)), "a name alone protects nothing: {error}");

    let foreign = tempfile::tempdir().unwrap();
    std::fs::create_dir(foreign.path().join("data")).unwrap();
    std::fs::write(foreign.path().join("data/letter"), "mine").unwrap();
    let error = platform::run(config(foreign.path()), listen("127.0.0.1:0").await, async {}).await.unwrap_err();
    assert!(error.to_string().contains("is no data directory of the platform"), "{error}");
    let mut broken = config(dir.path());
    broken.parameters.insert("Nothing".into(), "1".into());
    let error = platform::run(broken, listen("127.0.0.1:0").await, async {}).await.unwrap_err();
    assert!(matches!(error, PlatformError::Template(_)), "{error}");
}
