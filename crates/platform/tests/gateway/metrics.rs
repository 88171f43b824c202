//! What Prometheus reads of the platform.

use aws_sdk_cloudwatchlogs::types::InputLogEvent;
use aws_sdk_lambda::primitives::Blob;

use super::*;

/// Python's own reader of the format, which shares nothing with the writer: one line for every sample.
const READER: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    for sample in family.samples:
        labels = ','.join(f'{name}={value}' for name, value in sorted(sample.labels.items()))
        print(f'{sample.name}{{{labels}}} {sample.value:g}')
";

fn parsed(page: &str) -> Vec<String> {
    use std::io::Write as _;
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/python");
    let mut python = Command::new("python3");
    python.args(["-c", READER]).env("PYTHONPATH", packages).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut reader = python.spawn().unwrap();
    reader.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = reader.wait_with_output().unwrap();
    assert!(output.status.success(), "the page cannot be read (make tools installs the reader):\n{page}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_reads_queues_functions_requests_and_what_functions_log() {
    let dir = tempfile::tempdir().unwrap();
    let platform = Platform::start(dir.path()).await;
    let config = platform.clients("test", "test");
    platform.put("in/film", "hello").await;
    assert_eq!(platform.item("in/film").await.1, "1");
    let lambda = aws_sdk_lambda::Client::new(&config);
    let failed = lambda.invoke().function_name("record").payload(Blob::new(r#"{"Records":[{"body":"no event"}]}"#)).send().await.unwrap();
    assert_eq!(failed.function_error.as_deref(), Some("Unhandled"));
    let sqs = aws_sdk_sqs::Client::new(&config);
    sqs.send_message().queue_url(format!("http://{}/000000000000/spare", platform.address)).message_body("waits").send().await.unwrap();

    let logs = aws_sdk_cloudwatchlogs::Client::new(&config);
    logs.create_log_group().log_group_name("g").send().await.unwrap();
    logs.create_log_stream().log_group_name("g").log_stream_name("s").send().await.unwrap();
    let now = i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let line = r#"{"_aws":{"Timestamp":1,"CloudWatchMetrics":[{"Namespace":"films","Dimensions":[["stage"]],
        "Metrics":[{"Name":"task_seconds","Unit":"Seconds"},{"Name":"tasks","Unit":"Count"}]}]},"stage":"a \"b\"\\c","task_seconds":[0.2,7],"tasks":2}"#;
    let event = InputLogEvent::builder().timestamp(now).message(line.replace('\n', "")).build().unwrap();
    logs.put_log_events().log_group_name("g").log_stream_name("s").log_events(event).send().await.unwrap();

    let page = async |path: &str| platform.raw(&format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")).await;
    // One is for the test event of the bucket; the item was written by one that may not have ended yet.
    let deadline = Instant::now() + Duration::from_secs(20);
    let samples = loop {
        let (status, body) = page("/metrics").await;
        assert_eq!(status, 200, "{body}");
        if body.contains("aws_lambda_invocations_total{function_name=\"record\"} 3") || Instant::now() > deadline {
            break parsed(&body);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    for wanted in [
        "aws_sqs_approximate_number_of_messages_visible{queue_name=spare} 1",
        "aws_sqs_approximate_number_of_messages_visible{queue_name=work} 0",
        "aws_lambda_invocations_total{function_name=record} 3",
        "aws_lambda_errors_total{function_name=record} 1",
        "aws_lambda_duration_seconds_count{function_name=record} 3",
        "aws_lambda_environments{function_name=record,state=busy} 0",
        "platform_requests_total{service=s3,status=2xx} 1",
        r#"films_tasks_total{stage=a "b"\c} 2"#,
        r#"films_task_seconds_sum{stage=a "b"\c} 7.2"#,
        r#"films_task_seconds_bucket{le=0.25,stage=a "b"\c} 1"#,
        r#"films_task_seconds_bucket{le=+Inf,stage=a "b"\c} 2"#,
    ] {
        assert!(samples.iter().any(|sample| sample == wanted), "{wanted} is not among\n{}", samples.join("\n"));
    }
    assert!(samples.iter().any(|sample| sample.starts_with("aws_lambda_init_duration_seconds_sum{function_name=record}")));
    assert_eq!(page("/_fanreel/metrics").await.0, 200);
    platform.stop().await;
}
