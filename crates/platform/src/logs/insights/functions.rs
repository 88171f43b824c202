//! Functions of one row.
//!
//! Source: the guide's page "Supported operations and functions".

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use time::{Date, Month, OffsetDateTime};

use super::value::{Value, written};

/// A length of time that times are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// Milliseconds.
    Fixed(i64),
    /// Calendar months: 1, a quarter's 3, a year's 12.
    Months(i32),
}

/// By the name that queries write, in lower case.
#[derive(Clone, Debug, PartialEq)]
pub enum Function {
    /// `bin`, `datefloor`: down to a whole period.
    Floor(Period),
    /// `dateceil`.
    Ceiling(Period),
    Named(&'static str),
}

/// Names, with how many arguments they take at least and at most.
const NAMED: [(&str, usize, usize); 36] = [
    ("abs", 1, 1),
    ("ceil", 1, 1),
    ("floor", 1, 1),
    ("greatest", 1, 100),
    ("least", 1, 100),
    ("log", 1, 1),
    ("sqrt", 1, 1),
    ("frommillis", 1, 1),
    ("tomillis", 1, 1),
    ("now", 0, 0),
    ("ispresent", 1, 1),
    ("coalesce", 1, 100),
    ("isempty", 1, 1),
    ("isblank", 1, 1),
    ("concat", 1, 100),
    ("ltrim", 1, 2),
    ("rtrim", 1, 2),
    ("trim", 1, 2),
    ("strlen", 1, 1),
    ("toupper", 1, 1),
    ("tolower", 1, 1),
    ("substr", 2, 3),
    ("replace", 3, 3),
    ("strcontains", 2, 2),
    ("isvalidip", 1, 1),
    ("isvalidipv4", 1, 1),
    ("isvalidipv6", 1, 1),
    ("isipinsubnet", 2, 2),
    ("isipv4insubnet", 2, 2),
    ("isipv6insubnet", 2, 2),
    ("if", 3, 3),
    ("tonumber", 1, 1),
    ("tostring", 1, 1),
    ("exp", 1, 1),
    ("round", 1, 1),
    ("pow", 2, 2),
];

impl Function {
    /// `None`: there is none of this name.
    pub fn named(name: &str, arguments: usize) -> Option<Result<Self, String>> {
        let lower = name.to_ascii_lowercase();
        let (name, least, most) = NAMED.iter().find(|(known, ..)| *known == lower)?;
        let fits = (*least..=*most).contains(&arguments);
        Some(if fits { Ok(Self::Named(name)) } else { Err(format!("`{name}` takes {least} to {most} values and was given {arguments}")) })
    }

    pub fn value(&self, arguments: &[Value]) -> Value {
        let missing = Value::Missing;
        let first = arguments.first().unwrap_or(&missing);
        match self {
            Self::Floor(period) => time_of(first).map_or(Value::Missing, |ms| Value::Time(period.floor(ms))),
            Self::Ceiling(period) => time_of(first).map_or(Value::Missing, |ms| Value::Time(period.ceiling(ms))),
            Self::Named(name) => named(name, first, arguments),
        }
    }
}

fn named(name: &str, first: &Value, arguments: &[Value]) -> Value {
    match name {
        "ispresent" => Value::Flag(!first.is_missing()),
        "isempty" => Value::Flag(first.text().is_none_or(|text| text.is_empty())),
        "isblank" => Value::Flag(first.text().is_none_or(|text| text.trim().is_empty())),
        "coalesce" => arguments.iter().find(|value| !value.is_missing()).cloned().unwrap_or_default(),
        "if" => arguments.get(if first.truth() { 1 } else { 2 }).cloned().unwrap_or_default(),
        "concat" => Value::Text(arguments.iter().filter_map(Value::text).collect()),
        "now" => Value::Time(i64::try_from(super::super::now_ms()).unwrap_or(i64::MAX)),
        "frommillis" => time_of(first).map_or(Value::Missing, Value::Time),
        "tomillis" | "tonumber" => first.number().map_or(Value::Missing, Value::Number),
        "greatest" => extreme(arguments, f64::max),
        "least" => extreme(arguments, f64::min),
        "abs" | "ceil" | "floor" | "log" | "sqrt" | "exp" | "round" | "pow" => arithmetic(name, arguments),
        _ => first.text().map_or(Value::Missing, |text| of_text(name, &text, arguments)),
    }
}

fn extreme(arguments: &[Value], choose: fn(f64, f64) -> f64) -> Value {
    arguments.iter().filter_map(Value::number).reduce(choose).map_or(Value::Missing, Value::Number)
}

fn arithmetic(name: &str, arguments: &[Value]) -> Value {
    let argument = |place: usize| arguments.get(place).and_then(Value::number);
    let Some(x) = argument(0) else { return Value::Missing };
    let number = match name {
        "abs" => x.abs(),
        "ceil" => x.ceil(),
        "floor" => x.floor(),
        "log" => x.ln(),
        "sqrt" => x.sqrt(),
        "exp" => x.exp(),
        "round" => x.round(),
        _ => argument(1).map_or(f64::NAN, |y| x.powf(y)),
    };
    if number.is_finite() { Value::Number(number) } else { Value::Missing }
}

fn of_text(name: &str, text: &str, arguments: &[Value]) -> Value {
    let argument = |place: usize| arguments.get(place).and_then(Value::text);
    let trimmed = |start: bool, end: bool| {
        let set = argument(1);
        let belongs = |c: char| set.as_ref().map_or(c.is_whitespace(), |set| set.contains(c));
        let text = if start { text.trim_start_matches(belongs) } else { text };
        Value::Text(if end { text.trim_end_matches(belongs) } else { text }.to_owned())
    };
    let subnet = |wanted: fn(&IpAddr) -> bool| {
        let address = text.parse::<IpAddr>().ok().filter(wanted);
        Value::Flag(address.zip(argument(1)).is_some_and(|(address, subnet)| in_subnet(address, &subnet)))
    };
    match name {
        "ltrim" => trimmed(true, false),
        "rtrim" => trimmed(false, true),
        "trim" => trimmed(true, true),
        "toupper" => Value::Text(text.to_uppercase()),
        "tolower" => Value::Text(text.to_lowercase()),
        "tostring" => Value::Text(text.to_owned()),
        "strlen" => count(text.chars().count()),
        "substr" => substr(text, arguments),
        "replace" => match (argument(1), argument(2)) {
            (Some(from), Some(to)) if !from.is_empty() => Value::Text(text.replace(&from, &to)),
            _ => Value::Text(text.to_owned()),
        },
        "strcontains" => Value::Flag(argument(1).is_some_and(|part| text.contains(&part))),
        "isvalidip" => Value::Flag(text.parse::<IpAddr>().is_ok()),
        "isvalidipv4" => Value::Flag(text.parse::<Ipv4Addr>().is_ok()),
        "isvalidipv6" => Value::Flag(text.parse::<Ipv6Addr>().is_ok()),
        "isipinsubnet" => subnet(|_| true),
        "isipv4insubnet" => subnet(IpAddr::is_ipv4),
        "isipv6insubnet" => subnet(IpAddr::is_ipv6),
        _ => Value::Missing,
    }
}

/// A number that counts.
pub fn count(number: usize) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "no text and no set is that large")]
    Value::Number(number as f64)
}

/// From a place counted from 0, as many characters as the third value says, else to the end.
fn substr(text: &str, arguments: &[Value]) -> Value {
    let whole = |place: usize| {
        let number = arguments.get(place).and_then(Value::number).filter(|number| *number >= 0.0 && *number <= 1e9);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 10⁹ by the filter")]
        number.map(|number| number as usize)
    };
    let Some(from) = whole(1) else { return Value::Missing };
    Value::Text(text.chars().skip(from).take(whole(2).unwrap_or(usize::MAX)).collect())
}

fn in_subnet(address: IpAddr, subnet: &str) -> bool {
    let Some((network, length)) = subnet.split_once('/') else { return false };
    let (Ok(network), Ok(length)) = (network.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) if length <= 32 => {
            let shift = 32 - length;
            u64::from(u32::from(a)) >> shift == u64::from(u32::from(n)) >> shift
        }
        (IpAddr::V6(a), IpAddr::V6(n)) if length <= 128 => {
            let prefix = |bits: u128| bits.checked_shr(128 - length).unwrap_or(0);
            prefix(u128::from(a)) == prefix(u128::from(n))
        }
        _ => false,
    }
}

fn time_of(value: &Value) -> Option<i64> {
    match value {
        Value::Time(ms) => Some(*ms),
        #[expect(clippy::cast_possible_truncation, reason = "bounded by the filter")]
        other => other.number().filter(|ms| ms.abs() < 9e15).map(|ms| ms as i64),
    }
}

impl Period {
    /// `5m`: a number and its unit.
    pub fn read(number: f64, unit: &str) -> Result<Self, String> {
        let shown = format!("{}{unit}", written(number));
        let wrong = || format!("`{shown}` is no period: write for example 30s, 5m, 1h, 1d");
        if number < 1.0 || number.fract() != 0.0 || number > 1e9 {
            return Err(wrong());
        }
        #[expect(clippy::cast_possible_truncation, reason = "between 1 and 10⁹")]
        let number = number as i64;
        let months = |each: i64| i32::try_from(number * each).map(Self::Months).map_err(|_| wrong());
        let ms = match unit.to_ascii_lowercase().as_str() {
            "ms" | "msec" | "millisecond" | "milliseconds" => 1,
            "s" | "sec" | "second" | "seconds" => 1_000,
            "m" | "min" | "minute" | "minutes" => 60_000,
            "h" | "hr" | "hour" | "hours" => 3_600_000,
            "d" | "day" | "days" => 86_400_000,
            "w" | "week" | "weeks" => 604_800_000,
            "mo" | "mon" | "month" | "months" => return months(1),
            "q" | "qtr" | "quarter" | "quarters" => return months(3),
            "y" | "yr" | "year" | "years" => return months(12),
            _ => return Err(wrong()),
        };
        Ok(Self::Fixed(number * ms))
    }

    fn floor(self, ms: i64) -> i64 {
        match self {
            Self::Fixed(length) => ms - ms.rem_euclid(length),
            Self::Months(length) => month_start(month_number(ms).div_euclid(length) * length).unwrap_or(ms),
        }
    }

    fn ceiling(self, ms: i64) -> i64 {
        let floor = self.floor(ms);
        match self {
            _ if floor == ms => ms,
            Self::Fixed(length) => floor.saturating_add(length),
            Self::Months(length) => month_start(month_number(floor) + length).unwrap_or(ms),
        }
    }
}

/// Months since the year 0.
fn month_number(ms: i64) -> i32 {
    let time = OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.year() * 12 + i32::from(u8::from(time.month())) - 1
}

fn month_start(number: i32) -> Option<i64> {
    let month = Month::try_from(u8::try_from(number.rem_euclid(12) + 1).ok()?).ok()?;
    let date = Date::from_calendar_date(number.div_euclid(12), month, 1).ok()?;
    Some(date.midnight().assume_utc().unix_timestamp() * 1000)
}
