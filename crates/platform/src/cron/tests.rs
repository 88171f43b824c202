use proptest::prelude::*;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::*;

fn ms(text: &str) -> u64 {
    u64::try_from(OffsetDateTime::parse(text, &Rfc3339).unwrap().unix_timestamp()).unwrap() * 1_000
}

fn text(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1_000).unwrap();
    OffsetDateTime::from_unix_timestamp(seconds).unwrap().format(&Rfc3339).unwrap().replace(":00Z", "")
}

/// The next times of an expression.
fn next(expression: &str, after: &str, count: usize) -> Vec<String> {
    let cron = Cron::parse(expression).unwrap();
    let mut now = ms(after);
    let mut times = Vec::new();
    while let Some(next) = cron.next_after(now).filter(|_| times.len() < count) {
        times.push(text(next));
        now = next;
    }
    times
}

/// The examples of the user guide; 2026-11-27 is a Friday.
#[test]
fn examples_of_the_user_guide() {
    for (expression, expected) in [
        ("0 10 * * ? *", ["2026-11-28T10:00", "2026-11-29T10:00", "2026-11-30T10:00"]),
        ("15 12 * * ? *", ["2026-11-27T12:15", "2026-11-28T12:15", "2026-11-29T12:15"]),
        ("0 18 ? * MON-FRI *", ["2026-11-27T18:00", "2026-11-30T18:00", "2026-12-01T18:00"]),
        ("0 8 1 * ? *", ["2026-12-01T08:00", "2027-01-01T08:00", "2027-02-01T08:00"]),
        ("0/15 * * * ? *", ["2026-11-27T12:15", "2026-11-27T12:30", "2026-11-27T12:45"]),
        ("0/10 * ? * MON-FRI *", ["2026-11-27T12:10", "2026-11-27T12:20", "2026-11-27T12:30"]),
        ("0/5 8-17 ? * MON-FRI *", ["2026-11-27T12:05", "2026-11-27T12:10", "2026-11-27T12:15"]),
        ("0/30 20-23,0-2 ? * MON-FRI *", ["2026-11-27T20:00", "2026-11-27T20:30", "2026-11-27T21:00"]),
    ] {
        assert_eq!(next(expression, "2026-11-27T12:00:00Z", 3), expected, "{expression}");
    }
}

#[test]
fn days_that_depend_on_the_month() {
    for (expression, expected) in [
        ("0 0 L * ? *", ["2026-01-31T00:00", "2026-02-28T00:00", "2026-03-31T00:00"]),
        ("0 0 L-3 * ? *", ["2026-01-28T00:00", "2026-02-25T00:00", "2026-03-28T00:00"]),
        // 28 February 2026 is a Saturday, 31 January too.
        ("0 0 LW * ? *", ["2026-01-30T00:00", "2026-02-27T00:00", "2026-03-31T00:00"]),
        // 3 January is a Saturday, 1 February a Sunday, 1 August a Saturday.
        ("0 0 3W 1,2,5 ? *", ["2026-01-02T00:00", "2026-02-03T00:00", "2026-05-04T00:00"]),
        ("0 0 1W 2,8,11 ? 2026", ["2026-02-02T00:00", "2026-08-03T00:00", "2026-11-02T00:00"]),
        // Months without a 31st have none; 31 May 2026 is a Sunday, and the weekday stays in its month.
        ("0 0 31W 4-7 ? *", ["2026-05-29T00:00", "2026-07-31T00:00", "2027-05-31T00:00"]),
        ("0 0 ? * 3#2 *", ["2026-01-13T00:00", "2026-02-10T00:00", "2026-03-10T00:00"]),
        ("0 0 ? * fri#5 *", ["2026-01-30T00:00", "2026-05-29T00:00", "2026-07-31T00:00"]),
        ("0 0 ? * 6L *", ["2026-01-30T00:00", "2026-02-27T00:00", "2026-03-27T00:00"]),
        ("0 0 ? * L *", ["2026-01-03T00:00", "2026-01-10T00:00", "2026-01-17T00:00"]),
        ("0 0 29 FEB ? *", ["2028-02-29T00:00", "2032-02-29T00:00", "2036-02-29T00:00"]),
    ] {
        assert_eq!(next(expression, "2026-01-01T00:00:00Z", 3), expected, "{expression}");
    }
}

#[test]
fn it_ends_with_its_years() {
    assert_eq!(next("59 23 31 12 ? 2026-2027", "2026-12-31T23:58:59Z", 9), ["2026-12-31T23:59", "2027-12-31T23:59"]);
    let last = ms("2199-12-31T23:59:00Z");
    let always = Cron::parse("* * * * ? *").unwrap();
    assert_eq!(always.next_after(last - 1), Some(last));
    for over in [last, u64::MAX] {
        assert_eq!(always.next_after(over), None);
    }
}

#[test]
fn what_cannot_be_is_refused_with_what_can() {
    for (expression, hint) in [
        ("* * * * ?", "has 5 fields"),
        ("", "has 0 fields"),
        ("60 * * * ? *", "minutes `60` must be a number from 0 to 59"),
        ("* 24 * * ? *", "hours `24` must be a number from 0 to 23"),
        ("* * 0 * ? *", "day-of-month `0` must be a number from 1 to 31"),
        ("* * * FOO ? *", "month `FOO` must be a number from 1 to 12 or JAN to DEC"),
        ("* * ? * 0 *", "day-of-week `0` must be a number from 1 to 7 or SUN to SAT"),
        ("* * * * ? 1969", "year `1969` must be a number from 1970 to 2199"),
        ("? * * * ? *", "`?` may stand in one of the day fields only"),
        ("* * * * * *", "one of the two must be `?`"),
        ("* * 1 * MON *", "one of the two must be `?`"),
        ("* * ? * ? *", "both `?`"),
        ("* 22-2 * * ? *", "write 22-23,0-2"),
        ("* * ? * FRI-MON *", "write 6-7,1-2"),
        ("0/0 * * * ? *", "increment must be a number from 1 to 59"),
        ("0/x * * * ? *", "increment"),
        ("+1 * * * ? *", "minutes `+1`"),
        ("1,,2 * * * ? *", "minutes ``"),
        ("* * 32W * ? *", "day-of-month `32`"),
        ("* * ? * 3#6 *", "after #"),
        ("* * ? * 3#1,6#3 *", "only one day"),
        ("* * 31 FEB,APR ? *", "does not occur"),
    ] {
        let error = Cron::parse(expression).unwrap_err();
        assert!(error.contains(hint), "{expression}: {error}");
    }
    assert!(Cron::parse(&"1,".repeat(200)).unwrap_err().contains("256"));
}

/// A field as a list of ranges and increments, with what it means written out.
fn field(min: u32, max: u32) -> impl Strategy<Value = (String, Vec<u32>)> {
    let part = (min..=max, min..=max, 1..=max, 0..4_u8).prop_map(move |(a, b, step, kind)| {
        let (first, last) = (a.min(b), a.max(b));
        let step = step.min(max.min(max - min + 1));
        let every = |from: u32, to: u32, by: u32| (min..=max).filter(|v| *v >= from && *v <= to && (v - from).is_multiple_of(by)).collect();
        match kind {
            0 => (first.to_string(), vec![first]),
            1 => (format!("{first}-{last}"), every(first, last, 1)),
            2 => (format!("{first}/{step}"), every(first, max, step)),
            _ => ("*".to_owned(), every(min, max, 1)),
        }
    });
    proptest::collection::vec(part, 1..3).prop_map(|parts| {
        let texts: Vec<String> = parts.iter().map(|(text, _)| text.clone()).collect();
        (texts.join(","), parts.into_iter().flat_map(|(_, values)| values).collect())
    })
}

/// The days of a month as text and as a plain question about a date.
#[derive(Clone, Debug)]
enum Asked {
    Days(Vec<u32>),
    Weekdays(Vec<u32>),
    Last,
    Nth(u32, u32),
    LastOf(u32),
    Near(u32),
}

fn days() -> impl Strategy<Value = (String, Asked)> {
    prop_oneof![
        field(1, 31).prop_map(|(text, days)| (format!("{text} * ?"), Asked::Days(days))),
        field(1, 7).prop_map(|(text, days)| (format!("? * {text}"), Asked::Weekdays(days))),
        Just(("L * ?".to_owned(), Asked::Last)),
        (1..=7_u32, 1..=5_u32).prop_map(|(day, week)| (format!("? * {day}#{week}"), Asked::Nth(day, week))),
        (1..=7_u32).prop_map(|day| (format!("? * {day}L"), Asked::LastOf(day))),
        (1..=31_u32).prop_map(|day| (format!("{day}W * ?"), Asked::Near(day))),
    ]
}

impl Asked {
    fn is(&self, date: Date) -> bool {
        let day = u32::from(date.day());
        let weekday = |date: Date| u32::from(date.weekday().number_days_from_sunday()) + 1;
        let month = || {
            let first = date.replace_day(1).unwrap();
            std::iter::successors(Some(first), |d| d.next_day()).take_while(move |d| d.month() == date.month())
        };
        match self {
            Self::Days(days) => days.contains(&day),
            Self::Weekdays(days) => days.contains(&weekday(date)),
            Self::Last => month().last() == Some(date),
            Self::Nth(wanted, week) => month().filter(|d| weekday(*d) == *wanted).nth(*week as usize - 1) == Some(date),
            Self::LastOf(wanted) => month().filter(|d| weekday(*d) == *wanted).last() == Some(date),
            Self::Near(wanted) => {
                let exists = month().any(|d| u32::from(d.day()) == *wanted);
                let weekdays = month().filter(|d| !matches!(weekday(*d), 1 | 7));
                // Of two as near, there is none: a weekend's Saturday is nearer to Friday, its Sunday to Monday.
                exists && weekdays.min_by_key(|d| u32::from(d.day()).abs_diff(*wanted)) == Some(date)
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Minute by minute, for up to 40 days.
    #[test]
    fn it_is_what_looking_at_every_minute_finds(
        (minutes, in_minutes) in field(0, 59),
        (hours, in_hours) in field(0, 23),
        (days, asked) in days(),
        start in 0..7_250_000_000_000_u64,
    ) {
        let cron = Cron::parse(&format!("{minutes} {hours} {days} *")).unwrap();
        let found = cron.next_after(start);
        let first = start / MS_PER_MINUTE + 1;
        let slow = (first..first + 40 * MINUTES_PER_DAY).find(|minute| {
            let at = OffsetDateTime::from_unix_timestamp(i64::try_from(minute * 60).unwrap()).unwrap();
            in_minutes.contains(&u32::from(at.minute())) && in_hours.contains(&u32::from(at.hour())) && asked.is(at.date())
        });
        match slow.map(|minute| minute * MS_PER_MINUTE) {
            Some(slow) => prop_assert_eq!(found, Some(slow)),
            None => prop_assert!(found.is_none_or(|found| found >= (first + 40 * MINUTES_PER_DAY) * MS_PER_MINUTE)),
        }
    }

    #[test]
    fn no_text_panics(text in "[-0-9*?/,#LWa-z ]{0,30}") {
        if let Ok(cron) = Cron::parse(&text) {
            prop_assert!(cron.next_after(0).is_some());
        }
    }
}
