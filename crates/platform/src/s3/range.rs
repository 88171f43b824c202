//! Which bytes of an object a request means, and whether it wants them at all.

use s3s::dto::{ETagCondition, Range};

use super::{
    Refusal, S3Error,
    blobs::Extent,
    store::{Object, Piece},
};

/// A stretch of an object: `start..end`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: u64,
    pub end: u64,
}

impl Span {
    pub fn whole(size: u64) -> Self {
        Self { start: 0, end: size }
    }

    /// What `range` means of an object of `size` bytes.
    pub fn of(range: Range, size: u64) -> Result<Self, S3Error> {
        let span = range.check(size).map_err(|_| Refusal::InvalidRange { size })?;
        if span.is_empty() {
            // A suffix of an empty object: nothing there can be satisfied.
            return Err(Refusal::InvalidRange { size }.into());
        }
        Ok(Self { start: span.start, end: span.end })
    }

    /// Part `number`, counted from 1, of an object of these parts; one without parts is its own part 1.
    pub fn of_part(number: i32, parts: &[Piece], size: u64) -> Result<Self, S3Error> {
        let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        match (index, parts) {
            (Some(0), []) => Ok(Self::whole(size)),
            (Some(index), parts) if index < parts.len() => {
                let start = parts[..index].iter().map(|part| part.size).sum();
                Ok(Self { start, end: start + parts[index].size })
            }
            _ => Err(Refusal::InvalidPartNumber.into()),
        }
    }

    pub fn len(self) -> u64 {
        self.end - self.start
    }

    /// `Content-Range`, unless it is empty.
    pub fn content_range(self, size: u64) -> Option<String> {
        let last = self.end.checked_sub(1).filter(|last| *last >= self.start)?;
        Some(format!("bytes {}-{last}/{size}", self.start))
    }

    /// The part of an extent that begins at byte `start` of the object and lies inside.
    pub fn cut(self, start: u64, extent: &Extent) -> Option<Extent> {
        let from = self.start.max(start);
        let to = self.end.min(start + extent.length);
        (from < to).then(|| Extent { blob: extent.blob, offset: extent.offset + (from - start), length: to - from })
    }
}

/// The preconditions of a read, as in RFC 9110, section 13.2.2, and S3's `GetObject`.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_field_names, reason = "they are HTTP's names")]
pub struct ReadConditions {
    pub if_match: Option<ETagCondition>,
    pub if_none_match: Option<ETagCondition>,
    /// Milliseconds since the epoch; HTTP dates have whole seconds.
    pub if_modified_since: Option<i64>,
    pub if_unmodified_since: Option<i64>,
}

impl ReadConditions {
    pub fn check(&self, etag: &str, modified_ms: i64) -> Result<(), S3Error> {
        let after = |limit_ms: i64| modified_ms.div_euclid(1000) > limit_ms.div_euclid(1000);
        match (&self.if_match, self.if_unmodified_since) {
            (Some(condition), _) if !matches(condition, etag) => return Err(Refusal::PreconditionFailed.into()),
            (None, Some(limit)) if after(limit) => return Err(Refusal::PreconditionFailed.into()),
            _ => {}
        }
        let unchanged = match (&self.if_none_match, self.if_modified_since) {
            (Some(condition), _) => matches(condition, etag),
            (None, Some(limit)) => !after(limit),
            (None, None) => false,
        };
        if unchanged {
            return Err(Refusal::NotModified { etag: etag.into(), modified_ms }.into());
        }
        Ok(())
    }

    /// The same for the source of a copy, where "not modified" is a failed precondition.
    pub fn check_source(&self, etag: &str, modified_ms: i64) -> Result<(), S3Error> {
        match self.check(etag, modified_ms) {
            Err(S3Error::Refused(Refusal::NotModified { .. })) => Err(Refusal::PreconditionFailed.into()),
            outcome => outcome,
        }
    }
}

/// The preconditions of a write: `If-None-Match: *` and `If-Match`.
#[derive(Clone, Debug, Default)]
pub struct WriteConditions {
    pub if_match: Option<ETagCondition>,
    pub if_none_match: Option<ETagCondition>,
}

impl WriteConditions {
    /// `current` is the `ETag` of what is there now.
    pub fn check(&self, current: Option<&str>) -> Result<(), S3Error> {
        // S3 API reference, `PutObject`: the header "expects the '*' (asterisk) character".
        if !matches!(self.if_none_match, None | Some(ETagCondition::Any)) {
            return Err(Refusal::NotImplemented("If-None-Match of a write takes `*` and nothing else".into()).into());
        }
        match (&self.if_match, current) {
            (Some(_), None) => return Err(Refusal::NoSuchKey.into()),
            (Some(condition), Some(etag)) if !matches(condition, etag) => {
                return Err(Refusal::PreconditionFailed.into());
            }
            _ => {}
        }
        match (&self.if_none_match, current) {
            (Some(condition), Some(etag)) if matches(condition, etag) => Err(Refusal::PreconditionFailed.into()),
            _ => Ok(()),
        }
    }
}

/// The preconditions of a removal.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_field_names, reason = "they are HTTP's names")]
pub struct DeleteConditions {
    pub if_match: Option<ETagCondition>,
    /// Milliseconds since the epoch; HTTP dates have whole seconds.
    pub if_modified_at: Option<i64>,
    /// Bytes.
    pub if_size: Option<i64>,
}

impl DeleteConditions {
    /// `current` is what is there now.
    pub fn check(&self, current: Option<&Object>) -> Result<(), S3Error> {
        if self.if_match.is_none() && self.if_modified_at.is_none() && self.if_size.is_none() {
            return Ok(());
        }
        let Some(object) = current else { return Err(Refusal::NoSuchKey.into()) };
        let fits = self.if_match.as_ref().is_none_or(|condition| matches(condition, &object.etag))
            && self.if_modified_at.is_none_or(|at| at.div_euclid(1000) == object.modified_ms.div_euclid(1000))
            && self.if_size.is_none_or(|size| u64::try_from(size) == Ok(object.size));
        if fits { Ok(()) } else { Err(Refusal::PreconditionFailed.into()) }
    }
}

fn matches(condition: &ETagCondition, etag: &str) -> bool {
    condition.as_etag().is_none_or(|wanted| wanted.value() == etag)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use s3s::dto::ETag;

    use super::*;

    fn tag(value: &str) -> ETagCondition {
        ETagCondition::ETag(ETag::Strong(value.into()))
    }

    #[test]
    fn spans() {
        let span = |text: &str, size| Span::of(Range::parse(text).unwrap(), size).map(|span| (span.start, span.end)).ok();
        assert_eq!(span("bytes=0-0", 10), Some((0, 1)));
        assert_eq!(span("bytes=5-", 10), Some((5, 10)));
        assert_eq!(span("bytes=-3", 10), Some((7, 10)));
        assert_eq!(span("bytes=-30", 10), Some((0, 10)));
        assert_eq!(span("bytes=10-", 10), None);
        assert_eq!(span("bytes=-1", 0), None);
        assert_eq!(Span { start: 7, end: 10 }.content_range(10).unwrap(), "bytes 7-9/10");
        let parts = [5, 3].map(|size| Piece { size, sum: None });
        assert_eq!(Span::of_part(2, &parts, 8).unwrap(), Span { start: 5, end: 8 });
        assert!(Span::of_part(3, &parts, 8).is_err());
        assert!(Span::of_part(0, &[], 8).is_err());
    }

    #[test]
    fn read_conditions() {
        let outcome = |conditions: ReadConditions| match conditions.check("a", 5_500) {
            Ok(()) => 200,
            Err(S3Error::Refused(Refusal::NotModified { .. })) => 304,
            Err(_) => 412,
        };
        assert_eq!(outcome(ReadConditions { if_match: Some(tag("a")), ..Default::default() }), 200);
        assert_eq!(outcome(ReadConditions { if_match: Some(tag("b")), ..Default::default() }), 412);
        assert_eq!(outcome(ReadConditions { if_match: Some(tag("a")), if_unmodified_since: Some(0), ..Default::default() }), 200);
        assert_eq!(outcome(ReadConditions { if_unmodified_since: Some(4_000), ..Default::default() }), 412);
        assert_eq!(outcome(ReadConditions { if_none_match: Some(tag("a")), ..Default::default() }), 304);
        assert_eq!(outcome(ReadConditions { if_none_match: Some(tag("b")), if_modified_since: Some(9_000), ..Default::default() }), 200);
        // The date that the answer carried is whole seconds: 5,000 ms.
        assert_eq!(outcome(ReadConditions { if_modified_since: Some(5_000), ..Default::default() }), 304);
        assert_eq!(outcome(ReadConditions { if_modified_since: Some(4_000), ..Default::default() }), 200);
    }

    #[test]
    fn write_conditions() {
        let create = WriteConditions { if_none_match: Some(ETagCondition::Any), ..Default::default() };
        assert!(create.check(None).is_ok());
        assert!(matches!(create.check(Some("a")), Err(S3Error::Refused(Refusal::PreconditionFailed))));
        let replace = WriteConditions { if_match: Some(tag("a")), ..Default::default() };
        assert!(replace.check(Some("a")).is_ok());
        assert!(matches!(replace.check(Some("b")), Err(S3Error::Refused(Refusal::PreconditionFailed))));
        assert!(matches!(replace.check(None), Err(S3Error::Refused(Refusal::NoSuchKey))));
    }

    proptest! {
        #[test]
        fn cuts_of_consecutive_extents_cover_the_span(lengths in prop::collection::vec(1_u64..50, 1..8), a in 0_u64..400, b in 0_u64..400) {
            let size: u64 = lengths.iter().sum();
            let span = Span { start: a.min(b).min(size), end: a.max(b).min(size) };
            let mut start = 0;
            let mut covered = Vec::new();
            for (blob, length) in (0_u64..).zip(&lengths) {
                if let Some(cut) = span.cut(start, &Extent { blob, offset: 1000, length: *length }) {
                    let at = start + cut.offset - 1000;
                    covered.extend(at..at + cut.length);
                }
                start += length;
            }
            prop_assert_eq!(covered, (span.start..span.end).collect::<Vec<_>>());
        }
    }
}
