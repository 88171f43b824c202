//! The query protocol over the platform's own port, in signed requests made by hand: what older SDKs and tools send.

use std::{net::SocketAddr, path::Path, time::SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use platform::{Config, PlatformError, TemplateSource};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

const TEMPLATE: &str = "
Transform: AWS::Serverless-2016-10-31
Resources:
  Work: { Type: AWS::SQS::Queue, Properties: { QueueName: work } }
";

struct Platform {
    address: SocketAddr,
    end: oneshot::Sender<()>,
    running: JoinHandle<Result<(), PlatformError>>,
}

impl Platform {
    async fn start(dir: &Path) -> Self {
        let template = TemplateSource::Text { text: TEMPLATE.into(), base_dir: dir.to_owned() };
        let config = Config::new(dir.join("data"), template);
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

    /// Status and body of the answer.
    async fn request(&self, method: &str, path: &str, body: &str, secret: &str) -> (u16, String) {
        let credentials = Credentials::new("test", secret, None, None, "test").into();
        let parameters = v4::SigningParams::builder()
            .identity(&credentials)
            .region("us-east-1")
            .name("sqs")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .unwrap();
        let host = self.address.to_string();
        let form = "application/x-www-form-urlencoded; charset=utf-8";
        let headers = [("host", host.as_str()), ("content-type", form)];
        let uri = format!("http://{host}{path}");
        let signable = SignableRequest::new(method, uri, headers.into_iter(), SignableBody::Bytes(body.as_bytes())).unwrap();
        let (signed, _) = sign(signable, &parameters.into()).unwrap().into_parts();
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {form}\r\nconnection: close\r\n");
        for (name, value) in signed.headers() {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.extend(["content-length: ", &body.len().to_string(), "\r\n\r\n", body]);
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> (u16, String) {
        self.request("POST", path, &encoded(form), "test").await
    }

    /// The body of an answer with success.
    async fn ok(&self, path: &str, form: &[(&str, &str)]) -> String {
        let (status, body) = self.post(path, form).await;
        assert_eq!(status, 200, "{body}");
        body
    }
}

fn encoded(form: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
    let pairs = [("Version", "2012-11-05")].iter().chain(form).map(pair);
    pairs.collect::<Vec<_>>().join("&")
}

/// The text of the first element of this name.
fn text<'a>(xml: &'a str, element: &str) -> &'a str {
    let (_, rest) = xml.split_once(&format!("<{element}>")).unwrap_or_else(|| panic!("no {element} in {xml}"));
    rest.split_once(&format!("</{element}>")).unwrap().0
}

const QUEUE: &str = "/000000000000/work";

#[tokio::test]
async fn a_message_goes_through_by_the_path_of_its_queue() {
    let dir = tempfile::tempdir().unwrap();
    let platform = Platform::start(dir.path()).await;
    let sent = platform
        .ok(
            QUEUE,
            &[
                ("Action", "SendMessage"),
                ("MessageBody", "käse & <b>\r\n+ 🧀"),
                ("MessageAttribute.1.Name", "timestamp"),
                ("MessageAttribute.1.Value.DataType", "Number"),
                ("MessageAttribute.1.Value.StringValue", "1493147359900"),
            ],
        )
        .await;
    // By md5sum, and as moto 5.2 answers.
    assert_eq!(text(&sent, "MD5OfMessageAttributes"), "235c5c510d26fb653d073faed50ae77c");
    let form = [("Action", "ReceiveMessage"), ("AttributeName.1", "All"), ("MessageAttributeName.1", "All"), ("MaxNumberOfMessages", "10")];
    let got = platform.ok(QUEUE, &form).await;
    assert_eq!(text(&got, "Body"), "käse &amp; &lt;b&gt;&#13;\n+ 🧀");
    assert_eq!(text(&got, "MessageId"), text(&sent, "MessageId"));
    assert_eq!(text(&got, "MD5OfBody"), text(&sent, "MD5OfMessageBody"));
    assert!(got.contains("<Attribute><Name>ApproximateReceiveCount</Name><Value>1</Value></Attribute>"), "{got}");
    let value = "<Value><DataType>Number</DataType><StringValue>1493147359900</StringValue></Value>";
    assert!(got.contains(&format!("<MessageAttribute><Name>timestamp</Name>{value}</MessageAttribute>")), "{got}");
    let handle = text(&got, "ReceiptHandle");
    let back = [("Action", "ChangeMessageVisibility"), ("ReceiptHandle", handle), ("VisibilityTimeout", "0")];
    assert!(text(&platform.ok(QUEUE, &back).await, "RequestId").len() > 30);

    // The same in the query of a GET, by the parameter of the queue.
    let url = format!("http://{}{QUEUE}", platform.address);
    let form = encoded(&[("Action", "ReceiveMessage"), ("QueueUrl", &url)]);
    let (status, again) = platform.request("GET", &format!("/?{form}"), "", "test").await;
    assert_eq!((status, text(&again, "MessageId")), (200, text(&sent, "MessageId")), "{again}");
    let delete = [("Action", "DeleteMessageBatch"), ("QueueUrl", &url), ("DeleteMessageBatchRequestEntry.1.Id", "a")];
    let handle = [("DeleteMessageBatchRequestEntry.1.ReceiptHandle", text(&again, "ReceiptHandle"))];
    let deleted = platform.ok("/", &[&delete[..], &handle[..]].concat()).await;
    assert_eq!(text(&deleted, "DeleteMessageBatchResultEntry"), "<Id>a</Id>");
    let empty = platform.ok(QUEUE, &[("Action", "ReceiveMessage")]).await;
    assert!(!empty.contains("<Message>"), "{empty}");
    platform.stop().await;
}

#[tokio::test]
async fn queues_are_made_described_and_moved_between() {
    let dir = tempfile::tempdir().unwrap();
    let platform = Platform::start(dir.path()).await;
    let fifo = [("Attribute.1.Name", "FifoQueue"), ("Attribute.1.Value", "true"), ("Tag.1.Key", "k"), ("Tag.1.Value", "v")];
    let create = [("Action", "CreateQueue"), ("QueueName", "made.fifo")];
    let made = platform.ok("/", &[&create[..], &fifo[..]].concat()).await;
    assert_eq!(text(&made, "QueueUrl"), format!("http://{}/000000000000/made.fifo", platform.address));
    let path = "/000000000000/made.fifo";
    let tags = platform.ok(path, &[("Action", "ListQueueTags")]).await;
    assert_eq!(text(&tags, "ListQueueTagsResult"), "<Tag><Key>k</Key><Value>v</Value></Tag>");
    let batch = [
        ("Action", "SendMessageBatch"),
        ("SendMessageBatchRequestEntry.1.Id", "a"),
        ("SendMessageBatchRequestEntry.1.MessageBody", "one"),
        ("SendMessageBatchRequestEntry.1.MessageGroupId", "g"),
        ("SendMessageBatchRequestEntry.1.MessageDeduplicationId", "1"),
        ("SendMessageBatchRequestEntry.2.Id", "b"),
        ("SendMessageBatchRequestEntry.2.MessageBody", "\u{1}"),
        ("SendMessageBatchRequestEntry.2.MessageGroupId", "g"),
        ("SendMessageBatchRequestEntry.2.MessageDeduplicationId", "2"),
    ];
    let sent = platform.ok(path, &batch).await;
    let (good, bad) = (text(&sent, "SendMessageBatchResultEntry"), text(&sent, "BatchResultErrorEntry"));
    assert!(good.contains("<Id>a</Id>") && text(good, "SequenceNumber").len() == 20, "{sent}");
    assert_eq!((text(bad, "Id"), text(bad, "Code"), text(bad, "SenderFault")), ("b", "InvalidMessageContents", "true"));
    let attributes = platform.ok(path, &[("Action", "GetQueueAttributes"), ("AttributeName.1", "ApproximateNumberOfMessages")]).await;
    let expected = "<Attribute><Name>ApproximateNumberOfMessages</Name><Value>1</Value></Attribute>";
    assert_eq!(text(&attributes, "GetQueueAttributesResult"), expected);

    let dead = "arn:aws:sqs:us-east-1:000000000000:work";
    let policy = format!(r#"{{"deadLetterTargetArn":"{dead}","maxReceiveCount":"3"}}"#);
    let create =
        [("Action", "CreateQueue"), ("QueueName", "source"), ("Attribute.1.Name", "RedrivePolicy"), ("Attribute.1.Value", &policy)];
    platform.ok("/", &create).await;
    let sources = platform.ok(QUEUE, &[("Action", "ListDeadLetterSourceQueues")]).await;
    assert!(text(&sources, "QueueUrl").ends_with("/000000000000/source"), "{sources}");
    platform.ok("/", &[("Action", "StartMessageMoveTask"), ("SourceArn", dead)]).await;
    let tasks = platform.ok("/", &[("Action", "ListMessageMoveTasks"), ("SourceArn", dead), ("MaxResults", "10")]).await;
    assert_eq!(text(text(&tasks, "ListMessageMoveTasksResultEntry"), "SourceArn"), dead);
    let deleted = platform.ok("/000000000000/source", &[("Action", "DeleteQueue")]).await;
    assert!(deleted.contains("<DeleteQueueResponse ") && !deleted.contains("Result>"), "{deleted}");
    let listed = platform.ok("/", &[("Action", "ListQueues"), ("QueueNamePrefix", "made")]).await;
    assert_eq!(listed.matches("<QueueUrl>").count(), 1, "{listed}");
    platform.stop().await;
}

#[tokio::test]
async fn refusals_are_xml() {
    let dir = tempfile::tempdir().unwrap();
    let platform = Platform::start(dir.path()).await;
    let purge = [("Action", "PurgeQueue")];
    platform.ok(QUEUE, &purge).await;
    for (path, form, status, code) in [
        ("/000000000000/none", &[("Action", "ReceiveMessage")][..], 400, "AWS.SimpleQueueService.NonExistentQueue"),
        (QUEUE, &purge[..], 403, "AWS.SimpleQueueService.PurgeQueueInProgress"),
        (QUEUE, &[("Action", "Dance")], 400, "InvalidAction"),
        (QUEUE, &[], 400, "MissingAction"),
        (QUEUE, &[("Action", "ReceiveMessage"), ("MaxNumberOfMessages", "x")], 400, "InvalidParameterValue"),
        (QUEUE, &[("Action", "SendMessage")], 400, "MissingParameter"),
        ("/", &[("Action", "SendMessage"), ("MessageBody", "m")], 400, "MissingParameter"),
    ] {
        let (answered, body) = platform.post(path, form).await;
        assert_eq!((answered, text(text(&body, "Error"), "Code"), text(&body, "Type")), (status, code, "Sender"), "{path} {form:?}");
        assert!(text(&body, "RequestId").len() > 30 && !text(&body, "Message").is_empty());
    }
    let (status, body) = platform.request("POST", QUEUE, &encoded(&purge), "wrong").await;
    assert_eq!((status, text(&body, "Code")), (403, "InvalidSignature"), "the signature covers the form");
    platform.stop().await;
}
