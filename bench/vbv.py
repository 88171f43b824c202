#!/usr/bin/env python3
"""The decoder's rate buffer over every access unit, joins and all; and what the encoder's start level does to it.

`bucket` is the leaky bucket of ITU-T H.264, annex C, as far as sizes and times go: bits arrive at a constant rate up to the
buffer's size, and a picture's bits leave at its decoding time. If they are not there yet, that is an underflow: a player that
gets the stream at this rate stops.

`bench.py --only joins` lets fanreel make its ladder of two hard clips and counts underflows.

`python3 bench/vbv.py` encodes the hard clips chunk by chunk, as fanreel cuts them, with several buffers, start levels (x264's
`vbv-init`) and sizes of the first picture (its `zones`), and once in one piece, and prints for each: bytes, VMAF, underflows. Some ten minutes.
"""
import json
import os
import subprocess
import sys
import tempfile

import clip
import ladder
import plain

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BIN = os.path.join(ROOT, "layers", "ffmpeg", "build", "opt", "bin")
# A player's network gives this much more than the cap that the playlist tells.
SPARE = 1.07
# How full the buffer is when the first picture is decoded.
START = 0.9


def units(ffprobe, path):
    """`(decoding time, bits)` of every access unit of the video, seconds."""
    command = [ffprobe, "-v", "error", "-select_streams", "v:0", "-show_entries", "packet=dts_time,size", "-of", "csv=p=0", path]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    pairs = (line.split(",")[:2] for line in lines)
    return [(float(time), 8 * int(size)) for time, size in pairs]


def bucket(found, maxrate, bufsize, spare=SPARE, start=START):
    """Underflows, and the lowest level as a part of the buffer (below zero: what was missing)."""
    level, last, underflows, lowest = start * bufsize, None, 0, 1.0
    for time, bits in found:
        if last is not None:
            level = min(bufsize, level + (time - last) * maxrate * spare)
        last = time
        level -= bits
        lowest = min(lowest, level / bufsize)
        if level < 0:
            # The player waits for the missing bits and goes on.
            underflows += 1
            level = 0.0
    return {"pictures": len(found), "underflows": underflows, "lowest": round(lowest, 3)}


SIZE, RATE, SECONDS = "854x480", 30, 48
# At the keyframes of a hard clip: where fanreel begins its chunks, seconds.
JOINS = [0, 6, 12, 16.667, 22.667, 28.667, 33.333, 39.333, 45.333]
CAP, BUFFER = 1498, 2100
# When the hard clip is hardest (grain that no encoder can predict), seconds: in another place of every chunk, or over every join.
BURSTS = {"anywhere": "gt(mod(t,5),3)", "joins": "lt(mod(t+1.5,6),3)"}


def encode(source, out, begin, length, share, level, first, preset):
    """One chunk as crates/media/src/args/video.rs has it: x264 is told `share` of the buffer, that it is so full, and to give its
    first picture `first` times the bits."""
    zone = f":zones=0,0,b={first}" if first != 1 else ""
    window = ["-ss", str(begin), "-t", str(length)] if length else []
    subprocess.run(
        [os.path.join(BIN, "ffmpeg"), "-nostdin", "-hide_banner", "-loglevel", "error", "-y", *window, "-i", source,
         *f"-c:v libx264 -preset {preset} -profile:v high -g 100000 -keyint_min 1 -sc_threshold 0 -bf 2 -flags +cgop -crf 23".split(),
         *f"-maxrate {CAP}k -bufsize {int(share * BUFFER)}k -threads 1 -x264-params vbv-init={level}:fps={RATE}/1{zone}".split(),
         "-force_key_frames", "expr:isnan(prev_forced_t)+gte(t,prev_forced_t+2)", out], check=True)


def vmaf(made, source, begin, length, log):
    length = ["-t", str(length)] if length else []
    graph = f"[0:v]setpts=PTS-STARTPTS[a];[1:v]setpts=PTS-STARTPTS[b];[a][b]libvmaf=log_fmt=json:log_path={log}:n_threads=2:n_subsample=3"
    subprocess.run([os.path.join(BIN, "ffmpeg"), "-nostdin", "-hide_banner", "-loglevel", "fatal", "-i", made, "-ss", str(begin), *length, "-i", source,
                    "-lavfi", graph, "-f", "null", "-"], check=True)
    with open(log, encoding="utf-8") as file:
        return [frame["metrics"]["vmaf"] for frame in json.load(file)["frames"]]


def hard(work, source, burst):
    """Makes a hard clip."""
    film = clip.make(os.path.join(BIN, "ffmpeg"), work, 60)
    subprocess.run([os.path.join(BIN, "ffmpeg"), "-nostdin", "-loglevel", "error", "-y", "-i", film, "-t", str(SECONDS), "-an", "-vf",
                    f"scale={SIZE.replace('x', ':')},noise=alls=45:allf=t:enable='{BURSTS[burst]}',setsar=1", "-c:v", "libx264", "-preset", "ultrafast", "-qp", "6", source], check=True)


def joins(tools):
    """The buffer over all that fanreel makes of each hard clip, by where it is hard and by rendition."""
    found = []
    for burst in BURSTS:
        source = os.path.join(tools.work, f"hard-{burst}.mkv")
        hard(tools.work, source, burst)
        folder = ladder.ours(tools, source, f"hard-{burst}").files
        # The clip has 480 lines.
        for height, cap, size in [rung for rung in plain.LADDER if rung[0] <= 480]:
            made = os.path.join(folder, f"{plain.name(height)}.mp4")
            found.append({"hard": burst, "rendition": plain.name(height), **bucket(units(tools.ffprobe, made), cap * 1000, size * 1000)})
    return found


def sweep(preset, burst):
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "hard.mkv")
        hard(os.environ.get("BENCH_WORK", folder), source, burst)
        chunks = list(zip(JOINS, [after - begin for begin, after in zip(JOINS, [*JOINS[1:], SECONDS])]))
        trials = [(1, 0.7, 1), (1, 0.5, 1), (0.7, 0.7, 1), (0.65, 0.8, 1), (0.65, 0.8, 1.4), (0.65, 0.75, 1.4), (0.6, 0.8, 1.4), (0.65, 0.85, 1.4)]
        for name, share, level, first, spans in [
            ("one piece", 1, 0.9, 1, [(0, None)]),
            *((f"{share} of it, {level}, first × {first}", share, level, first, chunks) for share, level, first in trials),
        ]:
            found, scores, at = [], [], 0.0
            total = 0
            for begin, length in spans:
                out = os.path.join(folder, "chunk.mp4")
                encode(source, out, begin, length, share, level, first, preset)
                sizes = [bits for _, bits in units(os.path.join(BIN, "ffprobe"), out)]
                found += [(at + i / RATE, bits) for i, bits in enumerate(sizes)]
                at += len(sizes) / RATE
                total += sum(sizes) // 8
                scores += vmaf(out, source, begin, length, os.path.join(folder, "log"))
            full = bucket(found, CAP * 1000, BUFFER * 1000)
            exact = bucket(found, CAP * 1000, BUFFER * 1000, spare=1.0)
            low = sorted(scores)[: max(1, len(scores) // 100)]
            print(f"{preset:9} {burst:8} {name:28} bytes {total:9}  VMAF {sum(scores) / len(scores):6.2f}  worst 1 % {sum(low) / len(low):6.2f}"
                  f"  at {SPARE}: {full['underflows']:3} (lowest {full['lowest']:+.3f})  at 1.0: {exact['underflows']:3} (lowest {exact['lowest']:+.3f})", flush=True)


if __name__ == "__main__":
    for preset in sys.argv[1:] or ["veryfast"]:
        for burst in BURSTS:
            sweep(preset, burst)
