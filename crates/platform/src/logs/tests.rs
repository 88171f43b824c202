//! The API as a client uses it.

use serde_json::{Value, json};

use super::{store::*, *};

const GROUP: &str = "/aws/lambda/f";

struct Rig {
    logs: Arc<Logs>,
    _directory: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { logs: Logs::open(directory.path()).unwrap(), _directory: directory }
    }

    /// Status and answer.
    async fn call(&self, operation: &str, body: Value) -> (u16, Value) {
        let answer = self.logs.handle(operation, body.to_string().as_bytes()).await;
        (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap())
    }

    async fn ok(&self, operation: &str, body: Value) -> Value {
        let (status, answer) = self.call(operation, body).await;
        assert_eq!(status, 200, "{operation}: {answer}");
        answer
    }

    async fn messages(&self, body: Value) -> Vec<String> {
        texts(&self.ok("FilterLogEvents", body).await)
    }
}

fn texts(answer: &Value) -> Vec<String> {
    answer["events"].as_array().unwrap().iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn lines_are_filtered_by_stream_time_and_term() {
    let rig = Rig::new();
    for (stream, at, line) in [("a/1", 1000, "one apple"), ("b/1", 2000, "two pears"), ("a/2", 3000, "three apples"), ("a/1", 3000, "four")]
    {
        rig.logs.put(GROUP, stream, at, line.into());
    }
    let filter = async |more: Value| {
        let mut body = json!({ "logGroupName": GROUP });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rig.messages(body).await
    };
    assert_eq!(filter(json!({})).await, ["one apple", "two pears", "three apples", "four"]);
    assert_eq!(filter(json!({ "logStreamNamePrefix": "a/" })).await, ["one apple", "three apples", "four"]);
    assert_eq!(filter(json!({ "logStreamNames": ["b/1", "a/2"] })).await, ["two pears", "three apples"]);
    assert_eq!(filter(json!({ "logStreamNames": ["a/1"] })).await, ["one apple", "four"]);
    assert_eq!(filter(json!({ "startTime": 2000, "endTime": 2000 })).await, ["two pears"]);
    assert_eq!(filter(json!({ "filterPattern": "apple three" })).await, ["three apples"]);
    let by_arn = json!({ "logGroupIdentifier": "arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/f:*" });
    assert_eq!(rig.messages(by_arn).await.len(), 4);
    let (status, error) = rig.call("FilterLogEvents", json!({ "logGroupName": "/none" })).await;
    assert_eq!((status, &error["__type"]), (400, &json!("ResourceNotFoundException")));
}

/// As `aws logs tail --follow` does: again and again from the time of the last line, leaving out what it has seen.
#[tokio::test]
async fn a_reader_that_follows_sees_every_line_once() {
    let rig = Rig::new();
    let (mut seen, mut lines, mut from) = (std::collections::HashSet::new(), Vec::new(), 0);
    for round in 0..5 {
        for line in 0..7 {
            // Several lines have one time.
            rig.logs.put(GROUP, "s", 1000 + round / 2, format!("{round}.{line}"));
        }
        let mut token = Value::Null;
        loop {
            let mut body = json!({ "logGroupName": GROUP, "startTime": from, "limit": 3, "interleaved": true });
            if !token.is_null() {
                body["nextToken"] = token;
            }
            let page = rig.ok("FilterLogEvents", body).await;
            for event in page["events"].as_array().unwrap() {
                if seen.insert(event["eventId"].as_str().unwrap().to_owned()) {
                    lines.push(event["message"].as_str().unwrap().to_owned());
                }
                from = event["timestamp"].as_u64().unwrap();
            }
            token = page["nextToken"].clone();
            if token.is_null() {
                break;
            }
        }
    }
    let expected: Vec<_> = (0..5).flat_map(|round| (0..7).map(move |line| format!("{round}.{line}"))).collect();
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_stream_is_paged_both_ways() {
    let rig = Rig::new();
    for line in 0..10 {
        rig.logs.put(GROUP, "s", 1000 + line, line.to_string());
    }
    let get = async |more: Value| {
        let mut body = json!({ "logGroupName": GROUP, "logStreamName": "s", "limit": 4 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rig.ok("GetLogEvents", body).await
    };
    let last = get(json!({})).await;
    assert_eq!(texts(&last), ["6", "7", "8", "9"]);
    let before = get(json!({ "nextToken": last["nextBackwardToken"] })).await;
    assert_eq!(texts(&before), ["2", "3", "4", "5"]);
    let first = get(json!({ "startFromHead": true })).await;
    assert_eq!(texts(&first), ["0", "1", "2", "3"]);
    let end = get(json!({ "nextToken": last["nextForwardToken"] })).await;
    assert_eq!((texts(&end), &end["nextForwardToken"]), (vec![], &last["nextForwardToken"]));
    rig.logs.put(GROUP, "s", 1010, "10".into());
    assert_eq!(texts(&get(json!({ "nextToken": end["nextForwardToken"] })).await), ["10"]);
}

#[tokio::test]
async fn groups_and_streams_are_made_listed_and_deleted() {
    let rig = Rig::new();
    rig.ok("CreateLogGroup", json!({ "logGroupName": "g" })).await;
    assert_eq!(rig.call("CreateLogGroup", json!({ "logGroupName": "g" })).await.1["__type"], "ResourceAlreadyExistsException");
    rig.ok("CreateLogStream", json!({ "logGroupName": "g", "logStreamName": "s" })).await;
    let now = now_ms();
    let put = json!({ "logGroupName": "g", "logStreamName": "s", "logEvents": [
        { "timestamp": 5, "message": "too old" }, { "timestamp": now, "message": "in time" },
    ] });
    let answer = rig.ok("PutLogEvents", put).await;
    assert_eq!(answer["rejectedLogEventsInfo"]["tooOldLogEventEndIndex"], 1);
    assert_eq!(rig.messages(json!({ "logGroupName": "g" })).await, ["in time"]);
    rig.ok("PutRetentionPolicy", json!({ "logGroupName": "g", "retentionInDays": 7 })).await;
    assert_eq!(rig.call("PutRetentionPolicy", json!({ "logGroupName": "g", "retentionInDays": 8 })).await.0, 400);
    let groups = rig.ok("DescribeLogGroups", json!({ "logGroupNamePrefix": "g" })).await;
    assert_eq!((&groups["logGroups"][0]["retentionInDays"], groups["logGroups"][1].is_null()), (&json!(7), true));
    rig.ok("CreateLogGroup", json!({ "logGroupName": "/aws/lambda/Resize" })).await;
    let groups = rig.ok("DescribeLogGroups", json!({ "logGroupNamePattern": "lambda" })).await;
    assert_eq!((&groups["logGroups"][0]["logGroupName"], groups["logGroups"][1].is_null()), (&json!("/aws/lambda/Resize"), true));
    let both = json!({ "logGroupNamePattern": "lambda", "logGroupNamePrefix": "/aws" });
    assert_eq!(rig.call("DescribeLogGroups", both).await.1["__type"], "InvalidParameterException");
    rig.ok("DeleteLogGroup", json!({ "logGroupName": "/aws/lambda/Resize" })).await;
    rig.logs.put("g", "newer", now + 1, "x".into());
    let body = json!({ "logGroupName": "g", "orderBy": "LastEventTime", "descending": true, "limit": 1 });
    let streams = rig.ok("DescribeLogStreams", body.clone()).await;
    assert_eq!(streams["logStreams"][0]["logStreamName"], "newer");
    let mut next = body;
    next["nextToken"] = streams["nextToken"].clone();
    assert_eq!(rig.ok("DescribeLogStreams", next).await["logStreams"][0]["logStreamName"], "s");
    rig.ok("DeleteLogStream", json!({ "logGroupName": "g", "logStreamName": "newer" })).await;
    assert_eq!(rig.messages(json!({ "logGroupName": "g" })).await, ["in time"]);
    rig.ok("DeleteLogGroup", json!({ "logGroupName": "g" })).await;
    assert_eq!(rig.ok("DescribeLogGroups", json!({})).await["logGroups"], json!([]));
    // A writer that had known them makes them anew.
    rig.logs.put("g", "s", now, "again".into());
    assert_eq!(rig.messages(json!({ "logGroupName": "g" })).await, ["again"]);
    assert_eq!(rig.call("PutSubscriptionFilter", json!({})).await.1["__type"], "UnknownOperationException");
}

#[tokio::test]
async fn lines_survive_and_the_templates_group_keeps_its_lines() {
    let directory = tempfile::tempdir().unwrap();
    let logs = Logs::open(directory.path()).unwrap();
    logs.put(GROUP, "s", now_ms(), "line".into());
    logs.flush().await;
    drop(logs);
    let logs = Logs::open(directory.path()).unwrap();
    let group = stack::LogGroup { name: GROUP.into(), retention_days: Some(3) };
    logs.ensure_group(&group).await.unwrap();
    let rig = Rig { logs, _directory: directory };
    assert_eq!(rig.messages(json!({ "logGroupName": GROUP })).await, ["line"]);
    assert_eq!(rig.ok("DescribeLogGroups", json!({})).await["logGroups"][0]["retentionInDays"], 3);
}

fn line(at: u64, message: &str) -> Line {
    Line { group: "g".into(), stream: format!("s{}", at / 10), timestamp_ms: at, message: message.into() }
}

fn left(store: &Store) -> Vec<u64> {
    let wanted = Wanted { group: "g".into(), limit: 1000, ..Wanted::default() };
    store.forward(&wanted, None).unwrap().entries.iter().map(|entry| entry.place.timestamp_ms).collect()
}

#[test]
fn what_is_too_old_or_too_much_goes() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(&directory.path().join("logs.db")).unwrap();
    store.append(&(1..=40).map(|at| line(at, "0123456789")).collect::<Vec<_>>(), 50).unwrap();
    store.sweep_to(DAY_MS, i64::MAX).unwrap();
    assert_eq!(left(&store).len(), 40, "kept for ever");
    store.set_retention("g", Some(1)).unwrap();
    store.sweep_to(DAY_MS + 11, i64::MAX).unwrap();
    assert_eq!(left(&store), (11..=40).collect::<Vec<_>>());
    // Each counts 36 bytes.
    store.sweep_to(DAY_MS, 36 * 5).unwrap();
    assert_eq!(left(&store), (36..=40).collect::<Vec<_>>());
    assert_eq!(store.groups("", "", "", 9).unwrap()[0].bytes, 36 * 5);
    assert_eq!(store.streams("g", "", false).unwrap().len(), 2, "empty streams are gone");
    store.append(&[line(5, "late")], 50).unwrap();
    assert_eq!(left(&store).first(), Some(&5), "a stream that was removed is made again");
}

/// Waits for a query's end.
async fn ended(rig: &Rig, id: &Value) -> Value {
    for _ in 0..500 {
        let answer = rig.ok("GetQueryResults", json!({ "queryId": id })).await;
        if answer["status"] != "Running" {
            return answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the query did not end");
}

#[tokio::test]
async fn a_query_is_started_answered_and_listed() {
    let rig = Rig::new();
    let now = now_ms();
    for n in 0..50u64 {
        let group = if n % 2 == 0 { "/aws/lambda/a" } else { "/aws/lambda/b" };
        rig.logs.put(group, "s", now - 50_000 + n * 1000, format!("{{\"n\":{n},\"kind\":\"{}\"}}", n % 5));
    }
    let seconds = now / 1000;
    let body = json!({
        "logGroupNames": ["/aws/lambda/a", "/aws/lambda/b"], "startTime": seconds - 60, "endTime": seconds,
        "queryString": "filter n >= 10 | stats count(*) as lines, count_distinct(@log) as groups by kind | sort kind asc",
    });
    let id = rig.ok("StartQuery", body).await["queryId"].clone();
    let answer = ended(&rig, &id).await;
    assert_eq!(answer["status"], "Complete");
    let row =
        |kind: &str| json!([{ "field": "kind", "value": kind }, { "field": "lines", "value": "8" }, { "field": "groups", "value": "2" }]);
    assert_eq!(answer["results"], json!(["0", "1", "2", "3", "4"].map(row)));
    let statistics = &answer["statistics"];
    assert_eq!((&statistics["recordsScanned"], &statistics["recordsMatched"]), (&json!(50), &json!(40)));

    // Lines of two groups come in one order, the newest first, each with its place.
    let body = json!({ "logGroupIdentifiers": ["arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/a:*", "/aws/lambda/b"],
        "startTime": now - 60_000, "endTime": now, "queryString": "fields n", "limit": 3 });
    let answer = ended(&rig, &rig.ok("StartQuery", body).await["queryId"]).await;
    let shown: Vec<&Value> = answer["results"].as_array().unwrap().iter().map(|row| &row[0]["value"]).collect();
    assert_eq!(shown, ["49", "48", "47"]);
    assert_eq!(answer["results"][0][1]["field"], "@ptr");

    let listed = rig.ok("DescribeQueries", json!({ "logGroupName": "/aws/lambda/a", "status": "Complete" })).await;
    assert_eq!(listed["queries"].as_array().unwrap().len(), 2);
    assert_eq!(rig.ok("StopQuery", json!({ "queryId": id })).await["success"], false);
}

#[tokio::test]
async fn a_query_that_is_stopped_at_work_answers_no_more() {
    let rig = Rig::new();
    for n in 0..20_000 {
        rig.logs.put(GROUP, "s", 1_000 + n, format!(r#"{{"n":{n},"text":"a line like any other"}}"#));
    }
    let body = json!({ "logGroupName": GROUP, "startTime": 0, "endTime": 9_999_999,
        "queryString": "filter text like /l.*k.*n.*r$/ | stats count(*) by n % 100" });
    // One may be done before it is stopped.
    for _ in 0..50 {
        let id = rig.ok("StartQuery", body.clone()).await["queryId"].clone();
        if rig.ok("StopQuery", json!({ "queryId": id })).await["success"] == true {
            assert_eq!(ended(&rig, &id).await["status"], "Cancelled");
            return;
        }
    }
    panic!("no query could be stopped");
}

#[tokio::test]
async fn a_bad_query_is_refused_with_what_is_wrong() {
    let rig = Rig::new();
    rig.logs.put(GROUP, "s", 1000, "x".into());
    let kind = async |body: Value| {
        let (status, answer) = rig.call("StartQuery", body).await;
        assert_eq!(status, 400);
        (answer["__type"].as_str().unwrap().to_owned(), answer["message"].as_str().unwrap().to_owned())
    };
    let (name, message) = kind(json!({ "logGroupName": GROUP, "startTime": 0, "endTime": 9, "queryString": "filter a like" })).await;
    assert_eq!(name, "MalformedQueryException");
    assert!(message.contains("/a regular expression/"), "{message}");
    let (name, _) = kind(json!({ "logGroupName": "/none", "startTime": 0, "endTime": 9, "queryString": "limit 1" })).await;
    assert_eq!(name, "ResourceNotFoundException");
    let (name, _) = kind(json!({ "logGroupName": GROUP, "startTime": 9, "endTime": 1, "queryString": "limit 1" })).await;
    assert_eq!(name, "InvalidParameterException");
    assert_eq!(rig.call("GetQueryResults", json!({ "queryId": "no" })).await.1["__type"], "ResourceNotFoundException");
}

#[tokio::test]
async fn a_pattern_is_tried_on_lines_of_the_asker() {
    let rig = Rig::new();
    let body =
        json!({ "filterPattern": "[ip, ..., status = 4*, bytes]", "logEventMessages": ["10.0.0.1 GET /a 404 7", "10.0.0.1 GET /a 200 7"] });
    let matches = rig.ok("TestMetricFilter", body).await["matches"].clone();
    let values = json!({ "$ip": "10.0.0.1", "$status": "404", "$bytes": "7" });
    assert_eq!(matches, json!([{ "eventNumber": 1, "eventMessage": "10.0.0.1 GET /a 404 7", "extractedValues": values }]));
}
