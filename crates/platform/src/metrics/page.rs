//! The page that Prometheus reads, in the text format of `OpenMetrics` 1.0.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use super::{BUCKETS, Family, Labels, Metrics, Value};

/// Of the page.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything observed until now.
pub(crate) fn render(metrics: &Metrics) -> Result<String, fmt::Error> {
    let families = metrics.families.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot(families.into_iter().collect())));
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(page)
}

/// The families as they were, by name.
#[derive(Debug)]
struct Snapshot(Vec<(String, Family)>);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, family) in &self.0 {
            let Some(first) = family.values().next() else { continue };
            let kind = match first {
                Value::Counter(_) => MetricType::Counter,
                Value::Gauge(_) => MetricType::Gauge,
                Value::Histogram { .. } => MetricType::Histogram,
            };
            // The format has the counter's suffix on its samples only.
            let name = name.strip_suffix("_total").unwrap_or(name);
            let mut metric = encoder.encode_descriptor(name, &help(name), None, kind)?;
            for (labels, value) in family {
                let labels = escaped(labels);
                let mut series = metric.encode_family(&labels)?;
                match value {
                    Value::Counter(sum) => series.encode_counter::<NoLabelSet, f64, f64>(sum, None)?,
                    Value::Gauge(level) => series.encode_gauge(level)?,
                    Value::Histogram { sum, count, buckets } => {
                        let mut ends: Vec<(f64, u64)> = BUCKETS.into_iter().zip(buckets.iter().copied()).collect();
                        ends.push((f64::MAX, count - buckets.iter().sum::<u64>()));
                        series.encode_histogram::<NoLabelSet>(*sum, *count, &ends, None)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The encoder writes values as they are; the format has `\`, `"` and the end of a line escaped (`OpenMetrics` 1.0, "ABNF").
fn escaped(labels: &Labels) -> Labels {
    let escape = |value: &str| value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
    labels.iter().map(|(name, value)| (name.clone(), escape(value))).collect()
}

/// A line on the metric: whose it is.
fn help(name: &str) -> String {
    match name.split('_').collect::<Vec<_>>().as_slice() {
        ["aws", service, rest @ ..] => format!("CloudWatch metric AWS/{service} {}", rest.join(" ")),
        [namespace, rest @ ..] => format!("{} in the namespace {namespace}, told by functions", rest.join(" ")),
        [] => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Observation, *};

    #[test]
    fn the_page_is_of_the_format() {
        let metrics = Metrics::default();
        metrics.observe("aws_lambda_errors", &[("function_name", "a\"b")], Observation::Count(2.0));
        metrics.observe("films_ratio", &[], Observation::Level(0.5));
        for seconds in [0.001, 0.3, 20_000.0] {
            metrics.observe("films_task_seconds", &[("stage", "split")], Observation::Seconds(seconds));
        }
        insta::assert_snapshot!(render(&metrics).unwrap());
    }
}
