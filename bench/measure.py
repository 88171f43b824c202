"""Runs one command and counts the CPU of every process that came of it.

The total is the kernel's own: `wait4` of the command, which counts all descendants that were waited for, and of every
orphan, which this process adopts (`PR_SET_CHILD_SUBREAPER`), so that a killed or abandoned grandchild is counted too.
Beside it `/proc` is sampled to say which program used it; what falls between two samples is shown as `unattributed`.
Linux only; no package is needed.
"""
import ctypes
import os
import signal
import subprocess
import threading
import time

PR_SET_CHILD_SUBREAPER = 36
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
# Ten looks a second cost about half a percent of a core; both sides of a comparison pay it.
PERIOD = 0.1
# How long orphans may take to end after their ancestor did.
PATIENCE = 20.0
# A shell may give its place to this process and leave it children (`bench.py > >(tee log)`): they are none of ours.
BEFORE = set()


def adopt_orphans():
    """From here on orphaned descendants become children of this process."""
    BEFORE.update(children())
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "this kernel does not let a process adopt orphans")


class Process:
    """What was last seen of one process. Times in seconds of CPU."""

    def __init__(self, pid):
        self.pid, self.label, self.looks = pid, "?", 0
        self.own = self.children = 0.0
        self.peak_bytes = 0


class Sampler(threading.Thread):
    """Looks at all descendants of this process until told to stop."""

    def __init__(self):
        super().__init__(daemon=True)
        self.seen, self.foreign = {}, set()
        self.done = threading.Event()

    def run(self):
        while not self.done.wait(PERIOD):
            self.look()

    def stop(self):
        self.done.set()
        self.join()

    def look(self):
        listed = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        self.foreign &= listed  # a number may be given again
        fields = {pid: stat(pid) for pid in sorted(listed - self.foreign)}
        fields = {pid: f for pid, f in fields.items() if f}
        ours = {os.getpid(), *self.seen}
        unknown = [pid for pid in fields if pid not in ours]
        grew = True
        while grew:
            found = [pid for pid in unknown if fields[pid]["parent"] in ours]
            ours.update(found)
            unknown = [pid for pid in unknown if pid not in ours]
            grew = bool(found)
        self.foreign.update(unknown)
        for pid in ours & set(fields) - {os.getpid()}:
            self.note(self.seen.setdefault(pid, Process(pid)), fields[pid])

    def note(self, process, fields):
        process.own, process.children = fields["own"], fields["children"]
        process.peak_bytes = max(process.peak_bytes, fields["resident"])
        # Between fork and exec a child still has its parent's name.
        if process.looks < 3:
            process.label = label(process.pid)
        process.looks += 1

    def programs(self):
        """CPU seconds and peak memory by label, without children."""
        own, peak = {}, {}
        for process in self.seen.values():
            own[process.label] = own.get(process.label, 0.0) + process.own
            peak[process.label] = max(peak.get(process.label, 0), process.peak_bytes)
        return own, peak


def stat(pid):
    """Fields of /proc/PID/stat (proc(5)), or None if the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            rest = file.read().rpartition(") ")[2].split()
    except OSError:
        return None
    if len(rest) < 22:
        return None
    return {
        "parent": int(rest[1]),
        "own": (int(rest[11]) + int(rest[12])) / TICK,
        "children": (int(rest[13]) + int(rest[14])) / TICK,
        "resident": int(rest[21]) * PAGE,
    }


def label(pid):
    """A program's name; runs of ffmpeg are told apart by their arguments."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().decode("utf-8", "replace").split("\0")
    except OSError:
        return "?"
    name = os.path.basename(words[0]) if words and words[0] else "?"
    if name != "ffmpeg":
        return name
    if "-filter_complex" in words:
        return "ffmpeg encode"
    if "-vn" in words:
        return "ffmpeg audio"
    return "ffmpeg remux" if "copy" in words else "ffmpeg other"


class Group:
    """An optional CPU control group of one arm (cgroup v1), root only.

    On a machine that does other things, schedulers share between groups and sessions: an arm of many sessions would get
    more than one of a single session. A group of its own gives both arms the same share, and counts CPU independently.
    """

    def __init__(self, name, shares):
        self.cpu, self.account = f"/sys/fs/cgroup/cpu/{name}", f"/sys/fs/cgroup/cpuacct/{name}"
        for place in (self.cpu, self.account):
            os.makedirs(place, exist_ok=True)
        write(f"{self.cpu}/cpu.shares", shares)

    def enter(self):
        for place in (self.cpu, self.account):
            write(f"{place}/cgroup.procs", os.getpid())

    def seconds(self):
        with open(f"{self.account}/cpuacct.usage", encoding="ascii") as file:
            return int(file.read()) / 1e9

    def remove(self):
        for place in (self.cpu, self.account):
            try:
                os.rmdir(place)
            except OSError:
                pass


def write(path, value):
    with open(path, "w", encoding="ascii") as file:
        file.write(str(value))


class Run:
    """A measured command. `cpu` and `wall` in seconds."""

    def __init__(self):
        self.cpu = self.wall = self.orphans = 0.0
        self.group_cpu = None
        self.began = self.code = 0
        self.own, self.peak = {}, {}
        self.reaped_by_functions = 0.0


def run(command, env, log, group_shares=None, limit=3600):
    """Runs `command` to its end and waits for all that came of it."""
    group = Group(f"fanreel-bench-{os.getpid()}", group_shares) if group_shares else None
    result, sampler = Run(), Sampler()
    sampler.start()
    with open(log, "ab") as out:
        result.began = time.time()
        began = time.monotonic()
        child = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                 preexec_fn=group.enter if group else None)
        result.code, usage = wait(child, limit)
        result.wall = time.monotonic() - began
    result.cpu = usage
    result.orphans = reap_orphans()
    result.cpu += result.orphans
    sampler.stop()
    result.own, result.peak = sampler.programs()
    result.reaped_by_functions = sum(p.children for p in sampler.seen.values() if not p.label.startswith(("fanreel", "ffmpeg")))
    if group:
        result.group_cpu = group.seconds()
        group.remove()
    return result


def wait(child, limit):
    """Exit code and CPU seconds of a child and of all it waited for."""
    killer = threading.Timer(limit, child.kill)
    killer.start()
    try:
        _, status, usage = os.wait4(child.pid, 0)
    finally:
        killer.cancel()
    child.returncode = os.waitstatus_to_exitcode(status)
    return child.returncode, usage.ru_utime + usage.ru_stime


def reap_orphans():
    """Waits for adopted processes; ends those that stay. Answers their CPU seconds."""
    total, end = 0.0, time.monotonic() + PATIENCE
    while True:
        try:
            pid, _, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return total
        if pid:
            total += 0.0 if pid in BEFORE else usage.ru_utime + usage.ru_stime
        elif not children() - BEFORE:
            return total
        elif time.monotonic() > end:
            for orphan in children() - BEFORE:
                os.kill(orphan, signal.SIGKILL)
            end = float("inf")
        else:
            time.sleep(0.02)


def children():
    found = set()
    for name in os.listdir("/proc"):
        fields = stat(int(name)) if name.isdigit() else None
        if fields and fields["parent"] == os.getpid():
            found.add(int(name))
    return found
