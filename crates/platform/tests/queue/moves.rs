//! Message move tasks through the SDK.

use std::time::{Duration, Instant};

use aws_sdk_sqs::{
    Client,
    error::ProvideErrorMetadata,
    types::{ListMessageMoveTasksResultEntry as Task, MessageSystemAttributeName as System},
};
use platform::stack;

use crate::server::Server;

/// Two queues whose dead letters go to `dead`, and one that has nothing to do with them.
async fn with_queues(server: &Server) {
    let redrive = stack::Redrive { dead_letter_target_arn: stack::queue_arn("dead"), max_receive_count: 1 };
    let source = |name: &str| stack::Queue { redrive: Some(redrive.clone()), ..super::queue(name) };
    server.sqs.ensure_queues(&[source("one"), source("two"), super::queue("dead"), super::queue("other")]).await.unwrap();
}

/// Sends messages to a queue and has them fail there.
async fn bury(server: &Server, queue: &str, messages: &[&str]) {
    for body in messages {
        server.sqs.send(queue, (*body).into(), None).await.unwrap();
    }
    for _ in 0..2 {
        server.sqs.receive(queue, 10, Duration::ZERO, Some(Duration::ZERO)).await.unwrap();
    }
    assert_eq!(server.sqs.depth(queue).await.unwrap().visible, 0);
}

async fn newest(sqs: &Client) -> Task {
    let listed = sqs.list_message_move_tasks().source_arn(stack::queue_arn("dead")).send().await.unwrap();
    listed.results.unwrap().remove(0)
}

/// The newest task once it is no longer running.
async fn ended(sqs: &Client) -> Task {
    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        let task = newest(sqs).await;
        if task.status.as_deref() != Some("RUNNING") {
            return task;
        }
        assert!(Instant::now() < patience, "{task:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn dead_letters_go_back_to_where_they_came_from() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    with_queues(&server).await;
    bury(&server, "one", &["1", "2"]).await;
    bury(&server, "two", &["3"]).await;
    let sqs = server.sqs_client();
    let url = |name: &str| format!("{}/000000000000/{name}", server.endpoint);
    let peek = sqs.receive_message().queue_url(url("dead")).visibility_timeout(0).message_system_attribute_names(System::All);
    let dead = peek.send().await.unwrap().messages.unwrap().remove(0);
    assert_eq!(dead.attributes.unwrap()[&System::DeadLetterQueueSourceArn], stack::queue_arn("one"));

    // Somebody waits at the source: moved messages wake it.
    let waiting = sqs.receive_message().queue_url(url("two")).wait_time_seconds(20).message_system_attribute_names(System::All).send();
    let start = sqs.start_message_move_task().source_arn(stack::queue_arn("dead")).send();
    let (waiting, started) = tokio::join!(waiting, start);
    assert!(started.unwrap().task_handle.is_some());
    let back = waiting.unwrap().messages.unwrap().remove(0);
    assert_eq!(back.body.as_deref(), Some("3"));
    let system = back.attributes.unwrap();
    assert_eq!(system[&System::ApproximateReceiveCount], "1", "it is a new message");
    assert!(!system.contains_key(&System::DeadLetterQueueSourceArn));

    let task = ended(&sqs).await;
    assert_eq!((task.status.as_deref(), task.approximate_number_of_messages_moved), (Some("COMPLETED"), 3));
    assert_eq!((task.approximate_number_of_messages_to_move, task.task_handle, task.destination_arn), (Some(3), None, None));
    assert_eq!(task.source_arn, Some(stack::queue_arn("dead")));
    assert_eq!(server.sqs.depth("one").await.unwrap().visible, 2);
    assert_eq!(server.sqs.depth("dead").await.unwrap().visible, 0);
}

#[tokio::test]
async fn a_slow_task_is_cancelled_and_one_at_a_time_runs() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    with_queues(&server).await;
    bury(&server, "one", &["1", "2", "3", "4", "5"]).await;
    let sqs = server.sqs_client();
    let start = sqs.start_message_move_task().source_arn(stack::queue_arn("dead")).destination_arn(stack::queue_arn("other"));
    let start = start.max_number_of_messages_per_second(1);
    let handle = start.clone().send().await.unwrap().task_handle.unwrap();
    let second = start.send().await.unwrap_err();
    assert!(second.message().unwrap().starts_with("There is already a task running."), "{second:?}");
    let task = newest(&sqs).await;
    assert_eq!((task.status.as_deref(), task.task_handle.as_ref()), (Some("RUNNING"), Some(&handle)));
    assert_eq!((task.max_number_of_messages_per_second, task.destination_arn), (Some(1), Some(stack::queue_arn("other"))));

    let cancelled = sqs.cancel_message_move_task().task_handle(&handle).send().await.unwrap();
    let task = newest(&sqs).await;
    assert_eq!(task.status.as_deref(), Some("CANCELLED"));
    assert_eq!(task.approximate_number_of_messages_moved, cancelled.approximate_number_of_messages_moved);
    let left = server.sqs.depth("dead").await.unwrap().visible;
    assert!(left >= 1, "five messages take four seconds");
    assert_eq!(server.sqs.depth("other").await.unwrap().visible + left, 5);
    let again = sqs.cancel_message_move_task().task_handle(&handle).send().await.unwrap_err();
    assert_eq!(again.code(), Some("InvalidParameterValue"));
}

#[tokio::test]
async fn a_task_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    with_queues(&server).await;
    bury(&server, "one", &["1", "2", "3", "4"]).await;
    let start = server.sqs_client().start_message_move_task().source_arn(stack::queue_arn("dead"));
    start.max_number_of_messages_per_second(2).send().await.unwrap();
    let before = newest(&server.sqs_client()).await;
    assert_eq!(before.status.as_deref(), Some("RUNNING"));
    server.stop().await;

    let server = Server::start(dir.path()).await;
    let task = ended(&server.sqs_client()).await;
    assert_eq!((task.status.as_deref(), task.approximate_number_of_messages_moved), (Some("COMPLETED"), 4));
    assert_eq!(task.started_timestamp, before.started_timestamp);
    let got = server.sqs.receive("one", 10, Duration::ZERO, None).await.unwrap();
    let mut bodies: Vec<&str> = got.iter().map(|message| message.body.as_str()).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, ["1", "2", "3", "4"], "each once");
}

#[tokio::test]
async fn what_cannot_be_moved_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    with_queues(&server).await;
    let sqs = server.sqs_client();
    let start = |source: &str| sqs.start_message_move_task().source_arn(stack::queue_arn(source));
    let code = |result: Result<_, aws_sdk_sqs::error::SdkError<_, _>>| {
        let error: aws_sdk_sqs::error::SdkError<aws_sdk_sqs::operation::start_message_move_task::StartMessageMoveTaskError> =
            Result::<aws_sdk_sqs::operation::start_message_move_task::StartMessageMoveTaskOutput, _>::unwrap_err(result);
        error.code().map(str::to_owned)
    };
    assert_eq!(code(start("none").send().await).as_deref(), Some("ResourceNotFoundException"));
    assert_eq!(code(start("other").send().await).as_deref(), Some("InvalidParameterValue"), "no dead-letter queue");
    let nowhere = start("dead").destination_arn(stack::queue_arn("none")).send().await;
    assert_eq!(code(nowhere).as_deref(), Some("ResourceNotFoundException"));
    assert_eq!(code(start("dead").max_number_of_messages_per_second(501).send().await).as_deref(), Some("InvalidParameterValue"));
    let handle = sqs.cancel_message_move_task().task_handle("nonsense").send().await.unwrap_err();
    assert_eq!((handle.code(), handle.message()), (Some("InvalidParameterValue"), Some("Value for parameter TaskHandle is invalid.")));

    // A message that was sent to the dead-letter queue itself came from nowhere.
    server.sqs.send("dead", "stray".into(), None).await.unwrap();
    start("dead").send().await.unwrap();
    let task = ended(&sqs).await;
    assert_eq!((task.status.as_deref(), task.failure_reason.as_deref()), (Some("FAILED"), Some("CouldNotDetermineMessageSource")));
    assert_eq!(server.sqs.depth("dead").await.unwrap().visible, 1, "it stays");
}
