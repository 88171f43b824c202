"""The figures as a table that people read."""


def text(figures):
    parts = []
    for preset, of in figures.get("ladders", {}).items():
        parts += [ladder(of, preset), wall(of["timeline"]), results(of), bars(of, preset)]
    if "joins" in figures:
        parts.append(joins(figures["joins"]))
    if "practice" in figures:
        parts.append(figures["practice"])
    if "platform" in figures:
        parts.append(platform(figures["platform"]))
    if "beside" in figures:
        parts.append(beside(figures["beside"]))
    if "logs" in figures:
        parts.append(logs(figures["logs"]))
    if "merge" in figures:
        parts.append(merge(figures["merge"]))
    if "recover" in figures:
        parts.append(recover(figures["recover"]))
    if "bad" in figures:
        parts.append(bad(figures["bad"]))
    load = f"{figures['cores']} cores; load {figures['load_before']:.1f} before, {figures['load_after']:.1f} after"
    parts.append(f"{load}. On a machine that does other things wall times mean nothing and ratios little: repeat.")
    return "\n\n" + "\n\n".join(parts)


def recover(f):
    """What issue 5 asks for, and whether it is met: the worst round counts."""
    after, before = max(f["after_s"]), max(f["before_s"])
    worst = max(f["platform"], key=lambda round_: round_["again_s"] - round_["restart_s"])
    bar = worst["restart_s"] + f["lease_s"]
    rows = [["from kill -9 to the task at work again, s", "figure", "at most", "met"]]
    row = lambda words, figure, most: rows.append([f"  {words}", f"{figure:.2f}", f"{most:.2f}", "yes" if figure <= most else "NO"])
    row("its worker, after TaskReceived: lease + 5", after, f["lease_s"] + 5)
    row("its worker, before: the queue's visibility", before, f["visibility_s"] + 1)
    row("the platform: restart + lease", worst["again_s"], bar)
    return table(rows, [54, 9, 9, 5])


def bad(sources):
    """The longest of the rounds: a bad source fails in seconds."""
    rows = [["a bad source, from its upload to the word", "s", "status"]]
    rows += [[f"  {name}", f"{max(f['seconds']):.2f}", f["status"]] for name, f in sources.items()]
    return table(rows, [42, 7, 10])


def logs(f):
    rows = [
        [f"{f['lines']:,} log lines", ""],
        ["taken in, lines a second", f"{f['lines_per_s']:,}"],
        ["filter by a JSON pattern, s", f["filter_json_s"]],
        ["filter by terms, s", f["filter_term_s"]],
        *[[f"query: {name}, s", seconds] for name, seconds in f["queries_s"].items()],
        ["peak memory of the platform, MiB", f["peak_mib"]],
    ]
    return table(rows, [48, 10])


def merge(films):
    rows = [["merge of a film of", "film MB", "MP4s MB", "copied", "peak MiB", "disk MB", "CPU-s", "ms a chunk", "through MB", "of all", "requests"]]
    for name, lengths in films.items():
        for f in lengths:
            rows.append([f"{f['chunks']} chunks × 4, {name}", f"{f['film_mb']:.0f}", f"{f['mp4_mb']:.0f}", f"{f['copied_mb']:.0f}",
                         f"{f['peak_mib']:.0f}", f"{f['disk_mb']:.1f}", f"{f['cpu_s']:.2f}", f"{1000 * f['cpu_s'] / f['chunks']:.2f}",
                         f"{f['through_mb']:.1f}", f"{100 * f['share']:.2f} %", sum(f["requests"].values())])
    return table(rows, [34, 8, 8, 8, 9, 8, 7, 11, 11, 8, 9])


def table(rows, widths):
    line = lambda row: "  ".join(f"{cell:<{w}}" if i == 0 else f"{cell:>{w}}" for i, (cell, w) in enumerate(zip(row, widths)))
    return "\n".join(line([str(cell) for cell in row]).rstrip() for row in rows)


def ladder(f, preset):
    cpu, base = f["cpu_s"], f["plain_cpu"]
    rows = [
        [f"{f['seconds']} s of 1080p30, 4 renditions, {preset}", "fanreel", "ffmpeg", "ratio"],
        ["CPU-seconds (median)", f"{cpu[0]:.1f}", f"{cpu[1]:.1f}", f"{f['cpu_ratio']:.3f}"],
        ["  were the sound encoded once there", "", "", f"{f['cpu_ratio_sound_once']:.3f}"],
        ["wall seconds (median)", f"{f['wall_s'][0]:.1f}", f"{f['wall_s'][1]:.1f}", f"{f['wall_ratio']:.3f}"],
        ["peak memory of one ffmpeg, MiB", f["peak_mib"].get("ffmpeg encode", "?"), f["plain_peak_mib"], ""],
        *counted_twice(f),
        ["", "", "", ""],
        ["where fanreel's CPU went", "seconds", "", "of ffmpeg's"],
    ]
    rows += [[f"  {name}", f"{value:.2f}", "", f"{100 * value / base:.1f} %"] for name, value in f["cpu_parts"].items()]
    return table(rows, [38, 9, 9, 12])


def counted_twice(f):
    """Where a control group counted as well: the difference that a lost process would make."""
    pairs = [(r["group_cpu"][0], r["cpu"][0]) for r in f["rounds"] if r["group_cpu"][0]]
    if not pairs:
        return []
    worst = max(pairs, key=lambda pair: abs(pair[0] / pair[1] - 1))
    return [["the control group's count of the same", f"{worst[0]:.1f}", "", f"{worst[0] / worst[1]:.4f}"]]


def wall(t):
    order = ["until_split", "split", "until_first_task", "tasks", "until_merge", "merge", "after_merge"]
    words = {
        "until_split": "start, upload, event", "split": "split (probe and plan)", "until_first_task": "to the first task",
        "tasks": "tasks, from first start to last end", "until_merge": "to the merge", "merge": "merge", "after_merge": "results fetched, end",
    }
    rows = [["where the wall time went (one round)", "seconds"]] + [[f"  {words[key]}", f"{t[key]:.2f}"] for key in order]
    slots = t["slot_seconds"]
    rows += [["what the slots did meanwhile", "slot-s"]] + [[f"  {name}", f"{value:.2f}"] for name, value in slots.items()]
    return table(rows, [38, 9])


def bars(f, preset):
    """What issue 4 asks for, and whether it is met."""
    ours, plain = (sum(f["bytes"][side].values()) for side in ("ours", "plain"))
    under = sum(of["underflows"] for of in f["buffer"]["ours"].values())
    lowest = min(of["lowest"] for of in f["buffer"]["ours"].values())
    rows = [[f"bars, {preset}", "figure", "target", "met"]]
    row = lambda words, figure, target, met: rows.append([f"  {words}", figure, target, "yes" if met else "NO"])
    row("CPU-seconds, ratio", f"{f['cpu_ratio']:.3f}", "<= 1.05", f["cpu_ratio"] <= 1.05)
    row("wall, ratio", f"{f['wall_ratio']:.3f}", "<= 1.05", f["wall_ratio"] <= 1.05)
    row("bytes, difference in %", f"{100 * (ours / plain - 1):+.2f}", "within 2", abs(ours / plain - 1) <= 0.02)
    if "quality" in f:
        less = f["quality"]["ours"]["vmaf"] - f["quality"]["plain"]["vmaf"]
        row("VMAF of 1080p, difference", f"{less:+.2f}", ">= -0.3", less >= -0.3)
    row(f"underflows at 1.07 times the cap (lowest {lowest:+.2f})", under, "0", under == 0)
    return table(rows, [46, 9, 9, 5])


def joins(found):
    """The same of a hard clip's joins."""
    rows = [["rate buffer of hard clips at 1.07 times the cap", "pictures", "lowest", "underflows", "met"]]
    for of in found:
        where = {"anywhere": "hard anywhere", "joins": "hard over every join"}[of["hard"]]
        rows.append([f"  {of['rendition']}, {where}", of["pictures"], f"{of['lowest']:+.2f}", of["underflows"], "yes" if of["underflows"] == 0 else "NO"])
    return table(rows, [48, 9, 9, 11, 5])


def results(figures):
    ours, plain = figures["bytes"]["ours"], figures["bytes"]["plain"]
    rows = [["results", "fanreel", "ffmpeg", "ratio"]]
    rows += [[f"  {name} MP4, bytes", ours[name], plain[name], f"{ours[name] / plain[name]:.3f}"] for name in ours]
    a, b = sum(ours.values()), sum(plain.values())
    rows.append(["  together", a, b, f"{a / b:.3f}"])
    for name, words in (("vmaf", "VMAF"), ("vmaf_min", "VMAF, worst picture"), ("psnr_y", "PSNR of luma, dB")) if "quality" in figures else ():
        x, y = figures["quality"]["ours"][name], figures["quality"]["plain"][name]
        rows.append([f"  1080p: {words}", f"{x:.2f}", f"{y:.2f}", f"{x - y:+.2f}"])
    return table(rows, [38, 12, 12, 9])


def platform(p):
    rows = [["the platform", "p50", "p99", "n"]]
    for key, words in (("warm_invoke_ms", "warm invoke, ms"), ("cold_start_to_answer_ms", "cold start to answer, ms"),
                       ("put_to_handler_ms", "S3 put to handler start, ms")):
        rows.append([f"  {words}", p[key]["p50"], p[key]["p99"], p[key]["n"]])
    rows += [
        ["  the same, function cold, ms", p["put_to_handler_cold_ms"], "", 1],
        ["  cold start, function with SDKs, ms", p["cold_start_with_sdks_ms"], "", 1],
        ["  memory at rest, MiB", p["idle_rss_mib"], "", ""],
        ["  CPU at rest, % of a core", p["idle_cpu_percent"], "", ""],
    ]
    return table(rows, [38, 9, 9, 9])


def beside(f):
    """One row for each bar: ours, the other's, their ratio, the target, whether it is met."""
    rows = [["the platform beside others", "ours", "other", "ratio", "target", "met"]]

    def row(words, ours, other, target, met):
        ratio = f"{ours / other:.2f}" if other else ""
        rows.append([f"  {words}", f"{ours:.2f}", f"{other:.2f}" if other else "-", ratio, target, {True: "yes", False: "NO", None: ""}[met]])

    if f["invocations"]:
        (ours, other), (cold, floor) = f["invocations"]["warm"], f["invocations"]["cold"]
        row("warm invoke p50, ms (cargo lambda watch)", ours["p50"], other and other["p50"], "<= 2x", other and ours["p50"] <= 2 * other["p50"])
        row("warm invoke p99, ms (cargo lambda watch)", ours["p99"], other and other["p99"], "", None)
        row("cold start p50, ms (spawn to first /next)", cold["p50"], floor["p50"], "<= 2x", cold["p50"] <= 2 * floor["p50"])
    if f["messages"]:
        row("messages/s, batch 10 (MiniStack)", *f["messages"], "", None)
    if f["large"]:
        large(f["large"], row)
    if f["restart"]:
        r = f["restart"]
        row(f"start with {r['stored']} objects and messages, s", r["seconds"], None, "<= 1", r["seconds"] <= 1)
        row("memory at rest, MiB", r["empty_mib"], None, "<= 50", r["empty_mib"] <= 50)
        row("memory at rest with all that, MiB", r["full_mib"], None, "", None)
    return "\n".join([table(rows, [46, 9, 9, 7, 7, 5]), *(f"not measured: {note}" for note in f["notes"])])


def large(f, row):
    """Rows of the large object, one beside each peer; ours has the target once."""
    ours, peers = f["fanreel"], [(name, of) for name, of in f.items() if name != "fanreel" and of] or [("none", None)]
    for name, other in peers:
        row(f"PUT of a large object, MB/s ({name})", ours["put"], other and other["put"], ">= 150", ours["put"] >= 150)
        row(f"GET of a large object, MB/s ({name})", ours["get"], other and other["get"], ">= 300", ours["get"] >= 300)
        row(f"its peak memory, MiB ({name})", ours["peak_mib"], other and other["peak_mib"], "<= 80 MB", ours["peak_mib"] * 2**20 <= 80e6)
