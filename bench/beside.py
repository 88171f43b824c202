"""The platform beside others: invocations, cold starts, messages through a mapping, large objects, restarts."""
import contextlib
import base64
import http.client
import io
import json
import os
import shutil
import socket
import statistics
import subprocess
import threading
import time
import urllib.parse
import urllib.request
import zipfile

import latency
import peers
from cloud import Cloud, sign
from measure import stat

COLD, WARM, BLOCK = 15, 300, 1 << 20
QUEUE = "through"


class Sizes:
    """How much is measured."""

    def __init__(self, quick):
        self.rounds = 3 if quick else 5
        self.messages = 1_000 if quick else 5_000
        self.object = 200 << 20 if quick else 1 << 30
        self.stored = 5_000 if quick else 100_000


def template(tools, path):
    """Functions that do nothing: one is kept warm, each of the others is called once, one is behind a queue."""
    hello = {"Runtime": "provided.al2023", "Handler": "bootstrap", "MemorySize": 256, "Timeout": 30,
             "CodeUri": os.path.join(peers.ROOT, "tests", "functions", "hello")}
    function = lambda name, **more: {"Type": "AWS::Serverless::Function", "Properties": {**hello, "FunctionName": name, **more}}
    resources = {f"Cold{n}": function(f"cold{n}") for n in range(COLD)}
    resources["Warm"] = function("warm")
    resources["Through"] = function("through", Events={
        "Messages": {"Type": "SQS", "Properties": {"Queue": {"Fn::GetAtt": ["Queue", "Arn"]}, "BatchSize": 10}}})
    resources["Queue"] = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": QUEUE, "VisibilityTimeout": 60}}
    resources["Deposit"] = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "deposit"}}
    resources["Bucket"] = {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "bench"}}
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"Transform": "AWS::Serverless-2016-10-31", "Resources": resources}, file, indent=1)
    return path


def folder(tools, name):
    path = os.path.join(tools.work, name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path


def measure(tools, sizes, with_peers):
    """All figures. What a peer could not do is in `notes`."""
    figures, notes = {}, []
    have = with_peers and peers.install()
    hello = os.path.join(os.path.dirname(tools.fanreel), "hello")

    def tried(name, work):
        try:
            return work()
        except (RuntimeError, OSError, http.client.HTTPException, KeyError) as error:
            notes.append(f"{name}: {str(error) or type(error).__name__}"[:200])
            return None

    for step, work in (
        ("invocations", lambda: invocations(tools, sizes, hello, have, tried)),
        ("messages", lambda: messages(tools, sizes, hello, have, tried)),
        ("large", lambda: large(tools, sizes, have, tried)),
        ("restart", lambda: restart(tools, sizes)),
    ):
        print(f"bench: {step} …", flush=True)
        figures[step] = tried(step, work)
    figures["notes"] = notes
    return figures


def invocations(tools, sizes, hello, have, tried):
    data = folder(tools, "beside")
    ours, theirs, cold, floor = [], [], [], []
    with contextlib.ExitStack() as stack:
        _, endpoint = stack.enter_context(latency.platform(tools, data, "--template", template(tools, os.path.join(tools.work, "beside.json"))))
        cloud, peer = Cloud(endpoint), None
        if have:
            peer = tried("cargo lambda watch", lambda: Cloud(stack.enter_context(peers.cargo_lambda(tools, folder(tools, "cargo-lambda"), hello))))
        for client, name in ((cloud, "warm"), (peer, "_")):
            if client:
                client.invoke(name)
        for _ in range(sizes.rounds):
            ours += [latency.milliseconds(lambda: cloud.invoke("warm")) for _ in range(WARM)]
            if peer:
                theirs += [latency.milliseconds(lambda: peer.invoke("_")) for _ in range(WARM)]
        for n in range(COLD):
            cold.append(latency.milliseconds(lambda n=n: cloud.invoke(f"cold{n}")))
            floor.append(spawn_to_next(tools, hello))
    return {"warm": [latency.quantiles(ours), latency.quantiles(theirs) if theirs else None],
            "cold": [latency.quantiles(cold), latency.quantiles(floor)]}


def spawn_to_next(tools, function):
    """Milliseconds from the start of a function's process to its first call for work: no platform can be quicker."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(30)
        env = {**tools.env, **peers.function_env(f"127.0.0.1:{listener.getsockname()[1]}")}
        began = time.perf_counter()
        child = subprocess.Popen([function], env=env, close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            connection, _ = listener.accept()
            with connection:
                line = connection.recv(4096)
                took = (time.perf_counter() - began) * 1000
        finally:
            child.kill()
            child.wait()
    if b"/invocation/next" not in line:
        raise RuntimeError(f"the function asked {line[:80]!r} first")
    return took


def sqs(cloud, action, **arguments):
    headers = {"x-amz-target": f"AmazonSQS.{action}", "content-type": "application/x-amz-json-1.0"}
    return json.loads(cloud.send("sqs", "POST", "/", json.dumps(arguments).encode(), headers) or b"{}")


def fill(endpoint, queue, count, threads=4):
    """Sends messages in batches of ten."""
    def work(first):
        cloud = Cloud(endpoint)
        url = sqs(cloud, "GetQueueUrl", QueueName=queue)["QueueUrl"]
        entries = [{"Id": str(n), "MessageBody": "{}"} for n in range(10)]
        for _ in range(first, count // 10, threads):
            sqs(cloud, "SendMessageBatch", QueueUrl=url, Entries=entries)
    each(work, threads)


def each(work, threads):
    """The same in several threads; an error of one is raised here."""
    errors = []

    def guarded(number):
        try:
            work(number)
        except Exception as error:  # noqa: BLE001  (raised below)
            errors.append(error)
    running = [threading.Thread(target=guarded, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if errors:
        raise errors[0]


def through(endpoint, count):
    """Messages per second, from the first that is sent to the last that is deleted."""
    cloud = Cloud(endpoint)
    url = sqs(cloud, "GetQueueUrl", QueueName=QUEUE)["QueueUrl"]
    began, end = time.perf_counter(), time.monotonic() + 600
    fill(endpoint, QUEUE, count)
    while True:
        answer = sqs(cloud, "GetQueueAttributes", QueueUrl=url, AttributeNames=["All"])["Attributes"]
        if not sum(int(answer[f"ApproximateNumberOfMessages{kind}"]) for kind in ("", "NotVisible")):
            return count / (time.perf_counter() - began)
        if time.monotonic() > end:
            raise RuntimeError(f"messages are left after ten minutes: {answer}")
        time.sleep(0.01)


def messages(tools, sizes, hello, have, tried):
    ours, theirs = [], []
    with contextlib.ExitStack() as stack:
        data = folder(tools, "beside")
        _, endpoint = stack.enter_context(latency.platform(tools, data, "--template", template(tools, os.path.join(tools.work, "beside.json"))))
        peer = tried("MiniStack", lambda: behind_a_queue(stack.enter_context(peers.ministack(tools, folder(tools, "ministack")))[1], hello)) if have else None
        # The first messages start environments on both sides; they do not count.
        through(endpoint, 100)
        if peer:
            tried("MiniStack's mapping", lambda: through(peer, 20))
        for _ in range(sizes.rounds):
            ours.append(through(endpoint, sizes.messages))
            # Fewer where a message takes a hundred times as long; the figure is a rate.
            rate = tried("MiniStack's mapping", lambda: through(peer, 200)) if peer else None
            theirs += [rate] if rate else []
    return [statistics.median(ours), statistics.median(theirs) if theirs else None]


def behind_a_queue(endpoint, hello):
    """The same function behind the same queue, by API."""
    cloud = Cloud(endpoint)
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o755 << 16
        with open(hello, "rb") as file:
            archive.writestr(entry, file.read())
    call = lambda path, **body: json.loads(cloud.send("lambda", "POST", path, json.dumps(body).encode(), {"content-type": "application/json"}))
    call("/2015-03-31/functions", FunctionName="through", Runtime="provided.al2023", Handler="bootstrap", MemorySize=256, Timeout=30,
         Role="arn:aws:iam::000000000000:role/bench", Code={"ZipFile": base64.b64encode(code.getvalue()).decode()})
    sqs(cloud, "CreateQueue", QueueName=QUEUE, Attributes={"VisibilityTimeout": "60"})
    call("/2015-03-31/event-source-mappings", FunctionName="through", BatchSize=10, EventSourceArn=f"arn:aws:sqs:us-east-1:000000000000:{QUEUE}")
    return endpoint


def large(tools, sizes, have, tried):
    """One object in one stream: MB/s of PUT and GET, and the server's largest memory."""
    source = os.path.join(tools.work, "large")
    with open(source, "wb") as file:
        for _ in range(sizes.object // BLOCK):
            file.write(os.urandom(BLOCK))

    def one(start):
        with start as (child, endpoint):
            with contextlib.suppress(RuntimeError):  # the template has made it
                Cloud(endpoint).send("s3", "PUT", "/bench")
            pairs = [(put(endpoint, source), fetch(endpoint, sizes.object)) for _ in range(sizes.rounds)]
            return {"put": statistics.median(p for p, _ in pairs), "get": statistics.median(g for _, g in pairs),
                    "peak_mib": peak(child.pid)}
    beside = os.path.join(tools.work, "beside.json")
    answer = {"fanreel": one(latency.platform(tools, folder(tools, "beside"), "--template", template(tools, beside)))}
    for name, start in (("seaweedfs", peers.seaweed), ("ministack", peers.ministack)) if have else ():
        answer[name] = tried(f"{name} with an object of {sizes.object >> 20} MiB", lambda: one(start(tools, folder(tools, name))))
        shutil.rmtree(os.path.join(tools.work, name), ignore_errors=True)
    os.unlink(source)
    return answer


def put(endpoint, source):
    """MB/s of one PUT. The body is not hashed for the signature, as over TLS."""
    size, host = os.path.getsize(source), endpoint.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=600, blocksize=BLOCK)
    headers = {**sign("s3", "PUT", host, "/bench/large", b"", {}, payload="UNSIGNED-PAYLOAD"), "content-length": str(size)}
    began = time.perf_counter()
    with open(source, "rb") as file:
        connection.request("PUT", "/bench/large", body=file, headers=headers)
    answer = connection.getresponse()
    data = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"PUT answers {answer.status} {data[:200]!r}")
    return size / 1e6 / (time.perf_counter() - began)


def fetch(endpoint, size):
    """MB/s of one GET."""
    host = endpoint.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=600)
    buffer, got = bytearray(BLOCK), 0
    began = time.perf_counter()
    connection.request("GET", "/bench/large", headers=sign("s3", "GET", host, "/bench/large", b"", {}))
    answer = connection.getresponse()
    while read := answer.readinto(buffer):
        got += read
    if answer.status != 200 or got != size:
        raise RuntimeError(f"GET answers {answer.status} and {got} of {size} bytes")
    return size / 1e6 / (time.perf_counter() - began)


def peak(pid):
    """Largest resident memory so far, MiB."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024


def restart(tools, sizes):
    """From the start of the process to the first answer of its health page, empty and with much stored; memory at rest."""
    data, beside = folder(tools, "stored"), template(tools, os.path.join(tools.work, "beside.json"))
    start = lambda: latency.platform(tools, data, "--template", beside)
    with start() as (child, endpoint):
        time.sleep(latency.REST)
        empty = stat(child.pid)["resident"] / 2**20
        print(f"bench: storing {sizes.stored} objects and messages …", flush=True)
        fill(endpoint, "deposit", sizes.stored)

        def store(first, threads=8):
            cloud = Cloud(endpoint)
            for number in range(first, sizes.stored, threads):
                cloud.put("bench", f"stored/{number % 100}/{number}")
        each(store, 8)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        with start() as (child, endpoint):
            urllib.request.urlopen(f"{endpoint}/_fanreel/health").close()
            times.append(time.perf_counter() - began)
            time.sleep(latency.REST)
            full = stat(child.pid)["resident"] / 2**20
    shutil.rmtree(data, ignore_errors=True)
    return {"stored": sizes.stored, "seconds": statistics.median(times), "empty_mib": empty, "full_mib": full}
