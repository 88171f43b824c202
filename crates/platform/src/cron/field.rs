//! The fields of a cron expression: lists of values, ranges and increments, and the days that depend on the month.

use std::collections::BTreeSet;

use time::{Date, Month, Weekday};

use super::is_weekend;

/// What may stand in a field.
pub(super) struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    /// Words for the values from `min` on.
    words: &'static [&'static str],
}

/// A day of the day-of-month field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MonthDay {
    Day(u32),
    /// `L` (0) or `L-n`: so many days before the month's last.
    BeforeLast(u32),
    /// `nW`: the weekday nearest to this day, in the same month.
    Nearest(u32),
    /// `LW`
    LastWeekday,
}

/// A day of the day-of-week field; Sunday is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WeekDay {
    Day(u32),
    /// `nL`: the last such day of the month.
    Last(u32),
    /// `n#k`: the k-th such day of the month.
    Nth(u32, u32),
}

const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
/// A month's last day of its fifth week: `#5` is the most there can be.
const MOST_WEEKS: u32 = 5;

impl Field {
    pub(super) const MINUTES: Self = Self { name: "minutes", min: 0, max: 59, words: &[] };
    pub(super) const HOURS: Self = Self { name: "hours", min: 0, max: 23, words: &[] };
    pub(super) const MONTHS: Self = Self { name: "month", min: 1, max: 12, words: MONTHS };
    pub(super) const YEARS: Self = Self { name: "year", min: 1970, max: 2199, words: &[] };
    const DAYS: Self = Self { name: "day-of-month", min: 1, max: 31, words: &[] };
    const WEEKDAYS: Self = Self { name: "day-of-week", min: 1, max: 7, words: WEEKDAYS };

    /// The values of a field.
    pub(super) fn set(&self, text: &str) -> Result<BTreeSet<u32>, String> {
        let mut values = BTreeSet::new();
        for part in text.split(',') {
            values.extend(self.values(part)?);
        }
        Ok(values)
    }

    pub(super) fn month_days(text: &str) -> Result<Vec<MonthDay>, String> {
        let mut days = Vec::new();
        for part in text.split(',') {
            let upper = part.to_ascii_uppercase();
            match upper.as_str() {
                "L" => days.push(MonthDay::BeforeLast(0)),
                "LW" => days.push(MonthDay::LastWeekday),
                _ => match (upper.strip_prefix("L-"), upper.strip_suffix('W')) {
                    // The first of a month is 30 days before its last at most.
                    (Some(before), _) => days.push(MonthDay::BeforeLast(Self { min: 0, max: 30, ..Self::DAYS }.value(before)?)),
                    (None, Some(near)) => days.push(MonthDay::Nearest(Self::DAYS.value(near)?)),
                    (None, None) => days.extend(Self::DAYS.values(part)?.map(MonthDay::Day)),
                },
            }
        }
        Ok(days)
    }

    pub(super) fn week_days(text: &str) -> Result<Vec<WeekDay>, String> {
        if text.contains('#') && text.contains(',') {
            return Err(format!("day-of-week `{text}`: with `#` there is only one day; write two schedules"));
        }
        let mut days = Vec::new();
        for part in text.split(',') {
            if part.eq_ignore_ascii_case("L") {
                days.push(WeekDay::Day(Self::WEEKDAYS.max));
            } else if let Some((day, week)) = part.split_once('#') {
                let week = Self { name: "day-of-week (after #)", min: 1, max: MOST_WEEKS, words: &[] }.value(week)?;
                days.push(WeekDay::Nth(Self::WEEKDAYS.value(day)?, week));
            } else if let Some(day) = part.strip_suffix(['L', 'l']) {
                days.push(WeekDay::Last(Self::WEEKDAYS.value(day)?));
            } else {
                days.extend(Self::WEEKDAYS.values(part)?.map(WeekDay::Day));
            }
        }
        Ok(days)
    }

    /// `5`, `1-5`, `*`, each also with an increment: `0/15`, `8-17/2`, `*/5`.
    fn values(&self, part: &str) -> Result<impl Iterator<Item = u32> + use<>, String> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(self.step(part, step)?)),
            None => (part, None),
        };
        let (first, last) = if range == "*" {
            (self.min, self.max)
        } else if let Some((first, last)) = range.split_once('-') {
            (self.value(first)?, self.value(last)?)
        } else {
            let value = self.value(range)?;
            (value, if step.is_some() { self.max } else { value })
        };
        if first > last {
            let (min, max) = (self.min, self.max);
            return Err(format!("{} `{part}` ends before it begins; write {first}-{max},{min}-{last}", self.name));
        }
        Ok((first..=last).step_by(step.unwrap_or(1)))
    }

    fn step(&self, part: &str, step: &str) -> Result<usize, String> {
        let most = self.max.min(self.max - self.min + 1);
        let wrong = || format!("{} `{part}`: the increment must be a number from 1 to {most}", self.name);
        step.parse().ok().filter(|step| (1..=most as usize).contains(step)).ok_or_else(wrong)
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        let word = self.words.iter().position(|word| word.eq_ignore_ascii_case(text));
        if let Some(index) = word.and_then(|index| u32::try_from(index).ok()) {
            return Ok(self.min + index);
        }
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let value = text.parse().ok().filter(|value| digits && (self.min..=self.max).contains(value));
        value.ok_or_else(|| self.wrong(text))
    }

    fn wrong(&self, text: &str) -> String {
        let words = match (self.words.first(), self.words.last()) {
            (Some(first), Some(last)) => format!(" or {first} to {last}"),
            _ => String::new(),
        };
        let question = match text {
            "?" => "; `?` may stand in one of the day fields only",
            _ => "",
        };
        format!("{} `{text}` must be a number from {} to {}{words}{question}", self.name, self.min, self.max)
    }
}

impl MonthDay {
    pub(super) fn is(self, day: Date) -> bool {
        let last = u32::from(day.month().length(day.year()));
        match self {
            Self::Day(wanted) => wanted == u32::from(day.day()),
            Self::BeforeLast(before) => u32::from(day.day()) + before == last,
            Self::Nearest(wanted) => nearest(day.year(), day.month(), wanted) == Some(day),
            // Two weekend days at most stand between the last weekday and the end.
            Self::LastWeekday => !is_weekend(day) && (u32::from(day.day()) + 1..=last).all(|later| on(day, later).is_some_and(is_weekend)),
        }
    }
}

impl WeekDay {
    pub(super) fn is(self, day: Date) -> bool {
        let is = |wanted| u32::from(day.weekday().number_from_sunday()) == wanted;
        match self {
            Self::Day(wanted) => is(wanted),
            Self::Last(wanted) => is(wanted) && day.day() + 7 > day.month().length(day.year()),
            Self::Nth(wanted, week) => is(wanted) && u32::from(day.day()).div_ceil(7) == week,
        }
    }
}

fn on(month: Date, day: u32) -> Option<Date> {
    Date::from_calendar_date(month.year(), month.month(), u8::try_from(day).ok()?).ok()
}

/// The weekday nearest to a day of a month, in that month; none if the month has no such day.
fn nearest(year: i32, month: Month, day: u32) -> Option<Date> {
    let wanted = Date::from_calendar_date(year, month, u8::try_from(day).ok()?).ok()?;
    match wanted.weekday() {
        Weekday::Saturday if day == 1 => on(wanted, 3),
        Weekday::Saturday => on(wanted, day - 1),
        Weekday::Sunday if wanted.day() == month.length(year) => on(wanted, day - 2),
        Weekday::Sunday => on(wanted, day + 1),
        _ => Some(wanted),
    }
}
