//! What the tests stand on: services on a port of their own, and a network that can be made to fail.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType, ScalarAttributeType,
};
use cloud::{Access, Clients, Cloud, Queues, Settings};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

pub const TABLE: &str = "ledger";
pub const BUCKET: &str = "videos";

pub struct Stand {
    pub clients: Clients,
    pub cloud: Cloud,
    pub settings: Settings,
    pub endpoint: String,
}

pub fn access(endpoint: &str) -> Access {
    Access { endpoint: Some(endpoint.into()), region: Some("us-east-1".into()), keys: Some(("test".into(), "test".into())) }
}

impl Stand {
    /// A table, a bucket and queues that no other test sees.
    pub async fn new() -> Self {
        let endpoint = "http://127.0.0.1:5987".to_owned();
        let clients = Clients::new(&access(&endpoint)).await;
        static N: AtomicU32 = AtomicU32::new(0);
        let n = format!("{}-{}", std::process::id(), N.fetch_add(1, Ordering::Relaxed));
        let (table, bucket) = (format!("{TABLE}-{n}"), format!("{BUCKET}-{n}"));
        make_table(&clients, &table).await;
        clients.s3.create_bucket().bucket(&bucket).send().await.unwrap();
        let queue = async |name: &str| {
            let made = clients.sqs.create_queue().queue_name(format!("{name}-{n}")).send().await.unwrap();
            made.queue_url
        };
        let mut settings = Settings::read(|name| match name {
            "TABLE" => Some(table.clone()),
            "BUCKET" => Some(bucket.clone()),
            _ => None,
        })
        .unwrap();
        settings.queues = Queues {
            split: queue("split").await,
            transcode: queue("transcode").await,
            transcode_large: queue("transcode-large").await,
            merge: queue("merge").await,
            escalation: None,
        };
        let cloud = Cloud::over(&clients, &settings);
        Self { clients, cloud, settings, endpoint }
    }

    /// The same adapters over another way to the services.
    pub async fn through(&self, endpoint: &str) -> Cloud {
        Cloud::over(&Clients::new(&access(endpoint)).await, &self.settings)
    }
    pub fn bucket(&self) -> &str {
        &self.settings.bucket
    }
}

async fn make_table(clients: &Clients, table: &str) {
    let attribute = |name: &str, kind| AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().unwrap();
    let key = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap();
    let index = GlobalSecondaryIndex::builder()
        .index_name("open")
        .key_schema(key("shard", KeyType::Hash))
        .key_schema(key("due", KeyType::Range))
        .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
        .build()
        .unwrap();
    let request = clients.dynamodb.create_table().table_name(table).billing_mode(BillingMode::PayPerRequest);
    let request = request
        .attribute_definitions(attribute("pk", ScalarAttributeType::S))
        .attribute_definitions(attribute("sk", ScalarAttributeType::S))
        .attribute_definitions(attribute("shard", ScalarAttributeType::S))
        .attribute_definitions(attribute("due", ScalarAttributeType::N))
        .key_schema(key("pk", KeyType::Hash))
        .key_schema(key("sk", KeyType::Range))
        .global_secondary_indexes(index);
    request.send().await.unwrap();
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
