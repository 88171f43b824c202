#!/usr/bin/env python3
"""Installs the Python programs of the tests, once per version of the files that name them: AWS's clients into
.tools/python, MiniStack, the sam CLI and cargo-lambda into .tools/cloud; what plays results, into .tools/players (browser.py); and what
watches a platform, into .tools/prometheus (monitor.py).

Run one with its folder as PYTHONPATH, for example `PYTHONPATH=.tools/python python3 -m awscli`.
"""
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(ROOT, "layers", "ffmpeg"))

import browser  # noqa: E402
import build  # noqa: E402  (the layer's way to find pip serves here as well)
import monitor  # noqa: E402


# Folder in .tools, and the packages that it holds: every one is named, so nothing is resolved.
FOLDERS = {"python": "requirements.txt", "cloud": "cloud.txt"}
# Where it cannot be had, or does not find the index that pip is told of, pip does its work.
INSTALLER = os.path.join(HERE, "installer.txt")


def ways(work):
    """Commands that install packages, each to be tried; what they install is compiled when it is first used."""
    pip, brought = build.find_pip(work), os.path.join(work, "uv")
    by_pip = [*pip, "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile"]
    bring = [*by_pip, "--only-binary", ":all:", "--require-hashes", "--target", brought, "-r", INSTALLER]
    if subprocess.run(bring, check=False).returncode != 0:
        return [by_pip] * 3
    by_uv = [os.path.join(brought, "bin", "uv"), "pip", "install", "--quiet", "--no-config", "--no-deps", "--link-mode", "copy",
             "--cache-dir", os.path.join(work, "cache"), "--python", sys.executable]
    return [by_uv, *[by_pip] * 3]


def install(home, folder, requirements, ways) -> None:
    target, wanted = os.path.join(home, folder), os.path.join(HERE, requirements)
    with open(wanted, "rb") as file:
        version = hashlib.sha256(file.read() + sys.version.encode()).hexdigest()
    mark = os.path.join(target, "installed")
    if os.path.exists(mark) and open(mark, encoding="utf-8").read() == version:
        return
    print(f"tools: installing what tests/{requirements} names", flush=True)
    with tempfile.TemporaryDirectory(dir=home) as work:
        fresh = os.path.join(work, folder)
        for way in ways():
            if subprocess.run([*way, "--target", fresh, "-r", wanted], check=False).returncode == 0:
                break
            shutil.rmtree(fresh, ignore_errors=True)
        else:
            sys.exit(f"tools: the packages of tests/{requirements} could not be installed; see pip's message above")
        with open(os.path.join(fresh, "installed"), "w", encoding="utf-8") as out:
            out.write(version)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(fresh, target)


def main() -> int:
    home = os.path.join(ROOT, ".tools")
    os.makedirs(home, exist_ok=True)
    with open(os.path.join(home, "lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with tempfile.TemporaryDirectory(dir=home) as work:
            found = functools.cache(lambda: ways(work))
            for folder, requirements in FOLDERS.items():
                install(home, folder, requirements, found)
        browser.install(home, build.find_pip)
        monitor.install(home)
    return 0


if __name__ == "__main__":
    sys.exit(main())
