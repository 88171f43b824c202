//! Whole templates in, stacks or problems out.

use std::{collections::BTreeMap, path::PathBuf};

use proptest::prelude::*;

use super::{Problem, resolve};
use crate::{config::TemplateSource, stack::Stack};

const ENDPOINT: &str = "http://127.0.0.1:4566";
const FULL: &str = include_str!("full.yaml");
/// Every kind of link between resources.
const MORE: &str = include_str!("more.yaml");

fn run(text: &str, overrides: &[(&str, &str)]) -> Result<Stack, Vec<Problem>> {
    let source = TemplateSource::Text { text: text.to_owned(), base_dir: PathBuf::from("/project") };
    let overrides: BTreeMap<String, String> = overrides.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    resolve(&source, &overrides, ENDPOINT).map_err(|error| error.problems)
}

/// The output `X` of a template whose only output has this value.
fn value(expression: &str) -> Result<String, Vec<Problem>> {
    let text = format!(
        "Parameters:\n  P: {{ Type: String, Default: p }}\n  L: {{ Type: CommaDelimitedList, Default: 'a, b' }}\n\
         Mappings:\n  M: {{ k: {{ one: found, many: [x, y] }} }}\n\
         Conditions:\n  Yes: !Equals [!Ref P, p]\n  No: !Not [!Condition Yes]\n  Bad: !Equals [!Ref Absent, x]\n\
         Resources:\n  Queue: {{ Type: AWS::SQS::Queue }}\n  Files: {{ Type: AWS::S3::Bucket }}\n\
         Outputs:\n  X:\n    Value: {expression}\n"
    )
    .replace(if expression.contains("Bad") { "\0" } else { "  Bad: !Equals [!Ref Absent, x]\n" }, "");
    run(&text, &[]).map(|stack| stack.outputs["X"].clone())
}

#[test]
fn a_full_template_resolves() {
    insta::assert_debug_snapshot!(run(FULL, &[]).unwrap());
}

#[test]
fn overrides_change_conditions_names_and_stack() {
    let overrides = [("BucketName", "mine"), ("Level", "debug"), ("AWS::StackName", "prod")];
    let stack = run(FULL, &overrides).unwrap();
    assert_eq!(stack.buckets[0].name, "mine");
    assert_eq!(stack.buckets[1].name, "prod-outbox");
    assert_eq!(stack.outputs["Debug"], format!("{ENDPOINT}/000000000000/prod-OnlyInDebug"));
    assert_eq!(stack.functions[0].environment["NOTHING"], "x");
}

#[test]
fn intrinsics_in_short_and_long_form() {
    for (expression, expected) in [
        ("!Ref P", "p"),
        ("{ Ref: P }", "p"),
        ("!Ref Queue", "http://127.0.0.1:4566/000000000000/local-Queue"),
        ("!Ref Files", "local-files"),
        ("!GetAtt Queue.Arn", "arn:aws:sqs:us-east-1:000000000000:local-Queue"),
        ("{ 'Fn::GetAtt': [Queue, QueueName] }", "local-Queue"),
        ("!GetAtt Files.Arn", "arn:aws:s3:::local-files"),
        ("!Sub '${P}/${Queue.QueueName}/${AWS::Region}/${!P}'", "p/local-Queue/us-east-1/${P}"),
        ("{ 'Fn::Sub': ['${a}${P}', { a: !Ref AWS::AccountId }] }", "000000000000p"),
        ("!Join ['-', [a, !Ref P, c]]", "a-p-c"),
        ("{ 'Fn::Join': ['', !Ref L] }", "ab"),
        ("!Select [1, !Ref L]", "b"),
        ("!Select ['0', !Split [',', 'x,y']]", "x"),
        ("!If [Yes, 1, 2]", "1"),
        ("{ 'Fn::If': [No, 1, !If [Yes, 2, 3]] }", "2"),
        ("!FindInMap [M, k, one]", "found"),
        ("!Select [1, !FindInMap [M, k, many]]", "y"),
        ("!Join ['', [a, !Ref AWS::NoValue, b]]", "ab"),
        ("012", "012"),
    ] {
        assert_eq!(value(expression), Ok(expected.to_owned()), "{expression}");
    }
}

#[test]
fn broken_intrinsics_are_told() {
    for (expression, part) in [
        ("!Ref Nobody", "no parameter or resource `Nobody`"),
        ("!Ref [a]", "Ref takes a name, not a list"),
        ("!GetAtt Queue.Size", "no attribute `Size`; it has: Arn, QueueName, QueueUrl"),
        ("!GetAtt Queue", "takes `LogicalId.Attribute`"),
        ("!Sub '${Nobody}'", "`Nobody`"),
        ("!Sub '${P'", "no closing brace"),
        ("!Sub '${L}'", "texts only"),
        ("!Sub [1]", "Fn::Sub takes"),
        ("!Join [a]", "Fn::Join takes"),
        ("!Join [a, [[b]]]", "list of texts"),
        ("!Select [2, !Ref L]", "no item `2` in a list of 2"),
        ("!Select [-1, !Ref L]", "no item `-1`"),
        ("!Split ['', a]", "delimiter not empty"),
        ("!If [Nobody, 1, 2]", "no condition `Nobody`"),
        ("!If [Yes, 1]", "Fn::If takes"),
        ("!FindInMap [M, k, two]", "no value at M.k.two"),
        ("!Cidr [a, 1, 2]", "Fn::Cidr is not supported"),
        ("!Equals [a, b]", "belongs into Conditions"),
        ("{ 'Fn::Sub': a, b: c }", "only key"),
        ("!If [Bad, 1, 2]", "there is no parameter `Absent`; resources cannot be named here"),
    ] {
        let problems = value(expression).unwrap_err();
        assert_eq!(problems.len(), 1, "{expression}: {problems:?}");
        assert!(problems[0].message.contains(part), "{expression}: {problems:?}");
        assert!(problems[0].line > 0, "{expression}: {problems:?}");
    }
}

/// Problems of the full template with one piece of it replaced: `resource.property: message`.
fn broken(from: &str, to: &str) -> Vec<String> {
    broken_in(FULL, from, to)
}

fn broken_in(template: &str, from: &str, to: &str) -> Vec<String> {
    assert!(template.contains(from), "{from}");
    let problems = run(&template.replacen(from, to, 1), &[]).expect_err(to);
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn every_link_between_resources_resolves() {
    insta::assert_debug_snapshot!(run(MORE, &[]).unwrap());
}

#[test]
fn links_that_cannot_be_are_refused_with_their_place() {
    let mut wrong = Vec::new();
    for (from, to, part) in [
        ("Bucket: !Ref Films", "Bucket: elsewhere", "Worker.Properties.Events.Uploads.Properties.Bucket: `elsewhere` is no bucket"),
        ("\"s3:ObjectCreated:*\"", "\"s3:ObjectRemoved:Delete\"", "Events.Uploads.Properties.Bucket: overlaps with another notification"),
        ("\"s3:ObjectCreated:*\"", "[\"s3:ReducedRedundancyLostObject\"]", "`s3:ReducedRedundancyLostObject` is not supported"),
        (
            "Function: !GetAtt Plain.Arn",
            "Function: arn:aws:lambda:us-east-1:000000000000:function:x",
            "Films.Properties.NotificationConfiguration: `arn:aws:lambda:us-east-1:000000000000:function:x` is no function",
        ),
        ("Function: !GetAtt Plain.Arn", "Function: !GetAtt Orders.Arn", "is a FIFO queue, which S3 does not send to"),
        ("MaximumMessageSize: 2048", "MaximumMessageSize: 1023", "must be a whole number from 1024 to 1048576"),
        ("QueueName: dead-orders.fifo", "QueueName: dead-orders", "ends in `.fifo` exactly if"),
        ("DeduplicationScope: messageGroup", "DeduplicationScope: queue", "perMessageGroupId needs DeduplicationScope"),
        (
            "Failed: { Type: AWS::SQS::Queue }",
            "Failed: { Type: AWS::SQS::Queue, Properties: { DeduplicationScope: queue } }",
            "is for FIFO queues",
        ),
        ("local-Orders.fifo\"]", "other.fifo\"]", "Orders.Properties.RedrivePolicy: the RedriveAllowPolicy of `dead-orders.fifo`"),
        ("!GetAtt DeadOrders.Arn", "!GetAtt Failed.Arn", "must be a FIFO queue exactly if this one is"),
        (
            "{ FunctionName: !GetAtt Plain.Arn, EventSourceArn: !GetAtt Failed.Arn,",
            "{ FunctionName: !Ref Plain, EventSourceArn: !GetAtt Orders.Arn,",
            "a FIFO queue gives batches of at most 10",
        ),
        ("{\"body\":{\"kind\":[\"order\"]}}", "{\"body\":", "FilterCriteria.Filters[0].Pattern: must be JSON"),
        ("{\"body\":{\"kind\":[\"order\"]}}", "{\"body\":{\"kind\":\"order\"}}", "FilterCriteria.Filters[0].Pattern: "),
        ("Timeout: 20", "Timeout: 31", "Orders.Properties.VisibilityTimeout: 30 s is below"),
        ("ApiId: !Ref Api", "ApiId: abc", "Own.Properties.Path: `abc` is no HTTP API"),
        ("Path: \"/films/{id}\"", "Path: \"films\"", "must begin with `/`"),
        ("Path: \"/films/{id}\"", "Path: \"/{all+}/x\"", "must be the last segment"),
        ("Method: get", "Method: fetch", "`fetch` is no method"),
        (", Method: get", "", "Film.Properties.Method: is missing; give both Path and Method"),
        ("TimeoutInMillis: 5000", "TimeoutInMillis: 5000, Auth: { Authorizer: Login }", "Auth.Authorizer: `Login` is not supported"),
        ("StageName: prod", "StageName: prod, Auth: {}", "Api.Properties.Auth: is not supported"),
        (
            "Destination: !GetAtt Failed.Arn",
            "Destination: arn:aws:sns:us-east-1:000000000000:t",
            "Worker.Properties.EventInvokeConfig: `arn:aws:sns:us-east-1:000000000000:t` is no queue or function",
        ),
        ("Code: plain", "Code: { S3Bucket: b, S3Key: k }", "Plain.Properties.Code: must be a local directory"),
        ("      Role: arn:aws:iam::000000000000:role/plain\n", "", "Plain.Properties.Role: is missing"),
        (
            "FunctionName: !Ref Plain, Qualifier",
            "FunctionName: nobody, Qualifier",
            "PlainInvokes.Properties.FunctionName: `nobody` is no function",
        ),
        (
            "ScheduleExpression: rate(1 hour)",
            "EventPattern: { source: [x] }",
            "Hourly.Properties.EventPattern: must have `source: [aws.s3]`",
        ),
        (
            "ScheduleExpression: rate(1 hour)",
            "EventPattern: { source: [aws.s3], detail: { object: { key: [{ wildcard: '*' }] } } }",
            "Hourly.Properties.EventPattern: key: {\"wildcard\":\"*\"} is not a rule",
        ),
        ("Arn: !GetAtt Plain.Arn, Input", "Arn: !GetAtt Failed.Arn, Input", "Hourly.Properties.Targets[0].Arn: "),
        ("2027-01-31T00:00:00Z", "2027-01-31T12:00:00Z", "must be midnight UTC of a day"),
        ("\"https://*.example\"", "\"https://*.*\"", "may hold one `*` at most"),
    ] {
        let problems = broken_in(MORE, from, to);
        let placed = problems.iter().all(|problem| problem.starts_with("line "));
        if !placed || !problems.iter().any(|problem| problem.contains(part)) {
            wrong.push((to, part, problems));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_aws_or_the_platform_refuses_is_refused_with_its_place() {
    for (from, to, part) in [
        ("VisibilityTimeout: 90", "VisibilityTimeout: 59", "Work.Properties.VisibilityTimeout: 59 s is below the timeout"),
        ("BatchSize: 1", "BatchSize: 11", "BatchSize: 11 needs MaximumBatchingWindowInSeconds"),
        ("MaximumConcurrency: 2", "MaximumConcurrency: 1", "must be a whole number from 2 to 1000"),
        ("MaximumConcurrency: 2", "MaximumConcurrency: 1001", "must be a whole number from 2 to 1000"),
        ("SqsManagedSseEnabled", "SqsManagedSseEnabld", "Work.Properties.SqsManagedSseEnabld: is no property"),
        ("AWS::SNS::Topic", "AWS::EC2::Instance", "Alerts.Type: `AWS::EC2::Instance` is not supported"),
        ("Type: SQS\n", "Type: Kinesis\n", "Worker.Properties.Events.Messages.Type: events of type `Kinesis`"),
        ("rate(1 minute)", "rate(1 minutes)", "must be like rate(1 minute)"),
        ("rate(1 minute)", "cron(0 * * * * *)", "Sweep.Properties.Events.EveryMinute.Properties.Schedule: "),
        ("Timeout: 60", "Timeout: 901", "Worker.Properties.Timeout: `901`"),
        ("LEVEL: loud", "AWS_REGION: loud", "Environment.Variables.AWS_REGION: is set by Lambda"),
        (
            "!GetAtt Dead.Arn",
            "arn:aws:sqs:us-east-1:000000000000:none",
            "Work.Properties.RedrivePolicy: `arn:aws:sqs:us-east-1:000000000000:none` is no queue",
        ),
        ("DependsOn: InboxMaySend", "DependsOn: Nothing", "Inbox.DependsOn: there is no resource `Nothing`"),
        ("Condition: Debug }", "Condition: Nope }", "OnlyInDebug.Condition: there is no condition `Nope`"),
        ("inbox-${AWS::AccountId}", "Inbox_1", "`Inbox_1` cannot be its BucketName"),
        ("QueueName: dead-letters", "QueueName: local-Work", "has the name `local-Work`"),
        ("s3:ObjectRemoved:*", "s3:ObjectCreated:Put", "overlaps with the configuration on line"),
        ("AttributeName: due, AttributeType: N", "AttributeName: odd, AttributeType: N", "look at: due, odd"),
        ("BillingMode: PAY_PER_REQUEST", "TableClass: STANDARD", "ProvisionedThroughput: is missing"),
        ("Runtime: provided.al2023", "Runtime: python3.13", "`python3.13` is not supported"),
        ("Layers: [!Ref Tools]", "Layers: ['arn:x']", "`arn:x` is no layer of this template"),
        ("CodeUri: functions/sweep", "CodeUri: functions/sweep.zip", "Sweep.Properties.CodeUri: must be a local directory"),
        ("Transform: AWS::Serverless-2016-10-31", "", "needs `Transform: AWS::Serverless-2016-10-31`"),
        ("Default: info", "Default: trace", "Parameters.Level: `trace` is not allowed; use one of: debug, info"),
        ("Default: 512", "Default: 64", "`64` is out of bounds; use 128 to 3008"),
        ("Default: 512", "Default: much", "`much` is not a number"),
        ("RetentionInDays: 14", "RetentionInDays: 15", "15 days is no retention"),
        ("'{\"kind\":\"sweep\"}'", "'{'", "Input: must be JSON"),
        ("Outputs:", "Rules:", "Rules: this section is not supported"),
    ] {
        let problems = broken(from, to);
        assert!(problems.iter().any(|problem| problem.contains(part)), "{to}: {problems:#?}");
        assert!(problems.iter().all(|problem| problem.starts_with("line ")), "{to}: {problems:#?}");
    }
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_file() {
    let text = FULL.replace("VisibilityTimeout: 90", "VisibilityTimeout: 1").replace("Timeout: 60", "Tmeout: 60");
    let error = run(&text, &[("Sise", "1")]).unwrap_err();
    let places: Vec<String> = error.iter().map(|p| format!("{}:{}.{}", p.line, p.resource, p.property)).collect();
    let line = |part: &str| text.lines().position(|line| line.contains(part)).unwrap() + 1;
    let expected = [
        "0:Parameters.Sise.".to_owned(),
        format!("{}:Work.Properties.VisibilityTimeout", line("VisibilityTimeout: 1")),
        format!("{}:Worker.Properties.Tmeout", line("Tmeout: 60")),
    ];
    assert_eq!(places, expected);
}

#[test]
fn circles_are_refused_and_events_are_none() {
    let problems = broken("inbox-${AWS::AccountId}", "inbox-${InboxMaySend}");
    assert!(problems.iter().all(|problem| !problem.contains("circle")), "{problems:#?}");
    let problems = broken("arn:${AWS::Partition}:s3:::inbox-*", "${Inbox.Arn}");
    assert!(problems[0].contains("circle: Inbox → InboxMaySend → Inbox"), "{problems:#?}");
    let queue = "Resources:\n  A: { Type: AWS::SQS::Queue, Properties: { QueueName: !Sub 'a-${B}' } }\n  \
                 B: { Type: AWS::SQS::Queue, Properties: { QueueName: !Sub 'b-${A}' } }\n";
    let problems = run(queue, &[]).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    // A queue may name the function that it feeds: the mapping is a resource of its own.
    let fed = FULL.replace("QueueName: dead-letters", "Tags: [{ Key: fed, Value: !Ref Worker }]");
    let problems = run(&fed, &[]).unwrap_err();
    assert!(problems[0].message.contains("circle"), "Worker's environment names Dead: {problems:?}");
    assert!(run(&FULL.replace("SqsManagedSseEnabled: true", "Tags: [!Ref Worker]"), &[]).is_ok());
}

/// SAM writes the function into its bucket: who names the bucket in that function cannot deploy.
#[test]
fn a_bucket_that_calls_a_function_which_names_it_is_a_circle() {
    let template = |bucket: &str| {
        format!(
            "Transform: AWS::Serverless-2016-10-31\nResources:\n  Films: {{ Type: AWS::S3::Bucket, Properties: {{ BucketName: films }} }}\n  Worker:\n    Type: AWS::Serverless::Function\n    \
             Properties:\n      CodeUri: worker/\n      Handler: bootstrap\n      Runtime: provided.al2023\n      \
             Environment: {{ Variables: {{ BUCKET: {bucket} }} }}\n      \
             Events:\n        Put: {{ Type: S3, Properties: {{ Bucket: !Ref Films, Events: 's3:ObjectCreated:*' }} }}\n"
        )
    };
    let problems = run(&template("!Ref Films"), &[]).unwrap_err();
    assert!(problems[0].message.contains("circle: Films → Worker → Films"), "{problems:?}");
    assert!(run(&template("films"), &[]).is_ok());
}

#[test]
fn a_functions_log_format_is_what_it_is_told() {
    let template = |config: &str| {
        format!(
            "Transform: AWS::Serverless-2016-10-31\nResources:\n  Worker:\n    Type: AWS::Serverless::Function\n    Properties:\n      CodeUri: worker/\n      Handler: bootstrap\n      \
             Runtime: provided.al2023\n      LoggingConfig: {config}\n"
        )
    };
    let format = |config: &str| run(&template(config), &[]).map(|stack| stack.functions[0].log_format.clone());
    let json = |level: &str| crate::stack::LogFormat::Json { level: level.to_owned() };
    assert_eq!(format("{ LogGroup: mine }").unwrap(), crate::stack::LogFormat::Text);
    assert_eq!(format("{ LogFormat: JSON }").unwrap(), json("INFO"));
    assert_eq!(format("{ LogFormat: JSON, ApplicationLogLevel: WARN, SystemLogLevel: WARN }").unwrap(), json("WARN"));
    let problems = format("{ ApplicationLogLevel: DEBUG }").unwrap_err();
    assert!(problems[0].message.contains("LogFormat: JSON only"), "{problems:?}");
    assert!(format("{ LogFormat: XML }").is_err());
}

#[test]
fn names_cannot_grow_without_bound() {
    let mut text = "Resources:\n  N0: { Type: AWS::SNS::Topic, Properties: { TopicName: 'xxxxxxxx' } }\n".to_owned();
    for i in 1..60 {
        let line = format!(
            "  N{i}: {{ Type: AWS::SNS::Topic, Properties: {{ TopicName: !Sub '${{N{p}.TopicName}}${{N{p}}}${{N{p}}}' }} }}\n",
            p = i - 1
        );
        text.push_str(&line);
    }
    let problems = run(&text, &[]).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].message.contains("more than 65536 bytes"), "{problems:?}");
}

#[test]
fn a_missing_file_is_told() {
    let source = TemplateSource::File(PathBuf::from("/no/such/template.yaml"));
    let error = resolve(&source, &BTreeMap::new(), ENDPOINT).unwrap_err();
    assert!(error.to_string().contains("/no/such/template.yaml cannot be run"), "{error}");
}

/// Pieces that templates are made of, to be thrown together.
fn token() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "!Ref ",
            "!Sub ",
            "!GetAtt ",
            "!Join ",
            "!If ",
            "!Select ",
            "!Split ",
            "!FindInMap ",
            "!Condition ",
            "Fn::Sub: ",
            "Ref: ",
            "[",
            "]",
            "{",
            "}",
            ", ",
            ": ",
            "\n",
            "\n  ",
            "\n    ",
            "- ",
            "'",
            "\"",
            "${",
            "}",
            "&a ",
            "*a",
            "|\n",
            "---\n",
            "!!str ",
            "Resources",
            "Work",
            "Dead.Arn",
            "Worker",
            "Debug",
            "AWS::NoValue",
            "null",
            "0",
            "-1",
            "99999999999",
            "Properties",
            "Type",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,4}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_change_to_a_template_gives_a_stack_or_problems(
        cuts in proptest::collection::vec((0.0..1.0_f64, 0_usize..40, proptest::collection::vec(token(), 0..4)), 1..6),
        more in any::<bool>(),
    ) {
        let mut text: Vec<char> = if more { MORE } else { FULL }.chars().collect();
        for (at, length, tokens) in cuts {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a position in a short text")]
            let start = (at * text.len() as f64) as usize;
            let end = (start + length).min(text.len());
            text.splice(start..end, tokens.concat().chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(problems) = run(&text, &[]) {
            prop_assert!(!problems.is_empty());
        }
    }

    #[test]
    fn any_text_gives_a_stack_or_problems(tokens in proptest::collection::vec(token(), 0..60)) {
        let problems = run(&tokens.concat(), &[]);
        prop_assert!(problems.is_ok() || problems.is_err_and(|problems| !problems.is_empty()));
    }
}
