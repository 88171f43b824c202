//! Logs Insights QL: queries over log lines.
//!
//! Source: CloudWatch Logs user guide, "CloudWatch Logs Insights language query syntax" and its pages of commands and
//! functions. A query is read into commands (`reader`, `parser`), and lines are pushed through them one by one
//! (`stages`), so that memory does not grow with the number of lines.
//!
//! Deliberately absent: `pattern`, `diff`, `anomaly`, `unmask`, `unnest`, `lookup`, `join`, `SOURCE`, field indexes. They
//! are refused by name.

mod aggregate;
mod discover;
mod expression;
mod functions;
mod parser;
mod reader;
mod stages;
#[cfg(test)]
mod tests;
mod value;

pub use self::{
    discover::Line,
    parser::{Query, parse},
    stages::{Cell, Run},
};

/// Longest query, characters (API reference, `StartQuery`).
const MAX_QUERY: usize = 10_000;
/// Most rows of an answer, and the number where none is asked for.
pub const MAX_ROWS: usize = 10_000;
/// Commands, and expressions within each other: nested ones are read by recursion.
const MAX_DEPTH: usize = 64;
/// Groups of one `stats`, and different values of one `dedup` or `count_distinct`: memory is bounded.
const MAX_GROUPS: usize = 200_000;
/// Numbers kept for percentiles, over all groups.
const MAX_SAMPLES: usize = 5_000_000;
