//! What the platform kept, damaged: it says so, touches nothing, and goes on with a copy put back.

use std::{fs, path::PathBuf};

use super::*;

const DATABASES: [&str; 5] = ["s3/s3.sqlite", "sqs/sqs.sqlite3", "dynamodb/dynamodb.sqlite3", "logs/logs.db", "lambda/lambda.db"];

/// Something in every service.
async fn fill(platform: &Platform) {
    let config = platform.clients("test", "test");
    platform.put("out/kept", "an object").await;
    let sqs = aws_sdk_sqs::Client::new(&config);
    let url = sqs.get_queue_url().queue_name("spare").send().await.unwrap().queue_url.unwrap();
    sqs.send_message().queue_url(url).message_body("a message").send().await.unwrap();
    let table = aws_sdk_dynamodb::Client::new(&config);
    table.put_item().table_name("seen").item("pk", AttributeValue::S("an item".into())).send().await.unwrap();
    let logs = aws_sdk_cloudwatchlogs::Client::new(&config);
    logs.create_log_group().log_group_name("kept").send().await.unwrap();
}

async fn look(platform: &Platform) {
    let config = platform.clients("test", "test");
    assert_eq!(platform.get("out/kept").await, "an object");
    let sqs = aws_sdk_sqs::Client::new(&config);
    let url = sqs.get_queue_url().queue_name("spare").send().await.unwrap().queue_url.unwrap();
    let messages = sqs.receive_message().queue_url(url).visibility_timeout(0).send().await.unwrap().messages.unwrap();
    assert_eq!(messages[0].body.as_deref(), Some("a message"));
    let table = aws_sdk_dynamodb::Client::new(&config);
    let key = AttributeValue::S("an item".into());
    assert!(table.get_item().table_name("seen").key("pk", key).send().await.unwrap().item.is_some());
    let logs = aws_sdk_cloudwatchlogs::Client::new(&config);
    let groups = logs.describe_log_groups().log_group_name_prefix("kept").send().await.unwrap();
    assert_eq!(groups.log_groups().len(), 1);
}

fn blobs(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(blobs(&path)) } else { found.push(path) }
    }
    found
}

fn duplicate(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() { duplicate(&path, &to.join(name)) } else { assert!(fs::copy(&path, to.join(name)).is_ok()) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_is_named_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let platform = Platform::start(dir.path()).await;
    fill(&platform).await;
    platform.stop().await;
    let data = dir.path().join("data");
    let objects = blobs(&data.join("s3/blobs"));
    assert_eq!(objects.len(), 1);

    for database in DATABASES {
        let file = data.join(database);
        let service = file.parent().unwrap();
        let copy = dir.path().join("copy");
        duplicate(service, &copy);
        let whole = fs::read(&file).unwrap();
        let damages: [(&str, Vec<u8>); 4] = [
            ("somebody else's", b"a letter, longer than the header of a database is, so that nobody takes it for a new one: ".repeat(4)),
            ("the header alone", whole[..100].to_vec()),
            ("zeros", vec![0; whole.len()]),
            ("a zeroed head", [vec![0; 4096], whole[4096..].to_vec()].concat()),
        ];
        for (what, damaged) in damages {
            // A journal would heal what it holds pages of.
            for journal in ["-wal", "-shm"] {
                let _ = fs::remove_file(format!("{}{journal}", file.display()));
            }
            fs::write(&file, &damaged).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let error = platform::run(config(dir.path()), listener, async {}).await.expect_err(&format!("{database}: {what}")).to_string();
            assert!(
                error.contains(&service.display().to_string()) && error.contains("put a copy of the directory in its place"),
                "{database}: {what}: {error}"
            );
            assert!(fs::read(&file).unwrap() == damaged, "{database}: {what}: it was changed");
            assert_eq!(blobs(&data.join("s3/blobs")), objects, "{database}: {what}");
        }
        fs::remove_dir_all(service).unwrap();
        fs::rename(&copy, service).unwrap();
    }
    let platform = Platform::start(dir.path()).await;
    look(&platform).await;
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_writes_are_refused_in_every_protocol_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let platform = Platform::start(dir.path()).await;
    fill(&platform).await;
    platform.stop().await;
    let mut full = config(dir.path());
    full.disk.max_data = Some(1);
    let platform = Platform::of(full).await;
    let clients = platform.clients("test", "test");
    look(&platform).await;

    let sqs = aws_sdk_sqs::Client::new(&clients);
    let url = sqs.get_queue_url().queue_name("spare").send().await.unwrap().queue_url.unwrap();
    let send = sqs.send_message().queue_url(&url).message_body("more").send().await.unwrap_err();
    let table = aws_sdk_dynamodb::Client::new(&clients);
    let more = AttributeValue::S("more".into());
    let item = table.put_item().table_name("seen").item("pk", more).send().await.unwrap_err();
    let object =
        platform.s3().put_object().bucket("files").key("out/more").body(ByteStream::from_static(b"more")).send().await.unwrap_err();
    let lambda = aws_sdk_lambda::Client::new(&clients);
    let event = lambda.invoke().function_name("record").invocation_type(aws_sdk_lambda::types::InvocationType::Event);
    let event = event.send().await.unwrap_err();
    let logs = aws_sdk_cloudwatchlogs::Client::new(&clients);
    let group = logs.create_log_group().log_group_name("more").send().await.unwrap_err();
    let told = [
        (send.raw_response().map(|r| r.status().as_u16()), format!("{send:?}")),
        (item.raw_response().map(|r| r.status().as_u16()), format!("{item:?}")),
        (object.raw_response().map(|r| r.status().as_u16()), format!("{object:?}")),
        (event.raw_response().map(|r| r.status().as_u16()), format!("{event:?}")),
        (group.raw_response().map(|r| r.status().as_u16()), format!("{group:?}")),
    ];
    for (status, text) in told {
        assert!(status == Some(507) && text.contains("InsufficientStorage") && text.contains("there is no room"), "{text}");
    }
    let (_, health) = platform.raw("GET /_fanreel/health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    let health: Value = serde_json::from_str(&health).unwrap();
    assert_eq!((health["status"].as_str(), health["disk"]["max_bytes"].as_u64()), (Some("full"), Some(1)), "{health}");

    // What frees room is done.
    platform.s3().delete_object().bucket("files").key("out/kept").send().await.unwrap();
    let message = sqs.receive_message().queue_url(&url).send().await.unwrap().messages.unwrap();
    sqs.delete_message().queue_url(&url).receipt_handle(message[0].receipt_handle().unwrap()).send().await.unwrap();
    let gone = AttributeValue::S("an item".into());
    table.delete_item().table_name("seen").key("pk", gone).send().await.unwrap();
    platform.stop().await;
}
