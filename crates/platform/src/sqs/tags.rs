//! The tags of a queue: kept and shown, without effect here.

use std::collections::BTreeMap;

use super::error::SqsError;

/// Source: SQS developer guide, "Amazon SQS cost allocation tags", and the quotas of queues.
const MAX_TAGS: usize = 50;
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 256;

pub(super) fn check(tags: &BTreeMap<String, String>) -> Result<(), SqsError> {
    if tags.len() > MAX_TAGS {
        return Err(SqsError::invalid(format!("Too many tags for queue: {} are more than {MAX_TAGS}.", tags.len())));
    }
    for (key, value) in tags {
        let shown: String = key.chars().take(64).collect();
        if !(1..=MAX_KEY).contains(&key.chars().count()) || key.starts_with("aws:") {
            return Err(SqsError::invalid(format!("The tag key '{shown}' must be 1 to {MAX_KEY} characters and not begin with aws:.")));
        }
        if value.chars().count() > MAX_VALUE {
            return Err(SqsError::invalid(format!("The value of the tag '{shown}' is longer than {MAX_VALUE} characters.")));
        }
    }
    Ok(())
}
