//! Values of fields: everything may be read as text, and what reads as a number is one.

use std::cmp::Ordering;

use time::OffsetDateTime;

#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// The line has no such field.
    #[default]
    Missing,
    Text(String),
    Number(f64),
    Flag(bool),
    /// Milliseconds since 1970.
    Time(i64),
}

impl Value {
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }

    /// As a number, if it reads as one.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this era are exact")]
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse::<f64>().ok().filter(|number| number.is_finite()),
            Self::Time(ms) => Some(*ms as f64),
            Self::Flag(flag) => Some(f64::from(u8::from(*flag))),
            Self::Missing => None,
        }
    }

    /// As a person reads it; `None` where there is nothing.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Missing => None,
            Self::Text(text) => Some(text.clone()),
            Self::Number(number) => Some(written(*number)),
            Self::Flag(flag) => Some(if *flag { "1" } else { "0" }.to_owned()),
            Self::Time(ms) => Some(clock(*ms)),
        }
    }

    pub fn truth(&self) -> bool {
        match self {
            Self::Flag(flag) => *flag,
            Self::Number(number) => *number != 0.0,
            Self::Text(text) => text == "true" || text == "1",
            Self::Time(_) => true,
            Self::Missing => false,
        }
    }

    /// Numbers by size where both are numbers, else by their texts. `None`: one is missing.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        if let (Some(a), Some(b)) = (self.number(), other.number()) {
            return a.partial_cmp(&b);
        }
        Some(self.text()?.cmp(&other.text()?))
    }
}

/// Whole numbers without a point, others with at most four digits behind it.
pub fn written(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        let text = format!("{number:.0}");
        return if text == "-0" { "0".to_owned() } else { text };
    }
    let text = format!("{number:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// `2026-11-28 05:30:00.000`.
pub fn clock(ms: i64) -> String {
    let Ok(time) = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000) else { return ms.to_string() };
    let ((year, month, day), (hour, minute, second, milli)) = (time.to_calendar_date(), time.to_hms_milli());
    format!("{year:04}-{:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{milli:03}", u8::from(month))
}
