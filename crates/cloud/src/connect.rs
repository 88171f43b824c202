//! Clients of the three services: one HTTP client, standard retries in place, bounds on every call.

use std::time::Duration;

use aws_config::{
    BehaviorVersion, Region, SdkConfig, retry::RetryConfig, stalled_stream_protection::StalledStreamProtectionConfig,
    timeout::TimeoutConfig,
};
use aws_credential_types::Credentials;
use aws_smithy_http_client::{Builder, tls};
use pipeline::ports::Parts;

use crate::{Counter, DynamoLedger, S3Blobs, Settings, SqsOutbox, SystemClock};

/// Tries of one call, the first included. A throttle or a lost connection is met here first.
const MAX_ATTEMPTS: u32 = 5;
const CONNECT: Duration = Duration::from_secs(3);
/// One try of a call with a small answer.
const SMALL_CALL: Duration = Duration::from_secs(15);
/// From the request's first byte to the answer's first byte, for S3.
const S3_ANSWER: Duration = Duration::from_secs(120);
/// How long a body may stand still before it counts as cut off.
const STALL: Duration = Duration::from_secs(20);

/// Where to, beyond what the standard AWS variables and files say. Functions leave it empty.
#[derive(Clone, Default)]
pub struct Access {
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// Access key id and secret.
    pub keys: Option<(String, String)>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { endpoint, region, keys } = self;
        let key = keys.as_ref().map(|(id, _)| id);
        f.debug_struct("Access").field("endpoint", endpoint).field("region", region).field("key", &key).finish()
    }
}

/// One client per service.
#[derive(Clone, Debug)]
pub struct Clients {
    pub s3: aws_sdk_s3::Client,
    pub sqs: aws_sdk_sqs::Client,
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// What was asked through them.
    pub counter: Counter,
}

impl Clients {
    /// Reads the standard AWS configuration; nothing is sent yet.
    pub async fn new(access: &Access) -> Self {
        let config = shared_config(access).await;
        let counter = Counter::default();
        let s3_timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).read_timeout(S3_ANSWER).build();
        let s3 = aws_sdk_s3::config::Builder::from(&config)
            // Virtual-hosted addressing breaks on named hosts such as `localhost`.
            .force_path_style(true)
            .timeout_config(s3_timeouts)
            .interceptor(counter.clone())
            .build();
        let sqs = aws_sdk_sqs::config::Builder::from(&config).interceptor(counter.clone()).build();
        let dynamodb = aws_sdk_dynamodb::config::Builder::from(&config).interceptor(counter.clone()).build();
        Self {
            s3: aws_sdk_s3::Client::from_conf(s3),
            sqs: aws_sdk_sqs::Client::from_conf(sqs),
            dynamodb: aws_sdk_dynamodb::Client::from_conf(dynamodb),
            counter,
        }
    }
}

/// For calls to S3 with a part's bytes in them, copies of a part, and completions, which S3 may be at for minutes ("it may take
/// several minutes", S3 API reference, "CompleteMultipartUpload"): one try may take as long as an answer may.
pub fn large_call() -> aws_sdk_s3::config::Builder {
    let times = TimeoutConfig::builder().operation_attempt_timeout(S3_ANSWER).build();
    aws_sdk_s3::config::Builder::new().timeout_config(times)
}

async fn shared_config(access: &Access) -> SdkConfig {
    let http = Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)).build_https();
    let retry = RetryConfig::standard()
        .with_max_attempts(MAX_ATTEMPTS)
        .with_initial_backoff(Duration::from_millis(200))
        .with_max_backoff(Duration::from_secs(5));
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(SMALL_CALL).build();
    let stalls = StalledStreamProtectionConfig::enabled().grace_period(STALL).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .retry_config(retry)
        .timeout_config(timeouts)
        .stalled_stream_protection(stalls);
    if let Some(region) = &access.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &access.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some((id, secret)) = &access.keys {
        loader = loader.credentials_provider(Credentials::new(id, secret, None, None, "given"));
    }
    loader.load().await
}

/// All adapters together, as `main` needs them.
#[derive(Clone, Debug)]
pub struct Cloud {
    pub ledger: DynamoLedger,
    pub blobs: S3Blobs,
    pub outbox: SqsOutbox,
    pub clock: SystemClock,
    pub meter: Counter,
}

impl Cloud {
    /// Connects to what the standard AWS variables name.
    pub async fn connect(settings: &Settings) -> Self {
        Self::over(&Clients::new(&Access::default()).await, settings)
    }
    /// The stages' ports, with these media tools.
    pub fn world<E>(self, encoder: E) -> Parts<DynamoLedger, S3Blobs, SqsOutbox, E, SystemClock, Counter> {
        let Self { ledger, blobs, outbox, clock, meter } = self;
        Parts { ledger, blobs, outbox, encoder, clock, meter }
    }

    pub fn over(clients: &Clients, settings: &Settings) -> Self {
        Self {
            ledger: DynamoLedger::new(clients.dynamodb.clone(), &settings.table, settings.ttl_s),
            blobs: S3Blobs::new(clients.s3.clone(), &settings.bucket),
            outbox: SqsOutbox::new(clients.sqs.clone(), settings.queues.clone()).telling(settings.webhook.clone()),
            clock: SystemClock,
            meter: clients.counter.clone(),
        }
    }
}
