//! `LifecycleConfiguration` of a bucket. Source: `CloudFormation` reference, `AWS::S3::Bucket Rule`; S3 user guide, "Lifecycle
//! configuration elements".

use time::{Date, macros::format_description};

use super::{error::Problems, props::Props};
use crate::stack::LifecycleRule;

/// What changes nothing here: there is one storage class, and every object has one version.
const WITHOUT_EFFECT: [&str; 8] = [
    "ExpiredObjectDeleteMarker",
    "NoncurrentVersionExpiration",
    "NoncurrentVersionExpirationInDays",
    "NoncurrentVersionTransition",
    "NoncurrentVersionTransitions",
    "Transition",
    "Transitions",
    "TransitionDefaultMinimumObjectSize",
];
const MAX_RULES: usize = 1_000;
const DAYS: std::ops::RangeInclusive<u32> = 1..=36_500;

/// The enabled rules that do anything here.
pub(super) fn rules(props: &mut Props<'_>, problems: &mut Problems) -> Vec<LifecycleRule> {
    let Some(mut configuration) = props.map("LifecycleConfiguration", problems) else { return Vec::new() };
    configuration.without_effect(&["TransitionDefaultMinimumObjectSize"]);
    let entries = configuration.maps("Rules", problems);
    if entries.len() > MAX_RULES {
        configuration.fail(problems, configuration.line, "Rules", format!("{} rules; S3 takes {MAX_RULES}", entries.len()));
    }
    let mut rules = Vec::new();
    for mut entry in entries {
        entry.without_effect(&WITHOUT_EFFECT);
        entry.required("Status", problems);
        let enabled = entry.only("Status", &["Enabled", "Disabled"], problems) == Some("Enabled");
        let rule = rule(&mut entry, problems);
        entry.finish(problems);
        let acts = rule.expire_days.is_some() || rule.expire_at_ms.is_some() || rule.abort_uploads_days.is_some();
        if enabled && acts {
            rules.push(rule);
        }
    }
    configuration.finish(problems);
    rules
}

fn rule(entry: &mut Props<'_>, problems: &mut Problems) -> LifecycleRule {
    let mut tags = Vec::new();
    for mut tag in entry.maps("TagFilters", problems) {
        let (key, value) = (tag.required("Key", problems), tag.required("Value", problems));
        tags.extend(key.zip(value).map(|(key, value)| (key.to_owned(), value.to_owned())));
        tag.finish(problems);
    }
    let mut abort_uploads_days = None;
    if let Some(mut abort) = entry.map("AbortIncompleteMultipartUpload", problems) {
        abort.required("DaysAfterInitiation", problems);
        abort_uploads_days = abort.number("DaysAfterInitiation", DAYS, problems);
        abort.finish(problems);
    }
    LifecycleRule {
        id: entry.text("Id", problems).map(str::to_owned),
        prefix: entry.text("Prefix", problems).unwrap_or_default().to_owned(),
        tags,
        larger_than: bytes(entry, "ObjectSizeGreaterThan", problems),
        smaller_than: bytes(entry, "ObjectSizeLessThan", problems),
        expire_days: entry.number("ExpirationInDays", DAYS, problems),
        expire_at_ms: date(entry, problems),
        abort_uploads_days,
    }
}

fn bytes(entry: &mut Props<'_>, key: &'static str, problems: &mut Problems) -> Option<u64> {
    let text = entry.text(key, problems)?;
    let bytes = text.trim().parse().ok();
    if bytes.is_none() {
        entry.fail(problems, entry.line_of(key), key, format!("`{text}` must be a number of bytes"));
    }
    bytes
}

/// `ExpirationDate`: midnight UTC of a day, `2027-01-31` or `2027-01-31T00:00:00Z`.
fn date(entry: &mut Props<'_>, problems: &mut Problems) -> Option<u64> {
    let text = entry.text("ExpirationDate", problems)?;
    let day = text.strip_suffix("T00:00:00.000Z").or_else(|| text.strip_suffix("T00:00:00Z")).unwrap_or(text);
    let date = Date::parse(day, format_description!("[year]-[month]-[day]")).ok();
    let ms = date.and_then(|date| u64::try_from(date.midnight().assume_utc().unix_timestamp()).ok()).map(|s| s * 1_000);
    if ms.is_none() {
        let message = format!("`{text}` must be midnight UTC of a day, like 2027-01-31T00:00:00Z");
        entry.fail(problems, entry.line_of("ExpirationDate"), "ExpirationDate", message);
    }
    ms
}
