//! Terms: all must be in the line; of `?term` terms one must be; `-term` must not be; `"…"` makes one term of several
//! words; `%…%` is a regular expression.

use regex::Regex;

use super::reader::Reader;

/// The terms of a pattern.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    all: Vec<Term>,
    any: Vec<Term>,
    none: Vec<Term>,
}

#[derive(Clone, Debug)]
enum Term {
    Text(String),
    Regex(Regex),
}

impl Terms {
    pub fn parse(pattern: &str) -> Result<Self, String> {
        let mut reader = Reader::new(pattern);
        let mut terms = Self::default();
        while let Some(first) = reader.peek() {
            let list = match first {
                '?' => &mut terms.any,
                '-' => &mut terms.none,
                _ => &mut terms.all,
            };
            if matches!(first, '?' | '-') {
                reader.expect(&first.to_string())?;
            }
            let term = match reader.rest().chars().next() {
                Some('"') => Term::Text(reader.quoted('"')?),
                Some('%') if reader.rest().get(1..).is_some_and(|rest| rest.contains('%')) => Term::Regex(reader.regex()?),
                _ => Term::Text(reader.take_while(|c| !c.is_whitespace()).to_owned()),
            };
            if !matches!(&term, Term::Text(text) if text.is_empty()) {
                list.push(term);
            }
        }
        Ok(terms)
    }

    pub fn matches(&self, line: &str) -> bool {
        let has = |term: &Term| term.is_in(line);
        // Beside plain terms AWS ignores the alternatives.
        let any = self.any.is_empty() || !self.all.is_empty() || self.any.iter().any(has);
        any && self.all.iter().all(has) && !self.none.iter().any(has)
    }
}

impl Term {
    fn is_in(&self, line: &str) -> bool {
        match self {
            Self::Text(text) => line.contains(text.as_str()),
            Self::Regex(regex) => regex.is_match(line),
        }
    }
}
