//! What is wrong with a template: every problem at once, each with the place and what to do.

use std::fmt;

/// Problems kept of one template; a broken file can repeat the same mistake without end.
const MAX_PROBLEMS: usize = 100;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Line of the template, from 1; 0 where the problem has none (an override from outside the file).
    pub line: usize,
    /// Logical id, or the section (`Parameters.Size`).
    pub resource: String,
    /// Path inside the resource: `Properties.RedrivePolicy.maxReceiveCount`; empty for the whole of it.
    pub property: String,
    /// What is wrong and what to do, one sentence or two.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        match (self.resource.is_empty(), self.property.is_empty()) {
            (true, _) => {}
            (false, true) => write!(f, "{}: ", self.resource)?,
            (false, false) => write!(f, "{}.{}: ", self.resource, self.property)?,
        }
        f.write_str(&self.message)
    }
}

/// Why a template cannot be run: never empty, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// The file, or `template` for text in memory.
    pub source: String,
    pub problems: Vec<Problem>,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        let plural = if count == 1 { "problem" } else { "problems" };
        write!(f, "{} cannot be run: {count} {plural}", self.source)?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for TemplateError {}

/// The problems found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, line: usize, resource: &str, property: &str, message: impl Into<String>) {
        if self.0.len() < MAX_PROBLEMS {
            let (resource, property, message) = (resource.to_owned(), property.to_owned(), message.into());
            self.0.push(Problem { line, resource, property, message });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of the file, each once.
    pub(super) fn into_error(mut self, source: String) -> TemplateError {
        self.0.sort();
        self.0.dedup();
        TemplateError { source, problems: self.0 }
    }
}
