//! Requests of services that the platform does not run, and of the one that tells who one is.

use aws_credential_types::Credentials as Identity;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};

use super::*;

impl Platform {
    /// A request signed for any service, as the SDKs sign it.
    async fn signed(&self, service: &str, region: &str, target: Option<&str>, body: &str) -> (u16, String) {
        let identity = Identity::new("test", "test", Some("a session".into()), None, "test").into();
        let params = SigningParams::builder().identity(&identity).region(region).name(service).time(std::time::SystemTime::now());
        let params = params.settings(SigningSettings::default()).build().unwrap().into();
        let host = self.address.to_string();
        let kind = if target.is_some() { "application/x-amz-json-1.1" } else { "application/x-www-form-urlencoded; charset=utf-8" };
        let mut headers = vec![("host", host.as_str()), ("content-type", kind)];
        headers.extend(target.map(|target| ("x-amz-target", target)));
        let uri = format!("http://{host}/");
        let signable = SignableRequest::new("POST", &uri, headers.iter().copied(), SignableBody::Bytes(body.as_bytes())).unwrap();
        let (instructions, _) = sign(signable, &params).unwrap().into_parts();
        let mut head = format!("POST / HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers.into_iter().chain(instructions.headers()) {
            head.extend([name, ": ", value, "\r\n"]);
        }
        self.raw(&format!("{head}\r\n{body}")).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_is_told_who_they_are_and_what_does_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let platform = Platform::start(dir.path()).await;
    // Any region, and a session token is nothing.
    for region in ["us-east-1", "eu-central-1"] {
        let (status, answer) = platform.signed("sts", region, None, "Action=GetCallerIdentity&Version=2011-06-15").await;
        assert_eq!(status, 200, "{answer}");
        assert!(answer.contains("<Account>000000000000</Account>") && answer.contains("arn:aws:iam::000000000000:root"), "{answer}");
    }
    let (status, answer) = platform.signed("sts", "us-east-1", None, "Action=AssumeRole&Version=2011-06-15").await;
    assert!(status == 400 && answer.contains("<Code>InvalidAction</Code>") && answer.contains("GetCallerIdentity alone"), "{answer}");

    let (status, answer) = platform.signed("sns", "us-east-1", None, "Action=Publish&Version=2010-03-31").await;
    assert!(status == 404 && answer.contains("<ErrorResponse>") && answer.contains("does not run the service `sns`"), "{answer}");
    for (service, target) in [("ssm", "AmazonSSM.GetParameter"), ("secretsmanager", "secretsmanager.GetSecretValue")] {
        let (status, answer) = platform.signed(service, "us-east-1", Some(target), "{}").await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let message = answer["message"].as_str().unwrap();
        assert!(status == 404 && message.contains(&format!("the service `{service}`")) && message.contains("it runs s3, sqs"), "{answer}");
    }
    platform.stop().await;
}
