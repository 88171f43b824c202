#!/usr/bin/env python3
"""fanreel against one plain ffmpeg command, and the platform's latencies. `make bench` builds and runs it.

Needs a release build (target/release, or $CARGO_TARGET_DIR/release) and the ffmpeg layer; Python's standard library
only; Linux. docs/benchmarks.md says how to read the table.
"""
import argparse
import json
import os
import statistics
import sys
import time

import bad
import beside
import clip
import ladder
import latency
import logs
import measure
import merge
import practice
import quality
import recover
import report
import vbv

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Tools:
    """Where everything is."""

    def __init__(self, args):
        target = args.target or os.path.join(os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target"), "release")
        layer = os.path.join(ROOT, "layers", "ffmpeg", "build", "opt")
        self.fanreel = os.path.join(target, "fanreel")
        self.ffmpeg, self.ffprobe = (os.path.join(layer, "bin", name) for name in ("ffmpeg", "ffprobe"))
        self.work = os.path.join(ROOT, "target", "bench")
        self.shares = args.cpu_shares
        # Nothing of the caller's settings: both sides see the same few variables.
        self.env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": self.work, "FANREEL_LAYER": layer}
        # `make demo` builds some of them only.
        build = "cargo build --release --locked --workspace --bins"
        built = [os.path.join(target, name) for name in ("fanreel", "hello", "seed-film")]
        for path, advice in [*((path, build) for path in built), (self.ffmpeg, "make layer")]:
            if not os.path.isfile(path):
                sys.exit(f"bench: {path} is missing; make it with `{advice}`")
        os.makedirs(self.work, exist_ok=True)


def rounds(tools, source, count, preset):
    """Interleaved: what else the machine does falls on both sides."""
    pairs = []
    for number in range(1, count + 1):
        pair = (ladder.ours(tools, source, number, preset), ladder.theirs(tools, source, number, preset))
        pairs.append(pair)
        a, b = pair
        print(f"bench: {preset}, round {number}: CPU {a.cpu:.1f} / {b.cpu:.1f} s = {a.cpu / b.cpu:.3f}, "
              f"wall {a.wall:.1f} / {b.wall:.1f} s = {a.wall / b.wall:.3f}, load {os.getloadavg()[0]:.1f}", flush=True)
    return pairs


def median(values):
    return statistics.median(values)


def ladder_figures(pairs, seconds):
    """Medians of the rounds; the breakdown is that of the round with the median CPU ratio."""
    ratio = lambda pair: pair[0].cpu / pair[1].cpu
    middle = sorted(pairs, key=ratio)[len(pairs) // 2]
    ours, plain = middle
    # The plain command encodes the sound once for each file, fanreel once for all.
    sound = ours.own.get(ladder.AUDIO, 0.0)
    return {
        "seconds": seconds,
        "rounds": [{"cpu": [a.cpu, b.cpu], "wall": [a.wall, b.wall], "group_cpu": [a.group_cpu, b.group_cpu]} for a, b in pairs],
        "cpu_s": [median(a.cpu for a, _ in pairs), median(b.cpu for _, b in pairs)],
        "wall_s": [median(a.wall for a, _ in pairs), median(b.wall for _, b in pairs)],
        "cpu_ratio": median(a.cpu / b.cpu for a, b in pairs),
        "wall_ratio": median(a.wall / b.wall for a, b in pairs),
        "cpu_ratio_sound_once": median(a.cpu / (b.cpu - 3 * sound) for a, b in pairs),
        "cpu_parts": ladder.breakdown(ours),
        "plain_cpu": plain.cpu,
        "timeline": ours.timeline,
        "peak_mib": {name: round(peak / 2**20) for name, peak in ours.peak.items()},
        "plain_peak_mib": round(max(plain.peak.values()) / 2**20),
    }


def lengths(args):
    """Seconds of film by preset: the slower one encodes less of it."""
    every = {"veryfast": 15, "medium": 12} if args.quick else {"veryfast": 60, "medium": 12}
    return {preset: seconds for preset, seconds in every.items() if args.preset in (None, preset)}


def compared(tools, args, preset, seconds, count):
    """Everything that bar 3 asks of one preset."""
    source = clip.make(tools.ffmpeg, tools.work, seconds)
    pairs = rounds(tools, source, count, preset)
    figures = ladder_figures(pairs, seconds)
    folders = {"ours": pairs[-1][0].files, "plain": pairs[-1][1].files}
    figures["bytes"] = {side: quality.sizes(folder) for side, folder in folders.items()}
    figures["buffer"] = {side: quality.buffers(tools, folder) for side, folder in folders.items()}
    if not args.no_quality:
        print("bench: VMAF and PSNR …", flush=True)
        figures["quality"] = {side: quality.compare(tools, source, folder, 10) for side, folder in folders.items()}
    return figures


def told(figures):
    """Prints them; answers the exit code: 1 where a bar is missed, whichever part's."""
    tables, missed = report.text(figures)
    print(tables)
    for words in missed:
        print(f"bench: missed: {words}", file=sys.stderr)
    return 1 if missed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="15 s of film, one round")
    parser.add_argument("--rounds", type=int, help="rounds of the ladder (3, or 1 with --quick)")
    parser.add_argument("--only", choices=["ladder", "latency", "beside", "logs", "practice", "recover", "merge", "joins", "bad"], help="one part of it")
    parser.add_argument("--preset", choices=["veryfast", "medium"], help="the ladder by this one alone")
    parser.add_argument("--no-peers", action="store_true", help="the platform without others beside it")
    parser.add_argument("--no-quality", action="store_true", help="leave out VMAF and PSNR, which take minutes")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--read", metavar="FILE", help="measure nothing: tell the figures of a file that --json wrote")
    parser.add_argument("--target", metavar="DIR", help="folder of the built programs")
    parser.add_argument("--cpu-shares", type=int, metavar="N", help="run each side in a CPU group of its own (root, cgroup v1): fair on a busy machine")
    args = parser.parse_args()
    if args.read:
        with open(args.read, encoding="utf-8") as file:
            return told(json.load(file))
    measure.adopt_orphans()
    tools = Tools(args)
    figures = {"when": time.strftime("%Y-%m-%d %H:%M"), "cores": os.cpu_count(), "load_before": os.getloadavg()[0]}
    if args.only in (None, "beside"):
        figures["beside"] = beside.measure(tools, beside.Sizes(args.quick), not args.no_peers)
    if args.only in (None, "latency"):
        figures["platform"] = {**latency.at_rest(tools), **latency.hello(tools)}
    if args.only in (None, "logs"):
        figures["logs"] = logs.measure(tools)
    if args.only in (None, "recover"):
        figures["recover"] = recover.measure(tools)
    if args.only in (None, "bad"):
        figures["bad"] = bad.measure(tools)
    if args.only in (None, "ladder"):
        count = args.rounds or (1 if args.quick else 3)
        figures["ladders"] = {preset: compared(tools, args, preset, seconds, count) for preset, seconds in lengths(args).items()}
    if args.only in (None, "joins"):
        figures["joins"] = vbv.joins(tools)
    if args.only in (None, "practice"):
        figures["practice"] = practice.measure_for(tools)
    if args.only in (None, "merge"):
        figures["merge"] = merge.measure(tools, args.quick)
    figures["load_after"] = os.getloadavg()[0]
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)
    return told(figures)


if __name__ == "__main__":
    sys.exit(main())
