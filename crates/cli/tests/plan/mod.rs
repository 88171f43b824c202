//! `fanreel plan` and its refusals, with the layer's own tools.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

use super::{code, said, start};

fn layer() -> PathBuf {
    let mut layers = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|dir| dir.join("layers/ffmpeg/build/opt"));
    layers.find(|dir| dir.join("layer.json").is_file()).expect("the ffmpeg layer is not built: run layers/ffmpeg/build.py")
}

/// Makes a clip with the layer's ffmpeg.
pub fn ffmpeg(dir: &Path, args: &str) {
    let mut command = Command::new(layer().join("bin/ffmpeg"));
    command.current_dir(dir).args(["-nostdin", "-v", "error", "-y"]).args(args.split_ascii_whitespace());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
}

/// `fanreel` with the layer, and a cache of its own in `dir`.
pub fn with_layer(dir: &Path, args: &[&str]) -> Output {
    start(dir, args).env("FANREEL_LAYER", layer()).env("XDG_CACHE_HOME", dir.join("cache")).output().unwrap()
}

pub fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

#[test]
fn a_plan_says_what_a_job_would_make_and_cost() {
    let dir = tempfile::tempdir().unwrap();
    let sound = "-f lavfi -i sine=f=440 -c:a aac -shortest";
    ffmpeg(dir.path(), &format!("-f lavfi -i testsrc2=s=640x360:r=24:d=20 {sound} -c:v libx264 -preset ultrafast -g 48 film.mp4"));
    let output = with_layer(dir.path(), &["plan", "film.mp4", "--json"]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    let plan = json(&output);
    assert_eq!(plan["accepted"], true);
    assert_eq!(plan["plan"]["video"]["frames"], 480);
    let chunks = plan["chunks"].as_array().unwrap();
    let sum = |field: &str| chunks.iter().map(|chunk| chunk[field].as_f64().unwrap()).sum::<f64>();
    assert_eq!(chunks.len(), 4, "6, 6, 6 and 2 s: {plan}");
    assert!((sum("frames") - 480.0).abs() < 1e-9 && (sum("seconds") - 20.0).abs() < 0.05, "{plan}");
    let here = &plan["here"];
    assert!(here["cpu_seconds"].as_f64().unwrap() > sum("cpu_seconds"), "{here}");
    assert!(plan["lambda"]["total_usd"].as_f64().unwrap() > 0.0 && plan["lambda"]["invocations"] == 4 + 1 + 3, "{plan}");
    assert!(plan["read_bytes"].as_u64().unwrap() >= std::fs::metadata(dir.path().join("film.mp4")).unwrap().len());

    // The machine's speed is measured once.
    let kept = dir.path().join("cache/fanreel/speed.json");
    let speed: Value = serde_json::from_slice(&std::fs::read(&kept).unwrap()).unwrap();
    let slower = serde_json::json!({ "layer": speed["layer"], "cpu_seconds": speed["cpu_seconds"].as_f64().unwrap() * 10.0 });
    std::fs::write(&kept, slower.to_string()).unwrap();
    let slow = json(&with_layer(dir.path(), &["plan", "film.mp4", "--json"]));
    let times = slow["here"]["cpu_seconds"].as_f64().unwrap() / here["cpu_seconds"].as_f64().unwrap();
    assert!((times - 10.0).abs() < 0.01, "{times}");
    assert_eq!(slow["lambda"], plan["lambda"], "what Lambda takes is no matter of this machine");

    // Twice the price of compute, and the table names the date that the prices are of.
    let prices = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipeline/src/cost/prices.json")).unwrap();
    let dearer = prices.replace("0.0000166667", "0.0000333334").replace("\"as_of\": \"2", "\"as_of\": \"of my own, 2");
    std::fs::write(dir.path().join("prices.json"), dearer).unwrap();
    let text = String::from_utf8(with_layer(dir.path(), &["plan", "film.mp4", "--prices", "prices.json"]).stdout).unwrap();
    for part in ["h264 640×360 24.00 fps, 20.0 s", "360p", "640×360", "856 kb/s", "4 of ", "CPU-seconds on ", "on Lambda", "of my own, 2"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn what_would_be_rejected_is_said_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    ffmpeg(dir.path(), "-f lavfi -i testsrc2=s=320x180:r=24:d=4 -c:v libx264 -preset ultrafast whole.mp4");
    let whole = std::fs::read(dir.path().join("whole.mp4")).unwrap();
    std::fs::write(dir.path().join("half.mp4"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(dir.path().join("words.mp4"), "#EXTM3U\nhttp://127.0.0.1:1/a.ts\n").unwrap();
    ffmpeg(dir.path(), "-i whole.mp4 -c copy whole.mkv");
    let mut matroska = std::fs::read(dir.path().join("whole.mkv")).unwrap();
    std::fs::write(dir.path().join("half.mkv"), &matroska[..matroska.len() / 2]).unwrap();
    // The track's type (RFC 9559, 5.1.4.1.3).
    let kind = matroska.windows(3).position(|bytes| bytes == [0x83, 0x81, 1]).unwrap() + 2;
    matroska[kind] = 17;
    std::fs::write(dir.path().join("text.mkv"), &matroska).unwrap();
    let sound = "-f lavfi -i sine=f=440:d=4";
    for (name, made) in [
        ("mxf", "-f lavfi -i testsrc2=s=320x180:r=25:d=4 -c:v mpeg2video"),
        ("wav", sound),
        ("opus", &format!("{sound} -c:a libopus")),
        ("flac", sound),
    ] {
        let whole = format!("whole.{name}");
        ffmpeg(dir.path(), &format!("{made} {whole}"));
        let bytes = std::fs::read(dir.path().join(&whole)).unwrap();
        std::fs::write(dir.path().join(format!("half.{name}")), &bytes[..bytes.len() / 2]).unwrap();
        let output = with_layer(dir.path(), &["plan", &whole]);
        assert_eq!(code(&output), 0, "{}", said(&output));
    }
    for (file, why) in [
        ("half.mp4", "truncated"),
        ("words.mp4", "playlist"),
        ("half.mkv", "truncated"),
        ("text.mkv", "picture by its codec"),
        ("half.mxf", "truncated"),
        ("half.wav", "truncated"),
        ("half.opus", "truncated"),
        ("half.flac", "truncated"),
    ] {
        let output = with_layer(dir.path(), &["plan", file]);
        assert_eq!(code(&output), 1, "{}", said(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("would be rejected") && text.contains(why), "{text}");
        let answer = json(&with_layer(dir.path(), &["plan", file, "--json"]));
        assert!(answer["accepted"] == false && answer["reason"].as_str().unwrap().contains(why), "{answer}");
    }
    std::fs::write(dir.path().join("my.toml"), "[saving]\non_damage = 'partial'\n").unwrap();
    let output = with_layer(dir.path(), &["plan", "half.mp4", "--profiles", "my.toml", "--profile", "saving"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("saves what can be decoded") && text.contains("truncated") && !text.contains("would be rejected"), "{text}");
    std::fs::write(dir.path().join("prices.json"), "{}").unwrap();
    for args in [&["plan", "none.mp4"][..], &["plan", "whole.mp4", "--prices", "prices.json"], &["plan", "whole.mp4", "--profile", "h265"]]
    {
        assert_eq!(code(&with_layer(dir.path(), args)), 2, "{args:?}");
    }
}

#[test]
fn what_a_job_would_remux_is_planned_on_the_copy() {
    let dir = tempfile::tempdir().unwrap();
    let sound = "-f lavfi -i sine=f=440 -shortest";
    let film = "-f lavfi -i testsrc2=s=320x180:r=24:d=4";
    ffmpeg(dir.path(), &format!("{film} {sound} -c:v mpeg4 -bf 2 -c:a libmp3lame film.avi"));
    ffmpeg(dir.path(), &format!("{film} {sound} -c:v libx264 -preset ultrafast -c:a aac film.ts"));
    ffmpeg(dir.path(), &format!("{film} {sound} -c:v libx264 -preset ultrafast -c:a aac -movflags frag_keyframe+empty_moov film.mp4"));
    let fragments = "-c:v libx264 -preset ultrafast -c:a aac -timecode 01:00:00:00 -movflags frag_keyframe+empty_moov";
    ffmpeg(dir.path(), &format!("{film} {sound} {fragments} film.mov"));
    for file in ["film.avi", "film.ts", "film.mp4", "film.mov"] {
        let output = with_layer(dir.path(), &["plan", file, "--json"]);
        assert_eq!(code(&output), 0, "{file}: {}", said(&output));
        let plan = &json(&output)["plan"];
        assert_eq!(plan["video"]["frames"], 96, "{file}");
        let left_out = plan["left_out"].as_array().unwrap();
        assert_eq!(left_out.len(), usize::from(file == "film.mov"), "the copy has no track of timecode: {left_out:?}");
    }
}
