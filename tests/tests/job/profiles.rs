//! A profile for one upload, whatever the stack's is: named by the object's metadata, or on the command line.

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::primitives::ByteStream;
use serde_json::Value;
use tests::{clips, look, run::Fanreel};

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

const KEPT: &str = "[kept-hevc]\nlike = 'hevc'\npreset = 'ultrafast'\nhdr = 'keep'\nchunk_ms = 2000\ngop_ms = 1000\n\
    ladder = [{ short_side = 108, maxrate = 800_000, bufsize = 800_000 }]\n\
    [kept-av1]\nlike = 'av1'\npreset = '12'\nhdr = 'keep'\nchunk_ms = 2000\ngop_ms = 1000\n\
    ladder = [{ short_side = 108, maxrate = 800_000, bufsize = 800_000 }]\n";

/// High dynamic range through the whole chain: ten bits and the film's own tags in MP4 and segments, told to players.
#[tokio::test(flavor = "multi_thread")]
async fn high_dynamic_range_is_kept_by_profiles_that_say_so() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("hdr10.mkv");
    let picture = "testsrc2=size=192x108:rate=25:duration=5";
    let codec = "-vf setparams=range=tv:color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc -c:v libx265 -preset ultrafast -pix_fmt yuv420p10le \
                 -x265-params keyint=25:log-level=error:pools=none:hdr10=1:max-cll=1000,400 -c:a aac";
    let inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "sine=duration=5"];
    let made = path.to_string_lossy();
    clips::ffmpeg(&[&inputs[..], &codec.split_whitespace().collect::<Vec<_>>(), &[made.as_ref()]].concat())?;
    let clip = clips::Clip { name: "hdr10.mkv", path };
    let fanreel = Fanreel::start(&dir.path().join("data"), &[]).await?;
    let profiles = ByteStream::from_static(KEPT.as_bytes());
    fanreel.s3.put_object().bucket(fanreel.bucket()).key("config/profiles.toml").body(profiles).send().await?;
    let hlg = dir.path().join("hlg.mkv");
    let codec = codec.replace("smpte2084", "arib-std-b67").replace(":hdr10=1:max-cll=1000,400", "");
    clips::ffmpeg(&[&inputs[..], &codec.split_whitespace().collect::<Vec<_>>(), &[hlg.to_string_lossy().as_ref()]].concat())?;
    let hlg = clips::Clip { name: "hlg.mkv", path: hlg };
    let films = [
        ("kept-hevc", "hvc1.2.", &clip, "PQ", "smpte2084"),
        ("kept-av1", "av01.0.", &clip, "PQ", "smpte2084"),
        ("kept-hevc", "hvc1.2.", &hlg, "HLG", "arib-std-b67"),
    ];
    for (profile, _, clip, _, _) in films {
        let (key, body) = (format!("uploads/{profile}-{}", clip.name), ByteStream::from_path(&clip.path).await?);
        fanreel.s3.put_object().bucket(fanreel.bucket()).key(key).metadata("fanreel-profile", profile).body(body).send().await?;
    }
    for (profile, codec, clip, range, transfer) in films {
        let job = fanreel.job_of(&format!("uploads/{profile}-{}", clip.name)).await?;
        fanreel.wait(&job, &["COMPLETED"], LONG).await?;
        println!("{profile}: {}", judge(&fanreel, clip, &job, dir.path()).await?);
        let master = String::from_utf8(fanreel.read(&format!("streams/{job}/master.m3u8")).await?)?;
        ensure!(master.contains(&format!("VIDEO-RANGE={range}")) && master.contains(&format!("CODECS=\"{codec}")), "{master}");
        let receipt: Value = serde_json::from_slice(&fanreel.read(&format!("jobs/{job}/manifests/receipt.json")).await?)?;
        let rendition = &receipt["renditions"][0];
        let (mp4, cmaf) = (dir.path().join("kept.mp4"), dir.path().join("kept.cmaf.mp4"));
        std::fs::write(&mp4, fanreel.read(rendition["mp4"]["key"].as_str().context("key")?).await?)?;
        fanreel.joined(&job, rendition["name"].as_str().context("name")?, &cmaf).await?;
        for file in [mp4, cmaf] {
            let told = look::colors(&file)?;
            ensure!(told == format!("yuv420p10le,tv,bt2020nc,{transfer},bt2020"), "{profile}: {} is {told}", file.display());
        }
    }
    fanreel.stop()
}

const ARCHIVE: &str =
    "[archive]\ncrf = 8\nladder = [{ short_side = 360, maxrate = 40_000_000, bufsize = 40_000_000 }]\noutputs = ['hls', 'mp4']\n";

/// Segments above 5 MiB are copied into the MP4 by the store itself: what comes of it is the film, frame by frame.
#[tokio::test(flavor = "multi_thread")]
async fn an_mp4_of_large_segments_is_joined_by_the_store_and_is_the_film() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("grain.mp4");
    let picture = "testsrc2=size=640x360:rate=24:duration=13,noise=alls=80:allf=t";
    let coding = "-c:v libx264 -preset ultrafast -crf 10 -g 48 -pix_fmt yuv420p -c:a aac";
    let inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "sine=duration=13"];
    clips::ffmpeg(&[&inputs[..], &coding.split(' ').collect::<Vec<_>>(), &[path.to_string_lossy().as_ref()]].concat())?;
    let clip = clips::Clip { name: "grain.mp4", path };
    let fanreel = Fanreel::start(&dir.path().join("data"), &["Profile=archive"]).await?;
    let profiles = ByteStream::from_static(ARCHIVE.as_bytes());
    fanreel.s3.put_object().bucket(fanreel.bucket()).key("config/profiles.toml").body(profiles).send().await?;
    fanreel.upload("uploads/grain.mp4", &clip.path).await?;
    let job = fanreel.job_of("uploads/grain.mp4").await?;
    fanreel.wait(&job, &["COMPLETED"], LONG).await?;
    println!("{}", judge(&fanreel, &clip, &job, dir.path()).await?);
    let receipt: Value = serde_json::from_slice(&fanreel.read(&format!("jobs/{job}/manifests/receipt.json")).await?)?;
    let mp4 = &receipt["renditions"][0]["mp4"];
    let (copied, bytes) = (mp4["copied_bytes"].as_u64(), mp4["bytes"].as_u64().context("bytes")?);
    ensure!(copied > Some(bytes / 2), "{copied:?} of {bytes} bytes were copied");
    fanreel.stop()
}
