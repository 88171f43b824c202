//! Uploads by `fanreel submit` that a kill, or a person, ended half-way.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rand::{RngCore, SeedableRng, rngs::StdRng};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::{
    clips,
    run::{Fanreel, binary},
};

use crate::LONG;
use gate::Gate;

#[allow(clippy::unwrap_used, dead_code, reason = "in a test a panic is the answer; shared with the adapters' tests")]
#[path = "../../../crates/cloud/tests/stand/gate.rs"]
mod gate;

const KEY: &str = "uploads/film.mp4";

/// A film of five parts of 8 MiB or less: the sixth is their label.
fn film(dir: &Path) -> Result<Vec<u8>> {
    let mut film = std::fs::read(clips::small(dir)?.path)?;
    let mut noise = vec![0; 33 << 20];
    StdRng::seed_from_u64(5).fill_bytes(&mut noise);
    // A box that says nothing (ISO/IEC 14496-12, 8.1.2).
    film.extend(u32::try_from(noise.len() + 8)?.to_be_bytes());
    film.extend(b"free");
    film.extend(noise);
    Ok(film)
}

fn submit(gate: &Gate, film: &Path) -> Result<Child> {
    let mut command = Command::new(binary("fanreel")?);
    command.args(["--json", "--endpoint", &gate.endpoint, "submit"]).arg(film);
    Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

/// Waits until an upload has so many parts.
async fn stored(fanreel: &Fanreel, parts: usize) -> Result<()> {
    let end = Instant::now() + LONG;
    loop {
        let open = fanreel.s3.list_multipart_uploads().bucket(fanreel.bucket()).prefix(KEY).send().await?;
        if let Some(id) = open.uploads().first().and_then(|upload| upload.upload_id()) {
            let found = fanreel.s3.list_parts().bucket(fanreel.bucket()).key(KEY).upload_id(id).send().await?;
            if found.parts().len() == parts {
                return Ok(());
            }
        }
        ensure!(Instant::now() < end, "there are no {parts} parts");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_that_was_killed_or_interrupted_goes_on_where_it_stopped() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (content, file) = (film(dir.path())?, dir.path().join("film.mp4"));
    std::fs::write(&file, &content)?;
    let fanreel = Fanreel::start(&dir.path().join("data"), &[]).await?;

    let gate = Gate::of_parts(&fanreel.endpoint, 3).await;
    let mut killed = submit(&gate, &file)?;
    stored(&fanreel, 3).await?;
    killed.kill()?;
    killed.wait()?;
    let mut passed = gate.passed();

    let gate = Gate::of_parts(&fanreel.endpoint, 1).await;
    let mut interrupted = submit(&gate, &file)?;
    let mut lines = BufReader::new(interrupted.stderr.take().context("no stderr")?).lines();
    let resumed = |line: &std::io::Result<String>| line.as_ref().is_ok_and(|line| line.ends_with(" are there already"));
    let told = lines.find(resumed).context("it does not say what is there")??;
    ensure!(told.starts_with("film.mp4: 16.8 MB of 3"), "{told}");
    stored(&fanreel, 4).await?;
    kill_process(Pid::from_raw(i32::try_from(interrupted.id())?).context("no pid")?, Signal::INT)?;
    let said: String = lines.map_while(Result::ok).collect();
    ensure!(interrupted.wait()?.code() == Some(130), "{said}");
    ensure!(said.contains(" MB are stored; the same command goes on from there until 20"), "{said}");
    passed.extend(gate.passed());

    let gate = Gate::of_parts(&fanreel.endpoint, usize::MAX).await;
    let output = submit(&gate, &file)?.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{}: {said}", output.status);
    passed.extend(gate.passed());
    passed.sort_unstable();
    ensure!(passed == [1, 2, 3, 4, 5, 6], "each part once: {passed:?}");
    ensure!(fanreel.read(KEY).await? == content, "another film is stored");
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    let job = answer["jobs"][0]["job"].as_str().context("no job")?.to_owned();
    ensure!(answer["jobs"][0]["known"] == false, "{answer}");
    fanreel.wait(&job, &["COMPLETED"], LONG).await?;

    // Once more: all of it is there.
    let gate = Gate::of_parts(&fanreel.endpoint, usize::MAX).await;
    let output = submit(&gate, &file)?.wait_with_output()?;
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(answer["jobs"][0]["known"] == true && answer["jobs"][0]["job"] == job.as_str(), "{answer}");
    ensure!(gate.passed().is_empty(), "{:?}", gate.passed());
    let jobs = fanreel.jobs()?;
    ensure!(jobs.len() == 1, "{jobs:?}");
    fanreel.stop()
}
