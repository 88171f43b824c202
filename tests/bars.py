#!/usr/bin/env python3
"""Shows of every bar of the benchmarks that a figure which just meets it is taken, that one which misses it is found, and that the
benchmark fails then. Nothing is measured.

    python3 tests/bars.py bench FOLDER"""
import copy
import io
import json
import os
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout

FILM = {"chunks": 100, "film_mb": 50, "mp4_mb": 0, "copied_mb": 0, "peak_mib": 95, "disk_mb": 50, "cpu_s": 1.0, "wall_s": 1, "through_mb": 2.5,
        "share": 0.05, "share_of_segments": 0.05, "requests": {}}
LONG = {**FILM, "chunks": 1800, "cpu_s": 27.0}
TIMELINE = dict.fromkeys(["until_split", "split", "until_first_task", "tasks", "until_merge", "merge", "after_merge"], 1)
LADDER = {"seconds": 60, "rounds": [], "cpu_s": [1.05, 1], "wall_s": [1.05, 1], "cpu_ratio": 1.05, "wall_ratio": 1.05, "cpu_ratio_sound_once": 1.1,
          "cpu_parts": {}, "plain_cpu": 1, "timeline": {**TIMELINE, "slot_seconds": {}}, "peak_mib": {}, "plain_peak_mib": 1,
          "bytes": {"ours": {"480p": 1019}, "plain": {"480p": 1000}},
          "buffer": {"ours": {"480p": {"underflows": 0, "lowest": 0.0}}, "plain": {}},
          "quality": {side: {"vmaf": vmaf, "vmaf_min": 1, "psnr_y": 1} for side, vmaf in (("ours", 94.75), ("plain", 95))}}
WARM, SIZES = {"p50": 2, "p99": 2, "n": 1}, {"put": 150, "get": 300, "peak_mib": 76}
# Each figure stands at its bar, or just before it.
GOOD = {
    "cores": 2, "load_before": 0, "load_after": 0,
    "ladders": {"veryfast": LADDER},
    "joins": [{"hard": "joins", "rendition": "480p", "pictures": 1, "lowest": 0.0, "underflows": 0}],
    "practice": [{"source": "VFR", "way": way, "frames": lost, "moved": lost, "drift_ms": 0, "cpu": 1} for way, lost in (("fanreel", 0), ("pieces", 9))],
    "platform": {**dict.fromkeys(["warm_invoke_ms", "cold_start_to_answer_ms", "put_to_handler_ms"], WARM),
                 **dict.fromkeys(["put_to_handler_cold_ms", "cold_start_with_sdks_ms", "idle_rss_mib", "idle_cpu_percent"], 1)},
    "beside": {"invocations": {"warm": [WARM, {"p50": 1, "p99": 1}], "cold": [WARM, {"p50": 1}]}, "messages": [1, None],
               "large": {"fanreel": SIZES, "SeaweedFS": None}, "restart": {"stored": 1, "seconds": 1, "empty_mib": 47, "full_mib": 900}, "notes": []},
    "logs": {"lines": 1, "lines_per_s": 20_000, "filter_json_s": 2, "filter_term_s": 2, "queries_s": {"count": 2}, "peak_mib": 190},
    "merge": {"hls": [FILM, LONG], "mp4 gathered": [{**FILM, "share_of_segments": 2}]},
    "recover": {"lease_s": 5, "visibility_s": 40, "after_s": [1, 10], "before_s": [41], "platform": [{"restart_s": 1, "again_s": 6}]},
    "bad": {"empty.mp4": {"status": "FAILED", "seconds": [1, 9.99], "says": ""}},
}
# What is missed, by its words, with these figures in place of those.
MISSED = [
    ("veryfast: CPU-seconds", 1.06, "ladders", "veryfast", "cpu_ratio"),
    ("veryfast: wall", 1.06, "ladders", "veryfast", "wall_ratio"),
    ("veryfast: bytes", 1021, "ladders", "veryfast", "bytes", "ours", "480p"),
    ("veryfast: bytes", 979, "ladders", "veryfast", "bytes", "ours", "480p"),
    ("veryfast: VMAF", 94.6, "ladders", "veryfast", "quality", "ours", "vmaf"),
    ("veryfast: underflows", 1, "ladders", "veryfast", "buffer", "ours", "480p", "underflows"),
    ("underflows of 480p, hard over every join", 1, "joins", 0, "underflows"),
    ("VFR, fanreel", -1, "practice", 0, "frames"),
    ("VFR, fanreel", 1, "practice", 0, "moved"),
    ("VFR, fanreel", -50.1, "practice", 0, "drift_ms"),
    ("invocations: not measured", None, "beside", "invocations"),
    ("restart: not measured", None, "beside", "restart"),
    ("warm invoke p50", 0.9, "beside", "invocations", "warm", 1, "p50"),
    ("cold start p50", 0.9, "beside", "invocations", "cold", 1, "p50"),
    ("PUT of a large object", 149, "beside", "large", "fanreel", "put"),
    ("GET of a large object", 299, "beside", "large", "fanreel", "get"),
    ("its peak memory", 77, "beside", "large", "fanreel", "peak_mib"),
    ("start with 1 objects", 1.1, "beside", "restart", "seconds"),
    ("memory at rest, MiB", 48, "beside", "restart", "empty_mib"),
    ("taken in, lines a second", 19_999, "logs", "lines_per_s"),
    ("filter by a JSON pattern", 2.01, "logs", "filter_json_s"),
    ("filter by terms", 2.01, "logs", "filter_term_s"),
    ("query: count", 2.01, "logs", "queries_s", "count"),
    ("peak memory of the platform", 191, "logs", "peak_mib"),
    ("100 chunks × 4, hls: peak memory", 96, "merge", "hls", 0, "peak_mib"),
    ("100 chunks × 4, hls: disk", 51, "merge", "hls", 0, "disk_mb"),
    ("100 chunks × 4, hls: bytes through", 0.051, "merge", "hls", 0, "share_of_segments"),
    ("1800 chunks × 4, hls: CPU a chunk", 28, "merge", "hls", 1, "cpu_s"),
    ("its worker, after TaskReceived", 10.1, "recover", "after_s", 0),
    ("its worker, before", 41.1, "recover", "before_s", 0),
    ("its worker, before", 37.9, "recover", "before_s", 0),
    ("the platform: restart", 6.1, "recover", "platform", 0, "again_s"),
    ("empty.mp4, FAILED", 10, "bad", "empty.mp4", "seconds", 0),
    ("empty.mp4, FAILED", "COMPLETED", "bad", "empty.mp4", "status"),
]


def with_figure(value, *path):
    figures = copy.deepcopy(GOOD)
    at = figures
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return figures


def run(bench, path, figures):
    """The exit code of the benchmark that found these, and the lines in which it says what is missed."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump(figures, file)
    sys.argv, said = ["bench.py", "--read", path], io.StringIO()
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(said):
            runpy.run_path(os.path.join(bench, "bench.py"), run_name="__main__")
    except SystemExit as end:
        return end.code, said.getvalue().splitlines()
    return None, []


def main(bench, folder):
    sys.path.insert(0, bench)
    wrong, path = [], os.path.join(folder, "figures.json")
    if run(bench, path, GOOD) != (0, []):
        wrong.append(f"figures at their bars: {run(bench, path, GOOD)}")
    for words, *change in MISSED:
        code, said = run(bench, path, with_figure(*change))
        if code != 1 or len(said) != 1 or f"missed: {words}" not in said[0]:
            wrong.append(f"{change}: ends with {code}, and says {said}, not {words!r} alone")
    print("\n".join(wrong) or f"{len(MISSED)} figures miss their bars, and the benchmark fails")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
