//! Operations on message move tasks.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Answer;
use crate::{
    sqs::{
        Sqs,
        error::SqsError,
        moves::{MoveTask, NewMove, Status, queue_of_arn},
    },
    stack,
};

/// Most tasks in one answer, and the fastest rate, messages per second.
const MAX_LISTED: i64 = 10;
const MAX_RATE: i64 = 500;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StartMove {
    source_arn: Option<String>,
    destination_arn: Option<String>,
    max_number_of_messages_per_second: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListMoves {
    source_arn: Option<String>,
    max_results: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CancelMove {
    task_handle: Option<String>,
}

/// The inside of a task handle.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Handle {
    task_id: String,
    source_arn: String,
}

impl Handle {
    fn write(&self) -> String {
        BASE64.encode(json!(self).to_string())
    }

    fn read(text: &str) -> Result<Self, SqsError> {
        let read = || serde_json::from_slice(&BASE64.decode(text).ok()?).ok();
        read().ok_or_else(|| SqsError::invalid("Value for parameter TaskHandle is invalid."))
    }
}

fn in_range(value: i64, parameter: &str, high: i64) -> Result<usize, SqsError> {
    let fits = usize::try_from(value).ok().filter(|_| (1..=high).contains(&value));
    fits.ok_or_else(|| SqsError::out_of_range(value, parameter, (1, high)))
}

fn write(task: &MoveTask, source_arn: &str) -> Value {
    let mut fields = Map::from_iter([
        ("Status".to_owned(), json!(task.status)),
        ("SourceArn".to_owned(), json!(source_arn)),
        ("ApproximateNumberOfMessagesMoved".to_owned(), json!(task.moved)),
        ("ApproximateNumberOfMessagesToMove".to_owned(), json!(task.to_move)),
        ("StartedTimestamp".to_owned(), json!(task.started_ms)),
    ]);
    // A task that has ended cannot be named any more.
    let handle = Handle { task_id: task.id.clone(), source_arn: source_arn.to_owned() };
    let handle = (task.status == Status::Running).then(|| json!(handle.write()));
    let destination = task.destination.as_deref().map(|name| json!(stack::queue_arn(name)));
    for (name, value) in [
        ("TaskHandle", handle),
        ("DestinationArn", destination),
        ("MaxNumberOfMessagesPerSecond", task.rate.map(Value::from)),
        ("FailureReason", task.failure.as_deref().map(Value::from)),
    ] {
        fields.extend(value.map(|value| (name.to_owned(), value)));
    }
    Value::Object(fields)
}

impl Sqs {
    pub(super) async fn start_message_move_task(&self, request: StartMove) -> Answer {
        let source_arn = request.source_arn.ok_or_else(|| SqsError::missing("SourceArn"))?;
        let source = queue_of_arn("SourceArn", &source_arn)?;
        let destination = request.destination_arn.map(|arn| queue_of_arn("DestinationArn", &arn)).transpose()?;
        let rate = request.max_number_of_messages_per_second;
        let rate = rate.map(|rate| in_range(rate, "MaxNumberOfMessagesPerSecond", MAX_RATE)).transpose()?;
        let id = Uuid::new_v4().to_string();
        let asked = NewMove { id: id.clone(), source, destination, rate: rate.and_then(|rate| u32::try_from(rate).ok()) };
        self.ask(1, move |engine, now_ms| engine.account.start_move(now_ms, asked)).await?;
        Ok(json!({ "TaskHandle": Handle { task_id: id, source_arn }.write() }))
    }

    pub(super) async fn list_message_move_tasks(&self, request: ListMoves) -> Answer {
        let source_arn = request.source_arn.ok_or_else(|| SqsError::missing("SourceArn"))?;
        let source = queue_of_arn("SourceArn", &source_arn)?;
        let most = in_range(request.max_results.unwrap_or(1), "MaxResults", MAX_LISTED)?;
        let tasks = self
            .ask(1, move |engine, _| {
                let tasks = engine.account.moves_of(&source)?.take(most);
                Ok(tasks.map(|task| write(task, &source_arn)).collect::<Vec<_>>())
            })
            .await?;
        Ok(if tasks.is_empty() { json!({}) } else { json!({ "Results": tasks }) })
    }

    pub(super) async fn cancel_message_move_task(&self, request: CancelMove) -> Answer {
        let handle = Handle::read(&request.task_handle.ok_or_else(|| SqsError::missing("TaskHandle"))?)?;
        let source = stack::name_of_arn(&handle.source_arn).to_owned();
        let moved = self.ask(1, move |engine, _| engine.account.cancel_move(&source, &handle.task_id)).await?;
        Ok(json!({ "ApproximateNumberOfMessagesMoved": moved }))
    }
}
