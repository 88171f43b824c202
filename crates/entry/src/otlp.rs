//! Spans as OTLP has them in JSON (OpenTelemetry, "OTLP Specification 1.5", "JSON Protobuf Encoding"), and the collector's answer. Pure.

use serde_json::{Map, Value, json};

/// Characters of a text; the rest is in the log.
const MAX_TEXT: usize = 1024;
/// OTLP's `SPAN_KIND_INTERNAL` and `SPAN_KIND_CONSUMER`; its `STATUS_CODE_ERROR`.
const INTERNAL: u8 = 1;
const CONSUMER: u8 = 5;
const ERROR: u8 = 2;
/// Fields of a line that are attributes of its span. No others: what a line says may not be for a third party.
const TOLD: [&str; 10] = ["job", "task", "attempt", "stage", "state", "job_seconds", "gb_seconds", "cpu_seconds", "cost_usd", "requests"];

pub fn document(service: &str, spans: &[Value]) -> Value {
    let resource = json!({ "attributes": [attribute("service.name", &json!(service)), attribute("service.namespace", &json!("fanreel"))] });
    json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "scope": { "name": "fanreel" }, "spans": spans }] }] })
}

/// 64-bit integers are texts in JSON, as in all of Protobuf's.
fn attribute(name: &str, value: &Value) -> Value {
    let value = match value {
        Value::Bool(value) => json!({ "boolValue": value }),
        Value::Number(number) if number.is_f64() => json!({ "doubleValue": number }),
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        Value::String(text) => json!({ "stringValue": short(text) }),
        other => json!({ "stringValue": short(&other.to_string()) }),
    };
    json!({ "key": name, "value": value })
}

fn short(text: &str) -> &str {
    text.char_indices().nth(MAX_TEXT).map_or(text, |(end, _)| text.get(..end).unwrap_or_default())
}

/// The span of a line's fields; `None`: the line is none.
pub fn span(line: &Map<String, Value>) -> Option<Value> {
    let text = |name: &str| line.get(name).and_then(Value::as_str);
    let nanos = |name: &str| Some(format!("{}000000", line.get(name)?.as_u64()?));
    let (id, trace, start, end) = (text("span_id")?, text("trace_id")?, nanos("start_ms")?, nanos("end_ms")?);
    let name = text("span").unwrap_or("span");
    let kind = if name == "job" { INTERNAL } else { CONSUMER };
    let attributes: Vec<Value> = line
        .iter()
        .filter(|(name, _)| TOLD.contains(&name.as_str()))
        .map(|(name, value)| attribute(&format!("fanreel.{name}"), value))
        .collect();
    let mut span = json!({ "traceId": trace, "spanId": id, "name": name, "kind": kind, "startTimeUnixNano": start, "endTimeUnixNano": end,
        "attributes": attributes });
    if let Some(parent) = text("parent_id").filter(|parent| !parent.is_empty()) {
        span["parentSpanId"] = json!(parent);
    }
    if let Some(why) = text("failed").filter(|why| !why.is_empty()) {
        span["status"] = json!({ "code": ERROR, "message": short(why) });
    }
    Some(span)
}

/// `ExportTracePartialSuccess`. Another answer than OTLP's, an empty one too, refuses nothing.
pub fn refused(answer: &[u8]) -> u64 {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let number = &answer["partialSuccess"]["rejectedSpans"];
    number.as_u64().or_else(|| number.as_str()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Map<String, Value> {
        let line = json!({ "message": "attempt over", "span": "chunk", "trace_id": "a".repeat(32), "span_id": "b".repeat(16), "parent_id": "",
            "start_ms": 1_700_000_000_000_u64, "end_ms": 1_700_000_000_250_u64, "failed": "", "attempt": 2, "gb_seconds": 1.5, "secret": "x", "metrics": "gb_seconds=Count" });
        line.as_object().cloned().unwrap()
    }

    #[test]
    fn a_line_that_has_ids_is_a_span() {
        let told = span(&line()).unwrap();
        assert_eq!(told["startTimeUnixNano"], "1700000000000000000");
        assert_eq!(told["endTimeUnixNano"], "1700000000250000000");
        assert_eq!((&told["name"], &told["kind"]), (&json!("chunk"), &json!(5)));
        assert!(told.get("parentSpanId").is_none() && told.get("status").is_none());
        let attributes = told["attributes"].as_array().unwrap();
        assert_eq!(attributes.len(), 2, "what is not on the list is not told: {told}");
        assert!(attributes.contains(&json!({ "key": "fanreel.attempt", "value": { "intValue": "2" } })));

        let mut failed = line();
        failed.insert("failed".into(), "s3 said 503".into());
        failed.insert("parent_id".into(), "c".repeat(16).into());
        let told = span(&failed).unwrap();
        assert_eq!(told["status"], json!({ "code": 2, "message": "s3 said 503" }));
        assert_eq!(told["parentSpanId"], "c".repeat(16));

        let mut plain = line();
        plain.remove("end_ms");
        assert_eq!(span(&plain), None);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(short(&"ü".repeat(MAX_TEXT + 1)), "ü".repeat(MAX_TEXT));
        assert_eq!(short("ü"), "ü");
    }

    #[test]
    fn what_was_refused_is_read_of_any_answer() {
        for (answer, number) in [
            (&br#"{"partialSuccess":{"rejectedSpans":"2","errorMessage":"no"}}"#[..], 2),
            (br#"{"partialSuccess":{"rejectedSpans":3}}"#, 3),
            (br#"{"partialSuccess":{"rejectedSpans":"-1"}}"#, 0),
            (b"{}", 0),
            (b"", 0),
            (b"[\xff", 0),
        ] {
            assert_eq!(refused(answer), number, "{}", String::from_utf8_lossy(answer));
        }
    }
}
