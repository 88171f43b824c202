//! `cron(…)` expressions of `EventBridge`: minutes, hours, day of month, month, day of week, year; in UTC.
//!
//! Source: `EventBridge` user guide, "Cron expressions reference"; names in any case, `LW`, `L-3` and `6L`, which AWS
//! takes as well, from the Quartz scheduler's "Cron Trigger Tutorial", whose language it is.

mod field;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use time::{Date, Month, OffsetDateTime, Weekday};

use self::field::{Field, MonthDay, WeekDay};

/// Longest expression, bytes: what `ScheduleExpression` may have.
const MAX_LENGTH: usize = 256;
const MS_PER_MINUTE: u64 = 60_000;
const MINUTES_PER_DAY: u64 = 24 * 60;

/// A cron expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    /// What stands between the parentheses.
    expression: String,
    minutes: BTreeSet<u32>,
    hours: BTreeSet<u32>,
    days: Days,
    months: BTreeSet<u32>,
    years: BTreeSet<u32>,
}

/// The one of the two day fields that is not `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Days {
    OfMonth(Vec<MonthDay>),
    OfWeek(Vec<WeekDay>),
}

impl Cron {
    /// Reads what stands between the parentheses of `cron(…)`. The error is a sentence that names the field and what may
    /// stand there.
    pub fn parse(expression: &str) -> Result<Self, String> {
        if expression.len() > MAX_LENGTH {
            return Err(format!("a cron expression has at most {MAX_LENGTH} characters"));
        }
        let fields: Vec<&str> = expression.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays, years] = fields[..] else {
            return Err(format!(
                "`{expression}` has {} fields; a cron expression has six: minutes hours day-of-month month day-of-week year",
                fields.len()
            ));
        };
        let cron = Self {
            expression: expression.to_owned(),
            minutes: Field::MINUTES.set(minutes)?,
            hours: Field::HOURS.set(hours)?,
            days: days_of(days, weekdays)?,
            months: Field::MONTHS.set(months)?,
            years: Field::YEARS.set(years)?,
        };
        if cron.next_after(0).is_none() {
            return Err(format!("day-of-month `{days}` does not occur in month `{months}` of year `{years}`; name a day that does"));
        }
        Ok(cron)
    }

    /// What stands between the parentheses.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The first time after `unix_ms`, both in ms since the epoch; `None` when its years are over.
    pub fn next_after(&self, unix_ms: u64) -> Option<u64> {
        let minute = unix_ms / MS_PER_MINUTE + 1;
        let mut from = minute % MINUTES_PER_DAY;
        let mut day = date(minute / MINUTES_PER_DAY)?;
        let last_year = *self.years.last()?;
        // Ends: every turn is a later day, and the last year is at most 2199.
        while year(day) <= last_year {
            if !self.years.contains(&year(day)) {
                day = Date::from_calendar_date(day.year() + 1, Month::January, 1).ok()?;
            } else if !self.months.contains(&u32::from(u8::from(day.month()))) {
                day = first_of_next_month(day)?;
            } else {
                if let Some(minute) = self.runs_on(day).then(|| self.minute_from(from)).flatten() {
                    return Some((days_since_epoch(day) * MINUTES_PER_DAY + minute) * MS_PER_MINUTE);
                }
                day = day.next_day()?;
            }
            from = 0;
        }
        None
    }

    fn runs_on(&self, day: Date) -> bool {
        match &self.days {
            Days::OfMonth(days) => days.iter().any(|wanted| wanted.is(day)),
            Days::OfWeek(days) => days.iter().any(|wanted| wanted.is(day)),
        }
    }

    /// The first minute of a day that is not before `from`.
    fn minute_from(&self, from: u64) -> Option<u64> {
        let minutes = self.hours.iter().flat_map(|hour| self.minutes.iter().map(move |minute| u64::from(hour * 60 + minute)));
        minutes.into_iter().find(|minute| *minute >= from)
    }
}

fn days_of(days: &str, weekdays: &str) -> Result<Days, String> {
    match (days, weekdays) {
        ("?", "?") => Err("day-of-month and day-of-week are both `?`; write `*` or a day in one of them".into()),
        (_, "?") => Ok(Days::OfMonth(Field::month_days(days)?)),
        ("?", _) => Ok(Days::OfWeek(Field::week_days(weekdays)?)),
        _ => Err(format!(
            "day-of-month is `{days}` and day-of-week is `{weekdays}`; one of the two must be `?`, since only one of them can say the day"
        )),
    }
}

fn year(day: Date) -> u32 {
    u32::try_from(day.year()).unwrap_or(0)
}

fn date(days_since_epoch: u64) -> Option<Date> {
    let seconds = i64::try_from(days_since_epoch.checked_mul(86_400)?).ok()?;
    OffsetDateTime::from_unix_timestamp(seconds).ok().map(OffsetDateTime::date)
}

fn days_since_epoch(day: Date) -> u64 {
    u64::try_from(day.midnight().assume_utc().unix_timestamp() / 86_400).unwrap_or(0)
}

fn first_of_next_month(day: Date) -> Option<Date> {
    let year = day.year() + i32::from(day.month() == Month::December);
    Date::from_calendar_date(year, day.month().next(), 1).ok()
}

fn is_weekend(day: Date) -> bool {
    matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday)
}
