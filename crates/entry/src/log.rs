//! Logs: one flat JSON object a line on stdout, with the fields of all spans around it.
//!
//! `tracing-subscriber`'s own JSON keeps span fields nested; log queries want `job` and `task` on the top level.

use std::{fmt, io::Write, sync::Arc, time::SystemTime};

use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use crate::traces::{Lines, Traces};

/// Libraries whose lines are only of use when they warn.
const QUIET: [&str; 7] = ["aws", "h2", "hyper", "lambda_runtime", "rustls", "tokio", "tower"];

/// Of all metrics.
const NAMESPACE: &str = "fanreel";

/// Starts the log of this process, and the traces beside it, whatever the log's level is. A second start is ignored.
pub fn start(level: Option<&str>, traces: Option<Arc<Traces>>) {
    let level = level.and_then(|text| text.trim().parse::<Level>().ok()).unwrap_or(Level::INFO);
    let quiet = QUIET.map(|target| (target, LevelFilter::from_level(level.min(Level::WARN))));
    let filter = Targets::new().with_default(level).with_targets(quiet);
    let spans = traces.map(|traces| Lines(traces).with_filter(LevelFilter::INFO));
    let started = tracing_subscriber::registry().with(FlatJson.with_filter(filter)).with(spans).try_init();
    if started.is_ok() {
        std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "the function panicked")));
    }
}

/// Fields of a span, gathered.
pub(crate) struct Fields(pub(crate) Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), Value::String(format!("{value:?}")));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

struct FlatJson;

impl<S> Layer<S> for FlatJson
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let mut fields = Fields(Map::new());
        attributes.record(&mut fields);
        if let Some(span) = cx.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, cx: Context<'_, S>) {
        if let Some(span) = cx.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let mut line = Fields(head(event));
        for span in cx.event_scope(event).into_iter().flat_map(tracing_subscriber::registry::Scope::from_root) {
            if let Some(Fields(fields)) = span.extensions().get::<Fields>() {
                line.0.extend(fields.clone());
            }
        }
        // What the line says itself wins over what is around it.
        event.record(&mut line);
        embed(&mut line.0);
        let mut text = Value::Object(line.0).to_string();
        text.push('\n');
        // A log that nobody reads any more must not stop the work.
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    }
}

/// A line whose field `metrics` names other fields of it with their units (`tasks=Count,task_seconds=Seconds`) is one in the
/// Embedded Metric Format, by the dimensions that the field `dimensions` names (CloudWatch user guide, "Specification:
/// Embedded metric format").
fn embed(line: &mut Map<String, Value>) {
    let mut names = |field: &str| match line.remove(field) {
        Some(Value::String(text)) => text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    let (metrics, dimensions): (Vec<String>, Vec<String>) = (names("metrics"), names("dimensions"));
    if metrics.is_empty() {
        return;
    }
    let definition = |metric: &String| metric.split_once('=').map(|(name, unit)| json!({ "Name": name, "Unit": unit }));
    let metrics: Vec<Value> = metrics.iter().filter_map(definition).collect();
    let now_ms = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    let directive = json!({ "Namespace": NAMESPACE, "Dimensions": [dimensions], "Metrics": metrics });
    let now_ms = u64::try_from(now_ms).unwrap_or_default();
    line.insert("_aws".into(), json!({ "Timestamp": now_ms, "CloudWatchMetrics": [directive] }));
}

fn head(event: &Event<'_>) -> Map<String, Value> {
    let now = OffsetDateTime::from(SystemTime::now());
    let now = now.replace_millisecond(now.millisecond()).unwrap_or(now);
    let mut line = Map::new();
    line.insert("timestamp".into(), now.format(&Rfc3339).unwrap_or_default().into());
    line.insert("level".into(), event.metadata().level().as_str().into());
    line.insert("target".into(), event.metadata().target().into());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_names_metrics_is_one_of_the_embedded_metric_format() {
        let Value::Object(mut line) =
            json!({ "metrics": "tasks=Count,task_seconds=Seconds", "dimensions": "stage", "tasks": 1, "stage": "split" })
        else {
            return;
        };
        embed(&mut line);
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Dimensions"], json!([["stage"]]));
        assert_eq!(directive["Metrics"], json!([{ "Name": "tasks", "Unit": "Count" }, { "Name": "task_seconds", "Unit": "Seconds" }]));
        assert!(line["_aws"]["Timestamp"].is_u64() && !line.contains_key("metrics") && !line.contains_key("dimensions"));
        let mut plain = Map::from_iter([("job".to_owned(), json!("j"))]);
        embed(&mut plain);
        assert_eq!(plain.len(), 1);
    }
}
