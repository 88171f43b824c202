//! `fanreel doctor`: looks at everything that a platform needs, and says what to do.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    args::{DoctorArgs, Global, PlatformArgs},
    end::End,
    http,
    remote::{self, Keys, Remote},
    screen, setup, text,
};

/// For one run of a tool.
const TOOL_TIME: Duration = Duration::from_secs(20);
/// Below this a film of ordinary length may not find room.
const LEAST_DISK: u64 = 2_000_000_000;
/// Without these nothing works; the others are for profiles and sources that come later.
const ENCODERS: [&str; 2] = ["libx264", "aac"];
const DECODERS: [&str; 2] = ["h264", "hevc"];
const MORE_ENCODERS: [&str; 4] = ["libx265", "libsvtav1", "libvpx-vp9", "libopus"];
const MORE_DECODERS: [&str; 4] = ["libdav1d", "vp9", "prores", "mpeg2video"];

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    /// Whether `transcode` and `up` need it.
    required: bool,
    says: String,
    /// What to do where it is not in order.
    #[serde(rename = "do")]
    remedy: Option<String>,
}

fn good(name: &'static str, says: impl Into<String>) -> Check {
    Check { name, ok: true, required: true, says: says.into(), remedy: None }
}
fn bad(name: &'static str, says: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check { name, ok: false, required: true, says: says.into(), remedy: Some(remedy.into()) }
}
fn wish(check: Check) -> Check {
    Check { required: false, ..check }
}

pub async fn run(args: &DoctorArgs, global: &Global) -> anyhow::Result<End> {
    let mut checks = layer(&args.platform).await;
    checks.extend(cell());
    checks.extend(programs(&args.platform));
    checks.push(disk(&args.data_dir));
    checks.push(platform(global).await);
    let ok = checks.iter().all(|check| check.ok || !check.required);
    if global.json {
        screen::json(&serde_json::json!({ "ok": ok, "checks": checks }));
    } else {
        for check in &checks {
            screen::out(&line(check));
        }
    }
    Ok(if ok { End::Done } else { End::Broken })
}

fn line(check: &Check) -> String {
    let mark = if check.ok { '✓' } else { '✗' };
    let remedy = check.remedy.as_deref().map_or_else(String::new, |remedy| format!("\n  {:<16}→ {remedy}", ""));
    format!("{mark} {:<16}{}{remedy}", check.name, check.says)
}

/// `layer.json`, as the layer's build writes it.
#[derive(Debug, Deserialize)]
struct Manifest {
    arch: String,
    layer_sha256: String,
    ffmpeg: Tool,
    ffprobe: Tool,
}

#[derive(Debug, Deserialize)]
struct Tool {
    version: String,
    sha256: String,
}

const REBUILD: &str = "make it anew: make layer";

async fn layer(args: &PlatformArgs) -> Vec<Check> {
    let mut checks = Vec::new();
    let layer = match setup::find_layer(args) {
        Ok(layer) => layer,
        Err(error) if args.ffmpeg.is_some() && args.ffprobe.is_some() => {
            checks.push(wish(bad("layer", format!("{error:#}"), "FFMPEG and FFPROBE are used instead")));
            PathBuf::new()
        }
        Err(error) => return vec![bad("layer", format!("{error:#}"), "make layer")],
    };
    if layer.is_dir() {
        checks.push(manifest(&layer));
    }
    for (name, own, file) in [("ffmpeg", &args.ffmpeg, "bin/ffmpeg"), ("ffprobe", &args.ffprobe, "bin/ffprobe")] {
        let program = own.clone().unwrap_or_else(|| layer.join(file));
        checks.push(match ask(&program, &["-version"]).await {
            Ok(said) => good(name, said.lines().next().unwrap_or_default().to_owned()),
            Err(error) => bad(name, format!("{}: {error}", program.display()), REBUILD),
        });
    }
    let ffmpeg = args.ffmpeg.clone().unwrap_or_else(|| layer.join("bin/ffmpeg"));
    for (name, flag, needed, more) in
        [("encoders", "-encoders", ENCODERS, MORE_ENCODERS), ("decoders", "-decoders", DECODERS, MORE_DECODERS)]
    {
        checks.push(match ask(&ffmpeg, &["-hide_banner", flag]).await {
            Ok(said) => codecs(name, &said, &needed, &more),
            Err(error) => bad(name, format!("ffmpeg does not list them: {error}"), REBUILD),
        });
    }
    checks
}

fn manifest(layer: &Path) -> Check {
    let path = layer.join("layer.json");
    let read = fs::read(&path).map_err(|error| error.to_string());
    let manifest: Manifest = match read.and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string())) {
        Ok(manifest) => manifest,
        Err(error) => return bad("layer", format!("{} cannot be read: {error}", path.display()), REBUILD),
    };
    for (tool, file) in [(&manifest.ffmpeg, "bin/ffmpeg"), (&manifest.ffprobe, "bin/ffprobe")] {
        match sha256_of(&layer.join(file)) {
            Ok(sum) if sum == tool.sha256 => {}
            Ok(sum) => return bad("layer", format!("{file} has sha256 {sum}, layer.json says {}", tool.sha256), REBUILD),
            Err(error) => return bad("layer", format!("{file} cannot be read: {error}"), REBUILD),
        }
    }
    let arch = if std::env::consts::ARCH == "aarch64" { "arm64" } else { std::env::consts::ARCH };
    if manifest.arch != arch {
        return bad("layer", format!("it is for {}, this machine is {arch}", manifest.arch), REBUILD);
    }
    let (ffmpeg, ffprobe) = (&manifest.ffmpeg.version, &manifest.ffprobe.version);
    good("layer", format!("{} (ffmpeg {ffmpeg}, ffprobe {ffprobe}, sha256 {})", layer.display(), manifest.layer_sha256))
}

fn sha256_of(path: &Path) -> std::io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hex::encode(hash.finalize())),
            length => hash.update(block.get(..length).unwrap_or_default()),
        }
    }
}

/// What a tool prints. It is the layer's or the person's own program, and is given no media.
async fn ask(program: &Path, args: &[&str]) -> Result<String, String> {
    let mut command = tokio::process::Command::new(program);
    command.args(args).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(TOOL_TIME, command.output()).await {
        Ok(output) => output.map_err(|error| format!("it cannot be run: {error}"))?,
        Err(_) => return Err(format!("it did not answer in {} s", TOOL_TIME.as_secs())),
    };
    if !output.status.success() {
        return Err(format!("it ended with {}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// ` V....D libx264              libx264 H.264 / AVC …`: the name is the second word.
fn codecs(name: &'static str, said: &str, needed: &[&str], more: &[&str]) -> Check {
    let known: Vec<&str> = said.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    let absent = |wanted: &[&str]| wanted.iter().filter(|codec| !known.contains(codec)).copied().collect::<Vec<_>>().join(", ");
    let (lost, missed) = (absent(needed), absent(more));
    if !lost.is_empty() {
        return bad(name, format!("missing: {lost}"), "use the layer's ffmpeg: make layer, and unset FFMPEG");
    }
    let all: Vec<&str> = needed.iter().chain(more).filter(|codec| known.contains(codec)).copied().collect();
    let without = if missed.is_empty() { String::new() } else { format!("; without {missed}") };
    good(name, format!("{}{without}", all.join(", ")))
}

/// What the kernel grants the decoder's cell.
fn cell() -> Vec<Check> {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    let filter = if actions.split_whitespace().any(|action| action == "errno") {
        good("decoder cell", "the kernel takes seccomp filters: decoders have no network")
    } else {
        let advice = "jobs run all the same, and their receipts say so; for untrusted films use a kernel with seccomp";
        bad("decoder cell", "the kernel takes no seccomp filters: decoders are not cut off from the network", advice)
    };
    vec![wish(filter)]
}

fn programs(args: &PlatformArgs) -> Vec<Check> {
    let dirs = match setup::program_dirs(args) {
        Ok(dirs) => dirs,
        Err(error) => return vec![bad("functions", format!("{error:#}"), "check --binaries")],
    };
    let stack = match setup::bare_stack(args, Path::new(".")) {
        Ok(stack) => stack,
        Err(error) => return vec![bad("template", format!("{error:#}"), "correct the template")],
    };
    let mut without_layers = stack.clone();
    for function in &mut without_layers.functions {
        function.layers.clear();
    }
    let missing = setup::missing(&without_layers, &dirs);
    if missing.is_empty() {
        let mut names: Vec<&str> = stack.functions.iter().map(|function| function.binary.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        return vec![good("functions", names.join(", "))];
    }
    missing
        .into_iter()
        .map(|text| match text.split_once("; ") {
            Some((says, remedy)) => bad("functions", says, remedy),
            None => bad("functions", text, "build it"),
        })
        .collect()
}

fn disk(data_dir: &Path) -> Check {
    let whole = setup::absolute(data_dir).unwrap_or_else(|_| data_dir.to_path_buf());
    let there = whole.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(there) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let says = format!("{} free for {}", text::bytes(free), whole.display());
            if free < LEAST_DISK {
                bad("disk", says, "make room, or choose another place with --data-dir or FANREEL_DATA_DIR")
            } else {
                good("disk", says)
            }
        }
        Err(error) => bad("disk", format!("{} cannot be looked at: {error}", there.display()), "choose another place with --data-dir"),
    }
}

async fn platform(global: &Global) -> Check {
    let endpoint = match remote::endpoint(global) {
        Ok(endpoint) => endpoint,
        Err(error) => return wish(bad("platform", format!("{error:#}"), "leave it out")),
    };
    wish(match Remote::at(&endpoint, Keys::of(global)).await {
        Ok(remote) => running(&remote).await,
        Err(_) => bad("platform", format!("nothing answers at {endpoint}"), "only `transcode` works without one; start one: fanreel up"),
    })
}

/// What a running platform says of itself.
async fn running(remote: &Remote) -> Check {
    let runs = format!("{} runs {} functions", remote.endpoint, remote.page.functions.len());
    let health = match http::get_json(&format!("{}/_fanreel/health", remote.endpoint)).await {
        Ok(health) => health,
        Err(error) => return bad("platform", format!("{runs}, and does not tell its health: {error:#}"), "look into its log"),
    };
    let says = format!("{runs}; {}", text::disk(&health["disk"]));
    if health["disk"]["full"] == true {
        return bad("platform", says, "writes are refused: delete something, or start it with another --max-disk or --min-free");
    }
    good("platform", says)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = " V....D = Video\n ------\n V....D libx264   libx264 H.264 (codec h264)\n A....D aac  AAC (Advanced Audio Coding)\n V..... libx265 x";

    #[test]
    fn codecs_are_found_in_what_ffmpeg_prints() {
        let found = codecs("encoders", SAID, &ENCODERS, &MORE_ENCODERS);
        assert_eq!(line(&found), "✓ encoders        libx264, aac, libx265; without libsvtav1, libvpx-vp9, libopus");
        let lost = codecs("decoders", SAID, &DECODERS, &MORE_DECODERS);
        assert_eq!((lost.ok, lost.says.as_str()), (false, "missing: h264, hevc"));
    }

    #[test]
    fn a_layer_that_was_tampered_with_is_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        fs::write(dir.path().join("bin/ffmpeg"), "one").unwrap();
        fs::write(dir.path().join("bin/ffprobe"), "one").unwrap();
        let sum = sha256_of(&dir.path().join("bin/ffmpeg")).unwrap();
        let write = |probe: &str| {
            let tool = |sha256: &str| serde_json::json!({ "version": "9", "sha256": sha256, "bytes": 3 });
            let arch = if std::env::consts::ARCH == "aarch64" { "arm64" } else { std::env::consts::ARCH };
            let manifest = serde_json::json!({ "arch": arch, "layer_sha256": "s", "ffmpeg": tool(&sum), "ffprobe": tool(probe) });
            fs::write(dir.path().join("layer.json"), manifest.to_string()).unwrap();
        };
        write(&sum);
        assert!(manifest(dir.path()).ok);
        write("other");
        assert!(manifest(dir.path()).says.starts_with("bin/ffprobe has sha256"));
        fs::remove_file(dir.path().join("layer.json")).unwrap();
        assert!(manifest(dir.path()).says.contains("layer.json cannot be read"));
    }
}
