"""What the merge of a long film takes: memory, disk, CPU, and bytes through the function, by the number of chunks.

`python3 bench/bench.py --only merge`; `--quick` leaves the longest film out. Needs 30 GB of disk for a while.

A short film goes through the whole pipeline. Then `seed-film` makes long ones out of it: its records are repeated, its
segments copied by the store under the right names, and the real `merge` function on the real platform does the rest. All
that it says to the platform passes a counter on the way.
"""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request

from cloud import Cloud
from latency import platform
from measure import TICK, stat

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CHUNKS = [100, 450, 1800]
# Seconds of the short film, and of a chunk.
SECONDS, CHUNK = 12, 4
SOUND = f"sine=frequency=440:beep_factor=3:sample_rate=48000:duration={SECONDS}"
# How long a film may take.
LIMIT = 900

LADDERS = {
    # Tens of kilobytes a segment: every MP4 is gathered by the function.
    "tiny": ([(144, 900_000), (120, 700_000), (96, 500_000), (72, 300_000)], 28),
    # Noise that nothing compresses: more than 5 MiB a segment, copied by the store.
    "noise": ([(288, 90_000_000), (272, 80_000_000), (256, 70_000_000), (240, 60_000_000)], 4),
}
PICTURES = {
    "tiny": f"testsrc2=size=256x144:rate=30:duration={SECONDS},noise=alls=4:allf=t",
    "noise": f"color=gray:size=512x288:rate=30:duration={SECONDS},noise=alls=100:allf=t",
}
# Name, ladder, outputs, chunks.
FILMS = [
    ("hls", "tiny", ["hls", "dash"], CHUNKS),
    ("mp4 gathered", "tiny", ["hls", "dash", "mp4"], CHUNKS),
    ("mp4 copied", "noise", ["hls", "dash", "mp4"], CHUNKS),
]
REQUEST = re.compile(rb"(GET|PUT|POST|HEAD|DELETE) (\S+) HTTP/1\.1\r\n")
TARGET = re.compile(rb"x-amz-target: \w+\.(\w+)\r\n", re.IGNORECASE)


class Counter:
    """Stands before the platform and counts what passes."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.platform = self.listener.getsockname()[1], None
        self.lock = threading.Lock()
        self.clear()
        threading.Thread(target=self.accept, daemon=True).start()

    def clear(self):
        with self.lock:
            self.sent, self.received, self.requests = 0, 0, {}

    def accept(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self.listener.accept()
                service = socket.create_connection(self.platform)
                for end in (client, service):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self.pour, args=(client, service, True), daemon=True).start()
                threading.Thread(target=self.pour, args=(service, client, False), daemon=True).start()

    def pour(self, source, sink, is_request):
        """Bytes of one direction, until either side ends."""
        tail = b""
        with contextlib.suppress(OSError):
            while block := source.recv(1 << 18):
                with self.lock:
                    if is_request:
                        self.sent += len(block)
                        tail = self.note(tail + block)
                    else:
                        self.received += len(block)
                sink.sendall(block)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def note(self, text):
        """Counts the requests whose heads are whole; answers what may be the beginning of another."""
        end = 0
        for found in REQUEST.finditer(text):
            head = text.find(b"\r\n\r\n", found.start())
            if head < 0:
                return text[found.start():][:65_536]
            name = kind(found[1].decode(), found[2].decode(), text[found.start():head])
            self.requests[name] = self.requests.get(name, 0) + 1
            end = head
        return text[max(end, len(text) - 2_048):]

    def close(self):
        self.listener.close()


def kind(method, path, head):
    if target := TARGET.search(head):
        return target[1].decode()
    if "partNumber=" in path:
        return "UploadPartCopy" if b"x-amz-copy-source" in head.lower() else "UploadPart"
    return method


def template(tools, port):
    """The system's own, with the counter between merge and platform."""
    with open(os.path.join(ROOT, "template.yaml"), encoding="utf-8") as file:
        text = file.read()
    text = re.sub(r"(CodeUri|ContentUri): (?=\w)", rf"\1: {ROOT}/", text)
    title = "      CodeUri: " + os.path.join(ROOT, "functions/merge") + "\n"
    if text.count(title) != 1:
        raise RuntimeError("template.yaml has no merge function where it is looked for")
    text = text.replace(title, f"{title}      Environment: {{ Variables: {{ AWS_ENDPOINT_URL: 'http://127.0.0.1:{port}' }} }}\n")
    path = os.path.join(tools.work, "merge.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def profile(tools, ladder, outputs):
    rungs, crf = LADDERS[ladder]
    rows = ", ".join(f"{{ short_side = {side}, maxrate = {rate}, bufsize = {rate} }}" for side, rate in rungs)
    path = os.path.join(tools.work, "merge.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f'[film]\npreset = "ultrafast"\ncrf = {crf}\nchunk_ms = {CHUNK * 1000}\ngop_ms = 2000\n'
                   f"outputs = {json.dumps(outputs)}\nladder = [{rows}]\n")
    return path


def clip(tools, picture):
    path = os.path.join(tools.work, f"merge-{picture.replace(' ', '-')}.mp4")
    subprocess.run([tools.ffmpeg, "-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-f", "lavfi", "-i", PICTURES[picture],
                    "-f", "lavfi", "-i", SOUND, "-c:v", "libx264", "-preset", "ultrafast", "-crf", "8", "-g", "60", "-pix_fmt", "yuv420p",
                    "-c:a", "aac", path], check=True)
    return path


def ask(tools, endpoint, *words):
    done = subprocess.run([tools.fanreel, "--json", "--endpoint", endpoint, *words], env=tools.env, capture_output=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"fanreel {' '.join(words)}: {done.stderr.decode()}")
    return json.loads(done.stdout)


def until_ended(tools, endpoint, job):
    end = time.monotonic() + LIMIT
    while (status := ask(tools, endpoint, "status", job))["status"] not in ("COMPLETED", "FAILED"):
        if time.monotonic() > end:
            raise RuntimeError(f"job {job} did not end in {LIMIT} s: {status}")
        time.sleep(0.2)
    if status["status"] != "COMPLETED":
        raise RuntimeError(f"job {job} ended otherwise: {status}")


def short_film(tools, cloud, endpoint, bucket, picture):
    with open(clip(tools, picture), "rb") as file:
        cloud.put(bucket, "uploads/short.mp4", file.read())
    end = time.monotonic() + 60
    while not (jobs := ask(tools, endpoint, "jobs")["jobs"]):
        if time.monotonic() > end:
            raise RuntimeError("the upload became no job in 60 s")
        time.sleep(0.2)
    until_ended(tools, endpoint, jobs[0]["job"])
    return jobs[0]["job"]


def same_frames(tools, cloud, bucket, job):
    """Decodes an MP4 that the store copied together, and the segments that it was made of: frame by frame the same
    pictures at the times of the source. Answers how many."""
    read = lambda key: cloud.send("s3", "GET", f"/{bucket}/{key}")
    receipt = json.loads(read(f"jobs/{job}/manifests/receipt.json"))
    rendition = receipt["renditions"][-1]
    if not rendition["mp4"]["copied_bytes"]:
        raise RuntimeError(f"nothing of {rendition['mp4']['key']} was copied by the store")
    folder = f"streams/{job}/{rendition['name']}"
    names = [line for line in read(f"{folder}/media.m3u8").decode().splitlines() if line and not line.startswith("#")]
    files = {"mp4": read(rendition["mp4"]["key"]), "cmaf": b"".join(read(f"{folder}/{name}") for name in ["init.mp4", *names])}
    pictures = {}
    for kind_, content in sorted(files.items()):
        path = os.path.join(tools.work, f"merge-{kind_}.mp4")
        with open(path, "wb") as file:
            file.write(content)
        said = subprocess.run([tools.ffmpeg, "-v", "error", "-nostdin", "-i", path, "-map", "0:v", "-f", "framemd5", "-"],
                              check=True, capture_output=True, text=True).stdout
        rows = [line.split(",") for line in said.splitlines() if not line.startswith("#")]
        pictures[kind_] = [row[5].strip() for row in rows]
        times = [int(row[2]) for row in rows]
        os.remove(path)
    frames = len(pictures["mp4"])
    steps = {b - a for a, b in zip(times, times[1:])}
    if pictures["mp4"] != pictures["cmaf"] or frames != receipt["frames"] or len(steps) != 1:
        raise RuntimeError(f"{rendition['mp4']['key']}: {frames} frames, planned {receipt['frames']}, in steps of {steps}; not those of its segments")
    return frames


def merge_process(platform_pid):
    """The function's process: a descendant of the platform."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.path.basename(os.readlink(f"/proc/{name}/exe")) in ("merge", "bootstrap") and (stat(int(name)) or {}).get("parent") == platform_pid:
                return int(name)
    return None


def fields(path):
    with open(path, encoding="ascii", errors="replace") as file:
        return dict(line.split(":", 1) for line in file if ":" in line)


def ended(pid):
    end = time.monotonic() + 30
    while stat(pid) is not None:
        if time.monotonic() > end:
            raise RuntimeError(f"process {pid} did not end")
        time.sleep(0.05)


def long_film(tools, counter, child, endpoint, stack, short, chunks):
    """Seeds a film of so many chunks into a platform without a running merge, and looks at the merge that comes."""
    if (pid := merge_process(child.pid)) is not None:
        # Idle, it is stopped, and would not hear of anything else.
        os.kill(pid, signal.SIGKILL)
        ended(pid)
    counter.clear()
    seed = subprocess.run([tools.seed, endpoint, stack["Bucket"], stack["Table"], stack["MergeQueue"], short, str(chunks)],
                          env=tools.env, check=True, capture_output=True)
    began = time.monotonic()
    job = seed.stdout.decode().strip()
    until_ended(tools, endpoint, job)
    wall = time.monotonic() - began
    pid = merge_process(child.pid)
    peak = int(fields(f"/proc/{pid}/status")["VmHWM"].split()[0]) / 1024
    own, written = stat(pid)["own"], int(fields(f"/proc/{pid}/io")["write_bytes"])
    cloud = Cloud(endpoint)
    receipt = json.loads(cloud.send("s3", "GET", f"/{stack['Bucket']}/jobs/{job}/manifests/receipt.json"))
    tracks = receipt["renditions"] + receipt["audio"]
    film = sum(track["bytes"] for track in tracks)
    files = [track["mp4"] for track in receipt["renditions"] if track.get("mp4")]
    with counter.lock:
        through, requests = counter.sent + counter.received, dict(counter.requests)
    return {
        "chunks": chunks, "film_mb": film / 1e6, "mp4_mb": sum(f["bytes"] for f in files) / 1e6,
        "copied_mb": sum(f["copied_bytes"] for f in files) / 1e6, "peak_mib": peak, "disk_mb": written / 1e6, "cpu_s": own,
        "wall_s": wall, "through_mb": through / 1e6, "share": through / (film + sum(f["bytes"] for f in files)),
        "share_of_segments": through / film, "requests": requests,
    }


def film(tools, counter, name, picture, outputs, lengths):
    data = os.path.join(tools.work, "merge")
    shutil.rmtree(data, ignore_errors=True)
    arguments = ["--template", template(tools, counter.port), "--profiles", profile(tools, picture, outputs), "--parameter", "Profile=film"]
    rows = []
    with platform(tools, data, *arguments) as (child, endpoint):
        counter.platform = ("127.0.0.1", int(endpoint.rsplit(":", 1)[1]))
        stack = resources(endpoint)
        short = short_film(tools, Cloud(endpoint), endpoint, stack["Bucket"], picture)
        if name.startswith("mp4 copied"):
            print(f"bench: merge, {name}: {same_frames(tools, Cloud(endpoint), stack['Bucket'], short)} frames are those of the segments", flush=True)
        for chunks in lengths:
            rows.append(long_film(tools, counter, child, endpoint, stack, short, chunks))
            row = rows[-1]
            print(f"bench: merge, {name}, {chunks} chunks: {row['peak_mib']:.0f} MiB, {row['cpu_s']:.2f} CPU-s, "
                  f"{row['through_mb']:.1f} of {row['film_mb'] + row['mp4_mb']:.0f} MB, {row['requests']}", flush=True)
    shutil.rmtree(data, ignore_errors=True)
    return rows


def resources(endpoint):
    """Names and addresses of the stack's stores."""
    with urllib.request.urlopen(f"{endpoint}/_fanreel/stack") as answer:
        outputs = json.load(answer)["outputs"]
    return {"Bucket": outputs["Bucket"], "Table": outputs["Table"], "MergeQueue": outputs["MergeQueueUrl"]}


def measure(tools, quick):
    tools.seed = os.path.join(os.path.dirname(tools.fanreel), "seed-film")
    counter = Counter()
    try:
        return {name: film(tools, counter, name, picture, outputs, [n for n in chunks if not quick or n < CHUNKS[-1]])
                for name, picture, outputs, chunks in FILMS}
    finally:
        counter.close()
