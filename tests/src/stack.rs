//! A deployed stack of the application, on whatever cloud, as a client sees it.

use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    process::Command,
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::primitives::ByteStream;
use serde_json::Value;

use crate::{ledger::Known, run::binary};

/// Where it is, and what it tells of itself.
pub struct Stack {
    pub endpoint: String,
    pub outputs: BTreeMap<String, String>,
    pub s3: aws_sdk_s3::Client,
    pub sqs: aws_sdk_sqs::Client,
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// For clients of other services.
    pub config: aws_config::SdkConfig,
    /// Jobs as they were when they were last looked at.
    pub(crate) known: Mutex<BTreeMap<String, Known>>,
}

impl Stack {
    /// Clients of a cloud, and the outputs of its stack.
    pub async fn at(endpoint: &str, outputs: BTreeMap<String, String>) -> Self {
        let config = config(endpoint).await;
        Self {
            endpoint: endpoint.to_owned(),
            outputs,
            s3: aws_sdk_s3::Client::from_conf(aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build()),
            sqs: aws_sdk_sqs::Client::new(&config),
            dynamodb: aws_sdk_dynamodb::Client::new(&config),
            config,
            known: Mutex::default(),
        }
    }

    pub fn bucket(&self) -> &str {
        self.outputs.get("Bucket").map_or("", String::as_str)
    }

    pub async fn upload(&self, key: &str, file: &Path) -> Result<()> {
        let body = ByteStream::from_path(file).await?;
        self.s3.put_object().bucket(self.bucket()).key(key).body(body).send().await?;
        Ok(())
    }

    /// What `fanreel` says with `--json`, against this platform.
    pub fn ask(&self, args: &[&str]) -> Result<Value> {
        let text = self.say(args)?;
        serde_json::from_str(&text).with_context(|| format!("fanreel {}: `{text}`", args.join(" ")))
    }

    /// The job's events, oldest first.
    pub fn events(&self, job: &str) -> Result<Vec<Value>> {
        self.say(&["events", job])?.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }

    /// The same as it is printed.
    pub fn say(&self, args: &[&str]) -> Result<String> {
        let output = Command::new(binary("fanreel")?).args(["--json", "--endpoint", &self.endpoint]).args(args).output()?;
        ensure!(matches!(output.status.code(), Some(0 | 1 | 4)), "fanreel {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// All jobs, by the keys of their sources.
    pub fn jobs(&self) -> Result<Vec<(String, Value)>> {
        let jobs = self.ask(&["jobs", "--limit", "1000"])?;
        let list = jobs["jobs"].as_array().or(jobs.as_array()).context("no list of jobs")?.clone();
        Ok(list.into_iter().map(|job| (job["key"].as_str().unwrap_or_default().to_owned(), job)).collect())
    }

    /// The job of an upload, once there is one: the latest.
    pub async fn job_of(&self, key: &str) -> Result<String> {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(job) = self.latest_of(key).await? {
                return Ok(job);
            }
            ensure!(Instant::now() < end, "waited 60 s for a job for {key}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The job's status once it is in one of these phases: QUEUED, PROCESSING, COMPLETED, PARTIAL, FAILED. Asked as a person does, which
    /// takes as much CPU as a worker: when its state changed, and every five seconds.
    pub async fn wait(&self, job: &str, phases: &[&str], limit: Duration) -> Result<Value> {
        let (begun, mut asked, mut seen) = (Instant::now(), None::<Instant>, None);
        loop {
            let found = self.job_item(job).await?;
            if found != seen || asked.is_none_or(|asked| asked.elapsed() > Duration::from_secs(5)) {
                seen = found;
                let status = self.ask(&["status", job])?;
                asked = Some(Instant::now());
                let phase = status["status"].as_str().unwrap_or_default().to_owned();
                if phases.contains(&phase.as_str()) {
                    return Ok(status);
                }
                ensure!(!["COMPLETED", "PARTIAL", "FAILED"].contains(&phase.as_str()), "job {job} is {phase}: {status}");
            }
            ensure!(begun.elapsed() < limit, "waited {} s for job {job} to be {}", limit.as_secs(), phases.join(" or "));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Keys below a prefix.
    pub async fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        let mut pages = self.s3.list_objects_v2().bucket(self.bucket()).prefix(prefix).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            keys.extend(page?.contents().iter().filter_map(|o| o.key().map(str::to_owned)));
        }
        Ok(keys)
    }

    /// Keys to which uploads in parts are not over.
    pub async fn unfinished(&self) -> Result<Vec<String>> {
        let found = self.s3.list_multipart_uploads().bucket(self.bucket()).send().await?;
        ensure!(found.is_truncated() != Some(true), "more than a page of unfinished uploads");
        Ok(found.uploads().iter().filter_map(|upload| upload.key().map(str::to_owned)).collect())
    }

    pub async fn read(&self, key: &str) -> Result<Vec<u8>> {
        let object = self.s3.get_object().bucket(self.bucket()).key(key).send().await.with_context(|| key.to_owned())?;
        Ok(object.body.collect().await?.into_bytes().into())
    }

    /// A rendition's init and segments as its media playlist names them, joined to one file.
    pub async fn joined(&self, job: &str, rendition: &str, to: &Path) -> Result<Vec<String>> {
        let base = format!("streams/{job}/{rendition}");
        let playlist = String::from_utf8(self.read(&format!("{base}/media.m3u8")).await?)?;
        let names: Vec<String> = playlist.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).map(|l| format!("{base}/{l}")).collect();
        let mut file = std::fs::File::create(to)?;
        file.write_all(&self.read(&format!("{base}/init.mp4")).await?)?;
        for name in &names {
            file.write_all(&self.read(name).await?)?;
        }
        Ok(names)
    }

    /// Messages in a queue: visible, in flight, delayed.
    pub async fn depth(&self, output: &str) -> Result<u64> {
        use aws_sdk_sqs::types::QueueAttributeName as Name;
        let url = self.outputs.get(output).with_context(|| output.to_owned())?;
        let answer = self.sqs.get_queue_attributes().queue_url(url).attribute_names(Name::All).send().await?;
        let attributes = answer.attributes().context("no attributes")?;
        let count = |name: Name| attributes.get(&name).and_then(|v| v.parse::<u64>().ok()).unwrap_or(0);
        Ok(count(Name::ApproximateNumberOfMessages)
            + count(Name::ApproximateNumberOfMessagesNotVisible)
            + count(Name::ApproximateNumberOfMessagesDelayed))
    }

    /// Waits until every queue is empty.
    pub async fn drained(&self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            let mut left = Vec::new();
            for queue in crate::house::QUEUES {
                let depth = self.depth(queue).await?;
                if depth > 0 {
                    left.push(format!("{queue}: {depth}"));
                }
            }
            if left.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < end, "messages are left: {}", left.join(", "));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// AWS's SDK, told of an endpoint and of nothing else.
pub async fn config(endpoint: &str) -> aws_config::SdkConfig {
    aws_config::defaults(aws_config::BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(aws_config::Region::new("us-east-1"))
        .credentials_provider(aws_credential_types::Credentials::new("test", "test", None, None, "tests"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .load()
        .await
}
