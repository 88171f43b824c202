//! Requests as an HTTP API hands them over, and their answers. Pure.
//!
//! Source: API Gateway developer guide, "Create AWS Lambda proxy integrations for HTTP APIs", payload format 2.0.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// A request, as far as our doors look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    pub authorization: Option<String>,
    pub body: String,
}

/// An answer in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    status: u16,
    text: String,
}

impl HttpAnswer {
    pub fn new(status: u16, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    pub(crate) fn event(&self) -> Value {
        json!({ "statusCode": self.status, "headers": { "content-type": "text/plain; charset=utf-8" }, "body": self.text })
    }
}

/// The request of an event, or why it is none.
pub fn request(event: &Value) -> Result<HttpRequest, String> {
    let headers = event["headers"].as_object().ok_or("the event is no request of an HTTP API: it has no headers")?;
    let header = |name: &str| headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).and_then(|(_, value)| value.as_str());
    let body = event["body"].as_str().unwrap_or_default();
    let body = if event["isBase64Encoded"] == true {
        let bytes = STANDARD.decode(body).map_err(|error| format!("the request's body is no base64: {error}"))?;
        String::from_utf8(bytes).map_err(|_| "the request's body is no text")?
    } else {
        body.to_owned()
    };
    Ok(HttpRequest { authorization: header("authorization").map(str::to_owned), body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_as_text_or_in_base64() {
        for event in [
            json!({"headers": {"authorization": "Bearer x"}, "body": "{}", "isBase64Encoded": false}),
            json!({"headers": {"Authorization": "Bearer x"}, "body": "e30=", "isBase64Encoded": true}),
        ] {
            assert_eq!(request(&event), Ok(HttpRequest { authorization: Some("Bearer x".into()), body: "{}".into() }));
        }
    }

    #[test]
    fn what_is_no_request_is_refused_in_words() {
        for (event, why) in [
            (json!({"Records": []}), "no headers"),
            (json!({"headers": {}, "body": "!", "isBase64Encoded": true}), "base64"),
            (json!({"headers": {}, "body": "/w==", "isBase64Encoded": true}), "no text"),
        ] {
            assert!(request(&event).unwrap_err().contains(why), "{why}");
        }
    }
}
