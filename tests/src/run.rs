//! The real `fanreel up` as a process of its own, and what a client sees of it.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_s3::primitives::ByteStream;
use serde_json::Value;

/// A binary of this workspace, in the same profile as the running test.
pub fn binary(name: &str) -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let dir =
        exe.ancestors().find(|dir| dir.join("fanreel").is_file()).context("fanreel is not built: run cargo build --workspace --bins")?;
    Ok(dir.join(name))
}

/// `fanreel up` on a free port.
fn up(data_dir: &Path) -> Result<Command> {
    let mut command = Command::new(binary("fanreel")?);
    command.args(["--json", "up", "--port", "0", "--data-dir"]).arg(data_dir);
    // The target folder may lie outside the checkout.
    command.env("FANREEL_LAYER", crate::root().join("layers/ffmpeg/build/opt"));
    Ok(command)
}

/// A running platform with the application on it.
pub struct Fanreel {
    child: Child,
    pub endpoint: String,
    pub data_dir: PathBuf,
    pub outputs: BTreeMap<String, String>,
    pub s3: aws_sdk_s3::Client,
    pub sqs: aws_sdk_sqs::Client,
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// For clients of other services.
    pub config: aws_config::SdkConfig,
}

impl Fanreel {
    /// Starts it on a free port and waits until it is healthy.
    pub async fn start(data_dir: &Path, parameters: &[&str]) -> Result<Self> {
        Self::start_with(data_dir, parameters, &[]).await
    }

    /// As [`start`](Self::start), with more in its environment.
    pub async fn start_with(data_dir: &Path, parameters: &[&str], environment: &[(&str, &Path)]) -> Result<Self> {
        let mut command = up(data_dir)?;
        command.envs(environment.iter().copied());
        for parameter in parameters {
            command.args(["--parameter", parameter]);
        }
        Self::launch(command).await
    }

    /// With a template that is not the application's own.
    pub async fn start_template(data_dir: &Path, template: &Path) -> Result<Self> {
        Self::start_template_with(data_dir, template, &[], &[]).await
    }

    /// As [`start_template`](Self::start_template), with parameters of it and more in its environment.
    pub async fn start_template_with(data_dir: &Path, template: &Path, parameters: &[&str], environment: &[(&str, &Path)]) -> Result<Self> {
        let mut command = up(data_dir)?;
        command.envs(environment.iter().copied()).arg("--template").arg(template);
        for parameter in parameters {
            command.args(["--parameter", parameter]);
        }
        Self::launch(command).await
    }

    async fn launch(mut command: Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
        let stdout = child.stdout.take().context("no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        let first = lines.next().context("fanreel up ended without a word")??;
        let ready: Value = serde_json::from_str(&first).with_context(|| format!("fanreel up said: {first}"))?;
        let endpoint = ready["endpoint"].as_str().context("no endpoint")?.to_owned();
        // Keeps the pipe open and empty for as long as the process lives.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let stack: Value = serde_json::from_str(&get(&endpoint, "/_fanreel/stack")?)?;
        let outputs = stack["outputs"].as_object().context("no outputs")?;
        let outputs = outputs.iter().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect();
        let config = config(&endpoint).await;
        Ok(Self {
            child,
            data_dir: ready["data_dir"].as_str().context("no data directory")?.into(),
            outputs,
            s3: aws_sdk_s3::Client::from_conf(aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build()),
            sqs: aws_sdk_sqs::Client::new(&config),
            dynamodb: aws_sdk_dynamodb::Client::new(&config),
            endpoint,
            config,
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(mut self) -> Result<()> {
        self.die()
    }

    /// The same, for whoever puts another in its place.
    pub fn die(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits.
    pub fn stop(mut self) -> Result<()> {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id())?).context("no pid")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "fanreel up ended with {status}");
        Ok(())
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

    fn say(&self, args: &[&str]) -> Result<String> {
        let output = Command::new(binary("fanreel")?).args(["--json", "--endpoint", &self.endpoint]).args(args).output()?;
        ensure!(matches!(output.status.code(), Some(0 | 1)), "fanreel {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// All jobs, by the keys of their sources.
    pub fn jobs(&self) -> Result<Vec<(String, Value)>> {
        let jobs = self.ask(&["jobs", "--limit", "1000"])?;
        let list = jobs["jobs"].as_array().or(jobs.as_array()).context("no list of jobs")?.clone();
        Ok(list.into_iter().map(|job| (job["key"].as_str().unwrap_or_default().to_owned(), job)).collect())
    }

    /// The job of an upload, once there is one.
    pub async fn job_of(&self, key: &str) -> Result<String> {
        let wanted = || Ok(self.jobs()?.into_iter().find(|(k, _)| k == key).and_then(|(_, job)| Some(job["job"].as_str()?.to_owned())));
        until(&format!("a job for {key}"), Duration::from_secs(60), wanted).await
    }

    /// The job's status once it is in one of these phases: QUEUED, PROCESSING, COMPLETED, FAILED.
    pub async fn wait(&self, job: &str, phases: &[&str], limit: Duration) -> Result<Value> {
        until(&format!("job {job} to be {}", phases.join(" or ")), limit, || {
            let status = self.ask(&["status", job])?;
            let phase = status["status"].as_str().unwrap_or_default().to_owned();
            if ["COMPLETED", "FAILED"].contains(&phase.as_str()) && !phases.contains(&phase.as_str()) {
                bail!("job {job} is {phase}: {status}");
            }
            Ok(phases.contains(&phase.as_str()).then_some(status))
        })
        .await
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

    pub async fn read(&self, key: &str) -> Result<Vec<u8>> {
        let object = self.s3.get_object().bucket(self.bucket()).key(key).send().await.with_context(|| key.to_owned())?;
        Ok(object.body.collect().await?.to_vec())
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

    /// Processes whose environment names this platform's data directory or whose ancestors do, by pid and program.
    pub fn processes(&self) -> Vec<(u32, String)> {
        descendants(self.pid())
    }
}

impl Drop for Fanreel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls until there is an answer.
pub async fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(Instant::now() < end, "waited {} s for {what}", limit.as_secs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// All processes below one, `(pid, program)`.
pub fn descendants(root: u32) -> Vec<(u32, String)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((head, tail)) = stat.rsplit_once(')') else { continue };
        let name = head.split_once('(').map_or("", |(_, n)| n).to_owned();
        let mut fields = tail.split_whitespace();
        let (state, parent) = (fields.next().unwrap_or_default(), fields.next().and_then(|p| p.parse::<u32>().ok()).unwrap_or(0));
        if state != "Z" {
            all.push((pid, parent, name));
        }
    }
    let mut below = vec![root];
    let mut found = Vec::new();
    while let Some(parent) = below.pop() {
        for (pid, _, name) in all.iter().filter(|(_, p, _)| *p == parent) {
            below.push(*pid);
            found.push((*pid, name.clone()));
        }
    }
    found
}

/// A plain GET of the platform's own pages.
pub fn get(endpoint: &str, path: &str) -> Result<String> {
    let host = endpoint.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no body")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
    Ok(body.to_owned())
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
