//! HTTP/1.1 on a listener, within bounds: connections, idle time, bodies, and the time that an end may take.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

/// Time in which a connection must bring its next request.
const IDLE_TIME: Duration = Duration::from_mins(5);
/// Time in which a body must arrive.
const BODY_TIME: Duration = Duration::from_mins(1);
/// Connections at once; further ones wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 1_024;
/// What is read of a refused request's body, and for how long, so that the client hears the answer.
const MAX_DISCARD: usize = 64 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(10);
/// Time that running requests get at the end.
const DRAIN_TIME: Duration = Duration::from_secs(3);
/// Wait after an error of `accept`, which is mostly a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoBody {
    TooLarge,
    /// It broke off, or did not arrive in time.
    Broken,
}

/// Serves until `end` completes, then lets running requests finish for a moment and cuts off the rest. `answer` is given
/// each request and who sent it.
pub(crate) async fn serve<A, F>(listener: TcpListener, answer: A, end: impl Future<Output = ()>)
where
    A: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Bytes>> + Send + 'static,
{
    let graceful = GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Dropped at the end, and every connection with it.
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
                Ok((stream, from)) => {
                    let serving = connection(stream, from, answer.clone(), graceful.watcher());
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
        tracing::info!("requests still ran at the end; they were cut off");
    }
}

async fn connection<A, F>(stream: TcpStream, from: SocketAddr, answer: A, watcher: Watcher)
where
    A: Fn(Request<Incoming>, SocketAddr) -> F,
    F: Future<Output = Response<Bytes>>,
{
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection was gone before its first request");
        return;
    }
    let service = service_fn(move |request| {
        let answer = answer(request, from);
        async { Ok::<_, std::convert::Infallible>(answer.await.map(Full::new)) }
    });
    let connection =
        http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(IDLE_TIME).serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The whole body, if it is not larger than `most` bytes and comes in time.
pub(crate) async fn whole(body: Incoming, most: usize) -> Result<Bytes, NoBody> {
    if usize::try_from(body.size_hint().lower()).map_or(true, |announced| announced > most) {
        discard(body).await;
        return Err(NoBody::TooLarge);
    }
    match tokio::time::timeout(BODY_TIME, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(NoBody::TooLarge),
        Ok(Err(_)) | Err(_) => Err(NoBody::Broken),
    }
}

/// Reads a body that nobody wants, within bounds: an answer that comes before the client has sent all is often lost to
/// it, since closing the connection on unread bytes resets it.
pub(crate) async fn discard(mut body: Incoming) {
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
