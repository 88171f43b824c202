"""The same ladder twice: by `fanreel transcode`, and by one ffmpeg command. What each took, and where it went."""
import json
import os
import shutil
import subprocess

import latency
import measure
import plain

# What `fanreel` of a run is called in the breakdown.
CHUNKS, AUDIO, REMUX = "ffmpeg encode", "ffmpeg audio", "ffmpeg remux"


# fanreel's profile for each x264 preset that is compared.
PROFILES = {"veryfast": "h264", "medium": "h264-medium"}


def ours(tools, source, number, preset="veryfast"):
    """One run of `fanreel transcode`, from the command to its end, and the timeline of its job."""
    out = os.path.join(tools.work, f"ours-{preset}-{number}")
    shutil.rmtree(out, ignore_errors=True)
    command = [tools.fanreel, "--json", "transcode", source, "-o", out, "--keep", "--profile", PROFILES[preset]]
    run = measure.run(command, tools.env, os.path.join(tools.work, "ours.log"), tools.shares)
    if run.code != 0:
        raise RuntimeError(f"fanreel transcode ended with {run.code}; see {tools.work}/ours.log")
    data = os.path.join(out, ".fanreel-transcode", "data")
    run.timeline = timeline(events(tools, data), run)
    shutil.rmtree(os.path.dirname(data))
    run.files = os.path.join(out, os.path.splitext(os.path.basename(source))[0])
    return run


def theirs(tools, source, number, preset="veryfast"):
    """One run of the plain command."""
    out = os.path.join(tools.work, f"plain-{preset}-{number}")
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    run = measure.run(plain.command(tools.ffmpeg, source, out, preset), tools.env, os.path.join(tools.work, "plain.log"), tools.shares)
    if run.code != 0:
        raise RuntimeError(f"the plain command ended with {run.code}; see {tools.work}/plain.log")
    run.files = out
    return run


def events(tools, data):
    """The job's events out of the ledger that the run left, read after the measurement."""
    with latency.platform(tools, data) as (_, endpoint):
        ask = [tools.fanreel, "--json", "--endpoint", endpoint]
        jobs = json.loads(subprocess.run([*ask, "jobs"], env=tools.env, check=True, capture_output=True).stdout)
        lines = subprocess.run([*ask, "events", jobs["jobs"][0]["job"]], env=tools.env, check=True, capture_output=True).stdout
    return [json.loads(line) for line in lines.splitlines()]


def timeline(events, run):
    """Seconds of each stretch of the job's wall time, and of what a slot does with a chunk."""
    steps = {}
    for event in sorted(events, key=lambda e: e["at_ms"]):
        steps.setdefault(str(event["task"]), {})[event["kind"]] = event["at_ms"] / 1000
    began, ended = run.began, run.began + run.wall
    of = lambda task, kind: steps[task].get(kind)
    start, pulled, made, stored, done = ("WorkloadProcessingStarted", "VideoFilePulled", "VideoTranscoded",
                                         "TranscodedVideoUploaded", "WorkloadProcessingFinished")
    work = [task for task in steps if task not in ("split", "merge")]
    chunks = [task for task in work if made in steps[task] and "audio" not in task and not task.startswith("a")]
    first, last = min(of(t, start) for t in work), max(of(t, done) for t in work)
    spent = lambda a, b: round(sum(of(t, b) - of(t, a) for t in chunks), 3)
    return {
        "until_split": round(of("split", start) - began, 3),
        "split": round(of("split", done) - of("split", start), 3),
        "until_first_task": round(first - of("split", done), 3),
        "tasks": round(last - first, 3),
        "until_merge": round(of("merge", start) - last, 3),
        "merge": round(of("merge", done) - of("merge", start), 3),
        "merge_mp4s": round(of("merge", made) - of("merge", start), 3) if of("merge", made) else None,
        "after_merge": round(ended - of("merge", done), 3),
        "ready_to_play": round((of("merge", stored) or ended) - began, 3),
        "slot_seconds": {
            "fetch": spent(start, pulled), "encode": spent(pulled, made), "store": spent(made, stored), "settle": spent(stored, done),
            "audio": round(sum(of(t, done) - of(t, start) for t in work if t not in chunks), 3),
            "between": between(steps, work, start, done, first, last),
        },
        "tasks_by_start": [[t, round(of(t, start) - began, 3), round(of(t, done) - began, 3)] for t in sorted(work, key=lambda t: of(t, start))],
    }


def between(steps, work, start, done, first, last):
    """Seconds in which a slot had nothing to do while tasks ran: both slots' time less the tasks' own."""
    slots = min(os.cpu_count() or 1, len(work))
    busy = sum(steps[t][done] - steps[t][start] for t in work)
    return round(slots * (last - first) - busy, 3)


def breakdown(run):
    """CPU seconds of a fanreel run by what they were for."""
    own = dict(run.own)
    parts = {
        "encode chunks (ffmpeg)": own.pop(CHUNKS, 0.0),
        "encode sound (ffmpeg)": own.pop(AUDIO, 0.0),
        "make MP4s (ffmpeg)": own.pop(REMUX, 0.0),
        "probe (ffprobe)": own.pop("ffprobe", 0.0),
        "platform and CLI (fanreel)": own.pop("fanreel", 0.0),
        "transcode-chunk function": own.pop("transcode-chunk", 0.0),
        "merge function": own.pop("merge", 0.0),
    }
    parts["other functions"] = sum(own.values())
    parts["unattributed"] = run.cpu - sum(parts.values())
    return {name: round(value, 2) for name, value in parts.items()}
