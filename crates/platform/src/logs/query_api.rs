//! The part of the API that asks questions: Insights queries, and trying a filter pattern.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Logs, LogsError,
    api::{Answer, group_of, parse},
    insights,
    pattern::Filter,
    queries::{MAX_GROUPS, Question},
};

/// Lines of one `TestMetricFilter` (API reference).
const MOST_TRIED: usize = 50;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Start {
    log_group_name: String,
    log_group_names: Vec<String>,
    log_group_identifiers: Vec<String>,
    query_string: String,
    query_language: String,
    /// Seconds since 1970; milliseconds are taken as well, as AWS takes them.
    #[serde(rename = "startTime")]
    from: u64,
    #[serde(rename = "endTime")]
    to: u64,
    limit: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueryId {
    pub query_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Describe {
    log_group_name: String,
    status: String,
    query_language: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Try {
    filter_pattern: String,
    log_event_messages: Vec<String>,
}

/// The first instant in milliseconds that cannot be seconds: the year 5138.
const LEAST_MS: u64 = 100_000_000_000;

impl Logs {
    pub(super) async fn start_query(&self, body: &[u8]) -> Answer {
        let start: Start = parse(body)?;
        if !matches!(start.query_language.as_str(), "" | "CWLI") {
            return Err(LogsError::invalid("queryLanguage: CWLI (Logs Insights QL) is the one that is supported here."));
        }
        let named = [vec![start.log_group_name], start.log_group_names].concat();
        let mut groups: Vec<String> = named.into_iter().filter(|name| !name.is_empty()).collect();
        for identifier in &start.log_group_identifiers {
            groups.push(group_of(String::new(), identifier)?);
        }
        groups.dedup();
        if groups.is_empty() || groups.len() > MAX_GROUPS {
            return Err(LogsError::invalid(format!("A query takes 1 to {MAX_GROUPS} log groups.")));
        }
        let ms = |time: u64, last: u64| if time < LEAST_MS { time.saturating_mul(1000).saturating_add(last) } else { time };
        let (from_ms, to_ms) = (ms(start.from, 0), ms(start.to, 999));
        if from_ms > to_ms {
            return Err(LogsError::invalid("startTime must not be later than endTime."));
        }
        let query = insights::parse(&start.query_string).map_err(|what| malformed(&what))?;
        if start.limit.is_some_and(|limit| limit == 0 || limit > insights::MAX_ROWS) {
            return Err(LogsError::invalid(format!("limit must be 1 to {}.", insights::MAX_ROWS)));
        }
        let question = Question { text: start.query_string, query, groups, from_ms, to_ms, limit: start.limit };
        // Groups that are missing are told at once, and what was put before is seen.
        let asked = question.groups.clone();
        self.read(move |store| asked.iter().try_for_each(|name| store.has_group(name))).await?;
        Ok(json!({ "queryId": self.queries.start(&self.database, question)? }))
    }

    pub(super) fn describe_queries(&self, body: &[u8]) -> Answer {
        let describe: Describe = parse(body)?;
        if !matches!(describe.query_language.as_str(), "" | "CWLI") {
            return Ok(json!({ "queries": [] }));
        }
        Ok(json!({ "queries": self.queries.list(&describe.log_group_name, &describe.status) }))
    }
}

fn malformed(what: &str) -> LogsError {
    LogsError { kind: "MalformedQueryException", message: format!("The query cannot be read: {what}.") }
}

/// Which of these lines a pattern matches, and what it names of them.
pub(super) fn test_metric_filter(body: &[u8]) -> Answer {
    let tried: Try = parse(body)?;
    if tried.log_event_messages.is_empty() || tried.log_event_messages.len() > MOST_TRIED {
        return Err(LogsError::invalid(format!("logEventMessages must hold 1 to {MOST_TRIED} lines.")));
    }
    let filter = Filter::parse(&tried.filter_pattern)?;
    let matches = tried.log_event_messages.iter().zip(1..).filter_map(|(message, number)| {
        let values: serde_json::Map<String, Value> =
            filter.captures(message)?.into_iter().map(|(name, value)| (extracted(&name), json!(value))).collect();
        Some(json!({ "eventNumber": number, "eventMessage": message, "extractedValues": values }))
    });
    Ok(json!({ "matches": matches.collect::<Vec<_>>() }))
}

/// Fields of a `[ … ]` pattern are answered as `$name`, selectors as they are written.
fn extracted(name: &str) -> String {
    if name.starts_with('$') { name.to_owned() } else { format!("${name}") }
}
