//! Small clips of the kinds that break chunking, made by ffmpeg.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// Runs the layer's ffmpeg; its stderr is the error.
pub fn ffmpeg(args: &[&str]) -> Result<()> {
    let output = Command::new(crate::tool("ffmpeg")).args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"]).args(args).output();
    let output = output.context("the layer's ffmpeg could not be started: run `make layer`")?;
    ensure!(output.status.success(), "ffmpeg {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// An ffmpeg in `dir` that does what `script` says, for `sh`, before it is the layer's own. The encoder is told a chunk's
/// number as `-fragment_index`: a thousand times the number, and one.
pub fn scripted_ffmpeg(dir: &Path, script: &str) -> Result<PathBuf> {
    scripted(dir, "ffmpeg", script)
}

fn scripted(dir: &Path, tool: &str, script: &str) -> Result<PathBuf> {
    let path = dir.join(tool);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\nexec '{}' \"$@\"\n", crate::tool(tool).display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// An ffmpeg that ends as after a crash on one chunk (the cell has no kill) for as long as `fault` is there. `fault` is
/// told how it was called.
pub fn crashing_ffmpeg(dir: &Path, fault: &Path, fragment: u32) -> Result<PathBuf> {
    failing(dir, fault, fragment, "echo 'it went wrong' >&2; exit 139")
}

/// An ffprobe that ends so when it lists packets.
pub fn crashing_ffprobe(dir: &Path, fault: &Path) -> Result<PathBuf> {
    let fault = fault.display();
    let call = format!("[ -e '{fault}' ] && {{ echo \"$*\" >> '{fault}'; echo 'it went wrong' >&2; exit 139; }}");
    scripted(dir, "ffprobe", &format!("case \" $* \" in *' -show_packets '*) {call} ;; esac"))
}

/// An ffmpeg that does nothing about one chunk, for ten minutes, where `fault` is there when it is called. `fault` is told
/// how.
pub fn idle_ffmpeg(dir: &Path, fault: &Path, fragment: u32) -> Result<PathBuf> {
    failing(dir, fault, fragment, "exec sleep 600")
}

fn failing(dir: &Path, fault: &Path, fragment: u32, how: &str) -> Result<PathBuf> {
    let fault = fault.display();
    let call = format!("[ -e '{fault}' ] && {{ echo \"$*\" >> '{fault}'; {how}; }}");
    scripted_ffmpeg(dir, &format!("case \" $* \" in *' -fragment_index {fragment} '*) {call} ;; esac"))
}

/// A picture in which every frame differs from its neighbours, with a moving bar and noise-free edges.
fn picture(size: &str, rate: &str, seconds: u32) -> String {
    format!(
        "testsrc2=size={size}:rate={rate}:duration={seconds}[back];color=white:size=24x400:rate={rate}:duration={seconds}[bar];\
         [back][bar]overlay=x='mod(n*23,W-24)'"
    )
}

const SOUND: &str = "sine=frequency=440:beep_factor=3:sample_rate=48000";

/// One kind of source.
pub struct Clip {
    pub name: &'static str,
    pub path: PathBuf,
}

/// A tidy film of 8 s, two chunks, with sound.
pub fn small(dir: &Path) -> Result<Clip> {
    let path = dir.join("small.mp4");
    let (picture, sound) = (picture("320x180", "24", 8), format!("{SOUND}:duration=8"));
    let codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "48", "-c:a", "aac", "-pix_fmt", "yuv420p"];
    let inputs = ["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound];
    ffmpeg(&[&inputs[..], &codecs, &[path.to_string_lossy().as_ref()]].concat())?;
    Ok(Clip { name: "small.mp4", path })
}

/// Every kind that issue 2 names, 13 s each: more than two chunks.
pub fn corpus(dir: &Path) -> Result<Vec<Clip>> {
    let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let video = picture("854x480", "30", 13);
    let small = picture("320x180", "30", 13);
    let sound = format!("{SOUND}:duration=13");
    let av = ["-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &sound];
    let small_av = ["-f", "lavfi", "-i", &small, "-f", "lavfi", "-i", &sound];
    let aac = ["-c:a", "aac", "-b:a", "96k", "-pix_fmt", "yuv420p"];
    let x264 = |extra: &'static str| ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "3", "-x264-params", extra];
    let make = |name: &'static str, parts: &[&[&str]]| -> Result<Clip> {
        let path = file(name);
        let args: Vec<&str> = parts.iter().flat_map(|part| part.iter().copied()).chain([path.as_str()]).collect();
        ffmpeg(&args)?;
        Ok(Clip { name, path: path.into() })
    };
    let mut clips = vec![
        make("closed-gop.mp4", &[&av, &x264("keyint=60:open-gop=0"), &aac, &["-movflags", "+faststart"]])?,
        make("index-at-the-end.mov", &[&small_av, &x264("keyint=48"), &aac])?,
        make("open-gop.mp4", &[&av, &x264("keyint=50:open-gop=1:scenecut=0"), &aac])?,
        make(
            "open-gop-hevc.mp4",
            &[
                &av,
                &[
                    "-c:v",
                    "libx265",
                    "-preset",
                    "ultrafast",
                    "-x265-params",
                    "keyint=50:min-keyint=50:open-gop=1:bframes=4:scenecut=0:log-level=error",
                    "-tag:v",
                    "hvc1",
                ],
                &aac,
            ],
        )?,
        make("open-gop.mkv", &[&small_av, &x264("keyint=50:open-gop=1:scenecut=0"), &aac])?,
        make("no-audio.mp4", &[&["-f", "lavfi", "-i", &video], &x264("keyint=60"), &["-pix_fmt", "yuv420p"]])?,
        make(
            "odd-rate.mkv",
            &[&["-f", "lavfi", "-i", &picture("322x182", "30000/1001", 13), "-f", "lavfi", "-i", &sound], &x264("keyint=60"), &aac],
        )?,
        make("one-keyframe.mp4", &[&small_av, &x264("keyint=100000:scenecut=0"), &aac])?,
        make(
            "variable-rate.mp4",
            &[&av, &["-vf", "select='not(mod(n\\,7))+not(mod(n\\,3))+gt(mod(n\\,97)\\,60)'", "-fps_mode", "vfr"], &x264("keyint=40"), &aac],
        )?,
    ];
    let whole = file("open-gop.mp4");
    clips.push(make("edit-list.mp4", &[&["-ss", "1.1", "-i", &whole, "-c", "copy"]])?);
    Ok(clips)
}

/// How a flash-and-beep clip's tracks begin.
pub struct Offsets {
    pub name: &'static str,
    /// Seconds.
    pub video: &'static str,
    pub audio: &'static str,
}

pub const OFFSETS: [Offsets; 4] = [
    Offsets { name: "sync-tidy.mp4", video: "0", audio: "0" },
    Offsets { name: "sync-late-video.mp4", video: "1.5", audio: "0" },
    Offsets { name: "sync-late-audio.mp4", video: "0", audio: "0.7" },
    Offsets { name: "sync-late-video.mkv", video: "0.8", audio: "0" },
];

/// White flashes of one frame and chirps, both at 1, 3, 5 … s of their own track. A chirp correlates with itself at one
/// instant only, so that its place is known to the sample after AAC.
pub fn flash_and_beep(dir: &Path, offsets: &Offsets) -> Result<Clip> {
    let path = dir.join(offsets.name);
    let flash = "color=black:size=320x180:rate=30:duration=14,drawbox=color=white:t=fill:enable='between(mod(n\\,60)\\,30\\,30)'";
    let chirp = "aevalsrc='if(lt(mod(t+1,2),0.08),0.7*sin(2*PI*(400+9000*mod(t+1,2))*mod(t+1,2)),0)':s=48000:d=14";
    let out = path.to_string_lossy();
    let inputs = ["-f", "lavfi", "-itsoffset", offsets.video, "-i", flash, "-f", "lavfi", "-itsoffset", offsets.audio, "-i", chirp];
    let coding = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "60", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "160k"];
    let args: Vec<&str> = inputs.into_iter().chain(coding).chain([out.as_ref()]).collect();
    ffmpeg(&args)?;
    Ok(Clip { name: offsets.name, path })
}
