//! Functions held to the policies of their roles: what they may not do is refused in each service's own words.

use aws_sdk_s3::{
    presigning::PresigningConfig,
    types::{Delete, ObjectIdentifier},
};

use super::*;

/// The template with a role for its function: what a function behind a queue needs, reads below `in/`, lists below `in/`,
/// writes below `out/`, deletes there but not `out/kept`.
fn held(statements: &str) -> String {
    let role = format!(
        "  RecordRole:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument: {{}}
      ManagedPolicyArns: [!Ref Polling, arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole]
      Policies:
        - PolicyName: own
          PolicyDocument:
            Statement:
              - {{ Effect: Allow, Action: 's3:GetObject', Resource: !Sub '${{Files.Arn}}/in/*' }}
{statements}
  Polling:
    Type: AWS::IAM::ManagedPolicy
    Properties:
      PolicyDocument:
        Statement: [{{ Effect: Allow, Action: ['sqs:ReceiveMessage', 'sqs:DeleteMessage', 'sqs:GetQueueAttributes'], Resource: !GetAtt Work.Arn }}]
  Writing:
    Type: AWS::IAM::Policy
    Properties:
      PolicyName: writing
      Roles: [!Ref RecordRole]
      PolicyDocument:
        Statement:
          - {{ Effect: Allow, Action: ['dynamodb:GetItem', 'dynamodb:UpdateItem'], Resource: !GetAtt Seen.Arn }}
"
    );
    let text = TEMPLATE.replace("      Timeout: 20\n", "      Timeout: 20\n      Role: !GetAtt RecordRole.Arn\n");
    text.replace("Outputs:\n", &format!("{role}Outputs:\n"))
}

const STATEMENTS: &str = "
              - { Effect: Allow, Action: 's3:ListBucket', Resource: !GetAtt Files.Arn, Condition: { StringLike: { 's3:prefix': 'in/*' } } }
              - { Effect: Allow, Action: ['s3:PutObject', 's3:DeleteObject'], Resource: !Sub '${Files.Arn}/out/*' }
              - { Effect: Deny, Action: 's3:DeleteObject', Resource: !Sub '${Files.Arn}/out/kept' }";

fn enforced(dir: &Path, template: String) -> Config {
    let mut config = config(dir);
    config.template = TemplateSource::Text { text: template, base_dir: dir.to_owned() };
    config.enforce_policies = true;
    config
}

impl Platform {
    /// As the function calls.
    fn as_function(&self) -> SdkConfig {
        let credentials = Credentials::new("test", "test", Some("record".into()), None, "test");
        self.clients("test", "test").into_builder().credentials_provider(SharedCredentialsProvider::new(credentials)).build()
    }
}

fn short<T, E: ProvideErrorMetadata + std::fmt::Debug>(answer: Result<T, E>) -> String {
    match answer {
        Ok(_) => "done".into(),
        Err(error) => error.code().unwrap_or("no code").trim_start_matches("com.amazon.coral.service#").to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_does_in_s3_what_its_role_allows() {
    let dir = tempfile::tempdir().unwrap();
    let platform = Platform::of(enforced(dir.path(), held(STATEMENTS))).await;
    for key in ["in/a", "out/a", "out/b", "out/kept"] {
        platform.put(key, "the owner may do everything").await;
    }
    let config = platform.as_function();
    let s3 = s3(&config);
    let get = async |key: &str| short(s3.get_object().bucket("files").key(key).send().await);
    assert_eq!((get("in/a").await, get("out/a").await), ("done".into(), "AccessDenied".into()));
    // Who may not list is not told what there is.
    assert_eq!(get("in/nothing").await, "AccessDenied");
    let head = s3.head_object().bucket("files").key("in/nothing").send().await.unwrap_err();
    assert_eq!(head.raw_response().map(|answer| answer.status().as_u16()), Some(403));
    let list = async |prefix: &str| short(s3.list_objects_v2().bucket("files").prefix(prefix).send().await);
    assert_eq!((list("in/").await, list("out/").await), ("done".into(), "AccessDenied".into()));

    let body = || ByteStream::from_static(b"x");
    let put = async |key: &str| short(s3.put_object().bucket("files").key(key).body(body()).send().await);
    assert_eq!((put("out/c").await, put("in/c").await), ("done".into(), "AccessDenied".into()));
    let copy = async |from: &str| short(s3.copy_object().copy_source(from).bucket("files").key("out/copy").send().await);
    assert_eq!((copy("files/in/a").await, copy("files/out/a").await), ("done".into(), "AccessDenied".into()));
    let tagged = s3.put_object().bucket("files").key("out/t").tagging("a=b").body(body()).send().await.unwrap_err();
    assert!(tagged.message().unwrap_or_default().contains("s3:PutObjectTagging"), "{tagged:?}");

    let objects = ["out/a", "out/kept", "in/a"].map(|key| ObjectIdentifier::builder().key(key).build().unwrap());
    let delete = Delete::builder().set_objects(Some(objects.to_vec())).build().unwrap();
    let answer = s3.delete_objects().bucket("files").delete(delete).send().await.unwrap();
    let deleted: Vec<_> = answer.deleted().iter().filter_map(|one| one.key()).collect();
    let errors: Vec<_> = answer.errors().iter().filter_map(|one| Some((one.key()?, one.code()?))).collect();
    assert_eq!((deleted, errors), (vec!["out/a"], vec![("out/kept", "AccessDenied"), ("in/a", "AccessDenied")]));
    let denied = s3.delete_object().bucket("files").key("out/kept").send().await.unwrap_err();
    assert_eq!(
        denied.message(),
        Some(
            "User: arn:aws:sts::000000000000:assumed-role/local-RecordRole/record is not authorized to perform: s3:DeleteObject on \
             resource: arn:aws:s3:::files/out/kept with an explicit deny in an identity-based policy"
        )
    );
    assert_eq!(platform.get("out/kept").await, "the owner may do everything");

    // An address that the function hands out may do what the function may; so may a range that is none.
    for (key, status) in [("in/a", 200), ("out/kept", 403)] {
        let presigned = PresigningConfig::expires_in(Duration::from_secs(60)).unwrap();
        let address = s3.get_object().bucket("files").key(key).presigned(presigned).await.unwrap();
        let uri: http::Uri = address.uri().parse().unwrap();
        for range in ["", "Range: lines=1-2\r\n"] {
            let request =
                format!("GET {} HTTP/1.1\r\nHost: {}\r\n{range}Connection: close\r\n\r\n", uri.path_and_query().unwrap(), platform.address);
            let (answered, body) = platform.raw(&request).await;
            assert_eq!(answered, status, "{key} {range}: {body}");
        }
    }
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_does_elsewhere_what_its_role_allows() {
    let dir = tempfile::tempdir().unwrap();
    let platform = Platform::of(enforced(dir.path(), held(STATEMENTS))).await;
    // The real function, by its own calls: it may read its queue and write its table.
    platform.put("in/a b+c.txt", "hello").await;
    assert_eq!(platform.item("in/a+b%2Bc.txt").await, ("5".into(), "1".into()));

    let config = platform.as_function();
    let table = aws_sdk_dynamodb::Client::new(&config);
    let key = || AttributeValue::S("x".into());
    assert_eq!(short(table.get_item().table_name("seen").key("pk", key()).send().await), "done");
    let put = table.put_item().table_name("seen").item("pk", key()).send().await.unwrap_err();
    assert_eq!((put.code(), put.raw_response().map(|answer| answer.status().as_u16())), (Some("AccessDeniedException"), Some(400)));
    assert!(
        put.message().unwrap_or_default().contains("dynamodb:PutItem on resource: arn:aws:dynamodb:us-east-1:000000000000:table/seen"),
        "{put:?}"
    );
    let sql = table.execute_statement().statement("SELECT * FROM \"seen\"").send().await.unwrap_err();
    assert!(sql.message().unwrap_or_default().contains("dynamodb:PartiQLSelect"), "{sql:?}");

    let sqs = aws_sdk_sqs::Client::new(&config);
    let url = |name: &str| format!("http://{}/000000000000/{name}", platform.address);
    assert_eq!(short(sqs.receive_message().queue_url(url("work")).send().await), "done");
    let sent = sqs.send_message().queue_url(url("spare")).message_body("x").send().await.unwrap_err();
    assert_eq!((sent.code(), sent.raw_response().map(|answer| answer.status().as_u16())), (Some("AccessDenied"), Some(403)));
    let lambda = aws_sdk_lambda::Client::new(&config);
    assert_eq!(short(lambda.invoke().function_name("record").send().await), "AccessDeniedException");
    let logs = aws_sdk_cloudwatchlogs::Client::new(&config);
    assert_eq!(short(logs.create_log_group().log_group_name("g").send().await), "done", "AWSLambdaBasicExecutionRole");
    assert_eq!(short(logs.describe_log_groups().send().await), "AccessDeniedException");
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_work_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let error = async |template: String| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        platform::run(enforced(dir.path(), template), listener, async {}).await.unwrap_err().to_string()
    };
    let unread = error(held(STATEMENTS).replace("'sqs:ReceiveMessage', ", "")).await;
    assert!(unread.contains("does not have permissions to call ReceiveMessage on SQS"), "{unread}");
    let unknown = error(held(STATEMENTS).replace("AWSLambdaBasicExecutionRole", "AWSLambdaKinesisExecutionRole")).await;
    assert!(unknown.contains("record works under local-RecordRole") && unknown.contains("AWSLambdaKinesisExecutionRole"), "{unknown}");
    let bound = error(held("").replace(
        "      ManagedPolicyArns",
        "      PermissionsBoundary: arn:aws:iam::aws:policy/AdministratorAccess\n      ManagedPolicyArns",
    ))
    .await;
    assert!(bound.contains("PermissionsBoundary"), "{bound}");
    let elsewhere =
        error(TEMPLATE.replace("      Timeout: 20\n", "      Timeout: 20\n      Role: arn:aws:iam::000000000000:role/of-others\n")).await;
    assert!(elsewhere.contains("record works under of-others"), "{elsewhere}");
}
