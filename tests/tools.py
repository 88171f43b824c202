#!/usr/bin/env python3
"""Installs the Python clients of the tests into .tools/python, once per version of requirements.txt.

Run a client with PYTHONPATH=.tools/python, for example `python3 -m awscli`.
"""
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(ROOT, "layers", "ffmpeg"))

import build  # noqa: E402  (the layer's way to find pip serves here as well)


def main() -> int:
    home = os.path.join(ROOT, ".tools")
    target, wanted = os.path.join(home, "python"), os.path.join(HERE, "requirements.txt")
    os.makedirs(home, exist_ok=True)
    with open(wanted, "rb") as file:
        version = hashlib.sha256(file.read() + sys.version.encode()).hexdigest()
    with open(os.path.join(home, "lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mark = os.path.join(target, "installed")
        if os.path.exists(mark) and open(mark, encoding="utf-8").read() == version:
            return 0
        print("tools: installing the AWS clients that the tests use", flush=True)
        with tempfile.TemporaryDirectory(dir=home) as work:
            fresh = os.path.join(work, "python")
            command = [*build.find_pip(work), "install", "--quiet", "--disable-pip-version-check", "--no-deps",
                       "--target", fresh, "-r", wanted]
            for attempt in range(3):
                if subprocess.run(command, check=False).returncode == 0:
                    break
            else:
                sys.exit("tools: the packages of tests/requirements.txt could not be installed; see pip's message above")
            with open(os.path.join(fresh, "installed"), "w", encoding="utf-8") as out:
                out.write(version)
            shutil.rmtree(target, ignore_errors=True)
            os.replace(fresh, target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
