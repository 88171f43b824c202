//! Buckets that tell the event bus, and rules that hand on what fits them.

use aws_sdk_s3::types::{EventBridgeConfiguration, NotificationConfiguration};
use serde_json::json;

use super::*;

/// The queue `spare` hears of objects that come and go below `in/` of a bucket that the template does not have.
fn template() -> String {
    let rule = "  Watch:
    Type: AWS::Events::Rule
    Properties:
      EventPattern:
        source: [aws.s3]
        detail-type: [Object Created, Object Deleted]
        detail: { bucket: { name: [films] }, object: { key: [{ prefix: in/ }] } }
      Targets:
        - { Id: spare, Arn: !GetAtt Spare.Arn, DeadLetterConfig: { Arn: !GetAtt Work.Arn } }
";
    TEMPLATE.replace("Outputs:\n", &format!("{rule}Outputs:\n"))
}

fn watched(dir: &Path) -> Config {
    let mut config = config(dir);
    config.template = TemplateSource::Text { text: template(), base_dir: dir.to_owned() };
    config
}

impl Platform {
    /// The next message of `spare`, without what differs from run to run.
    async fn heard(&self) -> Value {
        let sqs = aws_sdk_sqs::Client::new(&self.clients("test", "test"));
        let url = format!("http://{}/000000000000/spare", self.address);
        let received = sqs.receive_message().queue_url(&url).wait_time_seconds(10).send().await.unwrap().messages.unwrap_or_default();
        let message = received.first().expect("nothing was told within 10 s");
        sqs.delete_message().queue_url(url).receipt_handle(message.receipt_handle().unwrap()).send().await.unwrap();
        let event: Value = serde_json::from_str(message.body().unwrap()).unwrap();
        json!([event["source"], event["detail-type"], event["detail"]["bucket"]["name"], event["detail"]["object"]["key"]])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_tells_the_bus_and_a_rule_hands_on_what_fits() {
    let dir = tempfile::tempdir().unwrap();
    let platform = Platform::of(watched(dir.path())).await;
    let s3 = platform.s3();
    s3.create_bucket().bucket("films").send().await.unwrap();
    let put = async |key: &str| {
        platform.s3().put_object().bucket("films").key(key).body(ByteStream::from_static(b"film")).send().await.unwrap();
    };
    put("in/before").await;
    let bus = NotificationConfiguration::builder().event_bridge_configuration(EventBridgeConfiguration::builder().build());
    s3.put_bucket_notification_configuration().bucket("films").notification_configuration(bus.build()).send().await.unwrap();
    let set = s3.get_bucket_notification_configuration().bucket("films").send().await.unwrap();
    assert!(
        set.event_bridge_configuration.is_some()
            && set.queue_configurations().is_empty()
            && set.lambda_function_configurations().is_empty()
    );
    put("out/b").await;
    put("in/my film+1").await;
    assert_eq!(platform.heard().await, json!(["aws.s3", "Object Created", "films", "in/my film+1"]));
    platform.stop().await;

    // The bucket is not the template's, so it stays as it was set.
    let platform = Platform::of(watched(dir.path())).await;
    let s3 = platform.s3();
    s3.delete_object().bucket("films").key("in/my film+1").send().await.unwrap();
    assert_eq!(platform.heard().await, json!(["aws.s3", "Object Deleted", "films", "in/my film+1"]));
    let nobody = NotificationConfiguration::builder().build();
    s3.put_bucket_notification_configuration().bucket("films").notification_configuration(nobody).send().await.unwrap();
    let set = s3.get_bucket_notification_configuration().bucket("films").send().await.unwrap();
    assert!(set.event_bridge_configuration.is_none());
    platform.stop().await;
}
