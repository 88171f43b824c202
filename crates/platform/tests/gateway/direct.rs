//! A bucket that calls a function without a queue between them.

use aws_sdk_s3::types::{Event, LambdaFunctionConfiguration, NotificationConfiguration};
use platform::stack;

use super::*;

/// Of all objects, most of whose events are still due when the platform ends for the first time.
const OBJECTS: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_calls_a_function_and_no_event_is_lost_by_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let platform = Platform::start(dir.path()).await;
    let client = platform.s3();
    client.create_bucket().bucket("direct").send().await.unwrap();
    let function = LambdaFunctionConfiguration::builder()
        .lambda_function_arn(stack::function_arn("record"))
        .events(Event::S3ObjectCreated)
        .build()
        .unwrap();
    let notifications = NotificationConfiguration::builder().lambda_function_configurations(function).build();
    client.put_bucket_notification_configuration().bucket("direct").notification_configuration(notifications).send().await.unwrap();
    let puts = (0..OBJECTS).map(|number| {
        let body = ByteStream::from_static(b"seen");
        client.put_object().bucket("direct").key(format!("file {number}")).body(body).send()
    });
    for put in futures::future::join_all(puts).await {
        put.unwrap();
    }
    platform.stop().await;

    let platform = Platform::start(dir.path()).await;
    for number in 0..OBJECTS {
        let (size, times) = platform.item(&format!("file+{number}")).await;
        assert_eq!(size, "4");
        // An environment that was ended by the platform's end ran for nothing, and its event once more.
        assert!((1..=2).contains(&times.parse::<u32>().unwrap()), "file {number}: {times} times");
    }
    platform.stop().await;
}
