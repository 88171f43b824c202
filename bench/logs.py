"""A million log lines: how fast they are taken in, and how long a filter and queries over all of them take.

`python3 bench/bench.py --only logs`
"""
import json
import os
import shutil
import time

from cloud import Cloud
from latency import platform

LINES, BATCH = 1_000_000, 10_000
GROUP = "/bench/lines"
QUERIES = {
    "count by level and minute": 'stats count(*) as n by level, bin(1m)',
    "mean and p95 of a field by task": 'filter level = "INFO" | stats avg(ms), pct(ms, 95) by task',
    "the slowest ten": "fields task, ms | sort ms desc | limit 10",
}


def ask(cloud, operation, body):
    headers = {"x-amz-target": f"Logs_20140328.{operation}", "content-type": "application/x-amz-json-1.1"}
    return json.loads(cloud.send("logs", "POST", "/", json.dumps(body).encode(), headers))


def line(number):
    level = "ERROR" if number % 50_000 == 7 else "INFO"
    return json.dumps({"level": level, "task": f"c{number % 40:05}", "ms": number % 997, "message": "stored a segment of the film"})


def memory_mib(pid):
    """Peak resident memory."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(text.split()[1]) for text in file if text.startswith("VmHWM")) // 1024


def query(cloud, text, begun, ended):
    """Seconds from the question to its answer, and the answer's rows."""
    start = time.perf_counter()
    body = {"logGroupName": GROUP, "startTime": begun, "endTime": ended, "queryString": text}
    name = ask(cloud, "StartQuery", body)["queryId"]
    while (answer := ask(cloud, "GetQueryResults", {"queryId": name}))["status"] == "Running":
        time.sleep(0.01)
    if answer["status"] != "Complete" or answer["statistics"]["recordsScanned"] != LINES:
        raise RuntimeError(f"{text}: {answer['status']}, {answer['statistics']}")
    return time.perf_counter() - start, answer["results"]


def measure(tools):
    data = os.path.join(tools.work, "logs")
    shutil.rmtree(data, ignore_errors=True)
    template = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hello.yaml")
    figures = {"lines": LINES}
    with platform(tools, data, "--template", template) as (child, endpoint):
        cloud = Cloud(endpoint)
        ask(cloud, "CreateLogGroup", {"logGroupName": GROUP})
        ask(cloud, "CreateLogStream", {"logGroupName": GROUP, "logStreamName": "s"})
        now = int(time.time() * 1000)
        taken = 0.0
        for first in range(0, LINES, BATCH):
            events = [{"timestamp": now - LINES + n, "message": line(n)} for n in range(first, first + BATCH)]
            start = time.perf_counter()
            ask(cloud, "PutLogEvents", {"logGroupName": GROUP, "logStreamName": "s", "logEvents": events})
            taken += time.perf_counter() - start
        figures["lines_per_s"] = round(LINES / taken)
        for name, pattern, expected in [("filter_json_s", "{ $.level = ERROR }", 20), ("filter_term_s", '"c00039" "ERROR"', None)]:
            start, found, token = time.perf_counter(), 0, None
            while True:
                page = ask(cloud, "FilterLogEvents", {"logGroupName": GROUP, "filterPattern": pattern, **({"nextToken": token} if token else {})})
                found, token = found + len(page["events"]), page.get("nextToken")
                if token is None:
                    break
            figures[name] = round(time.perf_counter() - start, 2)
            if expected not in (None, found):
                raise RuntimeError(f"{pattern} found {found} lines, not {expected}")
        figures["queries_s"] = {}
        for name, text in QUERIES.items():
            seconds, rows = query(cloud, text, now // 1000 - 7200, now // 1000 + 1)
            figures["queries_s"][name] = round(seconds, 2)
            if not rows:
                raise RuntimeError(f"{text} has no answer")
        figures["peak_mib"] = memory_mib(child.pid)
    shutil.rmtree(data, ignore_errors=True)
    return figures
