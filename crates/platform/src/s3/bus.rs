//! What buckets tell the default event bus, and to whom its rules hand that on.
//!
//! Structure: S3 user guide, "Amazon S3 EventBridge event message structure" and "EventBridge event types". Keys stand in it as
//! they are.

use serde_json::{Value, json};

use super::{
    S3Error,
    db::Change,
    notice::{self, Happening, Rule, time_text},
};
use crate::{
    lambda::EventPattern,
    stack::{ACCOUNT, EVENT_BUS, EventRule, REGION},
};

/// The rules of the bus: where each hands on what fits its pattern.
#[derive(Debug, Default)]
pub struct Bus(Vec<(EventPattern, Vec<String>)>);

impl Bus {
    /// The error says what is wrong with a pattern.
    pub fn new(rules: &[EventRule]) -> Result<Self, String> {
        let read = |rule: &EventRule| {
            let pattern = EventPattern::read(&rule.pattern).map_err(|error| format!("the rule {}: EventPattern: {error}", rule.name))?;
            Ok((pattern, rule.targets.clone()))
        };
        Ok(Self(rules.iter().filter(|rule| rule.enabled).map(read).collect::<Result<_, String>>()?))
    }
}

/// What `EventBridgeConfiguration` is among a bucket's notifications: everything, to the bus.
pub fn rule() -> Rule {
    Rule { id: None, events: vec!["s3:*".into()], prefix: String::new(), suffix: String::new(), target_arn: EVENT_BUS.into() }
}

/// Writes a notice for each target of each rule that a happening fits.
pub fn tell(change: &mut Change<'_>, happening: &Happening<'_>) -> Result<(), S3Error> {
    let Some(event) = event(happening) else { return Ok(()) };
    let bus = change.bus.clone();
    for (_, targets) in bus.0.iter().filter(|(pattern, _)| pattern.fits(&event)) {
        for target in targets {
            notice::write(change, target, &event.to_string())?;
        }
    }
    Ok(())
}

/// None: the bus is not told of such.
fn event(of: &Happening<'_>) -> Option<Value> {
    let (family, by) = of.event.split_once(':')?;
    let (kind, reason) = match (family, by) {
        ("ObjectCreated", "Put") => ("Object Created", Some("PutObject")),
        ("ObjectCreated", "Post") => ("Object Created", Some("POST Object")),
        ("ObjectCreated", "Copy") => ("Object Created", Some("CopyObject")),
        ("ObjectCreated", other) => ("Object Created", Some(other)),
        ("ObjectRemoved", _) => ("Object Deleted", Some("DeleteObject")),
        ("LifecycleExpiration", _) => ("Object Deleted", Some("Lifecycle Expiration")),
        ("ObjectTagging", "Put") => ("Object Tags Added", None),
        ("ObjectTagging", _) => ("Object Tags Deleted", None),
        _ => return None,
    };
    let mut object = json!({ "key": of.key, "sequencer": format!("{:016X}", of.serial) });
    if let Some((size, etag)) = of.object {
        object["etag"] = etag.into();
        if family == "ObjectCreated" {
            object["size"] = size.into();
        }
    }
    let by_rule = family == "LifecycleExpiration";
    let mut detail = json!({
        "version": "0",
        "bucket": { "name": of.bucket },
        "object": object,
        "request-id": format!("{:016X}", of.serial),
        "requester": if by_rule { "s3.amazonaws.com" } else { ACCOUNT },
    });
    if !by_rule {
        detail["source-ip-address"] = "127.0.0.1".into();
    }
    if let Some(reason) = reason {
        detail["reason"] = reason.into();
    }
    if kind == "Object Deleted" {
        detail["deletion-type"] = "Permanently Deleted".into();
    }
    let time = time_text(of.now_ms);
    Some(json!({
        "version": "0",
        "id": uuid::Uuid::new_v4().to_string(),
        "detail-type": kind,
        "source": "aws.s3",
        "account": ACCOUNT,
        "time": time.split('.').next().map(|seconds| format!("{seconds}Z")),
        "region": REGION,
        "resources": [format!("arn:aws:s3:::{}", of.bucket)],
        "detail": detail,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happening(event: &str) -> Happening<'_> {
        let object = (!event.starts_with("ObjectRemoved")).then_some((7, "abc"));
        Happening { event, bucket: "films", key: "a b+c", object, serial: 255, now_ms: 1_700_000_000_123 }
    }

    #[test]
    fn the_event_has_aws_shape() {
        let mut event = event(&happening("ObjectCreated:Put")).unwrap();
        assert_eq!(event["id"].take().as_str().map(str::len), Some(36));
        assert_eq!(
            event,
            json!({
                "version": "0", "id": null, "detail-type": "Object Created", "source": "aws.s3", "account": "000000000000",
                "time": "2023-11-14T22:13:20Z", "region": "us-east-1", "resources": ["arn:aws:s3:::films"],
                "detail": {
                    "version": "0", "bucket": { "name": "films" },
                    "object": { "key": "a b+c", "size": 7, "etag": "abc", "sequencer": "00000000000000FF" },
                    "request-id": "00000000000000FF", "requester": "000000000000", "source-ip-address": "127.0.0.1",
                    "reason": "PutObject",
                },
            })
        );
    }

    #[test]
    fn each_happening_has_its_kind() {
        for (name, kind, reason) in [
            ("ObjectCreated:CompleteMultipartUpload", "Object Created", json!("CompleteMultipartUpload")),
            ("ObjectCreated:Copy", "Object Created", json!("CopyObject")),
            ("ObjectRemoved:Delete", "Object Deleted", json!("DeleteObject")),
            ("ObjectTagging:Put", "Object Tags Added", json!(null)),
        ] {
            let event = event(&happening(name)).unwrap();
            assert_eq!((&event["detail-type"], &event["detail"]["reason"]), (&json!(kind), &reason), "{name}");
        }
        let expired = event(&Happening { object: None, ..happening("LifecycleExpiration:Delete") }).unwrap();
        assert_eq!(expired["detail"]["requester"], "s3.amazonaws.com");
        assert!(event(&happening("ObjectAcl:Put")).is_none());
    }
}
