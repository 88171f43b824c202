//! `fanreel reproduce`: what a task failed over, in a folder, ready to be run again.

use std::{
    fmt::Write as _,
    io::Read as _,
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use pipeline::{
    encoder::{Crash, Kept, MAX_EXCERPT},
    id::TaskId,
    job::StoredJob,
    key,
    plan::ByteRange,
    ports::{Blobs as _, Ledger as _},
    task::{Task, Work},
};
use serde::Deserialize;

use crate::{
    args::{Global, PlatformArgs, ReproduceArgs},
    end::{End, usage},
    remote::Fanreel,
    screen, setup, text,
};

/// What the commands of tasks call the source (see [`Crash::args`]), and what they are told where it comes through a pipe.
const INPUT: &str = "input";
const PIPE: &str = "pipe:0";
/// What only commands are told that read a first copy of the source, which is not kept: they look for the order of its pictures.
const OF_FIRST_COPY: [&str; 2] = ["-show_frames", "-/bsf:v:0"];
const SCRIPT: &str = "run.sh";
const BUNDLE: &str = "bundle.json";
/// Generations of a task that are looked through.
const SEARCHED: usize = 100;

/// What escalation left, as far as it is looked at.
#[derive(Deserialize)]
struct Bundle {
    task: Task,
    crash: Option<Crash>,
    earlier_crash: Option<Crash>,
    #[serde(default)]
    excerpt: Option<Kept>,
}

/// A command to run.
struct Failed {
    crash: Crash,
    of: Of,
}

/// Whose command it is.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    /// Of the tool because of which the task waits.
    Tool,
    /// Of one that broke down before.
    Earlier,
    /// Nobody's that is known of: it encodes the chunk as the plan has it, in one piece.
    Plan,
}

impl Bundle {
    fn failed(&self, stored: &StoredJob) -> Option<Failed> {
        let kept = |crash: &Option<Crash>, of| crash.clone().map(|crash| Failed { crash, of });
        kept(&self.crash, Of::Tool).or_else(|| kept(&self.earlier_crash, Of::Earlier)).or_else(|| self.of_plan(stored))
    }

    fn of_plan(&self, stored: &StoredJob) -> Option<Failed> {
        let (Work::Chunk(chunk), Some(plan)) = (&self.task.work, &stored.job.plan) else { return None };
        let found = self.task.headway.as_ref().and_then(|headway| headway.quality.as_ref()).map(|quality| quality.crf);
        let (args, files) = media::chunk_command(plan, chunk, found)?;
        let how = self.task.last_fault.clone().unwrap_or_default();
        let (program, version, stderr) = ("ffmpeg".to_owned(), format!("layer {}", plan.layer), String::new());
        Some(Failed { crash: Crash { how, program, version, args, files, stderr, shortage: None }, of: Of::Plan })
    }
}

pub async fn run(args: &ReproduceArgs, global: &Global) -> anyhow::Result<End> {
    let program = program(args)?;
    let fanreel = Fanreel::find(global).await?;
    let job = fanreel.job(&args.job).await?;
    let stored = fanreel.ledger.job(&job).await?.with_context(|| format!("job {job} is gone"))?;
    let id = wanted(&stored, args.task)?;
    let task = fanreel.ledger.task(&job, id).await?.with_context(|| format!("job {job} has no task {id}"))?.task;
    let Some(bytes) = latest(&fanreel, &task).await? else {
        bail!(
            "nothing is kept of {id}: that is written when a task begins to wait for a person, and goes after 30 days or with the job's end"
        );
    };
    let bundle: Bundle = serde_json::from_slice(&bytes).context("what is kept of the task cannot be read by this version")?;
    let folder = &args.out;
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    if std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?.next().is_some() {
        return Err(usage(format!("--out {}: there are files in it; name a new folder", folder.display())));
    }
    let filled = fill(&fanreel, &stored, &bundle, &bytes, folder, &program).await;
    if filled.is_err() {
        // Nothing was in it before, and the same command is to work again.
        let _ = std::fs::remove_dir_all(folder);
    }
    let filled = filled?;
    if global.json {
        let how = filled.failed.as_ref().map(|failed| &failed.crash.how);
        screen::json(&serde_json::json!({ "job": job, "task": id, "folder": folder, "bytes": filled.fetched, "how": how }));
        return Ok(End::Done);
    }
    let Some(Failed { crash, of }) = filled.failed else {
        screen::out(&folder.join(BUNDLE).display().to_string());
        screen::note(&format!("no tool broke down over {id}: there is no command to run, only what is known of the task"));
        return Ok(End::Done);
    };
    let script = quoted(&folder.join(SCRIPT).display().to_string());
    screen::out(&format!("{id} of {job}: {}\n\nrun it again: {script}", screen::clean(&crash.how)));
    screen::note("the script runs the decoder as any program of yours, on a film over which it broke down: not in the functions' cell");
    if of == Of::Plan {
        screen::note(
            "no tool broke down over it that anybody knows of: this is the command that encodes it in one piece, as the plan has it",
        );
    }
    if !filled.is_whole {
        screen::note("the command reads what an earlier one made, which is not kept: only its arguments are here");
    }
    Ok(End::Done)
}

/// What was written.
struct Filled {
    failed: Option<Failed>,
    /// Bytes of the film.
    fetched: u64,
    /// All that the command reads is there.
    is_whole: bool,
}

async fn fill(
    fanreel: &Fanreel,
    stored: &StoredJob,
    bundle: &Bundle,
    bytes: &[u8],
    folder: &Path,
    program: &Path,
) -> anyhow::Result<Filled> {
    write(folder, BUNDLE, bytes)?;
    let Some(failed) = bundle.failed(stored) else { return Ok(Filled { failed: None, fetched: 0, is_whole: true }) };
    let says = |words: &[&str]| failed.crash.args.iter().any(|arg| words.contains(&arg.as_str()));
    let is_whole = says(&[INPUT, PIPE]) && !says(&OF_FIRST_COPY);
    let fetched = if is_whole { fetch(fanreel, stored, &bundle.task, &failed, &folder.join(INPUT)).await } else { Ok(0) };
    let (failed, fetched) = match (fetched, &bundle.excerpt) {
        (Ok(fetched), _) => (failed, fetched),
        (Err(error), None) => return Err(error),
        (Err(error), Some(kept)) => {
            screen::note(&format!("{error:#}\nin its place: what was kept of the film, with the command that broke down over it"));
            (Failed { crash: kept.crash.clone(), of: Of::Earlier }, spread(fanreel, kept, folder).await?)
        }
    };
    for (name, contents) in &failed.crash.files {
        write(folder, name, contents.as_bytes())?;
    }
    write(folder, SCRIPT, script_of(&failed.crash, &program.join(&failed.crash.program)).as_bytes())?;
    let script = folder.join(SCRIPT);
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("{} cannot be made a program", script.display()))?;
    Ok(Filled { failed: Some(failed), fetched, is_whole })
}

/// Writes what was kept of the film into a sparse file of its size. Answers the bytes that were fetched.
async fn spread(fanreel: &Fanreel, kept: &Kept, folder: &Path) -> anyhow::Result<u64> {
    /// Name of the ranges, one behind the other.
    const PARTS: &str = "input.parts";
    let parts = folder.join(PARTS);
    let bytes: u64 = kept.ranges.iter().map(|range| range.len()).sum();
    ensure!(bytes <= MAX_EXCERPT, "what is kept of the film speaks of {bytes} bytes: this version keeps {MAX_EXCERPT} at most");
    let fetched = fanreel.blobs.fetch_own(&kept.object, bytes, &[ByteRange { start: 0, end: bytes }], &parts).await?;
    fetched.with_context(|| format!("{} is gone, too: what was kept of it", kept.object))?;
    let spread = || -> std::io::Result<()> {
        let (mut from, to) = (std::fs::File::open(&parts)?, std::fs::File::create(folder.join(INPUT))?);
        to.set_len(kept.of)?;
        let mut buffer = vec![0; 1 << 20];
        for range in &kept.ranges {
            let mut at = range.start;
            while at < range.end {
                let wanted = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(buffer.len());
                let part = buffer.get_mut(..wanted).unwrap_or_default();
                from.read_exact(part)?;
                to.write_all_at(part, at)?;
                at += wanted as u64;
            }
        }
        std::fs::remove_file(&parts)
    };
    spread().with_context(|| format!("what is kept of the film cannot be written into {}", folder.display()))?;
    Ok(bytes)
}

/// Of the task's last failure: an operator's retry begins to count anew.
async fn latest(fanreel: &Fanreel, task: &Task) -> anyhow::Result<Option<Bytes>> {
    for generation in (0..=task.generation).rev().take(SEARCHED) {
        if let Some(bytes) = fanreel.blobs.read(&key::reproduction(&task.job, task.id, generation)).await? {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

/// Folder of ffmpeg; none: whatever is found where programs are.
fn program(args: &ReproduceArgs) -> anyhow::Result<PathBuf> {
    match setup::find_layer(&PlatformArgs { layer: args.layer.clone(), ..PlatformArgs::default() }) {
        Ok(layer) => Ok(setup::absolute(&layer)?.join("bin")),
        Err(error) if args.layer.is_some() => Err(error),
        Err(_) => Ok(PathBuf::new()),
    }
}

/// The task that is asked for, or the only one that waits.
fn wanted(stored: &StoredJob, asked: Option<TaskId>) -> anyhow::Result<TaskId> {
    match (asked, stored.blocked.as_slice()) {
        (Some(id), _) => Ok(id),
        (None, [one]) => Ok(*one),
        (None, []) => Err(usage(format!("no task of job {} waits for a person; name one that did with --task", stored.job.id))),
        (None, several) => {
            let names: Vec<String> = several.iter().map(ToString::to_string).collect();
            Err(usage(format!("several tasks wait: name one with --task: {}", names.join(", "))))
        }
    }
}

/// Writes what the command reads of the source into a sparse file of its size. Answers the bytes that were fetched.
async fn fetch(fanreel: &Fanreel, stored: &StoredJob, task: &Task, failed: &Failed, to: &Path) -> anyhow::Result<u64> {
    let (crash, of) = (&failed.crash, failed.of);
    // A split that has a copy reads nothing else any more; what broke down earlier may have been over the upload.
    let of_split = task.headway.as_ref().filter(|_| of == Of::Tool).and_then(|headway| headway.copy.as_ref()).map(|copied| &copied.copy);
    let copy = stored.job.plan.as_ref().and_then(|plan| plan.normalized.as_ref()).or(of_split);
    let size = copy.map_or(stored.job.source.size, |copy| copy.bytes);
    let ranges = ranges(task, crash, of, size);
    let bytes = ranges.iter().map(|range| range.end.min(size).saturating_sub(range.start)).sum();
    screen::note(&format!("fetching {} of the film's {}", text::bytes(bytes), text::bytes(size)));
    match copy {
        None => Ok(fanreel.blobs.fetch_source(&stored.job.source, &ranges, to).await?),
        Some(copy) => {
            let fetched = fanreel.blobs.fetch_own(&copy.key, size, &ranges, to).await?;
            fetched.with_context(|| format!("{} is gone: the job's own copy of its source", copy.key))
        }
    }
}

/// A tool's command that does not seek reads all of it.
fn ranges(task: &Task, crash: &Crash, of: Of, size: u64) -> Vec<ByteRange> {
    match &task.work {
        Work::Chunk(chunk) if of == Of::Plan || crash.args.iter().any(|arg| arg == "-ss") => chunk.ranges.clone(),
        _ => vec![ByteRange { start: 0, end: size }],
    }
}

/// Without the caller's environment, which may hold keys.
fn script_of(crash: &Crash, program: &Path) -> String {
    let mut script = format!(
        "#!/bin/sh\n# {}\n# This film broke a decoder: run it where nothing is to be lost.\n\
         unset CDPATH\ncd -- \"$(dirname -- \"$0\")\" || exit\nprogram={}\n\
         exec env -i PATH=\"$PATH\" \"${{{}:-$program}}\"",
        crash.version.replace('\n', " "),
        quoted(&program.display().to_string()),
        if crash.program == "ffprobe" { "FFPROBE" } else { "FFMPEG" }
    );
    for arg in &crash.args {
        let _ = write!(script, " {}", quoted(arg));
    }
    if crash.args.iter().any(|arg| arg == PIPE) {
        let _ = write!(script, " <{INPUT}");
    }
    script.push('\n');
    script
}

/// As one word of a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | ':' | ',' | '=');
    if !word.is_empty() && word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

fn write(folder: &Path, name: &str, contents: &[u8]) -> anyhow::Result<()> {
    let mut parts = Path::new(name).components();
    ensure!(matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)), "{name:?} is no name of a file");
    let path = folder.join(name);
    std::fs::write(&path, contents).with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crash(args: &[&str]) -> Crash {
        Crash {
            how: "it went wrong".into(),
            program: "ffmpeg".into(),
            version: "ffmpeg version 8\nand more".into(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            files: Vec::new(),
            stderr: String::new(),
            shortage: None,
        }
    }

    #[test]
    fn a_script_gives_every_argument_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let args = ["-i", "it's $HOME; `x` \"y\"", "", "new\nline"];
        write(dir.path(), SCRIPT, script_of(&crash(&args), Path::new("/opt/it's $(a) }/ffmpeg")).as_bytes()).unwrap();
        write(dir.path(), "echo", b"#!/bin/sh\nprintf '%s\\0' \"$@\"\n").unwrap();
        std::fs::set_permissions(dir.path().join("echo"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let run = std::process::Command::new("sh").arg(dir.path().join(SCRIPT)).env("FFMPEG", "./echo").output().unwrap();
        assert_eq!(String::from_utf8(run.stdout).unwrap().split_terminator('\0').collect::<Vec<_>>(), args);
        let run = std::process::Command::new("sh").arg(dir.path().join(SCRIPT)).env_remove("FFMPEG").output().unwrap();
        assert!(String::from_utf8(run.stderr).unwrap().contains("/opt/it's $(a) }/ffmpeg"));
    }

    #[test]
    fn files_are_written_into_the_folder_only() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["../x", "/tmp/x", "a/b", "..", ""] {
            assert!(write(dir.path(), name, b"").is_err(), "{name}");
        }
        assert!(write(dir.path(), "keyframes", b"1").is_ok());
    }
}
