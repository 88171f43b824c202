//! A real Prometheus, as a process of its own, with the files of `monitoring/`.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{root, run::until};

const START: Duration = Duration::from_secs(30);
/// Another program may take the port that was free a moment ago.
const TRIES: u32 = 3;

/// A program of the package, as `make tools` installs it.
fn program(name: &str) -> Result<PathBuf> {
    let program = root().canonicalize()?.join(".tools/prometheus").join(name);
    ensure!(program.is_file(), "{} is not there: run `make tools`", program.display());
    Ok(program)
}

/// `promtool ARGS` in `monitoring/`.
pub fn promtool(args: &[&str]) -> Result<Output> {
    Ok(Command::new(program("promtool")?).args(args).current_dir(root().join("monitoring")).output()?)
}

/// `monitoring/prometheus.yml` for a platform at another place, looking every `interval`.
fn config(endpoint: &str, interval: &str) -> Result<String> {
    let folder = root().canonicalize()?.join("monitoring");
    let mut text = std::fs::read_to_string(folder.join("prometheus.yml"))?;
    let rules = folder.join("alerts.yml");
    for (from, to) in [
        ("scrape_interval: 15s", format!("scrape_interval: {interval}\n  evaluation_interval: {interval}")),
        ("alerts.yml", rules.display().to_string()),
        ("127.0.0.1:4566", endpoint.trim_start_matches("http://").to_owned()),
    ] {
        ensure!(text.contains(from), "monitoring/prometheus.yml has no `{from}` any more");
        text = text.replacen(from, &to, 1);
    }
    Ok(text)
}

/// A running Prometheus with everything in one directory.
pub struct Prometheus {
    child: Child,
    address: String,
}

impl Prometheus {
    /// Starts it on a free port of the loopback and waits until it has read the platform's page.
    pub async fn start(dir: &Path, endpoint: &str) -> Result<Self> {
        std::fs::write(dir.join("prometheus.yml"), config(endpoint, "1s")?)?;
        for attempt in 1..=TRIES {
            let mut prometheus = Self::spawn(dir)?;
            let healthy = until("Prometheus to read the page of metrics", START, || {
                if let Some(status) = prometheus.child.try_wait()? {
                    bail!("Prometheus ended with {status}: {}", std::fs::read_to_string(dir.join("prometheus.log"))?);
                }
                let Ok(targets) = prometheus.ask("targets", &[]) else { return Ok(None) };
                let target = &targets["activeTargets"][0];
                ensure!(target["health"] != "down", "{target}");
                Ok((target["health"] == "up").then_some(()))
            });
            match healthy.await {
                Ok(()) => return Ok(prometheus),
                Err(error) if attempt < TRIES && error.to_string().contains("address already in use") => {}
                Err(error) => return Err(error),
            }
        }
        bail!("no port stays free")
    }

    fn spawn(dir: &Path) -> Result<Self> {
        // It cannot be handed a listener.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let log = File::create(dir.join("prometheus.log"))?;
        let mut command = Command::new(program("prometheus")?);
        command.arg(format!("--web.listen-address={address}")).args(["--config.file=prometheus.yml", "--storage.tsdb.path=prometheus"]);
        command.current_dir(dir).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Self { child: command.spawn()?, address })
    }

    /// The `data` of an answer of its HTTP API, `/api/v1/<page>`.
    pub fn ask(&self, page: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let escaped = |text: &str| -> String {
            text.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
        };
        let query: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        // HTTP 1.0: an answer in one piece.
        write!(stream, "GET /api/v1/{page}?{} HTTP/1.0\r\nHost: {}\r\n\r\n", query.join("&"), self.address)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
        let body: Value = serde_json::from_str(body).with_context(|| answer.clone())?;
        ensure!(body["status"] == "success", "{page} {parameters:?}: {body}");
        Ok(body["data"].clone())
    }

    /// What a query finds now: labels and value of each series.
    pub fn query(&self, expression: &str) -> Result<Vec<(Value, f64)>> {
        let data = self.ask("query", &[("query", expression)])?;
        let series = data["result"].as_array().with_context(|| data.to_string())?.iter();
        let value = |one: &Value| Some((one["metric"].clone(), one["value"][1].as_str()?.parse().ok()?));
        Ok(series.filter_map(value).collect())
    }

    /// Ends it, politely at first: it writes what it has in memory.
    pub fn stop(mut self) -> Result<()> {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id())?).context("no pid")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        ensure!(self.child.wait()?.success(), "Prometheus ended badly");
        Ok(())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
