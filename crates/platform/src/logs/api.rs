//! The JSON API of CloudWatch Logs (`x-amz-target: Logs_20140328.*`): requests into calls of the store, and back.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Logs, LogsError, now_ms,
    pattern::Filter,
    query_api::{QueryId, test_metric_filter},
    store::{Entry, Group, Page, Place, Stream, Wanted},
    writer::Line,
};
use crate::stack::{ACCOUNT, REGION};

/// Lines, groups and streams of one answer. Source: CloudWatch Logs API reference.
const MOST_LINES: usize = 10_000;
const MOST_NAMED: usize = 50;
/// Lines of one `PutLogEvents`.
const MOST_PUT: usize = 10_000;
/// Longest line of `PutLogEvents`.
const MOST_MESSAGE: usize = 1 << 20;
/// Lines may be this old, or this far in the future, in ms.
const OLDEST: u64 = 14 * 86_400_000;
const NEWEST: u64 = 2 * 3_600_000;
/// Retentions that AWS knows, in days.
const RETENTIONS: [u32; 22] = [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

pub(super) type Answer = Result<Value, LogsError>;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Named {
    log_group_name: String,
    log_stream_name: String,
    retention_in_days: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct List {
    log_group_name: String,
    log_group_identifier: String,
    log_group_name_prefix: String,
    /// Groups whose names hold it.
    log_group_name_pattern: String,
    log_stream_name_prefix: String,
    order_by: String,
    descending: bool,
    limit: Option<usize>,
    next_token: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Put {
    #[serde(rename = "logGroupName")]
    group: String,
    #[serde(rename = "logStreamName")]
    stream: String,
    #[serde(rename = "logEvents")]
    lines: Vec<PutLine>,
}

#[derive(Debug, Deserialize)]
struct PutLine {
    timestamp: u64,
    message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Get {
    log_group_name: String,
    log_group_identifier: String,
    log_stream_name: String,
    log_stream_names: Vec<String>,
    log_stream_name_prefix: String,
    filter_pattern: String,
    start_time: Option<u64>,
    end_time: Option<u64>,
    start_from_head: bool,
    limit: Option<usize>,
    next_token: Option<String>,
}

impl Logs {
    /// Answers one operation, named as in `x-amz-target`; the caller has checked the signature.
    pub async fn handle(&self, operation: &str, body: &[u8]) -> Response<Bytes> {
        let answer = match operation {
            "CreateLogGroup" => self.create_group(body).await,
            "CreateLogStream" => self.create_stream(body).await,
            "DeleteLogGroup" => self.delete_group(body).await,
            "DeleteLogStream" => self.delete_stream(body).await,
            "PutRetentionPolicy" => self.put_retention(body).await,
            "DeleteRetentionPolicy" => self.delete_retention(body).await,
            "DescribeLogGroups" => self.describe_groups(body).await,
            "DescribeLogStreams" => self.describe_streams(body).await,
            "PutLogEvents" => self.put_events(body).await,
            "GetLogEvents" => self.get_events(body).await,
            "FilterLogEvents" => self.filter_events(body).await,
            "TestMetricFilter" => test_metric_filter(body),
            "StartQuery" => self.start_query(body).await,
            "GetQueryResults" => parse::<QueryId>(body).and_then(|asked| self.queries.results(&asked.query_id)),
            "StopQuery" => {
                parse::<QueryId>(body).and_then(|asked| self.queries.stop(&asked.query_id)).map(|stopped| json!({ "success": stopped }))
            }
            "DescribeQueries" => self.describe_queries(body),
            other => {
                Err(LogsError { kind: "UnknownOperationException", message: format!("{other} is not an operation that these logs have.") })
            }
        };
        match answer {
            Ok(answer) => respond(StatusCode::OK, &answer),
            Err(error) => {
                let status = match error.kind {
                    "ServiceUnavailableException" => StatusCode::SERVICE_UNAVAILABLE,
                    _ => StatusCode::BAD_REQUEST,
                };
                respond(status, &json!({ "__type": error.kind, "message": error.message }))
            }
        }
    }

    async fn create_group(&self, body: &[u8]) -> Answer {
        let name = required(parse::<Named>(body)?.log_group_name, "logGroupName")?;
        self.write(move |store| store.create_group(&name, now_ms())).await?;
        Ok(json!({}))
    }

    async fn delete_group(&self, body: &[u8]) -> Answer {
        let name = required(parse::<Named>(body)?.log_group_name, "logGroupName")?;
        self.write(move |store| store.delete_group(&name)).await?;
        Ok(json!({}))
    }

    async fn create_stream(&self, body: &[u8]) -> Answer {
        let named: Named = parse(body)?;
        let group = required(named.log_group_name, "logGroupName")?;
        let stream = required(named.log_stream_name, "logStreamName")?;
        self.write(move |store| store.create_stream(&group, &stream, now_ms())).await?;
        Ok(json!({}))
    }

    async fn delete_stream(&self, body: &[u8]) -> Answer {
        let named: Named = parse(body)?;
        let group = required(named.log_group_name, "logGroupName")?;
        let stream = required(named.log_stream_name, "logStreamName")?;
        self.write(move |store| store.delete_stream(&group, &stream)).await?;
        Ok(json!({}))
    }

    async fn put_retention(&self, body: &[u8]) -> Answer {
        let named: Named = parse(body)?;
        let group = required(named.log_group_name, "logGroupName")?;
        let days = named.retention_in_days.filter(|days| RETENTIONS.contains(days));
        let days = days.ok_or_else(|| LogsError::invalid(format!("retentionInDays must be one of {RETENTIONS:?}.")))?;
        self.write(move |store| store.set_retention(&group, Some(days))).await?;
        Ok(json!({}))
    }

    async fn delete_retention(&self, body: &[u8]) -> Answer {
        let group = required(parse::<Named>(body)?.log_group_name, "logGroupName")?;
        self.write(move |store| store.set_retention(&group, None)).await?;
        Ok(json!({}))
    }

    async fn describe_groups(&self, body: &[u8]) -> Answer {
        let list: List = parse(body)?;
        let most = list.limit.unwrap_or(MOST_NAMED).clamp(1, MOST_NAMED);
        if !list.log_group_name_prefix.is_empty() && !list.log_group_name_pattern.is_empty() {
            return Err(LogsError::invalid("logGroupNamePrefix and logGroupNamePattern are mutually exclusive parameters."));
        }
        let (prefix, pattern) = (list.log_group_name_prefix, list.log_group_name_pattern);
        let after = list.next_token.unwrap_or_default();
        let groups = self.read(move |store| store.groups(&prefix, &pattern, &after, most)).await?;
        let next = groups.last().filter(|_| groups.len() == most).map(|group| group.name.clone());
        let groups: Vec<Value> = groups.iter().map(group_json).collect();
        Ok(with_token(json!({ "logGroups": groups }), "nextToken", next))
    }

    async fn describe_streams(&self, body: &[u8]) -> Answer {
        let list: List = parse(body)?;
        let group = group_of(list.log_group_name, &list.log_group_identifier)?;
        let latest = list.order_by == "LastEventTime";
        let (prefix, name) = (list.log_stream_name_prefix, group.clone());
        let mut streams = self.read(move |store| store.streams(&name, &prefix, latest)).await?;
        if list.descending {
            streams.reverse();
        }
        let most = list.limit.unwrap_or(MOST_NAMED).clamp(1, MOST_NAMED);
        // The token is the last name that was shown, as streams that come and go do not shift names.
        let from = match list.next_token {
            Some(token) => streams
                .iter()
                .position(|stream| stream.name == token)
                .map(|place| place + 1)
                .ok_or_else(|| LogsError::invalid("The specified nextToken is invalid."))?,
            None => 0,
        };
        let rest = streams.get(from..).unwrap_or_default();
        let page = rest.get(..most.min(rest.len())).unwrap_or_default();
        let next = page.last().filter(|_| rest.len() > most).map(|stream| stream.name.clone());
        let page: Vec<Value> = page.iter().map(|stream| stream_json(&group, stream)).collect();
        Ok(with_token(json!({ "logStreams": page }), "nextToken", next))
    }

    async fn put_events(&self, body: &[u8]) -> Answer {
        let put: Put = parse(body)?;
        let group = required(put.group, "logGroupName")?;
        let stream = required(put.stream, "logStreamName")?;
        if put.lines.is_empty() || put.lines.len() > MOST_PUT {
            return Err(LogsError::invalid(format!("logEvents must hold 1 to {MOST_PUT} events.")));
        }
        if put.lines.iter().any(|line| line.message.is_empty() || line.message.len() > MOST_MESSAGE) {
            return Err(LogsError::invalid(format!("A message must have 1 to {MOST_MESSAGE} bytes.")));
        }
        if put.lines.windows(2).any(|pair| matches!(pair, [a, b] if a.timestamp > b.timestamp)) {
            return Err(LogsError::invalid("Log events in a single PutLogEvents request must be in chronological order."));
        }
        let now = now_ms();
        let old = put.lines.iter().filter(|line| line.timestamp < now.saturating_sub(OLDEST)).count();
        let new = put.lines.iter().position(|line| line.timestamp > now + NEWEST);
        let taken = put.lines.into_iter().take(new.unwrap_or(usize::MAX)).skip(old);
        let lines: Vec<Line> = taken
            .map(|line| Line { group: group.clone(), stream: stream.clone(), timestamp_ms: line.timestamp, message: line.message })
            .collect();
        let metrics = Arc::clone(&self.metrics);
        self.write(move |store| {
            if !store.has_stream(&group, &stream)? {
                return Err(LogsError::not_found("log stream"));
            }
            store.append(&lines, now)?;
            for line in &lines {
                metrics.read_line(&line.message);
            }
            Ok(())
        })
        .await?;
        let mut answer = json!({ "nextSequenceToken": "0" });
        if old > 0 {
            answer["rejectedLogEventsInfo"]["tooOldLogEventEndIndex"] = json!(old);
        }
        if let Some(new) = new {
            answer["rejectedLogEventsInfo"]["tooNewLogEventStartIndex"] = json!(new);
        }
        Ok(answer)
    }

    async fn get_events(&self, body: &[u8]) -> Answer {
        let get: Get = parse(body)?;
        let stream = required(get.log_stream_name.clone(), "logStreamName")?;
        let wanted = Wanted {
            group: group_of(get.log_group_name, &get.log_group_identifier)?,
            streams: vec![stream],
            from_ms: get.start_time.unwrap_or(0),
            // The end is exclusive here, and inclusive in FilterLogEvents.
            to_ms: get.end_time.map(|end| end.saturating_sub(1)),
            limit: get.limit.unwrap_or(MOST_LINES).clamp(1, MOST_LINES),
            ..Wanted::default()
        };
        let token = get.next_token.as_deref().map(read_token).transpose()?;
        let page = self
            .read(move |store| match token {
                Some(('b', place)) => store.backward(&wanted, Some(place)),
                Some((_, place)) => store.forward(&wanted, Some(place)),
                None if get.start_from_head => store.forward(&wanted, None),
                None => store.backward(&wanted, None),
            })
            .await?;
        let here = token.map_or(Place { timestamp_ms: 0, id: 0 }, |(_, place)| place);
        let (first, last) = (page.entries.first(), page.entries.last());
        let events: Vec<Value> = page.entries.iter().map(|entry| event_json(entry, false)).collect();
        Ok(json!({
            "events": events,
            // At an end the token stays the same, which is how a reader knows the end.
            "nextForwardToken": write_token('f', last.map_or(here, |entry| entry.place)),
            "nextBackwardToken": write_token('b', first.map_or(here, |entry| entry.place)),
        }))
    }

    async fn filter_events(&self, body: &[u8]) -> Answer {
        let get: Get = parse(body)?;
        if !get.log_stream_names.is_empty() && !get.log_stream_name_prefix.is_empty() {
            return Err(LogsError::invalid("logStreamNames and logStreamNamePrefix exclude each other."));
        }
        let wanted = Wanted {
            group: group_of(get.log_group_name, &get.log_group_identifier)?,
            streams: get.log_stream_names,
            prefix: get.log_stream_name_prefix,
            from_ms: get.start_time.unwrap_or(0),
            to_ms: get.end_time,
            filter: Filter::parse(&get.filter_pattern)?,
            limit: get.limit.unwrap_or(MOST_LINES).clamp(1, MOST_LINES),
        };
        let after = get.next_token.as_deref().map(read_token).transpose()?.map(|(_, place)| place);
        let Page { entries, next } = self.read(move |store| store.forward(&wanted, after)).await?;
        let events: Vec<Value> = entries.iter().map(|entry| event_json(entry, true)).collect();
        let answer = json!({ "events": events, "searchedLogStreams": [] });
        Ok(with_token(answer, "nextToken", next.map(|place| write_token('f', place))))
    }
}

pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, LogsError> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| LogsError { kind: "SerializationException", message: format!("The request cannot be read: {error}") })
}

fn required(value: String, name: &str) -> Result<String, LogsError> {
    if value.is_empty() { Err(LogsError::invalid(format!("{name} is missing."))) } else { Ok(value) }
}

/// A group by name, or by `arn:aws:logs:…:log-group:<name>` with or without `:*`.
pub(super) fn group_of(name: String, identifier: &str) -> Result<String, LogsError> {
    let named = identifier.split_once(":log-group:").map_or(identifier, |(_, name)| name);
    let named = named.strip_suffix(":*").unwrap_or(named);
    required(if name.is_empty() { named.to_owned() } else { name }, "logGroupName")
}

fn group_arn(name: &str) -> String {
    format!("arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{name}")
}

fn group_json(group: &Group) -> Value {
    let arn = group_arn(&group.name);
    let mut value = json!({
        "logGroupName": group.name,
        "creationTime": group.created_ms,
        "storedBytes": group.bytes,
        "metricFilterCount": 0,
        "arn": format!("{arn}:*"),
        "logGroupArn": arn,
    });
    if let Some(days) = group.retention_days {
        value["retentionInDays"] = json!(days);
    }
    value
}

fn stream_json(group: &str, stream: &Stream) -> Value {
    let mut value = json!({
        "logStreamName": stream.name,
        "creationTime": stream.created_ms,
        "arn": format!("{}:log-stream:{}", group_arn(group), stream.name),
        "storedBytes": 0,
    });
    let times =
        [("firstEventTimestamp", stream.first_ms), ("lastEventTimestamp", stream.last_ms), ("lastIngestionTime", stream.ingested_ms)];
    for (name, time) in times {
        if let Some(time) = time {
            value[name] = json!(time);
        }
    }
    value
}

fn event_json(entry: &Entry, of_group: bool) -> Value {
    let mut value = json!({
        "timestamp": entry.place.timestamp_ms,
        "message": entry.message,
        "ingestionTime": entry.ingested_ms,
    });
    if of_group {
        value["logStreamName"] = json!(entry.stream);
        // AWS's are this long; readers that follow a group compare them.
        value["eventId"] = json!(format!("{:020}{:036}", entry.place.timestamp_ms, entry.place.id));
    }
    value
}

fn with_token(mut answer: Value, name: &str, token: Option<String>) -> Value {
    if let Some(token) = token {
        answer[name] = json!(token);
    }
    answer
}

fn write_token(direction: char, place: Place) -> String {
    format!("{direction}/{:020}/{:020}", place.timestamp_ms, place.id)
}

fn read_token(token: &str) -> Result<(char, Place), LogsError> {
    let read = || {
        let mut parts = token.split('/');
        let direction = parts.next()?.chars().next().filter(|direction| matches!(direction, 'f' | 'b'))?;
        let place = Place { timestamp_ms: parts.next()?.parse().ok()?, id: parts.next()?.parse().ok()? };
        Some((direction, place))
    };
    read().ok_or_else(|| LogsError::invalid("The specified nextToken is invalid."))
}

fn respond(status: StatusCode, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
    response
}
