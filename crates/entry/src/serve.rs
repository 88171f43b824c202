//! From the first line of `main` to the last answer.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lambda_runtime::{Context, LambdaEvent, service_fn};
use pipeline::stage::{Ending, Host, Request};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tracing::Instrument;

use crate::{
    Call, Environment, Error, HttpAnswer, HttpRequest, Message, Shutdown, batch, env, extension::Api, http, log, scratch::Scratch,
    traces::Traces, vitals,
};

/// A handler is stopped this long before Lambda would kill the environment, so that the message is reported. Stages stop
/// earlier by themselves.
const REPORT: Duration = Duration::from_secs(3);
/// From SIGTERM to the end, at most. Lambda kills after 500 ms where extensions are internal, which ours is, and after 2 s
/// where one is external ("Lambda runtime environment lifecycle"): whoever hosts decides, and to go by oneself before that
/// would only leave a busy machine's last words unsaid.
pub const FAREWELL: Duration = Duration::from_millis(1_900);
const LAST_ANSWER: Duration = Duration::from_millis(50);
/// A collector may be silent, and what is lost with it is counted before the 500 ms are over.
const LAST_SPANS: Duration = Duration::from_millis(400);
/// Variables that a runtime cannot do without.
const RUNTIME_VARS: [&str; 4] =
    ["AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_VERSION"];

/// Serves SQS batches until the environment ends. `setup` runs once; its error is Lambda's init error. Messages of a batch
/// are handled one after another.
pub async fn serve<H>(name: &str, setup: impl AsyncFnOnce(&Environment) -> Result<H, Error>) -> Result<(), Error>
where
    H: AsyncFn(&Message, &Call) -> Ending,
{
    run(name, setup, async |handler: &H, event, door: &Door, context: &Context| {
        let messages = batch::messages(event).inspect_err(|error| tracing::error!(%error, "the event cannot be read"))?;
        let mut failed = Vec::new();
        for message in messages {
            let ending = door.one(context, async |call| handler(&message, call).await).await;
            let ending = ending.unwrap_or_else(|error| {
                let (id, receives) = (&message.delivery.message, message.delivery.receives);
                tracing::error!(message_id = id, receives, %error, "the message comes back");
                Ending::Failed
            });
            if ending == Ending::Failed {
                failed.push(message.delivery.message);
            }
        }
        Ok(batch::answer(&failed))
    })
    .await
}

/// Serves a schedule (or any direct invocation): the event is not looked at, a handler's error is the invocation's.
pub async fn serve_schedule<H>(name: &str, setup: impl AsyncFnOnce(&Environment) -> Result<H, Error>) -> Result<(), Error>
where
    H: AsyncFn(&Call) -> Result<Value, Error>,
{
    run(name, setup, async |handler: &H, _event, door: &Door, context: &Context| {
        door.one(context, async |call| handler(call).await).await?
    })
    .await
}

/// Serves requests of an HTTP API. An event that is no request is the invocation's error.
pub async fn serve_http<H>(name: &str, setup: impl AsyncFnOnce(&Environment) -> Result<H, Error>) -> Result<(), Error>
where
    H: AsyncFn(&HttpRequest, &Call) -> HttpAnswer,
{
    run(name, setup, async |handler: &H, event, door: &Door, context: &Context| {
        let request = http::request(&event).inspect_err(|error| tracing::error!(%error, "the event cannot be read"))?;
        Ok(door.one(context, async |call| handler(&request, call).await).await?.event())
    })
    .await
}

/// What all invocations of this environment share.
struct Door {
    environment: Environment,
    scratch: Scratch,
}

impl Door {
    /// One handler within its deadline and its own scratch space.
    async fn one<T>(&self, context: &Context, handler: impl AsyncFnOnce(&Call) -> T) -> Result<T, Error> {
        let left = time_left(context.deadline, now_ms());
        if left.is_zero() {
            return Err("there was no time left for it".into());
        }
        let room = self.scratch.fresh().map_err(|e| format!("no scratch space can be made: {e}"))?;
        let shutdown = self.environment.shutdown.notice();
        let (id, environment) = (context.request_id.clone(), self.environment.id.clone());
        let request = Request { id, environment, deadline_ms: context.deadline, shutdown, host: Arc::clone(&self.environment.host) };
        let call = Call { request, scratch: room.path().to_owned(), shutdown: self.environment.shutdown.clone() };
        let _guest = self.environment.shutdown.guest();
        let span = tracing::info_span!("invocation", request = %context.request_id);
        // Boxed: a stage's future is deep, and nesting it here would take the compiler past its limit.
        let ended = tokio::time::timeout(left, Box::pin(handler(&call)).instrument(span)).await;
        ended.map_err(|_| format!("the handler was stopped {} s before the function's timeout", REPORT.as_secs()).into())
    }
}

fn time_left(deadline_ms: u64, now_ms: u64) -> Duration {
    Duration::from_millis(deadline_ms.saturating_sub(now_ms)).saturating_sub(REPORT)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

async fn run<H, I>(name: &str, setup: impl AsyncFnOnce(&Environment) -> Result<H, Error>, invoke: I) -> Result<(), Error>
where
    I: AsyncFn(&H, Value, &Door, &Context) -> Result<Value, Error>,
{
    // The environment holds credentials: no other process of this user may read it. Where the kernel refuses, it stays as it was.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let (traces, wrong) = Traces::read(env()).map_or_else(|wrong| (None, Some(wrong)), |traces| (traces, None));
    log::start(env()("LOG_LEVEL").as_deref(), traces.clone());
    if let Some(wrong) = wrong {
        tracing::error!(%wrong, "there are no traces");
    }
    let missing: Vec<&str> = RUNTIME_VARS.into_iter().filter(|var| env()(var).is_none()).collect();
    let Some(address) = env()(RUNTIME_VARS[0]).filter(|_| missing.is_empty()) else {
        let error = format!("{name} is a Lambda function and cannot run by itself: {} not set", missing.join(", "));
        return Err(error.into());
    };
    // Before the runtime's first call: that ends the time in which extensions may register.
    Api::new(address.clone()).ask_for_sigterm().await;
    let shutdown = Shutdown::new();
    let started = start(setup, &shutdown).await;
    let (door, handler) = match started {
        Ok(started) => started,
        Err(error) => {
            tracing::error!(%error, function = name, "the function cannot start");
            Api::new(address).init_error(&error).await;
            return Err(error);
        }
    };
    let (door, handler, invoke) = (Rc::new(door), Rc::new(handler), Rc::new(invoke));
    let runtime = lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| {
        let (door, handler, invoke) = (Rc::clone(&door), Rc::clone(&handler), Rc::clone(&invoke));
        let (traces, end) = (traces.clone(), shutdown.clone());
        async move {
            let answer = invoke(&handler, event.payload, &door, &event.context).await;
            if let Some(traces) = traces {
                tell(&traces, &end).await;
            }
            answer
        }
    }));
    until_sigterm(runtime, &shutdown, traces.as_deref()).await?;
    if let Some(traces) = traces {
        traces.end();
    }
    // Everything that still runs is dropped with the handler; threads that block are not waited for.
    drop((door, handler, invoke));
    std::process::exit(0)
}

/// Behind the answer the environment may be frozen: before it. At the end it goes first, [`until_sigterm`] tells the rest.
async fn tell(traces: &Traces, shutdown: &Shutdown) {
    let _guest = shutdown.guest();
    tokio::select! {
        biased;
        () = shutdown.begun() => {}
        _ = traces.flush() => {}
    }
}

async fn start<H>(setup: impl AsyncFnOnce(&Environment) -> Result<H, Error>, shutdown: &Shutdown) -> Result<(Door, H), Error> {
    let random = || format!("local-{:016x}", rand::random::<u64>());
    let id = env()("AWS_LAMBDA_LOG_STREAM_NAME").filter(|id| !id.is_empty()).unwrap_or_else(random);
    let tmp = PathBuf::from(env()("TMPDIR").filter(|tmp| !tmp.is_empty()).unwrap_or_else(|| "/tmp".into()));
    let scratch = Scratch::open(&tmp).map_err(|e| format!("scratch space in {} cannot be used: {e}", tmp.display()))?;
    let environment = Environment { id, shutdown: shutdown.clone(), host: Arc::new(host(&tmp)) };
    let handler = Box::pin(setup(&environment)).await?;
    Ok((Door { environment, scratch }, handler))
}

/// As the runtime's variables name it.
fn host(tmp: &Path) -> Host {
    let set = |name: &str| env()(name).unwrap_or_default();
    let (tmp, memory_mb) = (tmp.to_owned(), set("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").parse().unwrap_or(0));
    Host::new(&set("AWS_LAMBDA_FUNCTION_NAME"), &set("AWS_REGION"), now_ms(), move || vitals::read(&tmp, memory_mb))
}

/// Runs `runtime`; at SIGTERM whoever listens has [`FAREWELL`] to say something.
async fn until_sigterm(
    runtime: impl Future<Output = Result<(), Error>>,
    shutdown: &Shutdown,
    traces: Option<&Traces>,
) -> Result<(), Error> {
    let mut sigterm = signal(SignalKind::terminate())?;
    let mut runtime = std::pin::pin!(runtime);
    tokio::select! {
        ended = &mut runtime => return ended,
        _ = sigterm.recv() => {}
    }
    let busy = shutdown.has_guests();
    tracing::info!(busy, "the environment is shut down");
    shutdown.begin();
    let farewell = async {
        shutdown.all_gone().await;
        let answered = async {
            if busy {
                // The answer to the call that just ended is on its way.
                tokio::time::sleep(LAST_ANSWER).await;
            }
        };
        let told = async {
            if let Some(traces) = traces {
                let _ = tokio::time::timeout(LAST_SPANS, traces.flush()).await;
            }
        };
        tokio::join!(answered, told);
    };
    tokio::select! {
        ended = &mut runtime => ended,
        () = farewell => Ok(()),
        () = tokio::time::sleep(FAREWELL) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_is_stopped_in_time_to_report() {
        assert_eq!(time_left(10_000, 1_000), Duration::from_secs(6));
        assert_eq!(time_left(1_000, 10_000), Duration::ZERO);
    }
}
