"""The platform itself: warm and cold invocations, from a stored object to its handler, memory at rest."""
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import time

from cloud import Cloud
from measure import stat

WARM, STORED, COLD = 500, 40, 5
# At rest: nothing to do for this long.
REST = 5.0


@contextlib.contextmanager
def platform(tools, data, *arguments):
    """A `fanreel up` on a free port: its process and endpoint. Ended with SIGTERM."""
    log = open(os.path.join(tools.work, "up.log"), "ab")
    command = [tools.fanreel, "--json", "--port", "0", "up", "--data-dir", data, *arguments]
    child = subprocess.Popen(command, env=tools.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
    try:
        line = child.stdout.readline()
        if not line:
            raise RuntimeError(f"fanreel up said nothing; see {log.name}")
        yield child, json.loads(line)["endpoint"]
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(30)
        child.stdout.close()
        log.close()


def milliseconds(work):
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def quantiles(values):
    ordered = sorted(values)
    at = lambda share: ordered[min(len(ordered) - 1, int(share * len(ordered)))]
    return {"p50": round(statistics.median(ordered), 2), "p99": round(at(0.99), 2), "min": round(ordered[0], 2), "n": len(ordered)}


def hello(tools):
    """Invocations of a function that does nothing, and stored objects that call one."""
    data = os.path.join(tools.work, "hello")
    shutil.rmtree(data, ignore_errors=True)
    template = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hello.yaml")
    with platform(tools, data, "--template", template) as (_, endpoint):
        cloud = Cloud(endpoint)
        cold = [milliseconds(lambda n=n: cloud.invoke(f"cold{n}")) for n in range(1, COLD + 1)]
        cloud.invoke("warm")
        warm = [milliseconds(lambda: cloud.invoke("warm")) for _ in range(WARM)]
        stored = list(stored_to_handler(cloud))
    shutil.rmtree(data, ignore_errors=True)
    return {
        "warm_invoke_ms": quantiles(warm),
        "cold_start_to_answer_ms": quantiles(cold),
        # The first one starts the function's environment.
        "put_to_handler_cold_ms": stored[0],
        "put_to_handler_ms": quantiles(stored[1:]),
    }


def stored_to_handler(cloud):
    """From before the PUT is sent to the START line of the function, one object after another."""
    known = 0
    for number in range(STORED + 1):
        began = time.time()
        cloud.put("bench", f"object-{number}")
        end = time.monotonic() + 20
        while True:
            with contextlib.suppress(RuntimeError):  # the group is not there before its first line
                starts = sorted(at for at, _ in cloud.log_events("/aws/lambda/stored", 0, '"START RequestId"'))
                if len(starts) > known:
                    known = len(starts)
                    yield round(max(0.0, starts[-1] - began * 1000), 2)
                    break
            if time.monotonic() > end:
                raise RuntimeError("a stored object called no function within 20 s")
            time.sleep(0.02)


def at_rest(tools):
    """The real stack with nothing to do: resident memory, CPU per second, and the first answer of a function with SDKs."""
    data = os.path.join(tools.work, "rest")
    shutil.rmtree(data, ignore_errors=True)
    with platform(tools, data) as (child, endpoint):
        time.sleep(REST)
        before = stat(child.pid)
        time.sleep(REST)
        after = stat(child.pid)
        cold = milliseconds(lambda: Cloud(endpoint).invoke("fanreel-ingest", b'{"Records":[]}'))
    shutil.rmtree(data, ignore_errors=True)
    return {
        "idle_rss_mib": round(after["resident"] / 2**20, 1),
        "idle_cpu_percent": round((after["own"] - before["own"]) / REST * 100, 2),
        "cold_start_with_sdks_ms": round(cold, 2),
    }
