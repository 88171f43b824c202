//! The page of metrics: what was counted, and what stands at some level now.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};

use super::Gateway;
use crate::metrics::{self, Observation};

impl Gateway {
    /// Everything for Prometheus.
    pub(super) async fn metrics_page(&self) -> Response<Bytes> {
        self.queues().await;
        self.environments();
        let metrics = self.logs.metrics();
        let disk = self.room.page();
        for (name, field) in [("platform_disk_used_bytes", "used_bytes"), ("platform_disk_free_bytes", "free_bytes")] {
            if let Some(bytes) = disk.get(field).and_then(serde_json::Value::as_f64) {
                metrics.observe(name, &[], Observation::Level(bytes));
            }
        }
        metrics.observe("platform_log_lines_dropped", &[], Observation::Level(float(self.logs.dropped())));
        metrics.observe("platform_observations_left_out", &[], Observation::Level(float(metrics.left_out())));
        let mut answer = Response::default();
        match metrics::render(metrics) {
            Ok(page) => {
                answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
                *answer.body_mut() = page.into();
            }
            Err(error) => {
                tracing::error!(%error, "the page of metrics could not be written");
                *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            }
        }
        answer
    }

    /// As AWS's metrics of the namespace `AWS/SQS`.
    async fn queues(&self) {
        for queue in &self.queues {
            let labels = [("queue_name", queue.as_str())];
            let level = |name: &str, value: f64| self.logs.metrics().observe(name, &labels, Observation::Level(value));
            if let Ok(depth) = self.sqs.depth(queue).await {
                level("aws_sqs_approximate_number_of_messages_visible", float(depth.visible));
                level("aws_sqs_approximate_number_of_messages_not_visible", float(depth.in_flight));
                level("aws_sqs_approximate_number_of_messages_delayed", float(depth.delayed));
            }
            if let Ok(age) = self.sqs.age_of_oldest(queue).await {
                level("aws_sqs_approximate_age_of_oldest_message_seconds", age.unwrap_or_default().as_secs_f64());
            }
        }
    }

    fn environments(&self) {
        let mut states: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for function in &self.functions {
            states.extend([((function.as_str(), "busy"), 0), ((function.as_str(), "idle"), 0)]);
        }
        let all = self.lambda.environments();
        for environment in &all {
            let state = if environment.busy { "busy" } else { "idle" };
            *states.entry((&environment.function, state)).or_default() += 1;
        }
        for ((function, state), count) in states {
            let labels = [("function_name", function), ("state", state)];
            self.logs.metrics().observe("aws_lambda_environments", &labels, Observation::Level(float(count)));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of messages and processes")]
fn float(number: u64) -> f64 {
    number as f64
}
