//! `fanreel attach`: a bucket that people have already tells of its new objects by `EventBridge`, and goes on telling whom it
//! told before.
//!
//! S3 has no call that adds one notification: the whole configuration is read, written with the addition, and read again.

use anyhow::ensure;
use aws_sdk_s3::{
    Client,
    error::DisplayErrorContext,
    types::{EventBridgeConfiguration, NotificationConfiguration},
};

use crate::{
    args::{AttachArgs, Global},
    end::{End, usage},
    remote::Fanreel,
    screen,
};

pub async fn run(args: &AttachArgs, global: &Global) -> anyhow::Result<End> {
    let fanreel = Fanreel::find(global).await?;
    let bucket = args.bucket.strip_prefix("s3://").unwrap_or(&args.bucket).trim_end_matches('/');
    if bucket == fanreel.bucket {
        return Err(usage(format!("{bucket} is the stack's own bucket: it is listened to already")));
    }
    let s3 = &fanreel.clients.s3;
    let before = notifications(s3, bucket).await?;
    let new = before.event_bridge_configuration.is_none();
    if new {
        let mut wanted = before.clone();
        wanted.event_bridge_configuration = Some(EventBridgeConfiguration::builder().build());
        let put = s3.put_bucket_notification_configuration().bucket(bucket).notification_configuration(wanted.clone()).send().await;
        put.map_err(|error| refused(bucket, "s3:PutBucketNotification", &DisplayErrorContext(error).to_string()))?;
        let after = notifications(s3, bucket).await?;
        ensure!(
            after == wanted,
            "s3://{bucket} does not have the notifications that it was given: somebody changed them at the same time. It had {before:?}, it has {after:?}"
        );
    }
    let kept = kept(&before);
    let parameters = format!("SourceBucket={bucket} SourcePrefix={}", args.prefix);
    if global.json {
        screen::json(
            &serde_json::json!({ "bucket": bucket, "prefix": args.prefix, "attached": new, "kept": kept, "parameters": parameters }),
        );
        return Ok(End::Done);
    }
    let what = if new { "tells EventBridge of its objects now" } else { "told EventBridge of its objects already" };
    screen::out(&format!("s3://{bucket} {what}; {kept} other notifications are as they were"));
    screen::note(&format!("the stack takes them with these parameters: sam deploy … --parameter-overrides {parameters}"));
    Ok(End::Done)
}

async fn notifications(s3: &Client, bucket: &str) -> anyhow::Result<NotificationConfiguration> {
    let answer = s3.get_bucket_notification_configuration().bucket(bucket).send().await;
    let found = answer.map_err(|error| refused(bucket, "s3:GetBucketNotification", &DisplayErrorContext(error).to_string()))?;
    Ok(NotificationConfiguration::builder()
        .set_topic_configurations(found.topic_configurations)
        .set_queue_configurations(found.queue_configurations)
        .set_lambda_function_configurations(found.lambda_function_configurations)
        .set_event_bridge_configuration(found.event_bridge_configuration)
        .build())
}

fn refused(bucket: &str, action: &str, why: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "the notifications of s3://{bucket} cannot be read or set: {why}. Is it in the stack's account and region, and do the credentials allow {action}?"
    )
}

/// Notifications that were there.
fn kept(of: &NotificationConfiguration) -> usize {
    of.topic_configurations().len() + of.queue_configurations().len() + of.lambda_function_configurations().len()
}
