//! `fanreel reproduce`: what a task failed over, in a folder, ready to be run again.

use std::{
    fmt::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Component, Path},
};

use anyhow::{Context, bail, ensure};
use pipeline::{
    encoder::Crash,
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

/// What the commands of tasks call the source (see [`Crash::args`]).
const INPUT: &str = "input";
const SCRIPT: &str = "run.sh";

/// What escalation left, as far as it is looked at.
#[derive(Deserialize)]
struct Bundle {
    task: Task,
    crash: Option<Crash>,
    earlier_crash: Option<Crash>,
}

pub async fn run(args: &ReproduceArgs, global: &Global) -> anyhow::Result<End> {
    let fanreel = Fanreel::find(global).await?;
    let job = fanreel.job(&args.job).await?;
    let stored = fanreel.ledger.job(&job).await?.with_context(|| format!("job {job} is gone"))?;
    let id = wanted(&stored, args.task)?;
    let task = fanreel.ledger.task(&job, id).await?.with_context(|| format!("job {job} has no task {id}"))?.task;
    let Some(bytes) = fanreel.blobs.read(&key::reproduction(&job, id, task.generation)).await? else {
        bail!("nothing is kept of {id}: it is written when a task begins to wait for a person, and kept for a week");
    };
    let bundle: Bundle = serde_json::from_slice(&bytes).context("what is kept of the task cannot be read by this version")?;
    let folder = &args.out;
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    if std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?.next().is_some() {
        return Err(usage(format!("--out {}: there are files in it; name a new folder", folder.display())));
    }
    write(folder, "bundle.json", &bytes)?;
    let Some(crash) = bundle.crash.or(bundle.earlier_crash) else {
        screen::out(&format!("{}", folder.join("bundle.json").display()));
        screen::note(&format!("no tool broke down over {id}: there is no command to run, only what is known of the task"));
        return Ok(End::Done);
    };
    for (name, contents) in &crash.files {
        write(folder, name, contents.as_bytes())?;
    }
    let fetched = fetch(&fanreel, &stored, &bundle.task, &crash, &folder.join(INPUT)).await?;
    let script = folder.join(SCRIPT);
    write(folder, SCRIPT, script_of(&crash).as_bytes())?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("{} cannot be made a program", script.display()))?;
    if global.json {
        screen::json(&serde_json::json!({ "job": job, "task": id, "folder": folder, "bytes": fetched, "how": crash.how }));
        return Ok(End::Done);
    }
    screen::out(&format!("{id} of {job}: {}\n\nrun it again: {}", screen::clean(&crash.how), script.display()));
    screen::note(&format!("{} of the source were fetched; it ran with {}", text::bytes(fetched), screen::clean(&crash.version)));
    Ok(End::Done)
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
async fn fetch(fanreel: &Fanreel, stored: &StoredJob, task: &Task, crash: &Crash, to: &Path) -> anyhow::Result<u64> {
    let copy = stored.job.plan.as_ref().and_then(|plan| plan.normalized.as_ref());
    let size = copy.map_or(stored.job.source.size, |copy| copy.bytes);
    let ranges = ranges(task, crash, size);
    match copy {
        None => Ok(fanreel.blobs.fetch_source(&stored.job.source, &ranges, to).await?),
        Some(copy) => {
            let fetched = fanreel.blobs.fetch_own(&copy.key, size, &ranges, to).await?;
            fetched.with_context(|| format!("{} is gone: the job's own copy of its source", copy.key))
        }
    }
}

/// A command that does not seek reads all of it.
fn ranges(task: &Task, crash: &Crash, size: u64) -> Vec<ByteRange> {
    match &task.work {
        Work::Chunk(chunk) if crash.args.iter().any(|arg| arg == "-ss") => chunk.ranges.clone(),
        _ => vec![ByteRange { start: 0, end: size }],
    }
}

fn script_of(crash: &Crash) -> String {
    let layer = setup::find_layer(&PlatformArgs::default()).and_then(|layer| setup::absolute(&layer)).ok();
    let program = layer.map_or_else(|| crash.program.clone(), |layer| layer.join("bin").join(&crash.program).display().to_string());
    let mut script =
        format!("#!/bin/sh\n# {}\ncd \"$(dirname \"$0\")\" && exec \"${{FFMPEG:-{program}}}\"", crash.version.replace('\n', " "));
    for arg in &crash.args {
        let _ = write!(script, " '{}'", arg.replace('\'', r"'\''"));
    }
    script.push('\n');
    script
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
        }
    }

    #[test]
    fn a_script_gives_every_argument_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let args = ["-i", "it's $HOME; `x` \"y\"", "", "new\nline"];
        write(dir.path(), SCRIPT, script_of(&crash(&args)).as_bytes()).unwrap();
        write(dir.path(), "echo", b"#!/bin/sh\nprintf '%s\\0' \"$@\"\n").unwrap();
        std::fs::set_permissions(dir.path().join("echo"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let run = std::process::Command::new("sh").arg(dir.path().join(SCRIPT)).env("FFMPEG", "./echo").output().unwrap();
        assert_eq!(String::from_utf8(run.stdout).unwrap().split_terminator('\0').collect::<Vec<_>>(), args);
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
