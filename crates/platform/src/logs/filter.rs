//! Filter patterns of unstructured lines.
//!
//! Source: CloudWatch Logs user guide, "Filter pattern syntax", terms: all must be in the line; `?term` terms are
//! alternatives; `-term` must not be; `"…"` makes one term of several words. Upper and lower case differ.

use super::error::LogsError;

/// A pattern, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    all: Vec<String>,
    any: Vec<String>,
    none: Vec<String>,
}

impl Filter {
    pub fn parse(pattern: &str) -> Result<Self, LogsError> {
        let mut rest = pattern.trim();
        if rest.starts_with(['{', '[', '%']) {
            return Err(LogsError::invalid(
                "Invalid filter pattern: JSON, space-delimited and regular expression patterns are not supported here; use plain terms.",
            ));
        }
        let mut filter = Self::default();
        while !rest.is_empty() {
            let (list, after) = match rest.as_bytes().first() {
                Some(b'?') => (&mut filter.any, rest.get(1..)),
                Some(b'-') => (&mut filter.none, rest.get(1..)),
                _ => (&mut filter.all, Some(rest)),
            };
            let (term, after) = term(after.unwrap_or_default())?;
            if !term.is_empty() {
                list.push(term);
            }
            rest = after.trim_start();
        }
        Ok(filter)
    }

    pub fn matches(&self, line: &str) -> bool {
        let has = |term: &String| line.contains(term.as_str());
        // Beside plain terms AWS ignores the alternatives.
        let any = self.any.is_empty() || !self.all.is_empty() || self.any.iter().any(has);
        any && self.all.iter().all(has) && !self.none.iter().any(has)
    }
}

/// The first term and what follows it.
fn term(text: &str) -> Result<(String, &str), LogsError> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (term, rest) = text.split_at(end);
        return Ok((term.to_owned(), rest));
    };
    let (mut term, mut escaped) = (String::new(), false);
    for (place, character) in quoted.char_indices() {
        match character {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return Ok((term, quoted.get(place + 1..).unwrap_or_default())),
            other => {
                escaped = false;
                term.push(other);
            }
        }
    }
    Err(LogsError::invalid("Invalid filter pattern: a quotation mark is missing."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn terms_are_read_as_aws_publishes() {
        let matches = |pattern: &str, line: &str| Filter::parse(pattern).unwrap().matches(line);
        assert!(matches("", "anything"));
        assert!(matches("ERROR disk", "disk full: ERROR 7"));
        assert!(!matches("ERROR disk", "error disk"));
        assert!(matches("\"disk full\"", "a disk full b") && !matches("\"disk full\"", "full disk"));
        assert!(matches("?ERROR ?WARN", "a WARN") && !matches("?ERROR ?WARN", "INFO"));
        assert!(matches("ERROR -disk", "ERROR") && !matches("ERROR -disk", "ERROR disk"));
        assert!(matches(r#""say \"x\"""#, r#"they say "x""#));
        assert!(Filter::parse("\"open").is_err() && Filter::parse("{ $.a = 1 }").is_err());
    }

    proptest! {
        #[test]
        fn any_pattern_is_read_or_refused(pattern in ".{0,40}", line in ".{0,40}") {
            if let Ok(filter) = Filter::parse(&pattern) {
                filter.matches(&line);
            }
        }

        #[test]
        fn a_line_has_its_own_words(words in prop::collection::vec("[a-zA-Z0-9]{1,8}", 1..6)) {
            let line = words.join(" ");
            prop_assert!(Filter::parse(&line).unwrap().matches(&line));
        }
    }
}
