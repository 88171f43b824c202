//! `MiniStack`, a cloud that others wrote, as a process of its own, and `sam deploy` to it.

use std::{
    collections::BTreeMap,
    fs::File,
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{
    python::{aws, good, python},
    root,
    run::{binary, get, until},
    tool,
};

const START: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(10);

/// A running `MiniStack` with everything in one directory.
pub struct MiniStack {
    child: Child,
    dir: PathBuf,
    pub endpoint: String,
}

impl MiniStack {
    /// Starts it on a free port of the loopback and waits until it is healthy.
    pub async fn start(dir: &Path) -> Result<Self> {
        // It cannot be handed a listener.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let endpoint = format!("http://127.0.0.1:{port}");
        let log = File::create(dir.join("ministack.log"))?;
        let mut command = python("cloud", dir)?;
        command.args(["-m", "ministack"]).current_dir(dir).env("TMPDIR", dir);
        command.env("BIND_HOST", "127.0.0.1").env("MINISTACK_HOST", "127.0.0.1").env("GATEWAY_PORT", port.to_string());
        // Services of it that would listen on ports of their own.
        command.env("IOT_MTLS_ENABLED", "0").env("SFTP_ENABLED", "0");
        // Functions get it from there; a Docker that happens to be here shall make no difference.
        command.env("AWS_ENDPOINT_URL", &endpoint).env("LAMBDA_EXECUTOR", "local").env("DOCKER_HOST", "unix:///nowhere");
        // Its functions are in its group and end with it.
        command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn()?;
        let mut ministack = Self { child, dir: dir.to_owned(), endpoint: endpoint.clone() };
        until("MiniStack to be healthy", START, || {
            if let Some(status) = ministack.child.try_wait()? {
                anyhow::bail!("MiniStack ended with {status}: {}", ministack.log());
            }
            Ok(get(&endpoint, "/_ministack/health").ok())
        })
        .await?;
        Ok(ministack)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("ministack.log")).unwrap_or_default()
    }

    /// `sam deploy` of a template whose code is built; answers the stack's outputs.
    pub fn deploy(&self, template: &Path, stack: &str, parameters: &[&str]) -> Result<BTreeMap<String, String>> {
        let mut command = python("cloud", &self.dir)?;
        command.args(["-m", "samcli", "deploy", "--stack-name", stack, "--template-file"]).arg(template);
        command.args(["--resolve-s3", "--capabilities", "CAPABILITY_IAM", "--no-progressbar", "--region", "us-east-1"]);
        if !parameters.is_empty() {
            command.arg("--parameter-overrides").args(parameters);
        }
        command.env("AWS_ENDPOINT_URL", &self.endpoint).env("SAM_CLI_TELEMETRY", "0").current_dir(&self.dir);
        good(&command.output()?, "sam deploy")?;
        let stacks = aws(&self.endpoint, &self.dir, &["cloudformation", "describe-stacks", "--stack-name", stack])?;
        let outputs = stacks["Stacks"][0]["Outputs"].as_array().with_context(|| format!("no outputs: {stacks}"))?;
        let text = |output: &serde_json::Value, name: &str| output[name].as_str().map(str::to_owned);
        Ok(outputs.iter().filter_map(|output| Some((text(output, "OutputKey")?, text(output, "OutputValue")?))).collect())
    }

    /// Ends it, politely at first.
    pub fn stop(mut self) -> Result<()> {
        self.signal(Signal::TERM);
        let end = Instant::now() + END;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < end, "MiniStack does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for MiniStack {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

/// A folder that `sam deploy` takes. This cloud does not mount layers for programs, so that what every deploy would pack and upload
/// again is only the head of an `ffmpeg` for this kind of machine.
pub fn package(dir: &Path) -> Result<PathBuf> {
    let mut head = std::fs::read(tool("ffprobe")).context("no ffprobe")?;
    head.truncate(64);
    let (output, to) = packed(dir, &head)?;
    good(&output, "deploy/package.py")?;
    Ok(to)
}

/// What making it says with a layer in which both programs are this one, and where it would be.
pub fn packed(dir: &Path, program: &[u8]) -> Result<(Output, PathBuf)> {
    let (layer, to) = (dir.join("layer"), dir.join("package"));
    std::fs::create_dir_all(layer.join("bin"))?;
    for name in ["ffmpeg", "ffprobe"] {
        std::fs::write(layer.join("bin").join(name), program)?;
    }
    let mut command = python("cloud", dir)?;
    command.arg(root().canonicalize()?.join("deploy/package.py")).arg("--layer").arg(layer);
    command.arg("--binaries").arg(binary("ingest")?.parent().context("no folder")?).arg("--to").arg(&to);
    Ok((command.output()?, to))
}
