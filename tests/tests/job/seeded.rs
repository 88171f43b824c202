//! A long film that is made of a short one's records: what the benchmark of the merge begins with.

use std::{process::Command, time::Duration};

use anyhow::{Result, ensure};
use tests::{
    clips, look,
    python::good,
    run::{Fanreel, binary},
};

const LONG: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_film_that_is_seeded_out_of_a_shorter_one_is_merged() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let clip = clips::small(dir.path())?;
    let fanreel = Fanreel::start(&dir.path().join("data"), &[]).await?;
    fanreel.upload("uploads/short.mp4", &clip.path).await?;
    let short = fanreel.job_of("uploads/short.mp4").await?;
    fanreel.wait(&short, &["COMPLETED"], LONG).await?;

    let outputs = ["Bucket", "Table", "MergeQueueUrl"].map(|name| fanreel.outputs[name].clone());
    // Three times the short film's two chunks.
    let seeded = Command::new(binary("seed-film")?).arg(&fanreel.endpoint).args(outputs).args([&short, "6"]).output()?;
    good(&seeded, "seed-film")?;
    let long = String::from_utf8(seeded.stdout)?.trim().to_owned();
    fanreel.wait(&long, &["COMPLETED"], LONG).await?;
    let mut frames = Vec::new();
    for job in [&short, &long] {
        let key = fanreel.keys(&format!("encoded/{job}_")).await?.into_iter().find(|key| is_mp4(key));
        let path = dir.path().join("film.mp4");
        std::fs::write(&path, fanreel.read(&key.unwrap_or_default()).await?)?;
        frames.push(look::frame_times(&path, "v:0")?.len());
    }
    ensure!(frames[0] > 0 && frames[1] == 3 * frames[0], "{frames:?}");
    fanreel.stop()
}

fn is_mp4(key: &str) -> bool {
    std::path::Path::new(key).extension().is_some_and(|extension| extension == "mp4")
}
