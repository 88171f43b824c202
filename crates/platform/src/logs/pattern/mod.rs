//! Filter patterns: what `FilterLogEvents` and metric filters are asked with.
//!
//! Source: CloudWatch Logs user guide, "Filter pattern syntax for metric filters, subscription filters, filter log
//! events, and Live Tail". Three kinds: terms of unstructured lines, `{ … }` over JSON, `[ … ]` over fields between
//! spaces; regular expressions stand between `%` in all three. Upper and lower case differ.

mod compare;
mod fields;
mod json;
mod reader;
mod terms;
#[cfg(test)]
mod tests;

use super::error::LogsError;

/// Longest pattern, characters (API reference, `FilterLogEvents`).
const MAX_PATTERN: usize = 1024;
/// Regular expressions in one pattern ("Quotas" of the guide's page).
const MAX_REGEXES: usize = 2;
/// Conditions and parentheses of one pattern: nested ones are read by recursion.
const MAX_DEPTH: usize = 32;

/// A pattern, read.
#[derive(Clone, Debug, Default)]
pub struct Filter(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Terms(terms::Terms),
    Json(json::Condition),
    Fields(fields::Fields),
}

impl Default for Kind {
    fn default() -> Self {
        Self::Terms(terms::Terms::default())
    }
}

impl Filter {
    /// `InvalidParameterException` says what is wrong and where.
    pub fn parse(pattern: &str) -> Result<Self, LogsError> {
        let pattern = pattern.trim();
        if pattern.chars().count() > MAX_PATTERN {
            return Err(invalid(&format!("it is longer than {MAX_PATTERN} characters")));
        }
        let kind = match pattern.as_bytes().first() {
            Some(b'{') => json::parse(pattern).map(Kind::Json),
            Some(b'[') => fields::parse(pattern).map(Kind::Fields),
            _ => terms::Terms::parse(pattern).map(Kind::Terms),
        };
        kind.map(Self).map_err(|what| invalid(&what))
    }

    pub fn matches(&self, line: &str) -> bool {
        match &self.0 {
            Kind::Json(condition) => json::matches(condition, line),
            _ => self.captures(line).is_some(),
        }
    }

    /// What a match names of the line: a field for every name of a `[ … ]` pattern, the values of a `{ … }` pattern's
    /// selectors, nothing of terms. `None`: no match.
    pub fn captures(&self, line: &str) -> Option<Vec<(String, String)>> {
        match &self.0 {
            Kind::Terms(terms) => terms.matches(line).then(Vec::new),
            Kind::Json(condition) => json::captures(condition, line),
            Kind::Fields(fields) => fields.captures(line),
        }
    }
}

fn invalid(what: &str) -> LogsError {
    LogsError::invalid(format!("Invalid filter pattern: {what}."))
}
