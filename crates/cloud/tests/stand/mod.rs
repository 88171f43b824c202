//! What the tests stand on: services on a port of their own, and a network that can be made to fail.

pub mod gate;

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use cloud::{Access, Clients, Cloud, Settings};
use platform::{Config, TemplateSource};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// The stores of the system's own template, without its functions.
const TEMPLATE: &str = "
Transform: AWS::Serverless-2016-10-31
Resources:
  Bucket: { Type: AWS::S3::Bucket, Properties: { BucketName: videos } }
  Table:
    Type: AWS::DynamoDB::Table
    Properties:
      TableName: ledger
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions:
        - { AttributeName: pk, AttributeType: S }
        - { AttributeName: sk, AttributeType: S }
        - { AttributeName: shard, AttributeType: S }
        - { AttributeName: due, AttributeType: N }
      KeySchema: [{ AttributeName: pk, KeyType: HASH }, { AttributeName: sk, KeyType: RANGE }]
      GlobalSecondaryIndexes:
        - IndexName: open
          KeySchema: [{ AttributeName: shard, KeyType: HASH }, { AttributeName: due, KeyType: RANGE }]
          Projection: { ProjectionType: KEYS_ONLY }
  Split: { Type: AWS::SQS::Queue, Properties: { QueueName: split } }
  Transcode: { Type: AWS::SQS::Queue, Properties: { QueueName: transcode } }
  TranscodeLarge: { Type: AWS::SQS::Queue, Properties: { QueueName: transcode-large } }
  Merge: { Type: AWS::SQS::Queue, Properties: { QueueName: merge } }
";

pub struct Stand {
    pub clients: Clients,
    pub cloud: Cloud,
    pub settings: Settings,
    pub endpoint: String,
    /// The platform's state, gone with the test.
    _data: tempfile::TempDir,
}

pub fn access(endpoint: &str) -> Access {
    Access { endpoint: Some(endpoint.into()), region: Some("us-east-1".into()), keys: Some(("test".into(), "test".into())) }
}

impl Stand {
    /// A platform of its own for one test; it ends with the test's runtime.
    pub async fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let template = TemplateSource::Text { text: TEMPLATE.into(), base_dir: data.path().to_owned() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let running = platform::run(Config::new(data.path().join("data"), template), listener, std::future::pending());
        tokio::spawn(async move { running.await.unwrap() });
        let queue = |name: &str| Some(format!("{endpoint}/000000000000/{name}"));
        let settings = Settings::read(|name| match name {
            "TABLE" => Some("ledger".into()),
            "BUCKET" => Some("videos".into()),
            "SPLIT_QUEUE_URL" => queue("split"),
            "TRANSCODE_QUEUE_URL" => queue("transcode"),
            "TRANSCODE_LARGE_QUEUE_URL" => queue("transcode-large"),
            "MERGE_QUEUE_URL" => queue("merge"),
            _ => None,
        });
        let (clients, settings) = (Clients::new(&access(&endpoint)).await, settings.unwrap());
        let cloud = Cloud::over(&clients, &settings);
        Self { clients, cloud, settings, endpoint, _data: data }
    }

    /// The same adapters over another way to the services.
    pub async fn through(&self, endpoint: &str) -> Cloud {
        Cloud::over(&Clients::new(&access(endpoint)).await, &self.settings)
    }
    pub fn bucket(&self) -> &str {
        &self.settings.bucket
    }
}

/// A way to `endpoint` on which the answer to the first request is lost after the service gave it.
pub async fn loses_the_first_answer(endpoint: &str) -> String {
    let upstream = endpoint.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let taken = Arc::new(AtomicU32::new(0));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (taken, upstream) = (Arc::clone(&taken), upstream.clone());
            tokio::spawn(async move {
                let mut service = TcpStream::connect(upstream).await.unwrap();
                let (mut from_client, mut to_client) = client.split();
                let (mut from_service, mut to_service) = service.split();
                let there = tokio::io::copy(&mut from_client, &mut to_service);
                let back = async {
                    let mut buffer = [0; 16_384];
                    loop {
                        let n = from_service.read(&mut buffer).await?;
                        if n == 0 || taken.fetch_add(1, Ordering::Relaxed) == 0 {
                            return std::io::Result::Ok(());
                        }
                        to_client.write_all(&buffer[..n]).await?;
                    }
                };
                tokio::select! { _ = there => {}, _ = back => {} }
            });
        }
    });
    format!("http://{address}")
}

/// A way to `endpoint` on which every connection breaks after `bytes` of answers, `times` times.
pub async fn breaks_off(endpoint: &str, bytes: usize, times: u32) -> String {
    let upstream = endpoint.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let broken = Arc::new(AtomicU32::new(0));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (broken, upstream) = (Arc::clone(&broken), upstream.clone());
            tokio::spawn(async move {
                let mut service = TcpStream::connect(upstream).await.unwrap();
                let (mut from_client, mut to_client) = client.split();
                let (mut from_service, mut to_service) = service.split();
                let there = tokio::io::copy(&mut from_client, &mut to_service);
                let back = async {
                    let mut buffer = [0; 16_384];
                    let mut passed = 0;
                    loop {
                        let n = from_service.read(&mut buffer).await?;
                        to_client.write_all(&buffer[..n]).await?;
                        passed += n;
                        if n == 0 || (passed >= bytes && broken.fetch_add(1, Ordering::Relaxed) < times) {
                            return std::io::Result::Ok(());
                        }
                    }
                };
                tokio::select! { _ = there => {}, _ = back => {} }
            });
        }
    });
    format!("http://{address}")
}
