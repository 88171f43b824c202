//! `fanreel plan`: what a job would make of a file and what it would cost, before anything runs.

mod look;
mod page;
mod speed;

use std::path::Path;

use anyhow::Context;
use media::{FfmpegEncoder, Limits, Tools};
use pipeline::{
    Fault,
    cost::{AROUND, Bill, Factors, Memory, Model, Prices, makespan},
    encoder::Encoder,
    plan::{ByteRange, Chunk, OnDamage},
    planner::{self, Planned, Surroundings},
    source::SourceReport,
    stage::split,
    task::Class,
};
use serde::Serialize;

use crate::{
    args::{Global, PlanArgs, PlatformArgs},
    end::{End, usage},
    film,
    profiles::Choice,
    screen, setup,
};

/// Seconds of a transcode on one machine in which nothing encodes: start, upload, merge, results (docs/benchmarks.md).
const ENDS: f64 = 3.0;

/// Everything that is said of an accepted file.
#[derive(Debug, Serialize)]
struct Report<'a> {
    file: String,
    accepted: bool,
    facts: String,
    bytes: u64,
    plan: &'a pipeline::plan::Plan,
    chunks: Vec<ChunkReport>,
    /// Bytes of the source that all tasks read together.
    read_bytes: u64,
    here: Here,
    /// Absent where the stack has no functions of ours.
    lambda: Option<Bill>,
    prices: Prices,
}

#[derive(Debug, Serialize)]
struct ChunkReport {
    number: u32,
    seconds: f64,
    frames: u32,
    /// On this machine.
    cpu_seconds: f64,
    read_bytes: u64,
}

/// On this machine, with all that is around the encoders.
#[derive(Clone, Copy, Debug, Serialize)]
struct Here {
    cpu_seconds: f64,
    wall_seconds: f64,
    cores: usize,
}

pub async fn run(args: &PlanArgs, global: &Global) -> anyhow::Result<End> {
    let films = film::read(std::slice::from_ref(&args.file))?;
    let Some(film) = films.first() else { return Err(usage("name a file")) };
    let prices = prices(args.prices.as_deref())?;
    let profile = Choice::read(args.platform.profiles.as_deref())?.profiles.get(&args.profile).map_err(usage)?;
    let scratch = tempfile::Builder::new().prefix("fanreel-").tempdir().context("no temporary folder can be made")?;
    let encoder = encoder(&args.platform)?;
    let looked = look::look(&encoder, &film.stamp.path, film.stamp.bytes, scratch.path()).await;
    let planned = looked.and_then(|(report, source_bytes)| {
        let around = Surroundings { profile: &profile, layer: encoder.layer(), source_bytes };
        let planned = planner::plan_for(&report, &around, args.fan_out)?;
        split::has_room(&planned.plan).map(|()| (report, planned))
    });
    let (source, planned) = match planned {
        Ok(planned) => planned,
        Err(Fault::Reject(reason)) => return Ok(rejected(&film.path, &reason, profile.on_damage, global)),
        Err(fault) => return Err(fault.into()),
    };
    let speed = speed::seconds(&encoder, args.cache().as_deref(), scratch.path()).await?;
    let report = report(&film.path, film.stamp.bytes, &source, &planned, Factors::built_in().slowness(speed), prices, &args.platform)?;
    if global.json {
        screen::json(&report);
    } else {
        screen::out(&page::text(&report));
    }
    Ok(End::Done)
}

fn rejected(file: &Path, reason: &str, damage: OnDamage, global: &Global) -> End {
    let file = file.display().to_string();
    if global.json {
        screen::json(&serde_json::json!({ "file": file, "accepted": false, "reason": reason }));
    } else {
        screen::out(&match damage {
            OnDamage::Fail => format!("{file} would be rejected: {reason}"),
            OnDamage::Partial => format!(
                "there is no plan of {file}: a job of this profile saves what can be decoded, and is rejected where that is nothing: {reason}"
            ),
        });
    }
    End::Failed
}

/// The layer's tools in the decoder's cell: a file that somebody sent is not to be trusted before its upload either.
pub fn encoder(args: &PlatformArgs) -> anyhow::Result<FfmpegEncoder> {
    let layer = if args.ffmpeg.is_some() && args.ffprobe.is_some() { None } else { Some(setup::find_layer(args)?) };
    let tools = Tools::find(|name| {
        let path = match name {
            "FFMPEG" => args.ffmpeg.clone(),
            "FFPROBE" => args.ffprobe.clone(),
            "OPT_DIR" => layer.clone(),
            _ => None,
        };
        path.map(|path| path.to_string_lossy().into_owned())
    })?;
    Ok(FfmpegEncoder::new(tools, Limits::default()))
}

fn prices(file: Option<&Path>) -> anyhow::Result<Prices> {
    let Some(file) = file else { return Prices::built_in().map_err(anyhow::Error::msg) };
    let text = std::fs::read_to_string(file).map_err(|error| usage(format!("--prices {}: {error}", file.display())))?;
    Prices::parse(&text).map_err(|error| usage(format!("--prices {}: {error}", file.display())))
}

fn report<'a>(
    file: &Path,
    bytes: u64,
    source: &SourceReport,
    planned: &'a Planned,
    slowness: f64,
    prices: Prices,
    platform: &PlatformArgs,
) -> anyhow::Result<Report<'a>> {
    let plan = &planned.plan;
    let track = source.video.iter().find(|t| plan.video.as_ref().is_some_and(|v| v.index == t.index));
    let model = Model::new(plan, track.map_or(0, |t| u64::from(t.width) * u64::from(t.height)), slowness);
    let bytes_of = |ranges: &[ByteRange]| ranges.iter().map(|range| range.len()).sum::<u64>();
    let read = |chunk: &Chunk| bytes_of(&chunk.ranges);
    let base = plan.video.as_ref().map(|video| (video.time_base, video.end));
    let ends = planned.chunks.iter().skip(1).map(|c| c.times.first()).chain(base.map(|(_, end)| end));
    let chunks: Vec<ChunkReport> = planned
        .chunks
        .iter()
        .zip(ends)
        .map(|(chunk, end)| ChunkReport {
            number: chunk.number,
            seconds: base.map_or(0.0, |(base, _)| base.seconds(end - chunk.times.first())),
            frames: chunk.times.count(),
            cpu_seconds: model.chunk(chunk),
            read_bytes: read(chunk),
        })
        .collect();
    let (memory, environments) = stack(platform, split::class_of(source, planned))?;
    let stills: u64 = plan.stills.iter().map(|stills| bytes_of(&stills.ranges)).sum();
    let sound: u64 = plan.audio.iter().map(|track| plan.reads_of(track)).sum();
    let read_bytes = planned.chunks.iter().map(read).sum::<u64>() + stills + sound + plan.text_reads();
    Ok(Report {
        file: file.display().to_string(),
        accepted: true,
        facts: planner::facts(source, plan),
        bytes,
        plan,
        here: here(&model, planned),
        lambda: memory.map(|memory| Bill::of(&model, &planned.chunks.iter().collect::<Vec<_>>(), &memory, &prices, environments)),
        chunks,
        read_bytes,
        prices,
    })
}

fn here(model: &Model<'_>, planned: &Planned) -> Here {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let sound = planned.plan.audio.iter().map(|track| model.audio(track));
    let stills = planned.plan.stills.iter().map(|stills| model.stills(stills));
    let tasks: Vec<f64> =
        sound.chain(stills).chain(planned.chunks.iter().map(|chunk| model.chunk(chunk))).map(|cpu| cpu * (1.0 + AROUND)).collect();
    Here { cpu_seconds: tasks.iter().sum(), wall_seconds: ENDS + makespan(tasks.iter().copied(), cores), cores }
}

/// The memory that the stack gives our functions, and how many chunks it encodes at once.
fn stack(platform: &PlatformArgs, class: Class) -> anyhow::Result<(Option<Memory>, usize)> {
    let stack = setup::bare_stack(platform, Path::new("/"))?;
    let find = |name: &str| stack.functions.iter().find(|function| function.logical_id == name);
    let large = class == Class::Large;
    let chunks = find(if large { "TranscodeLargeFunction" } else { "TranscodeFunction" });
    let memory = (|| {
        let chunks = chunks?;
        Some(Memory {
            transcode_mb: chunks.memory_mb,
            transcode_disk_mb: chunks.ephemeral_mb,
            audio_mb: find("TranscodeFunction")?.memory_mb,
            split_mb: find("SplitFunction")?.memory_mb,
            merge_mb: find("MergeFunction")?.memory_mb,
        })
    })();
    let mapped = stack.mappings.iter().find(|mapping| chunks.is_some_and(|f| f.name == mapping.function));
    let environments = mapped.and_then(|mapping| mapping.maximum_concurrency).unwrap_or(1000);
    Ok((memory, usize::try_from(environments).unwrap_or(1000)))
}
