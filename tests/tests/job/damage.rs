//! Damaged and hostile sources: each ends once, in the right state, and shows nothing but itself (P3, P6, P7, P8).

use std::{
    net::{TcpListener, UdpSocket},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tests::{
    clips,
    hostile::{self, Bait, End, Good, Source},
    look,
    run::Fanreel,
};

use super::LONG;

/// Kinds of events that a job of a bad source must not have: it is tried once, by one worker, and nobody is called.
const AGAIN: [&str; 4] =
    ["ContainerErrorRetry", "ContainerErrorEscalation", "ContainerFailureDetected", "ResourceUtilizationThresholdReached"];

#[tokio::test(flavor = "multi_thread")]
async fn bad_sources_end_once_with_a_sentence_and_show_no_foreign_frame() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let secret = dir.path().join("secret.mp4");
    clips::ffmpeg(&["-f", "lavfi", "-i", "color=white:size=160x120:rate=10:duration=3", "-pix_fmt", "yuv420p", &secret.to_string_lossy()])?;
    let (tcp, udp) = listeners()?;
    let good = Good::make(dir.path())?;
    let sources = hostile::sources(dir.path(), &good, &Bait { secret: &secret, port: tcp.local_addr()?.port() })?;
    ensure!(sources.len() >= 40, "{} sources", sources.len());
    let fanreel = Fanreel::start(&dir.path().join("data"), &[]).await?;
    let began = Instant::now();
    for source in &sources {
        let file = dir.path().join("upload");
        std::fs::write(&file, &source.bytes)?;
        fanreel.upload(&key(source), &file).await?;
    }
    let judge = Judge { fanreel: &fanreel, dir: dir.path(), own: look::thumbnails(&good.path)?, foreign: look::thumbnails(&secret)? };
    let mut wrong = Vec::new();
    let mut table = vec![format!("{:<26} {:<10} {:>7}  reason", "source", "end", "seconds")];
    for source in &sources {
        match judge.row(source).await {
            Ok(row) => table.push(row),
            Err(error) => wrong.push(format!("{}: {error:#}", source.name)),
        }
    }
    table.push(format!("{} sources in {:.0} s", sources.len(), began.elapsed().as_secs_f64()));
    tests::show(&table.join("\n"));
    ensure!(wrong.is_empty(), "{} wrong ends:\n{}", wrong.len(), wrong.join("\n"));
    fanreel.drained(Duration::from_secs(60)).await?;
    ensure!(fanreel.keys("work/").await?.is_empty(), "temporaries are left");
    ensure!(tcp.accept().is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock), "somebody called the listener");
    ensure!(udp.recv(&mut [0; 16]).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock), "somebody sent a datagram");
    fanreel.stop()
}

/// TCP and UDP on one port of 127.0.0.1, neither of which waits.
fn listeners() -> Result<(TcpListener, UdpSocket)> {
    for _ in 0..20 {
        let tcp = TcpListener::bind(("127.0.0.1", 0))?;
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr()?) {
            tcp.set_nonblocking(true)?;
            udp.set_nonblocking(true)?;
            return Ok((tcp, udp));
        }
    }
    bail!("no port is free for both TCP and UDP")
}

fn key(source: &Source) -> String {
    format!("uploads/{}", source.name)
}

struct Judge<'a> {
    fanreel: &'a Fanreel,
    dir: &'a Path,
    /// Pictures of the film that every source is made of, and of the one that must not be seen.
    own: Vec<Vec<u8>>,
    foreign: Vec<Vec<u8>>,
}

impl Judge<'_> {
    /// What became of a source, or what is wrong with that.
    async fn row(&self, source: &Source) -> Result<String> {
        let job = self.fanreel.job_of(&key(source)).await?;
        let status = self.fanreel.wait(&job, &["COMPLETED", "FAILED"], LONG).await?;
        let (state, reason) = (status["state"].as_str().unwrap_or_default(), status["detail"].as_str().unwrap_or_default());
        match (source.end, state) {
            (End::Failed(words), "rejected") => ensure!(reason.contains(words), "another reason: {reason}"),
            (End::Whole | End::Either, "completed") => self.every_frame(&job, &self.own).await?,
            (End::Seen, "completed") => {
                let upload = self.dir.join(&source.name);
                std::fs::write(&upload, &source.bytes)?;
                self.every_frame(&job, &look::thumbnails(&upload)?).await?;
            }
            (End::Either | End::Seen, "rejected") => {}
            _ => bail!("{:?} was expected: {status}", source.end),
        }
        if state == "rejected" {
            ensure!(reason.contains(' ') && !reason.contains("exit code"), "no sentence: {reason}");
            self.nothing_is_kept(&job).await?;
        }
        ensure!(self.fanreel.read(&key(source)).await? == source.bytes, "the source is another");
        Ok(format!("{:<26} {state:<10} {:>7.2}  {reason}", source.name, self.once(&job, state).await?))
    }

    /// One attempt of each task. Seconds from the first attempt's begin to the last event.
    async fn once(&self, job: &str, state: &str) -> Result<f64> {
        let mut events = self.fanreel.events(job)?;
        let end = Instant::now() + Duration::from_secs(60);
        // An attempt's events are written after its end.
        while events.iter().filter(|e| e["kind"] == "WorkloadProcessingFinished").count() == 0 {
            ensure!(Instant::now() < end, "{state} without the end of an attempt");
            tokio::time::sleep(Duration::from_millis(100)).await;
            events = self.fanreel.events(job)?;
        }
        // What a worker tells of the disk of the machine that it runs on, or of its end when it has had nothing to do for long, is no
        // word about the source.
        let full = |e: &Value| e["detail"].as_str().is_some_and(|detail| detail.contains("nothing is done until it runs out"));
        let gone = |e: &Value| e["attempt"] == 0 && (e["kind"] == "ContainerScaledDown" || e["kind"] == "WorkerNodeScaledDown");
        let of_machine = |e: &Value| full(e) || gone(e);
        let said = |e: &Value| e["attempt"] != 1 || e["kind"].as_str().is_none_or(|kind| AGAIN.contains(&kind));
        let again: Vec<&Value> = events.iter().filter(|e| said(e) && !of_machine(e)).collect();
        ensure!(again.is_empty(), "tried again: {again:?}");
        let times: Vec<u64> = events.iter().filter_map(|e| e["at_ms"].as_u64()).collect();
        let (first, last) = times.iter().min().zip(times.iter().max()).context("times")?;
        Ok(Duration::from_millis(last - first).as_secs_f64())
    }

    /// All of `own`, each looking like it unless bits of it changed, and none that looks like the planted ones.
    async fn every_frame(&self, job: &str, own: &[Vec<u8>]) -> Result<()> {
        let receipt: Value = serde_json::from_slice(&self.fanreel.read(&format!("jobs/{job}/manifests/receipt.json")).await?)?;
        let renditions = receipt["renditions"].as_array().filter(|r| !r.is_empty()).context("renditions")?;
        for rendition in renditions {
            let mp4 = self.dir.join("judged.mp4");
            std::fs::write(&mp4, self.fanreel.read(rendition["mp4"]["key"].as_str().context("key")?).await?)?;
            let made = look::thumbnails(&mp4)?;
            ensure!(made.len() == own.len(), "COMPLETED with {} of {} frames", made.len(), own.len());
            let unlike = made.iter().zip(own).map(|(made, own)| look::difference(made, own)).fold(0.0, f64::max);
            ensure!(unlike < 20.0, "COMPLETED with a frame that is {unlike:.1} from the source's");
            let foreign = made.iter().flat_map(|m| self.foreign.iter().map(|f| look::difference(m, f))).fold(f64::MAX, f64::min);
            ensure!(foreign > 20.0, "a frame like the planted ones");
        }
        Ok(())
    }

    /// A worker may still be at another task of the job when it is rejected: it takes along what it stored after that.
    async fn nothing_is_kept(&self, job: &str) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(60);
        for prefix in ["streams", "encoded"] {
            loop {
                let kept = self.fanreel.keys(&format!("{prefix}/{job}")).await?;
                if kept.is_empty() {
                    break;
                }
                ensure!(Instant::now() < end, "a rejected job keeps {kept:?}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }
}
