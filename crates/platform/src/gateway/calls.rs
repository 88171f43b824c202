//! Who asks for what: a line for each request, where `FANREEL_LOG` asks for `platform::gateway::calls=debug`.
//!
//! A function is known by the session token that it was given. It is a name and no proof, like everything behind one key.

use bytes::Bytes;
use http::request::Parts;
use serde_json::{Value, json};

/// Writes a request down. `operation`: of the API, or S3's method. A body that cannot be read names nothing.
pub(super) fn note(parts: &Parts, service: &str, operation: &str, body: &Bytes) {
    if tracing::enabled!(tracing::Level::DEBUG) {
        tracing::debug!("{}", line(parts, service, operation, body));
    }
}

fn line(parts: &Parts, service: &str, operation: &str, body: &Bytes) -> Value {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    json!({
        "caller": header("x-amz-security-token"),
        "service": service,
        "operation": operation,
        "path": path,
        "copy_source": header("x-amz-copy-source"),
        "resources": resources(&body),
        "index": body.get("IndexName"),
    })
}

/// The queue or the tables that a body names.
fn resources(body: &Value) -> Vec<&str> {
    let named = ["QueueUrl", "TableName"].iter().filter_map(|key| body.get(key)?.as_str());
    let batch = body.get("RequestItems").and_then(Value::as_object).into_iter().flat_map(|items| items.keys().map(String::as_str));
    named.chain(batch).collect()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_line_names_caller_and_resources() {
        let request = Request::builder().uri("/").header("x-amz-security-token", "fanreel-split").body(()).unwrap();
        let (parts, ()) = request.into_parts();
        let query = Bytes::from_static(br#"{"TableName":"t","IndexName":"open"}"#);
        let asked = line(&parts, "dynamodb", "Query", &query);
        assert_eq!((&asked["caller"], &asked["resources"], &asked["index"]), (&json!("fanreel-split"), &json!(["t"]), &json!("open")));
        let batch = Bytes::from_static(br#"{"RequestItems":{"t":[],"u":[]}}"#);
        assert_eq!(line(&parts, "dynamodb", "BatchWriteItem", &batch)["resources"], json!(["t", "u"]));
        assert_eq!(line(&parts, "s3", "GET", &Bytes::new())["resources"], json!([]));
    }
}
