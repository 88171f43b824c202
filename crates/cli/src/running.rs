//! A platform that runs in this process.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, anyhow};
use platform::{Config, Listeners};
use tokio::{sync::oneshot, task::JoinHandle, time::Instant};

use crate::{http, logfile::LogFile};

/// From start to the first answer.
const START_TIME: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// A platform that answers.
pub struct Running {
    pub endpoint: String,
    pub log: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Starts it and waits until it answers. `log` moves into the data directory once the platform made it its own.
    pub async fn start(config: Config, listeners: impl Into<Listeners>, log: &LogFile) -> anyhow::Result<Self> {
        let listeners = listeners.into();
        let endpoint = platform::endpoint(listeners.aws.local_addr().context("the listening socket has no address")?);
        let log_path = config.data_dir.join("platform.log");
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let shutdown = async {
                // A sender that is gone is an end as well.
                let _ = stopped.await;
            };
            platform::run(config, listeners, shutdown).await.map_err(anyhow::Error::from)
        });
        let mut running = Self { endpoint, log: log_path, stop: Some(stop), task };
        running.answers().await?;
        log.open(&running.log).with_context(|| format!("{} cannot be written", running.log.display()))?;
        Ok(running)
    }

    async fn answers(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_TIME;
        let url = format!("{}/_fanreel/health", self.endpoint);
        loop {
            tokio::select! {
                ended = &mut self.task => return Err(early(ended)),
                answer = http::get_json(&url) => match answer {
                    Ok(_) => return Ok(()),
                    Err(error) if Instant::now() > deadline => {
                        return Err(error.context(format!("the platform did not come up in {} s", START_TIME.as_secs())));
                    }
                    Err(_) => tokio::time::sleep(POLL).await,
                },
            }
        }
    }

    /// Waits until it ends of itself, which it should not.
    pub async fn ended(&mut self) -> anyhow::Error {
        early((&mut self.task).await).context(format!("the platform stopped by itself; its log is {}", self.log.display()))
    }

    /// Ends it: functions are told, what was accepted is kept.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if self.task.is_finished() {
            return Ok(());
        }
        self.task.await.context("the platform broke while it ended")?
    }
}

fn early(ended: Result<anyhow::Result<()>, tokio::task::JoinError>) -> anyhow::Error {
    match ended {
        Ok(Ok(())) => anyhow!("the platform ended without being told to"),
        Ok(Err(error)) => error,
        Err(error) => anyhow!("the platform broke: {error}"),
    }
}

/// Completes on ctrl-c or SIGTERM.
pub async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        result = tokio::signal::ctrl_c() => {
            if result.is_err() {
                std::future::pending::<()>().await;
            }
        }
        () = terminate => {}
    }
}
