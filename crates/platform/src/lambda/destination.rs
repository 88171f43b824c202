//! Where the end of an asynchronous invocation is told: records for destinations, the event itself for a dead-letter
//! queue.
//!
//! Source: AWS Lambda developer guide, "Capturing records of Lambda asynchronous invocations".

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    InvokeError, Lambda, Outcome,
    api::wording,
    dispatch::function_name,
    report::{VERSION, rfc3339},
    store::Detached,
};
use crate::{
    sqs::{Kind, MessageAttribute},
    stack::{Asynchronous, function_arn, name_of_arn},
};

/// Most bytes of a dead letter's `ErrorMessage`.
const MAX_MESSAGE: usize = 1024;
/// Condition of an event that was done.
const SUCCESS: &str = "Success";

/// How an event ended, as it is kept until everybody was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// `Success`, `RetriesExhausted` or `EventAgeExceeded`.
    pub condition: String,
    /// How often the function ran.
    pub invoke_count: u32,
    pub at_ms: u64,
    /// What the function answered the last time; none where it never did.
    pub answer: Option<Answer>,
    /// As the HTTP API would have said it: 200 for an error of the function, 429 when it was throttled, 500 when it
    /// could not be run.
    pub error_code: u16,
    pub error_message: String,
}

/// Of a function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub payload: String,
    pub function_error: Option<String>,
}

impl Ending {
    pub fn success(outcome: &Outcome, invoke_count: u32, at_ms: u64) -> Self {
        let answer = Some(Answer::of(outcome));
        Self { condition: SUCCESS.into(), invoke_count, at_ms, answer, error_code: 200, error_message: String::new() }
    }

    /// The function failed the last time as well.
    pub fn failure(outcome: &Outcome, condition: &str, invoke_count: u32, at_ms: u64) -> Self {
        let payload: Value = serde_json::from_slice(&outcome.payload).unwrap_or_default();
        let error_message = payload.get("errorMessage").and_then(Value::as_str).unwrap_or("The function failed.").to_owned();
        Self { error_message, condition: condition.into(), ..Self::success(outcome, invoke_count, at_ms) }
    }

    /// It could not be run the last time.
    pub fn unheard(error: &InvokeError, condition: &str, invoke_count: u32, at_ms: u64) -> Self {
        let error_code = wording(error).0.as_u16();
        Self { condition: condition.into(), invoke_count, at_ms, answer: None, error_code, error_message: error.to_string() }
    }

    pub fn is_failure(&self) -> bool {
        self.condition != SUCCESS
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What [`Ending::to_json`] wrote; anything else is an ending of which nothing is known.
    pub fn from_json(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|_| Self { condition: "RetriesExhausted".into(), ..Self::default() })
    }

    /// The invocation record.
    fn record(&self, event: &Detached) -> Value {
        let mut record = json!({
            "version": "1.0",
            "timestamp": rfc3339(self.at_ms),
            "requestContext": {
                "requestId": event.request_id,
                "functionArn": format!("{}:{VERSION}", function_arn(&event.function)),
                "condition": self.condition,
                "approximateInvokeCount": self.invoke_count,
            },
            "requestPayload": json_or_text(&event.payload),
        });
        if let Some(answer) = &self.answer {
            let mut context = json!({ "statusCode": 200, "executedVersion": VERSION });
            if let Some(error) = &answer.function_error {
                context["functionError"] = json!(error);
            }
            record["responseContext"] = context;
            record["responsePayload"] = json_or_text(answer.payload.as_bytes());
        }
        record
    }

    /// What a dead letter says beside the event.
    fn attributes(&self, event: &Detached) -> BTreeMap<String, MessageAttribute> {
        let attribute = |data_type: &str, value: String| MessageAttribute {
            data_type: data_type.into(),
            string_value: Some(value),
            binary_value: None,
        };
        let mut message = self.error_message.clone();
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        let message = if message.is_empty() { "unknown".to_owned() } else { message };
        BTreeMap::from([
            ("RequestID".to_owned(), attribute("String", event.request_id.clone())),
            ("ErrorCode".to_owned(), attribute("Number", self.error_code.to_string())),
            ("ErrorMessage".to_owned(), attribute("String", message)),
        ])
    }
}

impl Answer {
    fn of(outcome: &Outcome) -> Self {
        let payload = String::from_utf8_lossy(&outcome.payload).into_owned();
        Self { payload, function_error: outcome.function_error.clone() }
    }
}

fn json_or_text(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into())
}

/// One who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// Gets the record.
    Destination(&'a str),
    /// Gets the event.
    DeadLetters(&'a str),
}

/// Whether everybody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    All,
    /// Somebody could not be told just now.
    NotYet,
}

/// Who is told of this ending. A destination does not take the place of a dead-letter queue.
pub fn targets<'a>(settings: &'a Asynchronous, ending: &Ending) -> Vec<Target<'a>> {
    let (destination, dead_letters) =
        if ending.is_failure() { (&settings.on_failure, &settings.dead_letter) } else { (&settings.on_success, &None) };
    let destination = destination.as_deref().map(Target::Destination);
    destination.into_iter().chain(dead_letters.as_deref().map(Target::DeadLetters)).collect()
}

/// Tells everybody. As on AWS, who cannot take the record (no such queue, too long) goes without.
pub async fn tell(lambda: &Arc<Lambda>, event: &Detached, settings: &Asynchronous, ending: &Ending) -> Told {
    let mut told = Told::All;
    for target in targets(settings, ending) {
        let (arn, body, attributes) = match target {
            Target::Destination(arn) => (arn, Bytes::from(ending.record(event).to_string()), BTreeMap::new()),
            Target::DeadLetters(arn) => (arn, event.payload.clone(), ending.attributes(event)),
        };
        let result =
            if arn.contains(":lambda:") { to_function(lambda, arn, body).await } else { to_queue(lambda, arn, &body, attributes).await };
        match result {
            Ok(()) => {}
            Err(Refused::NotNow(reason)) => {
                tracing::warn!(arn, reason, "the record of an event waits for its destination");
                told = Told::NotYet;
            }
            Err(Refused::Never(reason)) => {
                tracing::error!(arn, reason, request_id = event.request_id, "the record of an event was dropped");
            }
        }
    }
    told
}

enum Refused {
    NotNow(String),
    Never(String),
}

async fn to_queue(lambda: &Lambda, arn: &str, body: &[u8], attributes: BTreeMap<String, MessageAttribute>) -> Result<(), Refused> {
    let body = String::from_utf8_lossy(body).into_owned();
    match lambda.sqs.send_with_attributes(name_of_arn(arn), body, attributes).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind == Kind::Internal => Err(Refused::NotNow(error.to_string())),
        Err(error) => Err(Refused::Never(error.to_string())),
    }
}

async fn to_function(lambda: &Arc<Lambda>, arn: &str, body: Bytes) -> Result<(), Refused> {
    match lambda.accept(vec![(function_name(arn).to_owned(), body)]).await {
        Ok(1) => Ok(()),
        Ok(_) => Err(Refused::NotNow("too many events wait already".into())),
        Err(error @ InvokeError::NotFound(_)) => Err(Refused::Never(error.to_string())),
        Err(error) => Err(Refused::NotNow(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Detached {
        let (request_id, function) = ("r".to_owned(), "f".to_owned());
        Detached { id: 1, request_id, function, payload: "{\"a\":1}".into(), tries: 2, delays: 0, accepted_ms: 0, ending: None }
    }

    #[test]
    fn records_are_shaped_as_on_aws() {
        let payload = r#"{"errorType":"E","errorMessage":"no"}"#;
        let outcome =
            Outcome { payload: payload.into(), function_error: Some("Unhandled".into()), log_tail: String::new(), request_id: "r".into() };
        let ending = Ending::failure(&outcome, "RetriesExhausted", 3, 1_700_000_000_123);
        let ending = Ending::from_json(&ending.to_json());
        assert_eq!(
            ending.record(&event()),
            json!({
                "version": "1.0",
                "timestamp": "2023-11-14T22:13:20.123Z",
                "requestContext": {
                    "requestId": "r",
                    "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST",
                    "condition": "RetriesExhausted",
                    "approximateInvokeCount": 3,
                },
                "requestPayload": { "a": 1 },
                "responseContext": { "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled" },
                "responsePayload": { "errorType": "E", "errorMessage": "no" },
            })
        );
        let attributes = ending.attributes(&event());
        let value = |name: &str| attributes[name].string_value.clone().unwrap();
        assert_eq!((value("RequestID"), value("ErrorCode"), value("ErrorMessage")), ("r".into(), "200".into(), "no".into()));
        assert_eq!(attributes["ErrorCode"].data_type, "Number");
    }

    #[test]
    fn an_event_that_never_ran_has_no_response() {
        let ending = Ending::unheard(&InvokeError::TooOld, "EventAgeExceeded", 0, 0);
        let record = ending.record(&event());
        assert_eq!(record["requestContext"]["condition"], "EventAgeExceeded");
        assert!(record.get("responseContext").is_none() && record.get("responsePayload").is_none(), "{record}");
    }

    #[test]
    fn failures_go_to_the_destination_and_to_the_dead_letters() {
        let settings = Asynchronous {
            on_failure: Some("f".into()),
            on_success: Some("s".into()),
            dead_letter: Some("d".into()),
            ..Asynchronous::default()
        };
        let failed = Ending { condition: "RetriesExhausted".into(), ..Ending::default() };
        assert_eq!(targets(&settings, &failed), [Target::Destination("f"), Target::DeadLetters("d")]);
        let done = Ending { condition: SUCCESS.into(), ..Ending::default() };
        assert_eq!(targets(&settings, &done), [Target::Destination("s")]);
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let ending = Ending { error_message: "ü".repeat(600) + "x", ..Ending::default() };
        let message = ending.attributes(&event())["ErrorMessage"].string_value.clone().unwrap();
        assert_eq!(message, "ü".repeat(512));
    }
}
