#!/usr/bin/env python3
"""CPU-seconds per million pixels of every encoder, preset and decoder, as crates/pipeline/src/cost/factors.json has them.

`python3 bench/factors.py > crates/pipeline/src/cost/factors.json` on a quiet machine; about ten minutes. Everything is relative
to the same film (bench/clip.py); `fanreel plan` scales it by what it measures of the machine that it runs on.
"""
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile

import clip

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FFMPEG = os.path.join(ROOT, "layers", "ffmpeg", "build", "opt", "bin", "ffmpeg")
QUIET = [FFMPEG, "-nostdin", "-hide_banner", "-loglevel", "error", "-y", "-threads", "1", "-filter_threads", "1"]
# Cut out of the film, not scaled: grain costs what it costs in a real one.
SIZE, RATE = (1280, 720), 30

X26 = ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"]
CAP = "-maxrate 2996k -bufsize 4200k".split()
# Codec by fanreel's name: its presets, and its arguments but for the preset (crates/media/src/args/video.rs).
ENCODERS = {
    "h264": (X26, lambda p: ["-c:v", "libx264", "-preset", p, "-crf", "23", *CAP, "-bf", "2", "-sc_threshold", "0", "-threads", "1"]),
    "hevc": (X26[:7], lambda p: ["-c:v", "libx265", "-preset", p, "-crf", "26", *CAP, "-x265-params", "pools=none:frame-threads=1:log-level=error"]),
    "av1": (["4", "5", "6", "7", "8", "9", "10", "11", "12", "13"], lambda p: ["-c:v", "libsvtav1", "-preset", p, "-crf", "35", "-svtav1-params", "lp=1:scd=0"]),
    "vp9": (["1", "2", "3", "4", "5", "6", "7", "8"], lambda p: ["-c:v", "libvpx-vp9", "-deadline", "good", "-cpu-used", p, "-crf", "33", "-b:v", "2M", "-row-mt", "0", "-threads", "1"]),
}
SLOW = {"slower", "veryslow", "1", "4"}
# Codec as ffprobe names it: how a source of it is made.
SOURCES = {
    "h264": "-c:v libx264 -preset veryfast -crf 19", "hevc": "-c:v libx265 -preset ultrafast -crf 22 -x265-params log-level=error",
    "av1": "-c:v libsvtav1 -preset 10 -crf 28", "vp9": "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -crf 28 -b:v 0",
    "mpeg2video": "-c:v mpeg2video -q:v 3", "mpeg4": "-c:v mpeg4 -q:v 3", "prores": "-c:v prores_ks -profile:v 2", "mjpeg": "-c:v mjpeg -q:v 3",
}


def cpu(arguments):
    """CPU-seconds of one command; the least of two runs, since others' load only adds."""
    best = float("inf")
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*QUIET, *arguments], check=True, env={"SVT_LOG": "0"})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best


def main():
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(sys.stderr):
            film = clip.make(FFMPEG, os.environ.get("BENCH_WORK", folder), 15)
        raw = os.path.join(folder, "raw.nut")
        subprocess.run([*QUIET, "-ss", "3", "-i", film, "-frames:v", "96", "-vf", f"crop={SIZE[0]}:{SIZE[1]}", "-c:v", "rawvideo", raw], check=True)
        million = SIZE[0] * SIZE[1] / 1e6
        table = {"about": "CPU-seconds for a million pixels, one thread; made by bench/factors.py", "encode": {}, "decode": {}}
        for codec, (presets, arguments) in ENCODERS.items():
            table["encode"][codec] = {}
            for preset in presets:
                frames = 32 if preset in SLOW else 96
                take = ["-i", raw, "-frames:v", str(frames), "-fps_mode", "passthrough"]
                idle = cpu([*take, "-c:v", "wrapped_avframe", "-f", "null", "-"])
                spent = cpu([*take, *arguments(preset), "-f", "null", "-"]) - idle
                table["encode"][codec][preset] = round(spent / frames / million, 5)
                print(codec, preset, table["encode"][codec][preset], file=sys.stderr, flush=True)
        for codec, how in SOURCES.items():
            source = os.path.join(folder, f"{codec}.mkv")
            subprocess.run([*QUIET, "-i", raw, *how.split(), source], check=True, env={"SVT_LOG": "0"})
            table["decode"][codec] = round(cpu(["-i", source, "-c:v", "wrapped_avframe", "-f", "null", "-"]) / 96 / million, 5)
            print(codec, "decode", table["decode"][codec], file=sys.stderr, flush=True)
        hd = os.path.join(folder, "hd.nut")
        subprocess.run([*QUIET, "-ss", "3", "-i", film, "-frames:v", "64", "-c:v", "rawvideo", hd], check=True)
        take = ["-i", hd, "-frames:v", "64"]
        idle = cpu([*take, "-c:v", "wrapped_avframe", "-f", "null", "-"])
        scaled = cpu([*take, "-vf", "scale=1280:720", "-c:v", "wrapped_avframe", "-f", "null", "-"])
        # A scaler reads every pixel of the source and writes its own: counted by what it reads.
        table["scale"] = round((scaled - idle) / 64 / (1920 * 1080 / 1e6), 5)
        deinterlaced = cpu([*take, "-vf", "bwdif=mode=send_frame", "-c:v", "wrapped_avframe", "-f", "null", "-"])
        table["deinterlace"] = round((deinterlaced - idle) / 64 / (1920 * 1080 / 1e6), 5)
        # What crates/media/src/args.rs has as `calibration`: how fast this machine is.
        test = "-f lavfi -i testsrc2=size=1280x720:rate=30:duration=1.5 -c:v libx264 -preset veryfast -threads 1 -f null -".split()
        table["calibration"] = round(min(cpu(test) for _ in range(3)), 3)
        print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
