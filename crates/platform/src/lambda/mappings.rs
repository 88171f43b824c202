//! The event source mappings that there are, and the part of the control API that shows them and switches them on and
//! off.

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::{InvokeError, Lambda, api::respond, dispatch::function_name, filter::Filters};
use crate::{
    logs::now_ms,
    stack::{EventSourceMapping, function_arn},
};

/// One mapping of the template.
#[derive(Debug)]
pub struct Mapping {
    /// The same as long as its function and its queue are.
    pub id: String,
    pub settings: EventSourceMapping,
    pub filters: Filters,
    /// Index of its function.
    pub function: usize,
    pub enabled: watch::Sender<bool>,
    /// Milliseconds since 1970.
    changed_ms: AtomicU64,
}

impl Mapping {
    /// Source: AWS Lambda API reference, `EventSourceMappingConfiguration`.
    fn describe(&self) -> Value {
        let settings = &self.settings;
        let mut described = json!({
            "UUID": self.id,
            "BatchSize": settings.batch_size,
            "MaximumBatchingWindowInSeconds": settings.batch_window.as_secs(),
            "EventSourceArn": settings.queue_arn,
            "FunctionArn": function_arn(&settings.function),
            "LastModified": Duration::from_millis(self.changed_ms.load(Ordering::Relaxed)).as_secs_f64(),
            "State": if *self.enabled.borrow() { "Enabled" } else { "Disabled" },
            "StateTransitionReason": "USER_INITIATED",
            "FunctionResponseTypes": if settings.report_batch_item_failures { json!(["ReportBatchItemFailures"]) } else { json!([]) },
        });
        if let Some(most) = settings.maximum_concurrency {
            described["ScalingConfig"] = json!({ "MaximumConcurrency": most });
        }
        if !settings.filters.is_empty() {
            let text = |pattern: &Value| pattern.as_str().map_or_else(|| pattern.to_string(), str::to_owned);
            let filters: Vec<Value> = settings.filters.iter().map(|pattern| json!({ "Pattern": text(pattern) })).collect();
            described["FilterCriteria"] = json!({ "Filters": filters });
        }
        described
    }
}

/// A UUID that is always the same for one function and one queue.
fn id_of(settings: &EventSourceMapping) -> String {
    let digest = Sha256::digest(format!("{}\n{}", settings.function, settings.queue_arn));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(digest.get(..16).unwrap_or(&[0; 16]));
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

impl Lambda {
    /// Takes a mapping of the template on.
    pub(super) fn map(&self, settings: EventSourceMapping) -> Result<Arc<Mapping>, String> {
        let place = || format!("from {} to {}", settings.queue_arn, settings.function);
        let function = self.index_of(&settings.function);
        let function = function.ok_or_else(|| format!("{}: the template has no such function", place()))?;
        let filters = Filters::read(&settings.filters).map_err(|error| format!("{}: {error}", place()))?;
        let id = id_of(&settings);
        let switched = self.store.switched(&id, settings.enabled).map_err(|error| format!("{}: {error}", place()))?;
        let enabled = watch::Sender::new(switched.unwrap_or(settings.enabled));
        let mapping = Arc::new(Mapping { id, settings, filters, function, enabled, changed_ms: AtomicU64::new(now_ms()) });
        self.mappings.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&mapping));
        Ok(mapping)
    }

    /// Answers requests under `/2015-03-31/event-source-mappings`.
    pub(super) async fn mapping_call(
        &self,
        method: &Method,
        path: &[&str],
        query: Option<&str>,
        body: &[u8],
    ) -> Result<Response<Bytes>, InvokeError> {
        let all = self.mappings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let find = |id: &str| all.iter().find(|mapping| mapping.id == id).ok_or(InvokeError::NoMapping);
        match (method, path) {
            (&Method::GET, []) => {
                let asked = |name| query.and_then(|query| parameter(query, name));
                let (function, queue) = (asked("FunctionName"), asked("EventSourceArn"));
                let wanted = |mapping: &&Arc<Mapping>| {
                    function.as_deref().is_none_or(|function| function_name(function) == mapping.settings.function)
                        && queue.as_deref().is_none_or(|queue| queue == mapping.settings.queue_arn)
                };
                let found: Vec<Value> = all.iter().filter(wanted).map(|mapping| mapping.describe()).collect();
                Ok(respond(StatusCode::OK, &json!({ "EventSourceMappings": found })))
            }
            (&Method::GET, [id]) => Ok(respond(StatusCode::OK, &find(id)?.describe())),
            (&Method::PUT, [id]) => {
                let mapping = find(id)?;
                self.switch(mapping, body).await?;
                Ok(respond(StatusCode::ACCEPTED, &mapping.describe()))
            }
            _ => {
                Err(InvokeError::Invalid("Mappings are made, changed and removed in the template; they can be switched on and off.".into()))
            }
        }
    }

    /// `UpdateEventSourceMapping`, of which `Enabled` can be changed; it holds until the template says otherwise.
    async fn switch(&self, mapping: &Mapping, body: &[u8]) -> Result<(), InvokeError> {
        let body: Value = serde_json::from_slice(body).map_err(|error| InvokeError::NotJson(error.to_string()))?;
        let fields = body.as_object().ok_or_else(|| InvokeError::NotJson("an object is needed".into()))?;
        if let Some(other) = fields.keys().find(|name| *name != "Enabled" && *name != "FunctionName") {
            return Err(InvokeError::Invalid(format!("{other} of a mapping is changed in the template; Enabled can be changed here.")));
        }
        let Some(enabled) = fields.get("Enabled").and_then(Value::as_bool) else { return Ok(()) };
        let (store, id, of_template) = (Arc::clone(&self.store), mapping.id.clone(), mapping.settings.enabled);
        let written = tokio::task::spawn_blocking(move || store.switch(&id, enabled, of_template)).await;
        let written = written.map_err(|error| error.to_string()).and_then(|written| written.map_err(|error| error.to_string()));
        written.map_err(|reason| InvokeError::Platform { function: mapping.settings.function.clone(), reason })?;
        mapping.enabled.send_replace(enabled);
        mapping.changed_ms.store(now_ms(), Ordering::Relaxed);
        Ok(())
    }
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.into_iter().find(|(key, _)| *key == name)?.1;
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_keeps_its_id() {
        let of = |function: &str| id_of(&EventSourceMapping { function: function.into(), ..EventSourceMapping::default() });
        assert_eq!(of("f"), of("f"));
        assert_ne!(of("f"), of("g"));
        assert_eq!(of("f").len(), 36);
        assert_eq!(parameter("a=1&EventSourceArn=arn%3Aaws", "EventSourceArn").as_deref(), Some("arn:aws"));
    }
}
