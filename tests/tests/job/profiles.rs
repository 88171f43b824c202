//! A profile for one upload, whatever the stack's is: named by the object's metadata, or on the command line.

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::primitives::ByteStream;
use serde_json::Value;
use tests::{clips, run::Fanreel};

use crate::{LONG, judge};

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_names_its_profile_and_one_that_there_is_not_fails_with_the_names() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let clip = clips::small(dir.path())?;
    let fanreel = Fanreel::start(&dir.path().join("data"), &[]).await?;
    for (key, profile) in [("uploads/named.mp4", "hevc"), ("uploads/mistaken.mp4", "h265")] {
        let body = ByteStream::from_path(&clip.path).await?;
        fanreel.s3.put_object().bucket(fanreel.bucket()).key(key).metadata("fanreel-profile", profile).body(body).send().await?;
    }
    let file = clip.path.to_string_lossy().into_owned();
    let submitted = fanreel.ask(&["submit", "--profile", "h264-medium", &file])?;
    let submitted = submitted["jobs"][0]["job"].as_str().context("no job")?.to_owned();

    let named = fanreel.job_of("uploads/named.mp4").await?;
    fanreel.wait(&named, &["COMPLETED"], LONG).await?;
    println!("hevc: {}", judge(&fanreel, &clip, &named, dir.path()).await?);
    let master = String::from_utf8(fanreel.read(&format!("streams/{named}/master.m3u8")).await?)?;
    ensure!(master.contains("CODECS=\"hvc1.1.6.L"), "{master}");

    let mistaken = fanreel.job_of("uploads/mistaken.mp4").await?;
    let status = fanreel.wait(&mistaken, &["FAILED"], LONG).await?;
    let detail = status["detail"].as_str().unwrap_or_default();
    ensure!(detail.starts_with("there is no profile `h265`; there are ") && detail.contains("hevc"), "{detail}");

    fanreel.wait(&submitted, &["COMPLETED"], LONG).await?;
    let receipt: Value = serde_json::from_slice(&fanreel.read(&format!("jobs/{submitted}/manifests/receipt.json")).await?)?;
    ensure!(receipt["profile"]["name"] == "h264-medium", "{}", receipt["profile"]);
    // The same bytes again, by the stack's own profile: another job.
    let key = receipt["source"]["key"].as_str().context("no key")?.to_owned();
    let object = format!("s3://{}/{key}", fanreel.bucket());
    let again = fanreel.ask(&["submit", "--profile", "h264", &object])?;
    let other = again["jobs"][0]["job"].as_str().context("no job")?.to_owned();
    ensure!(other != submitted && again["jobs"][0]["known"] == false, "{again}");
    fanreel.wait(&other, &["COMPLETED"], LONG).await?;
    fanreel.stop()
}
