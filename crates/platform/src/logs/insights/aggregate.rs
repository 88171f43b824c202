//! Functions of many rows: what `stats` gathers.

use std::collections::HashSet;

use super::{
    MAX_GROUPS,
    expression::{Expression, Row},
    functions::count,
    value::Value,
};

/// What is gathered, by the name that queries write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `count(*)`, `count()`.
    Rows,
    /// Rows that have the field.
    Count,
    CountDistinct,
    Sum,
    Average,
    Min,
    Max,
    /// The percentile, 0 to 100.
    Percentile(f64),
    /// Of the whole population.
    Deviation,
    /// The value of the row with the least, or the greatest, `@timestamp`.
    Earliest,
    Latest,
    /// First and last in the order of texts.
    SortsFirst,
    SortsLast,
}

/// One aggregate of a query.
#[derive(Clone, Debug)]
pub struct Aggregate {
    pub kind: Kind,
    pub of: Expression,
    /// Where `@timestamp` stands, for the earliest and the latest.
    pub time: usize,
}

/// What one aggregate has gathered of one group.
#[derive(Clone, Debug)]
pub enum Gathered {
    Number {
        rows: u64,
        sum: f64,
        squares: f64,
        mean: f64,
        min: f64,
        max: f64,
    },
    Distinct(HashSet<String>),
    Samples(Vec<f64>),
    /// A value, and what it was chosen by.
    Chosen(Option<(Value, Value)>),
}

impl Aggregate {
    pub fn begin(&self) -> Gathered {
        match self.kind {
            Kind::CountDistinct => Gathered::Distinct(HashSet::new()),
            Kind::Percentile(_) => Gathered::Samples(Vec::new()),
            Kind::Earliest | Kind::Latest | Kind::SortsFirst | Kind::SortsLast => Gathered::Chosen(None),
            _ => Gathered::Number { rows: 0, sum: 0.0, squares: 0.0, mean: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY },
        }
    }

    /// Takes a row in. Answers how many numbers or texts it had to keep: 0 or 1. Errors where a bound is met.
    pub fn take(&self, gathered: &mut Gathered, row: &Row) -> Result<usize, String> {
        if let (Kind::Rows, Gathered::Number { rows, .. }) = (self.kind, &mut *gathered) {
            *rows += 1;
            return Ok(0);
        }
        let value = self.of.value(row, &[]);
        if value.is_missing() {
            return Ok(0);
        }
        match gathered {
            Gathered::Number { rows, .. } if self.kind == Kind::Count => *rows += 1,
            Gathered::Number { .. } => {
                if let Some(number) = value.number() {
                    add(gathered, number);
                }
            }
            Gathered::Distinct(seen) => {
                let new = seen.insert(value.text().unwrap_or_default());
                if seen.len() > MAX_GROUPS {
                    return Err(format!("count_distinct met more than {MAX_GROUPS} different values"));
                }
                return Ok(usize::from(new));
            }
            Gathered::Samples(samples) => {
                let number = value.number();
                samples.extend(number);
                return Ok(usize::from(number.is_some()));
            }
            Gathered::Chosen(chosen) => {
                let by_time = matches!(self.kind, Kind::Earliest | Kind::Latest);
                let by =
                    if by_time { row.get(self.time).cloned().unwrap_or_default() } else { Value::Text(value.text().unwrap_or_default()) };
                let wanted = if matches!(self.kind, Kind::Earliest | Kind::SortsFirst) {
                    std::cmp::Ordering::Less
                } else {
                    std::cmp::Ordering::Greater
                };
                let better = chosen.as_ref().is_none_or(|(_, best)| {
                    let order = if by_time { by.compare(best) } else { by.text().partial_cmp(&best.text()) };
                    order == Some(wanted)
                });
                if better {
                    *chosen = Some((value, by));
                }
            }
        }
        Ok(0)
    }

    pub fn end(&self, gathered: Gathered) -> Value {
        #[expect(clippy::cast_precision_loss, reason = "numbers of log lines")]
        match (self.kind, gathered) {
            (Kind::Rows | Kind::Count, Gathered::Number { rows, .. }) => Value::Number(rows as f64),
            (_, Gathered::Number { rows: 0, .. }) => Value::Missing,
            (Kind::Sum, Gathered::Number { sum, .. }) => Value::Number(sum),
            (Kind::Average, Gathered::Number { rows, sum, .. }) => Value::Number(sum / rows as f64),
            (Kind::Min, Gathered::Number { min, .. }) => Value::Number(min),
            (Kind::Max, Gathered::Number { max, .. }) => Value::Number(max),
            (Kind::Deviation, Gathered::Number { rows, squares, .. }) => Value::Number((squares / rows as f64).max(0.0).sqrt()),
            (_, Gathered::Distinct(seen)) => count(seen.len()),
            (Kind::Percentile(percent), Gathered::Samples(samples)) => percentile(samples, percent),
            (_, Gathered::Chosen(Some((value, _)))) => value,
            _ => Value::Missing,
        }
    }
}

fn add(gathered: &mut Gathered, number: f64) {
    if let Gathered::Number { rows, sum, squares, mean, min, max } = gathered {
        *rows += 1;
        *sum += number;
        // Welford's way: the difference of two great sums would lose the small deviation.
        let before = number - *mean;
        #[expect(clippy::cast_precision_loss, reason = "numbers of log lines")]
        let rows = *rows as f64;
        *mean += before / rows;
        *squares += before * (number - *mean);
        (*min, *max) = (min.min(number), max.max(number));
    }
}

/// Between the two samples around the rank, in proportion.
fn percentile(mut samples: Vec<f64>, percent: f64) -> Value {
    samples.sort_unstable_by(f64::total_cmp);
    let Some(last) = samples.len().checked_sub(1) else { return Value::Missing };
    #[expect(clippy::cast_precision_loss, reason = "bounded numbers of samples")]
    let rank = percent / 100.0 * last as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the last index")]
    let below = rank.floor() as usize;
    let at = |index: usize| samples.get(index.min(last)).copied().unwrap_or_default();
    Value::Number(at(below) + (at(below + 1) - at(below)) * rank.fract())
}
