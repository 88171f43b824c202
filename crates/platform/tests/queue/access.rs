//! Tags, permissions, who may use a dead-letter queue, purges, encryption attributes: through the SDK.

use aws_sdk_sqs::{error::ProvideErrorMetadata, types::QueueAttributeName as Attribute};
use platform::stack;
use serde_json::{Value, json};

use crate::server::Server;

#[tokio::test]
async fn tags_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let sqs = server.sqs_client();
    let url = sqs.create_queue().queue_name("q").tags("stage", "dev").send().await.unwrap().queue_url.unwrap();
    sqs.tag_queue().queue_url(&url).tags("owner", "me").tags("stage", "test").send().await.unwrap();
    sqs.tag_queue().queue_url(&url).tags("gone", "soon").send().await.unwrap();
    sqs.untag_queue().queue_url(&url).tag_keys("gone").tag_keys("never there").send().await.unwrap();
    let reserved = sqs.tag_queue().queue_url(&url).tags("aws:x", "y").send().await.unwrap_err();
    assert_eq!(reserved.code(), Some("InvalidParameterValue"));
    server.stop().await;

    let server = Server::start(dir.path()).await;
    let url = format!("{}/000000000000/q", server.endpoint);
    let tags = server.sqs_client().list_queue_tags().queue_url(&url).send().await.unwrap().tags.unwrap();
    assert_eq!(tags, [("owner", "me"), ("stage", "test")].map(|(k, v)| (k.to_owned(), v.to_owned())).into());
}

#[tokio::test]
async fn permissions_are_statements_of_the_policy() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.sqs.ensure_queue(&super::queue("q")).await.unwrap();
    let sqs = server.sqs_client();
    let url = format!("{}/000000000000/q", server.endpoint);
    let policy = || async {
        let attributes = sqs.get_queue_attributes().queue_url(&url).attribute_names(Attribute::Policy).send().await.unwrap().attributes;
        attributes.map(|all| serde_json::from_str::<Value>(&all[&Attribute::Policy]).unwrap())
    };
    let add =
        |label: &str, account: &str| sqs.add_permission().queue_url(&url).label(label).aws_account_ids(account).actions("ReceiveMessage");
    add("one", "111111111111").aws_account_ids("222222222222").send().await.unwrap();
    add("two", "111111111111").send().await.unwrap();
    let arn = stack::queue_arn("q");
    let accounts = json!(["arn:aws:iam::111111111111:root", "arn:aws:iam::222222222222:root"]);
    let statement = |sid: &str, accounts: Value| json!({ "Sid": sid, "Effect": "Allow", "Principal": { "AWS": accounts }, "Action": "SQS:ReceiveMessage", "Resource": arn });
    let two = statement("two", json!("arn:aws:iam::111111111111:root"));
    let id = format!("{arn}/SQSDefaultPolicy");
    let both = json!({ "Version": "2008-10-17", "Id": id, "Statement": [statement("one", accounts), two] });
    assert_eq!(policy().await, Some(both));
    assert_eq!(add("one", "111111111111").send().await.unwrap_err().code(), Some("InvalidParameterValue"), "the label is taken");
    assert_eq!(add("three", "me").send().await.unwrap_err().code(), Some("InvalidParameterValue"), "no account");
    for label in ["one", "two"] {
        sqs.remove_permission().queue_url(&url).label(label).send().await.unwrap();
    }
    assert_eq!(policy().await, None);
    let gone = sqs.remove_permission().queue_url(&url).label("two").send().await.unwrap_err();
    assert!(gone.message().unwrap().ends_with("can't find label."), "{gone:?}");
}

#[tokio::test]
async fn a_dead_letter_queue_says_who_may_use_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let dead = |allowed: &[&str]| stack::Queue {
        redrive_allow: Some(allowed.iter().map(|name| stack::queue_arn(name)).collect()),
        ..super::queue("dead")
    };
    let redrive = Some(stack::Redrive { dead_letter_target_arn: stack::queue_arn("dead"), max_receive_count: 3 });
    let source = |name: &str| stack::Queue { redrive: redrive.clone(), ..super::queue(name) };
    server.sqs.ensure_queues(&[source("one"), dead(&["one"]), super::queue("two")]).await.unwrap();
    let refused = server.sqs.ensure_queues(&[source("three"), dead(&["one"])]).await.unwrap_err();
    assert!(refused.message.contains("RedriveAllowPolicy"), "{refused}");

    let sqs = server.sqs_client();
    let url = format!("{}/000000000000/two", server.endpoint);
    let policy = json!({ "deadLetterTargetArn": stack::queue_arn("dead"), "maxReceiveCount": 3 }).to_string();
    let set = || sqs.set_queue_attributes().queue_url(&url).attributes(Attribute::RedrivePolicy, &policy).send();
    assert_eq!(set().await.unwrap_err().code(), Some("InvalidParameterValue"));
    let create = sqs.create_queue().queue_name("four").attributes(Attribute::RedrivePolicy, &policy).send().await;
    assert_eq!(create.unwrap_err().code(), Some("InvalidParameterValue"));
    let allow = json!({ "redrivePermission": "byQueue", "sourceQueueArns": [stack::queue_arn("one"), stack::queue_arn("two")] });
    let dead = format!("{}/000000000000/dead", server.endpoint);
    sqs.set_queue_attributes().queue_url(&dead).attributes(Attribute::RedriveAllowPolicy, allow.to_string()).send().await.unwrap();
    set().await.unwrap();
    let shown = sqs.get_queue_attributes().queue_url(&dead).attribute_names(Attribute::RedriveAllowPolicy).send().await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&shown.attributes.unwrap()[&Attribute::RedriveAllowPolicy]).unwrap(), allow);
}

#[tokio::test]
async fn a_queue_is_purged_once_a_minute_and_shows_its_encryption() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let sqs = server.sqs_client();
    let create = sqs.create_queue().queue_name("q").attributes(Attribute::KmsMasterKeyId, "alias/mine");
    let url = create.attributes(Attribute::KmsDataKeyReusePeriodSeconds, "6000").send().await.unwrap().queue_url.unwrap();
    let all = sqs.get_queue_attributes().queue_url(&url).attribute_names(Attribute::All).send().await.unwrap().attributes.unwrap();
    assert_eq!((all[&Attribute::KmsMasterKeyId].as_str(), all[&Attribute::SqsManagedSseEnabled].as_str()), ("alias/mine", "false"));

    assert_eq!(server.sqs.age_of_oldest("q").await.unwrap(), None);
    server.sqs.send("q", "m".into(), None).await.unwrap();
    assert!(server.sqs.age_of_oldest("q").await.unwrap().is_some_and(|age| age.as_secs() < 60));
    sqs.purge_queue().queue_url(&url).send().await.unwrap();
    assert_eq!(server.sqs.age_of_oldest("q").await.unwrap(), None);
    let again = sqs.purge_queue().queue_url(&url).send().await.unwrap_err().into_service_error();
    assert!(again.is_purge_queue_in_progress(), "{again:?}");
    assert_eq!(again.message(), Some("Only one PurgeQueue operation on q is allowed every 60 seconds."));
}
