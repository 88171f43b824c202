//! HTTP APIs and their functions from a template, on ports beside the gateway's.

use platform::Listeners;

use super::*;

const TEMPLATE: &str = "
Transform: AWS::Serverless-2016-10-31
Resources:
  Web:
    Type: AWS::Serverless::Function
    Metadata: { BuildProperties: { Binary: web } }
    Properties:
      FunctionName: web
      Runtime: provided.al2023
      Handler: bootstrap
      CodeUri: .
      Timeout: 20
      Events:
        Film: { Type: HttpApi, Properties: { Path: '/films/{id}', Method: get } }
        Own: { Type: HttpApi, Properties: { ApiId: !Ref Staged, Path: '/{proxy+}', Method: any } }
  Staged: { Type: AWS::Serverless::HttpApi, Properties: { StageName: dev } }
Outputs:
  Films: { Value: !Sub 'https://${ServerlessHttpApi}.execute-api.${AWS::Region}.amazonaws.com/films' }
";

fn config(dir: &Path) -> Config {
    let template = TemplateSource::Text { text: TEMPLATE.into(), base_dir: dir.to_owned() };
    let mut config = Config::new(dir.join("data"), template);
    config.binary_dirs = vec![built("web")];
    config
}

async fn get(url: &str) -> (u16, String) {
    use http_body_util::{BodyExt, Empty};
    use hyper_util::{client::legacy::Client, rt::TokioExecutor};
    let client: Client<_, Empty<bytes::Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let response = client.get(url.parse().unwrap()).await.unwrap();
    let status = response.status().as_u16();
    (status, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn every_http_api_of_a_template_is_where_the_page_says() {
    let dir = tempfile::tempdir().unwrap();
    let bind = || TcpListener::bind("127.0.0.1:0");
    let aws = bind().await.unwrap();
    let address = aws.local_addr().unwrap();
    let listeners = Listeners { aws, http_apis: vec![bind().await.unwrap(), bind().await.unwrap()] };
    let (end, ended) = oneshot::channel();
    let running = tokio::spawn(platform::run(config(dir.path()), listeners, async {
        let _ = ended.await;
    }));
    let page: Value = serde_json::from_str(&get(&format!("http://{address}/_fanreel/stack")).await.1).unwrap();
    let url = |logical_id: &str| {
        let mut apis = page["http_apis"].as_array().unwrap().iter();
        apis.find(|api| api["logical_id"] == logical_id).unwrap()["url"].as_str().unwrap().to_owned()
    };
    let film = r#"{"cookie":"","id":"7","query":{}}"#.to_owned();
    assert_eq!(page["outputs"]["Films"], format!("{}films", url("ServerlessHttpApi")));
    assert_eq!(get(&format!("{}films/7", url("ServerlessHttpApi"))).await, (200, film));
    assert_eq!(get(&url("ServerlessHttpApi")).await, (404, r#"{"message":"Not Found"}"#.to_owned()));
    // As on AWS the application sees the stage in its path, and has no such route.
    assert!(url("Staged").ends_with("/dev/"));
    assert_eq!(get(&format!("{}films/7", url("Staged"))).await, (404, "there is nothing at GET /dev/films/7".to_owned()));
    end.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn http_apis_without_a_socket_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = platform::run(config(dir.path()), listener, std::future::ready(())).await.unwrap_err();
    assert!(matches!(error, PlatformError::HttpSockets { apis: 2, sockets: 0 }), "{error}");
}
