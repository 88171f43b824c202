//! The two services behind one port, without signatures: what the gateway does, less the gateway.

use std::{net::SocketAddr, path::Path, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use platform::{dynamodb::DynamoDb, sqs::Sqs};

pub struct Server {
    pub sqs: Arc<Sqs>,
    pub dynamo: Arc<DynamoDb>,
    pub endpoint: String,
    accept: tokio::task::JoinHandle<()>,
}

impl Server {
    pub async fn start(dir: &Path) -> Self {
        let sqs = Sqs::open(&dir.join("sqs")).unwrap();
        let dynamo = DynamoDb::open(&dir.join("dynamodb")).unwrap();
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (s, d, e) = (Arc::clone(&sqs), Arc::clone(&dynamo), endpoint.clone());
        let accept = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (s, d, e) = (Arc::clone(&s), Arc::clone(&d), e.clone());
                let service = service_fn(move |request| answer(Arc::clone(&s), Arc::clone(&d), e.clone(), request));
                let http = hyper::server::conn::http1::Builder::new();
                connections.spawn(http.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { sqs, dynamo, endpoint, accept }
    }

    /// Ends every connection and gives the data directory free.
    pub async fn stop(self) {
        self.accept.abort();
        let _ = self.accept.await;
    }

    fn config(&self) -> aws_config::SdkConfig {
        let keys = aws_sdk_sqs::config::Credentials::new("test", "test", None, None, "test");
        aws_config::SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .region(aws_config::Region::new("us-east-1"))
            .credentials_provider(aws_sdk_sqs::config::SharedCredentialsProvider::new(keys))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .endpoint_url(&self.endpoint)
            .build()
    }

    pub fn sqs_client(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.config())
    }

    pub fn dynamo_client(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.config())
    }
}

async fn answer(
    sqs: Arc<Sqs>,
    dynamo: Arc<DynamoDb>,
    endpoint: String,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let target = request.headers().get("x-amz-target").unwrap().to_str().unwrap().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let (service, operation) = target.split_once('.').unwrap();
    let response = match service {
        "AmazonSQS" => sqs.handle(operation, &body, &endpoint).await,
        "DynamoDB_20120810" => dynamo.handle(operation, &body).await,
        other => panic!("a test called {other}"),
    };
    Ok(response.map(Full::new))
}
