//! `examples/s3-sqs-table` on a cloud: what is done to it from outside, and what can be seen of it afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use aws_sdk_dynamodb::types::AttributeValue as Attribute;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_sqs::{
    primitives::Blob,
    types::{Message, MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName},
};
use serde_json::{Value, json};

use crate::{python::aws, run};

/// How the tests deploy the template.
pub const PARAMETERS: [&str; 3] = ["Timeout=8", "Visibility=8", "Tries=3"];

/// Documents by key, and how S3 tells of each.
pub const DOCUMENTS: [(&str, &str); 5] = [
    ("plain.json", "plain.json"),
    ("a/b.json", "a/b.json"),
    ("in/my file+1.json", "in/my+file%2B1.json"),
    ("a&b=c.json", "a%26b%3Dc.json"),
    ("übung 映画.json", "%C3%BCbung+%E6%98%A0%E7%94%BB.json"),
];
const COPY: &str = "copy of plain.json";
/// No rule of the bucket tells of it.
const BY_HAND: &str = "told by hand";
const POISON: &str = "poison.json";
const NOT_AN_EVENT: &str = "not an event of S3";
const PATIENCE: Duration = Duration::from_secs(150);

/// One cloud with the example on it.
pub struct Documents {
    endpoint: String,
    home: PathBuf,
    outputs: BTreeMap<String, String>,
    s3: aws_sdk_s3::Client,
    sqs: aws_sdk_sqs::Client,
    dynamodb: aws_sdk_dynamodb::Client,
}

/// What can be seen, by name.
pub type Facts = BTreeMap<String, Value>;

impl Documents {
    /// `outputs` are the stack's; `home` is a folder for the aws CLI.
    pub async fn at(endpoint: &str, outputs: BTreeMap<String, String>, home: &Path) -> Self {
        let config = run::config(endpoint).await;
        Self {
            endpoint: endpoint.to_owned(),
            home: home.to_owned(),
            outputs,
            s3: aws_sdk_s3::Client::from_conf(aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build()),
            sqs: aws_sdk_sqs::Client::new(&config),
            dynamodb: aws_sdk_dynamodb::Client::new(&config),
        }
    }

    fn output(&self, name: &str) -> Result<&str> {
        self.outputs.get(name).map(String::as_str).with_context(|| format!("the stack has no output {name}"))
    }

    /// Everything that is done to the cloud, then everything that can be seen of it.
    pub async fn facts(&self) -> Result<Facts> {
        self.put(POISON, "no JSON").await?;
        for (key, _) in DOCUMENTS {
            self.put(key, &document(key)).await?;
        }
        self.put("no document.txt", "of no interest").await?;
        self.copy("plain.json", COPY).await?;
        let items = self.items(DOCUMENTS.len() + 1).await.context("documents become items")?;
        self.by_hand(&items).await.context("a message by hand")?;
        let items = self.items(DOCUMENTS.len() + 2).await.context("a message by hand becomes an item")?;
        let dead = self.dead_letters().await.context("dead letters")?;
        let mut facts = Facts::new();
        of_items(&items, &mut facts)?;
        self.of_told(&items, &mut facts).await?;
        of_dead_letters(&dead, &mut facts);
        facts.insert("tries of a poison message".into(), json!(self.tries(&dead)?));
        facts.insert("messages left in the queue".into(), json!(self.depth("Documents").await?));
        Ok(facts)
    }

    async fn put(&self, key: &str, body: &str) -> Result<()> {
        let put = self.s3.put_object().bucket(self.output("Bucket")?).key(key).body(ByteStream::from(body.as_bytes().to_vec()));
        put.send().await.with_context(|| key.to_owned())?;
        Ok(())
    }

    async fn copy(&self, from: &str, to: &str) -> Result<()> {
        let bucket = self.output("Bucket")?;
        self.s3.copy_object().bucket(bucket).copy_source(format!("{bucket}/{from}")).key(to).send().await?;
        Ok(())
    }

    /// In one call: an event as S3 sends it, and a message that no function can read; both with attributes.
    async fn by_hand(&self, items: &Items) -> Result<()> {
        self.put(BY_HAND, &document(BY_HAND)).await?;
        let told: Value = serde_json::from_str(text(items, "plain.json", "told")?)?;
        let mut event: Value = serde_json::from_str(told["body"].as_str().context("body")?)?;
        event["Records"][0]["s3"]["object"]["key"] = json!(BY_HAND.replace(' ', "+"));
        let queue = self.output("Documents")?;
        let mut batch = self.sqs.send_message_batch().queue_url(queue);
        for (id, body) in [("good", event.to_string()), ("bad", NOT_AN_EVENT.to_owned())] {
            let entry = aws_sdk_sqs::types::SendMessageBatchRequestEntry::builder().id(id).message_body(body);
            batch = batch.entries(entry.set_message_attributes(Some(attributes()?)).build()?);
        }
        let answer = batch.send().await?;
        ensure!(answer.failed().is_empty(), "{:?}", answer.failed());
        Ok(())
    }

    /// The table's items, once there are as many.
    async fn items(&self, many: usize) -> Result<Items> {
        let table = self.output("Table")?;
        wait(&format!("{many} items"), async || {
            let items = self.dynamodb.scan().table_name(table).consistent_read(true).send().await?.items.unwrap_or_default();
            let by_key = items.into_iter().filter_map(|item| Some((item.get("key")?.as_s().ok()?.clone(), item)));
            let items: Items = by_key.collect();
            Ok((items.len() >= many).then_some(items))
        })
        .await
    }

    /// Both messages that cannot be done, once they lie in the dead-letter queue and nothing else is on the way.
    async fn dead_letters(&self) -> Result<Vec<Message>> {
        wait("the poison in the dead-letter queue", async || {
            let done = self.depth("DeadLetters").await? >= 2 && self.depth("Documents").await? == 0;
            Ok(done.then_some(()))
        })
        .await?;
        let queue = self.output("DeadLetters")?;
        let mut found = Vec::new();
        wait("the dead letters to be read", async || {
            let ask = self.sqs.receive_message().queue_url(queue).max_number_of_messages(10).visibility_timeout(600);
            let ask = ask.message_attribute_names("All").message_system_attribute_names(MessageSystemAttributeName::All);
            found.extend(ask.wait_time_seconds(1).send().await?.messages.unwrap_or_default());
            Ok((found.len() >= 2).then_some(()))
        })
        .await?;
        Ok(found)
    }

    /// Visible, in flight and delayed.
    async fn depth(&self, queue: &str) -> Result<u64> {
        let ask = self.sqs.get_queue_attributes().queue_url(self.output(queue)?).attribute_names(QueueAttributeName::All);
        let answer = ask.send().await?;
        let counts = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        let count = |name| answer.attributes().and_then(|all| all.get(name)).and_then(|count| count.parse::<u64>().ok());
        Ok(counts.iter().filter_map(count).sum())
    }

    /// How often the function says that it could not do a dead letter; the same for each, or none.
    fn tries(&self, dead: &[Message]) -> Result<Option<u64>> {
        let group = format!("/aws/lambda/{}", self.output("Function")?);
        let events = aws(&self.endpoint, &self.home, &["logs", "filter-log-events", "--log-group-name", &group])?;
        let lines: Vec<&str> = events["events"].as_array().into_iter().flatten().filter_map(|event| event["message"].as_str()).collect();
        let mut counts = BTreeSet::new();
        for id in dead.iter().filter_map(Message::message_id) {
            let line = format!("message \"{id}\": ");
            counts.insert(lines.iter().map(|said| said.matches(&line).count() as u64).sum::<u64>());
        }
        Ok(counts.first().copied().filter(|_| counts.len() == 1))
    }

    /// What the function was told: message and event.
    async fn of_told(&self, items: &Items, facts: &mut Facts) -> Result<()> {
        for (key, encoded) in DOCUMENTS.iter().copied().chain([(COPY, "copy+of+plain.json")]) {
            let told: Value = serde_json::from_str(text(items, key, "told")?)?;
            let event: Value = serde_json::from_str(told["body"].as_str().context("body")?)?;
            let record = &event["Records"][0];
            facts.insert(format!("event name of {key}"), record["eventName"].clone());
            let decoded = record["s3"]["object"]["key"].as_str().map(decode);
            facts.insert(format!("key of {key}, decoded"), json!(decoded));
            facts.insert(format!("key of {key} is form-encoded"), json!(record["s3"]["object"]["key"] == encoded));
        }
        let told: Value = serde_json::from_str(text(items, "plain.json", "told")?)?;
        let event: Value = serde_json::from_str(told["body"].as_str().context("body")?)?;
        let (bucket, queue) = (self.output("Bucket")?, self.output("Documents")?);
        let ask = self.sqs.get_queue_attributes().queue_url(queue).attribute_names(QueueAttributeName::QueueArn).send().await?;
        let arn = ask.attributes().and_then(|all| all.get(&QueueAttributeName::QueueArn)).context("no ARN")?;
        let head = self.s3.head_object().bucket(bucket).key("plain.json").send().await?;
        of_event(&event["Records"][0], bucket, &head, facts);
        of_message(&told, arn, facts);
        let told: Value = serde_json::from_str(text(items, BY_HAND, "told")?)?;
        facts.insert("attributes of a message".into(), told["messageAttributes"].clone());
        Ok(())
    }
}

/// What AWS's documentation says that there is to see. Sources: S3 user guide, "Event message structure"; Lambda
/// developer guide, "Using Lambda with Amazon SQS" and "Implementing partial batch responses"; SQS developer guide,
/// "Using dead-letter queues".
pub fn documented() -> Facts {
    let mut facts = Facts::from(SIMPLE.map(|(name, value)| (name.to_owned(), serde_json::from_str(value).unwrap_or(Value::Null))));
    let keys: BTreeSet<&str> = DOCUMENTS.iter().map(|(key, _)| *key).chain([COPY, BY_HAND]).collect();
    facts.insert("items".into(), json!(keys));
    for key in keys {
        let of = if key == COPY { "plain.json" } else { key };
        facts.insert(format!("document of {key}"), json!(document(of)));
        facts.insert(format!("times that {key} was done"), json!("1"));
        if key != BY_HAND {
            facts.insert(format!("event name of {key}"), json!(if key == COPY { "ObjectCreated:Copy" } else { "ObjectCreated:Put" }));
            facts.insert(format!("key of {key}, decoded"), json!(key));
            facts.insert(format!("key of {key} is form-encoded"), json!(true));
        }
    }
    facts
}

/// Names and JSON of what [`documented`] holds, where nothing has to be worked out.
const SIMPLE: [(&str, &str); 24] = [
    (
        "event: fields",
        r#"["awsRegion", "eventName", "eventSource", "eventTime", "eventVersion", "requestParameters.sourceIPAddress",
            "responseElements.x-amz-id-2", "responseElements.x-amz-request-id", "s3.bucket.arn", "s3.bucket.name",
            "s3.bucket.ownerIdentity.principalId", "s3.configurationId", "s3.object.eTag", "s3.object.key",
            "s3.object.sequencer", "s3.object.size", "s3.s3SchemaVersion", "userIdentity.principalId"]"#,
    ),
    ("event: source", r#""aws:s3""#),
    ("event: region", r#""us-east-1""#),
    ("event: version is 2.x", "true"),
    ("event: time is UTC with milliseconds", "true"),
    ("event: schema version", r#""1.0""#),
    ("event: bucket is the bucket", "true"),
    ("event: ARN is the bucket's", "true"),
    ("event: size is the object's", "true"),
    ("event: ETag is the object's, unquoted", "true"),
    ("event: sequencer is hexadecimal", "true"),
    (
        "message: fields",
        r#"["attributes", "awsRegion", "body", "eventSource", "eventSourceARN", "md5OfBody", "messageAttributes", "messageId",
            "receiptHandle"]"#,
    ),
    (
        "message: attributes of the system",
        r#"["ApproximateFirstReceiveTimestamp", "ApproximateReceiveCount", "SenderId", "SentTimestamp"]"#,
    ),
    ("message: receives", r#""1""#),
    ("message: source", r#""aws:sqs""#),
    ("message: source is the queue", "true"),
    ("message: region", r#""us-east-1""#),
    ("message: attributes where none were sent", "{}"),
    (
        "attributes of a message",
        r#"{"who": {"stringValue": "tests", "stringListValues": [], "binaryListValues": [], "dataType": "String"},
            "many": {"stringValue": "17", "stringListValues": [], "binaryListValues": [], "dataType": "Number"},
            "raw": {"binaryValue": "AAH/", "stringListValues": [], "binaryListValues": [], "dataType": "Binary"}}"#,
    ),
    ("dead letters", r#"["not an event of S3", "poison.json"]"#),
    ("attributes of a dead letter", r#"{"who": "String", "many": "Number", "raw": "Binary"}"#),
    ("a dead letter names its queue", "true"),
    ("tries of a poison message", "3"),
    ("messages left in the queue", "0"),
];

type Items = BTreeMap<String, std::collections::HashMap<String, Attribute>>;

/// The text of a document.
fn document(key: &str) -> String {
    json!({ "of": key, "text": "ä \"quoted\" text\n" }).to_string()
}

fn text<'a>(items: &'a Items, key: &str, attribute: &str) -> Result<&'a str> {
    let value = items.get(key).and_then(|item| item.get(attribute)).with_context(|| format!("no {attribute} of {key}"))?;
    value.as_s().map(String::as_str).map_err(|other| anyhow::anyhow!("{attribute} of {key} is {other:?}"))
}

fn attributes() -> Result<std::collections::HashMap<String, MessageAttributeValue>> {
    let of = |kind: &str| MessageAttributeValue::builder().data_type(kind);
    Ok([
        ("who".to_owned(), of("String").string_value("tests").build()?),
        ("many".to_owned(), of("Number").string_value("17").build()?),
        ("raw".to_owned(), of("Binary").binary_value(Blob::new([0, 1, 255])).build()?),
    ]
    .into())
}

fn of_items(items: &Items, facts: &mut Facts) -> Result<()> {
    facts.insert("items".into(), json!(items.keys().collect::<Vec<_>>()));
    for key in items.keys() {
        facts.insert(format!("document of {key}"), json!(text(items, key, "document")?));
        let times = items[key].get("times").and_then(|times| times.as_n().ok());
        facts.insert(format!("times that {key} was done"), json!(times));
    }
    Ok(())
}

/// An S3 event. Source: S3 user guide, "Event message structure".
fn of_event(record: &Value, bucket: &str, head: &aws_sdk_s3::operation::head_object::HeadObjectOutput, facts: &mut Facts) {
    let (s3, object) = (&record["s3"], &record["s3"]["object"]);
    facts.insert("event: fields".into(), json!(fields(record)));
    facts.insert("event: source".into(), record["eventSource"].clone());
    facts.insert("event: region".into(), record["awsRegion"].clone());
    facts.insert("event: version is 2.x".into(), json!(record["eventVersion"].as_str().is_some_and(|v| v.starts_with("2."))));
    let time = record["eventTime"].as_str().unwrap_or_default();
    facts.insert("event: time is UTC with milliseconds".into(), json!(time.len() == 24 && time.ends_with('Z')));
    facts.insert("event: schema version".into(), s3["s3SchemaVersion"].clone());
    facts.insert("event: bucket is the bucket".into(), json!(s3["bucket"]["name"] == bucket));
    facts.insert("event: ARN is the bucket's".into(), json!(s3["bucket"]["arn"] == format!("arn:aws:s3:::{bucket}")));
    facts.insert("event: size is the object's".into(), json!(object["size"].as_i64() == head.content_length()));
    let etag = head.e_tag().unwrap_or_default().trim_matches('"');
    facts.insert("event: ETag is the object's, unquoted".into(), json!(object["eTag"] == etag));
    let sequencer = object["sequencer"].as_str().unwrap_or_default();
    facts
        .insert("event: sequencer is hexadecimal".into(), json!(!sequencer.is_empty() && sequencer.chars().all(|c| c.is_ascii_hexdigit())));
}

/// A message as a function sees it. Source: AWS Lambda developer guide, "Using Lambda with Amazon SQS".
fn of_message(told: &Value, arn: &str, facts: &mut Facts) {
    let names = |value: &Value| value.as_object().map(|fields| fields.keys().cloned().collect::<BTreeSet<_>>());
    facts.insert("message: fields".into(), json!(names(told)));
    facts.insert("message: attributes of the system".into(), json!(names(&told["attributes"])));
    facts.insert("message: receives".into(), told["attributes"]["ApproximateReceiveCount"].clone());
    facts.insert("message: source".into(), told["eventSource"].clone());
    facts.insert("message: source is the queue".into(), json!(told["eventSourceARN"] == arn));
    facts.insert("message: region".into(), told["awsRegion"].clone());
    facts.insert("message: attributes where none were sent".into(), told["messageAttributes"].clone());
}

fn of_dead_letters(dead: &[Message], facts: &mut Facts) {
    let bodies = dead.iter().map(|message| match message.body().unwrap_or_default() {
        NOT_AN_EVENT => NOT_AN_EVENT,
        body if body.contains(POISON) => POISON,
        _ => "something else",
    });
    let mut bodies: Vec<_> = bodies.collect();
    bodies.sort_unstable();
    facts.insert("dead letters".into(), json!(bodies));
    if let Some(by_hand) = dead.iter().find(|message| message.body() == Some(NOT_AN_EVENT)) {
        let names: BTreeMap<_, _> =
            by_hand.message_attributes().into_iter().flatten().map(|(name, value)| (name, value.data_type())).collect();
        facts.insert("attributes of a dead letter".into(), json!(names));
        let source = by_hand.attributes().and_then(|all| all.get(&MessageSystemAttributeName::DeadLetterQueueSourceArn));
        facts.insert("a dead letter names its queue".into(), json!(source.is_some()));
    }
}

/// Paths of the leaves.
fn fields(of: &Value) -> BTreeSet<String> {
    match of.as_object() {
        None => BTreeSet::from([String::new()]),
        Some(map) => map
            .iter()
            .flat_map(|(name, value)| {
                fields(value).into_iter().map(move |below| if below.is_empty() { name.clone() } else { format!("{name}.{below}") })
            })
            .collect(),
    }
}

/// A form-encoded key.
fn decode(key: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = key.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let hex: String = rest.by_ref().take(2).map(char::from).collect();
                bytes.extend(u8::from_str_radix(&hex, 16));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn wait<T>(what: &str, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        ensure!(tokio::time::Instant::now() < end, "waited {} s for {what}", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
