//! The words that Lambda itself writes: log lines and the payloads of errors that no function reported.

use std::time::Duration;

use serde_json::json;
use time::{OffsetDateTime, macros::format_description};

use super::environment::Phase;

/// The only version there is here.
pub const VERSION: &str = "$LATEST";

/// How an invocation ended, as its `REPORT` line says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Success,
    Timeout,
    Error(&'static str),
}

/// What a `REPORT` line is made of.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    pub duration: Duration,
    /// Of the first invocation of an environment only.
    pub init: Option<Duration>,
    pub memory_mb: u32,
    /// Bytes.
    pub peak_memory: u64,
    pub status: Status,
}

pub fn start(request_id: &str) -> String {
    format!("START RequestId: {request_id} Version: {VERSION}")
}

pub fn end(request_id: &str) -> String {
    format!("END RequestId: {request_id}")
}

impl Report {
    /// Initialisation is billed together with the first invocation (since August 2025).
    pub fn line(&self, request_id: &str) -> String {
        let billed = (self.duration + self.init.unwrap_or_default()).as_micros().div_ceil(1000);
        let used = self.peak_memory.div_ceil(1 << 20).min(u64::from(self.memory_mb));
        let line = format!(
            "REPORT RequestId: {request_id}\tDuration: {} ms\tBilled Duration: {billed} ms\tMemory Size: {} MB\tMax Memory Used: {used} MB\t",
            milliseconds(self.duration),
            self.memory_mb
        );
        let init = self.init.map(|init| format!("Init Duration: {} ms\t", milliseconds(init)));
        let status = match self.status {
            Status::Success => String::new(),
            Status::Timeout => "Status: timeout".to_owned(),
            Status::Error(kind) => format!("Status: error\tError Type: {kind}"),
        };
        line + &init.unwrap_or_default() + &status
    }
}

/// `INIT_REPORT` line of an initialisation that failed.
pub fn init_report(duration: Duration, phase: Phase, status: Status) -> String {
    let phase = match phase {
        Phase::Init => "init",
        Phase::Invoke => "invoke",
    };
    let status = match status {
        Status::Success => "success".to_owned(),
        Status::Timeout => "timeout".to_owned(),
        Status::Error(kind) => format!("error\tError Type: {kind}"),
    };
    format!("INIT_REPORT Init Duration: {} ms\tPhase: {phase}\tStatus: {status}", milliseconds(duration))
}

/// Log line of a timeout: `2026-11-21T08:00:00.000Z <id> Task timed out after 3.00 seconds`.
pub fn timeout_line(now_ms: u64, request_id: &str, timeout: Duration) -> String {
    format!("{} {request_id} {}", rfc3339(now_ms), timed_out(timeout))
}

/// Payload of an invocation that timed out.
pub fn timeout_payload(request_id: &str, timeout: Duration) -> String {
    payload("Sandbox.Timedout", &format!("RequestId: {request_id} Error: {}", timed_out(timeout)))
}

/// Payload of an invocation that Lambda, not the function, calls failed.
pub fn payload(kind: &str, message: &str) -> String {
    json!({ "errorType": kind, "errorMessage": message }).to_string()
}

/// `2026-11-21T08:00:00.000Z`
pub fn rfc3339(now_ms: u64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    at(now_ms).format(&format).unwrap_or_default()
}

/// `2026-11-21T08:00:00Z`, as `EventBridge` writes it.
pub fn rfc3339_seconds(now_ms: u64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    at(now_ms).format(&format).unwrap_or_default()
}

/// Name of an environment's log stream: `2026/11/21/[$LATEST]<32 hex digits>`.
pub fn stream_name(now_ms: u64, id: &str) -> String {
    let day = at(now_ms).format(&format_description!("[year]/[month]/[day]")).unwrap_or_default();
    format!("{day}/[{VERSION}]{id}")
}

fn at(now_ms: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(now_ms) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn timed_out(timeout: Duration) -> String {
    format!("Task timed out after {:.2} seconds", timeout.as_secs_f64())
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_is_worded_as_aws_does() {
        let report = Report {
            duration: Duration::from_micros(1234),
            init: Some(Duration::from_micros(10_500)),
            memory_mb: 128,
            peak_memory: (20 << 20) - 1,
            status: Status::Success,
        };
        assert_eq!(
            report.line("i"),
            "REPORT RequestId: i\tDuration: 1.23 ms\tBilled Duration: 12 ms\tMemory Size: 128 MB\tMax Memory Used: 20 MB\tInit Duration: 10.50 ms\t"
        );
        let failed = Report { init: None, status: Status::Error("Runtime.ExitError"), ..report };
        assert!(failed.line("i").ends_with("20 MB\tStatus: error\tError Type: Runtime.ExitError"));
    }

    #[test]
    fn timeout_is_worded_as_aws_does() {
        let now = 1_795_248_000_000;
        assert_eq!(timeout_line(now, "i", Duration::from_secs(3)), "2026-11-21T08:00:00.000Z i Task timed out after 3.00 seconds");
        assert_eq!(stream_name(now, "ab"), "2026/11/21/[$LATEST]ab");
    }
}
