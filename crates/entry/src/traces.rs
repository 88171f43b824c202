//! Spans to a collector, where one is named: OTLP over HTTP in JSON (OpenTelemetry, "OTLP Specification 1.5", "OTLP/HTTP").
//! The ids are made by `pipeline::trace`; a log line that has them is a span as well.
//!
//! Sent at the end of an invocation, before the environment may be frozen. A collector that does not answer costs
//! [`ANSWER`] of an invocation, then nothing for [`REST`], and never a job: what it does not take is dropped and counted.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Map, Value};
use tracing::{Event, Subscriber};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use crate::{collector::Collector, log::Fields, otlp};

/// Spans that wait; more are dropped. One invocation has a handful.
const MAX_WAITING: usize = 256;
/// From the first packet to the last byte of the collector's answer.
const ANSWER: Duration = Duration::from_secs(1);
/// After one that did not come.
const REST: Duration = Duration::from_secs(60);

/// What is told of one function's spans, and to whom.
pub struct Traces {
    collector: Collector,
    service: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Vec<Value>,
    /// Since the log last said so.
    dropped: u64,
    rests_until: Option<Instant>,
}

impl State {
    fn rests(&self) -> bool {
        self.rests_until.is_some_and(|until| Instant::now() < until)
    }
}

impl Traces {
    /// Where [`Collector::read`] finds a collector. `None`: nobody is told.
    pub fn read(var: impl Fn(&str) -> Option<String>) -> Result<Option<Arc<Self>>, String> {
        let Some(collector) = Collector::read(&var)? else { return Ok(None) };
        let service = var("AWS_LAMBDA_FUNCTION_NAME").filter(|name| !name.trim().is_empty()).unwrap_or_else(|| "fanreel".into());
        Ok(Some(Arc::new(Self { collector, service, state: Mutex::default() })))
    }

    /// Never hands out the lock: taken twice in one statement it would stop the function for good.
    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, span: Value) {
        self.with(|state| if state.waiting.len() < MAX_WAITING { state.waiting.push(span) } else { state.dropped += 1 });
    }

    /// Sends what waits, within [`ANSWER`]; answers how many spans were lost since the last time. May be dropped half-way: what
    /// was not taken yet waits for the next time. While the collector is left alone spans wait for it.
    pub async fn flush(&self) -> u64 {
        let Some((body, count)) = self.with(|state| {
            let quiet = state.waiting.is_empty() || state.rests();
            (!quiet).then(|| (otlp::document(&self.service, &state.waiting).to_string(), state.waiting.len()))
        }) else {
            return 0;
        };
        let sent = tokio::time::timeout(ANSWER, self.collector.send(body)).await;
        let sent = sent.unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER.as_secs())));
        let lost = self.with(|state| {
            state.waiting.drain(..count.min(state.waiting.len()));
            state.rests_until = sent.is_err().then(|| Instant::now() + REST);
            std::mem::take(&mut state.dropped) + sent.as_ref().map_or(count as u64, |refused| (*refused).min(count as u64))
        });
        let to = self.collector.authority();
        match sent {
            Ok(_) if lost > 0 => {
                tracing::warn!(lost, to, "spans were lost: too many of them waited, or the collector of traces refused some");
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, to, lost, "the collector of traces did not take them; it is left alone for {} s", REST.as_secs());
            }
        }
        lost
    }

    /// Nothing is sent any more: says what was not.
    pub fn end(&self) {
        let lost = self.with(|state| std::mem::take(&mut state.dropped) + state.waiting.drain(..).len() as u64);
        if lost > 0 {
            tracing::warn!(lost, "spans were lost: the environment ended before the collector of traces took them");
        }
    }
}

/// Takes the lines that are spans.
pub struct Lines(pub Arc<Traces>);

impl<S> Layer<S> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().fields().field("span_id").is_none() {
            return;
        }
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        if let Some(span) = otlp::span(&fields.0) {
            self.0.add(span);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    /// How a collector answers.
    #[derive(Clone, Copy)]
    enum Answer {
        /// These bytes, and the connection stays open.
        Bytes(&'static [u8]),
        /// These, then more and more of nothing.
        Endless(&'static [u8]),
        /// The connection is closed.
        Hangup,
    }

    async fn answer(mut stream: TcpStream, how: Answer) {
        let mut asked = [0; 1 << 13];
        // A small request: one read has the beginning of it, and what is left of it is of no interest.
        if stream.read(&mut asked).await.is_err() {
            return;
        }
        match how {
            Answer::Hangup => return,
            Answer::Bytes(bytes) => drop(stream.write_all(bytes).await),
            Answer::Endless(head) => {
                let _ = stream.write_all(head).await;
                while stream.write_all(b"\n").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        while stream.read(&mut asked).await.is_ok_and(|read| read > 0) {}
    }

    /// Traces told to a collector of such manners, and how many connections it has had.
    async fn told(how: Answer) -> (Arc<Traces>, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(answer(stream, how));
            }
        });
        (to(&endpoint), calls)
    }

    fn to(endpoint: &str) -> Arc<Traces> {
        Traces::read(|name| (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| endpoint.to_owned())).unwrap().unwrap()
    }

    /// Far more than the bound, far less than for ever.
    async fn flushed(traces: &Traces) -> u64 {
        tokio::time::timeout(ANSWER * 5, traces.flush()).await.expect("it goes on in time")
    }

    #[tokio::test]
    async fn a_collector_that_is_no_good_costs_a_bounded_time_and_is_left_alone() {
        let wrong = [
            ("silent", Answer::Bytes(b"")),
            ("garbage", Answer::Bytes(b"\x00\xff what?\r\n\r\n")),
            ("refuses", Answer::Bytes(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")),
            ("sends elsewhere", Answer::Bytes(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n")),
            ("answers without end", Answer::Endless(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")),
            ("heads without end", Answer::Endless(b"HTTP/1.1 200 OK\r\nx: ")),
            ("hangs up", Answer::Hangup),
        ];
        for (name, how) in wrong {
            let (traces, calls) = told(how).await;
            for _ in 0..MAX_WAITING + 3 {
                traces.add(json!({}));
            }
            assert_eq!(traces.with(|state| (state.waiting.len(), state.dropped)), (MAX_WAITING, 3));
            assert_eq!(flushed(&traces).await, MAX_WAITING as u64 + 3, "{name}: all are counted");
            assert!(traces.with(|state| state.rests() && state.waiting.is_empty()), "{name}");
            let before = calls.load(Ordering::SeqCst);
            traces.add(json!({}));
            assert_eq!(flushed(&traces).await, 0, "{name}");
            assert_eq!((calls.load(Ordering::SeqCst), traces.with(|state| state.waiting.len())), (before, 1), "{name} is left alone");
        }
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let traces = to(&format!("http://{gone}"));
        traces.add(json!({}));
        assert_eq!(flushed(&traces).await, 1);
    }

    #[tokio::test]
    async fn no_more_is_lost_than_there_was() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 59\r\n\r\n{\"partialSuccess\":{\"rejectedSpans\":18446744073709551615}}  ";
        let (traces, _) = told(Answer::Bytes(answer)).await;
        for _ in 0..=MAX_WAITING {
            traces.add(json!({}));
        }
        assert_eq!(flushed(&traces).await, MAX_WAITING as u64 + 1);
    }

    #[tokio::test]
    async fn what_a_collector_takes_is_gone_and_what_it_refuses_is_counted() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 42\r\n\r\n{\"partialSuccess\":{\"rejectedSpans\":\"2\"}}  ";
        let (traces, calls) = told(Answer::Bytes(answer)).await;
        assert_eq!((flushed(&traces).await, calls.load(Ordering::SeqCst)), (0, 0), "nothing waits, nobody is asked");
        for _ in 0..5 {
            traces.add(json!({}));
        }
        assert_eq!(flushed(&traces).await, 2);
        assert!(traces.with(|state| !state.rests() && state.waiting.is_empty()));
    }

    #[tokio::test]
    async fn spans_of_a_flush_that_was_cut_short_wait() {
        let (traces, _) = told(Answer::Bytes(b"")).await;
        traces.add(json!({}));
        assert!(tokio::time::timeout(Duration::from_millis(50), traces.flush()).await.is_err());
        assert!(traces.with(|state| !state.rests() && state.waiting.len() == 1));
    }
}
