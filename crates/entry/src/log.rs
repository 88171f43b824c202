//! Logs: one flat JSON object a line on stdout, with the fields of all spans around it.
//!
//! `tracing-subscriber`'s own JSON keeps span fields nested; log queries want `job` and `task` on the top level.

use std::{fmt, io::Write, time::SystemTime};

use serde_json::{Map, Value};
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

/// Libraries whose lines are only of use when they warn.
const QUIET: [&str; 7] = ["aws", "h2", "hyper", "lambda_runtime", "rustls", "tokio", "tower"];

/// Starts the log of this process. A second start is ignored.
pub fn start(level: Option<&str>) {
    let level = level.and_then(|text| text.trim().parse::<Level>().ok()).unwrap_or(Level::INFO);
    let quiet = QUIET.map(|target| (target, LevelFilter::from_level(level.min(Level::WARN))));
    let filter = Targets::new().with_default(level).with_targets(quiet);
    let started = tracing_subscriber::registry().with(FlatJson.with_filter(filter)).try_init();
    if started.is_ok() {
        std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "the function panicked")));
    }
}

/// Fields of a span, gathered.
struct Fields(Map<String, Value>);

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
        let mut text = Value::Object(line.0).to_string();
        text.push('\n');
        // A log that nobody reads any more must not stop the work.
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    }
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
