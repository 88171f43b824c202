//! Extensions of one environment: who is registered, for which events, and who is waiting for one.

use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::runtime_api::{self, Reply};

/// Source: AWS Lambda quotas, "extensions per function".
const MOST: usize = 10;

/// All extensions of one environment.
#[derive(Debug, Default)]
pub struct Extensions {
    all: Vec<Extension>,
}

#[derive(Debug)]
struct Extension {
    id: String,
    name: String,
    wants_invoke: bool,
    wants_shutdown: bool,
    /// Its request for the next event, unanswered.
    ask: Option<Reply>,
    /// An event that it has not asked for yet.
    queued: Option<Value>,
}

impl Extensions {
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Answers `register`.
    pub fn register(&mut self, id: String, name: String, events: &[String], about: &Value, reply: Reply) {
        let refusal = if self.all.len() >= MOST {
            Some("Extension.TooManyExtensions")
        } else if name.is_empty() || self.all.iter().any(|other| other.name == name) {
            Some("Extension.InvalidExtensionName")
        } else {
            None
        };
        if let Some(kind) = refusal {
            let message = format!("The extension {name:?} cannot be registered.");
            let _ = reply.send(runtime_api::error(StatusCode::FORBIDDEN, kind, &message));
            return;
        }
        let mut response: Response<_> = runtime_api::json_response(StatusCode::OK, about);
        if let Ok(value) = HeaderValue::from_str(&id) {
            response.headers_mut().insert("lambda-extension-identifier", value);
        }
        let wants = |event| events.iter().any(|wanted| wanted == event);
        let (wants_invoke, wants_shutdown) = (wants("INVOKE"), wants("SHUTDOWN"));
        self.all.push(Extension { id, name, wants_invoke, wants_shutdown, ask: None, queued: None });
        let _ = reply.send(response);
    }

    /// Takes a request for the next event; it is answered when there is one.
    pub fn ask(&mut self, id: &str, reply: Reply) {
        let Some(extension) = self.all.iter_mut().find(|extension| extension.id == id) else {
            let message = "This extension is not registered.";
            let _ = reply.send(runtime_api::error(StatusCode::FORBIDDEN, "Extension.UnknownExtensionIdentifier", message));
            return;
        };
        extension.ask = Some(reply);
        extension.pass_on();
    }

    /// Each has asked for its next event, which there is not, and waits for it.
    pub fn are_waiting(&self) -> bool {
        self.all.iter().all(|extension| extension.ask.as_ref().is_some_and(|ask| !ask.is_closed()))
    }

    pub fn invoke(&mut self, request_id: &str, deadline_ms: u64, function_arn: &str) {
        for extension in self.all.iter_mut().filter(|extension| extension.wants_invoke) {
            extension.queued = Some(json!({
                "eventType": "INVOKE",
                "deadlineMs": deadline_ms,
                "requestId": request_id,
                "invokedFunctionArn": function_arn,
                "tracing": { "type": "X-Amzn-Trace-Id", "value": "" },
            }));
            extension.pass_on();
        }
    }

    pub fn shut_down(&mut self, reason: &str, deadline_ms: u64) {
        for extension in self.all.iter_mut().filter(|extension| extension.wants_shutdown) {
            extension.queued = Some(json!({ "eventType": "SHUTDOWN", "shutdownReason": reason, "deadlineMs": deadline_ms }));
            extension.pass_on();
        }
    }
}

impl Extension {
    fn pass_on(&mut self) {
        if self.queued.is_some()
            && let Some(reply) = self.ask.take()
            && let Some(event) = self.queued.take()
        {
            let _ = reply.send(runtime_api::json_response(StatusCode::OK, &event));
        }
    }
}
