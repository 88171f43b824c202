//! A stack that counts cost: several segments of a film are one task, and the film is the same.

use anyhow::{Result, ensure};
use aws_sdk_s3::primitives::ByteStream;
use tests::{clips::Clip, run::Fanreel};

use crate::{
    LONG, judge,
    sound::{made, text},
};

const PROFILE: &str = "[grouped]\npreset = \"ultrafast\"\nchunk_ms = 1000\ngop_ms = 500\nladder = [\n\
    { short_side = 90, maxrate = 2_000_000, bufsize = 2_000_000 },\n{ short_side = 64, maxrate = 2_000_000, bufsize = 2_000_000 },\n]\n";
const FILM: &str = "-f lavfi -i testsrc2=size=160x90:rate=25:duration=5 -f lavfi -i sine=duration=5";

#[tokio::test(flavor = "multi_thread")]
async fn where_cost_counts_five_segments_are_one_task_and_every_picture_is_there() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let fanreel = Fanreel::start(&dir.path().join("data"), &["FanOut=cost", "Profile=grouped"]).await?;
    let profile = ByteStream::from_static(PROFILE.as_bytes());
    fanreel.s3.put_object().bucket(fanreel.bucket()).key("config/profiles.toml").body(profile).send().await?;
    let coding: Vec<&str> = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac".split(' ').collect();
    let film = made(dir.path(), "film.mp4", &FILM.split(' ').collect::<Vec<_>>(), &coding)?;
    fanreel.upload("uploads/film.mp4", &film).await?;
    let job = fanreel.job_of("uploads/film.mp4").await?;
    fanreel.wait(&job, &["COMPLETED"], LONG).await?;

    let tasks: Vec<String> = fanreel.task_items(&job).await?.into_iter().map(|task| task.id).collect();
    ensure!(tasks == ["a00", "c00000", "merge", "split"], "{tasks:?}");
    for rendition in ["90p", "64p"] {
        let playlist = text(&fanreel, &format!("streams/{job}/{rendition}/media.m3u8")).await?;
        ensure!(playlist.matches("#EXTINF").count() == 5, "{playlist}");
    }
    judge(&fanreel, &Clip { name: "film.mp4", path: film }, &job, dir.path()).await?;
    fanreel.stop()
}
