//! `cron(…)` expressions of `EventBridge`: minutes, hours, day of month, month, day of week, year; in UTC.
//!
//! Source: `EventBridge` user guide, "Cron expressions reference".

/// A cron expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    /// What stands between the parentheses.
    expression: String,
}

impl Cron {
    /// What stands between the parentheses.
    pub fn expression(&self) -> &str {
        &self.expression
    }
}
