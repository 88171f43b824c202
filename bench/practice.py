#!/usr/bin/env python3
"""What three ways of cutting a film into pieces give on the sources that break them.

`python3 bench/practice.py` makes four small films, runs each way on each, and prints the table of docs/benchmarks.md: frames
lost or repeated against what the source shows, drift of the sound at the end of the film, CPU-seconds.

- `fanreel`: `fanreel transcode`.
- `segments`: the practice of Av1an and of most scripts: the picture cut by `-f segment -c copy` at keyframes, each piece
  decoded and encoded by itself, sound by itself once, all joined by the concat demuxer.
- `pieces`: one process a piece: `-ss S -t L` into the source, picture and sound together, joined by the concat demuxer.
"""
import bisect
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile

import measure
import report

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PIECE = 6
X264 = "-c:v libx264 -preset veryfast -crf 23 -maxrate 1498k -bufsize 2100k -threads 1 -pix_fmt yuv420p"
AAC = "-c:a aac -b:a 128k -ac 2 -ar 48000"
# 34 s of moving picture with a tone, 24 pictures a second.
FILM = "-f lavfi -i testsrc2=s=854x480:r=24:d=34 -f lavfi -i sine=f=440:r=48000:d=34"
SOURCES = {
    "open GOP": f"{FILM} -c:v libx264 -preset veryfast -g 48 -bf 3 -flags -cgop -x264-params open-gop=1:scenecut=0 {AAC} FILE.mp4",
    "VFR": f"-f lavfi -i testsrc2=s=854x480:r=24:d=34 -f lavfi -i sine=f=440:r=48000:d=34 -vf select='mod(n\\,7)*mod(n\\,11)' -fps_mode vfr "
           f"-c:v libx264 -preset veryfast -g 48 {AAC} -video_track_timescale 24000 FILE.mp4",
    "edit list": f"{FILM} -c:v libx264 -preset veryfast -g 48 {AAC} BEFORE.mp4",
    "delayed picture": f"-itsoffset 1.5 {FILM} -c:v libx264 -preset veryfast -g 48 {AAC} FILE.mp4",
}


class Bench:
    """Programs, and a folder to work in."""

    def __init__(self, fanreel, layer, folder):
        self.fanreel, self.layer, self.folder = fanreel, layer, folder
        self.ffmpeg, self.ffprobe = (os.path.join(layer, "bin", name) for name in ("ffmpeg", "ffprobe"))
        self.log = os.path.join(folder, "log")
        self.cpu = 0.0

    def run(self, program, words, into=None):
        """Runs one command and adds its CPU-seconds."""
        made = measure.run([program, *words], {"PATH": "/usr/bin:/bin", "HOME": self.folder, "FANREEL_LAYER": self.layer}, self.log)
        self.cpu += made.cpu
        if made.code != 0:
            raise RuntimeError(f"{os.path.basename(program)} {' '.join(words[:40])} ended with {made.code}; see {self.log}")

    def tool(self, words):
        self.run(self.ffmpeg, ["-nostdin", "-hide_banner", "-loglevel", "error", "-y", *words])

    def ask(self, path, entries, *more):
        command = [self.ffprobe, "-v", "error", *more, "-show_entries", entries, "-of", "json", path]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def source(bench, name):
    """One of the films that break things."""
    path = os.path.join(bench.folder, "FILE.mp4")
    place = lambda word: word.replace("FILE", path[:-4]).replace("BEFORE", os.path.join(bench.folder, "BEFORE"))
    bench.tool([place(word) for word in SOURCES[name].split()])
    if name == "edit list":
        # Cut without encoding in the middle of a group: an edit list hides what is before the cut.
        bench.tool(["-ss", "3.3", "-i", os.path.join(bench.folder, "BEFORE.mp4"), "-c", "copy", path])
    return path


def shown(bench, path):
    """Times of the pictures that a player shows, from the first sound or picture on, and the ends of sound and picture."""
    video = [float(f["pts_time"]) for f in bench.ask(path, "frame=pts_time", "-select_streams", "v:0")["frames"] if "pts_time" in f]
    sound = [(float(f["pts_time"]), int(f["nb_samples"])) for f in
             bench.ask(path, "frame=pts_time,nb_samples", "-select_streams", "a:0")["frames"] if "pts_time" in f]
    rate = int(bench.ask(path, "stream=sample_rate", "-select_streams", "a:0")["streams"][0]["sample_rate"])
    video.sort()
    return {"video": video, "sound_end": min(sound[-1][0] + sound[-1][1] / rate, silent_from(bench, path))}


def silent_from(bench, path):
    """When the silence begins that lasts up to the end, seconds: a shorter sound may be followed by it."""
    words = ["-nostdin", "-hide_banner", "-copyts", "-i", path, "-map", "0:a:0", "-af", "silencedetect=noise=-50dB:d=0.05", "-f", "null", "-"]
    said = subprocess.run([bench.ffmpeg, *words], check=True, capture_output=True, text=True).stderr
    length = float(bench.ask(path, "stream=duration", "-select_streams", "a:0")["streams"][0]["duration"])
    begins, ends = ([float(word) for word in re.findall(rf"silence_{edge}: (\S+)", said)] for edge in ("start", "end"))
    lasts = begins and (len(begins) > len(ends) or ends[-1] > length - 0.05)
    return begins[-1] if lasts else math.inf


def fanreel(bench, path):
    out = os.path.join(bench.folder, "fanreel")
    shutil.rmtree(out, ignore_errors=True)
    bench.run(bench.fanreel, ["--json", "transcode", path, "-o", out])
    return os.path.join(out, "FILE", "480p.mp4")


def concat(bench, pieces, name):
    """Joins pieces by the concat demuxer."""
    listing = os.path.join(bench.folder, f"{name}.txt")
    with open(listing, "w", encoding="utf-8") as file:
        file.writelines(f"file '{piece}'\n" for piece in pieces)
    joined = os.path.join(bench.folder, f"{name}.mp4")
    bench.tool(["-f", "concat", "-safe", "0", "-i", listing, "-c", "copy", joined])
    return joined


def segments(bench, path):
    folder = os.path.join(bench.folder, "segments")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    bench.tool(["-i", path, "-map", "0:v:0", "-c", "copy", "-f", "segment", "-segment_time", str(PIECE), "-reset_timestamps", "1",
                os.path.join(folder, "cut_%03d.mkv")])
    made = []
    for cut in sorted(os.listdir(folder)):
        made.append(os.path.join(folder, cut.replace("cut", "made").replace("mkv", "mp4")))
        bench.tool(["-i", os.path.join(folder, cut), *X264.split(), made[-1]])
    video, sound = concat(bench, made, "video"), os.path.join(bench.folder, "sound.m4a")
    bench.tool(["-i", path, "-map", "0:a:0", *AAC.split(), sound])
    joined = os.path.join(bench.folder, "segments.mp4")
    bench.tool(["-i", video, "-i", sound, "-map", "0:v", "-map", "1:a", "-c", "copy", joined])
    return joined


def pieces(bench, path):
    folder = os.path.join(bench.folder, "pieces")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    length = float(bench.ask(path, "format=duration")["format"]["duration"])
    made, at = [], 0
    while at < length:
        made.append(os.path.join(folder, f"{at:04}.mp4"))
        bench.tool(["-ss", str(at), "-t", str(PIECE), "-i", path, *X264.split(), *AAC.split(), made[-1]])
        at += PIECE
    return concat(bench, made, "pieces-joined")


WAYS = {"fanreel": fanreel, "segments": segments, "pieces": pieces}


def judge(source_shows, made_shows):
    """Frames lost and added by their number, those at another time, and where the sound ends: all from the first picture on."""
    def from_picture(of):
        start = of["video"][0]
        return [time - start for time in of["video"]], of["sound_end"] - start
    (want, want_end), (have, have_end) = from_picture(source_shows), from_picture(made_shows)
    # Two pictures are the same where they stand within half the least distance.
    moved = sum(1 for time in have if not any(abs(time - other) < 0.011 for other in near(want, time)))
    return {"frames": len(have) - len(want), "moved": moved, "drift_ms": round(1000 * (have_end - want_end), 1)}


def near(times, time):
    """The neighbours of a time in a sorted list."""
    at = bisect.bisect_left(times, time)
    return times[max(0, at - 1): at + 1]


def measure_all(fanreel_program, layer, folder):
    rows = []
    bench = Bench(fanreel_program, layer, folder)
    for name in SOURCES:
        path = source(bench, name)
        want = shown(bench, path)
        for way, make in WAYS.items():
            bench.cpu = 0.0
            row = {"source": f"{name} ({len(want['video'])} frames)", "way": way}
            made = make(bench, path)
            row["cpu"] = bench.cpu
            row.update(judge(want, shown(bench, made)))
            rows.append(row)
            print(f"practice: {row}", file=sys.stderr, flush=True)
    return rows


def measure_for(tools):
    """For `bench.py`."""
    folder = os.path.join(tools.work, "practice")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    return measure_all(tools.fanreel, tools.env["FANREEL_LAYER"], folder)


if __name__ == "__main__":
    target = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target"), "release")
    measure.adopt_orphans()
    bars = report.Bars()
    with tempfile.TemporaryDirectory() as work:
        print(report.practice(measure_all(os.path.join(target, "fanreel"), os.path.join(ROOT, "layers", "ffmpeg", "build", "opt"), work), bars))
    sys.exit(1 if bars.missed else 0)
