//! CloudWatch's metrics on one machine, read by Prometheus: what services count themselves, and what functions say in
//! their logs in the Embedded Metric Format.
//!
//! Names: a function's metric `task_seconds` of the namespace `films` is `films_task_seconds`; a service's own follow
//! AWS's names (`aws_lambda_errors_total` is `Errors` of the namespace `AWS/Lambda`). Kept in memory: a restart begins
//! at zero, which Prometheus expects of counters.

mod emf;
mod page;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

pub(crate) use page::{CONTENT_TYPE, render};

/// Series (a name with its labels) that are kept; further ones are left out and counted.
const MAX_SERIES: usize = 4_096;
/// Upper ends of the buckets of every histogram, seconds: from a warm invocation to a job of hours.
const BUCKETS: [f64; 16] = [0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3_600.0, 14_400.0];

/// Name and value, in order of name.
pub(crate) type Labels = Vec<(String, String)>;

/// What is told at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Observation {
    /// So much more.
    Count(f64),
    /// One more time span.
    Seconds(f64),
    /// It stands at this now.
    Level(f64),
}

/// Everything observed of one series.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Counter(f64),
    Gauge(f64),
    Histogram { sum: f64, count: u64, buckets: [u64; BUCKETS.len()] },
}

/// All series of one name: they are of one kind.
type Family = BTreeMap<Labels, Value>;

/// The service.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    families: Mutex<BTreeMap<String, Family>>,
    left_out: AtomicU64,
}

impl Metrics {
    /// One observation. What is no number, beyond [`MAX_SERIES`], or of another kind than its name is left out.
    pub(crate) fn observe(&self, name: &str, labels: &[(&str, &str)], observation: Observation) {
        let mut labels: Labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        labels.sort();
        self.take(name, labels, observation);
    }

    /// Takes what a log line says in the Embedded Metric Format; most lines say nothing.
    pub(crate) fn read_line(&self, line: &str) {
        for told in emf::read(line) {
            self.take(&told.name, told.labels, told.observation);
        }
    }

    /// Observations that were left out since the start.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    fn take(&self, name: &str, labels: Labels, observation: Observation) {
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let series: usize = families.values().map(BTreeMap::len).sum();
        let known = families.get(name).is_some_and(|family| family.contains_key(&labels));
        if !known && series >= MAX_SERIES {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let family = families.entry(name.to_owned()).or_default();
        let kind = family.values().next().map_or_else(|| Value::empty(observation), Value::emptied);
        if !family.entry(labels).or_insert(kind).take(observation) {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Value {
    fn empty(observation: Observation) -> Self {
        match observation {
            Observation::Count(_) => Self::Counter(0.0),
            Observation::Level(_) => Self::Gauge(0.0),
            Observation::Seconds(_) => Self::Histogram { sum: 0.0, count: 0, buckets: [0; BUCKETS.len()] },
        }
    }

    /// Another of its kind, with nothing in it.
    fn emptied(&self) -> Self {
        match self {
            Self::Counter(_) => Self::empty(Observation::Count(0.0)),
            Self::Gauge(_) => Self::empty(Observation::Level(0.0)),
            Self::Histogram { .. } => Self::empty(Observation::Seconds(0.0)),
        }
    }

    /// Whether it was of this kind and a number.
    fn take(&mut self, observation: Observation) -> bool {
        match (self, observation) {
            (Self::Counter(sum), Observation::Count(by)) if by.is_finite() && by >= 0.0 => *sum += by,
            (Self::Gauge(level), Observation::Level(now)) if now.is_finite() => *level = now,
            (Self::Histogram { sum, count, buckets }, Observation::Seconds(span)) if span.is_finite() && span >= 0.0 => {
                *sum += span;
                *count += 1;
                if let Some(bucket) = BUCKETS.iter().position(|end| span <= *end).and_then(|at| buckets.get_mut(at)) {
                    *bucket += 1;
                }
            }
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_its_name_is_left_out() {
        let metrics = Metrics::default();
        for (observation, left_out) in [
            (Observation::Count(1.0), 0),
            (Observation::Seconds(1.0), 1),
            (Observation::Count(-1.0), 2),
            (Observation::Count(f64::NAN), 3),
            (Observation::Count(2.0), 3),
        ] {
            metrics.observe("films", &[("stage", "split")], observation);
            assert_eq!(metrics.left_out(), left_out);
        }
        assert!(render(&metrics).unwrap().contains("films_total{stage=\"split\"} 3.0\n"));
    }

    #[test]
    fn the_number_of_series_is_bounded() {
        let metrics = Metrics::default();
        for number in 0..MAX_SERIES + 10 {
            metrics.observe("keys", &[("key", &number.to_string())], Observation::Count(1.0));
        }
        assert_eq!(metrics.left_out(), 10);
        metrics.observe("keys", &[("key", "0")], Observation::Count(1.0));
        assert_eq!(metrics.left_out(), 10, "known series go on");
    }
}
