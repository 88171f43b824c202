//! The end of an invocation, good or bad, and of an environment with what it leaves.

use std::{io, process::ExitStatus, sync::atomic::Ordering};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    InvokeError, Outcome,
    environment::{End, Environment, Event, Job, Phase, Running, State},
    process,
    report::{self, Report, Status},
};
use crate::{logs::now_ms, metrics::Observation};

impl Environment {
    /// Writes what Lambda writes at the end of an invocation, and answers the caller.
    pub(super) fn settle(&mut self, running: Running, payload: Bytes, error: Option<String>, status: Status) {
        let Running { job, started, init, .. } = running;
        let report = Report {
            duration: started.elapsed(),
            init,
            memory_mb: self.deployed.function.memory_mb,
            peak_memory: self.peak_memory(),
            status,
        };
        self.journal.write(report::end(&job.request_id));
        self.journal.write(report.line(&job.request_id));
        self.count(&report, error.is_some());
        let Job { request_id, reply, slot, .. } = job;
        // Before the answer: who has the answer may count on the place.
        drop(slot);
        let log_tail = self.journal.tail();
        let _ = reply.send(Ok(Outcome { payload, function_error: error, log_tail, request_id }));
    }

    /// As AWS's metrics of the namespace `AWS/Lambda`; cold starts have none there.
    fn count(&self, report: &Report, failed: bool) {
        let labels = [("function_name", self.deployed.function.name.as_str())];
        let metrics = self.lambda.logs.metrics();
        metrics.observe("aws_lambda_invocations", &labels, Observation::Count(1.0));
        metrics.observe("aws_lambda_errors", &labels, Observation::Count(f64::from(u8::from(failed))));
        metrics.observe("aws_lambda_duration_seconds", &labels, Observation::Seconds(report.duration.as_secs_f64()));
        if let Some(init) = report.init {
            metrics.observe("aws_lambda_init_duration_seconds", &labels, Observation::Seconds(init.as_secs_f64()));
        }
    }

    /// The process has ended, and all that it had started: tells whoever waits for it. Answers a job for which
    /// initialisation is to be tried once more.
    pub(super) fn close(&mut self, end: &End, status: io::Result<ExitStatus>) -> Option<Box<Job>> {
        self.lambda.pool.remove(self.handle.id);
        self.inbox.close();
        let exit = status.map_or_else(|error| format!("Runtime exited with error: {error}"), process::describe);
        let state = std::mem::replace(&mut self.state, State::Settling { until: Instant::now() });
        let mut again = None;
        match (state, self.pending.take()) {
            (State::Running(running), pending) => {
                self.fail(*running, end, &exit);
                self.hand_back(end, pending);
            }
            (State::Starting { .. }, Some(job)) => again = self.fail_init(job, end, &exit),
            (_, pending) => self.hand_back(end, pending),
        }
        while let Ok(event) = self.inbox.try_recv() {
            if let Event::Job(job) = event {
                self.hand_back(end, Some(job));
            }
        }
        tracing::debug!(function = self.deployed.function.name, pid = self.handle.pid, ?end, "an environment ended");
        again
    }

    /// Gives a job that the function never saw to another environment.
    fn hand_back(&self, end: &End, job: Option<Box<Job>>) {
        match job {
            Some(job) if *end == End::Stopped => drop(job.reply.send(Err(InvokeError::ShuttingDown))),
            Some(job) => self.lambda.dispatch_again(job),
            None => {}
        }
    }

    fn fail_init(&mut self, job: Box<Job>, end: &End, exit: &str) -> Option<Box<Job>> {
        let started = self.born;
        if *end != End::Stopped {
            let (kind, _, line) = self.verdict(&job.request_id, end, exit);
            self.journal.begin();
            if self.phase == Phase::Init {
                self.journal.write(line);
            }
            self.journal.write(report::init_report(started.elapsed(), self.phase, kind));
        }
        if self.phase == Phase::Init && *end != End::Stopped {
            return Some(job);
        }
        self.journal.write(report::start(&job.request_id));
        self.fail(Running::of_init(*job, started), end, exit);
        None
    }

    fn fail(&mut self, running: Running, end: &End, exit: &str) {
        if *end == End::Stopped {
            let _ = running.job.reply.send(Err(InvokeError::ShuttingDown));
            return;
        }
        let (status, payload, line) = self.verdict(&running.job.request_id, end, exit);
        self.journal.write(line);
        self.settle(running, payload, Some("Unhandled".to_owned()), status);
    }

    /// Status, payload and log line of an invocation whose environment ended.
    fn verdict(&self, request_id: &str, end: &End, exit: &str) -> (Status, Bytes, String) {
        let timeout = self.deployed.function.timeout;
        let message = format!("RequestId: {request_id} Error: {exit}");
        let failed = |kind: &'static str, message: &str| {
            let payload = self.init_failure.clone().unwrap_or_else(|| report::payload(kind, message).into());
            (Status::Error(kind), payload, format!("{message}\n{kind}"))
        };
        match end {
            End::TimedOut => {
                let line = report::timeout_line(now_ms(), request_id, timeout);
                (Status::Timeout, report::timeout_payload(request_id, timeout).into(), line)
            }
            End::OutOfMemory => failed("Runtime.OutOfMemory", &message),
            End::OutOfStorage(bytes) => {
                let (held, most) = (bytes.div_ceil(1 << 20), self.deployed.function.ephemeral_mb);
                let message = format!(
                    "RequestId: {request_id} Error: No space left on device: TMPDIR holds {held} MB, and EphemeralStorage is {most} MB"
                );
                failed("Runtime.ExitError", &message)
            }
            End::Extension(kind) => failed("Extension.Crash", &format!("RequestId: {request_id} Error: extension failed: {kind}")),
            End::Exited | End::Retired | End::Stopped => failed("Runtime.ExitError", &message),
        }
    }

    /// Bytes: the most that the memory watch saw of the session, or the most that its leader ever had.
    fn peak_memory(&self) -> u64 {
        let seen = self.handle.gauge.peak_memory.load(Ordering::Relaxed);
        let peak = seen.max(process::peak_resident(self.handle.pid).unwrap_or(0));
        self.handle.gauge.peak_memory.store(peak, Ordering::Relaxed);
        peak
    }
}

impl Running {
    /// An invocation whose environment never got so far as to take it.
    fn of_init(job: Job, started: Instant) -> Self {
        Self { job, started, deadline: started, init: None }
    }
}
