//! What a function is told by its environment; `template.yaml` sets it.

use pipeline::{
    planner::FanOut,
    retry::RetryPolicy,
    stage::{Policy, SourceBucket},
};

use crate::webhook::Webhook;

/// Everything that the stages and adapters are set by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The bucket of our own objects (and of uploads, unless people bring theirs).
    pub bucket: String,
    /// The ledger.
    pub table: String,
    pub queues: Queues,
    /// `WEBHOOK_URL` and `WEBHOOK_SECRET`: where people are told.
    pub webhook: Option<Webhook>,
    /// `LEASE_SECONDS`, `MAX_RETRIES`, `RETRY_SECONDS`, `MAX_UPLOAD_SIZE` (bytes), `JOB_TIMEOUT` (seconds), `PROFILE`
    /// `FAN_OUT`, `SCRATCH_MB` (the function's ephemeral storage), `SOURCE_BUCKET` and `SOURCE_PREFIX`.
    pub policy: Policy,
    /// `TTL_DAYS`, in seconds: how long tasks and events are kept after their last change.
    pub ttl_s: u64,
}

/// URLs of the queues. A function is told only those that it sends to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queues {
    pub ingest: Option<String>,
    pub split: Option<String>,
    pub transcode: Option<String>,
    pub transcode_large: Option<String>,
    pub merge: Option<String>,
    pub escalation: Option<String>,
}

/// What is wrong with the environment: everything at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the settings are incomplete: {}. Set them in the function's environment (template.yaml does).", .0.join("; "))]
pub struct SettingsError(Vec<String>);

/// Collects complaints, so that all are told at once.
struct Reader<F> {
    var: F,
    wrong: Vec<String>,
}

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    fn optional(&self, name: &str) -> Option<String> {
        (self.var)(name).filter(|value| !value.trim().is_empty())
    }
    fn required(&mut self, name: &str) -> String {
        self.optional(name).unwrap_or_else(|| {
            self.wrong.push(format!("{name} is missing"));
            String::new()
        })
    }
    fn number(&mut self, name: &str, default: u64, least: u64) -> u64 {
        let Some(text) = self.optional(name) else { return default };
        match text.trim().parse() {
            Ok(number) if number >= least => number,
            _ => {
                self.wrong.push(format!("{name} is `{text}` and must be a whole number of at least {least}"));
                default
            }
        }
    }
}

impl Settings {
    /// What the stages are told of them.
    pub fn policy(&self) -> Policy {
        self.policy.clone()
    }

    /// Reads all variables through `var` and names everything that is missing or wrong. An empty value counts as missing.
    pub fn read(var: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let mut read = Reader { var, wrong: Vec::new() };
        let settings = Self {
            bucket: read.required("BUCKET"),
            table: read.required("TABLE"),
            queues: Queues {
                ingest: read.optional("INGEST_QUEUE_URL"),
                split: read.optional("SPLIT_QUEUE_URL"),
                transcode: read.optional("TRANSCODE_QUEUE_URL"),
                transcode_large: read.optional("TRANSCODE_LARGE_QUEUE_URL"),
                merge: read.optional("MERGE_QUEUE_URL"),
                escalation: read.optional("ESCALATION_QUEUE_URL"),
            },
            webhook: webhook(&mut read),
            policy: policy(&mut read),
            ttl_s: read.number("TTL_DAYS", 30, 1).saturating_mul(86_400),
        };
        if read.wrong.is_empty() { Ok(settings) } else { Err(SettingsError(read.wrong)) }
    }
}

fn webhook<F: Fn(&str) -> Option<String>>(read: &mut Reader<F>) -> Option<Webhook> {
    let url = read.optional("WEBHOOK_URL")?;
    let secret = read.optional("WEBHOOK_SECRET").unwrap_or_default();
    Webhook::new(url.trim(), secret.trim()).map_err(|error| read.wrong.push(error)).ok()
}

fn policy<F: Fn(&str) -> Option<String>>(read: &mut Reader<F>) -> Policy {
    let default = Policy::default();
    let max_retries = read.number("MAX_RETRIES", u64::from(default.retry.max_retries), 0);
    let base_ms = read.number("RETRY_SECONDS", default.retry.base_ms / 1000, 1).saturating_mul(1000);
    Policy {
        retry: RetryPolicy { max_retries: u32::try_from(max_retries).unwrap_or(u32::MAX), base_ms, ..default.retry },
        lease_ms: read.number("LEASE_SECONDS", default.lease_ms / 1000, 1).saturating_mul(1000),
        job_timeout_ms: read.number("JOB_TIMEOUT", default.job_timeout_ms / 1000, 1).saturating_mul(1000),
        max_upload: read.number("MAX_UPLOAD_SIZE", default.max_upload, 1),
        profile: read.optional("PROFILE").unwrap_or(default.profile),
        fan_out: fan_out(read),
        scratch_mb: u32::try_from(read.number("SCRATCH_MB", u64::from(default.scratch_mb), 1)).unwrap_or(u32::MAX),
        source: read
            .optional("SOURCE_BUCKET")
            .map(|name| SourceBucket { name, prefix: read.optional("SOURCE_PREFIX").unwrap_or_default() }),
        ..default
    }
}

fn fan_out<F: Fn(&str) -> Option<String>>(read: &mut Reader<F>) -> FanOut {
    let parsed = read.optional("FAN_OUT").map(|text| FanOut::parse(text.trim()));
    parsed.unwrap_or_else(|| Ok(FanOut::default())).unwrap_or_else(|error| {
        read.wrong.push(format!("FAN_OUT is wrong: {error}"));
        FanOut::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::read(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn everything_missing_or_wrong_is_named_at_once() {
        let wrong = [("BUCKET", " "), ("LEASE_SECONDS", "soon"), ("FAN_OUT", "much"), ("WEBHOOK_URL", "ftp://x")];
        let error = read(&wrong).unwrap_err().to_string();
        for name in
            ["WEBHOOK_URL is `ftp://x`", "FAN_OUT is wrong: `much`", "BUCKET is missing", "TABLE is missing", "LEASE_SECONDS is `soon`"]
        {
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn two_variables_are_enough() {
        let settings = read(&[("BUCKET", "b"), ("TABLE", "t"), ("TTL_DAYS", "2")]).unwrap();
        assert_eq!((settings.policy.lease_ms, settings.ttl_s, settings.queues), (60_000, 172_800, Queues::default()));
        assert_eq!(settings.policy.retry, RetryPolicy::default());
        let retry = read(&[("BUCKET", "b"), ("TABLE", "t"), ("RETRY_SECONDS", "4"), ("MAX_RETRIES", "0")]).unwrap().policy.retry;
        assert_eq!((retry.base_ms, retry.max_retries), (4_000, 0));
    }
}
