//! One port for every service: routes by signature, checks signatures of all but S3 (which checks its own), bounds
//! bodies, and answers pages of its own below `/_fanreel/`: `health`, `stack` and `metrics`.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

mod answers;
mod levels;
mod pages;
mod route;
mod signature;
mod sts;
mod writes;

pub(crate) use pages::stack_page;
use route::{Protocol, Route, Service};
pub(crate) use signature::Keys;
use signature::{Claim, Refusal};

use crate::{
    dynamodb::DynamoDb,
    iam::{self, Iam, Need, needs},
    lambda::Lambda,
    logs::Logs,
    metrics::Observation,
    room::Room,
    sqs::{self, Sqs},
    stack::REGION,
};

/// Largest body of a JSON service, bytes: a `BatchWriteItem` of 16 MB is the largest request of any.
const MAX_JSON: usize = 16 << 20;
/// Largest payload of an invocation, bytes (Lambda: 6 MB, and a little for the envelope of it).
const MAX_INVOKE: usize = (6 << 20) + (64 << 10);
/// Time in which the body of a JSON service must arrive.
const BODY_TIME: Duration = Duration::from_mins(1);
/// What is read of a refused request's body, and for how long, so that the client hears the answer.
const MAX_DISCARD: usize = 64 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(10);
/// Time in which a connection must bring its next request.
const IDLE_TIME: Duration = Duration::from_mins(5);
/// Connections at once; further ones wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 1_024;
/// Time that running requests get when the platform ends.
const DRAIN_TIME: Duration = Duration::from_secs(3);
/// Wait after an error of `accept`, which is mostly a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Everything behind the port.
pub(crate) struct Gateway {
    /// `http://127.0.0.1:4566`: what queue URLs begin with.
    pub(crate) endpoint: String,
    pub(crate) keys: Keys,
    pub(crate) iam: Arc<Iam>,
    /// The page at `/_fanreel/stack`.
    pub(crate) stack_page: Value,
    pub(crate) s3: crate::s3::Service,
    pub(crate) sqs: Arc<Sqs>,
    pub(crate) dynamodb: Arc<DynamoDb>,
    pub(crate) logs: Arc<Logs>,
    pub(crate) lambda: Arc<Lambda>,
    pub(crate) room: Arc<Room>,
    /// Of the stack: their levels are told even while nothing is there.
    pub(crate) queues: Vec<String>,
    pub(crate) functions: Vec<String>,
    pub(crate) started: Instant,
}

/// Serves until `end` completes, then lets running requests finish for a moment and cuts off the rest.
pub(crate) async fn serve(gateway: Arc<Gateway>, listener: TcpListener, end: impl Future<Output = ()>) {
    let graceful = GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Dropped at the end, and every connection with it: none keeps a store open behind the lock's back.
    let mut connections = JoinSet::new();
    tokio::pin!(end);
    loop {
        let accepted = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        tokio::select! {
            () = &mut end => break,
            Some(_) = connections.join_next() => {}
            (permit, stream) = accepted => match stream {
                Ok((stream, _)) => {
                    let serving = connection(Arc::clone(&gateway), stream, graceful.watcher());
                    connections.spawn(async move {
                        serving.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIME, graceful.shutdown()).await.is_err() {
        tracing::info!("requests still ran when the platform ended; they were cut off");
    }
}

async fn connection(gateway: Arc<Gateway>, stream: TcpStream, watcher: Watcher) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection was gone before its first request");
        return;
    }
    let service = service_fn(move |request| {
        let gateway = Arc::clone(&gateway);
        async move { gateway.answer(request).await }
    });
    let connection =
        http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(IDLE_TIME).serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended early");
    }
}

impl Gateway {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<s3s::Body>, s3s::HttpError> {
        let (parts, body) = request.into_parts();
        let route = route::route(&parts);
        let service = route.service();
        let answer = self.routed(route, parts, body).await?;
        let status = format!("{}xx", answer.status().as_u16() / 100);
        self.logs.metrics().observe("platform_requests", &[("service", service), ("status", &status)], Observation::Count(1.0));
        Ok(answer)
    }

    async fn routed(&self, route: Route, parts: Parts, body: Incoming) -> Result<Response<s3s::Body>, s3s::HttpError> {
        let answer = match route {
            Route::S3 => return self.s3.call(Request::from_parts(parts, body.into())).await,
            Route::Health => pages::health(self.started, &self.room.page(), self.logs.dropped()),
            Route::LocalStackHealth => pages::localstack_health(),
            Route::Metrics => self.metrics_page().await,
            Route::Stack => answers::document(&self.stack_page),
            Route::Nowhere(protocol, message) => {
                discard(body).await;
                answers::nowhere(protocol, &message)
            }
            route => self.admitted(route, parts, body).await.unwrap_or_else(|refused| refused),
        };
        Ok(answer.map(s3s::Body::from))
    }

    /// Answers what a signature was asked for; the error is an answer as well.
    async fn admitted(&self, route: Route, parts: Parts, body: Incoming) -> Result<Response<Bytes>, Response<Bytes>> {
        match route {
            Route::Lambda => {
                let body = self.admit(Service::Lambda, &parts, body, MAX_INVOKE).await?;
                self.allow(Service::Lambda, &parts, || needs::lambda(&parts.method, parts.uri.path()))?;
                self.take(Service::Lambda, || writes::keeps(&parts))?;
                Ok(self.lambda.handle(Request::from_parts(parts, body)).await)
            }
            Route::Query => {
                let body = self.admit(Service::SqsQuery, &parts, body, MAX_JSON).await?;
                let path_and_query = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
                self.allow(Service::SqsQuery, &parts, || {
                    sqs::query(path_and_query, &body, &self.endpoint)
                        .map_or_else(Vec::new, |(action, fields)| vec![needs::sqs(&action, &fields)])
                })?;
                self.take(Service::SqsQuery, || writes::stores(Service::SqsQuery, writes::action(&parts, &body), &body))?;
                Ok(self.sqs.handle_query(path_and_query, &body, &self.endpoint).await)
            }
            Route::Json(service, operation) => {
                let body = self.admit(service, &parts, body, MAX_JSON).await?;
                self.allow(service, &parts, || {
                    needs::of_json(service.scope(), &operation, &serde_json::from_slice(&body).unwrap_or_default())
                })?;
                self.take(service, || writes::stores(service, &operation, &body))?;
                Ok(self.json(service, &operation, &body).await)
            }
            _ => Ok(sts::answer(&parts, &self.admit(Service::Sts, &parts, body, MAX_JSON).await?)),
        }
    }

    /// Refuses what the caller's role does not allow.
    #[allow(clippy::result_large_err, reason = "the answer goes straight to the client")]
    fn allow(&self, service: Service, parts: &Parts, needs: impl FnOnce() -> Vec<Need>) -> Result<(), Response<Bytes>> {
        let caller = iam::caller(&parts.headers, &parts.uri);
        self.iam.admit(caller.as_deref(), needs, &[("aws:requestedregion", REGION)]).map_err(|denied| answers::denied(service, &denied.0))
    }

    /// Refuses what `stores` while there is no room.
    #[allow(clippy::result_large_err, reason = "the answer goes straight to the client")]
    fn take(&self, service: Service, stores: impl FnOnce() -> bool) -> Result<(), Response<Bytes>> {
        match self.room.refusal() {
            Some(reason) if stores() => Err(writes::refused(service, &reason)),
            _ => Ok(()),
        }
    }

    async fn json(&self, service: Service, operation: &str, body: &Bytes) -> Response<Bytes> {
        match service {
            Service::DynamoDb => self.dynamodb.handle(operation, body).await,
            Service::Sqs => self.sqs.handle(operation, body, &self.endpoint).await,
            Service::Logs => self.logs.handle(operation, body).await,
            Service::SqsQuery | Service::Lambda | Service::S3 | Service::Sts => {
                answers::nowhere(Protocol::Json, "this service has no X-Amz-Target operations")
            }
        }
    }

    /// The whole body of a request whose signature is right. A request without a fitting one is refused unread.
    async fn admit(&self, service: Service, parts: &Parts, body: Incoming, most: usize) -> Result<Bytes, Response<Bytes>> {
        let refuse = |refusal: Refusal| {
            tracing::info!(service = service.scope(), ?refusal, "a request was refused");
            answers::refusal(service, &refusal)
        };
        let claim = match Claim::read(parts, service.scope(), &self.keys, OffsetDateTime::now_utc()) {
            Ok(claim) => claim,
            Err(refusal) => {
                discard(body).await;
                return Err(refuse(refusal));
            }
        };
        let body = whole(service, body, most).await?;
        claim.check(&body, &self.keys).map_err(refuse)?;
        Ok(body)
    }
}

/// Reads a body that nobody wants, within bounds: an answer that comes before the client has sent all is often lost to
/// it, since closing the connection on unread bytes resets it.
async fn discard(mut body: Incoming) {
    let read = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > MAX_DISCARD {
                break;
            }
        }
    };
    if tokio::time::timeout(DISCARD_TIME, read).await.is_err() {
        tracing::debug!("the body of a refused request did not end in time");
    }
}

/// The whole body, if it is not larger than `most` bytes and comes in time.
async fn whole(service: Service, body: Incoming, most: usize) -> Result<Bytes, Response<Bytes>> {
    let too_large = || {
        let message = format!("the request is larger than {most} bytes");
        answers::error(service, StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLargeException", &message)
    };
    if usize::try_from(body.size_hint().lower()).map_or(true, |announced| announced > most) {
        discard(body).await;
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_TIME, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => {
            let message = format!("the request's body broke off: {error}");
            Err(answers::error(service, StatusCode::BAD_REQUEST, "SerializationException", &message))
        }
        Err(_) => {
            let message = "the request's body did not arrive in time";
            Err(answers::error(service, StatusCode::REQUEST_TIMEOUT, "RequestTimeoutException", message))
        }
    }
}
