//! Lifecycle rules: which objects and uploads of a bucket have had their time, and when that is.
//!
//! Rules: S3 user guide, "Lifecycle configuration elements" and "How S3 calculates how long an object has been
//! noncurrent / Setting expiration": days count from the making of the object, and the end is the next midnight UTC after
//! them. Time comes in as a value.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::FormatItem, macros::format_description};

use super::{
    S3Error,
    store::{Object, Place},
};
use crate::stack;

/// Milliseconds.
pub const DAY: i64 = 24 * 60 * 60 * 1000;

const HTTP_DATE: &[FormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// One rule of a bucket, as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rule {
    pub id: String,
    pub enabled: bool,
    /// Empty: every key.
    pub prefix: String,
    /// All of these.
    pub tags: Vec<(String, String)>,
    /// Bytes; objects larger than this.
    pub larger_than: Option<u64>,
    /// Bytes; objects smaller than this.
    pub smaller_than: Option<u64>,
    pub expire_days: Option<u32>,
    /// Midnight UTC, ms since the epoch.
    pub expire_at_ms: Option<i64>,
    pub abort_uploads_days: Option<u32>,
    /// The client wrote the prefix beside the filter, as before 2018; it gets it back there.
    pub plain_prefix: bool,
}

impl Rule {
    /// A rule of the template; one without an id goes by its place, counted from 0.
    pub fn of_stack((index, of): (usize, &stack::LifecycleRule)) -> Self {
        Self {
            id: of.id.clone().unwrap_or_else(|| format!("rule-{}", index + 1)),
            enabled: true,
            prefix: of.prefix.clone(),
            tags: of.tags.clone(),
            larger_than: of.larger_than,
            smaller_than: of.smaller_than,
            expire_days: of.expire_days,
            expire_at_ms: of.expire_at_ms.and_then(|at| i64::try_from(at).ok()),
            abort_uploads_days: of.abort_uploads_days,
            plain_prefix: false,
        }
    }

    /// When an object goes by this rule, ms since the epoch.
    pub fn end(&self, subject: &Subject<'_>) -> Option<i64> {
        let wanted = self.enabled
            && subject.key.starts_with(&self.prefix)
            && self.larger_than.is_none_or(|limit| subject.size > limit)
            && self.smaller_than.is_none_or(|limit| subject.size < limit)
            && self.tags.iter().all(|tag| subject.tags.contains(tag));
        let end = self.expire_at_ms.or_else(|| Some(midnight_after(subject.modified_ms, self.expire_days?)));
        end.filter(|_| wanted)
    }

    /// When an upload that is not complete goes by this rule, ms since the epoch.
    pub fn upload_end(&self, key: &str, created_ms: i64) -> Option<i64> {
        let days = self.abort_uploads_days.filter(|_| self.enabled && key.starts_with(&self.prefix))?;
        Some(midnight_after(created_ms, days))
    }
}

/// What a rule looks at of an object.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub key: &'a str,
    /// Bytes.
    pub size: u64,
    pub modified_ms: i64,
    pub tags: &'a [(String, String)],
}

impl<'a> Subject<'a> {
    pub fn of(place: &'a Place, object: &'a Object) -> Self {
        Self { key: &place.key, size: object.size, modified_ms: object.modified_ms, tags: &object.attributes.tags }
    }
}

/// The rule by which an object goes first, and when.
pub fn first_end<'a>(rules: &'a [Rule], subject: &Subject<'_>) -> Option<(&'a Rule, i64)> {
    rules.iter().filter_map(|rule| Some((rule, rule.end(subject)?))).min_by_key(|(_, end)| *end)
}

/// The rule by which an upload goes first, and when.
pub fn first_upload_end<'a>(rules: &'a [Rule], key: &str, created_ms: i64) -> Option<(&'a Rule, i64)> {
    rules.iter().filter_map(|rule| Some((rule, rule.upload_end(key, created_ms)?))).min_by_key(|(_, end)| *end)
}

/// The header `x-amz-expiration` of an object, if a rule of its bucket will remove it.
pub fn expiration(conn: &rusqlite::Connection, place: &Place, object: &Object) -> Result<Option<String>, S3Error> {
    let rules = super::settings::lifecycle(conn, &place.bucket)?;
    let first = first_end(&rules, &Subject::of(place, object));
    Ok(first.and_then(|(rule, end)| {
        let id = utf8_percent_encode(&rule.id, NON_ALPHANUMERIC);
        Some(format!("expiry-date=\"{}\", rule-id=\"{id}\"", http_date(end)?))
    }))
}

fn http_date(ms: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000)).ok()?.format(HTTP_DATE).ok()
}

/// The next midnight UTC after `days` days from `start_ms`.
fn midnight_after(start_ms: i64, days: u32) -> i64 {
    let end = start_ms.saturating_add(i64::from(days).saturating_mul(DAY));
    end.div_euclid(DAY).saturating_add(1).saturating_mul(DAY)
}

/// The next midnight UTC after `now_ms`: rules end nothing at other times.
pub fn next_midnight(now_ms: i64) -> i64 {
    midnight_after(now_ms, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2014-01-15T10:30:00Z, the example of AWS's page.
    const MADE: i64 = 1_389_781_800_000;
    /// 2014-01-19T00:00:00Z
    const END: i64 = 1_390_089_600_000;

    fn subject<'a>(key: &'a str, tags: &'a [(String, String)]) -> Subject<'a> {
        Subject { key, size: 100, modified_ms: MADE, tags }
    }

    fn rule(id: &str, expire_days: u32) -> Rule {
        Rule { id: id.into(), enabled: true, expire_days: Some(expire_days), ..Rule::default() }
    }

    #[test]
    fn days_end_at_the_next_midnight() {
        assert_eq!(rule("r", 3).end(&subject("a", &[])), Some(END));
        assert_eq!(midnight_after(END, 1), END + 2 * DAY);
        assert_eq!(midnight_after(i64::MAX, u32::MAX), i64::MAX);
        let uploads = Rule { abort_uploads_days: Some(3), ..rule("r", 1) };
        assert_eq!(uploads.upload_end("a", MADE), Some(END));
        assert_eq!(http_date(END).unwrap(), "Sun, 19 Jan 2014 00:00:00 GMT");
    }

    #[test]
    fn all_of_a_filter_must_fit() {
        let tags = [("kind".to_owned(), "raw".to_owned()), ("who".to_owned(), "me".to_owned())];
        let filter =
            Rule { prefix: "work/".into(), tags: tags[..1].to_vec(), larger_than: Some(99), smaller_than: Some(101), ..rule("r", 3) };
        assert_eq!(filter.end(&subject("work/a", &tags)), Some(END));
        assert_eq!(filter.end(&subject("a", &tags)), None);
        assert_eq!(filter.end(&subject("work/a", &tags[1..])), None);
        assert_eq!(Rule { larger_than: Some(100), ..filter.clone() }.end(&subject("work/a", &tags)), None);
        assert_eq!(Rule { smaller_than: Some(100), ..filter.clone() }.end(&subject("work/a", &tags)), None);
        assert_eq!(Rule { enabled: false, ..filter }.end(&subject("work/a", &tags)), None);
    }

    #[test]
    fn the_rule_that_ends_first_counts() {
        let rules = [
            rule("late", 9),
            rule("soon", 3),
            Rule { id: "uploads".into(), enabled: true, abort_uploads_days: Some(1), ..Rule::default() },
        ];
        let (first, end) = first_end(&rules, &subject("a", &[])).unwrap();
        assert_eq!((first.id.as_str(), end), ("soon", END));
        let dated = [Rule { expire_at_ms: Some(END - DAY), ..rule("dated", 1) }, rule("soon", 3)];
        assert_eq!(first_end(&dated, &subject("a", &[])).unwrap().1, END - DAY);
        assert!(first_end(&rules[2..], &subject("a", &[])).is_none());
    }
}
