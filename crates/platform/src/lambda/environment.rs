//! One running copy of a function. Its state is one enum, changed by one task, which alone talks to the process.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    InvokeError, Lambda, Outcome,
    extensions::Extensions,
    launch::{Deployed, Own},
    output::{Journal, Output},
    pool::{Gauge, Handle},
    process::Process,
    report,
    runtime_api::{self, Call, Reply},
    slots::Slot,
};
use crate::{logs::now_ms, stack};

/// Between SIGTERM and SIGKILL, where an extension is registered.
pub const GRACE: Duration = Duration::from_secs(2);
/// Events that wait for an environment's task.
const INBOX: usize = 64;

/// One invocation on its way.
#[derive(Debug)]
pub struct Job {
    pub request_id: String,
    pub payload: Bytes,
    /// JSON, as the caller gave it.
    pub client_context: Option<String>,
    pub reply: oneshot::Sender<Result<Outcome, InvokeError>>,
    pub slot: Slot,
    /// Environments that ended before they could take it.
    pub tries: u8,
}

/// What an environment's task hears.
#[derive(Debug)]
pub enum Event {
    Asked(Call, Reply),
    Job(Box<Job>),
    Stop,
    OutOfMemory,
    /// Its directory holds more than `EphemeralStorage`: so many bytes.
    OutOfStorage(u64),
}

/// As which part of an invocation an environment is initialised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before it, in a time of its own.
    Init,
    /// Once more, after it failed, in the invocation's own time.
    Invoke,
}

#[derive(Debug)]
pub(super) enum State {
    /// Started; has not asked for work yet.
    Starting {
        until: Instant,
    },
    /// Has asked for work.
    Ready {
        ask: Reply,
        since: Instant,
    },
    Running(Box<Running>),
    /// Has answered; has not asked for work again.
    Settling {
        until: Instant,
    },
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) job: Job,
    pub(super) started: Instant,
    pub(super) deadline: Instant,
    pub(super) init: Option<Duration>,
}

/// Why an environment ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its process did.
    Exited,
    TimedOut,
    OutOfMemory,
    /// Bytes in its directory.
    OutOfStorage(u64),
    /// An extension said that it failed.
    Extension(String),
    /// Idle for long, or in the way.
    Retired,
    /// Ended at work, because the platform ends.
    Stopped,
}

pub struct Environment {
    pub(super) lambda: Arc<Lambda>,
    pub(super) deployed: Arc<Deployed>,
    pub(super) handle: Handle,
    pub(super) journal: Journal,
    pub(super) output: Output,
    pub(super) inbox: mpsc::Receiver<Event>,
    pub(super) state: State,
    /// Given to it before it asked for work.
    pub(super) pending: Option<Box<Job>>,
    extensions: Extensions,
    /// When the process was started.
    pub(super) born: Instant,
    pub(super) phase: Phase,
    /// It was given an invocation.
    served: bool,
    /// Its processes are stopped.
    frozen: bool,
    /// How long initialisation took, until it is reported.
    init: Option<Duration>,
    /// What the runtime said of its failed initialisation.
    pub(super) init_failure: Option<Bytes>,
}

impl Environment {
    /// Starts an environment for `job` and stays until its end. An initialisation that fails is tried once more, as a part
    /// of the invocation. Source: AWS Lambda developer guide, "Lambda runtime environment lifecycle", "Failures during the
    /// Init phase".
    pub async fn run(lambda: Arc<Lambda>, function: usize, deployed: Arc<Deployed>, job: Box<Job>) {
        let id = lambda.next_id();
        let tmp = lambda.tmp_dir(id);
        let stream = report::stream_name(now_ms(), &uuid::Uuid::new_v4().simple().to_string());
        let mut next = Some((job, Phase::Init));
        while let Some((job, phase)) = next.take() {
            match Self::start(&lambda, function, &deployed, (id, &stream), phase).await {
                Ok((mut environment, process, listener)) => {
                    environment.pending = Some(job);
                    let api = tokio::spawn(runtime_api::serve(listener, environment.handle.events.clone()));
                    next = environment.live(process).await.map(|job| (job, Phase::Invoke));
                    api.abort();
                }
                Err(error) => {
                    let (function, reason) = (deployed.function.name.clone(), error.to_string());
                    tracing::error!(function, reason, "an environment could not be started");
                    let _ = job.reply.send(Err(InvokeError::Platform { function, reason }));
                }
            }
        }
        if let Err(error) = tokio::fs::remove_dir_all(&tmp).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %tmp.display(), %error, "an environment's directory could not be removed");
        }
    }

    async fn start(
        lambda: &Arc<Lambda>,
        function: usize,
        deployed: &Arc<Deployed>,
        (id, stream): (u64, &str),
        phase: Phase,
    ) -> std::io::Result<(Self, Process, TcpListener)> {
        let born = Instant::now();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let own = Own { stream, port: listener.local_addr()?.port(), tmp: &lambda.tmp_dir(id) };
        let (process, reader) = deployed.launch(&lambda.spawner, &lambda.config, own).await?;
        lambda.records.add(process.id(), stream)?;
        let output = Output::new(reader)?;
        let (events, inbox) = mpsc::channel(INBOX);
        let gauge = Arc::new(Gauge::default());
        gauge.busy.store(true, Ordering::Relaxed);
        let handle = Handle { id, function, stream: stream.into(), pid: process.id(), events, gauge };
        lambda.pool.add(handle.clone());
        let group = deployed.function.log_group.clone();
        let journal = Journal::new(Arc::clone(&lambda.logs), group, stream.to_owned());
        let time = match phase {
            Phase::Init => lambda.config.init_timeout,
            Phase::Invoke => deployed.function.timeout,
        };
        let environment = Self {
            lambda: Arc::clone(lambda),
            deployed: Arc::clone(deployed),
            handle,
            journal,
            output,
            inbox,
            state: State::Starting { until: born + time },
            pending: None,
            extensions: Extensions::default(),
            born,
            phase,
            served: false,
            frozen: false,
            init: None,
            init_failure: None,
        };
        Ok((environment, process, listener))
    }

    /// Stays until the end; answers a job for which initialisation is to be tried once more.
    async fn live(mut self, process: Process) -> Option<Box<Job>> {
        let end = self.serve(&process).await;
        if matches!(end, End::Retired | End::Stopped) {
            self.part(&process).await;
        }
        let pid = process.id();
        let status = process.kill().await;
        self.lambda.records.remove(pid);
        self.output.finish(&mut self.journal);
        self.close(&end, status)
    }

    /// Stops the processes of an environment that has nothing to do: its runtime and every extension wait for what comes
    /// next. Source: AWS Lambda developer guide, "Lambda runtime environment lifecycle", "Invoke phase".
    fn freeze(&mut self, process: &Process) {
        let waits = matches!(&self.state, State::Ready { ask, .. } if !ask.is_closed());
        if waits && self.pending.is_none() && self.extensions.are_waiting() && !self.frozen {
            self.frozen = true;
            process.freeze();
        }
    }

    fn thaw(&mut self, process: &Process) {
        if std::mem::take(&mut self.frozen) {
            process.thaw();
        }
    }

    /// Until there is a reason to end.
    async fn serve(&mut self, process: &Process) -> End {
        loop {
            self.freeze(process);
            let deadline = match &self.state {
                State::Starting { until } | State::Settling { until } => *until,
                State::Ready { since, .. } => *since + self.lambda.config.idle_timeout,
                State::Running(running) => running.deadline,
            };
            let end = tokio::select! {
                biased;
                Some(event) = self.inbox.recv() => {
                    self.thaw(process);
                    self.on(event)
                }
                () = process.ended() => Some(End::Exited),
                // Before the output: a function that prints without end is ended all the same.
                () = tokio::time::sleep_until(deadline) => self.on_deadline(),
                () = self.output.readable() => {
                    self.output.read(&mut self.journal);
                    None
                }
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    fn on(&mut self, event: Event) -> Option<End> {
        match event {
            Event::Asked(call, reply) => return self.on_call(call, reply),
            Event::Job(job) => {
                self.handle.gauge.busy.store(true, Ordering::Relaxed);
                self.pending = Some(job);
                self.deliver();
            }
            Event::Stop if matches!(self.state, State::Ready { .. } | State::Settling { .. }) && self.pending.is_none() => {
                return Some(End::Retired);
            }
            Event::Stop => return Some(End::Stopped),
            Event::OutOfMemory => return Some(End::OutOfMemory),
            Event::OutOfStorage(bytes) => return Some(End::OutOfStorage(bytes)),
        }
        None
    }

    fn on_deadline(&mut self) -> Option<End> {
        match &mut self.state {
            State::Ready { since, .. } => {
                if self.lambda.pool.take_back(self.handle.id) {
                    return Some(End::Retired);
                }
                // Somebody has taken it: a job is on its way.
                *since = Instant::now();
                None
            }
            State::Starting { .. } | State::Running(_) | State::Settling { .. } => Some(End::TimedOut),
        }
    }

    fn on_call(&mut self, call: Call, reply: Reply) -> Option<End> {
        match call {
            Call::Next => self.on_next(reply),
            Call::Answer { request_id, payload } => self.on_answer(&request_id, payload, None, reply),
            Call::Failure { request_id, payload } => {
                self.on_answer(&request_id, payload, Some("Unhandled".to_owned()), reply);
            }
            Call::InitFailure { payload } => {
                // The process ends by itself, and may have more to say until then.
                self.init_failure = Some(payload);
                let _ = reply.send(runtime_api::accepted());
            }
            Call::Register { name, events } => {
                let about = json!({
                    "functionName": self.deployed.function.name,
                    "functionVersion": report::VERSION,
                    "handler": "bootstrap",
                    "accountId": stack::ACCOUNT,
                });
                let id = uuid::Uuid::new_v4().to_string();
                self.extensions.register(id, name, &events, &about, reply);
            }
            Call::NextEvent { extension } => self.extensions.ask(&extension, reply),
            Call::ExtensionFailure { kind } => {
                let _ = reply.send(runtime_api::accepted());
                return Some(End::Extension(kind));
            }
        }
        None
    }

    fn on_next(&mut self, ask: Reply) {
        match self.state {
            State::Starting { .. } if self.phase == Phase::Init => self.init = Some(self.born.elapsed()),
            State::Starting { .. } | State::Ready { .. } | State::Settling { .. } => {}
            State::Running(_) => {
                let message = "The invocation before has not been answered.";
                let _ = ask.send(runtime_api::error(StatusCode::FORBIDDEN, "InvalidStateTransition", message));
                return;
            }
        }
        self.state = State::Ready { ask, since: Instant::now() };
        self.deliver();
    }

    /// Hands the pending job over, if there is one and the function has asked.
    fn deliver(&mut self) {
        let State::Ready { ask, .. } = &self.state else { return };
        if self.pending.is_none() {
            return;
        }
        let timeout = self.deployed.function.timeout;
        if ask.is_closed() {
            // Whoever asked has hung up: it asks again, or it has ended.
            self.state = State::Settling { until: Instant::now() + timeout };
            return;
        }
        let Some(job) = self.pending.take() else { return };
        // Initialisation within an invocation is a part of its time.
        let first_of_phase = self.phase == Phase::Invoke && !std::mem::replace(&mut self.served, true);
        let started = if first_of_phase { self.born } else { Instant::now() };
        let left = (started + timeout).saturating_duration_since(Instant::now());
        let deadline_ms = now_ms().saturating_add(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        let arn = stack::function_arn(&self.deployed.function.name);
        self.journal.begin();
        self.journal.write(report::start(&job.request_id));
        self.extensions.invoke(&job.request_id, deadline_ms, &arn);
        let response = runtime_api::invocation(&job, deadline_ms, &arn);
        let running = Running { job: *job, started, deadline: started + timeout, init: self.init.take() };
        if let State::Ready { ask, .. } = std::mem::replace(&mut self.state, State::Running(Box::new(running))) {
            // If it hangs up just now, its process ends or the deadline comes.
            let _ = ask.send(response);
        }
    }

    fn on_answer(&mut self, request_id: &str, payload: Bytes, error: Option<String>, reply: Reply) {
        let until = match &self.state {
            State::Running(running) if running.job.request_id == request_id => running.deadline,
            _ => {
                let message = format!("There is no invocation {request_id} to answer.");
                let _ = reply.send(runtime_api::error(StatusCode::BAD_REQUEST, "InvalidRequestID", &message));
                return;
            }
        };
        let State::Running(running) = std::mem::replace(&mut self.state, State::Settling { until }) else { return };
        let (payload, error, answer) = if payload.len() > runtime_api::MAX_ANSWER {
            let (payload, answer) = runtime_api::too_large();
            (payload, Some("Unhandled".to_owned()), answer)
        } else {
            (payload, error, runtime_api::accepted())
        };
        let _ = reply.send(answer);
        self.output.finish(&mut self.journal);
        self.handle.gauge.busy.store(false, Ordering::Relaxed);
        // Before the caller has its answer: its next invocation finds this environment warm.
        self.lambda.pool.put(self.handle.clone());
        self.settle(*running, payload, error, report::Status::Success);
    }

    /// Ends the processes as AWS does where an extension is registered: with an event, SIGTERM, and some time.
    async fn part(&mut self, process: &Process) {
        if self.extensions.is_empty() {
            return;
        }
        self.thaw(process);
        let deadline = Instant::now() + GRACE;
        let grace_ms = u64::try_from(GRACE.as_millis()).unwrap_or(0);
        self.extensions.shut_down("spindown", now_ms() + grace_ms);
        process.terminate();
        // A runtime that asks for work now must wait for ever: any answer would make it fail before its last words.
        let mut unanswered = Vec::new();
        loop {
            tokio::select! {
                () = process.ended() => return,
                Some(event) = self.inbox.recv() => match event {
                    Event::Asked(call @ (Call::NextEvent { .. } | Call::Answer { .. } | Call::Failure { .. }), reply) => {
                        drop(self.on_call(call, reply));
                    }
                    Event::Asked(_, reply) => unanswered.push(reply),
                    Event::Stop | Event::OutOfMemory | Event::OutOfStorage(_) => {}
                    Event::Job(job) => self.lambda.dispatch_again(job),
                },
                () = self.output.readable() => self.output.read(&mut self.journal),
                () = tokio::time::sleep_until(deadline) => return,
            }
        }
    }
}
