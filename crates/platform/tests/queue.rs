//! SQS and DynamoDB of the platform over real sockets, driven by AWS's own SDKs.

mod common_server {
    //! The two services behind one port, without signatures: what the gateway does, less the gateway.
    use std::{net::SocketAddr, path::Path, sync::Arc};

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::{BodyExt, Full};
    use hyper::{body::Incoming, service::service_fn};
    use hyper_util::rt::TokioIo;
    use platform::{dynamodb::DynamoDb, sqs::Sqs};

    pub struct Server {
        pub sqs: Arc<Sqs>,
        pub dynamo: Arc<DynamoDb>,
        pub endpoint: String,
        accept: tokio::task::JoinHandle<()>,
    }

    impl Server {
        pub async fn start(dir: &Path) -> Self {
            let sqs = Sqs::open(&dir.join("sqs")).unwrap();
            let dynamo = DynamoDb::open(&dir.join("dynamodb")).unwrap();
            let listener = tokio::net::TcpListener::bind(listen_address()).await.unwrap();
            let endpoint = format!("http://{}", listener.local_addr().unwrap());
            let (s, d, e) = (Arc::clone(&sqs), Arc::clone(&dynamo), endpoint.clone());
            let accept = tokio::spawn(async move {
                let mut connections = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    let (s, d, e) = (Arc::clone(&s), Arc::clone(&d), e.clone());
                    let service = service_fn(move |request| answer(Arc::clone(&s), Arc::clone(&d), e.clone(), request));
                    connections.spawn(
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                    );
                }
            });
            Self { sqs, dynamo, endpoint, accept }
        }

        /// Ends every connection and gives the data directory free.
        pub async fn stop(self) {
            self.accept.abort();
            let _ = self.accept.await;
        }
    }

    fn listen_address() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    async fn answer(
        sqs: Arc<Sqs>,
        dynamo: Arc<DynamoDb>,
        endpoint: String,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let target = request.headers().get("x-amz-target").unwrap().to_str().unwrap().to_owned();
        let body = request.into_body().collect().await?.to_bytes();
        let (service, operation) = target.split_once('.').unwrap();
        let response = match service {
            "AmazonSQS" => sqs.handle(operation, &body, &endpoint).await,
            "DynamoDB_20120810" => dynamo.handle(operation, &body).await,
            other => panic!("a test called {other}"),
        };
        Ok(response.map(Full::new))
    }
}
