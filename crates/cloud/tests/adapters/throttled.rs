//! Errors as the services write them: what passes is met in place, and no caller hears of it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use cloud::{Clients, Cloud, Settings};
use futures::future::join_all;
use pipeline::{
    Fault,
    id::TaskId,
    message::TaskMessage,
    ports::{Blobs, Ledger, Outbox},
    task::Class,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::stand;

/// Tries of one call, the first included.
const TRIES: usize = 5;
const JSON: &str = "Content-Type: application/x-amz-json-1.0\r\n";
const XML: &str = "Content-Type: application/xml\r\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    S3,
    Sqs,
    DynamoDb,
}

/// An answer, to the byte.
fn answer(status: u16, head: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\nConnection: close\r\n{head}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// The code as the service tells it.
fn error(service: Service, status: u16, code: &str) -> String {
    match service {
        Service::S3 => answer(status, XML, &format!("<Error><Code>{code}</Code><Message>m</Message></Error>")),
        Service::DynamoDb => answer(status, JSON, &format!("{{\"__type\":\"com.amazonaws.dynamodb.v20120810#{code}\",\"message\":\"m\"}}")),
        // The name in the header is that of the older protocol; the one in the body need not be the same.
        Service::Sqs => {
            let head = format!("{JSON}x-amzn-query-error: {code};Sender\r\n");
            answer(status, &head, "{\"__type\":\"com.amazonaws.sqs#AnotherName\",\"message\":\"m\"}")
        }
    }
}

fn fine(service: Service) -> String {
    match service {
        Service::S3 => answer(200, "ETag: \"e\"\r\n", ""),
        Service::DynamoDb => answer(200, JSON, "{}"),
        Service::Sqs => {
            let sent = "{\"Id\":\"0\",\"MessageId\":\"m\",\"MD5OfMessageBody\":\"d\"}";
            answer(200, JSON, &format!("{{\"Successful\":[{sent}],\"Failed\":[]}}"))
        }
    }
}

/// A service that gives these answers, the last one for ever.
struct Scripted {
    endpoint: String,
    asked: Arc<AtomicUsize>,
}

impl Scripted {
    async fn new(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (asked, answers) = (Arc::new(AtomicUsize::new(0)), Arc::new(answers));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (count, answers) = (Arc::clone(&count), Arc::clone(&answers));
                tokio::spawn(async move { serve(client, &count, &answers).await });
            }
        });
        Self { endpoint, asked }
    }

    async fn cloud(&self) -> Cloud {
        let queue = Some(format!("{}/000000000000/split", self.endpoint));
        let settings = Settings::read(|name| match name {
            "TABLE" => Some("ledger".into()),
            "BUCKET" => Some("videos".into()),
            "SPLIT_QUEUE_URL" => queue.clone(),
            _ => None,
        });
        Cloud::over(&Clients::new(&stand::access(&self.endpoint)).await, &settings.unwrap())
    }
}

/// One request of one connection.
async fn serve(mut client: TcpStream, count: &AtomicUsize, answers: &[String]) {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    while !is_whole(&request) {
        match client.read(&mut buffer).await {
            Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    }
    let number = count.fetch_add(1, Ordering::Relaxed);
    let answer = answers.get(number).or(answers.last()).unwrap();
    client.write_all(answer.as_bytes()).await.unwrap();
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |length| length.parse().unwrap());
    body.len() >= length
}

/// What a call to a service that gives these answers comes to, and how often it was asked.
async fn called(service: Service, answers: Vec<String>) -> (Result<(), Fault>, usize) {
    let scripted = Scripted::new(answers).await;
    let cloud = scripted.cloud().await;
    let job = "0123456789abcdef01234567".parse().unwrap();
    let came = match service {
        Service::S3 => cloud.blobs.store("config/profiles.toml", Bytes::from_static(b"text"), "text/plain").await,
        Service::DynamoDb => cloud.ledger.task(&job, TaskId::Split).await.map(|task| assert_eq!(task, None)),
        Service::Sqs => cloud.outbox.send_tasks(Class::Standard, &[TaskMessage::new(&job, TaskId::Split, 0)]).await,
    };
    (came, scripted.asked.load(Ordering::Relaxed))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_throttles_once_is_asked_again_in_place() {
    let throttles = [
        (Service::S3, 503, "SlowDown"),
        (Service::S3, 400, "RequestTimeout"),
        (Service::S3, 500, "InternalError"),
        (Service::Sqs, 403, "RequestThrottled"),
        (Service::Sqs, 400, "ThrottlingException"),
        (Service::Sqs, 503, "ServiceUnavailable"),
        (Service::DynamoDb, 400, "ProvisionedThroughputExceededException"),
        (Service::DynamoDb, 400, "RequestLimitExceeded"),
        (Service::DynamoDb, 400, "ThrottlingException"),
        (Service::DynamoDb, 500, "InternalServerError"),
    ];
    let all = throttles.map(|(service, status, code)| called(service, vec![error(service, status, code), fine(service)]));
    for (came, (service, _, code)) in join_all(all).await.into_iter().zip(throttles) {
        assert_eq!(came, (Ok(()), 2), "{service:?}: {code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_pass_in_place_comes_back_later_and_what_never_passes_is_a_persons() {
    // The SDK does not try again what it does not know; the task does.
    let faults = [
        (Service::S3, 503, "SlowDown", TRIES),
        (Service::Sqs, 403, "RequestThrottled", TRIES),
        (Service::DynamoDb, 400, "ProvisionedThroughputExceededException", TRIES),
        (Service::S3, 409, "OperationAborted", 1),
        (Service::Sqs, 400, "KMS.ThrottlingException", 1),
    ];
    let all = faults.map(|(service, status, code, _)| called(service, vec![error(service, status, code)]));
    for ((came, asked), (service, status, code, tries)) in join_all(all).await.into_iter().zip(faults) {
        assert!(matches!(&came, Err(Fault::Retry(why)) if why.contains(&format!("{code} ({status})"))), "{service:?}: {came:?}");
        assert_eq!(asked, tries, "{service:?}: {code}");
    }
    let refusals = [
        (Service::S3, 403, "AccessDenied"),
        (Service::Sqs, 400, "AWS.SimpleQueueService.NonExistentQueue"),
        (Service::DynamoDb, 400, "ResourceNotFoundException"),
    ];
    let all = refusals.map(|(service, status, code)| called(service, vec![error(service, status, code)]));
    for ((came, asked), (service, _, code)) in join_all(all).await.into_iter().zip(refusals) {
        assert!(matches!(&came, Err(Fault::Escalate { detail, .. }) if detail.contains(code)), "{service:?}: {came:?}");
        assert_eq!(asked, 1, "{service:?}: {code}");
    }
}
