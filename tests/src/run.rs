//! The real `fanreel up` as a process of its own, and what a client sees of it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    ops::Deref,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::stack::Stack;
pub use crate::stack::config;

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
    // A call that AWS would refuse is found by whichever test makes it first.
    command.env("FANREEL_ENFORCE_POLICIES", "true");
    Ok(command)
}

/// A running platform with the application on it.
pub struct Fanreel {
    child: Child,
    pub data_dir: PathBuf,
    stack: Stack,
}

impl Deref for Fanreel {
    type Target = Stack;
    fn deref(&self) -> &Stack {
        &self.stack
    }
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
        // A test waits for no store that throttles.
        let waits = parameters.iter().any(|parameter| parameter.starts_with("RetrySeconds="));
        for parameter in parameters.iter().chain((!waits).then_some(&"RetrySeconds=2")) {
            command.args(["--parameter", parameter]);
        }
        Self::launch(command).await
    }

    /// With a template that is not the application's own.
    pub async fn start_template(data_dir: &Path, template: &Path) -> Result<Self> {
        Self::start_template_with(data_dir, template, &[]).await
    }

    /// As [`start_template`](Self::start_template), with parameters of it.
    pub async fn start_template_with(data_dir: &Path, template: &Path, parameters: &[&str]) -> Result<Self> {
        Self::start_as(data_dir, template, parameters, &[]).await
    }

    /// As [`start_template_with`](Self::start_template_with), with options of `fanreel up`.
    pub async fn start_as(data_dir: &Path, template: &Path, parameters: &[&str], options: &[&str]) -> Result<Self> {
        let mut command = up(data_dir)?;
        command.args(options).arg("--template").arg(template);
        for parameter in parameters {
            command.args(["--parameter", parameter]);
        }
        Self::launch(command).await
    }

    /// As [`start_template_with`](Self::start_template_with), with so little room (`256k`) for what functions write: a file
    /// system of its own. `None`: this machine mounts none for us.
    pub async fn start_cramped(data_dir: &Path, template: &Path, parameters: &[&str], room: &str) -> Result<Option<Self>> {
        let tmp = data_dir.join("lambda/tmp");
        std::fs::create_dir_all(&tmp)?;
        let mount = format!("mount -t tmpfs -o size={room} none '{}'", tmp.display());
        let within = |script: &str| {
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
            command
        };
        if !within(&mount).output().is_ok_and(|output| output.status.success()) {
            return Ok(None);
        }
        let up = up(data_dir)?;
        let mut command = within(&format!("{mount} && exec \"$0\" \"$@\""));
        command.arg(up.get_program()).args(up.get_args()).arg("--template").arg(template);
        command.envs(up.get_envs().filter_map(|(name, value)| Some((name, value?))));
        for parameter in parameters {
            command.args(["--parameter", parameter]);
        }
        Self::launch(command).await.map(Some)
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
        let data_dir = ready["data_dir"].as_str().context("no data directory")?.into();
        Ok(Self { child, data_dir, stack: Stack::at(&endpoint, outputs).await })
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

/// Polls until there is an answer, half of the time at most: what looks takes CPU from what it looks at.
pub async fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        let begun = Instant::now();
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(Instant::now() < end, "waited {} s for {what}", limit.as_secs());
        tokio::time::sleep(begun.elapsed().max(Duration::from_millis(100))).await;
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
