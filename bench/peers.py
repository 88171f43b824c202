"""Other programs that do some of what the platform does: installed into .tools/peers, started and ended.

One that cannot be had is left out of the table, with the reason.
"""
import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
HOME = os.path.join(ROOT, ".tools", "peers")
START = 60.0
sys.path.insert(0, os.path.join(ROOT, "layers", "ffmpeg"))

import build  # noqa: E402  (the layer's way to find pip serves here as well)


def install():
    """Once per version of requirements.txt. Answers whether they are there."""
    wanted = os.path.join(HERE, "requirements.txt")
    with open(wanted, "rb") as file:
        version = hashlib.sha256(file.read() + sys.version.encode()).hexdigest()
    mark = os.path.join(HOME, "installed")
    if os.path.exists(mark) and open(mark, encoding="utf-8").read() == version:
        return True
    os.makedirs(os.path.dirname(HOME), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(HOME)) as work:
        fresh = os.path.join(work, "peers")
        command = [*build.find_pip(work), "install", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--target", fresh, "-r", wanted]
        if subprocess.run(command, check=False).returncode != 0:
            print("bench: the programs of bench/requirements.txt could not be installed: measuring without them", flush=True)
            return False
        with open(os.path.join(fresh, "installed"), "w", encoding="utf-8") as out:
            out.write(version)
        shutil.rmtree(HOME, ignore_errors=True)
        os.replace(fresh, HOME)
    return True


def free_port():
    """Of the loopback. None of these programs can be handed a listener."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def running(command, env, folder, name, ready, place=None):
    """A program in a group of its own, in `place` or its folder, once it answers the page `ready`, or takes connections at that port."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, f"{name}.log"), "ab") as log:
        child = subprocess.Popen(command, env=env, cwd=place or folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        wait(child, ready, log.name)
        yield child
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(10)


def wait(child, ready, log):
    end = time.monotonic() + START
    while True:
        try:
            if isinstance(ready, int):
                socket.create_connection(("127.0.0.1", ready), timeout=5).close()
            else:
                urllib.request.urlopen(ready, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            if child.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{child.args[0]} does not answer; see {log}") from None
            time.sleep(0.02)


@contextlib.contextmanager
def ministack(tools, folder):
    """Its process and endpoint."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    env = {**tools.env, "PYTHONPATH": HOME, "BIND_HOST": "127.0.0.1", "MINISTACK_HOST": "127.0.0.1", "GATEWAY_PORT": str(port),
           "TMPDIR": folder, "AWS_ENDPOINT_URL": endpoint, "LAMBDA_EXECUTOR": "local", "DOCKER_HOST": "unix:///nowhere",
           "IOT_MTLS_ENABLED": "0", "SFTP_ENABLED": "0"}
    with running([sys.executable, "-m", "ministack"], env, folder, "ministack", f"{endpoint}/_ministack/health") as child:
        yield child, endpoint


@contextlib.contextmanager
def seaweed(tools, folder):
    """Its process and the endpoint of its S3."""
    ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
    # Each has a second port for gRPC, which by default lies 10000 above and may be no port at all.
    flags = [f"-{name}.port={port}" for name, port in ports.items()]
    flags += [f"-{name}.port.grpc={free_port()}" for name in ("master", "volume", "filer", "s3")]
    command = [os.path.join(HOME, "bin", "weed"), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-volume.max=100", *flags]
    env = {**tools.env, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    endpoint = f"http://127.0.0.1:{ports['s3']}"
    with running(command, env, folder, "seaweed", endpoint) as child:
        yield child, endpoint


@contextlib.contextmanager
def cargo_lambda(tools, folder, function):
    """Its endpoint; our build of the function is in it, as `_`, so that it compiles nothing."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    # It reads the manifest of the package that it is started in, and any page of it is a call of the function.
    package = os.path.join(ROOT, "tests", "functions", "hello")
    command = [os.path.join(HOME, "bin", "cargo-lambda"), "lambda", "watch", "--only-lambda-apis", "-A", "127.0.0.1", "-P", str(port)]
    with running(command, {**os.environ, "CARGO_TERM_COLOR": "never"}, folder, "cargo-lambda", port, package):
        env = {**tools.env, **function_env(f"{endpoint}/.rt")}
        worker = subprocess.Popen([function], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield endpoint
        finally:
            worker.kill()
            worker.wait()


def function_env(runtime_api):
    """What a function of Lambda's finds (AWS, "Defined runtime environment variables")."""
    return {"AWS_LAMBDA_RUNTIME_API": runtime_api, "AWS_LAMBDA_FUNCTION_NAME": "hello", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST", "AWS_LAMBDA_LOG_GROUP_NAME": "hello", "AWS_LAMBDA_LOG_STREAM_NAME": "hello"}
