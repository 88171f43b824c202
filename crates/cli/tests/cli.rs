//! The program as people start it: what it says and how it ends where no platform is needed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod compare;
mod plan;

use std::{
    io::Write,
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
};

/// Runs `fanreel` in `dir`, with none of the caller's settings.
fn fanreel(dir: &Path, args: &[&str]) -> Output {
    start(dir, args).output().unwrap()
}

fn start(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanreel"));
    command.args(args).current_dir(dir).env_clear().stdin(Stdio::null());
    command
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A port on which nothing listens.
fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

/// A folder that looks like the layer.
fn layer(dir: &Path) -> String {
    let layer = dir.join("layer");
    std::fs::create_dir_all(layer.join("bin")).unwrap();
    for program in ["ffmpeg", "ffprobe"] {
        std::fs::write(layer.join("bin").join(program), "#!/bin/sh\n").unwrap();
    }
    layer.to_str().unwrap().to_owned()
}

#[test]
fn help_and_version_are_answers() {
    let dir = tempfile::tempdir().unwrap();
    let help = fanreel(dir.path(), &["--help"]);
    assert_eq!(code(&help), 0);
    let text = String::from_utf8(help.stdout).unwrap();
    for command in ["up", "transcode", "submit", "jobs", "status", "events", "logs", "invoke", "doctor", "Exit codes: 0 done"] {
        assert!(text.contains(command), "{text}");
    }
    let version = fanreel(dir.path(), &["--version"]);
    assert_eq!((code(&version), String::from_utf8(version.stdout).unwrap()), (0, format!("fanreel {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn wrong_arguments_end_with_two() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        &["transcode", "-o", "out"][..],
        &["transcode", "a.mp4", "-o", "out", "--profile", "vp9"],
        &["status", "film.mp4"],
        &["dance"],
        &[],
        &["jobs", "--stack"],
        &["jobs", "--endpoint", "localhost:4566"],
        &["up", "--endpoint", "http://127.0.0.1:1"],
    ] {
        let output = fanreel(dir.path(), args);
        assert_eq!(code(&output), 2, "{args:?}: {}", said(&output));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn a_missing_film_is_told_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("there.mp4"), "x").unwrap();
    let output = fanreel(dir.path(), &["transcode", "there.mp4", "none.mp4", ".", "-o", "out"]);
    assert_eq!(code(&output), 2);
    let text = said(&output);
    assert!(text.contains("none.mp4: there is no such file") && text.contains(".: this is no file"), "{text}");
    assert!(!dir.path().join("out").exists());
}

#[test]
fn what_is_missing_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("film.mp4"), "x").unwrap();
    let layer = layer(dir.path());
    // The program alone, as after a half-done installation.
    let alone = dir.path().join("bin");
    std::fs::create_dir(&alone).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_fanreel"), alone.join("fanreel")).unwrap();
    let run = |args: &[&str]| Command::new(alone.join("fanreel")).args(args).current_dir(dir.path()).env_clear().output().unwrap();

    let output = run(&["transcode", "film.mp4", "-o", "out"]);
    assert_eq!(code(&output), 3);
    assert!(said(&output).contains("the ffmpeg layer is missing") && said(&output).contains("make layer"), "{}", said(&output));

    for args in [&["transcode", "film.mp4", "-o", "out", "--layer", &layer][..], &["up", "--layer", &layer]] {
        let output = run(args);
        assert_eq!(code(&output), 3, "{args:?}");
        assert!(said(&output).contains("the program `") && said(&output).contains("--binaries"), "{}", said(&output));
    }
    assert!(!dir.path().join("out").exists() && !dir.path().join(".fanreel").exists());

    let output = run(&["up", "--layer", "film.mp4"]);
    assert_eq!(code(&output), 2, "{}", said(&output));
}

#[test]
fn results_never_replace_somebody_elses_folder() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("film.mp4"), "x").unwrap();
    std::fs::create_dir(dir.path().join("film")).unwrap();
    std::fs::write(dir.path().join("film/thesis.txt"), "words").unwrap();
    let output = fanreel(dir.path(), &["transcode", "film.mp4", "-o", "."]);
    assert_eq!(code(&output), 2);
    assert!(said(&output).contains("not a result of fanreel"), "{}", said(&output));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn without_a_platform_commands_say_how_to_start_one() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    std::fs::write(dir.path().join("event.json"), "{}").unwrap();
    for args in [
        &["jobs"][..],
        &["status", "7f3a"],
        &["events", "7f3a"],
        &["logs"],
        &["invoke", "split", "-e", "event.json"],
        &["submit", "s3://videos/uploads/a.mp4"],
    ] {
        let output = start(dir.path(), args).env("FANREEL_PORT", &port).output().unwrap();
        assert_eq!(code(&output), 3, "{args:?}");
        let text = said(&output);
        assert!(text.contains(&format!("http://127.0.0.1:{port}")) && text.contains("fanreel up"), "{args:?}: {text}");
    }
}

#[test]
fn errors_are_json_too() {
    let dir = tempfile::tempdir().unwrap();
    let output = fanreel(dir.path(), &["jobs", "--json", "--port", &free_port()]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((code(&output), &answer["exit"]), (3, &serde_json::json!(3)));
    assert!(answer["error"].as_str().unwrap().contains("fanreel up"));
}

#[test]
fn an_event_is_looked_at_before_it_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("event.json"), "{ no json").unwrap();
    let output = fanreel(dir.path(), &["invoke", "split", "-e", "event.json"]);
    assert_eq!(code(&output), 2);
    assert!(said(&output).contains("event.json is no JSON"), "{}", said(&output));

    let mut child = start(dir.path(), &["invoke", "split", "-e", "-", "--port", &free_port()]);
    let mut child = child.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"{}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 3, "the event is good, the platform is not there: {}", said(&output));
}

#[test]
fn doctor_looks_at_everything_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    let output = fanreel(dir.path(), &["doctor", "--json", "--layer", &layer, "--port", &free_port()]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((code(&output), &answer["ok"]), (3, &serde_json::json!(false)));
    let checks = answer["checks"].as_array().unwrap();
    for name in ["layer", "ffmpeg", "ffprobe", "encoders", "decoders", "decoder cell", "functions", "disk", "platform"] {
        let check = checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name} in {answer}"));
        assert!(check["ok"] == true || !check["do"].as_str().unwrap().is_empty(), "{check}");
    }
    let text = String::from_utf8(fanreel(dir.path(), &["doctor", "--layer", &layer]).stdout).unwrap();
    assert!(text.contains("✗ layer") && text.contains("→ make it anew: make layer"), "{text}");
}
